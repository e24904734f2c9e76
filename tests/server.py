"""A real HTTP server on loopback that answers what a test tells it to, well or badly.

    with Server() as server:
        server.answer('/api/oauth/usage', Reply(429, headers={'Retry-After': '6'}), Reply(body={}))
        ...                             # the first request gets 429, all later ones 200 and {}
        server.wait_for(2, '/api/oauth/usage')
        assert server.requests[0].headers['accept'] == 'application/json'

Nothing in it sleeps: whatever waits, waits for the server to be closed, and closing ends all.
"""
import http.client
import http.server
import json
import os
import select
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

CERTIFICATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'localhost.pem')
"""Key and self-signed certificate of `Server(https=True)`; a client loads it as its CA file."""

EXAMPLE_CERTIFICATE = os.path.join(os.path.dirname(CERTIFICATE), 'example.pem')
"""The same for a server that is api.example.com, which a `tunnel` leads to."""

EXPIRED_CERTIFICATE = os.path.join(os.path.dirname(CERTIFICATE), 'expired.pem')
EARLY_CERTIFICATE = os.path.join(os.path.dirname(CERTIFICATE), 'early.pem')


class Request(NamedTuple):
    """What arrived. `path` is as sent: a whole URL, or `host:port` of CONNECT, at a proxy."""
    method: str
    path: str
    query: Dict[str, List[str]]
    headers: Dict[str, str]         # names in lower case
    at: float                       # time.monotonic()


class Reply(NamedTuple):
    """What to answer, and how to misbehave. `headers` replace those that the body gives."""
    status: int = 200
    body: Any = b''                 # bytes, text, or a value that is sent as JSON
    headers: Dict[str, str] = {}
    drip: float = 0                 # seconds between the single bytes of the body
    drip_headers: float = 0         # seconds between the single bytes before it
    cut: Optional[int] = None       # hang up after so many bytes of the body, promising all
    hang: bool = False              # take the request, answer nothing, hold the connection
    chunked: bool = False           # Transfer-Encoding: chunked
    close_delimited: bool = False   # no length at all: the body ends where the connection does
    interim: Tuple[int, ...] = ()   # statuses of replies before this one
    tunnel: str = ''                # then pass bytes to and from this address, as CONNECT wants

    def payload(self):
        """Return the whole body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return text.encode('utf-8')

    def head(self):
        """Return the status line and the headers as bytes, after those of interim replies."""
        headers = {} if isinstance(self.body, (bytes, str)) else {
            'Content-Type': 'application/json'}
        if self.chunked:
            headers['Transfer-Encoding'] = 'chunked'
        elif self.close_delimited:
            headers['Connection'] = 'close'
        else:
            headers['Content-Length'] = str(len(self.payload()))
        headers.update(self.headers)
        lines = []
        for status in self.interim:
            lines += ['HTTP/1.1 %d Interim' % status, 'Link: </x>', 'Content-Length: 9', '']
        lines += ['HTTP/1.1 %d %s' % (self.status, http.client.responses.get(self.status, ''))]
        lines += ['%s: %s' % header for header in headers.items()]
        return '\r\n'.join(lines + ['', '']).encode('latin-1')

    def pieces(self):
        """Yield the body as it goes over the wire: one chunk, or byte by byte when it drips."""
        body = self.payload()[:self.cut]
        step = 1 if self.drip else max(len(body), 1)
        for start in range(0, len(body), step):
            piece = body[start:start + step]
            yield b'%x\r\n%b\r\n' % (len(piece), piece) if self.chunked else piece
        if self.chunked and self.cut is None:
            yield b'0\r\n\r\n'


NOT_FOUND = Reply(404, {'type': 'error', 'request_id': 'req_0', 'error': {
    'type': 'not_found_error', 'message': 'Not found'}})


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection, which may bring many requests."""
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True  # so that dripped bytes do leave one by one

    def answer(self):
        """Record the request and send the reply that its path has next."""
        path, _, query = self.path.partition('?')
        reply = self.server.take(Request(
            self.command, path, urllib.parse.parse_qs(query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()}, time.monotonic()))
        if reply.hang:
            self.server.closing.wait()
        else:
            self.write(reply)
        if reply.tunnel:
            self.tunnel(urllib.parse.urlsplit(reply.tunnel))
        self.close_connection |= (reply.hang or reply.close_delimited or bool(reply.tunnel)
                                  or reply.cut is not None)

    do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = answer

    def write(self, reply):
        """Send the reply at its pace, as long as the server is open."""
        head = reply.head()
        step = 1 if reply.drip_headers else len(head)
        for start in range(0, len(head), step):
            self.wfile.write(head[start:start + step])
            self.pause(reply.drip_headers)
        for piece in reply.pieces():
            self.wfile.write(piece)
            self.pause(reply.drip)

    def tunnel(self, address):
        """Pass bytes between the client and another server until one of them leaves."""
        with socket.create_connection((address.hostname, address.port)) as other:
            ends = {self.connection: other, other: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)

    def pause(self, seconds):
        """Wait, but not longer than the server is open."""
        if seconds and self.server.closing.wait(seconds):
            raise ConnectionAbortedError('the server was closed')

    def log_message(self, *_):
        """Keep the output of the tests clean."""


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens from its making; `with` serves, and leaves no thread and no connection behind."""
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, https=False, certificate=CERTIFICATE):
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = '%s://127.0.0.1:%d' % ('https' if https else 'http', self.server_address[1])
        self.requests: List[Request] = []
        self.closing = threading.Event()
        self._tls = https and ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self._tls:
            self._tls.load_cert_chain(certificate)
        self._replies: Dict[str, list] = {}
        self._connections: set = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop serving and end every connection at once, also one that hangs or drips."""
        self.shutdown()
        self.closing.set()
        with self._changed:
            for connection in self._connections:
                _hang_up(connection)
            assert self._changed.wait_for(lambda: not self._connections, 20), 'a reply is stuck'
        self.server_close()
        self._thread.join()

    def answer(self, path, *replies):
        """Give these replies to the next requests of `path`, the last one to all that follow.

        A reply is a `Reply` or a function that makes one of the `Request`.
        """
        with self._changed:
            self._replies[path] = list(replies)

    def take(self, request):
        """Record a request; return its reply."""
        with self._changed:
            self.requests.append(request)
            replies = self._replies.get(request.path, [NOT_FOUND])
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            self._changed.notify_all()
        return reply(request) if callable(reply) else reply

    def wait_for(self, count, path=None, timeout=20):
        """Return the requests (of `path`, if given) as soon as `count` of them have come."""
        def wanted():
            return [r for r in self.requests if path in (None, r.path)]
        with self._changed:
            if not self._changed.wait_for(lambda: len(wanted()) >= count, timeout):
                raise AssertionError('%d of %d requests of %s came in %g s: %s' % (
                    len(wanted()), count, path or 'any path', timeout, self.requests))
            return wanted()

    def get_request(self):
        """Accept a connection; the TLS handshake is left to the connection's own thread."""
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request, client_address):
        """Remember the connection, so that closing can end it."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        """End a connection whose thread is done."""
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request, client_address):
        """Say nothing of a client that left, as tests want it to; tell of a broken test."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _hang_up(connection):
    try:
        # Not SSLSocket's own shutdown: that takes the TLS layer from under the other thread.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        pass                        # the other end was quicker
