"""Load from one thread: N connections that are kept and M that carry one request each, opens and unsubscribes mixed, every request with a token
of its own, so that each answered event can be looked for by its key afterwards. What happened to every single request is kept.
"""
import errno
import heapq
import itertools
import os
import selectors
import socket
import threading
import time

import http1
import token_make

RESULTS = ('answered', 'refused', 'reset', 'timeout', 'wrong')
IN_PROGRESS = (errno.EINPROGRESS, errno.EAGAIN)


class Mail:
    """Requests with tokens of their own: recipient numbers count up from `first`. kind 'open' → GET, 'unsubscribe' → POST."""

    def __init__(self, keys_path, campaign=1, first=1, unsubscribe_every=5):
        self.seal = token_make.Sealer(keys_path)
        self.campaign, self.every = campaign, unsubscribe_every
        self.count = itertools.count(first)

    def next(self, close):
        n = next(self.count)
        if self.every and n % self.every == 0:
            text = self.seal.token('unsubscribe', self.campaign, n, 0)
            raw = http1.request('POST', '/trk/u/' + text, {'Content-Type': 'application/x-www-form-urlencoded'}, b'List-Unsubscribe=One-Click', close=close)
            return ('unsubscribe', n), raw
        text = self.seal.token('open', self.campaign, n, 0)
        return ('open', n), http1.request('GET', '/trk/o/%s.gif' % text, close=close)


class Plain:
    """The same request again and again."""

    def __init__(self, target='/robots.txt', method='GET', headers=(), body=b''):
        self.what = (method, target, headers, body)
        self.count = itertools.count(1)

    def next(self, close):
        m, t, h, b = self.what
        return (t, next(self.count)), http1.request(m, t, h, b, close=close)


class _Client:
    __slots__ = ('kept', 'sock', 'key', 'out', 'buf', 'began', 'connecting', 'served', 'number')

    def __init__(self, number, kept):
        self.number, self.kept, self.sock, self.buf, self.served = number, kept, None, b'', 0
        self.key, self.out, self.began, self.connecting = None, b'', 0.0, False  # key: of the request under way


def _whole(buf):
    """(status, bytes used, closes) once a whole response stands in buf, else None."""
    end = buf.find(b'\r\n\r\n')
    if end < 0:
        return None
    head = buf[:end].lower()
    status = int(head[9:12]) if head.startswith(b'http/1.1 ') and head[9:12].isdigit() else 0
    at = head.find(b'\r\ncontent-length:')
    length = int(head[at + 17:].split(b'\r\n')[0]) if at >= 0 else 0
    if len(buf) < end + 4 + length:
        return None
    return status, end + 4 + length, b'\r\nconnection: close' in head


class Load(threading.Thread):
    """start(), later finish() → Load with .results {name: [keys]}, .errors [(key, what, which connection)].

    pause: seconds a client waits between requests (0 = as fast as it goes). Nothing is ever sent twice.
    """

    def __init__(self, address, port, source, kept=8, fresh=4, pause=0.0, timeout=30.0, good=(200,), from_address=None):
        super().__init__(daemon=True)
        self.at = (address, port)
        self.source, self.pause, self.timeout, self.good, self.from_address = source, pause, timeout, good, from_address
        self.clients = [_Client(i, i < kept) for i in range(kept + fresh)]
        self.results = {name: [] for name in RESULTS}
        self.errors = []
        self.kept_closed = 0  # kept connections that ended although no answer had said so
        self.last_answer = 0.0
        self.answer_times = None  # set to [] to keep (began, ended) of every answer
        self.stopping = threading.Event()
        self.sel = selectors.EpollSelector()
        self.idle = [(0.0, c.number) for c in self.clients]
        self.busy = 0
        self.failure = None

    # --- one client ---
    def _begin(self, c, now):
        c.key, c.out = self.source.next(not c.kept)
        c.began = now
        self.busy += 1
        if c.sock is None:
            c.buf, c.served = b'', 0
            c.sock = socket.socket(socket.AF_INET6 if ':' in self.at[0] else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.from_address:
                c.sock.bind((self.from_address, 0))
            rc = c.sock.connect_ex(self.at)
            if rc and rc not in IN_PROGRESS:
                self.sel.register(c.sock, selectors.EVENT_WRITE, c)
                return self._end(c, 'refused' if rc == errno.ECONNREFUSED else 'reset', os.strerror(rc))
            c.connecting = True
            self.sel.register(c.sock, selectors.EVENT_WRITE, c)
            return None
        c.connecting = False
        self.sel.modify(c.sock, selectors.EVENT_READ, c)
        return self._write(c)

    def _write(self, c):
        try:
            n = c.sock.send(c.out)
        except BlockingIOError:
            n = 0
        except OSError as e:
            return self._end(c, 'reset', str(e))
        c.out = c.out[n:]
        self.sel.modify(c.sock, selectors.EVENT_WRITE if c.out else selectors.EVENT_READ, c)
        return None

    def _end(self, c, result, why=''):
        """The request is over. Anything but an answer closes the connection."""
        self.busy -= 1
        key, c.key, c.out = c.key, None, b''
        self.results[result].append(key)
        now = time.monotonic()
        if result == 'answered':
            self.last_answer = now
            if self.answer_times is not None:
                self.answer_times.append((c.began, now))
        else:
            self.errors.append((key, '%s: %s' % (result, why), 'kept, %d served' % c.served if c.kept else 'new'))
            self._close(c)
        heapq.heappush(self.idle, (now + self.pause, c.number))

    def _close(self, c):
        if c.sock is not None:
            self.sel.unregister(c.sock)
            c.sock.close()
            c.sock = None

    def _event(self, c):
        if c.out:
            if c.connecting:
                rc = c.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if rc:
                    return self._end(c, 'refused' if rc == errno.ECONNREFUSED else 'reset', os.strerror(rc))
                c.connecting = False
            return self._write(c)
        try:
            data = c.sock.recv(65536)
        except BlockingIOError:
            return None
        except OSError as e:
            return self._end(c, 'reset', str(e)) if c.key else self._lost(c)
        if not data:
            return self._end(c, 'reset', 'closed by peer after %d bytes' % len(c.buf)) if c.key else self._lost(c)
        if not c.key:
            self.errors.append((None, 'unsolicited: %r' % data[:60], 'kept'))
            self.results['wrong'].append(None)
            return self._close(c)
        c.buf += data
        got = _whole(c.buf)
        if got is None:
            return None
        status, used, closes = got
        c.buf = c.buf[used:]
        c.served += 1
        if status not in self.good or c.buf:
            return self._end(c, 'wrong', 'status %d%s' % (status, ', bytes left over' if c.buf else ''))
        self._end(c, 'answered')
        if closes or not c.kept:
            self._close(c)
        return None

    def _lost(self, c):
        """A kept connection ended between two requests."""
        self.kept_closed += 1
        self._close(c)

    def run(self):
        try:
            self._run()
        except Exception as e:  # a fault of the generator must fail the test, not end it quietly
            self.failure = e

    def _run(self):
        while True:
            now = time.monotonic()
            if self.stopping.is_set() and self.busy == 0:
                break
            while self.idle and self.idle[0][0] <= now and not self.stopping.is_set():
                self._begin(self.clients[heapq.heappop(self.idle)[1]], now)
            wait = 0.05 if self.stopping.is_set() or not self.idle else min(0.05, max(0.0, self.idle[0][0] - now))
            for k, _ in self.sel.select(wait):
                if k.data.sock is k.fileobj:
                    self._event(k.data)
            for c in self.clients:
                if c.key and now - c.began > self.timeout:
                    self._end(c, 'timeout', '%.1f s' % (now - c.began))
        for c in self.clients:
            self._close(c)
        self.sel.close()

    def finish(self, wait=None):
        self.stopping.set()
        self.join(wait or self.timeout + 30)
        if self.is_alive():
            raise AssertionError('the load generator did not end')
        if self.failure:
            raise self.failure
        return self

    def count(self, name):
        return len(self.results[name])

    def bad(self):
        return sum(len(v) for k, v in self.results.items() if k != 'answered')

    def summary(self):
        text = ', '.join('%d %s' % (len(self.results[k]), k) for k in RESULTS)
        return text + (', %d kept connections ended between requests' % self.kept_closed if self.kept_closed else '')
