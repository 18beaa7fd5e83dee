#include "engine/lists_show.h"
#include "engine/generation.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct view {
    const struct named_list *list;
    const struct pset *set;
    uint8_t *deciding;
    uint32_t lines, used, unused;
    uint64_t hits;
};

static bool decides(const struct view *v, uint32_t place) {
    return v->deciding[place / 8] >> (place % 8) & 1;
}

static bool never(const struct view *v, uint32_t place) {
    return pset_print(v->set, place) != 0 && decides(v, place) && list_hits(v->list, place) == 0;
}

static bool look(struct view *v, const struct named_list *l) {
    *v = (struct view){.list = l, .set = l->set, .deciding = calloc(pset_lines(l->set) / 8 + 1, 1)};
    if (!v->deciding) return false;
    pset_deciding(v->set, v->deciding);
    for (uint32_t i = 0; i < pset_lines(v->set); i++) {
        uint32_t hits = list_hits(l, i);
        v->lines += pset_print(v->set, i) != 0;
        v->hits += hits;
        v->used += hits != 0;
        v->unused += never(v, i);
    }
    return true;
}

static void summary(const struct view *v, struct buf *b) {
    size_t n, shadowed;
    (void)pset_shadows(v->set, &n, &shadowed);
    buf_member(b, "name", v->list->name);
    buf_member(b, "file", pset_source(v->set, 0));
    buf_fmt(b, ",\"lines\":%u,\"hits\":%" PRIu64 ",\"used\":%u,\"unused\":%u,\"shadowed\":%zu,\"spans\":%zu,\"bytes\":%zu", v->lines,
            v->hits, v->used, v->unused, shadowed, pset_spans(v->set), pset_bytes(v->set));
}

/* "file":…,"line":… with `by_` or nothing in front. */
static void where(const struct view *v, const char *head, uint32_t place, struct buf *b) {
    struct pset_hit at = pset_at(v->set, place);
    const char *file = pset_source(v->set, at.source);
    buf_fmt(b, "\"%sfile\":", head);
    buf_json(b, file, strlen(file));
    buf_fmt(b, ",\"%sline\":%u", head, at.line);
}

/* ---- the lines that decide most ---- */

struct row {
    uint32_t hits, place;
};

static int by_hits(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    if (x->hits != y->hits) return x->hits < y->hits ? 1 : -1;
    return x->place < y->place ? -1 : 1;
}

static void show_most(const struct view *v, struct row *row, struct buf *b) {
    uint32_t n = 0, all = 0;
    for (uint32_t i = 0; i < pset_lines(v->set); i++) {
        struct row r = {list_hits(v->list, i), i};
        if (r.hits == 0) continue;
        all++;
        if (n == 2 * LISTS_ROWS) { /* keep the better half */
            qsort(row, n, sizeof *row, by_hits);
            n = LISTS_ROWS;
        }
        row[n++] = r;
    }
    qsort(row, n, sizeof *row, by_hits);
    if (n > LISTS_ROWS) n = LISTS_ROWS;
    buf_str(b, ",\"most\":[");
    for (uint32_t i = 0; i < n; i++) {
        buf_str(b, i ? ",{" : "{");
        where(v, "", row[i].place, b);
        buf_fmt(b, ",\"hits\":%u}", row[i].hits);
    }
    buf_fmt(b, "],\"most_more\":%u", all - n);
}

/* ---- lines that never have, or cannot ---- */

static void show_never(const struct view *v, struct buf *b) {
    uint32_t rows = 0, more = 0;
    buf_str(b, ",\"never\":[");
    for (uint32_t i = 0, n = (uint32_t)pset_lines(v->set); i < n; i++) {
        if (!never(v, i)) continue;
        uint32_t last = i, lines = 1;
        unsigned source = pset_at(v->set, i).source;
        for (uint32_t k = i + 1; k < n && (never(v, k) || pset_print(v->set, k) == 0) && pset_at(v->set, k).source == source; k++)
            if (never(v, k)) last = k, lines++;
        if (rows++ < LISTS_ROWS) {
            buf_str(b, rows > 1 ? ",{" : "{");
            where(v, "", i, b);
            buf_fmt(b, ",\"to\":%u,\"lines\":%u}", pset_at(v->set, last).line, lines);
        } else more++;
        i = last;
    }
    buf_fmt(b, "],\"never_more\":%u", more);
}

static void show_shadows(const struct view *v, struct buf *b) {
    size_t n, all;
    const struct pset_shadow *s = pset_shadows(v->set, &n, &all);
    if (n > LISTS_ROWS) n = LISTS_ROWS;
    buf_str(b, ",\"shadows\":[");
    for (size_t i = 0; i < n; i++) {
        buf_str(b, i ? ",{" : "{");
        where(v, "", s[i].place, b);
        buf_str(b, ",");
        where(v, "by_", s[i].by, b);
        buf_str(b, "}");
    }
    buf_fmt(b, "],\"shadows_more\":%zu", all - n);
}

static bool show_one(const struct named_list *l, struct buf *b) {
    struct row *row = calloc(2 * LISTS_ROWS, sizeof *row);
    struct view v;
    bool fine = row && look(&v, l);
    if (fine) {
        buf_str(b, "{");
        summary(&v, b);
        show_most(&v, row, b);
        show_never(&v, b);
        show_shadows(&v, b);
        fine = buf_str(b, "}");
        free(v.deciding);
    }
    free(row);
    return fine;
}

bool lists_show(struct engine *eng, const char *name, struct buf *b) {
    struct generation *g = engine_current(eng);
    if (!g) return buf_str(b, *name ? "null" : "[]");
    bool fine = true;
    const struct named_list *one = *name ? lists_named(&g->lists, name) : NULL;
    if (*name) fine = one ? show_one(one, b) : buf_str(b, "null");
    else buf_str(b, "[");
    for (unsigned i = 0; fine && !*name && i < g->lists.n; i++) {
        struct view v;
        fine = look(&v, &g->lists.list[i]);
        if (!fine) break;
        buf_str(b, i ? ",{" : "{");
        summary(&v, b);
        fine = buf_str(b, "}");
        free(v.deciding);
    }
    generation_unref(g);
    return *name ? fine : fine && buf_str(b, "]");
}
