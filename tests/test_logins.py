"""Logins: every place where Claude Code keeps one, in every state; keys, modes, and who it is."""
import hashlib
import json
import os
import stat

import pytest

import captures
import claude_usage
from captures import CLAUDE_JSON, CREDENTIALS, LOGGED_OUT, TOKEN
from claude_usage import (MINUTE, Failure, Logins, SourceError, account_key, config_path,
                          find_login, login_in_file, login_in_keychain, message, modes_of,
                          read_credentials)
from harness import EXPIRES_AT
from server import Reply

NOW = EXPIRES_AT - 86400
LONG_LIVED = {'CLAUDE_CODE_OAUTH_TOKEN': 'sk-ant-oat01-from-setup-token'}
KEY = 'sk-ant-admin01-SECRET'


def credentials(**changes):
    """The document of somebody who is logged in, with changes to it; None takes a key out."""
    login = dict(CREDENTIALS['claudeAiOauth'], **changes)
    return {'claudeAiOauth': {key: value for key, value in login.items() if value is not None}}


@pytest.fixture
def folder(tmp_path):
    """An empty directory that CLAUDE_CONFIG_DIR names."""
    (tmp_path / 'config').mkdir()
    return tmp_path / 'config'


def put(folder, document, name='.credentials.json'):
    """Write a file, unless the document is None, which is to have none."""
    if document is not None:
        words = document if isinstance(document, str) else json.dumps(document)
        (folder / name).write_text(words, encoding='utf-8')
        os.utime(str(folder / name), (NOW - MINUTE, NOW - MINUTE))


def read(folder, now=NOW, places=(login_in_file,), **env):
    """The token, or (code, sentence) of the failure, which never tells one."""
    try:
        login = find_login(dict(env, CLAUDE_CONFIG_DIR=str(folder)), now, places)
    except SourceError as error:
        words = message(error.failure, None, claude_usage.Moment(NOW))
        assert 'SECRET' not in words + repr(error)
        return error.failure.code, words
    assert 'SECRET' not in repr(login)
    return login.token


# --- files ---

@pytest.mark.parametrize('env, login, identity', [
    ({}, 'HOME/.claude', 'HOME'), ({'CLAUDE_CONFIG_DIR': ''}, 'HOME/.claude', 'HOME'),
    ({'CLAUDE_CONFIG_DIR': '/d'}, '/d', '/d'),
    ({'CLAUDE_SECURESTORAGE_CONFIG_DIR': '/s'}, '/s', 'HOME'),
    ({'CLAUDE_CONFIG_DIR': '/d', 'CLAUDE_SECURESTORAGE_CONFIG_DIR': '/s'}, '/s', '/d'),
    ({'CLAUDE_CONFIG_DIR': '/d', 'CLAUDE_SECURESTORAGE_CONFIG_DIR': ''}, 'HOME/.claude', '/d')])
def test_places(env, login, identity, monkeypatch):
    monkeypatch.setenv('HOME', 'HOME')
    assert config_path(env, '.credentials.json') == login + '/.credentials.json'
    assert config_path(env, '.claude.json') == identity + '/.claude.json'


@pytest.mark.parametrize('document', [
    CREDENTIALS, credentials(scopes=None), credentials(subscriptionType=None, rateLimitTier=7),
    credentials(scopes='x'), credentials(expiresAt=None), credentials(expiresAt='soon'),
    credentials(expiresAt=True), credentials(expiresAt=[]), credentials(expiresAt=10 ** 400),
    '\ufeff' + json.dumps(CREDENTIALS)])
def test_good_files(folder, document):
    """An expiry of another shape is left to the service."""
    put(folder, document)
    assert read(folder) == TOKEN
    if document is CREDENTIALS:
        login = find_login({'CLAUDE_CONFIG_DIR': str(folder)}, NOW, [login_in_file])
        assert (login.expires_at, login.account.badges) == (EXPIRES_AT, ('MAX',))
        assert login.account.tier == 'default_claude_max_20x' and 'user:profile' in login.scopes


FAILED, TO_LOG_IN = 'Failed to load credentials: ', (
    ' Run `claude` to log in, or set ANTHROPIC_ADMIN_API_KEY for the Console.')
SIGNED_OUT = 'logged_out', 'Logged out of Claude Code.' + TO_LOG_IN
NOT_JSON = 'malformed', FAILED + 'not JSON.'
NO_HEADER = 'malformed', FAILED + 'the token is not of printable characters.'
EXPIRED = 'token_expired', 'Token expired. Run `claude` to refresh.'
NO_SCOPE = 'forbidden_scope', ('This token cannot read usage. Run `claude`, then /login, for one '
                               'that can.')


@pytest.mark.parametrize('document, told', [
    (None, ('no_credentials', 'No Claude Code login found.' + TO_LOG_IN)),
    ('', NOT_JSON), ('{"claudeAiOauth": {"acc', NOT_JSON), ('[' * 10000, NOT_JSON),
    (TOKEN, NOT_JSON), ([CREDENTIALS], ('malformed', FAILED + 'no JSON object.')),
    (credentials(accessToken=[TOKEN]), NO_HEADER), ({}, SIGNED_OUT), (LOGGED_OUT, SIGNED_OUT),
    ({'mcpOAuth': {}}, SIGNED_OUT), ({'claudeAiOauth': None}, SIGNED_OUT),
    (credentials(expiresAt=NOW * 1000), EXPIRED), (credentials(expiresAt=1), EXPIRED),
    (credentials(expiresAt=(NOW + 300) * 1000), EXPIRED),
    (credentials(expiresAt=(NOW + 301) * 1000), TOKEN),
    (credentials(scopes=['user:inference']), NO_SCOPE)] + [
        (credentials(accessToken=place % odd), NO_HEADER)
        for odd in ('\x00', '\r\n', '\x1b[2J', ' ', '\x7f', '\u202e', '\u00e9', '\ud800')
        for place in ('%s' + TOKEN, 'sk%s' + TOKEN, TOKEN + '%s')])
def test_what_a_file_may_hold(folder, document, told):
    put(folder, document)
    assert read(folder) == told


@pytest.mark.parametrize('make, words', [
    (lambda path: path.mkdir(), 'not a regular file'),
    (lambda path: os.mkfifo(str(path)), 'not a regular file'),
    (lambda path: path.symlink_to(path), 'Too many levels of symbolic links'),
    (lambda path: path.write_bytes(b'{"name": "Zo\xeb"}'), 'not JSON'),
    (lambda path: path.write_text('{}') and path.chmod(0), 'Permission denied')])
def test_what_is_no_file_of_text(folder, make, words):
    if words == 'Permission denied' and os.geteuid() == 0:
        pytest.skip('root may read everything')
    make(folder / '.credentials.json')
    assert read(folder) == ('malformed', FAILED + words + '.')
    (folder / 'link').symlink_to(folder / 'nothing')
    for nothing in (folder / 'nothing', folder / 'link', folder / '.credentials.json' / 'x'):
        assert read(nothing)[0] in ('no_credentials', 'malformed')


@pytest.mark.parametrize('document, env, told', [
    (None, LONG_LIVED, LONG_LIVED['CLAUDE_CODE_OAUTH_TOKEN']),
    (LOGGED_OUT, LONG_LIVED, LONG_LIVED['CLAUDE_CODE_OAUTH_TOKEN']),
    # A stored login comes first even if it fails.
    ('{', LONG_LIVED, NOT_JSON), (credentials(expiresAt=1), LONG_LIVED, EXPIRED),
    (CREDENTIALS, LONG_LIVED, TOKEN),
    (LOGGED_OUT, {'CLAUDE_CODE_OAUTH_TOKEN': ' '}, SIGNED_OUT),
    (None, {'CLAUDE_CODE_OAUTH_TOKEN': 'SECRET\x1b'}, NO_HEADER),
    (LOGGED_OUT, {'ANTHROPIC_AUTH_TOKEN': 'SECRET', 'ANTHROPIC_API_KEY': 'SECRET'}, SIGNED_OUT)])
def test_the_token_of_the_environment_where_nothing_is_stored(folder, document, env, told):
    put(folder, document)
    assert read(folder, **env) == told


# --- Keychain ---

@pytest.fixture
def keychain(folder, monkeypatch):
    """A function that makes this a Mac with such a program `security`; returns its environment."""
    monkeypatch.setattr(claude_usage, 'MACOS', True)
    monkeypatch.setattr(claude_usage, 'LOGIN_PLACES', [login_in_keychain, login_in_file])

    def answer(output, code=0):
        put(folder, output, 'item')
        program = folder / 'security'
        program.write_text('#!/bin/sh\nprintf "%%s\\n" "$@" > %s/arguments\nenv > %s/env\n'
                           'echo >> %s/count\ncat %s/item\nexit %d\n' % ((folder,) * 4 + (code,)))
        program.chmod(0o755)
        return {'PATH': '%s:%s' % (folder, os.environ['PATH']), 'USER': 'jane', 'HOME': '/h',
                'CLAUDE_CONFIG_DIR': str(folder)}
    return answer


HEXADECIMAL = json.dumps(CREDENTIALS).encode().hex()
NO_ITEM = 'malformed', FAILED + 'the Keychain item is not JSON.'
ELSEWHERE = 'malformed', FAILED + ('the Keychain item holds no login, and one in an overflow item '
                                   'is not read.')


@pytest.mark.parametrize('output, code, told', [
    (CREDENTIALS, 0, TOKEN), (json.dumps(CREDENTIALS) + '\n', 0, TOKEN), (HEXADECIMAL, 0, TOKEN),
    (HEXADECIMAL.upper() + '\n', 0, TOKEN), ('\n', 0, 'file'), ('SECRET', 0, NO_ITEM),
    ('7b7', 0, NO_ITEM), ('ffff', 0, NO_ITEM), ({'mcpOAuth': {}}, 0, ELSEWHERE),
    ('[]', 0, ('malformed', FAILED + 'no JSON object.')),
    ('', 36, ('locked', 'Locked: the Keychain, open it with `security unlock-keychain`.')),
    ('', 51, ('locked', 'Locked: the Keychain, `security` ends with 51.')),
    (credentials(expiresAt=1), 0, EXPIRED),
    # Only where it has none, the file is asked, which may be of another account.
    ('', 44, 'file'), (LOGGED_OUT, 0, 'file')])
def test_a_login_in_the_keychain(keychain, folder, output, code, told):
    env = keychain(output, code)
    put(folder, credentials(accessToken='file'))
    assert read(folder, places=None, **env) == told
    if told == 'file':
        put(folder, LOGGED_OUT)
        assert read(folder, places=None, **env) == SIGNED_OUT


def test_a_keychain_that_does_not_answer(keychain, folder, monkeypatch):
    assert read(folder, places=None, PATH=str(folder))[0] == 'locked'
    monkeypatch.setattr(claude_usage, 'KEYCHAIN_SECONDS', 0.05)
    env = keychain('')
    (folder / 'security').write_text('#!/bin/sh\nexec sleep 9\n')
    assert read(folder, places=None, **env)[0] == 'locked'


@pytest.mark.parametrize('env, hashed', [
    ({'CLAUDE_CONFIG_DIR': ''}, ''), ({'CLAUDE_CONFIG_DIR': '/o config'}, '/o config'),
    ({'CLAUDE_CONFIG_DIR': '/Zoe\u0308'}, '/Zo\xeb'),
    ({'CLAUDE_CONFIG_DIR': '/d', 'CLAUDE_SECURESTORAGE_CONFIG_DIR': '/s'}, '/s'),
    ({'CLAUDE_CONFIG_DIR': '/d', 'CLAUDE_SECURESTORAGE_CONFIG_DIR': ''}, ''),
    ({'USER': 'j.d_o-9', 'CLAUDE_CONFIG_DIR': ''}, ''),
    ({'USER': 'jane doe', 'CLAUDE_CONFIG_DIR': ''}, ''),
    ({'USER': '\xe9', 'CLAUDE_CONFIG_DIR': '/d'}, '/d')])
def test_how_the_keychain_is_asked(keychain, folder, env, hashed):
    env = {**keychain(CREDENTIALS), **LONG_LIVED, 'ANTHROPIC_API_KEY': TOKEN, **env}
    account = env['USER'] if env['USER'] in ('jane', 'j.d_o-9') else 'claude-code-user'
    find_login(env, NOW)
    service = 'Claude Code-credentials'
    if hashed:
        service += '-' + hashlib.sha256(hashed.encode()).hexdigest()[:8]
    assert (folder / 'arguments').read_text().split('\n')[:-1] == [
        'find-generic-password', '-a', account, '-s', service, '-w']
    given = (folder / 'env').read_text()
    assert 'HOME=/h' in given and 'SECRET' not in given and 'oat01' not in given


# --- Admin API keys, modes ---

def with_key(key=KEY, document=None, **more):
    return dict(document or {}, anthropicConsole={'adminApiKey': key}, **more)


@pytest.mark.parametrize('document, env, key, mode, modes', [
    (None, {}, 'no_credentials', 'code', ()), (CREDENTIALS, {}, 'no_credentials', 'code', 'code'),
    (None, {'ANTHROPIC_ADMIN_API_KEY': ' %s\n' % KEY}, KEY, 'console', 'console'),
    (CREDENTIALS, {'ANTHROPIC_ADMIN_API_KEY': KEY}, KEY, 'code', 'code console'),
    (with_key(), {}, KEY, 'console', 'console'),
    (with_key(), {'ANTHROPIC_ADMIN_API_KEY': KEY + '2'}, KEY + '2', 'console', 'console'),
    (with_key(document=CREDENTIALS), {}, KEY, 'code', 'code console'),
    (with_key(document=CREDENTIALS, mode='console'), {}, KEY, 'console', 'code console'),
    (with_key(mode='code'), {}, KEY, 'code', 'console'), (with_key(mode='x'), {}, KEY, 'console',
                                                          'console'),
    (with_key(document=credentials(expiresAt=1)), {}, KEY, 'code', 'code console'),
    (with_key(), LONG_LIVED, KEY, 'code', 'code console'),
    # A broken file shows in Code mode, unless the environment has a key.
    ('{', {}, 'malformed', 'code', 'code'),
    ('{', {'ANTHROPIC_ADMIN_API_KEY': KEY}, KEY, 'console', 'code console'),
    # Keys of another kind are refused without a request.
    (with_key(7), {}, 'unauthorized', 'console', 'console'),
    (with_key(TOKEN), {}, 'unauthorized', 'console', 'console'),
    (with_key('"SK-ant-api03-SECRET"'), {}, 'unauthorized', 'console', 'console'),
    (None, {'ANTHROPIC_ADMIN_API_KEY': 'SECRET\x1b'}, 'unauthorized', 'console', 'console'),
    (with_key(''), {}, 'no_credentials', 'code', ()), (with_key(None), {}, 'no_credentials',
                                                       'code', ())])
def test_keys_and_modes(folder, document, env, key, mode, modes):
    put(folder, document)
    found = read_credentials(dict(env, CLAUDE_CONFIG_DIR=str(folder)), NOW)
    assert (found.key.code if isinstance(found.key, Failure) else found.key) == key
    assert found.mode == mode and modes_of(found) == tuple(modes and modes.split())
    assert 'SECRET' not in repr(found)


# --- what is remembered ---

def test_files_are_read_when_they_change(folder, monkeypatch):
    reads, logins = [], Logins({'CLAUDE_CONFIG_DIR': str(folder)})
    read = claude_usage.read_credentials
    monkeypatch.setattr(claude_usage, 'read_credentials', lambda *args: reads.append(1) or read(
        *args))
    put(folder, CREDENTIALS)
    for now, count in ((NOW, 1), (NOW, 1), (NOW + 1e5 - 86400, 1), (NOW, 1)):
        assert logins.look(now).login.token == TOKEN and len(reads) == count
    assert logins.look(EXPIRES_AT, anew=True).login.code == 'token_expired' and len(reads) == 2
    put(folder, dict(credentials(accessToken='new'), more=1))
    assert logins.look(NOW).login.token == 'new' and len(reads) == 3
    # Within a tick of the file's clock a further change would not show.
    os.utime(str(folder / '.credentials.json'), (NOW, NOW))
    for now, count in ((NOW, 4), (NOW + 1, 5), (NOW + 3, 6), (NOW + 4, 6)):
        assert logins.look(now) and len(reads) == count


def test_the_keychain_is_asked_once_a_minute(keychain, folder):
    logins = Logins(keychain(CREDENTIALS))
    for second in range(0, 180, 10):
        assert logins.look(NOW + second).login.token == TOKEN
    assert 3 <= len((folder / 'count').read_text()) <= 4


def test_who_is_logged_in(folder):
    """By the file's own layout or any other; the last one while it is half-written."""
    env = {'CLAUDE_CONFIG_DIR': str(folder)}
    logins, before = Logins(env), account_key(None, env)
    assert logins.identity() is None
    hidden = dict(CLAUDE_JSON, projects={'oauthAccount': 7}, note='\n  "oauthAccount": 7')
    put(folder, json.dumps(hidden, indent=2), '.claude.json')
    account = logins.identity()
    assert account.email == 'jane@example.com' and account.uuid.count('/') == 1
    for document in ('{"oauthAcc', {}, [], {'oauthAccount': None}):
        put(folder, document, '.claude.json')
        assert logins.identity() == account
    put(folder, {'oauthAccount': {'accountUuid': 'b'}}, '.claude.json')
    assert logins.identity().uuid == 'b'
    keys = [account_key(who, env) for who in (None, account, account._replace(uuid='b'))]
    assert keys[0] == before and len(set(keys)) == 3 and {len(key) for key in keys} == {16}


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


@pytest.mark.slow
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
    folder, store = after.pop('.claude-usage'), after.pop('.claude-usage/store2.db')
    assert after == before and b'SECRET' not in store[-1]
    assert (folder[0], store[0]) == (stat.S_IFDIR | 0o700, stat.S_IFREG | 0o600)
