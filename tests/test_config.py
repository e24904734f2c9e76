"""The config file: what counts, what is refused, and what goes on without it."""
import json
import os
import re
import time

import pytest

import claude_usage
from claude_usage import (API_URL, CONFIG_MOST, CORE_OPTIONS, OPTIONS, config_folders, main,
                          parse_arguments)
from conftest import asked

NAME = '~/.claude-usage/config.json'
# An option, what a file may say of it, and what comes of it.
GOOD = [
    ({'interval': 60}, 'interval', 60.0), ({'interval': 12.5}, 'interval', 12.5),
    ({'interval': '60'}, 'interval', 60.0), ({'interval': None}, 'interval', None),
    ({'ascii': True}, 'ascii', True), ({'ascii': False}, 'ascii', False),
    ({'ascii': None}, 'ascii', False), ({'json': True}, 'output', 'json'),
    ({'json': False}, 'output', None), ({'check': 0}, 'check', 0.0),
    ({'history': True}, 'history', 35), ({'history': 7}, 'history', 7),
    ({'mode': 'console'}, 'mode', 'console'), ({'color': 'never'}, 'color', 'never'),
    ({'user': 'a@b'}, 'user', 'a@b'), ({'user': '--json'}, 'user', '--json'),
    ({'user': 'Zoë'}, 'user', 'Zoë'), ({'api_url': 'https://x.y'}, 'api_url', 'https://x.y'),
    ({'config_dir': ['/a', '~/b c']}, 'config_dir', ['/a', '~/b c']),
    ({'config_dir': []}, 'config_dir', None), ({'budget': 99.5}, 'budget', 99.5),
    ({'budget_org': 5000}, 'budget_org', 5000.0), ({}, 'mode', 'auto')]
BAD = [
    ({'interval': 9}, 'interval: argument --interval: must be from 10 to 86400 seconds.'),
    ({'interval': 'often'}, 'interval: argument --interval: must be from 10 to 86400 seconds.'),
    ({'interval': float('nan')}, 'interval: argument --interval: must be from'),
    ({'interval': True}, 'interval: argument --interval: expected one argument.'),
    ({'interval': [60]}, 'interval: must be a text or a number.'),
    ({'user': {'is': 'me'}}, 'user: must be a text or a number.'),
    ({'ascii': 'yes'}, "ascii: argument --ascii: ignored explicit argument 'yes'."),
    ({'ascii': 1}, "ascii: argument --ascii: ignored explicit argument '1'."),
    ({'config_dir': '/a'}, 'config_dir: must be a list.'),
    ({'config_dir': None}, 'config_dir: must be a list.'),
    ({'config_dir': [['/a']]}, 'config_dir: must be a text or a number.'),
    ({'mode': 'magic'}, "mode: argument --mode: invalid choice: 'magic'"),
    ({'mode': '\x1b[2J'}, "mode: argument --mode: invalid choice: '\\x1b[2J'"),
    ({'api_url': 'http://me:SECRET@x'}, 'api_url: argument --api-url: must be https://'),
    ({'check': 101}, 'check: argument --check: must be from 0 to 100.'),
    ({'json': True, 'once': True}, 'once: argument --once: not allowed with argument --json.'),
    ({'budget': 0}, 'budget: argument --budget: must be from 0.01 to 10000000 USD.'),
    ({'budget_org': 1e309}, 'budget_org: argument --budget-org: must be from 0.01 to'),
    ({'intervall': 60}, 'intervall: no such option; the nearest is interval.'),
    ({'config-dir': []}, 'config-dir: no such option; the nearest is config_dir.'),
    ({'no_ascii': True}, 'no_ascii: no such option; the nearest is ascii.'),
    ({'version': True}, 'version: no such option; the nearest is '),
    ({'': 1}, ': no such option; the nearest is '),
    ({'\x1b[2J' * 99: 1}, ': no such option; the nearest is '),
    ([1], 'it is no object.'), ('text', 'it is no object.')]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the file is, in the folder of the store of somebody."""
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / '.claude-usage').mkdir(mode=0o700)
    return tmp_path / '.claude-usage' / 'config.json'


@pytest.fixture
def write(path):
    """A function that writes the file: a document, or its text."""
    def write_file(document, mode=0o600):
        if not isinstance(document, bytes):
            document = json.dumps(document).encode()
        path.write_bytes(document)
        path.chmod(mode)
    return write_file


@pytest.fixture
def refused(capsys):
    """A function that returns the words with which arguments are refused."""
    def words_for(*arguments):
        with pytest.raises(SystemExit) as caught:
            parse_arguments(arguments)
        told = capsys.readouterr()
        assert (caught.value.code, told.out) == (2, '')
        assert 'SECRET' not in told.err and max(told.err) < '\x7f' and '\x1b' not in told.err
        return told.err
    return words_for


# --- What it says ---

@pytest.mark.parametrize('document, name, value', GOOD)
def test_what_a_file_may_say(write, document, name, value):
    write(document)
    options = parse_arguments([])
    assert getattr(options, name) == value and not options.trouble
    write(b'\xef\xbb\xbf ' + json.dumps(document, indent=1).replace('\n', '\r\n').encode())
    assert getattr(parse_arguments([]), name) == value


@pytest.mark.parametrize('document, words', BAD)
def test_what_it_may_not_say(write, refused, document, words):
    write(document)
    told = refused()
    start = 'claude-usage: error: Failed to load %s' % NAME
    assert told.startswith(start) and words in told and len(told) < 250


def test_every_option_can_stand_in_it(write):
    """But what only prints: --version and --help."""
    for name, how in list(CORE_OPTIONS.items()) + list(OPTIONS.items()):
        value = 'https://x.y' if 'url' in name else how.get('choices', ['50'])[-1]
        value = [value] if how.get('action') == 'append' else value
        value = True if how.get('action', '').startswith('store_') else value
        write({name[2:].replace('-', '_'): value})
        origins = [values for origin, values in parse_arguments([]).layers if origin == 'file']
        assert len(origins[0]) == 1, name


# --- What counts ---

def test_the_command_line_counts_before_the_environment_and_that_before_the_file(
        write, monkeypatch):
    write({'user': 'file', 'api_url': 'https://file', 'config_dir': ['/file'], 'interval': 60})
    assert parse_arguments([]).user == 'file'
    monkeypatch.setenv('CLAUDE_USAGE_EMAIL', 'environment')
    monkeypatch.setenv('CLAUDE_USAGE_API_URL', 'https://environment')
    monkeypatch.setenv('CLAUDE_USAGE_CONFIG_DIRS', os.pathsep.join(['/e1', '', '/e2']))
    options = parse_arguments(['--interval', '20'])
    assert (options.user, options.api_url) == ('environment', 'https://environment')
    assert config_folders(options) == ['/e1', '/e2'] and options.interval == 20
    options = parse_arguments(['--user', 'me', '--api-url=https://me', '--config-dir', '/me'])
    assert (options.user, options.api_url, options.config_dir) == ('me', 'https://me', ['/me'])
    for name in ('EMAIL', 'API_URL', 'CONFIG_DIRS'):
        monkeypatch.setenv('CLAUDE_USAGE_' + name, '')
    assert parse_arguments([]).config_dir == ['/file'], 'an empty variable is none'
    monkeypatch.setenv('CLAUDE_USAGE_API_URL', 'ftp://x')
    assert parse_arguments(['--api-url', 'https://me']).api_url == 'https://me'


def test_everything_can_be_taken_back(write):
    write({'ascii': True, 'interval': 60, 'user': 'a', 'config_dir': ['/a'], 'budget': 5,
           'demo': True, 'history': 5, 'api_url': 'https://x'})
    names = 'ascii interval user config-dir budget demo history api-url'
    options = parse_arguments(['--no-' + name for name in names.split()])
    assert (options.ascii, options.interval, options.user) == (False, None, '')
    assert not options.demo and config_folders(options) == []
    assert (options.budget, options.history, options.api_url) == (None, None, API_URL)
    assert parse_arguments(['--no-ascii', '--ascii']).ascii
    assert parse_arguments(['--no-config-dir', '--config-dir', '/b']).config_dir == ['/b']


@pytest.mark.parametrize('document', [{'json': True}, {'check': 80}, {'history': 7},
                                      {'statusline': True}])
@pytest.mark.parametrize('arguments, output, check', [
    (['--once'], 'once', None), (['--metrics'], 'metrics', None), (['--check', '5'], None, 5.0),
    (['--no-json'], None, None), (['--no-check'], None, None), (['--doctor'], 'doctor', None)])
def test_an_output_that_is_named_overrules_the_files(write, document, arguments, output, check):
    write(dict(document, ascii=True))
    options = parse_arguments(arguments)
    assert (options.output, options.check, options.history) == (output, check, None)
    assert options.ascii, 'the rest counts'


def test_print_config(write, capsys, monkeypatch):
    write({'ascii': True, 'interval': 60, 'user': 'x', 'json': True, 'config_dir': ['/a\u202e']})
    monkeypatch.setenv('CLAUDE_USAGE_EMAIL', 'me@example.com')
    assert main(['--print-config', '--interval', '20']) == 0
    told = capsys.readouterr()
    lines = [re.fullmatch(r'(\w+) +(.*)  \((.*)\)', line).groups() for line in
             told.out.splitlines()]
    found = {name: (json.loads(value), origin) for name, value, origin in lines}
    assert found['ascii'] == (True, 'file') and found['output'] == ('json', 'file')
    assert found['interval'] == (20.0, 'command line')
    assert found['user'] == ('me@example.com', 'environment CLAUDE_USAGE_EMAIL')
    assert found['config_dir'] == (['/a\u202e'], 'file') and found['color'] == ('auto', 'default')
    assert told.err == '' and max(told.out) < '\x7f'
    assert {name[2:].replace('-', '_') for name, how in dict(CORE_OPTIONS, **OPTIONS).items()
            if 'dest' not in how} <= set(found)


# --- What is refused ---

def test_a_file_that_is_not_ones_own(write, refused, monkeypatch):
    for mode in (0o664, 0o602):
        write({'interval': 60}, mode)
        assert refused().endswith('%s: others own it or may write it.\n' % NAME)
    for mode in (0o600, 0o644):
        write({'interval': 60}, mode)
        assert parse_arguments([]).interval == 60
    owner = os.getuid() + 1
    monkeypatch.setattr(claude_usage.os, 'getuid', lambda: owner)
    assert 'others own it' in refused()


def test_what_is_no_file(path, write, refused, tmp_path):
    path.mkdir()
    assert refused().endswith('%s: Is a directory.\n' % NAME)
    path.rmdir()
    os.mkfifo(str(path))
    start = time.monotonic()
    assert 'not a regular file' in refused() and time.monotonic() - start < 5
    path.unlink()
    (tmp_path / 'other').write_text('{}', encoding='utf-8')
    for target in ('other', 'nothing'):
        path.symlink_to(tmp_path / target)
        assert refused().endswith('%s: it is a link.\n' % NAME)
        path.unlink()
    assert parse_arguments([]).mode == 'auto', 'no file is no trouble'
    path.parent.rmdir()
    path.parent.write_text('no folder', encoding='utf-8')
    assert parse_arguments([]).mode == 'auto'


@pytest.mark.parametrize('body, words', [
    (b'', 'it is empty'), (b'{"interval": 6', 'no JSON'), (b'\xff\xfe{', 'no JSON'),
    (b'[' * 30000, 'no JSON'), (b'{"user": "%s"}' % (b'x' * CONFIG_MOST), 'larger than 64 KiB'),
    (b' ' * 10 ** 7, 'larger than 64 KiB'), (b'\0' * 99, 'no JSON')])
def test_bad_contents(write, refused, body, words):
    write(body)
    assert refused() == 'claude-usage: error: Failed to load %s: %s.\n' % (NAME, words)


# --- The program ---

@pytest.mark.slow
def test_outputs_with_a_file_that_is_wrong(ask, run, home, service):
    folder = home / '.claude-usage'
    folder.mkdir(mode=0o700)
    file = folder / 'config.json'
    file.write_text('{"interval": 5, "ascii": true}', encoding='utf-8')
    file.chmod(0o600)
    for arguments in ((), ('--once',), ('--json',), ('--check', '5'), ('--print-config',)):
        done = run(arguments)
        assert (done.code, done.out) == (2, '') and 'interval' in done.err
    assert not asked(service)
    done = run(['--statusline'], input='{"model": {"display_name": "Zoë"}}')
    assert (done.code, done.out, done.err) == (0, 'Zoë\n', '')
    done = ask('--doctor')
    assert re.search('✗ Config file: .*config.json, interval: argument --interval', done.out)
    assert run(['--help']).code == run(['--version']).code == 0
    file.write_text('{"ascii": true, "demo": true, "user": "me"}', encoding='utf-8')
    done = run(['--statusline'], {'CLAUDE_USAGE_API_URL': 'ftp://x'},
               input='{"model": {"display_name": "Zoë"}}')
    assert done.code == 0 and done.out.endswith(' Zoe\n'), 'a good one counts there too'
    assert 'Config file' not in ask('--doctor').out
    assert run([], {'CLAUDE_USAGE_DIR': str(home)}).code == 1, 'another folder, no file'
    assert 'Ada Example' in run([]).out and file.stat().st_size == 43
