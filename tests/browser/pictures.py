#!/usr/bin/python3
"""Pictures of hub, ui and console for the README, made from the real program with the shipped configuration and three invented campaigns.

    tests/browser/pictures.py [FOLDER]      default tests/browser/shots; needs the shipped ports (8080, 8443, 1099, 7000, 9180) free
"""
import fcntl
import html
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
sys.path.insert(0, HERE)
import webdriver
from portreeve import PROGRAM, ROOT, wait_until

PASSWORD = 'correct horse battery'
# Written through the ui's own event store, so that the roll-ups are what they would be; a tracker of its own name keeps clear of the real cursor.
SAMPLE = r'''
package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
local state = ...
local world = dofile("tests/lua/trusted.lua").install()
world.finish()
local cjson, now = require "cjson", os.time() * 1000
local db = require("portreeve.web.places").ui(state)
local store = require("portreeve.db.events").new(db)
math.randomseed(7)
local lines = {}
local function event(campaign, ms, recipient)
  local p, t, seq = math.random(), math.random(), #lines + 1
  local class = p < 0.64 and "human" or p < 0.78 and "proxy" or p < 0.9 and "scanner" or p < 0.95 and "prefetch" or "unknown"
  local type = t < 0.74 and "open" or t < 0.985 and "click" or "unsubscribe"
  lines[seq] = cjson.encode { tracker = "sample", epoch = 1, seq = seq, type = type, ms = ms, campaign = campaign, recipient = recipient,
    link = type == "click" and math.ceil(math.random() ^ 2 * 6) or 0, level = "personal", class = class, reasons = {}, since = 60,
    listener = "http", tls = "own", method = "GET" }
end
for _, c in ipairs { { 12, 11 * 24, 3900 }, { 7, 50, 9000 }, { 9, 26, 640 } } do
  for _ = 1, c[3] do
    local hours = -math.log(1 - math.random()) * c[2] / 5 % c[2]
    event(c[1], now - (c[2] - hours) * 3600000 // 1 | 0, math.random(1, c[3] // 2))
  end
end
assert(db:ensure())
local done = assert(store:apply { tracker = "sample", place = "127.0.0.1:7000", after = 0, last = 1, body = table.concat(lines, "\n") .. "\n",
  now = now, upto_ms = now })
assert(done.new == #lines)
'''


def walk(browser, base, link, folder):
    target = urllib.parse.urlsplit(link)
    browser.go(base + target.path + '?' + target.query)
    for field, text in (('account', 'ada'), ('password', PASSWORD), ('again', PASSWORD)):
        browser.type('#' + field, text)
    browser.click('button.main')
    browser.type('#account', 'ada')
    browser.type('#password', PASSWORD)
    browser.click('button.main')
    for name, width, height in (('desktop', 1280, 800), ('phone', 390, 844)):
        for page, path in (('hub', '/hub/'), ('listeners', '/hub/listeners'), ('campaigns', '/lui/'), ('campaign', '/lui/campaign/7')):
            browser.size(width, height)
            browser.go(base + path)
            # Whole pages on the desktop; on the phone what is seen first, and of a campaign what a screen and a half show.
            browser.shot(os.path.join(folder, '%s-%s.png' % (page, name)), whole=1400 if page == 'campaign' or name == 'phone' else True)
    browser.go(base + '/hub/listeners/secure')
    browser.shot(os.path.join(folder, 'listener-phone.png'), whole=1400)


LINES = ('where(listeners(), "name", "http")', 'count(connections(), "state")', 'connections(3)', 'refusals(3)', 'reload()')


def console(browser, state, folder):
    """A real session at the console, its text set in the browser."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 60, 200, 0, 0))
    env = dict(os.environ, TERM='dumb', HOME=state)
    p = subprocess.Popen([PROGRAM, 'console', '--state', state], stdin=slave, stdout=slave, stderr=slave, env=env, close_fds=True)
    os.close(slave)
    text = read_quiet(master)
    for line in LINES:
        os.write(master, line.encode() + b'\r')
        text += read_quiet(master)
    os.write(master, b'\x04')
    p.wait(10)
    os.close(master)
    text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]|\r', '', text)
    page = '<meta charset="utf-8"><style>body{margin:0;background:#14201f;color:#dce8e4}pre{font:13px/1.45 monospace;padding:18px;margin:0}</style><pre>%s</pre>'
    with open(os.path.join(state, 'console.html'), 'w') as f:
        f.write(page % html.escape(text.strip()))
    browser.size(1280, 400)
    browser.go('file://' + os.path.join(state, 'console.html'))
    browser.shot(os.path.join(folder, 'console.png'), whole=True)


def read_quiet(fd):
    """What comes until half a second passes in silence (at most 20 s)."""
    out, end = b'', time.monotonic() + 20
    while time.monotonic() < end and select.select([fd], [], [], 0.5)[0]:
        try:
            out += os.read(fd, 65536)
        except OSError:
            break
    return out.decode(errors='replace')


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, 'shots')
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='portreeve-pictures-') as state, tempfile.TemporaryFile('w+') as out:
        argv = [PROGRAM, 'run', '--conf', 'conf', '--policies', 'policies', '--state', state]
        server = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            def link():
                out.seek(0)
                text = out.read()
                if server.poll() is not None:
                    sys.exit(text)
                return [line.split()[2] for line in text.splitlines() if line.startswith('Set up:')]
            found = wait_until('the set-up link', link)[0]
            subprocess.run(['lua5.4', '-', state], input=SAMPLE, text=True, cwd=ROOT, check=True)
            with webdriver.Browser() as browser:
                walk(browser, 'http://127.0.0.1:8080', found, folder)
                console(browser, state, folder)
        finally:
            server.terminate()
            server.wait(60)


main()
