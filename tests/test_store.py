"""The store that all monitors of a user share: what it keeps, who asks, and its bad luck."""
import contextlib
import itertools
import json
import os
import queue
import random
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

import captures
from admin import JOHN, KEY, AdminApi, Organization, error
from captures import LOGGED_OUT, REFRESH_TOKEN, TOKEN
from claude_usage import (ATTEMPTS_MOST, BUDGET, BUDGET_SECONDS, DAY, FRESH_SECONDS, HOUR,
                          LEASE_SECONDS, LOCKED_SECONDS, LOST, MINUTE, PACES, SAMPLES_SECONDS,
                          STORE_FOLDER, USAGE_MOST, Api, Attempt, CodePoller, ConsolePoller, Limit,
                          Snapshot, SourceError, Store, Ui, add_samples, compose, feed_store,
                          has_numbers, joined, next_poll, parse_time, set_back, store_folder,
                          usage_of)
from conftest import PROGRAM
from server import Reply
from test_console import BROKEN, DAY_PATH, NOW, Desk, check_sums
from test_pollers import BAD, GOOD, PROFILE, USAGE, World, limited

NOT_SHARED = 'Not shared with other monitors: '
MALFORMED = 'The shared store was malformed: '
OTHER = Reply(body=dict(captures.USAGE_2026, five_hour={'utilization': 12.0, 'resets_at': None}))


class Monitor(World):
    """One of several monitors in a World: its server, clock and files, usually its store."""

    def __init__(self, world, folder=None, store=None, interval=None):
        self.world, self.server, self.times = world, world.server, world.times
        self.folder, self.inbox = folder or world.folder, world.inbox.__class__()
        self.snapshot, self.told = Snapshot(), []
        self.store = Store(str(store or world.store.folder))
        self.poller = CodePoller(self.inbox, lambda: self.now, Api(self.server.url),
                                 {'CLAUDE_CONFIG_DIR': str(self.folder)}, self.store, interval)

    @property
    def now(self):
        return self.world.now

    @now.setter
    def now(self, now):
        self.world.now = now

    def once(self, asked=False):
        """As World does it. The file goes by the test's clock too, so that no change of it is
        hidden by a tick of the real one."""
        wait = super().once(asked)
        if os.path.isfile(self.store.path) and not os.path.islink(self.store.path):
            os.utime(self.store.path, (self.now, self.now))
        return wait

    @property
    def trouble(self):
        """What is said of the store."""
        return self.snapshot.store.value or ''

    def five_hour(self):
        """The percent that is shown of the first limit."""
        return self.snapshot.usage.value.limits[0].used


@pytest.fixture
def world(server, tmp_path):
    return World(server, tmp_path)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / 'store'))


def together(monitors, seconds):
    """Let so many seconds pass, in which each of the monitors does what is due."""
    end = monitors[0].now + seconds
    while monitors[0].now < end:
        wait = min([monitor.once() for monitor in monitors])
        monitors[0].now = min(end, monitors[0].now + max(wait, 0.5))


def within_budget(times):
    return all(later - earlier >= BUDGET_SECONDS
               for earlier, later in zip(times, times[BUDGET:]))


def limits_of(**used):
    """Limits by id and percent."""
    return [Limit(key, key, key, float(value), None, None) for key, value in used.items()]


def attempt(at, code='ok', token='t', source='usage'):
    return Attempt(source, token, float(at), code, None, '', True, None)


def bytes_of(folder):
    """name -> content of all files there, links not followed."""
    found = {}
    for name in os.listdir(str(folder)):
        path = os.path.join(str(folder), name)
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, 'rb') as file:
                found[name] = file.read()
    return found


def rows(store, statement, *values):
    """The rows of a query, without the help of the class."""
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        found = db.execute(statement, values).fetchall()
        db.commit()
    return found


@pytest.fixture
def umask():
    """The laxest one: whatever is private then is made so."""
    before = os.umask(0)
    yield
    os.umask(before)


# --- the file ---

@pytest.mark.parametrize('act', [
    lambda store: store.recall('a', 't', 1000), lambda store: store.feed('a', '{}', (), 1000)],
    ids=['recall', 'feed'])
def test_folder_and_file_are_private_from_the_start(store, umask, act):
    act(store)
    assert stat.S_IMODE(os.stat(store.folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600
    assert os.listdir(store.folder) == ['store.db']


def test_a_file_that_others_may_read_is_made_private(store):
    store.feed('a', '{}', (), 1000)
    os.chmod(store.path, 0o644)
    store.recall('a', '', 1000)
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600


def test_a_folder_where_others_may_write_is_not_used(store):
    os.mkdir(store.folder)
    os.chmod(store.folder, 0o777)
    with pytest.raises(SourceError) as failed:
        store.feed('a', '{}', (), 1000)
    assert failed.value.failure.code == 'forbidden' and os.listdir(store.folder) == []


@pytest.mark.parametrize('env, folder', [
    ({}, os.path.expanduser(STORE_FOLDER)), ({'CLAUDE_USAGE_DIR': ''}, None),
    ({'CLAUDE_USAGE_DIR': '/var/lib/usage'}, '/var/lib/usage')])
def test_where_it_is(env, folder):
    assert store_folder(env) == folder or folder is None
    assert store_folder(env).endswith(('/.claude-usage', '/var/lib/usage'))


def test_it_has_a_rollback_journal(store):
    """WAL needs shared memory, which home directories on NFS have not."""
    seen = []
    store.use(lambda db: seen.append((db.execute('PRAGMA journal_mode').fetchone()[0],
                                      sorted(os.listdir(store.folder)))), 1000, writes='data')
    store.feed('a', '{}', (), 1000)
    with open(store.path, 'rb') as file:
        header = file.read(100)
    assert header[18:20] == b'\1\1', 'what the file says of its journal'
    assert seen[0][0] == 'delete' and not [name for name in seen[0][1] if 'wal' in name]


def at_once(work, count):
    """What work(n) returned or raised in so many threads that start together.

    One that finds the file locked for too long, on a slow disk, tries again, as monitors do.
    """
    results, gate, deadline = [], threading.Barrier(count), time.monotonic() + 60

    def run(number):
        gate.wait(30)
        while True:
            try:
                results.append(work(number))
            except SourceError as error:
                if error.failure.code == 'locked' and time.monotonic() < deadline:
                    continue
                results.append(error)
            except Exception as error:
                results.append(error)
            return
    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_many_make_it_at_once(tmp_path):
    for number in range(5):
        folder = str(tmp_path / str(number) / 'deep' / 'store')
        assert at_once(lambda n: Store(folder).feed('a%d' % n, '{}', (), 1000), 8) == [None] * 8
        store = Store(folder)
        assert all(store.recall('a%d' % n, '', 1000)[0] for n in range(8))
        assert os.listdir(folder) == ['store.db']


# --- what it keeps ---

def test_a_reply_and_its_attempt_come_back(store):
    mine = attempt(1000)._replace(retry_after=7.5, detail='words', moved=False, reset_at=2000.0)
    lease = store.claim('usage', 'a', 't', lambda attempts: attempts == (), 999)
    store.settle('a', mine, lease, '{"x": 1}', (), 1000)
    assert store.recall('a', 't', 1001) == ({'usage': (1000, '{"x": 1}')}, (mine,))
    assert store.recall('b', 'u', 1001) == ({}, ())


def test_the_budget_is_the_accounts_and_a_block_the_tokens(store):
    store.settle('a', attempt(1000), 0.0, None, (), 1000)
    store.settle('a', attempt(1030, 'rate_limited'), 0.0, None, (), 1030)
    found = [[each.at for each in store.recall(*who, 1031)[1]] for who in (
        ('a', 't'), ('a', 'u'), ('b', 't'), ('b', 'u'))]
    assert found == [[1000, 1030], [1000, 1030], [1030], []]


def test_a_failure_leaves_the_reply_alone(store):
    store.settle('a', attempt(1000), 0.0, '{}', (), 1000)
    store.settle('a', attempt(1030, 'network'), 0.0, None, (), 1030)
    replies, attempts = store.recall('a', 't', 1031)
    assert replies == {'usage': (1000, '{}')}
    assert [each.code for each in attempts] == ['ok', 'network']


def test_what_the_status_line_tells(store):
    store.settle('a', attempt(1000), 0.0, '{}', (), 1000)
    store.feed('a', '{"five_hour": 1}', limits_of(five_hour=1), 1010)
    replies, attempts = store.recall('a', 't', 1011)
    assert replies['statusline'] == (1010, '{"five_hour": 1}')
    assert len(attempts) == 1, 'it is no request'
    assert store.count(1011) == 1


def test_days_are_kept_for_good(store):
    now = parse_time('2026-11-05T00:00Z')
    store.keep_days('a', {'2026-11-01': '[1]', '2026-11-02': '[2]', '2026-10-31': '[4]'}, now)
    store.keep_days('a', {'2026-11-02': '[3]'}, now)
    store.keep_days('b', {}, now)
    assert store.days('a', '2026-11', 1e10) == {'2026-11-01': '[1]', '2026-11-02': '[3]'}
    assert store.days('a', '2026-10', 1e10) == {'2026-10-31': '[4]'}
    assert store.days('b', '2026-11', 1e10) == {}
    store.keep_days('a', {}, now + 58 * DAY)
    assert not store.days('a', '2026-10', 1e10) and store.days('a', '2026-11', 1e10)


def test_attempts_are_kept_for_each_source_and_account(store):
    assert ATTEMPTS_MOST == 50
    for at in range(ATTEMPTS_MOST + 9):
        for account, source in (('a', 'usage'), ('a', 'profile'), ('b', 'usage')):
            if account == 'a' or at < 3:
                store.settle(account, attempt(at, source=source, token=account), 0.0, None, (),
                             at)
    kept = dict(((account, source), (count, first)) for account, source, count, first in rows(
        store, 'SELECT account, source, count(*), min(at) FROM attempts GROUP BY 1, 2'))
    assert kept == {('a', 'usage'): (ATTEMPTS_MOST, 9), ('a', 'profile'): (ATTEMPTS_MOST, 9),
                    ('b', 'usage'): (3, 0)}


# --- leases ---

def claim(store, now, source='usage', account='a', is_due=True):
    return store.claim(source, account, 't', lambda _: is_due, now)


def test_a_lease_is_one_monitors(store):
    lease = claim(store, 1000)
    assert 1000 < lease <= 1000 + 20, 'a holder that dies delays the others by no more'
    assert claim(store, 1000) is None and claim(Store(store.folder), lease - 0.1) is None
    assert claim(store, 1000, 'profile') and claim(store, 1000, account='b')
    assert claim(store, lease), 'it ended by itself'


def test_a_lease_ends_with_its_request(store):
    store.settle('a', attempt(1001), claim(store, 1000), None, (), 1001)
    assert claim(store, 1002)


def test_a_lease_that_another_monitor_has_by_now_goes_on(store):
    late = claim(store, 1000)
    lease = claim(store, late + 1)
    store.settle('a', attempt(late + 2), late, None, (), late + 2)
    assert claim(store, late + 3) is None and claim(store, lease)


def test_nothing_is_claimed_that_is_not_due(store):
    assert claim(store, 1000, is_due=False) is None
    assert claim(store, 1000)


def test_a_lease_can_be_made_longer(store):
    lease = claim(store, 1000)
    longer = store.renew('usage', 'a', lease, 1010)
    assert longer == 1010 + LEASE_SECONDS
    assert claim(store, lease + 1) is None
    store.settle('a', attempt(1020), longer, None, (), 1020)
    assert claim(store, 1021)


def test_a_lease_of_before_the_clock_was_set_back_counts_for_nothing(store):
    lease = claim(store, 10 * HOUR)
    assert claim(store, 9 * HOUR)
    assert claim(store, 9 * HOUR) is None
    assert lease > 10 * HOUR


def test_of_many_that_claim_at_once_one_may_ask(store):
    store.recall('a', 't', 1000)
    for now in range(1000, 1200, 20):
        got = at_once(lambda _: claim(Store(store.folder), now), 8)
        assert sorted(got, key=bool)[:7] == [None] * 7 and now < max(filter(None, got))


# --- samples ---

def samples(store):
    """[(limit, second, percent)]"""
    return rows(store, 'SELECT name, at, used FROM samples JOIN series ON id = series '
                       'ORDER BY at, name')


def test_each_limit_of_a_reply_is_a_sample(store):
    store.settle('a', attempt(1000), 0.0, '{}', limits_of(five_hour=1.5, seven_day=2), 1000)
    store.feed('b', '{}', limits_of(five_hour=3), 1000)
    assert samples(store) == [('five_hour', 1000, 1.5), ('five_hour', 1000, 3),
                              ('seven_day', 1000, 2)]
    assert store.count(1000) == 3


def test_samples_are_no_nearer_than_20_seconds(store):
    for at in (1000, 1000.5, 1010, 1019.9, 1020, 1039, 1041):
        store.feed('a', '{}', limits_of(five_hour=at), at)
    assert [at for _, at, _ in samples(store)] == [1000, 1020, 1041]


def test_samples_are_forgotten_after_35_days(store):
    assert SAMPLES_SECONDS == 35 * DAY
    for at in (0, DAY, 35 * DAY, 35 * DAY + 21, 36 * DAY + 1):
        store.feed('a', '{}', limits_of(five_hour=1), at)
    assert [at for _, at, _ in samples(store)] == [35 * DAY, 35 * DAY + 21, 36 * DAY + 1]


def test_no_statement_reads_all_samples(store):
    """There are a million of them: eight limits, 35 days."""
    store.feed('a', '{}', limits_of(five_hour=1, seven_day=2), 10 * DAY)
    statements = []

    def noted(db):
        db.set_trace_callback(lambda text: statements.append(text))
        add_samples(db, 'a', limits_of(five_hour=2), 20 * DAY)
        set_back(db, 9 * DAY)
        db.set_trace_callback(None)
    store.use(noted, 20 * DAY, writes='data')
    about = [re.sub(r':[a-z]\w*|\?', '1', text) for text in statements if 'samples' in text]
    assert [text.split()[0] for text in about] == ['INSERT', 'DELETE', 'DELETE']
    for text in about:
        plan = '\n'.join(row[-1].replace('TABLE ', '')
                         for row in rows(store, 'EXPLAIN QUERY PLAN ' + text))
        assert 'SEARCH samples USING PRIMARY KEY (series=? AND at' in plan, plan
        assert 'SCAN samples' not in plan, plan


# --- the clock is set back ---

def test_what_was_noted_in_the_future_moves_back(store):
    for at in (4000, 4030, 4060):
        store.settle('a', attempt(at), 0.0, '{}', limits_of(five_hour=at), at)
    claim(store, 460)
    replies, attempts = store.recall('a', 't', 460)
    assert [each.at for each in attempts] == [400, 430, 460]
    assert replies['usage'][0] == 460 and samples(store) == []
    store.feed('a', '{}', limits_of(five_hour=1), 500)
    assert [at for _, at, _ in samples(store)] == [500]


@pytest.mark.parametrize('skew', [0, 1, MINUTE])
def test_clocks_of_machines_may_differ_a_little(store, skew):
    store.settle('a', attempt(4000), 0.0, '{}', (), 4000)
    claim(store, 4000 - skew)
    assert store.recall('a', 't', 4000)[1][0].at == 4000


def test_the_budget_goes_on_when_the_clock_is_set_back(world):
    """Wherever the clock stands: no sixth request in five minutes that really pass."""
    world.answer(*itertools.islice(itertools.cycle([GOOD, OTHER]), 999))
    monitors, real = [Monitor(world, interval=10), Monitor(world, interval=10)], []
    together(monitors, 2 * MINUTE)
    start, before = world.now - 2 * MINUTE, len(world.times)
    real += [at - start for at in world.times]
    world.now -= HOUR
    together(monitors + [Monitor(world, interval=10)], 10 * MINUTE)
    real += [at - start + HOUR for at in world.times[before:]]
    assert within_budget(real) and len(real) >= 10
    assert monitors[0].snapshot.usage.at == world.times[-1] <= world.now


def test_a_monitor_that_waits_sees_that_the_clock_was_set_back(world):
    """Nothing else happens that could wake it."""
    mine = Monitor(world)
    together([mine], 100)
    before = len(world.times)
    world.now -= HOUR
    together([mine], USAGE_MOST + MINUTE)
    assert len(world.times) > before and mine.snapshot.usage.next_at < world.now + 2 * USAGE_MOST


@pytest.mark.parametrize('restarts', [False, True])
def test_a_block_goes_on_when_the_clock_is_set_back(world, restarts):
    """And it is over when it is over: not once more when the clock gets there again."""
    world.answer(limited(600), GOOD)
    monitors = [Monitor(world), Monitor(world)]
    together(monitors, MINUTE)
    world.now -= HOUR
    start, monitors = world.now, [Monitor(world)] if restarts else monitors
    together(monitors, 530)
    assert len(world.times) == 1 and monitors[0].failure == 'rate_limited'
    together(monitors, HOUR + 20 * MINUTE)
    assert 540 <= world.times[1] - start < 610, 'what had passed of it may count or not'
    gaps = [later - earlier for earlier, later in zip(world.times[1:], world.times[2:])]
    assert max(gaps) < 340 and monitors[0].failure is None


# --- bad luck: a file that is malformed ---

def spoil(path, how):
    """Overwrite a file by a function of its bytes."""
    with open(path, 'rb') as file:
        data = how(file.read())
    with open(path, 'wb') as file:
        file.write(data)


def spoil_middle(path):
    """Overwrite a page of the samples' table, with others left whole."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        size, = db.execute('PRAGMA page_size').fetchone()
        root, = db.execute('SELECT rootpage FROM sqlite_master WHERE name = ?',
                           ('samples',)).fetchone()
    spoil(path, lambda data: data[:(root - 1) * size] + b'\xff' * size + data[root * size:])


def change(*statements):
    """A function that executes them in a file."""
    def execute(path):
        with contextlib.closing(sqlite3.connect(path)) as db:
            for statement in statements:
                db.execute(statement)
            db.commit()
    return execute


def foreign(path):
    """Put another program's database there."""
    os.unlink(path)
    change('CREATE TABLE dear_notes (id, words)', "INSERT INTO dear_notes VALUES (1, 'keep')")(
        path)


SPOILED = {
    'text': lambda path: spoil(path, lambda data: b'Dear diary,\n' * 999),
    'rubbish': lambda path: spoil(path, lambda data: bytes(
        random.Random(7).randrange(256) for _ in data)),
    'truncated': lambda path: spoil(path, lambda data: data[:len(data) // 2]),
    'a page cut': lambda path: spoil(path, lambda data: data[:5000]),
    'flipped': spoil_middle, 'foreign': foreign,
    'no attempts': change('DROP TABLE attempts'), 'no leases': change('DROP TABLE leases'),
    'no samples': change('DROP TABLE samples', 'DROP TABLE series'),
    'no columns': change('DROP TABLE replies', 'CREATE TABLE replies (dust)'),
}


def filled(store):
    """A store with something of everything."""
    body = json.dumps(captures.USAGE_2026)
    store.settle('a', attempt(1000), 0.0, body, limits_of(five_hour=1, seven_day=2), 1000)
    store.feed('a', body, limits_of(five_hour=1), 1030)
    store.keep_days('a', {'2026-11-01': '[{}]'}, 1030)
    return store


@pytest.mark.parametrize('how', SPOILED)
def test_a_malformed_file_is_set_aside_and_never_deleted(store, how):
    SPOILED[how](filled(store).path)
    before = bytes_of(store.folder)['store.db']
    store.settle('a', attempt(2000), 0.0, '{"new": 1}', limits_of(five_hour=9), 2000)
    found = bytes_of(store.folder)
    aside, = set(found) - {'store.db'}
    assert found[aside] == before and store.aside == os.path.join(store.folder, aside)
    assert aside.startswith('store.db.malformed-19700101-003320-')
    assert stat.S_IMODE(os.stat(store.aside).st_mode) == 0o600
    assert store.recall('a', 't', 2001) == ({'usage': (2000, '{"new": 1}')}, (attempt(2000),))
    assert samples(store) == [('five_hour', 2000, 9)]


def test_two_malformed_files_are_both_kept(store):
    for now in (1000, 2000):
        store.feed('a', '{}', (), now)
        SPOILED['text'](store.path)
    store.feed('a', '{}', (), 3000)
    assert len(bytes_of(store.folder)) == 3


def test_a_hot_journal_goes_with_its_file(store):
    """Alone it would spoil the new file."""
    spoil_middle(filled(store).path)
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute('BEGIN IMMEDIATE')
        db.execute("INSERT INTO leases VALUES ('usage', 'z', 1, 't')")
        before = bytes_of(store.folder)
        assert sorted(before) == ['store.db', 'store.db-journal']
        assert store.count(2000) == 0
        found = bytes_of(store.folder)
    aside = os.path.basename(store.aside)
    assert found[aside] == before['store.db']
    assert found[aside + '-journal'] == before['store.db-journal']
    assert 'store.db-journal' not in found


def test_a_transaction_that_was_cut_off_is_undone(store):
    """As after SIGKILL: what SQLite can mend by itself is not malformed."""
    filled(store)
    child = subprocess.Popen([sys.executable, '-c', CUT_OFF, store.path])
    child.wait(60)
    assert 'store.db-journal' in os.listdir(store.folder)
    assert store.recall('a', 't', 1040)[0]['usage'][0] == 1000
    assert store.count(1040) == 3 and not store.aside
    assert os.listdir(store.folder) == ['store.db']


CUT_OFF = '''
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('PRAGMA cache_size = 1')
db.execute('BEGIN IMMEDIATE')
db.execute('UPDATE replies SET at = 7, body = ?', ('x' * 99999,))
db.execute('DELETE FROM samples')
os.kill(os.getpid(), signal.SIGKILL)
'''


def test_a_file_that_another_monitor_sets_aside_meanwhile(store, monkeypatch):
    """Between our look and our own setting aside."""
    other, set_aside = Store(store.folder), store.set_aside

    def be_late(*arguments):
        other.feed('a', '{"new": 1}', (), 2000)
        set_aside(*arguments)
    monkeypatch.setattr(store, 'set_aside', be_late)
    SPOILED['text'](filled(store).path)
    assert store.use(lambda db: db.execute('SELECT body FROM replies').fetchall(), 2000) == [
        ('{"new": 1}',)]
    assert other.aside and not store.aside and len(bytes_of(store.folder)) == 2


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() != 0, reason='only root may')
def test_a_folder_of_another_user_is_told_as_that(store):
    os.mkdir(store.folder, 0o700)
    os.chown(store.folder, 65534, 65534)
    with pytest.raises(SourceError) as caught:
        store.touch(2000)
    assert "another user's" in caught.value.failure.detail


def test_a_file_in_use_is_not_set_aside(store):
    """Its user would find the new file's journal, and play that back into the old one."""
    other = Store(store.folder)

    def work(db):
        SPOILED['text'](store.path)
        with pytest.raises(SourceError, match='locked') as caught:
            other.touch(2000)
        assert 'a malformed file is in use' in caught.value.failure.detail
        return os.listdir(store.folder)
    assert filled(store).use(work, 2000) == ['store.db']
    other.touch(2000)
    assert other.aside and len(os.listdir(store.folder)) == 2


def test_many_monitors_find_the_same_malformed_file(tmp_path):
    """One sets it aside, and no new file after it. Who is told of a file that has just gone may
    find it so, once: a poller looks again in two seconds."""
    children = [subprocess.Popen([sys.executable, '-c', FINDER], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, cwd=str(PROGRAM.parent),
                                 universal_newlines=True) for _ in range(4)]
    try:
        for number in range(12):
            store = filled(Store(str(tmp_path / str(number))))
            SPOILED['text'](store.path)
            before = bytes_of(store.folder)['store.db']
            for child in children:
                child.stdin.write(store.folder + '\n')
            for child in children:
                child.stdin.flush()
            assert [child.stdout.readline() for child in children] == ['shared\n'] * 4
            found = bytes_of(store.folder)
            new = found.pop('store.db')
            assert list(found.values()).count(before) == 1 and len(found) == 1
            assert new[:6] == b'SQLite' and len(store.recall('a', 't', 2001)[1]) == 4
    finally:
        for child in children:
            child.stdin.close()
            child.wait(30)
            child.stdout.close()


FINDER = '''
import os, sys
from claude_usage import Attempt, SourceError, Store
for line in sys.stdin:
    store, told = Store(line.rstrip()), ''
    while told != 'shared' and told.count('Failure') < 20:
        try:
            store.settle('a', Attempt('usage', str(os.getpid()), 2000.0, 'ok'), 0.0, '{}', (),
                         2000)
            told = 'shared'
        except SourceError as error:
            told += str(error.failure)
    print(told, flush=True)
'''


@pytest.mark.parametrize('how', SPOILED)
def test_a_poller_goes_on_with_a_new_file_and_says_so(world, how):
    filled(world.store)
    SPOILED[how](world.store.path)
    mine, other = Monitor(world), Monitor(world)
    mine.once()
    told = [reading.value for reading in mine.told if reading.source == 'store']
    assert told[0].startswith(MALFORMED + 'it is now ' + world.store.path + '.malformed-')
    other.once()
    assert len(world.times) == 1 and mine.five_hour() == other.five_hour() == 11
    assert len(bytes_of(world.store.folder)) == 2


def set_aside_by_another(world):
    """The command of a prompt, for one, which does not know of any request."""
    SPOILED['text'](world.store.path)
    Store(world.store.folder).feed('elsewhere', '{}', (), world.now)


def deleted(world):
    os.remove(world.store.path)


@pytest.mark.parametrize('happen', [set_aside_by_another, deleted], ids=lambda how: how.__name__)
@pytest.mark.parametrize('first', [GOOD, limited(600)], ids=['reply', 'block'])
def test_what_is_known_outlives_the_file(world, happen, first):
    """Of those who run, any stores it anew for those who start later."""
    world.answer(first, OTHER)
    monitors = [Monitor(world), Monitor(world)]
    together(monitors, 5)
    before = rows(world.store, 'SELECT * FROM attempts')
    happen(world)
    together(monitors, 10)
    assert monitors[0].trouble.startswith(MALFORMED) == (happen is set_aside_by_another)
    assert set(rows(world.store, 'SELECT * FROM attempts')) == set(before)
    assert len(rows(world.store, 'SELECT * FROM attempts')) == len(before), 'each once'
    late = Monitor(world)
    late.once()
    assert len(world.times) == 1
    if first is GOOD:
        assert late.five_hour() == 11 and not late.failure
        assert late.snapshot.profile.value.name == 'Jane Doe'
    else:
        assert late.failure == 'rate_limited'


def test_an_identity_that_comes_later_is_stored_once(world):
    """The account has another key then; what is known is stored by that as well, and no more."""
    identity = world.folder / '.claude.json'
    text = identity.read_text()
    identity.unlink()
    monitors = [Monitor(world), Monitor(world)]
    together(monitors, 5)
    identity.write_text(text)
    together(monitors, 8)
    before = rows(world.store, 'SELECT * FROM attempts'), bytes_of(world.store.folder)
    together(monitors, 10)
    assert (rows(world.store, 'SELECT * FROM attempts'), bytes_of(world.store.folder)) == before
    assert len(world.times) == 1


@pytest.mark.parametrize('statement', [
    'DELETE FROM replies', "UPDATE replies SET body = '{'", "DELETE FROM replies WHERE at > 0"])
def test_a_reply_that_nobody_has_is_asked_for_again(world, statement):
    """It was told, but that it was does not help."""
    Monitor(world).once()
    rows(world.store, statement)
    late = Monitor(world)
    late.once()
    assert len(world.times) == 2 and not late.failure and late.five_hour() == 11


def test_what_is_printed_once_asks_for_a_reply_that_nobody_has(world):
    Monitor(world).once()
    rows(world.store, 'DELETE FROM replies')
    world.now += 10
    late = Monitor(world)
    late.poller.ask_now(world.now, FRESH_SECONDS)
    late.once()
    assert len(world.times) == 2 and not late.failure and late.five_hour() == 11


# --- bad luck: another version, links, what is no file ---

@pytest.mark.parametrize('version', [2, 99])
def test_a_file_of_a_newer_version_is_not_touched(world, version):
    filled(world.store)
    change('PRAGMA user_version = %d' % version, 'CREATE TABLE more (x)')(world.store.path)
    before = bytes_of(world.store.folder)
    mine, other = Monitor(world), Monitor(world)
    mine.once()
    other.once()
    assert len(world.times) == 2 and mine.five_hour() == other.five_hour() == 11
    assert mine.trouble == NOT_SHARED + 'it is from a newer version (%s).' % world.store.path
    assert bytes_of(world.store.folder) == before


def folder_is_a_link(folder, victim):
    victim.mkdir()
    folder.symlink_to(victim)


def file_is_a_link(folder, victim):
    folder.mkdir()
    victim.mkdir()
    (victim / 'precious').write_text('dear')
    (folder / 'store.db').symlink_to(victim / 'precious')


def file_is_a_link_to_a_store(folder, victim):
    folder.mkdir()
    filled(Store(str(victim)))
    (folder / 'store.db').symlink_to(victim / 'store.db')


def file_is_a_dangling_link(folder, victim):
    folder.mkdir()
    victim.mkdir()
    (folder / 'store.db').symlink_to(victim / 'nothing')


def file_is_a_pipe(folder, victim):
    victim.mkdir()
    folder.mkdir()
    os.mkfifo(str(folder / 'store.db'))


def file_is_a_folder(folder, victim):
    victim.mkdir()
    (folder / 'store.db').mkdir(parents=True)


def folder_is_a_file(folder, victim):
    victim.mkdir()
    folder.write_text('dear')


def folder_is_a_dangling_link(folder, victim):
    victim.mkdir()
    folder.symlink_to(victim / 'nothing')


IN_THE_WAY = [folder_is_a_link, file_is_a_link, file_is_a_link_to_a_store,
              file_is_a_dangling_link, file_is_a_pipe, file_is_a_folder, folder_is_a_file,
              folder_is_a_dangling_link]


@pytest.mark.parametrize('lay', IN_THE_WAY, ids=lambda lay: lay.__name__)
def test_no_link_is_followed_and_nothing_removed(world, tmp_path, lay):
    folder, victim = tmp_path / 'store', tmp_path / 'victim'
    lay(folder, victim)
    before = bytes_of(victim), os.lstat(str(folder))[:3]
    mine = Monitor(world)
    mine.once()
    world.now += 40
    mine.once()
    assert NOT_SHARED in mine.trouble and str(folder) in mine.trouble
    assert has_numbers(mine.snapshot)
    assert len(world.times) == 2, 'by the same rules'
    assert (bytes_of(victim), os.lstat(str(folder))[:3]) == before
    assert not folder.is_dir() or len(os.listdir(str(folder))) <= 1


# --- bad luck: no place to write ---

@pytest.mark.parametrize('folder', ['/proc/claude-usage', '/dev/null/claude-usage',
                                    'x' * 300])
def test_a_folder_that_cannot_be_made(world, folder):
    mine = Monitor(world, store=os.path.join(str(world.folder), folder))
    mine.once()
    assert mine.trouble.startswith(NOT_SHARED) and mine.five_hour() == 11


UNPRIVILEGED = ['setpriv', '--bounding-set', '-all', '--'] if os.getuid() == 0 else []
"""Lets modes bind root too: without capabilities, root is a user like any other."""

POLLING = '''
import json, os, queue, sys, resource
from claude_usage import Api, CodePoller, Snapshot, Store, drain
url, folder, most, seconds = sys.argv[1:]
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
inbox, told, now = queue.Queue(), [], 1.9e9
poller = CodePoller(inbox, lambda: now, Api(url), {'CLAUDE_CONFIG_DIR': folder},
                    Store(os.path.join(folder, 'store')))
end = now + int(seconds)
while now < end:
    now += max(1, poller.once())
    while not inbox.empty():
        reading = inbox.get()
        if reading.source in ('store', 'usage'):
            value = reading.value
            told.append([reading.source, value if reading.source == 'store' else
                         value and value.limits[0].used, reading.failure])
print(json.dumps(told))
'''


def polled(world, most='', seconds=1, before=()):
    """What a poller in a process of its own told in so many seconds of its clock."""
    out = subprocess.check_output(
        list(before) + [sys.executable, '-c', POLLING, world.server.url, str(world.folder),
                        str(most), str(seconds)], cwd=str(PROGRAM.parent), timeout=60)
    return json.loads(out.decode())


def told_of(told, source):
    return [value for name, value, _ in told if name == source]


@pytest.mark.parametrize('is_filled', [False, True])
def test_a_folder_that_is_read_only(world, is_filled):
    if UNPRIVILEGED and subprocess.call(UNPRIVILEGED + ['true'], stderr=subprocess.DEVNULL):
        pytest.skip('modes do not bind root here')
    if is_filled:
        filled(world.store)
        os.chmod(world.store.path, 0o400)
    else:
        os.mkdir(world.store.folder, 0o700)
    os.chmod(world.store.folder, 0o500)
    before = bytes_of(world.store.folder)
    told = polled(world, seconds=60, before=UNPRIVILEGED)
    os.chmod(world.store.folder, 0o700)
    assert told_of(told, 'usage')[-1] == 11 and 2 <= len(world.times) <= BUDGET
    assert told_of(told, 'store')[-1].startswith(NOT_SHARED)
    assert bytes_of(world.store.folder) == before


@pytest.mark.parametrize('most', [0, 1000, 5000, 40000, 'as it is'])
def test_a_disk_that_is_full(world, most):
    """Full for new bytes, be it from the start or as soon as the file grows."""
    if most == 'as it is':
        filled(world.store)
        most = os.path.getsize(world.store.path)
    world.answer(*itertools.islice(itertools.cycle([GOOD, OTHER]), 99))
    told = polled(world, most, 300)
    assert {11, 12} <= set(told_of(told, 'usage')) and 3 <= len(world.times) <= BUDGET + 1
    assert most >= 30000 or told_of(told, 'store')[-1].startswith(NOT_SHARED)
    with contextlib.closing(sqlite3.connect(world.store.path)) as db:
        assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
    before = len(world.times)
    # It may have to wait for a lease that nobody could end, by a clock that was set back.
    assert told_of(polled(world, seconds=90), 'usage')[-1] in (11, 12), 'when there is room again'
    assert len(world.times) <= before + 4
    assert not [name for name in os.listdir(world.store.folder) if 'malformed' in name]


# --- bad luck: locked ---

@contextlib.contextmanager
def locked(path, how='EXCLUSIVE'):
    """Another process has a transaction open."""
    child = subprocess.Popen([sys.executable, '-c', HOLDER, path, how], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b'locked\n'
        yield
    finally:
        child.stdin.close()
        child.wait(30)
        child.stdout.close()


HOLDER = '''
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('BEGIN ' + sys.argv[2])
print('locked', flush=True)
sys.stdin.read()
'''


@pytest.mark.parametrize('how', ['EXCLUSIVE', 'IMMEDIATE'])
def test_a_lock_is_waited_out_and_then_done_without(world, how):
    """IMMEDIATE keeps writers out only, as does a monitor that is stopped on its way."""
    assert LOCKED_SECONDS == 15
    world.answer(GOOD, OTHER)
    mine = Monitor(world)
    mine.once()
    world.now += 40
    with locked(mine.store.path, how):
        for seconds in (0, LOCKED_SECONDS - 1):
            world.now += seconds
            mine.once()
            assert mine.five_hour() == 11 and len(world.times) == 1
            assert mine.trouble == NOT_SHARED + 'database is locked (%s).' % mine.store.path
        world.now += 2
        mine.once()
        assert mine.five_hour() == 12 and len(world.times) == 2, 'after 15 s by itself'
        world.now += 5
        mine.once()
        assert mine.trouble.startswith(NOT_SHARED) and len(world.times) == 2
    told = [reading.value for reading in mine.told if reading.source == 'store']
    assert len(told) == 1, 'no flicker: %s' % told
    world.now += 40
    mine.once()
    mine.once()
    assert not mine.trouble and len(world.times) == 3


def test_a_lock_of_ten_seconds_costs_no_request(world):
    mine, other = Monitor(world), Monitor(world)
    mine.once()
    world.now += 40
    with locked(mine.store.path):
        for monitor in (mine, other):
            monitor.once()
            assert monitor.trouble.startswith(NOT_SHARED)
        world.now += 10
    world.now += 1
    together([mine, other], 3)
    assert len(world.times) == 2, 'by one of them, as if nothing had been'
    assert not mine.trouble and not other.trouble
    assert mine.snapshot.usage.at == other.snapshot.usage.at == world.times[-1]


def test_two_short_locks_are_not_one_long_one(world):
    mine = Monitor(world)
    mine.once()
    world.now += 10
    with locked(mine.store.path):
        mine.poller.store_stamp = None
        mine.once()
        assert mine.trouble
    mine.once()
    assert not mine.trouble
    world.now += 30
    with locked(mine.store.path):
        mine.once()
        assert len(world.times) == 1, 'this lock is new'


# --- no secrets ---

def echoed(document):
    """That document with the token in many a place, as a server in debug mode might have it."""
    return dict(document, token=TOKEN, key_of={TOKEN: [TOKEN]}, tab='\t' + TOKEN,
                words='No\n' + TOKEN, accent='\xe9' + TOKEN, header='Bearer_' + TOKEN,
                **{TOKEN: {'utilization': 5.0, 'resets_at': None}})


ECHOES = {
    'usage': (USAGE, Reply(body=echoed(captures.USAGE_2026))),
    'escaped': (USAGE, Reply(body=json.dumps(echoed(captures.USAGE_2026)).replace(
        '-', '\\u002d'))),
    'refresh token': (USAGE, Reply(body=dict(captures.USAGE_2026, log='No\n' + REFRESH_TOKEN))),
    'limit': (USAGE, Reply(body=dict(captures.USAGE_2026, limits=[
        {'kind': TOKEN, 'percent': 5}, {'kind': 'weekly_scoped', 'percent': 5, 'scope': {
            'model': {'display_name': 'x ' + TOKEN}}}]))),
    'profile': (PROFILE, Reply(body=echoed(captures.PROFILE))),
    'name': (PROFILE, Reply(body={'account': {'full_name': TOKEN}})),
    '401': (USAGE, Reply(401, {'error': {'message': 'Bad token:\n' + TOKEN}})),
    '500': (USAGE, Reply(500, {'error': {'message': TOKEN + ' is bad'}})),
    'profile 500': (PROFILE, Reply(500, {'error': {'message': 'x/' + TOKEN}})),
    'moved': (USAGE, Reply(302, headers={'Location': 'http://%s/' % TOKEN})),
    '429': (USAGE, Reply(429, TOKEN, {'Retry-After': TOKEN})),
}


@pytest.mark.parametrize('where', ECHOES)
def test_no_token_is_in_the_file(world, where):
    path, reply = ECHOES[where]
    world.server.answer(path, reply)
    mine = Monitor(world)
    for _ in range(2):
        mine.once(asked=True)
        world.now += 31
    assert mine.store.recall(*mine.poller.key(), world.now)[1], 'something is stored'
    for name, data in bytes_of(mine.store.folder).items():
        assert b'SECRET' not in data and b'-ant-o' not in data, name


@pytest.mark.parametrize('path', ['me', 'users', 'cost_report', 'claude_code', 'workspaces'])
def test_no_admin_key_is_in_the_file(server, env, path):
    organization = Organization(days=18, rows=1)
    organization.add('2026-11-02', KEY, 5)
    organization.add('2026-11-17', 'the key\n' + KEY, 5)
    organization.name = organization.workspaces['wrkspc_01'] = 'x_' + KEY
    api = AdminApi(server, organization)
    api.faults[path] = Reply(500, {'error': {'message': 'No\n' + KEY}})
    desk = desk_at(server, env)
    desk.poll()
    del api.faults[path]
    desk.now += 200
    desk.poll()
    assert rows(desk.poller.store, 'SELECT count(*) FROM days')[0][0] >= 10
    for name, data in bytes_of(desk.poller.store.folder).items():
        assert b'SECRET' not in data and b'sk-ant-a' not in data, name


# --- one asks for all ---

def test_one_asks_and_the_other_takes_its_reply(world):
    mine, other = Monitor(world), Monitor(world)
    mine.once()
    other.once()
    assert len(world.times) == 1 and len(world.server.wait_for(1, PROFILE)) == 1
    assert other.snapshot.usage.value == mine.snapshot.usage.value
    assert other.snapshot.usage[1:] == mine.snapshot.usage[1:], 'the same times'
    assert other.snapshot.profile.value.name == 'Jane Doe'


def test_together_they_ask_as_often_as_one(world):
    world.answer(*[GOOD, OTHER] * 99)
    together([Monitor(world)], 20 * MINUTE)
    alone = len(world.times)
    world.now += HOUR
    del world.times[:]
    monitors = [Monitor(world) for _ in range(5)]
    together(monitors, 20 * MINUTE)
    assert 15 < alone and abs(len(world.times) - alone) <= 1 and within_budget(world.times)
    assert {monitor.snapshot.usage.at for monitor in monitors} == {world.times[-1]}


def test_nobody_else_asks_while_one_is_asking(world):
    mine, other, seen = Monitor(world), Monitor(world), []

    def meanwhile(request):
        world.times.append(world.now)
        seen.append((other.once(), len(world.times), other.snapshot.usage.failure))
        return GOOD
    world.server.answer(USAGE, meanwhile)
    mine.once()
    assert seen == [(0.5, 1, None)], 'it looks again soon'
    other.once()
    assert len(world.times) == 1 and other.five_hour() == 11


def test_a_holder_that_died_is_succeeded(world):
    died, mine = Monitor(world), Monitor(world)
    died.poller.look_at_login()
    start = world.now
    for source in ('usage', 'profile'):
        assert died.store.claim(source, *died.poller.key(), lambda _: True, start)
    together([mine], 15)
    assert world.times == []
    together([mine], 5)
    assert len(world.times) == 1 and start + 15 <= world.times[0] <= start + 20
    assert mine.five_hour() == 11


def test_a_restart_shows_the_numbers_and_asks_nothing(world):
    Monitor(world).once()
    world.now += 10
    mine = Monitor(world)
    mine.once()
    assert len(world.times) == 1 and mine.five_hour() == 11
    assert mine.snapshot.usage.at == world.times[0]
    mine.once(asked=True)
    assert len(world.times) == 2, 'but a key may ask'


def test_a_key_of_several_people_keeps_to_the_budget(world):
    monitors = [Monitor(world) for _ in range(3)]
    for _ in range(40):
        for monitor in monitors:
            monitor.once(asked=True)
        world.now += 10
    assert within_budget(world.times) and len(world.times) >= 6


def test_a_block_holds_for_all_and_for_restarts(world):
    world.answer(limited(720), GOOD)
    monitors = [Monitor(world), Monitor(world)]
    together(monitors, MINUTE)
    for monitor in [Monitor(world)] + monitors:
        monitor.once(asked=True)
        assert monitor.failure == 'rate_limited'
        assert monitor.snapshot.usage.next_at == world.times[0] + 720
    assert len(world.times) == 1 and not world.server.wait_for(0, PROFILE)
    together(monitors + [Monitor(world)], 700)
    assert len(world.times) == 2 and world.times[1] >= world.times[0] + 720
    assert monitors[0].failure is monitors[1].failure is None


def test_a_new_token_lifts_the_block_for_all(world):
    world.answer(limited(3600), GOOD)
    mine, other = Monitor(world), Monitor(world)
    together([mine, other], MINUTE)
    world.log_in('new')
    world.now += 3
    other.once()
    mine.once()
    assert len(world.times) == 2 and mine.failure is other.failure is None
    assert Monitor(world).once() is not None and len(world.times) == 2


def test_the_same_token_is_blocked_for_whatever_account(world, tmp_path):
    """The identity is a file of its own and may be wrong, or late."""
    world.answer(limited(720), GOOD)
    Monitor(world).once()
    world.log_in(accountUuid='b')
    mine = Monitor(world)
    mine.once(asked=True)
    assert len(world.times) == 1 and mine.failure == 'rate_limited'


def test_a_failure_of_one_is_told_by_the_other(world):
    world.answer(BAD)
    mine, other = Monitor(world), Monitor(world)
    mine.once()
    other.once()
    assert len(world.times) == 1 and other.failure == 'server_error'
    assert other.snapshot.usage.next_at == mine.snapshot.usage.next_at


def elsewhere(world, token, **account):
    """Another config directory of the same user, with a login of its own, or none."""
    there = Monitor(world, world.folder / token)
    there.folder.mkdir()
    there.log_in(token, **account)
    return there


def test_another_account_has_a_budget_and_numbers_of_its_own(world):
    world.answer(limited(720), OTHER)
    mine = Monitor(world)
    mine.once()
    other = elsewhere(world, 'tokenB', accountUuid='b')
    other.once()
    assert len(world.times) == 2 and other.five_hour() == 12
    mine.once()
    assert mine.failure == 'rate_limited' and not has_numbers(mine.snapshot)
    again = Monitor(world, other.folder)
    again.once()
    assert len(world.times) == 2 and again.five_hour() == 12


def test_the_same_account_in_another_folder_shares(world):
    Monitor(world).once()
    other = elsewhere(world, 'tokenB')
    other.once()
    assert len(world.times) == 1 and other.five_hour() == 11


def test_without_an_identity_the_folder_tells_the_account(world):
    """Tokens change every few hours, the history must not."""
    (world.folder / '.claude.json').unlink()
    mine = Monitor(world)
    mine.once()
    world.log_in('new')
    (world.folder / '.claude.json').unlink()
    restarted = Monitor(world)
    restarted.once()
    assert len(world.times) == 1 and restarted.five_hour() == 11
    other = elsewhere(world, 'tokenB')
    (other.folder / '.claude.json').unlink()
    other.once()
    assert len(world.times) == 2, 'another folder, another account'


def test_the_status_line_feeds_them_all(world):
    """They ask once in 300 s then, for what it does not carry."""
    mine, other, percent = Monitor(world), Monitor(world), 11

    def answer(request):
        world.times.append(world.now)
        return Reply(body=dict(captures.USAGE_2026, five_hour={
            'utilization': percent, 'resets_at': None}))
    world.server.answer(USAGE, answer)
    mine.once()
    start = world.now
    while world.now < start + 20 * MINUTE:
        world.now += 20
        percent += 1
        feed_store(mine.store, mine.poller.key()[0], {'five_hour': {
            'utilization': percent, 'resets_at': None}}, world.now)
        for monitor in (mine, other):
            monitor.once()
            assert monitor.five_hour() == percent
            assert len(monitor.snapshot.usage.value.limits) == 3, 'the model has its limit still'
        assert world.now in world.times or other.snapshot.usage.value.via == 'Claude Code'
    assert 4 <= len(world.times) <= 6


def test_who_is_logged_out_keeps_the_numbers_that_another_asked_for(world):
    mine = Monitor(world)
    mine.once()
    world.write('.credentials.json', LOGGED_OUT)
    other = Monitor(world)
    other.once()
    assert other.failure == 'logged_out' and other.five_hour() == 11
    assert usage_of(other.snapshot).at == world.times[0] and len(world.times) == 1


# --- the Console ---

@pytest.fixture
def env(tmp_path):
    """The environment of somebody with an Admin API key and no login."""
    return {'CLAUDE_CONFIG_DIR': str(tmp_path), 'ANTHROPIC_ADMIN_API_KEY': KEY}


def desk_at(server, env, now=NOW, user=JOHN, clock=None, **more):
    """A Desk at the store in that folder."""
    desk = Desk(server.url, now, user, dict(env, **more), clock=clock)
    desk.poller.store = Store(os.path.join(env['CLAUDE_CONFIG_DIR'], 'shared'))
    return desk


def test_one_asks_the_console_for_all(server, env):
    organization = Organization()
    api = AdminApi(server, organization)
    mine = desk_at(server, env, user='', USER='john').poll()
    asked = len(api.requests())
    other = desk_at(server, env, user='', USER='john').poll()
    assert len(api.requests()) == asked and other == mine
    check_sums(other, organization, organization.days)
    assert other.complete and other.organization == 'Acme Corporation'


def test_days_that_are_final_are_asked_for_once(server, env):
    """Over restarts: the last three days of each may still change."""
    organization = Organization()
    api = AdminApi(server, organization)
    desk_at(server, env).poll()
    assert len(api.requests(DAY_PATH)) == 18
    for number in (1, 2, 3):
        console = desk_at(server, env, NOW + number * HOUR).poll()
        check_sums(console, organization, organization.days)
        asked = [request.query['starting_at'][0] for request in api.requests(DAY_PATH)]
        assert sorted(set(asked[18:])) == ['2026-11-16', '2026-11-17', '2026-11-18']
        assert len(asked) == 18 + 3 * number


def test_a_day_that_failed_is_asked_for_again_by_another(server, env):
    organization = Organization()
    api = AdminApi(server, organization)
    api.faults['2026-11-07'] = BROKEN
    mine = desk_at(server, env, user='', USER='john').poll()
    other = desk_at(server, env, user='', USER='john')
    assert other.poll() == mine and not mine.complete
    del api.faults['2026-11-07']
    other.now += 150
    check_sums(other.poll(), organization, organization.days)
    assert other.read().complete


def test_another_admin_key_shares_nothing(server, env):
    api = AdminApi(server, Organization())
    desk_at(server, env).poll()
    other = Organization(seed=9)
    other.name, asked = 'Other Corporation', len(api.requests())
    api = AdminApi(server, other, KEY + '2')
    console = desk_at(server, env, ANTHROPIC_ADMIN_API_KEY=KEY + '2').poll()
    assert len(api.requests()) == 2 * asked and console.organization == 'Other Corporation'
    check_sums(console, other, other.days)


@pytest.mark.parametrize('first, second', [
    (JOHN, ''), ('', JOHN), (JOHN, 'user1@company.com'), ('', 'user1@company.com')])
def test_who_one_is_is_not_shared(server, env, first, second):
    """--user is for one monitor, not for all."""
    organization = Organization()
    AdminApi(server, organization)
    for hour, user in enumerate((first, second, first)):
        for minute in (0, 1):
            desk = desk_at(server, env, NOW + hour * HOUR + minute * MINUTE, user, USER='user2')
            desk.poll()
            mine = organization.own(user or 'user2@company.com')
            assert desk.read().own in (mine, None) and (minute or desk.read().own == mine)


@pytest.mark.parametrize('first, second', [('', ''), (JOHN, JOHN), (JOHN, ''), ('', JOHN)])
def test_what_names_mean_is_shared(server, env, first, second):
    """The organization, its workspaces, and one's own costs are there without a request."""
    organization = Organization()
    api = AdminApi(server, organization)
    desk_at(server, env, user=first, USER='john').poll()
    asked = len(api.requests(DAY_PATH))
    console = desk_at(server, env, user=second, USER='john').poll()
    check_sums(console, organization, organization.days)
    assert console.organization == 'Acme Corporation'
    assert len(api.requests(DAY_PATH)) == asked


def test_a_refusal_of_the_key_is_shared(server, env):
    api = AdminApi(server, Organization(), 'another')
    first = desk_at(server, env)
    first.poll()
    asked, other = len(api.requests()), desk_at(server, env)
    other.poll()
    assert other.failure.code == first.failure.code == 'unauthorized'
    assert len(api.requests()) == asked


def test_the_block_of_a_key_is_shared(server, env):
    api = AdminApi(server, Organization())
    api.faults.update(dict.fromkeys(('cost_report', 'claude_code', 'me'), limited(720)))
    desk_at(server, env).poll()
    asked = len(api.requests())
    for seconds in (0, 300, 719):
        other = desk_at(server, env, NOW + seconds)
        other.poll(asked=True)
        assert other.failure.code == 'rate_limited' and len(api.requests()) == asked
    api.faults.clear()
    assert desk_at(server, env, NOW + 721).poll().complete


# --- rubbish ---

JUNK = (None, True, -1, 1e300, 'x', '\ud800', 'NaN', [], [None], [[]], {}, {'x': {}})


def junk_in(document):
    """Copies of a document, each with junk in the place of one of its values."""
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        for junk in JUNK:
            yield replaced(document, key, junk)
        if isinstance(document[key], (dict, list)):
            for inner in itertools.islice(junk_in(document[key]), 40):
                yield replaced(document, key, inner)


def replaced(document, key, value):
    other = dict(document) if isinstance(document, dict) else list(document)
    other[key] = value
    return other


BODIES = ['', '[', '7', 'null', '"x"', '[]', '{}', '{"five_hour": 7}', '[' * 99999, '\x00',
          '{"limits": [[]]}', b'\xff\xfe', None, 7, '[null, null, null, null, null, null]']


def put(store, table, key, body):
    """Store a body by hand."""
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute('UPDATE %s SET body = ? WHERE %s = ?' % (table, (
            'source' if table == 'replies' else 'day')), (body, key))
        db.commit()


@pytest.mark.parametrize('source', ['usage', 'profile', 'statusline'])
def test_rubbish_in_a_reply(world, source):
    first = Monitor(world)
    first.once()
    feed_store(first.store, first.poller.key()[0], captures.USAGE_2026, world.now)
    good = {'usage': captures.USAGE_2026, 'profile': captures.PROFILE,
            'statusline': captures.USAGE_2025}[source]
    for body in itertools.chain(BODIES, map(json.dumps, itertools.islice(junk_in(good), 300))):
        put(first.store, 'replies', source, body)
        mine = Monitor(world)
        mine.once()
        compose(mine.snapshot, Ui(), (80, 24), world.now)
    assert has_numbers(mine.snapshot) or mine.snapshot.usage.failure


@pytest.mark.parametrize('table, key', [('replies', 'console'), ('days', '2026-11-02')])
def test_rubbish_in_what_is_kept_of_the_console(server, env, table, key):
    organization = Organization(rows=1)
    AdminApi(server, organization)
    first = desk_at(server, env)
    first.poll()
    store = first.poller.store
    good = json.loads(rows(store, 'SELECT body FROM %s WHERE %s = ?' % (
        table, 'source' if table == 'replies' else 'day'), key)[0][0])
    for body in itertools.chain(BODIES, map(json.dumps, itertools.islice(junk_in(good), 400))):
        put(store, table, key, body)
        mine = desk_at(server, env, NOW + 1)
        mine.poll()
        assert mine.read() or mine.failure
        compose(mine.snapshot, Ui(mode='console'), (80, 24), NOW)


ODD = [None, 'x', b'\xff', '', -1, 1e300, -1e300, 9e999, 0, '\ud7ff\x1b[2J']


@pytest.mark.parametrize('table, columns', [
    ('attempts', 'source token at code retry_after detail moved reset_at'),
    ('leases', 'source until'), ('replies', 'source at'), ('series', 'name'),
    ('samples', 'series at used resets_at')])
def test_rubbish_in_every_column(world, table, columns):
    """As flipped bits make it, and they stay for weeks."""
    first = Monitor(world)
    first.once()
    first.store.claim('profile', 'a', '', lambda _: True, world.now)
    with open(first.store.path, 'rb') as file:
        good = file.read()
    for column, odd in itertools.product(columns.split(), ODD):
        spoil(first.store.path, lambda _: good)
        with contextlib.suppress(sqlite3.IntegrityError):
            rows(first.store, 'UPDATE %s SET %s = ?' % (table, column), odd)
        for later in (1, 400):
            mine = Monitor(world)
            world.now += later
            mine.once()
            assert has_numbers(mine.snapshot) or mine.snapshot.usage.failure, (column, odd)
            compose(mine.snapshot, Ui(), (80, 24), world.now)
        world.now -= 401


@pytest.mark.parametrize('seed', range(60))
def test_flipped_bits_never_raise_and_are_never_deleted(world, seed):
    """Whether SQLite notices or not: there are numbers, and the file is used or set aside."""
    chance = random.Random(seed)
    Monitor(world).once()
    filled(world.store)

    def flip(data):
        data = bytearray(data)
        for _ in range(chance.choice((1, 3, 20, 200))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(data)
    spoil(world.store.path, flip)
    before = bytes_of(world.store.folder)['store.db']
    world.now += 40
    for _ in range(2):
        mine = Monitor(world)
        together([mine], 3)
        assert mine.five_hour() == 11
        compose(mine.snapshot, Ui(), (80, 24), world.now)
        world.now += 40
    if len(os.listdir(world.store.folder)) > 1:
        assert [name for name in bytes_of(world.store.folder) if 'malformed' in name]
    assert len(before) > 8192


@pytest.mark.parametrize('reply', [
    {'\ud800': {'utilization': 5, 'resets_at': None}}, {'\x00': {'utilization': 5}},
    {'five_hour': {'utilization': 10 ** 14, 'resets_at': 10 ** 20}},
    {'limits': [{'kind': '\udfff', 'percent': 5}, {'kind': None, 'percent': 1}]},
    {'five_hour': {'utilization': 5, 'resets_at': '9999-12-31T23:59:59Z'}},
    dict(captures.USAGE_2026, more='x' * 300000)],
    ids=['surrogate', 'NUL', 'number', 'kind', 'year', 'large'])
def test_odd_replies_can_be_stored_or_do_without(world, reply):
    world.answer(Reply(body=reply))
    mine, other = Monitor(world), Monitor(world)
    mine.once()
    other.once()
    assert len(world.times) == 1
    for monitor in (mine, other):
        assert has_numbers(monitor.snapshot) or monitor.failure
    assert mine.snapshot.usage.value == other.snapshot.usage.value
    assert not mine.trouble


# --- what must not be lost ---

def test_a_request_whose_monitor_ended_counts(world):
    """Of ten that are killed in their request, one after the other, five may ask in 300 s."""
    store, token, told = Store(str(world.store.folder)), 't', []

    def may(history):
        plan = next_poll(history, 'usage', token, PACES['usage'], world.now)
        return world.now >= plan.free_at
    for _ in range(10):
        lease = store.claim('usage', 'a', token, may, world.now)
        told.append(bool(lease))
        world.now += LEASE_SECONDS + 1
    assert told == [True] * 5 + [False] * 5
    lost = store.recall('a', token, world.now)[1]
    assert [attempt.code for attempt in lost] == [LOST] * 5


def test_a_lost_request_holds_nobody_up(world):
    world.store.claim('usage', *world.poller.key(), lambda _: True, world.now)
    mine = Monitor(world)
    mine.once()
    world.store.claim('usage', *mine.poller.key(), lambda _: True, world.now)
    world.now += LEASE_SECONDS + 1
    mine.once()
    assert mine.five_hour() == 11 and not mine.failure and len(world.times) == 1


def test_who_waits_for_the_lock_is_not_behind_the_clock(store):
    """Each takes its time before it waits, so the later one may come with the earlier time."""
    assert store.claim('usage', 'a', 't', lambda _: True, 100.0)
    assert not store.claim('usage', 'a', 't', lambda _: True, 99.9)


def test_a_block_that_could_not_be_stored_is_stored_later(world):
    world.answer(limited(120), GOOD)
    mine = Monitor(world)
    connection = []

    def lock(request):
        connection.append(sqlite3.connect(mine.store.path, isolation_level=None,
                                          check_same_thread=False))
        connection[0].execute('BEGIN EXCLUSIVE')
        world.times.append(world.now)
        return limited(120)
    world.server.answer(USAGE, lock, GOOD)
    mine.once()
    assert mine.failure == 'rate_limited' and mine.trouble.startswith(NOT_SHARED)
    connection[0].close()
    world.now += 2
    mine.once()
    assert not mine.trouble
    world.now += LEASE_SECONDS
    other = Monitor(world)
    together([other], 60)
    assert other.failure == 'rate_limited' and len(world.times) == 1


def test_who_sets_a_file_aside_knows_the_block_still(world):
    world.answer(limited(600), GOOD)
    mine = Monitor(world)
    mine.once()
    SPOILED['text'](mine.store.path)
    world.now += 2
    mine.once()
    mine.once()
    assert mine.trouble.startswith(MALFORMED)
    other = Monitor(world)
    other.once()
    assert other.failure == 'rate_limited' and len(world.times) == 1


def test_a_machine_that_is_ahead_moves_no_block(world):
    """Only what is of the future is moved, or a block would end ever sooner."""
    world.answer(limited(3600), GOOD)
    Monitor(world).once()
    for _ in range(30):
        world.store.feed('elsewhere', '{}', (), world.now + 90)
        world.now += 30
        world.store.touch(world.now)
    other = Monitor(world)
    other.once()
    assert other.failure == 'rate_limited' and len(world.times) == 1


def test_a_request_under_way_is_given_back_at_the_end(world):
    mine = Monitor(world)
    mine.poller.look_at_login()
    lease = mine.poller.claim('usage')
    mine.poller.close()
    mine.store.close()
    with pytest.raises(SourceError):
        mine.store.touch(world.now)
    assert lease and Monitor(world).store.claim(
        'usage', *mine.poller.key(), lambda history: len(history) == 1, world.now)


def test_without_a_login_what_is_known_is_told_with_the_reason(world):
    """And once: with no next time, so that what is printed once waits for the reason."""
    Monitor(world).once()
    world.log_in(expires_at=world.now)
    mine = Monitor(world)
    together([mine], 20)
    assert mine.five_hour() == 11 and mine.failure == 'token_expired'
    usage = [reading for reading in mine.told if reading.source == 'usage']
    assert len(usage) == 1 and usage[0].next_at is None
    assert [reading.source for reading in mine.told][-1] == 'login'


@pytest.mark.parametrize('failing', ['me', 'workspaces', 'users'])
def test_names_that_fail_are_not_asked_at_every_look(server, env, failing):
    """Where a month was stored by somebody who was named, and this one is not."""
    api = AdminApi(server, Organization(days=18, rows=1))
    desk_at(server, env, user=JOHN).poll()
    api.faults[failing] = error(500, 'Internal server error')
    mine = desk_at(server, env)
    before = len(api.requests())
    for _ in range(10):
        mine.poll()
        mine.now += 2
    assert len(api.requests()) - before <= 3


def test_the_console_leaves_a_blocked_token_alone(world, env):
    """One's address is in the profile, which the same token is for."""
    world.answer(limited(3600))
    Monitor(world).once()
    AdminApi(world.server, Organization(days=18, rows=1))
    before = len([request for request in world.server.requests if request.path == PROFILE])
    poller = ConsolePoller(queue.Queue(), lambda: world.now, world.server.url, dict(
        env, CLAUDE_CONFIG_DIR=str(world.folder)), Store(str(world.store.folder)))
    poller.login_email(may_ask=True)
    assert len([request for request in world.server.requests
                if request.path == PROFILE]) == before


@pytest.mark.parametrize('end', ['/', '//'])
def test_a_link_behind_a_slash_is_not_followed(tmp_path, end):
    (tmp_path / 'there').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'there')
    store = Store(store_folder({'CLAUDE_USAGE_DIR': str(tmp_path / 'link') + end}))
    with pytest.raises(SourceError):
        store.touch(1000)
    assert not os.listdir(str(tmp_path / 'there'))


def test_another_name_of_some_file_is_no_store(store, tmp_path):
    store.touch(1000)
    os.unlink(store.path)
    (tmp_path / 'mine').write_bytes(b'')
    os.link(str(tmp_path / 'mine'), store.path)
    with pytest.raises(SourceError):
        store.touch(1000)
    assert (tmp_path / 'mine').read_bytes() == b''


def test_a_python_without_sqlite_does_without_the_store(world, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sqlite3', None)
    mine = Monitor(world)
    mine.once()
    assert mine.five_hour() == 11 and 'without sqlite3' in mine.trouble


def test_a_file_that_is_spoiled_during_a_request_costs_no_attempt(world):
    """The new one has the request that was under way, and those before it."""
    mine = Monitor(world)

    def spoil_it(request):
        SPOILED['text'](mine.store.path)
        return GOOD
    for reply in (GOOD, GOOD, spoil_it):
        world.server.answer(USAGE, reply)
        mine.once()
        world.now += 60
    attempts = mine.store.recall(*mine.poller.key(), world.now)[1]
    assert [attempt.source for attempt in joined(attempts)].count('usage') == 3
