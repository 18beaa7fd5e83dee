#!/usr/bin/python3
"""Ports that somebody else has, in a network namespace of this test's own: by a real nginx, an IPv6 wildcard, another user's program, a second
Portreeve, a connection, and programs that share ports with SO_REUSEPORT. The message names pid, command, user, unit and address and says what can
be done; the start is refused with status 1, or the old plan serves. And what is no conflict serves side by side. Needs root, and nginx.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import alone
import tap

NGINX = '/usr/sbin/nginx'
alone.network('ports that somebody else has')

import http1  # noqa: E402 (makes no sense without root)
from portreeve import PROGRAM, Refused, Server, wait_until  # noqa: E402

V4 = ['10.68.0.%d' % i for i in range(1, 5)]
V6 = ['fd68::%d' % i for i in range(1, 3)]


def make_addresses():
    def ip(*args):
        subprocess.run(['ip'] + list(args), check=True)
    ip('link', 'set', 'lo', 'up')
    ip('link', 'add', 'd68', 'type', 'veth', 'peer', 'name', 'd68b')
    ip('link', 'set', 'd68', 'addrgenmode', 'none')
    ip('link', 'set', 'd68', 'up')
    ip('link', 'set', 'd68b', 'up')
    for a in V4:
        ip('addr', 'add', a + '/24', 'dev', 'd68')
    for a in V6:
        ip('addr', 'add', a + '/64', 'dev', 'd68', 'nodad')


# ---- programs that hold ports ----
HOLD = '''
import socket, sys, time
family, share, v6only, address, port, to = sys.argv[1:7]
s = socket.socket(socket.AF_INET6 if family == '6' else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(to == ''))
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(share))
if family == '6':
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
s.bind((address, int(port)))
if to:
    s.connect((to, 80))
else:
    s.listen(5)
print('holding', flush=True)
sys.stdin.read()
'''


class Holder:
    """A Python program that listens (or, with to=, uses the port for a connection). prefix: what it is started by."""

    def __init__(self, address, port, share=False, v6only=True, prefix=(), to=''):
        argv = list(prefix) + ['/usr/bin/python3', '-c', HOLD, '6' if ':' in address else '4', str(int(share)), str(int(v6only)), address, str(port), to]
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.proc.pid
        if self.proc.stdout.readline() != 'holding\n':
            raise AssertionError('the holder of %s:%d does not hold it' % (address, port))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.proc.stdin.close()
        self.proc.wait()
        self.proc.stdout.close()


class Nginx:
    """A real nginx that answers `nginx` on these addresses."""

    def __init__(self, *listen):
        self.dir = tempfile.mkdtemp(prefix='nginx-')
        os.chmod(self.dir, 0o755)
        with open(self.dir + '/nginx.conf', 'w') as f:
            f.write('daemon off; worker_processes 1; user nobody nogroup; pid {d}/pid; error_log {d}/error.log;\nevents {{ }}\nhttp {{ access_log off;\n'
                    'client_body_temp_path {d}/b; proxy_temp_path {d}/p; fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;\n'
                    'server {{ {l}\nlocation / {{ return 200 nginx; }} }} }}\n'.format(d=self.dir, l=' '.join('listen %s;' % x for x in listen)))
        self.proc = subprocess.Popen([NGINX, '-p', self.dir, '-c', self.dir + '/nginx.conf', '-e', self.dir + '/error.log'], stderr=subprocess.DEVNULL)
        self.pid = self.proc.pid
        wait_until('nginx', lambda: os.path.exists(self.dir + '/pid') and open(self.dir + '/pid').read().strip())

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.proc.terminate()
        self.proc.wait()
        shutil.rmtree(self.dir)


# ---- Portreeve ----
def portreeve(tomcat, start=True, others=True, **more):
    s = Server(start=False, ports=False, components='tracker', settings=dict({'Workers': 2, 'AccessLog': 'off'}, **more),
               files={'tomcat.ini': tomcat, 'listeners.ini': '# none\n'},
               sets=[] if others else [('tracker.ini:RMIPort', '1199'), ('tracker.ini:CommunicationsPort', '7100'), ('tomcat.ini:ShutdownPort', '-1')])
    return s.start() if start else s


def refused(tomcat, **more):
    """Start, which must be refused: (exit status, what was said)."""
    s = portreeve(tomcat, start=False, **more)
    try:
        s.start()
    except Refused as e:
        return e.code, e.text
    finally:
        s.kill()
        s.cleanup()
    return None, 'it started'


def serves(address, port, what=200):
    try:
        r = http1.get(address, port, '/robots.txt')
    except (OSError, http1.Closed) as e:
        return repr(e)
    return b'nginx' in r.body if what == 'nginx' else r.status == what


def named(text, *patterns):
    return all(re.search(p, text) for p in patterns)


def at_start_and_reload(name, holder, ours, address, *patterns, dropped=()):
    """Both ways into a conflict. dropped: what the supervisor itself can still say when it has dropped its privileges."""
    with holder() as h:
        pid = r'pid %d \(' % h.pid
        code, text = refused(ours)
        tap.ok(code == 1 and named(text, r'tomcat\.ini:\d+: \w+: cannot bind %s' % re.escape(address), pid, *patterns), name + ': not started, holder named', text)
    with portreeve('BindAddress=%s:8088\n' % V4[3]) as s:
        with holder() as h:
            pid = r'pid %d \(' % h.pid
            s.edit('tomcat.ini', ours)
            code, text = s.reload()
            tap.ok(code == 1 and named(text, r'tomcat\.ini:\d+: \w+: cannot bind %s' % re.escape(address), 'nothing has changed', *patterns) and
                   named(text, pid), name + ': not changed to, holder named', text)
            tap.ok(serves(V4[3], 8088) is True, name + ': the old plan serves')
            said = s.status()['last_reload']['text']
            tap.ok(named(said, *(dropped or (r'socket:\[\d+\]',))), name + ': status tells what the supervisor may see', said)
        code, text = s.reload()
        tap.ok(code == 0, name + ': when the port is free the same reload is good', text)


def real_nginx():
    """E3, E4, E5, Q6."""
    one = V4[0]
    at_start_and_reload('E3 a real nginx', lambda: Nginx(one + ':80'), 'BindAddress=%s\n' % one, one + ':80',
                        r'port taken by', r'user root', r'listens on %s:80: end that program' % re.escape(one))
    at_start_and_reload('E4 an nginx that grabs all addresses', lambda: Nginx('80'), 'BindAddress=%s\n' % one, one + ':80',
                        r'listens on 0\.0\.0\.0:80, that is on all IPv4 addresses of this machine, %s among them' % re.escape(one), r'let it name its own addresses only')
    at_start_and_reload('Q6 all addresses where nginx has one', lambda: Nginx(one + ':80'), '# as shipped\nPort=80\n', '0.0.0.0:80',
                        r'listens on %s:80, and all addresses are asked for here: name the addresses' % re.escape(one))
    with Nginx(one + ':80') as n:
        code, text = refused('BindAddress=%s\n' % one)
        tap.ok(named(text, r'pid %d \(nginx: master process' % n.pid), 'E5 and the command is told', text)
        s = portreeve('BindAddress=%s\n' % one, start=False)
        code, text = s.check()
        tap.ok(code == 1 and named(text, r'tomcat\.ini:1: BindAddress: .*cannot bind %s:80: port taken by pid %d \(nginx: master' % (re.escape(one), n.pid)),
               'E5 portreeve check tells the same, with nothing started', text)
        s.cleanup()


def side_by_side():
    """G5, E8, E9, E10: one port, an address each; and what the kernel allows besides (Q6)."""
    with Nginx(V4[0] + ':80', '[%s]:80' % V6[0]), portreeve('BindAddress=%s, [%s]\n' % (V4[1], V6[1])) as s:
        tap.same([serves(a, 80, 'nginx') for a in (V4[0], V6[0])], [True, True], 'E10 G5: nginx serves on port 80 of its addresses')
        tap.same([serves(a, 80) for a in (V4[1], V6[1])], [True, True], 'E8 E9 E10 G5: and we on port 80 of ours')
        s.edit('tomcat.ini', 'BindAddress=%s, %s\n' % (V4[1], V4[2]))
        code, text = s.reload()
        tap.ok(code == 0 and serves(V4[2], 80) is True and serves(V4[0], 80, 'nginx') is True, 'G5: beside it a change is as good as alone', text)
    with Nginx('[%s]:80' % V6[0]), portreeve('BindAddress=OnlyIPV4Addresses\n'):
        tap.same((serves(V6[0], 80, 'nginx'), serves(V4[0], 80)), (True, True), 'Q6: all IPv4 addresses beside one IPv6 address')
    with Nginx('[::]:80 ipv6only=on'), portreeve('BindAddress=OnlyIPV4Addresses\n'):
        tap.same((serves(V6[0], 80, 'nginx'), serves(V4[0], 80)), (True, True), 'Q6: each family whole')


def dual_stack():
    at_start_and_reload('E4 an IPv6 wildcard that takes IPv4 too', lambda: Holder('::', 80, v6only=False), 'BindAddress=%s\n' % V4[0], V4[0] + ':80',
                        r'listens on \[::\]:80, that is on all IPv6 and IPv4 addresses')
    at_start_and_reload('E4 the same, all IPv4 addresses', lambda: Holder('::', 80, v6only=False), 'BindAddress=OnlyIPV4Addresses\n', '0.0.0.0:80',
                        r'listens on \[::\]:80 for IPv6 and IPv4 together', 'IPV6_V6ONLY')


def other_user():
    nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
    at_start_and_reload("E3 another user's program", lambda: Holder(V4[0], 8090, prefix=nobody), 'BindAddress=%s:8090\n' % V4[0], V4[0] + ':8090', 'user nobody',
                        dropped=(r'a program of user nobody \(socket:\[\d+\]\)',))


def connection():
    with Nginx(V4[1] + ':80'), Holder(V4[0], 7777, to=V4[1]) as h:
        code, text = refused('BindAddress=%s:7777\n' % V4[0])
        tap.ok(code == 1 and named(text, r'pid %d \(' % h.pid, r'uses %s:7777 for a connection with %s:80' % (re.escape(V4[0]), re.escape(V4[1])), 'ip_local_port_range'),
               'E3 a port that somebody uses for a connection: said so', text)


def second_portreeve():
    with portreeve('BindAddress=%s\n' % V4[0]) as first:
        pid = first.supervisor_pid()
        code, text = refused('BindAddress=%s\n' % V4[0], others=False)
        tap.ok(code == 1 and named(text, r'pid %d \(%s run ' % (pid, re.escape(PROGRAM)), 'user root', r'listens on %s:80' % re.escape(V4[0])), 'a second Portreeve is refused, the first named', text)
        code, text = refused('Port=80\n', others=False)
        tap.ok(code == 1 and named(text, r'pid %d \(' % pid, 'all addresses are asked for'), 'also with all addresses over one of the first', text)
        tap.ok(serves(V4[0], 80) is True, 'the first one serves on')
        with portreeve('BindAddress=%s\n' % V4[1], others=False) as second:
            tap.same((serves(V4[0], 80), serves(V4[1], 80)), (True, True), 'E10 two of them on one port, an address each')
            second.edit('tomcat.ini', 'BindAddress=%s, %s\n' % (V4[1], V4[0]))
            code, text = second.reload()
            tap.ok(code == 1 and named(text, r'pid %d \(' % pid), 'nor can it reload its way in', text)
            tap.same((serves(V4[0], 80), serves(V4[1], 80)), (True, True), 'both serve on')


def shared_by_accident():
    """SO_REUSEPORT lets any program of the same user in: the kernel would share callers between it and us."""
    one = 'BindAddress=%s\n' % V4[0]
    for name, address in (('the same address', V4[0]), ('the wildcard', '0.0.0.0')):
        with Holder(address, 80, share=True) as h:
            code, text = refused(one)
            tap.ok(code == 1 and named(text, r'cannot bind %s:80: port taken by pid %d \(' % (re.escape(V4[0]), h.pid)), 'SO_REUSEPORT on %s before the start: refused' % name, text)
    with portreeve('Port=80\nBindAddress=OnlyIPV4Addresses\n') as s:
        for name, address, change in (('joins a socket that is kept', '0.0.0.0', '# the same\n'), ('is on one address of a wildcard that is kept', V4[2], '# again\n'),
                                      ('is where a change would join our own wildcard', V4[0], one)):
            with Holder(address, 80, share=True) as h:
                s.edit('tomcat.ini', 'Port=80\n' + (change if change == one else 'BindAddress=OnlyIPV4Addresses\n' + change))
                code, text = s.reload()
                tap.ok(code == 1 and named(text, r'(?s)cannot bind [0-9.]+:80: port taken by .*pid %d \(' % h.pid, 'nothing has changed'),
                       'a program that %s is found by a reload, and named' % name, text)
            code, text = s.reload()
            tap.ok(code == 0, 'and when it has ended, the reload is good', text)
        tap.ok(serves(V4[0], 80) is True, 'we serve')


def unit_name():
    """The systemd unit of the holder: from its control group, also where the supervisor may not look into the program."""
    root = next((x.split()[1] for x in open('/proc/mounts') if x.split()[2] == 'cgroup2'), None)
    name = 'portreeve-test-%d.service' % os.getpid()
    group = os.path.join(root or '/nonexistent', name)
    try:
        os.mkdir(group)
    except OSError as e:
        tap.skip('the unit of the holder is named', 'no control group can be made here: %s' % e)
        return
    try:
        enter = ['sh', '-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', group]
        at_start_and_reload('E5 the unit of the holder', lambda: Holder(V4[0], 8091, prefix=enter), 'BindAddress=%s:8091\n' % V4[0], V4[0] + ':8091', 'unit ' + re.escape(name),
                            dropped=(r'a program of user root \(socket:\[\d+\]\), unit ' + re.escape(name),))
    finally:
        wait_until('the group to be empty', lambda: not open(group + '/cgroup.procs').read())
        os.rmdir(group)


def on_paper():
    """G4, Q6: what contradicts itself is refused before the kernel is asked."""
    code, text = refused('BindAddress=0.0.0.0, %s\n' % V4[0])
    tap.ok(code == 1 and named(text, r'tomcat\.ini:1', '0\\.0\\.0\\.0'), 'G4 all addresses and one of them on one port: refused on paper', text)


make_addresses()
if not os.access(NGINX, os.X_OK):
    tap.skip('beside a real nginx', 'nginx is not installed (apt-get install nginx)')
else:
    real_nginx()
    side_by_side()
    connection()
dual_stack()
other_user()
second_portreeve()
shared_by_accident()
unit_name()
on_paper()
tap.done()
