#!/usr/bin/python3
"""An upgrade of the programs under a running server: engines and planners are started from the program that was taken up, whatever lies on disk;
SIGUSR2 takes up what lies there now, or says why not and leaves everything as it is."""
import os
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import portreeve
from liar import FORMAT
from portreeve import BUILD, ENGINE, ROOT, Server, cmdline, free_ports, wait_until
from tap import done, ok, same

HEAD = b'portreeve-plan %s\0' % FORMAT.encode()
OTHER = '9' if FORMAT != '9' else '8'
with open(ENGINE, 'rb') as file:
    GOOD = file.read()


class Installed:
    """The built programs and the library, as a package would lay them out and replace them."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='pr-up-')
        shutil.copytree(os.path.join(ROOT, 'lua'), os.path.join(self.dir, 'lua'))
        for name in ('portreeve', 'portreeve-engine'):
            shutil.copy(os.path.join(BUILD, name), self.dir)
        self.engine = os.path.join(self.dir, 'portreeve-engine')

    def put(self, data, name='portreeve-engine'):
        """Another file in its place, by rename, as packages are unpacked."""
        path = os.path.join(self.dir, name)
        with open(path + '.new', 'wb') as f:
            f.write(data)
        os.chmod(path + '.new', 0o755)
        os.rename(path + '.new', path)
        return os.stat(path).st_ino


def serves(s):
    try:
        return http1.get(s.address, s.port('http'), '/robots.txt').status == 200
    except (OSError, http1.Closed):
        return False


def runs(pid):
    return os.stat('/proc/%d/exe' % pid).st_ino


def goes_on(s, inode, what):
    """After a death and in a reload: the engine is of that program."""
    time.sleep(0.6)  # an engine that has served so long is restarted at once
    pid = s.crash_engine()
    ok(runs(pid) == inode and serves(s), '%s: an engine that is killed comes back, of the program that was taken up' % what, s.log()[-2000:])
    before = s.status()['generation']
    s.append('listeners.ini', 'seen%d.Port=%d\nseen%d.Services=tracker\n' % (before, free_ports(1)[0], before))
    code, text = s.reload()
    ok(code == 0 and s.status()['generation'] > before and s.listeners('seen%d' % before), '%s: a reload takes what is new in the files' % what, text)
    same(s.engine_pid(), pid, '%s: in the same engine' % what)


def refused(s, words, what):
    """SIGUSR2 comes to nothing, in words, and harms nothing."""
    pid, mark = s.engine_pid(), s.log_mark()
    os.kill(s.supervisor_pid(), signal.SIGUSR2)
    wait_until('the refusal', lambda: 'not replaced' in s.log_since(mark))
    said = s.log_since(mark)
    ok(all(re.search(w, said) for w in words), '%s: SIGUSR2 is refused, and the log says why' % what, said)
    wait_until('the other engine to go', lambda: s.engine_pids() == [pid])
    status = s.command('status')[1]
    ok('SIGUSR2 REFUSED' in status and all(re.search(w, status) for w in words), '%s: status says the same' % what, status)
    ok(all(re.search(w, s.status()['programs']['not_replaced']) for w in words), '%s: status --json too' % what)
    ok(s.status()['engine']['pid'] == pid and s.status()['engine']['state'] == 'live' and serves(s), '%s: the engine serves on' % what)


def taken(s, inode, what):
    pid = s.engine_pid()
    os.kill(s.supervisor_pid(), signal.SIGUSR2)
    new = s.engine_after(pid)
    wait_until('the old engine to leave', lambda: s.engine_pids() == [new], 60)
    ok(runs(new) == inode and serves(s), '%s: SIGUSR2 takes up the program on disk' % what)
    programs = s.status()['programs']
    same((programs['engine_differs'], programs['not_replaced']), (False, ''), '%s: nothing differs any more' % what)
    status = s.command('status')[1]
    ok('on disk' not in status and 'REFUSED' not in status, '%s: and status has nothing to say' % what, status)


def other_formats(s, at):
    old = runs(s.engine_pid())
    same(s.status()['programs'], {'format': int(FORMAT), 'engine_differs': False, 'server_differs': False, 'not_replaced': ''}, 'at the start nothing differs')
    ok('on disk' not in s.command('status')[1], 'and status says nothing about programs')
    same(GOOD.count(HEAD), 1, 'the number stands in the program once')
    at.put(GOOD.replace(HEAD, HEAD.replace(FORMAT.encode(), OTHER.encode())))
    status = s.command('status')[1]
    ok('programs on disk are not those that run' in status and at.engine in status and 'SIGUSR2' in status and 'portreeve stop' in status,
       'another engine on disk: status tells what differs and what to do', status)
    ok(s.status()['programs']['engine_differs'] and not s.status()['programs']['server_differs'], 'and which')
    goes_on(s, old, 'another format on disk')
    refused(s, ['format %s' % OTHER, 'format %s' % FORMAT, 'portreeve stop', 'systemctl restart'], 'another format')
    goes_on(s, old, 'after the refusal')
    return old


def no_engine(s, at, old):
    at.put(b'#!/bin/sh\nexit 1\n')
    goes_on(s, old, 'a script on disk')
    refused(s, ['exit status 1'], 'a script')
    at.put(b'no program\n')
    refused(s, ['cannot start'], 'a text')
    at.put(GOOD[:4096])
    refused(s, ['signal|cannot start'], 'half a program')
    os.unlink(at.engine)
    ok('on disk are not those' in s.command('status')[1], 'no engine on disk: status says so')
    goes_on(s, old, 'no program on disk')
    refused(s, ['cannot open', 'portreeve-engine'], 'no program')


def the_right_one(s, at):
    inode = at.put(GOOD)
    taken(s, inode, 'the right program')
    goes_on(s, inode, 'then')
    again = at.put(GOOD)
    goes_on(s, inode, 'and the file replaced once more')
    taken(s, again, 'once more')
    pid = s.engine_pid()
    same(cmdline(pid)[:2], ['portreeve-engine', '--engine'], 'ps shows what it is')
    with open('/proc/%d/comm' % pid, encoding='ascii') as f:
        same(f.read().strip(), 'portreeve-engin', 'by its short name too')
    ok(not [x for x in os.listdir('/proc/%d/fd' % pid) if os.readlink('/proc/%d/fd/%s' % (pid, x)).startswith(at.dir)],
       'the descriptor of the program is not handed on')


def library(s, at):
    """The Lua library belongs to the program: another one on disk is met by nobody before SIGUSR2."""
    inode = runs(s.engine_pid())
    whole = os.path.join(at.dir, 'lua')
    os.rename(whole, whole + '.kept')
    shutil.copytree(whole + '.kept', whole)
    for folder, _, names in os.walk(whole):
        for name in names:
            with open(os.path.join(folder, name), 'w', encoding='utf-8') as f:
                f.write('error "of another version"\n' if name.endswith('.lua') else 'of another version')
    status = s.command('status')[1]
    ok('on disk are not those' in status, 'another library on disk: status says so', status)
    goes_on(s, inode, 'another library on disk')
    page = http1.get(s.address, s.port('http'), '/hub/login')
    link = re.search(rb'/hub/static/portreeve\.[0-9a-f]+\.css', page.body)
    ok(page.status == 200 and link, 'pages are made by the one that was taken up', page.body[:300])
    css = http1.get(s.address, s.port('http'), link.group(0).decode()) if link else None
    ok(css and css.status == 200 and b'another version' not in css.body, 'and look as it says')
    same(s.eval('1 + 1'), '2', 'the console works')
    mark = s.log_mark()
    refused(s, ['exit status 1'], 'another library')
    ok(': of another version' in s.log_since(mark), 'and the log says what that program said')
    goes_on(s, inode, 'after that')
    shutil.rmtree(whole)
    refused(s, ['standard library'], 'no library')
    goes_on(s, inode, 'no library on disk')
    os.rename(whole + '.kept', whole)
    taken(s, at.put(GOOD), 'the right library')


def in_back_off(s, at):
    """No engine lives: the program on disk is tried next, and where it is of no use the old one again."""
    def die():
        mark = s.log_mark()

        def probe():
            for p in s.engine_pids():
                os.kill(p, signal.SIGKILL)
            return re.search(r'starts in \d{4,} ms', s.log_since(mark))
        wait_until('a back-off', probe, 60)
    old = runs(s.engine_pid())
    at.put(GOOD.replace(HEAD, HEAD.replace(FORMAT.encode(), OTHER.encode())))
    die()
    mark = s.log_mark()
    os.kill(s.supervisor_pid(), signal.SIGUSR2)
    wait_until('the refusal', lambda: 'not replaced' in s.log_since(mark))
    ok('format %s' % OTHER in s.log_since(mark) and 'ran before' in s.log_since(mark), 'SIGUSR2 while no engine lives: refused in words', s.log_since(mark))
    pid = wait_until('the old program again', lambda: serves(s) and s.engine_pid())
    same(runs(pid), old, 'and the old program serves again')
    inode = at.put(GOOD)
    die()
    os.kill(s.supervisor_pid(), signal.SIGUSR2)
    wait_until('the new program', lambda: serves(s) and s.engine_pid() and runs(s.engine_pid()) == inode)
    ok(True, 'SIGUSR2 while no engine lives: the right program on disk is the next one')
    same(s.status()['programs']['not_replaced'], '', 'and nothing is refused any more')


def the_supervisor(s, at):
    with open(os.path.join(BUILD, 'portreeve'), 'rb') as f:
        at.put(f.read(), 'portreeve')
    status = s.command('status')[1]
    ok(s.status()['programs']['server_differs'] and os.path.join(at.dir, 'portreeve') in status and 'SIGUSR2 takes' not in status and 'portreeve stop' in status,
       'another supervisor on disk: only a restart', status)


def reserve(s, at):
    """The planner that waits for the next reload is of the program that runs, too."""
    def waiting():
        return [p for p in portreeve.children(s.supervisor_pid()) if '--reserve' in cmdline(p)]

    def one_of(inode):
        return wait_until('a planner in reserve', lambda: [p for p in waiting() if runs(p) == inode])
    one_of(runs(s.engine_pid()))
    old = runs(s.engine_pid())
    at.put(b'#!/bin/sh\nexit 1\n')
    for _ in range(2):
        code, text = s.reload()
        ok(code == 0, 'a reload by the planner in reserve, its program gone from disk', text)
        one_of(old)
    inode = at.put(GOOD)
    taken(s, inode, 'with a planner in reserve')
    code, text = s.reload()
    ok(code == 0 and one_of(inode) and waiting() == one_of(inode), 'then it makes way for one of the new program', text)


installed = Installed()
portreeve.PROGRAM = os.path.join(installed.dir, 'portreeve')
try:
    with Server(components='tracker,hub', bind='own') as server:
        first = other_formats(server, installed)
        no_engine(server, installed, first)
        the_right_one(server, installed)
        library(server, installed)
        in_back_off(server, installed)
        the_supervisor(server, installed)
    with Server(components='tracker', bind='own', sets=['listeners.ini:many.Port=0', 'listeners.ini:many.Services=tracker',
                'listeners.ini:many.Address=' + ','.join('127.77.%d.%d' % (i // 100, 1 + i % 100) for i in range(300))]) as server:
        reserve(server, installed)
finally:
    shutil.rmtree(installed.dir, ignore_errors=True)
done()
