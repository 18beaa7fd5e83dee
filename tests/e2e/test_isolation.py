#!/usr/bin/python3
"""The tracker depends on nothing: with hub and ui away, or their database gone, it answers as before, and the events arrive when they return."""
import collections
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import token_make
from portreeve import Server, wait_until
from tap import done, ok, same

TARGET = 'https://example.org/landing?a=1'


class Reader:
    """Recipients with numbers of their own: open, click, unsubscribe each."""

    def __init__(self, s, campaign):
        self.s, self.campaign, self.n = s, campaign, 0
        self.sent = []

    def round(self, count, what):
        """Every answer must be what it is on a good day."""
        seal = token_make.Sealer(os.path.join(self.s.state, 'keys/tracker.keys'))
        bad = []
        with http1.Conn(self.s.address, self.s.port('http')) as c:
            for _ in range(count):
                self.n += 1
                for kind in ('open', 'click', 'unsubscribe'):
                    token = seal.token(kind, self.campaign, self.n, 7, TARGET if kind == 'click' else '')
                    if kind == 'open':
                        r = c.call('GET', '/trk/o/%s.gif' % token)
                        good = r.status == 200 and len(r.body) == 43
                    elif kind == 'click':
                        r = c.call('GET', '/trk/c/%s?u=%s' % (token, urllib.parse.quote(TARGET, safe='')))
                        good = r.status == 302 and r.get('Location') == TARGET
                    else:
                        r = c.call('POST', '/trk/u/' + token, {'Content-Type': 'application/x-www-form-urlencoded'}, b'List-Unsubscribe=One-Click')
                        good = r.status == 200
                    if good:
                        self.sent.append((kind, self.n))
                    else:
                        bad.append((kind, self.n, r.status))
        same(bad, [], '%d opens, clicks and unsubscribes are answered as ever: %s' % (count, what))

    def rows(self):
        return collections.Counter((t, int(w[1:])) for t, w in self.s.rows('SELECT type, who FROM events WHERE campaign = ?', (self.campaign,)))

    def arrive(self, wanted, what):
        try:
            wait_until('events', lambda: all(k in self.rows() for k in wanted), 40)
        except AssertionError:
            pass
        rows = self.rows()
        same([k for k in wanted if rows[k] != 1][:6], [], 'every event arrives exactly once: ' + what)


def database(s, name='ui.db'):
    return os.path.join(s.state, 'db', name)


def without_components(s):
    """hub and ui are not there at all; later they are."""
    who = Reader(s, 51)
    who.round(5, 'components tracker only')
    same([x['name'] for x in s.listeners() if {'ui', 'hub'} & set(x['services'])], [], 'no listener offers ui or hub')
    same(http1.get(s.address, s.port('http'), '/lui/').status, 404, 'the ui is not there')
    ok(len([e for e in s.events() if str(e.get('campaign')) == '51']) == 15, 'the events wait in the spool', s.events()[:2])
    s.sets = [x for x in s.sets if x[0] != 'portreeve.ini:Components']
    s.stop_only()
    s.start()
    who.round(3, 'with hub and ui back')
    who.arrive(who.sent, 'after hub and ui came back')


def without_database(s):
    """The ui's database cannot be opened (a link into nothing stands in its place), then it is as it was."""
    who = Reader(s, 52)
    who.round(3, 'all well')
    who.arrive(who.sent, 'all well')
    kept = os.path.join(s.dir, 'kept')
    os.mkdir(kept)
    s.stop_only()
    folder = os.path.dirname(database(s))
    names = os.listdir(folder)
    for name in names:
        os.rename(os.path.join(folder, name), os.path.join(kept, name))
        if name.endswith('.db'):
            os.symlink(os.path.join(s.dir, 'no-such-folder', name), os.path.join(folder, name))
    s.start()
    who.round(10, 'databases of ui and hub cannot be opened')
    status = http1.get(s.address, s.port('http'), '/trk/u/x').status
    same(status, 404, 'a bad unsubscribe token is still a 404')
    for name in sorted(names, key=lambda n: n.endswith('.db')):  # the database last, so that it is never seen without its journal
        os.rename(os.path.join(kept, name), os.path.join(folder, name))
    who.arrive(who.sent, 'once the database is back, with no restart')


def removed_database(s):
    """The file is removed under the running ui: what was in it is gone, what comes afterwards must not vanish with it."""
    who = Reader(s, 53)
    who.round(3, 'before the database is removed')
    who.arrive(who.sent, 'before the database is removed')
    for tail in ('', '-wal', '-shm'):
        if os.path.exists(database(s) + tail):
            os.unlink(database(s) + tail)
    before = len(who.sent)
    who.round(10, 'database file removed')
    who.arrive(who.sent[before:], 'events after the removal are in the new database')


def without_hub(s):
    who = Reader(s, 54)
    who.round(4, 'hub away')
    who.arrive(who.sent, 'hub away, ui there')


def main():
    with Server(components='tracker') as s:
        without_components(s)
        without_database(s)
        removed_database(s)
    with Server(components='tracker,ui') as s:
        without_hub(s)
    done()


main()
