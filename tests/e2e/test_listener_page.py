#!/usr/bin/python3
"""The hub's page of one listener (G6, G7, Q14): every entry of listeners.ini set, changed and taken away by the form, with the line in the file and the effect
on a socket; what is wrong is said at its field and changes nothing; what the form does not know stays."""
import html
import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import proxyline
from backends import Backend, client_tls, says
from listener_form import PAGE, apply, change, fill, server
from pages import Pages, plain
from portreeve import ROOT, free_ports, wait_until
from tap import done, ok, same

DEVICE, STRANGER = '127.93.0.1', '127.92.0.1'

# Each entry: what is typed, and what is no value of it.
GOOD = {
    'Backlog': '99', 'WhenMissing': 'Wait', 'Restriction': 'Deny', 'List': '203.0.113.0/24, !203.0.113.9', 'MaxConnections': '500', 'MaxPerAddress': '50',
    'Reserve': '5', 'GiveWay': 'On', 'PrefixIPv4': '24', 'PrefixIPv6': '56', 'NetIPv4': '16', 'NetIPv6': '40', 'RateConnections': '1000/10s',
    'RateRequests': '1001/m', 'RateConnectionsPerNet': '1002/10s', 'RateRequestsPerNet': '1003/1h', 'RateHandshakes': '1004/10s',
    'RateHandshakesPerNet': '1005/10s', 'InitTLS': 'On', 'Certificate': 'default'}
BAD = {
    'Port': ('70000', 'x y', '80,81'), 'Address': ('fe80::1', 'localhost', '127.0.0.1,'), 'Backlog': ('0', '65536', 'many'), 'List': ('a b', '[]'),
    'MaxConnections': ('-1', '1000001', '1.5'), 'MaxPerAddress': ('-1', 'x'), 'Reserve': ('-1',), 'PrefixIPv4': ('33', '7'), 'PrefixIPv6': ('129',),
    'NetIPv4': ('0',), 'NetIPv6': ('15',), 'RateConnections': ('100', '0/1s', '5/x'), 'RateHandshakes': ('1/2d',), 'RateRequests': ('-1/1s',),
    'RateConnectionsPerNet': ('a/b',), 'RateHandshakesPerNet': ('1000001/s',), 'RateRequestsPerNet': ('1/',), 'ProxyFrom': ('a b',),
    'Backend': ('mail.example.org:25', '0.0.0.0:25', '127.0.0.1', ','), 'Script': ('../x',), 'InitTLS': ('Maybe',), 'Proxy': ('V3',), 'SendProxy': ('On',),
    'Transport': ('SCTP',), 'WhenMissing': ('x',), 'Restriction': ('Allow',), 'GiveWay': ('1',), 'ProxyInside': ('2',), 'Certificate': ('a/b',)}
# Good words that do not go together: which fields say so.
TOGETHER = (
    ({'Restriction': 'Grant'}, 'Restriction', 'List'), ({'Proxy': 'V1'}, 'Proxy', 'ProxyFrom'), ({'ProxyInside': 'On'}, 'ProxyInside', 'InitTLS=On'),
    ({'Backend': '127.0.0.1:25'}, 'Backend', 'Services=tunnel'), ({'SendProxy': 'V1'}, 'SendProxy', 'tunnel'), ({'Transport': 'UDP'}, 'Transport', 'remote-log'),
    ({'InitTLS': 'Ext', 'Address': '*'}, 'InitTLS', 'Restriction=Grant'), ({'Services.tunnel': 'on'}, 'Services', 'listener or a row to itself'),
    ({'Services.tracker': None, 'Services.tunnel': 'on'}, 'Services', 'a tunnel needs a backend'),
    ({'Services.tracker': None, 'Services.script': 'on'}, 'Services', 'Script=NAME'), ({'Certificate': 'nobody', 'InitTLS': 'On'}, None, 'nobody'))


def fault_at(body, name, entry):
    """What is said at a field, by the id that the field's aria-describedby names."""
    field = 'l.%s.%s' % (name, entry)
    tag = re.search(r'<(?:input|select|fieldset)(?=[^>]*\baria-invalid="true")(?=[^>]*\baria-describedby="([^"]*)")[^>]*(?:id="%s"|>\s*<legend[^>]*>[^<]*</legend>'
                    r'<input name="%s")' % (re.escape(field), re.escape(field)), body)
    id_of = tag and next((x for x in tag.group(1).split() if x.endswith('.fault')), None)
    found = id_of and re.search(r'<div class="fault" id="%s"[^>]*>(.*?)</div>' % re.escape(id_of), body, re.S)
    return plain(found.group(1)).strip() if found else None


def line_of(s, entry):
    return s.read('listeners.ini').splitlines().index(entry) + 1


def every_field(s, pages):
    """The form has every entry of the schema, and those of the samples' comment."""
    lua = 'package.path = "lua/?.lua;" .. package.path; for e in pairs(require("portreeve.schema").sections["listeners.ini"]) do print(e) end'
    entries = subprocess.run(['lua5.4', '-e', lua], cwd=ROOT, text=True, capture_output=True, check=True).stdout.split()
    body = pages.get(PAGE + '/work').body.decode()
    held = [e for e in entries if 'l.work.%s.help' % e in body and 'name="l.work.%s"' % e not in body]
    missing = [e for e in entries if 'l.work.%s.help' % e not in body]
    ok(len(entries) > 25 and not missing, 'every entry of the schema has a field', missing)
    ok(set(held) <= {'ClientCA'}, 'and can be typed into, but for names of files', held)
    for e in re.findall(r'NAME\.([A-Z]\w+)', open(os.path.join(ROOT, 'conf', 'listeners.ini')).read()):
        if e not in entries + ['Label', 'Entry']:
            ok(False, 'conf/listeners.ini speaks of %s' % e)
    for word in re.findall(r'aria-describedby="([^"]*)"', body):
        for one in word.split():
            if 'id="%s"' % html.escape(one) not in body:
                ok(False, 'aria-describedby names %s, which is not there' % one)
    groups = re.findall(r'<fieldset class="group"[^>]*><legend>([^<]*)</legend>', body)
    same(groups, ['Address and port', 'Who may come', 'Limits and rates', 'Behind a proxy', 'Service and backend'], 'in five groups')
    ok('listeners.ini:2</code>' in body and 'work.Port' in plain(body), 'each value with its line in the file', plain(body)[:1500])
    second = pages.get(PAGE + '/work.2').body.decode()
    ok('name="l.work.2.Backlog"' in second and 'l.work.2.MaxConnections' not in second, 'a further socket has the entries that it can have')
    ok('listeners.ini:4</code>' in second and 'Label-owner=post office' in plain(second), 'and says what it takes from the first', plain(second)[:1500])
    fixed = pages.get(PAGE + '/http').body.decode()
    ok('name="l.http.RateRequests"' in fixed and 'l.http.Port' not in fixed, 'a listener of tomcat.ini has limits only')
    same(pages.get(PAGE + '/nobody').status, 404, 'a listener that is not there has no page')


def wrong_values(s, pages):
    before, live = s.read('listeners.ini'), s.counter('reloads_ok')
    for entry, texts in sorted(BAD.items()):
        for text in texts:
            answer = fill(pages, 'work', {entry: text})
            said = fault_at(answer.body.decode(), 'work', entry)
            ok(answer.status == 422 and said and text.split(',')[0] in said, 'G6: %s=%s: refused, and said at its field' % (entry, text), said or plain(answer.body)[:800])
    for fields, entry, words in TOGETHER:
        answer = fill(pages, 'work', fields)
        body = answer.body.decode()
        said = fault_at(body, 'work', entry) if entry else plain(body)
        ok(answer.status == 422 and said and words in said, 'G6: %s: refused, and said at %s' % (fields, entry), said or plain(body)[:800])
    answer = fill(pages, 'work', {'RateRequestsPerNet': 'x', 'NetIPv4': '99'})
    folded = re.search(r'<details class="more"( open)?>(?:(?!</details>).)*l\.work\.NetIPv4', answer.body.decode(), re.S)
    ok(folded and folded.group(1), 'what is folded away opens when something in it is wrong')
    folded = re.search(r'<details class="more"( open)?>(?:(?!</details>).)*l\.work\.NetIPv4', pages.get(PAGE + '/work').body.decode(), re.S)
    ok(folded and not folded.group(1), 'and is closed else')
    answer = fill(pages, 'work', {'Label-+1.Key': 'a b', 'Label-+1': 'x', 'Backend-+1.Key': 'x.example.org'})
    said = plain(answer.body)
    ok(answer.status == 422 and 'the name of a label has letters' in said and 'Backend-x.example.org: the value is missing' in said, 'entries with keys too', said[:800])
    same((s.read('listeners.ini'), s.counter('reloads_ok')), (before, live), 'G6: and nothing of it has changed anything')


def all_set(s, pages):
    """Every limit at once, then taken away: the file is as it was."""
    before = change(s, pages, 'work', dict(GOOD, **{'Label-+1.Key': 'site', 'Label-+1': 'north wing'}), 'every limit')
    now = s.read('listeners.ini').splitlines()
    for entry, text in GOOD.items():
        if 'work.%s=%s' % (entry, text) not in now and entry != 'Certificate':
            ok(False, '%s stands in the file' % entry, now)
    ok('work.Label-site=north wing' in now, 'Q14: a label too', now)
    same([x for x in now if x in before.splitlines()], before.splitlines(), 'comments, order and an entry that nobody knows stay')
    body = plain(pages.get(PAGE + '/work').body)
    ok('listeners.ini:%d work.NetIPv6' % line_of(s, 'work.NetIPv6=40') in body, 'the page says where each stands', body[:3000])
    answer = fill(pages, 'work', {'MaxPerAddress': '51', 'seen': 'x'})
    ok('MaxPerAddress: 50 → 51' in plain(answer.body), 'a change says what was before', plain(answer.body)[-800:])
    gone = {k: '' for k in GOOD if k not in ('WhenMissing', 'Restriction', 'GiveWay', 'InitTLS', 'Certificate')}
    gone.update({'WhenMissing': 'Refuse', 'Restriction': 'None', 'GiveWay': 'Off', 'InitTLS': 'Off', 'Label-site': ''})
    change(s, pages, 'work', gone, 'all of it taken away')
    left = [x for x in s.read('listeners.ini').splitlines() if x not in before.splitlines()]
    same(sorted(left), ['work.GiveWay=Off', 'work.InitTLS=Off', 'work.Restriction=None', 'work.WhenMissing=Refuse'],
         'an emptied field takes its entry out of the file; of a choice the word stays')


def rate(s, pages):
    change(s, pages, 'work', {'RateRequests': '3/1h'}, 'a rate')
    with http1.Conn(s.address, s.port('work'), source=DEVICE) as c:
        got = [c.call('GET', '/robots.txt').status for _ in range(4)]
    same(got, [200, 200, 200, 429], 'G27: three requests, and the fourth is one too many')
    code, out, _ = s.command('why', DEVICE, '--last', 1)
    ok('listeners.ini:%d' % line_of(s, 'work.RateRequests=3/1h') in out, 'by the line that the form wrote', out)
    change(s, pages, 'work', {'RateRequests': ''}, 'the rate taken away')
    with http1.Conn(s.address, s.port('work'), source=DEVICE) as c:
        same([c.call('GET', '/robots.txt').status for _ in range(5)], [200] * 5, 'and nobody counts any more')


def proxied(s, pages):
    """ProxyFrom: a device is believed, a stranger refused; the denied address that it names is kept out."""
    change(s, pages, 'work', {'Proxy': 'V1', 'ProxyFrom': DEVICE + '/32', 'Restriction': 'Deny', 'List': '203.0.113.0/24'}, 'PROXY headers')
    ok('work.ProxyFrom=%s/32' % DEVICE in s.read('listeners.ini'), 'the line in the file', s.read('listeners.ini'))

    def ask(source, client):
        with http1.Conn(s.address, s.port('work'), source=source) as c:
            try:
                c.send(proxyline.v1(client, '192.0.2.80') + http1.request('GET', '/robots.txt'))
                return c.response().status
            except (http1.Closed, OSError):
                return None
    same(ask(DEVICE, '198.51.100.7'), 200, 'G22: whom the device names is served')
    same(ask(DEVICE, '203.0.113.7'), None, 'and judged: one of the denied list is not')
    same(ask(STRANGER, '198.51.100.7'), None, 'who is no device is not believed')
    change(s, pages, 'work', {'Proxy': 'Off', 'ProxyFrom': '', 'Restriction': 'None', 'List': ''}, 'without again')


def tunnel(s, pages):
    """Made from nothing by the form, led elsewhere, given a further name, taken away."""
    first, second = Backend(says('first')), Backend(says('second'))

    def hears(port):
        with socket.create_connection((s.address, port), timeout=20) as c:
            c.sendall(b'x\n')
            c.shutdown(socket.SHUT_WR)
            return c.recv(100)
    try:
        port = free_ports(1)[0]
        untick = {'Services.' + x: None for x in ('tracker', 'ui', 'hub')}
        fields = dict(untick, **{'Name': 'way', 'Port': str(port), 'Address': s.address, 'Services.tunnel': 'on', 'Backend': '127.0.0.1:%d' % first.port})
        answer = fill(pages, '+1', fields)
        ok('Whoever may call way reaches 127.0.0.1:%d' % first.port in plain(answer.body), 'before a tunnel is opened it says where to', plain(answer.body)[-1000:])
        before = change(s, pages, '+1', fields, 'a tunnel')
        ok(s.read('listeners.ini').startswith(before), 'behind everything else in the file')
        same(hears(port)[:5], b'first', 'G1: bytes go to the backend and back')
        change(s, pages, 'way', {'Backend': '127.0.0.1:%d' % second.port}, 'another backend')
        same(hears(port)[:6], b'second', 'and then to the other one')
        change(s, pages, 'way', {'Services.tunnel': None, 'Services.tls-tunnel': 'on', 'Backend-+1.Key': '*.example.org',
                                 'Backend-+1': '127.0.0.1:%d' % first.port, 'InitTLS': 'On'}, 'a backend for names')
        ok('way.Backend-*.example.org=127.0.0.1:%d' % first.port in s.read('listeners.ini'), 'in the file', s.read('listeners.ini'))
        for name, want in (('a.example.org', b'first'), ('other.test', b'second')):
            with socket.create_connection((s.address, port), timeout=20) as raw, client_tls().wrap_socket(raw, server_hostname=name) as c:
                c.sendall(b'x\n')
                same(c.recv(100)[:len(want)], want, '%s leads to the %s' % (name, want.decode()))
        change(s, pages, 'way', {'Backend-*.example.org': ''}, 'that name taken away')
        ok('example.org' not in s.read('listeners.ini'), 'from the file too', s.read('listeners.ini'))
        change(s, pages, 'way', {'Port': '0'}, 'port 0')
        same(s.read('listeners.ini').rstrip(), before.rstrip(), 'G7: the listener is gone, the rest as before')
    finally:
        first.close()
        second.close()


def other_protocols(s, pages):
    port = free_ports(1)[0]
    untick = {'Services.' + x: None for x in ('tracker', 'ui', 'hub')}
    change(s, pages, '+1', dict(untick, **{'Name': 'logs', 'Port': str(port), 'Address': s.address, 'Services.remote-log': 'on'}), 'a log of other machines')
    change(s, pages, '+1', {'Port': str(port), 'Transport': 'UDP'}, 'and its UDP socket', page=PAGE + '/+1?of=logs')
    ok('logs.2.Transport=UDP' in s.read('listeners.ini') and 'logs.2.Services' not in s.read('listeners.ini'), 'which takes the rest from the first',
       s.read('listeners.ini'))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
        c.sendto(b'<34>Nov 22 04:04:02 host su: by the form', (s.address, port))
    log = os.path.join(s.state, 'log', 'remote', 'logs.log')
    wait_until('the datagram', lambda: os.path.exists(log) and 'by the form' in open(log).read())
    ok(True, 'a datagram arrives')
    change(s, pages, '+1', dict(untick, **{'Name': 'who', 'Port': 'free', 'Address': s.address, 'Services.script': 'on', 'Script': 'finger'}), 'a script')
    with socket.create_connection((s.address, s.port('who')), timeout=20) as c:
        c.sendall(b'nobody\r\n')
        ok(c.recv(1000).strip(), 'and it answers')
    answer = fill(pages, 'who', {'Script': 'nothing'})
    said = fault_at(answer.body.decode(), 'who', 'Script')
    ok(answer.status == 422 and said and 'nothing' in said, 'a script that is not there is said at its field', said or plain(answer.body)[:800])


def main():
    example = os.path.join(ROOT, 'examples', 'finger', 'policies')
    scripts = {name: open(os.path.join(example, name)).read() for name in ('finger.lua', 'finger_test.lua')}
    office = open(os.path.join(ROOT, 'examples', 'finger', 'lists', 'office.list')).read()
    with server(policies=scripts, files={'lists/office.list': office}).start() as s:
        pages = Pages(s).set_up()
        for part in (every_field, wrong_values, all_set, rate, proxied, tunnel, other_protocols):
            part(s, pages)


main()
done()
