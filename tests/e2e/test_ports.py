#!/usr/bin/python3
"""Ports and places on real sockets, in network namespaces of this test's own: ports by name, services on addresses, interfaces and groups,
a LAN client before a multi-homed server, a neighbour on the same port, edits that wait for the reload, sockets that begin with TLS. Needs root.
"""
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import alone
import tap

alone.network('ports and places on real sockets')

import http1  # noqa: E402
from portreeve import SLOW, Server, wait_until  # noqa: E402 (makes no sense without root)

LAN, PUBLIC, CLIENT, V6 = '10.68.0.1', '192.0.2.1', '10.68.0.2', 'fd68::1'
ADMIN = '127.0.0.0/8\n::1\n10.68.0.0/24\nfd68::/64\n'
WILD = ('0.0.0.0', '::')
SHUTDOWN = {('127.0.0.1', 8007)}
INTERNAL = {(w, p) for w in WILD for p in (1099, 7000)} | SHUTDOWN
PATHS = {'tracker': '/robots.txt', 'ui': '/lui/', 'hub': '/hub/', 'ops': '/healthz'}


def ip(*args):
    subprocess.run(['ip'] + list(args), check=True)


class Client:
    """A machine in the LAN: a namespace that lives as long as one process, with the other end of the cable."""

    def __init__(self):
        self.proc = subprocess.Popen(['unshare', '--net', 'cat'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        own = os.readlink('/proc/self/ns/net')
        wait_until('a namespace for the client', lambda: os.readlink('/proc/%d/ns/net' % self.proc.pid) != own)
        self.enter = ['nsenter', '--net=/proc/%d/ns/net' % self.proc.pid]
        ip('link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan1')
        ip('link', 'set', 'lan1', 'netns', str(self.proc.pid))
        for args in (['link', 'set', 'lo', 'up'], ['link', 'set', 'lan1', 'addrgenmode', 'none'], ['link', 'set', 'lan1', 'up'],
                     ['addr', 'add', CLIENT + '/24', 'dev', 'lan1'], ['route', 'add', 'default', 'via', LAN]):
            subprocess.run(self.enter + ['ip'] + args, check=True)

    def get(self, address, port, path='/robots.txt'):
        """Status of a request from there, or what happened instead: 'refused', 'shut' (closed without a byte)."""
        code = ('import http1, sys\ntry:\n  print(http1.get(%r, %d, %r).status)\nexcept ConnectionRefusedError:\n  print("refused")\n'
                'except (http1.Closed, ConnectionResetError) as e:\n  print("shut" if not getattr(e, "got", b"") else "cut")\n'
                % (address, port, path))
        p = subprocess.run(self.enter + [sys.executable, '-c', code], stdout=subprocess.PIPE, check=True, text=True, timeout=120 * SLOW,
                           env=dict(os.environ, PYTHONPATH=os.path.dirname(tap.__file__)))
        text = p.stdout.strip()
        return int(text) if text.isdigit() else text

    def end(self):
        self.proc.stdin.close()
        self.proc.wait(60)


def make_network():
    ip('link', 'set', 'lo', 'up')
    client = Client()
    ip('link', 'set', 'lan0', 'addrgenmode', 'none')
    ip('link', 'set', 'lan0', 'up')
    ip('addr', 'add', LAN + '/24', 'dev', 'lan0')
    ip('addr', 'add', V6 + '/64', 'dev', 'lan0', 'nodad')
    ip('addr', 'add', 'fe80::68:1/64', 'dev', 'lan0', 'nodad')
    ip('link', 'add', 'pub0', 'type', 'veth', 'peer', 'name', 'pub1')
    for name in ('pub0', 'pub1'):
        ip('link', 'set', name, 'addrgenmode', 'none')
        ip('link', 'set', name, 'up')
    ip('addr', 'add', PUBLIC + '/24', 'dev', 'pub0')
    return client


def listening(kind='t'):
    """{(address, port)} of every listening TCP (or UDP) socket here, as ss tells it."""
    out = subprocess.run(['ss', '-Hln' + kind], check=True, stdout=subprocess.PIPE, text=True).stdout
    got = set()
    for line in out.splitlines():
        host, port = line.split()[3].rsplit(':', 1)
        got.add((host.strip('[]').replace(']', ''), int(port)))
    return got


def get(address, port, path='/robots.txt'):
    try:
        return http1.get(address, port, path).status
    except ConnectionRefusedError:
        return 'refused'
    except (http1.Closed, ConnectionResetError) as e:
        return 'cut' if getattr(e, 'got', b'') else 'shut'


def running(files, **kw):
    base = {'tomcat.ini': 'BindAddress=127.0.0.1:8080\n', 'listeners.ini': '# none\n', 'lists/admin.list': ADMIN,
            'certificates.ini': 'default.Certificate=development\n'}
    base.update(files)
    return Server(ports=False, files=base, settings={'Workers': 1, 'AccessLog': 'off'}, **kw)


def names():
    with running({'services': 'WEB 8088/tcp PAGES # ours\nsyslog 514/udp\nEVENTS 7100/tcp\n', 'tracker.ini': 'CommunicationsPort=events\n',
                  'lui.ini': 'TrackerHost=localhost: Events\n', 'tomcat.ini': 'Port=pages\nBindAddress=127.0.0.1:HTTP, [::1]:web, %s\n' % LAN,
                  'listeners.ini': 'mail.Port=127.0.0.1:SMTP\nmail.Services=ops\npost.Port=POP3\npost.Address=%s\n' % LAN}) as s:
        want = {('127.0.0.1', 80), ('::1', 8088), (LAN, 8088), ('127.0.0.1', 25), (LAN, 110)} | {
            (w, p) for w in WILD for p in (1099, 7100)} | SHUTDOWN
        tap.same(sorted(listening()), sorted(want), 'Q1, Q4, Q8: ports by name, with names of conf/services, are bound')
        tap.same([get('127.0.0.1', 80), get('::1', 8088), get(LAN, 8088), get('127.0.0.1', 25, '/healthz'), get(LAN, 110)], [200] * 5,
                 'Q1, Q4: and serve, so the engine knows the names too')
        get('127.0.0.1', 80, '/trk/' + s.mint(campaign=77)['open'].split('/trk/')[1])
        wait_until('the ui to fetch the event', lambda: s.rows('SELECT 1 FROM events WHERE campaign = 77'), 60)
        tap.ok(True, 'Q4, E6: the ui finds the tracker on the port behind its host, by name')
        s.edit('services', 'WEB 8089/tcp\n')
        code, text = s.reload()
        tap.ok(code == 1 and re.search(r'tomcat\.ini:1: Port=pages: no protocol has the name pages', text),
               'Q1, Q4: a name that the file no longer has refuses the reload', text)
        s.edit('services', 'WEB 8089/tcp PAGES\nEVENTS 7100/tcp\n')
        code, text = s.reload()
        tap.ok(code == 0 and ('::1', 8089) in listening() and ('::1', 8088) not in listening(), 'Q4: a name moved moves its sockets', text)


def every_service(client):
    """Q13: tracker, ui, hub and ops on every form of a place: all addresses, one IPv4, one IPv6, an interface."""
    forms = {'all': '*', 'v4': LAN, 'v6': '[%s]' % V6, 'interface': 'lan0'}
    text, port, at = '', 8101, {}
    for form, address in forms.items():
        for service in PATHS:
            name = '%s-%s' % (form, service)
            text += '%s.Port=%d\n%s.Address=%s\n%s.Services=%s\n' % (name, port, name, address, name, service)
            at[form, service] = port
            port += 1
    with running({'listeners.ini': text, 'tomcat.ini': 'BindAddress=127.0.0.1:8080\n'}):
        wrong = {}
        for (form, service), port in at.items():
            for other, path in PATHS.items():
                got = get(V6 if form == 'v6' else LAN, port, path)
                fine = got in (200, 302, 303, 503) if other == service else got == 404
                if not fine:
                    wrong[form, service, path] = got
        tap.ok(not wrong, 'Q13: each service on each form of a socket, and on no other socket (64 tried)', repr(wrong))
        tap.same(get('fe80::68:1%lan0', at['interface', 'tracker']), 200, 'an interface has its link-local address too, with its scope')
        tap.same(client.get(LAN, at['interface', 'hub'], '/hub/') in (200, 302, 303), True, 'and is reached from outside')


def homed(client):
    text = ('loop.Port=127.0.0.1:8025\nloop.Services=tracker,ops\n'
            'lan.Port=%s:8025\nlan.Services=hub,ui,tracker\n'
            'public.Port=%s:8025\npublic.Services=tracker\npublic.MaxPerAddress=2\n' % (LAN, PUBLIC))
    with running({'listeners.ini': text}) as s:
        tap.same({x for x in listening() if x[1] == 8025}, {('127.0.0.1', 8025), (LAN, 8025), (PUBLIC, 8025)},
                 'Q5, G4: three instances on one port, each on its own address')
        tap.same([get('127.0.0.1', 8025, '/healthz'), get(LAN, 8025, '/healthz'), get(LAN, 8025, '/hub/') in (200, 302, 303),
                  get(PUBLIC, 8025, '/hub/')], [200, 404, True, 404], 'Q5, Q14: each with its own services')
        tap.same(client.get('127.0.0.1', 8025), 'refused', 'Q9: 127.0.0.1 is for this machine only')
        tap.same(client.get(LAN, 8025), 200, 'Q10: the LAN address serves the LAN')
        tap.same(client.get(PUBLIC, 8025), 200, 'Q17: LAN users reach the public instance too: an address is no filter')
        socks = [socket.create_connection((PUBLIC, 8025)) for _ in range(2)]
        tap.same([get(PUBLIC, 8025), get(LAN, 8025)], ['shut', 200], 'Q5, Q14: its limit is its own')
        for x in socks:
            x.close()
        s.edit('lists/lan.list', '10.68.0.0/24\n')
        s.append('listeners.ini', 'public.Restriction=Deny\npublic.List=lan\n')
        tap.same(client.get(PUBLIC, 8025), 200, 'M23: an edited file alone changes nothing')
        code, text = s.reload()
        tap.ok(code == 0, 'its access control is changed by reload', text)
        tap.same([client.get(PUBLIC, 8025), client.get(LAN, 8025)], ['shut', 200], 'Q17: its access control keeps them out, and only there')
        for line, what in (('late.Port=8025\n', 'Q6: all addresses where single ones are taken'),
                           ('late.Port=%s:8025\n' % LAN, 'Q2: a second service on one address and port')):
            old = s.read('listeners.ini')
            s.append('listeners.ini', line)
            n = len(s.read('listeners.ini').splitlines())
            code, text = s.reload()
            tap.ok(code == 1 and re.search(r'listeners\.ini:\d+: .*8025.*listeners\.ini:%d|listeners\.ini:%d: .*8025.*listeners\.ini:\d+' % (n, n), text),
                   what + ' is refused, both lines named', text)
            s.edit('listeners.ini', old)
    with running({'listeners.ini': 'a.Port=0.0.0.0:8025\nb.Port=[%s]:8025\n' % V6}):
        tap.same([get(LAN, 8025), get(V6, 8025)], [200, 200], 'Q6: all of IPv4 beside one IPv6 address is no conflict')


def rows():
    """A listener with several sockets: rows are added and taken away by reload (G1, G3, G6, G7)."""
    base = 'a.Port=127.0.0.1:8031\na.Services=tracker\na.MaxPerAddress=3\n'
    with running({'listeners.ini': base + 'a.2.Port=0\n', 'lists/lan.list': '10.68.0.0/24\n'}) as s:
        tap.same({x for x in listening() if 8031 <= x[1] <= 8033}, {('127.0.0.1', 8031)}, 'G6: a row with port 0 is none')
        s.edit('listeners.ini', base + 'a.2.Port=%s:8032\na.2.Restriction=Grant\na.2.List=lan\na.3.Port=[::1]:8033\n' % LAN)
        code, text = s.reload()
        tap.ok(code == 0, 'G6: two added at once', text)
        tap.same({x for x in listening() if 8031 <= x[1] <= 8033}, {('127.0.0.1', 8031), (LAN, 8032), ('::1', 8033)}, 'G1, G6: are two more sockets')
        tap.same([get('127.0.0.1', 8031), get('::1', 8033), get(LAN, 8032)], [200, 200, 200], 'G3: each with its own restriction')
        tap.same({x['name'] for x in s.listeners() if 8031 <= x['port'] <= 8033}, {'a'}, 'G1: all of one listener')
        s.edit('listeners.ini', base.replace('8031', '99999') + 'a.2.Port=%s:8034\n' % LAN)
        code, text = s.reload()
        tap.ok(code == 1 and 'a.Port=127.0.0.1:99999' in text and (LAN, 8032) in listening() and (LAN, 8034) not in listening(),
               'G6: an invalid number refuses the whole update, the table is unchanged', text)
        live = socket.create_connection(('127.0.0.1', 8031))
        live.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n')
        s.edit('listeners.ini', base.replace('127.0.0.1:8031', '0') + 'a.2.Port=%s:8032\n' % LAN)
        code, text = s.reload()
        tap.ok(code == 0, 'G7: a port set to 0 is taken away', text)
        wait_until('the socket to close', lambda: ('127.0.0.1', 8031) not in listening())
        live.sendall(b'Connection: close\r\n\r\n')
        got = b''
        while True:
            part = live.recv(4096)
            if not part:
                break
            got += part
        tap.ok(got.startswith(b'HTTP/1.1 200'), 'G7: a live connection stays until it is done', repr(got[:80]))
        tap.same([get('127.0.0.1', 8031), get(LAN, 8032)], ['refused', 200], 'G7, Q15: and the other socket is left alone')


def places():
    with running({'portreeve.ini': 'Group-inside=lo, %s\n' % LAN, 'tomcat.ini': 'BindAddress=inside:8080, pub0:HTTP, 192.0.2.7:8080\n',
                  'listeners.ini': 'http.WhenMissing=Wait\n'}) as s:
        want = {('127.0.0.1', 8080), ('::1', 8080), (LAN, 8080), (PUBLIC, 80)} | INTERNAL
        tap.same(sorted(listening()), sorted(want), 'a group and an interface stand for their addresses')
        waiting = [x for x in s.listeners('http') if x['address'] == '192.0.2.7']
        tap.ok(len(waiting) == 1 and 'waiting' in json.dumps(waiting), 'Q7, Q18: an address that is missing waits, and status shows it', repr(waiting))
        ip('addr', 'add', '192.0.2.7/24', 'dev', 'pub0')
        code, text = s.reload()
        tap.ok(code == 0, 'Q18: once it is there', text)
        wait_until('the address to be bound', lambda: {('192.0.2.7', 8080), ('192.0.2.7', 80)} <= listening())
        tap.same([get('192.0.2.7', 8080), get('192.0.2.7', 80)], [200, 200], 'Q18: it serves, by itself and by its interface')
        ip('addr', 'del', '192.0.2.7/24', 'dev', 'pub0')
        code, text = s.reload()
        wait_until('the address to be given up', lambda: not {('192.0.2.7', 8080), ('192.0.2.7', 80)} & listening())
        tap.ok(code == 0, 'Q18: gone, its sockets go', text)
        s.edit('tomcat.ini', 'BindAddress=insid:8080\n')
        s.edit('listeners.ini', '')
        code, text = s.reload()
        tap.ok(code == 1 and re.search(r'tomcat\.ini:1: BindAddress: insid is neither an interface .*inside\).*did you mean inside', text),
               'a name that is neither is refused, with the nearest', text)
        s.edit('tomcat.ini', 'BindAddress=192.169.1.1\n')
        code, text = s.reload()
        tap.ok(code == 1 and '192.169.1.1' in text and 'not on this machine' in text, 'Q7, Q19: without WhenMissing a missing address is refused', text)


def edits():
    """Port, SecurePort and RMIPort: an edit does nothing until the reload, then all of them move (M29, M30, M32, M44, M47, M49, M50)."""
    with running({'tomcat.ini': 'BindAddress=127.0.0.1, %s\nSecure-%s=\n' % (LAN, LAN)}) as s:
        before = {('127.0.0.1', 80), (LAN, 443)} | INTERNAL
        tap.same(listening(), before, 'M29, M45: nothing written is 80 and 443')
        s.edit('tomcat.ini', 'Port=8080\nSecurePort=8443\n' + s.read('tomcat.ini'))
        for name in ('hub.ini', 'lui.ini', 'tracker.ini'):
            s.edit(name, 'RMIPort=5310\n')
        time.sleep(0.5)
        tap.same(listening(), before, 'M23, M32, M47, M50: edited files alone change nothing')
        code, text = s.reload()
        tap.ok(code == 0, 'M32, M47, M50: a reload takes them', text)
        after = {('127.0.0.1', 8080), (LAN, 8443)} | {(w, p) for w in WILD for p in (5310, 7000)} | SHUTDOWN
        wait_until('the old sockets to close', lambda: listening() == after)
        tap.ok(True, 'M29, M30, M44, M51: and every component has moved')
        tap.same([get('127.0.0.1', 8080, p) in (200, 302, 303) for p in ('/robots.txt', '/lui/', '/hub/')], [True] * 3,
                 'M22, M28, M30: the components share the new port')
        s.edit('lui.ini', 'RMIPort=5311\n')
        code, text = s.reload()
        tap.ok(code == 1 and re.search(r'lui\.ini:1 has 5311', text) and re.search(r'(hub|tracker)\.ini:1 has 5310', text) and listening() == after,
               'M49: a value of its own in one file is refused, both files and lines named, and nothing changes', text)
        s.edit('lui.ini', 'RMIPort=5310\nHubRMIPort=1099\n')
        code, text = s.reload()
        tap.ok(code == 1 and re.search(r'lui\.ini:2: HubRMIPort=1099: the hub is on this server, where \S*hub\.ini:1 has 5310', text),
               'M52: so is a HubRMIPort that is not the hub\'s', text)


def neighbour():
    """Another web server beside us: one port, two addresses (E9, E10, G5); where it has all addresses, the message says who (E4)."""
    if not os.path.exists('/usr/sbin/nginx'):
        tap.skip('a neighbour on the same port', 'needs the package nginx; apt-get install nginx-light')
        return
    with running({'tomcat.ini': 'BindAddress=%s:80\n' % PUBLIC}) as s:
        folder = os.path.join(s.dir, 'nginx')
        os.mkdir(folder)
        conf = os.path.join(folder, 'conf')

        def start(listen):
            with open(conf, 'w') as f:
                f.write('daemon off;\nworker_processes 1;\nuser root;\npid %s/pid;\nerror_log %s/log;\nevents {}\nhttp {\n  access_log off;\n  client_body_temp_path %s;\n'
                        '  server { listen %s; return 204; }\n}\n' % (folder, folder, folder, listen))
            return subprocess.Popen(['/usr/sbin/nginx', '-p', folder, '-c', conf], stderr=subprocess.DEVNULL)

        nginx = start('%s:80' % LAN)
        try:
            wait_until('nginx to serve', lambda: get(LAN, 80) == 204)
            tap.same([get(LAN, 80), get(PUBLIC, 80)], [204, 200], 'E9, E10, G5: two servers, two addresses, one port: both serve')
            code, text = s.reload()
            tap.ok(code == 0 and [get(LAN, 80), get(PUBLIC, 80)] == [204, 200], 'E10, G5: also after a reload', text)
            s.edit('tomcat.ini', 'BindAddress=%s:80, %s:80\n' % (PUBLIC, LAN))
            code, text = s.reload()
            tap.ok(code == 1 and re.search(r'tomcat\.ini:1: BindAddress: .*%s:80.*' % re.escape(LAN), text) and get(PUBLIC, 80) == 200,
                   'E3, E10: its address is taken, ours serves on', text)
        finally:
            nginx.terminate()
            nginx.wait(60)


def answer(address, port, name=None):
    """The certificate's common name that a TLS caller meets."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((address, port), 20 * SLOW) as raw, ctx.wrap_socket(raw, server_hostname=name) as s:
        s.sendall(b'GET /robots.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        status = s.recv(12)
        pem = ssl.DER_cert_to_PEM_cert(s.getpeercert(True))
    out = subprocess.run(['openssl', 'x509', '-noout', '-subject', '-nameopt', 'multiline'], input=pem, stdout=subprocess.PIPE, check=True, text=True).stdout
    return status.decode() + ' ' + re.search(r'commonName\s*= (\S+)', out).group(1)


def trickle(address, port, data):
    """What comes back for these bytes until the other side closes."""
    with socket.create_connection((address, port), 60 * SLOW) as s:
        s.sendall(data)
        got = b''
        while True:
            try:
                part = s.recv(4096)
            except ConnectionResetError:
                return got
            if not part:
                return got
            got += part


def secure():
    s = Server(start=False, ports=False, settings={'Workers': 1, 'HandshakeTimeout': 3000}, files={
        'tomcat.ini': 'BindAddress=127.0.0.1:8080\n',
        'listeners.ini': 'a.Port=%s:8443\na.InitTLS=On\na.Certificate=one\nb.Port=%s:8443\nb.InitTLS=On\nb.Certificate=two\n' % (LAN, PUBLIC)})
    certs = ''
    for name in ('one', 'two'):
        pem = os.path.join(s.conf, name)
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
                        '/CN=%s.example' % name, '-addext', 'subjectAltName=DNS:%s.example' % name, '-keyout', pem + '.key', '-out', pem + '.pem'],
                       check=True, stderr=subprocess.DEVNULL)
        os.chmod(pem + '.key', 0o600)
        certs += '%s.Certificate=%s.pem\n%s.Key=%s.key\n' % (name, name, name, name)
    s.edit('certificates.ini', certs.replace('two.', '#two.'))
    code, text = s.check()
    tap.ok(code == 1 and re.search(r'listeners\.ini:4: b\.Port: .*two\.Certificate', text),
           'G18, G20: InitTLS without its certificate is refused before anything is bound, so no caller ever meets such a socket', text)
    s.edit('certificates.ini', certs)
    s.start()
    with s:
        tap.same([answer(LAN, 8443), answer(PUBLIC, 8443)], ['HTTP/1.1 200 one.example', 'HTTP/1.1 200 two.example'],
                 'G19: without a name the local address chooses the certificate')
        tap.same([answer(LAN, 8443, 'two.example'), answer(PUBLIC, 8443, 'one.example'), answer(PUBLIC, 8443, 'other.example')],
                 ['HTTP/1.1 200 two.example', 'HTTP/1.1 200 one.example', 'HTTP/1.1 200 two.example'], 'G19: a name that is asked for comes first')
        got = trickle(LAN, 8443, b'GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n')
        tap.ok(b'HTTP/1.' not in got, 'G17: clear text gets no word of the protocol', repr(got[:60]))
        tap.same(trickle(LAN, 8443, b''), b'', 'G17: who says nothing is closed after the handshake\'s time')
        got = trickle(LAN, 8443, b'\x16\x03\x01')
        tap.ok(b'HTTP' not in got, 'G17: so is who begins and stops', repr(got))
        tap.same(answer(LAN, 8443), 'HTTP/1.1 200 one.example', 'G17: and the next caller is served')
        ours = listening('u')
        s.append('listeners.ini', 'a.Protocol=udp\n')
        code, text = s.check()
        tap.ok(not ours and re.search(r'a\.Protocol=udp: unknown entry', text), 'G16: every socket of ours is tcp, where InitTLS has a meaning', text)


client = make_network()
try:
    names()
    every_service(client)
    homed(client)
    rows()
    places()
    edits()
    neighbour()
    secure()
finally:
    client.end()
tap.done()
