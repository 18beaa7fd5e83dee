#!/usr/bin/python3
"""Every case of data/malformed.txt on a real socket, in one piece and in two: what must be refused is never answered 2xx, gets a status of its
class and the end of the connection, and nothing behind it is answered; what is fine gets its answer, and the connection is still in step."""
import os
import random
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import malformed
from portreeve import SLOW, Server
from tap import done, note, ok

SEED = int(os.environ.get('SEED', '20261'))
PATIENCE = 20 * SLOW
PROBE = b'GET /robots.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
ANSWER = re.compile(rb'HTTP/1\.1 (\d{3}) [A-Za-z ]*\r\n((?:[^\r\n]+\r\n)*)\r\n')
REFUSALS = (400, 408, 413, 414, 417, 431, 505)


class Stuck(Exception):
    pass


def talk(address, port, pieces, half_close):
    """Send the pieces, read to the end. Returns [(status, head)] of the final answers."""
    got = b''
    with socket.create_connection((address, port), timeout=PATIENCE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for i, p in enumerate(pieces):
                if i:
                    time.sleep(0.001)  # two segments; nothing depends on their being read apart
                s.sendall(p)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it may well close before it has read everything
        try:
            while True:
                data = s.recv(65536)
                if not data:
                    break
                got += data
        except ConnectionError:
            pass
        except socket.timeout:
            raise Stuck(got)
    return [(int(m.group(1)), m.group(2).lower()) for m in ANSWER.finditer(got) if m.group(1)[:1] != b'1']


def verdict(case, answers):
    """None, or what is wrong."""
    statuses = [a[0] for a in answers]
    if case.expect == ['more']:
        return 'something was answered 2xx' if any(s // 100 == 2 for s in statuses) else None
    if case.refused is not None:
        if len(statuses) != case.accepted + 1:
            return 'wanted %d answers' % (case.accepted + 1)
        if statuses[-1] // 100 != case.refused // 100:
            return 'wanted %d' % case.refused
        return 'a good request was refused' if any(s in REFUSALS for s in statuses[:-1]) else None
    if any(s in REFUSALS for s in statuses):
        return 'a good request was refused'
    wanted = case.accepted + (case.expect[-1] == 'accept')
    if len(statuses) == wanted:
        return None
    # A server may end a connection by its own will, but has to say so.
    if 0 < len(statuses) < wanted and b'\r\nconnection: close\r\n' in b'\r\n' + answers[-1][1]:
        return None
    return 'wanted %d answers' % wanted


def run(server, case, cut):
    raw = case.raw + (PROBE if case.expect[-1] == 'accept' else b'')
    pieces = [raw] if cut is None else [raw[:cut], raw[cut:]]
    try:
        answers = talk(server.address, server.port('http'), pieces, case.expect == ['more'])
    except Stuck as e:
        return 'the connection was not closed (read: %r)' % e.args[0][:200]
    wrong = verdict(case, answers)
    return wrong and '%s, got %s' % (wrong, [a[0] for a in answers])


def main():
    dice = random.Random(SEED)
    note('seed %d' % SEED)
    cases = malformed.read()
    ok(len(cases) >= 200 and sum(1 for c in cases if c.refused) >= 90, '%d cases, %d of them refused' % (len(cases), sum(1 for c in cases if c.refused)))
    with Server() as s:
        s.port = lambda name, port=s.port('http'): port  # asked once: the port does not change
        for c in cases:
            cut = dice.randrange(1, len(c.raw)) if len(c.raw) > 1 else None
            for where in [None] if cut is None else [None, cut]:
                wrong = run(s, c, where)
                ok(wrong is None, '%s (RFC %s)%s' % (c.name, c.rfc, '' if where is None else ', cut at %d' % where), wrong)
        ok(s.alive() and len(s.engine_pids()) == 1 and run(s, cases[0], None) is None, 'the server still serves')
    done()


main()
