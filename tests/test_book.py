"""The file as a book, and the papers around it: what is said twice is said alike."""
import ast
import collections
import functools
import configparser
import io
import re
import symtable
import tokenize

import pytest

import claude_usage
from claude_usage import CORE_OPTIONS, ERRORS, EXIT_CODES, KEYS, OPTIONS
from conftest import PROGRAM

ROOT = PROGRAM.parent
SOURCE, README = (path.read_text(encoding='utf-8') for path in (PROGRAM, ROOT / 'README.md'))
TREE = ast.parse(SOURCE)
BANNER = re.compile(r'^# ---- (.+?) -+$', re.MULTILINE)
CHAPTERS = dict(zip(BANNER.split(SOURCE)[1::2], BANNER.split(SOURCE)[2::2]))
FEATURES = [title for title in ('Code mode', 'Outlook', 'Console', 'Pace Maker', 'Alerts')
            if title in CHAPTERS]
# What may be imported before the first frame.
QUICK = set('''argparse bisect curses functools json locale math os queue re signal stat sys
    termios threading time typing unicodedata'''.split())
# Every failure that a user, or a reader of --json, may meet in Code mode.
CODES = '''no_credentials logged_out token_expired unauthorized forbidden_scope rate_limited
    server_error network timeout tls redirected too_large bad_reply forbidden locked malformed
    unshared internal'''.split()


@functools.lru_cache(maxsize=None)
def defined(title):
    """The names that a chapter defines."""
    return set(definitions(ast.parse(CHAPTERS[title])))


def definitions(tree):
    """The names that a module defines, in their order."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in getattr(node, 'targets', None) or [node.target]:
                yield from (name.id for name in getattr(target, 'elts', [target])
                            if isinstance(name, ast.Name))


@functools.lru_cache(maxsize=None)
def used(title):
    """The names of the module that a chapter refers to."""
    return uses(symtable.symtable(CHAPTERS[title], title, 'exec'))


def uses(table):
    """The names of the module that a symbol table, or one inside of it, refers to."""
    found = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()
             and (table.get_type() == 'module' or symbol.is_global())}
    return found.union(*map(uses, table.get_children()))


def test_chapters_are_as_the_docstring_lists_them():
    listed = ', '.join(re.findall('^    (.+)$', claude_usage.__doc__, re.MULTILINE)).split(', ')
    assert listed == BANNER.findall(SOURCE)
    assert {len(match.group()) for match in BANNER.finditer(SOURCE)} == {98}
    for title, text in CHAPTERS.items():
        assert re.match('\n# .+\n(# .+\n){0,3}\n', text), title


@pytest.mark.parametrize('title', FEATURES)
def test_no_other_chapter_names_what_a_feature_defines(title):
    others = [other for other in CHAPTERS if other != title]
    own = defined(title).difference(*map(defined, others))
    for other in others:
        assert not own & used(other), other


def test_no_chapter_takes_the_name_of_another():
    count = collections.Counter(name for title in CHAPTERS for name in defined(title))
    assert [name for name in count if count[name] > 1] == []


def test_lines_globals_and_broad_excepts():
    for number, line in enumerate(SOURCE.split('\n'), 1):
        assert len(line) <= 99 and line == line.rstrip() and '\t' not in line, number
    assert SOURCE.endswith('\n') and not SOURCE.endswith('\n\n')
    nodes = list(ast.walk(TREE))
    assert not [node.lineno for node in nodes if isinstance(node, ast.Global)]
    broad = [node for node in nodes if isinstance(node, ast.ExceptHandler) and (
        node.type is None or re.search(r"'(Base)?Exception'", ast.dump(node.type)))]
    assert len(broad) <= 2
    for node in TREE.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            assert ast.get_docstring(node), node.name


def test_what_only_some_chapters_know():
    places = {'curses': {'Compatibility', 'Screen'}, 'termios': {'Compatibility', 'Screen'},
              'urllib3': {'Compatibility', 'Network'},
              'sqlite3': {'Compatibility', 'Store', 'Pace Maker'},
              'sleep': {'Screen'}}
    for title, text in CHAPTERS.items():
        names = {token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)
                 if token.type == tokenize.NAME}
        for name in set(places) & names:
            assert title in places[name], name


def test_the_first_frame_waits_for_no_slow_import():
    found, nodes = set(), [TREE]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        elif not isinstance(node, ast.FunctionDef):
            nodes += ast.iter_child_nodes(node)
    assert found == QUICK


def test_errors_are_those_of_the_issue():
    assert list(ERRORS['']) == CODES
    for table in ERRORS.values():
        for sentence, step in table.values():
            assert sentence.endswith('.') and (step.endswith('.') or not step)
    raised = re.findall(r"(?:SourceError|Failure)\('(\w+)'", SOURCE)
    assert set(raised) <= set().union(*ERRORS.values())


# --- The papers around it ---

def config(name, section):
    parser = configparser.ConfigParser(interpolation=None)
    assert parser.read(str(ROOT / name), encoding='utf-8')
    return parser[section]


def test_the_inline_metadata_is_that_of_the_package():
    block = re.search('(?ms)^# /// script$\n(.*?)^# ///$', SOURCE).group(1)
    options = config('setup.cfg', 'options')
    needed = re.findall('^#     "(.*)",$', block, re.MULTILINE)
    assert needed == options['install_requires'].strip().replace('"', "'").split('\n')
    assert 'requires-python = "%s"' % options['python_requires'] in block
    metadata = config('setup.cfg', 'metadata')
    assert metadata['version'] == 'attr: claude_usage.__version__'
    assert re.match(r'\d+\.\d+\.\d+$', claude_usage.__version__)
    minors = re.findall(r'Python :: 3\.(\d+)$', metadata['classifiers'], re.MULTILINE)
    assert set(re.findall(r'py3(\d+)', config('tox.ini', 'tox')['envlist'])) == set(minors)
    assert [int(minor) for minor in minors] == list(range(6, 6 + len(minors)))


def test_readme_names_every_option_key_and_exit_code():
    for option, how in list(CORE_OPTIONS.items()) + list(OPTIONS.items()) + [('--help', {})]:
        assert re.search(r'`%s\b' % option, README), option
        assert all(choice in README for choice in how.get('choices', ()))
    for key in [part for key in KEYS for part in key.shown.split(', ')]:
        assert '`%s`' % key in README, key
    for code in re.findall(r'^  (\d+(?: \+ number)?)', EXIT_CODES, re.MULTILINE):
        assert '| %s |' % code in README, code


def test_readme_shows_both_pictures():
    assert all('.github/screen-%s.svg' % name in README for name in ('wide', 'narrow'))


def test_readme_links_to_its_own_headings():
    anchors = {re.sub('[^a-z0-9 -]', '', heading.lower()).replace(' ', '-')
               for heading in re.findall('^## (.+)$', README, re.MULTILINE)}
    assert set(re.findall(r'\]\(#([\w-]+)\)', README)) <= anchors
