"""Pace Maker's arithmetic: the cases of its own engines, what they leave out, its state."""
import calendar
import json
import math
import random
import time
from pathlib import Path

import pytest

from claude_usage import (PACE_DEFAULTS, Failure, PacingDecision, Snapshot, Usage,
                          pacing_decision)
from pacemaker import DAY, HOUR, NOW
from pacesamples import LEFT, OFF, TORN, beside, decided, maker, told, windows

WEDNESDAY = NOW // DAY * DAY
MONDAY, SATURDAY = WEDNESDAY - 2 * DAY, WEDNESDAY + 3 * DAY
WEEKDAYS = 100 * (NOW - MONDAY) / (5 * DAY)     # passed of a window from Sunday to Sunday

# What the engines call it, what we call it. The first are exact, the second numbers.
EXACT = {'should_throttle': 'throttling', 'delay_seconds': 'delay_seconds',
         'constrained_window': 'window', 'stale': 'stale', 'strategy': 'strategy'}
NUMBERS = {'deviation_percent': 'deviation', 'five_hour_target': 'five_hour_target',
           'seven_day_target': 'seven_day_target', 'safe_allowance': 'safe_allowance',
           'util_if_no_throttle': 'projected_unthrottled',
           'util_if_throttled': 'projected_throttled'}


def epoch(text):
    """Epoch seconds of the cases' form of time, all of which are UTC; None for None."""
    if text is None:
        return None
    assert text.endswith('+00:00')
    return float(calendar.timegm(time.strptime(text[:-6], '%Y-%m-%dT%H:%M:%S')))


@pytest.mark.parametrize('name, count', [('adaptive', 400), ('legacy', 100)])
def test_the_engines_own_decisions(name, count):
    text = Path(__file__).with_name('pacing-%s.jsonl' % name).read_text(encoding='utf-8')
    for number, case in enumerate(map(json.loads, text.splitlines()), 1):
        wanted = dict(case['expect'])
        wanted.update(wanted.pop('projection') or {})
        numbers = [number for key in ('five_hour', 'seven_day')
                   for number in (case[key]['utilization'], epoch(case[key]['resets_at']))]
        decision = pacing_decision(*numbers, config=dict(case['config'], algorithm=name),
                                   now=epoch(case['now']))._asdict()
        assert case['algorithm'] == decision['algorithm'] == name
        for theirs, ours in EXACT.items():
            assert repr(decision[ours]) == repr(wanted[theirs]), (number, ours)     # its type too
        for theirs, ours in NUMBERS.items():
            if wanted.get(theirs) is None:
                assert decision[ours] is None, (number, ours)
            else:
                assert abs(decision[ours] - wanted[theirs]) <= 1e-4, (number, ours)
    assert number == count


def test_the_names_that_others_rely_on():
    decision = pacing_decision(five_hour_used=77.2, five_hour_resets_at=NOW + LEFT,
                               seven_day_used=34.0, seven_day_resets_at=None, config={}, now=NOW)
    assert decision._fields == tuple(
        'throttling delay_seconds window deviation five_hour_target seven_day_target stale '
        'strategy algorithm safe_allowance projected_unthrottled projected_throttled'.split())


# --- By hand: 1.9 hours before its end 62 % of a 5-hour window may be used ---

def decide(used=77.2, left=LEFT, seven_day=34.0, seven_day_left=4 * DAY, now=NOW, **config):
    ends = [None if seconds is None else now + seconds for seconds in (left, seven_day_left)]
    return pacing_decision(used, ends[0], seven_day, ends[1], config, now)


def test_a_decision_by_hand():
    decision = decide()
    assert decision[:3] == (True, 331, '5-hour') and decision.strategy == 'gradual'
    assert decision.stale is False and decision.algorithm == 'adaptive'
    assert decision[3:6] + decision[9:] == pytest.approx(
        (15.2, 62, WEEKDAYS, 58.9, 77.2 + 77.2 / 3.1 * 1.9, 95))


@pytest.mark.parametrize('config, told', [
    ({}, (331, '5-hour', 'adaptive')),
    ({'algorithm': 'adaptive', 'use_adaptive': True}, (331, '5-hour', 'adaptive')),
    ({'algorithm': 'legacy'}, (51, '5-hour', 'legacy')),        # 5 * (1 + 2 * (77.2 - 72.5...))
    ({'use_adaptive': False}, (51, '5-hour', 'legacy')),
    ({'algorithm': 'legacy', 'threshold_percent': 4.7}, (0, '5-hour', 'legacy')),
    ({'max_delay': 100}, (100, '5-hour', 'adaptive')),
    ({'base_delay': 1}, (66, '5-hour', 'adaptive')),
    ({'five_hour_limit_enabled': False}, (0, '7-day', 'adaptive')),
    (OFF, (0, None, 'adaptive')),
])
def test_what_the_config_changes(config, told):
    decision = decide(**config)
    assert (decision.delay_seconds, decision.window, decision.algorithm) == told


@pytest.mark.parametrize('now, strategy', [
    (SATURDAY - 1, 'gradual'), (SATURDAY, 'emergency'), (SATURDAY + 2 * DAY - 1, 'emergency'),
    (SATURDAY + 2 * DAY, 'gradual')])
def test_weekends_are_in_utc(now, strategy):
    assert decide(now=now).strategy == strategy


@pytest.mark.parametrize('left, stale', [(None, False), (0, False), (-300, False), (-301, True)])
def test_a_window_is_stale_from_five_minutes_on(left, stale):
    assert decide(left=left, seven_day_left=None).stale is stale
    assert decide(left=left, seven_day_left=None, algorithm='legacy').stale is False
    assert decide(left=left, five_hour_limit_enabled=False).stale is stale


def test_two_stale_windows_decide_nothing():
    nothing = PacingDecision(False, 0, None, 0.0, 0.0, 0.0, True, None, 'adaptive')
    assert decide(left=-HOUR, seven_day_left=-HOUR) == nothing


def test_a_tie_goes_to_the_five_hour_window():
    assert decide(50.0, -HOUR, 50.0, -HOUR, algorithm='legacy').window == '5-hour'
    even = decide(90.0, 2.5 * HOUR, 90.0, 4.5 * DAY, now=MONDAY + 2.5 * DAY)
    assert even.five_hour_target == even.seven_day_target == 50 and even.window == '5-hour'
    assert decide(90.0, 2.5 * HOUR, 90.1, 4.5 * DAY, now=MONDAY + 2.5 * DAY).window == '7-day'


@pytest.mark.parametrize('start, now, percent', [
    (MONDAY, MONDAY + 7 * DAY, 100), (MONDAY, SATURDAY, 100), (MONDAY, MONDAY + 2.5 * DAY, 50),
    (SATURDAY, SATURDAY + 2 * DAY, 0), (SATURDAY, SATURDAY + 3 * DAY, 20),
    (WEDNESDAY, WEDNESDAY - DAY, 0), (WEDNESDAY, SATURDAY + DAY, 60),
    (MONDAY + 0.5, MONDAY + 2.2, 100 / (5 * DAY)),      # whole seconds of each day
])
def test_only_weekdays_count_in_the_seven_day_window(start, now, percent):
    target = pacing_decision(0.0, None, 0.0, start + 7 * DAY, {'preload_hours': 0.0}, now)[5]
    assert target == pytest.approx(percent, abs=1e-5)


@pytest.mark.parametrize('hours, percent', [(0, 10), (11.9, 10), (12, 10), (18, 15)])
def test_the_first_hours_of_a_week_are_given_at_once(hours, percent):
    decision = pacing_decision(0.0, None, 0.0, MONDAY + 7 * DAY, {}, MONDAY + hours * HOUR)
    assert decision.seven_day_target == pytest.approx(percent)


def test_any_config_and_usage_gives_a_decision():
    """In the ranges that the parsers let through, also where they make no sense."""
    random.seed(3)
    numbers = 0, 1, -1, 5, 95.0, 350, 1e-300, -1e14, 1e14
    spans = None, 0, 1e-6, -299, -301, HOUR, 5 * HOUR, 7 * DAY, 8 * DAY, -9 * DAY, 4e9, -1.7e9
    switches = [key for key, value in PACE_DEFAULTS.items() if isinstance(value, bool)]
    values = [key for key in ('base_delay', 'max_delay', 'threshold_percent', 'preload_hours',
                              'safety_buffer_pct')]
    for _ in range(1000):
        config = {key: random.choice((True, False)) for key in random.sample(switches, 3)}
        config.update((key, random.choice(numbers)) for key in random.sample(values, 2))
        used = [random.choice(numbers + (100, 100 - 1e-13, 1e-12)) for _ in range(2)]
        decision = decide(used[0], random.choice(spans), used[1], random.choice(spans), **config)
        assert decision.throttling == (decision.delay_seconds > 0)
        assert isinstance(decision.delay_seconds, (int, float))
        assert all(math.isfinite(number) for number in decision[3:6])


# --- The state that is told ---

def state(snapshot, *names):
    document = told(snapshot)
    return tuple(document[name] for name in names)


@pytest.mark.parametrize('age, own, config, status, delay', [
    (None, 0, {}, 'throttling', 331), (20, 45, {}, 'throttling', 45), (20, 0, {}, 'undecided', 0),
    (299, 45, {}, 'throttling', 45), (300, 45, {}, 'throttling', 331),
    (300, 0, {}, 'throttling', 331), (61, 45, {'poll_interval': 60}, 'throttling', 331),
    (301, 45, {'poll_interval': 600}, 'throttling', 45),
    (20, 45, {'enabled': False}, 'inactive', None)])
def test_a_recorded_decision_holds_until_the_next_poll(age, own, config, status, delay):
    snapshot = beside(maker(config, decided=age and decided(age, own)))
    assert state(snapshot, 'status', 'delay_seconds') == (status, delay)
    if delay is not None:
        assert state(snapshot, 'throttling', 'window', 'strategy') == (
            status == 'throttling', '5-hour', 'gradual' if status == 'throttling' else None)


@pytest.mark.parametrize('used, status, recorded, deviation', [
    (80.0, 'throttling', 'undecided', 18.0),    # over budget
    (61.0, 'throttling', 'undecided', -1.0),    # inside the safety buffer
    (40.0, 'on_pace', 'on_pace', -22.0)])
def test_on_pace_is_only_what_is_below_the_safe_allowance(used, status, recorded, deviation):
    ours = windows(used, age=5)
    for pace, wanted in ((maker(), status), (maker(decided=decided(20, 0)), recorded)):
        assert state(beside(pace, ours), 'status', 'throttling') == (
            wanted, wanted == 'throttling')
        assert told(beside(pace, ours))['deviation_percent'] == pytest.approx(deviation)


def test_over_the_allowance_without_a_delay_is_not_on_pace_either():
    """Its engine lets so little pass."""
    ours = windows(59.0, age=5)
    assert state(beside(maker(), ours), 'status', 'delay_seconds', 'strategy') == (
        'undecided', 0, 'none')


@pytest.mark.parametrize('off, window, target', [
    ((), '5-hour', 62), (('weekly_limit_enabled',), '5-hour', 62),
    (('five_hour_limit_enabled',), '7-day', WEEKDAYS), (tuple(OFF), None, 62)])
def test_limiters_that_are_off(off, window, target):
    snapshot = beside(maker({key: False for key in off}))
    assert state(snapshot, 'window', 'throttling') == (window, window == '5-hour')
    assert told(snapshot)['target_percent'] == pytest.approx(target, abs=1e-4)


@pytest.mark.parametrize('left, seven_day_left, window, status', [
    (-301, 4 * DAY, '7-day', 'on_pace'), (LEFT, -301, '5-hour', 'throttling'),
    (-301, -301, None, 'undecided'), (-301, None, None, 'undecided')])
def test_a_stale_window_is_told(left, seven_day_left, window, status):
    usage = windows(77.2, left, 34.0, seven_day_left, age=30)
    assert state(beside(maker(usage=usage)), 'stale', 'window', 'status') == (True, window, status)


# --- Ours and theirs ---

@pytest.mark.parametrize('ours, used, age', [
    (windows(50.0, age=59), 50.0, 59), (windows(50.0, age=60), 77.2, 60),
    (windows(50.0, age=61), 77.2, 60), (Usage((), NOW - 5), 0.0, 5)])
def test_the_newer_report_counts(ours, used, age):
    document = told(beside(maker(), ours))
    assert document['five_hour_percent'] == used
    assert document['at'] == time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(NOW - age))


def test_without_a_report_of_ours_theirs_counts():
    snapshot = Snapshot({('', 'pace_maker'): beside(maker())['', 'pace_maker']})
    assert state(snapshot, 'five_hour_percent', 'seven_day_percent') == (77.2, 34.0)


def test_a_window_that_a_partial_report_leaves_out_stays_as_it_was():
    ours = windows(50.0, age=9)
    ours = ours._replace(limits=ours.limits[:1])
    partial = told(beside(maker(), ours._replace(is_whole=False)))
    assert (partial['five_hour_percent'], partial['seven_day_percent']) == (50.0, 34.0)
    assert told(beside(maker(), ours))['seven_day_percent'] == 0, 'a whole one has all there are'


def test_of_each_window_the_newer_number_counts():
    first, second = windows(50.0, age=9).limits
    ours = Usage((first, second._replace(used=99.0, at=NOW - 61)), NOW - 9)
    assert state(beside(maker(), ours), 'five_hour_percent', 'seven_day_percent') == (50.0, 34.0)


def test_an_estimate_outlives_a_window_of_ours_that_has_ended():
    guess = windows(age=6 * HOUR)
    for left, percent, is_guess in ((-60, 77.2, True), (LEFT, 50.0, False)):
        ours = windows(50.0, left, age=5 * HOUR)
        ours = ours._replace(limits=ours.limits[:1], is_whole=False)
        told_of = state(beside(maker(usage=guess, is_estimated=True), ours), 'five_hour_percent')
        assert told_of == (percent,), left
    both = windows(50.0, age=5 * HOUR)
    snapshot = beside(maker(usage=guess, is_estimated=True), both)
    assert state(snapshot, 'estimated', 'five_hour_percent') == (False, 50.0)


def test_an_estimate_is_told_with_its_percents():
    """So that target, deviation and percent add up, whatever the last reply says."""
    document = told(beside(maker(is_estimated=True), windows(50.0, age=600)))
    assert document['estimated'] is True and document['five_hour_percent'] == 77.2
    assert document['target_percent'] + document['deviation_percent'] == pytest.approx(77.2)
    assert told(beside(maker()))['estimated'] is False


# --- JSON ---

KEYS = ('installed enabled status throttling delay_seconds window target_percent '
        'deviation_percent algorithm strategy tempo stale estimated at five_hour_percent '
        'seven_day_percent').split()
AT = '2026-11-25T19:18:18Z'


@pytest.mark.parametrize('snapshot, values', [
    (beside(maker(decided=decided(20, 45), tempo='on')), (
        True, True, 'throttling', True, 45, '5-hour', 62.0, 15.2, 'adaptive', 'gradual', 'on',
        False, False, AT, 77.2, 34.0)),
    (beside(maker({'enabled': False})), (True, False, 'inactive') + (None,) * 7 + ('auto',) + (
        None,) * 5),
    (beside(maker(usage=None)), (True, True, 'no_data') + (None,) * 7 + ('auto',) + (None,) * 5),
    (beside(maker(), failure=TORN), (True, None, 'error') + (None,) * 13),
    (beside(None, failure=Failure('locked', 'usage.db')), (True, None, 'error') + (None,) * 13),
    (beside(maker(OFF, tempo='off')), (
        True, True, 'on_pace', False, 0, None, 62.0, 0.0, 'adaptive', None, 'off', False, False,
        AT, 77.2, 34.0)),
    (beside(None), (False,) + (None,) * 15),
    (Snapshot(), (None,) * 16)])
def test_json(snapshot, values):
    for mode in ('code', 'console'):
        document = told(snapshot, mode=mode)
        assert list(document) == KEYS and tuple(document.values()) == values
