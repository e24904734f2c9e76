"""Outlook: its words and pictures, its poller over a real store, and what scripts get of it."""
import json
import os
import re
import time

import pytest
from harness import World
from samples import FIVE_HOUR, NORMAL, NOW, PLACE, SEVEN_DAY, UI

from claude_usage import (DAY, HOUR, MINUTE, PLANNED, SAMPLE_INTERVAL, STORE_LOOK, History, Known,
                          Limit, Logins, Moment, Outlook, OutlookPoller, Reading, Setup,
                          SourceError, Store, Summary, Usage, absorb, account_key, as_json,
                          as_metrics, bar, cells, check_limits, compose, landing_words,
                          outlook_from, projected_limits, rate_words, stored_tails)


WINDOW = 5 * HOUR
ENDS = FIVE_HOUR.resets_at


def past_of(count, window=WINDOW, ends=ENDS):
    """Finished windows, one after another; every third was full."""
    found = []
    for index in range(count, 0, -1):
        end = ends - window * index
        peak = 100.0 if index % 3 == 0 else 30.0 + index % 50
        course = tuple(peak * part / 12 for part in range(13))
        full_at = end - HOUR if peak == 100 else None
        found.append(Summary(end - window, end, course, peak, full_at, end))
    return tuple(found)


def history_of(limit=FIVE_HOUR, count=20, full_left=None):
    """The History of a limit that has risen evenly to what is used."""
    start = limit.resets_at - limit.window
    samples = tuple((start + (NOW - start) * part / 40, limit.used * part / 40, limit.resets_at)
                    for part in range(41))
    past = past_of(count, limit.window, limit.resets_at)
    found = outlook_from(samples, past, limit.resets_at, limit.window, NOW)
    return History(limit.window, samples, past, found, full_left)


def known_with(**histories):
    """What is known with these histories, by the id of the limit."""
    return absorb(NORMAL, Reading(PLACE, 'outlook', Known(histories, NOW, phase='planned')))


FIVE_WEEKS = known_with(five_hour=history_of(), seven_day=history_of(SEVEN_DAY, 5, 6.4))
FIRST_HOUR = known_with(five_hour=history_of(count=0))


def shown(snapshot, size, ui=UI, now=NOW):
    """The text of a screen."""
    frame = compose(snapshot, ui, size, Moment(now))
    return '\n'.join(''.join(span.text for span in line) for line in frame.lines)


# --- words ---

def outlook(low, high, out_from=None, out_until=None, rate=7.2):
    return Outlook(low, high, out_from, out_until, rate, 20, 50.0)


@pytest.mark.parametrize('found, words, last', [
    (Outlook(), None, None),
    (outlook(71.2, 88.4), 'Lands at 71–88%', '→88%'),
    (outlook(70.9, 71.2), 'Lands at 71%', '→71%'),
    (outlook(98.0, 99.9), 'Lands at 98–99%', '→99%'),
    (outlook(80, 120, NOW + HOUR), 'May run out from 21:19 · 7.2%/h keeps you under', '→100%'),
    (outlook(80, 100.0, NOW + HOUR, rate=12.4), 'May run out from 21:19 · 12%/h keeps you under',
     '→100%'),
    (outlook(130, 190, NOW + HOUR, NOW + HOUR + 15 * MINUTE),
     '⚠ Runs out 21:19–21:34, 2h 45m before the reset', '⚠21:19'),
    (outlook(80, 120, NOW + HOUR, rate=112.0), 'May run out from 21:19 · 112%/h keeps you under',
     '→100%'),
    (outlook(80, 120, NOW + HOUR, rate=9.96), 'May run out from 21:19 · 9.9%/h keeps you under',
     '→100%'),
    (outlook(100.0, 101, NOW + HOUR, NOW + HOUR + 5),
     '⚠ Runs out 21:19, 2h 45m before the reset', '⚠21:19')])
def test_words(zone, found, words, last):
    told = landing_words(found, ENDS, Moment(NOW))
    assert (told[0], told[-1]) == (words, last) if words else told == ()
    assert list(map(cells, told)) == sorted(map(cells, told), reverse=True)
    assert not landing_words(found, NOW - 1, Moment(NOW)), 'its window has ended'


@pytest.mark.parametrize('used, elapsed, text', [
    (64, None, '████████████▊░░░░░░░'), (64, 0.73, '████████████▊░│░░░░░'),
    (64, 0, '│███████████▊░░░░░░░'), (64, 0.9999, '████████████▊░░░░░░│'),
    (64, 0.64, '████████████│░░░░░░░'), (100, 0.5, '██████████│█████████'),
    (0, 0.5, '░░░░░░░░░░│░░░░░░░░░')])
def test_the_mark_in_a_bar(used, elapsed, text):
    spans = bar(used, 20, 'green', elapsed)
    assert ''.join(span.text for span in spans) == text
    assert bar(used, 0, 'green', elapsed)[0].text == ''


def test_beside_a_limit(zone):
    text = shown(FIVE_WEEKS, (47, 24))
    lines = '5-Hour.*│.*78%.*\n.*Resets in: 3h 45m.*\n.*(Lands at|run out|Runs out)'
    assert re.search(lines, text)
    assert '≈ 6 full 5-hour windows left in it' in text
    low = shown(FIVE_WEEKS, (47, 12))
    assert 'Resets in' in low and 'windows left' not in low, 'it goes before a reset does'
    assert re.search('→|⚠', shown(FIVE_WEEKS, (60, 2)))
    idle = Usage((FIVE_HOUR._replace(resets_at=None),), NOW)
    text = shown(absorb(NORMAL, Reading(PLACE, 'usage', Known(idle, NOW))), (47, 24))
    assert '█│' not in text and '░│░' not in text, 'nothing has begun'


def test_another_window_has_no_outlook_yet():
    later = FIVE_HOUR._replace(resets_at=NOW + WINDOW)
    snapshot = absorb(FIVE_WEEKS, Reading(PLACE, 'usage', Known(Usage((later,), NOW), NOW)))
    text = shown(snapshot, (47, 24))
    assert 'Lands' not in text and 'un' not in text.split('Resets in')[1].split('Updated')[0]


# --- pictures ---

SIZES = [(width, height) for width in (1, 16, 28, 30, 47, 80, 94, 131)
         for height in (1, 3, 6, 8, 9, 12, 24, 40)]


@pytest.mark.parametrize('panel', range(5))
@pytest.mark.parametrize('is_ascii', [False, True])
def test_every_size(panel, is_ascii):
    for snapshot in (FIVE_WEEKS, FIRST_HOUR):
        for size in SIZES:
            ui = UI._replace(panel=panel, ascii=is_ascii, icons=not is_ascii)
            lines = shown(snapshot, size, ui).split('\n')
            assert len(lines) == size[1] and {cells(line) for line in lines} == {size[0]}, size
            assert not is_ascii or max(''.join(lines)) <= '~', size


def test_what_goes_first_where_it_is_small(zone):
    """The finished windows, then the labels, then the range; below 24x6 there is no picture."""
    def picture(height, width=60):
        return shown(FIVE_WEEKS, (width, height), UI._replace(panel=1, hint=False))
    braille = re.compile('[\u2801-\u28ff]')
    assert 'Past: ' in picture(11) and '100%' in picture(11)
    assert 'Past: ' not in picture(10) and '100%' in picture(10)
    assert '100%' not in picture(9) and braille.search(picture(9))
    assert braille.search(picture(8)) and not braille.search(picture(7))
    assert not braille.search(picture(30, 27)) and braille.search(picture(30, 28))
    assert '19:04' in picture(11) and '00:04' in picture(11), 'local times'


@pytest.mark.parametrize('name, size, ui', [
    ('picture-100', (100, 30), {}), ('picture-60', (60, 20), {'panel': 1}),
    ('picture-ascii', (60, 20), {'panel': 1, 'ascii': True, 'icons': False}),
    ('history', (60, 16), {'panel': 3, 'scroll': 2})])
def test_golden_pictures(zone, golden, name, size, ui):
    golden('outlook-' + name, shown(FIVE_WEEKS, size, UI._replace(**ui)))


def test_a_low_screen_tells_the_landing_behind_the_countdown(zone):
    for size, is_told in (((80, 9), True), ((60, 9), True), ((30, 6), False)):
        text = shown(FIVE_WEEKS, size)
        assert re.search('78% +3h45m', text)
        assert bool(re.search('78% +3h45m (→|⚠)', text)) == is_told, size


@pytest.mark.parametrize('width, words', [
    (80, '  04:04 100%  09:04 32%  14:04 31%  19:04 78% '), (47, ' 100% 32% 31% 78% '),
    (30, ' 100% …')])
def test_a_day_is_cut_at_whole_windows(zone, width, words):
    text = shown(FIVE_WEEKS, (width, 12), UI._replace(panel=3))
    day = [line for line in text.split('\n') if 'Nov 22' in line][0]
    assert words in day


def test_days_without_use_have_a_row(zone):
    past = [window for window in past_of(40) if time.localtime(window.start)[2] != 20]
    history = history_of()._replace(past=tuple(past))
    rows = shown(known_with(five_hour=history), (80, 20), UI._replace(panel=2)).split('\n')
    days = [row[2:12] for row in rows if 'Nov' in row]
    assert days[:4] == ['Sun Nov 22', 'Sat Nov 21', 'Fri Nov 20', 'Thu Nov 19']
    assert not re.search(r'\d%', [row for row in rows if 'Nov 20' in row][0])


def test_history_scrolls(zone):
    ui = UI._replace(panel=3)
    frame = compose(FIVE_WEEKS, ui, (60, 8), Moment(NOW))
    assert frame.overflow > 0
    end = shown(FIVE_WEEKS, (60, 8), ui._replace(scroll=frame.overflow))
    assert '↑' in end and '20 windows in 35 days, 6 full, 6h 0m waited' in shown(
        FIVE_WEEKS, (60, 8), ui)


def test_the_help_tells_of_a_short_past():
    ui = UI._replace(help=True)
    assert '5-Hour is from 0 past windows' in shown(FIRST_HOUR, (100, 40), ui)
    assert 'is from' not in shown(FIVE_WEEKS, (100, 40), ui)


def test_a_frame_stays_the_same_until_its_moment_ends(zone):
    for panel in range(4):
        moment = Moment(NOW + 0.5)
        frame = compose(FIVE_WEEKS, UI._replace(panel=panel), (100, 30), moment)
        later = compose(FIVE_WEEKS, UI._replace(panel=panel), (100, 30),
                        Moment(moment.until - 0.01))
        assert frame.lines == later.lines


# --- scripts ---

def test_documents():
    document = json.loads(as_json(FIVE_WEEKS, (PLACE,), Moment(NOW), 'code'))
    found = document['limits'][0]['outlook']
    assert list(found) == ['low_percent', 'high_percent', 'runs_out_from', 'runs_out_until',
                           'sustainable_percent_per_hour', 'elapsed_percent', 'windows_seen']
    assert 78 <= found['low_percent'] <= found['high_percent'] <= 100
    assert (found['windows_seen'], found['elapsed_percent']) == (20, 25.0)
    document = json.loads(as_json(NORMAL, (PLACE,), Moment(NOW), 'code'))
    assert document['limits'][0]['outlook'] is None
    text = as_metrics(FIVE_WEEKS, (PLACE,), Moment(NOW), 'code')
    assert re.search('projected_ratio{limit="seven_day",bound="low"} 0', text)
    assert 'projected_ratio' not in as_metrics(NORMAL, (PLACE,), Moment(NOW), 'code')


def test_check_projected():
    usage = Usage((FIVE_HOUR._replace(at=NOW), SEVEN_DAY._replace(at=NOW)), NOW)
    projected = usage._replace(limits=projected_limits(usage, FIVE_WEEKS, PLACE))
    assert check_limits(usage, 90, Moment(NOW))[0] == 0
    assert check_limits(projected, 90, Moment(NOW))[0] == 3


@pytest.mark.parametrize('rate, words', [
    (112, '112'), (10.9, '10'), (9.96, '9.9'), (1, '1'), (0.99, '0.99'), (0.049, '0.04')])
def test_rates_are_rounded_down(rate, words):
    assert rate_words(rate) == words


def test_stored_tails(zone):
    def tails(age, used=60.0, later=0, told=(60, 88, None, None)):
        body = json.dumps({'five_hour': (ENDS,) + told})
        limit = Limit('five_hour', '5-Hour', '5h', used, ENDS + later, WINDOW)
        found = stored_tails({'outlook': (NOW - age, body)}, [limit], Moment(NOW))
        return {name: [(span.text, span.role) for span in spans]
                for name, spans in found.items()}
    assert tails(599) == {'five_hour': [('→88%', 'orange')]}
    assert tails(601) == tails(9, later=HOUR) == {}
    assert stored_tails({}, [], Moment(NOW)) == {}
    # What the numbers of now have overtaken is not said.
    assert tails(9, used=100.0) == tails(9, used=89.0) == {}
    assert tails(9, told=(120, 130, NOW + 60, NOW + 90))['five_hour'][0][1] == 'red'
    assert tails(9, told=(120, 130, NOW - 60, NOW + 90)) == {}


def test_history_as_csv_and_json(server, tmp_path, home, capsys, monkeypatch):
    import claude_usage
    monkeypatch.setenv('CLAUDE_USAGE_DIR', str(tmp_path / 'store'))
    monkeypatch.setenv('HOME', str(home))
    logins, now = Logins(os.environ), claude_usage.time.time()
    account = account_key(logins.identity(), os.environ)
    limit = Limit('five_hour', '5-Hour', '5h', 12.5, now + HOUR, WINDOW, at=now - 2 * DAY)
    store = Store(str(tmp_path / 'store'))
    for age in (2 * DAY, HOUR):
        store.add([], {}, (account, [limit._replace(at=now - age)]), now)
    emitted = []
    monkeypatch.setattr(claude_usage, 'emit', lambda text, stream: emitted.append(text))
    assert claude_usage.main(['--history']) == 0
    assert re.fullmatch('time,limit,used_percent,resets_at\n(20.*Z,five_hour,12.5,20.*Z\n){2}',
                        emitted.pop())
    assert claude_usage.main(['--history', '1', '--json']) == 0
    assert len(json.loads(emitted.pop())['samples']) == 1
    assert not server.requests


# --- the poller ---

class Watcher:
    """An OutlookPoller over a store that gets samples by hand, by a clock of its own."""

    def __init__(self, server, folder):
        self.world = World(server, folder)
        self.now, self.account = self.world.now, 'a'
        self.told = []
        self.start()

    def start(self):
        """Begin as a new process does."""
        world = self.world
        self.store = Store(str(world.folder / 'outlook'))
        setup = Setup(None, {}, self, lambda: self.now, self.store, Logins({}), PLACE)
        self.poller = OutlookPoller(setup)
        self.account = account_key(None, {})

    def put(self, reading):
        self.told.append(reading)

    def sample(self, used, ends, name='five_hour', window=WINDOW):
        limit = Limit(name, name, name, used, ends, window, at=self.now)
        self.store.add([], {}, (self.account, [limit]), self.now)

    def run(self, seconds, ends, rate=10, begin=0.0, **more):
        """Use so many percent an hour for so long."""
        for step in range(int(seconds // SAMPLE_INTERVAL)):
            self.sample(min(100.0, begin + rate * step * SAMPLE_INTERVAL / HOUR), ends, **more)
            self.now += SAMPLE_INTERVAL

    def histories(self):
        self.poller.ask_now(self.now)
        self.poller.once()
        return self.told[-1].known.value


@pytest.fixture
def watcher(server, tmp_path):
    return Watcher(server, tmp_path)


def test_windows_come_and_go(watcher):
    assert watcher.histories() == {}
    for count in range(3):
        ends = watcher.now + WINDOW
        watcher.run(2 * HOUR, ends)
        history = watcher.histories()['five_hour']
        assert len(history.past) == count == history.outlook.windows_seen
        assert history.outlook.low is not None and history.resets_at == int(ends)
        assert len(history.samples) <= 2 * HOUR / SAMPLE_INTERVAL + 1
        watcher.now = ends + MINUTE
        history = watcher.histories()['five_hour']
        assert not history.samples and len(history.past) == count + 1, 'its window has ended'
        assert history.outlook.low is None
    watcher.start()
    watcher.run(2 * HOUR, watcher.now + WINDOW)
    again = watcher.histories()['five_hour']
    assert [round(window.peak) for window in again.past] == [19, 19, 19]
    assert len(watcher.store.windows(watcher.account, watcher.now)['five_hour']) == 3


def test_a_window_that_has_not_begun_is_none(watcher):
    watcher.sample(0.0, None)
    watcher.now += SAMPLE_INTERVAL
    watcher.run(2 * HOUR, watcher.now + WINDOW)
    watcher.sample(0.0, None, name='seven_day', window=7 * DAY)
    assert list(watcher.histories()) == ['five_hour']


@pytest.mark.parametrize('later, past', [(0, [58.0]), (30, [58.0]), (HOUR, []), (-DAY, [])])
def test_the_past_of_another_program_is_taken_once(watcher, monkeypatch, later, past):
    """If it is of the same account: a window that runs ends at the same time."""
    import claude_usage
    calls, ends = [], watcher.now + WINDOW

    def read(now):
        calls.append(now)
        old = [(ends - 2 * WINDOW + step * 600, step * 2.0, ends - WINDOW) for step in range(30)]
        yield 'five_hour', WINDOW, old + [(watcher.now, 1.0, ends + later)]
    monkeypatch.setattr(claude_usage, 'PASTS', [read])
    assert watcher.histories() == {}
    watcher.run(2 * HOUR, ends)
    assert [window.peak for window in watcher.histories()['five_hour'].past] == past
    count = len(calls)
    watcher.start()
    assert len(watcher.histories()['five_hour'].past) == len(past)
    assert len(calls) == count or not past


def test_a_store_that_is_locked_for_a_while_costs_nothing(watcher):
    watcher.run(2 * HOUR, watcher.now + WINDOW)
    known, count = watcher.histories(), len(watcher.told)
    real = watcher.store.samples

    def locked(*_):
        raise SourceError('locked')
    watcher.store.samples = locked
    watcher.poller.ask_now(watcher.now)
    assert watcher.poller.once() == STORE_LOOK and len(watcher.told) == count
    watcher.now += 15                       # it goes on without new samples
    watcher.poller.once()
    assert watcher.told[-1].known == Known(known, watcher.now, phase=PLANNED)
    watcher.store.samples = real
    assert set(watcher.histories()) == set(known)


def test_it_is_left_for_the_status_line(watcher):
    watcher.run(2 * HOUR, watcher.now + WINDOW)
    history = watcher.histories()['five_hour']
    at, body = watcher.store.recall(watcher.account, '', watcher.now).replies['outlook']
    assert json.loads(body)['five_hour'][1:3] == list(history.outlook[:2]) and at == watcher.now


def test_a_store_that_fails_costs_the_outlook_only(watcher):
    os.makedirs(watcher.store.folder)
    os.chmod(watcher.store.folder, 0o777)
    assert watcher.histories() == {}
    assert not watcher.told[-1].known.failure


def test_nothing_is_read_again_within_a_minute(watcher):
    watcher.run(2 * HOUR, watcher.now + WINDOW)
    watcher.histories()
    watcher.poller.once()               # what was left for the status line changed the file
    reads = []
    watcher.store.samples = lambda *args: reads.append(args) or {}
    for _ in range(14):
        watcher.poller.once()
        watcher.now += 4
    assert not reads
    watcher.now += 4
    watcher.poller.once()
    assert len(reads) == 1


def test_a_clock_that_jumps_ahead_and_back(watcher):
    """The window that seemed to be over has its outlook again, here and in a new process."""
    ends = watcher.now + WINDOW
    watcher.run(2 * HOUR, ends)
    before = watcher.histories()['five_hour'].outlook
    watcher.now += 4 * HOUR
    assert not watcher.histories()['five_hour'].samples
    watcher.now -= 4 * HOUR
    for _ in range(2):
        history = watcher.histories()['five_hour']
        assert history.outlook == before and not history.past
        watcher.start()


def test_other_accounts_do_not_count(watcher):
    watcher.run(2 * HOUR, watcher.now + WINDOW)
    watcher.account = 'b'
    watcher.run(2 * HOUR, watcher.now + WINDOW, rate=40)
    assert watcher.histories()['five_hour'].samples[-1][1] < 20
