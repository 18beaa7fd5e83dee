"""A browser of one for tests without Chromium: keeps the session's cookie, sends a page's own form, follows redirects."""
import html
import re
import urllib.parse

import http1
import portreeve

PASSWORD = 'correct horse battery'


class Pages:
    def __init__(self, server, port=None, address=None):
        self.server, self.cookie = server, None
        self.address, self.port = address or server.address, port or server.port('http')

    def _headers(self):
        return {'Cookie': self.cookie} if self.cookie else {}

    def _answer(self, method, path, body=b'', headers=()):
        answer = http1.get(self.address, self.port, path, method=method, body=body, headers=dict(self._headers(), **dict(headers)))
        got = answer.get('Set-Cookie')
        if got:
            self.cookie = got.split(';')[0]
        return answer

    def get(self, path):
        return self._answer('GET', path)

    def text(self, path):
        """What a page says, tags taken out."""
        return plain(self.get(path).body)

    def send(self, page, fields, action=None):
        """Fill in the form of `page` that posts to `action` (default: the page's own path) and send it; the answer, redirects followed."""
        action = action or page.split('?')[0]
        return self.post(action, filled(self.get(page).body.decode(), action, fields))

    def post(self, path, fields):
        answer = self._answer('POST', path, urllib.parse.urlencode(fields).encode(),
                              {'Content-Type': 'application/x-www-form-urlencoded', 'Sec-Fetch-Site': 'same-origin'})
        while answer.status == 303:
            answer = self.get(answer.get('Location').split('#')[0])
        return answer

    def set_up(self):
        """From the printed set-up link to a logged-in administrator."""
        link = portreeve.wait_until('the set-up link', lambda: next((line.split()[2] for line in self.server.log().splitlines() if line.startswith('Set up:')), None))
        token = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)['token'][0]
        self.post('/hub/setup', {'token': token, 'account': 'ada', 'password': PASSWORD, 'again': PASSWORD})
        self.post('/hub/login', {'account': 'ada', 'password': PASSWORD})
        return self


def filled(body, action, fields=()):
    """What a browser sends for the form of a page that posts to `action`, with these fields typed into it; None unticks a box."""
    form = re.search(r'<form[^>]*action="%s"[^>]*method="post"[^>]*>(.*?)</form>' % re.escape(action), body, re.S)
    if not form:
        raise AssertionError('there is no form for %s: %s' % (action, body[:500]))
    out = {}
    for m in re.finditer(r'<input(?=[^>]*\bname="(?P<name>[^"]*)")(?:(?=[^>]*\bvalue="(?P<value>[^"]*)"))?[^>]*>', form.group(1)):
        if 'type="checkbox"' not in m.group(0) or re.search(r'\bchecked\b', m.group(0)):
            out[m.group('name')] = html.unescape(m.group('value') or '')
    for m in re.finditer(r'<select[^>]*\bname="([^"]*)"[^>]*>(.*?)</select>', form.group(1), re.S):
        chosen = re.search(r'<option selected value="([^"]*)"', m.group(2)) or re.search(r'<option[^>]*value="([^"]*)"', m.group(2))
        out[m.group(1)] = html.unescape(chosen.group(1)) if chosen else ''
    out.update(fields)
    return {k: v for k, v in out.items() if v is not None}


def plain(body):
    return re.sub(r'\s+', ' ', html.unescape(re.sub(r'<[^>]+>', ' ', body.decode() if isinstance(body, bytes) else body)))
