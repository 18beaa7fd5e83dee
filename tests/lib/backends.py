"""Backends that tests tunnel to: real sockets on a thread each, whose side of the talk is a function."""
import socket
import ssl
import subprocess
import threading


class Backend:
    """Calls talk(connection) for each caller on a thread of its own. kind: an address of 127.0.0.0/8 or ::1, or a path for a unix socket."""

    def __init__(self, talk, at='127.0.0.1', tls=None, backlog=128):
        self.talk, self.tls, self.callers, self.errors = talk, tls, 0, []
        if at.startswith('/'):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(at)
            self.text = 'unix:' + at
        else:
            self.sock = socket.socket(socket.AF_INET6 if ':' in at else socket.AF_INET)
            self.sock.bind((at, 0))
            self.port = self.sock.getsockname()[1]
            self.text = ('[%s]:%d' if ':' in at else '%s:%d') % (at, self.port)
        self.sock.listen(backlog)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            self.callers += 1
            threading.Thread(target=self._one, args=(c,), daemon=True).start()

    def _one(self, c):
        c.settimeout(120)
        try:
            if self.tls:
                c = self.tls.wrap_socket(c, server_side=True)
            self.talk(c)
        except OSError as e:
            self.errors.append(e)
        finally:
            c.close()

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def read_all(c):
    out = []
    while True:
        part = c.recv(65536)
        if not part:
            return b''.join(out)
        out.append(part)


def read_line(c):
    out = b''
    while not out.endswith(b'\n'):
        part = c.recv(1)
        if not part:
            break
        out += part
    return out


def says(name):
    """A talk: its name, then each line back with it, until the caller ends."""
    def talk(c):
        c.sendall(b'%s here\n' % name.encode())
        while True:
            line = read_line(c)
            if not line:
                return
            c.sendall(name.encode() + b' heard ' + line)
    return talk


def make_certificate(folder, host):
    """A self-signed certificate: (path of certificate, path of key)."""
    crt, key = '%s/%s.pem' % (folder, host), '%s/%s.key' % (folder, host)
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', crt, '-days', '2',
                    '-subj', '/CN=' + host, '-addext', 'subjectAltName=DNS:' + host], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return crt, key


def server_tls(folder, host):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(folder, host))
    return context


def client_tls(alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def client_hello(name):
    """The bytes with which a real client begins."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_tls().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
