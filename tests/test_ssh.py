"""Through a real sshd on loopback, tmux and screen; `tox -e ssh`."""
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time

import pytest

from conftest import PROGRAM
from terminal import Terminal

pytestmark = pytest.mark.ssh
SSHD = shutil.which('sshd', path=os.environ.get('PATH', '') + ':/usr/sbin')
SIZES = [(60, 20), (30, 10)]


def needs(name, found):
    return pytest.mark.skipif(not found, reason='there is no ' + name)


@pytest.fixture
def options(tmp_path):
    """Options of ssh and scp, for an sshd on loopback that lets in whoever runs this."""
    for name in ('host', 'key'):
        subprocess.check_call(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f',
                               str(tmp_path / name)])
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    settings = ['ListenAddress=127.0.0.1', 'Port=%d' % port, 'HostKey=%s' % (tmp_path / 'host'),
                'AuthorizedKeysFile=%s' % (tmp_path / 'key.pub'), 'StrictModes=no', 'UsePAM=no',
                'PidFile=none', 'PermitRootLogin=yes', 'Subsystem=sftp internal-sftp']
    if os.geteuid() == 0:
        os.makedirs('/run/sshd', exist_ok=True)
    sshd = subprocess.Popen([SSHD, '-D', '-e', '-f', '/dev/null'] + [
        word for setting in settings for word in ('-o', setting)], stderr=subprocess.PIPE)
    for line in sshd.stderr:
        if b'listening' in line:
            break
    yield ['-F', '/dev/null', '-i', str(tmp_path / 'key'), '-o', 'Port=%d' % port,
           '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null',
           '-o', 'LogLevel=ERROR', '-o', 'BatchMode=yes']
    sshd.terminate()
    sshd.communicate()


def see(terminal, size, wider=(80, 24)):
    """See the program fill a terminal, and another size of it."""
    terminal.shows('%')
    for columns, rows in (wider, size):
        terminal.resize(columns, rows)
        terminal.wait_for(lambda _: terminal.lines()[0][:1] == '┌' and len(
            terminal.lines()[0]) == columns)


@needs('sshd', SSHD)
@pytest.mark.parametrize('size', SIZES)
def test_copied_and_started_by_ssh(options, service, home, tmp_path, size):
    host = getpass.getuser() + '@127.0.0.1'
    there, pid = tmp_path / 'there.py', tmp_path / 'pid'
    subprocess.check_call(['scp', '-q'] + options + [str(PROGRAM), '%s:%s' % (host, there)])
    start = 'echo $$ > %s; HOME=%s LC_ALL=C.UTF-8 exec %s %s ' % (
        pid, home, shlex.quote(sys.executable), there)
    ssh = ['ssh', '-t'] + options + [host]
    with Terminal(ssh + [start + '--demo'], size) as terminal:
        see(terminal, size)
        terminal.quit()
    with Terminal(ssh + [start + '--api-url ' + service.url], size) as terminal:
        see(terminal, size)
        terminal.shows('78%', '34%')
        assert b'SECRET' not in terminal.output
        terminal.signal(9)
        end = time.monotonic() + 20
        while os.path.exists('/proc/' + pid.read_text().strip()):
            assert time.monotonic() < end, 'it runs on without its client'
            time.sleep(0.05)


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=needs(name, shutil.which(name))) for name in ('tmux', 'screen')])
def test_inside(name, tmp_path):
    folder = tmp_path / 'sockets'
    folder.mkdir(0o700)
    program = ['python3', str(PROGRAM), '--demo']
    argv = {'tmux': ['tmux', '-S', str(folder / 'tmux'), '-f', '/dev/null', 'new'],
            'screen': ['screen', '-U', '-c', '/dev/null']}[name]
    with Terminal(argv + program, (60, 20), {'SCREENDIR': str(folder)}) as terminal:
        terminal.shows('5-Hour')
        terminal.resize(90, 30)
        terminal.wait_for(lambda _: len(terminal.lines()[0]) == 90)
        terminal.send('q')
        assert terminal.exit_code() == 0
