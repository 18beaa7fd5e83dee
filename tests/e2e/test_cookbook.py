#!/usr/bin/python3
"""The recipes of examples/policies: their tests in the planner's sandbox, each as policies/admission.lua of a configuration, and the guide beside
them, which knows every fact and every rule."""
import glob
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from portreeve import ROOT, Server
from tap import done, ok, same

BOOK = os.path.join(ROOT, 'examples', 'policies')
NAMES = sorted(os.path.basename(p)[:-4] for p in glob.glob(BOOK + '/*.lua') if not p.endswith('_test.lua'))


def text(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        return f.read()


def recipes():
    ok(len(NAMES) >= 15, 'there are %d recipes' % len(NAMES))
    s = Server(start=False, components='tracker')
    for path in glob.glob(BOOK + '/*.lua'):
        shutil.copy(path, s.policies)
    code, out, err = s.offline('test')
    ok(code == 0, 'the tests of all recipes pass in the sandbox', err)
    for name in NAMES:
        ok(re.search(r'^ok \d+ - \S*%s_test.lua: ' % name, out, re.M), '%s: its test has run' % name, out)
    for name in NAMES:  # as an operator would take it
        for old in glob.glob(s.policies + '/*.lua'):
            if os.path.basename(old)[:-4].replace('_test', '') in NAMES:
                os.unlink(old)
        recipe = text('examples/policies/%s.lua' % name)
        s.edit('policies/admission.lua', recipe)
        s.edit('policies/admission_test.lua', text('examples/policies/%s_test.lua' % name).replace('policies.' + name, 'policies.admission'))
        for wanted in re.findall(r'(?:listed|except|listed_only) ?[=(]? ?"(\w+)"', recipe):
            path = os.path.join(s.conf, 'lists', wanted + '.list')
            if not os.path.exists(path):
                s.edit('lists/%s.list' % wanted, '; nobody yet\n')
        code, said = s.check()
        ok(code == 0, '%s: can be put in the place of admission.lua' % name, said)
    s.cleanup()


def guide():
    page = text('examples/policies/README.md')
    for name in NAMES:
        ok('(%s.lua)' % name in page, 'the guide lists ' + name)
    facts = re.findall(r'\{"(\w+)", F_', text('src/script/lib_facts.c'))
    ok(len(facts) > 25, 'facts of the server are found')
    same([f for f in facts if not re.search(r'`facts\.%s`' % f, page)], [], 'every fact is in the guide')
    rules = re.findall(r'^function rule\.(\w+)', text('lua/portreeve/admission.lua'), re.M)
    same([r for r in rules if 'rule.' + r not in page], [], 'every rule is in the guide')
    verdicts = re.findall(r'^function verdict\.(\w+)', text('lua/portreeve/verdict.lua'), re.M)
    same([v for v in verdicts if v != 'services' and 'verdict.' + v not in page], [], 'every verdict is in the guide')


recipes()
guide()
done()
