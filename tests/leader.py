"""Stand where a shell stands: lead the session of a terminal, run a program in its foreground.

    leader.py FD ARGV...        stdin is the terminal; what happens to the program is told on
                                socket FD: `started PID`, `stopped SIGNAL`, `continued 0`,
                                `ended CODE` (negative: the signal), each on a line;
                                SIGUSR1 is told back as `hung_up 0`

A program that led the session itself would be spared two things that users do to it: the kernel
would reset the terminal's settings at its end, hiding that it left them broken, and would ignore
Ctrl+Z. SIGTERM ends the program at once; SIGHUP, the terminal's end, is passed on to it.
"""
import fcntl
import os
import signal
import socket
import sys
import termios

AWAITED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Blocked and waited for: a handler's signal that comes just before waitpid() would be late."""

RESET = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM,
         signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD)
"""What the test runner, under nohup say, or Python may have set to be ignored."""


def become(argv):
    """Turn this process into the program, alone in the terminal's foreground process group."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)   # else tcsetpgrp would stop us
    os.tcsetpgrp(0, os.getpid())
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvp(argv[0], argv)


def told(status):
    """Return the line that tells of a status of waitpid()."""
    if os.WIFSTOPPED(status):
        return 'stopped %d\n' % os.WSTOPSIG(status)
    if os.WIFCONTINUED(status):
        return 'continued 0\n'
    return 'ended %d\n' % (
        os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status))


def changes(pid):
    """Yield what has happened to the program since the last call, as lines to tell."""
    line = ''
    while not line.startswith('ended'):
        changed, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if not changed:
            return
        line = told(status)
        yield line


def lead(pid):
    """Yield the lines to tell, from the program's start to its end, and pass signals on."""
    line = 'started %d\n' % pid
    yield line
    while not line.startswith('ended'):
        number = signal.sigwait(AWAITED)
        if number == signal.SIGCHLD:
            for line in changes(pid):
                yield line
        elif number == signal.SIGUSR1:
            yield 'hung_up 0\n'
        else:
            os.killpg(pid, signal.SIGHUP if number == signal.SIGHUP else signal.SIGKILL)


def main(control, argv):
    """Run the program and tell of it; stay, for the terminal's sake, until nobody listens."""
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # BSD would drop what has no handler
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    pid = os.fork()
    if pid == 0:
        become(argv)
    for line in lead(pid):
        control.sendall(line.encode())
    control.recv(1)


if __name__ == '__main__':
    os.set_inheritable(int(sys.argv[1]), False)
    main(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=int(sys.argv[1])), sys.argv[2:])
