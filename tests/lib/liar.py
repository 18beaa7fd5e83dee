"""An engine that has been taken over: the real supervisor and the real planner, and in the engine's place the test itself, which says over the
wire whatever it likes.

    with Captured() as s:
        en = s.engine                 # has taken up generation 1
        en.say(EDIT, b'id 1\\ndry 0\\nwho me\\n\\nset listeners.ini x.Port 1\\n')
        en.wait(RESULT)
"""
import array
import os
import re
import shutil
import socket
import struct

import portreeve
from portreeve import ENGINE, PROGRAM, SLOW, Server, wait_until



def numbers():
    """{name: number} of enum wire_type, from its header: a message that comes or goes moves those behind it."""
    with open(os.path.join(portreeve.ROOT, 'src', 'plan', 'wire.h'), encoding='utf-8') as f:
        text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
    out, last = {}, -1
    for name, number in re.findall(r'\bWIRE_(\w+)(?:\s*=\s*(\d+))?', re.search(r'enum wire_type \{(.*?)\}', text, re.S).group(1)):
        out[name] = last = int(number) if number else last + 1
    return out


END, COMMIT, RESULT, HELLO, PREPARED, FAILED, COMMITTED, RELOAD, EDIT, QUIET, PROOFS = (numbers()[x] for x in (
    'GEN_END', 'COMMIT', 'RELOAD_RESULT', 'HELLO', 'PREPARED', 'FAILED', 'COMMITTED', 'RELOAD', 'EDIT', 'QUIET', 'PROOFS'))

with open(os.path.join(portreeve.ROOT, 'src', 'plan', 'format.h'), encoding='utf-8') as f:
    FORMAT = re.search(r'^#define FORMAT +([0-9]+)$', f.read(), re.M).group(1)

# Stands beside a copy of the supervisor's program: plans with the real one, and hands its end of the wire to the test.
STAND_IN = '''#!/usr/bin/python3 -I
import os, socket, sys
if '--engine' not in sys.argv:
    os.execv(%r, ['portreeve-engine'] + sys.argv[1:])
c = socket.socket(socket.AF_UNIX)
c.connect(%r)
socket.send_fds(c, [str(os.getpid()).encode()], [3])
os.close(3)
c.recv(1)
'''


class Wire:
    """The engine's end."""

    def __init__(self, pid, fd, leash):
        self.pid, self.leash, self.seen, self.held = pid, leash, [], []
        self.sock = socket.socket(fileno=fd)
        self.sock.settimeout(30 * SLOW)

    def say(self, kind, text=b''):
        self.sock.send(struct.pack('=I', kind) + (text if isinstance(text, bytes) else text.encode()))

    def hear(self):
        """(type, payload); descriptors are kept open, as an engine would."""
        data, control, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(200 * 4))
        for level, kind, fds in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                got = array.array('i')
                got.frombytes(fds[:len(fds) - len(fds) % got.itemsize])
                self.held += got
        if not data:
            raise EOFError('the supervisor has hung up')
        self.seen.append((struct.unpack('=I', data[:4])[0], data[4:]))
        return self.seen[-1]

    def wait(self, kind):
        while True:
            got, payload = self.hear()
            if got == kind:
                return payload

    def generation(self):
        """Wait for an offer as a whole; its number."""
        return int(re.match(rb'generation (\d+)', self.wait(END)).group(1))

    def take(self):
        """Take up what is offered, as it should be."""
        number = self.generation()
        self.say(PREPARED, 'generation %d\n' % number)
        self.wait(COMMIT)
        self.say(COMMITTED, 'generation %d\n' % number)
        return number

    def edit(self, ident, lines, dry=False, who='the test'):
        self.say(EDIT, 'id %d\ndry %d\nwho %s\n\n%s' % (ident, dry, who, lines))

    def result(self, ident):
        """(ok, text) of an edit or reload; offers on the way are taken up."""
        while True:
            kind, payload = self.hear()
            if kind == END:
                self.say(PREPARED, payload)
            elif kind == COMMIT:
                self.say(COMMITTED, payload)
            elif kind == RESULT and payload.startswith(b'id %d\n' % ident):
                return b'\nok 1\n' in payload[:40], payload.partition(b'\n\n')[2].decode('utf-8', 'replace')

    def close(self):
        self.sock.close()
        for fd in self.held:
            os.close(fd)
        self.held = []
        self.leash.close()


class Captured(Server):
    def __init__(self, **more):
        self.engine = None
        super().__init__(components='tracker', bind='own', start=False, **more)
        self.bin = os.path.join(self.dir, 'bin')
        os.mkdir(self.bin)
        shutil.copy(PROGRAM, self.bin)
        os.symlink(os.path.join(portreeve.ROOT, 'lua'), os.path.join(self.bin, 'lua'))
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(os.path.join(self.dir, 'door'))
        self.door.listen(4)
        self.door.settimeout(30 * SLOW)
        with open(os.path.join(self.bin, 'portreeve-engine'), 'w', encoding='ascii') as f:
            f.write(STAND_IN % (ENGINE, os.path.join(self.dir, 'door')))
        os.chmod(f.name, 0o755)
        real, portreeve.PROGRAM = portreeve.PROGRAM, os.path.join(self.bin, 'portreeve')
        try:
            self.start(wait=False)
        finally:
            portreeve.PROGRAM = real
        self.engine = self.next_engine()
        self.engine.take()
        wait_until('generation 1', lambda: (self.status(quiet=True) or {}).get('generation') == 1)

    def next_engine(self):
        """The engine that the supervisor has just started."""
        leash, _ = self.door.accept()
        pid, fds, _, _ = socket.recv_fds(leash, 16, 1)
        wire = Wire(int(pid), fds[0], leash)
        wire.say(HELLO, 'pid %d\nversion liar\nformat %s\n' % (wire.pid, FORMAT))
        return wire

    def stop(self, check=False, keep=False):
        if self.engine:
            self.engine.close()
        self.door.close()
        super().kill()
        self.cleanup()
