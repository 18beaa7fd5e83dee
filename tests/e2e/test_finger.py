#!/usr/bin/python3
"""Protocols written in Lua alone: examples/finger with the real finger client, and scripts that try every bound."""
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'lib'))
import tap  # noqa: E402
from portreeve import ROOT, Server, wait_until  # noqa: E402

EXAMPLE = os.path.join(ROOT, 'examples', 'finger')
PORT = 'a.Port=%s:0\na.Services=script\na.Script=%s\n'


def text_of(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def server(script, listeners='', name='try', **kw):
    s = Server(bind='own', start=False, **kw)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    s.edit('listeners.ini', 'a.Port=%s:0\na.Services=script\na.Script=%s\n%s' % (s.address, name, listeners) if script else listeners)
    s.sets.append(('listeners.ini:a.Port', s.address + ':0'))
    if script:
        s.edit('policies/%s.lua' % name, script)
    return s


def talk(s, *lines, port=None, bytes_only=None):
    """Send lines, read to the end."""
    with socket.create_connection((s.address, port or s.port('a')), timeout=20) as c:
        c.sendall((bytes_only or b'') + b''.join(x.encode() + b'\r\n' for x in lines))
        out = b''
        while True:
            try:
                part = c.recv(65536)
            except ConnectionResetError:
                return out, 'reset'
            if not part:
                return out, 'end'
            out += part


def finger():
    """The example as its README says, on port 79 of an address of its own, asked by the real client."""
    s = Server(bind='own', start=False)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    s.edit('listeners.ini', text_of(os.path.join(EXAMPLE, 'listeners.ini')).replace('finger.Address=*', 'finger.Address=' + s.address))
    s.edit('lists/office.list', text_of(os.path.join(EXAMPLE, 'lists/office.list')))
    for f in ('finger.lua', 'finger_test.lua'):
        s.edit('policies/' + f, text_of(os.path.join(EXAMPLE, 'policies', f)))
    if os.geteuid() != 0:
        s.edit('listeners.ini', lambda t: t.replace('finger.Port=FINGER', 'finger.Port=7979'))
    s.start()
    with s:
        code, out, err = s.offline('test')
        tap.ok(code == 0 and 'finger_test' in out, "the example's own test runs with the others", out)
        port = s.port('finger')
        if port == 79 and shutil.which('finger'):
            out = subprocess.run(['finger', '@' + s.address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False).stdout
            tap.ok(re.search(r'Portreeve \S+, up 0:0\d, generation 1, \d+ sockets', out), 'Q13: finger @host tells how the server does', out)
            tap.ok(re.search(r'^finger +%s:79 +tcp +script +1 connection' % re.escape(s.address), out, re.M), 'with its listeners', out)
            out = subprocess.run(['finger', 'http@' + s.address], stdout=subprocess.PIPE, text=True, timeout=30, check=False).stdout
            tap.ok(re.search(r'^http +\S+ +http +tracker', out, re.M) and 'finger ' not in out, 'finger NAME@host one of them', out)
            out = subprocess.run(['finger', '-l', 'nosuch@' + s.address], stdout=subprocess.PIPE, text=True, timeout=30, check=False).stdout
            tap.ok('no listener of that name' in out, 'or says that there is none', out)
        else:
            tap.skip('the real client', 'needs root for port 79 and the package finger: apt-get install finger')
        out, how = talk(s, 'a@b', port=port)
        tap.ok(out == b'This server asks no other one for you.\r\n' and how == 'end', 'nobody else is asked', out)
        with socket.create_connection((s.address, port)) as c:  # each byte by itself
            for b in b'/W http\r\n':
                c.sendall(bytes([b]))
            out = c.recv(4096)
        tap.ok(out.startswith(b'http '), 'a line in pieces', out)
        s.edit('lists/office.list', '10.0.0.0/8\n')
        s.command('reload', '--force')  # this machine is shut out, which is meant
        out, how = talk(s, '', port=port)
        tap.ok(out == b'', 'G14: who is not in the list hears nothing', out)
        s.edit('lists/office.list', text_of(os.path.join(EXAMPLE, 'lists/office.list')))
        s.edit('policies/finger.lua', lambda t: t.replace('"Portreeve %s, ', '"Changed %s, '))
        code, out = s.reload()
        tap.ok(code != 0 and 'finger_test.lua' in out, 'a script whose test fails is not taken up', out)
        s.edit('policies/finger_test.lua', lambda t: t.replace('^Portreeve', '^Changed'))
        code, out = s.reload()
        tap.ok(code == 0 and talk(s, '', port=port)[0].startswith(b'Changed '), 'one that passes is, at the reload', out)
    s.cleanup()


def states():
    """A small state machine: the server speaks first, remembers, and ends."""
    script = '''
return {
  open = function(facts) return "220 hello " .. facts.address .. "\\r\\n", "new" end,
  line = function(_, line, state)
    if line == "QUIT" then return "221 bye\\r\\n" end
    if state == "new" then return "250 " .. line .. "\\r\\n", line end
    return "250 " .. state .. " again\\r\\n", state
  end,
}
'''
    with server(script).start() as s:
        with socket.create_connection((s.address, s.port('a')), timeout=20) as c:
            f = c.makefile('rwb')
            tap.same(f.readline(), b'220 hello 127.0.0.1\r\n', 'the server speaks first')
            f.write(b'ada\r\nx\r\ny\r\nQUIT\r\nnever\r\n')
            f.flush()
            tap.same(f.read(), b'250 ada\r\n250 ada again\r\n250 ada again\r\n221 bye\r\n', 'lines at once are answered in order, with the state, up to the end')
        out, how = talk(s, *['x'] * 500, 'QUIT')
        tap.ok(out.count(b'\r\n') == 502 and how == 'end', '500 lines at once', len(out))
        wait_until('the connections to be gone', lambda: not [r for r in s.eval('connections()', json_out=True) if r['listener'] == 'a'])
        tap.ok(True, 'and the connections are gone')


def bounds():
    """What a script or a caller may not do, each with the connection closed, the place in the log, and the server going on."""
    script = '''
return function(_, line)
  if line == "long" then return ("x"):rep(65537) end
  if line == "full" then return ("x"):rep(65536) end
  if line == "table" then return {} end
  if line == "state" then return "", {} end
  if line == "big" then return "", ("s"):rep(1025) end
  if line == "loop" then while true do end end
  if line == "memory" then local t = {} for i = 1, 100000 do t[i] = ("y"):rep(60000) .. i end end
  if line == "error" then error("on purpose") end
  if line == "nothing" then return end
  return "[" .. line .. "]"
end
'''
    with server(script, settings={'HeaderTimeout': 700, 'PolicyMemory': 16777216, 'PolicySteps': 20000000}).start() as s:  # memory ends before steps
        for line, why in (('long', 'answer has 65537 bytes'), ('table', 'answer is a text or nil, not a table'), ('state', 'state is a text or nil, not a table'),
                          ('big', 'state has 1025 bytes'), ('loop', 'instructions|budget|steps'), ('memory', 'memory'), ('error', 'on purpose')):
            mark = s.log_mark()
            out, how = talk(s, line)
            tap.ok(out == b'', '%s: the connection is closed without an answer' % line, out)
            tap.ok(re.search('error script: .*try.lua.*(%s)' % why, s.log_since(mark)), '%s: and why is in the log' % line, s.log_since(mark))
        tap.same(talk(s, 'nothing'), (b'', 'end'), 'no answer is fine')
        out, how = talk(s, 'full')
        tap.ok(len(out) == 65536 and how == 'end', 'the longest answer arrives whole', len(out))
        out, how = talk(s, 'y' * 1024)
        tap.ok(out == b'[' + b'y' * 1024 + b']', 'the longest line is answered', len(out))
        out, how = talk(s, 'y' * 1100)
        tap.ok(out == b'', 'a longer one is not', out)
        tap.same(talk(s, bytes_only=bytes([0, 255, 27]) + b'\n')[0], b'[\x00\xff\x1b]', 'a line holds any bytes, and LF alone ends it')
        mark = s.counter('timeouts')
        out, how = talk(s, bytes_only=b'no end')
        tap.ok(out == b'' and s.counter('timeouts') == mark + 1, 'a line that never ends meets its deadline (HeaderTimeout)', out)
        with socket.create_connection((s.address, s.port('a'))) as c:
            c.sendall(b'full\r\n' + b'z' * 100000)
            got = b''
            while len(got) < 65536:
                part = c.recv(65536)
                if not part:
                    break
                got += part
        tap.same(len(got), 65536, 'who goes on talking still gets the answer')
        tap.same(talk(s, 'alive')[0], b'[alive]', 'and the server goes on')
        tap.same(len(s.engine_pids()), 1, 'with the same engine')


def tls():
    """The same over TLS, and a refusal with a word (G15)."""
    admission = '''
local verdict = require "portreeve.verdict"
return function(facts)
  if facts.listener == "a" and facts:listed("denied") then return verdict.answer(403, "clients only", "policy") end
  return verdict.allow
end
'''
    with server('return function(_, line) return "<" .. line .. ">\\n" end\n', 'a.InitTLS=On\n',
                files={'certificates.ini': 'default.Certificate=development\n'}).start() as s:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((s.address, s.port('a')), timeout=20) as c, context.wrap_socket(c) as t:
            t.sendall(b'over tls\r\n')
            tap.same(t.recv(100), b'<over tls>\n', 'a script over TLS')
        row = s.listeners('a')[0]
        tap.ok(row['scheme'] == 'tls' and wait_until('its proof', lambda: s.listeners('a')[0]['probe'] == 'proved'), 'its socket is proved like any other', row)
        s.edit('policies/admission.lua', admission)
        s.edit('policies/admission_test.lua', 'return { ["none"] = function(t) t.ok(true) end }\n')
        s.edit('lists/denied.list', '127.0.0.1\n')
        code, out, err = s.command('reload', '--force')
        with socket.create_connection((s.address, s.port('a')), timeout=20) as c, context.wrap_socket(c) as t:
            tap.same(t.recv(100), b'clients only\r\n', 'G15: the session starts, the message comes, then the end: ' + (out + err).splitlines()[0])


def gate():
    """Refused before anything starts, with the place."""
    for script, what in (('return 7\n', r'try\.lua: a script returns a function, or a table'), ('return { open = 1, line = function() end }\n', r"try\.lua: 'open' of the table is no function"),
                         ('return { lines = function() end }\n', r"'lines' is unknown"), ('return { open = function() end }\n', "no function 'line'"), ('return function(\n', r'try\.lua:\d+: '),
                         (None, r"listener a wants the script nosuch, but there is no file nosuch\.lua among the policies")):
        said = server(script, '' if script else 'a.Port=7979\na.Services=script\na.Script=nosuch\n').refused()
        tap.ok(re.search(what, said), 'refused: ' + what, said)


finger()
states()
bounds()
tls()
gate()
tap.done()
