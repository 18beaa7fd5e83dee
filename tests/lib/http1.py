"""HTTP/1.1 over a raw socket, one byte at a time in the tester's hands: what is sent is what the test wrote."""
import socket
import ssl


class Closed(Exception):
    """The peer closed (or reset) before a whole answer was there. .got holds what had arrived."""

    def __init__(self, text, got=b''):
        super().__init__(text)
        self.got = got


class Response:
    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def get(self, name, default=None):
        """First value of a field, names without regard to case."""
        for k, v in self.headers:
            if k.lower() == name.lower():
                return v
        return default

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def __repr__(self):
        return '<%d %s %r %d bytes>' % (self.status, self.reason, self.headers, len(self.body))


def tls_context(verify=None, least=None, most=None, alpn=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    if verify:
        c.load_verify_locations(verify)
        c.verify_mode = ssl.CERT_REQUIRED
    if least:
        c.minimum_version = least
    if most:
        c.maximum_version = most
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


def request(method, target, headers=(), body=b'', host='localhost', close=False):
    """Bytes of one request; a body gets its Content-Length unless a header says how it is framed."""
    if isinstance(body, str):
        body = body.encode()
    if isinstance(headers, dict):
        headers = list(headers.items())
    lines = ['%s %s HTTP/1.1' % (method, target), 'Host: %s' % host]
    names = [k.lower() for k, _ in headers]
    lines += ['%s: %s' % kv for kv in headers]
    if (body or method in ('POST', 'PUT')) and 'content-length' not in names and 'transfer-encoding' not in names:
        lines.append('Content-Length: %d' % len(body))
    if close:
        lines.append('Connection: close')
    return ('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1') + body


def chunked(*parts, trailer=b''):
    out = b''.join(b'%x\r\n%s\r\n' % (len(p), p) for p in parts if p)
    return out + b'0\r\n' + trailer + b'\r\n'


class Conn:
    """One connection. Usable in `with`."""

    def __init__(self, address, port, tls=None, timeout=30.0, source=None, server_name='localhost', rcvbuf=None):
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if rcvbuf:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            self.sock.settimeout(timeout)
            if source:
                self.sock.bind((source, 0))
            self.sock.connect(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4])  # with its %scope
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                context = tls if isinstance(tls, ssl.SSLContext) else tls_context()
                self.sock = context.wrap_socket(self.sock, server_hostname=server_name)
        except BaseException:
            self.sock.close()
            raise
        self.buf = b''

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLError) as e:
            raise Closed('reset: %s' % e, self.buf)
        if not data:
            raise Closed('closed by peer', self.buf)
        self.buf += data

    def line(self):
        while b'\r\n' not in self.buf:
            self.more()
        line, self.buf = self.buf.split(b'\r\n', 1)
        return line

    def exactly(self, n):
        while len(self.buf) < n:
            self.more()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def response(self, method='GET'):
        """Read one final response (100 Continue is returned too: status 100 has no body)."""
        first = self.line().decode('latin-1')
        version, status, reason = (first + '  ').split(' ', 2)
        if version != 'HTTP/1.1' or not status.isdigit():
            raise Closed('not a status line: %r' % first, self.buf)
        headers = []
        while True:
            line = self.line().decode('latin-1')
            if not line:
                break
            k, _, v = line.partition(':')
            headers.append((k, v.strip()))
        r = Response(int(status), reason.strip(), headers, b'')
        if method == 'HEAD' or r.status < 200 or r.status in (204, 304):
            return r
        if (r.get('Transfer-Encoding') or '').lower() == 'chunked':
            r.body = self._chunked()
        elif r.get('Content-Length') is not None:
            r.body = self.exactly(int(r.get('Content-Length')))
        else:
            r.body = self.rest()
        return r

    def _chunked(self):
        out = b''
        while True:
            n = int(self.line().split(b';')[0], 16)
            if n == 0:
                while self.line():
                    pass
                return out
            out += self.exactly(n)
            if self.exactly(2) != b'\r\n':
                raise Closed('chunk without its end', self.buf)

    def rest(self):
        """Everything until the peer closes."""
        while True:
            try:
                self.more()
            except Closed:
                break
        data, self.buf = self.buf, b''
        return data

    def ends(self):
        """True where the peer closes (or resets) without sending another byte; raises socket.timeout where it stays open."""
        if self.buf:
            return False
        try:
            return self.sock.recv(1) == b''
        except (ConnectionError, ssl.SSLError):
            return True

    def call(self, method, target, headers=(), body=b'', **kw):
        self.send(request(method, target, headers, body, **kw))
        return self.response(method)


def get(address, port, target, tls=None, method='GET', headers=(), body=b'', timeout=30.0, **kw):
    """One request on a connection of its own."""
    with Conn(address, port, tls=tls, timeout=timeout) as c:
        return c.call(method, target, headers, body, close=True, **kw)
