#!/usr/bin/python3
"""Files beside a server that runs: `check` and `plan --diff` name the server they compare with where it reads other folders, --state decides whether
its guards refuse, and every rehearsal says whom it would shut out in the words of the reload that is refused for it."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from portreeve import Server, command
from tap import done, ok, same

WORDS = '127.0.0.1 (this machine) would be shut out of '


def sets(s):
    return [x for k, v in s.sets for x in ('--set', '%s=%s' % (k, v))]


def unsaid(s, *args):
    """A command that finds the server without --state. (code, stdout, stderr)"""
    return command(*args, *sets(s), env={'PORTREEVE_STATE': s.state})


def said(s, *args):
    return command(*args, *sets(s), '--state', s.state)


def words_of(text):
    """Who would be shut out, as the one line that says it does."""
    line, = [x for x in text.splitlines() if WORDS in x]
    return line[line.index(WORDS):line.index('; `portreeve reload')]


def folders(s):
    reads = '%s and the policies of %s' % (s.conf, s.policies)
    denied = s.read('lists/denied.list')
    new, elsewhere, link = (os.path.join(s.dir, x) for x in ('conf.new', 'elsewhere', 'link'))
    shutil.copytree(s.conf, new)
    shutil.copytree(s.policies, elsewhere)
    os.symlink(s.conf, link)
    with open(os.path.join(new, 'lists', 'denied.list'), 'w', encoding='utf-8') as f:
        f.write('127.0.0.0/16\n')

    code, out, err = unsaid(s, 'check', '--conf', link)
    ok(code == 0 and 'compared with generation 1 (pid %d)' % s.supervisor_pid() in out and 'reads' not in out + err,
       'its own folder by another name: nothing to explain', out + err)
    s.edit('lists/denied.list', '127.0.0.0/16\n')
    code, out, err = unsaid(s, 'check', '--conf', link)
    ok(code == 1 and WORDS in err and 'refused: 1 error' in err, 'and its guards refuse', out + err)
    s.edit('lists/denied.list', denied)

    code, out, err = unsaid(s, 'check', '--conf', new)
    ok('compared with generation 1 (pid %d, which reads %s): no socket changes; 1 file differs' % (s.supervisor_pid(), reads) in out,
       'a copy: the line that compares names what the server reads', out)
    ok('note: these files are %s; the server that runs with the state folder %s (pid %d) reads %s' % (new, s.state, s.supervisor_pid(), reads) in err
       and 'give --state %s' % s.state in err, 'and a note says which server it is, and what to say', err)
    ok(code == 0 and 'warning: the server that runs would refuse these files: ' + WORDS in err and '1 warning' in out,
       'nobody has said that they are meant for it: whom it would shut out is a warning', out + err)
    code, out, err = said(s, 'check', '--conf', new)
    ok(code == 1 and WORDS in err and 'since --state names it' in err and 'refused: 1 error' in err, 'with --state they are its next files: refused', out + err)
    ok('which reads %s' % s.conf in out, 'and the server is named all the same', out)
    code, out, err = command('check', '--conf', new, *sets(s), '--state', os.path.join(s.dir, 'none'))
    ok(code == 0 and 'compared' not in out and 'reads' not in err and WORDS not in err, 'the state folder of no server: nothing is compared', out + err)

    code, out, err = unsaid(s, 'check', '--conf', s.conf, '--policies', elsewhere)
    ok(code == 0 and 'these files are %s and the policies of %s; ' % (s.conf, elsewhere) in err and 'which reads %s) nothing changes' % reads in out,
       'other policies alone are other folders', out + err)
    code, out, err = command('plan', '--conf', new, *sets(s), '--state', s.state)
    ok(code == 0 and 'note: this is %s; the server that runs (pid %d) reads %s' % (new, s.supervisor_pid(), reads) in err, 'plan says it too', err)
    code, out, err = unsaid(s, 'plan', '--diff', '--conf', new)
    ok(code == 0 and 'which reads %s' % s.conf in out and 'the server that runs would refuse these files: ' + WORDS in out, 'and plan --diff', out + err)
    code, out, err = unsaid(s, 'plan', '--diff', '--json', '--conf', new)
    told = json.loads(out)
    same(told['running'], {'pid': s.supervisor_pid(), 'generation': 1, 'others': True, 'conf': s.conf, 'policies': s.policies}, 'and its JSON')
    ok(told['shut_out'].startswith(WORDS) and told['not_asked'] is None, 'whom it would shut out stands there', told['shut_out'])
    shutil.rmtree(new)
    shutil.rmtree(elsewhere)
    os.unlink(link)


def rehearsed(s):
    """What a reload would be refused for, a rehearsal says before, and is none the worse for it."""
    denied = s.read('lists/denied.list')
    told = json.loads(s.command('plan', '--diff', '--json')[1])
    same((told['same'], told['shut_out'], told['not_asked'], told['running']['others']), (True, None, None, False), 'nothing changes, nobody is shut out')
    s.edit('lists/denied.list', '; ours\n127.0.0.0/16\n')
    code, out, err = s.command('plan', '--diff')
    ok(code == 0 and 'a reload would be refused: ' + WORDS in out and 'denied.list:2' in out, 'plan --diff: who, and by which line', out + err)
    words = words_of(out)
    told = json.loads(s.command('plan', '--diff', '--json')[1])
    same(told['shut_out'], words, 'in JSON')
    same(words_of(s.check()[1]), words, 'check')
    code, out = s.reload()
    same((code, words_of(out)), (1, words), 'and the reload is refused in these words')
    s.edit('lists/denied.list', denied)


with Server(bind='127.0.0.1', settings={'Workers': 2}) as s:
    s.command('status')
    folders(s)
    rehearsed(s)
done()
