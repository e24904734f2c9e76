"""Measure what is promised, and print each figure beside its bound; not a test.

    python3 tests/benchmark.py [NAME ...]       all, or those of the names

It ends with 1 if a bound is missed. Times of a start are ratios to a bare interpreter of the same
run, for these machines are noisy; every figure is the median of several.
"""
import argparse
import ast
import contextlib
import fcntl
import io
import json
import os
import pty
import queue
import select
import signal
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tokenize

import captures
from admin import JOHN, KEY, AdminApi, Organization
from pacemaker import DAY, HOUR, Pace
from server import Reply, Server
from terminal import Terminal, environment

PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                       'claude_usage.py')
USAGE = '/api/oauth/usage'
BARE = 'import curses, json, argparse, threading, queue, sqlite3'
TIMES = 15
missed = []                 # the figures above their bounds


def tell(what, value, unit, bound):
    """Print one figure beside its bound, which it should not be above."""
    is_over = value > bound
    print('%-46s %9.2f %-10s bound %g%s' % (what, value, unit, bound, '   <-- over' * is_over))
    if is_over:
        missed.append(what)


def book():
    """How much there is to read: tokens, not lines, so that packing changes nothing."""
    quiet = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    with open(PROGRAM, encoding='utf-8') as file:
        source = file.read()
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline)
              if token.type not in quiet | {tokenize.COMMENT}]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            if ast.get_docstring(node):
                lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    tell('tokens of the program', len(tokens), '', 53500)
    tell('tokens a line of code', len(tokens) / len(lines), '', 8.5)
    for what, kind, bound in (('conditional expressions', ast.IfExp, 120),
                              ('starred unpackings', ast.Starred, 25)):
        tell(what, sum(isinstance(node, kind) for node in nodes), '', bound)


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
    server.answer(USAGE, Reply(body=captures.USAGE_2026))
    server.answer('/api/oauth/profile', Reply(body=captures.PROFILE))
    return server


def command(server):
    """The program's command line against a server."""
    return [sys.executable, PROGRAM, '--api-url', server.url]


def seconds_until(text, argv, home, more=()):
    """Seconds from a program's start on a terminal to a text in what it sends there.

    Forked straight from here: tests/terminal.py would add its own start to both sides.
    """
    started = time.perf_counter()
    pid, master = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, dict(environment(home), TERM='xterm-256color', **dict(more)))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    seen = b''
    while text.encode() not in seen:
        seen += os.read(master, 65536)
    took = time.perf_counter() - started
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(master)
    return took


# What a monitor is started with: the file alone, or from Python's cache as it is installed.
INSTALLED = 'import sys; from claude_usage import start; start()'
# A Keychain that takes 5 s, and a config directory that does not answer.
SLOW = {
    'a Keychain that takes 5 s': """
import time, claude_usage as c
def keychain(env):
    time.sleep(5)
    return c.login_in_file(env)
c.LOGIN_PLACES[:0] = [keychain]
c.start()""",
    'a directory that does not answer': """
import os, time, claude_usage as c
real = os.stat
def stat(path, *args, **more):
    if '.claude' in str(path):
        time.sleep(600)
    return real(path, *args, **more)
os.stat = stat
c.start()""",
}


def start():
    """The first frame against a bare interpreter, and the first numbers."""
    bare_argv = [sys.executable, '-c', BARE + '; print("ready", flush=True); input()']
    times = {}

    def take(name, *args):
        times.setdefault(name, []).append(seconds_until(*args))
    with logged_in_home() as home, serving() as server, tempfile.TemporaryDirectory() as cache:
        more = {'PYTHONPYCACHEPREFIX': cache, 'PYTHONPATH': os.path.dirname(PROGRAM)}
        # By name, for which `ipaddress` is not imported, as it is not for the service's own URL.
        options = ['--api-url', server.url.replace('127.0.0.1', 'localhost')]
        for turn in range(TIMES + 1):       # the first writes the byte code
            take('bare', 'ready', bare_argv, home)
            take('frame', 'Looking for a login', [sys.executable, PROGRAM] + options, home)
            take('installed', 'Looking for a login',
                 [sys.executable, '-c', INSTALLED] + options, home, more)
            take('numbers', '11%', command(server), home)
            for name, code in SLOW.items():
                take(name, 'Looking for a login', [sys.executable, '-c', code] + options, home,
                     more)
    median = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    print('bare interpreter %.0f ms, first frame %.0f ms, installed %.0f ms' % tuple(
        1000 * median[name] for name in ('bare', 'frame', 'installed')))
    tell('first frame of the plain file / bare', median['frame'] / median['bare'], 'x', 3.8)
    tell('the same for the installed command', median['installed'] / median['bare'], 'x', 1.4)
    for name in SLOW:
        tell('with ' + name + ' / without', median[name] / median['installed'], 'x', 1.15)
    tell('first numbers from loopback', median['numbers'] * 1000, 'ms', 400)


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
    for name in ('plain file', 'installed'):
        with logged_in_home() as home, serving() as server, tempfile.TemporaryDirectory() as cache:
            argv, env = command(server), {'HOME': home}
            if name == 'installed':
                argv[1:2] = ['-c', INSTALLED]
                env.update(PYTHONPATH=os.path.dirname(PROGRAM), PYTHONPYCACHEPREFIX=cache)
                # Python's cache is to be complete, for what is compiled takes memory too.
                warm = dict(env, CLAUDE_USAGE_DIR=os.path.join(cache, 'store'))
                del warm['HOME']
                subprocess.run(argv + ['--once'], stdout=subprocess.DEVNULL,
                               env=environment(home, **warm))
            with Terminal(argv, env=env) as terminal:
                terminal.wait_for('11%')
                if name == 'installed':
                    milliseconds, sent, woken = measure_idle(terminal, seconds)
                    tell('idle CPU', milliseconds, 'ms/s', 0.8)
                    tell('idle bytes', sent, 'bytes/s', 1)
                    tell('idle wake-ups', woken, '1/s', 5.3)
                bound = 44 if name == 'plain file' else 28
                tell('peak memory, ' + name, field(terminal.pid, 'status', 'VmHWM') / 1024,
                     'MiB', bound)


def measure_idle(terminal, seconds):
    """What a monitor costs a second that shows numbers which do not move: (ms of CPU, bytes,
    wake-ups)."""
    pid = terminal.pid
    time.sleep(5)                           # its pictures come within that time
    cpu, woken, sent = cpu_seconds(pid), wakeups(pid), terminal.bytes_received
    began = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    return ((cpu_seconds(pid) - cpu) / took * 1000, (terminal.bytes_received - sent) / took,
            (wakeups(pid) - woken) / took)


def accounts(seconds=30):
    """What a monitor of four accounts costs that shows numbers which do not move."""
    with logged_in_home() as home, serving() as server:
        argv = command(server)
        for number in range(4):
            folder = os.path.join(home, str(number))
            os.mkdir(folder)
            login = dict(captures.CREDENTIALS['claudeAiOauth'], accessToken='sk-%d' % number)
            account = dict(captures.CLAUDE_JSON['oauthAccount'], accountUuid=str(number))
            for name, document in (('.credentials.json', {'claudeAiOauth': login}),
                                   ('.claude.json', {'oauthAccount': account})):
                with open(os.path.join(folder, name), 'w') as file:
                    json.dump(document, file)
            argv += ['--config-dir', folder]
        with Terminal(argv, (160, 45), env={'HOME': home}) as terminal:
            terminal.wait_for(lambda it: it.text().count('11%') >= 4)
            milliseconds, _, _ = measure_idle(terminal, seconds)
    tell('idle CPU with four accounts', milliseconds, 'ms/s', 2)


def reaction():
    """Repainting after a resize, and quitting, while a request hangs."""
    resizes, quits = [], []
    for _ in range(TIMES):
        with logged_in_home() as home, Server() as server:
            server.answer(USAGE, Reply(hang=True))
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
    'agent_actions': (10000, HOUR, 'agent_id, tool_name, ts', "'a' || (i % 200), 'Bash', :at"),
}


def rows_of(table):
    """The statement that fills a table."""
    count, seconds, columns, values = SIXTY_DAYS[table]
    at = '(%d - i * %f)' % (time.time(), seconds / count)
    return ('WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) '
            'INSERT INTO %s (%s) SELECT %s FROM n;' % (
                count - 1, table, columns, values.replace(':at', at)))


def setup_for(inbox, env, store, **options):
    """What a poller is made of."""
    sys.path.insert(0, os.path.dirname(PROGRAM))
    from claude_usage import Logins, Setup
    options = argparse.Namespace(**options)
    return Setup(options, env, inbox, time.time, store, Logins(env), '')


def pace_maker():
    """A look at 60 days of Pace Maker's rows while it has them open, and one at nothing new."""
    inbox = queue.Queue()
    setup = setup_for(inbox, {}, None)
    import claude_usage
    with tempfile.TemporaryDirectory(prefix='claude-usage-') as folder:
        pace = Pace(os.path.join(folder, 'pace'))
        agents = [name for name in SIXTY_DAYS if name.startswith('agent')]
        pace.closed('session_registry.db', ''.join(map(rows_of, agents)))
        with pace.writer() as writer:
            writer.ask('run', 'BEGIN;%s COMMIT' % ''.join(
                map(rows_of, sorted(set(SIXTY_DAYS) - set(agents)))))
            claude_usage.PACE_FOLDER = pace.folder
            poller = claude_usage.PacePoller(setup)
            poller.once()
            known = inbox.get().known
            assert len(known.value.agents) == 200 and known.value.blockages, known
            looks, still, now = [], [], time.time()
            for name in os.listdir(pace.folder):
                os.utime(pace.path(name), (now - DAY, now - DAY))
            for number in range(3 * TIMES):
                os.utime(pace.path('config.json'), (now - HOUR - number, now - HOUR - number))
                for times in (looks, still):
                    began = time.perf_counter()
                    poller.once()
                    times.append(time.perf_counter() - began)
    tell('one look at all of Pace Maker', statistics.median(looks) * 1000, 'ms', 10)
    tell('one look where nothing changed', statistics.median(still) * 1000, 'ms', 0.2)


CHILD = '''
import argparse, os, queue, sys, tempfile, time
sys.path.insert(0, sys.argv[1])
from claude_usage import ConsolePoller, Logins, Setup, Store, parse_time
now = parse_time('2025-11-30T12:00:00Z')
options = argparse.Namespace(interval=None, user=sys.argv[3], api_url=sys.argv[2], budget=None,
                             budget_org=None)
poller = ConsolePoller(Setup(options, os.environ, queue.Queue(), lambda: now,
                             Store(tempfile.mkdtemp()), Logins(os.environ), ''))
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    poller.once()
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


class Monitor:
    """The live program on a terminal of its own, forked straight from here."""

    def __init__(self, url, home):
        self.seen = b''
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, PROGRAM, '--api-url', url],
                      dict(environment(home), TERM='xterm-256color'))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))

    def kill(self):
        """End it so that it can do nothing more."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


class Monitors:
    """Some monitors of one user; `with` reads what they send, and ends them."""

    def __init__(self, urls, home):
        self.home, self.ended, self.gone = home, threading.Event(), []
        self.changed = threading.Condition()
        self.all = [Monitor(url, home) for url in urls]
        self.reader = threading.Thread(target=self.read, daemon=True)

    def __enter__(self):
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.reader.join()
        for monitor in self.all + self.gone:
            monitor.kill()

    def read(self):
        """Keep what comes, for a monitor whose terminal is full would wait."""
        while not self.ended.wait(0.02):
            with self.changed:
                for monitor in self.all:
                    if select.select([monitor.master], [], [], 0)[0]:
                        monitor.seen += os.read(monitor.master, 65536)
                self.changed.notify_all()

    def wait_for(self, text, seconds):
        """Wait until all of them have sent a text."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: all(text in monitor.seen for monitor in self.all), seconds), text

    def end(self, index, number):
        """Send one a signal; it is no longer among those that are read."""
        with self.changed:
            monitor = self.all.pop(index)
            os.kill(monitor.pid, number)
            self.gone.append(monitor)

    def restart(self, url):
        """Kill the one that has run for longest, and start another."""
        with self.changed:
            self.all.pop(0).kill()
            self.all.append(Monitor(url, self.home))


def requests_of(count, seconds):
    """How many requests for usage come from so many monitors in so many seconds.

    Each reply tells more, which is when the most is asked.
    """
    with logged_in_home() as home, serving() as server:
        server.answer(USAGE, *(Reply(body=dict(captures.USAGE_2026, five_hour={
            'utilization': used, 'resets_at': None})) for used in range(11, 99)))
        with Monitors([server.url] * count, home) as monitors:
            ends = server.wait_for(1, USAGE)[0].at + seconds
            monitors.wait_for(b' 9%', seconds)
            time.sleep(ends - time.monotonic())
            return len(server.wait_for(1, USAGE))


def wait_until(true, seconds):
    """Look for something often, for at most so many seconds."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, 'it took too long'
        time.sleep(0.01)


def bereaved(number):
    """Seconds from a signal to the holder, in the middle of its request, to the next request,
    and to the numbers of all others. Each has a server of its own, so that it is known."""
    with logged_in_home() as home, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving()) for _ in range(5)]
        for server in servers:
            server.answer(USAGE, Reply(hang=True))

        def asked():
            return [server for server in servers
                    if any(request.path == USAGE for request in server.requests)]
        with Monitors([server.url for server in servers], home) as monitors:
            wait_until(asked, 30)
            holder, = asked()
            for server in servers:
                server.answer(USAGE, Reply(body=captures.USAGE_2026))
            monitors.end(servers.index(holder), number)
            ended = time.monotonic()
            wait_until(lambda: len(asked()) > 1, 60)
            waited = time.monotonic() - ended
            monitors.wait_for(b'11%', 60)
            return waited, time.monotonic() - ended


def blocked(seconds):
    """Requests for usage from five monitors during the Retry-After of a 429, in real seconds.

    Every few of them one is killed and another started, one told to ask, and --once run.
    """
    with logged_in_home() as home, serving() as server:
        server.answer(USAGE, Reply(429, captures.ERROR_429, {'Retry-After': str(seconds)}),
                      Reply(body=captures.USAGE_2026))
        with Monitors([server.url] * 5, home) as monitors:
            ends = server.wait_for(1, USAGE)[0].at + seconds
            while time.monotonic() < ends - 10:
                time.sleep(5)
                monitors.restart(server.url)
                os.write(monitors.all[0].master, b'r')
                subprocess.run(command(server) + ['--once'], env=environment(home),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(ends - time.monotonic())
            return len(server.wait_for(1, USAGE)) - 1


def sharing():
    """What several monitors of one user ask together."""
    one = requests_of(1, 60)
    print('one monitor for 60 s: %d requests for usage' % one)
    tell('requests of 20 monitors for 60 s', requests_of(20, 60), '', one + 1)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        waited, told = bereaved(number)
        name = signal.Signals(number).name
        tell('next request after the holder got ' + name, waited, 's', 20)
        tell('numbers of all others after that', told, 's', 22)
    tell('requests of 5, restarted too, blocked for 120 s', blocked(120), '', 0)


def eight_limits(at, is_whole):
    """A reply for usage at a time, with eight limits that are used evenly in their windows.

    Their percents are whole, as those of the service are; else all of them move with each reply,
    which is the most that there can be to store.
    """
    names = ['five_hour', 'seven_day', 'seven_day_opus', 'seven_day_sonnet'] + [
        'amber_ladder_%d' % number for number in range(4)]
    document = {}
    for index, name in enumerate(names):
        length = 5 * HOUR if name == 'five_hour' else 7 * DAY
        used = 1 + index + at % length / length * 90
        document[name] = {'utilization': float(int(used)) if is_whole else used,
                          'resets_at': (at // length + 1) * length}
    return document


def settle(store, at, is_whole=True):
    """Store a reply as a poller does."""
    from claude_usage import Attempt, account_key, fingerprint, parse_identity, parse_usage
    document = eight_limits(at, is_whole)
    account = account_key(parse_identity(captures.CLAUDE_JSON), {})
    attempt = Attempt(account, 'usage', fingerprint(captures.TOKEN), at, at, 'ok')
    store.add([attempt], {(account, 'usage'): (at, json.dumps(document))},
              (account, parse_usage(document, at).limits), at)


# The samples of the first day, once more for each of the days that follow.
FILL = ('WITH RECURSIVE days(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM days WHERE n < 34) '
        'INSERT INTO samples SELECT series, at + 86400 * n, used, resets_at + 86400 * n '
        'FROM samples, days')


def filled_store(folder, is_whole):
    """A store with a day of replies, and how many MiB they take."""
    sys.path.insert(0, os.path.dirname(PROGRAM))
    from claude_usage import Store
    filled, start = Store(folder), time.time() - 35 * DAY
    settle(filled, start, is_whole)
    empty, began = os.path.getsize(filled.path), time.perf_counter()
    for tick in range(1, 2880):
        settle(filled, start + 30 * tick, is_whole)
    print('a reply with 8 limits stored in %.1f ms' % (
        (time.perf_counter() - began) / 2880 * 1000))
    return filled, (os.path.getsize(filled.path) - empty) / 2 ** 20


def full_store(folder):
    """A store with 35 days of samples; print what a day of them takes at most."""
    _, size = filled_store(folder + '-day', False)
    tell('a day of samples of 8 limits', size, 'MiB', 3)
    full, _ = filled_store(folder, True)
    with contextlib.closing(sqlite3.connect(full.path)) as db, db:
        db.execute(FILL)
        count, = db.execute('SELECT count(*) FROM samples').fetchone()
    print('35 days of them: %d samples, %.1f MiB' % (
        count, os.path.getsize(full.path) / 2 ** 20))
    return full


def forget_usage(shared):
    """Take the last reply and all attempts out, so that a request must be made and stored."""
    with contextlib.closing(sqlite3.connect(shared.path)) as db, db:
        db.execute("DELETE FROM replies WHERE part = 'usage'")
        db.execute("DELETE FROM attempts WHERE source = 'usage'")


def store():
    """What the store grows by, and what a full one costs a `--once` that makes a request."""
    with logged_in_home() as home, serving() as server:
        full = full_store(os.path.join(home, 'full'))
        fresh = type(full)(os.path.join(home, 'fresh'))
        settle(fresh, time.time())
        times = {full: [], fresh: []}
        for turn in range(2 * TIMES + 1):       # the first also asks who it is
            for each in (full, fresh) if turn % 2 else (fresh, full):
                forget_usage(each)
                before, began = len(server.requests), time.perf_counter()
                subprocess.run(command(server) + ['--once'], check=True,
                               env=environment(home, CLAUDE_USAGE_DIR=each.folder),
                               stdout=subprocess.DEVNULL)
                times[each].append(time.perf_counter() - began)
                assert len(server.requests) > before
        full, fresh = (statistics.median(times[each][1:]) for each in (full, fresh))
    print('--once with a fresh store %.0f ms, with a full one %.0f ms' % (
        fresh * 1000, full * 1000))
    tell('--once with 35 days of samples / with one', full / fresh, 'x', 1.2)


SESSION = {'hook_event_name': 'Status', 'session_id': 'abc', 'cwd': '/home/user/project',
           'model': {'id': 'claude-opus-4-5', 'display_name': 'Opus'}, 'version': '2.1.331',
           'workspace': {'current_dir': '/home/user/project'}}


def statusline():
    """The status line as it is installed, told other numbers each time, and so storing them."""
    started = {
        'bare': [sys.executable, '-c', 'import json, sqlite3'],
        'installed': [sys.executable, '-c',
                      INSTALLED, '--statusline'],
        'script': [sys.executable, PROGRAM, '--statusline']}
    times = {name: [] for name in started}
    with logged_in_home() as home, tempfile.TemporaryDirectory() as cache:
        # What it holds after a year, with the last reply that Claude Code itself got.
        cached = {'fetchedAtMs': time.time() * 1000 - 9e5, 'utilization': captures.USAGE_2026,
                  'accountUuid': captures.CLAUDE_JSON['oauthAccount']['accountUuid']}
        with open(os.path.join(home, '.claude.json'), 'w') as file:
            json.dump(dict(projects={'/w/%d' % n: {'history': ['x' * 999]} for n in range(3000)},
                           cachedUsageUtilization=cached, **captures.CLAUDE_JSON), file, indent=2)
        env = environment(home, PYTHONPYCACHEPREFIX=cache, PYTHONPATH=os.path.dirname(PROGRAM))
        resets_at = int(time.time()) + 3 * HOUR
        for number in range(4 * TIMES + 1):     # the first writes the byte code
            rates = {name: {'used_percentage': number, 'resets_at': resets_at}
                     for name in ('five_hour', 'seven_day')}
            told = json.dumps(dict(SESSION, rate_limits=rates, cost={
                'total_api_duration_ms': number})).encode()
            for name, argv in started.items():
                began = time.perf_counter()
                done = subprocess.run(argv, input=told, stdout=subprocess.PIPE, env=env)
                times[name].append(time.perf_counter() - began)
                assert name == 'bare' or b'Opus' in done.stdout
    bare, installed, script = (statistics.median(taken[1:]) for taken in times.values())
    print('bare interpreter %.1f ms, installed %.1f ms' % (bare * 1000, installed * 1000))
    print('as a file, compiled each time: %.1f ms, %.2f x' % (script * 1000, script / bare))
    tell('--statusline / bare interpreter', installed / bare, 'x', 2.5)


def outlook():
    """How honest the outlook is, on invented people, and how long it takes."""
    sys.path.insert(0, os.path.dirname(PROGRAM))
    import bench_outlook
    if bench_outlook.main():
        missed.append('outlook')


BENCHMARKS = {'book': book, 'start': start, 'reaction': reaction, 'idle': idle,
              'accounts': accounts, 'pace_maker': pace_maker, 'console': console,
              'statusline': statusline, 'store': store, 'outlook': outlook, 'sharing': sharing}

if __name__ == '__main__':
    print('Python %s, %d cores, load %.1f' % (
        sys.version.split()[0], os.cpu_count(), os.getloadavg()[0]))
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
    if missed:
        sys.exit('Over their bounds: ' + ', '.join(missed))
