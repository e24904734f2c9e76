"""Measure how honest the outlook is, on the invented people of people.py, and how long it takes.

    python3 tests/bench_outlook.py [FIRST_SEED END_SEED]    (or `tests/benchmark.py outlook`)
"""
import os
import statistics
import sys
import time
import tracemalloc
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from claude_usage import outlook_from, summaries, without_repeats  # noqa: E402
from people import (HOURS5, KINDS, MONDAY, WEEK, average_and_slope, interval_score,  # noqa: E402
                    outlook, person, samples, up_to_full, windows)

FRACTIONS = (.25, .5, .75)
LENGTHS = (('5-hour', HOURS5, 35, 2 * 1440), ('7-day', WEEK, 70, WEEK))     # days; new until
BOUNDS = {      # (score as a part of the better baseline, median width)
    ('5-hour', .25): (.95, 60), ('5-hour', .5): (.93, 45), ('5-hour', .75): (.85, 22),
    ('7-day', .25): (.80, 40), ('7-day', .5): (.85, 32), ('7-day', .75): (.92, 28)}
HELD_LEAST, HELD_MOST, HELD_NEW, GIVEN_LEAST, MILLISECONDS, MEBIBYTES = .65, .90, .55, .95, 60, 2


class Forecast(NamedTuple):
    """One range that was given, and what it is worth."""
    score: float
    held: bool
    width: float


def judged(low, high, used, truth):
    """The Forecast for a range, cut to what is possible: between what is used and 100."""
    low, high = max(used, min(100.0, low)), max(used, min(100.0, high))
    return Forecast(interval_score(low, high, truth), low - .5 <= truth <= high + .5, high - low)


def replayed(rates, length, fraction):
    """Forecasts at a fraction of each window that is not silent by rule.

    Yields (start, ours or None, average and slope, anything up to 100); each one knows only what
    was stored by then: the samples of its own window, and summaries of the windows before.
    """
    seconds, minute, past = 60.0 * length, int(length * fraction), []
    for start, course in windows(rates, length):
        used, truth, end = course[minute - 1], course[-1], MONDAY + 60.0 * (start + length)
        now = MONDAY + 60.0 * (start + minute)
        taken = samples([(start, course)], start + length, length)
        known = [sample for sample in taken if sample[0] < now]
        if 3 <= used < 99.5:
            found, ours = outlook_from(known, past, end, seconds, now), None
            if found.low is not None:
                ours = judged(found.low, found.high, used, truth)
            yield (start, ours) + tuple(judged(*baseline(known, end, seconds, now), used, truth)
                                        for baseline in (average_and_slope, up_to_full))
        past.extend(summaries(taken, seconds, end + 1))


def figures(forecasts):
    """(mean score, how often it held, median width) of Forecasts."""
    return (statistics.mean(forecast.score for forecast in forecasts),
            statistics.mean(forecast.held for forecast in forecasts),
            statistics.median(forecast.width for forecast in forecasts))


def tell(what, value, least, most):
    """Print one figure with its bounds, and whether it is within -> whether it is."""
    is_good = least <= value <= most
    print('  %-34s %7.2f   bound %g to %g  %s' % (
        what, value, least, most, 'PASS' if is_good else 'FAIL'))
    return is_good


def check(name, length, fraction, new_until, people):
    """Print the figures for a length at a fraction -> whether all are within their bounds."""
    rows = [row for rates in people for row in replayed(rates, length, fraction)]
    given = [row[1] for row in rows if row[1]]
    new = [row[1].held for row in rows if row[1] and row[0] < new_until]
    slope, full, ours = (figures([row[2] for row in rows]), figures([row[3] for row in rows]),
                         figures(given))
    print('%s window at %d %%, %d forecasts' % (name, 100 * fraction, len(rows)))
    for who, (score, held, width) in (('average and slope', slope), ('anything up to 100', full),
                                      ('outlook', ours)):
        print('  %-20s score %6.1f   held %.2f   width %5.1f' % (who, score, held, width))
    ratio, width = BOUNDS[name, fraction]
    return all([
        tell('score / better baseline', ours[0] / min(slope[0], full[0]), 0, ratio),
        tell('held', ours[1], HELD_LEAST, HELD_MOST),
        tell('median width', ours[2], 0, width),
        tell('held with nothing to learn from', statistics.mean(new), HELD_NEW, 1),
        tell('given where not silent by rule', len(given) / len(rows), GIVEN_LEAST, 1)])


def check_time():
    """Print what the outlooks of eight limits take -> whether that is within the bounds."""
    limits = []
    for number in range(8):
        length = WEEK if number else HOURS5
        found = [window for window in windows(person('office', number, 35), length)
                 if 3 <= window[1][length // 2] < 99]
        start = found[-1][0]
        taken = samples(found, start + length // 2, length)
        end, now = MONDAY + 60.0 * (start + length), MONDAY + 60.0 * (start + length // 2 + 1)
        limits.append((taken, end, 60.0 * length, now))
    tracemalloc.start()
    poller = []
    for taken, end, seconds, now in limits:
        own = without_repeats([tuple(map(float, sample)) for sample in taken if sample[2] == end])
        poller.append((own, summaries(taken, seconds, now), end, seconds, now))
    size = tracemalloc.get_traced_memory()[0] / 2 ** 20
    tracemalloc.stop()
    times = {outlook: [], outlook_from: []}
    for _ in range(9):
        for call, argument_lists in ((outlook, limits), (outlook_from, poller)):
            began = time.perf_counter()
            for arguments in argument_lists:
                call(*arguments)
            times[call].append(1000 * (time.perf_counter() - began))
    print('Outlook of eight limits, 35 days, %d samples' % sum(len(limit[0]) for limit in limits))
    print('  from all samples: %.1f ms' % statistics.median(times[outlook]))
    return all([
        tell('from summaries, ms', statistics.median(times[outlook_from]), 0, MILLISECONDS),
        tell('kept in memory, MiB', size, 0, MEBIBYTES)])


def main(seeds=range(4), kinds=KINDS):
    """Print all figures -> 0 where all are within their bounds, else 1."""
    verdicts = [check_time()]
    for name, length, days, new_until in LENGTHS:
        people = [person(kind, seed, days) for kind in kinds for seed in seeds]
        for fraction in FRACTIONS:
            verdicts.append(check(name, length, fraction, new_until, people))
    print('all within their bounds' if all(verdicts) else 'NOT all within their bounds')
    return 0 if all(verdicts) else 1


if __name__ == '__main__':
    first, end = map(int, sys.argv[1:3] if len(sys.argv) == 3 else (0, 4))
    sys.exit(main(range(first, end)))
