"""Pollers: when they ask, and what they tell, by a clock that only the tests move."""
import itertools
import json
import time

import pytest

import captures
import claude_usage
from captures import CREDENTIALS, TOKEN
from claude_usage import (ASKING, DAY, DEMO_PLACES, HELD, HOUR, JITTER, LOST, MINUTE,
                          ONCE_MAX_AGE, PLANNED, UNSENT, Asker, CodePoller, DemoPoller, Feed,
                          LoginPoller, Poller, Rhythm, account_of, file_stamp, modes_of,
                          parse_usage)
from harness import (BAD, GOOD, PROFILE, REFUSED, USAGE, World, kill_in_request, limited, moving,
                     within_budget)
from server import Reply, Server

SLOWER = [30, 45, 68, 101, 152, 228, 300, 300]
BOB = Reply(body={'account': {'uuid': 'b', 'full_name': 'Bob'}})


@pytest.fixture(scope='module')
def server():
    """One for all tests, for it takes time to close it."""
    with Server() as running:
        yield running


@pytest.fixture
def world(server, tmp_path):
    return World(server, tmp_path)


@pytest.fixture
def mine(world):
    """A monitor that asks every 30 seconds."""
    return world.monitor(interval=30)


def nearly(seconds):
    """Those intervals, with their jitter."""
    return pytest.approx(seconds, rel=JITTER + 0.02)


# --- when ---

@pytest.mark.parametrize('interval, replies, gaps', [
    (30, [GOOD], [30, 30, 30, 30, 180] * 2), (10, [GOOD], [10, 10, 10, 10, 260]),
    (60, [GOOD], [60] * 7), (600, [GOOD], [600]), (None, [GOOD], SLOWER),
    (None, [moving(used) for used in range(100)], [30, 30, 30, 30, 180] * 2),
    # Back to 30 s with the first change, and slower from there; a failure is no change.
    (None, [moving(1)] * 5 + [moving(2)], SLOWER[:5] + SLOWER[:4]),
    (None, [moving(1)] * 6 + [BAD, moving(1)], SLOWER[:6] + [30, 300]),
    (30, [BAD] * 6 + [GOOD], [30, 60, 120, 240, 300, 300, 30, 30]),
    # A 429: its block, doubled, and no sooner than after 180 s for half an hour.
    (30, [limited()], [300, 600, 1200]), (30, [limited(6)], [180, 180, 240, 480]),
    (30, [limited(99999)], [3600]), (30, [limited(6), limited(6), GOOD, limited(6)], [180] * 4),
    (90, [limited(6)] + [GOOD] * 99, [180] * 11 + [90] * 3)])
def test_when_it_asks(world, interval, replies, gaps):
    mine = world.monitor(interval=interval)
    world.answer(*replies)
    world.pass_time(sum(gaps) * (1 + JITTER) + 1, mine)
    assert world.gaps()[:len(gaps)] == nearly(gaps)
    if replies[-1].status == 429:
        known = mine.known()
        assert (mine.failure, known.phase) == ('rate_limited', HELD)
        assert known.free_at == known.next_at > world.now
        assert world.server.requests[-1].path == USAGE, 'the profile is blocked too'


@pytest.mark.parametrize('interval, asked, seconds', [
    (30, False, 0), (10, False, 14), (10, True, 0), (30, True, 14)])
def test_never_more_than_five_requests_in_any_300_seconds(world, interval, asked, seconds):
    world.answer(*[GOOD, BAD, REFUSED, GOOD] * 99, seconds=seconds)
    world.pass_time(HOUR / 3, world.monitor(interval=interval), asked=asked, step=1 + 9 * asked)
    assert 12 <= len(world.times) <= 21 and within_budget(world.times)


@pytest.mark.parametrize('retry_after, gap', [(None, 300), (6, 180), (720, 720), (99999, 3600)])
def test_a_key_hurries_no_block(world, mine, retry_after, gap):
    world.answer(limited(retry_after))
    world.pass_time(gap + 1, mine, asked=True, step=10)
    assert world.gaps() == [pytest.approx(gap, abs=10)]


def test_a_key_may_ask_within_the_budget(world, mine):
    mine.once()
    for _ in range(5):
        world.now += 1
        mine.once(asked=True)
    known = mine.known()
    assert world.gaps() == [1, 1, 1, 1] and known.phase == HELD
    assert known.free_at == known.next_at == world.times[0] + 300


@pytest.mark.parametrize('interval', [None, 600])
def test_a_reset_is_looked_at_at_once(world, interval):
    mine, at = world.monitor(interval=interval), world.now + 8 * MINUTE
    world.answer(moving(99.0, resets_at=at))
    world.pass_time(7 * MINUTE, mine)
    assert mine.known().next_at == at + 5
    world.pass_time(2 * MINUTE, mine)
    assert at + 5 in world.times


def test_the_profile_is_asked_once_a_day(world, mine):
    world.server.answer(PROFILE, BAD, Reply(body=captures.PROFILE))
    mine.once()
    assert mine.known('profile').failure.code == 'server_error' and mine.failure is None
    world.pass_time(MINUTE, mine, asked=True)
    for seconds, count in ((0, 2), (DAY - 2 * MINUTE, 2), (2 * MINUTE, 3)):
        world.now += seconds
        mine.once(asked=True)
        assert world.profiles() == count and mine.known('profile').value.name == 'Jane'


def test_what_is_told(world, mine):
    start = world.now
    mine.once()
    assert [(told.source, told.known.phase) for told in mine.told] == [
        ('credentials', PLANNED), ('identity', PLANNED), ('usage', ASKING), ('took', ''),
        ('usage', PLANNED), ('profile', ASKING), ('profile', PLANNED)]
    usage = mine.known()
    assert (usage.at, usage.next_at - start, usage.free_at) == (start, nearly(30), 0)
    assert {told.place for told in mine.told} == {mine.place}
    mine.once()
    assert len(mine.told) == 7, 'nothing new, nothing told'


def test_a_quiet_monitor_looks_at_stamps_only(world):
    mine, looks = world.monitor(interval=600), []
    mine.once()
    use = mine.store.use
    mine.store.use = lambda *args, **more: looks.append(world.now) or use(*args, **more)
    for _ in range(25):
        world.now += 4
        mine.once()
    assert len(looks) <= 3
    world.monitor().once(asked=True)
    world.now += 4
    mine.once()
    assert mine.known().at == world.times[-1], 'but it sees at once what others store'


# --- tokens ---

def test_a_refused_token_that_was_refreshed_meanwhile_is_tried_again_at_once(world, mine):
    world.answer(GOOD, lambda request: world.log_in('new') or REFUSED, GOOD)
    mine.once()
    world.now += 35
    assert mine.once() == 0
    mine.once()
    assert not [told for told in mine.told if told.known.failure]
    tokens = [request.headers['authorization'] for request in world.server.requests
              if request.path == USAGE]
    assert tokens == ['Bearer ' + TOKEN] * 2 + ['Bearer new']
    count = itertools.count()
    world.answer(lambda request: world.log_in('new%d' % next(count)) or REFUSED)
    world.now += HOUR
    world.pass_time(11 * MINUTE, mine)
    assert world.gaps()[3:] == [0, 0, 0, 0, 300] * 2 + [0] * 4, 'not without a budget'


@pytest.mark.parametrize('scopes, asks', [(None, 1), (['user:inference'], 0)])
def test_a_token_without_the_scope_is_not_tried_again(world, mine, scopes, asks):
    """Where it is known, not even once."""
    world.answer(Reply(403, captures.ERROR_403_SCOPE), GOOD)
    login = dict(CREDENTIALS['claudeAiOauth'], scopes=scopes)
    world.write('.credentials.json', {'claudeAiOauth': login})
    world.pass_time(HOUR / 4, mine, asked=True, step=10)
    for seconds in (0, 23 * HOUR):
        world.now += seconds
        mine.once(asked=True)
        assert (len(world.times), mine.failure) == (asks, 'forbidden_scope')
    assert mine.known().next_at is mine.known().free_at is None
    world.answer(GOOD)
    world.log_in('new')
    mine.once()
    assert (len(world.times), mine.failure) == (asks + 1, None)


def test_a_token_that_expires_on_the_way_keeps_the_numbers(world, mine):
    world.log_in(expires_at=world.now + 300 + 45)
    world.pass_time(MINUTE + 1, mine)
    late = world.monitor()
    world.pass_time(20, late, asked=True)
    for monitor in (mine, late):
        known = monitor.known()
        assert (monitor.five_hour, monitor.failure) == (11, 'token_expired')
        assert (known.at, known.next_at) == (world.times[-1], None)
    assert world.gaps() == nearly([30])
    assert len([told for told in late.told if told.source == 'usage']) == 1, 'once'
    world.log_in('new')
    world.pass_time(5, mine)
    assert mine.failure is None and len(world.times) == 3


# --- files ---

def test_credentials_that_change_are_seen_by_the_next_look(world, mine):
    world.log_out()
    world.pass_time(MINUTE, mine)
    assert (world.server.requests, mine.failure) == ([], 'logged_out')
    assert len({told.source for told in mine.told}) == len(mine.told), 'each is told once'
    path = world.folder / '.credentials.json'
    for change, code in (
            (world.log_in, None), (world.log_out, 'logged_out'), (world.log_in, None),
            (path.unlink, 'no_credentials'), (world.log_in, None),
            (lambda: world.write(path.name, []), 'malformed'), (world.log_in, None)):
        change()
        world.now += 4
        mine.once()
        assert mine.failure == code and mine.five_hour == 11, 'the numbers are kept'


@pytest.mark.parametrize('poller', [LoginPoller, CodePoller])
def test_a_key_that_appears_makes_another_mode(world, poller):
    """For `m` finds it then."""
    mine = world.monitor(poller)
    for document, modes in (
            (CREDENTIALS, ('code',)), ({}, ()),
            (dict(CREDENTIALS, anthropicConsole={'adminApiKey': 'sk-ant-admin01-SECRET'}),
             ('code', 'console'))):
        world.now += MINUTE
        world.write('.credentials.json', document)
        mine.poller.once()
        mine.hear()
        assert modes_of(mine.known('credentials').value) == modes
    assert 'SECRET' not in repr(mine.told)


@pytest.mark.parametrize('reply', [GOOD, limited()], ids=['reply', 'block'])
def test_an_identity_that_comes_later_costs_nothing(world, reply):
    """Until then the store knows the account by another name; what is known is stored by both."""
    world.answer(reply, GOOD)
    world.write('.claude.json', {})
    monitors = [world.monitor(), world.monitor()]
    world.pass_time(5, *monitors)
    world.identify()
    world.pass_time(8, *monitors)
    before = world.rows('SELECT * FROM attempts'), world.rows('SELECT * FROM replies')
    world.pass_time(5, world.monitor(), *monitors)
    assert (world.rows('SELECT * FROM attempts'), world.rows('SELECT * FROM replies')) == before
    assert len(world.times) == 1 and monitors[0].failure == monitors[1].failure
    assert monitors[0].failure == ('rate_limited' if reply is not GOOD else None)
    world.write('.claude.json', '{"oauthAcc')           # half-written
    world.pass_time(5, monitors[0])
    assert account_of(monitors[0].snapshot, monitors[0].place).email == 'jane@example.com'


@pytest.mark.parametrize('logs_out', [False, True])
@pytest.mark.parametrize('change', [{'accountUuid': 'b'}, {'organizationUuid': 'o'}])
@pytest.mark.parametrize('reply, numbers', [
    (Reply(body=captures.USAGE_ENTERPRISE), 1), (BAD, None)], ids=['good', 'bad'])
def test_the_numbers_of_another_account_are_forgotten(
        world, mine, logs_out, change, reply, numbers):
    """One person may be in several organizations, each with limits of its own."""
    world.pass_time(4 * MINUTE, mine)
    assert len(mine.known().value.limits) == 3
    world.answer(reply)
    world.server.answer(PROFILE, BOB)
    if logs_out:
        world.log_out()
        world.pass_time(MINUTE, mine)
        assert mine.failure == 'logged_out' and mine.five_hour == 11
    world.log_in('new', displayName='Bob', **change)
    world.now += 3
    mine.once()
    assert world.times[-1] == world.now, 'another account has a budget of its own'
    usage = mine.known().value
    assert (usage and len(usage.limits)) == numbers
    assert account_of(mine.snapshot, mine.place).name == 'Bob'


def test_an_account_that_changes_before_its_request_is_sent(world, mine):
    """The claim is given back; the new account is asked with its own token."""
    claim = mine.store.claim

    def late(*args):
        mine.store.claim = claim
        is_ours = claim(*args)
        world.log_in('new', accountUuid='b')
        return is_ours
    mine.store.claim = late
    world.pass_time(5, mine)
    assert {request.headers['authorization'] for request in world.server.requests} == {
        'Bearer new'}
    assert world.rows('SELECT code FROM attempts WHERE source = ? ORDER BY at', 'usage') == [
        (UNSENT,), ('ok',)]


# --- several monitors ---

@pytest.mark.parametrize('reply', [GOOD, BAD, limited(720)], ids=['good', 'bad', 'block'])
def test_one_asks_and_the_others_take_its_reply(world, reply):
    mine, other, seen = world.monitor(), world.monitor(), []

    def meanwhile(request):
        seen.extend([other.once(), len(world.times), other.known().phase, other.failure])
        return reply
    world.answer(meanwhile, GOOD)
    for _ in range(2):
        mine.once()
        assert seen == [0.5, 1, ASKING, None], 'it looks again soon'
    for monitor in (other, world.monitor()):
        monitor.once(asked=reply.status == 429)
        assert monitor.known() == mine.known()
        assert monitor.known('profile') == mine.known('profile')
    assert len(world.times) == 1
    if reply.status == 429:
        assert mine.known().next_at == world.now + 720
        world.log_in('new')
        world.pass_time(5, other, mine)
        assert len(world.times) == 2 and mine.failure is other.failure is None, 'a new token may'
        assert world.server.requests[-1].headers['authorization'] == 'Bearer new'


def test_a_reply_that_came_since_the_last_look_is_not_asked_for_again(world):
    mine, other = world.monitor(), world.monitor()
    claim = mine.store.claim

    def late(*args):
        mine.store.claim = claim
        other.once()
        return claim(*args)
    mine.store.claim = late
    world.pass_time(5, mine)
    assert (len(world.times), world.profiles(), mine.five_hour) == (1, 1, 11)


def test_together_they_ask_as_often_as_one(world):
    world.answer(*map(moving, range(100)))
    world.pass_time(10 * MINUTE, world.monitor())
    alone = len(world.times)
    world.now += HOUR
    del world.times[:]
    monitors = [world.monitor() for _ in range(3)]
    world.pass_time(10 * MINUTE, *monitors, step=1)
    assert 9 < alone and abs(len(world.times) - alone) <= 1
    assert {monitor.known().at for monitor in monitors} == {world.times[-1]}
    for _ in range(20):
        world.now += 10
        for monitor in monitors:
            monitor.once(asked=True)
    assert within_budget(world.times)


def test_one_that_is_killed_in_its_request_is_succeeded_after_17_seconds(world):
    mine, start = world.monitor(), world.now
    kill_in_request(world.monitor())
    world.pass_time(16.9, mine)
    assert world.times == [] and mine.known().phase == ASKING
    world.pass_time(5, mine)
    assert len(world.times) == 1 and start + 17 <= world.times[0] <= start + 18
    assert mine.five_hour == 11 and mine.attempts() == ['', 'ok']
    for _ in range(8):
        world.now += 20
        kill_in_request(world.monitor(interval=10))
    assert mine.attempts() == ['', 'ok', '', '', ''], 'they stay in the budget'


def test_who_quits_in_a_request_gives_it_back(world):
    mine, other = world.monitor(), world.monitor()

    def leave(request):
        mine.poller.close()
        world.now += 0.1
        other.once()
        return GOOD
    world.answer(leave, GOOD)
    mine.once()
    assert len(world.times) == 2 and other.five_hour == 11
    assert other.attempts() == [LOST, 'ok']


def test_an_outcome_that_comes_late_is_not_noted(world):
    """It was stopped meanwhile, or cut off: nobody knows how old it is."""
    mine, other = world.monitor(), world.monitor()
    world.answer(moving(77), seconds=18)
    mine.once()
    world.answer(moving(11))
    assert mine.five_hour is None and mine.attempts() == ['']
    other.once()
    assert other.five_hour == 11 and other.attempts() == ['', 'ok']


def test_whose_numbers_are_shared(world):
    """An account's, by any folder and token; without an identity, the folder is the account."""
    def elsewhere(token, **account):
        (world.folder / token).mkdir()
        world.log_in(token, folder=world.folder / token, **account)
        monitor = world.monitor(folder=world.folder / token)
        monitor.once()
        return monitor
    world.answer(limited(720), moving(12))
    mine = world.monitor()
    mine.once()
    assert elsewhere('token-b', accountUuid='b').five_hour == 12
    mine.once()
    assert (len(world.times), mine.failure, mine.five_hour) == (2, 'rate_limited', None)
    world.log_in(accountUuid='c')           # the file may be wrong, or late
    wrong = world.monitor()
    wrong.once(asked=True)
    assert (len(world.times), wrong.failure) == (2, 'rate_limited'), "the block is the token's"
    world.log_in()
    assert elsewhere('token-d').five_hour == 12 and len(world.times) == 3
    mine.once()
    assert (mine.five_hour, mine.failure) == (12, 'rate_limited')
    for token in ('token-e', 'token-f'):                # tokens change every few hours
        login = {'claudeAiOauth': dict(CREDENTIALS['claudeAiOauth'], accessToken=token)}
        (world.folder / 'nobody').mkdir(exist_ok=True)
        world.write('.credentials.json', login, world.folder / 'nobody')
        nobody = world.monitor(folder=world.folder / 'nobody')
        nobody.once()
        assert (len(world.times), nobody.five_hour) == (4, 12)
    world.log_out()
    out = world.monitor()
    world.identify()
    out.once()
    assert (out.failure, out.five_hour, len(world.times)) == ('logged_out', 12, 4)


class Paged(Asker):
    """Asks for something of many pages, which take so many seconds each."""
    sources, pages = ('pages',), [4] * 10

    def __init__(self, setup):
        super().__init__(setup, '', {'pages': Rhythm(120, 120)})

    def look(self):
        self.use_key('a', 't')
        return True

    def value(self, source):
        return self.reply_time('page'), self.parsed('page', lambda document, at: document)

    def request(self, source, attempt):
        for seconds in self.pages:
            self.during(seconds)
            self.keep('page', json.dumps(seconds))
            self.hear(attempt)
        return attempt.outcome()


def test_a_poll_of_many_pages_is_one_attempt_as_long_as_they_come(world):
    mine, other, phases = world.monitor(Paged), world.monitor(Paged), []

    def during(seconds):
        world.now += seconds
        other.once()
        phases.append((other.known('pages', '').phase, other.known('pages', '').value))
    mine.poller.during = during
    other.poller.during = phases.append
    mine.once()
    assert [phase for phase, _ in phases] == [ASKING] * 10, 'it is not given up after 17 s'
    assert phases[-1][1] == 4, 'pages that came are shared'
    other.once()
    assert other.attempts('pages') == ['ok'] and other.known('pages', '').phase == PLANNED
    mine.poller.pages = [4, 18]
    world.now += 120
    mine.once()
    assert mine.attempts('pages').count('ok') == 2, 'the other one asked when it was given up'


def test_the_clock_is_set_back(world):
    """What was noted before is of the future and holds nothing up, be it a block or numbers."""
    world.answer(*map(moving, range(5)), limited(600), *map(moving, range(50, 99)))
    monitors = [world.monitor(interval=60), world.monitor(interval=60)]
    world.pass_time(2 * MINUTE, *monitors, step=0.5)
    before = len(world.times)
    world.now -= MINUTE                     # clocks of machines may differ a little
    world.monitor(interval=60).once()
    assert len(world.times) == before
    world.pass_time(6 * MINUTE, *monitors, step=0.5)
    assert monitors[0].failure == 'rate_limited'
    world.now -= HOUR
    before, start = len(world.times), world.now
    world.pass_time(10 * MINUTE, world.monitor(interval=60), *monitors, step=0.5)
    times = world.times[before:]
    assert start <= times[0] <= start + 60 and within_budget(times)
    for monitor in monitors + [world.monitor(interval=60)]:
        monitor.once()
        assert monitor.failure is None and monitor.five_hour >= 50
        assert monitor.known().at == times[-1] <= world.now < monitor.known().next_at


# --- feeds ---

def test_the_status_line_feeds_them_all(world):
    """They ask once in 300 s then, for what it does not carry."""
    monitors, percent, resets_at = [world.monitor(), world.monitor()], 11, world.now + 4 * HOUR
    world.answer(lambda request: Reply(body=dict(captures.USAGE_2026, five_hour={
        'utilization': percent, 'resets_at': resets_at})))
    monitors[0].once()
    for turn in range(50):
        world.now += 20
        percent += 1
        monitors[0].tell_status('s', turn, five_hour=percent, resets_at=resets_at)
        for monitor in monitors:
            monitor.once()
            usage = monitor.known().value
            assert monitor.five_hour == percent and len(usage.limits) == 3
            assert world.now in world.times or usage.limits[0].via == 'Claude Code'
    assert 3 <= len(world.times) <= 5
    for number in range(5):
        monitors[0].tell_status('s%d' % number, 1, seven_day=99.0, resets_at=world.now + 90)
        world.now += MINUTE
    assert world.rows("SELECT count(*) FROM replies WHERE part LIKE 'session %'") == [(3,)], (
        'sessions of which all windows have ended are forgotten')


def test_an_idle_session_does_not_make_old_numbers_new(world, mine):
    """Claude Code tells them again and again."""
    resets_at = world.now + 4 * HOUR
    world.answer(moving(79.5, resets_at), moving(96, resets_at))
    for seconds in [0] + [61] * 10:
        world.now += seconds
        mine.once()
        shown = mine.tell_status('idle', 7, five_hour=80.0, resets_at=resets_at)
        assert mine.known().at == world.times[-1] and mine.known().value.limits[0].via == ''
        assert mine.five_hour == (shown.limits[0].used if seconds else 79.5)
    assert mine.five_hour == 96
    world.now += 1
    mine.tell_status('busy', 9, five_hour=97.0, resets_at=resets_at)
    mine.once()
    assert mine.five_hour == 97 and mine.known().at == world.now


def cached(at, used, account=captures.PROFILE['account']['uuid'], resets_at=None):
    """`cachedUsageUtilization` of Claude Code's own request."""
    return {'fetchedAtMs': at * 1000, 'accountUuid': account,
            'utilization': moving(used, resets_at).body}


def test_claude_codes_own_reply_costs_no_request(world, mine):
    """It is shown at once, postpones the next request, and is in the budget."""
    start = world.now
    for percent in range(40, 45):
        world.identify(cached=cached(world.now, percent))
        mine.once()
        usage = mine.known()
        assert (mine.five_hour, usage.at, usage.value.limits[0].via) == (
            percent, world.now, 'Claude Code')
        world.now += 20
    assert world.times == [] and world.profiles() == 1
    world.pass_time(HOUR / 4, mine)
    assert world.times[0] == start + 300 and mine.five_hour == 11
    assert mine.known().value.limits[0].via == ''


@pytest.mark.parametrize('change', [
    dict(accountUuid='b'), dict(accountUuid=None), dict(fetchedAtMs=1e15), dict(fetchedAtMs='x'),
    dict(utilization='x'), dict(utilization=None), dict(utilization={'five_hour': 7})])
def test_a_cached_reply_that_is_odd_or_of_another_account(world, mine, change):
    world.identify(cached=dict(cached(world.now, 40), **change))
    mine.once()
    assert (mine.five_hour, len(world.times), mine.failure) == (11, 1, None)


def test_two_accounts_do_not_mix(world, mine):
    """A window that still runs ends at another time: that is another account's report."""
    world.answer(moving(30, world.now + HOUR))
    mine.once()
    world.now += 2
    shown = mine.tell_status('s', 1, five_hour=91.0, resets_at=world.now + 3 * HOUR)
    assert shown.limits[0].used == 91, 'at the prompt only'
    world.pass_time(5, mine)
    assert mine.five_hour == 30 and mine.known().at == world.times[0]
    # The service may begin a window anew: then the newest reply of the account is what counts.
    resets_at = world.now + 2 * HOUR
    world.identify(cached=cached(world.now, 4, resets_at=resets_at))
    mine.once()
    assert mine.five_hour == 4
    world.now += 1
    mine.tell_status('t', 1, mine.known().value, five_hour=5.0, resets_at=resets_at)
    mine.once()
    assert mine.five_hour == 5
    world.now += 2 * HOUR
    mine.tell_status('s', 2, five_hour=3.0, resets_at=world.now + 3 * HOUR)
    assert world.rows("SELECT count(*) FROM replies WHERE part LIKE 'session %'") == [(1,)]


@pytest.fixture
def feed(world, monkeypatch):
    """A feed of another program's file: percent, when, resets_at, refused until."""
    def stamps(env):
        return [file_stamp(str(world.folder / 'feed'))]

    def read(env, replies, now):
        if not stamps(env)[0]:
            return [], 0.0
        used, at, resets_at, until = json.loads((world.folder / 'feed').read_text())
        return [parse_usage(moving(used, resets_at).body, at, 'Another')], until
    monkeypatch.setattr(claude_usage, 'FEEDS', claude_usage.FEEDS + [Feed(stamps, read)])
    return lambda *told: world.write('feed', json.dumps(told))


def test_a_block_that_a_feed_knows_of_holds(world, mine, feed):
    """At most an hour ahead, read anew at each look; its numbers are shown."""
    start = world.now
    feed(55, start - 50, None, start + 3000)
    mine.once()
    known = mine.known()
    assert (mine.five_hour, mine.failure, known.phase) == (55, 'rate_limited', HELD)
    assert known.next_at == known.free_at == start + 3000 and known.at == start - 50
    feed(55, start - 50, None, start + DAY)
    world.pass_time(100, mine, asked=True)
    assert world.times == [] and start + HOUR <= mine.known().next_at <= world.now + HOUR
    feed(56, world.now, None, 0)
    mine.once()
    assert (mine.five_hour, mine.failure) == (56, None) and mine.known().next_at <= world.now + 33
    world.pass_time(40, mine)
    assert len(world.times) == 1 and mine.known().value.limits[0].via == ''


def test_what_a_feed_knows_of_another_account_is_ignored(world, mine, feed):
    world.answer(moving(30, world.now + HOUR))
    mine.once()
    world.now += 1
    feed(90, world.now, world.now + 2 * HOUR, world.now + 3000)
    world.pass_time(40, mine)
    assert (mine.five_hour, mine.failure, len(world.times)) == (30, None, 2)
    world.log_in('new', accountUuid='b')
    world.answer(BAD)
    world.pass_time(5, mine)
    assert mine.five_hour is None, 'older than the account that is logged in now'


# --- what is printed once ---

def print_once(world, **more):
    """A monitor that wants numbers once, of which the oldest are a minute old."""
    once = world.monitor(**more)
    once.poller.ask_now(world.now, ONCE_MAX_AGE)
    once.once()
    return once


@pytest.mark.parametrize('age, reply, asks', [
    (10, GOOD, 0), (59, GOOD, 0), (61, GOOD, 1), (10, BAD, 0), (29, BAD, 0), (31, BAD, 1)])
def test_what_is_printed_once_takes_what_came_just_before(world, mine, age, reply, asks):
    world.answer(reply)
    mine.once()
    world.now += age
    once = print_once(world, interval=10)
    for _ in range(2):
        assert len(world.times) == 1 + asks and once.poller.is_settled(once.snapshot)
        assert once.failure == (None if reply is GOOD else 'server_error')
        assert once.once() > 0, 'it does not go round and round'


def test_what_is_printed_once_asks_for_what_the_status_line_does_not_tell(world, mine):
    mine.once()
    world.now += 301
    mine.tell_status('s', 1, five_hour=12.0, seven_day=10.0)
    for age, count in ((0, 2), (30, 2)):
        world.now += age
        print_once(world)
        assert len(world.times) == count


@pytest.mark.parametrize('statement', ['DELETE FROM replies', "UPDATE replies SET body = '{'"])
@pytest.mark.parametrize('is_once', [False, True])
def test_a_reply_that_nobody_has_is_asked_for_again(world, mine, statement, is_once):
    """It was told, but that it was does not help."""
    mine.once()
    world.rows(statement)
    world.now += 10
    late = print_once(world) if is_once else world.monitor()
    late.once()
    assert len(world.times) == 2 and not late.failure and late.five_hour == 11


# --- threads ---

class Broken(Poller):
    """One with a bug."""
    sources = ('x',)

    def once(self):
        raise KeyError(TOKEN)


def test_a_bug_is_told_and_the_thread_lives_on(world):
    mine = world.monitor(Broken)
    mine.poller.start()
    for _ in range(3):
        place, source, known = mine.inbox.get(timeout=20)
        mine.poller.told.clear()
        assert (source, known.failure.code) == ('x', 'internal')
        assert 'KeyError in line' in known.failure.detail and 'SECRET' not in repr(known)
        assert mine.poller.is_alive() and mine.poller.daemon
        mine.poller.asked.set()


def test_a_running_poller_hears_that_it_is_asked(world):
    poller = CodePoller(world.monitor(interval=DAY).setup._replace(clock=time.time))
    poller.start()
    world.server.wait_for(1, PROFILE)
    poller.ask_now(time.time())
    world.server.wait_for(2, USAGE)
    poller.wanted = False


def test_the_demo_asks_nobody(world):
    mine = world.monitor(DemoPoller)
    assert mine.once() <= 5 and not world.server.requests
    for place, badge in zip(DEMO_PLACES, ('MAX', 'ENTERPRISE')):
        assert mine.known('usage', place).value.limits
        assert account_of(mine.snapshot, place).badges == (badge,)
