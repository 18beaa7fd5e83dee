/* Byte layout of a token, before base64url:
 *   0      version (high nibble, now 1) and kind (low nibble)
 *   1      key id
 *   2…     varint campaign, varint recipient, varint link (LEB128, shortest form only, below 2^63: SQLite and JSON readers are signed)
 *   …      level (low 3 bits) and flags (high 5 bits)
 *   …+4    send minute, big endian
 *   …+12   first 96 bits of HMAC-SHA-256 (key of this key id and kind) over everything before, then the target for a click
 * The header delimits itself, so header and target cannot be shifted against each other. */
#include "svc/token.h"
#include "svc/mac.h"
#include "svc/token_ring.h"
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_VERSION 1
#define MAC_BYTES     12
#define HEAD_MAX      (2 + 3 * 9 + 1 + 4)
#define HEAD_MIN      (2 + 3 + 1 + 4)
#define RAW_MAX       (HEAD_MAX + MAC_BYTES)

const char *const token_kind_words[] = {"open", "click", "link", "unsubscribe", "trap", NULL};
const char *const token_level_words[] = {"off", "blind", "anonymous", "personal", "network", NULL};

struct token_ctx {
    const struct token_ring *ring;
    uint64_t bad;
    struct prepared {
        bool is;
        struct mac_key key;
    } ready[TOKEN_KEYS_MAX][TOKEN_KINDS];
};

struct token_ctx *token_ctx_create(const struct token_ring *r) {
    struct token_ctx *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->ring = r;
    return c;
}

void token_ctx_free(struct token_ctx *c) {
    if (c == NULL) return;
    OPENSSL_cleanse(c, sizeof *c);
    free(c);
}

static void sign(struct token_ctx *c, unsigned slot, unsigned kind, const uint8_t *head, size_t head_n, const char *target, size_t n,
                 uint8_t mac[32]) {
    struct prepared *p = &c->ready[slot][kind - 1];
    if (!p->is) mac_prepare(&p->key, c->ring->key[slot].derived[kind - 1], TOKEN_KEY_BYTES);
    p->is = true;
    mac_sign(&p->key, head, head_n, target, n, mac);
}

static size_t put_varint(uint8_t *p, uint64_t v) {
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

/* Bytes eaten, 0 where the number is cut off, not in its shortest form or 2^63 and above. */
static size_t get_varint(const uint8_t *p, size_t n, uint64_t *v) {
    uint64_t out = 0;
    for (size_t i = 0; i < n && i < 9; i++) {
        out |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if ((p[i] & 0x80) == 0) {
            if (i > 0 && p[i] == 0) return 0;
            *v = out;
            return i + 1;
        }
    }
    return 0;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode64(const uint8_t *p, size_t n, char *out) {
    size_t o = 0;
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        acc = acc << 8 | p[i];
        bits += 8;
        while (bits >= 6) {
            bits -= 6;
            out[o++] = alphabet[acc >> bits & 63];
        }
    }
    if (bits > 0) out[o++] = alphabet[acc << (6 - bits) & 63];
    out[o] = '\0';
    return o;
}

/* 1 + value of each character; comparing ranges instead would be guessed wrong by the processor at every second character. */
static const uint8_t value64[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,  ['I'] = 9,  ['J'] = 10, ['K'] = 11,
    ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22,
    ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33,
    ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44,
    ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55,
    ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['-'] = 63, ['_'] = 64};

/* Strict: no padding, no foreign character, unused bits zero, so that one token has one spelling. Bytes written, 0 = refused. */
static size_t decode64(const char *p, size_t n, uint8_t *out, size_t cap) {
    if (n % 4 == 1 || n * 3 / 4 > cap) return 0;
    size_t o = 0;
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t v = value64[(unsigned char)p[i]];
        if (v == 0) return 0;
        acc = acc << 6 | (v - 1);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[o++] = (uint8_t)(acc >> bits);
        }
    }
    return (acc & ((1u << bits) - 1)) != 0 ? 0 : o;
}

bool token_target_ok(const char *target, size_t n) {
    size_t at = n > 7 && strncasecmp(target, "http://", 7) == 0 ? 7 : n > 8 && strncasecmp(target, "https://", 8) == 0 ? 8 : 0;
    if (at == 0 || n > TOKEN_TARGET_MAX || strchr("/?#\\@:", target[at]) != NULL) return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)target[i] <= ' ' || target[i] == 0x7f) return false;
    return true;
}

uint64_t token_bad_count(const struct token_ctx *c) {
    return c->bad;
}

static bool sealable(const struct token *t, const char *target, size_t n, struct err *e) {
    if (t->kind < TOKEN_OPEN || t->kind > TOKEN_KINDS) return err_set(e, "token: no kind %u", t->kind);
    if (t->level > LEVEL_NETWORK) return err_set(e, "token: no tracking level %u (0 to %u)", t->level, LEVEL_NETWORK);
    if (t->flags > 31) return err_set(e, "token: flags %u do not fit five bits", t->flags);
    if ((t->campaign | t->recipient | t->link) >> 63 != 0) return err_set(e, "token: campaign, recipient and link must be below 2^63");
    if (t->kind == TOKEN_CLICK && (target == NULL || n == 0)) return err_set(e, "token: a click needs its target");
    if (t->kind != TOKEN_CLICK && target != NULL) return err_set(e, "token: only a click has a target");
    if (n > TOKEN_TARGET_MAX) return err_set(e, "token: the target has %zu bytes, at most %d are allowed", n, TOKEN_TARGET_MAX);
    if (target != NULL && !token_target_ok(target, n))
        return err_set(e, "token: the target must be an absolute http or https address without blanks or control bytes: %.*s",
                       (int)(n > 200 ? 200 : n), target);
    return true;
}

ssize_t token_seal(struct token_ctx *c, const struct token *t, const char *target, size_t n, char out[TOKEN_MAX], struct err *e) {
    if (!sealable(t, target, n, e)) return -1;
    int slot = c->ring->newest;
    if (slot < 0) return err_set(e, "token: every key of the key ring is retired; run `portreeve mint --new-key`"), -1;
    uint8_t raw[RAW_MAX], mac[32];
    size_t o = 0;
    raw[o++] = (uint8_t)(TOKEN_VERSION << 4 | t->kind);
    raw[o++] = c->ring->key[slot].id;
    o += put_varint(raw + o, t->campaign);
    o += put_varint(raw + o, t->recipient);
    o += put_varint(raw + o, t->link);
    raw[o++] = (uint8_t)(t->flags << 3 | t->level);
    for (int shift = 24; shift >= 0; shift -= 8) raw[o++] = (uint8_t)(t->minute >> shift);
    sign(c, (unsigned)slot, t->kind, raw, o, target, t->kind == TOKEN_CLICK ? n : 0, mac);
    memcpy(raw + o, mac, MAC_BYTES);
    return (ssize_t)encode64(raw, o + MAC_BYTES, out);
}

/* Header fields of raw[0..n) into t; false where anything is not as token_seal writes it. */
static bool read_head(const uint8_t *raw, size_t n, struct token *t) {
    size_t at = 2;
    uint64_t *field[3] = {&t->campaign, &t->recipient, &t->link};
    for (unsigned i = 0; i < 3; i++) {
        size_t used = get_varint(raw + at, n - at, field[i]);
        if (used == 0) return false;
        at += used;
    }
    if (n - at != 5) return false;
    t->kind = raw[0] & 15;
    t->key_id = raw[1];
    t->level = raw[at] & 7;
    t->flags = raw[at] >> 3;
    t->minute = (uint32_t)raw[at + 1] << 24 | (uint32_t)raw[at + 2] << 16 | (uint32_t)raw[at + 3] << 8 | raw[at + 4];
    return t->level <= LEVEL_NETWORK;
}

static enum token_verdict verify(struct token_ctx *c, enum token_kind kind, const char *text, size_t text_n, const char *target, size_t n,
                                 uint32_t now_minute, struct token *out) {
    uint8_t raw[RAW_MAX], mac[32];
    struct token t;
    if ((unsigned)kind < TOKEN_OPEN || (unsigned)kind > TOKEN_KINDS || n > TOKEN_TARGET_MAX) return TOKEN_BAD;
    if (kind == TOKEN_CLICK ? target == NULL || !token_target_ok(target, n) : target != NULL) return TOKEN_BAD;
    size_t raw_n = decode64(text, text_n, raw, sizeof raw);
    if (raw_n < HEAD_MIN + MAC_BYTES || raw[0] != (TOKEN_VERSION << 4 | (unsigned)kind)) return TOKEN_BAD;
    size_t head_n = raw_n - MAC_BYTES;
    int slot = c->ring->slot[raw[1]];
    if (slot < 0 || !read_head(raw, head_n, &t)) return TOKEN_BAD;
    sign(c, (unsigned)slot, kind, raw, head_n, target, n, mac);
    if (CRYPTO_memcmp(mac, raw + head_n, MAC_BYTES) != 0) return TOKEN_BAD;
    *out = t;
    return token_ring_expired(c->ring, (unsigned)slot, now_minute) ? TOKEN_EXPIRED : TOKEN_OK;
}

enum token_verdict token_open(struct token_ctx *c, enum token_kind kind, const char *text, size_t text_n, const char *target, size_t n,
                              uint32_t now_minute, struct token *out) {
    enum token_verdict v = verify(c, kind, text, text_n, target, n, now_minute, out);
    if (v == TOKEN_BAD) c->bad++;
    return v;
}
