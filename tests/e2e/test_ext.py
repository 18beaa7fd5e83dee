#!/usr/bin/python3
"""G22: a socket behind a TLS device (InitTLS=Ext). Only the device may call; what comes through it counts as encrypted: cookies, passwords, URLs,
events. Where it sends PROXY headers of version 2, its SSL TLV decides."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import proxyline as px
from pages import PASSWORD, Pages, plain
from portreeve import Server, wait_until
from tap import done, ok, same

DEVICE, STRANGER, CLIENT, HERE, NAME = '127.99.1.1', '127.98.1.1', '203.0.113.5', '192.0.2.80', 'news.example.org'
LISTENERS = '''front.Port=free
front.InitTLS=Ext
front.Restriction=Grant
front.List=%(d)s
relay.Port=free
relay.InitTLS=Ext
relay.Proxy=Any
relay.ProxyFrom=%(d)s
bare.Port=free
bare.Proxy=Any
bare.ProxyFrom=%(d)s
''' % {'d': DEVICE}
V1 = px.v1(CLIENT, HERE)
TLS = px.v2(CLIENT, HERE, tlvs=px.tlv(px.AUTHORITY, NAME.encode()) + px.ssl(1, 1, 'TLSv1.3', cipher='TLS_AES_128_GCM_SHA256'))
CLEAR = px.v2(CLIENT, HERE, tlvs=px.ssl(0, 1))
UNSAID = px.v2(CLIENT, HERE)


class Browser(Pages):
    """Pages through a device: connections from its address, beginning with a header where one is given."""

    def __init__(self, server, listener, head=b'', source=DEVICE, scheme='https'):
        super().__init__(server, server.port(listener))
        self.head, self.source, self.scheme = head, source, scheme

    def call(self, method, path, headers=(), body=b''):
        with http1.Conn('127.0.0.1', self.port, source=self.source, timeout=60) as c:
            c.send(self.head)
            return c.call(method, path, dict(self._headers(), **dict(headers)), body, host=NAME, close=True)

    def _answer(self, method, path, body=b'', headers=()):
        headers = dict(headers)
        if method == 'POST':
            headers['Origin'] = self.scheme + '://' + NAME  # as browsers say it: the name and scheme that they see
        answer = self.call(method, path, headers, body)
        self.last_cookie = answer.get('Set-Cookie')
        if self.last_cookie:
            self.cookie = self.last_cookie.split(';')[0]
        return answer

    def login(self):
        self.cookie = None
        answer = self._answer('POST', '/hub/login', ('account=ada&password=' + PASSWORD.replace(' ', '+')).encode(),
                              {'Content-Type': 'application/x-www-form-urlencoded', 'Sec-Fetch-Site': 'same-origin'})
        return answer, self.last_cookie or ''


def refusals(s, reason):
    return sum(x['count'] for x in s.eval('refusals()', json_out=True) if x['reason'] == reason)


def only_the_device(s):
    for listener, reason in (('front', 'restriction'), ('relay', 'proxy')):
        before = refusals(s, reason)
        try:
            Browser(s, listener, V1 if listener == 'relay' else b'', source=STRANGER).get('/robots.txt')
            ok(False, 'G22: a stranger is refused (%s)' % listener)
        except (http1.Closed, OSError) as e:
            same(getattr(e, 'got', b''), b'', 'G22: a stranger is closed without a byte (%s)' % listener)
        wait_until('the refusal', lambda: refusals(s, reason) == before + 1)
    text = s.read('listeners.ini')
    s.edit('listeners.ini', text.replace('front.Restriction=Grant\n', ''))
    code, out = s.check()
    ok(code == 1 and 'front.InitTLS=Ext: whoever calls here would count as encrypted' in out and 'listeners.ini:2' in out,
       'G22: Ext without naming the device is an error', out)
    code, out = s.reload()
    ok(code == 1, 'and no reload takes it')
    s.edit('listeners.ini', text)


def no_loop(b):
    path, hops = '/hub', []
    for _ in range(6):
        answer = b.get(path)
        if answer.status not in (301, 302, 303, 307, 308):
            break
        path = answer.get('Location')
        hops.append(path)
    ok(answer.status == 200 and all(p.startswith('/') for p in hops), 'G22: no redirect loop: the way to the login page stays on this host', hops)
    same(answer.get('Strict-Transport-Security'), 'max-age=31536000', 'G22: its callers are told to stay with https')


def secure(s, name, b):
    answer, cookie = b.login()
    ok(answer.status == 303 and cookie.startswith('__Host-portreeve=') and '; Secure' in cookie and 'HttpOnly' in cookie,
       'G22: %s: a password in clear text from the device is taken, and the cookie is Secure' % name, (answer.status, cookie))
    same(b.get('/hub/').status, 200, 'and the session holds')
    wrong = Browser(s, 'relay', b.head, b.source, 'http') if b.head else Browser(s, 'front', scheme='http')
    same(wrong.login()[0].status, 403, 'a form of the http page of that name is another site')


def insecure(name, b):
    answer, cookie = b.login()
    ok(answer.status in (400, 403) and 'portreeve=' not in cookie and 'unencrypted' in plain(answer.body),
       'G22: %s: no password is taken' % name, (answer.status, cookie, plain(answer.body)[:300]))
    answer = b.get('/hub/login')
    ok(answer.get('Strict-Transport-Security') is None, 'nor is its caller told that this is https')


def events(s):
    for i, (listener, head) in enumerate((('front', b''), ('relay', TLS), ('relay', CLEAR), ('relay', V1), ('bare', TLS))):
        link = s.mint(recipient=i + 1, url='https://example.org/x')['open']
        same(Browser(s, listener, head).get('/' + link.split('/', 3)[3]).status, 200, 'an open through %s' % listener)
    got = wait_until('five events', lambda: (lambda e: e if len(e) == 5 else None)(s.events()))
    same([x['tls'] for x in sorted(got, key=lambda x: x['recipient'])], ['external', 'external', 'none', 'external', 'none'], 'G22: events say who ended TLS')


def words(s):
    code, out, err = s.command('login-link')
    ok(code == 0 and ':%d/' % s.port('http') in out and not any(':%d/' % s.port(n) in out for n in ('front', 'relay', 'bare')),
       'a login link leads to sockets that this machine itself may call', out + err)


def main():
    with Server(components='tracker,ui,hub', files={'listeners.ini': LISTENERS, 'lists/admin.list': '127.0.0.0/8\n203.0.113.0/24\n'}) as s:
        Pages(s).set_up()  # the link stands in the log then
        ok('https://localhost:' not in s.log() or 'Set up:  http://' in s.log(), 'the set-up link leads to a socket that can be called')
        only_the_device(s)
        no_loop(Browser(s, 'front'))
        no_loop(Browser(s, 'relay', TLS))
        secure(s, 'Ext alone', Browser(s, 'front'))
        secure(s, 'Ext and a header of version 1', Browser(s, 'relay', V1))
        secure(s, 'Ext and version 2 with TLS', Browser(s, 'relay', TLS))
        secure(s, 'Ext and version 2 that does not say', Browser(s, 'relay', UNSAID))
        insecure('Ext, but version 2 says clear text', Browser(s, 'relay', CLEAR, scheme='http'))
        insecure('no Ext, whatever the device says', Browser(s, 'bare', TLS, scheme='http'))
        words(s)
    with Server(components='tracker', files={'listeners.ini': LISTENERS}, settings={'TrackingLevel': 'personal'}) as s:
        events(s)
    done()


main()
