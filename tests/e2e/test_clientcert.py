#!/usr/bin/python3
"""Certificates of callers on real sockets: asked for and demanded, each way in which one can be bad (S16), resumption, reload, what policies hear."""
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import proxyline as px
from backends import Backend, read_all
from portreeve import Server, wait_until
from tap import done, ok, same

DIR = tempfile.mkdtemp(prefix='pr-ca-')
NO_TEST = 'return { ["nothing"] = function(t) t.ok(true) end }\n'
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
CA_CONF = '''[ca]
default_ca=c
[c]
database=%(dir)s/index
new_certs_dir=%(dir)s
serial=%(dir)s/serial
default_md=sha256
policy=p
unique_subject=no
copy_extensions=none
[p]
commonName=supplied
[ca_ext]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
[client]
extendedKeyUsage=clientAuth
subjectAltName=DNS:a.partner.example,email:anna@partner.example
[plain]
basicConstraints=CA:FALSE
[server]
extendedKeyUsage=serverAuth
[wrap]
keyUsage=critical,keyEncipherment
extendedKeyUsage=clientAuth
[huge]
extendedKeyUsage=clientAuth
subjectAltName=%(huge)s
[large]
extendedKeyUsage=clientAuth
subjectAltName=%(large)s
'''


def run(*argv):
    subprocess.run(argv, check=True, cwd=DIR, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def path(name):
    return os.path.join(DIR, name)


def text(name):
    with open(path(name)) as f:
        return f.read()


def write(name, *parts):
    with open(path(name), 'w') as f:
        f.write(''.join(parts))
    return path(name)


def issue(name, ca, ext, start='20240101000000Z', end='20991231000000Z', key='leaf.key'):
    """NAME.pem: a certificate with its key, signed by ca (itself where that is None)."""
    run('openssl', 'req', '-new', '-key', key, '-subj', '/CN=' + name, '-out', name + '.csr')
    signer = ['-selfsign', '-keyfile', key] if ca is None else ['-cert', ca + '.crt', '-keyfile', ca + '.key']
    run('openssl', 'ca', '-batch', '-notext', '-config', 'ca.conf', '-in', name + '.csr', '-out', name + '.crt', '-startdate', start, '-enddate', end,
        '-extensions', ext, *signer)
    write(name + '.pem', text(name + '.crt'), text(key))


def make_all():
    many = ','.join('DNS:host-number-%04d.somewhere.example' % i for i in range(700))
    write('ca.conf', CA_CONF % {'dir': DIR, 'huge': many, 'large': ','.join(many.split(',')[:300])})
    write('index')
    write('serial', '1000\n')
    for name in ('root', 'other', 'middle', 'past', 'leaf'):
        run('openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', name + '.key')
    issue('root', None, 'ca_ext', key='root.key')
    issue('other', None, 'ca_ext', key='other.key')
    issue('past', None, 'ca_ext', end='20250101000000Z', key='past.key')
    issue('middle', 'root', 'ca_ext', key='middle.key')
    for name, ca, ext in (('good', 'root', 'client'), ('plain', 'root', 'plain'), ('server', 'root', 'server'), ('wrap', 'root', 'wrap'), ('wrong', 'other', 'client'),
                          ('self', None, 'client'), ('huge', 'root', 'huge'), ('large', 'root', 'large'), ('deep', 'middle', 'client')):
        issue(name, ca, ext)
    issue('expired', 'root', 'client', end='20250101000000Z')
    issue('future', 'root', 'client', start='20900101000000Z')
    write('missing.pem', text('deep.pem'))
    write('deep.pem', text('deep.crt'), text('middle.crt'), text('leaf.key'))


def context(name=None, version=None):
    c = http1.tls_context(least=version, most=version)
    if name:
        c.load_cert_chain(path(name + '.pem'))
    return c


# ---- callers ----

def call(s, port, name=None, version=V13, session=None, ctx=None, where='/robots.txt', source=None):
    """(status, text, session, resumed) or the alert's name."""
    ctx = ctx or context(name, version)
    sock = socket.create_connection((s.address, port), 20, (source, 0) if source else None)
    try:
        t = ctx.wrap_socket(sock, server_hostname='localhost', session=session)
        with t:
            t.sendall(http1.request('GET', where, close=True))
            got = b''
            while True:
                more = t.recv(65536)
                if not more:
                    break
                got += more
            head, _, body = got.partition(b'\r\n\r\n')
            return int(head.split()[1]), body.decode(), t.session, t.session_reused
    except ssl.SSLError as e:
        return e.reason or str(e)
    finally:
        sock.close()


def status(got):
    return got[0] if isinstance(got, tuple) else got


POLICY = '''local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict
return rules {
  rule.at("request", function(facts)
    if facts.path ~= "/who" then return nil end
    local all = table.concat({ tostring(facts.certificate), tostring(facts.certificate_issuer), tostring(facts.certificate_names),
      tostring(facts.certificate_serial), tostring(facts.certificate_sha256), tostring(facts.certificate_not_after),
      tostring(facts.certificate_verified), tostring(facts.certificate_reason) }, "|")
    return verdict.answer(418, all, all)
  end),
}
'''
PLAIN = 'local a = require "portreeve.admission"\nreturn a.rules { a.rule.restriction() }\n'
ROUTE = '''return function(req)
  if req.certificate == "CN=good" and #req.certificate_sha256 == 64 and req.certificate_names then return nil, 404 end
  if req.certificate == "CN=told" and not req.certificate_sha256 then return nil, 421 end
  return nil, 403
end
'''


def listeners(*lines):
    return '\n'.join(lines) + '\n'


def tls(name, *more, services='ops'):
    return ['%s.%s' % (name, m) for m in ('Port=free', 'Address=127.0.0.1', 'InitTLS=On', 'Services=' + services) + more]


def start(ini, policy=PLAIN, certs=None, route=None, begin=True, **kw):
    files, policies = {'listeners.ini': ini}, {'admission.lua': policy, 'admission_test.lua': NO_TEST}
    if certs:
        files['certificates.ini'] = certs
    if route:
        policies.update({'route.lua': route, 'route_test.lua': NO_TEST})
    s = Server(files=files, policies=policies, start=False, **kw)
    s.sets = [x for x in s.sets if not re.match(r'listeners\.ini:(ops|secure)\.', x[0])]
    if begin:
        s.start()
    return s


def who(s, port, name=None, version=V13, **kw):
    got = call(s, port, name, version, where='/who', **kw)
    if not isinstance(got, tuple) or got[0] != 418:
        return got
    words = re.search(r'<p>(.*)</p>', got[1]).group(1).split('|')
    return dict(zip(('subject', 'issuer', 'names', 'serial', 'sha256', 'not_after', 'verified', 'reason'), words))


def fingerprint(name):
    p = subprocess.run(['openssl', 'x509', '-in', path(name + '.crt'), '-noout', '-fingerprint', '-sha256', '-serial'], stdout=subprocess.PIPE, text=True, check=True)
    return p.stdout.split('=')[1].split()[0].replace(':', '').lower(), p.stdout.strip().rsplit('=', 1)[1].lower()


# What each certificate is told as, where callers are only asked, and the alerts where it is demanded (TLS 1.2, TLS 1.3).
BAD = {  # S16
    'self': ('self-signed certificate', 'TLSV1_ALERT_UNKNOWN_CA'),
    'wrong': ('unable to get local issuer certificate', 'TLSV1_ALERT_UNKNOWN_CA'),
    'expired': ('certificate has expired', 'SSLV3_ALERT_CERTIFICATE_EXPIRED'),
    'future': ('certificate is not yet valid', 'SSLV3_ALERT_BAD_CERTIFICATE'),
    'missing': ('unable to get local issuer certificate', 'TLSV1_ALERT_UNKNOWN_CA'),
    'server': ('unsuitable certificate purpose', 'SSLV3_ALERT_UNSUPPORTED_CERTIFICATE'),
    'wrap': ('unsuitable certificate purpose', 'SSLV3_ALERT_UNSUPPORTED_CERTIFICATE'),
}


def test_ask(s):
    port = s.port('ask')
    for version in (V12, V13):
        v = version.name
        same(who(s, port, None, version), {'subject': 'nil', 'issuer': 'nil', 'names': 'nil', 'serial': 'nil', 'sha256': 'nil', 'not_after': 'nil',
                                           'verified': 'false', 'reason': 'nil'}, '%s, asked: without one he comes in' % v)
        got, (sha, serial) = who(s, port, 'good', version), fingerprint('good')
        same(got, {'subject': 'CN=good', 'issuer': 'CN=root', 'names': 'a.partner.example,anna@partner.example', 'serial': serial, 'sha256': sha,
                   'not_after': '4102358400000', 'verified': 'true', 'reason': 'nil'}, '%s, asked: all that a good one says' % v)
        for name in ('plain', 'deep'):
            got = who(s, port, name, version)
            same((got['subject'], got['verified']), ('CN=' + name, 'true'), '%s, asked: %s is good' % (v, name))
        for name, (reason, _) in BAD.items():
            got = who(s, port, name, version)
            same((got['subject'], got['verified'], got['reason']), ('CN=' + name.replace('missing', 'deep'), 'false', reason),
                 '%s, asked: %s comes in, with the reason' % (v, name))


def refusals(s):
    """Refusals of callers over their certificates, as they stand on record."""
    code, out, err = s.command('why', '--json', '--last', '1000', '127.0.0.1')
    return [d for d in json.loads(out)['decisions'] if d.get('reason') == 'certificate']


def reasons(s):
    return sorted(set(d['because'] for d in refusals(s)))


def test_require(s):
    port, line = s.port('must'), line_of(s, 'must.ClientCertificate')
    n, before = 0, s.counter('refused_certificate')
    for version in (V12, V13):
        v = version.name
        same(status(call(s, port, 'good', version)), 404, '%s, demanded: a good one comes in' % v)
        same(status(call(s, port, 'deep', version)), 404, '%s, demanded: one with its intermediate too' % v)
        alert = 'TLSV13_ALERT_CERTIFICATE_REQUIRED' if version == V13 else 'SSLV3_ALERT_HANDSHAKE_FAILURE'
        same(call(s, port, None, version), alert, '%s, demanded: none' % v)
        for name, (_, alert) in BAD.items():
            same(call(s, port, name, version), alert, '%s, demanded: %s is refused with an alert' % (v, name))
        n += 1 + len(BAD)
    wait_until('all refusals to be counted', lambda: s.counter('refused_certificate') == before + n)
    for name, (reason, _) in list(BAD.items()) + [('none', ('peer did not return a certificate', ''))]:
        subject = '' if name == 'none' else ': CN=' + name.replace('missing', 'deep')
        want = 'ClientCertificate=Require of listener must: %s%s' % (reason, subject)
        ok(want in reasons(s), '%s is on record: %s' % (name, want if want in reasons(s) else reasons(s)))
    same(set((d['stage'], d['listener'], d['verdict']) for d in refusals(s)), {('identity', 'must', 'refuse')}, 'stage, listener and verdict of all')
    code, out, err = s.command('why', '127.0.0.1')
    ok('listeners.ini:%d' % line in out, 'why names the line of the entry (%d)%s' % (line, '' if 'listeners.ini:%d' % line in out else ': ' + out[:600]))
    wait_until('a line in the log', lambda: 'ClientCertificate=Require of listener must' in s.log())
    ok(True, 'the log tells of refusals')


def line_of(s, entry):
    for i, one in enumerate(s.read('listeners.ini').splitlines(), 1):
        if one.startswith(entry + '='):
            return i
    raise AssertionError(entry)


def test_size(s):
    for listener in ('ask', 'must'):
        for version in (V12, V13):
            same(status(call(s, s.port(listener), 'large', version)), 404, '%s, %s: a large certificate is read' % (listener, version.name))
            got = call(s, s.port(listener), 'huge', version)
            ok(not isinstance(got, tuple), '%s, %s: beyond 12 KB the handshake ends (%s)' % (listener, version.name, got))
    ok(any('excessive message size' in r for r in reasons(s)), 'and that is on record: %s' % reasons(s)[:3])


def test_resumption(s):
    for version in (V12, V13):
        ctx = context('good', version)
        first = call(s, s.port('ask'), ctx=ctx, where='/who')
        again = call(s, s.port('ask'), ctx=ctx, where='/who', session=first[2])
        same((again[3], again[1]), (True, first[1]), '%s: a resumed session says the same of the certificate' % version.name)
        other = call(s, s.port('must'), ctx=ctx, session=first[2])
        same((other[0], other[3]), (404, False), '%s: it is no good on a listener with another rule' % version.name)
        other = call(s, s.port('free'), ctx=ctx, session=first[2])
        same((other[0], other[3]), (404, False), '%s: nor on one that asks nobody' % version.name)
        free = call(s, s.port('free'), ctx=ctx)
        again = call(s, s.port('free'), ctx=ctx, session=free[2])
        same(again[3], True, '%s: sessions of that one are resumed as ever' % version.name)
        other = call(s, s.port('ask'), ctx=ctx, where='/who', session=free[2])
        same((other[3], 'CN=good' in other[1]), (False, True), '%s: and bring nobody past the question' % version.name)
        bare = context(None, version)
        first = call(s, s.port('ask'), ctx=bare)
        same(status(call(s, s.port('must'), ctx=bare, session=first[2])) == 404, False, '%s: a session without a certificate opens no door' % version.name)


def test_reload(s):
    port = s.port('must')
    ctx = context('good', V13)
    first = call(s, port, ctx=ctx)
    same(call(s, port, ctx=ctx, session=first[2])[3], True, 'before the reload its session is resumed')
    kept = http1.Conn(s.address, port, tls=context('good', V13))
    same(kept.call('GET', '/x').status, 404, 'a kept connection')
    busy, one = http1.Conn(s.address, port, tls=context('good', V13)), http1.request('GET', '/x')
    busy.send(one + one[:20])
    same(busy.response().status, 404, 'and one that is never idle: a piece of the next request is always there')
    shutil.copy(path('other.crt'), os.path.join(s.conf, 'must.pem'))
    code, out = s.reload()
    same(code, 0, 'another CA in the same file%s' % ('' if code == 0 else ': ' + out))
    answers = 0
    try:
        while answers < 20:
            busy.send(one[20:] + one[:20])
            answers += 1
            if (busy.response().get('Connection') or '').lower() == 'close':
                break
    except (http1.Closed, OSError):
        pass
    ok(answers <= 3, 'the one that is never idle ends with its next answers, too (%d)' % answers)
    busy.close()
    wait_until('the new rule', lambda: status(call(s, s.port('must'), 'wrong')) == 404)
    same(call(s, port, ctx=ctx, session=first[2]), 'TLSV1_ALERT_UNKNOWN_CA', 'the old session is no good, nor the certificate it was for')
    closed = False
    try:
        got = kept.call('GET', '/x')
        closed = (got.get('Connection') or '').lower() == 'close'
    except (http1.Closed, OSError):
        closed = True
    ok(closed, 'the kept connection is let finish, and ends')
    kept.close()
    s.edit('listeners.ini', lambda t: t.replace('must.ClientCertificate=Require', 'must.ClientCertificate=Ask'))
    code, out = s.offline('plan', '--diff')[:2]
    ok('asked for a certificate and may come without' in out, 'plan --diff says what changes%s' % ('' if 'asked for' in out else ': ' + out))
    same(s.reload()[0], 0, 'Ask instead of Require')
    wait_until('the new word', lambda: status(call(s, s.port('must'))) == 404)
    s.edit('listeners.ini', lambda t: t.replace('must.ClientCertificate=Ask', 'must.ClientCertificate=Require'))
    shutil.copy(path('root.crt'), os.path.join(s.conf, 'must.pem'))
    same(s.reload()[0], 0, 'and back')
    wait_until('the old rule', lambda: status(call(s, s.port('must'), 'good')) == 404)


def test_flood():
    """Those who are to hear their alert are bounded, and hold no more than a socket."""
    held = []
    with start(listeners(*tls('must', 'ClientCertificate=Require', 'ClientCA=' + path('root.crt')), *tls('open')), settings={'Workers': 1}) as s:
        pid = s.engine_pid()
        before = len(os.listdir('/proc/%d/fd' % pid))
        most = 0
        for i in range(500):
            held.append(context(None, V13).wrap_socket(socket.create_connection((s.address, s.port('must')), 20), server_hostname='localhost'))
            if i % 20 == 19:
                most = max(most, len(os.listdir('/proc/%d/fd' % pid)) - before)
        ok(most <= 256 + 20, 'of 500 callers without a certificate who do not hang up 256 are waited for (%d)' % most)
        same(status(call(s, s.port('open'))), 404, 'and others are served')
        wait_until('all to be counted', lambda: s.counter('refused_certificate') == 500)
        ok(True, 'each is a refusal')
        for c in held:
            c.close()


def test_heard():
    """A certificate as large as may be comes back in a ticket: the greeting that brings it is still one that policies can read."""
    policy = PLAIN.replace('a.rule.restriction()', 'a.rule.restriction(), a.rule.at("hello", function(f) if f.sni ~= "localhost" then return a.verdict.refuse("policy", "who") end end)')
    with start(listeners(*tls('ask', 'ClientCertificate=Ask', 'ClientCA=' + path('root.crt'))), policy) as s:
        for version in (V12, V13):
            ctx = context('large', version)
            first = call(s, s.port('ask'), ctx=ctx)
            again = call(s, s.port('ask'), ctx=ctx, session=first[2])
            same((status(again), again[3]), (404, True), '%s: the session of a large certificate is resumed where the policy hears the greeting' % version.name)


def test_crash(s):
    """The engine that comes back has the CAs from the bundle, not from disk."""
    os.rename(os.path.join(s.conf, 'must.pem'), os.path.join(s.conf, 'gone.pem'))
    pid = s.kill_engine()
    wait_until('another engine', lambda: s.engine_pid() not in (None, pid))
    wait_until('it serves', lambda: served(s, 'good'))
    same(status(call(s, s.port('must'), 'wrong')), 'TLSV1_ALERT_UNKNOWN_CA', 'an engine that came back knows the CAs without the file')
    code, out = s.reload()
    ok(code != 0 and 'must.pem' in out and 'listeners.ini:%d' % line_of(s, 'must.ClientCA') in out, 'a reload names the file that is gone, and its line: %s' % out[:300])
    os.rename(os.path.join(s.conf, 'gone.pem'), os.path.join(s.conf, 'must.pem'))


def served(s, name):
    try:
        return status(call(s, s.port('must'), name)) == 404
    except (OSError, AssertionError):
        return False


# ---- names, devices, tunnels, handlers ----

def test_names(s):
    """The certificate that a server name picks changes nothing about the caller's."""
    for version in (V12, V13):
        for name in ('localhost', 'two.example', 'unknown.example'):
            what = '%s, %s: ' % (version.name, name)
            got = shown(s, 'ask', context('good', version), name)
            same(got, ('two.example' if name == 'two.example' else 'localhost', 'CN=good|true'), what + 'a good one is known')
            same(shown(s, 'ask', context('wrong', version), name)[1], 'CN=wrong|false', what + 'a bad one too')
            same(shown(s, 'must', context('good', version), name)[1], 'CN=good|true', what + 'demanded')
            ok('ALERT' in shown(s, 'must', context('wrong', version), name), what + 'demanded, and a bad one')
            ok('ALERT' in shown(s, 'must', context(None, version), name), what + 'demanded, and none')


def shown(s, listener, ctx, name):
    """(the name that our certificate has, who we are to the policy), or the alert."""
    try:
        with http1.Conn(s.address, s.port(listener), tls=ctx, server_name=name) as c:
            der = c.sock.getpeercert(True)
            body = c.call('GET', '/who').body.decode()
            words = re.search(r'<p>(.*)</p>', body).group(1).split('|')
            return 'two.example' if b'two.example' in der else 'localhost', words[0] + '|' + words[6]
    except ssl.SSLError as e:
        return e.reason
    except http1.Closed as e:
        return str(e)


def told(s, name, head, ctx=None, inside=False):
    """What a policy is told of a caller behind a device: subject and verified."""
    with http1.Conn('127.0.0.1', s.port(name)) as c:
        if not inside:
            c.send(head)
        if ctx:
            c.sock = ctx.wrap_socket(c.sock, server_hostname='localhost')
        if inside:
            c.send(head)
        body = c.call('GET', '/who').body.decode()
        words = re.search(r'<p>(.*)</p>', body).group(1).split('|')
        return words[0], words[6]


def test_devices(s):
    claim = px.v2('203.0.113.5', '192.0.2.1', tlvs=px.ssl(7, 0, 'TLSv1.3', 'told'))
    mute = px.v2('203.0.113.5', '192.0.2.1')
    same(told(s, 'ext', claim), ('CN=told', 'true'), 'Ext: the device says who its caller is')
    sly = px.v2('203.0.113.5', '192.0.2.1', tlvs=px.ssl(7, 0, 'TLSv1.3', 'admin,O=Corp+OU=x'))
    same(told(s, 'ext', sly), ('CN=admin\\,O=Corp\\+OU=x', 'true'), 'a name with a comma in it stays one name')
    for version in (V12, V13):
        v = version.name
        same(told(s, 'before', claim, context('good', version)), ('CN=good', 'true'), '%s: our TLS with the caller himself wins over the header' % v)
        same(told(s, 'before', claim, context('wrong', version)), ('CN=wrong', 'false'), '%s: also where his certificate is bad' % v)
        same(told(s, 'before', claim, context(None, version)), ('nil', 'false'), '%s: and where he shows none' % v)
        same(told(s, 'within', claim, context('good', version), True), ('CN=told', 'true'), '%s: within TLS of a device the caller is the header\'s' % v)
        same(told(s, 'within', mute, context('good', version), True), ('nil', 'false'), '%s: the device\'s own certificate is nobody\'s' % v)
        before = s.counter('refused_certificate')
        try:
            got = told(s, 'within', claim, context(None, version), True)
        except (ssl.SSLError, http1.Closed) as e:
            got = str(e)
        ok('alert' in got, '%s: a device without a certificate is turned away (%s)' % (v, got))
        wait_until('its refusal', lambda: s.counter('refused_certificate') == before + 1)


def test_handlers(s):
    for version in (V12, V13):
        v = version.name
        same([status(call(s, s.port('route'), n, version, where='/x')) for n in ('good', 'wrong', None)], [404, 403, 403],
             '%s: route.lua hears of a verified certificate only' % v)
    claim = px.v2('203.0.113.5', '192.0.2.1', tlvs=px.ssl(7, 0, 'TLSv1.3', 'told'))
    for head, want in ((claim, 421), (px.v2('203.0.113.5', '192.0.2.1', tlvs=px.ssl(7, 1, 'TLSv1.3', 'told')), 403)):
        with http1.Conn('127.0.0.1', s.port('extroute')) as c:
            c.send(head)
            same(c.call('GET', '/x').status, want, 'and of one that a device has verified')


def ssl_tlv(data):
    """(client bits, verified, CN) of the SSL TLV in a header of version 2, or None."""
    n, at = int.from_bytes(data[14:16], 'big'), 28
    while at < 16 + n:
        kind, size = data[at], int.from_bytes(data[at + 1:at + 3], 'big')
        value = data[at + 3:at + 3 + size]
        if kind == px.SSL:
            sub, inner = {}, 5
            while inner < size:
                m = int.from_bytes(value[inner + 1:inner + 3], 'big')
                sub[value[inner]] = value[inner + 3:inner + 3 + m]
                inner += 3 + m
            return value[0], value[1:5] == b'\0\0\0\0', sub.get(px.SSL_CN)
        at += 3 + size
    return None


def test_tunnel(s, heard):
    for version in (V12, V13):
        v, session = version.name, None
        ctx = context('good', version)
        for name, want in (('good', (5 | 2, True, b'good')), ('again', (5, True, b'good')), ('wrong', (5 | 2, False, None)), (None, (1, False, None))):
            del heard[:]
            with socket.create_connection((s.address, s.port('tunnel')), 20) as sock:
                c = (ctx if name in ('good', 'again') else context(name, version)).wrap_socket(sock, server_hostname='localhost', session=session)
                c.sendall(b'hello')
                c.settimeout(20)
                same(c.recv(2), b'ok', '%s: through the tunnel' % v)
                session = c.session if name == 'good' else None
                try:
                    c.unwrap()
                except (OSError, ssl.SSLError):
                    pass
            wait_until('the backend to have heard', lambda: heard)
            same(ssl_tlv(heard[0]), want, '%s: the backend is told of %s' % (v, name))


def backend(heard):
    def talk(c):
        data = c.recv(65536)
        while b'hello' not in data:
            data += c.recv(65536)
        heard.append(data)
        c.sendall(b'ok')
        read_all(c)
    return Backend(talk)


def devices(name, *more):
    return ['%s.%s' % (name, m) for m in ('Port=free', 'Address=127.0.0.1', 'Proxy=V2', 'ProxyFrom=127.0.0.1', 'Services=ops') + more]


def more_listeners():
    heard = []
    behind = backend(heard)
    ca = 'ClientCA=' + path('root.crt')
    for name in ('one', 'two'):
        run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '3650', '-subj', '/CN=%s' % name,
            '-addext', 'subjectAltName=DNS:%s.example' % name, '-keyout', name + '.srv.key', '-out', name + '.srv')
    ini = listeners(*tls('ask', 'ClientCertificate=Ask', ca), *tls('must', 'ClientCertificate=Require', ca), *devices('ext', 'InitTLS=Ext'),
                    *devices('before', 'InitTLS=On', 'ClientCertificate=Ask', ca), *devices('within', 'InitTLS=On', 'ProxyInside=On', 'ClientCertificate=Require', ca),
                    *tls('tunnel', 'ClientCertificate=Ask', ca, 'Backend=' + behind.text, 'SendProxy=V2', services='tls-tunnel'))
    certs = ''.join('%s.Certificate=%s\n%s.Key=%s\n' % (n, path(f + '.srv'), n, path(f + '.srv.key')) for n, f in (('default', 'one'), ('two', 'two')))
    with start(ini, POLICY, certs=certs) as s:
        test_names(s)
        test_devices(s)
        test_tunnel(s, heard)
        test_would(s)
        test_console(s)
    ini = listeners(*tls('route', 'ClientCertificate=Ask', ca, services='tracker'), *devices('extroute', 'InitTLS=Ext', 'Services=tracker'))
    with start(ini.replace('extroute.Services=ops\n', ''), route=ROUTE) as s:
        test_handlers(s)
    behind.close()


def test_would(s):
    """The answer of `would` beforehand is what really happens."""
    code, out, err = s.command('would', '127.0.0.1', '--listener', 'must')
    ok(code == 1 and '(identity)' in out and ': certificate' in out and 'listeners.ini:%d' % line_of(s, 'must.ClientCertificate') in out,
       'would: without one he would be refused, by that line', out + err)
    code, out, err = s.command('would', '127.0.0.1', '--listener', 'must', '--certificate', 'CN=good')
    ok(code == 0 and 'would be let in' in out, 'would: with one he comes in', out + err)
    code, out, err = s.command('would', '127.0.0.1', '--listener', 'ask')
    ok(code == 0, 'would: where he is only asked too', out + err)
    for given, want in (([], 'nil|nil|nil'), (['--certificate', 'CN=a', '--certificate-issuer', 'CN=ca', '--certificate-names', 'a.example'], 'CN=a|CN=ca|a.example')):
        code, out, err = s.command('would', '127.0.0.1', '--listener', 'ask', '--path', '/who', '--json', *given)
        ok(code == 1 and want in out, 'would: the policy is told of it (%s)' % want, out + err)


def test_console(s):
    """The word can be changed while the server runs, the file with the CAs cannot: nobody within can make himself trusted."""
    code, out, err = s.command('eval', 'listener.set("must", { ClientCertificate = "Ask" })', timeout=120)
    same(code, 0, 'listener.set takes ClientCertificate%s' % ('' if code == 0 else ': ' + out + err))
    wait_until('the new word', lambda: status(call(s, s.port('must'))) == 404)
    code, out, err = s.command('eval', 'listener.set("must", { ClientCA = "/etc/passwd" })', timeout=120)
    ok(code != 0 and 'ClientCA' in out + err, 'and refuses ClientCA: %s' % (out + err)[:200])
    same('/etc/passwd' in s.read('listeners.ini'), False, 'nothing of it is in the file')


# ---- what is said of the files ----

def test_check():
    ca = 'ClientCA=%s'
    for file, what in ((path('good.crt'), r'certificate 1 \(CN=good\) is no CA'), (path('leaf.key'), 'no certificate in it'), ('no-such.pem', 'there is no such file'),
                       (path('ca.conf'), 'PEM is wanted'), (DIR, 'not a regular file|is a directory|no regular file')):
        s = start(listeners(*tls('must', 'ClientCertificate=Require', ca % file)), begin=False)
        code, out = s.check()
        ok(code == 1 and re.search(r'listeners\.ini:6: .*%s' % what, out), 'check names the line and what is wrong with %s: %s' % (os.path.basename(file), out.strip()[:300]))
        s.cleanup()
    s = start(listeners(*tls('must', 'ClientCertificate=Require', ca % path('past.crt'))), begin=False)
    code, out = s.check()
    ok(code == 0 and 'the CA CN=past has expired' in out, 'a CA that has expired is warned of: %s' % out.strip()[:300])
    s.cleanup()


def test_tomcat():
    """http.ClientCertificate: the sockets of tomcat.ini, where they speak HTTPS; and entries given with --set."""
    sets = [('tomcat.ini:SecureServer', 'true'), ('listeners.ini:http.ClientCertificate', 'Require'), ('listeners.ini:http.ClientCA', path('root.crt'))]
    with start('# none\n', sets=sets, bind='own') as s:
        port = s.port('http', 'https')
        same((status(call(s, port, 'good')), call(s, port, 'wrong')), (200, 'TLSV1_ALERT_UNKNOWN_CA'), 'the sockets of tomcat.ini demand one')
        wait_until('that to be on record', lambda: 'ClientCertificate=Require of listener http' in s.command('why', '127.0.0.1')[1] + s.command('why', s.address)[1])
        ok(True, 'and say so')


def main():
    make_all()
    ini = listeners(*tls('ask', 'ClientCertificate=Ask', 'ClientCA=' + path('root.crt')), *tls('must', 'ClientCertificate=Require', 'ClientCA=must.pem'),
                    *tls('free'))
    s = start(ini, POLICY, begin=False)
    shutil.copy(path('root.crt'), os.path.join(s.conf, 'must.pem'))
    s.start()
    with s:
        test_ask(s)
        test_require(s)
        test_size(s)
        test_resumption(s)
        test_reload(s)
        test_crash(s)
    test_flood()
    test_heard()
    more_listeners()
    test_check()
    test_tomcat()


try:
    main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
done()
