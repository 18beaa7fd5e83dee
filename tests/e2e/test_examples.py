#!/usr/bin/python3
"""The complete setups of examples/, one for each product that this one replaces, as they stand there: started in a network namespace that has their
addresses, and tried for what their README says."""
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import alone
import tap

alone.root('examples for real', 'needs root, for a network namespace of its own; run as root')
if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:  # CLONE_NEWNET: this process and all that it starts
    tap.skip('examples for real', 'a network namespace cannot be made here: ' + os.strerror(ctypes.get_errno()))
    tap.done()

from portreeve import ROOT, Server, wait_until  # noqa: E402

LAN, PUBLIC, OTHER, OURS = '192.168.1.1', '203.0.113.25', '192.0.2.10', '192.0.2.20'


def ip(*args):
    subprocess.run(('ip',) + args, check=True)


def add(address):
    ip('addr', 'add', address + '/32', 'dev', 'lo')


def example(name, **more):
    """A server with examples/NAME as its only configuration."""
    s = Server(start=False, ports=False, **more)
    shutil.rmtree(s.conf)
    shutil.copytree(os.path.join(ROOT, 'examples', name), s.conf)
    return s.start()


def listening():
    out = subprocess.run(['ss', '-Hltn'], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {line.split()[3] for line in out.splitlines()}


def status(address, port, path):
    """Status of an answer; None: refused; 0: disconnected without a word."""
    try:
        return http1.get(address, port, path).status
    except ConnectionRefusedError:
        return None
    except (http1.Closed, OSError):
        return 0


def tracked(s, address, port, recipient):
    """Does an open come through: the picture is answered and the event recorded?"""
    path = re.sub(r'^https?://[^/]+', '', s.mint(recipient=recipient)['open'])
    before = s.counter('events')
    return status(address, port, path) == 200 and s.counter('events') == before + 1


PAGE = (200, 302, 303, 308)  # the page, or the way to it


def maestro():
    """M2, M24–M28, M44, M47, M64: the installed tree is read where it lies, and these ports exist and no others."""
    s = example('maestro')
    with s:
        tap.same(listening(), {'0.0.0.0:8080', '[::]:8080', '0.0.0.0:5310', '[::]:5310', '0.0.0.0:7100', '[::]:7100', '127.0.0.1:9100'},
                 'maestro: exactly the ports of its files (M24, M25, M26)')
        files = {(x['name'], os.path.relpath(x['because']['file'], s.conf)) for x in s.listeners()}
        internal = {f for n, f in files if n == 'internal'}
        tap.ok(('http', 'conf/tomcat.ini') in files and ('communications', 'trk/tracker.ini') in files and
               internal <= {'hub/hub.ini', 'lui/lui.ini', 'trk/tracker.ini'}, 'each from its own folder of the tree', files)
        tap.ok(status('127.0.0.1', 8080, '/hub') in PAGE, 'the hub answers', status('127.0.0.1', 8080, '/hub'))
        tap.ok(status('::1', 8080, '/lui') in PAGE, 'and the ui', status('::1', 8080, '/lui'))
        tap.ok(tracked(s, '127.0.0.1', 8080, 1), 'an open is recorded')
        link = s.command('mint', '--conf', s.conf, '--campaign', '1', '--recipient', '1')[1]
        tap.ok(json.loads(link)['open'].startswith('http://news.example.org:8080/'), 'links begin as lui/lui.ini says', link)
        code, text = s.check()
        tap.ok(code == 0 and 'warning' not in text.replace('0 warnings', ''), 'check has nothing to say', text)
        s.edit('hub/hub.ini', 'RMIPort=5311\n')
        code, text = s.reload()
        tap.ok(code == 1 and '5311' in text and '5310' in text, 'one of the three RMIPorts alone is refused (M49)', text)
        s.edit('hub/hub.ini', 'RMIPort=5310\n')
        s.edit('lui/database/my.ini', '[client]\nport=3306\n[mysqld]\nport=3307\n')
        code, text = s.reload()
        tap.ok(code == 1 and 'my.ini' in text, 'and a database port in one section only (M58)', text)
        s.edit('commands/ssl.ini', 'SSLAllowedClients=a\n')
        code, text = s.reload()
        tap.ok(code == 1 and 'ssl.ini' in text, 'and an ssl.ini, as commands/README.txt says', text)


def mailtraq():
    """Q5, Q8, Q14, Q17, Q18: three instances on one port, each with settings of its own; one comes with its address."""
    add(LAN)
    with example('mailtraq') as s:
        mine = {x for x in listening() if x.endswith(':8025')}
        tap.same(mine, {'127.0.0.1:8025', LAN + ':8025'}, 'mailtraq: two instances, the third waits for its address (Q7)')
        add(PUBLIC)
        wait_until('the public instance', lambda: PUBLIC + ':8025' in listening(), 10)
        tap.ok(True, 'it comes when the address does (Q18), and all three have one port (Q5)')
        wait_until('its first answer', lambda: status(PUBLIC, 8025, '/robots.txt') == 200)
        tap.same([status(a, 8025, '/hub') in PAGE for a in ('127.0.0.1', LAN, PUBLIC)], [True, True, False],
                 'the pages answer on this machine and on the LAN, not to the public (Q14)')
        tap.same([status(a, 8025, '/healthz') for a in ('127.0.0.1', LAN, PUBLIC)], [200, 404, 404], 'health on this machine only (Q14)')
        tap.same([tracked(s, a, 8025, i) for i, a in enumerate(('127.0.0.1', LAN, PUBLIC), 10)], [True] * 3, 'tracking on all three')
        many = [http1.Conn(PUBLIC, 8025) for _ in range(4)]
        for c in many:
            c.call('GET', '/robots.txt')
        tap.same([status(PUBLIC, 8025, '/robots.txt'), status(LAN, 8025, '/robots.txt')], [0, 200],
                 'the fifth connection of one address is one too many for the public instance, not for the LAN (Q5)')
        for c in many:
            c.close()
        with socket.socket() as stranger:  # a caller whose address is not the LAN's
            stranger.bind((PUBLIC, 0))
            stranger.settimeout(20)
            stranger.connect((LAN, 8025))
            stranger.sendall(http1.request('GET', '/robots.txt'))
            try:
                got = stranger.recv(100)
            except ConnectionError:
                got = b''
        tap.same(got, b'', 'a stranger who reaches the LAN instance is disconnected: binding is no filter, the list is (Q17)')
        s.append('listeners.ini', 'lan.Port=0\n')
        code, text = s.reload()
        tap.ok(code == 0 and LAN + ':8025' not in listening() and status('127.0.0.1', 8025, '/robots.txt') == 200,
               'one instance goes, the others stay as they are (Q15)', text)
        ip('addr', 'del', PUBLIC + '/32', 'dev', 'lo')
        wait_until('the public instance to wait', lambda: PUBLIC + ':8025' not in listening(), 10)
        tap.ok(status('127.0.0.1', 8025, '/robots.txt') == 200, 'and when the line is down, this machine is served (Q18)')
    ip('addr', 'del', LAN + '/32', 'dev', 'lo')


def campaign_enterprise():
    """E1, E2, E8: two ports, two purposes."""
    with example('campaign-enterprise') as s:
        tap.ok({'0.0.0.0:81', '[::]:81', '0.0.0.0:82', '[::]:82'} <= listening(), 'campaign-enterprise: 81 and 82')
        pages = ('/hub', '/hub/login', '/lui', '/lui/campaigns', '/lui/login')
        tap.same({p: status('127.0.0.1', 81, p) for p in pages}, {p: 404 for p in pages}, 'E1: no page answers on 81, not even to who may see it')
        tap.ok(status('127.0.0.1', 82, '/hub') in PAGE, 'E1: the pages are on 82')
        tap.ok(tracked(s, '127.0.0.1', 81, 1), 'E1: tracking is on 81')
        path = re.sub(r'^https?://[^/]+', '', s.mint(recipient=9)['open'])
        tap.same(status('127.0.0.1', 82, path), 404, 'and not on 82')
        link = json.loads(s.command('mint', '--conf', s.conf, '--campaign', '1', '--recipient', '1')[1])['open']
        tap.ok(link.startswith('http://news.example.org:81/'), 'links name 81 (E7)', link)
        s.append('listeners.ini', 'admin.Port=0\n')
        code, text = s.reload()
        tap.ok(code == 0 and status('127.0.0.1', 82, '/hub') is None and tracked(s, '::1', 81, 2), 'E1: tracking does not need 82', text)
        for port in (1, 80, 65535):
            s.append('listeners.ini', 'tracking.Port=%d\n' % port)
            code, text = s.reload()
            tap.ok(code == 0 and tracked(s, '127.0.0.1', port, 100 + port) and status('127.0.0.1', 81, '/robots.txt') is None,
                   'E2%s: tracking on %d' % (', E8' if port == 80 else '', port), text)
        s.append('listeners.ini', 'tracking.Port=65536\n')
        code, text = s.reload()
        tap.ok(code == 1 and re.search(r'listeners\.ini:\d+: tracking\.Port=65536', text), 'E2: 65536 is none', text)


class Nginx:
    """The other web server."""

    def __init__(self, folder, listen):
        self.folder, self.conf = folder, os.path.join(folder, 'nginx.conf')
        os.makedirs(folder, exist_ok=True)
        with open(self.conf, 'w') as f:
            f.write('daemon off; worker_processes 1; user root; pid {d}/pid; error_log {d}/log;\nevents {{}}\nhttp {{\n'
                    '  access_log off; client_body_temp_path {d}/t1; proxy_temp_path {d}/t2;\n'
                    '  fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;\n'
                    '  server {{ listen {l}; return 204; }}\n}}\n'.format(d=folder, l=listen))
        self.proc = subprocess.Popen(['/usr/sbin/nginx', '-p', folder, '-c', self.conf, '-e', folder + '/log'], stderr=subprocess.DEVNULL)

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
        self.proc.wait(60)


def communigate():
    """E8, E9, E10, G5: beside another web server, one port, two addresses."""
    if not os.path.exists('/usr/sbin/nginx'):
        tap.skip('communigate', 'needs the package nginx; apt-get install nginx')
        return
    for a in (OTHER, OURS):
        add(a)
    s = Server(start=False, ports=False)
    folder, other = os.path.join(s.dir, 'nginx'), None
    shutil.rmtree(s.conf)
    shutil.copytree(os.path.join(ROOT, 'examples', 'communigate'), s.conf)
    try:
        other = Nginx(folder, OTHER + ':80')
        wait_until('nginx', lambda: status(OTHER, 80, '/') == 204)
        s.start()
        both = lambda: (status(OTHER, 80, '/robots.txt'), status(OURS, 80, '/robots.txt'))  # noqa: E731
        tap.same(both(), (204, 200), 'communigate: two programs, one port, two addresses: both serve (E9, E10, G5)')
        other.stop()
        tap.same(both(), (None, 200), 'ours serves when the other has stopped')
        other = Nginx(folder, OTHER + ':80')
        wait_until('nginx again', lambda: status(OTHER, 80, '/') == 204)
        code, text = s.reload()
        tap.ok(code == 0 and both() == (204, 200), 'either starts and stops as it likes (E10)', text)
        s.stop_only()
        other.stop()
        other = Nginx(folder, '80')  # all addresses: the grabbing of E4
        wait_until('nginx everywhere', lambda: status(OURS, 80, '/') == 204)
        code, text = s.check()
        named = code == 1 and re.search(r'%s:80' % re.escape(OURS), text) and 'nginx' in text
        tap.ok(named, 'where it takes all addresses, check says who has ours (E4, E5)', text)
        other.stop()
        other = None
        s.start()
        tap.same(both(), (None, 200), 'and ours may be the first to start')
        other = Nginx(folder, OTHER + ':80')
        wait_until('nginx after ours', lambda: both() == (204, 200))
        tap.ok(True, 'the other then starts beside it (G5)')
    finally:
        if other:
            other.stop()
        s.stop()


ip('link', 'set', 'lo', 'up')
maestro()
mailtraq()
campaign_enterprise()
communigate()
tap.done()
