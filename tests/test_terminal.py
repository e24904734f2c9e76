"""The tests' own terminal: it shows what a program does, and does to it what users do."""
import os
import signal
import sys

import pytest

from terminal import Terminal

CURSES = [sys.executable, '-c', '''
import curses, sys

def main(screen):
    curses.use_default_colors()
    curses.init_pair(1, 208, -1)
    screen.timeout(100)     # ncurses overlooks a SIGWINCH that comes just before it blocks
    while True:
        screen.erase()
        screen.addstr(0, 0, 'size %dx%d' % screen.getmaxyx()[::-1])
        screen.addstr(1, 0, '\\U0001F464\\U0001F3E2|', curses.color_pair(1) | curses.A_BOLD)
        if screen.getch() == ord('q'):
            return 7

sys.exit(curses.wrapper(main))
''']


def test_curses_program_from_start_to_end():
    with Terminal(CURSES, size=(60, 20)) as terminal:
        terminal.wait_for('size 60x20')
        assert terminal.alternate()
        assert terminal.settings() != terminal.settings_before
        terminal.send('q')
        assert terminal.exit_code() == 7
        assert not terminal.alternate()
        assert terminal.settings() == terminal.settings_before


def test_resize_reaches_program_and_screen():
    with Terminal(CURSES) as terminal:
        terminal.wait_for('size 80x24')
        terminal.resize(132, 7)
        terminal.wait_for('size 132x7')
        assert len(terminal.lines()) == 7


def test_wide_characters_and_colours():
    with Terminal(CURSES) as terminal:
        terminal.wait_for('|')
        assert terminal.lines()[1] == '\U0001F464\U0001F3E2|'
        bar = terminal.attributes(4, 1)
        assert (bar.data, bar.fg, bar.bg, bar.bold) == ('|', 'ff8700', 'default', True)


def test_what_pyte_cannot_do_by_itself():
    with Terminal(['printf', r'-\033[4bx\n\tone\ttwo\033[2Z!']) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.lines()[:2] == ['-----x', '        !ne     two']
    scrolled = r'1\n2\n3\n4\n5\033[2;4r\033[4;2H\033[2S.\033[T!'
    with Terminal(['printf', scrolled], size=(9, 6)) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.lines() == ['1', '', '4', '  !', '5', '']


@pytest.mark.parametrize('scroll, rows', [
    ('T', ['a', '', 'b']), ('2T', ['a', '', '']), ('S', ['a', 'c', '']), ('9S', ['a', '', ''])])
def test_scrolling_between_margins(scroll, rows):
    script = r'a\nb\nc\nd\033[2;3r\033[4;2H\033[%s!' % scroll
    with Terminal(['printf', script], size=(9, 4)) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.lines() == rows + ['d!']


def test_all_output_is_seen_before_the_end():
    with Terminal(['seq', '1', '9999']) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.lines()[-2] == '9999'
        assert terminal.bytes_received == 9 * 3 + 90 * 4 + 900 * 5 + 9000 * 6     # with \r\n


def test_environment_is_minimal(tmp_path):
    with Terminal(['env'], env={'ANSWER': '42'}, cwd=tmp_path) as terminal:
        assert terminal.exit_code() == 0
        names = {line.split('=')[0] for line in terminal.lines() if '=' in line}
        assert names == {'PATH', 'HOME', 'LC_ALL', 'TERM', 'TMPDIR', 'ANSWER'}
    with Terminal(['sh', '-c', 'echo "$HOME $LC_ALL"; pwd'], env={'HOME': '/h', 'LC_ALL': 'C'},
                  cwd=tmp_path, size=(500, 24)) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.lines()[:2] == ['/h C', str(tmp_path)]


def test_settings_left_broken_are_seen():
    with Terminal(['stty', 'raw', '-echo']) as terminal:
        assert terminal.exit_code() == 0
        assert terminal.settings() != terminal.settings_before


@pytest.mark.parametrize('end, code', [
    (lambda terminal: terminal.send('\x03'), -signal.SIGINT),
    (lambda terminal: terminal.send('\x04'), 0),
    (lambda terminal: terminal.signal(signal.SIGTERM), -signal.SIGTERM)])
def test_ways_to_end(end, code):
    with Terminal(['sh', '-c', 'echo ready; exec cat']) as terminal:
        terminal.wait_for('ready')
        end(terminal)
        assert terminal.exit_code() == code


@pytest.mark.parametrize('program, code', [
    ('echo ready; exec tail -f /dev/null', -signal.SIGHUP),
    ('trap "" HUP; echo ready; read line; exit 5', 5)])     # deaf to it, but finds no input
def test_terminal_goes_away(program, code):
    with Terminal(['sh', '-c', program]) as terminal:
        terminal.wait_for('ready')
        terminal.hang_up()
        assert terminal.exit_code() == code


def test_suspend_and_resume():
    with Terminal(['sh', '-c', 'echo ready; exec cat']) as terminal:
        terminal.wait_for('ready')
        terminal.send('\x1a')
        terminal.wait_for(lambda terminal: terminal.state == 'stopped')
        terminal.signal(signal.SIGCONT)
        terminal.wait_for(lambda terminal: terminal.state == 'continued')
        terminal.send('again\n')
        terminal.wait_for('again\nagain')


def test_waiting_in_vain_shows_the_screen():
    with Terminal(['sh', '-c', 'echo hello; exit 3']) as terminal:
        with pytest.raises(AssertionError, match=r"(?s)'bye', program ended \(3\).*\|hello"):
            terminal.wait_for('bye')
    with Terminal(['cat']) as terminal:
        with pytest.raises(AssertionError, match='program started'):
            terminal.wait_for('bye', timeout=0)


def test_leaving_kills_what_ignores_everything():
    stubborn = 'trap "" HUP INT QUIT TERM; echo ready; while :; do read x; done'
    with Terminal(['sh', '-c', stubborn]) as terminal:
        terminal.wait_for('ready')
    with pytest.raises(ProcessLookupError):
        os.kill(terminal.pid, 0)
