"""The command line: what each way to start the program prints, and its exit code."""
import json
import os
import re
import shutil
import sys

import pytest

import captures
from captures import LOGGED_OUT, QUIET, TOKEN
from claude_usage import CORE_OPTIONS, EXIT_CODES, KEYS, OPTIONS, cells, parse_arguments
from conftest import PROFILE, PROGRAM, USAGE, log_in
from server import Reply
from terminal import COMMAND, Terminal, command


@pytest.fixture
def service(service):
    """A service for a person with one limit under way."""
    service.answer(USAGE, Reply(body=dict(captures.USAGE_2026, five_hour=QUIET['five_hour'])))
    return service


def without_clock(text):
    return re.sub(r'\d\d:\d\d:\d\d', '00:00:00', text)


# --- One frame ---

def test_once(ask, service):
    done = ask('--once')
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, '')
    assert lines[0].startswith('┌ Claude Code Usage · %s ──' % service.url[len('http://'):])
    assert {cells(line) for line in lines} == {80}, 'into a pipe 80 columns'
    for words in ('👤 Jane (jane@example.com)', '🏢 Example Corp  ENTERPRISE',
                  '⚡ Tier: default_', '7-Day Fable:  ', ' 78%', ' 5%', 'Window not started',
                  'Updated: '):
        assert words in done.out
    assert 'Ctrl+C' not in done.out
    assert without_clock(ask().out) == without_clock(done.out), 'the same without a terminal'


@pytest.mark.parametrize('columns, lines', [
    (200, 80), (47, 24), (46, 9), (10, 3), (30, 2), (1, 1)])
def test_once_at_a_size(ask, columns, lines):
    done = ask('--once', env={'COLUMNS': str(columns), 'LINES': str(lines)})
    shown = done.out.splitlines()
    assert (done.code, done.err) == (0, '')
    assert 1 <= len(shown) <= lines and max(map(cells, shown)) <= columns
    assert columns < 47 or cells(shown[0]) == columns
    for size in ('', '-5', '9' * 30) if lines == 24 else ():
        assert '78%' in ask('--once', env={'COLUMNS': size, 'LINES': size}).out


@pytest.mark.parametrize('arguments, env', [
    (['--ascii'], {}), ([], {'LC_ALL': 'C'}), ([], {'LC_ALL': 'no_SUCH.locale'}),
    (['--demo'], {'LC_ALL': 'C'})])
def test_once_in_ascii(ask, service, home, arguments, env):
    service.answer(PROFILE, Reply(body={'account': {'display_name': 'Zoë 田中'}}))
    (home / '.claude.json').unlink()
    done = ask('--once', *arguments, env=env)
    assert (done.code, done.err) == (0, '')
    assert '5-Hour Usage:' in done.out and max(done.out) < '\x7f'
    assert 'Zoe ????' in done.out or arguments == ['--demo']


@pytest.mark.parametrize('choice, env, expected', [
    ([], {}, None), (['--color', 'auto'], {'TERM': 'xterm-256color'}, None),
    (['--color', 'never'], {}, None), (['--color=always'], {}, '33'),
    (['--color=always'], {'TERM': 'xterm-256color'}, '38;5;3'),
    (['--color=always'], {'COLORTERM': 'truecolor'}, '38;5;3'),
    (['--color=always'], {'NO_COLOR': '1'}, '33')])
def test_colour(ask, choice, env, expected):
    done = ask('--once', *choice, env=env)
    assert ('\x1b[%sm  78%%\x1b[0m' % expected if expected else ' 78%') in done.out
    assert bool(expected) == ('\x1b' in done.out)


# --- JSON ---

KEYS_OF_JSON = {'schema', 'version', 'generated_at', 'mode', 'account', 'limits', 'extra_usage',
                'pace_maker', 'console', 'sources'}
SOURCE_KEYS = {'status', 'at', 'age_seconds', 'error', 'message', 'next_at'}


def check_keys(document):
    assert set(document) == KEYS_OF_JSON
    assert set(document['account']) == {'name', 'email', 'organization', 'badges', 'tier'}
    assert set(document['sources']) == {'usage', 'profile'}
    for source in document['sources'].values():
        assert set(source) == SOURCE_KEYS


def test_json(ask, service):
    service.answer(USAGE, Reply(body=captures.USAGE_SPEND))
    done = ask('--json')
    assert (done.code, done.err) == (0, '')
    document = json.loads(done.out)
    check_keys(document)
    assert document['account']['name'] == 'Jane'
    assert document['account']['organization'] == 'Example Corp'
    assert [(limit['id'], limit['used_percent'], limit['outlook'])
            for limit in document['limits']] == [
        ('five_hour', 11.0, None), ('seven_day', 9.0, None), ('weekly_scoped_fable', 5.0, None)]
    assert document['limits'][1]['resets_at'] == '2026-07-08T09:00:00Z'
    assert document['extra_usage'] == {
        'used': 12.34, 'limit': 50.0, 'currency': 'USD', 'used_percent': 24.68}
    for source in document['sources'].values():
        assert (source['status'], source['error'], source['message']) == ('ok', None, '')


# --- Nothing to show ---

def replies(reply):
    return lambda home, service: service.answer(USAGE, reply)


def stores(document):
    text = document if isinstance(document, str) else json.dumps(document)
    return lambda home, service: (home / '.claude' / '.credentials.json').write_text(text)


FAILURES = {
    'no_credentials': (lambda home, service: (home / '.claude' / '.credentials.json').unlink(),
                       'No Claude Code login found. Run `claude` to log in, '
                       'or set ANTHROPIC_ADMIN_API_KEY for the Console.'),
    'logged_out': (stores(LOGGED_OUT),
                   'Logged out of Claude Code. Run `claude` to log in, or set '
                   'ANTHROPIC_ADMIN_API_KEY for the Console.'),
    'token_expired': (lambda home, service: log_in(home, expiresAt=1),
                      'Token expired. Run `claude` to refresh.'),
    'malformed': (stores('{"claudeAiOauth": {"accessToken": "%s' % TOKEN),
                  'Failed to load credentials: not JSON.'),
    'unauthorized': (replies(Reply(401, captures.ERROR_401)),
                     'Token refused. Run `claude` to refresh.'),
    'forbidden_scope': (replies(Reply(403, captures.ERROR_403_SCOPE)),
                        'This token cannot read usage. Run `claude`, then /login, for one that '
                        'can.'),
    'forbidden': (replies(Reply(403, captures.EDGE_HTML)), 'Access refused: 403.'),
    'rate_limited': (replies(Reply(429, captures.ERROR_429)), 'Rate limited.'),
    'server_error': (replies(Reply(529, captures.ERROR_529)), 'Server error 529, Overloaded.'),
    'bad_reply': (replies(Reply(body=captures.EDGE_HTML)), 'Reply not understood: no JSON.'),
    'redirected': (replies(Reply(301, headers={'Location': 'https://evil.example/'})),
                   'Redirected to evil.example, not followed. Check --api-url and the proxy.'),
    'network': (replies(Reply(body='{}', cut=1)), 'No connection: the reply was cut off.'),
    None: (replies(Reply(body={})), 'This account has no usage limits.'),
}


@pytest.mark.parametrize('code', FAILURES)
def test_each_failure_is_told_in_one_line(ask, home, service, code):
    make, sentence = FAILURES[code]
    service.answer(PROFILE, Reply(body={'account': {'full_name': 'I am ' + TOKEN}}))
    make(home, service)
    told = re.escape('claude-usage: ' + sentence) + r'( Next try \d\d:\d\d\.)?\n'
    done = ask('--once')
    assert (done.code, done.out) == (1, '') and re.fullmatch(told, done.err), done
    done = ask('--json')
    assert done.code == 1 and re.fullmatch(told, done.err)
    document = json.loads(done.out)
    check_keys(document)
    assert (document['limits'], document['extra_usage']) == ([], None)
    usage = document['sources']['usage']
    assert (usage['status'], usage['error']) == ('error' if code else 'ok', code)
    assert usage['message'].startswith(sentence if code else '')


# --- Arguments ---

@pytest.mark.parametrize('arguments', [
    ['--interval', '9'], ['--interval', '9.99'], ['--interval', 'abc'], ['--interval', ''],
    ['--interval', 'nan'], ['--interval', 'inf'], ['--interval=-30'], ['--interval', '1e9'],
    ['--interval'], ['--color', 'sometimes'], ['--mode', 'magic'], ['--no-such-option'], ['x'],
    ['--check'], ['--check', '-1'], ['--check', '100.1'], ['--check', 'nan'], ['--check', '50%'],
    ['--check', '5', '--once'], ['--metrics', '--check', '5'], ['--metrics', '--json'],
    ['--statusline', '--doctor'], ['--doctor', '--demo'], ['--statusline', '--demo'],
    ['--projected'], ['--json', '--projected']])
def test_bad_arguments(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        parse_arguments(arguments)
    told = capsys.readouterr()
    assert (caught.value.code, told.out) == (2, '')
    assert re.search(r'^claude-usage: error: .*\n\Z', told.err, re.MULTILINE)


BAD_URLS = ['http://api.anthropic.com', 'ftp://127.0.0.1', 'https://user@host.example',
            'https://user:SECRET@host.example', 'http://127.0.0.1@evil.example',
            'http://localhost:1@evil.example', 'http://127.0.0.1.evil.example',
            'http://localhost.evil.example', 'http://evil.example/127.0.0.1', 'http://0.0.0.0',
            'http://127.0.0.1\\@evil.example', 'http://[::1].evil.example', 'http://2130706433',
            'https://', 'https:///path', 'https://host:port', 'https://host?a=b', 'https://host#a',
            'https://ho st', 'https://host\n', 'https://host/\x1b[2J', '//127.0.0.1', '127.0.0.1',
            'localhost:80', ' ', 'https:/host', 'javascript:alert(1)']
GOOD_URLS = ['https://host.example', 'https://host.example:8443/a/b/', 'https://1.2.3.4',
             'http://localhost', 'http://127.0.0.1:8000', 'http://127.255.255.254',
             'http://[::1]:8000/', 'http://[0:0:0:0:0:0:0:1]', 'https://[fe80::1]']


def test_addresses(capsys, monkeypatch):
    """By the option or by the environment."""
    def refused(url, *arguments):
        with pytest.raises(SystemExit) as caught:
            parse_arguments(arguments)
        told = capsys.readouterr().err
        assert caught.value.code == 2 and 'argument --api-url' in told, url
        assert 'SECRET' not in told and '\x1b' not in told

    for url in BAD_URLS + ['']:
        refused(url, '--api-url', url)
    for url in GOOD_URLS:
        assert parse_arguments(['--api-url', url]).api_url == url
    for url in BAD_URLS:
        monkeypatch.setenv('CLAUDE_USAGE_API_URL', url)
        refused(url)
    for url, expected in zip(GOOD_URLS + [''], GOOD_URLS + ['https://api.anthropic.com']):
        monkeypatch.setenv('CLAUDE_USAGE_API_URL', url)
        assert parse_arguments([]).api_url == expected


def test_the_address_of_the_environment_is_asked(run, service):
    done = run(['--once'], {'CLAUDE_USAGE_API_URL': service.url})
    assert (done.code, len(service.requests)) == (0, 2)


def test_good_intervals():
    for seconds in ('10', '10.5', '86400'):
        assert parse_arguments(['--interval', seconds]).interval == float(seconds)


def test_bad_arguments_end_the_program(run):
    for arguments in (['--interval', '9'], ['--api-url', 'http://host.example']):
        done = run(arguments)
        assert (done.code, done.out) == (2, '') and 'Traceback' not in done.err


@pytest.mark.parametrize('env', [{}, {'LC_ALL': 'C'}, {'COLUMNS': '1'}])
def test_help_and_version(run, env):
    done = run(['--version'], env)
    assert (done.code, done.err) == (0, '')
    assert re.fullmatch(r'claude-usage \d+\.\d+\.\d+\n', done.out)
    done = run(['--help'], env)
    assert (done.code, done.err) == (0, '')
    assert EXIT_CODES in done.out
    for words in list(CORE_OPTIONS) + list(OPTIONS) + [key.help for key in KEYS]:
        assert words in done.out


def test_help_begins_with_a_screen_of_common_options(run):
    shown = run(['--help'], {'COLUMNS': '80'}).out
    assert max(map(cells, shown.splitlines())) <= 80
    common = shown[:shown.index('\nrequests:')]
    assert common.count('\n') < 24, 'with the prompt it is a screen'
    for words in ('--once', '--json', '--check', '--doctor', '--statusline', '--config-dir'):
        assert words in common
    assert re.findall(r'(?m)^(\w[^:\n]*):$', shown) == [
        'common options', 'requests', 'config file', 'outlook', 'Console mode', 'alerts', 'keys',
        'exit codes']


def test_as_a_file_alone(run, tmp_path):
    """As it is copied to a server."""
    shutil.copy(str(PROGRAM), str(tmp_path))
    for arguments in (['--version'], ['--demo', '--once']):
        done = run(arguments, argv=[sys.executable, PROGRAM.name], cwd=str(tmp_path))
        assert (done.code, done.err) == (0, '') and done.out


# --- A system that gives little ---

@pytest.mark.parametrize('size', ['²', '\x1b[2J\udcff', '9' * 9999], ids=range(3))
def test_any_size_in_the_environment(monitor, run, size):
    env = {'COLUMNS': size, 'LINES': size}
    for arguments in (['--demo', '--once'], ['--help'], ['--statusline']):
        done = run(arguments, env, input='{"model": {"display_name": "Opus"}}')
        assert (done.code, done.err) == (0, '') and done.out
    with monitor('--demo', env=env) as terminal:
        terminal.wait_for('5-Hour Usage')
        terminal.quit()


# The limit is none for root, who becomes nobody.
NO_THREAD = [sys.executable, '-c', '''
import claude_usage, os, resource
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.getuid() == 0:
    os.setuid(65534)
claude_usage.start()
''']
NO_THREAD_WORDS = 'claude-usage: Access refused: no thread can be started, see `ulimit -u`.'


@pytest.mark.skipif(sys.platform != 'linux', reason='only there threads count as processes')
def test_no_thread_to_be_had(run):
    nobody = {'HOME': '/nonexistent'}
    for arguments in (['--once'], ['--demo', '--json'], ['--doctor'], ['--check', '5'],
                      ['--watch', '--alert', '5']):
        done = run(arguments, nobody, argv=NO_THREAD)
        assert (done.code, done.out, done.err) == (1, '', NO_THREAD_WORDS + '\n')
    with Terminal(NO_THREAD + ['--demo'], env=nobody) as terminal:
        assert terminal.exit_code() == 1
        assert NO_THREAD_WORDS in terminal.text() and terminal.is_given_back()


def with_threads(count):
    """The program in a system that lets it start so many threads."""
    return command('''
import threading
starts, start = [], threading.Thread.start
def start_few(thread):
    starts.append(thread)
    if len(starts) > %d:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = start_few''' % count)


@pytest.mark.parametrize('count', range(1, 4))
def test_a_thread_that_is_missing_later(ask, count):
    """One of a poller ends the program too, one of a request is told as why that failed."""
    done = ask('--once', argv=with_threads(count))
    assert done.code == 1 and done.err == NO_THREAD_WORDS + '\n'


def test_the_status_line_needs_no_thread(run):
    done = run(['--statusline'], argv=with_threads(0), input='{"model": {"display_name": "Opus"}}')
    assert (done.code, done.err) == (0, '') and 'Opus' in done.out


# --- The status line's setting ---

INSTALLED = '''#!%s
import sys
sys.path.insert(0, %r)
from claude_usage import start
sys.exit(start())
''' % (sys.executable, str(PROGRAM.parent))


@pytest.mark.parametrize('name', ['claude_usage.py', 'usage', 'claude-usage'])
def test_the_doctor_ends_with_the_setting_of_the_status_line(ask, run, tmp_path, name):
    """Of the file, of the file by another name, of the installed command."""
    folder, project = tmp_path / 'it\'s "my" $bin é', tmp_path / 'project'
    for path in (folder, project):
        path.mkdir()
    for decoy in ('claude_usage', 'argparse', 'json'):
        (project / (decoy + '.py')).write_text('import os; os._exit(99)')
    shutil.copy(str(PROGRAM), str(folder / name))
    argv = [sys.executable, folder / name]
    if name == 'claude-usage':
        (folder / name).write_text(INSTALLED)
        (folder / name).chmod(0o755)
        argv = [folder / name]
    document = json.loads(ask('--doctor', argv=argv).out.splitlines()[-1])
    command = document['statusLine'].pop('command')
    assert document == {'statusLine': {'type': 'command', 'refreshInterval': 60}}
    for _ in range(2):
        done = run([], argv=['sh', '-c', command], cwd=str(project),
                   input='{"model": {"display_name": "Opus"}}')
        assert done.code == 0 and 'Opus' in done.out
    assert (folder / '__pycache__').exists() == (name == 'claude_usage.py'), 'it is compiled once'


# --- The demonstration, and a Python that has nothing ---

@pytest.fixture
def bare(tmp_path):
    """A function that gives an environment in which importing these modules does as told."""
    def make(what, *names):
        for name in names:
            (tmp_path / (name + '.py')).write_text(what)
        return {'PYTHONPATH': str(tmp_path)}
    return make


def test_demo_needs_nothing(run, tmp_path, bare):
    env = bare('import os; os._exit(99)', 'urllib3', 'pip', 'ssl', 'socket', 'requests')
    once = run(['--demo', '--once'], env, home=tmp_path / 'nobody')
    assert (once.code, once.err) == (0, '')
    assert '┌ ada@example.com · demo ─' in once.out and 'Ada Example' in once.out
    assert '┌ ada@engines.example · demo ─' in once.out
    done = run(['--demo', '--json', '--config-dir', 'x'], env, home=tmp_path / 'nobody')
    assert (done.code, done.err) == (0, '')
    document = json.loads(done.out)
    assert set(document) == KEYS_OF_JSON
    assert len(document['limits']) == 3 and document['extra_usage']['currency'] == 'EUR'
    assert not (tmp_path / 'nobody').exists()


def test_without_urllib3(ask, bare, service):
    env = bare('raise ImportError("blocked")', 'urllib3', 'pip')
    told = 'claude-usage: .*urllib3 is missing.*`python3 -m pip install urllib3`.*\n'
    for argument in ('--once', '--json'):
        done = ask(argument, env=env)
        assert done.code == 1 and bool(done.out) == (argument == '--json')
        assert re.fullmatch(told, done.err)
    assert service.requests == []


def test_the_copy_of_pip_serves_as_well(ask, bare):
    pytest.importorskip('pip._vendor.urllib3')
    done = ask('--once', env=bare('raise ImportError("blocked")', 'urllib3'))
    assert (done.code, done.err) == (0, '') and '78%' in done.out


# --- Ends ---

@pytest.mark.parametrize('argument', ['--once', '--json'])
def test_ctrl_c_while_the_server_hangs(monitor, service, argument):
    service.answer(USAGE, Reply(hang=True))
    with monitor(argument) as terminal:
        service.wait_for(1)
        terminal.send('\x03')
        assert terminal.exit_code() == 130
        assert terminal.text().strip() == '^C'


@pytest.mark.parametrize('arguments', [
    ['--demo', '--once'], ['--demo', '--json'], ['--help'], ['--version']], ids=' '.join)
def test_a_closed_pipe(run, arguments):
    """As of `| head -0`."""
    read, write = os.pipe()
    os.close(read)
    with open(write, 'wb') as stdout:
        done = run(arguments, stdout=stdout)
    assert (done.code, done.err) == (0, '')


@pytest.mark.parametrize('where', ['<&-', '>&-', '<&- >&-'] + [
    '>/dev/full'] * os.path.exists('/dev/full'))
def test_nowhere_to_print(run, where):
    """As of a job that was started without the usual files, or on a full disk."""
    shell = ['sh', '-c', 'exec "$@" ' + where, 'sh']
    for argument in ('--once', '--json'):
        done = run(['--demo', argument], argv=shell + COMMAND)
        assert 'Traceback' not in done.err and done.err.count('\n') <= 1
