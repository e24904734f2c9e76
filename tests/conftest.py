"""Fixtures, and a clean environment for the code that tests call in their own process."""
import difflib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

import captures
from server import Server
from terminal import COMMAND, ROOT, environment

TESTS = Path(__file__).resolve().parent
PROGRAM = TESTS.parent / 'claude_usage.py'
KEPT = ('PATH', 'TMPDIR', 'LD_LIBRARY_PATH', 'CI')

# No login, key, proxy or preference of the person who runs the tests may reach them.
for _name in list(os.environ):
    if _name not in KEPT and not _name.startswith(('PYTEST', 'PYTHON', 'COVERAGE')):
        del os.environ[_name]
os.environ.update(HOME=str(TESTS / 'nobody'), LC_ALL='C.UTF-8')


class Result(NamedTuple):
    """What a program that has ended left behind."""
    code: int
    out: str
    err: str


def pytest_addoption(parser):
    """Add the option that rewrites the golden files."""
    parser.addoption('--golden', action='store_true',
                     help='rewrite tests/golden/*.txt; then read the git diff')


@pytest.fixture
def server():
    """A loopback server, see server.py."""
    with Server() as running:
        yield running


@pytest.fixture
def home(tmp_path):
    """The home directory of somebody who is logged in to Claude Code."""
    path = tmp_path / 'home'
    (path / '.claude').mkdir(parents=True)
    credentials = path / '.claude' / '.credentials.json'
    credentials.write_text(json.dumps(captures.CREDENTIALS), encoding='utf-8')
    credentials.chmod(0o600)
    (path / '.claude.json').write_text(json.dumps(captures.CLAUDE_JSON), encoding='utf-8')
    return path


@pytest.fixture
def run(home):
    """A function that runs `claude-usage ARGS` to its end, as a user would, in that home."""
    def run_program(args, env=None, home=home, timeout=60):
        process = subprocess.run(
            COMMAND + [str(arg) for arg in args], cwd=ROOT,
            env=dict(environment(home), **env or {}), timeout=timeout, encoding='utf-8',
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return Result(process.returncode, process.stdout, process.stderr)
    return run_program


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
    """A function that compares a text with tests/golden/NAME.txt; see --golden."""
    def compare(name, text):
        path = TESTS / 'golden' / (name + '.txt')
        actual = (text.rstrip('\n') + '\n').encode('utf-8')
        if request.config.getoption('--golden'):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(actual)
        expected = path.read_bytes() if path.exists() else b''
        if actual != expected:
            diff = difflib.unified_diff(
                expected.decode('utf-8').splitlines(), actual.decode('utf-8').splitlines(),
                str(path.relative_to(TESTS.parent)), 'now', lineterm='')
            pytest.fail('\n'.join(diff) + '\nif it is right now: pytest --golden', pytrace=False)
    return compare
