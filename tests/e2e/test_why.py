#!/usr/bin/python3
"""What is remembered of decisions: `why` names the line that did it, for every kind of refusal, also after reload and crash; `would` says beforehand
what then happens; decisions.log is bounded, and a full disk stops nothing but its lines."""
import json
import os
import random
import shutil
import signal
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from callers import hold, seen
from logs import whole_lines
from portreeve import Server, free_ports, wait_until
from tap import done, note, ok, same, skip

NO_TEST = 'return { ["nothing"] = function(t) t.ok(true) end }\n'
HEAD = '''local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict
return rules {
'''


def line_of(text, mark):
    lines = [i for i, x in enumerate(text.splitlines(), 1) if mark in x]
    if len(lines) != 1:
        raise AssertionError('%r stands in %d lines' % (mark, len(lines)))
    return lines[0]


def why(s, address, *more):
    code, out, err = s.command('why', '--json', address, *more)
    return json.loads(out) if out else {'decisions': [], 'error': err}


# ---- 20 kinds of refusal and more ----

LISTENERS = '''
grant.Restriction=Grant
grant.List=friends
deny.Restriction=Deny
deny.List=foes
members.Restriction=Deny
members.List=foes
few.MaxPerAddress=1
full.MaxConnections=1
asked.MaxConnections=1
kept.MaxConnections=2
kept.Reserve=2
often.RateConnections=1/1h
oftennet.RateConnectionsPerNet=1/1h
asks.RateRequests=1/1h
greets.InitTLS=On
greets.RateHandshakes=1/1h
tls.InitTLS=On
'''
PLAIN = 'grant deny few full kept often oftennet asks shutout members mine counted clientsonly luarefuse luareset luaanswer luarequest broken asked'.split()
POLICY = HEAD.replace('return', 'local alone = rules { rule.maximum() }\nreturn') + '''  rule.at("peer", function(f) return alone(f) end, { listener = "asked" }), -- @asked
  rule.refuse_listed "denied", -- @denied
  rule.refuse_listed("pests", { reset = true }), -- @pests
  rule.banned(), -- @banned
  rule.restriction(), -- @restriction
  rule.per_address(), -- @per_address
  rule.maximum(), -- @maximum
  rule.reserve "clients", -- @reserve
  rule.rates(), -- @rates
  rule.refuse({ listener = "shutout" }), -- @refuse
  rule.only_listed("friends", { listener = "members" }), -- @only_listed
  rule.per_address(1, { listener = "mine" }), -- @own_per_address
  rule.maximum(1, { listener = "counted" }), -- @own_maximum
  rule.clients_only("clients", { listener = "clientsonly" }), -- @clients_only
  rule.at("peer", function() return verdict.refuse("policy", "by a function") end, { listener = "luarefuse" }), -- @luarefuse
  rule.at("peer", function() return verdict.reset("policy", "with a reset") end, { listener = "luareset" }), -- @luareset
  rule.at("peer", function() return verdict.answer(451, "no", "with a page") end, { listener = "luaanswer" }), -- @luaanswer
  rule.at("peer", function(f) return f.nothing_of_that_name end, { listener = "broken" }), -- @broken
  rule.at("hello", function(f) if f.sni == "bad.example" then return verdict.refuse("policy", "this name") end end), -- @hello
  rule.at("identity", function(f) if f.tls == "TLSv1.2" then return verdict.refuse("policy", "too old") end end), -- @identity
  rule.at("request", function(f)
    if f.listener == "luarequest" then return verdict.refuse("policy", "this path: " .. f.path) end
  end), -- the place is the line on which the rule begins
}
'''


def kinds_server():
    s = Server(components='tracker', bind='own', start=False)
    text = LISTENERS
    for name in PLAIN + ['tls', 'greets']:
        text += '%s.Port=free\n%s.Address=%s\n%s.Services=tracker\n' % (name, name, s.address, name)
    s.append('listeners.ini', text)
    s.edit('policies/admission.lua', POLICY)
    s.edit('policies/admission_test.lua', NO_TEST)
    for name, lines in {'denied': '127.80.0.1\n127.80.1.0/24\n', 'pests': '127.80.2.1\n', 'friends': '127.80.0.0/16\n!127.80.3.1\n', 'foes': '127.80.9.9\n127.80.4.1\n',
                        'clients': '127.99.0.0/16\n'}.items():
        s.edit('lists/%s.list' % name, lines)
    s.start()
    return s


def cause(s):
    """Call in every way that is refused. Returns rows: what, address, stage, reason, verdict, mark in the policy, list or entry line."""
    rows, port = [], {x['name']: x['port'] for x in s.listeners()}

    def refused(what, address, listener, reason, mark, place=None, stage='peer', verdict='refuse', tls=None, want='shut', name='localhost', before=0):
        for _ in range(before):
            same(seen(s.address, port[listener], address, tls=tls, name=name), 200, what + ': at first he comes in')
        same(seen(s.address, port[listener], address, tls=tls, name=name), want, what + ': refused')
        rows.append((what, address, stage, reason, verdict, mark, place))

    def listener(entry):
        return 'listeners.ini:%d' % line_of(s.read('listeners.ini'), entry)

    refused('a line of the denied list', '127.80.0.1', 'http', 'denied', '@denied', 'denied.list:1')
    refused('a net of the denied list', '127.80.1.77', 'few', 'denied', '@denied', 'denied.list:2')
    refused('another list, with a reset', '127.80.2.1', 'http', 'denied', '@pests', 'pests.list:1', verdict='reset')
    same(s.command('ban', '--force', '--for', '1h', '--reason', 'scraping', '127.80.5.0/24')[0], 0, 'a ban (forced: it is loopback)')
    refused('a ban', '127.80.5.9', 'http', 'banned', '@banned')
    refused('Grant, not in the list', '127.81.0.1', 'grant', 'restriction', '@restriction', listener('grant.List='))
    refused('Grant, taken out by a line', '127.80.3.1', 'grant', 'restriction', '@restriction', 'friends.list:2')
    refused('Deny', '127.80.4.1', 'deny', 'restriction', '@restriction', 'foes.list:2')
    kept = [c for name, source in (('few', '127.82.0.1'), ('full', '127.82.0.2'), ('mine', '127.82.0.5'), ('counted', '127.82.0.6'), ('asked', '127.82.0.8'))
            for c in hold(s.address, port[name], source)]
    refused('MaxPerAddress', '127.82.0.1', 'few', 'per-address', '@per_address', listener('few.MaxPerAddress='))
    refused('MaxConnections', '127.82.0.3', 'full', 'maximum', '@maximum', listener('full.MaxConnections='))
    refused('Reserve', '127.82.0.4', 'kept', 'reserve', '@reserve', listener('kept.Reserve='))
    refused('a limit per address of the policy', '127.82.0.5', 'mine', 'per-address', '@own_per_address')
    refused('MaxConnections, by a rule that a function asks', '127.82.0.9', 'asked', 'maximum', '@asked', listener('asked.MaxConnections='))
    refused('a maximum of the policy', '127.82.0.7', 'counted', 'maximum', '@own_maximum')
    for c in kept:
        c.close()
    refused('RateConnections', '127.83.0.1', 'often', 'rate', '@rates', listener('often.RateConnections='), before=1)
    refused('RateConnectionsPerNet', '127.83.1.1', 'oftennet', 'rate', '@rates', listener('oftennet.RateConnectionsPerNet='), before=1)
    refused('RateHandshakes', '127.83.2.1', 'greets', 'rate', '@rates', listener('greets.RateHandshakes='), 'hello', tls=True, before=1)
    refused('RateRequests', '127.83.3.1', 'asks', 'rate', '@rates', listener('asks.RateRequests='), 'request', 'answer', want=429, before=1)
    refused('refuse', '127.84.0.1', 'shutout', 'policy', '@refuse')
    refused('only_listed', '127.84.0.2', 'members', 'restriction', '@only_listed')
    refused('clients_only', '127.84.0.3', 'clientsonly', 'clients', '@clients_only', verdict='answer', want=403)
    refused('a function', '127.84.0.4', 'luarefuse', 'policy', '@luarefuse')
    refused('a function, with a reset', '127.84.0.5', 'luareset', 'policy', '@luareset', verdict='reset')
    refused('a function, with a page', '127.84.0.6', 'luaanswer', 'policy', '@luaanswer', verdict='answer', want=451)
    refused('a function that fails', '127.84.0.7', 'broken', 'policy-error', '@broken')
    refused('a function at the TLS greeting', '127.84.0.8', 'tls', 'policy', '@hello', stage='hello', tls=True, name='bad.example')
    refused('a function after the handshake', '127.84.0.9', 'tls', 'policy', '@identity', stage='identity', tls=http1.tls_context(most=ssl.TLSVersion.TLSv1_2))
    refused('a function at a request', '127.84.0.10', 'luarequest', 'policy', 'rule.at("request"', stage='request')
    return rows


def check(s, rows, when):
    policy = s.read('policies/admission.lua')
    for what, address, stage, reason, verdict, mark, place in rows:
        got = why(s, address, '--last', '1')['decisions']
        d = got[0] if got else {}
        line = 'admission.lua:%d' % line_of(policy, mark)
        good = d.get('address') == address and (d['stage'], d['reason'], d['verdict']) == (stage, reason, verdict) and d.get('policy', '').endswith('/' + line)
        good = good and d['generation'] == 1 and d['active'] >= (0 if stage == 'request' else 1)
        named = d.get('list') or d.get('entry') or ''
        good = good and (named.endswith('/' + place) if place else not named)
        ok(good, '%s, %s: %s and %s' % (when, what, line, place or 'no list'), d)
    text = s.command('why', '--last', '1', rows[0][1])[1]
    ok('refused (denied)' in text and 'denied.list:1' in text and 'connections 1 of the listener' in text, when + ': in words', text)


def kinds():
    with kinds_server() as s:
        rows = cause(s)
        ok(len(rows) >= 20, '%d kinds of refusal' % len(rows))
        check(s, rows, 'at once')
        few = why(s, '127.82.0.1', '--last', '1')['decisions'][0]
        same((few['active'], few['active_from_address'], few['per_address']), (2, 2, 1), 'counts and limits are those of the moment')
        rate = why(s, '127.83.0.1', '--last', '9')['decisions']
        same([(d['verdict'], d.get('rate_left')) for d in rate if d['stage'] == 'peer'], [('refuse', 0), ('allow', 0)], 'and what was left of the rate')
        same(s.reload()[0], 0, 'reload')
        s.append('lists/denied.list', '127.80.77.77\n')
        same(s.reload()[0], 0, 'reload with another list')
        check(s, rows, 'after reloads')
        pid = s.engine_pid()
        os.kill(s.supervisor_pid(), signal.SIGSTOP)  # nobody starts the next engine meanwhile
        os.kill(pid, signal.SIGKILL)
        wait_until('the engine to be dead', lambda: open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()[0] == 'Z')
        os.kill(s.supervisor_pid(), signal.SIGCONT)
        check(s, rows, 'after kill -9')
        s.engine_after(pid)
        prefix = why(s, '127.84.0.0/28', '--last', '100')['decisions']
        same(len({d['address'] for d in prefix if d['verdict'] != 'allow'}), 10, 'a prefix: all of its addresses')
        for text, code in ((('127.99.99.99',), 1), (('x',), 2), (('127.0.0.1/33',), 2), (('127.0.0.1', '--at', 'noon'), 2), (('127.0.0.1', '--last', '0'), 2), ((), 2), (('--help',), 0)):
            same(s.command('why', *text)[0], code, 'why %s: exit status' % ' '.join(text))
        same([len(why(s, a)['decisions']) > 0 for a in ('127.80.0.1', '::ffff:127.80.0.1', '::ffff:127.80.0.0/120')], [True] * 3, 'an IPv4 address written as IPv6 is the same (L5)')
        same(s.command('why', '::ffff:127.80.0.0/24')[0], 2, 'but a prefix longer than that form has is none')
        ok('The memory of the server that runs goes back to' in s.command('why', '127.99.99.99')[1], 'nothing is known: it is said, and how far back that is')
        ok('Nothing is known from before' in s.command('why', '127.80.0.1', '--at', '2020-01-01 12:00')[1], 'a moment before all memory: it is said')
        groups = s.eval('refusals()', json_out=True)
        ok({'denied', 'banned', 'rate', 'policy-error'} <= {g['reason'] for g in groups} and all(g['count'] >= 1 and g['addresses'] for g in groups), 'refusals() by reason', groups[:3])
        same(len(s.eval('decisions{reason="rate", last=50}', json_out=True)), 4, 'decisions{…} by reason')


# ---- would ----

RULES = ['rule.refuse_listed "denied"', 'rule.restriction()', 'rule.per_address()', 'rule.maximum()', 'rule.reserve "clients"', 'rule.rates()', 'rule.banned()']
EXTRA = ['rule.clients_only("clients", { listener = "b" })', 'rule.allow("clients", { listener = "c" })', 'rule.only_listed("clients", { listener = "d", except = "cluster" })',
         'rule.refuse({ listener = "a", listed = "cluster" })', 'rule.per_address(2, { listener = "b", except = "clients" })', 'rule.maximum(3, { listener = "c" })',
         'rule.at("peer", function(f) if f.active_from_address > 2 then return verdict.reset("policy", "three") end end)',
         'rule.at("peer", function(f) if f.address:find("5$") then return verdict.answer(451, "five", "a five") end end, { listener = { "a", "c" } })',
         'rule.at("request", function(f) if f.path == "/secret" then return verdict.answer(403, "no", "secret") end end)',
         'rule.at("request", function(f) if facts_seen == nil and f.path:find("^/un") then return verdict.refuse("policy", "unwanted") end end)']
NAMES, POOL = 'abcd', ['127.90.%d.%d' % (i, k) for i in range(3) for k in range(1, 9)]


def lines(r):
    out = []
    for _ in range(r.randrange(5)):
        one = r.choice(['%s' % r.choice(POOL), '127.90.%d.0/24' % r.randrange(3), '127.90.0.%d-127.90.0.%d' % (r.randrange(1, 4), r.randrange(4, 9)), '127.90.1.%d/31' % (r.randrange(8) & 6)])
        out.append(('!' if r.random() < .25 else '') + one)
    return '\n'.join(out) + '\n'


def world(s, r):
    """New lists, limits and rules; listeners.ini keeps its listeners."""
    text = ''
    for n in NAMES:
        text += '%s.Port=free\n%s.Address=%s\n%s.Services=tracker\n' % (n, n, s.address, n)
        if r.random() < .5:
            text += '%s.Restriction=%s\n%s.List=%s\n' % (n, r.choice(['Grant', 'Deny']), n, r.choice(['clients', 'foes']))
        if r.random() < .5:
            text += '%s.MaxPerAddress=%d\n' % (n, r.randrange(1, 4))
        if r.random() < .6:
            text += '%s.MaxConnections=%d\n' % (n, r.randrange(3, 7))
            text += '%s.Reserve=%d\n' % (n, r.randrange(3)) if r.random() < .5 else ''
        for rate in ('RateConnections', 'RateConnectionsPerNet', 'RateRequests'):
            text += '%s.%s=%d/24h\n' % (n, rate, r.randrange(3, 15)) if r.random() < .25 else ''
    s.edit('listeners.ini', s.plain + text)
    for name in ('denied', 'clients', 'cluster', 'foes'):
        s.edit('lists/%s.list' % name, lines(r))
    chosen = r.sample(RULES, r.randrange(3, len(RULES) + 1)) + r.sample(EXTRA, r.randrange(4))
    r.shuffle(chosen)
    s.edit('policies/admission.lua', HEAD.replace('return', 'local facts_seen = nil\nreturn') + ''.join('  %s,\n' % x for x in chosen) + '}\n')
    code, out, said = s.command('reload', '--force', timeout=120)  # random lists shut out members of the cluster, too
    if code:
        raise AssertionError(out + said)
    return chosen


def would(s, address, listener, path, held):
    """Asked when all who have gone are counted out."""
    def ask():
        code, out, err = s.command('would', address, '--listener', listener, '--path', path, '--json')
        if not out:
            raise AssertionError(err)
        got = json.loads(out)
        same_code = code == (0 if got['in'] else 1)
        return got if same_code and got['left']['active'] == held else None
    return wait_until('%d connections of listener %s' % (held, listener), ask)


def foretold(got):
    d = got['decision']
    return 200 if got['in'] else d['status'] if d['verdict'] == 'answer' else 'shut'


def one_case(s, r, ports, held):
    listener, address, path = r.choice(NAMES), r.choice(POOL), r.choice(['/robots.txt'] * 3 + ['/secret', '/unwanted'])
    got = would(s, address, listener, path, len(held[listener]))
    again = would(s, address, listener, path, len(held[listener]))
    c = None
    try:
        c = http1.Conn(s.address, ports[listener], source=address)
        status = c.call('GET', path).status
    except (http1.Closed, OSError):
        status = 'shut'
    if status == 404:
        status = 200  # let in; there is no such page
    good = foretold(got) == status and got['left'] == again['left']
    if status == 'shut' or got['in'] is False:
        d = why(s, address, '--last', '1')['decisions'][0]
        good = good and all(d.get(k) == got['decision'].get(k) for k in ('verdict', 'reason', 'stage', 'policy', 'list', 'entry', 'listener'))
    if c and status == 200 and len(held[listener]) < 4 and r.random() < .4:
        held[listener].append(c)
    elif c:
        c.close()
    return good, foretold(got), (listener, address, path, got['decision'], status)


def agreement(cases=1000, worlds=25):
    seed = int(os.environ.get('SEED', random.randrange(1 << 30)))
    note('SEED=%d' % seed)
    r, wrong, outcomes = random.Random(seed), [], {}
    with Server(components='tracker', bind='own', start=False) as s:
        s.plain = s.read('listeners.ini')
        s.edit('policies/admission_test.lua', NO_TEST)
        s.edit('listeners.ini', s.plain + ''.join('%s.Port=free\n%s.Address=%s\n%s.Services=tracker\n' % (n, n, s.address, n) for n in NAMES))
        s.edit('lists/foes.list', '')
        s.start()
        for w in range(worlds):
            held = {n: [] for n in NAMES}
            chosen = world(s, r)
            ports = {x['name']: x['port'] for x in s.listeners()}
            for _ in range(cases // worlds):
                good, outcome, case = one_case(s, r, ports, held)
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
                if not good:
                    wrong.append((w, chosen, case))
            for c in sum(held.values(), []):
                c.close()
            if wrong:
                break
        recorded = len(s.eval('decisions{last=20000}', json_out=True))
        asked = sum(outcomes.values())
        ok(not wrong and asked >= cases, 'would says what then happens in %d random cases: %s' % (asked, outcomes), wrong[:1])
        ok(set(outcomes) >= {200, 'shut'} and outcomes[200] > cases // 10 and outcomes['shut'] > cases // 10, 'both happened often')
        note('%d decisions of %d calls and their requests are remembered' % (recorded, asked))


def asking():
    """would takes nothing, records nothing, asks files that are not in force, and says what is wrong."""
    with Server(components='tracker', bind='own', sets=['listeners.ini:http.RateConnections=2/1h', 'listeners.ini:http.MaxConnections=9']) as s:
        s.edit('lists/denied.list', '127.91.0.1\n')
        for _ in range(5):
            code, out, err = s.command('would', '127.91.0.1', '--listener', 'http')
            same(code, 0, 'he would be let in, as often as one asks')
        ok('2 left of RateConnections=2/3600s' in out and 'MaxConnections 9: 9 left' in out, 'what is left stands there', out)
        same(why(s, '127.91.0.1')['decisions'], [], 'nothing is recorded')
        same([seen(s.address, s.port('http'), '127.91.0.2') for _ in range(3)], [200, 200, 'shut'], 'the third caller within the hour')
        code, out, err = s.command('would', '127.91.0.2', '--listener', 'http')
        ok(why(s, '127.91.0.2', '--last', '1')['decisions'][0]['entry'] == '--set' and code == 1 and '(--set)' in out, 'what --set says is named so', out)
        code, out, err = s.offline('would', '127.91.0.1', '--listener', 'http')
        ok(code == 1 and 'denied.list:1' in out and 'not in force' in out, 'by the files on disk he would not', out + err)
        same(s.command('would', '127.91.0.1', '--listener', 'nobody')[0], 1, 'no such listener')
        for bad in (('127.91.0.1',), ('--listener', 'http'), ('x', '--listener', 'http'), ('127.91.0.1', '--listener', 'http', '--at', 'noon'), ('127.91.0.1', '--listener', 'http', '--port', 'x')):
            same(s.command('would', *bad)[0], 2, 'would %s: wrong usage' % ' '.join(bad))
        same(s.command('would', '--help')[0], 0, 'would --help')
        s.edit('lists/lan.list', '10.0.0.0/8\n')
        s.edit('listeners.ini', 'shop.Port=127.94.0.1:%d\nshop.Services=tracker\nshop.2.Port=127.94.0.2:%d\nshop.2.Restriction=Grant\nshop.2.List=lan\n'
               'shop.3.Port=[::1]:%d\n' % ((free_ports(1)[0],) * 3))
        same(s.reload()[0], 0, 'a listener with sockets of the same port (G3)')
        got = [s.command('would', '127.91.0.7', '--listener', 'shop', *more) for more in ((), ('--local', '127.94.0.2'), ('--local', '127.94.0.1'), ('--local', '127.94.0.3'))]
        same([code for code, _, _ in got], [0, 1, 0, 1], '--local chooses among them')
        ok('the first of 2 sockets' in got[0][1] and 'first of' not in got[1][1] + got[2][1], 'and one who chooses none is told that there are two for IPv4', got[0][1])
        ok('no socket for 127.94.0.3' in got[3][2], 'none of them takes callers of another address', got[3][2])
        ok('[::1]:' in s.command('would', '2001:db8::1', '--listener', 'shop')[1], 'a caller from IPv6 comes by the socket of IPv6')
        same(s.command('would', '127.91.0.7', '--listener', 'shop', '--local', 'lan')[0], 2, '--local lan: wrong usage')
        for text, want in (('would{address="127.0.0.1", listener="http", pth="/x"}', 'pth is no question'), ('would{address="127.0.0.1", listener="http", port=99999}', '65535'),
                           ('refusals{listener="http"}', 'decisions{…} chooses')):
            code, out, err = s.command('eval', text)
            ok(code == 1 and want in err, '%s is refused' % text, out + err)
        # One address only: at that hour itself a rule for everybody would shut out this machine, and the guard would refuse the reload.
        hour = ('rule.at("peer", function(f) if f.address == "127.91.0.1" and f.now // 3600000 % 24 == 3 then return verdict.refuse("policy", "at night") end '
                'end)')
        s.edit('policies/admission.lua', HEAD + hour + '\n}\n')
        s.edit('policies/admission_test.lua', NO_TEST)
        same(s.reload()[0], 0, 'a policy that looks at the clock')
        same([s.command('would', '127.91.0.1', '--listener', 'http', '--at', '2026-11-17T%02d:30:00Z' % h)[0] for h in (2, 3, 4)], [0, 1, 0], '--at')


# ---- memory, files, disk ----

def flood(s, n, source):
    port = s.port('http', 'http')
    for _ in range(n):
        with socket.socket() as c:
            c.bind((source, 0))
            c.settimeout(10)
            c.connect((s.address, port))
            try:
                c.recv(1)
            except ConnectionResetError:
                pass


def read_lines(path):
    return [json.loads(x) for x in whole_lines(path)]


def flood_written(s, times, source):
    """Thirty callers at a time, never more than a worker's share of the memory holds, until each has its line in the files."""
    log = os.path.join(s.state, 'log', 'decisions.log')
    for _ in range(times):
        flood(s, 30, source)
        ids = {d['id'] for d in why(s, source, '--last', '30')['decisions']}
        wait_until('the lines of the last thirty', lambda ids=ids: ids <= {d['id'] for p in (log, log + '.1') for d in read_lines(p)})


def rotation():
    with Server(components='tracker', bind='own', settings={'Decisions': 100, 'DecisionLogSize': 65536, 'DecisionLogFiles': 2},
                files={'lists/denied.list': '127.92.0.1\n'}) as s:
        log = os.path.join(s.state, 'log', 'decisions.log')
        flood_written(s, 10, '127.92.0.1')
        found = why(s, '127.92.0.1', '--last', '1000')
        ok(found['memory']['room'] <= 100 and len(found['decisions']) == 300, 'memory holds 100, the files tell of the others', len(found['decisions']))
        same(len({d['id'] for d in found['decisions']}), 300, 'what both know counts once')
        flood_written(s, 14, '127.92.0.1')
        names = sorted(x for x in os.listdir(os.path.dirname(log)) if x.startswith('decisions.log'))
        same(names, ['decisions.log', 'decisions.log.1', 'decisions.log.2'], 'so many old files, and no more')
        ok(all(os.path.getsize(os.path.join(os.path.dirname(log), x)) <= 65536 for x in names), 'none is larger than allowed')
        every = [d for x in reversed(names) for d in read_lines(os.path.join(os.path.dirname(log), x))]
        ids = [d['id'] for d in every]
        ok(len(set(ids)) == len(ids) > 300, 'no line twice', '%d of %d' % (len(set(ids)), len(ids)))
        lines = [x for x in s.log().splitlines() if 'refusals:' in x]
        ok(10 <= len(lines) < 500, 'of 720 refusals %d are in the log' % len(lines))  # ten at once, then one a second, however long that took
        flood(s, 1, '127.92.0.1')
        counted = wait_until('the count of what was left out', lambda: [x for x in s.log().splitlines() if 'suppressed=' in x])
        ok(counted, 'with a count: ' + counted[0][-120:])
        s.stop_only()
        code, out, err = s.command('why', '127.92.0.1', '--last', '3')
        ok(code == 0 and out.count('refused (denied)') == 3, 'with no server the files answer', out + err)
        with open(os.path.join(s.state, 'log', 'decisions.log'), 'ab') as f:  # somebody has been at it
            for ms, us in ((b'99999999999999999999', b'0'), (b'9223372036854775', b'0'), (b'-5', b'0'), (b'1795344444541', b'99999999999999999999')):
                f.write(b'{"time":"?","ms":' + ms + b',"us":' + us + b',"address":"127.92.0.1","listener":"http"}\n')
            f.write(b'\0\xff{"ms":\n' + b'x' * 500 + b'\n')
            half = b'{"time":"2026-11-22T10:48:42.829Z","ms":%d,"us":5,"address":"127.92.0.1","port":45993,"listen' % (time.time() * 1000)
            f.write(half + b'{"time":"?","ms":7,"us":0,"address":"127.92.0.1","port":1}\n')
        same(s.command('why', '127.92.0.1', '--last', '3'), (code, out, err), 'lines that are none of ours are passed over')
        path = os.path.join(s.state, 'log', 'decisions.log')
        with open(path, 'wb') as f:
            f.write(half)
        s.start()
        ok(len(why(s, '127.92.0.1', '--last', '1000')['decisions']) > 100, 'and after another start')
        flood(s, 1, '127.92.0.1')

        wait_until('a line behind the half one', lambda: '}' in ''.join(whole_lines(path)))
        lines = whole_lines(path)
        ok(lines[0].encode() == half and json.loads(lines[1])['address'] == '127.92.0.1', 'a file that ends in half a line is written on in a new one', lines[:2])


def sizes():
    with Server(components='tracker', bind='own', settings={'Decisions': 50, 'DecisionLog': 'all'}, files={'lists/denied.list': '127.93.0.1\n'}) as s:
        log = os.path.join(s.state, 'log', 'decisions.log')
        s.sets = [x for x in s.sets if x[0] != 'portreeve.ini:Decisions']
        for source in ('127.93.0.1', '127.93.0.2'):
            seen(s.address, s.port('http', 'http'), source)
        wait_until('both in the file', lambda: {'127.93.0.1', '127.93.0.2'} <= {d['address'] for d in read_lines(log)})
        ok(True, 'DecisionLog=all: those who were let in, too')
    with Server(components='tracker', bind='own', files={'lists/denied.list': '127.93.0.1\n'}) as s:
        def remember(n):
            s.edit('portreeve.ini', lambda t: ''.join(x for x in t.splitlines(True) if not x.startswith('Decisions=')) + 'Decisions=%d\n' % n)
            same(s.reload()[0], 0, 'Decisions=%d' % n)
        for i in range(30):
            seen(s.address, s.port('http', 'http'), '127.93.1.%d' % (i + 1))
        def known():
            return [d['address'] for d in why(s, '127.93.1.0/24', '--last', '1000')['decisions']]
        all_of_them = known()
        same(len(all_of_them), 30, '30 callers')
        remember(200000)
        same(known(), all_of_them, 'more room: all are remembered')
        remember(16)
        few = known()
        ok(0 < len(few) <= 16 and few == all_of_them[:len(few)], 'less room: the newest are', few)
        remember(0)
        same(known(), [], 'none: nothing is remembered')
        ok('remembers no decisions' in s.command('why', '127.93.1.1')[1], 'and it is said')
        mark = s.log_mark()
        seen(s.address, s.port('http', 'http'), '127.93.0.1')
        wait_until('the refusal in the log', lambda: '127.93.0.1' in s.log_since(mark))
        ok(known() == [], 'refusals are logged all the same')


def whole_engine():
    """The bound of all listeners together is a decision like others."""
    with Server(components='tracker', bind='own', settings={'MaxConnections': 16, 'Workers': 1}) as s:
        many = []
        for _ in range(24):
            c = socket.socket()
            many.append(c)
            c.bind(('127.97.0.1', 0))
            c.connect((s.address, s.port('http', 'http')))
        got = wait_until('a refusal', lambda: [d for d in why(s, '127.97.0.1', '--last', '30')['decisions'] if d['verdict'] == 'refuse'])
        ok(got[0]['reason'] == 'maximum' and got[0]['because'].startswith('portreeve.ini: MaxConnections=16'), 'MaxConnections of portreeve.ini', got[0])
        for c in many:
            c.close()


def exchange():
    """SIGUSR2: both engines write into one memory, one of them tells."""
    with Server(components='tracker', bind='own', files={'lists/denied.list': '127.94.0.1\n'}) as s:
        log = os.path.join(s.state, 'log', 'decisions.log')
        old = s.engine_pid()
        flood(s, 5, '127.94.0.1')
        os.kill(s.supervisor_pid(), signal.SIGUSR2)
        s.engine_after(old)
        wait_until('the exchange', lambda: old not in s.engine_pids())
        flood(s, 5, '127.94.0.1')
        same(len(why(s, '127.94.0.1', '--last', '100')['decisions']), 10, 'all is remembered over an exchange of engines')
        wait_until('10 lines', lambda: len(read_lines(log)) == 10)
        same(len({d['id'] for d in read_lines(log)}), 10, 'each stands in the file once')


def full_disk():
    if os.geteuid() != 0 or not shutil.which('unshare'):
        return skip('a full disk', 'a mount namespace needs root')
    s = Server(components='tracker', bind='own', start=False, settings={'DecisionLogSize': 1 << 26, 'AccessLog': 'off'}, files={'lists/denied.list': '127.95.0.1\n'})
    folder = os.path.join(s.state, 'log')
    os.makedirs(folder, 0o700)
    script = 'mount -t tmpfs -o size=128k,mode=700 tmpfs "$0" && head -c 100k /dev/zero >"$0/filler" && exec "$@"'
    s.prefix = ['unshare', '-m', 'sh', '-c', script, folder]
    with s:
        s.start()
        inside = '/proc/%d/root%s' % (s.supervisor_pid(), folder)
        flood(s, 300, '127.95.0.1')
        wait_until('lines to be dropped', lambda: s.eval('stats()', json_out=True)['decisions']['file_dropped'] > 0)
        same([seen(s.address, s.port('http', 'http'), a) for a in ('127.95.0.2', '127.95.0.1')], [200, 'shut'], 'a full disk: service goes on')
        same(len(why(s, '127.95.0.1', '--last', '1000')['decisions']), 301, 'and the memory knows all')
        wait_until('the log', lambda: 'decisions.log cannot be written' in s.log())
        ok(True, 'it is said')
        ok(all('dropped' in x or x['verdict'] == 'refuse' for x in read_lines(inside + '/decisions.log')), 'no half lines')
        os.unlink(inside + '/filler')

        def again():
            flood(s, 1, '127.95.0.1')
            return [x for x in read_lines(inside + '/decisions.log') if 'dropped' in x]
        missing = wait_until('the disk to be written again', again)
        ok(missing[0]['dropped'] > 0, 'when there is room, a line says how many are missing: %d' % missing[0]['dropped'])
        wait_until('the log to say so', lambda: again() and 'is written again' in s.log())
        told = [x for x in read_lines(inside + '/decisions.log') if 'id' in x]
        ok(len({x['id'] for x in told}) == len(told), 'no line twice')


PARTS = [kinds, agreement, asking, rotation, sizes, whole_engine, exchange, full_disk]
for part in PARTS:
    if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
        began = time.monotonic()
        part()
        note('%s: %.1f s' % (part.__name__, time.monotonic() - began))
done()
