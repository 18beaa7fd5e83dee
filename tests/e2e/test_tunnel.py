#!/usr/bin/python3
"""Services tunnel and tls-tunnel of the running server (G1, Q13): bytes, half-closes, resets, backends that are dead or late, PROXY headers, names, reloads,
limits."""
import hashlib
import os
import random
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from backends import Backend, client_hello, client_tls, read_all, read_line, says, server_tls
from logs import whole_lines
from portreeve import SLOW, Server, free_ports, rss, wait_until
from tap import done, ok, same

FOLDER = tempfile.mkdtemp(prefix='pr-tunnel-')
SHIPPED = 'ops.Port=free\nops.Address=127.0.0.1\nops.Services=ops\n'


def entries(**sections):
    """listeners.ini of listener -> (port, services, backend or None, further entries)."""
    out = []
    for name, (port, services, backend, more) in sections.items():
        out += ['%s.Port=127.0.0.1:%d' % (name, port), '%s.Services=%s' % (name, services)]
        out += ['%s.Backend=%s' % (name, backend)] if backend else []
        out += ['%s.%s' % (name, x) for x in more]
    return '\n'.join(out) + '\n'


def server(text, **settings):
    s = Server(components='tracker', settings=dict({'Workers': 2}, **settings), files={'listeners.ini': text}, start=False)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    s.start()
    return s


def call(port, timeout=60):
    c = socket.create_connection(('127.0.0.1', port), timeout=timeout * SLOW)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c


def engine(s):
    return s.eval('status()', json_out=True)


def tunnels(s):
    return [x for x in s.eval('connections()', json_out=True) if x.get('backend') is not None]


def the_one(s, listener):
    """The only tunnel of this listener, once those before it have ended on both sides."""
    rows = wait_until('one tunnel of ' + listener, lambda: (lambda rows: rows if len(rows) == 1 else None)([x for x in tunnels(s) if x['listener'] == listener]))
    return rows[0]


def ends(c):
    """The connection has ended without another byte."""
    try:
        return c.recv(1) == b''
    except ConnectionResetError:
        return True


# ---- bytes ----

def half_close(port):
    """Either side may end first, and hears the other to its end."""
    with call(port) as c:
        same(read_line(c), b'late here\n', 'the backend speaks first, as SMTP does')
        c.sendall(b'x' * 100000)
        c.shutdown(socket.SHUT_WR)
        same(read_all(c), b'late got 100000 bytes\n' + b'y' * 200000, 'a caller who has ended hears what the backend says afterwards')


def half_close_backend(port):
    with call(port) as c:
        same(read_all(c), b'that is all\n', 'the end of the backend is passed on')
        c.sendall(b'z' * 50000)
        c.sendall(b'\n')
    wait_until('the backend to hear what came after its own end', lambda: FIRST_TO_END == [50001])
    ok(True, 'and the caller goes on talking to it')
    heard = set()
    for _ in range(500 if SLOW == 1 else 100):  # its answer, its end and the connection itself may be announced at once
        with call(port) as c:
            heard.add(read_all(c))
    same(heard, {b'that is all\n'}, 'so it is however soon the backend ends')


FIRST_TO_END = []


def ends_first(c):
    c.sendall(b'that is all\n')
    c.shutdown(socket.SHUT_WR)
    FIRST_TO_END.append(len(read_all(c)))


def late(c):
    c.sendall(b'late here\n')
    n = len(read_all(c))
    c.sendall(b'late got %d bytes\n' % n + b'y' * 200000)


BULK = 100 << 20 if SLOW == 1 else 20 << 20
SEEN = {}


def stream_out(c, seed, n):
    """n bytes that only the seed knows; their hash."""
    block, h = random.Random(seed).randbytes(1 << 20), hashlib.sha256()
    for i in range(n >> 20):
        part = block[i % 1000:] + block[:i % 1000]
        h.update(part)
        c.sendall(part)
    return h.hexdigest()


def stream_in(c):
    h, n = hashlib.sha256(), 0
    while True:
        part = c.recv(1 << 18)
        if not part:
            return h.hexdigest(), n
        h.update(part)
        n += len(part)


def both_ways(c, key, seed):
    got = {}
    t = threading.Thread(target=lambda: got.update(hash=stream_in(c)))
    t.start()
    sent = stream_out(c, seed, BULK)
    c.shutdown(socket.SHUT_WR)
    t.join()
    SEEN[key] = (sent,) + got['hash']


def bulk(s, port):
    with call(port) as c:
        both_ways(c, 'caller', 1)
    wait_until('the backend to be through', lambda: 'backend' in SEEN)
    a, b = SEEN['caller'], SEEN['backend']
    ok(a[0] == b[1] and b[0] == a[1] and a[2] == b[2] == BULK, '%d MB each way at once arrive as they were sent' % (BULK >> 20), (a, b))
    wait_until('the bytes to be counted', lambda: s.counter('tunnel_in') >= BULK and s.counter('tunnel_out') >= BULK)
    ok(True, 'and are counted')


STUCK = 40


def slow_reader(s, port):
    """Callers who do not read: the backend is held up, and the engine holds no more than a buffer for each."""
    before, held = rss(s.engine_pid()), []
    for _ in range(STUCK):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(60 * SLOW)
        c.connect(('127.0.0.1', port))
        c.sendall(b'go\n')
        held.append(c)
    wait_until('every backend to be held up', lambda: len(POURED) == STUCK and all(p['stuck'] for p in POURED), 60)
    grown = rss(s.engine_pid()) - before  # KB
    if SLOW == 1:
        ok(grown < STUCK * 64 + 4096, '%d callers who do not read cost the engine %d KB each' % (STUCK, grown // STUCK))
    t0 = time.monotonic()
    with call(s.echo) as c:
        c.sendall(b'hello\n')
        same([read_line(c), read_line(c)], [b'echo here\n', b'echo heard hello\n'], 'while others are served')
    ok(time.monotonic() - t0 < 30 * SLOW, 'at once')
    n = 0
    while n < 1 << 20:
        n += len(held[0].recv(65536))
    ok(True, 'one who reads again gets more')
    for c in held:
        c.close()


POURED = []


def pour(c):
    """Send until nothing is taken for a while."""
    me = {'stuck': False, 'n': 0}
    POURED.append(me)
    read_line(c)
    c.settimeout(1 * SLOW)
    while True:
        try:
            me['n'] += c.send(b'p' * 65536)
        except socket.timeout:
            me['stuck'] = True
        except OSError:
            return


def resets(port):
    """A reset arrives as one: nobody takes half for a whole."""
    with call(port) as c:
        same(read_line(c), b'echo here\n', 'a tunnel to be reset')
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    wait_until('the backend to see the reset', lambda: any(isinstance(e, ConnectionResetError) for e in ECHO.errors))
    ok(True, 'a reset of the caller reaches the backend as a reset')
    with call(s_reset) as c:
        c.sendall(b'x\n')
        try:
            got = c.recv(10)
        except ConnectionResetError:
            got = None
        ok(got is None, 'and one of the backend the caller', got)


def reset_me(c):
    read_line(c)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


def test_bytes():
    global ECHO, s_reset
    path = FOLDER + '/mail'
    ECHO = Backend(says('echo'))
    named = {'late': Backend(late), 'first': Backend(ends_first), 'bulk': Backend(lambda c: both_ways(c, 'backend', 2)), 'pour': Backend(pour),
             'echo': ECHO, 'reset': Backend(reset_me), 'unix': Backend(says('unix'), at=path), 'six': Backend(says('six'), at='::1')}
    ports = dict(zip(named, free_ports(len(named))))
    text = entries(**{name: (ports[name], 'tunnel', b.text, []) for name, b in named.items()})
    with server(text) as s:
        s.echo, s_reset = ports['echo'], ports['reset']
        half_close(ports['late'])
        half_close_backend(ports['first'])
        bulk(s, ports['bulk'])
        slow_reader(s, ports['pour'])
        resets(ports['echo'])
        for name in ('unix', 'six'):
            with call(ports[name]) as c:
                c.sendall(b'hi\n')
                same([read_line(c), read_line(c)], [b'%s here\n' % name.encode(), b'%s heard hi\n' % name.encode()], 'a backend at ' + named[name].text)
        shown(s, ports['echo'])


def shown(s, port):
    """Q16: the view of connections, the status and the metrics name the tunnel."""
    with call(port) as c:
        c.sendall(b'hello\n')
        read_line(c), read_line(c)
        mine = the_one(s, 'echo')
        ok(mine['backend'] == ECHO.text and mine['in'] == 6 and mine['out'] == 27 and mine['state'] == 'tunnel',
           'Q16: connections() shows backend and bytes each way', mine)
        row = [x for x in engine(s)['listeners'] if x['name'] == 'echo'][0]
        ok(row['scheme'] == 'tcp' and row['backend'] == ECHO.text and row['services'] == 'tunnel', 'status tells where the listener leads', row)
        ok(row['state'] == 'accepting connections on 127.0.0.1:%d' % port, 'Q16: and that it is accepting', row)
        wait_until('the socket to be proved', lambda: s.listeners('echo')[0]['probe'] == 'proved')
        ok(True, 'the self-probe proves a tunnel without calling its backend')
        found = [b for b in engine(s)['backends'] if b['backend'] == ECHO.text]
        ok(len(found) == 1 and found[0]['state'] == 'up' and found[0]['active'] == 1, 'status lists the backends', found)
    with socket.create_connection(('127.0.0.1', s.port('http'))) as c:
        c.sendall(b'GET /robots.txt HTTP/1.0\r\n\r\n')
        ok(read_all(c).startswith(b'HTTP/1.1 200 '), 'HTTP is served beside them')
    wait_until('the tunnel to be in the access log', lambda: [x for x in whole_lines(s.state + '/log/access.log') if '"backend":"%s","in":6,"out":27' % ECHO.text in x])
    ok(True, 'a tunnel that has ended stands in the access log with its bytes')


# ---- backends ----

def blackhole():
    """A socket that takes no more callers: its queue is full. It and those who fill it are returned, to be kept."""
    b = socket.socket()
    b.bind(('127.0.0.1', 0))
    b.listen(0)
    fill = []
    for _ in range(4):
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex(b.getsockname())
        fill.append(c)
    time.sleep(0.2)
    return b, fill


def test_backends():
    alive, dead = Backend(says('alive')), free_ports(1)[0]
    hole, _keep = blackhole()
    p = dict(zip(('one', 'two', 'hole', 'none'), free_ports(4)))
    text = entries(one=(p['one'], 'tunnel', '127.0.0.1:%d, %s' % (dead, alive.text), []), none=(p['none'], 'tunnel', '127.0.0.1:%d' % dead, []),
                   hole=(p['hole'], 'tunnel', '127.0.0.1:%d, %s' % (hole.getsockname()[1], alive.text), []))
    with server(SHIPPED + text, ConnectTimeout=400) as s:
        mark = s.log_mark()
        with call(p['one']) as c:
            same(read_line(c), b'alive here\n', 'where the first backend is dead the second is called')
        line = r'listeners\.ini:6: one\.Backend: backend 127\.0\.0\.1:%d of listener one cannot be reached: Connection refused' % dead
        ok(re.search(line, s.log_since(mark)), 'the dead one is logged with the line that names it', s.log_since(mark))
        for _ in range(5):
            with call(p['one']) as c:
                read_line(c)
        found = {b['backend']: b for b in engine(s)['backends'] if b['listener'] == 'one'}
        ok(found['127.0.0.1:%d' % dead]['failures'] == 1 and found['127.0.0.1:%d' % dead]['state'] == 'down' and found[alive.text]['connects'] == 6,
           'and not called again at once while another one answers', found)
        mark = s.log_mark()
        for _ in range(50):
            with call(p['none']) as c:
                ok(ends(c), 'no backend: closed without a word') if _ == 0 else ends(c)
        same(s.counter('tunnels_refused'), 50, 'and counted')
        wait_until('50 failures', lambda: {b['failures'] for b in engine(s)['backends'] if b['listener'] == 'none'} == {50})
        said = s.log_since(mark).count('of listener none cannot be reached')
        ok(1 <= said <= 20, '50 failures are said %d times, with a count' % said)
        t0 = time.monotonic()
        with call(p['hole']) as c:
            same(read_line(c), b'alive here\n', 'one that does not answer is given up after ConnectTimeout')
        ok(time.monotonic() - t0 > 0.3, 'and not before')
        late = socket.socket()
        late.bind(('127.0.0.1', dead))
        late.listen()
        wait_until('the backend to be found again', lambda: found_again(s, p['none'], dead), 60)
        wait_until('the log to say so', lambda: 'can be reached again' in s.log())
        ok(True, 'one that comes back is found, and it is said')
        late.close()
        text = metrics(s)
        ok('portreeve_backend_up{listener="hole",backend="%s"} 1' % alive.text in text and
           re.search(r'portreeve_backend_failures_total\{listener="one",backend="127.0.0.1:%d"\} \d' % dead, text), 'metrics by listener and backend')


def found_again(s, port, dead):
    with call(port):
        return [b for b in engine(s)['backends'] if b['backend'] == '127.0.0.1:%d' % dead and b['listener'] == 'none' and b['state'] == 'up']


def metrics(s):
    with socket.create_connection(('127.0.0.1', s.port('ops'))) as c:
        c.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
        return read_all(c).decode()


# ---- what the backend is told ----

NGINX = '''daemon off; pid %(dir)s/pid; error_log %(dir)s/error; worker_processes 1; events { worker_connections 64; }
http { access_log off; client_body_temp_path %(dir)s/a; proxy_temp_path %(dir)s/b; fastcgi_temp_path %(dir)s/c; uwsgi_temp_path %(dir)s/d;
scgi_temp_path %(dir)s/e; server { listen 127.0.0.1:%(port)d proxy_protocol;
location / { return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"; } } }'''


def parse_v2(data):
    """A header of version 2 and its TLVs, by the specification: (source, sport, target, dport, {type: value}, rest)."""
    assert data[:12] == b'\r\n\r\n\0\r\nQUIT\n' and data[12] == 0x21 and data[13] == 0x11
    n = struct.unpack('>H', data[14:16])[0]
    body, rest, tlvs = data[16:16 + n], data[16 + n:], {}
    source, target, sport, dport = socket.inet_ntoa(body[:4]), socket.inet_ntoa(body[4:8]), *struct.unpack('>HH', body[8:12])
    at = 12
    while at < n:
        kind, size = struct.unpack('>BH', body[at:at + 3])
        tlvs[kind] = body[at + 3:at + 3 + size]
        at += 3 + size
    return source, sport, target, dport, tlvs, rest


def test_proxy_out():
    heard = []
    raw = Backend(lambda c: heard.append(read_all(c)))
    nginx_port, *ports = free_ports(5)
    p = dict(zip(('v1', 'v2', 'clear', 'through'), ports))
    folder = tempfile.mkdtemp(dir=FOLDER)
    with open(folder + '/nginx.conf', 'w') as f:
        f.write(NGINX % {'dir': folder, 'port': nginx_port})
    at = '127.0.0.1:%d' % nginx_port
    text = entries(v1=(p['v1'], 'tunnel', at, ['SendProxy=V1']), v2=(p['v2'], 'tunnel', at, ['SendProxy=V2']),
                   clear=(p['clear'], 'tls-tunnel', raw.text, ['SendProxy=V2', 'InitTLS=On']), through=(p['through'], 'tls-tunnel', raw.text, ['SendProxy=V2']))
    nginx = subprocess.Popen(['nginx', '-c', folder + '/nginx.conf', '-p', folder], stderr=subprocess.DEVNULL)
    try:
        wait_until('nginx', lambda: listening(nginx_port))
        with server(text) as s:
            for kind in ('v1', 'v2'):
                with call(p[kind]) as c:
                    c.sendall(b'GET / HTTP/1.0\r\n\r\n')
                    mine, got = c.getsockname(), read_all(c).split(b'\r\n\r\n')[-1].decode()
                    same(got, '127.0.0.1 %d 127.0.0.1 %d' % (mine[1], p[kind]), 'PROXY %s: nginx reads who calls, and where' % kind)
            with client_tls().wrap_socket(call(p['clear']), server_hostname='Mail.Example.ORG') as c:
                mine = c.getsockname()
                c.sendall(b'hello')
                c.unwrap()
            wait_until('the backend to have heard it', lambda: len(heard) == 1)
            source, sport, target, dport, tlvs, rest = parse_v2(heard[0])
            ok((source, sport, target, dport) == ('127.0.0.1', mine[1], '127.0.0.1', p['clear']) and rest == b'hello' and tlvs.get(2, b'').lower() == b'mail.example.org' and
               tlvs[0x20][0] == 1 and b'TLSv1' in tlvs[0x20], 'where TLS ended here, version 2 tells the name and the version of TLS', heard[0])
            hello = client_hello('b.example.org')
            with call(p['through']) as c:
                c.sendall(hello)
                c.shutdown(socket.SHUT_WR)
                read_all(c)
            wait_until('the backend to have heard the hello', lambda: len(heard) == 2)
            got = parse_v2(heard[1])
            ok(got[4].get(2) == b'b.example.org' and 0x20 not in got[4] and got[5] == hello, 'where TLS goes through, the name too, and then the hello as it came')
    finally:
        nginx.terminate()
        nginx.wait()


def listening(port):
    with socket.socket() as c:
        return c.connect_ex(('127.0.0.1', port)) == 0


# ---- names ----

def shows(port, name, **kw):
    """(name in the certificate that a real client is shown, first line)."""
    with client_tls().wrap_socket(call(port), server_hostname=name, **kw) as c:
        der = c.getpeercert(True)
        line = read_line(c)
        return next((h for h in ('a.example.org', 'b.example.org', 'other.example.org') if h.encode() in der), None), line


def alert_of(port, name):
    try:
        shows(port, name)
    except ssl.SSLError as e:
        return e.reason
    return None


def test_names():
    hosts = {h: Backend(says(h.split('.')[0]), tls=server_tls(FOLDER, h)) for h in ('a.example.org', 'b.example.org', 'other.example.org')}
    p = dict(zip(('names', 'strict', 'ended'), free_ports(3)))
    clear = {n: Backend(says('clear-' + n)) for n in ('a', 'rest')}
    by_name = ['Backend-a.example.org=' + hosts['a.example.org'].text, 'Backend-*.example.ORG=' + hosts['b.example.org'].text]
    text = entries(names=(p['names'], 'tls-tunnel', hosts['other.example.org'].text, by_name), strict=(p['strict'], 'tls-tunnel', None, by_name[:1]),
                   ended=(p['ended'], 'tls-tunnel', clear['rest'].text, ['InitTLS=On', 'Backend-a.example.org=' + clear['a'].text]))
    with server(text, HandshakeTimeout=5000 * SLOW) as s:
        for asked, host in (('a.example.org', 'a.example.org'), ('A.Example.Org', 'a.example.org'), ('x.example.org', 'b.example.org'),
                            ('y.x.example.org', 'other.example.org'), ('elsewhere.net', 'other.example.org'), (None, 'other.example.org')):
            same(shows(p['names'], asked), (host, host.split('.')[0].encode() + b' here\n'), 'TLS that goes through: %s is taken to %s' % (asked, host))
        with client_tls().wrap_socket(call(p['names']), server_hostname='a.example.org') as c:
            read_line(c)
            row = the_one(s, 'names')
            ok(row['sni'] == 'a.example.org' and row['backend'] == hosts['a.example.org'].text, 'connections() names the name', row)
        same(shows(p['strict'], 'a.example.org')[0], 'a.example.org', 'without a backend for all others, a known name is served')
        for name in ('b.example.org', None):
            ok((alert_of(p['strict'], name) or '').find('UNRECOGNIZED_NAME') >= 0, '%s gets the alert unrecognized_name' % name)
        split_hello(s, p['names'])
        no_hello(s, p['names'])
        with client_tls().wrap_socket(call(p['ended']), server_hostname='a.example.org') as c:
            same(read_line(c), b'clear-a here\n', 'TLS that ends here: clear text for the backend of that name')
            c.sendall(b'hi\n')
            same(read_line(c), b'clear-a heard hi\n', 'both ways')
        with client_tls().wrap_socket(call(p['ended']), server_hostname='nobody.net') as c:
            same(read_line(c), b'clear-rest here\n', 'or that for all others')
        ended_half(clear['rest'], p['ended'])
        schemes = {x['name']: x['scheme'] for x in s.listeners()}
        same((schemes['names'], schemes['ended']), ('tls-pass', 'tls'), 'status tells where TLS ends')
        wait_until('every socket to be proved', lambda: all(x['probe'] in ('proved', 'none') for x in s.listeners()))
        ok(True, 'the self-probe proves both kinds')


def ended_half(backend, port):
    """close_notify is passed on as an end, and what the backend says after it still arrives."""
    got = []

    def talk(c):
        got.append(len(read_all(c)))
        c.sendall(b'all of it')
    backend.talk = talk
    raw = call(port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_tls().wrap_bio(incoming, outgoing, server_hostname='x')

    def step(what):
        while True:
            try:
                return what()
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                part = raw.recv(65536)
                if not part:
                    raise AssertionError('ended early')
                incoming.write(part)
    step(tls.do_handshake)
    tls.write(b'q' * 1000)
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    raw.sendall(outgoing.read())
    same(step(lambda: tls.read(100)), b'all of it', 'close_notify ends one direction only')
    same(got, [1000], 'and the backend heard all that came before it')
    raw.close()


def split_hello(s, port):
    hello = client_hello('a.example.org')
    started = s.counter('tunnels')
    for at in range(1, len(hello), 7):
        with call(port) as c:
            c.sendall(hello[:at])
            time.sleep(0.002)
            c.sendall(hello[at:])
            if c.recv(1) != b'\x16':
                return ok(False, 'a ClientHello split at byte %d' % at)
    ok(s.counter('tunnels') - started == len(range(1, len(hello), 7)), 'a ClientHello split at %d places is read' % len(range(1, len(hello), 7)))
    with call(port) as c:
        for i in range(len(hello)):
            c.sendall(hello[i:i + 1])
        ok(c.recv(1) == b'\x16', 'and one that comes byte by byte')
    records = b''.join(b'\x16\x03\x01' + struct.pack('>H', len(part)) + part for part in (hello[5:45], hello[45:46], hello[46:]))
    with call(port) as c:
        c.sendall(records[:30])
        time.sleep(0.05)
        c.sendall(records[30:])
        ok(c.recv(1) == b'\x16', 'and one in three records')


def no_hello(s, port):
    for data, what in ((b'GET / HTTP/1.1\r\nHost: a.example.org\r\n\r\n', 'clear text'), (b'\x16\x03\x01\x40\x00\x01\x00\x3f\xfc' + b'x' * 20000, 'a hello over its bound'),
                       (client_hello('a.example.org')[:80], 'half a hello and the end')):
        with call(port) as c:
            try:
                c.sendall(data)
                c.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            ok(ends(c), what + ': closed without a word')
    before = s.counter('timeouts')
    with call(port) as c:
        c.sendall(client_hello('a.example.org')[:80])
        ok(ends(c), 'half a hello and nothing more: closed after HandshakeTimeout')
    ok(s.counter('timeouts') == before + 1, 'and counted')
    ok('no ClientHello' in s.log(), 'with the reason in the log')


# ---- reload, limits, end ----

DRAIN = 3000 * SLOW


def test_reload():
    a, b = Backend(says('a')), Backend(says('b'))
    port, other = free_ports(2)
    text = SHIPPED + entries(mail=(port, 'tunnel', a.text, ['MaxPerAddress=3']), other=(other, 'tunnel', a.text, []))
    with server(text, DrainTimeout=DRAIN, TunnelIdleTimeout=3600000) as s:
        old, gone = call(port), call(other)
        read_line(old), read_line(gone)
        s.edit('listeners.ini', SHIPPED + entries(mail=(port, 'tunnel', b.text, ['MaxPerAddress=3'])))
        code, out, _ = s.offline('plan', '--diff')
        ok('new callers are taken to %s instead of %s' % (b.text, a.text) in out and 'open tunnels stay where they are' in out, 'plan --diff says what happens to tunnels', out)
        t0 = time.monotonic()
        code, said = s.reload()
        ok(code == 0, 'a reload that leads a tunnel elsewhere and takes another away', said)
        gone.sendall(b'still\n')
        same(read_line(gone), b'a heard still\n', 'a tunnel of a listener that is gone goes on')
        old.sendall(b'still\n')
        same(read_line(old), b'a heard still\n', 'Q15: a living tunnel goes on where it led')
        new = call(port)
        same(read_line(new), b'b here\n', 'a new caller is taken to the new backend')
        rows = {x['backend']: x for x in tunnels(s) if x['listener'] == 'mail'}
        ok(rows[a.text]['generation'] == rows[b.text]['generation'] == 2 and rows[a.text]['admitted'] == 1, 'the old generation is let go', rows)
        ok(ends(gone), 'the tunnel of a listener that is gone ends')
        ok(time.monotonic() - t0 >= DRAIN / 1000, 'after DrainTimeout, not before')
        ok(not listening(other), 'its port is closed')
        limit(s, port, [old, new])
        old.sendall(b'and still\n')
        same(read_line(old), b'a heard and still\n', 'others notice nothing')
        killed = s.kill_engine()
        ok(ends(old) and ends(new), 'a tunnel ends with its engine')
        s.engine_after(killed)
        with call(port) as c:
            same(read_line(c), b'b here\n', 'the next engine serves the next caller')
        last = call(port)
        read_line(last)
        t0 = time.monotonic()
        same(s.stop(), 0, 'a stop waits for tunnels')
        ok(DRAIN / 1000 <= time.monotonic() - t0 < 30 * SLOW, 'for DrainTimeout, no longer')
        ok(ends(last), 'and then ends them')


def limit(s, port, held):
    """G24: MaxPerAddress counts tunnels, for as long as they live."""
    third = call(port)
    read_line(third)
    with call(port) as c:
        ok(ends(c), 'G14, G24: the fourth of MaxPerAddress=3 is closed without a word')
    third.close()

    def free():
        with call(port) as c:
            return c.recv(1) == b'b'
    wait_until('a place to be free', free)
    ok(len(held) == 2, 'G24: when one ends, the next is let in')


def test_idle():
    a, (port,) = Backend(says('a')), free_ports(1)
    with server(entries(mail=(port, 'tunnel', a.text, [])), TunnelIdleTimeout=2000) as s:
        stood_still = 0
        while True:
            with call(port) as c:
                read_line(c)
                t0 = last = time.monotonic()
                rest = 0  # the longest time in which no byte moved; a machine that stands still makes it what it is not meant to be
                while last - t0 < 3:
                    time.sleep(0.2)
                    try:
                        c.sendall(b'.\n')
                        heard = read_line(c)
                    except OSError:
                        heard = b''
                    rest, last = max(rest, time.monotonic() - last), time.monotonic()
                    if not heard:
                        break
                if rest > 1.5 and stood_still < 5:
                    stood_still += 1
                    continue
                c.sendall(b'!\n')
                same(read_line(c), b'a heard !\n', 'a tunnel in which bytes move outlives TunnelIdleTimeout')
                ok(ends(c), 'one in which none moves does not')
                break
        ok(1 <= s.counter('timeouts') <= 1 + stood_still, 'and is counted')


try:
    test_bytes()
    test_backends()
    test_proxy_out()
    test_names()
    test_reload()
    test_idle()
finally:
    shutil.rmtree(FOLDER, ignore_errors=True)
done()
