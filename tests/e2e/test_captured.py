#!/usr/bin/python3
"""An engine that has been taken over (tests/lib/liar.py) gets nothing from the supervisor but what its cage allows: no other file, no order to a
terminal, no hold on the supervisor, and nobody's work."""
import os
import re
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from liar import COMMIT, COMMITTED, EDIT, FAILED, HELLO, PREPARED, PROOFS, QUIET, RELOAD, Captured
from portreeve import MODE, Server, children, cmdline, command, program_for_everybody, wait_until
from tap import done, ok, same, skip

ADD = 'set listeners.ini probe.Port free\nset listeners.ini probe.Services ops\n'
HOSTILE = 'evil \x1b[31mred\x1b]0;title\x07 \u009b1m'


def other_files():
    with Captured() as s:
        before = {n: s.read(n) for n in ('listeners.ini', 'tracker.ini', 'portreeve.ini')}
        for n, line in enumerate((
                'set ../listeners.ini a.Port 1', 'set /etc/passwd a.Port 1', 'set portreeve.ini User root', 'set certificates.ini default.Key /etc/shadow',
                'set listeners.ini a/../b.Port 1', 'set listeners.ini a.Key /etc/shadow', 'set listeners.ini a.b.Port 1', 'set listeners.ini a\\.Port 1',
                'set listeners.ini a.Port 1\x1b[31m', 'set listeners.ini a.Port 1\r#', 'set listeners.ini a.List ../../etc/passwd',
                'set listeners.ini a.Certificate ../x', 'set listeners.ini a.Address ' + '1' * 1025, 'set listeners.ini a.* 1', 'remove listeners.ini *.*',
                'set tracker.ini TrackerId x', 'set listeners.ini a.Backend unix:/run/x',
                'set listeners.ini a.2.Backend 127.0.0.1:1,/run/x', 'set listeners.ini a.Backend-b.c unix:/run/x', 'set listeners.ini a.Port 1\nset listeners.ini a.Port 2', 'set listeners.ini a.Port 1\nfrob', '', '\n' * 70,
                '\n'.join('set listeners.ini a%d.Port 0' % i for i in range(65))), 10):
            s.engine.edit(n, line + '\n')
            fine, text = s.engine.result(n)
            ok(not fine and text, 'refused: %r' % line[:60], text)
        same({n: s.read(n) for n in before}, before, 'every file is as it was')
        s.engine.edit(50, ADD)
        ok(s.engine.result(50)[0] and 'probe.Port=free' in s.read('listeners.ini'), 'what may be asked is done')


def terminals():
    with Captured() as s:
        said = []
        t = threading.Thread(target=lambda: said.append(s.reload()))
        t.start()
        s.engine.say(FAILED, 'generation %d\n\n%s' % (s.engine.generation(), HOSTILE))
        t.join()
        code, text = said[0]
        ok(code == 1 and 'evil ?[31mred?]0;title? ??1m' in text, 'why an engine refuses: no order to the terminal of who asked', repr(text))
        s.engine.say(PROOFS, 'generation 1\n\n0 2 5 6 %s\n' % HOSTILE)
        shown = wait_until('the proof', lambda: [x for x in s.command('status')[1].splitlines() if 'not proved: evil' in x])[0]
        ok('\x1b' not in s.command('status')[1] and '\u009b' not in shown, 'nor what it says of its sockets', repr(shown))
        ok('\x1b' not in s.log() and '\u009b' not in s.log(), 'nor the log')


def somebodys_work():
    """Between the last look at the file and the rename the engine has its say: it may take its time."""
    with Captured() as s:
        s.engine.edit(1, ADD)
        n = s.engine.generation()
        s.engine.say(PREPARED, 'generation %d\n' % n)
        s.engine.wait(COMMIT)
        s.append('listeners.ini', '# half a day of work\n')
        s.engine.say(COMMITTED, 'generation %d\n' % n)
        fine, text = s.engine.result(1)
        ok('# half a day of work' in s.read('listeners.ini'), 'a file that somebody changes while an edit comes into force keeps his change')
        ok(fine and 'warning: the new entries are in force, but were not written' in text, 'and who asked is told so', text)
        wait_until('the staged file to go', lambda: not [x for x in os.listdir(s.conf) if '.new-' in x])


def dies_on_the_way():
    with Captured() as s:
        before = s.read('listeners.ini')
        s.engine.edit(1, ADD)
        n = s.engine.generation()
        s.engine.say(PREPARED, 'generation %d\n' % n)
        s.engine.wait(COMMIT)
        os.kill(s.engine.pid, signal.SIGKILL)
        s.engine.close()
        s.engine = s.next_engine()
        same(s.engine.take(), 1, 'an engine that dies with COMMIT in hand: the next one is offered what was in force')
        same(s.read('listeners.ini'), before, 'and the file says the same')


def does_not_read():
    """Whatever it asks, and however often: one answer that it leaves no room for is waited for, not each."""
    for name, kind, text in (('changes', EDIT, 'id 1\n\nfrob\n'), ('reloads', RELOAD, 'id 1\n'), ('proofs', QUIET, '')):
        with Captured() as s:
            s.engine.say(HELLO, 'pid 1\n')  # a second one changes nothing

            def flood():
                try:
                    while True:
                        s.engine.say(kind, text)
                except OSError:
                    pass
            t = threading.Thread(target=flood)
            t.start()
            wait_until('the end of it', lambda: 'the other side does not read' in s.log())
            t.join()
            code, out, err = command('status', '--state', s.state, timeout=30)
            ok(code == 0, 'an engine that asks for %s and does not read is ended, and the supervisor answers' % name, out + err)
            same(s.log().count('the other side does not read'), 1, 'after one wait')


def reserve():
    """The planner in reserve waits for days, as the engine's user and with every password of the configuration: nobody of that user may look in."""
    if os.geteuid() != 0 or MODE != 'release':
        skip('a planner of another user', 'needs root, and a build without sanitizers')
        return
    program_for_everybody()
    many = 'many.Services=tracker\nmany.Port=free\nmany.Address=%s\n' % ','.join('127.9.%d.%d' % (i // 200, 1 + i % 200) for i in range(300))
    with Server(components='tracker', bind='own', args=['--user', 'nobody'], files={'listeners.ini': many}, start=False) as s:
        os.chmod(s.dir, 0o755)
        s.start()

        def waiting():
            return [p for p in children(s.supervisor_pid()) if '--reserve' in cmdline(p)]
        pid = wait_until('a planner in reserve', waiting)[0]
        with open('/proc/%d/status' % pid, encoding='ascii') as f:
            uid = int(re.search(r'^Uid:\s+(\d+)', f.read(), re.M).group(1))
        ok(uid != 0, 'the planner in reserve is no root', str(uid))
        hidden = wait_until('it to hide', lambda: os.stat('/proc/%d/environ' % pid).st_uid == 0)
        ok(hidden, 'and hidden from other programs of its user')
        os.kill(pid, signal.SIGKILL)
        wait_until('its end', lambda: not os.path.exists('/proc/%d' % pid))
        same(s.reload()[0], 0, 'somebody has ended it: a reload starts another')


if __name__ == '__main__':
    for part in (other_files, terminals, somebodys_work, dies_on_the_way, does_not_read, reserve):
        part()
    done()
