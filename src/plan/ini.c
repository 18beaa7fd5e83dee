#include "plan/ini.h"
#include "base/utf8.h"
#include <stdlib.h>
#include <string.h>

static const char SPECIAL[] = "Secure-[";

struct reader {
    const char *text; /* UTF-8 */
    size_t n, at;
    uint32_t at_line; /* 1-based, of text[at] */
    const char *display;
    char *line; /* the logical line: comments gone, continuations joined, escapes still there */
    size_t len;
    uint32_t begin, last; /* the physical lines on which it begins and ends */
    char *scratch;        /* as long as text: room for one unescaped key and value */
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_eol(char c) {
    return c == '\n' || c == '\r';
}

/* Step over the line end that begins with c = text[at - 1]; a CRLF is one. Returns whether it was a CRLF. */
static bool end_line(struct reader *r, char c) {
    bool crlf = c == '\r' && r->at < r->n && r->text[r->at] == '\n';
    if (crlf) r->at++;
    r->at_line++;
    return crlf;
}

static void skip_comment(struct reader *r) {
    while (r->at < r->n && !is_eol(r->text[r->at])) r->at++;
    if (r->at == r->n) return;
    r->at++;
    end_line(r, r->text[r->at - 1]);
}

/* The next logical line into r->line, false at the end of the text. Two habits of java.util.Properties.LineReader are kept on purpose:
 * behind a line that holds nothing but a backslash a comment is still a comment, and a lone backslash (with at most one CR or LF) that
 * ends the file is an entry with empty key and value. */
static bool next_line(struct reader *r) {
    bool skip = true, joined = false, odd = false;
    r->len = 0;
    while (r->at < r->n) {
        char c = r->text[r->at++];
        bool eol = is_eol(c), crlf = eol && end_line(r, c);
        if (skip) {
            if (is_blank(c) || (eol && !joined)) continue;
            skip = joined = false;
        }
        if (r->len == 0 && (c == '#' || c == '!')) {
            skip_comment(r);
            skip = true;
        } else if (!eol) {
            if (r->len == 0) r->begin = r->at_line;
            r->line[r->len++] = c;
            odd = c == '\\' && !odd;
        } else if (r->len == 0) {
            skip = true;
        } else if (!odd || (r->at == r->n && !crlf)) {
            r->len -= odd;
            r->last = r->at_line - 1;
            return true;
        } else {
            r->len--;
            skip = joined = true;
            odd = false;
        }
    }
    if (r->len == 0) return false;
    r->len -= odd;
    r->last = r->at_line;
    return true;
}

/* Where the colons of `Secure-[fe80::1]` stop being separators: the index of its `]`; 0 where the line is not of that form or needs no
 * exception (every colon escaped). */
static size_t special_end(const char *s, size_t n) {
    const size_t head = sizeof SPECIAL - 1;
    bool colon = false;
    if (n < head || memcmp(s, SPECIAL, head) != 0) return 0;
    for (size_t i = head; i < n && s[i] != '=' && !is_blank(s[i]); i++) {
        if (s[i] == ']') return colon ? i : 0;
        if (s[i] == ':') colon = true;
        if (s[i] == '\\') i++;
    }
    return 0;
}

/* Split the logical line: key is line[0..return), value is line[*value..len). */
static size_t split(const char *s, size_t n, size_t from, size_t *value) {
    size_t key = from;
    while (key < n && s[key] != '=' && s[key] != ':' && !is_blank(s[key])) key += s[key] == '\\' ? 2 : 1;
    if (key > n) key = n;
    bool separator = false;
    size_t i = key;
    for (; i < n; i++) {
        if (is_blank(s[i])) continue;
        if (separator || (s[i] != '=' && s[i] != ':')) break;
        separator = true;
    }
    *value = i;
    return key;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Append one UTF-16 unit. Behind a high surrogate (ED A0..AF xx, which valid UTF-8 never holds) a low one completes the character. */
static size_t put_unit(char *out, size_t n, uint32_t unit) {
    const unsigned char *last = (const unsigned char *)out + (n >= 3 ? n - 3 : 0);
    if (unit >= 0xdc00 && unit <= 0xdfff && n >= 3 && last[0] == 0xed && last[1] >= 0xa0 && last[1] <= 0xaf) {
        uint32_t high = 0xd000u | (last[1] & 0x3fu) << 6 | (last[2] & 0x3fu);
        return n - 3 + utf8_put(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00), out + n - 3);
    }
    return n + utf8_put(unit, out + n);
}

static bool put_unicode(const struct reader *r, const char *s, size_t n, char *out, size_t *made, struct err *e) {
    uint32_t unit = 0;
    for (size_t i = 0; i < 4; i++) {
        int d = i < n ? hex_digit(s[i]) : -1;
        if (d < 0)
            return err_at(e, r->display, r->begin,
                          "\"\\u%.*s\" is not a character: write four hexadecimal digits behind \\u, or \\\\u for a backslash and a u",
                          utf8_shown(s, n, 4), s);
        unit = unit << 4 | (uint32_t)d;
    }
    *made = put_unit(out, *made, unit);
    return true;
}

static char simple_escape(char c, bool *unknown) {
    switch (c) {
    case 't': return '\t';
    case 'n': return '\n';
    case 'r': return '\r';
    case 'f': return '\f';
    case '\\':
    case '"':
    case '\'':
    case ' ':
    case '=':
    case ':': return c;
    default: *unknown = true; return c;
    }
}

/* Resolve the escapes of s into out (never longer than s); *made = bytes written. */
static bool unescape(const struct reader *r, const char *s, size_t n, char *out, size_t *made, bool *unknown, struct err *e) {
    *made = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '\\' || i + 1 == n) {
            out[(*made)++] = s[i];
        } else if (s[++i] == 'u') {
            if (!put_unicode(r, s + i + 1, n - i - 1, out, made, e)) return false;
            i += 4;
        } else {
            out[(*made)++] = simple_escape(s[i], unknown);
        }
    }
    return true;
}

/* One block holds key and value, each with a NUL behind it. */
static bool keep(struct ini_entry *x, const char *key, size_t key_n, const char *value, size_t value_n) {
    char *p = malloc(key_n + value_n + 2);
    if (!p) return false;
    memcpy(p, key, key_n);
    p[key_n] = 0;
    memcpy(p + key_n + 1, value, value_n);
    p[key_n + 1 + value_n] = 0;
    x->key = p;
    x->value = p + key_n + 1;
    x->key_n = (uint32_t)key_n;
    x->value_n = (uint32_t)value_n;
    return true;
}

static bool read_entry(const struct reader *r, struct ini_entry *x, struct err *e) {
    size_t value, key_n, value_n, from = special_end(r->line, r->len);
    size_t key = split(r->line, r->len, from, &value);
    x->line = r->begin;
    x->last = r->last;
    x->special = from > 0;
    if (!unescape(r, r->line, key, r->scratch, &key_n, &x->bad_escape, e)) return false;
    if (!unescape(r, r->line + value, r->len - value, r->scratch + key_n, &value_n, &x->bad_escape, e)) return false;
    return keep(x, r->scratch, key_n, r->scratch + key_n, value_n) || err_at(e, r->display, r->begin, "out of memory");
}

static bool grow(struct ini *out, uint32_t *cap) {
    uint32_t more = *cap ? *cap * 2 : 32;
    struct ini_entry *p = realloc(out->entry, more * sizeof *p);
    if (!p) return false;
    out->entry = p;
    *cap = more;
    return true;
}

static bool read_all(struct reader *r, struct ini *out, struct err *e) {
    uint32_t cap = 0;
    while (next_line(r)) {
        if (out->n == INI_MAX_ENTRIES)
            return err_at(e, r->display, r->begin, "more than %u entries: this cannot be a configuration file", INI_MAX_ENTRIES);
        if (out->n == cap && !grow(out, &cap)) return err_at(e, r->display, r->begin, "out of memory");
        struct ini_entry *x = &out->entry[out->n];
        *x = (struct ini_entry){0};
        if (!read_entry(r, x, e)) return false;
        out->n++;
    }
    return true;
}

static bool same_key(const struct ini_entry *a, const struct ini_entry *b) {
    return a->key_n == b->key_n && memcmp(a->key, b->key, a->key_n) == 0;
}

static uint32_t key_hash(const struct ini_entry *x) {
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < x->key_n; i++) h = (h ^ (uint8_t)x->key[i]) * 16777619u;
    return h ^ h >> 15;
}

/* Name for each entry the last earlier one with its key. */
static bool mark_duplicates(struct ini *out) {
    uint32_t size = 64;
    while (size < out->n * 2) size *= 2;
    uint32_t *slot = calloc(size, sizeof *slot); /* index + 1 of the latest entry with a key */
    if (!slot) return false;
    for (uint32_t i = 0; i < out->n; i++) {
        struct ini_entry *x = &out->entry[i];
        uint32_t at = key_hash(x) & (size - 1);
        while (slot[at] && !same_key(&out->entry[slot[at] - 1], x)) at = (at + 1) & (size - 1);
        if (slot[at]) x->dup_of = out->entry[slot[at] - 1].line;
        slot[at] = i + 1;
    }
    free(slot);
    return true;
}

static char *from_latin1(const char *s, size_t n, size_t *made) {
    char *out = malloc(n * 2 + 1);
    size_t at = 0;
    for (size_t i = 0; out && i < n; i++) at += utf8_put((unsigned char)s[i], out + at);
    *made = at;
    return out;
}

static bool parse_utf8(const char *text, size_t n, const char *display, struct ini *out, struct err *e) {
    struct reader r = {.text = text, .n = n, .at_line = 1, .display = display};
    r.line = malloc(n + 1);
    r.scratch = malloc(n + 1);
    bool fine = r.line && r.scratch ? read_all(&r, out, e) : err_at(e, display, 0, "out of memory");
    free(r.scratch);
    free(r.line);
    return fine && (mark_duplicates(out) || err_at(e, display, 0, "out of memory"));
}

bool ini_parse(const char *text, size_t n, const char *display, struct ini *out, struct err *e) {
    struct ini made = {0};
    bool fine;
    if (n > INI_MAX_BYTES) return err_at(e, display, 0, "%zu bytes: a configuration file may have at most %u", n, INI_MAX_BYTES);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        n -= 3;
    }
    made.latin1 = !utf8_valid(text, n);
    if (made.latin1) {
        size_t wide_n;
        char *wide = from_latin1(text, n, &wide_n);
        fine = wide ? parse_utf8(wide, wide_n, display, &made, e) : err_at(e, display, 0, "out of memory");
        free(wide);
    } else {
        fine = parse_utf8(text, n, display, &made, e);
    }
    if (fine) *out = made;
    else ini_finish(&made);
    return fine;
}

void ini_finish(struct ini *i) {
    for (uint32_t k = 0; k < i->n; k++) free(i->entry[k].key);
    free(i->entry);
    *i = (struct ini){0};
}

const struct ini_entry *ini_find(const struct ini *i, const char *key) {
    size_t n = strlen(key);
    for (uint32_t k = i->n; k-- > 0;)
        if (i->entry[k].key_n == n && memcmp(i->entry[k].key, key, n) == 0) return &i->entry[k];
    return NULL;
}
