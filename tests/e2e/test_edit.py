#!/usr/bin/python3
"""Changing listeners from inside the running server (G6, G7, Q15): through the whole gate, all or nothing, at once, and into the files, which
keep everything that nobody asked to change."""
import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from portreeve import BUILD, ROOT, Server, free_ports, program_for_everybody, wait_until
from tap import done, ok, same, skip

NOBODY = pwd.getpwnam('nobody')


def ask(s, text):
    """A line at the console: (exit status, what it said)."""
    code, out, err = s.command('eval', text, timeout=120)
    return code, out + err


def answers(address, port):
    try:
        return http1.get(address, port, '/robots.txt').status
    except ConnectionRefusedError:
        return None


def start(listeners='# none\n', **more):
    files = dict({'listeners.ini': listeners}, **more.pop('files', {}))
    return Server(components='tracker', bind='own', files=files, **more)


def raw(s, name='listeners.ini'):
    with open(s.path(name), 'rb') as f:
        return f.read()


def bound(s):
    return sorted((x['name'], x['address'], x['port']) for x in s.listeners())


def adds_and_removes():
    a, b, c = free_ports(3)
    text = '# first comment\r\nold.Port=%d\r\nold.Address = 127.0.0.1, \\\r\n   [::1]\r\n! second\r\nold.Services=tracker\r\n' % a
    with Server(components='tracker', bind='own', start=False) as s:
        with open(s.path('listeners.ini'), 'wb') as f:
            f.write(text.encode())
        os.chmod(s.path('listeners.ini'), 0o640)
        s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini')]
        s.start()
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1", Services = { "tracker" } })' % b)
        ok(code == 0 and re.search(r'listeners\.ini:8: new\.Port=%d \(new\)' % b, out), 'G6: a listener is added; file and line are told', out)
        same(answers('127.0.0.1', b), 200, 'G6: it serves at once')
        want = text + '\r\nnew.Port=%d\r\nnew.Address=127.0.0.1\r\nnew.Services=tracker\r\n' % b
        same(raw(s).decode(), want, 'the file: comments, order and CRLF line ends as they were, the new entries behind them')
        same(oct(os.stat(s.path('listeners.ini')).st_mode & 0o7777), '0o640', 'its mode is kept')
        because = s.listeners('new')[0]['because']
        ok(because['line'] == 8 and because['file'].endswith('listeners.ini'), 'status names the new line', because)
        code, out = ask(s, 'listener.set("old", { Port = %d, Backlog = 99 })' % c)
        ok(code == 0 and 'old.Port=%d (was %d)' % (c, a) in out, 'a change tells old and new value', out)
        ok(re.search(r'edit: asked for by uid %d at the console: set listeners\.ini:old\.Backlog=99, set listeners\.ini:old\.Port=%d|'
                     r'edit: asked for by uid %d at the console: set listeners\.ini:old\.Port=%d, set listeners\.ini:old\.Backlog=99'
                     % (os.geteuid(), c, os.geteuid(), c), s.log()), 'the log has who asked for what')
        ok('old.Port=%d (was %d)' % (c, a) in s.log(), 'and what it was before')
        want = want.replace('old.Port=%d' % a, 'old.Port=%d' % c).replace('old.Services=tracker\r\n', 'old.Services=tracker\r\nold.Backlog=99\r\n')
        same(raw(s).decode(), want, 'the file: only that value changed, a new entry stands with its listener')
        same((answers('127.0.0.1', a), answers('127.0.0.1', c)), (None, 200), 'the old port is closed, the new one serves')
        code, out = ask(s, 'listener.set("old", { Port = 0 })')
        ok(code == 0 and 'old.Address is removed' in out, 'G7: port 0 takes a listener away', out)
        same(raw(s).decode(), '# first comment\r\n! second\r\n' + want[want.index('\r\nnew.Port'):],
             'G7: its entries go, continuation lines too; comments stay')
        same(answers('127.0.0.1', c), None, 'G7: its port is closed')
        code, out = ask(s, 'listener.remove("new")')
        same((code, bound(s)), (0, [x for x in bound(s) if x[0] not in ('old', 'new')]), 'G7: and the other one goes by name')
        code, out = ask(s, 'listener.remove("new")')
        ok(code == 1 and 'no such entry' in out, 'removing what is not there is a mistake', out)
        same(s.reload()[0], 0, 'what was written is what a reload reads')
        same([x for x in s.status()['listeners'] if x['name'] in ('old', 'new')], [], 'and it changes nothing')


def all_or_nothing():
    a, b, c = free_ports(3)
    with start('one.Port=%d\none.Address=127.0.0.1\none.Services=tracker\n' % a, ports=False,
               sets=own_ports()) as s:
        before, sockets = raw(s), bound(s)
        both = 'listener.set{ two = { Port = %s, Address = "127.0.0.1", Services = "tracker" }, three = { Port = %s, Address = "127.0.0.1" } }'
        for name, x, y, why in (('an invalid number', b, '"80a"', 'three.Port=80a'), ('port 65536', b, 65536, '65536'), ('a negative port', b, -1, '-1'),
                                ('a duplicate', b, b, 'the same address and port'), ('a port that a listener has', b, a, 'one'),
                                ('a fraction', b, 8081.5, '8081.5')):
            code, out = ask(s, both % (x, y))
            ok(code == 1 and why in out, 'G6: two at once, %s: the whole update is refused' % name, out)
            same((raw(s), bound(s)), (before, sockets), 'G6: … and file and table are as before')
        code, out = ask(s, both % (b, c))
        same((code, answers('127.0.0.1', b), answers('127.0.0.1', c)), (0, 200, 200), 'G6: two at once')
        with socket.socket() as other:
            other.bind(('127.0.0.1', 0))
            other.listen()
            before, sockets = raw(s), bound(s)
            code, out = ask(s, 'listener.set("four", { Port = %d, Address = "127.0.0.1" })' % other.getsockname()[1])
            ok(code == 1 and ('pid %d' % os.getpid() in out or 'a program of user' in out) and '127.0.0.1:%d' % other.getsockname()[1] in out,
               'a port that another program has: the holder is named', out)
            same((raw(s), bound(s)), (before, sockets), 'and nothing has changed')
        same(sorted(os.listdir(s.conf)), sorted(os.listdir(os.path.join(ROOT, 'conf'))), 'no file is left lying about')


def own_ports():
    """Every port but those of listeners.ini, so that these can be edited."""
    return [('tomcat.ini:Port', '0'), ('hub.ini:RMIPort', '0'), ('lui.ini:RMIPort', '0'), ('tracker.ini:RMIPort', '0'),
            ('tracker.ini:CommunicationsPort', '0'), ('tomcat.ini:ShutdownPort', '-1')]


def rehearsals():
    a, = free_ports(1)
    with start() as s:
        before, sockets, last = raw(s), bound(s), s.status()['last_reload']
        code, out = ask(s, 'listener.try("new", { Port = %d, Address = "127.0.0.1" })' % a)
        ok(code == 0 and 'nothing has changed yet' in out and '127.0.0.1:%d opens' % a in out, 'a rehearsal says what would be', out)
        code, out = ask(s, 'listener.try("new", { Port = "x" })')
        ok(code == 1 and 'new.Port=x' in out, 'and what would refuse', out)
        same((raw(s), bound(s), answers('127.0.0.1', a)), (before, sockets, None), 'and changes nothing')
        same(s.status()['last_reload'], last, 'nor is it the last reload')
        ok('edit: rehearsed by' in s.log(), 'the log tells it from a change')
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)
        generation = s.status()['generation']
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)
        ok(code == 0 and 'nothing to change' in out and s.status()['generation'] == generation, 'the same once more is no change', out)


def refusals():
    a, = free_ports(1)
    with start() as s:
        for text, why in (('listener.set("new", { Prot = 1 })', 'did you mean Port?'), ('listener.set("a b", { Port = 1 })', 'cannot name a listener'),
                          ('listener.set("new", {})', 'nothing is to be changed'), ('listener.set("new", 5)', 'Port = 8081'),
                          ('listener.set("new", { Port = print })', "no 'print'"), ('listener.set("http", { Port = 5 })', 'sockets from tomcat.ini'),
                          ('listener.set("shutdown", { Port = 5 })', 'shutdown port'), ('listener.set("new", { List = ("x"):rep(2000), Port = 1 })', '1024'),
                          ('listener.set("new", { Port = "1\\nuser.Port=2" })', 'one line'),
                          ('listener.set("new", { Port = %d, InitTLS = "On", Certificate = "none" })' % a, 'none'),
                          ('listener.set("new", { Port = %d, Restriction = "Grant", List = "gone" })' % a, 'gone.list')):
            before = raw(s)
            code, out = ask(s, text)
            ok(code == 1 and why in out and raw(s) == before, 'refused: %s' % text[:70], out)
        s.append('listeners.ini', '# half a thought')
        before = raw(s)
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)
        ok(code == 1 and 'changed since it was read' in out and 'reload' in out, 'a file that was changed by hand meanwhile is not touched', out)
        same(raw(s), before, 'nor is it written')
        same(s.reload()[0], 0, 'after a reload')
        s.append('tomcat.ini', 'Port=nonsense')
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)
        ok(code == 0, 'the change is made, whatever stands in other files that nobody has brought into force', out)
        ok(b'# half a thought' in raw(s), 'with what was written by hand')
        code, out = ask(s, 'listener.set("new", { Port = %d, InitTLS = "On" })' % a)
        same((code, http1.get('127.0.0.1', a, '/robots.txt', tls=http1.tls_context()).status), (0, 200), 'plain becomes TLS at once')


def kept_connections():
    """Q15, G7: one listener becomes three on one port, each with its own address; what runs is finished, and others notice nothing."""
    port, other = free_ports(2)
    text = 'mail.Port=%d\nmail.Services=tracker\nstays.Port=%d\nstays.Address=127.0.0.1\nstays.Services=tracker\n' % (port, other)
    with start(text, ports=False, sets=own_ports()) as s:
        with socket.create_connection(('127.0.0.1', port), 20) as old, socket.create_connection(('127.0.0.1', other), 20) as beside:
            old.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n')
            http1_get(beside)
            wait_until('both', lambda: s.eval('#connections()') == '2')
            code, out = ask(s, 'listener.set{ mail = { Port = 0 }, mail1 = { Port = %d, Address = "127.0.0.1", Services = "tracker" }, '
                               'mail2 = { Port = %d, Address = "127.0.0.2", Services = "tracker" }, '
                               'mail3 = { Port = %d, Address = "127.0.0.3", Services = "ops" } }' % (port, port, port))
            same(code, 0, 'Q15: the all-address listener is removed and three are made on its port, in one step')
            same([answers('127.0.0.%d' % i, port) for i in (1, 2, 3, 4)], [200, 200, 404, None], 'Q15: each on its own address, with its own services')
            old.sendall(b'\r\n')
            ok(old.recv(4000).startswith(b'HTTP/1.1 200'), 'G7: a request that came on the removed listener is answered')
            ok(http1_get(beside).startswith(b'HTTP/1.1 200'), 'Q15: a connection of another listener stays')
        code, out = ask(s, 'listener.remove("mail2")')
        same([answers('127.0.0.%d' % i, port) for i in (1, 2, 3)], [200, None, 404], 'Q15: one instance goes, the others stay')
        code, out = ask(s, 'listener.set("mail1", { [2] = { Port = %d, Address = "127.0.0.2" } })' % port)
        same((code, answers('127.0.0.2', port)), (0, 200), 'Q15: a second socket of a listener')
        code, out = ask(s, 'listener.set("mail1", { [2] = { Port = 0 } })')
        same((code, answers('127.0.0.1', port), answers('127.0.0.2', port)), (0, 200, None), 'and away again')


def http1_get(c):
    c.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n')
    return c.recv(4000)


def race():
    """Edits beside each other, beside reloads and SIGHUPs: one at a time, none is lost."""
    ports = free_ports(12)
    with start() as s:
        results = {}

        def edit(i):
            results[i] = ask(s, 'listener.set("l%d", { Port = %d, Address = "127.0.0.1", Services = "tracker" })' % (i, ports[i]))
        threads = [threading.Thread(target=edit, args=(i,)) for i in range(len(ports))]
        for n, t in enumerate(threads):
            t.start()
            if n % 3 == 0:
                os.kill(s.supervisor_pid(), signal.SIGHUP)
        for t in threads:
            t.join()
        bad = {i: r for i, r in results.items() if r[0] != 0}
        ok(not bad, 'edits race with each other and with SIGHUP: each is made', bad)
        ok(all('l%d.Port=%d (new)' % (i, ports[i]) in r[1] for i, r in results.items()), 'and each hears its own answer')
        same([answers('127.0.0.1', p) for p in ports], [200] * len(ports), 'all of them serve')
        same(len(re.findall(rb'^l\d+\.Port=', raw(s), re.M)), len(ports), 'and all of them stand in the file')
        s.crash_engine()
        same([answers('127.0.0.1', p) for p in ports], [200] * len(ports), 'a crash of the engine loses none')
        s.stop_only()
        s.start()
        same([answers('127.0.0.1', p) for p in ports], [200] * len(ports), 'nor does a restart')


def symlink():
    a, = free_ports(1)
    with start() as s:
        real = os.path.join(s.dir, 'elsewhere')
        os.mkdir(real)
        os.rename(s.path('listeners.ini'), os.path.join(real, 'l.ini'))
        os.symlink('../elsewhere/l.ini', s.path('listeners.ini'))
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)
        ok(code == 0 and os.path.islink(s.path('listeners.ini')) and b'new.Port' in raw(s) and os.listdir(real) == ['l.ini'],
           'a symlink is followed and stays', out)
        os.unlink(s.path('listeners.ini'))
        same(s.reload()[0], 0, 'without the file')
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)
        same((code, raw(s).decode(), oct(os.stat(s.path('listeners.ini')).st_mode & 0o777)),
             (0, 'new.Address=127.0.0.1\nnew.Port=%d\n' % a if raw(s).startswith(b'new.A') else 'new.Port=%d\nnew.Address=127.0.0.1\n' % a, '0o644'),
             'a file that does not exist is made')


def tree():
    """The installed tree: conf/listeners.ini below the folder given with --conf."""
    a, = free_ports(1)
    with Server(components='tracker', bind='own', start=False) as s:
        flat = s.conf
        s.conf = os.path.join(s.dir, 'tree')
        for name, folder in (('tomcat.ini', 'conf'), ('portreeve.ini', 'conf'), ('certificates.ini', 'conf'), ('tracker.ini', 'trk'),
                             ('hub.ini', 'hub'), ('lui.ini', 'lui')):
            os.makedirs(os.path.join(s.conf, folder), exist_ok=True)
            shutil.copy(os.path.join(flat, name), os.path.join(s.conf, folder, name))
        s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini')]
        s.start()
        code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)
        ok(code == 0 and os.path.exists(os.path.join(s.conf, 'conf/listeners.ini')) and not os.path.exists(os.path.join(s.conf, 'listeners.ini')),
           'in an installed tree the new file goes into its folder', out)


def private_mounts():
    """This process gets a mount table of its own, so that a test's file systems end with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x20000) != 0:  # CLONE_NEWNS
        return False
    return subprocess.run(['mount', '--make-rprivate', '/'], stderr=subprocess.DEVNULL).returncode == 0


def refused_for(s, name, port, *words):
    before, sockets, generation = raw(s), bound(s), s.status()['generation']
    code, out = ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % port)
    ok(code == 1 and all(w in out for w in words), '%s: refused, with file, user and what to do' % name, out)
    same((raw(s), bound(s), s.status()['generation'], answers('127.0.0.1', port)), (before, sockets, generation, None),
         '%s: nothing has changed' % name)


def disks():
    a, = free_ports(1)
    with Server(components='tracker', bind='own', start=False) as s:
        kept = os.path.join(s.dir, 'kept')
        shutil.copytree(s.conf, kept)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k,mode=755', 'tmpfs', s.conf], check=True)
        shutil.copytree(kept, s.conf, dirs_exist_ok=True)
        s.start()
        try:
            filler = os.open(s.path('filler'), os.O_CREAT | os.O_WRONLY)
            try:
                while True:
                    os.write(filler, b'x' * 4096)
            except OSError:
                os.close(filler)
            refused_for(s, 'a full disk', a, 'listeners.ini', 'user root', 'No space left', 'make room')
            os.unlink(s.path('filler'))
            subprocess.run(['mount', '-o', 'remount,ro', s.conf], check=True)
            refused_for(s, 'a read-only disk', a, 'listeners.ini', 'user root', 'Read-only', 'writable')
            subprocess.run(['mount', '-o', 'remount,rw', s.conf], check=True)
            same(ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)[0], 0, 'once it can be written the change is made')
            ok(not [x for x in os.listdir(s.conf) if x.startswith('.')], 'and nothing is left lying about')
        finally:
            s.stop_only()
            subprocess.run(['umount', s.conf], check=True)


def users():
    """Supervisor of root, engine of nobody: files of root as root, files of nobody as nobody, files of others not at all."""
    a, b, c = free_ports(3)
    program_for_everybody()
    # At its end the supervisor is nobody too, and may then not be looked into, not even by itself.
    quiet = {'ASAN_OPTIONS': 'detect_leaks=0:exitcode=99'}
    with Server(components='tracker', bind='own', args=['--user', 'nobody'], env=quiet, start=False) as s:
        os.chmod(s.dir, 0o755)
        s.start()
        code, out = ask(s, 'listener.set("a", { Port = %d, Address = "127.0.0.1" })' % a)
        same((code, os.stat(s.path('listeners.ini')).st_uid), (0, 0), 'a file of root stays one, though rights above that are gone')
        os.chown(s.conf, NOBODY.pw_uid, NOBODY.pw_gid)
        os.chown(s.path('listeners.ini'), NOBODY.pw_uid, NOBODY.pw_gid)
        os.chmod(s.path('listeners.ini'), 0o600)
        os.chmod(s.conf, 0o700)
        code, out = ask(s, 'listener.set("b", { Port = %d, Address = "127.0.0.1" })' % b)
        st = os.stat(s.path('listeners.ini'))
        same((code, st.st_uid, st.st_gid, oct(st.st_mode & 0o777)), (0, NOBODY.pw_uid, NOBODY.pw_gid, '0o600'), 'a file of the engine\'s user stays his')
        os.chmod(s.conf, 0o755)
        os.chown(s.conf, 0, 0)
        os.chown(s.path('listeners.ini'), 1, 1)
        os.chmod(s.path('listeners.ini'), 0o644)
        refused_for(s, 'a file of somebody else', c, 'listeners.ini', 'user root', 'owner and mode', 'give the file')


def unprivileged():
    """Everything as nobody, the configuration root's: the usual service."""
    a, = free_ports(1)
    built = tempfile.mkdtemp(prefix='pr-')
    os.chmod(built, 0o755)
    shutil.copytree(os.path.join(ROOT, 'lua'), os.path.join(built, 'lua'))
    for name in ('portreeve', 'portreeve-engine'):
        shutil.copy(os.path.join(BUILD, name), built)
    s = Server(components='tracker', bind='own', start=False)
    os.chmod(s.dir, 0o755)
    os.mkdir(s.state)
    os.chown(s.state, NOBODY.pw_uid, NOBODY.pw_gid)
    s.prefix = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', 'sh', '-c', 'shift; exec "$0" "$@"', os.path.join(built, 'portreeve')]
    with s:
        s.start()
        refused_for(s, 'a folder that the user may not write to', a, 'listeners.ini', 'user nobody', 'Permission denied', 'let that user write')
        os.chown(s.conf, NOBODY.pw_uid, -1)
        os.chown(s.path('listeners.ini'), NOBODY.pw_uid, NOBODY.pw_gid)
        same(ask(s, 'listener.set("new", { Port = %d, Address = "127.0.0.1" })' % a)[0], 0, 'once it may the change is made')
    shutil.rmtree(built)


def help_and_completion():
    with start() as s:
        text = s.eval('help()')
        ok(all(x in text for x in ('listener.set("NAME"', 'listener.remove("NAME")', 'listener.try(', 'communications_port(')), 'help() tells of them')
        same(s.eval('listener("http").name'), 'http', 'listener("http") still looks one up')


if __name__ == '__main__':
    adds_and_removes()
    all_or_nothing()
    rehearsals()
    refusals()
    kept_connections()
    race()
    symlink()
    tree()
    help_and_completion()
    if os.geteuid() == 0 and private_mounts():
        disks()
        users()
        unprivileged()
    else:
        skip('disks and users', 'needs root')
    done()
