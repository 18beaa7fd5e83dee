/* A batch, version 1:
 *   0      version, 1
 *   1…4    checksum of everything behind it, little endian: SQLite does not notice a flipped bit inside a blob
 *   5…     records, one after the other, each:
 *     u8  type (low 4 bits), class (high 4 bits)
 *     u8  level (bits 0–2), TLS (bits 3–4), a recipient follows (bit 5), a pseudonym follows (bit 6), address and agent follow (bit 7)
 *     u8  method
 *     varints: reasons, ms, send minute, campaign, link
 *     bit 5: varint recipient; bit 6: 8 bytes of pseudonym
 *     u8 length and bytes of the listener's name
 *     bit 7: u8 4, 6 or 0 and that address's 4, 16 or 0 bytes; varint length and bytes of the agent
 * The sequence number is not stored: the row has that of the first record. Varints are LEB128. */
#include "svc/spool_record.h"
#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_VERSION 1
#define MINUTE_ZERO   1577836800ll /* 2020-01-01T00:00Z, as in a token */
enum { HAS_RECIPIENT = 0x20, HAS_PSEUDONYM = 0x40, HAS_NETWORK = 0x80 };

const char *const event_type_words[] = {"", "open", "click", "unsubscribe", "resubscribe", "trap", NULL};
const char *const event_class_words[] = {"unknown", "human", "proxy", "prefetch", "scanner", "bot", NULL};
static const char *const tls_names[] = {"none", "own", "external"};
/* In the order of enum method (proto/exchange.h), which this floor must not include; tests/unit/spool.c compares. */
static const char *const method_names[] = {"OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"};
static const char *const reason_names[] = {"burst", "early", "purpose", "agent", "no-agent", "trap", "head"};
#define COUNT_OF(a) (sizeof(a) / sizeof *(a))

/* --- pseudonyms --- */

struct pseudonyms {
    EVP_MAC *hmac;
    EVP_MAC_CTX *ctx;
};

struct pseudonyms *pseudonyms_create(const uint8_t key[PSEUDONYM_KEY]) {
    struct pseudonyms *p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
    p->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    p->ctx = p->hmac == NULL ? NULL : EVP_MAC_CTX_new(p->hmac);
    if (p->ctx != NULL && EVP_MAC_init(p->ctx, key, PSEUDONYM_KEY, params) == 1) return p;
    pseudonyms_destroy(p);
    return NULL;
}

void pseudonyms_destroy(struct pseudonyms *p) {
    if (p == NULL) return;
    EVP_MAC_CTX_free(p->ctx);
    EVP_MAC_free(p->hmac);
    free(p);
}

static bool pseudonym(struct pseudonyms *p, uint64_t campaign, uint64_t recipient, uint8_t out[8]) {
    uint8_t in[16], mac[32];
    size_t n = 0;
    for (unsigned i = 0; i < 8; i++) {
        in[i] = (uint8_t)(campaign >> (8 * i));
        in[8 + i] = (uint8_t)(recipient >> (8 * i));
    }
    if (p == NULL || EVP_MAC_init(p->ctx, NULL, 0, NULL) != 1 || EVP_MAC_update(p->ctx, in, sizeof in) != 1 ||
        EVP_MAC_final(p->ctx, mac, &n, sizeof mac) != 1)
        return false;
    memcpy(out, mac, 8);
    return true;
}

/* --- writing --- */

static uint8_t *put_varint(uint8_t *p, uint64_t v) {
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* Whom the event is about, as far as its level lets it be known. An unsubscribe is an order, not an observation: it always names who. */
static uint8_t who_bits(const struct event *ev) {
    if (ev->type == EV_UNSUBSCRIBE || ev->type == EV_RESUBSCRIBE || ev->token.level >= LEVEL_PERSONAL) return HAS_RECIPIENT;
    return ev->token.level == LEVEL_ANONYMOUS ? HAS_PSEUDONYM : 0;
}

static uint8_t *put_network(uint8_t *p, const struct event *ev) {
    size_t n = ev->address.family == 4 ? 4 : ev->address.family == 6 ? 16 : 0;
    *p++ = n == 0 ? 0 : ev->address.family;
    memcpy(p, ev->address.ip, n);
    p += n;
    size_t agent = ev->agent == NULL ? 0 : ev->agent_n < RECORD_AGENT ? ev->agent_n : RECORD_AGENT;
    p = put_varint(p, agent);
    if (agent > 0) memcpy(p, ev->agent, agent);
    return p + agent;
}

size_t record_encode(const struct event *ev, struct pseudonyms *who, uint8_t out[RECORD_MAX]) {
    bool order = ev->type == EV_UNSUBSCRIBE || ev->type == EV_RESUBSCRIBE;
    if (ev->type < EV_OPEN || ev->type > EV_TRAP || ev->cls > CLASS_BOT || ev->tls > EV_TLS_EXTERNAL || ev->token.level > LEVEL_NETWORK)
        return 0;
    if (ev->token.level == LEVEL_OFF && !order) return 0;
    uint8_t *p = out, bits = who_bits(ev);
    if (ev->token.level == LEVEL_NETWORK) bits |= HAS_NETWORK;
    *p++ = (uint8_t)(ev->type | ev->cls << 4);
    *p++ = (uint8_t)(ev->token.level | ev->tls << 3 | bits);
    *p++ = ev->method;
    p = put_varint(p, ev->reasons);
    p = put_varint(p, ev->ms < 0 ? 0 : (uint64_t)ev->ms);
    p = put_varint(p, ev->token.minute);
    p = put_varint(p, ev->token.campaign);
    p = put_varint(p, ev->token.link);
    if (bits & HAS_RECIPIENT) p = put_varint(p, ev->token.recipient);
    if (bits & HAS_PSEUDONYM) {
        if (!pseudonym(who, ev->token.campaign, ev->token.recipient, p)) return 0;
        p += 8;
    }
    size_t n = ev->listener == NULL ? 0 : strnlen(ev->listener, 63);
    *p++ = (uint8_t)n;
    if (n > 0) memcpy(p, ev->listener, n);
    p += n;
    if (bits & HAS_NETWORK) p = put_network(p, ev);
    return (size_t)(p - out);
}

/* Eight bytes a step; each step can be undone, so a change in any one word always shows. */
static uint32_t checksum(const uint8_t *p, size_t n) {
    uint64_t h = 0x243f6a8885a308d3u ^ n, word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        h = (h ^ le64toh(word)) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, p, n);
    h = (h ^ le64toh(word)) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32 ^ h);
}

void batch_seal(uint8_t *p, size_t n) {
    uint32_t c = checksum(p + BATCH_HEAD, n - BATCH_HEAD);
    p[0] = BATCH_VERSION;
    for (unsigned i = 0; i < 4; i++) p[1 + i] = (uint8_t)(c >> (8 * i));
}

/* --- reading --- */

struct cursor {
    const uint8_t *p, *end;
    bool bad;
};

static uint8_t get_u8(struct cursor *c) {
    if (c->p >= c->end) {
        c->bad = true;
        return 0;
    }
    return *c->p++;
}

static uint64_t get_varint(struct cursor *c) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = get_u8(c);
        v |= (uint64_t)(b & 0x7f) << shift;
        if ((b & 0x80) == 0) return v;
    }
    c->bad = true;
    return 0;
}

static const uint8_t *get_bytes(struct cursor *c, size_t n) {
    if (c->bad || (size_t)(c->end - c->p) < n) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += n;
    return p;
}

struct record {
    uint8_t type, cls, bits, level, tls, method;
    uint64_t reasons, ms, minute, campaign, link, recipient;
    const uint8_t *pseudonym, *listener, *agent;
    size_t listener_n, agent_n;
    struct addr address;
};

static bool record_decode(struct cursor *c, struct record *r) {
    memset(r, 0, sizeof *r);
    uint8_t a = get_u8(c), b = get_u8(c);
    r->type = a & 15;
    r->cls = a >> 4;
    r->level = b & 7;
    r->tls = b >> 3 & 3;
    r->bits = b & 0xe0;
    r->method = get_u8(c);
    r->reasons = get_varint(c);
    r->ms = get_varint(c);
    r->minute = get_varint(c);
    r->campaign = get_varint(c);
    r->link = get_varint(c);
    if (r->bits & HAS_RECIPIENT) r->recipient = get_varint(c);
    if (r->bits & HAS_PSEUDONYM) r->pseudonym = get_bytes(c, 8);
    r->listener_n = get_u8(c);
    r->listener = get_bytes(c, r->listener_n);
    if (r->bits & HAS_NETWORK) {
        r->address.family = get_u8(c);
        size_t n = r->address.family == 4 ? 4 : r->address.family == 6 ? 16 : 0;
        const uint8_t *ip = get_bytes(c, n);
        if (ip != NULL && n > 0) memcpy(r->address.ip, ip, n);
        r->agent_n = get_varint(c);
        if (r->agent_n > RECORD_AGENT) c->bad = true;
        r->agent = get_bytes(c, r->agent_n);
    }
    return !c->bad && r->minute <= UINT32_MAX && r->type <= EV_TRAP && r->cls <= CLASS_BOT && r->level <= LEVEL_NETWORK &&
           r->tls < COUNT_OF(tls_names) && r->method < COUNT_OF(method_names);
}

static char *put_text(char *p, const char *s) {
    size_t n = strlen(s);
    memcpy(p, s, n);
    return p + n;
}

static char *put_number(char *p, const char *label, uint64_t v) {
    char digits[20];
    unsigned n = 0;
    do digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    p = put_text(p, label);
    while (n > 0) *p++ = digits[--n];
    return p;
}

static char *put_reasons(char *p, uint64_t reasons) {
    const char *between = "";
    p = put_text(p, ",\"reasons\":[");
    for (unsigned bit = 0; bit < 32; bit++) {
        if ((reasons >> bit & 1) == 0) continue;
        const char *name = bit < COUNT_OF(reason_names) ? reason_names[bit] : NULL;
        p = put_text(put_text(put_text(p, between), "\""), name == NULL ? "?" : name); /* "?": written by a later version */
        p = put_text(p, "\"");
        between = ",";
    }
    return put_text(p, "]");
}

/* Everything but listener, address and agent, which may need escapes. */
static char *put_fixed(char *p, const struct record *r, uint64_t epoch, uint64_t seq) {
    int64_t since = (int64_t)(r->ms / 1000) - ((int64_t)r->minute * 60 + MINUTE_ZERO);
    p = put_number(p, ",\"epoch\":", epoch);
    p = put_number(p, ",\"seq\":", seq);
    p = put_text(put_text(put_text(p, ",\"type\":\""), event_type_words[r->type]), "\"");
    p = put_number(p, ",\"ms\":", r->ms);
    p = put_number(p, ",\"campaign\":", r->campaign);
    if (r->bits & HAS_RECIPIENT) p = put_number(p, ",\"recipient\":", r->recipient);
    if (r->pseudonym != NULL) {
        static const char hex[] = "0123456789abcdef";
        p = put_text(p, ",\"pseudonym\":\"");
        for (unsigned i = 0; i < 8; i++) {
            *p++ = hex[r->pseudonym[i] >> 4];
            *p++ = hex[r->pseudonym[i] & 15];
        }
        p = put_text(p, "\"");
    }
    p = put_number(p, ",\"link\":", r->link);
    p = put_text(put_text(p, ",\"level\":\""), token_level_words[r->level]);
    p = put_text(put_text(p, "\",\"class\":\""), event_class_words[r->cls]);
    p = put_reasons(put_text(p, "\""), r->reasons);
    p = put_number(p, ",\"since\":", since < 0 ? 0 : (uint64_t)since);
    p = put_text(put_text(p, ",\"tls\":\""), tls_names[r->tls]);
    p = put_text(put_text(p, "\",\"method\":\""), method_names[r->method]);
    return put_text(p, "\"");
}

static bool record_line(const struct record *r, const char *tracker, uint64_t epoch, uint64_t seq, struct buf *out) {
    if (!buf_str(out, "{") || !buf_member(out, "tracker", tracker) || !buf_reserve(out, 900)) return false;
    out->n = (size_t)(put_fixed(out->p + out->n, r, epoch, seq) - out->p);
    if (!buf_str(out, ",\"listener\":") || !buf_json(out, (const char *)r->listener, r->listener_n)) return false;
    if (r->bits & HAS_NETWORK) {
        char ip[ADDR_TEXT] = "";
        size_t n = r->address.family == 0 ? 0 : addr_format_ip(&r->address, ip);
        if (!buf_str(out, ",\"address\":") || !buf_json(out, ip, n)) return false;
        if (!buf_str(out, ",\"agent\":") || !buf_json(out, (const char *)r->agent, r->agent_n)) return false;
    }
    return buf_add(out, "}\n", 2);
}

bool batch_lines(const uint8_t *p, size_t n, const char *tracker, uint64_t epoch, uint64_t first, uint32_t count, struct buf *out,
                 struct err *e) {
    size_t before = out->n;
    if (n < BATCH_HEAD) return err_set(e, "shorter than its head");
    if (p[0] != BATCH_VERSION) return err_set(e, "layout version %u, this program knows %d", p[0], BATCH_VERSION);
    uint32_t want = (uint32_t)p[1] | (uint32_t)p[2] << 8 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 24;
    if (checksum(p + BATCH_HEAD, n - BATCH_HEAD) != want) return err_set(e, "checksum does not match");
    struct cursor c = {.p = p + BATCH_HEAD, .end = p + n};
    for (uint32_t i = 0; i < count; i++) {
        struct record r;
        bool fine = record_decode(&c, &r);
        if (fine && record_line(&r, tracker, epoch, first + i, out)) continue;
        out->n = before;
        return fine ? err_set(e, "out of memory, or more text than a buffer may hold") : err_set(e, "record %u cannot be read", i);
    }
    if (c.p == c.end) return true;
    out->n = before;
    return err_set(e, "%zu bytes behind its %u records", (size_t)(c.end - c.p), count);
}
