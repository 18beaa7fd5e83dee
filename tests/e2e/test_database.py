#!/usr/bin/python3
"""The ui's database as a server of its own (M58–M63), with a real MariaDB: described in the hub and used without a restart, "Connection
Failure" when it is stopped, moved to another port, or does not take us, and the hub usable all the while."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import http1
from pages import Pages, plain
from portreeve import Server, free_ports, wait_until
from tap import done, ok, same, skip

PAGE = '/hub/lui/database'
MYSQL = 'MySQL ConnectorJ Database Plugin'  # M62: the name it has in the product this replaces
AGENT = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'


class Database:
    """A MariaDB of this test's own, with the database and user of M62."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='pr-db-')
        self.data, self.sock, self.proc = os.path.join(self.dir, 'data'), os.path.join(self.dir, 's'), None
        as_user = ['--user=root'] if os.geteuid() == 0 else []
        self.base = ['--no-defaults', '--datadir=' + self.data] + as_user
        subprocess.run(['mariadb-install-db', *self.base, '--auth-root-authentication-method=normal', '--skip-test-db'], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, port):
        self.log = open(os.path.join(self.dir, 'log'), 'ab')
        self.proc = subprocess.Popen(['mariadbd', *self.base, '--socket=' + self.sock, '--port=%d' % port, '--bind-address=127.0.0.1',
                                      '--pid-file=' + os.path.join(self.dir, 'pid'), '--innodb-buffer-pool-size=16M'],
                                     stdout=self.log, stderr=self.log)
        wait_until('MariaDB', lambda: self.sql('select 1', check=False).returncode == 0, 60)

    def sql(self, text, check=True):
        return subprocess.run(['mariadb', '--no-defaults', '-uroot', '-N', '-S', self.sock, '-e', text], check=check, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def one(self, text):
        return self.sql(text).stdout.strip()

    def stop(self):
        if self.proc:
            self.proc.terminate()
            self.proc.wait(60)
            self.log.close()
            self.proc = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def opens(server, campaign, first, n):
    for recipient in range(first, first + n):
        link = server.mint(campaign, recipient, 1, 'https://example.org/')['open']
        answer = http1.get(server.address, server.port('http'), '/trk/' + link.split('/trk/')[1], headers={'User-Agent': AGENT})
        same(answer.status, 200, 'the tracker answers open %d' % recipient)


def describe(pages, port, password='lui', name='LUI', do='use'):
    return plain(pages.send(PAGE, {'plugin': MYSQL, 'name': name, 'user': 'luiuser', 'password': password, 'host': 'localhost',
                                   'port': str(port), 'ssl': 'Off', 'do': do}).body)


def asked(pages):
    """The status after the hub has asked the ui once more: one poll."""
    return plain(pages.send(PAGE, {}, action=PAGE + '/check').body)


def main():
    lacking = [p for p in ('mariadbd', 'mariadb-install-db', 'mariadb') if not shutil.which(p)]
    if lacking:
        skip('the ui\'s database in MariaDB', lacking[0] + ' is not installed (apt-get install mariadb-server-core mariadb-client-core)')
        return
    port, new = free_ports(2)
    with Database() as db, Server(bind='own') as server:
        db.start(port)
        db.sql("create database LUI character set utf8mb4")
        for host in ('localhost', '127.0.0.1'):
            db.sql("create user luiuser@'%s' identified by 'lui'; grant all on LUI.* to luiuser@'%s'" % (host, host))
        pages = Pages(server).set_up()
        opens(server, 7, 1, 3)
        wait_until('events in the internal database', lambda: (server.rows('select count(*) from events') or [(0,)])[0][0] == 3, 60)
        ok('System database OK' in asked(pages), 'M60: the internal database is OK', pages.text(PAGE))
        moves(server, pages, db, port)
        fails(server, pages, db, new)


def count(db, campaign):
    return db.sql('select count(*) from LUI.events where campaign = %d' % campaign, check=False).stdout.strip()


def moves(server, pages, db, port):
    said = describe(pages, port, do='test')
    ok('answers in' in said and 'MariaDB' in said, 'a description can be tested before it is used', said)
    same(db.one("select count(*) from information_schema.tables where table_schema = 'LUI'"), '0', 'and the test changes nothing')
    ok('Connection Failure' in describe(pages, port, password='wrong', do='test'), 'a wrong password shows in the test', '')
    describe(pages, port)                                                                                    # M61, M62
    opens(server, 8, 1, 4)
    wait_until('events in MariaDB', lambda: count(db, 8) == '4', 60)                                         # M63
    ok(True, 'M63: the ui uses the new database without a restart, by TCP for localhost with a port')
    said = asked(pages)
    ok('System database OK' in said and 'LUI at localhost:%d' % port in said and 'MariaDB' in said, 'M61: the status names it', said)
    ok('Campaign 8' in pages.text('/lui/'), 'and the reports come from it', pages.text('/lui/'))
    same(server.rows('select count(*) from events')[0][0], 3, 'what was counted before stays where it is')
    same(db.one('select count(*), count(distinct recipient) from (select who recipient from LUI.events where campaign = 8) e'), '4\t4',
         'every event once')


def fails(server, pages, db, new):
    db.stop()
    said = asked(pages)
    ok('System database Connection Failure' in said, 'M60: stopped, the hub says Connection Failure at its next poll', said)
    ok('Status' in pages.text('/hub/') and 'Listeners' in pages.text('/hub/listeners'), 'M60, M61: the hub stays usable', '')
    opens(server, 9, 1, 5)                                                                                 # the tracker depends on nothing
    db.start(new)                                                                                          # M58, M59: the port has changed
    ok('Connection Failure' in asked(pages), 'M60: on another port it is still a failure', '')
    describe(pages, new)
    wait_until('the events that waited', lambda: count(db, 9) == '5', 90)
    ok('System database OK' in asked(pages), 'M63: described anew in the hub, the ui recovers by itself', pages.text(PAGE))
    same(db.one('select count(*), count(distinct campaign, who) from LUI.events where campaign > 7'), '9\t9', 'no event is lost or doubled')
    describe(pages, new, password='wrong')
    said = asked(pages)
    ok('Connection Failure' in said and 'Access denied' in said, 'M60: wrong password', said)
    describe(pages, new, name='NOBODY')
    ok('Connection Failure' in asked(pages), 'M60: wrong database', '')
    db.sql("create database OTHER; create table OTHER.events (x int)")
    for host in ('localhost', '127.0.0.1'):
        db.sql("grant all on OTHER.* to luiuser@'%s'" % host)
    describe(pages, new, name='OTHER')
    said = asked(pages)
    ok('Connection Failure' in said and 'events' in said, 'M60: a database with another schema', said)
    describe(pages, new)
    ok('System database OK' in asked(pages), 'and back', pages.text(PAGE))
    for fields, what in (({'port': '0'}, 'port 0'), ({'port': '70000'}, 'port 70000'), ({'name': ''}, 'no name')):
        right = {'plugin': MYSQL, 'name': 'LUI', 'user': 'luiuser', 'host': 'localhost', 'port': str(new), 'do': 'use'}
        answer = pages.send(PAGE, dict(right, **fields))
        same(answer.status, 422, '%s is refused' % what)
    ok('lui' not in [f for f in pages.get(PAGE).body.decode().split('"')], 'the password is never shown', '')


main()
done()
