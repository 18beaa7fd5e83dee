#!/usr/bin/python3
"""Admission at its stages on real sockets: what is known when, every verdict, the borders of G24 to G27 with several workers, failing policies."""
import hashlib
import os
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import callers
import http1
from portreeve import Server, wait_until
from tap import done, note, ok, same

NO_TEST = 'return { ["nothing"] = function(t) t.ok(true) end }\n'
HEAD = '''local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict
'''


def policy(body, settings=''):
    return {'admission.lua': '%sreturn rules {\n%s%s}\n' % (HEAD, body, settings), 'admission_test.lua': NO_TEST}


def force(s):
    """A reload that may shut out whoever it likes: these policies do."""
    code, out, err = s.command('reload', '--force', timeout=120)
    return code, out + err


def use(s, body, settings=''):
    for name, text in policy(body, settings).items():
        s.edit('policies/' + name, text)
    code, text = force(s)
    if code:
        raise AssertionError(text)


def seen(s, port=None, source=None, **kw):
    return callers.seen(s.address, port or s.port('http', 'http'), source, **kw)


def tls_seen(s, context=None, **kw):
    return seen(s, s.tls_port(), tls=context or True, **kw)


def because(s, n=1):
    return [x['because'] for x in s.eval('refusals(%d)' % n, json_out=True)]


def last_because(s, what):
    return wait_until('a refusal because of ' + what, lambda: [b for b in because(s, 50) if what in b])[0]


# ---- what is known when ----

def client_hello(context, name):
    """The ClientHello that this context sends, without its record header."""
    rx, tx = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = context.wrap_bio(rx, tx, server_hostname=name)
    try:
        o.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return tx.read()[5:]


def ja4(hello):
    """JA4 of a TLS client over TCP by its description, on its own."""
    def grease(x):
        return x & 0x0f0f == 0x0a0a and x >> 8 == x & 255
    at = 4
    version, = struct.unpack_from('!H', hello, at)
    at += 34
    at += 1 + hello[at]
    n, = struct.unpack_from('!H', hello, at)
    ciphers = [c for c in struct.unpack_from('!%dH' % (n // 2), hello, at + 2) if not grease(c)]
    at += 2 + n
    at += 1 + hello[at]
    end = at + 2 + struct.unpack_from('!H', hello, at)[0]
    at += 2
    kinds, algorithms, alpn, sni = [], [], '00', 'i'
    while at < end:
        kind, n = struct.unpack_from('!HH', hello, at)
        body = hello[at + 4:at + 4 + n]
        at += 4 + n
        if grease(kind):
            continue
        kinds.append(kind)
        if kind == 0:
            sni = 'd'
        elif kind == 13:
            algorithms = struct.unpack_from('!%dH' % ((n - 2) // 2), body, 2)
        elif kind == 16:
            first = body[3:3 + body[2]].decode()
            alpn = first[0] + first[-1]
        elif kind == 43:
            version = max(v for v in struct.unpack_from('!%dH' % (body[0] // 2), body, 1) if not grease(v))
    words = {0x304: '13', 0x303: '12'}
    def digest(text):
        return hashlib.sha256(text.encode()).hexdigest()[:12]
    b = ','.join(sorted('%04x' % c for c in ciphers))
    c = ','.join(sorted('%04x' % k for k in kinds if k not in (0, 16)))
    if algorithms:
        c += '_' + ','.join('%04x' % a for a in algorithms)
    return 't%s%s%02d%02d%s_%s_%s' % (words[version], sni, len(ciphers), len(kinds), alpn, digest(b), digest(c))


def hello_stage(s):
    use(s, '''  rule.at("hello", function(f)
    return verdict.refuse("policy", ("%s|%s|%s"):format(f.sni, f.alpn, f.ja4))
  end),
''')
    for context, name, alpn in ((http1.tls_context(alpn=['http/1.1']), 'Example.ORG', 'http/1.1'),
                                (http1.tls_context(alpn=['h2', 'http/1.1'], most=ssl.TLSVersion.TLSv1_2), 'b.test', 'h2,http/1.1'),
                                (http1.tls_context(), None, 'nil')):
        same(tls_seen(s, context, name=name), 'shut', 'refused at hello: the handshake is not answered (G14)')
        want = '%s|%s|%s' % (name.lower() if name else 'nil', alpn, ja4(client_hello(context, name)))
        same(last_because(s, want.rsplit('|', 1)[1]), want, 'SNI, ALPN and JA4 of %s' % (name or 'a client that names nobody'))
    same(seen(s), 200, 'a plain socket has no such stage')
    with socket.create_connection((s.address, s.tls_port())) as c:
        raw = client_hello(http1.tls_context(), 'split.test')
        record = b'\x16\x03\x01' + struct.pack('!H', len(raw)) + raw
        for i in range(0, len(record), 7):
            c.sendall(record[i:i + 7])
        same(c.recv(100), b'', 'not a byte comes back, not even an alert')
    ok(last_because(s, 'split.test'), 'a ClientHello in many pieces is read whole')


def identity_stage(s):
    use(s, '''  rule.at("identity", function(f)
    if f.certificate or f.certificate_verified then return verdict.refuse("policy", "a certificate") end
    if f.tls == "TLSv1.2" then return verdict.refuse("policy", f.tls .. " " .. f.cipher .. " " .. f.sni) end
  end),
''')
    same(tls_seen(s), 200, 'TLS 1.3 comes in')
    two = http1.tls_context(most=ssl.TLSVersion.TLSv1_2)
    same(tls_seen(s, two, name='old.test'), 'shut', 'TLS 1.2 is refused at identity')
    ok('ECDHE' in last_because(s, 'old.test'), 'version, cipher and the name of the stage before are known')


def request_stage(s):
    use(s, '''  rule.at("request", function(f)
    if f.path == "/no" then return verdict.answer(451, "not <here> & now", "path " .. f.method .. " " .. f.host) end
    if f.path == "/cut" then return verdict.refuse("policy", f:header("X-Why", "user-agent")) end
    if f.path == "/wait" then return verdict.delay(300) end
    if f.query == "tls" then return verdict.answer(400, tostring(f.tls), "asked") end
  end),
''')
    with http1.Conn(s.address, s.port('http', 'http')) as c:
        same(c.call('GET', '/robots.txt').status, 200, 'a request is let in')
        r = c.call('GET', '/no')
        ok(r.status == 451 and b'not &lt;here&gt; &amp; now' in r.body and r.get('Connection') == 'close', 'the next one on the same connection is answered', r)
        ok(c.ends(), 'and the connection closed')
    same(seen(s, path='/cut', headers={'x-why': 'because I say so'}), 'shut', 'or closed without a word')
    same(last_because(s, 'I say so'), 'because I say so', 'header fields are known')
    with http1.Conn(s.address, s.port('http', 'http')) as c:
        t = time.monotonic()
        same(c.call('GET', '/wait').status, 404, 'a delayed request is answered')
        ok(time.monotonic() - t >= 0.3, 'after its delay')
        same(c.call('GET', '/robots.txt').status, 200, 'and the connection goes on')
        c.send(http1.request('GET', '/robots.txt') + http1.request('POST', '/wait', body=b'x' * 3000) + http1.request('GET', '/robots.txt') +
               http1.request('GET', '/no') + http1.request('GET', '/robots.txt'))
        same([c.response().status for _ in range(4)], [200, 404, 200, 451], 'pipelined requests keep their order round a delay, a body and a refusal')
        ok(c.ends(), 'nothing follows the refusal')
    with http1.Conn(s.address, s.port('http', 'http')) as c:
        c.send(b'POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n')
        same(c.response().status, 451, 'a refused request is not asked for its body')
    r = http1.get(s.address, s.tls_port(), '/?tls', tls=True)
    ok(r.status == 400 and b'TLSv1.3' in r.body, 'what TLS told is still known', r)


def too_early(s):
    mark = s.log_mark()
    use(s, '  rule.at("peer", function(f) return f.sni and verdict.allow end),\n')
    same(seen(s), 'shut', 'a rule that asks too early fails closed')
    ok(wait_until('the failure', lambda: [x for x in s.log_since(mark).splitlines() if 'facts.sni is not known at stage peer: it comes at stage hello' in x and 'admission.lua:4' in x]),
       'and the log says what, where and when it would be known')
    use(s, '  rule.at("peer", function(f) return f.snii end),\n')
    seen(s)
    ok(wait_until('the failure', lambda: "facts has no field 'snii'" in s.log_since(mark)), 'a field that does not exist is named')


# ---- verdicts ----

def verdicts(s):
    page = '  rule.clients_only("clients", { answer = "Clients only, please." }),\n'
    use(s, page)
    for tls in (None, True):
        port = s.tls_port() if tls else s.port('http', 'http')
        with http1.Conn(s.address, port, tls=tls, source='127.80.0.1') as c:
            r = c.call('GET', '/robots.txt')
            ok(r.status == 403 and b'Clients only, please.' in r.body and c.ends(), 'clients only: the session starts%s, 403 page, closed (G15)' % (' with TLS' if tls else ''), r)
        same(seen(s, port, source='127.80.1.1', tls=tls), 200, 'a client is served')
    wait_until('no live connection', lambda: sum(x['active'] for x in s.eval('listeners()', json_out=True)) == 0)
    for source, want in (('127.80.1.1', 'reset'), ('127.66.0.1', 'end')):
        use(s, '  rule.refuse_listed "denied",\n  rule.refuse { listed = "clients", reset = true },\n')
        try:  # who says nothing sees the difference
            with http1.Conn(s.address, s.port('http', 'http'), source=source) as c:
                got = 'end' if c.sock.recv(1) == b'' else 'bytes'
        except ConnectionResetError:
            got = 'reset'
        same(got, want, '%s is refused with: %s' % (source, want))
    use(s, '  rule.delay(1000, { listed = "clients" }),\n  rule.tag("slow", { listed = "clients" }),\n')
    t = time.monotonic()
    same(seen(s, source='127.80.1.1'), 200, 'a delayed caller is served')
    ok(time.monotonic() - t >= 1, 'after the delay')
    port = s.port('http', 'http')

    def delayed():  # a busy machine may look too late, so it looks at a new one each time
        with http1.Conn(s.address, port, source='127.80.1.1') as c:
            return [x['state'] for x in s.eval('connections()', json_out=True) if x['remote'] == '127.80.1.1:%d' % c.sock.getsockname()[1]] == ['delayed']
    ok(wait_until('one that waits', delayed), 'connections() shows who is being delayed')
    wait_until('the one that went away while it was delayed to be gone', lambda: not [x for x in s.eval('connections()', json_out=True) if x['remote'].startswith('127.80.')])
    use(s, '''  rule.only("tracker", { except = "clients" }),
  rule.at("hello", function(f) return verdict.tag "front", verdict.only { "hub" } end),
  rule.at("identity", function(f) if not f:tagged "front" then return verdict.refuse "policy" end end),
''')
    same([seen(s, source=a, path='/hub/') for a in ('127.80.0.1', '127.80.1.1')], [404, 303], 'only: the others do not reach the hub')
    same(tls_seen(s, source='127.80.1.1'), 404, 'only of several stages: what all of them leave')
    s.edit('policies/route.lua', lambda text: text.replace('return match.routes', 'local routes = match.routes', 1) +
           '\nreturn function(req)\n  if req:tagged "slow" then return nil, 421 end\n  return routes(req)\nend\n')
    use(s, '  rule.tag("slow", { listed = "clients" }),\n')
    same([seen(s, source=a) for a in ('127.80.0.1', '127.80.1.1')], [200, 421], 'route.lua knows the tags')


def labels(s):
    s.append('listeners.ini', 'one.Port=free\none.Address=%s\none.Services=tracker\none.Label-instance=in\none.Label-team = mail & news\n'
             'one.2.Port=free\none.2.Label-instance=out\n' % s.address)
    use(s, '''  rule.at("peer", function(f) return verdict.answer(403, ("%s %s %s"):format(f.label.instance, f.label.team, f.label.none)) end, { listener = "one" }),
''')
    pages = [http1.get(s.address, x['port'], '/') for x in s.listeners('one')]
    same(sorted(p.body.split(b'<p>')[1].split(b'</p>')[0] for p in pages), [b'in mail &amp; news nil', b'out mail &amp; news nil'],
         'a rule for one listener knows the labels of it and of its rows (Q14)')
    same(seen(s), 200, 'and does not touch another')


# ---- G24 to G27 ----

def crowd(s, port, sources):
    """All at once, each keeps its connection: how many of each source were served. Callers come from threads, so every worker has some."""
    served, conns, lock, gate = {}, [], threading.Lock(), threading.Barrier(len(sources))

    def call(source):
        try:
            c = http1.Conn(s.address, port, source=source, timeout=60)
            gate.wait(60)
            good = c.call('GET', '/robots.txt').status == 200
        except (http1.Closed, ConnectionError):
            good = False
        with lock:
            if good:
                served[source] = served.get(source, 0) + 1
                conns.append(c)
    threads = [threading.Thread(target=call, args=(a,)) for a in sources]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return served, conns


def gone(s, name):
    wait_until('the places to be given back', lambda: all(x['active'] == 0 for x in s.eval('listeners()', json_out=True) if x['name'] == name))


def borders(s):
    port = s.port('border')
    for turn in range(5):
        served, conns = crowd(s, port, ['127.81.0.%d' % (1 + i % 3) for i in range(30)])
        same(served, {'127.81.0.1': 4, '127.81.0.2': 4, '127.81.0.3': 4}, 'G24: 30 at once from three addresses: exactly MaxPerAddress of each')
        same(seen(s, port, '127.81.0.1'), 'shut', 'one more is refused')
        same(seen(s, port, '127.81.0.4'), 200, 'from another address it is not')
        for c in conns:
            c.close()
        gone(s, 'border')
        strangers = ['127.82.%d.%d' % (turn, i) for i in range(1, 41)]
        served, conns = crowd(s, port, strangers)
        same(len(conns), 15, 'G26: 40 strangers at once: all places but the reserve, 20 - 5, and not one more or less')
        more, clients = crowd(s, port, ['127.80.1.%d' % i for i in range(1, 13)])
        same(len(clients), 5, 'G27: 12 clients at once: exactly the reserve, then even clients are refused')
        conns.pop().close()
        wait_until('a place', lambda: seen(s, port, '127.80.1.1') == 200)
        same(seen(s, port, '127.82.9.1'), 'shut', 'which is the reserve: no stranger has it')
        for c in conns + clients:
            c.close()
        gone(s, 'border')


def cluster_and_clients_live(s):
    port = s.port('border')
    served, conns = crowd(s, port, ['127.83.0.1'] * 9)
    same(len(conns), 9, 'G25: a member of the cluster is not limited per address')
    for c in conns:
        c.close()
    gone(s, 'border')
    served, conns = crowd(s, port, ['127.84.0.%d' % i for i in range(1, 16)])
    same(len(conns), 15, 'strangers up to the reserve')
    same(seen(s, port, '127.85.0.1'), 'shut', 'G26: no client yet')
    s.append('lists/clients.list', '127.85.0.0/16\n')
    same(s.reload()[0], 0, 'the client list is changed while they are connected')
    same(seen(s, port, '127.85.0.1'), 200, 'now he is one, and the living connections still count')
    same(conns[0].call('GET', '/robots.txt').status, 200, 'who was there stays')
    for c in conns:
        c.close()
    gone(s, 'border')


def any_end(s):
    """Whatever ends a connection, its place comes back."""
    port = s.port('border')
    tls = s.port('border', 'https') if any(x['scheme'] == 'https' for x in s.listeners('border')) else None
    for i in range(200):
        c = socket.create_connection((s.address, tls if tls and i % 2 else port))
        if i % 5 == 1:
            c.sendall(b'GET / HT')
        elif i % 5 == 2:
            c.sendall(b'nonsense\r\n\r\n')
        elif i % 5 == 3:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        elif i % 5 == 4:
            c.sendall(http1.request('GET', '/robots.txt') * 3)
        c.close()
    gone(s, 'border')
    ok(True, '200 connections that ended in five ways have given their places back')


# ---- failing policies ----

def several(s):
    """What a rule returns is heard to its end."""
    use(s, '''  rule.at("peer", function(f)
    if f.address == "127.82.0.1" then return verdict.tag "a", verdict.tag "b", verdict.delay(1), verdict.only "tracker", verdict.refuse("policy", "fifth") end
    if f.address == "127.82.0.2" then return f.via and verdict.tag "a" or nil, verdict.refuse("policy", "second") end
    if f.address == "127.82.0.3" then return verdict.delay(0), nil, "yes" end
    if f.address == "127.82.0.4" then local t = {} for i = 1, 17 do t[i] = verdict.delay(0) end return table.unpack(t) end
  end),
''')
    same([seen(s, source='127.82.0.%d' % i) for i in (1, 2, 3, 4, 5)], ['shut'] * 4 + [200], 'a verdict behind four others, or behind nil, counts; nonsense fails there too')
    got = [x.get('because', '') for x in s.eval('decisions{refused=true, last=9}', json_out=True)]
    ok(all([x for x in got if want in x] for want in ('fifth', 'second', 'a string is no verdict', '17 verdicts')), 'and each says why', got)


def failing(s):
    before, mark = s.counter('policy_errors'), s.log_mark()
    use(s, '  rule.at("peer", function(f) return f.address .. nil end, { listener = "http" }),\n', '  suspend_after = 5,\n')
    same([seen(s, source='127.81.0.9') for _ in range(4)], ['shut'] * 4, 'a policy that fails refuses')
    same(s.counter('policy_errors') - before, 4, 'each failure is counted')
    ok('admission.lua:4' in s.log_since(mark), 'with its line')
    rows = s.eval('rules()', json_out=True)
    ok(rows[0]['runs_in'] == 'Lua' and rows[0]['failed'] == 4 and rows[0]['policy'].endswith('admission.lua:4'), 'rules() shows the failures', rows)
    same([seen(s, source=a) for a in ('127.81.0.9', '127.81.0.9', '127.66.0.1')], ['shut', 200, 'shut'],
         'the fifth within a minute suspends the Lua rules; the built-in ones, the denied list first, go on')
    ok('SUSPENDED' in s.log_since(mark) and 'SUSPENDED' in s.command('status')[1] and s.eval('status().policy.suspended') == 'true', 'log, status and console say so')
    ok('suspended' in s.eval('rules()', json_out=True)[0]['runs_in'], 'and rules()')
    same(s.counter('policy_errors') - before, 5, 'it is not asked any more')
    use(s, '  rule.at("peer", function(f) while true do end end),\n')
    ok('SUSPENDED' not in s.command('status')[1], 'a reload begins anew')
    mark = s.log_mark()
    same(seen(s), 'shut', 'an endless loop is ended and refused')
    ok(wait_until('the log', lambda: 'budget' in s.log_since(mark)), 'because of its budget')
    use(s, '  rule.at("peer", function(f) local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(100000) end end),\n')
    same(seen(s), 'shut', 'so is one that eats memory')
    use(s, '  rule.at("peer", function(f) return "yes" end),\n')
    same(seen(s), 'shut', 'a verdict that is none fails closed')
    same(seen(s, source='127.66.0.1'), 'shut', 'for everybody')


def last_good(s):
    """Who was let in or refused by the rule keeps that; who is new is refused."""
    body = '''  rule.at("peer", function(f)
    if not f.address:find "^127%.86%." then return nil end
    if again(f.address) or f.address == "127.86.0.4" then error("out of order") end
    if f.address == "127.86.0.2" then return verdict.refuse("policy", "not you") end
  end),
'''
    # It breaks by itself, when somebody comes for the second time.
    head = 'local there = {}\nlocal function again(who) local old = there[who] there[who] = true return old end\n'
    for name, text in policy(body, '  on_error = "last",\n').items():
        s.edit('policies/' + name, text.replace('return rules', head + 'return rules') if name == 'admission.lua' else text)
    same(force(s)[0], 0, 'a policy with on_error = "last"')
    port = s.port('http', 'http')
    got = [seen(s, port, a) for a in ('127.86.0.1', '127.86.0.2', '127.86.0.3')]
    same(got, [200, 'shut', 200], 'three verdicts')
    got = [seen(s, port, a) for a in ('127.86.0.1', '127.86.0.2', '127.86.0.3', '127.86.0.4')]
    same(got, [200, 'shut', 200, 'shut'], 'then it fails: the last good verdict about each, and closed for him whom it has not seen')
    same(s.counter('policy_errors') > 0, True, 'the failures are counted')
    body = '''  rule.at("peer", function(f)
    if again(f.address) then error("out of order") end
    if f.address == "127.86.1.1" then return verdict.only "tracker" end
    if f.address == "127.86.1.2" then return verdict.tag "guest" end
    if f.address == "127.86.1.3" then return verdict.allow end
    if f.address == "127.86.1.4" then return verdict.delay(1000) end
  end),
  rule.at("peer", function(f) if f.address == "127.86.1.3" then return verdict.refuse "policy" end end),
  rule.at("request", function(f) if f:tagged "guest" then return verdict.answer(451, "a guest") end end),
'''
    for name, text in policy(body, '  on_error = "last",\n').items():
        s.edit('policies/' + name, text.replace('return rules', head + 'return rules') if name == 'admission.lua' else text)
    same(force(s)[0], 0, 'a policy whose verdicts say more than yes and no')
    for when in ('in order', 'out of order'):
        got = [seen(s, port, '127.86.1.%d' % i, path='/hub/') for i in (1, 2, 3)]
        same(got, [404, 451, 303], '%s: only, tag and allow' % when)
        t = time.monotonic()
        same(seen(s, port, '127.86.1.4'), 200, '%s: a delay' % when)
        ok(time.monotonic() - t >= 1, 'has been waited for')


def bad_policies(s):
    for text, want in (('  rule.refuse_listed "nowhere",\n', "no address list 'nowhere'"), ('  rule.per_adress(),\n', 'per_adress'),
                       ('  rule.refuse_listed("denied", { excpet = "clients" }),\n', 'did you mean except?'), ('  rule.per_address(0),\n', 'per_address'),
                       ('  rule.at("handshake", function() end),\n', 'stage is peer, hello'), ('  "denied",\n', 'entry 1 is no rule'),
                       ('  rule.baned(),\n', 'there is no rule.baned, did you mean rule.banned?'), ('  rule.maximum,\n', 'missing: rule.maximum()'),
                       ('  on_errors = "last",\n', "no setting 'on_errors'")):
        for name, t in policy(text).items():
            s.edit('policies/' + name, t)
        code, said = s.reload()
        ok(code == 1 and want in said and 'admission.lua:' in said, 'refused at reload: ' + text.strip(), said)
    for value in ('return 1\n', 'return { }\n', 'return { rules = {} }\n'):
        s.edit('policies/admission.lua', value)
        code, said = s.reload()
        ok(code == 1 and 'must return rules' in said, 'a file that returns no rules is refused: ' + value.strip(), said)
    s.edit('policies/admission.lua', 'return function(f) if f.address == "127.86.0.1" then return "allow" end end\n')
    same(force(s)[0], 0, 'a plain function is one rule at peer')
    same([seen(s, source='127.86.0.1'), seen(s, source='127.86.0.9')], [200, 'shut'], 'which must say something')


def main():
    s = Server(components='tracker,hub,ui', bind='own', start=False, settings={'Workers': 4})
    s.append('listeners.ini', 'border.Port=free\nborder.Address=%s\nborder.Services=tracker\nborder.MaxConnections=20\nborder.MaxPerAddress=4\nborder.Reserve=5\n' % s.address)
    s.edit('lists/denied.list', '127.66.0.0/24\n')
    s.edit('lists/clients.list', '127.80.1.0/24\n')
    s.edit('lists/cluster.list', '127.83.0.1\n')
    s.edit('lists/admin.list', '127.0.0.0/8\n')
    s.start()
    shipped = {n: s.read('policies/' + n) for n in ('admission.lua', 'admission_test.lua', 'route.lua')}

    def as_shipped():
        for n, text in shipped.items():
            s.edit('policies/' + n, text)
        same(s.reload()[0], 0, 'the shipped policy')
    with s:
        borders(s)
        cluster_and_clients_live(s)
        any_end(s)
        rows = s.eval('rules()', json_out=True)
        ok(all(r['runs_in'] == 'C' for r in rows) and rows[0]['asked'] > 100, 'the shipped policy never enters Lua', rows)
        for part in (hello_stage, identity_stage, request_stage, too_early, verdicts):
            note(part.__name__)
            part(s)
        s.edit('policies/route.lua', shipped['route.lua'])
        for part in (labels, several, failing, bad_policies):
            note(part.__name__)
            part(s)
        as_shipped()
    with Server(components='tracker,hub', bind='own', settings={'Workers': 1}) as s:
        last_good(s)


main()
done()
