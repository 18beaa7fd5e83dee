#!/usr/bin/python3
"""The tracker accepts on its communications port, the uis call (M27): two at once, each gets every event once; one that was away catches up;
and the tracker never calls a ui."""
import collections
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import token_make
from portreeve import Server, wait_until
from tap import done, ok, same

CAMPAIGN = 27
ESTABLISHED = '01'


def opens(t, first, n):
    seal = token_make.Sealer(os.path.join(t.state, 'keys/tracker.keys'))
    port = t.port('http')
    got = [http1.get(t.address, port, '/trk/o/%s.gif' % seal.token('open', CAMPAIGN, first + i, 0)).status for i in range(n)]
    same(set(got), {200}, 'the tracker records %d opens' % n)


def events(ui):
    return collections.Counter(who for who, in ui.rows('SELECT who FROM events WHERE campaign = ?', (CAMPAIGN,)))


def arrived(ui, upto, what):
    wait_until('%d events: %s' % (upto, what), lambda: len(events(ui)) >= upto, 60)
    got = events(ui)
    same((len(got), set(got.values())), (upto, {1}), 'M27: %s has all %d events, each once' % (what, upto))


def readers(t):
    return t.rows('SELECT reader FROM cursor', db='../spool/spool.db')


def called_by(pid):
    """Ports that a process is connected to by calls of its own: of its connections those whose own port is none that it listens on."""
    mine = set()
    for fd in os.listdir('/proc/%d/fd' % pid):
        try:
            mine.add(os.readlink('/proc/%d/fd/%s' % (pid, fd)))
        except FileNotFoundError:
            pass  # closed meanwhile
    rows = []
    for name in ('tcp', 'tcp6'):
        with open('/proc/%d/net/%s' % (pid, name)) as f:
            rows += [x.split() for x in f.readlines()[1:]]
    rows = [(int(x[1].split(':')[1], 16), int(x[2].split(':')[1], 16), x[3], 'socket:[%s]' % x[9]) for x in rows]
    own = {local for local, _, state, inode in rows if state == '0A' and inode in mine}
    return {remote for local, remote, state, inode in rows if state == ESTABLISHED and inode in mine and local not in own}


def ui_of(tracker, **more):
    return Server(components='ui', sets=[('lui.ini:TrackerHost', '127.0.0.1'), ('lui.ini:TrackerCommunicationsPort', str(tracker.port('communications')))],
                  **more)


with Server(components='tracker', bind='own') as t, ui_of(t) as a, ui_of(t) as b:
    ok(not [x for x in a.listeners() + b.listeners() if x['name'] == 'communications'], 'M27: the uis have no such port, the tracker has it')
    wait_until('the tracker to know both', lambda: len(readers(t)) == 2, 60)  # who comes later gets what is recorded from then on
    opens(t, 1, 30)
    arrived(a, 30, 'the first ui')
    arrived(b, 30, 'the second ui')
    theirs = {x['port'] for s in (a, b) for x in s.listeners()}
    ok(t.port('communications') in called_by(a.engine_pid()), 'M27: the ui holds a connection to it')
    same(called_by(t.engine_pid()) & theirs, set(), 'M27: the tracker calls none of their ports')
    b.stop_only()
    opens(t, 31, 30)
    arrived(a, 60, 'the ui that stays')
    b.start()
    arrived(b, 60, 'the ui that was away')
    same(called_by(t.engine_pid()) & {x['port'] for x in b.listeners()}, set(), 'M27: nor those of the one that came back')
done()
