#!/usr/bin/python3
"""Following the addresses of the machine (Q7, Q18): sockets that wait for their address, open with it and close with it; what stays as it is
meanwhile; duplicates (DAD), interfaces, reloads and crashes in between. In a network namespace of this test's own. Needs root."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import alone
import tap

PORT = 8080
REQUEST = b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n%s\r\n'


# ---- the agent: runs inside the namespace and does what it is told, a JSON line each ----
def answer(s):
    got = b''
    while b'\r\n\r\n' not in got:
        part = s.recv(4096)
        if not part:
            return got
        got += part
    head, rest = got.split(b'\r\n\r\n', 1)
    m = re.search(rb'(?i)content-length: (\d+)', head)
    while m and len(rest) < int(m.group(1)):
        part = s.recv(4096)
        if not part:
            break
        rest += part
    return head


def dial(address, port):
    info = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
    s = socket.socket(info[0], socket.SOCK_STREAM)
    s.settimeout(20)
    try:
        s.connect(info[4])
    except BaseException:
        s.close()
        raise
    return s


def call(address, port):
    try:
        with dial(address, port) as s:
            s.sendall(REQUEST % b'Connection: close\r\n')
            return answer(s).split(b'\r\n')[0].decode() == 'HTTP/1.1 200 OK'
    except OSError as e:
        return e.strerror or str(e)


def call_tls(address, port):
    import ssl
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    try:
        with dial(address, port) as raw, ctx.wrap_socket(raw) as s:
            s.sendall(REQUEST % b'Connection: close\r\n')
            return answer(s).split(b'\r\n')[0].decode() == 'HTTP/1.1 200 OK'
    except OSError as e:
        return e.strerror or str(e)


class Load(threading.Thread):
    """A kept connection and a new one in turn, on an address that every plan has."""

    def __init__(self, address, port):
        super().__init__(daemon=True)
        self.at, self.end, self.calls, self.errors = (address, port), False, 0, []

    def run(self):
        kept = dial(*self.at)
        while not self.end and len(self.errors) < 20:
            try:
                kept.sendall(REQUEST % b'')
                if not answer(kept).startswith(b'HTTP/1.1 200'):
                    self.errors.append('kept connection: no answer')
            except OSError as e:
                self.errors.append('kept connection: %s' % e)
            got = call(*self.at)
            if got is not True:
                self.errors.append('new connection: %s' % got)
            self.calls += 2
            time.sleep(0.005)
        kept.close()


def agent():
    load = None
    for line in sys.stdin:
        what, *args = json.loads(line)
        if what == 'call':
            out = call(*args)
        elif what == 'tls':
            out = call_tls(*args)
        elif what == 'ss':
            out = subprocess.run(['ss', '-Hltn'], check=True, stdout=subprocess.PIPE, text=True).stdout
        elif what == 'load':
            load = Load(*args)
            load.start()
            out = True
        else:
            load.end = True
            load.join()
            out = [load.calls, load.errors]
        print(json.dumps(out), flush=True)
    sys.exit(0)


if '--agent' in sys.argv:
    agent()

alone.root('following addresses', 'needs root, for a network namespace of its own; run as root')

from portreeve import Refused, Server, program_for_everybody, wait_until  # noqa: E402 (not needed by the agent)
from tap import ok, same  # noqa: E402


class Net:
    """A namespace with two veth pairs (d0/e0, d1/e1), all up, without addresses of their own, and an agent inside."""

    def __init__(self):
        self.name = 'portreeve-f%d' % os.getpid()
        self.enter = ['nsenter', '--net=/run/netns/' + self.name]
        subprocess.run(['ip', 'netns', 'add', self.name], check=True)
        self.ip('link set lo up')
        for n in '01':
            self.ip('link add d%s type veth peer name e%s' % (n, n))
            for end in 'de':
                self.ip('link set %s%s addrgenmode none' % (end, n), 'link set %s%s up' % (end, n))
        self.agent = subprocess.Popen(self.enter + ['/usr/bin/python3', os.path.abspath(__file__), '--agent'], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.agent.stdin.close()
        self.agent.wait()
        subprocess.run(['ip', 'netns', 'del', self.name], check=True)

    def ip(self, *lines):
        """Commands of ip, all in one process (a burst)."""
        subprocess.run(self.enter + ['ip', '-batch', '-'], input='\n'.join(lines) + '\n', text=True, check=True)

    def sysctl(self, name, value):
        subprocess.run(self.enter + ['sysctl', '-qw', '%s=%s' % (name, value)], check=True)

    def ask(self, *what):
        self.agent.stdin.write(json.dumps(what) + '\n')
        self.agent.stdin.flush()
        return json.loads(self.agent.stdout.readline())

    def call(self, address, port=PORT):
        return self.ask('call', address, port)

    def listening(self, port=PORT):
        """Addresses with a listening socket on `port`, as ss tells it; one entry however many workers."""
        out = set()
        for line in self.ask('ss').splitlines():
            m = re.match(r'^\[?([^\]%]*)(?:%([^\]:]+))?\]?(?:%([^:]+))?:(\d+)$', line.split()[3])
            if m and int(m.group(4)) == port:
                zone = m.group(2) or m.group(3)
                out.add(m.group(1) + ('%' + zone if zone else ''))
        return out


def server(net, tomcat, listeners='http.WhenMissing=Wait\n', **kw):
    kw.setdefault('settings', {}).update({'Workers': 2, 'AccessLog': 'off'})
    return Server(ports=False, netns=net.name, files={'tomcat.ini': 'Port=%d\n%s' % (PORT, tomcat), 'listeners.ini': listeners}, **kw)


def states(s, name='http'):
    return {x['address']: x['state'] for x in s.listeners(name)}


def generation(s):
    return s.status()['generation']


def settled(s, net, want, name='http', port=PORT):
    """Wait until plan and sockets are as wanted: {address: state}. Returns how long it took."""
    began = time.monotonic()
    seen = {}

    def as_wanted():
        seen['states'], seen['sockets'] = states(s, name), net.listening(port)
        return seen['states'] == want and seen['sockets'] == {a for a, state in want.items() if not state.startswith('waiting')}
    try:
        wait_until('plan and sockets to agree', as_wanted)
    except AssertionError as e:
        raise AssertionError('%s: %r, wanted %r' % (e, seen, want))
    return time.monotonic() - began


def said(s, mark, *texts):
    """Does the log say all of this since then? It is written when the change has been made, which others may see before."""
    try:
        return wait_until('the log', lambda: all(x in s.log_since(mark).replace(s.dir + '/', '') for x in texts))
    except AssertionError:
        return False


def answers(net, *addresses):
    """Wait until they do: the kernel's route to a new address may come a moment after it."""
    for a in addresses:
        wait_until('%s to answer' % a, lambda: net.call(a) is True)
    return True


def fds(pid):
    """Open descriptors by kind."""
    out = {}
    for f in os.listdir('/proc/%d/fd' % pid):
        try:
            kind = re.sub(r'[\d]+', 'N', os.readlink('/proc/%d/fd/%s' % (pid, f)))
        except OSError:
            continue
        out[kind] = out.get(kind, 0) + 1
    return out


def more(after, before):
    """Kinds of which there are more than before. Threads open databases of their own when they first need them: a few more of those are no leak,
    which would show once for each generation."""
    return {k: (before.get(k, 0), n) for k, n in after.items() if n > before.get(k, 0) + (10 if '.db' in k else 0)}


V4 = '192.0.2.7'
DIAL_UP = ['link add ppp0 type veth peer name ppp1', 'link set ppp0 addrgenmode none', 'link set ppp0 up', 'link set ppp1 up']


def test_waiting(net):
    """Q7 Q18: bind when it appears; Q11: one of several addresses; M19's address that the host lacks, told to wait."""
    with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4) as s:
        same(states(s), {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'}, 'Q7: the server starts without its address and says what it waits for')
        ok('http: waiting for %s to open %s:%d' % (V4, V4, PORT) in s.command('status')[1], 'so does status for people', s.command('status')[1])
        out = s.offline('plan')[1]
        ok(re.search(r'%s:%d +waiting for %s' % (V4, PORT, V4), out), 'and plan', out)
        planned = {x['address']: x for x in json.loads(s.offline('plan', '--json')[1])}
        x = planned[V4]
        ok(x['waiting'] and x['when_missing'] == 'wait' and x['state'] == 'waiting for ' + V4, 'and plan --json', planned)
        same(net.listening(), {'127.0.0.1'}, 'only the other one has a socket')
        mark = s.log_mark()
        net.ip('addr add %s/32 dev d0' % V4)
        settled(s, net, {V4: 'bound', '127.0.0.1': 'bound'})
        same(net.call(V4), True, 'Q7 Q18: the address appears and answers')
        ok(said(s, mark, 'opened %s:%d (http, listener http): conf/tomcat.ini:2 BindAddress' % (V4, PORT)), 'the log says what was opened', s.log_since(mark))
        ok(said(s, mark, 'because the addresses of this machine have changed: %s appeared on d0' % V4), 'and because of which address on which interface',
           s.log_since(mark))
        mark = s.log_mark()
        net.ip('addr del %s/32 dev d0' % V4)
        settled(s, net, {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'})
        ok(said(s, mark, 'closed %s:%d' % (V4, PORT), '%s has gone from d0' % V4), 'Q18: it goes, its socket is closed, and the log says so', s.log_since(mark))
        same(net.call('127.0.0.1'), True, 'the other address answers all the same')


def test_no_news(net):
    """An equal plan is no news; M1, Q12: what has all addresses needs no following."""
    with server(net, '', 'http.WhenMissing=Refuse\n') as s:
        same(set(states(s)), {'0.0.0.0', '::'}, 'Q12: no address means all interfaces')
        before, mark = generation(s), s.log_mark()
        net.ip('addr add 192.0.2.8/32 dev d0', 'addr add 2001:db8::8/128 dev d0 nodad')
        ok(answers(net, '192.0.2.8', '2001:db8::8'), 'M1 Q12: addresses added later answer')
        net.ip('link set d1 down', 'link set d1 up', 'addr del 192.0.2.8/32 dev d0', 'addr del 2001:db8::8/128 dev d0')
        # what is asked for afterwards is answered after what was heard before: one planner at a time
        time.sleep(1)
        code, text = s.reload()
        ok(code == 0 and generation(s) == before + 1, 'none of this made a generation, the reload made the next one', text)
        ok('addresses of this machine' not in s.log_since(mark), 'nor a line in the log', s.log_since(mark))


def test_hundred_times(net, times=int(os.environ.get('TIMES', '100')) + 5):
    """Show 3: an address added and removed 100 times with reloads in between."""
    with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4) as s:
        here, away = {V4: 'bound', '127.0.0.1': 'bound'}, {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'}
        sup, took, bad, refused, before = s.supervisor_pid(), [], [], [], ({}, {})
        net.ask('load', '127.0.0.1', PORT)
        engine = s.engine_pid()
        for i in range(times):
            for what, want in (('add', here), ('del', away)):
                reload = None
                if i % 3 == 2:
                    reload = threading.Thread(target=lambda: refused.append(s.reload()))
                    reload.start()
                net.ip('addr %s %s/32 dev d0' % (what, V4))
                took.append(settled(s, net, want))
                if reload:
                    reload.join()
                    settled(s, net, want)
                got = net.call(V4)
                if (got is True) != (what == 'add'):
                    bad.append((i, what, got))
            if i < 15:  # threads open what they need when they first need it
                before = [{k: max(old.get(k, 0), now.get(k, 0)) for k in {**old, **now}} for old, now in zip(before, (fds(sup), fds(engine)))]
        ok(True, 'Show 3: %d times plan and sockets agreed after each of two changes' % times)
        tap.note('seconds until they agreed: median %.2f, most %.2f' % (sorted(took)[len(took) // 2], max(took)))
        ok(not bad, 'and the address answered exactly while it was there', bad)
        ok(all(code == 0 for code, _ in refused) and len(refused) == times // 3 * 2, '%d reloads in between were all good' % len(refused),
           [x for x in refused if x[0] != 0])
        same(s.engine_pid(), engine, 'one engine did it all')
        grown = []

        def as_before():
            grown[:] = [more(fds(sup), before[0]), more(fds(engine), before[1])]
            return grown == [{}, {}]
        try:
            wait_until('descriptors to be as few as before', as_before, 120)  # a long poll of the ui ends by itself, which can take half a minute
        except AssertionError:
            pass
        ok(grown == [{}, {}], 'nothing leaks: no more descriptors of any kind in supervisor (%d) and engine (%d) than in the beginning' %
           tuple(sum(x.values()) for x in before), grown)
        calls, errors = net.ask('unload')
        ok(not errors and calls > 100, 'nobody on the kept address noticed anything: %d requests' % calls, errors)


def test_refuse(net):
    """Q18 without Wait: the address goes while listening and comes again."""
    net.ip('addr add %s/32 dev d0' % V4)
    with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4, '') as s:
        before, mark = generation(s), s.log_mark()
        net.ip('addr del %s/32 dev d0' % V4)
        settled(s, net, {V4: 'bound, %s is away' % V4, '127.0.0.1': 'bound'})
        code, text = s.reload()
        same(code, 0, 'Q18: the socket stays, a reload keeps it too')
        settled(s, net, {V4: 'bound, %s is away' % V4, '127.0.0.1': 'bound'})
        net.ip('addr add %s/32 dev d0' % V4)
        settled(s, net, {V4: 'bound', '127.0.0.1': 'bound'})
        same(net.call(V4), True, 'Q18: the same socket serves again when it is back')
        same(generation(s), before + 1, 'without another generation than that of the reload')
        said(s, mark, '%s is back: ' % V4)
        log = s.log_since(mark)
        same(log.count('%s is not on this machine any more: %s:%d (listener http) stays bound' % (V4, V4, PORT)), 1, 'one warning when it went')
        same(log.count('%s is back: %s:%d (listener http) serves again' % (V4, V4, PORT)), 1, 'one line when it came')
    net.ip('addr del %s/32 dev d0' % V4)
    try:
        with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4, ''):
            ok(False, 'M19: an address that is not there refuses the start')
    except Refused as e:
        ok('tomcat.ini:2: BindAddress' in str(e) and V4 in str(e) and 'not on this machine' in str(e),
           'M19: without Wait the start is refused, entry and address named', str(e))


def test_freebind(net):
    with server(net, 'BindAddress=%s, [2001:db8::9], 127.0.0.1\n' % V4, 'http.WhenMissing=Freebind\n') as s:
        same(net.listening(), {V4, '2001:db8::9', '127.0.0.1'}, 'Freebind: bound before the addresses exist')
        settled(s, net, {V4: 'bound, %s is away' % V4, '2001:db8::9': 'bound, 2001:db8::9 is away', '127.0.0.1': 'bound'})
        before = generation(s)
        net.ip('addr add %s/32 dev d0' % V4, 'addr add 2001:db8::9/128 dev d0 nodad')
        ok(answers(net, V4, '2001:db8::9'), 'callers arrive as soon as the addresses do')
        settled(s, net, {V4: 'bound', '2001:db8::9': 'bound', '127.0.0.1': 'bound'})
        same(generation(s), before, 'and nothing had to change')
        net.ip('addr del %s/32 dev d0' % V4, 'addr del 2001:db8::9/128 dev d0')


def test_edited_files_wait(net):
    """The running files are planned again, not what lies on disk."""
    with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4) as s:
        good = s.read('tomcat.ini')
        s.edit('tomcat.ini', 'Port=garbage\n')
        s.edit('policies/bind.lua', 'return nonsense(')
        net.ip('addr add %s/32 dev d0' % V4)
        settled(s, net, {V4: 'bound', '127.0.0.1': 'bound'})
        ok(True, 'with bad files on disk the address is followed by the files in force')
        s.edit('tomcat.ini', good.replace(str(PORT), '9191'))
        net.ip('addr del %s/32 dev d0' % V4)
        settled(s, net, {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'})
        same(net.listening(9191), set(), 'an edited port is not in force either')
        code, text = s.reload()
        ok(code == 1 and 'bind.lua' in text, 'until a reload asks for it, which finds the bad policy', text)


def test_every_address(net):
    """R4 follows, HTTPS included."""
    tomcat = 'SecurePort=%d\nSecureServer=true\nSecure-127.0.0.1=default\n' % PORT
    with server(net, tomcat, '') as s:
        same(net.listening(), {'127.0.0.1', '::1'}, 'R4: each address of the host')
        net.ip('addr add %s/32 dev d0' % V4, 'addr add 2001:db8::4/128 dev d1 nodad')
        settled(s, net, {a: 'bound' for a in ('127.0.0.1', '::1', V4, '2001:db8::4')})
        same([net.ask('tls', V4, PORT), net.ask('tls', '2001:db8::4', PORT)], [True, True], 'R4: addresses that appear get sockets of their own, with HTTPS')
        net.ip('addr del %s/32 dev d0' % V4, 'addr del 2001:db8::4/128 dev d1')
        settled(s, net, {'127.0.0.1': 'bound', '::1': 'bound'})
        ok(True, 'and lose them when they go')
    # The first HTTPS socket of all comes with an interface: its certificate is in the bundle already.
    with server(net, 'BindAddress=127.0.0.1\n', 'dial.Port=8443\ndial.Address=ppp0\ndial.InitTLS=On\ndial.WhenMissing=Wait\n') as s:
        reload_once(s)
        net.ip(*DIAL_UP, 'addr add %s/32 dev ppp0' % V4)
        settled(s, net, {V4: 'bound'}, 'dial', 8443)
        same(net.ask('tls', V4, 8443), True, 'Q18: a dialled-up interface brings the first HTTPS socket')
        net.ip('link del ppp0')
        settled(s, net, {}, 'dial', 8443)
        ok(True, 'and takes it along when it goes')


def reload_once(s):
    """The development certificate exists from the first need on; here nobody has needed it yet."""
    path = os.path.join(s.state, 'keys', 'development.pem')
    if not os.path.exists(path):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=dial', '-days', '2', '-keyout', path + '.key',
                        '-out', path + '.crt'], check=True, stderr=subprocess.DEVNULL)
        with open(path, 'w', encoding='ascii') as out:
            for part in ('.key', '.crt'):
                with open(path + part, encoding='ascii') as f:
                    out.write(f.read())
        os.chmod(path, 0o600)
    code, text = s.reload()
    ok(code == 0, 'reload with a certificate that nobody needs yet', text)


def test_link_local(net):
    """M20: link-local addresses with their scope."""
    ll = 'fe80::66'
    net.ip('addr add %s/64 dev d0 nodad' % ll)
    with server(net, 'BindAddress=127.0.0.1, [%s]\n' % ll) as s:
        both = {'127.0.0.1': 'bound', ll + '%d0': 'bound'}
        same(states(s), both, 'M20: the interface that owns it is found')
        same(net.call(ll + '%d0'), True, 'and it answers')
        before, mark = generation(s), s.log_mark()
        net.ip('addr add %s/64 dev d1 nodad' % ll)
        wait_until('the refusal', lambda: not s.status()['last_reload']['ok'])
        text = s.status()['last_reload']['text']
        ok('%s is on the interfaces d0 and d1: say which, as in [%s%%d0]' % (ll, ll) in text,
           'M20: a second interface with it is an error that asks for the zone', text)
        ok('%s appeared on d1' % ll in text and 'generation %d serves on' % before in text, 'which says what happened, and that nothing changed', text)
        net.ip('addr add 192.0.2.99/32 dev d1', 'addr del 192.0.2.99/32 dev d1')
        settled(s, net, both)
        code, _ = s.reload()
        same(code, 1, 'a reload says so too')
        net.ip('addr del %s/64 dev d1' % ll)
        wait_until('the all-clear', lambda: s.status()['last_reload']['ok'])
        same(generation(s), before, 'when it has gone all is as it was, without a new generation')
        said(s, mark, 'which cannot be followed')
        same(s.log_since(mark).count('which cannot be followed'), 1, 'the refusal was logged once')
        text = s.status()['last_reload']['text']
        ok('again as generation %d wants them' % before in text, 'status says that it is over', text)
    with server(net, 'BindAddress=127.0.0.1, [%s%%d0], [%s%%d1], [%s%%ppp0]\n' % (ll, ll, ll)) as s:
        waits = {ll + '%' + n: 'waiting for %s%%%s' % (ll, n) for n in ('d1', 'ppp0')}
        same(states(s), dict({'127.0.0.1': 'bound', ll + '%d0': 'bound'}, **waits), 'M20: with zones each is a socket of its own, there or not')
        net.ip('addr add %s/64 dev d1 nodad' % ll)
        settled(s, net, {'127.0.0.1': 'bound', ll + '%d0': 'bound', ll + '%d1': 'bound', ll + '%ppp0': 'waiting for %s%%ppp0' % ll})
        same([net.call(ll + '%d0'), net.call(ll + '%d1')], [True, True], 'M20: both answer')
        net.ip(*DIAL_UP, 'addr add %s/64 dev ppp0 nodad' % ll)
        settled(s, net, {'127.0.0.1': 'bound', ll + '%d0': 'bound', ll + '%d1': 'bound', ll + '%ppp0': 'bound'})
        net.ip('link set ppp0 name wan0')
        settled(s, net, {'127.0.0.1': 'bound', ll + '%d0': 'bound', ll + '%d1': 'bound', ll + '%ppp0': 'waiting for %s%%ppp0' % ll})
        ok(said(s, 0, 'interface ppp0 is called wan0 now'), 'an interface that is renamed is another one', s.log()[-2000:])
        net.ip('link del wan0', 'addr del %s/64 dev d0' % ll, 'addr del %s/64 dev d1' % ll)
        settled(s, net, dict({'127.0.0.1': 'bound', ll + '%d0': 'waiting for %s%%d0' % ll}, **waits))


def test_duplicates(net):
    """An address is usable when the kernel has checked it for duplicates (DAD), and not at all when it found one."""
    for end in ('d0', 'e0'):
        net.sysctl('net.ipv6.conf.%s.accept_dad' % end, 1)
        net.sysctl('net.ipv6.conf.%s.optimistic_dad' % end, 0)
    net.sysctl('net.ipv6.conf.d0.dad_transmits', 3)
    a, b = '2001:db8::a', '2001:db8::b'
    with server(net, 'BindAddress=127.0.0.1, [%s]\n' % a) as s:
        seen, end = [], threading.Event()

        def look():
            got = states(s)[a]
            if not seen or seen[-1] != got:
                seen.append(got)

        def watch():
            while not end.is_set():
                look()
        look()
        watcher = threading.Thread(target=watch)
        watcher.start()
        net.ip('addr add %s/64 dev d0' % a)
        settled(s, net, {'127.0.0.1': 'bound', a: 'bound'})
        end.set()
        watcher.join()
        look()  # its last look may have begun before the end
        same(seen, ['waiting for ' + a, 'bound'], 'a tentative address waits until DAD ends')
        ok(wait_until('the log', lambda: re.search('%s (on d0 has passed the check for duplicates|appeared on d0)' % a, s.log())), 'the log names it')
        # Another machine with the same address: here the other end of the cable.
        net.ip('addr add %s/64 dev e0 nodad' % b, 'addr add %s/64 dev d0' % b)
        show = net.enter + ['ip', 'addr', 'show', 'dev', 'd0']
        wait_until('DAD to fail', lambda: b'dadfailed' in subprocess.run(show, check=True, stdout=subprocess.PIPE).stdout)
        s.edit('tomcat.ini', 'Port=%d\nBindAddress=127.0.0.1, [%s], [%s]\n' % (PORT, a, b))
        net.ip('addr del %s/64 dev e0' % b)
        code, text = s.reload()
        ok(code == 0 and '%s is used by another machine too (DAD failed)' % b in text, 'one that failed DAD waits, and the warning says why', text)
        settled(s, net, {'127.0.0.1': 'bound', a: 'bound', b: 'waiting for ' + b})
        s.edit('listeners.ini', '')
        code, text = s.reload()
        ok(code == 1 and 'another machine has this address too' in text, 'without Wait it refuses', text)
        net.ip('addr del %s/64 dev d0' % b, 'addr add %s/64 dev d0 nodad' % b)
        settled(s, net, {'127.0.0.1': 'bound', a: 'bound', b: 'bound'})
        same(net.call(b), True, 'once it is its owner\'s alone it is bound')
    net.ip('addr del %s/64 dev d0' % a, 'addr del %s/64 dev d0' % b)
    net.ip('addr add %s/64 dev d0' % a)
    with server(net, 'BindAddress=127.0.0.1, [%s]\n' % a, '') as s:
        settled(s, net, {'127.0.0.1': 'bound', a: 'bound'})
        ok(True, 'a start while DAD runs needs no Wait: the address is about to be usable')
    net.ip('addr del %s/64 dev d0' % a)


def test_interfaces(net):
    """An interface stands for its addresses (our extension)."""
    net.ip('addr add %s/32 dev d1' % V4)
    with server(net, 'BindAddress=127.0.0.1, d1\n') as s:
        same(net.listening(), {'127.0.0.1', V4}, 'an interface stands for its addresses')
        net.ip('addr add 2001:db8::1/128 dev d1 nodad', 'addr add 192.0.2.8/32 dev d1')
        settled(s, net, {a: 'bound' for a in ('127.0.0.1', V4, '192.0.2.8', '2001:db8::1')})
        net.ip('link set d1 down')
        settled(s, net, {a: 'bound' for a in ('127.0.0.1', V4, '192.0.2.8')})
        ok(True, 'an interface that goes down loses its IPv6 addresses, and they their sockets')
        net.ip('link set d1 up')
        net.ip('link set d1 name x1')
        settled(s, net, {'127.0.0.1': 'bound'})
        net.ip('link set x1 name d1')
        settled(s, net, {a: 'bound' for a in ('127.0.0.1', V4, '192.0.2.8')})
        ok(True, 'a renamed one is another one, until it is called as before')
        net.ip('addr del %s/32 dev d1' % V4, 'addr del 192.0.2.8/32 dev d1')
        settled(s, net, {'127.0.0.1': 'bound'})


SLOW = '''return { ["takes its time"] = function(t)
  local n = 0
  for i = 1, 25000000 do n = n + i end
  t.ok(n > 0)
end }
'''


def test_meanwhile(net):
    """Events during a reload, reloads during an event, SIGUSR2 and crashes in between."""
    here, away = {V4: 'bound', '127.0.0.1': 'bound'}, {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'}
    with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4) as s:
        net.ask('load', '127.0.0.1', PORT)
        s.edit('policies/slow_test.lua', SLOW)
        for i in range(3):
            for what, want in (('add', here), ('del', away)):
                mark, results = s.log_mark(), []
                reload = threading.Thread(target=lambda: results.append(s.reload()))
                reload.start()
                wait_until('the reload to run', lambda: 'asked for by' in s.log_since(mark))
                time.sleep(0.05 * i)  # at another moment of it each time
                net.ip('addr %s %s/32 dev d0' % (what, V4))
                reload.join()
                settled(s, net, want)
                if results[0][0] != 0:
                    ok(False, 'a reload while an address changes', results)
        ok(True, 'six changes in the middle of reloads were followed afterwards')
        os.remove(s.path('policies/slow_test.lua'))
        s.edit('tomcat.ini', 'Port=0x\n')
        for what, want in (('add', here), ('del', away)):
            results = []
            reload = threading.Thread(target=lambda: results.append(s.reload()))
            net.ip('addr %s %s/32 dev d0' % (what, V4))
            reload.start()
            settled(s, net, want)
            reload.join()
            if results[0][0] != 1:
                ok(False, 'the bad reload is refused', results)
        ok(True, 'a reload that is refused takes no news away')
        for what, want in (('add', here), ('del', away)) * 2:
            engine = s.engine_pid()
            os.kill(s.supervisor_pid(), signal.SIGUSR2)
            net.ip('addr %s %s/32 dev d0' % (what, V4))
            settled(s, net, want)
            wait_until('the engine to be replaced', lambda: s.engine_pids() not in ([], [engine]) and len(s.engine_pids()) == 1)
        ok(True, 'engines were replaced meanwhile')
        calls, errors = net.ask('unload')
        ok(not [e for e in errors if e.startswith('new')], 'nobody was refused on the kept address: %d requests' % calls, errors)
        for what, want in (('add', here), ('del', away)) * 2:
            killed = s.kill_engine()
            net.ip('addr %s %s/32 dev d0' % (what, V4))
            settled(s, net, want)
            s.engine_after(killed)
        ok(True, 'and died')
        same(net.call('127.0.0.1'), True, 'it serves')


def test_unprivileged(net):
    """The supervisor has long given up what it does not need, and still opens port 80 of an address that comes."""
    program_for_everybody()
    s = server(net, 'Port=80\nBindAddress=%s, 127.0.0.1\n' % V4, args=['--user', 'nobody'], start=False,
               env={'ASAN_OPTIONS': 'detect_leaks=0:exitcode=99'})  # nobody may look for leaks in a process that changed its user
    for folder, _, files in os.walk(s.dir):
        for name in ['.'] + files:
            path = os.path.join(folder, name)
            os.chmod(path, os.stat(path).st_mode | (0o055 if name == '.' else 0o044))
    with s.start():
        with open('/proc/%d/status' % s.engine_pid(), encoding='ascii') as f:
            ok(re.search(r'^CapEff:\s*0+$', f.read(), re.M), 'the engine has no capabilities')
        for _ in range(2):
            net.ip('addr add %s/32 dev d0' % V4)
            settled(s, net, {V4: 'bound', '127.0.0.1': 'bound'}, port=80)
            ok(net.call(V4, 80) is True, 'Q18: port 80 of an address that came after the start')
            net.ip('addr del %s/32 dev d0' % V4)
            settled(s, net, {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'}, port=80)


def drops(pid):
    """Messages that the kernel had to drop for the netlink sockets of a process."""
    mine = {os.readlink('/proc/%d/fd/%s' % (pid, f)) for f in os.listdir('/proc/%d/fd' % pid)}
    with open('/proc/%d/net/netlink' % pid, encoding='ascii') as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(int(r[8]) for r in rows if 'socket:[%s]' % r[9] in mine)


def test_overrun(net):
    """More changes than the kernel keeps for us: everything is read again."""
    with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4) as s:
        pid = s.supervisor_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(4):
                many = ['10.%d.%d.1/32 dev d1' % (i // 250, i % 250) for i in range(1500)]
                net.ip(*['addr add ' + a for a in many])
                net.ip(*['addr del ' + a for a in many])
            net.ip('addr add %s/32 dev d0' % V4)
            lost = drops(pid)
        finally:
            os.kill(pid, signal.SIGCONT)
        ok(lost > 0, 'the kernel had to drop messages')
        settled(s, net, {V4: 'bound', '127.0.0.1': 'bound'})
        os.kill(pid, signal.SIGSTOP)
        net.ip('addr del %s/32 dev d0' % V4)
        for _ in range(4):
            net.ip(*['addr add ' + a for a in many])
            net.ip(*['addr del ' + a for a in many])
        os.kill(pid, signal.SIGCONT)
        settled(s, net, {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'})
        ok(True, 'what came and what went was found all the same')


STRANGER = '''import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.IPPROTO_IP, 15, 1) # IP_FREEBIND
s.bind(("%s", %d))
s.listen()
print("up", flush=True)
sys.stdin.read()
'''


def test_taken(net):
    """The address comes, but a stranger has its port."""
    with server(net, 'BindAddress=%s, 127.0.0.1\n' % V4) as s:
        stranger = subprocess.Popen(net.enter + ['/usr/bin/python3', '-c', STRANGER % (V4, PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            same(stranger.stdout.readline(), 'up\n', 'a stranger has the port before the address comes (IP_FREEBIND)')
            before, mark = generation(s), s.log_mark()
            net.ip('addr add %s/32 dev d0' % V4)
            wait_until('the refusal', lambda: not s.status()['last_reload']['ok'])
            text = s.status()['last_reload']['text']
            ok('cannot bind %s:%d: port taken by ' % (V4, PORT) in text, 'the port is taken: the refusal says so', text)
            wait_until('some more tries', lambda: time.sleep(1) or True)
            same((generation(s), s.log_since(mark).count('which cannot be followed')), (before, 1), 'nothing changes meanwhile, and it is said once')
        finally:
            stranger.stdin.close()
            stranger.wait()
        settled(s, net, {V4: 'bound', '127.0.0.1': 'bound'})
        ok(net.call(V4) is True, 'when the stranger leaves soon the address is bound without anybody\'s help')
        net.ip('addr del %s/32 dev d0' % V4)
        settled(s, net, {V4: 'waiting for ' + V4, '127.0.0.1': 'bound'})


with Net() as the_net:
    only = sys.argv[1:]
    for name, test in sorted(((n, t) for n, t in globals().items() if n.startswith('test_')), key=lambda x: x[1].__code__.co_firstlineno):
        if not only or name[5:] in only:
            test(the_net)
tap.done()
