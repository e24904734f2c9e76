"""Console mode on the screen: its laws, its picture, and how it lives in a terminal."""
import json
import re
import threading
import time
from decimal import Decimal

import pytest

import captures
from admin import JOHN, KEY, AdminApi, Organization, days_from, error
from claude_usage import (ACTIONS, ASKING, DAY, HELD, HINT, HOUR, MINUTE, PLANNED, Credentials,
                          Failure, Frame, Known, Moment, Snapshot, Ui, clean, compose, parse_time,
                          press, read_bill, read_day, reckon_console, utc_day)
from samples import HOSTILE, LOGIN, NO_KEY
from server import Reply
from terminal import COMMAND, Terminal
from test_view import boxed, check, picture, shown, texts

pytestmark = pytest.mark.usefixtures('zone')

NOW = parse_time('2026-11-18T13:23:15Z')        # 14:23:15 by the clock of the fixture `zone`
CONSOLE = Ui(mode='console')
SECOND = CONSOLE._replace(panel=1)
ASCII = CONSOLE._replace(ascii=True, icons=False)
BILL = 'bill 2026-11'
WIDTHS = (0, 11, 15, 20, 28, 30, 47, 93, 94)
HEIGHTS = (0, 1, 2, 5, 8, 13, 30)
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
    parts = {'me': organization.name, 'workspaces': list(organization.workspaces.items())}
    for day in organization.days[:done]:
        rows = json.loads(json.dumps(organization.rows.get(day, [])), parse_float=Decimal)
        parts['day ' + day] = read_day([{'data': rows}])
    if bill:
        buckets = list(map(organization.bucket, organization.days))
        parts[BILL] = read_bill([{'data': buckets}])
    return reckon_console(parts, problems or {}, you, now)


def known(value, age=0, failure=None, wait=120, phase=PLANNED):
    """The Snapshot of a Console that came `age` seconds ago and is asked for in `wait`."""
    next_at = None if wait is None else NOW - age + wait
    return Snapshot({('', 'console'): Known(value, NOW - age, failure, phase, next_at,
                                            next_at if failure else 0.0)})


BROKEN = Failure('server_error', '500, Internal server error')
FORBIDDEN = Failure('forbidden', '403, This key may not read this')
REVOKED = Failure('unauthorized', '401, invalid x-api-key')
LIMITED = Failure('rate_limited', '', 720.0)
ACME = acme()
FULL = month(ACME)
CREDITS = acme()
CREDITS.charge('2026-11-03', '-2200000')
CREDITS.charge('2026-11-03', '123456', 'EUR')
STRANGE = acme()
STRANGE.name = clean(HOSTILE)
STRANGE.workspaces = {'w1': clean(HOSTILE), 'w2': ''}
STRANGE.add('2026-11-03', JOHN, 9 * 10 ** 13)
STRANGE.add('2026-11-04', '@' + clean(HOSTILE), -9 * 10 ** 13, model='\u7530' * 9)
LAST_DAY = {'day 2026-11-18': BROKEN}
NINE_DAYS = {'day 2026-11-%02d' % day: BROKEN for day in range(10, 19)}

SITUATIONS = {
    'waiting': Snapshot({('', 'console'): Known(phase=ASKING)}),
    'loading': known(month(ACME, done=7, bill=False), phase=ASKING, wait=None),
    'asking again': known(FULL, phase=ASKING),
    'full': known(FULL),
    'day missing': known(month(ACME, done=17, problems=LAST_DAY)),
    'days missing': known(month(ACME, done=9, problems=NINE_DAYS)),
    'day not known': known(month(ACME, done=17)),
    'unknown user': known(month(ACME, you='')),
    'failing': known(FULL, 14 * MINUTE, REVOKED, 20 * MINUTE),
    'rate limited': known(FULL, 4 * MINUTE, LIMITED, 16 * MINUTE, HELD),
    'no key': Snapshot({('', 'console'): Known(None, None, NO_KEY, PLANNED)}),
    'first day': known(month(acme(ISSUE[:1]), NOW - 17 * DAY)),
    'no bill': known(month(ACME, bill=False, problems={BILL: FORBIDDEN})),
    'old bill': known(month(ACME, problems={BILL: BROKEN})),
    'range': known(month(acme((900,) * 11 + ISSUE[11:]))),
    'credits': known(month(CREDITS)),
    'quiet': known(month(Organization(rows=0))),
    'hostile': known(month(STRANGE)),
}
TAME = sorted(set(SITUATIONS) - {'hostile'})


def see(name, size, ui=CONSOLE):
    return shown(SITUATIONS[name], size, ui, NOW)


def plain(name, size=(80, 24), ui=CONSOLE):
    """What is shown, without boxes."""
    return ' '.join(re.sub('[│┌┐└┘─]', ' ', see(name, size, ui)).split())


# --- The laws ---

@pytest.mark.parametrize('name', SITUATIONS)
def test_lines_and_cells(name):
    for ui in (CONSOLE, SECOND._replace(scroll=3), ASCII):
        check(SITUATIONS[name], ui, WIDTHS, HEIGHTS)
    assert not re.search('[^\n -~]', see(name, (94, 30), ASCII) + see(name, (47, 20), ASCII))


@pytest.mark.parametrize('name', TAME)
def test_what_holds_at_every_size(name):
    """Glyphs are those whose width terminals agree about; an amount is never cut, for it would be
    another one, and has its label; there is a box wherever there is room."""
    for ui in (CONSOLE, SECOND):
        amounts = re.findall(r'\$[\d,.]+\d', see(name, (130, 60), ui))
        for width in WIDTHS[2:]:
            for height in HEIGHTS[1:]:
                told = see(name, (width, height), ui)
                assert {char for char in told if char > '~'} <= set('⚠═▁▂▃▄▅▆▇█─│┌┐└┘·…↑↓🏢')
                for found in re.findall(r'\$[\d,.]*', told):
                    assert found in amounts, (width, height)
                assert width < 16 or height < 8 or told[0] == '┌' and '└' in told
                rows = boxed(told.split('\n')) if 30 <= width < 94 and ui == CONSOLE else ()
                labels = 'You', 'Org', 'Projected', 'Range', 'Rate'
                assert [row for row in rows if '$' in row and not row.startswith(labels)] == []


@pytest.mark.parametrize('name', ['full', 'failing', 'rate limited', 'no bill', 'no key'])
def test_what_is_left_at_every_height(name):
    """One's own cost, and once why it is not new."""
    for height in range(1, 25):
        for width in (20, 47):
            assert '$45.23' in see(name, (width, height)) or name == 'no key'
        frame = compose(SITUATIONS[name], CONSOLE, (47, height), Moment(NOW))
        alerts = [span.text.strip() for line in frame.lines for span in line
                  if span.role == 'alert']
        assert len(alerts) == len(set(alerts))
        assert ''.join(alerts) or not SITUATIONS[name]['', 'console'].failure


def test_small_screens_mark_what_is_not_all_and_how_old_it_is():
    assert 'day 7 of 18' in see('loading', (20, 2))
    assert '$44.79 (partial)' in see('day missing', (20, 2))
    assert 'partial' in see('loading', (47, 1)) and 'partial' in see('day missing', (47, 1))
    for size in ((120, 40), (80, 24), (47, 20), (30, 10)):
        assert '14m ago' in see('failing', size) and '4m ago' in see('rate limited', size)
        assert re.search(r'\$44\.79( ⚠| \(partial\))', see('day missing', size))
        assert '⚠ 1 day is' in see('day missing', size)
        assert re.search(r'Org.*: \$2,741\.35.* ⚠', see('old bill', size))
        assert '⚠ Organization: ' in see('old bill', size)


@pytest.mark.parametrize('name', SITUATIONS)
def test_a_frame_stays_the_same_until_its_moment_ends(name):
    now = NOW + 0.25
    for _ in range(12):
        moment = Moment(now)
        frame = compose(SITUATIONS[name], CONSOLE, (80, 24), moment)
        for later in ((now + moment.until) / 2, moment.until - 0.002):
            assert compose(SITUATIONS[name], CONSOLE, (80, 24), Moment(max(now, later))) == frame
        now = min(moment.until, now + HOUR)


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


def test_the_picture_of_the_issue():
    """Its figures are those of 18 whole days, whatever its clock says."""
    console = month(ACME, parse_time('2026-11-18T23:59:30Z'))
    assert shown(known(console), (47, 14), CONSOLE._replace(hint=False), NOW) == PICTURE


@pytest.mark.parametrize('screen, ui', [('console', CONSOLE), ('console-costs', SECOND)])
def test_golden_screens(golden, screen, ui):
    golden(screen, '\n\n'.join(
        picture(SITUATIONS['full'], ui, size, NOW) for size in ((100, 30), (47, 24), (28, 10))))


# --- What must be told ---

@pytest.mark.parametrize('name, told, untold', [
    ('waiting', ['waiting'], ['$']),
    ('loading', ['Loading: day 7 of 18', '(partial)', 'Organization: waiting'],
     ['Projected', 'Updated']),
    ('asking again', ['Updated: 14:23:15', 'Projected'], ['Loading']),
    ('full', ['$45.23', '(john@company.com)', '$2,741.35 (API, all models)', 'Updated: 14:23:15'],
     ['partial', 'Loading', 'Range', '⚠']),
    ('day missing', ['(partial)', '⚠ 1 day is missing: Server error 500, Internal server error.',
                     'Updated: 14:23:15'], ['Loading']),
    ('days missing', ['⚠ 9 days are missing: Server error 500, Internal server error. '],
     ['500, Internal server error. ⚠']),
    ('day not known', ['(partial)'], ['rojected', 'Loading', '⚠']),
    ('unknown user', ['--user EMAIL', '$2,741.35', 'Organization projected by end of month'],
     ['Your Claude Code Usage', '()']),
    ('failing', ['$45.23', '$2,741.35', 'refused', 'Admin keys', '14m ago'], ['partial']),
    ('rate limited', ['$45.23', 'Rate limited. Next try 14:35.', '4m ago'], ['partial']),
    ('no key', ['ANTHROPIC_ADMIN_API_KEY', '`claude`'], ['$']),
    ('first day', ['(Nov 1, UTC)', 'Projection: after the first 24 hours'], ['Projected', 'Rate']),
    ('no bill', ['$45.23', 'Organization: not available', '⚠ Organization: Access refused: 403'],
     ['$0.00', 'Loading', 'partial']),
    ('old bill', ['$2,741.35 (API, all models) ⚠', '⚠ Organization: Server error 500'], []),
    ('range', ['Projected by end of month: $', 'Range'], []),
    ('credits', ['Organization: -$19,258.65', '⚠ Not counted: amounts in EUR.'], ['partial']),
    ('quiet', ['$0.00', 'Organization: $0.00'], ['partial', 'Tab']),
])
def test_what_is_told(name, told, untold):
    text = plain(name)
    assert [words for words in told if words not in text] == []
    assert [words for words in untold if words in text] == []


def test_the_projection_adds_up():
    """What is shown: cost so far and the rest are the end, to the cent."""
    for cents in range(1000, 1300, 67):
        told = shown(known(month(acme((cents,) * 18))), (80, 24), CONSOLE, NOW)
        own, end, more = (Decimal(re.search(pattern + r'\$([\d.,]+\d)', told).group(1))
                          for pattern in ('Usage: ', 'month: ', r'\(\+'))
        assert own + more == end
    rows = boxed(see('range', (47, 20)).split('\n'))
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

def test_the_second_panel():
    rows = boxed(see('full', (47, 60), SECOND).split('\n'))
    users = rows[rows.index('Claude Code by user') + 1:rows.index('Claude Code by model') - 1]
    assert [row.split()[0] for row in users[:2]] == [JOHN, 'colleague.11@company.com']
    rest = sum(sorted(ACME.claude_code('who').values())[:-10])
    assert len(users) == 11
    assert re.sub(' +', ' ', users[-1]) == '4 others $%.2f' % (float(rest) / 100)
    assert re.sub(' +', ' ', rows[rows.index('By workspace') + 1]) == 'Production $1,620.00'
    assert any('claude-haiku-4-5' in row for row in rows) and 'Default' in ''.join(rows)
    seen, ui = {''}, SECOND
    for _ in range(60):
        frame = compose(SITUATIONS['full'], ui, (47, 12), Moment(NOW))
        seen |= set(boxed(texts(frame)))
        ui = ACTIONS['down'](ui, SITUATIONS['full'], frame, NOW)
    assert set(rows) <= seen, 'all of it can be reached'


def test_a_missing_day_marks_all_that_lacks_it():
    """One's own cost, and the sums by user and by model; not the bill, which has its own days."""
    for problems in (LAST_DAY, {}):
        for you in (JOHN, ''):
            missing = known(month(ACME, you=you, done=17, problems=problems))
            assert ('partial' in shown(missing, (80, 24), CONSOLE, NOW)) == bool(you)
            rows = boxed(shown(missing, (80, 40), SECOND, NOW).split('\n'))
            assert [row for row in rows if 'partial' in row] == [
                'Claude Code by user (partial)', 'Claude Code by model (partial)']


def test_panels_and_keys():
    """From 94 columns they stand side by side, else Tab turns to the second and back."""
    for width, both in ((80, False), (93, False), (94, True), (130, True)):
        row = see('full', (width, 24)).split('\n')[0]
        assert row.startswith('┌ Console Usage ─') and ('┌ Costs ─' in row) == both
    ui, titles = CONSOLE, []
    for _ in range(3):
        titles.append(see('full', (47, 20), ui).split()[1])
        ui = press(ui, 'tab', SITUATIONS['full'], Frame([]), NOW)
    assert titles == ['Console', 'Costs', 'Console']
    assert 'Tab next' in see('full', (47, 20)) and HINT[0] in see('waiting', (47, 20))
    keys = Known(Credentials(LOGIN, KEY, 'code'), 0.0, None, PLANNED)
    both = Snapshot(SITUATIONS['full'])
    both['', 'credentials'] = keys
    assert press(ui, 'm', both, Frame([]), NOW) == Ui(mode='code')
    assert press(Ui(mode='code'), 'm', both, Frame([]), NOW) == CONSOLE
    assert '$' not in shown(both, (47, 20), Ui(mode='code'), NOW)


@pytest.mark.parametrize('name, told', [
    ('full', 'Refreshing.'), ('rate limited', '14:35:1'), ('waiting', 'Already asking.'),
    ('loading', 'Already asking.'), ('no key', 'No Admin API key found.')])
def test_refresh_in_console_mode(name, told):
    ui = press(CONSOLE, 'r', SITUATIONS[name], Frame([]), NOW)
    assert told in ui.notice[0] and bool(ui.asked_at) == (told == 'Refreshing.')


# --- In a terminal ---

@pytest.fixture
def api(server):
    """The Admin API, this month, of somebody who has a Claude Code login too."""
    server.answer('/api/oauth/usage', Reply(body=captures.USAGE_2026))
    server.answer('/api/oauth/profile', Reply(body=captures.PROFILE))
    today = utc_day(time.time())
    return AdminApi(server, Organization(today[:8] + '01', int(today[8:]) + 1))


@pytest.fixture
def live(server, home):
    """A function that starts the program in a terminal."""
    def start(*args, size=(80, 24)):
        return Terminal(COMMAND + ['--api-url', server.url] + list(args), size, {
            'HOME': home, 'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN})
    return start


@pytest.mark.slow
def test_loading_numbers_and_modes_live(api, live, server):
    today, go = api.organization.days[-2], threading.Event()
    api.faults[today] = lambda _: go.wait(60) and None
    with live() as terminal:
        terminal.wait_for('11%')
        assert not api.requests(), 'only the mode that is shown asks'
        terminal.send('m')
        terminal.wait_for('Loading: day %d of ' % (int(today[8:]) - 1))
        terminal.wait_for('API, all models')
        go.set()
        terminal.wait_for(lambda it: re.search(r'Updated: \d', it.text()))
        terminal.wait_for(lambda it: 'partial' not in it.text())
        terminal.send('m')
        terminal.wait_for('11%')
        assert 'Console Usage' not in terminal.text()
        terminal.send('m')
        terminal.wait_for('API, all models')
        terminal.send('\t')
        terminal.wait_for('By workspace')
        assert 'Console Usage' not in terminal.text()
        terminal.resize(120, 40)
        terminal.wait_for(lambda it: 'Console Usage' in it.text() and 'Costs' in it.lines()[0])
        assert len(server.wait_for(1, '/api/oauth/usage')) == 1
        terminal.send('q')
        assert terminal.exit_code() == 0 and b'SECRET' not in terminal.output


@pytest.mark.slow
def test_a_key_that_is_revoked_while_it_runs(api, live):
    with live('--mode', 'console') as terminal:
        terminal.wait_for(lambda it: re.search(r'Organization: \$.*\(API(.*\n)*.*Updated: \d',
                                               it.text()))
        cost = re.search(r'Organization: [^(]*\(API', terminal.text()).group()
        message = 'invalid x-api-key ' + KEY
        api.faults.update(dict.fromkeys(('cost_report', 'claude_code'), error(401, message)))
        terminal.wait_for(lambda it: it.send('r') or 'Refreshing' in it.text())
        terminal.wait_for('refused')
        assert cost in terminal.text()
        terminal.send('q')
        assert terminal.exit_code() == 0 and b'SECRET' not in terminal.output
