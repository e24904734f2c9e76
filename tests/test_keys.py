"""Keys and signals."""
import pytest

import claude_usage
from claude_usage import (ASKING, HELD, KEYS, MODES, NOTICE_SECONDS, Credentials, Failure, Frame,
                          Moment, Scene, Snapshot, Ui, panels_of, press)
from samples import LOGIN, LOOKING, NO_KEY, NORMAL, NOW, SITUATIONS, UI, changed

FRAME = Frame([], overflow=12, room=5)
HELPED = UI._replace(help=True, scroll=3, notice=('so',), notice_until=NOW)


def pressed(key, ui=UI, snapshot=NORMAL, frame=FRAME, now=NOW):
    return press(ui, key, snapshot, frame, now)


def noticed(ui, *words):
    return ui._replace(notice=words, notice_until=NOW + NOTICE_SECONDS)


def test_the_keys():
    assert [name for key in KEYS for name in key.names] == [
        'q', 'r', 'tab', 'right', 'left', 'm', '?', 'escape', 'up', 'down', 'page up', 'page down']
    assert all(key.shown and key.help for key in KEYS)
    assert 'q, Ctrl+C' in [key.shown for key in KEYS]
    for key in ('', 'x', 'Q', 'R', ' ', 'escap', 'home'):
        for ui in (UI, LOOKING, HELPED):
            assert pressed(key, ui) == ui


@pytest.mark.parametrize('key, code', [('q', 0), ('SIGINT', 0), ('SIGTERM', 143),
                                       ('SIGHUP', 129), ('SIGQUIT', 131)])
def test_what_ends_the_program_and_what_helps(key, code):
    for ui in (UI, LOOKING, HELPED):
        assert pressed(key, ui) == ui._replace(exit_code=code)
    assert press(Ui(), key, Snapshot(), None, 0).exit_code == code      # before there is anything
    for key, shown, then in (('?', False, True), ('?', True, False), ('escape', True, False),
                             ('escape', False, False)):
        assert pressed(key, UI._replace(help=shown, scroll=3)) == UI._replace(help=then)


@pytest.mark.parametrize('key, start, end', [
    ('down', 0, 1), ('down', 11, 12), ('down', 12, 12), ('up', 12, 11), ('up', 0, 0),
    ('page down', 0, 5), ('page down', 10, 12), ('page up', 12, 7), ('page up', 3, 0),
    ('down', 99, 12), ('up', 99, 12), ('page up', 99, 12)])
def test_scrolling_stays_inside(key, start, end):
    for ui in (UI, HELPED):
        assert pressed(key, ui._replace(scroll=start)) == ui._replace(scroll=end)
    assert pressed(key, frame=Frame([], 0, 20)).scroll == 0         # what fits does not scroll


def test_tab_goes_round_the_panels():
    count = len(panels_of(Scene(NORMAL, UI, Moment(NOW))))
    for key, step in (('tab', 1), ('right', 1), ('left', -1)):
        for start in range(count):
            ui = UI._replace(panel=start, scroll=3, help=True)
            assert pressed(key, ui) == UI._replace(panel=(start + step) % count)
        assert pressed(key, LOOKING, Snapshot()) == LOOKING


# --- Refresh ---

def failing(code, detail='', **known):
    return changed(NORMAL, 'usage', failure=Failure(code, detail), **known)


@pytest.mark.parametrize('snapshot', [
    NORMAL, changed(NORMAL, 'usage', free_at=NOW), failing('network', 'unknown host'),
    changed(NORMAL, 'usage', phase=ASKING)])        # by the rhythm: one more is no harm
def test_refresh_asks(snapshot):
    assert pressed('r', HELPED, snapshot) == noticed(HELPED._replace(asked_at=NOW), 'Refreshing.')


@pytest.mark.parametrize('snapshot, told', [
    (SITUATIONS['rate limited'], '20:31:1'),
    (changed(NORMAL, 'usage', free_at=NOW + 42, phase=HELD), '20:20:0'),
    (SITUATIONS['token expired'], 'Token expired. Run `claude` to refresh.'),
    (SITUATIONS['no login'], 'No Claude Code login found. Run `claude` to log in, '
                             'or set ANTHROPIC_ADMIN_API_KEY for the Console.'),
    (failing('forbidden_scope', next_at=None, free_at=None), 'This token cannot read usage.'),
    (failing('internal', 'x', at=None, value=None, free_at=None), 'Internal error: x.'),
    (SITUATIONS['waiting'], 'Already asking.'), (Snapshot(), 'Already asking.')])
def test_refresh_that_cannot_be_says_why_or_when(zone, snapshot, told):
    ui = pressed('r', snapshot=snapshot)
    assert ui == noticed(UI, *ui.notice) and told in ui.notice[0]
    assert pressed('r', LOOKING, Snapshot()) == noticed(LOOKING, 'Already asking.')


@pytest.mark.parametrize('part', [0.0, 0.01, 0.5, 0.99])
def test_the_time_told_is_not_too_early(zone, part):
    """A key pressed when the clock shows that second asks."""
    snapshot = changed(NORMAL, 'usage', free_at=NOW + 42 + part)
    told = pressed('r', snapshot=snapshot).notice
    second = 0 if '20:20:00' in told else 1 if '20:20:01' in told else None
    assert second >= part and pressed('r', snapshot=snapshot, now=NOW + 42 + second).asked_at


# --- The other mode ---

def with_credentials(*credentials):
    return changed(NORMAL, 'credentials', value=Credentials(*credentials))


def test_the_other_mode_is_shown_where_there_are_credentials():
    console = UI._replace(mode='console')
    for known in (with_credentials(LOGIN, 'sk-ant-admin01-SECRET', 'code'), with_credentials(
            Failure('token_expired'), Failure('unauthorized'), 'code')):    # what is wrong is told
        assert pressed('m', UI._replace(panel=1, scroll=3, help=True), known) == console
        assert pressed('m', console, known) == UI
    assert pressed('m') == noticed(UI, 'There is no Admin API key.', 'Admin API key')
    assert pressed('m', console, with_credentials(NO_KEY, 'x', 'console')) == noticed(
        console, 'There is no Claude Code login.', 'Claude Code login')


@pytest.mark.parametrize('mode', ['', 'code', 'console'])
def test_while_it_is_looking_for_credentials_nothing_is_said_to_be_missing(mode):
    assert 'There is no' not in ''.join(pressed('m', UI._replace(mode=mode), Snapshot()).notice)


def test_without_another_mode_it_stays(monkeypatch):
    """The chapter of the Console may be deleted."""
    monkeypatch.setattr(claude_usage, 'MODES', {'code': MODES['code']})
    assert pressed('m').mode == 'code'
