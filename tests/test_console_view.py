"""Console mode on the screen: its laws, its picture, and how it lives in a terminal."""
import re
import threading
from decimal import Decimal

import pytest

import captures
from admin import JOHN, KEY, AdminApi, Organization, days_from, error
from claude_usage import (ACTIONS, CONSOLE_ERRORS, DAY, HINT, HOUR, MINUTE, MODES, ROLES, Failure,
                          Frame, Known, Snapshot, Ui, clean, compose, next_change,
                          parse_claude_code, parse_cost_report, parse_time, press, reckon_console,
                          top, width_of)
from samples import HOSTILE, NORMAL
from server import Reply
from terminal import COMMAND, Terminal
from test_view import boxed, picture, shown, texts

pytestmark = pytest.mark.usefixtures('zone')

NOW = parse_time('2026-11-18T13:23:15Z')        # 14:23:15 by the clock of the fixture `zone`
CONSOLE = Ui(mode='console', modes=MODES)
ASCII = CONSOLE._replace(ascii=True, icons=False)
SIZES = ((120, 40), (80, 24), (47, 20), (30, 10), (20, 2))
# Cents of John's days; with them the issue's figures come out at the end of the 18th.
ISSUE = (43, 215, 388, 129, 43, 560, 690, 388, 215, 129, 43, 129, 301, 388, 474, 215, 129, 44)


def acme(cents=ISSUE):
    """The organization of the issue: John's days, colleagues, and a bill of $2,741.35."""
    organization = Organization('2026-11-01', 0)
    organization.days = days_from('2026-11-01', len(cents))
    organization.workspaces = {'w1': 'Production', 'w2': 'Research', 'w3': 'Evaluation of agents'}
    for n, (day, own) in enumerate(zip(organization.days, cents)):
        organization.add(day, JOHN, own, model='claude-opus-4-5' if n % 3 else 'claude-haiku-4-5')
        organization.add(day, 'ci-key', '70.25', model='claude-sonnet-4-5')
        for m in range(12):
            organization.add(day, 'colleague.%d@company.com' % m, 30 + 7 * m)
        organization.charge(day, 9000, workspace='w1')
        organization.charge(day, '4000.5', workspace='w2')
        organization.charge(day, 700, workspace='w3')
    organization.charge(organization.days[0], 274135 - 18 * 13700 - 9)
    return organization


def month(organization, now=NOW, you=JOHN, done=None, bill=True, problems=None):
    """The Console of an organization of which so many days have come, and the bill or not."""
    days = organization.days[:done]
    return reckon_console(
        organization.name, you,
        {day: parse_claude_code(organization.rows.get(day, [])) for day in days},
        parse_cost_report(map(organization.bucket, organization.days)) if bill else None,
        organization.workspaces, problems or {}, now)


def known(value, age=0, failure=None, wait=120):
    """The Snapshot of a Console that came `age` seconds ago and is asked for in `wait`."""
    next_at = None if wait is None else NOW - age + wait
    free_at = next_at if failure or next_at is None else 0.0
    return Snapshot(console=Known(value, NOW - age, failure, next_at, free_at))


BROKEN = Failure('server_error', '500, Internal server error')
FORBIDDEN = Failure('forbidden', '403, This key may not read this')
REVOKED = Failure('unauthorized', '401, invalid x-api-key')
ACME = acme()
FULL = month(ACME)
SWINGING = month(acme((900,) * 11 + ISSUE[11:]))
MIXED = acme()
MIXED.add('2026-11-03', JOHN, '310.5', 'EUR')
MIXED.charge('2026-11-03', '-2200000')
MIXED.charge('2026-11-03', '123456', 'EUR')
STRANGE = acme()
STRANGE.name = clean(HOSTILE)
STRANGE.workspaces = {'w1': clean(HOSTILE), 'w2': ''}
STRANGE.add('2026-11-03', JOHN, 9 * 10 ** 13)
STRANGE.add('2026-11-04', '@' + clean(HOSTILE), -9 * 10 ** 13, '\u7530' * 9)

SITUATIONS = {
    'waiting': Snapshot(),
    'loading': known(month(ACME, done=7, bill=False), wait=None),
    'full': known(FULL),
    'partial': known(month(ACME, done=17, problems={'2026-11-18': BROKEN})),
    'unknown user': known(month(ACME, you='')),
    'failing': known(FULL, 14 * MINUTE, REVOKED, 20 * MINUTE),
    'rate limited': known(FULL, 4 * MINUTE, Failure('rate_limited', '', 720.0), 16 * MINUTE),
    'no key': Snapshot(console=Known(None, None, Failure('no_credentials'))),
    'first day': known(month(acme(ISSUE[:1]), NOW - 17 * DAY)),
    'no bill': known(month(ACME, bill=False, problems={'': FORBIDDEN})),
    'range': known(SWINGING),
    'currencies and credits': known(month(MIXED)),
    'quiet': known(month(Organization(rows=0))),
    'hostile': known(month(STRANGE)),
}
TAME = sorted(set(SITUATIONS) - {'hostile'})


def see(name, size, ui=CONSOLE):
    return shown(SITUATIONS[name], size, ui, NOW)


# --- The laws ---

@pytest.mark.parametrize('name', SITUATIONS)
@pytest.mark.parametrize('ui', [CONSOLE, CONSOLE._replace(panel=1, scroll=3), ASCII],
                         ids=['first', 'second', 'ascii'])
def test_every_size(name, ui):
    for width in list(range(0, 131, 7)) + [15, 16, 27, 28, 46, 47, 93, 94]:
        for height in [0, 1, 2, 4, 5, 6] + list(range(3, 46, 7)):
            frame = compose(SITUATIONS[name], ui, (width, height), NOW)
            assert len(frame.lines) == height
            for line in frame.lines:
                assert width_of(line) == width
                assert all(span.role in ROLES for span in line)
                assert not ui.ascii or not re.search('[^ -~]', ''.join(s.text for s in line))


@pytest.mark.parametrize('name', TAME)
def test_glyphs(name):
    """Only those whose width terminals agree about."""
    narrow = set('⚠═▁▂▃▄▅▆▇█─│┌┐└┘·…↑↓')
    for size in SIZES:
        assert {char for char in see(name, size) if char > '~'} <= narrow | {'🏢'}
        assert '🏢' not in see(name, size, CONSOLE._replace(icons=False))


@pytest.mark.parametrize('panel', [0, 1])
@pytest.mark.parametrize('name', TAME)
def test_an_amount_is_never_cut(name, panel):
    """It would be another amount."""
    amounts = re.findall(r'\$[\d,.]+\d', see(name, (130, 60)))
    least = 47 if 'EUR' in see(name, (130, 60)) else 12
    for width in list(range(least, 60)) + [80, 93, 94, 130]:
        for height in (1, 2, 4, 7, 10, 14, 20, 40):
            for found in re.findall(r'\$[\d,.]*', see(name, (width, height),
                                                      CONSOLE._replace(panel=panel))):
                assert found in amounts, (width, height)


@pytest.mark.parametrize('name', TAME)
def test_an_amount_has_its_label(name):
    labels = ('You', 'Org', 'Projected', 'Range', 'Rate')
    for width in range(30, 94, 3):
        rows = boxed(texts(compose(SITUATIONS[name], CONSOLE, (width, 20), NOW)))
        assert [row for row in rows if '$' in row and not row.startswith(labels)] == [], width


def test_two_rows_mark_what_is_not_all():
    assert 'day 7 of 18' in see('loading', (20, 2))
    assert '$44.79 (partial)' in see('partial', (20, 2))
    for name in ('loading', 'partial'):
        assert 'partial' in see(name, (47, 1))


@pytest.mark.parametrize('size', SIZES[:4])
def test_the_age_of_old_numbers(size):
    assert '14m ago' in see('failing', size) and '4m ago' in see('rate limited', size)


@pytest.mark.parametrize('height', range(1, 25))
@pytest.mark.parametrize('name', ['full', 'failing', 'rate limited', 'no bill'])
def test_ones_own_cost_is_the_last_to_go(name, height):
    for width in (20, 30, 47, 80):
        assert '$45.23' in see(name, (width, height))


@pytest.mark.parametrize('height', range(1, 25))
@pytest.mark.parametrize('name', ['failing', 'rate limited', 'no key'])
def test_a_failure_is_told_once_at_every_height(name, height):
    frame = compose(SITUATIONS[name], CONSOLE, (47, height), NOW)
    told = [span.text.strip() for line in frame.lines for span in line if span.role == 'alert']
    assert ''.join(told) and len(told) == len(set(told))


@pytest.mark.parametrize('name', SITUATIONS)
def test_a_frame_stays_the_same_until_its_next_change(name):
    now = NOW + 0.25
    for _ in range(20):
        until = next_change(SITUATIONS[name], CONSOLE, now)
        frame = compose(SITUATIONS[name], CONSOLE, (80, 24), now)
        for moment in ((now + until) / 2, until - 0.002):
            assert compose(SITUATIONS[name], CONSOLE, (80, 24), max(now, moment)) == frame
        now = min(until, now + HOUR)


# --- Pictures ---

PICTURE = '''\
┌ Console Usage ──────────────────────────────┐
│ 🏢 Acme Corporation                         │
│                                             │
│ ═══ Month-to-Date (Nov 1-18, UTC) ═══       │
│ Your Claude Code Usage: $45.23              │
│ (john@company.com)                          │
│ Organization: $2,741.35 (API, all models)   │
│                                             │
│ Projected by end of month: $75.38 (+$30.15) │
│ Rate: $0.10/hour ($2.51/day)                │
│ Day by day: ▁▃▅▂▁▇█▅▃▂▁▂▄▅▆▃▂▁              │
│                                             │
│ Updated: 14:23:15                           │
└─────────────────────────────────────────────┘'''


def test_the_picture_of_the_issue(golden):
    """Its figures are those of 18 whole days, whatever its clock says."""
    console = month(acme(), parse_time('2026-11-18T23:59:30Z'))
    drawn = shown(known(console), (47, 14), CONSOLE._replace(hint=False), NOW)
    assert drawn == PICTURE
    golden('console-picture', drawn)


SCREENS = {name.replace(' ', '-'): (name, CONSOLE) for name in TAME}
SCREENS.update({
    'costs': ('currencies and credits', CONSOLE._replace(panel=1)),
    'costs-scrolled': ('full', CONSOLE._replace(panel=1, scroll=6)),
    'ascii': ('rate limited', ASCII),
})


@pytest.mark.parametrize('screen', SCREENS)
def test_golden_screens(golden, screen):
    name, ui = SCREENS[screen]
    golden('console-' + screen, '\n\n'.join(
        picture(SITUATIONS[name], ui, size, NOW) for size in SIZES))


# --- What must be told ---

@pytest.mark.parametrize('name, told, untold', [
    ('waiting', ['waiting'], ['$']),
    ('loading', ['day 7 of 18', 'partial', 'Organization: waiting'], ['Projected', 'Updated']),
    ('full', ['$45.23', '(john@company.com)', '$2,741.35 (API, all models)', 'Updated: 14:23:15'],
     ['partial', 'Loading', 'Range', '⚠']),
    ('partial', ['partial', '500, Internal server error', 'Updated: 14:23:15'], ['Loading']),
    ('unknown user', ['--user EMAIL', '$2,741.35', 'Organization projected by end of month'],
     ['Your Claude Code Usage', '()']),
    ('failing', ['$45.23', '$2,741.35', 'refused', 'Admin keys', '14m ago'], ['partial']),
    ('rate limited', ['$45.23', 'Rate limited. Next try 14:35.', '4m ago'], ['partial']),
    ('no key', ['ANTHROPIC_ADMIN_API_KEY', '`claude`'], ['$']),
    ('first day', ['(Nov 1, UTC)', 'Projection: after the first 24 hours'], ['Projected', 'Rate']),
    ('no bill', ['$45.23', 'Organization: not available', '403, This key'],
     ['$0.00', 'Loading', 'partial']),
    ('range', ['Projected by end of month: $', 'Range'], []),
    ('currencies and credits', ['$45.23 + EUR 3.10', '-$19,258.65 + EUR 1,234.56'], ['partial']),
    ('quiet', ['$0.00', 'Organization: $0.00'], ['partial']),
])
def test_what_is_told(name, told, untold):
    text = ' '.join(re.sub('[│┌┐└┘─]', ' ', see(name, (80, 24))).split())
    assert [words for words in told if words not in text] == []
    assert [words for words in untold if words in text] == []


@pytest.mark.parametrize('you', [JOHN, ''])
def test_a_missing_day_marks_all_that_lacks_it(you):
    """One's own cost, and the sums by user and by model; not the bill, which has its own days."""
    for problems in ({'2026-11-18': BROKEN}, {}):
        missing = known(month(ACME, you=you, done=17, problems=problems))
        assert ('partial' in shown(missing, (80, 24), CONSOLE, NOW)) == bool(you)
        rows = boxed(texts(compose(missing, CONSOLE._replace(panel=1), (80, 40), NOW)))
        assert [row for row in rows if 'partial' in row] == [
            'Claude Code by user (partial)', 'Claude Code by model (partial)']


@pytest.mark.parametrize('name', TAME)
@pytest.mark.parametrize('panel', [0, 1])
def test_there_is_a_box_wherever_there_is_room(name, panel):
    for size in ((80, 24), (47, 20), (30, 10), (120, 40), (16, 7)):
        rows = see(name, size, CONSOLE._replace(panel=panel)).split('\n')
        assert rows[0][0] == '┌' and any(row.startswith('└') for row in rows), size


def test_the_help_says_what_the_bill_is_without():
    rows = shown(SITUATIONS['full'], (80, 40), CONSOLE._replace(help=True), NOW)
    assert 'Priority Tier' in rows


def test_problems_that_are_alike_are_told_once():
    console = month(ACME, done=9, problems=dict.fromkeys(ACME.days[9:], BROKEN))
    assert see('partial', (80, 24)).count('500') == 1
    assert shown(known(console), (80, 24), CONSOLE, NOW).count('500') == 1
    limited = Failure('rate_limited', '', 720.0)
    console = month(ACME, done=9, problems={'2026-11-10': limited})
    told = shown(known(console, 0, limited, 720), (80, 24), CONSOLE, NOW)
    assert told.count('Rate limited') == 1


@pytest.mark.parametrize('parts, words', [
    ([''], 'Organization'), (['2026-11-07'], 'Nov 7'), (['2026-02-07', '2026-02-19'], 'Feb 7, 19'),
    (['', '2026-11-07'], 'Organization, Nov 7'), (ACME.days[:3], 'Nov 1, 2, 3'),
    ([''] + ACME.days[:5], 'Organization, Nov 1, 2, 3 and 2 more')])
def test_a_problem_names_its_days(parts, words):
    console = month(ACME, problems=dict.fromkeys(parts, BROKEN))
    assert '⚠ %s: Server error 500, ' % words in shown(known(console), (80, 24), CONSOLE, NOW)


@pytest.mark.parametrize('size', [(30, 10), (47, 20), (60, 10), (80, 24)])
def test_what_is_missing_is_told_at_every_usual_size(size):
    """A day of one's own cost, and that the bill is of an earlier poll."""
    told = shown(known(month(MIXED, done=17, problems={'2026-11-18': BROKEN})), size, CONSOLE, NOW)
    own = next(row for row in told.split('\n') if 'EUR 3.11' in row or 'EUR 3.10' in row)
    assert 'partial' in own or '⚠' in own
    assert '⚠ Nov 18: ' in told
    told = shown(known(month(ACME, problems={'': BROKEN})), size, CONSOLE, NOW)
    assert re.search(r'(Org|Organization): \$2,741\.35.* ⚠', told) and '⚠ Organization: ' in told


def test_no_projection_while_days_are_unknown():
    console = month(ACME, done=7, problems={'2026-11-18': BROKEN})
    assert 'rojected' not in shown(known(console, wait=None), (80, 24), CONSOLE, NOW)


def test_no_projection_of_dollars_without_any():
    other = Organization(rows=0)
    other.add('2026-11-03', JOHN, '9000', 'EUR')
    told = shown(known(month(other)), (80, 24), CONSOLE, NOW)
    assert 'EUR 90.00' in told and 'rojected' not in told


def test_the_projection_adds_up():
    """What is shown: cost so far and the rest are the end, to the cent."""
    for cents in range(1000, 1300, 7):
        told = shown(known(month(acme((cents,) * 18))), (80, 24), CONSOLE, NOW)
        own, end, more = (Decimal(re.search(pattern + r'\$([\d.,]+\d)', told).group(1))
                          for pattern in ('Usage: ', 'month: ', r'\(\+'))
        assert own + more == end


def test_by_workspace_is_whole_where_the_days_are_missing():
    console = month(ACME, done=0, problems=dict.fromkeys(ACME.days, FORBIDDEN))
    rows = shown(known(console), (80, 40), CONSOLE._replace(panel=1), NOW)
    assert 'By workspace ' in rows and 'partial' not in rows


def test_the_top_of_many_users():
    rows = [('user%05d@x.com' % n, 'USD', Decimal(20000 - n)) for n in range(20000)]
    assert top(rows) == rows[:10] + [('19990 others', 'USD', sum(
        cents for _, _, cents in rows[10:]))]


def test_the_range_stands_in_a_row_of_its_own():
    rows = boxed(texts(compose(SITUATIONS['range'], CONSOLE, (47, 20), NOW)))
    place = next(index for index, row in enumerate(rows) if row.startswith('Projected'))
    low, high = re.match('Range.*: (.*) to (.*)$', rows[place + 1]).groups()
    assert high in rows[place] or low in rows[place]
    assert float(low[1:]) < float(high[1:])


@pytest.mark.parametrize('cents, drawn', [
    ((0, 0, 0), '▁▁▁'), ((0, 50, 100), '▁▅█'), ((100, 100, 100), '███'), ((-50, 0, 100), '▁▁█'),
    ((1,), '█'), ((-1, -2), '▁▁')])
def test_day_by_day(cents, drawn):
    console = known(month(acme(cents), parse_time('2026-11-%02dT12:00:00Z' % len(cents))))
    assert 'Day by day: %s ' % drawn in shown(console, (47, 20), CONSOLE, NOW)


# --- The second panel ---

def rows_of_second(name, size=(47, 60)):
    return boxed(texts(compose(SITUATIONS[name], CONSOLE._replace(panel=1), size, NOW)))


def test_the_second_panel():
    rows = rows_of_second('full')
    users = rows[rows.index('Claude Code by user') + 1:rows.index('Claude Code by model') - 1]
    assert [row.split()[0] for row in users[:2]] == [JOHN, 'colleague.11@company.com']
    assert len(users) == 11
    rest = ACME.claude_code('who')
    rest = sum(sorted(rest.values())[:-10])
    assert re.sub(' +', ' ', users[-1]) == '4 others $%.2f' % (float(rest) / 100)
    assert re.sub(' +', ' ', rows[rows.index('By workspace') + 1]) == 'Production $1,620.00'
    assert any('claude-haiku-4-5' in row for row in rows) and 'Default' in ''.join(rows)


def test_other_currencies_stand_apart_in_the_second_panel():
    text = '\n'.join(rows_of_second('currencies and credits'))
    assert re.search('john@company.com +[$]45.23', text)
    assert re.search('john@company.com +EUR 3.10', text)
    assert re.search('Default +-[$]21,7', text) and re.search('Default +EUR 1,234.56', text)


def test_all_of_the_second_panel_can_be_reached():
    wanted, ui, seen = rows_of_second('full'), CONSOLE._replace(panel=1), set()
    for _ in range(60):
        frame = compose(SITUATIONS['full'], ui, (47, 12), NOW)
        seen |= set(boxed(texts(frame))) | {''}
        ui = ACTIONS['down'](ui, SITUATIONS['full'], frame, NOW)
    assert set(wanted) <= seen


@pytest.mark.parametrize('width, both', [(80, False), (93, False), (94, True), (130, True)])
def test_from_94_columns_the_panels_stand_side_by_side(width, both):
    row = see('full', (width, 24)).split('\n')[0]
    assert row.startswith('┌ Console Usage ─') and ('┌ Costs ─' in row) == both


def test_tab_turns_to_the_second_panel_and_back():
    ui, titles = CONSOLE, []
    for _ in range(3):
        titles.append(see('full', (47, 20), ui).split()[1])
        ui = press(ui, 'tab', SITUATIONS['full'], Frame([]), NOW)
    assert titles == ['Console', 'Costs', 'Console']
    assert 'Tab next' in see('full', (47, 20)) and HINT[0] in see('waiting', (47, 20))


# --- m ---

def test_m_switches_where_both_modes_exist():
    snapshot = NORMAL._replace(console=SITUATIONS['full'].console)
    ui = CONSOLE._replace(panel=1, scroll=3, help=True)
    code = press(ui, 'm', snapshot, Frame([]), NOW)
    assert code == Ui(modes=MODES)
    assert '5-Hour Usage' in shown(snapshot, (47, 20), code, NOW)
    assert '$' not in shown(snapshot, (47, 20), code, NOW)
    console = press(code, 'm', snapshot, Frame([]), NOW)
    assert console == CONSOLE
    assert '5-Hour' not in shown(snapshot, (47, 20), console, NOW)


@pytest.mark.parametrize('mode', MODES)
def test_m_says_where_only_one_mode_exists(mode):
    ui = press(Ui(mode=mode, modes=(mode,)), 'm', NORMAL, Frame([]), NOW)
    missing = {'code': 'Admin API key', 'console': 'Claude Code login'}[mode]
    assert ui.mode == mode and ui.notice[0] == 'There is no %s.' % missing


def test_m_knows_of_credentials_that_came_later():
    snapshot = NORMAL._replace(modes=Known(MODES, NOW))
    assert press(Ui(mode='code', modes=('code',)), 'm', snapshot, Frame([]), NOW).mode == 'console'
    snapshot = NORMAL._replace(modes=Known(('code',), NOW))
    assert press(Ui(mode='code', modes=MODES), 'm', snapshot, Frame([]), NOW).mode == 'code'


@pytest.mark.parametrize('name, told', [
    ('full', 'Refreshing.'), ('rate limited', '14:35:1'), ('waiting', 'Already asking.'),
    ('loading', 'Already asking.'), ('no key', CONSOLE_ERRORS['no_credentials'][0])])
def test_refresh_in_console_mode(name, told):
    ui = press(CONSOLE, 'r', SITUATIONS[name], Frame([]), NOW)
    assert told in ui.notice[0] and bool(ui.asked_at) == (told == 'Refreshing.')


# --- In a terminal ---

PAST = parse_time('2025-11-18T12:00:00Z')


@pytest.fixture
def api(server):
    """The Admin API of somebody who has a Claude Code login too, in November 2025."""
    server.answer('/api/oauth/usage', Reply(body=captures.USAGE_2026))
    server.answer('/api/oauth/profile', Reply(body=captures.PROFILE))
    return AdminApi(server, Organization('2025-11-01'), date=PAST)


@pytest.fixture
def live(server, home):
    """A function that starts the program in a terminal."""
    def start(*args, size=(80, 24), **env):
        variables = dict({'HOME': home, 'ANTHROPIC_ADMIN_API_KEY': KEY,
                          'CLAUDE_USAGE_EMAIL': JOHN}, **env)
        return Terminal(COMMAND + ['--api-url', server.url] + list(args), size,
                        variables)
    return start


def test_loading_numbers_and_modes_live(api, live):
    go = threading.Event()
    api.faults['2025-11-18'] = lambda _: go.wait(60) and None
    api.organization.add('2025-11-18', JOHN, 12345)
    own = '$%.2f' % (float(api.organization.own(JOHN)['USD']) / 100)
    with live('--mode', 'console') as terminal:
        terminal.wait_for('day 17 of 18')
        assert 'partial' in terminal.text() and own not in terminal.text()
        go.set()
        terminal.wait_for(lambda it: 'Usage: ' + own in it.text()
                          and re.search(r'Updated: \d', it.text()))
        terminal.wait_for(lambda it: 'partial' not in it.text())
        terminal.send('m')
        terminal.wait_for('11%')
        assert 'Console Usage' not in terminal.text()
        terminal.send('m')
        terminal.wait_for(own)
        terminal.send('\t')
        terminal.wait_for('By workspace')
        assert 'Console Usage' not in terminal.text()
        terminal.resize(120, 40)
        terminal.wait_for(lambda it: 'Console Usage' in it.text() and 'Costs' in it.lines()[0])
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert b'SECRET' not in terminal.output


def test_only_the_mode_that_is_shown_asks(api, live, server):
    with live() as terminal:
        terminal.wait_for('11%')
        assert not api.requests()
        terminal.send('m')
        terminal.wait_for('Organization: $')
        assert len(server.wait_for(1, '/api/oauth/usage')) == 1


def test_a_key_that_is_revoked_while_it_runs(api, live):
    with live('--mode', 'console') as terminal:
        terminal.wait_for(lambda it: re.search(r'Organization: \$.*\(API(.*\n)*.*Updated: \d',
                                               it.text()))
        cost = re.search(r'Organization: [^(]*\(API', terminal.text()).group()
        message = 'invalid x-api-key ' + KEY
        api.faults.update(dict.fromkeys(('cost_report', 'claude_code'), error(401, message)))
        terminal.send('r')
        terminal.wait_for('refused')
        assert cost in terminal.text()
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert b'SECRET' not in terminal.output
