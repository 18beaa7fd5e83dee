#!/usr/bin/python3
"""The gate: what `portreeve check` refuses, and that every message names file and line, entry and value."""
import os
import re
import socket
import shutil
import subprocess
import tempfile

import tap
from portreeve import ROOT, Server, command


def check(files=None, policies=None, sets=(), ports=True, change=None, command='check'):
    """Run check on a copy of what is shipped, with these files replaced. Returns (exit status, text without the folder's name)."""
    s = Server(start=False, files=files, policies=policies, sets=sets, ports=ports)
    try:
        if change:
            change(s)
        code, out, err = s.offline(command, timeout=120)
        return code, (out + err).replace(s.dir + '/', '')
    finally:
        s.cleanup()


def refused(name, pattern, also=(), **kw):
    """check must refuse, with a line that matches pattern (and each of also)."""
    code, text = check(**kw)
    tap.ok(code == 1 and all(re.search(p, text, re.M) for p in (pattern,) + tuple(also)), name, 'exit %s\n%s' % (code, text))


def good(name, pattern=None, absent=None, **kw):
    code, text = check(**kw)
    fine = code == 0 and (pattern is None or re.search(pattern, text, re.M)) and (absent is None or not re.search(absent, text, re.M))
    tap.ok(fine, name, 'exit %s\n%s' % (code, text))


def tomcat(text):
    return {'tomcat.ini': text}


def shipped():
    code, text = check()
    tap.ok(code == 0, 'what is shipped passes', text)
    tap.ok('0 warnings' in text, 'without a warning', text)


# The ten broken configurations of the issue.
def ten():
    refused('1 syntax error in a policy', r'^policies/bind\.lua:3: .*expected',
            policies={'bind.lua': 'return function(rules, host)\n  local p =\nend\n'})
    refused('2 runtime error in bind', r'^policies/bind\.lua:2: .*nil',
            policies={'bind.lua': 'return function(rules, host)\n  return rules.nosuch.value\nend\n', 'bind_test.lua': EMPTY_TEST})
    refused('3 endless loop in bind', r'^policies/bind\.lua:2: .*budget',
            policies={'bind.lua': 'return function()\n  while true do end\nend\n', 'bind_test.lua': EMPTY_TEST})
    refused('3 endless loop inside pcall', r'^policies/route\.lua:2: .*budget',
            policies={'route.lua': 'local function f()\n  while true do pcall(function() end) end\nend\nwhile true do pcall(f) end\n'})
    refused('4 memory bomb', r'^policies/bind\.lua:[23]: .*memory',
            policies={'bind.lua': 'return function()\n  local t = {}\n  for i = 1, 1e9 do t[i] = ("x"):rep(1000) .. i end\nend\n',
                    'bind_test.lua': EMPTY_TEST})
    for text, why in ((' return 7', 'must return a plan'), (' return { sockets = {}, extra = {} }', "'extra' is unknown"),
            (' return { sockets = {} }', 'no socket at all'),
                      (" return { sockets = { { name = 'x' } } }", "field '\\w+' is missing"),
                      (SOCKET % ', port = 70000', "field 'port' is 70000"),
                              (SOCKET % ', port = 1.5', "field 'port' must be a whole number"),
                      (SOCKET % ', port = 81, colour = "red"', "field 'colour' is unknown"),
                      (SOCKET % ', port = 81, because2 = 1', "field 'because2' is unknown")):
        refused('5 nonsense plan: ' + text.strip()[:60], r'policies/bind\.lua.*%s|%s' % (why, why),
                policies={'bind.lua': 'return function()\n%s\nend\n' % text, 'bind_test.lua': EMPTY_TEST})
    refused('6 a policy test that fails', r'^policies/route_test\.lua:3: .*the test "it holds" failed',
            policies={'route_test.lua': 'return {\n  ["it holds"] = function(t)\n    t.eq(1, 2)\n  end,\n}\n'})
    refused('6 a policy that breaks its shipped test', r'^policies/route_test\.lua:\d+: .*failed',
            change=lambda s: s.edit('policies/route.lua', lambda t: t.replace('"tracker" }', '"ui" }')))
    refused('7 a policy file missing', r'^policies/admission\.lua: the file is missing',
            change=lambda s: os.unlink(s.path('policies/admission.lua')))
    refused('8 a bad value', r'^conf/tomcat\.ini:2: Port=80a: not a port', files=tomcat('# x\nPort=80a\n'), ports=False)
    refused('9 an address not on this machine (M19, Q19)', r'^conf/tomcat\.ini:1: BindAddress: .*192\.0\.2\.77:0.*not on this machine',
            files=tomcat('BindAddress=192.0.2.77\n'))
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused('10 a port taken (E3)', r'^conf/tomcat\.ini:1: BindAddress: .*127\.0\.0\.1:%d.*taken' % port,
                files=tomcat('BindAddress=127.0.0.1:%d\n' % port))


EMPTY_TEST = 'return { ["nothing to prove here"] = function(t) t.ok(true) end }\n'
SOCKET = " return { sockets = { { name = 'x', address = '127.0.0.1', scheme = 'http', services = { 'tracker' }, because = {}%s } } }"


def values():
    """M3, M10, M12–M14 and their like: strict values, each with file, line, entry and value."""
    for value, what in (('0', 'port'), ('65536', 'port'), ('-1', 'port'), ('80a', 'port'), ('0x50', 'port'), ('080', 'port'),
            ('', 'missing'), ('8 0', 'port')):
        refused('Port=%s is refused (M3)' % value, r'^conf/tomcat\.ini:1: Port=%s: .*%s' % (re.escape(value), what),
                files=tomcat('Port=%s\n' % value), ports=False)
    for value in ('127.0.0.1,', '127.0.0.1,,::1', '', ' ', '::1', 'fe80::1:80', '[127.0.0.1]', '[::1', '[::1]x', ':8080', '127.0.0.1:',
            '127.0.0.1:0', '127.0.0.1:70000', '127.0.0.1:x',
                  '127.000.0.1', '127.1', 'localhost', '[::1]:0', '[::1]:99999', '[]', 'OnlyIPV4Addresses, [::1]', '[::1%nosuchif0]',
                          '127.0.0.1:80:81'):
        refused('BindAddress=%s is refused (M10, M12–M14)' % value, r'^conf/tomcat\.ini:1: BindAddress=',
                files=tomcat('BindAddress=%s\n' % value))
    for value in ('yes', '1', '127.0.0.1:80', '[::1]:80', '', 'true, 127.0.0.1'):
        refused('SecureServer=%s is refused (M4)' % value, r'^conf/tomcat\.ini:1: SecureServer=%s' % re.escape(value),
                files=tomcat('SecureServer=%s\n' % value))
    for line in ('Secure-fe80::1=x', 'Secure-::1=', 'Secure-2001:db8::1=x'):
        refused('%s is refused and the right form told' % line, r'^conf/tomcat\.ini:2: .*write Secure-\[',
                files=tomcat('Port=8080\n%s\n' % line))
    refused('Secure- with a port', r'^conf/tomcat\.ini:1: Secure-127\.0\.0\.1:80=.*without port', files=tomcat('Secure-127.0.0.1\\:80=\n'))
    refused('Secure- with a certificate nobody knows', r'^conf/tomcat\.ini:1: Secure-127\.0\.0\.1: .*nosuch\.Certificate',
            files=tomcat('Secure-127.0.0.1=nosuch\n'))
    refused('several faults are all named at once', r'^conf/tomcat\.ini:1: Port=x',
            also=(r'^conf/tomcat\.ini:2: SecurePort=y', r'^conf/portreeve\.ini:1: Workers=300'),
            files={'tomcat.ini': 'Port=x\nSecurePort=y\n', 'portreeve.ini': 'Workers=300\n'}, ports=False)
    refused('internal ports that differ name both files (M49)',
            r'hub\.ini:1 has 5310.*lui\.ini has none, so 1099|lui\.ini.*hub\.ini:1 has 5310', files={'hub.ini': 'RMIPort=5310\n'},
                    ports=False)
    good('and equal ones pass (M49)', sets=['%s.ini:RMIPort=0' % n for n in ('hub', 'lui', 'tracker')])
    refused('a wildcard beside a specific address of one port (G4)', r'conf/tomcat\.ini:1: BindAddress: .*all addresses on port 8099',
            files=tomcat('BindAddress=0.0.0.0:8099, 127.0.0.1:8099\n'))
    refused('a listener on a port that is taken in the plan (G4)',
            r'conf/listeners\.ini:2: b\.Port: .*all addresses on port 7999.*listeners\.ini:1',
                    files={'listeners.ini': 'a.Port=7999\nb.Port=7999\nb.Address=127.0.0.1\n'}, ports=False)
    refused('a broken address list names its line', r'^conf/lists/denied\.list:2: ', files={'lists/denied.list': '10.0.0.1\n10.0.0.0/33\n'})
    refused('a list that a listener names and nobody has, said once for its two sockets', r'listeners\.ini:3: a\.List=vips: .*lists/vips\.list',
            also=[r'^refused: 1 error$'],
            files={'listeners.ini': 'a.Port=7998\na.Restriction=Grant\na.List=vips\n'}, ports=False)
    refused('a restriction without list', r'^conf/listeners\.ini:2: a\.Restriction=Grant: .*a\.List',
            files={'listeners.ini': 'a.Port=7998\na.Restriction=Grant\n'}, ports=False)


def together():
    """What files say about each other, and what rules and plan say together."""
    base = {'tomcat.ini': 'BindAddress=127.0.0.1:8097\n', 'listeners.ini': '# none\n'}

    def files(**more):
        return dict(base, **{k.replace('_', '.'): v for k, v in more.items()})
    refused('a HubRMIPort that is not the hub\'s names both files with lines (M52)',
            r'^conf/lui\.ini:2: HubRMIPort=5311: the hub is on this server, where conf/hub\.ini:1 has 5310',
            files=files(hub_ini='RMIPort=5310\n', lui_ini='RMIPort=5310\nHubRMIPort=5311\n', tracker_ini='RMIPort=5310\n'), ports=False)
    refused('a TrackerRMIPort that is not the tracker\'s (M55)',
            r'^conf/lui\.ini:1: TrackerRMIPort=5311: the tracker is on this server, where tracker\.ini has none, so 1099',
            files=files(lui_ini='TrackerRMIPort=5311\n', tracker_ini='# none\n'), ports=False)
    refused('a database port in one section only names both lines (M58)', r'^conf/my\.ini:5: \[mysqld\] port=3307: .*\[client\] has none, so 3306',
            files=files(my_ini='; the database\n[client]\n#port=3307\n[mysqld]\nport=3307\n'), ports=False)
    refused('and two different ones (M58)', r'conf/my\.ini:2 has 3308, conf/my\.ini:4 has 3307',
            files=files(my_ini='[client]\nport=3308\n[mysqld]\nport=3307\n'), ports=False)
    good('one value in both is good (M58)', absent='^warning:', files=files(my_ini='[client]\nport=3307\n[mysqld]\nport = "3307"\n'), ports=False)
    refused('a database port that is a listener\'s too (M25)', r'^conf/my\.ini:4: \[mysqld\] port=7000: .*listener communications',
            files=files(my_ini='[client]\nport=7000\n[mysqld]\nport=7000\n'), ports=False)

    def installed(s):
        os.makedirs(os.path.join(s.conf, 'lui/database'))
        s.edit('lui/database/my.ini', '[mysqld]\nport=3307\n')
    refused('my.ini of the installed tree (M58)', r'^conf/lui/database/my\.ini:2: ', files=base, ports=False, change=installed)
    good('an address for recipients whose port is not bound is warned of, with its line (M33, M38, M40)',
         r'^warning: conf/lui\.ini:2: UrlForRecipients=http://news\.example\.org: no socket of this server has port 80; http for the tracker is on port 8097',
         files=files(lui_ini='# the tracker\nUrlForRecipients=http://news.example.org\n'), ports=False)
    good('one whose port is bound is not', absent='^warning:', files=files(lui_ini='UrlForRecipients=http://news.example.org:8097\n'), ports=False)
    refused('a port by a name that only /etc/services knows (Q1)', r'^conf/tomcat\.ini:1: Port=ssh: no protocol has the name ssh: .*conf/services',
            files={'tomcat.ini': 'Port=ssh\n'}, ports=False)
    refused('a name for udp only (Q4)', r'^conf/tomcat\.ini:1: Port=tftp: tftp is a name for udp only \(conf/services:1\)',
            files={'tomcat.ini': 'Port=tftp\n', 'services': 'tftp 69/udp\n'}, ports=False)
    refused('a name that stands twice (Q4)', r'^conf/services:2: a is port 1001 here and port 1000 in line 1',
            files={'services': 'a 1000/tcp\na 1001/tcp\n'})
    refused('a row on the place of another (G4)', r'conf/listeners\.ini:2: a\.2\.Port: .*127\.0\.0\.1:7996.*conf/listeners\.ini:1|'
            r'conf/listeners\.ini:1: a\.Port: .*conf/listeners\.ini:2',
            files={'listeners.ini': 'a.Port=127.0.0.1:7996\na.2.Port=127.0.0.1:7996\n'}, ports=False)
    good('a further listener below 5000 is warned of (Q3)', r'^warning: conf/listeners\.ini:1: a\.Port=127\.0\.0\.1:4999: port 4999 is below 5000',
         files={'listeners.ini': 'a.Port=127.0.0.1:4999\n'})
    refused('an interface that nobody has', r'^conf/tomcat\.ini:1: BindAddress: nosuchif is neither an interface of this machine \(.*lo',
            files=tomcat('BindAddress=nosuchif:8097\n'), ports=False)
    good('the loopback interface by name', absent='^warning:', files=tomcat('BindAddress=lo:8097\n'), ports=False)
    refused('a group of something else', r'^conf/portreeve\.ini:1: Group-x=lo:80: a group has no ports', files={'portreeve.ini': 'Group-x=lo:80\n'})


def database_client():
    """M62: "localhost" with a port means TCP to that port, where MySQL's client by itself would take its Unix socket and ignore the port."""
    try:
        subprocess.run(['lua5.4', '-e', 'require "DBI"'], check=True, stderr=subprocess.DEVNULL)
    except subprocess.CalledProcessError:
        tap.skip('localhost with a port is TCP (M62)', 'needs the packages lua-dbi-mysql and lua-dbi-sqlite3')
        return
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        server.settimeout(60)
        port = server.getsockname()[1]
        code = ('package.path = "%s/lua/?.lua;" .. package.path; package.preload["portreeve.sys"] = function() return {} end; '
                'package.preload["portreeve.net"] = function() return { reachable = function() return true end } end; '
                'print(require("portreeve.db.dialect").MySQL.connect{name="LUI", user="luiuser", password="lui", host="localhost", port=%d})'
                % (ROOT, port))
        client = subprocess.Popen(['lua5.4', '-e', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            peer, address = server.accept()
            peer.close()
            tap.same(address[0], '127.0.0.1', 'M62, M59: localhost with a port is called by TCP on that port')
        except socket.timeout:
            tap.ok(False, 'M62, M59: localhost with a port is called by TCP on that port', client.stdout.read())
        client.wait(60)


def warnings():
    good('a missing tomcat.ini is no fault (M3)', change=lambda s: os.unlink(s.path('tomcat.ini')))
    good('an unknown entry is a warning with a guess', r'^warning: conf/tomcat\.ini:2: BindAdress=x: .*did you mean BindAddress',
            files=tomcat('Port=8080\nBindAdress=x\n'))
    good('a near miss of capitals is named (M3, I6)', r'^warning: conf/tomcat\.ini:1: port=81: .*write Port', files=tomcat('port=81\n'))
    good('a repeated entry names both lines (I6)', r'^warning: conf/tomcat\.ini:3: Port=82: .*line 1', files=tomcat('Port=81\n\nPort=82\n'))
    good('an address twice is one socket and a warning', r'^warning: conf/tomcat\.ini:1: .*twice',
            files=tomcat('BindAddress=127.0.0.1:8098, 127.0.0.1:8098\n'))
    good('two spellings of one address are one', r'^warning: conf/tomcat\.ini:1: .*twice',
            files=tomcat('BindAddress=[::1]:8098, [0:0:0:0:0:0:0:1]:8098\n'))
    good('a secure address outside BindAddress is ignored with a warning (R8)',
            r'^warning: conf/tomcat\.ini:2: Secure-127\.0\.0\.9: 127\.0\.0\.9 is not in BindAddress',
         files=tomcat('BindAddress=127.0.0.1\nSecure-127.0.0.9=\n'))
    good('a file of another name is named', r'^warning: conf/SSL\.ini', files={'SSL.ini': 'x=y\n'})
    good('blanks, CRLF, BOM and no last line end are fine (M2, M17)',
            files=tomcat('\ufeffPort : 8080 \r\nBindAddress = 127.0.0.1 ,\t[::1] \r\n\r\nSecurePort 8443'), absent='^warning:')
    good('a list over several lines (M18)', files=tomcat('BindAddress=127.0.0.1, \\\n   127.0.0.2, \\\r\n\t[::1]\n'), absent='^warning:')
    refused('a blank behind the backslash ends the list (M18)', r'^conf/tomcat\.ini:1: BindAddress=127\.0\.0\.1, .*empty',
            files=tomcat('BindAddress=127.0.0.1, \\ \n   127.0.0.2\n'))
    refused('port 0 in a file is refused, by --set it takes a free port', r'^conf/tomcat\.ini:1: Port=0', files=tomcat('Port=0\n'),
            ports=False)


def files_and_folders():
    refused('ssl.ini is not silently ignored (S12)', r'^conf/ssl\.ini: .*secure', files={'ssl.ini': 'SSLAllowedClients=a\n'})
    good('my.ini is no INI file of ours', files={'my.ini': '[client]\nport=3306\nx=\\u12\n'}, absent='^warning:')
    refused('a world-writable policy', r'^policies/route\.lua: everybody may write',
            change=lambda s: os.chmod(s.path('policies/route.lua'), 0o666))

    def link(s):
        os.rename(s.path('policies/route.lua'), s.path('policies/other.txt'))
        os.symlink('other.txt', s.path('policies/route.lua'))
    refused('a policy that is a symbolic link', r'^policies/route\.lua: .*symbolic link', change=link)

    def fifo(s):
        os.unlink(s.path('tomcat.ini'))
        os.mkfifo(s.path('tomcat.ini'))
    refused('a FIFO instead of a file does not hold the gate up', r'^conf/tomcat\.ini: is not a regular file', change=fifo)
    refused('a policy of more than 1 MB', r'^policies/big\.lua: more than 1048576 bytes', policies={'big.lua': '-- x\n' * 300000})
    refused('compiled Lua', r'^policies/byte\.lua', policies={'byte.lua': '\x1bLuaT'})
    if os.geteuid() != 0:
        refused('an unreadable file (M3)', r'^conf/tomcat\.ini: cannot be read', change=lambda s: os.chmod(s.path('tomcat.ini'), 0))

    def tree(s):
        for name, folder in (('tomcat', 'conf'), ('portreeve', 'conf'), ('listeners', 'conf'), ('certificates', 'conf'), ('hub', 'hub'),
                ('lui', 'lui'), ('tracker', 'trk')):
            os.makedirs(os.path.join(s.conf, folder), exist_ok=True)
            os.rename(s.path(name + '.ini'), os.path.join(s.conf, folder, name + '.ini'))
        s.edit('conf/tomcat.ini', 'Prt=1\n')
    good('the installed tree is read too', r'^warning: conf/conf/tomcat\.ini:1: Prt=1', change=tree)
    refused('two files of one meaning', r'^conf/tomcat\.ini and conf/conf/tomcat\.ini: two files', files={'conf/tomcat.ini': 'Port=1\n'})
    code, _, err = command('check', '--conf', '/nonexistent/conf')
    tap.ok(code == 1 and '/nonexistent/conf: there is no such folder' in err, 'a folder that does not exist', err)
    code, _, err = command('check', '--cnof', 'x')
    tap.ok(code == 2 and '--cnof' in err, 'a wrong option is usage, status 2', err)
    code, out, _ = command('check', '--help')
    tap.ok(code == 0 and 'usage: portreeve check' in out, 'check --help')


def overrides():
    refused('an override of an unknown file', r'--set: nosuch\.ini:Port=1: there is no such file', sets=['nosuch.ini:Port=1'])
    refused('an override that is none', r'--set tomcat\.ini=x: an override is written', sets=[('tomcat.ini', 'x')])
    refused('a bad value in an override', r'^--set: Port=99999: not a port', sets=['tomcat.ini:Port=99999'])
    good('overrides win without a warning', absent='^warning:', sets=['tomcat.ini:Port=0', 'tomcat.ini:BindAddress=127.0.0.1'])
    good('backslashes and brackets of an override are taken as they are', absent='^warning:',
            sets=['tomcat.ini:Secure-[::1]=default', 'tomcat.ini:SecurePort=0'])


def certificates():
    s = Server(start=False)
    try:
        keys = {}
        for name in ('a', 'b'):
            pem, key = os.path.join(s.dir, name + '.pem'), os.path.join(s.dir, name + '.key')
            subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key,
                    '-out', pem, '-days', '3', '-subj',
                            '/CN=' + name], check=True, stderr=subprocess.DEVNULL)
            keys[name] = (pem, key)
        subprocess.run(['openssl', 'pkcs12', '-export', '-in', keys['a'][0], '-inkey', keys['a'][1], '-out', os.path.join(s.dir, 'a.p12'),
                '-passout', 'pass:sesame'], check=True)
        base = 'x.Port=7997\nx.InitTLS=On\nx.Certificate=mine\n'

        def run(certs):
            s.edit('listeners.ini', base)
            s.edit('certificates.ini', certs)
            s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini')]
            code, text = s.check()
            return code, text.replace(s.dir + '/', '')
        code, text = run('mine.Certificate=%s\nmine.Key=%s\n' % keys['a'])
        tap.ok(code == 0, 'certificate and key that belong together', text)
        code, text = run('mine.Certificate=%s\nmine.Key=%s\n' % (keys['a'][0], keys['b'][1]))
        tap.ok(code == 1 and re.search(r'certificates\.ini:1.*', text) and 'mine' in text,
                'a key of another certificate is refused, with file and line', text)
        code, text = run('mine.Certificate=%s/nosuch.pem\n' % s.dir)
        tap.ok(code == 1 and re.search(r'^conf/certificates\.ini:1: mine\.Certificate=nosuch\.pem: .*no such file', text, re.M),
                'a missing certificate file names file, line and entry', text)
        code, text = run('mine.Certificate=%s/a.p12\nmine.Password=sesame\n' % s.dir)
        tap.ok(code == 0, 'PKCS#12 with its password', text)
        code, text = run('mine.Certificate=%s/a.p12\nmine.Password=wrong-secret\n' % s.dir)
        tap.ok(code == 1 and 'password' in text and 'wrong-secret' not in text, 'a wrong password is named as such and never shown', text)
        code, text = run('# none\n')
        tap.ok(code == 1 and re.search(r'listeners\.ini:1: .*mine\.Certificate', text), 'no such certificate: the entry to add is named',
                text)
        before = sorted(os.listdir(s.dir))
        code, text = run('mine.Certificate=development\n')
        tap.ok(code == 0 and sorted(os.listdir(s.dir)) == before, 'check makes no development certificate and no folder', text)
    finally:
        s.cleanup()


def plan_command():
    import json
    s = Server(start=False)
    try:
        code, out, err = s.offline('plan', '--json')
        plan = json.loads(out)
        tap.ok(code == 0 and isinstance(plan, list), 'plan --json is an array', err)
        http = [x for x in plan if x['name'] == 'http']
        tap.same(sorted((x['address'], x['scheme'], x['because']['row']) for x in http)[:1], [('0.0.0.0', 'http', 'R1')],
                'with address, scheme and row')
        tap.ok(all(x['because']['policy'].split(':')[0].endswith('policies/bind.lua') for x in plan), 'and the line of the policy')
        ops = [x for x in plan if x['name'] == 'ops']
        tap.ok(ops and ops[0]['services'] == ['ops'] and set(ops[0]['because']) == {'file', 'line', 'entry', 'row', 'policy'},
                'and services and because', out)
        code, out, err = s.offline('plan')
        tap.ok(code == 0 and out.splitlines()[0].startswith('ADDRESS') and 'tomcat.ini' in out + err or '--set' in out,
                'plan is a table for people', out)
        code, out, err = s.offline('test')
        tap.ok(code == 0 and re.search(r'^1\.\.\d+$', out, re.M) and 'not ok' not in out, 'test runs the policies\' own tests', out + err)
    finally:
        s.cleanup()


def examples():
    """Every folder of examples/ makes a plan without a warning, but for addresses that it waits for."""
    root = os.path.join(ROOT, 'examples')
    folders = sorted(x for x in os.listdir(root) if os.path.isdir(os.path.join(root, x)))
    tap.ok(len(folders) >= 4, 'examples are there')
    for name in folders:
        own = os.path.join(root, name, 'policies')
        with tempfile.TemporaryDirectory() as policies:
            for folder in [os.path.join(ROOT, 'policies')] + ([own] if os.path.isdir(own) else []):
                shutil.copytree(folder, policies, dirs_exist_ok=True)
            code, out, err = command('plan', '--conf', os.path.join(root, name), '--policies', policies)
        warnings = [x for x in err.splitlines() if not x.endswith('its socket is opened as soon as the address can be used')]
        tap.ok(code == 0 and warnings == [], 'examples/%s' % name, err)
        with open(os.path.join(root, 'README.md'), encoding='utf-8') as f:
            tap.ok('`%s`' % name in f.read(), 'examples/%s is in the README beside it' % name)


def samples():
    """Every commented-out entry of conf/*.ini is a good one: each is tried alone, on the machine as it is."""
    tried = 0
    for name in sorted(x for x in os.listdir(os.path.join(ROOT, 'conf')) if x.endswith('.ini')):
        with open(os.path.join(ROOT, 'conf', name), encoding='utf-8') as f:
            text = f.read()
        for line in re.findall(r'^#([A-Za-z][\w.\[\]:-]*=[^\n\\]*)$', text, re.M):
            if re.match(r'(User|Secure|BindAddress|shop|old|front|logs)', line):
                continue  # need addresses, files, users or further lines that this machine does not have
            code, out = check(files={name: line + '\n'}, sets=[], ports=False, command='plan')
            alone = re.search(r'^(?!warning).*a reserve without|share this port', out, re.M)  # belongs to a second entry
            tap.ok((code == 0 and 'unknown entry' not in out) or alone, 'conf/%s: %s' % (name, line), out)
            tried += 1
    tap.ok(tried >= 40, '%d sample entries tried' % tried)


def running():
    """A check beside the running server: the ports it holds itself do not count as taken; for anybody else they do."""
    with Server(bind='own', sets=['tomcat.ini:Port=8080']) as s:
        code, text = s.check()
        tap.ok(code == 0, 'check --state of the running server passes', text)
        options = [x for x in s.options()]
        at = options.index('--state')
        code, out, err = command('check', *(options[:at] + options[at + 2:]))
        tap.ok(code == 1 and re.search(r'--set: BindAddress: .*%s:8080.*taken|BindAddress.*taken' % re.escape(s.address), err),
                'and without --state its port is taken', err)
        s.edit('policies/route.lua', lambda t: t.replace('return match', 'retrun match'))
        code, text = s.reload()
        tap.ok(code == 1 and re.search(r'policies/route\.lua:\d+: ', text), 'a broken policy refuses the reload with file and line', text)
        tap.ok(s.status()['generation'] == 1, 'and the old generation serves on')


shipped()
ten()
values()
warnings()
files_and_folders()
overrides()
together()
database_client()
certificates()
plan_command()
examples()
samples()
running()
tap.done()
