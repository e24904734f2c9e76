"""What is printed for others, by the program itself: the status line, --check, --metrics and
--doctor. What they make of what is known, test_documents.py has."""
import copy
import itertools
import json
import os
import queue
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from email.utils import formatdate

import pytest
from prometheus_client.parser import text_string_to_metric_families

import captures
from admin import JOHN, KEY, AdminApi, Organization, error
from captures import CREDENTIALS, LOGGED_OUT, TOKEN
from claude_usage import (HOUR, MINUTE, STATUS_SECONDS, STORE_NAME, Attempt, Failure, Known,
                          Logins, Moment, Setup, Snapshot, Store, account_key, cells,
                          config_folder, doctor_findings, fingerprint, main, parse_arguments,
                          parse_identity, store_of, utc_day)
from conftest import PROFILE, PROGRAM, USAGE, asked, log_in
from pacemaker import Pace
from samples import HOSTILE
from server import Reply
from terminal import COMMAND, command, environment

ACCOUNT = account_key(parse_identity(captures.CLAUDE_JSON), {})
PASSWORD = 'sEcReT-of-the-proxy'
FILE = STORE_NAME + '.db'


def plain(text):
    return re.sub('\x1b\\[[0-9;]*m', '', text)


def store_in(home):
    return Store(str(home / '.claude-usage'))


def stored(home, age, document=captures.USAGE_2026):
    """Have replies of both endpoints in the store, of `age` seconds ago."""
    at = time.time() - age
    for source, body in (('usage', document), ('profile', captures.PROFILE)):
        attempt = Attempt(ACCOUNT, source, fingerprint(TOKEN), at, ended=at, code='ok')
        store_in(home).add([attempt], {(ACCOUNT, source): (at, json.dumps(body))}, ('', ()), at)


@pytest.fixture
def service(service):
    """The service, of an account whose windows have ended."""
    service.answer(USAGE, Reply(body=captures.USAGE_2026))
    return service


# --- The status line ---

RESETS = {'five_hour': 3 * HOUR + 45 * MINUTE + 30, 'seven_day': 4 * 24 * HOUR}


def session(five_hour=78, seven_day=34, later=0, model='Opus', name='abc'):
    """What Claude Code tells its status line; `later` moves the first window."""
    rates = {key: {'used_percentage': used, 'resets_at': int(time.time()) + late + RESETS[key]}
             for key, used, late in (('five_hour', five_hour, later), ('seven_day', seven_day, 0))
             if used is not None}
    return {'session_id': name, 'cwd': '/w', 'model': {'id': 'm', 'display_name': model},
            'cost': {'total_cost_usd': 1.5, 'total_api_duration_ms': time.time()},
            'version': '2.1.90', 'rate_limits': rates}


@pytest.fixture
def prompt(home, monkeypatch, capsys, tmp_path):
    """A function that runs --statusline in this process -> what it prints for a document."""
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)

    def run_it(document, *arguments, **env):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            (tmp_path / 'stdin').write_bytes(data)
            with open(str(tmp_path / 'stdin')) as stdin:
                patch.setattr(sys, 'stdin', stdin)
                assert main(['--statusline'] + list(arguments)) == 0
        done = capsys.readouterr()
        assert done.err == ''
        return done.out
    return run_it


WHOLE = '5h 78% ▕████▋░▏ 3h45m · 7d 34% · Opus\n'


def test_the_prompt(prompt):
    assert plain(prompt(session())) == WHOLE
    assert plain(prompt({})) == WHOLE.replace(' · Opus', ''), 'it is remembered'
    assert plain(prompt({'model': {'display_name': 'Fable'}})) == WHOLE.replace('Opus', 'Fable')


@pytest.mark.parametrize('absent, shown', [
    ('five_hour', '7d 34% ▕██░░░░▏ 3d · Opus\n'), ('seven_day', '5h 78% ▕████▋░▏ 3h45m · Opus\n')])
def test_one_window_may_be_absent(prompt, absent, shown):
    assert plain(prompt(session(**{absent: None}))) == shown
    assert plain(prompt(session())) == WHOLE
    assert plain(prompt(session(name='another', **{absent: None}))) == WHOLE


@pytest.mark.parametrize('arguments, env, colours', [
    ((), {}, '33'), ((), {'TERM': 'xterm-256color'}, '38;5;3'), ((), {'NO_COLOR': '1'}, ''),
    (('--color', 'never'), {}, ''), (('--color', 'always'), {'NO_COLOR': '1'}, '33')])
def test_the_prompt_has_colours_unless_told(prompt, arguments, env, colours):
    out = prompt(session(), *arguments, **env)
    assert plain(out) == WHOLE
    assert ('5h \x1b[%sm78%%\x1b[0m' % colours in out) if colours else '\x1b' not in out


@pytest.mark.parametrize('arguments, env', [(('--ascii',), {}), ((), {'LC_ALL': 'C'})])
def test_the_prompt_in_ascii(prompt, arguments, env):
    out = prompt(session(model='Zoë ▕ 田'), *arguments, **env)
    assert plain(out) == '5h 78% |####--| 3h45m - 7d 34% - Zoe ? ??\n'


def test_the_prompt_in_every_width(prompt, home):
    """Claude Code keeps four cells for itself, and its padding on both sides."""
    for width, padding in itertools.product(range(1, 100, 7), (0, 3)):
        (home / '.claude' / 'settings.json').write_text(
            '{"statusLine": {"type": "command", "padding": %d}}' % padding)
        out = prompt(session(model='田' * 40), COLUMNS=str(width))
        assert cells(plain(out).rstrip('\n')) <= max(1, width - 4 - 2 * padding)
        assert out.count('\n') <= 1
    for width in ('', '-5', 'x', '0', '\u00b2', '9' * 5000):
        assert plain(prompt(session(), COLUMNS=width)) == WHOLE


ODD_VALUES = [None, True, '', '78', '2026-07-03T00:30:00Z', -1e300, 10 ** 400, float('nan'), [],
              {}, [{}], {'x': 'y'}, HOSTILE, 'Opus ' + TOKEN, '\ud800', '\x00']


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


@pytest.mark.slow
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
    assert count > 200


# what is odd -> the bytes, made of a whole document
ODD_BYTES = {
    'empty': lambda whole: b'', 'no JSON': lambda whole: b'x', 'null': lambda whole: b'null',
    'a list': lambda whole: b'[]', 'a number': lambda whole: b'78',
    'no UTF-8': lambda whole: b'\xff' + whole,
    'UTF-16': lambda whole: whole.decode().encode('utf-16'), 'two': lambda whole: whole * 2,
    'open objects': lambda whole: b'{' * 10 ** 5,
    'nested objects': lambda whole: b'{"model":' * 10 ** 5,
    'balanced lists': lambda whole: b'[' * 10 ** 5 + b']' * 10 ** 5,
    'too long': lambda whole: b' ' * (9 << 20) + whole,
    'escapes': lambda whole: b'\x1b]0;title\x07\x1b[31m'}


def test_odd_bytes(prompt, known):
    whole = json.dumps(session(99)).encode()
    cut = {'cut at %d' % end: lambda whole, end=end: whole[:end]
           for end in range(1, len(whole), 9)}
    for name, make in dict(ODD_BYTES, **cut).items():
        out = prompt(make(whole), CLAUDE_USAGE_DIR=known())
        out = plain(out).replace('3h44m', '3h45m')      # on a slow machine
        assert out == WHOLE.replace(' · Opus', ''), name
    assert plain(prompt(b'\xef\xbb\xbf' + whole)).startswith('5h 99% '), 'a mark does not hurt'
    assert plain(prompt(whole.replace(b'1.5', b'9' * 4000))).startswith('5h 99% ')


def test_an_idle_session_does_not_take_the_numbers_back(prompt):
    prompt(session())
    for late in (session(60, 20, name='idle'), session(99, 30, later=-5 * HOUR, name='old'),
                 session(60, None, name='idle in one window')):
        for _ in range(2):
            assert plain(prompt(late)) == WHOLE
    assert plain(prompt({})) == WHOLE.replace(' · Opus', '')
    assert plain(prompt(session(80, 35))).startswith('5h 80% ')


@pytest.mark.parametrize('part', ['session ' + fingerprint('abc'), 'session x', 'usage',
                                  'outlook'])
@pytest.mark.parametrize('body', ['{}', '[]', '{"windows": {"five_hour": 1}}', '"x"', '{'])
def test_no_stored_reply_breaks_the_prompt(prompt, home, part, body):
    at = time.time() - 1
    store_in(home).add([], {(ACCOUNT, part): (at, body)}, ('', ()), at)
    assert plain(prompt(session())) == WHOLE


def test_a_newer_window_begins_anew(prompt):
    old = session(99, later=-4 * HOUR, name='old')
    assert plain(prompt(old)).startswith('5h 99% ')
    for document in (session(3), {}, old):
        assert re.match('5h 3% .* 3h45m · 7d 34%', plain(prompt(document)))


def test_sessions_of_two_accounts_do_not_mix(prompt, home):
    """A window that runs ends at two times: each session shows its own, nobody else's."""
    foreign = session(99, 98, later=-HOUR, name='foreign')
    for _ in range(2):
        assert plain(prompt(foreign)).startswith('5h 99% ')
        assert plain(prompt(session(50, 20))).startswith('5h 50% ')
    stored(home, 20, {key: {'utilization': 51, 'resets_at': time.time() + RESETS[key]}
                      for key in RESETS})
    assert plain(prompt({})).startswith('5h 51% ')
    assert plain(prompt(session(55, 52))).startswith('5h 55% ')


def test_idle_sessions_without_a_name_take_turns(prompt, home):
    """Their numbers differ by less than a point: that is no news."""
    one = session(80)
    del one['session_id']
    other = copy.deepcopy(one)
    other['rate_limits']['five_hour']['used_percentage'] = 80.4
    seen = []
    for document in (one, other, one, other):
        prompt(document)
        body = dict(store_in(home).recall(ACCOUNT, '', time.time()).replies)['session '][1]
        seen.append(json.loads(body)['windows']['five_hour'][2])
    assert seen[3] == seen[1]


def test_the_numbers_of_a_monitor_count_too(prompt, home):
    reset = time.time() + RESETS['five_hour']
    stored(home, 20, {'five_hour': {'utilization': 81, 'resets_at': reset}, 'seven_day': None,
                      'seven_day_sonnet': {'utilization': 2, 'resets_at': None}})
    assert plain(prompt({})).startswith('5h 81% ')
    assert plain(prompt(session())).startswith('5h 81% ')
    assert plain(prompt(session(82))).startswith('5h 82% ')


@pytest.mark.parametrize('accounts, are_shared', [
    ((None, None), False), (('a', 'b'), False), (('a', 'a'), True)])
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
    late = plain(prompt(session(9, 8, name='late'), **two))
    assert late.startswith('5h 78%' if are_shared else '5h 9%')
    assert plain(prompt({}, **one)) == WHOLE.replace(' · Opus', '')


STORES = {
    'a file': lambda path: path.write_text('x'),
    'others may write': lambda path: (path.mkdir(), path.chmod(0o777)),
    'a folder': lambda path: path.joinpath(FILE).mkdir(parents=True)}


@pytest.mark.parametrize('name', STORES)
def test_without_a_store_there_are_the_numbers_of_stdin(prompt, tmp_path, name):
    path = tmp_path / 'shared'
    STORES[name](path)
    assert plain(prompt(session(), CLAUDE_USAGE_DIR=str(path))) == WHOLE


def test_what_is_known_is_printed_where_the_store_cannot_be_written(prompt, home):
    prompt(session())
    lock = sqlite3.connect(str(home / '.claude-usage' / FILE), isolation_level=None)
    lock.execute('BEGIN IMMEDIATE')
    told = plain(prompt(session(80, None, name='another')))
    lock.close()
    assert told.startswith('5h 80% ') and ' · 7d 34% · Opus' in told


def test_a_window_whose_reset_has_passed_is_not_brought_back(prompt, home):
    """By a session that has been idle since, or by an earlier feed; a prompt in the morning has
    no numbers of yesterday."""
    old = session(85, 34)
    for window in old['rate_limits'].values():
        window['resets_at'] = time.time() - 2 * HOUR
    assert plain(prompt(old)).startswith('5h 85% '), 'what it tells now is shown'
    assert plain(prompt({'model': {'display_name': 'Opus'}})) == 'Opus\n'
    fresh = {'five_hour': {'utilization': 0.0, 'resets_at': None}, 'seven_day': None}
    stored(home, 10, fresh)
    assert plain(prompt(old)).startswith('5h 0% ')


@pytest.mark.parametrize('name', ['.claude.json', '.claude/.credentials.json',
                                  '.claude/settings.json'])
@pytest.mark.parametrize('text', ['', '[' * 10 ** 5, '[]', '{"oauthAccount": "x"}',
                                  '{"statusLine": {"padding": "x"}}'])
def test_the_prompt_beside_odd_files(prompt, home, name, text):
    (home / name).write_text(text)
    assert plain(prompt(session(), COLUMNS='99')) == WHOLE


@pytest.mark.parametrize('redirections', ['', '<&-', '</dev/null', '<&- >&- 2>&-'] + [
    '>/dev/full 2>&1'] * os.path.exists('/dev/full'))
def test_the_prompt_as_claude_code_has_it(run, home, server, redirections):
    """By a shell; nothing by which a request could be made can be imported, and a wrong address
    does not matter, for it is not asked."""
    for name in ('urllib3', 'pip', 'ssl', 'socket', 'http'):
        (home / (name + '.py')).write_text('import os; os._exit(99)')
    env = {'PYTHONPATH': str(home), 'CLAUDE_USAGE_API_URL': 'x' if redirections else server.url}
    done = run(['--statusline'], env, input=json.dumps(session()),
               argv=['sh', '-c', 'exec "$@" ' + redirections, 'sh'] + COMMAND)
    assert (done.code, done.err, server.requests) == (0, '', [])
    if not redirections:
        assert plain(done.out) == WHOLE
        assert store_in(home).count(time.time()) == 2


@pytest.mark.parametrize('is_whole', [True, False])
def test_the_prompt_does_not_wait_for_the_end_of_its_input(begin, is_whole):
    """For a document that is not complete it waits 2 seconds, here less."""
    assert STATUS_SECONDS == 2
    argv = command(STATUS_SECONDS=99 if is_whole else 0.3)
    child = begin(['--statusline'], stdin=subprocess.PIPE, argv=argv)
    text = json.dumps(session())
    child.stdin.write(text[:60])
    child.stdin.flush()
    child.stdin.write(text[60:] + '\n' if is_whole else '')
    child.stdin.flush()
    assert plain(child.stdout.read()) == (WHOLE if is_whole else '')
    assert child.wait(10) == 0


def test_the_fast_form_runs_no_code_of_the_folder(run, home, tmp_path):
    """The command is that of README, for a copy of the file in another place."""
    readme = PROGRAM.with_name('README.md').read_text(encoding='utf-8')
    command, = [settings['statusLine']['command'] for settings in
                map(json.loads, re.findall('```json\n(.+)\n```', readme))
                if '/home/me/bin' in str(settings.get('statusLine'))]
    assert command.startswith('python3 ')
    folder, project = tmp_path / 'bin', tmp_path / 'project'
    for path in (folder, project):
        path.mkdir()
    shutil.copy(str(PROGRAM), str(folder))
    for name in ('claude_usage', 'argparse', 'json', 'sqlite3'):
        (project / (name + '.py')).write_text('raise SystemExit("%s was run")' % name)

    def run_it(command):
        done = run([], {'PYTHONPATH': '.'}, argv=['sh', '-c', command], cwd=str(project),
                   input=json.dumps(session()))
        return done._replace(out=plain(done.out))
    python = shlex.quote(sys.executable)
    words = command.replace('python3', python, 1).replace('/home/me/bin', str(folder))
    assert run_it(words) == (0, WHOLE, '')
    assert store_in(home).count(time.time()) == 2
    assert run_it(python + ' -m claude_usage --statusline').err == 'claude_usage was run\n'


def test_typed_by_hand_it_does_not_wait(monitor):
    with monitor('--statusline') as terminal:
        assert terminal.exit_code() == 0
        assert terminal.text().strip() == ''


# --- --check ---

@pytest.mark.parametrize('percent, code, words', [
    ('12', 0, ''), ('11', 3, '5-Hour: 11% used, Reset due\n')])
def test_check(ask, service, percent, code, words):
    for _ in range(2):
        assert ask('--check', percent) == (code, words, '')
        assert asked(service) == 1, 'so young a reply serves'


@pytest.mark.parametrize('age, count', [(30, 0), (90, 1)])
def test_check_by_a_stored_reply(ask, service, home, age, count):
    stored(home, age)
    assert ask('--check', '10').code == 3
    assert (asked(service), asked(service, PROFILE)) == (count, 0)


def test_check_while_claude_code_feeds(ask, service, home, prompt):
    """It is not asked for what the status line tells, but for the rest of it now and then."""
    prompt(session())
    assert ask('--check', '78').code == 3
    assert asked(service) == 0
    stored(home, 301)
    prompt(session(79))
    for _ in range(2):
        assert ask('--check', '99').code == 0
        assert asked(service) == 1


@pytest.mark.parametrize('minutes, code', [(14, 3), (16, 1)])
def test_check_while_the_service_does_not_answer(ask, service, home, minutes, code):
    service.answer(USAGE, Reply(429, captures.ERROR_429))
    stored(home, minutes * MINUTE)
    done = ask('--check', '10')
    assert (done.code, asked(service)) == (code, 1)
    assert bool(done.out) == (code == 3) and bool(done.err) == (code == 1)


def test_check_judges_each_limit_by_its_own_age(ask, service, home, prompt):
    """The status line tells nothing of the limits of models."""
    service.answer(USAGE, Reply(429, captures.ERROR_429))
    stored(home, 16 * MINUTE)
    prompt(session())
    for percent, code in (('50', 3), ('90', 1)):
        assert ask('--check', percent).code == code
    usage = json.loads(ask('--json').out)['sources']['usage']
    assert usage['age_seconds'] < 60, 'the age of the newest'
    assert gauge(ask('--metrics').out, 'reply_age_seconds')[()] > 15 * MINUTE, 'of the oldest'


@pytest.mark.parametrize('reply, reason', [
    (None, 'Logged out'), (Reply(500), 'Server error'), (Reply(body={}), 'no usage limits')])
def test_check_of_nothing(ask, service, home, reply, reason):
    if reply:
        service.answer(USAGE, reply)
    else:
        (home / '.claude' / '.credentials.json').write_text(json.dumps(LOGGED_OUT))
    done = ask('--check', '0')
    assert (done.code, done.out) == (1, '') and reason in done.err


# --- --metrics ---

def families(text):
    """name -> {labels as a tuple of pairs: value} of Prometheus' text."""
    return {family.name: {tuple(sorted(sample.labels.items())): sample.value
                          for sample in family.samples}
            for family in text_string_to_metric_families(text)}


def gauge(text, name):
    return families(text).get('claude_usage_' + name, {})


def test_metrics(ask, service):
    service.answer(USAGE, Reply(body=captures.USAGE_SPEND))
    done = ask('--metrics')
    assert (done.code, done.err) == (0, '')
    assert gauge(done.out, 'up') == {(): 1} and 0 <= gauge(done.out, 'reply_age_seconds')[()] < 60
    assert gauge(done.out, 'limit_used_ratio') == {
        (('limit', name),): ratio for name, ratio in (
            ('five_hour', 0.11), ('seven_day', 0.09), ('weekly_scoped_fable', 0.05))}
    assert gauge(done.out, 'extra_used') == {(('currency', 'USD'),): 12.34}


@pytest.mark.parametrize('mode', ['code', 'console'])
def test_metrics_of_nothing(ask, home, mode):
    (home / '.claude' / '.credentials.json').unlink()
    done = ask('--metrics', '--mode', mode)
    assert done.code == 1 and done.err.count('\n') == 1
    assert families(done.out) == {'claude_usage_up': {(): 0}}


def test_metrics_of_the_console(ask, service):
    today = utc_day(time.time())
    organization = Organization(today[:8] + '01', int(today[8:]))
    AdminApi(service, organization)
    done = ask('--metrics', env={'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN,
                                 'CLAUDE_CONFIG_DIR': '/nonexistent'})
    assert (done.code, done.err) == (0, '') and gauge(done.out, 'up') == {(): 1}
    for name, sums in (('console_own_cost', organization.own(JOHN)),
                       ('console_organization_cost', organization.total())):
        assert gauge(done.out, name) == {
            (('currency', 'USD'),): pytest.approx(float(sums['USD'] / 100), abs=1e-9)}


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
    metrics = ask('--metrics').out
    assert gauge(metrics, 'up') == {(): 0} and gauge(metrics, 'reply_age_seconds')[()] > 25 * HOUR
    assert gauge(metrics, 'limit_used_ratio')[(('limit', 'five_hour'),)] == 0.11
    shown = ask('--once').out
    assert '(1d 1h ago)' in shown.replace('1d 1h 0m', '1d 1h') and 'Run `claude`' in shown
    assert ask('--check', '50').code == 1
    doctor = ask('--doctor')
    assert doctor.code == 1 and '✗ Code mode: ' in doctor.out
    assert not service.requests


# --- --doctor ---

CREDENTIALS_FILE = '~/.claude/.credentials.json'


@pytest.fixture
def find(home, monkeypatch):
    """A function that returns the lines of the doctor in that home, without any request."""
    def find_all(**env):
        for name, value in dict(environment(home), **env).items():
            monkeypatch.setenv(name, value)
        place = config_folder(os.environ)
        setup = Setup(parse_arguments(['--doctor']), os.environ, queue.Queue(), time.time,
                      store_of(os.environ), Logins(os.environ), place)
        known = Snapshot({(place, 'usage'): Known(failure=Failure('no_credentials'))})
        found = list(doctor_findings(setup, known, Moment(time.time())))
        assert 'SECRET' not in repr(found) and PASSWORD not in repr(found)
        assert len({finding.place for finding in found}) == len(found), 'one finding a line'
        return ['%s %s: %s' % ('✓' if finding.is_good else '✗', finding.place, finding.words)
                for finding in found]
    return find_all


def has_lines(lines, *expected):
    """Whether each of these regular expressions is a line; it fails with all that there are."""
    for words in expected:
        assert any(re.fullmatch(words, line) for line in lines), (words, lines)
    return True


@pytest.mark.parametrize('changes, words', [
    ({'expiresAt': 1}, r'✗ {}: expired \d+d .* ago \(Jan 1 .*\), scopes user:inference .*\. '
                       r'Token expired\. Run `claude` to refresh\.'),
    ({'scopes': ['user:inference']}, r'✗ {}: expires in .*, scopes user:inference\. '
                                     r'This token cannot read usage\. Run `claude`, then .*'),
    ({'scopes': None, 'expiresAt': None}, r'✓ {}: no expiry told, scopes not told\.'),
    ({'accessToken': 'SECRET with \n blanks'}, r'✗ {}: Failed to load .*'),
    ({'accessToken': ''}, r'✗ {}: Logged out of Claude Code\. Run `claude` .*')])
def test_the_doctor_on_logins(find, home, changes, words):
    log_in(home, **changes)
    assert has_lines(find(), words.format(re.escape(CREDENTIALS_FILE)))


def test_the_doctor_on_files(find, home):
    (home / '.claude' / '.credentials.json').write_text('{"claudeAiOauth": {"acc": "%s' % TOKEN)
    (home / '.claude.json').write_text('{')
    (home / '.claude-usage').symlink_to(home)
    assert has_lines(
        find(SSL_CERT_FILE='/nonexistent/ca.pem', REQUESTS_CA_BUNDLE=__file__,
             CLAUDE_CODE_OAUTH_TOKEN=TOKEN),
        r'✗ ~/.claude/.credentials.json: Failed to load credentials: not JSON\.',
        r'✗ ~/.claude.json: Failed to load identity: not JSON\.',
        r'✓ CLAUDE_CODE_OAUTH_TOKEN: set; it cannot read usage\..*',
        r'✗ SSL_CERT_FILE: /nonexistent/ca.pem cannot be read\. Correct or unset it\.',
        r'✓ REQUESTS_CA_BUNDLE: .*test_outputs\.py\.',
        r'✗ Store: Not shared with other monitors: .*link.* \(~/.claude-usage\)\. Mend or delete '
        r'it, or set CLAUDE_USAGE_DIR .*\.')
    assert has_lines(
        find(TMPDIR=str(home)),
        r'✗ Store: ~/claude-usage-\d+/store2\.db, \d+ KiB, 0 samples\. Not in the usual folder: '
        r'it is a link \(~/.claude-usage\)\. Mend or delete it, or set .*\.')
    assert has_lines(
        find(CLAUDE_CONFIG_DIR=str(home / 'other')),
        r'✗ ~/other/.credentials.json: No Claude Code login found\. Run `claude` .*',
        r'✗ ~/other/.claude.json: tells no account\. Run `claude` to log in\.')


@pytest.mark.parametrize('proxy', [
    'http://user:%s@proxy.example:3128', 'user:%s@proxy.example:3128', 'http://%s@proxy.example',
    'http://user:a@%s@proxy.example:3128', 'http://user:://%s@proxy.example:3128',
    'http://user:a\n%s@proxy.example:3128', 'socks5://user:a/%s@proxy.example'])
def test_the_password_of_a_proxy_is_never_told(find, proxy):
    assert has_lines(find(https_proxy=proxy % PASSWORD), r'✓ Proxy: proxy\.example(:3128)?\.')


def test_the_doctor(ask, service):
    """Whoever runs it again and again is told so, and the service is not asked."""
    done = ask('--doctor')
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, '')
    assert all(re.fullmatch(r'[✓✗] [^:]+: \S.*\.', line) for line in lines[:-3]), done.out
    assert lines[-3:-1] == ['', 'For a status line, copy this into ~/.claude/settings.json:']
    assert has_lines(
        lines, r'✓ claude-usage \d.*: Python \d.*, \w+\.', r'✓ urllib3: \d.*\.',
        r'✓ SQLite: \d.*\.', r'✓ ~/.claude/.credentials.json: expires in \d+d .*\), scopes '
        r'user:inference user:profile user:sessions:claude_code\.',
        r'✗ CLAUDE_CODE_OAUTH_TOKEN: not set, nor needed .*',
        r"✓ ~/.claude.json: jane@example.com, jane@example.com's Organization\.",
        r'✗ ANTHROPIC_ADMIN_API_KEY: not set; only Console mode needs it\.',
        r'✗ ~/.claude/.credentials.json, adminApiKey: not set; .*',
        r'✓ Proxy: none\.', r"✓ Certificates: the system's\.",
        r'✓ Code mode: the service answered in \d+\.\d\d s\.',
        r'✗ Pace Maker: not installed, nor needed\.',
        r'✗ Console mode: No Admin API key found\..*',
        r'✓ Store: ~/.claude-usage/%s, \d+ KiB, \d+ samples\.' % re.escape(FILE),
        r'✗ Terminal: none; .*')
    assert not re.search('clock', done.out)
    outs = [ask('--doctor', '--ascii') for _ in range(5)]
    assert asked(service) == 5 and {done.code for done in outs} == {0}
    assert has_lines(outs[-1].out.splitlines(),
                     r'\+ Code mode: numbers of \d+s ago; the service may be asked at \d\d:\d\d\.',
                     r'x Pace Maker: not installed, nor needed\.')
    assert max(outs[-1].out) < '\x7f'


ECHO = error(401, 'invalid bearer token %s and key %s' % (TOKEN, KEY))


@pytest.mark.parametrize('reply, words, code', [
    (Reply(429, captures.ERROR_429),
     r'✓ Code mode: Rate limited\. Next try \d\d:\d\d\. The request took \d+\.\d\d s\.', 0),
    (Reply(500), r'✗ Code mode: Server error 500\. Next try .*', 1),
    (ECHO, r'✗ Code mode: Token refused\. Run `claude` to refresh\. The request took .* s\.', 1)])
def test_the_doctor_on_the_service(ask, service, reply, words, code):
    service.answer(USAGE, reply)
    done = ask('--doctor', '--color', 'always', env={'ANTHROPIC_ADMIN_API_KEY': 'sk-ant-api03-x'})
    assert (done.code, done.err) == (code, '')
    assert done.out.startswith('\x1b[32m✓ \x1b[0m\x1b[1mclaude-usage ')
    assert has_lines(
        plain(done.out).splitlines(), words,
        r'✗ ANTHROPIC_ADMIN_API_KEY: Admin API key refused: this is a normal API key, .*',
        r'✗ Console mode: Admin API key refused: this is .*')


@pytest.mark.parametrize('hours', [-3, 2])
def test_the_doctor_names_a_clock_that_is_wrong(ask, service, hours):
    date = formatdate(time.time() + hours * HOUR, usegmt=True)
    service.answer(USAGE, Reply(body=captures.USAGE_2026, headers={'Date': date}))
    assert re.search('clock', ask('--doctor').out, re.IGNORECASE)


def test_the_doctor_on_features(ask, service, home):
    AdminApi(service, Organization()).organization.name = HOSTILE
    Pace(home / '.claude-pace-maker').write('usage.db', 'x' * 9000)
    done = ask('--doctor', env={'ANTHROPIC_ADMIN_API_KEY': KEY})
    assert has_lines(done.out.splitlines(), r'✓ ANTHROPIC_ADMIN_API_KEY: set\.',
                     r'✓ Console mode: \S.* answered in \d+\.\d\d s\.',
                     r'✗ Pace Maker: (?!not installed)\S.*')
    assert done.code == 0 and not set('\x1b\x07\u202e') & set(done.out)


def test_the_doctor_by_a_terminal(monitor):
    with monitor('--doctor', size=(120, 40)) as terminal:
        assert terminal.exit_code() == 0
        assert '✓ Terminal: xterm-256color, 120x40, 256 colours, UTF-8.' in terminal.text()
