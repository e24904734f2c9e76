"""Thirty-four hours of two monitors with all their pollers, by a clock that is passed in.

`tox -e soak`. A month ends in it, windows reset, tokens expire and are renewed, both services
answer 429 now and then, and Pace Maker writes its database for half of the time.
"""
import argparse
import gc
import os
import resource
import threading
import time

import pytest

import pacemaker
from admin import KEY, AdminApi, Organization, error
from captures import TOKEN
from claude_usage import (DAY, HOUR, MINUTE, AlertPoller, ConsolePoller, Moment, OutlookPoller,
                          PacePoller, Ui, as_json, as_metrics, compose, parse_time)
from harness import USAGE, World, limited, moving, within_budget

pytestmark = [pytest.mark.soak, pytest.mark.skipif(
    not os.path.isdir('/proc/self/fd'), reason='needs the /proc of Linux')]

START = parse_time('2099-11-30T02:00:00Z')      # in the time of the harness
HOURS = 34
# Seconds of an hour at which both look: often while somebody presses a key, then seldom.
LOOKS = list(range(0, 5 * MINUTE, 10)) + list(range(6 * MINUTE, HOUR, 2 * MINUTE))
CONSOLE_SECONDS = 10 * MINUTE
MIB = 1 << 20


class Watch:
    """A monitor that looks, shows and prints what its pollers tell."""

    def __init__(self, world):
        self.world, self.failures = world, set()
        self.monitor = world.monitor(env={'ANTHROPIC_ADMIN_API_KEY': KEY})
        setup = self.monitor.setup
        options = dict(vars(setup.options), alert=['80', '95'], on_alert=[], title=False,
                       output=None, interval=CONSOLE_SECONDS)
        setup = setup._replace(options=argparse.Namespace(**options))
        self.alerts = AlertPoller(setup)
        self.pollers = [make(setup) for make in (OutlookPoller, PacePoller, ConsolePoller)]

    def look(self, asked):
        """Let all of them do what is due."""
        self.monitor.once(asked)
        for poller in self.pollers + [self.alerts]:
            poller.once()
        self.monitor.hear()
        self.alerts.see(self.monitor.snapshot, 'code', (self.monitor.place,))
        for _, source, known in self.monitor.told:
            if known.failure:
                self.failures.add((source, known.failure.code))
        del self.monitor.told[:]

    def show(self):
        """Make a frame and the documents of each mode."""
        snapshot, place = self.monitor.snapshot, self.monitor.place
        moment = Moment(self.world.now)
        for mode in ('code', 'console'):
            compose(snapshot, Ui(place=place, mode=mode), (120, 40), moment)
            as_json(snapshot, (place,), moment, mode)
            as_metrics(snapshot, (place,), moment, mode)


def used(now, window):
    """(percent, reset) of a window that rises to 96 percent and begins anew."""
    return int(now % window / window * 97), now // window * window + window


def held():
    """(bytes of memory, threads, open files) of this process when its requests have ended."""
    end = time.monotonic() + 10
    while threading.active_count() > 2 and time.monotonic() < end:
        time.sleep(0.01)        # the server's threads, and those of the requests
    gc.collect()
    with open('/proc/self/statm') as file:
        memory = int(file.read().split()[1]) * resource.getpagesize()
    return memory, threading.active_count(), len(os.listdir('/proc/self/fd'))


def write_rows(writer, now):
    """Write what a hook of Pace Maker's does after its own request."""
    ends = [(percent, reset - pacemaker.NOW) for percent, reset in
            (used(now, 5 * HOUR), used(now, 7 * DAY))]
    row = pacemaker.usage(*ends[0] + ends[1], at=now)
    for table in ('usage_snapshots', 'api_cache'):
        writer.ask('insert', table, [pacemaker.complete(table, row)])


def test_thirty_four_hours(server, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    pace, world = pacemaker.Pace(tmp_path / '.claude-pace-maker'), World(server, tmp_path)
    api, requests, figures = AdminApi(server, Organization('2099-11-01', days=33)), [], []
    too_many = error(429, 'Too many requests', **{'Retry-After': '720'})
    api.faults['cost_report'] = lambda _: too_many if world.now // HOUR % 7 == 3 else None

    def usage(request):
        requests.append(world.now)
        if world.now // (20 * MINUTE) % 7 == 3:
            return limited(None if len(requests) % 2 else 400)
        return moving(*used(world.now, 5 * HOUR))
    server.answer(USAGE, usage)
    world.now = START
    watches = Watch(world), Watch(world)
    with pace.writer() as writer:
        for hour in range(HOURS):
            for second in LOOKS:
                world.now = START + hour * HOUR + second
                if second == 0 and hour % 8 == 0:
                    world.log_in(TOKEN + str(hour), world.now + 8 * HOUR - 5 * MINUTE)
                if second % (6 * MINUTE) == 0 and hour % 6 < 3:
                    write_rows(writer, world.now)
                for watch in watches:
                    watch.look(asked=second < 5 * MINUTE)
                    if second % (20 * MINUTE) == 0:
                        watch.show()
            del server.requests[:]
            figures.append(held())
    memory, threads, files = zip(*figures[HOURS // 10:])
    print('%d requests; MiB %s' % (len(requests), [round(each / MIB, 1) for each in memory]))
    assert within_budget(requests) and len(requests) > 5 * HOURS
    assert max(memory) - min(memory) <= 2 * MIB
    assert len(set(threads)) == len(set(files)) == 1, figures
    for watch in watches:
        assert {('usage', 'rate_limited'), ('usage', 'token_expired'),
                ('console', 'rate_limited')} <= watch.failures
        assert watch.monitor.snapshot['', 'console'].value.through == '2099-12-01'
