#!/usr/bin/python3
"""The bind table (M7, rows R1–R12) on real sockets, in a network namespace of this test's own: `ss -ltn` shows exactly the sockets that
requirements.md asks for, and each answers plain or TLS, with the right certificate, as the table says. Needs root."""
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import warnings

import alone
import tap

V4 = ['10.66.0.%d' % i for i in (1, 2, 3, 4)]
V6 = ['fd66::%d' % i for i in (1, 2, 3)] + ['fe80::66:4%d66a']
MIXED = [V4[0], V6[1], V4[2], V6[3]]
ALL = ['127.0.0.1', '::1'] + V4 + V6
WILD = ('0.0.0.0', '::')
PORT, SECURE, OWN = 80, 443, 8081  # default port, default HTTPS port, a port written in a list
INTERNAL = {(w, p) for w in WILD for p in (1099, 7000)} | {('127.0.0.1', 8007)}  # M64: the shutdown port


# ---- the probe: runs inside the namespace, reads [[address, port], …] as JSON, prints what each answers ----
def dial(address, port):
    info = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
    s = socket.socket(info[0], socket.SOCK_STREAM)
    s.settimeout(20)
    s.connect(info[4])
    return s


def plain(address, port):
    with dial(address, port) as s:
        s.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        got = b''
        while True:
            try:
                part = s.recv(4096)
            except ConnectionResetError:
                return got
            if not part:
                return got
            got += part


def tls(address, port):
    warnings.simplefilter('ignore')
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    with dial(address, port) as raw, ctx.wrap_socket(raw) as s:
        s.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        got = s.recv(4096)
        return got, ssl.DER_cert_to_PEM_cert(s.getpeercert(True))


def probe_one(address, port):
    try:
        text = plain(address, port)
    except ConnectionRefusedError:
        return ['refused']
    if text.startswith(b'HTTP/1.1 200'):
        try:
            tls(address, port)
        except (ssl.SSLError, ConnectionError):
            return ['http']
        return ['http and tls']
    try:
        got, pem = tls(address, port)
    except (ssl.SSLError, ConnectionError) as e:
        return ['neither', str(e)]
    return ['https' if got.startswith(b'HTTP/1.1 200') and b'HTTP/1.1 200' not in text else 'odd', pem]


if '--probe' in sys.argv:
    print(json.dumps([probe_one(a, p) for a, p in json.load(sys.stdin)]))
    sys.exit(0)

alone.root('the bind table on real sockets')

from portreeve import Server, wait_until  # noqa: E402 (not needed by the probe)

NS = 'portreeve-%d' % os.getpid()
ENTER = ['nsenter', '--net=/run/netns/' + NS]  # ip netns exec wants / to be a mount point, which a chroot's is not


def ip(*args):
    if args[0] == '-n':
        subprocess.run(ENTER + ['ip'] + list(args[2:]), check=True)
    else:
        subprocess.run(['ip'] + list(args), check=True)


def make_namespace():
    ip('netns', 'add', NS)
    n = ['-n', NS]
    ip(*n, 'link', 'set', 'lo', 'up')
    ip(*n, 'link', 'add', 'd66a', 'type', 'veth', 'peer', 'name', 'd66b')
    for name in ('d66a', 'd66b'):
        ip(*n, 'link', 'set', name, 'addrgenmode', 'none')
        ip(*n, 'link', 'set', name, 'up')
    for a in V4:
        ip(*n, 'addr', 'add', a + '/24', 'dev', 'd66a')
    for a in V6:
        ip(*n, 'addr', 'add', a.split('%')[0] + '/64', 'dev', 'd66a', 'nodad')


def listening():
    """{(address, port)} of every listening TCP socket in the namespace, as ss tells it."""
    out = subprocess.run(ENTER + ['ss', '-Hltn'], check=True, stdout=subprocess.PIPE, text=True).stdout
    got = set()
    for line in out.splitlines():
        where = line.split()[3]
        m = re.match(r'^\[?([^\]%]*)\]?(%[^:\]]+)?\]?:(\d+)$', where)
        got.add((m.group(1) + (m.group(2) or ''), int(m.group(3))) if m else (where, 0))
    return got


def probe(targets):
    p = subprocess.run(ENTER + ['/usr/bin/python3', os.path.abspath(__file__), '--probe'], input=json.dumps(targets),
                       stdout=subprocess.PIPE, check=True, text=True, timeout=600)
    return [tuple(x) for x in json.loads(p.stdout)]


def br(a):
    return '[%s]' % a if ':' in a else a


# ---- what the table asks for, written from requirements.md: {(address, port): None for HTTP, else the certificate's name} ----
def rows(a):
    """(row, tomcat.ini, sockets) with the addresses a1 … a4. BindAddress lists a1 and a2:8081, SecureServer a2 and a3, Secure- a1 and a4."""
    a1, a2, a3, a4 = a
    B = 'BindAddress=%s, \\\n            %s:%d\n' % (br(a1), br(a2), OWN)
    S = 'SecureServer=%s, %s\n' % (br(a2), br(a3))
    X = 'Secure-%s=one\nSecure-%s=\n' % (br(a1), br(a4))
    true, false = 'SecureServer=true\n', 'SecureServer=false\n'
    wild = lambda port, cert: {(w, port): cert for w in WILD}
    d = 'default'
    return [
        ('R1', '', wild(PORT, None)),
        ('R2', false + X, {(a1, SECURE): 'one', (a4, SECURE): d}),
        ('R3', true, wild(SECURE, d)),
        ('R4', true + X, {(x, SECURE): 'one' if x == a1 else d for x in ALL}),
        ('R5', S, {(a2, SECURE): d, (a3, SECURE): d}),
        ('R6', S + X, {(a1, SECURE): 'one', (a2, SECURE): d, (a3, SECURE): d, (a4, SECURE): d}),
        ('R7', B + false, {(a1, PORT): None, (a2, OWN): None}),
        ('R8', B + X, {(a1, SECURE): 'one', (a2, OWN): None}),
        ('R9', B + true, {(a1, SECURE): d, (a2, OWN): d}),
        ('R10', B + true + X, {(a1, SECURE): 'one', (a2, OWN): d}),
        ('R11', B + S, {(a1, PORT): None, (a2, OWN): d}),
        ('R12', B + S + X, {(a1, SECURE): 'one', (a2, OWN): d}),
    ]


class Running:
    """The real program in the namespace with this tomcat.ini; certificate `one` beside the development certificate.
    A short HeaderTimeout: a TLS hello on a plain port looks like the beginning of a request that never ends."""

    def __init__(self, tomcat, **more):
        self.server = Server(start=False, ports=False, netns=NS, settings={'Workers': 2, 'AccessLog': 'off', 'HeaderTimeout': 500},
                             files=dict({'tomcat.ini': tomcat, 'listeners.ini': '# none\n',
                                         'certificates.ini': 'default.Certificate=development\none.Certificate=one.pem\n'}, **more))
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
                '/CN=one',
                        '-keyout', self.server.conf + '/key', '-out', self.server.conf + '/cert'], check=True, stderr=subprocess.DEVNULL)
        with open(self.server.conf + '/one.pem', 'w') as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(open(self.server.conf + '/cert').read() + open(self.server.conf + '/key').read())
        self.one = open(self.server.conf + '/cert').read().strip()
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.server.__exit__(kind, value, trace)


def expected_answer(sockets, address, port):
    """What a caller of address:port must meet: 'http', 'https one', 'https default' or 'refused'."""
    key = (address, port)
    if key not in sockets:
        key = ('::' if ':' in address else '0.0.0.0', port)
    if key not in sockets:
        return 'refused'
    return 'http' if sockets[key] is None else 'https ' + sockets[key]


def met(run, answer):
    if answer[0] != 'https':
        return answer[0]
    return 'https one' if answer[1].strip() == run.one else 'https default'


def hold(name, run, sockets, also=()):
    """The sockets that exist, exactly; then every address of the machine on every port that could be meant."""
    tap.same(sorted(listening()), sorted(set(sockets) | INTERNAL), name + ': ss shows exactly the sockets of the table')
    targets = list(itertools.product(ALL, (PORT, SECURE, OWN))) + list(also)
    got = {t: met(run, answer) for t, answer in zip(targets, probe(targets))}
    want = {t: expected_answer(sockets, *t) for t in targets}
    wrong = {'%s port %d' % t: (got[t], want[t]) for t in targets if got[t] != want[t]}
    tap.ok(not wrong, name + ': each address answers plain, TLS with its certificate, or not at all (%d tried)' % len(targets),
            '(got, want) %r' % wrong)


def the_table():
    for set_name, addresses in (('IPv4', V4), ('IPv6', V6), ('mixed', MIXED)):
        for row, text, sockets in rows(addresses):
            name = 'M7 %s, %s' % (row, set_name)
            with Running(text) as run:
                hold(name, run, sockets)
                because = {(x['address'], x['port']): x['because']['row'] for x in run.server.listeners('http')}
                tap.same(because, {k: row for k in sockets}, name + ': status names the row of each')


def aliases():
    with Running('BindAddress=OnlyIPV4Addresses \n') as run:
        hold('M8 OnlyIPV4Addresses (::1 is refused)', run, {('0.0.0.0', PORT): None})
    with Running('BindAddress=OnlyIPV6Addresses\nSecureServer=true\n') as run:
        hold('M9 OnlyIPV6Addresses, HTTPS (127.0.0.1 is refused: IPV6_V6ONLY)', run, {('::', SECURE): 'default'})
    with Running('BindAddress=OnlyIPV4Addresses\nSecure-%s=one\n' % V4[0]) as run:
        sockets = {(a, PORT): None for a in ALL if ':' not in a and a != V4[0]}
        sockets[(V4[0], SECURE)] = 'one'
        hold('M8 R8 OnlyIPV4Addresses in a mixed row: separate sockets', run, sockets)


def link_local():
    with Running('BindAddress=%s, %s:%d, [fe80::66:4]:8082\n' % (V4[0], V4[1], OWN)) as run:
        sockets = {(V4[0], PORT): None, (V4[1], OWN): None, (V6[3], 8082): None}
        hold('M6, M20, M21: a link-local address without zone finds its interface', run, sockets, also=[(V6[3], 8082)])
    ip('-n', NS, 'addr', 'add', 'fe80::66:4/64', 'dev', 'd66b', 'nodad')
    try:
        s = Server(start=False, ports=False, netns=NS, files={'tomcat.ini': 'BindAddress=[fe80::66:4]\n', 'listeners.ini': ''})
        code, text = s.check()
        tap.ok(code == 1 and re.search(r'tomcat\.ini:1: BindAddress: .*(d66a and d66b|d66b and d66a).*%d66', text),
                'M20: two owners are an error that asks for %zone', text)
        s.cleanup()
    finally:
        ip('-n', NS, 'addr', 'del', 'fe80::66:4/64', 'dev', 'd66b')


def later_addresses():
    """R3 accepts an address added after the start; R4 follows with a socket of its own, and needs no restart for it."""
    late = '10.66.0.99'
    with Running('SecureServer=true\n') as run:
        ip('-n', NS, 'addr', 'add', late + '/24', 'dev', 'd66a')
        tap.same(met(run, probe([(late, SECURE)])[0]), 'https default', 'R3: an address added later answers')
        ip('-n', NS, 'addr', 'del', late + '/24', 'dev', 'd66a')
    with Running('SecureServer=true\nSecure-%s=one\n' % V4[0]) as run:
        ip('-n', NS, 'addr', 'add', late + '/24', 'dev', 'd66a')
        try:
            wait_until('a socket of the new address', lambda: (late, SECURE) in listening())
            tap.same(met(run, probe([(late, SECURE)])[0]), 'https default', 'R4: an address added later gets a socket, and answers')
        finally:
            ip('-n', NS, 'addr', 'del', late + '/24', 'dev', 'd66a')


def changes():
    """M23: an edit does nothing by itself; a reload moves from row to row; a bad one leaves the old sockets."""
    with Running('') as run:
        wild = {(w, PORT): None for w in WILD}
        run.server.edit('tomcat.ini', 'BindAddress=%s\n' % V4[0])
        tap.same(listening(), set(wild) | INTERNAL, 'M23: an edited file alone changes nothing')
        code, text = run.server.reload()
        tap.ok(code == 0, 'M23: a reload takes it', text)
        wait_until('the old sockets to close', lambda: listening() == {(V4[0], PORT)} | INTERNAL)
        hold('M16, M23: from all addresses to one', run, {(V4[0], PORT): None})
        run.server.edit('tomcat.ini', 'BindAddress=192.168.1.1\n')
        code, text = run.server.reload()
        tap.ok(code == 1 and re.search(r'tomcat\.ini:1: .*192\.168\.1\.1', text),
                'M19: an address of another machine is refused, with entry and address', text)
        hold('M23: and the old socket serves on', run, {(V4[0], PORT): None})


def broadcast():
    """bind() takes the broadcast address of a network, but nobody can ever connect to it."""
    for text in ('BindAddress=%s, 10.66.0.255\n' % V4[0], 'SecureServer=10.66.0.255\n'):
        s = Server(start=False, ports=False, netns=NS, files={'tomcat.ini': text, 'listeners.ini': 'http.WhenMissing=Wait\n'})
        code, out = s.check()
        tap.ok(code == 1 and re.search(r'tomcat\.ini:1: \w+: cannot bind 10\.66\.0\.255:(80|443): this is the broadcast address', out),
               'a broadcast address is refused: %s' % text.strip(), out)
        s.cleanup()


def without_ipv6():
    subprocess.run(ENTER + ['sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1'], check=True)
    with Running('') as run:
        tap.same({x for x in listening() if x[1] == PORT}, {('0.0.0.0', PORT)}, 'M1: with IPv6 switched off there is the IPv4 socket only')
        tap.same(met(run, probe([(V4[0], PORT)])[0]), 'http', 'M1: and it answers')
        said = [x for x in run.server.log().splitlines() if 'this machine has no IPv6' in x]
        tap.ok(len(said) == 1 and 'only IPv4 is served' in said[0], 'M1: one warning says so', run.server.log())
        run.server.edit('tomcat.ini', 'BindAddress=OnlyIPV6Addresses\n')
        code, text = run.server.reload()
        tap.ok(code == 1 and re.search(r'tomcat\.ini:1: BindAddress: this machine has no IPv6: use OnlyIPV4Addresses', text),
               'M9: OnlyIPV6Addresses is refused, and not silently served to nobody', text)
        run.server.edit('tomcat.ini', '')
        subprocess.run(ENTER + ['sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=0'], check=True)
        ip('-n', NS, 'addr', 'add', V6[0] + '/64', 'dev', 'd66a', 'nodad')
        wait_until('the IPv6 socket', lambda: ('::', PORT) in listening())
        tap.same(met(run, probe([(V6[0], PORT)])[0]), 'http', 'M1: with IPv6 back [::] serves too')


signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # a test that is ended takes its namespace along
try:
    make_namespace()
    the_table()
    aliases()
    link_local()
    later_addresses()
    changes()
    broadcast()
    without_ipv6()
finally:
    subprocess.run(['ip', 'netns', 'del', NS], check=False)
tap.done()
