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
from admin import KEY, AdminApi, Organization
from captures import CREDENTIALS, QUIET, TOKEN
from claude_usage import (PLANNED, Known, Moment, Snapshot, Ui, as_text, compose, parse_identity,
                          parse_profile, parse_usage)
from conftest import PROFILE, PROGRAM, USAGE, asked, log_in
from server import Reply
from terminal import COMMAND, Terminal, command

HANG = Reply(hang=True)
LATIN = Reply(body={'five_hour': {'utilization': 12.0, 'resets_at': None}})


def resetting_in(seconds, document):
    """A captured reply whose resets lie so many seconds ahead, written as in the capture."""
    at = time.strftime('%Y-%m-%dT%H:%M:%S.282668+00:00', time.gmtime(time.time() + seconds))
    return json.loads(re.sub(r'\d{4}-\d\d-\d\dT[^"]*', at, json.dumps(document)))


# --- The first frame ---

def test_the_first_frame_does_not_wait_for_the_network(monitor, service):
    service.answer(USAGE, HANG)
    with monitor() as terminal:
        terminal.shows('👤 Jane (jane@example.com)', "🏢 jane@example.com's Organization  MAX",
                       '⚡ Tier: default_claude_max_20x', 'Updated: waiting for the first reply',
                       'Ctrl+C to stop · r refresh · ? help')
        service.wait_for(1, USAGE)
        terminal.send('r')
        terminal.wait_for('Already asking.')
        terminal.quit()


LOOKING = ('┌ Claude Usage · ', 'Looking for a login…', '? help')
DEAD = '''
import builtins, os, threading

def waiting(call):
    def wait(path, *args, **how):
        if str(path).startswith('/dead/'):
            threading.Event().wait()
        return call(path, *args, **how)
    return wait

for module, names in ((os, 'stat lstat open access scandir listdir readlink'), (builtins, 'open')):
    for name in names.split():
        setattr(module, name, waiting(getattr(module, name)))
'''


def test_the_first_frame_does_not_wait_for_a_dead_config_directory(monitor, service):
    """As on a mount whose server does not answer."""
    with monitor(argv=command(DEAD), env={'CLAUDE_CONFIG_DIR': '/dead/claude'}) as terminal:
        terminal.shows(*LOOKING)
        terminal.send('?')
        terminal.shows('┌ Help ', gone=LOOKING[:1])
        terminal.send('?m')
        terminal.shows(*LOOKING[:2])
        terminal.quit()
    assert service.requests == []


MACOS = '''
import sys
real, sys.platform = sys.platform, 'darwin'
import claude_usage
sys.platform = real
'''
SECURITY = '''#!/bin/sh
read -r code line < "$HOME/gate"
printf %s "$line"
exit $code
'''


@pytest.mark.parametrize('answer, env, shown', [
    ('0 ' + json.dumps(CREDENTIALS), {}, ('┌ Claude Code Usage ', '78%')),
    ('44', {'ANTHROPIC_ADMIN_API_KEY': KEY}, ('┌ Console Usage ', 'Acme Corporation'))],
    ids=['login', 'key'])
def test_the_first_frame_does_not_wait_for_the_keychain(monitor, service, home, answer, env,
                                                        shown):
    """The mode follows when it answers, here only then when the test writes to a pipe."""
    AdminApi(service, Organization(time.strftime('%Y-%m-01', time.gmtime()), rows=1))
    (home / '.claude' / '.credentials.json').unlink()
    (home / 'security').write_text(SECURITY)
    (home / 'security').chmod(0o755)
    os.mkfifo(str(home / 'gate'))
    path = '%s:%s' % (home, os.environ['PATH'])
    with open(os.open(str(home / 'gate'), os.O_RDWR), 'r+b', buffering=0) as gate, monitor(
            argv=command(MACOS, KEYCHAIN_SECONDS=60), env=dict(env, PATH=path)) as terminal:
        terminal.shows(*LOOKING)
        assert service.requests == []
        gate.write((answer + '\n').encode() * 50)
        terminal.shows(*shown, gone=LOOKING[:2])
        terminal.quit()


# --- Replies ---

SHOWN = {
    'of 2025': (captures.USAGE_2025, ['5-Hour Usage:  ', ' 78% ', '⏰ Resets in: 3h 45m (']),
    'not started': (captures.USAGE_NOT_STARTED, [
        '5-Hour Usage:  ░', ' 0% ', '⏰ Window not started', '7-Day Sonnet:  █', ' 2% ']),
    'credits': (captures.USAGE_SPEND, ['7-Day Fable:', ' 5% ', 'Usage credits: █', ' 25% ',
                                       'USD 12.34 of 50.00']),
    'only credits': (captures.USAGE_ENTERPRISE, [
        'Usage credits: █', ' 38% ', 'EUR 7.63 of 20.00', 'No usage windows, only']),
    'nothing': ({}, ['This account has no usage limits.']),
}


def test_captured_replies(monitor, service):
    """One after the other, as often as the budget allows."""
    service.answer(USAGE, *[Reply(body=resetting_in(3 * 3600 + 45 * 60 + 40, reply))
                            for reply, _ in SHOWN.values()])
    with monitor(size=(80, 30)) as terminal:
        for count, (_, texts) in enumerate(SHOWN.values()):
            if count:
                terminal.send('r')
            terminal.shows('👤 Jane (jane@example.com)', '🏢 Example Corp  ENTERPRISE',
                           'Updated: ', *texts, gone=('Omelette', 'waiting'))
        terminal.send('r')
        terminal.shows('Too soon, refresh possible at ', *texts)
    assert (asked(service), asked(service, PROFILE)) == (5, 1)


def test_the_file_alone(monitor, service, tmp_path):
    """As it is copied to a server, with a reply whose reset has passed."""
    shutil.copy(str(PROGRAM), str(tmp_path))
    service.answer(USAGE, Reply(body=captures.USAGE_2025))
    with monitor(size=(47, 20), argv=[sys.executable, PROGRAM.name], cwd=tmp_path) as terminal:
        terminal.shows('5-Hour Usage:', '78%', '⏰ Reset due')
        terminal.quit()


FAILURES = {
    'unauthorized': (Reply(401, captures.ERROR_401), 'Token refused. Run `claude` to refresh.'),
    'forbidden_scope': (Reply(403, captures.ERROR_403_SCOPE), 'This token cannot read usage.'),
    'rate_limited': (Reply(429, captures.ERROR_429, {'Retry-After': '720'}),
                     'Rate limited. Next try '),
    'echo': (Reply(500, {'error': {'message': 'No \x1b[2J' + TOKEN}}), 'Server error 500, No '),
    'cut': (Reply(body=QUIET, cut=9), 'No connection: the reply was cut off. Next try '),
}


@pytest.mark.parametrize('name', FAILURES)
def test_a_failure_keeps_the_numbers_and_recovers(monitor, home, service, name):
    """By a key where that may be, else by a new token."""
    reply, sentence = FAILURES[name]
    service.answer(USAGE, Reply(body=QUIET), reply, LATIN)
    with monitor() as terminal:
        terminal.wait_for('78%')
        terminal.send('r')
        terminal.shows('⚠ ' + sentence, '78%', '34%', 's ago)')
        if name in ('rate_limited', 'forbidden_scope'):
            terminal.send('r')
            terminal.wait_for('Too soon, refresh possible at ' if name == 'rate_limited'
                              else 'This token cannot read usage. Run `claude`')
            assert asked(service) == 2
            log_in(home, accessToken='new')
        else:
            terminal.send('r')
        terminal.shows('12%', gone=('ago)', '⚠'))


def test_a_failure_from_the_start(monitor, service):
    service.close()
    with monitor() as terminal:
        terminal.shows('jane@example.com', 'Updated: never',
                       '⚠ No connection: connection refused. Next try ')
        terminal.quit()


def test_numbers_come_back_when_claude_has_refreshed_the_token(monitor, home, service):
    log_in(home, expiresAt=int((time.time() + 299) * 1000))
    with monitor() as terminal:
        terminal.wait_for('⚠ Token expired. Run `claude` to refresh.')
        assert service.requests == []
        log_in(home)
        terminal.shows('78%', gone=('expired',))


def test_hostile_names(monitor, service):
    hostile = '\x1b]0;pwned\x07\x1b[2J\u202e' + 'wide 田中 e\u0301\u0301\u0301\r\n' * 999
    service.answer(PROFILE, Reply(body={
        'account': {'full_name': hostile, 'email': hostile},
        'organization': {'name': hostile, 'rate_limit_tier': hostile}}))
    with monitor(size=(60, 20)) as terminal:
        terminal.shows('78%', 'wide 田中')
        terminal.wait_for(lambda t: all(t.lines()[row][-1:] == '│' for row in range(1, 9)))
        assert terminal.screen.title == ''
        assert b'\x1b]' not in terminal.output and b'pwned' not in terminal.output
        assert '\u202e'.encode() not in terminal.output


# --- Keys ---

def test_keys(monitor, service):
    """Help, a list that scrolls, and keys that do nothing."""
    windows = {'window_%02d' % n: {'utilization': n, 'resets_at': None} for n in range(1, 21)}
    service.answer(USAGE, Reply(body=windows))
    with monitor(size=(60, 10)) as terminal:
        terminal.shows('Window 01:')
        down = terminal.wait_for(lambda t: re.search(r'↓ (\d+) more', t.text()))
        terminal.settle()
        before = terminal.text()
        for keys in ('\x1b[24~', '\x00', 'xyzé', '\x1b[200~', '\r\n', '\x04'):
            terminal.send(keys)
        for close in ('?', '\x1b'):
            terminal.send('?')
            terminal.shows('┌ Help ', 'q, Ctrl+C', gone=('Window',))
            terminal.send(close)
            terminal.shows('┌ Claude Code Usage ', 'Window 01:', gone=('Help',))
        terminal.wait_for(lambda t: t.text() == before)
        for key, first in (('\x1bOB', '02'), ('\x1bOB', '03'), ('\x1bOA', '02')):
            terminal.send(key)
            terminal.wait_for(lambda t: re.search(r'│ Window (\d+)', t.text()).group(1) == first)
        terminal.shows('↑ 1 more', '↓ %d more' % (int(down.group(1)) - 1))
        terminal.send('\x1b[6~' * 20)
        terminal.shows('Window 20:', gone='↓')
        terminal.send('\x1b[5~' * 20)
        terminal.shows('Window 01:', gone='↑')


# --- Ends ---

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


@pytest.mark.parametrize('name, reply, shown', [
    (name, Reply(body=QUIET), '78%') for name in ENDS] + [
    (name, HANG, 'waiting') for name in ('Ctrl+C', 'SIGTERM')])
def test_each_end_gives_the_terminal_back(monitor, service, name, reply, shown):
    end, code = ENDS[name]
    service.answer(USAGE, reply)
    with monitor() as terminal:
        terminal.wait_for(shown)
        service.wait_for(1, USAGE)
        assert terminal.alternate() and terminal.settings() != terminal.settings_before
        end(terminal)
        assert terminal.exit_code(timeout=10) == code, 'it waits for no reply'
        assert terminal.is_given_back()


# A terminal that does not take output again, whatever one does.
HOPELESS = command('import termios; termios.tcflow = termios.tcflush = lambda *_: None')
STUCK_ENDS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)]


def end_with(terminal, number, code):
    """End the program with a signal, or with SIGINT again and again."""
    terminal.signal(number)
    if number == signal.SIGINT:
        with contextlib.suppress(AssertionError, ProcessLookupError):
            for _ in range(100):
                if not terminal.is_silent(0.1):
                    break
                terminal.signal(number)
    assert terminal.exit_code(timeout=10) == code


@pytest.mark.parametrize('argv', [COMMAND, HOPELESS], ids=['freed', 'hopeless'])
@pytest.mark.parametrize('number, code', STUCK_ENDS)
@pytest.mark.parametrize('how', [Terminal.stop, Terminal.stall], ids=['Ctrl+S', 'stalled'])
def test_signals_end_it_in_a_terminal_that_takes_no_output(monitor, how, number, code, argv):
    with monitor('--demo', argv=argv) as terminal:
        terminal.wait_for('5-Hour Usage')
        terminal.settle()
        how(terminal)
        terminal.send('?')              # a frame that it cannot write
        terminal.poll_for(terminal.is_heard)
        end_with(terminal, number, code)
        terminal.recover()
        assert terminal.settings() == terminal.settings_before
        assert argv == HOPELESS or terminal.is_given_back()


@pytest.mark.parametrize('argv', [COMMAND, HOPELESS], ids=['freed', 'hopeless'])
def test_its_key_ends_it_in_a_terminal_that_takes_no_output(monitor, service, argv):
    with monitor(argv=argv) as terminal:
        terminal.shows('78%', 'Example Corp')
        terminal.settle()
        terminal.stop()
        terminal.send('q')
        assert terminal.exit_code(timeout=10) == 0
        assert terminal.settings() == terminal.settings_before
        assert argv == HOPELESS or terminal.is_given_back()


# Waits until the terminal is stopped, and makes a directory when it is about to write there.
GATE = ['sh', '-c', 'echo ready; read x; exec "$@"', 'sh']
MARKED = command('''
import claude_usage, os

def marked(call):
    def mark(*args):
        os.makedirs(os.environ['HOME'] + '/writes', exist_ok=True)
        return call(*args)
    return mark

for name in ('takes_output', 'emit'):
    setattr(claude_usage, name, marked(getattr(claude_usage, name)))
''')


@pytest.mark.parametrize('arguments, number, code', [
    ([], signal.SIGTERM, 143), ([], signal.SIGINT, 0),
    (['--once'], signal.SIGTERM, -signal.SIGTERM), (['--once'], signal.SIGINT, 130),
    (['--watch', '--alert', '5'], signal.SIGTERM, 0)], ids=str)
def test_a_terminal_that_takes_no_output_from_the_start(monitor, home, arguments, number, code):
    with monitor('--demo', *arguments, argv=MARKED, before=GATE) as terminal:
        terminal.wait_for('ready')
        terminal.stop()
        terminal.send('\n')
        terminal.poll_for((home / 'writes').exists)
        end_with(terminal, number, code)
        assert terminal.is_given_back()


@pytest.mark.parametrize('before', [
    (), ('sh', '-c', 'trap "" HUP; exec "$@"', 'sh')], ids=['plain', 'nohup'])
def test_a_terminal_that_goes_away_ends_the_program(monitor, before):
    with monitor(before=before) as terminal:
        terminal.wait_for('78%')
        terminal.hang_up()
        assert terminal.exit_code() == 129


def test_suspended_and_resumed(monitor):
    with monitor() as terminal:
        terminal.shows('78%', 'Example Corp')
        for _ in range(2):
            terminal.settle()            # while curses writes, it drops a Ctrl+Z
            terminal.send('\x1a')
            terminal.wait_for(lambda t: t.state == 'stopped')
            assert terminal.is_given_back()
            terminal.signal(signal.SIGCONT)
            terminal.wait_for(lambda t: t.state == 'continued' and t.alternate())
            terminal.send('?')
            terminal.wait_for('┌ Help ')
            terminal.send('?')
            terminal.wait_for('78%')
        terminal.quit()


# --- Sizes, and kinds of terminals ---

def picture(terminal, service, **ui):
    """What compose makes of the same replies, at the time that the terminal shows."""
    shown = terminal.wait_for(lambda t: re.search('Updated: (..:..:..)', t.text())).group(1)
    day = time.strftime('%Y-%m-%d ', time.localtime())
    at = time.mktime(time.strptime(day + shown, '%Y-%m-%d %H:%M:%S'))
    values = {'identity': parse_identity(captures.CLAUDE_JSON),
              'profile': parse_profile(captures.PROFILE), 'usage': parse_usage(QUIET, at)}
    snapshot = Snapshot({('', source): Known(value, at, None, PLANNED, at + 30)
                         for source, value in values.items()})

    def of_size(*size):
        frame = compose(snapshot, Ui(service.url[len('http://'):], 'code', **ui), size,
                        Moment(at + 1))
        return as_text(frame.lines, 0).splitlines()
    return of_size


def rows(terminal):
    return terminal.text().rstrip('\n').splitlines()


SIZES = ((24, 8), (10, 3), (1, 1), (200, 80), (80, 24), (40, 12), (2, 2), (16, 3), (47, 14))


@pytest.mark.parametrize('first', [(1, 1), (10, 3), (132, 50)])
def test_any_size_at_any_moment(monitor, service, first):
    with monitor(size=first, env={'COLUMNS': '80', 'LINES': '24'}) as terminal:
        service.wait_for(1, PROFILE)
        terminal.resize(80, 24)
        terminal.shows('78%', 'Example Corp')
        expected = picture(terminal, service)
        for size in SIZES:
            terminal.resize(*size)
            terminal.wait_for(lambda terminal: rows(terminal) == expected(*size))
        for size in SIZES + (first,):
            terminal.resize(*size)
        terminal.wait_for(lambda terminal: rows(terminal) == expected(*first))
        terminal.quit()


@pytest.mark.parametrize('term', ['xterm', 'screen', 'linux', 'vt100', 'no-such-terminal', None])
def test_each_kind_of_terminal(monitor, service, term):
    before = () if term else ('env', '-u', 'TERM')
    with monitor(env={'TERM': term or ''}, before=before) as terminal:
        terminal.shows('78%', 'Example Corp')
        expected = picture(terminal, service, icons=term != 'linux')
        terminal.wait_for(lambda terminal: rows(terminal) == expected(80, 24))
        terminal.send('?')
        terminal.wait_for('┌ Help ')
        terminal.send('?')
        terminal.resize(50, 12)
        terminal.wait_for(lambda terminal: rows(terminal) == expected(50, 12))
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert terminal.settings() == terminal.settings_before


@pytest.mark.parametrize('before, arguments, env', [
    ([], [], {'TERM': 'dumb'}), ([], ['--once'], {}),
    (['sh', '-c', 'exec "$@" </dev/null', 'sh'], [], {})], ids=['dumb', 'once', 'no stdin'])
def test_one_frame_where_nothing_can_be_painted(monitor, before, arguments, env):
    with monitor(*arguments, size=(60, 20), before=before, env=env) as terminal:
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
    ([], {}, {'brown', 'green', 'ff8700'}), ([], {'TERM': 'xterm'}, {'brown', 'green'}),
    ([], {'TERM': 'vt100'}, set()), ([], {'NO_COLOR': '1'}, set()),
    (['--color', 'always'], {'NO_COLOR': '1'}, {'ff8700'}),
    (['--once'], {}, {'ff8700'}), (['--once'], {'NO_COLOR': '1'}, set())],
    ids=['256', '8', 'vt100', 'NO_COLOR', 'always', 'once', 'once NO_COLOR'])
def test_colours(monitor, service, arguments, env, expected):
    usage = dict(QUIET, seven_day_opus={'utilization': 85.0, 'resets_at': None})
    service.answer(USAGE, Reply(body=usage))
    with monitor(*arguments, env=env) as terminal:
        terminal.shows('78%', '34%', '85%')
        assert expected <= colours(terminal)
        if not expected:
            assert colours(terminal) == {'default'}


@pytest.mark.parametrize('arguments, env', [([], {'LC_ALL': 'C'}), (['--ascii'], {})])
def test_ascii(monitor, arguments, env):
    with monitor(*arguments, env=env) as terminal:
        terminal.shows('+ Claude Code Usage - ', '5-Hour Usage:  ####', '78%', '| Jane (')
        terminal.send('?')
        terminal.shows('q, Ctrl+C', 'Esc')
        assert max(terminal.text()) < '\x7f'
        assert max(terminal.output) < 0x80


# --- The rest ---

def test_an_unchanged_screen_sends_nothing(monitor):
    """Over two ticks of the clock."""
    with monitor() as terminal:
        terminal.shows('78%', 'Example Corp')
        terminal.settle()
        assert terminal.is_silent(2.1)


def test_demo(monitor, service):
    service.answer(USAGE, HANG)
    with monitor('--demo', env={'HOME': '/nonexistent'}) as terminal:
        terminal.shows('┌ ada@example.com · demo ─', 'Ada Example', '7-Day Fable:')
        before = terminal.text()
        terminal.wait_for(lambda terminal: terminal.text() != before)
        terminal.quit()
    assert service.requests == []
