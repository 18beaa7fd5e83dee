#!/usr/bin/python3
"""Part h of bench.py: a tunnel beside haproxy in tcp mode, one thread each, to the same nginx. Processor time of the proxy alone: for each MB of one large
download, and for each connection that carries one small request."""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib')]
import http1  # noqa: E402
import portreeve  # noqa: E402
from kernel import ON_LOAD, ON_SERVER, cpu_ns, end, tree  # noqa: E402
from peers import free_port  # noqa: E402

MB = 512


class Origin:
    """What lies behind both: nginx on the load's processor, with a large file in memory and a small answer."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='origin-', dir='/dev/shm')
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        with open(self.dir + '/big', 'wb') as f:
            f.truncate(MB << 20)
        conf = '''daemon off; worker_processes 1; pid %(d)s/pid; events { worker_connections 4000; } %(user)s
http { access_log off; sendfile on; client_body_temp_path %(d)s/1; proxy_temp_path %(d)s/2; fastcgi_temp_path %(d)s/3; uwsgi_temp_path %(d)s/4; scgi_temp_path %(d)s/5;
server { listen 127.0.0.1:%(p)d backlog=4096; root %(d)s; location /small { return 200 "ok\\n"; } } }'''
        with open(self.dir + '/conf', 'w') as f:
            f.write(conf % {'d': self.dir, 'p': self.port, 'user': 'user root;' if os.geteuid() == 0 else ''})
        self.proc = subprocess.Popen(ON_LOAD + ['/usr/sbin/nginx', '-p', self.dir, '-c', self.dir + '/conf', '-e', self.dir + '/error.log'])
        answers(self.port)

    def stop(self):
        end(self.proc)
        shutil.rmtree(self.dir)


def answers(port):
    for _ in range(400):
        try:
            if http1.get('127.0.0.1', port, '/small').status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError('nobody answers on port %d' % port)


class Ours:
    def __init__(self, backend):
        self.port = free_port()
        text = 't.Port=127.0.0.1:%d\nt.Services=tunnel\nt.Backend=127.0.0.1:%d\n' % (self.port, backend)
        self.s = portreeve.Server(components='tracker', prefix=ON_SERVER, settings={'Workers': 1, 'AccessLog': 'off', 'MaxConnections': 15000}, files={'listeners.ini': text},
                                  start=False)
        self.s.sets = [x for x in self.s.sets if not x[0].startswith('listeners.ini:')]
        self.s.start()

    def pid(self):
        return self.s.supervisor_pid()

    def stop(self):
        self.s.stop()


class Haproxy:
    def __init__(self, backend, splice=False):
        self.dir, self.port = tempfile.mkdtemp(prefix='haproxy-'), free_port()
        with open(self.dir + '/conf', 'w') as f:
            f.write('global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n%slisten t\n'
                    '  bind 127.0.0.1:%d\n  server o 127.0.0.1:%d\n' % ('  option splice-auto\n' if splice else '', self.port, backend))
        self.proc = subprocess.Popen(ON_SERVER + ['/usr/sbin/haproxy', '-db', '-f', self.dir + '/conf'], stderr=subprocess.DEVNULL)

    def pid(self):
        return self.proc.pid

    def stop(self):
        end(self.proc)
        shutil.rmtree(self.dir)


def used(proxy, load):
    pids = tree(proxy.pid())
    before, t = cpu_ns(pids), time.monotonic()
    got = load()
    return (cpu_ns(pids) - before) / 1000.0, time.monotonic() - t, got


def large(proxy):
    us, took, _ = used(proxy, lambda: subprocess.run(ON_LOAD + ['curl', '-s', '-o', '/dev/null', 'http://127.0.0.1:%d/big' % proxy.port], check=True))
    return us / MB, MB / took


def small(proxy, seconds):
    def load():
        text = subprocess.run(ON_LOAD + ['wrk', '-t1', '-c64', '-d%ds' % seconds, '-H', 'Connection: close', 'http://127.0.0.1:%d/small' % proxy.port],
                              stdout=subprocess.PIPE, text=True, check=True).stdout
        if 'Non-2xx' in text:
            raise RuntimeError(text)
        return int(re.search(r'(\d+) requests in', text).group(1))
    us, took, n = used(proxy, load)
    return us / n, n / took


def main(opt):
    rounds, seconds = (1, 2) if opt.quick else (5, 3)
    kinds = {'portreeve': Ours, 'haproxy': Haproxy, 'haproxy splice-auto': lambda b: Haproxy(b, True)}
    got = {n: {'large': [], 'small': []} for n in kinds}
    origin = Origin()
    try:
        for _ in range(rounds):
            for name, make in kinds.items():
                proxy = make(origin.port)
                try:
                    answers(proxy.port)
                    got[name]['large'].append(large(proxy))
                    got[name]['small'].append(small(proxy, seconds))
                finally:
                    proxy.stop()
    finally:
        origin.stop()
    out = {n: {'us_mb': statistics.median(x[0] for x in g['large']), 'mb_s': statistics.median(x[1] for x in g['large']),
               'us_connection': statistics.median(x[0] for x in g['small']), 'connections_s': statistics.median(x[1] for x in g['small'])} for n, g in got.items()}
    print('\n(h) a tunnel to nginx: %d MB at once; a new connection for every small request, 64 at a time' % MB)
    print('  %-24s %10s %10s %18s %14s' % ('', 'CPU µs/MB', 'MB/s', 'CPU µs/connection', 'connections/s'))
    for n, o in out.items():
        print('  %-24s %10.0f %10.0f %18.1f %14.0f' % (n, o['us_mb'], o['mb_s'], o['us_connection'], o['connections_s']), flush=True)
    goals = [['(h) CPU per MB: at most haproxy (µs)', out['portreeve']['us_mb'], out['haproxy']['us_mb']],
             ['(h) CPU per connection: at most haproxy (µs)', out['portreeve']['us_connection'], out['haproxy']['us_connection']]]
    if opt.result:
        with open(opt.result, 'w') as f:
            json.dump({'what': 'tunnel', 'results': out, 'goals': [g + [g[1] <= g[2]] for g in goals]}, f)


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--quick', action='store_true')
    p.add_argument('--result')
    main(p.parse_args())
