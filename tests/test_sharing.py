"""Many monitors of one user, as real processes: they ask as often as one."""
import contextlib
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
from claude_usage import BLOCK_LEAST, BLOCK_SILENT, STORE_VERSION, WARY_SECONDS, utc_day
from conftest import PROFILE, USAGE, asked, ended, log_in
from server import Reply
from terminal import EAGER, QUICK, command

HANG = Reply(hang=True)
SLOW = Reply(body=QUIET, drip_headers=0.005)    # a second or so, in which the others come
NOT_SHARED = 'Not shared with other monitors: '
ADMIN = {'ANTHROPIC_ADMIN_API_KEY': KEY}
LOST = command(REQUEST_SECONDS=4, **QUICK)
"""The program that soon counts a claim as lost."""
IMPATIENT = command(LOCKED_SECONDS=2, **QUICK)
"""The program that soon goes on without a store that is locked."""


@pytest.fixture
def others(begin, service):
    """A function that begins the program, with its output in pipes, against the service."""
    def start(*arguments, argv=LOST, env=None):
        return begin(['--api-url', service.url] + list(arguments), env, argv=argv)
    return start


def path_in(home, name='store2.db'):
    return str(home / '.claude-usage' / name)


def rows(home, statement):
    with contextlib.closing(sqlite3.connect(path_in(home))) as db:
        return db.execute(statement).fetchall()


def said(terminal, words):
    """The line of the screen that has the words."""
    return next(line for line in terminal.lines() if words in line)


# --- One asks for all ---

def test_started_at_the_same_moment(monitor, others, service):
    """As after a reboot, or in a terminal multiplexer that opens all its panes."""
    service.answer(USAGE, SLOW)
    outputs = {('--once',): (0, '78%'), ('--json',): (0, '"five_hour"'),
               ('--check', '50'): (3, '5-Hour: 78% used'), ('--check', '99'): (0, ''),
               ('--metrics',): (0, 'limit_used_ratio{limit="five_hour"} 0.78'),
               ('--json', '--ascii'): (0, '"used_percent": 78.0')}
    with monitor() as one, monitor() as other:
        children = {words: others(*words, argv=EAGER) for words in outputs}
        for terminal in (one, other):
            terminal.shows('78%', 'Example Corp', timeout=60)
        for arguments, (code, words) in outputs.items():
            done = ended(children[arguments])
            assert done.code == code and words in done.out, (arguments, done)
    assert (asked(service), asked(service, PROFILE)) == (1, 1)


def test_what_is_stored_serves_without_a_request(ask, service, home, tmp_path):
    first = json.loads(ask('--json').out)
    for more, code, words in ((['--check', '50'], 3, '5-Hour: 78% used'),
                              (['--metrics'], 0, 'claude_usage_up 1'),
                              (['--once'], 0, 'Jane (jane@example.com)'), (['--json'], 0, '')):
        done = ask(*more)
        assert (done.code, done.err) == (code, '') and words in done.out, more
    again = json.loads(done.out)
    assert again['limits'] == first['limits'] and again['account'] == first['account']
    assert (asked(service), asked(service, PROFILE)) == (1, 1)
    assert os.listdir(str(home / '.claude-usage')) == ['store2.db']
    names = rows(home, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    assert names == [('attempts',), ('replies',), ('samples',), ('series',), ('windows',)]
    for _ in range(2):
        ask('--once', env={'CLAUDE_USAGE_DIR': str(tmp_path / 'there')})
    assert asked(service) == 2 and os.listdir(str(tmp_path / 'there')) == ['store2.db']


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'stopped'])
def test_a_holder_that_is_gone_in_its_request(monitor, others, service, number):
    """Another asks when the claim is lost; what comes later is neither noted nor shown."""
    go, late = threading.Event(), Reply(body={'five_hour': {'utilization': 12.0}})
    service.answer(USAGE, lambda _: go.wait(60) and late, Reply(body=QUIET))
    with monitor(argv=LOST) as holder:
        service.wait_for(1, USAGE)
        holder.signal(number)
        with monitor(argv=LOST) as other:
            child = others('--once')
            first, second = service.wait_for(2, USAGE)
            # A claim is a little older than the request, and some machines are busy.
            assert 4 - 2 < second.at - first.at < 4 + 10
            other.shows('78%', gone=('⚠',))
            done = ended(child)
            assert done.code == 0 and '78%' in done.out
            go.set()
            if number == signal.SIGSTOP:
                holder.signal(signal.SIGCONT)
                holder.shows('78%', gone=('12%',))
            assert '12%' not in other.text()
    assert asked(service) == 2


@pytest.mark.parametrize('wait, seconds', [
    # The numbers themselves are not asked for as soon as the block of 60 seconds is over.
    ({'Retry-After': '5'}, max(BLOCK_LEAST, WARY_SECONDS)), ({}, BLOCK_SILENT),
    ({'Retry-After': '720'}, 720)])
def test_a_block_outlasts_restarts(monitor, ask, service, home, wait, seconds):
    service.answer(USAGE, Reply(429, captures.ERROR_429, wait), Reply(body=QUIET))
    refused = '⚠ Rate limited. Next try '
    with monitor() as first:
        first.wait_for(refused)
        with monitor() as second:
            second.wait_for(refused)
            second.send('r')
            second.wait_for('Too soon, refresh possible at ')
            assert said(first, refused) == said(second, refused), 'the same time'
    done = ask('--json')
    assert done.code == 1 and 'Rate limited. Next try ' in done.err
    usage = json.loads(done.out)['sources']['usage']
    (at,), = rows(home, "SELECT ended FROM attempts WHERE code = 'rate_limited'")
    expected = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at + seconds))
    assert usage['next_at'] == expected
    with monitor() as restarted:
        restarted.wait_for(refused)
        assert (asked(service), asked(service, PROFILE)) == (1, 0)
        log_in(home, accessToken='new')
        restarted.wait_for('78%')
    assert asked(service) == 2


def test_the_status_line_feeds_a_monitor(monitor, run, service):
    """Also one that cannot ask."""
    def feed(percent):
        window = {'used_percentage': percent, 'resets_at': int(time.time()) + 9000}
        told = {'model': {'display_name': 'Opus'}, 'rate_limits': {'five_hour': window}}
        return run(['--statusline', '--color', 'never'], input=json.dumps(told)).out
    service.answer(USAGE, Reply(429, captures.ERROR_429, {'Retry-After': '120'}))
    assert feed(23).startswith('5h 23% ')
    with monitor() as terminal:
        terminal.shows('23%', 'via Claude Code', '⚠ Rate limited. Next try ')
        line = feed(81.4)
        assert line.startswith('5h 81% ') and line.rstrip().endswith('Opus')
        terminal.shows('81%', 'via Claude Code', '⚠ Rate limited', gone=('23%',))
    assert asked(service) == 1


@pytest.fixture
def api(service):
    """The Admin API, of an organization that is small this month."""
    today = utc_day(time.time())
    return AdminApi(service, Organization(today[:8] + '01', int(today[8:]) + 1, rows=1))


def test_the_console_is_asked_once_for_all(others, api):
    children = [others('--mode', 'console', '--json', argv=EAGER, env=ADMIN) for _ in range(4)]
    told = [json.loads(ended(child).out)['console'] for child in children]
    assert told[0]['organization'] == 'Acme Corporation' and told[0]['complete']
    assert all(one == told[0] for one in told)
    assert len(api.requests('cost_report')) == 1


@pytest.mark.parametrize('number, code, noted', [
    (signal.SIGINT, 130, 'lost'), (signal.SIGKILL, -signal.SIGKILL, '')], ids=['ended', 'killed'])
def test_a_console_that_is_gone_in_its_request(others, service, api, home, number, code, noted):
    """Ctrl+C gives it back at once; a claim that nobody can give back is lost after a while."""
    api.faults['me'] = HANG
    argv = LOST if number == signal.SIGKILL else EAGER
    child = others('--mode', 'console', '--once', env=ADMIN, argv=argv)
    service.wait_for(1, '/v1/organizations/me')
    child.send_signal(number)
    assert ended(child).code == code
    assert rows(home, "SELECT source, code FROM attempts") == [('console', noted)]
    del api.faults['me']
    done = ended(others('--mode', 'console', '--once', env=ADMIN, argv=argv))
    assert done.code == 0 and 'Acme Corporation' in done.out
    if number == signal.SIGKILL:
        first, second = service.wait_for(2, '/v1/organizations/me')
        assert 4 - 2 < second.at - first.at < 4 + 10


# --- Bad luck ---

def statements(*words):
    """What another version, or something else, makes of the file."""
    def make(path):
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            for statement in words:
                db.execute(statement)
    return make


def text(path):
    with open(path, 'w') as file:
        file.write('Dear diary')


OTHER_FILES = {
    'malformed': text, 'newer': statements('CREATE TABLE more (x)', 'PRAGMA user_version = 99'),
    'foreign': statements('CREATE TABLE more (x)'),
    'older': statements('PRAGMA user_version = %d' % (STORE_VERSION - 1))}


@pytest.mark.parametrize('name', OTHER_FILES)
def test_a_file_that_is_not_ours_is_left_alone(monitor, ask, service, home, name):
    """The next number takes its place, for all monitors."""
    (home / '.claude-usage').mkdir(mode=0o700)
    OTHER_FILES[name](path_in(home))
    with open(path_in(home), 'rb') as file:
        before = file.read()
    with monitor() as terminal:
        terminal.shows('78%', 'Example Corp', gone=(NOT_SHARED, 'Internal', 'malformed'))
        done = ask('--once')
        assert (done.code, done.err) == (0, '') and '78%' in done.out
    assert sorted(os.listdir(str(home / '.claude-usage'))) == ['store2-2.db', 'store2.db']
    with open(path_in(home), 'rb') as file:
        assert file.read() == before
    assert asked(service) == 1


def linked(folder):
    folder.mkdir(mode=0o700)
    (folder / 'store2.db').symlink_to(folder.parent / 'precious')


def linked_folder(folder):
    (folder.parent / 'there').mkdir()
    folder.symlink_to(folder.parent / 'there')


@pytest.mark.parametrize('lay', [linked, linked_folder])
def test_a_link_costs_the_sharing_and_never_the_numbers(monitor, ask, home, service, lay):
    lay(home / '.claude-usage')
    done = ask('--once')
    assert (done.code, done.err) == (0, '') and '78%' in done.out and NOT_SHARED in done.out
    for arguments in (['--json'], ['--metrics'], ['--check', '99']):
        done = ask(*arguments)
        assert done.code == 0 and done.err.startswith('claude-usage: ' + NOT_SHARED)
    with monitor() as terminal:
        terminal.shows('78%', NOT_SHARED)
    assert asked(service) == 5 and not (home / 'precious').exists()
    assert not (home / 'there').exists() or os.listdir(str(home / 'there')) == []


def test_a_store_that_stays_locked(monitor, others, ask, service, home):
    """Numbers come after a while, and what is said of it goes when the lock does."""
    ask('--statusline')
    with contextlib.closing(sqlite3.connect(path_in(home), isolation_level=None)) as db:
        db.execute('BEGIN EXCLUSIVE')
        with monitor(argv=IMPATIENT) as terminal:
            child = others('--once', argv=IMPATIENT)
            terminal.shows(NOT_SHARED, gone=('78%',))
            terminal.shows('78%', NOT_SHARED)
            done = ended(child)
            assert done.code == 0 and '78%' in done.out and NOT_SHARED in done.out
            db.execute('ROLLBACK')
            terminal.shows('78%', gone=(NOT_SHARED,))
    assert asked(service) == 2, 'each by itself'
