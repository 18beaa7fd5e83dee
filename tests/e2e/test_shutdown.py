#!/usr/bin/python3
"""The shutdown port (M64): SHUTDOWN on loopback is an orderly stop; everything else is ignored and logged, and holds up nobody."""
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from portreeve import Refused, SLOW, Server, free_ports, wait_until
from tap import done, note, ok, same


class Shut(Server):
    """A server with a shutdown port of its own: 0 would be none (Tomcat's convention), so a free one is looked for."""

    def __init__(self, **more):
        self.shut = free_ports(1)[0]
        super().__init__(components='tracker', bind='own', sets=[('tomcat.ini:ShutdownPort', str(self.shut))], **more)

    def call(self, data, end=True, wait=10):
        """What the shutdown port does with these bytes: what it sends back ('' = it hung up)."""
        with socket.create_connection(('127.0.0.1', self.shut), wait * SLOW) as c:
            try:
                c.sendall(data)
                if end:
                    c.shutdown(socket.SHUT_WR)
                return c.recv(100)
            except OSError:  # it hung up before it had read everything
                return b''

    def gone(self):
        """The exit status, once it ends by itself."""
        wait_until('the server to end by itself', lambda: self.proc.poll() is not None, 40)
        return self.proc.poll()


def stops():
    for name, data, end in (('SHUTDOWN and end of file (Tomcat)', b'SHUTDOWN', True), ('SHUTDOWN LF (echo)', b'SHUTDOWN\n', False),
                            ('SHUTDOWN CRLF (telnet)', b'SHUTDOWN\r\n', False)):
        with Shut() as s:
            with socket.create_connection((s.address, s.port()), 10 * SLOW) as running:
                running.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n')  # a request that is under way
                wait_until('the connection', lambda: s.listeners('http')[0] and s.eval('#connections()') == '1')
                s.call(data, end)
                wait_until('the stop', lambda: 'stopping, told by the shutdown port' in s.log())
                running.sendall(b'\r\n')
                answer = running.recv(4000)
            ok(answer.startswith(b'HTTP/1.1 200'), 'M64 %s: an orderly stop, a request under way is answered' % name, repr(answer[:100]))
            same(s.gone(), 0, 'M64 %s: the server ends, exit status 0' % name)
            ok(re.search(r'told by the shutdown port \(a program on 127\.0\.0\.1:\d+\)', s.log()), 'M64 %s: the log says who' % name)


def split_command(s):
    """Byte by byte, but within the time a caller has."""
    with socket.create_connection(('127.0.0.1', s.shut), 10 * SLOW) as c:
        for b in b'SHUTDOWN\n':
            c.sendall(bytes([b]))
        wait_until('the stop', lambda: 'stopping, told by the shutdown port' in s.log())
    same(s.gone(), 0, 'M64: the command may come in pieces')


def ignored(s, name, data, reason, end=True):
    mark = s.log_mark()
    s.call(data, end)
    wait_until('the log of: ' + name, lambda: re.search('a caller from 127.0.0.1:[0-9]+ is ignored: ' + reason, s.log_since(mark)))
    ok(s.alive() and http1.get(s.address, s.port(), '/robots.txt').status == 200, 'M64: %s is ignored and logged' % name)


def ignores():
    with Shut() as s:
        for name, data, reason in (
                ('a wrong command', b'RESTART\n', 'what it sent is not the command'),
                ('the command in small letters', b'shutdown\n', 'what it sent is not the command'),
                ('a blank before it', b' SHUTDOWN\n', 'what it sent is not the command'),
                ('a browser', b'POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSHUTDOWN', 'what it sent is not the command'),
                ('a byte too many', b'SHUTDOWNX\n', 'it sent more than the command'),
                ('a blank behind it', b'SHUTDOWN \n', 'it sent more than the command'),
                ('a second line', b'SHUTDOWN\nSHUTDOWN\n', 'it sent more than the command'),
                ('two line ends', b'SHUTDOWN\r\n\n', 'it sent more than the command'),
                ('NUL bytes', b'SHUTDOWN\0\n', 'it sent more than the command'),
                ('half a command', b'SHUT', 'it hung up before the end of the command'),
                ('half a command with a line end', b'SHUT\n', 'what it sent is not the command'),
                ('nothing at all', b'', 'it said nothing'),
                ('10 MB of something', b'x' * 10000000, 'what it sent is not the command'),
                ('10 MB of commands', b'SHUTDOWN' * 1250000, 'it sent more than the command')):
            ignored(s, name, data, reason)
        slow(s)
        crowd(s)
        split_command(s)


def slow(s):
    """A caller that trickles has 5 s in all, whatever it sends meanwhile."""
    mark, begin = s.log_mark(), time.monotonic()
    with socket.create_connection(('127.0.0.1', s.shut), 30 * SLOW) as c:
        hung_up = False
        for b in b'SHUTDOWN' * 3:
            try:
                c.sendall(bytes([b]) if s.log_since(mark) == '' else b'')
            except OSError:
                break
            c.settimeout(2)
            try:
                hung_up = c.recv(1) == b''
                break
            except socket.timeout:
                continue
            except ConnectionResetError:
                hung_up = True
                break
    ok(hung_up and 'the command did not come within 5 s' in s.log_since(mark), 'M64: byte by byte, one each 2 s: ended by an absolute deadline',
       '%.1f s, log: %r' % (time.monotonic() - begin, s.log_since(mark)))
    ok(s.alive() and http1.get(s.address, s.port(), '/robots.txt').status == 200, 'M64: meanwhile and afterwards the server serves')


def crowd(s):
    """More silent callers than there are places: bounded, and the right one comes through all the same."""
    silent = [socket.create_connection(('127.0.0.1', s.shut), 30 * SLOW) for _ in range(40)]
    fds = len(os.listdir('/proc/%d/fd' % s.supervisor_pid()))
    with open('/proc/%d/status' % s.supervisor_pid()) as f:
        note(re.search(r'VmRSS:\s*(.*)', f.read()).group(1) + ' in the supervisor with 40 silent callers')
    mark = s.log_mark()
    s.call(b'NO\n', wait=60)
    wait_until('the talkative caller to be heard', lambda: 'what it sent is not the command' in s.log_since(mark), 60)
    now = len(os.listdir('/proc/%d/fd' % s.supervisor_pid()))
    ok(now <= fds + 8, 'M64: 40 callers at once: at most 8 are talked to at a time, the others wait', 'descriptors %d, then %d' % (fds, now))
    for c in silent:
        c.close()
    wait_until('their places', lambda: len(os.listdir('/proc/%d/fd' % s.supervisor_pid())) <= fds)
    lines = len(re.findall('a caller from', s.log()))
    ok(lines < 200, 'M64: the log is not flooded (%d lines)' % lines)


def two_at_once():
    with Shut() as s:
        a = socket.create_connection(('127.0.0.1', s.shut), 10 * SLOW)
        b = socket.create_connection(('127.0.0.1', s.shut), 10 * SLOW)
        a.sendall(b'SHUT')
        b.sendall(b'SHUTDOWN\n')
        same(s.gone(), 0, 'M64: two connections at once: the one that says it all ends the server')
        a.close()
        b.close()


def off():
    for value in ('-1', '0'):
        with Server(components='tracker', bind='own', sets=[('tomcat.ini:ShutdownPort', value)]) as s:
            same(s.listeners('shutdown'), [], 'M64: ShutdownPort=%s is none' % value)
    with Shut() as s:
        one = s.listeners('shutdown')[0]
        same((one['address'], one['port'], one['services'], one['scheme']), ('127.0.0.1', s.shut, ['shutdown'], 'command'),
             'M64: the plan shows it, on loopback only')
        inside = [x for x in s.eval('listeners()', json_out=True) if x['name'] == 'shutdown'][0]
        ok(inside['state'] == 'taking the shutdown command on 127.0.0.1:%d' % s.shut, 'M64: and so does the console', inside['state'])
        out = subprocess.run(['ss', '-Hltnp', 'sport = :%d' % s.shut], stdout=subprocess.PIPE, text=True, check=True).stdout
        ok('"portreeve"' in out and '"portreeve-engine"' not in out and 'portreeve-engin' not in out, 'M64: no engine has that socket', out)
        mark = s.log_mark()
        s.edit('tomcat.ini', lambda old: old + '\n# touched\n')
        same(s.reload()[0], 0, 'M64: a reload keeps it')
        s.kill_engine()
        wait_until('the next engine', lambda: (s.status(quiet=True) or {}).get('engine', {}).get('restarts', 0) >= 1)
        s.call(b'SHUTDOWN\n', end=False)
        same(s.gone(), 0, 'M64: it works after a reload and a crash of the engine')
        ok('ended' in s.log_since(mark), 'M64: orderly')


def reloaded():
    """The port moves with a reload, and goes with one."""
    s = Server(components='tracker', bind='own', start=False)
    s.sets = [x for x in s.sets if x[0] != 'tomcat.ini:ShutdownPort']
    first, second = free_ports(2)
    s.edit('tomcat.ini', lambda old: old + '\nShutdownPort=%d\n' % first)
    s.start()
    with s:
        s.edit('tomcat.ini', lambda old: old.replace('ShutdownPort=%d' % first, 'ShutdownPort=%d' % second))
        same(s.reload()[0], 0, 'M64: moved by a reload')
        try:
            socket.create_connection(('127.0.0.1', first), 5).close()
            ok(False, 'M64: the old port is closed')
        except ConnectionRefusedError:
            ok(True, 'M64: the old port is closed')
        s.edit('tomcat.ini', lambda old: old.replace('ShutdownPort=%d' % second, 'ShutdownPort=-1'))
        same(s.reload()[0], 0, 'M64: taken away by a reload')
        same(s.listeners('shutdown'), [], 'M64: and gone')


def taken():
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        try:
            with Server(components='tracker', bind='own', sets=[('tomcat.ini:ShutdownPort', str(port))]):
                ok(False, 'M64: port taken: the start fails')
        except Refused as e:
            # Not our own pid: a child of ours that has not yet become the command it is to run holds the socket too.
            ok(e.code == 1 and re.search(r'pid \d+ \(.*test_shutdown\.py\)', e.text) and 'ShutdownPort' in e.text and '127.0.0.1:%d' % port in e.text,
               'M64: port taken: the start fails, entry, address and holder named', e.text[-600:])
    with Server(components='tracker', bind='own', start=False) as s:
        for text, why in (('ShutdownPort=7000\n', 'communications'), ('ShutdownPort=80a\n', 'not a port')):
            s.edit('tomcat.ini', text)
            s.sets = [x for x in s.sets if x[0] not in ('tomcat.ini:ShutdownPort', 'tracker.ini:CommunicationsPort')]
            code, out = s.check()
            ok(code == 1 and 'ShutdownPort' in out and why in out, 'M64: %s is refused on paper' % text.strip(), out)


def elsewhere():
    """127.0.0.1 can be called from another address of the same machine: that is no loopback caller."""
    ns = 'prshut%d' % os.getpid()

    def ip(*args):
        subprocess.run(['ip'] + list(args), check=True)
    ip('netns', 'add', ns)
    try:
        ip('-n', ns, 'link', 'set', 'lo', 'up')
        ip('-n', ns, 'addr', 'add', '192.0.2.9/32', 'dev', 'lo')
        with Server(components='tracker', sets=[('tomcat.ini:ShutdownPort', '8007')], netns=ns) as s:
            code = ('import socket\nc = socket.create_connection(("127.0.0.1", 8007), 10, ("192.0.2.9", 0))\nc.settimeout(10)\n'
                    'try:\n  c.sendall(b"SHUTDOWN\\n")\n  c.recv(1)\nexcept OSError:\n  pass\n')
            subprocess.run(['nsenter', '--net=/run/netns/' + ns, sys.executable, '-c', code], check=True)
            wait_until('the log', lambda: 'a caller from 192.0.2.9:' in s.log())
            ok(s.alive() and 'it does not call from a loopback address' in s.log(), 'M64: a caller that is not on loopback is ignored and logged')
    finally:
        subprocess.run(['ip', 'netns', 'del', ns])


if __name__ == '__main__':
    stops()
    ignores()
    two_at_once()
    off()
    reloaded()
    taken()
    if os.geteuid() == 0:
        elsewhere()
    done()
