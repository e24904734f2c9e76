"""The store that all monitors of a user share: what it keeps, who may use it, and its bad luck."""
import contextlib
import itertools
import json
import os
import random
import re
import sqlite3
import stat
import subprocess
import sys

import pytest

import captures
import claude_usage
from captures import REFRESH_TOKEN, TOKEN
from claude_usage import (DAY, HOUR, LEDGER_SECONDS, LOCKED_SECONDS, SAMPLES_SECONDS, STORE_FOLDER,
                          Attempt, Limit, SourceError, Store, add_samples, forget_old,
                          store_folder, store_of)
from conftest import PROGRAM, TESTS
from harness import (BAD, GOOD, PROFILE, STORE, USAGE, QuickStore, World, limited,
                     moving)
from server import Reply, Server

NOT_SHARED = 'Not shared with other monitors: '


@pytest.fixture(scope='module')
def server():
    """One for all tests, for it takes time to close it."""
    with Server() as running:
        yield running


@pytest.fixture
def world(server, tmp_path):
    return World(server, tmp_path)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / 'store'))


def limits_of(at, **used):
    return [Limit(key, key, key, float(value), at=at) for key, value in used.items()]


def attempt(at, code='ok', token='t', source='usage', account='a', ended=None):
    return Attempt(account, source, token, float(at), float(ended or at), code)


def add(store, now, *attempts, replies=None, **used):
    store.add(attempts, {('a', part): reply for part, reply in (replies or {}).items()},
              ('a', limits_of(now, **used)), now)
    return store


def told(store, now=1000, account='a', token='t'):
    """The attempts that a store knows, oldest first."""
    ledger = store.recall(account, token, now).ledger
    return sorted(ledger.values(), key=lambda attempt: attempt.at)


def bytes_of(folder):
    """name -> content of all files there, links not followed."""
    found = {}
    for name in os.listdir(str(folder)):
        path = os.path.join(str(folder), name)
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, 'rb') as file:
                found[name] = file.read()
    return found


def query(path, *statements):
    """The rows of the last of some statements, without the help of the program."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in statements:
            found = db.execute(statement).fetchall()
        db.commit()
    return found


# --- folder and file ---

@pytest.mark.parametrize('act', [told, add], ids=['recall', 'add'])
def test_folder_and_file_are_private_from_the_start(store, act):
    before = os.umask(0)
    try:
        act(store, 1000)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(store.folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600
    assert bytes_of(store.folder)[STORE][18:20] == b'\1\1', 'a rollback journal: for NFS'
    assert os.listdir(store.folder) == [STORE]
    os.chmod(store.path, 0o644)
    act(store, 1000)
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600


@pytest.mark.parametrize('mode, owner, words', [
    (0o1777, None, 'others may write there'), (0o700, 65534, "another user's"),
    (0o777, 65534, "another user's")])
def test_a_folder_that_is_not_ones_own_is_not_used(store, mode, owner, words):
    os.mkdir(store.folder)
    os.chmod(store.folder, mode)
    if owner:
        if os.getuid():
            pytest.skip('only root may give it away')
        os.chown(store.folder, owner, owner)
    with pytest.raises(SourceError) as failed:
        store.touch(1000)
    assert failed.value.failure.code == 'forbidden' and words in failed.value.failure.detail
    assert os.listdir(store.folder) == []


@pytest.mark.parametrize('mode', [0o775, 0o777, 0o2770, 0o702])
def test_a_folder_of_ones_own_that_others_may_write_is_tightened(store, mode):
    os.mkdir(store.folder)
    os.chmod(store.folder, mode)
    store.touch(1000)
    assert stat.S_IMODE(os.stat(store.folder).st_mode) == mode & ~0o022


def test_folders_that_are_made_above_it_are_private_too(tmp_path):
    before = os.umask(0)
    try:
        Store(str(tmp_path / 'above' / 'it' / 'store')).touch(1000)
    finally:
        os.umask(before)
    for name in ('above', 'above/it', 'above/it/store'):
        assert stat.S_IMODE(os.stat(str(tmp_path / name)).st_mode) == 0o700


def test_where_it_is(tmp_path):
    """Behind a last slash, links would be followed. What does not exist holds no store."""
    nowhere = {'TMPDIR': '/nonexistent', 'XDG_RUNTIME_DIR': '/nonexistent'}
    for env in (nowhere, dict(nowhere, CLAUDE_USAGE_DIR='')):
        assert store_of(env).folders == (os.path.expanduser(STORE_FOLDER),)
    for end in ('', '/', '//'):
        assert store_folder({'CLAUDE_USAGE_DIR': '/var/lib/usage' + end}) == '/var/lib/usage'
    user = os.getuid()
    own = {'CLAUDE_USAGE_DIR': '/a'}
    assert store_of(dict(own, XDG_RUNTIME_DIR=str(tmp_path))).folders == (
        '/a', str(tmp_path / 'claude-usage'), '/tmp/claude-usage-%d' % user)
    assert store_of(dict(own, TMPDIR=str(tmp_path) + '/')).folders == (
        '/a', str(tmp_path / 'claude-usage-') + str(user))


def linked(folder):
    folder.with_name('there').mkdir()
    folder.symlink_to(folder.with_name('there'))


def given_away(folder):
    if os.getuid():
        pytest.skip('only root may give it away')
    folder.mkdir()
    os.chown(str(folder), 65534, 65534)


UNUSABLE = {
    'a link': linked, 'a file': lambda folder: folder.write_text('dear'),
    "another user's": given_away,
    'a linked file': lambda folder: folder.mkdir() or (folder / STORE).symlink_to('x')}


@pytest.mark.parametrize('how', UNUSABLE)
def test_the_next_folder_takes_its_place(world, tmp_path, how):
    """Until the first can be used: then what is known is noted there."""
    UNUSABLE[how](world.store_folder)
    second, third = tmp_path / 'second', tmp_path / 'third'
    second.write_text('no folder')
    world.more_folders = second, third
    monitors = [world.monitor(asks_alone=False) for _ in range(3)]
    world.pass_time(20, *monitors)
    assert [mine.five_hour for mine in monitors] == [11] * 3 and len(world.times) == 1
    assert {mine.store.folder for mine in monitors} == {str(third)}
    assert not any(mine.trouble for mine in monitors)
    assert stat.S_IMODE(third.stat().st_mode) == 0o700
    world.store_folder.rename(tmp_path / 'away')
    world.pass_time(61, *monitors)
    late = world.monitor(asks_alone=False)
    before = len(world.times)
    late.once()
    assert late.store.folder == str(world.store_folder) and late.five_hour == 11
    assert len(world.times) == before


@pytest.mark.parametrize('how', UNUSABLE)
def test_without_any_what_prints_once_asks_nobody(world, how):
    UNUSABLE[how](world.store_folder)
    mine = world.monitor(asks_alone=False)
    for asked in (False, True):
        mine.once(asked=asked)
        known = mine.known()
        assert (known.is_settled, known.value, mine.failure) == (True, None, 'unshared')
        assert known.failure.detail in mine.trouble and mine.trouble.startswith(NOT_SHARED)
    assert world.times == [] and world.profiles() == 0


@pytest.mark.parametrize('lay', [
    lambda f, v: f.symlink_to(v), lambda f, v: f.symlink_to(v / 'nothing'),
    lambda f, v: f.write_text('dear'), lambda f, v: (f / STORE).mkdir(parents=True),
    lambda f, v: f.mkdir() or (f / STORE).symlink_to(v / 'precious'),
    lambda f, v: f.mkdir() or (f / STORE).symlink_to(v / STORE),
    lambda f, v: f.mkdir() or (f / STORE).symlink_to(v / 'nothing'),
    lambda f, v: f.mkdir() or os.mkfifo(str(f / STORE)),
    lambda f, v: f.mkdir() or os.link(str(v / 'precious'), str(f / STORE)),
    lambda f, v: add(Store(str(f)), 1) and (f / 'store2-2.db').symlink_to(v / 'precious')])
def test_no_link_is_followed_and_nothing_removed(world, tmp_path, lay):
    folder, victim = tmp_path / 'store', tmp_path / 'victim'
    add(Store(str(victim)), 1000)
    (victim / 'precious').write_text('dear')
    lay(folder, victim)
    before = bytes_of(victim), os.lstat(str(folder))[:3]
    mine = world.monitor()
    for _ in range(2):
        mine.once()
        world.now += 40
    assert NOT_SHARED in mine.trouble and str(folder) in mine.trouble
    assert (mine.five_hour, len(world.times)) == (11, 2), 'by the same rules'
    assert (bytes_of(victim), os.lstat(str(folder))[:3]) == before


@pytest.mark.parametrize('folder', ['/proc/claude-usage', '/dev/null/claude-usage', 'x' * 300, ''])
def test_one_that_cannot_be_made(world, monkeypatch, folder):
    if not folder:
        monkeypatch.setitem(sys.modules, 'sqlite3', None)       # some Pythons are built without
    mine = world.monitor(store=os.path.join(str(world.folder), folder or 'store'))
    mine.once()
    assert mine.trouble.startswith(NOT_SHARED) and mine.five_hour == 11
    assert bool(folder) != ('without sqlite3' in mine.trouble)


# --- what it keeps ---

def test_what_is_added_comes_back(store):
    mine = attempt(1000, ended=1001)._replace(
        retry_after=7.5, detail='words', moved=False, reset_at=2000.0, heard=1000.5,
        problems='{"x": 1}')
    for _ in range(2):                                  # twice is harmless
        add(store, 1001, mine, replies={'usage': (1001.0, '{"x": 1}')}, five_hour=1)
    stored = store.recall('a', 't', 1002)
    assert stored == ({'usage': (1001.0, '{"x": 1}')}, {mine.key: mine})
    assert type(stored.ledger[mine.key]) is Attempt and store.count(1002) == 1
    assert store.recall('b', 'u', 1002) == ({}, {})
    add(store, 1031, attempt(1030, 'network'))
    assert store.recall('a', 't', 1031).replies == stored.replies, 'a failure leaves it alone'
    for reply, kept in (((900.0, 'old'), '{"x": 1}'), ((1040.0, 'new'), 'new'),
                        ((1050.0, None), None)):
        add(store, 1050, replies={'usage': reply})
        assert store.recall('a', '', 1050).replies.get('usage', (0, None))[1] == kept
    add(store, 1060, attempt(1060, 'rate_limited'))
    assert [[each.at for each in told(store, 1060, *who)] for who in ('at', 'au', 'bt', 'bu')] == [
        [1000, 1030, 1060], [1000, 1030, 1060], [1060], []], "the budget is the account's"


def test_a_claim_gets_its_outcome_once(store):
    claim = attempt(1000)._replace(ended=None, code='')
    assert store.claim(claim, lambda ledger: ledger == {}, 1000)
    assert told(store) == [claim]
    for outcome in (claim._replace(heard=1005.0), claim._replace(heard=1010.0),
                    claim._replace(ended=1012.0, code='lost')):
        add(store, 1012, outcome)
        assert told(store) == [outcome]
    add(store, 1013, claim._replace(ended=1013.0, code='ok'))
    add(store, 1013, claim._replace(heard=1013.0))
    assert told(store) == [outcome], 'what is lost stays lost'
    seen = []                       # what is due is decided by what all monitors have noted
    assert not store.claim(attempt(1020), lambda ledger: seen.extend(ledger), 1020)
    assert seen == [claim.key] and told(store) == [outcome]
    store.close()
    with pytest.raises(SourceError):
        store.touch(1020)           # nothing begins when the program ends


def test_samples(store):
    """Each limit of a reply, no nearer than 20 seconds, for 35 days."""
    assert SAMPLES_SECONDS == 35 * DAY
    for at in (1000, 1000.5, 1010, 1019.9, 1020, 1039, 1041):
        add(store, at, five_hour=at)
    add(store, 1041, seven_day=2)
    store.add((), {}, ('b', limits_of(1041, five_hour=3) + [Limit('x', 'x', 'x', None)]), 1041)
    select = ('SELECT account, name, at, used FROM samples JOIN series ON id = series '
              'ORDER BY account, name, at')
    assert query(store.path, select) == [
        ('a', 'five_hour', 1000, 1000), ('a', 'five_hour', 1020, 1020),
        ('a', 'five_hour', 1041, 1041), ('a', 'seven_day', 1041, 2), ('b', 'five_hour', 1041, 3)]
    assert store.count(1041) == 5
    add(store, 1041 + 35 * DAY, five_hour=1)
    assert [row[2] for row in query(store.path, select)] == [1041, 1041 + 35 * DAY, 1041, 1041]


def test_no_statement_reads_all_samples(store):
    """There are a million of them: eight limits, 35 days."""
    add(store, 10 * DAY, five_hour=1, seven_day=2)
    statements = []

    def noted(db):
        db.set_trace_callback(lambda words: statements.append(words))
        add_samples(db, 'a', limits_of(20 * DAY, five_hour=2))
        forget_old(db, 20 * DAY)
        db.set_trace_callback(None)
    store.use(noted, 20 * DAY, writes=True)
    about = [re.sub(r':[a-z]\w*|\?', '1', words) for words in statements if 'samples' in words]
    assert [words.split()[0] for words in about] == ['INSERT', 'DELETE']
    for words in about:
        plan = '\n'.join(row[-1].replace('TABLE ', '')
                         for row in query(store.path, 'EXPLAIN QUERY PLAN ' + words))
        assert 'SEARCH samples USING PRIMARY KEY (series=?' in plan, plan
        assert 'SCAN samples' not in plan, plan


def test_what_is_too_old_or_of_the_future_is_forgotten(store):
    now, days = 100 * DAY, 61 * DAY
    for age in (63 * DAY, days, LEDGER_SECONDS + 1, LEDGER_SECONDS - 1, 0, -60, -61, -HOUR):
        at = now - age
        store.add([attempt(at)], {('a', 'part %d' % age): (at, '{}')},
                  ('a', limits_of(at, **{'limit_%d' % at: 1})), min(now, at))
    add(store, now)
    assert [now - each.at for each in told(store, now)] == [LEDGER_SECONDS - 1, 0, -60]
    replies = store.recall('a', 't', now).replies.values()
    assert sorted(now - at for at, _ in replies) == [
        -60, 0, LEDGER_SECONDS - 1, LEDGER_SECONDS + 1, days]
    assert store.count(now) == 4


# --- malformed, or of another version ---

def spoil(path, how):
    """Overwrite a file by a function of its bytes."""
    with open(path, 'rb') as file:
        data = how(file.read())
    with open(path, 'wb') as file:
        file.write(data)


def spoil_middle(path):
    """Overwrite a page of the samples' table, with others left whole."""
    size, root = query(path, 'PRAGMA page_size')[0][0], query(
        path, "SELECT rootpage FROM sqlite_master WHERE name = 'attempts'")[0][0]
    spoil(path, lambda data: data[:(root - 1) * size] + b'\xff' * size + data[root * size:])


def foreign(path):
    """Put another program's database there."""
    os.unlink(path)
    query(path, 'CREATE TABLE dear_notes (id, words)', "INSERT INTO dear_notes VALUES (1, 'x')")


SPOILED = {
    'text': lambda path: spoil(path, lambda data: b'Dear diary,\n' * 999),
    'rubbish': lambda path: spoil(path, lambda data: bytes(
        random.Random(7).randrange(256) for _ in data)),
    'truncated': lambda path: spoil(path, lambda data: data[:len(data) // 2]),
    'a page cut': lambda path: spoil(path, lambda data: data[:5000]),
    'flipped': spoil_middle, 'foreign': foreign,
    'no attempts': lambda path: query(path, 'DROP TABLE attempts'),
    'no samples': lambda path: query(path, 'DROP TABLE samples', 'DROP TABLE series'),
    'no columns': lambda path: query(path, 'DROP TABLE replies', 'CREATE TABLE replies (dust)'),
    'no UTF-8': lambda path: query(path, "UPDATE attempts SET code = CAST(x'ff' AS TEXT)"),
    'older': lambda path: query(path, 'PRAGMA user_version = 1', 'CREATE TABLE more (x)'),
    'newer': lambda path: query(path, 'PRAGMA user_version = 99'),
}


def filled(store):
    """A store with something of everything."""
    return add(store, 1000, attempt(1000), replies={'usage': (1000.0, '{}')}, five_hour=1)


@pytest.mark.parametrize('how', SPOILED)
def test_a_malformed_file_is_left_alone_and_the_next_takes_its_place(store, how):
    """For all, whenever they begin; and that may be malformed too."""
    SPOILED[how](filled(store).path)
    before = {STORE: bytes_of(store.folder)[STORE]}
    for number in (2, 3):
        name = 'store2-%d.db' % number
        store.recall('a', 't', 2000)
        add(store, 2000, attempt(2000), replies={'usage': (2000.0, 'new')}, five_hour=9)
        found = bytes_of(store.folder)
        assert os.path.basename(store.path) == name and set(found) == set(before) | {name}
        assert {key: found[key] for key in before} == before
        assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600
        late = Store(store.folder)
        for each in (store, late):
            assert told(each, 2001) == [attempt(2000)] and each.count(2001) == 1
            assert each.recall('a', '', 2001).replies == {'usage': (2000.0, 'new')}
        assert late.path == store.path
        SPOILED['text'](store.path)
        before = bytes_of(store.folder)


def test_three_files_that_are_passed_over_are_kept(store):
    for number in range(2, 8):
        SPOILED['text'](filled(store).path)
        assert told(store, 2000) == []
        kept = {'store2-%d.db' % each for each in range(max(2, number - 3), number + 1)}
        if number < 5:
            kept.add(STORE)
        assert set(os.listdir(store.folder)) == kept and len(kept) <= 4
    late = Store(store.folder)
    assert told(late, 2000) == [] and late.path == store.path


@pytest.mark.slow
def test_many_processes_find_the_same_malformed_file_and_claim_at_once(tmp_path):
    children = [subprocess.Popen([sys.executable, '-c', FINDER], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, cwd=str(PROGRAM.parent),
                                 universal_newlines=True) for _ in range(4)]
    try:
        for number in range(10):
            store = filled(Store(str(tmp_path / str(number))))
            SPOILED['text'](store.path)
            before = bytes_of(store.folder)[STORE]
            for child in children:
                child.stdin.write(store.folder + '\n')
            for child in children:
                child.stdin.flush()
            got = sorted(child.stdout.readline() for child in children)
            assert got == ['False\n'] * 3 + ['True\n']
            found = bytes_of(store.folder)
            assert sorted(found) == ['store2-2.db', STORE] and found[STORE] == before
            assert len(told(store, 2001)) == 5
    finally:
        for child in children:
            child.communicate(timeout=30)


FINDER = '''
import os, sys
from claude_usage import Attempt, SourceError, Store
for line in sys.stdin:
    store, told, at = Store(line.rstrip()), None, 2000 + os.getpid() / 1e6
    mine = Attempt('a', 'usage', 't', at)
    while told is None:
        try:
            told = store.claim(mine, lambda ledger: not any(
                each.ended is None for each in ledger.values()), 2000)
            store.add([mine._replace(source='other', ended=at)], {}, ('a', ()), 2000)
        except SourceError as error:
            assert error.failure.code == 'locked', error.failure
    print(told, flush=True)
'''


@pytest.mark.parametrize('happen', ['text', 'deleted'])
@pytest.mark.parametrize('first', [GOOD, limited(600)], ids=['reply', 'block'])
def test_what_is_known_outlives_the_file(world, happen, first):
    """Of those who run, any stores it anew for those who start later."""
    world.answer(first, moving(12))
    monitors = [world.monitor(), world.monitor()]
    world.pass_time(5, *monitors)
    before = world.rows('SELECT * FROM attempts ORDER BY at, source')
    path = monitors[0].store.path
    dict(SPOILED, deleted=os.remove)[happen](path)
    world.pass_time(10, *monitors)
    late = world.monitor()
    late.once()
    name = os.path.basename(late.store.path)
    assert name == (STORE if happen == 'deleted' else 'store2-2.db')
    assert world.rows('SELECT * FROM attempts ORDER BY at, source', name=name) == before
    assert not late.trouble and len(world.times) == 1
    assert (late.five_hour, late.failure) == (
        (11, None) if first is GOOD else (None, 'rate_limited'))
    assert world.profiles() == (first is GOOD)


# --- rubbish ---

BODIES = ['', '[', '7', 'null', '"x"', '[]', '{}', '{"five_hour": 7}', '\x00',
          '{"limits": [[]]}', '{"windows": 7}', '{"windows": {"five_hour": [1]}}']


@pytest.mark.parametrize('part', ['usage', 'profile', 'session x'])
def test_rubbish_in_a_reply(world, part):
    first = world.monitor()
    first.once()
    first.tell_status('s', 1, five_hour=12.0, resets_at=world.now + HOUR)
    world.rows("UPDATE replies SET part = 'session x' WHERE part LIKE 'session %'")
    for body in BODIES:
        world.rows('UPDATE replies SET body = ? WHERE part = ?', body, part)
        mine = world.monitor()
        mine.once()
        assert mine.known().value or mine.failure


@pytest.mark.parametrize('table, columns', [
    ('attempts', 'source token at ended code detail retry_after moved reset_at heard problems'),
    ('replies', 'part at body'), ('series', 'account name'), ('samples', 'at used resets_at')])
def test_values_of_the_wrong_type(world, table, columns):
    """Whatever has written them: such a row is none."""
    first = world.monitor()
    first.once()
    good = bytes_of(first.store.folder)[STORE]
    for column, odd in itertools.product(columns.split(), [None, 'x', b'\xff']):
        spoil(first.store.path, lambda _: good)
        with contextlib.suppress(sqlite3.IntegrityError):
            world.rows('UPDATE OR IGNORE %s SET %s = ?' % (table, column), odd)
        mine = world.monitor()
        mine.once(asked=True)
        assert mine.five_hour == 11 and not mine.failure, (column, odd)
        world.now += 100


# --- no secrets ---

def echoed(document):
    """That document with the token in many a place, as a server in debug mode might have it."""
    return dict(document, token=TOKEN, key_of={TOKEN: [TOKEN]}, tab='\t' + TOKEN,
                words='No\n' + REFRESH_TOKEN, accent='\xe9' + TOKEN, header='Bearer_' + TOKEN,
                **{TOKEN: {'utilization': 5.0, 'resets_at': None}})


@pytest.mark.parametrize('path, reply', [
    (USAGE, Reply(body=echoed(captures.USAGE_2026))),
    (USAGE, Reply(body=json.dumps(echoed(captures.USAGE_2026)).replace('-', '\\u002d'))),
    (USAGE, Reply(body=dict(captures.USAGE_2026, limits=[
        {'kind': TOKEN, 'percent': 5}, {'kind': 'weekly_scoped', 'percent': 5, 'scope': {
            'model': {'display_name': 'x ' + TOKEN}}}]))),
    (PROFILE, Reply(body=echoed(captures.PROFILE))),
    (PROFILE, Reply(body={'account': {'full_name': TOKEN}})),
    (USAGE, Reply(401, {'error': {'message': 'Bad token:\n' + TOKEN}})),
    (USAGE, Reply(500, {'error': {'message': TOKEN + ' is bad'}})),
    (PROFILE, Reply(500, {'error': {'message': 'x/' + TOKEN}})),
    (USAGE, Reply(302, headers={'Location': 'http://%s/' % TOKEN})),
    (USAGE, Reply(429, TOKEN, {'Retry-After': TOKEN}))])
def test_no_token_is_in_the_file(world, path, reply):
    world.server.answer(path, reply)
    mine = world.monitor()
    for _ in range(2):
        mine.once(asked=True)
        world.now += 31
    mine.tell_status(TOKEN, 1, **{'five_hour': 5.0})
    assert mine.attempts(), 'something is stored'
    for data in bytes_of(mine.store.folder).values():
        assert b'SECRET' not in data and b'-ant-o' not in data
    assert 'SECRET' not in repr(mine.told)


# --- locked ---

@contextlib.contextmanager
def locked(path, how='EXCLUSIVE'):
    """Somebody has a transaction open."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute('BEGIN ' + how)
    try:
        yield
    finally:
        db.close()


@pytest.fixture
def impatient(monkeypatch):
    """Wait less for a lock that nobody will release."""
    monkeypatch.setattr(claude_usage, 'STORE_TIMEOUT', 0.01)


@pytest.mark.parametrize('how', ['EXCLUSIVE', 'IMMEDIATE'])
def test_a_lock_is_waited_out_and_then_done_without(world, impatient, how):
    """IMMEDIATE keeps writers out only, as does a monitor that is stopped on its way."""
    assert LOCKED_SECONDS == 15
    world.answer(GOOD, moving(12))
    mine = world.monitor(interval=30)
    mine.once()
    world.now += 40
    with locked(mine.store.path, how):
        for seconds in (0, LOCKED_SECONDS - 1):
            world.now += seconds
            assert mine.once() == 0.5
            assert (mine.five_hour, len(world.times)) == (11, 1)
            assert mine.trouble == NOT_SHARED + 'database is locked (%s).' % mine.store.path
        world.now += 2
        mine.once()
        assert (mine.five_hour, len(world.times)) == (12, 2), 'after 15 s by itself'
        world.now += 5
        mine.once()
        assert mine.trouble and len(world.times) == 2
    assert len([told for told in mine.told if told.source == 'store']) == 1, 'no flicker'
    other = world.monitor(interval=30)
    world.pass_time(40, mine, other)
    assert not mine.trouble and len(world.times) == 3 and other.five_hour == 12
    assert mine.attempts() == ['ok'] * 3


def test_what_prints_once_asks_nobody_while_a_lock_stays(world, impatient):
    world.monitor().once()
    world.now += 40
    mine = world.monitor(asks_alone=False)
    with locked(mine.store.path):
        for seconds, is_settled in ((0, False), (LOCKED_SECONDS - 1, False), (2, True), (9, True)):
            world.now += seconds
            mine.once()
            assert mine.known().is_settled == is_settled
    assert mine.failure == 'unshared' and len(world.times) == 1
    mine.once()
    assert mine.failure is None and len(world.times) == 2


class FullStore(QuickStore):
    """One on a disk that is full."""

    def transact(self, sqlite3, work, writes, synchronous):
        if writes:
            raise sqlite3.OperationalError('database or disk is full')
        return super().transact(sqlite3, work, writes, synchronous)


@pytest.mark.parametrize('first', [GOOD, limited(600)], ids=['reply', 'block'])
def test_what_can_only_be_read_counts(world, first):
    world.answer(first)
    world.monitor().once()
    world.now += 40
    mine = world.monitor(asks_alone=False)
    mine.store.__class__ = FullStore
    for _ in range(3):
        mine.once()
        world.now += 1
    assert (mine.five_hour, mine.failure) == (
        (11, 'unshared') if first is GOOD else (None, 'rate_limited'))
    assert len(world.times) == 1


def test_short_locks_cost_no_request(world, impatient):
    mine, other = world.monitor(interval=30), world.monitor(interval=30)
    for monitor in (mine, other):
        monitor.once()
    world.now += 40
    for _ in range(2):                      # two short locks are not one long one
        with locked(mine.store.path):
            for monitor in (mine, other):
                monitor.once()
                assert monitor.trouble.startswith(NOT_SHARED)
            world.now += 10
        before = len(world.times)
        world.pass_time(3, mine, other, step=0.5)
        assert not mine.trouble and not other.trouble
        world.now += 30
    assert before == 2 and len(world.times) == 3, 'by one of them, as if nothing had been'


def test_a_block_that_could_not_be_stored_is_stored_later(world, impatient):
    mine, lock = world.monitor(), contextlib.ExitStack()
    world.answer(lambda request: lock.enter_context(locked(mine.store.path)) or limited(120), BAD)
    mine.once()
    assert mine.failure == 'rate_limited' and mine.trouble.startswith(NOT_SHARED)
    lock.close()
    world.now += 2
    mine.once()
    assert not mine.trouble and mine.attempts() == ['rate_limited']
    other = world.monitor()
    world.pass_time(60, other)
    assert other.failure == 'rate_limited' and len(world.times) == 1


# --- read-only, or full ---

UNPRIVILEGED = ['setpriv', '--bounding-set', '-all', '--'] if os.getuid() == 0 else []
"""Lets modes bind root too: without capabilities, root is a user like any other."""

POLLING = '''
import json, resource, sys, types
sys.path[:0] = sys.argv[1:3]
from harness import CodePoller, Monitor
url, folder, now, most, seconds = sys.argv[3:]
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
world = types.SimpleNamespace(now=float(now), folder=folder, store_folder=folder + '/store',
                              more_folders=(), server=types.SimpleNamespace(url=url))
mine, end = Monitor(world, CodePoller, interval=30), world.now + int(seconds)
while world.now < end:
    world.now += max(1, mine.once())
print(json.dumps([mine.five_hour, mine.failure, mine.trouble]))
'''


def polled(world, most='', seconds=60, before=()):
    """(percent, failure, trouble) of a poller in a process of its own, after so many seconds."""
    out = subprocess.check_output(
        list(before) + [sys.executable, '-c', POLLING, str(PROGRAM.parent), str(TESTS),
                        world.server.url, str(world.folder), str(world.now), str(most),
                        str(seconds)], timeout=60)
    world.now += seconds
    return json.loads(out.decode())


@pytest.mark.slow
@pytest.mark.parametrize('is_filled', [False, True])
def test_a_folder_that_is_read_only(world, is_filled):
    """What is in it counts, be it numbers or a block."""
    if UNPRIVILEGED and subprocess.call(UNPRIVILEGED + ['true'], stderr=subprocess.DEVNULL):
        pytest.skip('modes do not bind root here')
    os.mkdir(str(world.store_folder), 0o700)
    if is_filled:
        world.answer(GOOD, limited(40), moving(12))
        for _ in range(2):
            world.monitor().once(asked=True)
            world.now += 1
        os.chmod(str(world.store_folder / STORE), 0o400)
    os.chmod(str(world.store_folder), 0o500)
    before = bytes_of(world.store_folder)
    if is_filled:
        assert polled(world, before=UNPRIVILEGED) == [11, 'rate_limited', '']
        assert len(world.times) == 2
        world.now += 180
    percent, failure, trouble = polled(world, before=UNPRIVILEGED)
    os.chmod(str(world.store_folder), 0o700)
    assert (percent, failure) == (12 if is_filled else 11, None)
    assert 2 <= len(world.times) <= 4 and trouble.startswith(NOT_SHARED)
    assert bytes_of(world.store_folder) == before


@pytest.mark.slow
@pytest.mark.parametrize('most', [0, 1000, 5000, 40000, 'as it is'])
def test_a_disk_that_is_full(world, most):
    """Full for new bytes, be it from the start or as soon as the file grows."""
    if most == 'as it is':
        most = os.path.getsize(filled(Store(str(world.store_folder))).path)
    world.answer(*itertools.islice(itertools.cycle([moving(11), moving(12)]), 99))
    percent, failure, trouble = polled(world, most, 300)
    assert percent in (11, 12) and failure is None and 3 <= len(world.times) <= 6
    assert most >= 30000 or trouble.startswith(NOT_SHARED)
    assert query(str(world.store_folder / STORE), 'PRAGMA integrity_check') == [('ok',)]
    assert polled(world)[0] in (11, 12), 'when there is room again'
    assert os.listdir(str(world.store_folder)) == [STORE]
