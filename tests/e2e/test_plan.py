#!/usr/bin/python3
"""The plan explains itself: state of each socket, what a reload would change and whether that comes true, the rules of a packet filter in
front, and which entry binds an address. In a network namespace of this test's own, with a second one as the outside world. Needs root."""
import contextlib
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import alone
from tap import done, ok, same, skip

alone.root('the plan against a running server')

import http1  # noqa: E402
import socket  # noqa: E402
from portreeve import Server, command, wait_until  # noqa: E402

HERE, THERE = 'prplan-%d' % os.getpid(), 'prplan-%do' % os.getpid()
A = ['192.0.2.%d' % i for i in range(10, 16)]  # of the server; .20 is the outside world
OUTSIDE = '192.0.2.20'
libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(ns):
    """Sockets made in this block belong to that namespace."""
    home, there = os.open('/proc/thread-self/ns/net', os.O_RDONLY), os.open('/run/netns/' + ns, os.O_RDONLY)
    try:
        if libc.setns(there, 0):
            raise OSError(ctypes.get_errno(), 'setns')
        yield
    finally:
        libc.setns(home, 0)
        os.close(home)
        os.close(there)


def ip(*args, ns=None):
    subprocess.run((['nsenter', '--net=/run/netns/' + ns] if ns else []) + ['ip'] + list(args), check=True)


def make_world():
    for ns in (HERE, THERE):
        ip('netns', 'add', ns)
        ip('link', 'set', 'lo', 'up', ns=ns)
    ip('link', 'add', 'in0', 'type', 'veth', 'peer', 'name', 'out0', 'netns', THERE, ns=HERE)
    ip('link', 'set', 'in0', 'up', ns=HERE)
    ip('link', 'set', 'out0', 'up', ns=THERE)
    for a in A[:5]:
        ip('addr', 'add', a + '/24', 'dev', 'in0', ns=HERE)
    ip('addr', 'add', 'fd66::1/64', 'dev', 'in0', 'nodad', ns=HERE)
    ip('addr', 'add', OUTSIDE + '/24', 'dev', 'out0', ns=THERE)
    ip('addr', 'add', 'fd66::2/64', 'dev', 'out0', 'nodad', ns=THERE)


def connect(address, port, ns=THERE):
    with inside(ns):
        return http1.Conn(address, port)


def ask_robots(c):
    c.send(http1.request('GET', '/robots.txt'))
    return c.response().status


def answers(address, port, ns=THERE):
    """Does a caller get an answer there? False: refused."""
    try:
        with contextlib.closing(connect(address, port, ns)) as c:
            return ask_robots(c) == 200
    except ConnectionRefusedError:
        return False


def setup(text, **more):
    s = Server(netns=HERE, ports=False, start=False, **more)
    s.base = s.read('tomcat.ini').replace('Port=8080', 'Port=80')
    s.edit('listeners.ini', 'ops.Port=9180\nops.Address=127.0.0.1\nops.Services=ops\n')
    write(s, text)
    return s


def write(s, text):
    s.edit('tomcat.ini', s.base + '\n' + text + '\n')


def diff(s, *args):
    code, out, err = s.command('plan', '--diff', *args)
    if code != 0:
        raise AssertionError('plan --diff: exit %s: %s%s' % (code, out, err))
    return json.loads(out) if '--json' in args else out


def connected(s, n):
    """Wait until the engine counts so many: who has hung up is counted until it has heard of that."""
    wait_until('%d connections' % n, lambda: sum(x['listener'] == 'http' for x in s.eval('connections()', json_out=True)) == n)


def has(text, *lines):
    for line in lines:
        ok(line in text, line, text)


def states(s):
    code, out, _ = s.offline('plan', '--json')
    plan = json.loads(out)
    fields = {'name', 'address', 'when_missing', 'waiting', 'state', 'port', 'scheme', 'external_tls', 'proxy', 'proxy_inside',
              'proxy_from', 'certificate', 'services', 'restriction', 'list',
              'max_connections', 'max_per_address', 'reserve', 'rates', 'prefix', 'give_way', 'backlog', 'backend', 'backends', 'proxy_out',
              'because'}
    ok(code == 0 and plan and all(set(x) >= fields for x in plan),
       'every socket carries address, port, scheme, certificate, services and because')
    ok(all(x['because']['entry'] and x['because']['policy'] for x in plan), 'entry and line of the policy are always there')
    same({x['state'] for x in plan}, {'planned'}, 'where no server runs they are planned')
    code, out, err = s.command('plan', '--diff')
    ok(code == 1 and not out and s.state in err and 'nothing to compare with' in err, '--diff without a server: exit status 1 and why', err)


def bound_states(s):
    def proved():
        plan = json.loads(s.offline('plan', '--json')[1])
        return all(x['state'] == ('bound' if x['name'] == 'shutdown' else 'bound, proved') for x in plan)
    ok(wait_until('every socket to be proved', proved), 'with a server each says that it is bound, and proved')
    out = s.offline('plan')[1]
    ok('STATE' in out and 'bound, proved' in out, 'the table too', out)
    same(json.loads(s.offline('plan', '--json')[1])[0]['port'], 80, 'ports are the real ones')
    has(diff(s), 'nothing changes: generation 1 (pid %d) has these' % s.supervisor_pid())
    same(diff(s, '--json')['same'], True, 'as JSON: same')


def one_line(s):
    """The change that everybody makes, told before it is made, and then seen."""
    gone, kept, busy = connect(A[1], 80), connect(A[0], 80), connect(A[1], 80)
    for c in (gone, kept):
        same(ask_robots(c), 200, 'a caller is connected')
    busy.send(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n')
    write(s, 'BindAddress=%s, %s:8081, %s' % (A[0], A[2], A[3]))
    connected(s, 3)
    text = diff(s)
    has(text, 'compared with generation 1', '1 socket opens, 1 closes, 8 stay as they are',
        '%s:80 closes: its 2 connections finish their requests, new callers are refused\n' % A[1],
        '%s:80 opens: http for tracker,ui,hub; because %s:' % (A[3],
                                                               s.path('tomcat.ini')), 'BindAddress, row R7\n', 'stays open: nobody notices',
        'files that differ: tomcat.ini (changed)')
    code, out = s.check()
    ok(code == 0 and '%s:80 closes: its 2 connections finish' % A[1] in out and out.count('compared with') == 1,
       'check says it in a paragraph', out)
    told = diff(s, '--json')
    same(told['counts'], {'kept': 8, 'changed': 0, 'opened': 1, 'closed': 1, 'waits': 0, 'unwaits': 0}, 'and --json in numbers')
    row = [x for x in told['changes'] if x['change'] == 'closed'][0]
    ok(row['at'] == A[1] + ':80' and row['connections'] == 2 and row['after'] is None and row['before']['because']['row'] == 'R7',
       'with socket and because')
    same(s.reload()[0], 0, 'it is done')
    same(ask_robots(kept), 200, 'who was on a socket that stays notices nothing')
    busy.send(b'\r\n')
    same(busy.response().status, 200, 'a running request on the closed one is finished')
    ok(not answers(A[1], 80), 'new callers are refused there')
    ok(answers(A[3], 80) and answers(A[2], 8081), 'and served where a socket opened')  # Q10 Q11: the address chosen, and no other
    for c in (gone, kept, busy):
        c.close()


def swaps(s):
    """A wildcard for addresses and back: what is said of each reachable address is what is found there afterwards."""
    for name, text in (('to the wildcard', ''), ('to single addresses', 'BindAddress=%s, %s, %s:8081' % (A[0], A[4], A[2]))):
        write(s, text)
        told = diff(s, '--json')
        swap = [x for x in told['swaps'] if x['family'] == 4][0]
        ok(swap['to_wildcard'] == (not text) and swap['port'] == 80, name)
        want = {x['at']: (x['before'], x['after']) for x in swap['reachable']}
        same(set(want), {a + ':80' for a in A[:5] + ['127.0.0.1']}, 'every address of this machine is spoken of')
        before = {a: answers(a, 80, HERE) for a in A[:5] + ['127.0.0.1']}
        same(s.reload()[0], 0, 'reloaded')
        same({a + ':80': (before[a], answers(a, 80, HERE)) for a in before}, want, 'and is served before and after as it was said')
        has(told['text'], 'an address that this machine gets later ' + ('is no longer served by itself' if text else 'is served too'),
            'is served on without a gap')
    write(s, '')
    same(s.reload()[0], 0, 'all addresses again')
    ip('addr', 'add', A[5] + '/24', 'dev', 'in0', ns=HERE)
    ok(answers(A[5], 80), 'Q12: all addresses, one that was added later too')  # as the text said
    ip('addr', 'del', A[5] + '/24', 'dev', 'in0', ns=HERE)


def changed(s):
    """A socket that stays, served differently: what open connections meet is what was said."""
    c = connect(A[0], 80)
    same(ask_robots(c), 200, 'a caller is connected')
    write(s, 'SecureServer=true\nSecurePort=80')
    connected(s, 1)
    has(diff(s), '0.0.0.0:80',
        'stays open, but it speaks HTTPS instead of HTTP from now on with certificate default: new callers must too, its one connection '
        'goes on as it is until it ends')
    same(s.reload()[0], 0, 'plain becomes HTTPS on one port')
    same(ask_robots(c), 200, 'the open connection goes on as it is')
    with inside(THERE):
        t = http1.Conn(A[0], 80, tls=http1.tls_context())
    same(ask_robots(t), 200, 'a new one speaks TLS')
    t.close()
    c.close()
    write(s, '')
    same(s.reload()[0], 0, 'and back')
    c = connect(A[0], 80)
    same(ask_robots(c), 200, 'a caller is connected')
    s.append('listeners.ini', 'http.Restriction=Grant\nhttp.List=lan\nhttp.Backlog=64\nhttp.MaxConnections=50')
    s.edit('lists/lan.list', '127.0.0.0/8\n::1\n')
    has(diff(s), 'only list lan may call (before: everybody may call): open connections stay',
        'connections at once: no limit before, 50 now',
        '64 callers may wait to be accepted instead of 511', 'lists/lan.list (new)')
    same(s.reload()[0], 0, 'restricted')
    same(ask_robots(c), 200, 'the open connection stays')
    try:
        with contextlib.closing(connect(A[0], 80)) as n:
            refused = ask_robots(n)
    except (http1.Closed, ConnectionError):
        refused = 'refused'
    same(refused, 'refused', 'a new caller is judged by the list')
    c.close()
    s.edit('lists/lan.list', '127.0.0.0/8\n192.0.2.0/24\n')
    has(diff(s), 'list lan has other lines: new callers are judged by them', 'lists/lan.list (changed)')
    s.edit('portreeve.ini', lambda t: t + '\nIdleTimeout=9000\nComponents=tracker,ui\n')
    has(diff(s), 'IdleTimeout (between requests of a kept connection): 75000 before, 9000 now',
        'Components: tracker,ui,hub before, tracker,ui now',
        'it no longer carries hub: such requests get 404, on open connections too', 'no socket carries hub any more')
    same(s.reload()[0], 0, 'all of it at once')
    same(json.loads(s.command('plan', '--diff', '--json')[1])['same'], True, 'and then nothing differs')


def secrets(s):
    """The supervisor tells its plan without passwords."""
    with inside(HERE):
        c = socket.socket(socket.AF_UNIX)
        c.connect(os.path.join(s.state, 'run', 'control.sock'))
    c.sendall(b'plan\n')
    got = b''
    while True:
        part = c.recv(65536)
        if not part:
            break
        got += part
    c.close()
    ok(got.startswith(b'ok\npid ') and b'[socket]' in got and b'[certificate]' in got, 'the control socket tells the plan')
    ok(b'Sesame' not in got, 'without the password of a certificate')


def with_password():
    s = setup('SecureServer=true')
    pem, key = os.path.join(s.dir, 'c.pem'), os.path.join(s.dir, 'c.key')

    def make(name):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-keyout', key, '-out', pem, '-days', '3', '-subj',
                       '/CN=' + name, '-passout',
                        'pass:Sesame'], check=True, stderr=subprocess.DEVNULL)
    make('one.example')
    s.append('certificates.ini', 'default.Certificate=%s\ndefault.Key=%s\ndefault.Password=Sesame' % (pem, key))
    os.chmod(s.path('certificates.ini'), 0o600)
    with s.start():
        secrets(s)
        has(diff(s), 'nothing changes')
        make('two.example')
        has(diff(s),
            '0.0.0.0:443 and [::]:443 stays open, but new callers get the new certificate default, open connections notice nothing')


def elsewhere():
    """--diff reads what the server was started with, from wherever it is asked."""
    s = setup('')
    s.sets.append(('tomcat.ini:Port', '0'))
    with s.start():
        has(diff(s), 'nothing changes')
        port = s.port('http')
        told = diff(s, '--json')
        same([x['after']['port'] for x in told['changes'] if x['after'] and x['after']['name'] == 'http'], [port, port],
             'a port that the kernel chose is kept')
        code, out, err = s.command('plan', '--diff', '--set', 'tomcat.ini:Port=%d' % port, '--conf', s.conf, '--policies', s.policies)
        ok(code == 0 and '9 stay' not in err and 'no socket changes' in out or 'nothing changes' in out,
           'naming that port is no change of sockets', out + err)
        for args in (['--diff', '--firewall'], ['--nft'], ['--diff', '--nft'], ['--firewall', '--nft', '--json']):
            code, out, err = s.command('plan', *args)
            ok(code == 2 and not out and 'portreeve plan' in err, 'plan %s: wrong usage' % ' '.join(args), err)


# ---- the packet filter ----

RULES = '''table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        iif lo accept
        meta l4proto { icmp, ipv6-icmp } accept
        jump portreeve
        meta l4proto tcp reject with tcp reset
    }
}
'''


def nft(text, *args):
    return subprocess.run(['nsenter', '--net=/run/netns/' + HERE, 'nft', *args, '-f', '-'], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


def firewall():
    """E7 E11 M42 M43: what must be let in, as text and as rules that a real packet filter takes and obeys."""
    s = setup('BindAddress=%s, %s:8081, [fd66::1], 127.0.0.1:8090' % (A[0], A[1]))
    s.append('listeners.ini',
             'staff.Port=8088\nstaff.Services=hub,ui\nstaff.Address=%s\nlan.Port=8089\nlan.Services=ui\n'
             'lan.Restriction=Grant\nlan.List=lan' % A[0])
    s.edit('lists/lan.list', '192.0.2.16/28\n!192.0.2.30\nfd66::2\n127.0.0.0/8\n')
    s.edit('lists/components.list', '127.0.0.1\n::1\n198.51.100.7-198.51.100.9\n')
    with s.start():
        code, text, _ = s.offline('plan', '--firewall')
        same(code, 0, 'plan --firewall')
        everybody = text.split('The users of')[0]
        has(everybody, 'Everybody outside must reach, or opens, clicks and unsubscribes are lost and tracking does not work at all:',
            'tcp %s:80  http: tracker,ui,hub; ' % A[0], 'tcp %s:8081 ' % A[1], 'tcp [fd66::1]:80 ')
        same(re.findall(r':(8088|8090|1099)\b', everybody), [], 'M43: and nothing else')
        has(text, 'The users of hub and ui must reach:\n  tcp %s:8088  staff: ui,hub' % A[0],
            '127.0.0.1:8090  http: loopback: only programs of this machine',
            'from list lan: 192.0.2.16-192.0.2.29, 192.0.2.31, fd66::2', 'from list components: 198.51.100.7-198.51.100.9',
            'Pages of hub and ui are answered only to list admin (loopback addresses only)',  # M42
            'a rule must send PUBLIC-ADDRESS:80 to %s:80; without it the request is refused' % A[0],  # E7
            'then name the public address and port, tomcat.ini and listeners.ini the private one',
            'Outbound connections are mostly open')  # E11
        told = json.loads(s.offline('plan', '--firewall', '--json')[1])
        same({(x['address'], x['port'], x['who']) for x in told['rules']},
             {(A[0], 80, 'everybody'), (A[1], 8081, 'everybody'), ('fd66::1', 80, 'everybody'), (A[0], 8088, 'users')} |
             {('0.0.0.0', p, 'listed') for p in (1099, 7000, 8089)} | {('::', 8089, 'listed')}, '--json: each socket once, with who must reach it')
        same({(x['address'], x['port']) for x in told['none']}, {('127.0.0.1', 8090), ('127.0.0.1', 9180), ('::', 1099), ('::', 7000)} |
             own_loopback(s), 'and those that need none')
        has(text, '[::]:1099  internal: its list holds no IPv6 address')
        code, rules, _ = s.offline('plan', '--firewall', '--nft')
        same(code, 0, 'plan --firewall --nft')
        if not shutil.which('nft'):
            skip('the rules under a real packet filter', 'needs the package nftables')
            return
        p = nft(rules, '-c')
        ok(p.returncode == 0, 'nft -c takes the rules', rules + p.stdout)
        for text in (rules, RULES, rules):
            p = nft(text)
            ok(p.returncode == 0, 'they load, and once more', p.stdout)
        reached = {x for x in [(A[0], 80), (A[1], 8081), ('fd66::1', 80), (A[0], 8088), (A[0], 8089), (A[0], 1099), (A[0], 7000), (A[1],
                   80)]
                   if opens(*x)}
        same(reached, {(A[0], 80), (A[1], 8081), ('fd66::1', 80), (A[0], 8088), (A[0], 8089)},
             'from outside exactly those are reached that must be')
        ip('addr', 'add', '192.0.2.30/24', 'dev', 'out0', ns=THERE)
        ok(opens(A[0], 8089, '192.0.2.20') and not opens(A[0], 8089, '192.0.2.30'), 'a list lets its addresses in and no other')


def own_loopback(s):
    """Loopback sockets that are there in every configuration (the shutdown port)."""
    return {(x['address'], x['port']) for x in json.loads(s.offline('plan', '--json')[1]) if x['name'] == 'shutdown'}


def opens(address, port, source=None):
    with inside(THERE):
        try:
            socket.create_connection((address, port), timeout=30, source_address=(source, 0) if source else None).close()
            return True
        except ConnectionRefusedError:
            return False


# ---- explain ----

def explain():
    s = setup('BindAddress=%s, %s, %s:8081\nSecure-%s=\nSecure-%s=' % (A[0], A[1], A[2], A[1], A[3]))
    s.append('listeners.ini', 'lan.Port=8089\nlan.Services=ui\nlan.Restriction=Grant\nlan.List=lan\nhub.Port=8095\nhub.Services=hub\n')
    s.edit('lists/lan.list', '192.0.2.16/28\n')
    s.edit('portreeve.ini', lambda t: t + '\nComponents=tracker,ui\n')
    line = {k: 1 + s.read('tomcat.ini').split('\n').index(k + '=' + v) for k, v in (
        ('BindAddress', '%s, %s, %s:8081' % (A[0], A[1], A[2])), ('Secure-' + A[1], ''), ('Secure-' + A[3], ''))}
    ini = s.path('tomcat.ini')

    def ask(target, code, *lines):
        got, out, err = s.offline('explain', target)
        ok(got == code and all(x in out + err for x in lines), 'explain %s: %s' % (target, lines[0]), '%s\n%s%s' % (got, out, err))
        return out

    ask(A[0] + ':80', 0, 'is bound by listener http: http for tracker,ui', '%s:80, of this address alone' % A[0],
        '%s:%d BindAddress; row R8' % (ini, line['BindAddress']),
        'policies/bind.lua:', 'everybody may call')
    ask(A[1] + ':443', 0, 'https with certificate default', 'HTTPS: %s:%d Secure-%s' % (ini, line['Secure-' + A[1]], A[1]))
    ask('%s:8089' % A[4], 0, 'only addresses of list lan may call', '0.0.0.0:8089, every IPv4 address of this machine', 'lan.Port')
    ask('[::1]:8089', 0, '[::]:8089, every IPv6 address of this machine')
    out = ask(A[2], 0, '%s:8081 is bound' % A[2])
    same([x.split(' ')[0] for x in out.splitlines() if ' is bound by ' in x], ['%s:%d' % (A[2], p) for p in (1099, 7000, 8081, 8089)],
         'an address alone: all its ports')
    ask(':8089', 0, '0.0.0.0:8089 is bound', '[::]:8089 is bound')
    ask(A[2] + ':80', 1, 'nothing binds %s:80' % A[2], '%s is bound on port 8081' % A[2],
        'port 80 is bound on other addresses: %s:80' % A[0], 'governed by row R8')
    ask(A[1] + ':80', 1, 'this address speaks HTTPS instead, on port 443 (built-in default SecurePort), because of %s:%d Secure-%s' % (ini,
        line['Secure-' + A[1]], A[1]))
    ask(A[3] + ':443', 1, 'BindAddress (%s:%d) does not list %s' % (ini, line['BindAddress'], A[3]),
        '%s:%d Secure-%s names %s, but is ignored' % (ini, line['Secure-' + A[3]], A[3], A[3]))
    ask('192.0.3.10:80', 1, '192.0.3.10 is not an address of this machine', 'did you mean %s?' % A[0])  # Q19
    ask(':8095', 1, 'listener hub (', 'none of its services is installed here')
    for bad in ('nonsense', '1.2.3.4:0', ':70000', '[::1', '1.2.3.4:80:90'):
        ask(bad, 2, 'portreeve explain: ')
    same(command('explain')[0], 2, 'without a target: wrong usage')
    with s.start():
        got = json.loads(s.offline('explain', '--json', A[1] + ':443')[1])
        ok(got['bound'] and got['running'] and got['sockets'][0]['because']['row'] == 'R8',
           '--json names the socket, and that the server has it', got)
        write(s, 'BindAddress=' + A[3])
        ask(A[3] + ':80', 0, 'does not have it: `portreeve reload`')
        got = json.loads(s.offline('explain', '--json', A[3] + ':80')[1])
        ok(got['bound'] and not got['running'], 'a socket that is only planned', got)
        s.append('listeners.ini', 'http.WhenMissing=Wait')
        write(s, 'BindAddress=%s, 192.0.2.77' % A[3])
        out = ask('192.0.2.77:80', 1, 'in the plan, to be opened as soon as the address can be used: 192.0.2.77:80 (listener http; because: %s:%d '
                  'BindAddress)' % (ini, 1 + s.read('tomcat.ini').split('\n').index('BindAddress=%s, 192.0.2.77' % A[3])),
                  '192.0.2.77 is not on this machine now')
        ok('did you mean' not in out, 'an address that is waited for is no slip', out)
        has(diff(s), '192.0.2.77:80 waits until its address is on this machine, and opens then: http')


def conflicts():
    """G4 Q2 Q6: found on paper, both entries named."""
    s = setup('BindAddress=%s, %s' % (A[0], A[1]))
    base = s.read('listeners.ini')
    for name, text, words in (
            ('the same address and port', 'b.Port=80\nb.Address=%s\nb.Services=ui' % A[1], ['b.Port', 'listener b on %s:80' % A[1],
             'listener http on %s:80' % A[1], 'BindAddress']),
            ('all addresses over one', 'b.Port=80\nb.Services=ui', ['b.Port', 'listener b on 0.0.0.0:80', 'listener http on %s:80' % A[0],
             'BindAddress']),
            ('one below all', 'b.Port=1099\nb.Address=%s\nb.Services=ui' % A[1], ['b.Port', 'listener b on %s:1099' % A[1],
             'listener internal on 0.0.0.0:1099'])):
        s.edit('listeners.ini', base + text + '\n')
        code, out = s.check()
        ok(code == 1 and all(w in out for w in words), 'conflict, %s: both entries are named' % name, out)
    s.edit('listeners.ini', base + 'b.Port=80\nb.Address=%s\nb.Services=ui\nc.Port=7000\nc.Services=ui\n' % A[1])
    out = s.check()[1]
    ok('b.Port' in out and 'c.Port' in out and 'refused: 3 errors' in out, 'several conflicts are told in one run', out)
    s.edit('listeners.ini', base + 'b.Port=80\nb.Address=[::1]\nb.Services=ui\n')
    same(s.check()[0], 0, 'Q6: IPv4 and IPv6 on one port are no conflict')
    s.edit('listeners.ini', base + 'b.Port=80\nb.Address=127.0.0.1\nb.Services=tracker\n')
    with s.start():  # Q5 Q9 G3: one port, several instances, each its own address and rules
        ok(answers('127.0.0.1', 80, HERE) and answers(A[0], 80), 'Q5: instances of one port each serve on their own address')
        with inside(HERE):
            got = [http1.get(a, 80, '/hub/').status for a in ('127.0.0.1', A[0])]
        ok(got[0] == 404 and got[1] != 404, 'with settings of its own: the hub is on one of them only', got)
        with inside(THERE):
            try:
                socket.create_connection(('127.0.0.1', 80), timeout=30).close()
                reached = True
            except ConnectionRefusedError:
                reached = False
        ok(not reached, 'Q9: the loopback one only for programs of this machine')
        out = s.command('status')[1]
        ok('b: accepting connections on 127.0.0.1:80' in out and 'http: accepting connections on %s:80' % A[0] in out,
           'Q16: the status names each instance', out)


def main():
    make_world()
    s = setup('BindAddress=%s, %s, %s:8081' % (A[0], A[1], A[2]))
    states(s)
    with s.start():
        bound_states(s)
        one_line(s)
        swaps(s)
        changed(s)
    with_password()
    elsewhere()
    firewall()
    explain()
    conflicts()


try:
    main()
finally:
    for name in (HERE, THERE):
        subprocess.run(['ip', 'netns', 'del', name])
done()
