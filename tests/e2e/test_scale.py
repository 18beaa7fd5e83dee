#!/usr/bin/python3
"""Thousands of sockets: 1,000 addresses × 4 ports planned, checked, bound, handed over; a reload that moves one of them touches no other; nothing
leaks; bounds have words. In a network namespace of its own. SCALE=100 for a quick look with fewer addresses."""
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import alone
import tap

ADDRESSES = int(os.environ.get('SCALE', '1000'))
PORTS = (8001, 8002, 8003, 8004)
MOVED = (8100, 8101)
LIST = ['10.77.%d.%d' % (i // 250, i % 250 + 1) for i in range(ADDRESSES)]
EVERY = ', '.join(LIST)
REQUEST = b'GET /robots.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

alone.root('thousands of sockets', 'needs root, for a network namespace of its own; run as root')

# This process goes there itself, and all it starts with it: the namespace ends with the last of them.
if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:  # CLONE_NEWNET
    tap.skip('thousands of sockets', 'a network namespace cannot be made here: ' + os.strerror(ctypes.get_errno()))
    tap.done()
subprocess.run(['ip', '-batch', '-'], input='link set lo up\n' + ''.join('addr add %s/32 dev lo\n' % a for a in LIST), text=True, check=True)

from portreeve import Refused, Server, children, cmdline, wait_until  # noqa: E402


def listeners(moved=MOVED[0]):
    """Three further ports on every address, and one socket that moves."""
    text = ''.join('more%d.Port=%d\nmore%d.Address=%s\nmore%d.Services=tracker\n' % (p, p, p, EVERY, p) for p in PORTS[1:])
    return text + 'moved.Port=%d\nmoved.Address=%s\nmoved.Services=tracker\n' % (moved, LIST[0])


def server(**more):
    files = {'tomcat.ini': 'Port=%d\nBindAddress=%s\n' % (PORTS[0], EVERY), 'listeners.ini': listeners()}
    return Server(ports=False, components='tracker', settings=dict({'Workers': 1, 'AccessLog': 'off'}, **more.pop('settings', {})),
                  files=dict(files, **more.pop('files', {})), **more)


def wanted(moved=MOVED[0]):
    return {(a, p) for a in LIST for p in PORTS} | {(LIST[0], moved)}


def listening():
    """(address, port) of every listening socket here, as ss tells it, one for each socket."""
    out = subprocess.run(['ss', '-Hltn'], check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [line.split()[3].rsplit(':', 1) for line in out.splitlines()]
    return [(a, int(p)) for a, p in rows if a.startswith('10.77.')]


def unanswered():
    out = []
    # A socket that has just been given up is bound to an interface that does not exist (ADDRESS%N) until the engine has emptied and closed it.
    wait_until('sockets that were given up to be closed', lambda: not any('%' in a for a, _ in listening()))
    for a, p in sorted(set(listening())):
        with socket.create_connection((a, p), timeout=30) as s:
            s.sendall(REQUEST)
            if not s.recv(64).startswith(b'HTTP/1.1 200'):
                out.append((a, p))
    return out


def held(s):
    """What the supervisor says it holds: {(place, worker): inode}."""
    with socket.socket(socket.AF_UNIX) as c:
        here = os.getcwd()
        os.chdir(os.path.join(s.state, 'run'))  # a socket's name is short
        c.connect('control.sock')
        os.chdir(here)
        c.sendall(b'sockets\n')
        text = b''.join(iter(lambda: c.recv(65536), b'')).decode()
    return {(m.group(1), m.group(2), int(m.group(3))): int(m.group(4))
            for m in re.finditer(r'^(\S+) (\S+) worker (\d+) inode (\d+)', text, re.M)}


def inodes(pid):
    out = []
    for fd in os.listdir('/proc/%d/fd' % pid):
        try:
            m = re.match(r'socket:\[(\d+)\]', os.readlink('/proc/%d/fd/%s' % (pid, fd)))
        except OSError:
            continue
        if m:
            out.append(int(m.group(1)))
    return out


def ours(s):
    return {i for (place, _, _), i in held(s).items()}


def count(pid):
    return len(os.listdir('/proc/%d/fd' % pid))


def move(s, to):
    s.edit('listeners.ini', listeners(to))
    return s.reload()


def on_paper(s):
    code, out, err = s.offline('plan', '--json', timeout=120)
    plan = json.loads(out)
    sockets = plan if isinstance(plan, list) else plan.get('sockets') or plan.get('listeners')
    got = {(x['address'], x['port']) for x in sockets if x['address'].startswith('10.77.')}
    tap.ok(code == 0 and got == wanted(), '%d sockets planned' % len(got), err)
    code, text = s.check()
    tap.ok(code == 0 and '%d sockets' % len(sockets) in text, 'and checked, with every policy test', text[-500:])


def bound(s):
    tap.same(set(listening()), wanted(), 'exactly the planned sockets listen (%d)' % len(wanted()))
    tap.same(len(listening()), len(wanted()), 'each once: one worker')
    tap.same(unanswered(), [], 'every one of them answers')
    tap.ok(ours(s) <= set(inodes(s.engine_pid())), 'the engine has every socket that the supervisor holds')


def one_moves(s):
    """A reload with one change among thousands, ten times."""
    before, supervisor, engine = held(s), s.supervisor_pid(), s.engine_pid()
    kept = len(s.listeners()) - 1
    refused, changed, numbers = [], [], []
    for i in range(10):
        to = MOVED[(i + 1) % 2]
        code, text = move(s, to)
        if code != 0 or not re.search(r'%d sockets kept, 1 opened, 1 closed' % kept, text):
            refused.append((i, text[:300]))
        now = held(s)
        if {k: v for k, v in before.items() if k[1] != 'moved'} != {k: v for k, v in now.items() if k[1] != 'moved'}:
            changed.append(i)
        if set(listening()) != wanted(to):
            wait_until('the old socket to be closed', lambda: set(listening()) == wanted(to))
        mine = ours(s)
        known = mine | set(before.values())
        wait_until('the engine to have what is held, and no more', lambda: sorted(x for x in inodes(engine) if x in known) == sorted(mine))
        numbers.append((count(supervisor), count(engine)))
    tap.same(refused, [], 'ten reloads that move one of %d sockets say so' % (kept + 1))
    tap.same(changed, [], 'every other socket keeps its inode')
    tap.same(s.engine_pid(), engine, 'and the engine serves on')
    wait_until('as many descriptors as after the first of them', lambda: (count(supervisor), count(engine)) == numbers[0])
    tap.ok(True, 'no descriptor is left behind after ten reloads: %d and %d' % numbers[0])
    tap.same(unanswered(), [], 'every socket answers')


def new_engine(s):
    """An engine that takes a dead one's place gets all sockets, and goes on with changes from there."""
    before = held(s)
    s.crash_engine()
    tap.same(held(s), before, 'the sockets outlive their engine')
    wait_until('the new engine to have them all', lambda: s.engine_pid() and ours(s) <= set(inodes(s.engine_pid())))
    tap.same(unanswered(), [], 'and they answer')
    code, text = move(s, MOVED[1])
    tap.ok(code == 0 and '1 opened, 1 closed' in text, 'a reload after that', text[:300])
    wait_until('the plan', lambda: set(listening()) == wanted(MOVED[1]))
    tap.same(unanswered(), [], 'answers everywhere')


def reserve(s):
    """The planner in reserve."""
    found = [p for p in children(s.supervisor_pid()) if '--reserve' in cmdline(p)]
    return found[0] if found else None


def worked_ahead(s):
    """What a planner did before it was called counts only as far as nothing has changed since."""
    wait_until('a planner in reserve', lambda: reserve(s))
    restore = s.snapshot()
    s.edit('policies/route_test.lua', 'return {\n  ["one is two"] = function(t)\n    t.eq(1, 2)\n  end,\n}\n')
    code, text = s.reload()
    tap.ok(code == 1 and re.search(r'policies/route_test\.lua:3: .*failed', text), 'a policy test that is new is run, and fails', text[:300])
    restore()
    first = wait_until('the next planner in reserve', lambda: reserve(s))
    end = s.read('policies/bind.lua').rindex('  return p\n')
    new = '  if rules.tomcat.Port.value == %d then p:warn(nil, "this policy is new") end\n' % PORTS[0]
    s.edit('policies/bind.lua', lambda t: t[:end] + new + t[end:])
    code, text = s.reload()
    tap.ok(code == 0 and 'this policy is new' in text, 'a policy that has changed is the one that runs', text[:300])
    restore()
    second = wait_until('another planner', lambda: reserve(s))
    tap.ok(first != second, 'each serves once')
    code, text = s.reload()
    tap.ok(code == 0 and 'this policy is new' not in text, 'and the old one again', text[:300])
    os.kill(wait_until('one more', lambda: reserve(s)), signal.SIGKILL)
    code, text = move(s, MOVED[0])
    tap.ok(code == 0 and '1 opened, 1 closed' in text, 'one that has died is not missed', text[:300])
    tap.same(unanswered(), [], 'every socket answers')


def two_workers():
    with server(settings={'Workers': 2}) as s:
        places = listening()
        tap.ok(set(places) == wanted() and len(places) == 2 * len(wanted()), 'two workers: each address twice, %d sockets' % len(places))
        tap.ok(ours(s) <= set(inodes(s.engine_pid())), 'all handed over')
        code, text = move(s, MOVED[1])
        tap.ok(code == 0 and '1 opened, 1 closed' in text, 'one moves', text[:300])
        wait_until('the plan', lambda: sorted(listening()) == sorted(list(wanted(MOVED[1])) * 2))
        tap.same(unanswered(), [], 'every address answers')


def too_many():
    """The bound of a plan is said with file, line and number, and nothing is opened."""
    lists = 16384 // ADDRESSES + 1
    if lists > 60:
        return
    text = ''.join('l%d.Port=%d\nl%d.Address=%s\nl%d.Services=tracker\n' % (i, 9000 + i, i, EVERY, i) for i in range(lists))
    with server() as s:
        before = held(s)
        s.edit('listeners.ini', text)
        code, out = s.reload()
        said = r'listeners\.ini:\d+: l\d+\.Port: a plan has at most 16384 sockets'
        tap.ok(code == 1 and re.search(said, out), 'more than 16384 sockets are refused, with the line', out[:500])
        tap.same(held(s), before, 'and nothing has changed')
        code, out = s.check()
        tap.ok(code == 1 and 'at most 16384 sockets' in out, 'check refuses them too', out[:500])


def too_few_descriptors():
    limit = len(wanted()) // 2
    try:
        with server(prefix=['prlimit', '--nofile=%d:%d' % (limit, limit)]):
            tap.ok(False, 'a start without descriptors for its sockets is refused')
    except Refused as e:
        m = re.search(r'needs (\d+) file descriptors, and a process here may have %d' % limit, e.text)
        good = e.code == 1 and m and int(m.group(1)) > len(wanted())
        tap.ok(good, 'too few file descriptors: refused, with the number that is needed', e.text[-800:])
    tap.same(listening(), [], 'and nothing is left listening')
    need = int(m.group(1)) if m else 0
    with server(prefix=['prlimit', '--nofile=%d:%d' % (need, need)]) as s:
        tap.same(unanswered(), [], 'with exactly that number it starts and serves')
        code, text = move(s, MOVED[1])
        said = r'needs %d file descriptors' % (need + 1)
        tap.ok(code == 1 and re.search(said, text), 'a reload with one socket more at a time says how many it needs', text[:500])
        tap.same(unanswered(), [], 'and serves on')


def main():
    with server() as s:
        on_paper(s)
        bound(s)
        one_moves(s)
        new_engine(s)
        worked_ahead(s)
    two_workers()
    too_many()
    too_few_descriptors()
    tap.done()


main()
