#!/usr/bin/python3
"""Ports 80 and 443 with an engine that may do nothing: started by root with `User`, and by an ordinary user with CAP_NET_BIND_SERVICE, in a network
namespace of this test's own. What each process still may do is read from /proc; changes after the start, to privileged ports too. Needs root.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import alone
import tap

NOBODY = 65534
alone.network('privileged ports without privileges', 'needs root, to give privileges away; run as root')

import http1  # noqa: E402 (makes no sense without root)
from portreeve import Refused, Server, program_for_everybody, wait_until  # noqa: E402

A, B, C = '127.69.0.1', '127.69.0.2', '127.69.0.3'
BIND, SETGID, SETUID, KILL = 1 << 10, 1 << 6, 1 << 7, 1 << 5
AS_NOBODY = ['setpriv', '--reuid=%d' % NOBODY, '--regid=%d' % NOBODY, '--clear-groups']
MAY_BIND = AS_NOBODY + ['--inh-caps=-all,+net_bind_service,+chown', '--ambient-caps=-all,+net_bind_service,+chown']  # and more than is needed


def server(tomcat, prefix=(), owner=0, **settings):
    env = {'ASAN_OPTIONS': 'detect_leaks=0:exitcode=99'}  # the search for leaks needs rights that are given away here
    s = Server(start=False, ports=False, components='tracker', prefix=prefix, env=env, settings=dict({'Workers': 1, 'AccessLog': 'off'}, **settings),
               files={'tomcat.ini': tomcat, 'listeners.ini': '# none\n'})
    os.chmod(s.dir, 0o755)
    os.mkdir(s.state, 0o700)
    os.chown(s.state, owner, owner)
    return s


def may(pid):
    """uid and the capabilities of a process: (uid, permitted, effective, ambient, what its children may get at most)."""
    with open('/proc/%d/status' % pid) as f:
        fields = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
    return (int(fields['Uid'].split()[1]),) + tuple(int(fields[x], 16) for x in ('CapPrm', 'CapEff', 'CapAmb', 'CapBnd'))


def listening():
    out = subprocess.run(['ss', '-Hltn'], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {tuple(re.match(r'\[?([^\]]*)\]?:(\d+)$', line.split()[3]).groups()) for line in out.splitlines()}


def answers(*at):
    out = []
    for address, port in at:
        try:
            with http1.Conn(address, port, tls=port in (443, 444)) as c:
                out.append(c.call('GET', '/robots.txt').status)
        except (OSError, http1.Closed) as e:
            out.append(type(e).__name__)
    return out


def changes(s, name):
    """M21 and more, by reload, when the privileges have long been given up."""
    tap.same(answers((A, 80), (B, 443)), [200, 200], name + ': serves on 80 and 443')
    for what, tomcat, at in (
            ('M21 one on the default port, the others on 8081 and 8082', 'BindAddress=%s, %s:8081, %s:8082\n' % (A, B, C), [(A, 80), (B, 8081), (C, 8082)]),
            ('port 81 is added', 'BindAddress=%s, %s:81\n' % (A, A), [(A, 80), (A, 81)]),
            ('from an address to all of them and to 443', 'BindAddress=OnlyIPV4Addresses\nSecureServer=true\n', [(A, 443), (C, 443)]),
            ('and to 444', 'SecurePort=444\nBindAddress=%s\nSecureServer=true\n' % B, [(B, 444)])):
        s.edit('tomcat.ini', tomcat)
        code, text = s.reload()
        tap.ok(code == 0 and answers(*at) == [200] * len(at), '%s: %s' % (name, what), '%s\n%r' % (text, answers(*at)))
    bound = {(x['address'], str(x['port'])) for x in s.listeners()}
    wait_until('the old sockets to close', lambda: listening() == bound)
    tap.same(listening(), bound, name + ': what is open is what the checked plan holds')


def unchecked(s, name):
    """A policy whose plan does not stand the check gets nothing opened, whatever the supervisor might."""
    before = listening()
    s.edit('policies/bind.lua', '''return function(rules, host)
  local because = { file = "", line = 0, entry = "x", row = "" }
  local function at(port, address)
    return { name = "http", address = address, port = port, scheme = "http", services = { "tracker" }, because = because, backlog = 5 }
  end
  return { sockets = { at(82, "127.69.0.1"), at(83, "0.0.0.0"), at(83, "127.69.0.2") }, warnings = {}, errors = {} }
end
''')
    s.edit('policies/bind_test.lua', 'return { ["nothing"] = function(t) t.ok(true) end }\n')
    code, text = s.reload()
    tap.ok(code == 1 and 'already taken by' in text and listening() == before, name + ': a plan that contradicts itself opens no socket', text)


def by_root():
    with server('BindAddress=%s\nSecure-%s=\n' % (A + ', ' + B, B), User='nobody').start() as s:
        uid, permitted, effective, ambient, bounding = may(s.supervisor_pid())
        tap.ok(uid == 0 and permitted & ~(BIND | SETUID | SETGID | KILL) == 0 and effective == permitted and ambient == 0 and bounding & ~permitted == 0,
               'root with User: the supervisor may bind, become that user and end the engine, and nothing else', '%x %x' % (permitted, bounding))
        tap.same(may(s.engine_pid())[:4], (NOBODY, 0, 0, 0), 'root with User: the engine is that user and may do nothing')
        changes(s, 'root with User')
        tap.same(may(s.engine_pid())[:4], (NOBODY, 0, 0, 0), 'root with User: after the changes too')
        tap.same((may(s.crash_engine())[:4], answers((B, 444))), ((NOBODY, 0, 0, 0), [200]), 'root with User: an engine that is started again too, and it serves')
        unchecked(s, 'root with User')


def by_nobody():
    with server('BindAddress=%s\nSecure-%s=\n' % (A + ', ' + B, B), prefix=MAY_BIND, owner=NOBODY).start() as s:
        tap.same(may(s.supervisor_pid())[:4], (NOBODY, BIND, BIND, 0), 'an ordinary user with CAP_NET_BIND_SERVICE: the supervisor keeps that, though it was given more')
        tap.same(may(s.engine_pid())[:4], (NOBODY, 0, 0, 0), 'CAP_NET_BIND_SERVICE: the engine has not even that')
        changes(s, 'CAP_NET_BIND_SERVICE')
        unchecked(s, 'CAP_NET_BIND_SERVICE')


def with_nothing():
    s = server('BindAddress=%s\n' % A, prefix=AS_NOBODY, owner=NOBODY)
    try:
        s.start()
        code, text = None, 'it started'
    except Refused as e:
        code, text = e.code, e.text
    tap.ok(code == 1 and re.search(r'tomcat\.ini:1: BindAddress: cannot bind %s:80: needs root or CAP_NET_BIND_SERVICE; ports from 1024 up need neither' % A, text),
           'without privileges port 80 is refused, with what it needs', text)
    s.edit('tomcat.ini', 'BindAddress=%s:8081\n' % A)
    with s.start():
        tap.same(answers((A, 8081)), [200], 'and 8081 serves')
        s.edit('tomcat.ini', 'BindAddress=%s:8081, %s\n' % (A, B))
        code, text = s.reload()
        tap.ok(code == 1 and 'CAP_NET_BIND_SERVICE' in text and answers((A, 8081)) == [200], 'a reload to port 80 is refused, and the old plan serves', text)


def no_such_user():
    """A User that does not exist would refuse the next start: check and reload say so now."""
    s = server('BindAddress=%s:8081\n' % A)
    s.append('portreeve.ini', 'User=nosuchuser\n')
    try:
        s.start()
        tap.ok(False, 'a start as a user who does not exist is refused')
    except Refused as e:
        tap.ok(e.code == 1 and 'portreeve.ini: User=nosuchuser: there is no user nosuchuser' in e.text, 'a start as a user who does not exist is refused', e.text)
    s.edit('portreeve.ini', '')
    with s.start():
        s.append('portreeve.ini', 'User=nosuchuser\n')
        for name, (code, text) in (('check', s.check()), ('reload', s.reload())):
            tap.ok(code == 1 and 'there is no user nosuchuser' in text, name + ' refuses what the next start would', text)
        s.edit('portreeve.ini', 'User=nobody\n')
        code, text = s.reload()
        tap.ok(code == 0 and 'run as root until portreeve is started anew' in text, 'one who exists comes with the next start, and that is said', text)


subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
program_for_everybody()
by_root()
by_nobody()
with_nothing()
no_such_user()
tap.done()
