#!/usr/bin/python3
"""What there is only so much of: descriptors, room for the delayed, space for the access log, a spool that somebody else holds. Each time it is said, counted and
bounded, what can still be served is, and afterwards all is as before."""
import ctypes
import json
import os
import resource
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from backends import Backend
from callers import seen
from logs import whole_lines
from pages import Pages
from portreeve import SLOW, Server, wait_until
from tap import done, ok, same, skip

SPARE = 12


def allow(s, spare):
    """From here on the engine may open that many descriptors more. Returns how it was."""
    pid = s.engine_pid()
    used = max(int(x) for x in os.listdir('/proc/%d/fd' % pid)) + 1
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + spare, before[1]))
    return before


def descriptors():
    with Server(components='tracker', settings={'Workers': 1}) as s:
        port, link = s.port('http'), s.mint()['open']
        with http1.Conn(s.address, port) as first:
            same(first.call('GET', '/robots.txt').status, 200, 'a connection that is there already')
            before, mark = allow(s, SPARE), s.log_mark()
            crowd = [socket.create_connection((s.address, port), timeout=60 * SLOW) for _ in range(6 * SPARE)]
            wait_until('a pause', lambda: 'accept pauses' in s.log_since(mark))
            ok('no file descriptors left (raise LimitNOFILE)' in s.log_since(mark), 'want of descriptors is said, with what to do', s.log_since(mark))
            same(first.call('GET', link[link.index('/', 8):]).status, 200, 'who is inside is served meanwhile, events and all')
            for c in crowd[::2]:
                c.close()
            for c in crowd[1::2]:
                c.sendall(http1.request('GET', '/robots.txt', [('Connection', 'close')]))
            heads = []
            for c in crowd[1::2]:
                heads.append(c.recv(12))
                c.close()
            same(heads, [b'HTTP/1.1 200'] * len(heads), 'nobody who waited is lost: each is served as others leave')
        ok(s.log_since(mark).count('accept pauses') < 200, 'the log is not flooded')
        resource.prlimit(s.engine_pid(), resource.RLIMIT_NOFILE, before)
        same(seen(s.address, port), 200, 'with descriptors again all is as before')
        same(len(wait_until('the event', s.events)), 1, 'the event is there')


def descriptors_for_backends():
    backend = Backend(lambda c: c.sendall(b'220 here\r\n'))
    entries = 'mail.Port=127.0.0.1:0\nmail.Services=tunnel\nmail.Backend=%s\n' % backend.text
    s = Server(components='tracker', settings={'Workers': 1}, files={'listeners.ini': entries}, start=False)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')] + [('listeners.ini:mail.Port', '127.0.0.1:0')]
    with s.start():
        port, mark = s.port('mail'), s.log_mark()
        before = allow(s, 1)
        with socket.create_connection(('127.0.0.1', port), timeout=60 * SLOW) as c:
            same(c.recv(20), b'', 'a tunnel whose backend cannot be called for want of a descriptor is closed')
        said = wait_until('the log', lambda: 'cannot be called' in s.log_since(mark) and s.log_since(mark))
        ok('raise LimitNOFILE' in said and backend.text in said and 'mail' in said, 'which is said: backend, listener, what to do', said)
        ok(s.counter('tunnels_refused') >= 1, 'and counted')
        resource.prlimit(s.engine_pid(), resource.RLIMIT_NOFILE, before)
        with socket.create_connection(('127.0.0.1', port), timeout=60 * SLOW) as c:
            same(c.recv(20), b'220 here\r\n', 'the next one is served')
    backend.close()


def delayed():
    """4,096 connections of a worker may be delayed at a time."""
    most = 4096
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < most + 200:
        skip('the bound of delays', 'needs %d descriptors' % (most + 200))
        return
    with Server(components='tracker', settings={'Workers': 1}, files={'lists/clients.list': '127.9.0.0/16\n'}, start=False) as s:
        s.edit('policies/admission.lua', lambda text: text[:text.rindex('}')] + '  rule.delay(30000, { listed = "clients" }),\n}\n')
        s.start()
        port, mark, crowd = s.port('http'), s.log_mark(), []
        for _ in range(most):
            crowd.append(socket.create_connection((s.address, port), timeout=60 * SLOW, source_address=('127.9.0.1', 0)))
        same(seen(s.address, port, source='127.9.0.2'), 'shut', 'one more than may wait is closed')
        said = wait_until('the log', lambda: 'being delayed' in s.log_since(mark) and s.log_since(mark))
        ok('%d connections of this worker are being delayed' % most in said, 'which is said', said)
        same(seen(s.address, port), 200, 'who need not wait is served')
        for c in crowd:
            c.close()


def access_log():
    """On a full disk: lines are lost and counted, whole ones only stay; a file that was moved away is made anew without a reload."""
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(0x00020000) != 0:  # CLONE_NEWNS
        skip('a full disk', 'needs root, for a mount of its own; run as root')
        return
    subprocess.run(['mount', '--make-rprivate', '/'], check=True)
    s = Server(components='tracker', settings={'Workers': 1}, start=False)
    folder = os.path.join(s.state, 'log')
    log = os.path.join(folder, 'access.log')
    os.makedirs(folder)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], check=True)

    def ask(n, word):
        with http1.Conn(s.address, s.port('http')) as c:
            for i in range(n):
                c.call('GET', '/%s/%d/%s' % (word, i, 'p' * 300))

    def lines():
        return [json.loads(x)['path'].split('/')[1] for x in whole_lines(log)] if os.path.exists(log) else []
    try:
        with s.start():
            mark = s.log_mark()
            ask(20, 'before')
            wait_until('twenty lines', lambda: lines() == ['before'] * 20)
            ask(200, 'lost')
            said = wait_until('the log', lambda: 'access.log cannot be written' in s.log_since(mark) and s.log_since(mark))
            same(said.count('access.log cannot be written'), 1, 'a full disk is said once')
            ok('No space left on device' in said, 'with the reason', said)
            os.rename(log, log + '.1')
            with open(log + '.1', 'rb+') as f:
                whole = f.read()
                f.truncate(0)
            ok(whole.endswith(b'}\n') and all(json.loads(x) for x in whole.splitlines()), 'no half line stands in the file')
            ask(3, 'again')
            wait_until('the lines behind', lambda: lines()[-3:] == ['again'] * 3)
            ok(True, 'with room, and the file moved away, lines are written again: no reload is needed')
            wait_until('the log', lambda: 'can be written again' in s.log_since(mark))
            address, ops = next((x['address'], x['port']) for x in s.listeners() if x['name'] == 'ops')
            metrics = http1.get(address, ops, '/metrics').body.decode()
            lost = int(float([x for x in metrics.splitlines() if x.startswith('portreeve_access_log_dropped_total')][0].split()[1]))
            same(lost + len(whole.splitlines()) + len(lines()), 223, 'each line is written or counted')
    finally:
        s.kill()
        subprocess.run(['umount', '-l', folder], check=False)
        s.cleanup()


def spool_held():
    """Somebody looks into the spool with a lock on it: answers wait, a client that leaves meanwhile is let go, and no event is lost."""
    with Server(components='tracker', settings={'Workers': 1}) as s:
        port = s.port('http')
        links = [s.mint(recipient=n)['open'] for n in range(1, 6)]
        paths = [x[x.index('/', 8):] for x in links]
        held = sqlite3.connect(os.path.join(s.state, 'spool', 'spool.db'), isolation_level=None)
        held.execute('BEGIN IMMEDIATE')
        waiting = [http1.Conn(s.address, port) for _ in paths]
        for c, path in zip(waiting, paths):
            c.send(http1.request('GET', path))

        def committing():
            return sum(x['state'] == 'committing' for x in s.eval('connections()', json_out=True))
        wait_until('all to wait for the commit', lambda: committing() == len(paths))
        ok(True, 'answers wait while the commit cannot be')
        same(seen(s.address, port), 200, 'what needs no commit is served')
        gone = waiting.pop(2)
        gone.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        gone.sock.close()
        time.sleep(0.1)  # nothing is to happen, or it happens now
        same(seen(s.address, port), 200, 'one that waits resets: the server goes on')
        held.execute('ROLLBACK')
        held.close()
        same([c.response().status for c in waiting], [200] * 4, 'the others have their answers as soon as the lock is gone')
        for c in waiting:
            c.close()
        same(sorted(x['recipient'] for x in s.events()), [1, 2, 3, 4, 5], 'every event is there once, also of the one that left')


def database_held():
    """The same with the hub's database: who waits too long hears so, a full queue refuses at once, and the tracker and other workers' work go on."""
    with Server(settings={'AppThreads': 1, 'AppQueue': 4}, bind='own') as s:
        pages = Pages(s).set_up()
        s.append('portreeve.ini', 'HandlerTimeout=%d\n' % (1000 * min(SLOW, 3)))  # a slow machine sets up in a time of its own
        same(s.reload()[0], 0, 'a short HandlerTimeout')
        form = urllib.parse.urlencode({'account': 'ada', 'password': 'wrong'}).encode()
        login = http1.request('POST', '/hub/login', [('Content-Type', 'application/x-www-form-urlencoded'), ('Sec-Fetch-Site', 'same-origin')], form)
        held = sqlite3.connect(os.path.join(s.state, 'db', 'system.db'), isolation_level=None)
        held.execute('BEGIN IMMEDIATE')
        crowd = [http1.Conn(s.address, s.port('http'), timeout=60 * SLOW) for _ in range(12)]
        for c in crowd:
            c.send(login)
        statuses = [c.response().status for c in crowd]
        same(set(statuses), {503, 504}, 'with its database held: 504 for those whose turn has not come in time, 503 at once for those beyond the queue')
        ok(statuses.count(504) >= 4, 'the queue takes four: %r' % statuses)
        ok(s.counter('app_rejected') >= statuses.count(503) > 0 and 'the queue is full: 503' in s.log(), 'which is said and counted')
        same(seen(s.address, s.port('http')), 200, 'what needs no database is served')
        held.execute('ROLLBACK')
        held.close()
        for c in crowd:
            c.close()
        ok(wait_until('the hub to answer', lambda: 'ada' in pages.text('/hub/')), 'with the lock gone the hub answers, and the session is there still')


descriptors()
descriptors_for_backends()
delayed()
spool_held()
database_held()
access_log()
done()
