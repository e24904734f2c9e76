"""Which characters that `clean` lets pass take other cells here than on a terminal.

    python tests/widths.py      # prints the ranges that differ; ends with 1 if there are any

Three others are asked: tmux, by where its cursor is after each character; the C library, which
xterm and ncurses go by; and the package wcwidth, which knows a newer Unicode than both. It alone
says that spacing marks (Mc) take no cell, so it is not asked about those.
"""
import ctypes
import json
import locale
import os
import re
import subprocess
import sys
import tempfile
import unicodedata

import wcwidth

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from claude_usage import cell_count, clean      # noqa: E402

CURSOR = re.compile(rb'\x1b\[\d+;(\d+)R')
AT_ONCE = 500


def passing():
    """The characters that stay as they are when text is cleaned."""
    every = map(chr, list(range(0xa0, 0xd800)) + list(range(0xe000, 0x110000)))
    return [char for char in every if clean('a%sb' % char) == 'a%sb' % char]


def ask_terminal(path):
    """Print the characters of a file to the terminal and write their widths beside it."""
    import tty
    tty.setraw(0)
    with open(path, encoding='utf-8') as file:
        chars = json.load(file)
    widths = []
    for start in range(0, len(chars), AT_ONCE):
        some = chars[start:start + AT_ONCE]
        os.write(1, ''.join('\r\x1b[Kx%s\x1b[6n' % char for char in some).encode('utf-8'))
        told = b''
        while told.count(b'R') < len(some):
            told += os.read(0, 1 << 16)
        widths += [int(column) - 2 for column in CURSOR.findall(told)]
    with open(path + '.widths', 'w') as file:
        json.dump(widths, file)


def widths_in_tmux(chars):
    """The cells that each character takes in a tmux of our own."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'chars')
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(chars, file)
        tmux = ['tmux', '-f', '/dev/null', '-S', os.path.join(folder, 'socket')]
        inside = "'%s' '%s' '%s'; tmux wait-for -S done" % (sys.executable, __file__, path)
        env = dict(os.environ, LC_ALL='C.UTF-8')
        subprocess.run(tmux + ['new-session', '-d', '-x', '80', '-y', '24', inside], env=env,
                       check=True)
        subprocess.run(tmux + ['wait-for', 'done'], check=True, timeout=300)
        with open(path + '.widths') as file:
            return json.load(file)


def disagreements():
    """Lines such as 'U+4DC0-4DFF HEXAGRAM ...: here 1, tmux 2, libc 2, wcwidth 2'."""
    chars = passing()
    libc = ctypes.CDLL(None)
    libc.wcwidth.argtypes = [ctypes.c_wchar]
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, 'C.UTF-8')
    found = []
    for char, in_tmux in zip(chars, widths_in_tmux(chars)):
        widths = cell_count(char), in_tmux, libc.wcwidth(char), wcwidth.wcwidth(char)
        if unicodedata.category(char) == 'Mc':
            widths = widths[:3] + widths[:1]
        if len(set(widths)) == 1:
            continue
        if found and found[-1][1:] == [ord(char) - 1, widths]:
            found[-1][1] += 1
        else:
            found.append([char, ord(char), widths])
    locale.setlocale(locale.LC_CTYPE, before)
    return ['U+%04X-%04X %s: here %d, tmux %d, libc %d, wcwidth %d' % (
        ord(first), last, unicodedata.name(first, '?'), *widths) for first, last, widths in found]


if __name__ == '__main__':
    if sys.argv[1:]:
        ask_terminal(sys.argv[1])
    else:
        told = disagreements()
        print('\n'.join(told))
        sys.exit(bool(told))
