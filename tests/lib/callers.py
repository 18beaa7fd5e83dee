"""Callers from addresses of 127.0.0.0/8, and what becomes of them."""
import ssl

import http1


def seen(address, port, source=None, path='/robots.txt', tls=None, headers=(), name='localhost'):
    """The status a caller gets; 'shut' where he is closed without a byte (the kernel may add a reset where his request lies unread), 'cut' within an
    answer."""
    try:
        with http1.Conn(address, port, source=source, tls=tls, server_name=name) as c:
            return c.call('GET', path, headers).status
    except http1.Closed as e:
        return 'shut' if not e.got else 'cut'
    except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return 'shut'


def alone(address, port, source=None, tls=None):
    """The same in a word: 'served' for 200."""
    got = seen(address, port, source, tls=tls)
    return 'served' if got == 200 else got


def hold(address, port, source, n=1):
    """n idle connections that have been served once."""
    out = []
    for _ in range(n):
        c = http1.Conn(address, port, source=source)
        c.call('GET', '/robots.txt')
        out.append(c)
    return out
