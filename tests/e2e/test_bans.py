#!/usr/bin/python3
"""Bans on real sockets: made, seen, counted, ended to the second and by hand; over reloads and a killed engine; never the machine itself."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import callers
from portreeve import SLOW, Server, command, wait_until
from tap import done, ok, same


def alone(s, source, port=None, tls=None):
    return callers.alone(s.address, port or s.port('http'), source, tls)


def bans(s):
    code, out, err = s.command('bans', '--json')
    if code != 0:
        raise AssertionError('bans: %s%s' % (out, err))
    return json.loads(out)


def usage():
    for name in ('ban', 'unban', 'bans'):
        code, out, _ = command(name, '--help')
        ok(code == 0 and 'usage: portreeve ' + name in out and 'Exit status' in out, '%s --help' % name, out)
    same([command(*x)[0] for x in (('ban',), ('ban', 'a', 'b'), ('unban',), ('bans', 'x'), ('bans', '--for', '1h'), ('unban', '--force', 'x'), ('ban', '--nothing', 'x'))],
         [2] * 7, 'wrong usage: exit status 2')
    code, _, err = command('bans', '--state', '/nonexistent-portreeve')
    ok(code == 1 and err, 'without a server: exit status 1 and why', err)


def commands(s):
    code, out, err = s.command('ban', '--for', '1h', '--reason', 'scraping "all" of it\\', '127.90.0.0/24')
    ok(code == 0 and 'ban 127.90.0.0/24 until ' in out and 'scraping "all" of it\\' in out, 'a ban says what it is', out + err)
    same([alone(s, x) for x in ('127.90.0.0', '127.90.0.255', '127.89.255.255', '127.90.1.0')], ['shut', 'shut', 'served', 'served'], 'the prefix is shut out, its neighbours are not')
    same(alone(s, '127.90.0.7', s.tls_port(), True), 'shut', 'before TLS too')
    why = s.eval('why("127.90.0.7")', json_out=True)[0]
    ok(why['reason'] == 'banned' and 'scraping "all" of it' in why['because'] and 'uid ' in why['because'] and 'admission.lua:' in json.dumps(why),
       'the reason, who, and the rule stand in why()', why)
    got = bans(s)
    ok(len(got) == 1 and got[0]['address'] == '127.90.0.0/24' and got[0]['reason'] == 'scraping "all" of it\\' and 'uid' in got[0]['who'] and got[0]['hits'] == 3 and
       3000000 < got[0]['left_ms'] <= 3600000, 'bans --json tells reason, who, hits and time left', got)
    code, out, err = s.command('bans')
    ok(code == 0 and '127.90.0.0/24' in out, 'bans for people', out)
    code, out, err = s.command('ban', '--json', '127.90.5.1')
    ok(code == 0 and 'for ever' in json.loads(out), 'without --for until it is taken back', out)
    cases = (('127.0.0.1/33', 'bits'), ('example.org', 'example.org'), ('10.0.0.9-10.0.0.1', 'range'), ('!10.0.0.1', 'wanted'), ('10.0.0.1,10.0.0.2', 'wanted'), ('', 'address'))
    for text, word in cases:
        code, out, err = s.command('ban', text)
        ok(code == 1 and word in err and not out, 'ban %r is refused: %s' % (text, err.strip()[:80]), err)
    for time_, word in (('1x', '1x'), ('0s', '0s'), ('-1h', '-1h'), ('400d', '366')):
        code, out, err = s.command('ban', '--for=' + time_, '10.0.0.1')
        ok(code == 1 and word in err, 'ban --for %s is refused: %s' % (time_, err.strip()[:80]), err)
    same(len(bans(s)), 2, 'and nothing of it is in force')


def taken_back(s):
    """unban of exactly one."""
    for a in ('127.91.0.0/16', '127.91.5.0/24', '127.91.5.9', '127.91.5.9-127.91.5.12'):
        same(s.command('ban', a)[0], 0, 'ban ' + a)
    code, out, err = s.command('unban', '127.91.5.10')
    ok(code == 1 and 'no ban of exactly 127.91.5.10' in err and '127.91.5.' in err.split('it is in')[1], 'an address within a ban cannot be taken out; which one it is in is said', err)
    same(s.command('unban', '127.91.0.0/16')[0], 0, 'unban of the widest')
    same([alone(s, x) for x in ('127.91.6.1', '127.91.5.1', '127.91.5.9', '127.91.5.12')], ['served', 'shut', 'shut', 'shut'], 'exactly that one: the narrower ones hold')
    same(s.command('unban', '127.91.5.0/24')[0], 0, 'unban of the next')
    same([alone(s, x) for x in ('127.91.5.1', '127.91.5.9', '127.91.5.12', '127.91.5.13')], ['served', 'shut', 'shut', 'served'], 'address and range hold')
    same(s.command('unban', '127.91.5.9-127.91.5.12')[0], 0, 'unban of the range')
    same([alone(s, x) for x in ('127.91.5.9', '127.91.5.12')], ['shut', 'served'], 'the address holds')
    same(s.command('unban', '127.91.5.9')[0], 0, 'unban of the address')
    same(alone(s, '127.91.5.9'), 'served', 'nothing is left')
    code, _, err = s.command('unban', '127.91.5.9')
    ok(code == 1 and 'there is no ban of 127.91.5.9' in err, 'a second time there is nothing to take back', err)


def survives(s):
    same(s.command('ban', '--for', '1h', '--reason', 'kept', '127.92.0.1')[0], 0, 'a ban for an hour')
    alone(s, '127.92.0.1')
    before = bans(s)
    same(s.reload()[0], 0, 'reload')
    same(alone(s, '127.92.0.1'), 'shut', 'a ban survives a reload')
    pid = s.crash_engine()
    same(alone(s, '127.92.0.1'), 'shut', 'and kill -9 of the engine')
    after = bans(s)
    same([(b['address'], b['reason'], b['until_ms'] if 'until_ms' in b else 0) for b in after], [(b['address'], b['reason'], b['until_ms'] if 'until_ms' in b else 0) for b in before],
         'with reason and end')
    same([b['hits'] for b in after if b['address'] == '127.92.0.1'], [3], 'and its hits')
    os.kill(s.supervisor_pid(), 12)  # SIGUSR2: another engine takes over
    s.engine_after(pid)
    wait_until('the one before to have gone', lambda: len(s.engine_pids()) == 1)
    same(alone(s, '127.92.0.1'), 'shut', 'and the change of engines')
    same(s.command('unban', '127.92.0.1')[0], 0, 'which can take it back')
    same(alone(s, '127.92.0.1'), 'served', 'so that it is in force no more')


def ends(s):
    """The end is exact: shut before, served after, by the clock of the ban itself."""
    start = time.monotonic()
    same(s.eval('ban("127.93.0.1", "1500ms", "short", {force=false})')[:18], 'ban 127.93.0.1 unt', 'from the console too, in milliseconds')
    asked = time.monotonic()
    while time.monotonic() < start + 1.2:
        if alone(s, '127.93.0.1') != 'shut' and time.monotonic() < start + 1.5:
            ok(False, 'shut until its time has passed')
            break
    wait_until('the end', lambda: alone(s, '127.93.0.1') == 'served')
    late = time.monotonic() - asked - 1.5
    ok(late < 15 * SLOW, 'served when it has (%d ms later)' % (late * 1000))
    same([b for b in bans(s) if b['address'] == '127.93.0.1'], [], 'and it is listed no more')
    s.command('ban', '--for', '1h', '127.93.1.0/24')
    s.command('ban', '--for', '300ms', '127.93.1.9')
    time.sleep(0.4)
    same([alone(s, x) for x in ('127.93.1.9', '127.93.1.10')], ['shut', 'shut'], 'the end of a narrow ban does not open the wide one')


def guards(s):
    """What would shut out the machine itself is refused unless forced."""
    for a in ('127.0.0.1', '127.0.0.0/8', '0.0.0.0/1', '::1', '::/1'):
        code, _, err = s.command('ban', a)
        ok(code == 1 and 'this machine itself' in err and ('127.0.0.1' in err or '::1' in err), 'ban %s is refused: %s' % (a, err.strip()[:90]), err)
    for a in ('127.94.7.0/24', '127.94.7.9', '127.94.0.0/16'):
        code, _, err = s.command('ban', a)
        ok(code == 1 and 'member of the cluster' in err and 'cluster.list:2' in err, 'ban %s would hit the cluster, and its line is named' % a, err)
    same(s.command('ban', '127.94.8.0/24')[0], 0, 'its neighbour can be banned')
    code, out, err = s.command('ban', '--force', '--reason', 'meant', '127.94.7.0/25')
    ok(code == 0, 'forced it can', err)
    same([alone(s, '127.94.7.9'), alone(s, '127.94.7.200')], ['shut', 'served'], 'and is in force')
    same(s.command('unban', '127.94.7.0/25')[0], 0, 'taken back')
    ok('(forced)' in s.log(), 'the log tells that it was forced')


usage()
with Server(components='tracker', bind='own', settings={'Workers': 4}, files={'lists/cluster.list': '; ours\n127.94.7.0/24\n'}) as s:
    for part in (commands, taken_back, survives, ends, guards):
        part(s)
done()
