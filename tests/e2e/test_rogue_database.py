#!/usr/bin/python3
"""Who can open the hub's page of the ui's database (M62) may describe any server, but not have the stored password sent to one that it was not
given for, and a server that means harm gets no file from us. The server here asks for the password in clear, as MySQL servers can."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from backends import Backend
from pages import Pages, plain
from portreeve import Server
from tap import done, ok, same

PAGE = '/hub/lui/database'
INTERNAL, MYSQL = 'Internal Database (SQLite)', 'MySQL ConnectorJ Database Plugin'
SECRET = 'correct-battery-7'


class Rogue(Backend):
    """Speaks just enough of the protocol: greeting, "say your password in clear", then asks for a file whatever it is asked."""

    def __init__(self, path):
        self.path, self.heard = path.encode(), b''
        super().__init__(self.serve)

    def hear(self, c):
        head = self.exactly(c, 4)
        data = self.exactly(c, head[0] | head[1] << 8 | head[2] << 16)
        self.heard += data
        return head[3], data

    @staticmethod
    def exactly(c, n):
        data = b''
        while len(data) < n:
            part = c.recv(n - len(data))
            if not part:
                raise ConnectionError('ended')
            data += part
        return data

    @staticmethod
    def say(c, seq, data):
        c.sendall(struct.pack('<I', len(data))[:3] + bytes([seq & 255]) + data)

    def serve(self, c):
        able = 0xffffffff & ~0x0820  # neither TLS nor compression
        self.say(c, 0, b'\x0a5.7.0\0' + struct.pack('<I', 1) + b'abcdefgh\0' + struct.pack('<HBHH', able & 0xffff, 33, 2, able >> 16) + b'\x15'
                 + b'\0' * 10 + b'ijklmnopqrst\0mysql_native_password\0')
        seq, _ = self.hear(c)
        self.say(c, seq + 1, b'\xfemysql_clear_password\0')
        seq, _ = self.hear(c)
        fine = b'\0\0\0\2\0\0\0'
        self.say(c, seq + 1, fine)
        while True:
            seq, data = self.hear(c)
            if data[:1] == b'\x16':  # prepare
                self.say(c, seq + 1, b'\0' + struct.pack('<IHH', 1, 0, 0) + b'\0\0\0')
            elif data[:1] in b'\x03\x17':  # query, execute
                self.say(c, seq + 1, b'\xfb' + self.path)
                while data:
                    seq, data = self.hear(c)
                self.say(c, seq + 1, fine)
            elif data[:1] == b'\x01':
                return
            elif data[:1] != b'\x19':
                self.say(c, seq + 1, fine)


def send(pages, port, do, **fields):
    out = {'plugin': MYSQL, 'name': 'LUI', 'user': 'luiuser', 'password': '', 'host': '127.0.0.1', 'port': str(port), 'ssl': 'Off', 'do': do}
    return pages.send(PAGE, dict(out, **fields))


def main():
    with Server(bind='own', components='hub') as server:
        path = os.path.join(server.state, 'keys', 'tracker.keys')
        with open(path, 'rb') as f:
            key = f.read()
        first, second = Rogue(path), Rogue(path)
        pages = Pages(server).set_up()
        send(pages, first.port, 'use', password=SECRET)
        send(pages, first.port, 'test')
        ok(SECRET.encode() in first.heard, 'the stored password is for the server that it was given for')
        ok(len(key) > 16 and key[:16] not in first.heard, 'a server that asks for a file of ours gets nothing')

        for name, fields in (('another port', {}), ('another host', {'host': '127.0.0.2', 'port': first.port}),
                             ('another user', {'port': first.port, 'user': 'root'})):
            for do in ('test', 'use'):
                before = first.callers + second.callers
                answer = send(pages, do=do, **dict({'port': second.port}, **fields))
                same((answer.status, first.callers + second.callers), (422, before), '%s without the password, %s: refused, and nobody is called' % (name, do))
                ok('type the password again' in plain(answer.body), 'and the page says what to do', plain(answer.body)[-700:])
        send(pages, second.port, 'use', plugin=INTERNAL)
        send(pages, second.port, 'test')
        ok(SECRET.encode() not in second.heard, 'nor by a detour over the internal database')
        send(pages, second.port, 'test', password='typed')
        ok(b'typed' in second.heard and SECRET.encode() not in second.heard, 'what is typed is used')
        for r in (first, second):
            r.close()


main()
done()
