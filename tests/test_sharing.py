"""Many monitors of one user, as real processes: they ask as often as one."""
import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

import captures
from admin import KEY, AdminApi, Organization
from claude_usage import LEASE_SECONDS, Store, utc_day
from server import Reply
from terminal import COMMAND, ROOT, Terminal, environment
from test_live import HANG, PROFILE, QUIET, USAGE, login, on_screen, store
from test_store import NOT_SHARED, bytes_of, change, locked, rows

BLOCKED = Reply(429, captures.ERROR_429, {'Retry-After': '120'})
SLOW = Reply(body=QUIET, drip_headers=0.01)     # a second or two, in which the others come
PATIENCE = 60                                   # seconds, for a busy machine


@pytest.fixture
def service(server):
    """A server with a profile, and a reply that takes its time."""
    server.answer(USAGE, SLOW)
    server.answer(PROFILE, Reply(body=captures.PROFILE))
    return server


@pytest.fixture
def monitor(service, home):
    """A function that starts the program in a terminal, for a `with`."""
    def start(*arguments, env=None):
        argv = COMMAND + ['--api-url', service.url] + list(arguments)
        return Terminal(argv, (80, 24), dict({'HOME': str(home)}, **env or {}))
    return start


@pytest.fixture
def begin(service, home):
    """A function that starts the program with its output in pipes, and does not wait for it."""
    children = []

    def start(*arguments, env=None):
        children.append(subprocess.Popen(
            COMMAND + ['--api-url', service.url] + list(arguments), cwd=ROOT,
            env=dict(environment(home), **env or {}), encoding='utf-8',
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return children[-1]
    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()


def ends(child):
    """(exit code, stdout, stderr) of what was begun."""
    out, err = child.communicate(timeout=PATIENCE)
    return child.returncode, out, err


def asked(service, path=USAGE):
    """How many requests came."""
    return len(service.wait_for(0, path))


def feed(home, percent):
    """Run the status line's command as Claude Code does; return what it prints."""
    told = {'model': {'display_name': 'Opus'}, 'rate_limits': {
        'five_hour': {'used_percentage': percent, 'resets_at': int(time.time()) + 9000}}}
    return subprocess.run(
        COMMAND + ['--statusline', '--color', 'never'], cwd=ROOT,
        input=json.dumps(told), env=environment(home), timeout=PATIENCE, check=True,
        encoding='utf-8', stdout=subprocess.PIPE).stdout


# --- one asks for all ---

def test_started_at_the_same_moment(monitor, begin, service):
    """As after a reboot, or in a terminal multiplexer that opens all its panes."""
    outputs = {('--once',): (0, '78%'), ('--json',): (0, '"five_hour"'),
               ('--check', '50'): (3, '5-Hour: 78% used'), ('--check', '99'): (0, ''),
               ('--metrics',): (0, 'limit_used_ratio{limit="five_hour"} 0.78'),
               ('--json', '--ascii'): (0, '"used_percent": 78.0')}
    with monitor() as one, monitor() as other:
        children = {arguments: begin(*arguments) for arguments in outputs}
        for terminal in (one, other):
            terminal.wait_for('78%', PATIENCE)
            terminal.wait_for('Jane Doe', PATIENCE)
        for arguments, (code, words) in outputs.items():
            done = ends(children[arguments])
            assert done[0] == code and words in done[1], (arguments, done)
    assert (asked(service), asked(service, PROFILE)) == (1, 1)


def test_what_is_stored_serves_without_a_request(run, service, home):
    arguments = '--api-url', service.url
    first = json.loads(run([*arguments, '--json']).out)
    for more, code, words in ((['--check', '50'], 3, '5-Hour: 78% used'),
                              (['--metrics'], 0, 'claude_usage_up 1'),
                              (['--once'], 0, 'Jane Doe (jane@example.com)'),
                              (['--json'], 0, '')):
        done = run([*arguments, *more])
        assert (done.code, done.err) == (code, '') and words in done.out, more
    again = json.loads(done.out)
    assert again['limits'] == first['limits'] and again['account'] == first['account']
    assert (asked(service), asked(service, PROFILE)) == (1, 1)
    assert os.listdir(str(home / '.claude-usage')) == ['store.db']


def test_the_folder_can_be_another(run, service, home, tmp_path):
    for _ in range(2):
        run(['--api-url', service.url, '--once'], {'CLAUDE_USAGE_DIR': str(tmp_path / 'there')})
    assert asked(service) == 1 and os.listdir(str(tmp_path / 'there')) == ['store.db']
    assert not (home / '.claude-usage').exists()


def test_a_holder_that_is_killed_in_its_request(monitor, begin, service):
    service.answer(USAGE, HANG, Reply(body=QUIET))
    with monitor() as holder:
        service.wait_for(1, USAGE, PATIENCE)
        with monitor() as other:
            other.wait_for('Updated: ', PATIENCE)
            child = begin('--once')
            holder.signal(signal.SIGKILL)
            killed_at = time.monotonic()
            assert holder.exit_code(PATIENCE) == -signal.SIGKILL
            on_screen(other, 'Updated: waiting for the first reply', gone=('⚠',))
            second = service.wait_for(2, USAGE, PATIENCE)[1]
            other.wait_for('78%', PATIENCE)
            done = ends(child)
    assert done[0] == 0 and '78%' in done[1]
    assert second.at - service.requests[0].at > LEASE_SECONDS - 3, 'not before the lease ended'
    assert second.at - killed_at < 20 + 10, 'ten for a busy machine'
    assert asked(service) == 2


def test_a_block_outlasts_restarts(monitor, run, service, home):
    service.answer(USAGE, BLOCKED, Reply(body=QUIET))
    refused = '⚠ Rate limited. Next try '
    with monitor() as first:
        first.wait_for(refused, PATIENCE)
        with monitor() as second:
            second.wait_for(refused, PATIENCE)
            second.send('r')
            second.wait_for('Too soon, refresh possible at ', PATIENCE)
            assert said(first, refused) == said(second, refused), 'the same time'
    for output in ('--once', '--json', '--metrics'):
        done = run(['--api-url', service.url, output])
        assert done.code == 1 and 'Rate limited. Next try ' in done.err
    with monitor() as restarted:
        restarted.wait_for(refused, PATIENCE)
        assert (asked(service), asked(service, PROFILE)) == (1, 0)
        store(home, login(accessToken='new'))
        restarted.wait_for('78%', PATIENCE)
    assert asked(service) == 2


def said(terminal, words):
    """The line of the screen that has the words."""
    return next(line for line in terminal.lines() if words in line)


def test_the_status_line_feeds_a_monitor(monitor, service, home):
    assert feed(home, 41).startswith('5h 41% ')
    with monitor() as terminal:
        on_screen(terminal, '78%', '34%')
        line = feed(home, 81.4)
        assert line.startswith('5h 81% ') and '7d 34%' in line and line.rstrip().endswith('Opus')
        on_screen(terminal, '81%', '34%', 'via Claude Code', gone=('78%', '⚠'))
    assert asked(service) == 1


def test_the_status_line_alone_serves_a_monitor_that_cannot_ask(monitor, service, home):
    service.answer(USAGE, BLOCKED)
    with monitor() as terminal:
        terminal.wait_for('⚠ Rate limited. Next try ', PATIENCE)
        feed(home, 23)
        on_screen(terminal, '23%', 'via Claude Code', '⚠ Rate limited')
    assert asked(service) == 1


def test_the_console_is_asked_once_for_all(begin, service):
    today = utc_day(time.time())
    organization = Organization(today[:8] + '01', int(today[8:]) + 1, rows=1)
    api = AdminApi(service, organization)
    env = {'ANTHROPIC_ADMIN_API_KEY': KEY}
    children = [begin('--mode', 'console', '--json', env=env) for _ in range(4)]
    told = [json.loads(ends(child)[1]) for child in children]
    mine = told[0]['console']
    assert mine['organization'] == 'Acme Corporation' and mine['complete']
    assert all(one['console'] == mine for one in told)
    assert len(api.requests('cost_report')) == 1


def test_a_console_that_is_ended_gives_its_request_back(begin, service, home):
    service.answer('/v1/organizations/me', HANG)
    child = begin('--mode', 'console', '--once', env={'ANTHROPIC_ADMIN_API_KEY': KEY})
    service.wait_for(1, '/v1/organizations/me')
    child.send_signal(signal.SIGINT)
    assert ends(child)[0] == 130
    store = Store(str(home / '.claude-usage'))
    assert rows(store, 'SELECT * FROM leases') == []
    assert ('console', 'lost') in rows(store, 'SELECT source, code FROM attempts')


# --- bad luck ---

@contextlib.contextmanager
def malformed(folder):
    """The file is no database."""
    folder.mkdir(mode=0o700)
    (folder / 'store.db').write_text('Dear diary')
    yield
    assert b'Dear diary' in bytes_of(folder).values()


@contextlib.contextmanager
def newer(folder):
    """It is of a newer version."""
    folder.mkdir(mode=0o700)
    change('CREATE TABLE more (x)', 'PRAGMA user_version = 2')(str(folder / 'store.db'))
    before = bytes_of(folder)
    yield
    assert bytes_of(folder) == before


@contextlib.contextmanager
def linked(folder):
    """It is a link."""
    folder.mkdir(mode=0o700)
    (folder / 'store.db').symlink_to(folder.parent / 'precious')
    yield
    assert not (folder.parent / 'precious').exists()


@contextlib.contextmanager
def linked_folder(folder):
    """The folder is a link."""
    (folder.parent / 'there').mkdir()
    folder.symlink_to(folder.parent / 'there')
    yield
    assert os.listdir(str(folder.parent / 'there')) == []


BAD_LUCK = {malformed: 'The shared store was malformed: ', newer: NOT_SHARED,
            linked: NOT_SHARED, linked_folder: NOT_SHARED}


@pytest.mark.parametrize('happen', BAD_LUCK, ids=lambda happen: happen.__name__)
def test_bad_luck_costs_the_sharing_and_never_the_numbers(run, home, service, happen):
    with happen(home / '.claude-usage'):
        done = run(['--api-url', service.url, '--once'])
        assert (done.code, done.err) == (0, '') and '78%' in done.out
        assert BAD_LUCK[happen].strip() in done.out
    assert asked(service) == 1


def test_bad_luck_is_said_on_the_screen(monitor, home, service):
    with malformed(home / '.claude-usage'), monitor() as terminal:
        on_screen(terminal, '78%', 'Jane Doe', BAD_LUCK[malformed].strip(), gone=('Internal',))
        terminal.send('q')
        assert terminal.exit_code() == 0
    assert asked(service) == 1


def test_a_store_that_stays_locked(monitor, begin, service, home):
    """Numbers come after 15 s, and what is said of it goes when the lock does."""
    folder = home / '.claude-usage'
    folder.mkdir(mode=0o700)
    change('CREATE TABLE held (x)', 'DROP TABLE held')(str(folder / 'store.db'))
    lock = contextlib.ExitStack()
    lock.enter_context(locked(str(folder / 'store.db')))
    with lock, monitor() as terminal:
        child = begin('--once')
        on_screen(terminal, NOT_SHARED.strip(), gone=('78%',))
        terminal.wait_for('78%', PATIENCE)
        done = ends(child)
        assert done[0] == 0 and '78%' in done[1] and NOT_SHARED.strip() in done[1]
        assert NOT_SHARED.strip() in terminal.text()
        lock.close()
        on_screen(terminal, '78%', gone=(NOT_SHARED,))
    assert asked(service) == 2, 'each by itself'
