#!/usr/bin/python3
"""Thousands of listening sockets: start, memory, and a reload that moves one of them, beside nginx and haproxy doing the same.

    tests/bench/scale.py [--quick] [--rounds N] [--reloads N] [--addresses N]          (part e of bench.py)

1,000 addresses × 4 ports on the loopback of a network namespace of its own (needs root), one worker each, plain HTTP with a fixed answer. Runs are
interleaved, one server at a time; medians. The server and the prober have both processors to themselves.
  start    from exec until the last of the sockets answers a request
  reload   one socket of them moves to another port: from the signal (SIGHUP; haproxy: SIGUSR2 to its master) until the new port answers
           a request and the old port refuses a connection, both tried in a tight loop of the lowest priority, so that the looking takes no
           processor from the server. The configuration is on disk before the clock starts, and the next reload comes when the server has
           its usual processes again and does nothing any more
  memory   RSS of all processes of the server, with every socket open (PSS in brackets: shared pages divided)
"""
import argparse
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, 'tests', 'lib')]
from kernel import cpu_ns, end, tree  # noqa: E402

OUT = os.path.join(ROOT, 'build', 'bench')
PROGRAM = os.path.join(ROOT, 'build', 'release', 'portreeve')
PORTS = (8001, 8002, 8003, 8004)
MOVED = (8100, 8101)  # the socket that moves: these two ports in turn, on the first address
REQUEST = b'GET /robots.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
PATIENCE = 0.02       # seconds a connection on the loopback may take
BOUND = 60.0          # seconds until a step counts as failed
QUARTER = 0.25        # what a reload may take of the faster peer's


def own_namespace(addresses):
    """Go where every address and port is free: nobody else's sockets are met, and it all vanishes with this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        sys.exit('a network namespace of its own is needed: %s (run as root)' % os.strerror(ctypes.get_errno()))
    lines = ['link set lo up'] + ['addr add %s/32 dev lo' % a for a in addresses]
    subprocess.run(['ip', '-batch', '-'], input='\n'.join(lines) + '\n', text=True, check=True)


def connect(address, port):
    """True, False (refused), or None: neither within a moment. A SYN that meets a closing queue is dropped, and the kernel would only try again
    after a second: that second is not the server's, so whoever gets None connects afresh."""
    s = socket.socket()
    s.settimeout(PATIENCE)
    try:
        s.connect((address, port))
        return s
    except socket.timeout:
        s.close()
        return None
    except OSError:
        s.close()
        return False


def answers(address, port):
    """One request, one answer."""
    s = connect(address, port)
    if not s:
        return False
    with s:
        try:
            s.settimeout(BOUND)
            s.sendall(REQUEST)
            return s.recv(64).startswith(b'HTTP/1.1 200')
        except OSError:
            return False


def refuses(address, port):
    s = connect(address, port)
    if s:
        s.close()
    return s is False


def until(what, probe):
    end = time.monotonic() + BOUND
    while not probe():
        if time.monotonic() > end:
            raise RuntimeError('%s has not happened within %d s' % (what, BOUND))


def memory_mb(pid):
    rss = pss = 0
    for p in tree(pid):
        with open('/proc/%d/smaps_rollup' % p) as f:
            for line in f:
                rss += int(line.split()[1]) if line.startswith('Rss:') else 0
                pss += int(line.split()[1]) if line.startswith('Pss:') else 0
    return rss / 1024.0, pss / 1024.0


class Peer:
    """A server in the foreground with a folder of its own. write(port): the configuration with the moving socket on that port."""
    reload_signal = signal.SIGHUP
    steady = 0  # processes at rest

    def __init__(self, addresses):
        self.addresses = addresses
        self.dir = tempfile.mkdtemp(prefix=self.name + '-')
        os.chmod(self.dir, 0o755)
        self.now = MOVED[0]
        self.write(self.now)
        self.proc = None

    def file(self, name, text):
        with open(os.path.join(self.dir, name), 'w', encoding='utf-8') as f:
            f.write(text)

    def start(self):
        with open(os.path.join(self.dir, 'out'), 'w') as out:
            began = time.perf_counter()
            self.proc = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.dir)
        until('%s: an answer' % self.name, lambda: self.alive() and answers(self.addresses[-1], PORTS[-1]))
        took = time.perf_counter() - began
        for a in self.addresses:  # and every other
            for port in PORTS:
                if not answers(a, port):
                    raise RuntimeError('%s does not answer on %s:%d' % (self.name, a, port))
        self.settle()
        return took

    def alive(self):
        if self.proc.poll() is not None:
            with open(os.path.join(self.dir, 'out')) as f:
                raise RuntimeError('%s ended: %s' % (self.name, f.read()[-2000:]))
        return True

    def reload(self):
        """Seconds until the new socket answers, and until besides the old one refuses."""
        old, self.now = self.now, MOVED[self.now == MOVED[0]]
        self.write(self.now)
        at, new = self.addresses[0], self.now
        if not refuses(at, new) or not answers(at, old):
            raise RuntimeError('%s is not as the reload before left it' % self.name)
        before = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, 19)
        began = time.perf_counter()
        os.kill(self.proc.pid, self.reload_signal)
        until('%s: an answer on the new port' % self.name, lambda: answers(at, new))
        opened = time.perf_counter() - began
        until('%s: a refusal on the old port' % self.name, lambda: refuses(at, old))
        took = time.perf_counter() - began
        os.setpriority(os.PRIO_PROCESS, 0, before)
        self.settle()
        return opened, took

    def settle(self):
        """Wait until what came before is over and the server idle, so that the next run does not pay for it: as many processes as after the start, and no
        processor time for a tenth of a second."""
        pids, used = tree(self.proc.pid), None
        for _ in range(int(BOUND * 10)):
            time.sleep(0.1)
            before, pids = (pids, used), tree(self.proc.pid)
            used = cpu_ns(pids) / 1e6
            if before[0] == pids and before[1] is not None and used - before[1] < 2 and len(pids) == (self.steady or len(pids)):
                self.steady = len(pids)
                return
        raise RuntimeError('%s does not come to rest: %d processes, not %d' % (self.name, len(pids), self.steady))

    def stop(self):
        if self.proc:
            end(self.proc, 30)
        shutil.rmtree(self.dir, ignore_errors=True)


class Ours(Peer):
    name = 'portreeve'

    def write(self, port):
        everywhere = ', '.join(self.addresses)
        os.makedirs(os.path.join(self.dir, 'conf'), exist_ok=True)
        self.file('conf/portreeve.ini', 'Components=tracker\nWorkers=1\nAccessLog=off\n')
        self.file('conf/tomcat.ini', 'Port=%d\nBindAddress=%s\n' % (PORTS[0], everywhere))
        text = ''.join('more%d.Port=%d\nmore%d.Address=%s\nmore%d.Services=tracker\n' % (p, p, p, everywhere, p) for p in PORTS[1:])
        self.file('conf/listeners.ini', text + 'moved.Port=%d\nmoved.Address=%s\nmoved.Services=tracker\n' % (port, self.addresses[0]))

    def argv(self):
        return [PROGRAM, 'run', '--conf', self.dir + '/conf', '--policies', os.path.join(ROOT, 'policies'), '--state', self.dir + '/state']


NGINX = '''user root; daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log warn; worker_rlimit_nofile {files};
events {{ use epoll; worker_connections 10000; }}
http {{
  access_log off; keepalive_timeout 0;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{
{listen}    location / {{ return 200 "ok\\n"; }}
  }}
}}
'''


class Nginx(Peer):
    name = 'nginx'

    def write(self, port):
        listen = ''.join('    listen %s:%d;\n' % (a, p) for p in PORTS for a in self.addresses)
        listen += '    listen %s:%d;\n' % (self.addresses[0], port)
        self.file('nginx.conf', NGINX.format(dir=self.dir, files=FILES, listen=listen))

    def argv(self):
        return ['/usr/sbin/nginx', '-p', self.dir, '-c', self.dir + '/nginx.conf', '-e', self.dir + '/error.log']


class Haproxy(Peer):
    name, reload_signal = 'haproxy', signal.SIGUSR2

    def write(self, port):
        bind = ''.join('  bind %s:%d\n' % (a, p) for p in PORTS for a in self.addresses) + '  bind %s:%d\n' % (self.addresses[0], port)
        self.file('haproxy.cfg', 'global\n  maxconn 2000\n  nbthread 1\n  stats socket %s/stats.sock mode 600 level admin expose-fd listeners\n'
                  'defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n'
                  'frontend all\n%s  http-request return status 200 content-type text/plain string ok\n' % (self.dir, bind))

    def argv(self):
        return ['/usr/sbin/haproxy', '-W', '-f', self.dir + '/haproxy.cfg', '-p', self.dir + '/pid']


def run(kind, addresses, reloads):
    server = kind(addresses)
    try:
        start = server.start()
        rss, pss = memory_mb(server.proc.pid)
        moved = [server.reload() for _ in range(reloads)]
    finally:
        server.stop()
    return {'start': start, 'rss': rss, 'pss': pss, 'opened': [o for o, _ in moved], 'reload': [t for _, t in moved]}


def ms(seconds):
    return statistics.median(seconds) * 1000.0


def measure(addresses, rounds, reloads):
    kinds = (Ours, Nginx, Haproxy)
    got = {k.name: [] for k in kinds}
    for _ in range(rounds):
        for k in kinds:
            got[k.name].append(run(k, addresses, reloads))
    out = {}
    for name, runs in got.items():
        each = [t for r in runs for t in r['reload']]
        out[name] = {'start_ms': ms([r['start'] for r in runs]), 'rss_mb': statistics.median(r['rss'] for r in runs),
                     'pss_mb': statistics.median(r['pss'] for r in runs), 'opened_ms': ms([t for r in runs for t in r['opened']]),
                     'reload_ms': ms(each), 'reload_least_ms': min(each) * 1000.0, 'reload_most_ms': max(each) * 1000.0}
    return out


def show(out, sockets, rounds, reloads):
    print('\n(e) %d sockets, one worker, medians of %d × %d reloads that move one of them' % (sockets, rounds, reloads))
    print('  %-12s %10s %18s %14s %12s  %s' % ('', 'start ms', 'RSS (PSS) MB', 'new answers ms', 'reload ms', '(least … most)'))
    for name, r in out.items():
        print('  %-12s %10.0f %10.1f (%5.1f) %14.1f %12.1f  (%.1f … %.1f)' % (
            name, r['start_ms'], r['rss_mb'], r['pss_mb'], r['opened_ms'], r['reload_ms'], r['reload_least_ms'], r['reload_most_ms']))
    ours, peer = out['portreeve'], min((r['reload_ms'], n) for n, r in out.items() if n != 'portreeve')
    ratio = ours['reload_ms'] / peer[0]
    print('  reload: %.2f of %s, the faster peer (bound %.2f: %s)' % (ratio, peer[1], QUARTER, 'met' if ratio <= QUARTER else 'MISS'))
    for name, r in out.items():
        if name != 'portreeve':
            print('  of %s: start %.2f, RSS %.2f, reload %.2f' % (name, ours['start_ms'] / r['start_ms'], ours['rss_mb'] / r['rss_mb'],
                                                                 ours['reload_ms'] / r['reload_ms']))
    return ratio


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--reloads', type=int, default=10, help='in each round')
    p.add_argument('--addresses', type=int, default=1000)
    p.add_argument('--quick', action='store_true', help='one round of 4 reloads')
    p.add_argument('--result', help='a file for the figures, as JSON')
    opt = p.parse_args()
    if opt.quick:
        opt.rounds, opt.reloads = 1, 4
    os.makedirs(OUT, exist_ok=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < FILES:
        sys.exit('%d file descriptors are needed, ulimit -Hn says %d' % (FILES, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    addresses = ['10.77.%d.%d' % (i // 250, i % 250 + 1) for i in range(opt.addresses)]
    own_namespace(addresses)
    tempfile.tempdir = tempfile.mkdtemp(prefix='s', dir=OUT)
    try:
        out = measure(addresses, opt.rounds, opt.reloads)
    finally:
        shutil.rmtree(tempfile.tempdir, ignore_errors=True)
    ratio = show(out, len(addresses) * len(PORTS) + 1, opt.rounds, opt.reloads)
    if opt.result:
        with open(opt.result, 'w') as f:
            json.dump({'what': 'scale', 'rounds': opt.rounds, 'reloads': opt.reloads, 'sockets': len(addresses) * len(PORTS) + 1, 'results': out,
                       'ratio': ratio, 'ours_ms': out['portreeve']['reload_ms'],
                       'peer_ms': min(r['reload_ms'] for n, r in out.items() if n != 'portreeve')}, f)
    return 0


FILES = 15000  # descriptors a server may need: two sets of sockets during a reload

if __name__ == '__main__':
    sys.exit(main())
