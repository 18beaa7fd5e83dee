/* What a self-probe found, as words, as JSON and over the wire: what is not understood is refused, never half taken. */
#include "plan/proof.h"
#include "unit/tap.h"
#include <stdlib.h>

static bool same(const struct proof *a, const struct proof *b) {
    return a->state == b->state && a->us == b->us && a->at_ms == b->at_ms && strcmp(a->text, b->text) == 0;
}

static void wire(void) {
    static const struct proof all[] = {
        {.state = PROOF_PROBING},
        {.state = PROOF_PROVED, .us = 412, .at_ms = 1795311171687, .text = "worker 1, https, TLSv1.3, certificate default"},
        {.state = PROOF_FAILED, .at_ms = 1795311171688, .text = "refused: nobody listens there"},
        {.state = PROOF_WAITING, .text = "waiting for fe80::1%eth0"},
        {.state = PROOF_NONE, .us = UINT32_MAX, .at_ms = INT64_MAX, .text = "held by the supervisor itself"}};
    const uint32_t n = sizeof all / sizeof *all;
    struct buf b = {0};
    for (uint32_t i = 0; i < n; i++) proof_put(&b, i * 4000, &all[i]);
    buf_add(&b, "", 1);
    const char *at = b.p;
    uint32_t right = 0, index;
    struct proof p;
    while (proof_take(&at, &index, &p)) right += right < n && index == right * 4000 && same(&p, &all[right]);
    ok(right == n && at == NULL, "%u lines come back as they went", right);
    buf_free(&b);
    static const char *const bad[] = {"1 1 5\n", "x 1 5 6 text\n", "1 9 5 6 text\n", "1 -1 5 6 text\n", "1 1 5 6 no end", "1 1 5 6text\n",
                                      "\n"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        at = bad[i];
        ok(!proof_take(&at, &index, &p) && at == NULL, "refused: \"%.*s\"", (int)strcspn(bad[i], "\n"), bad[i]);
    }
    char longer[PROOF_TEXT + 64];
    int k = snprintf(longer, sizeof longer, "1 1 5 6 ");
    memset(longer + k, 'x', PROOF_TEXT);
    strcpy(longer + k + PROOF_TEXT, "\n");
    at = longer;
    ok(!proof_take(&at, &index, &p), "a text that is too long is refused");
    longer[k + PROOF_TEXT - 1] = '\n';
    longer[k + PROOF_TEXT] = '\0';
    at = longer;
    ok(proof_take(&at, &index, &p) && strlen(p.text) == PROOF_TEXT - 1 && *at == '\0', "the longest that fits is taken");
}

static void words(void) {
    char out[PROOF_WORDS];
    struct proof p = {.state = PROOF_PROVED, .us = 412, .text = "worker 1, http"};
    proof_words(&p, out);
    ok(strcmp(out, "proved in 0.41 ms (worker 1, http)") == 0, "%s", out);
    p = (struct proof){.state = PROOF_FAILED, .text = "refused"};
    proof_words(&p, out);
    ok(strcmp(out, "not proved: refused") == 0, "%s", out);
    p = (struct proof){.state = PROOF_PROBING};
    proof_words(&p, out);
    ok(strcmp(out, "probing") == 0, "%s", out);
    struct buf b = {0};
    p = (struct proof){.state = PROOF_FAILED, .at_ms = 7, .text = "a \"quoted\" reason"};
    proof_json(&p, &b);
    buf_add(&b, "", 1);
    ok(strcmp(b.p, "\"probe\":\"failed\",\"probe_us\":0,\"probe_at_ms\":7,\"probe_text\":\"a \\\"quoted\\\" reason\"") == 0, "JSON: %s",
       b.p);
    buf_free(&b);
    ok(strcmp(proof_name(PROOF_NONE), "none") == 0 && strcmp(proof_name(PROOF_WAITING), "waiting") == 0, "names");
}

int main(void) {
    wire();
    words();
    return tap_end();
}
