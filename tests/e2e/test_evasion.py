#!/usr/bin/python3
"""Ways around admission that must not exist: a name asked for that is not the one that was judged, bans and datagrams."""
import ctypes
import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import proxyline as px
from backends import Backend, client_hello, client_tls, read_line, says
from portreeve import SLOW, Server, free_ports, wait_until
from tap import done, ok, same

POLICY = '''local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict
return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.at("hello", function(f) if f.sni == "late.test" then return verdict.delay(200) end end),
  rule.at("hello", function(f) if f.sni == "secret.test" then return verdict.refuse("policy", "not for you") end end),
}
'''
SET_GROUPS, SET_NAME, WANT_READ = 92, 55, 2  # SSL_CTRL_SET_GROUPS_LIST, SSL_CTRL_SET_TLSEXT_HOSTNAME, SSL_ERROR_WANT_READ


class TwoFaced:
    """A client whose second ClientHello (after a HelloRetryRequest) asks for another name than the first. No library does that, so OpenSSL is
    made to do it from outside."""

    def __init__(self, port, first, second):
        self.lib = s = ctypes.CDLL('libssl.so.3')
        self.crypto = ctypes.CDLL('libcrypto.so.3')
        for lib, names in ((s, 'TLS_client_method SSL_CTX_new SSL_new'), (self.crypto, 'BIO_s_mem BIO_new')):
            for name in names.split():
                getattr(lib, name).restype = ctypes.c_void_p
        p = ctypes.c_void_p
        self.context = p(s.SSL_CTX_new(p(s.TLS_client_method())))
        self.ssl = p(s.SSL_new(self.context))
        self.incoming, self.outgoing = (p(self.crypto.BIO_new(p(self.crypto.BIO_s_mem()))) for _ in range(2))
        s.SSL_set_bio(self.ssl, self.incoming, self.outgoing)
        s.SSL_ctrl(self.ssl, SET_GROUPS, ctypes.c_long(0), b'P-521:X25519')  # the server takes the second only, so it has to ask again
        self.sock = socket.create_connection(('127.0.0.1', port), timeout=30 * SLOW)
        self.name(first)
        self.step(s.SSL_connect)
        self.fetch()
        self.name(second)

    def name(self, text):
        self.lib.SSL_ctrl(self.ssl, SET_NAME, ctypes.c_long(0), text.encode())

    def step(self, call, *args):
        rc = call(self.ssl, *args)
        out = ctypes.create_string_buffer(65536)
        n = self.crypto.BIO_read(self.outgoing, out, 65536)
        if n > 0:
            self.sock.sendall(out.raw[:n])
        return rc

    def fetch(self):
        """More from the server; false: it has closed."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b''
        self.crypto.BIO_write(self.incoming, data, len(data))
        return bool(data)

    def hears(self, n):
        """The handshake to its end and then n bytes, or None."""
        text = ctypes.create_string_buffer(n)
        for call in ((self.lib.SSL_connect,), (self.lib.SSL_read, text, n)):
            rc = self.step(*call)
            while rc <= 0:
                if self.lib.SSL_get_error(self.ssl, rc) != WANT_READ or not self.fetch():
                    return None
                rc = self.step(*call)
        return text.raw[:rc]


def greeting(port, context, name, session=None):
    """What the backend says first, and the session; None where nothing comes."""
    try:
        with context.wrap_socket(socket.create_connection(('127.0.0.1', port), timeout=30 * SLOW), server_hostname=name, session=session) as c:
            line = read_line(c)
            return (line if line else None), c.session, c.session_reused
    except (ssl.SSLError, OSError):
        return None, None, False


def second_hello(port):
    """The name that leads to a backend is the one that was judged, although TLS 1.3 may say hello twice."""
    same(greeting(port, client_tls(), 'public.test')[0], b'public here\n', 'a name that is let in')
    same(greeting(port, client_tls(), 'secret.test')[0], None, 'one that is refused at hello')
    same(TwoFaced(port, 'public.test', 'public.test').hears(64), b'public here\n', 'a second ClientHello with the same name is fine')
    for name in ('PuBLiC.test', 'public.test.', 'PUBLIC.TEST.'):
        same(TwoFaced(port, name, name).hears(64), b'public here\n', '%s is that name too' % name)
    for name in ('SeCRet.test', 'secret.test.'):
        same(TwoFaced(port, name, name).hears(64), None, '%s is refused as well' % name)
    same(TwoFaced(port, 'secret.test', 'public.test').hears(64), None, 'the first name is judged')
    same(TwoFaced(port, 'public.test', 'secret.test').hears(64), None, 'and a second one cannot take its place')


def resumed(port):
    """A session that was made under one name does not go on under another (RFC 6066, section 3)."""
    context = client_tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    first, session, _ = greeting(port, context, 'public.test')
    same(first, b'public here\n', 'TLS 1.2')
    again, _, reused = greeting(port, context, 'public.test', session)
    ok(again == b'public here\n' and reused, 'is resumed under its name', (again, reused))
    other, _, reused = greeting(port, context, 'other.test', session)
    ok(other != b'public here\n', 'and under another one does not lead where the first name led', (other, reused))


def through_device(port):
    """A tunnel that TLS goes through leads where the ClientHello says, so that is judged, whatever a device says of it; and delayed once only."""
    def call(name, head):
        with socket.create_connection(('127.0.0.1', port), timeout=30 * SLOW) as c:
            c.sendall(head + client_hello(name))
            try:
                return read_line(c)
            except ConnectionError:
                return b''
    same(call('public.test', px.v1('203.0.113.5', '192.0.2.80')), b'public here\n', 'TLS that goes through, behind a device')
    same(call('secret.test', px.v1('203.0.113.5', '192.0.2.80')), b'', 'is judged by its ClientHello')
    told = px.v2('203.0.113.5', '192.0.2.80', tlvs=px.tlv(px.AUTHORITY, b'public.test'))
    same(call('secret.test', told), b'', 'also where the device tells another name')
    same(call('public.test', told), b'public here\n', 'and where it tells the same')
    for head in (px.v1('203.0.113.5', '192.0.2.80'), told):
        same(call('late.test', head), b'public here\n', 'a delayed one goes on')


def datagrams(s, port):
    """G10: a ban holds for datagrams too, at once for who was let in a moment ago."""
    def send(text):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
            u.bind(('127.77.0.1', 0))
            u.sendto(text, ('127.0.0.1', port))

    def lines():
        path = os.path.join(s.state, 'log', 'remote', 'logs.log')
        with open(path, encoding='utf-8') if os.path.exists(path) else open(os.devnull, encoding='utf-8') as f:
            return f.read()
    for i in range(20):  # from many ports, so that both workers know this caller
        send(b'<34>su: before %d' % i)
    wait_until('the messages', lambda: lines().count('before') == 20)
    same(s.command('ban', '127.77.0.0/24')[0], 0, 'a ban')

    for _ in range(6):
        send(b'<34>su: banned')
    wait_until('them', lambda: s.counter('datagrams_refused') >= 6)
    ok('banned' not in lines(), 'holds for whoever was let in a moment ago, at every worker', lines())
    same(s.eval('why("127.77.0.1")', json_out=True)[0]['reason'], 'banned', 'told as banned')
    same(s.command('unban', '127.77.0.0/24')[0], 0, 'taken back')

    def again():
        send(b'<34>su: after')
        return 'after' in lines()
    wait_until('messages', again)
    ok(True, 'and messages come in again')


def main():
    public, secret, other = Backend(says('public')), Backend(says('secret')), Backend(says('other'))
    port, through, logs = free_ports(3)
    text = ''.join('%s\n' % x for x in (
        't.Port=127.0.0.1:%d' % port, 't.InitTLS=On', 't.Services=tls-tunnel', 't.Backend=' + other.text, 't.Backend-public.test=' + public.text,
        't.Backend-secret.test=' + secret.text, 'thru.Port=127.0.0.1:%d' % through, 'thru.Services=tls-tunnel', 'thru.Backend=' + other.text,
        'thru.Backend-public.test=' + public.text, 'thru.Backend-secret.test=' + secret.text, 'thru.Backend-late.test=' + public.text,
        'thru.Proxy=Any', 'thru.ProxyFrom=127.0.0.0/8', 'logs.Port=127.0.0.1:%d' % logs, 'logs.Services=remote-log', 'logs.Transport=UDP',
        'ops.Port=free', 'ops.Address=127.0.0.1', 'ops.Services=ops'))
    s = Server(components='tracker', settings={'Workers': 2}, files={'listeners.ini': text}, policies={'admission.lua': POLICY, 'admission_test.lua': 'return { ["nothing"] = function(t) t.ok(true) end }\n'}, start=False)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    with s.start():
        second_hello(port)
        resumed(port)
        through_device(through)
        datagrams(s, logs)
    done()


main()
