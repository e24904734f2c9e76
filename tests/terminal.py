"""A program on a real pseudo-terminal, its screen read by pyte.

    with Terminal(COMMAND + ['--demo'], size=(60, 20)) as terminal:
        terminal.wait_for('5-Hour Usage')
        terminal.send('q')
        assert terminal.exit_code() == 0
        assert terminal.settings() == terminal.settings_before

Everything waits for a condition with a deadline; a failing wait shows the screen.
"""
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

import pyte

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT, LEADER = os.path.dirname(TESTS), os.path.join(TESTS, 'leader.py')
# In ROOT; compiled once, not at each start as `python3 claude_usage.py` is.
COMMAND = [sys.executable, '-m', 'claude_usage']
ALTERNATE_SCREEN = 1049 << 5    # how pyte's Screen.mode writes the private mode 1049


def command(first='', **constants):
    """The program with statements that are run `first`, and with other values of its constants.

    Limits that users wait for are so short here that tests need not: `REQUEST_SECONDS=2`.
    """
    changes = ''.join('program.%s = %r\n' % change for change in sorted(constants.items()))
    return [sys.executable, '-c', '%s\nimport claude_usage as program\n%sprogram.start()' % (
        first, changes)]


QUICK = dict(WATCH_SECONDS=0.2, STORE_LOOK=0.1)
EAGER = command(**QUICK)
"""The program, quick to see that a file has changed or another monitor has a reply."""


def environment(home, **more):
    """Return the little that a program under test sees of the outside: no tokens, no proxies.

    Its temporary directory is missing until a test makes it, for the store would be there.
    """
    return dict(PATH=os.environ.get('PATH', os.defpath), HOME=str(home), LC_ALL='C.UTF-8',
                TMPDIR=str(home) + '/tmp', **more)


class Screen(pyte.Screen):
    """pyte's screen, and what ncurses asks of an xterm that pyte cannot do."""
    _last = ' '

    def draw(self, data):
        """Show text; remember its last character."""
        super().draw(data)
        self._last = data[-1:]

    def repeat(self, count=1):
        """REP: show the last character again."""
        self.draw(self._last * max(count, 1))

    def back_tab(self, count=1):
        """CBT: go back to a tab stop."""
        stops = sorted(stop for stop in self.tabstops if stop < self.cursor.x)
        self.cursor.x = stops[-count] if 0 < count <= len(stops) else 0

    def scroll_up(self, count=1):
        """SU: move what is between the margins up, the cursor stays."""
        self._scroll(self.delete_lines, count)

    def scroll_down(self, count=1):
        """SD: move it down."""
        self._scroll(self.insert_lines, count)

    def _scroll(self, move, count):
        x, y = self.cursor.x, self.cursor.y
        self.cursor.y = self.margins.top if self.margins else 0
        move(max(count, 1))
        self.cursor.x, self.cursor.y = x, y


class Stream(pyte.ByteStream):
    """pyte's parser, which knows these as well."""
    csi = dict(pyte.ByteStream.csi, b='repeat', Z='back_tab', S='scroll_up', T='scroll_down')


def open_terminal(path, flags):
    """Open a terminal that is not to be ours, to write without waiting: for `open`."""
    return os.open(path, flags | os.O_NOCTTY | os.O_NONBLOCK)


class Terminal:
    """Runs `argv` in `cwd`, in a terminal of size (columns, rows); leaving `with` ends it.

    The program sees `environment()`, TERM=xterm-256color, a HOME of its own, and what `env`
    adds or replaces. Public besides the methods: `pid`, `screen` (pyte's), `output` (all bytes
    of it) and their number `bytes_received`, `settings_before`, and `state`: 'started',
    'stopped', 'continued', 'hung_up' or 'ended'.
    """

    def __init__(self, argv, size=(80, 24), env=None, cwd=ROOT):
        self.screen = Screen(*size)
        self.bytes_received = 0
        self.output = bytearray()
        self.state = self.pid = self._code = None
        self._stream = Stream(self.screen)
        self._changed = threading.Condition()
        self._home = tempfile.TemporaryDirectory()
        master, slave = os.openpty()
        self._slave = os.ttyname(slave)
        self._master = open(master, 'r+b', buffering=0)
        self.resize(*size)
        self.settings_before = self.settings()
        self._control, control = socket.socketpair()
        with control, open(slave, 'r+b', buffering=0) as tty:
            self._leader = subprocess.Popen(
                [sys.executable, '-I', '-S', LEADER, str(control.fileno())]
                + self._command(argv, env or {}), cwd=str(cwd),
                stdin=tty, stdout=tty, stderr=tty, pass_fds=[control.fileno()],
                start_new_session=True)
        self._watched = [self._master, self._control]
        self._stalled = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for(lambda _: self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Kill the program if it still runs, and take the terminal away."""
        self._leader.terminate()
        self._control.shutdown(socket.SHUT_WR)
        self._leader.wait()
        self._reader.join()
        self._control.close()
        self._master.close()
        self._home.cleanup()

    def lines(self):
        """Return the rows as seen, without the blanks at their ends."""
        with self._changed:
            # The second cell of a wide character is empty text.
            return [''.join(self.screen.buffer[y][x].data for x in range(self.screen.columns))
                    .rstrip() for y in range(self.screen.lines)]

    def text(self):
        """Return the whole screen as one text."""
        return '\n'.join(self.lines())

    def attributes(self, x, y):
        """Return pyte's Char of a cell: data, fg, bg, bold, reverse, ... (pyte knows no dim)."""
        with self._changed:
            return self.screen.buffer[y][x]

    def alternate(self):
        """Tell whether the program is on the alternate screen, as curses programs are."""
        return ALTERNATE_SCREEN in self.screen.mode

    def is_given_back(self):
        """Tell whether the terminal is as it was before the program."""
        return (self.settings() == self.settings_before and not self.alternate()
                and not self.screen.cursor.hidden)

    def settings(self):
        """Return the terminal's settings, a value of termios.tcgetattr."""
        return termios.tcgetattr(self._master)

    def wait_for(self, wanted, timeout=30):
        """Wait for a text on the screen, or for a function of this terminal to be true.

        Return the function's value. Fail, showing the screen, when the time is up or the program
        has ended without it.
        """
        true = wanted if callable(wanted) else lambda _: wanted in self.text()
        with self._changed:
            self._changed.wait_for(lambda: true(self) or not self._reader.is_alive()
                                   or self.state == 'ended', timeout)
            value = true(self)
        if not value:
            raise AssertionError('waited for %r, program %s (%s)\n%s' % (
                wanted, self.state, self._code, self._picture()))
        return value

    def is_silent(self, seconds):
        """Tell whether the program, which runs on, writes nothing for so many seconds."""
        before = self.bytes_received
        try:
            self.wait_for(lambda _: self.bytes_received != before, seconds)
        except AssertionError:
            return self.state != 'ended'
        return False

    def settle(self):
        """Wait until the program has nothing more to write."""
        assert any(self.is_silent(0.3) for _ in range(99))

    def quit(self):
        """End the program by its key; the terminal has to be as it was."""
        self.send('q')
        assert self.exit_code() == 0
        assert self.is_given_back()

    def shows(self, *texts, gone=(), timeout=30):
        """Wait until all the texts are on the screen, and none of those `gone` is."""
        def as_wanted(_):
            text = self.text()
            return all(word in text for word in texts) and not any(word in text for word in gone)
        as_wanted.__name__ = 'shows%r, gone=%r' % (texts, gone)
        self.wait_for(as_wanted, timeout)

    def exit_code(self, timeout=30):
        """Wait for the end; return the exit code, or the negative number of the signal."""
        self.wait_for(lambda _: self.state == 'ended', timeout)
        return self._code

    def send(self, text):
        """Type."""
        self._master.write(text.encode('utf-8'))

    def signal(self, number):
        """Send a signal to the program."""
        assert self.state != 'ended', 'the program has ended'
        os.kill(self.pid, number)

    def resize(self, columns, rows):
        """Give the terminal another size; the kernel tells the program by SIGWINCH."""
        with self._changed:
            self.screen.resize(rows, columns)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ,
                        struct.pack('HHHH', rows, columns, 0, 0))

    def stop(self):
        """Type Ctrl+S, and wait until it is heard: the terminal takes no more output."""
        self.send('\x13')
        with open(self._slave, 'wb', buffering=0, opener=open_terminal) as slave:
            while select.select([], [slave], [], 0)[1]:
                pass

    def stall(self):
        """Read no more, and fill what the system keeps, as a connection does that stalls."""
        with open(self._slave, 'wb', buffering=0, opener=open_terminal) as slave:
            self._stalled = True
            while slave.write(b'.' * 4096) or self._master in self._watched:
                pass

    def recover(self):
        """Read what a terminal that was stalled has kept; not before the program's end."""
        while select.select([self._master], [], [], 0)[0]:
            self._feed()

    def is_heard(self):
        """Tell whether the program has read all that was typed."""
        with open(self._slave, 'rb', buffering=0, opener=open_terminal) as slave:
            count = fcntl.ioctl(slave, termios.FIONREAD, struct.pack('i', 0))
        return struct.unpack('i', count) == (0,)

    def poll_for(self, wanted, timeout=30):
        """Wait for a function to be true that nothing which is written or happens tells of."""
        deadline = time.monotonic() + timeout
        while not wanted():
            assert self.state != 'ended' and time.monotonic() < deadline, self._picture()

    def hang_up(self):
        """Take the terminal away from the program, as closing a window does."""
        self._leader.send_signal(signal.SIGUSR1)    # told back, it gets the reader to do it

    def _command(self, argv, env):
        """The program with its environment, by env(1): the leader, a Python, may alter its own."""
        variables = dict(environment(self._home.name, TERM='xterm-256color'), **env)
        return (['env', '-i'] + ['%s=%s' % variable for variable in variables.items()]
                + [str(word) for word in argv])

    def _picture(self):
        """The screen in a frame."""
        edge = '+%s+' % ('-' * self.screen.columns)
        return '\n'.join([edge] + ['|' + line for line in self.lines()] + [edge])

    def _read(self):
        """Follow the session to its end: first what was written, then what happened."""
        while True:
            ready = select.select(self._watched, [], [])[0]
            # Looks again, because what was written before the end must be seen before it.
            while self._master in select.select(self._watched, [], [], 0)[0]:
                if self._stalled:
                    self._watched.remove(self._master)
                else:
                    self._feed()
            if self._control in ready and not self._hear():
                return

    def _feed(self):
        """Show what the program wrote."""
        try:
            data = self._master.read(65536)
        except OSError:             # how Linux says that nobody has the terminal open any more
            data = b''
        if not data:
            self._watched.remove(self._master)
        with self._changed:
            self.bytes_received += len(data)
            self.output += data
            self._stream.feed(data)
            self._changed.notify_all()

    def _hear(self):
        """Note what the leader tells; false when it has left."""
        data = self._control.recv(4096)
        with self._changed:
            for line in data.decode().splitlines():
                self.state, number = line.split()
                if self.state == 'started':
                    self.pid = int(number)
                elif self.state == 'ended':
                    self._code = int(number)
                elif self.state == 'hung_up':
                    self._watched = [self._control]
                    self._master.close()
            self._changed.notify_all()
        return data
