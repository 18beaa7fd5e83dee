"""Tests that need root, or the machine's network to themselves. Called before a test imports what makes no sense without."""
import os
import sys

import tap

NETWORK = 'needs root, for a network namespace of its own and ports below 1024; run as root'


def root(what, why=NETWORK):
    """Without root the test ends here, skipped."""
    if os.geteuid() != 0:
        tap.skip(what, why)
        tap.done()


def network(what, why=NETWORK):
    """As root, and in a network namespace that lives as long as this process and those it starts."""
    root(what, why)
    if os.environ.get('PORTREEVE_INSIDE') != str(os.getpid()):
        os.environ['PORTREEVE_INSIDE'] = str(os.getpid())
        os.execvp('unshare', ['unshare', '--net', sys.executable] + sys.argv)
