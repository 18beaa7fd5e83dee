#include "plan/proof.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const names[PROOF_STATES] = {"probing", "proved", "failed", "waiting", "none"};

const char *proof_name(enum proof_state s) {
    return names[s];
}

void proof_words(const struct proof *p, char out[PROOF_WORDS]) {
    bool text = p->text[0] != '\0';
    if (p->state == PROOF_PROVED)
        snprintf(out, PROOF_WORDS, "proved in %.2f ms%s%s%s", p->us / 1000.0, text ? " (" : "", p->text, text ? ")" : "");
    else snprintf(out, PROOF_WORDS, "%s%s%s", p->state == PROOF_FAILED ? "not proved" : names[p->state], text ? ": " : "", p->text);
}

bool proof_json(const struct proof *p, struct buf *out) {
    return buf_fmt(out, "\"probe\":\"%s\",\"probe_us\":%" PRIu32 ",\"probe_at_ms\":%" PRId64, names[p->state], p->us, p->at_ms) &&
           buf_member(out, "probe_text", p->text);
}

bool proof_put(struct buf *out, uint32_t index, const struct proof *p) {
    return buf_fmt(out, "%" PRIu32 " %d %" PRIu32 " %" PRId64 " %s\n", index, (int)p->state, p->us, p->at_ms, p->text);
}

bool proof_take(const char **at, uint32_t *index, struct proof *out) {
    const char *line = *at;
    int state, read = 0;
    *at = NULL;
    if (!line || !*line) return false;
    if (sscanf(line, "%" SCNu32 " %d %" SCNu32 " %" SCNd64 "%n", index, &state, &out->us, &out->at_ms, &read) != 4 || line[read] != ' ')
        return false;
    if (state < 0 || state >= PROOF_STATES) return false;
    const char *text = line + read + 1;
    size_t n = strcspn(text, "\n");
    if (text[n] != '\n' || n >= PROOF_TEXT) return false;
    out->state = (enum proof_state)state;
    memcpy(out->text, text, n);
    out->text[n] = '\0';
    *at = text + n + 1;
    return true;
}
