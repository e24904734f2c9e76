"""The network: what is sent, and each way in which the other side can fail."""
import gzip
import io
import json
import os
import socket
import sys
import threading
import time
import warnings
import zlib
from email.utils import formatdate

import pytest

import captures
import claude_usage
from captures import TOKEN
from claude_usage import (BODY_MOST, Api, SourceError, inflated, is_loopback, load_urllib3,
                          parse_json, parse_url, read_body, skip_interim, text)
from conftest import PROGRAM
from server import (CERTIFICATE, EARLY_CERTIFICATE, EXAMPLE_CERTIFICATE, EXPIRED_CERTIFICATE,
                    Reply, Server)

PATH = '/api/oauth/usage'
EXAMPLE = 'https://api.example.com'     # is nowhere: it can only be reached through a proxy
NOWHERE = 'https://no-such-host.invalid'
HEADERS = {'Authorization': 'Bearer ' + TOKEN}


def get(url):
    return Api(url).get(PATH, HEADERS, TOKEN)


def failure_of(url):
    """The Failure of a request that cannot succeed. It never tells the token."""
    with pytest.raises(SourceError) as caught:
        get(url)
    failure = caught.value.failure
    assert 'SECRET' not in failure.detail + str(caught.value)
    return failure


@pytest.fixture
def other():
    """A second server."""
    with Server() as running:
        yield running


@pytest.fixture
def secure():
    """An HTTPS server on loopback, whose certificate nobody trusts by itself."""
    with Server(https=True) as running:
        running.answer(PATH, Reply(body={'a': 1}))
        yield running


@pytest.fixture
def example():
    """An HTTPS server whose certificate says that it is api.example.com."""
    with Server(https=True, certificate=EXAMPLE_CERTIFICATE) as running:
        running.answer(PATH, Reply(body={'a': 1}))
        yield running


@pytest.fixture
def listener():
    """(socket, url) of a server that the kernel connects to, but where nobody ever answers."""
    with socket.socket() as listening:
        listening.bind(('127.0.0.1', 0))
        listening.listen(1)
        yield listening, 'http://127.0.0.1:%d' % listening.getsockname()[1]


@pytest.fixture
def hasty(monkeypatch):
    """Requests are given up after a fifth of a second."""
    monkeypatch.setattr(claude_usage, 'GET_SECONDS', 0.2)


# --- what is sent ---

@pytest.mark.slow
def test_the_requests_of_the_program_are_those_of_claude_code(server, run):
    server.answer('/api/oauth/usage', Reply(body=captures.USAGE_2026))
    server.answer('/api/oauth/profile', Reply(body=captures.PROFILE))
    assert run(['--once', '--api-url', server.url]).code == 0
    assert sorted((r.method, r.path, r.query) for r in server.requests) == [
        ('GET', '/api/oauth/profile', {}), ('GET', '/api/oauth/usage', {})]
    for request in server.requests:
        assert {name: value for name, value in request.headers.items()
                if name not in ('host', 'connection', 'accept-encoding')} == {
            'authorization': 'Bearer ' + TOKEN, 'content-type': 'application/json',
            'accept': 'application/json', 'anthropic-beta': 'oauth-2025-04-20',
            'user-agent': 'claude-code/2.0.37'}


@pytest.mark.parametrize('url, place, host', [
    ('https://api.example.com', 'api.example.com', 'api.example.com'),
    ('https://[fe80::1]:8443/some/gateway/', '[fe80::1]:8443', '[fe80::1]'),
    ('http://127.0.0.1:80/', '127.0.0.1:80', '127.0.0.1')])
def test_parse_url(url, place, host):
    assert parse_url(url) == (url.startswith('https'), place, host)


def test_what_is_loopback():
    for host in ('localhost', '127.0.0.1', '127.255.255.254', '[::1]', '[0:0:0:0:0:0:0:1]'):
        assert is_loopback(host), host
    for host in ('127.0.0.256', '127.999.1.1', '128.0.0.1', '0.0.0.0', '[::2]', '[fe80::1]', '127',
                 'localhost.example', '127.0.0.1.example'):
        assert not is_loopback(host), host


@pytest.mark.parametrize('base', ['', '/', '/some/gateway', '/some/gateway/'])
def test_the_address_may_have_a_path(server, base):
    server.answer(base.rstrip('/') + PATH, Reply(body={'a': 1}))
    assert get(server.url + base) == {'a': 1}
    request, = server.requests
    assert request.headers['accept-encoding'] == 'identity'
    assert request.headers['connection'] == 'close'


def test_one_api_makes_many_requests(server):
    date = 1763475795.0
    server.answer(PATH, Reply(500), Reply(cut=0, body='{}'),
                  Reply(body={'a': 1}, headers={'Date': formatdate(date, usegmt=True)}))
    api = Api(server.url)
    assert (api.took, api.date) == (None, None)
    for _ in range(2):
        with pytest.raises(SourceError):
            api.get(PATH, HEADERS, TOKEN)
    assert [api.get(PATH, HEADERS, TOKEN) for _ in range(2)] == [{'a': 1}] * 2
    assert 0 < api.took < 60 and api.date == date


def test_decimals_beyond_reason():
    from decimal import Decimal
    for data in (b'1e9999999999999999999999', b'1e-9999999999999999999999'):
        with pytest.raises(SourceError, match='bad_reply'):
            parse_json(data, Decimal)


def test_only_the_warnings_of_urllib3_are_silent():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        load_urllib3()
        for name in ('urllib3', 'urllib3.connection', 'pip._vendor.urllib3', 'another'):
            warnings.warn_explicit(name, UserWarning, 'file', 1, name)
    assert [str(warning.message) for warning in told] == ['another']


# --- replies ---

@pytest.mark.parametrize('reply', [
    Reply(body={'a': 1}), Reply(201, {'a': 1}), Reply(body={'a': 1}, chunked=True),
    Reply(body={'a': 1}, close_delimited=True), Reply(body={'a': 1}, drip=0.001),
    Reply(body={'a': 1}, drip=0.001, chunked=True), Reply(body={'a': 1}, drip_headers=0.0001),
    Reply(body=b'\xef\xbb\xbf{"a": 1}'), Reply(body=' ' * (BODY_MOST - 8) + '{"a": 1}'),
    Reply(body={'a': 1}, interim=(100,)), Reply(body={'a': 1}, interim=(103, 102, 103) * 20),
    Reply(body={'a': 1}, interim=(103,), chunked=True),
    Reply(body={'a': 1}, interim=(103,), close_delimited=True),
    Reply(body=gzip.compress(b'{"a": 1}'), headers={'Content-Encoding': 'gzip'}),
    Reply(body=zlib.compress(b'{"a": 1}'), headers={'Content-Encoding': 'deflate'}),
    Reply(body=gzip.compress(b'{"a": 1}'), headers={'Content-Encoding': 'gzip'}, chunked=True),
    Reply(body=gzip.compress(b'{"a": 1}'), headers={'Content-Encoding': 'X-GZIP'}),
    Reply(body={'a': 1}, headers={'Content-Encoding': 'Identity'}),
    Reply(body={'a': 1}, headers={'Content-Encoding': ''})])
def test_good_replies(server, reply):
    server.answer(PATH, reply)
    assert get(server.url) == {'a': 1}


def test_a_whole_reply_needs_no_end_of_the_connection(server):
    """Some servers keep it open, though `Connection: close` was asked for."""
    server.answer(PATH, Reply(body='1', drip=3600))
    assert get(server.url) == 1


@pytest.mark.parametrize('status', [101, 103, 199])
def test_an_interim_reply_without_an_end(server, status):
    class Endless:
        begun = 0

        def begin(self):
            self.begun += 1
    Endless.status = status
    with pytest.raises(SourceError, match='timeout'):
        skip_interim(Endless(), time.monotonic() - 1)
    server.answer(PATH, Reply(401, interim=(status,)))
    assert failure_of(server.url) == ('unauthorized', '401', None)


def test_a_compressed_bomb_takes_no_memory(server):
    tracemalloc = pytest.importorskip('tracemalloc')
    bomb = zlib.compress(b' ' * (40 << 20))
    server.answer(PATH, Reply(body=bomb, headers={'Content-Encoding': 'deflate'}))
    assert failure_of(server.url) == ('too_large', '', None)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match='too_large'):
            inflated(bomb, 'gzip')
        assert tracemalloc.get_traced_memory()[1] < 3 * BODY_MOST
    finally:
        tracemalloc.stop()


GZIP = gzip.compress(b'{"a": 1}')
SCOPE_DETAIL = '403, ' + captures.ERROR_403_SCOPE['error']['message']
BAD_REPLIES = {
    '401': (Reply(401, captures.ERROR_401), 'unauthorized', '401, OAuth token has expired'),
    '401 bare': (Reply(401), 'unauthorized', '401'),
    '403 scope': (Reply(403, captures.ERROR_403_SCOPE), 'forbidden_scope', SCOPE_DETAIL),
    '403': (Reply(403, {'error': {'message': 'No.'}}), 'forbidden', '403, No'),
    '403 of the edge': (Reply(403, captures.EDGE_HTML), 'forbidden', '403'),
    '404': (Reply(404, {'error': {'message': 'Not found'}}), 'bad_reply', '404, Not found'),
    '500': (Reply(500), 'server_error', '500'),
    '502 of the edge': (Reply(502, captures.EDGE_HTML), 'server_error', '502'),
    '529': (Reply(529, captures.ERROR_529), 'server_error', '529, Overloaded'),
    'error of another shape': (Reply(500, [{'error': 5}]), 'server_error', '500'),
    'error nested deep': (Reply(500, '[' * 10000), 'server_error', '500'),
    '301': (Reply(301, headers={'Location': 'https://evil.example/x'}), 'redirected',
            'evil.example'),
    '301 to nowhere': (Reply(301), 'redirected', 'another page'),
    '301 to nonsense': (Reply(301, headers={'Location': 'http://['}), 'redirected', ''),
    '301 with a login': (Reply(301, headers={'Location': 'https://me:SECRET@evil.example/@x'}),
                         'redirected', 'evil.example'),
    '301 with two': (Reply(301, headers={'Location': 'https://me@x:SECRET@evil.example'}),
                     'redirected', 'evil.example'),
    '301 with half a login': (Reply(301, headers={'Location': 'https://me:SECRET/x@evil.example'}),
                              'redirected', 'another page'),
    '301 with a port': (Reply(301, headers={'Location': 'http://[::1]:80?x'}), 'redirected',
                        '[::1]:80'),
    '304': (Reply(304), 'redirected', ''),
    'gzip, cut off': (Reply(body=GZIP[:-9], headers={'Content-Encoding': 'gzip'}), 'network',
                      'the reply was cut off'),
    'gzip that is none': (Reply(body='{}', headers={'Content-Encoding': 'gzip'}), 'bad_reply',
                          'it is compressed by gzip'),
    'compressed otherwise': (Reply(body='?', headers={'Content-Encoding': 'br'}), 'bad_reply',
                             'it is compressed by br'),
    'compressed twice': (Reply(body=gzip.compress(GZIP), headers={
        'Content-Encoding': 'gzip, gzip'}), 'bad_reply', 'it is compressed by gzip, gzip'),
    'compressed by an escape': (Reply(body='?', headers={'Content-Encoding': '\x1b[2J' * 9 + 'x'}),
                                'bad_reply', 'it is compressed by x'),
    '401, compressed': (Reply(401, '?', headers={'Content-Encoding': 'br'}), 'unauthorized',
                        '401'),
    'huge int': (Reply(body='1' * 1000000), 'bad_reply', 'no JSON'),
    'huge int in an error': (Reply(500, '1' * 1000000), 'server_error', '500'),
    '204': (Reply(204), 'bad_reply', 'it is empty'),
    'HTML': (Reply(body=captures.EDGE_HTML), 'bad_reply', 'no JSON'),
    'empty': (Reply(), 'bad_reply', 'it is empty'),
    'blank': (Reply(body=' \r\n'), 'bad_reply', 'it is empty'),
    'half': (Reply(body='{"five_hour": {'), 'bad_reply', 'no JSON'),
    'no UTF-8': (Reply(body=b'{"a": "\xff"}'), 'bad_reply', 'no JSON'),
    'nested deep': (Reply(body='[' * 10000), 'bad_reply', 'no JSON'),
    'cut off': (Reply(body={'a': 1}, cut=3), 'network', 'the reply was cut off'),
    'cut off at once': (Reply(body={'a': 1}, cut=0), 'network', 'the reply was cut off'),
    'chunked, cut off': (Reply(body={'a': 1}, cut=3, chunked=True), 'network',
                         'the reply was cut off'),
    'too large': (Reply(body='1' * (BODY_MOST + 1)), 'too_large', ''),
    'too large, chunked': (Reply(body='1' * (BODY_MOST + 1), chunked=True), 'too_large', ''),
    'too large, no length': (Reply(body='1' * (BODY_MOST + 1), close_delimited=True),
                             'too_large', ''),
}


@pytest.mark.parametrize('name', BAD_REPLIES)
def test_bad_replies(server, name):
    reply, code, detail = BAD_REPLIES[name]
    server.answer(PATH, reply)
    failure = failure_of(server.url)
    assert failure.code == code
    assert detail in failure.detail
    assert len(server.requests) == 1, 'nothing is tried again within one poll'


@pytest.mark.parametrize('header, seconds', [
    (None, None), ('0', 0), ('6', 6), ('298', 298), ('720', 720), ('1600', 1600),
    ('3600', 3600), ('9' * 400, float('inf')), (' 6 ', 6), ('', None), ('soon', None),
    ('-1', None), ('Thu, 01 Jan 1970 00:00:00 GMT', 0), ('Thu, 99 Foo 2026', None)])
def test_retry_after(server, header, seconds):
    headers = {} if header is None else {'Retry-After': header}
    server.answer(PATH, Reply(429, captures.ERROR_429, headers))
    assert failure_of(server.url) == ('rate_limited', '', seconds)


@pytest.mark.parametrize('body', ['', captures.EDGE_HTML, captures.ERROR_429])
def test_retry_after_as_a_date(server, body):
    server.answer(PATH, lambda request: Reply(429, body, {
        'Retry-After': formatdate(time.time() + 720, usegmt=True)}))
    assert 600 < failure_of(server.url).retry_after <= 720


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_the_token_does_not_follow_a_redirect(server, other, status):
    server.answer(PATH, Reply(status, headers={'Location': other.url + PATH}))
    failure = failure_of(server.url)
    assert (failure.code, 'http://' + failure.detail) == ('redirected', other.url)
    assert (len(server.requests), other.requests) == (1, [])


ECHO = {'type': 'error', 'error': {'type': 'x', 'message': 'Bad token %s!' % TOKEN}}


@pytest.mark.parametrize('reply', [
    Reply(401, ECHO), Reply(403, ECHO), Reply(404, ECHO), Reply(500, ECHO),
    Reply(301, headers={'Location': 'https://%s.example/' % TOKEN}),
    Reply(500, json.dumps(ECHO).replace('SECRET', '\\u0053ECRET'))])
def test_an_echoed_token_is_not_shown(server, reply):
    server.answer(PATH, reply)
    failure_of(server.url)


@pytest.mark.parametrize('how', [str, lambda words: words.replace('SECRET', '\\u0053ECRET')])
def test_an_echoed_token_is_in_no_document(server, how):
    server.answer(PATH, Reply(body=how(json.dumps({'name': 'I am ' + TOKEN}))))
    assert text(get(server.url)['name']) == 'I am [secret]'


def test_an_echoed_token_of_an_unknown_form_is_not_shown(server):
    server.answer(PATH, Reply(500, {'error': {'message': 'No opaque0123!'}}))
    with pytest.raises(SourceError) as caught:
        Api(server.url).get(PATH, {'Authorization': 'Bearer opaque0123'}, 'opaque0123')
    assert caught.value.failure.detail == '500, No [secret]!'


# --- connections ---

def test_connection_refused():
    with socket.socket() as taken:      # bound but not listening: nobody else can answer there
        taken.bind(('127.0.0.1', 0))
        url = 'http://127.0.0.1:%d' % taken.getsockname()[1]
        failure = failure_of(url)
    assert failure == ('network', 'connection refused', None)


def test_unknown_host():
    failure = failure_of(NOWHERE)
    assert failure.code in ('network', 'timeout')       # the latter where no DNS answers
    assert failure.detail in ('unknown host', '')


@pytest.mark.parametrize('greeting, code', [(b'', 'network'), (b'SSH-2.0-x\r\n\r\n', 'bad_reply')])
def test_a_server_of_another_kind(listener, greeting, code):
    listening, url = listener

    def greet():
        with listening.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(greeting)
    threading.Thread(target=greet, daemon=True).start()
    failure = failure_of(url)
    assert failure.code == code


LONG = 'x' * 10000


@pytest.mark.usefixtures('hasty')
@pytest.mark.parametrize('reply', [
    Reply(hang=True), Reply(body=LONG, drip=0.1), Reply(body=LONG, drip=0.1, chunked=True),
    Reply(drip_headers=0.1, headers={'X-Long': LONG}), Reply(500, LONG, drip=0.1)],
    ids=['hang', 'drip', 'drip chunked', 'drip headers', 'drip error'])
def test_a_request_is_given_up(server, reply):
    """Though every byte comes long before any time-out of a socket."""
    server.answer(PATH, reply, Reply(body={'a': 1}))
    api = Api(server.url)
    with pytest.raises(SourceError) as caught:
        api.get(PATH, HEADERS, TOKEN)
    assert caught.value.failure == ('timeout', '', None)
    assert 0.15 < api.took < 10
    claude_usage.GET_SECONDS = 15       # of the fixture, which sets it back
    assert api.get(PATH, HEADERS, TOKEN) == {'a': 1}, 'the next one is not disturbed'


@pytest.mark.usefixtures('hasty')
def test_a_handshake_without_an_answer_is_given_up(listener):
    failure = failure_of(listener[1].replace('http:', 'https:'))
    assert failure == ('timeout', '', None)


def test_each_read_has_its_time(server, monkeypatch):
    monkeypatch.setattr(claude_usage, 'READ_SECONDS', 0.1)
    server.answer(PATH, Reply(hang=True))
    assert failure_of(server.url) == ('timeout', '', None)


@pytest.mark.parametrize('size, seconds, code', [
    (3, -1, 'timeout'), (BODY_MOST, 60, ''), (BODY_MOST + 1, 60, 'too_large')])
def test_the_thread_of_a_body_without_end_ends(size, seconds, code):
    class Body(io.BytesIO):
        headers = {}
    body = Body(b'x' * size)
    ends = time.monotonic() + seconds
    if code:
        with pytest.raises(SourceError, match=code):
            read_body(body, ends)
    else:
        assert len(read_body(body, ends)) == size


def test_a_bug_is_no_failure_of_the_network(monkeypatch):
    def broken(url):
        raise ZeroDivisionError('a bug')
    monkeypatch.setattr(claude_usage, 'proxy_of', broken)
    with pytest.raises(ZeroDivisionError):
        get('http://127.0.0.1:9')


# --- TLS ---

def test_an_unknown_certificate_is_refused(secure):
    assert failure_of(secure.url) == ('tls', 'the certificate is not trusted', None)
    assert secure.requests == []


@pytest.mark.parametrize('name', ['NODE_EXTRA_CA_CERTS', 'REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE'])
@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_a_certificate_of_the_environment_is_trusted(secure, monkeypatch, name, host):
    monkeypatch.setenv(name, CERTIFICATE)
    assert get(secure.url.replace('127.0.0.1', host)) == {'a': 1}


@pytest.mark.parametrize('name', ['NODE_EXTRA_CA_CERTS', 'REQUESTS_CA_BUNDLE'])
def test_certificates_that_cannot_be_read(secure, monkeypatch, name, tmp_path):
    for path in (tmp_path / 'missing.pem', PROGRAM):
        monkeypatch.setenv(name, str(path))
        failure = failure_of(secure.url)
        assert failure == ('tls', name + ' names no readable certificates', None)
    assert secure.requests == []


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_a_certificate_for_another_host_is_refused(example, monkeypatch, host):
    monkeypatch.setenv('NODE_EXTRA_CA_CERTS', EXAMPLE_CERTIFICATE)
    failure = failure_of(example.url.replace('127.0.0.1', host))
    assert failure == ('tls', 'the certificate is for another host', None)
    assert example.requests == []


@pytest.mark.parametrize('certificate, told', [
    (EXPIRED_CERTIFICATE, 'the certificate has expired'),
    (EARLY_CERTIFICATE, 'the certificate is not valid yet')])
@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_a_certificate_of_another_time_is_refused(monkeypatch, certificate, told, host):
    monkeypatch.setenv('NODE_EXTRA_CA_CERTS', certificate)
    with Server(https=True, certificate=certificate) as running:
        failure = failure_of(running.url.replace('127.0.0.1', host))
        assert running.requests == []
    if sys.version_info < (3, 7):           # does not tell why
        told = 'the certificate is not trusted'
    assert failure == ('tls', told, None)


def test_no_tls_at_the_other_end(server):
    assert failure_of(server.url.replace('http:', 'https:')).code == 'tls'


# --- proxies ---

@pytest.fixture
def proxy(server, example, monkeypatch):
    """A proxy that leads to api.example.com, whose certificate is trusted."""
    server.answer('api.example.com:443', Reply(tunnel=example.url))
    monkeypatch.setenv('NODE_EXTRA_CA_CERTS', EXAMPLE_CERTIFICATE)
    return server


@pytest.mark.parametrize('name', ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'])
@pytest.mark.parametrize('scheme', ['http://', ''])
def test_a_proxy_sees_no_token(proxy, example, monkeypatch, name, scheme):
    monkeypatch.setenv(name, proxy.url.replace('http://', scheme))
    assert get(EXAMPLE) == {'a': 1}
    request, = proxy.requests
    assert (request.method, request.path) == ('CONNECT', 'api.example.com:443')
    assert not {'authorization', 'proxy-authorization'} & set(request.headers)
    request, = example.requests
    assert (request.method, request.path) == ('GET', PATH)
    assert request.headers['authorization'] == 'Bearer ' + TOKEN


@pytest.mark.parametrize('login, sent', [
    ('user:SECRET', 'Basic dXNlcjpTRUNSRVQ='),
    ('us%40er:SECRET%3A%2F', 'Basic dXNAZXI6U0VDUkVUOi8='), ('user', 'Basic dXNlcjo=')])
def test_the_login_of_a_proxy_is_sent_to_it_alone(proxy, example, monkeypatch, login, sent):
    monkeypatch.setenv('HTTPS_PROXY', proxy.url.replace('//', '//%s@' % login))
    assert get(EXAMPLE) == {'a': 1}
    assert proxy.requests[0].headers['proxy-authorization'] == sent
    assert 'proxy-authorization' not in example.requests[0].headers


@pytest.mark.parametrize('reply', [Reply(407), Reply(502, captures.EDGE_HTML)])
def test_a_proxy_that_refuses(server, monkeypatch, reply):
    server.answer('api.example.com:443', reply)
    monkeypatch.setenv('HTTPS_PROXY', server.url.replace('//', '//user:SECRET@'))
    assert failure_of(EXAMPLE) == ('network', 'the proxy does not connect', None)


@pytest.mark.parametrize('proxy', ['http://[', 'socks9://127.0.0.1:9', 'http://:x', '://',
                                   'http://'])
def test_a_proxy_that_is_nonsense(monkeypatch, proxy):
    monkeypatch.setenv('HTTPS_PROXY', proxy)
    assert failure_of(EXAMPLE).code == 'network'


@pytest.mark.parametrize('excluded', ['no-such-host.invalid', '.invalid', '*'])
def test_no_proxy(server, monkeypatch, excluded):
    monkeypatch.setenv('HTTPS_PROXY', server.url)
    monkeypatch.setenv('NO_PROXY', excluded)
    assert failure_of(NOWHERE).code in ('network', 'timeout')
    assert server.requests == []


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_plain_http_does_not_leave_the_machine(server, other, monkeypatch, host):
    for name in ('http_proxy', 'HTTPS_PROXY', 'ALL_PROXY'):
        monkeypatch.setenv(name, other.url)
    server.answer(PATH, Reply(body={'a': 1}))
    assert get(server.url.replace('127.0.0.1', host)) == {'a': 1}
    assert other.requests == []


def test_a_proxy_for_plain_http_is_none_for_https(server, monkeypatch):
    monkeypatch.setenv('http_proxy', server.url)
    assert failure_of(NOWHERE).code in ('network', 'timeout')
    assert server.requests == []


def test_environment_of_the_tests_names_no_proxy():
    assert not [name for name in os.environ if name.lower().endswith('_proxy')]
