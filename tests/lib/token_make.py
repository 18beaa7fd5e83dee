"""Tracking tokens made a second time, from the words of src/svc/token.h alone: a load of many thousand tokens needs no process for each, and a
token of this file that the server takes shows that the layout is what its header says."""
import base64
import hashlib
import hmac
import time

KINDS = {'open': 1, 'click': 2, 'link': 3, 'unsubscribe': 4, 'trap': 5}
LEVELS = {'off': 0, 'blind': 1, 'anonymous': 2, 'personal': 3, 'network': 4}
MINUTE_ZERO = 1577836800  # 2020-01-01T00:00Z


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def hkdf(key, salt, info, n=32):
    """RFC 5869 with SHA-256, one block."""
    prk = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(prk, info + b'\1', hashlib.sha256).digest()[:n]


class Sealer:
    def __init__(self, keys_path):
        newest = None
        with open(keys_path) as f:
            for line in f:
                word = line.split()
                if len(word) == 4 and word[0].isdigit() and word[3] == '-' and (newest is None or int(word[2]) >= newest[2]):
                    newest = (int(word[0]), bytes.fromhex(word[1]), int(word[2]))
        if newest is None:
            raise ValueError('%s: no key in use' % keys_path)
        self.id, self.master = newest[0], newest[1]
        self.key = {k: hkdf(self.master, b'portreeve token 1', k.encode()) for k in KINDS}

    def token(self, kind, campaign, recipient, link, target='', level='personal', flags=0, at=None, key_kind=None):
        """Text of a token. key_kind: sign with the key of another kind (which must never verify)."""
        minute = int((time.time() if at is None else at) - MINUTE_ZERO) // 60
        head = (bytes([1 << 4 | KINDS[kind], self.id]) + varint(campaign) + varint(recipient) + varint(link) +
                bytes([flags << 3 | LEVELS[level]]) + minute.to_bytes(4, 'big'))
        mac = hmac.new(self.key[key_kind or kind], head + target.encode(), hashlib.sha256).digest()[:12]
        return base64.urlsafe_b64encode(head + mac).rstrip(b'=').decode()
