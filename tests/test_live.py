"""The live view: the whole program in a real terminal, against a real server."""
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time

import pytest

import captures
from captures import CREDENTIALS, TOKEN
from claude_usage import (Known, Snapshot, Ui, as_text, compose, parse_identity, parse_login,
                          parse_profile, parse_usage)
from conftest import PROGRAM
from server import Reply
from terminal import COMMAND, Terminal

USAGE, PROFILE = '/api/oauth/usage', '/api/oauth/profile'
QUIET = {'five_hour': {'utilization': 78.0, 'resets_at': None},
         'seven_day': {'utilization': 34.0, 'resets_at': None}}
"""A reply whose picture does not change while time passes."""
HANG = Reply(hang=True)
LATIN = {'five_hour': {'utilization': 12.0, 'resets_at': None}}


def resetting_in(seconds, document):
    """A captured reply whose resets lie so many seconds ahead, written as in the capture."""
    at = time.strftime('%Y-%m-%dT%H:%M:%S.282668+00:00', time.gmtime(time.time() + seconds))
    return json.loads(re.sub(r'\d{4}-\d\d-\d\dT[^"]*', at, json.dumps(document)))


@pytest.fixture
def live(server, home):
    """A function that starts the program in a terminal, for a `with`.

    The server answers each `usage` in turn, and the last one from then on. No byte that the
    program sends may tell the token.
    """
    @contextlib.contextmanager
    def start(*usage, size=(80, 24), arguments=(), env=None, before=()):
        server.answer(USAGE, *[reply if isinstance(reply, Reply) else Reply(body=reply)
                               for reply in usage])
        server.answer(PROFILE, Reply(body=captures.PROFILE))
        argv = list(before) + COMMAND + ['--api-url', server.url] + list(arguments)
        with Terminal(argv, size, dict({'HOME': str(home)}, **env or {})) as terminal:
            yield terminal
        assert b'SECRET' not in terminal.output
    return start


def store(home, document):
    """Replace the credentials as Claude Code does."""
    new = home / '.claude' / 'new'
    new.write_text(document if isinstance(document, str) else json.dumps(document))
    os.replace(str(new), str(home / '.claude' / '.credentials.json'))


def login(**changes):
    return {'claudeAiOauth': dict(CREDENTIALS['claudeAiOauth'], **changes)}


def on_screen(terminal, *texts, gone=()):
    """Wait until all the texts are on the screen, and those `gone` are not."""
    def as_wanted(terminal):
        text = terminal.text()
        return all(word in text for word in texts) and not any(word in text for word in gone)
    as_wanted.__name__ = 'on_screen%r, gone=%r' % (texts, gone)
    terminal.wait_for(as_wanted)


def is_silent(terminal, seconds):
    """Whether the program writes nothing for so many seconds."""
    before = terminal.bytes_received
    try:
        terminal.wait_for(lambda terminal: terminal.bytes_received != before, seconds)
    except AssertionError:
        return terminal.state != 'ended'
    return False


def settle(terminal):
    """Wait until the program has nothing more to write."""
    assert any(is_silent(terminal, 0.5) for _ in range(99))


def assert_given_back(terminal):
    """The terminal is as it was."""
    assert terminal.settings() == terminal.settings_before
    assert not terminal.alternate()
    assert not terminal.screen.cursor.hidden


# --- the first frame ---

def test_the_first_frame_does_not_wait_for_the_network(live, server):
    with live(HANG) as terminal:
        on_screen(terminal, '👤 Jane (jane@example.com)', "🏢 jane@example.com's Organization  MAX",
                  '⚡ Tier: default_claude_max_20x', 'Updated: waiting for the first reply',
                  'Ctrl+C to stop · r refresh · ? help')
        server.wait_for(1, USAGE)
        terminal.send('r')
        terminal.wait_for('Already asking.')
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert_given_back(terminal)


@pytest.mark.parametrize('name, text', [
    ('.credentials.json', '{"claudeAiOauth": {"acc'), ('.claude.json', '{"oauthAcc')])
def test_files_that_are_half_written(live, home, name, text):
    path = home / ('.claude/.credentials.json' if 'cred' in name else name)
    whole = path.read_text()
    path.write_text(text)
    with live(QUIET) as terminal:
        terminal.wait_for('Failed to load credentials: not JSON.' if 'cred' in name else '78%')
        path.write_text(whole)
        on_screen(terminal, '78%', 'jane@example.com', gone=('Failed',))


# --- replies ---

SHOWN = {
    'of 2025': (captures.USAGE_2025, ['5-Hour Usage:  ', ' 78% ', '⏰ Resets in: 3h 45m (']),
    'not started': (captures.USAGE_NOT_STARTED, [
        '5-Hour Usage:  ░', ' 0% ', '⏰ Window not started', '7-Day Usage:   █', ' 99% ',
        '7-Day Sonnet:  █', ' 2% ', '⏰ Resets in: 3h 45m (']),
    'of 2026': (captures.USAGE_2026, [
        '5-Hour Usage:  █', ' 11% ', '7-Day Usage:   █', ' 9% ', '7-Day Fable:   █', ' 5% ']),
    'enterprise': (captures.USAGE_ENTERPRISE, [
        'Extra Usage:   █', ' 38% ', 'EUR 7.63 of 20.00', 'No usage windows, only extra usage.']),
    'spend': (captures.USAGE_SPEND, ['7-Day Fable:', 'Extra Usage:   █', ' 25% ',
                                     'USD 12.34 of 50.00']),
    'nothing': ({}, ['This account has no usage limits.']),
}


@pytest.mark.parametrize('name', SHOWN)
def test_each_captured_reply(live, name):
    reply, texts = SHOWN[name]
    with live(resetting_in(3 * 3600 + 45 * 60 + 40, reply), size=(80, 30)) as terminal:
        on_screen(terminal, '👤 Jane Doe (jane@example.com)', '🏢 Example Corp  ENTERPRISE',
                  '⚡ Tier: default_raven_enterprise', 'Updated: ', *texts,
                  gone=('Omelette', 'waiting'))


def test_the_file_alone(live, server, home, tmp_path):
    """As it is copied to a server."""
    shutil.copy(str(PROGRAM), str(tmp_path))
    server.answer(USAGE, Reply(body=captures.USAGE_2025))
    with Terminal([sys.executable, PROGRAM.name, '--api-url', server.url], (47, 20),
                  {'HOME': str(home)}, cwd=tmp_path) as terminal:
        on_screen(terminal, '5-Hour Usage:', '78%')
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert_given_back(terminal)


def test_a_reset_that_has_passed(live):
    with live(captures.USAGE_2025) as terminal:
        on_screen(terminal, '78%', '⏰ Reset due')


FAILURES = {
    'unauthorized': (Reply(401, captures.ERROR_401), 'Token refused. Run `claude` to refresh.'),
    'forbidden_scope': (Reply(403, captures.ERROR_403_SCOPE), 'This token cannot read usage.'),
    'rate_limited': (Reply(429, captures.ERROR_429, {'Retry-After': '720'}),
                     'Rate limited. Next try '),
    'server_error': (Reply(529, captures.ERROR_529), 'Server error 529, Overloaded. Next try '),
    'html': (Reply(body=captures.EDGE_HTML), 'Reply not understood: no JSON. Next try '),
    'cut': (Reply(body=QUIET, cut=9), 'No connection: the reply was cut off. Next try '),
    'echo': (Reply(500, {'error': {'message': 'No \x1b[2J' + TOKEN}}), 'Server error 500, No '),
}


@pytest.mark.parametrize('name', FAILURES)
def test_a_failure_keeps_the_numbers_and_recovers(live, home, server, name):
    """By a key where that may be, else by a new token."""
    reply, sentence = FAILURES[name]
    with live(QUIET, reply, LATIN) as terminal:
        terminal.wait_for('78%')
        terminal.send('r')
        terminal.wait_for('⚠ ' + sentence)
        on_screen(terminal, '78%', '34%', 's ago)')
        if name in ('rate_limited', 'forbidden_scope'):
            terminal.send('r')
            terminal.wait_for('Too soon, refresh possible at ' if name == 'rate_limited'
                              else 'This token cannot read usage. Run `claude`')
            assert len(server.wait_for(2, USAGE)) == 2
            store(home, login(accessToken='new'))
        else:
            terminal.send('r')
        on_screen(terminal, '12%', gone=(sentence, 'ago)', '⚠'))


def test_a_failure_from_the_start(live, server):
    server.close()
    with live(QUIET) as terminal:
        on_screen(terminal, 'jane@example.com', 'Updated: never',
                  '⚠ No connection: connection refused. Next try ')
        terminal.send('q')
        assert terminal.exit_code() == 0


def test_numbers_come_back_when_claude_has_refreshed_the_token(live, home, server):
    store(home, login(expiresAt=int((time.time() + 299) * 1000)))
    with live(QUIET) as terminal:
        terminal.wait_for('⚠ Token expired. Run `claude` to refresh.')
        assert server.requests == []
        store(home, CREDENTIALS)
        on_screen(terminal, '78%', gone=('expired',))


def test_hostile_names(live, server):
    hostile = '\x1b]0;pwned\x07\x1b[2J\u202e' + 'wide 田中 e\u0301\u0301\u0301\r\n' * 999
    with live(QUIET, size=(60, 20)) as terminal:
        server.answer(PROFILE, Reply(body={
            'account': {'full_name': hostile, 'email': hostile},
            'organization': {'name': hostile, 'rate_limit_tier': hostile}}))
        on_screen(terminal, '78%', 'wide 田中')
        terminal.wait_for(lambda t: all(t.lines()[row][-1:] == '│' for row in range(1, 9)))
        assert terminal.screen.title == ''
        assert b'\x1b]' not in terminal.output and b'pwned' not in terminal.output
        assert '\u202e'.encode() not in terminal.output


# --- keys ---

def test_help(live):
    with live(QUIET) as terminal:
        terminal.wait_for('78%')
        for key in ('?', '\x1b'):       # what closes it
            terminal.send('?')
            on_screen(terminal, '┌ Help ', 'q, Ctrl+C', 'PgDn', gone=('78%',))
            terminal.send(key)
            on_screen(terminal, '┌ Claude Code Usage ', '78%', gone=('Help',))


def test_scrolling(live):
    windows = {'window_%02d' % n: {'utilization': n, 'resets_at': None} for n in range(1, 21)}
    with live(windows, size=(60, 10)) as terminal:
        terminal.wait_for('Window 01:')
        down = terminal.wait_for(lambda t: re.search(r'↓ (\d+) more', t.text()))
        for key, first in (('\x1bOB', '02'), ('\x1bOB', '03'), ('\x1bOA', '02')):
            terminal.send(key)
            terminal.wait_for(lambda t: re.search(r'│ Window (\d+)', t.text()).group(1) == first)
        terminal.wait_for('↑ 1 more')
        terminal.wait_for('↓ %d more' % (int(down.group(1)) - 1))
        for _ in range(20):
            terminal.send('\x1b[6~')
        on_screen(terminal, 'Window 20:', gone='↓')
        for _ in range(20):
            terminal.send('\x1b[5~')
        on_screen(terminal, 'Window 01:', gone='↑')


def test_r_asks_within_the_budget(live, server):
    replies = [{'five_hour': {'utilization': used, 'resets_at': None}} for used in range(11, 17)]
    with live(*replies) as terminal:
        terminal.wait_for('11%')
        for used in range(12, 16):
            terminal.send('r')
            terminal.wait_for('%d%%' % used)
        terminal.send('r')
        on_screen(terminal, 'Too soon, refresh possible at ', '15%')
        assert len(server.wait_for(5, USAGE)) == 5
        assert len(server.wait_for(1, PROFILE)) == 1


@pytest.mark.parametrize('keys', ['\x1b[24~', '\x00', 'xyzé', '\x1b[200~', '\t\r\n', '\x04'])
def test_other_keys_do_nothing(live, keys):
    with live(QUIET) as terminal:
        on_screen(terminal, '78%', 'Example Corp')
        settle(terminal)
        before = terminal.text()
        terminal.send(keys)
        terminal.send('??')
        terminal.wait_for(lambda t: t.text() == before)
        terminal.send('q')
        assert terminal.exit_code() == 0


# --- ends ---

def interrupt_often(terminal):
    """As many as it hears before it has ended."""
    with contextlib.suppress(ProcessLookupError):
        for _ in range(30):
            os.kill(terminal.pid, signal.SIGINT)


ENDS = {
    'q': (lambda terminal: terminal.send('q'), 0),
    'Ctrl+C': (lambda terminal: terminal.send('\x03'), 0),
    'a burst of Ctrl+C': (lambda terminal: terminal.send('\x03' * 30), 0),
    'many of SIGINT': (interrupt_often, 0),
    'Ctrl+\\': (lambda terminal: terminal.send('\x1c'), 128 + signal.SIGQUIT),
    'SIGTERM': (lambda terminal: terminal.signal(signal.SIGTERM), 143),
    'SIGHUP': (lambda terminal: terminal.signal(signal.SIGHUP), 129),
}


@pytest.mark.parametrize('name, reply, shown', [(name, QUIET, '78%') for name in ENDS] + [
    (name, HANG, 'waiting') for name in ('q', 'Ctrl+C', 'a burst of Ctrl+C', 'SIGTERM')])
def test_each_end_gives_the_terminal_back(live, server, name, reply, shown):
    end, code = ENDS[name]
    with live(reply) as terminal:
        terminal.wait_for(shown)
        server.wait_for(1, USAGE)
        assert terminal.alternate() and terminal.settings() != terminal.settings_before
        start = time.monotonic()
        end(terminal)
        assert terminal.exit_code() == code
        assert time.monotonic() - start < 5, 'it waits for no reply'
        assert_given_back(terminal)


@pytest.mark.parametrize('before, code', [
    ((), 129), (('sh', '-c', 'trap "" HUP; exec "$@"', 'sh'), 129)], ids=['plain', 'nohup'])
def test_a_terminal_that_goes_away_ends_the_program(live, before, code):
    with live(QUIET, before=before) as terminal:
        terminal.wait_for('78%')
        terminal.hang_up()
        assert terminal.exit_code() == code


def test_suspended_and_resumed(live):
    with live(QUIET) as terminal:
        terminal.wait_for('78%')
        for _ in range(2):
            settle(terminal)            # while curses writes, it drops a Ctrl+Z
            terminal.send('\x1a')
            terminal.wait_for(lambda t: t.state == 'stopped')
            assert_given_back(terminal)
            terminal.signal(signal.SIGCONT)
            terminal.wait_for(lambda t: t.state == 'continued' and t.alternate())
            terminal.send('?')
            terminal.wait_for('┌ Help ')
            terminal.send('?')
            terminal.wait_for('78%')
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert_given_back(terminal)


# --- sizes ---

def picture(terminal, server, **ui):
    """What compose makes of the same replies, at the time that the terminal shows."""
    shown = terminal.wait_for(lambda t: re.search('Updated: (..:..:..)', t.text())).group(1)
    day = time.strftime('%Y-%m-%d ', time.localtime())
    at = time.mktime(time.strptime(day + shown, '%Y-%m-%d %H:%M:%S'))
    snapshot = Snapshot(
        Known(parse_identity(captures.CLAUDE_JSON), at),
        Known(parse_login(CREDENTIALS).account, at),
        Known(parse_profile(captures.PROFILE), at), Known(parse_usage(QUIET), at, None, at + 30))

    def of_size(*size):
        frame = compose(snapshot, Ui(server.url[len('http://'):], **ui), size, at + 1)
        return as_text(frame.lines, 0).splitlines()
    return of_size


SIZES = ((24, 8), (10, 3), (1, 1), (200, 80), (80, 24), (40, 12), (2, 2), (16, 3), (47, 14))


def rows(terminal):
    lines = terminal.lines()
    while lines and not lines[-1]:
        lines.pop()
    return lines


def test_any_size_at_any_moment(live, server):
    with live(QUIET) as terminal:
        on_screen(terminal, '78%', 'Example Corp')
        expected = picture(terminal, server)
        terminal.wait_for(lambda terminal: rows(terminal) == expected(80, 24))
        for size in SIZES:
            terminal.resize(*size)
            terminal.wait_for(lambda terminal: rows(terminal) == expected(*size))
        for size in SIZES + ((132, 50),):
            terminal.resize(*size)
        terminal.wait_for(lambda terminal: rows(terminal) == expected(132, 50))
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert_given_back(terminal)


@pytest.mark.parametrize('size', [(1, 1), (10, 3), (24, 8), (200, 80)])
def test_it_starts_at_any_size(live, server, size):
    with live(QUIET, HANG, size=size, env={'COLUMNS': '80', 'LINES': '24'}) as terminal:
        server.wait_for(1, PROFILE)
        terminal.resize(80, 24)
        on_screen(terminal, '78%', 'Example Corp')
        expected = picture(terminal, server)
        terminal.resize(*size)
        terminal.wait_for(lambda terminal: rows(terminal) == expected(*size))


# --- kinds of terminals ---

@pytest.mark.parametrize('term', ['xterm-256color', 'xterm', 'screen', 'tmux-256color', 'linux',
                                  'vt100', 'no-such-terminal', ''])
def test_each_kind_of_terminal(live, server, term):
    with live(QUIET, env={'TERM': term}) as terminal:
        on_screen(terminal, '78%', 'Example Corp')
        expected = picture(terminal, server, icons=term != 'linux')
        terminal.wait_for(lambda terminal: rows(terminal) == expected(80, 24))
        terminal.send('?')
        terminal.wait_for('┌ Help ')
        terminal.send('?')
        terminal.wait_for(lambda terminal: rows(terminal) == expected(80, 24))
        terminal.resize(50, 12)
        terminal.wait_for(lambda terminal: rows(terminal) == expected(50, 12))
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert terminal.settings() == terminal.settings_before


def test_term_unset(live):
    with live(QUIET, before=['env', '-u', 'TERM']) as terminal:
        terminal.wait_for('78%')
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert_given_back(terminal)


@pytest.mark.parametrize('before, arguments, env', [
    ([], [], {'TERM': 'dumb'}), ([], ['--once'], {}),
    (['sh', '-c', 'exec "$@" </dev/null', 'sh'], [], {})], ids=['dumb', 'once', 'no stdin'])
def test_one_frame_where_nothing_can_be_painted(live, before, arguments, env):
    with live(QUIET, size=(60, 20), before=before, arguments=arguments, env=env) as terminal:
        assert terminal.exit_code() == 0
        lines = terminal.lines()
        assert lines[0].startswith('┌ Claude Code Usage ') and len(lines[0]) == 60
        assert '78%' in terminal.text() and 'Ctrl+C' not in terminal.text()
        assert b'\x1b[?1049h' not in terminal.output


def colours(terminal):
    """The colours of the letters on the screen."""
    return {terminal.attributes(x, y).fg for y, line in enumerate(terminal.lines())
            for x in range(len(line))}


@pytest.mark.parametrize('arguments, env, expected', [
    ([], {}, {'brown', 'green', 'ff8700'}),
    ([], {'TERM': 'xterm'}, {'brown', 'green'}),
    ([], {'TERM': 'vt100'}, set()), ([], {'NO_COLOR': '1'}, set()),
    (['--color', 'never'], {}, set()),
    (['--color', 'always'], {'NO_COLOR': '1'}, {'ff8700'}),
    (['--once'], {}, {'ff8700'}), (['--once'], {'NO_COLOR': '1'}, set())],
    ids=['256', '8', 'vt100', 'NO_COLOR', 'never', 'always', 'once', 'once NO_COLOR'])
def test_colours(live, arguments, env, expected):
    usage = dict(QUIET, seven_day_opus={'utilization': 85.0, 'resets_at': None})
    with live(usage, arguments=arguments, env=env) as terminal:
        on_screen(terminal, '78%', '34%', '85%')
        assert expected <= colours(terminal)
        if not expected:
            assert colours(terminal) == {'default'}


@pytest.mark.parametrize('arguments, env', [([], {'LC_ALL': 'C'}), (['--ascii'], {})])
def test_ascii(live, server, arguments, env):
    with live(QUIET, arguments=arguments, env=env) as terminal:
        on_screen(terminal, '+ Claude Code Usage - ', '5-Hour Usage:  ####', '78%', '| Jane Doe (')
        terminal.send('?')
        on_screen(terminal, 'q, Ctrl+C', 'Esc')
        assert max(terminal.text()) < '\x7f'
        assert max(terminal.output) < 0x80


# --- rest ---

def test_an_unchanged_screen_sends_nothing(live):
    """Over two ticks of the clock and more."""
    with live(QUIET) as terminal:
        on_screen(terminal, '78%', 'Example Corp')
        settle(terminal)
        assert is_silent(terminal, 2.5)


def test_demo(live, server):
    with live(HANG, arguments=['--demo'], env={'HOME': '/nonexistent'}) as terminal:
        on_screen(terminal, '┌ Claude Code Usage · demo ─', 'Ada Example', '7-Day Fable:')
        before = terminal.text()
        terminal.wait_for(lambda terminal: terminal.text() != before)
        terminal.send('q')
        assert terminal.exit_code() == 0
    assert server.requests == []
