#!/usr/bin/python3
"""Reloads under load: broken ones change nothing and say file and line, good ones lose nothing. GOOD=1000 for the long form."""
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import load
from portreeve import Server, free_ports, wait_until
from tap import done, note, ok, same

GOOD = int(os.environ.get('GOOD', '100'))


def line_of(s, name, pattern):
    """Number of the last line of a file that matches."""
    return max(i for i, text in enumerate(s.read(name).splitlines(), 1) if re.search(pattern, text))


def prepend(text):
    return lambda old: text + old


def wrap_route(code):
    """The route policy with a few lines of ours before it."""
    return lambda old: 'local inner = (function(...)\n%s\nend)(...)\nreturn function(req)\n%s\nreturn inner(req)\nend\n' % (old, code)


def syntax_error(s):
    s.append('policies/route.lua', 'return return')
    return r'policies/route\.lua:%d\b' % line_of(s, 'policies/route.lua', '^return return')


def runtime_error(s):
    s.edit('policies/route.lua', prepend('local nothing\nlocal _ = nothing.field\n'))
    return r'policies/route\.lua:2\b'


def endless_loop(s):
    s.edit('policies/admission.lua', prepend('local n = 0\nwhile true do\n  n = n + 1\nend\n'))
    return r'policies/admission\.lua:[234]\b'


def memory_bomb(s):
    s.edit('policies/admission.lua', prepend('local t = {}\nfor i = 1, 1e9 do\n  t[i] = ("x"):rep(100000) .. i\nend\n'))
    return r'policies/admission\.lua:[123]\b'


def nonsense_plan(s):
    s.edit('policies/bind.lua', 'return function(rules, host)\n  return { sockets = { { name = "http", address = "nowhere", port = 70000, colour = "red" } } }\nend\n')
    s.edit('policies/bind_test.lua', 'return { ["nothing"] = function(t) t.ok(true) end }\n')  # or its tests would find it first
    return r'policies/bind\.lua:\d+'


def failing_test(s):
    s.edit('policies/route_test.lua', 'return {\n  ["one is two"] = function(t)\n    t.eq(1, 2)\n  end,\n}\n')
    return r'policies/route_test\.lua:3\b.*'


def missing_file(s):
    s.append('certificates.ini', 'gone.Certificate = gone.pem\ngone.Key = gone.key')
    return r'certificates\.ini:%d\b' % line_of(s, 'certificates.ini', r'^gone\.Certificate')


def missing_policy(s):
    os.unlink(s.path('policies/admission.lua'))
    return r'admission\.lua'


def bad_value(s):
    s.append('portreeve.ini', 'IdleTimeout = soon')
    return r'portreeve\.ini:%d\b.*soon' % line_of(s, 'portreeve.ini', '^IdleTimeout = soon')


def foreign_address(s):
    s.append('tomcat.ini', 'BindAddress = %s:%d, 192.0.2.77:8080' % (s.address, s.http_port))
    return r'tomcat\.ini:%d\b.*192\.0\.2\.77|192\.0\.2\.77.*tomcat\.ini:%d\b' % ((line_of(s, 'tomcat.ini', '^BindAddress'),) * 2)


def port_taken(s):
    s.append('listeners.ini', 'taken.Port = %d\ntaken.Address = %s\ntaken.Services = tracker' % (s.taken, s.address))
    return r'listeners\.ini:%d\b' % line_of(s, 'listeners.ini', r'^taken\.Port')


BROKEN = [syntax_error, runtime_error, endless_loop, memory_bomb, nonsense_plan, failing_test, missing_file, missing_policy, bad_value, foreign_address,
          port_taken]


def shape(s):
    """What the world sees of the plan."""
    return sorted((x['name'], x['address'], x['port'], x['scheme']) for x in s.listeners())


def broken(s, work):
    before, generation = shape(s), s.status()['generation']
    for spoil in BROKEN:
        name = spoil.__name__.replace('_', ' ')
        restore, mark, base = s.snapshot(), s.log_mark(), work.count('answered')
        wanted = spoil(s)
        check_code, check_text = s.check()
        code, text = s.reload()
        restore()
        same(code, 1, 'reload with %s is refused' % name)
        ok(re.search(wanted, text, re.S), 'the message names file and line: ' + (text.strip().splitlines() or ['(none)'])[0][:150], '%s\nwanted %s' % (text, wanted))
        same(check_code, 1, 'portreeve check refuses it too: ' + name)
        if spoil is not port_taken and spoil is not foreign_address:
            ok(re.search(wanted, check_text, re.S), 'and says the same', check_text)
        st = s.status()
        ok(st['generation'] == generation and shape(s) == before, 'the old plan serves after: ' + name, 'generation %s, was %s' % (st['generation'], generation))
        ok(st['last_reload']['ok'] is False and re.search(wanted, st['last_reload']['text'], re.S), 'status tells the refused reload: ' + name, st['last_reload'])
        ok(re.search(wanted, s.log_since(mark), re.S), 'the log tells it: ' + name, s.log_since(mark)[-1500:])
        wait_until('answers', lambda: work.count('answered') > base + 20)
        same((work.bad(), work.kept_closed), (0, 0), 'no request failed during: ' + name)


class Changes:
    """A hundred different good changes, in turn: binding, policy, list, setting."""

    def __init__(self, s):
        self.s, self.n = s, 0
        self.original = {f: s.read(f) for f in ('tomcat.ini', 'listeners.ini', 'portreeve.ini', 'policies/route.lua')}
        self.binds = ['%s:%d' % (s.address, s.http_port)]

    def fresh(self, name, text):
        self.s.edit(name, self.original[name] + '\n' + text + '\n')

    def bind(self):
        """Other addresses come and go beside the one under load. Returns a probe."""
        base = self.s.address.rsplit('.', 1)[0]
        extra = '%s.%d' % (base, 200 + self.n % 5)
        self.binds = ['%s:%d' % (self.s.address, self.s.http_port), '%s:%d' % (extra, self.s.http_port)]
        self.fresh('tomcat.ini', 'BindAddress = ' + ', '.join(self.binds))
        return lambda: http1.get(extra, self.s.http_port, '/robots.txt').status == 200

    def listener(self):
        name = 'more%d' % (self.n % 3)
        self.fresh('listeners.ini', '%s.Port = free\n%s.Address = %s\n%s.Services = tracker' % (name, name, self.s.address, name))
        return lambda: http1.get(self.s.address, self.s.port(name), '/robots.txt').status == 200

    def policy(self):
        path, status = '/probe-%d' % self.n, (403, 404, 421)[self.n % 3]
        self.s.edit('policies/route.lua', wrap_route('if req.path == "%s" then return nil, %d end' % (path, status))(self.original['policies/route.lua']))
        return lambda: http1.get(self.s.address, self.s.http_port, path).status == status

    def setting(self):
        limit = 4000 + self.n
        self.fresh('portreeve.ini', 'MaxRequestLine = %d' % limit)
        return lambda: (http1.get(self.s.address, self.s.http_port, '/' + 'x' * (limit - len('GET / HTTP/1.1') + 1)).status == 414 and
                        http1.get(self.s.address, self.s.http_port, '/' + 'x' * (limit - 60)).status == 404)

    def next(self):
        probe = [self.bind, self.policy, self.listener, self.setting][self.n % 4]()
        self.n += 1
        return probe


def good(s, work):
    changes = Changes(s)
    plain = http1.Conn(s.address, s.http_port)
    secure = http1.Conn(s.address, s.tls_port(), tls=True)
    refused, blind, dead = [], [], []
    generation = s.status()['generation']
    for i in range(GOOD):
        probe = changes.next()
        code, text = s.reload()
        if code != 0:
            refused.append((i, text[:300]))
        elif not probe():
            blind.append(i)
        for c in (plain, secure):
            try:
                if c.call('GET', '/robots.txt').status != 200:
                    dead.append(i)
            except (http1.Closed, OSError) as e:
                dead.append((i, str(e)))
    plain.close()
    secure.close()
    same(refused, [], '%d good reloads are taken' % GOOD)
    same(blind, [], 'each was in force when reload returned')
    same(dead[:5], [], 'one plain and one TLS connection lived through all of them')
    ok(s.status()['generation'] == generation + GOOD, 'as many generations as reloads', s.status()['generation'])


def main():
    s = Server(bind='own', start=False)
    s.sets = [x for x in s.sets if x[0] not in ('tomcat.ini:Port', 'tomcat.ini:BindAddress', 'tomcat.ini:SecurePort')]
    s.http_port = free_ports(1)[0]
    with socket.socket() as holder:
        holder.bind((s.address, 0))
        holder.listen(1)
        s.taken = holder.getsockname()[1]
        s.append('tomcat.ini', 'BindAddress = %s:%d' % (s.address, s.http_port))
        s.start()
        with s:
            # Kept connections, new ones, and the durable path of the tracker, all the while.
            work = load.Load(s.address, s.http_port, load.Mail(os.path.join(s.state, 'keys/tracker.keys')), kept=10, fresh=4, pause=0.005)
            work.start()
            wait_until('answers', lambda: work.count('answered') > 50 or work.failure)
            broken(s, work)
            good(s, work)
            work.finish()
            note('load: ' + work.summary())
            same(work.bad(), 0, 'no request failed during %d broken and %d good reloads (%d answered)' % (len(BROKEN), GOOD, work.count('answered')))
            if work.bad():
                note(work.errors[:10])
            same(work.kept_closed, 0, 'no kept connection was closed')
            ok(len(s.engine_pids()) == 1 and s.status()['counters'] is not None, 'one engine, never restarted')
    done()


main()
