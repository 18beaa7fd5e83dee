#!/usr/bin/python3
"""Guards: a reload, an edit or a ban that would shut out the machine itself, a recent administrator of the hub or a member of the cluster is refused
unless forced; the words name who, and by which line."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from listener_form import fill
from pages import PASSWORD, Pages, plain
from portreeve import Server, wait_until
from tap import done, ok, same

ADMIN = '127.95.3.4'


class From(Pages):
    """The hub's pages, asked for from another address of this machine."""

    def _answer(self, method, path, body=b'', headers=()):
        fields = dict(self._headers(), **dict(headers))
        with http1.Conn(self.address, self.port, source=ADMIN) as c:
            answer = c.call(method, path, body=body, headers=fields)
        got = answer.get('Set-Cookie')
        if got:
            self.cookie = got.split(';')[0]
        return answer


def refused(s, text, words, what):
    """A reload says no, everything stays as it is; check has said it before."""
    before = s.status()['generation']
    code, out = s.check()
    ok(code == 1 and all(w in out for w in words), '%s: check says it' % what, out)
    code, out = s.reload()
    ok(code == 1 and all(w in out for w in words), '%s: refused, and the words say who and by which line' % what, out)
    ok(s.status()['generation'] == before and s.status()['last_reload']['ok'] is False, '%s: nothing has changed' % what, s.status()['last_reload'])
    return out


def forced(s, what):
    code, out, err = s.command('reload', '--force')
    ok(code == 0, '%s: forced it is in force' % what, out + err)


def reachable(s, source):
    try:
        with http1.Conn(s.address, s.port('http'), source=source) as c:
            return c.call('GET', '/robots.txt').status == 200
    except (OSError, http1.Closed):
        return False


def ca(path):
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', os.devnull, '-out', path,
                    '-days', '2', '-subj', '/CN=people'], check=True, stderr=subprocess.DEVNULL)


def machine(s):
    s.edit('lists/denied.list', '; a typo of somebody\n127.0.0.0/16\n')
    out = refused(s, None, ('127.0.0.1', 'this machine', 'denied.list:2', 'admission.lua:', '--force'), 'a denied list with this machine')
    ok('refuses it (denied)' in out and 'internal' in out and 'tracker' not in out, 'the reason and the services that would be lost', out)
    ok(reachable(s, '127.0.0.1'), 'this machine is served on')
    forced(s, 'a denied list with this machine')
    ok(not reachable(s, '127.0.0.1'), 'and now it is shut out')
    s.edit('lists/denied.list', '')
    same(s.check()[0], 0, 'letting somebody in again: check has nothing against it')
    same(s.reload()[0], 0, 'and it needs no force')
    ok(reachable(s, '127.0.0.1'), 'it is let in again')
    s.edit('lists/denied.list', '192.0.2.1\n127.55.0.0/24\n')
    same(s.reload()[0], 0, 'a list that hits nobody of these is no business of the guard')
    s.append('listeners.ini', 'http.Restriction=Grant\nhttp.List=office\ninternal.Restriction=Deny\ninternal.List=office\n')
    s.edit('lists/office.list', '192.0.2.0/24\n')
    port = s.port('http')
    code, out = s.reload()
    ok(code == 0 or 'restriction' in out, 'where other sockets serve on, a restriction of one shuts nobody out', out)
    s.edit('listeners.ini', lambda t: t[:t.index('http.Restriction')])
    same(s.reload()[0], 0, 'back again')


def cluster(s):
    s.edit('lists/denied.list', '127.94.0.0/16\n')
    refused(s, None, ('127.94.7.1', 'cluster.list:2', 'denied.list:1'), 'a denied list with a member of the cluster')
    s.edit('lists/denied.list', '127.94.7.5\n')
    refused(s, None, ('127.94.7.5', 'cluster.list:3', 'denied.list:1'), 'a denied list with one from the middle of a range of the cluster')
    s.edit('lists/denied.list', '127.94.8.0/24\n')
    same(s.reload()[0], 0, 'one beside it is no matter')
    s.edit('lists/denied.list', '127.94.7.5\n')
    forced(s, 'the middle of the range')
    s.edit('lists/denied.list', '127.94.7.4-127.94.7.5\n')
    refused(s, None, ('127.94.7.4', 'cluster.list:3', 'denied.list:1'), 'one more of the range; who was out before is not asked about')
    s.edit('lists/denied.list', '127.94.7.5\n127.94.8.0/24\n')
    same(s.reload()[0], 0, 'who was out before may stay out')
    own = s.read('lists/cluster.list')
    s.edit('lists/cluster.list', '127.92.0.0/16\n' + own + '127.96.0.0/24\nfd00:20::/64\n')
    scattered = ''.join('127.92.%d.%d\n' % (n // 100, n % 100 * 2) for n in range(1100))
    s.edit('lists/denied.list', scattered)
    code, out, err = s.command('reload', '--force')
    ok(code == 0, 'a range of the cluster with more edges than are looked at', out + err)
    s.edit('lists/denied.list', scattered + '203.0.113.1\n')
    code, out = s.check()
    ok(code == 0 and 'warning: whom these files shut out: lists/cluster.list' in out and '1 warning' in out, 'check says that not everybody was asked about', out)
    for net in ('127.96.0.0/24', 'fd00:20::/64'):
        s.edit('lists/denied.list', scattered + net + '\n')
        refused(s, None, (net.partition('/')[0], 'cluster.list', 'denied.list:1101'), 'the ranges behind it are looked at: ' + net)
    s.edit('lists/denied.list', '')
    same(s.reload()[0], 0, 'nobody denied')
    s.edit('lists/cluster.list', own)
    s.edit('lists/denied.list', '')
    s.edit('policies/admission.lua', lambda t: t.replace('return rules {', 'return rules {\n  rule.at("peer", function(f) if f.address == "127.94.7.1" then '
           'return admission.verdict.refuse("policy", "a whim") end end),'))
    refused(s, None, ('127.94.7.1', 'a whim', 'admission.lua:'), 'a rule of the policy')
    s.edit('policies/admission.lua', lambda t: t.replace('"a whim"', '"a whim" .. nil'))
    refused(s, None, ('admission.lua:', 'nil'), 'a rule that fails for it')
    restore()
    same(s.reload()[0], 0, 'the policy as it was')


def times_and_lines(s):
    """Both sides are judged now: what closes by the hour, and who is out already, is no difference. Rules in Lua are as good as lists."""
    at_night = 'rule.at("peer", function(f) if f.address == "127.94.7.1" and f.now %s then return admission.verdict.refuse("policy", "night") end end),'
    for wait in (3, 15, 60):  # a machine that stands still meanwhile is given more time
        soon = int(time.time()) + wait
        s.edit('policies/admission.lua', lambda t: t.replace('return rules {', 'return rules {\n  ' + at_night % ('>= %d' % (soon * 1000))))
        code, out = s.reload()
        if code == 0 or time.time() < soon:
            break
        restore()
    ok(code == 0, 'a rule that will close in %d seconds' % wait, out)
    wait_until('the hour', lambda: time.time() > soon + 1, 90)
    same(s.check()[0], 0, 'when it has closed the same files are no difference')
    same(s.reload()[0], 0, 'to the engine neither')
    s.edit('policies/admission.lua', lambda t: t.replace('127.94.7.1', '127.94.7.2'))
    refused(s, None, ('127.94.7.2', 'night', 'admission.lua:'), 'the rule for another member')
    restore()
    same(s.reload()[0], 0, 'the policy as it was')
    s.append('listeners.ini', 'http.Restriction=Grant\nhttp.List=afar\n')
    s.edit('lists/afar.list', '127.97.0.0/16\n')
    code, out = s.check()
    before = s.read('listeners.ini')
    if code == 0:  # http is not the only way to the hub: secure is, and it will ask for a certificate
        same(s.reload()[0], 0, 'one of two ways to the hub is closed')
        s.append('listeners.ini', 'secure.ClientCertificate=Require\nsecure.ClientCA=ca.pem\n')
        ca(os.path.join(s.conf, 'ca.pem'))
        refused(s, None, ('127.0.0.1', 'secure', 'ClientCertificate'), 'the other will want a certificate')
        s.edit('listeners.ini', before)
    else:
        ok(False, 'one of two ways to the hub may be closed', out)
    restore()
    same(s.reload()[0], 0, 'back again')


def administrator(s):
    page = From(s).set_up()
    ok('Hub' in page.text('/hub/'), 'an administrator uses the hub from ' + ADMIN)
    s.edit('lists/denied.list', '127.95.3.0/24\n')
    refused(s, None, (ADMIN, 'administered the hub', 'denied.list:1'), 'a denied list with a recent administrator')
    code, _, err = s.command('ban', '127.95.0.0/16')
    ok(code == 1 and ADMIN in err and 'administered the hub' in err, 'and a ban of his net', err)
    s.crash_engine()
    code, _, err = s.command('ban', '127.95.0.0/16')
    ok(code == 1 and ADMIN in err, 'the next engine knows him too', err)
    code, out, err = s.command('ban', '--force', '--for', '1h', '127.95.0.0/16')
    ok(code == 0, 'forced', err)
    s.edit('lists/denied.list', '127.95.3.0/24\n')
    same(s.command('reload', '--force')[0], 0, 'he is denied by force')
    s.edit('lists/denied.list', '127.95.3.0/24\n203.0.113.0/24\n')
    same(s.check()[0], 0, 'who is out already is not asked about: check')
    same(s.reload()[0], 0, 'and reload')
    s.edit('lists/denied.list', '')
    same(s.reload()[0], 0, 'a forced ban does not refuse the reloads that follow')
    same(s.command('unban', '127.95.0.0/16')[0], 0, 'taken back')


def edits(s):
    """An edit of hub or console goes the same way."""
    before = s.read('listeners.ini')
    s.edit('lists/strangers.list', '198.51.100.0/24\n')
    same(s.command('reload', '--force')[0], 0, 'a list')
    change = 'listener.set{http={Restriction="Grant", List="strangers"}, secure={Restriction="Grant", List="strangers"}}'
    generation = s.status()['generation']
    code, tried, err = s.command('eval', change.replace('listener.set', 'listener.try'))
    ok(code == 0 and tried.startswith('nothing has changed yet; it would be refused: 127.0.0.1 (this machine) would be shut out of ')
       and '\nforced, it would be:\ncompared with generation' in tried, 'a rehearsal says so and goes on', tried + err)
    same((s.read('listeners.ini'), s.status()['generation']), (before, generation), 'nothing has changed')
    code, out, err = s.command('eval', change)
    ok(code == 1 and 'would be shut out' in err and 'strangers' in err, 'an edit that leaves this machine no way to the hub is refused', out + err)
    words = tried.splitlines()[0].partition('refused: ')[2]
    ok(words and words in err, 'in the words of the rehearsal', (words, err))
    same(s.read('listeners.ini'), before, 'and the file is as it was')
    code, out, err = s.command('eval', 'listener.try("secure", {MaxConnections=500})')
    ok(code == 0 and out.startswith('nothing has changed yet; it would be:\n') and 'shut out' not in out, 'a rehearsal of what shuts out nobody says nothing of it', out)
    page, own = Pages(s), s.read('listeners.ini')
    page.post('/hub/login', {'account': 'ada', 'password': PASSWORD})
    tried = plain(fill(page, 'internal', {'Restriction': 'Deny', 'List': '127.94.7.0/29'}).body)
    ok('applied it would be refused for whom it shuts out' in tried and 'it would be refused: 127.94.7.1 of ' in tried
       and 'would be shut out of internal: listener internal refuses it (restriction)' in tried, 'the preview of the hub says it too', tried[:1500])
    same(s.read('listeners.ini'), own, 'and nothing has changed')
    code, out, err = s.command('eval', change[:-1].replace('listener.set{', 'listener.set({') + '}, nil, {force=true})')
    ok(code == 0 and s.read('listeners.ini') != before, 'forced it is in force and in the file', out + err)
    ok(not reachable(s, '127.0.0.1'), 'and this machine is shut out')


with Server(bind='127.0.0.1', settings={'Workers': 2}, files={'lists/cluster.list': '; ours\n127.94.7.1\n127.94.7.2-127.94.7.9\n'}) as s:
    restore = s.snapshot()
    for part in (machine, cluster, times_and_lines, administrator, edits):
        part(s)
done()
