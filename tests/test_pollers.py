"""Pollers: when they ask, and what they tell, by a clock that only the tests move."""
import json
import os
import queue
import re
import time

import pytest

import captures
from captures import CLAUDE_JSON, CREDENTIALS, LOGGED_OUT, TOKEN
from claude_usage import (DAY, HOUR, JITTER, MINUTE, MODES, Api, CodePoller, DemoPoller, Poller,
                          Snapshot, Store, Ui, account_of, clock_text, compose, drain, has_numbers,
                          pace_status, usage_of)
from server import Reply

USAGE, PROFILE = '/api/oauth/usage', '/api/oauth/profile'
GOOD, BAD = Reply(body=captures.USAGE_2026), Reply(500)
REFUSED = Reply(401, captures.ERROR_401)
EXPIRES_AT = CREDENTIALS['claudeAiOauth']['expiresAt'] / 1000


def limited(retry_after=None):
    headers = {} if retry_after is None else {'Retry-After': str(retry_after)}
    return Reply(429, captures.ERROR_429, headers)


class World:
    """A poller and all that it depends on: `now`, the server, the files of an account."""

    def __init__(self, server, folder, interval=30):
        self.server, self.folder, self.inbox = server, folder, queue.Queue()
        self.now = EXPIRES_AT - 30 * DAY
        self.store = Store(str(folder / 'store'))
        self.times = []             # of the requests for usage, by that clock
        self.snapshot, self.told = Snapshot(), []
        self.log_in()
        self.answer(GOOD)
        server.answer(PROFILE, Reply(body=captures.PROFILE))
        env = {'CLAUDE_CONFIG_DIR': str(folder)}
        self.poller = CodePoller(self.inbox, lambda: self.now, Api(server.url), env,
                                 self.store, interval)

    def answer(self, *replies, seconds=0):
        """Give these replies to the next requests for usage; each takes so many seconds."""
        def noted(reply):
            def take(request):
                self.times.append(self.now)
                self.now += seconds
                return reply
            return take
        self.server.answer(USAGE, *map(noted, replies))

    def write(self, name, document):
        """Replace a file as Claude Code does, at once."""
        path = self.folder / (name + '.new')
        path.write_text(json.dumps(document), encoding='utf-8')
        os.replace(str(path), str(self.folder / name))

    def log_in(self, token=TOKEN, expires_at=EXPIRES_AT, **account):
        self.write('.credentials.json', {'claudeAiOauth': dict(
            CREDENTIALS['claudeAiOauth'], accessToken=token, expiresAt=expires_at * 1000)})
        self.write('.claude.json', {'oauthAccount': dict(CLAUDE_JSON['oauthAccount'], **account)})

    def log_out(self):
        self.write('.credentials.json', LOGGED_OUT)
        self.write('.claude.json', {})

    def once(self, asked=False):
        """Let the poller do what is due. It always looks again within 5 s."""
        if asked:
            self.poller.ask_now(self.now)
        wait = self.poller.once()
        assert 0 <= wait <= 5
        told = queue.Queue()
        while not self.inbox.empty():
            self.told.append(self.inbox.get())
            told.put(self.told[-1])
        self.snapshot = drain(told, self.snapshot)
        return wait

    def pass_time(self, seconds, asked=False):
        """Let so many seconds pass, the poller doing what is due."""
        end = self.now + seconds
        while self.now < end:
            wait = self.once(asked)
            self.now = min(end, self.now + wait)
        self.now = end

    def gaps(self):
        """Whole seconds between the requests for usage."""
        return [round(later - earlier) for earlier, later in zip(self.times, self.times[1:])]

    @property
    def failure(self):
        failure = usage_of(self.snapshot).failure
        return failure and failure.code


@pytest.fixture
def world(server, tmp_path):
    return World(server, tmp_path)


def nearly(gaps):
    """What equals these waits with their jitter."""
    return pytest.approx(gaps, rel=JITTER, abs=1)


def moving(used, **more):
    """A reply with this percent."""
    return Reply(body={'five_hour': dict({'utilization': used, 'resets_at': None}, **more)})


def screen(world):
    frame = compose(world.snapshot, Ui(), (80, 24), world.now)
    return '\n'.join(''.join(span.text for span in line).rstrip() for line in frame.lines)


# --- the rhythm ---

@pytest.mark.parametrize('interval, gaps', [
    (30, [30, 30, 30, 30, 180] * 2), (10, [10, 10, 10, 10, 260] * 2), (59, [59, 59, 59, 59, 64]),
    (60, [60] * 9), (90, [90] * 6), (600, [600])])
def test_the_interval_within_the_budget(server, tmp_path, interval, gaps):
    world = World(server, tmp_path, interval)
    world.pass_time(sum(gaps) * (1 + JITTER) + 1)
    assert world.gaps()[:len(gaps)] == nearly(gaps)


SLOWER = [30, 45, 68, 101, 152, 228, 300, 300, 300]


@pytest.mark.parametrize('replies, gaps', [
    ([GOOD], SLOWER),
    ([moving(used) for used in range(100)], [30, 30, 30, 30, 180] * 3),
    # Back to 30 s with the first change, and slower from there.
    ([moving(1)] * 5 + [moving(2)], SLOWER[:5] + SLOWER),
    # A failure is no change, whatever came before.
    ([moving(1)] * 6 + [BAD, moving(1)], SLOWER[:6] + [30, 300, 300])],
    ids=['still', 'moving', 'moved once', 'failed once'])
def test_the_pace_follows_the_numbers(server, tmp_path, replies, gaps):
    world = World(server, tmp_path, None)
    world.answer(*replies)
    world.pass_time(sum(gaps) * (1 + JITTER) + 1)
    assert world.gaps()[:len(gaps)] == nearly(gaps)


@pytest.mark.parametrize('interval', [None, 600])
def test_a_reset_is_looked_at_at_once(server, tmp_path, interval):
    world = World(server, tmp_path, interval)
    at = world.now + 8 * MINUTE
    world.answer(moving(99.0, resets_at=at))
    world.pass_time(7 * MINUTE)
    assert world.snapshot.usage.next_at == at + 5
    world.pass_time(2 * MINUTE)
    assert at + 5 in world.times


def test_how_long_the_next_request_takes_is_told(server, tmp_path):
    world = World(server, tmp_path, None)
    world.once()
    assert 'next' not in screen(world)
    world.pass_time(2 * MINUTE)
    assert re.search('Updated: .*, next %s' % clock_text(
        world.snapshot.usage.next_at, world.now), screen(world))


@pytest.mark.parametrize('interval, asked, seconds', [
    (30, False, 0), (10, False, 14), (10, True, 0), (30, True, 14)])
@pytest.mark.parametrize('replies', [
    [GOOD], [BAD], [GOOD, BAD] * 99, [Reply(body=captures.EDGE_HTML)], [REFUSED]],
    ids=['good', 'bad', 'mixed', 'HTML', '401'])
def test_never_more_than_five_requests_in_any_300_seconds(
        server, tmp_path, interval, asked, seconds, replies):
    world = World(server, tmp_path, interval)
    world.answer(*replies, seconds=seconds)
    world.pass_time(HOUR, asked)
    assert 10 <= len(world.times) <= 60
    assert all(later - earlier >= 300 for earlier, later in zip(world.times, world.times[5:]))


def test_a_key_may_ask_within_the_budget(world):
    world.once()
    for _ in range(4):
        world.now += 1
        world.once(asked=True)
    assert world.gaps() == [1, 1, 1, 1]
    world.now += 1
    world.once(asked=True)
    assert len(world.times) == 5
    assert world.snapshot.usage.free_at == world.times[0] + 300


def test_failures_are_tried_again_more_and_more_seldom(world):
    world.answer(*[BAD] * 6 + [GOOD])
    world.pass_time(HOUR)
    assert world.gaps()[:8] == nearly([30, 60, 120, 240, 300, 300, 30, 30])
    assert world.failure is None


def test_the_profile_is_asked_once_a_day(world):
    world.pass_time(MINUTE, asked=True)
    world.now += DAY - 2 * MINUTE
    world.once(asked=True)
    assert len(world.server.wait_for(1, PROFILE)) == 1
    world.now += 2 * MINUTE
    world.once()
    assert len(world.server.wait_for(2, PROFILE)) == 2


def test_a_profile_that_fails_leaves_the_numbers_alone(world):
    world.server.answer(PROFILE, BAD, Reply(body=captures.PROFILE))
    world.once()
    assert world.snapshot.profile.failure.code == 'server_error' and world.failure is None
    world.pass_time(MINUTE)
    assert world.snapshot.profile.value.name == 'Jane Doe'


def test_what_is_told(world):
    start = world.now
    world.once()
    assert [(reading.source, reading.failure) for reading in world.told] == [
        ('identity', None), ('login', None), ('modes', None), ('usage', None), ('profile', None)]
    usage = world.snapshot.usage
    assert (usage.at, usage.next_at - start, usage.free_at) == (start, nearly(30), 0)
    assert account_of(world.snapshot).name == 'Jane Doe'
    world.once()
    assert len(world.told) == 5, 'nothing new, nothing told'


# --- 429 ---

@pytest.mark.parametrize('retry_after, gaps', [
    (None, [60, 120, 240, 480]), (0, [60, 120, 240, 480]), (6, [60, 120, 240, 480]),
    (200, [200, 200, 240, 480]), (720, [720, 720, 720, 720]), (1600, [1600]), (3600, [3600]),
    (99999, [3600])])
@pytest.mark.parametrize('asked', [False, True])
def test_a_block_is_sat_out_and_doubles(world, retry_after, gaps, asked):
    """And it asks no sooner than after 180 s, whatever the block and whoever wants it."""
    gaps = [max(180, gap) for gap in gaps]
    world.answer(limited(retry_after))
    world.pass_time(sum(gaps) + 1, asked)
    assert world.gaps() == gaps
    assert world.failure == 'rate_limited'
    assert world.snapshot.usage.free_at == world.snapshot.usage.next_at > world.now
    assert world.server.requests[-1].path == USAGE, 'the profile is blocked too'


def test_no_block_is_longer_than_an_hour(world):
    world.answer(limited())
    world.pass_time(8 * HOUR)
    assert max(world.gaps()) == world.gaps()[-1] == HOUR


def test_a_block_ends_with_a_good_reply_and_begins_short_again(world):
    world.answer(limited(), limited(), GOOD, limited(), GOOD)
    blocks = []
    for _ in range(4):
        world.once(asked=True)
        free_at = world.snapshot.usage.free_at
        blocks.append(max(0, free_at - world.now))
        world.now = max(world.now, free_at) + 1
    assert blocks == [180] * 4, 'the blocks, of 60 and 120 s, would be over before'


def test_it_asks_seldom_for_half_an_hour(server, tmp_path):
    world = World(server, tmp_path, 90)
    world.answer(limited(), *map(moving, range(100)))
    world.pass_time(HOUR)
    assert world.gaps()[:10] == [180] * 10
    assert world.gaps()[11:20] == nearly([90] * 9)


def test_the_block_outlives_the_monitor(server, tmp_path):
    world = World(server, tmp_path)
    world.answer(GOOD, limited(720))
    world.pass_time(MINUTE)
    again = World(server, tmp_path)
    again.now = world.now + 5
    again.pass_time(10 * MINUTE, asked=True)
    assert len(world.times) == 2 and again.times == []
    assert again.failure == 'rate_limited' and has_numbers(again.snapshot)
    assert again.snapshot.usage.next_at == world.times[-1] + 720


def test_a_new_token_lifts_the_block(world):
    world.answer(limited(3600), GOOD)
    world.pass_time(MINUTE)
    assert (len(world.times), world.failure) == (1, 'rate_limited')
    world.log_in('new')
    world.once()
    assert (len(world.times), world.failure) == (2, None)
    assert world.server.requests[-2].headers['authorization'] == 'Bearer new'


# --- tokens ---

def test_a_refused_token_that_was_refreshed_meanwhile_is_tried_again_at_once(world):
    def refresh(request):
        world.log_in('new')
        return REFUSED
    world.server.answer(USAGE, GOOD, refresh, GOOD)
    world.once()
    world.now += 30
    assert world.once() == 0
    world.once()
    assert not [reading for reading in world.told if reading.failure]
    tokens = [r.headers['authorization'] for r in world.server.requests if r.path == USAGE]
    assert tokens == ['Bearer ' + TOKEN] * 2 + ['Bearer new']


def test_a_token_that_changes_with_every_refusal_keeps_to_the_budget(world):
    def refresh(request):
        world.times.append(world.now)
        world.log_in('new%d' % len(world.times))
        return REFUSED
    world.server.answer(USAGE, refresh)
    world.pass_time(20 * MINUTE)
    assert world.gaps() == [0, 0, 0, 0, 300] * 3 + [0] * 4


def test_a_refused_token_stays_refused_until_it_changes(world):
    world.answer(REFUSED)
    world.once()
    assert world.failure == 'unauthorized'
    world.answer(GOOD)
    world.log_in('new')
    world.now += 3
    world.once()
    assert world.failure is None


def test_a_token_without_the_scope_is_not_tried_again(world):
    world.answer(Reply(403, captures.ERROR_403_SCOPE))
    world.pass_time(HOUR, asked=True)
    assert (len(world.times), world.failure) == (1, 'forbidden_scope')
    world.now += 2 * DAY
    world.once(asked=True)
    assert len(world.times) == 1
    world.answer(GOOD)
    world.log_in('new')
    world.once()
    assert (len(world.times), world.failure) == (2, None)


def test_an_expired_token_makes_no_request(world):
    world.log_in(expires_at=world.now + 299)
    world.pass_time(MINUTE, asked=True)
    assert (world.server.requests, world.failure) == ([], 'token_expired')


def test_a_token_that_expires_on_the_way_keeps_the_numbers(world):
    world.log_in(expires_at=world.now + 300 + 45)
    world.pass_time(MINUTE + 1, asked=False)
    assert world.gaps() == nearly([30]) and world.failure == 'token_expired'
    assert has_numbers(world.snapshot) and world.snapshot.usage.at == world.times[-1]
    world.log_in('new')
    world.once()
    assert world.failure is None and len(world.times) == 3


# --- files ---

def test_credentials_that_change_are_seen_by_the_next_look(world):
    seen = []
    for change, code in (
            (lambda: None, None), (world.log_out, 'logged_out'), (world.log_in, None),
            ((world.folder / '.credentials.json').unlink, 'no_credentials'), (world.log_in, None),
            (lambda: world.write('.credentials.json', []), 'malformed'), (world.log_in, None)):
        change()
        world.once()
        seen.append((world.failure, code))
        assert has_numbers(world.snapshot), 'they are kept'
    assert [got for got, _ in seen] == [wanted for _, wanted in seen]


def test_a_half_written_identity_is_no_change(world):
    world.once()
    (world.folder / '.claude.json').write_text('{"oauthAcc')
    world.once()
    assert account_of(world.snapshot).email == 'jane@example.com'
    assert len(world.times) == 1


def test_an_identity_that_was_not_there_yet_costs_nothing(world, server, tmp_path):
    """Until then the store knows the account by another name, but the token is the same."""
    (tmp_path / '.claude.json').unlink()
    world.once()
    again = World(server, tmp_path)
    again.now = world.now + 3
    again.once()
    assert again.failure is None and again.snapshot.profile.failure is None
    assert has_numbers(again.snapshot)


def test_no_login_is_looked_for_until_there_is_one(world):
    world.log_out()
    world.pass_time(MINUTE)
    assert (world.server.requests, world.failure) == ([], 'logged_out')
    assert [reading.source for reading in world.told] == ['modes', 'login'], 'each once'
    world.log_in()
    world.once()
    assert world.failure is None and len(world.times) == 1


def test_a_key_that_appears_makes_another_mode(world):
    """For `m` finds it then."""
    world.once()
    assert world.snapshot.modes.value == ('code',)
    world.write('.credentials.json', dict(
        CREDENTIALS, anthropicConsole={'adminApiKey': 'sk-ant-admin01-SECRET'}))
    world.pass_time(6)
    assert world.snapshot.modes.value == MODES
    world.log_out()
    world.pass_time(6)
    assert world.snapshot.modes.value == ()


SOMEBODY_ELSE = {'account': {'uuid': 'b', 'full_name': 'Bob'}}


@pytest.mark.parametrize('logs_out', [False, True])
@pytest.mark.parametrize('reply, numbers', [
    (Reply(body=captures.USAGE_ENTERPRISE), 0), (BAD, None)], ids=['good', 'bad'])
def test_the_numbers_of_another_account_are_forgotten(world, logs_out, reply, numbers):
    world.pass_time(4 * MINUTE)
    assert len(world.snapshot.usage.value.limits) == 3
    world.answer(reply)
    world.server.answer(PROFILE, Reply(body=SOMEBODY_ELSE))
    if logs_out:
        world.log_out()
        world.pass_time(MINUTE)
    world.log_in('new', accountUuid='b', displayName='Bob')
    world.now += 3
    world.once()
    assert world.times[-1] == world.now, 'another account has a budget of its own'
    usage = world.snapshot.usage.value
    assert (usage and len(usage.limits)) == numbers
    assert account_of(world.snapshot).name == 'Bob'


def test_the_numbers_of_another_organization_are_forgotten(world):
    """One person may be in several, each with limits of its own."""
    world.once()
    world.answer(BAD)
    profile = {'organization': {'name': 'Other Corp', 'organization_type': 'claude_team'}}
    world.server.answer(PROFILE, Reply(body=profile))
    world.log_in('new', organizationUuid='o', organizationName='Other Corp')
    world.now += 40
    world.once()
    assert account_of(world.snapshot).organization == 'Other Corp'
    assert not has_numbers(world.snapshot)


# --- threads ---

def next_failure(inbox):
    """The next Reading with a failure, by its code."""
    while True:
        reading = inbox.get(timeout=20)
        if reading.failure:
            return reading.source, reading.failure.code, reading.failure.detail


class Broken(Poller):
    """One with a bug."""

    def once(self):
        raise KeyError(TOKEN)


@pytest.mark.parametrize('make', [
    lambda inbox, folder: Broken(inbox, time.time),
    lambda inbox, folder: CodePoller(inbox, time.time, None, {'CLAUDE_CONFIG_DIR': str(folder)},
                                     Store(str(folder / '.claude.json')))])
def test_a_bug_is_told_and_the_thread_lives_on(make, world):
    """The second has no store, for after a bug its lease would have to expire first."""
    inbox = queue.Queue()
    poller = make(inbox, world.folder)
    poller.start()
    for _ in range(3):
        source, code, detail = next_failure(inbox)
        assert (source, code) == ('usage', 'internal')
        assert 'Error in line' in detail and 'SECRET' not in detail
        assert poller.is_alive() and poller.daemon
        poller.asked.set()


def test_a_running_poller_hears_that_it_is_asked(world):
    inbox = queue.Queue()
    poller = CodePoller(inbox, time.time, Api(world.server.url),
                        {'CLAUDE_CONFIG_DIR': str(world.folder)}, world.store, DAY)
    poller.start()
    world.server.wait_for(1, PROFILE)
    poller.ask_now(time.time())
    world.server.wait_for(2, USAGE)


@pytest.mark.parametrize('now', range(1795000000, 1795030000, 997))
def test_the_demo_throttles_only_above_its_target(now):
    inbox = queue.Queue()
    DemoPoller(inbox, lambda: now, 'code').once()
    told = pace_status(drain(inbox, Snapshot()), now)
    assert told.throttling == (told.deviation > 0) and told.window == '5-hour'


def test_the_demo_asks_nobody(tmp_path):
    inbox = queue.Queue()
    assert DemoPoller(inbox, lambda: 1e9, 'code').once() <= 5
    snapshot = drain(inbox, Snapshot())
    assert has_numbers(snapshot) and account_of(snapshot).badges == ('ENTERPRISE',)
