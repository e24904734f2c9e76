"""Credentials: every place where Claude Code keeps a login, in every state; what is written."""
import hashlib
import json
import os
import stat

import pytest

import captures
from captures import CREDENTIALS, LOGGED_OUT, TOKEN
from claude_usage import (EXPIRY_SECONDS, SourceError, config_path, login_in_file,
                          login_in_keychain, message, read_json, read_login)
from server import Reply

EXPIRES_AT = CREDENTIALS['claudeAiOauth']['expiresAt'] / 1000
NOW = EXPIRES_AT - 86400
LONG_LIVED = {'CLAUDE_CODE_OAUTH_TOKEN': 'sk-ant-oat01-from-setup-token'}


def credentials(**changes):
    """The document of somebody who is logged in, with changes to it; None takes a key out."""
    login = dict(CREDENTIALS['claudeAiOauth'], **changes)
    return {'claudeAiOauth': {key: value for key, value in login.items() if value is not None}}


@pytest.fixture
def folder(tmp_path):
    """An empty directory that CLAUDE_CONFIG_DIR names."""
    path = tmp_path / 'config'
    path.mkdir()
    return path


def read(folder, now=NOW, stores=(login_in_file,), **env):
    return read_login(dict(env, CLAUDE_CONFIG_DIR=str(folder)), now, stores)


def failure(*arguments, **env):
    """(code, sentence) of the failure to read a login. It never tells a token."""
    with pytest.raises(SourceError) as caught:
        read(*arguments, **env)
    words = message(caught.value.failure, None, NOW)
    assert 'SECRET' not in words + repr(caught.value)
    return caught.value.failure.code, words


def store(folder, document):
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / '.credentials.json').write_text(text, encoding='utf-8')


# --- where ---

@pytest.mark.parametrize('env, name, place', [
    ({}, '.credentials.json', 'HOME/.claude/.credentials.json'),
    ({}, '.claude.json', 'HOME/.claude.json'),
    ({'CLAUDE_CONFIG_DIR': ''}, '.credentials.json', 'HOME/.claude/.credentials.json'),
    ({'CLAUDE_CONFIG_DIR': ''}, '.claude.json', 'HOME/.claude.json'),
    ({'CLAUDE_CONFIG_DIR': '/d'}, '.credentials.json', '/d/.credentials.json'),
    ({'CLAUDE_CONFIG_DIR': '/d'}, '.claude.json', '/d/.claude.json')])
def test_places(env, name, place, monkeypatch):
    monkeypatch.setenv('HOME', 'HOME')
    assert config_path(env, name) == place


def test_a_login_at_home(home, monkeypatch):
    monkeypatch.setenv('HOME', str(home))
    login = read_login({}, NOW, (login_in_file,))
    assert (login.token, login.expires_at) == (TOKEN, EXPIRES_AT)
    assert (login.account.badges, login.account.tier) == (('MAX',), 'default_claude_max_20x')
    assert 'SECRET' not in repr(login)


def test_a_login_in_another_folder_hides_the_one_at_home(home, monkeypatch, folder):
    monkeypatch.setenv('HOME', str(home))
    assert failure(folder)[0] == 'no_credentials'
    store(folder, credentials(accessToken='other'))
    assert read(folder).token == 'other'


@pytest.mark.parametrize('document', [
    credentials(), credentials(scopes=None), credentials(subscriptionType=None),
    credentials(scopes=['user:inference']), credentials(expiresAt=None), CREDENTIALS,
    '\ufeff' + json.dumps(CREDENTIALS)])
def test_good_files(folder, document):
    store(folder, document)
    assert read(folder).token == TOKEN


SIGNED_OUT = ('Logged out of Claude Code. Run `claude` to log in, or set '
              'ANTHROPIC_ADMIN_API_KEY for the Console.')


@pytest.mark.parametrize('document, code, words', [
    ('', 'malformed', 'Failed to load credentials: not JSON.'),
    ('{"claudeAiOauth": {"acc', 'malformed', 'Failed to load credentials: not JSON.'),
    ('[' * 10000, 'malformed', 'Failed to load credentials: not JSON.'),
    ([CREDENTIALS], 'malformed', 'Failed to load credentials: no JSON object.'),
    (TOKEN, 'malformed', 'Failed to load credentials: not JSON.'),
    (credentials(accessToken=[TOKEN]), 'malformed', 'Failed to load credentials: the token is '
                                                    'not of printable characters.'),
    ({}, 'logged_out', SIGNED_OUT),
    ({'mcpOAuth': {}}, 'logged_out', SIGNED_OUT),
    ({'claudeAiOauth': None}, 'logged_out', SIGNED_OUT),
    (LOGGED_OUT, 'logged_out', SIGNED_OUT),
    (credentials(expiresAt=NOW * 1000), 'token_expired',
     'Token expired. Run `claude` to refresh.')])
def test_bad_files(folder, document, code, words):
    store(folder, document)
    assert failure(folder) == (code, words)


@pytest.mark.parametrize('token', [
    '\x00', '\n', '\r\n', '\x1b[2J', ' ', '\x7f', '\u202e', '\u00e9', '\ud800'])
@pytest.mark.parametrize('place', ['%s' + TOKEN, 'sk%s' + TOKEN, TOKEN + '%s'])
def test_a_token_that_no_header_can_hold(folder, token, place):
    store(folder, credentials(accessToken=place % token))
    assert failure(folder)[0] == 'malformed'


@pytest.mark.parametrize('left, usable', [
    (EXPIRY_SECONDS + 1, True), (EXPIRY_SECONDS, False), (0, False), (-1, False)])
def test_a_token_expires_five_minutes_early(folder, left, usable):
    assert EXPIRY_SECONDS == 300
    store(folder, CREDENTIALS)
    if usable:
        assert read(folder, EXPIRES_AT - left).token == TOKEN
    else:
        assert failure(folder, EXPIRES_AT - left)[0] == 'token_expired'


@pytest.mark.parametrize('expires_at', ['soon', True, [], '4102444800000'])
def test_an_expiry_of_another_shape_is_left_to_the_service(folder, expires_at):
    store(folder, credentials(expiresAt=expires_at))
    assert read(folder).token == TOKEN


@pytest.mark.parametrize('expires_at', [10 ** 400, -10 ** 400, float('nan'), float('inf')],
                         ids=['huge', 'minus huge', 'nan', 'inf'])
def test_an_expiry_beyond_all_time_is_no_accident(folder, expires_at):
    store(folder, credentials(expiresAt=expires_at))
    try:
        assert read(folder).token == TOKEN
    except SourceError as error:
        assert error.failure.code in ('token_expired', 'malformed')


# --- what is no file, or none to be read ---

def directory(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(str(path))


def loop(path):
    path.symlink_to(path)


def latin(path):
    path.write_bytes(json.dumps({'name': 'Zo\u00eb'}, ensure_ascii=False).encode('latin-1'))


@pytest.mark.parametrize('make, words', [
    (directory, 'not a regular file'), (pipe, 'not a regular file'),
    (loop, 'Too many levels of symbolic links'), (latin, 'not JSON')])
def test_what_is_no_file_of_text(folder, make, words):
    make(folder / '.credentials.json')
    code, sentence = failure(folder)
    assert (code, sentence) == ('malformed', 'Failed to load credentials: %s.' % words)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_file_that_may_not_be_read(folder):
    store(folder, CREDENTIALS)
    (folder / '.credentials.json').chmod(0)
    assert failure(folder) == ('malformed', 'Failed to load credentials: Permission denied.')


def test_no_file_at_all(folder):
    (folder / 'link').symlink_to(folder / 'nothing')
    for place in (folder, folder / 'nothing', folder / 'link'):
        assert failure(place) == ('no_credentials',
                                  'No Claude Code login found. Run `claude` to log in, or set '
                                  'ANTHROPIC_ADMIN_API_KEY for the Console.')
    assert read_json(str(folder / 'nothing'), 'it') is None


# --- CLAUDE_CODE_OAUTH_TOKEN ---

@pytest.mark.parametrize('document', [None, {}, LOGGED_OUT])
def test_the_token_of_the_environment_where_nothing_is_stored(folder, document):
    if document is not None:
        store(folder, document)
    assert read(folder, **LONG_LIVED).token == 'sk-ant-oat01-from-setup-token'
    assert read(folder, **LONG_LIVED).expires_at is None


@pytest.mark.parametrize('document, code', [
    ('{', 'malformed'), (credentials(expiresAt=1), 'token_expired'), (CREDENTIALS, None)])
def test_a_stored_login_comes_first_even_if_it_fails(folder, document, code):
    store(folder, document)
    if code:
        assert failure(folder, **LONG_LIVED)[0] == code
    else:
        assert read(folder, **LONG_LIVED).token == TOKEN


@pytest.mark.parametrize('env, code', [
    ({'CLAUDE_CODE_OAUTH_TOKEN': ''}, 'no_credentials'),
    ({'CLAUDE_CODE_OAUTH_TOKEN': 'SECRET\x1b'}, 'malformed'),
    ({'ANTHROPIC_AUTH_TOKEN': 'SECRET'}, 'no_credentials'),
    ({'ANTHROPIC_API_KEY': 'SECRET'}, 'no_credentials')])
def test_other_variables_are_no_login(folder, env, code):
    assert failure(folder, **env)[0] == code


# --- Keychain ---

@pytest.fixture
def keychain(folder):
    """A function that puts a program `security` on a PATH; returns the environment for it."""
    def answer(output, code=0):
        (folder / 'item').write_text(output if isinstance(output, str) else json.dumps(output))
        program = folder / 'security'
        program.write_text('#!/bin/sh\n'
                           'printf "%%s\\n" "$@" > %s\nenv > %s\ncat %s\nexit %d\n' % (
                               folder / 'arguments', folder / 'env', folder / 'item', code))
        program.chmod(0o755)
        return {'PATH': '%s:%s' % (folder, os.environ['PATH']), 'USER': 'jane', 'HOME': '/h'}
    return answer


def hexadecimal(document):
    return json.dumps(document).encode().hex()


@pytest.mark.parametrize('output', [
    CREDENTIALS, json.dumps(CREDENTIALS) + '\n', hexadecimal(CREDENTIALS),
    hexadecimal(CREDENTIALS).upper() + '\n'])
def test_a_login_in_the_keychain(keychain, output):
    login = read_login(keychain(output), NOW, (login_in_keychain,))
    assert (login.token, login.account.badges) == (TOKEN, ('MAX',))


@pytest.mark.parametrize('output, code, expected, words', [
    ('', 44, 'no_credentials', 'No Claude Code login found.'),
    ('', 36, 'locked', 'Locked: the Keychain, open it with `security unlock-keychain`.'),
    ('', 0, 'malformed', 'Failed to load credentials: the Keychain item is not JSON.'),
    ('SECRET', 0, 'malformed', 'Failed to load credentials: the Keychain item is not JSON.'),
    ('7b7', 0, 'malformed', 'Failed to load credentials: the Keychain item is not JSON.'),
    ('ffff', 0, 'malformed', 'Failed to load credentials: the Keychain item is not JSON.'),
    ('[]', 0, 'malformed', 'Failed to load credentials: no JSON object.'),
    (LOGGED_OUT, 0, 'logged_out', 'Logged out of Claude Code.'),
    (credentials(expiresAt=1), 0, 'token_expired', 'Token expired. Run `claude` to refresh.')])
def test_a_keychain_without_a_login(keychain, folder, output, code, expected, words):
    found = failure(folder, NOW, (login_in_keychain,), **keychain(output, code))
    assert found[0] == expected and found[1].startswith(words)


def test_a_machine_without_a_keychain(folder):
    assert failure(folder, NOW, (login_in_keychain,), PATH=str(folder))[0] == 'locked'


@pytest.mark.parametrize('config', ['', '/Users/jane/other config'])
def test_how_the_keychain_is_asked(keychain, folder, config):
    env = dict(keychain(CREDENTIALS), CLAUDE_CONFIG_DIR=config, ANTHROPIC_API_KEY=TOKEN,
               CLAUDE_CODE_OAUTH_TOKEN=TOKEN)
    read_login(env, NOW, (login_in_keychain,))
    service = 'Claude Code-credentials'
    if config:
        service += '-' + hashlib.sha256(config.encode()).hexdigest()[:8]
    assert (folder / 'arguments').read_text().split('\n')[:-1] == [
        'find-generic-password', '-a', 'jane', '-s', service, '-w']
    given = (folder / 'env').read_text()
    assert 'HOME=/h' in given and 'SECRET' not in given


# --- several stores ---

@pytest.mark.parametrize('file, item, expected', [
    (credentials(accessToken='file'), credentials(accessToken='item'), 'file'),
    (credentials(expiresAt=1), CREDENTIALS, TOKEN), ('{', CREDENTIALS, TOKEN),
    (LOGGED_OUT, CREDENTIALS, TOKEN),
    (CREDENTIALS, '', TOKEN),
    (LOGGED_OUT, credentials(expiresAt=1), 'token_expired'),
    (credentials(expiresAt=1), '', 'token_expired'), ('{', LOGGED_OUT, 'malformed')])
def test_the_first_good_login_of_all_or_the_failure_that_says_most(
        keychain, folder, file, item, expected):
    env = keychain(item)
    store(folder, file)
    stores = (login_in_file, login_in_keychain)
    try:
        assert read(folder, NOW, stores, **env).token == expected
    except SourceError as error:
        assert error.failure.code == expected


# --- what is written ---

def tree(path):
    """Every name under a directory: mode, size, time of change and content."""
    found = {}
    for place in sorted(path.rglob('*')):
        about = place.lstat()
        found[str(place.relative_to(path))] = (
            about.st_mode, about.st_size, about.st_mtime_ns, about.st_ino,
            place.read_bytes() if place.is_file() else None)
    return found


@pytest.mark.parametrize('reply', [
    Reply(body=captures.USAGE_2026), Reply(401, captures.ERROR_401),
    Reply(429, captures.ERROR_429, {'Retry-After': '720'})], ids=['200', '401', '429'])
def test_a_run_changes_nothing_at_home(server, run, home, reply):
    """But for the store, which spares the second run its request, and has no secret."""
    server.answer('/api/oauth/usage', reply)
    server.answer('/api/oauth/profile', Reply(body=dict(captures.PROFILE, echo=TOKEN)))
    before = tree(home)
    run(['--once', '--api-url', server.url])
    run(['--json', '--api-url', server.url])
    assert len(server.wait_for(1, '/api/oauth/usage')) == 1
    assert {request.method for request in server.requests} == {'GET'}
    after = tree(home)
    folder, store = after.pop('.claude-usage'), after.pop('.claude-usage/store.db')
    assert after == before
    assert (folder[0], store[0]) == (stat.S_IFDIR | 0o700, stat.S_IFREG | 0o600)
    for secret in (TOKEN, captures.REFRESH_TOKEN, 'SECRET'):
        assert secret.encode() not in store[-1]
