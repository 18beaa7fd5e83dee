/* An image comes from another process, through the supervisor: whatever it holds, a question must stay inside of it. */
#include "base/pset_i.h"
#include <string.h>

struct image {
    const struct pset *s;
    const char *what;
    struct err *e;
};

static const void *in(const struct image *m, uint64_t offset) {
    return (const char *)m->s + offset;
}

static bool damaged(const struct image *m, const char *how) {
    return err_set(m->e, "the image of %s is damaged: %s", m->what, how);
}

static bool head_fits(const struct image *m, size_t n) {
    struct pset h;
    if (n < sizeof h) return damaged(m, "it is too short for its head");
    h = *m->s;
    if (memcmp(h.magic, PSET_MAGIC, sizeof h.magic) != 0) return err_set(m->e, "%s is no image of this version of the program", m->what);
    if (h.bytes != n) return damaged(m, "its length is not what its head says");
    bool counts = h.nfiles <= PSET_SOURCES_MAX && h.nlines <= PSET_LINES_MAX && h.nshadows <= PSET_SHADOWS && h.nshadows <= h.all_shadows &&
                  h.f[FOUR].nwide <= h.f[FOUR].n && h.f[SIX].nwide <= h.f[SIX].n && h.f[FOUR].n <= 2 * PSET_RANGES_MAX &&
                  h.f[SIX].n <= 2 * PSET_RANGES_MAX && h.nruns <= h.nlines && (h.nruns > 0 || h.nlines == 0);
    pset_lay(&h); /* none of these counts can make it overflow */
    if (!counts || h.names > n || memcmp(&h, m->s, sizeof h) != 0) return damaged(m, "its parts do not lie where its counts put them");
    return true;
}

static bool names_end(const struct image *m) {
    const struct pset_file *f = in(m, m->s->file);
    for (uint32_t i = 0; i < m->s->nfiles; i++) {
        if (f[i].name < m->s->names || f[i].name >= m->s->bytes) return damaged(m, "a name lies outside");
        if (!memchr(in(m, f[i].name), 0, m->s->bytes - f[i].name)) return damaged(m, "a name has no end");
    }
    return true;
}

static bool runs_rise(const struct image *m) {
    const struct pset_run *r = in(m, m->s->run);
    for (uint32_t i = 0; i < m->s->nruns; i++) {
        bool good = r[i].source < m->s->nfiles && r[i].line > 0 && r[i].line <= PSET_LINES_MAX && r[i].place < m->s->nlines &&
                    (i ? r[i].place > r[i - 1].place : r[i].place == 0);
        if (!good) return damaged(m, "its lines are not in order");
    }
    return true;
}

/* Also says where the last span ends. */
static bool span_good(const struct image *m, bool v6, uint32_t i, uint32_t *nwide, u128 *end) {
    const struct pset_family *f = &m->s->f[v6];
    unsigned bits = ((const uint8_t *)in(m, f->bits))[i];
    u128 lo = key_get(in(m, f->lo), v6, i);
    if ((i > 0 && lo <= *end) || (((const uint32_t *)in(m, f->who))[i] & ~PSET_IN) >= m->s->nlines) return false;
    if (bits != PSET_WIDE) {
        if (bits > (v6 ? 128u : 32u) || (lo & pset_host(v6, bits)) != 0) return false;
        *end = lo | pset_host(v6, bits);
        return true;
    }
    if (*nwide == f->nwide || ((const uint32_t *)in(m, f->wide))[*nwide] != i) return false;
    *end = key_get(in(m, f->end), v6, (*nwide)++);
    return *end >= lo;
}

static bool spans_rise(const struct image *m, bool v6) {
    const struct pset_family *f = &m->s->f[v6];
    uint32_t nwide = 0;
    u128 end = 0;
    for (uint32_t i = 0; i < f->n; i++)
        if (!span_good(m, v6, i, &nwide, &end)) return damaged(m, "its spans are not in order");
    return nwide == f->nwide || damaged(m, "it has more ends than spans");
}

static bool shadows_good(const struct image *m) {
    const struct pset_shadow *s = in(m, m->s->shadow);
    for (uint32_t i = 0; i < m->s->nshadows; i++)
        if (s[i].place >= m->s->nlines || s[i].by >= m->s->nlines) return damaged(m, "a shadow lies outside");
    return true;
}

const struct pset *pset_check(const void *p, size_t n, const char *what, struct err *e) {
    struct image m = {.s = p, .what = what, .e = e};
    if ((uintptr_t)p % 8 != 0) return (void)damaged(&m, "it is not aligned"), NULL;
    return head_fits(&m, n) && names_end(&m) && runs_rise(&m) && spans_rise(&m, false) && spans_rise(&m, true) && shadows_good(&m) ? p
                                                                                                                                   : NULL;
}
