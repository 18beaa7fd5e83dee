#!/usr/bin/python3
"""The communications port changed while the ui fetches events (M56, M57): at once, no restart, no event lost or doubled, the new port answers
before the old one closes; on one server, and with hub and ui on another. CHANGES=100 for the long form."""
import http.cookiejar
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import load
from arrivals import exactly_once, in_database
from portreeve import SLOW, Server, free_ports, wait_until
from tap import done, note, ok, same, skip

CHANGES = int(os.environ.get('CHANGES', '20'))
CAMPAIGN = 57
FRIST = 60


def server(port, **more):
    """Its communications port stands in the file, so that it can be changed there."""
    s = Server(bind='own', start=False, **more)
    s.sets = [x for x in s.sets if x[0] not in ('tracker.ini:CommunicationsPort', 'tomcat.ini:ShutdownPort')]
    s.shut, = free_ports(1)
    s.sets.append(('tomcat.ini:ShutdownPort', str(s.shut)))
    s.edit('tracker.ini', lambda old: old + '\n# ours\nCommunicationsPort = %d\n' % port)
    return s.start()


def change(s, port):
    code, out, err = s.command('eval', 'communications_port(%s)' % port, timeout=120)
    return code, out + err


def answers(port, host='127.0.0.1'):
    """Does the transfer port answer a new caller? False where it is closed."""
    try:
        return http1.get(host, port, '/events?after=0', timeout=30 * SLOW).status == 200
    except ConnectionRefusedError:
        return False


class Watch:
    """While a port moves: whenever the old one refuses, the new one must answer. One that has been seen to refuse too early is kept."""

    def __init__(self, old, new):
        self.old, self.new, self.stop, self.gaps, self.both = old, new, False, [], 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop:
            old = answers(self.old)
            new = answers(self.new)
            self.both += old and new
            if not old and not new:
                self.gaps.append(time.monotonic())
            if not old:
                return

    def end(self):
        self.stop = True
        self.thread.join()


def nothing_lost(s, work, name):
    _, seqs = exactly_once(s, CAMPAIGN, set(work.results['answered']), name, FRIST)
    ok(all(sorted(v) == list(range(min(v), max(v) + 1)) for v in seqs.values()), '%s: no hole in the sequences' % name)
    same(s.rows('SELECT kind FROM alarm'), [], '%s: no alarm' % name)


def changed_under_load():
    ports = free_ports(CHANGES + 1)
    with server(ports[0]) as s:
        engine = s.engine_pid()
        work = load.Load(s.address, s.port('http'), load.Mail(os.path.join(s.state, 'keys/tracker.keys'), campaign=CAMPAIGN), kept=6, fresh=3, pause=0.01)
        work.start()
        bad, gaps, both = [], 0, 0
        for old, new in zip(ports, ports[1:]):
            base = work.count('answered')
            wait_until('events between two changes', lambda: work.count('answered') >= base + 20 or work.failure, FRIST)
            watch = Watch(old, new)
            code, out = change(s, new)
            if code != 0 or 'CommunicationsPort=%d (was %d)' % (new, old) not in out:
                bad.append(out)
            wait_until('the new port', lambda: answers(new), FRIST)
            wait_until('the old port to close', lambda: not answers(old), FRIST)
            watch.end()
            gaps += len(watch.gaps)
            both += watch.both
            if re.findall(r'(?m)^CommunicationsPort = \d+$', s.read('tracker.ini')) != ['CommunicationsPort = %d' % new]:
                bad.append(s.read('tracker.ini'))
        work.finish()
        note('load: %s; looked at both ports while they moved, both answered %d times' % (work.summary(), both))
        ok(not bad, 'M56, M57: changed %d times from the console, each in force and in tracker.ini at once' % CHANGES, bad[:2])
        same(gaps, 0, 'M57: the new port answers before the old one closes')
        same((s.engine_pid(), s.status()['engine']['restarts']), (engine, 0), 'M57: no restart')
        same((work.count('refused'), work.count('wrong')), (0, 0), 'M57: nobody else noticed')
        nothing_lost(s, work, 'M57')
        ok('# ours' in s.read('tracker.ini'), 'tracker.ini keeps its comments')
        place = s.rows('SELECT place, fault FROM source')
        same(place, [('127.0.0.1:%d' % ports[-1], '')], 'M57: the ui knows the tracker at its new place only')


def refused():
    port, new = free_ports(2)
    with server(port) as s:
        with socket.socket() as other:
            other.bind(('0.0.0.0', 0))
            other.listen()
            text = s.read('tracker.ini')
            for name, value, why in (('no number', '"70a"', '70a'), ('0', '0', 'CommunicationsPort=0'), ('65536', '65536', '65536'), ('-1', '-1', '-1'),
                                     ('the port of the pages', str(s.port('http')), 'CommunicationsPort'),
                                     ('the internal port', str(s.port('internal')), 'CommunicationsPort'),
                                     ('the shutdown port', str(s.shut), 'ShutdownPort'),
                                     ("another program's port", str(other.getsockname()[1]), 'taken')):
                code, out = change(s, value)
                ok(code == 1 and why in out and 'nothing has changed' in out, 'M56: %s is refused' % name, out)
                ok(answers(port) and s.read('tracker.ini') == text and s.status()['generation'] == 1, 'M56: %s: the old one goes on working' % name)
        code, out = change(s, port)
        ok(code == 0 and 'nothing to change' in out and s.status()['generation'] == 1, 'M57: the same port again is no change', out)
        with http1.Conn('127.0.0.1', port, timeout=12 * SLOW) as c:
            c.send(http1.request('GET', '/events?after=0&wait=25000'))
            time.sleep(0.2)
            code, out = change(s, new)
            same(code, 0, 'M57: changed while a reader waits')
            r = c.response()
            same((r.status, r.body), (200, b''), 'M57: a long poll is answered at once, with nothing, instead of being cut')
        same((answers(new), answers(port)), (True, False), 'M57: and the port has moved')
        code, out = s.command('eval', 'communications_port()')[:2]
        ok('CommunicationsPort is removed' in out or code == 1, 'without a number it is the default again, where that is free', out)


class Page:
    """The hub's pages as a browser uses them."""

    def __init__(self, s, opener_argv=()):
        self.s, self.base = s, 'http://%s:%d' % (s.address, s.port('http'))
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        with open(os.path.join(s.state, 'keys/setup.token')) as f:
            token = f.readline().strip()
        who = {'account': 'ada', 'password': 'correct horse battery'}
        self.post('/hub/setup', dict(who, token=token, again=who['password']))
        self.post('/hub/login', who)

    def get(self, path):
        with self.opener.open(self.base + path, timeout=60 * SLOW) as r:
            return r.read().decode()

    def post(self, path, fields):
        try:
            with self.opener.open(self.base + path, urllib.parse.urlencode(fields).encode(), timeout=120 * SLOW) as r:
                return r.read().decode()
        except urllib.error.HTTPError as e:
            return e.read().decode()

    def put(self, port, step=None):
        csrf = re.search(r'name="csrf"[^>]* value="([^"]+)"', self.get('/hub/trk/general')).group(1)
        return self.post('/hub/trk/general', dict({'csrf': csrf, 'port': port}, **({'step': step} if step else {})))


def from_the_hub():
    a, b = free_ports(2)
    with server(a) as s:
        page = Page(s)
        answer = page.put(b)
        ok('Nothing has been changed yet' in answer and str(b) in answer and answers(a) and not answers(b), 'M56: the hub shows first what a change does')
        answer = page.put(b, 'apply')
        ok('is in force' in answer, 'M56: then it is changed, from TRK Settings → General Administration', answer[-800:])
        same((answers(a), answers(b)), (False, True), 'M57: at once')
        ok('CommunicationsPort = %d' % b in s.read('tracker.ini'), 'M56: and in tracker.ini')
        answer = page.put(s.port('internal'), 'apply')
        ok('stays %d' % b in answer and answers(b), 'M56: a port that is taken is refused in the hub, the old one works', answer[-800:])
        ok(re.search(r'edit: asked for by ada at 127\.\S+, in the hub: set tracker\.ini:CommunicationsPort=%d' % b, s.log()), 'the log says who')


def ip(*args):
    subprocess.run(['ip'] + list(args), check=True)


def in_namespace(ns, code):
    """Run Python in a namespace; what it printed."""
    p = subprocess.run(['nsenter', '--net=/run/netns/' + ns, sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, check=True,
                       timeout=120 * SLOW)
    return p.stdout


def two_servers():
    """Tracker on one server, hub and ui on the other. Tracker 10.77.57.1, hub and ui 10.77.57.2."""
    trk, hub = 'prtrk%d' % os.getpid(), 'prhub%d' % os.getpid()
    for ns in (trk, hub):
        ip('netns', 'add', ns)
        ip('-n', ns, 'link', 'set', 'lo', 'up')
    try:
        ip('link', 'add', 'prta', 'netns', trk, 'type', 'veth', 'peer', 'name', 'prhb', 'netns', hub)
        for ns, dev, at in ((trk, 'prta', '10.77.57.1'), (hub, 'prhb', '10.77.57.2')):
            ip('-n', ns, 'addr', 'add', at + '/24', 'dev', dev)
            ip('-n', ns, 'link', 'set', dev, 'up')
        hosts = {'lists/components.list': '127.0.0.0/8\n10.77.57.0/24\n'}
        common = dict(ports=False, sets=[('tomcat.ini:ShutdownPort', '-1'), ('tomcat.ini:Port', '8080')])
        with Server(components='tracker', netns=trk, files=dict(hosts, **{'listeners.ini': '# none\n'}), **common) as t:
            lui = 'TrackerHost=10.77.57.1\n'
            with Server(components='ui,hub', netns=hub, settings={'AccessLog': 'off'},
                        files=dict(hosts, **{'listeners.ini': '# none\n', 'lui.ini': lui}), **common) as h:
                remote(t, h, trk, hub)
    finally:
        for ns in (trk, hub):
            subprocess.run(['ip', 'netns', 'del', ns])


def browse(h, ns, port, step=''):
    """The hub's page, used from inside its namespace: one program does the whole visit."""
    code = '''
import http.cookiejar, re, sys, urllib.parse, urllib.request
o = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
def post(path, f):
    try:
        return o.open('http://127.0.0.1:8080' + path, urllib.parse.urlencode(f).encode(), timeout=100).read().decode()
    except urllib.error.HTTPError as e:
        return e.read().decode()
who = {'account': 'ada', 'password': 'correct horse battery'}
token = %r
if token:
    post('/hub/setup', dict(who, token=token, again=who['password']))
post('/hub/login', who)
page = o.open('http://127.0.0.1:8080/hub/trk/general', timeout=100).read().decode()
port = %r
if port:
    csrf = re.search('name="csrf"[^>]* value="([^"]+)"', page).group(1)
    page = post('/hub/trk/general', {'csrf': csrf, 'port': port})
print(re.sub('<[^>]*>', ' ', page))
'''
    try:
        with open(os.path.join(h.state, 'keys/setup.token')) as f:
            token = f.readline().strip()
    except FileNotFoundError:
        token = ''
    return re.sub(r'\s+', ' ', in_namespace(ns, code % (token, str(port) if port else '')))


def open_pixels(t, ns, n, first):
    """n opens at the tracker; recipients first … first + n - 1."""
    import token_make
    seal = token_make.Sealer(os.path.join(t.state, 'keys/tracker.keys'))
    paths = ['/trk/o/%s.gif' % seal.token('open', CAMPAIGN, first + i, 0) for i in range(n)]
    code = 'import http.client\nc = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)\nn = 0\n' \
           'for p in %r:\n  c.request("GET", p)\n  r = c.getresponse()\n  r.read()\n  n += r.status == 200\nprint(n)' % paths
    same(in_namespace(ns, code).strip(), str(n), '%d events are recorded' % n)


def arrived(h, upto):
    wait_until('events up to %d at the ui' % upto, lambda: len(in_database(h, CAMPAIGN)[0]) >= upto, FRIST)
    count, _ = in_database(h, CAMPAIGN)
    same((len(count), set(count.values())), (upto, {1}), 'M57: %d events have come to the other server, each once' % upto)


def sources(h):
    return h.rows('SELECT place, fault FROM source')


def remote(t, h, trk, hub):
    open_pixels(t, trk, 20, 1)
    arrived(h, 20)
    code, out = change(t, 7101)
    same(code, 0, 'M57: changed at the tracker\'s console, while the ui is on another server')
    open_pixels(t, trk, 20, 21)
    arrived(h, 40)
    wait_until('the ui at the new place', lambda: sources(h) == [('10.77.57.1:7101', '')], FRIST)
    ok("the tracker's communications port is 7101 now" in h.log(), 'M57: the ui asked the tracker on its internal port, and says so')
    text = browse(h, hub, None)
    wait_until('the hub to know the port', lambda: 'Port 7101' in browse(h, hub, None), FRIST)
    ok('on another server' in browse(h, hub, None), 'M56: the hub shows the port of the tracker on the other server', text)
    text = browse(h, hub, 7102)
    ok('has been changed and is in force' in text, 'M57: changed in the hub of the other server, at once', text)
    same(in_namespace(trk, probe(7102)).strip() + in_namespace(trk, probe(7101)).strip(), 'openclosed', 'M57: the tracker has it')
    ok('CommunicationsPort=7102' in t.read('tracker.ini'), 'M56: and keeps it in its tracker.ini')
    ok(re.search(r"asked for by ada at 127\.0\.0\.1, in another server's hub, at 10\.77\.57\.2", t.log()), "the tracker's log says who, and from where")
    text = browse(h, hub, 1099)
    ok('stays' in text and '1099' in text, 'M56: a port that is taken there is refused here, with the reason', text)
    same(in_namespace(trk, probe(7102)).strip(), 'open', 'M56: and the old one goes on working')
    open_pixels(t, trk, 20, 41)
    arrived(h, 60)
    t.stop_only()
    text = browse(h, hub, 7103)
    ok('as soon as' in text and '7103' in text, 'M57: tracker down at that moment: the hub keeps the wish', text)
    ok('CommunicationsPort=7102' in t.read('tracker.ini'), 'M57: nothing has changed there yet')
    t.start()
    wait_until('the wish to be fulfilled', lambda: in_namespace(trk, probe(7103)).strip() == 'open', FRIST)
    ok('CommunicationsPort=7103' in t.read('tracker.ini'), 'M57: it is applied when the tracker returns')
    open_pixels(t, trk, 20, 61)
    arrived(h, 80)
    for name, body, kind, where, want in (
            ('from its own machine', '{"port": 7104}', 'application/json', '127.0.0.1', 403),
            ('as a form, as a page elsewhere could send it', 'port=7104', 'application/x-www-form-urlencoded', '10.77.57.1', 400),
            ('without a port', '{}', 'application/json', '10.77.57.1', 400), ('no JSON', '{', 'application/json', '10.77.57.1', 400),
            ('a port that is none', '{"port": 70000}', 'application/json', '10.77.57.1', 409)):
        code = 'import http.client\nc = http.client.HTTPConnection(%r, 1099, timeout=60)\n' \
               'c.request("POST", "/internal/communications-port", %r, {"Content-Type": %r})\nprint(c.getresponse().status)' % (where, body, kind)
        same(in_namespace(hub if where != '127.0.0.1' else trk, code).strip(), str(want), 'the internal call %s: %d' % (name, want))
    same(in_namespace(trk, probe(7103)).strip(), 'open', 'and nothing has changed')


def probe(port):
    return 'import socket\ntry:\n  socket.create_connection(("127.0.0.1", %d), 10)\n  print("open")\nexcept ConnectionRefusedError:\n  print("closed")' % port


if __name__ == '__main__':
    changed_under_load()
    refused()
    from_the_hub()
    if os.geteuid() == 0:
        two_servers()
    else:
        skip('two servers', 'needs root')
    done()
