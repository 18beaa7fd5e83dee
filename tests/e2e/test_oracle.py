#!/usr/bin/python3
"""Another strict parser as oracle: whatever ours accepts, node's llhttp must accept too, with the same number of requests and the same bodies.
Cases: data/malformed.txt and mutations of it. Skipped where node or the unit program h1 is missing."""
import base64
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import malformed
from tap import done, note, ok, skip

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = os.path.join(HERE, '..', '..', 'build', os.environ.get('MODE') or 'release', 'unit', 'h1')
SEED = int(os.environ.get('SEED', '20261'))
MUTATIONS = 20000
SPICE = [b'\r', b'\n', b'\r\n', b' ', b'\t', b'\0', b':', b';', b',', b'"', b'0', b'1', b'-', b'+', b'a', b'x', b'\x7f', b'\x80', b'\xff', b'#', b'?', b'/',
         b'http://b', b'Content-Length: 1\r\n', b'Transfer-Encoding: chunked\r\n', b'Connection: close\r\n', b'Host: b\r\n', b'chunked', b'HTTP/1.0',
         b'0\r\n\r\n', b'Expect: 100-continue\r\n', b'Upgrade: h2c\r\n', b'Trailer: x\r\n']
# What llhttp refuses for reasons that are no matter of framing or syntax.
NOT_COMPARED = ('HPE_INVALID_METHOD',  # it knows a fixed list of methods
                'HPE_PAUSED_UPGRADE', 'HPE_PAUSED_H2_UPGRADE')
# It also does not take a tab behind these values for the optional white space that RFC 9110 section 5.6.3 says it is.
TAB = re.compile(rb'(?i)(content-length|transfer-encoding|connection):[^\r\n]*\t')
TAB_ERRORS = ('HPE_INVALID_CONTENT_LENGTH', 'HPE_INVALID_TRANSFER_ENCODING', 'HPE_CLOSED_CONNECTION')


def mutate(dice, raw):
    for _ in range(dice.randrange(1, 4)):
        at, way = dice.randrange(len(raw) + 1), dice.randrange(4)
        if way == 0:
            raw = raw[:at] + dice.choice(SPICE) + raw[at:]
        elif way == 1:
            raw = raw[:at] + raw[at + dice.randrange(1, 4):]
        elif way == 2 and at < len(raw):
            raw = raw[:at] + dice.choice(SPICE)[:1] + raw[at + 1:]
        else:
            end = min(len(raw), at + dice.randrange(1, 30))
            raw = raw[:end] + raw[at:end] + raw[end:]
    return raw


def ours(cases):
    p = subprocess.run([OURS, '--say'], input=b''.join(struct.pack('<I', len(c)) + c for c in cases), stdout=subprocess.PIPE, check=True)
    out = []
    for line in p.stdout.decode().splitlines():
        words = line.split(' bodies ')
        out.append((words[0].split(', ') if words[0] else [], [bytes.fromhex(w) for w in words[1].split(',')] if len(words) > 1 else []))
    return out


def theirs(node, cases):
    text = json.dumps([base64.b64encode(c).decode() for c in cases])
    p = subprocess.run([node, '--no-deprecation', os.path.join(HERE, 'llhttp.js')], input=text.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in p.stdout.decode().splitlines()]


def compare(raw, a, b):
    """None, or what llhttp saw otherwise."""
    said, bodies = a
    if b['error'] in NOT_COMPARED or (b['error'] in TAB_ERRORS and TAB.search(raw)):
        return None
    count = sum(1 for s in said if s in ('accept', 'close'))
    got = [base64.b64decode(x) for x in b['bodies']]
    if len(got) < count:
        return 'we accept %d requests, llhttp %d (%s)' % (count, len(got), b['error'])
    if got[:count] != bodies[:count]:
        return 'bodies differ: ours %r, llhttp %r' % (bodies, got)
    return None


def main():
    node = shutil.which('node')
    if not node or not os.access(OURS, os.X_OK):
        skip('llhttp as oracle', 'node is not installed' if not node else 'unit program h1 is not built')
        return done()
    dice = random.Random(SEED)
    cases = malformed.read()
    good = [c for c in cases if c.accepted]
    raws = [c.raw for c in cases] + [mutate(dice, dice.choice(cases if i % 4 == 0 else good).raw) for i in range(MUTATIONS)]
    raws = [r for r in raws if len(r) < 30000]
    a, b = ours(raws), theirs(node, raws)
    ok(len(a) == len(b) == len(raws), '%d cases judged by both (seed %d)' % (len(raws), SEED))
    wrong = [(r, w) for r, w in ((r, compare(r, x, y)) for r, x, y in zip(raws, a, b)) if w]
    for r, w in wrong[:20]:
        note('%r: %s' % (r[:600], w))
    ok(not wrong, 'nothing that we accept is refused, or read otherwise, by llhttp (%d)' % len(wrong))
    accepted = sum(1 for x in a if x[0] and x[0][0] in ('accept', 'close'))
    ok(accepted > 1000, 'and that was a comparison: %d cases begin with a request that we accept' % accepted)
    looser = sum(1 for x, y in zip(a, b) if sum(1 for s in x[0] if s in ('accept', 'close')) < len(y['bodies']))
    note('%d cases hold a request that llhttp accepts and we refuse: ours is the stricter' % looser)
    done()


main()
