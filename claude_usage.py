#!/usr/bin/env python3
# /// script
# requires-python = ">=3.6"
# dependencies = [
#     "urllib3>=1.26",
#     "windows-curses; sys_platform == 'win32' and platform_machine != 'ARM64'",
# ]
# ///
"""The limits of a Claude Code account, live in a terminal.

Data flows one way: pollers -> inbox -> snapshot -> frame -> screen. The chapters:

What everybody needs
    Settings, Compatibility, Cells, Values, Words, Rows and boxes
Where numbers come from
    Logins, Network, Requests, Store, Pollers
The features, each with all that belongs to it
    Code mode, Outlook, Console, Pace Maker, Alerts
What people see
    View, Documents, Keys, Screen, Loop, Demo, Command line

A feature enters itself in tables such as POLLERS, PANELS and DOCUMENTS, which stand at the end of
Pollers; the other chapters go by these. Times are epoch seconds everywhere inside; `now` is a
parameter of all that is pure.
"""
import argparse
import bisect
import functools
import json
import locale
import math
import os
import queue
import re
import signal
import stat
import sys
import threading
import time
import unicodedata
from typing import Any, Callable, NamedTuple, Optional, Tuple

__version__ = '1.0.0'


# ---- Settings ----------------------------------------------------------------------------------
# What somebody may want to change, each with its unit. Every other constant stands where it is
# used. Percents are 0..100 and beyond, times epoch seconds, spans seconds.

MINUTE, HOUR, DAY = 60, 3600, 86400

API_URL = 'https://api.anthropic.com'
STORE_FOLDER = '~/.claude-usage'

USAGE_INTERVAL = 30             # seconds between usage requests while the numbers move ...
USAGE_INTERVAL_MOST = 300       # ... and at most, while they do not
PROFILE_INTERVAL = DAY          # as seldom as Claude Code itself asks for the profile
CONSOLE_INTERVAL = 120          # the service supports one poll a minute
INTERVAL_LEAST = 10             # the smallest --interval

REQUESTS_MOST, REQUESTS_SECONDS = 5, 300    # in any such span: the service's own budget
ONCE_MAX_AGE = 60               # --once and --check accept a stored reply up to this age
CHECK_MAX_AGE = 15 * MINUTE     # --check treats an older number as unknown

LEVELS = ((50, 'green'), (80, 'yellow'), (99, 'orange'))    # up to this percent; red above
WIDE = 94                       # columns from which panels stand side by side


# ---- Compatibility -----------------------------------------------------------------------------
# The only place that knows versions of Python, platforms and majors of libraries. The rest is
# written as if there were one of each; where that cannot be it asks WINDOWS, MACOS, or whether
# `curses` and `termios` are there.

try:
    import curses
except ImportError:             # Windows without windows-curses, a Python built without curses
    curses = None               # type: ignore
try:
    import termios
except ImportError:             # Windows
    termios = None              # type: ignore

WINDOWS = os.name == 'nt'
MACOS = sys.platform == 'darwin'


def load_urllib3():
    """Import urllib3, or pip's own copy of it, and return it. SourceError network.

    It is imported late, for that takes as long as the first frame.
    """
    import warnings
    # Version 2 warns of LibreSSL, version 1.26 of a wrong clock: both across the screen.
    warnings.filterwarnings('ignore', module=r'(pip\._vendor\.)?urllib3')
    try:
        import urllib3
    except ImportError:
        try:
            from pip._vendor import urllib3
        except ImportError:
            raise SourceError('network', 'urllib3 is missing, install it with '
                                         '`python3 -m pip install urllib3`')
    return urllib3


def load_sqlite3():
    """Import sqlite3, which some builds of Python lack, and return it. SourceError forbidden."""
    try:
        import sqlite3
    except ImportError:
        raise SourceError('forbidden', 'this Python was built without sqlite3')
    return sqlite3


def start_thread(thread):
    """Start a thread. SourceError forbidden where the system allows this user no more of them."""
    try:
        thread.start()
    except RuntimeError:
        raise SourceError('forbidden', 'no thread can be started, see `ulimit -u`')


TIME = re.compile(r'(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?'
                  r'\s*(?:Z|([+-])(\d\d):?(\d\d))?$', re.IGNORECASE)
TIME_MOST = 253402300799        # epoch seconds of the end of 9999, beyond which `time` fails


def parse_time(value):
    """Epoch seconds of an ISO-8601 text (UTC where it names no offset) or an epoch number.

    None stays None. ValueError for all else. One regex serves every form on every Python: 3.6
    has no datetime.fromisoformat, and until 3.10 it refuses a trailing Z.
    """
    if value is None:
        return None
    if isinstance(value, str):
        seconds = iso_seconds(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value
    else:
        raise ValueError('not a time')
    if not 0 <= seconds <= TIME_MOST:
        raise ValueError('time out of range')
    return float(seconds)


def iso_seconds(words):
    """Epoch seconds of an ISO-8601 text, negative before 1970. ValueError if it is none."""
    from datetime import datetime, timezone
    match = TIME.match(words)
    if not match:
        raise ValueError('not a time')
    groups = match.groups('0')
    date = [int(part) for part in groups[:6]]
    fraction, sign, hours, minutes = groups[6:]
    offset = int(sign + hours) * HOUR + int(sign + minutes) * MINUTE
    moment = datetime(*date, tzinfo=timezone.utc)
    return moment.timestamp() + float(fraction) - offset


DIGITS_MOST = 4300      # of an int, as in new Pythons; old ones take minutes for a million


def short_int(digits):
    """The int in a text of JSON. ValueError if it has more than DIGITS_MOST digits."""
    if len(digits) > DIGITS_MOST:
        raise ValueError('too many digits')
    return int(digits)


# What json is to make ints by: new Pythons refuse long ones by themselves, and faster.
PARSE_INT = int if hasattr(sys, 'get_int_max_str_digits') else short_int


def unicode_terminal():
    """Whether the terminal takes UTF-8 and this curses can send it.

    Not from getpreferredencoding or stdout: under LC_ALL=C they say UTF-8 while curses, which
    asks the C library as we do here, would print blanks.
    """
    if WINDOWS:
        return True
    try:
        locale.setlocale(locale.LC_CTYPE, '')
    except locale.Error:
        return False
    codeset = locale.nl_langinfo(locale.CODESET).upper().replace('-', '')
    return codeset == 'UTF8' and (curses is None or hasattr(curses, 'unget_wch'))


def stop_signals():
    """The signals that end the program, those that somebody set to be ignored (nohup) left out."""
    names = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGBREAK')
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


# ---- Cells -------------------------------------------------------------------------------------
# A terminal counts cells, not characters: a wide one takes two, a combining mark none. Text from
# outside is cleaned once, where it is parsed; from then on only what is here cuts and fills it.

class Span(NamedTuple):
    """Text in one role. A line is a tuple of spans, a frame a list of lines."""
    text: str
    role: str = ''


@functools.lru_cache(maxsize=4096)
def cell_count(char):
    """The columns that one character takes: 2 if East Asian wide, 0 if it combines, else 1."""
    if unicodedata.category(char) in ('Mn', 'Me', 'Cf'):
        return 0
    if unicodedata.east_asian_width(char) in 'WF':
        return 2
    return 1


@functools.lru_cache(maxsize=1024)
def cells(text):
    """The columns that a text takes on a terminal."""
    return sum(map(cell_count, text))


def width_of(line):
    """The columns that a line of spans takes."""
    return sum(cells(span.text) for span in line)


TEXT_MOST = 200                         # characters of a text from outside
SECRET = re.compile(r'sk-(ant|lf)-[\w-]{8,}')      # a key or token, wherever it may come from
PLAIN = re.compile(r'[ -~]*\Z')         # the printable characters of ASCII
# Whole control sequences: CSI, OSC and other strings, and those of two characters.
ESCAPES = re.compile('(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[]P^_X].*?(?:\x07|\x1b\\\\|\x9c|$)'
                     '|\x1b[ -/]*[0-~]?', re.DOTALL)
# Terminals disagree on the width of variation selectors, keycaps, flags and skin tones.
UNFIT = re.compile('[\ufe00-\ufe0f\u20e3\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]')
# They disagree on these too, or know nothing of them, by tests/widths.py: parts of Korean letters,
# fillers, hexagrams and the like, and what is in Unicode since version 15. Compiling it takes half
# a millisecond, so it waits for the first text that is not ASCII.
DISPUTED = (
    '[\u0cf3\u0ece\u1160-\u11ff\u1734\u2630-\u2637\u268a-\u268f\u2ffc-\u2fff\u3164\u31ef'
    '\u3248-\u324f\u4dc0-\u4dff\ua9bd\ud7b0-\ud7ff\uffa0\U00010efd-\U00010eff\U000111c9'
    '\U0001123f-\U00011241\U00011b00-\U00011b09\U00011f00-\U00011f59\U0001342f'
    '\U00013440-\U00013455\U0001b132\U0001b155\U0001d2c0-\U0001d2d3\U0001d300-\U0001d376'
    '\U0001df25-\U0001df2a\U0001e030-\U0001e08f\U0001e4d0-\U0001e4f9\U0001f6d8-\U0001f6dc'
    '\U0001f774-\U0001f77f\U0001f7d9\U0001f93b\U0001f946\U0001fa75-\U0001fa77'
    '\U0001fa7d-\U0001fa7f\U0001fa87-\U0001fa8f\U0001faad-\U0001faaf\U0001fabb-\U0001fabf'
    '\U0001fac6-\U0001facf\U0001fada-\U0001fadf\U0001fae8-\U0001faef\U0001faf7-\U0001faff'
    '\U0002b739\U0002ebf0-\U0002f7ff\U00031350-\U0003ffff]')
UNFIT_KINDS = ('Cf', 'Cs', 'Co', 'Cn')  # formats (and so bidi, ZWJ), surrogates, unknowns
MARKS, MARKS_MOST = ('Mn', 'Me'), 2     # curses drops further marks on a letter by itself


@functools.lru_cache(maxsize=16384)     # an organization has many names, told again at each poll
def clean(text, most=TEXT_MOST):
    """Text from outside -> one line that is safe on a terminal, of at most `most` characters.

    Keys and tokens in it are replaced.
    """
    if PLAIN.match(text):       # nearly all is; the other way costs a microsecond a character
        shown = text[:2 * most]
    else:
        shown = without_controls(text[:16 * most])
    words = ' '.join(shown.split())
    return SECRET.sub('[secret]', words)[:most].rstrip()


def without_controls(text):
    """Text without what moves the cursor, is not seen, or changes how its neighbours look.

    Escape sequences, bidirectional overrides and other invisible characters go; controls and all
    kinds of blanks become blanks; what is DISPUTED becomes a question mark; a letter keeps
    MARKS_MOST marks.
    """
    text = unicodedata.normalize('NFC', UNFIT.sub('', ESCAPES.sub('', text)))
    kept = []
    marks = MARKS_MOST          # a mark at the very start has no letter to stand on
    for char in re.sub(DISPUTED, '?', text):
        kind = unicodedata.category(char)
        if kind in UNFIT_KINDS:
            continue
        if kind in MARKS:
            marks += 1
        elif kind[0] in 'CZ':
            char = ' '
            marks = MARKS_MOST
        else:
            marks = 0
        if marks <= MARKS_MOST:
            kept.append(char)
    return ''.join(kept)


def cut(text, width):
    """As much of the start of a text as `width` cells hold; marks stay with their letter."""
    used = 0
    for index, char in enumerate(text):
        used += cell_count(char)
        if used > width:
            return text[:index]
    return text


def fit(line, width):
    """A line in exactly `width` cells: filled up with blanks, or cut and ended with `…`."""
    missing = width - width_of(line)
    if missing > 0:
        return line + (Span(' ' * missing),)
    if missing == 0:
        return line
    if width < 1:
        return ()
    kept, room = (), width - 1
    for span in line:
        piece = cut(span.text, room)
        kept += (Span(piece, span.role),)
        room -= cells(piece)
        if piece != span.text:
            break
    return kept + (Span('…' + ' ' * room),)


def shorten(text, width):
    """A text in at most `width` cells, its cut end marked by `…`."""
    if cells(text) <= width:
        return text
    if width < 1:
        return ''
    return cut(text, width - 1) + '…'


def fitting(variants, width, measure=cells):
    """The first of the texts that `width` cells hold, else the last.

    Of lines of spans where they are measured by `width_of`.
    """
    for variant in variants:
        if measure(variant) <= width:
            return variant
    return variants[-1]


def wrap(text, width):
    """A text as lines of at most `width` cells, broken between words where that is possible."""
    lines, line = [], ''
    for word in text.split():
        if line and cells(line) + 1 + cells(word) <= width:
            line += ' ' + word
            continue
        if line:
            lines.append(line)
        while cells(word) > width > 1:
            start = cut(word, width)
            lines.append(start)
            word = word[len(start):]
        line = word
    return lines + [line]


# Where only ASCII may be sent: each character, and the glyphs that it stands for.
STAND_INS = {
    '#': '█', '-': '▉▊▋▌▍▎▏░─·–', '|': '│', '+': '┌┐└┘✓▆', '=': '═▅', '_': '▁', '.': '▂', ':': '▃',
    '~': '…▄≈', '*': '▇', '!': '⚠', '^': '↑', 'v': '↓', '<': '←', '>': '→▸', '`': '↳', 'x': '✗',
}
ASCII = {glyph: plain for plain, glyphs in STAND_INS.items() for glyph in glyphs}


def ascii_char(char):
    """A character in ASCII and as many cells: by the table, without accent, or question marks."""
    if char < '\x7f':
        return char
    plain = ASCII.get(char) or unicodedata.normalize('NFKD', char)[0]
    if plain < '\x7f' and cell_count(char) == 1:
        return plain
    return '?' * cell_count(char)


@functools.lru_cache(maxsize=1024)
def ascii_text(text):
    """A text in ASCII and as many cells."""
    return ''.join(map(ascii_char, text))


def ascii_line(line):
    """A line in ASCII and as many cells."""
    return tuple(Span(ascii_text(span.text), span.role) for span in line)


# ---- Values ------------------------------------------------------------------------------------
# What is known, as values that never change. A poller tells a Reading; `absorb` makes the next
# Snapshot of it; whatever is shown or printed is made of one Snapshot.

class Failure(NamedTuple):
    """Why a source has no value: a code of ERRORS, and what its sentence names in particular."""
    code: str
    detail: str = ''
    retry_after: Optional[float] = None     # seconds, where a 429 names them


class SourceError(Exception):
    """Raised by all that reads, asks or parses, whatever goes wrong; carries its Failure.

    Its text is the code alone, so that no secret can get into a traceback.
    """

    def __init__(self, code, detail='', retry_after=None):
        super().__init__(code)
        self.failure = Failure(code, detail, retry_after)


def tried(call, *args):
    """Call a function that may raise SourceError -> (its value, None) or (None, the Failure)."""
    try:
        return call(*args), None
    except SourceError as error:
        return None, error.failure


# Sentences for every failure: mode -> code -> (what happened, what to do); {} is the detail.
# Where there is nothing to do, the program tries again by itself and says when. '' serves all
# modes; a feature enters what differs in its own.
ERRORS = {'': {
    'no_credentials': ('No Claude Code login found.', 'Run `claude` to log in, or set '
                                                      'ANTHROPIC_ADMIN_API_KEY for the Console.'),
    'logged_out': ('Logged out of Claude Code.', 'Run `claude` to log in, or set '
                                                 'ANTHROPIC_ADMIN_API_KEY for the Console.'),
    'token_expired': ('Token expired.', 'Run `claude` to refresh.'),
    'unauthorized': ('Token refused.', 'Run `claude` to refresh.'),
    'forbidden_scope': ('This token cannot read usage.', 'Run `claude`, then /login, for one '
                                                         'that can.'),
    'rate_limited': ('Rate limited.', ''),
    'server_error': ('Server error {}.', ''),
    'network': ('No connection: {}.', ''),
    'timeout': ('No answer in time.', ''),
    'tls': ('No secure connection: {}.',
            'Check the clock, SSL_CERT_FILE and NODE_EXTRA_CA_CERTS.'),
    'redirected': ('Redirected to {}, not followed.', 'Check --api-url and the proxy.'),
    'too_large': ('Reply larger than 8 MiB.', ''),
    'bad_reply': ('Reply not understood: {}.', ''),
    'forbidden': ('Access refused: {}.', ''),
    'locked': ('Locked: {}.', ''),
    'malformed': ('Failed to load {}.', ''),
    'unshared': ('Not asked, for no store can note it: {}.', 'See --doctor.'),
    'internal': ('Internal error: {}.', ''),
}}


class Amount(NamedTuple):
    """Money in minor units of its currency: amount = minor units / 10**digits."""
    used: float
    limit: Optional[float]          # None: no cap
    digits: int
    currency: str


SAME_WINDOW = 60                # seconds: the resets told of one window differ by less


class Limit(NamedTuple):
    """One limit and how much of its window is used, as somebody reported it.

    `id` is what scripts know it by: the key of the window in the reply, or 'weekly_scoped_' and
    the model's name. People know it by its label.
    """
    id: str
    label: str                              # '5-Hour'
    short: str                              # '5h'
    used: Optional[float]                   # percent; None: an amount without a cap
    resets_at: Optional[float] = None       # None: the window has not started
    window: Optional[int] = None            # seconds
    kind: str = 'rate'                      # of money: 'spend' (usage credits), 'credit', 'budget'
    at: float = 0.0                         # when it was reported ...
    via: str = ''                           # ... and by whom, if not by the service to us
    amount: Optional[Amount] = None         # of money, where the limit is about that
    note: str = ''                          # what else there is to say


class Usage(NamedTuple):
    """A report of limits. A whole report tells all that there are; a limit it lacks is gone."""
    limits: Tuple[Limit, ...]
    at: float = 0.0
    is_whole: bool = True

    @property
    def rates(self):
        """The limits that scripts and checks are about: all but the usage credits."""
        return tuple(limit for limit in self.limits if limit.kind != 'spend')


class Outlook(NamedTuple):
    """Where a limit lands at its reset. Percents above 100 say how far it would go."""
    low: Optional[float] = None             # percent at the reset; None where it is silent
    high: Optional[float] = None
    out_from: Optional[float] = None        # when 100 is reached: at the pace of `high`, ...
    out_until: Optional[float] = None       # ... and of `low`; None where it is not
    rate: Optional[float] = None            # percent an hour that keeps under 100
    windows_seen: int = 0                   # finished windows it rests on
    elapsed: Optional[float] = None         # percent of the time of the window


class Account(NamedTuple):
    """Who is logged in, as far as one source tells; texts are empty where it does not.

    The uuid is that of the account and the organization. The tier is the service's own word for
    the plan's rate limits.
    """
    uuid: str = ''
    name: str = ''
    email: str = ''
    organization: str = ''
    badges: Tuple[str, ...] = ()            # values of BADGES
    tier: str = ''
    plan: str = ''                          # what the service calls the plan


class Login(NamedTuple):
    """A stored login. Its text form keeps the token out of every message."""
    token: str
    expires_at: Optional[float]
    account: Account
    scopes: Tuple[str, ...] = ()            # () where they are not known

    def __repr__(self):
        return 'Login(token=..., expires_at=%r)' % (self.expires_at,)


class Credentials(NamedTuple):
    """What there is to ask with: a Login and an Admin API key, or the Failure to find each.

    `mode` is what they are for. The text form names neither.
    """
    login: Any
    key: Any
    mode: str

    def __repr__(self):
        return 'Credentials(mode=%r)' % self.mode


# The phases of a source: a request is due or under way; the next one is planned; it has to wait,
# for a block or the budget. '' before its poller has spoken.
ASKING, PLANNED, HELD = 'asking', 'planned', 'held'


class Known(NamedTuple):
    """What is known of one source: its last good value, its failure if it fails, its phase."""
    value: Any = None
    at: Optional[float] = None              # when the value was reported
    failure: Optional[Failure] = None
    phase: str = ''
    next_at: Optional[float] = None         # when it is asked again; None: only after a change
    free_at: Optional[float] = None         # from when on a key may ask

    @property
    def is_settled(self):
        """Whether the last word is said for now: no request is due or under way."""
        return self.phase in (PLANNED, HELD)


class Reading(NamedTuple):
    """What a poller tells of a source. With a failure, or while it is being asked, a value of
    None stands for the last good one."""
    place: str                              # a config directory, or ''
    source: str
    known: Known


class Snapshot(dict):
    """Everything known, (place, source) -> Known. Never changed: `absorb` makes the next one.

    The place is the config directory that the source is about, or ''.
    """

    def __missing__(self, key):
        return Known()


def absorb(snapshot, reading):
    """The Snapshot after a Reading.

    Where another account is logged in at a place, all that was the former one's is dropped.
    """
    place, source, known = reading
    old = snapshot[place, source]
    if known.value is None and (known.failure or known.phase == ASKING):
        known = known._replace(value=old.value, at=old.at)
    if source == 'identity' and old.value and known.value and known.value.uuid != old.value.uuid:
        snapshot = {key: value for key, value in snapshot.items()
                    if key[0] != place or key[1] == 'credentials'}
    new = Snapshot(snapshot)
    new[place, source] = known
    return new


def parse_json(data, parse_float=float):
    """The document in the bytes of a reply. SourceError bad_reply if it is no JSON."""
    try:
        return json.loads(data.decode('utf-8-sig'), parse_float=parse_float, parse_int=PARSE_INT)
    except (ValueError, RecursionError, ArithmeticError):       # the last is Decimal's
        pass
    if data.strip():
        raise SourceError('bad_reply', 'no JSON')
    raise SourceError('bad_reply', 'it is empty')


def mapping(value, what):
    """`value` if it is a JSON object, {} for null. SourceError bad_reply for all else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SourceError('bad_reply', what + ' is no object')
    return value


def field(document, path, read=None):
    """The value at a path such as 'spend.used.currency' in a reply; None where it is missing.

    `read(value, what)` checks it. SourceError bad_reply where something on the way is no object.
    """
    for name in path.split('.'):
        document = mapping(document, path).get(name)
    if read:
        document = read(document, path)
    return document


def is_number(value):
    """Whether a value of JSON is a finite number of a sensible size."""
    is_numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_numeric and abs(value) < 1e15


def number(value, what):
    """`value` if it is a number or null. SourceError bad_reply for all else."""
    if value is not None and not is_number(value):
        raise SourceError('bad_reply', what + ' is no number')
    return value


def time_in(value, what):
    """Epoch seconds of a time in a reply, or None. SourceError bad_reply for all else."""
    try:
        return parse_time(value)
    except ValueError:
        raise SourceError('bad_reply', what + ' is no time')


def text(value):
    """`value` cleaned if it is a text, else ''."""
    if not isinstance(value, str):
        return ''
    return clean(value)


# ---- Words -------------------------------------------------------------------------------------
# Numbers as people read them. Whatever compares with the clock goes through the Moment that a
# frame is made for, which notes until when the words stay true.

WEEKDAYS = ('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')
NO_LIMITS = 'This account has no usage limits.'
MONTHS = (
    'Jan',
    'Feb',
    'Mar',
    'Apr',
    'May',
    'Jun',
    'Jul',
    'Aug',
    'Sep',
    'Oct',
    'Nov',
    'Dec',
)


class Moment:
    """The time that something is made for; `until` is when what was asked of it may change.

    Whatever compares with now asks here, so the loop knows how long a frame holds without a
    second model of what is on the screen.
    """

    def __init__(self, now):
        self.now, self.until = now, now + DAY

    def change_at(self, at):
        """Note that something changes at a time, if that is still to come."""
        if at > self.now:
            self.until = min(self.until, at)

    def left(self, at):
        """Seconds until a time, which words tell in minutes, or in seconds at the end."""
        seconds = at - self.now
        if seconds > 0:
            step = 1 if seconds < MINUTE else MINUTE
            # Just after the whole unit, for then it is another number.
            self.change_at(self.now + seconds % step + 0.001)
        return seconds

    def age(self, at):
        """Seconds since a time, which words tell in minutes, or in seconds at first."""
        seconds = max(0, self.now - at)
        step = 1 if seconds < MINUTE else MINUTE
        self.change_at(self.now + step - seconds % step + 0.001)
        return seconds

    def is_past(self, at):
        """Whether a time has come."""
        self.change_at(at)
        return at <= self.now

    def is_within(self, at, seconds):
        """Whether a time is less than so many seconds ago."""
        return not self.is_past(at + seconds)

    def clock(self, at):
        """`clock_text` of a time."""
        self.left(at)
        self.change_at(at + DAY)            # then the weekday is told, and later the date
        self.change_at(at + 7 * DAY)
        return clock_text(at, self.now)


def percent_shown(used):
    """Return a percent as the whole number that is shown: rounded, but 100 only from 100 on."""
    whole = max(0, int(used + 0.5))
    if used < 100:
        return min(99, whole)
    return whole


def level(used):
    """Return the colour of a percent, by the number that is shown: 'green', 'yellow',
    'orange', 'red'.
    """
    shown = percent_shown(used)
    for most, name in LEVELS:
        if shown <= most:
            return name
    return 'red'


def countdown(seconds):
    """Return seconds as '4d 1h 12m', '3h 45m', '12m' or '45s'.

    They are rounded down, and leading units of zero are left out.
    """
    seconds = max(0, int(seconds))
    days, hours, minutes = seconds // DAY, seconds // HOUR % 24, seconds // MINUTE % 60
    if days:
        return '%dd %dh %dm' % (days, hours, minutes)
    if hours:
        return '%dh %dm' % (hours, minutes)
    if minutes:
        return '%dm' % minutes
    return '%ds' % seconds


def countdown_short(seconds):
    """Return seconds as '4d', '3h45m', '12m' or '45s', in at most six cells."""
    words = countdown(seconds)
    if 'd' in words:
        return words.split(' ')[0]
    return words.replace(' ', '')


def clock_text(at, now):
    """Return a time as local time of day: '21:31'.

    From a day's distance on with the weekday, 'Thu 21:31', from a week's with the date, 'Nov 7
    21:31'.
    """
    local, distance = time.localtime(at), abs(at - now)
    words = time.strftime('%H:%M', local)
    if distance >= 7 * DAY:
        return '%s %d %s' % (MONTHS[local.tm_mon - 1], local.tm_mday, words)
    if distance >= DAY:
        return '%s %s' % (WEEKDAYS[local.tm_wday], words)
    return words


def time_of_day(at):
    """Return a time as local time with seconds: '14:23:15'."""
    return time.strftime('%H:%M:%S', time.localtime(at))


def iso(at):
    """Return a time as ISO-8601 in UTC: '2026-11-22T10:00:00Z'; None stays None."""
    if at is None:
        return None
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))


def money(amount, digits):
    """Return minor units as an amount: (123456, 2) -> '1,234.56'."""
    return '{:,.{}f}'.format(amount / 10 ** digits, digits)


def amount_words(amount):
    """Return an Amount in words: 'EUR 7.63', or 'EUR 7.63 of 20.00' where there is a cap."""
    words = '%s %s' % (amount.currency, money(amount.used, amount.digits))
    if amount.limit is not None:
        words += ' of ' + money(amount.limit, amount.digits)
    return words


def is_beyond(limit, now):
    """Return whether a Limit resets later than its window is long: the clock was set back."""
    if limit.resets_at is None or not limit.window:
        return False
    return limit.resets_at - now > limit.window + SKEW_SECONDS


def reset_words(limit, moment):
    """Return when a Limit resets, or a credit expires: wordings, the longest first."""
    if limit.resets_at is None:
        return 'Window not started', 'not started'
    left = moment.left(limit.resets_at)
    if is_beyond(limit, moment.now):
        return 'Reset unknown: this clock is behind', 'Reset unknown', 'unknown'
    if left <= 0:
        return ('Expired',) if limit.kind == 'credit' else ('Reset due',)
    verb = 'Expires' if limit.kind == 'credit' else 'Resets'
    long = '%s (%s)' % (countdown(left), moment.clock(limit.resets_at))
    return '%s in: %s' % (verb, long), long, countdown(left)


def short_left(limit, moment):
    """Return the countdown of a Limit in at most six cells: '3h45m', 'idle', '?' or 'due'."""
    if limit.resets_at is None:
        return 'idle'
    left = moment.left(limit.resets_at)
    if is_beyond(limit, moment.now):
        return '?'
    return countdown_short(left) if left > 0 else 'due'


def elapsed_part(limit, moment, steps):
    """Return the part (0..1) of a Limit's window that has passed, to be shown in so many steps.

    None where no window runs, or its length is not known.
    """
    if not limit.resets_at or not limit.window:
        return None
    elapsed = 1 - (limit.resets_at - moment.now) / limit.window
    if not 0 <= elapsed < 1:
        return None
    if steps:
        begin, step = limit.resets_at - limit.window, limit.window / steps
        moment.change_at(begin + step * (int(elapsed * steps) + 1))
    return elapsed


def message(failure, next_at, moment, mode=''):
    """Return the sentence of a Failure: what happened, and what to do or when the next try is.

    A mode may have its own words for a failure; else those for all modes serve.
    """
    words = (
        ERRORS.get(mode, {}).get(failure.code)
        or ERRORS[''][failure.code]
    )
    sentence, step = words[0].format(failure.detail), words[1]
    if not step and next_at:
        step = 'Next try %s.' % moment.clock(next_at)
    if not step:
        return sentence
    return sentence + ' ' + step


def status(known, moment):
    """Return how a source stands: 'waiting', 'error', 'stale' or 'ok'.

    It is stale when its numbers are older than two of its intervals.
    """
    if known.failure:
        return 'error'
    if known.at is None:
        return 'waiting'
    if known.next_at and moment.is_past(known.at + 2 * (known.next_at - known.at)):
        return 'stale'
    return 'ok'


def short_path(path):
    """Return a path as it is shown: cleaned, with `~` for the home directory."""
    home = os.path.expanduser('~')
    if path.startswith(home + os.sep):
        path = '~' + path[len(home):]
    return clean(path)


# ---- Rows and boxes ----------------------------------------------------------------------------
# A panel is a list of rows, each with a worth and with its wordings, longest first. The box that
# holds them picks the wordings that fit and lets the rows of least worth go. Two laws hold at
# every size: a box is exactly as many lines as it says, and each line exactly as many cells.

class Role(NamedTuple):
    """How a role looks: a colour of COLOURS, bold, dim."""
    colour: str = ''
    bold: bool = False
    dim: bool = False


ROLES = {
    '': Role(),
    'soft': Role(),
    'dim': Role(dim=True),
    'strong': Role(bold=True),
    'border': Role(dim=True),
    'title': Role(bold=True),
    'badge': Role('cyan', bold=True),
    'alert': Role('yellow', bold=True),
    'blue': Role('blue'),
    'target': Role('cyan'),
    'green': Role('green'),
    'yellow': Role('yellow'),
    'orange': Role('orange'),
    'red': Role('red', bold=True),
}
# The colour's number among 256, and among 8, where bold tells orange from yellow.
COLOURS = {
    'green': (2, 2),
    'yellow': (3, 3),
    'orange': (208, 3),
    'red': (1, 1),
    'cyan': (6, 6),
    'blue': (4, 4),
}


def is_bold(role, depth):
    """Return whether a Role is bold in so many colours, 256, 8 or 0: orange has to differ from
    yellow.
    """
    return role.bold or (role.colour == 'orange' and depth < 256)


class Ui(NamedTuple):
    """What the person at the keyboard, or the command line, has chosen."""
    origin: str = ''                    # where the numbers are from, if not from API_URL
    mode: str = ''                      # '': not known before the credentials are
    place: str = ''                     # the config directory that Code mode is about ...
    places: Tuple[str, ...] = ()        # ... or all of them, where there are several
    icons: bool = True
    ascii: bool = False
    interval: Optional[float] = None    # --interval, in seconds
    hint: bool = True                   # whether there is a row of keys
    help: bool = False
    panel: int = 0                      # which one has the keys
    scroll: int = 0                     # rows
    notice: Tuple[str, ...] = ()        # the answer to a key, long and short, for a while ...
    notice_until: float = 0.0           # ... until then
    asked_at: Optional[float] = None    # when a refresh was asked for
    exit_code: Optional[int] = None     # set: the program ends


class Scene(NamedTuple):
    """What the rows of a panel are made for."""
    snapshot: Snapshot
    ui: Ui
    moment: Moment
    place: str = ''                     # the config directory that Code mode is about
    width: int = 0                      # cells inside the box ...
    height: int = 0                     # ... and its lines
    icons: bool = True
    compact: bool = False               # whether a limit has to do with one row

    def known(self, source):
        """Return what is known of a source of this place, or of one that belongs to no place."""
        if (self.place, source) in self.snapshot:
            return self.snapshot[self.place, source]
        return self.snapshot['', source]

    def icon(self, glyph):
        """Return a glyph and the blank behind it; a plain sign, or '', where there are no
        icons.
        """
        if self.icons:
            return glyph + ' '
        return PLAIN_ICONS.get(glyph, '')


PLAIN_ICONS = {'⚠': '! '}               # where a blank would hide a meaning


class Row:
    """A line of a panel, with its wordings, and what it is worth where room is short.

    A wording is a line of spans, or a text that is shown in `role`.
    """

    def __init__(self, worth, *wordings, role=''):
        self.worth, self.wordings, self.role = worth, wordings, role

    def line(self, width):
        """Return the first wording that so many cells hold, else the last, as a line of spans."""
        lines = [(Span(wording, self.role),) if isinstance(wording, str) else wording
                 for wording in self.wordings]
        return fitting(lines or [()], width, width_of)


# The worth of rows: blank ones (within a list, then between parts) and decorative ones go first,
# a list scrolls, an alert stays.
(BLANK, GAP, DECOR, OUTLOOK, ORGANIZATION, PERSON, NOTE, UPDATED, STATE, AGE, LIST,
 ALERT) = range(12)


class Frame(NamedTuple):
    """A box or a screen: lines of spans; how many rows its list can scroll, and its room."""
    lines: list
    overflow: int = 0
    room: int = 0


def marked_rows(worth, words, scene):
    """Yield the rows of what is wrong, wrapped behind a sign."""
    lead = scene.icon('⚠')
    for line in wrap(words, scene.width - cells(lead)):
        yield Row(worth, lead + line, role='alert')
        lead = ' ' * cells(lead)


def joined(parts, gap):
    """Return the line of several lines of spans, with a gap between those that are not empty."""
    line: tuple = ()
    for part in parts:
        if line and width_of(part):
            line += (Span(gap),)
        line += part
    return line


LABEL_CELLS, PERCENT_CELLS = 15, 5
SPARE_CELLS, SPARE_FROM = 3, 43         # kept free behind the percent, in boxes this wide inside
TAIL_CELLS = 7                          # of a short countdown behind the percent
BAR_LEAST, BAR_WANTED = 3, 6            # below the second labels shorten, below the first no bar
BOX_WIDTH, BOX_HEIGHT = 16, 5           # smaller screens have no boxes
SHARE_HEIGHT = 10                       # lines of a box that are not taken for another one


class Columns(NamedTuple):
    """How a row with a bar divides its width, in cells; 0 leaves a column out."""
    label: int          # with the blank behind it, if there is one
    gap: int
    bar: int
    tail: int


def columns_for(width, shorts, compact=False, more=0):
    """Return the Columns of a panel `width` cells wide, for labels as short as `shorts` if need
    be.

    Bars shrink first, then the labels, then the bars go. The compact form has a tail, with so
    many cells `more` where there is room for them.
    """
    tail = 0
    if compact:
        tail = TAIL_CELLS
        if width - LABEL_CELLS - PERCENT_CELLS - tail - more >= BAR_WANTED:
            tail += more
    spare = 0
    if width >= SPARE_FROM and not compact:
        spare = SPARE_CELLS
    bar_width = width - LABEL_CELLS - PERCENT_CELLS - tail - spare
    if bar_width >= BAR_WANTED:
        return Columns(LABEL_CELLS, 1, bar_width, tail)
    gap = int(width >= 12)
    label = min(max(map(cells, shorts), default=0), 7) + gap
    label = max(0, min(label, width - PERCENT_CELLS))
    bar_width = width - label - PERCENT_CELLS - tail
    if bar_width < 0:
        tail = 0
    if bar_width < BAR_LEAST:
        bar_width = 0
    return Columns(label, gap, bar_width, tail)


def bar(used, width, role, elapsed=None):
    """The spans of a bar of `width` cells in eighths of a cell; full only from 100 percent on.

    Where a part (0..1) of the window's time has `elapsed`, a mark stands in its place.
    """
    eighths = int(
        width * 8 * min(max(used, 0), 100) / 100 + 0.5
    )
    if used < 100:
        eighths = max(0, min(eighths, width * 8 - 1))
    full, part = divmod(eighths, 8)
    filled = '█' * full + ' ▏▎▍▌▋▊▉'[part].strip()
    rest = '░' * (width - len(filled))
    if elapsed is None or not width:
        return Span(filled, role), Span(rest, 'dim')
    before = min(int(elapsed * width), width - 1)
    after = before + 1
    return (
        Span(filled[:before], role),
        Span(rest[:max(0, before - len(filled))], 'dim'),
        Span('│', 'strong'),
        Span(filled[after:], role),
        Span(rest[max(0, after - len(filled)):], 'dim'))


def bar_line(names, used, columns, tail='', role='', elapsed=None):
    """The line of a name, its bar and its percent, in the colour of its level or in `role`.

    Of the names, longest first, the first that fits is shown, in narrow columns the last.
    """
    role = role or level(used)
    name = names[-1]
    if columns.label == LABEL_CELLS:
        name = fitting(names, LABEL_CELLS - 1)
    percent = '%d%%' % percent_shown(used)
    if columns.label:
        percent = percent.rjust(PERCENT_CELLS)
    line = fit((Span(name),), columns.label - columns.gap) + (Span(' ' * columns.gap),)
    line += bar(used, columns.bar, role, elapsed)
    line += (Span(percent, role),)
    if columns.tail:
        line += (Span(tail.rjust(columns.tail)),)
    return line


def inside(width, height):
    """Return (width, height) of what a box holds; too low or narrow a box has no border."""
    if width < BOX_WIDTH:
        return width, height
    if height < BOX_HEIGHT:
        return width - 4, height
    return width - 4, height - 2


def box(title, rows, width, most, scroll=0, role='title'):
    """The Frame of a box `width` cells wide and as high as its rows need, at most `most` lines.

    What scrolls out of it is counted in the border, or beside the rows where there is none.
    """
    inner, room = inside(width, most)
    rows, start, below = afford(rows, room, scroll)
    lines = [fit(row.line(inner), inner) for row in rows]
    if room < most:
        left, right = Span('│ ', 'border'), Span(' │', 'border')
        lines = [(left,) + line + (right,) for line in lines]
        top = edge('┌', Span(title, role), start, '↑', '┐', width)
        bottom = edge('└', Span(''), below, '↓', '┘', width)
        lines = [top] + lines + [bottom]
    elif inner < width and lines:
        marks = [''] * len(lines)
        if start:
            marks[0] = ' ↑%d' % start
        if below:
            marks[-1] = ' ↓%d' % below
        lines = [line + fit((Span(mark, 'dim'),), width - inner)
                 for line, mark in zip(lines, marks)]
    return Frame(lines, start + below, room)


def edge(left, title, hidden, arrow, right, width):
    """Return a border line of `width` cells with a title, and how many rows are hidden behind
    it.
    """
    start = (Span(left, 'border'),)
    end = (Span(right, 'border'),)
    if hidden:
        end = Span(' %s %d more ' % (arrow, hidden), 'dim'), Span('─' + right, 'border')
    name = shorten(title.text, width - 3 - width_of(end))
    if name:
        start += (Span(' %s ' % name, title.role),)
    rest = '─' * (width - width_of(start + end))
    return start + (Span(rest, 'border'),) + end


def afford(rows, room, scroll):
    """Choose the rows for `room` lines -> (rows, hidden above, hidden below).

    Those of least worth go, of equals the lowest first. Of a list that is still too long a window
    is shown, above the alerts, which end with `…` where even they have no room.
    """
    while len(rows) > room:
        least = min(row.worth for row in rows)
        if least >= LIST:
            break
        leaving = [row for row in rows if row.worth == least]
        if least not in (BLANK, GAP):       # all of these, or it would look lopsided
            leaving = leaving[-1:]
        rows = [row for row in rows if row not in leaving]
    if len(rows) <= room:
        return rows, 0, 0
    listed = [row for row in rows if row.worth == LIST]
    alerts = [row for row in rows if row.worth == ALERT]
    most = max(1, room - len(listed))
    if len(alerts) > most:
        last = alerts[most - 1]
        alerts[most - 1:] = [Row(ALERT, last.wordings[0] + ' …', role=last.role)]
    shown = min(max(0, room - len(alerts)), len(listed))
    start = min(scroll, len(listed) - shown)
    return listed[start:start + shown] + alerts, start, len(listed) - shown - start


def wanted_lines(rows):
    """Return how many lines rows need at least: blank and decorative ones, and outlooks, may
    go.
    """
    return sum(row.worth > OUTLOOK for row in rows)


# ---- Logins ------------------------------------------------------------------------------------
# What there is to ask with, and who that is: Claude Code's files, the macOS Keychain, the
# environment. All of it is read in threads only, for any of these places may not answer.

FILE_SECONDS = 2                # the clock of a file system may be as coarse
EXPIRY_SECONDS = 300            # a token counts as expired this much early
KEYCHAIN_SECONDS = 5            # the time that the Keychain is given
NO_LOGIN = ('no_credentials', 'logged_out')
# The keys of `.claude.json` that are read; the rest may be megabytes.
ACCOUNT_KEYS = ('oauthAccount', 'cachedUsageUtilization')
BADGES = {'enterprise': 'ENTERPRISE', 'team': 'TEAM', 'max': 'MAX', 'pro': 'PRO'}
OTHER_KEYS = {
    'sk-ant-oat': "this is Claude Code's login token",
    'sk-ant-ort': "this is Claude Code's refresh token",
    'sk-ant-api': 'this is a normal API key',
}


def config_folder(env):
    """Return Claude Code's config directory: $CLAUDE_CONFIG_DIR, else ~/.claude."""
    return env.get('CLAUDE_CONFIG_DIR') or os.path.expanduser('~/.claude')


def env_of(place, env):
    """The environment in which Claude Code works with a config directory.

    Its default place has the identity in the home directory, and a Keychain item of its own.
    """
    env = dict(env)
    env.pop('CLAUDE_CONFIG_DIR', None)
    env.pop('CLAUDE_SECURESTORAGE_CONFIG_DIR', None)
    if os.path.abspath(place) != os.path.expanduser('~/.claude'):
        env['CLAUDE_CONFIG_DIR'] = place
    return env


def config_path(env, name):
    """Return where Claude Code keeps the file `name`.

    Without CLAUDE_CONFIG_DIR, `.claude.json` is in the home directory.
    CLAUDE_SECURESTORAGE_CONFIG_DIR is about the credentials alone; set but empty it means
    ~/.claude.
    """
    if name == '.claude.json' and not env.get('CLAUDE_CONFIG_DIR'):
        return os.path.expanduser('~/.claude.json')
    folder = config_folder(env)
    if name == '.credentials.json' and 'CLAUDE_SECURESTORAGE_CONFIG_DIR' in env:
        folder = env['CLAUDE_SECURESTORAGE_CONFIG_DIR'] or os.path.expanduser('~/.claude')
    return os.path.join(folder, name)


def regular(path):
    """Return `path`, if that is a regular file: to open a pipe would wait for its other end.

    OSError for anything else.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, 'not a regular file')
    return path


def read_json(path, what, parse=json.loads):
    """Return `parse(text)` of a file, or None if there is no such file.

    SourceError malformed, with `what` the file is, where it cannot be read or parsed.
    """
    try:
        with open(regular(path), encoding='utf-8-sig') as file:
            return parse(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError('malformed', '%s: %s' % (what, error.strerror))
    except (ValueError, RecursionError):
        raise SourceError('malformed', what + ': not JSON')


def file_stamp(path):
    """Return what changes whenever a file does, (mtime in ns, size, inode); None where there
    is none.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:            # it may be there, and be seen later
        return 0, 0, error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def are_old(stamps, now):
    """Return whether a further change of files would show in their stamps.

    The clock of a file system ticks every FILE_SECONDS at worst; two changes within one tick, of
    the same size, look alike.
    """
    newest = (
        max((stamp[0] for stamp in stamps if stamp), default=0) / 1e9
    )
    return not abs(now - newest) < FILE_SECONDS


@functools.lru_cache(maxsize=64)
def fingerprint(secret):
    """Return 16 hexadecimal digits that stand for a token, key or account wherever it is
    compared.
    """
    import hashlib
    return hashlib.sha256(secret.encode('utf-8', 'surrogatepass')).hexdigest()[:16]


def login_name(env):
    """Return the name of the person at this machine; '' if it is not known."""
    return (
        env.get('USER')
        or env.get('LOGNAME')
        or env.get('USERNAME')
        or ''
    )


def badges_of(plan, *more):
    """Return the badges of an organization type or plan, and `more`, each once.

    ('claude_max') -> ('MAX',); ('team', 'PRO') -> ('TEAM', 'PRO').
    """
    names = (
        BADGES.get(text(plan).replace('claude_', '')),
    ) + more
    return tuple(dict.fromkeys(name for name in names if name))


def account_document(words):
    """Of the text of `.claude.json` the keys in ACCOUNT_KEYS.

    Where the file is laid out as Claude Code does, by two blanks a level, only these are parsed:
    no text in it can begin a line, so a key behind two blanks is one of the first level.
    """
    if not words.startswith('{\n  "'):
        return json.loads(words)
    found, decoder = {}, json.JSONDecoder()
    for key in ACCOUNT_KEYS:
        sign = '\n  "%s": ' % key
        at = words.find(sign)
        if at >= 0:
            found[key] = decoder.raw_decode(words, at + len(sign))[0]
    return found


def parse_identity(document):
    """Return the Account in the document of `.claude.json`, or None if it names none.

    Organization, type and tier are missing until the first start of Claude Code is complete.
    """
    account = document.get('oauthAccount') if isinstance(document, dict) else None
    if not isinstance(account, dict):
        return None
    uuids = text(account.get('accountUuid')), text(account.get('organizationUuid'))
    tier = text(account.get('userRateLimitTier')) or text(account.get('organizationRateLimitTier'))
    return Account(
        uuid='/'.join(uuid for uuid in uuids if uuid),
        name=text(account.get('displayName')) or text(account.get('fullName')),
        email=text(account.get('emailAddress')),
        organization=text(account.get('organizationName')),
        badges=badges_of(account.get('organizationType')),
        tier=tier)


def parse_login(document):
    """Return the Login in a credentials document. SourceError logged_out or malformed.

    Times in it are milliseconds since the epoch.
    """
    if not isinstance(document, dict):
        raise SourceError('malformed', 'credentials: no JSON object')
    login = document.get('claudeAiOauth')
    token = login.get('accessToken') if isinstance(login, dict) else None
    if not token:
        raise SourceError('logged_out')
    if not isinstance(token, str) or not re.fullmatch('[!-~]+', token):
        raise SourceError('malformed', 'credentials: the token is not of printable characters')
    expires_at = login.get('expiresAt')
    if is_number(expires_at):
        expires_at /= 1000
    else:
        expires_at = None
    scopes = login.get('scopes')
    if not isinstance(scopes, list):
        scopes = ()
    account = Account(badges=badges_of(login.get('subscriptionType')),
                      tier=text(login.get('rateLimitTier')))
    return Login(token, expires_at, account, scopes=tuple(map(text, scopes)))


def login_failure(login, now):
    """Return the code of ERRORS for a Login that cannot ask for usage now; '' if it can."""
    if login.expires_at is not None and now >= login.expires_at - EXPIRY_SECONDS:
        return 'token_expired'
    if login.scopes and 'user:profile' not in login.scopes:
        return 'forbidden_scope'
    return ''


def login_in_file(env):
    """Return the credentials document in Claude Code's file. SourceError no_credentials,
    malformed.
    """
    document = read_json(config_path(env, '.credentials.json'), 'credentials')
    if document is None:
        raise SourceError('no_credentials')
    return document


def keychain_names(env):
    """Return (service, account) of the Keychain item, as Claude Code names them.

    The service of another directory than ~/.claude ends with eight digits of its hash.
    """
    service = 'Claude Code-credentials'
    folder = env.get('CLAUDE_SECURESTORAGE_CONFIG_DIR', env.get('CLAUDE_CONFIG_DIR'))
    if folder:
        folder = unicodedata.normalize('NFC', folder)
        service += '-' + fingerprint(folder)[:8]
    account = env.get('USER')
    if not account:
        import getpass
        try:
            account = getpass.getuser()
        except (ImportError, KeyError, OSError):
            account = ''
    if not re.fullmatch('[a-zA-Z0-9._-]+', account):
        account = 'claude-code-user'
    return service, account


def login_in_keychain(env):
    """Return the credentials document in the macOS Keychain.

    SourceError no_credentials, locked, malformed. `security` ends with 44 where there is no item,
    with 36 where the Keychain is locked. The child's environment holds no token.
    """
    import subprocess
    service, account = keychain_names(env)
    kept = {
        name: env[name] for name in ('HOME', 'USER', 'PATH') if name in env
    }
    try:
        done = subprocess.run(
            ['security', 'find-generic-password', '-a', account, '-s', service, '-w'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=KEYCHAIN_SECONDS, env=kept)
    except (OSError, subprocess.TimeoutExpired):
        raise SourceError('locked', 'the Keychain does not answer')
    if done.returncode == 44 or not done.returncode and not done.stdout.strip():
        raise SourceError('no_credentials')
    if done.returncode == 36:
        raise SourceError('locked', 'the Keychain, open it with `security unlock-keychain`')
    if done.returncode:
        raise SourceError('locked', 'the Keychain, `security` ends with %d' % done.returncode)
    return parse_keychain(done.stdout.strip())


def parse_keychain(secret):
    """Return the document in a Keychain item, which is JSON or its hexadecimal form.

    SourceError malformed for anything else, and where it holds other things than a login: one
    that is too long for its item lies in an overflow item, whose form is not known.
    """
    try:
        if re.match(b'([0-9a-fA-F]{2})+$', secret):
            secret = bytes.fromhex(secret.decode())
        document = json.loads(secret.decode())
    except (ValueError, RecursionError):
        raise SourceError('malformed', 'credentials: the Keychain item is not JSON')
    if isinstance(document, dict) and document and 'claudeAiOauth' not in document:
        raise SourceError('malformed', 'credentials: the Keychain item holds no login, and one in '
                                       'an overflow item is not read')
    return document


# Where a login may be, in the order that Claude Code looks.
LOGIN_PLACES = [login_in_file]
if MACOS:
    LOGIN_PLACES.insert(0, login_in_keychain)


def find_login(env, now, places=None):
    """Return the Login to ask with: that of the first place that has one.

    CLAUDE_CODE_OAUTH_TOKEN counts only where nothing is stored, for it cannot read usage.
    SourceError with what is wrong with the login, or why there is none.
    """
    failure = Failure('no_credentials')
    for place in places or LOGIN_PLACES:
        try:
            login = parse_login(place(env))
        except SourceError as error:
            if error.failure.code not in NO_LOGIN:
                raise
            if error.failure.code == 'logged_out':
                failure = error.failure
            continue
        code = login_failure(login, now)
        if code:
            raise SourceError(code)
        return login
    token = env.get('CLAUDE_CODE_OAUTH_TOKEN', '').strip()
    if token:
        return parse_login({'claudeAiOauth': {'accessToken': token}})
    raise SourceError(failure.code)


def find_admin_key(document, env):
    """Return the Admin API key of the environment, else of the credentials document.

    SourceError no_credentials; unauthorized where it is a key of another kind.
    """
    key = env.get('ANTHROPIC_ADMIN_API_KEY', '').strip()
    console = document.get('anthropicConsole') if isinstance(document, dict) else None
    if not key and isinstance(console, dict):
        key = console.get('adminApiKey')
    if isinstance(key, str):
        key = key.strip()
    if not key:
        raise SourceError('no_credentials')
    if not isinstance(key, str) or not re.fullmatch('[!-~]+', key):
        raise SourceError('unauthorized', 'it is not of printable characters')
    for start, kind in OTHER_KEYS.items():
        if key.strip('"\'').lower().startswith(start):
            raise SourceError('unauthorized', kind + ', where sk-ant-admin... is needed')
    return key


def read_credentials(env, now):
    """Return the Credentials at hand; every place is looked at once.

    Their mode is the one that the credentials file names, else Console mode where there is an
    Admin API key but no login. What is wrong with the file shows in Code mode, unless the
    environment has a key.
    """
    document, broken = tried(login_in_file, env)
    login, no_login = tried(find_login, env, now)
    key, no_key = tried(find_admin_key, document, env)
    if no_key and broken and broken.code != 'no_credentials':
        no_key = broken
    mode = document.get('mode') if isinstance(document, dict) else None
    if mode not in ('code', 'console'):
        mode = 'code'
        has_key = key or no_key.code == 'unauthorized'
        if has_key and no_login and (broken or no_login.code in NO_LOGIN):
            mode = 'console'
    return Credentials(login or no_login, key or no_key, mode)


def modes_of(credentials):
    """Return the modes that there are credentials for, whether these serve or have expired."""
    modes = []
    if not isinstance(credentials.login, Failure) or credentials.login.code not in NO_LOGIN:
        modes.append('code')
    if not isinstance(credentials.key, Failure) or credentials.key.code == 'unauthorized':
        modes.append('console')
    return tuple(modes)


class Logins:
    """Looks credentials and identity up for all pollers; remembers them until a file changes."""

    def __init__(self, env):
        self.env = env
        self.looking = threading.Lock()
        self.credentials = self.seen = None
        self.account = self.account_stamp = None
        self.document = {}          # what of `.claude.json` is used

    def stamps(self):
        """The stamps of the files that a login depends on."""
        return [file_stamp(config_path(self.env, name))
                for name in ('.credentials.json', '.claude.json')]

    def look(self, now, anew=False):
        """The Credentials; looked up anew where a file has changed, or each minute on macOS,
        where only the Keychain itself knows."""
        with self.looking:
            stamps = self.stamps()
            minute = now // MINUTE if MACOS else 0
            if self.credentials and not isinstance(self.credentials.login, Failure):
                anew = anew or bool(login_failure(self.credentials.login, now))     # it expires
            if anew or not self.credentials or self.seen != (stamps, minute):
                self.seen = None
                if are_old(stamps, now):
                    self.seen = stamps, minute
                self.credentials = read_credentials(self.env, now)
            return self.credentials

    def identity(self):
        """The Account in `.claude.json`; the last one while the file is half-written, or names
        none because somebody has logged out; None before there was one."""
        path = config_path(self.env, '.claude.json')
        with self.looking:
            stamp = file_stamp(path)
            if stamp != self.account_stamp:
                self.account_stamp = stamp
                document, _ = tried(read_json, path, 'identity', account_document)
                if isinstance(document, dict):
                    self.document = document
                    self.account = parse_identity(document) or self.account
            return self.account


def account_key(identity, env):
    """Return what the store knows an account by. It is not the token, which changes every few
    hours.

    Before the identity is known, the place of the credentials stands for it.
    """
    if identity and identity.uuid:
        return fingerprint(identity.uuid)
    path = config_path(env, '.credentials.json')
    try:
        return fingerprint(os.path.abspath(path))
    except OSError:                     # relative to a folder that is gone
        return fingerprint(path)


# ---- Network -----------------------------------------------------------------------------------
# The only door to the network. No redirect is followed and nothing tried again; each request has
# a thread of its own, so that no server and no name service can hold whoever asks.

CONNECT_SECONDS, READ_SECONDS = 5, 15   # for the connection, and for each read
GET_SECONDS = 16                        # of a whole request, until it is given up ...
REQUEST_SECONDS = 17                    # ... and until a claim to it counts as lost
BODY_MOST = 8 << 20                     # bytes of a reply

CERTIFICATE_FILES = ('SSL_CERT_FILE', 'SSL_CERT_DIR', 'REQUESTS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS')
URL = re.compile(r'(https?)://((\[[0-9a-f:]+\]|[\w.-]+)(?::\d{1,5})?)(?:/[\w.~-]+)*/?', re.ASCII)

# The host and port of a header Location, without a user name and password.
LOCATION = r'https?://(?:[^/?#]*@)?([\w.-]+(:\d+)?|\[[^@/?#]*\](:\d+)?)(?:[/?#]|$)'


class Url(NamedTuple):
    """An address to ask at."""
    secure: bool            # https
    authority: str          # 'host:port', or 'host'
    host: str               # an IPv6 address in its brackets


def parse_url(words):
    """The Url in a text. ValueError if it has anything else, such as credentials or a query.

    By a regex, for urllib.parse costs the first frame 3 ms.
    """
    match = URL.fullmatch(words)
    if not match:
        raise ValueError('not an address')
    scheme, authority, host = match.groups()
    return Url(scheme == 'https', authority, host)


def is_loopback(host):
    """Whether a host as a Url has it is this machine: 'localhost', or an address of loopback."""
    import ipaddress
    try:
        return host == 'localhost' or ipaddress.ip_address(host.strip('[]')).is_loopback
    except ValueError:
        return False


class Api:
    """A service at one address. Several threads may use it at a time."""

    def __init__(self, url):
        self.url = url.rstrip('/')
        self.took = None            # seconds of the last request, also of one that failed
        self.date = None            # the server's clock at the last reply, in epoch seconds

    def get(self, path, headers, secret, parse_float=float):
        """The JSON document at a path, which may have a query. SourceError for every failure.

        `secret` is taken out of whatever the server says, should it echo it. A request that takes
        GET_SECONDS is given up: its thread goes on, but nobody hears of it any more.
        """
        outcomes = queue.Queue()
        thread = threading.Thread(target=try_exchange,
                                  args=(outcomes, self.url, path, headers), daemon=True)
        began = time.perf_counter()
        start_thread(thread)
        try:
            reply, error = outcomes.get(timeout=GET_SECONDS)
        except queue.Empty:
            raise SourceError('timeout')
        finally:
            self.took = time.perf_counter() - began
        if error:
            raise network_error(error)
        status, fields, body = reply
        self.date = http_date(fields.get('Date', ''))
        body = body.replace(secret.encode(), b'[secret]')
        check(status, fields, body, time.time())
        return parse_json(body, parse_float)


def try_exchange(outcomes, url, path, headers):
    """Put (what `exchange` returns, None) or (None, the exception) into a queue."""
    try:
        outcomes.put((exchange(url, path, headers), None))
    except Exception as error:      # whatever it is, the thread that waits for us raises it
        outcomes.put((None, error))


def exchange(url, path, headers):
    """Send a GET -> (status, header fields, body).

    urllib3 by itself would follow a redirect with the key in hand, and sleep inside the call
    where a 429 says so. No compressed body is asked for, but some servers send one all the same.
    """
    deadline = time.monotonic() + GET_SECONDS
    headers = dict(headers, Connection='close')
    headers['Accept-Encoding'] = 'identity'
    with manager_for(load_urllib3(), url) as manager:
        reply = manager.urlopen('GET', url + path, headers=headers, preload_content=False,
                                retries=False, redirect=False)
        try:
            final = skip_interim(reply._fp, deadline)
            body = read_body(final, deadline)
        finally:
            reply.close()
    encoding = final.headers.get('Content-Encoding', '').strip().lower()
    is_plain = encoding in ('', 'identity')
    if not is_plain and final.status < 300:     # of any other reply the status tells more
        body = inflated(body, encoding)
    return final.status, final.headers, body


def skip_interim(reply, deadline):
    """A reply of http.client -> the same, at the final status; it skips the status 100 alone.

    `deadline` is by the monotonic clock. SourceError timeout.
    """
    while reply.status < 200:
        if time.monotonic() > deadline:
            raise SourceError('timeout')
        reply.headers = None            # else `begin` does nothing
        reply.begin()
    return reply


def inflated(body, encoding):
    """The plain bytes of a body in gzip or deflate. SourceError too_large, bad_reply for others.

    By zlib, for version 1.26 of urllib3 inflates a small piece to 50 MB.
    """
    import zlib
    unknown = SourceError('bad_reply', 'it is compressed by ' + clean(encoding, 20))
    if encoding not in ('gzip', 'x-gzip', 'deflate'):
        raise unknown
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)       # either header
    try:
        plain = decoder.decompress(body, BODY_MOST + 1)
    except zlib.error:
        raise unknown
    if len(plain) > BODY_MOST:
        raise SourceError('too_large')
    if not decoder.eof:
        raise SourceError('network', 'the reply was cut off')
    return plain


def manager_for(urllib3, url):
    """The pool manager of urllib3 for an address, through the proxy if one is set."""
    options = {'timeout': urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)}
    if url.startswith('https:'):
        files = tuple(os.environ.get(name) for name in CERTIFICATE_FILES)
        context = options['ssl_context'] = tls_context(files)
        # Before version 2 urllib3 hands no address on to ssl, but compares the names itself.
        context.check_hostname = not re.fullmatch(r'[\d.]+|\[.*', parse_url(url).host)
        options['cert_reqs'] = 'CERT_REQUIRED'      # before 1.25 the default is CERT_NONE
    proxy = proxy_of(url)
    if not proxy:
        return urllib3.PoolManager(**options)
    parsed = urllib3.util.parse_url(proxy)
    if not parsed.host:
        raise ValueError('no proxy')
    if parsed.auth:                     # ProxyManager drops it
        from urllib.parse import unquote
        login = unquote(parsed.auth)
        if ':' not in parsed.auth:
            login += ':'
        options['proxy_headers'] = urllib3.util.make_headers(proxy_basic_auth=login)
    return urllib3.ProxyManager(proxy, **options)


def proxy_of(url):
    """The proxy for an address, or None. urllib3 does not look for one by itself.

    Never one for plain http, which is for loopback only: it must not leave the machine.
    """
    if url.startswith('http:'):
        return None
    from urllib.request import getproxies, proxy_bypass
    if proxy_bypass(parse_url(url).host):
        return None
    proxies = getproxies()
    proxy = proxies.get('https') or proxies.get('all')
    if proxy and '://' not in proxy:
        return 'http://' + proxy
    return proxy


@functools.lru_cache(maxsize=1)
def tls_context(files):
    """The ssl context with the system's certificates and those in the CERTIFICATE_FILES.

    It is kept, for it takes 50 ms to make. Python itself honours the first two of `files`.
    SourceError tls.
    """
    try:
        import ssl
    except ImportError:
        raise SourceError('tls', 'this Python was built without ssl')
    context = ssl.create_default_context()
    for name, path in list(zip(CERTIFICATE_FILES, files))[2:]:
        if not path:
            continue
        # Python 3.13 is strict by default, and many a company's own certificates are not.
        context.verify_flags &= ~getattr(ssl, 'VERIFY_X509_STRICT', 0)
        try:
            context.load_verify_locations(path)
        except OSError:                 # ssl.SSLError is one too
            raise SourceError('tls', name + ' names no readable certificates')
    return context


def read_body(reply, deadline):
    """The bytes of a reply of http.client. SourceError too_large, timeout, network (cut off).

    `deadline` is by the monotonic clock. urllib3's own read waits until a piece is full, `read1`
    returns what has come.
    """
    body = bytearray()
    piece = reply.read1(1 << 16)
    while piece:
        body += piece
        if len(body) > BODY_MOST:
            raise SourceError('too_large')
        if time.monotonic() > deadline:
            raise SourceError('timeout')
        piece = reply.read1(1 << 16)
    # `read1` does not notice what is missing.
    promised = reply.headers.get('Content-Length', '')
    if promised.isdigit() and len(body) < int(promised):
        raise SourceError('network', 'the reply was cut off')
    return bytes(body)


# What may come out of a request, most telling first: a name -> (code, detail). The names are of
# the classes of urllib3, http.client and ssl, none of which is imported yet, and OpenSSL's
# reasons; the numbers are its results of a verification, which Python 3.6 does not tell.
NETWORK_FAILURES = {
    9: ('tls', 'the certificate is not valid yet'),
    10: ('tls', 'the certificate has expired'),
    62: ('tls', 'the certificate is for another host'),
    'CERTIFICATE_VERIFY_FAILED': ('tls', 'the certificate is not trusted'),
    'CertificateError': ('tls', 'the certificate is for another host'),
    'SSLError': ('tls', 'the TLS handshake failed'),
    'ProxyError': ('network', 'the proxy does not connect'),
    'gaierror': ('network', 'unknown host'),
    'ConnectionRefusedError': ('network', 'connection refused'),
    'NewConnectionError': ('network', 'the host is out of reach'),
    'RemoteDisconnected': ('network', 'the server hung up'),
    'ConnectionError': ('network', 'the connection broke'),
    'IncompleteRead': ('network', 'the reply was cut off'),
    'BadStatusLine': ('bad_reply', 'no HTTP'),
    'TimeoutError': ('timeout', ''),
    'timeout': ('timeout', ''),
    'HTTPError': ('network', 'the connection failed'),
    'HTTPException': ('network', 'the connection failed'),
    'OSError': ('network', 'the connection failed'),
    'ValueError': ('network', 'the connection failed'),
}


def network_error(error):
    """The SourceError for an exception of a request, in fixed words: its own may tell much.

    An exception that has nothing to do with the network, a bug, is returned itself.
    """
    if isinstance(error, SourceError):
        return error
    names = set()
    cause = error
    while cause is not None:
        names.update(cls.__name__ for cls in type(cause).__mro__)
        names.add(str(getattr(cause, 'reason', '')))
        names.add(getattr(cause, 'verify_code', None))
        cause = cause.__cause__ or cause.__context__
    for name, (code, detail) in NETWORK_FAILURES.items():
        if name in names:
            return SourceError(code, detail)
    return error


def check(status, fields, body, now):
    """SourceError for every status but 2xx, with the words of the server."""
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        host = re.match(LOCATION, fields.get('Location', ''))
        if host:
            raise SourceError('redirected', clean(host.group(1)))
        raise SourceError('redirected', 'another page')
    if status == 429:
        raise SourceError('rate_limited', '', retry_after(fields, now))
    words = server_words(body)
    code = 'bad_reply'
    if status == 401:
        code = 'unauthorized'
    elif status == 403 and 'scope' in words:
        code = 'forbidden_scope'
    elif status == 403:
        code = 'forbidden'
    elif status >= 500:
        code = 'server_error'
    told = str(status)
    if words:
        told += ', ' + words
    raise SourceError(code, told)


def server_words(body):
    """The message in an error reply of the service, cleaned and cut; '' if it is no such."""
    try:
        return text(parse_json(body)['error']['message'])[:80].rstrip('. ')
    except (SourceError, LookupError, TypeError):
        return ''


def retry_after(fields, now):
    """Seconds in a Retry-After header, a number or an HTTP date; None if it tells nothing."""
    told = fields.get('Retry-After', '').strip()
    if re.fullmatch(r'\d+', told, re.ASCII):
        return float(told)
    date = http_date(told)
    if date is None:
        return None
    return max(0.0, date - now)


def http_date(words):
    """Epoch seconds of a date in a header, or None."""
    from email.utils import parsedate_to_datetime
    try:
        return parsedate_to_datetime(words).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# ---- Requests ----------------------------------------------------------------------------------
# When a source may be asked, so that all monitors together are never the cause of a 429. What was
# asked is a ledger of attempts, which only grows; what follows from it is pure.

LEDGER_SECONDS = 25 * HOUR      # how long attempts are kept
SKEW_SECONDS = 60               # what is dated further ahead is of before the clock was set back
RETRY_SECONDS, RETRY_MOST = 30, 300     # wait after a failure, doubled by each further one
BLOCK_LEAST = 60                # wait after a 429 that names a time, ...
BLOCK_SILENT = 300              # ... and after one that names none; doubled by each further one
BLOCK_MOST = 3600               # no block is longer
WARY_SECONDS = 180              # minimum interval of usage requests after a 429 ...
WARY_SPAN = 30 * MINUTE         # ... and for how long it applies
SLOWING = 1.5                   # the interval grows by it with each reply that brings nothing new
JITTER = 0.1                    # part of an interval, either way: machines must not march in step
FED_INTERVAL = 300              # between usage requests while the status line tells the numbers
RESET_SECONDS = 5               # a reset is looked at this soon
LOST, UNSENT = 'lost', 'unsent'     # codes: nobody heard the reply; nothing was sent


class Rhythm(NamedTuple):
    """How often a source is asked: seconds while its numbers move and while they do not."""
    base: float
    most: float
    jitter: float = 0.0                     # a part of them, either way
    wary: float = 0.0                       # minimum while a 429 is not long ago


class Attempt(NamedTuple):
    """One request, or one poll of many. Without an outcome it is a claim: it is under way."""
    account: str
    source: str
    token: str                              # a fingerprint; '' of a report without a request
    at: float                               # when it began
    ended: Optional[float] = None
    code: str = ''                          # 'ok', a code of ERRORS, LOST or UNSENT
    detail: str = ''                        # of the failure
    retry_after: Optional[float] = None     # seconds
    moved: bool = True                      # the numbers are not those of the reply before
    reset_at: Optional[float] = None        # the next reset of a limit, by this reply
    heard: Optional[float] = None           # when the last page of several came
    problems: str = ''                      # JSON: the parts of a poll that failed

    @property
    def key(self):
        """What tells attempts apart."""
        return self[:4]

    @property
    def end(self):
        """When it ended, or is given up."""
        if self.ended is not None:
            return self.ended
        return max(self.at, self.heard or 0.0) + REQUEST_SECONDS

    @property
    def is_reply(self):
        """Whether it ended with a reply or a failure that somebody heard."""
        return self.ended is not None and self.code != LOST

    def outcome(self, failure=None, **more):
        """The Attempt with its outcome: a Failure, or None for a reply."""
        if failure is None:
            return self._replace(code='ok', **more)
        return self._replace(code=failure.code, detail=failure.detail,
                             retry_after=failure.retry_after, **more)


def merged_ledgers(first, second, now):
    """One ledger, key -> Attempt, out of two. Of one attempt, what is known later counts.

    What is too old, or dated ahead, is left out.
    """
    ledger = {}
    for attempt in list(first.values()) + list(second.values()):
        if not now - LEDGER_SECONDS < attempt.at <= now + SKEW_SECONDS:
            continue
        known = ledger.get(attempt.key)
        if known and known.ended is not None:
            continue
        if not known or attempt.ended is not None or attempt.end > known.end:
            ledger[attempt.key] = attempt
    return ledger


class Plan(NamedTuple):
    """When a source is asked next. Both may be infinite: not before the token changes."""
    next_at: float              # by itself
    free_at: float              # earliest, if somebody asks for it
    busy_until: float = 0.0     # somebody's request is under way until then at most

    @property
    def is_held(self):
        """Whether a block or the budget decides, not the rhythm."""
        return self.next_at <= self.free_at


def plan(ledger, key, rhythm, now, has_reply=True, fed_at=0.0, held_until=0.0):
    """The Plan for the source with a `key` (account, source, token), after a ledger of attempts.

    * After a reply: `next_by_rhythm`. Where the reply is no longer stored (`has_reply` is false),
      it is no reason to wait.
    * After failures: RETRY_SECONDS, doubled each time, up to RETRY_MOST. A token without the scope
      is not tried again; a new token is tried at once.
    * Never more than REQUESTS_MOST requests in any REQUESTS_SECONDS, whoever makes them.
    * After a 429: `blocked_until`, for the token it was an answer to. `held_until` is a block that
      another program knows of.
    """
    account, source, token = key
    # One request may stand here under two names of its account; the one in use counts.
    attempts = sorted(ledger.values(), key=lambda attempt: attempt.account == account)
    once = {attempt[1:4]: attempt for attempt in attempts}
    sent = [attempt for attempt in once.values() if attempt.code != UNSENT]
    sent.sort(key=lambda attempt: attempt.end)
    asked = [attempt for attempt in sent if attempt[:2] == (account, source)]
    replies = [attempt for attempt in asked if attempt.is_reply]
    if not has_reply:
        replies = [attempt for attempt in replies if attempt.code != 'ok']
    free_at = max(held_until, blocked_until(sent, asked, token, rhythm))
    if len(asked) >= REQUESTS_MOST:
        free_at = max(free_at, asked[-REQUESTS_MOST].end + REQUESTS_SECONDS)
    due = 0.0
    failed = failures_at_end(replies)
    failed_so = [attempt for attempt in failed if attempt.token == token]
    if failed_so:
        due = failed_so[-1].end + doubled(RETRY_SECONDS, len(failed_so), RETRY_MOST)
    elif replies and not failed:
        due = next_by_rhythm(replies, rhythm, fed_at)
    own = [attempt for attempt in replies if attempt.token == token]
    if own and own[-1].code == 'forbidden_scope':
        due = free_at = float('inf')
    under_way = [
        attempt.end for attempt in asked if attempt.ended is None and attempt.end > now
    ]
    return Plan(max(due, free_at), free_at, max(under_way, default=0.0))


def failures_at_end(replies):
    """Of Attempts, oldest first, those after the last one that succeeded."""
    failed = []
    for attempt in replies:
        if attempt.code == 'ok':
            failed = []
        else:
            failed.append(attempt)
    return failed


def doubled(first, times, most):
    """`first` the first time, twice as much each further time, never above `most`."""
    return min(first * 2 ** min(times - 1, 30), most)


def next_by_rhythm(replies, rhythm, fed_at):
    """Until when the last of a source's replies is good enough, by how its numbers move.

    The base of its Rhythm while they move, SLOWING times as long with each reply that brings
    nothing new; FED_INTERVAL while the status line tells them, last at `fed_at`; at the latest
    RESET_SECONDS after a reset. The jitter comes from the time of the reply, so that all monitors
    reckon with the same.
    """
    last = replies[-1]
    still = 0
    for attempt in reversed(replies):
        if attempt.code == 'ok':
            if attempt.moved:
                break
            still += 1
    seconds = min(rhythm.base * SLOWING ** still, rhythm.most)
    chance = 2 * (last.end * 0.618034 % 1) - 1
    due = last.end + seconds * (1 + rhythm.jitter * chance)
    if fed_at:
        due = max(due, min(fed_at + seconds, last.end + FED_INTERVAL))
    if last.reset_at is not None:
        due = min(due, last.reset_at + RESET_SECONDS)
    return due


def blocked_until(sent, asked, token, rhythm):
    """When a source may be asked again after the 429s of a token; 0.0 if there were none.

    `sent` are all Attempts of all sources, `asked` those of this one, oldest first. Not before the
    block ends, unless a request has succeeded since: asking prolongs it. For WARY_SPAN after it,
    no two requests are nearer than the Rhythm's `wary` seconds.
    """
    last_429 = block_end = wary_from = 0.0
    for source in {attempt.source for attempt in sent}:
        times, end = 0, 0.0
        for attempt in sent:
            if attempt.source != source or attempt.token != token:
                continue
            if attempt.code == 'ok':
                times, end = 0, 0.0
            elif attempt.code == 'rate_limited':
                times += 1
                end = attempt.end + block_seconds(attempt.retry_after, times)
                last_429 = max(last_429, attempt.end)
                wary_from = max(wary_from, attempt.end, end - WARY_SECONDS)
        block_end = max(block_end, end)
    if not last_429:
        return 0.0
    last = last_429
    if asked:
        last = max(last, asked[-1].end)
    if last <= wary_from + WARY_SPAN:
        return max(block_end, last + rhythm.wary)
    return block_end


def block_seconds(retry_after, times):
    """How long a 429 forbids requests: at least its Retry-After, and BLOCK_LEAST or, where it
    names no time, BLOCK_SILENT, which double with each of so many in a row."""
    least = BLOCK_LEAST if retry_after else BLOCK_SILENT
    return max(min(retry_after or 0, BLOCK_MOST), doubled(least, times, BLOCK_MOST))


# ---- Store -------------------------------------------------------------------------------------
# Our own SQLite file, the only thing we ever write: what all monitors of a user share. It has a
# rollback journal, for home directories are on NFS. Accounts and tokens are known by fingerprints;
# no secret ever gets here. Where no folder can hold it, monitors go on without sharing, and what
# prints once asks nobody.

STORE_NAME = 'store2'           # the number is that of the layout
STORE_VERSION = 2
STORE_FILE = re.compile(STORE_NAME + r'(?:-([1-9]\d?))?\.db$')
PASSED_OVER_MOST = 3            # files that are malformed, or of another version, are kept
STORE_TIMEOUT = 0.5             # seconds to wait for another monitor's transaction
STORE_CLOSE_TIMEOUT = 0.1       # seconds to wait for our own at the end
SAMPLES_SECONDS = 35 * DAY      # how long samples are kept
SAMPLE_DISTANCE = 20            # no two samples of a limit are nearer, ...
SAMPLE_INTERVAL = 300           # ... and those with the same number are no nearer than this
WINDOWS_SECONDS = 366 * DAY     # how long the summaries of finished windows are kept
REPLY_SECONDS = 62 * DAY        # a reply that nobody has renewed for so long is forgotten

# Why nothing is shared, by the code of the store's failure.
STORE_TROUBLE = {
    'locked': 'Not shared with other monitors: {}.',
    'forbidden': 'Not shared with other monitors: {}.',
    'malformed': 'The shared store was malformed: {}.',
}
# What SQLite says, and the code for it; all else, such as a full disk, is `forbidden`.
STORE_FAILURES = {
    'locked': 'locked',
    'malformed': 'malformed',
    'not a database': 'malformed',
    'no such': 'malformed',
    'has no column': 'malformed',
    'unsupported file format': 'malformed',
    'decode': 'malformed',
}
# `account` is an `account_key`, or the fingerprint of an Admin API key. Times are epoch seconds.
#   replies   the last one of each part as it came, but for secrets
#   attempts  the ledger of requests; one that has not `ended` is a claim
#   samples   how much of a limit, the `series`, was used when
#   windows   summaries of its finished windows, as JSON
SCHEMA = (
    'CREATE TABLE replies (account TEXT, part TEXT, at REAL, body TEXT, '
    'PRIMARY KEY (account, part))',
    'CREATE TABLE attempts (account TEXT, source TEXT, token TEXT, at REAL, ended REAL, '
    'code TEXT, detail TEXT, retry_after REAL, moved INTEGER, reset_at REAL, heard REAL, '
    'problems TEXT, PRIMARY KEY (account, source, token, at))',
    'CREATE TABLE series (id INTEGER PRIMARY KEY, account TEXT, name TEXT, window INTEGER, '
    'UNIQUE (account, name))',
    'CREATE TABLE windows (series INTEGER, resets_at INTEGER, body TEXT, '
    'PRIMARY KEY (series, resets_at)) WITHOUT ROWID',
    'CREATE TABLE samples (series INTEGER, at INTEGER, used REAL, resets_at INTEGER, '
    'PRIMARY KEY (series, at)) WITHOUT ROWID',
    'PRAGMA user_version = %d' % STORE_VERSION,
)
# Rows of the wrong type, whoever wrote them, are no attempts.
SELECT_ATTEMPTS = (
    'SELECT %s FROM attempts WHERE (account = :account '
    "OR token = :token AND code = 'rate_limited') AND typeof(at) = 'real' "
    "AND typeof(ended) IN ('real', 'null') AND typeof(retry_after) IN ('real', 'null') "
    "AND typeof(reset_at) IN ('real', 'null') AND typeof(heard) IN ('real', 'null') "
    "AND typeof(code) = 'text' AND typeof(detail) = 'text' AND typeof(problems) = 'text'"
    % ', '.join(Attempt._fields))
WRITE_ATTEMPT = 'INSERT OR IGNORE INTO attempts VALUES (%s)' % ', '.join(
    ':' + name for name in Attempt._fields)
END_ATTEMPT = (
    'UPDATE attempts SET %s WHERE account = :account AND source = :source AND token = :token '
    'AND at = :at AND ended IS NULL' % ', '.join(
        '%s = :%s' % (name, name) for name in Attempt._fields[4:]))


class StoredReplies(NamedTuple):
    """What the store has of an account: part -> (at, body), and key -> Attempt."""
    replies: dict
    ledger: dict


class Store:
    """The file, opened for one transaction at a time so that no lock outlives one.

    It is in the first of some folders that can be used. Every method takes the time last and
    raises SourceError locked, forbidden or malformed.
    """

    def __init__(self, *folders):
        self.folders, self.folder, self.number = folders, folders[0], 1
        # When the first folder was last tried, and the Failure since then, if there was one.
        self.chosen_at, self.passed_over = 0.0, None
        self.using, self.is_closed = threading.Lock(), False

    @property
    def path(self):
        """The path of the file in use: store2.db, then store2-2.db, and so on.

        A malformed file is left alone, and the next number takes its place.
        """
        return self.numbered(self.number)

    def numbered(self, number):
        """The path of the file with a number."""
        name = STORE_NAME
        if number > 1:
            name = '%s-%d' % (STORE_NAME, number)
        return os.path.join(self.folder, name + '.db')

    def recall(self, account, token, now):
        """The StoredReplies of an account; its ledger has the 429s of the token as well."""
        def work(db):
            replies = db.execute(
                'SELECT part, at, body FROM replies WHERE account = ? AND at <= ? '
                "AND typeof(at) = 'real' AND typeof(part) = 'text' AND typeof(body) = 'text'",
                (account, now + SKEW_SECONDS)).fetchall()
            return StoredReplies({part: (at, body) for part, at, body in replies},
                                 ledger_in(db, account, token))
        return self.use(work, now)

    def claim(self, attempt, is_due, now):
        """Note an Attempt as begun if `is_due(ledger)` -> whether it is ours to make.

        Both happen in one transaction: of all monitors that find a request due, one gets it. No
        claim outlives a power cut, so it is not waited for until it is on the disk.
        """
        def work(db):
            if not is_due(ledger_in(db, attempt.account, attempt.token)):
                return False
            db.execute(WRITE_ATTEMPT, attempt._asdict())
            return True
        return self.use(work, now, writes=True, synchronous='OFF')

    def add(self, attempts, replies, samples, now):
        """Note Attempts, replies {(account, part): (at, body)} and samples (account, Limits).

        Writing one twice is harmless. A reply that is older than the stored one is not taken; one
        without a body is forgotten.
        """
        def work(db):
            for attempt in attempts:
                db.execute(WRITE_ATTEMPT, attempt._asdict())
                if attempt.ended is not None or attempt.heard is not None:
                    db.execute(END_ATTEMPT, attempt._asdict())
            for (account, part), (at, body) in replies.items():
                db.execute('DELETE FROM replies WHERE account = ? AND part = ? AND at <= ?',
                           (account, part, at))
                if body is not None:
                    db.execute('INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)',
                               (account, part, at, body))
            add_samples(db, *samples)
            forget_old(db, now)
        self.use(work, now, writes=True)

    def samples(self, account, since, needs_window, now):
        """The samples of an account, oldest first: {name: (window, [(at, used, resets_at)])}.

        `since` is {name: from when on they are wanted}; of others all are. Where `needs_window`,
        limits whose window's length is not known are left out.
        """
        def work(db):
            found = {}
            for series, name, window in db.execute(
                    'SELECT id, name, window FROM series WHERE account = ?',
                    (account,)).fetchall():
                if needs_window and not window:
                    continue
                rows = db.execute(
                    'SELECT at, used, resets_at FROM samples WHERE series = ? AND at > ? '
                    'ORDER BY at', (series, since.get(name, 0))).fetchall()
                found[name] = window, rows
            return found
        return self.use(work, now)

    def windows(self, account, now):
        """The summaries of finished windows of an account, oldest first: {name: [body]}."""
        def work(db):
            found = {}
            for name, body in db.execute(
                    'SELECT name, body FROM windows JOIN series ON id = series '
                    'WHERE account = ? AND resets_at <= ? ORDER BY resets_at',
                    (account, now)).fetchall():
                found.setdefault(name, []).append(body)
            return found
        return self.use(work, now)

    def keep_windows(self, account, windows, now):
        """Keep summaries of finished windows: {name: (seconds, [(resets_at, body)])}."""
        def work(db):
            for name, (seconds, rows) in windows.items():
                db.execute('INSERT OR IGNORE INTO series (account, name, window) '
                           'VALUES (?, ?, ?)', (account, name, seconds))
                db.executemany(
                    'INSERT OR REPLACE INTO windows SELECT id, ?, ? FROM series '
                    'WHERE account = ? AND name = ?',
                    [(resets_at, body, account, name) for resets_at, body in rows])
        self.use(work, now, writes=True)

    def touch(self, now):
        """See whether the file can be written."""
        self.use(lambda db: None, now, writes=True)

    def count(self, now):
        """How many samples there are."""
        return self.use(
            lambda db: db.execute('SELECT count(*) FROM samples').fetchone()[0], now
        )

    def close(self):
        """Let a transaction that is under way end, and none begin any more: the process ends."""
        if not self.is_closed:
            self.is_closed = True
            self.using.acquire(timeout=STORE_CLOSE_TIMEOUT)

    def use(self, work, now, writes=False, synchronous='NORMAL'):
        """`work(connection)` in one transaction. SourceError locked, forbidden or malformed.

        Where a folder cannot be used, or its file cannot be written, the next one serves instead
        for a minute. Where none can, the failure is that of the first.
        """
        sqlite3 = load_sqlite3()
        if self.is_closed:
            raise SourceError('forbidden', 'the program ends')
        with self.using:
            if not 0 <= now - self.chosen_at < MINUTE:
                self.folder, self.chosen_at, self.passed_over = self.folders[0], now, None
            for folder in self.folders[self.folders.index(self.folder):]:
                self.folder = folder
                try:
                    return self.use_folder(sqlite3, work, writes, synchronous)
                except SourceError as error:
                    if error.failure.code != 'forbidden':
                        raise
                    self.passed_over = self.passed_over or error.failure
            self.folder = self.folders[0]
            raise SourceError(*self.passed_over)

    def use_folder(self, sqlite3, work, writes, synchronous):
        """`work(connection)` in the folder that is chosen.

        Where the file is malformed, or not of our version, the next number is used instead.
        """
        try:
            while True:
                self.find_file()
                try:
                    return self.transact(sqlite3, work, writes, synchronous)
                except (sqlite3.Error, UnicodeDecodeError) as error:
                    if store_failure(error) != 'malformed' or self.number >= 99:
                        raise
                self.number += 1
                self.make_file()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise SourceError(store_failure(error), '%s (%s)' % (
                clean(str(error)), short_path(self.path)))
        except OSError as error:
            raise SourceError('forbidden', '%s (%s)' % (
                error.strerror or error, short_path(self.folder)))

    def find_file(self):
        """Have a private folder, and the file with the highest number that anybody made.

        Never by a link, which somebody else may have laid. Of the files that are passed over, the
        oldest are removed.
        """
        make_folder(self.folder)
        found = os.lstat(self.folder)
        if stat.S_ISLNK(found.st_mode):
            raise OSError(0, 'it is a link')
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(0, 'it is no folder')
        if not WINDOWS and found.st_uid != os.getuid():
            raise OSError(0, "it is another user's, see CLAUDE_USAGE_DIR")
        if not WINDOWS and found.st_mode & 0o022:
            if found.st_mode & stat.S_ISVTX:        # such as /tmp itself, for everybody
                raise OSError(0, 'others may write there, see CLAUDE_USAGE_DIR')
            os.chmod(self.folder, stat.S_IMODE(found.st_mode) & ~0o022)
        matches = [STORE_FILE.match(name) for name in os.listdir(self.folder)]
        numbers = sorted(int(match.group(1) or 1) for match in matches if match)
        self.number = max(numbers, default=1)
        for number in numbers[:-1 - PASSED_OVER_MOST]:
            try:
                os.unlink(self.numbered(number))
            except OSError:             # another monitor just has
                pass
        self.make_file()

    def make_file(self):
        """Have a private file, perhaps empty, and no link either."""
        if not os.path.lexists(self.path):
            try:
                os.close(
                    os.open(
                        self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600
                    )
                )
            except FileExistsError:
                pass
        found = os.lstat(self.path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(0, '%s is a link, or no regular file' % os.path.basename(self.path))
        if not WINDOWS and found.st_mode & 0o077:
            os.chmod(self.path, 0o600)

    def transact(self, sqlite3, work, writes, synchronous):
        """The value of `work(connection)`, in a file that has its tables then."""
        db = sqlite3.connect(self.path, timeout=STORE_TIMEOUT, isolation_level=None)
        try:
            db.execute('PRAGMA synchronous = ' + synchronous)
            db.execute('BEGIN IMMEDIATE' if writes else 'BEGIN')
            if not version_of(db):
                db.execute('COMMIT')
                db.execute('BEGIN IMMEDIATE')
                create_tables(sqlite3, db)
            if version_of(db) != STORE_VERSION:
                raise sqlite3.DatabaseError('malformed: of another version')
            value = work(db)
            db.execute('COMMIT')
            return value
        finally:
            db.close()


def make_folder(path):
    """Make a folder, and those above it that are missing, for this user alone."""
    parent = os.path.dirname(path)
    if parent and not os.path.exists(parent):
        make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except OSError:
        if not os.path.isdir(path):
            raise


def store_of(env):
    """Return the Store of the user.

    It is in our own folder, else in one of the user's session, or in the temporary directory.
    """
    user = 'user' if WINDOWS else os.getuid()
    temporary = env.get('TMPDIR') or env.get('TEMP') or '/tmp'
    folders = [store_folder(env)]
    for parent, name in ((env.get('XDG_RUNTIME_DIR', ''), 'claude-usage'),
                         (temporary, 'claude-usage-%s' % user)):
        if os.path.isdir(parent):
            folders.append(os.path.join(parent, name))
    return Store(*folders)


def store_folder(env):
    """Return our own folder: $CLAUDE_USAGE_DIR, else ~/.claude-usage.

    A slash at its end is taken away, for behind it lstat would follow a link.
    """
    return os.path.expanduser(
        env.get('CLAUDE_USAGE_DIR', '').rstrip(os.sep) or STORE_FOLDER
    )


def store_failure(error):
    """Return the code of ERRORS for an exception of sqlite3, by the words in it."""
    words = str(error)
    for sign, code in STORE_FAILURES.items():
        if sign in words:
            return code
    return 'forbidden'


def version_of(db):
    """Return the version of the tables in our own file; 0 before there are any."""
    return db.execute('PRAGMA user_version').fetchone()[0]


def create_tables(sqlite3, db):
    """Make the tables, unless another monitor just has."""
    if version_of(db):
        return
    if db.execute('SELECT count(*) FROM sqlite_master').fetchone()[0]:
        raise sqlite3.DatabaseError('malformed: the tables are not ours')
    for statement in SCHEMA:
        db.execute(statement)


def ledger_in(db, account, token):
    """Return the ledger of an account, with the 429s that a token got for other accounts."""
    rows = db.execute(SELECT_ATTEMPTS, {'account': account, 'token': token}).fetchall()
    attempts = (Attempt(*row) for row in rows)
    return {attempt.key: attempt for attempt in attempts}


def add_samples(db, account, limits):
    """Note how much of each Limit is used, at its own time."""
    for limit in limits:
        if limit.used is None:
            continue
        resets_at = limit.resets_at and int(limit.resets_at)
        values = {'account': account, 'name': limit.id, 'window': limit.window,
                  'at': int(limit.at), 'used': limit.used, 'resets_at': resets_at,
                  'apart': SAMPLE_DISTANCE, 'interval': SAMPLE_INTERVAL}
        db.execute('INSERT OR IGNORE INTO series (account, name, window) '
                   'VALUES (:account, :name, :window)', values)
        db.execute('INSERT OR IGNORE INTO samples SELECT id, :at, :used, :resets_at FROM series '
                   'WHERE account = :account AND name = :name AND NOT EXISTS '
                   '(SELECT 1 FROM samples WHERE series = id AND (at > :at - :apart OR '
                   'at > :at - :interval AND used = :used AND '
                   'abs(coalesce(resets_at, 0) - coalesce(:resets_at, 0)) < 60))', values)


def forget_old(db, now):
    """Forget what is too old, and what is of before the clock was set back.

    Nothing that is dated ahead can be compared with what comes now.
    """
    ahead = now + SKEW_SECONDS
    db.execute('DELETE FROM attempts WHERE at < ? OR at > ?', (now - LEDGER_SECONDS, ahead))
    db.execute('DELETE FROM replies WHERE at < ? OR at > ?', (now - REPLY_SECONDS, ahead))
    db.execute('DELETE FROM samples WHERE series IN (SELECT id FROM series) '
               'AND (at < ? OR at > ?)', (now - SAMPLES_SECONDS, ahead))
    db.execute('DELETE FROM windows WHERE series IN (SELECT id FROM series) '
               'AND (resets_at < ? OR resets_at > ?)', (now - WINDOWS_SECONDS, ahead))


# ---- Pollers -----------------------------------------------------------------------------------
# Threads that wait so that nobody else has to. Each looks at its sources again and again, and puts
# what is new into the inbox; it neither shows nor decides what is shown.

WATCH_SECONDS = 4               # between two looks at files and the store
STORE_LOOK = 0.5                # between two looks for a reply that another monitor asked for
LOCKED_SECONDS = 15             # a locked store is waited for so long before one goes on alone
HEARD_SECONDS = 5               # between two notes that pages of a poll still come
BUG_SECONDS = 300               # until a poller with a bug of its own tries again
ACCOUNT_SECONDS = 1             # requests for two accounts are no nearer


class Setup(NamedTuple):
    """What pollers are made of."""
    options: Any                # of the command line
    env: Any
    inbox: Any                  # a queue of Readings
    clock: Callable
    store: Store
    logins: Logins
    place: str                  # the config directory
    turn: Any = None            # a Turn
    asks_alone: bool = True     # without a store, too


class Turn:
    """Keeps the requests for different accounts apart."""

    def __init__(self):
        self.taking, self.account, self.at = threading.Lock(), '', 0.0

    def is_ours(self, account, now):
        """Whether a request for an account may be made now; if so, it has its turn."""
        with self.taking:
            is_soon = 0 <= now - self.at < ACCOUNT_SECONDS
            if is_soon and account != self.account:
                return False
            self.account, self.at = account, now
            return True


class Poller(threading.Thread):
    """Looks at its sources for ever and puts what they tell into the inbox.

    A daemon: the program ends at once even while a request or a look-up of a name hangs.
    """
    sources: Tuple[str, ...] = ('usage',)   # what it tells; a bug of its own is told of the first
    modes: Tuple[str, ...] = ()             # the modes it serves, its main one first; () is all
    is_of_account = False                   # there is one for each config directory

    def __init__(self, setup, place=''):
        super().__init__(daemon=True)
        self.setup = setup
        self.env = setup.env
        self.clock = setup.clock
        self.place = place
        self.asked = threading.Event()
        self.asked_at = float('inf')    # from when on numbers are wanted ...
        self.max_age = None             # ... no older than this, where one reply is enough
        self.wanted = True              # its mode is the one shown
        self.told = {}                  # source -> the Known that was told last

    def once(self):
        """Do what is due; return the seconds to wait then."""
        raise NotImplementedError

    def ask_now(self, at, max_age=None):
        """Have numbers as soon as possible; a request that is under way serves too.

        With `max_age` seconds just this once, and not if the last reply is younger.
        """
        self.asked_at, self.max_age = at, max_age
        self.asked.set()

    def is_settled(self, snapshot):
        """Whether all of its sources have said their last word for now."""
        return all(snapshot[self.place, source].is_settled for source in self.sources)

    def see(self, snapshot, mode, places):
        """See what is shown, each time that it changes: the Snapshot, the mode, the accounts."""

    def close(self):
        """Leave nothing half done: the process ends."""

    def run(self):
        wait = 0
        while True:
            self.asked.wait(wait)
            self.asked.clear()
            if not self.wanted:
                wait = None
                continue
            try:
                wait = self.once()
            except Exception as error:      # a bug must not freeze the panel without a word
                trace = error.__traceback__
                while trace.tb_next:
                    trace = trace.tb_next
                words = '%s in line %d' % (type(error).__name__, trace.tb_lineno)
                wait = BUG_SECONDS
                self.tell(self.sources[0], Known(failure=Failure('internal', words),
                                                 phase=PLANNED, next_at=self.clock() + wait))

    def tell(self, source, known, place=None):
        """Tell what is known of a source, unless that was told last."""
        if place is None:
            place = self.place
        if self.told.get(source) != known:
            self.told[source] = known
            self.setup.inbox.put(Reading(place, source, known))


class LoginPoller(Poller):
    """Tells which credentials there are, and so the mode. Later the pollers of the mode look."""
    sources = ('credentials',)
    is_of_account = True

    def __init__(self, setup):
        super().__init__(setup, setup.place)

    def once(self):
        credentials = self.setup.logins.look(self.clock())
        self.tell('credentials', Known(credentials, 0.0, phase=PLANNED))
        return MINUTE


class Asker(Poller):
    """One whose requests count for all monitors of a user, and whose replies serve them all.

    Each look merges what is known here with the store, makes a request where one is due and the
    store says that it is ours, and tells what is new. Where the store fails, what is known here
    keeps to the same rules; an output that prints once, of which many may run, asks nobody then.
    A subclass says how to `look` at credentials, to `request`, and what the `value` of the replies
    is.
    """

    def __init__(self, setup, place, rhythms):
        super().__init__(setup, place)
        self.store, self.rhythms = setup.store, rhythms
        self.account = self.token = ''
        self.trouble, self.troubled_at = None, 0.0      # the Failure of the store, since when
        self.quiet = None               # the stamps that a full look found, ...
        self.quiet_from = self.quiet_until = 0.0        # ... and when nothing but they can matter
        self.made = set()               # keys of the attempts that are our own
        self.current = None             # the key of the one that is under way
        self.refused_until = 0.0        # by the service, as another program knows
        self.forget()

    def forget(self):
        """Nothing is known any more: another account."""
        self.ledger = {}                # key -> Attempt, of all monitors
        self.replies = {}               # part -> (at, body)
        self.memory = {}                # part -> (at, parsed value)
        self.unsaved, self.samples = {}, ()     # what is not in the store yet
        self.shared_stamp = None        # of the store when it was last merged

    def look(self):
        """Look at the credentials -> whether there is something to ask with; else tell why not."""
        raise NotImplementedError

    def request(self, source, attempt):
        """Make a request; return the Attempt with its outcome, having kept what came."""
        raise NotImplementedError

    def value(self, source):
        """(at, value) of what is known of a source; (0.0, None) if nothing is."""
        raise NotImplementedError

    def fed_at(self, source):
        """When a report without a request last told the numbers; 0.0 if none does."""
        return 0.0

    def stamps(self):
        """The stamps of all files that a look depends on."""
        return self.setup.logins.stamps() + [file_stamp(self.store.path)]

    def use_key(self, account, token, is_same=False):
        """Go on with an account and a token. Another account begins anew, unless it `is_same` and
        only known by another name now."""
        if account != self.account:
            if is_same:
                renamed = [attempt._replace(account=account) for attempt in self.ledger.values()]
                self.ledger = {attempt.key: attempt for attempt in renamed}
                self.shared_stamp = None
            else:
                self.forget()
        self.account, self.token = account, token

    def once(self):
        now, stamps = self.clock(), self.stamps()
        if self.quiet == stamps and self.quiet_from <= now < self.quiet_until:
            return WATCH_SECONDS
        self.quiet = None
        credentials = self.setup.logins.look(now)
        self.tell(
            'credentials', Known(credentials, 0.0, phase=PLANNED), self.setup.place
        )
        if not self.look():
            return WATCH_SECONDS
        self.share()
        wait = min([self.ask(source) for source in self.sources])
        if are_old(stamps, now) and not self.trouble:
            self.quiet, self.quiet_from = stamps, now
            self.quiet_until = now + min(wait - WATCH_SECONDS, MINUTE)
        return max(0, min(WATCH_SECONDS, wait))

    def ask_now(self, at, max_age=None):
        self.quiet = None
        super().ask_now(at, max_age)

    def use_store(self, method, *args):
        """(what a method of the store, which takes the time last, returns, whether it could)."""
        value, failure = tried(method, *args, self.clock())
        if failure and (not self.trouble or self.trouble.code != failure.code):
            self.troubled_at = self.clock()
        # What was read tells nothing of whether it can be written.
        if failure or method != self.store.recall:
            self.trouble = failure
            words = None
            if failure:
                words = STORE_TROUBLE[failure.code].format(failure.detail)
            if words or 'store' in self.told:
                self.tell('store', Known(words, 0.0, phase=PLANNED), '')
        return value, failure is None

    def share(self):
        """Merge with the store: take what other monitors have noted, note what it lacks."""
        stamp, now = file_stamp(self.store.path), self.clock()
        if stamp and stamp == self.shared_stamp and not self.trouble:
            return
        self.shared_stamp = None
        stored, could_read = self.use_store(self.store.recall, self.account, self.token)
        if not could_read:
            return
        self.ledger = merged_ledgers(self.ledger, stored.ledger, now)
        for part, reply in stored.replies.items():
            if reply[0] > self.reply_time(part):
                self.replies[part] = reply
        attempts = [attempt for key, attempt in self.ledger.items()
                    if attempt.token and attempt != stored.ledger.get(key)]
        replies = {
            (self.account, part): reply
            for part, reply in self.replies.items()
            if part not in stored.replies or reply[0] > stored.replies[part][0]
        }
        has_all = not attempts and not replies
        if not has_all or self.trouble:
            has_all = self.use_store(
                self.store.add, attempts, replies, ('', ())
            )[1]
        if has_all and are_old([stamp], now):
            self.shared_stamp = stamp

    def reply_time(self, part):
        """When a part was last received; 0.0 if never, or after the clock was set back."""
        at = self.replies.get(part, (0.0, ''))[0]
        if at > self.clock() + SKEW_SECONDS:
            return 0.0
        return at

    def keep(self, part, body, at=None, limits=()):
        """Remember a reply, and the Limits in it as samples, for the store.

        What comes after its request was given up is as old as nobody knows: it is dropped.
        """
        if self.current and not self.is_in_time(self.current):
            return
        if at is None:
            at = self.clock()
        self.replies[part] = self.unsaved[self.account, part] = at, body
        self.samples += limits

    def save(self, attempt):
        """Note an Attempt for all, and what it has brought."""
        self.ledger[attempt.key] = attempt
        could_write = self.use_store(self.store.add, (attempt,), self.unsaved,
                                     (self.account, self.samples))[1]
        if could_write:
            self.unsaved, self.samples = {}, ()

    def parsed(self, part, parse):
        """`parse(document, at)` of a reply, once for each; None where there is none or it is
        odd, whoever wrote it."""
        if part not in self.replies:
            return None
        at, body = self.replies[part]
        if self.memory.get(part, (None,))[0] != at:
            try:
                value = parse(json.loads(body), at)
            except (SourceError, ValueError, TypeError, LookupError, ArithmeticError,
                    AttributeError, RecursionError):
                value = None
            self.memory[part] = at, value
        return self.memory[part][1]

    def plan(self, source, ledger=None):
        """The Plan for a source, by this ledger or by the one that is known here."""
        if ledger is None:
            ledger = self.ledger
        return plan(ledger, (self.account, source, self.token), self.rhythms[source],
                    self.clock(), self.value(source)[1] is not None, self.fed_at(source),
                    min(self.refused_until, self.clock() + BLOCK_MOST))

    def last_attempt(self, source):
        """The newest Attempt of a source that ended, with this token or without any; or None."""
        ended = [attempt for attempt in self.ledger.values()
                 if attempt[:2] == (self.account, source) and attempt.is_reply
                 and attempt.code != UNSENT and attempt.token in ('', self.token)]
        return max(ended, key=lambda attempt: attempt.end, default=None)

    def failure_of(self, source):
        """Why the last request failed; None if it did not."""
        last = self.last_attempt(source)
        if not last or last.code == 'ok':
            return None
        return Failure(last.code, last.detail, last.retry_after)

    def is_old(self, source):
        """Whether the numbers are older than somebody wants who waits for them."""
        return self.value(source)[0] < self.asked_at - (self.max_age or 0)

    def is_wanted(self, source, ledger):
        """Whether somebody still waits for a request of the first source.

        What ended just before serves an output that is printed once, be it a failure.
        """
        if source != self.sources[0] or self.clock() < self.asked_at or not self.is_old(source):
            return False
        since = self.asked_at - min(self.max_age or 0, RETRY_SECONDS)
        has_reply = self.value(source)[1] is not None
        for attempt in ledger.values():
            if (attempt[:2] == (self.account, source) and attempt.token in ('', self.token)
                    and attempt.is_reply and attempt.end >= since
                    and attempt.code != UNSENT and (has_reply or attempt.code != 'ok')):
                return False
        return True

    def is_due(self, source, ledger):
        """Whether a request may be made now: one that somebody waits for, or by the rhythm."""
        planned, now = self.plan(source, ledger), self.clock()
        if planned.busy_until:
            return False
        if self.is_wanted(source, ledger):
            return now >= planned.free_at
        if self.max_age is not None and source == self.sources[0]:
            return False
        return now >= planned.next_at

    def is_patient(self):
        """Whether the store is locked, and not for long."""
        is_short = 0 <= self.clock() - self.troubled_at < LOCKED_SECONDS
        return self.trouble.code == 'locked' and is_short

    def is_barred(self):
        """Whether no request is made: nothing can note it, and many may run like this one."""
        return not self.setup.asks_alone and self.trouble and not self.is_patient()

    def ask(self, source):
        """Make the request if it is due and ours to make; return the seconds to the next look."""
        self.ledger = merged_ledgers(self.ledger, {}, self.clock())
        if self.is_barred() or not self.is_due(source, self.ledger):
            self.report(source)
            planned = self.plan(source)
            if planned.busy_until:
                return STORE_LOOK
            wait = planned.next_at - self.clock()
            if wait <= 0:                   # due, but an output that prints once goes without
                return WATCH_SECONDS
            return wait
        self.report(source)
        if self.setup.turn and not self.setup.turn.is_ours(self.account, self.clock()):
            return ACCOUNT_SECONDS
        attempt = self.claim(source)
        if not attempt:
            return STORE_LOOK
        key = self.account, self.token
        if not self.refresh() or (self.account, self.token) != key:
            self.settle(attempt._replace(code=UNSENT))
            return 0                        # to begin anew with what is there now
        self.current = attempt
        result = self.request(source, attempt)
        if self.is_in_time(attempt):
            self.settle(result)
        self.current = None
        if result.code == 'unauthorized':
            self.refresh()                  # Claude Code may have refreshed it meanwhile
            if self.token != attempt.token:
                return 0
        self.report(source)
        return self.plan(source).next_at - self.clock()

    def refresh(self):
        """Look at the credentials anew -> whether there is something to ask with."""
        self.setup.logins.look(self.clock(), anew=True)
        return self.look()

    def is_in_time(self, attempt):
        """Whether an Attempt is not given up yet: what comes later is not noted."""
        known = self.ledger.get(attempt.key, attempt)
        return known.at <= self.clock() + SKEW_SECONDS and self.clock() < known.end

    def claim(self, source):
        """The Attempt that is begun now; None if another monitor makes the request.

        A store that is locked is waited for; without one each monitor goes on by itself.
        """
        now = self.clock()
        attempt = Attempt(self.account, source, self.token, now)

        def is_due(ledger):
            for key, other in merged_ledgers(ledger, {}, now).items():
                # A claim, which is no reply, stands for what is not known here.
                is_read = key in self.made or self.ledger.get(key, attempt).is_reply
                if key[:2] == attempt.key[:2] and other.is_reply and not is_read:
                    return False            # its reply is to be read first
            return self.is_due(source, merged_ledgers(self.ledger, ledger, now))
        is_ours, could_write = self.use_store(self.store.claim, attempt, is_due)
        if not could_write:
            is_ours = self.setup.asks_alone and not self.is_patient()
        if not is_ours:
            return None
        self.ledger[attempt.key] = attempt
        self.made.add(attempt.key)
        return attempt

    def settle(self, attempt):
        """Note the outcome of an Attempt for all."""
        self.save(attempt._replace(ended=self.clock()))

    def hear(self, attempt):
        """Note that a poll of many requests goes on."""
        known, now = self.ledger.get(attempt.key, attempt), self.clock()
        is_time = now - max(known.at, known.heard or 0.0) >= HEARD_SECONDS
        if is_time and self.is_in_time(attempt):
            self.save(known._replace(heard=now))

    def close(self):
        """Give up a request that is under way: nobody will hear its reply."""
        now = self.clock()
        lost = [
            attempt._replace(ended=now, code=LOST)
            for attempt in list(self.ledger.values())
            if attempt.ended is None and attempt.end > now and attempt.key in self.made
        ]
        if lost:
            tried(self.store.add, lost, {}, ('', ()), now)

    def report(self, source):
        """Tell what is known of a source and what comes next."""
        now, (at, value) = self.clock(), self.value(source)
        planned, failure = self.plan(source), self.failure_of(source)
        before = self.told.get(source, Known())
        is_due = self.is_due(source, self.ledger)
        if is_due and self.is_barred():
            failure = Failure('unshared', self.trouble.detail)
        elif is_due or planned.busy_until:
            self.tell(source, Known(value, at or None, before.failure, ASKING, before.next_at,
                                    before.free_at))
            return
        if source == self.sources[0] and self.refused_until > now:
            failure = Failure('rate_limited')
        if value is None and not failure:
            failure = Failure('rate_limited')           # by our own budget
        next_at, free_at = max(planned.next_at, now), planned.free_at
        if next_at == float('inf'):
            next_at = free_at = None
        phase = HELD if planned.is_held else PLANNED
        self.tell(
            source, Known(value, at or None, failure, phase, next_at, free_at)
        )


# What a feature enters itself in.

class Mode(NamedTuple):
    """A mode: what it is about, and what of it the smallest screens show."""
    source: str                 # the source it is about
    needs: str                  # 'Admin API key'
    title: str                  # of its first panel
    known: Callable             # (snapshot, place) -> what is Known of it
    name: Callable              # (snapshot, place) -> what tells the account from others
    summary: Callable           # (scene) -> (the numbers as a line that fits, words below them)
    limits: Callable            # (snapshot, place) -> the Usage that --check judges


class Panel(NamedTuple):
    """A panel, or a part of one: those with the same title make one, in the order of rank."""
    rank: int
    modes: Tuple[str, ...]
    title: str
    rows: Callable              # (scene) -> Rows; without any there is no panel


class LimitPart(NamedTuple):
    """What a feature adds to a Limit, wherever limits are told."""
    rows: Callable              # (scene, limit) -> Rows below its reset
    tail: Callable              # (scene, limit) -> spans of a few cells behind its countdown
    stored_tails: Callable      # (replies, limits, moment) -> {id: tail}, for the status line


class Document(NamedTuple):
    """What a feature adds to the outputs for scripts."""
    json: Callable              # (snapshot, place, moment, mode) -> {key: value of JSON}
    metrics: Callable           # the same arguments -> {name: [(labels, value), ...]}
    helps: dict                 # name of a metric -> what it means
    has_numbers: Callable       # (snapshot, place, mode) -> whether there is a number to show


class Feed(NamedTuple):
    """A way to reports of usage without a request."""
    stamps: Callable            # (env) -> what changes when there are others; () is always read
    read: Callable              # (Setup, replies, now) -> (Usages, until when all is refused)
    names_account: bool = False     # whether its reports say whose they are


class Finding(NamedTuple):
    """A line of --doctor: something that is as it should be, or not."""
    is_good: bool
    place: str
    words: str


MODES: dict = {}                      # 'code', 'console' -> Mode
PARSERS: dict = {}              # 'usage' -> function: (document, at, via) -> Usage
POLLERS: list = [LoginPoller]   # functions: Setup -> Poller
WATCHERS: list = []             # Pollers that see what is shown, in the demo too
FEEDS: list = []
PANELS: list = []
PANEL_MAKERS: list = []         # functions: scene -> Panels of what there is at the time
LIMIT_PARTS: list = []
OUTLOOKS: list = []             # functions: (snapshot, place, limit) -> its Outlook
DOCUMENTS: list = []
OPTIONS: dict = {}                    # '--user' -> the arguments of add_argument
COMMANDS: dict = {}                   # outputs that ask nobody -> functions: options -> exit code
VIEWS: dict = {}                # lasting outputs -> functions: (Setup, pollers, Ui) -> exit code
PASTS: list = []                # functions: now -> (name, window, samples) of other programs
HELPS: list = []                # functions: scene -> sentences of the help
FINDINGS: list = []                   # functions: (Setup, Snapshot, Moment) -> Findings
DEMOS: list = []                      # functions: now -> Readings of invented data


# ---- Code mode ---------------------------------------------------------------------------------
# The limits of a Claude Code account: from the service, and from whoever reports them without a
# request; who is logged in; the status line that Claude Code itself runs.

# The OAuth endpoints answer other User-Agents with lasting 429s (observed, undocumented).
OAUTH_HEADERS = {
    'Content-Type': 'application/json',
    'Accept': 'application/json',
    'anthropic-beta': 'oauth-2025-04-20',
    'User-Agent': 'claude-code/2.0.37',
}
LIMITS_MOST = 1000              # limits of a reply that are kept
LATER_SECONDS = 60              # a longer wait for the next request is told
STATUS_BAR = 6                  # cells of the status line's bar
STATUS_MARGIN = 4               # cells of the terminal that Claude Code keeps for itself
STATUS_SECONDS = 2              # the status line waits for its document no longer

# The limits known by name: id -> (label, short label, window in seconds).
LIMITS = {
    'five_hour': ('5-Hour', '5h', 5 * HOUR),
    'seven_day': ('7-Day', '7d', 7 * DAY),
    'seven_day_opus': ('7-Day Opus', 'Opus', 7 * DAY),
    'seven_day_sonnet': ('7-Day Sonnet', 'Sonnet', 7 * DAY),
    'cinder_cove': ('Claude Code and Cowork credit', 'Cowork', None),
    'wattle_ember': ('Credit', 'Credit', None),
    'spend_limit': ('Spend Limit', 'spend', None),
    'extra_usage': ('Usage credits', 'Credits', None),
}
NAMED_WINDOWS = ('five_hour', 'seven_day', 'seven_day_opus', 'seven_day_sonnet')
STATUS_WINDOWS = ('five_hour', 'seven_day')
STATUS_LIMITS = STATUS_WINDOWS + ('spend_limit',)   # the last behind a gateway
CREDITS = ('cinder_cove', 'wattle_ember')
# What the list `limits` calls them, and how long the windows of its groups are.
LISTED_KINDS = {'session': 'five_hour', 'weekly_all': 'seven_day'}
GROUPS = {'session': 5 * HOUR, 'weekly': 7 * DAY}
PREFIXES = {
    'seven_day_': ('7-Day ', 7 * DAY),
    'five_hour_': ('5-Hour ', 5 * HOUR),
}
MINOR_DIGITS = {'JPY': 0, 'KRW': 0, 'VND': 0}   # of a currency; 2 for all others
# Where a reply has the usage credits: used, limit, decimal places, percent, currency, enabled.
SPEND_PATHS = ('spend.used.amount_minor', 'spend.limit.amount_minor', 'spend.used.exponent',
               'spend.percent', 'spend.used.currency', 'spend.enabled')
EXTRA_PATHS = ('extra_usage.used_credits', 'extra_usage.monthly_limit',
               'extra_usage.decimal_places', 'extra_usage.utilization', 'extra_usage.currency',
               'extra_usage.is_enabled')
ONLY_CREDITS = 'No usage windows, only usage credits.'


def neutral_label(key):
    """Return (label, window) for a limit of which only the key is known.

    'seven_day_cowork' -> ('7-Day Cowork', 604800). The names that the service uses are an open
    set; an unknown one is shown under the words of its key, never dropped.
    """
    start, window = '', None
    for prefix, meaning in PREFIXES.items():
        if key.startswith(prefix):
            start, window = meaning
            key = key[len(prefix):]
            break
    return (
        start + clean(key.replace('_', ' ').title()) or 'Other',
        window,
    )


def make_limit(key, label, used, resets_at, window, **more):
    """Return a Limit with its labels: those of LIMITS, else the given one.

    The short label, for narrow columns, is the label without '7-Day'.
    """
    label, short, window = LIMITS.get(
        key, (label, label.replace('7-Day ', ''), window)
    )
    return Limit(
        key, label, short, float(used), resets_at, window, **more
    )


def dollar_amount(used, most):
    """Return the Amount of dollars used, of so many at most; None where either is not told."""
    if used is None or most is None:
        return None
    return Amount(used * 100, most * 100, 2, 'USD')


def parse_limit(entry, what, key, label, window, kind='rate'):
    """Return the Limit in an object of a usage reply, or None if it has no percent.

    SourceError bad_reply, with `what` the object is, for a percent or a reset of another type.
    Since 2026-07 there are dollars too; for most windows they are null.
    """
    used = number(entry.get('utilization'), what + 'utilization')
    if used is None:
        return None
    resets_at = time_in(entry.get('resets_at'), what + 'resets_at')
    dollars, most = [
        number(entry.get(name), name) for name in ('used_dollars', 'limit_dollars')
    ]
    return make_limit(key, label, used, resets_at, window, kind=kind,
                      amount=dollar_amount(dollars, most))


def parse_window(key, window):
    """Return the Limit of a top-level window, or None if it is not in use.

    A window that is known by name is in use from 0 percent on, any other one only above that.
    """
    used, what = window.get('utilization'), key + '.'
    if key not in NAMED_WINDOWS:
        what = 'a limit.'
        if not is_number(used) or used <= 0:
            return None
    label, seconds = neutral_label(key)
    if key not in CREDITS:
        return parse_limit(window, what, key, label, seconds)
    limit = parse_limit(window, what, key, label, None, 'credit')
    name = text(window.get('label'))
    return limit._replace(
        label=name or limit.label, short=name or limit.short
    )


def parse_promo(entry):
    """Return the Limit of an entry of `promo_credits`, or None if it has no percent.

    Its reset is the time at which the credit expires.
    """
    entry = mapping(entry, 'a promotion')
    key = 'promo_' + (text(entry.get('program_id')) or 'credit')
    label = text(entry.get('label')) or 'Credit'
    return parse_limit(entry, '', key, label, None, 'credit')


def parse_listed(entry):
    """Return the Limit of an entry of `limits`, or None if it has no percent.

    That list is where the weekly limits of single models are. Whether an entry `is_active` is not
    looked at, for its meaning is disputed.
    """
    entry = mapping(entry, 'a limit')
    used = number(entry.get('percent'), 'percent')
    kind = text(entry.get('kind')) or 'other'
    key = LISTED_KINDS.get(kind, kind)
    label, _ = neutral_label(kind)
    window = GROUPS.get(text(entry.get('group')))
    if kind == 'weekly_scoped':
        name = scope_name(entry.get('scope'))
        word = re.sub(r'\W+', '_', name.lower()).strip('_')
        if word:
            key += '_' + word
        if name.islower():
            name = name.title()
        label, window = '7-Day ' + (name or 'Scoped'), 7 * DAY
    if used is None:
        return None
    return make_limit(
        key, label, used, time_in(entry.get('resets_at'), 'resets_at'), window
    )


def scope_name(scope):
    """Return the name of the model, else of the surface, that a weekly limit is about.

    Each may be an object with a `display_name`, a plain text, or null; '' where there is neither.
    """
    for key in ('model', 'surface'):
        about = scope.get(key) if isinstance(scope, dict) else None
        if isinstance(about, dict):
            about = about.get('display_name')
        if text(about):
            return text(about)
    return ''


def entries(document, key):
    """Return the list under a key of a reply, its first LIMITS_MOST entries, or () for null.

    SourceError bad_reply for anything else.
    """
    found = document.get(key)
    if not isinstance(found, (list, type(None))):
        raise SourceError('bad_reply', key + ' is no list')
    return (found or ())[:LIMITS_MOST]


def parse_usage(document, at, via=''):
    """Return the Usage in a reply about usage: a whole report, each limit once.

    Percents are 0..100, never 0..1. Some limits stand both in a window of their own and in the
    list `limits`; the window counts. SourceError bad_reply for any other shape; rate_limited for
    an error that says so, which comes with status 200 too.
    """
    if not isinstance(document, dict):
        raise SourceError('bad_reply', 'usage is no object')
    limits = [parse_spend(document)]
    for key in NAMED_WINDOWS:
        limits.append(
            parse_window(key, mapping(document.get(key), key))
        )
    for key, value in document.items():
        if key not in NAMED_WINDOWS and key not in ('extra_usage', 'spend'):
            if isinstance(value, dict) and 'utilization' in value:
                limits.append(parse_window(clean(key) or 'other', value))
    told = {limit.id for limit in limits if limit}
    for limit in map(parse_listed, entries(document, 'limits')):
        if limit and limit.id.replace('weekly_scoped_', 'seven_day_') not in told:
            limits.append(limit)
    limits += map(parse_promo, entries(document, 'promo_credits'))
    found = [
        limit._replace(at=at, via=via) for limit in limits if limit
    ]
    error = document.get('error')
    if error is not None and not found:
        if isinstance(error, dict) and error.get('type') == 'rate_limit_error':
            raise SourceError('rate_limited')
        raise SourceError('bad_reply', 'it is an error')
    limits = sorted(found, key=rank)[:LIMITS_MOST]
    return Usage(tuple(told_apart(limits)), at)


def told_apart(limits):
    """Yield the Limits, those that share an id or a label numbered: '7-Day Fable 2'.

    Two scopes may bear one name. People know a limit by its label, scripts by its id.
    """
    ids, labels, shorts = {}, {}, {}
    for limit in limits:
        yield limit._replace(
            id=unused_name(limit.id, '_', ids),
            label=unused_name(limit.label, ' ', labels),
            short=unused_name(limit.short, ' ', shorts))


def unused_name(name, separator, taken):
    """Return `name`, or `name` with the first number that makes it new, and note it in `taken`.

    `taken` maps each name to its last number, so that many of one name take no longer than others.
    """
    unused, count = name, taken.get(name, 1)
    while unused in taken:
        count += 1
        unused = name + separator + str(count)
    taken[name] = count
    taken.setdefault(unused, 1)
    return unused


def rank(limit):
    """Return what Limits are sorted by.

    First come the windows known by name, then the limits of models, then all others; the usage
    credits are the last.
    """
    if limit.id in NAMED_WINDOWS:
        return NAMED_WINDOWS.index(limit.id)
    if limit.id.startswith('weekly_scoped'):
        return 10
    return 30 if limit.kind == 'spend' else 20


def parse_spend(document):
    """Return the Limit of the usage credits, or None where nothing is or may be spent.

    It is in `spend` where a reply has that, else in `extra_usage`; amounts are minor units. A
    reply whose credits are used up says so in `disabled_reason`.
    """
    paths = EXTRA_PATHS
    if field(document, 'spend.used'):
        paths = SPEND_PATHS
    used, limit, digits, percent = [
        field(document, path, number) for path in paths[:4]
    ]
    currency = (
        text(field(document, paths[4]))[:8].upper() or 'USD'
    )
    is_enabled = field(document, paths[5])
    reason = field(document, 'extra_usage.disabled_reason')
    is_out = reason == 'out_of_credits' and not is_enabled
    if not used and not is_enabled and not is_out:
        return None
    used = used or 0
    if digits is None or not 0 <= digits <= 6:
        digits = MINOR_DIGITS.get(currency, 2)
    if percent is None and limit:
        percent = 100 * used / limit
    elif percent is None and limit is not None:     # a cap of nothing
        percent = 100 if used else 0
    note = ''
    if is_out:
        percent, note = max(percent or 0, 100), 'Out of credits.'
    label, short, _ = LIMITS['extra_usage']
    return Limit('extra_usage', label, short, percent, kind='spend', note=note,
                 amount=Amount(used, limit, int(digits), currency))


def parse_profile(document, at=0.0):
    """Return the Account in a reply about the profile; any field of that may be missing."""
    if not isinstance(document, dict):
        raise SourceError('bad_reply', 'profile is no object')

    def told(path):
        return text(field(document, path))
    more = [badge for badge in ('MAX', 'PRO')
            if field(document, 'account.has_claude_' + badge.lower()) is True]
    return Account(
        uuid=told('account.uuid'),
        name=told('account.display_name') or told('account.full_name'),
        email=told('account.email'),
        organization=told('organization.name'),
        badges=badges_of(field(document, 'organization.organization_type'), *more),
        tier=told('organization.rate_limit_tier'),
        plan=told('organization.plan_display_name')[:40])


def account_of(snapshot, place):
    """Return the Account to show, each field from the best source that has it.

    The profile comes from the service, the identity from `.claude.json`, the rest from the login
    itself. Name and tier of the identity count first: the tier there is one's own, not the
    organization's, and the name stays when the profile comes.
    """
    profile = snapshot[place, 'profile'].value or Account()
    identity = snapshot[place, 'identity'].value or Account()
    login = getattr(snapshot[place, 'credentials'].value, 'login', None)
    shown = getattr(login, 'account', Account())
    own = Account(name=identity.name, tier=identity.tier)
    for better in (identity, profile, own):
        known = {
            name: value for name, value in better._asdict().items() if value
        }
        shown = shown._replace(**known)
    return shown


def account_name(snapshot, place):
    """Return what tells an account from others: its address, else its directory."""
    return account_of(snapshot, place).email or short_path(place)


NO_USAGE = Usage((), 0.0, is_whole=False)


def usage_of(snapshot, place):
    """Return the Usage that is known of a place; NO_USAGE before there is any."""
    return snapshot[place, 'usage'].value or NO_USAGE


def newest_whole(reports):
    """Return the newest of the whole reports; NO_USAGE where there is none."""
    return max((report for report in reports if report.is_whole),
               key=lambda report: report.at, default=NO_USAGE)


def merged(reports):
    """Return one Usage made of several reports; each Limit keeps its `at` and `via`.

    Of the whole reports the newest counts alone, so that a limit which the service has dropped is
    gone. The partial ones are laid over it, oldest first, where they are younger.
    """
    whole = newest_whole(reports)
    limits = {limit.id: limit for limit in whole.limits}
    partial = [limit for report in reports if not report.is_whole for limit in report.limits]
    for limit in sorted(partial, key=lambda limit: limit.at):
        known = limits.setdefault(limit.id, limit)
        if limit.at > known.at:
            limits[limit.id] = laid_over(known, limit)
    found = tuple(sorted(limits.values(), key=rank))
    return Usage(
        found, max([whole.at] + [limit.at for limit in found]), whole.is_whole
    )


def laid_over(known, told):
    """Return what is known of a Limit after a younger, partial report of it.

    Of two windows the one that ends later counts; a limit without a reset gives way. Of one
    window the higher percent counts, for a session that has been idle tells old numbers. Percents
    that differ by less than a point are one number, as one side rounds; then only `at` and `via`
    are renewed.
    """
    if known.resets_at is None or told.resets_at is None:
        return told
    if abs(known.resets_at - told.resets_at) >= SAME_WINDOW:
        return max(known, told, key=lambda limit: limit.resets_at)
    if known.used is None or told.used >= known.used:
        return told
    if known.used - told.used < 1:
        return known._replace(at=told.at, via=told.via)
    return known


def told_numbers(usage):
    """Return what a Usage tells, in a form that can be compared.

    Resets are compared to the minute, for they jitter by fractions of a second from reply to
    reply.
    """
    return [(limit.id, limit.used, limit.amount, round((limit.resets_at or 0) / MINUTE))
            for limit in usage.limits]


def has_moved(old, new):
    """Return whether a Usage tells other numbers than the one before it, which may be None."""
    return not old or told_numbers(old) != told_numbers(new)


def next_reset(usage, now):
    """Return the time of the next reset that a Usage tells of, or None."""
    return min((limit.resets_at for limit in usage.limits if (limit.resets_at or 0) > now),
               default=None)


def is_another_account(ours, theirs, now):
    """Return whether two Usages cannot be one account's: of a window that runs they tell two
    ends.

    A window that has ended, or not begun, is no evidence: a new one begins with the next request.
    """
    ends = {limit.id: limit.resets_at for limit in ours.limits}
    for limit in theirs.limits:
        first, second = ends.get(limit.id) or 0, limit.resets_at or 0
        if limit.id in STATUS_WINDOWS and min(first, second) > now:
            if abs(first - second) >= SAME_WINDOW:
                return True
    return False


class CodePoller(Asker):
    """Asks for usage and profile of Claude Code's account, and reads the feeds of usage.

    Usage has three kinds of reports: the service's reply to any monitor, whole reports of feeds,
    and the partial ones of Claude Code's status line. `merged` makes one Usage of them.
    """
    sources = ('usage', 'profile')
    modes = ('code',)
    is_of_account = True

    # source -> (path, parser)
    ENDPOINTS = {
        'usage': ('/api/oauth/usage', parse_usage),
        'profile': ('/api/oauth/profile', parse_profile),
    }

    def __init__(self, setup):
        interval = setup.options.interval
        usage = Rhythm(USAGE_INTERVAL, USAGE_INTERVAL_MOST, JITTER, WARY_SECONDS)
        if interval:
            usage = usage._replace(base=interval, most=interval)
        self.api = Api(setup.options.api_url)
        self.identity = self.login = None
        self.fed = {}               # Feed -> (its stamps, what it read)
        self.reports = []           # of this account's usage
        self.since = 0.0            # reports are of this account from then on
        super().__init__(setup, setup.place, {
            'usage': usage, 'profile': Rhythm(PROFILE_INTERVAL, PROFILE_INTERVAL)})

    def stamps(self):
        return super().stamps() + [
            stamp for feed in FEEDS for stamp in feed.stamps(self.env)
        ]

    def look(self):
        now, logins = self.clock(), self.setup.logins
        login = logins.look(now).login
        identity = logins.identity()
        before, self.identity = self.identity, identity
        self.tell('identity', Known(identity, 0.0, phase=PLANNED))
        is_same = not before or identity.uuid == before.uuid
        if not is_same:
            self.since, self.fed = now, {}      # the feeds may still tell the former account
        self.login = None if isinstance(login, Failure) else login
        token = fingerprint(login.token) if self.login else ''
        self.use_key(account_key(identity, self.env), token, is_same)
        if self.login:
            return True
        self.share()
        for source, failure in (('usage', login), ('profile', None)):
            at, value = self.value(source)
            self.tell(source, Known(value, at or None, failure, PLANNED))
        return False

    def share(self):
        super().share()
        self.take_reports()

    def take_reports(self):
        """Take what is known of this account's usage, by requests and by feeds.

        A whole report of a feed is noted as an attempt: it postpones the next request. A report
        that is another account's is ignored, and so is the block that its feed knows of.
        """
        now, own = self.clock(), self.parsed('usage', parse_usage)
        self.reports, self.refused_until = [own] if own else [], 0.0
        for feed in FEEDS:
            stamps = feed.stamps(self.env)
            if not stamps or self.fed.get(feed, (None,))[0] != stamps:
                seen = stamps if are_old(stamps, now) else None
                self.fed[feed] = seen, feed.read(
                    self.setup, self.replies, now
                )
            theirs, refused_until = self.fed[feed][1]
            told, known = theirs, newest_whole(self.reports)
            if not feed.names_account:
                told = [report for report in theirs if not is_another_account(known, report, now)]
            if told or not theirs:
                self.refused_until = max(self.refused_until, refused_until)
            for report in told:
                if self.since < report.at <= now:
                    self.reports.append(report)
                    if report.is_whole:
                        self.note_report(report, own)

    def note_report(self, report, own):
        """Note a whole report of a feed in the ledger, as a reply that came without a request."""
        attempt = Attempt(
            self.account,
            'usage',
            '',
            report.at,
            ended=report.at,
            code='ok',
            moved=has_moved(own, report),
            reset_at=next_reset(report, report.at),
        )
        self.ledger.setdefault(attempt.key, attempt)

    def value(self, source):
        if source == 'profile':
            return self.reply_time('profile'), self.parsed('profile', parse_profile)
        if not self.reports:
            return 0.0, None
        usage = merged(self.reports)
        return usage.at, usage

    def fed_at(self, source):
        if source != 'usage':
            return 0.0
        return max(
            (report.at for report in self.reports if not report.is_whole), default=0.0
        )

    def is_old(self, source):
        usage = self.value(source)[1]
        is_once = self.max_age is not None and source == 'usage' and usage and usage.is_whole
        if is_once and min((limit.at for limit in usage.limits), default=usage.at) < (
                self.asked_at - FED_INTERVAL):
            return True                 # what the status line does not tell is older
        return super().is_old(source)

    def is_settled(self, snapshot):
        usage = snapshot[self.place, 'usage']
        if usage.is_settled and usage.failure:
            return True
        return super().is_settled(snapshot)

    def request(self, source, attempt):
        path, parse = self.ENDPOINTS[source]
        token = self.login.token
        headers = dict(OAUTH_HEADERS, Authorization='Bearer ' + token)
        document, failure = tried(self.api.get, path, headers, token)
        now = self.clock()
        if source == 'usage':
            ahead = (self.api.date or now) - now
            self.tell(
                'took', Known((self.api.took, ahead), now)
            )
        if not failure:
            value, failure = tried(parse, document, now)
        if failure:
            return attempt.outcome(failure)
        body = SECRET.sub('[secret]', json.dumps(document))     # which the service may echo
        if source == 'profile':
            self.keep(source, body, now)
            return attempt.outcome()
        before = self.parsed('usage', parse_usage)
        self.keep(source, body, now, value.rates)
        self.take_reports()
        return attempt.outcome(
            moved=has_moved(before, value), reset_at=next_reset(value, now)
        )


class Status(NamedTuple):
    """What Claude Code tells its status line."""
    limits: dict                # id -> Limit
    model: str
    session: str                # a fingerprint; '' where it is not told
    duration: Optional[float]   # of all requests of the session so far; None likewise


def parse_status(document, now):
    """Return the Status in the document that Claude Code passes to its status line.

    Whatever is odd in it is left out, for a status line must never break the prompt. Where the
    session or its duration is missing, the numbers alone identify a reply.
    """
    def told(path, parse=None):
        return tried(field, document, path, parse)
    limits = {}
    for key in STATUS_LIMITS:
        path = 'rate_limits.%s.' % key
        used, _ = told(path + 'used_percentage', number)
        resets_at, odd = told(path + 'resets_at', time_in)
        dollars, most = [
            told(path + name, number)[0] for name in ('used_usd', 'limit_usd')
        ]
        if used is not None and not odd:
            amount = dollar_amount(dollars, most)
            limits[key] = status_limit(key, (used, resets_at, now, amount))
    session, duration = told('session_id')[0], told('cost.total_api_duration_ms')[0]
    if not isinstance(session, str) or not is_number(duration):
        session, duration = '', None
    return Status(limits, text(told('model.display_name')[0]), session and fingerprint(session),
                  duration)


def status_limit(key, window):
    """Return the Limit of a window as a status line tells it, and as the store has it.

    A window is [percent, resets_at, when it was first seen, the fields of its Amount or None].
    """
    used, resets_at, at, amount = window
    return make_limit(key, key, used, resets_at, None, at=at, via='Claude Code',
                      amount=amount and Amount(*amount))


def is_running(limit, now):
    """Return whether the window of a Limit has not ended."""
    return limit.resets_at is None or limit.resets_at > now


def read_session(body):
    """Return (the Limits by their id, the duration) of a session as it is stored.

    Of anything odd, such as another version of this program stores, it is ({}, None).
    """
    try:
        session = json.loads(body)
        return {key: status_limit(key, window) for key, window in
                session['windows'].items()}, session['duration']
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}, None


def sessions_in(replies, now):
    """Yield (part, Usage) of each session that is stored: of its windows those that still run.

    Several sessions run side by side, maybe for different accounts.
    """
    for part, (_, body) in replies.items():
        if part.startswith('session '):
            limits = [
                limit
                for limit in read_session(body)[0].values()
                if is_running(limit, now)
            ]
            newest = max((limit.at for limit in limits), default=0.0)
            yield part, Usage(tuple(limits), newest, is_whole=False)


def read_sessions(setup, replies, now):
    """Read the feed of Claude Code's status lines -> (Usages, 0.0)."""
    return [report for _, report in sessions_in(replies, now)], 0.0


def take_status(store, account, told, cached, now):
    """Store what a Status tells; return (the Usage that is known then, the stored replies).

    Claude Code runs the command again without any new reply: a window with the same numbers, in
    the same session after as much work, is as old as when it was first seen. A report of another
    account than the newest of our own reply and the `cached` one is not stored, and other
    sessions that contradict this one are not taken. SourceError where there is no store.
    """
    replies = store.recall(account, '', now).replies
    part = 'session ' + told.session
    seen, duration = read_session(
        replies.get(part, (0.0, ''))[1]
    )
    limits = dict(told.limits)
    for key, known in seen.items():
        if key in limits:
            after = laid_over(known, limits[key])
            if duration == told.duration:   # idle sessions take turns, and each rounds its own way
                after = after._replace(at=known.at)
            is_kept = after == known
        else:
            is_kept = is_running(known, now)    # this reply does not tell it
        if is_kept:
            limits[key] = known
    report = Usage(tuple(limits.values()), now)
    reports = [cached] if cached else []
    if 'usage' in replies:
        at, body = replies['usage']
        reports.append(parse_usage(json.loads(body), at))
    whole = newest_whole(reports)
    if is_another_account(whole, report, now):
        return report, replies
    if limits and limits != seen:
        windows = {limit.id: (limit.used, limit.resets_at, limit.at, limit.amount)
                   for limit in report.limits}
        replies[part] = now, json.dumps(
            {'duration': told.duration, 'windows': windows}
        )
        changes = {(account, part): replies[part]}
        for name, session in sessions_in(replies, now):
            if name != part and not session.limits:
                changes[account, name] = now, None      # all that it told of has ended
        tried(
            store.add,
            (),
            changes,
            (account, report.limits),
            now,
        )
    for _, session in sessions_in(replies, now):
        if not any(is_another_account(known, session, now) for known in (whole, report)):
            reports.append(session)
    return merged(reports), replies


def cached_usage(document, now):
    """Return the whole report in `cachedUsageUtilization` of `.claude.json`, or None.

    Claude Code writes its own last reply there, at most once a minute, with the account it is of.
    """
    cached, owner, own = [tried(field, document, path)[0] for path in (
        'cachedUsageUtilization', 'cachedUsageUtilization.accountUuid',
        'oauthAccount.accountUuid')]
    at, _ = tried(field, document, 'cachedUsageUtilization.fetchedAtMs', number)
    if not at or not 0 < at / 1000 <= now or not owner or owner != own:
        return None
    return tried(
        parse_usage, cached.get('utilization'), at / 1000, 'Claude Code'
    )[0]


def read_cached(setup, replies, now):
    """Read the feed of Claude Code's own last reply -> (Usages, 0.0)."""
    cached = cached_usage(setup.logins.document, now)
    return [cached] if cached else [], 0.0


def status_padding(env):
    """Return `statusLine.padding` of Claude Code's settings; 0 where that cannot be read."""
    path = os.path.join(config_folder(env), 'settings.json')
    padding, _ = tried(
        lambda: field(read_json(path, 'settings'), 'statusLine.padding', number)
    )
    if not padding or not 0 <= padding < 100:
        return 0
    return int(padding)


def read_document(stream):
    """Return the JSON document on a stream, or None.

    It is complete before the stream ends, or within STATUS_SECONDS.
    """
    import select
    data, end = b'', time.monotonic() + STATUS_SECONDS
    while len(data) < BODY_MOST:
        left = max(0, end - time.monotonic())
        # On Windows only sockets can be waited for.
        if not WINDOWS and not select.select([stream], [], [], left)[0]:
            return None
        more = os.read(stream.fileno(), 65536)
        data += more
        if not more or more.rstrip().endswith(b'}'):        # else it cannot be complete
            document, failure = tried(parse_json, data)
            if not failure or not more:
                return document
    return None


def show_statusline(options):
    """Print one line for Claude Code's prompt, which nothing may break: it always ends with 0.

    Claude Code shows the width of the terminal less STATUS_MARGIN and twice the padding.
    """
    env, now, document = os.environ, time.time(), None
    try:
        if sys.stdin and not is_terminal(sys.stdin):
            document = read_document(sys.stdin)
    except OSError:
        pass
    told, logins = parse_status(document, now), Logins(env)
    limits, tails = dict(told.limits), {}
    identity = logins.identity()
    try:
        usage, replies = take_status(
            store_of(env), account_key(identity, env), told,
            cached_usage(logins.document, now), now)
        limits.update(
            (limit.id, limit) for limit in usage.limits if is_running(limit, now)
        )
        for part in LIMIT_PARTS:
            tails.update(part.stored_tails(replies, limits.values(), Moment(now)))
    except (SourceError, OSError, ValueError, LookupError, TypeError, AttributeError):
        pass                            # what is told is shown all the same
    usage = Usage(tuple(sorted(limits.values(), key=rank)))
    width, ends = WIDTH_MOST, '▕▏'
    columns = size_given('COLUMNS', 0)
    if columns:
        width = max(1, columns - STATUS_MARGIN - 2 * status_padding(env))
    is_plain = options.ascii or not unicode_terminal()
    if is_plain:
        ends = '||'
    line = status_line(
        usage, told.model, Moment(now), width, ends, tails
    )
    if is_plain:
        line = ascii_line(line)
    choice = options.color
    if choice == 'auto' and not env.get('NO_COLOR'):
        choice = 'always'               # to a pipe too: Claude Code shows them
    try:
        emit(as_text([line], colour_depth(choice)), sys.stdout)
    except OSError:
        pass                            # nobody reads it
    return 0


def status_line(usage, model, moment, width, ends, tails={}):
    """Return the line for the prompt in at most `width` cells.

    '5h 78% ▕████▋░▏ 3h45m →88% · 7d 34% · Opus': the first window has a bar between the two
    `ends`, a countdown, and where it lands, if `tails` tell that. In less room the bar goes
    first, then the landing, the countdown, the model, and last all but the first percent.
    """
    limits = [limit for limit in usage.limits if limit.id in STATUS_LIMITS]
    models = [(Span(model, 'soft'),)]
    if limits:
        first, bare = limits[0], [number_spans(limit) for limit in limits]
        others = [number_spans(limit, has_dollars=True) for limit in limits[1:]]
        warned = [number_spans(limit, True, None, warning(tails.get(limit.id, ())))
                  for limit in limits[1:]]
        tail = tails.get(first.id, ())
        lines = [
            [number_spans(first, True, moment, tail, ends)] + warned + models,
            [number_spans(first, True, moment, tail)] + warned + models,
            [number_spans(first, True, moment, warning(tail))] + others + models,
            [number_spans(first, True, moment)] + others + models,
            bare + models,
            bare,
            bare[:1],
            [bare[0][1:2]],
        ]
    else:
        numbers = summary_line(usage, moment, width)
        lines = [[numbers] + models, [numbers]]
    line = fitting(
        [joined(parts, ' · ') for parts in lines], width, width_of
    )
    return trimmed(fit(line, min(width, width_of(line))))


def warning(tail):
    """Return the spans of a tail if it warns: the limit runs out."""
    return tuple(span for span in tail if span.text.startswith('⚠'))


def number_spans(limit, has_dollars=False, moment=None, tail=(), ends=''):
    """Return the spans of the name and the percent of a Limit.

    With a moment it has a countdown, with `ends` a bar between them, and at the end the tail. The
    spend limit of a gateway has its dollars instead of a countdown.
    """
    name = Span(limit.short + ' ')
    if limit.used is None:
        return name, Span(amount_words(limit.amount))
    role = level(limit.used)
    spans = name, Span('%d%%' % percent_shown(limit.used), role)
    if ends:
        spans += (Span(' ' + ends[0], 'dim'),) + bar(
            limit.used, STATUS_BAR, role
        )
        spans += (Span(ends[1], 'dim'),)
    if has_dollars and limit.id == 'spend_limit' and limit.amount:
        used, most = limit.amount.used / 100, limit.amount.limit / 100
        spans += (Span(' $%d of $%d' % (used, most), 'soft'),)
    elif moment and limit.kind != 'spend':
        spans += (Span(' ' + short_left(limit, moment), 'soft'),)
    if tail:
        spans += (Span(' '),) + tail
    return spans


def summary_line(usage, moment, width, tails={}):
    """Return the limits in one line of at most `width` cells.

    Where there is not room for all, the tails go first, then the countdowns, then the last
    limits.
    """
    limits, gap = usage.limits, '  '
    long = [
        number_spans(limit, True, moment, tails.get(limit.id, ()))
        for limit in limits
    ]
    short = [number_spans(limit, True, moment) for limit in limits]
    bare = [number_spans(limit) for limit in limits]
    lines = [joined(parts, gap) for parts in (long, short, bare)]
    for count in range(min(len(limits) - 1, width), 0, -1):
        lines.append(
            joined(bare[:count], gap) + (Span(' …'),)
        )
    return fitting(lines, width, width_of)


def limit_names(limit):
    """Return what a Limit is called beside its bar, the longest name first."""
    name = limit.label.replace('7-Day ', '')
    if limit.kind != 'rate':
        return limit.label + ':', limit.short + ':', limit.short
    return (
        limit.label + ' Usage:',
        limit.label + ':',
        name + ':',
        name,
        limit.short,
    )


def landing_tails(limits, scene):
    """Return {id: the spans of what other features tell of a Limit in a few cells}."""
    return {limit.id: sum((part.tail(scene, limit) for part in LIMIT_PARTS), ())
            for limit in limits}


def limit_rows(limit, columns, scene, landing):
    """Yield the rows of one Limit: its bar, its reset, its amount where it is about money.

    Other features may add rows of their own. In compact form the countdown stands behind the bar,
    and the `landing` if there is room; there are no rows for the reset and for these.
    """
    if limit.used is None:
        amount = amount_words(limit.amount)
        yield Row(LIST, 'Usage credits: %s, no limit' % amount,
                  'Credits %s, no limit' % amount, 'Credits ' + amount, amount)
        return
    tail = ''
    if limit.kind != 'spend':
        tail = short_left(limit, scene.moment)
    if columns.tail > TAIL_CELLS:
        landing = ''.join(span.text for span in landing)
        tail += ' ' + landing.ljust(columns.tail - TAIL_CELLS - 1)
    yield Row(LIST, bar_line(limit_names(limit), limit.used, columns, tail,
                             elapsed=elapsed_part(limit, scene.moment, columns.bar)))
    has_reset = limit.kind == 'rate' or limit.resets_at is not None
    if has_reset and not scene.compact:
        mark = scene.icon('⏰')
        yield Row(LIST, *[mark + words for words in reset_words(limit, scene.moment)],
                  role='soft')
        for part in LIMIT_PARTS:
            yield from part.rows(scene, limit)
    if limit.amount:
        yield Row(NOTE, amount_words(limit.amount), role='soft')
    if limit.note:
        yield Row(NOTE, limit.note, role='alert')


def account_rows(scene):
    """Yield the rows of who is logged in: name and address, organization and badges, tier.

    The badge is the plan's own name where the service tells one.
    """
    account = account_of(scene.snapshot, scene.place)
    who = account.name or account.email
    if account.name and account.email:
        who = '%s (%s)' % (account.name, account.email)
    if who:
        yield Row(
            PERSON, (Span(scene.icon('👤')), Span(who, 'strong'))
        )
    badges = account.badges
    if account.plan:
        badges = (account.plan,)
    if account.organization or badges:
        line = (Span(scene.icon('🏢') + account.organization),)
        for index, badge in enumerate(badges):
            if index or account.organization:
                badge = '  ' + badge
            line += (Span(badge, 'badge'),)
        yield Row(ORGANIZATION, line)
    if account.tier:
        yield Row(DECOR, scene.icon('⚡') + 'Tier: ' + account.tier)


def usage_rows(scene):
    """Yield the rows of all limits, and of an account that has none the words for that."""
    usage = scene.known('usage').value
    if not usage:
        return
    shorts = [limit.short for limit in usage.limits]
    landings = landing_tails(usage.limits, scene)
    more = max(map(width_of, landings.values()), default=0)
    columns = columns_for(scene.width, shorts, scene.compact, more and more + 1)
    for index, limit in enumerate(usage.limits):
        if index:
            yield Row(BLANK)
        yield from limit_rows(limit, columns, scene, landings[limit.id])
    if not usage.rates:
        if usage.limits:
            yield Row(BLANK)
        words = ONLY_CREDITS if usage.limits else NO_LIMITS
        for line in wrap(words, scene.width):
            yield Row(NOTE, line, role='soft')


def end_rows(scene):
    """Yield the rows below the numbers: when they came and from whom, and what is wrong.

    When the next request comes is told where that takes longer than usual.
    """
    known, moment = scene.known('usage'), scene.moment
    more = []
    newest = max(usage_of(scene.snapshot, scene.place).limits, key=lambda limit: limit.at,
                 default=None)
    if newest and newest.via:
        more.append(' via ' + newest.via)
    wait = (known.next_at or 0) - (known.at or moment.now)
    if wait > LATER_SECONDS and not known.failure:
        more.append(', next ' + moment.clock(known.next_at))
    yield updated_row(known, scene, *more)
    yield from trouble_rows(known, scene)


def code_summary(scene):
    """Return (the limits in one line, words) for a screen of one or two rows."""
    usage = scene.known('usage').value
    if not usage:
        return (), ''
    if not usage.limits:
        return (), NO_LIMITS
    tails = landing_tails(usage.limits, scene)
    return summary_line(usage, scene.moment, scene.width, tails), ''


def judged_usage(snapshot, place):
    """Return the Usage that --check judges.

    Without a whole report the status line has to tell both of its windows, or one is not known.
    """
    usage = usage_of(snapshot, place)
    ids = {limit.id for limit in usage.limits}
    return Usage(
        usage.rates, usage.at, usage.is_whole or ids.issuperset(STATUS_WINDOWS)
    )


def spend_json(snapshot, place):
    """Return the usage credits as values of JSON, in units of their currency; None without."""
    for limit in usage_of(snapshot, place).limits:
        if limit.kind == 'spend':
            amount = limit.amount
            scale, most = 10 ** amount.digits, None
            if amount.limit is not None:
                most = amount.limit / scale
            return {'used': amount.used / scale, 'limit': most, 'currency': amount.currency,
                    'used_percent': limit.used}
    return None


def code_json(snapshot, place, moment, mode):
    """Return the account and its usage credits as values of JSON."""
    account = account_of(snapshot, place)
    return {
        'account': {'name': account.name or None, 'email': account.email or None,
                    'organization': account.organization or None, 'badges': account.badges,
                    'tier': account.tier or None},
        'extra_usage': spend_json(snapshot, place),
        'sources': {source: source_json(snapshot[place, source], moment, 'code')
                    for source in CodePoller.sources}}


def code_metrics(snapshot, place, moment, mode):
    """Return the samples of the usage credits for Prometheus: name -> [(labels, value)]."""
    found, spend = {}, spend_json(snapshot, place)
    if spend:
        labels = {'currency': spend['currency']}
        found['extra_used'] = [(labels, spend['used'])]
        if spend['limit'] is not None:
            found['extra_limit'] = [(labels, spend['limit'])]
    return found


def find_logins(setup, snapshot, moment):
    """Yield the Findings about each place where a login may be, and about whose login it is.

    The scopes of a login tell whether it can read usage at all.
    """
    env, now = setup.env, moment.now
    for read in LOGIN_PLACES:
        place = short_path(config_path(env, '.credentials.json'))
        if read is login_in_keychain:
            place = 'Keychain, ' + keychain_names(env)[0]
        login, failure = tried(lambda: parse_login(read(env)))
        if failure:
            yield Finding(False, place, message(failure, None, moment))
            continue
        code = login_failure(login, now)
        words = 'no expiry told'
        if login.expires_at is not None:
            left, at = login.expires_at - now, moment.clock(login.expires_at)
            words = 'expires in %s (%s)' % (countdown(left), at)
            if left <= 0:
                words = 'expired %s ago (%s)' % (countdown(-left), at)
        words += ', scopes %s.' % (' '.join(login.scopes) or 'not told')
        if code:
            words += ' ' + message(Failure(code), None, moment)
        yield Finding(not code, place, words)
    has_token = bool(env.get('CLAUDE_CODE_OAUTH_TOKEN'))
    words = 'not set, nor needed where there is a login.'
    if has_token:
        words = ('set; it cannot read usage. Claude Code itself would use that token, '
                 'perhaps of another account.')
    yield Finding(has_token, 'CLAUDE_CODE_OAUTH_TOKEN', words)
    path = config_path(env, '.claude.json')
    document, failure = tried(read_json, path, 'identity', account_document)
    account = parse_identity(document)
    words = 'tells no account. Run `claude` to log in.'
    if failure:
        words = message(failure, None, moment)
    elif account:
        names = filter(None, (account.email, account.organization))
        words = ', '.join(names) + '.'
    yield Finding(bool(account), short_path(path), words)


def find_usage(setup, snapshot, moment):
    """Yield the Finding about the service, which was just asked for usage, and about its clock.

    It is good news too that the service has to be left alone for a while.
    """
    known = snapshot[setup.place, 'usage']
    took, ahead = snapshot[setup.place, 'took'].value or (None, 0)
    if abs(ahead) >= CLOCK_OFF:
        yield Finding(False, 'Clock', "this machine's differs from the server's by %s. Set it." % (
            countdown(abs(ahead))))
    if known.failure:
        words = message(known.failure, known.next_at, moment)
        if took is not None:
            words += ' The request took %.2f s.' % took
        yield Finding(known.failure.code == 'rate_limited', 'Code mode', words)
    elif took is None:
        yield Finding(True, 'Code mode', 'numbers of %s ago; the service may be asked at %s.' % (
            countdown(moment.age(known.at)), moment.clock(known.free_at)))
    else:
        yield Finding(True, 'Code mode', 'the service answered in %.2f s.' % took)


def demo_code(now):
    """Yield the Readings of the invented accounts: who they are, and a usage reply each."""
    names = {'display_name': 'Ada Example', 'email': 'ada@example.com'}
    profiles = [
        {'account': names,
         'organization': {'organization_type': 'claude_max',
                          'rate_limit_tier': 'default_claude_max_5x'}},
        {'account': dict(names, email='ada@engines.example'),
         'organization': {'name': 'Example Engines', 'organization_type': 'claude_enterprise',
                          'rate_limit_tier': 'default_claude_max_20x'}}]
    extra = {'is_enabled': True, 'monthly_limit': 2000, 'currency': 'EUR', 'used_credits': 859}
    for profile, (place, windows) in zip(profiles, demo_windows(now).items()):
        reply = {name: {'utilization': used, 'resets_at': resets_at}
                 for name, (_, used, resets_at) in windows.items()}
        model = reply.pop('weekly_scoped_fable', None)
        if model:
            reply['extra_usage'] = extra
            reply['limits'] = [{
                'kind': 'weekly_scoped', 'group': 'weekly', 'percent': model['utilization'],
                'resets_at': model['resets_at'], 'scope': {'model': {'display_name': 'Fable'}}}]
        usage = parse_usage(reply, now)
        yield Reading(
            place, 'profile', Known(parse_profile(profile), now, None, PLANNED)
        )
        yield Reading(
            place, 'usage', Known(usage, now, None, PLANNED, now + 1, now)
        )


CODE_TITLE = 'Claude Code Usage'
MODES['code'] = Mode(
    source='usage', needs='Claude Code login', title=CODE_TITLE,
    known=lambda snapshot, place: snapshot[place, 'usage'],
    name=account_name,
    summary=code_summary, limits=judged_usage)
PARSERS['usage'] = parse_usage
POLLERS.append(CodePoller)
FEEDS += [      # the later ones are judged by what the earlier ones tell
    Feed(lambda env: (), read_cached, True),
    Feed(lambda env: (), read_sessions),
]
PANELS += [
    Panel(0, ('code',), CODE_TITLE, account_rows),
    Panel(1, ('code',), CODE_TITLE, usage_rows),
    Panel(9, ('code',), CODE_TITLE, end_rows),
]
DOCUMENTS.append(Document(
    json=code_json, metrics=code_metrics, helps={
        'extra_used': 'Usage credits used, in their currency.',
        'extra_limit': 'The most usage credits that may be used, in their currency.',
    },
    has_numbers=lambda snapshot, place, mode: bool(
        mode == 'code' and usage_of(snapshot, place).limits)))
OPTIONS['--statusline'] = {
    'action': 'store_const', 'dest': 'output', 'const': 'statusline',
    'help': "the command for Claude Code's statusLine setting"}
COMMANDS['statusline'] = show_statusline
FINDINGS += [find_logins, find_usage]
DEMOS.append(demo_code)


# ---- Outlook -----------------------------------------------------------------------------------
# Where a limit will land at its reset: a range that holds 7 times in 10, learned from how far
# one's own past windows moved from the same point on. All of it is pure.

SILENT_ELAPSED, SILENT_USED = 5, 3      # percent: below these there is no outlook
SILENT_AGE = 1 / 10         # part of the window: an older number says too little about now
COURSE_PARTS = 12           # equal parts of a window, at whose ends a Summary has its course
RECENT_PART = 1 / 8         # part of the window that counts as "of late"
LEARNED_WINDOWS = 200       # only the newest windows are learned from, ...
LEARNED_SECONDS = 366 * DAY         # ... and none that are older
FULL = 99.5                 # percent that the service shows as 100
NEARLY_FULL = 95            # percent from which a 5-hour window tells its part of the week
LEAST_FULL_WINDOWS = 3      # so many of them make a median

# Window ends to go by where few are known: these multiples of the average and of the slope.
# All of them together weigh as much as GUESS_WEIGHT past windows that are exactly like this one.
GUESSES = (0, 0.5, 1, 2)
GUESS_WEIGHT = 0.5
LOW_SHARE, HIGH_SHARE = 0.15, 0.85      # of the weight of all ends: 7 in 10 lie between

# How unlike two windows are. A difference as large as a scale lowers the weight to 0.6, twice
# as large to 0.14. Percents are compared by their ratio, after the addition of some points.
USED_SCALE, USED_POINTS = 0.7, 25
RECENT_SCALE, RECENT_POINTS = 0.8, 10
HOUR_SCALE = 1.5            # hours of the day
SATURDAY = 5                # from this tm_wday on it is the weekend, ...
WEEKEND_UNLIKENESS = 0.5    # ... which is so unlike other days
HALF_LIFE = 50 * DAY        # a window that is so old weighs half as much
USED_PULL = 0.4             # a window that has used twice as much moves 2 ** 0.4 times as far


class Summary(NamedTuple):
    """A finished window, in numbers that JSON and SQL can keep."""
    start: float
    resets_at: float
    course: Tuple[float, ...]               # percent at the ends of COURSE_PARTS parts
    peak: float                             # the highest percent shown
    full_at: Optional[float]                # when 100 was reached
    seen_until: float                       # the course is known up to here

    @property
    def points(self):
        """The course as [(at, percent)]."""
        step = (self.resets_at - self.start) / COURSE_PARTS
        return [
            (self.start + step * index, used)
            for index, used in enumerate(self.course)]


class Standing(NamedTuple):
    """What makes windows alike, at one moment of a window."""
    at: float
    used: float                             # percent
    recent: float                           # percent used of late


class Course(NamedTuple):
    """The samples of one window."""
    resets_at: float
    points: list                            # (at, percent): neither ever falls
    peak: float                             # the highest percent shown


def outlook_from(samples, past, resets_at, window_seconds, now):
    """The Outlook of a window from its own samples and the summaries of the past, oldest first.

    It is silent (`low` and `high` are None) early in a window, where little is used, where the
    newest number is old, and at 100 %.
    """
    if not resets_at or not window_seconds:
        return Outlook()
    left = resets_at - now
    if not 0 < left <= window_seconds:
        return Outlook()
    past = [
        window for window in past[-LEARNED_WINDOWS:]
        if 0 <= now - window.resets_at < LEARNED_SECONDS]
    elapsed = window_seconds - left
    points = current_points(samples, resets_at, window_seconds, now)
    newest, used = points[-1]
    silent = Outlook(
        rate=max(0.0, 100 - used) / left * HOUR,
        windows_seen=len(past),
        elapsed=100 * elapsed / window_seconds)
    if silent.elapsed < SILENT_ELAPSED or not SILENT_USED <= used < 100:
        return silent
    if now - newest > SILENT_AGE * window_seconds:
        return silent

    span = min(elapsed, RECENT_PART * window_seconds)
    recent = used - percent_at(points, now - span)
    current = Standing(now, used, recent)
    ends = guessed_ends(used / elapsed * left)
    ends += guessed_ends(recent / span * left)
    ends += learned_ends(past, current, elapsed / window_seconds)
    low = share_of(ends, LOW_SHARE)
    high = share_of(ends, HIGH_SHARE)
    return silent._replace(
        low=used + low,
        high=used + high,
        out_from=run_out(used, high, left, now),
        out_until=run_out(used, low, left, now))


def current_points(samples, resets_at, window_seconds, now):
    """The points of the window that ends at `resets_at`, out of samples of any windows."""
    own = []
    for at, used, end in samples:
        if end and abs(end - resets_at) <= SAME_WINDOW:
            own.append((at, used, resets_at))
    for course in courses(own, window_seconds, now):
        return course.points
    return [(resets_at - window_seconds, 0.0)]


def without_repeats(samples):
    """Samples of one window, oldest first, without those between two of the same number.

    The Outlook stays exactly as it is; of a quiet week, few samples need to be kept in memory.
    """
    kept = []
    for sample in samples:
        if len(kept) > 1 and kept[-2][1] == kept[-1][1] == sample[1]:
            kept.pop()
        kept.append(sample)
    return tuple(kept)


def run_out(used, moves, left, now):
    """When 100 is reached by a window that moves so many percent in the seconds left, or None."""
    if used + moves < 100:
        return None
    return now + left * (100 - used) / moves


def guessed_ends(moves):
    """[(how many percent it may move until its end, weight)] by the average or the slope."""
    weight = GUESS_WEIGHT / len(GUESSES) / 2
    return [
        (factor * moves, weight)
        for factor in GUESSES]


def learned_ends(past, current, part):
    """[(how many percent it moved until its end, weight)] of the past windows, from a part on.

    A window that was full before its end would have moved on as fast as until then. One whose
    samples end early weighs less.
    """
    ends = []
    for window in past:
        seconds = window.resets_at - window.start
        then = window.start + part * seconds
        rest = window.resets_at - then
        points = window.points
        used = percent_at(points, then)
        if used >= FULL or window.seen_until <= then:
            continue
        moved = window.course[-1] - used
        before = percent_at(points, then - RECENT_PART * seconds)
        standing = Standing(then, used, used - before)
        weight = likeness(current, standing)
        if window.full_at is None:
            weight *= (window.seen_until - then) / rest
        elif window.full_at > then:
            moved *= rest / (window.full_at - then)
        moved *= ratio_of(current.used, used, USED_POINTS) ** USED_PULL
        ends.append((moved, weight))
    return ends


def likeness(current, past):
    """The weight, 0..1, of a past Standing for the current one. Days and hours are local."""
    day = time.localtime(current.at)
    past_day = time.localtime(past.at)
    hours = day.tm_hour - past_day.tm_hour
    hours += (day.tm_min - past_day.tm_min) / 60
    hours = min(abs(hours), 24 - abs(hours))
    used = ratio_of(current.used, past.used, USED_POINTS)
    recent = ratio_of(current.recent, past.recent, RECENT_POINTS)
    unlike = (math.log(used) / USED_SCALE) ** 2
    unlike += (math.log(recent) / RECENT_SCALE) ** 2
    unlike += (hours / HOUR_SCALE) ** 2
    is_weekend = day.tm_wday >= SATURDAY
    if is_weekend != (past_day.tm_wday >= SATURDAY):
        unlike += WEEKEND_UNLIKENESS
    age = current.at - past.at
    return math.exp(-unlike / 2) * 0.5 ** (age / HALF_LIFE)


def ratio_of(used, past_used, points):
    """The ratio of two percents; points are added to both, so that small ones are alike."""
    return (used + points) / (past_used + points)


def share_of(ends, share):
    """The value below which a share (0..1) of the weight lies, of [(value, weight)].

    Each value stands in the middle of its weight; between two, the line through them counts.
    """
    ends = sorted(ends)
    wanted = share * sum(weight for _, weight in ends)
    below = 0.0
    last_middle = 0.0
    last_value = ends[0][0]
    for value, weight in ends:
        middle = below + weight / 2
        if middle > wanted:
            way = (wanted - last_middle) / (middle - last_middle)
            return last_value + (value - last_value) * way
        last_value = value
        last_middle = middle
        below += weight
    return last_value


def courses(samples, window_seconds, now):
    """Samples (at, used, resets_at) -> a Course of each window, by its end.

    Samples without a reset, dated ahead, or outside their window, are left out. The points begin
    with 0 at the start. None is above a later one: a fall is the service's correction of earlier
    numbers.
    """
    told = {}
    for at, used, resets_at in samples:
        if resets_at:
            told.setdefault(resets_at, []).append((at, used))
    groups = []
    for resets_at in sorted(told):
        if not groups or resets_at - groups[-1][0] > SAME_WINDOW:
            groups.append((resets_at, []))
        groups[-1][1].extend(told[resets_at])

    found = []
    for resets_at, group in groups:
        start = resets_at - window_seconds
        end = min(now, resets_at + SAME_WINDOW)
        points = sorted(point for point in group if start < point[0] <= end)
        if not points:
            continue
        peak = least = max(used for _, used in points)
        for index in reversed(range(len(points))):
            at, used = points[index]
            if used > least:
                points[index] = at, least
            else:
                least = used
        points.insert(0, (start, 0.0))
        found.append(Course(resets_at, points, peak))
    return found


def percent_at(points, when):
    """The percent at a time, by points (at, percent) and the lines between them.

    Before the first point and after the last one it stays as it is.
    """
    index = bisect.bisect(points, (when, math.inf))
    at, used = points[max(0, index - 1)]
    if 0 < index < len(points):
        next_at, next_used = points[index]
        used += (next_used - used) * (when - at) / (next_at - at)
    return used


def summaries(samples, window_seconds, now):
    """Samples (at, used, resets_at) -> a Summary of each finished window, oldest first."""
    found = []
    for course in courses(samples, window_seconds, now):
        if course.resets_at > now:
            continue
        start = course.resets_at - window_seconds
        step = window_seconds / COURSE_PARTS
        full = [at for at, used in course.points if used >= FULL]
        found.append(Summary(
            start=start,
            resets_at=course.resets_at,
            course=tuple(
                round(percent_at(course.points, start + step * index), 1)
                for index in range(COURSE_PARTS + 1)),
            peak=course.peak,
            full_at=min(full, default=None),
            seen_until=course.points[-1][0]))
    return tuple(found)


def week_parts(fives, samples, week_seconds, now):
    """[(peak, percent of the week)] of the finished 5-hour windows that were nearly full.

    `fives` are their summaries, `samples` those of the 7-day limit. A window in which the week
    ended is left out.
    """
    full = [five for five in fives if five.peak >= NEARLY_FULL]
    pairs = []
    for week in courses(samples, week_seconds, now):
        for five in full:
            if five.start < week.points[0][0] or five.resets_at > week.resets_at:
                continue
            before = percent_at(week.points, five.start)
            after = percent_at(week.points, five.resets_at)
            pairs.append((five.peak, after - before))
    return pairs


def full_windows_left(week_percent_left, seconds_left, pairs):
    """How many full 5-hour windows the rest of the week has room for; None if that is unknown.

    `pairs` are those of `week_parts`; at least three must have moved the week. The median of their
    percents of the week, each carried on to 100 % of the window, is what a full window takes.
    There are no more windows than there is time for.
    """
    parts = sorted(
        percent * 100 / peak
        for peak, percent in pairs
        if percent > 0)
    if len(parts) < LEAST_FULL_WINDOWS:
        return None
    middle = len(parts) // 2
    median = (parts[middle] + parts[-1 - middle]) / 2
    left = min(week_percent_left / median, seconds_left / (5 * HOUR))
    return max(0.0, left)


FEW_WINDOWS = 5                 # fewer past windows than this are told
HISTORY_DAYS = 35               # of the panel, and as long as samples are kept
HISTORY_BAR = 8                 # cells of the bar of a day
STORED_INTERVAL = 300           # seconds between two outlooks that are stored for the status line
STORED_MAX_AGE = 600            # seconds; the status line shows no older one
# The dots of Braille: the bit of each in a cell, by its column and its row from the top.
DOTS = (
    (0x01, 0x02, 0x04, 0x40),
    (0x08, 0x10, 0x20, 0x80),
)
AXIS_CELLS = 5                  # of the labels on the left
PICTURE_WIDTH, PICTURE_HEIGHT = 24, 6       # a smaller panel has no picture
CHART_MOST = 12                 # lines of a chart


class History(NamedTuple):
    """What is known of the windows of one limit, the current one and the past."""
    window: int                             # seconds
    samples: tuple                          # (at, percent, resets_at) of the current window
    past: Tuple[Summary, ...]               # oldest first
    outlook: Outlook
    full_left: Optional[float] = None       # full 5-hour windows that the week has room for

    @property
    def resets_at(self):
        """When the current window ends."""
        return self.samples[-1][2]


NO_HISTORY = History(0, (), (), Outlook())


class OutlookPoller(Poller):
    """Makes the Outlook of each limit, from the samples in the store.

    Only new samples are read, once a minute or when the file has changed. In memory are those of
    the current windows, and a Summary of each finished one; the store keeps these for a year.
    """
    sources = ('outlook',)
    modes = ('code',)
    is_of_account = True

    def __init__(self, setup):
        super().__init__(setup, setup.place)
        self.store = setup.store
        self.account = None         # whose samples are known
        self.seen = None            # the stamp of the store, and the account, that were looked at
        self.made_at = self.clock()
        self.histories = {}

    def once(self):
        now = self.clock()
        account = account_key(self.setup.logins.identity(), self.env)
        seen = file_stamp(self.store.path), account
        if seen == self.seen and 0 <= now - self.made_at < MINUTE:
            return WATCH_SECONDS
        histories, failure = tried(self.read, account, now)
        if failure and failure.code == 'locked' and 0 <= now - self.made_at < LOCKED_SECONDS:
            return STORE_LOOK
        if not failure:                 # else what was known stays
            self.histories = histories
        self.seen, self.made_at = seen, now
        self.tell('outlook', Known(self.histories, now, phase=PLANNED))
        if not histories:
            return STORE_LOOK
        tried(self.store_outlooks, histories, now)
        return WATCH_SECONDS

    def ask_now(self, at, max_age=None):
        self.seen = None
        super().ask_now(at, max_age)

    def is_settled(self, snapshot):
        """Whether the newest number is in it; else that is asked for."""
        made_at = snapshot[self.place, 'outlook'].at
        told_at = snapshot[self.place, 'usage'].at or 0.0
        if made_at is None:
            return False
        if made_at < told_at:
            self.ask_now(told_at)
        return made_at >= told_at

    def read(self, account, now):
        """Read what is new -> {id of a limit: its History}. SourceError of the store.

        Of a limit whose window has ended, or not begun, it has the past alone.
        """
        if account != self.account or now < self.made_at:       # the clock was set back
            self.begin(account, now)
        found = self.store.samples(account, self.since, True, now)
        if not self.past:
            self.take_pasts({name: new[-1][2] for name, (_, new) in found.items() if new}, now)
        histories = {}
        for name, (window, new) in found.items():
            if new:
                self.since[name] = new[-1][0]
            running = self.take(name, window, new, now)
            if running or name in self.past:
                histories[name] = self.history(name, window, running, now)
        return histories

    def begin(self, account, now):
        """Begin with the past of an account.

        The store has it. Of the week all samples are read, for they tell what a full 5-hour
        window takes of it.
        """
        stored = self.store.windows(account, now)
        self.account = account
        self.histories = {}
        self.samples, self.past = {}, {}    # name -> tuple of samples, of Summaries
        self.since = {}                     # name -> the time of the last sample that was read
        for name, bodies in stored.items():
            self.past[name] = tuple(
                Summary(*json.loads(body)) for body in bodies
            )
            if name != 'seven_day':         # of which all samples tell what a full window takes
                self.since[name] = (
                    self.past[name][-1].resets_at - 1
                )

    def take_pasts(self, ends, now):
        """Take what other programs know of the past, where the store has none.

        `ends` are the resets of this account, {name of a limit: time}: a program that tells of
        none of them tells of another account, or of nobody yet.
        """
        for read in PASTS:
            pasts = list(read(now))
            for name, _, samples in pasts:
                if abs(samples[-1][2] - (ends.get(name) or 0)) <= SAME_WINDOW:
                    for past in pasts:
                        self.keep(*past, now)
                    break

    def keep(self, name, window, samples, now):
        """Add the Summaries of finished windows to the past of a limit, here and in the store.

        One of a window that is known already is left out: the resets that are told of one window
        differ by up to a minute.
        """
        known, last = self.past.get(name, ()), 0.0
        if known:
            last = known[-1].resets_at + SAME_WINDOW
        finished = summaries(samples, window, now)
        found = tuple(summary for summary in finished if summary.resets_at > last)
        if found:
            self.past[name] = known + found
            rows = [
                (int(summary.resets_at), json.dumps(summary))
                for summary in found
            ]
            tried(
                self.store.keep_windows,
                self.account,
                {name: (window, rows)},
                now,
            )

    def take(self, name, window, new, now):
        """Take new samples of a limit; return those of the window that runs.

        Finished windows become Summaries, and their samples are let go.
        """
        samples = self.samples.get(name, ()) + tuple(new)
        self.keep(name, window, samples, now)
        running = without_repeats(
            sample for sample in samples if sample[2] and sample[2] > now
        )
        self.samples[name] = running
        if name == 'seven_day':
            self.samples[name] = without_repeats(samples)
        return running

    def history(self, name, window, running, now):
        """Return the History of a limit, of whose window that runs these are the samples.

        Between two windows there are none, and it is the past alone.
        """
        past = self.past.get(name, ())
        if not running:
            return NO_HISTORY._replace(window=window, past=past)
        used, resets_at = running[-1][1:]
        full_left = None
        if name == 'seven_day':
            parts = week_parts(
                self.past.get('five_hour', ()), self.samples[name], window, now
            )
            full_left = full_windows_left(100 - used, resets_at - now, parts)
        return History(
            window=window,
            samples=running,
            past=past,
            outlook=outlook_from(running, past, resets_at, window, now),
            full_left=full_left)

    def store_outlooks(self, histories, now):
        """Leave the outlooks for the status line, which has no time to make them.

        Of all monitors the first one that finds them older than STORED_INTERVAL writes.
        SourceError of the store.
        """
        told = {}
        for name, history in histories.items():
            if history.outlook.low is not None:
                told[name] = (history.resets_at,) + history.outlook[:4]
        replies = self.store.recall(self.account, '', now).replies
        at = replies.get('outlook', (0.0, ''))[0]
        if told and not 0 <= now - at < STORED_INTERVAL:
            reply = {
                (self.account, 'outlook'): (now, json.dumps(told))
            }
            self.store.add((), reply, ('', ()), now)


def history_of(snapshot, place, limit):
    """Return the History of a Limit; NO_HISTORY where it is not known, or is of another window."""
    history = (snapshot[place, 'outlook'].value or {}).get(
        limit.id, NO_HISTORY
    )
    if not history.samples or not limit.resets_at:
        return NO_HISTORY
    if abs(history.resets_at - limit.resets_at) > SAME_WINDOW:
        return NO_HISTORY
    return history


def landing_words(outlook, resets_at, moment):
    """Return where a limit lands, in words, the longest first; none where the outlook is silent.

    The last and shortest is that of status lines: '→88%', or '⚠16:05' where it runs out. "Resets"
    and "runs out" are never said of one another.
    """
    if outlook.low is None or moment.left(resets_at) <= 0:
        return ()
    low, high = percent_shown(outlook.low), percent_shown(outlook.high)
    if high < 100:
        span = '%d%%' % high
        if low != high:
            span = '%d–%d%%' % (low, high)
        return 'Lands at ' + span, 'Lands ' + span, '→' + span, '→%d%%' % high
    begin = moment.clock(outlook.out_from)
    if low < 100:
        words = 'May run out from ' + begin
        rate = '%s%%/h ' % rate_words(outlook.rate)
        return (words + ' · ' + rate + 'keeps you under', words + ' · ' + rate + 'is safe', words,
                'May run out ' + begin, '→100%')
    end = moment.clock(outlook.out_until)
    span = begin
    if end != begin:
        span = begin + '–' + end
    words = '⚠ Runs out ' + span
    early = words + ', ' + countdown(resets_at - outlook.out_from)
    return (early + ' before the reset', early + ' early', words, '⚠ Runs out ' + begin,
            '⚠' + begin)


def rate_words(rate):
    """Return a rate that is not to be exceeded, two digits of it, rounded down: 9.96 -> '9.9'."""
    if rate >= 10:
        return '%d' % rate
    digits = 10 if rate >= 1 else 100
    return '%g' % (int(rate * digits) / digits)


def landing_role(outlook):
    """Return the colour of a landing: that of the level at its high end."""
    if outlook.low is None:
        return 'dim'
    return level(min(outlook.high, 100))


def landing_rows(scene, limit):
    """Yield the row of where a limit lands, and how many full windows the week has room for."""
    history = history_of(scene.snapshot, scene.place, limit)
    words = landing_words(history.outlook, limit.resets_at, scene.moment)
    if words:
        yield Row(OUTLOOK, *words, role=landing_role(history.outlook))
    if history.full_left is not None and limit.used < 100:
        count = round(history.full_left)
        yield Row(OUTLOOK, '≈ %d full 5-hour windows left in it' % count,
                  '≈ %d windows left' % count, '≈ %d left' % count, role='soft')


def landing_sign(outlook, resets_at, moment):
    """Return the shortest of `landing_words` as spans; none where there are none."""
    return tuple(Span(words, landing_role(outlook))
                 for words in landing_words(outlook, resets_at, moment)[-1:])


def landing_tail(scene, limit):
    """Return the `landing_sign` of a limit."""
    found = history_of(scene.snapshot, scene.place, limit).outlook
    return landing_sign(found, limit.resets_at, scene.moment)


def stored_tails(replies, limits, moment):
    """{id: `landing_sign`} of the outlooks that a monitor has stored of late.

    One that the numbers of now have overtaken is left out.
    """
    at, body = replies.get('outlook', (0.0, '{}'))
    if not 0 <= moment.now - at < STORED_MAX_AGE:
        return {}
    told, tails = json.loads(body), {}
    for limit in limits:
        if limit.id in told and limit.resets_at and limit.used < 100:
            resets_at, low, high, out_from, out_until = told[limit.id]
            found = Outlook(low, high, out_from, out_until, 0)
            is_same = abs(resets_at - limit.resets_at) <= SAME_WINDOW
            is_over = out_from is not None and out_from <= moment.now
            if is_same and high >= limit.used and not is_over:
                tails[limit.id] = landing_sign(found, resets_at, moment)
    return tails


def capped_outlook(snapshot, place, limit):
    """Return the Outlook of a limit, its percents cut at 100, for more cannot be used."""
    found = history_of(snapshot, place, limit).outlook
    if found.low is None:
        return found
    return found._replace(low=min(100.0, found.low), high=min(100.0, found.high))


def limits_of(scene):
    """Return the Limits of a Scene; none before its mode is known."""
    if not scene.ui.mode:
        return ()
    mode = MODES[scene.ui.mode]
    return mode.limits(scene.snapshot, scene.place).limits


def outlook_help(scene):
    """Yield the sentences of the help about mark, range and picture."""
    yield ('│ in a bar marks how much of its time has passed; "Lands at 71–88%" is where it will '
           'be at its reset, 7 times in 10, after your own past windows.')
    yield ('The picture: solid is the course so far, dots to the right the range, the diagonal an '
           'even pace.')
    for limit in limits_of(scene):
        found = history_of(scene.snapshot, scene.place, limit).outlook
        if found.low is not None and found.windows_seen < FEW_WINDOWS:
            windows = 'windows' if found.windows_seen != 1 else 'window'
            yield 'The landing of %s is from %d past %s of yours.' % (
                limit.label, found.windows_seen, windows)


def chart_layers(history, width, height, now, has_range):
    """Draw a window from its start to its reset, 0 to 100 percent -> layers, the last on top.

    They are 100 percent, the even pace, the range to come, now, and the course so far: each
    (role, ASCII character, dots). A dot is (half cells from the left, quarters of one from the
    top). Between two samples the course is a straight line; it has the colour of each level.
    """
    columns, lowest = 2 * width, 4 * height - 1
    end, outlook = history.resets_at, history.outlook
    start = end - history.window
    points = current_points(history.samples, end, history.window, now)
    used = points[-1][1]

    def row_of(percent):
        return round(
            (100 - max(0, min(percent, 100))) / 100 * lowest
        )
    course, fan, last = {}, [], lowest
    for x in range(columns):
        at = start + (x + 0.5) / columns * history.window
        if at <= now:
            percent = percent_at(points, at)
            row = row_of(percent)
            dots = course.setdefault(level(percent), [])
            dots += [(x, y) for y in range(row, last + 1)]
            last = row
        elif has_range and outlook.low is not None:
            way = (at - now) / (end - now)
            top = row_of(used + (outlook.high - used) * way)
            bottom = row_of(used + (outlook.low - used) * way)
            fan += [
                (x, y) for y in range(top, bottom + 1) if (x + y) % 2
            ]
    full = [(x, 0) for x in range(1, columns, 2)]
    pace = [
        (x, row_of(100 * (x + 0.5) / columns))
        for x in range(0, columns, 4)
    ]
    x = int((now - start) / history.window * columns)
    present = [
        (x, y) for y in range(0, lowest + 1, 2)
    ]
    return [
        ('dim', '-', full),
        ('dim', '.', pace),
        (landing_role(outlook), ':', fan),
        ('strong', '|', present),
    ] + [(role, '*', dots) for role, dots in course.items()]


def chart_lines(layers, width, height, is_ascii):
    """Return layers as lines of spans; a cell shows the dots of its topmost layer, and of others
    with the same character.
    """
    drawn = {}                          # (column, row) -> (ASCII character, dots, role)
    for role, plain, dots in layers:
        for x, y in dots:
            cell = x // 2, y // 4
            before, bits, _ = drawn.get(cell, (plain, 0, ''))
            if before != plain:
                bits = 0
            drawn[cell] = plain, bits | DOTS[x % 2][y % 4], role
    shown = {}
    for cell, (plain, bits, role) in drawn.items():
        shown[cell] = Span(plain if is_ascii else chr(0x2800 + bits), role)
    return [tuple(shown.get((x, y), Span(' ')) for x in range(width))
            for y in range(height)]


def picture_rows(limit, scene):
    """Yield the rows of the picture of a limit, as large as the panel allows.

    Where that is small, the finished windows go first, then the labels, then the range. The
    labels are percents, and the local times of the start and the reset.
    """
    history = history_of(scene.snapshot, scene.place, limit)
    outlook, moment, room = history.outlook, scene.moment, scene.height
    words = landing_words(outlook, limit.resets_at, moment) or ('No outlook now',)
    if limit.used >= 100:
        words = reset_words(limit, moment)
    words_row = Row(LIST, *words, role=landing_role(outlook))
    if scene.width < PICTURE_WIDTH or room < PICTURE_HEIGHT:
        yield words_row
        return
    has_labels = room >= PICTURE_HEIGHT + 2
    has_peaks = room >= PICTURE_HEIGHT + 3 and bool(history.past)
    axis = AXIS_CELLS if has_labels else 0
    width = scene.width - axis
    height = room - 1 - has_labels - has_peaks
    height = max(PICTURE_HEIGHT - 1, min(height, CHART_MOST, width // 3))
    # It stays the same until now has come half a dot further.
    step = history.window / width / 4
    begin = history.resets_at - history.window
    now = begin + (moment.now - begin) // step * step
    moment.change_at(now + step + 0.001)
    layers = chart_layers(history, width, height, now, room > PICTURE_HEIGHT)
    labels = {0: '100%', height // 2: '50%', height - 1: '0%'}
    for y, line in enumerate(chart_lines(layers, width, height, scene.ui.ascii)):
        if has_labels:
            label = labels.get(y, '').rjust(axis - 1) + ' '
            line = (Span(label, 'dim'),) + line
        yield Row(LIST, line)
    if has_labels:
        start = moment.clock(begin) + ' '
        end = moment.clock(history.resets_at).rjust(width - cells(start))
        yield Row(LIST, ' ' * axis + start + end, role='dim')
    if has_peaks:
        yield Row(LIST, peaks_line(history.past, scene.width))
    yield words_row


def peaks_line(past, width):
    """Return the line of the peaks of the last finished windows, a bar each.

    Only a window that was full has the highest bar.
    """
    line = (Span('Past: ', 'dim'),)
    for summary in past[-max(1, width - width_of(line)):]:
        height = min(7, int(summary.peak * 7 / FULL))
        line += (Span('▁▂▃▄▅▆▇█'[height], level(summary.peak)),)
    return line


def picture_panels(scene):
    """Yield a Panel for each limit of which there is a History."""
    for index, limit in enumerate(limits_of(scene)):
        if history_of(scene.snapshot, scene.place, limit).samples:
            yield Panel(20 + index / 100, (scene.ui.mode,), limit.label,
                        functools.partial(picture_rows, limit))


def history_rows(scene):
    """Yield the rows of the last five weeks: a day each, with its 5-hour windows and their peaks.

    The bar of a day is the sum of its peaks, against that of the busiest day. The last window is
    the one that runs. A window belongs to the local day on which it began.
    """
    from datetime import date, timedelta
    history = (scene.known('outlook').value or {}).get(
        'five_hour', NO_HISTORY
    )
    now = scene.moment.now
    past = [summary for summary in history.past
            if summary.resets_at > now - HISTORY_DAYS * DAY]
    if not past:
        return
    waits = [summary.resets_at - summary.full_at for summary in past
             if summary.full_at is not None]
    words = '%d windows, %d full' % (len(past), len(waits))
    waited = ', %s waited' % countdown(sum(waits)) if waits else ''
    yield Row(LIST, '%d windows in %d days, %d full' % (len(past), HISTORY_DAYS, len(waits))
              + waited, words + waited, words, role='soft')
    days = {}
    windows = [(summary.start, summary.peak) for summary in past]
    if history.samples:
        windows.append((history.resets_at - history.window, history.samples[-1][1]))
    for start, peak in windows:
        days.setdefault(date.fromtimestamp(start), []).append(
            (start, peak)
        )
    most = max(
        sum(peak for _, peak in windows) for windows in days.values()
    )
    day, step = date.fromtimestamp(now), timedelta(1)
    scene.moment.change_at(
        time.mktime((day + step).timetuple())
    )
    while day >= min(days):
        yield Row(
            LIST, *day_wordings(day, days.get(day, []), most, scene.width)
        )
        day -= step


def day_wordings(day, windows, most, width):
    """Return the lines of a local date and its windows (start, peak), the longest first.

    First the times go, then the last windows, for which `…` stands.
    """
    total = sum(peak for _, peak in windows)
    used = 99.9 * total / max(most, 1)
    name = (
        WEEKDAYS[day.weekday()],
        MONTHS[day.month - 1],
        day.day,
    )
    head = (Span('%s %s %2d ' % name),)
    head += bar(used, min(HISTORY_BAR, width // 5), 'target')
    long, short = head, [head]
    for start, peak in windows:
        span = Span('%d%%' % percent_shown(peak), level(peak))
        long += (
            Span(time.strftime('  %H:%M ', time.localtime(start)), 'soft'),
            span,
        )
        short.append(short[-1] + (Span(' '), span))
    cut = [
        line + (Span(' …', 'dim'),) for line in short[:-1]
    ]
    return [long, short[-1]] + cut[::-1]


def days_option(words):
    """The days of --history. ArgumentTypeError unless they are a whole number above 0."""
    if not words.isdigit() or not int(words):
        raise argparse.ArgumentTypeError('must be a number of days')
    return int(words)


def show_history(options):
    """Print the samples of the store as CSV or JSON; return the exit code.

    Nobody is asked, and nothing is written.
    """
    now, env = time.time(), os.environ
    for place in config_folders(options)[:1]:
        env = env_of(place, env)
    account = account_key(Logins(env).identity(), env)
    found, failure = tried(
        store_of(env).samples, account, {}, False, now
    )
    if failure:
        warn(STORE_TROUBLE[failure.code].format(failure.detail))
        return 1
    names, rows = ('time', 'limit', 'used_percent', 'resets_at'), []
    for name, (_, samples) in found.items():
        for at, used, resets_at in samples:
            if at > now - options.history * DAY:
                rows.append((iso(at), name, used, iso(resets_at)))
    rows.sort()
    if options.output == 'json':
        document = {
            'schema': 1,
            'samples': [dict(zip(names, row)) for row in rows],
        }
        emit(json.dumps(document, indent=2) + '\n', sys.stdout)
        return 0
    lines = [','.join(names)]
    for at, name, used, resets_at in rows:
        lines.append('%s,%s,%g,%s' % (at, name, used, resets_at or ''))
    emit('\n'.join(lines) + '\n', sys.stdout)
    return 0


def demo_course(start, until, resets_at, used, power):
    """Return samples of a window, in which use rises by fits and starts to so many percent."""
    samples = []
    for index in range(1, 31):
        part = index / 30
        moved = part ** power * (
            1 + math.sin(8 * math.pi * part) / 16
        )
        at = start + part * (until - start)
        samples.append(
            (at, round(min(100.0, used * moved), 1), resets_at)
        )
    return samples


@functools.lru_cache(maxsize=16)
def demo_past(window, now):
    """Return Summaries of invented windows until now, which moved in different ways.

    Three begin each day where they are short; some were full.
    """
    samples = []
    for index in range(3 * HISTORY_DAYS):
        end = now - index * max(window, 8 * HOUR)
        most = 40 + index * 29 % 75
        samples += demo_course(
            end - window, end, end, most, 0.6 + index % 5 / 4
        )
    return summaries(samples, window, now)


def demo_history(window, used, resets_at, now):
    """Return the History of an invented limit, of which so many percent are used now."""
    start = resets_at - window
    running = tuple(demo_course(start, now, resets_at, used, 1.3))
    past = demo_past(window, start)
    return History(
        window, running, past, outlook_from(running, past, resets_at, window, now)
    )


def demo_outlook(now):
    """Yield the Readings of an invented past of the invented limits."""
    for place, windows in demo_windows(now).items():
        histories = {
            name: demo_history(*window, now) for name, window in windows.items()
        }
        seconds, used, resets_at = windows['seven_day']
        left = full_windows_left(
            100 - used, resets_at - now, [(100, 9)] * LEAST_FULL_WINDOWS
        )
        histories['seven_day'] = histories['seven_day']._replace(full_left=left)
        yield Reading(place, 'outlook', Known(histories, now, phase=PLANNED))


POLLERS.append(OutlookPoller)
PANEL_MAKERS.append(picture_panels)
PANELS.append(Panel(25, ('code',), 'History', history_rows))
LIMIT_PARTS.append(LimitPart(
    rows=landing_rows,
    tail=landing_tail,
    stored_tails=stored_tails))
OUTLOOKS.append(capped_outlook)
HELPS.append(outlook_help)
OPTIONS['--projected'] = {
    'action': 'store_true', 'heading': 'outlook',
    'help': 'with --check: judge where a limit will land, the high end, instead of its use'}
OPTIONS['--history'] = {
    'type': days_option, 'metavar': 'DAYS', 'nargs': '?', 'const': HISTORY_DAYS,
    'heading': 'outlook',
    'help': 'print the stored samples of so many days as CSV, or with --json as JSON, and end'}
COMMANDS['history'] = show_history
DEMOS.append(demo_outlook)


# ---- Console -----------------------------------------------------------------------------------
# What an organization's month has cost so far, by the Admin API. The month is kept in parts, each
# a reply of its own: 'me', 'users', 'workspaces', 'bill 2026-11', 'day 2026-11-07'. A part is
# asked for when its own rule says that it is old; all that is shown is reckoned from the parts.

ADMIN_PATH = '/v1/organizations/'
NAMES = ('me', 'users', 'workspaces')   # the parts that only tell names
NAMES_SECONDS = HOUR            # between two looks for a name that is lacking
# A Claude Code report lags by an hour. A day that ended longer ago than this no longer changes.
DAY_FINAL = 2 * DAY
WORKERS = 4                     # requests at a time
FATAL = ('rate_limited', 'unauthorized')    # failures that hold for every request
EXACT_DIGITS = 60               # more than a sum of cents has
DECIMAL = r'-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?'    # an amount in a text or number
RANGE_LEAST = 10                # a weekly rate that differs by this part of it makes a range
BUDGET_LEAST, BUDGET_MOST = 0.01, 10000000      # dollars
TOP_USERS = 10                  # rows of users; one more is for all others
MARK = ' ⚠'                     # behind a sum that lacks something

# What the failures are called where an Admin API key asks.
ERRORS['console'] = {
    'no_credentials': ('No Admin API key found.',
                       'Set ANTHROPIC_ADMIN_API_KEY, or run `claude` to log in for Code mode.'),
    'unauthorized': ('Admin API key refused: {}.',
                     'Make one in the Console: Settings, Admin keys.'),
    'forbidden_scope': ('Admin API key without access: {}.', ''),
    'uncounted': ('amounts in {}.', ''),
}
# What is wrong with parts of the month; of several days it is told how many there are.
PROBLEMS = {
    'bill': 'Organization',
    'day': '1 day is missing',
    'uncounted': 'Not counted',
}


class Projection(NamedTuple):
    """Where the cost of a month will end, in Decimals of cents; None where nobody can tell.

    Where the last seven days give another end, both ends make a range.
    """
    rate: Any = None                # per hour, since the month began
    projected: Any = None           # at this rate
    low: Any = None
    high: Any = None


class Console(NamedTuple):
    """The organization's month to date, by the UTC calendar. Amounts are exact, in cents.

    Claude Code's costs are by user and model, the bill's by workspace; the two overlap, and
    neither holds the other. Rows are (name, cents), the largest first.
    """
    organization: str               # its name, or ''
    through: str                    # '2026-11-18', the day under way
    you: str                        # your address; '' if it is not known
    own: Any                        # your Claude Code cost, or None
    total: Any                      # the bill, or None
    projection: Projection          # of your cost, or else of the bill
    by_day: tuple                   # (day, cents or None), yours or else the organization's
    by_user: tuple
    by_model: tuple
    by_workspace: tuple
    days_done: int                  # how many days are known and up to date
    unknown: int                    # how many parts are not known, nor why
    problems: tuple                 # (key of PROBLEMS, Failure) of each part that has one
    bill_projection: Projection     # of the bill
    budgets: Usage = Usage(())      # a Limit for each budget

    @property
    def days(self):
        """How many days there are so far."""
        return len(self.by_day)

    @property
    def partial(self):
        """What stands behind a sum of the days: that it lacks some, or nothing."""
        return ' (partial)' if self.days_done < self.days else ''

    @property
    def complete(self):
        """Whether nothing of the month is missing: every day as it is now, and the bill."""
        return self.days_done == self.days and self.total is not None and not self.problems


def exact_decimal():
    """The class Decimal, for sums in this thread, which are exact from now on.

    Only the Console needs decimal; floats of dollars would be off by cents.
    """
    import decimal
    decimal.getcontext().prec = EXACT_DIGITS
    return decimal.Decimal


def new_tables():
    """Tables {table: {name: cents}} to add to. What is not there counts as 0.

    The tables are by_user and by_model of a day, by_day and by_workspace of a bill, uncounted.
    """
    import collections
    return collections.defaultdict(collections.Counter)


def cents_in(amount):
    """An amount of a reply, a number or a text of cents -> a Decimal; null is nothing.

    SourceError bad_reply for all else: NaN, 0x10, 1_000, and sums that nobody has.
    """
    decimal = exact_decimal()
    if amount is None:
        return decimal(0)
    if type(amount) in (decimal, int, str) and re.fullmatch(DECIMAL, str(amount)):
        cents = decimal(amount)
        if cents.adjusted() < 15:
            return cents
    raise SourceError('bad_reply', 'an amount is no number')


def add_cost(tables, cost, **names):
    """Add an {amount, currency} of a reply to tables, in each under the name that is given.

    The service promises dollars; what else there is goes to the table 'uncounted' instead, by its
    currency. SourceError bad_reply.
    """
    cost = mapping(cost, 'an amount')
    cents = cents_in(cost.get('amount'))
    currency = text(cost.get('currency')).upper()
    if currency not in ('', 'USD'):
        names = {'uncounted': currency}
    for table, name in names.items():
        tables[table][name] += cents


def listed(rows):
    """A list of objects in a reply, as it is; null among them is {}. SourceError bad_reply."""
    if not isinstance(rows, list):
        raise SourceError('bad_reply', 'data is no list')
    return [mapping(row, 'a row') for row in rows]


def rows_of(pages):
    """Yield the rows of all pages of a report or a list. SourceError."""
    for page in pages:
        yield from listed(page.get('data'))


def read_organization(pages):
    """The pages of 'me', of which there is one -> the organization's name."""
    return text(next(pages).get('name'))


def read_users(pages):
    """The pages of the users -> a list of their addresses, in lower case."""
    return [
        text(row.get('email')).lower()
        for row in rows_of(pages)
    ]


def read_workspaces(pages):
    """The pages of the workspaces -> a list of (id, name)."""
    return [
        (text(row.get('id')), text(row.get('name'))) for row in rows_of(pages)
    ]


def read_bill(pages):
    """The pages of a cost report -> tables of cents by day and by the id of the workspace.

    A page has a bucket for each day, quiet ones too. Priority Tier is not in it.
    """
    tables = new_tables()
    for bucket in rows_of(pages):
        day = text(bucket.get('starting_at'))[:10]
        for result in listed(bucket.get('results') or []):
            workspace = text(result.get('workspace_id'))
            add_cost(tables, result, by_day=day, by_workspace=workspace)
    return tables


def read_day(pages):
    """The pages of a Claude Code report -> tables of cents by user and by model.

    A user has several rows, by terminal and the like. An API key is a user too, but its name must
    not look like an address.
    """
    tables = new_tables()
    for row in rows_of(pages):
        actor = mapping(row.get('actor'), 'actor')
        key = text(actor.get('api_key_name'))
        if '@' in key:
            key = 'API key ' + key
        user = (
            text(actor.get('email_address')).lower() or key or text(actor.get('type'))
        )
        for model in listed(row.get('model_breakdown') or []):
            name = text(model.get('model'))
            add_cost(tables, model.get('estimated_cost'),
                     by_user=user or 'unknown', by_model=name or 'unknown')
    return tables


# The kinds of parts: where they are, in pages as large as the service allows, and what makes of
# the pages what is kept, as JSON. {0} is the part's day or month, {1} the day after now: the bill
# has a bucket for each day and ends before it.
KINDS = {
    'me': (
        'me',
        read_organization),
    'users': (
        'users?limit=1000',
        read_users),
    'workspaces': (
        'workspaces?limit=1000&include_archived=true',
        read_workspaces),
    'bill': (
        'cost_report?starting_at={0}-01T00:00:00Z&ending_at={1}T00:00:00Z&bucket_width=1d'
        '&group_by%5B%5D=workspace_id&limit=31',
        read_bill),
    'day': (
        'usage_report/claude_code?starting_at={0}&limit=1000',
        read_day),
}


def parse_part(document, at):
    """What is kept of a part -> what it was made of: names, or tables of Decimals.

    Only tables are objects in JSON.
    """
    if not isinstance(document, dict):
        return document
    decimal = exact_decimal()
    tables = new_tables()
    for table, sums in document.items():
        for name, cents in sums.items():
            tables[table][name] = decimal(cents)
    return tables


def utc_day(at):
    """'2026-11-18': the UTC day of a time."""
    return time.strftime('%Y-%m-%d', time.gmtime(at))


def month_of(at):
    """(first second, last second + 1) of the UTC month of a time."""
    import calendar
    year, month, day = time.gmtime(at)[:3]
    start = at // DAY * DAY - (day - 1) * DAY
    return start, start + calendar.monthrange(year, month)[1] * DAY


def bill_part(at):
    """The name of the part that is the bill of a time's month."""
    return 'bill ' + utc_day(at)[:7]


def month_parts(at):
    """The names of the parts of a time's month that tell costs: the bill, then each day."""
    days = range(
        int(month_of(at)[0]), int(at) + 1, DAY
    )
    return [bill_part(at)] + ['day ' + utc_day(day) for day in days]


def is_final(part, at):
    """Whether a part that came at a time can no longer change: it is a day, and ended long before.

    Days are texts that sort by time.
    """
    return part.startswith('day ') and part[4:] <= utc_day(at - DAY - DAY_FINAL)


def problems_of(attempt):
    """{part: Failure} of the parts that failed in a poll, as its Attempt tells; it may be None.

    Where a poll failed as a whole, what failed in the same way is told with that, and not here.
    """
    if not attempt:
        return {}
    told = json.loads(attempt.problems or '{}')
    return {part: Failure(*failure) for part, failure in told.items()
            if failure[0] != attempt.code}


class Admin:
    """The Admin API at an address, asked with one key. Each poll has its own.

    `results` are those that `each` yields, put there by the threads that ask. Once it is `stopped`
    these end, and what is not asked yet stays so.
    """

    def __init__(self, url, key):
        self.api = Api(url)
        self.key = key
        self.headers = {
            'anthropic-version': '2023-06-01',
            'Accept': 'application/json',
            'User-Agent': 'claude-usage/' + __version__,
            'x-api-key': key,
        }
        self.gate = threading.Semaphore(WORKERS)
        self.results = queue.Queue()
        self.stopped = threading.Event()

    def pages(self, part, now):
        """Yield the pages of a part, each of which names the next. SourceError.

        Reports name it by a token, lists by the last id. A name that came before is refused, for
        it might be followed for ever.
        """
        from urllib.parse import quote
        kind, _, when = part.partition(' ')
        path = ADMIN_PATH + KINDS[kind][0].format(
            when, utc_day(now + DAY)
        )
        seen, more = set(), ''
        while not self.stopped.is_set():
            document = self.api.get(
                path + more, self.headers, self.key, exact_decimal()
            )
            page = mapping(document, 'a page')
            self.results.put((part, None, None))
            yield page
            if not page.get('has_more'):
                return
            token = page.get('next_page') or page.get('last_id')
            if not isinstance(token, str) or token in seen:
                raise SourceError('bad_reply', 'a page does not name the next')
            seen.add(token)
            more = '&after_id='
            if page.get('next_page'):
                more = '&page='
            more += quote(token, errors='replace')
        raise SourceError('timeout')

    def each(self, parts, now):
        """Ask for parts, WORKERS at a time; yield (part, body, Failure) of each as it comes.

        The body is the JSON to keep, None where it failed. For each page of a part that comes
        before that, both are None.
        """
        for part in parts:
            thread = threading.Thread(
                target=self.read,
                args=(part, now),
                daemon=True)
            _, failure = tried(start_thread, thread)
            if failure:
                self.results.put((part, None, failure))
        missing = len(parts)
        while missing:
            # A worker that a bug has ended is silent: this thread must not wait for ever.
            part, body, failure = self.results.get(timeout=2 * REQUEST_SECONDS)
            if body is not None or failure:
                missing -= 1
            yield part, body, failure

    def read(self, part, now):
        """Ask for a part when it is its turn, and put what `each` yields of it into `results`."""
        read = KINDS[part.split(' ')[0]][1]
        body = None
        with self.gate:
            value, failure = tried(read, self.pages(part, now))
        if not failure:
            body = json.dumps(value, default=str)
        self.results.put((part, body, failure))


def who_am_i(user, identity, emails, login_name):
    """One's address in lower case; '' if nothing tells it.

    It is that of --user, else of the Account of Claude Code's login, else the only one among those
    of the organization, else the only one whose local part is the login name. Never is it guessed
    by similarity: it would be another one's cost.
    """
    email = user.strip()
    if not email and identity:
        email = identity.email
    if len(emails) != 1:
        emails = [
            each for each in emails if each.split('@')[0] == login_name.lower()
        ]
    if not email and len(emails) == 1:
        email = emails[0]
    return email.lower()


def project(by_day, now):
    """A month's cost by day, {part: cents} -> its Projection; empty in the first 24 hours.

    By the rate since the month began, and by that of the last seven days, which are today and the
    six before, once the month has them all. Where the rates differ, both ends make a range.
    """
    decimal = exact_decimal()
    start, end = month_of(now)
    if not by_day or now - start < DAY:
        return Projection()
    so_far = sum(by_day.values())
    left = decimal(end - now) / HOUR
    rate = so_far * HOUR / decimal(now - start)
    projected = so_far + rate * left
    low = high = None

    last = [
        by_day.get(part)
        for part in month_parts(now)[1:][-7:]
    ]
    if len(last) == 7 and None not in last:
        weekly = sum(last) * HOUR / decimal(6 * DAY + now % DAY)
        if abs(weekly - rate) * RANGE_LEAST > abs(rate):
            low, high = sorted((projected, so_far + weekly * left))
    return Projection(rate, projected, low, high)


def ranked(sums, names={}):
    """{key: cents} -> ((name, cents), ...), the largest first; of keys without a name the key.

    Only the workspace that is always there has no key.
    """
    rows = [(names.get(key) or key or 'Default', cents) for key, cents in sums.items()]
    return tuple(sorted(rows, key=lambda row: (-row[1], row[0])))


def reckon_console(parts, problems, you, at):
    """What is known of the parts of a month -> the Console as it was at a time.

    `parts` are {part: names or tables}, `problems` {part: Failure} of those that failed last. A
    part may have both: it is of an earlier poll then, and does not count as done. One that has
    neither is still to come.
    """
    exact_decimal()
    costs = month_parts(at)
    bill, days = costs[0], costs[1:]
    known = [part for part in days if part in parts]
    unknown = set(costs).difference(parts, problems)
    tables = new_tables()
    told = []
    for part in costs:
        for table, sums in parts.get(part, {}).items():
            tables[table].update(sums)      # a Counter adds
        if part in problems:
            told.append((part.split(' ')[0], problems[part]))
    if tables['uncounted']:
        currencies = ', '.join(sorted(tables['uncounted']))
        told.append(('uncounted', Failure('uncounted', currencies)))

    own = total = None
    by_day = bill_by_day = {}
    projection = bill_projection = Projection()
    if bill in parts:
        total = sum(tables['by_day'].values())
        by_day = bill_by_day = {part: tables['by_day'][part[4:]] for part in days}
    if you:
        by_day = {part: parts[part]['by_user'][you] for part in known}
        if known:
            own = sum(by_day.values())
    if not unknown:
        projection = project(by_day, at)
        bill_projection = project(bill_by_day, at)
    workspaces = dict(parts.get('workspaces') or ())
    return Console(
        organization=parts.get('me') or '',
        through=utc_day(at),
        you=you,
        own=own,
        total=total,
        projection=projection,
        by_day=tuple((part[4:], by_day.get(part)) for part in days),
        by_user=ranked(tables['by_user']),
        by_model=ranked(tables['by_model']),
        by_workspace=ranked(tables['by_workspace'], workspaces),
        days_done=len(set(known).difference(problems)),
        unknown=len(unknown),
        problems=tuple(told),
        bill_projection=bill_projection)


def with_budgets(console, amounts, at):
    """A Console, as it was at a time, with a Limit for each budget whose cost is known.

    `amounts` are the dollars of one's own budget and of the organization's, or None. Of a cost
    that is not known, or not all of it, the Usage is not whole.
    """
    start, end = month_of(at)
    own, organization = amounts
    has_bill = 'bill' not in dict(console.problems)
    costs = (
        ('budget', 'Budget', 'Budget', own, console.own, not console.partial),
        ('budget_org', 'Org Budget', 'Org', organization, console.total, has_bill))
    limits, is_whole = (), True
    for name, label, short, most, cost, is_all in costs:
        if not most:
            continue
        if cost is None:
            is_whole = False
            continue
        is_whole = is_whole and is_all
        amount = Amount(whole_cents(cost), most * 100, 2, 'USD')
        limits += (Limit(name, label, short, float(cost) / most, end, int(end - start),
                         'budget', at, amount=amount),)
    return console._replace(budgets=Usage(limits, at, is_whole))


class ConsolePoller(Asker):
    """Asks for the month. A poll is one Attempt, however many requests it takes.

    Its parts may fail each for itself; the others are kept as they come, and the Attempt tells all
    monitors which failed. What holds for all of them, a 429 above all, ends the poll.
    """
    sources = modes = ('console',)

    def __init__(self, setup):
        self.key = ''
        self.reckoned = (), None        # what the last Console was made of, and it
        seconds = setup.options.interval or CONSOLE_INTERVAL
        super().__init__(setup, '', {'console': Rhythm(seconds, seconds)})

    def look(self):
        key = self.setup.logins.look(self.clock()).key
        if isinstance(key, Failure):
            self.tell('console', Known(failure=key, phase=PLANNED))
            return False
        if key != self.key:
            self.tell('console', Known())       # what was told may be of another organization
        self.key = key
        account = fingerprint(key)
        self.use_key(account, account)
        return True

    def report(self, source):
        super().report(source)
        # Outputs that are printed once tell it while they wait.
        self.tell('progress', Known(loading_words(self.told[source])))

    def known(self, part):
        """What is known of a part: names or tables; None if nothing is."""
        return self.parsed(part, parse_part)

    def you(self, emails):
        """One's own address, be it one of these; '' if nothing tells it."""
        return who_am_i(self.setup.options.user, self.setup.logins.identity(), emails,
                        login_name(self.env))

    def value(self, source):
        """(when it came, the Console) of this month; (0.0, None) before a report has come.

        It is as old as the oldest of the parts that each poll asks for. It is reckoned again only
        where a part is new, or something else that it is made of.
        """
        times = {part: self.reply_time(part) for part in month_parts(self.clock())
                 if self.known(part) is not None}
        if not times:
            return 0.0, None
        problems = problems_of(self.last_attempt(source))
        changing = [at for part, at in times.items()
                    if part not in problems and not is_final(part, at)]
        at = min(changing or [max(times.values())])
        for part in NAMES:
            times[part] = self.reply_time(part)
        you = self.you(self.known('users') or ())
        made_of = times, problems, you
        if made_of != self.reckoned[0]:
            parts = {part: self.known(part) for part in times}
            console = reckon_console(parts, problems, you, at)
            options = self.setup.options
            amounts = options.budget, options.budget_org
            self.reckoned = made_of, with_budgets(console, amounts, at)
        return at, self.reckoned[1]

    def is_old_part(self, part, now):
        """Whether a part is to be asked for in a poll.

        The bill is, and each day until it is final. Names are asked for once, and then seldom,
        while one is lacking: that of a workspace may be new. Who knows one's address needs no list
        of the users.
        """
        known = self.known(part)
        at = self.reply_time(part)
        if part not in NAMES:
            return known is None or not is_final(part, at)
        if part == 'users' and self.you(()):
            return False
        if not at or now - at < NAMES_SECONDS:
            return not at
        if part == 'workspaces':
            bill = self.known(bill_part(now)) or new_tables()
            return bool(
                set(bill['by_workspace']) - set(dict(known or ())) - {''}
            )
        return not known

    def request(self, source, attempt):
        """Ask for the parts that are old, and keep each as it comes.

        Of the days that the key could not read the last time, the newest is enough to see whether
        it may now.
        """
        import gc
        now = attempt.at
        parts = list(NAMES) + month_parts(now)
        parts = [part for part in parts if self.is_old_part(part, now)]
        before = problems_of(self.last_attempt(source))
        problems = {part: before[part] for part in parts if part in before}
        refused = [part for part, failure in problems.items()
                   if failure.code.startswith('forbidden')]
        first = [part for part in parts if part not in refused[:-1]]
        admin = Admin(self.setup.options.api_url, self.key)
        gc.disable()        # a report has many rows and no cycles: it would look in vain
        try:
            failure = self.load(admin.each(first, now), attempt, problems)
            if refused and not failure and refused[-1] not in problems:
                failure = self.load(
                    admin.each(refused[:-1], now), attempt, problems
                )
        finally:
            gc.enable()
            admin.stopped.set()
        if not failure and set(parts).difference(NAMES).issubset(problems):
            failure = problems[bill_part(now)]      # nothing came
        return attempt.outcome(failure, problems=json.dumps(problems))

    def load(self, results, attempt, problems):
        """Keep the parts that `Admin.each` yields; bring `problems` {part: Failure} up to date.

        Return the Failure that ends the poll, for all further requests would end so: one that is
        FATAL, or the last one of so many as are made at a time, if none brings a reply. Else None.
        """
        failed = 0
        has_reply = False
        for part, body, failure in results:
            self.hear(attempt)
            if body is not None:
                has_reply = True
                problems.pop(part, None)
                self.keep(part, body, attempt.at)
                shown = self.told['console'].value
                if not shown or shown.unknown:      # else the end of the poll is soon enough
                    self.report('console')
            if not failure:
                continue
            failed += 1
            if failure.code in FATAL or failed == WORKERS and not has_reply:
                return failure
            if part not in NAMES:
                problems[part] = failure
            elif part in self.replies or failure.code.startswith('forbidden'):
                # The costs do without it: what is known serves for another while, or nothing.
                body = self.replies.get(part, (0.0, 'null'))[1]
                self.keep(part, body, attempt.at)
        return None


def whole_cents(cents):
    """Cents as a whole number, half a cent up, of a credit down; None stays None."""
    if cents is None:
        return None
    cents = exact_decimal()(cents)
    return int(cents.to_integral_value('ROUND_HALF_UP'))


def dollars(cents, plus=''):
    """'$1,234.56' of cents of USD: '-$1.00' of a credit, else the sign `plus` before it."""
    whole = whole_cents(cents)
    sign = '-' if whole < 0 else plus
    return sign + '$' + money(abs(whole), 2)


def loading_words(known):
    """How much of the month has come, while it is asked for.

    '' where all of it has come before, or is known to be missing.
    """
    console = known.value
    if known.phase != ASKING or not console or not console.unknown:
        return ''
    return 'Loading: day %d of %d' % (console.days_done, console.days)


def cost_rows(scene):
    """The rows of what the month has cost so far."""
    console = scene.known('console').value
    if not console:
        return
    if console.organization:
        yield Row(ORGANIZATION, scene.icon('🏢') + console.organization)
        yield Row(GAP)
    span = MONTHS[int(console.through[5:7]) - 1] + ' 1'
    if console.days > 1:
        span += '-%d' % console.days
    yield Row(NOTE,
              '═══ Month-to-Date (%s, UTC) ═══' % span,
              'Month-to-Date (%s, UTC)' % span,
              span + ', UTC',
              role='strong')
    yield from own_rows(console)
    total = long = 'waiting'
    if console.total is not None:
        total = dollars(console.total)
        long = total + ' (API, all models)'
        if 'bill' in dict(console.problems):    # it is of an earlier poll
            total += MARK
            long += MARK
    elif console.problems:
        total = long = 'not available'
    yield Row(LIST, 'Organization: ' + long, 'Organization: ' + total, 'Org: ' + total, total)


def own_rows(console):
    """The rows of one's own cost, or of why it is not told."""
    if console.own is not None:
        own = dollars(console.own) + console.partial
        yield Row(LIST,
                  'Your Claude Code Usage: ' + own,
                  'You: ' + own,
                  own,
                  own.replace(' (partial)', MARK),
                  role='strong')
        yield Row(PERSON, '(%s)' % console.you, role='soft')
    elif console.you:
        yield Row(LIST,
                  'Your Claude Code Usage: not available',
                  'You: not available')
    else:
        yield Row(NOTE,
                  'Your own cost: name yourself with --user EMAIL.',
                  'Who are you? Start with --user EMAIL.',
                  'Who? --user EMAIL')


def budget_usage(snapshot, place):
    """The Usage of the budgets; not whole before the costs are known."""
    console = snapshot['', 'console'].value
    if not console:
        return Usage((), 0.0, False)
    return console.budgets


def budget_outlook(snapshot, place, limit):
    """The Outlook of a budget, by both rates of the month.

    It is silent of all other limits, where nobody can tell, and where the budget is used up.
    """
    if limit.kind != 'budget' or limit.used >= 100:
        return Outlook()
    console = snapshot['', 'console'].value
    found = console.projection
    if limit.id != 'budget':
        found = console.bill_projection
    if found.projected is None:
        return Outlook()
    ends = found.low, found.high
    if found.low is None:
        ends = found.projected, found.projected
    low, high = [float(end) * 100 / limit.amount.limit for end in ends]
    left = limit.resets_at - limit.at
    return Outlook(
        low=low,
        high=high,
        out_from=budget_end(limit, high),
        out_until=budget_end(limit, low),
        rate=(100 - limit.used) / left * HOUR,
        elapsed=100 - left / limit.window * 100)


def budget_end(limit, landing):
    """Return when a budget is used up that will come to so many percent; None if it is not."""
    if landing < 100:
        return None
    left = limit.resets_at - limit.at
    return limit.at + left * (100 - limit.used) / (landing - limit.used)


def budget_rows(scene):
    """The rows of the budgets: bar, end of the month, landing and amount of each."""
    moment = scene.moment
    limits = budget_usage(scene.snapshot, scene.place).limits
    columns = columns_for(scene.width, [limit.short for limit in limits], scene.compact)
    mark = scene.icon('⏰')
    for limit in limits:
        names = limit.label + ':', limit.label, limit.short
        yield Row(LIST, bar_line(names, limit.used, columns, short_left(limit, moment),
                                 elapsed=elapsed_part(limit, moment, columns.bar)))
        if not scene.compact:
            yield Row(NOTE, *[mark + words for words in reset_words(limit, moment)], role='soft')
            yield from landing_of_budget(scene, limit)
            yield Row(NOTE, amount_words(limit.amount), '', role='soft')


def landing_of_budget(scene, limit):
    """The row of how much of a budget the month will come to, or of when it is used up."""
    found = budget_outlook(scene.snapshot, scene.place, limit)
    if found.low is None:
        return
    if found.high < 100:
        low, high = percent_shown(found.low), percent_shown(found.high)
        span = '%d%%' % high
        if low != high:
            span = '%d–%s' % (low, span)
        yield Row(OUTLOOK, 'Lands at ' + span, '→' + span, role=level(found.high))
        return
    words = 'May run out from '
    if found.low >= 100:
        words = '⚠ Runs out '
    yield Row(OUTLOOK, words + scene.moment.clock(found.out_from), '→100%', role='red')


def outlook_rows(scene):
    """The rows of where the month will end, and of its days as a picture."""
    console = scene.known('console').value
    if not console:
        return
    values = [cents for _, cents in console.by_day]
    known = [cents for cents in values if cents is not None]
    if console.projection.rate is not None:
        yield from projection_rows(console, sum(known))
    elif console.days == 1:
        yield Row(NOTE,
                  'Projection: after the first 24 hours of the month',
                  'Projection: after the first 24 hours',
                  'Projection: after 24 hours',
                  role='soft')
    if known:
        days = sparkline(values, max(known + [1]))
        yield Row(DECOR, 'Day by day: ' + days, days, role='target')


def projection_rows(console, so_far):
    """The rows of a Projection: its end, the range of both rates, the rate.

    `so_far` are the cents that there are now. What is shown adds up: it is rounded before.
    """
    rate, projected, low, high = console.projection
    end = dollars(projected)
    more = ' (%s)' % dollars(whole_cents(projected) - whole_cents(so_far), '+')
    long, short = 'Organization projected', 'Org projected'
    if console.you:
        long = short = 'Projected'
        more += console.partial
    yield Row(STATE,
              long + ' by end of month: ' + end + more,
              long + ' by month end: ' + end + more,
              short + ': ' + end + more,
              short + ': ' + end,
              '-> ' + end,
              '')
    if low is not None:
        span = '%s to %s' % (dollars(low), dollars(high))
        yield Row(NOTE,
                  "Range with last week's rate: " + span,
                  'Range: ' + span,
                  span,
                  '',
                  role='soft')
    daily = dollars(rate * 24) + '/day'
    yield Row(NOTE,
              'Rate: %s/hour (%s)' % (dollars(rate), daily),
              'Rate: ' + daily,
              daily,
              '',
              role='soft')


def sparkline(values, most):
    """A bar of eight heights for each value, the highest for `most`; None is unknown."""
    bars = ''
    for value in values:
        height = 0
        if value is not None:
            height = 1 + max(0, int(value * 8 / most))
        bars += '·▁▂▃▄▅▆▇██'[height]
    return bars


def state_rows(scene):
    """The rows below the numbers: when they came, what is missing of them, and why."""
    known = scene.known('console')
    loading = loading_words(known)
    if loading:
        yield Row(UPDATED, loading, role='soft')
    else:
        yield updated_row(known, scene)
    if known.value:
        yield from problem_rows(known.value.problems, scene)
    yield from trouble_rows(known, scene)


def problem_rows(problems, scene):
    """The rows that say how much of the month is missing, and why; what is alike once.

    The first one of each is worth more than when the numbers came.
    """
    for what, failure in dict.fromkeys(problems):
        words = PROBLEMS[what]
        count = problems.count((what, failure))
        if count > 1:
            words = '%d days are missing' % count
        words += ': ' + message(failure, None, scene.moment, 'console')
        rows = list(marked_rows(NOTE, words, scene))
        rows[0].worth = STATE
        yield from rows


def breakdown_rows(scene):
    """The rows of the second panel: the cost by user, by model and by workspace.

    An amount is never cut, for it would be another one.
    """
    console = scene.known('console').value
    if not console:
        return []
    users = console.by_user[:TOP_USERS]
    others = [cents for _, cents in console.by_user[TOP_USERS:]]
    if others:
        users += (('%d others' % len(others), sum(others)),)
    tables = (
        ('Claude Code by user' + console.partial, users),
        ('Claude Code by model' + console.partial, console.by_model),
        ('By workspace', console.by_workspace))

    rows = []
    for title, costs in tables:
        if costs:
            rows.append(Row(GAP))
            rows.append(Row(LIST, title, role='strong'))
        for name, cents in costs:
            amount = ' ' + dollars(cents)
            name = fit((Span('  ' + name),), scene.width - cells(amount))
            rows.append(Row(LIST, name + (Span(amount),)))
    return rows[1:]


def console_summary(scene):
    """(the costs in one line, words) for screens of one or two rows.

    Where both costs have no room, one's own is told, with as little else as need be.
    """
    known = scene.known('console')
    console = known.value
    costs = []
    if console and console.own is not None:
        costs.append('You ' + dollars(console.own) + console.partial)
    if console and console.total is not None:
        costs.append('Org ' + dollars(console.total))
    line = ()
    if costs:
        wordings = '  '.join(costs), costs[0], costs[0][4:]
        line = (Span(fitting(wordings, scene.width)),)
    return line, loading_words(known)


def console_json(snapshot, place, moment, mode):
    """The Console as values of JSON, amounts as whole cents; None without one.

    The keys are always the same; in Console mode its source is told as well.
    """
    known = snapshot['', 'console']
    console = known.value
    sources = {}
    if mode == 'console':
        sources['console'] = source_json(known, moment, 'console')
    if not console:
        return {'console': None, 'sources': sources}

    you = None
    if console.own is not None:
        you = {
            'email': console.you,
            'cents': whole_cents(console.own),
            'currency': 'USD',
        }
    end = console.projection
    document = {
        'organization': console.organization,
        'month': console.through[:7],
        'through': console.through,
        'you': you,
        'organization_cents': whole_cents(console.total),
        'projected_cents': whole_cents(end.projected),
        'projected_high_cents': whole_cents(end.high),
        'rate_cents_per_hour': None if end.rate is None else round(float(end.rate), 4),
        'by_day': [{'day': day, 'cents': whole_cents(cents)} for day, cents in console.by_day],
    }
    for key in ('by_user', 'by_model', 'by_workspace'):
        document[key] = [{'name': name, 'currency': 'USD', 'cents': whole_cents(cents)}
                         for name, cents in getattr(console, key)]
    document['complete'] = console.complete
    return {'console': document, 'sources': sources}


def console_metrics(snapshot, place, moment, mode):
    """The samples of the month's costs for Prometheus, in dollars."""
    console = snapshot['', 'console'].value
    if not console:
        return {}
    costs = {
        'own': console.own,
        'organization': console.total,
        'projected': console.projection.projected,
    }
    return {'console_%s_cost' % name: [({'currency': 'USD'}, float(cents) / 100)]
            for name, cents in costs.items() if cents is not None}


def find_console(setup, snapshot, moment):
    """The Findings about both places of an Admin API key, then about the API itself.

    It is asked for the organization's name.
    """
    env = setup.env
    document, broken = tried(login_in_file, env)
    path = short_path(config_path(env, '.credentials.json'))
    failures = {
        'ANTHROPIC_ADMIN_API_KEY': tried(find_admin_key, None, env)[1],
        path + ', adminApiKey': broken or tried(find_admin_key, document, {})[1],
    }
    for place, failure in failures.items():
        words = 'set.'
        if failure and failure.code == 'no_credentials':
            words = 'not set; only Console mode needs it.'
        elif failure:
            words = message(failure, None, moment, 'console')
        yield Finding(not failure, place, words)

    failure = key = setup.logins.look(moment.now).key
    if not isinstance(key, Failure):
        admin = Admin(setup.options.api_url, key)
        name, failure = tried(read_organization, admin.pages('me', moment.now))
    if failure:
        words = message(failure, None, moment, 'console')
    else:
        words = '%s answered in %.2f s.' % (name, admin.api.took)
    yield Finding(not failure, 'Console mode', words)


def demo_console(now):
    """The Reading of an invented organization, whose days cost more and less.

    Its parts are as they would be stored, in whole cents.
    """
    parts = {'me': 'Example Engines'}
    total = 0
    for part in month_parts(now)[1:]:
        cents = 120 + int(part[-2:]) * 7919 % 350
        total += cents
        parts[part] = {
            'by_user': {'ada@example.com': cents, 'ben@example.com': cents // 2},
            'by_model': {'claude-opus': cents, 'claude-sonnet': cents // 2}}
    parts[bill_part(now)] = {
        'by_day': {utc_day(now): total * 49},
        'by_workspace': {'Production': total * 40, '': total * 9}}
    console = reckon_console(parts, {}, 'ada@example.com', now)
    yield Reading('', 'console', Known(
        value=with_budgets(console, (100, None), now),
        at=now,
        phase=PLANNED,
        next_at=now + CONSOLE_INTERVAL,
        free_at=now))


def budget_option(words):
    """Return the dollars of a budget. ArgumentTypeError unless it is a sensible amount."""
    return number_option(BUDGET_LEAST, BUDGET_MOST, ' USD', words)


CONSOLE_TITLE = 'Console Usage'
MODES['console'] = Mode(
    source='console',
    needs='Admin API key',
    title=CONSOLE_TITLE,
    known=lambda snapshot, place: snapshot['', 'console'],
    name=lambda snapshot, place: '',
    summary=console_summary,
    limits=budget_usage)
POLLERS.append(ConsolePoller)
PANELS += [
    Panel(0, ('console',), CONSOLE_TITLE, cost_rows),
    Panel(0, ('console',), CONSOLE_TITLE, budget_rows),
    Panel(1, ('console',), CONSOLE_TITLE, outlook_rows),
    Panel(9, ('console',), CONSOLE_TITLE, state_rows),
    Panel(10, ('console',), 'Costs', breakdown_rows),
]
DOCUMENTS.append(Document(
    json=console_json,
    metrics=console_metrics,
    helps={
        'console_own_cost': 'Your Claude Code cost, month to date.',
        'console_organization_cost': 'Cost of the organization, month to date, without Priority '
                                     'Tier.',
        'console_projected_cost': 'Where the cost will be at the end of the month: yours, or the '
                                  "organization's where you are not known.",
    },
    has_numbers=lambda snapshot, place, mode: (
        mode == 'console' and snapshot['', 'console'].value is not None)))
OUTLOOKS.append(budget_outlook)
OPTIONS['--user'] = {
    'metavar': 'EMAIL',
    'heading': 'Console mode',
    'default': '',
    'variable': 'CLAUDE_USAGE_EMAIL',
    'help': 'who you are in the Console (default: $CLAUDE_USAGE_EMAIL)',
}
OPTIONS['--budget'] = {
    'type': budget_option,
    'metavar': 'AMOUNT',
    'heading': 'Console mode',
    'help': 'a limit in Console mode: what your Claude Code may cost a month, in USD',
}
OPTIONS['--budget-org'] = {
    'type': budget_option,
    'metavar': 'AMOUNT',
    'heading': 'Console mode',
    'help': 'a limit in Console mode: what the organization may cost a month, in USD',
}
FINDINGS.append(find_console)
DEMOS.append(demo_console)


# ---- Pace Maker --------------------------------------------------------------------------------
# What Claude Pace Maker, where it is installed, knows and decides. Its files are read without a
# trace, beside hooks that write them at any moment. Its decision is reckoned by its own rules, for
# its code is neither run nor imported.

PACE_FOLDER = '~/.claude-pace-maker'
PACE_FILES = ('config.json', 'state.json', 'usage.db', 'session_registry.db')
PACE_SECONDS, PACE_ABSENT_SECONDS = 2, 60       # between two looks: where it is installed, or not
PACE_SHOW_SECONDS = 5                   # its deviation moves by a tenth in 18 seconds
WINDOW_STALE_SECONDS = 300              # a window whose reset passed longer ago is left out
AGENT_ACTIONS = 3                       # of an agent the last so many are shown
EVENT_MOST = 4000                       # characters of a line of what a hook has to say
READ_TRIES = 8                          # hooks open and close the files many times a second
PAIR_CELLS, VALUE_CELLS = 19, 9         # of the labels of settings, and of their values at least

# What the engine takes beside config.json: no release's hooks hand it these, whatever that says.
ENGINE_DEFAULTS = {'base_delay': 5, 'max_delay': 350, 'threshold_percent': 0}
# What config.json may hold and what Pace Maker takes where it does not.
PACE_DEFAULTS = {
    'safety_buffer_pct': 95.0,
    'preload_hours': 12.0,
    'five_hour_limit_enabled': True,
    'weekly_limit_enabled': True,
    'enabled': True,
    'poll_interval': 300,
    'tempo_enabled': True,
    'tempo_mode': '',
    'subagent_reminder_enabled': True,
    'intent_validation_enabled': False,
    'tdd_enabled': True,
    'langfuse_enabled': False,
    'danger_bash_enabled': True,
    'cross_session_awareness_enabled': True,
    'preferred_subagent_model': 'auto',
    'hook_model': 'auto',
    'log_level': 2,
}
OLD_TABLES = {'usage_snapshots', 'pacing_decisions', 'blockage_events'}     # all before 2.0
OLD_POLL_INTERVAL = 60                  # before 2.0
VOIDING_RELEASE = [2, 9, 1]             # from it on, two limiters that are off void a decision
SWITCHED = {True: 'on', False: 'off'}
TEMPOS = {
    'on': ('enabled', 'dim'),
    'off': ('disabled', 'yellow'),
    'auto': ('auto', ''),
}
HOOK_SIGNS = {'->': 'competitive', '+': 'competitive', '*': 'random', '|': 'failover'}
LOG_LEVELS = ('OFF', 'ERROR', 'WARNING', 'INFO', 'DEBUG')
BLOCKAGES = {
    'intent_validation': 'Intent Validation',
    'intent_validation_tdd': 'Intent TDD',
    'intent_validation_cleancode': 'Clean Code',
    'intent_validation_bug': 'Bug Detected',
    'intent_validation_dangerbash': 'Danger Bash',
    'intent_validation_deferred': 'IV Deferred',
    'pacing_tempo': 'Pacing Tempo',
    'pacing_quota': 'Pacing Quota',
    'other': 'Other',
}
# The part of a window that a dollar uses, by tier, until Pace Maker has measured it.
COEFFICIENTS = {
    '5x': {'coefficient_5h': 0.0075, 'coefficient_7d': 0.0011},
    '20x': {'coefficient_5h': 0.001875, 'coefficient_7d': 0.000275},
}

# What is read of its databases. Where a table or a column is missing, as in older releases, that
# part is not shown. For SQLite a text is greater than any number, so `<= :now` leaves out what is
# no time.
TABLE_NAMES = ("SELECT name FROM sqlite_master WHERE type = 'table' "
               "AND name NOT LIKE 'sqlite%'")
API_CACHE = 'SELECT * FROM api_cache LIMIT 1'
WHOLE_REPLY = ("SELECT ifnull(timestamp, 0) + 0.0 AS at, CAST(ifnull(raw_response, '') AS BLOB) "
               'AS body FROM api_cache LIMIT 1')
# Of one second the last; to order by both would not use the index.
SNAPSHOTS = ('SELECT * FROM usage_snapshots WHERE timestamp = '
             '(SELECT max(timestamp) FROM usage_snapshots) ORDER BY rowid DESC LIMIT 1')
PAST = ('SELECT timestamp AS at, five_hour_util, five_hour_resets_at, seven_day_util, '
        'seven_day_resets_at FROM usage_snapshots WHERE timestamp <= :now ORDER BY timestamp')
BACKOFF = 'SELECT backoff_until + 0.0 AS until FROM backoff_state WHERE backoff_until < 4e9'
DECISION = (
    'SELECT timestamp AS at, CASE WHEN should_throttle '
    'THEN max(0, CAST(delay_seconds AS INTEGER)) ELSE 0 END AS delay '
    'FROM pacing_decisions WHERE timestamp <= :now AND should_throttle NOT NULL '
    'AND delay_seconds NOT NULL ORDER BY timestamp DESC, rowid DESC LIMIT 1')
FALLBACK = (
    "SELECT ifnull(tier, '') || '' AS tier, min(ifnull(entered_at, 0) + 0.0, :now) AS entered, "
    'ifnull(baseline_5h, 0) + 0.0 AS used_5h, ifnull(baseline_7d, 0) + 0.0 AS used_7d, '
    'rollover_cost_5h + 0.0 AS spent_5h, rollover_cost_7d + 0.0 AS spent_7d, '
    "resets_at_5h, resets_at_7d FROM fallback_state_v2 WHERE state = 'fallback'")
CALIBRATED = (
    'SELECT coefficient_5h + 0.0 AS coefficient_5h, coefficient_7d + 0.0 AS coefficient_7d '
    'FROM calibrated_coefficients WHERE tier = :tier '
    'AND coefficient_5h NOT NULL AND coefficient_7d NOT NULL')
COSTS = 'SELECT total(cost_dollars) AS dollars FROM accumulated_costs WHERE timestamp >= :since'
# What it does not decide by: of the last hour or day, activity of the last 10 seconds. `until` is
# when the first row is no longer counted, although nothing is written.
RECENT = {
    'blockages':
        "SELECT ifnull(category, '') || '' AS category, count(*) AS count, "
        'min(timestamp) + 3600 AS until FROM blockage_events '
        'WHERE timestamp > :hour AND timestamp <= :now GROUP BY category '
        'ORDER BY count DESC, until',
    'langfuse':
        'SELECT total(sessions_count) AS sessions, total(traces_count) AS traces, '
        'total(spans_count) AS spans, min(bucket_timestamp) + 86400 AS until '
        'FROM langfuse_metrics WHERE bucket_timestamp > :day AND bucket_timestamp <= :now',
    'secrets':
        'SELECT total(secrets_masked_count) AS count, min(bucket_timestamp) + 86400 AS until '
        'FROM secrets_metrics WHERE bucket_timestamp > :day AND bucket_timestamp <= :now',
    # Each code once, in the colour that it had last.
    'activity':
        "SELECT max(timestamp) + 10 AS gone_at, substr(ifnull(event_code, '') || '', 1, 2) AS "
        "code, CASE WHEN status IN ('green', 'red', 'blue', 'yellow') THEN status ELSE '' END AS "
        'role FROM activity_events WHERE timestamp > :now - 10 AND timestamp <= :now '
        'GROUP BY code ORDER BY min(timestamp)',
    'events':
        "SELECT timestamp AS at, ifnull(event_type, '') || ' ' || ifnull(project_name, '') "
        "AS head, CAST(substr(ifnull(feedback_text, ''), 1, 4000) AS BLOB) AS words "
        'FROM governance_events WHERE timestamp > :hour AND timestamp <= :now '
        'ORDER BY timestamp DESC LIMIT 200',
}
# An agent is live for 20 minutes after it was seen, or a minute after it ended; it is busy for 3
# minutes after it was seen.
AGENTS = (
    "SELECT agent_id, ifnull(workspace_root, '') || '' AS workspace, role = 'root' AS is_root, "
    "ifnull(coalesce(nullif(subagent_type, ''), substr(agent_id, -8)), '') || '' AS name, "
    'coalesce(ended_at + 60, last_seen + 1200) AS gone_at, '
    'CASE WHEN ended_at IS NULL THEN last_seen + 180 ELSE 0 END AS quiet_at FROM agents '
    'WHERE coalesce(ended_at + 60, last_seen + 1200) > :now '
    'ORDER BY workspace, session_id, is_root DESC, rowid')
# Pace Maker itself keeps three actions of each agent.
TARGETED_ACTIONS = (
    "SELECT agent_id, ifnull(tool_name, '') || '' AS tool, ifnull(target, '') || '' AS target "
    'FROM agent_actions ORDER BY rowid DESC LIMIT 900')


class PaceWindow(NamedTuple):
    """One of the two windows that are paced.

    For a decision it also has what is used of it, when it resets, and what may be used by now.
    """
    id: str                     # of its Limit
    label: str                  # in lower case it is the window's name in a decision
    short: str                  # also the ending of the columns that are about it
    seconds: int
    switch: str                 # the setting that limits it
    used: float = 0.0           # percent
    resets_at: float = 0.0
    target: float = 0.0         # percent that may be used by now

    @property
    def deviation(self):
        """Percent points above the target."""
        return self.used - self.target


FIVE_HOUR = PaceWindow('five_hour', '5-Hour', '5h', 5 * HOUR, 'five_hour_limit_enabled')
SEVEN_DAY = PaceWindow('seven_day', '7-Day', '7d', 7 * DAY, 'weekly_limit_enabled')
PACE_WINDOWS = (FIVE_HOUR, SEVEN_DAY)


class PaceEvent(NamedTuple):
    """What a hook had to say about a step of Claude Code's: a governance event.

    Its head names the type ('IV'), the project and the reviewer ('[RegEx]').
    """
    at: float
    head: str
    lines: list


class PaceMaker(NamedTuple):
    """What Pace Maker's files tell, nothing secret among it.

    What is counted or listed are rows, as the queries of RECENT and AGENTS give them: dicts, of
    which the texts are cleaned. None stands for a table that this release has not got.
    """
    config: dict                            # a value for each key of PACE_DEFAULTS, as it counts
    shown: list = []                        # keys of PACE_SETTINGS
    usage: Optional[Usage] = None           # both windows, as it knows them
    is_estimated: bool = False              # it is blocked, and adds what was spent since
    decided: Optional[dict] = None          # its last decision, a row of DECISION
    blocked_until: float = 0.0
    tempo: str = 'auto'                     # a key of TEMPOS
    version: str = ''
    blockages: Optional[list] = None
    langfuse: Optional[list] = None
    secrets: Optional[list] = None
    activity: Optional[list] = None
    events: list = []                       # PaceEvents, newest first
    agents: list = []                       # rows, each with its `actions`, newest first
    problems: list = []                     # Failures: what of it is odd
    holds_until: float = math.inf           # if no file changes


READING = threading.Lock()      # closing a file drops the locks that this process has on it
SIBLINGS = ('', '-wal', '-shm', '-journal')
DEAD_WRITER = 'a hook died while it wrote, the next one mends it'


def way_to_open(header, wal, shm):
    """The URI parameters that read a SQLite file without a trace, by its header and the stamps of
    its `-wal` and `-shm`, None where there is none.

    Of the header's two format bytes 1 is a rollback journal, 2 is WAL. `mode=ro` alone would
    create a `-shm` beside a WAL file; `immutable` reads one that is being written wrongly. A
    `-wal` of 0 bytes holds nothing. SourceError malformed if it is no SQLite file, or what a dead
    writer has left would have to be undone.
    """
    if not header:
        raise SourceError('malformed', 'it is empty')
    if header[:16] != b'SQLite format 3\0' or len(header) < 100:
        raise SourceError('malformed', 'it is no database')
    if header[18:20] != b'\2\2':
        return 'mode=ro'
    if wal and shm:
        return 'mode=ro&readonly_shm=1'
    if wal and wal[1]:
        raise SourceError('malformed', DEAD_WRITER)
    return 'mode=ro&immutable=1'


def read_only(name, read, now):
    """`read(connection, now)` on a database of Pace Maker's; None where there is none.

    Nothing of it is changed, nothing left beside it. What may pass by itself is tried again.
    SourceError locked or malformed.
    """
    path = pace_path(name)
    if not os.path.lexists(path):
        return None
    sqlite3 = load_sqlite3()
    path = os.path.realpath(path)
    for _ in range(READ_TRIES):
        try:
            with READING:
                return read_once(sqlite3, path, read, now)
        except SourceError as error:
            words = error.failure.detail
            break
        except OSError as error:
            words = error.strerror
        except sqlite3.DatabaseError as error:
            words = clean(str(error))
            if 'locked' in words:           # has cost its time already
                raise SourceError('locked', name + ': by its writer')
            if 'readonly' in words:         # what is left of a transaction has to be undone
                words = DEAD_WRITER
    raise SourceError('malformed', '%s: %s' % (name, words))


def read_once(sqlite3, path, read, now):
    """One try of `read_only`.

    sqlite3.DatabaseError and OSError for what may pass by itself: a hook that has just opened the
    file or closes it, or, where that was not locked, has written while we read.
    """
    from urllib.parse import quote
    with open(regular(path), 'rb') as file:
        header = file.read(100)
    stamps = [file_stamp(path + ending) for ending in SIBLINGS]
    how = way_to_open(header, stamps[1], stamps[2])
    uri = 'file:%s?%s' % (quote(os.fsencode(path)), how)
    connection = sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)
    connection.text_factory = clean_bytes
    try:
        found = read(connection, now)
    finally:
        connection.close()
    if 'immutable' in how and stamps != [file_stamp(path + ending) for ending in SIBLINGS]:
        raise sqlite3.OperationalError('it changed while it was read')
    return found


@functools.lru_cache(maxsize=8192)
def clean_bytes(data):
    """The bytes of a text in a database -> one line that is safe on a terminal.

    Most texts are the same at the next look.
    """
    return clean(data.decode('utf-8', 'replace'))


def rows_in(connection, query, **parameters):
    """The rows of a query as dicts, column -> value.

    None where there is no such table, or it lacks a column that the query is about.
    """
    try:
        cursor = connection.execute(query, parameters)
    except load_sqlite3().OperationalError as error:
        if 'no such' in str(error):
            return None
        raise
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def row_in(connection, query, **parameters):
    """The first row of a query; {} where there is none."""
    for row in rows_in(connection, query, **parameters) or ():
        return row
    return {}


def pace_stamps(names):
    """What changes when one of these files of Pace Maker's does.

    What is new in a database is in its journal at first, which stands beside the file itself, also
    where the name is a link to it.
    """
    stamps = []
    for name in names:
        path = pace_path(name)
        if os.path.islink(path):        # else `realpath` would be half the cost of an idle look
            path = os.path.realpath(path)
        stamps += [file_stamp(path), file_stamp(path + '-wal')]
    return stamps


def pace_path(name):
    """Where Pace Maker has a file."""
    return os.path.join(os.path.expanduser(PACE_FOLDER), name)


def parse_pace_config(document):
    """(the keys of PACE_DEFAULTS that config.json sets, Failures for those of no fit value).

    SourceError malformed if it is no object.
    """
    if not isinstance(document, dict):
        raise SourceError('malformed', 'config.json: no object')
    config = {}
    problems = []
    for key, default in PACE_DEFAULTS.items():
        value = document.get(key)
        is_fit = type(value) is type(default)
        if is_number(default):
            is_fit = is_number(value) and value >= 0
        if isinstance(value, str):
            value = clean(value)
        if is_fit:
            config[key] = value
        elif value is not None:
            problems.append(Failure('malformed', 'config.json: %s is no fit value' % key))
    return config, problems


def tempo_of(config, state, tables):
    """The key of TEMPOS that is in force.

    That of the session which state.json is about, else the one in config.json, else the default
    of the release, which is known by its tables.
    """
    session, _ = tried(field, state, 'tempo_session_enabled')
    if isinstance(session, bool):
        return SWITCHED[session]
    if config.get('tempo_mode') in TEMPOS:
        return config['tempo_mode']
    if 'tempo_enabled' in config:
        return SWITCHED[config['tempo_enabled']]
    if tables and 'pacing_decisions' not in tables:     # before 1.4
        return 'on'
    return 'auto'


VERSION_FILES = ('.claude-plugin/plugin.json', 'src/pacemaker/__init__.py')
VERSION = re.compile(r'version(?:"|__)\s*[:=]\s*["\']([\w.+-]+)')


def installed_version():
    """The version of the installed Pace Maker; '' if it is not known.

    It stands in the source that it was installed from; no release writes it into config.json.
    """
    source, _ = tried(read_json, pace_path('install_source'), '', str.strip)
    for name in VERSION_FILES if source else ():
        words, _ = tried(read_json, os.path.join(source, name), '', str)
        found = VERSION.search(words or '')
        if found:
            return found.group(1)
    return ''


def reply_usage(row):
    """The Usage in a row like those of usage_snapshots and api_cache: a whole report.

    None if the row has not both percents. SourceError bad_reply for a value that is no number or
    no time.
    """
    at = time_in(row.get('timestamp'), 'timestamp')
    windows = {}
    for window in PACE_WINDOWS:
        used = row.get(window.id + '_util')
        if used is None:
            return None
        windows[window.id] = {'utilization': used,
                              'resets_at': row.get(window.id + '_resets_at')}
    return PARSERS['usage'](windows, at or 0.0, 'Pace Maker')


def read_estimate(connection, state, now):
    """Pace Maker's own estimate of both windows while its access is blocked, as a Usage.

    To what it knew when that began, `state`, it adds what was spent since, in dollars times the
    part of a window that a dollar uses. A window that has ended since begins anew at its
    boundary; `spent_...` is what was spent until Pace Maker itself saw that.
    """
    row = {'timestamp': state['entered']}
    coefficients = dict(COEFFICIENTS['20x' if '20x' in state['tier'] else '5x'])
    coefficients.update(row_in(connection, CALIBRATED, tier=state['tier']))
    for window in PACE_WINDOWS:
        since = state['entered']
        used = state['used_' + window.short]
        spent = state['spent_' + window.short]
        resets_at = time_in(state['resets_at_' + window.short], 'resets_at')
        if resets_at is not None and resets_at <= now:
            boundary = resets_at + (now - resets_at) // window.seconds * window.seconds
            since = max(since, boundary)
            resets_at = boundary + window.seconds
            used = spent = 0
        elif spent is not None:
            used = 0
        dollars = row_in(connection, COSTS, since=since).get('dollars', 0) - (spent or 0)
        used += max(0, dollars) * coefficients['coefficient_' + window.short] * 100
        row[window.id + '_util'] = min(100, used)
        row[window.id + '_resets_at'] = resets_at
    return reply_usage(row)


def read_usage(connection, now):
    """The fields of a PaceMaker that are in usage.db, and the names of its `tables`.

    Pace Maker works from its estimate while it has one, else from its last reply, else from its
    newest snapshot of one.
    """
    tables = {row['name'] for row in rows_in(connection, TABLE_NAMES)}
    fields = {name: rows_in(connection, query, now=now, hour=now - HOUR, day=now - DAY)
              for name, query in RECENT.items()}
    ends = [
        row.get('until')
        for rows in fields.values()
        for row in rows or ()
    ]
    state = row_in(connection, FALLBACK, now=now)
    if state:
        usage = read_estimate(connection, state, now)
        ends += [limit.resets_at for limit in usage.limits]     # there it begins anew
    else:
        usage = (reply_usage(row_in(connection, API_CACHE))
                 or reply_usage(row_in(connection, SNAPSHOTS)))
    fields.update(
        usage=usage,
        is_estimated=bool(state),
        decided=row_in(connection, DECISION, now=now),
        blocked_until=refused_until(connection),
        tables=tables,
        events=[parse_event(row) for row in fields['events'] or ()],
        holds_until=min([end for end in ends if end], default=math.inf))
    return fields


def refused_until(connection):
    """Until when the service refuses Pace Maker's requests, in epoch seconds; 0.0 if it does
    not."""
    return row_in(connection, BACKOFF).get('until', 0.0)


# Who reviewed: in brackets at the beginning or the end, or in a line of its own.
REVIEWER = re.compile(r'\A\s*\[\w[^]\n]{0,40}\]\s|^\s*\[\w[^]\n]{0,40}\]\s*$'
                      r'|\s\[\w[^]\n]{0,40}\]\s*\Z', re.MULTILINE)


def parse_event(row):
    """The PaceEvent in a row of RECENT.

    Its text is often a list with bullets, so it is cleaned line by line; blank lines and those of
    decoration alone are left out.
    """
    head = row['head']
    words = row['words'].decode('utf-8', 'replace')
    match = REVIEWER.search(words)
    if match:
        head += ' ' + clean(match.group())
        words = REVIEWER.sub('\n', words, 1)
    lines = [clean(line, EVENT_MOST) for line in words.splitlines()]
    return PaceEvent(row['at'], head, [line for line in lines if re.search(r'\w', line)])


def read_agents(connection, now):
    """The live agents in session_registry.db: rows of AGENTS, in the order of the tree.

    Each gets its last `actions`, the newest first, of those that are among the newest of all.
    """
    agents = rows_in(connection, AGENTS, now=now) or []
    actions: dict = {}
    for row in rows_in(connection, TARGETED_ACTIONS) or ():
        actions.setdefault(row['agent_id'], []).append(row)
    for agent in agents:
        agent['actions'] = actions.get(agent['agent_id'], [])[:AGENT_ACTIONS]
    return agents


def read_pace_maker(now):
    """The PaceMaker in the files.

    SourceError locked or malformed if config.json or usage.db cannot be read. What is wrong with
    the registry, or with a value of config.json, is among its problems: the hooks go on without
    it, and so do we.
    """
    config, problems = parse_pace_config(read_json(pace_path('config.json'), 'config.json'))
    state, _ = tried(read_json, pace_path('state.json'), 'state.json')
    fields = read_only('usage.db', read_usage, now) or {'tables': ()}
    agents, failure = tried(read_only, 'session_registry.db', read_agents, now)
    if failure:
        problems.append(failure)
    tables = fields.pop('tables')
    version = installed_version()
    is_old = tables and OLD_TABLES.issuperset(tables)
    if is_old:
        config.setdefault('poll_interval', OLD_POLL_INTERVAL)
    in_force = dict(PACE_DEFAULTS, **config)
    release = [
        int(digits) for digits in re.findall(r'\d+', version)[:3]
    ]
    if not any(in_force[window.switch] for window in PACE_WINDOWS):
        if release >= VOIDING_RELEASE or not release and not is_old:
            fields['decided'] = None
    return PaceMaker(
        config=in_force,
        shown=[key for key in PACE_SETTINGS if key in config or not is_old],
        tempo=tempo_of(config, state, tables),
        version=version,
        agents=agents or [],
        problems=problems,
        **fields)


class PacingDecision(NamedTuple):
    """What Pace Maker decides. Percents 0..100 and beyond; a delay is per tool use."""
    throttling: bool = False
    delay_seconds: int = 0
    window: Optional[str] = None            # the constrained one: '5-hour', '7-day' or None
    deviation: float = 0.0                  # of that window: used - target, in percent points
    five_hour_target: float = 0.0
    seven_day_target: float = 0.0
    stale: bool = False                     # a window's reset is long past: no longer counted
    strategy: Optional[str] = None
    algorithm: str = 'adaptive'             # or 'legacy'
    safe_allowance: Optional[float] = None
    projected_unthrottled: Optional[float] = None   # percent at the reset, at this pace ...
    projected_throttled: Optional[float] = None     # ... and with the delay

    @property
    def target(self):
        """Of the constrained window; of the 5-hour one where there is none."""
        if self.window == '7-day':
            return self.seven_day_target
        return self.five_hour_target

    @property
    def is_over(self):
        """Whether more than the safe allowance is used."""
        return self.window is not None and self.deviation + self.target > self.safe_allowance


def pacing_decision(five_hour_used, five_hour_resets_at, seven_day_used, seven_day_resets_at,
                    config, now):
    """The PacingDecision of Pace Maker's own engine, after its releases 1.0 to 2.34.

    Percents and epoch seconds, None for a window that has not started; `config` is what the
    engine is given of config.json. `tests/pacing-*.jsonl` are cases computed by the engine itself.
    """
    config = dict(ENGINE_DEFAULTS, **dict(PACE_DEFAULTS, **config))
    decision = PacingDecision()
    decide = adaptive_decision
    target_of = adaptive_target
    is_legacy = config.get('algorithm') == 'legacy' or config.get('use_adaptive') is False
    if is_legacy:
        decision = PacingDecision(strategy='legacy', algorithm='legacy')
        decide = legacy_decision
        target_of = legacy_target
    paced = []
    for window in (FIVE_HOUR._replace(used=five_hour_used, resets_at=five_hour_resets_at),
                   SEVEN_DAY._replace(used=seven_day_used, resets_at=seven_day_resets_at)):
        if window.resets_at is None:
            continue
        if now - window.resets_at > WINDOW_STALE_SECONDS and not is_legacy:
            decision = decision._replace(stale=True)
            continue
        target = target_of(window, config, now)
        decision = decision._replace(**{window.id + '_target': target})
        if config[window.switch]:
            paced.append(window._replace(target=target))
    if not paced:
        return decision
    worst = max(paced, key=lambda window: window.deviation)     # of equals the 5-hour one
    decision = decide(decision, worst, config, now)
    return decision._replace(throttling=decision.delay_seconds > 0, window=worst.label.lower(),
                             deviation=worst.deviation)


def weekday_seconds(start, end):
    """Seconds of Monday to Friday (UTC) from start to end, 0 if that is before the start.

    Of each day only the whole seconds count.
    """
    total = 0
    day = start // DAY * DAY
    end = max(start, end)
    while day < end:
        if (day // DAY + 3) % 7 < 5:        # the epoch began on a Thursday
            total += int(min(end, day + DAY) - max(start, day))
        day += DAY
    return total


def passed_seconds(window, now):
    """(seconds of a window that have passed, all that it has); of the 7-day one its weekdays."""
    start = window.resets_at - window.seconds
    if window.id == 'five_hour':
        return min(max(now - start, 0), window.seconds), window.seconds
    return weekday_seconds(start, now), weekday_seconds(start, window.resets_at)


def adaptive_target(window, config, now):
    """Percent that may be used by now: what has passed, the first hours given at once.

    That is the first half hour of the 5-hour window, of the 7-day one as config.json has it.
    """
    passed, total = passed_seconds(window, now)
    preload = config['preload_hours'] * HOUR
    if window.id == 'five_hour':
        preload = HOUR / 2
    return 100 * max(passed, preload) / total


def legacy_target(window, config, now):
    """Percent that may be used by now, by the engine of releases before 2.3.

    Logarithmic for 5 hours, in proportion to the time for 7 days; a reset that has passed counts
    as all of it.
    """
    elapsed = min(
        max(1 - (window.resets_at - now) / window.seconds, 0), 1
    )
    if window.id == 'five_hour':
        return 100 * math.log(1 + elapsed * (math.e - 1))
    return 100 * elapsed


def legacy_decision(decision, window, config, now):
    """The decision with a delay that grows with the deviation beyond the threshold, in percent
    points, whatever the time that is left."""
    beyond = window.deviation - config['threshold_percent']
    if beyond <= 0:
        return decision
    delay = max(config['base_delay'] * (1 + 2 * beyond), 5)
    return decision._replace(delay_seconds=int(min(delay, config['max_delay'])))


def adaptive_decision(decision, window, config, now):
    """The decision with a delay, its strategy, and where the window will be at its reset.

    The delay brings it to the safety buffer by then, or to half of what is left above that; on
    weekends and at the reset it is the most. Below the safe allowance there is none.
    """
    used = window.used
    buffer = config['safety_buffer_pct']
    least = config['base_delay']
    most = config['max_delay']
    safe = window.target * buffer / 100
    left = max(0, window.resets_at - now) / HOUR
    is_weekend = (now // DAY + 3) % 7 >= 5
    passed, total = passed_seconds(window, now)
    burn = 0                    # percent an hour
    strategy = 'none'
    delay = 0
    if passed:
        burn = used / (passed / total * window.seconds / HOUR)
    unthrottled = throttled = used + burn * left
    if used > safe and (is_weekend or left <= 0):
        strategy = 'emergency'
        delay = most
        unthrottled = throttled = used
    elif used > safe:
        wanted = (100 - used) / left * 0.5
        if used < buffer:
            wanted = (buffer - used) / left
        throttled = used + wanted * left
        delay = delay_for(wanted / burn if burn else 1, left, least, most)
        if delay <= least:
            delay = 0
        elif delay >= most:
            strategy = 'emergency'
        elif used - safe < 5:
            strategy = 'minimal'
        elif used - safe < 20:
            strategy = 'gradual'
        else:
            strategy = 'aggressive'
    return decision._replace(
        delay_seconds=delay,
        strategy=strategy,
        safe_allowance=safe,
        projected_unthrottled=unthrottled,
        projected_throttled=throttled)


def delay_for(ratio, left, least, most):
    """Seconds per tool use that slow the pace down to `ratio` of itself, with `left` hours to go:
    from `least` to `most`, more of them shortly before the reset."""
    if ratio >= 0.95:
        return least
    if ratio <= 0:
        return most
    slowing = 20
    if left < 1:
        slowing = 60
    elif left < 3:
        slowing = 40
    return min(
        max(int(least * (1 / ratio - 1) * slowing), least), most
    )


class PaceState(NamedTuple):
    """Pace Maker's state as it is shown."""
    status: str                             # a key of PACE_WORDS
    decision: PacingDecision = PacingDecision()     # with the delay that its hooks apply
    limits: tuple = ()                      # what is used of both windows; () without a decision
    estimated: Optional[bool] = None        # whether that is Pace Maker's own estimate


# The words of a state, longest first, and their role. `undecided` is neither throttling nor on
# pace: more than the safe allowance is used, and there is no delay until Pace Maker polls again.
PACE_WORDS = {
    'throttling': ('⚠ THROTTLING', '⚠ THROTTLING', 'orange'),
    'on_pace': ('✓ ON PACE', '✓ ON PACE', 'green'),
    'undecided': ('No delay until its next poll', 'No delay yet', ''),
    'inactive': ('INACTIVE', 'INACTIVE', 'dim'),
    'error': ('ERROR', 'ERROR', 'alert'),
    'no_data': ('No usage data yet', 'No usage data yet', 'soft'),
}


def newest_windows(pace, ours, now):
    """The Limits of both windows: Pace Maker's, or ours where that is younger.

    An estimate goes on counting after its time: a window of ours that has ended since tells less
    than it. A whole report of ours tells all windows that have started.
    """
    told = {limit.id: limit for limit in ours.limits} if ours else {}
    for limit in pace.usage.limits:
        own = told.get(limit.id)
        if not own and ours and ours.is_whole:
            own = limit._replace(used=0.0, resets_at=None, at=ours.at)
        if own and own.at > limit.at:
            if not pace.is_estimated or (own.resets_at or now) >= now:
                limit = own
        yield limit


def decision_in_force(pace, limits, now):
    """The PacingDecision for the Limits of both windows, with the delay that the hooks apply.

    They go on applying what Pace Maker has decided itself until its next poll; then they would
    apply what is decided here.
    """
    five_hour, seven_day = limits
    decision = pacing_decision(five_hour.used, five_hour.resets_at, seven_day.used,
                               seven_day.resets_at, pace.config, now)
    decided = pace.decided
    if not decided or now - decided['at'] >= pace.config['poll_interval']:
        return decision
    throttling = decided['delay'] > 0
    if throttling != decision.throttling:
        decision = decision._replace(strategy=None)
    return decision._replace(throttling=throttling, delay_seconds=decided['delay'])


def pace_state(snapshot, place, now):
    """The PaceState; None where Pace Maker is not installed, or that is not known yet.

    It is neither throttling nor on pace where more than the safe allowance is used but no delay
    is decided on, nor where no window counts because its reset is long past.
    """
    known = snapshot['', 'pace_maker']
    pace = known.value
    if known.failure:
        return PaceState('error')
    if not pace:
        return None
    if not pace.config['enabled']:
        return PaceState('inactive')
    if not pace.usage:
        return PaceState('no_data')
    limits = tuple(newest_windows(pace, snapshot[place, 'usage'].value, now))
    decision = decision_in_force(pace, limits, now)
    status = 'on_pace'
    if decision.throttling:
        status = 'throttling'
    elif decision.is_over or decision.stale and not decision.window:
        status = 'undecided'
    is_estimated = pace.is_estimated and any(limit in pace.usage.limits for limit in limits)
    return PaceState(status, decision, limits, is_estimated)


def pace_rows(scene):
    """The rows of Pace Maker's state and why it is that; in compact form the first ones only.

    In Code mode they are a part of the first panel, in Console mode of Pace Maker's own.
    """
    moment = scene.moment
    known = scene.known('pace_maker')
    pace = known.value
    # A state is shown for so many seconds, however often it is composed.
    now = moment.now // PACE_SHOW_SECONDS * PACE_SHOW_SECONDS
    state = pace_state(scene.snapshot, scene.place, now)
    if not state:
        return
    moment.change_at(now + PACE_SHOW_SECONDS)
    yield state_row(state, scene)
    if known.failure:
        yield from marked_rows(NOTE, message(known.failure, None, moment), scene)
        return
    if state.estimated:
        percents = tuple(percent_shown(limit.used) for limit in state.limits)
        yield Row(
            NOTE,
            'Estimate: 5-Hour %d%%, 7-Day %d%%' % percents,
            'Est: 5h %d%% 7d %d%%' % percents)
    if not moment.is_past(pace.blocked_until):
        words = 'its next try ' + moment.clock(pace.blocked_until)
        yield Row(NOTE, 'Blocked, ' + words, words)
    for problem in pace.problems:
        yield from marked_rows(NOTE, message(problem, None, moment), scene)
    if not scene.compact:
        if state.limits:
            yield from decision_rows(state, scene)
        yield from limiter_rows(pace, scene)


def state_words(state):
    """(the words for a state, the short ones, their role); 'stale' where no window runs."""
    if state.status == 'undecided' and not state.decision.window:
        return 'stale', 'stale', 'dim'
    return PACE_WORDS[state.status]


def state_row(state, scene):
    """The Row of the state; in compact form the delay and the deviation stand behind it.

    The label shrinks first, then the words, then the label goes.
    """
    words, short, role = state_words(state)
    decision = state.decision
    delay = deviation = ''
    if state.estimated:
        words += ' (estimated)'
        short += ' (est.)'
    if scene.compact and decision.throttling:
        delay = ' %ds' % decision.delay_seconds
    if scene.compact and decision.window:
        deviation = ' %+.1f%%' % decision.deviation
        if decision.stale:
            words += ' (stale)'
            short += ' (stale)'
    wordings = (
        (scene.icon('🎯') + 'Pace Maker: ', words + delay + deviation),
        ('Pace: ', words + delay + deviation),
        ('Pace: ', words + delay),
        ('Pace: ', short + delay),
        ('', short))
    return Row(STATE, *[(Span(label), Span(told, role)) for label, told in wordings])


def decision_rows(state, scene):
    """The rows of what is decided and why: target, deviation, delay, algorithm.

    Where all windows are stale there is nothing to tell but that.
    """
    decision = state.decision
    has_windows = decision.window or not decision.stale
    if has_windows:
        label = (decision.window or '5-hour').title() + ' Target:'
        columns = columns_for(scene.width, ('Target',))
        yield Row(
            NOTE, bar_line((label, 'Target'), decision.target, columns, role='target')
        )
    if decision.window:
        budget = 'under budget'
        if decision.deviation > 0:
            budget = 'over budget'
        elif decision.is_over:
            budget = 'inside safety buffer'
        words = '%+.1f%% (%s)' % (decision.deviation, budget)
        yield Row(NOTE, 'Deviation: ' + words, words)
    if has_windows or decision.throttling:
        delay = words = 'none'
        if decision.throttling:
            delay = '%ds' % decision.delay_seconds
            words = delay + ' per tool use'
        yield Row(NOTE, scene.icon('⏱') + 'Next delay: ' + words, 'Delay: ' + delay)
        words = decision.algorithm
        if decision.strategy and decision.strategy != 'none':
            words += '/' + decision.strategy
        yield Row(DECOR, 'Algorithm: ' + words, words, role='soft')
    for limit in state.limits:
        end = limit.resets_at or scene.moment.now
        if scene.moment.is_past(end + WINDOW_STALE_SECONDS + 0.001):
            yield Row(
                NOTE,
                limit.label + ' window is stale: its reset has passed.',
                limit.label + ' window: stale',
                role='yellow')


def limiter_rows(pace, scene):
    """The rows of the limiters that are switched off, of the tempo, and of the latest activity.

    Of that each code stands once, in the colour that it had last.
    """
    for window in PACE_WINDOWS:
        if not pace.config[window.switch]:
            yield Row(NOTE, window.label + ' Limiter: disabled', role='yellow')
    word, role = TEMPOS[pace.tempo]
    yield Row(DECOR, (Span('Tempo: '), Span(word, role)))
    codes = [Span(' ' + row['code'], row['role']) for row in pace.activity or ()
             if not scene.moment.is_past(row['gone_at'])]
    if codes:
        yield Row(NOTE, (Span('Activity:'),) + tuple(codes))


# The settings that are shown, and their labels. A release before 2.0 shows those that are set.
PACE_SETTINGS = {
    'subagent_reminder_enabled': 'Subagent reminder',
    'intent_validation_enabled': 'Intent validation',
    'tdd_enabled': 'TDD',
    'langfuse_enabled': 'Langfuse',
    'danger_bash_enabled': 'Danger bash',
    'cross_session_awareness_enabled': 'Cross-session',
    'preferred_subagent_model': 'Subagent model',
    'hook_model': 'Hook model',
    'log_level': 'Log level',
}


def setting_words(value):
    """(wordings, role) of the value of a setting, the longest wording first.

    A switch, the number of a log level, or a model; an expression of several models is told by its
    first sign too.
    """
    if isinstance(value, bool):
        return [SWITCHED[value]], '' if value else 'dim'
    if is_number(value):
        return [LOG_LEVELS[min(int(value), len(LOG_LEVELS) - 1)]], ''
    for sign, kind in HOOK_SIGNS.items():
        if sign in value:
            return [kind + ': ' + value, value], ''
    return [value], ''


def settings_rows(scene):
    """The rows of the settings, then of what was counted: blockages of the last hour by category,
    what went to Langfuse and which secrets were masked in a day."""
    def pair(label, wordings, role=''):
        column = min(PAIR_CELLS, scene.width - VALUE_CELLS)
        start = fit((Span(label, 'soft'),), column)
        return Row(LIST, *[start + (Span(' '), Span(words, role)) for words in wordings])

    pace = scene.known('pace_maker').value
    if not pace:
        return
    word, role = TEMPOS[pace.tempo]
    yield pair('Tempo', [word], role)
    for key in pace.shown:
        wordings, role = setting_words(pace.config[key])
        yield pair(PACE_SETTINGS[key], wordings, role)
    if pace.version:
        yield pair('Version', [pace.version])
    if pace.blockages is not None:
        yield Row(GAP)
        total = sum(row['count'] for row in pace.blockages)
        yield pair('Blockages (1h)', ['%d' % total], 'strong')
        for row in pace.blockages:
            name = BLOCKAGES.get(row['category'], row['category'])
            yield pair('  ' + name, ['%d' % row['count']])
    for row in pace.langfuse or ():
        yield Row(GAP)
        yield pair('Langfuse (24h)', [
            '%(sessions)d sessions, %(traces)d traces, %(spans)d spans' % row,
            '%(sessions)d / %(traces)d / %(spans)d' % row])
    for row in pace.secrets or ():
        yield pair('Secrets (24h)', ['%d masked' % row['count']])


def agent_rows(scene):
    """The rows of the live agents: workspaces, the agents in them, their subagents.

    One that was not seen for a while, or has just ended, is dim.
    """
    pace = scene.known('pace_maker').value
    moment = scene.moment
    workspace = None
    agents = [agent for agent in (pace.agents if pace else ())
              if not moment.is_past(agent['gone_at'])]
    names = [
        os.path.basename(path) for path in {agent['workspace'] for agent in agents}
    ]
    for agent in agents:
        if agent['workspace'] != workspace:
            workspace = agent['workspace']
            name = os.path.basename(workspace)
            if not name or names.count(name) > 1:
                name = workspace
            yield Row(LIST, '▸ ' + name, role='strong')
        role = 'dim' if moment.is_past(agent['quiet_at']) else ''
        lead = '  ' if agent['is_root'] else '    ↳ '
        start = Span(lead + agent['name'] + '  ', role)
        yield Row(LIST, *[(start, Span(words, role or 'soft'))
                          for words in action_words(agent['actions'])])


def action_words(actions):
    """An agent's last actions: wordings, the first with all targets, each with one less."""
    tools = [row['tool'] for row in actions]
    for count in range(len(actions), -1, -1):
        told = [target_words(row) for row in actions[:count]]
        yield ', '.join(told + tools[count:])


def target_words(row):
    """An action with its target: 'Edit mill.py', 'Bash pytest -q'; a path by its last name."""
    target = row['target'].strip('-')
    if ' ' not in target:
        target = os.path.basename(target.rstrip('/')) or target
    return (row['tool'] + ' ' + target).strip()


def governance_rows(scene):
    """The rows of the governance events of the last hour, newest first.

    Each has a head with its time, and its lines below that.
    """
    pace = scene.known('pace_maker').value
    for event in pace.events if pace else ():
        if scene.moment.is_within(event.at, HOUR):
            yield Row(
                LIST,
                time_of_day(event.at)[:5] + ' ' + event.head,
                role='strong',
            )
            for line in event.lines:
                for words in wrap(line, scene.width - 2):
                    yield Row(LIST, '  ' + words)


class PacePoller(Poller):
    """Tells what Claude Pace Maker's files tell.

    Nothing is read again while none of them has changed and the clock alone changes nothing.
    """
    sources = ('pace_maker',)
    modes = ('code', 'console')
    seen = None                 # the stamps of what was read ...
    holds_until = 0.0           # ... and until when that holds

    def once(self):
        now = self.clock()
        stamps = pace_stamps(PACE_FILES)
        if not stamps[0]:               # without config.json it is not installed
            self.seen = None
            self.tell('pace_maker', Known(None, 0.0, None, PLANNED))
            return PACE_ABSENT_SECONDS
        if stamps != self.seen or now >= self.holds_until:
            pace, failure = tried(read_pace_maker, now)
            self.tell('pace_maker', Known(pace, 0.0, failure, PLANNED))
            self.seen = None
            if pace and are_old(stamps, now):
                self.seen = stamps
                self.holds_until = pace.holds_until
        return PACE_SECONDS


def read_reply(connection, now):
    """(Usage in Pace Maker's last reply, until when the service refuses its requests or 0.0).

    Of the whole reply where that can be understood, else of its columns; None without either.
    """
    row = row_in(connection, WHOLE_REPLY)
    usage, failure = tried(lambda: PARSERS['usage'](
        parse_json(row.get('body', b'')), row['at'], 'Pace Maker'))
    if failure:
        usage, _ = tried(reply_usage, row_in(connection, API_CACHE))
    return usage, min(refused_until(connection), now + BLOCK_MOST)


def read_pace_reply(setup, replies, now):
    """The feed of Pace Maker's last reply, a whole report, and of what it knows of a block.

    Why it cannot be read is told where Pace Maker is shown.
    """
    found, _ = tried(read_only, 'usage.db', read_reply, now)
    usage, blocked_until = found or (None, 0.0)
    return [usage] if usage else [], blocked_until


PACE_KEYS = (
    'installed', 'enabled', 'status', 'throttling', 'delay_seconds', 'window', 'target_percent',
    'deviation_percent', 'algorithm', 'strategy', 'tempo', 'stale', 'estimated', 'at',
    'five_hour_percent', 'seven_day_percent')


def pace_json(snapshot, place, moment, mode):
    """Pace Maker's state as values of JSON; None for what is not known.

    What a PaceState or a PacingDecision has by the name of a key is told as it is there.
    """
    state = pace_state(snapshot, place, moment.now)
    known = snapshot['', 'pace_maker']
    told = {}
    if known.phase:
        told['installed'] = state is not None
    if state:
        told.update(state._asdict())
    if state and not known.failure:
        told.update(enabled=known.value.config['enabled'], tempo=known.value.tempo)
    if state and state.limits:
        decision, (five_hour, seven_day) = state.decision, state.limits
        told.update(decision._asdict())
        told.update(
            target_percent=round(decision.target, 4),
            deviation_percent=round(decision.deviation, 4),
            at=iso(max(five_hour.at, seven_day.at)),
            five_hour_percent=round(five_hour.used, 4),
            seven_day_percent=round(seven_day.used, 4))
    return {'pace_maker': {key: told.get(key) for key in PACE_KEYS}}


def find_pace_maker(setup, snapshot, moment):
    """The Finding about Pace Maker: its state, or why its files cannot be read."""
    failure = snapshot['', 'pace_maker'].failure
    words = 'not installed, nor needed.'
    state = pace_state(snapshot, setup.place, moment.now)
    if failure:
        words = message(failure, None, moment)
    elif state:
        words = state_words(state)[0].lstrip('⚠✓ ').lower() + '.'
    yield Finding(bool(state) and not failure, 'Pace Maker', words)


def demo_pace_maker(now):
    """The Reading of an invented Pace Maker, which throttles above its target."""
    windows = demo_windows(now)[DEMO_PLACES[0]].values()
    agent = {'workspace': '/home/ada/engine', 'is_root': True, 'name': 'agent',
             'gone_at': now + HOUR, 'quiet_at': now + HOUR,
             'actions': [{'tool': 'Edit', 'target': 'mill.py'}]}
    pace = PaceMaker(
        config=dict(PACE_DEFAULTS, hook_model='sonnet+opus->haiku', langfuse_enabled=True),
        shown=list(PACE_SETTINGS),
        usage=Usage(tuple(
            Limit(window.id, window.label, window.short, used, resets_at, window.seconds)
            for window, (_, used, resets_at) in zip(PACE_WINDOWS, windows))),
        version='2.34.2',
        blockages=[{'category': 'pacing_quota', 'count': 2}],
        langfuse=[{'sessions': 3, 'traces': 41, 'spans': 388}],
        secrets=[{'count': 7}],
        activity=[{'code': 'IV', 'role': 'green', 'gone_at': now + 10}],
        events=[PaceEvent(now - 700, 'TD engine [RegEx]', [
            'No failing test was seen before the change:',
            '- write one first, then run it again.'])],
        agents=[agent, dict(agent, is_root=False, name='test-runner')])
    yield Reading('', 'pace_maker', Known(pace, 0.0, None, PLANNED))


def read_past(connection, now):
    """The rows of all polls of Pace Maker, kept for 60 days; None without such a table."""
    return rows_in(connection, PAST, now=now)


def pace_past(now):
    """Yield (id, seconds, samples) of both windows, as far back as Pace Maker knows them.

    A sample is (at, percent, resets_at); odd ones are left out. None where it is not installed, or
    its database cannot be read now.
    """
    rows, _ = tried(read_only, 'usage.db', read_past, now)
    for window in PACE_WINDOWS:
        samples, ends = [], {}
        for row in rows or ():
            words = row[window.id + '_resets_at']
            if words not in ends:           # many rows tell of one window
                ends[words], _ = tried(time_in, words, 'resets_at')
            used = row[window.id + '_util']
            if ends[words] and is_number(used):
                samples.append((row['at'], used, ends[words]))
        if samples:
            yield window.id, window.seconds, samples


POLLERS.append(PacePoller)
PASTS.append(pace_past)
FEEDS.append(Feed(lambda env: pace_stamps(('usage.db',)), read_pace_reply))
PANELS += [
    Panel(5, ('code',), 'Claude Code Usage', pace_rows),
    Panel(29, ('console',), 'Pace Maker', pace_rows),
    Panel(30, PacePoller.modes, 'Pace Maker', settings_rows),
    Panel(31, PacePoller.modes, 'Agents', agent_rows),
    Panel(32, PacePoller.modes, 'Governance', governance_rows),
]
DOCUMENTS.append(Document(
    json=pace_json,
    metrics=lambda snapshot, place, moment, mode: {},
    helps={},
    has_numbers=lambda snapshot, place, mode: bool(
        mode == 'code' and getattr(snapshot['', 'pace_maker'].value, 'usage', None))))
FINDINGS.append(find_pace_maker)
DEMOS.append(demo_pace_maker)


# ---- Alerts ------------------------------------------------------------------------------------
# What --alert asks for, as events between two Snapshots. All monitors show an event as a line; of
# all monitors of a user, the one that notes it in the store first rings and runs the command.

ALERT_WORD = re.compile('runout|reset|failure|[1-9][0-9]?|100')     # of --alert
RESET_FROM = 95                 # percent; the reset of a limit that was lower is no event
FAILURE_SECONDS = 15 * MINUTE   # without numbers
BREAK_SECONDS = 60              # looks that are further apart: it slept, or the clock was set
SETTLE_SECONDS = 20             # what is found so soon after a break, or the start, is not new
ALERT_LOOK = 5                  # seconds between two looks at numbers that stay the same
NOTE_TRIES = 10                 # times that a locked store is tried, for STORE_TIMEOUT each
COMMAND_SECONDS = 10            # the command, and what it has started, is killed then
DEMO_ALERTS = 'runout', 'reset'
NO_LIMIT = Limit('', '', '', None)
# Variables that the command does not get.
PRIVATE_NAME = re.compile('^ANTHROPIC_|TOKEN|KEY|SECRET|PASSWORD', re.IGNORECASE)
# The table is made where somebody wants alerts; `window` is the time that the window ends.
TOLD_TABLE = (
    'CREATE TABLE IF NOT EXISTS told (account TEXT, subject TEXT, percent REAL, window REAL, '
    'at REAL)')
NOTE_TOLD = (
    'INSERT INTO told SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM told '
    'WHERE account = ?1 AND subject = ?2 AND percent >= ?3 AND abs(window - ?4) < 60)')


class Event(NamedTuple):
    """Something that --alert asks for. Of one subject and window it is told once."""
    kind: str                       # 'percent', 'runout', 'reset' or 'failure'
    place: str
    limit: Limit                    # NO_LIMIT of a failure
    window: float                   # when its window ends
    message: str
    percent: int = 0                # the highest that was asked for and is reached

    @property
    def subject(self):
        """What it is about: 'percent five_hour'."""
        return '%s %s' % (self.kind, self.limit.id)

    def is_told(self, last):
        """Whether `last`, of the same subject, or None, was of this window and percent already.

        A lower percent is told too. Windows are told apart to the minute, for the times that are
        told of one reset differ.
        """
        if not last or last.percent < self.percent:
            return False
        return abs(last.window - self.window) < MINUTE


class Watched(NamedTuple):
    """What is looked at for events, and since when without a break."""
    words: Tuple[str, ...]          # of --alert
    mode: str
    places: Tuple[str, ...]
    since: float


def events(before, after, now, watched):
    """Yield the Events that one Snapshot after another calls for.

    All but resets come as long as they hold; whoever is told of them remembers that. A window
    that is over tells nothing of the next.
    """
    words, mode, places, since = watched
    percents = [int(word) for word in words if word.isdigit()]
    for place in places:
        old = {}
        if before[place, 'identity'].value == after[place, 'identity'].value:
            old = {limit.id: limit for limit in alert_limits(before, place, mode)}
        for limit in alert_limits(after, place, mode):
            last = old.get(limit.id, limit)
            ends, ended = window_end(limit, now), window_end(last, now)
            if last.used >= RESET_FROM > limit.used and abs(ends - ended) >= MINUTE:
                if 'reset' in words:
                    yield limit_event('reset', place, limit, ended, 'begins anew', now)
            if limit.resets_at and limit.resets_at <= now:
                continue
            low = outlook_of(after, place, limit).low
            if 'runout' in words and low is not None and low >= 100:
                early = 'will run out before its reset'
                yield limit_event('runout', place, limit, ends, early, now)
            reached = max((percent for percent in percents if percent <= limit.used), default=0)
            if reached:
                used = '%d%% used' % percent_shown(limit.used)
                yield limit_event('percent', place, limit, ends, used, now, reached)

        known = MODES[mode].known(after, place)
        is_silent = now - max(known.at or 0, since) >= FAILURE_SECONDS
        if 'failure' in words and known.failure and is_silent:
            reason = message(known.failure, known.next_at, Moment(now), mode)
            window = known.at or now // DAY * DAY       # without numbers it is told once a day
            yield Event('failure', place, NO_LIMIT, window, 'No numbers for 15 minutes. ' + reason)


def limit_event(kind, place, limit, window, words, now, percent=0):
    """Return an Event of a Limit, whose message is `words` and when the limit resets."""
    told = '%s: %s.' % (limit.label, words)
    if limit.resets_at:
        told += ' ' + reset_words(limit, Moment(now))[0]
    return Event(kind, place, limit, window, told, percent)


def alert_limits(snapshot, place, mode):
    """Return the Limits of a mode of which a percent is known, the usage credits too."""
    usage = MODES[mode].known(snapshot, place).value
    if not isinstance(usage, Usage):
        usage = MODES[mode].limits(snapshot, place)
    return [limit for limit in usage.limits if limit.used is not None]


def window_end(limit, now):
    """Return when the window of a Limit ends.

    Of one that tells no reset it is a time that differs by month, as paid usage begins anew then.
    """
    return limit.resets_at or int(time.strftime('%Y%m', time.gmtime(now))) * DAY


class AlertPoller(Poller):
    """Finds the events in what the loop shows, tells them, and runs the command."""

    def __init__(self, setup):
        super().__init__(setup)
        self.options = setup.options
        self.words = tuple(setup.options.alert or ())
        if setup.options.demo:
            self.words = self.words or DEMO_ALERTS
        self.before = Snapshot()            # at the last look ...
        self.shown = Snapshot(), '', ()     # ... and now, with the mode and the places
        self.looked_at = self.since = 0.0   # the time of the last look, of the last break
        self.noted = {}                     # (account, subject) -> the last Event
        self.lines = []                     # (since when, words), the newest first
        self.child = None                   # the command that runs

    def is_settled(self, snapshot):
        return True

    def see(self, snapshot, mode, places):
        if self.words or self.options.title:
            self.shown = snapshot, mode, places
            self.asked.set()

    def once(self):
        """Tell what is new. What others told before this monitor began is not shown."""
        now, (snapshot, mode, places) = self.clock(), self.shown
        if not mode:
            return None
        if not 0 <= now - self.looked_at < BREAK_SECONDS:
            self.since, self.lines = now, []
            self.tell('alerts', Known([]))
        watched = Watched(self.words, mode, places, self.since)
        names, firsts = account_names(snapshot, mode, places), []
        for event in events(self.before, snapshot, now, watched):
            place = event.place
            account = account_key(snapshot[place, 'identity'].value, env_of(place, self.env))
            key = account, event.subject
            if event.is_told(self.noted.get(key)):
                continue
            self.noted[key] = event
            if len(places) > 1:
                event = event._replace(message='%s: %s' % (names[place], event.message))
            is_first = self.options.demo or self.note(account, event)
            if is_first or now - self.since >= SETTLE_SECONDS:
                self.show(event.message, is_alert=True)
            if is_first:
                firsts.append(event)
        if firsts and self.options.alert:   # the demo alone is silent
            self.tell('bell', Known(now))
        if self.options.title:
            self.tell('title', Known(title_words(snapshot, mode, places)))
        for event in firsts:
            reason = self.options.on_alert and self.run_command(names[event.place], event)
            if reason:
                self.show('The alert command failed: %s.' % reason)
        self.before, self.looked_at = snapshot, self.clock()
        return ALERT_LOOK

    def show(self, words, is_alert=False):
        """Have a line shown for a while; with --watch print it, on stderr if it is no alert."""
        if self.options.output != 'watch':
            others = [line for line in self.lines if line[1] != words]
            self.lines = [(self.clock(), words)] + others[:2]
            self.tell('alerts', Known(self.lines))
        elif is_alert:
            try:
                emit(words + '\n', sys.stdout)
            except OSError as error:
                warn('Cannot print: %s.' % error.strerror)
        else:
            warn(words)

    def note(self, account, event):
        """Note in the store that an Event is told -> whether no other monitor has done so.

        Where that cannot be noted, each is the first.
        """
        values = account, event.subject, event.percent, event.window, self.clock()

        def work(db):
            db.execute(TOLD_TABLE)
            return db.execute(NOTE_TOLD, values).rowcount > 0
        for _ in range(NOTE_TRIES):
            is_first, failure = tried(self.setup.store.use, work, self.clock(), True)
            if not failure or failure.code != 'locked':
                break
        return is_first is not False

    def run_command(self, name, event):
        """Run --on-alert for an Event of an account of that name; return why it fails, or ''.

        What it has started and left behind ends with it.
        """
        import subprocess
        nowhere = subprocess.DEVNULL
        try:
            self.child = subprocess.Popen(
                self.options.on_alert, stdin=nowhere, stdout=nowhere, stderr=nowhere,
                env=command_env(name, event), start_new_session=True)
            code = self.child.wait(COMMAND_SECONDS)
        except OSError as error:
            return os.strerror(error.errno)     # strerror of Python 3.6 names the command as well
        except subprocess.TimeoutExpired:
            return 'it took longer than %d seconds' % COMMAND_SECONDS
        finally:
            self.close()
        return code and 'it ended with %d' % code

    def close(self):
        """Kill the command that runs, and what it has started."""
        child, self.child = self.child, None
        if child:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except (OSError, AttributeError):       # all have ended; Windows has no groups
                child.kill()


def command_env(name, event):
    """Return the environment of the command: ours without what may be secret, and the facts."""
    env = {key: value for key, value in os.environ.items() if not PRIVATE_NAME.search(key)}
    limit = event.limit
    env.update(
        CLAUDE_USAGE_EVENT=event.kind,
        CLAUDE_USAGE_ACCOUNT=name,
        CLAUDE_USAGE_LIMIT=limit.id,
        CLAUDE_USAGE_PERCENT='' if limit.used is None else '%g' % limit.used,
        CLAUDE_USAGE_RESETS_AT=iso(limit.resets_at) or '',
        CLAUDE_USAGE_MESSAGE=event.message)
    return env


def title_words(snapshot, mode, places):
    """Return the title of the window: the highest percent of all limits."""
    used = [limit.used for place in places for limit in alert_limits(snapshot, place, mode)]
    if not used:
        return 'Claude'
    return 'Claude %d%%' % percent_shown(max(used))


def show_watch(setup, pollers, ui):
    """Let alerts be told as lines on stdout until a signal ends it; return the exit code."""
    if not setup.options.alert:
        warn('error: --watch needs an --alert')
        return 2
    for number in stop_signals():
        signal.signal(number, signal.default_int_handler)
    snapshot, pause = Snapshot(), threading.Event()
    try:
        while True:
            snapshot = drain(setup.inbox, snapshot)
            ui = with_mode(ui, snapshot)
            places = accounts_of(snapshot, ui)
            serve(pollers, ui.mode, places)
            for poller in pollers:
                poller.see(snapshot, ui.mode, places)
            pause.wait(KEY_SECONDS)
    except KeyboardInterrupt:
        return 0


def find_alerts(setup, snapshot, moment):
    """Yield the Findings about the alerts that are wanted, and whether their command is there."""
    import shutil
    options = setup.options
    if options.alert:
        yield Finding(True, 'Alerts', ', '.join(options.alert) + '.')
    if options.on_alert and not options.alert:
        yield Finding(False, 'Alert command', 'needs an --alert.')
    elif options.on_alert:
        path = shutil.which(options.on_alert[0])
        words = clean(path or options.on_alert[0] + ' cannot be run') + '.'
        yield Finding(bool(path), 'Alert command', words)


def alert_option(words):
    """Return the word of --alert. ArgumentTypeError unless it is one."""
    if not ALERT_WORD.fullmatch(words):
        raise argparse.ArgumentTypeError('must be a percent, runout, reset or failure')
    return words


def command(words):
    """Return the words of --on-alert, split as by a shell.

    ValueError if that is not possible, or where they cannot be run.
    """
    import shlex
    parts = shlex.split(words, posix=not WINDOWS)
    if not parts or not parts[0] or b'\0' in os.fsencode(words):
        raise ValueError('no command')
    return parts


WATCHERS.append(AlertPoller)
VIEWS['watch'] = show_watch
FINDINGS.append(find_alerts)
OPTIONS['--alert'] = {
    'action': 'append', 'type': alert_option, 'metavar': 'WHAT', 'heading': 'alerts',
    'help': 'ring and show a line when a limit is used to that percent, at runout (it will run '
            'out before its reset), at the reset of one that was at 95%% or more, or at failure '
            '(no numbers for 15 minutes)'}
OPTIONS['--on-alert'] = {
    'type': command, 'metavar': 'COMMAND', 'heading': 'alerts',
    'help': 'run a command at an alert, without a shell; $CLAUDE_USAGE_MESSAGE says what it is'}
OPTIONS['--watch'] = {
    'action': 'store_const', 'dest': 'output', 'const': 'watch',
    'help': 'show no screen, print a line at each --alert'}
OPTIONS['--title'] = {
    'action': 'store_true', 'heading': 'alerts',
    'help': 'show the highest percent in the title of the window'}


# ---- View --------------------------------------------------------------------------------------
# Pure: from a Snapshot, a Ui, a size and a Moment to a Frame. The panels tile the screen, so the
# painter has nothing to decide. Until when the Frame holds, the Moment knows.

HINT = ('Ctrl+C to stop · r refresh · ? help', 'r refresh · ? help', '? help')
TAB_HINT = ('Ctrl+C to stop · Tab next · r refresh · ? help', 'Tab next · r refresh · ? help',
            'Tab next · ? help', '? help')
HELP_HINT = ('Ctrl+C to stop · Esc close · ↑ ↓ scroll', 'Esc close · ↑ ↓ scroll', 'Esc close')
HELP = ('Bars are green up to 50%, yellow up to 80%, orange up to 99%, red from 100% on.',
        "The organization's cost is without Priority Tier.")
ASKED = ('every 30 seconds while usage moves, up to every 5 minutes while it does not or the '
         'status line tells it, five times in 5 minutes at most; the Console every 2 minutes')
ASKED_EVERY = 'every %g seconds, five times in 5 minutes at most'       # with --interval
ICONS_WIDTH = 28                        # narrower boxes have no icons
AGED = ('error', 'stale')               # of these the age of the numbers is told
ALERT_SECONDS = 60                      # an alert stays in the hint's row
UNKNOWN_TITLE = 'Claude Usage'          # before it is known which mode it is


def updated_words(known, moment):
    """Return when the numbers came, and their age once that matters: wordings, the longest first.

    The age is told where the source fails, or where the numbers are older than two of its
    intervals.
    """
    if known.at is None:
        words = 'never' if known.failure else 'waiting for the first reply'
        return 'Updated: ' + words, words.split()[0]
    at = time_of_day(known.at)
    if status(known, moment) not in AGED:
        return 'Updated: ' + at, at
    age = countdown(moment.age(known.at)) + ' ago'
    return 'Updated: %s (%s)' % (at, age), '%s (%s)' % (at, age), age


def updated_row(known, scene, *more):
    """Return the row of `updated_words`, followed by as much of `more` as there is room for.

    `more` says whose report it was, or when the next one comes. An age is worth more than a time
    of day: it stays longer where the screen is low.
    """
    words = updated_words(known, scene.moment)
    wordings = [
        words[0] + ''.join(more[:count]) for count in range(len(more), 0, -1)
    ]
    if more:
        wordings += [word + more[0] for word in words[1:]]
    wordings += words
    worth = UPDATED
    if status(known, scene.moment) in AGED:
        worth = AGE
    return Row(worth, *wordings, role='soft')


def trouble_rows(known, scene):
    """Yield the rows that say why nothing is shared with other monitors, if so, then why a source
    fails, if it does, and what happens next.
    """
    unshared = scene.known('store').value
    if unshared:
        yield from marked_rows(NOTE, unshared, scene)
    if known.failure:
        words = message(known.failure, known.next_at, scene.moment, scene.ui.mode)
        yield from marked_rows(ALERT, words, scene)


def looking_rows(scene):
    """Yield the row of a screen on which nothing is known yet."""
    yield Row(LIST, 'Looking for a login…')


def title_of(title, origin, width):
    """Return the title of a box that names the origin of its numbers.

    In a narrow box the title is cut word by word, not the origin, for that host gets the token.
    """
    if not origin:
        return title
    words = title.split()
    wordings = [
        ' '.join(words[:count]) + ' · ' + origin for count in range(len(words), 0, -1)
    ]
    return fitting(wordings + [origin], width)


class Choice(NamedTuple):
    """A panel that Tab can choose."""
    title: str
    parts: list                         # the functions that make its rows
    place: str                          # the account it is about
    is_first: bool                      # whether it is the first of its account, or of the mode


def accounts_of(snapshot, ui):
    """Return the places to show: of several config directories with one account, the first that
    has a login.

    Two places are known to have one account once the identities in both have been read. Console
    mode is about no place.
    """
    def has_login(place):
        credentials = snapshot[place, 'credentials'].value
        return bool(credentials) and not isinstance(credentials.login, Failure)
    if not ui.places or ui.mode == 'console':
        return [ui.place]
    found = {}
    for place in ui.places:
        identity = snapshot[place, 'identity'].value or Account()
        found.setdefault(identity.uuid or place, []).append(place)
    return [max(same, key=has_login) for same in found.values()]


def account_names(snapshot, mode, places):
    """Return {place: what tells its account from others}, each name once."""
    names = {place: MODES[mode].name(snapshot, place) for place in places}
    told = list(names.values())
    return {place: name if told.count(name) < 2 else '%s %s' % (name, short_path(place))
            for place, name in names.items()}


def panels_of(scene):
    """Return the Choices of all panels that there are, in the order of Tab.

    The first panel of the mode, or of each account, is always there. Any other panel is there if
    it has rows; to know that, its first row is made, as for a screen of one fixed size.
    """
    mode, snapshot = scene.ui.mode, scene.snapshot
    if not mode:
        return [Choice(UNKNOWN_TITLE, [looking_rows], scene.ui.place, True)]
    places = accounts_of(snapshot, scene.ui)
    names = account_names(snapshot, mode, places)
    choices = []
    for place in places:
        scene = scene._replace(place=place, width=WIDE, height=WIDE)    # as on any other screen
        panels = {MODES[mode].title: []}
        made = [panel for make in PANEL_MAKERS for panel in make(scene)]
        for panel in sorted(PANELS + made, key=lambda panel: panel.rank):
            if mode in panel.modes and (panel in made or any(True for _ in panel.rows(scene))):
                panels.setdefault(panel.title, []).append(panel.rows)
        for title, parts in panels.items():
            is_first = title == MODES[mode].title
            if is_first and len(places) > 1:
                title = names[place]
            choices.append(Choice(title, parts, place, is_first))
    return choices


def panel_rows(parts, scene):
    """Return the rows of all parts of a panel, with a gap between two parts."""
    rows = []
    for part in parts:
        more = list(part(scene))
        if rows and more:
            rows.append(Row(GAP))
        rows += more
    return rows


def make_panel(choice, scene, width, height, has_keys=True):
    """Return the Frame of a panel, as high as its rows need, at most `height` lines.

    Where the rows do not fit, they are made again in compact form. The panel that has the keys is
    scrolled, and its title stands out.
    """
    inner, room = inside(width, height)
    scene = scene._replace(place=choice.place, width=inner, height=room,
                           icons=scene.ui.icons and width >= ICONS_WIDTH)
    for is_compact in (False, True):
        rows = panel_rows(choice.parts, scene._replace(compact=is_compact))
        if wanted_lines(rows) <= room:
            break
    title = choice.title
    if choice.is_first:
        title = title_of(title, scene.ui.origin, inner)
    if has_keys:
        return box(title, rows, width, height, scene.ui.scroll)
    return box(title, rows, width, height, role='soft')


def help_panel(scene, width, height):
    """Return the Frame of the help: the keys, when the source is asked, what the signs mean."""
    ui, inner = scene.ui, inside(width, height)[0]
    column = max(cells(key.shown) for key in KEYS) + 2
    rows = [Row(LIST, fit((Span(key.shown, 'strong'),), column) + (Span(key.help),))
            for key in KEYS]
    rows.append(Row(BLANK))
    asked = ASKED
    if ui.interval is not None:
        asked = ASKED_EVERY % ui.interval
    sentences = list(HELP)
    sentences.insert(1, 'All your monitors ask as one: %s.' % asked)
    next_at = main_known(scene).next_at
    if next_at:
        sentences.insert(0, 'Next request: %s.' % time_of_day(next_at))
    for make in HELPS:
        sentences += make(scene)
    for sentence in sentences:
        rows += [Row(LIST, line) for line in wrap(sentence, inner)]
    return box('Help', rows, width, height, ui.scroll)


def main_known(scene):
    """What is Known of the source that the mode is about."""
    if not scene.ui.mode:
        return Known()
    return MODES[scene.ui.mode].known(scene.snapshot, scene.place)


def small_frame(scene, width, height):
    """Return the lines of a screen of one or two rows: the numbers, and what is wrong with them.

    Of several accounts they are those of the one that has the keys. Where there is one row only,
    a sign in front of the numbers says that something is wrong.
    """
    known, mark = main_known(scene), ()
    if known.failure and height < 2:
        mark = (Span(scene.icon('⚠'), 'alert'),)
    scene = scene._replace(width=width - width_of(mark))
    numbers, words, role = (), 'Looking for a login…', 'soft'
    if scene.ui.mode:
        numbers, words = MODES[scene.ui.mode].summary(scene)
        words = words or fitting(updated_words(known, scene.moment), width)
    if known.failure:
        words = scene.icon('⚠') + message(known.failure, known.next_at, scene.moment,
                                          scene.ui.mode)
        role = 'alert'
    if not numbers:
        lines = [(Span(line, role),) for line in wrap(words, width)]
    else:
        lines = [mark + numbers, (Span(words, role),)]
    return [fit(line, width) for line in lines[:height]]


def compose(snapshot, ui, size, moment):
    """Return the Frame for a terminal of `size` (columns, lines): exactly so many lines of so
    many cells.

    It is a pure function of its arguments. The Moment knows afterwards until when the Frame
    holds.
    """
    width, height = size
    scene = Scene(snapshot, ui, moment, ui.place, icons=ui.icons)
    choices = panels_of(scene)
    if ui.panel >= len(choices):        # it is gone
        ui = ui._replace(panel=0, scroll=0)
    chosen = choices[ui.panel]
    scene = scene._replace(ui=ui, place=chosen.place)
    firsts = [choice for choice in choices if choice.is_first]
    has_notice = not moment.is_past(ui.notice_until)
    alerts = [words for at, words in snapshot['', 'alerts'].value or ()
              if moment.is_within(at, ALERT_SECONDS)]
    has_hint = ui.hint and height > BOX_HEIGHT
    if has_notice or alerts:
        has_hint = height > 1
    room = height - int(has_hint)
    if ui.help:
        frame = help_panel(scene, width, room)
    elif height <= 2:
        frame = Frame(small_frame(scene, width, room))
    elif len(firsts) > 1 and chosen.is_first:
        frame = grid(firsts, chosen, scene, width, room)
    elif len(choices) > 1 and width >= WIDE:
        own = [choice for choice in choices if choice.place == chosen.place]
        frame = side_by_side(own, own.index(chosen), scene, width, room)
    else:
        frame = make_panel(chosen, scene, width, room)
    lines = filled_up(frame.lines, width, room)
    if has_hint:
        hints, role = HINT, 'dim'
        if has_notice:
            hints, role = ui.notice, 'strong'
        elif alerts:
            hints, role = ('⚠ ' + ' · '.join(alerts),), 'alert'
        elif ui.help:
            hints = HELP_HINT
        elif len(choices) > 1:
            hints = TAB_HINT
        lines.append(
            fit((Span(fitting(hints, width), role),), width)
        )
    if ui.ascii:
        lines = [ascii_line(line) for line in lines]
    return frame._replace(lines=lines)


def side_by_side(choices, chosen, scene, width, height):
    """Return the Frame of the first panel and, in a column beside it, of all others.

    Where these do not fit one below the other, the `chosen` one, which has the keys, is the first
    of the column, and those before it are left out. It is as high as its rows need; of the others
    the highest give way first, as long as they have SHARE_HEIGHT.
    """
    half = width // 2

    def make(index, width, room):
        return make_panel(choices[index], scene, width, room, index == chosen)
    shown = left = make(0, half, height)
    heights = {index: len(make(index, width - half, height).lines)
               for index in range(1, len(choices))}
    if sum(heights.values()) > height:
        heights = {index: lines for index, lines in heights.items() if index >= chosen}
    while sum(heights.values()) > height:
        highest = max(heights, key=lambda index: (index != chosen, heights[index], index))
        if heights[highest] <= SHARE_HEIGHT or highest == chosen:
            break
        heights[highest] -= 1
    right = []
    for index, lines in heights.items():
        room = min(lines, height - len(right))
        if room >= BOX_HEIGHT:
            frame = make(index, width - half, room)
            right += frame.lines
            if index == chosen:
                shown = frame
    return shown._replace(lines=beside(left.lines, right, half, width, height))


def beside(left, right, half, width, height):
    """Return two columns of lines as one, `height` lines high; the left one is `half` cells
    wide.
    """
    lines = zip(
        filled_up(left, half, height), filled_up(right, width - half, height)
    )
    return [first + second for first, second in lines]


def grid(choices, chosen, scene, width, height):
    """Return the Frame of the first panels of several accounts.

    They stand below one another, or in two columns where there is room. Where they do not all
    fit, the chosen one is the first.
    """
    columns = 2 if width >= WIDE else 1
    room = len(choices)
    while room > columns and height // -(-room // columns) < BOX_HEIGHT:
        room -= 1
    if room < len(choices):
        first = choices.index(chosen)
        choices = (choices + choices)[first:first + room]
    half, lines, shown = width // columns, [], None
    while choices:
        most = (height - len(lines)) // -(-len(choices) // columns)
        sides = []
        for choice, side in zip(choices[:columns], (half, width - half)):
            frame = make_panel(choice, scene, side, most, choice == chosen)
            sides.append(frame.lines)
            if choice == chosen:
                shown = frame
        choices = choices[columns:]
        right = sides[1] if len(sides) > 1 else []
        lines += beside(sides[0], right, half, width, max(map(len, sides)))
    return shown._replace(lines=lines)


def filled_up(lines, width, height):
    """Return lines and as many blank ones as make them `height`."""
    return lines + [fit((), width)] * (height - len(lines))


# ---- Documents ---------------------------------------------------------------------------------
# The same Snapshot as text, for pipes, scripts, prompts and Prometheus, in the words and by the
# rounding of the screen.

STORE_STEP = ' Mend or delete it, or set CLAUDE_USAGE_DIR to a folder of your own.'
CLOCK_OFF = HOUR                # a server's clock that is off by more is told by --doctor
METRICS = {
    'up': 'Whether the last request brought numbers.',
    'reply_age_seconds': 'Age of the numbers.',
    'limit_used_ratio': 'Used part of a limit; 1 is all of it.',
    'limit_reset_timestamp_seconds': 'When the window of a limit resets.',
    'limit_projected_ratio': 'Where a limit will be at its reset; 1 is all of it.',
}


def as_text(lines, depth):
    """Return lines of spans as text without blank ends, in `depth` colours: 256, 8 or 0."""
    texts = [
        ''.join(painted(span, depth) for span in trimmed(line))
        for line in lines
    ]
    while texts and not texts[-1]:
        texts.pop()
    return ''.join(text + '\n' for text in texts)


def trimmed(line):
    """Return a line without the blanks at its end."""
    while line and not line[-1].text.strip():
        line = line[:-1]
    if not line:
        return ()
    last = line[-1]
    return line[:-1] + (
        Span(last.text.rstrip(), last.role),
    )


def painted(span, depth):
    """Return the text of a span between the escape sequences of its role.

    The codes are those of SGR: 1 is bold, 2 dim, 30 to 37 the eight colours, 38;5;N one of 256.
    """
    role, codes = ROLES[span.role], []
    if is_bold(role, depth):
        codes.append('1')
    if role.dim:
        codes.append('2')
    if role.colour and depth >= 256:
        codes.append('38;5;%d' % COLOURS[role.colour][0])
    elif role.colour:
        codes.append('%d' % (30 + COLOURS[role.colour][1]))
    if not depth or not codes:
        return span.text
    return '\x1b[%sm%s\x1b[0m' % (';'.join(codes), span.text)


def has_numbers(snapshot, place, mode):
    """Return whether there is a number to show in a mode."""
    return any(document.has_numbers(snapshot, place, mode) for document in DOCUMENTS)


def source_json(known, moment, mode=''):
    """Return how a source stands as values of JSON; a failure is told in the words of the
    mode.
    """
    failure, age, words = known.failure, None, ''
    if known.at is not None:
        age = max(0, int(moment.now - known.at))
    if failure:
        words = message(failure, known.next_at, moment, mode)
    return {'status': status(known, moment), 'at': iso(known.at), 'age_seconds': age,
            'error': failure.code if failure else None, 'message': words,
            'next_at': iso(known.next_at)}


def as_json(snapshot, places, moment, mode):
    """Return the Snapshot as one JSON document; of several accounts one each, in a list."""
    documents = [account_json(snapshot, place, moment, mode) for place in places]
    document = documents[0]
    if len(documents) > 1:
        document = {'schema': 1, 'accounts': documents}
    return json.dumps(document, indent=2) + '\n'


def limit_json(snapshot, place, limit, moment):
    """Return a Limit as values of JSON, with what other features know of it."""
    left = None
    if limit.resets_at is not None and not is_beyond(limit, moment.now):
        left = max(0, int(limit.resets_at - moment.now))
    found = {'id': limit.id, 'label': limit.label, 'used_percent': limit.used,
             'resets_at': iso(limit.resets_at), 'resets_in_seconds': left,
             'window_seconds': limit.window, 'level': level(limit.used)}
    found['outlook'] = outlook_json(outlook_of(snapshot, place, limit))
    return found


def outlook_of(snapshot, place, limit):
    """Return the Outlook of a Limit: of the feature that has one, else a silent one."""
    for find in OUTLOOKS:
        found = find(snapshot, place, limit)
        if found.low is not None:
            return found
    return Outlook()


def outlook_json(outlook):
    """Return an Outlook as values of JSON; None where it is silent."""
    if outlook.low is None:
        return None
    return {
        'low_percent': round(outlook.low, 1),
        'high_percent': round(outlook.high, 1),
        'runs_out_from': iso(outlook.out_from),
        'runs_out_until': iso(outlook.out_until),
        'sustainable_percent_per_hour': round(outlook.rate, 2),
        'elapsed_percent': round(outlook.elapsed, 1),
        'windows_seen': outlook.windows_seen,
    }


def account_json(snapshot, place, moment, mode):
    """Return what is known of one account as values of JSON, with the same keys always.

    Each feature adds its own keys; what they say of their sources stands together under
    `sources`.
    """
    limits = MODES[mode].limits(snapshot, place).limits
    document = {'schema': 1, 'version': __version__, 'generated_at': iso(moment.now),
                'mode': mode,
                'limits': [limit_json(snapshot, place, limit, moment) for limit in limits]}
    sources = {}
    for feature in DOCUMENTS:
        found = feature.json(snapshot, place, moment, mode)
        sources.update(found.pop('sources', {}))
        document.update(found)
    document['sources'] = sources
    return document


def as_metrics(snapshot, places, moment, mode):
    """Return the Snapshot in Prometheus' text format 0.0.4.

    It is for the textfile collector of node_exporter, so nothing has to listen on a port. Of
    several accounts, each sample has a label that names its account.
    """
    found, helps = {}, dict(METRICS)
    for feature in DOCUMENTS:
        helps.update(feature.helps)
    names = account_names(snapshot, mode, places)
    for place in places:
        account = {}
        if len(places) > 1:
            account = {'account': names[place]}
        for name, samples in account_metrics(snapshot, place, moment, mode).items():
            found.setdefault(name, []).extend(
                (dict(account, **labels), value) for labels, value in samples)
    return ''.join(metric_text('claude_usage_' + name, words, found.get(name, ()))
                   for name, words in helps.items())


def account_metrics(snapshot, place, moment, mode):
    """Return the samples of one account: name -> [(labels, value)]."""
    known = MODES[mode].known(snapshot, place)
    is_up = has_numbers(snapshot, place, mode) and not known.failure
    limits = MODES[mode].limits(snapshot, place).limits
    found = {
        'up': [({}, int(is_up))],
        'limit_used_ratio': [({'limit': limit.id}, limit.used / 100) for limit in limits],
        'limit_reset_timestamp_seconds': [({'limit': limit.id}, limit.resets_at)
                                          for limit in limits if limit.resets_at is not None],
        'limit_projected_ratio': [],
    }
    for limit in limits:
        outlook = outlook_of(snapshot, place, limit)
        for bound, end in (('low', outlook.low), ('high', outlook.high)):
            if end is not None:
                sample = {'limit': limit.id, 'bound': bound}, round(end / 100, 3)
                found['limit_projected_ratio'].append(sample)
    if known.at is not None:
        oldest = min((limit.at for limit in limits), default=known.at)
        found['reply_age_seconds'] = [({}, max(0, moment.now - oldest))]
    for feature in DOCUMENTS:
        found.update(feature.metrics(snapshot, place, moment, mode))
    return found


def metric_text(name, words, samples):
    """Return the lines of one gauge with its samples [(labels, value)]; '' if there are none."""
    if not samples:
        return ''
    lines = ['# HELP %s %s' % (name, words), '# TYPE %s gauge' % name]
    for labels, value in samples:
        told = ','.join('%s="%s"' % (label, re.sub(r'(["\\])', r'\\\1', words))
                        for label, words in labels.items())
        if told:
            told = '{%s}' % told
        lines.append('%s%s %r' % (name, told, value))
    return '\n'.join(lines) + '\n'


def check_limits(usage, percent, moment):
    """Return (exit code, Limits) of --check for a Usage.

    The code is 3, with the limits at `percent` or over, by numbers younger than CHECK_MAX_AGE;
    else 1 if a limit is not known or was reported too long ago; else 0.
    """
    young = [limit for limit in usage.limits if moment.now - limit.at <= CHECK_MAX_AGE]
    over = [limit for limit in young if limit.used >= percent]
    if over:
        return 3, over
    is_known = usage.limits and usage.is_whole and len(young) == len(usage.limits)
    return (0 if is_known else 1), []


def find_versions(setup, snapshot, moment):
    """Yield the Findings about the versions of what is used."""
    import platform
    yield Finding(True, 'claude-usage ' + __version__, 'Python %s, %s.' % (
        platform.python_version(), platform.system()))
    for name, load, attribute in (('urllib3', load_urllib3, '__version__'),
                                  ('SQLite', load_sqlite3, 'sqlite_version')):
        module, failure = tried(load)
        words = failure.detail if failure else getattr(module, attribute)
        yield Finding(not failure, name, words + '.')


def find_network(setup, snapshot, moment):
    """Yield the Findings about the proxy and the certificates for the service's address.

    The proxy is named without its login.
    """
    env = setup.env
    proxy = proxy_of(setup.options.api_url) or 'none'
    host = proxy.rpartition('@')[2].split('://')[-1]
    yield Finding(True, 'Proxy', clean(host) + '.')
    given = [name for name in CERTIFICATE_FILES if env.get(name)]
    for name in given:
        is_there = os.access(env[name], os.R_OK)
        words = '.' if is_there else ' cannot be read. Correct or unset it.'
        yield Finding(is_there, name, short_path(env[name]) + words)
    if not given:
        yield Finding(True, 'Certificates', "the system's.")


def find_store(setup, snapshot, moment):
    """Yield the Finding about our own file: what has just gone wrong with it, or what it holds."""
    store = setup.store
    trouble = snapshot['', 'store'].value
    if not trouble:
        _, failure = tried(store.touch, moment.now)
        count, no_count = tried(store.count, moment.now)
        failure = failure or no_count
        if not failure:
            words = '%s, %d KiB, %d samples.' % (
                short_path(store.path), os.path.getsize(store.path) // 1024, count)
            if store.folder == store.folders[0]:
                yield Finding(True, 'Store', words)
                return
            trouble = '%s Not in the usual folder: %s.' % (words, store.passed_over.detail)
        else:
            trouble = STORE_TROUBLE[failure.code].format(failure.detail)
    yield Finding(False, 'Store', trouble + STORE_STEP)


def doctor_findings(setup, snapshot, moment):
    """Yield all Findings of --doctor.

    They are about versions, the network, what each feature looks at, the store and the terminal.
    """
    for find in [find_versions, find_network] + FINDINGS + [find_store]:
        yield from find(setup, snapshot, moment)
    yield find_terminal()


def as_findings(findings):
    """Return the lines of --doctor: a sign, the place, and what there is to say of it."""
    lines = []
    for finding in findings:
        mark = Span('✓ ', 'green') if finding.is_good else Span('✗ ', 'alert')
        lines.append(
            (mark, Span(finding.place + ': ', 'strong'), Span(finding.words))
        )
    return lines


# ---- Keys --------------------------------------------------------------------------------------
# What a key does is a pure function from one Ui to the next. The table feeds the help panel,
# --help, and the check of README.

NOTICE_SECONDS = 4              # an answer to a key stays in the hint's row


class Key(NamedTuple):
    """What a key does. The help panel and --help are made from this."""
    names: Tuple[str, ...]
    shown: str
    help: str
    action: Callable            # (ui, snapshot, frame, now) -> ui


def say(ui, now, *notice):
    """Return the Ui with an answer to a key, long and short, which stays for NOTICE_SECONDS."""
    return ui._replace(notice=notice, notice_until=now + NOTICE_SECONDS)


def quit_program(ui, snapshot, frame, now):
    """End the program."""
    return ui._replace(exit_code=0)


def refresh(ui, snapshot, frame, now):
    """Ask for the numbers now, or say when that is possible, or why it is not."""
    if not ui.mode:
        return say(ui, now, 'Already asking.')
    known = MODES[ui.mode].known(snapshot, ui.place)
    if is_awaited(snapshot, ui) or not known.phase:
        return say(ui, now, 'Already asking.')
    if known.free_at is None and known.failure:
        return say(
            ui,
            now,
            message(known.failure, None, Moment(now), ui.mode),
        )
    if known.free_at and known.free_at > now:
        at = time_of_day(known.free_at + 1)
        return say(ui, now, 'Too soon, refresh possible at %s.' % at, 'Refresh from ' + at, at)
    return say(ui._replace(asked_at=now), now, 'Refreshing.')


def switch_mode(ui, snapshot, frame, now):
    """Show the other mode, where there are credentials for it; else say what is missing."""
    credentials = snapshot[ui.place, 'credentials'].value
    if not credentials:
        return say(ui, now, 'Looking for a login…')
    for mode in MODES:
        if mode != ui.mode:
            if mode in modes_of(credentials):
                return ui._replace(mode=mode, panel=0, scroll=0, help=False)
            missing = MODES[mode].needs
            ui = say(ui, now, 'There is no ' + missing + '.', missing)
    return ui


def toggle_help(ui, snapshot, frame, now):
    """Open the help, or close it."""
    return ui._replace(help=not ui.help, scroll=0)


def close_help(ui, snapshot, frame, now):
    """Close the help."""
    return ui._replace(help=False, scroll=0)


def scroll_by(rows=0, pages=0):
    """Return the action that moves the list by so many rows and pages; it stops at both ends."""
    def action(ui, snapshot, frame, now):
        scroll = ui.scroll + rows + pages * frame.room
        return ui._replace(scroll=max(0, min(scroll, frame.overflow)))
    return action


def turn_to(step):
    """Return the action that gives the keys to the next panel, or the one before, all in a
    circle.
    """
    def action(ui, snapshot, frame, now):
        count = len(
            panels_of(Scene(snapshot, ui, Moment(now), ui.place))
        )
        return ui._replace(
            panel=(ui.panel + step) % count, scroll=0, help=False
        )
    return action


KEYS = (
    Key(('q',), 'q, Ctrl+C', 'quit', quit_program),
    Key(('r',), 'r', 'refresh', refresh),
    Key(('tab', 'right'), 'Tab, →', 'next panel', turn_to(1)),
    Key(('left',), '←', 'previous panel', turn_to(-1)),
    Key(('m',), 'm', 'the other mode', switch_mode),
    Key(('?',), '?', 'this help', toggle_help),
    Key(('escape',), 'Esc', 'close help', close_help),
    Key(('up',), '↑', 'up', scroll_by(-1)),
    Key(('down',), '↓', 'down', scroll_by(1)),
    Key(('page up',), 'PgUp', 'a page up', scroll_by(pages=-1)),
    Key(('page down',), 'PgDn', 'a page down', scroll_by(pages=1)),
)
ACTIONS = {name: key.action for key in KEYS for name in key.names}


def press(ui, key, snapshot, frame, now):
    """Return the Ui after a key, or after a signal, which comes as a key of its name."""
    if key.startswith('SIG'):
        return ui._replace(exit_code=exit_code_of(key))
    action = ACTIONS.get(key)
    return action(ui, snapshot, frame, now) if action else ui


# ---- Screen ------------------------------------------------------------------------------------
# The only curses, in the main thread only. Signals set a mark that `key` returns like a key; the
# terminal is given back as it was, whatever happens, and nothing can interrupt that.

STUCK_SECONDS = 0.2             # a terminal that takes no output for so long is stuck


class Screen:
    """The terminal: in curses' hands inside `with`, afterwards as it was before."""

    def __init__(self, colour):
        self.colour = colour
        self.saved = None           # the terminal's settings
        self.window = None
        self.signals = []           # names, in the order they came
        self.painted = []           # the lines on the screen
        self.waits = None           # seconds that curses waits for a key
        self.attributes = {}        # role -> attribute of curses
        self.title = self.bell = None

    def __enter__(self):
        """Take the terminal and the signals, or neither if curses fails (curses.error)."""
        if termios:
            self.saved = termios.tcgetattr(0)
            read, write = os.pipe()
            os.set_blocking(write, False)
            start_thread(threading.Thread(target=self.end_if_stuck, args=(read,), daemon=True))
            signal.set_wakeup_fd(write)
        for number in stop_signals():       # before curses, which would set its own
            signal.signal(number, self.on_signal)
        try:
            self.start()
        finally:
            if not self.attributes:         # the last step of `start` was not reached
                self.__exit__()
        return self

    def start(self):
        """Hand the terminal over to curses, and switch on what it can do."""
        for name in ('LINES', 'COLUMNS'):   # they would freeze the size
            os.environ.pop(name, None)
        os.environ.setdefault('ESCDELAY', '100')        # milliseconds; ncurses waits for 1000
        takes_output(None)                  # curses would wait too, with all threads at rest
        self.window = open_window()
        tolerate(curses.noecho)
        tolerate(curses.cbreak)
        tolerate(self.window.keypad, True)
        tolerate(curses.curs_set, 0)
        self.attributes = role_attributes(self.colour)

    def __exit__(self, *_):
        """Give the terminal back. Signals are ignored from now on, for the program ends."""
        for number in stop_signals():
            signal.signal(number, signal.SIG_IGN)
        self.restore()

    def restore(self):
        """Undo everything, whatever of it fails.

        A terminal that takes no output, even when it is freed, gets its settings back and no more.
        They come last, for endwin may know them wrongly.
        """
        if not takes_output(STUCK_SECONDS):
            free_output()
        is_open = takes_output(STUCK_SECONDS)
        if self.window and is_open:
            tolerate(self.clear_last_row)
            tolerate(self.window.keypad, False)
            tolerate(curses.echo)
            tolerate(curses.nocbreak)
            tolerate(curses.endwin)
        if self.title and is_open:          # an empty one, where the former is not known
            self.title = None
            tolerate(os.write, 1, b'\x1b]2;\a\x1b[23;2t')
        if self.saved:
            tolerate(termios.tcsetattr, 0, termios.TCSANOW, self.saved)

    def clear_last_row(self):
        """Where there is no alternate screen, the shell's prompt will stand there."""
        self.window.move(self.size()[1] - 1, 0)
        self.window.clrtoeol()
        self.window.refresh()

    def on_signal(self, number, _):
        """Note a signal for `key`. A second one finds the loop stuck: end here."""
        self.signals.append(signal.Signals(number).name)
        if len(self.signals) > 1:
            self.__exit__()
            os._exit(exit_code_of(self.signals[0]))

    def end_if_stuck(self, pipe):
        """End the program after a signal if the main thread cannot, for it sits in a write.

        Python writes the numbers of the signals to the `pipe`. At the first Ctrl+C the terminal
        may just be slow.
        """
        number = os.read(pipe, 1)[0]
        if number == signal.SIGINT:
            os.read(pipe, 1)
        time.sleep(STUCK_SECONDS)
        if not takes_output(STUCK_SECONDS):
            free_output()
        while takes_output(STUCK_SECONDS):      # so that the main thread ends the program
            time.sleep(STUCK_SECONDS)
        tolerate(termios.tcsetattr, 0, termios.TCSANOW, self.saved)
        os._exit(exit_code_of(signal.Signals(number).name))

    def size(self):
        """(columns, lines) now."""
        height, width = self.window.getmaxyx()
        return width, height

    def paint(self, lines):
        """Show the lines; those that are on the screen already are not touched."""
        if len(lines) != len(self.painted):
            self.window.erase()
            self.painted = [None] * len(lines)
        for y, line in enumerate(lines):
            if line != self.painted[y]:
                self.paint_line(y, line)
        self.window.refresh()
        self.painted = lines

    def paint_line(self, y, line):
        """Write the spans of a line at a row.

        addstr moves on by the cells that ncurses counts, so each span is placed by ours.
        """
        x = 0
        for text, role in line:
            try:
                self.window.addstr(y, x, text, self.attributes[role])
            except curses.error:
                pass        # the last cell of all, drawn all the same; or the size just changed
            x += cells(text)

    def call(self, title, bell):
        """Set the title of the window, and ring, where the one or the other has changed.

        The terminal keeps its former title on a stack (XTWINOPS). `bell` is the time to ring at.
        """
        words = ''
        if title != self.title:
            words = '\x1b]2;%s\a' % title
            if not self.title:
                words = '\x1b[22;2t' + words
        if bell != self.bell:
            words += '\a'
        self.title, self.bell = title, bell
        if words:                           # for which curses has no calls
            tolerate(os.write, 1, words.encode())

    def key(self, seconds):
        """The name of the next key or signal; '' if none comes in so many seconds."""
        deadline = time.monotonic() + seconds
        if seconds != self.waits:
            self.waits = seconds
            self.window.timeout(int(seconds * 1000))
        code = self.window.getch()
        if code == curses.KEY_RESIZE:
            self.window.timeout(0)          # a drag sends many: take them all
            self.waits = None
            while code == curses.KEY_RESIZE:
                code = self.window.getch()
            self.painted = []
        elif code == -1 and not self.signals and time.monotonic() < deadline - 0.01:
            return self.key_too_early(deadline)
        if self.signals:
            return self.signals[0]
        return key_name(code)

    def key_too_early(self, deadline):
        """What `key` returns where curses did not wait: 'SIGHUP' if the terminal is gone.

        Else the rest of the wait is sat out, for in such a state the loop would spin.
        """
        if termios and tolerate(termios.tcgetattr, 0):
            return 'SIGHUP'
        time.sleep(max(0, deadline - time.monotonic()))
        if self.signals:
            return self.signals[0]
        return ''


def exit_code_of(signal_name):
    """The exit code of a program that a signal ends: 0 for Ctrl+C, else 128 and its number."""
    if signal_name == 'SIGINT':
        return 0
    return 128 + getattr(signal, signal_name)


TERMINAL_ERRORS = (OSError, ValueError, getattr(curses, 'error', OSError),
                   getattr(termios, 'error', OSError))


def tolerate(step, *args):
    """Call a function that the terminal may not be capable of -> its error, or None."""
    try:
        step(*args)
    except TERMINAL_ERRORS as error:
        return error
    return None


def takes_output(seconds):
    """Whether the terminal takes output, at once or in so many seconds; None waits for that.

    It takes none after Ctrl+S, while a connection stalls, or while a write to it waits.
    """
    import select
    return not termios or bool(select.select([], [1], [], seconds)[1])


def free_output():
    """Have the terminal take output again: drop what it has not taken yet, and undo Ctrl+S.

    TCOON undoes TCOOFF alone, but together they undo Ctrl+S too.
    """
    tolerate(termios.tcflush, 1, termios.TCOFLUSH)
    tolerate(termios.tcflow, 1, termios.TCOOFF)
    tolerate(termios.tcflow, 1, termios.TCOON)


def key_name(code):
    """What KEYS calls a code of getch: the character, a word, or '' for none of them."""
    names = {9: 'tab', 27: 'escape', curses.KEY_LEFT: 'left', curses.KEY_RIGHT: 'right',
             curses.KEY_UP: 'up', curses.KEY_DOWN: 'down', curses.KEY_PPAGE: 'page up',
             curses.KEY_NPAGE: 'page down'}
    if 32 < code < 127:
        return chr(code)
    return names.get(code, '')


def open_window():
    """The window of curses for the type of terminal at hand or, if that is unknown, a common one.

    curses.error if there is none.
    """
    names = (os.environ.get('TERM') or 'unknown', 'xterm-256color', 'xterm', 'vt100')
    for name in names:
        os.environ['TERM'] = name
        try:
            return curses.initscr()
        except curses.error:
            if name == names[-1]:
                raise


def role_attributes(colour):
    """role -> attribute of curses, in the colours that the terminal has, or without colour.

    A foreground alone is set, for -1 leaves the background as it is.
    """
    depth = start_colour() if colour else 0
    pairs = {}
    for pair, (name, (number, number_of_8)) in enumerate(COLOURS.items(), 1):
        if depth < 256:
            number = number_of_8
        if depth and not tolerate(curses.init_pair, pair, number, -1):
            pairs[name] = curses.color_pair(pair)
    attributes = {}
    for name, role in ROLES.items():
        attribute = pairs.get(role.colour, 0)
        if is_bold(role, depth):
            attribute |= curses.A_BOLD
        if role.dim:
            attribute |= curses.A_DIM
        attributes[name] = attribute
    return attributes


def start_colour():
    """Switch colours on -> how many there are: 256, 8 or 0.

    Without the default colours the background would be black. Beyond 768 colours the numbers
    mean something else: with 16.7 million (xterm-direct), 208 is blue.
    """
    if tolerate(curses.start_color) or tolerate(curses.use_default_colors):
        return 0
    if 256 <= curses.COLORS <= 768:
        return 256
    if curses.COLORS >= 8:
        return 8
    return 0


def is_terminal(stream):
    """Whether a standard stream, which may be closed, is a terminal."""
    return bool(stream) and stream.isatty()


def can_paint():
    """Whether there is a terminal to paint on and to hear keys from.

    One that cannot move its cursor (TERM=dumb) would show rubbish.
    """
    if not (curses and is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return False
    if WINDOWS:
        return True                 # windows-curses has no terminfo
    if tolerate(curses.setupterm):
        return True                 # an unknown type; open_window tries others
    return curses.tigetstr('cup') is not None


WIDTH_MOST = 1000                       # cells of a line that is printed


def terminal_size(fallback):
    """(columns, lines): COLUMNS and LINES where set, else the terminal's, else the fallback.

    The terminal's are one line less, for the prompt that comes after what is printed.
    """
    columns, lines = fallback
    try:
        columns, lines = os.get_terminal_size(sys.__stdout__.fileno())
        lines -= 1
    except (OSError, ValueError, AttributeError):
        pass
    return size_given('COLUMNS', columns), size_given('LINES', lines)


def size_given(name, otherwise):
    """The size that a variable of the environment names, at most WIDTH_MOST, or another."""
    words = os.environ.get(name, '')
    if re.fullmatch('[0-9]{1,9}', words) and int(words) > 0:
        return min(int(words), WIDTH_MOST)
    return otherwise


def find_terminal():
    """The Finding about the terminal."""
    if not can_paint():
        return Finding(False, 'Terminal', 'none; the live view needs one, else it is --once.')
    name = clean(os.environ.get('TERM', ''))
    columns, lines = os.get_terminal_size(1)
    colours = 0
    if WINDOWS:
        colours = 16                # windows-curses has no terminfo to ask
    elif not tolerate(curses.setupterm):
        colours = max(0, curses.tigetnum('colors'))
    is_unicode = unicode_terminal()
    encoding = 'UTF-8' if is_unicode else 'not UTF-8: set LC_ALL=C.UTF-8'
    words = '%s, %dx%d, %d colours, %s.' % (name, columns, lines, colours, encoding)
    return Finding(is_unicode, 'Terminal', words)


# ---- Loop --------------------------------------------------------------------------------------
# Drain, compose, paint, listen. Resizing, timers and redrawing need no branch: a frame depends on
# the snapshot, the Ui, the size and the time, so it is made anew when one of these has changed.

KEY_SECONDS, EAGER_SECONDS = 0.5, 0.05      # for a key: usually, and while a reply is awaited
SILENCE_SECONDS = 62            # a locked store, a lost claim and two requests take no longer
DIRECTORY_SECONDS = 5           # one of several config directories is waited for
GRACE_SECONDS = 0.3             # a source is waited for that the output can do without


def drain(inbox, snapshot):
    """Return the Snapshot with all that waits in the inbox."""
    while not inbox.empty():            # nobody else takes from it
        snapshot = absorb(snapshot, inbox.get())
    return snapshot


def with_mode(ui, snapshot):
    """Return the Ui with its mode, once the credentials tell it."""
    credentials = snapshot[ui.place, 'credentials'].value
    if ui.mode or not credentials:
        return ui
    return ui._replace(mode=credentials.mode)


def run(screen, pollers, inbox, ui, clock=time.time):
    """Paint and listen until something ends it; return the exit code.

    The pollers start after the first frame, which their imports would delay. A frame is made anew
    when the Snapshot, the Ui or the size has changed, or when it no longer holds.
    """
    snapshot, seen, since, until = Snapshot(), None, 0, 0
    while ui.exit_code is None:
        snapshot, now, size = drain(inbox, snapshot), clock(), screen.size()
        ui = with_mode(ui, snapshot)
        if (snapshot, ui, size) != seen or not since <= now < until:
            moment = Moment(now)
            frame = compose(snapshot, ui, size, moment)
            screen.paint(frame.lines)
            screen.call(snapshot['', 'title'].value, snapshot['', 'bell'].value)
            ui = ui._replace(scroll=min(ui.scroll, frame.overflow))
            places = accounts_of(snapshot, ui)
            serve(pollers, ui.mode, places)
            for poller in pollers:
                poller.see(snapshot, ui.mode, places)
            seen, since, until = (snapshot, ui, size), now, moment.until
            wait = EAGER_SECONDS if is_awaited(snapshot, ui) else KEY_SECONDS
        key = screen.key(wait)
        if key:
            before, ui = ui, press(ui, key, snapshot, frame, clock())
            if ui.asked_at != before.asked_at:
                ask_all(pollers, ui.mode, accounts_of(snapshot, ui), ui.asked_at)
    return ui.exit_code


def serves(poller, mode, places):
    """Return whether a poller is wanted in a mode; of an account that several places have, one
    is.
    """
    if poller.is_of_account and poller.place not in places:
        return False
    return not poller.modes or mode in poller.modes


def serve(pollers, mode, places):
    """Let the pollers of a mode and of these places run, and only these."""
    for poller in pollers:
        wanted = serves(poller, mode, places)
        was_wanted, poller.wanted = poller.wanted, wanted
        if wanted and not poller.is_alive():
            start_thread(poller)
        elif wanted and not was_wanted:
            poller.asked.set()


def ask_all(pollers, mode, places, at, max_age=None):
    """Have all pollers of a mode and of these places ask as soon as possible."""
    for poller in pollers:
        if serves(poller, mode, places):
            poller.ask_now(at, max_age)


def is_awaited(snapshot, ui):
    """Return whether somebody waits for a reply: the first, the rest of it, or one asked for.

    Then the loop looks at the inbox more often.
    """
    if not ui.mode:
        return True
    for place in ui.places or (ui.place,):
        known = MODES[ui.mode].known(snapshot, place)
        if not known.failure and known.phase in ('', ASKING):
            if known.at is None or known.next_at is None or (ui.asked_at or 0) > known.at:
                return True
    return False


def collect(pollers, inbox, ui, max_age=None, progress=None, seconds=SILENCE_SECONDS):
    """Return (Snapshot, Ui) once every source of the mode has answered, for what is printed once.

    Replies younger than `max_age` serve; by default those that a monitor would not renew yet.
    `progress(snapshot)` hears of each step. Silence of so many seconds ends the wait; a config
    directory that does not answer at all does not hold up others for longer than a few. What
    nothing waits for, as Pace Maker in Console mode, gets GRACE_SECONDS once all else is there.
    """
    snapshot, has_asked, began, complete = Snapshot(), False, time.monotonic(), None
    if ui.places:
        seconds = DIRECTORY_SECONDS
    while True:
        ui = with_mode(ui, snapshot)
        places = accounts_of(snapshot, ui)
        if ui.mode and not has_asked:
            has_asked = True
            if max_age is not None:
                ask_all(pollers, ui.mode, places, time.time(), max_age)
        serve(pollers, ui.mode, places)
        late = [poller for poller in pollers
                if serves(poller, ui.mode, places) and not poller.is_settled(snapshot)]
        awaited = [poller for poller in late if is_main(poller, ui.mode)]
        wait = seconds
        if ui.mode and not awaited:
            complete = complete or time.monotonic()
            wait = complete + GRACE_SECONDS - time.monotonic()
            if not late or wait <= 0:
                return snapshot, ui
        try:
            snapshot = absorb(snapshot, inbox.get(timeout=wait))
        except queue.Empty:
            if complete:
                return snapshot, ui
            asking = [place for place in places if snapshot[place, 'usage'].phase == ASKING]
            if asking and time.monotonic() - began < SILENCE_SECONDS:
                continue
            ui = ui._replace(mode=ui.mode or 'code')
            source = MODES[ui.mode].source
            for place in {poller.place for poller in awaited}:
                if not snapshot[place, source].is_settled:      # else a profile is missing
                    failed = Known(failure=Failure('timeout'), phase=PLANNED)
                    snapshot = absorb(snapshot, Reading(place, source, failed))
            return snapshot, ui
        if progress:
            progress(snapshot)


def is_main(poller, mode):
    """Return whether a mode is the poller's own: of several modes, the first."""
    return not poller.modes or mode == poller.modes[0]


# ---- Demo --------------------------------------------------------------------------------------
# Invented replies and rows, which go the way of real ones: all is seen without an account, and
# nothing is modelled twice.

DEMO_PLACES = '~/.claude', '~/.claude-work'
DEMO_SECONDS = 120              # the length of the story


def demo_windows(now):
    """Return {place: {id of a limit: (its seconds, percent used, when it resets)}}.

    In the story the first account comes to run out before its reset; the second one is full, and
    resets in the middle.
    """
    begin = now - now % DEMO_SECONDS
    passed = (now - begin) / DEMO_SECONDS
    week = begin - begin % DAY + 2.5 * DAY
    first = 5 * HOUR, 76 + 12 * passed, begin + 110 * MINUTE
    second = 5 * HOUR, 100, begin + MINUTE
    if passed >= 0.5:
        second = 5 * HOUR, 20 * passed - 10, begin + MINUTE + 5 * HOUR
    return {
        DEMO_PLACES[0]: {
            'five_hour': first,
            'seven_day': (7 * DAY, 54 + passed, week),
            'weekly_scoped_fable': (7 * DAY, 24, week)},
        DEMO_PLACES[1]: {
            'five_hour': second,
            'seven_day': (7 * DAY, 40 + passed, week)}}


class DemoPoller(Poller):
    """Tells what all features invent for the time: no network, no credentials, no urllib3."""
    sources = ('demo',)

    def once(self):
        now = self.clock()
        login = Known(Credentials(Login('', None, Account()), '', 'code'), 0.0, phase=PLANNED)
        self.tell('credentials', login, DEMO_PLACES[0])
        for demo in DEMOS:
            for place, source, known in demo(now):
                self.tell(source, known, place)
        self.tell('demo', Known(at=now, phase=PLANNED))     # all is told
        return 1


# ---- Command line ------------------------------------------------------------------------------
# Options, from the command line, the environment or the config file, and a function for each
# output: live, once, JSON, metrics, check, doctor, status line.

EXIT_CODES = '''exit codes:
  0    numbers were shown; the live view was ended with q or Ctrl+C
  1    there was nothing to show, the reason is on stderr
  2    bad arguments, or a config file that is wrong
  3    --check: a limit is used to that percent or more, or --projected to be
  130  what prints once was ended with Ctrl+C
  128 + number: the live view was ended by that signal'''
# What `python3 -Ic` runs; the folder of the file is its first argument.
IMPORT_AND_START = ('import sys; sys.path.insert(0, sys.argv.pop(1)); '
                    'import claude_usage; claude_usage.start()')
CONFIG_NAME = 'config.json'     # in the folder of the store
CONFIG_MOST = 65536             # bytes of a config file; a larger one is refused
CONFIG_HELP = ('Every option can stand in ~/.claude-usage/config.json, as {"long_name": value};\n'
               '--no-NAME takes it back.')


def number_option(least, most, unit, words):
    """Return the number of an option. ArgumentTypeError unless it is one from least to most."""
    try:
        value = float(words)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError('must be from %s to %s%s' % (least, most, unit))
    return value


def api_url_option(words):
    """Return the address of --api-url.

    ArgumentTypeError unless it is https, or http on loopback, and has neither a login nor a
    query. The message does not repeat the address, for it may hold a password.
    """
    try:
        url = parse_url(words)
    except ValueError:
        url = None
    if not url or not (url.secure or is_loopback(url.host)):
        raise argparse.ArgumentTypeError(       # the text stays unsaid, it may hold a password
            'must be https://host[:port][/path], or http on loopback (it is CLAUDE_USAGE_API_URL '
            'where that is set)')
    return words


def output(name, words):
    """Return the arguments of an option that chooses what is printed."""
    return {'action': 'store_const', 'dest': 'output', 'const': name, 'help': words}


# Every option of the core, as argparse takes it, the environment variable that stands for it, and
# the heading in --help; without one it is a common option, as all outputs are. Those of features
# come after them.
CORE_OPTIONS = {
    '--mode': {'choices': ('auto', 'code', 'console'), 'default': 'auto',
               'metavar': 'MODE', 'help': 'code or console; auto: what the credentials are for'},
    '--once': output('once', 'print one frame as text and end'),
    '--json': output('json', 'print one JSON document and end'),
    '--check': {'type': functools.partial(number_option, 0, 100, ''), 'metavar': 'PERCENT',
                'help': 'end with 3 if a limit is used to that percent or more'},
    '--metrics': output('metrics', 'print the numbers for Prometheus and end'),
    '--doctor': output('doctor', 'tell what was found, what was not, and what to do'),
    '--demo': {'action': 'store_true', 'help': 'show two invented accounts, without network'},
    '--interval': {'type': functools.partial(number_option, INTERVAL_LEAST, DAY, ' seconds'),
                   'metavar': 'SECONDS', 'heading': 'requests',
                   'help': 'between two requests, always, 10 or more (default: 30 to 300 as usage '
                           'moves; Console: 120)'},
    '--api-url': {'type': api_url_option, 'metavar': 'URL', 'default': API_URL,
                  'variable': 'CLAUDE_USAGE_API_URL', 'heading': 'requests',
                  'help': 'where to ask, https or http on loopback; it gets the token '
                          '(default: $CLAUDE_USAGE_API_URL, else %s)' % API_URL},
    '--config-dir': {'action': 'append', 'metavar': 'DIR', 'variable': 'CLAUDE_USAGE_CONFIG_DIRS',
                     'help': "Claude Code's config directory, one for each account (default: "
                             '$CLAUDE_USAGE_CONFIG_DIRS, else $CLAUDE_CONFIG_DIR or ~/.claude)'},
    '--best': output('best', 'print the config directory with the most room and end'),
    '--ascii': {'action': 'store_true', 'help': 'use ASCII characters only'},
    '--color': {'choices': ('auto', 'always', 'never'), 'default': 'auto', 'metavar': 'WHEN',
                'help': 'always, never, or auto: a terminal without NO_COLOR'},
    '--print-config': {'action': 'store_true', 'heading': 'config file',
                       'help': 'print the value of each option and where it comes from'},
}


class Parser(argparse.ArgumentParser):
    """A parser of argparse which prints as all else is printed.

    `origin` is where the words come from, if not from the command line; then a bad one raises
    SourceError.
    """
    origin = ''

    def error(self, message):
        if self.origin:
            raise SourceError('malformed', '%s: %s' % (self.origin, message))
        super().error(message)

    def _print_message(self, message, file=None):
        emit(message, file or sys.stderr)


def make_parser(known):
    """Return (the parser of the `known` options, the default of each).

    The parser itself gives no defaults: what it returns was named. Each option that is not one of
    several choices has a `--no-...`, so that a config file can be overruled. The help of common
    options comes first and fits a terminal of 24 lines.
    """
    keys = ''.join('\n  %-11s%s' % (key.shown, key.help) for key in KEYS)
    width = terminal_size(fallback=(80, 24))[0] - 2     # unless told, argparse imports a lot
    parser = Parser(
        prog='claude-usage', usage='claude-usage [option ...]', add_help=False,
        description='Claude Code limits and the Console\'s costs, live.',
        epilog='keys:%s\n\n%s\n\n%s\n%s' % (keys, EXIT_CODES, CONFIG_HELP, HELP[-1]),
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, width=width))
    common = parser.add_argument_group('common options')
    common.add_argument('-h', '--help', action='help', help='print this help and end')
    common.add_argument('--version', action='version', version='claude-usage ' + __version__,
                        help='print the version and end')
    outputs = common.add_mutually_exclusive_group()
    groups, defaults = {None: common}, {}
    for name, how in known.items():
        heading = how.get('heading')
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        group = groups[heading]
        if how.get('dest') == 'output' or name == '--check':
            group = outputs
        how = {key: value for key, value in how.items() if key not in ('variable', 'heading')}
        action = group.add_argument(name, **how)
        if not action.choices:
            parser.add_argument(
                '--no' + name[1:], action='store_const', dest=action.dest, const=action.default,
                default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        defaults[action.dest] = action.default
        action.default = argparse.SUPPRESS
    return parser, defaults


def read_config(path):
    """Return the document in a config file, {} where there is no file.

    It can name a command, so nobody else may be able to write it. SourceError says why it is
    refused.
    """
    flags = os.O_RDONLY
    for name in ('O_NOFOLLOW', 'O_NONBLOCK'):       # the other end of a pipe is not waited for
        flags |= getattr(os, name, 0)
    try:
        with open(os.open(path, flags), 'rb') as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError(0, 'not a regular file')
            if not WINDOWS and (found.st_uid != os.getuid() or found.st_mode & 0o022):
                raise OSError(0, 'others own it or may write it')
            if found.st_size > CONFIG_MOST:
                raise OSError(0, 'larger than 64 KiB')
            return mapping(parse_json(file.read()), 'it')
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        reason = error.strerror
        if os.path.islink(path):
            reason = 'it is a link'
    except SourceError as error:
        reason = error.failure.detail
    raise SourceError('malformed', '%s: %s' % (short_path(path), reason))


def config_values(path, parser, known):
    """Return what the config file tells, {name of an option: value}.

    Its values are checked as the words of a command line that say so; null and false say nothing.
    SourceError names the file, and the key that is wrong.
    """
    keys = {name[2:].replace('-', '_'): name for name in known}
    words, values = [], {}
    for key, value in read_config(path).items():
        parser.origin = '%s, %s' % (short_path(path), clean(key)[:40])
        if key not in keys:
            import difflib
            nearest = difflib.get_close_matches(key, keys, 1, 0)[0]
            parser.error('no such option; the nearest is ' + nearest)
        name = keys[key]
        if known[name].get('action') != 'append':
            value = [value]
        elif not isinstance(value, list):
            parser.error('must be a list')
        for each in value:
            if isinstance(each, (list, dict)):
                parser.error('must be a text or a number')
            if each is True:
                words.append(name)
            elif each is not None and each is not False:
                words.append('%s=%s' % (name, each))
        values = vars(parser.parse_args(words))
    return values


def environment_values(parser, known, named):
    """Yield (where it comes from, {name: value}) of each option that a variable tells, but for
    those that are `named`.
    """
    for name, how in known.items():
        variable = how.get('variable', '')
        values = [os.environ.get(variable, '')]
        if how.get('action') == 'append':
            values = values[0].split(os.pathsep)
        words = ['%s=%s' % (name, value) for value in values if value]
        if words and name[2:].replace('-', '_') not in named:
            yield 'environment ' + variable, vars(parser.parse_args(words))


def parse_arguments(argv):
    """Return the options; exit with 2 for bad ones.

    The command line counts before the environment, and that before the config file: of the
    `layers`, (where it comes from, {name: value}), the last one counts. `trouble` is what is wrong
    with the file, for an output that goes on without it.
    """
    known = dict(CORE_OPTIONS, **OPTIONS)
    parser, defaults = make_parser(known)
    named = vars(parser.parse_args(argv))
    output = named.get('output')
    path = os.path.join(store_folder(os.environ), CONFIG_NAME)
    told, trouble = tried(config_values, path, parser, known)
    parser.origin, words = '', ''
    if trouble:
        told, words = {}, message(trouble, None, None)
        if output not in ('statusline', 'doctor'):
            parser.exit(2, 'claude-usage: error: %s\n' % words)
    # What chooses an output overrules what the file says of outputs.
    outputs = {'output', 'check'}.union(COMMANDS)
    if outputs.intersection(named):
        told = {name: value for name, value in told.items() if name not in outputs}

    layers = [('default', defaults), ('file', told)]
    if output != 'statusline':              # which asks nobody
        layers += environment_values(parser, known, named)
    layers.append(('command line', named))
    options = argparse.Namespace(trouble=words, layers=layers)
    for _, values in layers:
        vars(options).update(values)
    if options.output in ('doctor', 'statusline'):
        if named.get('demo'):
            parser.error('--%s is about your account, --demo about an invented one'
                         % options.output)
        options.demo = False
    if named.get('projected') and options.check is None:
        parser.error('--projected needs a --check')
    return options


def show_config(options):
    """Print the value of each option, as JSON, and where it comes from; return the exit code."""
    for name in options.layers[0][1]:
        origin = [origin for origin, values in options.layers if name in values][-1]
        value = json.dumps(getattr(options, name))
        emit('%-13s %s  (%s)\n' % (name, value, origin), sys.stdout)
    return 0


def emit(output, stream):
    """Write text in the encoding of a stream; what the encoding lacks becomes question marks.

    A stream that is closed takes nothing, nor does a pipe whose reader has seen enough. OSError
    where it cannot be written for another reason, such as a full disk.
    """
    if not stream:
        return
    try:
        stream.buffer.write(output.encode(stream.encoding or 'ascii', 'replace'))
        stream.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())     # for the flush at the end
        if not isinstance(error, BrokenPipeError):
            raise


def wants_colour(choice):
    """Return whether to use colours; `choice` is that of --color."""
    if choice == 'auto':
        return not os.environ.get('NO_COLOR') and is_terminal(sys.stdout)
    return choice == 'always'


def colour_depth(choice):
    """Return how many colours printed text has, 256, 8 or 0, by --color and the environment."""
    if not wants_colour(choice):
        return 0
    if '256' in os.environ.get('TERM', '') or os.environ.get('COLORTERM'):
        return 256
    return 8


def warn(words):
    """Say something on stderr, if there is something to say."""
    if words:
        emit('claude-usage: %s\n' % words, sys.stderr)


def verdict(snapshot, ui):
    """Return the exit code of an output; where there are no numbers, say the reason on stderr."""
    places = accounts_of(snapshot, ui)
    if any(has_numbers(snapshot, place, ui.mode) for place in places):
        return 0
    for place, name in account_names(snapshot, ui.mode, places).items():
        known, words = MODES[ui.mode].known(snapshot, place), NO_LIMITS
        if known.failure:
            words = message(known.failure, known.next_at, Moment(time.time()), ui.mode)
        if len(places) > 1:
            words = '%s: %s' % (name, words)
        warn(words)
    return 1


def tell_progress(snapshot):
    """Tell on stderr, if that is a terminal, how far a source has come that takes a while."""
    known = snapshot['', 'progress']
    if known.value is not None and is_terminal(sys.stderr):
        words = known.value and 'claude-usage: ' + known.value
        emit('\r\x1b[K' + words, sys.stderr)


def show_live(setup, pollers, ui):
    """Run the dashboard until it is ended; return the exit code."""
    with Screen(wants_colour(setup.options.color)) as screen:
        return run(screen, pollers, setup.inbox, ui)


def show_once(setup, pollers, ui):
    """Print one frame, as high as what there is; return the exit code.

    Numbers younger than ONCE_MAX_AGE serve without a request.
    """
    snapshot, ui = collect(pollers, setup.inbox, ui, ONCE_MAX_AGE, tell_progress)
    if any(has_numbers(snapshot, place, ui.mode) for place in accounts_of(snapshot, ui)):
        size = terminal_size(fallback=(80, 500))
        if ui.places and not size_given('LINES', 0):
            size = size[0], 500             # all of them
        frame = compose(
            snapshot, ui._replace(hint=False), size, Moment(time.time())
        )
        emit(as_text(frame.lines, colour_depth(setup.options.color)), sys.stdout)
    return verdict(snapshot, ui)


def show_document(write, setup, pollers, ui):
    """Print what `write(snapshot, places, moment, mode)` makes of the Snapshot; return the exit
    code.

    The service is asked as often as a monitor would ask it, so a status bar may call this as
    often as it likes.
    """
    snapshot, ui = collect(pollers, setup.inbox, ui, None, tell_progress)
    places = accounts_of(snapshot, ui)
    emit(
        write(snapshot, places, Moment(time.time()), ui.mode),
        sys.stdout,
    )
    warn(snapshot['', 'store'].value)
    return verdict(snapshot, ui)


def projected_limits(usage, snapshot, place):
    """Return the Limits of a Usage with what they will come to, where that is known, as their
    use.
    """
    limits = []
    for limit in usage.limits:
        high = outlook_of(snapshot, place, limit).high
        if high is not None:
            limit = limit._replace(used=max(limit.used, high))
        limits.append(limit)
    return tuple(limits)


def show_check(setup, pollers, ui):
    """Tell by the exit code whether a limit is used to the percent of --check or more.

    Of several accounts the worst counts.
    """
    if not setup.options.budget and not setup.options.budget_org:
        ui = ui._replace(mode='code')       # only there are limits
    snapshot, ui = collect(pollers, setup.inbox, ui, ONCE_MAX_AGE)
    places = accounts_of(snapshot, ui)
    codes = []
    for place, name in account_names(snapshot, ui.mode, places).items():
        name = name + ': ' if len(places) > 1 else ''
        codes.append(check_account(setup.options, snapshot, place, ui.mode, name))
    warn(snapshot['', 'store'].value)
    return max(codes)


def check_account(options, snapshot, place, mode, name=''):
    """Return the exit code of --check for one account, after saying what there is to say of it.

    The limits that are over go to stdout, the reason why one is not known goes to stderr; before
    each stands the `name` of the account, where there are several.
    """
    moment = Moment(time.time())
    known = MODES[mode].known(snapshot, place)
    told = MODES[mode].limits(snapshot, place)
    usage = told
    if options.projected:
        usage = told._replace(limits=projected_limits(told, snapshot, place))
    code, over = check_limits(usage, options.check, moment)
    for limit in over:
        words = '%g%% used' % limit.used
        if limit not in told.limits:
            words = 'lands at up to %d%%' % percent_shown(limit.used)
        emit('%s%s: %s, %s\n' % (name, limit.label, words, reset_words(limit, moment)[0]),
             sys.stdout)
    if code == 1 and usage.limits and usage.is_whole:
        oldest = min(limit.at for limit in usage.limits)
        warn(name + 'The last numbers are %s old.' % countdown(moment.age(oldest)))
    elif code == 1 and known.failure:
        warn(name + message(known.failure, known.next_at, moment, mode))
    elif code == 1 and usage.is_whole:
        warn(name + NO_LIMITS)
    elif code == 1:
        warn(name + 'Not all limits are known.')
    return code


def show_best(setup, pollers, ui):
    """Print the config directory whose limits have the most room; return the exit code.

    It is the one whose highest limit lands lowest, or is used least where no landing is known.
    The code is 1 where no account is known.
    """
    snapshot, ui = collect(
        pollers, setup.inbox, ui._replace(mode='code'), ONCE_MAX_AGE
    )
    rooms = []
    for place in accounts_of(snapshot, ui):
        usage = MODES[ui.mode].limits(snapshot, place)
        limits = projected_limits(usage, snapshot, place)
        if limits and usage.is_whole and not MODES[ui.mode].known(snapshot, place).failure:
            rooms.append((max(limit.used for limit in limits), place))
    if not rooms:
        warn(snapshot['', 'store'].value)
        warn('No account is known.')
        return 1
    emit(min(rooms)[1] + '\n', sys.stdout)
    return 0


def status_line_setting():
    """Return the setting, as JSON, by which Claude Code runs --statusline as we were started.

    It is started in the folder of a project, whose modules `-I` keeps out. Python keeps the
    compiled program where that is imported, which a file by another name cannot be.
    """
    import shlex
    file, words = os.path.realpath(__file__), [os.path.abspath(sys.argv[0])]
    if __name__ == '__main__' or sys.argv[0] == '-c':       # not by an installed command
        folder, name = os.path.split(file)
        words = [sys.executable, '-I', file]
        if name == 'claude_usage.py':
            words = [sys.executable, '-Ic', IMPORT_AND_START, folder]
    command = ' '.join(shlex.quote(word) for word in words + ['--statusline'])
    return json.dumps(
        {'statusLine': {'type': 'command', 'command': command, 'refreshInterval': 60}}
    )


def show_doctor(setup, pollers, ui):
    """Print all that is found, after the service was asked for usage; return the exit code.

    The code is 0 if one of the modes can work. The last line is a setting to copy.
    """
    snapshot, ui = collect(
        pollers, setup.inbox, ui._replace(mode='code'), 0
    )
    findings = list(doctor_findings(setup, snapshot, Moment(time.time())))
    lines = as_findings(findings)
    settings = short_path(os.path.join(config_folder(setup.env), 'settings.json'))
    lines += [
        (),
        (Span('For a status line, copy this into %s:' % settings),),
        (Span(status_line_setting()),),
    ]
    if ui.ascii:
        lines = [ascii_line(line) for line in lines]
    emit(as_text(lines, colour_depth(setup.options.color)), sys.stdout)
    can_work = [finding.is_good for finding in findings
                if finding.place in ('Code mode', 'Console mode')]
    return 0 if any(can_work) else 1


def find_config(setup, snapshot, moment):
    """Yield the Finding about a config file that is wrong."""
    if setup.options.trouble:
        yield Finding(False, 'Config file', setup.options.trouble)


FINDINGS.append(find_config)
OUTPUTS = {
    'live': show_live,
    'once': show_once,
    'check': show_check,
    'doctor': show_doctor,
    'best': show_best,
    'json': functools.partial(show_document, as_json),
    'metrics': functools.partial(show_document, as_metrics),
}


OUTPUTS.update(VIEWS)


def config_folders(options):
    """Return the config directories that are named, each once; none where there is just the
    usual one.
    """
    named = options.config_dir or ()
    folders = [os.path.expanduser(place) for place in named]
    return list(dict.fromkeys(folder.rstrip(os.sep) or os.sep for folder in folders))


def show(options):
    """Make what an output needs, and run it; return the exit code."""
    env, places = os.environ, config_folders(options)
    if options.demo:
        count = len(places) or len(DEMO_PLACES)
        places = DEMO_PLACES[:count]
    mode = '' if options.mode == 'auto' else options.mode
    is_plain = options.ascii or not unicode_terminal()
    envs = {place: env_of(place, env) for place in places}
    if not envs:
        envs = {config_folder(env): env}
    ui = Ui(mode=mode, place=list(envs)[0], ascii=is_plain, interval=options.interval,
            icons=not is_plain and env.get('TERM') != 'linux')
    if len(places) > 1:
        ui = ui._replace(places=tuple(places), mode=mode or 'code')
    if options.demo:
        ui = ui._replace(origin='demo')
    elif options.api_url.rstrip('/') != API_URL:
        ui = ui._replace(origin=parse_url(options.api_url).authority)
    name = options.output or ('live' if can_paint() else 'once')
    if options.check is not None:
        name = 'check'
    inbox = queue.Queue()
    store = store_of(env)
    turn = Turn()
    # What prints once is called often, by programs that do not see what goes wrong.
    asks_alone = name == 'live' or name in VIEWS or is_terminal(sys.stdout)
    setups = [Setup(options, envs[place], inbox, time.time, store, Logins(envs[place]), place,
                    turn, asks_alone) for place in envs]
    setup = setups[0]
    makers = WATCHERS + POLLERS
    if options.demo:
        makers = WATCHERS + [DemoPoller]
    pollers = []
    for make in makers:
        if make.is_of_account:
            pollers += map(make, setups)
        else:
            pollers.append(make(setup))
    try:
        return OUTPUTS[name](setup, pollers, ui)
    finally:
        for poller in pollers:
            poller.close()
        setup.store.close()


def main(argv=None):
    """Run the program with these arguments; return its exit code.

    An output that asks nobody, such as the status line, needs no pollers and no store of its own.
    """
    try:
        options = parse_arguments(argv)
        if options.print_config:
            return show_config(options)
        for name, command in COMMANDS.items():
            if options.output == name or getattr(options, name, None):
                return command(options)
        return show(options)
    except SourceError as error:            # of `start_thread`; all others are shown
        warn(message(error.failure, None, None))
        return 1
    except OSError as error:
        emit('claude-usage: Cannot print: %s.\n' % error.strerror, sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def start():
    """Run the program and end the process at once.

    Python's own way to end would tear down what the threads that still wait are using.
    """
    try:
        code = main()
    except SystemExit as end:           # argparse's
        code = end.code
    os._exit(code or 0)


if __name__ == '__main__':
    start()
