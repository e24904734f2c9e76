"""Frames: their laws at every size, what goes first where there is no room, and golden screens."""
import re

import pytest

from claude_usage import (ACTIONS, DAY, HELP, HINT, HOUR, MINUTE, NO_WINDOWS, ROLES, Account,
                          Failure, Frame, Ui, bar, cells, compose, countdown, countdown_short,
                          next_change, width_of)
from samples import (EXTRA, FIVE_HOUR, MANY, NORMAL, NOW, RATE_LIMITED, SEVEN_DAY, SITUATIONS,
                     limit, snapshot)

pytestmark = pytest.mark.usefixtures('zone')

ASCII = Ui(ascii=True, icons=False)
SIZES = ((100, 30), (80, 24), (47, 16), (40, 12), (28, 8), (24, 8), (20, 2), (10, 3))
FAILING = snapshot((FIVE_HOUR, SEVEN_DAY), EXTRA, age=60, failure=Failure('rate_limited'),
                   next_at=NOW + 12 * MINUTE)


def texts(frame):
    """The rows of a frame as plain text, blanks at their ends left out."""
    return [''.join(span.text for span in line).rstrip() for line in frame.lines]


def shown(snapshot, size, ui=Ui(), now=NOW):
    return '\n'.join(texts(compose(snapshot, ui, size, now)))


# --- The laws ---

def check(snapshot, ui, width, height):
    """A frame is exactly so many lines, each exactly so many cells, in known roles."""
    frame = compose(snapshot, ui, (width, height), NOW)
    assert len(frame.lines) == height
    for line in frame.lines:
        assert width_of(line) == width
        assert all(span.role in ROLES for span in line)
    assert frame.overflow >= 0 and frame.room >= 0


@pytest.mark.parametrize('name', ['waiting', 'no login', 'normal', 'rate limited', 'many limits',
                                  'only extra usage', 'nothing', 'hostile'])
def test_every_size(name):
    for width in range(101):
        for height in range(41):
            check(SITUATIONS[name], Ui(), width, height)


VARIANTS = {
    'help': Ui(help=True), 'help, scrolled': Ui(help=True, scroll=3), 'ascii': ASCII,
    'ascii help': ASCII._replace(help=True), 'scrolled': Ui(scroll=2),
    'scrolled far': Ui(scroll=999), 'no hint': Ui(hint=False),
    'origin': Ui(origin='a-proxy.example.com:8443'),
    'notice': Ui(notice=('Refreshing. ' * 9,), notice_until=NOW + 1),
}


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('name, step', [('many limits', 1), ('rate limited', 7), ('hostile', 7)])
def test_every_size_otherwise(name, step, variant):
    for width in range(0, 101, step):
        for height in list(range(0, 12)) + [17, 23, 40]:
            check(SITUATIONS[name], VARIANTS[variant], width, height)


@pytest.mark.parametrize('name', SITUATIONS)
def test_large_sizes(name):
    for width in range(100, 201, 10):
        for height in range(0, 81, 8):
            for ui in (Ui(), Ui(help=True), ASCII):
                check(SITUATIONS[name], ui, width, height)


@pytest.mark.parametrize('name', SITUATIONS)
def test_ascii_is_ascii(name):
    for size in SIZES:
        for ui in (ASCII, ASCII._replace(help=True, scroll=1)):
            assert not re.search('[^\n -~]', shown(SITUATIONS[name], size, ui))


@pytest.mark.parametrize('name', sorted(set(SITUATIONS) - {'hostile'}))
def test_glyphs(name):
    """Only those whose width terminals agree about; the emoji only as icons."""
    emoji, narrow = set('👤🏢⚡⏰'), set('⚠█▏▎▍▌▋▊▉░─│┌┐└┘·…↑↓')
    for size in SIZES:
        assert {char for char in shown(SITUATIONS[name], size) if char > '~'} <= emoji | narrow
        assert not emoji & set(shown(SITUATIONS[name], size, Ui(icons=False)))


@pytest.mark.parametrize('name', SITUATIONS)
@pytest.mark.parametrize('ui', [Ui(), Ui(help=True), Ui(notice=('x',), notice_until=NOW + 2.5)])
def test_a_frame_stays_the_same_until_its_next_change(name, ui):
    now = NOW + 0.25
    for _ in range(100):
        until = next_change(SITUATIONS[name], ui, now)
        assert until > now
        frame = compose(SITUATIONS[name], ui, (80, 24), now)
        for moment in ((now + until) / 2, until - 0.002):
            assert compose(SITUATIONS[name], ui, (80, 24), max(now, moment)) == frame
        now = min(until, now + HOUR)


def test_an_idle_screen_changes_seldom():
    now, changes = NOW, 0
    while now < NOW + HOUR:
        now, changes = next_change(NORMAL, Ui(), now), changes + 1
    assert changes <= 130       # two countdowns in minutes


# --- Bars ---

@pytest.mark.parametrize('used, width, drawn', [
    (78, 20, '███████████████▋░░░░'), (34, 20, '██████▊░░░░░░░░░░░░░'), (0, 20, '░' * 20),
    (0.5, 20, '▏' + '░' * 19), (50, 20, '█' * 10 + '░' * 10), (99, 20, '█' * 19 + '▊'),
    (99.9, 20, '█' * 19 + '▉'), (100, 20, '█' * 20), (104.6, 20, '█' * 20), (-5, 4, '░' * 4),
    (99.9, 1, '▉'), (78, 1, '▊'), (100, 0, ''), (78, 0, ''),
    (12.5, 1, '▏'), (25, 1, '▎'), (37.5, 1, '▍'), (50, 1, '▌'), (62.5, 1, '▋'), (75, 1, '▊'),
    (87.5, 1, '▉'),
])
def test_bar(used, width, drawn):
    assert ''.join(span.text for span in bar(used, width)) == drawn


def test_bars_grow_and_are_full_from_100_on_only():
    order = '░▏▎▍▌▋▊▉█'
    for width in range(1, 61):
        last = ''
        for tenths in range(0, 1101):
            drawn = ''.join(span.text for span in bar(tenths / 10, width))
            assert cells(drawn) == width
            assert (drawn == '█' * width) == (tenths >= 1000)
            steps = [order.index(char) for char in drawn]
            assert steps == sorted(steps, reverse=True) and steps >= [order.index(c) for c in last]
            last = drawn


@pytest.mark.parametrize('used, role', [(0, 'green'), (50.4, 'green'), (50.5, 'yellow'),
                                        (81, 'orange'), (99.9, 'orange'), (100, 'red')])
def test_colour_of_bar_and_percent(used, role):
    assert bar(used, 10)[0].role == role
    for size in ((80, 24), (28, 8), (47, 1)):
        frame = compose(snapshot([limit('five_hour', used, HOUR)]), Ui(), size, NOW)
        percent, = [span for line in frame.lines for span in line if '%' in span.text]
        assert percent.role == role


def test_an_ascii_bar_is_full_from_100_on_only():
    for used, full in ((78, False), (99.9, False), (100, True)):
        drawn = shown(snapshot([limit('five_hour', used, HOUR)]), (47, 16), ASCII)
        assert ('-' in re.search('Usage: +([#-]+) ', drawn).group(1)) != full


# --- Pictures ---

def test_the_picture_of_the_readme(golden):
    golden('picture', shown(NORMAL, (47, 14)))


def picture(snapshot, ui, size, now=NOW):
    """A frame as it looks, and below it one letter a cell for the role."""
    frame = compose(snapshot, ui, size, now)
    roles = [''.join(ROLES[span.role].letter * cells(span.text) for span in line)
             for line in frame.lines]
    return '\n'.join(['%dx%d' % size] + texts(frame) + [''] + roles)


SCREENS = {name.replace(',', '').replace(' ', '-'): (SITUATIONS[name], Ui())
           for name in SITUATIONS if name != 'hostile'}
SCREENS.update({
    'many-limits-scrolled': (SITUATIONS['many limits'], Ui(scroll=2)),
    'ascii': (SITUATIONS['rate limited'], ASCII),
    'ascii-many-limits': (SITUATIONS['many limits'], ASCII),
    'help': (NORMAL, Ui(help=True)),
    'help-scrolled': (NORMAL, Ui(help=True, scroll=3)),
    'origin-and-notice': (NORMAL, Ui(origin='proxy.example.com:8443',
                                     notice=('Refreshing.',), notice_until=NOW + 1)),
})


@pytest.mark.parametrize('name', SCREENS)
def test_golden_screens(golden, name):
    golden(name, '\n\n'.join(picture(*SCREENS[name], size) for size in SIZES))


# --- Where there is no room ---

def boxed(rows):
    """The rows inside the box, without its sides."""
    return [row[2:-2].strip() for row in rows if row.startswith('│')]


@pytest.mark.parametrize('height', range(3, 25))
def test_rows_go_in_the_promised_order(height):
    rows = texts(compose(FAILING, Ui(), (47, height), NOW))
    order = ('', 'Tier:', 'Company', 'User', 'EUR', 'Updated:', '7-Day', '5-Hour', 'Rate limited')
    present = [any(mark in row if mark else not row for row in boxed(rows)) for mark in order]
    assert present == sorted(present), 'worth less, but there: %r' % (rows,)


@pytest.mark.parametrize('height', range(3, 41))
@pytest.mark.parametrize('width', [24, 28, 47, 80])
def test_every_limit_keeps_its_percent_and_countdown_or_is_counted(width, height):
    ui = Ui(hint=False)
    frame = compose(SITUATIONS['many limits'], ui, (width, height), NOW)
    text = '\n'.join(texts(frame))
    percents = re.findall(r'(\d+)%', text)
    expected = ['78', '34', '100', '0', '99', '50', '105', '81', '38']
    assert percents == expected[:len(percents)]
    hidden = sum(map(int, re.findall('[↓↑] ?([0-9]+)', text)))
    assert len(percents) + hidden == len(expected)
    assert frame.overflow == hidden
    for item in MANY[:len(percents)]:
        left = (item.resets_at or 0) - NOW
        if left > 0:
            assert countdown_short(left) in text or countdown(left) in text


@pytest.mark.parametrize('width', range(10, 60))
def test_percents_are_the_last_to_go(width):
    for height in (3, 8):
        for name in ('normal', 'many limits', 'only extra usage'):
            for row in shown(SITUATIONS[name], (width, height), Ui(hint=False)).split('\n'):
                assert '%' in row or not re.search('5h|7d|Opus|Extra ', row), row


@pytest.mark.parametrize('height', [1, 2])
def test_percents_on_one_or_two_rows(height):
    row = shown(NORMAL, (23, height)).split('\n')[0]
    assert row == '5h 78% 3h45m  7d 34% 4d'
    row = shown(NORMAL, (20, height)).split('\n')[0]
    assert '78%' in row and '34%' in row


@pytest.mark.parametrize('label', ['x' * 5, 'x' * 8, 'x' * 14, 'x' * 15, 'x' * 16, '田' * 7,
                                   '田' * 8, '7-Day ' + 'x' * 9, 'Fable Mythos Preview'])
def test_a_label_and_its_bar_are_apart(label):
    known = snapshot([limit('x', 78.0, HOUR, label)])
    for width in range(24, 101):
        for height in (4, 16):
            text = shown(known, (width, height))
            assert not re.search('[^ │█▏▎▍▌▋▊▉░][█▏▎▍▌▋▊▉░]', text)


def test_hidden_rows_are_counted_and_reached():
    def frame(scroll):
        return compose(SITUATIONS['many limits'], Ui(scroll=scroll), (28, 9), NOW)
    assert (frame(0).overflow, frame(0).room) == (3, 6)
    top, bottom = texts(frame(0))[0], texts(frame(0))[-2]
    assert ' ↓ 3 more ' in bottom and 'more' not in top
    top, bottom = texts(frame(1))[0], texts(frame(1))[-2]
    assert ' ↑ 1 more ' in top and ' ↓ 2 more ' in bottom
    top, bottom = texts(frame(3))[0], texts(frame(3))[-2]
    assert ' ↑ 3 more ' in top and 'more' not in bottom
    assert frame(999).lines == frame(3).lines
    seen = {row for scroll in range(4) for row in boxed(texts(frame(scroll)))}
    assert len(seen) == 9


def test_help_can_be_read_to_its_end():
    for size in SIZES:
        ui, seen = Ui(help=True), []
        for _ in range(90):
            frame = compose(NORMAL, ui, size, NOW)
            seen += texts(frame)
            ui = ACTIONS['down'](ui, NORMAL, frame, NOW)
        words = ' '.join(re.sub('[│┌└].? *', '', row) for row in seen)
        assert 'q, Ctrl' in words and HELP[-1].split(' ')[-1] in words


@pytest.mark.parametrize('interval, words', [
    (None, 'every 30 seconds while usage moves, '), (45.0, 'as one: every 45 seconds, five ')])
def test_help_says_how_often_is_asked(interval, words):
    ui = Ui(help=True, interval=interval)
    assert words in ' '.join(boxed(texts(compose(NORMAL, ui, (100, 40), NOW))))


# --- What must be told wherever there is room to ---

@pytest.mark.parametrize('height', range(1, 25))
@pytest.mark.parametrize('name', ['rate limited', 'token expired', 'no login'])
def test_a_failure_is_told_at_every_height(name, height):
    frame = compose(SITUATIONS[name], Ui(), (47, height), NOW)
    told = [span.text.strip() for line in frame.lines for span in line if span.role == 'alert']
    assert ''.join(told)
    assert len(told) == len(set(told)), 'told twice'


def test_a_failure_uses_all_the_room_there_is():
    assert texts(compose(SITUATIONS['no login'], Ui(), (10, 3), NOW))[-1]
    rows = texts(compose(SITUATIONS['no login'], Ui(), (24, 2), NOW))
    assert 'login found' in ' '.join(rows)


@pytest.mark.parametrize('size', [(100, 30), (47, 16), (40, 12), (28, 8), (24, 8)])
def test_the_age_of_old_numbers(size):
    assert '14m ago' in shown(SITUATIONS['rate limited'], size)
    assert '1m ago' in shown(SITUATIONS['stale'], size)


@pytest.mark.parametrize('via, slow, told', [
    ('', 30, 'Updated: 20:19:08'), ('', 60, 'Updated: 20:19:08'),
    ('', 61, 'Updated: 20:19:08, next 20:20'), ('', 300, 'Updated: 20:19:08, next 20:24'),
    ('', 2 * DAY, 'Updated: 20:19:08, next Tue 20:19'),
    ('Pace Maker', 30, 'Updated: 20:19:08 via Pace Maker'),
    ('Claude Code', 300, 'Updated: 20:19:08 via Claude Code, next 20:24')])
def test_when_the_next_request_comes_is_told_where_that_takes_long(via, slow, told):
    known = snapshot((FIVE_HOUR,), age=10, next_at=NOW - 10 + slow)
    known = known._replace(usage=known.usage._replace(
        value=known.usage.value._replace(via=via)))
    assert boxed(texts(compose(known, Ui(), (80, 24), NOW)))[-1] == told
    for width in range(20, 80):         # what has no room is left out whole, the time last
        row = boxed(texts(compose(known, Ui(), (width, 24), NOW)))[-1]
        assert row in told or row in ('20:19:08' + told[17:], 'Updated: 20:19:08'), row


def test_a_failure_tells_its_next_request_itself():
    known = snapshot((FIVE_HOUR,), age=10, failure=RATE_LIMITED, next_at=NOW + 720)
    assert shown(known, (80, 24)).count('20:31') == 1 and ', next' not in shown(known, (80, 24))


@pytest.mark.parametrize('size', [(100, 30), (47, 16), (28, 8), (47, 2), (47, 1)])
def test_an_account_without_windows_is_shown_as_that(size):
    assert NO_WINDOWS[False][:20] in shown(SITUATIONS['nothing'], size)
    assert 'JPY 763' in shown(SITUATIONS['extra usage without a cap'], size)
    assert '38%' in shown(SITUATIONS['only extra usage'], size)


@pytest.mark.parametrize('width, hint', [(100, HINT[0]), (35, HINT[0]), (34, HINT[1]),
                                         (18, HINT[1]), (17, HINT[2]), (6, HINT[2])])
def test_the_hint_stands_on_the_last_row(width, hint):
    assert HINT[0] == 'Ctrl+C to stop · r refresh · ? help'
    for height in (6, 9, 30):
        assert texts(compose(NORMAL, Ui(), (width, height), NOW))[-1] == hint
        assert 'Esc' in texts(compose(NORMAL, Ui(help=True), (width, height), NOW))[-1]
        assert hint not in shown(NORMAL, (width, height), Ui(hint=False))


def test_a_notice_takes_the_hints_row_for_a_while():
    ui = Ui(notice=('Refreshing.',), notice_until=NOW + 4)
    for now, row in ((NOW, 'Refreshing.'), (NOW + 3.9, 'Refreshing.'), (NOW + 4, HINT[0])):
        assert texts(compose(NORMAL, ui, (47, 16), now))[-1] == row


@pytest.mark.parametrize('width', [80, 47, 28, 24])
def test_when_a_refresh_is_possible_can_be_read(width):
    known = SITUATIONS['rate limited']
    ui = ACTIONS['r'](Ui(), known, Frame([]), NOW)
    assert '20:31:1' in texts(compose(known, ui, (width, 8), NOW))[-1]


@pytest.mark.parametrize('width, title', [
    (100, 'Claude Code Usage · proxy.example.com:8443'),
    (46, 'Claude Code Usage · proxy.example.com:8443'),
    (45, 'Claude Code · proxy.example.com:8443'), (40, 'Claude Code · proxy.example.com:8443'),
    (35, 'Claude · proxy.example.com:8443'), (28, 'proxy.example.com:8443'),
])
def test_another_host_is_named(width, title):
    row = texts(compose(NORMAL, Ui(origin='proxy.example.com:8443'), (width, 16), NOW))[0]
    assert row.startswith('┌ %s ' % title)


@pytest.mark.parametrize('account, rows', [
    (Account(), []),
    (Account(name='Ann'), ['👤 Ann']),
    (Account(email='a@b.c'), ['👤 a@b.c']),
    (Account(name='Ann', email='a@b.c', tier='t'), ['👤 Ann (a@b.c)', '⚡ Tier: t']),
    (Account(organization='Org'), ['🏢 Org']),
    (Account(badges=('MAX', 'PRO')), ['🏢 MAX  PRO']),
    (Account(organization='Org', badges=('TEAM', 'PRO')), ['🏢 Org  TEAM  PRO']),
])
def test_account(account, rows):
    rows = rows + [''] * bool(rows) + [NO_WINDOWS[False], '', 'Updated: 20:19:18']
    assert boxed(texts(compose(snapshot(account=account), Ui(), (47, 16), NOW))) == rows


@pytest.mark.parametrize('left, told, short', [
    (None, 'not started', 'idle'), (-1, 'Reset due', 'due'), (0, 'Reset due', 'due'),
    (0.5, 'Resets in: 0s (20:19)', '0s'), (45.9, 'Resets in: 45s (20:20)', '45s'),
    (12 * MINUTE, 'Resets in: 12m (20:31)', '12m'),
    (3 * HOUR + 45 * MINUTE, 'Resets in: 3h 45m (00:04)', '3h45m'),
    (97 * HOUR + 12 * MINUTE, 'Resets in: 4d 1h 12m (Thu 21:31)', '4d'),
    (199 * HOUR, 'Resets in: 8d 7h 0m (Dec 1 03:19)', '8d')])
def test_resets(left, told, short):
    known = snapshot([limit('five_hour', 78.0, left)])
    assert told in shown(known, (47, 16))
    assert re.search('5h .* 78%% *%s │' % short, shown(known, (28, 5)))
    assert shown(known, (47, 1)) == ('5h 78% ' + short).rstrip()
