"""Many monitors of one user, as real processes: they ask as often as one."""
import calendar
import json
import os
import signal
import sqlite3
import threading
import time

import pytest

import captures
from admin import KEY, AdminApi, Organization
from captures import QUIET
from claude_usage import STORE_NAME, utc_day
from conftest import PROFILE, USAGE, asked, ended, log_in
from server import Reply
from terminal import EAGER, command

BLOCKED = Reply(429, captures.ERROR_429, {'Retry-After': '120'})
SLOW = Reply(body=QUIET, drip_headers=0.01)     # a second or two, in which the others come
FILE = STORE_NAME + '.db'
NOT_SHARED = 'Not shared with other monitors: '


@pytest.fixture
def child(begin, service):
    """A function that begins an output against the service; `argv` is another program."""
    def start(*arguments, argv=EAGER, env=None):
        return begin(('--api-url', service.url) + arguments, env, argv=argv)
    return start


def feed(run, percent, duration):
    """Run the status line's command as Claude Code does; return what it prints."""
    told = {'session_id': 's', 'cost': {'total_api_duration_ms': duration},
            'model': {'display_name': 'Opus'}, 'rate_limits': {'five_hour': {
                'used_percentage': percent, 'resets_at': int(time.time()) + 9000}}}
    return run(['--statusline', '--color', 'never'], input=json.dumps(told)).out


# --- One asks for all ---

def test_started_at_the_same_moment(monitor, child, service):
    """As after a reboot, or in a terminal multiplexer that opens all its panes."""
    service.answer(USAGE, SLOW)
    outputs = {('--once',): (0, '78%'), ('--json',): (0, '"five_hour"'),
               ('--check', '50'): (3, '5-Hour: 78% used'), ('--check', '99'): (0, ''),
               ('--metrics',): (0, 'limit_used_ratio{limit="five_hour"} 0.78')}
    with monitor() as one, monitor() as other:
        children = {arguments: child(*arguments) for arguments in outputs}
        for terminal in (one, other):
            terminal.shows('78%', 'Example Corp')
        for arguments, (code, words) in outputs.items():
            done = ended(children[arguments])
            assert done.code == code and words in done.out, (arguments, done)
    assert (asked(service), asked(service, PROFILE)) == (1, 1)


def test_what_is_stored_serves_without_a_request(ask, service, home, tmp_path):
    first = json.loads(ask('--json').out)
    for more, code, words in ((['--check', '50'], 3, '5-Hour: 78% used'),
                              (['--metrics'], 0, 'claude_usage_up 1'),
                              (['--once'], 0, 'Jane (jane@example.com)'),
                              (['--json'], 0, '')):
        done = ask(*more)
        assert (done.code, done.err) == (code, '') and words in done.out, more
    again = json.loads(done.out)
    assert again['limits'] == first['limits'] and again['account'] == first['account']
    assert (asked(service), asked(service, PROFILE)) == (1, 1)
    assert os.listdir(str(home / '.claude-usage')) == [FILE]
    assert ask('--once', env={'CLAUDE_USAGE_DIR': str(tmp_path / 'there')}).code == 0
    assert asked(service) == 2 and os.listdir(str(tmp_path / 'there')) == [FILE]


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'stopped'])
def test_a_holder_that_is_lost_in_its_request(monitor, child, service, number):
    """Another asks when the claim is lost; what comes later is not noted, nor shown."""
    go = threading.Event()
    late = Reply(body={'five_hour': {'utilization': 12.0, 'resets_at': None}})
    service.answer(USAGE, lambda _: go.wait(60) and late, Reply(body=QUIET))
    impatient = command(REQUEST_SECONDS=2, WATCH_SECONDS=0.2, STORE_LOOK=0.1)
    with monitor(argv=impatient) as holder:
        service.wait_for(1, USAGE)
        with monitor(argv=impatient) as other:
            other.shows('Updated: waiting for the first reply')
            once = child('--once', argv=impatient)
            holder.signal(number)
            first, second = service.wait_for(2, USAGE)
            assert second.at - first.at > 1.2, 'not before the claim was lost'
            other.shows('78%', gone=('⚠',))
            done = ended(once)
            assert done.code == 0 and '78%' in done.out
            go.set()
            if number == signal.SIGSTOP:
                holder.signal(signal.SIGCONT)
                holder.shows('78%', gone=('12%',))
            assert '12%' not in other.text()
    assert asked(service) == 2


def said(terminal, words):
    """The line of the screen that has the words."""
    return next(line for line in terminal.lines() if words in line)


def test_a_block_outlasts_restarts(monitor, ask, service, home):
    service.answer(USAGE, BLOCKED, Reply(body=QUIET))
    refused = '⚠ Rate limited. Next try '
    with monitor() as first:
        first.wait_for(refused)
        with monitor() as second:
            second.wait_for(refused)
            second.send('r')
            second.wait_for('Too soon, refresh possible at ')
            assert said(first, refused) == said(second, refused), 'the same time'
    done = ask('--once')
    assert done.code == 1 and 'Rate limited. Next try ' in done.err
    with monitor() as restarted:
        restarted.wait_for(refused)
        assert asked(service) == 1
        log_in(home, accessToken='new')
        restarted.wait_for('78%')
    assert asked(service) == 2


@pytest.mark.parametrize('header, seconds', [
    ('1', 60), ('200', 200), ('0', 300), ('soon', 300)])
def test_how_long_a_block_lasts(ask, service, header, seconds):
    service.answer(USAGE, Reply(429, captures.ERROR_429, {'Retry-After': header}))
    done = ask('--json')
    usage = json.loads(done.out)['sources']['usage']
    left = calendar.timegm(time.strptime(usage['next_at'], '%Y-%m-%dT%H:%M:%SZ')) - time.time()
    # No two requests are nearer than 3 minutes for a while.
    assert (done.code, usage['error']) == (1, 'rate_limited')
    assert max(seconds, 180) - 30 < left <= max(seconds, 180)


def test_the_status_line_feeds_a_monitor(monitor, run, service):
    assert feed(run, 41, 100).startswith('5h 41% ')
    with monitor() as terminal:
        terminal.shows('78%', '34%')
        line = feed(run, 81.4, 200)
        assert line.startswith('5h 81% ') and '7d 34%' in line and line.rstrip().endswith('Opus')
        terminal.shows('81%', '34%', 'via Claude Code', gone=('78%', '⚠'))
    assert asked(service) == 1


def test_the_status_line_alone_serves_a_monitor_that_cannot_ask(monitor, run, service):
    service.answer(USAGE, BLOCKED)
    with monitor() as terminal:
        terminal.wait_for('⚠ Rate limited. Next try ')
        feed(run, 23, 100)
        terminal.shows('23%', 'via Claude Code', '⚠ Rate limited')
    assert asked(service) == 1


# --- The Console ---

def console(service):
    """An AdminApi of this month at the service, and the variables that have its key."""
    today = utc_day(time.time())
    organization = Organization(today[:8] + '01', int(today[8:]) + 1, rows=1)
    return AdminApi(service, organization), {'ANTHROPIC_ADMIN_API_KEY': KEY}


def test_the_console_is_asked_once_for_all(child, service):
    api, env = console(service)
    children = [child('--mode', 'console', '--json', env=env) for _ in range(3)]
    told = [json.loads(ended(child).out)['console'] for child in children]
    assert told[0]['organization'] == 'Acme Corporation' and told[0]['complete']
    assert told[1] == told[2] == told[0]
    assert len(api.requests('cost_report')) == 1


@pytest.mark.parametrize('number, seconds', [(signal.SIGINT, 600), (signal.SIGKILL, 2)])
def test_a_console_that_ends_in_its_request(child, service, number, seconds):
    """Ctrl+C gives it back; of one that is killed it is lost, as soon as that is known."""
    api, env = console(service)
    api.faults['me'] = Reply(hang=True)
    argv = command(REQUEST_SECONDS=seconds, WATCH_SECONDS=0.2, STORE_LOOK=0.1)
    begun = child('--mode', 'console', '--once', env=env, argv=argv)
    service.wait_for(1, '/v1/organizations/me')
    begun.send_signal(number)
    assert ended(begun).code == (130 if number == signal.SIGINT else -number)
    del api.faults['me']
    done = ended(child('--mode', 'console', '--once', env=env, argv=argv))
    assert done.code == 0 and 'Acme Corporation' in done.out
    first, second = service.wait_for(2, '/v1/organizations/me')
    assert number == signal.SIGINT or second.at - first.at > 1.2, 'not before it was lost'


# --- Bad luck ---

def write(data):
    """A function that makes a store of such bytes."""
    def make(path, precious):
        path.parent.mkdir(mode=0o700)
        path.write_bytes(data)
    return make


def of_another_version(path, precious):
    """Make a store of another program."""
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(str(path)) as db:
        db.execute('PRAGMA user_version = 99')
        db.execute('CREATE TABLE attempts (x)')
    db.close()


def linked(path, precious):
    """Make the file a link."""
    path.parent.mkdir(mode=0o700)
    path.symlink_to(precious / 'file')


def linked_folder(path, precious):
    """Make the folder a link."""
    path.parent.symlink_to(precious)


LAID = {'no database': write(b'Dear diary'), 'malformed': write(b'SQLite format 3\0' + b'x' * 9000),
        'another version': of_another_version, 'a link': linked, 'folder a link': linked_folder}


@pytest.mark.parametrize('how', LAID)
def test_bad_luck_costs_no_numbers(ask, home, tmp_path, service, how):
    """A bad file is left alone, and the next takes its place; by a link nothing is written."""
    path, precious = home / '.claude-usage' / FILE, tmp_path / 'precious'
    precious.mkdir()
    LAID[how](path, precious)
    before = path.read_bytes() if 'link' not in how else b''
    for _ in range(2):
        done = ask('--once')
        assert (done.code, done.err) == (0, '') and '78%' in done.out
        assert (NOT_SHARED.strip() in done.out) == ('link' in how) and 'malformed' not in done.out
    assert asked(service) == (2 if 'link' in how else 1)
    assert os.listdir(str(precious)) == []
    if 'link' not in how:
        assert path.read_bytes() == before
        assert sorted(os.listdir(str(path.parent))) == sorted([FILE, STORE_NAME + '-2.db'])
    if how == 'folder a link':
        for arguments in (('--json',), ('--metrics',), ('--check', '99')):
            done = ask(*arguments)
            assert done.code == 0 and done.err.startswith(
                'claude-usage: Not shared with other monitors: it is a link')


def test_a_store_that_stays_locked(monitor, child, service, home):
    """Numbers come after a while, and what is said of it goes when the lock does."""
    path = home / '.claude-usage' / FILE
    path.parent.mkdir(mode=0o700)
    lock = sqlite3.connect(str(path), isolation_level=None)
    lock.execute('BEGIN EXCLUSIVE')
    lock.execute('CREATE TABLE held (x)')
    argv = command(LOCKED_SECONDS=2, STORE_TIMEOUT=0.1, WATCH_SECONDS=0.2, STORE_LOOK=0.1)
    with monitor(argv=argv) as terminal:
        terminal.shows(NOT_SHARED.strip(), gone=('78%',))
        assert service.requests == []
        once = child('--once', argv=argv)
        terminal.shows('78%', NOT_SHARED.strip())
        done = ended(once)
        assert done.code == 0 and '78%' in done.out and NOT_SHARED.strip() in done.out
        lock.execute('ROLLBACK')
        lock.close()
        terminal.shows('78%', gone=(NOT_SHARED.strip(),))
    assert asked(service) == 2, 'each by itself'
