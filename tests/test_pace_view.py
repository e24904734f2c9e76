"""Pace Maker on the screen and in JSON: laws at every size, panels, golden screens."""
import json
import re

import pytest

from claude_usage import (ACTIONS, HINT, LIMITS, ROLES, TAB_HINT, Account, Agent, Failure, Known,
                          Limit, PaceMaker, PaceUsage, Snapshot, Ui, Usage, as_json, cells, clean,
                          compose, next_change, width_of)
from pacemaker import DAY, HOUR, MINUTE, NOW

pytestmark = pytest.mark.usefixtures('zone')

SIZES = ((120, 40), (80, 24), (47, 24), (30, 10))
ASCII = Ui(ascii=True, icons=False)
LEFT = 1.9 * HOUR               # of 5 hours: 62 % may be used by now


def limit(key, used, left):
    return Limit(key, *LIMITS[key][:2], used, NOW + left, LIMITS[key][2])


ACCOUNT = Account('u1', 'User', 'user@example.com', 'Company Name', ('ENTERPRISE',),
                  'default_claude_max_5x')
REPLY = Known(Usage((limit('five_hour', 77.2, LEFT), limit('seven_day', 34.0, 4 * DAY)), None),
              NOW - 25, None, NOW + 5, 0.0)
USAGE = PaceUsage(77.2, NOW + LEFT, 34.0, NOW + 4 * DAY, NOW - 20)
ALONE = PaceMaker({}, True, USAGE)

CATEGORIES = ('intent_validation', 'intent_validation_tdd', 'intent_validation_tdd', 'other',
              'pacing_quota', 'pacing_quota', 'pacing_quota', 'a_later_one')
EVENTS = (
    (NOW - 65, 'IV', 'engine', 'The edit does what was announced, and nothing else.'),
    (NOW - 700, 'TD', 'engine', 'No failing test was seen before the change to mill.py. Write one '
                                'first, see it fail for the right reason, then change the code.'),
    (NOW - 1900, 'CC', 'notes', 'The function reads a file and prints a table; these are two '
                                'things.'))
AGENTS = (
    Agent('/home/ada/engine', 's1', 'a1b2c3d4', True, NOW - 5, None, ('Edit', 'Read', 'Bash')),
    Agent('/home/ada/engine', 's1', 'test-runner', False, NOW - 2, None, ('Bash',)),
    Agent('/home/ada/engine', 's1', 'code-reviewer', False, NOW - 90, NOW - 30, ('Grep', 'Read')),
    Agent('/home/ada/engine', 's3', 'e5f6a7b8', True, NOW - 400, None, ('Write',)),
    Agent('/home/ada/notes', 's2', '01234567', True, NOW - 19 * MINUTE, None, ()))
FULL = PaceMaker(
    {'hook_model': 'sonnet+opus->haiku', 'langfuse_enabled': True, 'log_level': 3}, True, USAGE,
    decided=(NOW - 20, True, 45),
    blockages=tuple((NOW - 9 * index, name) for index, name in enumerate(CATEGORIES)),
    langfuse=((NOW - HOUR, 3, 41, 388), (NOW - 9, 1, 9, 12)), secrets=((NOW - HOUR, 7),),
    activity=((NOW - 9, 'IV', 'green'), (NOW - 3, 'TD', 'red'), (NOW - 1, 'CC', 'blue')),
    governance=EVENTS, errors=((NOW - HOUR,), (NOW - 2 * HOUR,)), agents=AGENTS, version='2.34')


def known(pace, **more):
    """The Snapshot of an account beside a Pace Maker."""
    return Snapshot(identity=Known(ACCOUNT, NOW), login=Known(Account(), NOW), usage=REPLY,
                    pace_maker=Known(pace, NOW - 2))._replace(**more)


def texts(frame):
    return [''.join(span.text for span in line).rstrip() for line in frame.lines]


def shown(snapshot, size=(120, 50), ui=Ui(), now=NOW):
    return '\n'.join(texts(compose(snapshot, ui, size, now)))


def titles(snapshot, size, **ui):
    return re.findall(r'┌ (\S.*?) ─', shown(snapshot, size, Ui(**ui)))


WORDS = clean('Zo\u0308\u0301e \u7530\u4e2d' * 30 + 'x' * 300)
HOSTILE = FULL._replace(
    config={'hook_model': WORDS, 'preferred_subagent_model': WORDS, 'log_level': 99},
    usage=USAGE._replace(five_hour_used=1e14, seven_day_used=-5.0), decided=(NOW, True, 10 ** 9),
    blockages=tuple((NOW, WORDS + str(index)) for index in range(50)),
    langfuse=((NOW, 10 ** 12, 10 ** 12, 10 ** 12),), activity=((NOW, WORDS, 'pink'),) * 90,
    governance=((NOW, WORDS, WORDS, WORDS * 4), (NOW, '', '', '')) * 8, version=WORDS,
    agents=(Agent('/' + WORDS, WORDS, WORDS, True, NOW, None, (WORDS,) * 3),
            Agent('', '', '', True, NOW, None, ())) * 30)

STATES = {
    'throttling': known(FULL),
    'on pace': known(FULL._replace(usage=USAGE._replace(five_hour_used=60.0), decided=None)),
    'inactive': known(FULL._replace(config={'enabled': False}, activity=())),
    'error': known(None, pace_maker=Known(FULL, NOW - 99, Failure(
        'malformed', 'Pace Maker: usage.db: database disk image is malformed'))),
    'no data': known(PaceMaker({}, True), usage=Known()),
    'stale': known(ALONE._replace(usage=USAGE._replace(five_hour_resets_at=NOW - HOUR))),
    'all stale': known(ALONE._replace(usage=USAGE._replace(
        five_hour_resets_at=NOW - HOUR, seven_day_resets_at=NOW - HOUR))),
    'estimated': known(ALONE._replace(usage=USAGE._replace(estimated=True))),
    'limiters disabled': known(ALONE._replace(config={
        'five_hour_limit_enabled': False, 'weekly_limit_enabled': False, 'tempo_mode': 'off'})),
    'one limiter disabled': known(ALONE._replace(config={
        'five_hour_limit_enabled': False, 'tempo_mode': 'auto', 'preload_hours': 0})),
    'first release': known(PaceMaker({'threshold_percent': 0, 'use_adaptive': False}, False,
                                     USAGE)),
    'via': known(FULL, usage=REPLY._replace(
        value=REPLY.value._replace(via='Pace Maker'), at=NOW - 20, next_at=NOW + 10)),
    'hostile': known(HOSTILE),
}


# --- The laws ---

def check(snapshot, ui, width, height):
    """A frame is exactly so many lines, each exactly so many cells, in known roles."""
    frame = compose(snapshot, ui, (width, height), NOW)
    assert len(frame.lines) == height
    for line in frame.lines:
        assert width_of(line) == width
        assert all(span.role in ROLES for span in line)
    assert frame.overflow >= 0 and frame.room >= 0


@pytest.mark.parametrize('panel', range(4))
@pytest.mark.parametrize('name', ['throttling', 'hostile'])
def test_every_size(name, panel):
    for width in sorted({*range(0, 131, 5), *range(14, 18), *range(26, 30), 42, 43, 47, 93, 94}):
        for height in [*range(0, 12), 15, 18, 24, 30, 37, 45]:
            check(STATES[name], Ui(panel=panel), width, height)


@pytest.mark.parametrize('ui', [ASCII, Ui(help=True), Ui(panel=-1, scroll=2), Ui(scroll=999),
                                Ui(panel=3, scroll=999), Ui(hint=False, panel=2)])
@pytest.mark.parametrize('name', ['throttling', 'hostile'])
def test_every_size_otherwise(name, ui):
    for width in range(0, 131, 10):
        for height in range(0, 46, 5):
            check(STATES[name], ui, width, height)


@pytest.mark.parametrize('name', STATES)
def test_every_state_at_some_sizes(name):
    for width in (0, 1, 9, 16, 23, 28, 47, 80, 93, 94, 130):
        for height in (0, 1, 2, 3, 4, 7, 10, 16, 24, 45):
            for panel in range(4):
                check(STATES[name], Ui(panel=panel), width, height)


@pytest.mark.parametrize('name', STATES)
def test_ascii_is_ascii(name):
    for size in SIZES:
        for panel in range(4):
            assert not re.search('[^\n -~]', shown(STATES[name], size, ASCII._replace(
                panel=panel)))


@pytest.mark.parametrize('name', sorted(set(STATES) - {'hostile'}))
def test_glyphs(name):
    """Only those whose width terminals agree about; the emoji only as icons."""
    emoji, narrow = set('👤🏢⚡⏰🎯'), set('⚠⏱✓▸↳█▏▎▍▌▋▊▉░─│┌┐└┘·…↑↓')
    for size in SIZES:
        for panel in range(4):
            used = {char for char in shown(STATES[name], size, Ui(panel=panel)) if char > '~'}
            assert used <= emoji | narrow
            assert not emoji & set(shown(STATES[name], size, Ui(panel=panel, icons=False)))


# --- What must be there ---

@pytest.mark.parametrize('width', [16, 24, 28, 47, 60, 80, 94, 130])
@pytest.mark.parametrize('name', sorted(set(STATES) - {'hostile', 'no data'}))
def test_the_limits_are_the_last_to_go(name, width):
    for height in range(3, 41):
        text = shown(STATES[name], (width, height), Ui(hint=False))
        assert '77%' in text, height
        assert '34%' in text or '1 more' in text, height


@pytest.mark.parametrize('name, words', [
    ('throttling', '⚠ THROTTLING'), ('on pace', '✓ ON PACE'), ('inactive', 'INACTIVE'),
    ('error', 'ERROR'), ('no data', 'No usage data yet'), ('limiters disabled', '✓ ON PACE'),
    ('estimated', '(est'), ('stale', 'stale')])
def test_the_state_is_told_where_there_is_room_for_a_line(name, words):
    for size in SIZES + ((28, 8), (24, 7), (94, 12)):
        rows = [row for row in shown(STATES[name], size).split('\n') if words in row]
        assert rows, size
        assert size[0] < 40 or 'Pace' in rows[0] or words == 'stale'


@pytest.mark.parametrize('name, there, not_there', [
    ('throttling', ['5-Hour Target: +█+.*░ +62%', r'Deviation: \+15.2% \(over budget\)',
                    'Next delay: 45s per tool use', 'Algorithm: adaptive/gradual',
                    'Tempo: enabled', 'Activity: IV TD CC'], ['Limiter', 'stale', 'estimated']),
    ('on pace', [r'Deviation: -2.0% \(inside safety buffer\)', 'Next delay: none',
                 'Algorithm: adaptive *│'], ['none/', '/none', 'per tool use']),
    ('inactive', ['Pace Maker: INACTIVE'], ['Deviation', 'Target', 'Algorithm', 'Next delay']),
    ('no data', ['Pace Maker: No usage data yet', 'Tempo: enabled'], ['Deviation', 'Target']),
    ('error', ['usage.db: database disk image is malformed'], ['Deviation', 'THROTTLING']),
    ('stale', ['5-Hour.*stale', '7-Day Target:'], ['5-Hour Target']),
    ('all stale', ['stale'], []),
    ('limiters disabled', ['5-Hour Limiter: disabled', '7-Day Limiter: disabled', '5-Hour Target:',
                           'Tempo: disabled'], ['7-Day Target']),
    ('one limiter disabled', ['5-Hour Limiter: disabled', '7-Day Target:', 'Tempo: auto'],
     ['7-Day Limiter', '5-Hour Target']),
    ('first release', ['Algorithm: legacy *│'], ['legacy/', 'Activity']),
    ('via', ['Updated: 20:18:58 via Pace Maker'], []),
])
def test_what_a_state_shows(name, there, not_there):
    text = shown(STATES[name], (80, 40))
    for pattern in there:
        assert re.search(pattern, text), pattern
    for pattern in not_there:
        assert pattern not in text


@pytest.mark.parametrize('size', SIZES + ((28, 8),))
def test_whose_reply_it_is(size):
    assert 'via Pace Maker' in shown(STATES['via'], size)


@pytest.mark.parametrize('height', range(5, 46))
def test_no_box_has_a_blank_row_at_its_end(height):
    for width in (28, 47, 80, 93):
        for panel in range(4):
            rows = texts(compose(known(FULL), Ui(panel=panel), (width, height), NOW))
            ends = [above for above, below in zip(rows, rows[1:]) if below[:1] == '└']
            assert [row.strip('│ ') != '' for row in ends] == [True], panel


@pytest.mark.parametrize('snapshot, words, role', [
    ('throttling', '⚠ THROTTLING', 'orange'), ('on pace', '✓ ON PACE', 'green'),
    ('throttling', 'enabled', 'dim'), ('limiters disabled', 'disabled', 'yellow'),
    ('one limiter disabled', 'auto', ''), ('throttling', ' IV', 'green'),
    ('throttling', ' TD', 'red'), ('throttling', ' CC', 'blue')])
def test_roles(snapshot, words, role):
    lines = compose(STATES[snapshot], Ui(), (60, 40), NOW).lines
    assert [span.role for line in lines for span in line if span.text == words] == [role]


def test_activity_is_of_the_last_ten_seconds_and_each_code_once():
    pace = FULL._replace(activity=((NOW - 8, 'IV', 'green'), (NOW - 5, 'TD', 'green'),
                                   (NOW - 3, 'IV', 'red')))
    for later, codes in ((0, {'IV', 'TD'}), (4.5, {'IV', 'TD'}), (5, {'IV'}), (7, None)):
        found = re.search('Activity:([ A-Z]*)', shown(known(pace), (60, 40), now=NOW + later))
        assert (found and sorted(found.group(1).split())) == (codes and sorted(codes))
    line = next(line for line in compose(known(pace), Ui(), (60, 40), NOW).lines
                if 'Activity:' in {span.text for span in line})
    assert [span.role for span in line if span.text.strip() == 'IV'] == ['red'], 'the latest'


def test_a_frame_with_pace_maker_is_made_anew_in_seconds():
    assert NOW < next_change(STATES['throttling'], Ui(), NOW) <= NOW + 10


# --- Panels ---

NAMES = ['Claude Code Usage', 'Pace Maker', 'Agents', 'Governance']


@pytest.mark.parametrize('pace, names', [
    (FULL, NAMES), (FULL._replace(agents=()), NAMES[:2] + NAMES[3:]),
    (FULL._replace(governance=()), NAMES[:3]), (ALONE, NAMES[:2]), (None, NAMES[:1]),
    (FULL._replace(governance=tuple((NOW - HOUR - 1, *event[1:]) for event in EVENTS)), NAMES[:3]),
    (FULL._replace(agents=tuple(agent._replace(seen=NOW - 1201, ended=None)
                                for agent in AGENTS)), NAMES[:2] + NAMES[3:]),
    (FULL._replace(agents=tuple(agent._replace(ended=NOW - 61) for agent in AGENTS)),
     NAMES[:2] + NAMES[3:]),
])
def test_there_is_a_panel_only_where_there_is_something_to_show(pace, names):
    snapshot, count = known(pace), len(names)
    assert [titles(snapshot, (80, 24), panel=index) for index in range(2 * count)] == [
        [name] for name in names + names[:1] * count]
    assert titles(snapshot, (120, 70)) == sorted(names, key=names.index)
    hint = texts(compose(snapshot, Ui(), (80, 24), NOW))[-1]
    assert hint == (TAB_HINT if count > 1 else HINT)[0]


def test_side_by_side_from_94_columns():
    for width in (94, 95, 120, 130):
        first = texts(compose(known(FULL), Ui(), (width, 40), NOW))[0]
        assert re.match('┌ Claude Code Usage ─+┐┌ Pace Maker ─+┐$', first)
        assert first.index('┐') == width // 2 - 1 >= 46
    assert titles(known(FULL), (93, 40)) == NAMES[:1]
    alone = texts(compose(known(None), Ui(), (120, 40), NOW))[0]
    assert re.match('┌ Claude Code Usage ─+┐$', alone) and len(alone) == 120


@pytest.mark.parametrize('size', [(120, 20), (80, 24), (47, 24), (30, 10)])
def test_keys_lead_to_every_panel_and_back(size):
    ui, snapshot = Ui(), known(FULL)
    frame = compose(snapshot, ui, size, NOW)

    def after(key):
        nonlocal ui
        ui = ACTIONS[key](ui._replace(scroll=1), snapshot, frame, NOW)
        assert ui.scroll == 0
        return titles(snapshot, size, **ui._asdict())
    for name in NAMES[1:] + NAMES[:2]:
        assert name in after('tab')
    for name in NAMES[:1] + NAMES[:0:-1]:
        assert name in after('left')
    assert NAMES[2] in after('right')


@pytest.mark.parametrize('size', [(120, 14), (100, 8), (80, 12), (47, 10), (30, 10)])
@pytest.mark.parametrize('panel, first, last', [
    (1, 'Tempo', 'Secrets'), (2, 'engine', '01234567'), (3, 'IV engine', 'things.')])
def test_a_panel_can_be_read_to_its_end(size, panel, first, last):
    ui, seen = Ui(panel=panel), []
    for _ in range(60):
        frame = compose(known(FULL), ui, size, NOW)
        seen.append('\n'.join(texts(frame)))
        ui = ACTIONS['down'](ui, known(FULL), frame, NOW)
    assert first in seen[0] and last in seen[-1]
    page = ACTIONS['page up'](ui, known(FULL), frame, NOW).scroll
    assert max(0, ui.scroll - frame.room) == page


def settings(pace):
    """label -> value in the second panel."""
    rows = re.findall('│ (.*?) *│', shown(known(pace), (60, 60), Ui(panel=1, hint=False)))
    return dict((row[:20].strip(), row[20:]) for row in rows if row)


def test_the_settings():
    told = settings(FULL)
    assert told == {
        'Tempo': 'enabled', 'Subagent reminder': 'on', 'Intent validation': 'off', 'TDD': 'on',
        'Langfuse': 'on', 'Danger bash': 'on', 'Cross-session': 'on', 'Subagent model': 'auto',
        'Hook model': 'competitive: sonnet+opus->haiku', 'Log level': 'INFO',
        'Log errors (24h)': '2', 'Version': '2.34', 'Blockages (1h)': '8', 'Pacing Quota': '3',
        'Intent TDD': '2', 'Intent Validation': '1', 'Other': '1',
        'a_later_one': '1', 'Langfuse (24h)': '4 sessions, 50 traces, 400 spans',
        'Secrets (24h)': '7 masked'}


@pytest.mark.parametrize('key, label, values', [
    ('hook_model', 'Hook model', [('auto', 'auto'), ('a+b->c', 'competitive: a+b->c'),
                                  ('a*b', 'random: a*b'), ('a|b', 'failover: a|b')]),
    ('log_level', 'Log level', list(zip(range(5), 'OFF ERROR WARNING INFO DEBUG'.split()))),
    ('tdd_enabled', 'TDD', [(True, 'on'), (False, 'off')]),
    ('preferred_subagent_model', 'Subagent model', [('opus', 'opus')]),
    ('tempo_mode', 'Tempo', [('on', 'enabled'), ('off', 'disabled'), ('auto', 'auto')]),
])
def test_the_values_of_settings(key, label, values):
    for value, words in values:
        assert settings(ALONE._replace(config={key: value}))[label] == words


def test_an_expression_is_told_whole_where_its_sign_has_no_room():
    told = known(ALONE._replace(config={'hook_model': 'sonnet+opus->haiku'}))
    for width, words in ((60, ' competitive: sonnet+opus->haiku '), (47, ' sonnet+opus->haiku ')):
        assert words in shown(told, (width, 60), Ui(panel=1))


def test_a_label_and_its_value_are_apart():
    told = shown(known(FULL._replace(blockages=((NOW, 'a_category_of_a_later_release'),))),
                 (60, 60), Ui(panel=1))
    assert re.search('a_category_of.* 1 *│', told)


def test_counts_are_of_their_time():
    pace = FULL._replace(blockages=((NOW - HOUR, 'other'), (NOW - HOUR + 1, 'other')),
                         langfuse=((NOW - DAY, 1, 1, 1), (NOW - DAY + 1, 1, 1, 1)),
                         secrets=((NOW - DAY, 5), (NOW - DAY + 1, 5)))
    told = settings(pace)
    assert (told['Blockages (1h)'], told['Other'], told['Secrets (24h)']) == (
        '1', '1', '5 masked')
    assert told['Langfuse (24h)'] == '1 sessions, 1 traces, 1 spans'


@pytest.mark.parametrize('field, label', [
    ('blockages', 'Blockages'), ('langfuse', r'Langfuse \('), ('secrets', 'Secrets'),
    ('errors', 'Log errors'), ('version', 'Version')])
def test_what_is_not_known_is_not_shown(field, label):
    ui = Ui(panel=1)
    assert re.search(label, shown(known(FULL), (60, 60), ui))
    less = FULL._replace(**{field: '' if field == 'version' else None})
    assert not re.search(label, shown(known(less), (60, 60), ui))


def test_the_tree_of_agents():
    rows = re.findall('│ (.*?) *│', shown(known(FULL), (60, 40), Ui(panel=2)))
    assert [row for row in rows if row] == [
        '▸ engine', '  a1b2c3d4  Edit, Read, Bash', '    ↳ test-runner  Bash',
        '    ↳ code-reviewer  Grep, Read', '  e5f6a7b8  Write', '▸ notes', '  01234567']
    lines = compose(known(FULL), Ui(panel=2), (60, 40), NOW).lines
    dim = [span.text.split()[-1] for line in lines for span in line
           if span.role == 'dim' and re.search('[0-9a-f]{8}|-r', span.text)]
    assert dim == ['code-reviewer', 'e5f6a7b8', '01234567'], 'ended, or seen 3 minutes ago'


def test_two_workspaces_of_one_name_are_told_apart():
    agents = tuple(agent._replace(workspace=workspace, name=agent.name) for agent, workspace in
                   zip(AGENTS[::3], ('/home/ada/a/engine', '/home/ada/b/engine')))
    rows = re.findall('▸ (.*?) *│', shown(known(FULL._replace(agents=agents)), (60, 40),
                                          Ui(panel=2)))
    assert len(set(rows)) == 2


# --- JSON ---

KEYS = ('installed enabled status throttling delay_seconds window target_percent '
        'deviation_percent algorithm strategy tempo stale estimated at').split()


@pytest.mark.parametrize('name, told', [
    ('throttling', (True, True, 'throttling', True, 45, '5-hour', 62.0, 15.2, 'adaptive',
                    'gradual', 'on', False, False, '2026-11-25T19:18:58Z')),
    ('on pace', (True, True, 'on_pace', False, 0, '5-hour', 62.0, -2.0, 'adaptive', 'none', 'on',
                 False, False, '2026-11-25T19:18:58Z')),
    ('inactive', (True, False, 'inactive') + (None,) * 7 + ('on', None, None, None)),
    ('no data', (True, True, 'no_data') + (None,) * 7 + ('on', None, None, None)),
    ('error', (True, None, 'error') + (None,) * 11),
    ('limiters disabled', (True, True, 'on_pace', False, 0, None, 62.0, 0.0, 'adaptive', None,
                           'off', False, False, '2026-11-25T19:18:58Z')),
])
def test_json(name, told):
    document = json.loads(as_json(STATES[name], NOW))['pace_maker']
    assert list(document) == KEYS
    assert document == dict(zip(KEYS, told))


def test_json_where_it_is_not_installed():
    document = json.loads(as_json(known(None), NOW))['pace_maker']
    assert list(document) == KEYS
    assert document.pop('installed') is False and set(document.values()) <= {None, False}


def test_json_of_the_console_does_not_know_whether_it_is_installed():
    document = json.loads(as_json(Snapshot(), NOW, 'console'))['pace_maker']
    assert list(document) == KEYS and set(document.values()) == {None}


# --- Pictures ---

def picture(snapshot, ui, size):
    """A frame as it looks, and below it one letter a cell for the role."""
    frame = compose(snapshot, ui, size, NOW)
    roles = [''.join(ROLES[span.role].letter * cells(span.text) for span in line)
             for line in frame.lines]
    return '\n'.join(['%dx%d' % size] + texts(frame) + [''] + roles)


SCREENS = {name: (STATES[name], Ui()) for name in STATES if name != 'hostile'}
SCREENS.update({
    'settings': (known(FULL), Ui(panel=1)), 'agents': (known(FULL), Ui(panel=2)),
    'governance': (known(FULL), Ui(panel=3)),
    'governance scrolled': (known(FULL), Ui(panel=3, scroll=3)),
    'ascii': (known(FULL), ASCII), 'ascii settings': (known(FULL), ASCII._replace(panel=1)),
})


@pytest.mark.parametrize('name', SCREENS)
def test_golden_screens(golden, name):
    golden('pace-' + name.replace(' ', '-'),
           '\n\n'.join(picture(*SCREENS[name], size) for size in SIZES))


def test_the_demo_shows_all_of_it(run):
    result = run(['--demo', '--once'], env={'COLUMNS': '120', 'LINES': '70'})
    assert result.code == 0
    for words in NAMES[1:] + ['Pace Maker: ', 'Target:', 'Deviation: ', 'Algorithm: ', 'Tempo',
                              'Blockages', 'Langfuse', 'Secrets', 'Log errors', '▸', '↳',
                              'Activity: ']:
        assert words in result.out, words
