/* The relay between two pretended streams that take and give as little, as late and as crossed as they like; nothing here is a socket. */
#include "net/relay.h"
#include "unit/tap.h"
#include <stdlib.h>
#include <string.h>

#define BUFFER 64u

/* One end: what it will send, what it has been sent, and how unwilling it is. */
struct fake {
    uint8_t *say, *heard;
    size_t nsay, said, nheard;
    unsigned seed, unwilling; /* of 100 calls so many want to wait */
    size_t break_read_at, break_write_at;
    bool crossed, shut, read_after_end; /* crossed: may want the other thing, as TLS does */
};

static unsigned roll(struct fake *f, unsigned most) {
    f->seed = f->seed * 1103515245u + 12345u;
    return (f->seed >> 16) % most;
}

static int unwilling(struct fake *f, int usual, int other) {
    if (roll(f, 100) >= f->unwilling) return 0;
    return f->crossed && roll(f, 4) == 0 ? other : usual;
}

static ssize_t fake_read(void *self, int fd, void *p, size_t n) {
    struct fake *f = self;
    (void)fd;
    if (f->said >= f->break_read_at) return STREAM_ERROR;
    int w = unwilling(f, STREAM_WANT_READ, STREAM_WANT_WRITE);
    if (w) return w;
    size_t k = 1 + roll(f, (unsigned)n);
    if (k > f->nsay - f->said) k = f->nsay - f->said;
    memcpy(p, f->say + f->said, k);
    f->said += k;
    return (ssize_t)k;
}

static ssize_t fake_write(void *self, int fd, const void *p, size_t n, bool last) {
    struct fake *f = self;
    (void)fd;
    (void)last;
    if (f->shut) abort();
    if (f->nheard >= f->break_write_at) return STREAM_ERROR;
    int w = unwilling(f, STREAM_WANT_WRITE, STREAM_WANT_READ);
    if (w) return w;
    size_t k = 1 + roll(f, (unsigned)n);
    memcpy(f->heard + f->nheard, p, k);
    f->nheard += k;
    return (ssize_t)k;
}

static int fake_shutdown(void *self, int fd) {
    struct fake *f = self;
    (void)fd;
    if (f->shut) abort();
    if (roll(f, 100) < f->unwilling) return STREAM_WANT_WRITE;
    f->shut = true;
    return 1;
}

static void fake_free(void *self) {
    (void)self;
}

static const struct stream_ops fake_ops = {.read = fake_read, .write = fake_write, .shutdown = fake_shutdown, .free = fake_free};

static struct fake make(size_t n, unsigned seed, unsigned unwilling_of_100, bool crossed) {
    struct fake f = {
        .nsay = n, .seed = seed, .unwilling = unwilling_of_100, .crossed = crossed, .break_read_at = SIZE_MAX, .break_write_at = SIZE_MAX};
    f.say = malloc(n + 1);
    f.heard = malloc(200000);
    if (!f.say || !f.heard) abort();
    for (size_t i = 0; i < n; i++) f.say[i] = (uint8_t)(i * 31 + seed);
    return f;
}

static void drop(struct fake *f) {
    free(f->say);
    free(f->heard);
}

struct outcome {
    enum relay_result r;
    size_t most_held;
    unsigned idle; /* turns in which it waited for something that was there all the time: it would hang */
};

/* A poll set that announces everything whenever it is asked. */
static struct outcome drive(struct relay *r, unsigned turns) {
    char buffer[BUFFER];
    struct outcome o = {RELAY_WAIT, 0, 0};
    for (unsigned i = 0; i < turns && (o.r == RELAY_WAIT || o.r == RELAY_MORE); i++) {
        for (unsigned e = 0; e < 2; e++) {
            uint8_t want = relay_wants(r, e);
            if (o.r == RELAY_WAIT && i && e == 0 && !want && !relay_wants(r, 1)) o.idle++;
            r->end[e].ready |= (i % 3 == 0 || i % 3 == e + 1) ? RELAY_READABLE | RELAY_WRITABLE : 0;
        }
        o.r = relay_run(r, buffer, sizeof buffer, 4 * BUFFER);
        for (unsigned k = 0; k < 2; k++)
            if (r->way[k].held && r->way[k].n > o.most_held) o.most_held = r->way[k].n;
    }
    return o;
}

static void test_all(void) {
    unsigned wrong = 0, runs = 0, held = 0, idle = 0;
    for (unsigned seed = 1; seed <= 400; seed++)
        for (unsigned unwilling_of_100 = 0; unwilling_of_100 <= 90; unwilling_of_100 += 30) {
            struct fake a = make(seed * 97 % 5000, seed, unwilling_of_100, seed % 2),
                        b = make(seed * 61 % 7000, seed * 7, unwilling_of_100, seed % 3 == 0);
            struct relay r;
            relay_init(&r, &fake_ops, &a, -1, &fake_ops, &b, -1);
            if (seed % 5 == 0 && !relay_first(&r, "PROXY ", 6)) abort();
            size_t first = seed % 5 == 0 ? 6 : 0;
            struct outcome o = drive(&r, 1000000);
            bool fine = o.r == RELAY_DONE && a.shut && b.shut && b.nheard == a.nsay + first && a.nheard == b.nsay &&
                        memcmp(b.heard, "PROXY ", first) == 0 && memcmp(b.heard + first, a.say, a.nsay) == 0 &&
                        memcmp(a.heard, b.say, b.nsay) == 0 && relay_bytes(&r, 0) == a.nsay && relay_bytes(&r, 1) == b.nsay;
            wrong += !fine;
            held += o.most_held > BUFFER;
            idle += o.idle;
            runs++;
            relay_finish(&r);
            drop(&a);
            drop(&b);
        }
    ok(wrong == 0, "%u relays between streams of every temper: both ways the same bytes, both ends passed on (%u wrong)", runs, wrong);
    ok(held == 0, "never more held than one buffer each way");
    ok(idle == 0, "never waiting for nothing");
}

/* Who ends is passed on while the other goes on, and only once. */
static void test_half(void) {
    struct fake a = make(10, 1, 0, false), b = make(0, 2, 0, false);
    struct relay r;
    char buffer[BUFFER];
    relay_init(&r, &fake_ops, &a, -1, &fake_ops, &b, -1);
    b.unwilling = 100; /* says nothing yet, takes nothing */
    r.end[0].ready = r.end[1].ready = RELAY_READABLE | RELAY_WRITABLE;
    ok(relay_run(&r, buffer, sizeof buffer, 1000) == RELAY_WAIT && r.way[0].held && r.way[0].n <= 10, "what is not taken is held");
    ok(!(relay_wants(&r, 0) & RELAY_READABLE), "and nothing more is read from that side (back pressure)");
    ok(relay_wants(&r, 1) & RELAY_WRITABLE, "until the other side takes it");
    b.unwilling = 0;
    b.nsay = 0;
    r.end[1].ready = RELAY_WRITABLE;
    ok(relay_run(&r, buffer, sizeof buffer, 1000) == RELAY_WAIT && b.nheard == 10 && b.shut && !a.shut,
       "an end is passed on behind the last byte; the other way stays open");
    ok(relay_wants(&r, 0) == 0 && relay_wants(&r, 1) == RELAY_READABLE, "then only the other way is waited for");
    r.end[1].ready = RELAY_READABLE;
    ok(relay_run(&r, buffer, sizeof buffer, 1000) == RELAY_DONE && a.shut, "when that has ended too, it is done");
    relay_finish(&r);
    drop(&a);
    drop(&b);
}

static void test_broken(void) {
    struct fake a = make(5000, 1, 0, false), b = make(300, 2, 0, false);
    struct relay r;
    relay_init(&r, &fake_ops, &a, -1, &fake_ops, &b, -1);
    a.break_read_at = 1000;
    ok(drive(&r, 10000).r == RELAY_BROKEN && b.nheard >= 900, "a reset while reading breaks the relay (%zu bytes had arrived)", b.nheard);
    ok(!b.shut, "and is not passed on as an orderly end");
    relay_finish(&r);
    drop(&a);
    drop(&b);
    a = make(5000, 1, 0, false), b = make(300, 2, 0, false);
    relay_init(&r, &fake_ops, &a, -1, &fake_ops, &b, -1);
    b.break_write_at = 100;
    ok(drive(&r, 10000).r == RELAY_DONE && a.nheard == 300 && a.shut, "one that takes no more is still read to its end");
    relay_finish(&r);
    drop(&a);
    drop(&b);
}

/* A side that never stops does not keep the relay for itself. */
static void test_budget(void) {
    struct fake a = make(100000, 1, 0, false), b = make(0, 2, 0, false);
    struct relay r;
    char buffer[BUFFER];
    relay_init(&r, &fake_ops, &a, -1, &fake_ops, &b, -1);
    r.end[0].ready = r.end[1].ready = RELAY_READABLE | RELAY_WRITABLE;
    ok(relay_run(&r, buffer, sizeof buffer, 1000) == RELAY_MORE && b.nheard >= 1000 && b.nheard < 1000 + BUFFER,
       "a turn ends at its budget");
    relay_finish(&r);
    drop(&a);
    drop(&b);
}

int main(void) {
    test_all();
    test_half();
    test_broken();
    test_budget();
    return tap_end();
}
