#!/usr/bin/python3
"""The PROXY protocol through the real program: the vectors of the specification, headers cut at every byte, within TLS and before it, from devices
that are named and from strangers; whose address is judged and counted; and HAProxy as a real sender."""
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import proxyline as px
from logs import whole_lines
from portreeve import SLOW, Server, free_ports, wait_until
from tap import done, note, ok, same, skip

DEVICE, OTHER_DEVICE, OUTCAST, BANNED, STRANGER = '127.99.0.1', '127.99.0.2', '127.99.0.66', '127.99.0.77', '127.98.0.1'
CLIENT, HERE = '203.0.113.5', '192.0.2.80'
LISTENERS = '\n'.join([
    'v1.Port=free', 'v1.Proxy=V1', 'v1.ProxyFrom=devices', 'v2.Port=free', 'v2.Proxy=V2', 'v2.ProxyFrom=devices',
    'any.Port=free', 'any.Proxy=Any', 'any.ProxyFrom=127.99.0.0/24, !' + OUTCAST,
    'tls.Port=free', 'tls.InitTLS=On', 'tls.Proxy=Any', 'tls.ProxyFrom=devices',
    'within.Port=free', 'within.InitTLS=On', 'within.Proxy=Any', 'within.ProxyInside=On', 'within.ProxyFrom=devices',
    'few.Port=free', 'few.Proxy=Any', 'few.ProxyFrom=devices', 'few.MaxPerAddress=2', 'few.MaxConnections=4',
    'club.Port=free', 'club.Proxy=Any', 'club.ProxyFrom=devices', 'club.Restriction=Grant', 'club.List=members',
    'slow.Port=free', 'slow.Proxy=Any', 'slow.ProxyFrom=devices', 'plain.Port=free', ''])
LISTS = {
    'lists/devices.list': '127.99.0.0/24\n!%s\n' % OUTCAST, 'lists/members.list': '203.0.113.0/24\n2001:db8::/32\n',
    'lists/denied.list': '%s\n198.51.100.66\n' % BANNED}
GET = http1.request('GET', '/robots.txt')


def server(**more):
    files = dict(LISTS, **{'listeners.ini': LISTENERS})
    return Server(components='tracker', files=dict(files, **more.pop('files', {})),
                  settings=dict({'HeaderTimeout': 4000 * SLOW, 'HandshakeTimeout': 4000 * SLOW}, **more.pop('settings', {})), **more)


class Call(http1.Conn):
    """A connection to a listener that begins with these bytes; TLS is begun by the caller of this."""

    def __init__(self, s, name, head=b'', source=DEVICE, **kw):
        super().__init__('127.0.0.1', s.port(name) if isinstance(name, str) else name, source=source, timeout=30.0 * SLOW, **kw)
        try:
            self.send(head)
        except OSError:
            pass  # closed already: who reads will see it

    def tls(self, context=None, name='localhost'):
        self.sock = (context or http1.tls_context()).wrap_socket(self.sock, server_hostname=name)
        return self


def status_of(c, request=GET):
    try:
        c.send(request)
        return c.response().status
    except (http1.Closed, OSError):
        return None


def silent(c):
    """The other side closes without a byte."""
    try:
        return c.sock.recv(1) == b''
    except ConnectionError:
        return True


def paths(s, wanted):
    """{path: line} of the access log, once all of these paths are in it."""
    def look():
        found = {x['path']: x for x in map(json.loads, whole_lines(os.path.join(s.state, 'log', 'access.log')))}
        return found if wanted <= set(found) else None
    return wait_until('the access log', look)


def refused(s):
    return s.counter('refused_proxy')


def word_of(s, address, reason='proxy'):
    """What `why` says of the last decision about an address."""
    def look():
        code, out, _ = s.command('why', address, '--last', 1)
        return out if code == 0 and '(%s)' % reason in out else None
    return wait_until('why %s (%s)' % (address, reason), look)


def active(s, name):
    return max(x['active'] for x in s.eval('listeners()', json_out=True) if x['name'] == name)


# --- vectors ---

def check_vectors(s):
    good = [v for v in px.vectors() if v[0]]
    bad = [v for v in px.vectors() if not v[0]]
    port = s.port('any')
    wrong = []
    for i, (_, name, head, _) in enumerate(good):
        with Call(s, port, head + http1.request('GET', '/good/%d' % i)) as c:
            if status_of(c, b'') != 404:
                wrong.append(name)
    same(wrong, [], 'each of %d good headers of the specification is taken, and the request behind it answered' % len(good))
    lines = paths(s, {'/good/%d' % i for i in range(len(good))})
    for i, (_, name, _, expect) in enumerate(good):
        source = expect.split()[0]
        want = DEVICE if source == '-' else source.rsplit(':', 1)[0].strip('[]')
        line = lines['/good/%d' % i]
        if (line['address'], line['via']) != (want, DEVICE):
            wrong.append('%s: %s via %s' % (name, line['address'], line['via']))
    same(wrong, [], 'and the caller is whom the header names; the device where it names nobody (LOCAL, UNKNOWN, UNSPEC, unix)')
    before = refused(s)
    for _, name, head, _ in bad:
        with Call(s, port, head + GET) as c:
            if not silent(c):
                wrong.append(name)
    same(wrong, [], 'each of %d bad headers is closed without a byte' % len(bad))
    same(refused(s) - before, len(bad), 'and counted, each once')
    word = word_of(s, DEVICE)
    ok('PROXY header: a TLV is not the text it should be' in word and 'listeners.ini:8' in word, 'why tells what was wrong, and the line of any.Proxy', word)


def cut_everywhere(s):
    port, wrong = s.port('any'), []
    heads = [px.v1(CLIENT, HERE), px.v2(CLIENT, HERE, tlvs=px.tlv(px.AUTHORITY, b'www.example.org') + px.ssl(1, 1, 'TLSv1.3'), crc=True)]
    n = 0
    for head in heads:
        for cut in range(1, len(head)):
            with Call(s, port, head[:cut]) as c:
                if status_of(c, head[cut:] + GET) != 200:
                    wrong.append((head[:20], cut))
            n += 1
        with Call(s, port) as c:
            for i in range(len(head)):
                c.send(head[i:i + 1])
                time.sleep(0.001)
            if status_of(c) != 200:
                wrong.append((head[:20], 'bytes'))
    same(wrong, [], 'a header in two pieces, cut at each of %d bytes, and byte by byte' % n)
    before = refused(s)
    for head in heads:
        for cut in range(1, len(head)):
            with Call(s, port, head[:cut]) as c:
                c.sock.shutdown(socket.SHUT_WR)
                if not silent(c):
                    wrong.append((head[:20], cut))
    same((wrong, refused(s) - before), ([], n), 'a connection that ends within the header, at each of its bytes: closed without a byte, counted')
    with Call(s, port) as c:
        c.sock.shutdown(socket.SHUT_WR)
        ok(silent(c), 'a device that connects and closes, as simple health checks do')
    same(refused(s) - before, n, 'is no refusal')


def versions(s):
    one, two = px.v1(CLIENT, HERE), px.v2(CLIENT, HERE)
    for name, head, want in (('v1', one, 200), ('v1', two, None), ('v2', one, None), ('v2', two, 200)):
        with Call(s, name, head) as c:
            same(status_of(c), want, 'Proxy=%s: a header of version %d is %s' % (name.upper(), 1 if head is one else 2, 'taken' if want else 'refused'))


def too_late(s):
    with server(settings={'HeaderTimeout': 700, 'HandshakeTimeout': 700}) as t:
        for name, head in (('slow', b''), ('slow', b'PROXY TCP4 203.0.113.5 '), ('slow', px.v2(CLIENT, HERE)[:20]), ('tls', px.SIGNATURE)):
            with Call(t, name, head) as c:
                ok(silent(c), 'a header that does not come (%s, %d bytes of it): closed without a byte' % (name, len(head)))
        same(refused(t), 4, 'counted')
        word = word_of(t, DEVICE)
        ok('no whole PROXY header within 700 ms' in word, 'and said', word)
        with Call(t, 'slow', b'PROXY') as c:
            for i in range(200):
                try:
                    c.send(b' ' if i == 0 else b'U' if i == 1 else b'')
                    time.sleep(0.05)
                    c.sock.setblocking(False)
                    if c.sock.recv(1) == b'':
                        break
                except BlockingIOError:
                    continue
                except ConnectionError:
                    break
                finally:
                    c.sock.setblocking(True)
            ok(i < 199, 'bytes that trickle do not move the deadline')


# --- who may ---

def strangers(s):
    before = refused(s)
    for name, head in (('any', px.v1(CLIENT, HERE)), ('any', px.v2(CLIENT, HERE)), ('any', b''), ('v2', px.v2(command=0))):
        with Call(s, name, head + GET, source=STRANGER) as c:
            ok(silent(c), 'a stranger %s: closed without a byte' % ('with a header' if head else 'who speaks at once'))
    same(refused(s) - before, 4, 'counted as proxy')
    word = word_of(s, STRANGER)
    ok('ProxyFrom=devices of listener v2' in word and 'caller      %s:' % STRANGER in word and 'listeners.ini:6' in word,
       'about his own address, with the entry and its line', word)
    same(s.command('why', CLIENT, '--last', 100)[1].count(STRANGER), 0, 'his first bytes are never anybody\'s address')
    with Call(s, 'tls', px.v1(CLIENT, HERE), source=STRANGER) as c:
        ok(silent(c), 'before TLS: no handshake begins')
    with Call(s, 'within', source=STRANGER) as c:
        try:
            c.tls()
            ok(False, 'within TLS: a stranger gets no handshake either')
        except (ssl.SSLError, OSError):
            ok(True, 'within TLS: a stranger gets no handshake either')
    with Call(s, 'v1', px.v1(CLIENT, HERE) + GET, source=OUTCAST) as c:
        ok(silent(c), 'an address that a line takes out of the devices')
    ok('lists/devices.list:2' in word_of(s, OUTCAST), 'why names the line')
    with Call(s, 'any', px.v1(CLIENT, HERE) + GET, source=OUTCAST) as c:
        ok(silent(c), 'and out of a list that stands in ProxyFrom itself')
    ok('listeners.ini:9' in word_of(s, OUTCAST), 'with its line')
    with Call(s, 'v1', px.v1(CLIENT, HERE) + GET, source=BANNED) as c:
        ok(silent(c), 'G10: a device in the denied list is refused before its header is read')
    ok('lists/denied.list:1' in word_of(s, BANNED, 'denied'), 'as denied, with the line')
    code, out, err = s.command('ban', '--for', '1h', '--reason', 'broken', '--force', OTHER_DEVICE)
    if ok(code == 0, 'a device is banned', out + err):
        wait_until('the ban to hold', lambda: status_of(Call(s, 'v1', px.v1(CLIENT, HERE), source=OTHER_DEVICE)) is None)
        ok('broken' in word_of(s, OTHER_DEVICE, 'banned'), 'and refused as banned')
        s.command('unban', OTHER_DEVICE)


def named(s):
    with Call(s, 'any', px.v1('198.51.100.66', HERE)) as c:
        ok(status_of(c) is None, 'G10: a caller in the denied list is refused behind the device')
    ok('lists/denied.list:2' in word_of(s, '198.51.100.66', 'denied'), 'with the line, about his address')
    for source, want in ((CLIENT, 200), ('2001:db8::7', 200), ('198.51.100.1', None)):
        with Call(s, 'club', px.v2(source, '2001:db8::80' if ':' in source else HERE)) as c:
            same(status_of(c), want, 'G11: Restriction=Grant asks about the caller named, %s' % source)
    ok('not in list members' in word_of(s, '198.51.100.1', 'restriction'), 'not about the device')
    with Call(s, 'club', px.v2(command=0)) as c:
        ok(status_of(c) is None, 'a health check (LOCAL) is judged as the device itself')
    with Call(s, 'plain', px.v1(CLIENT, HERE)) as c:
        same(status_of(c), 400, 'where no header is expected one is no request')


def counted(s):
    """G24: connections count for the address named, and are given back once."""
    def call(source):
        c = Call(s, 'few', px.v1(source, HERE))
        return c, status_of(c)
    a, b, other = call(CLIENT), call(CLIENT), call('203.0.113.6')
    third = call(CLIENT)
    same([a[1], b[1], third[1], other[1]], [200, 200, None, 200], 'G24: two of one address named come in, the third does not, another address does')
    ok('MaxPerAddress=2 of listener few' in word_of(s, CLIENT, 'per-address'), 'G24: with its reason')
    waiting = [Call(s, 'few', b'PROXY TCP4 ') for _ in range(8)]
    wait_until('eight headers begun', lambda: sum('PROXY header' in x['state'] for x in s.eval('connections()', json_out=True)) == 8)
    same(active(s, 'few'), 3, 'G27: a header under way is nobody\'s place')
    fourth, fifth = call('203.0.113.7'), call('203.0.113.8')
    same((fourth[1], fifth[1]), (200, None), 'G27: the maximum counts the callers')
    seen = [x for x in s.eval('connections()', json_out=True) if x.get('via')]
    ok(len(seen) == 4 and all(x['via'].startswith(DEVICE + ':') and x['remote'].startswith('203.0.113.') for x in seen),
       'connections() shows caller and device', seen)
    for c in waiting:
        c.close()
    a[0].close()
    wait_until('a place', lambda: active(s, 'few') == 3)
    again = call(CLIENT)
    same(again[1], 200, 'G24: after one has closed another comes in')
    for c in (a, b, other, third, fourth, fifth, again):
        c[0].close()
    wait_until('every place given back', lambda: active(s, 'few') == 0)
    ok(True, 'every place is given back exactly once')


# --- TLS ---

def before_tls(s):
    for head in (px.v1(CLIENT, HERE), px.v2(CLIENT, HERE, crc=True)):
        with Call(s, 'tls', head) as c:
            same(status_of(c.tls()), 200, 'TLS begins behind the header (version %d)' % (1 if head[:1] == b'P' else 2))
    with Call(s, 'tls', px.v2(CLIENT, HERE)) as c:
        c.tls()
        c.send(http1.request('GET', '/behind/tls'))
        c.response()
        line = paths(s, {'/behind/tls'})['/behind/tls']
        same((line['address'], line['via'], line['tls']), (CLIENT, DEVICE, c.sock.version()), 'caller, device and TLS stand in the access log')
    hello = client_hello()
    with Call(s, 'tls', px.v2(CLIENT, HERE) + hello) as c:
        same(c.sock.recv(1), b'\x16', 'header and ClientHello in one segment: the handshake is answered')
    with Call(s, 'tls', hello) as c:
        ok(silent(c), 'TLS without a header: closed without a byte of handshake')


def client_hello():
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = http1.tls_context().wrap_bio(into, out, server_hostname='localhost')
    try:
        o.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def within_tls(s):
    head = px.v2(CLIENT, HERE, tlvs=px.tlv(px.AUTHORITY, b'www.example.org') + px.ssl(1, 1, 'TLSv1.2'))
    for one in (px.v1(CLIENT, HERE), head):
        with Call(s, 'within') as c:
            c.tls()
            same(status_of(c, one + GET), 200, 'within TLS: header and request in one record')
        with Call(s, 'within') as c:
            c.tls()
            for i in range(len(one)):
                c.send(one[i:i + 1])
            same(status_of(c), 200, 'a record a byte')
    with Call(s, 'within') as c:
        c.tls()
        c.send(px.v1(CLIENT, HERE) + http1.request('GET', '/within/1'))
        c.response()
        same(c.call('GET', '/within/2').status, 404, 'a further request on it')
        lines = paths(s, {'/within/1', '/within/2'})
        same({(x['address'], x['via']) for p, x in lines.items() if p.startswith('/within/')}, {(CLIENT, DEVICE)}, 'all are the caller\'s')
    before = refused(s)
    for what, data in (('a request without header', GET), ('a bad checksum', px.v2(CLIENT, HERE, crc=True, wrong=1) + GET)):
        with Call(s, 'within') as c:
            c.tls()
            c.send(data)
            try:
                got = c.sock.recv(1)
            except (ConnectionError, ssl.SSLError):
                got = b''
            same(got, b'', 'within TLS: %s is closed without a byte of answer' % what)
    with Call(s, 'within', px.v1(CLIENT, HERE)) as c:
        try:
            c.tls()
            ok(False, 'a header before TLS where it belongs within')
        except (ssl.SSLError, OSError):
            ok(True, 'a header before TLS where it belongs within is no handshake')
    same(refused(s) - before, 2, 'counted')


# --- what policies know ---

NO_TESTS = 'return { ["nothing"] = function(t) t.ok(true) end }'
POLICY = '''
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict
return rules {
  rule.refuse_listed "denied",
  rule.at("peer", function(f)
    if f.port == 666 then return verdict.refuse("policy", ("%s via %s, %s"):format(f.address, tostring(f.via), f.secure)) end
  end),
  rule.at("hello", function(f)
    if f.sni == "late.example" then return verdict.delay(50) end
    if f.sni == "gone.example" then return verdict.answer(403, "not here", "asked for " .. f.sni .. " with " .. tostring(f.alpn)) end
  end),
  rule.at("identity", function(f)
    if f.certificate then
      return verdict.refuse("policy", ("%s %s %s %s"):format(f.certificate, tostring(f.certificate_verified), f.tls, f.cipher))
    end
  end),
}
'''


def facts(s):
    with server(policies={'admission.lua': POLICY, 'admission_test.lua': NO_TESTS}) as t:
        for name, source, want in (('any', DEVICE, '%s via %s, none' % (CLIENT, DEVICE)), ):
            with Call(t, name, px.v1(CLIENT, HERE, 666), source=source) as c:
                ok(status_of(c) is None and want in word_of(t, CLIENT, 'policy'), 'peer: facts.address is the caller, facts.via the device')
        for name, start in (('any', lambda c: c), ('within', lambda c: c.tls())):
            def ask(tlvs, n):
                with Call(t, name) as c:
                    start(c)
                    return status_of(c, px.v2('203.0.113.%d' % n, HERE, tlvs=tlvs) + GET)
            gone = px.tlv(px.AUTHORITY, b'Gone.Example') + px.tlv(px.ALPN, b'h2')
            same(ask(gone, 20), 403, '%s: hello is asked about the TLVs, and can answer (G15)' % name)
            ok('asked for gone.example with h2' in word_of(t, '203.0.113.20', 'policy'), '… name and ALPN are the caller\'s')
            same(ask(px.tlv(px.AUTHORITY, b'late.example'), 21), 200, '… and can delay')
            same(ask(px.ssl(7, 0, 'TLSv1.3', 'Ada', 'TLS_AES_128_GCM_SHA256'), 22), None, '… identity about the certificate')
            ok('CN=Ada true TLSv1.3 TLS_AES_128_GCM_SHA256' in word_of(t, '203.0.113.22', 'policy'), '… subject, verified, version, cipher')
            same(ask(px.ssl(1, 1, 'TLSv1.3'), 23), 200, '… TLS without a certificate comes in')
            same(ask(b'', 24), 200, '… and a caller of whom nothing is said')


# --- the life of a server ---

def changes(s):
    """A listener that begins to expect headers: who is connected goes on as he began, who calls anew must send one."""
    with server() as t:
        before = Call(t, 'plain', source=STRANGER)
        same(status_of(before), 200, 'a plain listener')
        t.edit('listeners.ini', LISTENERS + 'plain.Proxy=V2\nplain.ProxyFrom=devices\n')
        code, out, err = t.offline('plan', '--diff', '--state', t.state)
        ok('must begin with a PROXY header (v2) and come from list devices' in out, 'plan --diff tells', out + err)
        code, out = t.reload()
        ok(code == 0, 'reload', out)
        with Call(t, 'plain', source=STRANGER) as c:
            ok(status_of(c) is None, 'a stranger is refused from now on')
        with Call(t, 'plain', px.v2(CLIENT, HERE)) as c:
            same(status_of(c), 200, 'a device is not')
        wait_until('the one who was there to be let go', lambda: silent(before))
        ok(True, 'who was connected without header is let go')
        wait_until('every socket to be proved', lambda: all(x['probe'] == 'proved' for x in t.listeners() if x['services'] != 'shutdown'))
        ok(True, 'the self-probe proves sockets that expect headers, TLS or not')
        same((t.counter('refused_proxy'), t.counter('timeouts')), (1, 0), 'and is nobody\'s refusal')
        t.crash_engine()
        with Call(t, 'plain', px.v2(CLIENT, HERE)) as c:
            same(status_of(c), 200, 'after a crash of the engine too')
        ok('"proxy":"v2","proxy_inside":false,"proxy_from":"devices"' in t.command('status', '--json')[1], 'status tells')


def faults(s):
    bad = s.read('listeners.ini')
    for extra, want in (('bad.Port=8200\nbad.Proxy=V1\n', 'bad.Proxy=V1: a PROXY header is believed from known devices only'),
                        ('bad.Port=8200\nbad.Proxy=V1\nbad.ProxyFrom=nobody\n', 'there is no file lists/nobody.list'),
                        ('bad.Port=8200\nbad.Proxy=V1\nbad.ProxyFrom=300.0.0.1\n', 'bad.ProxyFrom'),
                        ('bad.Port=8200\nbad.Proxy=Both\n', 'not one of Off, V1, V2, Any'),
                        ('bad.Port=8200\nbad.Proxy=V1\nbad.ProxyFrom=devices\nbad.ProxyInside=On\n', 'needs bad.InitTLS=On')):
        s.edit('listeners.ini', bad + extra)
        code, out = s.check()
        ok(code == 1 and want in out and 'listeners.ini:' in out, 'check: ' + want, out)
    s.edit('listeners.ini', bad)


# --- HAProxy ---

HAPROXY = '''
global
  maxconn 200
defaults
  mode tcp
  timeout connect 5s
  timeout check 10s
  timeout client 20s
  timeout server 20s
frontend one
  bind 127.0.0.1:{one}
  default_backend one
backend one
  source {device}
  server s 127.0.0.1:{v1} send-proxy check check-send-proxy inter 200
frontend two
  bind 127.0.0.1:{two} ssl crt {pem} ca-file {ca} verify optional
  default_backend two
backend two
  source {device}
  server s 127.0.0.1:{v2} send-proxy-v2-ssl-cn proxy-v2-options authority,crc32c,unique-id,ssl,cert-cn,ssl-cipher check check-send-proxy inter 200
frontend three
  bind 127.0.0.1:{three}
  default_backend three
backend three
  source {device}
  server s 127.0.0.1:{tls} send-proxy-v2 check check-send-proxy inter 200
'''


def make_client(folder):
    """A client's certificate, its own issuer."""
    key, cert = os.path.join(folder, 'client.key'), os.path.join(folder, 'client.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=Ada Lovelace', '-days', '2',
                    '-keyout', key, '-out', cert], check=True, stderr=subprocess.DEVNULL)
    return key, cert


def real_sender():
    if not shutil.which('haproxy'):
        skip('HAProxy as sender', 'haproxy is not installed')
        return
    policy = POLICY.replace('if f.certificate then', 'if f.certificate and f.sni == "spy.example" then')
    with server(policies={'admission.lua': policy, 'admission_test.lua': NO_TESTS}) as s:
        key, cert = make_client(s.dir)
        one, two, three = free_ports(3)
        conf = os.path.join(s.dir, 'haproxy.cfg')
        with open(conf, 'w', encoding='utf-8') as f:
            f.write(HAPROXY.format(one=one, two=two, three=three, v1=s.port('v1'), v2=s.port('v2'), tls=s.port('tls'), device=DEVICE, ca=cert,
                                   pem=os.path.join(s.state, 'keys', 'development.pem')))
        p = subprocess.Popen(['haproxy', '-db', '-f', conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            talk(s, p, one, two, three, key, cert)
        finally:
            p.terminate()
            out = p.communicate(timeout=20)[0]
            if 'DOWN' in out:
                note(out)
        ok('is DOWN' not in out, 'its health checks (with headers of their own) find the servers up', out)


def talk(s, p, one, two, three, key, cert):
    def up(port):
        assert p.poll() is None, p.communicate()[0]
        try:
            with Call(s, port, source='127.97.0.1') as c:
                return status_of(c) if port == one else True
        except OSError:
            return None
    wait_until('haproxy', lambda: up(one) == 200 and up(two) and up(three))
    with Call(s, one, http1.request('GET', '/haproxy/v1'), source='127.97.0.3') as c:
        same(c.response().status, 404, 'HAProxy, send-proxy')
    context = http1.tls_context()
    context.load_cert_chain(cert, key)
    with Call(s, two, source='127.97.0.4') as c:
        same(status_of(c.tls(context), http1.request('GET', '/haproxy/v2')), 404, 'HAProxy, send-proxy-v2-ssl-cn with authority, unique id and checksum')
    with Call(s, two, source='127.97.0.5') as c:
        same(status_of(c.tls(context, 'spy.example')), None, 'what it says of a client\'s certificate reaches the policy')
    word = word_of(s, '127.97.0.5', 'policy')
    ok('CN=Ada Lovelace true TLSv1.3' in word and 'TLS_' in word, 'name, verified, version and cipher', word)
    with Call(s, three, source='127.97.0.6') as c:
        same(status_of(c.tls(), http1.request('GET', '/haproxy/tls')), 404, 'HAProxy passes TLS through behind its header')
    lines = paths(s, {'/haproxy/v1', '/haproxy/v2', '/haproxy/tls'})
    same({p: (x['address'], x['via']) for p, x in lines.items() if p.startswith('/haproxy/')},
         {'/haproxy/v1': ('127.97.0.3', DEVICE), '/haproxy/v2': ('127.97.0.4', DEVICE), '/haproxy/tls': ('127.97.0.6', DEVICE)}, 'callers are HAProxy\'s clients')
    same(s.counter('refused_proxy'), 0, 'no header of HAProxy\'s is refused')


def main():
    with server() as s:
        check_vectors(s)
        cut_everywhere(s)
        versions(s)
        strangers(s)
        named(s)
        counted(s)
        before_tls(s)
        within_tls(s)
        faults(s)
    too_late(None)
    facts(None)
    changes(None)
    real_sender()
    done()


main()
