"""Numbers as people read them, and until when the words stay true."""
import random

import pytest

from claude_usage import (DAY, ERRORS, HOUR, MINUTE, TIME_MOST, Amount, Failure, Known, Moment,
                          amount_words, clock_text, countdown, countdown_short, level, message,
                          money, percent_shown, reset_words, short_left, status)
from samples import NOW, limit

pytestmark = pytest.mark.usefixtures('zone')


@pytest.mark.parametrize('used, percent, name', [
    (-5, 0, 'green'), (0, 0, 'green'), (0.4, 0, 'green'), (0.5, 1, 'green'), (50.4, 50, 'green'),
    (50.5, 51, 'yellow'), (80.4, 80, 'yellow'), (80.5, 81, 'orange'), (99.5, 99, 'orange'),
    (99.999, 99, 'orange'), (100, 100, 'red'), (104.6, 105, 'red'), (1e14, 10 ** 14, 'red')])
def test_percent_and_its_level(used, percent, name):
    assert percent_shown(used) == percent and level(used) == name


@pytest.mark.parametrize('seconds, whole, short', [
    (-5, '0s', '0s'), (0.9, '0s', '0s'), (1, '1s', '1s'), (59.9, '59s', '59s'), (60, '1m', '1m'),
    (119, '1m', '1m'), (59 * MINUTE + 59, '59m', '59m'), (HOUR, '1h 0m', '1h0m'),
    (3 * HOUR + 45 * MINUTE, '3h 45m', '3h45m'), (DAY - 1, '23h 59m', '23h59m'),
    (DAY + 59, '1d 0h 0m', '1d'), (4 * DAY + HOUR + 12 * MINUTE, '4d 1h 12m', '4d'),
    (100 * DAY, '100d 0h 0m', '100d')])
def test_countdown(seconds, whole, short):
    assert countdown(seconds) == whole and countdown_short(seconds) == short


@pytest.mark.parametrize('distance, told', [
    (0, '20:19'), (-HOUR, '19:19'), (3 * HOUR + 45 * MINUTE, '00:04'), (DAY - 1, '20:19'),
    (DAY, 'Mon 20:19'), (4 * DAY + HOUR + 12 * MINUTE, 'Thu 21:31'), (7 * DAY - 1, 'Sun 20:19'),
    (7 * DAY, 'Nov 29 20:19'), (-DAY, 'Sat 20:19'), (-7 * DAY, 'Nov 15 20:19'),
    (130 * DAY, 'Apr 1 21:19'),             # summer time by then
    (-220 * DAY, 'Apr 16 21:19'), (-NOW, 'Jan 1 01:00'), (TIME_MOST - NOW, 'Jan 1 00:59')])
def test_clock_text(distance, told):
    assert clock_text(NOW + distance, NOW) == told


def test_money():
    for amount, digits, told in (
            (763, 2, '7.63'), (0, 2, '0.00'), (5, 2, '0.05'), (763, 0, '763'), (763.4, 2, '7.63'),
            (123456, 2, '1,234.56'), (1234567, 0, '1,234,567'), (1234, 3, '1.234'),
            (-50, 2, '-0.50')):
        assert money(amount, digits) == told
        assert amount_words(Amount(amount, None, digits, 'EUR')) == 'EUR ' + told
    assert amount_words(Amount(763, 2000, 2, 'EUR')) == 'EUR 7.63 of 20.00'


@pytest.mark.parametrize('left, kind, words, short', [
    (None, 'rate', ['Window not started', 'not started'], 'idle'),
    (-1, 'rate', ['Reset due'], 'due'), (0, 'credit', ['Expired'], 'due'),
    (12 * MINUTE, 'rate', ['Resets in: 12m (20:31)', '12m (20:31)', '12m'], '12m'),
    (3 * DAY, 'credit', ['Expires in: 3d 0h 0m (Wed 20:19)', '3d 0h 0m (Wed 20:19)', '3d 0h 0m'],
     '3d')])
def test_what_a_reset_is_called(left, kind, words, short):
    told = limit('x', 5.0, left, 'X', kind=kind)
    assert list(reset_words(told, Moment(NOW))) == words
    assert short_left(told, Moment(NOW)) == short


@pytest.mark.parametrize('key, window', [('five_hour', 5 * HOUR), ('seven_day', 7 * DAY)])
def test_a_reset_beyond_its_window_is_unknown(key, window):
    """The clock of this machine was set back."""
    for left in (window + 61, 40 * DAY, 1000 * DAY):
        told = limit(key, 5.0, left)
        assert list(reset_words(told, Moment(NOW))) == [
            'Reset unknown: this clock is behind', 'Reset unknown', 'unknown']
        assert short_left(told, Moment(NOW)) == '?'
        until = Moment(NOW)
        reset_words(told, until)
        assert until.until <= NOW + MINUTE + 1
    for told in (limit(key, 5.0, window + 60), limit('credit', 5.0, 40 * DAY, 'X', window=None)):
        assert 'unknown' not in reset_words(told, Moment(NOW))
        assert short_left(told, Moment(NOW)) != '?'


@pytest.mark.parametrize('failure, next_at, told', [
    (Failure('token_expired'), None, 'Token expired. Run `claude` to refresh.'),
    (Failure('token_expired'), NOW + 60, 'Token expired. Run `claude` to refresh.'),
    (Failure('rate_limited', '', 6.0), NOW + 12 * MINUTE, 'Rate limited. Next try 20:31.'),
    (Failure('rate_limited'), None, 'Rate limited.'),
    (Failure('server_error', '529, Overloaded'), NOW,
     'Server error 529, Overloaded. Next try 20:19.'),
    (Failure('network', '{} {0} %s'), None, 'No connection: {} {0} %s.'),
    (Failure('no_credentials'), None, 'No Claude Code login found. Run `claude` to log in, '
                                      'or set ANTHROPIC_ADMIN_API_KEY for the Console.')])
def test_message(failure, next_at, told):
    assert message(failure, next_at, Moment(NOW), 'code') == told


@pytest.mark.parametrize('mode, code', [(mode, code) for mode in ERRORS
                                        for code in dict(ERRORS[''], **ERRORS[mode])])
def test_every_message_says_what_happens_next(mode, code):
    sentence, step = ERRORS[mode].get(code) or ERRORS[''][code]
    told = message(Failure(code, 'DETAIL'), NOW + 60, Moment(NOW), mode)
    assert told.endswith(step or 'Next try 20:20.') and told.count('. ') >= 1 and '..' not in told
    assert ('DETAIL' in told) == ('{}' in sentence)


def test_status():
    value, failure = Known('value', NOW - 59, None, '', NOW - 29), Failure('network')
    for known, name in (
            (Known(), 'waiting'), (Known(failure=failure), 'error'),
            (value._replace(failure=failure), 'error'),
            (value, 'ok'),                                  # not twice its interval yet
            (value._replace(at=NOW - 61, next_at=NOW - 31), 'stale'),
            (value._replace(next_at=None), 'ok'),           # is never asked again by itself
            (value._replace(at=NOW + 60, next_at=NOW + 90), 'ok')):     # the clock was set back
        assert status(known, Moment(NOW)) == name


# --- Until when ---

# What is asked of a Moment about a time, and the words that are made of it.
QUESTIONS = {
    'left': lambda moment, at: countdown(moment.left(at)) + str(moment.left(at) <= 0),
    'age': lambda moment, at: countdown(moment.age(at)),
    'past': lambda moment, at: moment.is_past(at),
    'within': lambda moment, at: moment.is_within(at, 90),
    'clock': lambda moment, at: moment.clock(at),
}


@pytest.mark.parametrize('name', QUESTIONS)
def test_what_was_asked_holds_until_the_moment_says(name):
    dice = random.Random(name)
    edges = [sign * (edge + more) for edge in (0, 1, MINUTE, 90, HOUR, DAY, 7 * DAY)
             for sign in (1, -1) for more in (0, 0.25, 0.5, 30, 59.75)]
    anywhere = [dice.uniform(-9, 9) * dice.choice([MINUTE, HOUR, DAY]) for _ in range(40)]
    for distance in edges + anywhere:
        at, moment = NOW + distance, Moment(NOW)
        told = QUESTIONS[name](moment, at)
        assert NOW < moment.until <= NOW + DAY
        for part in (0.01, 0.5, 0.99):
            later = min(NOW + part * (moment.until - NOW), moment.until - 0.002)
            assert QUESTIONS[name](Moment(max(NOW, later)), at) == told, (distance, later - NOW)


def test_a_moment_ends_with_the_first_change():
    moment = Moment(NOW)
    for at, until in ((NOW + 2 * DAY, DAY), (NOW + 50, 50), (NOW + 70, 50), (NOW + 20, 20),
                      (NOW, 20), (NOW - 5, 20)):
        moment.is_past(at)
        assert moment.until == NOW + until
