"""Files that the server writes while a test reads them: a line may be half there, a file may just be renamed."""
import os

from portreeve import wait_until


def whole_lines(path):
    """Its lines but for one that is still being written; [] where there is no such file (any more)."""
    try:
        with open(path, encoding='utf-8') as f:
            return f.read().split('\n')[:-1]
    except FileNotFoundError:
        return []


def remote_folder(s):
    return os.path.join(s.state, 'log', 'remote')


def remote_files(s, name='logs'):
    """Names of the files of this listener's remote log."""
    folder = remote_folder(s)
    return sorted(f for f in (os.listdir(folder) if os.path.isdir(folder) else []) if f == name + '.log' or f.startswith(name + '.log.'))


def remote_lines(s, name='logs'):
    return [x for f in remote_files(s, name) for x in whole_lines(os.path.join(remote_folder(s), f))]


def remote_line(s, text, name='logs'):
    """The first line with this text, once it is there."""
    return wait_until('a line with %r' % text, lambda: [x for x in remote_lines(s, name) if text in x])[0]
