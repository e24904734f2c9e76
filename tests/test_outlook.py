"""Where limits land: values with known answers, and what must hold for any samples."""
import json
import math
import random

import pytest
from people import HOURS5, MONDAY, WEEK, outlook, person, samples, windows

from claude_usage import (Outlook, Summary, full_windows_left, outlook_from, summaries,
                          week_parts, without_repeats)

HOUR, FIVE, SEVEN = 3600.0, 5 * 3600.0, 7 * 86400.0
START = MONDAY + 9 * HOUR           # a Monday, 09:00 UTC
END = START + FIVE
DAY = 86400.0


def taken(course, start=START, step=300.0, seconds=FIVE):
    """Samples of one window, a step apart from its start on."""
    return [(start + step * index, float(used), start + seconds)
            for index, used in enumerate(course)]


def steady(until, end=100, start=START):
    """Samples of a window that moves evenly to an end in five hours, for so many hours."""
    return taken([round(end * index / 60) for index in range(int(until * 12) + 1)], start)


def days_of(end, days, first=1):
    """Samples of the same window, evenly to an end, on so many days before."""
    return [sample for day in range(days + first - 1, first - 1, -1)
            for sample in steady(5, end, START - day * DAY)]


def look(known, hours=2.5):
    """The outlook so many hours after the start."""
    return outlook(known, END, FIVE, START + hours * HOUR)


def test_a_steady_window_lands_where_its_line_leads():
    found = look(days_of(60, 20) + steady(2.5, 60))
    assert found.windows_seen == 20
    assert found.elapsed == 50
    assert found.rate == 28
    assert 59 < found.low <= found.high < 61
    assert found.out_from is found.out_until is None


def test_without_a_past_the_range_of_average_and_slope_is_widened():
    bursty = taken([0] * 20 + [2, 5, 9, 12, 15, 18, 21, 24, 27, 30, 30])
    found = look(bursty)
    average, slope = 60, 30 + 25 / 37.5 * 150
    assert found.windows_seen == 0
    assert found.low < average < slope < found.high


def test_more_windows_narrow_the_range():
    widths = []
    for days in (0, 2, 5, 20):
        found = look(days_of(60, days) + steady(2.5, 60))
        widths.append(found.high - found.low)
        assert found.low <= 60 <= found.high
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 30


def test_idle_then_bursty_learns_that_the_second_half_is_the_busy_one():
    course = [0] * 20 + [4] * 10 + [4 + 2 * index for index in range(31)]
    past = [sample for day in range(20, 0, -1) for sample in taken(course, START - day * DAY)]
    found = look(past + taken(course[:31]))
    assert found.low > 55 and found.high < 75          # the average says 8


def test_busy_then_idle_learns_that_nothing_follows():
    course = [2 * index for index in range(31)] + [60] * 30
    past = [sample for day in range(20, 0, -1) for sample in taken(course, START - day * DAY)]
    found = look(past + taken(course[:31]))
    assert found.low == 60 and found.high < 65         # the average says 120


def test_windows_at_this_hour_of_the_day_count_most():
    mornings = [sample for day in range(20, 0, -1) for sample in steady(5, 40, START - day * DAY)]
    evenings = [sample for day in range(20, 0, -1) for sample in taken(
        [round(index / 1.5) for index in range(31)] + [20] * 30, START - day * DAY + 10 * HOUR)]
    known = sorted(mornings + evenings)
    assert look(known + steady(2.5, 40)).high > 38
    later = START + 10 * HOUR
    found = outlook(known + steady(2.5, 40, later), later + FIVE, FIVE, later + 2.5 * HOUR)
    assert found.high < 35


def test_running_out_has_two_times():
    found = look(days_of(100, 20) + steady(2, 125), 2)
    assert found.low >= 100
    assert START + 2 * HOUR < found.out_from <= found.out_until < END
    assert found.rate == pytest.approx(50 / 3)


def test_it_may_run_out():
    found = look(steady(2.5, 90))
    assert found.low < 100 <= found.high
    assert START + 2.5 * HOUR < found.out_from < END and found.out_until is None


def test_a_past_window_that_was_full_would_have_gone_on():
    full = [min(100, 4 * index) for index in range(61)]        # 100 after 125 minutes
    past = [sample for day in range(20, 0, -1) for sample in taken(full, START - day * DAY)]
    found = look(past + taken(full[:16]), 1.25)
    assert found.low > 150


@pytest.mark.parametrize('known, hours', [
    ([], 2.5),
    (steady(.2, 600), .2),                                  # early
    (taken([0] * 31), 2.5),                                 # never moved
    (taken([2] * 31), 2.5),                                 # hardly moved
    (steady(1.9, 60), 2.5),                                 # no number for 36 minutes
    (taken([min(100, 5 * index) for index in range(31)]), 2.5),     # at 100
    (steady(5, 60), 5),                                     # over
    (steady(5, 60), 9),
    (steady(5, 60), -1),                                    # not begun
])
def test_it_is_silent(known, hours):
    found = look(days_of(60, 3) + known, hours)
    assert found[:4] == (None, None, None, None)


def test_what_is_known_is_told_while_it_is_silent():
    found = look(taken([min(100, 5 * index) for index in range(31)]))
    assert (found.rate, found.elapsed, found.windows_seen) == (0, 50, 0)
    assert look([]).rate == 40


def test_silence_ends_at_its_bounds():
    assert look(taken([0, 1, 2, 3]), .25).low is not None       # 5 %, 3 %
    assert look(steady(2, 60), 2.5).low is not None             # half an hour old


def test_a_window_without_end_or_length_says_nothing():
    assert outlook_from(steady(2.5), (), None, FIVE, START + HOUR) == Outlook()
    assert outlook_from(steady(2.5), (), END, None, START + HOUR) == Outlook()


def test_a_reset_inside_belongs_to_two_windows():
    before = taken([50 + index // 3 for index in range(61)], START - FIVE)
    found = look(before + steady(2.5, 60))
    assert found.windows_seen == 1
    assert found.low < 60 < found.high < 100


def test_resets_within_a_minute_are_one_window():
    rng = random.Random(1)
    known = days_of(60, 20) + steady(2.5, 60)
    jittered = [(at, used, end + rng.uniform(-29, 29)) for at, used, end in known]
    found = look(jittered)
    assert found.windows_seen == 20
    assert found.low == pytest.approx(60, abs=1) and found.high == pytest.approx(60, abs=1)


def test_a_gap_inside_is_bridged():
    known = days_of(60, 20) + steady(2.5, 60)
    gaps = [sample for sample in known if not HOUR < (sample[0] - START) % DAY < 2 * HOUR]
    assert len(gaps) < len(known)
    assert look(gaps)[:2] == pytest.approx(look(known)[:2], abs=1)


def test_a_past_window_that_was_not_seen_to_its_end_weighs_less():
    blind = [sample for sample in days_of(60, 20) if (sample[0] - START) % DAY < 2 * HOUR]
    found = look(blind + steady(2.5, 60))
    assert found[:2] == look(steady(2.5, 60))[:2]


def test_a_correction_downwards_is_no_use():
    known = taken([index for index in range(15)] + [index - 10 for index in range(15, 31)])
    found = look(known)
    assert known[-1][1] == 20
    assert 20 <= found.low < 40 < found.high
    past = summaries(known, FIVE, END)
    assert past[0].course[-1] == 20
    assert all(before <= after for before, after in zip(past[0].course, past[0].course[1:]))


def test_a_window_corrected_from_100_keeps_its_peak():
    past, = summaries(taken([0, 50, 100, 100, 30, 30]), FIVE, END)
    assert past.peak == 100 and past.full_at is None and past.course[-1] == 30


def test_the_clock_may_jump():
    known = days_of(60, 20) + steady(2.5, 60)
    future = [(START + 3 * HOUR, 99.0, END), (START + 90 * DAY, 50.0, START + 90 * DAY + HOUR)]
    outside = [(START - 9 * HOUR, 70.0, END), (START - 30 * DAY, 70.0, END)]
    mixed = known + future + outside
    random.Random(1).shuffle(mixed)
    assert look(mixed) == look(known)


def test_one_sample_is_enough():
    found = look([(START + 2.4 * HOUR, 40.0, END)])
    assert found.low < 80 <= found.high + 20


def test_summaries_are_plain_numbers_and_give_the_same():
    rates = person('office', 7, 20)
    found = windows(rates)
    known = samples(found, 20 * 1440)
    start = found[-1][0]
    end, now = MONDAY + 60.0 * (start + HOURS5), MONDAY + 60.0 * (start + 150)
    past = summaries(known, FIVE, now)
    assert len(past) == len(found) - 1
    kept = [Summary(*row) for row in json.loads(json.dumps(past))]
    assert kept == [summary._replace(course=list(summary.course)) for summary in past]
    current = [sample for sample in known if sample[2] == end]
    assert outlook(known, end, FIVE, now) == outlook_from(current, kept, end, FIVE, now)


def test_repeats_need_not_be_kept():
    start, course = windows(person('casual', 2, 14), WEEK)[1]
    known = samples([(start, course)], start + WEEK // 2, WEEK)
    end, now = MONDAY + 60.0 * (start + WEEK), MONDAY + 60.0 * (start + WEEK // 2 + 1)
    kept = without_repeats(known)
    assert len(kept) < len(known) / 5
    assert kept[0] == known[0] and kept[-1] == known[-1]
    assert outlook(kept, end, SEVEN, now) == outlook(known, end, SEVEN, now)
    assert without_repeats(kept[:-1] + kept[-1:]) == kept
    assert without_repeats(()) == ()


def test_a_summary():
    past, = summaries(taken([min(100, 2 * index) for index in range(60)]), FIVE, END)
    assert (past.start, past.resets_at, past.peak) == (START, END, 100)
    assert past.course == (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100, 100)
    assert past.full_at == START + 50 * 300 and past.seen_until == START + 59 * 300
    assert summaries(steady(5), FIVE, END - 1) == () == summaries([], FIVE, END)


def test_summaries_from_the_future_or_long_ago_do_not_count():
    past = summaries(days_of(60, 3) + steady(5), FIVE, END)
    assert outlook_from(steady(2.5), past, END, FIVE, START + 2.5 * HOUR).windows_seen == 3
    old = [summary._replace(start=1.0, resets_at=FIVE) for summary in past]
    assert outlook_from(steady(2.5), old, END, FIVE, START + 2.5 * HOUR).windows_seen == 0


def test_windows_left_in_the_week():
    assert full_windows_left(54, SEVEN, [(100, 9), (100, 8), (100, 10)]) == 6
    assert full_windows_left(54, SEVEN, [(100, 9), (100, 9)]) is None
    assert full_windows_left(54, SEVEN, [(100, 9), (100, 9), (100, 0)]) is None
    assert full_windows_left(90, 10 * HOUR, [(100, 9)] * 3) == 2
    assert full_windows_left(0, SEVEN, [(100, 9)] * 3) == 0
    assert full_windows_left(-5, SEVEN, [(100, 9)] * 3) == 0
    assert full_windows_left(50, SEVEN, [(96, 9.6)] * 4) == pytest.approx(5)


def test_the_part_of_the_week_that_full_windows_take():
    fives, week = [], []
    for number in range(4):
        start = START + number * 8 * HOUR
        end = (100, 100, 98, 50)[number]
        fives += summaries(steady(5, end, start), FIVE, start + FIVE)
        week += [(start + HOUR * hour, 10.0 * number + 2 * hour, MONDAY + SEVEN)
                 for hour in range(6)]
    assert week_parts(fives, week, SEVEN, MONDAY + 3 * DAY) == [(100, 10), (100, 10), (98, 10)]
    assert week_parts(fives, [], SEVEN, MONDAY + 3 * DAY) == []


@pytest.mark.parametrize('kind', ['office', 'heavy', 'casual'])
@pytest.mark.parametrize('length', [HOURS5, WEEK])
def test_the_range_is_in_order_for_anybody(kind, length):
    for start, course in windows(person(kind, 3, 14), length):
        end = MONDAY + 60.0 * (start + length)
        for part in range(0, 11):
            minute = start + length * part // 10
            known = samples([(start, course)], minute, length)
            found = outlook(known, end, 60.0 * length, MONDAY + 60.0 * minute)
            if found.low is not None:
                assert known[-1][1] <= found.low <= found.high < math.inf
                assert (found.out_from is None) == (found.high < 100)
                assert (found.out_until is None) == (found.low < 100)


def test_no_samples_raise():
    rng = random.Random(5)
    for _ in range(400):
        known = []
        for _ in range(rng.randrange(40)):
            end = rng.choice([None, 0.0, END, END - rng.uniform(-90, 90), END - 5 * HOUR,
                              END - rng.randrange(40) * DAY, rng.uniform(-1e12, 1e12)])
            at = rng.choice([(end or END) - rng.uniform(-100, FIVE + 100), rng.uniform(0, 1e11)])
            known.append((at, rng.choice([0.0, 100.0, 250.0, rng.uniform(0, 100)]), end))
        now = START + rng.uniform(-1, 6) * HOUR
        seconds = rng.choice([FIVE, SEVEN, 60.0, 1e9])
        found = outlook(known, END, seconds, now)
        assert found.low is None or found.low <= found.high
        week_parts(summaries(known, FIVE, now), known, SEVEN, now)
