/* Fuzz target: lines of decisions.log. Whatever a crash has torn or a hand has edited is read within its bytes; what is taken for a decision is
 * written again as a whole line, and read again as the same one. */
#include "gate/decision_read.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool fine) {
    if (!fine) abort();
}

/* Bytes of their own, so that the sanitizer sees one too far. */
static char *copy(const void *p, size_t n) {
    char *line = malloc(n + 1);
    must(line != NULL);
    if (n > 0) memcpy(line, p, n);
    line[n] = '\0';
    return line;
}

static size_t texts(const struct decision *d) {
    const char *const all[] = {d->listener, d->reason, d->because, d->policy_file, d->list_file, d->entry_file, d->sni, d->tags};
    size_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) n += strlen(all[i]);
    return n;
}

/* Names of listeners are; what had to be escaped is not read back. */
static bool plain(const char *s) {
    while (*s > ' ' && *s < 0x7f) s++;
    return !*s;
}

static void again(const struct decision *d) {
    struct buf json = {0};
    struct decision e;
    must(decision_json(d, 1, &json));
    char *line = copy(json.p, json.n);
    must(decision_line(line));
    must(decision_read(line, &e));
    must(e.ms == d->ms && e.stage == d->stage && e.verdict == d->verdict && e.status == d->status && e.active == d->active);
    must(e.from_address == d->from_address);
    must(memcmp(e.remote.ip, d->remote.ip, sizeof e.remote.ip) == 0 && e.remote.port == d->remote.port);
    free(line);
    buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct decision d;
    char *line = copy(data, size);
    bool whole = decision_line(line);
    if (decision_read(line, &d)) {
        must(texts(&d) <= size * sizeof d); /* each text stands in the line */
        if (whole && plain(d.listener)) again(&d);
    }
    free(line);
    return 0;
}
