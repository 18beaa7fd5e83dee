#!/usr/bin/python3
"""Clients, policies and moments that mean no good: each check is a way in which a connection, an answer or the engine could once be lost."""
import os
import random
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import token_make
from portreeve import PROGRAM, SLOW, Server, free_ports, wait_until
from tap import done, note, ok, same

GET = http1.request('GET', '/robots.txt')
HOUR_AGO = time.time() - 3600


def post(path, length):
    return ('POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n' % (path, length)).encode()


def pixel(s, recipient):
    sealer = token_make.Sealer(os.path.join(s.state, 'keys', 'tracker.keys'))
    return http1.request('GET', '/trk/o/%s.gif' % sealer.token('open', 7, recipient, 0, '', at=HOUR_AGO))


def answers_before_a_body(s, port, tls):
    """A client may wait for the answer to an earlier request before it sends the rest of a body."""
    with http1.Conn(s.address, port, tls=tls) as c:
        c.send(GET + GET + post('/trk/u/none', 10) + b'12345')
        same([c.response().status for _ in range(2)], [200, 200], 'answers leave while the body of a later request is still coming')
        c.send(b'67890' + GET)
        same([c.response().status for _ in range(2)], [404, 200], 'and the rest of the body is taken')
    with http1.Conn(s.address, port, tls=tls) as c:
        c.send(GET + http1.request('POST', '/trk/u/none', [('Expect', '100-continue'), ('Content-Length', '3')]))
        same([c.response().status for _ in range(2)], [200, 100], 'an answer, then the 100')
        c.send(b'abc' + GET)
        same([c.response().status for _ in range(2)], [404, 200], 'the body, and what was behind it')


def no_reset():
    """A server that closes must not answer what it did not read with a reset: that may overtake its last answer."""
    with Server(components='tracker', settings={'MaxRequestsPerConnection': 1}) as s:
        port, resets = s.port('http'), []
        for i in range(20):
            with http1.Conn(s.address, port) as c:
                c.send(pixel(s, i + 1))
                c.send(GET)
                try:
                    good = c.response().status == 200 and c.sock.recv(1) == b''
                except (ConnectionError, http1.Closed) as e:
                    good, resets = False, resets + [str(e)]
                if not good:
                    break
        same(resets, [], 'closed after the last request it takes, with a second one unread: no reset')


def many_at_once(s, port):
    """Hundreds of requests in one write, their answers read late and slowly."""
    ask = b''.join(random.Random(5).choice([GET, post('/trk/u/none', 3) + b'abc', http1.request('HEAD', '/robots.txt'), b'GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n'])
                   for _ in range(3000))
    with http1.Conn(s.address, port, rcvbuf=4096) as c:
        c.sock.settimeout(0.2)
        sent = 0
        try:
            while sent < len(ask):
                sent += c.sock.send(ask[sent:sent + 65536])
        except socket.timeout:
            note('the server stopped reading after %d bytes' % sent)
        c.sock.settimeout(20)
        statuses, rest = [], ask[sent:]
        while len(statuses) < 3000:
            if rest and len(statuses) % 50 == 0:
                n = c.sock.send(rest[:8192])
                rest = rest[n:]
            method = 'HEAD' if kind(ask, len(statuses)) == b'HEAD' else 'GET'
            statuses.append(c.response(method).status)
        wanted = [{b'GET /r': 200, b'HEAD /': 200, b'POST /': 404, b'GET /x': 404}[ask_at(ask, i)[:6]] for i in range(3000)]
        ok(statuses == wanted, 'three thousand requests in one write: every answer, in order')


_cut = {}


def ask_at(ask, i):
    """The i-th request of a concatenation."""
    if id(ask) not in _cut:
        out, at = [], 0
        while at < len(ask):
            end = ask.index(b'\r\n\r\n', at) + 4
            if ask[at:at + 4] == b'POST':
                end += 3
            out.append(ask[at:end])
            at = end
        _cut[id(ask)] = out
    return _cut[id(ask)][i]


def kind(ask, i):
    return ask_at(ask, i).split(b' ')[0]


def a_policy_with_a_trap():
    """The verdict is read without running anything of the policy: its metamethods would raise where nobody catches."""
    with Server(components='tracker') as s:
        before = s.engine_pid()
        s.edit('policies/admission.lua', 'return function(facts)\n  return setmetatable({}, { __index = function(t, k) error("trap " .. k) end })\nend\n')
        s.edit('policies/admission_test.lua', 'return { ["nothing"] = function(t) t.ok(true) end }\n')
        same(s.reload('--force')[0], 0, 'a policy whose verdict has a metamethod that raises')
        with http1.Conn(s.address, s.port('http')) as c:
            ok(c.ends(), 'refuses (G9: fails closed)')
        same((s.engine_pid(), s.counter('engine_crashes')), (before, 0), 'and the engine lives')
        ok(s.counter('refused_error') >= 1, 'the refusal is counted as an error of the policy')


def a_listener_that_goes():
    """An idle connection of a listener that is gone must not keep the old generation until it has idled away."""
    port, = free_ports(1)
    with Server(components='tracker') as s:
        old = s.read('listeners.ini')
        s.append('listeners.ini', 'extra.Port=%d\nextra.Address=127.0.0.9\nextra.Services=tracker\n' % port)
        same(s.reload()[0], 0, 'a listener more')
        with http1.Conn('127.0.0.9', port, timeout=20 * SLOW) as c:
            same(c.call('GET', '/robots.txt').status, 200, 'answers')
            s.edit('listeners.ini', old)
            same(s.reload()[0], 0, 'and is taken away')
            ok(c.ends(), 'its idle connection is closed long before IdleTimeout')


def an_end_while_somebody_waits():
    """A console that waits for reload() must not hold up an engine that is being replaced: nobody will answer it any more."""
    with Server(components='tracker', settings={'DrainTimeout': 5000}) as s:
        s.edit('policies/admission_test.lua', 'return { ["slow"] = function(t) for i = 1, 1e12 do local a = ("x"):rep(100) end end }\n')
        mark, engine = s.log_mark(), s.engine_pid()
        os.kill(s.supervisor_pid(), signal.SIGUSR2)
        p = subprocess.Popen([PROGRAM, 'eval', '--state', s.state, 'reload()'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until('the change of engine', lambda: 'engine %d has' % engine in s.log_since(mark) or 'engine %d ended' % engine in s.log_since(mark), 60)
        ok('engine %d has finished (exit status 0)' % engine in s.log_since(mark), 'an engine that is replaced during a reload() of its console ends by itself')
        os.kill(s.supervisor_pid(), signal.SIGTERM)
        s.proc.wait(30 * SLOW)
        p.wait(30 * SLOW)


def locks_of(pid, path):
    """POSIX locks of a process on a file, as the kernel lists them."""
    inode = ':%d' % os.stat(path).st_ino
    with open('/proc/locks') as f:
        return [x for x in map(str.split, f) if len(x) > 6 and x[4] == str(pid) and x[5].endswith(inode)]


def locks_of_databases():
    """Closing any descriptor of a file gives up every lock of the process on it. Then, while two engines overlap, the one that ends thinks it
    is the last, takes the log of the database away, and what the other one commits is lost after it was acknowledged."""
    with Server() as s:
        files = [os.path.join(s.state, d) for d in ('db/ui.db', 'db/system.db', 'spool/spool.db')]
        wait_until('the databases', lambda: all(os.path.exists(f) and locks_of(s.engine_pid(), f) for f in files))
        same(s.reload()[0], 0, 'a reload, which opens every database once more')
        for path in ('/lui/', '/hub/'):
            http1.get(s.address, s.port('http'), path)
        same([os.path.basename(f) for f in files if not locks_of(s.engine_pid(), f)], [], 'after it the engine still holds its locks')


def impatience():
    """HandlerTimeout is about pages; the ui's long poll for events takes longer and must not be answered with 504."""
    with Server(settings={'HandlerTimeout': 200}) as s:
        port = s.port('communications')
        with http1.Conn(s.address, port, timeout=30) as c:
            same(c.call('GET', '/events?after=0&wait=1500').status, 200, 'a long poll outlives a short HandlerTimeout')


def bodies_of_many():
    """MaxRequestBody bounds one request; what many slow senders hold together is bounded too, and small bodies are still taken."""
    most = 24 << 20
    with Server(components='tracker', settings={'MaxRequestBody': most, 'Workers': 1, 'BodyTimeout': 600000}) as s:
        port, open_ones, refused = s.port('http'), [], 0
        part = b'x' * (1 << 20)
        for _ in range(12):
            c = http1.Conn(s.address, port, timeout=20 * SLOW)
            open_ones.append(c)
            try:
                c.send(post('/trk/u/none', most))
                for _ in range(18):
                    c.send(part)
            except ConnectionError:
                pass
        for c in open_ones:
            c.sock.setblocking(False)
        wait_until('bodies to be taken or refused', lambda: s.counter('bad_requests') >= 1)
        for c in open_ones:
            try:
                refused += c.sock.recv(64).startswith(b'HTTP/1.1 503')
            except (BlockingIOError, ConnectionError):
                pass
        ok(refused >= 1, 'twelve bodies of 18 MiB each: %d of them refused with 503' % refused)
        same(http1.get(s.address, port, '/trk/u/none', method='POST', body=b'x' * 4000).status, 404, 'a small body is taken meanwhile')
        for c in open_ones:
            c.close()
        wait_until('the memory to come back', lambda: http1.get(s.address, port, '/trk/u/none', method='POST', body=b'x' * (1 << 20)).status == 404)
        ok(True, 'a large one is taken again when the others have gone')


def main():
    with Server(components='tracker') as s:
        answers_before_a_body(s, s.port('http'), False)
        answers_before_a_body(s, s.tls_port(), True)
        many_at_once(s, s.port('http'))
    no_reset()
    a_policy_with_a_trap()
    a_listener_that_goes()
    an_end_while_somebody_waits()
    locks_of_databases()
    impatience()
    bodies_of_many()
    done()


main()
