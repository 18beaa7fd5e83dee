#!/usr/bin/python3
"""Hub and ui in a real Chromium: from the set-up link to a campaign's report, at desktop and phone width, light and dark, without scripts.

Environment: SHOTS=folder keeps pictures of the pages.
"""
import os
import sys
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
sys.path.insert(0, HERE)
import http1
import webdriver
from portreeve import SLOW, Server, wait_until
from tap import done, note, ok, same, skip
from visit import PASSWORD, log_in, look, set_up, shot

AGENT = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'
BOT = 'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'


def read_mail(server):
    """Real opens and clicks of campaign 7, by people and by a robot."""
    port = server.port('http')
    for recipient in range(1, 9):
        links = server.mint(7, recipient, 1 + recipient % 3, 'https://example.org/offer')
        agent = BOT if recipient == 8 else AGENT
        for name in ('open', 'open', 'click') if recipient % 2 else ('open',):
            parts = urllib.parse.urlsplit(links[name])
            answer = http1.get(server.address, port, parts.path + ('?' + parts.query if parts.query else ''), headers={'User-Agent': agent})
            ok(answer.status in (200, 302), 'the tracker answers %s of recipient %d' % (name, recipient), repr(answer))
    return 8 + 2 * 4


def main():
    lacking = webdriver.missing()
    if lacking:
        skip('hub and ui in a browser', lacking + ' is not installed (apt-get install chromium chromium-driver)')
        return
    # Links made and followed within the first seconds of a minute count as a machine's otherwise (a token knows its minute only).
    with Server(sets=[('tracker.ini:EarlyTime', '0')]) as server, webdriver.Browser() as browser:
        base = 'http://127.0.0.1:%d' % server.port('http')
        browser.go(base + '/hub/')
        ok('No account yet' in browser.text('h1'), 'no default password: without an account nobody logs in')
        set_up(browser, server, base)
        pages(browser, server, base)
        encrypted(server)


def pages(browser, server, base):
    log_in(browser, base, password='not the password')
    same(browser.texts('.note.bad'), ['That account and password do not match.'], 'a wrong password is refused')
    shot(browser, 'login')
    log_in(browser, base)
    same(browser.url, base + '/hub/', 'log-in leads to the hub')
    cookie = browser.cookies()['portreeve']
    ok(cookie['httpOnly'] and cookie.get('sameSite') == 'Strict' and cookie['path'] == '/', 'the session cookie is HttpOnly and SameSite=Strict',
       str(cookie))
    same(browser.js('return document.cookie'), '', 'no script could read the session')
    sent = read_mail(server)
    wait_until('events in the ui', lambda: (server.rows('select count(*) from events') or [(0,)])[0][0] >= sent, 60)
    wait_until('contact with the tracker', lambda: server.rows("select 1 from contact where component = 'tracker' and seen_ms is not null",
               db='system.db'), 60)
    browser.faults()
    look(browser, base, '/hub/', 'hub', ['Listeners', 'accepting connections on 127.0.0.1:%d' % server.port('ops'), 'Rule R1', 'Tracker',
                                         'Running', 'Certificates', 'days left', 'Reload configuration'])
    look(browser, base, '/lui/', 'campaigns', ['Campaign 7', 'Events up to'])
    look(browser, base, '/lui/campaign/7', 'campaign', ['Opens', 'Clicks', 'People', 'Machines', 'unique', 'Recipients', 'Link 2',
                                                        'The same as a table'])
    report(browser, server)
    same(browser.faults(), [], 'the browser complains about nothing on these pages')
    reload_button(browser, base)
    log_out(browser, base)


def report(browser, server):
    same(len(browser.all('figure svg[role=img] title')), 2, 'two plots, each described in words')
    # The page has just changed its size: what is asked while it is laid out anew may be empty.
    boxes = wait_until('bars in the plots', lambda: browser.js('return Array.from(document.querySelectorAll("figure rect.human"))'
                       '.map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])'), 10)
    ok(boxes and all(w > 1 and h > 1 for w, h in boxes), 'the plots have bars', str(boxes))
    want = server.rows("select count(*), count(distinct who) from events where campaign = 7 and type = 'open' and class in ('human', 'unknown')")[0]
    same(browser.texts('.figure .human dd b')[0], str(want[0]), 'opens by people are those in the database')
    same(browser.texts('.figure .human dd span')[0], '%d unique' % want[1], 'and so are the unique ones')
    robots = server.rows("select count(*) from events where campaign = 7 and type = 'open' and class not in ('human', 'unknown')")[0][0]
    same(browser.texts('.figure .machine dd b')[0], str(robots), 'opens by machines stand beside them')
    ok(robots >= 1, 'the robot was told from the people', str(server.rows('select class, count(*) from events group by class')))
    browser.js('document.querySelector("figure details").open = true')
    rows = browser.texts('figure:first-of-type details tbody tr')
    ok(rows, 'the plot has a table that says the same')
    browser.click('.toggle a[href*="show=human"]')
    same(len(browser.all('figure rect.machine')), 0, 'machines can be taken out')
    browser.click('.toggle a[href*="by=day"]')
    ok('Opens by day' in browser.texts('figure h3') and 'show=human' in browser.url, 'days instead of hours, the choice kept', browser.url)


def reload_button(browser, base):
    browser.go(base + '/hub/')
    before = browser.texts('#reload dd')[1]
    browser.click('#reload button')
    same(browser.texts('main > .note.good')[:1], ['The configuration has been read anew and is in force.'], 'the reload button reloads')
    ok(browser.texts('#reload dd')[1] != before, 'and a new generation is in force', str(browser.texts('#reload dd')))


def log_out(browser, base):
    browser.click('.who button')
    ok('/hub/login' in browser.url and 'portreeve' not in browser.cookies(), 'log-out takes the cookie back', browser.url)
    browser.go(base + '/lui/campaign/7')
    ok('/lui/login?next=' in browser.url, 'without a session every page asks for one', browser.url)
    browser.type('#account', 'ada')
    browser.type('#password', PASSWORD)
    browser.click('button.main')
    same(browser.url, base + '/lui/campaign/7', 'and leads back to it')


def encrypted(server):
    """The same over TLS with the development certificate, in dark colours."""
    with webdriver.Browser(dark=True, insecure=True) as browser:
        base = 'https://127.0.0.1:%d' % server.tls_port()
        log_in(browser, base)
        same(browser.url, base + '/hub/', 'log-in over TLS')
        cookie = browser.cookies().get('__Host-portreeve', {})
        ok(cookie.get('secure') and cookie.get('httpOnly') and cookie.get('sameSite') == 'Strict', 'there the cookie is __Host- and Secure', str(cookie))
        same(browser.js('return matchMedia("(prefers-color-scheme: dark)").matches'), True, 'the browser asks for dark')
        look(browser, base, '/hub/', 'hub-dark', ['Listeners'])
        look(browser, base, '/lui/campaign/7', 'campaign-dark', ['Over time'])


if SLOW > 4:
    note('a browser beside a build this slow: every step may take its time')
main()
done()
