"""What is printed for others: the status line, --check, --metrics and --doctor."""
import collections
import copy
import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from decimal import Decimal

import pytest
from prometheus_client.parser import text_string_to_metric_families

import captures
from admin import JOHN, KEY, AdminApi, Organization, error
from captures import CREDENTIALS, LOGGED_OUT, TOKEN
from claude_usage import (DAY, FED_SECONDS, HOUR, KNOWN_SECONDS, METRICS, MINUTE, STORE_VERSION,
                          Attempt, Console, Finding, Known, Projection, Snapshot, Spend, Store,
                          Usage, account_key, as_findings, as_metrics, as_text, ascii_text, cells,
                          clean, feed_store, find_admin_keys, find_network, fingerprint,
                          identity_document, main, over, parse_arguments, parse_identity,
                          parse_status, parse_usage, statusline, width_of)
from conftest import PROGRAM
from pacemaker import Pace
from samples import (EXTRA, FIVE_HOUR, HOSTILE, MANY, NORMAL, NOW, RATE_LIMITED, SEVEN_DAY,
                     SITUATIONS, UNCAPPED, snapshot)
from server import Reply, Server
from terminal import COMMAND, ROOT, Terminal, environment
from test_store import locked

USAGE, PROFILE = '/api/oauth/usage', '/api/oauth/profile'
ACCOUNT = account_key(parse_identity(captures.CLAUDE_JSON), {})
PASSWORD = 'sEcReT-of-the-proxy'
COLOUR = re.compile('\x1b\\[[0-9;]*m')


def plain(text):
    return COLOUR.sub('', text)


def picture(usage, model='Opus', width=200):
    return ''.join(span.text for span in statusline(usage, model, NOW, width))


def store_in(home):
    return Store(str(home / '.claude-usage'))


def stored(home, age, document=captures.USAGE_2026):
    """Have replies of both endpoints in the store, of `age` seconds ago."""
    at = time.time() - age
    for source, body in (('usage', document), ('profile', captures.PROFILE)):
        store_in(home).settle(ACCOUNT, Attempt(source, fingerprint(TOKEN), at, 'ok'), at,
                              json.dumps(body), (), at)


def asked(server, path=USAGE):
    return [request.path for request in server.requests].count(path)


# --- the status line: what it looks like ---

@pytest.mark.parametrize('limits, shown', [
    ((FIVE_HOUR, SEVEN_DAY), '5h 78% ▕████▋░▏ 3h45m · 7d 34% · Opus'),
    ((FIVE_HOUR._replace(used=100.0), SEVEN_DAY), '5h 100% ▕██████▏ 3h45m · 7d 34% · Opus'),
    ((FIVE_HOUR._replace(used=0.0, resets_at=None),), '5h 0% ▕░░░░░░▏ idle · Opus'),
    ((FIVE_HOUR._replace(used=99.9, resets_at=NOW - 1),), '5h 99% ▕█████▉▏ due · Opus'),
    ((FIVE_HOUR._replace(used=250.0),), '5h 250% ▕██████▏ 3h45m · Opus'),
    ((SEVEN_DAY,), '7d 34% ▕██░░░░▏ 4d · Opus'),
    (MANY, '5h 78% ▕████▋░▏ 3h45m · 7d 34% · Opus'),
    ((), 'Opus')])
def test_the_status_line(limits, shown):
    assert picture(Usage(limits, None)) == shown


@pytest.mark.parametrize('usage, model, shown', [
    (None, 'Opus', 'Opus'), (None, '', ''), (Usage((), None), '', ''),
    (Usage((), EXTRA), 'Opus', 'Extra 38% · Opus'),
    (Usage((), UNCAPPED), '', 'Extra JPY 763'),
    (NORMAL.usage.value, '', '5h 78% ▕████▋░▏ 3h45m · 7d 34%')])
def test_a_status_line_of_less(usage, model, shown):
    assert picture(usage, model) == shown


@pytest.mark.parametrize('width, shown', [
    (38, '5h 78% ▕████▋░▏ 3h45m · 7d 34% · Opus'), (36, '5h 78% 3h45m · 7d 34% · Opus'),
    (27, '5h 78% · 7d 34% · Opus'), (21, '5h 78% · 7d 34%'), (14, '5h 78%'), (5, '78%'),
    (2, '7…')])
def test_a_narrow_status_line_keeps_the_numbers(width, shown):
    assert picture(NORMAL.usage.value, width=width) == shown


@pytest.mark.parametrize('situation', SITUATIONS)
def test_a_status_line_is_never_wider(situation):
    usage = SITUATIONS[situation].usage.value
    for model, width in itertools.product(('', 'Opus', '\u7530' * 80, clean(HOSTILE)), range(121)):
        line = statusline(usage, model, NOW, width)
        assert width_of(line) <= width
        assert len(as_text([line], 0).splitlines()) <= 1
        assert max(ascii_text(''.join(span.text for span in line)), default='x') < '\x7f'


@pytest.mark.parametrize('used, colour', [
    (50.4, '32'), (50.5, '33'), (80.5, '1;33'), (99.9, '1;33'), (100.0, '1;31')])
def test_the_colours_of_the_status_line(used, colour):
    line = statusline(Usage((FIVE_HOUR._replace(used=used),), None), '', NOW, 80)
    assert as_text([line], 8).startswith('5h \x1b[%sm' % colour)


# --- the status line: what it is told ---

RESETS = {'five_hour': 3 * HOUR + 45 * MINUTE + 30, 'seven_day': 4 * 24 * HOUR}


def session(five_hour=78, seven_day=34, later=0, model='Opus'):
    """What Claude Code tells its status line; `later` moves both windows."""
    rates = {name: {'used_percentage': used, 'resets_at': int(time.time()) + later + RESETS[name]}
             for name, used in (('five_hour', five_hour), ('seven_day', seven_day))
             if used is not None}
    return {'session_id': 'abc', 'cwd': '/w', 'model': {'id': 'm', 'display_name': model},
            'cost': {'total_cost_usd': 1.5}, 'version': '2.1.90', 'rate_limits': rates}


def test_parse_status():
    told = session(23.5, 41.2)
    windows = {name: {'utilization': window['used_percentage'], 'resets_at': window['resets_at']}
               for name, window in told['rate_limits'].items()}
    assert parse_status(told) == (windows, 'Opus')
    assert [(limit.id, limit.used) for limit in parse_usage(windows).limits] == [
        ('five_hour', 23.5), ('seven_day', 41.2)]


@pytest.fixture
def prompt(home, monkeypatch, capsys):
    """A function that runs --statusline in this process, for so many documents.

    It returns what is on stdout, and checks that nothing is on stderr, and the exit code.
    """
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)

    def run_it(document, *arguments, **env):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(data)))
            assert main(['--statusline'] + list(arguments)) == 0
        done = capsys.readouterr()
        assert done.err == ''
        return done.out
    return run_it


WHOLE = '5h 78% ▕████▋░▏ 3h45m · 7d 34% · Opus\n'


def test_the_prompt(prompt):
    out = prompt(session())
    assert plain(out) == WHOLE != out
    assert plain(prompt({})) == WHOLE.replace(' · Opus', ''), 'it is remembered'
    assert plain(prompt({'model': {'display_name': 'Fable'}})) == WHOLE.replace('Opus', 'Fable')


@pytest.mark.parametrize('absent, shown', [
    ('five_hour', '7d 34% ▕██░░░░▏ 3d · Opus\n'), ('seven_day', '5h 78% ▕████▋░▏ 3h45m · Opus\n')])
def test_one_window_may_be_absent(prompt, absent, shown):
    assert plain(prompt(session(**{absent: None}))) == shown
    assert plain(prompt(session())) == WHOLE
    assert plain(prompt(session(**{absent: None}))) == WHOLE


@pytest.mark.parametrize('arguments, env, colours', [
    ((), {}, '33'), ((), {'TERM': 'xterm-256color'}, '38;5;3'), ((), {'NO_COLOR': '1'}, ''),
    ((), {'COLORTERM': 'truecolor'}, '38;5;3'), (('--color', 'never'), {}, ''),
    (('--color', 'always'), {'NO_COLOR': '1'}, '33')])
def test_the_prompt_has_colours_unless_told(prompt, arguments, env, colours):
    out = prompt(session(), *arguments, **env)
    assert plain(out) == WHOLE
    assert ('5h \x1b[%sm78%%\x1b[0m' % colours in out) if colours else '\x1b' not in out


@pytest.mark.parametrize('arguments, env', [(('--ascii',), {}), ((), {'LC_ALL': 'C'})])
def test_the_prompt_in_ascii(prompt, arguments, env):
    out = prompt(session(model='Zoë ▕ 田'), *arguments, **env)
    assert plain(out) == '5h 78% |####--| 3h45m - 7d 34% - Zoe ? ??\n'


def test_the_prompt_in_every_width(prompt):
    for width, arguments in itertools.product(range(1, 121), ((), ('--ascii',))):
        out = prompt(session(model='田' * 40), *arguments, COLUMNS=str(width))
        assert cells(plain(out).rstrip('\n')) <= width and out.count('\n') <= 1


@pytest.mark.parametrize('columns', ['', '0', '-5', 'x', '9' * 30])
def test_the_prompt_in_no_width(prompt, columns):
    assert plain(prompt(session(), COLUMNS=columns)) == WHOLE


SECRET_NAME = 'Opus ' + TOKEN
ODD_VALUES = [
    None, True, False, '', 'x', '78', '2026-07-03T00:30:00Z', -1, -1e300, 1e308, 10 ** 400,
    float('nan'), float('inf'), [], {}, [[]], [{}], ['x'], {'x': 'y'}, {'utilization': 5},
    HOSTILE, SECRET_NAME, '\ud800', '\x00', 'x' * 10 ** 5]


def paths_of(document, path=()):
    """Every place of a document, the whole one included."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from paths_of(value, path + (key,))


def odd_documents():
    """A session's document with each odd value in each place."""
    for path, value in itertools.product(paths_of(session()), ODD_VALUES):
        document = {'': session(80, 35)}
        place = document
        for key in ('',) + path[:-1]:
            place = place[key] if path else place
        place[path[-1] if path else ''] = copy.deepcopy(value)
        yield path, document['']


@pytest.fixture
def known(prompt, tmp_path):
    """A function that makes a copy of a store that knows the numbers, and returns its folder."""
    prompt(session(), CLAUDE_USAGE_DIR=str(tmp_path / 'known'))
    numbers = itertools.count()

    def make():
        folder = str(tmp_path / ('store %d' % next(numbers)))
        shutil.copytree(str(tmp_path / 'known'), folder)
        return folder
    return make


def test_odd_documents(prompt, known):
    """What is odd is left out; the numbers there are come from the rest of it, or the store."""
    count = 0
    for path, document in odd_documents():
        out, count = prompt(document, CLAUDE_USAGE_DIR=known()), count + 1
        assert out.count('\n') == 1 and 'SECRET' not in out
        assert not set('\x1b\x07\u202e\x9b\x00\r') & set(plain(out))
        is_odd = {name: path[:2] == ('rate_limits', name) or len(path) < 2 and path in (
            (), ('rate_limits',)) for name in RESETS}
        shown = re.match(r'5h (\d+)% .* 7d (\d+)%(?: · (.*))?\n', plain(out))
        assert shown, (path, document, out)
        assert int(shown.group(1)) in ((78, 80) if is_odd['five_hour'] else (80,)), (path, out)
        assert int(shown.group(2)) in ((34, 35) if is_odd['seven_day'] else (35,)), (path, out)
        if path[:1] not in ((), ('model',)):
            assert shown.group(3) == 'Opus'
    assert count > 300


def as_bytes(**how):
    return json.dumps(session(**how)).encode()


# what is odd -> the bytes, made of a whole document
ODD_BYTES = {
    'empty': lambda whole: b'', 'blank': lambda whole: b' \n', 'no JSON': lambda whole: b'x',
    'null': lambda whole: b'null', 'a list': lambda whole: b'[]', 'a text': lambda whole: b'"x"',
    'a number': lambda whole: b'78', 'NaN': lambda whole: b'NaN', 'a zero': lambda whole: b'\x00',
    'no UTF-8': lambda whole: b'\xff\xfe', 'no UTF-8 first': lambda whole: b'\xff' + whole,
    'no UTF-8 within': lambda whole: whole.replace(b'Opus', b'Op\xffus'),
    'UTF-16': lambda whole: whole.decode().encode('utf-16'), 'two': lambda whole: whole * 2,
    'open objects': lambda whole: b'{' * 10 ** 5, 'nested lists': lambda whole: b'[' * 10 ** 6,
    'nested objects': lambda whole: b'{"model":' * 10 ** 5,
    'balanced lists': lambda whole: b'[' * 10 ** 5 + b']' * 10 ** 5,
    'too long': lambda whole: b' ' * (9 << 20) + whole,
    'escapes': lambda whole: b'\x1b]0;title\x07\x1b[31m'}


@pytest.mark.parametrize('name', ODD_BYTES)
def test_odd_bytes(prompt, known, name):
    out = prompt(ODD_BYTES[name](as_bytes()), CLAUDE_USAGE_DIR=known())
    assert plain(out) == WHOLE.replace(' · Opus', '')


def test_cut_documents(prompt, known):
    whole = as_bytes(five_hour=99)
    for end in range(1, len(whole)):
        assert plain(prompt(whole[:end], CLAUDE_USAGE_DIR=known())).startswith('5h 78% ')


def test_harmless_bytes(prompt):
    assert plain(prompt(b'\xef\xbb\xbf' + as_bytes())) == WHOLE
    assert plain(prompt(as_bytes().replace(b'1.5', b'9' * 4000))) == WHOLE


@pytest.mark.parametrize('how', ['idle session', 'older windows', 'idle in one window'])
def test_an_idle_session_does_not_take_the_numbers_back(prompt, how):
    prompt(session())
    late = {'idle session': session(60, 20), 'older windows': session(99, 99, later=-5 * HOUR),
            'idle in one window': session(60, None)}[how]
    for _ in range(2):
        assert plain(prompt(late)) == WHOLE
    assert plain(prompt({})) == WHOLE.replace(' · Opus', '')
    assert plain(prompt(session(80, 35))).startswith('5h 80% ')


def test_a_newer_window_begins_anew(prompt):
    prompt(session())
    for document in (session(3, 1, later=HOUR // 2), {}, session(80, 35)):
        assert re.match('5h 3% .* 4h15m · 7d 1%', plain(prompt(document)))


def test_the_numbers_of_a_monitor_count_too(prompt, home):
    reset = time.time() + RESETS['five_hour']
    stored(home, 20, {'five_hour': {'utilization': 81, 'resets_at': reset}, 'seven_day': None,
                      'seven_day_sonnet': {'utilization': 2, 'resets_at': None}})
    assert plain(prompt({})).startswith('5h 81% ')
    assert plain(prompt(session())).startswith('5h 81% ')
    assert plain(prompt(session(82))).startswith('5h 82% ')


@pytest.mark.parametrize('accounts, are_shared', [
    ((None, None), False), (('a', 'b'), False), (('a', None), False), (('a', 'a'), True)])
def test_two_config_directories(prompt, tmp_path, accounts, are_shared):
    """They do not mix, unless it is the same account in both."""
    folders = [tmp_path / name for name in ('one', 'two')]
    for folder, uuid in zip(folders, accounts):
        folder.mkdir()
        if uuid:
            account = dict(captures.CLAUDE_JSON['oauthAccount'], accountUuid=uuid)
            (folder / '.claude.json').write_text(json.dumps({'oauthAccount': account}))
    one, two = ({'CLAUDE_CONFIG_DIR': str(folder)} for folder in folders)
    assert plain(prompt(session(), **one)) == WHOLE
    assert plain(prompt({}, **two)) == (WHOLE.replace(' · Opus', '') if are_shared else '')
    assert plain(prompt(session(9, 8), **two)).startswith('5h 78%' if are_shared else '5h 9%')
    assert plain(prompt({}, **one)) == WHOLE.replace(' · Opus', '')


def link_to(folder):
    def make(path):
        (path.parent / 'elsewhere').mkdir()
        target = path.parent / 'elsewhere' / ('store.db' if folder else '')
        if folder:
            path.mkdir(mode=0o700)
            target.write_text('')
            (path / 'store.db').symlink_to(target)
        else:
            path.symlink_to(target)
    return make


def holding(text):
    def make(path):
        path.mkdir(mode=0o700)
        (path / 'store.db').write_bytes(text)
    return make


def newer(path):
    prepared = Store(str(path))
    prepared.count(NOW)
    prepared.use(lambda db: db.execute('PRAGMA user_version = %d' % (STORE_VERSION + 1)) and None,
                 NOW, writes='data')


def read_only_folder(path):
    path.mkdir(mode=0o500)
    if os.access(str(path), os.W_OK):
        pytest.skip('root may write anywhere')


STORES = {
    'a link': link_to(False), 'its file is a link': link_to(True),
    'a file': lambda path: path.write_text('x'),
    'in a file': lambda path: path.parent.joinpath('x').write_text('x'),
    'malformed': holding(b'SQLite format 3\x00' + b'x' * 9000), 'no database': holding(b'x' * 99),
    'read-only': read_only_folder, 'newer': newer,
    'others may write': lambda path: (path.mkdir(), path.chmod(0o777)),
    'its file is a folder': lambda path: path.joinpath('store.db').mkdir(parents=True)}


@pytest.mark.parametrize('name', STORES)
def test_without_a_store_there_are_the_numbers_of_stdin(prompt, tmp_path, name):
    path = tmp_path / 'shared'
    STORES[name](path)
    path = path.parent / 'x' / 'y' if name == 'in a file' else path
    assert plain(prompt(session(), CLAUDE_USAGE_DIR=str(path))) == WHOLE
    if 'link' in name:
        assert [found.name for found in (tmp_path / 'elsewhere').iterdir()] == (
            ['store.db'] if 'file' in name else []), 'nothing was written there'
        assert all(not found.read_bytes() for found in (tmp_path / 'elsewhere').iterdir())


def test_what_is_known_is_printed_where_the_store_cannot_be_written(prompt, home):
    prompt(session())
    with locked(str(home / '.claude-usage' / 'store.db'), 'IMMEDIATE'):
        told = plain(prompt(session(80, None)))
    assert told.startswith('5h 80% ') and ' · 7d 34% · Opus' in told


def test_a_window_whose_reset_has_passed_is_not_brought_back(prompt, ask, service, home):
    """By a session that has been idle since, or by an earlier feed."""
    fresh = dict(captures.USAGE_2026, five_hour={'utilization': 0.0, 'resets_at': None})
    stored(home, 10, fresh)
    old = session(85, 34)
    old['rate_limits']['five_hour']['resets_at'] = time.time() - 2 * HOUR
    assert plain(prompt(old)).startswith('5h 0% ')
    assert ask('--check', '80') == (0, '', '')
    assert '85%' not in ask('--once').out and asked(service) == 0


def test_a_window_that_an_earlier_feed_told_ends_with_its_reset(home):
    account, store, now = ACCOUNT, store_in(home), time.time()
    window = {'utilization': 95.0, 'resets_at': now - 60}
    feed_store(store, account, {'five_hour': window}, now - HOUR)
    week = {'utilization': 30.0, 'resets_at': now + DAY}
    usage = feed_store(store, account, {'seven_day': week}, now)
    assert [limit.id for limit in usage.limits] == ['seven_day']


@pytest.mark.parametrize('layout', [
    {'indent': 2}, {'indent': 4}, {'indent': 1}, {}, {'indent': 2, 'sort_keys': True}])
@pytest.mark.parametrize('document', [
    captures.CLAUDE_JSON, {}, {'oauthAccount': None}, {'oauthAccount': {}},
    {'x': {'oauthAccount': {'accountUuid': 'nested'}}},
    {'x': {'oauthAccount': {'accountUuid': 'nested'}}, **captures.CLAUDE_JSON, 'y': 1},
    {'x': '\n  "oauthAccount": {"accountUuid": "told"}', **captures.CLAUDE_JSON}])
def test_of_a_long_file_only_the_account_is_read(document, layout):
    """However it is laid out, the same is found as by reading it all."""
    words = json.dumps(document, **layout)
    assert parse_identity(identity_document(words)) == parse_identity(document)


@pytest.mark.parametrize('name', ['.claude.json', '.claude/.credentials.json'])
@pytest.mark.parametrize('text', ['', '{', '[' * 10 ** 5, '[]', '{"oauthAccount": "x"}'])
def test_the_prompt_beside_odd_files(prompt, home, name, text):
    (home / name).write_text(text)
    assert plain(prompt(session())) == WHOLE


@pytest.fixture
def installed(home, server):
    """A function that runs --statusline as Claude Code does, by a shell's redirections.

    Nothing by which a request could be made can be imported.
    """
    for name in ('urllib3', 'pip', 'ssl', 'socket', 'http'):
        (home / (name + '.py')).write_text('import os; os._exit(99)')

    def run_it(redirections='', **env):
        done = subprocess.run(
            ['sh', '-c', 'exec "$@" ' + redirections, 'sh'] + COMMAND + ['--statusline'],
            cwd=ROOT, input=as_bytes(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(environment(home), **dict({
                'PYTHONPATH': str(home), 'CLAUDE_USAGE_API_URL': server.url}, **env)))
        assert server.requests == []
        return done.returncode, plain(done.stdout.decode()), done.stderr.decode()
    return run_it


def test_installed_it_makes_no_request(installed, home):
    assert installed() == (0, WHOLE, '')
    assert store_in(home).count(time.time()) == 2


@pytest.mark.parametrize('redirections', ['<&-', '</dev/null', '>&-', '2>&-', '<&- >&- 2>&-'] + [
    '>/dev/full', '>/dev/full 2>&1'] * os.path.exists('/dev/full'))
def test_without_the_usual_files(installed, redirections):
    code, _, words = installed(redirections)
    assert (code, words) == (0, '')


def test_a_wrong_address_does_not_break_the_prompt(installed):
    """It is no address that is asked."""
    assert installed(CLAUDE_USAGE_API_URL='x') == (0, WHOLE, '')


def test_the_fast_form_runs_no_code_of_the_folder(home, tmp_path):
    """The command is that of README, for a copy of the file in another place."""
    readme = PROGRAM.with_name('README.md').read_text(encoding='utf-8')
    command, = [settings['statusLine']['command'] for settings in
                map(json.loads, re.findall('```json\n(.+)\n```', readme))
                if '/home/me/bin' in settings['statusLine']['command']]
    assert command.startswith('python3 ')
    folder, project = tmp_path / 'bin', tmp_path / 'project'
    for path in (folder, project):
        path.mkdir()
    shutil.copy(str(PROGRAM), str(folder))
    for name in ('claude_usage', 'argparse', 'json', 'sqlite3'):
        (project / (name + '.py')).write_text('raise SystemExit("%s was run")' % name)

    def run_it(command):
        done = subprocess.run(
            ['sh', '-c', command], cwd=str(project), input=as_bytes(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(environment(home), PYTHONPATH='.'))
        return done.returncode, plain(done.stdout.decode()), done.stderr.decode()
    python = shlex.quote(sys.executable)
    words = command.replace('python3', python, 1).replace('/home/me/bin', str(folder))
    assert run_it(words) == (0, WHOLE, '')
    assert store_in(home).count(time.time()) == 2
    assert run_it(python + ' -m claude_usage --statusline')[2] == 'claude_usage was run\n'


def test_typed_by_hand_it_does_not_wait(home):
    with Terminal(COMMAND + ['--statusline'], env={'HOME': str(home)}) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.text().strip() == ''


# --- --check ---

def judged(snapshot, percent):
    """What --check says of a snapshot."""
    return over(snapshot.usage.value, snapshot.usage.at, percent, NOW)


@pytest.mark.parametrize('percent, code, words', [
    (0, 3, ['5-Hour: 78% used, Resets in: 3h 45m (00:04)',
            '7-Day: 34% used, Resets in: 4d 1h 12m (Thu 21:31)']),
    (34, 3, ['5-Hour: 78% used, Resets in: 3h 45m (00:04)',
             '7-Day: 34% used, Resets in: 4d 1h 12m (Thu 21:31)']),
    (34.1, 3, ['5-Hour: 78% used, Resets in: 3h 45m (00:04)']),
    (78, 3, ['5-Hour: 78% used, Resets in: 3h 45m (00:04)']),
    (78.1, 0, []), (100, 0, [])])
@pytest.mark.usefixtures('zone')
def test_over(percent, code, words):
    assert judged(NORMAL, percent) == (code, ''.join(line + '\n' for line in words))


@pytest.mark.parametrize('age, code', [
    (0, 3), (KNOWN_SECONDS, 3), (KNOWN_SECONDS + 1, 1), (-HOUR, 3)])
def test_old_numbers_are_none(age, code):
    known = snapshot((FIVE_HOUR,), age=age, failure=RATE_LIMITED)
    assert judged(known, 50)[0] == code


@pytest.mark.parametrize('age, percent, code', [
    (KNOWN_SECONDS, 90, 0), (KNOWN_SECONDS + 1, 90, 1), (KNOWN_SECONDS + 1, 50, 3)])
def test_old_limits_beside_fed_ones_are_none(age, percent, code):
    """The status line tells nothing of the limits of models."""
    known = snapshot((FIVE_HOUR, SEVEN_DAY))
    usage = known.usage.value._replace(via='Claude Code', rest_at=NOW - age)
    assert over(usage, NOW - 1, percent, NOW)[0] == code


@pytest.mark.parametrize('limits, code', [
    ((FIVE_HOUR, SEVEN_DAY), 0), ((FIVE_HOUR,), 1), ((SEVEN_DAY,), 1)])
def test_of_what_the_status_line_alone_tells_no_window_may_be_missing(limits, code):
    usage = Usage(limits, None, 'Claude Code')
    assert over(usage, NOW - 1, 90, NOW)[0] == code
    assert over(usage, NOW - 1, 30, NOW)[0] == 3


@pytest.mark.parametrize('known', [
    Snapshot(), SITUATIONS['no login'], SITUATIONS['waiting'], snapshot(), snapshot((), EXTRA)])
def test_without_limits_it_is_unknown(known):
    assert judged(known, 0) == (1, '')


@pytest.mark.parametrize('used, code', [(99.96, 0), (100, 3), (100.4, 3)])
def test_a_hundred_percent_is_all(used, code):
    assert judged(snapshot((FIVE_HOUR._replace(used=used),)), 100)[0] == code


@pytest.mark.parametrize('percent', [
    '-1', '100.1', 'x', '', 'nan', 'inf', '-inf', '1e9', '50%', '0x10', '5 0'])
def test_bad_percents(capsys, percent):
    with pytest.raises(SystemExit) as ended:
        parse_arguments(['--check', percent])
    assert ended.value.code == 2 and 'Traceback' not in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [
    ['--check'], ['--check', '5', '--once'], ['--metrics', '--check', '5'],
    ['--metrics', '--json'], ['--statusline', '--doctor'], ['--doctor', '--demo'],
    ['--statusline', '--demo']])
def test_what_does_not_go_together(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2 and 'Traceback' not in capsys.readouterr().err


@pytest.fixture
def service(server):
    """A server that answers as the service does."""
    server.answer(USAGE, Reply(body=captures.USAGE_2026))
    server.answer(PROFILE, Reply(body=captures.PROFILE))
    return server


@pytest.fixture
def ask(run, service):
    """A function that runs the program with arguments against that server."""
    def run_it(*arguments, **how):
        done = run(['--api-url', service.url] + list(arguments), **how)
        assert 'SECRET' not in done.out + done.err and 'Traceback' not in done.err
        return done
    return run_it


@pytest.mark.parametrize('percent, code, words', [
    ('12', 0, ''), ('11', 3, '5-Hour: 11% used, Reset due\n')])
def test_check(ask, service, percent, code, words):
    assert ask('--check', percent) == (code, words, '')
    assert asked(service) == 1
    assert ask('--check', percent) == (code, words, '')
    assert asked(service) == 1, 'so young a reply serves'


@pytest.mark.parametrize('age, count', [(30, 0), (90, 1)])
def test_check_by_a_stored_reply(ask, service, home, age, count):
    stored(home, age)
    assert ask('--check', '10').code == 3
    assert (asked(service), asked(service, PROFILE)) == (count, 0)


def test_check_while_claude_code_feeds(ask, service, home, prompt):
    prompt(session())
    assert ask('--check', '78', timeout=20).code == 3, 'and soon'
    assert asked(service) == 0


@pytest.mark.parametrize('minutes, code', [(14, 3), (16, 1)])
def test_check_while_the_service_does_not_answer(ask, service, home, minutes, code):
    service.answer(USAGE, Reply(429, captures.ERROR_429))
    stored(home, minutes * MINUTE)
    done = ask('--check', '10')
    assert (done.code, asked(service)) == (code, 1)
    assert bool(done.out) == (code == 3) and bool(done.err) == (code == 1)


@pytest.mark.parametrize('login, reply, reason', [
    (LOGGED_OUT, None, 'Logged out'), (None, Reply(500), 'Server error'),
    (None, Reply(body={}), 'no usage limits')])
def test_check_of_nothing(ask, service, home, login, reply, reason):
    if login:
        (home / '.claude' / '.credentials.json').write_text(json.dumps(login))
    if reply:
        service.answer(USAGE, reply)
    done = ask('--check', '0')
    assert (done.code, done.out) == (1, '') and reason in done.err


# --- --metrics ---

def families(text):
    """name -> (kind, documentation, {labels as a tuple of pairs: value}) of Prometheus' text."""
    return {family.name: (family.type, family.documentation, {
        tuple(sorted(sample.labels.items())): sample.value for sample in family.samples})
        for family in text_string_to_metric_families(text)}


def gauge(text, name):
    return families(text).get('claude_usage_' + name, ('', '', {}))[2]


TYPES = 'counter gauge histogram summary untyped info total count sum bucket'.split()
NOT_BASE_UNITS = ('milliseconds ms minutes hours days percent percents cents kilobytes mb '
                  'nanoseconds us').split()


def check_rules(text):
    """Prometheus' rules: prometheus.io/docs, exposition formats and metric naming."""
    assert text.endswith('\n') and not re.search(r'[\x00-\x09\x0b-\x1f\x7f]', text)
    order = []
    for line in text.splitlines():
        told = re.fullmatch(r'# (HELP|TYPE) (claude_usage_[a-z_]+) (\S.*)', line)
        sample = re.fullmatch(
            r'(claude_usage_[a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\["\\n])*",?)+)\})?'
            r' -?[0-9][0-9.e+-]*', line)
        assert told or sample, line
        order.append((told.group(2), told.group(1)) if told else (sample.group(1), ''))
        assert not told or told.group(1) == 'HELP' or told.group(3) == 'gauge'
        for label in re.findall(r'([a-z]+)="', sample.group(2) or '') if sample else ():
            assert label in ('limit', 'currency')
    names = [name for name, group in itertools.groupby(order, lambda entry: entry[0])]
    assert len(names) == len(set(names)), 'the lines of a metric stand together'
    for name, lines in itertools.groupby(order, lambda entry: entry[0]):
        kinds = [kind for _, kind in lines]
        assert kinds[:2] == ['HELP', 'TYPE'] and len(kinds) > 2 and not any(kinds[2:])
        words = name.split('_')
        assert not set(words) & set(TYPES + NOT_BASE_UNITS)
        for unit in ('seconds', 'ratio'):
            assert unit not in words[:-1]
        assert 'timestamp' not in words or words[-2:] == ['timestamp', 'seconds']
    count = collections.Counter((family.name, tuple(sorted(sample.labels.items())))
                                for family in text_string_to_metric_families(text)
                                for sample in family.samples)
    assert set(count.values()) == {1}, 'each series once'
    if shutil.which('promtool'):
        done = subprocess.run(['promtool', 'check', 'metrics'], input=text.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert (done.returncode, done.stdout) == (0, b'')


CENTS = {'USD': Decimal('123456'), 'EUR': Decimal('7')}
CONSOLE = Console('Acme', '2026-11', '2026-11-22', JOHN, {'USD': Decimal('4210')}, CENTS,
                  Projection(Decimal('10.5'), Decimal('200001'), None), (), (), (), (), 22, 22, ())
HOSTILE_KEYS = ['we"ird', 'back\\slash', 'new\nline', 'tab\t', '\x1b[31mred', '\u202eltr', '', '}',
                'a\\nb', 'sk-ant-oat01-SECRET-that-is-a-name', '\u7530']


@pytest.mark.parametrize('known, mode', [
    *((known, 'code') for known in SITUATIONS.values()), (Snapshot(), 'console'),
    (snapshot((FIVE_HOUR,), EXTRA)._replace(console=Known(CONSOLE, NOW)), 'console'),
    (Snapshot(console=Known(CONSOLE._replace(own=None, total=None, projection=None), NOW)),
     'console')])
def test_the_rules_of_prometheus(known, mode):
    check_rules(as_metrics(known, NOW, mode))


def test_names_of_metrics_and_their_words():
    for name, words in METRICS.items():
        assert re.fullmatch('[a-z]+(_[a-z]+)*', name)
        assert words.endswith('.') and '\n' not in words and '\\' not in words


def test_the_values():
    text = as_metrics(snapshot(MANY, EXTRA, age=7.5), NOW)
    assert gauge(text, 'up') == {(): 1}
    assert gauge(text, 'reply_age_seconds') == {(): 7.5}
    ratios, resets = (gauge(text, name) for name in ('limit_used_ratio',
                                                     'limit_reset_timestamp_seconds'))
    assert ratios == {(('limit', limit.id),): pytest.approx(limit.used / 100) for limit in MANY}
    assert resets == {(('limit', limit.id),): limit.resets_at for limit in MANY
                      if limit.resets_at}
    assert gauge(text, 'extra_used') == {(('currency', 'EUR'),): 7.63}
    assert gauge(text, 'extra_limit') == {(('currency', 'EUR'),): 20}


@pytest.mark.parametrize('spend, used, limit', [
    (None, {}, {}), (UNCAPPED, {'JPY': 763}, {}),
    (Spend(1234, 5000, 3, 'KWD', None), {'KWD': 1.234}, {'KWD': 5}),
    (Spend(5, 0, 2, 'USD', None), {'USD': 0.05}, {'USD': 0})])
def test_extra_usage(spend, used, limit):
    text = as_metrics(snapshot((FIVE_HOUR,), spend), NOW)
    for name, amounts in (('extra_used', used), ('extra_limit', limit)):
        assert gauge(text, name) == {
            (('currency', currency),): amount for currency, amount in amounts.items()}


@pytest.mark.parametrize('known, up', [
    (NORMAL, 1), (Snapshot(), 0), (snapshot(), 0), (SITUATIONS['no login'], 0),
    (SITUATIONS['rate limited'], 0), (SITUATIONS['token expired'], 0), (SITUATIONS['stale'], 1)])
def test_up(known, up):
    text = as_metrics(known, NOW)
    assert gauge(text, 'up') == {(): up}
    assert bool(gauge(text, 'limit_used_ratio')) == bool(known.usage.value
                                                         and known.usage.value.limits)


def test_names_of_limits_are_quoted():
    document = {key: {'utilization': 1 + index} for index, key in enumerate(HOSTILE_KEYS)}
    usage = parse_usage(dict(document, limits=[
        {'kind': key, 'percent': 50 + index} for index, key in enumerate(HOSTILE_KEYS)]))
    text = as_metrics(Snapshot(usage=Known(usage, NOW)), NOW)
    check_rules(text)
    assert 'SECRET' not in text
    assert set(gauge(text, 'limit_used_ratio')) == {
        (('limit', limit.id),) for limit in usage.limits}
    for name in ('we"ird', 'back\\slash', '}', 'a\\nb', '\u7530'):
        assert (('limit', name),) in gauge(text, 'limit_used_ratio')


def test_the_costs_of_the_console():
    """In the currency's main unit, exact to the cent."""
    text = as_metrics(Snapshot(console=Known(CONSOLE, NOW - 60)), NOW, 'console')
    assert families(text)['claude_usage_console_own_cost'][0] == 'gauge'
    assert gauge(text, 'console_own_cost') == {(('currency', 'USD'),): 42.1}
    assert gauge(text, 'console_organization_cost') == {
        (('currency', 'EUR'),): 0.07, (('currency', 'USD'),): 1234.56}
    assert gauge(text, 'console_projected_cost') == {(('currency', 'USD'),): 2000.01}
    assert gauge(text, 'reply_age_seconds') == {(): 60}
    for cents in range(0, 10 ** 6, 997):
        text = as_metrics(Snapshot(console=Known(CONSOLE._replace(own={'USD': Decimal(cents)}),
                                                 NOW)), NOW, 'console')
        assert 'own_cost{currency="USD"} %s\n' % (cents / 100) in text


def test_metrics(ask, service):
    service.answer(USAGE, Reply(body=captures.USAGE_SPEND))
    done = ask('--metrics')
    assert (done.code, done.err) == (0, '')
    check_rules(done.out)
    assert gauge(done.out, 'up') == {(): 1} and 0 <= gauge(done.out, 'reply_age_seconds')[()] < 60
    assert gauge(done.out, 'limit_used_ratio') == {
        (('limit', name),): ratio for name, ratio in (
            ('five_hour', 0.11), ('seven_day', 0.09), ('weekly_scoped_fable', 0.05))}
    assert gauge(done.out, 'limit_reset_timestamp_seconds')[(('limit', 'five_hour'),)] == (
        pytest.approx(1783038600.282668))
    assert gauge(done.out, 'extra_used') == {(('currency', 'USD'),): 12.34}


@pytest.mark.parametrize('mode', ['code', 'console'])
def test_metrics_of_nothing(ask, service, home, mode):
    (home / '.claude' / '.credentials.json').unlink()
    done = ask('--metrics', '--mode', mode)
    assert done.code == 1 and done.err.count('\n') == 1
    check_rules(done.out)
    assert families(done.out).keys() == {'claude_usage_up'}
    assert gauge(done.out, 'up') == {(): 0}


def test_metrics_while_the_service_fails(ask, service, home):
    service.answer(USAGE, Reply(500))
    stored(home, 20 * MINUTE)
    done = ask('--metrics')
    assert (done.code, gauge(done.out, 'up')) == (0, {(): 0})
    assert gauge(done.out, 'limit_used_ratio')[(('limit', 'five_hour'),)] == 0.11
    assert gauge(done.out, 'reply_age_seconds')[()] > 20 * MINUTE


PAST = 1763467200               # 2025-11-18 12:00 UTC, as the server's Date tells


def test_metrics_of_the_console(ask, service):
    organization = Organization('2025-11-01')
    AdminApi(service, organization, date=PAST)
    done = ask('--metrics', env={'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN,
                                 'CLAUDE_CONFIG_DIR': '/nonexistent'})
    assert (done.code, done.err) == (0, '')
    check_rules(done.out)
    for name, sums in (('console_own_cost', organization.own(JOHN)),
                       ('console_organization_cost', organization.total())):
        assert gauge(done.out, name) == {
            (('currency', currency),): pytest.approx(float(cents / 100), abs=1e-9)
            for currency, cents in sums.items()}
    assert gauge(done.out, 'up') == {(): 1}


# --- --doctor ---

def writes(document, name='.claude/.credentials.json'):
    text = document if isinstance(document, str) else json.dumps(document)

    def make(home, server):
        (home / name).write_text(text)
        return {}
    return make


def login(**changes):
    return writes({'claudeAiOauth': dict(CREDENTIALS['claudeAiOauth'], **changes)})


def replies(*replies):
    def make(home, server):
        server.answer(USAGE, *replies)
        return {}
    return make


def console_too(key=KEY, name='Acme Corporation'):
    def make(home, server):
        AdminApi(server, Organization()).organization.name = name
        return {'ANTHROPIC_ADMIN_API_KEY': key}
    return make


def console_only(home, server):
    login(accessToken='')(home, server)
    return console_too()(home, server)


def console_key_in_file(home, server):
    console_too()(home, server)
    return writes({'anthropicConsole': {'adminApiKey': KEY}})(home, server)


def with_pace_maker(**files):
    def make(home, server):
        pace = Pace(home / '.claude-pace-maker')
        for name, data in files.items():
            pace.write(name + '.db', data)
        return {}
    return make


def with_link(home, server):
    (home / 'elsewhere').mkdir()
    (home / '.claude-usage').symlink_to(home / 'elsewhere')
    return {}


def in_env(**env):
    return lambda home, server: env


def with_config_directory(home, server):
    (home / '.claude').rename(home / 'other')
    return {'CLAUDE_CONFIG_DIR': str(home / 'other')}


ECHO = error(401, 'invalid bearer token %s and key %s' % (TOKEN, KEY))
# what is so -> (how to make it so, lines among those that are printed, exit code)
DOCTOR = {
    'logged in': (in_env(), [
        r'✓ claude-usage \d.*: Python \d.*, \w+\.', r'✓ urllib3: \d.*\.', r'✓ SQLite: \d.*\.',
        r'✓ ~/.claude/.credentials.json: expires in \d+d .*\), scopes user:inference user:profile '
        r'user:sessions:claude_code\.',
        r'✗ CLAUDE_CODE_OAUTH_TOKEN: not set, nor needed .*',
        r"✓ ~/.claude.json: jane@example.com, jane@example.com's Organization\.",
        r'✗ ANTHROPIC_ADMIN_API_KEY: not set; only Console mode needs it\.',
        r'✗ ~/.claude/.credentials.json, adminApiKey: not set; .*',
        r'✓ Proxy: none\.', r"✓ Certificates: the system's\.",
        r'✓ Code mode: the service answered in \d+\.\d\d s\.',
        r'✗ Pace Maker: not installed, nor needed\.',
        r'✗ Console mode: No Admin API key found\..*',
        r'✓ Store: ~/.claude-usage/store.db, \d+ KiB, \d+ samples\.', r'✗ Terminal: none; .*'], 0),
    'expired': (login(expiresAt=1), [
        r'✗ ~/.claude/.credentials.json: expired \d+d .* ago \(Jan 1 .*\), scopes user:inference '
        r'.*\. Token expired\. Run `claude` to refresh\.',
        r'✗ Code mode: Token expired\. Run `claude` to refresh\.'], 1),
    'logged out': (writes(LOGGED_OUT), [
        r'✗ ~/.claude/.credentials.json: Logged out of Claude Code\. Run `claude` .*',
        r'✗ Code mode: Logged out .*'], 1),
    'no file': (lambda home, server: (home / '.claude' / '.credentials.json').unlink() or {}, [
        r'✗ ~/.claude/.credentials.json: No Claude Code login found\. Run `claude` .*'], 1),
    'no scope': (lambda home, server: (
        login(scopes=['user:inference'])(home, server),
        replies(Reply(403, captures.ERROR_403_SCOPE))(home, server))[1], [
        r'✗ ~/.claude/.credentials.json: expires in .*, scopes user:inference\. This token cannot '
        r'read usage\. Run `claude`, then .*',
        r'✗ Code mode: This token cannot read usage\. .* The request took \d+\.\d\d s\.'], 1),
    'token of the environment': (lambda home, server: dict(
        writes(LOGGED_OUT)(home, server), CLAUDE_CODE_OAUTH_TOKEN=TOKEN), [
        r'✓ CLAUDE_CODE_OAUTH_TOKEN: set; it cannot read usage\.'], 0),
    'malformed': (writes('{"claudeAiOauth": {"accessToken": "%s' % TOKEN), [
        r'✗ ~/.claude/.credentials.json: Failed to load credentials: not JSON\.',
        r'✗ Code mode: Failed to load .*'], 1),
    'odd token': (login(accessToken='SECRET with \n blanks'), [
        r'✗ ~/.claude/.credentials.json: Failed to load .*'], 1),
    'no identity': (writes('{}', '.claude.json'), [
        r'✗ ~/.claude.json: tells no account\. Run `claude` to log in\.', r'✓ Code mode: .*'], 0),
    'odd identity': (writes('{', '.claude.json'), [
        r'✗ ~/.claude.json: Failed to load identity: not JSON\.'], 0),
    'another directory': (with_config_directory, [
        r'✓ ~/other/.credentials.json: expires .*', r'✗ ~/other/.claude.json: tells no .*'], 0),
    'console too': (console_too(), [
        r'✓ ANTHROPIC_ADMIN_API_KEY: set\.', r'✓ Code mode: .*',
        r'✓ Console mode: Acme Corporation answered in \d+\.\d\d s\.'], 0),
    'console only': (console_only, [r'✗ Code mode: .*', r'✓ Console mode: .*'], 0),
    'console by the file': (console_key_in_file, [
        r'✓ ~/.claude/.credentials.json, adminApiKey: set\.', r'✓ Console mode: .*'], 0),
    'hostile organization': (console_too(name=HOSTILE), [
        r'✓ Console mode: \S.* answered in .*'], 0),
    'key of the wrong kind': (console_too('sk-ant-api03-SECRET-SECRET'), [
        r'✗ ANTHROPIC_ADMIN_API_KEY: Admin API key refused: this is a normal API key, .*',
        r'✗ Console mode: Admin API key refused: this is .*'], 0),
    'key refused': (lambda home, server: console_too()(home, server) and server.answer(
        '/v1/organizations/me', ECHO) or {'ANTHROPIC_ADMIN_API_KEY': KEY}, [
        r'✗ Console mode: Admin API key refused: .*'], 0),
    'CA file missing': (in_env(SSL_CERT_FILE='/nonexistent/ca.pem', REQUESTS_CA_BUNDLE=__file__), [
        r'✗ SSL_CERT_FILE: /nonexistent/ca.pem cannot be read\. Correct or unset it\.',
        r'✓ REQUESTS_CA_BUNDLE: .*test_outputs\.py\.'], 0),
    'store a link': (with_link, [
        r'✗ Store: Not shared with other monitors: .*link.* \(~/.claude-usage\)\. Mend or delete '
        r'it, or set CLAUDE_USAGE_DIR .*\.',
        r'✓ Code mode: .*'], 0),
    'Pace Maker installed': (with_pace_maker(), [r'✓ Pace Maker: (?!not installed)\S.*'], 0),
    'Pace Maker malformed': (with_pace_maker(usage='x' * 9000), [
        r'✗ Pace Maker: (?!not installed)\S.*', r'✓ Code mode: .*'], 0),
    '429': (replies(Reply(429, captures.ERROR_429)), [
        r'✓ Code mode: Rate limited\. Next try \d\d:\d\d\. The request took \d+\.\d\d s\.'], 0),
    '500': (replies(Reply(500)), [r'✗ Code mode: Server error 500\. Next try .*'], 1),
    'echo': (replies(ECHO), [
        r'✗ Code mode: Token refused\. Run `claude` to refresh\. The request took .* s\.'], 1),
    'HTML': (replies(Reply(body='<html>%s' % TOKEN)), [
        r'✗ Code mode: Reply not understood: no JSON\. .*'], 1),
}


def check_doctor(done, expected, code):
    lines = done.out.splitlines()
    assert (done.code, done.err) == (code, '')
    assert all(re.fullmatch(r'[✓✗] [^:]+: \S.*\.', line) for line in lines), done.out
    for words in expected:
        assert any(re.fullmatch(words, line) for line in lines), (words, done.out)
    places = [line[2:].split(': ')[0] for line in lines]
    assert len(places) == len(set(places)), 'one finding a line'
    assert not set('\x1b\x07\u202e') & set(done.out)


@pytest.mark.parametrize('name', DOCTOR)
def test_doctor(ask, service, home, name):
    make, expected, code = DOCTOR[name]
    check_doctor(ask('--doctor', env=make(home, service)), expected, code)


def test_doctor_of_a_server_that_is_down(run):
    with Server() as server:
        url = server.url
    done = run(['--doctor', '--api-url', url])
    check_doctor(done, ['✗ Code mode: No connection: connection refused.*'], 1)
    assert 'SECRET' not in done.out


def test_doctor_behind_a_proxy(run):
    with Server() as server:
        proxy = server.url.replace('://', '://user:%s@' % PASSWORD)
    done = run(['--doctor', '--api-url', 'https://127.0.0.1:9', '--color', 'always'],
               {'HTTPS_PROXY': proxy})
    assert PASSWORD not in done.out + done.err and 'SECRET' not in done.out + done.err
    check_doctor(done._replace(out=plain(done.out)), [
        '✓ Proxy: 127.0.0.1:%s.' % proxy.split(':')[-1], '✗ Code mode: No connection: .*'], 1)


@pytest.mark.parametrize('proxy', [
    'http://user:%s@proxy.example:3128', 'user:%s@proxy.example:3128', 'http://%s@proxy.example',
    'http://user:a@%s@proxy.example:3128', 'http://user:://%s@proxy.example:3128',
    'http://user:a\n%s@proxy.example:3128', 'socks5://user:a/%s@proxy.example'])
def test_the_password_of_a_proxy_is_never_told(monkeypatch, proxy):
    monkeypatch.setenv('https_proxy', proxy % PASSWORD)
    found = list(find_network('https://api.anthropic.com', os.environ))
    assert found[0].place == 'Proxy' and 'proxy.example' in found[0].words
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize('arguments, env', [(['--ascii'], {}), ([], {'LC_ALL': 'C'})])
def test_doctor_in_ascii(ask, arguments, env):
    done = ask('--doctor', *arguments, env=env)
    assert done.code == 0 and max(done.out) < '\x7f'
    assert re.search(r'^\+ Code mode: the service', done.out, re.MULTILINE)
    assert re.search(r'^x Pace Maker: not installed', done.out, re.MULTILINE)


def test_doctor_in_colours(ask, service, home):
    service.answer(USAGE, ECHO)
    done = ask('--doctor', '--color', 'always', env={'ANTHROPIC_ADMIN_API_KEY': KEY})
    assert done.out.startswith('\x1b[32m✓ \x1b[0m\x1b[1mclaude-usage ')
    assert '\x1b[1;33m✗ \x1b[0m\x1b[1mCode mode: \x1b[0mToken refused.' in done.out


def test_doctor_by_a_terminal(home, service):
    with Terminal(COMMAND + ['--doctor', '--api-url', service.url], (120, 40),
                  env={'HOME': str(home)}) as terminal:
        assert terminal.exit_code() == 0
        assert '✓ Terminal: xterm-256color, 120x40, 256 colours, UTF-8.' in terminal.text()


def test_doctor_keeps_to_the_budget(ask, service, home):
    """Whoever runs it again and again is told so, and the service is not asked."""
    outs = [ask('--doctor') for _ in range(6)]
    assert asked(service) == 5 and {done.code for done in outs} == {0}
    check_doctor(outs[-1], [r'✓ Code mode: numbers of \d+s ago; the service may be asked at '
                            r'\d\d:\d\d\.'], 0)


def test_findings_are_lines():
    found = [Finding(True, 'A', 'good.'), Finding(False, 'B', 'bad.')]
    assert as_text(as_findings(found), 0) == '✓ A: good.\n✗ B: bad.\n'


@pytest.mark.parametrize('key, is_good', [
    (KEY, True), (' %s\n' % KEY, True), ('', False), (TOKEN, False),
    ('"sk-ant-api03-SECRET"', False), ('SECRET with blanks', False)])
def test_a_key_is_judged_but_not_told(home, monkeypatch, key, is_good):
    monkeypatch.setenv('HOME', str(home))
    found = list(find_admin_keys({'ANTHROPIC_ADMIN_API_KEY': key}))
    assert [finding.is_good for finding in found] == [is_good, False]
    assert 'SECRET' not in repr(found)


# --- what is known of before ---

@pytest.mark.parametrize('credentials, code', [
    ({'claudeAiOauth': dict(CREDENTIALS['claudeAiOauth'], expiresAt=1000)}, 'token_expired'),
    (LOGGED_OUT, 'logged_out')])
def test_without_a_login_old_numbers_are_not_all_is_well(ask, service, home, credentials, code):
    """A machine on which nobody runs `claude` is the one that wants an alarm."""
    stored(home, 25 * HOUR)
    (home / '.claude' / '.credentials.json').write_text(json.dumps(credentials))
    document = json.loads(ask('--json').out)
    usage = document['sources']['usage']
    assert (usage['status'], usage['error']) == ('error', code) and document['limits']
    assert '\nclaude_usage_up 0\n' in ask('--metrics').out
    shown = ask('--once').out
    assert '(1d 1h ago)' in shown.replace('1d 1h 0m', '1d 1h') and 'Run `claude`' in shown
    assert ask('--check', '50').code == 1
    doctor = ask('--doctor')
    assert doctor.code == 1 and '✗ Code mode: ' in doctor.out
    assert not service.requests


def test_a_prompt_in_the_morning_has_no_numbers_of_yesterday(prompt):
    """Until a session's first reply Claude Code tells nothing."""
    yesterday = session()
    for window in yesterday['rate_limits'].values():
        window['resets_at'] = time.time() - 5 * HOUR
    assert plain(prompt(yesterday)).startswith('5h '), 'what it tells now is shown'
    assert plain(prompt({'model': {'display_name': 'Opus'}})) == 'Opus\n'


def test_limits_of_models_are_asked_for_beside_the_status_line(ask, service, home, prompt):
    """It does not tell them, however often it feeds."""
    stored(home, FED_SECONDS + 1)
    prompt(session())
    assert ask('--check', '99').code == 0
    assert asked(service) == 1
    assert ask('--check', '99').code == 0
    assert asked(service) == 1


def test_what_is_not_shared_is_said_to_scripts(ask, service, home):
    (home / '.claude-usage').symlink_to(home)
    for arguments in (('--json',), ('--metrics',), ('--check', '99')):
        done = ask(*arguments)
        assert done.code == 0
        assert done.err.startswith('claude-usage: Not shared with other monitors: it is a link')
