#!/usr/bin/python3
"""The hub's pages that change ports, in a real Chromium at desktop and phone width: listeners added, changed and removed, a conflict refused
with its holder named, a change that shuts its own user out asked for twice; the communications port; the addresses that people are given.

Environment: SHOTS=folder keeps pictures of the pages.
"""
import os
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
sys.path.insert(0, HERE)
import http1
import webdriver
from portreeve import Server, free_ports, wait_until
from tap import done, ok, same, skip
from visit import log_in, look, set_up, shot

LISTENERS = """# kept by hand: this comment stays
work.Port=%d
work.Address=%s
work.Services=tracker,hub

# and so does this one
spare.Port=%d
spare.Address=%s
spare.Services=tracker
"""
PIXEL = '/trk/o/none.gif'


def answers(address, port):
    """Status of the tracker's picture there, None where nobody listens."""
    try:
        return http1.get(address, port, PIXEL).status
    except ConnectionRefusedError:
        return None


def put(browser, field, text):
    browser.type('[id="%s"]' % field, text)


def press(browser, css='#listeners button.main'):
    browser.click(css)


def row(browser, name):
    return browser.text('[id="listener-%s"]' % name)


def main():
    lacking = webdriver.missing()
    if lacking:
        skip('the hub\'s listeners in a browser', lacking + ' is not installed (apt-get install chromium chromium-driver)')
        return
    s = Server(bind='own', ports=False, start=False, sets=('tomcat.ini:Port=0', 'hub.ini:RMIPort=0', 'lui.ini:RMIPort=0', 'tracker.ini:RMIPort=0',
                                                           'tomcat.ini:ShutdownPort=-1'))
    work, spare, seven, *rest = free_ports(9)
    s.edit('listeners.ini', LISTENERS % (work, s.address, spare, s.address))
    s.append('tracker.ini', 'CommunicationsPort=%d\n' % seven)
    with s.start() as server, webdriver.Browser() as browser:
        base = 'http://%s:%d' % (server.address, server.port('http'))
        set_up(browser, server, base)
        log_in(browser, base)
        tour(browser, server, base, work)
        add(browser, server, base, rest[0])
        change(browser, server, base, rest[0], rest[1])
        conflicts(browser, server, base, work, rest[2])
        remove(browser, server, base, rest[1])
        communications(browser, server, base, work, seven, rest[3])
        addresses(browser, server, base, spare)
        # A refused form is a 422, a used set-up link a 403: the browser notes both.
        same([f for f in browser.faults() if 'status of 422' not in f and 'status of 403' not in f], [],
             'the browser complains about nothing on these pages')
        phone(browser, server, base, rest[4])
        locked_out(browser, server, base, work)


def tour(browser, server, base, work):
    look(browser, base, '/hub/listeners', 'listeners', [
        'accepting connections on %s:%d' % (server.address, work),                         # Q16
        'conf/listeners.ini:2 work.Port', 'policies/bind.lua:', 'Rule R7', 'Update'])        # the rule behind each
    look(browser, base, '/hub/ports', 'ports', ['TCP %d, from that list' % server.port('internal'), 'this machine only'])
    look(browser, base, '/hub/trk/general', 'communications', ['Communications port', 'CommunicationsPort'])
    look(browser, base, '/hub/lui/database', 'database', ['System Database Status', 'MySQL ConnectorJ Database Plugin', 'Internal Database'])
    look(browser, base, '/hub/lui/urls', 'urls', ['LUI Access URL for Users', 'Default Tracking URL', 'Inherited'])
    browser.go(base + '/hub/listeners')
    same(len(browser.all('[id="l.http.Port"]')), 0, 'sockets of tomcat.ini are shown, and not changed here')
    ok('tomcat.ini' in row(browser, 'http'), 'the row says which file makes them', row(browser, 'http'))


def add(browser, server, base, port):
    """The last row, whose port is 0 (G6)."""
    before = server.read('listeners.ini')
    same(browser.js('return document.getElementById("+1.Port").value'), '0', 'G6: the last row has port 0')
    put(browser, '+1.Name', 'extra')
    put(browser, '+1.Port', str(port))
    put(browser, '+1.Address', server.address)
    press(browser)
    same(browser.text('h1'), 'This would change', 'a change is shown before it is made')
    text = browser.text('main')
    ok('extra.Port=%d' % port in text and '%s:%d' % (server.address, port) in text, 'with the entries and what they do to the sockets', text)
    shot(browser, 'preview')
    same((answers(server.address, port), server.read('listeners.ini')), (None, before), 'until then nothing has happened')
    browser.click('.ask button.main')
    same(browser.texts('main > .note.good'), ['The listeners have been changed; the table shows what is in force.'], 'applied')
    text = row(browser, 'extra')
    line = server.read('listeners.ini').splitlines().index('extra.Port=%d' % port) + 1
    ok('accepting connections on %s:%d' % (server.address, port) in text and 'listeners.ini:%d extra.Port' % line in text,
       'the new listener stands in the table with the line of the file that made it', text)
    same(answers(server.address, port), 200, 'G6: and answers')
    ok(server.read('listeners.ini').startswith(before.rstrip('\n')), 'the file keeps its comments and its order', server.read('listeners.ini'))


def change(browser, server, base, old, new):
    put(browser, 'l.extra.Port', str(new))
    browser.js('document.getElementById("l.extra.Services.ui").checked = false')
    press(browser)
    browser.click('.ask button.main')
    same((answers(server.address, old), answers(server.address, new)), (None, 200), 'the changed port answers, the old one is closed')
    ok('tracker,hub' in server.read('listeners.ini').split('extra.Services=')[1].splitlines()[0], 'and so says the file', server.read('listeners.ini'))


def conflicts(browser, server, base, work, taken):
    """Refused at the row, with what was typed kept and the holder named; nothing is changed (G4, G6, E3, E5)."""
    before = server.read('listeners.ini')
    # Without capabilities, like a service of its own user: a supervisor that has given up its own may look into no stronger process.
    plain = ['setpriv', '--inh-caps=-all', '--bounding-set=-all'] if os.geteuid() == 0 else []
    holder = subprocess.Popen(plain + ['/usr/bin/python3', '-m', 'http.server', '--bind', server.address, str(taken)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        wait_until('the other program', lambda: socket.socket().connect_ex((server.address, taken)) == 0)
        put(browser, 'l.spare.Port', str(taken))
        press(browser)
        said = browser.text('[id="listener-spare"] .fault')
        ok('%d' % holder.pid in said and 'python3' in said, 'E3: a port of another program is refused, and its holder named', said)
        shot(browser, 'conflict')
        same(browser.js('return document.getElementById("l.spare.Port").value'), str(taken), 'what was typed stays')
        ok('Nothing has been changed' in browser.text('main .note.bad'), 'and it says that nothing has been changed')
    finally:
        holder.kill()
        holder.wait()
    browser.go(base + '/hub/listeners')
    put(browser, '+1.Port', str(work))
    put(browser, '+1.Name', 'twice')
    put(browser, '+1.Address', '*')
    put(browser, 'l.extra.Port', '70000')
    press(browser)
    ok('70000' in browser.text('[id="listener-extra"] .fault'), 'G6: an invalid number is named at its row', browser.text('#listeners'))
    browser.go(base + '/hub/listeners')
    put(browser, '+1.Port', str(work))
    put(browser, '+1.Name', 'twice')
    put(browser, '+1.Address', '*')
    press(browser)
    ok('work' in browser.text('#new-1 .fault'), 'G4: all addresses on a port that one listener has are refused on paper', browser.text('main'))
    same(server.read('listeners.ini'), before, 'G6: a refused update changes nothing')


def remove(browser, server, base, port):
    browser.go(base + '/hub/listeners')
    put(browser, 'l.extra.Port', '0')
    press(browser)
    ok('listener extra removed' in browser.text('.edits'), 'G7: port 0 asks for the removal', browser.text('main'))
    browser.click('.ask button.main')
    same(len(browser.all('[id="listener-extra"]')), 0, 'G7: the listener is gone from the table')
    ok('extra.' not in server.read('listeners.ini'), 'and from the file', server.read('listeners.ini'))
    same(answers(server.address, port), None, 'and its port is closed')


def communications(browser, server, base, work, old, new):
    """TRK Settings → General Administration (M56, M57)."""
    def update(text):
        browser.go(base + '/hub/trk/general')
        put(browser, 'port', text)
        browser.click('#communications button.main')
    update(str(old))
    ok('already' in browser.text('main > .note.good'), 'M57: the same port is no change')
    for port, name in ((work, 'work'), ('70000', 'not a port')):
        update(str(port))
        ok('The port stays %d' % old in browser.text('.note.bad') and name in browser.text('.note.bad'), 'M56: %s is refused' % port,
           browser.text('main'))
        same(server.port('communications'), old, 'M56: with the old one left working')
    update(str(new))
    browser.click('.ask button.main')
    same(browser.texts('main > .note.good'), ['The communications port has been changed and is in force.'], 'M57: a free one is taken at once')
    same((server.port('communications'), 'CommunicationsPort=%d' % new in server.read('tracker.ini')), (new, True), 'M57: and stands in the file')
    same(http1.get('127.0.0.1', new, '/events?after=0&wait=0').status, 200, 'M57: events are given out there')


def addresses(browser, server, base, spare):
    """URL Settings: a port nobody has is warned about, the self-test says who answers, a port about to close is named (M33, M38, M43)."""
    browser.go(base + '/hub/lui/urls')
    put(browser, 'url-users', 'http://news.example.org:9/lui')
    put(browser, 'url-tracking', 'http://%s:%d' % (server.address, spare))
    browser.click('#urls button.main')
    ok('no socket of this server has port 9' in browser.text('#urls'), 'M33: a port that no socket has is said', browser.text('#urls'))
    events = server.counter('events')
    browser.click('#selftest button')
    ok('the tracker of this installation answered' in browser.text('#selftest .note.good'), 'M43: the self-test knows its own tracker',
       browser.text('#selftest'))
    same(server.counter('events'), events, 'M43: and records nothing')
    shot(browser, 'urls-set')
    with socket.socket() as s:  # somebody else's web server
        s.bind((server.address, 0))
        s.listen()
        browser.go(base + '/hub/lui/urls')
        put(browser, 'url-tracking', 'http://%s:%d' % s.getsockname())
        browser.click('#urls button.main')
        s.close()
        browser.click('#selftest button')
    ok('nobody answered' in browser.text('#selftest .note.bad'), 'M43: where nobody answers it says so', browser.text('#selftest'))
    browser.go(base + '/hub/lui/urls')
    put(browser, 'url-tracking', 'http://%s:%d' % (server.address, spare))
    browser.click('#urls button.main')
    browser.go(base + '/hub/listeners')
    put(browser, 'l.spare.Port', '0')
    press(browser)
    ok('Links in mails' in browser.text('.note.warn'), 'M38: before a port closes the addresses that go with it are named', browser.text('main'))
    browser.click('.ask a.button')


def phone(browser, server, base, port):
    """Added and removed with a thumb."""
    browser.size(390, 844)
    browser.go(base + '/hub/listeners')
    put(browser, '+1.Port', str(port))
    put(browser, '+1.Address', server.address)
    press(browser)
    wide, inner = browser.js('return [document.documentElement.scrollWidth, window.innerWidth]')
    ok(wide <= inner, 'phone: the preview does not overflow', '%d > %d' % (wide, inner))
    shot(browser, 'preview-phone')
    browser.click('.ask button.main')
    same(answers(server.address, port), 200, 'phone: a listener without a name is added')
    put(browser, 'l.port%d.Port' % port, '0')
    press(browser)
    browser.click('.ask button.main')
    same(answers(server.address, port), None, 'phone: and removed')
    browser.size(1280, 800)


def locked_out(browser, server, base, work):
    """By the very socket that is to be closed (G7): asked twice, then done, and the answer arrives."""
    mine = 'http://%s:%d' % (server.address, work)
    browser.go(mine + '/hub/listeners')  # the session's cookie knows no ports
    before = server.read('listeners.ini')
    put(browser, 'l.work.Port', '0')
    press(browser)
    ok('carries this very page' in browser.text('.ask .note.bad'), 'the preview says that this way is closed', browser.text('main'))
    browser.click('.ask button.main')
    same(browser.text('h1'), 'Shut yourself out?', 'and it is asked a second time')
    shot(browser, 'shut-out')
    same((server.read('listeners.ini'), answers(server.address, work)), (before, 200), 'until then nothing has happened')
    browser.click('.ask a.button')
    ok(browser.url.endswith('/hub/listeners'), 'no is an answer')
    put(browser, 'l.work.Port', '0')
    press(browser)
    browser.click('.ask button.main')
    browser.click('.ask button.main')
    same(browser.text('h1'), 'Done', 'yes is done, and its answer arrives by the way that closes')
    ok(base + '/hub/' in browser.texts('.ask a'), 'it names where the hub is now', browser.text('main'))
    wait_until('the closed port', lambda: answers(server.address, work) is None)
    ok('work.' not in server.read('listeners.ini'), 'G7: the listener that carried the request is gone', server.read('listeners.ini'))
    browser.go(base + '/hub/listeners')
    same(len(browser.all('[id="listener-work"]')), 0, 'and the hub goes on elsewhere')
    audit = server.rows("select account, detail from audit where what = 'listeners' order by at_ms", db='system.db')
    ok(audit and audit[-1][0] == 'ada' and 'listener work removed' in audit[-1][1], 'every change is written down with who made it', str(audit))


main()
done()
