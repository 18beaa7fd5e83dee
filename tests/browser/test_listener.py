#!/usr/bin/python3
"""The hub's page of one listener in a real Chromium at desktop and phone width: every entry has a labelled field, described by what it is and where it
stands; a rate, PROXY headers and a tunnel are set with what a browser sends; a wrong value is said at its field, in what opens by itself.

Environment: SHOTS=folder keeps pictures of the pages.
"""
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
sys.path.insert(0, HERE)
import http1
import proxyline
import webdriver
from backends import Backend, says
from portreeve import Server, free_ports
from tap import done, ok, same, skip
from visit import log_in, look, set_up, shot

LISTENERS = '''# kept by hand: this comment stays
work.Port=%d
work.Address=%s
work.Services=tracker
work.Colour=green
work.PrefixIPv6=56
work.Label-site=north
work.2.Port=%d
work.2.Address=%s
'''
# Fields that a screen reader cannot tell: without a name, or described by what is not there or says nothing.
MUTE = r'''
const bad = [];
for (const e of document.querySelectorAll('#listener input:not([type=hidden]):not([type=checkbox]), #listener select, #listener fieldset.ticks')) {
  const named = e.matches('fieldset') ? e.querySelector('legend') : e.labels && e.labels[0];
  if (!named || !named.textContent.trim()) bad.push(e.id + ' has no name');
  const by = (e.getAttribute('aria-describedby') || '').split(' ').filter(Boolean);
  if (!by.length) bad.push((e.id || e.name) + ' is not described');
  for (const id of by) if (!document.getElementById(id) || !document.getElementById(id).textContent.trim()) bad.push(e.id + ': ' + id);
}
return bad;
'''
VALUE = 'return document.getElementById(arguments[0]).value'


def put(browser, entry, text, name='work'):
    """As a hand does it: what is folded away is opened first."""
    field = '%s.%s' % (name if name.startswith('+') else 'l.' + name, entry)
    browser.js('const d = document.getElementById(arguments[0]).closest("details"); if (d && !d.open) d.querySelector("summary").click()', field)
    if browser.js('return document.getElementById(arguments[0]).tagName', field) == 'SELECT':
        browser.call('POST', '/element/%s/click' % browser.find('[id="%s"] option[value="%s"]' % (field, text)))
    else:
        browser.type('[id="%s"]' % field, text)


def tick(browser, word, on, name='work'):
    field = '%s.Services.%s' % (name if name.startswith('+') else 'l.' + name, word)
    if browser.js('return document.getElementById(arguments[0]).checked', field) != on:
        browser.call('POST', '/element/%s/click' % browser.find('[id="%s"]' % field))


def update(browser):
    browser.click('#listener button.main')


def applied(browser, what):
    same(browser.text('h1'), 'This would change', what + ': shown first')
    browser.click('.ask button.main')
    same((browser.text('h1'), 'The change is in force.' in browser.text('main')), ('Done', True), what + ': in force')
    ok('work.Colour=green: unknown entry' in browser.text('main'), what + ': and the warning about what nobody knows is shown', browser.text('main'))
    browser.click('.ask p a')


def described(browser, entry, name='work'):
    """Everything a field is described by, as one text."""
    return browser.js('return document.getElementById(arguments[0]).getAttribute("aria-describedby").split(" ").map(i => '
                      'document.getElementById(i).textContent).join(" | ")', 'l.%s.%s' % (name, entry))


def is_open(browser, entry, name='work'):
    return browser.js('return document.getElementById(arguments[0]).closest("details").open', 'l.%s.%s' % (name, entry))


def tour(browser, server, base):
    want = ['Address and port', 'Who may come', 'Limits and rates', 'Behind a proxy', 'Service and backend', 'conf/listeners.ini:2 work.Port']
    look(browser, base, '/hub/listeners/work', 'listener', want)
    same(browser.js(MUTE), [], 'every field has a name and a description that is there')
    ok('conf/listeners.ini:6 work.PrefixIPv6' in described(browser, 'PrefixIPv6') and '16 to 128 bits' in described(browser, 'PrefixIPv6'),
       'a field is described by what it takes and the line where it stands', described(browser, 'PrefixIPv6'))
    ok('Not set.' in described(browser, 'RateRequests') and 'Default: 0.' in described(browser, 'RateRequests'), 'or that it is not set, and the default')
    same([is_open(browser, x) for x in ('PrefixIPv6', 'Label-site', 'Proxy', 'Backlog')], [True, True, False, False], 'what is set is open, the rest folded away')
    look(browser, base, '/hub/listeners/work.2', 'listener-further', ['takes from', 'Label-site=north'])
    same(browser.js(MUTE), [], 'the same of a further socket')
    look(browser, base, '/hub/listeners/http', 'listener-http', ['Limits and rates'])
    look(browser, base, '/hub/listeners/+1', 'listener-new', ['A new listener', 'May stay empty'])
    same(browser.js(MUTE), [], 'and of a new one')
    browser.size(390, 844)
    browser.go(base + '/hub/listeners/work')
    browser.js('document.querySelectorAll("details").forEach(d => d.open = true)')
    wide, inner = browser.js('return [document.documentElement.scrollWidth, window.innerWidth]')
    ok(wide <= inner, 'phone: nothing overflows with everything unfolded', '%d > %d' % (wide, inner))
    small = browser.js('return Array.from(document.querySelectorAll("#listener input:not([type=hidden]):not([type=checkbox]), #listener select"))'
                       '.filter(e => e.getBoundingClientRect().height < 36).map(e => e.id)')
    same(small, [], 'phone: every field is high enough for a thumb')
    browser.size(1280, 800)


def wrong(browser, server, base):
    before = server.read('listeners.ini')
    browser.go(base + '/hub/listeners/work')
    put(browser, 'RateConnectionsPerNet', '5 a minute')
    put(browser, 'Proxy', 'V2')
    put(browser, 'MaxConnections', '77')
    update(browser)
    said = browser.text('[id="l.work.RateConnectionsPerNet.fault"]')
    ok('not a rate: write how many in what time' in said, 'G6: a wrong value is said at its field, with what to do', said)
    same((is_open(browser, 'RateConnectionsPerNet'), is_open(browser, 'Proxy')), (True, True), 'in what has opened by itself')
    ok(said in described(browser, 'RateConnectionsPerNet') and browser.js(
        'return document.getElementById("l.work.RateConnectionsPerNet").getAttribute("aria-invalid")') == 'true', 'and read out with it')
    shot(browser, 'listener-wrong')
    same(browser.texts('main > .note.bad a'), ['Connects of one net'], 'the note above leads to it')
    browser.call('POST', '/element/%s/click' % browser.find('main > .note.bad a'))
    same(browser.js('return document.querySelector(":target").id'), 'l.work.RateConnectionsPerNet', 'to the field itself')
    same((browser.js(VALUE, 'l.work.MaxConnections'), browser.js(VALUE, 'l.work.Proxy')), ('77', 'V2'), 'what was typed stays')
    put(browser, 'RateConnectionsPerNet', '5/m')
    update(browser)
    said = browser.text('[id="l.work.Proxy.fault"]')
    ok('add work.ProxyFrom=NAME' in said, 'what the gate finds is said at the field too', said)
    same(server.read('listeners.ini'), before, 'G6: and nothing has changed')


def rates_and_proxy(browser, server, base):
    browser.go(base + '/hub/listeners/work')
    put(browser, 'RateRequests', '2/1h')
    put(browser, 'Proxy', 'V1')
    put(browser, 'ProxyFrom', '127.91.0.1/32')
    update(browser)
    applied(browser, 'a rate and PROXY headers')
    text = browser.text('[id="listener-work"]')
    ok('RateRequests=2/1h' in text and 'Proxy=V1' in text, 'the table says what is set beside its columns', text)
    ok('work.Colour=green' in server.read('listeners.ini') and server.read('listeners.ini').startswith('# kept by hand'), 'the file keeps what nobody knows')
    line = server.read('listeners.ini').splitlines().index('work.RateRequests=2/1h') + 1
    browser.click('[id="listener-work"] .c7 a')
    ok('listeners.ini:%d work.RateRequests' % line in described(browser, 'RateRequests'), 'the page says in which line', described(browser, 'RateRequests'))

    def ask(source, client):
        with http1.Conn(server.address, server.port('work'), source=source) as c:
            try:
                c.send(proxyline.v1(client, '192.0.2.80'))
                return [c.call('GET', '/robots.txt').status for _ in range(3)]
            except (http1.Closed, OSError):
                return None
    same(ask('127.91.0.1', '198.51.100.1'), [200, 200, 429], 'the caller whom the device names has two requests, the third is refused')
    same(ask('127.91.0.2', '198.51.100.2'), None, 'and nobody else is believed')


def tunnel(browser, server, base, port):
    backend = Backend(says('behind'))
    try:
        browser.go(base + '/hub/listeners')
        browser.click('#new-1 .c7 a')
        for entry, text in (('Name', 'way'), ('Port', str(port)), ('Address', server.address), ('Backend', '127.0.0.1:%d' % backend.port)):
            put(browser, entry, text, '+1')
        for word in ('tracker', 'ui', 'hub'):
            tick(browser, word, False, '+1')
        tick(browser, 'tunnel', True, '+1')
        update(browser)
        ok('Whoever may call way reaches 127.0.0.1:%d' % backend.port in browser.text('.note.warn'), 'a tunnel: the preview says whom it lets in where')
        applied(browser, 'a tunnel made from nothing')
        with socket.create_connection((server.address, port), timeout=20) as c:
            same(c.recv(100), b'behind here\n', 'G1: and it leads to its backend')
        same(browser.text('[id="listener-way"] .said-value'), 'tunnel', 'the table shows it')
    finally:
        backend.close()


def phone(browser, server, base):
    """A label given and an entry emptied with a thumb; a preview that somebody leaves changes nothing."""
    browser.size(390, 844)
    browser.go(base + '/hub/listeners/work')
    put(browser, 'Label-+1.Key', 'team')
    put(browser, 'Label-+1', 'mail')
    put(browser, 'PrefixIPv6', '')
    before = server.read('listeners.ini')
    update(browser)
    wide, inner = browser.js('return [document.documentElement.scrollWidth, window.innerWidth]')
    ok(wide <= inner, 'phone: the preview does not overflow', '%d > %d' % (wide, inner))
    browser.click('.ask a.button')
    same(server.read('listeners.ini'), before, 'phone: no is an answer')
    browser.go(base + '/hub/listeners/work')
    put(browser, 'Label-+1.Key', 'team')
    put(browser, 'Label-+1', 'mail')
    put(browser, 'PrefixIPv6', '')
    update(browser)
    applied(browser, 'phone')
    text = server.read('listeners.ini')
    ok('work.Label-team=mail' in text and 'PrefixIPv6' not in text, 'phone: a label is there, and the emptied entry gone', text)
    browser.size(1280, 800)


def locked_out(browser, server, base):
    """What decides who comes in is asked twice where it is the way of this very page."""
    mine = 'http://%s:%d' % (server.address, server.port('way2'))
    for entry, text, words in (('RateRequests', '2/1h', 'only 2 at once'), ('Proxy', 'V1', 'Proxy=V1 decides who comes in')):
        browser.go(mine + '/hub/listeners/way2')
        put(browser, entry, text, 'way2')
        if entry == 'Proxy':
            put(browser, 'ProxyFrom', '127.91.0.1', 'way2')
        update(browser)
        ok(words in browser.text('.ask .note.bad'), '%s: the preview says what happens to its own user' % entry, browser.text('main'))
        browser.click('.ask button.main')
        same(browser.text('h1'), 'Shut yourself out?', '%s: and it is asked a second time' % entry)
        browser.click('.ask a.button')
    ok('way2.Proxy' not in server.read('listeners.ini'), 'no is an answer')


def main():
    lacking = webdriver.missing()
    if lacking:
        skip('the page of a listener in a browser', lacking + ' is not installed (apt-get install chromium chromium-driver)')
        return
    s = Server(bind='own', ports=False, start=False, settings={'TunnelEdits': 'On'}, sets=(
        'tomcat.ini:Port=0', 'hub.ini:RMIPort=0', 'lui.ini:RMIPort=0', 'tracker.ini:RMIPort=0', 'tomcat.ini:ShutdownPort=-1'))
    work, second, own, way, seven = free_ports(5)
    s.edit('listeners.ini', LISTENERS % (work, s.address, second, s.address) + 'way2.Port=%d\nway2.Address=%s\n' % (own, s.address))
    s.append('tracker.ini', 'CommunicationsPort=%d\n' % seven)
    with s.start() as server, webdriver.Browser() as browser:
        base = 'http://%s:%d' % (server.address, server.port('http'))
        set_up(browser, server, base)
        log_in(browser, base)
        tour(browser, server, base)
        wrong(browser, server, base)
        rates_and_proxy(browser, server, base)
        tunnel(browser, server, base, way)
        phone(browser, server, base)
        locked_out(browser, server, base)
        same([f for f in browser.faults() if 'status of 422' not in f and 'status of 403' not in f], [], 'the browser complains about nothing on these pages')


main()
done()
