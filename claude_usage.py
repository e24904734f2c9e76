#!/usr/bin/env python3
# /// script
# requires-python = ">=3.6"
# dependencies = [
#     "urllib3>=1.26",
#     "windows-curses; sys_platform == 'win32' and platform_machine != 'ARM64'",
# ]
# ///
"""The limits of a Claude Code account, live in a terminal.

Data flows one way: sources -> inbox -> snapshot -> frame -> screen. The chapters:

 1. Constants
 2. Compatibility
 3. Cells
 4. Model
 5. Parsing
 6. Reckoning
 7. Sources
 8. Pollers
 9. View
10. Reports
11. Keys
12. Screen
13. Loop
14. Demo
15. Command line

Times are epoch seconds everywhere inside; `now` is a parameter of all that is pure.
"""
import argparse
import contextlib
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


# ---- 1. Constants ------------------------------------------------------------------------------
# Every number and word that somebody may want to change, each with its unit. Percents are 0..100
# and beyond, times epoch seconds, spans seconds, money minor units of its currency.

MINUTE, HOUR, DAY = 60, 3600, 86400     # seconds

API_URL = 'https://api.anthropic.com'
# The OAuth endpoints answer other User-Agents with lasting 429s (observed, undocumented).
OAUTH_HEADERS = {'Content-Type': 'application/json', 'Accept': 'application/json',
                 'anthropic-beta': 'oauth-2025-04-20', 'User-Agent': 'claude-code/2.0.37'}
USAGE_PATH = '/api/oauth/usage'
PROFILE_PATH = '/api/oauth/profile'

BUDGET, BUDGET_SECONDS = 5, 300         # requests in any such span: the service's own budget
USAGE_SECONDS, USAGE_MOST = 30, 300     # between two for usage: while it moves, while it does not
SLOWING = 1.5                           # with each reply that is like the one before
JITTER = 0.1                            # of that wait, either way: machines must not march in step
FED_SECONDS = 300                       # between two while Claude Code's status line feeds
QUIET_SECONDS = 5                       # the same numbers are not stored again so soon
RESET_SECONDS = 5                       # a reset is looked at this soon
SLOW_SECONDS = 60                       # a longer wait is told
WARY_SECONDS, WARY_SPAN = 180, 30 * MINUTE      # after a 429 no sooner than the one, for the other
PROFILE_SECONDS = DAY                   # as seldom as Claude Code itself asks
INTERVAL_LEAST = 10                     # seconds, the smallest --interval
RETRY_SECONDS, RETRY_MOST = 30, 300     # after a failure: doubling from the one to the other
BLOCK_SECONDS, BLOCK_MOST = 60, 3600    # after a 429: likewise, and at least its Retry-After
FRESH_SECONDS = 60                      # to what is printed once, so young a reply is new
KNOWN_SECONDS = 15 * MINUTE             # to --check, an older one is none
AGREE_SECONDS = 60                      # replies about one window name resets that differ by less
FILE_SECONDS = 2                        # files' clocks may be as coarse
WATCH_SECONDS = 4                       # between two looks at the credentials and the store
LEASE_LOOK = 0.5                        # between two for a reply that another monitor asked for
EXPIRY_SECONDS = 300                    # a token counts as expired this much early

CONNECT_SECONDS, TOTAL_SECONDS = 5, 15  # of one request; the total includes a body that drips
SILENCE_SECONDS = 62                    # a lock, a lease and two requests take no longer
BODY_MOST = 8 << 20                     # bytes of a reply
STORE_FOLDER = '~/.claude-usage'
STORE_VERSION = 1
SAMPLES_SECONDS = 35 * DAY              # how long samples are kept
SAMPLE_SECONDS = 20                     # no two of a limit are nearer
DAYS_SECONDS = 62 * DAY                 # likewise, the Console's days
ATTEMPTS_MOST = 50                      # kept of a source and account
BUSY_SECONDS = 0.5                      # the wait for another monitor's transaction
LOCK_SECONDS = 0.01                     # between two tries to get the folder of the store
CLOSE_SECONDS = 0.1                     # the wait for our own, at the end
LOCKED_SECONDS = 15                     # of a lock, until one goes on without the store
ASIDE_SECONDS = 5 * MINUTE              # that a file was set aside is told so long
LEASE_SECONDS = TOTAL_SECONDS + 2       # a claim to a request ends by itself, should we die
SKEW_SECONDS = 60                       # clocks of machines that share a home may differ so much
TEXT_MOST = 200                         # characters of any text from outside ...
WORDS_MOST = 2000                       # ... but of what a hook has to say

WIDTH_MOST = 1000                       # cells of a line
KEY_SECONDS, EAGER_SECONDS = 0.2, 0.05  # waiting for a key: usually, and while a reply is awaited
NOTICE_SECONDS = 4                      # an answer to a key stays in the hint's row

# Every failure a source can have: code -> (sentence, next step). {} is the detail. Where there
# is no step, the program tries again by itself and says when.
ERRORS = {
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
    'tls': ('No secure connection: {}.', 'Check SSL_CERT_FILE and NODE_EXTRA_CA_CERTS.'),
    'redirected': ('Redirected to {}, not followed.', 'Check --api-url and the proxy.'),
    'too_large': ('Reply larger than 8 MiB.', ''),
    'bad_reply': ('Reply not understood: {}.', ''),
    'forbidden': ('Access refused: {}.', ''),
    'locked': ('Locked: {}.', ''),
    'malformed': ('Failed to load {}.', ''),
    'internal': ('Internal error: {}.', ''),
}

# What the same failures are called where an Admin API key asks.
CONSOLE_ERRORS = dict(ERRORS, **{
    'no_credentials': ('No Admin API key found.', 'Set ANTHROPIC_ADMIN_API_KEY, or run `claude` '
                                                  'to log in for Code mode.'),
    'unauthorized': ('Admin API key refused: {}.', 'Make one in the Console: Settings, '
                                                   'Admin keys.'),
    'forbidden_scope': ('Admin API key without access: {}.', ''),
})

# Why nothing is shared, by the code of the store's failure.
STORE_TROUBLE = {'locked': 'Not shared with other monitors: {}.',
                 'forbidden': 'Not shared with other monitors: {}.',
                 'malformed': 'The shared store was malformed: {}.'}

# What to do about it, for --doctor.
STORE_STEP = ' Mend or delete it, or set CLAUDE_USAGE_DIR to a folder of your own.'

# The limits known by name: id -> (label, short label, window in seconds).
LIMITS = {
    'five_hour': ('5-Hour', '5h', 5 * HOUR),
    'seven_day': ('7-Day', '7d', 7 * DAY),
    'seven_day_opus': ('7-Day Opus', 'Opus', 7 * DAY),
    'seven_day_sonnet': ('7-Day Sonnet', 'Sonnet', 7 * DAY),
}
# What the newer list `limits` calls them, and how long the windows of its groups are.
KINDS = {'session': 'five_hour', 'weekly_all': 'seven_day'}
GROUPS = {'session': 5 * HOUR, 'weekly': 7 * DAY}
PREFIXES = {'seven_day_': ('7-Day ', 7 * DAY), 'five_hour_': ('5-Hour ', 5 * HOUR)}

BADGES = {'enterprise': 'ENTERPRISE', 'team': 'TEAM', 'max': 'MAX', 'pro': 'PRO'}
MINOR_DIGITS = {'JPY': 0, 'KRW': 0, 'VND': 0}   # of a currency; 2 for all others

PACE_FOLDER = '~/.claude-pace-maker'
PACE_SECONDS, PACE_ABSENT_SECONDS = 2, 60       # between two looks: where it is installed, or not
PACE_STALE_SECONDS = 300                # a reset longer ago than this tells of a stale window
PACE_SHOW_SECONDS = 5                   # its deviation moves by a tenth in 18 seconds
LOG_MOST = 16 << 20                     # bytes of a log that are read
# What config.json may hold and what Pace Maker takes where it does not.
PACE_DEFAULTS = {
    'enabled': True, 'base_delay': 5, 'max_delay': 350, 'threshold_percent': 0,
    'safety_buffer_pct': 95.0, 'preload_hours': 12.0, 'weekly_limit_enabled': True,
    'five_hour_limit_enabled': True, 'subagent_reminder_enabled': True,
    'intent_validation_enabled': False, 'tdd_enabled': True, 'langfuse_enabled': False,
    'danger_bash_enabled': True, 'cross_session_awareness_enabled': True,
    'preferred_subagent_model': 'auto', 'hook_model': 'auto', 'log_level': 2,
    'use_adaptive': True, 'algorithm': 'adaptive', 'poll_interval': 300, 'tempo_enabled': True,
    'tempo_mode': '',
}
HOOK_SIGNS = {'->': 'competitive', '+': 'competitive', '*': 'random', '|': 'failover'}
LOG_LEVELS = ('OFF', 'ERROR', 'WARNING', 'INFO', 'DEBUG')
TEMPOS = {'on': ('enabled', 'dim'), 'off': ('disabled', 'yellow'), 'auto': ('auto', '')}
BLOCKAGES = {
    'intent_validation': 'Intent Validation', 'intent_validation_tdd': 'Intent TDD',
    'intent_validation_cleancode': 'Clean Code', 'intent_validation_bug': 'Bug Detected',
    'intent_validation_dangerbash': 'Danger Bash', 'intent_validation_deferred': 'IV Deferred',
    'pacing_tempo': 'Pacing Tempo', 'pacing_quota': 'Pacing Quota', 'other': 'Other',
}
# The part of a window that a dollar uses, by tier, until Pace Maker has measured it.
COEFFICIENTS = {'5x': (0.0075, 0.0011), '20x': (0.001875, 0.000275)}
# Tables of its databases: name -> (columns, the first of which must be there; the rest of the
# query). What is read is what the panels can show of it; :entered is when its fallback began.
LATEST = ('WHERE timestamp = (SELECT max(timestamp) FROM {}) ORDER BY rowid DESC '
          'LIMIT 1')            # of a second the last; ORDER BY of both would not use the index
DECISION_TABLES = {
    'usage_snapshots': ('timestamp five_hour_util five_hour_resets_at seven_day_util '
                        'seven_day_resets_at', LATEST.format('usage_snapshots')),
    'api_cache': ('timestamp five_hour_util five_hour_resets_at seven_day_util '
                  'seven_day_resets_at', 'LIMIT 1'),
    'fallback_state_v2': ('state baseline_5h baseline_7d resets_at_5h resets_at_7d tier '
                          'entered_at rollover_cost_5h rollover_cost_7d', 'LIMIT 1'),
    'calibrated_coefficients': ('tier coefficient_5h coefficient_7d', ''),
    'pacing_decisions': ('timestamp should_throttle delay_seconds',
                         LATEST.format('pacing_decisions')),
}
EVENT_TABLES = {
    'blockage_events': ('timestamp category', 'WHERE timestamp > :hour'),
    'langfuse_metrics': ('bucket_timestamp sessions_count traces_count spans_count',
                         'WHERE bucket_timestamp > :day'),
    'secrets_metrics': ('bucket_timestamp secrets_masked_count',
                        'WHERE bucket_timestamp > :day'),
    'activity_events': ('timestamp event_code status',
                        'WHERE timestamp > :active ORDER BY timestamp'),
    'governance_events': ('timestamp event_type project_name feedback_text',
                          'WHERE timestamp > :hour ORDER BY timestamp DESC LIMIT 1000'),
}
COST_TABLES = {'accumulated_costs': ('timestamp cost_dollars', 'WHERE timestamp >= :entered')}
LOAN_TABLES = {'api_cache': (DECISION_TABLES['api_cache'][0] + ' raw_response', 'LIMIT 1'),
               'backoff_state': ('backoff_until', 'LIMIT 1')}
AGENT_TABLES = {
    'agents': ('last_seen agent_id session_id role subagent_type workspace_root start_time '
               'ended_at', 'WHERE last_seen > :day ORDER BY rowid'),
    # Of those that are not known yet, or all where the table has begun anew.
    'agent_actions': ('id agent_id tool_name', "WHERE typeof(id) = 'integer' AND id > CASE WHEN "
                      ':seen > (SELECT max(id) FROM agent_actions) THEN 0 ELSE :seen END '
                      'ORDER BY id DESC LIMIT 5000'),
}
ACTIVITY_SECONDS = 10
AGENT_LIVE, AGENT_BUSY, AGENT_ENDED = 20 * MINUTE, 3 * MINUTE, MINUTE   # since seen, seen, ended
AGENT_TOOLS = 3                         # the last so many are shown

MODES = ('code', 'console')
ADMIN_PATH = '/v1/organizations/'
ADMIN_HEADERS = {'anthropic-version': '2023-06-01', 'Accept': 'application/json',
                 'User-Agent': 'claude-usage/' + __version__}
CONSOLE_SECONDS = 120                   # the service supports one poll a minute
CONSOLE_GRAVE = ('rate_limited', 'unauthorized')    # what holds for every report
CONSOLE_WORKERS = 4                     # requests at a time while days are loaded
DAY_FINAL = 2 * DAY                     # a day that ended longer ago no longer changes
PAGE_ROWS = 1000                        # rows of a page, the most there are
SKEW_LEAST = HOUR                       # a clock that is off by less is taken at its word
RANGE_LEAST = 0.1                       # a weekly rate that differs by more makes a range
TOP_USERS = 10
NAMES_SECONDS = HOUR                    # between two looks for the name of a new workspace
PARTS_TOLD = 3                          # days whose failure is told by their names

LEVELS = ((50, 'green'), (80, 'yellow'), (99, 'orange'))    # up to this percent; red above
WEEKDAYS = ('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')
MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')


# ---- 2. Compatibility --------------------------------------------------------------------------
# The only place that knows versions of Python, platforms and majors of libraries. The rest is
# written as if there were one of each; where that cannot be it asks WINDOWS, MACOS, or whether
# `curses`, `fcntl` and `termios` are there.

try:
    import curses
except ImportError:             # Windows without windows-curses, a Python built without curses
    curses = None               # type: ignore
try:
    import fcntl
    import termios
except ImportError:             # Windows
    fcntl = termios = None      # type: ignore

WINDOWS = os.name == 'nt'
MACOS = sys.platform == 'darwin'

TIME = re.compile(r'(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?'
                  r'\s*(?:Z|([+-])(\d\d):?(\d\d))?$', re.IGNORECASE)
TIME_MOST = 253402300799        # epoch seconds of the end of 9999, beyond which `time` fails


def load_urllib3():
    """urllib3, or pip's own copy of it. Imported late, for it costs as much as the first frame."""
    import warnings
    warnings.simplefilter('ignore')     # version 2 warns of LibreSSL, across the screen
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
    """sqlite3, which some builds of Python lack. SourceError forbidden."""
    try:
        import sqlite3
    except ImportError:
        raise SourceError('forbidden', 'this Python was built without sqlite3')
    return sqlite3


@functools.lru_cache(maxsize=None)
def load_decimal():
    """decimal, which only the Console needs. Kept, for an import statement costs each row."""
    import decimal
    return decimal


def parse_time(value):
    """Epoch seconds of an ISO-8601 text (UTC where it names no offset) or an epoch number.

    None stays None. ValueError for all else. One regex serves every form on every Python: 3.6
    has no datetime.fromisoformat, and until 3.10 it refuses a trailing Z.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value
    else:
        from datetime import datetime, timedelta, timezone
        match = TIME.match(value) if isinstance(value, str) else None
        if not match:
            raise ValueError('not a time')
        *date, second, fraction, sign, hours, minutes = match.groups()
        moment = datetime(*map(int, date), int(second or 0), tzinfo=timezone.utc)
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        sign = 1 if sign == '-' else -1
        seconds = moment.timestamp() + sign * offset.total_seconds() + float(fraction or 0)
    if not 0 <= seconds <= TIME_MOST:
        raise ValueError('time out of range')
    return float(seconds)


URL = re.compile(r'(https?)://((\[[0-9a-f:]+\]|[\w.-]+)(?::\d{1,5})?)((?:/[\w.~-]+)*)/?',
                 re.ASCII)
LOOPBACK = re.compile(r'localhost|127(\.\d{1,3}){3}|\[::1\]')


class Url(NamedTuple):
    """An address to ask at."""
    secure: bool            # https
    place: str              # 'host:port', or 'host'
    host: str               # an IPv6 address in its brackets
    path: str               # without a slash at its end


def parse_url(words):
    """The Url in a text; ValueError if it has anything else, such as credentials or a query.

    Here because urllib.parse costs the first frame 3 ms.
    """
    match = URL.fullmatch(words)
    if not match:
        raise ValueError('not an address')
    scheme, place, host, path = match.groups()
    return Url(scheme == 'https', place, host, path)


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


def terminal_size(fallback):
    """(columns, lines): COLUMNS and LINES where set, else the terminal's, else the fallback.

    The terminal's are one line less, for the prompt that comes after what is printed.
    """
    try:
        columns, lines = os.get_terminal_size(sys.__stdout__.fileno())
        size = columns, lines - 1
    except (OSError, ValueError, AttributeError):
        size = fallback

    def given(name, otherwise):
        text = os.environ.get(name, '')
        return min(int(text), WIDTH_MOST) if text.isdigit() and int(text) else otherwise
    return given('COLUMNS', size[0]), given('LINES', size[1])


def is_terminal(stream):
    """Whether a standard stream, which may be closed, is a terminal."""
    return bool(stream) and stream.isatty()


def stop_signals():
    """The signals that end the program, those that somebody set to be ignored (nohup) left out."""
    names = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGBREAK')
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


# ---- 3. Cells ----------------------------------------------------------------------------------
# A terminal counts cells, not characters: a wide one takes two, a combining mark none. Text from
# outside is cleaned once, where it is parsed; from then on only what is here cuts and fills it.

class Span(NamedTuple):
    """Text in one role. A line is a tuple of spans, a frame a list of lines."""
    text: str
    role: str = ''


# Control sequences whole (CSI, OSC and other strings, two-character ones), then what is unfit to
# be shown: variation selectors, skin tones, keycaps and flags, on whose width terminals disagree.
ESCAPES = re.compile('(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[]P^_X].*?(?:\x07|\x1b\\\\|\x9c|$)'
                     '|\x1b[ -/]*[0-~]?', re.DOTALL)
UNFIT = re.compile('[\ufe00-\ufe0f\u20e3\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]')
SECRET = re.compile(r'sk-(ant|lf)-[\w-]{8,}')      # a key or token, wherever it may come from
UNFIT_KINDS = ('Cf', 'Cs', 'Co', 'Cn')      # formats (and so bidi, ZWJ), surrogates, unknowns
MARKS = ('Mn', 'Me')
PLAIN = re.compile(r'[ -~]*\Z')         # the printable characters of ASCII

# What stands for a glyph where only ASCII may be sent, cell for cell.
ASCII = {'█': '#', '▉': '-', '▊': '-', '▋': '-', '▌': '-', '▍': '-', '▎': '-', '▏': '-',
         '░': '-', '─': '-', '│': '|', '┌': '+', '┐': '+', '└': '+', '┘': '+', '·': '-',
         '…': '~', '⚠': '!', '↑': '^', '↓': 'v', '←': '<', '→': '>', '✓': '+', '▸': '>',
         '↳': '`', '✗': 'x',
         '═': '=', '▁': '_', '▂': '.', '▃': ':', '▄': '~', '▅': '=', '▆': '+', '▇': '*'}


@functools.lru_cache(maxsize=4096)
def cell_count(char):
    """The columns one character takes: 2 if East Asian wide, 0 if it combines, else 1."""
    if unicodedata.category(char) in ('Mn', 'Me', 'Cf'):
        return 0
    return 2 if unicodedata.east_asian_width(char) in 'WF' else 1


@functools.lru_cache(maxsize=1024)
def cells(text):
    """The columns that `text` takes on a terminal."""
    return sum(map(cell_count, text))


def width_of(line):
    """The columns that a line takes."""
    return sum(cells(span.text) for span in line)


@functools.lru_cache(maxsize=16384)     # an organization has many names, told again at each poll
def clean(text, most=TEXT_MOST):
    """Text from outside as one line that is safe on a terminal, of at most `most` characters.

    Escape sequences, controls, line breaks, bidirectional overrides and other invisible
    characters go, and so do keys and tokens; a letter keeps at most two combining marks, or curses
    drops the rest itself.
    """
    if PLAIN.match(text):       # nearly all is; what follows costs a microsecond a character
        return SECRET.sub('[secret]', ' '.join(text[:2 * most].split()))[:most].rstrip()
    text = UNFIT.sub('', ESCAPES.sub('', text[:16 * most]))
    kept, marks = [], 2         # 2: a mark at the very start has no letter to stand on
    for char in unicodedata.normalize('NFC', text):
        kind = unicodedata.category(char)
        if kind in MARKS:
            marks += 1
            if marks > 2:
                continue
        elif kind in UNFIT_KINDS:
            continue
        else:
            char = ' ' if kind[0] in 'CZ' else char
            marks = 2 if char == ' ' else 0
        kept.append(char)
    return SECRET.sub('[secret]', ' '.join(''.join(kept).split()))[:most].rstrip()


def cut(text, width):
    """As much of the start of `text` as `width` cells hold."""
    used = 0
    for index, char in enumerate(text):
        used += cell_count(char)
        if used > width:
            return text[:index]
    return text


def fit(line, width):
    """`line` in exactly `width` cells: filled up with blanks, or cut and ended with `…`."""
    missing = width - width_of(line)
    if missing >= 0:
        return line + (Span(' ' * missing),) if missing else line
    kept, room = [], width - 1
    for text, role in line:
        piece = cut(text, room)
        kept.append(Span(piece, role))
        room -= cells(piece)
        if piece != text:
            break
    return (*kept, Span('…' + ' ' * room)) if width else ()


def shorten(text, width):
    """`text` in at most `width` cells, its cut end marked."""
    return text if cells(text) <= width else cut(text, width - 1) + '…' * (width > 0)


def fitting(variants, width):
    """The first of the texts that `width` cells hold, else the last."""
    return next((text for text in variants if cells(text) <= width), variants[-1])


def wrap(text, width):
    """`text` as lines of at most `width` cells, broken between words where that is possible."""
    lines = ['']
    for word in text.split():
        if lines[-1] and cells(lines[-1]) + 1 + cells(word) <= width:
            lines[-1] += ' ' + word
            continue
        if lines[-1]:
            lines.append('')
        while cells(word) > width > 1:
            lines[-1] = cut(word, width)
            word = word[len(lines[-1]):]
            lines.append('')
        lines[-1] = word
    return lines


@functools.lru_cache(maxsize=1024)
def ascii_text(text):
    """`text` in ASCII and as many cells: by the table, without accents, else question marks."""
    def stand_in(char):
        plain = ASCII.get(char) or unicodedata.normalize('NFKD', char)[0]
        return plain if plain < '\x7f' and cells(char) == 1 else '?' * cells(char)
    return ''.join(char if char < '\x7f' else stand_in(char) for char in text)


def ascii_line(line):
    """The same line in ASCII."""
    return tuple(Span(ascii_text(text), role) for text, role in line)


# ---- 4. Model ----------------------------------------------------------------------------------
# Values, none of which ever changes. A Reading is absorbed into the Snapshot, and whatever is
# shown or printed is made of that one Snapshot.

class Failure(NamedTuple):
    """Why a source gave no value: a code of ERRORS, and what its sentence tells in particular."""
    code: str
    detail: str = ''
    retry_after: Optional[float] = None     # seconds, where a 429 told them


class SourceError(Exception):
    """Raised by sources and parsers, whatever went wrong; carries its Failure.

    Its text is the code alone, so that no secret can get into a traceback.
    """

    def __init__(self, code, detail='', retry_after=None):
        super().__init__(code)
        self.failure = Failure(code, detail, retry_after)


class Limit(NamedTuple):
    """One rate limit and how much of its window is used.

    `id` is the key of the window in the reply, or 'weekly_scoped_' and the model's name; scripts
    know the limit by it, people by its label.
    """
    id: str
    label: str                      # '5-Hour'
    short: str                      # '5h'
    used: float                     # percent, 0..100 and beyond
    resets_at: Optional[float]      # None: the window has not started
    window: Optional[int]           # seconds


class Spend(NamedTuple):
    """Paid use beyond the plan, in minor units of its currency.

    `percent` is of the limit; None where there is no cap.
    """
    used: float
    limit: Optional[float]          # None: no cap
    digits: int                     # amount = minor units / 10**digits
    currency: str
    percent: Optional[float]


class Usage(NamedTuple):
    """A reply of the usage endpoint, or as much of one as Claude Code's status line tells."""
    limits: Tuple[Limit, ...]
    spend: Optional[Spend]
    via: str = ''                   # 'Claude Code' or 'Pace Maker', where no monitor asked
    rest_at: Optional[float] = None     # where it was fed: when what is not fed was told


class Account(NamedTuple):
    """Who is logged in, as far as one source tells; texts are empty where it does not.

    Badges are values of BADGES; the tier is the service's own word for the plan's rate limits.
    """
    uuid: str = ''                  # of the account and the organization, where known
    name: str = ''
    email: str = ''
    organization: str = ''
    badges: Tuple[str, ...] = ()
    tier: str = ''


class Login(NamedTuple):
    """A stored login. Its text form keeps the token out of every message."""
    token: str
    expires_at: Optional[float]
    account: Account

    def __repr__(self):
        return 'Login(token=..., expires_at=%r)' % (self.expires_at,)


class PaceUsage(NamedTuple):
    """The utilization that Pace Maker works from: percents 0..100 of both windows.

    A reset is None where its window has not started. `estimated`: the service has blocked Pace
    Maker, which adds what was spent since to what it knew `at` that time.
    """
    five_hour_used: float
    five_hour_resets_at: Optional[float]
    seven_day_used: float
    seven_day_resets_at: Optional[float]
    at: float
    estimated: bool = False


class Agent(NamedTuple):
    """One agent of the tree: a session's own (the root), or one that it has started.

    `seen` and `ended` are times; None while it has not ended.
    """
    workspace: str
    session: str
    name: str
    is_root: bool
    seen: float
    ended: Optional[float]
    tools: Tuple[str, ...]          # the last three, newest first


class PaceMaker(NamedTuple):
    """What Pace Maker's files tell, nothing secret among it.

    Events are tuples that begin with their time, for the clock alone lets them go by; None where
    there is no such table.
    """
    config: dict                            # the keys of PACE_DEFAULTS that config.json sets
    is_modern: bool                         # of a release from 2.0 on
    usage: Optional[PaceUsage] = None
    decided: Optional[Tuple[float, bool, int]] = None   # when, throttling, seconds
    blockages: Optional[tuple] = None       # (at, category)
    langfuse: Optional[tuple] = None        # (at, sessions, traces, spans)
    secrets: Optional[tuple] = None         # (at, how many were masked)
    activity: tuple = ()                    # (at, code, colour)
    governance: tuple = ()                  # (at, type, project, words), newest first
    errors: Optional[tuple] = None          # (at,) of the error lines in its log
    problems: Tuple[str, ...] = ()          # what could not be read besides its decision
    agents: Tuple[Agent, ...] = ()
    version: str = ''


class Loan(NamedTuple):
    """What Pace Maker's own requests of the usage endpoint tell us."""
    usage: Optional[Usage]
    at: float
    blocked_until: float            # 0.0: it is not blocked


class DayCosts(NamedTuple):
    """Claude Code's cost on one UTC day, in cents: {(name, currency): Decimal} each."""
    by_user: dict                   # names are addresses in lower case, or of API keys
    by_model: dict


class Projection(NamedTuple):
    """Where a month's cost will end at the rate so far, in exact Decimals of cents of USD."""
    rate: Any                       # per hour
    projected: Any
    other: Any                      # at the rate of the last seven days, if that differs


class Console(NamedTuple):
    """The organization's month to date, by the UTC calendar. Amounts are exact Decimals of cents.

    Claude Code's costs are by user and model, the cost report's by workspace; the two overlap, and
    neither holds the other. Currencies are never added up.
    """
    organization: str
    month: str                      # '2026-11'
    through: str                    # '2026-11-18', the day under way
    you: str                        # your address; '' if it is not known
    own: Optional[dict]             # currency -> your Claude Code cost
    total: Optional[dict]           # currency -> the organization's cost; None: not accessible
    projection: Optional[Projection]    # None on a month's first day, and while it is loading
    by_day: tuple                   # (day, cents or None), yours or else the organization's
    by_user: tuple                  # (name, currency, cents), the largest first
    by_model: tuple
    by_workspace: tuple
    days_done: int                  # of them as they are now
    days: int                       # how many of them there are so far
    problems: tuple                 # (day, or '' for the cost report; its Failure)

    @property
    def has_unknown_days(self):
        """Whether there are days of which nothing is known yet, not even why they are missing."""
        return self.days_done + sum(bool(part) for part, _ in self.problems) < self.days

    @property
    def complete(self):
        """Whether nothing of the month is missing: every day as it is now, and the bill."""
        return (self.days_done == self.days and self.total is not None
                and not self.problems)


class Reading(NamedTuple):
    """What a poller tells: a source's new value, or why there is none, and the plan from here.

    A value without a `next_at` is known but is just being asked for again, or loaded further.
    """
    source: str                         # a field of Snapshot
    at: float
    value: Any = None
    failure: Optional[Failure] = None
    next_at: Optional[float] = None     # when it is asked again; None: only after a change
    free_at: Optional[float] = None     # from when on a key may ask


class Known(NamedTuple):
    """What is known of one source: its last good value and the latest failure, if it fails."""
    value: Any = None
    at: Optional[float] = None          # when the value was received
    failure: Optional[Failure] = None
    next_at: Optional[float] = None
    free_at: Optional[float] = None


class Snapshot(NamedTuple):
    """Everything known, by source."""
    identity: Known = Known()   # Account, from .claude.json
    login: Known = Known()      # Account, from the credentials
    profile: Known = Known()    # Account, from the service
    usage: Known = Known()      # Usage
    pace_maker: Known = Known()     # PaceMaker, None where it is not installed
    console: Known = Known()    # Console
    store: Known = Known()      # why nothing is shared with other monitors, None where it is
    modes: Known = Known()      # those of MODES that there are credentials for


def absorb(snapshot, reading):
    """The snapshot after the reading. A failure keeps the last good value; another account's
    identity keeps nothing, for its numbers are not this account's."""
    source, at, value, failure, next_at, free_at = reading
    old = getattr(snapshot, source)
    if failure:
        new = old._replace(failure=failure, next_at=next_at, free_at=free_at)
    else:
        new = Known(value, at, None, next_at, free_at)
    if source == 'identity' and value and old.value and value.uuid != old.value.uuid:
        snapshot = snapshot._replace(profile=Known(), usage=Known())
    return snapshot._replace(**{source: new})


def account_of(snapshot):
    """The Account to show, each field from the best source that has it."""
    known = [source.value for source in (snapshot.profile, snapshot.identity, snapshot.login)
             if source.value]
    return Account(*(next(filter(None, values), values[0]) for values in zip(*known)))


def usage_of(snapshot):
    """What is known of usage, with the login's failure before its own: no login, no request."""
    failure = snapshot.login.failure
    if not failure:
        return snapshot.usage
    return snapshot.usage._replace(failure=failure, next_at=None, free_at=None)


def main_of(snapshot, mode):
    """What is known of the source that a mode is about."""
    return snapshot.console if mode == 'console' else usage_of(snapshot)


def has_numbers(snapshot, mode='code'):
    """Whether there is a number to show."""
    if mode == 'console':
        return bool(snapshot.console.value)
    usage, pace = snapshot.usage.value, snapshot.pace_maker.value
    return bool(usage and (usage.limits or usage.spend) or pace and pace.usage)


# ---- 5. Parsing --------------------------------------------------------------------------------
# From documents and rows of others to the model. A wrong shape raises SourceError and nothing
# else; what a format may leave out is left out. Every text passes `clean` here, so that no control
# character gets any further.

def parse_json(data, parse_float=float):
    """The document in the bytes of a reply. SourceError bad_reply if it is no JSON."""
    try:
        return json.loads(data.decode('utf-8-sig'), parse_float=parse_float)
    except (ValueError, RecursionError):
        raise SourceError('bad_reply', 'no JSON' if data.strip() else 'it is empty')


def mapping(value, what):
    """`value` if it is a JSON object, {} for null. SourceError bad_reply for all else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SourceError('bad_reply', what + ' is no object')
    return value


def number(value, what):
    """`value` if it is a finite JSON number or null. SourceError bad_reply for all else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise SourceError('bad_reply', what + ' is no number')
    return value


def moment(value, what):
    """Epoch seconds of a time in a reply, or None. SourceError bad_reply for all else."""
    try:
        return parse_time(value)
    except ValueError:
        raise SourceError('bad_reply', what + ' is no time')


def text(value):
    """`value` cleaned if it is a text, else ''."""
    return clean(value) if isinstance(value, str) else ''


def neutral_label(key):
    """(label, window) for a limit known only by its key: ('7-Day Cowork', 604800)."""
    for prefix, (label, window) in PREFIXES.items():
        if key.startswith(prefix):
            return label + clean(key[len(prefix):].replace('_', ' ').title()), window
    return clean(key.replace('_', ' ').title()) or 'Other', None


def make_limit(key, label, used, resets_at, window):
    """A Limit; one that LIMITS knows has its labels from there."""
    label, short, window = LIMITS.get(key, (label, label.replace('7-Day ', ''), window))
    return Limit(key, label, short, float(used), resets_at, window)


def parse_window(key, window):
    """The Limit of a top-level window, or None if it is not in use."""
    used = window.get('utilization')
    if key not in LIMITS and not (isinstance(used, (int, float)) and used > 0
                                  and used is not True):
        return None
    what = key if key in LIMITS else 'a limit'
    used = number(used, what + '.utilization')
    if used is None:
        return None
    label, seconds = neutral_label(key)
    return make_limit(key, label, used, moment(window.get('resets_at'), what + '.resets_at'),
                      seconds)


def parse_listed(entry):
    """The Limit of an entry of `limits`, or None if it has no percent."""
    entry = mapping(entry, 'a limit')
    used = number(entry.get('percent'), 'percent')
    kind, group = text(entry.get('kind')) or 'other', entry.get('group')
    window = GROUPS.get(group) if isinstance(group, str) else None
    key, label = KINDS.get(kind, kind), neutral_label(kind)[0]
    if kind == 'weekly_scoped':
        name = scope_name(entry.get('scope'))
        key = '_'.join(filter(None, (kind, re.sub(r'\W+', '_', name.lower()).strip('_'))))
        label, window = '7-Day ' + (name.title() if name.islower() else name or 'Scoped'), 7 * DAY
    if used is None:
        return None
    return make_limit(key, label, used, moment(entry.get('resets_at'), 'resets_at'), window)


def scope_name(scope):
    """The name of the model, else of the surface, that a weekly limit is about; '' if none."""
    scope = scope if isinstance(scope, dict) else {}
    model = scope.get('model')
    return text(model.get('display_name') if isinstance(model, dict) else model) or text(
        scope.get('surface'))


def parse_usage(document):
    """The Usage in a reply of USAGE_PATH, each limit once: its two lists overlap.

    Percents are 0..100, never 0..1. SourceError bad_reply for any other shape.
    """
    if not isinstance(document, dict):
        raise SourceError('bad_reply', 'usage is no object')
    windows = {key: document.get(key) for key in LIMITS}
    windows.update((clean(key) or 'other', value) for key, value in document.items()
                   if is_window(key, value))
    limits = {}
    for key, value in windows.items():
        limits[key] = parse_window(key, mapping(value, key))
    listed = document.get('limits')
    if not isinstance(listed, (list, type(None))):
        raise SourceError('bad_reply', 'limits is no list')
    for limit in filter(None, map(parse_listed, listed or ())):
        named = limit.id.replace('weekly_scoped_', 'seven_day_')
        if limits.get(named) and (named in LIMITS or named in windows):
            continue
        limits[limit.id if not limits.get(limit.id) else unused(limit.id, limits)] = limit
    found = [limit._replace(id=key) for key, limit in limits.items() if limit]
    return Usage(tuple(sorted(found, key=rank)), parse_spend(document))


def is_window(key, value):
    """Whether a top-level entry looks like a window. Their names are an open set."""
    return key not in ('extra_usage', 'spend') and isinstance(value, dict) and (
        'utilization' in value)


def unused(key, taken):
    """`key` with the first number that makes it new: two scopes may bear one name."""
    return next(name for name in ('%s_%d' % (key, n) for n in range(2, 10 ** 6))
                if name not in taken)


def rank(limit):
    """The limits known by name first, then the scoped ones, then the rest."""
    names = list(LIMITS)
    return (names.index(limit.id) if limit.id in names else len(names),
            not limit.id.startswith('weekly_scoped'))


def parse_spend(document):
    """The Spend in a usage reply, from `spend` where present, else `extra_usage`; None if off."""
    spend = mapping(document.get('spend'), 'spend')
    used = mapping(spend.get('used'), 'spend.used')
    if used:
        limit = mapping(spend.get('limit'), 'spend.limit')
        return make_spend(spend.get('enabled'), used.get('amount_minor'),
                          limit.get('amount_minor'), used.get('currency'),
                          used.get('exponent'), spend.get('percent'))
    extra = mapping(document.get('extra_usage'), 'extra_usage')
    return make_spend(extra.get('is_enabled'), extra.get('used_credits'),
                      extra.get('monthly_limit'), extra.get('currency'),
                      extra.get('decimal_places'), extra.get('utilization'))


def make_spend(enabled, used, limit, currency, digits, percent):
    """A Spend of a reply's raw fields, or None where nothing is or may be spent."""
    used, limit = number(used, 'amount used'), number(limit, 'amount of the limit')
    digits, percent = number(digits, 'decimal places'), number(percent, 'percent')
    currency = text(currency)[:8].upper() or 'USD'
    if not used and not enabled:
        return None
    if digits is None or not 0 <= digits <= 6:
        digits = MINOR_DIGITS.get(currency, 2)
    if percent is None and limit is not None:
        percent = 100 * (used or 0) / limit if limit else 100 * bool(used)
    return Spend(used or 0, limit, int(digits), currency, percent)


def badges_of(plan, *more):
    """The badges of an organization type or plan (`claude_max`, `max`), and more, each once."""
    names = [BADGES.get(text(plan).replace('claude_', '')), *more]
    return tuple(dict.fromkeys(filter(None, names)))


def parse_profile(document):
    """The Account in a reply of PROFILE_PATH; any field may be missing."""
    if not isinstance(document, dict):
        raise SourceError('bad_reply', 'profile is no object')
    person = mapping(document.get('account'), 'account')
    organization = mapping(document.get('organization'), 'organization')
    return Account(text(person.get('uuid')),
                   text(person.get('full_name')) or text(person.get('display_name')),
                   text(person.get('email')), text(organization.get('name')),
                   badges_of(organization.get('organization_type'),
                             person.get('has_claude_max') is True and 'MAX',
                             person.get('has_claude_pro') is True and 'PRO'),
                   text(organization.get('rate_limit_tier')))


def parse_identity(document):
    """The Account in `.claude.json`, or None if it names none."""
    account = document.get('oauthAccount') if isinstance(document, dict) else None
    if not isinstance(account, dict):
        return None
    uuids = text(account.get('accountUuid')), text(account.get('organizationUuid'))
    return Account('/'.join(filter(None, uuids)), text(account.get('displayName')),
                   text(account.get('emailAddress')), text(account.get('organizationName')),
                   badges_of(account.get('organizationType')),
                   text(account.get('organizationRateLimitTier')))


def parse_login(document):
    """The Login in a credentials document. SourceError logged_out or malformed."""
    if not isinstance(document, dict):
        raise SourceError('malformed', 'credentials: no JSON object')
    login = document.get('claudeAiOauth')
    token = login.get('accessToken') if isinstance(login, dict) else None
    if not token:
        raise SourceError('logged_out')
    if not isinstance(token, str) or not re.fullmatch('[!-~]+', token):
        raise SourceError('malformed', 'credentials: the token is not of printable characters')
    expires = login.get('expiresAt')
    known = (isinstance(expires, (int, float)) and not isinstance(expires, bool)
             and abs(expires) < 1e15)
    return Login(token, expires / 1000 if known else None,
                 Account(badges=badges_of(login.get('subscriptionType')),
                         tier=text(login.get('rateLimitTier'))))


def parse_status(document):
    """(a document like a usage reply's, the model's name) of what Claude Code tells its status
    line. Whatever is odd of it is left out, for a status line must never break the prompt."""
    document = document if isinstance(document, dict) else {}
    rates, model = document.get('rate_limits'), document.get('model')
    windows = {}
    for key in LIMITS if isinstance(rates, dict) else ():
        try:
            window = mapping(rates.get(key), key)
            told = {'utilization': number(window.get('used_percentage'), key),
                    'resets_at': moment(window.get('resets_at'), key)}
        except SourceError:
            continue
        if told['utilization'] is not None:
            windows[key] = told
    return windows, text(model.get('display_name')) if isinstance(model, dict) else ''


def parse_stored(body, parse):
    """`parse(document)` of a stored reply; None if it is none, whoever wrote it."""
    try:
        return parse(json.loads(body))
    except (SourceError, ValueError, TypeError, ArithmeticError, AttributeError, RecursionError):
        return None


def parse_pace_config(document):
    """The keys of PACE_DEFAULTS in config.json, checked. SourceError malformed."""
    if not isinstance(document, dict):
        raise SourceError('malformed', 'config.json: no object')
    config = {}
    for key, default in PACE_DEFAULTS.items():
        value = document.get(key)
        kinds = (int, float) if type(default) in (int, float) else type(default)
        if value is None:
            continue
        if (not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool)
                or not isinstance(value, str) and not 0 <= value < 1e9):
            raise SourceError('malformed', 'config.json: %s is no fit value' % key)
        config[key] = clean(value) if isinstance(value, str) else value
    return config


def parse_pace_usage(row):
    """The PaceUsage in a row of usage_snapshots or api_cache that has both percents."""
    return PaceUsage(number(row['five_hour_util'], 'five_hour_util'),
                     moment(row['five_hour_resets_at'], 'five_hour_resets_at'),
                     number(row['seven_day_util'], 'seven_day_util'),
                     moment(row['seven_day_resets_at'], 'seven_day_resets_at'),
                     number(row['timestamp'], 'timestamp') or 0.0)


def parse_pace_maker(config, tables, errors, version, problems, now):
    """The PaceMaker in what was read of its files. What is odd of that which it does not decide
    by joins the `problems`."""
    decided = events(tables, 'pacing_decisions', integer, integer)
    if decided and None in tables['pacing_decisions'][0].values():
        decided = None
    usage, problems, told = pace_usage(tables, now), list(problems), {}
    for name, (file, parse) in PACE_PARTS.items():
        try:
            told[name] = parse(tables)
        except SourceError as error:
            told[name], words = None, '%s: %s' % (file, error.failure.detail)
            problems.append(message(Failure('malformed', words), None, now))
    return PaceMaker(
        config, bool(set(tables) - set(FIRST_TABLES)), usage,
        (decided[0][0], bool(decided[0][1]), decided[0][2]) if decided else None,
        told['blockages'], told['langfuse'], told['secrets'], told['activity'] or (),
        told['governance'] or (), errors, tuple(problems), told['agents'] or (), version)


# The tables that a release before 2.0 may have.
FIRST_TABLES = ('usage_snapshots', 'pacing_decisions', 'blockage_events')
# A field of PaceMaker that it does not decide by -> (file, what makes it of the tables).
PACE_PARTS = {
    'blockages': ('usage.db', lambda tables: events(tables, 'blockage_events', text)),
    'langfuse': ('usage.db', lambda tables: events(tables, 'langfuse_metrics', integer, integer,
                                                   integer)),
    'secrets': ('usage.db', lambda tables: events(tables, 'secrets_metrics', integer)),
    'activity': ('usage.db', lambda tables: events(tables, 'activity_events', text, text)),
    'governance': ('usage.db', lambda tables: events(tables, 'governance_events', text, text,
                                                     long_text)),
    'agents': ('session_registry.db', lambda tables: parse_agents(tables)),
}


def integer(value):
    """A count; null is none."""
    return value if type(value) is int else int(number(value, 'a count') or 0)


def long_text(value):
    """`text` with room for what a hook has to say; its cut end is marked."""
    words = clean(value, WORDS_MOST + 1) if isinstance(value, str) else ''
    return words if len(words) <= WORDS_MOST else words[:WORDS_MOST] + '…'


def events(tables, name, *kinds):
    """The rows of a table as tuples of a time and of values of these kinds; None without it."""
    rows = tables.get(name)
    return rows if rows is None else tuple(
        (number(at, 'a time in ' + name) or 0.0,
         *(kind(value) for kind, value in zip(kinds, values)))
        for at, *values in (row.values() for row in rows))


def parse_loan(tables):
    """The Loan in Pace Maker's last reply and in what it knows of a block."""
    blocked = [integer(row['backoff_until']) for row in tables.get('backoff_state') or ()]
    try:
        usage, at = parse_cache(tables.get('api_cache') or ())
    except SourceError:
        usage, at = None, 0.0       # an odd reply does not lift the block
    return Loan(usage, at, max(blocked, default=0))


def parse_cache(rows):
    """(Usage, when) of the row of api_cache: of the whole reply where it has that and it can be
    understood, else of its columns."""
    for row in rows:
        usage = parse_stored(row['raw_response'], parse_usage) or parse_usage({
            key: {'utilization': row[key + '_util'], 'resets_at': row[key + '_resets_at']}
            for key in ('five_hour', 'seven_day')})
        return usage._replace(via='Pace Maker'), number(row['timestamp'], 'timestamp') or 0.0
    return None, 0.0


def parse_agents(tables):
    """The Agents in the session registry, by workspace and session, roots first."""
    tools = {}
    for action in tables.get('agent_actions') or ():
        tools.setdefault(action['agent_id'], []).append(text(action['tool_name']))
    agents = (Agent(text(row['workspace_root']), clean(str(row['session_id'])),
                    text(row['subagent_type']) or clean(str(row['agent_id']))[-8:],
                    row['role'] == 'root', moment(row['last_seen'], 'last_seen') or 0.0,
                    moment(row['ended_at'], 'ended_at'),
                    tuple(tools.get(row['agent_id'], ())[:AGENT_TOOLS]))
              for row in tables.get('agents') or ())
    return tuple(sorted(agents, key=lambda agent: (agent[:2], not agent.is_root)))


def pace_usage(tables, now):
    """The PaceUsage to work from: its estimate while it has no access, else its latest reply."""
    fallback = tables.get('fallback_state_v2')
    if fallback and fallback[0]['state'] == 'fallback':
        return estimate(fallback[0], tables.get('calibrated_coefficients') or (),
                        tables.get('accumulated_costs') or (), now)
    rows = [row for name in ('api_cache', 'usage_snapshots') for row in tables.get(name) or ()
            if None not in (row['five_hour_util'], row['seven_day_util'])]
    return parse_pace_usage(rows[0]) if rows else None


def estimate(state, calibrated, costs, now):
    """Pace Maker's own estimate from what was spent since its API access was blocked."""
    tier = '20x' if '20x' in str(state['tier']) else '5x'
    measured = next((row for row in calibrated if row['tier'] == state['tier']), {})
    entered, windows = number(state['entered_at'], 'entered_at') or 0.0, []
    costs = [(number(row['timestamp'], 'timestamp') or 0.0,
              number(row['cost_dollars'], 'cost') or 0) for row in costs]
    for index, (key, seconds) in enumerate((('5h', 5 * HOUR), ('7d', 7 * DAY))):
        coefficient = number(measured.get('coefficient_' + key), 'coefficient')
        if coefficient is None:
            coefficient = COEFFICIENTS[tier][index]
        windows += estimate_window(
            number(state['baseline_' + key], 'baseline') or 0,
            moment(state['resets_at_' + key], 'resets_at'),
            number(state['rollover_cost_' + key], 'rollover_cost'),
            seconds, coefficient, [cost for cost in costs if cost[0] >= entered], now)
    return PaceUsage(*windows, at=entered, estimated=True)


def estimate_window(baseline, resets_at, rollover, seconds, coefficient, costs, now):
    """(percent, resets_at) of one window: its baseline and what the costs since have used.

    `coefficient` is the part of it that a dollar uses. Where it has ended since, it begins anew
    at its boundary; `rollover` is what was spent until Pace Maker itself saw that.
    """
    spent = sum(cost for _, cost in costs)
    if resets_at is not None and resets_at <= now:
        boundary = resets_at + (now - resets_at) // seconds * seconds
        spent = sum(cost for at, cost in costs if at >= boundary)
        baseline, resets_at = 0, boundary + seconds
    elif rollover is not None:
        baseline, spent = 0, max(0, spent - rollover)
    return min(100, baseline + spent * coefficient * 100), resets_at


def parse_cents(amount):
    """An amount of cents, a number or a text, as an exact Decimal; null is nothing."""
    decimal = load_decimal()
    if type(amount) is decimal.Decimal and amount.is_finite() and amount.adjusted() < 15:
        return amount
    try:
        cents = decimal.Decimal('nan' if isinstance(amount, bool) else amount or 0)
    except (decimal.InvalidOperation, TypeError, ValueError):
        cents = decimal.Decimal('nan')
    if not cents.is_finite() or cents.adjusted() >= 15:
        raise SourceError('bad_reply', 'an amount is no number')
    return cents


def listed(document):
    """The rows of a page of the Admin API."""
    rows = mapping(document, 'a page').get('data')
    if not isinstance(rows, list):
        raise SourceError('bad_reply', 'data is no list')
    return [mapping(row, 'a row') for row in rows]


def add(amount, *tables):
    """Add an {amount, currency} to each of (sums, name), sums being {(name, currency): cents}."""
    amount = mapping(amount, 'an amount')
    cents, currency = parse_cents(amount.get('amount')), text(amount.get('currency')).upper()
    for sums, name in tables:
        key = name, currency or 'USD'
        sums[key] = sums.get(key, 0) + cents


def parse_claude_code(rows):
    """The DayCosts in the rows of a Claude Code report: a user has several."""
    day = DayCosts({}, {})
    for row in rows:
        actor = mapping(row.get('actor'), 'actor')
        name = text(actor.get('email_address')).lower() or actor_name(actor)
        models = row.get('model_breakdown') or ()
        if not isinstance(models, (list, tuple)):
            raise SourceError('bad_reply', 'model_breakdown is no list')
        for model in models:
            model = mapping(model, 'a model')
            add(model.get('estimated_cost'), (day.by_user, name),
                (day.by_model, text(model.get('model')) or 'unknown'))
    return day


def actor_name(actor):
    """The name of an actor without an address; that of a key must not look like an address."""
    key = text(actor.get('api_key_name'))
    return 'API key ' * ('@' in key) + key or text(actor.get('type')) or 'unknown'


def parse_cost_report(rows):
    """({(day, currency): cents}, {(workspace id, currency): cents}) of a cost report's buckets."""
    by_day, by_workspace = {}, {}
    for bucket in rows:
        results = bucket.get('results') or ()
        if not isinstance(results, (list, tuple)):
            raise SourceError('bad_reply', 'results is no list')
        for result in results:
            result = mapping(result, 'a result')
            add(result, (by_day, text(bucket.get('starting_at'))[:10]),
                (by_workspace, text(result.get('workspace_id'))))
    return by_day, by_workspace


class Names(NamedTuple):
    """What the Admin API's lists say, which are asked seldom."""
    organization: str = ''
    login_name: Optional[str] = None    # to whom, None where the users were not asked, ...
    you: str = ''               # ... this address among them belongs; '' if none does
    workspaces: dict = {}       # id -> name
    at: float = 0.0             # when they were asked, by our clock


class PackedMonth(NamedTuple):
    """What a poll of the Console brought, as it is stored; `unpacked_month` has it back."""
    at: float               # when it was polled, by the service's clock ...
    skew: float             # ... which is so much ahead of ours
    names: Optional[Any]    # a tuple of Names
    days: dict              # of those that may still change: day -> DayCosts
    costs: Optional[Any]    # of parse_cost_report
    problems: dict          # Failures by day, '' for the cost report


def packed_table(table):
    """{(name, currency): Decimal} as values of JSON."""
    return [[name, currency, str(cents)] for (name, currency), cents in table.items()]


def unpacked_table(rows):
    """The table of `packed_table`. ValueError and the like for all else, as of what follows."""
    from decimal import Decimal
    table = {(known_text(name), known_text(currency)): Decimal(known_text(cents))
             for name, currency, cents in rows}
    if not all(cents.is_finite() for cents in table.values()):
        raise ValueError('no amount')
    return table


def known_text(value):
    """A text that was clean when it was stored. ValueError if it is none."""
    if not isinstance(value, str):
        raise ValueError('no text')
    return clean(value)


def unpacked_day(tables):
    """The DayCosts in its JSON form."""
    return DayCosts(*map(unpacked_table, tables))


def unpacked_month(document):
    """The PackedMonth in its JSON form."""
    at, skew, names, days, costs, problems = document
    if names is not None:
        organization, name, you, workspaces, asked_at = names
        names = Names(known_text(organization), None if name is None else known_text(name),
                      known_text(you), {key: known_text(name) for key, name in
                                        workspaces.items()}, float(parse_time(asked_at)))
    problems = {part and utc_day(parse_time(part + 'T00:00Z')): Failure(code, known_text(detail))
                for part, (code, detail, _) in problems.items()}
    if not all(failure.code in CONSOLE_ERRORS for failure in problems.values()):
        raise ValueError('no failure')
    if costs is not None:
        by_day, by_workspace = map(unpacked_table, costs)
        costs = by_day, by_workspace
    return PackedMonth(
        float(parse_time(at)), float(number(skew, 'skew')), names,
        {day: unpacked_day(tables) for day, tables in days.items()}, costs, problems)


def parse_admin_key(document, env):
    """The Admin API key of the environment, else of the credentials document.

    SourceError no_credentials; unauthorized where it is a key of another kind.
    """
    console = document.get('anthropicConsole') if isinstance(document, dict) else None
    stored = console.get('adminApiKey') if isinstance(console, dict) else None
    key = env.get('ANTHROPIC_ADMIN_API_KEY', '').strip() or stored
    key = key.strip() if isinstance(key, str) else key
    if not key:
        raise SourceError('no_credentials')
    if not isinstance(key, str) or not re.fullmatch('[!-~]+', key):
        raise SourceError('unauthorized', 'it is not of printable characters')
    for start, kind in OTHER_KEYS.items():
        if key.strip('"\'').lower().startswith(start):
            raise SourceError('unauthorized', kind + ', where sk-ant-admin... is needed')
    return key


OTHER_KEYS = {'sk-ant-oat': "this is Claude Code's login token",
              'sk-ant-ort': "this is Claude Code's refresh token",
              'sk-ant-api': 'this is a normal API key'}


# ---- 6. Reckoning ------------------------------------------------------------------------------
# Pure arithmetic: the same arguments, the same value. First what is told in words, then when to
# ask, then what Pace Maker decides, then the Console's month.

def percent_shown(used):
    """Percent as a whole number: rounded, but 100 only from 100 on."""
    return max(0, int(used + 0.5) if used >= 100 else min(99, int(used + 0.5)))


def level(used):
    """The colour of a percent, by the number that is shown."""
    return next((name for most, name in LEVELS if percent_shown(used) <= most), 'red')


def countdown(seconds):
    """'4d 1h 12m', '3h 45m', '12m', '45s': rounded down, leading zero units left out."""
    seconds = max(0, int(seconds))
    if seconds < MINUTE:
        return '%ds' % seconds
    units = ((seconds // DAY, 'd'), (seconds // HOUR % 24, 'h'), (seconds // MINUTE % 60, 'm'))
    first = next(index for index, (count, _) in enumerate(units) if count)
    return ' '.join('%d%s' % unit for unit in units[first:])


def countdown_short(seconds):
    """'4d', '3h45m', '12m', '45s', in at most six cells."""
    whole = countdown(seconds)
    return whole.split(' ')[0] if 'd' in whole else whole.replace(' ', '')


def clock_text(at, now):
    """Local time of day, with the weekday from a day's distance on, the date from a week's."""
    local, distance = time.localtime(at), abs(at - now)
    day = ''
    if distance >= 7 * DAY:
        day = '%s %d ' % (MONTHS[local.tm_mon - 1], local.tm_mday)
    elif distance >= DAY:
        day = WEEKDAYS[local.tm_wday] + ' '
    return day + time.strftime('%H:%M', local)


def time_of_day(at):
    """'14:23:15', local time."""
    return time.strftime('%H:%M:%S', time.localtime(at))


def money(amount, digits):
    """Minor units as an amount: (123456, 2) -> '1,234.56'."""
    return '{:,.{}f}'.format(amount / 10 ** digits, digits)


def message(failure, next_at, now, errors=ERRORS):
    """The sentence for people: what happened, and what to do or when the next try is."""
    sentence, step = errors[failure.code]
    if not step and next_at:
        step = 'Next try %s.' % clock_text(next_at, now)
    return ' '.join(filter(None, (sentence.format(failure.detail), step)))


def status(known, now):
    """How a source stands: 'waiting', 'error', 'stale' (older than two of its intervals), 'ok'."""
    if known.failure:
        return 'error'
    if known.at is None:
        return 'waiting'
    stale = known.next_at and now - known.at > 2 * (known.next_at - known.at)
    return 'stale' if stale else 'ok'


class Attempt(NamedTuple):
    """One request that was made, and what came of it."""
    source: str
    token: str                              # a fingerprint; '' of a reply that another got
    at: float                               # when its reply, or failure, came
    code: str                               # 'ok', a code of ERRORS, or LOST
    retry_after: Optional[float] = None     # seconds
    detail: str = ''                        # of the failure
    moved: bool = True                      # the numbers are not those of the reply before
    reset_at: Optional[float] = None        # the next reset of a limit, by this reply


def attempt_of(source, token, at, failure, **more):
    """The Attempt that brought a Failure or, where that is None, a reply."""
    code, detail, retry_after = failure or ('ok', '', None)
    return Attempt(source, token, at, code, retry_after, detail, **more)


class Pace(NamedTuple):
    """How often a source is asked: seconds while its numbers move and while they do not."""
    base: float
    most: float
    jitter: float = 0.0                     # a fraction of them, either way
    wary: float = 0.0                       # at least, while a 429 is not long ago


LOST = 'lost'           # the code of a request whose monitor ended before its reply came
PACES = {'usage': Pace(USAGE_SECONDS, USAGE_MOST, JITTER, WARY_SECONDS),
         'profile': Pace(PROFILE_SECONDS, PROFILE_SECONDS),
         'console': Pace(CONSOLE_SECONDS, CONSOLE_SECONDS)}


class Plan(NamedTuple):
    """When a source is asked next. Both may be infinite: not before the token changes."""
    next_at: float      # by itself
    free_at: float      # earliest, if somebody asks for it


def next_poll(history, source, token, pace, now, fed_at=None):
    """The Plan that follows from the Attempts of all monitors so far, oldest first.

    * After a reply: `reply_end`. `fed_at` is when Claude Code's status line last told usage.
    * After failures: RETRY_SECONDS, doubled each time, up to RETRY_MOST. A token without the scope
      is not tried again; a new token is tried at once.
    * Never more than BUDGET requests in any BUDGET_SECONDS, whoever made them.
    * After a 429: `wary_until`, for the token that it was told to.
    """
    # What is further ahead was noted before the clock was set back.
    history = [attempt for attempt in history if attempt.at <= now + SKEW_SECONDS]
    asked = [attempt for attempt in history if attempt.source == source]
    own = [attempt for attempt in asked if attempt.code != LOST]
    failed = since_success(own)
    failed_so = [attempt for attempt in failed if attempt.token == token]
    free_at, due = wary_until(history, asked, token, pace), 0.0
    if len(asked) >= BUDGET:
        free_at = max(free_at, asked[-BUDGET].at + BUDGET_SECONDS)
    if failed_so:
        due = failed_so[-1].at + doubled(RETRY_SECONDS, len(failed_so), RETRY_MOST)
    elif own and not failed:
        due = reply_end(own, pace, fed_at)
    if failed_so and failed_so[-1].code == 'forbidden_scope':
        due = free_at = float('inf')
    return Plan(max(due, free_at), free_at)


def reply_end(own, pace, fed_at):
    """Until when the last of a source's Attempts is good enough, by how the numbers move.

    The base of its Pace while they do, SLOWING times as long with each reply like the one before,
    FED_SECONDS while the status line tells them; at the latest RESET_SECONDS after a reset. The
    jitter comes from the time of the reply, so all monitors reckon with the same.
    """
    last, replies = own[-1], [attempt for attempt in own if attempt.code == 'ok']
    still = next((count for count, attempt in enumerate(reversed(replies)) if attempt.moved),
                 len(replies))
    seconds = min(pace.base * SLOWING ** still, pace.most)
    due = last.at + seconds * (1 + pace.jitter * (2 * (last.at * 0.618034 % 1) - 1))
    if fed_at:
        due = max(due, min(fed_at + seconds, last.at + FED_SECONDS))
    if last.reset_at is not None:
        due = min(due, last.reset_at + RESET_SECONDS)
    return due


def joined(*histories):
    """One history out of several, oldest first: each request once, of each source the last
    ATTEMPTS_MOST."""
    unique = {attempt[:3]: attempt for history in histories for attempt in history}
    ordered = sorted(unique.values(), key=lambda attempt: attempt.at)
    sources = [attempt.source for attempt in ordered]
    return tuple(attempt for index, attempt in enumerate(ordered)
                 if sources[index:].count(attempt.source) <= ATTEMPTS_MOST)


def has_moved(old, new):
    """Whether two replies tell different numbers; their resets jitter by fractions of a second."""
    if not (isinstance(old, Usage) and isinstance(new, Usage)):
        return True

    def told(usage):
        return [(limit.id, limit.used, limit.resets_at is None) for limit in usage.limits]
    resets = zip(*([limit.resets_at or 0 for limit in usage.limits] for usage in (old, new)))
    return told(old) != told(new) or old.spend != new.spend or any(
        abs(before - after) > AGREE_SECONDS for before, after in resets)


def next_reset(value, now):
    """The time of the next reset that a Usage tells of; None if it tells of none."""
    limits = value.limits if isinstance(value, Usage) else ()
    return min((limit.resets_at for limit in limits if (limit.resets_at or 0) > now), default=None)


def further(known, told):
    """Of two reports of one limit the one that is further on.

    Use only rises until its window resets, and a session that has been idle tells old numbers.
    """
    if known is None or None in (known.resets_at, told.resets_at):
        return told
    if abs(known.resets_at - told.resets_at) <= AGREE_SECONDS:
        return max(told, known, key=lambda limit: limit.used)
    return max(told, known, key=lambda limit: limit.resets_at)


def latest_usage(known):
    """The Usage that two replies make up, {'usage' and 'statusline': (at, Usage)}, or None."""
    at, usage = known.get('usage', (0.0, None))
    fed_at, feed = known.get('statusline', (0.0, None))
    return fed_usage(usage, at, feed) if feed and fed_at > at else usage


def merged_feed(usage, told, feed):
    """What to store of a `feed` of Claude Code's status line, no window of which goes back behind
    the `usage` that is known; one that it leaves out stays as an earlier feed `told` it."""
    known = {limit.id: limit for limit in usage.limits} if usage else {}
    fed = {limit.id: limit for limit in told.limits} if told and feed.limits else {}
    fed.update((limit.id, further(known.get(limit.id), limit)) for limit in feed.limits)
    return feed._replace(limits=tuple(sorted(fed.values(), key=rank)))


def unexpired(usage, now):
    """A Usage without the limits whose reset has passed."""
    return usage._replace(limits=tuple(
        limit for limit in usage.limits if limit.resets_at is None or limit.resets_at > now))


def completed(usage, told):
    """A Usage with those limits that it lacks but which are `told`."""
    there = {limit.id for limit in usage.limits}
    more = [limit for limit in told.limits if limit.id not in there]
    return usage._replace(limits=tuple(sorted(usage.limits + tuple(more), key=rank)))


def fed_usage(usage, at, feed):
    """A Usage of a time with the windows that Claude Code's status line has told since."""
    fed = {limit.id: limit for limit in feed.limits}
    fed.update((limit.id, further(limit, fed[limit.id]) if limit.id in fed else limit)
               for limit in (usage.limits if usage else ()))
    return Usage(tuple(sorted(fed.values(), key=rank)), usage and usage.spend, 'Claude Code',
                 at if usage else None)


def wary_until(history, asked, token, pace):
    """When a source that was asked so may be asked again after the 429s of a token; 0.0 where
    there were none.

    Not before their block ends, unless a request has succeeded since: asking prolongs it. And for
    WARY_SPAN no sooner than its Pace is wary, after a 429 as after any request.
    """
    blocks = [block for source in PACES for block in blocks_of(
        [attempt for attempt in history if (attempt.source, attempt.token) == (source, token)])]
    free_at = max((block.end for block in blocks if not block.is_over), default=0.0)
    latest = max((block.at for block in blocks), default=0.0)
    last = max(latest, asked[-1].at if asked else 0.0)
    if latest and last <= max(max(block.at, block.end - WARY_SECONDS)
                              for block in blocks) + WARY_SPAN:
        free_at = max(free_at, last + pace.wary)
    return free_at


class Block(NamedTuple):
    """What a 429 forbids."""
    at: float
    end: float
    is_over: bool       # a request has succeeded since


def blocks_of(attempts):
    """The Blocks of the Attempts of one source with one token, in their order.

    A block is as long as its Retry-After, and at least BLOCK_SECONDS, doubled by each further 429:
    the service tells 0, or nothing, while it goes on refusing (observed).
    """
    blocks, times = [], 0
    for attempt in attempts:
        if attempt.code == 'ok':
            blocks, times = [block._replace(is_over=True) for block in blocks], 0
        elif attempt.code == 'rate_limited':
            times += 1
            told = min(attempt.retry_after or 0, BLOCK_MOST)
            blocks.append(Block(attempt.at, attempt.at + max(
                told, doubled(BLOCK_SECONDS, times, BLOCK_MOST)), False))
    return blocks


def since_success(attempts):
    """The attempts after the last one that succeeded."""
    success = max((index for index, attempt in enumerate(attempts) if attempt.code == 'ok'),
                  default=-1)
    return attempts[success + 1:]


def doubled(first, times, most):
    """`first` the first time, twice as much each further time, never above `most`."""
    return min(first * 2 ** min(times - 1, 30), most)


class PacingDecision(NamedTuple):
    """What Pace Maker decides. Percents 0..100 and beyond; a delay is per tool use."""
    throttling: bool
    delay_seconds: int
    window: Optional[str]                   # the constrained one: '5-hour', '7-day' or None
    deviation: float                        # of that window: used - target, in percent points
    five_hour_target: float
    seven_day_target: float
    stale: bool                             # a window's reset is long past: no longer counted
    strategy: Optional[str]
    algorithm: str                          # 'adaptive' or 'legacy'
    safe_allowance: Optional[float] = None
    projected_unthrottled: Optional[float] = None   # utilization at the reset, at this pace ...
    projected_throttled: Optional[float] = None     # ... and with the delay


def pacing_decision(five_hour_used, five_hour_resets_at, seven_day_used, seven_day_resets_at,
                    config, now):
    """The PacingDecision of Pace Maker's own engine, after its releases 1.0 to 2.34.

    Percents and epoch seconds, None for a window that has not started; `config` is its parsed
    config.json. `tests/pacing-*.jsonl` are cases computed by the engine itself.
    """
    legacy = config.get('algorithm') == 'legacy' or config.get('use_adaptive') is False
    target_of = legacy_target if legacy else adaptive_target
    windows, targets, stale = [], [], False
    for name, used, resets_at, seconds, switch in (
            ('5-hour', five_hour_used, five_hour_resets_at, 5 * HOUR, 'five_hour_limit_enabled'),
            ('7-day', seven_day_used, seven_day_resets_at, 7 * DAY, 'weekly_limit_enabled')):
        passed = not legacy and resets_at is not None and now - resets_at > PACE_STALE_SECONDS
        stale = stale or passed
        active = resets_at is not None and not passed
        targets.append(target_of(resets_at, seconds, config, now) if active else 0.0)
        if active and setting(config, switch):
            windows.append((used - targets[-1], name, used, resets_at, seconds))
    algorithm = 'legacy' if legacy else 'adaptive'
    if not windows:
        return PacingDecision(False, 0, None, 0.0, *targets, stale,
                              'legacy' if legacy else None, algorithm)
    deviation, name, used, resets_at, seconds = max(windows, key=lambda window: window[0])
    if legacy:
        delay, *told = legacy_delay(deviation, config), 'legacy'
    else:
        delay, *told = adaptive_delay(used, resets_at, seconds, targets[name == '7-day'],
                                      config, now)
    strategy, *more = told
    return PacingDecision(delay > 0, delay, name, deviation, *targets, stale, strategy, algorithm,
                          *more)


def setting(config, key):
    """A value of Pace Maker's config.json, or what it takes where there is none, or null."""
    value = config.get(key)
    return PACE_DEFAULTS[key] if value is None else value


def weekday_seconds(start, end):
    """Seconds of Monday to Friday (UTC) from start to end, whole ones of each day."""
    total, day, end = 0, start // DAY * DAY, max(start, end)
    while day < end:
        if (day // DAY + 3) % 7 < 5:        # the epoch began on a Thursday
            total += int(min(end, day + DAY) - max(start, day))
        day += DAY
    return total


def elapsed_percent(resets_at, seconds, now):
    """How much of a window has passed: by the clock, or for the 7-day one by its weekdays."""
    start = resets_at - seconds
    if seconds < DAY:
        return 100 * min(max(now - start, 0), seconds) / seconds
    total = weekday_seconds(start, resets_at)
    return 100 * weekday_seconds(start, now) / total if total else 0.0


def adaptive_target(resets_at, seconds, config, now):
    """Percent that may be used by now: what has elapsed, with a preload at the start.

    The 7-day window counts weekdays only, and its first `preload_hours` are given at once.
    """
    start, elapsed = resets_at - seconds, elapsed_percent(resets_at, seconds, now)
    if seconds < DAY:
        return 10.0 if elapsed <= 10 else elapsed
    total, preload = weekday_seconds(start, resets_at), setting(config, 'preload_hours')
    if not total:
        return 100.0
    if preload > 0 and weekday_seconds(start, now) <= preload * HOUR:
        return 100 * preload * HOUR / total
    return elapsed


def legacy_target(resets_at, seconds, config, now):
    """Percent that may be used by now: logarithmic for 5 hours, in proportion for 7 days."""
    elapsed = min(max(1 - (resets_at - now) / seconds, 0), 1)
    return 100 * (math.log(1 + elapsed * (math.e - 1)) if seconds < DAY else elapsed)


def legacy_delay(deviation, config):
    """Seconds per tool use, which grow with the deviation beyond the threshold."""
    beyond = deviation - setting(config, 'threshold_percent')
    if beyond <= 0:
        return 0
    most = setting(config, 'max_delay')
    return int(min(max(setting(config, 'base_delay') * (1 + 2 * beyond), 5), most))


def adaptive_delay(used, resets_at, seconds, target, config, now):
    """(delay, strategy, safe allowance, projection without the delay, projection with it).

    The delay brings the window to the safety buffer by its reset, or half of what is left above
    it; on weekends and at the reset it is the most. Below the safe allowance there is none.
    """
    most, buffer = setting(config, 'max_delay'), setting(config, 'safety_buffer_pct')
    safe = target * buffer / 100
    left = max(0, resets_at - now) / HOUR
    weekend = (now // DAY + 3) % 7 >= 5
    if used > safe and (weekend or left <= 0):
        return most, 'emergency', safe, used, used
    hours = elapsed_percent(resets_at, seconds, now) / 100 * seconds / HOUR
    burn = used / hours if hours else 0
    unthrottled = used + burn * left
    if used <= safe:
        return 0, 'none', safe, unthrottled, unthrottled
    wanted = (buffer - used) / left if used < buffer else (100 - used) / left * 0.5
    delay = delay_for(wanted / burn if burn else 1, left, setting(config, 'base_delay'), most)
    throttled = used + wanted * left
    if delay <= setting(config, 'base_delay'):
        return 0, 'none', safe, unthrottled, throttled
    strategies = ((5, 'minimal'), (20, 'gradual'), (float('inf'), 'aggressive'))
    strategy = next(name for most_over, name in strategies if used - safe < most_over)
    return delay, 'emergency' if delay >= most else strategy, safe, unthrottled, throttled


def delay_for(ratio, left, least, most):
    """Seconds that slow the pace down to `ratio` of itself, with `left` hours to go."""
    if ratio >= 0.95:
        delay = least if ratio < 1 else 0
    elif ratio <= 0:
        delay = most
    else:
        slowing = 60 if left < 1 else 40 if left < 3 else 20
        delay = int(least * (1 / ratio - 1) * slowing)
    return min(max(delay, least), most)


def window_ends(ours, theirs):
    """The pairs of times at which the 5-hour and the 7-day window of two Usages end, or None."""
    for key in ('five_hour', 'seven_day'):
        yield [next((limit.resets_at for limit in usage.limits if limit.id == key), None)
               for usage in (ours, theirs)]


def same_account(ours, theirs):
    """Whether two Usages can be one account's: their windows end together, or neither runs."""
    return all(a == b or None not in (a, b) and abs(a - b) <= AGREE_SECONDS
               for a, b in window_ends(ours, theirs))


def is_another_account(ours, theirs, now):
    """Whether two Usages cannot be one account's: of a window that runs they tell two ends.

    One that has ended, or not begun, is no evidence: a new one begins with the next request.
    """
    return any(None not in (a, b) and min(a, b) > now and abs(a - b) > AGREE_SECONDS
               for a, b in window_ends(ours, theirs))


class PaceStatus(NamedTuple):
    """Pace Maker's state as it is shown, on the screen and in JSON."""
    status: str                             # a key of PACE_WORDS
    reason: str = ''
    tempo: Optional[str] = None             # a key of TEMPOS
    throttling: Optional[bool] = None
    delay_seconds: Optional[int] = None
    window: Optional[str] = None
    target: Optional[float] = None          # percent, of the 5-hour window where there is none
    deviation: Optional[float] = None       # percent points
    budget: str = ''                        # the deviation in words
    algorithm: Optional[str] = None
    strategy: Optional[str] = None
    stale: Optional[bool] = None
    estimated: Optional[bool] = None
    at: Optional[float] = None              # of the utilization
    stale_windows: Tuple[str, ...] = ()     # those whose reset is long past


PACE_WORDS = {'throttling': '⚠ THROTTLING', 'on_pace': '✓ ON PACE', 'inactive': 'INACTIVE',
              'error': 'ERROR', 'no_data': 'No usage data yet'}


def pace_status(snapshot, now):
    """The PaceStatus, with our utilization where it is the newer; None if not installed.

    The delay is the one it has decided on itself while that is fresh, for its hooks go on applying
    it until the next decision.
    """
    known = snapshot.pace_maker
    if known.failure:
        return PaceStatus('error', message(known.failure, None, now))
    if not known.value:
        return None
    pace = known.value
    tempo = setting(pace.config, 'tempo_mode')
    if tempo not in TEMPOS:
        tempo = 'on' if setting(pace.config, 'tempo_enabled') else 'off'
    usage = pace.usage and newer_usage(pace.usage, snapshot.usage, now)
    if not setting(pace.config, 'enabled') or not usage:
        return PaceStatus('no_data' if setting(pace.config, 'enabled') else 'inactive', '', tempo)
    decision = pacing_decision(*usage[:4], pace.config, now)
    throttling, delay = decision.throttling, decision.delay_seconds
    interval = pace.config.get('poll_interval', 300 if pace.is_modern else 60)
    if pace.decided and 0 <= now - pace.decided[0] < interval:
        _, throttling, delay = pace.decided     # what the hooks go on applying until then
        throttling = throttling and delay > 0
        delay = delay if throttling else 0
    strategy = decision.strategy if throttling == decision.throttling else None
    target = (decision.seven_day_target if decision.window == '7-day'
              else decision.five_hour_target)
    return PaceStatus('throttling' if throttling else 'on_pace', '', tempo, throttling, delay,
                      decision.window, target, decision.deviation, budget_words(decision, target),
                      decision.algorithm, strategy, decision.stale, usage.estimated,
                      usage.at, stale_windows(usage, now, decision))


def stale_windows(usage, now, decision):
    """Which windows a decision has left out, by their names."""
    ends = (('5-Hour', usage.five_hour_resets_at), ('7-Day', usage.seven_day_resets_at))
    return tuple(name for name, at in ends if decision.stale and at is not None
                 and now - at > PACE_STALE_SECONDS)


def newer_usage(theirs, ours, now):
    """Pace Maker's PaceUsage, or the one that our own reply makes where that is newer.

    An estimate goes on counting after its time: a reply one of whose windows has ended since tells
    less than it. The status line may feed one window alone, and the other stays as it was.
    """
    windows = {limit.id: (limit.used, limit.resets_at)
               for limit in (ours.value.limits if ours.value else ())}
    has_ended = any((resets_at or now) < now for _, resets_at in windows.values())
    if not ours.value or ours.at <= theirs.at or theirs.estimated and has_ended:
        return theirs
    known = (theirs[:2], theirs[2:4]) if ours.value.via == 'Claude Code' else ((0.0, None),) * 2
    return PaceUsage(*windows.get('five_hour', known[0]), *windows.get('seven_day', known[1]),
                     at=ours.at)


def budget_words(decision, target):
    """How a deviation stands to the target, in words, as Pace Maker has them."""
    if decision.deviation > 0:
        return 'over budget'
    used = decision.deviation + target
    inside = decision.safe_allowance is not None and used > decision.safe_allowance
    return 'inside safety buffer' if inside else 'under budget'


def month_of(now):
    """(first second, last second + 1) of the UTC month of a time."""
    import calendar
    year, month = time.gmtime(now)[:2]
    start = calendar.timegm((year, month, 1, 0, 0, 0))
    return start, start + calendar.monthrange(year, month)[1] * DAY


def utc_day(at):
    """'2026-11-18': the UTC day of a time."""
    return time.strftime('%Y-%m-%d', time.gmtime(at))


def days_of_month(now):
    """The UTC days of a month up to now: '2026-11-01' and so on."""
    return [utc_day(at) for at in range(int(month_of(now)[0]), int(now) + 1, DAY)]


def month_reports(days, now):
    """(path, query) of the cost report of the month, then of each day's Claude Code report."""
    cost = {'starting_at': utc_day(month_of(now)[0]) + 'T00:00:00Z',
            'ending_at': utc_day(now + DAY) + 'T00:00:00Z', 'bucket_width': '1d',
            'group_by[]': 'workspace_id', 'limit': 31}
    return [('cost_report', cost)] + [
        ('usage_report/claude_code', {'starting_at': day, 'limit': PAGE_ROWS}) for day in days]


def project(by_day, now):
    """The Projection of a month's cost by day, {day: cents}; None in its first 24 hours.

    The last seven days are today and the six before, once the month has them all.
    """
    from decimal import Decimal
    start, end = month_of(now)
    if now - start < DAY:
        return None
    month_to_date, left = sum(by_day.values(), Decimal(0)), Decimal(end - now) / HOUR
    rate = month_to_date * HOUR / Decimal(now - start)
    week = now // DAY * DAY - 6 * DAY
    other = None
    last = [by_day.get(utc_day(at)) for at in range(int(week), int(now) + 1, DAY)]
    if week >= start and None not in last:
        cost = sum(last, Decimal(0))
        weekly = cost * HOUR / Decimal(now - week)
        if abs(weekly - rate) > abs(rate) * Decimal(RANGE_LEAST):
            other = month_to_date + weekly * left
    return Projection(rate, month_to_date + rate * left, other)


def summed(tables):
    """One table of sums out of several."""
    sums = {}
    for table in tables:
        for key, cents in table.items():
            sums[key] = sums.get(key, 0) + cents
    return sums


def ranked(sums, names=None):
    """(name, currency, cents) of a table of sums, the largest first."""
    named = [((names or {}).get(name, name), currency, cents)
             for (name, currency), cents in sums.items()]
    return tuple(sorted(named, key=lambda row: (-row[2], row[:2])))


def by_currency(sums, name=None):
    """currency -> cents, of one name or of all."""
    found = {}
    for (key, currency), cents in sums.items():
        if name in (None, key):
            found[currency] = found.get(currency, 0) + cents
    return found


def reckon_console(organization, you, days, costs, workspaces, problems, now):
    """The Console out of {day: DayCosts}, a parsed cost report or None, and names.

    `problems` are the Failures by day, '' for the cost report. A day may have both: its costs are
    of an earlier poll then, and it does not count as done.
    """
    by_user = summed(day.by_user for day in days.values())
    of_you = {day: costs_of_day.by_user.get((you, 'USD'), 0)
              for day, costs_of_day in days.items()}
    wanted, names = days_of_month(now), {'': 'Default', **workspaces}
    of_all = {day: costs[0].get((day, 'USD'), 0) for day in wanted} if costs else {}
    own = by_currency(by_user, you) if you and days else None
    total = by_currency(costs[0]) if costs else None
    by_day, sums = (of_you, own) if you else (of_all, total)
    console = Console(
        organization, utc_day(now)[:7], utc_day(now), you, own, total, None,
        tuple((day, by_day.get(day)) for day in wanted),
        ranked(by_user), ranked(summed(day.by_model for day in days.values())),
        ranked(costs[1], names) if costs else (), len(set(days) - set(problems)), len(wanted),
        tuple(sorted(problems.items())))
    if console.has_unknown_days or sums is None or sums and 'USD' not in sums:
        return console
    return console._replace(projection=project(by_day, now))


def who_am_i(emails, login_name):
    """One's address in lower case among an organization's: the only one, else the one whose local
    part is the login name; '' if that tells nobody. Never by similarity."""
    emails = [email.strip().lower() for email in emails if email]
    same = [email for email in emails if email.split('@')[0] == login_name.lower()]
    return emails[0] if len(emails) == 1 else same[0] if len(same) == 1 else ''


# ---- 7. Sources --------------------------------------------------------------------------------
# All reading and asking, and the one file that we write. What goes wrong is a SourceError with a
# code of ERRORS. Whoever calls may have to wait, so only pollers do, and what prints once.

def config_path(env, name):
    """Where Claude Code keeps the file `name`."""
    folder = env.get('CLAUDE_CONFIG_DIR')
    if folder or name != '.claude.json':
        return os.path.join(folder or os.path.expanduser('~/.claude'), name)
    return os.path.expanduser('~/.claude.json')


def regular(path):
    """`path`, if that is a regular file: opening a pipe would wait for its other end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, 'not a regular file')
    return path


def read_json(path, what, parse=json.loads):
    """`parse(text)` of a file, or None if there is no such file. SourceError malformed."""
    try:
        with open(regular(path), encoding='utf-8-sig') as file:
            return parse(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError('malformed', '%s: %s' % (what, error.strerror))
    except (ValueError, RecursionError):
        raise SourceError('malformed', what + ': not JSON')


def identity_document(words):
    """Of the text of `.claude.json` what tells whose login it is.

    The rest may be megabytes, and is only read where the file is not laid out as Claude Code does,
    by two blanks a level: no text in it can begin a line, so this is the key of the first level.
    """
    at = words.find(IDENTITY_KEY) if words.startswith('{\n  "') else -1
    if at < 0:
        return json.loads(words)
    account = json.JSONDecoder().raw_decode(words, at + len(IDENTITY_KEY))[0]
    return {'oauthAccount': account}


IDENTITY_KEY = '\n  "oauthAccount": '


def read_identity(env):
    """Whose login it is, by `.claude.json`, or None. SourceError malformed."""
    path = config_path(env, '.claude.json')
    return parse_identity(read_json(path, 'identity', identity_document))


def known_identity(env):
    """The same; None also where it cannot be read."""
    try:
        return read_identity(env)
    except SourceError:
        return None


def login_in_file(env):
    """The credentials document in Claude Code's file. SourceError no_credentials, malformed."""
    document = read_json(config_path(env, '.credentials.json'), 'credentials')
    if document is None:
        raise SourceError('no_credentials')
    return document


def login_in_keychain(env):
    """The same document in the macOS Keychain. SourceError no_credentials, locked, malformed."""
    import hashlib
    import subprocess
    service, folder = 'Claude Code-credentials', env.get('CLAUDE_CONFIG_DIR')
    if folder:
        service += '-' + hashlib.sha256(folder.encode()).hexdigest()[:8]
    kept = ('HOME', 'USER', 'PATH')         # a child's environment holds no token
    try:
        done = subprocess.run(
            ['security', 'find-generic-password', '-a', env.get('USER', ''), '-s', service, '-w'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=CONNECT_SECONDS, env={name: env[name] for name in kept if name in env})
    except (OSError, subprocess.TimeoutExpired):
        raise SourceError('locked', 'the Keychain does not answer')
    if done.returncode == 36:
        raise SourceError('locked', 'the Keychain, open it with `security unlock-keychain`')
    if done.returncode:
        raise SourceError('no_credentials')
    return parse_keychain(done.stdout.strip())


def parse_keychain(secret):
    """The document in a Keychain item, which is JSON or its hexadecimal form."""
    try:
        if re.match(b'([0-9a-fA-F]{2})+$', secret):
            secret = bytes.fromhex(secret.decode())
        return json.loads(secret.decode())
    except (ValueError, RecursionError):
        raise SourceError('malformed', 'credentials: the Keychain item is not JSON')


LOGIN_STORES = (login_in_file,) + ((login_in_keychain,) if MACOS else ())
NO_LOGIN = ('no_credentials', 'logged_out')
# Of several stores that fail, the failure that says most.
LOGIN_FAILURES = ('token_expired', 'malformed', 'locked', 'logged_out', 'no_credentials')


def read_login(env, now, stores=LOGIN_STORES):
    """The Login to ask with: the first store's that has not expired.

    CLAUDE_CODE_OAUTH_TOKEN counts only where nothing is stored, for it cannot read usage.
    SourceError with the most telling code of LOGIN_FAILURES.
    """
    failures = []
    for store in stores:
        try:
            login = parse_login(store(env))
            if login.expires_at is not None and now >= login.expires_at - EXPIRY_SECONDS:
                raise SourceError('token_expired')
            return login
        except SourceError as error:
            failures.append(error.failure)
    failure = min(failures, key=lambda failure: LOGIN_FAILURES.index(failure.code))
    if env.get('CLAUDE_CODE_OAUTH_TOKEN') and failure.code in NO_LOGIN:
        token = env['CLAUDE_CODE_OAUTH_TOKEN'].strip()
        return parse_login({'claudeAiOauth': {'accessToken': token}})
    raise SourceError(*failure)


def file_stamp(path):
    """What changes whenever a file does; None where there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:            # it may be there, and be seen later
        return 0, 0, error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def are_old(stamps, now):
    """Whether a further change would show in the stamps: files' clocks tick but now and then."""
    newest = max((stamp[0] for stamp in stamps if stamp), default=0) / 1e9
    return not abs(now - newest) < FILE_SECONDS


@functools.lru_cache(maxsize=16)
def fingerprint(token):
    """What stands for a token wherever it is only compared."""
    import hashlib
    return hashlib.sha256(token.encode('utf-8', 'surrogateescape')).hexdigest()[:16]


def oauth_headers(token):
    """The header fields of a request of Claude Code's own endpoints."""
    return dict(OAUTH_HEADERS, Authorization='Bearer ' + token)


def login_name(env):
    """The name of the person at this machine; '' if it is not known."""
    return env.get('USER') or env.get('LOGNAME') or env.get('USERNAME') or ''


def read_admin_key(env):
    """The Admin API key of the environment, else of the credentials file.

    SourceError no_credentials, unauthorized (a key of another kind), malformed (the file).
    """
    has_key = env.get('ANTHROPIC_ADMIN_API_KEY', '').strip()
    return parse_admin_key(None if has_key else read_json(
        config_path(env, '.credentials.json'), 'credentials'), env)


def detect_mode(env, now):
    """'code' or 'console': what the credentials file says, else what there is a login for."""
    try:
        document = read_json(config_path(env, '.credentials.json'), 'credentials')
    except SourceError:             # without a key, Code mode says what is wrong with the file
        return 'console' if env.get('ANTHROPIC_ADMIN_API_KEY', '').strip() else 'code'
    mode = document.get('mode') if isinstance(document, dict) else None
    if mode in MODES:
        return mode
    return 'console' if has_admin_key(env) and not has_login(env, now) else 'code'


def has_credentials(mode, env, now):
    """Whether there is what a mode needs."""
    return has_login(env, now) if mode == 'code' else has_admin_key(env)


def modes_with_credentials(env, now):
    """Those of MODES that there are credentials for."""
    return tuple(mode for mode in MODES if has_credentials(mode, env, now))


def has_login(env, now):
    """Whether there is a Claude Code login, expired or not."""
    try:
        read_login(env, now)
    except SourceError as error:
        return is_of_login(error.failure)
    return True


def is_of_login(failure):
    """Whether a Failure is that of a login, which is there: expired, for one."""
    return failure.code not in NO_LOGIN


def has_admin_key(env):
    """Whether there is something in the place of an Admin API key."""
    try:
        read_admin_key(env)
    except SourceError as error:
        return error.failure.code == 'unauthorized'
    return True


class Api:
    """The only door to the network: one address, one request at a time.

    No redirect is followed and nothing tried again. A timer ends each request for good, since a
    socket's own time-out begins anew with every byte: it shuts a duplicate of the socket, which
    works wherever the request stands, in the TLS handshake and in dripping headers too.
    """

    def __init__(self, url, seconds=TOTAL_SECONDS):
        self.url, self.seconds = url, seconds
        self.manager = None
        self.skew = 0               # seconds that the server's clock is ahead of ours
        self.took = None            # seconds of the last request
        self.sockets = []
        self.late = False

    def get(self, path, headers, secret, parse_float=float):
        """The JSON document at `path`. SourceError for every failure.

        `secret` is taken out of whatever the server says, should it echo it.
        """
        urllib3 = load_urllib3()
        from http.client import HTTPException
        self.late, began = False, time.perf_counter()
        timer = threading.Timer(self.seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            status, fields, body = self.exchange(urllib3, path, headers)
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            if not self.late:
                raise network_error(error)
        except SourceError:
            if not self.late:
                raise
        finally:
            self.took = time.perf_counter() - began
            timer.cancel()
            self.close()
        if self.late:
            raise SourceError('timeout')
        self.skew = skew_of(fields, time.time())
        body = body.replace(secret.encode(), b'[secret]')
        check(status, fields, body, time.time())
        return parse_json(body, parse_float)

    def exchange(self, urllib3, path, headers):
        """(status, header fields, body) of one GET."""
        self.manager = self.manager or manager_for(urllib3, self.url)
        pool = self.manager.connection_from_url(self.url)
        pool.ConnectionCls = watched(pool.ConnectionCls, self)
        reply = pool.urlopen(
            'GET', parse_url(self.url).path + path,
            headers=dict(headers, Connection='close', **{'Accept-Encoding': 'identity'}),
            preload_content=False, retries=False, redirect=False)
        try:
            return reply.status, reply.headers, read_body(reply)
        finally:
            reply.close()

    def watch(self, sock):
        """Keep a duplicate of a new socket; shut it at once if its address took too long."""
        self.sockets.append(sock.dup())
        if self.late:
            self.cut()

    def cut(self):
        """End the request under way, from the timer's thread."""
        self.late = True
        for sock in list(self.sockets):
            try:
                sock.shutdown(2)     # SHUT_RDWR
            except OSError:
                pass                        # closed meanwhile

    def close(self):
        while self.sockets:
            self.sockets.pop().close()
        if self.manager:
            self.manager.clear()


def watched(connection, api):
    """The connection class of urllib3 that shows `api` every socket it opens."""
    class Watched(connection):
        def _new_conn(self):
            sock = super()._new_conn()
            api.watch(sock)
            return sock
    return Watched


def manager_for(urllib3, url):
    """The pool manager of urllib3 for an address, through the proxy if one is set."""
    options = {'timeout': urllib3.Timeout(connect=CONNECT_SECONDS, read=TOTAL_SECONDS)}
    if url.startswith('https:'):
        # Said outright, for urllib3 before 1.25 takes silence for CERT_NONE.
        options.update(ssl_context=tls_context(), cert_reqs='CERT_REQUIRED')
        if re.fullmatch(r'[\d.]+|\[.*', parse_url(url).host):
            # Before version 2 it hands no address on to ssl, but compares the names itself then.
            options['ssl_context'].check_hostname = False
    proxy = proxy_of(url)
    if not proxy:
        return urllib3.PoolManager(**options)
    login, host = urllib3.util.parse_url(proxy)[1:3]    # ProxyManager drops the login
    if not host:
        raise ValueError('no proxy')
    if login:
        from urllib.parse import unquote
        pair = unquote(login) if ':' in login else unquote(login) + ':'
        options['proxy_headers'] = urllib3.util.make_headers(proxy_basic_auth=pair)
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
    return proxy if not proxy or '://' in proxy else 'http://' + proxy


def tls_context():
    """The system's certificates, which SSL_CERT_FILE may name, and those of other variables."""
    try:
        import ssl
    except ImportError:
        raise SourceError('tls', 'this Python was built without ssl')
    context = ssl.create_default_context()
    for name in ('REQUESTS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS'):
        path = os.environ.get(name)
        if not path:
            continue
        # Python 3.13 is strict by default, and many a company's own certificates are not.
        context.verify_flags &= ~getattr(ssl, 'VERIFY_X509_STRICT', 0)
        try:
            context.load_verify_locations(path)
        except OSError:                     # ssl.SSLError is one too
            raise SourceError('tls', name + ' names no readable certificates')
    return context


def read_body(reply):
    """The bytes of a reply. SourceError too_large, network (cut off)."""
    raw, pieces, size = reply._fp, [], 0    # urllib3's own read waits until a piece is full
    while True:
        piece = raw.read1(1 << 16)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > BODY_MOST:
            raise SourceError('too_large')
    promised = reply.headers.get('Content-Length', '')
    if promised.isdigit() and size < int(promised):
        raise SourceError('network', 'the reply was cut off')
    return b''.join(pieces)


# What may come out of a request, most telling first: (name, code, detail). The names are of the
# classes of urllib3, http.client and ssl, none of which is imported yet, and OpenSSL's reasons.
NETWORK_FAILURES = (
    ('CERTIFICATE_VERIFY_FAILED', 'tls', 'the certificate is not trusted'),
    ('CertificateError', 'tls', 'the certificate is for another host'),
    ('SSLError', 'tls', 'the TLS handshake failed'),
    ('ProxyError', 'network', 'the proxy does not connect'),
    ('gaierror', 'network', 'unknown host'),
    ('ConnectionRefusedError', 'network', 'connection refused'),
    ('RemoteDisconnected', 'network', 'the server hung up'),
    ('ConnectionError', 'network', 'the connection broke'),
    ('IncompleteRead', 'network', 'the reply was cut off'),
    ('BadStatusLine', 'bad_reply', 'no HTTP'),
    ('NewConnectionError', 'network', 'the host is out of reach'),
    ('TimeoutError', 'timeout', ''),
    ('timeout', 'timeout', ''),
)
# Of these the service never heard: another monitor, behind another proxy, may do better.
UNSENT = {detail for name, code, detail in NETWORK_FAILURES if code == 'tls' or name in (
    'ProxyError', 'gaierror', 'ConnectionRefusedError', 'NewConnectionError')}


def was_sent(attempt):
    """Whether the service may know of an Attempt."""
    return attempt.code != 'tls' and attempt.detail not in UNSENT


def network_error(error):
    """The SourceError for an exception out of urllib3, in fixed words: its own may tell much."""
    names = set()
    while error is not None:
        names.update(cls.__name__ for cls in type(error).__mro__)
        names.add(str(getattr(error, 'reason', '')))
        error = error.__cause__ or error.__context__
    return next((SourceError(code, detail) for name, code, detail in NETWORK_FAILURES
                 if name in names), SourceError('network', 'the connection failed'))


def check(status, fields, body, now):
    """SourceError for every status but 2xx."""
    if 200 <= status < 300:
        return
    words = server_words(body)
    told = '%d, %s' % (status, words) if words else str(status)
    if 300 <= status < 400:
        host = re.match(r'https?://([^/?#]*)', fields.get('Location', ''))
        raise SourceError('redirected', clean(host.group(1)) if host else 'another page')
    if status == 429:
        raise SourceError('rate_limited', '', retry_after(fields, now))
    if status == 403:
        raise SourceError('forbidden_scope' if 'scope' in words else 'forbidden', told)
    if status == 401:
        raise SourceError('unauthorized', told)
    raise SourceError('server_error' if status >= 500 else 'bad_reply', told)


def skew_of(fields, now):
    """How far a server's clock is ahead, by its Date header; 0 unless that is very far."""
    date = http_date(fields.get('Date', ''))
    return date - now if date and abs(date - now) >= SKEW_LEAST else 0


def http_date(words):
    """Epoch seconds of a date in a header, or None."""
    from email.utils import parsedate_to_datetime
    try:
        return parsedate_to_datetime(words).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def server_words(body):
    """The message in an error reply of the service, cleaned and cut; '' if it is no such."""
    try:
        return text(json.loads(body.decode())['error']['message'])[:80].rstrip('. ')
    except (ValueError, LookupError, TypeError, RecursionError):
        return ''


def retry_after(fields, now):
    """Seconds in a Retry-After header, a number or an HTTP date; None if it tells nothing."""
    told = fields.get('Retry-After', '').strip()
    if re.fullmatch(r'\d+', told, re.ASCII):
        return float(told)
    date = http_date(told)
    return date and max(0.0, date - now)


TRIES = 8                       # hooks open and close the files many times a second
READING = threading.Lock()      # closing a file drops the locks that this process has on it
SIBLINGS = ('', '-wal', '-shm', '-journal')


def read_only(path, read):
    """`read(connection)` on another program's SQLite file, of which nothing is changed or left.

    SourceError locked or malformed. What may pass by itself is tried again.
    """
    sqlite3 = load_sqlite3()
    name, path = os.path.basename(path), os.path.realpath(path)
    for left in reversed(range(TRIES)):
        try:
            with READING:
                return read_once(sqlite3, path, read)
        except SourceError as error:
            raise SourceError(error.failure.code, '%s: %s' % (name, error.failure.detail))
        except sqlite3.DatabaseError as error:
            words, code = clean(str(error)), 'malformed'
            if 'locked' in words:           # has cost its time already
                left, code, words = 0, 'locked', 'by its writer'
        except OSError as error:
            words, code = error.strerror, 'malformed'
        if not left:
            raise SourceError(code, '%s: %s' % (name, words))


def database_stamps(path):
    """What changes whenever a SQLite file does. Its journals stand beside the file itself, also
    where `path` is a link to it."""
    path = os.path.realpath(path)
    return [file_stamp(path), file_stamp(path + '-wal')]


def read_once(sqlite3, path, read):
    """One try; sqlite3.DatabaseError and OSError may pass by themselves."""
    with open(regular(path), 'rb') as file:
        header = file.read(100)
    stamps = [file_stamp(path + end) for end in SIBLINGS]
    how = way_to_open(header, *map(bool, stamps[1:3]))
    try:
        if how == 'copy':
            found = query_copy(sqlite3, path, read)
        else:
            found = query(sqlite3, path, how, read)
    except sqlite3.OperationalError as error:
        if 'readonly' not in str(error):
            raise
        found = query_copy(sqlite3, path, read)     # a dead writer's journal wants undoing
        how = 'copy'
    if ('immutable' in how or how == 'copy') and stamps != [
            file_stamp(path + end) for end in SIBLINGS]:
        raise sqlite3.OperationalError('it changed while it was read')
    return found


def query_copy(sqlite3, path, read):
    """The same on a private copy of the file and of what stands beside it."""
    import shutil
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        for end in ('', '-wal', '-journal'):
            if os.path.exists(path + end):
                shutil.copyfile(path + end, os.path.join(folder, 'copy' + end))
        return query(sqlite3, os.path.join(folder, 'copy'), 'mode=rw', read)


def way_to_open(header, has_wal, has_shm):
    """The URI parameters that read a SQLite file without a trace, or 'copy'.

    By the header's two format bytes: 1 rollback journal, 2 WAL. `mode=ro` alone would create a
    `-shm` beside a WAL file, and `immutable` reads one that is being written wrongly.
    SourceError malformed if it is no SQLite file.
    """
    if header[:16] != b'SQLite format 3\0' or len(header) < 100:
        what = 'it is empty' if not header else 'it is no database'
        raise SourceError('malformed', what)
    if header[18:20] != b'\2\2':
        return 'mode=ro'
    if not has_wal:
        return 'mode=ro&immutable=1'
    return 'mode=ro&readonly_shm=1' if has_shm else 'copy'


def sqlite_uri(path, how):
    """The URI of a file for SQLite. Here because urllib.parse costs the status line 2 ms."""
    plain = b'/-_.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
    return 'file:%s?%s' % (''.join(chr(byte) if byte in plain else '%%%02X' % byte
                                   for byte in os.fsencode(os.path.abspath(path))), how)


def query(sqlite3, path, how, read):
    """`read(connection)` on the file opened with the URI parameters `how`."""
    connection = sqlite3.connect(sqlite_uri(path, how), uri=True, timeout=1, isolation_level=None)
    connection.text_factory = functools.partial(str, encoding='utf-8', errors='replace')
    try:
        return read(connection)
    finally:
        connection.close()


def read_tables(connection, tables, problems, **parameters):
    """name -> rows as dicts, of those tables that are there; a missing column is None.

    One without its first column is another table: it goes to `problems`.
    """
    found = {}
    for name, (columns, rest) in tables.items():
        there = [row[1] for row in connection.execute('PRAGMA table_info(%s)' % name).fetchall()]
        columns = columns.split()
        if columns[0] in there:
            names = ', '.join(column if column in there else 'NULL' for column in columns)
            rows = connection.execute('SELECT %s FROM %s %s' % (names, name, rest), parameters)
            found[name] = [dict(zip(columns, row)) for row in rows.fetchall()]
        elif there:
            problems.append('table %s has other columns' % name)
    return found


def latest_actions(new, known, agents):
    """The last actions of each of these agents, newest first, AGENT_TOOLS at most: of the `new`
    rows and, unless their table has begun anew, of those `known` before. The newest of all is kept
    whosever it is, for its id."""
    is_anew = new and known and new[0]['id'] <= known[0]['id']
    counts, kept = {agent['agent_id']: 0 for agent in agents}, []
    for action in [*new, *(() if is_anew else known)]:
        name = action['agent_id']
        if counts.get(name, AGENT_TOOLS) < AGENT_TOOLS or not kept:
            counts[name] = counts.get(name, 0) + 1
            kept.append(action)
    return kept


def read_pace_tables(folder, now, seen=0):
    """(tables, problems): the rows of all tables that there are, and what of them is odd.

    Of the agents' actions those after the one with the id `seen`. SourceError if usage.db, or
    what is decided by, cannot be read.
    """
    spans = {'hour': now - HOUR, 'day': now - DAY, 'active': now - ACTIVITY_SECONDS}

    def read_usage(connection):
        odd = []
        found = read_tables(connection, DECISION_TABLES, odd)
        if odd:
            raise SourceError('malformed', odd[0])
        state = next(iter(found.get('fallback_state_v2') or ()), {})
        if state.get('state') == 'fallback':
            found.update(read_tables(connection, COST_TABLES, odd,
                                     entered=state['entered_at'] or 0))
        found.update(read_tables(connection, EVENT_TABLES, problems, **spans))
        return found

    def read_agents(connection):
        return read_tables(connection, AGENT_TABLES, problems, seen=seen, **spans)

    tables, problems = {}, []
    usage, registry = (os.path.join(folder, name) for name in ('usage.db', 'session_registry.db'))
    if os.path.lexists(usage):
        tables.update(read_only(usage, read_usage))
    try:
        if os.path.lexists(registry):
            tables.update(read_only(registry, read_agents))
    except SourceError as error:
        problems.append(message(error.failure, None, now))
    return tables, problems


def pace_logs(folder, now):
    """The paths of the logs of today and yesterday, which may have had but 23 hours."""
    names = [time.strftime('pace-maker-%Y-%m-%d.log', time.localtime(at))
             for at in (now, now - DAY / 2, now - DAY)]
    return [os.path.join(folder, name) for name in dict.fromkeys(names)]


LOG_ERROR = re.compile(rb'^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\] \[ERROR\]', re.MULTILINE)


def read_log_errors(path, seen):
    """Add a log's new error lines to `seen`, {path: (bytes read, ((time,), ...))}."""
    try:
        with open(regular(path), 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            start, times = seen.get(path, (max(0, size - LOG_MOST), ()))
            if size < start:
                start, times = 0, ()
            file.seek(start)
            data = file.read()
    except OSError:
        return
    data = data[:data.rfind(b'\n') + 1]
    found = ((log_time(match.group(1).decode()),) for match in LOG_ERROR.finditer(data))
    seen[path] = start + len(data), times + tuple(event for event in found if event[0])


@functools.lru_cache(maxsize=64)
def log_time(words):
    """Epoch seconds of a line's local time, None if it is none. Errors come many in a second."""
    try:
        return time.mktime(time.strptime(words, '%Y-%m-%d %H:%M:%S'))
    except (ValueError, OverflowError):
        return None


class Store:
    """Our own SQLite file, the only thing we ever write: what all monitors of a user share.

    It has a rollback journal, for home directories are on NFS, and is opened for each transaction
    only. Accounts and tokens are known by fingerprints; no secret ever gets here. A file that
    cannot be used costs the sharing, never the numbers: every method raises SourceError then,
    locked, forbidden or malformed. Each takes the time last.
    """

    def __init__(self, folder):
        self.folder, self.path = folder, os.path.join(folder, 'store.db')
        self.aside = ''             # the new name of a malformed file
        self.has_written = False    # since somebody set it to False
        self.using, self.is_closed = threading.Lock(), False

    def close(self):
        """Let a transaction that is under way end, and none begin any more: the process ends."""
        if not self.is_closed:
            self.is_closed = True
            self.using.acquire(timeout=CLOSE_SECONDS)

    def recall(self, account, token, now):
        """({source: (at, body)}, Attempts): the account's last replies, and `attempts_in`."""
        def work(db):
            replies = db.execute('SELECT source, at, body FROM replies WHERE account = ?',
                                 (account,)).fetchall()
            return {source: (at, body) for source, at, body in replies
                    if is_moment(at)}, attempts_in(db, account, token)
        return self.use(work, now)

    def claim(self, source, account, token, is_due, now):
        """Until when the next request is ours to make; None where it is another monitor's, or
        `is_due(attempts)` is not true.

        Asked within the transaction: of all monitors that find a request due, one gets it. Its
        lease ends by itself should it die, and counts as a request then, for it may be one.
        """
        # A lease that ends too late is of before the clock was set back.
        latest = now + LEASE_SECONDS + SKEW_SECONDS

        def work(db):
            bury_leases(db, now, latest)
            held = db.execute('SELECT 1 FROM leases WHERE source = ? AND account = ?',
                              (source, account)).fetchone()
            if held or not is_due(attempts_in(db, account, token)):
                return None
            db.execute('INSERT INTO leases VALUES (?, ?, ?, ?)',
                       (source, account, now + LEASE_SECONDS, token))
            return now + LEASE_SECONDS
        return self.use(work, now, 'lease')

    def renew(self, source, account, lease, now):
        """The lease, longer; while a request consists of many."""
        def work(db):
            db.execute('UPDATE leases SET until = ? WHERE source = ? AND account = ? AND '
                       'until = ?', (now + LEASE_SECONDS, source, account, lease))
            return now + LEASE_SECONDS
        return self.use(work, now, 'lease')

    def release(self, source, account, lease, now):
        """End the lease on a request that was not made."""
        self.use(lambda db: end_lease(db, source, account, lease), now, 'lease')

    def settle(self, account, attempt, lease, body, limits, now):
        """Note an Attempt, the reply that it got (a text, or None) and the Limits to sample; end
        the lease, which is 0.0 where the request was made without one."""
        def work(db):
            key = attempt.source, account
            end_lease(db, *key, lease)
            db.execute('INSERT INTO attempts SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS '
                       '(SELECT 1 FROM attempts WHERE account = ? AND source = ? AND token = ? '
                       'AND at = ?)', (account,) + attempt + (account,) + attempt[:3])
            db.execute('DELETE FROM attempts WHERE source = ? AND account = ? AND rowid NOT IN '
                       '(SELECT rowid FROM attempts WHERE source = ? AND account = ? '
                       'ORDER BY at DESC LIMIT ?)', key + key + (ATTEMPTS_MOST,))
            if body is not None:        # it may have had to wait, and be overtaken
                db.execute('INSERT OR REPLACE INTO replies SELECT ?, ?, ?, ? WHERE NOT EXISTS '
                           '(SELECT 1 FROM replies WHERE source = ? AND account = ? AND at >= ?)',
                           key + (attempt.at, body) + key + (attempt.at,))
            add_samples(db, account, limits, attempt.at)
        self.use(work, now, 'data')

    def feed(self, account, body, limits, now):
        """Note what Claude Code's status line tells of an account."""
        def work(db):
            db.execute('REPLACE INTO replies VALUES (?, ?, ?, ?)',
                       ('statusline', account, now, body))
            add_samples(db, account, limits, now)
        self.use(work, now, 'data')

    def days(self, account, month, now):
        """{day: body} of the days of a month, '2026-11', that no longer change."""
        return dict(self.use(lambda db: db.execute(
            'SELECT day, body FROM days WHERE account = ? AND day BETWEEN ? AND ?',
            (account, month, month + '-99')).fetchall(), now))

    def keep_days(self, account, days, now):
        """Keep {day: body}, and forget what nobody will ask for."""
        def work(db):
            db.executemany('REPLACE INTO days VALUES (?, ?, ?)',
                           [(account, day, body) for day, body in days.items()])
            db.execute('DELETE FROM days WHERE day < ?', (utc_day(now - DAYS_SECONDS),))
        self.use(work, now, 'data')

    def touch(self, now):
        """See whether the file can be written."""
        self.use(lambda db: None, now, 'data')

    def count(self, now):
        """How many samples there are."""
        return self.use(lambda db: db.execute('SELECT count(*) FROM samples').fetchone()[0], now)

    def use(self, work, now, writes=''):
        """`work(connection)` in one transaction that writes nothing, 'data', or a 'lease', which
        no power cut outlives. SourceError locked, forbidden or malformed."""
        sqlite3 = load_sqlite3()
        if self.is_closed:
            raise SourceError('forbidden', 'the program ends')
        try:
            with self.using:
                return self.use_file(sqlite3, work, now, writes)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise SourceError(store_failure(error), '%s (%s)' % (
                clean(str(error)), short_path(self.path)))
        except OSError as error:
            raise SourceError('forbidden', '%s (%s)' % (
                error.strerror or error, short_path(self.folder)))

    def use_file(self, sqlite3, work, now, writes):
        """The same; a malformed file is set aside, and a new one takes its place."""
        self.prepare_folder()
        with locked_folder(self.folder):
            inode = self.prepare_file()
            try:
                return self.transact(sqlite3, work, now, writes)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if store_failure(error) != 'malformed':
                    raise
        self.set_aside(inode, now)
        with locked_folder(self.folder):
            self.prepare_file()
            return self.transact(sqlite3, work, now, writes)

    def prepare_folder(self):
        """Have a private folder. Never by a link, which somebody else may have laid."""
        os.makedirs(self.folder, 0o700, exist_ok=True)
        found = os.lstat(self.folder)
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(0, 'it is a link' if stat.S_ISLNK(found.st_mode) else 'it is no folder')
        if not WINDOWS and found.st_uid != os.getuid():
            raise OSError(0, "it is another user's, see CLAUDE_USAGE_DIR")
        if not WINDOWS and found.st_mode & 0o022:
            raise OSError(0, 'others may write there, see CLAUDE_USAGE_DIR')

    def prepare_file(self):
        """Have a private file, perhaps empty, and no link either; return its inode."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        found = os.lstat(self.path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(0, 'store.db is a link, or no regular file')
        if not WINDOWS and found.st_mode & 0o077:
            os.chmod(self.path, 0o600)
        return found.st_ino

    def transact(self, sqlite3, work, now, writes):
        """The value of one transaction, in a file that has its tables then.

        Opened and closed each time, so that no lock and no file that was set aside outlives it.
        """
        db = sqlite3.connect(sqlite_uri(self.path, 'mode=rw'), uri=True, timeout=BUSY_SECONDS,
                             isolation_level=None)
        try:
            db.execute('PRAGMA synchronous = ' + ('OFF' if writes == 'lease' else 'NORMAL'))
            db.execute('BEGIN IMMEDIATE' if writes else 'BEGIN')
            if not version_of(db):
                db.execute('COMMIT')
                db.execute('BEGIN IMMEDIATE')
                self.create(sqlite3, db)
            if version_of(db) > STORE_VERSION:
                raise SourceError('forbidden', 'it is from a newer version (%s)' % short_path(
                    self.path))
            if writes:
                set_back(db, now)
            value = work(db)
            db.execute('COMMIT')
            self.has_written = self.has_written or bool(writes)
            return value
        finally:
            db.close()

    def create(self, sqlite3, db):
        """Make the tables, unless another monitor just has."""
        if version_of(db):
            return
        if db.execute('SELECT count(*) FROM sqlite_master').fetchone()[0]:
            raise sqlite3.DatabaseError('malformed: the tables are not ours')
        for statement in SCHEMA:
            db.execute(statement)

    def aside_name(self, at):
        """How the names of files begin that were set aside at a time; they sort by it."""
        return '%s.malformed-%s' % (self.path, time.strftime('%Y%m%d-%H%M%S', time.gmtime(at)))

    def aside_of_late(self, now):
        """The path of the file that any monitor has set aside last, '' if that is long ago."""
        try:
            paths = [os.path.join(self.folder, name) for name in os.listdir(self.folder)]
        except OSError:
            return ''
        first, last = self.aside_name(now - ASIDE_SECONDS), self.aside_name(now + SKEW_SECONDS)
        return max((path for path in paths if first <= path <= last
                    and not path.endswith('-journal')), default='')

    def set_aside(self, inode, now):
        """Give a malformed file and its journal another name, unless another monitor has."""
        name = '%s-%d' % (self.aside_name(now), os.getpid())
        with locked_folder(self.folder, alone=True):
            if file_inode(self.path) != inode or os.path.lexists(name):
                return
            if os.path.lexists(self.path + '-journal'):
                os.rename(self.path + '-journal', name + '-journal')
            os.rename(self.path, name)
            self.aside = name


@contextlib.contextmanager
def locked_folder(folder, alone=False):
    """Hold a folder with others who use the file in it, or `alone`, to rename that file.

    SQLite finds a journal by the file's name: a monitor that opened a malformed file, renamed
    since, would play the new file's journal back into it. SourceError locked. Where the file
    system knows no locks, as NFS for a folder, it goes on without.
    """
    if not fcntl:
        yield
        return
    how = fcntl.LOCK_NB | (fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    descriptor, until = os.open(folder, os.O_RDONLY), time.monotonic() + BUSY_SECONDS
    try:
        while not has_lock(descriptor, how):
            if time.monotonic() > until:
                raise SourceError('locked', '%s (%s)' % (
                    'a malformed file is in use' if alone else 'a malformed file is set aside',
                    short_path(folder)))
            time.sleep(LOCK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def has_lock(descriptor, how):
    """Whether a lock is ours now, or cannot be had at all."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def file_inode(path):
    """The inode of a file, or of a link; None if there is none."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


# What SQLite says, and the code for it; all else, such as a full disk, is `forbidden`.
STORE_FAILURES = {'locked': 'locked', 'malformed': 'malformed', 'not a database': 'malformed',
                  'no such': 'malformed', 'has no column': 'malformed',
                  'unsupported file format': 'malformed', 'decode': 'malformed'}
# `account` is an `account_key`, or the fingerprint of an Admin API key; `token` is a fingerprint,
# `source` a field of Snapshot, or 'statusline'; times are epoch seconds.
#   replies   the last one of each source as it came, but for secrets: it is parsed again
#   attempts  the latest requests of all monitors, which the next one depends on
#   leases    requests under way, and until when at most
#   samples   how much of a limit, the `series`, was used when
#   days      of the Console, those that no longer change
SCHEMA = (
    'CREATE TABLE replies (source TEXT, account TEXT, at REAL, body TEXT, '
    'PRIMARY KEY (source, account))',
    'CREATE TABLE attempts (account TEXT, source TEXT, token TEXT, at REAL, code TEXT, '
    'retry_after REAL, detail TEXT, moved INTEGER, reset_at REAL)',
    'CREATE TABLE leases (source TEXT, account TEXT, until REAL, token TEXT, '
    'PRIMARY KEY (source, account)) WITHOUT ROWID',
    'CREATE TABLE series (id INTEGER PRIMARY KEY, account TEXT, name TEXT, '
    'UNIQUE (account, name))',
    'CREATE TABLE samples (series INTEGER, at INTEGER, used REAL, resets_at INTEGER, '
    'PRIMARY KEY (series, at)) WITHOUT ROWID',
    'CREATE TABLE days (account TEXT, day TEXT, body TEXT, PRIMARY KEY (account, day))',
    'PRAGMA user_version = %d' % STORE_VERSION,
)


def store_failure(error):
    """The code of ERRORS for an exception of sqlite3."""
    return next((code for sign, code in STORE_FAILURES.items() if sign in str(error)),
                'forbidden')


def version_of(db):
    """The version of the tables in our own file; 0 before there are any."""
    return db.execute('PRAGMA user_version').fetchone()[0]


def bury_leases(db, now, latest):
    """Note leases that nobody has ended as requests that may have been made."""
    ended = 'FROM leases WHERE until <= ? OR until > ?'
    db.execute("INSERT INTO attempts SELECT account, source, token, min(until, ?), ?, NULL, '', "
               "0, NULL " + ended, (now, LOST, now, latest))
    db.execute('DELETE ' + ended, (now, latest))


def end_lease(db, source, account, lease):
    """End a lease, unless it has expired and is another monitor's now."""
    db.execute('DELETE FROM leases WHERE source = ? AND account = ? AND until = ?',
               (source, account, lease))


def attempts_in(db, account, token):
    """The Attempts of an account, and those that were told to wait with a token, oldest first."""
    rows = db.execute('SELECT source, token, at, code, retry_after, detail, moved, reset_at '
                      "FROM attempts WHERE account = ? OR token = ? AND code = 'rate_limited' "
                      'ORDER BY at',
                      (account, token)).fetchall()
    return tuple(Attempt(*row) for row in rows if is_attempt(*row))


def is_attempt(source, token, at, code, retry_after, detail, moved, reset_at):
    """Whether a row is an Attempt, whatever has become of the file."""
    return (is_moment(at) and (code in ('ok', LOST) or code in ERRORS)
            and all(isinstance(words, str) for words in (source, token, detail))
            and (retry_after is None or isinstance(retry_after, float) and retry_after >= 0)
            and (reset_at is None or is_moment(reset_at)))


def is_moment(value):
    """Whether a value of a row can be epoch seconds."""
    return isinstance(value, float) and 0 <= value <= TIME_MOST


def add_samples(db, account, limits, at):
    """Note how much of each Limit is used; forget what is too old."""
    for limit in limits:
        values = {'account': account, 'name': limit.id, 'at': int(at), 'used': limit.used,
                  'resets_at': limit.resets_at and int(limit.resets_at), 'apart': SAMPLE_SECONDS}
        db.execute('INSERT OR IGNORE INTO series (account, name) VALUES (:account, :name)',
                   values)
        db.execute('INSERT INTO samples SELECT id, :at, :used, :resets_at FROM series '
                   'WHERE account = :account AND name = :name AND NOT EXISTS '
                   '(SELECT 1 FROM samples WHERE series = id AND at > :at - :apart)', values)
    db.execute('DELETE FROM samples WHERE series IN (SELECT id FROM series) AND at < ?',
               (at - SAMPLES_SECONDS,))


def set_back(db, now):
    """Where the clock was set back, move what was noted in its future back with it."""
    latest, = db.execute("SELECT max(at) FROM (SELECT at FROM attempts UNION ALL "
                         "SELECT at FROM replies) WHERE typeof(at) = 'real'").fetchone()
    if latest and latest > now + SKEW_SECONDS:
        for table in ('attempts', 'replies'):
            db.execute('UPDATE %s SET at = at - ? WHERE at > ?' % table, (latest - now, now))
        db.execute('DELETE FROM samples WHERE series IN (SELECT id FROM series) AND at > ?',
                   (now,))


def account_key(identity, env):
    """What an account is known by in the store. Not its token, which changes every few hours."""
    if identity and identity.uuid:
        return fingerprint(identity.uuid)
    path = config_path(env, '.credentials.json')
    try:
        return fingerprint(os.path.abspath(path))
    except OSError:                     # relative to a folder that is gone
        return fingerprint(path)


def store_folder(env):
    """The folder of the store."""
    # Behind a last slash lstat would follow a link.
    return os.path.expanduser(env.get('CLAUDE_USAGE_DIR', '').rstrip(os.sep) or STORE_FOLDER)


def storable(document):
    """A reply as the text that is stored."""
    return SECRET.sub('[secret]', json.dumps(document))


def feed_store(store, account, document, now):
    """Store what the status line tells, and return the Usage that is known now, None if nothing.

    What every session of the same account told before is compared, so that one that has been
    idle does not take the numbers back. SourceError where there is no store.
    """
    replies = store.recall(account, '', now)[0]
    known = {source: (replies[source][0], parse_stored(replies[source][1], parse_usage))
             for source in ('usage', 'statusline') if source in replies}
    told_at, told = known.get('statusline', (0.0, None))
    feed = merged_feed(latest_usage(known), told and unexpired(told, now),
                       unexpired(parse_usage(document), now))
    is_news = not told or feed.limits != told.limits or not 0 <= now - told_at < QUIET_SECONDS
    if feed.limits and is_news:
        windows = {limit.id: {'utilization': limit.used, 'resets_at': limit.resets_at}
                   for limit in feed.limits}
        known['statusline'] = now, feed
        with contextlib.suppress(SourceError):      # what is known is shown all the same
            store.feed(account, json.dumps(windows), feed.limits, now)
    return latest_usage(known)


class Admin:
    """The Admin API, asked with one key. Owns an Api for each request that runs at a time."""

    def __init__(self, url, key):
        self.url, self.key = url, key
        self.apis = [Api(url)]
        self.skew = None            # seconds that the service's clock is ahead, once it is known

    def get(self, path, api=None, **query):
        """The document at a path, amounts as Decimals."""
        from decimal import Decimal
        from urllib.parse import urlencode
        path = ADMIN_PATH + path + ('?' + urlencode(query) if query else '')
        headers = dict(ADMIN_HEADERS, **{'x-api-key': self.key})
        api = api or self.apis[0]
        document = api.get(path, headers, self.key, Decimal)
        self.skew = api.skew
        return document

    def pages(self, path, api=None, stopped=None, **query):
        """The rows of all pages of a report or a list, of which each names the next."""
        rows, seen, more = [], set(), {}
        while not (stopped and stopped.is_set()):
            page = self.get(path, api, **query, **more)
            rows += listed(page)
            if not page.get('has_more'):
                return rows
            token = page.get('next_page') or page.get('last_id')
            if not isinstance(token, str) or token in seen or not re.fullmatch('[ -~]+', token):
                raise SourceError('bad_reply', 'a page does not name the next')
            seen.add(token)
            more = {'page' if page.get('next_page') else 'after_id': token}
        raise SourceError('rate_limited')

    def each(self, reports):
        """(index, rows, failure) of several (path, query), some at a time, as they come.

        The rest is left unasked after a refusal that holds for all of them.
        """
        todo, results, stopped = list(enumerate(reports)), queue.Queue(), threading.Event()
        while len(self.apis) < CONSOLE_WORKERS:
            self.apis.append(Api(self.url))
        for api in self.apis:
            threading.Thread(target=self.work, args=(api, todo, results, stopped),
                             daemon=True).start()
        for _ in reports:
            result = results.get()
            yield result
            if result[2] and result[2].code in CONSOLE_GRAVE:
                return

    def work(self, api, todo, results, stopped):
        """One worker of `each`: take what is to do until there is nothing more, or no use."""
        while todo and not stopped.is_set():
            try:
                index, (path, query) = todo.pop(0)
            except IndexError:
                return                      # another one took the last
            try:
                results.put((index, self.pages(path, api, stopped, **query), None))
            except SourceError as error:
                results.put((index, None, error.failure))
                if error.failure.code in CONSOLE_GRAVE:
                    stopped.set()       # not before: another worker's end must not be told first


class Finding(NamedTuple):
    """A line of --doctor: something that is as it should be, or not."""
    is_good: bool
    place: str
    words: str


def short_path(path):
    """A path as it is shown, with `~` for the home directory."""
    home = os.path.expanduser('~')
    return clean('~' + path[len(home):] if path.startswith(home + os.sep) else path)


def find_versions():
    """The Findings about the versions of what is used."""
    import platform
    yield Finding(True, 'claude-usage ' + __version__, 'Python %s, %s.' % (
        platform.python_version(), platform.system()))
    for name, version in (('urllib3', lambda: load_urllib3().__version__),
                          ('SQLite', lambda: load_sqlite3().sqlite_version)):
        try:
            yield Finding(True, name, version() + '.')
        except SourceError as error:
            yield Finding(False, name, error.failure.detail + '.')


def find_logins(env, now):
    """The Findings about every place where a Claude Code login may be, and whose it is."""
    for store in LOGIN_STORES:
        place = short_path(config_path(env, '.credentials.json'))
        if store is login_in_keychain:
            place = 'Keychain, Claude Code-credentials'
        try:
            document = store(env)
            is_good, words = login_state(document, parse_login(document), now)
            yield Finding(is_good, place, words)
        except SourceError as error:
            yield Finding(False, place, message(error.failure, None, now))
    token = env.get('CLAUDE_CODE_OAUTH_TOKEN')
    yield Finding(bool(token), 'CLAUDE_CODE_OAUTH_TOKEN', 'set; it cannot read usage.' if token
                  else 'not set, nor needed where there is a login.')
    place = short_path(config_path(env, '.claude.json'))
    try:
        account = read_identity(env)
    except SourceError as error:
        yield Finding(False, place, message(error.failure, None, now))
        return
    yield Finding(bool(account), place, ', '.join(filter(None, (
        account.email, account.organization))) + '.' if account else
        'tells no account. Run `claude` to log in.')


def login_state(document, login, now):
    """(whether a Login can read usage, what there is to say of it)."""
    scopes = document['claudeAiOauth'].get('scopes')
    scopes = [text(scope) for scope in scopes] if isinstance(scopes, list) else []
    expiry, code = 'no expiry told', ''
    if login.expires_at is not None:
        left, at = login.expires_at - now, clock_text(login.expires_at, now)
        expiry = 'expires in %s (%s)' % (countdown(left), at) if left > 0 else (
            'expired %s ago (%s)' % (countdown(-left), at))
        code = 'token_expired' if left <= EXPIRY_SECONDS else ''
    if scopes and 'user:profile' not in scopes:
        code = code or 'forbidden_scope'
    words = '%s, scopes %s.' % (expiry, ' '.join(scopes) or 'not told')
    return not code, words + (' ' + message(Failure(code), None, now) if code else '')


def find_admin_keys(env):
    """The Findings about both places of an Admin API key."""
    in_file = dict(env, ANTHROPIC_ADMIN_API_KEY='')
    place_in_file = short_path(config_path(env, '.credentials.json')) + ', adminApiKey'
    for place, read in (
            ('ANTHROPIC_ADMIN_API_KEY', functools.partial(parse_admin_key, None, env)),
            (place_in_file, functools.partial(read_admin_key, in_file))):
        try:
            read()
            yield Finding(True, place, 'set.')
        except SourceError as error:
            yield Finding(False, place, 'not set; only Console mode needs it.'
                          if error.failure.code == 'no_credentials'
                          else message(error.failure, None, 0, CONSOLE_ERRORS))


def find_network(url, env):
    """The Findings about the proxy and the certificates for an address."""
    proxy = proxy_of(url)
    host = proxy.rpartition('@')[2].split('://')[-1] if proxy else 'none'
    yield Finding(True, 'Proxy', clean(host) + '.')
    given = [name for name in ('SSL_CERT_FILE', 'SSL_CERT_DIR', 'REQUESTS_CA_BUNDLE',
                               'NODE_EXTRA_CA_CERTS') if env.get(name)]
    for name in given:
        is_there = os.access(env[name], os.R_OK)
        yield Finding(is_there, name, short_path(env[name]) + (
            '.' if is_there else ' cannot be read. Correct or unset it.'))
    if not given:
        yield Finding(True, 'Certificates', "the system's.")


def find_console(url, env, now):
    """The Finding about the Admin API, which is asked for the organization's name."""
    try:
        admin = Admin(url, read_admin_key(env))
        name = text(mapping(admin.get('me'), 'organization').get('name'))
        return Finding(True, 'Console mode', '%s answered in %.2f s.' % (
            name, admin.apis[0].took))
    except SourceError as error:
        return Finding(False, 'Console mode', message(error.failure, None, now, CONSOLE_ERRORS))


def find_store(store, trouble, now):
    """The Finding about our own file, with which there may just have been a trouble."""
    try:
        if not trouble:
            store.touch(now)
            count = store.count(now)
            return Finding(True, 'Store', '%s, %d KiB, %d samples.' % (
                short_path(store.path), os.path.getsize(store.path) // 1024, count))
    except SourceError as error:
        trouble = STORE_TROUBLE[error.failure.code].format(error.failure.detail)
    return Finding(False, 'Store', trouble + STORE_STEP)


# ---- 8. Pollers --------------------------------------------------------------------------------
# Threads that wait so that nobody else has to. Each looks at its sources again and again, and puts
# what is new into the inbox; it neither shows nor decides what is shown.

class Poller(threading.Thread):
    """Asks its sources for ever and puts what they tell into the inbox.

    A daemon: the program ends at once even while a request or a look-up of a name hangs.
    """
    source = 'usage'            # where a bug of its own is told
    mode = 'code'               # the mode it serves

    def __init__(self, inbox, clock):
        super().__init__(daemon=True)
        self.inbox, self.clock = inbox, clock
        self.asked, self.asked_at = threading.Event(), float('inf')
        self.patience = None        # seconds, where one reply is enough: so old it may be
        self.quiet = 0.0, 0.0       # from when until when nothing is due, unless a file changes
        self.wanted = True          # its mode is the one shown
        self.told = {}

    def once(self):
        """Ask what is due; return the seconds to wait then."""
        raise NotImplementedError

    def look(self):
        """Tell what is known without any wait, for the first frame."""

    def ask_now(self, at, patience=None):
        """Have it asked as soon as possible; a reply to a request that is under way serves too.

        With `patience` just this once, and not if the last reply is younger.
        """
        self.asked_at, self.patience, self.quiet = at, patience, (0.0, 0.0)
        self.asked.set()

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
                place = error.__traceback__
                while place.tb_next:
                    place = place.tb_next
                words = '%s in line %d' % (type(error).__name__, place.tb_lineno)
                wait = RETRY_MOST
                self.tell(self.source, failure=Failure('internal', words),
                          next_at=self.clock() + wait)

    def tell(self, source, value=None, failure=None, next_at=None, free_at=None):
        self.inbox.put(Reading(source, self.clock(), value, failure, next_at, free_at))

    def tell_change(self, source, value, failure):
        """Tell what differs from what was told last."""
        if self.told.get(source) != (value, failure):
            self.told[source] = value, failure
            self.tell(source, value, failure)


class SharedPoller(Poller):
    """One whose requests count for all monitors of a user, and whose replies serve them all.

    Each turn it takes what others have stored (`recall`), reckons whether a request is due
    (`is_due`), has the store say whose it is (`claim`), and when it has made it stores what came
    of it (`note`); what is new of all that it tells (`report`). Where the store fails, what is
    known here keeps to the same rules.
    """

    def __init__(self, inbox, clock, store, paces):
        super().__init__(inbox, clock)
        self.store, self.paces = store, paces
        self.trouble = None         # the Failure of the store that was told ...
        self.troubled_at = 0.0      # ... since when, with this code
        self.unsettled = []         # arguments of `share`: what is to be stored yet
        self.leases = {}            # source -> lease, of requests that are under way
        self.forget()

    def forget(self):
        """Nothing is known any more: another account."""
        self.history = ()           # Attempts of all monitors
        self.values = {}            # source -> (at, value), the newest reply ...
        self.bodies = {}            # ... and (at, body), as it is stored
        self.reported = {}          # source -> what was told of it
        self.store_stamp = None

    def close(self):
        """Give back the lease on a request that is under way: nobody will hear its reply."""
        try:
            for source, lease in list(self.leases.items()):
                account, token = self.key()
                lost = Attempt(source, token, self.clock(), LOST)
                self.store.settle(account, lost, lease, None, (), self.clock())
        except SourceError:
            pass                        # it expires by itself

    def key(self):
        """(what the store knows the account by, the fingerprint of the token)."""
        raise NotImplementedError

    def share(self, method, *args):
        """(what a method of the store, which takes the time last, returns, True); (None, False)
        where the store fails."""
        self.store.has_written = False
        try:
            value = method(*args, self.clock())
        except SourceError as error:
            self.tell_trouble(error.failure)
            return None, False
        if self.store.aside:
            self.tell_aside(self.store.aside)
            self.store.aside = ''
            self.store_again(())
        elif self.trouble and self.is_over():
            self.tell_trouble(None)
        return value, True

    def store_again(self, attempts):
        """Store what a new file lacks, in which there are these Attempts: the last requests, the
        last block, and the replies that are known, for whoever starts next. Whether it lacks any.
        """
        there = {attempt[:3] for attempt in attempts}.union(
            args[0][:3] for method, _, *args in self.unsettled if method == self.store.settle)
        known = [attempt for attempt in self.history if attempt.at <= self.clock()
                 and (attempt.code != 'rate_limited' or attempt.token == self.key()[1])]
        blocked = [attempt for attempt in known if attempt.code == 'rate_limited']
        lost = [attempt for attempt in joined(known[-BUDGET:], blocked[-1:])
                if attempt.token and was_sent(attempt) and attempt[:3] not in there]
        for attempt in lost:
            at, body = self.bodies.get(attempt.source, (None, None))
            self.unsettled.append((self.store.settle, self.key()[0], attempt, 0.0,
                                   body if at == attempt.at else None, ()))
        return bool(lost)

    def is_over(self):
        """Whether the store's trouble is over: that of a malformed file is so at once, but is to
        be read for a while; all else is when something can be written again."""
        if self.trouble.code == 'malformed':
            return not 0 <= self.clock() - self.troubled_at <= ASIDE_SECONDS
        return self.store.has_written

    def tell_aside(self, path):
        """Tell where the malformed file is."""
        self.tell_trouble(Failure('malformed', 'it is now ' + short_path(path)))

    def tell_trouble(self, failure):
        """Tell why nothing is shared, None if it is again."""
        if (failure and failure.code) != (self.trouble and self.trouble.code):
            self.troubled_at = self.clock()
        if failure != self.trouble:
            self.trouble, self.store_stamp = failure, None
            self.tell('store', failure and STORE_TROUBLE[failure.code].format(failure.detail))

    def recall(self):
        """Take what other monitors, or the status line, have stored since the last look."""
        self.settle_rest()
        stamp = file_stamp(self.store.path)
        if (self.key(), stamp) == self.store_stamp:
            return
        self.store_stamp = (self.key(), stamp) if are_old([stamp], self.clock()) else None
        found, is_shared = self.share(self.store.recall, *self.key())
        if is_shared:
            replies, attempts = found
            aside = self.store_again(attempts) and self.store.aside_of_late(self.clock())
            if aside:
                self.tell_aside(aside)
            # What is of before the clock was set back, the store tells with its new time.
            past = [old for old in self.history if old.at <= self.clock() + SKEW_SECONDS]
            self.history = joined(past, attempts)
            for source, (at, body) in replies.items():
                at, old = min(at, self.clock() + SKEW_SECONDS), self.stored(source)[0]
                if old < at or old > self.clock() + SKEW_SECONDS:
                    self.bodies[source] = at, body
                    self.take(source, at, body)
            self.settle_rest()

    def settle_rest(self):
        """Store what could not be stored before; see whether a lock is over."""
        while self.unsettled:
            first = self.unsettled[0]
            if not self.share(*first)[1]:
                return
            if first in self.unsettled:     # not if it was a new file, which wants them all
                self.unsettled.remove(first)
        if self.trouble and self.trouble.code == 'locked':
            self.share(self.store.touch)

    def take(self, source, at, body):
        """Take a reply that another monitor has stored."""
        raise NotImplementedError

    def stored(self, source):
        """(at, value) of a source's newest reply; (0.0, None) if there is none."""
        return self.values.get(source, (0.0, None))

    def latest(self, source):
        """(at, value) of what is known of a source."""
        return self.stored(source)

    def plan(self, source):
        """When a source is asked next, by what is known here."""
        return self.plan_after(source, self.history)

    def plan_after(self, source, history, fed_at=None):
        """The Plan for a source after these Attempts."""
        return next_poll(self.heard(source, history), source, self.key()[1], self.paces[source],
                         self.clock(), fed_at)

    def heard(self, source, history):
        """These Attempts, those that brought a reply that nobody has as LOST: its file is gone, or
        its month is over. It is no reason to wait."""
        if self.stored(source)[1] is not None:
            return history
        return [attempt._replace(code=LOST) if attempt.source == source and attempt.code == 'ok'
                and attempt in self.history else attempt for attempt in history]

    def is_asked(self, source, history):
        """Whether somebody still waits for a request."""
        if source != self.source or self.clock() < self.asked_at:
            return False
        is_old = self.latest(source)[0] < self.asked_at - (self.patience or 0)
        return is_old and not self.has_asked(source, history)

    def has_asked(self, source, history):
        """Whether a request since then has ended, for the login that there is now. To what is
        printed once, one just before says the same."""
        mine, since = ('', self.key()[1]), self.asked_at - min(self.patience or 0, RETRY_SECONDS)
        return any(attempt.source == source and attempt.token in mine and attempt.code != LOST
                   and attempt.at >= since for attempt in self.heard(source, history))

    def is_due(self, source, history):
        """Whether a request may be made now: one that was asked for, or by the pace."""
        plan = self.plan_after(source, history)
        if self.is_asked(source, history):
            return self.clock() >= plan.free_at
        return self.clock() >= plan.next_at and (self.patience is None or source != self.source)

    def claim(self, source):
        """The lease on a source's next request; None if it is not ours to make."""
        def is_still_due(attempts):
            return self.is_due(source, joined(self.history, attempts))
        lease, is_shared = self.share(self.store.claim, source, *self.key(), is_still_due)
        if is_shared:
            self.leases.update({source: lease} if lease else {})
            return lease
        is_new = 0 <= self.clock() - self.troubled_at < LOCKED_SECONDS
        return None if self.trouble.code == 'locked' and is_new else 0.0

    def note(self, attempt, lease, value, body, limits=()):
        """Note an attempt and what it brought, for all."""
        self.history = joined(self.history, (attempt,))
        if value is not None:
            self.values[attempt.source] = attempt.at, value
            self.bodies[attempt.source] = attempt.at, body
        account = self.key()[0]
        self.leases.pop(attempt.source, None)
        self.unsettled.append(
            (self.store.settle, account, attempt, lease, body, limits) if was_sent(attempt)
            else (self.store.release, attempt.source, account, lease))
        del self.unsettled[:-ATTEMPTS_MOST]     # what is older holds nobody up any more
        self.settle_rest()

    def failure_of(self, source):
        """Why the last request failed, None if it did not."""
        token = self.key()[1]
        own = [attempt for attempt in self.history if attempt.code != LOST
               and attempt.source == source and attempt.token in ('', token)]
        if own and own[-1].code != 'ok':
            return Failure(own[-1].code, own[-1].detail, own[-1].retry_after)
        return None

    def report(self, source, is_asking=False):
        """Tell what is known of a source and when it is asked again, where that is new.

        While it is being asked, there is no such time, and no failure yet.
        """
        at, value = self.latest(source)
        failure, plan = None, (float('inf'), float('inf'))
        if not is_asking:
            plan, failure = self.plan(source), self.failure_of(source)
            if value is None and not failure:
                failure = Failure('rate_limited')       # by our own budget
        told = at, value, failure, plan
        if told == self.reported.get(source) or is_asking and (
                value is None or at == self.reported.get(source, (None,))[0]):
            return
        self.reported[source] = told
        times = tuple(time if time < float('inf') else None
                      for time in (max(plan[0], self.clock()), plan[1]))
        if value is not None:
            self.inbox.put(Reading(source, at, value, None,
                                   *((None, None) if failure else times)))
        if failure:
            self.inbox.put(Reading(source, self.clock(), None, failure, *times))


class CodePoller(SharedPoller):
    """Claude Code's account: identity and login from its files, usage and profile by network.

    Usage may also come from Claude Code's status line, by the store, and from Pace Maker
    (`borrow`). While nothing is due, a turn costs a look at a few files' stamps.
    """

    # source -> (path, parser)
    ENDPOINTS = {'usage': (USAGE_PATH, parse_usage), 'profile': (PROFILE_PATH, parse_profile)}
    PARSERS = {'usage': parse_usage, 'profile': parse_profile, 'statusline': parse_usage}

    def __init__(self, inbox, clock, api, env, store, interval=None, pace_folder=''):
        self.identity = self.login = self.failure = None
        paces = dict(PACES)
        if interval:
            paces['usage'] = PACES['usage']._replace(base=interval, most=interval)
        super().__init__(inbox, clock, store, paces)
        self.api, self.env, self.pace_folder = api, env, pace_folder
        self.stamps = self.identity_stamp = self.pace_stamps = None
        self.since = 0.0                    # this account's replies are younger
        self.own = None                     # the last Usage that was neither lent nor fed
        self.took = None                    # seconds that our request for usage took
        self.held_until = 0.0               # Pace Maker is blocked until then

    def key(self):
        token = fingerprint(self.login.token) if self.login else ''
        return account_key(self.identity, self.env), token

    def look_at_login(self):
        """Read identity and login anew, and tell them where they have changed."""
        stamps = self.file_stamps()
        self.stamps = stamps if are_old(stamps[0], self.clock()) else None
        self.look()
        try:
            self.login, self.failure = read_login(self.env, self.clock()), None
        except SourceError as error:
            self.login, self.failure = None, error.failure
        else:
            self.tell_change('login', self.login.account, None)
        # Not by modes_with_credentials, which would ask the Keychain once more.
        is_there = not self.failure or is_of_login(self.failure)
        self.tell_change('modes', ('code',) * is_there + ('console',) * has_admin_key(self.env),
                         None)

    def look(self):
        stamp = file_stamp(config_path(self.env, '.claude.json'))
        if stamp == self.identity_stamp:
            return                          # a file of megabytes, mostly
        self.identity_stamp = stamp
        try:
            identity = read_identity(self.env)
        except SourceError:
            return                          # half-written; it will change again
        if not identity:
            return                          # logged out: the numbers are still that account's
        if self.identity and self.identity.uuid != identity.uuid:
            self.forget()                   # another account has a budget of its own
            self.own, self.since = None, self.clock()
        self.identity = identity
        self.tell_change('identity', identity, None)

    def file_stamps(self):
        """What changes when a login may have; nothing tells so of the Keychain but time."""
        files = [file_stamp(config_path(self.env, name))
                 for name in ('.credentials.json', '.claude.json')]
        return files, self.clock() // MINUTE if MACOS else 0

    def once(self):
        since, until = self.quiet           # before `since` the clock was set back
        if since <= self.clock() < until and not self.has_news():
            return WATCH_SECONDS
        if self.stamps != self.file_stamps():
            self.look_at_login()
        self.recall()
        self.borrow()
        if self.login:
            wait = min(map(self.ask, self.ENDPOINTS))
            self.quiet = self.clock(), self.clock() + wait - WATCH_SECONDS
            return min(WATCH_SECONDS, wait)
        for source in self.ENDPOINTS:
            self.report(source, is_asking=True)     # with no next time: what is known by now
        self.tell_change('login', None, self.failure)
        return WATCH_SECONDS

    def has_news(self):
        """Whether a file may have changed, or the store is in trouble."""
        return bool(self.trouble or self.unsettled or self.stamps != self.file_stamps()
                    or self.store_stamp != (self.key(), file_stamp(self.store.path))
                    or self.pace_stamps != self.loan_stamps())

    def loan_stamps(self):
        """What changes when Pace Maker may have had a reply."""
        return database_stamps(os.path.join(self.pace_folder, 'usage.db'))

    def take(self, source, at, body):
        value = parse_stored(body, self.PARSERS[source]) if source in self.PARSERS else None
        if value:
            self.values[source] = at, value
        if source == 'usage' and value:
            self.own = value

    def latest(self, source):
        if source != 'usage':
            return super().latest(source)
        return max(self.stored('usage')[0], self.stored('statusline')[0]), latest_usage(
            self.values)

    def is_asked(self, source, history):
        """Also for what is printed once, if what the status line does not feed is too old."""
        rest_at = self.stored('usage')[0]
        is_old = (self.patience is not None and source == 'usage' and rest_at
                  and rest_at < self.asked_at - FED_SECONDS)
        return super().is_asked(source, history) or (
            is_old and not self.has_asked(source, history))

    def borrow(self):
        """Take Pace Maker's reply if it is younger than ours; keep still while it is blocked.

        It may be another account's, so it must agree with ours as soon as we have one.
        """
        path, now = os.path.join(self.pace_folder, 'usage.db'), self.clock()
        stamps = self.loan_stamps()
        if stamps == self.pace_stamps:
            return
        self.pace_stamps = stamps if are_old(stamps, now) else None
        if not stamps[0]:
            return
        try:
            loan = parse_loan(read_only(path, lambda connection: read_tables(
                connection, LOAN_TABLES, [])))
        except SourceError:
            self.pace_stamps = None
            return                          # told where Pace Maker is shown
        is_strange = self.own and loan.usage and is_another_account(self.own, loan.usage, now)
        self.held_until = 0.0 if is_strange else min(loan.blocked_until, now + BLOCK_MOST)
        if self.own and loan.usage and not same_account(self.own, loan.usage):
            return
        if loan.usage and max(self.since, self.stored('usage')[0]) < loan.at <= now:
            self.history = joined(self.history, (self.attempt('usage', '', loan.at, loan.usage),))
            self.values['usage'] = loan.at, loan.usage

    def attempt(self, source, token, at, value, failure=None):
        """The Attempt that brought a value or a failure."""
        return attempt_of(source, token, at, failure, reset_at=next_reset(value, at),
                          moved=has_moved(self.stored(source)[1], value))

    def ask(self, source):
        """Make the request if it is due and ours to make; return the seconds to the next look."""
        is_due = self.is_due(source, self.history)
        self.report(source, is_due)
        if not is_due:
            return max(0, self.plan(source).next_at - self.clock())
        key, lease = self.key(), self.claim(source)
        if lease is None:
            return LEASE_LOOK
        self.look_at_login()
        login = self.login
        if not login or self.key() != key:
            self.leases.pop(source, None)
            self.share(self.store.release, source, key[0], lease)
            return 0                        # to begin anew with what is there now
        document, value, failure = self.request(source, login)
        attempt = self.attempt(source, fingerprint(login.token), self.clock(), value, failure)
        if source == 'usage' and value:
            self.own = value
        self.note(attempt, lease, value, storable(document) if value else None,
                  value.limits if source == 'usage' and value else ())
        if failure and failure.code == 'unauthorized':
            self.look_at_login()
            if self.login and self.login.token != login.token:
                return 0                    # Claude Code refreshed it meanwhile: again at once
        self.report(source)
        return max(0, self.plan(source).next_at - attempt.at)

    def plan_after(self, source, history):
        fed_at = self.stored('statusline')[0] if source == 'usage' else None
        plan = super().plan_after(source, history, fed_at)
        return Plan(*(max(at, self.held_until) for at in plan))

    def failure_of(self, source):
        if source == 'usage' and self.held_until > self.clock():
            return Failure('rate_limited')
        return super().failure_of(source)

    def request(self, source, login):
        """(document, value, failure) of one request."""
        path, parse = self.ENDPOINTS[source]
        try:
            document = self.api.get(path, oauth_headers(login.token), login.token)
            return document, parse(document), None
        except SourceError as error:
            return None, None, error.failure
        finally:
            if source == 'usage':
                self.took = self.api.took


class ConsolePoller(SharedPoller):
    """The organization's costs by the Admin API. Days that can no longer change are kept.

    A poll is one Attempt, however many requests it takes. Its parts may fail each for itself; what
    holds for all of them, a 429 above all, ends it.
    """
    source = mode = 'console'

    def __init__(self, inbox, clock, url, env, store, user='', interval=None):
        self.admin = None
        paces = {'console': Pace(interval, interval)} if interval else PACES
        super().__init__(inbox, clock, store, paces)
        self.url, self.env, self.user = url, env, user
        self.login_stamp = ''       # of the credentials file; '': not looked at yet

    def key(self):
        key = fingerprint(self.admin.key) if self.admin else ''
        return key, key

    def forget(self):
        super().forget()
        self.names = None           # Names, once they are known
        self.is_named = False       # nothing of them failed that may not fail the next time
        self.is_nameless = False    # the store did not tell them ...
        self.asked_names = False    # ... and nobody else was asked yet
        self.email = None           # one's address as this machine tells it; '' if it does not
        self.skew = 0.0             # seconds that the service's clock is ahead of ours
        self.days, self.final, self.month = {}, set(), ''
        self.tried = set()          # days that were asked for, whatever came of it
        self.costs = None           # the last cost report, parsed
        self.refusal = None         # why the key may not read the days' reports, a Failure

    def once(self):
        import decimal
        import gc
        gc.set_threshold(50000)             # a report has many rows, and none of them cycles
        decimal.getcontext().prec = 60      # of this thread: sums stay exact
        stamp = file_stamp(config_path(self.env, '.credentials.json'))
        if stamp != self.login_stamp:
            self.login_stamp = stamp
            self.tell('modes', modes_with_credentials(self.env, self.clock()))
        if not self.find_key():
            return WATCH_SECONDS
        self.recall()
        if self.is_nameless and self.clock() >= self.plan('console').free_at:
            self.learn_names()
            self.values, self.store_stamp = {}, None
            self.recall()                   # once more, to reckon with the names
        is_due = self.is_due('console', self.history)
        self.report('console', is_due)
        lease = self.claim('console') if is_due else None
        if lease is not None:
            self.poll(lease)
        elif is_due:
            return LEASE_LOOK
        return min(WATCH_SECONDS, max(0, self.plan('console').next_at - self.clock()))

    def find_key(self):
        """Whether there is an Admin API key. Another one begins anew, a missing one is told."""
        try:
            key = read_admin_key(self.env)
        except SourceError as error:
            self.reported.clear()
            self.tell_change('console', None, error.failure)
            return False
        self.told.clear()
        if not self.admin or self.admin.key != key:
            self.admin = Admin(self.url, key)
            self.forget()
        return True

    def poll(self, lease):
        """Load the month and tell it; what fails for all of it is told as its failure.

        What ends a poll halfway leaves the numbers of the last whole one, and their time.
        """
        value, problems, grave = None, {}, []
        try:
            value = self.load(problems)
            grave = [failure for failure in problems.values() if failure.code in CONSOLE_GRAVE]
        except SourceError as error:
            grave = [error.failure]
        if grave and self.stored('console')[1]:
            value = None
        attempt = attempt_of('console', self.key()[1], self.clock(), next(iter(grave), None))
        self.note(attempt, self.leases.get('console', lease), value,
                  json.dumps(self.packed(problems)) if value else None)
        self.report('console')

    def packed(self, problems):
        """What is known of the month, as a document of PackedMonth."""
        return PackedMonth(
            self.clock() + self.skew, self.skew, self.names if self.is_named else None,
            {day: list(map(packed_table, tables)) for day, tables in self.days.items()
             if day not in self.final},
            self.costs and list(map(packed_table, self.costs)), problems)

    def take(self, source, at, body):
        month = parse_stored(body, unpacked_month) if source == 'console' else None
        if not month or utc_day(month.at)[:7] != utc_day(self.clock() + month.skew)[:7]:
            return
        self.skew = month.skew
        self.begin_month(utc_day(month.at)[:7])
        self.recall_days()
        self.take_names(month.names)
        self.days.update(month.days)
        self.tried.update(month.days)
        self.costs = month.costs
        console = self.reckon(month.problems, month.at)
        if not console.has_unknown_days or self.failure_of('console'):
            self.values['console'] = at, console        # else its days got lost: to be asked anew

    def take_names(self, names):
        """Take the Names that another monitor has asked for, if any. What they say of who one is
        holds for its user only."""
        if names and (not self.is_named or names.at > self.names.at):
            is_mine = self.own_email() or names.login_name == login_name(self.env)
            if is_mine or not self.is_named:
                self.names, self.is_named = names, bool(is_mine)
        self.names = self.names or Names()
        self.is_nameless = not self.is_named and not self.asked_names

    def begin_month(self, month):
        """Forget the days of another month."""
        if self.month != month:
            self.month, self.days, self.final, self.costs = month, {}, set(), None
            self.tried = set()

    def recall_days(self):
        """Take the days of this month that were stored for good; those that the store has."""
        stored = self.share(self.store.days, self.key()[0], self.month)[0] or {}
        for day in set(stored) - self.final:
            costs = parse_stored(stored[day], unpacked_day)
            if costs:
                self.days[day] = costs
                self.final.add(day)
        return set(stored)

    def store_again(self, attempts):
        place, is_lost = len(self.unsettled), super().store_again(attempts)
        if is_lost and self.final:          # before the reply, which is nothing without them
            self.unsettled.insert(place, (self.store.keep_days, self.key()[0],
                                          self.packed_days(self.final)))
        return is_lost

    def load(self, problems):
        """The Console now. The Failure of a part goes to `problems`; SourceError if all fails."""
        if not self.is_named:
            self.names = self.ask_names()
        elif self.lacks_names():
            self.renew_names()
        now = self.clock() + self.skew
        self.begin_month(utc_day(now)[:7])
        self.recall_days()
        todo = [day for day in days_of_month(now) if day not in self.final]
        asked = todo[-1:] if self.refusal else todo     # enough to see whether the key may now
        came, found = self.load_parts(asked, now)
        if not came:
            raise SourceError(*min(found.values(), key=lambda one: one.code not in CONSOLE_GRAVE))
        if self.refusal and asked[0] in came:
            self.refusal = None
            return self.load(problems)
        refused = [found[day] for day in asked if day in found
                   and found[day].code.startswith('forbidden')]
        if len(refused) == len(asked):
            self.refusal = refused[0]
        problems.update(found)
        problems.update((day, self.refusal) for day in todo if day not in asked)
        self.keep_days(came)
        return self.reckon(problems, now)

    def load_parts(self, days, now):
        """Load the cost report and these days, and tell what has come while it is the first time.
        (the parts that came, {part: Failure}), a day or '' for the cost report each."""
        is_first, came, parts, problems = not self.tried.issuperset(days), set(), [''] + days, {}
        for index, rows, failure in self.admin.each(month_reports(days, now)):
            part = parts[index]
            try:
                self.add(part, rows, failure)
                came.add(part)
            except SourceError as error:
                problems[part] = error.failure
            if part and not (failure and failure.code in CONSOLE_GRAVE):
                self.tried.add(part)
            if is_first and came:
                self.tell('console', self.reckon(problems, now))
            self.hold()
        self.learn_skew()
        return came, problems

    def learn_skew(self):
        """Take the service's clock from its last reply."""
        self.skew = self.skew if self.admin.skew is None else self.admin.skew

    def lacks_names(self):
        """Whether there are costs of a workspace without a name; it may be new."""
        ids = {name for name, _ in self.costs[1]} if self.costs else set()
        is_long_ago = not 0 <= self.clock() - self.names.at < NAMES_SECONDS
        return bool(ids - {''} - set(self.names.workspaces)) and is_long_ago

    def hold(self):
        """Renew the lease, where there is one and half of it is over."""
        lease = self.leases.get('console')
        if lease and lease - self.clock() < LEASE_SECONDS / 2:
            longer = self.share(self.store.renew, 'console', self.key()[0], lease)[0]
            self.leases['console'] = longer or lease

    def keep_days(self, came):
        """Keep the days among those that came which can no longer change; store them, and what
        else the store lacks."""
        now = self.clock() + self.skew
        self.final.update(day for day in came - {''}
                          if parse_time(day + 'T00:00Z') + DAY + DAY_FINAL <= now)
        lacking = self.final - (self.recall_days() - came)
        if lacking:
            self.share(self.store.keep_days, self.key()[0], self.packed_days(lacking))

    def packed_days(self, days):
        """{day: body} of these days, as they are stored."""
        return {day: json.dumps(list(map(packed_table, self.days[day]))) for day in days}

    def add(self, day, rows, failure):
        """Note the rows of a day's report, or of the cost report where there is no day.
        SourceError, also for the failure instead of rows."""
        if failure:
            raise SourceError(*failure)
        if day:
            self.days[day] = parse_claude_code(rows)
        else:
            self.costs = parse_cost_report(rows)

    def reckon(self, problems, now):
        """The Console of what has come so far."""
        names = self.names
        is_mine = names.login_name == login_name(self.env)
        you = self.own_email() or (names.you if is_mine else '')
        return reckon_console(names.organization, you, self.days, self.costs, names.workspaces,
                              problems, now)

    def learn_names(self):
        """Ask for the names that the store did not tell; what fails of it, the next poll asks."""
        try:
            self.names = self.ask_names()
        except SourceError as error:
            self.note(attempt_of('console', self.key()[1], self.clock(), error.failure), 0.0,
                      None, None)

    def ask_names(self):
        """The Names, as far as the key may read them; else what was known of them before."""
        self.is_named, self.is_nameless, self.asked_names = True, False, True
        old, self.email = self.names or Names(), self.read_email(may_ask=True)
        organization, _, you, workspaces, _ = old
        name = None if self.email else login_name(self.env)
        me = self.allowed(self.admin.get, 'me')
        if me is not None:
            organization = text(mapping(me, 'organization').get('name'))
        users = None if self.email else self.allowed(self.admin.pages, 'users', limit=PAGE_ROWS)
        if users is not None or name != old.login_name:
            you = who_am_i([text(row.get('email')) for row in users or ()], name or '')
        rows = self.allowed(self.admin.pages, 'workspaces', limit=PAGE_ROWS,
                            include_archived='true')
        if rows is not None:
            workspaces = {text(row.get('id')): text(row.get('name')) for row in rows}
        self.learn_skew()
        return Names(organization, name, you, workspaces, self.clock())

    def renew_names(self):
        """Look for names that are new. What fails of it, once known, stays as it was."""
        try:
            self.names = self.ask_names()
        except SourceError as error:
            if error.failure.code in CONSOLE_GRAVE:
                raise
        self.names, self.is_named = self.names._replace(at=self.clock()), True

    def own_email(self):
        """One's address by --user, else by Claude Code's login; '' if they do not tell it."""
        if self.email is None:
            self.email = self.read_email(may_ask=False)
        return self.email

    def read_email(self, may_ask):
        """The same, anew; where nobody has it yet the service may be asked for the profile."""
        return (self.user.strip() or self.login_email(may_ask)).lower()

    def allowed(self, read, path, **query):
        """What `read` gives, None where the key may not or the reply is odd: the costs do
        without it. SourceError for what holds for every request."""
        try:
            return read(path, **query)
        except SourceError as error:
            self.is_named = error.failure.code.startswith('forbidden') and self.is_named
            if error.failure.code in CONSOLE_GRAVE + ('network', 'timeout', 'tls'):
                raise
            return None

    def login_email(self, may_ask):
        """The address of Claude Code's login: its profile's, else its identity's; or ''."""
        identity = known_identity(self.env)
        return self.profile_email(account_key(identity, self.env), may_ask) or (
            identity.email if identity else '')

    def profile_email(self, account, may_ask):
        """The address in the profile of Claude Code's login, if that is stored or can be had."""
        try:
            token = read_login(self.env, self.clock()).token
        except SourceError:
            return ''
        replies, attempts = self.share(self.store.recall, account, fingerprint(token))[0] or (
            {}, ())
        profile = 'profile' in replies and parse_stored(replies['profile'][1], parse_profile)
        plan = next_poll(attempts, 'profile', fingerprint(token), PACES['profile'], self.clock())
        if profile or not may_ask or plan.next_at > self.clock():
            return profile.email if profile else ''
        document = failure = None
        try:
            document = Api(self.url).get(PROFILE_PATH, oauth_headers(token), token)
            profile = parse_profile(document)
        except SourceError as error:
            failure = error.failure
        attempt = attempt_of('profile', fingerprint(token), self.clock(), failure)
        if was_sent(attempt):
            self.share(self.store.settle, account, attempt, 0.0,
                       storable(document) if profile else None, ())
        return profile.email if profile else ''


class PacePoller(Poller):
    """Claude Pace Maker's files; nothing is read again while none of them has changed."""
    source = 'pace_maker'

    def __init__(self, inbox, clock, folder):
        super().__init__(inbox, clock)
        self.folder = folder
        self.stamps, self.expires_at = None, 0.0
        self.errors = {}            # of each log: the bytes read, and (time,) of its errors
        self.actions = []           # rows of the agents' last actions, newest first

    def once(self):
        now, stamps = self.clock(), self.file_stamps()
        if not stamps[0]:
            self.stamps = None
            self.tell_change('pace_maker', None, None)
            return PACE_ABSENT_SECONDS
        if stamps == self.stamps and now < self.expires_at:
            return PACE_SECONDS
        self.stamps = stamps if are_old(stamps, now) else None
        try:
            self.tell_change('pace_maker', self.read(now), None)
        except SourceError as error:
            self.stamps = None
            code, detail, _ = error.failure
            if code == 'bad_reply':
                code, detail = 'malformed', 'usage.db: ' + detail
            self.tell_change('pace_maker', None, Failure(code, detail))
        return PACE_SECONDS

    def file_stamps(self):
        """What changes when a file does: the config's stamp first."""
        config, usage, registry = (os.path.join(self.folder, name) for name in (
            'config.json', 'usage.db', 'session_registry.db'))
        return [file_stamp(config), *database_stamps(usage), *database_stamps(registry),
                *map(file_stamp, pace_logs(self.folder, self.clock()))]

    def read(self, now):
        """The PaceMaker in the files now."""
        document = read_json(os.path.join(self.folder, 'config.json'), 'config.json')
        logs = pace_logs(self.folder, now)
        for path in logs:
            read_log_errors(path, self.errors)
        errors = sum((self.errors.get(path, (0, ()))[1] for path in logs), ())
        config = parse_pace_config(document)
        tables, problems = read_pace_tables(self.folder, now,
                                            self.actions[0]['id'] if self.actions else 0)
        if 'agents' in tables and 'agent_actions' in tables:
            self.actions = tables['agent_actions'] = latest_actions(
                tables['agent_actions'], self.actions, tables['agents'])
        pace = parse_pace_maker(
            config, tables, errors if any(path in self.errors for path in logs) else None,
            text(document.get('version')), problems, now)
        self.expires_at = float('inf')
        if pace.usage and pace.usage.estimated:     # the clock takes it on to the next window
            self.expires_at = min(filter(None, (pace.usage.five_hour_resets_at,
                                                pace.usage.seven_day_resets_at)),
                                  default=self.expires_at)
        return pace


# ---- 9. View -----------------------------------------------------------------------------------
# Pure: from a Snapshot, a Ui, a size and the time to a Frame. Two laws hold at every size: a box
# is exactly so many lines of so many cells, and the panels tile the screen. So the painter has
# nothing to decide.

class Ui(NamedTuple):
    """What the person at the keyboard, or the command line, has chosen."""
    origin: str = ''                    # where the numbers are from, if not from API_URL
    mode: str = 'code'
    modes: Tuple[str, ...] = ('code',)  # those there are credentials for
    icons: bool = True
    ascii: bool = False
    interval: Optional[float] = None    # --interval, in seconds
    hint: bool = True                   # the row of keys
    help: bool = False
    has_keys: bool = True               # of the panel being made: its title shows it
    panel: int = 0                      # which one has the keys
    scroll: int = 0                     # rows
    notice: Tuple[str, ...] = ()        # the answer to a key, long and short, for a while ...
    notice_until: float = 0.0           # ... until then
    asked_at: Optional[float] = None    # when a refresh was asked for
    exit_code: Optional[int] = None     # set: the program ends


class Row(NamedTuple):
    """A line of a panel and what it is worth where there is not room for all."""
    worth: int
    line: Tuple[Span, ...]


class Frame(NamedTuple):
    """A screen: `height` lines of `width` cells; how far its list can scroll, and its room."""
    lines: list
    overflow: int = 0
    room: int = 0


# The worth of rows: blank ones (within a list, then between parts) and decorative ones go first,
# a list scrolls, an alert stays.
BLANK, GAP, DECOR, ORGANIZATION, PERSON, NOTE, UPDATED, STATE, AGE, LIST, ALERT = range(11)

HINT = ('Ctrl+C to stop · r refresh · ? help', 'r refresh · ? help', '? help')
TAB_HINT = ('Ctrl+C to stop · Tab next · r refresh · ? help', 'Tab next · r refresh · ? help',
            'Tab next · ? help', '? help')
HELP_HINT = ('Ctrl+C to stop · Esc close · ↑ ↓ scroll', 'Esc close · ↑ ↓ scroll', 'Esc close')
PLAIN_ICONS = {'⚠': '! '}               # without icons, where a blank would hide a meaning
LABEL_CELLS, PERCENT_CELLS = 15, 5
SPARE_CELLS, SPARE_FROM = 3, 43         # kept free behind the percent, in boxes this wide inside
TAIL_CELLS = 7                          # of a short countdown behind the percent
BAR_LEAST, BAR_WANTED = 3, 6            # below the second labels shorten, below the first no bar
BOX_WIDTH, BOX_HEIGHT, ICONS_WIDTH = 16, 5, 28      # smaller screens have none
PAIR_CELLS, VALUE_CELLS = 19, 9         # of the labels of settings, and of their values at least
WIDE = 94                               # from here on panels stand side by side


def bar(used, width):
    """The spans of a bar of `width` cells in eighths of a cell; full only from 100 percent on."""
    eighths = int(width * 8 * min(max(used, 0), 100) / 100 + 0.5)
    if used < 100:
        eighths = max(0, min(eighths, width * 8 - 1))
    full, part = divmod(eighths, 8)
    filled = '█' * full + ' ▏▎▍▌▋▊▉'[part] * bool(part)
    return Span(filled, level(used)), Span('░' * (width - len(filled)), 'dim')


def box(title, rows, width, height, scroll=0, role='title', is_framed=None):
    """A Frame of exactly `height` lines of `width` cells: as many rows as fit, in a border.

    What scrolls out of it is counted in the border, or beside the rows where there is none.
    """
    inner, room = (width - 4, height - 2) if is_framed else inside(width, height)
    lines, above, below = squeeze(rows, room, scroll)
    lines = [fit(line, inner) for line in lines + [()] * (room - len(lines))]
    if room < height:
        left, right = Span('│ ', 'border'), Span(' │', 'border')
        lines = [edge('┌', Span(title, role), above, '↑', '┐', width),
                 *((left, *line, right) for line in lines),
                 edge('└', Span(''), below, '↓', '┘', width)]
    elif inner < width:
        marks = ['↑%d' % above if above else ''] + [''] * (room - 1)
        marks[-1] = '↓%d' % below if below else marks[-1]
        lines = [line + fit((Span(' ' + mark, 'dim'),), width - inner)
                 for line, mark in zip(lines, marks)]
    return Frame(lines, above + below, room)


def inside(width, height):
    """(width, height) of what a box holds; too low or narrow a box has no border."""
    if width < BOX_WIDTH:
        return width, height
    return width - 4, height - 2 if height >= BOX_HEIGHT else height


def edge(left, title, hidden, arrow, right, width):
    """A border line of `width` cells with a title, and how many rows are hidden behind it."""
    told = '%s %d more' % (arrow, hidden) if hidden else ''
    told_cells = cells(told) + 3 if told else 0
    middle = shorten(title.text, max(0, width - 4 - told_cells))
    line = (Span(left, 'border'),)
    if middle:
        line += (Span(' %s ' % middle, title.role),)
    line += (Span('─' * (width - 1 - width_of(line) - told_cells), 'border'),)
    if told:
        line += (Span(' %s ' % told, 'dim'), Span('─', 'border'))
    return line + (Span(right, 'border'),)


def afford(rows, room):
    """The rows that are worth one of `room` lines: those of least worth go, the lowest first."""
    rows = list(rows)
    while len(rows) > room:
        least = min(row.worth for row in rows)
        if least >= LIST:
            break
        if least in (BLANK, GAP):           # all of them, or it would look lopsided
            rows = [row for row in rows if row.worth != least]
        else:
            rows.pop(max(index for index, row in enumerate(rows) if row.worth == least))
    return rows


def squeeze(rows, room, scroll):
    """(lines, hidden above, hidden below): of a list that is too long a window of it."""
    rows = afford(rows, room)
    if len(rows) <= room:
        return [row.line for row in rows], 0, 0
    listed = [row.line for row in rows if row.worth == LIST]
    alerts = [row.line for row in rows if row.worth == ALERT]
    most = max(1, room - len(listed))
    if len(alerts) > most:
        alerts = alerts[:most - 1] + [alerts[most - 1] + (Span(' …', 'alert'),)]
    shown = min(max(0, room - len(alerts)), len(listed))
    start = min(scroll, len(listed) - shown)
    return listed[start:start + shown] + alerts, start, len(listed) - shown - start


def icon(ui, glyph):
    """A glyph and the blank behind it; a plain sign, or nothing, where there are no icons."""
    return glyph + ' ' if ui.icons else PLAIN_ICONS.get(glyph, '')


def account_rows(account, ui):
    """The rows of who is logged in: name and address, organization and badges, tier."""
    who = '%s (%s)' % (account.name, account.email) if account.name and account.email else (
        account.name or account.email)
    badges = tuple(Span('  ' * bool(index or account.organization) + badge, 'badge')
                   for index, badge in enumerate(account.badges))
    if who:
        yield Row(PERSON, (Span(icon(ui, '👤')), Span(who, 'strong')))
    if account.organization or badges:
        yield Row(ORGANIZATION, (Span(icon(ui, '🏢') + account.organization),) + badges)
    if account.tier:
        yield Row(DECOR, (Span(icon(ui, '⚡') + 'Tier: ' + account.tier),))


class Columns(NamedTuple):
    """How a row with a bar divides its width, in cells; 0 leaves a column out."""
    label: int          # with the blank behind it, if there is one
    gap: int
    bar: int
    tail: int


def columns_for(inner, shorts, compact):
    """The Columns of a panel: bars shrink first, then labels, then the bars go."""
    tail = TAIL_CELLS if compact else 0
    spare = SPARE_CELLS if inner >= SPARE_FROM and not compact else 0
    width = inner - LABEL_CELLS - PERCENT_CELLS - tail - spare
    if width >= BAR_WANTED:
        return Columns(LABEL_CELLS, 1, width, tail)
    gap = int(inner >= 12)
    label = min(max(map(cells, shorts), default=0), 7) + gap
    label = max(0, min(label, inner - PERCENT_CELLS))
    width = inner - label - PERCENT_CELLS - tail
    return Columns(label, gap, width if width >= BAR_LEAST else 0, tail if width >= 0 else 0)


def bar_row(label, short, used, columns, tail='', role=None):
    """The line of a label, its bar and its percent, in the colour of its level or in `role`."""
    filled, rest = bar(used, columns.bar)
    role = role or filled.role
    if columns.label == LABEL_CELLS:
        name = label.replace('7-Day ', '')
        variants = (label + ' Usage:', label + ':', name + ':', name)
        label = label if label.endswith(':') else fitting(variants, LABEL_CELLS - 1)
    else:
        label = short
    percent = '%d%%' % percent_shown(used)
    percent = percent.rjust(PERCENT_CELLS) if columns.label else percent
    label = fit((Span(label),), max(0, columns.label - columns.gap))
    return (label + (Span(' ' * columns.gap), filled._replace(role=role), rest)
            + (Span(percent, role), Span(tail.rjust(columns.tail) if columns.tail else '')))


def limit_rows(limit, ui, columns, inner, compact, now):
    """The rows of one limit: its bar and its reset, which the compact form has in one."""
    yield Row(LIST, bar_row(limit.label, limit.short, limit.used, columns,
                            short_left(limit, now)))
    if not compact:
        mark = icon(ui, '⏰')
        words = fitting(reset_words(limit, now), inner - cells(mark))
        yield Row(LIST, (Span(mark + words, 'soft'),))


def reset_words(limit, now):
    """When a limit resets: variants, the longest first."""
    left = (limit.resets_at or 0) - now
    if limit.resets_at is None:
        return 'Window not started', 'not started'
    if left <= 0:
        return 'Reset due',
    long = '%s (%s)' % (countdown(left), clock_text(limit.resets_at, now))
    return 'Resets in: ' + long, long, countdown(left)


def spend_rows(spend, columns, inner):
    """The rows of the extra usage: with a cap as a bar, else as an amount."""
    amount = '%s %s' % (spend.currency, money(spend.used, spend.digits))
    if spend.limit is None:
        words = ('Extra Usage:   %s, no limit' % amount, 'Extra %s, no limit' % amount,
                 'Extra ' + amount, amount)
        yield Row(LIST, (Span(fitting(words, inner)),))
        return
    amount += ' of ' + money(spend.limit, spend.digits)
    yield Row(LIST, bar_row('Extra', 'Extra', spend.percent, columns))
    yield Row(NOTE, (Span(amount, 'soft'),))


def code_rows(snapshot, ui, inner, compact, now):
    """The rows of the account and its limits, at ease or in compact form."""
    gap, known = Row(GAP, ()), usage_of(snapshot)
    rows = list(account_rows(account_of(snapshot), ui))
    if snapshot.usage.value:
        rows += [gap, *usage_rows(snapshot.usage.value, ui, inner, compact, now)]
    pace = list(pace_rows(snapshot, ui, inner, compact, now))
    rows += [gap] * bool(pace) + pace
    rows += [gap, updated_row(known, inner, now, *usage_notes(known, now))]
    rows += store_rows(snapshot, ui, inner)
    rows += alert_rows(known, ui, inner, now)
    return rows[1:] if rows[0] == gap else rows


def usage_notes(known, now):
    """(whose reply it was, when the next one comes where that takes longer than usual), as words
    to follow when it came."""
    via = ' via ' + known.value.via if known.value and known.value.via else ''
    if known.failure or not known.next_at or known.next_at - (known.at or now) <= SLOW_SECONDS:
        return via, ''
    return via, ', next ' + clock_text(known.next_at, now)


def store_rows(snapshot, ui, inner):
    """The rows that say why nothing is shared with other monitors."""
    return marked_rows(NOTE, snapshot.store.value, ui, inner) if snapshot.store.value else ()


def usage_rows(usage, ui, inner, compact, now):
    """The rows of the limits and of the extra usage."""
    shorts = [limit.short for limit in usage.limits] + ['Extra'] * bool(usage.spend)
    columns = columns_for(inner, shorts, compact)
    parts = [limit_rows(limit, ui, columns, inner, compact, now) for limit in usage.limits]
    if usage.spend:
        parts.append(spend_rows(usage.spend, columns, inner))
    if not usage.limits:
        words = NO_WINDOWS[bool(usage.spend)]
        parts.append(Row(NOTE, (Span(line, 'soft'),)) for line in wrap(words, max(1, inner)))
    for index, part in enumerate(parts):
        if index:
            yield Row(BLANK, ())
        yield from part


# Said of an account without windows, by whether it has extra usage.
NO_WINDOWS = {True: 'No usage windows, only extra usage.',
              False: 'This account has no usage limits.'}


AGED = ('error', 'stale')               # of these the age of the numbers is told


PACE_ROLES = {'throttling': 'orange', 'on_pace': 'green', 'inactive': 'dim', 'error': 'alert',
              'no_data': 'soft'}


def pace_rows(snapshot, ui, inner, compact, now):
    """The rows of Pace Maker's state; in compact form one of them all."""
    pace = pace_status(snapshot, now)
    if not pace:
        return
    delay = '%ds' % pace.delay_seconds if pace.throttling else ''
    deviation = '%+.1f%%' % pace.deviation if pace.window else ''
    state = PACE_WORDS[pace.status] + ' (estimated)' * bool(pace.estimated)
    wordings = state_wordings(icon(ui, '🎯'), state, *(
        (delay, deviation, '(stale)' if pace.stale else '') if compact else ('', '', '')))
    label, words = next((each for each in wordings if cells(''.join(each)) <= inner), wordings[-1])
    role = 'dim' if pace.stale and not pace.window else PACE_ROLES[pace.status]
    yield Row(STATE, (Span(label), Span(words, role)))
    known = snapshot.pace_maker.value
    for reason in filter(None, (pace.reason, *(known.problems if known else ()))):
        yield from marked_rows(NOTE, reason, ui, inner)
    if not compact:
        yield from decision_rows(pace, deviation, delay, ui, inner)
        yield from limiter_rows(known, pace, now)


def state_wordings(mark, state, delay, deviation, stale):
    """(label, words) of Pace Maker's state, the longest first: the label is the last to go but
    for a stale window, which must not look like one that counts."""
    def join(*words):
        return ' '.join(filter(None, words))
    whole, middle = join(state, delay, deviation, stale), join(state, delay, stale)
    wordings = [(mark + 'Pace Maker: ', whole), ('Pace: ', whole), ('Pace: ', middle)]
    if stale:
        wordings += [('Pace: ', join(state, stale)), ('', join(state, stale))]
    return wordings + [('Pace: ', join(state, delay)), ('', join(state, delay)), ('', state)]


def decision_rows(pace, deviation, delay, ui, inner):
    """The rows of what Pace Maker has decided and why."""
    if pace.window or (pace.target is not None and '5-Hour' not in pace.stale_windows):
        label = '7-Day Target:' if pace.window == '7-day' else '5-Hour Target:'
        columns = columns_for(inner, ('Target',), False)
        yield Row(NOTE, bar_row(label, 'Target', pace.target, columns, role='target'))
    if deviation:
        yield worded(NOTE, inner, 'Deviation: %s (%s)' % (deviation, pace.budget),
                     '%s (%s)' % (deviation, pace.budget))
    if pace.target is not None:
        yield worded(NOTE, inner, icon(ui, '⏱') + 'Next delay: ' + (
            delay + ' per tool use' if delay else 'none'), 'Delay: ' + (delay or 'none'))
        strategy = pace.strategy if pace.strategy not in (None, 'none', pace.algorithm) else ''
        algorithm = '/'.join(filter(None, (pace.algorithm, strategy)))
        yield worded(DECOR, inner, 'Algorithm: ' + algorithm, algorithm, role='soft')
    for name in pace.stale_windows:
        yield worded(NOTE, inner, name + ' window is stale: its reset has passed.',
                     name + ' window: stale', role='yellow')


def worded(worth, inner, *variants, role=''):
    """The Row of the first of several wordings that fits."""
    return Row(worth, (Span(fitting(variants, inner), role),))


def limiter_rows(known, pace, now):
    """The rows of the limiters that are switched off, of the tempo and of the latest activity."""
    if not known or pace.tempo is None:
        return
    for key, label in (('five_hour_limit_enabled', '5-Hour'), ('weekly_limit_enabled', '7-Day')):
        if not setting(known.config, key):
            yield Row(NOTE, (Span(label + ' Limiter: disabled', 'yellow'),))
    word, role = TEMPOS[pace.tempo]
    yield Row(DECOR, (Span('Tempo: '), Span(word, role)))
    activity = recent(known.activity, ACTIVITY_SECONDS, now)
    if activity:
        latest = {code[:2]: colour for _, code, colour in activity}
        yield Row(NOTE, (Span('Activity:'), *(
            Span(' ' + code, colour if colour in ROLES else '')
            for code, colour in latest.items())))


def recent(rows, seconds, now):
    """The events of the last so many seconds."""
    return [row for row in rows if row[0] > now - seconds]


def settings_rows(snapshot, inner, now):
    """Pace Maker's second panel: its settings, then what it counted."""
    pace = snapshot.pace_maker.value
    status = pace_status(snapshot, now)
    if status.tempo:
        word, role = TEMPOS[status.tempo]
        yield pair(inner, 'Tempo', (word,), role)
    for key, (label, words) in PACE_SETTINGS.items():
        if pace.is_modern or key in pace.config:
            yield pair(inner, label, *words(setting(pace.config, key)))
    if pace.errors is not None:
        count = len(recent(pace.errors, DAY, now))
        yield pair(inner, 'Log errors (24h)', (str(count),), 'yellow' if count else '')
    if pace.version:
        yield pair(inner, 'Version', (pace.version,))
    yield from counted_rows(pace, inner, now)


def switch_words(value):
    """A setting that is on or off."""
    return (('on',), '') if value else (('off',), 'dim')


def plain_words(value):
    """A setting that is told as it is."""
    return (value,), ''


def level_words(value):
    """A log level by its name; one beyond the list is the nearest."""
    return (LOG_LEVELS[min(max(int(value), 0), len(LOG_LEVELS) - 1)],), ''


def hook_words(value):
    """A hook model; an expression of several is told by its sign, where there is room for both."""
    kind = next((word for sign, word in HOOK_SIGNS.items() if sign in value), '')
    return ('%s: %s' % (kind, value),) * bool(kind) + (value,), ''


# The settings that are shown: key -> (label, what makes (variants, role) of the value).
PACE_SETTINGS = {
    'subagent_reminder_enabled': ('Subagent reminder', switch_words),
    'intent_validation_enabled': ('Intent validation', switch_words),
    'tdd_enabled': ('TDD', switch_words),
    'langfuse_enabled': ('Langfuse', switch_words),
    'danger_bash_enabled': ('Danger bash', switch_words),
    'cross_session_awareness_enabled': ('Cross-session', switch_words),
    'preferred_subagent_model': ('Subagent model', plain_words),
    'hook_model': ('Hook model', hook_words),
    'log_level': ('Log level', level_words),
}


def pair(inner, label, variants, role=''):
    """The list's Row of a label and the first of the variants of its value that fits."""
    column = max(0, min(PAIR_CELLS, inner - VALUE_CELLS))
    value = Span(fitting(variants, inner - column - 1), role)
    return Row(LIST, fit((Span(label, 'soft'),), column) + (Span(' '), value))


def counted_rows(pace, inner, now):
    """Blockages of the last hour by category, Langfuse and secrets of a day; each where known."""
    if pace.blockages is not None:
        counts = tally(category for _, category in recent(pace.blockages, HOUR, now))
        yield Row(GAP, ())
        yield pair(inner, 'Blockages (1h)', (str(sum(counts.values())),), 'strong')
        for name, count in sorted(counts.items(), key=lambda item: -item[1]):
            yield pair(inner, '  ' + BLOCKAGES.get(name, name), (str(count),))
    if pace.langfuse is not None:
        sums = [sum(column) for column in zip((0, 0, 0, 0), *recent(pace.langfuse, DAY, now))]
        yield Row(GAP, ())
        yield pair(inner, 'Langfuse (24h)', ('%d sessions, %d traces, %d spans' % (*sums[1:],),
                                             '%d / %d / %d' % (*sums[1:],)))
    if pace.secrets is not None:
        count = sum(count for _, count in recent(pace.secrets, DAY, now))
        yield pair(inner, 'Secrets (24h)', ('%d masked' % count,))


def tally(names):
    """name -> how often it occurs."""
    counts = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def is_live(agent, now):
    """Whether an agent is shown: seen of late, or ended just now."""
    if agent.ended is not None:
        return now - agent.ended <= AGENT_ENDED
    return now - agent.seen <= AGENT_LIVE


def agent_rows(snapshot, inner, now):
    """Pace Maker's third panel: workspaces, the agents in them, their subagents."""
    workspace, agents = None, snapshot.pace_maker.value.agents
    names = tally(os.path.basename(path) for path in {agent.workspace for agent in agents})
    for agent in agents:
        if not is_live(agent, now):
            continue
        if agent.workspace != workspace:
            workspace = agent.workspace
            name = os.path.basename(workspace)
            yield Row(LIST, (Span('▸ ' + (name if names[name] == 1 and name else workspace),
                                  'strong'),))
        quiet = agent.ended is not None or now - agent.seen > AGENT_BUSY
        role = 'dim' if quiet else ''
        lead = '  ' if agent.is_root else '    ↳ '
        yield Row(LIST, (Span(lead + agent.name, role),
                         Span('  ' + ', '.join(agent.tools), 'dim' if quiet else 'soft')))


def governance_rows(snapshot, inner, now):
    """Pace Maker's fourth panel: the governance events of the last hour, newest first."""
    for at, kind, project, words in recent(snapshot.pace_maker.value.governance, HOUR, now):
        head = '%s %s %s' % (time.strftime('%H:%M', time.localtime(at)), kind, project)
        yield Row(LIST, (Span(head, 'strong'),))
        for line in wrap(words, max(1, inner - 2)):
            yield Row(LIST, (Span('  ' + line),))


def updated_row(known, inner, now, via='', later=''):
    """The row of `updated_words` and `usage_notes`; an age is worth more than a time of day."""
    words, is_aged = updated_words(known, now), status(known, now) in AGED
    variants = (words[0] + via + later, *(variant + via for variant in words), *words)
    return Row(AGE if is_aged else UPDATED, (Span(fitting(variants, inner), 'soft'),))


def updated_words(known, now):
    """When the numbers came, and their age once that matters: variants, the longest first."""
    if known.at is None:
        words = 'never' if known.failure else 'waiting for the first reply'
        return 'Updated: ' + words, words.split()[0]
    at = time_of_day(known.at)
    if status(known, now) not in AGED:
        return 'Updated: ' + at, at
    age = countdown(now - known.at) + ' ago'
    return 'Updated: %s (%s)' % (at, age), '%s (%s)' % (at, age), age


def alert_rows(known, ui, inner, now):
    """The rows that say why a source fails and what happens next."""
    if known.failure:
        words = message(known.failure, known.next_at, now, words_of(ui.mode))
        yield from marked_rows(ALERT, words, ui, inner)


def words_of(mode):
    """The table of ERRORS that a mode's failures are told in."""
    return CONSOLE_ERRORS if mode == 'console' else ERRORS


def marked_rows(worth, words, ui, inner):
    """The rows of a warning, wrapped behind its sign."""
    mark = icon(ui, '⚠')
    for index, line in enumerate(wrap(words, max(1, inner - cells(mark)))):
        lead = mark if not index else ' ' * cells(mark)
        yield Row(worth, (Span(lead + line, 'alert'),))


def title_text(name, origin, width):
    """A box's title; what is cut in a narrow one is the name, not the host that gets the token."""
    if not origin:
        return name
    words = name.split()
    variants = [' '.join(words[:count]) + ' · ' + origin for count in range(len(words), 0, -1)]
    return fitting(variants + [origin], width)


def dollars(cents):
    """'$1,234.56' of cents of USD; a credit is negative."""
    cents = whole(cents)
    return ('-' if cents < 0 else '') + '$' + money(abs(cents), 2)


def amounts(sums):
    """currency -> cents as text: '$45.23', or '$45.23 + EUR 3.10'; never added together."""
    others = ['%s %s' % (currency, money(cents, MINOR_DIGITS.get(currency, 2)))
              for currency, cents in sorted(sums.items()) if currency != 'USD']
    return ' + '.join([dollars(sums.get('USD', 0))] * ('USD' in sums or not others) + others)


def console_rows(snapshot, ui, inner, compact, now):
    """The rows of the month: one's own cost, the organization's, where it will end."""
    known, gap = snapshot.console, Row(GAP, ())
    rows = []
    if known.value:
        rows += [*cost_rows(known.value, ui, inner), gap, *outlook_rows(known.value, inner), gap]
    updated = updated_row(known, inner, now)
    if is_loading(known):
        updated = Row(UPDATED, (Span(loading_words(known.value), 'soft'),))
    return [*rows, updated, *problem_rows(known, ui, inner, now),
            *store_rows(snapshot, ui, inner), *alert_rows(known, ui, inner, now)]


def problem_rows(known, ui, inner, now):
    """The rows that say which parts of the month are missing, and why; like reasons once."""
    parts = {}
    for part, failure in known.value.problems if known.value else ():
        if not known.failure or failure.code != known.failure.code:
            parts.setdefault(message(failure, None, now, CONSOLE_ERRORS), []).append(part)
    for words, names in parts.items():
        told = '%s: %s' % (part_words(names), words)
        for index, row in enumerate(marked_rows(NOTE, told, ui, inner)):
            yield row if index else row._replace(worth=STATE)


def part_words(parts):
    """'Organization, Nov 7, 9': parts of a month, the cost report ('') first, then its days."""
    days, told = [part for part in parts if part], ['Organization'] * ('' in parts)
    if days:
        numbers = ', '.join(str(int(day[-2:])) for day in days[:PARTS_TOLD])
        told.append('%s %s' % (MONTHS[int(days[0][5:7]) - 1], numbers))
    more = len(days) - PARTS_TOLD
    return ', '.join(told) + (' and %d more' % more if more > 0 else '')


def is_loading(known):
    """Whether the Console's month is still coming: it has no next time yet."""
    return known.value and known.next_at is None and not known.failure


def loading_words(console):
    """How much of the Console's month has come."""
    return 'Loading: day %d of %d' % (console.days_done, console.days)


def cost_rows(console, ui, inner):
    """The rows of what the month has cost so far."""
    _, month, day = console.through.split('-')
    span = '%s 1%s' % (MONTHS[int(month) - 1], '' if day == '01' else '-%d' % int(day))
    partial = ' (partial)' if console.days_done < console.days else ''
    if console.organization:
        yield Row(ORGANIZATION, (Span(icon(ui, '🏢') + console.organization),))
        yield Row(GAP, ())
    yield worded(NOTE, inner, '═══ Month-to-Date (%s, UTC) ═══' % span,
                 'Month-to-Date (%s, UTC)' % span, span + ', UTC', role='strong')
    if console.own is None and console.you:
        yield worded(LIST, inner, 'Your Claude Code Usage: not available',
                     'You: not available')
    elif console.own is None:
        yield worded(NOTE, inner, 'Your own cost: name yourself with --user EMAIL.',
                     'Who are you? Start with --user EMAIL.', 'Who? --user EMAIL')
    else:
        own = amounts(console.own)
        yield worded(LIST, inner, 'Your Claude Code Usage: ' + own + partial,
                     'You: ' + own + partial, own + partial, own + MARK * bool(partial),
                     role='strong')
        yield worded(PERSON, inner, '(%s)' % console.you, role='soft')
    total, what = 'not available' if console.problems else 'waiting', ''
    mark = MARK * ('' in dict(console.problems))        # then it is of an earlier poll
    if console.total is not None:
        total, what = amounts(console.total), ' (API, all models)'
    yield worded(LIST, inner, *(words + mark * bool(what) for words in (
        'Organization: ' + total + what, 'Organization: ' + total, 'Org: ' + total,
        'Org: ' + total.split(' + ')[0], total.split(' + ')[0])))


MARK = ' ⚠'             # behind a sum that lacks something, where there is no room for the word


def outlook_rows(console, inner):
    """The rows of where the month will end, and of its days."""
    cents = [cents for _, cents in console.by_day]
    known = [amount for amount in cents if amount is not None]
    if console.projection:
        yield from projection_rows(console.projection, sum(known), console, inner)
    elif not console.has_unknown_days and console.through.endswith('-01'):
        yield worded(NOTE, inner, 'Projection: after the first 24 hours of the month',
                     'Projection: after the first 24 hours', 'Projection: after 24 hours',
                     role='soft')
    if known:
        yield worded(DECOR, inner, 'Day by day: ' + sparkline(cents), sparkline(cents),
                     role='target')


def projection_rows(projection, so_far, console, inner):
    """The rows of a Projection: its end, the range of both rates, the rate."""
    rate, projected, other = projection
    end, more = dollars(projected), dollars(whole(projected) - whole(so_far))
    more = ' (%s%s)' % ('' if more[0] == '-' else '+', more)
    whose, short = ('Projected', 'Projected') if console.you else (
        'Organization projected', 'Org projected')
    if console.you and console.days_done < console.days:
        more += ' (partial)'
    yield worded(STATE, inner, '%s by end of month: %s%s' % (whose, end, more),
                 '%s by month end: %s%s' % (whose, end, more),
                 '%s: %s%s' % (short, end, more), '%s: %s' % (short, end), '-> ' + end, '')
    if other is not None:
        low, high = map(dollars, sorted((projected, other)))
        yield worded(NOTE, inner, "Range with last week's rate: %s to %s" % (low, high),
                     'Range: %s to %s' % (low, high), '%s to %s' % (low, high), '', role='soft')
    daily = dollars(rate * 24)
    yield worded(NOTE, inner, 'Rate: %s/hour (%s/day)' % (dollars(rate), daily),
                 'Rate: %s/day' % daily, daily + '/day', '', role='soft')


def sparkline(values):
    """A bar of eight heights for each value, in proportion to the largest; None is unknown."""
    most = max(1, *(value for value in values if value is not None))
    return ''.join('·' if value is None else '▁▂▃▄▅▆▇█'[max(0, min(7, int(value * 8 / most)))]
                   for value in values)


def breakdown_rows(snapshot, inner, now):
    """The Console's second panel: cost by user, by model and by workspace."""
    console = snapshot.console.value
    partial = ' (partial)' * (console.days_done < console.days)
    tables = (('Claude Code by user' + partial, top(console.by_user)),
              ('Claude Code by model' + partial, console.by_model),
              ('By workspace', console.by_workspace))
    for index, (title, rows) in enumerate(table for table in tables if table[1]):
        if index:
            yield Row(GAP, ())
        yield Row(LIST, (Span(title, 'strong'),))
        for name, currency, cents in rows:
            amount = ' ' + amounts({currency: cents})
            yield Row(LIST, fit((Span('  ' + name),), max(0, inner - cells(amount)))
                      + (Span(amount),))


def top(rows):
    """The first TOP_USERS rows, and the sum of the rest by currency."""
    names = list(dict.fromkeys(name for name, _, _ in rows))
    best, rest = set(names[:TOP_USERS]), {}
    for name, currency, cents in rows:
        if name not in best:
            rest[currency] = rest.get(currency, 0) + cents
    return [row for row in rows if row[0] in best] + [
        ('%d others' % (len(names) - TOP_USERS), currency, cents)
        for currency, cents in sorted(rest.items())]


# mode -> (title, rows) of its first panel.
FIRST = {'code': ('Claude Code Usage', code_rows), 'console': ('Console Usage', console_rows)}


def first_panel(snapshot, ui, width, height, now):
    """The Frame of the mode's first box, at most `height` lines high."""
    title, make = FIRST[ui.mode]
    inner, room = inside(width, height)
    ui = ui._replace(icons=ui.icons and width >= ICONS_WIDTH)
    for compact in (False, True):
        rows = make(snapshot, ui, inner, compact, now)
        if sum(row.worth > DECOR for row in rows) <= room:
            break
    return boxed(title_text(title, ui.origin, inner), rows, ui, width, height)


def boxed(title, rows, ui, width, height):
    """The Frame of a box as high as its rows need, at most `height` lines."""
    room = inside(width, height)[1]
    rows = afford(rows, room)
    return box(title, rows, width, min(height, len(rows) + height - room), ui.scroll,
               'title' if ui.has_keys else 'soft', room < height)


def help_panel(known, ui, width, height):
    """The Frame of the keys, of when the mode's source is asked, of what the colours mean."""
    column = max(cells(key.shown) for key in KEYS) + 2
    rows = [Row(LIST, fit((Span(key.shown, 'strong'),), column) + (Span(key.help),))
            for key in KEYS]
    rows.append(Row(BLANK, ()))
    inner = inside(width, height)[0]
    pace = ASKING if ui.interval is None else ASKING_EVERY % ui.interval
    words = HELP[:1] + ('All your monitors ask as one: %s.' % pace,) + HELP[1:]
    if known.next_at:
        words = ('Next request: %s.' % time_of_day(known.next_at),) + words
    rows += [Row(LIST, (Span(line),)) for text in words for line in wrap(text, max(1, inner))]
    return boxed('Help', rows, ui, width, height)


HELP = ('Bars are green up to 50%, yellow up to 80%, orange up to 99%, red from 100% on.',
        "The organization's cost is without Priority Tier.")
ASKING = ('every 30 seconds while usage moves, up to every 5 minutes while it does not or the '
          'status line tells it, five times in 5 minutes at most; the Console every 2 minutes')
ASKING_EVERY = 'every %g seconds, five times in 5 minutes at most'      # with --interval


def summary(snapshot, width, now):
    """The limits in one line; where `width` cells do not hold it, without countdowns."""
    usage = snapshot.usage.value or Usage((), None)
    items = [(limit.short, limit.used, short_left(limit, now)) for limit in usage.limits]
    if usage.spend and usage.spend.limit is not None:
        items.append(('Extra', usage.spend.percent, ''))
    elif usage.spend:
        amount = '%s %s' % (usage.spend.currency, money(usage.spend.used, usage.spend.digits))
        return (Span('Extra ' + amount),)
    forms = [summary_line(items, True)] + [
        summary_line(items[:count], False) + (Span(' …'),) * (count < len(items))
        for count in range(len(items), 0, -1)]
    return next((line for line in forms if width_of(line) <= width), forms[-1])


def summary_line(items, has_tails):
    """The spans of (label, percent, countdown) items."""
    line = ()
    for label, used, left in items:
        line += (Span('  ' * bool(line) + label + ' '),
                 Span('%d%%' % percent_shown(used), level(used)))
        if left and has_tails:
            line += (Span(' ' + left, 'soft'),)
    return line


def short_left(limit, now):
    """The countdown of a limit in at most six cells."""
    if limit.resets_at is None:
        return 'idle'
    return countdown_short(limit.resets_at - now) if limit.resets_at > now else 'due'


def console_summary(snapshot, width, now):
    """The month's costs in one line."""
    console = snapshot.console.value
    told = [('You ', console.own), ('Org ', console.total)] if console else ()
    partial = ' (partial)' if console and console.days_done < console.days else ''
    items = [name + amounts(sums) + partial * (name == 'You ')
             for name, sums in told if sums is not None]
    variants = ['  '.join(items)] + [item.split(' ', 1)[1] if cells(item) > width else item
                                     for item in items[:1]]
    return (Span(fitting(variants, width)),) if items else ()


def summary_frame(snapshot, ui, width, height, now):
    """The lines of a screen of one or two rows: the numbers, and what is wrong with them."""
    known = main_of(snapshot, ui.mode)
    numbers = (summary if ui.mode == 'code' else console_summary)(
        snapshot, width - cells(icon(ui, '⚠')) * bool(known.failure and height < 2), now)
    words, role = fitting(updated_words(known, now), width), 'soft'
    if ui.mode == 'console' and is_loading(known):
        words = loading_words(known.value)
    if known.value and not numbers:
        words = NO_WINDOWS[False]
    if known.failure:
        told = message(known.failure, known.next_at, now, words_of(ui.mode))
        words, role = icon(ui, '⚠') + told, 'alert'
    if not numbers:
        return [fit((Span(line, role),), width) for line in wrap(words, max(1, width))[:height]]
    mark = (Span(icon(ui, '⚠'), 'alert'),) if known.failure and height < 2 else ()
    return [fit(line, width) for line in (mark + numbers, (Span(words, role),))[:height]]


# The panels beside the first: (mode, title, rows, whether there is anything to show).
PANELS = (
    ('code', 'Pace Maker', settings_rows, lambda snapshot, now: snapshot.pace_maker.value
     and len(list(settings_rows(snapshot, WIDE, now))) > 1),     # the first panel has the tempo
    ('code', 'Agents', agent_rows, lambda snapshot, now: snapshot.pace_maker.value and any(
        is_live(agent, now) for agent in snapshot.pace_maker.value.agents)),
    ('code', 'Governance', governance_rows, lambda snapshot, now: snapshot.pace_maker.value
     and recent(snapshot.pace_maker.value.governance, HOUR, now)),
    ('console', 'Costs', breakdown_rows, lambda snapshot, now: snapshot.console.value),
)


def panels_of(snapshot, mode, now):
    """The panels that a mode has besides its first."""
    return [panel for panel in PANELS if panel[0] == mode and panel[3](snapshot, now)]


def compose(snapshot, ui, size, now):
    """The Frame for a terminal of `size` (columns, lines): exactly so many lines and cells."""
    width, height = size
    more = panels_of(snapshot, ui.mode, now)
    if ui.panel > len(more):            # it is gone
        ui = ui._replace(panel=0, scroll=0)
    notice = now < ui.notice_until
    hint = int(height > BOX_HEIGHT and ui.hint or height > 1 and notice)
    room = height - hint
    if ui.help:
        frame = help_panel(main_of(snapshot, ui.mode), ui, width, room)
    elif height <= 2:
        frame = Frame(summary_frame(snapshot, ui, width, room, now))
    elif more and width >= WIDE:
        frame = side_by_side(snapshot, more, ui, width, room, now)
    else:
        frame = panel(snapshot, ([None] + more)[ui.panel], ui, width, room, now)
    lines = filled_up(frame.lines, width, room)
    if hint:
        hints = HELP_HINT if ui.help else TAB_HINT if more else HINT
        lines.append(hint_line(ui, hints, width, now))
    if ui.ascii:
        lines = list(map(ascii_line, lines))
    return frame._replace(lines=lines)


def panel(snapshot, which, ui, width, height, now):
    """The Frame of one panel, as high as it needs; the first is None."""
    if not which:
        return first_panel(snapshot, ui, width, height, now)
    _, title, make, _ = which
    return boxed(title, make(snapshot, inside(width, height)[0], now), ui, width, height)


def side_by_side(snapshot, more, ui, width, height, now):
    """The Frame of the first panel and, in a column beside it, of the others.

    Where they do not all fit, the one that has the keys is the first of the column.
    """
    left_width = width // 2
    still = ui._replace(scroll=0, has_keys=False)
    shown = left = panel(snapshot, None, still if ui.panel else ui, left_width, height, now)
    wanted = sum(len(panel(snapshot, which, still, width - left_width, height, now).lines)
                 for which in more)
    start, right = 0 if wanted <= height else max(0, ui.panel - 1), []
    for index, which in enumerate(more[start:], start + 1):
        if height - len(right) < BOX_HEIGHT:
            break
        frame = panel(snapshot, which, ui if index == ui.panel else still, width - left_width,
                      height - len(right), now)
        shown = frame if index == ui.panel else shown
        right += frame.lines
    lines = zip(filled_up(left.lines, left_width, height),
                filled_up(right, width - left_width, height))
    return shown._replace(lines=[a + b for a, b in lines])


def filled_up(lines, width, height):
    """`lines` and as many blank ones as make them `height`."""
    return lines + [fit((), width)] * (height - len(lines))


def next_change(snapshot, ui, now):
    """Until when `compose` gives the same Frame, if nothing but time goes on.

    What is told in minutes is composed once a minute; an idle screen costs next to nothing.
    """
    def period(span):
        return 1 if span < MINUTE else MINUTE
    known, waits = main_of(snapshot, ui.mode), [DAY]
    usage = snapshot.usage.value if ui.mode == 'code' else None
    for limit in usage.limits if usage else ():
        left = (limit.resets_at or 0) - now
        waits += [left % period(left)] * (left > 0)
    if known.at is not None:
        age = now - known.at
        if status(known, now) in AGED:
            waits.append(period(age) - age % period(age))
        elif known.next_at:
            waits += [2 * (known.next_at - known.at) - age, (known.next_at - now) % DAY]
    if ui.notice_until > now:
        waits.append(ui.notice_until - now)
    if snapshot.pace_maker.value:
        waits += [PACE_SHOW_SECONDS] + [
            at + ACTIVITY_SECONDS - now for at, _, _ in
            recent(snapshot.pace_maker.value.activity, ACTIVITY_SECONDS, now)[:1]]
    return now + max(0, min(waits)) + 0.001     # just after, for then it is another number


def hint_line(ui, hints, width, now):
    """The last row: the answer to the last key for a while, else the keys."""
    if now < ui.notice_until:
        return fit((Span(fitting(ui.notice, width), 'strong'),), width)
    return fit((Span(fitting(hints, width), 'dim'),), width)


# ---- 10. Reports -------------------------------------------------------------------------------
# The same Snapshot as text, for pipes, scripts, prompts and Prometheus, in the words and by the
# rounding of the screen.

class Role(NamedTuple):
    """How a role looks: a letter in golden pictures, a colour of COLOURS, bold, dim."""
    letter: str
    colour: str = ''
    bold: bool = False
    dim: bool = False


ROLES = {
    '': Role('.'), 'soft': Role('s'), 'dim': Role('d', dim=True), 'strong': Role('S', bold=True),
    'border': Role('b', dim=True), 'title': Role('t', bold=True),
    'badge': Role('B', 'cyan', bold=True), 'alert': Role('a', 'yellow', bold=True),
    'blue': Role('u', 'blue'), 'target': Role('T', 'cyan'),
    'green': Role('g', 'green'), 'yellow': Role('y', 'yellow'), 'orange': Role('o', 'orange'),
    'red': Role('r', 'red', bold=True),
}
# The colour's number among 256, and among 8, where bold helps to tell orange from yellow.
COLOURS = {'green': (2, 2), 'yellow': (3, 3), 'orange': (208, 3), 'red': (1, 1), 'cyan': (6, 6),
           'blue': (4, 4)}


def as_text(lines, depth):
    """Lines as text without blank ends, in `depth` colours: 256, 8 or 0."""
    texts = [''.join(painted(span, depth) for span in trimmed(line)) for line in lines]
    while texts and not texts[-1]:
        texts.pop()
    return ''.join(text + '\n' for text in texts)


def trimmed(line):
    """`line` without blanks at its end."""
    while line and not line[-1].text.strip():
        line = line[:-1]
    return line and (*line[:-1], line[-1]._replace(text=line[-1].text.rstrip()))


def painted(span, depth):
    """A span between the escape sequences of its role."""
    role = ROLES[span.role]
    codes = ['1'] * is_bold(role, depth) + ['2'] * role.dim
    if role.colour:
        number = COLOURS[role.colour][depth < 256]
        codes.append('38;5;%d' % number if depth >= 256 else '%d' % (30 + number))
    return '\x1b[%sm%s\x1b[0m' % (';'.join(codes), span.text) if depth and codes else span.text


def is_bold(role, depth):
    """Whether a role is bold; among 8 colours orange is, to be told from yellow."""
    return role.bold or (role.colour == 'orange' and depth < 256)


def iso(at):
    """Epoch seconds as ISO-8601 in UTC; None stays None."""
    return None if at is None else time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))


def as_json(snapshot, now, mode='code'):
    """The snapshot as one JSON document, with the same keys always."""
    account, usage = account_of(snapshot), snapshot.usage.value
    shown = {'name': account.name, 'email': account.email, 'organization': account.organization,
             'badges': account.badges, 'tier': account.tier}
    return json.dumps({
        'schema': 1, 'version': __version__, 'generated_at': iso(now), 'mode': mode,
        'account': {key: value if key == 'badges' else value or None
                    for key, value in shown.items()},
        'limits': [limit_json(limit, now) for limit in usage.limits] if usage else [],
        'extra_usage': spend_json(usage.spend) if usage and usage.spend else None,
        'pace_maker': pace_json(snapshot.pace_maker, pace_status(snapshot, now)),
        'console': console_json(snapshot.console.value),
        'sources': {'usage': source_json(usage_of(snapshot), now),
                    'profile': source_json(snapshot.profile, now),
                    **({'console': source_json(snapshot.console, now, CONSOLE_ERRORS)}
                       if mode == 'console' else {})},
    }, indent=2) + '\n'


def limit_json(limit, now):
    """A Limit as values of JSON."""
    left = None if limit.resets_at is None else max(0, int(limit.resets_at - now))
    return {'id': limit.id, 'label': limit.label, 'used_percent': limit.used,
            'resets_at': iso(limit.resets_at), 'resets_in_seconds': left,
            'window_seconds': limit.window, 'level': level(limit.used)}


def spend_json(spend):
    """A Spend as values of JSON, in units of its currency."""
    scale = 10 ** spend.digits
    return {'used': spend.used / scale,
            'limit': None if spend.limit is None else spend.limit / scale,
            'currency': spend.currency, 'used_percent': spend.percent}


def pace_json(known, pace):
    """A PaceStatus as values of JSON; None is not installed or, in Console mode, not known."""
    told, enabled = pace or PaceStatus(None), None
    installed = pace is not None if known.at is not None or known.failure else None
    if pace and pace.status != 'error':
        enabled = pace.status != 'inactive'
    return {'installed': installed, 'enabled': enabled, 'status': told.status,
            'throttling': told.throttling,
            'delay_seconds': told.delay_seconds, 'window': told.window,
            'target_percent': rounded(told.target), 'deviation_percent': rounded(told.deviation),
            'algorithm': told.algorithm, 'strategy': told.strategy, 'tempo': told.tempo,
            'stale': told.stale, 'estimated': told.estimated, 'at': iso(told.at)}


def console_json(console):
    """The Console as values of JSON, amounts as whole cents; None without one."""
    if not console:
        return None
    own, project = console.own, console.projection
    return {
        'organization': console.organization, 'month': console.month, 'through': console.through,
        'you': None if own is None else {
            'email': console.you, 'cents': whole(own.get('USD', 0)), 'currency': 'USD'},
        'organization_cents': None if console.total is None else whole(
            console.total.get('USD', 0)),
        'projected_cents': project and whole(project.projected),
        'projected_high_cents': None if not project or project.other is None else whole(
            max(project.projected, project.other)),
        'rate_cents_per_hour': project and round(float(project.rate), 4),
        'by_day': [{'day': day, 'cents': None if cents is None else whole(cents)}
                   for day, cents in console.by_day],
        **{key: [{'name': name, 'currency': currency, 'cents': whole(cents)}
                 for name, currency, cents in getattr(console, key)]
           for key in ('by_user', 'by_model', 'by_workspace')},
        'complete': console.complete}


def whole(cents):
    """Cents as a whole number, half a cent up."""
    from decimal import Decimal
    return int(Decimal(cents) + (1 if cents >= 0 else -1) * Decimal('0.5'))


def rounded(percent):
    """A percent without the noise of its arithmetic; None stays None."""
    return percent if percent is None else round(percent, 4)


def source_json(known, now, errors=ERRORS):
    """How a source stands, as values of JSON; `errors` has the words of its failures."""
    failure = known.failure
    return {'status': status(known, now), 'at': iso(known.at),
            'age_seconds': None if known.at is None else max(0, int(now - known.at)),
            'error': failure.code if failure else None,
            'message': message(failure, known.next_at, now, errors) if failure else '',
            'next_at': iso(known.next_at)}


def find_replies(snapshot, took, now):
    """The Findings about Code mode and Pace Maker, after the service was asked."""
    known, pace = usage_of(snapshot), pace_status(snapshot, now)
    if known.failure:
        words = message(known.failure, known.next_at, now)
        yield Finding(known.failure.code == 'rate_limited', 'Code mode', words + (
            '' if took is None else ' The request took %.2f s.' % took))
    elif took is None:
        yield Finding(True, 'Code mode', 'numbers of %s ago; the service may be asked at %s.' % (
            countdown(now - known.at), clock_text(known.free_at, now)))
    else:
        yield Finding(True, 'Code mode', 'the service answered in %.2f s.' % took)
    if pace:
        yield Finding(pace.status != 'error', 'Pace Maker', (
            pace.reason or PACE_WORDS[pace.status].lstrip('⚠✓ ').lower()) + '.')
    else:
        yield Finding(False, 'Pace Maker', 'not installed, nor needed.')


def as_findings(findings):
    """The lines of --doctor."""
    return [(Span('✓ ' if is_good else '✗ ', 'green' if is_good else 'alert'),
             Span(place + ': ', 'strong'), Span(words)) for is_good, place, words in findings]


STATUS_LIMITS = ('five_hour', 'seven_day')
STATUS_BAR = 6                          # cells


def statusline(usage, model, now, width, ends='▕▏'):
    """The line for Claude Code's status line in at most `width` cells: the windows, the model.

    The bar stands between two `ends`.
    """
    limits = [limit for limit in usage.limits if limit.id in STATUS_LIMITS] if usage else []
    if usage and not limits:
        numbers = [summary(Snapshot(usage=Known(usage)), width, now)]
    else:
        numbers = [status_numbers(limits, ends * has_bar, has_left, now) for has_bar, has_left in
                   ((True, True), (False, True), (False, False))]
    tail = (Span(' · ' * bool(numbers[0]) + model, 'soft'),) * bool(model)
    lines = [line + tail for line in numbers] + numbers[-1:] + (
        [status_numbers(limits[:1], '', False, now), numbers[-1][1:2]] if limits else [])
    line = next((line for line in lines if width_of(line) <= width), lines[-1])
    return trimmed(fit(line, min(width, width_of(line))))


def status_numbers(limits, ends, has_left, now):
    """The spans of limits, of which the first may have a bar between `ends` and a countdown."""
    line = ()
    for index, limit in enumerate(limits):
        colour, left = level(limit.used), short_left(limit, now)
        line += (Span(' · ' * bool(index) + limit.short + ' '),
                 Span('%d%%' % percent_shown(limit.used), colour))
        if ends and not index:
            line += (Span(' ' + ends[0], 'dim'), *bar(limit.used, STATUS_BAR),
                     Span(ends[1], 'dim'))
        if has_left and not index:
            line += (Span(' ' + left, 'soft'),)
    return line


def over(usage, at, percent, now):
    """(exit code, words for stdout) of --check: 3 and the limits that are at `percent` or over, 0
    if none is, 1 if they are not known or were told too long ago."""
    if not usage or not usage.limits or now - at > KNOWN_SECONDS:
        return 1, ''
    limits = [limit for limit in usage.limits if limit.used >= percent]
    is_old = usage.rest_at is not None and now - usage.rest_at > KNOWN_SECONDS
    if usage.rest_at is None and usage.via == 'Claude Code':
        is_old = not {limit.id for limit in usage.limits}.issuperset(STATUS_LIMITS)
    return 3 if limits else int(is_old), ''.join('%s: %g%% used, %s\n' % (
        limit.label, limit.used, reset_words(limit, now)[0]) for limit in limits)


def as_metrics(snapshot, now, mode='code'):
    """The snapshot in Prometheus' text format 0.0.4, for node_exporter's textfile collector."""
    known, usage, console = main_of(snapshot, mode), snapshot.usage.value, snapshot.console.value
    limits, spend = usage.limits if usage else (), usage and usage.spend
    scale = 10 ** spend.digits if spend else 1
    money_of = {'currency': spend.currency} if spend else {}
    end = console and console.projection
    values = {
        'up': [({}, int(has_numbers(snapshot, mode) and not known.failure))],
        'reply_age_seconds': [] if known.at is None else [
            ({}, max(0, now - (usage and usage.rest_at or known.at)))],
        'limit_used_ratio': [({'limit': limit.id}, limit.used / 100) for limit in limits],
        'limit_reset_timestamp_seconds': [({'limit': limit.id}, limit.resets_at)
                                          for limit in limits if limit.resets_at is not None],
        'extra_used': [(money_of, spend.used / scale)] if spend else [],
        'extra_limit': [] if not spend or spend.limit is None else [
            (money_of, spend.limit / scale)],
        'console_own_cost': costs_of(console and console.own),
        'console_organization_cost': costs_of(console and console.total),
        'console_projected_cost': costs_of(end and {'USD': end.projected}),
    }
    return ''.join(metric('claude_usage_' + name, words, values[name])
                   for name, words in METRICS.items())


# name, without what they all begin with -> what it means.
METRICS = {
    'up': 'Whether the last request brought numbers.',
    'reply_age_seconds': 'Age of the numbers.',
    'limit_used_ratio': 'Used part of a rate limit; 1 is all of it.',
    'limit_reset_timestamp_seconds': 'When the window of a rate limit resets.',
    'extra_used': 'Extra usage beyond the plan, in its currency.',
    'extra_limit': 'The most that extra usage may come to, in its currency.',
    'console_own_cost': 'Your Claude Code cost, month to date.',
    'console_organization_cost': 'Cost of the organization, month to date, without Priority Tier.',
    'console_projected_cost': 'Where the cost will be at the end of the month: yours, or the '
                              'organization\'s where you are not known.',
}


def costs_of(sums):
    """The samples of currency -> cents, which may be nothing yet; none where it is not known."""
    return [] if sums is None else [
        ({'currency': currency}, float(cents / 10 ** MINOR_DIGITS.get(currency, 2)))
        for currency, cents in sorted((sums or {'USD': 0}).items())]


def metric(name, words, samples):
    """The lines of one gauge; none without samples."""
    lines = ['# HELP %s %s' % (name, words), '# TYPE %s gauge' % name] * bool(samples)
    for labels, value in samples:
        told = ','.join('%s="%s"' % (label, re.sub(r'(["\\])', r'\\\1', text))
                        for label, text in labels.items())
        lines.append('%s%s %s' % (name, '{%s}' % told if told else '', repr(value)))
    return ''.join(line + '\n' for line in lines)


# ---- 11. Keys ----------------------------------------------------------------------------------
# What a key does is a pure function from one Ui to the next. The table feeds the help panel,
# --help, and the check of README.

class Key(NamedTuple):
    """What a key does. The help panel and --help are made from this."""
    names: Tuple[str, ...]
    shown: str
    help: str
    action: Callable            # (ui, snapshot, frame, now) -> ui


def refresh(ui, snapshot, frame, now):
    """Ask for usage now, or say when that is possible."""
    known = main_of(snapshot, ui.mode)
    if is_waiting(snapshot, ui):
        notice = ('Already asking.',)
    elif known.free_at is None:
        notice = (message(known.failure, None, now, words_of(ui.mode)),)
    elif known.free_at > now:
        at = time_of_day(known.free_at + 1)
        notice = 'Too soon, refresh possible at %s.' % at, 'Refresh from ' + at, at
    else:
        ui, notice = ui._replace(asked_at=now), ('Refreshing.',)
    return ui._replace(notice=notice, notice_until=now + NOTICE_SECONDS)


# What a mode needs.
NEEDS = {'code': 'Claude Code login', 'console': 'Admin API key'}


def switch_mode(ui, snapshot, frame, now):
    """Show the other mode, where there are credentials for both."""
    others = [mode for mode in snapshot.modes.value or ui.modes if mode != ui.mode]
    if others:
        return ui._replace(mode=others[0], panel=0, scroll=0, help=False)
    missing = NEEDS['code' if ui.mode == 'console' else 'console']
    return ui._replace(notice=('There is no ' + missing + '.', missing),
                       notice_until=now + NOTICE_SECONDS)


def scroll_by(rows=0, pages=0):
    """The action that moves the list by so many rows and pages."""
    def action(ui, snapshot, frame, now):
        step = rows + pages * frame.room
        return ui._replace(scroll=max(0, min(ui.scroll + step, frame.overflow)))
    return action


def turn_to(step):
    """The action that gives the keys to the next panel, or the one before."""
    def action(ui, snapshot, frame, now):
        count = len(panels_of(snapshot, ui.mode, now)) + 1
        return ui._replace(panel=(ui.panel + step) % count, scroll=0, help=False)
    return action


KEYS = (
    Key(('q',), 'q, Ctrl+C', 'quit', lambda ui, *_: ui._replace(exit_code=0)),
    Key(('r',), 'r', 'refresh', refresh),
    Key(('tab', 'right'), 'Tab, →', 'next panel', turn_to(1)),
    Key(('left',), '←', 'previous panel', turn_to(-1)),
    Key(('m',), 'm', 'the other mode', switch_mode),
    Key(('?',), '?', 'this help', lambda ui, *_: ui._replace(help=not ui.help, scroll=0)),
    Key(('escape',), 'Esc', 'close help', lambda ui, *_: ui._replace(help=False, scroll=0)),
    Key(('up',), '↑', 'up', scroll_by(-1)),
    Key(('down',), '↓', 'down', scroll_by(1)),
    Key(('page up',), 'PgUp', 'a page up', scroll_by(pages=-1)),
    Key(('page down',), 'PgDn', 'a page down', scroll_by(pages=1)),
)
ACTIONS = {name: key.action for key in KEYS for name in key.names}


def press(ui, key, snapshot, frame, now):
    """The Ui after a key, or after a signal, which comes as a key of its name."""
    if key.startswith('SIG'):
        return ui._replace(exit_code=0 if key == 'SIGINT' else 128 + getattr(signal, key))
    action = ACTIONS.get(key)
    return action(ui, snapshot, frame, now) if action else ui


# ---- 12. Screen --------------------------------------------------------------------------------
# The only curses, in the main thread only. Signals set a mark that `key` returns like a key; the
# terminal is given back as it was, whatever happens, and nothing can interrupt that.

class Screen:
    """The terminal: in curses' hands inside `with`, afterwards as it was before."""

    def __init__(self, colour):
        self.colour = colour
        self.saved = None           # the terminal's settings
        self.window = None
        self.signals = []           # names, in the order they came
        self.painted = []           # the lines on the screen
        self.waits = None           # seconds that curses waits for a key
        self.attributes = {}

    def __enter__(self):
        self.saved = termios.tcgetattr(0) if termios else None
        for number in stop_signals():       # before curses, which would set its own
            signal.signal(number, self.on_signal)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        for name in ('LINES', 'COLUMNS'):   # they would freeze the size
            os.environ.pop(name, None)
        os.environ.setdefault('ESCDELAY', '100')
        self.window = open_window()
        for step in (curses.noecho, curses.cbreak, lambda: self.window.keypad(True),
                     lambda: curses.curs_set(0)):
            attempt(step)
        self.attributes = role_attributes(self.colour)

    def __exit__(self, *_):
        for number in stop_signals():
            signal.signal(number, signal.SIG_IGN)
        self.restore()

    def restore(self):
        """Undo everything, whatever of it fails."""
        if self.window:
            for step in (self.clear_last_row, lambda: self.window.keypad(False), curses.echo,
                         curses.nocbreak, curses.endwin):
                attempt(step)
        if self.saved:
            attempt(lambda: termios.tcsetattr(0, termios.TCSANOW, self.saved))

    def clear_last_row(self):
        """Where there is no alternate screen, the shell's prompt will stand there."""
        self.window.move(self.size()[1] - 1, 0)
        self.window.clrtoeol()
        self.window.refresh()

    def on_signal(self, number, _):
        """Note the signal for `key`. A second one finds the loop stuck: end here."""
        self.signals.append(signal.Signals(number).name)
        if len(self.signals) > 1:
            self.restore()
            os._exit(press(Ui(), self.signals[0], None, None, 0).exit_code)

    def size(self):
        """(columns, lines) now."""
        height, width = self.window.getmaxyx()
        return width, height

    def paint(self, lines):
        """Show the lines; those that are on the screen already are not touched."""
        if len(lines) != len(self.painted):
            self.window.erase()
            self.painted = [None] * len(lines)
        for y, (line, old) in enumerate(zip(lines, self.painted)):
            if line != old:
                self.paint_line(y, line)
        self.window.refresh()
        self.painted = lines

    def paint_line(self, y, line):
        x = 0
        for text, role in line:
            try:
                self.window.addstr(y, x, text, self.attributes[role])
            except curses.error:
                pass        # the last cell of all, drawn all the same; or the size just changed
            x += cells(text)

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
            return self.early(deadline)
        if self.signals:
            return self.signals[0]
        return key_name(code) if code != -1 else ''

    def early(self, deadline):
        """After a wait that ended early without a key: 'SIGHUP' if the terminal is gone.

        Else the rest of the wait is sat out, for in such a state the loop would spin.
        """
        if termios and attempt(lambda: termios.tcgetattr(0)):
            return 'SIGHUP'
        time.sleep(max(0, deadline - time.monotonic()))
        return self.signals[0] if self.signals else ''


def attempt(step):
    """Take a step that the terminal may not be capable of; return its error, if any."""
    try:
        step()
    except TERMINAL_ERRORS as error:
        return error
    return None


TERMINAL_ERRORS = (OSError, ValueError) + ((curses.error,) if curses else ()) + (
    (termios.error,) if termios else ())


def key_name(code):
    """What KEYS calls a code of getch: the character, a word, or '' for none of them."""
    names = {9: 'tab', 27: 'escape', curses.KEY_LEFT: 'left', curses.KEY_RIGHT: 'right',
             curses.KEY_UP: 'up', curses.KEY_DOWN: 'down',
             curses.KEY_PPAGE: 'page up', curses.KEY_NPAGE: 'page down'}
    return names.get(code) or (chr(code) if 32 < code < 127 else '')


def open_window():
    """curses' window for the type of terminal at hand or, if that is unknown, a common one."""
    names = (os.environ.get('TERM') or 'unknown', 'xterm-256color', 'xterm', 'vt100')
    for name in names:
        os.environ['TERM'] = name
        try:
            return curses.initscr()
        except curses.error:
            if name == names[-1]:
                raise


def role_attributes(colour):
    """role -> attribute of curses, in the colours that the terminal has."""
    depth = start_colour() if colour else 0
    pairs = {}
    for pair, (name, numbers) in enumerate(COLOURS.items() if depth else (), 1):
        if not attempt(functools.partial(curses.init_pair, pair, numbers[depth < 256], -1)):
            pairs[name] = curses.color_pair(pair)
    return {name: pairs.get(role.colour, 0) | curses.A_BOLD * is_bold(role, depth)
            | curses.A_DIM * role.dim for name, role in ROLES.items()}


def start_colour():
    """How many colours there are: 256, 8 or 0. Beyond 768 the numbers mean something else."""
    if attempt(curses.start_color) or attempt(curses.use_default_colors):
        return 0
    return 256 if 256 <= curses.COLORS <= 768 else 8 if curses.COLORS >= 8 else 0


def can_paint():
    """Whether there is a terminal to paint on and to hear keys from."""
    if not (curses and is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        return False
    if WINDOWS:
        return True                 # windows-curses has no terminfo
    if attempt(curses.setupterm):
        return True                 # an unknown type; open_window tries others
    return curses.tigetstr('cup') is not None


def find_terminal():
    """The Finding about the terminal."""
    if not can_paint():
        return Finding(False, 'Terminal', 'none; the live view needs one, else it is --once.')
    colours = 16                    # windows-curses has no terminfo to ask
    if not WINDOWS:
        colours = 0 if attempt(curses.setupterm) else curses.tigetnum('colors')
    return Finding(unicode_terminal(), 'Terminal', '%s, %dx%d, %d colours, %s.' % (
        clean(os.environ.get('TERM', '')), *os.get_terminal_size(1), max(colours, 0),
        'UTF-8' if unicode_terminal() else 'not UTF-8: set LC_ALL=C.UTF-8'))


# ---- 13. Loop ----------------------------------------------------------------------------------
# Drain, compose, paint, listen. Resizing, timers and redrawing need no branch: a frame depends on
# the snapshot, the Ui, the size and the time, so it is made anew when one of these has changed.

def drain(inbox, snapshot):
    """The snapshot with all that waits in the inbox."""
    while not inbox.empty():            # nobody else takes from it
        snapshot = absorb(snapshot, inbox.get())
    return snapshot


def run(screen, pollers, inbox, ui, clock=time.time):
    """Paint and listen until something ends it; return the exit code.

    The pollers start after the first frame, which their imports would delay.
    """
    for poller in pollers:
        if poller.mode == ui.mode:
            poller.look()
    snapshot, seen, since, until = Snapshot(), None, 0, 0
    while ui.exit_code is None:
        snapshot, now, size = drain(inbox, snapshot), clock(), screen.size()
        if (snapshot, ui, size) != seen or not since <= now < until:
            frame = compose(snapshot, ui, size, now)
            screen.paint(frame.lines)
            ui = ui._replace(scroll=min(ui.scroll, frame.overflow))
            serve(pollers, ui.mode)
            seen, since, until = (snapshot, ui, size), now, next_change(snapshot, ui, now)
            wait = EAGER_SECONDS if is_waiting(snapshot, ui) else KEY_SECONDS
        key = screen.key(wait)
        if not key:
            continue
        before, ui = ui, press(ui, key, snapshot, frame, clock())
        for poller in pollers:
            if ui.asked_at != before.asked_at and poller.mode == ui.mode:
                poller.ask_now(ui.asked_at)
    return ui.exit_code


def serve(pollers, mode):
    """Let the pollers of a mode run, and only these."""
    for poller in pollers:
        wanted = poller.mode == mode
        was_wanted, poller.wanted = poller.wanted, wanted
        if wanted and not poller.is_alive():
            poller.start()
        elif wanted and not was_wanted:
            poller.asked.set()


def is_waiting(snapshot, ui):
    """Whether somebody waits for a reply: the first, the rest of it, or one asked for."""
    known = main_of(snapshot, ui.mode)
    return not known.failure and (known.at is None or known.free_at is None
                                  or (ui.asked_at or 0) > known.at)


def collect(pollers, inbox, mode, patience=None, progress=None, seconds=SILENCE_SECONDS):
    """The Snapshot once every source of a mode has answered, for outputs that are made just once.

    Replies younger than `patience` serve; by default those that a monitor would not renew yet.
    `progress(snapshot)` hears of each step. Silence of so many seconds ends the wait.
    """
    snapshot = Snapshot()
    for poller in pollers if patience is not None else ():
        poller.ask_now(time.time(), patience)
    serve(pollers, mode)
    while not is_settled(snapshot, mode):
        try:
            snapshot = absorb(snapshot, inbox.get(timeout=seconds))
        except queue.Empty:
            source = 'console' if mode == 'console' else 'usage'
            return absorb(snapshot, Reading(source, time.time(), failure=Failure('timeout')))
        if progress:
            progress(snapshot)
    return snapshot


def is_settled(snapshot, mode):
    """Whether nothing more is to come: what is still being asked for has no next time."""
    def came(known):
        return bool(known.failure or known.next_at is not None)
    if mode == 'console':
        return came(snapshot.console)
    profile, pace = snapshot.profile, snapshot.pace_maker
    return bool((pace.at or pace.failure) and came(usage_of(snapshot)) and (
        usage_of(snapshot).failure or profile.value or profile.failure))


# ---- 14. Demo ----------------------------------------------------------------------------------
# Invented replies and rows, which go the way of real ones: all is seen without an account, and
# nothing is modelled twice.

def demo_usage(now):
    """A usage reply for an invented account, whose percents rise and begin anew."""
    def window(seconds, pace):
        return {'utilization': now / pace % 101, 'resets_at': now + seconds - now % seconds}
    fable = {'kind': 'weekly_scoped', 'group': 'weekly', 'percent': int(now / 11 % 101),
             'resets_at': now + 7 * DAY - now % (7 * DAY),
             'scope': {'model': {'display_name': 'Fable'}}}
    return {'five_hour': window(5 * HOUR, 3), 'seven_day': window(7 * DAY, 40), 'limits': [fable],
            'extra_usage': {'is_enabled': True, 'monthly_limit': 2000, 'currency': 'EUR',
                            'used_credits': int(now / 7 % 2000)}}


def demo_profile():
    """A profile reply for the same account."""
    return {'account': {'full_name': 'Ada Example', 'email': 'ada@example.com'},
            'organization': {'name': 'Example Engines', 'organization_type': 'claude_enterprise',
                             'rate_limit_tier': 'default_claude_max_5x'}}


def demo_pace_maker(now):
    """The config and the rows of an invented Pace Maker, which throttles above its target."""
    def rows(names, *values):
        return [dict(zip(names.split(), row)) for row in values]
    start, beat, used = now - now % (5 * HOUR), int(now) % 10, now / 3 % 101
    over = used > adaptive_target(start + 5 * HOUR, 5 * HOUR, {}, now)
    return {'hook_model': 'sonnet+opus->haiku', 'langfuse_enabled': True}, {
        'api_cache': rows('timestamp five_hour_util five_hour_resets_at seven_day_util '
                          'seven_day_resets_at', (now + 1, used, start + 5 * HOUR, 34, None)),
        'pacing_decisions': rows('timestamp should_throttle delay_seconds',
                                 (now, int(over), 45 * over)),
        'blockage_events': rows('timestamp category', *((now - 60 * index, category) for
                                index, category in enumerate(list(BLOCKAGES)[:4] * 2))),
        'langfuse_metrics': rows('at sessions traces spans', (now, 3, 41, 388)),
        'secrets_metrics': rows('at count', (now, 7)),
        'activity_events': rows('at code status', (now - beat, 'IV', 'green'),
                                (now - 3, 'TD', 'red'), (now - 5, 'CC', 'blue')),
        'governance_events': rows(
            'at type project words',
            (now - beat, 'IV', 'engine', 'The edit does what was announced: accepted.'),
            (now - 700, 'TD', 'engine', 'No failing test was seen before the change. Write one '
                                        'first, then run it again.')),
        'agents': rows('last_seen agent_id session_id role subagent_type workspace_root '
                       'start_time ended_at',
                       (now, 'a1', 's1', 'root', 'agent', '/home/ada/engine', now - 900, None),
                       (now, 'a2', 's1', 'sub', 'test-runner', '/home/ada/engine', now, None),
                       (now - 400, 'b1', 's2', 'root', 'agent', '/home/ada/notes', now, None)),
        'agent_actions': rows('id agent_id tool_name', (6, 'a1', 'Edit'), (5, 'a1', 'Read'),
                              (4, 'a1', 'Bash'), (3, 'a2', 'Bash'), (2, 'b1', 'Grep'))}


def demo_console(now):
    """The Console of an invented organization, whose days cost more and less."""
    from decimal import Decimal
    days, buckets = {}, []
    for day in days_of_month(now):
        cents = 120 + int(day[-2:]) * 7919 % 350
        rows = [{'actor': {'type': 'user_actor', 'email_address': name + '@example.com'},
                 'model_breakdown': [{'model': model, 'estimated_cost': {
                     'amount': Decimal(cents * share) / 10, 'currency': 'USD'}}]}
                for name, model, share in (('ada', 'claude-opus', 10), ('ben', 'claude-sonnet', 7),
                                           ('cleo', 'claude-opus', 4))]
        days[day] = parse_claude_code(rows)
        buckets.append({'starting_at': day, 'results': [
            {'amount': str(cents * 40), 'currency': 'USD', 'workspace_id': 'w1'},
            {'amount': str(cents * 9), 'currency': 'USD', 'workspace_id': None}]})
    return reckon_console('Example Engines', 'ada@example.com', days, parse_cost_report(buckets),
                          {'w1': 'Production'}, {}, now)


class DemoPoller(Poller):
    """Invented replies through the real parsers: no network, no credentials, no urllib3."""

    def __init__(self, inbox, clock, mode):
        super().__init__(inbox, clock)
        self.mode = self.source = mode

    def once(self):
        now = self.clock()
        self.tell('profile', parse_profile(demo_profile()), None, now + DAY, now)
        self.tell('usage', parse_usage(demo_usage(now)), None, now + 1, now)
        config, tables = demo_pace_maker(now)
        self.tell('pace_maker', parse_pace_maker(parse_pace_config(config), tables, ((now,),),
                                                 '2.34', (), now))
        self.tell('console', demo_console(now), None, now + CONSOLE_SECONDS, now)
        return 1

    def look(self):
        self.once()


# ---- 15. Command line --------------------------------------------------------------------------
# Options, and a function for each output: live, once, JSON, metrics, check, doctor, status line.

EXIT_CODES = '''exit codes:
  0    numbers were shown; the live view was ended with q or Ctrl+C
  1    there was nothing to show, the reason is on stderr
  2    bad arguments
  3    --check: a limit is used to that percent or more
  130  what prints once was ended with Ctrl+C
  128 + number: the live view was ended by that signal'''


def interval(words):
    """--interval in seconds. ArgumentTypeError for no number, too small or too large a one."""
    try:
        seconds = float(words)
    except ValueError:
        seconds = 0
    if not INTERVAL_LEAST <= seconds <= DAY:
        raise argparse.ArgumentTypeError('must be from %d to %d seconds' % (
            INTERVAL_LEAST, DAY))
    return seconds


def percent(words):
    """--check's percent. ArgumentTypeError unless it is a number from 0 to 100."""
    try:
        value = float(words)
    except ValueError:
        value = -1
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError('must be from 0 to 100')
    return value


def api_url(words):
    """--api-url. ArgumentTypeError unless it is plain and https, or http on loopback."""
    try:
        url = parse_url(words)
    except ValueError:
        url = None
    if not url or not (url.secure or LOOPBACK.fullmatch(url.host)):
        raise argparse.ArgumentTypeError(       # the text stays unsaid, it may hold a password
            'must be https://host[:port][/path], or http on loopback (it is CLAUDE_USAGE_API_URL '
            'where that is set)')
    return words


# Every option, as argparse takes it.
OPTIONS = {
    '--mode': {'choices': ('auto',) + MODES, 'default': 'auto',
               'help': 'what to show (auto: what the credentials found are for)'},
    '--once': {'action': 'store_const', 'dest': 'output', 'const': 'once',
               'help': 'print one frame as text and end'},
    '--json': {'action': 'store_const', 'dest': 'output', 'const': 'json',
               'help': 'print one JSON document and end'},
    '--check': {'type': percent, 'metavar': 'PERCENT',
                'help': 'end with 3 if a limit is used to that or more, with 0 if none is'},
    '--metrics': {'action': 'store_const', 'dest': 'output', 'const': 'metrics',
                  'help': 'print the numbers for Prometheus and end'},
    '--statusline': {'action': 'store_const', 'dest': 'output', 'const': 'statusline',
                     'help': "the command for Claude Code's statusLine setting"},
    '--doctor': {'action': 'store_const', 'dest': 'output', 'const': 'doctor',
                 'help': 'tell what was found, what was not, and what to do'},
    '--demo': {'action': 'store_true', 'help': 'show an invented account, without network'},
    '--user': {'metavar': 'EMAIL', 'default': os.environ.get('CLAUDE_USAGE_EMAIL', ''),
               'help': 'who you are in the Console (default: $CLAUDE_USAGE_EMAIL)'},
    '--interval': {'type': interval, 'metavar': 'SECONDS',
                   'help': 'between two requests, always, 10 or more (default: 30 to 300 as usage '
                           'moves; Console: 120)'},
    '--api-url': {'type': api_url, 'metavar': 'URL',
                  'help': 'where to ask, https or http on loopback; it gets the token '
                          '(default: $CLAUDE_USAGE_API_URL, else %s)' % API_URL},
    '--ascii': {'action': 'store_true', 'help': 'use ASCII characters only'},
    '--color': {'choices': ('auto', 'always', 'never'), 'default': 'auto',
                'help': 'auto: on a terminal, unless NO_COLOR is set'},
    '--version': {'action': 'version', 'version': 'claude-usage ' + __version__},
}


class Parser(argparse.ArgumentParser):
    """argparse's parser, which prints as all else is printed."""

    def _print_message(self, message, file=None):
        emit(message, file or sys.stderr)


def parse_arguments(argv):
    """The options as argparse gives them; exits with 2 for bad ones."""
    keys = ''.join('\n  %-11s%s' % (key.shown, key.help) for key in KEYS)
    width = terminal_size(fallback=(80, 24))[0] - 2     # unless told, argparse imports a lot
    parser = Parser(
        prog='claude-usage', description='Claude Code limits and the Console\'s costs, live.',
        epilog='keys:%s\n\n%s\n\n%s' % (keys, EXIT_CODES, HELP[-1]),
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, width=width))
    outputs = parser.add_mutually_exclusive_group()
    for name, how in OPTIONS.items():
        is_output = how.get('dest') == 'output' or name == '--check'
        (outputs if is_output else parser).add_argument(name, **how)
    options = parser.parse_args(argv)
    if options.output != 'statusline' and not options.api_url:      # which asks nobody
        try:
            options.api_url = api_url(os.environ.get('CLAUDE_USAGE_API_URL') or API_URL)
        except argparse.ArgumentTypeError as error:
            parser.error('argument --api-url: %s' % error)
    if options.demo and options.output in ('doctor', 'statusline'):
        parser.error('--%s is about your account, --demo about an invented one' % options.output)
    return options


def emit(output, stream):
    """Write text in the encoding of the stream, and what that lacks as question marks.

    A stream that is closed takes nothing, nor does a pipe whose reader has seen enough. OSError
    where it cannot be written for another reason.
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
    """Whether to use colours."""
    if choice == 'auto':
        return not os.environ.get('NO_COLOR') and is_terminal(sys.stdout)
    return choice == 'always'


def colour_depth(choice):
    """How many colours printed text has: 256, 8 or 0."""
    if not wants_colour(choice):
        return 0
    return 256 if '256' in os.environ.get('TERM', '') or os.environ.get('COLORTERM') else 8


def show_live(options, pollers, inbox, ui):
    """Run the dashboard until it is ended."""
    with Screen(wants_colour(options.color)) as screen:
        return run(screen, pollers, inbox, ui)


def show_once(options, pollers, inbox, ui):
    """Print one frame, as high as what there is."""
    snapshot = collect(pollers, inbox, ui.mode, FRESH_SECONDS, tell_progress)
    if has_numbers(snapshot, ui.mode):
        size = terminal_size(fallback=(80, 500))
        frame = compose(snapshot, ui._replace(hint=False), size, time.time())
        emit(as_text(frame.lines, colour_depth(options.color)), sys.stdout)
    return verdict(snapshot, ui.mode)


def show_document(write, options, pollers, inbox, ui):
    """Print what `write(snapshot, now, mode)` makes of the snapshot."""
    snapshot = collect(pollers, inbox, ui.mode, None, tell_progress)
    emit(write(snapshot, time.time(), ui.mode), sys.stdout)
    warn(snapshot.store.value)
    return verdict(snapshot, ui.mode)


def warn(words):
    """Say something on stderr, if there is something to say."""
    if words:
        emit('claude-usage: %s\n' % words, sys.stderr)


def show_check(options, pollers, inbox, ui):
    """Tell by the exit code whether a limit is used to --check's percent or more."""
    snapshot = collect(pollers, inbox, 'code', FRESH_SECONDS)
    known, now = usage_of(snapshot), time.time()
    usage, at, reason = known.value, known.at, NO_WINDOWS[False]
    code, words = over(usage, at, options.check, now)
    emit(words, sys.stdout)
    if usage and usage.limits:
        reason = 'The last numbers are %s old.' % countdown(now - (usage.rest_at or at))
    elif known.failure:
        reason = message(known.failure, known.next_at, now)
    warn(snapshot.store.value)
    warn(reason if code == 1 else '')
    return code


def show_doctor(options, pollers, inbox, ui):
    """Tell what was found; ask the service for usage, and the Console for its name."""
    now, url = time.time(), options.api_url
    snapshot = collect(pollers, inbox, 'code', 0)
    replies = list(find_replies(snapshot, pollers[0].took, time.time()))
    console = find_console(url, os.environ, now)
    lines = as_findings([
        *find_versions(), *find_logins(os.environ, now), *find_admin_keys(os.environ),
        *find_network(url, os.environ), *replies, console,
        find_store(pollers[0].store, snapshot.store.value, now), find_terminal()])
    emit(as_text(map(ascii_line, lines) if ui.ascii else lines, colour_depth(options.color)),
         sys.stdout)
    return 0 if replies[0].is_good or console.is_good else 1


def show_statusline(options):
    """One line for Claude Code's prompt, which nothing may break: it always ends with 0."""
    now, usage = time.time(), None
    try:
        document = parse_json(b'' if is_terminal(sys.stdin) else sys.stdin.buffer.read(BODY_MOST))
    except (SourceError, OSError, AttributeError):      # AttributeError: there is no stdin
        document = None
    windows, model = parse_status(document)
    try:
        usage = feed_store(Store(store_folder(os.environ)),
                           account_key(known_identity(os.environ), os.environ), windows, now)
    except (SourceError, OSError):
        pass
    told = parse_usage(windows)
    usage = completed(unexpired(usage, now), told) if usage else told
    width = terminal_size(fallback=(WIDTH_MOST, 1))[0]
    if options.ascii or not unicode_terminal():
        line = ascii_line(statusline(usage, model, now, width, '||'))
    else:
        line = statusline(usage, model, now, width)
    is_plain = options.color == 'never' or options.color == 'auto' and os.environ.get('NO_COLOR')
    try:
        emit(as_text([line], 0 if is_plain else colour_depth('always')), sys.stdout)
    except OSError:
        pass                            # nobody reads it
    return 0


def tell_progress(snapshot):
    """Tell on stderr, if that is a terminal, how much of the Console's month has come."""
    console = snapshot.console.value
    if console and sys.stderr.isatty():
        done = snapshot.console.next_at or snapshot.console.failure
        emit('\r\x1b[K' if done else '\rclaude-usage: day %d of %d' % (
            console.days_done, console.days), sys.stderr)


def verdict(snapshot, mode):
    """The exit code; where there are no numbers, the reason goes to stderr."""
    if has_numbers(snapshot, mode):
        return 0
    known, reason = main_of(snapshot, mode), NO_WINDOWS[False]
    if known.failure:
        reason = message(known.failure, known.next_at, time.time(), words_of(mode))
    warn(reason)
    return 1


OUTPUTS = {'live': show_live, 'once': show_once, 'check': show_check, 'doctor': show_doctor,
           'json': functools.partial(show_document, as_json),
           'metrics': functools.partial(show_document, as_metrics)}


def pollers_for(options, inbox, store):
    """The pollers of both modes."""
    if options.demo:
        return [DemoPoller(inbox, time.time, mode) for mode in MODES]
    pace_folder = os.path.expanduser(PACE_FOLDER)
    return [CodePoller(inbox, time.time, Api(options.api_url), os.environ, store,
                       options.interval, pace_folder),
            PacePoller(inbox, time.time, pace_folder),
            ConsolePoller(inbox, time.time, options.api_url, os.environ, store, options.user,
                          options.interval)]


def show(options):
    """Make what an output needs, and show it; return the exit code."""
    mode, origin = options.mode, ''
    if mode == 'auto':
        mode = 'code' if options.demo else detect_mode(os.environ, time.time())
    if options.demo:
        origin = 'demo'
    elif options.api_url.rstrip('/') != API_URL:
        origin = parse_url(options.api_url).place
    plain = options.ascii or not unicode_terminal()
    modes = MODES if options.demo else modes_with_credentials(os.environ, time.time())
    inbox, ui = queue.Queue(), Ui(
        origin, mode, modes, icons=not plain and os.environ.get('TERM') != 'linux', ascii=plain,
        interval=options.interval)
    name = options.output or ('live' if can_paint() else 'once')
    output = OUTPUTS['check' if options.check is not None else name]
    store = Store(store_folder(os.environ))
    pollers = pollers_for(options, inbox, store)
    try:
        return output(options, pollers, inbox, ui)
    except OSError as error:
        emit('claude-usage: Cannot print: %s.\n' % error.strerror, sys.stderr)
        return 1
    finally:
        for poller in pollers:
            poller.close()
        store.close()


def main(argv=None):
    """Run the program; return its exit code."""
    try:
        options = parse_arguments(argv)
        return show_statusline(options) if options.output == 'statusline' else show(options)
    except KeyboardInterrupt:
        return 130


def start():
    """Run the program and end the process: at once, and not by Python's own way, which would tear
    down what the threads that still wait are using."""
    try:
        code = main()
    except SystemExit as end:           # argparse's
        code = end.code
    os._exit(code or 0)


if __name__ == '__main__':
    start()
