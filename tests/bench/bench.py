#!/usr/bin/python3
"""Server CPU per request beside nginx: the figures of the README.

    tests/bench/bench.py [--quick] [--rounds N] [--seconds N] [--calls] [a b c d e f g h]

    a  pixel over keep-alive, recording off        (admission.lua, route.lua, the tracker's Lua handler)
    b  pixel recorded durably, 64 and 512 connections
    c  a new connection for every request
    d  10,000 idle kept connections, plain and TLS: KB each
    e  4,000 listening sockets: start, memory, and a reload that moves one (scale.py, beside nginx and haproxy; needs root)
    f  a million lines of address lists, refusals, and a flood of them (lists.py, beside nginx and haproxy)
    g  admission by stages: no rule, the shipped policy, one rule in Lua at each stage; a new connection for every request, plain and TLS
    h  a tunnel to a backend, by the MB and by the connection (tunnel.py, beside haproxy in tcp mode)
One server at a time on the first processor, wrk on the second, runs interleaved, medians. CPU is what the kernel's scheduler counted for every thread of
the server's processes, our supervisor included. --calls: system calls per request too (strace). Results are appended to build/bench/results.jsonl.
"""
import argparse
import json
import os
import platform
import re
import resource
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
from kernel import CPUS, ON_LOAD, ON_SERVER, cpu_ns, tree  # noqa: E402
from peers import Nginx  # noqa: E402

OUT = os.path.join(ROOT, 'build', 'bench')
IDLE = 10000


class Ours:
    """portreeve with one worker; the tracker alone."""

    def __init__(self, record, prefix=(), policies=None, tls=False):
        self.over_tls = tls
        self.s = portreeve.Server(components='tracker', prefix=list(prefix), policies=policies, settings={
            'Workers': 1, 'AccessLog': 'off', 'TrackingLevel': 'personal' if record else 'off', 'IdleTimeout': 600000, 'MaxConnections': 15000,
            'Durability': 'durable'})
        self.address = self.s.address
        self.record = record
        token = token_make.Sealer(os.path.join(self.s.state, 'keys/tracker.keys')).token('open', 1, 4711, 0)
        self.path = '/trk/o/%s.gif' % token
        self.ports = self.s.port('http'), self.s.tls_port()
        if http1.get(self.address, self.ports[0], self.path).status != 200:
            raise RuntimeError('portreeve does not answer its pixel')

    def pid(self):
        return self.s.proc.pid

    def port(self):
        return self.ports[1 if self.over_tls else 0]

    def tls_port(self):
        return self.ports[1]

    def stop(self):
        self.s.stop()


def admission(rules):
    """policies with this list of rules, and a test that has nothing to say of it."""
    return {'admission.lua': 'local admission = require "portreeve.admission"\nlocal rule = admission.rule\nreturn admission.rules {\n%s}\n' % rules,
            'admission_test.lua': 'return { ["nothing"] = function(t) t.ok(true) end }\n'}


LUA_RULE = '  rule.at("%s", function(facts) if %s then return admission.verdict.refuse("policy", "no") end end),\n'
STAGES = {  # name: (policies, over TLS)
    'no rule': (admission(''), False),
    'shipped policy': (None, False),
    'Lua at peer': (admission(LUA_RULE % ('peer', 'facts.active > 1000')), False),
    'Lua at request': (admission(LUA_RULE % ('request', 'facts.method == "PUT"')), False),
    'TLS: no rule': (admission(''), True),
    'TLS: shipped policy': (None, True),
    'TLS: Lua at hello': (admission(LUA_RULE % ('hello', 'facts.sni == "x"')), True),
    'TLS: Lua at identity': (admission(LUA_RULE % ('identity', 'facts.tls == "SSLv3"')), True),
}


MAKE = {
    'portreeve': lambda: Ours(False, ON_SERVER),
    'portreeve durable': lambda: Ours(True, ON_SERVER),
    **{name: (lambda policies=policies, tls=tls: Ours(False, ON_SERVER, policies, tls)) for name, (policies, tls) in STAGES.items()},
    'nginx empty_gif': lambda: Nginx('empty_gif', ON_SERVER),
    'nginx+lua': lambda: Nginx('lua', ON_SERVER),
    'nginx+lua commit 5 ms': lambda: Nginx('lua-commit', ON_SERVER),
}


# --- what the kernel says ---
def pss_kb(pids):
    total = 0
    for p in pids:
        with open('/proc/%d/smaps_rollup' % p) as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith('Pss:'))
    return total


def wait_quiet():
    """A moment in which nothing else wants the processors; at most 5 s."""
    for _ in range(20):
        with open('/proc/stat') as f:
            one = list(map(int, f.readline().split()[1:9]))
        time.sleep(0.25)
        with open('/proc/stat') as f:
            two = list(map(int, f.readline().split()[1:9]))
        busy = sum(two) - sum(one) - (two[3] - one[3]) - (two[4] - one[4])
        if busy < 0.1 * (sum(two) - sum(one)):
            return True
    return False


# --- load ---
def wrk(server, connections, seconds, new=False):
    argv = ON_LOAD + ['wrk', '-t1', '-c%d' % connections, '-d%ds' % seconds, '--latency', '--timeout', '10s']
    argv += ['-H', 'Connection: close'] if new else []
    scheme = 'https' if getattr(server, 'over_tls', False) else 'http'
    text = subprocess.run(argv + ['%s://%s:%d%s' % (scheme, server.address, server.port(), server.path)], stdout=subprocess.PIPE, text=True, check=True,
                          timeout=seconds + 60).stdout
    requests = int(re.search(r'(\d+) requests in', text).group(1))
    errors = re.search(r'Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)', text)
    errors = list(map(int, errors.groups())) if errors else [0] * 4
    if 'Non-2xx' in text or errors[0] or errors[3] or requests < 100:
        raise RuntimeError('answers that are not 200, or errors:\n' + text)
    return requests, float(re.search(r'Requests/sec:\s+([\d.]+)', text).group(1)), re.search(r'^\s+50%\s+(\S+)', text, re.M).group(1), re.search(r'^\s+99%\s+(\S+)', text, re.M).group(1)


def measure(name, connections, seconds, new=False):
    server = MAKE[name]()
    try:
        wrk(server, connections, 1, new)
        quiet = wait_quiet()
        pids = tree(server.pid())
        before = cpu_ns(pids)
        requests, rate, p50, p99 = wrk(server, connections, seconds, new)
        used = cpu_ns(pids) - before
    finally:
        server.stop()
    return {'us': used / 1000.0 / requests, 'rate': rate, 'p50': p50, 'p99': p99, 'quiet': quiet}


def runs(title, names, connections, new=False, times=1):
    """Interleaved rounds, `times` as many as asked for; the median of each figure."""
    got = {n: [] for n in names}
    for _ in range(OPT.rounds * times):
        for n in names:
            got[n].append(measure(n, connections, OPT.seconds, new))
    out = {}
    for n in names:
        out[n] = {'us': statistics.median(r['us'] for r in got[n]), 'rate': statistics.median(r['rate'] for r in got[n]),
                  'p50': got[n][0]['p50'], 'p99': got[n][0]['p99'], 'all_us': [round(r['us'], 2) for r in got[n]]}
    first = names[0]
    noisy = sum(not r['quiet'] for n in names for r in got[n])
    print('\n%s%s' % (title, '   (other programs were busy before %d of %d runs: do not trust these)' % (noisy, OPT.rounds * times * len(names)) if noisy else ''))
    print('  %-24s %12s %10s %8s %8s   %s' % ('', 'CPU µs/req', 'req/s', 'p50', 'p99', 'of ours: CPU, req/s'))
    for n in names:
        print('  %-24s %12.2f %10.0f %8s %8s   %s' % (n, out[n]['us'], out[n]['rate'], out[n]['p50'], out[n]['p99'], '' if n == first else
              '%.2f×, %.2f×' % (out[n]['us'] / out[first]['us'], out[n]['rate'] / out[first]['rate'])))
    sys.stdout.flush()
    if OPT.calls:
        for n in names:
            print('  calls a request, %-20s %s' % (n + ':', calls(n, connections, new)), flush=True)
    RESULT.append({'what': title, 'connections': connections, 'noisy_runs': noisy, 'results': out})
    return out


def calls(name, connections, new):
    """System calls per request, counted by strace over a short run."""
    server = MAKE[name]()
    log = os.path.join(OUT, 'strace.txt')
    try:
        pids = tree(server.pid())
        tracer = subprocess.Popen(['strace', '-f', '-c', '-q', '-o', log] + [x for p in pids for x in ('-p', str(p))], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        requests = wrk(server, connections, 3, new)[0]
        tracer.terminate()
        tracer.wait(20)
    finally:
        server.stop()
    with open(log) as f:
        rows = [line.split() for line in f]
    count = sorted(((int(r[3]) / requests, r[-1]) for r in rows if len(r) >= 5 and r[3].isdigit() and r[-1] != 'total'), reverse=True)
    return '%.2f: ' % sum(c for c, _ in count) + ', '.join('%s %.2f' % (n, c) for c, n in count[:8])


def open_idle(server, tls, n):
    """n connections that have been served once and are kept. Only descriptors stay on this side."""
    context, kept = http1.tls_context() if tls else None, []
    data = http1.request('GET', server.path)
    for _ in range(n):
        c = http1.Conn(server.address, server.tls_port() if tls else server.port(), tls=context, timeout=30)
        c.send(data)
        if c.response().status != 200:
            raise RuntimeError('not served')
        kept.append(socket.socket(fileno=c.sock.detach()))
    return kept


def idle(name, tls):
    server = MAKE[name]()
    kept = []
    try:
        for c in open_idle(server, tls, 200):
            c.close()
        time.sleep(1)
        pids = tree(server.pid())
        before = pss_kb(pids)
        kept = open_idle(server, tls, IDLE)
        time.sleep(2)
        after = pss_kb(pids)
        for c in kept[::100]:  # they must still be there, or nothing was measured
            c.setblocking(False)
            try:
                if c.recv(4096) == b'':
                    raise RuntimeError('%s closed an idle connection' % name)
            except BlockingIOError:
                pass  # TLS 1.3 tickets may wait unread, else there is nothing to read
    finally:
        for c in kept:
            c.close()
        server.stop()
    return (after - before) / IDLE


def idle_all():
    print('\n(d) %d idle kept connections, KB each' % IDLE)
    out = {}
    for n in ('portreeve', 'nginx empty_gif'):
        out[n] = {'plain': idle(n, False), 'tls': idle(n, True)}
        print('  %-24s plain %6.2f   TLS %6.2f' % (n, out[n]['plain'], out[n]['tls']), flush=True)
    RESULT.append({'what': 'idle', 'results': out})
    ours, peer = out['portreeve'], out['nginx empty_gif']
    want('(d) plain: at most nginx', ours['plain'], peer['plain'])
    want('(d) TLS: at most nginx', ours['tls'], peer['tls'])


def scale():
    """In a process of its own: it leaves this network for one with a thousand addresses."""
    result = os.path.join(OUT, 'scale.json')
    argv = [os.path.join(HERE, 'scale.py'), '--result', result] + (['--quick'] if OPT.quick else [])
    sys.stdout.flush()
    if os.geteuid() != 0:
        print('\n(e) skipped: a network namespace of its own needs root')
        return
    subprocess.run(argv, check=True)
    with open(result) as f:
        got = json.load(f)
    RESULT.append(got)
    want('(e) a reload that moves one of %d sockets: a quarter of the faster peer (ms)' % got['sockets'], got['ours_ms'], got['peer_ms'] / 4)


def own_program(name):
    """A part that is a program of its own, which brings its goals."""
    result = os.path.join(OUT, name + '.json')
    sys.stdout.flush()
    subprocess.run([os.path.join(HERE, name + '.py'), '--result', result] + (['--quick'] if OPT.quick else []), check=True)
    with open(result) as f:
        got = json.load(f)
    GOALS.extend(tuple(g) for g in got.pop('goals'))
    RESULT.append(got)


def stages():
    """Differences of a microsecond are of the size of the noise of a run, so there are more and shorter runs, and what counts is the least of each."""
    for tls in (False, True):
        names = [n for n, (_, over) in STAGES.items() if over == tls]
        got = {n: [] for n in names}
        for _ in range(max(OPT.rounds, 2) * 2):
            for n in names:
                got[n].append(measure(n, 64, OPT.seconds, new=True)['us'])
        least = {n: min(v) for n, v in got.items()}
        none = least[names[0]]
        print('\n(g) admission, a new %sconnection for every request, 64 at a time' % ('TLS ' if tls else ''))
        for n in names:
            print('  %-24s %8.2f CPU µs/connection %+8.2f   (runs: %s)' % (n, least[n], least[n] - none, ' '.join('%.1f' % u for u in got[n])), flush=True)
        RESULT.append({'what': 'admission%s' % (' TLS' if tls else ''), 'results': {n: {'us': least[n], 'all_us': got[n]} for n in names}})
        if not tls:
            want('(g) the shipped policy: at most 2 µs a connection over no rule', least['shipped policy'] - none, 2.0)


def want(text, got, most):
    GOALS.append((text, got, most, got <= most))


def main():
    a = None
    if 'a' in OPT.parts or 'b' in OPT.parts:
        a = runs('(a) pixel, keep-alive, recording off, 64 connections', ['portreeve', 'nginx empty_gif', 'nginx+lua'], 64, times=3)
        want('(a) CPU per request: at most nginx empty_gif', a['portreeve']['us'], a['nginx empty_gif']['us'])
    if 'b' in OPT.parts:
        for n, times in ((64, 5), (512, 2)):
            # (a) once more beside it where it has as many connections: what the machine does from minute to minute is more than what is compared
            beside = ['portreeve'] if n == 64 else []
            b = runs('(b) pixel, recorded durably, %d connections' % n, ['portreeve durable'] + beside + ['nginx+lua commit 5 ms'], n, times=3 if beside else 1)
            want('(b) %d connections: %d times nginx+lua (req/s of nginx × %d)' % (n, times, times), b['nginx+lua commit 5 ms']['rate'] * times, b['portreeve durable']['rate'])
            want('(b) %d connections: CPU at most 1.5 times (a)' % n, b['portreeve durable']['us'], 1.5 * b.get('portreeve', a['portreeve'])['us'])
    if 'c' in OPT.parts:
        c = runs('(c) a new connection for every request, 64 at a time', ['portreeve', 'nginx empty_gif', 'nginx+lua'], 64, new=True)
        want('(c) CPU per request: at most nginx', c['portreeve']['us'], c['nginx empty_gif']['us'])
    if 'd' in OPT.parts:
        idle_all()
    if 'e' in OPT.parts:
        scale()
    if 'f' in OPT.parts:
        own_program('lists')
    if 'g' in OPT.parts:
        stages()
    if 'h' in OPT.parts:
        own_program('tunnel')
    print('\ngoals')
    for text, got, most, good in GOALS:
        print('  %-4s %s: %.2f, bound %.2f' % ('met' if good else 'MISS', text, got, most))
    with open(os.path.join(OUT, 'results.jsonl'), 'a') as f:
        f.write(json.dumps({'at': int(time.time()), 'kernel': platform.release(), 'cpu': cpu_name(), 'rounds': OPT.rounds, 'seconds': OPT.seconds,
                            'results': RESULT, 'goals': [dict(zip(('goal', 'got', 'bound', 'met'), g)) for g in GOALS]}) + '\n')
    return 0


def cpu_name():
    with open('/proc/cpuinfo') as f:
        m = re.search(r'model name\s*:\s*(.*)', f.read())
    return m.group(1) if m else '?'


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('parts', nargs='*', default=['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--seconds', type=int, default=5)
    p.add_argument('--quick', action='store_true', help='one round of 3 s')
    p.add_argument('--calls', action='store_true', help='system calls per request too (needs strace)')
    OPT = p.parse_args()
    if OPT.quick:
        OPT.rounds, OPT.seconds = 1, 3
    RESULT, GOALS = [], []
    if len(CPUS) < 2:
        sys.exit('two processors are needed: one for the server, one for the load')
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 'd' in OPT.parts and hard < IDLE + 1000:
        sys.exit('part d needs %d file descriptors, ulimit -Hn says %d' % (IDLE + 1000, hard))
    os.makedirs(OUT, exist_ok=True)
    # On the disk of the tree, for all alike: a /tmp in memory would make fdatasync free.
    tempfile.tempdir = tempfile.mkdtemp(prefix='t', dir=OUT)
    try:
        sys.exit(main())
    finally:
        shutil.rmtree(tempfile.tempdir, ignore_errors=True)
