#!/usr/bin/python3
"""Reaping: living connections judged again under today's rules and ended gently; and the idlest stranger who gives way to a client."""
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import callers
import http1
from portreeve import Server, command, wait_until
from tap import done, ok, same


def hold(s, port, source, n=1):
    return callers.hold(s.address, port, source, n)


def turned_away(s, port, source, what):
    try:
        hold(s, port, source)
        ok(False, what)
    except (http1.Closed, OSError):
        ok(True, what)


def alive(c):
    """Is this connection still served?"""
    try:
        return c.call('GET', '/robots.txt').status == 200
    except (http1.Closed, OSError):
        return False


def reap(s, *args):
    code, out, err = s.command('reap', '--json', *args)
    if code != 0:
        raise AssertionError('reap: %s%s' % (out, err))
    return json.loads(out)


def by_list(s):
    port = s.port('http')
    bad, good = hold(s, port, '127.96.0.1', 3), hold(s, port, '127.96.1.1', 3)
    same(reap(s).get('list'), None, 'today everybody would come in: nobody is reaped')
    s.edit('lists/denied.list', '127.96.0.0/24\n')
    same(s.reload()[0], 0, 'a new line in the denied list')
    ok(all(alive(c) for c in bad + good), 'a reload ends no connection')
    got = reap(s, '--dry-run')
    ok(got['dry'] and got['judged'] == 6 and got['closed'] == 3 and len(got['list']) == 3 and
       all(x['address'] == '127.96.0.1' and x['reason'] == 'denied' and 'denied.list:1' in x['because'] and 'admission.lua:' in x['policy'] and x['state'] == 'idle'
           for x in got['list']), '--dry-run names them, with reason, list line and rule', got)
    ok(all(alive(c) for c in bad + good), 'and ends nobody')
    hits = s.eval('lists("denied")', json_out=True)
    got = reap(s)
    ok(not got['dry'] and got['closed'] == 3, 'reap ends them', got)
    ok(not any(alive(c) for c in bad) and all(alive(c) for c in good), 'those, and no other')
    same(s.eval('lists("denied")', json_out=True), hits, 'asking again counts no hit of a line')
    s.edit('lists/denied.list', '')
    same(s.reload()[0], 0, 'the list as it was')
    for c in good:
        c.close()


def by_ban(s):
    port = s.port('http')
    held = hold(s, port, '127.96.2.1', 2)
    same(s.command('ban', '127.96.2.1')[0], 0, 'a ban')
    ok(all(alive(c) for c in held), 'living connections stay')
    same(reap(s)['closed'], 2, 'until they are reaped')
    ok(not any(alive(c) for c in held), 'both are closed')
    same(s.command('unban', '127.96.2.1')[0], 0, 'unban')


def by_limit(s):
    """Of too many, as many go as are too many, and not one more."""
    port = s.port('many')
    a, b = hold(s, port, '127.96.3.1', 6), hold(s, port, '127.96.3.2', 2)
    s.edit('listeners.ini', lambda t: t.replace('many.MaxPerAddress=10', 'many.MaxPerAddress=4'))
    same(s.reload()[0], 0, 'MaxPerAddress from 10 to 4')
    same([reap(s, '--dry-run')['closed'] for _ in (1, 2)], [2, 2], 'two of six would go, however often it is asked')
    same(reap(s)['closed'], 2, 'two go')
    same([sum(alive(c) for c in x) for x in (a, b)], [4, 2], 'four and two stay')
    same(reap(s)['closed'], 0, 'a second time there is nobody')
    s.edit('listeners.ini', lambda t: t.replace('many.MaxConnections=50', 'many.MaxConnections=5'))
    same(s.reload()[0], 0, 'MaxConnections from 50 to 5')
    same(reap(s)['closed'], 1, 'one of six goes')
    same(sum(alive(c) for c in a + b), 5, 'five stay')
    for c in a + b:
        c.close()
    wait_until('all places to be given back', lambda: not [x for x in s.eval('connections()', json_out=True) if x['listener'] == 'many'] and s.eval('listener("many").active') == '0')
    ok(True, 'every ticket was given back once')


def busy(s):
    """Who is in the middle of a request gets his answer first."""
    port = s.port('http')
    c = http1.Conn(s.address, port, source='127.96.4.1')
    c.call('GET', '/robots.txt')
    c.send(b'POST /trk/u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345')
    wait_until('the request to be read', lambda: [x for x in s.eval('connections()', json_out=True) if x['remote'].startswith('127.96.4.1:') and x['state'] != 'idle'])
    same(s.command('ban', '127.96.4.1')[0], 0, 'a ban')
    got = reap(s)
    ok(got['closing'] == 1 and got['closed'] == 0, 'it closes after its answer', got)
    c.send(b'67890')
    r = c.response()
    ok(r.status >= 200 and (r.get('Connection') or '').lower() == 'close', 'the answer comes, and says that it is the last', r)
    try:
        c.more()
        ok(False, 'then it is closed')
    except http1.Closed:
        ok(True, 'then it is closed')
    c.close()
    same(s.command('unban', '127.96.4.1')[0], 0, 'unban')


def tls(s):
    port = s.port('secure')
    with http1.Conn(s.address if s.address in [x['address'] for x in s.listeners('secure')] else '127.0.0.1', port, source='127.96.5.1', tls=True) as c:
        same(c.call('GET', '/robots.txt').status, 200, 'a connection with TLS')
        same(s.command('ban', '127.96.5.1')[0], 0, 'a ban')
        same(reap(s)['closed'], 1, 'is reaped like any other')
        ok(not alive(c), 'and closed')
    same(s.command('unban', '127.96.5.1')[0], 0, 'unban')


def delayed(s):
    """Who is kept waiting by a delay is judged as well: one at the peer stage is closed, a request has its answer first."""
    s.edit('lists/slow.list', '127.96.6.0/24\n')
    shipped = {n: s.read('policies/' + n) for n in ('admission.lua', 'admission_test.lua')}
    s.edit('policies/admission_test.lua', 'return { ["nothing"] = function(t) t.ok(true) end }\n')
    s.edit('policies/admission.lua', lambda text: text.replace('return rules {', 'return rules {\n  rule.delay(30000, { listed = "slow" }),\n'
           '  rule.at("request", function(f) if f.path == "/wait" then return admission.verdict.delay(8000) end end),'))
    same(s.reload()[0], 0, 'a policy that delays')
    port = s.port('http')
    waiting, asking = [http1.Conn(s.address, port, source=a) for a in ('127.96.6.1', '127.96.7.1')]
    for c, path in ((waiting, '/robots.txt'), (asking, '/wait')):
        c.send(http1.request('GET', path))
    wait_until('both to be delayed', lambda: len([x for x in s.eval('connections()', json_out=True) if x['state'] == 'delayed']) == 2)
    same(reap(s)['closed'], 0, 'nobody has anything against them')
    same([s.command('ban', a)[0] for a in ('127.96.6.1', '127.96.7.1')], [0, 0], 'a ban of each')
    got = reap(s)
    same([got['closed'], got['closing'], [x['state'] for x in got['list']]], [1, 1, ['delayed', 'delayed']], 'the caller is closed at once, the request has its answer')
    ok(waiting.ends(), 'the caller does not come in after his delay')
    ok(asking.response().status == 404 and asking.ends(), 'the answer is the last')
    same([s.command('unban', a)[0] for a in ('127.96.6.1', '127.96.7.1')], [0, 0], 'unban')
    for n, text in shipped.items():
        s.edit('policies/' + n, text)
    same(s.reload()[0], 0, 'the policy as it was')


def give_way(s):
    """G27 with GiveWay=On: at the maximum the idlest stranger ends where a client comes, whichever worker has him; never one too many."""
    port = s.port('gives')
    strangers = []
    for i in range(6):
        strangers += hold(s, port, '127.97.0.%d' % (i + 1))
        time.sleep(0.02)  # so that it is clear who has been idle longest
    clients = hold(s, port, '127.97.9.1')
    same([alive(x) for x in clients], [True], 'the first client has the place of the idlest stranger')
    same([alive(c) for c in strangers], [False] + [True] * 5, 'of that one alone')
    strangers = strangers[1:]
    for c in (strangers[3], strangers[4], strangers[1], strangers[0]):
        time.sleep(0.02)
        alive(c)
    clients += hold(s, port, '127.97.9.2')
    ok('gave way to a client' in s.log(), 'the log tells it')
    same([c for c in strangers if not alive(c)], [strangers[2]], 'who has asked nothing for longest gives way, not who came first')
    strangers = [c for c in strangers if alive(c)]
    turned_away(s, port, '127.97.1.1', 'for a stranger nobody gives way')
    same([alive(c) for c in strangers], [True] * 4, 'all others stay')
    clients += hold(s, port, '127.97.9.3', 4)
    same([alive(c) for c in strangers], [False] * 4, 'four more clients have the places of the last four')
    turned_away(s, port, '127.97.9.4', 'where only clients are left, the maximum holds for the next')
    ok(all(alive(c) for c in clients), 'no client has given way')
    for c in clients:
        c.close()
    port = s.port('keeps')
    held = hold(s, port, '127.97.0.1', 2)
    turned_away(s, port, '127.97.9.1', 'without GiveWay nobody gives way')
    ok(all(alive(c) for c in held), 'and the strangers stay')
    for c in held:
        c.close()


def commands(s):
    code, out, _ = command('reap', '--help')
    ok(code == 0 and 'usage: portreeve reap' in out, '--help', out)
    same([command('reap', x)[0] for x in ('x', '--nothing')], [2, 2], 'wrong usage: exit status 2')
    code, out, _ = s.command('reap', '--dry-run')
    ok(code == 0 and re.search(r'^\d+ living connections judged again: (all of them may stay|\d+ would be ended \(\d+ at once, )', out), 'for people', out)
    code, _, err = s.command('eval', 'reap{dri=true}')
    ok(code == 1 and 'dri' in err, 'a misspelled option does not reap', err)


with Server(components='tracker', bind='own', start=False, settings={'Workers': 4}) as s:
    s.append('listeners.ini', 'many.Port=free\nmany.Address=%s\nmany.Services=tracker\nmany.MaxPerAddress=10\nmany.MaxConnections=50\n'
             'gives.Port=free\ngives.Address=%s\ngives.Services=tracker\ngives.MaxConnections=6\ngives.GiveWay=On\n'
             'keeps.Port=free\nkeeps.Address=%s\nkeeps.Services=tracker\nkeeps.MaxConnections=2\n' % (s.address, s.address, s.address))
    s.edit('lists/clients.list', '127.97.9.0/24\n')
    s.start()
    for part in (by_list, by_ban, by_limit, busy, tls, delayed, give_way, commands):
        part(s)
done()
