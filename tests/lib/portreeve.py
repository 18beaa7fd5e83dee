"""Start the real program for a test: own copy of conf/ and policies/, own state folder, ports the kernel chose; ended again whatever happens.

    with Server(components='tracker', settings={'IdleTimeout': 500}) as s:
        http1.get(s.address, s.port('http'), '/robots.txt')
"""
import atexit
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

import tap

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODE = os.environ.get('MODE') or 'release'
BUILD = os.path.join(ROOT, 'build', MODE)
PROGRAM = os.path.join(BUILD, 'portreeve')
ENGINE = os.path.join(BUILD, 'portreeve-engine')
SLOW = {'asan': 4, 'tsan': 8, 'cov': 2}.get(MODE, 1)  # how much longer this build may take; never decides a result
REPORT = re.compile(r'(ERROR: (Address|Leak|Thread|Memory)Sanitizer|WARNING: ThreadSanitizer|runtime error:).*')
# Every port of a shipped configuration file, so that tests never meet each other or the machine's own services.
PORTS = ('tomcat.ini:Port', 'tomcat.ini:SecurePort', 'hub.ini:RMIPort', 'lui.ini:RMIPort', 'tracker.ini:RMIPort', 'tracker.ini:CommunicationsPort')
_alive = set()


@atexit.register
def _end_all():
    for s in list(_alive):
        s.kill()


class Refused(Exception):
    """The program did not start. .code is its exit status, .text what it said."""

    def __init__(self, code, text):
        super().__init__('portreeve exited with %s: %s' % (code, text[-2000:]))
        self.code, self.text = code, text


def command(*args, stdin=None, timeout=60, netns=None, env=None):
    """Run one portreeve command. Returns (code, stdout, stderr)."""
    argv = (['nsenter', '--net=/run/netns/' + netns] if netns else []) + [PROGRAM] + [str(a) for a in args]
    p = subprocess.run(argv, input=stdin or '', stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout * SLOW, text=True, errors='replace',
                       env=dict(environment(), **(env or {})))
    return p.returncode, p.stdout, p.stderr


def environment():
    env = dict(os.environ)
    env.setdefault('ASAN_OPTIONS', 'detect_leaks=1:abort_on_error=0:exitcode=99')
    env.setdefault('LSAN_OPTIONS', 'print_suppressions=0:suppressions=' + os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lsan.supp'))
    env.setdefault('UBSAN_OPTIONS', 'print_stacktrace=1')
    env.setdefault('TSAN_OPTIONS', 'exitcode=99:second_deadlock_stack=1')
    env.pop('NOTIFY_SOCKET', None)
    env.pop('LISTEN_FDS', None)
    return env


def wait_until(what, probe, seconds=20):
    """Poll probe() until it gives something true; fails loudly after a generous bound."""
    end = time.monotonic() + seconds * SLOW
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError('waited %d s for %s' % (seconds * SLOW, what))
        time.sleep(0.02)


def program_for_everybody():
    """For tests that become another user: a checkout may lie below a folder that others may not enter. From here on the program is a copy."""
    global PROGRAM
    if PROGRAM.startswith(BUILD):
        copy = tempfile.mkdtemp(prefix='pr-built-')
        shutil.copytree(os.path.join(ROOT, 'lua'), os.path.join(copy, 'lua'))
        for name in ('portreeve', 'portreeve-engine'):
            shutil.copy(os.path.join(BUILD, name), copy)
        subprocess.run(['chmod', '-R', 'a+rX', copy], check=True)
        atexit.register(shutil.rmtree, copy, True)
        PROGRAM = os.path.join(copy, 'portreeve')


_promised = []  # an abstract socket for each port: gone with this process, and none of them is found by another test meanwhile


def free_ports(n):
    """Ports nobody holds on any address, below those the kernel gives to callers: one of these may be taken by any test that connects. None is told
    twice, nor to another test while this one runs: between the look and the use of it may lie minutes."""
    found = []
    for _ in range(10000):
        port = random.randrange(10000, 30000)
        promise = socket.socket(socket.AF_UNIX)
        try:
            promise.bind('\0portreeve-test-port-%d' % port)
            with socket.socket() as four, socket.socket(socket.AF_INET6) as six:
                four.bind(('', port))
                six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                six.bind(('::', port))
        except OSError:
            promise.close()
            continue
        _promised.append(promise)
        found.append(port)
        if len(found) == n:
            return found
    raise AssertionError('no free ports')


def parents():
    """{pid: pid of its parent} of every process."""
    out = {}
    for p in os.listdir('/proc'):
        if p.isdigit():
            try:
                with open('/proc/%s/stat' % p) as f:
                    s = f.read()
            except OSError:
                continue
            out[int(p)] = int(s[s.rindex(')') + 2:].split()[1])
    return out


def children(pid):
    """Direct children of a process."""
    return [p for p, parent in parents().items() if parent == pid]


def rss(pid):
    """KB of memory that are resident."""
    with open('/proc/%d/status' % pid, encoding='ascii') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1))


def cmdline(pid):
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as f:
            return f.read().decode('utf-8', 'replace').split('\0')
    except OSError:
        return []


class Server:
    """One running portreeve.

    components  text for portreeve.ini:Components, None = as shipped
    settings    {entry: value} for portreeve.ini
    sets        further (file:entry, value) pairs, or 'file:entry=value' texts, for --set
    files       {path below conf/: text}: written over the private copy before the start
    policies    {name: text}: the same for policies/
    bind        'own' = one loopback address of this test's own (HTTP on it, port 0), None = as shipped, other text = BindAddress
    listeners   names of listeners.ini entries whose port becomes 0; None = every listener that the file has
    ports       False: leave every port as the files say
    netns       run inside this network namespace
    """

    def __init__(self, components=None, settings=None, sets=(), files=None, policies=None, bind=None, ports=True, netns=None, args=(), env=None,
                 start=True, prefix=(), keep_log=True):
        self.dir = tempfile.mkdtemp(prefix='pr-')  # short: paths stand in messages and in socket names, which have bounds
        self.conf = os.path.join(self.dir, 'conf')
        self.policies = os.path.join(self.dir, 'policies')
        self.state = os.path.join(self.dir, 'state')
        self.logpath = os.path.join(self.dir, 'log')
        shutil.copytree(os.path.join(ROOT, 'conf'), self.conf)
        shutil.copytree(os.path.join(ROOT, 'policies'), self.policies)
        self.netns, self.args, self.env, self.prefix = netns, list(args), dict(env or {}), list(prefix)
        self.proc = None
        self.expect_report = False
        n = os.getpid() * 7 + id(self) // 64
        self.address = '127.%d.%d.%d' % (1 + n // 64516 % 250, 1 + n // 254 % 254, 1 + n % 254) if bind == 'own' else '127.0.0.1'
        self.sets = []
        if ports:
            self.sets += [(p, '0') for p in PORTS if os.path.exists(os.path.join(self.conf, p.split(':')[0]))]
            self.sets.append(('tomcat.ini:ShutdownPort', '-1'))
            self.sets += [('listeners.ini:%s.Port' % n, '0') for n in self.further()]
        if bind:
            self.sets.append(('tomcat.ini:BindAddress', self.address if bind == 'own' else bind))
        if components:
            self.sets.append(('portreeve.ini:Components', components))
        self.sets += [('portreeve.ini:' + k, str(v)) for k, v in (settings or {}).items()]
        self.sets += [tuple(x.split('=', 1)) if isinstance(x, str) else x for x in sets]
        for name, text in (files or {}).items():
            self.edit(name, text)
        for name, text in (policies or {}).items():
            self.edit('policies/' + name, text)
        if start:
            try:
                self.start()
            except BaseException:
                self.cleanup()
                raise

    def further(self):
        """Listener names of listeners.ini."""
        try:
            with open(os.path.join(self.conf, 'listeners.ini'), encoding='utf-8') as f:
                return sorted(set(re.findall(r'^\s*([A-Za-z0-9_-]+)\.Port\b', f.read(), re.M)))
        except FileNotFoundError:
            return []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            tap.note('--- last lines of the server ---\n' + '\n'.join(self.log().splitlines()[-40:]))
            self.kill()
            self.cleanup()
        else:
            self.stop()

    # --- files ---
    def path(self, name):
        return os.path.join(self.dir, name) if name.startswith('policies/') else os.path.join(self.conf, name)

    def read(self, name):
        with open(self.path(name), encoding='utf-8') as f:
            return f.read()

    def edit(self, name, text):
        """Write a configuration file ('tomcat.ini') or policy ('policies/bind.lua'): new text, or a function from old text to new."""
        path = self.path(name)
        if callable(text):
            text = text(self.read(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.new', 'w', encoding='utf-8') as f:
            f.write(text)
        os.rename(path + '.new', path)

    def append(self, name, text):
        old = self.read(name) if os.path.exists(self.path(name)) else ''
        self.edit(name, old + ('' if old.endswith('\n') or not old else '\n') + text)

    def snapshot(self):
        """Remember conf and policies; the function returned puts them back."""
        keep = tempfile.mkdtemp(prefix='snapshot-', dir=self.dir)
        for d in ('conf', 'policies'):
            shutil.copytree(os.path.join(self.dir, d), os.path.join(keep, d))

        def restore():
            for d in ('conf', 'policies'):
                shutil.rmtree(os.path.join(self.dir, d))
                shutil.copytree(os.path.join(keep, d), os.path.join(self.dir, d))
        return restore

    # --- life ---
    def options(self):
        out = ['--conf', self.conf, '--policies', self.policies, '--state', self.state]
        for k, v in self.sets:
            out += ['--set', '%s=%s' % (k, v)]
        return out

    def start(self, wait=True):
        argv = (['nsenter', '--net=/run/netns/' + self.netns] if self.netns else []) + self.prefix + [PROGRAM, 'run'] + self.options() + self.args
        self.out = open(self.logpath, 'ab')
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT, env=dict(environment(), **self.env),
                                     cwd=self.dir)
        _alive.add(self)
        if wait:
            self.ready()
        return self

    def ready(self, seconds=30):
        def probe():
            if self.proc.poll() is not None:
                _alive.discard(self)
                raise Refused(self.proc.returncode, self.log())
            st = self.status(quiet=True)
            return st is not None and st.get('generation', 0) >= 1 and st['engine']['state'] == 'live'
        try:
            wait_until('the server to be ready', probe, seconds)
        except AssertionError as e:
            raise AssertionError('%s\n%s' % (e, self.log()[-3000:]))

    def supervisor_pid(self):
        pid = self.proc.pid
        for _ in range(4):  # nsenter and prefixes may stand in between
            if any(c.endswith('/portreeve') for c in cmdline(pid)[:1]):
                return pid
            below = children(pid)
            if not below:
                break
            pid = below[0]
        return self.proc.pid

    def engine_pids(self):
        return [p for p in children(self.supervisor_pid()) if '--engine' in cmdline(p)]

    def engine_pid(self):
        pids = self.engine_pids()
        return pids[0] if pids else None

    def kill_engine(self):
        """kill -9 the engine; returns the pid it had."""
        pid = wait_until('an engine to kill', self.engine_pid)
        os.kill(pid, signal.SIGKILL)
        return pid

    def engine_after(self, old):
        """The pid of the engine that serves instead of `old`, once it does. `ready` alone may still be told of the one that has just been killed."""
        def probe():
            e = (self.status(quiet=True) or {}).get('engine', {})
            return e.get('state') == 'live' and e['pid'] != old and e['pid']
        return wait_until('an engine after %d' % old, probe, 30)

    def crash_engine(self):
        """kill -9 the engine and wait until the next one serves."""
        return self.engine_after(self.kill_engine())

    def refused(self):
        """A start that must not succeed: what it says, or '' where it does. Nothing is left of it."""
        try:
            self.start()
            return ''
        except Refused as e:
            return e.text
        finally:
            self.kill()
            self.cleanup()

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self):
        """End it at once, whatever it does. Children leave with their supervisor; those that do not are ended by number."""
        _alive.discard(self)
        if not self.proc or self.proc.poll() is not None:
            return
        pids = self.engine_pids() + [self.supervisor_pid()]
        for p in pids + [self.proc.pid]:
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait()
        self.out.close()

    def stop(self, check=True, keep=False):
        """SIGTERM, wait, look at the exit status and for sanitizer reports. Always ends every process."""
        if not self.proc:
            self.cleanup()
            return None
        code = self.proc.poll()
        children_before = self.engine_pids() if code is None else []
        if code is None:
            os.kill(self.supervisor_pid(), signal.SIGTERM)
            try:
                code = self.proc.wait(40 * SLOW)
            except subprocess.TimeoutExpired:
                tap.note('\n'.join(self.log().splitlines()[-40:]))
                self.kill()
                self.cleanup()
                raise AssertionError('portreeve did not end on SIGTERM')
        _alive.discard(self)
        self.out.close()
        left = [p for p in children_before if '--engine' in cmdline(p)]
        for p in left:
            os.kill(p, signal.SIGKILL)
        text = self.log()
        report = REPORT.search(text)
        if not keep:
            self.cleanup()
        if report and not self.expect_report:
            tap.note(text[max(0, report.start() - 200):report.start() + 6000])
            raise AssertionError('sanitizer report: ' + report.group(0))
        if check and (code != 0 or left):
            tap.note('\n'.join(text.splitlines()[-40:]))
            raise AssertionError('portreeve ended with %s%s' % (code, ', engine left behind' if left else ''))
        return code

    def stop_only(self):
        """End it in an orderly way but keep its folders, for another start()."""
        self.stop(keep=True)
        self.proc = None

    def cleanup(self):
        if os.environ.get('KEEP'):
            tap.note('kept: ' + self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # --- talk ---
    def command(self, name, *args, **kw):
        """A command to this server: (code, stdout, stderr)."""
        return command(name, '--state', self.state, *args, netns=self.netns, **kw)

    def offline(self, name, *args, **kw):
        """A command that reads this server's files: check, plan, mint, events …"""
        return command(name, *self.options(), *args, netns=self.netns, **kw)

    def status(self, quiet=False):
        code, out, err = self.command('status', '--json')
        if code != 0:
            if quiet:
                return None
            raise AssertionError('status: exit %s: %s%s' % (code, out, err))
        try:
            return json.loads(out)
        except ValueError:
            if quiet:
                return None
            raise AssertionError('status --json is not JSON: %r' % out[:400])

    def listeners(self, name=None):
        return [x for x in self.status()['listeners'] if name is None or x['name'] == name]

    def port(self, name='http', scheme=None):
        """The port really bound of listener `name` (scheme tells http from https where both have one name)."""
        for x in self.listeners():
            if x['name'] == name and (scheme is None or x['scheme'] == scheme):
                return x['port']
        raise AssertionError('no listener %r: %r' % (name, [(x['name'], x['address'], x['port']) for x in self.listeners()]))

    def tls_port(self):
        for x in self.listeners():
            if x['scheme'] == 'https':
                return x['port']
        raise AssertionError('no HTTPS listener')

    def reload(self, *options):
        """portreeve reload: (exit status, what it said)."""
        code, out, err = self.command('reload', *options, timeout=120)
        return code, out + err

    def check(self):
        code, out, err = self.offline('check', timeout=120)
        return code, out + err

    def eval(self, text, json_out=False):
        code, out, err = self.command('eval', *(['--json'] if json_out else []), text)
        if code != 0:
            raise AssertionError('eval %r: exit %s: %s%s' % (text, code, out, err))
        return json.loads(out) if json_out else out.rstrip('\n')

    def mint(self, campaign=1, recipient=1, link=1, url='https://example.org/'):
        code, out, err = self.command('mint', '--campaign', campaign, '--recipient', recipient, '--link', link, '--url', url)
        if code != 0:
            raise AssertionError('mint: exit %s: %s%s' % (code, out, err))
        return json.loads(out)

    def events(self):
        """Events still in the spool, as `portreeve events --json` prints them (one object a line)."""
        code, out, err = self.command('events', '--json')
        if code != 0:
            raise AssertionError('events: exit %s: %s%s' % (code, out, err))
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def log(self):
        try:
            with open(self.logpath, encoding='utf-8', errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def log_mark(self):
        """log_since(mark) gives what was written after this moment."""
        return os.path.getsize(self.logpath)

    def log_since(self, mark):
        with open(self.logpath, 'rb') as f:
            f.seek(mark)
            return f.read().decode('utf-8', 'replace')

    def counter(self, name):
        return self.status()['counters'].get(name, 0)

    def rows(self, sql, args=(), db='ui.db'):
        """Read the database of a component, read-only; [] while it does not exist."""
        path = os.path.join(self.state, 'db', db)
        if not os.path.exists(path):
            return []
        c = sqlite3.connect('file:%s?mode=ro' % path, uri=True, timeout=10)
        try:
            return c.execute(sql, args).fetchall()
        except sqlite3.OperationalError as e:
            if 'no such table' in str(e):
                return []
            raise
        finally:
            c.close()


if not os.access(PROGRAM, os.X_OK):
    print('Bail out! %s is missing: run make%s first' % (PROGRAM, '' if MODE == 'release' else ' MODE=' + MODE))
    sys.exit(1)
