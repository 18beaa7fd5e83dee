"""A server's processes: what the kernel says of them, where they run, how they end."""
import os
import signal
import subprocess

from portreeve import parents

CPUS = sorted(os.sched_getaffinity(0))
ON_SERVER, ON_LOAD = ['taskset', '-c', str(CPUS[0])], ['taskset', '-c', str(CPUS[-1])]


def end(proc, seconds=20):
    """SIGTERM, and SIGKILL for one that does not heed it in time."""
    if proc.poll() is not None:
        return
    proc.send_signal(signal.SIGTERM)
    try:
        proc.wait(seconds)
    except subprocess.TimeoutExpired:
        proc.kill()
        proc.wait()


def tree(pid):
    """pid and everything below it."""
    below = {}
    for p, parent in parents().items():
        below.setdefault(parent, []).append(p)
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
