#!/usr/bin/python3
"""The supervisor: its lock, its control socket, reload and its answers, death and replacement of the engine, drain, systemd's two protocols, posture."""
import json
import os
import queue
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from load import Load, Plain
from portreeve import Server, command, free_ports, wait_until
from tap import done, ok, same, skip

ROBOTS = '/robots.txt'


def control(s, raw, timeout=20):
    """Speak to the control socket directly; the whole answer."""
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(os.path.join(s.state, 'run', 'control.sock'))
        c.settimeout(timeout)
        if raw:
            c.sendall(raw)
        out = b''
        while True:
            part = c.recv(65536)
            if not part:
                return out.decode()
            out += part


def live(s, other_than=None):
    """Status once an engine serves whose pid is not other_than."""
    def probe():
        st = s.status(quiet=True)
        return st if st and st['engine']['state'] == 'live' and st['engine']['pid'] != other_than else None
    return wait_until('a live engine', probe)


def serves(s, address=None, port=None):
    try:
        return http1.get(address or s.address, port or s.port('http'), ROBOTS).status == 200
    except (OSError, http1.Closed):
        return False


def lock_and_control(s):
    other = Server(start=False)
    other.state = s.state
    other.start(wait=False)  # waiting for ready would ask the first one
    same(other.proc.wait(60), 1, 'a second start is refused')
    ok('pid %d' % s.supervisor_pid() in other.log() and 'portreeve.pid' in other.log(), 'and names the holder', other.log())
    other.stop(check=False)
    ok(serves(s), 'which is not harmed')
    run = os.path.join(s.state, 'run')
    sock = os.path.join(run, 'control.sock')
    same(stat.S_IMODE(os.stat(sock).st_mode), 0o600, 'the control socket is 0600')
    same({d: stat.S_IMODE(os.stat(os.path.join(s.state, d)).st_mode) for d in ('run', 'keys', 'spool', 'db')},
         {d: 0o700 for d in ('run', 'keys', 'spool', 'db')}, 'the rooms of the state folder are 0700')
    ok(control(s, b'no such thing\n').startswith('refused\n'), 'an unknown request is refused')
    ok(control(s, b'x' * 300).startswith('refused\n'), 'a request line without end is refused')
    ok(control(s, b'status\n').startswith('ok\n'), 'a known one is answered')
    same(json.loads(control(s, b'status json\n').split('\n', 1)[1])['pid'], s.supervisor_pid(), 'status json is JSON and names the pid')
    lines = control(s, b'sockets\n').splitlines()
    st = s.status()
    ok(lines[0] == 'ok' and len(lines) - 1 == len(st['listeners']) * st['workers'], 'one socket a worker and listener', lines)
    silent = []
    for _ in range(70):  # more than there are places; they lose theirs after 5 s
        c = socket.socket(socket.AF_UNIX)
        c.connect(sock)
        c.settimeout(20)
        silent.append(c)
    same(s.command('status', timeout=60)[0], 0, 'clients that say nothing do not lock others out')
    same([c.recv(1) for c in silent[:3]], [b''] * 3, 'and are hung up on')
    for c in silent:
        c.close()


def strangers(s):
    if os.geteuid() != 0:
        skip('a stranger is refused at the control socket', 'needs root to become one')
        return
    run, sock = os.path.join(s.state, 'run'), os.path.join(s.state, 'run', 'control.sock')
    before = [(p, os.stat(p).st_mode) for p in (s.dir, s.state, run, sock)]

    def ask():
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                answer = control(s, b'status\n')
            except OSError as e:
                answer = type(e).__name__
            os.write(write, answer.encode()[:4000])
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as f:
            answer = f.read()
        os.waitpid(pid, 0)
        return answer
    same(ask(), 'PermissionError', 'a stranger cannot reach the control socket')
    try:
        for p, _ in before:
            os.chmod(p, 0o777)
        ok(ask().startswith('refused\n'), 'and is refused by SO_PEERCRED where somebody has opened the way')
    finally:
        for p, mode in before:
            os.chmod(p, stat.S_IMODE(mode))


def reload_words(s):
    st = s.status()
    code, text = s.reload()
    ok(code == 0 and 'generation %d is live' % (st['generation'] + 1) in text and '%d sockets kept, 0 opened, 0 closed' % len(st['listeners']) in text,
       'a good reload: exit 0 and what became of the sockets', text)
    st = s.status()
    ok(st['last_reload']['ok'] and st['last_reload']['generation'] == st['generation'] and 'sockets kept' in st['last_reload']['text'], 'status keeps the result', st['last_reload'])
    back = s.snapshot()
    mark = s.log_mark()
    s.append('listeners.ini', 'extra.Port = 70000')
    code, text = s.reload()
    ok(code == 1 and re.search(r'\.ini:\d+', text) and 'serves on' in text, 'a bad one: exit 1, file and line, and that nothing changed', text)
    ok(text.splitlines()[0] in s.log_since(mark), 'the log says the same', s.log_since(mark))
    now = s.status()
    ok(not now['last_reload']['ok'] and now['generation'] == st['generation'] and now['listeners'] == st['listeners'], 'status tells it; the sockets are as before', now['last_reload'])
    same(now['counters']['reloads_failed'], st['counters']['reloads_failed'] + 1, 'it is counted')
    back()
    before = s.status()['generation']
    for _ in range(50):
        os.kill(s.supervisor_pid(), signal.SIGHUP)
    wait_until('a reload after the storm', lambda: s.status()['generation'] > before)
    code, text = s.reload()
    after = s.status()['generation']
    ok(code == 0 and before + 2 <= after < before + 50, 'a storm of SIGHUP is coalesced (%d reloads for 50)' % (after - before - 1), text)


def engine_death(s):
    st = live(s)
    inodes = control(s, b'sockets\n')
    was = s.kill_engine()
    now = live(s, was)
    ok(now['engine']['restarts'] == st['engine']['restarts'] + 1 and now['generation'] == st['generation'], 'a killed engine is started again, same generation', now['engine'])
    same(control(s, b'sockets\n'), inodes, 'on the very same sockets')
    ok(serves(s), 'and it serves')
    ok('signal 9' in s.log(), 'the log says what it died of')
    mark = s.log_mark()

    def backed_off():
        for p in s.engine_pids():
            os.kill(p, signal.SIGKILL)
        return 'starts in 200 ms' in s.log_since(mark)
    wait_until('a back-off', backed_off)
    ok(True, 'engines that die young are started with a growing pause')
    live(s)
    ok(serves(s), 'and once they live again they serve')


def replacement(s):
    load = Load(s.address, s.port('http'), Plain(), kept=4, fresh=3)
    load.start()
    pid = live(s)['engine']['pid']
    for _ in range(3):
        os.kill(s.supervisor_pid(), signal.SIGUSR2)
        pid = live(s, pid)['engine']['pid']
        wait_until('the old engine to leave', lambda: s.engine_pids() == [pid], 60)
        time.sleep(0.1)
    load.finish()
    answered = len(load.results['answered'])
    ok(answered > 100 and not load.results['refused'], 'SIGUSR2: three new engines, no connection refused (%d answers)' % answered, load.errors[:5])
    fresh = [e for e in load.errors if e[2] == 'new']
    same(fresh, [], 'and no new connection lost')
    same(s.command('reload')[0], 0, 'the new engine takes a reload')


def workers_and_addresses():
    address = '127.0.0.1'
    port = free_ports(1)[0]
    with Server(components='tracker', ports=False, sets=[(p, '0') for p in ('hub.ini:RMIPort', 'lui.ini:RMIPort', 'tracker.ini:RMIPort', 'tracker.ini:CommunicationsPort')],
                files={'listeners.ini': '', 'tomcat.ini': 'Port=%d\n' % port, 'portreeve.ini': 'Workers=1\n'}) as s:
        load = Load(address, port, Plain(), kept=4, fresh=3)
        load.start()
        told = []
        for workers in (3, 1, 2):
            s.edit('portreeve.ini', 'Workers=%d\n' % workers)
            told.append(s.reload())
        same([c for c, _ in told], [0, 0, 0], 'the number of workers changes by reload')
        n = sum(line.startswith('0.0.0.0:%d ' % port) for line in control(s, b'sockets\n').splitlines())
        same(n, 3, 'sockets once opened stay: closing one would reset who waits in it')
        told = []
        for i in range(20):
            s.edit('tomcat.ini', 'Port=%d\n%s' % (port, 'BindAddress=127.0.0.1\n' if i % 2 == 0 else ''))
            told.append(s.reload())
        same([t for t in told if t[0] != 0], [], 'twenty changes between wildcard and one address of the same port')
        load.finish()
        ok(len(load.results['answered']) > 100 and not load.errors, 'and of all that no caller noticed anything (%d answers)' % len(load.results['answered']), load.errors[:5])
        with socket.socket() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            c.bind((address, 0))
            c.listen()
            taken = c.getsockname()[1]
            s.edit('tomcat.ini', 'Port=%d\nBindAddress=127.0.0.1,127.0.0.1:%d\n' % (port, taken))
            code, text = s.reload()
            ok(code == 1 and re.search(r'tomcat\.ini:2\b', text) and 'port taken' in text and ('pid %d' % os.getpid() in text or 'a program of' in text),
               'a taken port is refused, with file, line and holder', text)
            ok(serves(s, address, port), 'and the old set serves')


def drain():
    s = Server(components='tracker', settings={'DrainTimeout': 20000})
    port, body = s.port('http'), b'List-Unsubscribe=One-Click'
    with http1.Conn(s.address, port) as c:
        c.send(b'POST /trk/u/none HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n' % len(body) + body[:5])
        ok(serves(s), 'a request is half sent')
        os.kill(s.supervisor_pid(), signal.SIGTERM)

        def refused():
            try:
                http1.Conn(s.address, port, timeout=2).close()
            except OSError:
                return True
            return False
        wait_until('new callers to be refused', refused)
        ok(s.alive(), 'SIGTERM: new callers are refused, the running request keeps it alive')
        c.send(body[5:])
        ok(c.response().status in (200, 400, 404), 'which is answered')
    same(s.proc.wait(60), 0, 'then it ends with exit status 0')
    s.stop()
    s = Server(components='tracker', settings={'DrainTimeout': 600000})
    with http1.Conn(s.address, s.port('http')) as c:
        c.send(b'POST /trk/u/none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n')
        ok(serves(s), 'a request that will never end')
        os.kill(s.supervisor_pid(), signal.SIGTERM)
        wait_until('the drain', lambda: (s.status(quiet=True) or {}).get('stopping'))
        pids = s.engine_pids()
        os.kill(s.supervisor_pid(), signal.SIGTERM)
        same(s.proc.wait(60), 0, 'a second SIGTERM ends at once')
        ok(pids and not [p for p in pids if os.path.exists('/proc/%d' % p)], 'and leaves no engine')
    s.stop()
    s = Server(components='tracker')
    code, out, err = s.command('stop')
    ok(code == 0 and (s.proc.poll() is not None or s.proc.wait(5) == 0), 'portreeve stop returns when the server is gone', out + err)
    same(s.command('stop')[0], 1, 'with none running it is exit status 1')
    s.stop()


ADOPT = '''
import os, socket, sys
at = []
for text in sys.argv[1].split(','):
    address, port = text.rsplit(':', 1)
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    c.bind((address, int(port)))
    c.listen(64)
    at.append(c)
moved = [os.dup2(c.fileno(), 200 + i, inheritable=False) for i, c in enumerate(at)]
for i, fd in enumerate(moved):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(moved)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='x')
os.execv(sys.argv[2], sys.argv[2:])
'''


def socket_activation():
    s = Server(components='tracker', bind='own', start=False)
    port, spare = free_ports(2)
    s.sets = [(k, str(port)) if k == 'tomcat.ini:Port' else (k, v) for k, v in s.sets]
    s.prefix = ['/usr/bin/python3', '-c', ADOPT, '%s:%d,%s:%d' % (s.address, port, s.address, spare)]
    s.start()
    lines = [x for x in control(s, b'sockets\n').splitlines() if x.startswith('%s:%d ' % (s.address, port))]
    ok(lines and all('adopted' in x for x in lines), 'LISTEN_FDS: a socket of the service manager is adopted by address and port', lines)
    ok(serves(s, s.address, port), 'and serves')
    ok('%s:%d' % (s.address, spare) in s.log() and 'no entry' in s.log(), 'one that nothing asks for is warned about')
    ok(not serves(s, s.address, spare), 'and closed')
    with open('/proc/%d/environ' % s.engine_pid(), 'rb') as f:
        ok(b'LISTEN_' not in f.read(), 'the engine does not see the variables')
    same(s.reload()[0], 0, 'a reload keeps it')
    ok(serves(s, s.address, port), 'and it still serves')
    s.stop()


def notify():
    path = '@portreeve-test-%d' % os.getpid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
        n.bind('\0' + path[1:])
        said = queue.SimpleQueue()  # read at once: the kernel keeps ten messages, and a server that starts slowly says more

        def hear():
            while True:
                text = n.recv(4096).decode()
                said.put(text)
                if not text:
                    return
        hearing = threading.Thread(target=hear, daemon=True)
        hearing.start()

        def until(key):
            for _ in range(200):
                text = said.get(timeout=60)
                if key in text.split('\n'):
                    return text
            return ''
        s = Server(components='tracker', env={'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '2000000'})
        first = until('READY=1')
        ok(first, 'NOTIFY_SOCKET: READY=1 once it serves')
        ok(until('WATCHDOG=1') and until('WATCHDOG=1'), 'WATCHDOG=1 again and again')
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        same(s.reload()[0], 0, 'reload')
        text = until('RELOADING=1')
        m = re.search(r'^MONOTONIC_USEC=(\d+)$', text, re.M)
        ok(m and before <= int(m.group(1)) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000, 'RELOADING=1 with MONOTONIC_USEC', text)
        ok(until('READY=1'), 'and READY=1 when it is done')
        s.append('listeners.ini', 'bad.Port = 99999')
        same(s.reload()[0], 1, 'a refused reload')
        ok(until('RELOADING=1') and until('READY=1'), 'is told as ready too: the old generation serves')
        s.stop()
        ok(until('STOPPING=1'), 'STOPPING=1 at the end')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b'', '\0' + path[1:])
        hearing.join()


def posture(s):
    pid = s.supervisor_pid()
    with open('/proc/%d/status' % pid) as f:
        fields = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
    with open('/proc/%d/limits' % pid) as f:
        limits = f.read()
    bind = 1 << 10
    ok(int(fields['CapPrm'], 16) & ~bind == 0 and int(fields['CapEff'], 16) & ~bind == 0, 'the supervisor keeps CAP_NET_BIND_SERVICE at most', fields['CapPrm'])
    ok(re.search(r'Max core file size\s+0\s', limits), 'no core')
    m = re.search(r'Max open files\s+(\S+)\s+(\S+)', limits)
    same(m.group(1), m.group(2), 'descriptors up to the hard limit')
    if os.geteuid() != 0:  # root owns both kinds of files
        ok(os.stat('/proc/%d/environ' % pid).st_uid == 0, 'not dumpable')
    mapped = {os.path.basename(x.split()[5]) for x in open('/proc/%d/maps' % pid) if len(x.split()) > 5}  # their folders may be called anything
    ok('portreeve' in mapped and not [x for x in mapped if re.search(r'lua|libssl|libcrypto|sqlite|libcurl', x)], 'no Lua, OpenSSL or SQLite in the supervisor', mapped)


def full_disk():
    """A server that must be started again while its disk is full: links and pixels are answered, the number in the pid file is for people only."""
    if os.geteuid() != 0:
        skip('a start on a full disk', 'needs root, for a disk of its own')
        return
    with Server(components='tracker', start=False) as s:
        os.makedirs(s.state, exist_ok=True)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=12m,mode=700', 'tmpfs', s.state], check=True)
        try:
            s.start()
            link = s.mint()
            number = os.path.join(s.state, 'run', 'portreeve.pid')
            with open(number, encoding='ascii') as f:
                same(f.read(), '%d\n' % s.supervisor_pid(), 'the pid file has the number of who runs')
            for left in ('\n', ''):
                s.stop_only()
                with open(number, encoding='ascii') as f:
                    same(f.read(), '\n', 'and none after an end in order: kill 0 would end whoever asks')
                with open(number, 'w', encoding='ascii') as f:
                    f.write(left)
                with open(os.path.join(s.state, 'filler'), 'wb', 0) as f:
                    try:
                        while True:
                            f.write(b'x' * 4096)
                    except OSError:
                        pass
                s.start()
                path = '/trk/' + link['open'].split('/trk/')[1]
                ok('NOT RECORDED' not in s.command('status')[1], 'nothing is lost yet')
                same(http1.get(s.address, s.port('http'), path).status, 200, 'started on a full disk it answers')
                ok('EVENTS: 1 NOT RECORDED' in s.command('status')[1], 'and status tells what that costs', s.command('status')[1])
                os.unlink(os.path.join(s.state, 'filler'))
        finally:
            if s.proc:
                s.stop_only()
            subprocess.run(['umount', s.state], check=True)


def usage():
    code, out, _ = command('help')
    ok(code == 0 and all(x in out for x in ('run', 'reload', 'status', 'stop', 'console', 'mint')), 'help lists the commands')
    for name in ('run', 'reload', 'status', 'stop'):
        code, out, _ = command(name, '--help')
        ok(code == 0 and 'usage: portreeve ' + name in out, name + ' --help')
        same(command(name, '--nonsense')[0], 2, name + ' with an unknown option is a usage error')
    same(command()[0], 2, 'no command is a usage error')
    same(command('run', '--state')[0], 2, 'an option without its value is a usage error')
    ok(re.match(r'portreeve \d', command('version')[1]), 'version')
    code, _, err = command('reload', '--state', '/nonexistent')
    ok(code == 1 and '/nonexistent' in err, 'reload without a server is exit status 1 and names the state folder', err)


usage()
with Server(components='tracker') as server:
    for part in (lock_and_control, strangers, reload_words, engine_death, replacement, posture):
        part(server)
workers_and_addresses()
drain()
full_disk()
socket_activation()
notify()
done()
