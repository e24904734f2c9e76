"""Pace Maker's arithmetic: the cases of its own engines, and by hand what they leave out."""
import calendar
import json
import math
import random
import time
from pathlib import Path

import pytest

from claude_usage import (LIMITS, PACE_DEFAULTS, Failure, Known, Limit, PaceMaker, PaceUsage,
                          PacingDecision, Snapshot, Usage, budget_words, estimate,
                          is_another_account, newer_usage,
                          pace_status, pacing_decision, same_account, weekday_seconds)
from pacemaker import DAY, HOUR, MINUTE, NOW, iso

WEDNESDAY = NOW // DAY * DAY
MONDAY, SATURDAY = WEDNESDAY - 2 * DAY, WEDNESDAY + 3 * DAY

# What the engines call it, what we call it. The first are exact, the second numbers.
EXACT = {'should_throttle': 'throttling', 'delay_seconds': 'delay_seconds',
         'constrained_window': 'window', 'stale': 'stale', 'strategy': 'strategy'}
NUMBERS = {'deviation_percent': 'deviation', 'five_hour_target': 'five_hour_target',
           'seven_day_target': 'seven_day_target', 'safe_allowance': 'safe_allowance',
           'util_if_no_throttle': 'projected_unthrottled',
           'util_if_throttled': 'projected_throttled'}


def cases():
    for name in ('adaptive', 'legacy'):
        path = Path(__file__).with_name('pacing-%s.jsonl' % name)
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            yield pytest.param(json.loads(line), id='%s-%d' % (name, number))


def epoch(text):
    """Epoch seconds of the cases' form of time, all of which are UTC; None for None."""
    if text is None:
        return None
    assert text.endswith('+00:00')
    return float(calendar.timegm(time.strptime(text[:-6], '%Y-%m-%dT%H:%M:%S')))


def decide(case):
    config = dict(case['config'], algorithm=case['algorithm'])
    windows = [number for key in ('five_hour', 'seven_day')
               for number in (case[key]['utilization'], epoch(case[key]['resets_at']))]
    return pacing_decision(*windows, config=config, now=epoch(case['now']))


@pytest.mark.parametrize('case', list(cases()))
def test_the_engines_own_decisions(case):
    wanted = dict(case['expect'])
    wanted.update(wanted.pop('projection') or {})
    decision = decide(case)._asdict()
    assert decision['algorithm'] == case['algorithm']
    for theirs, ours in EXACT.items():
        assert repr(decision[ours]) == repr(wanted[theirs]), ours       # its type too
    for theirs, ours in NUMBERS.items():
        if wanted.get(theirs) is None:
            assert decision[ours] is None, ours
        else:
            assert decision[ours] == pytest.approx(wanted[theirs], rel=0, abs=1e-4), ours


def test_there_are_500_of_them():
    assert len(list(cases())) == 500


def test_the_fields_that_others_rely_on():
    decision = pacing_decision(five_hour_used=77.2, five_hour_resets_at=NOW + 1.9 * HOUR,
                               seven_day_used=34.0, seven_day_resets_at=None, config={}, now=NOW)
    assert isinstance(decision, tuple)
    assert set('throttling delay_seconds window deviation five_hour_target seven_day_target stale '
               'strategy algorithm safe_allowance projected_unthrottled projected_throttled'
               .split()) == set(decision._fields)


# --- By hand: 1.9 hours before its end 62 % of a 5-hour window may be used ---

LEFT = 1.9 * HOUR


def decided(used=77.2, left=LEFT, seven_day=34.0, seven_day_left=4 * DAY, now=NOW, **config):
    ends = [None if seconds is None else now + seconds for seconds in (left, seven_day_left)]
    return pacing_decision(used, ends[0], seven_day, ends[1], config, now)


def test_a_decision_by_hand():
    decision = decided()
    assert decision[:3] == (True, 331, '5-hour') and decision.strategy == 'gradual'
    assert decision.stale is False and decision.algorithm == 'adaptive'
    weekdays = 100 * (NOW - MONDAY) / (5 * DAY)     # of a window from Sunday to Sunday
    assert (*decision[3:6], *decision[9:]) == pytest.approx(
        (15.2, 62, weekdays, 58.9, 77.2 + 77.2 / 3.1 * 1.9, 95))


@pytest.mark.parametrize('config, told', [
    ({}, (331, '5-hour', 'adaptive')),
    ({'algorithm': 'adaptive', 'use_adaptive': True}, (331, '5-hour', 'adaptive')),
    ({'algorithm': 'legacy'}, (51, '5-hour', 'legacy')),        # 5 * (1 + 2 * (77.2 - 72.5...))
    ({'use_adaptive': False}, (51, '5-hour', 'legacy')),
    ({'algorithm': 'legacy', 'threshold_percent': 4.7}, (0, '5-hour', 'legacy')),
    ({'max_delay': 100}, (100, '5-hour', 'adaptive')),
    ({'base_delay': 1}, (66, '5-hour', 'adaptive')),
    ({'five_hour_limit_enabled': False}, (0, '7-day', 'adaptive')),
    ({'five_hour_limit_enabled': False, 'weekly_limit_enabled': False}, (0, None, 'adaptive')),
])
def test_what_the_config_changes(config, told):
    decision = decided(**config)
    assert (decision.delay_seconds, decision.window, decision.algorithm) == told


@pytest.mark.parametrize('now, strategy', [
    (SATURDAY - 1, 'gradual'), (SATURDAY, 'emergency'), (SATURDAY + 2 * DAY - 1, 'emergency'),
    (SATURDAY + 2 * DAY, 'gradual')])
def test_weekends_are_in_utc(now, strategy):
    assert decided(now=now).strategy == strategy


@pytest.mark.parametrize('left, stale', [(None, False), (0, False), (-300, False), (-301, True)])
def test_a_window_is_stale_from_five_minutes_on(left, stale):
    assert decided(left=left, seven_day_left=None).stale is stale
    assert decided(left=left, seven_day_left=None, algorithm='legacy').stale is False
    assert decided(left=left, five_hour_limit_enabled=False).stale is stale


def test_two_stale_windows_decide_nothing():
    told = PacingDecision(False, 0, None, 0.0, 0.0, 0.0, True, None, 'adaptive')
    assert decided(left=-HOUR, seven_day_left=-HOUR) == told


def test_a_tie_goes_to_the_five_hour_window():
    assert decided(50.0, -HOUR, 50.0, -HOUR, algorithm='legacy').window == '5-hour'
    even = decided(90.0, 2.5 * HOUR, 90.0, 4.5 * DAY, now=MONDAY + 2.5 * DAY)
    assert even.five_hour_target == even.seven_day_target == 50 and even.window == '5-hour'
    assert decided(90.0, 2.5 * HOUR, 90.1, 4.5 * DAY, now=MONDAY + 2.5 * DAY).window == '7-day'


def test_any_config_and_usage_gives_a_decision():
    """In the ranges that the parsers let through, also where they make no sense."""
    random.seed(3)
    numbers = 0, 1, -1, 5, 95.0, 350, 1e-300, -1e14, 1e14
    spans = None, 0, 1e-6, -299, -301, HOUR, 5 * HOUR, 7 * DAY, 8 * DAY, -9 * DAY, 4e9, -1.7e9
    switches = [key for key, value in PACE_DEFAULTS.items() if isinstance(value, bool)]
    values = [key for key in ('base_delay', 'max_delay', 'threshold_percent', 'preload_hours',
                              'safety_buffer_pct')]
    for _ in range(5000):
        config = {key: random.choice((True, False)) for key in random.sample(switches, 3)}
        config.update((key, random.choice(numbers)) for key in random.sample(values, 2))
        used = [random.choice(numbers + (100, 100 - 1e-13, 1e-12)) for _ in range(2)]
        decision = decided(used[0], random.choice(spans), used[1], random.choice(spans), **config)
        assert decision.throttling == (decision.delay_seconds > 0)
        assert isinstance(decision.delay_seconds, (int, float))
        assert all(math.isfinite(number) for number in decision[3:6])


@pytest.mark.parametrize('start, end, seconds', [
    (MONDAY, MONDAY + 7 * DAY, 5 * DAY), (SATURDAY, SATURDAY + 2 * DAY, 0),
    (SATURDAY - HOUR, SATURDAY + 2 * DAY + HOUR, 2 * HOUR), (WEDNESDAY, WEDNESDAY, 0),
    (WEDNESDAY + 5, WEDNESDAY, 0), (WEDNESDAY + HOUR, WEDNESDAY + 2 * HOUR, HOUR),
    (WEDNESDAY + 0.5, WEDNESDAY + 2.2, 1),                      # whole seconds ...
    (WEDNESDAY - 1.5, WEDNESDAY + 1.5, 2),                      # ... of each day
    (MONDAY, MONDAY + 365 * DAY, 261 * DAY),
])
def test_weekday_seconds(start, end, seconds):
    assert weekday_seconds(start, end) == seconds


@pytest.mark.parametrize('used, config, words', [
    (77.2, {}, 'over budget'), (62.1, {}, 'over budget'), (62, {}, 'inside safety buffer'),
    (59, {}, 'inside safety buffer'), (58.8, {}, 'under budget'), (0, {}, 'under budget'),
    (59, {'safety_buffer_pct': 100.0}, 'under budget'), (59, {'use_adaptive': False},
                                                         'under budget'),
])
def test_the_deviation_in_words(used, config, words):
    decision = decided(used, seven_day_left=None, **config)
    assert budget_words(decision, decision.five_hour_target) == words


# --- What it works from while its API access is blocked ---

ENTERED = NOW - 2 * HOUR
COSTS = [{'timestamp': at, 'cost_dollars': dollars} for at, dollars in (
    (ENTERED - 1, 50.0), (ENTERED + 1, 4.0), (NOW - 90 * MINUTE, 2.0), (NOW - 10, 4.0))]


def estimated(left, costs=COSTS, calibrated=(), **state):
    """(5-hour percent, seconds to its end, 7-day percent, seconds to its end)."""
    row = dict({'state': 'fallback', 'baseline_5h': 40.0, 'baseline_7d': 20.0, 'tier': '5x',
                'resets_at_5h': None if left is None else iso(NOW + left),
                'resets_at_7d': iso(NOW + DAY), 'entered_at': ENTERED,
                'rollover_cost_5h': None, 'rollover_cost_7d': None}, **state)
    told = estimate(row, calibrated, costs, NOW)
    assert told.estimated is True
    return (told.five_hour_used, told.five_hour_resets_at and told.five_hour_resets_at - NOW,
            told.seven_day_used, told.seven_day_resets_at and told.seven_day_resets_at - NOW)


MEASURED = [{'tier': '20x', 'coefficient_5h': 0.5, 'coefficient_7d': 0.5},
            {'tier': '5x', 'coefficient_5h': 0.01, 'coefficient_7d': 0.002}]


@pytest.mark.parametrize('left, more, told', [
    (HOUR, {}, (47.5, HOUR, 21.1, DAY)),
    (HOUR, {'costs': []}, (40, HOUR, 20, DAY)),
    (HOUR, {'tier': '20x'}, (41.875, HOUR, 20.275, DAY)),
    (HOUR, {'calibrated': MEASURED}, (50, HOUR, 22, DAY)),
    (HOUR, {'calibrated': MEASURED[:1]}, (47.5, HOUR, 21.1, DAY)),
    (HOUR, {'baseline_5h': 95.0, 'baseline_7d': 99.0}, (100, HOUR, 100, DAY)),
    (HOUR, {'rollover_cost_5h': 4.0}, (4.5, HOUR, 21.1, DAY)),
    (HOUR, {'rollover_cost_5h': 99.0, 'rollover_cost_7d': 0.0}, (0, HOUR, 1.1, DAY)),
    # The window is over: another one, in which only what was spent since counts.
    (-HOUR, {}, (3, 4 * HOUR, 21.1, DAY)),
    (0, {}, (0, 5 * HOUR, 21.1, DAY)),
    (-11 * HOUR, {}, (3, 4 * HOUR, 21.1, DAY)),
    (-HOUR, {'rollover_cost_5h': 1.0}, (3, 4 * HOUR, 21.1, DAY)),
    (HOUR, {'resets_at_7d': iso(NOW - 8 * DAY)}, (47.5, HOUR, 1.1, 6 * DAY)),
    (HOUR, {'resets_at_7d': iso(NOW - 100 * MINUTE)}, (47.5, HOUR, 0.66, 7 * DAY - 100 * MINUTE)),
    (None, {}, (47.5, None, 21.1, DAY)),
])
def test_an_estimate(left, more, told):
    assert estimated(left, **more) == pytest.approx(told) if left is not None else (
        estimated(left, **more)[1] is None and estimated(left, **more)[0] == told[0])


# --- Ours and theirs ---

def reply(five_hour=77.2, left=LEFT, age=60, **windows):
    """Our own reply, as it is known after so many seconds."""
    windows = dict({'five_hour': (five_hour, left), 'seven_day': (34.0, 4 * DAY)}, **windows)
    limits = [Limit(key, *LIMITS[key][:2], used, None if left is None else NOW + left,
                    LIMITS[key][2]) for key, (used, left) in windows.items()]
    return Known(Usage(tuple(limits), None), NOW - age)


THEIRS = PaceUsage(77.2, NOW + LEFT, 34.0, NOW + 4 * DAY, NOW - 60)
NOTHING = Known()


@pytest.mark.parametrize('theirs, ours, used, age', [
    (THEIRS, NOTHING, 77.2, 60),
    (THEIRS, reply(50.0, age=59), 50.0, 59), (THEIRS, reply(50.0, age=60), 77.2, 60),
    (THEIRS, reply(50.0, age=61), 77.2, 60),
    (THEIRS, Known(Usage((), None), NOW), 0.0, 0),              # an account without windows
    (THEIRS, Known(None, None, Failure('network')), 77.2, 60),
])
def test_the_newer_of_two_usages(theirs, ours, used, age):
    newer = newer_usage(theirs, ours, NOW)
    assert (newer.five_hour_used, NOW - newer.at) == (used, age)


def test_a_window_that_the_status_line_leaves_out_stays_as_it_was():
    told = reply(50.0, age=9).value.limits[:1]
    newer = newer_usage(THEIRS, Known(Usage(told, None, 'Claude Code'), NOW - 9), NOW)
    assert newer[:4] == (50.0, NOW + LEFT) + THEIRS[2:4]
    newer = newer_usage(THEIRS, Known(Usage(told, None), NOW - 9), NOW)
    assert newer[2:4] == (0.0, None), 'a whole reply has all that there is'


def test_an_estimate_outlives_a_reply_whose_window_has_ended():
    guess = THEIRS._replace(at=NOW - 6 * HOUR, estimated=True)
    assert newer_usage(guess, reply(50.0, left=-60, age=5 * HOUR), NOW) is guess
    assert newer_usage(guess, reply(50.0, age=5 * HOUR), NOW).five_hour_used == 50.0


@pytest.mark.parametrize('theirs, agrees', [
    (reply(), True), (reply(1.0), True), (reply(left=LEFT + 60), True),
    (reply(left=LEFT - 60), True), (reply(left=LEFT + 61), False),
    (reply(left=LEFT - 61), False), (reply(left=None), False),
    (reply(seven_day=(34.0, 4 * DAY + 61)), False), (reply(seven_day=(34.0, None)), False),
    (reply(seven_day_opus=(1.0, HOUR)), True),
    (Known(Usage((), None)), False),
])
def test_whether_two_replies_are_of_one_account(theirs, agrees):
    assert same_account(reply().value, theirs.value) is agrees
    assert same_account(theirs.value, reply().value) is agrees
    assert same_account(theirs.value, theirs.value)


@pytest.mark.parametrize('theirs, is_another', [
    (reply(), False), (reply(left=LEFT + 60), False), (reply(left=LEFT + 61), True),
    (reply(left=None), False), (reply(left=-60), False), (Known(Usage((), None)), False),
    (reply(left=None, seven_day=(34.0, 4 * DAY - 61)), True),
])
def test_whether_two_replies_are_of_two_accounts(theirs, is_another):
    """What has ended, or not begun, is no evidence."""
    for pair in ((reply().value, theirs.value), (theirs.value, reply().value)):
        assert is_another_account(*pair, now=NOW) is is_another


# --- The state that is shown ---

def known(usage=THEIRS, ours=NOTHING, config=(), is_modern=True, **more):
    return Snapshot(usage=ours, pace_maker=Known(
        PaceMaker(dict(config), is_modern, usage, **more), NOW))


def told(snapshot, *names):
    status = pace_status(snapshot, NOW)
    return tuple(getattr(status, name) for name in names)


@pytest.mark.parametrize('row, config, is_modern, status, delay', [
    (None, {}, True, 'throttling', 331),
    ((NOW - 20, True, 45), {}, True, 'throttling', 45),
    ((NOW - 20, False, 0), {}, True, 'on_pace', 0),
    ((NOW - 299, True, 45), {}, True, 'throttling', 45),
    ((NOW - 300, True, 45), {}, True, 'throttling', 331),
    ((NOW - 300, False, 0), {}, True, 'throttling', 331),
    ((NOW + 1, True, 45), {}, True, 'throttling', 331),         # a clock that was set back
    ((NOW - 61, True, 45), {'poll_interval': 60}, True, 'throttling', 331),
    ((NOW - 301, True, 45), {'poll_interval': 600}, True, 'throttling', 45),
    ((NOW - 61, True, 45), {}, False, 'throttling', 331),
    ((NOW - 59, True, 45), {}, False, 'throttling', 45),
    ((NOW - 20, True, 45), {'enabled': False}, True, 'inactive', None),
])
def test_a_recorded_decision_holds_until_the_next_poll(row, config, is_modern, status, delay):
    snapshot = known(config=config, is_modern=is_modern, decided=row)
    assert told(snapshot, 'status', 'delay_seconds') == (status, delay)
    if delay is not None:
        assert told(snapshot, 'throttling', 'window', 'strategy') == (
            status == 'throttling', '5-hour', 'gradual' if status == 'throttling' else None)


@pytest.mark.parametrize('used, deviation, budget', [
    (80.0, 18.0, 'over budget'), (60.0, -2.0, 'inside safety buffer'),
    (40.0, -22.0, 'under budget')])
def test_the_deviation_is_of_our_reply_if_that_is_newer(used, deviation, budget):
    snapshot = known(ours=reply(used, age=5), decided=(NOW - 20, True, 45))
    assert told(snapshot, 'status', 'delay_seconds', 'at', 'budget', 'estimated') == (
        'throttling', 45, NOW - 5, budget, False)
    assert told(snapshot, 'target', 'deviation') == pytest.approx((62, deviation))


@pytest.mark.parametrize('off, window, target', [
    ((), '5-hour', 62), (('weekly_limit_enabled',), '5-hour', 62),
    (('five_hour_limit_enabled',), '7-day', 100 * (NOW - MONDAY) / (5 * DAY)),
    (('five_hour_limit_enabled', 'weekly_limit_enabled'), None, 62)])
def test_limiters_that_are_off(off, window, target):
    snapshot = known(config={key: False for key in off})
    assert told(snapshot, 'window', 'target') == (window, pytest.approx(target))
    assert told(snapshot, 'throttling') == (window == '5-hour',)


@pytest.mark.parametrize('left, seven_day_left, window, status', [
    (-301, 4 * DAY, '7-day', 'on_pace'), (LEFT, -301, '5-hour', 'throttling'),
    (-301, -301, None, 'on_pace'), (-301, None, None, 'on_pace')])
def test_a_stale_window_is_told(left, seven_day_left, window, status):
    ends = [seconds and NOW + seconds for seconds in (left, seven_day_left)]
    snapshot = known(PaceUsage(77.2, ends[0], 34.0, ends[1], NOW - HOUR))
    assert told(snapshot, 'stale', 'window', 'status') == (True, window, status)


def test_an_estimate_is_told():
    guess = THEIRS._replace(estimated=True)
    assert told(known(guess), 'estimated') == (True,)
    assert told(known(), 'estimated') == (False,)
    assert told(known(guess, reply(age=59)), 'estimated') == (False,)


@pytest.mark.parametrize('snapshot, status, reason', [
    (known(None), 'no_data', ''), (known(config={'enabled': False}), 'inactive', ''),
    (known(None, config={'enabled': False}), 'inactive', ''),
    (known()._replace(pace_maker=Known(None, NOW, Failure('malformed', 'x.db: torn'))), 'error',
     'Failed to load x.db: torn.'),
    (known()._replace(pace_maker=known().pace_maker._replace(failure=Failure('locked', 'x.db'))),
     'error', 'Locked: x.db.'),
])
def test_states_without_numbers(snapshot, status, reason):
    assert told(snapshot, 'status', 'reason') == (status, reason)
    assert told(snapshot, 'target', 'deviation', 'delay_seconds') == (None, None, None)


@pytest.mark.parametrize('snapshot', [Snapshot(), Snapshot(pace_maker=Known(None, NOW))])
def test_where_it_is_not_installed_there_is_no_state(snapshot):
    assert pace_status(snapshot, NOW) is None


@pytest.mark.parametrize('config, tempo', [
    ({}, 'on'), ({'tempo_mode': 'on'}, 'on'), ({'tempo_mode': 'off'}, 'off'),
    ({'tempo_mode': 'auto'}, 'auto'), ({'tempo_enabled': False}, 'off'),
    ({'tempo_enabled': False, 'tempo_mode': 'auto'}, 'auto'),
    ({'tempo_enabled': False, 'tempo_mode': 'sideways'}, 'off'),
])
def test_tempo(config, tempo):
    assert told(known(config=config), 'tempo') == (tempo,)
    assert told(known(None, config=config), 'tempo') == (tempo,)
