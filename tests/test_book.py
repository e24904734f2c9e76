"""The file as a book, and the papers around it: what is said twice is said alike."""
import ast
import configparser
import io
import keyword
import re
import tokenize

import pytest

import claude_usage
from claude_usage import ERRORS, EXIT_CODES, KEYS, OPTIONS
from conftest import PROGRAM, TESTS

ROOT = PROGRAM.parent
SOURCE = PROGRAM.read_text(encoding='utf-8')
TREE = ast.parse(SOURCE)
BANNER = re.compile(r'^# ---- (\d+)\. (.+?) -+$', re.MULTILINE)

# The table of issue 2: every failure that a user, or a reader of --json, may meet.
CODES = '''no_credentials logged_out token_expired unauthorized forbidden_scope rate_limited
    server_error network timeout tls redirected too_large bad_reply forbidden locked malformed
    internal'''.split()


def chapters():
    """chapter -> its text; what stands before the first one is in ''."""
    pieces = BANNER.split(SOURCE)
    return dict([('', pieces[0])] + list(zip(pieces[2::3], pieces[3::3])))


def names_in(text):
    """The names in code, comments and strings left out."""
    return {token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string)}


def test_chapters_are_as_the_docstring_lists_them():
    listed = re.findall(r'^ ?(\d+)\. (.+)$', claude_usage.__doc__, re.MULTILINE)
    assert listed == BANNER.findall(SOURCE)
    assert [int(number) for number, _ in listed] == list(range(1, len(listed) + 1))
    assert {len(match.group()) for match in BANNER.finditer(SOURCE)} == {98}


def test_lines_are_short_and_clean():
    for number, line in enumerate(SOURCE.split('\n'), 1):
        assert len(line) <= 99, number
        assert line == line.rstrip() and '\t' not in line, number
    assert SOURCE.endswith('\n') and not SOURCE.endswith('\n\n')


def test_no_globals():
    assert not [node.lineno for node in ast.walk(TREE) if isinstance(node, ast.Global)]


def test_few_broad_excepts():
    def is_broad(handler):
        names = [node.id for node in ast.walk(handler) if isinstance(node, ast.Name)]
        return handler.type is None or {'Exception', 'BaseException'} & set(names)
    handlers = [node for node in ast.walk(TREE) if isinstance(node, ast.ExceptHandler)]
    assert len(list(filter(is_broad, handlers))) <= 2


@pytest.mark.parametrize('name, places', [
    ('curses', {'Compatibility', 'Screen'}), ('termios', {'Compatibility', 'Screen'}),
    ('urllib3', {'Compatibility', 'Sources'}), ('sleep', {'Screen', 'Sources'})])
def test_what_only_some_chapters_know(name, places):
    assert {title for title, text in chapters().items() if name in names_in(text)} == places


def test_the_first_frame_waits_for_no_slow_import():
    imported = {alias.name for node in TREE.body if isinstance(node, ast.Import)
                for alias in node.names}
    imported |= {node.module for node in TREE.body if isinstance(node, ast.ImportFrom)}
    assert not imported & {'ssl', 'urllib', 'urllib3', 'urllib.request', 'subprocess', 'hashlib',
                           'email', 'http.client', 'sqlite3', 'logging'}


def test_errors_are_those_of_the_issue():
    assert list(ERRORS) == CODES
    for sentence, step in ERRORS.values():
        assert sentence.endswith('.') and (step.endswith('.') or not step)


def test_every_error_raised_is_in_the_table():
    raised = re.findall(r"(?:SourceError|Failure)\('(\w+)'", SOURCE)
    assert set(raised) <= set(CODES)


# --- Packaging ---

def config(name):
    parser = configparser.ConfigParser(interpolation=None)
    assert parser.read(str(ROOT / name), encoding='utf-8')
    return parser


def lines(text):
    """The entries of a list in a configuration, each once and in one spelling."""
    return {line.strip().replace('"', "'") for line in text.split('\n') if line.strip()}


def test_the_inline_metadata_is_that_of_the_package():
    block = re.search('(?ms)^# /// script$\n(.*?)^# ///$', SOURCE).group(1)
    options = config('setup.cfg')['options']
    dependencies = re.search(r'(?ms)^# dependencies = \[\n(.*?)^# \]', block).group(1)
    assert {ast.literal_eval(line.strip('# ,')) for line in dependencies.strip().split('\n')} == (
        lines(options['install_requires']))
    assert 'requires-python = "%s"' % options['python_requires'] in block


def test_the_version_is_read_from_the_file():
    assert config('setup.cfg')['metadata']['version'] == 'attr: claude_usage.__version__'
    assert re.match(r'\d+\.\d+\.\d+$', claude_usage.__version__)


def test_every_python_is_tested():
    classifiers = config('setup.cfg')['metadata']['classifiers']
    minors = re.findall(r'Python :: 3\.(\d+)$', classifiers, re.MULTILINE)
    environments = re.split(r'[,\s]+', config('tox.ini')['tox']['envlist'].strip())
    assert set(environments) == {'lint'} | {'py3' + minor for minor in minors}
    assert [int(minor) for minor in minors] == list(range(6, 6 + len(minors)))


# --- README ---

@pytest.fixture(scope='module')
def readme():
    path = ROOT / 'README.md'
    if not path.exists():
        pytest.skip('no README.md yet')
    return path.read_text(encoding='utf-8')


@pytest.mark.parametrize('option', list(OPTIONS) + ['--help'])
def test_readme_names_every_option(readme, option):
    assert re.search(r'`%s\b' % option, readme)
    for choice in OPTIONS.get(option, {}).get('choices', ()):
        assert choice in readme


@pytest.mark.parametrize('key', [part for key in KEYS for part in key.shown.split(', ')])
def test_readme_names_every_key(readme, key):
    assert '`%s`' % key in readme


@pytest.mark.parametrize('code', re.findall(r'^  (\d+(?: \+ number)?)', EXIT_CODES, re.MULTILINE))
def test_readme_names_every_exit_code(readme, code):
    assert '| %s |' % code in readme


def test_readme_shows_pace_maker_as_the_golden_screen_does(readme):
    golden = (TESTS / 'golden' / 'pace-throttling.txt').read_text(encoding='utf-8')
    picture = re.search('```\n(│ 🎯.*?)```', readme, re.DOTALL).group(1)
    assert picture in golden


@pytest.mark.parametrize('name', ['picture', 'console-picture'])
def test_readme_shows_the_pictures(readme, name):
    assert (TESTS / 'golden' / (name + '.txt')).read_text(encoding='utf-8') in readme
