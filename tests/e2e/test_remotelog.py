#!/usr/bin/python3
"""The remote log (Q13): real senders over UDP, TCP and TLS, frames in pieces, floods, rotation, a full disk; and what the console shows."""
import ctypes
import os
import re
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'lib'))
import tap  # noqa: E402
from logs import remote_files as files, remote_folder, remote_line as got, remote_lines as lines, whole_lines  # noqa: E402
from portreeve import SLOW, Server, free_ports, rss, wait_until  # noqa: E402


def server(port, tls=None, more='', **kw):
    s = Server(bind='own', start=False, **kw)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    at = (s.address, port)
    s.edit('listeners.ini', 'logs.Port=%s:%d\nlogs.Services=remote-log\nlogs.2.Port=%s:%d\nlogs.2.Transport=UDP\n' % (at + at) +
           ('logs.3.Port=%s:%d\nlogs.3.InitTLS=On\n' % (s.address, tls) if tls else '') + more)
    if tls:
        s.edit('certificates.ini', 'default.Certificate=development\n')
    return s.start()


def tcp(s, port, *parts):
    with socket.create_connection((s.address, port), timeout=20) as c:
        for p in parts:
            c.sendall(p)


def logger(s, port, *args):
    p = subprocess.run(['logger', '--server', s.address, '--port', str(port)] + list(args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=30, check=False)
    return p.returncode, p.stdout


def real_senders():
    """Show 6: util-linux logger over UDP and TCP in both formats, openssl over TLS."""
    port, tls = free_ports(2)
    with server(port, tls) as s:
        for name, args in (('udp rfc5424', ['-d']), ('tcp rfc5424', ['-T']), ('tcp counted', ['-T', '--octet-count']), ('udp rfc3164', ['-d', '--rfc3164']),
                           ('tcp rfc3164', ['-T', '--rfc3164'])):
            words = 'by logger ' + name
            code, out = logger(s, port, *args, '-p', 'mail.warning', '-t', 'tester', words)
            line = got(s, words)
            tap.ok(code == 0 and re.search(r'^\S+Z 127\.\d+\.\d+\.\d+ %s mail\.warning \S+ tester(\[\d+\])? - .*%s$' % (name[:3], words), line),
                   'Q13: logger, ' + name, line or out)
        code, out = logger(s, port, '-d', '--rfc5424', '--msgid', 'ID47', '--sd-id', 'x@32473', '--sd-param', 'a="b c"', 'structured')
        tap.ok(' ID47 ' in got(s, 'structured') and '[x@32473 a="b c"]' in got(s, 'structured'), 'message id and structured data', got(s, 'structured'))
        p = subprocess.run(['openssl', 's_client', '-quiet', '-no_ign_eof', '-connect', '%s:%d' % (s.address, tls)], input=b'29 <34>1 - host app 7 - - by tls',
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, check=False)
        tap.ok(re.search(r' tls auth\.crit host app\[7\] - - by tls', got(s, 'by tls')), 'RFC 5425: openssl s_client over TLS', p.stderr[-300:])
        rows = s.eval('logs{severity="warning", n=3}', json_out=True)
        tap.ok(len(rows) == 3 and rows[0]['text'] == 'by tls' and rows[0]['transport'] == 'tls' and all(r['listener'] == 'logs' for r in rows),
               'logs() shows the last, newest first', rows)
        tap.same([r['msgid'] for r in s.eval('logs{text="structured"}', json_out=True)], ['ID47'], 'and those that one asks for')
        tap.same(s.eval('logs{severity="crit", host="nobody"}', json_out=True), [], 'or none')
        code, out, err = s.command('eval', 'logs{colour="red"}')
        tap.ok(code != 0 and 'colour' in out + err, 'a filter that it does not know is refused', out + err)
        tap.ok(s.counter('log_messages') >= 7 and s.counter('log_dropped') == 0, 'counted')
        mode = os.stat(os.path.join(remote_folder(s), 'logs.log')).st_mode & 0o777
        tap.ok(mode & 0o007 == 0, 'and the file is not for everybody', oct(mode))


def split_frames():
    """Every way to cut a stream of both framings into two gives the same messages; many at once arrive in order."""
    port = free_ports(1)[0]
    with server(port) as s:
        stream = b'<34>a: one\n9 <34>b: 2\n<35>c: three\r\n'
        for i in range(len(stream) + 1):
            with socket.create_connection((s.address, port), timeout=20) as c:
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                c.sendall(stream[:i])
                if i % 3 == 0:
                    wait_until('it to be read', lambda: s.counter('accepted') is not None)
                c.sendall(stream[i:])
        n = 3 * (len(stream) + 1)
        wait_until('%d messages' % n, lambda: len(lines(s)) >= n)
        kinds = {}
        for x in lines(s):
            key = x.split(' ', 3)[3]
            kinds[key] = kinds.get(key, 0) + 1
        tap.same(sorted(kinds.items()), sorted({'auth.crit - a - - one': len(stream) + 1, 'auth.crit - b - - 2': len(stream) + 1,
                                                'auth.err - c - - three': len(stream) + 1}.items()), 'cut at each byte, the same messages')
        with socket.create_connection((s.address, port), timeout=20) as c:
            for b in b'<34>slow: bytes one by one\n17 <34>slow: counted<34>slow: no end':
                c.sendall(bytes([b]))
        got(s, 'no end')
        tap.same([x.split(' - - ')[1] for x in lines(s) if ' slow ' in x], ['bytes one by one', 'counted', 'no end'], 'each byte by itself; the last without its end')
        tcp(s, port, b''.join(b'<34>order: %d\n' % i for i in range(20000)))
        wait_until('20000 messages', lambda: len([x for x in lines(s) if ' order ' in x]) == 20000)
        tap.same([int(x.rsplit(' ', 1)[1]) for x in lines(s) if ' order ' in x], list(range(20000)), '20,000 in one stream, in order')


def hostile():
    """What is too long is cut; control characters do no harm; a message that never ends meets its deadline."""
    port = free_ports(1)[0]
    with server(port, settings={'BodyTimeout': 1000 * SLOW}) as s:
        tcp(s, port, b'<34>long: ' + b'x' * 100000 + b'\n<34>next: one\n')
        got(s, 'next')
        long = [x for x in lines(s) if ' long ' in x][0]
        tap.ok(long.endswith('x [cut]') and len(long) < 8400, 'a line of 100,000 bytes is cut', len(long))
        tcp(s, port, b'50000 <34>counted: ' + b'y' * (50000 - 13) + b'15 <34>after: that')
        got(s, 'that')
        tap.ok(len([x for x in lines(s) if ' counted ' in x and x.endswith('y [cut]')]) == 1, 'a counted one too, and what follows is whole')
        tcp(s, port, b'<34>evil: \x1b]0;owned\x07 \x1b[2J \xff\xfe \xe2\x80\xae fake\r<34>x: y\n')
        line = got(s, 'owned')
        tap.ok('\x1b' not in line and '\\x1b]0;owned\\x07' in line and '\\xff\\xfe' in line and '\\xe2\\x80\\xae' in line and '\\x0d' in line,
               'control characters, broken bytes and direction marks are written harmlessly', line)
        tap.ok('\x1b' not in s.eval('logs(1)'), 'to the console too')
        mark = s.counter('timeouts')
        with socket.create_connection((s.address, port), timeout=20) as c:
            c.sendall(b'<34>never ')
            tap.same(c.recv(1), b'', 'a message that never ends: the connection is closed')
        tap.ok(s.counter('timeouts') == mark + 1, 'by its deadline (BodyTimeout)')
        with socket.create_connection((s.address, port), timeout=20) as c:
            c.sendall(b'<34>quiet: before\n')
            got(s, 'quiet')
            c.settimeout(2.5 * SLOW)
            try:
                c.recv(1)
                tap.ok(False, 'a quiet connection stays')
            except socket.timeout:
                c.sendall(b'<34>quiet: behind\n')
                tap.ok('behind' in got(s, 'behind'), 'a quiet connection stays, far beyond that deadline')


def rotation():
    """The files are bounded in size and number; one that is moved away (logrotate) is made anew; a reload changes the bounds."""
    port = free_ports(1)[0]
    with server(port, settings={'RemoteLogSize': 10000, 'RemoteLogFiles': 3}) as s:
        for burst in range(30):
            tcp(s, port, b''.join(b'<34>r: %05d %s\n' % (burst * 100 + i, b'z' * 50) for i in range(20)))
            wait_until('burst %d' % burst, lambda: any('%05d ' % (burst * 100 + 19) in x for x in lines(s)))
        tap.same(files(s), ['logs.log', 'logs.log.1', 'logs.log.2'], 'three files')
        sizes = [os.path.getsize(os.path.join(remote_folder(s), f)) for f in files(s)]
        tap.ok(all(x <= 10000 for x in sizes), 'none above its bound', sizes)
        numbers = []
        for f in ('logs.log.2', 'logs.log.1', 'logs.log'):
            numbers += [int(x.split(' - - ')[1][:5]) for x in whole_lines(os.path.join(remote_folder(s), f))]
        tap.ok(numbers == sorted(numbers) and numbers[-1] == 2919 and len(set(numbers)) == len(numbers), 'in order, none twice', numbers[-3:])
        path = os.path.join(remote_folder(s), 'logs.log')
        os.rename(path, path + '.mine')
        tcp(s, port, b'<34>r: after logrotate\n')
        got(s, 'after logrotate')
        tap.ok(os.path.exists(path), 'a file that is moved away is made anew')
        s.sets = [x for x in s.sets if 'RemoteLogFiles' not in x[0]]


def several():
    """A file for each listener; names decide, not places."""
    a, b = free_ports(2)
    s = Server(bind='own', start=False)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    s.edit('listeners.ini', ''.join('%s.Port=%s:%d\n%s.Services=remote-log\n' % (n, s.address, p, n) for n, p in (('one', a), ('two', b))))
    with s.start():
        tcp(s, a, b'<34>x: to one\n')
        tcp(s, b, b'<34>x: to two\n')
        wait_until('both', lambda: lines(s, 'one') and lines(s, 'two'))
        tap.ok('to one' in lines(s, 'one')[0] and 'to two' in lines(s, 'two')[0], 'each listener its own file')


def flood():
    """Faster than anything can be written: memory stays bounded, what is lost is counted, HTTP goes on, and every message is accounted for."""
    port = free_ports(1)[0]
    with server(port, settings={'Workers': 1, 'RemoteLogSize': 4194304, 'RemoteLogFiles': 2}) as s:
        before = rss(s.engine_pid())
        stop = threading.Event()
        text = b''.join(b'<34>flood: %s\n' % (b'f' * 200) for _ in range(300))

        def shoot():
            with socket.create_connection((s.address, port)) as c:
                while not stop.is_set():
                    c.sendall(text)
        def rain():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
                while not stop.is_set():
                    u.sendto(b'<34>rain: drop', (s.address, port))
        threads = [threading.Thread(target=f) for f in (shoot, shoot, rain)]
        for t in threads:
            t.start()
        try:
            wait_until('100,000 messages', lambda: s.counter('log_messages') > 100000, 60)
            from http1 import get
            tap.same(get(s.address, s.port('http'), '/robots.txt').status, 200, 'HTTP is answered meanwhile by the same worker')
            most = rss(s.engine_pid())
        finally:
            stop.set()
            for t in threads:
                t.join()
        tap.ok(most - before < 80000 * SLOW, 'memory is bounded: %d KB more' % (most - before))
        tap.note('%d messages, %d dropped' % (s.counter('log_messages'), s.counter('log_dropped')))
        tcp(s, port, b'<34>calm: again\n')
        got(s, 'calm')
        tap.ok(True, 'afterwards all is as before')
        size = sum(os.path.getsize(os.path.join(remote_folder(s), f)) for f in files(s))  # nothing is written any more
        tap.ok(size <= 2 * 4194304, 'the disk is bounded too: %d bytes' % size)


def full_disk():
    """A tmpfs of its own that is full: messages are lost and counted, once said, service goes on; when there is room they are written again, in whole lines."""
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(0x00020000) != 0:  # CLONE_NEWNS
        tap.skip('a full disk', 'needs root, for a mount of its own; run as root')
        return
    subprocess.run(['mount', '--make-rprivate', '/'], check=True)
    port = free_ports(1)[0]
    s = Server(bind='own', start=False, components='hub')
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    s.edit('listeners.ini', 'logs.Port=%s:%d\nlogs.Services=remote-log\n' % (s.address, port))
    folder = remote_folder(s)
    os.makedirs(folder)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder], check=True)
    try:
        with s.start():
            tcp(s, port, b'<34>d: first\n')
            got(s, 'first')
            ballast = os.open(os.path.join(folder, 'ballast'), os.O_WRONLY | os.O_CREAT)
            try:
                while os.write(ballast, b'b' * 4096):
                    pass
            except OSError:
                os.close(ballast)
            mark = s.log_mark()
            for i in range(20):
                tcp(s, port, b''.join(b'<34>d: lost %d.%d %s\n' % (i, k, b'q' * 900) for k in range(10)))
            wait_until('losses', lambda: s.counter('log_dropped') > 100)
            wait_until('the log', lambda: 'No space left on device' in s.log_since(mark))
            tap.ok(s.log_since(mark).count('No space left on device') == 1, 'the full disk is said once', s.log_since(mark))
            from http1 import get
            tap.ok(get(s.address, s.port('http'), '/hub/').status in (200, 302, 303), 'the rest of the server serves on')
            os.unlink(os.path.join(folder, 'ballast'))
            tcp(s, port, b'<34>d: room again\n')
            line = got(s, 'room again')
            tap.ok(re.match(r'^\S+Z \S+ tcp auth\.crit - d - - room again$', line), 'with room it is written again, as a whole line', line)
            tap.ok(all(re.match(r'^\S+Z \S+ tcp auth\.crit - d - - ', x) for x in lines(s)), 'and no half line stands in the file')
            wait_until('the log', lambda: 'can be written again' in s.log_since(mark))
            tap.ok(True, 'which is said too')
    finally:
        s.kill()
        subprocess.run(['umount', '-l', folder], check=False)
        s.cleanup()


def restart():
    """A connection outlives a reload; when its listener goes it is closed; an engine that is killed loses no line that stands in a file."""
    port, another = free_ports(2)
    with server(port) as s:
        with socket.create_connection((s.address, port), timeout=20) as c:
            c.sendall(b'<34>k: before\n')
            got(s, 'before')
            s.append('listeners.ini', 'logs.MaxConnections=50\n')
            code, out = s.reload()
            c.sendall(b'<34>k: behind\n')
            tap.ok(code == 0 and 'behind' in got(s, 'behind'), 'a kept connection goes on over a reload', out)
            rows = [r for r in s.eval('connections()', json_out=True) if r['listener'] == 'logs']
            tap.same([r['generation'] for r in rows], [2], 'in the new generation')
            s.edit('listeners.ini', 'other.Port=%s:%d\n' % (s.address, another))
            code, out = s.reload()
            tap.same(c.recv(1), b'', 'and ends when its listener goes')
        tap.ok(len(lines(s)) == 2, 'nothing is lost', lines(s))


real_senders()
split_frames()
hostile()
rotation()
several()
flood()
restart()
full_disk()
tap.done()
