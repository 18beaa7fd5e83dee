#!/usr/bin/python3
"""`check` judges those who called lately again, by the files it is asked about: how many would come out differently, by which line, for example who. It
does so from memory and from decisions.log, tells what it cannot tell, and is bounded in time."""
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from callers import seen
from portreeve import Server, wait_until
from tap import done, ok, same

NO_TEST = 'return { ["nothing"] = function(t) t.ok(true) end }\n'
LISTENERS = '''
grant.Restriction=Grant
grant.List=friends
few.MaxPerAddress=1
often.RateConnections=1/1h
tls.InitTLS=On
'''
NAMES = 'plain grant few often tls'.split()


def state_text(s, name):
    path = os.path.join(s.state, name)
    if not os.path.exists(path):
        return ''
    with open(path, encoding='utf-8') as f:
        return f.read()


def told(s, status=0):
    """What `check` says of callers: (judged, [(number, was, now)], the text)."""
    code, out = s.check()
    if code != status:
        raise AssertionError(out)
    head = re.search(r'^callers: of (\d+) decisions? (?:\(the newest\) )?since [-0-9]+ [:0-9]+, judged again as they were taken, (\d+|none) would', out, re.M)
    groups = [(int(n), was, now) for n, was, now in
              re.findall(r'^  (\d+) w(?:as|ere) (let in|refused|answered)[^()]*(?:\([^()]*\))? and would be (let in|refused|answered)', out, re.M)]
    if head and sum(n for n, _, _ in groups) != int(head.group(2).replace('none', '0')):
        raise AssertionError('the parts are not the whole: ' + out)
    return int(head.group(1)) if head else None, groups, out


def start():
    s = Server(components='tracker', bind='own', start=False)
    text = LISTENERS
    for name in NAMES:
        text += '%s.Port=free\n%s.Address=%s\n%s.Services=tracker\n' % (name, name, s.address, name)
    s.append('listeners.ini', text)
    s.edit('lists/denied.list', '127.80.0.1\n')
    s.edit('lists/friends.list', '127.80.0.0/16\n')
    s.edit('policies/admission_test.lua', NO_TEST)
    return s.start()


def call_all(s):
    port = {x['name']: x['port'] for x in s.listeners()}
    for i in range(1, 9):
        same(seen(s.address, port['plain'], '127.80.0.%d' % i), 'shut' if i == 1 else 200, 'caller %d' % i)
    same(seen(s.address, port['grant'], '127.81.0.1'), 'shut', 'one outside the list')
    same(seen(s.address, port['often'], '127.82.0.1'), 200, 'one that comes once')
    same(seen(s.address, port['often'], '127.82.0.1'), 'shut', 'and again')
    with http1.Conn(s.address, port['few'], source='127.83.0.1') as c:
        same(c.call('GET', '/robots.txt').status, 200, 'one of few')
        same(seen(s.address, port['few'], '127.83.0.1'), 'shut', 'and one too many')
    same(seen(s.address, port['tls'], '127.84.0.1', tls=True), 200, 'one over TLS')
    wait_until('the refusals are in the file', lambda: state_text(s, 'log/decisions.log').count('"refuse"') >= 4)


def policy(extra):
    return lambda old: old.replace('  rule.rates(),\n', '  rule.rates(),\n' + extra, 1)


def changes(s):
    judged, groups, out = told(s)
    ok(judged and judged >= 13 and not groups and 'none would come out differently' in out, 'by the same files nothing differs', out)
    restore = s.snapshot()

    s.edit('lists/denied.list', '127.80.0.2\n127.80.0.3\n')
    judged, groups, out = told(s)
    same(sum(n for n, _, _ in groups), 3, 'a list: two out, one in')
    ok('1 was refused without a word (denied, ' in out and 'denied.list) and would be let in\n    such as 127.80.0.1 at plain, ' in out, 'who was refused, by which line',
       out)
    ok(re.search(r'let in and would be refused without a word \(denied, [^ ]*admission.lua:14, [^ ]*denied.list\)\n    such as 127.80.0.3 at plain, [^;]* \(line 2\)', out) is not None,
       'who would be, by which line', out)
    restore()

    s.edit('listeners.ini', lambda t: t.replace('few.MaxPerAddress=1', 'few.MaxPerAddress=2').replace('grant.Restriction=Grant', 'grant.Restriction=Deny')
           .replace('tls.InitTLS', 'plain.Restriction=Grant\nplain.List=friends\ntls.InitTLS'))
    s.edit('lists/friends.list', '127.80.0.0/16\n!127.80.0.8\n')
    judged, groups, out = told(s)
    ok('(per-address, ' in out and 'listeners.ini:' in out and '127.83.0.1 at few' in out, 'a limit, with the count as it was', out)
    ok('127.81.0.1 at grant' in out and 'friends.list)\n    such as 127.80.0.8 at plain' in out, 'restrictions', out)
    same(sum(n for n, _, _ in groups), 3, 'three in all')
    restore()

    s.edit('listeners.ini', lambda t: '\n'.join(x for x in t.splitlines() if not x.startswith('plain.')) + '\n')
    ok('  8 called sockets that these files do not open\n' in told(s)[2], 'a listener that is no more')
    restore()


def policies(s):
    restore = s.snapshot()
    s.edit('policies/admission.lua', policy(
        '  rule.at("peer", function(f) if f.address == "127.80.0.5" then return admission.verdict.answer(403, "no") end end),\n'))
    ok(re.search(r'1 was let in and would be answered and closed \(policy with 403, [^ ]*admission.lua:\d+\)\n    such as 127.80.0.5 at plain', told(s)[2]) is not None,
       'a function of one\'s own')
    restore()

    s.edit('policies/admission.lua', policy(
        '  rule.at("hello", function(f) if f.ja4 == nil then return admission.verdict.refuse("policy", "no fingerprint") end end),\n'))
    _, groups, out = told(s)
    ok(not groups and 'cannot be told' in out, 'what no record knows is not guessed', out)
    restore()

    s.edit('policies/admission.lua', policy('  rule.per_address(1, { listener = "flew" }),\n'))
    _, groups, out = told(s)
    ok(not groups and re.search(r"warning: [^ ]*admission.lua:\d+: per_address: there is no listener 'flew'", out) and '1 warning' in out, 'a listener that is none', out)
    restore()

    s.edit('policies/admission.lua', policy('  rule.at("peer", function() for i = 1, 1e9 do end end),\n'))
    s.edit('portreeve.ini', 'PolicySteps=100000000\n')
    _, _, out = told(s, status=1)  # the server that runs would not take it: this machine is refused, too
    ok('(the newest)' in out or 'policy-error' in out, 'a policy that takes its time: what two seconds tell', out)
    ok('budget' in out and '--force' in out, 'and that it would be refused', out)
    restore()


BANNED = '127.80.0.6', '127.80.0.7'


def bans(s):
    """Bans outlive a reload: one that still holds is told, one that is over is not, and one of today says nothing of yesterday."""
    port = {x['name']: x['port'] for x in s.listeners()}['plain']
    before = told(s)[2]
    for who in BANNED:
        same(s.command('ban', '--for', '1h', who)[0], 0, 'a ban of ' + who)
        same(seen(s.address, port, who), 'shut', 'he is shut out')
    wait_until('they are in the file', lambda: state_text(s, 'log/decisions.log').count('"banned"') >= len(BANNED))
    judged, groups, out = told(s)
    ok(not groups and unknown(out) == unknown(before), 'whom a ban shut out it would shut out again; whom it let in before is no difference', out)
    restore = s.snapshot()
    s.edit('policies/admission.lua', lambda t: t.replace('  rule.banned(),\n', '  rule.at("peer", function(f) if f:banned() then return admission.verdict.reset("policy", "b") end end),\n'))
    _, groups, out = told(s)
    ok(re.search(r'2 were refused without a word \(banned, [^ ]*admission.lua:17\) and would be refused with a reset \(policy, [^ ]*admission.lua:17\)\n    such as 127.80.0.7 at',
                 out) is not None and unknown(out) == unknown(before), 'a function that asks for bans is told', out)
    s.edit('policies/admission.lua', lambda t: t.replace('if f:banned() then', 'if false then'))
    _, groups, out = told(s)
    ok(groups == [(2, 'refused', 'let in')] and unknown(out) == unknown(before), 'and where nobody asks they would be let in', out)
    restore()
    same(s.command('unban', BANNED[0])[0], 0, 'a ban taken back')
    s.edit('policies/admission.lua', lambda t: t.replace('  rule.banned(),\n', '  rule.at("peer", function(f) if f:banned() then return admission.verdict.reset("policy", "b") end end),\n'))
    _, groups, out = told(s)
    ok(groups == [(1, 'refused', 'refused')] and unknown(out) > unknown(before), 'a function that asks does not guess either', out)
    restore()
    _, groups, out = told(s)
    ok(not groups and unknown(out) == unknown(before) + 1, 'what it did is not to be told any more', out)


def unknown(out):
    found = re.search(r'^  (\d+) cannot be told', out, re.M)
    return int(found.group(1)) if found else 0


def aftermath(s):
    """No server runs: the files tell, whatever else stands in them."""
    log = os.path.join(s.state, 'log', 'decisions.log')
    shutil.copy(log, log + '.1')
    with open(log + '.1', encoding='utf-8') as f:
        written = sum('"verdict"' in x for x in f)
    ok(written >= 3, 'the server has written refusals', written)
    with open(log, 'w', encoding='utf-8') as f:
        f.write('{"nonsense":true}\nno line of ours "ms":1,"address":"x"\n\0\0\n{"time":"","ms":5,"address":"127.0.0.1","listener":"plain","stage":"peer","verdict":"perhaps"}\n')
        f.write(open(log + '.1', encoding='utf-8').read().splitlines()[0][:-5])  # being written
    s.edit('lists/denied.list', '')
    judged, groups, out = told(s)
    ok(3 <= judged <= written, 'at least the refusals made here are judged', (judged, written))
    same(groups, [(1, 'refused', 'let in')], 'no server runs: refusals of the files are judged')
    ok('127.80.0.1 at plain' in out, 'and named', out)
    same(unknown(out), 1 + len(BANNED), 'a rate as it stood then is not known, nor are the bans of a server that has ended')
    os.unlink(log)
    os.unlink(log + '.1')
    ok('callers:' not in told(s)[2], 'nothing is remembered: nothing is said')


def main():
    s = start()
    with s:
        call_all(s)
        changes(s)
        policies(s)
        bans(s)
        s.kill_engine()
        s.edit('lists/denied.list', '')
        ok('127.80.0.1 at plain' in told(s)[2], 'the engine was killed: its memory tells')
        s.stop_only()
        aftermath(s)


main()
done()
