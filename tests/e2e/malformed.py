"""Reader of data/malformed.txt (its head says the format)."""
import os
import re

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'malformed.txt')
ESCAPE = re.compile(r'\\(?:x([0-9a-f]{2})|\*(\d+)\(([^)]*)\)|([rnt\\]))')
PLAIN = {'r': '\r', 'n': '\n', 't': '\t', '\\': '\\'}


class Case:
    def __init__(self, name):
        self.name, self.rfc, self.expect, self.raw = name, '', [], b''

    @property
    def accepted(self):
        """How many requests are accepted before whatever ends it."""
        return sum(1 for e in self.expect if e in ('accept', 'close'))

    @property
    def refused(self):
        """Status of the refusal, or None."""
        last = self.expect[-1]
        return int(last[7:]) if last.startswith('refuse ') else None


def text(s):
    def one(m):
        if m.group(1):
            return chr(int(m.group(1), 16))
        if m.group(2):
            return ESCAPE.sub(one, m.group(3)) * int(m.group(2))
        return PLAIN[m.group(4)]
    return ESCAPE.sub(one, s).encode('latin-1')


def read(path=PATH):
    cases, case, raw = [], None, False
    with open(path, encoding='latin-1') as f:
        for line in f.read().split('\n'):
            if raw and line:
                case.raw += text(line)
            elif raw:
                cases.append(case)
                raw = False
            elif line.startswith('== '):
                case = Case(line[3:])
            elif line == 'raw:':
                raw = True
            elif line.startswith('rfc: '):
                case.rfc = line[5:]
            elif line.startswith('expect: '):
                case.expect = line[8:].split(', ')
    return cases
