#!/usr/bin/python3
"""What scripts and operators rely on: every command and its exit status, JSON, --set, the console, logs, numbers, and what a careless operator is told."""
import ctypes
import functools
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from logs import whole_lines
from portreeve import MODE, PROGRAM, ROOT, Refused, Server, command, environment, wait_until
from tap import done, ok, same, skip

COMMANDS = ('run', 'check', 'plan', 'explain', 'reload', 'status', 'stop', 'console', 'eval', 'mint', 'events', 'ini', 'list', 'lists', 'ban', 'unban', 'bans', 'reap', 'why', 'would', 'test', 'login-link')
NOBODY = 65534


def usage():
    code, out, _ = command('help')
    listed = re.findall(r'^  ([a-z-]+) {2,}', out, re.M)
    same(sorted(set(listed) - {'help', 'version'}), sorted(COMMANDS), 'help lists the commands there are, and no other')
    for name in COMMANDS:
        code, out, err = command(name, '--help')
        ok(code == 0 and out.startswith('usage: portreeve ' + name) and not err, name + ' --help')
        ok('Exit status: 0' in out and '2 wrong usage' in out, name + ' --help tells the exit status', out)
        same(command('help', name)[1], out, 'help %s is the same' % name)
        code, out, err = command(name, '--nonsense')
        ok(code == 2 and not out and ('portreeve ' + name) in err, name + ' with an unknown option: exit status 2 and its name', err)
        code, out, err = command(name, 'one', 'two', 'three')
        ok(code == 2 and not out, name + ' with words it does not take: exit status 2', err)
    for name in ('reload', 'status', 'stop', 'console', 'eval', 'events', 'mint', 'login-link'):
        words = {'eval': ['1'], 'mint': ['--campaign', 1, '--recipient', 1]}.get(name, [])
        code, out, err = command(name, '--state', '/nonexistent', *words)
        ok(code == 1 and not out and '/nonexistent' in err, name + ' without a server: exit status 1, the folder named', err)
    same(command('mint', '--campaign', 'x', '--recipient', 1)[0], 2, 'mint: a campaign that is no number is wrong usage')
    for args in (['plan', '--json', '--set', 'tomcat.ini:Port=0'], ['ini', os.path.join(ROOT, 'conf', 'tomcat.ini')]):
        with open('/dev/full', 'w') as full:
            p = subprocess.run([PROGRAM] + args, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
        ok(p.returncode == 1 and 'standard output' in p.stderr, args[0] + ': an answer that cannot be written is exit status 1', p.stderr)


def overrides():
    """--set reaches every file, and port 0 takes a free port that status tells."""
    sets = ['portreeve.ini:Workers=1', 'listeners.ini:more.Port=0', 'listeners.ini:more.Services=tracker', 'tracker.ini:TrackerId=trk9',
            'hub.ini:RMIPort=0', 'lui.ini:UrlForRecipients=https://news.example.org']
    s = Server(sets=sets, bind='own', start=False)
    s.sets += zip(('certificates.ini:default.Certificate', 'certificates.ini:default.Key'), certificate(s, 'one.example', None))
    with s.start():
        st = s.status()
        same(st['workers'], 1, 'portreeve.ini by --set')
        same(s.eval('config()', True)['tracker_id'], 'trk9', 'tracker.ini by --set')
        ok('one.example' in s.eval('config().certificates[1].subject'), 'certificates.ini by --set')
        ok(all(0 < x['port'] < 65536 for x in st['listeners']) and s.port('more') > 0, 'port 0 took free ports, status --json tells which')
        same(http1.get('127.0.0.1', s.port('more'), '/robots.txt').status, 200, 'and such a port serves')
        code, out, _ = s.offline('plan', '--json')
        plan = json.loads(out)
        same([(x['name'], x['address'], x['scheme'], x['services'], x['certificate']) for x in plan],
                [(x['name'], x['address'], x['scheme'], x['services'], x['certificate']) for x in st['listeners']], 'plan --json and status --json agree')
        ok(all(set(x['because']) == {'file', 'line', 'entry', 'row', 'policy'} for x in plan + st['listeners']), 'each says because of what')


def members(value):
    """The names of all members of a JSON document, however deep."""
    if isinstance(value, list):
        return set().union(*map(members, value))
    return set(value) | set().union(*map(members, value.values())) if isinstance(value, dict) else set()


def help_names_members(s):
    """What --json answers is named in --help: who writes a script looks there."""
    s.command('ban', '--for', '1h', '198.51.100.7')
    free = {'ipv4', 'ipv6', 'net_ipv4', 'net_ipv6'}  # of prefix
    for args in (['plan'], ['plan', '--diff'], ['plan', '--firewall'], ['explain', ':%d' % s.port('http')], ['bans'], ['reap', '--dry-run']):
        how = s.offline if args[0] in ('plan', 'explain') else s.command
        code, out, err = how(args[0], '--json', *args[1:])
        found = members(json.loads(out)) - free if code == 0 else set()
        told = command(args[0], '--help')[1] + (command('plan', '--help')[1] if args[0] == 'explain' else '')
        same([m for m in sorted(found) if not re.search(r'\b%s\b' % m, told)], [], ' '.join(args[:2]) + ' --json has no member that --help does not name')
        ok(len(found) > 2, '  and it answers', out + err)
    s.command('unban', '198.51.100.7')


def console_answers(s):
    text = s.eval('help()')
    names = re.findall(r'^([a-z]+)\(', text, re.M)
    ok(set(names) >= {'listeners', 'connections', 'plan', 'stats', 'refusals', 'reload', 'help', 'security'}, 'help() tells what there is', text)
    for name in ('listeners', 'connections', 'plan', 'stats', 'refusals', 'config', 'generations', 'security', 'status'):
        value, text = s.eval(name + '()', True), s.eval(name + '()')
        ok(isinstance(value, list if name in ('listeners', 'connections', 'plan', 'refusals', 'security') else dict), name + '() as JSON')
        ok(text and '\\x0a' not in text and 'table: 0x' not in text, name + '() is readable', text)
    same(s.eval('config().settings.Durability'), 'durable', 'settings are told by their words')
    for wrong, why in (('1 +', 'unexpected symbol|syntax'), ('nothing()', "no 'nothing'"), ('while true do end', 'budget'), ('os.execute("id")', 'nil value'),
                       ('("x"):rep(1e9)', 'bytes')):
        code, out, err = s.command('eval', wrong)
        ok(code == 1 and not out and re.search(why, err), 'eval %s: exit status 1 and why' % wrong, err)
    code, out, err = s.command('console', '--json', stdin='#listeners()\nlisteners()[1].name\nquit\nnever()\n')
    ok(code == 0 and [json.loads(x) for x in out.splitlines()] == [len(s.listeners()), 'http'], 'console --json from a pipe, quit ends it', out + err)
    code, out, err = s.command('console', stdin='nothing()\n1 + 1\n')
    ok(code == 1 and out == '2\n' and "no 'nothing'" in err, 'a failing line does not end the console, but shows in its exit status', out + err)


def completion(s):
    """The console on a terminal: Tab completes live names."""
    home = os.path.join(s.dir, 'home')
    os.mkdir(home)
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(environment(), HOME=home, TERM='xterm')
        os.execv(PROGRAM, [PROGRAM, 'console', '--state', s.state])
    shown = b''

    def until(what):
        nonlocal shown

        def probe():
            nonlocal shown
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    shown += os.read(fd, 65536)
                except OSError:
                    return True
            return what in shown
        wait_until(what, probe)
        found, shown = what in shown, b''
        return found

    ok(until(b'portreeve> '), 'the console greets')
    for keys, wanted, name in ((b'gener\t', b'ations(', 'a function'), (b'\x15listeners()[1].\t\t', b'restriction', 'fields of a living value'),
                               (b'\x15listener("\t\t', b'communications', "listeners' names")):
        os.write(fd, keys)
        ok(until(wanted), 'Tab completes ' + name)
    os.write(fd, b'\x15 6 * 7\n')
    ok(until(b'42'), 'a line is evaluated')
    os.write(fd, b'quit\n')
    same(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, 'quit ends it')
    os.close(fd)
    history = os.path.join(home, '.portreeve_history')
    ok(os.path.exists(history) and os.stat(history).st_mode & 0o77 == 0 and '6' in open(history).read(), 'lines are remembered, for their user only')


def security(s):
    code, out, err = s.command('status', '--security')
    rows = {x.split()[0]: x.split()[1] for x in out.splitlines()[1:]}
    ok(code == 0 and {'user', 'capabilities', 'privileges', 'files', 'calls'} <= set(rows), 'status --security tells each measure', out + err)
    code, out, err = s.command('status', '--security', '--json')
    value = json.loads(out)
    ok(code == 0 and all(set(x) == {'name', 'state', 'how'} and x['state'] in ('on', 'part', 'off') for x in value), 'also as JSON', out)
    with open('/proc/%d/status' % s.engine_pid()) as f:
        facts = f.read()
    same(re.search(r'NoNewPrivs:\s+(\d)', facts).group(1) == '1', next(x['state'] for x in value if x['name'] == 'privileges') == 'on',
            'it says what the kernel says: no new privileges')
    if MODE == 'release':
        same(re.search(r'Seccomp:\s+(\d)', facts).group(1) == '2', next(x['state'] for x in value if x['name'] == 'calls') == 'on', 'and system calls')


def reload_is_told(s):
    """An edit does nothing by itself; a broken one is told everywhere, with file and line."""
    before, restore = s.status(), s.snapshot()
    s.append('listeners.ini', 'late.Port=7996\nlate.Services=tracker')
    time.sleep(0.3)
    same(s.status()['generation'], before['generation'], 'an edit does nothing by itself')
    restore()
    s.append('lists/denied.list', '192.0.2.1/8')
    line = len(s.read('lists/denied.list').splitlines())
    mark = s.log_mark()
    where = r'lists/denied\.list:%d: "192\.0\.2\.1/8"' % line
    code, text = s.reload()
    ok(code == 1 and re.search(where, text) and 'nothing has changed' in text, 'reload of a bad list line: file and line', text)
    ok(re.search('error reload: .*' + where, s.log_since(mark)), 'the log says it, as an error', s.log_since(mark))
    code, out, _ = s.command('status')
    ok(code == 0 and re.search(where, out) and 'REFUSED' in out, 'status says it', out)
    ok(re.search(where, s.eval('generations()')), 'the console says it')
    code, out, err = s.command('eval', 'reload()')
    ok(code == 1 and re.search(where, err), 'reload() in the console refuses with the same words', err)
    restore()
    code, out, err = s.command('eval', 'reload()')
    ok(code == 0 and 'is live' in out and s.status()['generation'] > before['generation'], 'reload() of good files', out + err)
    s.append('listeners.ini', 'one.Port=5999\none.Address=127.9.9.9\ntwo.Port=5999\ntwo.Address=127.9.9.9')
    code, text = s.reload()
    last = len(s.read('listeners.ini').splitlines())
    ok(code == 1 and re.search(r'listeners\.ini:%d: .*127\.9\.9\.9:5999.*listeners\.ini:%d' % (last - 1, last - 3), text),
            'two listeners of one address: both lines', text)
    restore()


def certificate(s, name, password):
    pem, key = os.path.join(s.dir, name + '.pem'), os.path.join(s.dir, name + '.key')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-keyout', key, '-out', pem, '-days', '3', '-subj', '/CN=' + name] +
            (['-passout', 'pass:' + password] if password else ['-nodes']), check=True, stderr=subprocess.DEVNULL)
    return pem, key


def secrets(s):
    """Passwords, keys and one-time tokens are in no log, status or console."""
    word = 'Sesame' + str(os.getpid())
    pem, key = certificate(s, 'secret', word)
    with open(os.path.join(s.state, 'keys', 'setup.token'), encoding='utf-8') as f:
        token = f.read().split()[0]
    ok(token in s.log(), 'the set-up link is shown at the start')
    mark, restore = s.log_mark(), s.snapshot()
    s.append('certificates.ini', 'mine.Certificate=%s\nmine.Key=%s\nmine.Password=%s' % (pem, key, word))
    code, text = s.reload()
    ok(code == 0 and 'mine.Password: everybody on this machine may read it' in text and word not in text, 'a password that everybody may read is warned of', text)
    os.chmod(s.path('certificates.ini'), 0o600)
    code, text = s.reload()
    ok(code == 0 and 'may read' not in text, 'and not where only we may')
    s.append('certificates.ini', 'mine.Pasword=x' + word)
    ok(word not in s.reload()[1], 'nor is a misspelled one shown')
    for target in ('/hub/setup?token=' + token, '/trk/nothing?password=' + word, '/hub/login?token=%0a' + word):
        http1.get(s.address, s.port('http'), target)
    code, link, _ = s.command('login-link')
    once = re.search(r'token=([0-9a-f]+)', link)
    ok(code == 0 and once, 'login-link makes a link', link)
    http1.get(s.address, s.port('http'), '/hub/once?token=' + once.group(1))
    access = os.path.join(s.state, 'log', 'access.log')
    wait_until('the access lines', lambda: len(whole_lines(access)) >= 4 and any('/hub/once' in x for x in whole_lines(access)))
    lines = [json.loads(x) for x in whole_lines(access)]
    ok(all({'time', 'address', 'listener', 'service', 'method', 'path', 'status', 'ms'} <= set(x) for x in lines),
            'an access line is one JSON object')
    with open(os.path.join(s.state, 'keys', 'tracker.keys'), encoding='utf-8') as f:
        keys = re.findall(r'[0-9a-f]{32,}', f.read())
    said = {'the access log': open(access).read(), 'the log': s.log_since(mark), 'status': s.command('status')[1], 'status --json': s.command('status', '--json')[1],
            'the console': ''.join(s.command('eval', '--json', x + '()')[1] for x in ('status', 'config', 'plan', 'connections')),
            'plan': ''.join(s.offline('plan', *x)[1] for x in ([], ['--json']))}
    for where, text in said.items():
        ok(keys and not any(x in text for x in [word, token, once.group(1)] + keys), 'no secret in ' + where)
    restore()


def numbers(s):
    """/metrics, /healthz, /readyz."""
    address, port = next((x['address'], x['port']) for x in s.listeners() if x['name'] == 'ops')
    r = http1.get(address, port, '/metrics')
    text = r.body.decode()
    typed, seen, bad = {}, set(), []
    for line in text.splitlines():
        m = re.match(r'# TYPE (\S+) (counter|gauge)$', line)
        if m:
            typed[m.group(1)] = m.group(2)
            continue
        if line.startswith('# HELP ') or not line:
            continue
        m = re.match(r'([a-z_][a-z0-9_]*)(\{(?:[a-z_]+="[^"\\\n]*",?)+\})? (-?[0-9.]+(?:e[+-]?\d+)?)$', line)
        if not m or m.group(1) not in typed or (m.group(1), m.group(2)) in seen:
            bad.append(line)
        else:
            seen.add((m.group(1), m.group(2)))
    ok(r.status == 200 and len(seen) > 20 and not bad and text.endswith('\n'), '/metrics is Prometheus text: every line of a declared type, none twice', bad[:5])
    same(http1.get(address, port, '/healthz').status, 200, '/healthz')
    wait_until('/readyz to say 200', lambda: http1.get(address, port, '/readyz').status == 200)  # when the sockets are proved
    ok(True, '/readyz')
    same(http1.get(s.address, s.port('http'), '/metrics').status, 404, 'and not on a listener without ops')


def json_log(s):
    mark, restore = s.log_mark(), s.snapshot()
    s.append('portreeve.ini', 'LogFormat=json')
    same(s.reload()[0], 0, 'LogFormat=json')
    s.append('portreeve.ini', 'IdleTimeout=soon "\x01"')
    same(s.reload()[0], 1, 'then a refused reload')
    lines = s.log_since(mark).splitlines()
    lines = lines[next(i for i, x in enumerate(lines) if x.startswith('{')):]  # from the moment on at which it is in force
    values = [json.loads(x) for x in lines]
    ok(values and all({'time', 'level', 'area', 'message'} <= set(x) for x in values), 'each line of the log is JSON', lines[:3])
    ok(any(x['level'] == 'error' and re.search(r'portreeve\.ini:\d+: IdleTimeout=soon', x['message']) for x in values), 'with the refusal, file and line')
    restore()
    same(s.reload()[0], 0, 'back to lines for people')


def links(s):
    """mint takes the address of links from the configuration."""
    def base(*args):
        code, out, err = s.command('mint', '--campaign', 1, '--recipient', 1, *args)
        return json.loads(out)['open'].split('/trk/')[0] if code == 0 else err
    s.edit('lui.ini', '')
    same(base('--conf', s.conf), 'http://localhost:8080', 'mint: Port of tomcat.ini')
    s.edit('lui.ini', 'UrlForRecipients = https://news.example.org/m/ \n')
    same(base('--conf', s.conf), 'https://news.example.org/m', 'mint: UrlForRecipients of lui.ini')
    same(base('--conf', s.conf, '--base', 'http://x.example'), 'http://x.example', 'mint: --base comes first')
    s.edit('lui.ini', '\nUrlForRecipients=news\n')
    ok(re.search(r'lui\.ini:2: UrlForRecipients=news: ', base('--conf', s.conf)), 'mint: a bad one is named with file and line', base('--conf', s.conf))
    s.edit('lui.ini', '')


def follow(s):
    """events --follow ends when its reader goes."""
    link = s.mint()['open']
    path = '/trk/' + link.split('/trk/')[1]
    p = subprocess.Popen([PROGRAM, 'events', '--json', '--follow', '--state', s.state], stdout=subprocess.PIPE, env=environment())
    try:
        same(http1.get(s.address, s.port('http'), path).status, 200, 'an open')
        first = json.loads(p.stdout.readline())
        ok(first['type'] == 'open' and first['campaign'] == 1, 'events --follow shows it as JSON')
        p.stdout.close()
        same(p.wait(30), 0, 'and ends well when nobody reads any more')
    finally:
        p.kill()


def follow_from_there(s):
    """Whoever follows from a position on has missed nothing of what lies before it."""
    path = '/trk/' + s.mint(campaign=78)['open'].split('/trk/')[1]
    for _ in range(3):
        http1.get(s.address, s.port('http'), path)
    newest = wait_until('three events', lambda: (lambda t: t.count('campaign=78') == 3 and re.search(r'^position (\d+)$', t, re.M))(
        command('events', '--state', s.state)[1])).group(1)
    p = subprocess.Popen([PROGRAM, 'events', '--json', '--follow', '--after', newest, '--state', s.state], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=environment())
    try:
        time.sleep(0.5)  # so that it rests at that position; were it slower it would have less to be wrong about
        http1.get(s.address, s.port('http'), path)
        same(json.loads(p.stdout.readline())['campaign'], 78, 'events --follow --after shows the next one')
    finally:
        p.terminate()
    same(p.communicate()[1], b'', 'and says of none before it that it was missed')


def follow_beside_the_ui(s):
    """A ui fetches events within milliseconds and has them deleted: events --follow shows them all the same, or says which it could not."""
    path = '/trk/' + s.mint(campaign=77)['open'].split('/trk/')[1]
    out, err = os.path.join(s.dir, 'follow.out'), os.path.join(s.dir, 'follow.err')
    with open(out, 'wb') as o, open(err, 'wb') as e:
        p = subprocess.Popen([PROGRAM, 'events', '--json', '--follow', '--state', s.state], stdout=o, stderr=e, env=environment())

    def numbers():
        with open(out, encoding='utf-8') as o, open(err, encoding='utf-8') as e:
            shown = [x['seq'] for x in map(json.loads, o.read().rpartition('\n')[0].splitlines()) if x['campaign'] == 77]
            told = [n for a, b in re.findall(r'seq (\d+) to (\d+)', e.read()) for n in range(int(a), int(b) + 1)]
        return shown, told
    try:
        http1.get(s.address, s.port('http'), path)
        first = wait_until('the first event', lambda: numbers()[0])[0]
        for _ in range(150):
            http1.get(s.address, s.port('http'), path)
        last = first + 150  # the newest is never deleted
        shown, told = wait_until('the last event', lambda: last in numbers()[0] and numbers())
        same(sorted(shown + told), list(range(first, last + 1)), 'beside a ui each event is shown once or named as missed (%d, %d)' % (len(shown), len(told)))
    finally:
        p.kill()
        p.wait()


def check_finds_the_server():
    """check without --state takes the running server's, however long its path is."""
    s = Server(bind='own', sets=['listeners.ini:more.Port=0', 'listeners.ini:more.Services=tracker'], start=False)
    s.state = os.path.join(s.dir, 'a-state-folder-with-a-name-' + 'so-long-' * 15, 'state')
    os.makedirs(s.state)
    with s.start():
        same(s.eval('1 + 1'), '2', 'the console answers below %d bytes of path' % len(s.state))
        ok(s.command('login-link')[0] == 0 and s.reload()[0] == 0, 'and so do login-link and reload')
        held_ports(s)


def held_ports(s):
    options = s.options()
    at = options.index('--state')
    del options[at:at + 2]
    fixed = ['--set', 'listeners.ini:more.Port=%d' % s.port('more'), '--set', 'listeners.ini:more.Services=tracker']
    code, _, err = command('check', *options, *fixed, env={'PORTREEVE_STATE': s.state})
    same((code, err), (0, ''), 'check: ports that the running server holds are not taken (state folder of %d bytes)' % len(s.state))
    code, _, err = command('check', *options, *fixed, env={'PORTREEVE_STATE': '/nonexistent'})
    ok(code == 1 and '%d: port taken' % s.port('more') in err, 'for anybody else they are', err)


def default_state():
    """Without --state: $PORTREEVE_STATE, a ./var of ours, /var/lib/portreeve; never the /var of a shell that stands in /."""
    here = tempfile.mkdtemp(prefix='pr-')
    try:
        def asked(name, *words):
            p = subprocess.run([PROGRAM, name, *words], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
            return re.search(r'(?:\./)?[a-z/]*var(?:/lib/portreeve)?', p.stderr).group(0)
        os.mkdir(os.path.join(here, 'var'))
        same((asked('status'), asked('eval', '1')), ('/var/lib/portreeve',) * 2, 'a ./var that is not ours is not taken for a state folder')
        os.mkdir(os.path.join(here, 'var', 'keys'))
        same((asked('status'), asked('eval', '1')), ('./var',) * 2, 'one of ours is')
    finally:
        shutil.rmtree(here)


def closed_pipe():
    """Nobody reads the log any more: the server serves on."""
    s = Server(components='tracker', bind='own', start=False)
    try:
        r, w = os.pipe()
        s.out = os.fdopen(w, 'wb')
        s.proc = subprocess.Popen([PROGRAM, 'run'] + s.options(), stdin=subprocess.DEVNULL, stdout=w, stderr=w, env=environment(), cwd=s.dir)
        os.close(r)
        s.ready()
        for _ in range(20):
            status = http1.get(s.address, s.port('http'), '/robots.txt').status
        code, text = s.reload()
        ok(status == 200 and code == 0 and s.alive(), 'a closed pipe as log: it starts, serves and reloads', text)
        s.stop()
    except BaseException:
        s.kill()
        s.cleanup()
        raise


def careless():
    s = Server(start=False)
    try:
        os.chmod(s.policies, 0o777)
        code, text = s.check()
        ok(code == 1 and re.search(r'policies: everybody may put policies into this folder: chmod o-w', text),
                'a folder of policies that everybody may write to is refused', text)
        os.chmod(s.policies, 0o755)
        os.chmod(s.path('tomcat.ini'), 0o666)
        code, text = s.check()
        ok(code == 0 and re.search(r'^warning: .*tomcat\.ini: everybody on this machine may write', text, re.M), 'a file that everybody may write to is warned of', text)
        same(re.search(r'good: .*', text).group(0).endswith('1 warning'), True, 'and counted')
        os.mkdir(s.state)
        os.chmod(s.state, 0o777)
        code, out, err = s.offline('run')
        ok(code == 1 and 'state: everybody may write to the state folder: chmod o-w' in err and not os.listdir(s.state), 'such a state folder is refused', err)
        os.rmdir(s.state)
    finally:
        s.cleanup()


def as_nobody(program, *args):
    p = subprocess.run([program, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, cwd='/',
                       env=environment(), user=NOBODY, group=65534, extra_groups=[])
    return p.returncode, p.stdout, p.stderr


def wrong_user():
    """Root set it up, another user runs it."""
    if os.geteuid() != 0:
        return skip('files of another user', 'needs root')
    s = Server(start=False)
    try:
        os.chmod(s.dir, 0o755)
        # A copy: the checkout may lie below a home that others may not enter.
        built = os.path.join(s.dir, 'built')
        shutil.copytree(os.path.join(ROOT, 'lua'), os.path.join(built, 'lua'))
        for name in ('portreeve', 'portreeve-engine'):
            shutil.copy(os.path.join(os.path.dirname(PROGRAM), name), built)
        subprocess.run(['chmod', '-R', 'a+rX', built], check=True)
        nobody = functools.partial(as_nobody, os.path.join(built, 'portreeve'))
        same(nobody('version')[0], 0, 'another user may run the program')
        pem, key = certificate(s, 'shut', None)
        s.append('certificates.ini', 'mine.Certificate=%s\nmine.Key=%s' % (pem, key))
        os.chmod(key, 0o600)
        line = len(s.read('certificates.ini').splitlines()) - 1
        code, _, err = nobody('check', *s.options())
        ok(code == 1 and re.search(r'certificates\.ini:%d: mine\.Key=.*Permission denied for uid %d' % (line, NOBODY), err),
                'an unreadable key: entry, file, and for whom', err)
        code, _, err = nobody('run', *s.options())
        ok(code == 1 and 'for uid %d' % NOBODY in err, 'a state folder that cannot be made: exit status 1 and for whom', err)
        os.makedirs(os.path.join(s.state, 'run'), mode=0o700)
        os.chown(s.state, NOBODY, NOBODY)
        code, _, err = nobody('run', *s.options())
        ok(code == 1 and re.search(r'state/run: .*uid 0.*uid %d.*chown' % NOBODY, err), 'a folder of root in it: named, with what to do', err)
        os.chmod(s.state, 0o700)
        os.chown(s.state, 0, 0)
        for name in ('status', 'reload', 'stop', 'events', 'login-link'):
            code, _, err = nobody(name, '--state', s.state)
            ok(code == 1 and 'Permission denied; ask as root or as the user portreeve runs as' in err, name + ' of a stranger: whom to ask as', (code, err))
        os.chown(s.state, NOBODY, NOBODY)
        os.chown(s.state, 0, 0)
        for name, args in (('status', []), ('eval', ['1']), ('events', [])):
            code, _, err = nobody(name, '--state', s.state, *args)
            ok(code == 1 and 'Permission denied; ask as root or as the user' in err, name + ' of a stranger: told whom to ask as', err)
    finally:
        s.cleanup()


def full_disk():
    """The state folder's disk is full: opens are answered, unsubscribes are not lost silently, and all is well again when there is room."""
    s = Server(components='tracker', bind='own', start=False)
    os.mkdir(s.state, 0o700)
    if os.geteuid() != 0 or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=6m,mode=700', 'none', s.state], stderr=subprocess.DEVNULL).returncode != 0:
        s.cleanup()
        return skip('a full disk', 'no tmpfs can be mounted here')
    fill = os.path.join(s.state, 'fill')
    try:
        s.start()
        paths = {k: '/trk/' + v.split('/trk/')[1] for k, v in s.mint().items() if k in ('open', 'unsubscribe')}
        with open(fill, 'wb', buffering=0) as f:
            try:
                for _ in range(4096):
                    f.write(bytes(4096))
            except OSError:
                pass

        def unsubscribe():
            return http1.get(s.address, s.port('http'), paths['unsubscribe'], method='POST', headers=[('Content-Type', 'application/x-www-form-urlencoded')],
                    body=b'List-Unsubscribe=One-Click').status
        wait_until('the first 503', lambda: unsubscribe() == 503)
        same(http1.get(s.address, s.port('http'), paths['open']).status, 200, 'a full disk: a pixel is answered')
        same(s.log().count('events cannot be stored'), 1, 'one alarm, not one for each event')
        ok(re.search(r'error spool: .*spool\.db.*disk is full', s.log()), 'which names the file and the reason')
        same(s.reload()[0], 0, 'a reload works all the same')
        os.unlink(fill)
        wait_until('unsubscribes again', lambda: unsubscribe() == 200)
        ok(True, 'with room again, unsubscribes are taken again')
        s.stop(keep=True)
        s.proc = None
    finally:
        s.kill()
        subprocess.run(['umount', s.state], stderr=subprocess.DEVNULL)
        s.cleanup()


def system_calls(unit):
    """Names that the unit's SystemCallFilter allows, as systemd of this machine understands it."""
    names = set()

    def add(word):
        if not word.startswith('@'):
            names.add(word)
            return
        text = subprocess.run(['systemd-analyze', 'syscall-filter', word], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
        for x in text.splitlines()[1:]:
            x = x.strip()
            if x and not x.startswith('#'):
                add(x)
    for words in re.findall(r'^SystemCallFilter=(.*)$', unit, re.M):
        for word in words.split():
            add(word)
    add('@default')
    return names


def confined(names):
    """For preexec_fn: the process becomes nobody under a filter that allows these calls only, as the service manager does it."""
    lib = ctypes.CDLL('libseccomp.so.2')
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    context = lib.seccomp_init(0x00050001)  # SCMP_ACT_ERRNO(EPERM)
    for name in names:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            lib.seccomp_rule_add(context, 0x7fff0000, number, 0)

    def become():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        if lib.seccomp_load(context) != 0:
            os._exit(126)
    return become


def installed():
    """make install: the tree, its modes whatever the umask, and that it runs from where it lies."""
    if MODE != 'release':
        return skip('make install', 'only the release build is installed')
    root = tempfile.mkdtemp(prefix='pr-')
    try:
        os.chmod(root, 0o755)
        env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')}
        p = subprocess.run(['sh', '-c', 'umask 077; exec make -s install DESTDIR="$1"', '-', root], cwd=ROOT, env=env, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
        same(p.returncode, 0, 'make install DESTDIR=' + ('' if p.returncode == 0 else ': ' + p.stdout))
        modes = {}
        for folder, _, files in os.walk(os.path.join(root, 'usr')):
            modes[folder] = os.stat(folder).st_mode & 0o777
            modes.update((os.path.join(folder, x), os.stat(os.path.join(folder, x)).st_mode & 0o777) for x in files)
        same({os.path.relpath(k, root): oct(v) for k, v in modes.items() if v & 0o555 != (0o555 if os.path.isdir(k) else v & 0o555) or not v & 0o004}, {},
                'everybody may read what is installed, with a umask of 077 too')
        program, unit = os.path.join(root, 'usr/bin/portreeve'), open(os.path.join(root, 'usr/lib/systemd/system/portreeve.service')).read()
        for x in ('etc/portreeve/tomcat.ini', 'etc/portreeve/policies/bind.lua', 'etc/portreeve/lists/admin.list', 'usr/lib/sysusers.d/portreeve.conf',
                  'etc/logrotate.d/portreeve', 'usr/libexec/portreeve/portreeve-engine', 'usr/share/portreeve/lua/portreeve/rules.lua',
                  'usr/share/portreeve/examples/policies/README.md', 'usr/share/portreeve/examples/finger/README.md'):
            ok(os.path.isfile(os.path.join(root, x)), 'there is /' + x)
        same(os.stat(os.path.join(root, 'var/lib/portreeve')).st_mode & 0o777, 0o700, '/var/lib/portreeve is closed')
        ok('@' not in re.sub(r'@[a-z-]+\b(?!@)', '', unit), 'no placeholder is left in the unit')
        for x in ('Type=notify', 'ExecReload=/usr/bin/portreeve reload', 'User=portreeve', 'NoNewPrivileges=yes', 'CapabilityBoundingSet=CAP_NET_BIND_SERVICE'):
            ok(x in unit, 'the unit has ' + x)
        with open(os.path.join(root, 'etc/portreeve/tomcat.ini'), 'a') as f:
            f.write('# mine\n')
        subprocess.run(['make', '-s', 'install', 'DESTDIR=' + root], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, check=True)
        ok(open(os.path.join(root, 'etc/portreeve/tomcat.ini')).read().endswith('# mine\n'), 'installing again keeps the configuration')
        verify_unit(root, unit)
        run_installed(root, program, unit)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def verify_unit(root, unit):
    if not shutil.which('systemd-analyze'):
        return skip('systemd-analyze verify', 'there is none')
    path = os.path.join(root, 'portreeve.service')
    with open(path, 'w') as f:
        f.write(unit.replace('/usr/bin/portreeve', root + '/usr/bin/portreeve'))
    p = subprocess.run(['systemd-analyze', 'verify', '--man=no', path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = [x for x in p.stdout.splitlines() if 'portreeve.service' in x]
    return same((p.returncode, said), (0, []), 'systemd-analyze verify has nothing to say')


def run_installed(root, program, unit):
    s = Server(components='tracker', bind='own', start=False)
    try:
        confine, name = None, 'the installed program runs from where it lies'
        if os.geteuid() == 0 and shutil.which('systemd-analyze'):
            os.chmod(s.dir, 0o755)
            os.mkdir(s.state, 0o700)
            os.chown(s.state, NOBODY, NOBODY)
            confine, name = confined(system_calls(unit)), name + ", as another user and under the unit's filter of system calls"
        shutil.rmtree(s.conf)
        shutil.copytree(os.path.join(root, 'etc/portreeve'), s.conf)
        options = s.options()
        at = options.index('--policies')
        del options[at:at + 2]
        s.out = open(s.logpath, 'ab')
        s.proc = subprocess.Popen([program, 'run'] + options, stdin=subprocess.DEVNULL, stdout=s.out, stderr=s.out, env=environment(), cwd='/', preexec_fn=confine)
        s.ready()
        same(http1.get(s.address, s.port('http'), '/robots.txt').status, 200, name)
        ok(os.readlink('/proc/%d/exe' % s.engine_pid()).startswith(root + '/'), 'with the engine installed beside it')
        states = {x['name']: (x['state'], x['how']) for x in json.loads(s.command('status', '--security', '--json')[1])}
        if os.path.exists('/sys/kernel/security') and 'no Landlock (Operation not supported' not in states['files'][1] and 'not implemented' not in states['files'][1]:
            same((states['files'][0], states['calls'][0]), ('on', 'on'), 'and all its hardening')
        same(s.reload()[0], 0, 'and reloads')
        s.stop()
    except (AssertionError, Refused):
        s.kill()
        s.cleanup()
        raise


usage()
default_state()
overrides()
with Server(bind='own', sets=['listeners.ini:more.Port=0', 'listeners.ini:more.Services=tracker']) as server:
    for part in (help_names_members, console_answers, completion, security, reload_is_told, secrets, numbers, json_log, links, follow_beside_the_ui):
        part(server)
with Server(components='tracker', bind='own') as server:
    follow(server)
    follow_from_there(server)
check_finds_the_server()
closed_pipe()
careless()
wrong_user()
full_disk()
installed()
done()
