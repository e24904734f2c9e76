"""Pace Maker on the screen: laws at every size, its rows and panels, golden screens."""
import re

import pytest

from claude_usage import (ACTIONS, HINT, ROLES, TAB_HINT, Failure, Known, Moment, PaceEvent,
                          Snapshot, cells, clean, compose, width_of)
from pacemaker import DAY, HOUR, NOW
from pacesamples import FULL, LEFT, OFF, TORN, agent, beside, decided, maker, windows
from samples import ASCII, LETTERS, UI

pytestmark = pytest.mark.usefixtures('zone')

CONSOLE = UI._replace(mode='console')
SIZES = ((100, 30), (47, 24), (28, 10))
WIDTHS = (0, 1, 9, 16, 23, 28, 43, 47, 80, 93, 94, 130)
HEIGHTS = (0, 1, 2, 3, 5, 7, 10, 16, 24, 45)
NAMES = ['Claude Code Usage', 'Pace Maker', 'Agents', 'Governance']
WORDS = clean('Zo\u0308\u0301e \u7530\u4e2d' * 30 + 'x' * 300)
HOSTILE = FULL._replace(
    config=dict(FULL.config, hook_model=WORDS, preferred_subagent_model=WORDS, log_level=99),
    usage=windows(1e14, LEFT, -5.0, age=20), decided=decided(0, 10 ** 9), version=WORDS,
    blockages=[{'category': WORDS + str(index), 'count': 10 ** 9} for index in range(20)],
    langfuse=[dict.fromkeys(('sessions', 'traces', 'spans'), 1e12)],
    activity=[{'code': WORDS, 'role': '', 'gone_at': NOW + 5}] * 30,
    events=[PaceEvent(NOW, WORDS, [WORDS * 4, WORDS]), PaceEvent(NOW, '', [])] * 4,
    agents=[agent('/' + WORDS, WORDS, True, 9, 9, [(WORDS, WORDS)] * 3),
            agent('', '', False, 9, 9)] * 8,
    problems=[Failure('malformed', WORDS)] * 9)
ESTIMATED = FULL._replace(is_estimated=True, decided=None, blocked_until=NOW + 785)
STATES = {
    'throttling': beside(FULL),
    'on pace': beside(FULL._replace(usage=windows(50.0), decided=None)),
    'undecided': beside(FULL._replace(decided=decided(20, 0))),
    'inside the buffer': beside(FULL._replace(decided=decided(20, 0)), windows(61.0, age=5)),
    'inactive': beside(maker({'enabled': False})),
    'error': beside(FULL, failure=TORN),
    'no data': beside(maker(usage=None)),
    'stale': beside(maker(usage=windows(left=-HOUR))),
    'all stale': beside(maker(usage=windows(left=-HOUR, seven_day_left=-HOUR))),
    'estimated': beside(ESTIMATED),
    'limiters disabled': beside(maker(OFF, tempo='off')),
    'one limiter disabled': beside(maker({'five_hour_limit_enabled': False})),
    'odd config': beside(maker(problems=[
        Failure('malformed', 'config.json: max_delay is no fit value')])),
    'hostile': beside(HOSTILE),
}
TAME = sorted(set(STATES) - {'hostile'})


def texts(frame):
    return [''.join(span.text for span in line).rstrip() for line in frame.lines]


def shown(snapshot, size=(120, 50), ui=UI, now=NOW):
    return '\n'.join(texts(compose(snapshot, ui, size, Moment(now))))


def panel(pace, index, width=60, **ui):
    """The rows inside of a panel."""
    text = shown(beside(pace), (width, 60), UI._replace(panel=index, hint=False, **ui))
    return [row for row in re.findall('│ (.*?) *│', text) if row]


def titles(snapshot, size, ui=UI):
    return re.findall(r'┌ (\S.*?) ─', shown(snapshot, size, ui))


# --- The laws ---

def check(snapshot, ui, widths=WIDTHS, heights=HEIGHTS):
    """A frame is exactly so many lines, each exactly so many cells, in known roles."""
    for width in widths:
        for height in heights:
            frame = compose(snapshot, ui, (width, height), Moment(NOW))
            assert len(frame.lines) == height
            assert set(map(width_of, frame.lines)) <= {width}
            assert {span.role for line in frame.lines for span in line} <= set(ROLES)
            assert frame.overflow >= 0 and frame.room >= 0


@pytest.mark.parametrize('name', STATES)
def test_lines_and_cells(name):
    for ui in (UI, CONSOLE._replace(panel=1)):
        check(STATES[name], ui, WIDTHS[::2], HEIGHTS[::2])
    if name in ('throttling', 'hostile'):
        for index in range(1, 4):
            check(STATES[name], UI._replace(panel=index, scroll=999 * (index == 3)), (9, 28, 94))
    for size in SIZES:
        assert not re.search('[^\n -~]', shown(STATES[name], size, ASCII))


@pytest.mark.slow
@pytest.mark.parametrize('index', range(4))
@pytest.mark.parametrize('name', ['throttling', 'estimated', 'hostile'])
def test_every_size(name, index):
    for ui in (UI._replace(scroll=index), CONSOLE):
        check(STATES[name], ui._replace(panel=index), range(0, 131, 9), range(0, 46, 5))


@pytest.mark.parametrize('name', TAME)
def test_glyphs(name):
    """Only those whose width terminals agree about; the emoji only as icons."""
    emoji, narrow = set('👤🏢⚡⏰🎯'), set('⚠⏱✓▸↳█▏▎▍▌▋▊▉░─│┌┐└┘·…↑↓')
    for size in SIZES + ((120, 60),):
        assert {char for char in shown(STATES[name], size) if char > '~'} <= emoji | narrow
        assert not emoji & set(shown(STATES[name], size, UI._replace(icons=False)))


@pytest.mark.parametrize('name', STATES)
def test_a_frame_stays_the_same_until_its_moment_ends(name):
    for now, size in ((NOW, (120, 60)), (NOW + 0.6, (28, 10))):
        for _ in range(6):
            moment = Moment(now)
            frame = compose(STATES[name], UI, size, moment)
            assert now < moment.until <= now + DAY
            for later in ((now + moment.until - 0.002) / 2, moment.until - 0.002):
                assert compose(STATES[name], UI, size, Moment(max(now, later))) == frame
            now = moment.until


@pytest.mark.parametrize('name', sorted(set(TAME) - {'no data'}))
def test_the_limits_are_the_last_to_go(name):
    """The state has fewer rows first, then one, then none."""
    for width in (16, 28, 47, 130):
        for height in range(3, 41, 3):
            text = shown(STATES[name], (width, height), UI._replace(hint=False))
            assert re.search('(77|61)%', text) and ('34%' in text or '1 more' in text), height


# --- The state ---

@pytest.mark.parametrize('name, words', [
    ('throttling', '⚠ THROTTLING'), ('on pace', '✓ ON PACE'), ('inactive', 'INACTIVE'),
    ('error', 'ERROR'), ('no data', 'No usage data yet'), ('limiters disabled', '✓ ON PACE'),
    ('estimated', '(est'), ('stale', 'stale'), ('all stale', 'stale'),
    ('undecided', 'No delay')])
def test_the_state_is_told_where_there_is_room_for_a_line(name, words):
    for size in SIZES + ((28, 8), (24, 7), (94, 12)):
        rows = [row for row in shown(STATES[name], size).split('\n') if words in row]
        assert rows, size
        assert size[0] < 40 or 'Pace' in rows[0] or words == 'stale'


TARGET = '5-Hour Target: █+.*░ +62%'
DECISION = ['Target', 'Deviation', 'Next delay', 'Algorithm']


@pytest.mark.parametrize('name, there, not_there', [
    ('throttling', [TARGET, r'Deviation: \+15.2% \(over budget\)', 'Next delay: 45s per tool use',
                    'Algorithm: adaptive/gradual', 'Tempo: enabled', 'Activity: IV TD CC DG'],
     ['Limiter', 'stale', 'stimate', 'try', 'ON PACE', 'until']),
    ('on pace', [r'Deviation: -12.0% \(under budget\)', 'Next delay: none',
                 'Algorithm: adaptive *│'], ['none/', '/none', 'per tool use']),
    ('undecided', ['Pace Maker: No delay until its next poll', r'\+15.2% \(over budget\)',
                   'Next delay: none'], ['ON PACE', 'THROTTLING', '/gradual']),
    ('inside the buffer', ['until its next poll', r'-1.0% \(inside safety buffer\)'], ['ON PACE']),
    ('inactive', ['Pace Maker: INACTIVE'], DECISION),
    ('no data', ['Pace Maker: No usage data yet', 'Tempo: auto'], DECISION),
    ('error', ['usage.db: database disk image is malformed'], DECISION + ['THROTTLING']),
    ('stale', ['Pace Maker: ✓ ON PACE', '5-Hour window is stale: its reset has passed.',
               '7-Day Target:'], ['5-Hour Target', '7-Day window']),
    ('all stale', ['Pace Maker: stale', '5-Hour window is stale', '7-Day window is stale'],
     DECISION + ['ON PACE', 'delay']),
    ('estimated', [r'THROTTLING \(estimated\)', TARGET, r'\+15.2%', '5-Hour Usage: .* 77%',
                   'Estimate: 5-Hour 77%, 7-Day 34%', 'its next try 20:32'], []),
    ('limiters disabled', ['5-Hour Limiter: disabled', '7-Day Limiter: disabled', '5-Hour Target:',
                           'Tempo: disabled', '✓ ON PACE'], ['7-Day Target', 'Deviation']),
    ('one limiter disabled', ['5-Hour Limiter: disabled', '7-Day Target:', 'Tempo: auto'],
     ['7-Day Limiter', '5-Hour Target']),
    ('odd config', ['Failed to load config.json: max_delay is no fit value', 'THROTTLING'], []),
])
def test_what_a_state_shows(name, there, not_there):
    text = shown(STATES[name], (80, 40))
    for pattern in there:
        assert re.search(pattern, text), pattern
    for words in not_there:
        assert words not in text


def test_an_estimate_stands_beside_another_reply():
    text = shown(beside(ESTIMATED, windows(50.0, age=600)), (80, 40))
    for pattern in ('5-Hour Usage: .* 50%', 'Estimate: 5-Hour 77%', TARGET, r'\+15.2%'):
        assert re.search(pattern, text), pattern
    text = shown(beside(ESTIMATED), (80, 40), CONSOLE._replace(panel=1))
    assert 'Estimate: 5-Hour 77%' in text


@pytest.mark.parametrize('name, words, role', [
    ('throttling', '⚠ THROTTLING', 'orange'), ('on pace', '✓ ON PACE', 'green'),
    ('throttling', 'enabled', 'dim'), ('limiters disabled', 'disabled', 'yellow'),
    ('one limiter disabled', 'auto', ''), ('throttling', ' IV', 'green'),
    ('throttling', ' TD', 'red'), ('throttling', ' CC', 'blue'), ('throttling', ' DG', 'yellow')])
def test_roles(name, words, role):
    lines = compose(STATES[name], UI, (60, 40), Moment(NOW)).lines
    assert [span.role for line in lines for span in line if span.text == words] == [role]


@pytest.mark.parametrize('later, codes', [
    (0, ' IV TD CC DG'), (1, ' TD CC DG'), (8, ' CC DG'), (9, None)])
def test_each_activity_goes_at_its_time(later, codes):
    text = shown(STATES['throttling'], (60, 40), now=NOW + later)
    found = re.search('Activity:( [A-Z ]*[A-Z])', text)
    assert (found and found.group(1)) == codes


# --- Panels ---

@pytest.mark.parametrize('pace, names', [
    (FULL, NAMES), (FULL._replace(agents=[]), NAMES[:2] + NAMES[3:]),
    (FULL._replace(events=[]), NAMES[:3]), (maker(), NAMES[:2]), (None, NAMES[:1]),
    (FULL._replace(events=[PaceEvent(NOW - HOUR, 'IV', ['late'])]), NAMES[:3]),
    (FULL._replace(agents=[agent('/w', 'a', gone=0)]), NAMES[:2] + NAMES[3:])])
def test_there_is_a_panel_only_where_there_is_something_to_show(pace, names):
    snapshot, count = beside(pace), len(names)
    found = [titles(snapshot, (80, 24), UI._replace(panel=index)) for index in range(count + 1)]
    assert found == [[name] for name in names + names[:1]]
    assert titles(snapshot, (120, 70)) == names
    hint = texts(compose(snapshot, UI, (80, 24), Moment(NOW)))[-1]
    assert hint == (TAB_HINT if count > 1 else HINT)[0]


def test_the_panels_are_there_in_console_mode_too():
    """Its state, which has no other place there, at the top of the first."""
    assert titles(beside(FULL), (120, 80), CONSOLE) == ['Console Usage'] + NAMES[1:]
    rows = re.findall('│ (.*?) *│', shown(beside(FULL), (60, 60), CONSOLE._replace(panel=1)))
    assert [row for row in rows if 'Pace' in row or 'Tempo' in row] == [
        '🎯 Pace Maker: ⚠ THROTTLING', 'Tempo: enabled', 'Tempo               enabled']
    assert 'Pace Maker: ERROR' in shown(beside(None, failure=TORN), (60, 40),
                                        CONSOLE._replace(panel=1))
    assert 'Pace' not in shown(beside(FULL), (60, 40), CONSOLE)
    assert titles(Snapshot({('', 'pace_maker'): Known(FULL, 0.0)}), (80, 24), CONSOLE) == [
        'Console Usage'], 'the state needs no usage'


@pytest.mark.parametrize('size', [(120, 14), (80, 12), (30, 10)])
@pytest.mark.parametrize('index, first, last', [
    (1, 'Tempo', 'Secrets'), (2, 'engine', '01234567'), (3, 'IV engine', 'table.')])
def test_a_panel_can_be_read_to_its_end(size, index, first, last):
    ui, seen = UI._replace(panel=index), []
    for _ in range(60):
        frame = compose(beside(FULL), ui, size, Moment(NOW))
        seen.append('\n'.join(texts(frame)))
        ui = ACTIONS['down'](ui, beside(FULL), frame, NOW)
    assert first in seen[0] and last in seen[-1]
    for _ in range(60):
        ui = ACTIONS['up'](ui, beside(FULL), frame, NOW)
    assert ui.scroll == 0


def settings(pace, width=60):
    """label -> value in the panel of settings."""
    return {row[:20].strip(): row[20:] for row in panel(pace, 1, width)}


def test_the_settings():
    assert settings(FULL) == {
        'Tempo': 'enabled', 'Subagent reminder': 'on', 'Intent validation': 'off', 'TDD': 'on',
        'Langfuse': 'on', 'Danger bash': 'on', 'Cross-session': 'on', 'Subagent model': 'auto',
        'Hook model': 'competitive: sonnet+opus->haiku', 'Log level': 'INFO', 'Version': '2.34.2',
        'Blockages (1h)': '7', 'Pacing Quota': '3', 'Intent TDD': '2', 'Other': '1',
        'a_later_one': '1', 'Langfuse (24h)': '4 sessions, 50 traces, 400 spans',
        'Secrets (24h)': '7 masked'}


@pytest.mark.parametrize('key, label, values', [
    ('hook_model', 'Hook model', [('auto', 'auto'), ('a+b->c', 'competitive: a+b->c'),
                                  ('a*b', 'random: a*b'), ('a|b', 'failover: a|b')]),
    ('log_level', 'Log level', list(zip((0, 1, 2, 3, 4, 9), (
        'OFF', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'DEBUG')))),
    ('tdd_enabled', 'TDD', [(True, 'on'), (False, 'off')]),
    ('preferred_subagent_model', 'Subagent model', [('opus', 'opus')])])
def test_the_values_of_settings(key, label, values):
    for value, words in values:
        assert settings(maker({key: value}))[label] == words


def test_where_there_is_no_room_for_all_of_a_value():
    assert settings(FULL, 47)['Hook model'] == 'sonnet+opus->haiku'
    assert settings(FULL, 47)['Langfuse (24h)'] == '4 / 50 / 400'
    long = [{'category': 'a_category_of_a_later_release', 'count': 1}]
    assert re.search('a_category_of.* 1$', panel(maker(blockages=long), 1)[-1])


@pytest.mark.parametrize('field, label, nothing', [
    ('blockages', 'Blockages', None), ('langfuse', r'Langfuse \(', None),
    ('secrets', 'Secrets', None), ('version', 'Version', ''), ('shown', 'Danger bash', [])])
def test_what_is_not_known_is_not_shown(field, label, nothing):
    assert re.search(label, '\n'.join(panel(FULL, 1)))
    assert not re.search(label, '\n'.join(panel(FULL._replace(**{field: nothing}), 1)))


def test_the_tree_of_agents():
    assert panel(FULL, 2) == [
        '▸ engine', '  a1b2c3d4  Edit mill.py, Read cards.md, Bash pytest -q',
        '    ↳ test-runner  Bash', '    ↳ code-reviewer  Grep steam',
        '  e5f6a7b8  Write notes.txt', '▸ notes', '  01234567']
    lines = compose(beside(FULL), UI._replace(panel=2), (60, 40), Moment(NOW)).lines
    dim = [span.text.split()[-1] for line in lines for span in line
           if span.role == 'dim' and re.search('[0-9a-f]{8}|-r', span.text)]
    assert dim == ['code-reviewer', 'e5f6a7b8', '01234567'], 'ended, or seen 3 minutes ago'


@pytest.mark.parametrize('width, words', [
    (60, 'Edit mill.py, Read cards.md, Bash pytest -q'), (50, 'Edit mill.py, Read cards.md, Bash'),
    (42, 'Edit mill.py, Read, Bash'), (34, 'Edit, Read, Bash')])
def test_targets_stand_where_there_is_room(width, words):
    assert panel(FULL, 2, width)[1].endswith('a1b2c3d4  ' + words)


def test_two_workspaces_of_one_name_are_told_apart():
    agents = [agent(path, 'x', gone=9) for path in ('/home/ada/a/engine', '/home/ada/b/engine')]
    assert [row for row in panel(FULL._replace(agents=agents), 2) if '▸' in row] == [
        '▸ /home/ada/a/engine', '▸ /home/ada/b/engine']


def test_governance_events_keep_their_lines():
    assert panel(FULL, 3, 80)[2:7] == [
        '20:07 TD engine [RegEx]', '  No failing test was seen before the change to mill.py:',
        '  - write one first,', '  - see it fail for the right reason,',
        '  - then change the code.']


# --- Pictures ---

def picture(snapshot, ui, size):
    """A frame as it looks, and below it one letter a cell for the role; no blank rows."""
    lines = compose(snapshot, ui, size, Moment(NOW)).lines
    rows = [''.join(span.text for span in line).rstrip() for line in lines]
    roles = [''.join(LETTERS[span.role] * cells(span.text) for span in line)
             for line in lines]
    kept = [index for index, row in enumerate(rows) if row]
    return '\n'.join(['%dx%d' % size] + [rows[index] for index in kept] + [''] + [
        roles[index].rstrip('.') for index in kept])


@pytest.mark.parametrize('name, index', [('throttling', 0), ('settings', 1), ('governance', 3)])
def test_golden_screens(golden, name, index):
    ui = UI._replace(panel=index)
    golden('pace-' + name, '\n\n'.join(picture(beside(FULL), ui, size) for size in SIZES))


@pytest.mark.slow
def test_the_demo_shows_all_of_it(run):
    for mode in ('code', 'console'):
        result = run(['--demo', '--once', '--mode', mode, '--config-dir', 'x'],
                     env={'COLUMNS': '120', 'LINES': '200'})
        assert result.code == 0
        for words in NAMES[1:] + ['Pace Maker: ', 'Target:', 'Tempo', 'Blockages', 'Langfuse',
                                  'Secrets', 'Version', '▸', '↳', 'Activity: ']:
            assert words in result.out, words
