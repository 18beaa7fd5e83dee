#include "plan/ini_edit.h"
#include "plan/ini.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* One change of one text. */
struct edit {
    const char *text;
    size_t n;
    const char *display;
    const struct ini_change *c;
    struct ini ini; /* the text as it is read */
    uint32_t at;    /* the entry whose value changes; NONE = none */
    uint32_t after; /* a new entry goes behind this one; NONE = to the end */
    struct buf *out;
    struct err *e;
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_eol(char c) {
    return c == '\n' || c == '\r';
}

/* Where physical line `line` (from 1) begins; n where there is none. LF, CR and CRLF end a line. */
static size_t line_at(const char *text, size_t n, uint32_t line) {
    size_t i = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (uint32_t now = 1; now < line && i < n; now++) {
        while (i < n && !is_eol(text[i])) i++;
        if (i < n) i += text[i] == '\r' && i + 1 < n && text[i + 1] == '\n' ? 2 : 1;
    }
    return i;
}

/* The line end that stands before `at`, or the first one of the text, or LF. */
static const char *eol_of(const char *text, size_t n, size_t at) {
    size_t i = at;
    if (i == 0 || !is_eol(text[i - 1]))
        for (i = 0; i < n && !is_eol(text[i]);) i++;
    else i -= i >= 2 && text[i - 1] == '\n' && text[i - 2] == '\r' ? 2 : 1;
    if (i >= n) return "\n";
    if (text[i] == '\n') return "\n";
    return i + 1 < n && text[i + 1] == '\n' ? "\r\n" : "\r";
}

/* Does x begin with the first n bytes of `entry`, a section's name and its dot? */
static bool in_section(const struct ini_entry *x, const char *entry, const char *dot) {
    size_t n = dot ? (size_t)(dot - entry) + 1 : 0;
    return n > 0 && x->key_n > n && memcmp(x->key, entry, n) == 0;
}

/* The dot before the entry's own word: NAME.Port, NAME.2.Port, NAME.Backend-mail.example.org. */
static const char *row_dot(const char *entry) {
    const char *dot = strchr(entry, '.');
    size_t row = dot ? strspn(dot + 1, "0123456789") : 0;
    return row > 0 && dot[row + 1] == '.' ? dot + row + 1 : dot;
}

/* NAME.2.Port beside NAME.Port: a row of its own within the section. */
static bool same_row(const struct ini_entry *x, const char *entry) {
    const char *dot = row_dot(entry);
    if (!in_section(x, entry, dot)) return false;
    const char *rest = x->key + (dot - entry) + 1;
    size_t row = strspn(rest, "0123456789");
    return row == 0 || rest[row] != '.';
}

static bool whole_section(const char *entry) {
    size_t n = strlen(entry);
    return n > 2 && strcmp(entry + n - 2, ".*") == 0;
}

static bool meant(const struct ini_entry *x, const struct ini_change *c) {
    size_t n = strlen(c->entry);
    if (whole_section(c->entry)) return in_section(x, c->entry, strrchr(c->entry, '.'));
    return x->key_n == n && memcmp(x->key, c->entry, n) == 0;
}

static bool is_value(const struct ini_entry *x, const char *value) {
    return x->value_n == strlen(value) && memcmp(x->value, value, x->value_n) == 0;
}

static bool put_value(struct buf *out, const char *value) {
    bool good = true;
    for (const char *s = value; *s && good; s++) {
        if (*s == '\\' || (s == value && strchr(" =:", *s))) good = buf_str(out, "\\");
        good = good && buf_add(out, s, 1);
    }
    return good;
}

/* How much of the line stays in front of a new value: indentation, key, separator. 0 where the key is not written plainly. */
static size_t kept_head(const char *line, size_t n, const char *entry) {
    size_t i = 0, k = strlen(entry);
    while (i < n && is_blank(line[i])) i++;
    if (n - i < k || memcmp(line + i, entry, k) != 0) return 0;
    i += k;
    size_t key = i;
    while (i < n && is_blank(line[i])) i++;
    if (i < n && (line[i] == '=' || line[i] == ':')) i++;
    else return i > key && i < n && !is_eol(line[i]) ? i : 0;
    while (i < n && is_blank(line[i])) i++;
    return i;
}

static bool put_entry(struct edit *d, const char *head, size_t head_n) {
    bool good = head_n ? buf_add(d->out, head, head_n) : buf_str(d->out, d->c->entry) && buf_str(d->out, "=");
    return good && put_value(d->out, d->c->value);
}

static bool change_value(struct edit *d) {
    const struct ini_entry *x = &d->ini.entry[d->at];
    size_t from = line_at(d->text, d->n, x->line), to = line_at(d->text, d->n, x->last + 1);
    if (is_value(x, d->c->value)) return buf_add(d->out, d->text, d->n);
    bool ended = to > from && is_eol(d->text[to - 1]);
    return buf_add(d->out, d->text, from) && put_entry(d, d->text + from, kept_head(d->text + from, to - from, d->c->entry)) &&
           (!ended || buf_str(d->out, eol_of(d->text, d->n, to))) && buf_add(d->out, d->text + to, d->n - to);
}

/* Does an empty line, or nothing, stand before `at`? */
static bool after_gap(const struct edit *d, size_t at, const char *eol) {
    size_t k = strlen(eol);
    return at <= k || is_eol(d->text[at - k - 1]);
}

/* A section's first entry stands apart from what is above it. */
static bool add_entry(struct edit *d) {
    bool first = d->after == NONE;
    size_t at = first ? d->n : line_at(d->text, d->n, d->ini.entry[d->after].last + 1);
    const char *eol = eol_of(d->text, d->n, at);
    bool open = at > 0 && !is_eol(d->text[at - 1]);
    bool gap = first && strchr(d->c->entry, '.') && (open || !after_gap(d, at, eol));
    return buf_add(d->out, d->text, at) && (!open || buf_str(d->out, eol)) && (!gap || buf_str(d->out, eol)) && put_entry(d, NULL, 0) &&
           buf_str(d->out, eol) && buf_add(d->out, d->text + at, d->n - at);
}

static bool remove_entries(struct edit *d) {
    size_t from = 0;
    for (uint32_t i = 0; i < d->ini.n; i++) {
        const struct ini_entry *x = &d->ini.entry[i];
        if (!meant(x, d->c)) continue;
        size_t begin = line_at(d->text, d->n, x->line);
        if (!buf_add(d->out, d->text + from, begin - from)) return false;
        from = line_at(d->text, d->n, x->last + 1);
    }
    return buf_add(d->out, d->text + from, d->n - from);
}

static bool same_entry(const struct ini_entry *a, const struct ini_entry *b) {
    return a->key_n == b->key_n && a->value_n == b->value_n && memcmp(a->key, b->key, a->key_n) == 0 &&
           memcmp(a->value, b->value, a->value_n) == 0;
}

/* Does the new text say exactly what the old one said, but for the change? */
static bool as_asked(const struct edit *d, const struct ini *now) {
    bool removes = !d->c->value, adds = !removes && d->at == NONE;
    uint32_t j = 0;
    for (uint32_t i = 0; i <= d->ini.n; i++) {
        if (adds && i == (d->after == NONE ? d->ini.n : d->after + 1)) {
            if (j == now->n || !meant(&now->entry[j], d->c) || !is_value(&now->entry[j], d->c->value)) return false;
            j++;
        }
        if (i == d->ini.n || (removes && meant(&d->ini.entry[i], d->c))) continue;
        if (j == now->n) return false;
        bool good = !removes && i == d->at ? meant(&now->entry[j], d->c) && is_value(&now->entry[j], d->c->value)
                                           : same_entry(&d->ini.entry[i], &now->entry[j]);
        if (!good) return false;
        j++;
    }
    return j == now->n;
}

static bool check(struct edit *d) {
    struct ini now;
    if (!ini_parse(d->out->p ? d->out->p : "", d->out->n, d->display, &now, d->e)) return false;
    bool good = as_asked(d, &now);
    ini_finish(&now);
    return good ||
           err_set(d->e, "%s: %s cannot be changed here without changing other lines too: edit the file by hand", d->display, d->c->entry);
}

static void find_place(struct edit *d) {
    bool in_row = false;
    d->at = d->after = NONE;
    for (uint32_t i = 0; i < d->ini.n; i++) {
        const struct ini_entry *x = &d->ini.entry[i];
        bool row = same_row(x, d->c->entry);
        if (meant(x, d->c)) d->at = i;
        if (!row && (in_row || !in_section(x, d->c->entry, strchr(d->c->entry, '.')))) continue;
        d->after = i;
        in_row = row;
    }
}

static bool one(struct edit *d) {
    if (!ini_parse(d->text, d->n, d->display, &d->ini, d->e)) return false;
    find_place(d);
    bool good, section = whole_section(d->c->entry);
    if (!d->c->value && d->at == NONE && !section)
        good = buf_add(d->out, d->text, d->n) || err_set(d->e, "%s: out of memory", d->display); /* it is gone already */
    else if (!d->c->value && d->at == NONE) good = err_set(d->e, "%s: %s: there is no such entry to remove", d->display, d->c->entry);
    else
        good = (!d->c->value    ? remove_entries(d)
                : d->at != NONE ? change_value(d)
                                : add_entry(d))
                   ? check(d)
                   : err_set(d->e, "%s: out of memory", d->display);
    ini_finish(&d->ini);
    return good;
}

/* Lines of `said` about one change; places are those of the final text. */
static bool say(const struct ini *was, const struct ini *now, const char *display, const struct ini_change *c, struct buf *said) {
    const struct ini_entry *old = NULL;
    bool good = true;
    for (uint32_t i = 0; good && i < was->n; i++) {
        if (!meant(&was->entry[i], c)) continue;
        old = &was->entry[i];
        if (!c->value) good = buf_fmt(said, "%s: %s is removed (was %s)\n", display, old->key, old->value);
    }
    if (!c->value) return good;
    const struct ini_entry *x = ini_find(now, c->entry);
    if (!x) return true; /* a later change of the same list took it away again */
    if (old && is_value(old, c->value)) return buf_fmt(said, "%s:%" PRIu32 ": %s=%s as before\n", display, x->line, c->entry, c->value);
    return buf_fmt(said, "%s:%" PRIu32 ": %s=%s (%s%s)\n", display, x->line, c->entry, c->value, old ? "was " : "new",
                   old ? old->value : "");
}

static bool say_all(const char *text, size_t n, const char *display, const struct ini_change *c, unsigned nc, const struct buf *out,
                    struct buf *said, struct err *e) {
    struct ini was, now;
    if (!ini_parse(text, n, display, &was, e)) return false;
    bool good = ini_parse(out->p ? out->p : "", out->n, display, &now, e);
    if (good) {
        for (unsigned i = 0; good && i < nc; i++) good = say(&was, &now, display, &c[i], said);
        if (!good) err_set(e, "%s: out of memory", display);
        ini_finish(&now);
    }
    ini_finish(&was);
    return good;
}

bool ini_edit(const char *text, size_t n, const char *display, const struct ini_change *c, unsigned nc, struct buf *out, struct buf *said,
              struct err *e) {
    struct buf before = {0};
    bool good = buf_add(out, text, n) || err_set(e, "%s: out of memory", display);
    for (unsigned i = 0; good && i < nc; i++) {
        struct buf swap = before;
        before = *out;
        *out = swap;
        buf_clear(out);
        struct edit d = {.text = before.p ? before.p : "", .n = before.n, .display = display, .c = &c[i], .out = out, .e = e};
        good = one(&d);
    }
    buf_free(&before);
    return good && say_all(text, n, display, c, nc, out, said, e);
}
