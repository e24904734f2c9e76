"""Measure what the issues bound, and print each figure beside its bound; not a test.

    python3 tests/benchmark.py [NAME ...]       all, or those of the names

Times of a start are ratios to a bare interpreter of the same run, for these machines are noisy;
every figure is the median of several.
"""
import contextlib
import fcntl
import json
import os
import pty
import queue
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time

import captures
from admin import JOHN, KEY, AdminApi, Organization
from pacemaker import DAY, HOUR, Pace
from server import Reply, Server
from terminal import Terminal, environment

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                       'claude_usage.py')
BARE = 'import curses, json, argparse, threading, queue, sqlite3'
TIMES = 15


def tell(what, value, unit, bound):
    """Print one figure beside its bound, which it should not be above."""
    print('%-46s %9.2f %-10s bound %g%s' % (
        what, value, unit, bound, '' if value <= bound else '   <-- over'))


@contextlib.contextmanager
def logged_in_home():
    """The path of a temporary home directory with a login and an identity."""
    with tempfile.TemporaryDirectory(prefix='claude-usage-') as home:
        os.mkdir(os.path.join(home, '.claude'))
        for name, document in (('.claude/.credentials.json', captures.CREDENTIALS),
                               ('.claude.json', captures.CLAUDE_JSON)):
            with open(os.path.join(home, name), 'w') as file:
                json.dump(document, file)
        yield home


def serving():
    """A server that answers as the service does."""
    server = Server()
    server.answer('/api/oauth/usage', Reply(body=captures.USAGE_2026))
    server.answer('/api/oauth/profile', Reply(body=captures.PROFILE))
    return server


def command(server):
    """The program's command line against a server."""
    return [sys.executable, PROGRAM, '--api-url', server.url]


def seconds_until(text, argv, home):
    """Seconds from a program's start on a terminal to a text in what it sends there.

    Forked straight from here: tests/terminal.py would add its own start to both sides.
    """
    started = time.perf_counter()
    pid, master = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, dict(environment(home), TERM='xterm-256color'))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    seen = b''
    while text.encode() not in seen:
        seen += os.read(master, 65536)
    took = time.perf_counter() - started
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(master)
    return took


def start():
    """The first frame against a bare interpreter, and the first numbers."""
    bare_argv = [sys.executable, '-c', BARE + '; print("ready", flush=True); input()']
    bare, frame, numbers = [], [], []
    with logged_in_home() as home, serving() as server:
        for _ in range(TIMES):
            bare.append(seconds_until('ready', bare_argv, home))
            frame.append(seconds_until('Claude Code Usage', command(server), home))
            numbers.append(seconds_until('11%', command(server), home))
    bare, frame, numbers = map(statistics.median, (bare, frame, numbers))
    print('bare interpreter %.0f ms, first frame %.0f ms' % (bare * 1000, frame * 1000))
    tell('first frame / bare interpreter', frame / bare, 'x', 2.2)
    tell('first numbers from loopback', numbers * 1000, 'ms', 400)


def proc(pid, name):
    """The text of a file of /proc about a process."""
    with open('/proc/%d/%s' % (pid, name)) as file:
        return file.read()


def per_thread(pid, read):
    """The sum of what `read` finds in the files of every thread of a process."""
    return sum(read('task/' + thread) for thread in os.listdir('/proc/%d/task' % pid))


def cpu_seconds(pid):
    """CPU time of a process so far."""
    return per_thread(pid, lambda task: int(proc(pid, task + '/schedstat').split()[0])) / 1e9


def wakeups(pid):
    """How often its threads have gone to sleep so far."""
    return per_thread(pid, lambda task: field(pid, task + '/status', 'voluntary_ctxt_switches'))


def field(pid, name, wanted):
    """A number in a file of /proc."""
    return next(int(line.split()[1]) for line in proc(pid, name).splitlines()
                if line.startswith(wanted))


def idle(seconds=30):
    """CPU, bytes and wake-ups over idle seconds, which hold one poll; and peak memory."""
    with logged_in_home() as home, serving() as server, \
            Terminal(command(server), env={'HOME': home}) as terminal:
        terminal.wait_for('11%')
        pid = terminal.pid
        time.sleep(2)
        cpu, woken, sent = cpu_seconds(pid), wakeups(pid), terminal.bytes_received
        began = time.perf_counter()
        time.sleep(seconds)
        took = time.perf_counter() - began
        tell('idle CPU', (cpu_seconds(pid) - cpu) / took * 1000, 'ms/s', 1)
        tell('idle bytes', (terminal.bytes_received - sent) / took, 'bytes/s', 2)
        tell('idle wake-ups', (wakeups(pid) - woken) / took, '1/s', 6)
        tell('peak memory', field(pid, 'status', 'VmHWM') / 1024, 'MiB', 30)


def reaction():
    """Repainting after a resize, and quitting, while a request hangs."""
    resizes, quits = [], []
    for _ in range(TIMES):
        with logged_in_home() as home, Server() as server:
            server.answer('/api/oauth/usage', Reply(hang=True))
            with Terminal(command(server), env={'HOME': home}) as terminal:
                server.wait_for(1)
                began = time.perf_counter()
                terminal.resize(60, 20)
                terminal.wait_for(lambda it: len(it.lines()[0]) == 60 and it.lines()[19])
                resizes.append(time.perf_counter() - began)
                began = time.perf_counter()
                terminal.send('q')
                terminal.exit_code()
                quits.append(time.perf_counter() - began)
    tell('quit while a request hangs', statistics.median(quits) * 1000, 'ms', 200)
    tell('resize repainted', statistics.median(resizes) * 1000, 'ms', 100)


# table -> (rows, over how many seconds, the columns, their values; :at is a row's time).
SIXTY_DAYS = {
    'usage_snapshots': (17000, 60 * DAY, 'timestamp, five_hour_util, seven_day_util, session_id',
                        ":at, i % 100, i % 100, 's'"),
    'pacing_decisions': (17000, 60 * DAY, 'timestamp, should_throttle, delay_seconds, session_id',
                         ":at, 1, 45, 's'"),
    'blockage_events': (100000, 60 * DAY, 'timestamp, category, reason, hook_type, session_id',
                        ":at, 'pacing_quota', hex(randomblob(100)), 'post_tool', 's'"),
    'governance_events': (10000, 60 * DAY, 'timestamp, event_type, project_name, session_id, '
                          'feedback_text', ":at, 'IV', 'engine', 's', hex(randomblob(400))"),
    'langfuse_metrics': (60 * 288, 60 * DAY, 'bucket_timestamp, spans_count',
                         'CAST(:at AS INT), i'),
    'secrets_metrics': (60 * 288, 60 * DAY, 'bucket_timestamp, secrets_masked_count',
                        'CAST(:at AS INT), i'),
    'accumulated_costs': (100000, 60 * DAY, 'timestamp, session_id, cost_dollars',
                          ":at, 's', 0.1"),
    'activity_events': (600, 60, 'timestamp, event_code, status, session_id',
                        ":at, 'IV', 'green', 's'"),
    'agents': (200, HOUR / 3,
               'agent_id, session_id, role, workspace_root, start_time, last_seen',
               "'a' || i, 's' || i / 4, CASE i % 4 WHEN 0 THEN 'root' ELSE 'sub' END, "
               "'/w/' || i / 20, :at, :at"),
    'agent_actions': (10000, HOUR, 'agent_id, tool_name, ts', "'a' || i % 200, 'Bash', :at"),
}


def rows_of(table):
    """The statement that fills a table."""
    count, seconds, columns, values = SIXTY_DAYS[table]
    at = '(%d - i * %f)' % (time.time(), seconds / count)
    return ('WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) '
            'INSERT INTO %s (%s) SELECT %s FROM n;' % (
                count - 1, table, columns, values.replace(':at', at)))


def pace_maker():
    """A look at 60 days of Pace Maker's rows while it has them open, and one at nothing new."""
    sys.path.insert(0, os.path.dirname(PROGRAM))
    from claude_usage import PacePoller
    with tempfile.TemporaryDirectory(prefix='claude-usage-') as folder:
        pace = Pace(os.path.join(folder, 'pace'))
        agents = [name for name in SIXTY_DAYS if name.startswith('agent')]
        pace.closed('session_registry.db', ''.join(map(rows_of, agents)))
        for age in range(0, 100000, 10):
            pace.log(time.time() - age, 'ERROR' if age % 100 else 'INFO')
        with pace.writer() as writer:
            writer.ask('run', 'BEGIN;%s COMMIT' % ''.join(
                map(rows_of, sorted(set(SIXTY_DAYS) - set(agents)))))
            poller = PacePoller(queue.Queue(), time.time, pace.folder)
            poller.once(False)
            reading = poller.inbox.get()
            assert len(reading.value.agents) == 200 and reading.value.blockages
            looks, idle, now = [], [], time.time()
            for name in os.listdir(pace.folder):
                os.utime(pace.path(name), (now - DAY, now - DAY))
            for number in range(3 * TIMES):
                os.utime(pace.path('config.json'), (now - HOUR - number, now - HOUR - number))
                for times in (looks, idle):
                    began = time.perf_counter()
                    poller.once(False)
                    times.append(time.perf_counter() - began)
    tell('one look at all of Pace Maker', statistics.median(looks) * 1000, 'ms', 10)
    tell('one look where nothing changed', statistics.median(idle) * 1000, 'ms', 0.2)


CHILD = '''
import os, queue, sys, time
sys.path.insert(0, sys.argv[1])
from claude_usage import ConsolePoller, parse_time
now = parse_time('2025-11-30T12:00:00Z')
poller = ConsolePoller(queue.Queue(), lambda: now, sys.argv[2], os.environ, sys.argv[3])
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    poller.once(False)
    print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)
    now += 120
'''


def polls(server, count):
    """(seconds, seconds of CPU, requests) of the first polls of a ConsolePoller.

    It has a process of its own, for the CPU time of the server must not count.
    """
    argv = [sys.executable, '-c', CHILD, os.path.dirname(PROGRAM), server.url, JOHN]
    with subprocess.Popen(argv, env=environment('/nonexistent', ANTHROPIC_ADMIN_API_KEY=KEY),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        for _ in range(count):
            before = len(server.requests)
            child.stdin.write(b'\n')
            child.stdin.flush()
            wall, cpu = map(float, child.stdout.readline().split())
            yield wall, cpu, len(server.requests) - before


@contextlib.contextmanager
def console_server(organization):
    """The URL of an organization's server in a process of its own, so that it delays nobody."""
    told, tell_url = os.pipe()
    child = os.fork()
    if child == 0:
        with Server() as server:
            AdminApi(server, organization, date=1764504000)     # 2025-11-30 12:00 UTC
            os.write(tell_url, server.url.encode())
            signal.pause()
    try:
        yield os.read(told, 1000).decode()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell_url)


def key_delays(url, home, count):
    """The longest wait for the answer to a key during each of so many polls, in seconds."""
    pid, master = pty.fork()
    if pid == 0:
        argv = [sys.executable, PROGRAM, '--api-url', url, '--mode', 'console']
        os.execve(sys.executable, argv, dict(
            environment(home), TERM='xterm-256color', ANTHROPIC_ADMIN_API_KEY=KEY,
            CLAUDE_USAGE_EMAIL=JOHN))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))

    def answer(key, words):
        began, seen = time.perf_counter(), b''
        os.write(master, key)
        while words not in seen:
            seen += os.read(master, 65536)
        return time.perf_counter() - began
    answer(b'?', b'Help')
    answer(b'?', b'Usage')
    for _ in range(count):
        ends, worst = time.perf_counter() + 1, 0
        while time.perf_counter() < ends:
            worst = max(worst, answer(b'?', b'Help'), answer(b'?', b'Usage'))
        yield worst
        os.write(master, b'r')
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(master)


def console():
    """Loading a month, the polls after it, and keys meanwhile."""
    organization = Organization('2025-11-01', 30, users=120, rows=120)
    loads, counts = [], []
    with Server() as server:
        AdminApi(server, organization)
        for _ in range(5):
            (wall, _, _), *later = polls(server, 4)
            loads.append(wall)
            counts += [count for _, _, count in later]
    tell('a month of 120 users loaded', statistics.median(loads), 's', 1.5)
    tell('requests of a later poll', max(counts), '', 4)
    days = ['2025-11-28', '2025-11-29', '2025-11-30']
    organization = Organization('2025-11-01', 30, users=3400, rows=20,
                                busy=dict(zip(days, (3333, 3333, 3334))))
    with Server() as server:
        AdminApi(server, organization)
        cpus = [cpu for _, cpu, _ in polls(server, 6)][1:]
    tell('CPU of a poll of 10,000 rows', statistics.median(cpus) * 1000, 'ms', 150)
    with logged_in_home() as home, console_server(organization) as url:
        delays = list(key_delays(url, home, 4))
    tell('the slowest answer to a key during such a poll', statistics.median(delays) * 1000,
         'ms', 100)


BENCHMARKS = {'start': start, 'reaction': reaction, 'idle': idle, 'pace_maker': pace_maker,
              'console': console}

if __name__ == '__main__':
    print('Python %s, %d cores, load %.1f' % (
        sys.version.split()[0], os.cpu_count(), os.getloadavg()[0]))
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
