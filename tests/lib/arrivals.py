"""What came of a load (load.Mail) in the ui's database: nothing lost, nothing twice."""
import collections

from portreeve import wait_until
from tap import same


def in_database(s, campaign):
    """(type, recipient) → how often, and the sequence numbers of each (tracker, epoch)."""
    count, seqs = collections.Counter(), collections.defaultdict(list)
    for kind, who, tracker, epoch, seq in s.rows('SELECT type, who, tracker, epoch, seq FROM events WHERE campaign = ?', (campaign,)):
        count[(kind, int(who[1:]))] += 1  # who is "r" and the recipient
        seqs[(tracker, epoch)].append(seq)
    return count, seqs


def exactly_once(s, campaign, answered, name, seconds):
    """Check that every answered event is there once; gives what in_database gives."""
    def arrived():
        count, _ = in_database(s, campaign)
        return all(k in count for k in answered)
    try:
        wait_until("every answered event in the ui's database", arrived, seconds)
    except AssertionError:
        pass  # the checks below name what is missing
    count, seqs = in_database(s, campaign)
    same(sorted(k for k in answered if k not in count)[:10], [],
         "%s: every answered event is in the ui's database (%d answered, %d rows)" % (name, len(answered), sum(count.values())))
    same([k for k, n in count.items() if n != 1][:10], [], '%s: each exactly once, by key' % name)
    return count, seqs
