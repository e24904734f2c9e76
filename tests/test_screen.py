"""The screen in parts; tests/test_live.py has it on real terminals."""
import io
import os
import signal

import pytest

import claude_usage
from claude_usage import (Screen, can_paint, curses, exit_code_of, is_terminal, key_name,
                          stop_signals, terminal_size, tolerate)


@pytest.mark.parametrize('name, code', [('SIGINT', 0), ('SIGHUP', 129), ('SIGQUIT', 131),
                                        ('SIGTERM', 143)])
def test_exit_code_of(name, code):
    assert exit_code_of(name) == code


@pytest.mark.parametrize('code, name', [
    (ord('q'), 'q'), (ord('?'), '?'), (ord('~'), '~'), (9, 'tab'), (27, 'escape'),
    (curses.KEY_UP, 'up'), (curses.KEY_NPAGE, 'page down'),
    (-1, ''), (0, ''), (4, ''), (32, ''), (127, ''), (0xe9, ''), (curses.KEY_F1, '')])
def test_key_name(code, name):
    assert key_name(code) == name


def test_tolerate():
    failed = curses.error('no')

    def step(error=None):
        if error:
            raise error
    assert tolerate(step) is None and tolerate(step, failed) is failed
    with pytest.raises(KeyError):
        tolerate(step, KeyError())


def test_signals_that_are_ignored_do_not_stop():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in stop_signals() and signal.SIGTERM in stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize('columns, lines, size', [
    ('', '', (80, 24)), ('100', '', (100, 24)), ('', '9', (80, 9)), ('0', '-5', (80, 24)),
    ('wide', '²', (80, 24)), ('٣٣', '8_0', (80, 24)), (' 80', '9\n', (80, 24)),
    ('\x1b[2J', '\udcff', (80, 24)), ('9' * 9999, '0' * 9999, (80, 24)),
    ('99999', '1', (1000, 1))])
def test_terminal_size(monkeypatch, columns, lines, size):
    monkeypatch.setattr('sys.__stdout__', None)
    monkeypatch.setenv('COLUMNS', columns)
    monkeypatch.setenv('LINES', lines)
    assert terminal_size(fallback=(80, 24)) == size


def test_one_line_of_a_terminal_is_for_the_prompt(monkeypatch):
    monkeypatch.setattr('os.get_terminal_size', lambda number: os.terminal_size((60, 20)))
    assert terminal_size(fallback=(80, 24)) == (60, 19)


def test_what_is_no_terminal(monkeypatch):
    assert not is_terminal(None) and not is_terminal(io.StringIO())
    monkeypatch.setattr('sys.stdin', None)
    assert not can_paint()


class Terminal:
    """What a Screen needs of the module curses, where the type of terminal is unknown."""
    error = curses.error

    def initscr(self):
        raise self.error('unknown type')


def test_a_screen_that_cannot_start_gives_everything_back(monkeypatch):
    monkeypatch.setattr(claude_usage, 'curses', Terminal())
    monkeypatch.setattr(claude_usage, 'termios', None)
    for name in ('TERM', 'ESCDELAY'):
        monkeypatch.setenv(name, 'x')       # so that it is set back
    before = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        with pytest.raises(curses.error):
            Screen(colour=True).__enter__()
        assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
