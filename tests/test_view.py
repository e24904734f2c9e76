"""Frames: their laws at every size, what goes first where there is no room, and golden screens."""
import re

import pytest

from claude_usage import (ACTIONS, DAY, HELP, HINT, HOUR, MINUTE, NO_LIMITS, ONLY_CREDITS, ROLES,
                          Account, Failure, Frame, Moment, bar, cells, compose, countdown,
                          countdown_short, width_of)
from samples import (ASCII, EXTRA, FIVE_HOUR, LETTERS, LOOKING, MANY, NO_LOGIN, NORMAL, NOW, PLACE,
                     RATE_LIMITED, SEVEN_DAY, SITUATIONS, TWO, UI, changed, limit, snapshot, ui_of)

pytestmark = pytest.mark.usefixtures('zone')

BREAKS = (12, 16, 28, 43, 47, 94)               # widths from which something is otherwise
WIDTHS = sorted((0, 1, 5, 11, 15, 20, 24, 27, 35, 46, 60, 93, 120) + BREAKS)
HEIGHTS = (0, 1, 2, 3, 5, 6, 9, 14, 30)
SIZES = ((100, 30), (47, 16), (28, 8))
TAME = [name for name in SITUATIONS if name != 'hostile']
FAILING = snapshot(TWO + (EXTRA,), 60, failure=Failure('rate_limited'), next_at=NOW + 720)
NO_HINT, HELPED = UI._replace(hint=False), UI._replace(help=True)
NOTICE = UI._replace(notice=('Refreshing. ' * 9,), notice_until=NOW + 1)
VARIANTS = [HELPED, ASCII._replace(help=True, scroll=3), ASCII, UI._replace(scroll=2), NO_HINT,
            UI._replace(scroll=999), NOTICE, UI._replace(origin='a-proxy.example.com:8443')]
VARIED = 'many limits', 'rate limited', 'hostile', 'looking'


def texts(frame):
    """The rows of a frame as plain text, blanks at their ends left out."""
    return [''.join(span.text for span in line).rstrip() for line in frame.lines]


def rows(snapshot, size, ui=UI, now=NOW):
    return texts(compose(snapshot, ui, size, Moment(now)))


def shown(snapshot, size, ui=UI, now=NOW):
    return '\n'.join(rows(snapshot, size, ui, now))


def boxed(rows):
    """The rows inside the box, without its sides."""
    return [row[2:-2].strip() for row in rows if row.startswith('│')]


# --- The laws ---

def check(snapshot, ui, widths, heights):
    """A frame is exactly so many lines, each exactly so many cells, in known roles."""
    for width in widths:
        for height in heights:
            frame = compose(snapshot, ui, (width, height), Moment(NOW))
            assert len(frame.lines) == height
            assert set(map(width_of, frame.lines)) <= {width}
            assert {span.role for line in frame.lines for span in line} <= set(ROLES)
            assert frame.overflow >= 0 and frame.room >= 0


@pytest.mark.parametrize('name', SITUATIONS)
def test_lines_and_cells(name):
    check(SITUATIONS[name], ui_of(name), WIDTHS, HEIGHTS)


@pytest.mark.parametrize('ui', VARIANTS)
def test_lines_and_cells_otherwise(ui):
    for name in VARIED:
        check(SITUATIONS[name], ui_of(name, ui), WIDTHS[::2] + [28, 94], HEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize('name', SITUATIONS)
def test_every_size(name):
    check(SITUATIONS[name], ui_of(name), range(131), (1, 5, 8, 11, 23))
    check(SITUATIONS[name], ui_of(name), (10, 27, 46, 79, 93, 130), range(46))
    for ui in VARIANTS if name in VARIED else ():
        check(SITUATIONS[name], ui_of(name, ui), range(0, 201, 22), range(0, 81, 16))


@pytest.mark.parametrize('name', SITUATIONS)
def test_glyphs(name):
    """Only those whose width terminals agree about; emoji only as icons; ASCII as wide."""
    emoji, narrow = set('👤🏢⚡⏰'), set('–≈⚠█▏▎▍▌▋▊▉░─│┌┐└┘·…↑↓←→')
    for size in SIZES + ((80, 24), (20, 2), (10, 3)):
        for ui in (UI, HELPED._replace(scroll=1)):
            ui = ui_of(name, ui._replace(icons=False))
            whole, plain = (shown(SITUATIONS[name], size, ui._replace(ascii=is_ascii))
                            for is_ascii in (False, True))
            assert not re.search('[^\n -~]', plain)
            assert [*map(cells, plain.split('\n'))] == [*map(cells, whole.split('\n'))]
            if name in TAME:
                assert {char for char in whole if char > '~'} <= narrow
                whole = shown(SITUATIONS[name], size, ui._replace(icons=True))
                assert {char for char in whole if char > '~'} <= narrow | emoji


@pytest.mark.parametrize('name', SITUATIONS)
def test_a_frame_stays_the_same_until_its_moment_ends(name):
    for size in ((80, 24), (28, 8), (47, 1)):
        for ui in (UI, HELPED, NOTICE):
            ui, now = ui_of(name, ui), NOW + 0.25
            for _ in range(8):
                moment = Moment(now)
                frame = compose(SITUATIONS[name], ui, size, moment)
                assert now < moment.until <= now + DAY
                for later in ((now + moment.until - 0.002) / 2, moment.until - 0.002):
                    again = compose(SITUATIONS[name], ui, size, Moment(max(now, later)))
                    assert again == frame, later - now
                now = min(moment.until, now + HOUR)
    now, frames = NOW, 0
    while name == 'normal' and now < NOW + HOUR:
        moment = Moment(now)
        compose(NORMAL, UI, (80, 24), moment)
        now, frames = moment.until, frames + 1
    assert frames <= 130        # two countdowns in minutes: an idle screen changes seldom


# --- Bars ---

def draw(used, width, elapsed=None):
    return ''.join(span.text for span in bar(used, width, 'green', elapsed))


def test_bars_grow_and_are_full_from_100_on_only():
    for used, drawn in ((78, '█' * 15 + '▋░░░░'), (34, '██████▊' + '░' * 13), (0, '░' * 20),
                        (0.5, '▏' + '░' * 19), (99.9, '█' * 19 + '▉'), (-5, '░' * 20)):
        assert draw(used, 20) == drawn
    order = '░▏▎▍▌▋▊▉█'
    for width in (1, 2, 3, 7, 20, 60):
        last = ''
        for tenths in range(0, 1101):
            drawn = draw(tenths / 10, width)
            assert cells(drawn) == width and (drawn == '█' * width) == (tenths >= 1000)
            steps = [order.index(char) for char in drawn]
            assert steps == sorted(steps, reverse=True) and steps >= [order.index(c) for c in last]
            last, marked = drawn, draw(tenths / 10, width, tenths / 1101)
            place = tenths * width // 1101
            assert marked == drawn[:place] + '│' + drawn[place + 1:]
    assert draw(78, 0) == draw(100, 0, 0.5) == ''


def test_colour_of_bar_and_percent():
    for used, role in ((0, 'green'), (50.4, 'green'), (50.5, 'yellow'), (81, 'orange'),
                       (99.9, 'orange'), (100, 'red')):
        for size in ((80, 24), (28, 8), (47, 1)):
            frame = compose(snapshot([limit('five_hour', used, HOUR)]), UI, size, Moment(NOW))
            spans = [span for line in frame.lines for span in line if re.search('[%█]', span.text)]
            assert {span.role for span in spans} == {role}


# --- Pictures ---

def picture(snapshot, ui, size, now=NOW):
    """A frame as it looks, and below it one letter a cell for the role; blank rows left out."""
    frame = compose(snapshot, ui, size, Moment(now))
    roles = [''.join(LETTERS[span.role] * cells(span.text) for span in line)
             for line in frame.lines]
    both = [(text, role) for text, role in zip(texts(frame), roles) if text]
    looks, letters = zip(*both)
    return '\n'.join(('%dx%d' % size,) + looks + ('',) + letters)


SCREENS = {
    'normal': [(NORMAL, UI)],
    'many-limits-scrolled': [(SITUATIONS['many limits'], UI._replace(scroll=2))],
    'rate-limited': [(SITUATIONS['rate limited'], UI)],
    'no-login': [(SITUATIONS['looking'], LOOKING), (NO_LOGIN, UI)],
    'help': [(NORMAL, HELPED)],
    'ascii': [(SITUATIONS['rate limited'], ASCII)],
    'only-credits': [(SITUATIONS['only credits'], UI)],
}


@pytest.mark.parametrize('name', SCREENS)
def test_golden_screens(golden, name):
    golden(name, '\n\n'.join(picture(known, ui, size) for known, ui in SCREENS[name]
                             for size in SIZES))


# --- Where there is no room ---

def test_rows_go_in_the_promised_order():
    order = ('', 'Tier:', 'Company', 'User', 'EUR', 'Updated:', '7-Day', '5-Hour', 'Rate limited')
    before = [False] * len(order)
    for height in range(3, 25):
        inside = boxed(rows(FAILING, (47, height)))
        present = [any(mark in row if mark else not row for row in inside) for mark in order]
        assert present == sorted(present), 'worth less, but there: %r' % (inside,)
        assert present[2:] >= before[2:], 'gone with more room'
        before = present
    assert all(before)


@pytest.mark.parametrize('width', [24, 28, 47, 80])
def test_every_limit_keeps_its_percent_and_countdown_or_is_counted(width):
    for height in range(3, 41):
        frame = compose(SITUATIONS['many limits'], NO_HINT, (width, height), Moment(NOW))
        text = '\n'.join(texts(frame))
        percents = re.findall(r'(\d+)%', text)
        expected = ['78', '34', '100', '0', '99', '50', '105', '81', '38']
        assert percents == expected[:len(percents)]
        hidden = sum(map(int, re.findall('[↓↑] ?([0-9]+)', text)))
        assert len(percents) + hidden == len(expected) and frame.overflow == hidden
        for item in MANY[:len(percents)]:
            left = (item.resets_at or 0) - NOW
            assert left <= 0 or countdown_short(left) in text or countdown(left) in text


@pytest.mark.parametrize('name', ['normal', 'many limits', 'only credits'])
def test_percents_are_the_last_to_go(name):
    for width in range(10, 60):
        for height in (3, 8):
            for row in rows(SITUATIONS[name], (width, height), NO_HINT):
                assert '%' in row or not re.search('5h|7d|Opus|Credits ', row), row
    assert rows(NORMAL, (23, 1)) == ['5h 78% 3h45m  7d 34% 4d']
    for height in (1, 2):
        assert re.match('5h 78% .*7d 34%', rows(NORMAL, (20, height))[0])


@pytest.mark.parametrize('label', ['x' * 14, 'x' * 15, 'x' * 16, '田' * 8, '7-Day ' + 'x' * 9])
def test_a_label_and_its_bar_are_apart(label):
    known = snapshot([limit('x', 78.0, HOUR, label)])
    for size in [(width, height) for width in range(24, 101, 3) for height in (4, 16)]:
        assert not re.search('[^ │█▏▎▍▌▋▊▉░][█▏▎▍▌▋▊▉░]', shown(known, size))


def test_hidden_rows_are_counted_and_reached():
    frames = [compose(SITUATIONS['many limits'], UI._replace(scroll=scroll), (28, 9), Moment(NOW))
              for scroll in (0, 1, 2, 3, 999)]
    assert (frames[0].overflow, frames[0].room) == (3, 6)
    for scroll in range(4):
        told = texts(frames[scroll])
        assert (' ↑ %d more ' % scroll in told[0]) == (scroll > 0)
        assert (' ↓ %d more ' % (3 - scroll) in told[-2]) == (scroll < 3)
    assert frames[4] == frames[3]
    assert len({row for frame in frames for row in boxed(texts(frame))}) == 9


def test_help_can_be_read_to_its_end():
    for size in SIZES + ((24, 8), (10, 3)):
        ui, seen = HELPED, []
        for _ in range(90):
            frame = compose(NORMAL, ui, size, Moment(NOW))
            seen += texts(frame)
            ui = ACTIONS['down'](ui, NORMAL, frame, NOW)
        words = ' '.join(re.sub('[│┌└].? *', '', row) for row in seen)
        assert 'q, Ctrl' in words and HELP[-1].split(' ')[-1] in words
    for interval, told in ((None, 'every 30 seconds while usage moves, '),
                           (45.0, 'as one: every 45 seconds, five ')):
        words = ' '.join(boxed(rows(NORMAL, (100, 40), HELPED._replace(interval=interval))))
        assert told in words and 'Next request: 20:19:48.' in words


# --- What must be told wherever there is room to ---

@pytest.mark.parametrize('name', ['rate limited', 'token expired', 'no login'])
def test_a_failure_is_told_at_every_height(name):
    for height in range(1, 25):
        frame = compose(SITUATIONS[name], UI, (47, height), Moment(NOW))
        told = [span.text.strip() for line in frame.lines for span in line if span.role == 'alert']
        assert ''.join(told) and len(told) == len(set(told))
    assert 'login found' in ' '.join(rows(NO_LOGIN, (24, 2)))
    assert rows(NO_LOGIN, (10, 3))[-1]


@pytest.mark.parametrize('size', SIZES + ((40, 12), (24, 8), (47, 2), (47, 1)))
def test_what_is_told_at_every_size(size):
    if size[1] > 2:
        assert '14m ago' in shown(SITUATIONS['rate limited'], size)
        assert '1m ago' in shown(SITUATIONS['stale'], size)
    assert NO_LIMITS[:20] in shown(SITUATIONS['nothing'], size)
    assert 'JPY 763' in shown(SITUATIONS['credits without a cap'], size)
    assert '38%' in shown(SITUATIONS['only credits'], size)
    assert 'Looking for a login…' in shown(SITUATIONS['looking'], size, LOOKING)


@pytest.mark.parametrize('via, slow, told', [
    ('', 60, 'Updated: 20:19:08'), ('', 61, 'Updated: 20:19:08, next 20:20'),
    ('', 2 * DAY, 'Updated: 20:19:08, next Tue 20:19'),
    ('Pace Maker', 30, 'Updated: 20:19:08 via Pace Maker'),
    ('Claude Code', 300, 'Updated: 20:19:08 via Claude Code, next 20:24')])
def test_whence_the_numbers_are_and_when_the_next_come_is_told(via, slow, told):
    known = snapshot((FIVE_HOUR._replace(via=via),), 10, next_at=NOW - 10 + slow)
    assert boxed(rows(known, (80, 24)))[-1] == told
    for width in range(20, 80):         # what has no room is left out whole, the time last
        row = boxed(rows(known, (width, 24)))[-1]
        assert row in told or row in told.replace('Updated: ', ''), row
    # The newest limit says where the numbers are from.
    for newer, told in ((SEVEN_DAY, False), (FIVE_HOUR, True)):
        limits = [item._replace(at=NOW - 5 * (item != newer)) for item in TWO]
        limits[0] = limits[0]._replace(via='Claude Code')
        usage = NORMAL[PLACE, 'usage'].value._replace(limits=tuple(limits))
        known = changed(NORMAL, 'usage', value=usage)
        assert (' via Claude Code' in shown(known, SIZES[0])) is told
    told = shown(snapshot((FIVE_HOUR,), 10, failure=RATE_LIMITED, next_at=NOW + 720), (80, 24))
    assert told.count('20:31') == 1 and ', next' not in told


def test_what_is_said_of_credits():
    def inside(name):
        return boxed(rows(SITUATIONS[name], (60, 30)))
    assert {'USD 4.00 of 10.00', '⏰ Expires in: 3d 0h 0m (Wed 20:19)', '⏰ Expired'} <= set(
        inside('credits that expire'))
    assert {'USD 7.63', 'Out of credits.'} <= set(inside('out of credits'))
    assert 'Usage credits: JPY 763, no limit' in inside('credits without a cap')
    assert ONLY_CREDITS in inside('only credits')


@pytest.mark.parametrize('width, hint', [(100, HINT[0]), (35, HINT[0]), (34, HINT[1]),
                                         (18, HINT[1]), (17, HINT[2]), (6, HINT[2])])
def test_the_hint_stands_on_the_last_row(width, hint):
    assert HINT[0] == 'Ctrl+C to stop · r refresh · ? help'
    for height in (6, 9, 30):
        assert rows(NORMAL, (width, height))[-1] == hint
        assert 'Esc' in rows(NORMAL, (width, height), HELPED)[-1]
        assert hint not in shown(NORMAL, (width, height), NO_HINT)


def test_a_notice_takes_the_hints_row_for_a_while():
    ui = UI._replace(notice=('Refreshing.',), notice_until=NOW + 4)
    for now, row in ((NOW, 'Refreshing.'), (NOW + 3.9, 'Refreshing.'), (NOW + 4, HINT[0])):
        assert rows(NORMAL, (47, 16), ui, now)[-1] == row
    known = SITUATIONS['rate limited']
    ui = ACTIONS['r'](UI, known, Frame([]), NOW)
    for width in (80, 47, 28, 24):      # when a refresh is possible can be read
        assert '20:31:1' in rows(known, (width, 8), ui)[-1]
    # Another host than the usual one is named.
    for width, title in ((100, 'Claude Code Usage · '), (46, 'Claude Code Usage · '),
                         (45, 'Claude Code · '), (35, 'Claude · '), (28, '')):
        row = rows(NORMAL, (width, 16), UI._replace(origin='proxy.example.com:8443'))[0]
        assert row.startswith('┌ %sproxy.example.com:8443 ' % title)


@pytest.mark.parametrize('account, told', [
    (Account(), []), (Account(name='Ann'), ['👤 Ann']), (Account(email='a@b.c'), ['👤 a@b.c']),
    (Account(name='Ann', email='a@b.c', tier='t'), ['👤 Ann (a@b.c)', '⚡ Tier: t']),
    (Account(organization='Org'), ['🏢 Org']), (Account(badges=('MAX', 'PRO')), ['🏢 MAX  PRO']),
    (Account(organization='Org', badges=('TEAM', 'PRO')), ['🏢 Org  TEAM  PRO']),
    (Account(organization='Org', badges=('TEAM', 'PRO'), plan='Team Plus'), ['🏢 Org  Team Plus']),
])
def test_account(account, told):
    told = told + [''] * bool(told) + [NO_LIMITS, '', 'Updated: 20:19:18']
    assert boxed(rows(snapshot(account=account), (47, 16))) == told


@pytest.mark.parametrize('left, told, short', [
    (None, 'not started', 'idle'), (-1, 'Reset due', 'due'), (0, 'Reset due', 'due'),
    (0.5, 'Resets in: 0s (20:19)', '0s'), (45.9, 'Resets in: 45s (20:20)', '45s'),
    (12 * MINUTE, 'Resets in: 12m (20:31)', '12m'),
    (97 * HOUR + 12 * MINUTE, 'Resets in: 4d 1h 12m (Thu 21:31)', '4d'),
    (199 * HOUR, 'Resets in: 8d 7h 0m (Dec 1 03:19)', '8d')])
def test_resets(left, told, short):
    known = snapshot([limit('five_hour', 78.0, left)._replace(window=14 * DAY)])
    assert told in shown(known, (47, 16))
    assert re.search('5h .* 78%% *%s │' % short, shown(known, (28, 5)))
    assert rows(known, (47, 1)) == ['5h 78% ' + short]
