#!/usr/bin/python3
"""UDP sockets of a listener: beside TCP on one port, kept over reloads and the death of an engine, with the denied list before everything."""
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'lib'))
import tap  # noqa: E402
from logs import remote_line as got, remote_lines as lines  # noqa: E402
from portreeve import SLOW, Server, free_ports, rss, wait_until  # noqa: E402

LOGS = 'logs.Port=%(port)d\nlogs.Address=%(at)s\nlogs.Services=remote-log\nlogs.2.Port=%(port)d\nlogs.2.Transport=UDP\n'


def server(text, **kw):
    files = dict(kw.pop('files', {}))
    files['listeners.ini'] = text
    s = Server(bind='own', files=files, start=False, settings=dict({'Workers': 2}, **kw.pop('settings', {})), **kw)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    return s


def send(at, port, *texts, source=None):
    with socket.socket(socket.AF_INET6 if ':' in at else socket.AF_INET, socket.SOCK_DGRAM) as u:
        if source:
            u.bind((source, 0))
        for t in texts:
            u.sendto(t if isinstance(t, bytes) else t.encode(), (at, port))


def inodes(s, port):
    """Of the UDP sockets of this port, as the kernel lists them."""
    with open('/proc/net/udp') as f:
        return sorted(x.split()[9] for x in f.readlines()[1:] if x.split()[1].endswith(':%04X' % port))


def both_protocols():
    """G1 G4: one listener with TCP N and UDP N."""
    port = free_ports(1)[0]
    s = server('')
    s.edit('listeners.ini', LOGS % {'port': port, 'at': s.address})
    with s.start():
        send(s.address, port, '<34>Nov 22 04:04:02 host su: over udp')
        with socket.create_connection((s.address, port)) as c:
            c.sendall(b'<35>Nov 22 04:04:02 host su: over tcp\n')
        tap.ok(re.search(r' udp auth\.crit host su - - over udp$', got(s, 'over udp')), 'G1 G4: UDP N is served', lines(s))
        tap.ok(re.search(r' tcp auth\.err host su - - over tcp$', got(s, 'over tcp')), 'G4: and TCP N beside it', lines(s))
        rows = {x['transport']: x for x in s.listeners('logs')}
        tap.ok(rows['udp']['port'] == rows['tcp']['port'] == port and rows['udp']['scheme'] == 'udp' and rows['tcp']['scheme'] == 'tcp',
               'status tells them apart', rows)
        wait_until('the proof', lambda: all(x['probe'] == 'proved' for x in s.listeners('logs')))
        code, out, err = s.command('status')
        tap.ok('2 sockets of ours' in out, 'a UDP socket is proved by looking', out)
        tap.ok('logs: receiving datagrams on %s:%d (udp: remote-log)' % (s.address, port) in out, 'in words too', out)
        code, out, err = s.offline('plan')
        tap.ok(re.search(r'^%s:%d .*udp +remote-log ' % (re.escape(s.address), port), out, re.M), 'and the plan', out)
        code, out, err = s.offline('plan', '--firewall')
        tap.ok(code == 0 and '%s:%d' % (s.address, port) in out, 'the firewall table has it', out)
        code, out = s.check()
        tap.ok(code == 0, 'a check beside the running server finds no conflict with itself', out)
        tap.ok(len(set(inodes(s, port))) == 2, 'one UDP socket for each worker', inodes(s, port))


def kept():
    """A reload keeps the socket and loses no datagram; so does an engine that is killed."""
    port = free_ports(1)[0]
    s = server('')
    s.edit('listeners.ini', LOGS % {'port': port, 'at': s.address})
    with s.start():
        before = inodes(s, port)
        for i in range(5):
            send(s.address, port, *['<34>su: before %d.%d' % (i, k) for k in range(20)])
            s.edit('listeners.ini', LOGS % {'port': port, 'at': s.address} + 'logs.Reserve=%d\nlogs.MaxConnections=100\n' % (i + 1))
            code, out = s.reload()
            tap.ok(code == 0, 'reload %d while datagrams arrive' % i, out)
            send(s.address, port, *['<34>su: behind %d.%d' % (i, k) for k in range(20)])
        wait_until('all 200 datagrams', lambda: len(lines(s)) >= 200)
        tap.ok(len(set(x.split(' - - ')[1] for x in lines(s))) == 200, 'no datagram is lost or doubled over five reloads', len(lines(s)))
        tap.same(inodes(s, port), before, 'the sockets are the same')
        mark = s.counter('engine_crashes')
        s.kill_engine()
        send(s.address, port, *['<34>su: orphan %d' % k for k in range(50)])  # some before, some after the next engine is there
        wait_until('a new engine', lambda: s.counter('engine_crashes') > mark)
        wait_until('all of them', lambda: len([x for x in lines(s) if 'orphan' in x]) >= 50)
        tap.same(inodes(s, port), before, 'an engine that is killed leaves the sockets, and what came meanwhile is read by the next one')


def change_of_address():
    """Wildcard to specific and back on a living UDP port, and a reload that is refused: what is sent arrives."""
    port = free_ports(1)[0]
    s = server('')
    forms = ('logs.Port=%d\nlogs.Services=remote-log\nlogs.Transport=UDP\nlogs.Address=%%s\n' % port)
    s.edit('listeners.ini', forms % s.address)
    with s.start():
        n = 0
        for address in ('OnlyIPV4Addresses', s.address, 'OnlyIPV4Addresses', s.address):
            send(s.address, port, *['<34>su: no %d' % (n + k) for k in range(25)])
            s.edit('listeners.ini', forms % address)
            code, out = s.reload()
            tap.ok(code == 0, 'change to %s' % address, out)
            send(s.address, port, *['<34>su: no %d' % (n + 25 + k) for k in range(25)])
            n += 50
        wait_until('all of them', lambda: len(lines(s)) >= n)
        tap.same(len(set(x.rsplit(' ', 1)[1] for x in lines(s))), n, 'no datagram is lost between wildcard and specific sockets')
        s.edit('listeners.ini', forms % ('%s, 192.0.2.77' % s.address))
        code, out = s.reload()
        tap.ok(code != 0 and '192.0.2.77' in out, 'a change that is refused', out)
        send(s.address, port, '<34>su: still here')
        tap.ok(got(s, 'still here'), 'leaves the socket as it was')
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(('127.0.0.1', 0))
            taken = stranger.getsockname()[1]
            s.edit('listeners.ini', 'logs.Port=127.0.0.1:%d\nlogs.Services=remote-log\nlogs.Transport=UDP\n' % taken)
            code, out = s.reload()
            tap.ok(code != 0 and re.search(r'listeners\.ini:1: logs\.Port: cannot bind 127\.0\.0\.1:%d: port taken by .*(pid %d |socket:)' % (taken, os.getpid()), out),
                   'E3: a UDP port of another program is refused, and whose it is told', out)
        code, out = s.reload()
        tap.ok(code == 0, 'when it is free it is taken', out)


def denied():
    """G10: UDP from the denied list is dropped before anything else; granted at once makes no difference; per-socket restriction holds too."""
    port = free_ports(1)[0]
    text = LOGS + 'logs.Restriction=Grant\nlogs.List=friends\n'
    s = server('', files={'lists/denied.list': '127.0.0.66\n', 'lists/friends.list': '127.0.0.1\n127.0.0.66\n'})
    s.edit('listeners.ini', text % {'port': port, 'at': s.address})
    with s.start():
        for who in ('127.0.0.66', '127.0.0.67', '127.0.0.1'):
            send(s.address, port, '<34>su: from %s' % who, '<34>su: again %s' % who, source=who)
        got(s, 'again 127.0.0.1')
        wait_until('those who are refused', lambda: s.counter('datagrams_refused') >= 4)  # another worker may have them
        tap.ok(not [x for x in lines(s) if '127.0.0.6' in x], 'G10: denied and granted at once is dropped; so is who is not granted', lines(s))
        tap.ok(wait_until('four refused datagrams', lambda: s.counter('datagrams_refused') == 4), 'counted')
        why = {r['address']: (r['reason'], r['because']) for r in s.eval('decisions{refused=true}', json_out=True)}
        tap.ok(why['127.0.0.66'][0] == 'denied' and 'denied.list:1' in why['127.0.0.66'][1], 'with the line of the list', why)
        tap.ok(why['127.0.0.67'][0] == 'restriction', 'and the restriction', why)
        s.edit('lists/denied.list', '127.0.0.1\n')
        s.command('reload', '--force')  # this machine is shut out, which is meant
        send(s.address, port, '<34>su: no more', source='127.0.0.1')
        wait_until('the new list to count', lambda: s.counter('datagrams_refused') >= 5)
        tap.ok(not [x for x in lines(s) if 'no more' in x], 'a change of the list counts at once: no verdict outlives its generation')


def many_flows():
    """The table of verdicts is bounded: more flows than it holds are judged one by one, and all of them arrive."""
    port = free_ports(1)[0]
    s = server('', settings={'Workers': 1})
    s.edit('listeners.ini', 'logs.Port=%s:%d\nlogs.Services=remote-log\nlogs.Transport=UDP\n' % (s.address, port))
    with s.start():
        before = rss(s.engine_pid())
        sent = 0
        for a in range(12):
            for b in range(0, 250):
                send(s.address, port, '<34>su: %d.%d' % (a, b), source='127.%d.%d.9' % (100 + a, b))
                sent += 1
            wait_until('them', lambda: s.counter('datagrams') >= sent)
        wait_until('3000 lines', lambda: len(lines(s)) >= sent)
        more = rss(s.engine_pid()) - before
        tap.ok(len(lines(s)) == sent and more < 16384 * SLOW, '%d flows arrive, %d KB of memory' % (sent, more), before)


def no_tls():
    """G16: TLS is refused on UDP with the entry's line, before anything starts; G23: nor do counts have a meaning."""
    for text, what in (('a.Port=5001\na.Services=remote-log\na.Transport=UDP\na.InitTLS=On\n', r'listeners\.ini:4: a\.InitTLS=On: TLS is for TCP only'),
                       ('a.Port=5001\na.Services=tracker\na.Transport=UDP\n', r'listeners\.ini:3: a\.Transport=UDP: UDP carries remote-log only'),
                       ('a.Port=127.0.0.1:5001\na.Services=remote-log\na.Transport=UDP\na.2.Port=127.0.0.1:5001\n',
                        r'the same address and port')):
        said = server(text).refused()
        tap.ok(re.search(what, said), 'refused: ' + what, said)


def empty_and_large():
    """Empty datagrams are nothing, the largest are cut and said to be."""
    port = free_ports(1)[0]
    s = server('')
    s.edit('listeners.ini', 'logs.Port=%s:%d\nlogs.Services=remote-log\nlogs.Transport=UDP\n' % (s.address, port))
    with s.start():
        send(s.address, port, b'', b'<34>su: ' + b'x' * 60000, b'<34>su: small')
        got(s, 'small')
        wait_until('both', lambda: len(lines(s)) == 2)
        large = [x for x in lines(s) if 'xxx' in x][0]
        tap.ok(large.endswith('x [cut]') and 8100 < large.count('x') <= 8192, 'a datagram of 60,000 bytes is cut and says so', len(large))
        tap.same(s.counter('datagrams'), 3, 'three datagrams, two messages')


both_protocols()
kept()
change_of_address()
denied()
many_flows()
no_tls()
empty_and_large()
tap.done()
