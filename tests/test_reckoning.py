"""The arithmetic: percents, countdowns, clocks, money, sentences, and when to ask again."""
import random

import pytest

from claude_usage import (BUDGET, BUDGET_SECONDS, DAY, ERRORS, HOUR, MINUTE, TIME_MOST, Attempt,
                          Failure, Known, Plan, clock_text, countdown, countdown_short, level,
                          message, money, next_poll, percent_shown, retry_after, status)
from samples import NOW

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


def plan(history, interval=30, token='t', source='usage'):
    """The Plan, in seconds from NOW; a time long past is 0."""
    told = next_poll(history, source, token, interval, NOW)
    return Plan(*(max(0, at - NOW) for at in told))


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
    assert plan(profile + attempts((0, 'network')), source='profile', interval=DAY).next_at == DAY


@pytest.mark.parametrize('code', ['ok', 'network', 'rate_limited'])
def test_a_clock_set_back_holds_nothing_up(code):
    assert plan(attempts((-HOUR, code))) == (0, 0)
    assert plan(attempts((10, 'ok'), (-HOUR, code))) == (20, 0)


@pytest.mark.parametrize('interval', [10, 30, 60, 300, DAY])
def test_polling_by_itself_keeps_the_interval_and_the_budget(interval):
    history, now = (), NOW
    for _ in range(40):
        now = max(now, next_poll(history, 'usage', 't', interval, now).next_at)
        history += (Attempt('usage', 't', now, 'ok'),)
    gaps = [later.at - earlier.at for earlier, later in zip(history, history[1:])]
    spans = [later.at - earlier.at for earlier, later in zip(history, history[BUDGET:])]
    assert min(gaps) >= interval and min(spans) >= BUDGET_SECONDS
    assert now - NOW <= 39 * max(interval, BUDGET_SECONDS / BUDGET)      # and wastes neither


def test_pressing_a_key_all_the_time_keeps_the_budget_and_the_blocks():
    """Whatever the replies, with a key pressed whenever it may ask."""
    dice = random.Random(1)
    history, now, free_at = (), NOW, 0.0
    for _ in range(500):
        now = max(now + dice.random(), free_at)
        code = dice.choice(['ok', 'ok', 'network', 'rate_limited'])
        last = Attempt('usage', 't', now, code, dice.choice([None, 0.0, 6.0, 720.0, 99999.0]))
        history += (last,)
        next_at, free_at = next_poll(history, 'usage', 't', 30, now)
        assert next_at >= free_at
        if code == 'rate_limited':
            assert free_at - now >= max(60, min(last.retry_after or 0, 3600))
        if len(history) >= BUDGET:
            assert free_at >= history[-BUDGET].at + BUDGET_SECONDS


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
