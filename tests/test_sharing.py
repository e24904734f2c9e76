"""Many monitors of one user, as real processes: they ask as often as one."""
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

import captures
from admin import KEY, AdminApi, Organization
from captures import QUIET
from claude_usage import (BLOCK_LEAST, BLOCK_SILENT, REQUESTS_MOST, STORE_VERSION, WARY_SECONDS,
                          utc_day)
from conftest import PROFILE, PROGRAM, USAGE, asked, ended, log_in
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


def give_away(path):
    """Make it another user's, as `sudo` leaves what it makes."""
    try:
        os.chown(str(path), os.getuid() + 1, -1)
    except PermissionError:
        pytest.skip('only root may give it away')


def given_away(folder):
    folder.mkdir(mode=0o755)
    give_away(folder)


def file_given_away(folder):
    folder.mkdir(mode=0o700)
    (folder / 'store2.db').touch(0o600)
    give_away(folder / 'store2.db')


def home_read_only(folder):
    folder.parent.chmod(0o500)


def read_only(folder):
    folder.mkdir(mode=0o500)


@contextlib.contextmanager
def full(folder):
    """A file system of a few pages without a free one."""
    folder.mkdir(mode=0o700)
    size = 'size=%d' % (16 * os.sysconf('SC_PAGE_SIZE'))
    mounted = shutil.which('mount') and subprocess.call(
        ['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', str(folder)], stderr=subprocess.DEVNULL)
    if mounted != 0:
        pytest.skip('no tmpfs can be mounted here')
    try:
        folder.chmod(0o700)
        with contextlib.suppress(OSError), open(str(folder / 'more'), 'wb', 0) as file:
            while True:
                file.write(b'x' * 4096)
        yield
    finally:
        subprocess.check_call(['umount', str(folder)])


# Without capabilities, root is a user like any other, whom modes bind.
UNPRIVILEGED = ['setpriv', '--bounding-set', '-all', '--'] if os.getuid() == 0 else []
UNUSABLE = {'linked': linked, 'linked folder': linked_folder, 'given away': given_away,
            'file given away': file_given_away, 'home read-only': home_read_only,
            'read-only': read_only, 'full': full}
SCRIPTS = ['--json'], ['--metrics'], ['--best'], ['--check', '99'], ['--once']


@pytest.fixture
def unusable(home, request):
    """A folder of the store that cannot be used, in a way that is named."""
    if UNPRIVILEGED and subprocess.call(UNPRIVILEGED + ['true'], stderr=subprocess.DEVNULL):
        pytest.skip('modes do not bind root here')
    with contextlib.ExitStack() as stack:
        laid = UNUSABLE[request.param](home / '.claude-usage')
        if laid:
            stack.enter_context(laid)
        yield home / '.claude-usage'
    home.chmod(0o700)


@pytest.mark.parametrize('unusable', UNUSABLE, indirect=True)
def test_a_store_that_cannot_be_used(others, service, home, tmp_path, unusable):
    """Without any folder nothing is asked, and the reason is told; else another one serves."""
    def outputs(scripts):
        argv, env = UNPRIVILEGED + EAGER, {'TMPDIR': str(temporary)}
        children = [others(*words, argv=argv, env=env) for words in scripts]
        return [ended(child) for child in children]
    temporary = tmp_path / 'temporary'
    for done in outputs(SCRIPTS[2:]):
        assert done.code == 1 and '.claude-usage' in done.err and 'Traceback' not in done.err
    assert service.requests == []
    temporary.mkdir()
    for done in outputs(SCRIPTS[:3]):
        assert (done.code, done.err) == (0, '')
    folder = temporary / ('claude-usage-%d' % os.getuid())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (asked(service), asked(service, PROFILE)) == (1, 1)
    assert not (home / 'precious').exists()
    assert not (home / 'there').exists() or os.listdir(str(home / 'there')) == []


def test_a_block_without_the_usual_store(others, service, home, tmp_path):
    linked_folder(home / '.claude-usage')
    service.answer(USAGE, Reply(429, captures.ERROR_429, {'Retry-After': '720'}))
    children = [others(*words, env={'XDG_RUNTIME_DIR': str(tmp_path)}) for words in SCRIPTS]
    assert [ended(child).code for child in children] == [1] * 5
    assert asked(service) == 1 and (tmp_path / 'claude-usage' / 'store2.db').exists()


def test_a_folder_that_others_may_write_is_tightened(others, service, home):
    (home / '.claude-usage').mkdir()
    (home / '.claude-usage').chmod(0o775)
    for child in [others(*words, argv=EAGER) for words in SCRIPTS[:3]]:
        done = ended(child)
        assert (done.code, done.err) == (0, '')
    assert stat.S_IMODE((home / '.claude-usage').stat().st_mode) == 0o755
    assert asked(service) == 1


@pytest.mark.parametrize('lay', [linked, linked_folder])
def test_a_link_costs_the_sharing_and_never_the_numbers(monitor, home, service, lay):
    """Of those at a terminal."""
    lay(home / '.claude-usage')
    with monitor() as terminal, monitor('--once') as once:
        terminal.shows('78%', NOT_SHARED)
        once.shows('78%', NOT_SHARED)
    assert asked(service) == 2


STORM = '''
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[1])
import claude_usage as program
import sqlite3, ssl, urllib3
program.REQUEST_SECONDS, program.WATCH_SECONDS, program.STORE_LOOK = 0.5, 0.1, 0.05
chance, running, begun, end = random.Random(7), [], 0, time.monotonic() + 2.5
while time.monotonic() < end:
    while len(running) < 20:
        begun += 1
        pid = os.fork()
        if not pid:
            program.main(['--watch', '--alert', '99', '--api-url', sys.argv[2]])
            os._exit(1)
        running.append(pid)
    time.sleep(chance.random() / 20)
    chance.shuffle(running)
    for pid in running[:chance.randrange(10)]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        running.remove(pid)
for pid in running:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(begun)
'''


def test_a_storm_of_kills(run, ask, service, home):
    """Of 20 monitors, each dies after a while and another one comes."""
    service.answer(USAGE, Reply(body=QUIET, drip_headers=0.0005))
    done = run([PROGRAM.parent, service.url], argv=[sys.executable, '-c', STORM])
    assert done.code == 0 and int(done.out) > 20, done
    assert 1 <= asked(service) <= REQUESTS_MOST
    assert rows(home, 'PRAGMA integrity_check') == [('ok',)]
    assert {name for name in os.listdir(str(home / '.claude-usage'))
            if not name.endswith('-journal')} == {'store2.db'}
    count, = rows(home, "SELECT count(*) FROM attempts WHERE source = 'usage'")[0]
    assert count <= REQUESTS_MOST
    done = ask('--json', argv=command(REQUEST_SECONDS=2, **QUICK))
    assert done.code in (0, 1) and asked(service) <= REQUESTS_MOST


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
            assert done.code == 1 and 'Not asked, for no store can note it: ' in done.err
            db.execute('ROLLBACK')
            terminal.shows('78%', gone=(NOT_SHARED,))
    assert asked(service) == 1, 'by the one at a terminal'
