#!/usr/bin/python3
"""Counts and rates of callers at their exact borders: one address, its prefix, its net; connections, handshakes, requests; with eight workers at
once; over reloads and a killed engine. The part about IPv6 runs in a network namespace of its own and needs root."""
import json
import os
import re
import selectors
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from callers import alone, hold
from portreeve import Server, wait_until
from tap import done, note, ok, same

REQUEST = b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n'


def reasons(s, source, reason, what):
    """The refusal as the console tells it, with the place of its entry."""
    got = [x for x in s.eval('why("%s")' % source, json_out=True) if x['verdict'] != 'allow']
    ok(got and all(x['reason'] == reason and what in json.dumps(x) for x in got), '%s is refused as %s, because of %s' % (source, reason, what), got[:2])


def line_of(s, entry):
    """'listeners.ini:12' of an entry."""
    lines = s.read('listeners.ini').splitlines()
    return 'listeners.ini:%d' % (1 + [i for i, x in enumerate(lines) if x.startswith(entry + '=')][0])


def active(s, listener):
    return s.eval('listener("%s")' % listener, json_out=True)['active']


def server(text, **more):
    s = Server(components='tracker', bind='own', start=False, **more)
    s.append('listeners.ini', text.format(s.address))
    return s.start()


def crowd(address, port, sources, each):
    """`each` connections from each source at once, all kept open: how many of each are served, and the sockets of those."""
    sel, served, kept, waiting = selectors.DefaultSelector(), {x: 0 for x in sources}, [], 0
    for i in range(each):
        for source in sources:
            c = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
            c.bind((source, 0))
            c.setblocking(False)
            c.connect_ex((address, port))
            sel.register(c, selectors.EVENT_WRITE, source)
            waiting += 1
    while waiting:
        ready = sel.select(30)
        if not ready:
            raise AssertionError('%d of the crowd hear nothing' % waiting)
        for key, _ in ready:
            c = key.fileobj
            try:
                if key.events == selectors.EVENT_WRITE:
                    c.send(REQUEST)
                    sel.modify(c, selectors.EVENT_READ, key.data)
                    continue
                got = c.recv(65536)
            except OSError:
                got = b''
            sel.unregister(c)
            waiting -= 1
            if got.startswith(b'HTTP/1.1 200'):
                served[key.data] += 1
                kept.append(c)
            else:
                c.close()
    return served, kept


def connections():
    """G24: N come in, the next does not; another address does; neither a reload nor a crash forgives."""
    with server('rare.Port=free\nrare.Address={0}\nrare.Services=tracker\nrare.RateConnections=5/1h\n') as s:
        port = s.port('rare')
        same([alone(s.address, port, '127.80.0.1') for _ in range(7)], ['served'] * 5 + ['shut'] * 2, 'RateConnections=5/1h: five, and no sixth')
        same(alone(s.address, port, '127.80.0.2'), 'served', 'another address is not counted with it')
        same(alone(s.address, s.port('http'), '127.80.0.1'), 'served', 'nor another listener')
        reasons(s, '127.80.0.1', 'rate', line_of(s, 'rare.RateConnections'))
        reasons(s, '127.80.0.1', 'rate', 'again in')
        same(s.reload()[0], 0, 'reload')
        same(alone(s.address, port, '127.80.0.1'), 'shut', 'a reload forgives nothing')
        s.crash_engine()
        same(alone(s.address, port, '127.80.0.1'), 'shut', 'nor does the end of the engine')
        same([alone(s.address, port, '127.80.0.2') for _ in range(5)], ['served'] * 4 + ['shut'], 'what others have used is known too')
        ok(s.counter('refused_rate') >= 4, 'counted', s.counter('refused_rate'))
        s.edit('listeners.ini', lambda t: t.replace('rare.RateConnections=5/1h', 'rare.RateConnections=5/1s'))
        same(s.reload()[0], 0, 'a shorter time')
        wait_until("the address to be let in again", lambda: alone(s.address, port, "127.80.0.1") == "served")
        ok(True, 'it comes in again when its time has come')


def prefixes():
    """G24: what one caller is can be set, and a net counts besides."""
    with server('wide.Port=free\nwide.Address={0}\nwide.Services=tracker\nwide.MaxPerAddress=3\nwide.PrefixIPv4=24\n'
                'net.Port=free\nnet.Address={0}\nnet.Services=tracker\nnet.RateConnections=3/1h\nnet.RateConnectionsPerNet=5/1h\nnet.NetIPv4=16\n') as s:
        port = s.port('wide')
        held = [c for i in (1, 2, 200) for c in hold(s.address, port, '127.81.1.%d' % i)]
        same([alone(s.address, port, x) for x in ('127.81.1.77', '127.81.2.77')], ['shut', 'served'], 'PrefixIPv4=24: three of a /24, and the next /24 besides')
        reasons(s, '127.81.1.77', 'per-address', line_of(s, 'wide.MaxPerAddress'))
        held.pop().close()
        wait_until('the place to be given back', lambda: alone(s.address, port, '127.81.1.77') == 'served')
        for c in held:
            c.close()
        port = s.port('net')
        same([alone(s.address, port, '127.82.0.1') for _ in range(5)], ['served'] * 3 + ['shut'] * 2, 'three of one address')
        same([alone(s.address, port, '127.82.200.%d' % i) for i in (1, 2, 3)], ['served'] * 2 + ['shut'], 'five of its net, and refusals cost the net nothing')
        same(alone(s.address, port, '127.83.0.1'), 'served', 'the next net is another')
        reasons(s, '127.82.200.3', 'rate', line_of(s, 'net.RateConnectionsPerNet'))
        reasons(s, '127.82.200.3', 'rate', '127.82.0.0/16')


def requests():
    """Too many requests are told so; too many handshakes are closed before an answer."""
    with server('asked.Port=free\nasked.Address={0}\nasked.Services=tracker\nasked.RateRequests=4/1h\n'
                'tls.Port=free\ntls.Address={0}\ntls.Services=tracker\ntls.InitTLS=On\ntls.RateHandshakes=3/1h\n') as s:
        port = s.port('asked')
        with http1.Conn(s.address, port, source='127.84.0.1') as c:
            same([c.call('GET', '/robots.txt').status for _ in range(5)], [200] * 4 + [429], 'four requests, the fifth gets 429')
            try:
                c.more()
                ok(False, 'the connection ends with it')
            except http1.Closed:
                ok(True, 'the connection ends with it')
        same(alone(s.address, port, '127.84.0.1'), 429, 'a new connection makes no difference')
        same(alone(s.address, port, '127.84.0.2'), 'served', 'another caller may')
        reasons(s, '127.84.0.1', 'rate', line_of(s, 'asked.RateRequests'))
        port = s.port('tls')
        same([alone(s.address, port, '127.84.0.3', True) for _ in range(5)], ['served'] * 3 + ['shut'] * 2, 'three handshakes, and no fourth')
        same(alone(s.address, port, '127.84.0.4', True), 'served', 'another address has its own')
        reasons(s, '127.84.0.3', 'rate', line_of(s, 'tls.RateHandshakes'))


def cluster():
    """G25: members of the cluster are neither limited nor rated."""
    with server('few.Port=free\nfew.Address={0}\nfew.Services=tracker\nfew.MaxPerAddress=2\nfew.RateConnections=2/1h\nfew.RateRequests=3/1h\n',
                files={'lists/cluster.list': '127.85.0.1\n127.85.1.0/24\n'}) as s:
        port = s.port('few')
        for source in ('127.85.0.1', '127.85.1.9'):
            served, kept = crowd(s.address, port, [source], 12)
            same(served[source], 12, '%s of lists/cluster.list: no limit of connections, no rate' % source)
            for c in kept:
                c.close()
        served, kept = crowd(s.address, port, ['127.85.0.2'], 12)
        same(served['127.85.0.2'], 2, 'its neighbour is limited')
        for c in kept:
            c.close()


def contention():
    """G24, G26, G27 with eight workers: never one too many, never one too few."""
    with server('per.Port=free\nper.Address={0}\nper.Services=tracker\nper.MaxPerAddress=20\n'
                'rate.Port=free\nrate.Address={0}\nrate.Services=tracker\nrate.RateConnections=30/1h\nrate.RateConnectionsPerNet=100/1h\nrate.NetIPv4=16\n'
                'full.Port=free\nfull.Address={0}\nfull.Services=tracker\nfull.MaxConnections=40\nfull.Reserve=15\n',
                settings={'Workers': 8}, files={'lists/clients.list': '127.88.9.0/24\n'}) as s:
        same(s.eval('config().workers'), '8', 'eight workers')
        sources = ['127.86.0.%d' % i for i in range(1, 6)]
        for turn in (1, 2, 3):
            served, kept = crowd(s.address, s.port('per'), sources, 60)
            same(sorted(set(served.values())), [20], 'crowd %d: 300 callers of five addresses, exactly twenty of each' % turn)
            for c in kept:
                c.close()
            wait_until('all places to be given back', lambda: active(s, 'per') == 0)
        served, kept = crowd(s.address, s.port('rate'), ['127.87.0.%d' % i for i in range(1, 6)], 60)
        ok(max(served.values()) <= 30, 'thirty of each address at most', served)
        same(sum(served.values()), 100, 'and exactly a hundred of their net')
        for c in kept:
            c.close()
        served, kept = crowd(s.address, s.port('full'), ['127.88.0.%d' % i for i in range(1, 6)], 20)
        same(sum(served.values()), 25, 'MaxConnections=40, Reserve=15: of a hundred strangers exactly 25')
        clients, more = crowd(s.address, s.port('full'), ['127.88.9.%d' % i for i in range(1, 6)], 20)
        same(sum(clients.values()), 15, 'of a hundred clients exactly the other 15')
        same(alone(s.address, s.port('full'), '127.88.9.7'), 'shut', 'at the maximum not even a client')
        reasons(s, '127.88.9.7', 'maximum', line_of(s, 'full.MaxConnections'))
        more.pop().close()
        wait_until('a client to have the place', lambda: alone(s.address, s.port('full'), '127.88.9.7') == 'served')
        wait_until('his place to be free again', lambda: active(s, 'full') == 39)
        same(alone(s.address, s.port('full'), '127.88.0.9'), 'shut', 'G26: with as many places free as are reserved, a stranger does not')
        reasons(s, '127.88.0.9', 'reserve', line_of(s, 'full.Reserve'))
        for c in kept + more:
            c.close()


def bad_entries():
    """What is no rate is refused with its line, and nothing of it comes into force."""
    s = Server(components='tracker', start=False)
    for value in ('5', '5/0s', '0/s', 'five/s', '5/25h', '1000001/s'):
        s.edit('listeners.ini', 'http.RateConnections=%s\n' % value)
        code, text = s.check()
        ok(code == 1 and re.search(r'listeners\.ini:1: http\.RateConnections=.*not a rate', text), 'RateConnections=%s is refused' % value, text)
    s.edit('listeners.ini', 'http.PrefixIPv6=200\n')
    ok(s.check()[0] == 1, 'a prefix of 200 bits too')
    s.edit('listeners.ini', 'x.Port=9\nx.2.Port=10\nx.2.RateRequests=5/s\n')
    code, text = s.check()
    ok(code == 1 and 'x.RateRequests' in text, 'a row has no rate of its own: the listener has', text)
    s.cleanup()


def six():
    """G24: IPv6 by /64, or by what is set."""
    for a in ('2001:db8:1:1::1', '2001:db8:1:1::2', '2001:db8:1:1:ffff::3', '2001:db8:1:2::1', '2001:db8:2::1', '2001:db8:ff::1'):
        subprocess.run(['ip', '-6', 'addr', 'add', a + '/128', 'dev', 'lo', 'nodad'], check=True)
    here = '2001:db8:ff::1'
    s = Server(components='tracker', start=False)
    s.append('listeners.ini', 'six.Port=[%s]:8066\nsix.Services=tracker\nsix.MaxPerAddress=2\nbig.Port=[%s]:8067\nbig.Services=tracker\nbig.MaxPerAddress=2\n'
             'big.PrefixIPv6=48\nrate.Port=[%s]:8068\nrate.Services=tracker\nrate.RateConnections=2/1h\nrate.RateConnectionsPerNet=3/1h\n' % (here, here, here))
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:') or x[0].split(':')[1] in ('secure.Port', 'ops.Port')]
    s.start()
    with s:
        for port, held, callers, what in ((8066, ('2001:db8:1:1::1', '2001:db8:1:1::2'), ('2001:db8:1:1:ffff::3', '2001:db8:1:2::1'), 'two of a /64, the next /64 besides'),
                                          (8067, ('2001:db8:1:1::1', '2001:db8:1:2::1'), ('2001:db8:1:1:ffff::3', '2001:db8:2::1'), 'PrefixIPv6=48: two of a /48')):
            held = [c for a in held for c in hold(here, port, a)]
            same([alone(here, port, a) for a in callers], ['shut', 'served'], what)
            for c in held:
                c.close()
        same([alone(here, 8068, '2001:db8:1:1::1') for _ in range(3)], ['served'] * 2 + ['shut'], 'a rate of a /64')
        same([alone(here, 8068, '2001:db8:1:2::1') for _ in range(2)], ['served', 'shut'], 'and of a /48')


if sys.argv[1:] == ['six']:
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    six()
    done()
for part in (connections, prefixes, requests, cluster, contention, bad_entries):
    part()
if os.geteuid() == 0:
    p = subprocess.run(['unshare', '--net', sys.executable, os.path.abspath(__file__), 'six'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    note(p.stdout)
    ok(p.returncode == 0 and p.stdout.count('\nok ') + p.stdout.startswith('ok ') >= 4, 'IPv6, in a namespace of its own', p.stdout[-2000:])
else:
    note('the part about IPv6 needs root')
done()
