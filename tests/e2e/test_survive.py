#!/usr/bin/python3
"""kill -9 of the engine under load: no connection refused, every answered event in the ui's database exactly once. KILLS=50 for the long form."""
import os
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
import load
from arrivals import exactly_once
from portreeve import Server, wait_until
from tap import done, note, ok, same

KILLS = int(os.environ.get('KILLS', '10'))
BETWEEN = 60  # answers between two kills
CAMPAIGN = 41
FRIST = 60
STEADY = 0.7


def kill_under_load(s, work):
    """One kill; returns seconds until an answer to a request that began after it."""
    base = work.count('answered')
    wait_until('%d answers' % BETWEEN, lambda: work.count('answered') >= base + BETWEEN or work.failure, FRIST)
    time.sleep(STEADY)  # an engine that dies at once again and again is restarted with growing pauses, as it should be
    mark = len(work.answer_times)
    at = time.monotonic()
    s.kill_engine()

    def answer():
        return [e for b, e in work.answer_times[mark:] if b > at]
    return min(wait_until('an answer after the kill', answer, FRIST)) - at


def main():
    with Server() as s:
        address, port = s.address, s.port('http')
        link = urllib.parse.urlsplit(s.mint(campaign=CAMPAIGN + 1)['open']).path
        same(http1.get(address, port, link).status, 200, 'a minted link is answered')
        supervisor = s.supervisor_pid()
        work = load.Load(address, port, load.Mail(os.path.join(s.state, 'keys/tracker.keys'), campaign=CAMPAIGN), kept=12, fresh=6, pause=0.004)
        work.answer_times = []
        work.start()
        recovery = [kill_under_load(s, work) for _ in range(KILLS)]
        base = work.count('answered')
        wait_until('answers after the last kill', lambda: work.count('answered') >= base + BETWEEN, FRIST)
        work.finish()
        note('load: ' + work.summary())
        note('recovery after kill -9, seconds: ' + ' '.join('%.3f' % r for r in recovery))
        note('median %.3f s, longest %.3f s' % (sorted(recovery)[len(recovery) // 2], max(recovery)))
        ok(s.supervisor_pid() == supervisor and s.alive(), 'the supervisor is the one that was started')
        ok(s.status()['counters'] is not None and len(s.engine_pids()) == 1, 'one engine runs after %d kills' % KILLS)
        same(work.count('refused'), 0, 'no connection was refused')
        same(work.count('timeout'), 0, 'no request was left without an answer or an end')
        ok(work.count('wrong') == 0, 'no answer was wrong', work.errors[:5])
        ok(work.count('answered') >= BETWEEN * (KILLS + 1), 'opens and unsubscribes were answered: %d' % work.count('answered'))
        answered = set(work.results['answered'])
        ok(any(k == 'unsubscribe' for k, _ in answered) and any(k == 'open' for k, _ in answered), 'both kinds are among them')
        count, seqs = exactly_once(s, CAMPAIGN, answered, '%d kills' % KILLS, FRIST)
        ok(not any(len(set(v)) != len(v) for v in seqs.values()), 'no (tracker, epoch, seq) stands twice')
        sent = set().union(*work.results.values())
        same(sorted(set(count) - sent)[:10], [], 'nothing is there that was never sent')
        ok(len(seqs) > KILLS // 2, 'the events are of several engine lives: %d epochs' % len(seqs))
    done()


main()
