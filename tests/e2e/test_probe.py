#!/usr/bin/python3
"""The self-probe: after binding, each socket proves that this process answers on it, with the scheme and certificate planned; and where somebody
else answers, nobody, or another certificate is shown, it says so. In a network namespace of this test's own. Needs root."""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import alone
from tap import done, note, ok, same, skip

alone.root('the self-probe', 'needs root, for a network namespace of its own; run as root')

from portreeve import SLOW, Server, wait_until  # noqa: E402

NS = 'portreeve-p%d' % os.getpid()
ENTER = ['nsenter', '--net=/run/netns/' + NS]
LIBC = ctypes.CDLL(None, use_errno=True)
HOME = os.open('/proc/self/ns/net', os.O_RDONLY)


def ip(*args):
    subprocess.run(ENTER + ['ip'] + list(args), check=True)


def make_namespace():
    subprocess.run(['ip', 'netns', 'add', NS], check=True)
    ip('link', 'set', 'lo', 'up')
    ip('link', 'add', 'p66a', 'type', 'veth', 'peer', 'name', 'p66b')
    for name in ('p66a', 'p66b'):
        ip('link', 'set', name, 'up')
    for a in ('10.66.1.1/24', '10.66.1.2/24'):
        ip('addr', 'add', a, 'dev', 'p66a')
    ip('addr', 'add', 'fd66:1::1/64', 'dev', 'p66a', 'nodad')


def enter(fd):
    if LIBC.setns(fd, 0) != 0:
        raise OSError(ctypes.get_errno(), 'setns')


class inside:
    """Sockets made in here belong to the namespace."""

    def __enter__(self):
        fd = os.open('/run/netns/' + NS, os.O_RDONLY)
        enter(fd)
        os.close(fd)

    def __exit__(self, *_):
        enter(HOME)


def stranger(address, port, reuse=False):
    """A listening socket of somebody else, which accepts nobody by itself."""
    with inside():
        s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((address, port))
    s.listen(16)
    return s


def get(address, port, path):
    with inside():
        return http1.get(address, port, path)


def readyz(s):
    return get('127.0.0.1', s.port('ops'), '/readyz')


def server(listeners='', files=None, shutdown=-1, **more):
    """The tracker on three addresses of the namespace, one of them https, an ops listener, and what is asked for."""
    text = 'ops.Port=free\nops.Address=127.0.0.1\nops.Services=ops\n' + listeners
    more.setdefault('components', 'tracker')
    tomcat = 'ShutdownPort=%d\nPort=8080\nSecurePort=8443\nBindAddress=10.66.1.1, 10.66.1.2, [fd66:1::1]\nSecure-10.66.1.2=default\n' % shutdown
    return Server(netns=NS, ports=False, settings={'Workers': 2}, files=dict({'tomcat.ini': tomcat, 'listeners.ini': text}, **(files or {})), **more)


def find(s, address, port=None):
    for x in s.listeners():
        if x['address'] == address and port in (None, x['port']):
            return x
    raise AssertionError('no socket at %s: %r' % (address, [(x['address'], x['port']) for x in s.listeners()]))


def settled(s):
    """Every socket has had its answer."""
    return wait_until('every socket to be asked', lambda: [x for x in [s.listeners()] if all(y['probe'] != 'probing' for y in x)])[0]


def becomes(s, address, state, pattern='', port=None, seconds=40):
    return wait_until('%s to be %s' % (address, state), lambda: [
        x for x in [find(s, address, port)] if x['probe'] == state and re.search(pattern, x['probe_text'])], seconds)[0]


def problems(s, mark=0):
    return [x for x in s.log_since(mark).splitlines() if 'is not proved' in x]


def proved():
    with server(shutdown=8007) as s:
        rows = settled(s)
        same([(x['probe'], x['probe_text']) for x in rows if x['name'] == 'shutdown'], [('none', 'held by the supervisor itself')], 'the shutdown port is not the engine\'s to prove')
        rows = [x for x in rows if x['name'] != 'shutdown']
        same({x['probe'] for x in rows}, {'proved'}, 'every other socket is proved: %d of them' % len(rows))
        ok(all(x['probe_us'] > 0 and 0 <= time.time() * 1000 - x['probe_at_ms'] < 600000 for x in rows), 'how long it took and when stands with each')
        https = find(s, '10.66.1.2')
        ok(https['port'] == 8443 and re.search(r'https, TLSv1\.3, certificate default$', https['probe_text']), 'https by a handshake: ' + https['probe_text'])
        ok(re.match(r'worker [01], http$', find(s, '10.66.1.1')['probe_text']), 'http by the worker that took the call: ' + find(s, '10.66.1.1')['probe_text'])
        text = s.command('status')[1]
        same(len(re.findall(r'; proved in [0-9.]+ ms \(worker', text)), len(rows), '`portreeve status` shows it for each')
        code, text, err = s.offline('plan')
        same(len(re.findall(r'bound, proved', text)), len(rows), '`portreeve plan` too, where a server runs')
        for name in ('listeners()', 'plan()'):
            mine = s.eval(name, json_out=True)
            mine = mine.get('value', mine) if isinstance(mine, dict) else mine
            same([x['probe'] for x in mine if x['name'] != 'shutdown'], ['proved'] * len(rows), 'and so does the console: ' + name)
        r = readyz(s)
        same((r.status, r.body.strip()), (200, b'ready'), '/readyz says ready')


def unseen():
    """No policy, counter or log hears of a probe: even one that refuses everybody is proved."""
    refuse = 'local verdict = require "portreeve.verdict"\nreturn function() return verdict.refuse("policy", "nobody") end\n'
    with server(policies={'admission.lua': refuse, 'admission_test.lua': 'return { ["nothing"] = function(t) t.ok(true) end }\n'}) as s:
        same({x['probe'] for x in settled(s)}, {'proved'}, 'a policy that refuses everybody is not asked')
        busy = {k: v for k, v in s.status()['counters'].items() if v and k != 'engine_starts'}
        same(busy, {}, 'no counter has moved')
        same(s.eval('#refusals() + #connections()'), '0', 'no refusal, no connection')
        log = os.path.join(s.state, 'log', 'access.log')
        same(os.path.getsize(log) if os.path.exists(log) else 0, 0, 'no line in the access log')
        with inside():
            half = socket.create_connection(('10.66.1.1', 8080), 10)
        same(half.recv(1), b'', 'while everybody else is refused')
        half.close()
        wait_until('that refusal to be counted', lambda: s.counter('refused_policy') == 1)


def certificate(s, name, *names):
    pem = os.path.join(s.conf, name + '.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '60', '-subj', '/CN=' + name, '-addext',
                    'subjectAltName=' + ','.join('DNS:' + n for n in names), '-keyout', pem + '.key', '-out', pem], check=True, stderr=subprocess.DEVNULL)
    os.chmod(pem + '.key', 0o600)


def certificates():
    with server(start=False) as s:
        certificate(s, 'one', 'one.example', '*.one.example')
        s.append('certificates.ini', 'one.Certificate=one.pem\none.Key=one.pem.key\n')
        s.append('tomcat.ini', 'Secure-10.66.1.1=one\n')
        s.start()
        settled(s)
        for address, name in (('10.66.1.1', 'one'), ('10.66.1.2', 'default')):
            x = find(s, address)
            ok(x['probe'] == 'proved' and x['probe_text'].endswith('certificate ' + name), '%s shows the certificate planned for it: %s' % (address, x['probe_text']))
        before = {x['address']: x['probe_at_ms'] for x in s.listeners()}
        certificate(s, 'one', 'one.example')
        code, text = s.reload()
        same(code, 0, 'the certificate is renewed and reloaded')
        wait_until('the renewed one to be proved', lambda: find(s, '10.66.1.1')['probe_at_ms'] > before['10.66.1.1'] and find(s, '10.66.1.1')['probe'] == 'proved')
        same(find(s, '10.66.1.2')['probe_at_ms'], before['10.66.1.2'], 'only the socket whose promise has changed is asked again')
        same(problems(s), [], 'nothing failed meanwhile')


def nft(*lines):
    subprocess.run(ENTER + ['nft', '-f', '-'], input='\n'.join(lines), text=True, check=True)


def filtered(rule, hook='type nat hook output priority -100'):
    nft('table ip probe {', 'chain out {', hook + ';', rule, '}', '}')


def packet_filters():
    if not shutil.which('nft'):
        skip('a packet filter that redirects callers is found out', 'needs nft; install nftables')
        return
    thief = stranger('0.0.0.0', 9999)
    try:
        with server('far.Port=10.66.1.1:8090\nfar.Services=tracker\n') as s:
            same({x['probe'] for x in settled(s)}, {'proved'}, 'all is well without rules')
            for what, rule, hook, pattern in (
                    ('redirected to another process', 'ip daddr 10.66.1.1 tcp dport 8080 redirect to :9999', None, r'^answered by another process: a packet filter redirects'),
                    ('redirected to another socket of ours', 'ip daddr 10.66.1.1 tcp dport 8080 dnat to 10.66.1.1:8090', None, r'^the call arrived at 10\.66\.1\.1:8090 \(listener far\)'),
                    ('redirected to where nobody listens', 'ip daddr 10.66.1.1 tcp dport 8080 redirect to :9', None, r'^refused'),
                    ('dropped', 'ip daddr 10.66.1.1 tcp dport 8080 drop', 'type filter hook input priority 0', r'^no answer within 2 s'),
                    ('rejected', 'ip daddr 10.66.1.1 tcp dport 8080 reject with tcp reset', 'type filter hook input priority 0', r'^refused')):
                mark = s.log_mark()
                filtered(rule, hook or 'type nat hook output priority -100')
                rows = {x['address'] + ' ' + str(x['port']): x for x in s.eval('probe()', json_out=True)}
                got = rows['10.66.1.1 8080']
                ok(got['probe'] == 'failed' and re.search(pattern, got['probe_text']), '%s: %s' % (what, got['probe_text']), got)
                same({v['probe'] for k, v in rows.items() if k != '10.66.1.1 8080'}, {'proved'}, what + ': the others are proved')
                r = readyz(s)
                ok(r.status == 503 and b'1 of ' in r.body and b'10.66.1.1:8080 (listener http): not proved' in r.body, what + ': /readyz says 503 and which', r.body)
                same(get('127.0.0.1', s.port('ops'), '/healthz').status, 200, what + ': /healthz is none of its business')
                x = becomes(s, '10.66.1.1', 'failed', port=8080)
                ok('not proved: ' + x['probe_text'] in s.command('status')[1] and 'not proved: ' + x['probe_text'] in s.offline('plan')[1],
                   what + ': `portreeve status` and `portreeve plan` say so')
                nft('delete table ip probe')
                becomes(s, '10.66.1.1', 'proved', port=8080)  # by itself: asked again after 1, 2, 4 … s
                lines = problems(s, mark)
                same(len(lines), 1, what + ': logged once however often it was asked')
                ok(wait_until('the line', lambda: 'is proved now' in s.log_since(mark)), what + ': and that it is well again')
                wait_until('/readyz to say 200', lambda: readyz(s).status == 200)
            same(s.status()['generation'], 1, 'no failed proof has changed the generation')
    finally:
        thief.close()


def sharers():
    """A process of the same user may join a SO_REUSEPORT group afterwards: it would get a share of the callers."""
    with server() as s:
        same({x['probe'] for x in settled(s)}, {'proved'}, 'all is well at first')
        for address, where in (('10.66.1.1', 'the same address'),):
            thief = stranger(address, 8080, reuse=True)
            try:
                rows = {x['address']: x for x in s.eval('probe()', json_out=True)}
                ok(rows[address]['probe'] == 'failed' and re.search(r'^another process \(of uid 0\) listens there too', rows[address]['probe_text']),
                   'a stranger at %s is found: %s' % (where, rows[address]['probe_text']), rows[address])
                same(readyz(s).status, 503, '/readyz says 503')
            finally:
                thief.close()
            becomes(s, address, 'proved')
            ok(True, 'and that it has gone again')
    with server(files={'tomcat.ini': 'ShutdownPort=-1\nPort=8080\nBindAddress=OnlyIPV4Addresses\n'}) as s:
        settled(s)
        thief = stranger('10.66.1.2', 8080, reuse=True)
        try:
            rows = [x for x in s.eval('probe()', json_out=True) if x['port'] == 8080]
            ok([x['probe'] for x in rows] == ['failed'] and 'another process' in rows[0]['probe_text'], 'a stranger at one address below our wildcard too', rows)
        finally:
            thief.close()
        becomes(s, '0.0.0.0', 'proved', port=8080)


def gone():
    """An address that goes after binding: the next engine finds out."""
    ip('addr', 'add', '10.66.1.9/24', 'dev', 'p66a')
    try:
        with server('nine.Port=10.66.1.9:8099\nnine.Services=tracker\nten.Port=8100\nten.Address=10.66.1.10\nten.WhenMissing=Freebind\nten.Services=tracker\n'
                    'eleven.Port=8101\neleven.Address=10.66.1.11\neleven.WhenMissing=Wait\neleven.Services=tracker\n') as s:
            rows = {x['name']: x for x in settled(s)}
            same(rows['nine']['probe'], 'proved', 'an address that is here')
            ok(rows['ten']['probe'] == 'waiting' and '10.66.1.10 is not on this machine' in rows['ten']['probe_text'], 'one that is not, bound in advance: waiting', rows['ten'])
            same(rows['eleven']['probe'], 'waiting', 'one that is waited for')
            ok(wait_until('the line', lambda: re.search(r'(\d+) of \1 sockets proved within \d+ ms, 2 waiting for their addresses$', s.log(), re.M)),
               'the log counts them apart')
            same(readyz(s).status, 200, 'what waits does not keep /readyz from 200')
            at = {(x['name'], x['address'], x['port']): x['probe_at_ms'] for x in s.listeners()}
            ip('addr', 'del', '10.66.1.9/24', 'dev', 'p66a')
            x = becomes(s, '10.66.1.9', 'failed', 'no longer on this machine')
            ok(True, 'an address that goes is noticed: ' + x['probe_text'])
            same([y['probe_at_ms'] for y in s.listeners() if y['probe'] == 'proved'], [at[(y['name'], y['address'], y['port'])] for y in s.listeners() if y['probe'] == 'proved'],
                 'only its socket is called again')
            s.crash_engine()
            x = becomes(s, '10.66.1.9', 'failed', 'no longer on this machine')
            ok(True, 'after kill -9 the next engine asks again, and finds an address gone: ' + x['probe_text'])
            ok(all(x['probe_at_ms'] > at[(x['name'], x['address'], x['port'])] for x in s.listeners() if x['probe'] == 'proved'), 'and proves the others anew')
            r = readyz(s)
            ok(r.status == 503 and b'10.66.1.9:8099' in r.body, '/readyz names it', r.body)
            ip('addr', 'add', '10.66.1.9/24', 'dev', 'p66a')
            ip('addr', 'add', '10.66.1.10/24', 'dev', 'p66a')
            becomes(s, '10.66.1.9', 'proved')
            becomes(s, '10.66.1.10', 'proved')
            ok(True, 'when the addresses come they are proved')
    finally:
        for a in ('10.66.1.9', '10.66.1.10'):
            subprocess.run(ENTER + ['ip', 'addr', 'del', a + '/24', 'dev', 'p66a'], stderr=subprocess.DEVNULL)


def changes():
    """Reloads ask only what is new; a replaced engine never takes the probe of the next one."""
    with server() as s:
        settled(s)
        before = {(x['address'], x['port']): x['probe_at_ms'] for x in s.listeners()}
        s.append('listeners.ini', 'more.Port=10.66.1.1:8085\nmore.Services=tracker\n')
        code, text = s.reload()
        same(code, 0, 'one more socket by a reload')
        becomes(s, '10.66.1.1', 'proved', port=8085)
        now = {(x['address'], x['port']): x['probe_at_ms'] for x in s.listeners()}
        same({k: now[k] for k in before}, before, 'it is proved, and the others keep their proof')
        for i in range(6):
            old = s.engine_pid()
            os.kill(s.supervisor_pid(), signal.SIGUSR2)
            wait_until('the next engine', lambda: s.status()['engine']['pid'] != old and s.status()['engine']['state'] == 'live')
            rows = settled(s)
            if {x['probe'] for x in rows} != {'proved'}:
                break
        same({x['probe'] for x in rows}, {'proved'}, 'engine replaced six times (SIGUSR2): each proves every socket')
        same(problems(s), [], 'and never finds its predecessor there')
        for i in range(10):
            s.edit('tomcat.ini', lambda t: t.replace('BindAddress=10.66.1.1, 10.66.1.2, [fd66:1::1]', 'BindAddress=OnlyIPV4Addresses') if i % 2 == 0 else
                   t.replace('BindAddress=OnlyIPV4Addresses', 'BindAddress=10.66.1.1, 10.66.1.2, [fd66:1::1]'))
            code, text = s.reload()
            if code:
                break
        same(code, 0, 'wildcard and specific addresses ten times in turn')
        same({x['probe'] for x in settled(s)}, {'proved'}, 'all is proved')
        same(problems(s), [], 'and nothing was found wrong on the way: retired sockets do not take probes')


def no_loopback():
    """Where the loopback is down a wildcard is called at another address, and where there is none it waits."""
    other = NS + 'x'
    subprocess.run(['ip', 'netns', 'add', other], check=True)
    try:
        s = Server(netns=other, ports=False, components='tracker', files={'tomcat.ini': 'ShutdownPort=-1\nPort=8080\n', 'listeners.ini': '# none\n'})
        with s:
            rows = [x for x in settled(s) if x['name'] == 'http']
            same({x['probe'] for x in rows}, {'waiting'}, 'a machine without any address: %s' % ', '.join(sorted(x['probe_text'] for x in rows)))
    finally:
        subprocess.run(['ip', 'netns', 'del', other], check=False)


def many():
    """A thousand addresses with four ports each."""
    n = 1000 if SLOW == 1 else 100
    addresses = ['127.66.%d.%d' % (i // 250, 1 + i % 250) for i in range(n)]
    text = ''.join('m%d.Port=%d\nm%d.Services=tracker\nm%d.Address=%s\n' % (i, 9000 + i, i, i, ','.join(addresses)) for i in range(4))
    with Server(netns=NS, ports=False, components='tracker', settings={'Workers': 1},
                files={'tomcat.ini': 'ShutdownPort=-1\nPort=8080\nBindAddress=127.0.0.1\n', 'listeners.ini': text}) as s:
        rows = wait_until('every socket to be asked', lambda: [x for x in [s.listeners()] if all(y['probe'] != 'probing' for y in x)], 120)[0]
        same((len(rows) >= 4 * n, {x['probe'] for x in rows}), (True, {'proved'}), '%d sockets are proved' % len(rows))
        said = re.search(r'sockets proved within (\d+) ms', s.log())
        note('%d sockets: %s' % (len(rows), said and said.group(0)))
        mark, before = s.log_mark(), {(x['address'], x['port']): x['probe_at_ms'] for x in rows}
        s.append('listeners.ini', 'last.Port=127.66.1.1:9100\nlast.Services=tracker\n')
        same(s.reload()[0], 0, 'one more by a reload')
        becomes(s, '127.66.1.1', 'proved', port=9100)
        rows = s.listeners()
        same({k: v for k, v in ((((x['address'], x['port'])), x['probe_at_ms']) for x in rows) if k in before} == before, True, 'only that one was asked')
        same(problems(s, mark), [], 'no complaint')


def main():
    make_namespace()
    try:
        for part in (proved, unseen, certificates, packet_filters, sharers, gone, changes, no_loopback, many):
            part()
    finally:
        subprocess.run(['ip', 'netns', 'del', NS], check=False)
    done()


main()
