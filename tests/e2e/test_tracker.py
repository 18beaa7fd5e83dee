#!/usr/bin/python3
"""The tracker on real sockets: every route, what must never redirect, what is recorded, and that it is durable when it was answered."""
import json
import os
import signal
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import token_make
from portreeve import Server, command, wait_until
from tap import done, ok, same

HUMAN = [('User-Agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130 Safari/537.36')]
GIF = bytes.fromhex('47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b')
TARGET = 'https://shop.example/a?b=c&d=%C3%A9'
ONE_CLICK = b'List-Unsubscribe=One-Click'
FORM = [('Content-Type', 'application/x-www-form-urlencoded')]
HOUR_AGO = time.time() - 3600  # a token sent just now would be read "too early" by chance
QUICK = dict(components='tracker', settings={'LogFormat': 'human'})


class Site:
    """A server with a sealer of its own, and the events that came since one last looked."""

    def __init__(self, server):
        self.s, self.port = server, server.port('http')
        self.sealer = token_make.Sealer(os.path.join(server.state, 'keys', 'tracker.keys'))
        self.seen = 0
        self.people = 1000

    def call(self, method, path, headers=HUMAN, body=b''):
        return http1.get(self.s.address, self.port, path, method=method, headers=headers, body=body)

    def token(self, kind, recipient=None, link=0, target='', **kw):
        self.people += 1
        kw.setdefault('at', HOUR_AGO)
        return self.sealer.token(kind, 7, recipient or self.people, link, target, **kw)

    def new(self):
        """Events recorded since the last call. An answer leaves after its commit, so nothing has to be waited for."""
        all_of_them = self.s.events()
        out, self.seen = all_of_them[self.seen:], len(all_of_them)
        return out


def quoted(url):
    return urllib.parse.quote(url, safe='')


def opens(t):
    token = t.token('open', recipient=11)
    r = t.call('GET', '/trk/o/%s.gif' % token)
    same((r.status, r.body), (200, GIF), 'an open: 200 and the 43 bytes')
    same((r.get('Content-Type'), r.get('Cache-Control'), r.get('X-Robots-Tag'), r.get('Content-Length')), ('image/gif', 'no-store', 'noindex', '43'), 'its header fields')
    ok(r.get('Set-Cookie') is None, 'no cookie')
    got = t.new()
    ok(len(got) == 1, 'one event', got)
    ev = got[0]
    same([ev.get(k) for k in ('tracker', 'type', 'campaign', 'recipient', 'link', 'level', 'class', 'reasons', 'listener', 'tls', 'method')],
         ['trk1', 'open', 7, 11, 0, 'personal', 'human', [], 'http', 'none', 'GET'], 'with everything it should say')
    ok(3600 <= ev['since'] <= time.time() - HOUR_AGO + 61 and abs(ev['ms'] / 1000 - time.time()) < 60 and ev['seq'] >= 1 and ev['epoch'] > 0, 'times, epoch and sequence', ev)
    ok('address' not in ev and 'agent' not in ev and 'pseudonym' not in ev, 'no address, no agent below the top level', ev)
    bad = ['nonsense', token[:-1], token + 'A', token[:-1] + ('A' if token[-1] != 'A' else 'B'), t.token('unsubscribe'), t.token('open', key_kind='click'), 'A' * 3000]
    same({(x.status, x.body) for x in [t.call('GET', '/trk/o/%s.gif' % b) for b in bad]}, {(200, GIF)}, 'a bad token gets the same picture')
    same(t.new(), [], 'and no event')
    r = t.call('HEAD', '/trk/o/%s.gif' % token)
    same((r.status, r.body, r.get('Content-Length')), (200, b'', '43'), 'HEAD')
    same([(e['class'], e['reasons'], e['method']) for e in t.new()], [('scanner', ['head'], 'HEAD')], 'counts as machine')
    tls = http1.get(t.s.address, t.s.tls_port(), '/trk/o/%s.gif' % token, tls=True, headers=HUMAN)
    same((tls.body, [e['tls'] for e in t.new()]), (GIF, ['own']), 'over TLS, and the event says so')


def clicks(t):
    token = t.token('click', recipient=12, link=5, target=TARGET)
    r = t.call('GET', '/trk/c/%s?u=%s' % (token, quoted(TARGET)))
    same((r.status, r.get('Location'), r.get('Cache-Control')), (302, TARGET, 'no-store'), 'a click: 302 to its target')
    same([(e['type'], e['recipient'], e['link'], e['class']) for e in t.new()], [('click', 12, 5, 'human')], 'one event')
    evil = 'https://evil.example/'
    cases = {
        'another target': '/trk/c/%s?u=%s' % (token, quoted(evil)),
        'a longer target': '/trk/c/%s?u=%s' % (token, quoted(TARGET + 'x')),
        'a shorter target': '/trk/c/%s?u=%s' % (token, quoted(TARGET[:-1])),
        'two targets': '/trk/c/%s?u=%s&u=%s' % (token, quoted(TARGET), quoted(evil)),
        'two targets, the other first': '/trk/c/%s?u=%s&u=%s' % (token, quoted(evil), quoted(TARGET)),
        'no target': '/trk/c/%s' % token,
        'an empty target': '/trk/c/%s?u=' % token,
        'a tampered token': '/trk/c/%s?u=%s' % (token[:10] + ('A' if token[10] != 'A' else 'B') + token[11:], quoted(TARGET)),
        'an open token': '/trk/c/%s?u=%s' % (t.token('open'), quoted(TARGET)),
        'a token of the click layout signed with the open key': '/trk/c/%s?u=%s' % (t.token('click', target=TARGET, key_kind='open'), quoted(TARGET)),
        'no token': '/trk/c/?u=%s' % quoted(evil),
        'a badly escaped target': '/trk/c/%s?u=%s%%4' % (token, quoted(TARGET)),
    }
    for url in ('javascript:alert(1)', '//evil.example/', '/relative', 'ftp://x.example/', 'https://x.example/\r\nSet-Cookie: a=b', 'https://x.example/' + 'a' * 2040, 'http://', ' https://x.example/'):
        cases['signed but no fit target %.24r' % url] = '/trk/c/%s?u=%s' % (t.token('click', target=url), quoted(url))
    for what, path in cases.items():
        r = t.call('GET', path)
        ok(r.status == 404 and r.get('Location') is None and r.get('Set-Cookie') is None and b'evil' not in r.body, '%s: 404 and no redirect' % what, r)
    same(t.new(), [], 'none of them is recorded')
    r = t.call('HEAD', '/trk/c/%s?u=%s' % (token, quoted(TARGET)))
    same((r.status, r.get('Location'), [(e['class'], e['reasons']) for e in t.new()]), (302, TARGET, [('scanner', ['head'])]), 'HEAD redirects but counts as machine')
    longest = 'https://x.example/' + 'a' * (2048 - 18)
    r = t.call('GET', '/trk/c/%s?u=%s' % (t.token('click', target=longest), quoted(longest)))
    same((r.status, r.get('Location')), (302, longest), 'a target of 2,048 bytes')
    r = t.call('GET', '/trk/l/%s' % t.token('link', link=5))
    same(r.status, 404, 'a short link that no table knows: 404')
    t.new()


def unsubscribes(t):
    token = t.token('unsubscribe', recipient=13)
    path = '/trk/u/' + token
    r = t.call('GET', path)
    ok(r.status == 200 and b'<form method="post"' in r.body and r.get('Set-Cookie') is None and 'text/html' in r.get('Content-Type'), 'GET shows a page with a button', r.body)
    same(t.call('HEAD', path).status, 200, 'HEAD too')
    for body in (b'', b'List-Unsubscribe=No', b'x=y'):
        same(t.call('POST', path, FORM, body).status, 400, 'POST of %r: 400' % body)
    same(t.new(), [], 'none of these changes anything')
    r = t.call('POST', path, FORM, ONE_CLICK)
    ok(r.status == 200 and r.get('Location') is None and r.get('Set-Cookie') is None, 'RFC 8058 one-click POST: 200, no cookie, no redirect', r)
    same([(e['type'], e['recipient'], e['method']) for e in t.new()], [('unsubscribe', 13, 'POST')], 'the event is there when the answer is')
    undo = r.body.decode().split('action="')[1].split('"')[0]
    multipart = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
    r = t.call('POST', path, [('Content-Type', 'multipart/form-data; boundary=x')], multipart)
    same((r.status, [e['type'] for e in t.new()]), (200, ['unsubscribe']), 'multipart does too, and again is harmless')
    with http1.Conn(t.s.address, t.port) as c:
        c.send(http1.request('POST', path, FORM + [('Transfer-Encoding', 'chunked')], http1.chunked(b'List-Unsub', b'scribe=One', b'-Click')))
        same((c.response('POST').status, [e['type'] for e in t.new()]), (200, ['unsubscribe']), 'and a chunked body')
    r = t.call('POST', undo, FORM, b'undo=1')
    same((r.status, [(e['type'], e['recipient']) for e in t.new()]), (200, [('resubscribe', 13)]), 'the button of the answer takes it back')
    old = t.token('unsubscribe', recipient=14, at=time.time() - 31 * 86400)
    same((t.call('POST', '/trk/u/' + old, FORM, b'undo=1').status, t.new()), (410, []), 'not after a month')
    same((t.call('POST', '/trk/u/' + old, FORM, ONE_CLICK).status, len(t.new())), (200, 1), 'unsubscribing is never too late')
    off = t.token('unsubscribe', recipient=15, level='off')
    same((t.call('POST', '/trk/u/' + off, FORM, ONE_CLICK).status, [e['recipient'] for e in t.new()]), (200, [15]), 'and independent of the tracking level')
    for bad in (t.token('open'), t.token('click', target=TARGET), token[:-2], 'x'):
        same((t.call('POST', '/trk/u/' + bad, FORM, ONE_CLICK).status, t.call('GET', '/trk/u/' + bad).status), (404, 404), 'another token: 404')
    same(t.call('POST', path, FORM, b'a' * 20000).status, 413, 'a large body: 413')
    same(t.new(), [], 'nothing of that is recorded')


def others(t):
    r = t.call('GET', '/trk/open?ref=%s&' % t.token('open', recipient=16))
    same((r.status, r.body, [(e['type'], e['recipient']) for e in t.new()]), (200, GIF, [('open', 16)]), 'the old form of an open')
    r = t.call('GET', '/trk/click?ref=%s&u=%s&' % (t.token('click', recipient=16, target=TARGET), quoted(TARGET)))
    same((r.status, r.get('Location'), [e['type'] for e in t.new()]), (302, TARGET, ['click']), 'the old form of a click')
    same([t.call('GET', p).status for p in ('/trk/open', '/trk/open?ref=x&', '/trk/click', '/trk/click?ref=x&', '/trk/click?ref=&u=https://evil.example/')], [200, 200, 404, 404, 404],
         'without a good token')
    r = t.call('GET', '/trk/t/' + t.token('trap', recipient=17))
    same((r.status, [e['type'] for e in t.new()]), (204, ['trap']), 'a trap: 204')
    same(t.call('GET', '/trk/t/x').status, 204, 'the same with a bad token')
    r = t.call('GET', '/robots.txt')
    same((r.status, r.body), (200, b'User-agent: *\nDisallow: /\n'), 'robots.txt')
    same(t.call('GET', '/favicon.ico').status, 204, 'favicon.ico')
    same([t.call('GET', p).status for p in ('/trk/', '/trk/nothing', '/trk/o/', '/trk/o/abc', '/trk/x/y/z')], [404] * 5, 'anything else: 404')
    token = t.token('open')
    for path, allow in (('/trk/o/%s.gif' % token, 'GET, HEAD'), ('/trk/c/x?u=y', 'GET, HEAD'), ('/trk/u/' + t.token('unsubscribe'), 'GET, HEAD, POST'), ('/robots.txt', 'GET, HEAD')):
        for method in ('PUT', 'DELETE', 'OPTIONS'):
            r = t.call(method, path)
            same((r.status, r.get('Allow')), (405, allow), '%s %s: 405 with Allow' % (method, path.split('?')[0][:8]))
    same(t.new(), [], 'none is recorded')


def machines(t):
    def judged(headers, **kw):
        t.call('GET', '/trk/o/%s.gif' % t.token('open', **kw), headers)
        return [(e['class'], e['reasons']) for e in t.new()]
    # the trap before came from our address: what follows from there is a machine for a while, so here another address is used
    same(judged([('User-Agent', 'Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)')]), [('proxy', ['agent'])], 'GoogleImageProxy')
    same(judged([('User-Agent', 'Mozilla/5.0')]), [('prefetch', ['agent'])], "Apple's Mail Privacy Protection")
    same(judged([('User-Agent', 'curl/7.88.1')]), [('bot', ['agent'])], 'a tool')
    same(judged([]), [('unknown', ['no-agent'])], 'nobody')
    same(judged(HUMAN + [('Sec-Purpose', 'prefetch')]), [('prefetch', ['purpose'])], 'Sec-Purpose')
    same(judged(HUMAN + [('Purpose', 'prefetch')]), [('prefetch', ['purpose'])], 'Purpose')
    same(judged(HUMAN), [('human', [])], 'a person')
    with http1.Conn(t.s.address, t.port) as c:  # one connection is one worker
        for link in range(1, 5):
            c.call('GET', '/trk/c/%s?u=%s' % (t.token('click', recipient=18, link=link, target=TARGET), quoted(TARGET)), HUMAN)
        same([(e['class'], e['reasons']) for e in t.new()], [('human', [])] * 2 + [('scanner', ['burst'])] * 2, 'a burst over several links')
        c.call('GET', '/trk/t/' + t.token('trap', recipient=19), HUMAN)
        c.call('GET', '/trk/o/%s.gif' % t.token('open', recipient=19), HUMAN)
        same([(e['type'], e['class'], 'trap' in e['reasons']) for e in t.new()][1:], [('open', 'scanner', True)], 'what follows a trap')


def levels(t):
    def recorded(level):
        t.call('GET', '/trk/o/%s.gif' % t.token('open', recipient=20, level=level))
        return t.new()
    same(recorded('off'), [], 'level off: nothing')
    ev = recorded('blind')[0]
    ok('recipient' not in ev and 'pseudonym' not in ev, 'blind: nobody', ev)
    a, b = recorded('anonymous')[0], recorded('anonymous')[0]
    ok('recipient' not in a and len(a['pseudonym']) == 16 and a['pseudonym'] == b['pseudonym'], 'anonymous: a pseudonym, the same each time', (a, b))
    same(recorded('network')[0]['level'], 'personal', "network is lowered to the installation's level")


def high_and_low():
    with Server(components='tracker', settings={'TrackingLevel': 'network'}) as s:
        t = Site(s)
        t.call('GET', '/trk/o/%s.gif' % t.token('open', level='network'))
        ev = t.new()[0]
        ok(ev['level'] == 'network' and ev['address'].startswith('127.') and 'Chrome/130' in ev['agent'], 'TrackingLevel network: address and agent', ev)
    with Server(components='tracker', settings={'TrackingLevel': 'off'}) as s:
        t = Site(s)
        r = t.call('GET', '/trk/o/%s.gif' % t.token('open'))
        c = t.call('GET', '/trk/c/%s?u=%s' % (t.token('click', target=TARGET), quoted(TARGET)))
        same((r.status, c.status, c.get('Location'), t.new()), (200, 302, TARGET, []), 'TrackingLevel off: all is answered, nothing recorded')
        same((t.call('POST', '/trk/u/' + t.token('unsubscribe'), FORM, ONE_CLICK).status, [e['type'] for e in t.new()]), (200, ['unsubscribe']), 'but unsubscribes')


def keys():
    """A retired key verifies for 400 days; then links redirect, unsubscribes are taken, nothing else is recorded."""
    now, day = int(time.time()), 86400
    with Server(start=False, **QUICK) as s:
        folder = os.path.join(s.state, 'keys')
        os.makedirs(folder, 0o700)
        with open(os.open(os.path.join(folder, 'tracker.keys'), os.O_WRONLY | os.O_CREAT, 0o600), 'w') as f:
            f.write('1 %s %d %d\n2 %s %d %d\n3 %s %d -\n' % ('11' * 32, now - 900 * day, now - 401 * day, '22' * 32, now - 401 * day, now - 399 * day, '33' * 32, now - 399 * day))

        def sealer(number, text):
            path = os.path.join(s.dir, 'key%d' % number)
            with open(path, 'w') as f:
                f.write('%d %s %d -\n' % (number, text * 32, now))
            return token_make.Sealer(path)
        old, middle, unknown = sealer(1, '11'), sealer(2, '22'), sealer(9, '99')
        s.start()
        t = Site(s)
        def click(token):
            return '/trk/c/%s?u=%s' % (token, quoted(TARGET))
        r = t.call('GET', click(old.token('click', 7, 31, 1, TARGET, at=HOUR_AGO)))
        same((r.status, r.get('Location'), t.new()), (302, TARGET, []), 'a key that has run out: the click still redirects, nothing is recorded')
        same((t.call('GET', '/trk/o/%s.gif' % old.token('open', 7, 31, 0, at=HOUR_AGO)).body, t.new()), (GIF, []), 'its open is not recorded')
        r = t.call('GET', click(old.token('click', 7, 31, 1, TARGET, at=HOUR_AGO).replace('A', 'B', 1)))
        same((r.status, r.get('Location')), (404, None), 'a tampered one still does not redirect')
        same((t.call('POST', '/trk/u/' + old.token('unsubscribe', 7, 31, 0, at=HOUR_AGO), FORM, ONE_CLICK).status, len(t.new())), (200, 1), 'but it unsubscribes')
        r = t.call('GET', click(middle.token('click', 7, 32, 1, TARGET, at=HOUR_AGO)))
        same((r.status, [e['recipient'] for e in t.new()]), (302, [32]), 'a key retired less than 400 days ago is as good as any')
        r = t.call('GET', click(unknown.token('click', 7, 33, 1, TARGET, at=HOUR_AGO)))
        same((r.status, t.new()), (404, []), 'an unknown key: 404')
        before = s.mint(url=TARGET)
        same(s.command('mint', '--new-key')[0], 0, 'mint --new-key')
        same(s.reload()[0], 0, 'a reload')
        after = s.mint(url=TARGET)
        for links in (before, after):
            p = urllib.parse.urlsplit(links['click'])
            r = t.call('GET', p.path + '?' + p.query)
            same((r.status, r.get('Location')), (302, TARGET), 'links of before and after both work')


def keys_gone():
    """Nothing makes a new ring where links of the old one are out there: a reload and mint refuse, an engine that must says it loudly."""
    with Server(**QUICK) as s:
        t = Site(s)
        p = urllib.parse.urlsplit(s.mint(url=TARGET)['click'])
        def works():
            return t.call('GET', p.path + '?' + p.query).status
        ring, kept = os.path.join(s.state, 'keys', 'tracker.keys'), os.path.join(s.state, 'kept')
        os.rename(ring, kept)
        code, text = s.reload()
        ok(code == 1 and 'tracker.keys: ' in text and 'backup' in text and not os.path.exists(ring), 'without the file with the keys a reload is refused', text)
        same(works(), 302, 'and links go on')
        code, text = s.check()
        ok(code == 1 and 'tracker.keys: ' in text and 'backup' in text, 'check says so before', text)
        code, out, err = s.command('mint', '--campaign', 1, '--recipient', 1)
        ok(code == 1 and 'backup' in err and not os.path.exists(ring), 'mint makes no ring of its own there', (code, out, err))
        mark = s.log_mark()
        os.kill(s.supervisor_pid(), signal.SIGUSR2)
        wait_until('an answer to SIGUSR2', lambda: 'SIGUSR2 REFUSED' in s.command('status')[1] or works() == 404)
        ok('tracker.keys: ' in s.log_since(mark) and not os.path.exists(ring), 'no engine takes over without them', s.log_since(mark))
        same(works(), 302, 'the one that has them serves on')
        mark = s.log_mark()
        s.crash_engine()
        ok('WAS MISSING' in s.log_since(mark) and 'reload' in s.log_since(mark), 'an engine that is started without says what that means', s.log_since(mark))
        same(works(), 404, 'since no link of before is known')
        os.rename(kept, ring)
        same((s.check()[0], s.reload()[0], works()), (0, 0, 302), 'until the file is put back')
        os.chmod(ring, 0o644)
        same([(code, 'others may read the tracking keys' in text) for code, text in (s.check(), s.reload())], [(1, True)] * 2, 'check and reload mind who may read it')
        os.chmod(ring, 0o600)


def minted():
    with Server(**QUICK) as s:
        t = Site(s)
        got = s.mint(campaign=9, recipient=8, link=7, url=TARGET)
        same(sorted(got), ['click', 'headers', 'open', 'unsubscribe'], 'mint prints JSON')
        same(got['headers'], {'List-Unsubscribe': '<%s>' % got['unsubscribe'], 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click'}, 'with the two header fields')
        for name, status in (('open', 200), ('click', 302)):
            p = urllib.parse.urlsplit(got[name])
            same((p.netloc, t.call('GET', p.path + ('?' + p.query if p.query else '')).status), ('localhost:8080', status), 'the %s works' % name)
        same([(e['campaign'], e['recipient'], e['link']) for e in t.new()], [(9, 8, 0), (9, 8, 7)], 'and says whose it is')
        code, out, _ = s.command('mint', '--campaign', '9', '--recipient', '8', '--kind', 'trap', '--base', 'https://t.example:444/x/')
        ok(code == 0 and json.loads(out)['trap'].startswith('https://t.example:444/x/trk/t/'), '--kind and --base', out)
        for args, want in ((['--recipient', '8'], 2), (['--campaign', 'x', '--recipient', '8'], 2), (['--campaign', '1', '--recipient', '8', '--level', 'all'], 2),
                           (['--campaign', '1', '--recipient', '8', '--kind', 'click'], 2), (['--campaign', '1', '--recipient', '8', '--base', 'x'], 2),
                           (['--campaign', '1', '--recipient', '8', '--url', 'ftp://x'], 1), (['--campaign', '1', '--recipient', '8', 'more'], 2), (['--help'], 0)):
            code, out, err = s.command('mint', *args)
            ok(code == want and (out if want == 0 else err), 'mint %s: exit %d' % (' '.join(args), want), (code, out, err))
        code, out, _ = s.command('events')
        ok(code == 0 and len(out.splitlines()) == 3 and ' open ' in out and 'campaign=9' in out and out.splitlines()[-1].startswith('position '), 'events for people', out)
        position = out.split()[-1]
        code, out, _ = s.command('events', '--json', '--after', position)
        same((code, out), (0, ''), 'events --after')
        same([s.command('events', *a)[0] for a in (['--after', 'x'], ['--nonsense'], ['--help'])], [2, 2, 0], 'events: exit status 2 for wrong usage')
        same(command('events', '--state', os.path.join(s.dir, 'no-such'))[0], 1, 'events without a spool: 1')


def transfer(t):
    port = t.s.port('communications')

    def ask(method, path):
        return http1.get(t.s.address, port, path, method=method, headers=[], body=b'')
    r = ask('GET', '/events?after=0')
    lines = [json.loads(x) for x in r.body.splitlines()]
    same((r.status, r.get('Content-Type'), r.get('X-Tracker-Id')), (200, 'application/x-ndjson', 'trk1'), 'GET /events: NDJSON')
    last = int(r.get('X-Last-Position'))
    ok(len(lines) > 10 and lines == t.s.events() and last > 0 and int(r.get('X-Spool-Epoch')) == lines[-1]['epoch'] and r.get('X-Spool-Newest') == str(last), 'with all events and its place', r.headers)
    r = ask('GET', '/events?after=%d' % last)
    same((r.status, r.body, int(r.get('X-Last-Position'))), (200, b'', last), 'nothing behind the last')
    with http1.Conn(t.s.address, port, timeout=30) as c:
        c.send(http1.request('GET', '/events?after=%d&wait=20000' % last))
        t.call('GET', '/trk/o/%s.gif' % t.token('open', recipient=41))
        r = c.response()
        same([json.loads(x)['recipient'] for x in r.body.splitlines()], [41], 'a waiting reader gets an event as it is committed')
        last = int(r.get('X-Last-Position'))
    same(ask('POST', '/ack?reader=two&position=0').status, 200, 'a second reader says that it is there')
    same(ask('POST', '/ack?reader=one&position=%d' % last).status, 200, 'the first acknowledges everything')
    ok(len(t.s.events()) > 10, 'nothing is deleted for the second has nothing yet')
    same(ask('POST', '/ack?reader=two&position=%d' % last).status, 200, 'the second does')
    wait_until('acknowledged events to be deleted', lambda: len(t.s.events()) <= 1)
    for method, path, want in (('POST', '/ack?reader=one&position=%d' % (last + 1000), 409), ('POST', '/ack?position=1', 400), ('POST', '/ack?reader=a%2Fb&position=1', 409),
                               ('GET', '/events?after=x', 400), ('GET', '/events?after=1&after=2', 400), ('GET', '/ack?reader=one&position=1', 405), ('POST', '/events', 405)):
        same(ask(method, path).status, want, '%s %s: %d' % (method, path.replace(str(last + 1000), 'beyond'), want))
    same(http1.get(t.s.address, t.port, '/events?after=0').status, 404, 'not on the port for recipients')


def killed():
    """What was answered is there after kill -9; sequences have no gap; an epoch is one life."""
    with Server(**QUICK) as s:
        t = Site(s)
        for life in range(3):
            for _ in range(10):
                ok(t.call('GET', '/trk/o/%s.gif' % t.token('open')).status == 200, 'answered')
            pid = s.kill_engine()
            wait_until('a new engine', lambda: (lambda p: p and p != pid)(s.engine_pid()))
            same(t.call('GET', '/trk/o/%s.gif' % t.token('open')).status, 200, 'a call after kill -9 is answered, not refused')
        got = s.events()
        seqs = {}
        for e in got:
            seqs.setdefault(e['epoch'], []).append(e['seq'])
        ok(len(got) == 33 and len(set(e['recipient'] for e in got)) == 33, 'all 33 are there exactly once', len(got))
        ok(len(seqs) == 4 and all(v == list(range(1, len(v) + 1)) for v in seqs.values()), 'epochs and sequences', seqs)


with Server(**QUICK) as server:
    site = Site(server)
    opens(site)
    clicks(site)
    unsubscribes(site)
    levels(site)
    others(site)
    transfer(site)
with Server(**QUICK) as server:
    machines(Site(server))
high_and_low()
keys()
keys_gone()
minted()
killed()
done()
