"""Test output as TAP: ok(), skip(), done(). A test is a plain program; an exception that nobody catches is a failed check, never a silent end."""
import os
import sys
import traceback

_run = 0
_bad = 0


def _line(good, name, tail=''):
    global _run, _bad
    _run += 1
    if not good:
        _bad += 1
    name = str(name).replace('\n', ' ').replace('#', '\\#')
    print('%sok %d - %s%s' % ('' if good else 'not ', _run, name, tail), flush=True)
    return bool(good)


def ok(cond, name, note_text=None):
    """One check. note_text is printed only where it failed. Returns whether it held."""
    good = _line(cond, name)
    if not good:
        frame = sys._getframe(1)
        note('at %s:%d' % (os.path.basename(frame.f_code.co_filename), frame.f_lineno))
        if note_text is not None:
            note(note_text)
    return good


def same(got, want, name):
    good = _line(got == want, name)
    if not good:
        frame = sys._getframe(1)
        note('at %s:%d' % (os.path.basename(frame.f_code.co_filename), frame.f_lineno))
        note('got  %r' % (got,))
        note('want %r' % (want,))
    return good


def skip(name, why):
    _line(True, name, ' # SKIP ' + why)


def note(text):
    for line in str(text).splitlines() or ['']:
        print('# ' + line, flush=True)


def failed():
    return _bad


def done():
    """Last statement of a test program."""
    print('1..%d' % _run, flush=True)
    sys.exit(1 if _bad or not _run else 0)


def _uncaught(kind, value, trace):
    if issubclass(kind, KeyboardInterrupt):
        os._exit(130)
    _line(False, 'exception %s: %s' % (kind.__name__, value))
    note(''.join(traceback.format_exception(kind, value, trace)))
    print('1..%d' % _run, flush=True)


sys.excepthook = _uncaught
