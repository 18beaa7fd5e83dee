/* hclient, portreeve.http and portreeve.sys: bounds, refusals, passwords, against a server of this test's own on loopback. */
#include "base/clock.h"
#include "script/lib.h"
#include "script/vm.h"
#include "svc/hclient.h"
#include "unit/tap.h"
#include <arpa/inet.h>
#include <lua5.4/lauxlib.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct host { /* answers by path, one connection at a time, until its socket is closed */
    int fd;
    unsigned port;
    pthread_t thread;
    char seen[4096]; /* the last request */
};

static void reply_big(int c) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n";
    static char block[10000];
    memset(block, 'x', sizeof block);
    (void)!send(c, head, sizeof head - 1, MSG_NOSIGNAL);
    for (int i = 0; i < 100 && send(c, block, sizeof block, MSG_NOSIGNAL) > 0; i++) continue;
}

static void reply(struct host *h, int c) {
    static const struct {
        const char *path, *text;
    } answers[] = {
        {" /ok ", "HTTP/1.1 200 OK\r\nX-Tracker-ID:  trk1 \r\nContent-Length: 5\r\nConnection: close\r\n\r\nhe\0lo"},
        {" /move ", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
        {" /cut ", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nonly this"},
        {" /post ", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
        {" /interim ",
         "HTTP/1.1 103 Early Hints\r\nX-Old: 1\r\n\r\nHTTP/1.1 200 OK\r\nX-New: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
    };
    if (strstr(h->seen, " /big ")) {
        reply_big(c);
        return;
    }
    if (strstr(h->seen, " /silent ")) {
        char byte;
        (void)!recv(c, &byte, 1, 0); /* until the client goes */
        return;
    }
    for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) {
        size_t n = strlen(answers[i].text);
        if (strstr(h->seen, answers[i].path)) (void)!send(c, answers[i].text, i == 0 ? n + 3 : n, MSG_NOSIGNAL);
    }
}

static void *host_main(void *arg) {
    struct host *h = arg;
    for (;;) {
        int c = accept(h->fd, NULL, NULL);
        if (c < 0) return NULL;
        size_t n = 0;
        for (ssize_t r = 1; r > 0 && n < sizeof h->seen - 1 && !strstr(h->seen, "\r\n\r\n");) {
            r = recv(c, h->seen + n, sizeof h->seen - 1 - n, 0);
            n += r > 0 ? (size_t)r : 0;
            h->seen[n] = '\0';
        }
        reply(h, c);
        close(c);
        if (!strstr(h->seen, " /post ")) h->seen[0] = '\0'; /* the test looks at that one */
    }
}

static void host_start(struct host *h) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(h->fd, (struct sockaddr *)&a, sizeof a) || listen(h->fd, 16) || getsockname(h->fd, (struct sockaddr *)&a, &n)) abort();
    h->port = ntohs(a.sin_port);
    if (pthread_create(&h->thread, NULL, host_main, h)) abort();
}

static void host_stop(struct host *h) {
    shutdown(h->fd, SHUT_RDWR);
    pthread_join(h->thread, NULL);
    close(h->fd);
}

struct result {
    bool good;
    int status;
    struct buf body, head;
    struct err e;
};

static bool whole_call(struct hclient *c, const struct hclient_request *rq, int *status, struct buf *body, struct err *e) {
    int rc = 0;
    if (!hclient_start(c, rq, body, e)) return false;
    while (rc == 0) rc = hclient_step(c, 100, status, e);
    return rc > 0;
}

static void call(struct hclient *c, const struct host *h, const char *path, struct hclient_request rq, struct result *r) {
    char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", h->port, path);
    rq.url = url;
    rq.reply_head = &r->head;
    r->status = 0;
    r->e.text[0] = '\0';
    r->good = whole_call(c, &rq, &r->status, &r->body, &r->e);
}

static void test_client(struct host *h) {
    struct hclient *c = hclient_create();
    struct result r = {0};
    call(c, h, "/ok", (struct hclient_request){0}, &r);
    ok(r.good && r.status == 200 && r.body.n == 5 && memcmp(r.body.p, "he\0lo", 5) == 0, "an answer arrives whole, NUL and all: %s",
       r.e.text);
    call(c, h, "/move", (struct hclient_request){0}, &r);
    ok(r.good && r.status == 302, "a redirect is an answer and is not followed");
    call(c, h, "/cut", (struct hclient_request){0}, &r);
    ok(!r.good, "an answer cut short is none: %s", r.e.text);
    call(c, h, "/big", (struct hclient_request){.max_reply = 5000}, &r);
    ok(!r.good && strstr(r.e.text, "longer than 5000"), "a longer answer than allowed is refused: %s", r.e.text);
    call(c, h, "/interim", (struct hclient_request){0}, &r);
    ok(r.good && r.head.n && !memmem(r.head.p, r.head.n, "X-Old", 5) && memmem(r.head.p, r.head.n, "X-New", 5),
       "only the final head counts");
    int64_t before = clock_mono_ms();
    call(c, h, "/silent", (struct hclient_request){.total_ms = 300}, &r);
    ok(!r.good && clock_mono_ms() - before >= 250, "a silent server is given up: %s", r.e.text);
    char silent[128];
    snprintf(silent, sizeof silent, "http://127.0.0.1:%u/silent", h->port);
    ok(hclient_start(c, &(struct hclient_request){.url = silent, .total_ms = 60000}, &r.body, &r.e) &&
           hclient_step(c, 100, &r.status, &r.e) == 0,
       "a call goes on while its server is silent");
    hclient_abort(c);
    call(c, h, "/ok", (struct hclient_request){0}, &r);
    ok(r.good && r.status == 200, "the client is good for another call afterwards");
    const char *const fields[] = {"X-One: 1", NULL};
    call(c, h, "/post", (struct hclient_request){.method = "POST", .body = "ab", .body_n = 2, .header = fields}, &r);
    ok(r.good && r.status == 204 && strstr(h->seen, "POST /post ") == h->seen && strstr(h->seen, "Content-Length: 2\r\n") &&
           strstr(h->seen, "X-One: 1\r\n"),
       "a body and a field are sent");
    ok(!strstr(h->seen, "Expect:"), "without asking for leave first");
    h->seen[0] = '\0';
    hclient_destroy(c);
    hclient_destroy(NULL);
    buf_free(&r.body);
    buf_free(&r.head);
}

static void test_refusals(void) {
    static const char *const urls[] = {"file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "", "http://",
                                       "dict://127.0.0.1:1/"};
    struct hclient *c = hclient_create();
    struct buf body = {0};
    for (unsigned i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct err e = {0};
        int status = 0;
        ok(!whole_call(c, &(struct hclient_request){.url = urls[i], .total_ms = 2000}, &status, &body, &e) && e.text[0],
           "refused: '%s' (%s)", urls[i], e.text);
    }
    struct err e = {0};
    int status = 0;
    ok(!whole_call(c, &(struct hclient_request){.url = "http://me:secret@127.0.0.1:1/x?token=secret"}, &status, &body, &e) &&
           !strstr(e.text, "secret") && strstr(e.text, "127.0.0.1:1") && strstr(e.text, "refused"),
       "the message names place and reason, and no secret: %s", e.text);
    hclient_destroy(c);
    buf_free(&body);
}

static const char LUA_CHECKS[] =
    "local sys, http, port = require 'portreeve.sys', require 'portreeve.http', ...\n"
    "local out = {}\n"
    "local function check(what, v) out[#out + 1] = (v and '+' or '-') .. what end\n"
    "local hash = assert(sys.hash_password('correct horse'))\n"
    "check('passwords become yescrypt of raised cost', hash:match('^%$y%$jCT%$'))\n"
    "check('and are salted', hash ~= sys.hash_password('correct horse'))\n"
    "check('the right one verifies', sys.verify_password('correct horse', hash) == true)\n"
    "check('a wrong one does not', sys.verify_password('correct horsf', hash) == false)\n"
    "check('a prefix up to a NUL does not', sys.verify_password('correct horse\\0x', hash) == false)\n"
    "check('nobody\\'s does not', sys.verify_password('correct horse', nil) == false)\n"
    "check('one longer than crypt reads is refused', sys.hash_password(('x'):rep(512)) == nil)\n"
    "check('one with a NUL is refused', sys.hash_password('a\\0b') == nil)\n"
    "check('a damaged hash is a fault and not a match', not sys.verify_password('x', '$y$broken'))\n"
    "check('random is random', #sys.random(16) == 16 and sys.random(16) ~= sys.random(16))\n"
    "check('random is bounded', not pcall(sys.random, 0) and not pcall(sys.random, 1025))\n"
    "check('sha256', sys.sha256('abc'):byte(1) == 0xba and #sys.sha256('') == 32)\n"
    "check('equal', sys.equal('ab', 'ab') and not sys.equal('ab', 'ac') and not sys.equal('ab', 'abc'))\n"
    "check('boot_id stays', #sys.boot_id() > 8 and sys.boot_id() == sys.boot_id())\n"
    "check('log takes known levels only', not pcall(sys.log, 'loud', 'a', 'b'))\n"
    "local dir = os.tmpname() os.remove(dir)\n"
    "check('make_dir', sys.make_dir(dir) and sys.make_dir(dir))\n"
    "check('create_file', sys.create_file(dir .. '/a', 'one') == true)\n"
    "sys.create_file(dir .. '/a', 'two')\n"
    "local f = io.open(dir .. '/a') check('never over an existing one', f:read('a') == 'one') f:close()\n"
    "local id = sys.file_id(dir .. '/a')\n"
    "check('can_open: a file, a new one, no folder', sys.can_open(dir .. '/a') and sys.can_open(dir .. '/new') and sys.can_open(dir .. '/no/b') == nil)\n"
    "check('can_open makes nothing', sys.file_id(dir .. '/new') == nil)\n"
    "check('file_id names the file', id and id == sys.file_id(dir .. '/a') and sys.file_id(dir .. '/b') == nil)\n"
    "check('make_dir refuses a file', sys.make_dir(dir .. '/a') == nil)\n"
    "check('remove_file is done once', sys.remove_file(dir .. '/a') == true and sys.remove_file(dir .. '/a') == nil)\n"
    "os.remove(dir)\n"
    "local r = http.call{ url = 'http://127.0.0.1:' .. port .. '/ok' }\n"
    "check('http: status, body, fields', r and r.status == 200 and r.body == 'he\\0lo' and r.headers['x-tracker-id'] == 'trk1')\n"
    "local none, why = http.call{ url = 'http://127.0.0.1:' .. port .. '/silent', stop = function() return true end }\n"
    "check('http: a stop ends a call', none == nil and why == 'stopped')\n"
    "check('http: a stop that fails is an error', not pcall(http.call, { url = 'http://127.0.0.1:' .. port .. '/silent', stop = function() error('x') end }))\n"
    "check('http: and the next call works', (http.call{ url = 'http://127.0.0.1:' .. port .. '/ok' } or {}).status == 200)\n"
    "check('http: no header can hold a line end', not pcall(http.call, { url = 'http://127.0.0.1:' .. port .. '/ok', headers = { ['A'] = 'b\\r\\nC: d' } }))\n"
    "check('http: nor its name', not pcall(http.call, { url = 'http://127.0.0.1:' .. port .. '/ok', headers = { ['A: x\\r\\nB'] = 'b' } }))\n"
    "check('http: limits have limits', not pcall(http.call, { url = 'x', total_ms = -1 }) and not pcall(http.call, { url = 'x', max_reply = 1 << 40 }))\n"
    "return table.concat(out, '\\n')\n";

static void test_lua(const struct host *h) {
    struct err e = {0};
    struct vm *v = vm_create(VM_TRUSTED, &(struct vm_limits){0}, "lua", &e);
    if (!ok(v != NULL, "a trusted state: %s", e.text)) return;
    vm_open_libs(v, VM_TRUSTED);
    lua_State *L = vm_lua(v);
    bool good = luaL_loadstring(L, LUA_CHECKS) == LUA_OK;
    lua_pushinteger(L, (lua_Integer)h->port);
    good = good && vm_call(v, 1, 1, &e);
    ok(good, "the Lua checks run to their end: %s", e.text);
    char *text = good ? strdup(lua_tostring(L, -1)) : NULL;
    for (char *save, *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
        ok(line[0] == '+', "%s", line + 1);
    free(text);
    vm_destroy(v);
}

/* Two hashes at a time in the whole process: the other six wait for their turn and are not turned away. */
static void *hash_once(void *arg) {
    struct err e;
    struct vm *v = vm_create(VM_TRUSTED, &(struct vm_limits){0}, "lua", &e);
    if (!v) return NULL;
    vm_open_libs(v, VM_TRUSTED);
    lua_State *L = vm_lua(v);
    bool good =
        luaL_loadstring(L, "return require 'portreeve.sys'.hash_password('x')") == LUA_OK && vm_call(v, 0, 1, &e) && lua_isstring(L, -1);
    vm_destroy(v);
    return good ? arg : NULL;
}

static void test_hashes_wait(void) {
    pthread_t t[8];
    int done = 0;
    for (int i = 0; i < 8; i++)
        if (pthread_create(&t[i], NULL, hash_once, t)) abort();
    for (int i = 0; i < 8; i++) {
        void *r = NULL;
        pthread_join(t[i], &r);
        done += r != NULL;
    }
    ok(done == 8, "eight hashes wanted at once are all made: %d", done);
}

int main(void) {
    static struct host h;
    host_start(&h);
    test_client(&h);
    test_refusals();
    test_lua(&h);
    test_hashes_wait();
    host_stop(&h);
    return tap_end();
}
