"""What the browser tests share: the way in, and a look at one page at every size.

Environment: SHOTS=folder keeps pictures of the pages.
"""
import os
import urllib.parse

from portreeve import wait_until
from tap import ok, same

PASSWORD = 'correct horse battery'
SIZES = (('desktop', 1280, 800), ('phone', 390, 844))
SHOTS = os.environ.get('SHOTS')

# Luminance contrast of every visible text against the nearest painted background (WCAG 2, 1.4.3): those below the threshold.
CONTRAST = r'''
function parse(c) { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; }
function lum(c) { const f = c.slice(0, 3).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; }
function ground(e) { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; }
  return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18, 1] : [255, 255, 255, 1]; }
const bad = [];
for (const e of document.querySelectorAll('body *')) {
  if (!Array.from(e.childNodes).some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  const r = e.getBoundingClientRect(), s = getComputedStyle(e);
  if (r.width < 2 || r.height < 2 || s.visibility === 'hidden' || e.closest('title, .skip, .unseen')) continue;
  const ink = parse(e instanceof SVGElement ? s.fill : s.color), a = lum(ink), b = lum(ground(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const large = parseFloat(s.fontSize) >= 24 || (parseFloat(s.fontSize) >= 18.6 && s.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) bad.push(e.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
}
return bad;
'''
UNLABELLED = r'''
return Array.from(document.querySelectorAll('input:not([type=hidden]), select, textarea')).filter(e => !e.labels || !e.labels.length)
  .map(e => e.name).concat(Array.from(document.querySelectorAll('th')).filter(e => !e.scope).map(e => 'th ' + e.textContent));
'''


def shot(browser, name):
    if SHOTS:
        os.makedirs(SHOTS, exist_ok=True)
        browser.shot(os.path.join(SHOTS, name + '.png'))


def look(browser, base, path, name, want):
    """One page at every size."""
    for size, width, height in SIZES:
        browser.size(width, height)
        browser.go(base + path)
        wide, inner = browser.js('return [document.documentElement.scrollWidth, window.innerWidth]')
        ok(wide <= inner, '%s %s: no horizontal overflow' % (name, size), '%d > %d' % (wide, inner))
        same(len(browser.all('h1')), 1, '%s %s: one main heading' % (name, size))
        same(browser.js('return document.scripts.length + document.querySelectorAll("[style]").length'), 0,
             '%s %s: no script and no inline style' % (name, size))
        same(browser.js(UNLABELLED), [], '%s %s: every field has a label, every table head a scope' % (name, size))
        same(browser.js(CONTRAST), [], '%s %s: contrast' % (name, size))
        text = browser.js('return document.body.innerText')
        for piece in want:
            ok(piece in text, '%s %s: shows %s' % (name, size, piece), text[:1500])
        shot(browser, '%s-%s' % (name, size))
    browser.size(1280, 800)


def set_up(browser, server, base):
    link = wait_until('the set-up link', lambda: [line.split()[2] for line in server.log().splitlines() if line.startswith('Set up:')])[0]
    target = urllib.parse.urlsplit(link)
    browser.go(base + target.path + '?' + target.query)
    shot(browser, 'setup')
    same(browser.text('h1'), 'Create the administrator account', 'the printed set-up link shows the form')
    browser.type('#account', 'ada')
    browser.type('#password', PASSWORD)
    browser.type('#again', PASSWORD)
    browser.click('button.main')
    ok(browser.url.startswith(base + '/hub/login'), 'the new account leads to the log-in page', browser.url)
    browser.go(base + target.path + '?' + target.query)
    ok('no longer valid' in browser.text('h1'), 'the set-up link works once')


def log_in(browser, base, path='/hub/', password=PASSWORD):
    browser.go(base + path)
    browser.type('#account', 'ada')
    browser.type('#password', password)
    browser.click('button.main')
