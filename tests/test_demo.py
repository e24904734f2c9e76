"""The demo: two accounts, whose two minutes tell a story."""
import claude_usage
from claude_usage import (DEMO_ALERTS, DEMO_PLACES, DEMO_SECONDS, DEMOS, Moment, Reading, Snapshot,
                          Ui, Watched, absorb, compose, events, pace_state)

NOW = 1795608000 // DEMO_SECONDS * DEMO_SECONDS


def invented(now):
    """The Snapshot of the demo at a time."""
    snapshot = Snapshot()
    for demo in DEMOS:
        for reading in demo(now):
            snapshot = absorb(snapshot, Reading(*reading))
    return snapshot


def test_the_story():
    """From any moment on, two minutes show a throttled account, a run-out warning and a reset."""
    told, before = {}, invented(NOW)
    watched = Watched(DEMO_ALERTS, 'code', DEMO_PLACES, NOW)
    for now in range(NOW, NOW + 2 * DEMO_SECONDS, 10):
        after = invented(now)
        for event in events(before, after, now, watched):
            told.setdefault((event.kind, event.place), now - NOW)
        assert pace_state(after, DEMO_PLACES[0], now).status == 'throttling'
        before = after
    assert set(told) == {('runout', DEMO_PLACES[0]), ('reset', DEMO_PLACES[1])}
    assert 20 <= told['runout', DEMO_PLACES[0]] < told['reset', DEMO_PLACES[1]] == 60


def test_both_accounts_are_seen_at_every_usual_size():
    snapshot = invented(NOW + 45)
    ui = Ui(origin='demo', mode='code', place=DEMO_PLACES[0], places=DEMO_PLACES)
    for size in (160, 45), (100, 30), (80, 24), (47, 30):
        lines = compose(snapshot, ui, size, Moment(NOW + 45)).lines
        screen = '\n'.join(''.join(span.text for span in line) for line in lines)
        for words in ('ada@example.com · demo', 'ada@engines.example · demo', 'THROTTLING', '⚠ ',
                      '7-Day Fable', '100%'):
            assert words in screen, size


def test_the_past_is_invented_once_for_each_window():
    invented(NOW)
    before = claude_usage.demo_past.cache_info().misses
    invented(NOW + 45)
    assert claude_usage.demo_past.cache_info().misses == before
