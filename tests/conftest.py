"""Fixtures, and a clean environment for the code that tests call in their own process.

A test that starts the program as a process of its own has a fixture for that, and is marked
`slow`; others that take long, or start something else, are marked where they stand.
"""
import contextlib
import difflib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

import captures
from server import Reply, Server
from terminal import COMMAND, EAGER, ROOT, Terminal, environment

TESTS = Path(__file__).resolve().parent
PROGRAM = TESTS.parent / 'claude_usage.py'
USAGE, PROFILE = '/api/oauth/usage', '/api/oauth/profile'
KEPT = ('PATH', 'TMPDIR', 'LD_LIBRARY_PATH', 'CI')
SLOW_FIXTURES = {'run', 'begin', 'monitor'}
SLOW_MODULES = {'test_live', 'test_sharing', 'test_terminal'}

# No login, key, proxy or preference of the person who runs the tests may reach them.
for _name in list(os.environ):
    if _name not in KEPT and not _name.startswith(('PYTEST', 'PYTHON', 'COVERAGE')):
        del os.environ[_name]
os.environ.update(HOME=str(TESTS / 'nobody'), LC_ALL='C.UTF-8')

# What a shell's `&` or nohup has set to be ignored would be ignored in the programs under test
# too. What has a handler here is not; here it still does nothing.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


class Result(NamedTuple):
    """What a program that has ended left behind."""
    code: int
    out: str
    err: str


def pytest_addoption(parser):
    """Add the option that rewrites the golden files."""
    parser.addoption('--golden', action='store_true',
                     help='rewrite tests/golden/*.txt; then read the git diff')
    parser.addoption('--fuzz', type=int, default=0, metavar='EXAMPLES',
                     help='try so many random examples of each law in tests/test_fuzz.py')


def pytest_collection_modifyitems(config, items):
    """Mark the tests that start the program; leave out those that are to be asked for by -m."""
    for item in items:
        fixtures = getattr(item, 'fixturenames', ())
        if item.module.__name__ in SLOW_MODULES or SLOW_FIXTURES.intersection(fixtures):
            item.add_marker('slow')
    for name in {'soak', 'ssh'}.difference(re.findall(r'\w+', config.option.markexpr)):
        left_out = [item for item in items if item.get_closest_marker(name)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def server():
    """A loopback server, see server.py."""
    with Server() as running:
        yield running


@pytest.fixture
def service(server):
    """A server that answers as the service does."""
    server.answer(USAGE, Reply(body=captures.QUIET))
    server.answer(PROFILE, Reply(body=captures.PROFILE))
    return server


def asked(server, path=USAGE):
    """How many requests of a path came."""
    return [request.path for request in server.requests].count(path)


@pytest.fixture
def home(tmp_path):
    """The home directory of somebody who is logged in to Claude Code."""
    path = tmp_path / 'home'
    (path / '.claude').mkdir(parents=True)
    log_in(path)
    (path / '.claude.json').write_text(json.dumps(captures.CLAUDE_JSON), encoding='utf-8')
    return path


def log_in(home, **changes):
    """Replace the credentials, at once as Claude Code does, by its own with some changes."""
    login = dict(captures.CREDENTIALS['claudeAiOauth'], **changes)
    new = home / '.claude' / 'new'
    new.write_text(json.dumps(dict(captures.CREDENTIALS, claudeAiOauth=login)), encoding='utf-8')
    new.chmod(0o600)
    os.replace(str(new), str(home / '.claude' / '.credentials.json'))


@pytest.fixture
def begin(home):
    """A function that starts `claude-usage ARGS` in that home and does not wait for its end.

    `argv` is another command line, `env` adds to the environment, `how` is for Popen.
    """
    children = []

    def start(args, env=None, home=home, argv=COMMAND, **how):
        usual = dict(cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE)
        child = subprocess.Popen(
            list(argv) + [str(arg) for arg in args], env=dict(environment(home), **env or {}),
            encoding='utf-8', **dict(usual, **how))
        children.append(child)
        return child
    yield start
    for child in children:
        child.kill()
        child.wait()
        for pipe in filter(None, (child.stdin, child.stdout, child.stderr)):
            pipe.close()


def ended(child, input=None, timeout=60):
    """The Result of a program that was begun, at its end."""
    out, err = child.communicate(input, timeout)
    return Result(child.returncode, out or '', err or '')


@pytest.fixture
def run(begin):
    """A function that runs `claude-usage ARGS` to its end, as a user would, in that home."""
    def run_program(args, env=None, input=None, timeout=60, **how):
        if input is not None:
            how['stdin'] = subprocess.PIPE
        return ended(begin(args, env, **how), input, timeout)
    return run_program


@pytest.fixture
def ask(run, service):
    """A function that runs the program with arguments against that service."""
    def run_it(*arguments, **how):
        done = run(('--api-url', service.url) + arguments, **how)
        assert 'SECRET' not in done.out + done.err and 'Traceback' not in done.err
        return done
    return run_it


@pytest.fixture
def monitor(service, home):
    """A function that starts the program in a terminal, against that service, for a `with`.

    No byte that it sends there may tell the token. `before` are words before its command line.
    """
    @contextlib.contextmanager
    def start(*arguments, size=(80, 24), env=None, before=(), argv=EAGER, cwd=ROOT):
        argv = list(before) + list(argv) + ['--api-url', service.url] + list(arguments)
        with Terminal(argv, size, dict({'HOME': str(home)}, **env or {}), cwd) as terminal:
            yield terminal
        assert b'SECRET' not in terminal.output
    return start


@pytest.fixture
def zone():
    """Central European time, by its rules, for the tz database may be missing."""
    before = os.environ.get('TZ')
    os.environ['TZ'] = 'CET-1CEST,M3.5.0,M10.5.0/3'
    time.tzset()
    yield
    if before is None:
        del os.environ['TZ']
    else:
        os.environ['TZ'] = before
    time.tzset()


@pytest.fixture
def golden(request):
    """A function that compares a text with tests/golden/NAME.txt, but for blanks at the ends of
    lines and of the text; see --golden."""
    def compare(name, text):
        path = TESTS / 'golden' / (name + '.txt')
        lines = [line.rstrip() for line in text.rstrip().splitlines()]
        actual = ('\n'.join(lines) + '\n').encode('utf-8')
        if request.config.getoption('--golden'):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(actual)
        expected = path.read_bytes() if path.exists() else b''
        if actual != expected:
            diff = difflib.unified_diff(
                expected.decode('utf-8').splitlines(), lines,
                str(path.relative_to(TESTS.parent)), 'now', lineterm='')
            pytest.fail('\n'.join(diff) + '\nif it is right now: pytest --golden', pytrace=False)
    return compare
