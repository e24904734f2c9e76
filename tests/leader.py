"""Stand where a shell stands: lead the session of a terminal, run a program in its foreground.

    leader.py FD ARGV...        stdin is the terminal; what happens to the program is told on
                                socket FD: `started PID`, `stopped SIGNAL`, `continued 0`,
                                `ended CODE` (negative: the signal), each on a line;
                                SIGUSR1 is told back as `hung_up 0`

A program that led the session itself would be spared two things that users do to it: the kernel
would reset the terminal's settings at its end, hiding that it left them broken, and would ignore
Ctrl+Z. SIGTERM ends the program at once; SIGHUP, the terminal's end, is passed on to it.
"""
import contextlib
import fcntl
import os
import signal
import socket
import sys
import termios

RESET = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM,
         signal.SIGTSTP, signal.SIGTTIN)
"""What the test runner, under nohup say, or Python may have set to be ignored."""


def become(argv):
    """Turn this process into the program, alone in the terminal's foreground process group."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)   # else tcsetpgrp would stop us
    os.tcsetpgrp(0, os.getpid())
    for number in RESET + (signal.SIGTTOU,):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(argv[0], argv)


def send(number, group):
    """Signal the program, unless it has just ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def events(pid):
    """Yield what happens to the child, up to its end, as the lines to tell."""
    yield 'started %d\n' % pid
    while True:
        status = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)[1]
        if os.WIFSTOPPED(status):
            yield 'stopped %d\n' % os.WSTOPSIG(status)
        elif os.WIFCONTINUED(status):
            yield 'continued 0\n'
        else:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
            yield 'ended %d\n' % code
            return


def main(control, argv):
    """Run the program and tell of it; stay, for the terminal's sake, until nobody listens."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    pid = os.fork()
    if pid == 0:
        become(argv)
    signal.signal(signal.SIGTERM, lambda *_: send(signal.SIGKILL, pid))
    signal.signal(signal.SIGHUP, lambda *_: send(signal.SIGHUP, pid))
    signal.signal(signal.SIGUSR1, lambda *_: control.sendall(b'hung_up 0\n'))
    for line in events(pid):
        control.sendall(line.encode())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    control.recv(1)


if __name__ == '__main__':
    os.set_inheritable(int(sys.argv[1]), False)
    main(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=int(sys.argv[1])), sys.argv[2:])
