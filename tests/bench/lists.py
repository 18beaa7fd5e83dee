#!/usr/bin/python3
"""Address lists and refusals beside HAProxy (`tcp-request connection reject` with `src -f`) and nginx (`geo`).

    tests/bench/lists.py [--quick] [--lines N] [--flood]          (part f of bench.py; --flood alone: only the last part)

  load     from exec until a caller whom the list lets in is answered, less the same with an empty list
  memory   PSS of all processes, less the same with an empty list, with one worker and with two; ours is never less than the set in the bundle
  lookup   nanoseconds a question to our set takes, alone; of the others only what a refusal costs more with the list than without
  refusal  server CPU per refused connection at 1, 1,000 and N lines, 64 callers at once from 200 addresses of the list, one worker; interleaved
  flood    the tracker's pixel asked over kept connections by a client on one processor, first alone, then while the other processor refuses as many
           callers as it can: p50 and p99 of both
The list is random: 99 % single addresses, 1 % networks of 16 to 28 bits; IPv6 of single addresses.
"""
import argparse
import ipaddress
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, 'tests', 'lib')]
import http1  # noqa: E402
import portreeve  # noqa: E402
import token_make  # noqa: E402
from kernel import CPUS, ON_LOAD, ON_SERVER, cpu_ns, end, tree  # noqa: E402
from peers import free_port  # noqa: E402

OUT = os.path.join(ROOT, 'build', 'bench')
SOURCES = 200  # 127.9.0.1 …: the callers that are refused
REQUEST = http1.request('GET', '/robots.txt')


def write_list(path, lines, v6=False):
    """`lines` lines, the callers among them (IPv4)."""
    rnd = random.Random(5)
    out = ['127.9.0.%d' % (1 + i) for i in range(min(lines, SOURCES))] if not v6 else []
    if lines == 1 and not v6:
        out = ['127.9.0.0/24']
    seen = set()
    while len(out) < lines:
        if v6:
            out.append(ipaddress.IPv6Address(0x2000 << 112 | rnd.getrandbits(125)).compressed)
            continue
        bits = rnd.randrange(16, 29) if rnd.randrange(100) == 0 else 32
        v = rnd.getrandbits(32) >> (32 - bits) << (32 - bits)
        if v >> 24 == 127 or (v, bits) in seen:  # nobody else of the loopback
            continue
        seen.add((v, bits))
        out.append(str(ipaddress.IPv4Address(v)) + ('/%d' % bits if bits < 32 else ''))
    rnd.shuffle(out)
    with open(path, 'w') as f:
        f.write('\n'.join(out) + ('\n' if out else ''))


def answered(address, port, data):
    try:
        with socket.create_connection((address, port), 5) as s:
            s.settimeout(10)
            s.sendall(data)
            return s.recv(64)
    except OSError:
        return b''


class Ours:
    name = 'portreeve'

    def __init__(self, path, workers=1, pin=ON_SERVER, settings=()):
        self.path = path
        self.s = portreeve.Server(components='tracker', start=False, prefix=list(pin), settings={
            'Workers': workers, 'AccessLog': 'off', 'TrackingLevel': 'off', 'IdleTimeout': 600000, **dict(settings)})
        shutil.copy(path, os.path.join(self.s.conf, 'lists', 'denied.list'))
        self.address = '127.0.0.1'
        began = time.monotonic()
        self.s.start()
        self.port = self.s.port('http')
        while not answered(self.address, self.port, REQUEST):
            time.sleep(0.002)
        self.took = time.monotonic() - began

    def pid(self):
        return self.s.proc.pid

    def held(self):
        """What the list takes in the bundle, touched or not."""
        return self.s.eval('lists("denied")', True)['bytes']

    def stop(self):
        self.s.stop()


class Peer:
    def __init__(self, path, workers=1, pin=ON_SERVER):
        self.dir = tempfile.mkdtemp(prefix=self.name + '-')
        os.chmod(self.dir, 0o755)
        self.address, self.port, self.workers = '127.0.0.1', free_port(), workers
        conf = os.path.join(self.dir, 'conf')
        with open(conf, 'w') as f:
            f.write(self.conf(path))
        with open(self.dir + '/out', 'w') as out:
            began = time.monotonic()
            self.proc = subprocess.Popen(list(pin) + self.argv(conf), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        while not answered(self.address, self.port, REQUEST):
            if self.proc.poll() is not None:
                with open(self.dir + '/out') as f:
                    raise RuntimeError('%s did not start: %s' % (self.name, f.read()[-1000:]))
            time.sleep(0.002)
        self.took = time.monotonic() - began

    def pid(self):
        return self.proc.pid

    def held(self):
        return 0

    def stop(self):
        end(self.proc)
        shutil.rmtree(self.dir, ignore_errors=True)


class Haproxy(Peer):
    name = 'haproxy'

    def conf(self, path):
        return '''global
  nbthread %d
  maxconn 4000
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend f
  bind %s:%d
  tcp-request connection reject if { src -f %s }
  http-request return status 200
''' % (self.workers, self.address, self.port, path)

    def argv(self, conf):
        return ['/usr/sbin/haproxy', '-db', '-f', conf]


class Nginx(Peer):
    name = 'nginx'

    def conf(self, path):
        with open(path) as f:
            lines = f.read().split()
        with open(os.path.join(self.dir, 'geo'), 'w') as f:
            f.write(''.join('%s 1;\n' % x for x in lines))
        return '''daemon off; worker_processes %d; pid %s/pid; error_log %s/error.log warn; %s
events { worker_connections 10000; }
http { access_log off; client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path %s/t3; uwsgi_temp_path %s/t4; scgi_temp_path %s/t5;
  geo $denied { default 0; include %s/geo; }
  server { listen %s:%d; if ($denied) { return 444; } location / { return 200; } } }
''' % (self.workers, self.dir, self.dir, 'user root;' if os.geteuid() == 0 else '', *[self.dir] * 6, self.address, self.port)

    def argv(self, conf):
        return ['/usr/sbin/nginx', '-p', self.dir, '-c', conf, '-e', self.dir + '/error.log']


def pss_kb(pid):
    total = 0
    for p in tree(pid):
        with open('/proc/%d/smaps_rollup' % p) as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith('Pss:'))
    return total


def start(kind, path, workers=1):
    """(seconds until it answered, PSS in KB, bytes that it holds)"""
    server = kind(path, workers)
    try:
        return server.took, pss_kb(server.pid()), server.held()
    finally:
        server.stop()


def load_and_memory(lists, rounds):
    print('\n(f) a list of %d lines: what loading it adds to a start, and what it takes' % OPT.lines)
    print('  %-24s %10s %14s %14s' % ('', 'load s', '1 worker MB', '2 workers MB'))
    out = {}
    for family in ('IPv4', 'IPv6'):
        for kind in (Ours, Haproxy, Nginx):
            took, memory = [], {}
            for _ in range(rounds):
                empty, full = start(kind, lists['empty']), start(kind, lists[family])
                took.append(full[0] - empty[0])
                memory[1] = max(full[1] - empty[1], full[2] / 1024.0) / 1024.0
            empty, full = start(kind, lists['empty'], 2), start(kind, lists[family], 2)
            memory[2] = max(full[1] - empty[1], full[2] / 1024.0) / 1024.0
            got = out['%s %s' % (kind.name, family)] = {'load_s': statistics.median(took), 'mb': memory[1], 'mb_2': memory[2]}
            print('  %-24s %10.2f %14.1f %14.1f' % ('%s %s' % (kind.name, family), got['load_s'], got['mb'], got['mb_2']), flush=True)
    for family in ('IPv4', 'IPv6'):
        ours, peer = out['portreeve ' + family], out['haproxy ' + family]
        want('(f) %s: load at most a third of HAProxy (s)' % family, ours['load_s'], peer['load_s'] / 3)
        want('(f) %s: memory at most an eighth of HAProxy (MB)' % family, ours['mb'], peer['mb'] / 8)
        want('(f) %s: memory is not multiplied by workers (MB)' % family, ours['mb_2'], ours['mb'] * 1.1)
    return out


def build(name, *more):
    target = os.path.join(OUT, name)
    subprocess.run(['cc', '-O2', '-std=c11', '-D_GNU_SOURCE', '-I' + os.path.join(ROOT, 'src'), '-o', target, os.path.join(HERE, name + '.c'), *more], check=True)
    return target


def lookups(lists):
    program = build('lookup', os.path.join(ROOT, 'build', 'release', 'libportreeve.a'))
    out = {}
    for family in ('IPv4', 'IPv6'):
        ns, ms, size, _ = subprocess.run([program, lists[family], '1000000'], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        out[family] = {'ns': float(ns), 'parse_ms': float(ms), 'bytes': int(size)}
        print('  %s: a question takes %s ns; reading and sorting the text %s ms; the set has %s bytes' % (family, ns, ms, size), flush=True)
    return out


def flood(program, server, seconds, at_once=64):
    text = subprocess.run(ON_LOAD + [program, server.address, str(server.port), str(seconds), str(at_once), str(SOURCES)], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    refused, failed = int(text[1]), int(text[3])
    if failed > refused / 100 or refused < 100:
        raise RuntimeError('%d were refused, %d not' % (refused, failed))
    return refused


def refusal(kind, path, program):
    server = kind(path)
    try:
        flood(program, server, 0.5)
        pids = tree(server.pid())
        before = cpu_ns(pids)
        n = flood(program, server, OPT.seconds)
        return (cpu_ns(pids) - before) / 1000.0 / n, n / OPT.seconds
    finally:
        server.stop()


def refusals(lists, program, rounds):
    print('\n(f) server CPU per refused connection, µs')
    out = {}
    for lines in ('1', '1000', 'IPv4'):
        got = {k.name: [] for k in (Ours, Haproxy)}
        for _ in range(rounds):
            for kind in (Ours, Haproxy):
                got[kind.name].append(refusal(kind, lists[lines], program))
        shown = OPT.lines if lines == 'IPv4' else int(lines)
        out[shown] = {n: {'us': statistics.median(x[0] for x in r), 'rate': statistics.median(x[1] for x in r), 'all_us': [round(x[0], 2) for x in r]} for n, r in got.items()}
        ours, peer = out[shown]['portreeve'], out[shown]['haproxy']
        print('  %8d lines: portreeve %6.2f (%d a second)   haproxy %6.2f (%d a second)' % (shown, ours['us'], ours['rate'], peer['us'], peer['rate']), flush=True)
        want('(f) a refusal at %d lines: at most HAProxy (µs)' % shown, ours['us'], peer['us'])
    return out


def asked(server, seconds):
    """Latencies of the pixel over one kept connection, µs, sorted. The sleeping between is what people do; it also lets the flood have its turn."""
    c = http1.Conn(server.address, server.port, timeout=30)
    data, out, until = http1.request('GET', server.pixel), [], time.monotonic() + seconds
    while time.monotonic() < until:
        t = time.perf_counter_ns()
        c.send(data)
        if c.response().status != 200:
            raise RuntimeError('not served')
        out.append((time.perf_counter_ns() - t) / 1000.0)
        time.sleep(0.0005)
    c.close()
    return sorted(out)


def under_flood(lists, program, rounds):
    """Two workers, each with a processor and the calls that it receives (WorkerAffinity): the flood comes in by the first, the client by the second."""
    print('\n(f) the tracker while callers are refused, µs')
    ratios, out = [], []
    os.sched_setaffinity(0, {CPUS[-1]})
    try:
        for _ in range(rounds):
            server = Ours(lists['IPv4'], 2, ['taskset', '-c', '%d,%d' % (CPUS[0], CPUS[-1])], {'WorkerAffinity': 'on'})
            token = token_make.Sealer(os.path.join(server.s.state, 'keys/tracker.keys')).token('open', 1, 4711, 0)
            server.pixel = '/trk/o/%s.gif' % token
            try:
                asked(server, 0.5)
                quiet = asked(server, OPT.seconds)
                load = subprocess.Popen(['taskset', '-c', str(CPUS[0]), program, server.address, str(server.port), str(OPT.seconds + 1), '256', str(SOURCES)], stdout=subprocess.PIPE, text=True)
                time.sleep(0.5)
                busy = asked(server, OPT.seconds)
                refused = int(load.communicate()[0].split()[1])
            finally:
                server.stop()
            row = {'quiet_p50': quiet[len(quiet) // 2], 'quiet_p99': quiet[len(quiet) * 99 // 100], 'p50': busy[len(busy) // 2], 'p99': busy[len(busy) * 99 // 100],
                   'refused_a_second': refused / (OPT.seconds + 1)}
            out.append(row)
            ratios.append(row['p99'] / row['quiet_p99'])
            print('  quiet p50 %.0f p99 %.0f   while %.0f a second are refused p50 %.0f p99 %.0f' % (row['quiet_p50'], row['quiet_p99'], row['refused_a_second'], row['p50'], row['p99']), flush=True)
    finally:
        os.sched_setaffinity(0, set(CPUS))
    want('(f) p99 of accepted clients under a flood of refused ones: at most twice the quiet one (times)', statistics.median(ratios), 2.0)
    return out


def want(text, got, most):
    GOALS.append((text, got, most, got <= most))


def main():
    os.makedirs(OUT, exist_ok=True)
    tempfile.tempdir = tempfile.mkdtemp(prefix='f', dir=OUT)
    try:
        lists = {n: os.path.join(tempfile.tempdir, n + '.txt') for n in ('empty', '1', '1000', 'IPv4', 'IPv6')}
        for n, lines in (('empty', 0), ('1', 1), ('1000', 1000), ('IPv4', OPT.lines), ('IPv6', OPT.lines)):
            write_list(lists[n], lines, n == 'IPv6')
        rounds, program, result = 1 if OPT.quick else 3, build('caller'), {'what': 'lists', 'lines': OPT.lines}
        if not OPT.flood:
            result['load'] = load_and_memory(lists, rounds)
            result['lookup'] = lookups(lists)
            result['refusal'] = refusals(lists, program, rounds)
        result['flood'] = under_flood(lists, program, rounds)
        result['goals'] = GOALS
        if OPT.result:
            with open(OPT.result, 'w') as f:
                json.dump(result, f)
        else:
            for text, got, most, good in GOALS:
                print('  %-4s %s: %.2f, bound %.2f' % ('met' if good else 'MISS', text, got, most))
    finally:
        shutil.rmtree(tempfile.tempdir, ignore_errors=True)


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true')
    p.add_argument('--flood', action='store_true')
    p.add_argument('--lines', type=int, default=1000000)
    p.add_argument('--seconds', type=float, default=3)
    p.add_argument('--result')
    OPT, GOALS = p.parse_args(), []
    main()
