"""The loop: from the inbox to the screen, and to what is printed once."""
import queue
import threading

import pytest

import claude_usage
from claude_usage import (ASKING, EAGER_SECONDS, KEY_SECONDS, PLANNED, Credentials, Failure, Known,
                          Reading, Snapshot, collect, is_awaited, run, with_mode)
from samples import LOOKING, NO_KEY, NO_LOGIN, NORMAL, NOW, PLACE, SITUATIONS, UI, changed


def test_the_mode_follows_the_credentials_unless_it_was_chosen():
    console = changed(NORMAL, 'credentials', value=Credentials(NO_KEY, 'key', 'console'))
    assert with_mode(LOOKING, Snapshot()) == LOOKING and with_mode(LOOKING, NORMAL) == UI
    assert with_mode(LOOKING, console).mode == 'console' and with_mode(UI, console) == UI


@pytest.mark.parametrize('known, ui, awaited', [
    (Snapshot(), LOOKING, True), (Snapshot(), UI, True), (SITUATIONS['waiting'], UI, True),
    (NORMAL, UI, False), (SITUATIONS['asking'], UI, False), (NO_LOGIN, UI, False),
    (SITUATIONS['asking'], UI._replace(asked_at=NOW), False),           # a reply came since
    (SITUATIONS['asking'], UI._replace(asked_at=NOW + 1), True),
    (changed(NORMAL, 'usage', phase=ASKING, next_at=None), UI, True),   # the rest of it
    (SITUATIONS['rate limited'], UI._replace(asked_at=NOW + 1), False)])
def test_is_awaited(known, ui, awaited):
    assert is_awaited(known, ui) is awaited


class FakePoller:
    """A poller that puts its Readings into the inbox once it is started."""

    def __init__(self, inbox, readings=(), modes=(), sources=('usage',)):
        self.inbox, self.readings, self.modes, self.sources = inbox, readings, modes, sources
        self.asks, self.starts, self.wanted = [], 0, True
        self.asked, self.is_of_account, self.place = threading.Event(), False, PLACE

    def start(self):
        self.starts += 1
        for reading in self.readings:
            self.inbox.put(reading)

    def is_alive(self):
        return bool(self.starts)

    def ask_now(self, at, max_age=None):
        self.asks.append(max_age)

    def see(self, snapshot, mode, places):
        self.seen = mode, places

    def is_settled(self, snapshot):
        return all(snapshot[PLACE, source].is_settled for source in self.sources)


def readings(known, *sources):
    return [Reading(PLACE, source, known[PLACE, source]) for source in sources]


def make_pollers(inbox, known, *told):
    """The pollers of logins, of Code mode, and of Console mode."""
    return [FakePoller(inbox, readings(known, 'credentials', 'identity'), (),
                       ('credentials', 'identity')),
            FakePoller(inbox, told, ('code',)), FakePoller(inbox, (), ('console',))]


@pytest.mark.parametrize('max_age', [None, 60])
@pytest.mark.parametrize('known', [NORMAL, NO_LOGIN])
def test_collect_waits_for_all_sources_of_the_mode(known, max_age):
    inbox, steps = queue.Queue(), []
    asking = Reading(PLACE, 'usage', Known(phase=ASKING))
    pollers = make_pollers(inbox, known, asking, *readings(known, 'usage'))
    snapshot, ui = collect(pollers, inbox, LOOKING, max_age, steps.append, 5)
    assert ui == UI and snapshot == known and steps[-1] == snapshot and len(steps) == 4
    assert [poller.starts for poller in pollers] == [1, 1, 0]       # the Console is not asked
    asks = [] if max_age is None else [max_age]
    assert [poller.asks for poller in pollers] == [asks, asks, []]


def test_collect_ends_after_a_silence():
    inbox = queue.Queue()
    for pollers in (make_pollers(inbox, NORMAL), [FakePoller(inbox)]):
        snapshot, ui = collect(pollers, inbox, LOOKING, None, None, 0.01)
        assert ui == UI and snapshot[PLACE, 'usage'].failure == Failure('timeout')


@pytest.mark.parametrize('pace', [Known(None, 0.0, None, PLANNED), None])
def test_collect_gives_a_moment_to_what_the_output_can_do_without(pace, monkeypatch):
    monkeypatch.setattr(claude_usage, 'GRACE_SECONDS', 0.3 if pace else 0.01)
    inbox = queue.Queue()
    month = Known(failure=Failure('timeout'), phase=PLANNED)
    told = [Reading(PLACE, 'pace_maker', pace)] if pace else []
    pollers = make_pollers(inbox, NORMAL)[:1] + [
        FakePoller(inbox, [Reading(PLACE, 'console', month)], ('console',), ('console',)),
        FakePoller(inbox, told, ('code', 'console'), ('pace_maker',))]
    snapshot, _ = collect(pollers, inbox, UI._replace(mode='console'), None, None, 5)
    assert snapshot[PLACE, 'console'] == month
    assert snapshot[PLACE, 'pace_maker'] == (pace or Known())


def test_what_is_known_stays_where_only_a_profile_is_missing(monkeypatch):
    monkeypatch.setattr(claude_usage, 'DIRECTORY_SECONDS', 0.01)
    inbox = queue.Queue()
    pollers = make_pollers(inbox, NORMAL, *readings(NORMAL, 'usage'))
    pollers[1].sources = 'usage', 'profile'
    snapshot, _ = collect(pollers, inbox, UI._replace(places=(PLACE, '/b')))
    assert not snapshot[PLACE, 'usage'].failure


class FakeScreen:
    """A screen with a script: keys, Readings that come, sizes, seconds that pass; then q."""

    def __init__(self, inbox, *script):
        self.inbox, self.script, self.frames, self.waits = inbox, list(script), [], []
        self.shape, self.now = (47, 16), NOW + 0.5

    def size(self):
        return self.shape

    def paint(self, lines):
        self.frames.append(lines)

    def call(self, title, bell):
        self.called = title, bell

    def key(self, seconds):
        self.waits.append(seconds)
        event = self.script.pop(0) if self.script else 'q'
        if isinstance(event, Reading):
            self.inbox.put(event)
        elif isinstance(event, tuple):
            self.shape = event
        elif isinstance(event, float):
            self.now += event
        else:
            return event
        return ''


def test_an_idle_screen_is_not_painted():
    inbox = queue.Queue()
    screen = FakeScreen(inbox, '', 20.0, '', (28, 8), '', 60.0, '', '?', 'r', '')
    pollers = make_pollers(inbox, NORMAL)
    for reading in readings(NORMAL, 'credentials', 'usage'):
        inbox.put(reading)
    assert run(screen, pollers, inbox, LOOKING, lambda: screen.now) == 0
    # At first, with the identity, at the new size, after a minute, with the help, the notice.
    assert len(screen.frames) == 6 and set(screen.waits) == {KEY_SECONDS}
    assert pollers[1].asks == [None] and not pollers[2].asks and pollers[2].wanted is False


def test_the_first_frame_waits_for_nothing_and_the_mode_starts_its_pollers():
    inbox = queue.Queue()
    screen = FakeScreen(inbox, '', readings(NORMAL, 'credentials')[0], '',
                        readings(NORMAL, 'usage')[0], '')
    pollers = make_pollers(inbox, Snapshot())
    pollers[0].readings = ()
    pollers[0].start = lambda: screen.frames or pytest.fail('started before the first frame')
    assert run(screen, pollers, inbox, LOOKING, lambda: screen.now) == 0
    assert len(screen.frames) == 3 and [poller.starts for poller in pollers] == [0, 1, 0]
    assert screen.waits == [EAGER_SECONDS] * 4 + [KEY_SECONDS] * 2
