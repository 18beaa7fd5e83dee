#!/usr/bin/python3
"""Address lists in the running program: who comes in by them (G10, G11, G12, G13, L1, L2, L5, S9), lists within entries, what their lines have
decided, and reloads that keep it (L6)."""
import json
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from portreeve import MODE, Server, free_ports, rss, wait_until
from tap import done, note, ok, same

REQUEST = b'GET /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
RELOADS = int(os.environ.get('RELOADS', '30'))


def call(s, listener, source):
    """Does a caller from this address get an answer? A refused one must see the connection end without a byte (G14)."""
    x = [x for x in s.listeners(listener)][0]
    with socket.socket(socket.AF_INET6 if ':' in source else socket.AF_INET) as c:
        c.settimeout(30)
        c.bind((source, 0))
        c.connect(('::1' if ':' in source else '127.0.0.1', x['port']))
        got = b''
        try:
            c.sendall(REQUEST)
            while True:
                part = c.recv(4096)
                if not part:
                    break
                got += part
        except ConnectionError:
            pass
        if got and not got.startswith(b'HTTP/1.1 200 '):
            raise AssertionError('neither an answer nor nothing: %r' % got[:200])
        return bool(got)


def who(s, listener, sources):
    return [a for a in sources if call(s, listener, a)]


def because(s):
    return s.eval('refusals(1)', True)[0]['because']


def hits(s, name):
    """{line: hits} of a list, by file name and line."""
    one = s.eval('lists("%s")' % name, True)
    return {'%s:%d' % (os.path.basename(r['file']), r['line']): r['hits'] for r in one.get('most', [])}


LISTENERS = '''# five doors
grant.Port=free
grant.Address=127.0.0.1, [::1]
grant.Services=tracker
grant.Restriction=Grant
grant.List=127.9.0.10-127.9.0.20, 127.9.1.0/30, !127.9.0.15, \\
  !127.9.1.2, ::ffff:127.9.2.1
deny.Port=free
deny.Address=127.0.0.1
deny.Restriction=Deny
deny.List=edge
nobody.Port=free
nobody.Address=127.0.0.1
nobody.Restriction=Grant
nobody.List=empty
everybody.Port=free
everybody.Address=127.0.0.1
everybody.Restriction=Deny
everybody.List=empty
'''
EDGE = '''; shut out
127.9.3.0/24 ; a network
!127.9.3.7
#more

127.9.4.1
127.9.4.0-127.9.4.3
'''
MORE = '127.9.5.5\n!127.9.3.9\n'


def server(**more):
    return Server(components='tracker', files={'listeners.ini': LISTENERS, 'lists/edge.list': EDGE, 'lists/more.list': MORE, 'lists/empty.list': '; none\n'}, **more)


def comes_in():
    with server() as s:
        edges = ['127.9.0.9', '127.9.0.10', '127.9.0.14', '127.9.0.15', '127.9.0.16', '127.9.0.20', '127.9.0.21', '127.9.1.0', '127.9.1.1', '127.9.1.2',
                 '127.9.1.3', '127.9.1.4', '127.9.2.0', '127.9.2.1']
        same(who(s, 'grant', edges), ['127.9.0.10', '127.9.0.14', '127.9.0.16', '127.9.0.20', '127.9.1.0', '127.9.1.1', '127.9.1.3', '127.9.2.1'],
             'G11 G13 L1 L2 L5: only those of the list within the entry, to the last address')
        call(s, 'grant', '127.9.0.15')
        ok(because(s).endswith('listeners.ini:6'), 'L6: an excluded one is told the line of the entry', because(s))
        call(s, 'grant', '127.9.0.9')
        same(because(s), 'not in list grant.List', 'and who is in no line, the list')
        out = ['127.9.2.255', '127.9.3.0', '127.9.3.6', '127.9.3.7', '127.9.3.9', '127.9.3.255', '127.9.4.0', '127.9.4.3', '127.9.4.4', '127.9.5.5']
        same(who(s, 'deny', out), ['127.9.2.255', '127.9.3.7', '127.9.3.9', '127.9.4.4'], 'G12 L2 L4: all but those of a list that includes another')
        call(s, 'deny', '127.9.5.5')
        ok(because(s).endswith('lists/more.list:1'), 'L6: the line of the included file', because(s))
        same(who(s, 'nobody', ['127.0.0.1', '127.9.0.10']), [], 'G11: an empty list lets nobody in')
        same(who(s, 'everybody', ['127.0.0.1', '127.9.0.10']), ['127.0.0.1', '127.9.0.10'], 'G12: an empty list keeps nobody out')
        same(who(s, 'grant', ['::1']), [], 'G11: nor does a list of IPv4 let an IPv6 caller in')
        s.append('lists/denied.list', '127.9.0.12\n')
        same(s.reload()[0], 0, 'a denied address more')
        same(who(s, 'grant', ['127.9.0.11', '127.9.0.12', '127.9.0.13']), ['127.9.0.11', '127.9.0.13'], 'G10: denied and granted at once is denied')
        ok('denied.list:' in s.eval('where(refusals(9), "reason", "denied")', True)[0]['because'], 'G10: and the denied list says so')


def counts():
    with server() as s:
        for source in ['127.9.3.1'] * 3 + ['127.9.3.7'] * 2 + ['127.9.4.2']:
            call(s, 'deny', source)
        want = {'edge.list:2': 3, 'edge.list:3': 2, 'edge.list:7': 1}
        same(hits(s, 'edge'), want, 'each line counts what it decides, in or out')
        s.append('lists/denied.list', '10.0.0.1\n')
        s.reload()
        same(hits(s, 'edge'), want, 'a reload of other files keeps the counts')
        s.edit('lists/edge.list', '; one more line above\n10.1.0.0/16\n!127.9.3.7\n127.9.4.0-127.9.4.2\n127.9.3.0/24\n')
        same(s.reload()[0], 0, 'the list is written anew, in another order')
        same(hits(s, 'edge'), {'edge.list:3': 2, 'edge.list:5': 3}, 'lines that say the same keep their counts, others begin at nothing')
        call(s, 'deny', '127.9.3.7')
        same(hits(s, 'edge'), {'edge.list:3': 2, 'edge.list:5': 4}, 'L2: now the later line decides')
        code, out, err = s.command('lists', '--shadowed', '--json', 'edge')
        rows = json.loads(out)
        same([(r['line'], r['because']['line']) for r in rows], [(3, 5)], 'portreeve lists --shadowed names the line that can never decide, and by which')
        code, out, err = s.command('lists', '--unused', '--json', 'edge')
        same([(r['line'], r['to'], r['lines']) for r in json.loads(out)], [(2, 2, 1), (4, 4, 1)], 'portreeve lists --unused names those that never have')
        rows = {r['name']: r for r in json.loads(s.command('lists', '--json')[1])}
        same([rows['edge'][k] for k in ('lines', 'hits', 'used', 'unused', 'shadowed')], [4, 6, 2, 2, 1], 'portreeve lists sums up')
        ok(s.command('lists')[0] == 0 and s.command('lists', 'nix')[0] == 1 and s.command('lists', '--unused', '--shadowed')[0] == 2, 'exit statuses')
        s.crash_engine()
        ok(not call(s, 'deny', '127.9.3.1') and call(s, 'deny', '127.9.2.255'), 'an engine that is started again has the very same sets')


def entries():
    """Lists within entries, and what is wrong with them."""
    with server() as s:
        good = s.read('listeners.ini')
        for text, words in (('10.0.0.0/8,,10.1.1.1', 'an item is missing'), ('10.0.0.1/8', 'first 8'), ('#edge', 'letters, digits'), ('10.0.0.1, #edge', 'no other list'),
                            ('partners.list', 'not an IPv4')):
            s.edit('listeners.ini', '\n' + good.replace('deny.List=edge', 'deny.List=' + text))
            code, out = s.reload()
            ok(code == 1 and 'listeners.ini:12: deny.List' in out and words in out, 'L3: %s is refused with its line and entry' % text, out)
        s.edit('listeners.ini', good)
        ok(not call(s, 'deny', '127.9.3.1'), 'and the old list goes on')
        s.edit('policies/admission_test.lua', 'return { ["it compiles"] = function(t) t.ok(true) end }\n')
        s.edit('policies/admission.lua', lambda t: t.replace('  rule.refuse_listed "denied",', '  rule.refuse_listed "grant.List",'))
        s.edit('listeners.ini', good.replace('grant.Restriction=Grant\n', ''))
        code, out = s.reload()
        ok(code == 0, 'a policy can ask a list within an entry by the entry\'s name', out)
        ok(not call(s, 'everybody', '127.9.0.10') and call(s, 'everybody', '127.9.0.9'), 'and refuses by it')
        code, out, err = s.command('eval', 'listener.set("deny", { List = "127.9.7.0/24" })', timeout=120)
        ok(code == 0 and not call(s, 'deny', '127.9.7.1') and call(s, 'deny', '127.9.3.1'), 'the console writes such a list', out + err)
        ok('deny.List=127.9.7.0/24' in s.read('listeners.ini'), 'into the file')
        code, out, err = s.command('eval', 'listener.set("deny", { List = "127.9.7.0/99" })', timeout=120)
        ok(code == 1 and 'deny.List' in out + err and call(s, 'deny', '127.9.3.1'), 'and is refused with a bad one', out + err)


def gone():
    """The file of a list that is there without one goes: nobody is denied any more, and that is said."""
    with Server(components='tracker', bind='own', files={'lists/denied.list': '127.61.0.0/16\n'}) as s:
        def taken_away():
            os.remove(s.path('lists/denied.list'))
            said = s.reload()
            same(said[0], 0, 'it is no fault: cluster.list never had a file')
            return 'warning' in said[1] and 'denied.list: the file is gone' in said[1] and 'nobody is in it' in said[1]
        ok(taken_away(), 'G10: a denied list whose file has gone is warned of')
        ok('is gone' not in s.reload()[1], 'once')
        rows = enumerate(free_ports(256), 2)
        s.edit('listeners.ini', 'many.Port=0\n' + ''.join('many.%d.Port=%s:%d\nmany.%d.Services=tracker\n' % (i, s.address, port, i) for i, port in rows))

        def away_again():  # a planner in reserve tells what was there when it began to wait
            s.edit('lists/denied.list', '127.61.0.0/16\n')
            same(s.reload()[0], 0, 'with more than 256 sockets')
            time.sleep(0.5)  # reading ahead takes it a moment; where that was too short, it is tried again
            return taken_away()
        ok(wait_until('a planner in reserve that says it', away_again), 'also where a planner is kept in reserve')
        for i in range(6):
            s.edit('policies/slow%d_test.lua' % i, 'return { ["takes long"] = function(t) for _ = 1, 40000000 do end t.ok(true) end }\n')
        ok(wait_until('one that says it', away_again), 'and is called while it still tries the policies')


def lines(n, first):
    return ''.join('%s\n' % socket.inet_ntoa(struct.pack('>I', 0x0b000000 + (first + i) * 769 & 0xffffffff)) for i in range(n))


def reloads():
    """A list that changes at each reload leaves nothing behind."""
    # What AddressSanitizer keeps of freed memory would be most of what is measured.
    os.environ['ASAN_OPTIONS'] = os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1'
    with Server(components='tracker', files={'lists/denied.list': lines(50000, 0)}) as s:
        seen = []
        for i in range(RELOADS + 5):
            s.edit('lists/denied.list', lines(50000, i))
            code, out = s.reload()
            if code != 0:
                raise AssertionError(out)
            seen.append(rss(s.engine_pid()))
        note('resident: %d KB after 5 reloads, %d KB after %d' % (seen[4], seen[-1], len(seen)))
        image = s.eval('lists("denied")', True)['bytes'] / 1024
        room = image * (1 if MODE == 'release' else RELOADS / 3)  # a sanitizer's own books grow a little
        ok(min(seen[-5:]) <= min(seen[:5]) + room, 'L6: %d reloads of a changed list of 50,000 lines leave nothing in the engine' % RELOADS)
        same(s.eval('lists("denied")', True)['lines'], 50000, 'and the last one is in force')


comes_in()
counts()
entries()
gone()
reloads()
done()
