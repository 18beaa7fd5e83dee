#!/usr/bin/python3
"""Each row of the bind table (M7) turned into each other one by edit and reload, in a network namespace with 20 addresses and under load: no
caller of an address and port that both plans serve with the same scheme is refused or reset, and `ss` shows exactly the new plan. Needs root.

M16, M23: the change takes effect by reload, and only what is listed is bound.
"""
import os
import re
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import alone
import tap

alone.network('each row of the bind table turned into each other')

import slowcaller  # noqa: E402 (makes no sense without root)
from portreeve import SLOW, Server, wait_until  # noqa: E402

V4 = ['10.67.0.%d' % i for i in range(1, 11)]
V6 = ['fd67::%d' % i for i in range(1, 10)] + ['fe80::67:a%d67a']
A = [x for pair in zip(V4, V6) for x in pair]  # 20 addresses, the families in turn
ALL = ['127.0.0.1', '::1'] + A
WILD = ('0.0.0.0', '::')
INTERNAL = {(w, p) for w in WILD for p in (1099, 7000)} | {('127.0.0.1', 8007)}
ROWS = ['R%d' % i for i in range(1, 13)]
MOST = 8  # addresses called at a time


def ip(*args):
    subprocess.run(['ip'] + list(args), check=True)


def make_addresses():
    ip('link', 'set', 'lo', 'up')
    ip('link', 'add', 'd67a', 'type', 'veth', 'peer', 'name', 'd67b')
    for name in ('d67a', 'd67b'):
        ip('link', 'set', name, 'addrgenmode', 'none')
        ip('link', 'set', name, 'up')
    for a in V4:
        ip('addr', 'add', a + '/24', 'dev', 'd67a')
    for a in V6:
        ip('addr', 'add', a.split('%')[0] + '/64', 'dev', 'd67a', 'nodad')


def listening():
    """{(address, port)} of every listening TCP socket in the namespace, as ss tells it."""
    out = subprocess.run(['ss', '-Hltn'], check=True, stdout=subprocess.PIPE, text=True).stdout
    got = set()
    for line in out.splitlines():
        m = re.match(r'^\[?([^\]%]*)\]?(%[^:\]]+)?\]?:(\d+)$', line.split()[3])
        got.add((m.group(1) + (m.group(2) or ''), int(m.group(3))) if m else (line, 0))
    return got


def br(a):
    return '[%s]' % a if ':' in a else a


# ---- what the table asks for, written from requirements.md ----
class Table:
    """The twelve rows with these ports: .text[row] is tomcat.ini, .plan[row] = {(address, port): 'http' or 'https'}."""

    def __init__(self, port, secure, own):
        self.text, self.plan = {}, {}
        b = {a: own if i in (1, 4) else 0 for i, a in enumerate(A[:10])}
        s, x = [A[i] for i in (1, 2, 3, 10, 11)], [A[i] for i in (0, 3, 4, 12, 13)]
        head = 'Port=%d\nSecurePort=%d\n' % (port, secure)
        with_b = 'BindAddress=%s\n' % ', \\\n  '.join(br(a) + (':%d' % p if p else '') for a, p in b.items())
        with_x = ''.join('Secure-%s=one\n' % br(a) for a in x)
        with_s = {'false': 'SecureServer=false\n', 'true': 'SecureServer=true\n', 'list': 'SecureServer=%s\n' % ', '.join(map(br, s))}

        def put(row, has_b, server, has_x, sockets):
            self.text[row] = head + (with_b if has_b else '') + with_s[server] + (with_x if has_x else '')
            self.plan[row] = sockets

        def each(addresses, scheme):
            return {(a, secure if scheme == 'https' else port): scheme for a in addresses}

        def mixed(secured):
            return {(a, p or (secure if a in secured else port)): 'https' if a in secured else 'http' for a, p in b.items()}
        put('R1', False, 'false', False, each(WILD, 'http'))
        put('R2', False, 'false', True, each(x, 'https'))
        put('R3', False, 'true', False, each(WILD, 'https'))
        put('R4', False, 'true', True, each(ALL, 'https'))
        put('R5', False, 'list', False, each(s, 'https'))
        put('R6', False, 'list', True, each(s + x, 'https'))
        put('R7', True, 'false', False, mixed([]))
        put('R8', True, 'false', True, mixed(x))
        put('R9', True, 'true', False, mixed(b))
        put('R10', True, 'true', True, mixed(b))
        put('R11', True, 'list', False, mixed(s))
        put('R12', True, 'list', True, mixed(s + x))


def served(plan):
    """{(address, port, scheme)} that a caller can reach, the wildcards written out."""
    out = set()
    for (a, port), scheme in plan.items():
        out |= {(one, port, scheme) for one in ALL if a == one or a in WILD and (':' in a) == (':' in one)}
    return out


def every_change():
    """A round trip of the 12 rows that takes each of the 132 changes once (Hierholzer)."""
    left = {r: [q for q in ROWS if q != r] for r in ROWS}
    stack, trip = [ROWS[0]], []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            trip.append(stack.pop())
    trip.reverse()
    return trip


# ---- callers ----
class Failed(Exception):
    pass


def tls_context():
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    return ctx


def dial(target, ctx):
    address, port, scheme = target
    info = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
    s = socket.socket(info[0], socket.SOCK_STREAM)
    try:
        s.settimeout(30 * SLOW)
        s.connect(info[4])
        return ctx.wrap_socket(s) if scheme == 'https' else s
    except BaseException:
        s.close()
        raise


def ask(s, close):
    """One request on s; whether the server closes the connection afterwards."""
    s.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n%s\r\n' % (b'Connection: close\r\n' if close else b''))
    got = b''
    while True:
        head, gap, body = got.partition(b'\r\n\r\n')
        m = re.search(rb'\r\ncontent-length: *(\d+)', head, re.I)
        if gap and m and len(body) >= int(m.group(1)):
            break
        part = s.recv(4096)
        if not part:
            raise Failed('closed after %d bytes' % len(got))
        got += part
    if not head.startswith(b'HTTP/1.1 200 '):
        raise Failed('answered %r' % got[:60])
    return b'\r\nconnection: close' in head.lower()


class Callers:
    """Threads that call the targets of the moment in turn, some with a connection for each request, some on connections that they keep."""

    QUICK = 0.4  # the server closes a kept connection whose listener has gone when it has been idle for 0.5 s: only then may it

    def __init__(self, fresh=3, kept=1):
        self.targets, self.errors, self.stopping = [], [], False
        self.counts = [{} for _ in range(fresh + kept)]
        self.fresh, self.total, self.late = fresh, 0, 0
        self.threads = [threading.Thread(target=self.life, args=(i,), daemon=True) for i in range(fresh + kept)]
        for t in self.threads:
            t.start()

    def life(self, i):
        ctx, mine, n = tls_context(), {}, i
        while not self.stopping:
            targets = self.targets
            for t in [t for t in mine if t not in targets]:
                mine.pop(t)[0].close()
            if not targets:
                time.sleep(0.002)
                continue
            n += 1
            t = targets[n % len(targets)]
            try:
                if i < self.fresh:
                    with dial(t, ctx) as s:
                        ask(s, True)
                else:
                    self.call_kept(t, mine, ctx)
                self.counts[i][t] = self.counts[i].get(t, 0) + 1
            except (OSError, Failed) as e:
                self.errors.append('%s port %d %s, %s connection: %s: %s' % (*t, 'new' if i < self.fresh else 'kept', type(e).__name__, e))
            time.sleep(0.002)
        for s, _ in mine.values():
            s.close()

    def call_kept(self, t, mine, ctx):
        s, last = mine.pop(t, None) or (dial(t, ctx), 0)
        try:
            if last and select.select([s], [], [], 0)[0] and time.monotonic() - last > self.QUICK:
                raise Failed('closed between requests')
            closes = ask(s, False)
        except (OSError, Failed):
            s.close()
            if not last or time.monotonic() - last < self.QUICK:
                raise
            self.late += 1  # this machine kept us waiting
            return
        if closes:
            s.close()
        else:
            mine[t] = (s, time.monotonic())

    def rounds(self):
        """Answers so far of each target: (on new connections, on kept ones)."""
        f = self.fresh
        return {t: (sum(c.get(t, 0) for c in self.counts[:f]), sum(c.get(t, 0) for c in self.counts[f:])) for t in self.targets}

    def another_round(self, what):
        """Wait until each target has answered once more on a new and on a kept connection."""
        before = self.rounds()
        wait_until('answers ' + what, lambda: self.errors or all(n[0] > before[t][0] and n[1] > before[t][1] for t, n in self.rounds().items()), 60)

    def finish(self):
        self.stopping = True
        for t in self.threads:
            t.join(60 * SLOW)
        return sum(sum(c.values()) for c in self.counts)


def some(targets, n):
    """At most MOST of them, others at each change."""
    t = sorted(targets)
    step = max(1, len(t) // MOST)
    return t[n % step::step][:MOST] if t else []


def set_workers(s, n):
    s.edit('portreeve.ini', lambda text: re.sub(r'(?m)^Workers.*\n?', '', text) + '\nWorkers=%d\n' % n)


def server(tomcat, workers=2, **settings):
    s = Server(start=False, ports=False, components='tracker', env={'PORTREEVE_DEBUG': '1'}, settings=dict({'AccessLog': 'off'}, **settings),
               files={'tomcat.ini': tomcat, 'listeners.ini': '# none\n',
                      'certificates.ini': 'default.Certificate=development\none.Certificate=one.pem\n'})
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=one',
                    '-keyout', s.conf + '/key', '-out', s.conf + '/cert'], check=True, stderr=subprocess.DEVNULL)
    with open(s.conf + '/one.pem', 'w') as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(open(s.conf + '/cert').read() + open(s.conf + '/key').read())
    set_workers(s, workers)
    return s.start()


def change(s, table, callers, old, new, n):
    """One of the 132; what went wrong, as a list of texts."""
    callers.errors.clear()
    callers.targets = some(served(table.plan[old]) & served(table.plan[new]), n)
    callers.another_round('before the change')
    s.edit('tomcat.ini', table.text[new])
    code, text = s.reload()
    if code != 0:
        return ['refused: ' + text]
    callers.another_round('after the change')
    want = set(table.plan[new]) | INTERNAL
    try:
        wait_until('ss to show the plan', lambda: listening() == want)
    except AssertionError:
        return ['ss: too many %r, missing %r' % (sorted(listening() - want), sorted(want - listening()))]
    return callers.errors[:3]


def all_changes(name, table):
    trip = every_change()
    wrong, common = {}, 0
    began = time.monotonic()
    with server(table.text[trip[0]]) as s:
        wait_until('the first plan', lambda: listening() == set(table.plan[trip[0]]) | INTERNAL)
        callers = Callers()
        for n, (old, new) in enumerate(zip(trip, trip[1:])):
            faults = change(s, table, callers, old, new, n)
            common += bool(callers.targets)
            if faults:
                wrong.setdefault(old, []).append((new, faults))
        answered = callers.finish()
        for row in ROWS:
            tap.ok(row not in wrong, 'M7 %s into each other row, %s: no caller refused or reset, ss shows the plan' % (row, name), wrong.get(row))
        tap.same(len(set(zip(trip, trip[1:]))), 132, '%s: all 132 changes were made' % name)
        tap.ok(common > 50, '%s: %d of them with addresses, ports and schemes in common, called all the while' % (name, common))
        tap.ok(len(s.engine_pids()) == 1 and s.status()['engine']['restarts'] == 0, name + ': one engine, never restarted')
    tap.note('%s: %.1f s, %d answers, %d kept connections idle too long' % (name, time.monotonic() - began, answered, callers.late))


def reload_in_background(s):
    out = []
    t = threading.Thread(target=lambda: out.append(s.reload()))
    t.start()
    return t, out


def half_way(s, wire, tomcat):
    """Change to `tomcat` while a handshake is half finished. (refused a second caller, what the first one got), or None: too slow to tell."""
    generation = s.status()['generation']
    early, late = wire.caller(80), wire.caller(80)
    if not early.syn():
        raise AssertionError('the old plan does not serve')
    s.edit('tomcat.ini', tomcat)
    since = time.monotonic()
    t, out = reload_in_background(s)
    while not out:
        asked = time.monotonic()
        if s.status()['generation'] != generation:
            break  # the new plan is in force
        since = asked  # not before this
    new_caller = late.syn()
    time.sleep(0.3)  # long enough for a server that does not wait to show it
    waited = not out
    early.finish(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    slow = time.monotonic() - since > 1.3  # the server waits 1.5 s from the change on
    try:
        got = early.answer()[:15] if waited else 'the reload did not wait'
    except slowcaller.Reset as e:
        got = str(e)
    t.join()
    if slow:
        return None
    return new_caller, got, out[0][0]


def handshakes():
    """A caller whose handshake began with the old socket and ends after the change is served; whoever calls after it meets the new plan."""
    changes = (('wildcard to an address of its own', '', 'BindAddress=10.99.0.1\n', True),
               ('wildcard to other addresses', '', 'BindAddress=127.0.0.1\n', False),
               ('address to wildcard', 'BindAddress=10.99.0.1\n', '', True),
               ('HTTP away altogether', 'BindAddress=10.99.0.1\n', 'BindAddress=10.99.0.1:8080\n', False))
    with slowcaller.Wire('t67', '10.99.0.1', '10.99.0.2') as wire, server('') as s:
        for name, before, after, served_still in changes:
            for _ in range(5):
                s.edit('tomcat.ini', before)
                if s.reload()[0] != 0:
                    raise AssertionError('the old plan is refused')
                met = half_way(s, wire, after)
                if met:
                    break
            if not met:
                tap.skip(name, 'this machine is too slow to finish a handshake within a second')
                continue
            tap.same(met, (served_still, b'HTTP/1.1 200 OK', 0),
                     'a handshake half finished, from %s: served; a new caller %s' % (name, 'too' if served_still else 'is refused at once'))


SLOW_ROUTE = """local inner = (function(...)
%s
end)(...)
return function(req)
  if req.path == "/slow" then
    local n = 0
    for i = 1, 3000000 do n = n + i end
    return nil, 404
  end
  return inner(req)
end
"""


def queues():
    """Who stands in the accept queue when the scheme of a kept socket changes is answered in the scheme he called for."""
    def crowd(scheme, n=60):
        """All are connected when this returns; each then speaks in a thread of its own."""
        ctx, out = tls_context(), []

        def one(c):
            try:
                with (ctx.wrap_socket(c) if scheme == 'https' else c) as c:
                    c.sendall(b'GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
                    out.append(c.recv(100)[:12])
            except OSError as e:
                out.append(repr(e))
        threads = [threading.Thread(target=one, args=(socket.create_connection((V4[0], 8081), 60 * SLOW),)) for _ in range(n)]
        for t in threads:
            t.start()
        return threads, out
    text = 'Port=8081\nSecurePort=8081\nBindAddress=%s\n' % V4[0]
    secure = text + 'SecureServer=true\n'
    with server(text, workers=1, PolicySteps=100000000) as s:
        s.edit('policies/route.lua', lambda old: SLOW_ROUTE % old)
        tap.same(s.reload()[0], 0, 'a route that takes its time')
        with socket.create_connection((V4[0], 8081)) as kept:
            first = ask(kept, False)
            for name, tomcat, scheme in (('HTTP becomes HTTPS', secure, 'http'), ('HTTPS becomes HTTP', text, 'https')):
                s.edit('tomcat.ini', tomcat)
                threads, out = crowd(scheme)
                code, words = s.reload()
                if scheme == 'http':
                    try:
                        last = ask(kept, False)
                    except (OSError, Failed):
                        last = True  # half a second after the change it is closed; on a loaded machine that is before we ask
                for t in threads:
                    t.join()
                tap.same((code, [x for x in out if x != b'HTTP/1.1 404']), (0, []), '%s: the %d callers in the queue are answered' % (name, len(out)))
            tap.same((first, last), (False, True), 'a connection that was kept meanwhile ends: what is asked in time is answered with that word')


def nothing_came(address, port, during):
    """Call address:port again and again while during() runs: how often a connection came about."""
    came, stop = [], threading.Event()

    def life():
        while not stop.is_set():
            with socket.socket() as c:
                c.settimeout(0.2)
                try:
                    c.connect((address, port))
                    came.append(1)
                except OSError:
                    pass
            time.sleep(0.002)
    t = threading.Thread(target=life)
    t.start()
    out = during()
    stop.set()
    t.join()
    return len(came), out


def sockets_of(s):
    """The sockets that the supervisor holds, by inode."""
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(os.path.join(s.state, 'run', 'control.sock'))
        c.sendall(b'sockets\n')
        out = b''.join(iter(lambda: c.recv(65536), b'')).decode()
    return sorted(x for x in out.splitlines() if 'inode' in x)


def half_done():
    """A change that fails after some of its sockets are bound leaves the old ones alone, and nobody was ever connected to a new one."""
    old = 'Port=80\nBindAddress=%s, %s:8081\n' % (V4[0], V4[1])
    with server(old) as s, socket.socket() as stranger:
        stranger.bind((V4[5], 9000))
        stranger.listen(1)
        held, seen = sockets_of(s), listening()
        callers = Callers(fresh=2, kept=1)
        callers.targets = [(V4[0], 80, 'http'), (V4[1], 8081, 'http')]
        callers.another_round('before')
        for name, tomcat, n, wanted in (
                ('a port is taken', 'BindAddress=0.0.0.0, %s:9001, %s:9000\n' % (V4[4], V4[5]), 2, r'(?s)cannot bind %s:9000: port taken by .*pid %d ' % (V4[5], os.getpid())),
                ('the engine refuses', 'BindAddress=0.0.0.0, %s:9001\n' % V4[4], 250, 'room for')):
            s.edit('tomcat.ini', 'Port=80\n' + tomcat)
            set_workers(s, n)
            came, (code, words) = nothing_came(V4[4], 9001, s.reload)
            tap.ok(code == 1 and re.search(wanted, words), name + ': refused', words)
            tap.same(came, 0, name + ': no caller was let in by a socket of a plan that came to nothing')
            tap.same((sockets_of(s), listening()), (held, seen), name + ': the very same sockets, and no other')
            callers.another_round('after')
        set_workers(s, 2)
        callers.targets = [(V4[0], 80, 'http')]  # the other one goes
        callers.another_round('before the change')
        tap.same(s.reload()[0], 0, 'and when it is mended, the change is made')
        callers.another_round('after the change')
        callers.finish()
        tap.same(callers.errors[:3], [], 'all the while no caller was refused or reset')


def workers():
    """The number of workers changes together with the plan."""
    with server('BindAddress=%s\n' % V4[0]) as s:
        callers = Callers()
        callers.targets = [(V4[0], 80, 'http')]
        callers.another_round('before')
        told, steps = [], []
        for n, tomcat in ((4, ''), (1, 'BindAddress=%s\n' % V4[0]), (4, 'BindAddress=%s, %s\n' % (V4[0], V4[1])), (2, ''), (1, '')):
            set_workers(s, n)
            s.edit('tomcat.ini', tomcat)
            steps.append(s.command('plan', '--diff', '--steps')[1])
            told.append(s.reload()[0])
            callers.another_round('with %d workers' % n)
        callers.finish()
        order = [re.sub(r'^\d+\. (\w+) (\S+) .*', r'\1 \2', x) for x in steps[0].splitlines() if ':80 ' in x and re.match(r'\d+\. ', x)]
        tap.same(order, ['join 0.0.0.0:80', 'open [::]:80', 'listen 0.0.0.0:80', 'listen [::]:80', 'deafen %s:80' % V4[0], 'close %s:80' % V4[0]],
                 'portreeve plan --diff --steps tells the steps beforehand')
        tap.ok('debug transition: join 0.0.0.0:80 (http): beside %s:80, which serves until the commit' % V4[0] in s.log(), 'with PORTREEVE_DEBUG=1 the log tells them')
        tap.same((told, callers.errors[:3]), ([0] * 5, []), 'workers 4, 1, 4, 2, 1, with changes between wildcard and addresses: no caller refused or reset')


def main():
    warnings.simplefilter('ignore')
    make_addresses()
    handshakes()
    queues()
    half_done()
    workers()
    all_changes('ports 80 and 443', Table(80, 443, 8081))
    all_changes('HTTP and HTTPS on one port', Table(8081, 8081, 8081))
    tap.done()


main()
