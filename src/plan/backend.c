/* Where tunnels lead: addresses of backends as text and back, and which one is for whom. */
#include "plan/plan.h"
#include <stdio.h>
#include <string.h>

static bool same_to(const struct plan_to *a, const struct plan_to *b) {
    if (!a->at.family || !b->at.family) return a->at.family == b->at.family && strcmp(a->path, b->path) == 0;
    return a->at.port == b->at.port && addr_same_ip(&a->at, &b->at);
}

static bool parse_one(const char *s, size_t n, struct plan_to *out, struct err *e) {
    memset(out, 0, sizeof *out);
    if (n > 5 && memcmp(s, "unix:", 5) == 0) {
        if (s[5] != '/' || n - 5 >= sizeof out->path)
            return err_set(e, "%.*s: a unix socket is written unix:/PATH, at most %zu bytes", (int)n, s, sizeof out->path - 1);
        for (size_t i = 5; i < n; i++)
            if ((unsigned char)s[i] < ' ' || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f)
                return err_set(e, "a path with a quote, a backslash or a control character");
        memcpy(out->path, s + 5, n - 5);
        return true;
    }
    struct err why;
    if (!addr_parse_hostport(s, n, false, &out->at, &why)) return err_set(e, "%s", why.text);
    if (!out->at.port) return err_set(e, "%.*s has no port: a backend is written ADDRESS:PORT", (int)n, s);
    if (addr_is_any(&out->at)) return err_set(e, "%.*s: nobody can be called at the address for all", (int)n, s);
    return true;
}

bool plan_to_parse(const char *to, struct plan_to out[PLAN_TO_MOST], unsigned *n, struct err *e) {
    *n = 0;
    for (const char *s = to, *end;; s = end + 1) {
        end = strchrnul(s, ',');
        if (*n == PLAN_TO_MOST) return err_set(e, "more than %u addresses", PLAN_TO_MOST);
        if (!parse_one(s, (size_t)(end - s), &out[*n], e)) return false;
        for (unsigned i = 0; i < *n; i++)
            if (same_to(&out[i], &out[*n])) return err_set(e, "%.*s is there twice", (int)(end - s), s);
        ++*n;
        if (!*end) return true;
    }
}

size_t plan_to_text(const struct plan_to *t, char *out, size_t cap) {
    char text[ADDR_TEXT];
    if (t->at.family) addr_format(&t->at, text);
    int n = t->at.family ? snprintf(out, cap, "%s", text) : snprintf(out, cap, "unix:%s", t->path);
    return (size_t)n < cap ? (size_t)n : cap - 1;
}

static const struct plan_backend *find(const struct plan *p, const char *set, const char *sni) {
    for (uint32_t i = 0; i < p->nbackends; i++)
        if (strcmp(p->backend[i].sni, sni) == 0 && strcmp(p->backend[i].set, set) == 0) return &p->backend[i];
    return NULL;
}

const struct plan_backend *plan_backend_for(const struct plan *p, const char *set, const char *sni) {
    const struct plan_backend *b = NULL;
    const char *parent = strchr(sni, '.');
    if (sni[0]) b = find(p, set, sni);
    if (!b && parent && strlen(parent) < PLAN_SNI - 1) {
        char wild[PLAN_SNI + 1] = "*";
        strcat(wild, parent);
        b = find(p, set, wild);
    }
    return b ? b : find(p, set, "");
}

static uint32_t count(const struct plan *p, const char *set) {
    uint32_t n = 0;
    for (uint32_t i = 0; set[0] && i < p->nbackends; i++) n += strcmp(p->backend[i].set, set) == 0;
    return n;
}

bool plan_same_backends(const struct plan *a, const char *set_a, const struct plan *b, const char *set_b) {
    if (count(a, set_a) != count(b, set_b)) return false;
    for (uint32_t i = 0; set_a[0] && i < a->nbackends; i++) {
        if (strcmp(a->backend[i].set, set_a) != 0) continue;
        const struct plan_backend *other = find(b, set_b, a->backend[i].sni);
        if (!other || strcmp(other->to, a->backend[i].to) != 0) return false;
    }
    return true;
}

void plan_backends_text(const struct plan *p, const char *set, char *out, size_t cap) {
    const struct plan_backend *first = NULL, *rest = set[0] ? find(p, set, "") : NULL;
    uint32_t names = count(p, set) - (rest != NULL);
    for (uint32_t i = 0; names && !first && i < p->nbackends; i++)
        if (p->backend[i].sni[0] && strcmp(p->backend[i].set, set) == 0) first = &p->backend[i];
    int n = snprintf(out, cap, "%s", rest ? rest->to : "");
    if (!first || n < 0 || (size_t)n >= cap) return;
    n += snprintf(out + n, cap - (size_t)n, "%s%s: %s", rest ? " (" : "", first->sni, first->to);
    if (names > 1 && (size_t)n < cap)
        n += snprintf(out + n, cap - (size_t)n, ", and %u more name%s", (unsigned)names - 1, names > 2 ? "s" : "");
    if (rest && (size_t)n < cap) snprintf(out + n, cap - (size_t)n, ")");
}
