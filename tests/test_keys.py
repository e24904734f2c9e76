"""Keys and signals."""
import signal

import pytest

from claude_usage import KEYS, NOTICE_SECONDS, Failure, Frame, Known, Snapshot, Ui, press
from samples import NORMAL, NOW, SITUATIONS

FRAME = Frame([], overflow=12, room=5)
SIGNALS = [name for name in ('SIGTERM', 'SIGHUP', 'SIGQUIT') if hasattr(signal, name)]


def pressed(key, ui=Ui(), snapshot=NORMAL, frame=FRAME, now=NOW):
    return press(ui, key, snapshot, frame, now)


def test_the_keys():
    assert [name for key in KEYS for name in key.names] == [
        'q', 'r', 'tab', 'right', 'left', 'm', '?', 'escape', 'up', 'down', 'page up', 'page down']
    assert all(key.shown and key.help for key in KEYS)
    assert 'q, Ctrl+C' in [key.shown for key in KEYS]


@pytest.mark.parametrize('key', ['', 'x', 'Q', 'R', ' ', 'escap', 'home'])
def test_other_keys_do_nothing(key):
    for ui in (Ui(), Ui(help=True, scroll=3, notice=('so',), notice_until=NOW)):
        assert pressed(key, ui) == ui


@pytest.mark.parametrize('key, code', [('q', 0), ('SIGINT', 0)] + [
    (name, 128 + getattr(signal, name)) for name in SIGNALS])
def test_what_ends_the_program(key, code):
    for ui in (Ui(), Ui(help=True, scroll=3)):
        assert pressed(key, ui) == ui._replace(exit_code=code)


def test_a_second_signal_before_there_is_anything():
    assert press(Ui(), 'SIGTERM', None, None, 0).exit_code == 143


@pytest.mark.parametrize('key, shown, then', [
    ('?', False, True), ('?', True, False), ('escape', True, False), ('escape', False, False)])
def test_help(key, shown, then):
    assert pressed(key, Ui(help=shown, scroll=3)) == Ui(help=then, scroll=0)


@pytest.mark.parametrize('key, start, end', [
    ('down', 0, 1), ('down', 11, 12), ('down', 12, 12), ('up', 12, 11), ('up', 1, 0), ('up', 0, 0),
    ('page down', 0, 5), ('page down', 10, 12), ('page up', 12, 7), ('page up', 3, 0),
    ('down', 99, 12), ('up', 99, 12), ('page up', 99, 12)])
def test_scrolling_stays_inside(key, start, end):
    for shown in (False, True):
        ui = Ui(help=shown, scroll=start)
        assert pressed(key, ui) == ui._replace(scroll=end)


@pytest.mark.parametrize('key', ['up', 'down', 'page up', 'page down'])
def test_what_fits_does_not_scroll(key):
    assert pressed(key, frame=Frame([], 0, 20)).scroll == 0


# --- Refresh ---

def failing(code, detail='', **known):
    return NORMAL._replace(usage=NORMAL.usage._replace(failure=Failure(code, detail), **known))


def test_refresh_asks():
    for free_at in (0.0, NOW):
        snapshot = NORMAL._replace(usage=NORMAL.usage._replace(free_at=free_at))
        assert pressed('r', snapshot=snapshot) == Ui(
            asked_at=NOW, notice=('Refreshing.',), notice_until=NOW + NOTICE_SECONDS)


def test_refresh_asks_again_after_a_failure():
    assert pressed('r', snapshot=failing('network', 'unknown host')).asked_at == NOW


@pytest.mark.parametrize('snapshot, told', [
    (SITUATIONS['rate limited'], '20:31:1'),
    (NORMAL._replace(usage=NORMAL.usage._replace(free_at=NOW + 42)), '20:20:0'),
    (SITUATIONS['token expired'], 'Token expired. Run `claude` to refresh.'),
    (SITUATIONS['no login'], 'No Claude Code login found. Run `claude` to log in, '
                             'or set ANTHROPIC_ADMIN_API_KEY for the Console.'),
    (failing('forbidden_scope', next_at=None, free_at=None), 'This token cannot read usage.'),
    (Snapshot(), 'Already asking.'),
    (Snapshot(usage=Known(None, None, Failure('internal', 'x'), NOW + 9)), 'Internal error: x.'),
])
def test_refresh_that_cannot_be_says_why_or_when(zone, snapshot, told):
    ui = pressed('r', snapshot=snapshot)
    assert ui.asked_at is None
    assert told in ui.notice[0]
    assert ui.notice_until == NOW + NOTICE_SECONDS


@pytest.mark.parametrize('part', [0.0, 0.01, 0.5, 0.99])
def test_the_time_told_is_not_too_early(zone, part):
    """A key pressed when the clock shows that second asks."""
    free_at = NOW + 42 + part
    snapshot = NORMAL._replace(usage=NORMAL.usage._replace(free_at=free_at))
    told = pressed('r', snapshot=snapshot).notice
    second = 0 if '20:20:00' in told else 1 if '20:20:01' in told else None
    assert NOW + 42 + second >= free_at
    assert pressed('r', snapshot=snapshot, now=NOW + 42 + second).asked_at


def test_the_answer_to_a_key_replaces_the_last_one():
    ui = Ui(notice=('old',), notice_until=NOW + 1, help=True, scroll=2)
    assert pressed('r', ui) == ui._replace(notice=('Refreshing.',), asked_at=NOW,
                                           notice_until=NOW + NOTICE_SECONDS)
