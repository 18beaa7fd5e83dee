#!/usr/bin/python3
"""Guards judge each socket of a listener by its own row: what it is restricted by, and where it stands. One that waits for its address, speaks another
IP version or listens on the loopback is no way in for who calls from elsewhere; a rule that asks for the port is asked about each."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from portreeve import Server
from tap import done, ok, same

NET = 'pr-rows-%d' % os.getpid()
HERE, MEMBER = '192.0.2.1', '192.0.2.9'
RULE = '''return rules {
  rule.at("peer", function(f)
    if f.address == "%s" and (%s) then return admission.verdict.refuse("policy", "not this way") end
  end),'''


def rows(*places, **more):
    """A listener of ops, a row for each place (address, port, restricted)."""
    text = ''
    for i, (address, port, restricted) in enumerate(places):
        head = 'ops' if i == 0 else 'ops.%d' % (i + 1)
        text += '%s.Port=%d\n%s.Address=%s\n' % (head, port, head, address)
        text += '%s.Restriction=Grant\n%s.List=lan\n' % (head, head) if restricted else '%s.Restriction=None\n' % head
        text += ''.join('%s.%s=%s\n' % (head, k, v) for k, v in more.items() if i == 0)
    return text + 'ops.Services=ops\n'


def told(s, text, shut_out, what, of='ops'):
    """check and reload are of one mind."""
    s.edit('listeners.ini', text)
    code, out = s.check()
    words = '%s of %s/lists/cluster.list:1 would be shut out of %s: listener ops refuses it (' % (MEMBER, s.conf, of)
    ok((code, words in out) == ((1, True) if shut_out else (0, False)), '%s: check' % what, out)
    code, out = s.reload()
    ok((code, words in out) == ((1, True) if shut_out else (0, False)), '%s: reload' % what, out)


def policy(s, condition):
    s.edit('policies/admission.lua', lambda t: t.replace('return rules {', RULE % (MEMBER, condition), 1))


def restrictions(s):
    own, far = ('127.0.0.1', 9180, False), (HERE, 9181, False)
    told(s, rows(own, far), False, 'a row on the loopback, and one for the others')
    told(s, rows(own, far[:2] + (True,)), True, 'the row for the others is restricted: nobody from elsewhere calls the loopback')
    told(s, rows(far, own, (HERE, 9182, True)), False, 'one of two rows for the others is restricted')
    told(s, rows(far, own), False, 'as before, in another order')
    told(s, rows(far[:2] + (True,), own), True, 'and refused in that order')
    told(s, rows((HERE, 9181, True), ('[fd00:77::1]', 9180, False)), True, 'the other row speaks IPv6')
    told(s, rows(('203.0.113.77', 9180, False), (HERE, 9181, True), WhenMissing='Wait'), True, 'the other row waits for its address')
    told(s, rows(('127.0.0.1', 9180, True), far), False, 'the row on the loopback may be restricted')
    told(s, rows(own), False, 'a row that is no more is for plan --diff to tell')
    told(s, rows(own, far[:2] + (True,)), False, 'a restricted row for the others takes nothing from who had none')
    told(s, rows(own), False, 'and may go again')
    s.edit('lists/denied.list', MEMBER + '\n')
    told(s, rows(own), True, 'where no row can be called from elsewhere, the rules alone are judged', 'ops,internal,transfer')
    s.edit('lists/denied.list', '')


def ports(s):
    two = rows(('127.0.0.1', 9180, False), (HERE, 9181, False), (HERE, 9182, False))
    told(s, two, False, 'two rows for the others')
    restore = s.snapshot()
    for condition, shut, words in (('f.local_port == 9181', False, 'a rule closes one of them for a member: there is the other'),
                                   ('f.local_port > 9180', True, 'closes both'),
                                   ('f.local_port == 9182', False, 'now the other'),
                                   ('f.local_port > 9180', True, 'and both again')):
        policy(s, condition)
        told(s, two, shut, words)
        restore()


subprocess.run(['ip', 'netns', 'add', NET], check=True)
try:
    for args in (['link', 'set', 'lo', 'up'], ['addr', 'add', HERE + '/24', 'dev', 'lo'], ['addr', 'add', 'fd00:77::1/64', 'dev', 'lo', 'nodad']):
        subprocess.run(['ip', '-n', NET] + args, check=True)
    with Server(components='tracker', ports=False, netns=NET, settings={'Workers': 1}, sets=['tomcat.ini:ShutdownPort=-1'],
                files={'listeners.ini': rows(('127.0.0.1', 9180, False)), 'lists/lan.list': '198.51.100.0/24\n127.0.0.0/8\n::1\n',
                       'lists/cluster.list': MEMBER + '\n', 'lists/components.list': '127.0.0.0/8\n192.0.2.0/24\n',
                       'policies/admission_test.lua': 'return { ["nothing"] = function(t) t.ok(true) end }\n'}) as s:
        restrictions(s)
        ports(s)
finally:
    subprocess.run(['ip', 'netns', 'del', NET], check=False)
done()
