/* Reading the text payloads of the wire. */
#include "plan/wire.h"
#include <string.h>

/* The value of `key` and its length, or NULL. */
static const char *value_of(const char *payload, const char *key, size_t *n) {
    size_t k = strlen(key);
    for (const char *p = payload; *p && *p != '\n';) {
        size_t line = strcspn(p, "\n");
        if (line > k && memcmp(p, key, k) == 0 && p[k] == ' ') {
            *n = line - k - 1;
            return p + k + 1;
        }
        p += line + (p[line] == '\n');
    }
    return NULL;
}

bool wire_number(const char *payload, const char *key, uint64_t *out) {
    size_t n = 0;
    const char *v = value_of(payload, key, &n);
    uint64_t sum = 0;
    if (!v || n == 0 || n > 19) return false;
    for (size_t i = 0; i < n; i++) {
        if (v[i] < '0' || v[i] > '9') return false;
        sum = sum * 10 + (uint64_t)(v[i] - '0');
    }
    *out = sum;
    return true;
}

bool wire_text(const char *payload, const char *key, char *out, size_t cap) {
    size_t n = 0;
    const char *v = value_of(payload, key, &n);
    if (!v || n >= cap) return false;
    memcpy(out, v, n);
    out[n] = 0;
    return true;
}

const char *wire_body(const char *payload) {
    if (*payload == '\n') return payload + 1;
    const char *blank = strstr(payload, "\n\n");
    return blank ? blank + 2 : "";
}
