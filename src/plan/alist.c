#include "plan/alist.h"
#include "base/utf8.h"
#include <stdio.h>
#include <string.h>

#define SHOWN(s, n) utf8_shown(s, n, 80), s

struct place { /* where we are in one list of the chain of includes */
    const char *display;
    unsigned source;
    uint32_t line;
};
struct loader {
    alist_fetch *fetch;
    void *ctx;
    struct pset_builder *builder;
    struct place chain[ALIST_DEPTH];
    unsigned depth;
    unsigned files;
    unsigned long long bytes;
};

static bool load_list(struct loader *l, const char *name, struct err *e);

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static void trim(const char **s, size_t *n) {
    while (*n > 0 && is_blank(**s)) {
        (*s)++;
        (*n)--;
    }
    while (*n > 0 && is_blank((*s)[*n - 1])) (*n)--;
}

/* err_at for the line being read. */
#define refuse(l, e, ...) err_at(e, (l)->chain[(l)->depth - 1].display, (l)->chain[(l)->depth - 1].line, __VA_ARGS__)

static bool parse_address(const struct loader *l, const char *s, size_t n, struct addr *out, struct err *e) {
    struct err why;
    if (memchr(s, '%', n)) return refuse(l, e, "\"%.*s\": an address in a list has no zone", SHOWN(s, n));
    return addr_parse_ip(s, n, out, &why) || refuse(l, e, "%s", why.text);
}

static bool add(struct loader *l, const struct addr *lo, const struct addr *hi, bool in, struct err *e) {
    const struct place *at = &l->chain[l->depth - 1];
    if (pset_add(l->builder, lo, hi, in, at->source, at->line)) return true;
    return refuse(l, e, "too many lines, or out of memory");
}

static bool read_range(struct loader *l, const char *s, size_t n, size_t dash, bool in, struct err *e) {
    struct addr lo, hi;
    const char *a = s, *b = s + dash + 1;
    size_t a_n = dash, b_n = n - dash - 1;
    trim(&a, &a_n);
    trim(&b, &b_n);
    if (a_n == 0 || b_n == 0) return refuse(l, e, "\"%.*s\": a range has an address on both sides of the dash", SHOWN(s, n));
    if (!parse_address(l, a, a_n, &lo, e) || !parse_address(l, b, b_n, &hi, e)) return false;
    if (lo.family != hi.family) return refuse(l, e, "\"%.*s\": one end of this range is IPv4, the other IPv6", SHOWN(s, n));
    if (memcmp(lo.ip, hi.ip, sizeof lo.ip) > 0) return refuse(l, e, "\"%.*s\": write the lower address of a range first", SHOWN(s, n));
    return add(l, &lo, &hi, in, e);
}

/* The last address of lo/bits; false where a low bit of lo is set. */
static bool last_of_net(const struct addr *lo, unsigned bits, struct addr *hi) {
    unsigned size = lo->family == 4 ? 32 : 128;
    *hi = *lo;
    for (unsigned bit = bits; bit < size; bit++) {
        uint8_t mask = (uint8_t)(0x80u >> (bit % 8));
        if (lo->ip[bit / 8] & mask) return false;
        hi->ip[bit / 8] |= mask;
    }
    return true;
}

static bool parse_bits(const char *s, size_t n, unsigned most, unsigned *out) {
    unsigned v = 0;
    if (n == 0 || n > 3 || s[0] == '0') return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    *out = v;
    return v <= most;
}

static bool read_net(struct loader *l, const char *s, size_t n, size_t slash, bool in, struct err *e) {
    struct addr lo, hi;
    unsigned bits;
    bool v6_text = memchr(s, ':', slash) != NULL;
    unsigned most = v6_text ? 128 : 32;
    if (!parse_address(l, s, slash, &lo, e)) return false;
    if (!parse_bits(s + slash + 1, n - slash - 1, most, &bits))
        return refuse(l, e, "\"%.*s\": behind the slash stands a number of bits from 1 to %u (for every address write a range)",
                      SHOWN(s, n), most);
    bool mapped = v6_text && lo.family == 4;
    if ((mapped && bits < 96) || !last_of_net(&lo, mapped ? bits - 96 : bits, &hi))
        return refuse(l, e, "\"%.*s\": the address has bits set beyond the first %u; write the first address of the network", SHOWN(s, n),
                      bits);
    return add(l, &lo, &hi, in, e);
}

static bool read_item(struct loader *l, const char *s, size_t n, bool in, struct err *e) {
    const char *slash = memchr(s, '/', n), *dash = memchr(s, '-', n);
    struct addr a;
    if (slash && dash) return refuse(l, e, "\"%.*s\": write either a range or address/bits", SHOWN(s, n));
    if (slash) return read_net(l, s, n, (size_t)(slash - s), in, e);
    if (dash) return read_range(l, s, n, (size_t)(dash - s), in, e);
    return parse_address(l, s, n, &a, e) && add(l, &a, &a, in, e);
}

static bool is_name(const char *s, size_t n) {
    if (n == 0 || n >= ALIST_NAME || s[0] == '.' || s[0] == '-') return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
        if (!fine) return false;
    }
    return true;
}

static bool read_include(struct loader *l, const char *s, size_t n, struct err *e) {
    char name[ALIST_NAME];
    trim(&s, &n);
    if (!is_name(s, n))
        return refuse(l, e,
                      "\"#%.*s\": # takes in another list by its name (letters, digits, _ - and ., at most %d); a comment begins with ;",
                      SHOWN(s, n), ALIST_NAME - 1);
    memcpy(name, s, n);
    name[n] = 0;
    return load_list(l, name, e);
}

/* s is trimmed and not empty. */
static bool read_signed(struct loader *l, const char *s, size_t n, struct err *e) {
    if (*s != '!') return read_item(l, s, n, true, e);
    s++;
    n--;
    trim(&s, &n);
    if (n == 0) return refuse(l, e, "an address is missing behind the !");
    if (*s == '#') return refuse(l, e, "\"!%.*s\": a whole list cannot be taken out, only addresses, ranges and networks", SHOWN(s, n));
    return read_item(l, s, n, false, e);
}

/* Most lines of long lists are a bare IPv4 address or network: those are read without looking for what else they might be. Whatever is not
 * exactly that (also what is wrong) is left to read_line. */
static bool read_quick(struct loader *l, const char *s, size_t n) {
    uint8_t ip[4] = {0};
    unsigned part = 0, digits = 0, v = 0;
    size_t i = 0;
    for (; i < n; i++) {
        unsigned c = (unsigned char)s[i];
        if (c - '0' < 10) {
            if (digits == 3 || (digits && v == 0)) return false;
            v = v * 10 + (c - '0');
            digits++;
        } else if (c == '.' && digits && v < 256 && part < 3) {
            ip[part++] = (uint8_t)v;
            v = digits = 0;
        } else break;
    }
    if (part != 3 || !digits || v > 255) return false;
    ip[3] = (uint8_t)v;
    struct addr lo = {.family = 4, .ip = {ip[0], ip[1], ip[2], ip[3]}}, hi = lo;
    unsigned bits = 32;
    if (i < n && (s[i] != '/' || !parse_bits(s + i + 1, n - i - 1, 32, &bits) || !last_of_net(&lo, bits, &hi))) return false;
    const struct place *at = &l->chain[l->depth - 1];
    return pset_add(l->builder, &lo, &hi, true, at->source, at->line);
}

static bool read_line(struct loader *l, const char *s, size_t n, struct err *e) {
    if (read_quick(l, s, n)) return true;
    const char *comment = memchr(s, ';', n);
    if (comment) n = (size_t)(comment - s);
    trim(&s, &n);
    if (n == 0) return true;
    return *s == '#' ? read_include(l, s + 1, n - 1, e) : read_signed(l, s, n, e);
}

static bool read_text(struct loader *l, const char *s, size_t n, struct err *e) {
    struct place *at = &l->chain[l->depth - 1];
    if (n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0) {
        s += 3;
        n -= 3;
    }
    for (size_t i = 0; i < n;) {
        size_t from = i;
        while (i < n && s[i] != '\n' && s[i] != '\r') i++;
        at->line++;
        if (!read_line(l, s + from, i - from, e)) return false;
        if (i < n && s[i] == '\r' && i + 1 < n && s[i + 1] == '\n') i++;
        i++;
    }
    return true;
}

/* "a.list:3 includes b.list:1 includes a.list" */
static bool refuse_cycle(const struct loader *l, unsigned from, const char *name, struct err *e) {
    char way[800] = "";
    size_t at = 0;
    for (unsigned i = from; i < l->depth && at < sizeof way; i++)
        at += (size_t)snprintf(way + at, sizeof way - at, "%s:%u includes ", l->chain[i].display, l->chain[i].line);
    return refuse(l, e, "#%s goes round in a circle: %s%s", name, way, l->chain[from].display);
}

static bool refuse_missing(const struct loader *l, const char *name, struct err *e) {
    if (l->depth == 0) return err_set(e, "there is no address list \"%s\"", name);
    return refuse(l, e, "#%s: there is no address list of this name", name);
}

static bool load_list(struct loader *l, const char *name, struct err *e) {
    struct alist_text t = {0};
    if (l->depth == ALIST_DEPTH) return refuse(l, e, "#%s: lists are included more than %u deep", name, ALIST_DEPTH - 1);
    if (!l->fetch(l->ctx, name, &t)) return refuse_missing(l, name, e);
    for (unsigned i = 0; i < l->depth; i++)
        if (strcmp(l->chain[i].display, t.display) == 0) return refuse_cycle(l, i, name, e);
    if (l->files++ == ALIST_FILES) return refuse(l, e, "#%s: more than %u lists are included altogether", name, ALIST_FILES);
    l->bytes += t.n;
    if (l->bytes > ALIST_MAX_BYTES)
        return err_at(e, t.display, 0, "this list with all it includes has more than %llu bytes", ALIST_MAX_BYTES);
    int source = pset_builder_source(l->builder, t.display, t.hash);
    if (source < 0) return err_at(e, t.display, 0, "out of memory");
    l->chain[l->depth++] = (struct place){.display = t.display, .source = (unsigned)source};
    bool fine = read_text(l, t.text, t.n, e);
    l->depth--;
    return fine;
}

/* Builds what `read` has added. */
static struct pset *finish(struct loader *l, bool fine, const char *name, struct err *e) {
    struct pset *s = fine ? pset_build(l->builder) : NULL;
    if (fine && !s) err_set(e, "address list \"%s\": out of memory", name);
    pset_builder_destroy(l->builder);
    return s;
}

static bool read_inline(struct loader *l, const char *s, size_t n, struct err *e) {
    for (size_t at = 0; at <= n;) {
        const char *comma = memchr(s + at, ',', n - at), *item = s + at;
        size_t k = comma ? (size_t)(comma - item) : n - at;
        at += k + 1;
        trim(&item, &k);
        if (k == 0) return refuse(l, e, "an item is missing: write addresses, ranges and networks with one comma between them");
        if (*item == '#')
            return refuse(l, e,
                          "\"%.*s\": a list within an entry takes in no other list; make it a file lists/NAME.list, and write List=NAME",
                          SHOWN(item, k));
        if (!read_signed(l, item, k, e)) return false;
    }
    return true;
}

struct pset *alist_inline(const char *text, size_t n, const char *display, unsigned line, const uint8_t hash[32], struct err *e) {
    struct loader l = {.builder = pset_builder_create()};
    int source = l.builder ? pset_builder_source(l.builder, display, hash) : -1;
    if (source < 0) err_at(e, display, line, "out of memory");
    l.chain[l.depth++] = (struct place){.display = display, .source = (unsigned)source, .line = line};
    return finish(&l, source >= 0 && read_inline(&l, text, n, e), display, e);
}

struct pset *alist_load(const char *name, alist_fetch *fetch, void *ctx, struct err *e) {
    struct loader l = {.fetch = fetch, .ctx = ctx, .builder = pset_builder_create()};
    if (!l.builder) err_set(e, "address list \"%s\": out of memory", name);
    return finish(&l, l.builder && load_list(&l, name, e), name, e);
}
