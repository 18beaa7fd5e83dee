#!/usr/bin/python3
"""WorkerAffinity: each worker on a processor of its own, with the calls that this processor receives; changed by reload, kept by a new engine."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from portreeve import Server, wait_until
from tap import done, same, skip

CPUS = sorted(os.sched_getaffinity(0))
CALLS = 24


def workers(s):
    """{name of the thread: the processors it may use}"""
    out = {}
    try:
        folder = '/proc/%d/task' % (s.engine_pid() or 0)
        for t in os.listdir(folder):
            with open('%s/%s/comm' % (folder, t)) as f:
                name = f.read().strip()
            if name.startswith('worker '):
                out[name] = sorted(os.sched_getaffinity(int(t)))
    except OSError:
        return {}  # the engine is just being replaced
    return out


def called_from(s, cpu):
    """The workers that answer callers on this processor (None: on any)."""
    before, held = os.sched_getaffinity(0), []
    try:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        for _ in range(CALLS):
            c = http1.Conn(s.address, s.port('http'))
            c.call('GET', '/robots.txt')
            held.append(c)
        return sorted({c['worker'] for c in s.eval('connections()', True) if c['listener'] == 'http'})
    finally:
        os.sched_setaffinity(0, before)
        for c in held:
            c.close()
        wait_until('these callers are gone', lambda: not [c for c in s.eval('connections()', True) if c['listener'] == 'http'])


def affinity(s):
    one_each = {'worker %d' % i: [CPUS[i % len(CPUS)]] for i in range(2)}
    wherever = {'worker %d' % i: CPUS for i in range(2)}
    same(workers(s), wherever, 'as shipped, a worker runs where the kernel sends it')
    s.append('portreeve.ini', 'WorkerAffinity=on')
    same(s.reload()[0], 0, 'switched on by a reload')
    wait_until('each worker has a processor', lambda: workers(s) == one_each)
    same(workers(s), one_each, 'each worker has a processor')
    for i in range(2):
        same(called_from(s, CPUS[i]), [i], 'calls that processor %d receives go to worker %d, all %d of them' % (CPUS[i], i, CALLS))
    s.crash_engine()
    wait_until('each worker of the new one has a processor', lambda: workers(s) == one_each)
    same(workers(s), one_each, 'a new engine has it too')
    same(called_from(s, CPUS[1]), [1], 'and its calls')
    s.edit('portreeve.ini', lambda t: t.replace('WorkerAffinity=on', 'WorkerAffinity=off'))
    same(s.reload()[0], 0, 'switched off again')
    wait_until('the workers are free', lambda: workers(s) == wherever)
    same(workers(s), wherever, 'the workers are free')
    same(called_from(s, CPUS[0]), [0, 1], 'and calls go to both')


if len(CPUS) < 2:
    skip('WorkerAffinity', 'one processor only')
else:
    with Server(components='tracker', settings={'Workers': 2}) as s:
        affinity(s)
done()
