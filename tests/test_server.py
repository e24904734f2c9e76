"""The tests' own server: it answers as told, misbehaves as told, and ends at once."""
import http.client
import json
import ssl
import time
import urllib.parse

import pytest

import captures
from server import CERTIFICATE, Reply, Server


def connect(server, host='127.0.0.1', context=None):
    port = urllib.parse.urlsplit(server.url).port
    if context:
        return http.client.HTTPSConnection(host, port, timeout=20, context=context)
    return http.client.HTTPConnection(host, port, timeout=20)


def get(server, path, headers=None, **options):
    connection = connect(server, **options)
    connection.request('GET', path, headers=headers or {})
    return connection.getresponse()


def test_unknown_path_is_an_error_of_the_api(server):
    response = get(server, '/nothing')
    assert response.status == 404
    assert json.loads(response.read().decode())['error']['type'] == 'not_found_error'


def test_replies_come_in_order_and_the_last_one_stays(server):
    server.answer('/a', Reply(429, captures.ERROR_429, {'Retry-After': '6'}), Reply(body='done'))
    first = get(server, '/a')
    assert (first.status, first.headers['Retry-After']) == (429, '6')
    assert first.headers['Content-Type'] == 'application/json'
    assert json.loads(first.read().decode()) == captures.ERROR_429
    assert [get(server, '/a').read() for _ in range(2)] == [b'done', b'done']


def test_a_reply_may_depend_on_the_request(server):
    server.answer('/users', lambda request: Reply(body=request.query['after_id'][0]))
    assert get(server, '/users?after_id=u7').read() == b'u7'


def test_requests_are_recorded(server):
    before = time.monotonic()
    get(server, '/a?group_by[]=x&group_by[]=y&page=', {'X-Api-Key': 'k'})
    request, = server.wait_for(1, '/a')
    assert request == server.requests[0]
    assert (request.method, request.path) == ('GET', '/a')
    assert request.query == {'group_by[]': ['x', 'y'], 'page': ['']}
    assert request.headers['x-api-key'] == 'k'
    assert before <= request.at <= time.monotonic()


def test_one_connection_brings_many_requests(server):
    server.answer('/a', Reply(body=b'12345'))
    connection = connect(server)
    for _ in range(3):
        connection.request('GET', '/a')
        assert connection.getresponse().read() == b'12345'
    assert len(server.requests) == 3


def test_waiting_in_vain_says_what_came(server):
    get(server, '/a')
    with pytest.raises(AssertionError, match='0 of 1 requests of /b .*/a'):
        server.wait_for(1, '/b', timeout=0)


def test_drip_sends_all_at_its_pace(server):
    server.answer('/a', Reply(body=b'12345', drip=0.02))
    start = time.monotonic()
    assert get(server, '/a').read() == b'12345'
    assert time.monotonic() - start >= 4 * 0.02


@pytest.mark.parametrize('chunked', [False, True])
def test_drip_sends_single_bytes_and_closing_ends_it(chunked):
    with Server() as server:
        server.answer('/a', Reply(body=b'12345', drip=3600, chunked=chunked))
        response = get(server, '/a')
        assert response.read(1) == b'1'
    with pytest.raises(http.client.IncompleteRead):
        response.read()


def test_headers_drip(server):
    server.answer('/a', Reply(drip_headers=3600))
    connection = connect(server)
    connection.request('GET', '/a')
    assert connection.sock.recv(100) == b'H'


@pytest.mark.parametrize('chunked', [False, True])
def test_cut_promises_all_and_sends_less(server, chunked):
    server.answer('/a', Reply(body=b'12345', cut=3, chunked=chunked))
    response = get(server, '/a')
    assert response.headers['Content-Length'] == (None if chunked else '5')
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial == b'123'


def test_hang_takes_the_request_and_is_released_by_closing():
    with Server() as server:
        server.answer('/a', Reply(hang=True))
        connection = connect(server)
        connection.request('GET', '/a')
        server.wait_for(1, '/a')
    with pytest.raises(ConnectionError):
        connection.getresponse()


def test_closing_ends_an_idle_connection():
    with Server() as server:
        connection = connect(server)
        connection.request('GET', '/a')
        connection.getresponse().read()
    assert connection.sock.recv(1) == b''


def test_body_without_a_length(server):
    server.answer('/chunked', Reply(body=b'12345', chunked=True))
    server.answer('/closed', Reply(body=b'12345', close_delimited=True))
    for path in ('/chunked', '/closed'):
        response = get(server, path)
        assert 'Content-Length' not in response.headers
        assert response.read() == b'12345'


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_https(host):
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    with Server(https=True) as server:
        server.answer('/a', Reply(body='safe'), Reply(body='torn', cut=2), Reply(hang=True))
        assert server.url.startswith('https://')
        assert get(server, '/a', host=host, context=trusting).read() == b'safe'
        with pytest.raises((http.client.IncompleteRead, ssl.SSLError)):
            get(server, '/a', host=host, context=trusting).read()
        with pytest.raises(ssl.SSLError):
            get(server, '/a', host=host, context=ssl.create_default_context())
        connection = connect(server, host, trusting)
        connection.request('GET', '/a')
        server.wait_for(3, '/a')
    with pytest.raises(OSError):
        connection.getresponse()
