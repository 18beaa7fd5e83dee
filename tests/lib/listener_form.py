"""The hub's page of one listener as tests fill it in."""
from pages import filled, plain
from portreeve import Server, free_ports
from tap import ok, same

PAGE = '/hub/listeners'
TEXT = '''# kept by hand: this comment stays
work.Port = {0}
work.Address={1}
work.Services=tracker
  ! and this one, in the middle
work.Colour=green
work.Label-owner=post office
work.2.Port={2}
work.2.Address={1}
'''


def server(tunnels='On', **more):
    work, second = free_ports(2)
    s = Server(components='tracker,hub', bind='own', start=False, settings={'TunnelEdits': tunnels}, **more)
    s.sets = [x for x in s.sets if not x[0].startswith('listeners.ini:')]
    s.edit('listeners.ini', TEXT.format(work, s.address, second))
    return s


def fill(pages, name, fields, page=None):
    """The page of a listener with these entries typed into it, sent: the answer, a preview where all is well."""
    head = name if name.startswith('+') else 'l.' + name
    body = pages.get(page or '%s/%s' % (PAGE, name)).body.decode()
    return pages.post(PAGE, filled(body, PAGE, {'%s.%s' % (head, k): v for k, v in fields.items()}))


def apply(pages, answer):
    """Press on until it is done."""
    for _ in range(2):
        if b'name="step"' in answer.body:
            answer = pages.post(PAGE, filled(answer.body.decode(), PAGE))
    return answer


def change(s, pages, name, fields, what, page=None):
    """Previewed, applied, in force by one reload. What was in the file before."""
    before, live = s.read('listeners.ini'), s.counter('reloads_ok')
    answer = fill(pages, name, fields, page)
    ok('This would change' in plain(answer.body) and s.read('listeners.ini') == before, what + ': shown first, nothing done', plain(answer.body)[-1500:])
    answer = apply(pages, answer)
    ok('have been changed' in plain(answer.body) or 'is in force' in plain(answer.body), what + ': in force', plain(answer.body)[-1500:])
    same(s.counter('reloads_ok'), live + 1, what + ': by one reload')
    return before
