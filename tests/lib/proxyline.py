"""Headers of the PROXY protocol as a device sends them, written from its specification and not from our C: versions 1 and 2 as bytes, and the
vectors of tests/e2e/data/proxy.txt."""
import ipaddress
import os
import re
import struct

SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 1, 2, 3, 4, 5, 0x20, 0x30
SSL_VERSION, SSL_CN, SSL_CIPHER = 0x21, 0x22, 0x23


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def v1(source, target, sport=50000, dport=443):
    return ('PROXY TCP%d %s %s %d %d\r\n' % (6 if ':' in source else 4, source, target, sport, dport)).encode()


def tlv(kind, value):
    return struct.pack('>BH', kind, len(value)) + value


def ssl(client=1, verify=0, version=None, cn=None, cipher=None):
    sub = b''.join(tlv(k, v.encode()) for k, v in ((SSL_VERSION, version), (SSL_CN, cn), (SSL_CIPHER, cipher)) if v is not None)
    return tlv(SSL, struct.pack('>BI', client, verify) + sub)


def v2(source=None, target=None, sport=50000, dport=443, tlvs=b'', command=1, protocol=None, crc=False, wrong=0, block=None, length=None):
    """block: instead of the addresses; crc: with a checksum (wrong: added to it); length: another one than the right one."""
    if block is None:
        block = b''
        if source:
            block = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + struct.pack('>HH', sport, dport)
    if protocol is None:
        protocol = {0: 0, 12: 0x11, 36: 0x21}[len(block)]
    if crc:
        tlvs += tlv(CRC32C, b'\0\0\0\0')
    body = block + tlvs
    head = SIGNATURE + bytes([0x20 | command, protocol]) + struct.pack('>H', len(body) if length is None else length) + body
    return head[:-4] + struct.pack('>I', (crc32c(head) + wrong) & 0xffffffff) if crc else head


def unescape(text):
    r"""\xHH, \r, \n, \\ and \{HH*N}: the byte HH N times."""
    def one(m):
        s = m.group(0)
        if s[1] == '{':
            byte, n = s[2:-1].split('*')
            return chr(int(byte, 16)) * int(n)
        return {'r': '\r', 'n': '\n', '\\': '\\'}.get(s[1]) or chr(int(s[2:], 16))
    return re.sub(r'\\(x[0-9a-f]{2}|r|n|\\|\{[0-9a-f]{2}\*\d+\})', one, text).encode('latin-1')


def vectors():
    """[(good, name, bytes, what is expected)], as the C unit reads them."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'e2e', 'data', 'proxy.txt')
    out = []
    with open(path, encoding='utf-8') as f:
        for line in f:
            if line.strip() and not line.startswith('#'):
                word, name, data, expect = line.rstrip('\n').split('\t')
                out.append((word == 'good', name, unescape(data), expect))
    return out
