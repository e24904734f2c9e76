"""The arithmetic: percents, countdowns, clocks, money, sentences, and when to ask again."""
import os
import random
import subprocess
import sys

import pytest

from claude_usage import (ATTEMPTS_MOST, BUDGET, BUDGET_SECONDS, DAY, ERRORS, HOUR, JITTER, MINUTE,
                          PACES, TIME_MOST, Account, Attempt, Failure, Known, Pace, Plan, Usage,
                          clock_text, countdown, countdown_short, fed_usage, further, has_moved,
                          joined, latest_usage, level, message, money, next_poll, next_reset,
                          percent_shown, retry_after, status)
from conftest import PROGRAM
from samples import EXTRA, FIVE_HOUR, MANY, NOW, SEVEN_DAY, limit

NEVER = float('inf')


@pytest.mark.parametrize('used, percent, name', [
    (-5, 0, 'green'), (0, 0, 'green'), (0.4, 0, 'green'), (0.5, 1, 'green'), (1, 1, 'green'),
    (50, 50, 'green'), (50.4, 50, 'green'), (50.5, 51, 'yellow'), (80.4, 80, 'yellow'),
    (80.5, 81, 'orange'), (99, 99, 'orange'), (99.5, 99, 'orange'), (99.999, 99, 'orange'),
    (100, 100, 'red'), (100.4, 100, 'red'), (104.6, 105, 'red'), (1e14, 10 ** 14, 'red'),
])
def test_percent_and_its_level(used, percent, name):
    assert percent_shown(used) == percent
    assert level(used) == name


@pytest.mark.parametrize('seconds, whole, short', [
    (-5, '0s', '0s'), (0, '0s', '0s'), (0.9, '0s', '0s'), (1, '1s', '1s'),
    (59.9, '59s', '59s'), (60, '1m', '1m'), (119, '1m', '1m'), (59 * MINUTE + 59, '59m', '59m'),
    (HOUR, '1h 0m', '1h0m'), (3 * HOUR + 45 * MINUTE, '3h 45m', '3h45m'),
    (DAY - 1, '23h 59m', '23h59m'), (DAY, '1d 0h 0m', '1d'), (DAY + 59, '1d 0h 0m', '1d'),
    (4 * DAY + HOUR + 12 * MINUTE, '4d 1h 12m', '4d'), (100 * DAY, '100d 0h 0m', '100d'),
])
def test_countdown(seconds, whole, short):
    assert countdown(seconds) == whole
    assert countdown_short(seconds) == short


@pytest.mark.parametrize('distance, told', [
    (0, '20:19'), (-HOUR, '19:19'), (3 * HOUR + 45 * MINUTE, '00:04'), (DAY - 1, '20:19'),
    (DAY, 'Mon 20:19'), (4 * DAY + HOUR + 12 * MINUTE, 'Thu 21:31'), (7 * DAY - 1, 'Sun 20:19'),
    (7 * DAY, 'Nov 29 20:19'), (-DAY, 'Sat 20:19'), (-7 * DAY, 'Nov 15 20:19'),
    (130 * DAY, 'Apr 1 21:19'),             # summer time by then
    (-220 * DAY, 'Apr 16 21:19'),
])
def test_clock_text(zone, distance, told):
    assert clock_text(NOW + distance, NOW) == told


def test_clock_text_at_the_ends_of_time(zone):
    assert clock_text(0, NOW) == 'Jan 1 01:00'
    assert clock_text(TIME_MOST, NOW) == 'Jan 1 00:59'


@pytest.mark.parametrize('amount, digits, told', [
    (763, 2, '7.63'), (2000, 2, '20.00'), (0, 2, '0.00'), (5, 2, '0.05'), (763, 0, '763'),
    (123456, 2, '1,234.56'), (1234567, 0, '1,234,567'), (1234, 3, '1.234'), (-50, 2, '-0.50'),
    (763.4, 2, '7.63'),
])
def test_money(amount, digits, told):
    assert money(amount, digits) == told


@pytest.mark.parametrize('failure, next_at, told', [
    (Failure('token_expired'), None, 'Token expired. Run `claude` to refresh.'),
    (Failure('token_expired'), NOW + 60, 'Token expired. Run `claude` to refresh.'),
    (Failure('rate_limited', '', 6.0), NOW + 12 * MINUTE, 'Rate limited. Next try 20:31.'),
    (Failure('rate_limited'), None, 'Rate limited.'),
    (Failure('server_error', '529, Overloaded'), NOW,
     'Server error 529, Overloaded. Next try 20:19.'),
    (Failure('network', 'unknown host'), NOW + 30, 'No connection: unknown host. Next try 20:19.'),
    (Failure('network', '{} {0} %s'), None, 'No connection: {} {0} %s.'),
    (Failure('malformed', 'credentials: not JSON'), None,
     'Failed to load credentials: not JSON.'),
    (Failure('no_credentials'), None, 'No Claude Code login found. Run `claude` to log in, '
                                      'or set ANTHROPIC_ADMIN_API_KEY for the Console.'),
])
def test_message(zone, failure, next_at, told):
    assert message(failure, next_at, NOW) == told


@pytest.mark.parametrize('code', ERRORS)
def test_every_message_says_what_happens_next(zone, code):
    sentence, step = ERRORS[code]
    told = message(Failure(code, 'DETAIL'), NOW + 60, NOW)
    assert told.endswith(step or 'Next try 20:20.')
    assert ('DETAIL' in told) == ('{}' in sentence)
    assert told.count('. ') >= 1 and '..' not in told


VALUE = Known('value', NOW - 60, None, NOW - 30)


@pytest.mark.parametrize('known, name', [
    (Known(), 'waiting'),
    (Known(failure=Failure('network')), 'error'),
    (VALUE._replace(failure=Failure('network')), 'error'),
    (VALUE, 'ok'),                          # twice its interval, and not older
    (VALUE._replace(at=NOW - 59, next_at=NOW - 30), 'stale'),
    (VALUE._replace(next_at=NOW - 31), 'stale'),
    (VALUE._replace(next_at=None), 'ok'),   # is never asked again by itself
    (VALUE._replace(at=NOW + 60, next_at=NOW + 90), 'ok'),      # the clock was set back
])
def test_status(known, name):
    assert status(known, NOW) == name


# --- The next poll ---

def attempts(*told, **more):
    """Attempts as (seconds before NOW, code[, retry_after]), all of usage and of one token."""
    return tuple(Attempt(*(more.get('source', 'usage'), more.get('token', 't'), NOW - entry[0])
                         + entry[1:]) for entry in told)


def plan(history, pace=Pace(30, 300), token='t', source='usage', fed=None):
    """The Plan, in seconds from NOW; a time long past is 0. `fed` is in seconds before NOW."""
    told = next_poll(history, source, token, pace, NOW, None if fed is None else NOW - fed)
    return Plan(*(max(0, at - NOW) for at in told))


def replies(moves, age=0, **last):
    """Replies that moved (M) or were still (s), or failures (x), far apart from each other."""
    history = [Attempt('usage', 't', NOW - age - 1000 * before, 'network' if move == 'x' else 'ok',
                       moved=move != 's') for before, move in enumerate(reversed(moves))]
    history[0] = history[0]._replace(**last)
    return tuple(reversed(history))


@pytest.mark.parametrize('history, next_in, free_in', [
    # The first poll is due at once, the next ones one interval after each reply.
    ([], 0, 0),
    ([(0, 'ok')], 30, 0),
    ([(10, 'ok')], 20, 0),
    ([(30, 'ok')], 0, 0),
    ([(999, 'ok')], 0, 0),
    # Five in any 300 s.
    ([(40, 'ok'), (30, 'ok'), (20, 'ok'), (10, 'ok')], 20, 0),
    ([(120, 'ok'), (90, 'ok'), (60, 'ok'), (30, 'ok'), (0, 'ok')], 180, 180),
    ([(280, 'ok'), (90, 'ok'), (60, 'ok'), (30, 'ok'), (0, 'ok')], 30, 20),
    ([(299, 'ok'), (4, 'ok'), (3, 'ok'), (2, 'ok'), (1, 'ok')], 29, 1),
    ([(300, 'ok'), (4, 'ok'), (3, 'ok'), (2, 'ok'), (1, 'ok')], 29, 0),
    ([(310, 'ok'), (50, 'ok'), (40, 'ok'), (30, 'ok'), (20, 'ok'), (10, 'ok')], 250, 250),
    ([(8, 'ok'), (6, 'network'), (4, 'ok'), (2, 'timeout'), (0, 'ok')], 292, 292),
    # Failures: 30 s, doubling to 300; a key may ask at any time.
    ([(0, 'network')], 30, 0),
    ([(90, 'ok'), (0, 'timeout')], 30, 0),
    ([(30, 'network'), (0, 'server_error')], 60, 0),
    ([(90, 'network'), (60, 'network'), (0, 'bad_reply')], 120, 0),
    ([(999, 'tls'), (210, 'tls'), (120, 'tls'), (0, 'tls')], 240, 0),
    ([(999, 'tls')] * 4 + [(0, 'tls')], 300, 0),
    ([(9999, 'tls')] * 90 + [(0, 'tls')], 300, 0),
    ([(999, 'tls')] * 4 + [(5, 'ok')], 25, 0),
    ([(999, 'tls'), (998, 'ok'), (0, 'tls')], 30, 0),
    ([(0, 'unauthorized')], 30, 0),
    ([(0, 'forbidden')], 30, 0),
    # A token without the scope is never tried again.
    ([(0, 'forbidden_scope')], NEVER, NEVER),
    ([(9 * DAY, 'forbidden_scope')], NEVER, NEVER),
])
def test_next_poll(history, next_in, free_in):
    assert plan(attempts(*history)) == (next_in, free_in)


@pytest.mark.parametrize('told, wait', [(None, 60), (0, 60), (6, 60), (300, 300), (720, 720),
                                        (1600, 1600), (3600, 3600), (99999, 3600)])
def test_block_after_a_429(told, wait):
    assert plan(attempts((0, 'rate_limited', told))) == (wait, wait)
    assert plan(attempts((90, 'ok'), (10, 'rate_limited', told))) == (wait - 10, wait - 10)


@pytest.mark.parametrize('times, wait', [
    (1, 60), (2, 120), (3, 240), (4, 480), (5, 960), (6, 1920), (7, 3600), (8, 3600), (50, 3600)])
def test_block_doubles_with_each_further_429(times, wait):
    blocks = [(9999, 'rate_limited', 0)] * (times - 1)
    assert plan(attempts((99999, 'ok'), *blocks, (0, 'rate_limited', 0))) == (wait, wait)
    assert plan(attempts(*blocks, (0, 'rate_limited', 1600))).free_at == max(wait, 1600)


def test_a_reply_ends_the_doubling():
    assert plan(attempts((9999, 'rate_limited'), (999, 'ok'), (0, 'rate_limited'))) == (60, 60)


def test_other_failures_do_not_end_the_doubling():
    history = attempts((9999, 'rate_limited'), (999, 'network'), (0, 'rate_limited'))
    assert plan(history).free_at == 120


def test_a_block_is_of_the_token_for_all_its_sources():
    blocked = attempts((0, 'rate_limited', 720.0))
    assert plan(blocked, source='profile') == (720, 720)
    assert plan(blocked, token='new') == (0, 0)
    assert plan(blocked, token='new', source='profile') == (0, 0)


@pytest.mark.parametrize('code', ['rate_limited', 'forbidden_scope', 'unauthorized', 'network'])
def test_a_new_token_lifts_what_held_the_old_one(code):
    assert plan(attempts((1, code)), token='new') == (0, 0)
    assert plan(attempts((1, code)) + attempts((0, 'ok'), token='new'), token='new') == (30, 0)


def test_a_new_token_does_not_hurry_what_is_known():
    assert plan(attempts((10, 'ok')), token='new') == (20, 0)


def test_the_budget_is_of_the_account_whatever_the_token():
    old = attempts(*[(10, 'network')] * 4) + attempts((0, 'ok'), token='new')
    assert plan(old, token='new') == (290, 290)


def test_sources_do_not_hold_each_other_up():
    profile = attempts(*[(0, 'ok')] * 9, source='profile')
    assert plan(profile) == (0, 0)
    assert plan(profile + attempts((0, 'network')), Pace(DAY, DAY), source='profile') == (DAY, 300)


@pytest.mark.parametrize('history, next_in, free_in', [
    # What was noted by a clock that is ahead a little counts.
    ([(-1, 'ok')], 31, 0), ([(-60, 'ok')], 90, 0), ([(-60, 'network')], 90, 0),
    ([(-60, 'rate_limited')], 120, 120), ([(-60, 'rate_limited', 600)], 660, 660),
    ([(-60, 'ok')] * 5, 360, 360), ([(-60, 'forbidden_scope')], NEVER, NEVER),
    # What is further ahead is of before the clock was set back, and holds nothing up.
    ([(-61, 'ok')], 0, 0), ([(-HOUR, 'ok')], 0, 0), ([(-HOUR, 'network')], 0, 0),
    ([(-HOUR, 'rate_limited', 600)], 0, 0), ([(-HOUR, 'ok')] * 5, 0, 0),
    ([(10, 'ok'), (-HOUR, 'ok')], 20, 0), ([(10, 'ok'), (-HOUR, 'rate_limited')], 20, 0),
])
def test_a_clock_set_back(history, next_in, free_in):
    assert plan(attempts(*history)) == (next_in, free_in)


# --- The pace ---

USAGE = PACES['usage']._replace(jitter=0.0)


@pytest.mark.parametrize('moves, wait', [
    # 30 s while it moves.
    ('M', 30), ('MM', 30), ('MMMMMMMM', 30),
    # Half as long again with each reply like the one before, up to 300 s.
    ('Ms', 45), ('Mss', 67.5), ('Msss', 101.25), ('Mssss', 151.875), ('Msssss', 227.8125),
    ('Mssssss', 300), ('M' + 's' * 49, 300), ('s' * 50, 300), ('ss', 67.5),
    # Back to 30 s on the first change.
    ('MsM', 30), ('MssssssssM', 30), ('MsssMs', 45),
    # A failure says nothing of the numbers: it is tried again soon, and the pace goes on.
    ('Mssssssx', 30), ('Mssssssxx', 60), ('Mssxs', 101.25), ('MsxM', 30), ('MsxxxxxxxxxxxxMs', 45),
])
def test_the_pace_follows_the_numbers(moves, wait):
    assert plan(replies(moves)) == (wait, 0)
    assert plan(replies(moves, age=20)) == (wait - 20, 0)


@pytest.mark.parametrize('interval', [10, 30, 45, 300, 3600, DAY])
def test_an_interval_is_base_and_upper_end(interval):
    for moves in ('M', 'Ms', 'M' + 's' * 20):
        assert plan(replies(moves), Pace(interval, interval)) == (interval, 0)


def test_the_paces():
    assert PACES['usage'] == Pace(30, 300, jitter=0.1, wary=180)
    assert PACES['profile'] == Pace(DAY, DAY) and PACES['console'] == Pace(120, 120)


@pytest.mark.parametrize('moves, seconds', [('M', 30), ('Ms', 45), ('M' + 's' * 9, 300)])
def test_jitter(moves, seconds):
    """Anything within a tenth, of which no part is left out or preferred."""
    dice, tenths = random.Random(1), [0] * 10
    for _ in range(5000):
        history = replies(moves, at=NOW + dice.random() * 9 * DAY)
        last = history[-1].at
        wait = next_poll(history, 'usage', 't', PACES['usage'], last).next_at - last
        share = (wait / seconds - 1 + JITTER) / (2 * JITTER)
        assert -1e-6 <= share <= 1 + 1e-6
        tenths[min(9, max(0, int(share * 10)))] += 1
    assert min(tenths) > 400 and max(tenths) < 600


def test_jitter_is_the_same_for_all_monitors():
    history = (Attempt('usage', 't', NOW + 0.123456, 'ok'),)
    code = ('from claude_usage import *; '
            'print(next_poll((%r,), "usage", "t", PACES["usage"], %r).next_at)')
    told = [float(subprocess.check_output(
        [sys.executable, '-c', code % (history[0], NOW + later)], cwd=str(PROGRAM.parent),
        env=dict(os.environ, PYTHONHASHSEED=seed))) for later, seed in ((1, '1'), (20, '2'))]
    assert told == [next_poll(history, 'usage', 't', PACES['usage'], NOW).next_at] * 2


def test_only_the_pace_has_jitter():
    for history in ([(7, 'network')], [(7, 'rate_limited', 200)], [(7, 'rate_limited', 0)],
                    [(7, 'ok')] * 5):
        assert plan(attempts(*history), PACES['usage']) == plan(attempts(*history), USAGE)


@pytest.mark.parametrize('moves, reset_in, wait', [
    ('M', None, 30), ('M', 10, 15), ('M', 24, 29), ('M', 25, 30), ('M', 26, 30), ('M', 0, 5),
    ('M', -5, 0),
    ('Mssssssss', 100, 105), ('Mssssssss', 295, 300), ('Mssssssss', 1000, 300),
    ('Mssssssssx', 10, 30),                 # after a failure there is no hurry
])
def test_a_reset_is_looked_at_after_5_seconds(moves, reset_in, wait):
    reset_at = None if reset_in is None else NOW + reset_in
    assert plan(replies(moves, reset_at=reset_at)) == (wait, 0)


def test_what_a_reset_does_not_hurry():
    """The budget, a block, and wariness; an --interval it does."""
    spent = replies('M', reset_at=NOW + 10)
    reset = spent[0]._replace(at=NOW)
    assert plan(attempts(*[(100, 'ok')] * 4) + spent) == (200, 200)
    assert plan(attempts((100, 'rate_limited')) + spent, USAGE) == (180, 180)
    assert plan((reset, reset._replace(source='profile', code='rate_limited'))) == (60, 60)
    assert plan(spent, Pace(HOUR, HOUR)) == (15, 0)


def test_only_the_last_reply_tells_of_resets():
    assert plan(replies('M', age=1000, reset_at=NOW + 3) + replies('s')) == (45, 0)


@pytest.mark.parametrize('told, wait', [
    (None, 180), (0, 180), (60, 180), (179, 180), (180, 180), (181, 181), (720, 720),
    (99999, 3600)])
def test_after_a_429_the_longer_of_its_block_and_180_seconds(told, wait):
    """Whoever asks."""
    assert plan(attempts((0, 'rate_limited', told)), USAGE) == (wait, wait)
    assert plan(attempts((999, 'rate_limited', 0), (0, 'rate_limited', told)), USAGE) == (
        wait, wait)


@pytest.mark.parametrize('history, wait', [
    ([(200, 'rate_limited'), (0, 'ok')], 180),
    ([(200, 'rate_limited'), (10, 'ok')], 170),
    ([(200, 'rate_limited'), (0, 'network')], 180),
    ([(1000, 'rate_limited'), (400, 'ok'), (200, 'ok'), (20, 'ok')], 160),
    ([(30 * MINUTE, 'rate_limited'), (0, 'ok')], 180),
    ([(30 * MINUTE + 10, 'rate_limited'), (10, 'ok')], 170),    # that was within half an hour
    ([(30 * MINUTE + 1, 'rate_limited'), (0, 'ok')], 30),
    ([(30 * MINUTE + 1, 'rate_limited'), (1, 'ok'), (0, 'network')], 30),
    ([(DAY, 'rate_limited'), (0, 'ok')], 30),
    ([(DAY, 'rate_limited'), (1000, 'rate_limited'), (0, 'ok')], 180),
    # A longer block is over when it is over.
    ([(3700, 'rate_limited', 3600), (0, 'ok')], 180),
    ([(1500 + sum(range(7)), 'rate_limited')] + [(1500 - i, 'rate_limited') for i in range(6)]
     + [(0, 'ok')], 180),
    ([(3600 + 30 * MINUTE, 'rate_limited', 3600), (0, 'ok')], 30),
])
def test_not_under_180_seconds_for_half_an_hour(history, wait):
    """Whoever asks, but a new token lifts it."""
    history = attempts(*history)
    assert plan(history, USAGE) == (wait, wait if wait > 30 else 0)
    assert plan(history, USAGE, token='new').next_at <= 30
    assert plan(history, USAGE._replace(base=600, most=600)).next_at == max(
        wait, 600 + history[-1].at - NOW if history[-1].code == 'ok' else 0)


def test_a_429_of_one_source_makes_usage_wary_too():
    profile = attempts((100, 'rate_limited'), source='profile')
    wary = Pace(30, 300, wary=180)
    assert plan(profile + attempts((99, 'ok')), wary) == (81, 81)
    assert plan(profile, wary) == (80, 80)
    console = attempts((200, 'rate_limited'), (0, 'ok'), source='console')
    assert plan(console, PACES['console'], source='console') == (120, 0)


@pytest.mark.parametrize('moves, age, fed, wait', [
    ('M', 0, None, 30),
    # While the status line feeds, once in 300 s.
    ('M', 0, 0, 30), ('M', 100, 0, 30), ('M', 100, 29, 1), ('M', 280, 0, 20), ('M', 300, 0, 0),
    ('M', 999, 0, 0), ('Ms', 100, 30, 15), ('Mssssssss', 100, 0, 200), ('Mssssssss', 0, 0, 300),
    # Once it has stopped, by the pace.
    ('M', 100, 30, 0), ('M', 100, 31, 0), ('M', 10, 10, 20), ('M', 10, 999, 20),
    ('Mssssssss', 100, 99, 200), ('Ms', 20, 999, 25),
    # What it tells is no reply: a failure is tried again as ever.
    ('Mx', 0, 0, 30), ('Mx', 100, 0, 0),
    # A clock set back does not keep it silent.
    ('M', 0, -DAY, 300), ('M', 300, -DAY, 0),
])
def test_while_the_status_line_feeds(moves, age, fed, wait):
    assert plan(replies(moves, age), fed=fed) == (wait, 0)


@pytest.mark.parametrize('interval, age, fed, wait', [
    (30, 100, 0, 30), (120, 150, 0, 120), (120, 150, 119, 1), (120, 150, 121, 0),
    (600, 0, 0, 600), (600, 400, 0, 200)])
def test_while_it_feeds_younger_than_the_interval(interval, age, fed, wait):
    assert plan(replies('M', age), Pace(interval, interval), fed=fed) == (wait, 0)


def test_feeding_lifts_no_other_rule():
    assert plan(replies('M', 200, reset_at=NOW + 10), fed=0) == (15, 0)
    assert plan(attempts((0, 'rate_limited', 720)), fed=0) == (720, 720)
    assert plan(attempts(*[(0, 'ok')] * 5), fed=0) == (300, 300)
    assert plan((), fed=0) == (0, 0), 'it does not carry all'


def by_itself(history, pace, seconds, feeding=(), reply=lambda at: {}):
    """The times of the requests in so many seconds, and the history after them.

    `feeding` are the seconds in which the status line feeds, each of them.
    """
    now, fed_at = NOW, None
    for second in range(seconds):
        now, fed_at = NOW + second, NOW + second if second in feeding else fed_at
        if now >= next_poll(history, 'usage', 't', pace, now, fed_at).next_at:
            history += (Attempt('usage', 't', now, 'ok')._replace(**reply(second)),)
    return [attempt.at - NOW for attempt in history]


def test_an_hour_of_feeding():
    told = by_itself((), Pace(30, 300), 2 * HOUR, feeding=range(100, 100 + HOUR))
    fed = [at for at in told if 100 <= at < HOUR + 100]
    after = [at for at in told if HOUR + 100 <= at]
    assert [later - at for at, later in zip(fed, fed[1:])] == [300] * (len(fed) - 1)
    assert len(fed) == 12 and after[:2] == [3729, 3759]


def test_a_day_costs_as_little_as_it_may():
    """Numbers that move for an hour, with a window that resets in another."""
    told = by_itself((), Pace(30, 300), 10 * HOUR, reply=lambda second: {
        'moved': second < HOUR, 'reset_at': NOW + 5 * HOUR if second < 5 * HOUR else None})
    assert 5 * HOUR + 5 in told and len([at for at in told if at >= 2 * HOUR]) <= 8 * 12 + 2


@pytest.mark.parametrize('interval', [10, 30, 60, 300, DAY])
def test_polling_by_itself_keeps_the_interval_and_the_budget(interval):
    history, now = (), NOW
    for _ in range(40):
        now = max(now, next_poll(history, 'usage', 't', Pace(interval, interval), now).next_at)
        history += (Attempt('usage', 't', now, 'ok'),)
    gaps = [later.at - earlier.at for earlier, later in zip(history, history[1:])]
    spans = [later.at - earlier.at for earlier, later in zip(history, history[BUDGET:])]
    assert min(gaps) >= interval and min(spans) >= BUDGET_SECONDS
    assert now - NOW <= 39 * max(interval, BUDGET_SECONDS / BUDGET)      # and wastes neither


@pytest.mark.parametrize('pace', [PACES['usage'], Pace(10, 10, 0.1, 180.0), Pace(30, 300)])
@pytest.mark.parametrize('asks', [0.0, 0.2, 1.0])
def test_whatever_happens_the_budget_and_the_blocks_hold(pace, asks):
    """Whatever the replies, resets, feeds and tokens, with a key pressed whenever it may ask."""
    dice, codes = random.Random(1), ['ok'] * 4 + ['network', 'rate_limited', 'forbidden_scope']
    history, now, token, next_at, free_at = (), NOW, 't', 0.0, 0.0
    for turn in range(1500):
        due = free_at if dice.random() < asks else next_at
        if due == NEVER or dice.random() < 0.02:
            token = 't%d' % turn
            due = next_poll(history, 'usage', token, pace, now).free_at
        now = max(now + dice.random(), due)
        code = dice.choice(codes)
        last = Attempt('usage', token, now, code, dice.choice([None, 0.0, 6.0, 720.0, 99999.0]),
                       moved=dice.random() < 0.5, reset_at=dice.choice([None, now + 3, now + 99]))
        history = joined(history, (last,))
        next_at, free_at = next_poll(history, 'usage', token, pace, now, dice.choice(
            [None, now, now - 50, now + 50]))
        assert next_at >= free_at
        if code == 'rate_limited':
            assert free_at - now >= max(60, min(last.retry_after or 0, 3600))
        if any(attempt.code == 'rate_limited' and now - attempt.at <= 30 * MINUTE
               and attempt.token == token for attempt in history):
            assert next_at - now >= pace.wary
        if len(history) >= BUDGET:
            assert free_at >= history[-BUDGET].at + BUDGET_SECONDS


# --- What all monitors know ---

def some(*ages, source='usage', token='t'):
    return attempts(*((age, 'ok') for age in ages), source=source, token=token)


@pytest.mark.parametrize('histories, told', [
    ([], ()), ([()], ()), ([(), ()], ()),
    ([some(3, 1), some(2)], some(3, 2, 1)),
    ([some(1), some(3)], some(3, 1)),
    ([some(3, 2), some(3, 2, 1)], some(3, 2, 1)),                           # each once
    ([some(2), some(2, token='new')], some(2) + some(2, token='new')),
    ([some(2), some(2, source='profile')], some(2) + some(2, source='profile')),
    ([some(*range(70, 0, -1))], some(*range(50, 0, -1))),                   # the last of each
    ([some(*range(70, 0, -1)), some(99, source='profile')],
     some(99, source='profile') + some(*range(50, 0, -1))),
    ([some(*range(40, 0, -1)), some(*range(70, 20, -1))], some(*range(50, 0, -1))),
])
def test_joined(histories, told):
    assert joined(*histories) == told


def test_joined_in_any_order_is_the_same():
    dice = random.Random(1)
    for _ in range(50):
        parts = [some(*(dice.randrange(200) for _ in range(60))) for _ in range(3)]
        whole = joined(*parts)
        assert len(whole) <= ATTEMPTS_MOST and list(whole) == sorted(whole, key=lambda a: a.at)
        dice.shuffle(parts)
        assert joined(joined(parts[0], parts[1]), parts[2]) == joined(*parts) == whole
        assert joined(whole, whole) == whole


def later(limit, seconds):
    return limit._replace(resets_at=limit.resets_at and limit.resets_at + seconds)


IDLE = FIVE_HOUR._replace(used=0.0, resets_at=None)
OLD = Usage((FIVE_HOUR, SEVEN_DAY), EXTRA)


@pytest.mark.parametrize('old, new, moved', [
    (OLD, OLD, False),
    (OLD, OLD._replace(via='Claude Code'), False),
    (OLD, Usage((later(FIVE_HOUR, 0.7), later(SEVEN_DAY, -59)), EXTRA), False),     # they jitter
    (OLD, Usage((later(FIVE_HOUR, 60), SEVEN_DAY), EXTRA), False),
    (OLD, Usage((later(FIVE_HOUR, 61), SEVEN_DAY), EXTRA), True),
    (OLD, Usage((FIVE_HOUR, later(SEVEN_DAY, -7 * DAY)), EXTRA), True),
    (OLD, Usage((FIVE_HOUR._replace(used=78.1), SEVEN_DAY), EXTRA), True),
    (OLD, Usage((IDLE, SEVEN_DAY), EXTRA), True),
    (OLD, Usage((FIVE_HOUR._replace(resets_at=None), SEVEN_DAY), EXTRA), True),
    (Usage((IDLE,), None), Usage((IDLE,), None), False),
    (OLD, Usage((FIVE_HOUR,), EXTRA), True),
    (Usage((FIVE_HOUR,), EXTRA), OLD, True),
    (OLD, Usage(MANY, EXTRA), True),
    (OLD, OLD._replace(spend=EXTRA._replace(used=764)), True),
    (OLD, OLD._replace(spend=None), True),
    (Usage((), None), Usage((), None), False),
    (None, OLD, True), (OLD, None, True), (None, None, True),
    (Account('u'), Account('u'), True),
])
def test_has_moved(old, new, moved):
    assert has_moved(old, new) is moved


@pytest.mark.parametrize('lefts, first', [
    ([], None), ([None], None), ([None, None], None), ([60], 60), ([9 * DAY, 60], 60),
    ([None, 60], 60), ([-1], None), ([-1, 60, None], 60), ([0, 60], 60), ([0.5], 0.5)])
def test_next_reset(lefts, first):
    usage = Usage(tuple(limit('x', 1.0, left) for left in lefts), EXTRA)
    assert next_reset(usage, NOW) == (first and NOW + first)


@pytest.mark.parametrize('value', [None, Account('u')])
def test_no_next_reset(value):
    assert next_reset(value, NOW) is None


@pytest.mark.parametrize('known, told, is_news', [
    (None, FIVE_HOUR, True),
    (FIVE_HOUR, FIVE_HOUR._replace(used=79.0), True),
    (FIVE_HOUR, FIVE_HOUR._replace(used=77.0), False),      # use only rises ...
    (FIVE_HOUR, later(FIVE_HOUR._replace(used=77.0), 60), False),
    (FIVE_HOUR, later(FIVE_HOUR._replace(used=77.0), -60), False),
    (FIVE_HOUR, later(FIVE_HOUR._replace(used=1.0), 61), True),         # ... until its reset
    (FIVE_HOUR, later(FIVE_HOUR._replace(used=99.0), -61), False),
    (FIVE_HOUR, later(FIVE_HOUR._replace(used=99.0), -5 * HOUR), False),
    (IDLE, FIVE_HOUR, True), (FIVE_HOUR, IDLE, True), (IDLE, IDLE, True),
])
def test_further(known, told, is_news):
    assert further(known, told) == (told if is_news else known)


FED_FIVE = FIVE_HOUR._replace(used=80.0)
FED_SEVEN = SEVEN_DAY._replace(used=33.0)       # of a session that has been idle
FEED = Usage((FED_FIVE, FED_SEVEN), None)


@pytest.mark.parametrize('usage, feed, limits, spend', [
    (None, FEED, (FED_FIVE, FED_SEVEN), None),
    (OLD, FEED, (FED_FIVE, SEVEN_DAY), EXTRA),
    # What it does not carry stays.
    (Usage(MANY, EXTRA), FEED, (FED_FIVE,) + MANY[1:], EXTRA),
    (Usage((), EXTRA), FEED, (FED_FIVE, FED_SEVEN), EXTRA),
    (Usage((SEVEN_DAY,), None), Usage((FED_FIVE,), None), (FED_FIVE, SEVEN_DAY), None),
    (OLD, Usage((), None), (FIVE_HOUR, SEVEN_DAY), EXTRA),
])
def test_fed_usage(usage, feed, limits, spend):
    assert fed_usage(usage, 5.0, feed) == Usage(limits, spend, 'Claude Code',
                                                5.0 if usage else None)


@pytest.mark.parametrize('at, fed_at, is_fed', [
    (10.0, 11.0, True), (10.0, 9.0, False), (10.0, 10.0, False), (None, 9.0, True),
    (10.0, None, False)])
def test_the_latest_usage_of_both(at, fed_at, is_fed):
    known = {'usage': at and (at, OLD), 'statusline': fed_at and (fed_at, FEED)}
    told = latest_usage({source: value for source, value in known.items() if value})
    assert told == (fed_usage(at and OLD, at, FEED) if is_fed else OLD)


def test_no_latest_usage():
    """A reply of the profile is none, nor a feed that was not understood."""
    assert latest_usage({}) is None
    assert latest_usage({'profile': (1.0, Account('u'))}) is None
    assert latest_usage({'usage': (1.0, OLD), 'statusline': (2.0, None)}) == OLD


# --- Retry-After ---

@pytest.mark.parametrize('told, seconds', [
    ('0', 0.0), ('6', 6.0), ('300', 300.0), (' 720 ', 720.0), ('1600', 1600.0), ('3600', 3600.0),
    ('99999', 99999.0), ('9999999999', 9999999999.0), ('007', 7.0),
    ('Sun, 22 Nov 2026 19:31:18 GMT', 720.0), ('Sunday, 22-Nov-26 19:20:18 GMT', 60.0),
    ('Sun, 22 Nov 2026 20:20:18 +0100', 60.0), ('Sun, 22 Nov 2026 19:00:00 GMT', 0.0),
    ('', None), ('soon', None), ('-5', None), ('6.5', None), ('1e3', None), ('6s', None),
    ('6, 7', None), ('\x00', None), (',', None), ('Nov', None), ('22 Nov', None),
    ('Sun, 99 Nov 2026 99:99:99 GMT', None), ('Sun, 22 Nov 99999 19:20:18 GMT', None),
    ('Sun, 22 Nov 2026 19:20:18 +99999999999999999999', None),
])
def test_retry_after(zone, told, seconds):
    assert retry_after({'Retry-After': told}, NOW) == seconds


def test_no_retry_after():
    assert retry_after({}, NOW) is None


def test_rubbish_as_retry_after_is_a_wait_or_nothing():
    dice = random.Random(1)
    pieces = ['Sun,', '22', 'Nov', '2026', '19:20:18', 'GMT', ' ', ' ', ',', '-', ':', '9' * 30,
              '\x00', '\xeb', '(', '"', '+0100', '.5']
    for _ in range(3000):
        told = ''.join(dice.choice(pieces) for _ in range(dice.randrange(9)))
        wait = retry_after({'Retry-After': told}, NOW)
        assert wait is None or wait >= 0
