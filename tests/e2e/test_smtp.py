#!/usr/bin/python3
"""A real Postfix behind three instances of SMTP on port 25, with different rules (Q14), called by swaks with STARTTLS: from this machine, from the LAN and from
outside, each a network namespace of its own. Postfix lies in a mount namespace and touches nothing of the machine's."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import portreeve
from backends import make_certificate
from portreeve import SLOW, Server, wait_until
from tap import done, ok, same, skip

PID = os.getpid()
HERE, LAN, NET = ('prs%d%s' % (PID % 100000, x) for x in 'hln')
FOLDER = tempfile.mkdtemp(prefix='pr-smtp-')

MAIN = '''compatibility_level = 3.6
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = /var/spool/postfix/maillog
myhostname = mx.example.org
mydestination = example.org
mynetworks = 0.0.0.0/0
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_transport = discard:
default_transport = discard:
alias_maps =
local_recipient_maps =
message_size_limit = 0
mailbox_size_limit = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/postfix/mx.example.org.pem
smtpd_tls_key_file = /etc/postfix/mx.example.org.key
smtpd_upstream_proxy_protocol = haproxy
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
'''
# Relaying open and no size limit on the first two, no relaying and a small limit on the third: Q14's own example.
MASTER = '''127.0.0.1:10025 inet n - n - - smtpd
127.0.0.1:10026 inet n - n - - smtpd
127.0.0.1:10027 inet n - n - - smtpd -o smtpd_relay_restrictions=reject_unauth_destination -o message_size_limit=20000
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
'''
LISTENERS = '''here.Port=127.0.0.1:SMTP
here.Services=tunnel
here.Backend=127.0.0.1:10025
here.SendProxy=V2
here.Label-relay=open
lan.Port=192.168.77.1:SMTP
lan.Services=tunnel
lan.Backend=127.0.0.1:10026
lan.SendProxy=V1
lan.Restriction=Grant
lan.List=lan
public.Port=198.51.100.1:SMTP
public.Services=tunnel
public.Backend=127.0.0.1:10027
public.SendProxy=V2
public.MaxPerAddress=2
'''


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def namespaces():
    """HERE has 192.168.77.1 and 198.51.100.1; LAN calls from 192.168.77.2 and knows the way to the other; NET from 198.51.100.2."""
    for name in (HERE, LAN, NET):
        run('ip', 'netns', 'add', name)
        run('ip', '-n', name, 'link', 'set', 'lo', 'up')
    for i, (name, net) in enumerate(((LAN, '192.168.77'), (NET, '198.51.100'))):
        run('ip', '-n', HERE, 'link', 'add', 'v%d' % i, 'type', 'veth', 'peer', 'name', 'v0', 'netns', name)
        run('ip', '-n', HERE, 'addr', 'add', net + '.1/24', 'dev', 'v%d' % i)
        run('ip', '-n', HERE, 'link', 'set', 'v%d' % i, 'up')
        run('ip', '-n', name, 'addr', 'add', net + '.2/24', 'dev', 'v0')
        run('ip', '-n', name, 'link', 'set', 'v0', 'up')
        run('ip', '-n', name, 'route', 'add', 'default', 'via', net + '.1')


def start_postfix():
    """In the network of HERE, with folders of its own where Debian's Postfix has its."""
    for d in ('etc', 'spool', 'lib'):
        os.makedirs(os.path.join(FOLDER, d))
    os.chmod(FOLDER, 0o755)
    make_certificate(os.path.join(FOLDER, 'etc'), 'mx.example.org')
    for name, text in (('main.cf', MAIN), ('master.cf', MASTER)):
        with open(os.path.join(FOLDER, 'etc', name), 'w') as f:
            f.write(text)
    for name in ('dynamicmaps.cf', 'postfix-files', 'postfix-script', 'post-install'):
        if os.path.exists('/etc/postfix/' + name):
            shutil.copy('/etc/postfix/' + name, os.path.join(FOLDER, 'etc', name))
    shutil.chown(os.path.join(FOLDER, 'lib'), 'postfix', 'postfix')
    script = ('mount --make-rprivate / && mount --bind %(d)s/etc /etc/postfix && mount --bind %(d)s/spool /var/spool/postfix && '
              'mount --bind %(d)s/lib /var/lib/postfix && postfix check >%(d)s/check 2>&1; exec /usr/lib/postfix/sbin/master -d -c /etc/postfix') % {'d': FOLDER}
    out = open(os.path.join(FOLDER, 'out'), 'w')
    # A process namespace too: whatever Postfix starts ends with it.
    return subprocess.Popen(['nsenter', '--net=/run/netns/' + HERE, 'unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', script],
                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)


def maillog():
    try:
        with open(os.path.join(FOLDER, 'spool', 'maillog'), errors='replace') as f:
            return f.read()
    except FileNotFoundError:
        return ''


def inside(name, code, *args):
    p = subprocess.run(['nsenter', '--net=/run/netns/' + name, '/usr/bin/python3', '-c', code] + list(args), capture_output=True, text=True, timeout=60 * SLOW)
    return p.stdout.strip() or p.stderr


KNOCK = '''import socket, sys
held = []
for _ in range(int(sys.argv[2])):
    c = socket.create_connection((sys.argv[1], 25), timeout=60)
    got = c.recv(100)
    held.append(c)
    print('greeted' if got.startswith(b'220 ') else 'closed' if got == b'' else got)'''


def knock(name, address, n=1):
    """What n callers at once hear first."""
    return inside(name, KNOCK, address, str(n)).split('\n')


def swaks(name, address, to, size=0, tls=True):
    """A mail by swaks: (exit status, what was said)."""
    argv = ['nsenter', '--net=/run/netns/' + name, 'swaks', '--server', address, '--port', '25', '--from', 'sender@example.net', '--to', to, '--helo', 'client.example.net',
            '--timeout', '60', '--header', 'Subject: a test'] + (['--tls'] if tls else [])
    if size:
        path = os.path.join(FOLDER, 'body%d' % size)
        with open(path, 'w') as f:
            f.write('x' * 70 + '\n')
            f.write(('y' * 70 + '\n') * (size // 71))
        argv += ['--body', path]
    p = subprocess.run(argv, capture_output=True, text=True, errors='replace', timeout=120 * SLOW, env=dict(os.environ, HOME=FOLDER))
    return p.returncode, p.stdout + p.stderr


def delivered(to, client):
    """Postfix took a mail for `to` from that client (whom only the PROXY header can have named) and sent it on."""
    text = maillog()
    for queue in re.findall(r'smtpd\[\d+\]: ([0-9A-Za-z]+): client=\S*\[%s\]' % re.escape(client), text):
        if re.search(r'%s: to=<%s>.*status=sent' % (queue, re.escape(to)), text):
            return True
    return False


def three(s):
    for where, address, client, listener in ((HERE, '127.0.0.1', '127.0.0.1', 'here'), (LAN, '192.168.77.1', '192.168.77.2', 'lan'),
                                             (NET, '198.51.100.1', '198.51.100.2', 'public')):
        to = 'user-%s@example.org' % listener
        code, said = swaks(where, address, to)
        ok(code == 0 and 'TLS started with cipher' in said, 'Q5, Q14: swaks delivers by STARTTLS through %s on %s:25' % (listener, address), said[-1500:])
        ok('CN=mx.example.org' in said.replace(' ', '').replace('/', ''), 'STARTTLS goes through: the certificate is Postfix\'s own', said[:3000])
        wait_until('Postfix to send it on', lambda to=to, client=client: delivered(to, client))
        ok(True, 'and Postfix knows that %s called' % client)
    for where, address, listener, relays in ((HERE, '127.0.0.1', 'here', True), (LAN, '192.168.77.1', 'lan', True), (NET, '198.51.100.1', 'public', False)):
        code, said = swaks(where, address, 'else-%s@elsewhere.net' % listener)
        ok((code == 0) == relays and ('Relay access denied' in said) == (not relays), 'Q14: %s %s' % (listener, 'relays' if relays else 'does not relay'), said[-1500:])
        code, said = swaks(where, address, 'big-%s@example.org' % listener, size=200000)
        # swaks names its mail by the time of day: "552" is a refusal only where the server says it.
        ok((code == 0) == relays and bool(re.search(r'^<\S+ 552[ -]', said, re.M)) == (not relays), 'Q14: %s %s large mails' % (listener, 'takes' if relays else 'refuses'),
           said[-1500:])
    rows = {(x['name'], x['address'], x['port']): x['state'] for x in s.eval('status()', json_out=True)['listeners'] if x['port'] == 25}
    same(rows, {(n, a, 25): 'accepting connections on %s:25' % a for n, a in (('here', '127.0.0.1'), ('lan', '192.168.77.1'), ('public', '198.51.100.1'))},
         'Q16: three instances on port 25, each named')


def nobody_left(s):
    """Sessions that are over have ended at Postfix's side too: until then they count."""
    wait_until('the last session to be over', lambda: not [x for x in s.eval('connections()', json_out=True) if x['listener'] == 'public'])


def borders(s):
    """Who reaches which instance."""
    nobody_left(s)
    same(knock(NET, '198.51.100.1', 3), ['greeted', 'greeted', 'closed'], 'G24: MaxPerAddress of the public instance, and no other\'s')
    same(knock(LAN, '192.168.77.1', 3), ['greeted'] * 3, 'Q14: the LAN instance has no such limit')
    same(knock(NET, '192.168.77.1'), ['closed'], 'Q10: from outside, whoever finds the way to the LAN address is refused by its list, without a word')
    same(knock(LAN, '198.51.100.1'), ['greeted'], 'Q17: a LAN user reaches the public instance ...')
    s.append('listeners.ini', 'public.Restriction=Deny\npublic.List=lan\n')
    code, said = s.reload()
    ok(code == 0, 'public.Restriction=Deny for the LAN', said)
    nobody_left(s)
    same(knock(LAN, '198.51.100.1'), ['closed'], 'Q17: ... unless its access control keeps him out')
    same(knock(NET, '198.51.100.1'), ['greeted'], 'others are let in')
    said = s.eval('refusals()')
    ok('192.168.77.2' in said and '198.51.100.2' in said, 'refusals() names both', said)


STOPPED = '''import socket, sys
c = socket.create_connection((sys.argv[1], 25), timeout=60)
print(c.recv(100)[:3].decode(), flush=True)
sys.stdin.readline()
c.sendall(b'NOOP\\r\\n')
print(c.recv(100)[:3].decode(), flush=True)'''


def one_goes(s):
    """Q15: one instance is taken away and comes back; the others, and who talks through them, notice nothing."""
    p = subprocess.Popen(['nsenter', '--net=/run/netns/' + HERE, '/usr/bin/python3', '-c', STOPPED, '127.0.0.1'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    same(p.stdout.readline(), '220\n', 'a session on the loopback instance')
    kept = s.read('listeners.ini')
    s.edit('listeners.ini', kept.replace('lan.Port=192.168.77.1:SMTP', 'lan.Port=0'))
    code, said = s.reload()
    ok(code == 0, 'the LAN instance is taken away', said)
    ok(any('ConnectionRefusedError' in x for x in knock(LAN, '192.168.77.1')), 'Q15, Q9: its port is closed, and what listens on 127.0.0.1:25 answers nobody in the LAN')
    same(knock(HERE, '127.0.0.1'), ['greeted'], 'the others serve')
    s.edit('listeners.ini', kept)
    ok(s.reload()[0] == 0 and knock(LAN, '192.168.77.1') == ['greeted'], 'Q15: and is there again')
    p.stdin.write('\n')
    p.stdin.flush()
    same(p.stdout.readline(), '250\n', 'the session went through both reloads')
    p.stdin.close()
    p.wait(60 * SLOW)


def main():
    namespaces()
    postfix = start_postfix()
    try:
        portreeve.wait_until('Postfix', lambda: knock_backend() == 'here', 60)
        s = Server(components='tracker', settings={'Workers': 2}, files={'listeners.ini': LISTENERS, 'lists/lan.list': '192.168.77.0/24\n'}, netns=HERE, start=False)
        s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
        s.start()
        with s:
            three(s)
            borders(s)
            one_goes(s)
    finally:
        os.killpg(postfix.pid, signal.SIGKILL)  # a group and a process namespace that began with it
        postfix.wait()
        if os.environ.get('KEEP') or portreeve.tap.failed():
            portreeve.tap.note(maillog()[-3000:])


def knock_backend():
    return inside(HERE, '''import socket
print('here' if all(socket.socket().connect_ex(('127.0.0.1', p)) == 0 for p in (10025, 10026, 10027)) else 'not yet')''')


if os.geteuid() != 0 or not shutil.which('swaks') or not os.path.exists('/usr/lib/postfix/sbin/master'):
    skip('SMTP through tunnels', 'needs root, postfix and swaks')
    done()
try:
    main()
finally:
    for namespace in (HERE, LAN, NET):
        subprocess.run(['ip', 'netns', 'del', namespace], stderr=subprocess.DEVNULL)
    shutil.rmtree(FOLDER, ignore_errors=True)
done()
