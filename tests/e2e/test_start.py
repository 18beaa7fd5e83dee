#!/usr/bin/python3
"""Start, status, stop; bad configuration; --set; who is let in (admission) on real sockets."""
import os
import re
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import callers
import http1
from callers import hold
from portreeve import Refused, Server, command, free_ports, wait_until
from tap import done, ok, same


def alone(s, address, port=None):
    return callers.alone(s.address, port or s.port('http'), address)


def life():
    with Server() as s:
        st = s.status()
        ok({'http', 'internal', 'communications'} <= {x['name'] for x in st['listeners']}, 'the shipped configuration listens', st['listeners'])
        ok(all(x['port'] > 0 for x in st['listeners']), 'port 0 takes a free port, and status tells which')
        ok(any(x['scheme'] == 'https' for x in st['listeners']), 'HTTPS is among them')
        ok(all(x['because'].get('file') is not None and x['because'].get('policy') for x in st['listeners']), 'each says by which rule', st['listeners'])
        code, text, _ = s.command('status')
        ok(code == 0 and 'accepting connections on' in text, 'status for people', text)
        same(http1.get(s.address, s.port('http'), '/robots.txt').status, 200, 'HTTP answers')
        same(http1.get(s.address, s.tls_port(), '/robots.txt', tls=True).status, 200, 'HTTPS answers with the development certificate')
        shown = wait_until('the words of welcome', lambda: re.search(r'Inside: +\S+ (.*)', s.log())).group(1).split()
        same(command(*shown, stdin='1 + 1\n')[:2], (0, '2\n'), 'the console is reached by the very command that was printed')
        other = Server(start=False)
        other.state = s.state
        other.start(wait=False)  # its readiness would be answered by the first
        ok(other.proc.wait(60) == 1 and 'portreeve.pid' in other.log(), 'a second server on the same state folder is refused', other.log())
        other.kill()
        other.cleanup()
        same(http1.get(s.address, s.port('http'), '/robots.txt').status, 200, 'and harms nobody')
        same(s.command('stop')[0], 0, 'portreeve stop')
        same(s.proc.wait(60), 0, 'it ends with exit status 0')
        same(s.command('status')[0], 1, 'status of a server that does not run is exit status 1')
    s = Server()
    os.kill(s.supervisor_pid(), signal.SIGKILL)
    s.proc.wait()
    pids = s.engine_pids()
    wait_until('the engine to leave with its supervisor', lambda: not [p for p in pids if os.path.exists('/proc/%d' % p)])
    s.start()
    same(http1.get(s.address, s.port('http'), '/robots.txt').status, 200, 'a start after kill -9 of the supervisor repairs what it left')
    s.stop()


def bad_starts():
    cases = [
        ('a bad port', {'tomcat.ini': 'Port = 80a\n'}, r'tomcat.ini:1', '80a'),
        ('a bad setting', {'portreeve.ini': '# one\nIdleTimeout = soon\n'}, r'portreeve.ini:2', 'soon'),
        ('a file in UTF-16', {'tomcat.ini': '\0'.join('Port=8080\r\n') + '\0'}, r'tomcat.ini:1: ', 'UTF-16'),
        ('a list in UTF-16', {'lists/denied.list': '\0'.join('10.0.0.1\r\n') + '\0'}, r'denied.list:1: ', 'save it as UTF-8'),
        ('a byte 0', {'listeners.ini': 'ops.Services=ops\n# one\nops.Port=9180\0\n'}, r'listeners.ini:3: ', 'byte 0'),
        ('a bad list line', {'lists/denied.list': '10.0.0.1\n10.0.0.0/33\n'}, r'denied.list:2', '10.0.0.0/33'),
        ('an unclosed bracket', {'tomcat.ini': 'Port=8080\nBindAddress=[::1\n'}, r'tomcat.ini:2', 'BindAddress'),
        ('an address that is not here', {'tomcat.ini': 'Port=8080\nBindAddress=192.0.2.77\n'}, r'tomcat.ini:2', '192.0.2.77'),
        ('a list that does not exist', {'listeners.ini': 'a.Port=8081\na.2.Port=8082\na.2.Restriction=Grant\na.2.List=nosuch\n'}, 'listeners.ini:4: a.2.List=nosuch: ',
         'there is no file lists/nosuch.list'),
        ('devices that are not listed', {'listeners.ini': 'a.Port=8081\na.Proxy=V1\na.ProxyFrom=nosuch\n'}, 'listeners.ini:3: a.ProxyFrom=nosuch: ',
         'there is no file lists/nosuch.list'),
        ('a script that does not exist', {'listeners.ini': 'a.Port=8081\na.Services=script\na.Script=nosuch\n'}, 'listeners.ini:3: a.Script=nosuch: ',
         'no file nosuch.lua'),
        ('a certificate that is missing', {'certificates.ini': 'default.Certificate=nowhere.pem\n'}, r'certificates.ini:1', 'nowhere.pem'),
    ]
    for what, files, where, value in cases:
        s = Server(start=False)
        s.sets = [x for x in s.sets if not x[0].startswith('tomcat.ini')]
        for name, text in files.items():
            s.edit(name, text)
        try:
            s.start()
            ok(False, 'a start with %s is refused' % what)
            s.kill()
        except Refused as e:
            ok(e.code == 1 and where in e.text and value in e.text, 'a start with %s is refused, naming file, line and value' % what, e.text)
        code, out, err = s.offline('check')
        ok(code == 1 and where in out + err, 'check refuses it too: ' + what, out + err)
        s.cleanup()
    same(command('run', '--no-such-option')[0], 2, 'an unknown option is exit status 2')
    same(command('no-such-command')[0], 2, 'an unknown command is exit status 2')
    for name in ('run', 'check', 'plan', 'reload', 'status', 'stop', 'console', 'eval', 'mint', 'events', 'ini', 'list', 'test'):
        code, out, err = command(name, '--help')
        ok(code == 0 and 'portreeve ' + name in out, '%s --help' % name, (code, out, err))


def overrides():
    with Server(components='tracker', settings={'MaxRequestBody': 100}) as s:
        r = http1.get(s.address, s.port('http'), '/trk/u/x', method='POST', body=b'x' * 101)
        same(r.status, 413, '--set portreeve.ini:MaxRequestBody=100 is in force')
        same(sorted({v for x in s.listeners() for v in x['services']} & {'ui', 'hub'}), [], '--set Components=tracker leaves hub and ui out')
    s = Server(start=False)
    for text, what in (('tomcat.ini', 'no entry'), ('nothing.ini:Port=1', 'no such file'), ('tomcat.ini:Port', 'no value')):
        code, out, err = s.offline('check', '--set', text)
        ok(code in (1, 2) and (out + err).strip(), '--set %s is refused (%s)' % (text, what), (code, out, err))
    s.cleanup()


def refusal_lines(s, mark, pattern):
    return wait_until('the refusal in the log', lambda: [x for x in s.log_since(mark).splitlines() if all(p in x for p in pattern)])


def admission():
    extra = '''
granted.Port = free
granted.Address = {0}
granted.Services = tracker
granted.Restriction = Grant
granted.List = friends
refusing.Port = free
refusing.Address = {0}
refusing.Services = tracker
refusing.Restriction = Deny
refusing.List = foes
few.Port = free
few.Address = {0}
few.Services = tracker
few.MaxPerAddress = 3
full.Port = free
full.Address = {0}
full.Services = tracker
full.MaxConnections = 4
'''
    s = Server(components='tracker', bind='own', start=False)
    s.append('listeners.ini', extra.format(s.address))
    s.edit('lists/denied.list', '; nobody from here\n127.66.0.0/24\n!127.66.0.9\n')  # L2
    s.edit('lists/friends.list', '127.70.0.1-127.70.0.9\n')
    s.edit('lists/foes.list', '127.71.0.1\n')
    s.start()
    with s:
        mark = s.log_mark()
        same(alone(s, '127.66.0.1'), 'shut', 'an address of the denied list gets no byte')
        same(alone(s, '127.66.0.9'), 'served', 'one taken out of the list is served')
        same(alone(s, '127.66.1.1'), 'served', 'its neighbour is served')
        line = refusal_lines(s, mark, ['127.66.0.1', 'denied.list:2'])
        ok('reason=denied ' in line[0], 'the log line carries reason, list and line: ' + line[0][:160])
        same(alone(s, '127.66.0.1', s.tls_port()), 'shut', 'the same before TLS')
        granted, refusing = s.port('granted'), s.port('refusing')
        same([alone(s, a, granted) for a in ('127.70.0.1', '127.70.0.9', '127.70.0.10')], ['served', 'served', 'shut'], 'Grant lets only the list in')
        same([alone(s, a, refusing) for a in ('127.71.0.1', '127.71.0.2')], ['shut', 'served'], 'Deny keeps the list out')
        same(alone(s, '127.66.0.1', refusing), 'shut', 'the denied list stands before every listener')
        ok(refusal_lines(s, mark, ['127.70.0.10', 'friends']), 'a restriction is logged with its list')
        per_address(s)
        maximum(s)
        changes(s)
        counted(s)


def per_address(s):
    port, mark = s.port('few'), s.log_mark()
    held = hold(s.address, port, '127.72.0.1', 3)
    same(alone(s, '127.72.0.1', port), 'shut', 'the fourth connection of one address is refused at MaxPerAddress 3')
    same(alone(s, '127.72.0.2', port), 'served', 'another address is not')
    ok(refusal_lines(s, mark, ['127.72.0.1', 'per-address']), 'logged with its reason')
    held.pop().close()
    wait_until('the place to be given back', lambda: alone(s, '127.72.0.1', port) == 'served')
    ok(True, 'a place given back is free again')
    for c in held:
        c.close()


def live(s, name):
    """Connections of a listener that are open now, as the console counts them."""
    return sum(x['active'] for x in s.eval('listeners()', json_out=True) if x['name'] == name)


def maximum(s):
    port, mark = s.port('full'), s.log_mark()
    held = hold(s.address, port, '127.73.0.1', 4)
    same(alone(s, '127.73.0.2', port), 'shut', 'beyond MaxConnections of the listener nobody comes in')
    same(alone(s, '127.73.0.2', s.port('few')), 'served', 'on another listener he does')
    ok(refusal_lines(s, mark, ['127.73.0.2', 'maximum']), 'logged with its reason')
    for c in held:
        c.close()
    wait_until('places', lambda: alone(s, '127.73.0.2', port) == 'served')
    for _ in range(30):
        alone(s, '127.73.0.3', port)
    wait_until('the count of live connections to fall to 0', lambda: live(s, 'full') == 0)
    ok(True, 'every ticket was given back: 0 active')


def changes(s):
    """Lists change with a reload, and only then."""
    s.edit('lists/denied.list', '127.66.0.0/24\n127.75.0.1\n')
    same(alone(s, '127.75.0.1'), 'served', 'an edit of a list does nothing by itself')
    same(s.reload()[0], 0, 'reload')
    same([alone(s, a) for a in ('127.75.0.1', '127.66.0.9')], ['shut', 'shut'], 'it is in force with the reload')
    s.edit('policies/admission.lua', 'return function(facts)\n  return "yes, do come in"\nend\n')
    s.edit('policies/admission_test.lua', 'return { ["nothing"] = function(t) t.ok(true) end }\n')
    code, text = s.reload()
    if code == 0:  # what a policy answers is known only when it is asked
        same(alone(s, '127.76.0.1'), 'shut', 'a verdict that is none fails closed')
    else:
        ok('admission' in text, 'a verdict that is none is refused at the gate', text)


def counted(s):
    c = s.status()['counters']
    ok(c['refused_denied'] >= 4 and c['refused_restriction'] >= 2 and c['refused_per_address'] >= 1 and c['refused_maximum'] >= 1, 'refusals are counted by reason', c)
    ok('127.66.0.1' in s.eval('refusals()'), 'and the console tells them')


def no_fd_left():
    """The supervisor gives the ports back when it ends."""
    port, = free_ports(1)  # one that the kernel chose may be somebody's caller's by then
    with Server(components='tracker', sets=[('tomcat.ini:Port', str(port))]) as s:
        same(http1.get('127.0.0.1', port, '/robots.txt').status, 200, 'a port is used')
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        c.bind(('127.0.0.1', port))
        ok(True, 'the port is free after the end')


for part in (life, bad_starts, overrides, admission, no_fd_left):
    part()
done()
