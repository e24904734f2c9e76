"""The command line: what each way to start the program prints, and its exit code."""
import json
import os
import re
import shutil
import sys

import pytest

import captures
from captures import CREDENTIALS, LOGGED_OUT, QUIET, TOKEN
from claude_usage import EXIT_CODES, KEYS, cells, parse_arguments
from conftest import PROFILE, PROGRAM, USAGE, asked
from server import Reply
from terminal import COMMAND


def without_clock(text):
    return re.sub(r'\d\d:\d\d:\d\d', '00:00:00', text)


# --- One frame ---

def test_once(ask, service):
    service.answer(USAGE, Reply(body=dict(captures.USAGE_2026, five_hour=QUIET['five_hour'])))
    done = ask('--once')
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, '')
    assert lines[0].startswith('┌ Claude Code Usage · %s ──' % service.url[len('http://'):])
    assert {cells(line) for line in lines} == {80}, 'into a pipe 80 columns'
    for words in ('👤 Jane (jane@example.com)', '🏢 Example Corp  ENTERPRISE',
                  '⚡ Tier: default_claude_max_20x', '7-Day Fable:  ', ' 78%', ' 5%',
                  'Window not started', 'Updated: '):
        assert words in done.out
    assert 'Ctrl+C' not in done.out
    assert without_clock(ask().out) == without_clock(done.out), 'there is no terminal'


@pytest.mark.parametrize('columns, lines', [(200, 80), (46, 9), (30, 2), (1, 1)])
def test_once_at_a_size(ask, columns, lines):
    done = ask('--once', env={'COLUMNS': str(columns), 'LINES': str(lines)})
    shown = done.out.splitlines()
    assert (done.code, done.err) == (0, '')
    assert 1 <= len(shown) <= lines
    assert max(map(cells, shown)) <= columns
    if columns >= 47:
        assert cells(shown[0]) == columns


@pytest.mark.parametrize('size', ['0', 'x', '9' * 30])
def test_once_at_no_size(ask, size):
    done = ask('--once', env={'COLUMNS': size, 'LINES': size})
    assert done.code == 0 and '78%' in done.out


@pytest.mark.parametrize('arguments, env', [
    (['--ascii'], {}), ([], {'LC_ALL': 'C'}), (['--demo'], {'LC_ALL': 'no_SUCH.locale'})])
def test_once_in_ascii(ask, service, arguments, env):
    profile = dict(captures.PROFILE, organization={'name': 'Zoë 田中'})
    service.answer(PROFILE, Reply(body=profile))
    done = ask('--once', *arguments, env=env)
    assert (done.code, done.err) == (0, '')
    assert '5-Hour Usage:' in done.out and max(done.out) < '\x7f'
    assert 'Zoe ????' in done.out or '--demo' in arguments


@pytest.mark.parametrize('choice, env, expected', [
    ('auto', {'TERM': 'xterm-256color'}, None), ('always', {'NO_COLOR': '1'}, '33'),
    ('always', {'TERM': 'xterm-256color'}, '38;5;3'),
    ('always', {'COLORTERM': 'truecolor'}, '38;5;3')])
def test_colour(ask, choice, env, expected):
    done = ask('--once', '--color', choice, env=env)
    assert ('\x1b[%sm  78%%\x1b[0m' % expected if expected else ' 78%') in done.out
    assert bool(expected) == ('\x1b' in done.out)


# --- JSON ---

KEYS_OF_JSON = {
    '': {'schema', 'version', 'generated_at', 'mode', 'account', 'limits', 'extra_usage',
         'pace_maker', 'console', 'sources'},
    'account': {'name', 'email', 'organization', 'badges', 'tier'},
    'sources': {'usage', 'profile'}}
SOURCE_KEYS = {'status', 'at', 'age_seconds', 'error', 'message', 'next_at'}


def check_keys(document):
    """Later versions may add to what there is, and take nothing away."""
    assert set(document) >= KEYS_OF_JSON['']
    for name in ('account', 'sources'):
        assert set(document[name]) == KEYS_OF_JSON[name]
    for source in document['sources'].values():
        assert set(source) == SOURCE_KEYS


def test_json(ask, service):
    service.answer(USAGE, Reply(body=captures.USAGE_SPEND))
    done = ask('--json')
    assert (done.code, done.err) == (0, '')
    document = json.loads(done.out)
    check_keys(document)
    assert document['account'] == {
        'name': 'Jane', 'email': 'jane@example.com', 'organization': 'Example Corp',
        'badges': ['ENTERPRISE'], 'tier': 'default_claude_max_20x'}
    assert [(limit['id'], limit['used_percent']) for limit in document['limits']] == [
        ('five_hour', 11.0), ('seven_day', 9.0), ('weekly_scoped_fable', 5.0)]
    assert document['limits'][1]['resets_at'] == '2026-07-08T09:00:00Z'
    assert document['extra_usage'] == {
        'used': 12.34, 'limit': 50.0, 'currency': 'USD', 'used_percent': 24.68}
    for name in ('usage', 'profile'):
        source = document['sources'][name]
        assert (source['status'], source['error'], source['message']) == ('ok', None, '')


# --- Nothing to show ---

def replies(*reply, **more):
    return lambda home, server: server.answer(USAGE, Reply(*reply, **more))


def stores(document):
    text = document if isinstance(document, str) else json.dumps(document)
    return lambda home, server: (home / '.claude' / '.credentials.json').write_text(text)


EXPIRED = {'claudeAiOauth': dict(CREDENTIALS['claudeAiOauth'], expiresAt=1)}
FAILURES = {
    'no_credentials': (lambda home, server: (home / '.claude' / '.credentials.json').unlink(),
                       'No Claude Code login found. Run `claude` to log in, '
                       'or set ANTHROPIC_ADMIN_API_KEY for the Console.'),
    'logged_out': (stores(LOGGED_OUT),
                   'Logged out of Claude Code. Run `claude` to log in, or set '
                   'ANTHROPIC_ADMIN_API_KEY for the Console.'),
    'token_expired': (stores(EXPIRED), 'Token expired. Run `claude` to refresh.'),
    'malformed': (stores('{"claudeAiOauth": {"accessToken": "%s' % TOKEN),
                  'Failed to load credentials: not JSON.'),
    'unauthorized': (replies(401, captures.ERROR_401), 'Token refused. Run `claude` to refresh.'),
    'forbidden_scope': (replies(403, captures.ERROR_403_SCOPE),
                        'This token cannot read usage. Run `claude`, then /login, for one that '
                        'can.'),
    'forbidden': (replies(403, captures.EDGE_HTML), 'Access refused: 403.'),
    'rate_limited': (replies(429, captures.ERROR_429), 'Rate limited.'),
    'server_error': (replies(529, captures.ERROR_529), 'Server error 529, Overloaded.'),
    'bad_reply': (replies(body=captures.EDGE_HTML), 'Reply not understood: no JSON.'),
    'redirected': (replies(301, headers={'Location': 'https://evil.example/'}),
                   'Redirected to evil.example, not followed. Check --api-url and the proxy.'),
    'network': (lambda home, server: server.close(), 'No connection: connection refused.'),
    None: (replies(body={}), 'This account has no usage limits.'),
}


@pytest.mark.parametrize('code', FAILURES)
def test_each_failure_is_told_in_one_line(ask, home, service, code):
    make, sentence = FAILURES[code]
    service.answer(PROFILE, Reply(body={'account': {'full_name': 'I am ' + TOKEN}}))
    make(home, service)
    told = re.escape('claude-usage: ' + sentence) + r'( Next try \d\d:\d\d\.)?\n'
    done = ask('--json')
    assert done.code == 1 and re.fullmatch(told, done.err)
    document = json.loads(done.out)
    check_keys(document)
    assert (document['limits'], document['extra_usage']) == ([], None)
    usage = document['sources']['usage']
    assert (usage['status'], usage['error']) == ('error' if code else 'ok', code)
    assert usage['message'].startswith(sentence if code else '')
    if code in ('no_credentials', 'server_error', None):
        for arguments in ((), ('--once',)):
            done = ask(*arguments)
            assert (done.code, done.out) == (1, '') and re.fullmatch(told, done.err), done


# --- Arguments ---

@pytest.mark.parametrize('arguments', [
    ['--interval', '9.99'], ['--interval', 'abc'], ['--interval', ''], ['--interval', 'nan'],
    ['--interval', 'inf'], ['--interval=-30'], ['--interval', '1e9'], ['--interval'],
    ['--color', 'sometimes'], ['--mode', 'magic'], ['--no-such-option'], ['x'],
    ['--check'], ['--check', '-1'], ['--check', '100.1'], ['--check', 'x'], ['--check', ''],
    ['--check', 'nan'], ['--check', '50%'], ['--check', '5', '--once'], ['--metrics', '--json'],
    ['--metrics', '--check', '5'], ['--statusline', '--doctor'], ['--doctor', '--demo'],
    ['--statusline', '--demo']])
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


@pytest.mark.parametrize('url', BAD_URLS + [''])
def test_bad_addresses(capsys, monkeypatch, url):
    for arguments in [['--api-url', url]] + [[]] * bool(url):
        with pytest.raises(SystemExit) as caught:
            parse_arguments(arguments)
        told = capsys.readouterr().err
        assert caught.value.code == 2 and 'argument --api-url' in told
        assert 'SECRET' not in told and '\x1b' not in told
        monkeypatch.setenv('CLAUDE_USAGE_API_URL', url)


@pytest.mark.parametrize('url', [
    'https://host.example', 'https://host.example:8443/a/b/', 'https://1.2.3.4',
    'http://localhost', 'http://127.0.0.1:8000', 'http://127.255.255.254', 'http://[::1]:8000/',
    'https://[fe80::1]'])
def test_good_addresses(monkeypatch, url):
    monkeypatch.setenv('CLAUDE_USAGE_API_URL', '')
    assert parse_arguments([]).api_url == 'https://api.anthropic.com'
    assert parse_arguments(['--api-url', url]).api_url == url
    monkeypatch.setenv('CLAUDE_USAGE_API_URL', url)
    assert parse_arguments([]).api_url == url


def test_good_numbers():
    for seconds in ('10', '10.5', '86400'):
        assert parse_arguments(['--interval', seconds]).interval == float(seconds)
    for percent in ('0', '99.5', '100'):
        assert parse_arguments(['--check', percent]).check == float(percent)


def test_the_address_of_the_environment_is_asked(run, service):
    done = run(['--once'], {'CLAUDE_USAGE_API_URL': service.url})
    assert (done.code, len(service.requests)) == (0, 2)


def test_bad_arguments_end_the_program(run):
    done = run(['--interval', '9'])
    assert (done.code, done.out) == (2, '')
    assert 'Traceback' not in done.err


def test_version(run):
    done = run(['--version'])
    assert (done.code, done.err) == (0, '')
    assert re.fullmatch(r'claude-usage \d+\.\d+\.\d+\n', done.out)


OPTIONS = '''--mode --user --once --json --check --metrics --statusline --doctor --demo --interval
             --api-url --ascii --color --version --help'''.split()


@pytest.mark.parametrize('env', [{'LC_ALL': 'C'}, {'COLUMNS': '1'}])
def test_help(run, env):
    done = run(['--help'], env)
    assert (done.code, done.err) == (0, '')
    assert EXIT_CODES in done.out
    for words in OPTIONS + [key.help for key in KEYS]:
        assert words in done.out


# --- The demonstration, and a Python that has nothing ---

@pytest.fixture
def bare(tmp_path):
    """A function that gives an environment in which importing these modules does as told."""
    def make(what, *names):
        for name in names:
            (tmp_path / (name + '.py')).write_text(what)
        return {'PYTHONPATH': str(tmp_path)}
    return make


@pytest.mark.parametrize('output', ['--once', '--json'])
def test_demo_needs_nothing(run, tmp_path, bare, output):
    """Also of the file alone, as it is copied to a server."""
    (tmp_path / 'alone').mkdir()
    shutil.copy(str(PROGRAM), str(tmp_path / 'alone'))
    env = bare('import os; os._exit(99)', 'urllib3', 'pip', 'ssl', 'socket', 'requests')
    done = run(['--demo', output], env, home=tmp_path / 'nobody', cwd=str(tmp_path / 'alone'),
               argv=[sys.executable, PROGRAM.name])
    assert (done.code, done.err) == (0, '') and not (tmp_path / 'nobody').exists()
    if output == '--once':
        assert '┌ Claude Code Usage · demo ─' in done.out and 'Ada Example' in done.out
    else:
        document = json.loads(done.out)
        check_keys(document)
        assert len(document['limits']) == 3 and document['extra_usage']['currency'] == 'EUR'


def test_without_urllib3(ask, bare, service):
    done = ask('--json', env=bare('raise ImportError("blocked")', 'urllib3', 'pip'))
    assert done.code == 1 and json.loads(done.out)['sources']['usage']['error'] == 'network'
    assert re.fullmatch('claude-usage: .*urllib3 is missing.*`python3 -m pip install urllib3`.*\n',
                        done.err)
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
    assert asked(service) == 1


@pytest.mark.parametrize('arguments', [['--demo', '--once'], ['--help']], ids=' '.join)
def test_a_closed_pipe(run, arguments):
    """As of `| head -0`."""
    read, write = os.pipe()
    os.close(read)
    with open(write, 'wb') as stdout:
        done = run(arguments, stdout=stdout)
    assert (done.code, done.err) == (0, '')


@pytest.mark.parametrize('where', ['<&-', '>&-', '<&- >&- 2>&-'] + [
    '>/dev/full'] * os.path.exists('/dev/full'))
def test_nowhere_to_print(run, where):
    """As of a job that was started without the usual files, or on a full disk."""
    done = run(['--demo', '--json'],
               argv=['sh', '-c', 'exec "$@" ' + where, 'sh'] + COMMAND)
    assert 'Traceback' not in done.err
    assert done.err.count('\n') <= 1
