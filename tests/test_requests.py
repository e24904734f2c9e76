"""When a source may be asked next: the plan that follows from a ledger, which is pure."""
import random

import pytest

from claude_usage import (DAY, HOUR, JITTER, LOST, MINUTE, REQUEST_SECONDS, REQUESTS_MOST,
                          REQUESTS_SECONDS, UNSENT, Attempt, Rhythm, merged_ledgers, plan)
from samples import NOW

NEVER = float('inf')
PLAIN, WARY, USAGE = Rhythm(30, 300), Rhythm(30, 300, 0, 180), Rhythm(30, 300, 0.1, 180)


def attempts(*told, account='a', source='usage', token='t', **more):
    """A ledger of (seconds before NOW, code[, retry_after]): when each ended, or began if it did
    not. No two began together."""
    ledger = {}
    for age, code, *retry_after in told:
        at = NOW - age
        attempt = Attempt(account, source, token, at - len(ledger) / 1024, None, code, **more)
        if code:
            attempt = attempt._replace(ended=at, retry_after=(retry_after or [None])[0])
        ledger[attempt.key] = attempt
    return ledger


def both(*ledgers):
    """One ledger of several."""
    return {key: attempt for ledger in ledgers for key, attempt in ledger.items()}


def replies(moves, age=0, **last):
    """Replies that moved (M) or were still (s), or failures (x), far apart from each other."""
    told = [attempts((age + 1000 * before, 'network' if move == 'x' else 'ok'), moved=move != 's',
                     **(last if not before else {})) for before, move in enumerate(moves[::-1])]
    return both(*told)


def planned(ledger, rhythm=PLAIN, token='t', source='usage', fed=None, **more):
    """(next, free) in seconds from NOW; a time long past is 0. `fed` is in seconds before NOW."""
    fed_at = 0.0 if fed is None else NOW - fed
    told = plan(ledger, ('a', source, token), rhythm, NOW, fed_at=fed_at, **more)
    return tuple(max(0, round(at - NOW, 6)) for at in told[:2])


# --- after replies, after failures ---

@pytest.mark.parametrize('history, next_in, free_in', [
    # The first request is due at once, the next ones one interval after each reply.
    ([], 0, 0), ([(0, 'ok')], 30, 0), ([(10, 'ok')], 20, 0), ([(30, 'ok')], 0, 0),
    # Five in any 300 s.
    ([(40, 'ok'), (30, 'ok'), (20, 'ok'), (10, 'ok')], 20, 0),
    ([(120, 'ok'), (90, 'ok'), (60, 'ok'), (30, 'ok'), (0, 'ok')], 180, 180),
    ([(280, 'ok'), (90, 'ok'), (60, 'ok'), (30, 'ok'), (0, 'ok')], 30, 20),
    ([(310, 'ok'), (50, 'ok'), (40, 'ok'), (30, 'ok'), (20, 'ok'), (10, 'ok')], 250, 250),
    ([(8, 'ok'), (6, 'network'), (4, 'ok'), (2, 'timeout'), (0, 'ok')], 292, 292),
    # Failures: 30 s, doubling to 300; a key may ask at any time.
    ([(0, 'network')], 30, 0), ([(90, 'ok'), (0, 'unauthorized')], 30, 0),
    ([(30, 'network'), (0, 'server_error')], 60, 0), ([(90, 'tls')] * 2 + [(0, 'tls')], 120, 0),
    ([(999, 'tls')] * 3 + [(0, 'tls')], 240, 0), ([(9999, 'tls')] * 90 + [(0, 'tls')], 300, 0),
    ([(999, 'tls')] * 4 + [(5, 'ok')], 25, 0), ([(999, 'tls'), (998, 'ok'), (0, 'tls')], 30, 0),
    # A token without the scope is never tried again.
    ([(0, 'forbidden_scope')], NEVER, NEVER), ([(DAY, 'forbidden_scope')], NEVER, NEVER),
    # A lost request counts in the budget alone; what was not sent counts for nothing.
    ([(10, LOST)], 0, 0), ([(40, 'ok'), (10, LOST)], 0, 0), ([(20, 'ok'), (10, UNSENT)], 10, 0),
    ([(10, UNSENT)] * 9, 0, 0), ([(50, 'network')] + [(10, LOST)] * 4, 250, 250)])
def test_next_request(history, next_in, free_in):
    assert planned(attempts(*history)) == (next_in, free_in)


def test_a_claim_is_under_way_for_17_seconds():
    """Then it is lost, and in the budget as of its end."""
    def busy(ledger, source='usage'):
        return max(0, plan(ledger, ('a', source, 'u'), PLAIN, NOW).busy_until - NOW)
    assert (REQUEST_SECONDS, busy(attempts((5, ''))), busy(attempts((17, '')))) == (17, 12, 0)
    assert busy(attempts((50, ''), heard=NOW - 7)) == 10, 'the pages of a poll still come'
    assert busy(both(attempts((5, '')), attempts((9, ''), token='u'))) == 12
    assert busy(attempts((5, '')), 'profile') == 0
    assert planned(attempts(*[(17, '')] * 5))[1] == pytest.approx(300, abs=0.01)


def test_a_reply_that_nobody_has_is_no_reason_to_wait():
    """But a failure, a block and the budget are."""
    for history, wait in (([(40, 'network'), (0, 'ok')], 0), ([(9, 'network'), (0, 'ok')], 21),
                          ([(9, 'rate_limited'), (0, 'ok')], 180), ([(0, 'ok')] * 5, 300)):
        assert planned(attempts(*history), WARY, has_reply=False)[0] == wait


@pytest.mark.parametrize('code', ['rate_limited', 'forbidden_scope', 'unauthorized', 'network'])
def test_a_new_token_lifts_what_held_the_old_one(code):
    old, new = attempts((1, code)), attempts((0, 'ok'), token='new')
    assert planned(old, token='new') == (0, 0)
    assert planned(both(old, new), token='new') == (30, 0)


def test_what_is_the_accounts_the_tokens_and_the_sources():
    assert planned(attempts((10, 'ok')), token='new') == (20, 0), 'what is known is known'
    old = both(attempts(*[(10, 'network')] * 4), attempts((0, 'ok'), token='new'))
    assert planned(old, token='new') == (290, 290), 'the budget'
    assert planned(attempts(*[(0, 'ok')] * 9, account='b')) == (0, 0)
    assert planned(attempts((0, 'rate_limited'), account='b')) == (300, 300), 'the block'
    profile = attempts(*[(1, 'ok')] * 9 + [(0, 'network')], source='profile')
    assert planned(profile) == planned(profile, WARY) == (0, 0)
    assert planned(profile, Rhythm(DAY, DAY), source='profile') == (299, 299)
    fed = both(attempts((60, 'forbidden_scope')), attempts((31, 'ok'), token=''))
    assert planned(fed) == (NEVER, NEVER), 'a reply without a request forgives nothing'


# --- blocks ---

@pytest.mark.parametrize('told, blocks', [
    (None, [300, 600, 1200, 2400, 3600, 3600]), (0, [300, 600]), (60, [60, 120]),
    (6, [60, 120, 240, 480, 960, 1920, 3600, 3600]), (300, [300, 300, 300, 480]),
    (1600, [1600] * 5 + [1920, 3600]), (99999, [3600])])
def test_a_block_doubles_with_each_further_429(told, blocks):
    for times, wait in enumerate(blocks, 1):
        history = [(9999, 'rate_limited', 6)] * (times - 1) + [(0, 'rate_limited', told)]
        assert planned(attempts((99999, 'ok'), *history)) == (wait, wait)
        assert planned(attempts(*history), WARY)[1] == max(wait, 180), 'the longer of both'
        history.insert(times - 1, (999, 'network'))
        assert planned(attempts(*history))[1] == wait, 'other failures do not end the doubling'
        history.insert(times - 1, (999, 'ok'))
        assert planned(attempts(*history))[1] == blocks[0], 'a reply does'


def test_a_block_is_of_the_token_for_all_its_sources():
    blocked = attempts((0, 'rate_limited', 720.0))
    assert planned(blocked, source='profile') == (720, 720)
    assert planned(blocked, token='new') == planned(blocked, source='profile', token='new') == (
        0, 0)
    assert planned(both(blocked, attempts((0, 'ok'), source='profile')))[1] == 720
    twice, = [attempt._replace(account='b') for attempt in attempts((0, 'rate_limited')).values()]
    told = both(attempts((0, 'rate_limited')), {twice.key: twice})
    assert planned(told) == (300, 300), 'one by two names of an account is one'


@pytest.mark.parametrize('held', [-10, 0, 1, 3000])
def test_a_block_that_another_program_knows_of(held):
    wait, until = max(0, held), NOW + held
    assert planned(attempts((99, 'ok')), held_until=until) == (wait, wait)
    assert planned(attempts((0, 'ok')), held_until=until) == (max(30, wait), wait)
    assert planned(attempts((0, 'rate_limited', 720)), held_until=until)[1] == max(720, wait)


@pytest.mark.parametrize('history, wait', [
    ([(200, 'rate_limited'), (0, 'ok')], 180), ([(200, 'rate_limited'), (10, 'ok')], 170),
    ([(400, 'rate_limited'), (0, 'network')], 180), ([(400, 'rate_limited'), (0, LOST)], 180),
    ([(1000, 'rate_limited'), (400, 'ok'), (200, 'ok'), (20, 'ok')], 160),
    ([(30 * MINUTE, 'rate_limited'), (0, 'ok')], 180), ([(DAY, 'rate_limited'), (0, 'ok')], 30),
    ([(30 * MINUTE + 10, 'rate_limited', 6), (10, 'ok')], 170),     # that was within half an hour
    ([(30 * MINUTE + 1, 'rate_limited', 6), (0, 'ok')], 30),
    ([(30 * MINUTE + 1, 'rate_limited', 6), (1, 'ok'), (0, 'network')], 30),
    # A longer block is over when it is over; half an hour counts from 180 s before.
    ([(3700, 'rate_limited', 3600), (0, 'ok')], 180),
    ([(3600 + 30 * MINUTE, 'rate_limited', 3600), (0, 'ok')], 30)])
def test_not_under_180_seconds_for_half_an_hour(history, wait):
    """Whoever asks, but a new token lifts it."""
    ledger = attempts(*history)
    assert planned(ledger, WARY) == (wait, wait if wait > 30 else 0)
    assert planned(ledger, WARY, token='new')[0] <= 30
    if history[-1][1] == 'ok':
        due = 600 - history[-1][0]
        assert planned(ledger, Rhythm(600, 600, wary=180))[0] == max(wait, due)


def test_a_429_of_one_source_makes_usage_wary_too():
    profile = attempts((100, 'rate_limited', 6), source='profile')
    assert planned(both(profile, attempts((99, 'ok'))), WARY) == (81, 81)
    assert planned(profile, WARY) == (80, 80)
    console = attempts((200, 'rate_limited', 6), (0, 'ok'), source='console')
    assert planned(console, Rhythm(120, 120), source='console') == (120, 0)


# --- the rhythm ---

@pytest.mark.parametrize('moves, wait', [
    # 30 s while it moves; half as long again with each reply like the one before, up to 300 s.
    ('M', 30), ('MMMMMMMM', 30), ('Ms', 45), ('Mss', 67.5), ('Msss', 101.25), ('Mssss', 151.875),
    ('Msssss', 227.8125), ('Mssssss', 300), ('M' + 's' * 49, 300), ('s' * 50, 300), ('ss', 67.5),
    # Back to 30 s on the first change.
    ('MsM', 30), ('MssssssssM', 30), ('MsssMs', 45),
    # A failure says nothing of the numbers: it is tried again soon, and the rhythm goes on.
    ('Mssssssx', 30), ('Mssssssxx', 60), ('Mssxs', 101.25), ('MsxM', 30), ('MsxxxxMs', 45)])
def test_the_rhythm_follows_the_numbers(moves, wait):
    for age in (0, 20):
        assert planned(replies(moves, age)) == (wait - age, 0)
    for interval in (10, 300, DAY):
        if moves[-1] != 'x':
            assert planned(replies(moves), Rhythm(interval, interval)) == (interval, 0)


@pytest.mark.parametrize('moves, seconds', [('M', 30), ('Ms', 45), ('M' + 's' * 9, 300)])
def test_jitter(moves, seconds):
    """Anything within a tenth, of which no part is left out or preferred; for replies only."""
    dice, tenths = random.Random(1), [0] * 10
    for _ in range(1000):
        at = NOW + dice.random() * 9 * DAY
        told = both(replies(moves[:-1], 999), replies(moves[-1], NOW - at))
        wait = plan(told, ('a', 'usage', 't'), USAGE, at).next_at - at
        share = (wait / seconds - 1 + JITTER) / (2 * JITTER)
        assert -1e-6 <= share <= 1 + 1e-6
        tenths[min(9, max(0, int(share * 10)))] += 1
    assert min(tenths) > 60 and max(tenths) < 140
    for history in ([(7, 'network')], [(7, 'rate_limited', 200)], [(7, 'ok')] * 5):
        assert planned(attempts(*history), USAGE) == planned(attempts(*history), WARY)


@pytest.mark.parametrize('moves, reset_in, wait', [
    ('M', None, 30), ('M', 10, 15), ('M', 24, 29), ('M', 25, 30), ('M', 26, 30), ('M', 0, 5),
    ('M', -5, 0), ('Mssssssss', 100, 105), ('Mssssssss', 295, 300), ('Mssssssss', 1000, 300),
    ('Mssssssssx', 10, 30)])                # after a failure there is no hurry
def test_a_reset_is_looked_at_after_5_seconds(moves, reset_in, wait):
    reset_at = None if reset_in is None else NOW + reset_in
    assert planned(replies(moves, reset_at=reset_at)) == (wait, 0)


def test_what_a_reset_does_not_hurry():
    """The budget, a block, and wariness; an --interval it does. The last reply counts."""
    reset = replies('M', reset_at=NOW + 10)
    assert planned(both(attempts(*[(100, 'ok')] * 4), reset)) == (200, 200)
    assert planned(both(attempts((100, 'rate_limited', 6)), reset), WARY) == (180, 180)
    assert planned(both(reset, attempts((0, 'rate_limited', 6), source='profile'))) == (60, 60)
    assert planned(reset, Rhythm(HOUR, HOUR)) == (15, 0)
    assert planned(both(replies('M', age=1000, reset_at=NOW + 3), replies('s'))) == (45, 0)


@pytest.mark.parametrize('moves, age, fed, wait', [
    # While the status line feeds, once in 300 s; once it has stopped, by the rhythm.
    ('M', 0, None, 30), ('M', 0, 0, 30), ('M', 100, 0, 30), ('M', 100, 29, 1), ('M', 280, 0, 20),
    ('M', 300, 0, 0), ('Ms', 100, 30, 15), ('Mssssssss', 100, 0, 200), ('M', 100, 30, 0),
    ('M', 100, 31, 0), ('M', 10, 10, 20), ('M', 10, 999, 20), ('Mssssssss', 100, 99, 200),
    # What it tells is no reply: a failure is tried again. Nor does a clock set back silence it.
    ('Mx', 0, 0, 30), ('Mx', 100, 0, 0), ('M', 0, -DAY, 300), ('M', 300, -DAY, 0)])
def test_while_the_status_line_feeds(moves, age, fed, wait):
    assert planned(replies(moves, age), fed=fed) == (wait, 0)


def test_feeding_lifts_no_other_rule():
    for age, fed, wait in ((150, 0, 120), (150, 119, 1), (150, 121, 0)):
        assert planned(replies('M', age), Rhythm(120, 120), fed=fed) == (wait, 0)
    assert planned(replies('M', 400), Rhythm(600, 600), fed=0) == (200, 0)
    assert planned(replies('M', 200, reset_at=NOW + 10), fed=0) == (15, 0)
    assert planned(attempts((0, 'rate_limited', 720)), fed=0) == (720, 720)
    assert planned(attempts(*[(0, 'ok')] * 5), fed=0) == (300, 300)
    assert planned({}, fed=0) == (0, 0), 'it does not carry all'


# --- ledgers, histories ---

def test_ledgers_are_merged():
    """A union; of one attempt, what is known later counts; too old or far ahead is left out."""
    claim, = attempts((5, '')).values()
    heard, done = claim._replace(heard=NOW), claim._replace(ended=NOW, code='ok')
    other = attempts((9, 'ok'), token='u')
    for first, second, known in ((claim, claim, claim), (claim, heard, heard),
                                 (claim, done, done), (heard, done, done)):
        for pair in ((first, second), (second, first)):
            ledgers = [{attempt.key: attempt} for attempt in pair]
            assert merged_ledgers(both(ledgers[0], other), ledgers[1], NOW) == both(
                {known.key: known}, other)
    for age, is_kept in ((-60, True), (-61, False), (25 * HOUR - 1, True), (25 * HOUR + 1, False)):
        for ledgers in ((attempts((age, 'ok')), {}), ({}, attempts((age, 'ok')))):
            assert bool(merged_ledgers(*ledgers, NOW)) == is_kept


def test_a_day_costs_as_little_as_it_may():
    """Numbers that move for an hour, fed in the next, with a window that resets after five."""
    ledger, times, fed_at = {}, [], 0.0
    for second in range(5, 8 * HOUR, 15):
        now = NOW + second
        fed_at = now if HOUR <= second < 2 * HOUR else fed_at
        if now >= plan(ledger, ('a', 'usage', 't'), PLAIN, now, fed_at=fed_at).next_at:
            reset_at = NOW + 5 * HOUR if second < 5 * HOUR else None
            told = attempts((-second, 'ok'), moved=second < HOUR, reset_at=reset_at)
            ledger = merged_ledgers(ledger, told, now)
            times.append(second)
    assert 5 * HOUR + 5 in times and len([at for at in times if at >= 2 * HOUR]) <= 6 * 12 + 2
    fed = [at for at in times if HOUR + 60 <= at < 2 * HOUR]
    assert len(fed) == 12 and {later - at for at, later in zip(fed, fed[1:])} == {300}


@pytest.mark.parametrize('rhythm', [USAGE, Rhythm(10, 10, 0.1, 180.0), PLAIN])
@pytest.mark.parametrize('asks', [0.0, 0.2, 1.0])
def test_whatever_happens_the_budget_and_the_blocks_hold(rhythm, asks):
    """Whatever the replies, resets, feeds, tokens and kills, with a key pressed when it may."""
    dice = random.Random(1)
    codes = ['ok'] * 4 + ['network', 'rate_limited', 'forbidden_scope', LOST, UNSENT, '']
    ledger, now, token, next_at, free_at = {}, NOW, 't', 0.0, 0.0
    for turn in range(200):
        due = free_at if dice.random() < asks else next_at
        if due == NEVER or dice.random() < 0.02:
            token = 't%d' % turn
            due = plan(ledger, ('a', 'usage', token), rhythm, now).free_at
        now = max(now + dice.random(), due)
        code, took = dice.choice(codes), 10 * dice.random()
        last = Attempt('a', 'usage', token, now, now + took if code else None, code,
                       retry_after=dice.choice([None, 0.0, 6.0, 720.0, 99999.0]),
                       moved=dice.random() < 0.5, reset_at=dice.choice([None, now + 3, now + 99]))
        now = last.end
        ledger = merged_ledgers(ledger, {last.key: last}, now)
        told = plan(ledger, ('a', 'usage', token), rhythm, now, dice.random() < 0.8,
                    dice.choice([0.0, now, now - 50, now + 50]),
                    dice.choice([0.0, 0.0, now - 5, now + 500]))
        next_at, free_at, busy_until = told
        assert next_at >= free_at and busy_until == 0 and told.is_held == (next_at == free_at)
        if code == 'rate_limited':
            least = 60 if last.retry_after else 300
            assert free_at - now >= max(least, min(last.retry_after or 0, 3600))
        asked = sorted(at.end for at in ledger.values() if at.code != UNSENT)
        if any(at.code == 'rate_limited' and asked[-1] - at.end <= 30 * MINUTE
               and at.token == token for at in ledger.values()):
            assert free_at - asked[-1] >= rhythm.wary
        if len(asked) >= REQUESTS_MOST:
            assert free_at >= asked[-REQUESTS_MOST] + REQUESTS_SECONDS
