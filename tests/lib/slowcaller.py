"""A caller whose every packet the test sends itself, over a TUN device of this network namespace: so a handshake can stand half finished for as
long as the test likes. IPv4 only; root only.

    with Wire('t0', '10.99.0.1', '10.99.0.2') as wire:        # ours and the caller's address
        c = wire.caller(80)
        c.syn()                                               # → True: SYN-ACK came, False: refused
        c.finish(b'GET / …')                                  # the handshake's last packet, with data
        c.answer()                                            # → bytes until the server closes; Reset if it resets
"""
import fcntl
import os
import select
import socket
import struct
import subprocess
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class Reset(Exception):
    pass


def _checksum(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Wire:
    def __init__(self, name, ours, theirs):
        self.ours, self.theirs = socket.inet_aton(ours), socket.inet_aton(theirs)
        self.fd = os.open('/dev/net/tun', os.O_RDWR)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack('16sH22x', name.encode(), IFF_TUN | IFF_NO_PI))
        subprocess.run(['ip', 'addr', 'add', ours + '/24', 'dev', name], check=True)
        subprocess.run(['ip', 'link', 'set', name, 'up'], check=True)
        self.callers = {}
        self.next_port = 20000

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        os.close(self.fd)  # and the device goes

    def caller(self, port):
        self.next_port += 1
        c = self.callers[self.next_port] = Caller(self, self.next_port, port)
        return c

    def send(self, sport, dport, seq, ack, flags, data=b''):
        tcp = struct.pack('!HHIIBBHHH', sport, dport, seq & 0xffffffff, ack & 0xffffffff, 5 << 4, flags, 64000, 0, 0) + data
        pseudo = self.theirs + self.ours + struct.pack('!BBH', 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack('!H', _checksum(pseudo + tcp)) + tcp[18:]
        ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, self.theirs, self.ours)
        os.write(self.fd, ip[:10] + struct.pack('!H', _checksum(ip)) + ip[12:] + tcp)

    def turn(self, seconds):
        """Take one packet, if one comes in time, and give it to its caller."""
        if not select.select([self.fd], [], [], max(0, seconds))[0]:
            return
        p = os.read(self.fd, 65536)
        if p[0] >> 4 != 4 or p[9] != 6:
            return
        tcp = p[(p[0] & 15) * 4:struct.unpack('!H', p[2:4])[0]]
        sport, dport, seq, ack, offset, flags = struct.unpack('!HHIIBB', tcp[:14])
        if dport in self.callers:
            self.callers[dport].take(seq, ack, flags, tcp[(offset >> 4) * 4:])


class Caller:
    def __init__(self, wire, own, port):
        self.wire, self.own, self.port = wire, own, port
        self.seq, self.ack = own * 1000, 0
        self.met, self.data = None, b''  # met: 'syn-ack', 'closed', 'reset'

    def take(self, seq, ack, flags, data):
        if flags & RST:
            self.met = 'reset'
        elif flags & SYN:
            self.met, self.ack = 'syn-ack', seq + 1
        elif seq == self.ack & 0xffffffff:  # in order; what is lost is sent again
            self.data += data
            self.ack += len(data) + bool(flags & FIN)
            if flags & FIN:
                self.met = 'closed'
            if data or flags & FIN:
                self.wire.send(self.own, self.port, self.seq, self.ack, ACK)

    def until(self, what, seconds):
        end = time.monotonic() + seconds
        while self.met not in what and time.monotonic() < end:
            self.wire.turn(end - time.monotonic())
        return self.met

    def syn(self, seconds=20):
        self.wire.send(self.own, self.port, self.seq, 0, SYN)
        self.seq += 1
        met = self.until(('syn-ack', 'reset'), seconds)
        if met is None:
            raise AssertionError('no answer to a SYN')
        return met == 'syn-ack'

    def finish(self, data):
        self.wire.send(self.own, self.port, self.seq, self.ack, ACK | PSH, data)
        self.seq += len(data)

    def answer(self, seconds=20):
        met = self.until(('closed', 'reset'), seconds)
        if met == 'reset':
            raise Reset('reset after %d bytes' % len(self.data))
        if met != 'closed':
            raise AssertionError('no whole answer, %d bytes' % len(self.data))
        return self.data
