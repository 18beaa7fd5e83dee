"""What the kernel says of a server's processes."""
import os


def tree(pid):
    """pid and everything below it."""
    below = {}
    for p in os.listdir('/proc'):
        if p.isdigit():
            try:
                with open('/proc/%s/stat' % p) as f:
                    s = f.read()
            except OSError:
                continue
            below.setdefault(int(s[s.rindex(')') + 2:].split()[1]), []).append(int(p))
    out = [pid]
    for p in out:
        out += below.get(p, [])
    return out


def cpu_ns(pids):
    """Processor time of every thread; a process or thread that has just gone counts nothing."""
    total = 0
    for p in pids:
        try:
            for t in os.listdir('/proc/%d/task' % p):
                with open('/proc/%d/task/%s/schedstat' % (p, t)) as f:
                    total += int(f.read().split()[0])
        except OSError:
            pass
    return total
