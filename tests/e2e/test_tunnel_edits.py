#!/usr/bin/python3
"""Who may make and change tunnels (TunnelEdits, Q13): with Off nothing of a listener that carries one is for hub or console; with On an address can be
its backend, and never a file; and none leads to the sockets of this server itself, whoever wrote it."""
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from backends import Backend, says
from listener_form import PAGE, change, fill, server
from pages import PASSWORD, Pages, plain
from portreeve import free_ports, wait_until
from tap import done, ok, same

DEVICE, STRANGER = '127.93.0.1', '127.92.0.1'

CLOSED = """way.Port=free
way.Address={0}
way.Services=tunnel
way.Backend={1}
way.SendProxy=V1
way.Restriction=Grant
way.List={2}
way.2.Port=free
row.Port=free
row.Address={0}
row.Services=tracker
row.2.Port=free
row.2.Services=tls-tunnel
row.2.Backend={1}
off.Port=0
off.Services=Tunnel
off.Backend={1}
over.Port=free
over.Address={0}
over.Backend={1}
shop.Port=free
shop.Address={0}
"""
# A bind policy of somebody's own: his shop is a tunnel.
SHOP = """  if l.name == "shop" then
    services, backends = { "tunnel" }, "shop"
    p:backend { set = "shop", to = "127.0.0.1:9", because = why }
  end
"""
REFUSED = (
    'set("way", { SendProxy = "Off", Restriction = "None" })', 'set("way", { List = "0.0.0.0/0" })', 'set("way", { Backend = "127.0.0.1:8" })',
    'set("way", { MaxPerAddress = 7 })', 'set("way", { ["Label-a"] = "b" })', 'set("way", { [2] = { Restriction = "None" } })',
    'set("way", { [3] = { Port = "free" } })', 'set("way", { Port = 0 })', 'remove("way")', 'set("way", { [2] = { Port = 0 } })',
    'set("way", { Services = "tracker", Backend = "", SendProxy = "Off" })', 'set{ way = { Port = 0 }, new = { Port = "free" } }',
    'set("row", { Restriction = "None" })', 'set("row", { [2] = { SendProxy = "V1" } })', 'set("off", { Port = "free" })', 'set("over", { Reserve = 1 })',
    'set("shop", { Reserve = 1 })', 'set("new", { Port = "free", Services = "tunnel", Backend = "127.0.0.1:9" })',
    'set("new", { Port = "free", InitTLS = "On", Services = "TLS-Tunnel", ["Backend-a.b"] = "127.0.0.1:9" })',
    'set("work", { [2] = { Services = "tunnel", Backend = "127.0.0.1:9" } })')


def doors(s, pages):
    """With TunnelEdits=On: no tunnel to a unix socket is made from hub or console. Whoever called one to our own sockets would be our administrator."""
    before, live = s.read('listeners.ini'), s.counter('reloads_ok')
    port, own = free_ports(1)[0], os.path.join(s.state, 'run', 'console.sock')
    for name in ('control.sock', 'console.sock'):
        for head in ('unix:', ''):
            where = head + os.path.join(s.state, 'run', name)
            code, out, err = s.command('eval', 'listener.set("door", { Port = %d, Address = "%s", Services = "tunnel", Backend = "%s" })' % (port, s.address, where))
            ok(code == 1 and 'door.Backend' in out + err and 'by hand only' in out + err, 'no tunnel to %s from the console' % name, out + err)
    code, out, err = s.command('eval', 'listener.set("door", { Port = %d, InitTLS = "On", Services = "tls-tunnel", ["Backend-a.b"] = "unix:%s" })' % (port, own))
    ok(code == 1 and 'door.Backend-a.b' in out + err and 'by hand only' in out + err, 'nor for a name', out + err)
    code, out, err = s.command('eval', 'listener.set("work", { [2] = { Backend = "127.0.0.1:9,unix:/run/x" } })')
    ok(code == 1 and 'work.2.Backend' in out + err and 'by hand only' in out + err, 'nor behind another, in a row, to whatever socket', out + err)
    untick = {'Services.' + x: None for x in ('tracker', 'ui', 'hub')}
    fields = dict(untick, **{'Name': 'door', 'Port': str(port), 'Address': s.address, 'Services.tunnel': 'on', 'Backend': 'unix:' + own})
    said = plain(fill(pages, '+1', fields).body)
    ok('Backend: unix:%s: a backend that is a unix socket is written by hand only' % own in said, 'the page says so at its field', said[-800:])
    same((s.read('listeners.ini'), s.counter('reloads_ok')), (before, live), 'and nothing has changed')
    with socket.socket() as c:
        ok(c.connect_ex((s.address, port)) != 0, 'nobody listens there')


def turned(s, port, path):
    """Whoever may write where the backend's socket is makes it a link to ours, after it was looked at."""
    os.rename(path, path + '.away')
    for name in ('console.sock', 'control.sock'):
        os.symlink(os.path.join(s.state, 'run', name), path)
        mark = s.log_mark()
        with socket.create_connection((s.address, port), timeout=20) as c:
            try:
                c.sendall(b'status\n')
                got = c.recv(100)
            except OSError:
                got = b''
        same(got, b'', 'the link is turned to %s: nothing comes through' % name)
        if name == 'console.sock':
            wait_until('the warning', lambda: 'mail.Backend: backend unix:%s' % path in s.log_since(mark))
            ok('a socket of this server itself' in s.log_since(mark), 'and the log says why', s.log_since(mark))
        os.unlink(path)
    os.rename(path + '.away', path)


def doors_by_hand(s):
    """Nor by hand, by whatever name; another unix socket is fine."""
    before, port = s.read('listeners.ini'), free_ports(1)[0]
    run, side = os.path.join(s.state, 'run'), os.path.join(s.dir, 'side')
    os.makedirs(side)
    os.symlink(run, os.path.join(side, 'folder'))
    os.symlink('folder/console.sock', os.path.join(side, 'file'))
    os.symlink(os.path.join(run, 'not-yet.sock'), os.path.join(side, 'later'))
    os.symlink('ring', os.path.join(side, 'ring'))
    os.link(os.path.join(run, 'console.sock'), os.path.join(side, 'hard'))
    line = len(before.splitlines()) + 4
    for path, why in ((run + '/console.sock', 'own sockets'), (run + '/control.sock', 'own sockets'), (run + '/../run//./control.sock', 'own sockets'),
                      (run + '/below/any', 'own sockets'), (side + '/folder/control.sock', 'own sockets'), (side + '/file', 'own sockets'),
                      (side + '/later', 'own sockets'), (side + '/hard', 'own sockets'), (side + '/ring', 'in a ring'),
                      ('/proc/self/root%s/console.sock' % run, '/proc means something else')):
        s.edit('listeners.ini', before + 'mail.Port=%d\nmail.Address=%s\nmail.Services=tunnel\nmail.Backend=127.0.0.1:9, unix:%s\n' % (port, s.address, path))
        code, text = s.reload()
        ok(code == 1 and why in text and 'listeners.ini:%d: mail.Backend: unix:%s' % (line, path) in text, 'by hand: refused at reload, by line: ' + path, text)
        code, text = s.check()
        ok(code == 1 and why in text and 'listeners.ini:%d: mail.Backend' % line in text, 'and by check', text)
    with socket.socket() as c:
        ok(c.connect_ex((s.address, port)) != 0, 'nobody listens there')
    real = Backend(says('mail'), at=side + '/mail')
    try:
        s.edit('listeners.ini', before + 'mail.Port=%d\nmail.Address=%s\nmail.Services=tunnel\nmail.Backend=unix:%s/mail\n' % (port, s.address, side))
        same(s.reload()[0], 0, 'another unix socket by hand')
        with socket.create_connection((s.address, port), timeout=20) as c:
            same(c.recv(100)[:4], b'mail', 'is reached')
        turned(s, port, os.path.join(side, 'mail'))
        pages = Pages(s)
        pages.post('/hub/login', {'account': 'ada', 'password': PASSWORD})
        change(s, pages, 'mail', {'MaxPerAddress': '9'}, 'its other entries, from the page')
        change(s, pages, '+1', {'Port': 'free'}, 'and a row that takes it over', page=PAGE + '/+1?of=mail')
        ok('mail.2.Backend' not in s.read('listeners.ini'), 'without naming it', s.read('listeners.ini'))
    finally:
        real.close()
        s.edit('listeners.ini', before)
        same(s.reload()[0], 0, 'without again')


def sockets(s):
    return sorted((x['name'], x['address'], x['port'], x['services'], x['restriction'], x['list']) for x in s.listeners())


def closed(s, pages, backend):
    """TunnelEdits=Off: nothing of a listener that carries a tunnel is for pages, nor for the console: who may use it and what the backend is told neither."""
    def heard(source):
        with socket.create_connection((s.address, s.port('way')), timeout=20, source_address=(source, 0)) as c:
            try:
                c.sendall(b'x\n')
                c.shutdown(socket.SHUT_WR)
                return b''.join(iter(lambda: c.recv(1000), b''))
            except OSError:
                return b''
    change(s, pages, 'work', {'MaxPerAddress': '7'}, 'another listener')
    code, out, err = s.command('eval', 'listener.set("work", { ["Label-a"] = "b", Backlog = 9 })')
    ok(code == 0 and 'work.Label-a=b' in s.read('listeners.ini'), 'Q14: the console sets labels', out + err)
    before, there = s.read('listeners.ini'), sockets(s)
    for text in REFUSED:
        code, out, err = s.command('eval', 'listener.' + text)
        name = re.search(r'(way|row|off|over|shop|new|work)', text).group(1)
        ok(code == 1 and 'TunnelEdits=On' in out + err and 'listeners.ini: %s.' % name in out + err, 'refused, and said what would allow it: ' + text, out + err)
    code, out, err = s.command('eval', 'listener.set("way", { Restriction = "None" }, nil, { force = true })')
    ok(code == 1 and 'TunnelEdits=On' in out + err, 'nor by force', out + err)
    body = pages.get(PAGE + '/way').body.decode()
    said = plain(body)
    ok('name="l.way.' not in body and 'of=way' not in body and backend.text in said, 'the page shows it all and has no field')
    ok('way carries a tunnel' in said and 'TunnelEdits=On' in said and 'type="submit" class="main"' not in body, 'and says why', said[:1500])
    body = pages.get(PAGE + '/row').body.decode()
    ok('name="l.row.' not in body and 'row carries a tunnel' in plain(body), 'a row of it is enough')
    table = pages.get(PAGE).body.decode()
    ok(not re.search(r'name="l\.(way|row|off|over)\.', table) and 'name="l.work.Port"' in table and 'way carries a tunnel' in plain(table), 'in the table too')
    answer = fill(pages, 'way', {'Backend': '127.0.0.1:8', 'Backend-+1.Key': 'a.b', 'Backend-+1': '127.0.0.1:8', 'Restriction': 'None', 'SendProxy': 'Off', 'Port': '0'})
    ok('Nothing to change' in plain(answer.body), 'forged fields do nothing', plain(answer.body)[:500])
    for page in ('/+1', '/+1?of=way'):
        answer = fill(pages, '+1', {'Name': 'way', 'Port': 'free'}, page=PAGE + page)
        ok(answer.status == 422 and 'way carries a tunnel' in plain(answer.body), 'no further row by %s' % page, plain(answer.body)[:800])
    untick = {'Services.' + x: None for x in ('tracker', 'ui', 'hub')}
    answer = fill(pages, '+1', dict(untick, **{'Name': 'new', 'Port': 'free', 'Services.tunnel': 'on', 'Backend': '127.0.0.1:9'}))
    ok(answer.status == 422 and 'new.Services: new carries a tunnel' in plain(answer.body), 'and no new one', plain(answer.body)[:1500])
    same((s.read('listeners.ini'), sockets(s)), (before, there), 'and nothing has changed')
    same(heard(STRANGER), b'', 'a stranger stays out')
    ok(b'heard PROXY TCP4 ' + DEVICE.encode() in heard(DEVICE), 'and the backend is told who calls', heard(DEVICE))


def main():
    with server().start() as s:
        doors(s, Pages(s).set_up())
        doors_by_hand(s)
    backend = Backend(says('backend'))
    s = server(tunnels='Off')
    s.sets.append(('listeners.ini:over.Services', 'tunnel'))
    s.append('listeners.ini', CLOSED.format(s.address, backend.text, DEVICE))
    s.edit('policies/bind.lua', lambda old: re.sub(r'(  local backends = backends_of\(p, line\)\n)', lambda m: m.group(1) + SHOP, old))
    with s.start() as s:
        closed(s, Pages(s).set_up(), backend)
    backend.close()


main()
done()
