#!/usr/bin/python3
"""HTTP/1.1 of the running server over raw sockets: connections, framing, limits, deadlines."""
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import token_make
from portreeve import SLOW, Server
from tap import done, ok, same

SETTINGS = {'MaxRequestLine': 1024, 'MaxRequestHead': 4096, 'MaxHeaderFields': 20, 'MaxRequestBody': 2000, 'MaxRequestsPerConnection': 200}
# For the tests of deadlines only: elsewhere a machine that stands still for so long would fail them.
SHORT = {'HeaderTimeout': 1500, 'BodyTimeout': 1500, 'IdleTimeout': 1500, 'HandshakeTimeout': 1500, 'WriteTimeout': 2000}
FORM = {'Content-Type': 'application/x-www-form-urlencoded'}
ONE_CLICK = b'List-Unsubscribe=One-Click'
PATIENCE = 30  # a connection that should have been closed is waited for this long, so that a slow machine never decides


def open_path(s, n):
    return '/trk/o/%s.gif' % s.seal.token('open', 1, n, 0)


def unsub_path(s, n):
    return '/trk/u/' + s.seal.token('unsubscribe', 1, n, 0)


def conn(s, tls=None, **kw):
    return http1.Conn(s.address, s.tls if tls else s.http, tls=tls, timeout=PATIENCE * SLOW, **kw)


def keep_alive(s):
    for tls in (None, True):
        name = 'TLS' if tls else 'plain'
        with conn(s, tls) as c:
            got = [c.call('GET', open_path(s, n)) for n in range(1, 101)]
            ok(all(r.status == 200 and len(r.body) == 43 and r.body.startswith(b'GIF89a') for r in got), '100 requests over one connection, ' + name)
            ok(all(r.get('Cache-Control') == 'no-store' and r.get('Content-Type') == 'image/gif' and r.get('Date') for r in got), 'with their fields, ' + name)
            r = c.call('GET', '/robots.txt', close=True)
            ok((r.get('Connection') or '').lower() == 'close' and c.ends(), 'Connection: close is answered and done, ' + name)
    with conn(s) as c:
        c.send(b'GET /robots.txt HTTP/1.0\r\nHost: x\r\n\r\n')
        ok(c.response().status == 200 and c.ends(), 'HTTP/1.0 closes after its answer')
    with conn(s) as c:
        c.send(b'GET /robots.txt HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n')
        r = c.response()
        ok(r.status == 200 and (r.get('Connection') or '').lower() == 'keep-alive' and c.call('GET', '/robots.txt').status == 200,
           'HTTP/1.0 with keep-alive is kept')
    with conn(s) as c:
        got = [c.call('GET', '/robots.txt') for _ in range(200)]
        ok((got[-1].get('Connection') or '').lower() == 'close' and c.ends() and not got[-2].get('Connection'), 'the last request of MaxRequestsPerConnection says close')


def pipelining(s):
    with conn(s) as c:
        c.send(b''.join(http1.request('GET', open_path(s, n)) for n in range(60)) + http1.request('GET', '/no/such/thing') + http1.request('HEAD', '/robots.txt')
               + http1.request('GET', '/robots.txt', close=True))
        got = [c.response() for _ in range(60)]
        ok(all(len(r.body) == 43 for r in got), '60 pipelined opens, durable, in order')
        same([c.response().status, c.response('HEAD').status, c.response().status], [404, 200, 200], 'what follows in the pipe is answered in order')
        ok(c.ends(), 'and the connection ends where the last one asked for it')
    with conn(s) as c:
        data = http1.request('POST', unsub_path(s, 900), FORM, ONE_CLICK) + http1.request('GET', '/robots.txt')
        for i in range(len(data)):
            c.send(data[i:i + 1])
        same([c.response().status, c.response().status], [200, 200], 'one byte at a time, body and next request too')
    with conn(s) as c:
        c.send(b'\r\n' + http1.request('GET', '/robots.txt'))
        same(c.response().status, 200, 'one empty line before a request is skipped')


def bodies(s):
    chunk = dict(FORM, **{'Transfer-Encoding': 'chunked'})
    with conn(s) as c:
        body = http1.chunked(ONE_CLICK[:5], ONE_CLICK[5:6], ONE_CLICK[6:], trailer=b'X-Trailer: yes\r\n')
        same(c.call('POST', unsub_path(s, 901), chunk, body).status, 200, 'a chunked body with a trailer')
        same(c.call('POST', unsub_path(s, 902), chunk, b'1a;ext=1\r\n' + ONE_CLICK + b'\r\n000\r\n\r\n').status, 200, 'chunk extensions and several zeros')
        same(c.call('GET', '/robots.txt').status, 200, 'and the connection goes on')
    for what, body in (('a negative size', b'-1\r\n'), ('a size beyond 64 bits', b'11111111111111111\r\n'), ('no size', b'\r\n'), ('0x before the size', b'0x5\r\n'),
                       ('a chunk longer than its size', b'3\r\nabcd\r\n0\r\n\r\n'), ('a bare LF after the size', b'5\nabcde\r\n0\r\n\r\n')):
        with conn(s) as c:
            r = c.call('POST', unsub_path(s, 903), chunk, body)
            ok(r.status == 400 and c.ends(), 'chunked with %s: 400 and close' % what, r)
    with conn(s) as c:
        r = c.call('POST', unsub_path(s, 904), dict(FORM, **{'Content-Length': '2001'}), b'')
        ok(r.status == 413 and c.ends(), 'Content-Length beyond MaxRequestBody: 413 before the body', r)
    with conn(s) as c:
        try:
            r = c.call('POST', unsub_path(s, 905), chunk, http1.chunked(*[b'a' * 500] * 5))
            ok(r.status == 413 and c.ends(), 'chunks beyond MaxRequestBody: 413', r)
        except http1.Closed as e:
            ok(False, 'chunks beyond MaxRequestBody: 413', e)
    with conn(s) as c:
        same(c.call('POST', unsub_path(s, 906), FORM, ONE_CLICK + b'&x=' + b'y' * (2000 - len(ONE_CLICK) - 3)).status, 200, 'a body of exactly MaxRequestBody')
    with conn(s) as c:
        r = c.call('POST', unsub_path(s, 907), dict(FORM, **{'Content-Length': '18446744073709551617'}), b'')
        ok(r.status in (400, 413) and c.ends(), 'Content-Length beyond 2^64 is refused', r)


def expect(s):
    head = dict(FORM, Expect='100-continue')
    with conn(s) as c:
        c.send(http1.request('POST', unsub_path(s, 910), dict(head, **{'Content-Length': str(len(ONE_CLICK))})))
        same(c.response().status, 100, 'Expect: 100-continue is answered before the body')
        c.send(ONE_CLICK)
        same(c.response().status, 200, 'and the request afterwards')
    with conn(s) as c:
        c.send(http1.request('POST', unsub_path(s, 911), dict(head, **{'Content-Length': '999999'})))
        r = c.response()
        ok(r.status == 413 and c.ends(), 'too large: 413 instead of 100', r)
    with conn(s) as c:
        r = c.call('POST', unsub_path(s, 912), dict(FORM, Expect='the-unexpected'), ONE_CLICK)
        same(r.status, 417, 'an unknown expectation')


def head(s):
    with conn(s) as c:
        for path in (open_path(s, 920), '/robots.txt', '/no/such/thing'):
            get, h = c.call('GET', path), c.call('HEAD', path)
            ok(h.status == get.status and h.get('Content-Length') == str(len(get.body)) and h.get('Content-Type') == get.get('Content-Type'),
               'HEAD %s has the head of GET and no body' % path.split('/')[1], (get, h))
        r = c.call('DELETE', '/trk/o/x.gif')
        ok(r.status == 405 and 'GET' in (r.get('Allow') or ''), 'another method is 405 with Allow', r)
        same(c.call('GET', '/trk/', host='localhost').status, 404, 'anything else below /trk/ is 404')


def limits(s):
    line = len('GET / HTTP/1.1')
    with conn(s) as c:
        same(c.call('GET', '/' + 'x' * (1024 - line)).status, 404, 'a request line of exactly MaxRequestLine')
        same(c.call('GET', '/' + 'x' * (1025 - line)).status, 414, 'one byte more is 414')
        ok(c.ends(), 'and close')
    with conn(s) as c:
        same(c.call('GET', '/robots.txt', [('X-%d' % i, 'y') for i in range(19)]).status, 200, 'MaxHeaderFields fields')
    with conn(s) as c:
        r = c.call('GET', '/robots.txt', [('X-%d' % i, 'y') for i in range(20)])
        ok(r.status == 431 and c.ends(), 'one field more is 431', r)
    with conn(s) as c:
        r = c.call('GET', '/robots.txt', {'X-Long': 'y' * 4096})
        ok(r.status == 431 and c.ends(), 'a head beyond MaxRequestHead is 431', r)
    with conn(s) as c:
        c.send(b'GET /' + b'x' * 100000)
        r = c.response()
        ok(r.status in (414, 431), 'an endless request line is refused without its end', r)


def bad_requests(s):
    """A handful through the whole server; the parser's own tests hold the many."""
    before = s.counter('bad_requests')
    bad = {
        'two lengths': b'POST /trk/u/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
        'length and chunked': b'POST /trk/u/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        'a blank before the colon': b'GET /robots.txt HTTP/1.1\r\nHost : a\r\n\r\n',
        'a folded line': b'GET /robots.txt HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n',
        'a bare LF': b'GET /robots.txt HTTP/1.1\nHost: a\n\n',
        'no Host': b'GET /robots.txt HTTP/1.1\r\n\r\n',
        'two Hosts': b'GET /robots.txt HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n',
        'a NUL in a field': b'GET /robots.txt HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n',
        'TLS on the plain port': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\xaa' * 64 + b'\r\n\r\n',
    }
    for what, data in bad.items():
        with conn(s) as c:
            c.send(data)
            try:
                r = c.response()
                ok(r.status in (400, 501) and c.ends(), '%s: refused and closed' % what, r)
            except http1.Closed:
                ok(False, '%s: refused with an answer' % what)
    with conn(s) as c:
        c.send(b'GET /robots.txt HTTP/3.0\r\nHost: a\r\n\r\n')
        same(c.response().status, 505, 'a version that is not ours')
    ok(s.counter('bad_requests') >= before + len(bad), 'they are counted')
    with conn(s, tls=None) as c:
        same(c.call('GET', '/robots.txt').status, 200, 'others are served as ever')


def closes(c, begun):
    """Wait for the end; seconds since `begun`. Fails by its patience, never by being slow."""
    try:
        c.rest()
        return time.monotonic() - begun
    except socket.timeout:
        return None


def drip(c, data, every, until):
    """Send byte by byte until it is cut off."""
    try:
        for i in range(len(data)):
            if time.monotonic() > until:
                return
            c.send(data[i:i + 1])
            time.sleep(every)
    except OSError:
        pass


def slow_clients(s):
    """Each deadline is absolute: bytes that trickle in do not move it."""
    trickle = b'GET /robots.txt HTTP/1.1\r\nHost: a\r\n' + b'X-Slow: a\r\n' * 400
    body = http1.request('POST', unsub_path(s, 930), dict(FORM, **{'Content-Length': '2000'})) + b'x' * 1900
    chunks = http1.request('POST', unsub_path(s, 931), dict(FORM, **{'Transfer-Encoding': 'chunked'})) + b'1\r\nx\r\n' * 1000
    extension = http1.request('POST', unsub_path(s, 932), dict(FORM, **{'Transfer-Encoding': 'chunked'})) + b'1;' + b'x' * 4000
    cases = [('a head that trickles in', trickle, None), ('a body that trickles in', body, None), ('chunks that trickle in', chunks, None),
             ('a chunk line without end', extension, None), ('a TLS handshake that trickles in', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\0' * 400, 'raw'),
             ('a connection that says nothing', b'', None), ('a TLS connection that says nothing', b'', 'raw')]
    results = {}

    def one(what, data, tls):
        with http1.Conn(s.address, s.tls if tls else s.http, timeout=PATIENCE * SLOW) as c:
            begun = time.monotonic()
            sender = threading.Thread(target=drip, args=(c, data, 0.1, begun + PATIENCE * SLOW), daemon=True)
            if len(data) > 100 and not tls:  # the first part goes at once so that only the deadline in question can speak
                head_end = data.find(b'\r\n\r\n') + 4 if b'\r\n\r\n' in data else 60
                c.send(data[:head_end])
                data_rest = data[head_end:]
                sender = threading.Thread(target=drip, args=(c, data_rest, 0.1, begun + PATIENCE * SLOW), daemon=True)
            sender.start()
            results[what] = closes(c, begun)

    threads = [threading.Thread(target=one, args=case) for case in cases]
    for t in threads:
        t.start()
    good = 0
    for i in range(50):
        with conn(s) as c:
            good += c.call('GET', open_path(s, 940 + i)).status == 200
    same(good, 50, 'others are answered meanwhile')
    for t in threads:
        t.join()
    for what, _, _ in cases:
        ok(results[what] is not None, '%s is closed' % what)
    with conn(s) as c:
        c.call('GET', '/robots.txt')
        ok(closes(c, time.monotonic()) is not None, 'an idle kept connection is closed after IdleTimeout')
    # A kept connection that says nothing any more is no fault: it is closed, not counted.
    ok(s.counter('timeouts') >= len(cases) - 1, 'deadlines are counted', s.status()['counters'])


def slow_reader(s):
    """A client that does not read its answers is cut off, and holds nobody up."""
    with http1.Conn(s.address, s.http, timeout=PATIENCE * SLOW, rcvbuf=4096) as c:
        c.sock.settimeout(0.5)
        many = http1.request('GET', unsub_path(s, 950)) * 200  # a page of some size that waits for no commit: the buffers between are soon full
        end = time.monotonic() + PATIENCE * SLOW
        cut = False
        while time.monotonic() < end and not cut:
            try:
                c.sock.send(many)
            except socket.timeout:
                pass
            except OSError:
                cut = True
        ok(cut, 'a client that never reads is cut off')
    with conn(s) as c:
        same(c.call('GET', '/robots.txt').status, 200, 'others are served')


def many_connections(s):
    """Connections that only come and go, reset or half-closed, harm nobody."""
    import struct
    for i in range(200):
        c = socket.create_connection((s.address, s.http))
        if i % 2:
            c.send(http1.request('GET', open_path(s, 960)))
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        c.close()
    with conn(s) as c:
        c.send(http1.request('GET', '/robots.txt'))
        c.sock.shutdown(socket.SHUT_WR)
        same(c.response().status, 200, 'a half-closed client still gets its answer, after 200 resets')


def main():
    for settings, parts in ((SETTINGS, (keep_alive, pipelining, bodies, expect, head, limits, bad_requests, many_connections)),
                            (dict(SETTINGS, **SHORT), (slow_clients, slow_reader))):
        with Server(components='tracker', settings=settings) as s:
            engine = s.engine_pid()
            s.http, s.tls = s.port('http'), s.tls_port()
            s.seal = token_make.Sealer(os.path.join(s.state, 'keys/tracker.keys'))
            for part in parts:
                part(s)
            same(s.engine_pid(), engine, 'the engine is still the one that was started')
    done()


main()
