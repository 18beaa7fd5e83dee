#include "svc/token_ring.h"
#include "base/clock.h"
#include "base/newfile.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_TEXT     16384              /* bytes of a key file: comments and 64 lines of 100 */
#define GRACE_MINUTES (400u * 24u * 60u) /* a retired key goes on verifying this long (components.md "Token") */
#define MINUTE_ZERO   1577836800ll       /* 2020-01-01T00:00Z */

static const char ring_head[] =
    "# Portreeve's tracking keys: id, key, created, retired (unix seconds, - = in use). The newest in use signs.\n"
    "# A retired key still verifies for 400 days; after that its links redirect but are no longer recorded.\n"
    "# Take a line out and every link it signed is dead. Keep this file secret, and in the backup.\n";

bool token_ring_expired(const struct token_ring *r, unsigned slot, uint32_t now_minute) {
    int64_t retired = r->key[slot].retired;
    if (retired == 0) return false;
    return (int64_t)now_minute * 60 + MINUTE_ZERO > retired + (int64_t)GRACE_MINUTES * 60;
}

/* HKDF-SHA-256 of the master key, one output per kind, so that what signs opens cannot sign clicks. */
static bool derive(struct token_key *k, const uint8_t master[TOKEN_KEY_BYTES]) {
    static const char *const info[TOKEN_KINDS] = {"open", "click", "link", "unsubscribe", "trap"};
    char digest[] = "SHA256", salt[] = "portreeve token 1";
    uint8_t key[TOKEN_KEY_BYTES];
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *c = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    bool fine = c != NULL;
    memcpy(key, master, sizeof key);
    for (unsigned i = 0; fine && i < TOKEN_KINDS; i++) {
        char text[16];
        snprintf(text, sizeof text, "%s", info[i]);
        OSSL_PARAM p[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                          OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key, sizeof key),
                          OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof salt - 1),
                          OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, text, strlen(text)), OSSL_PARAM_construct_end()};
        EVP_KDF_CTX_reset(c);
        fine = EVP_KDF_derive(c, k->derived[i], TOKEN_KEY_BYTES, p) == 1;
    }
    EVP_KDF_CTX_free(c);
    EVP_KDF_free(kdf);
    OPENSSL_cleanse(key, sizeof key);
    return fine;
}

static bool hex_bytes(const char *s, uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned v = 0;
        for (int j = 0; j < 2; j++) {
            char c = s[2 * i + (size_t)j];
            if (c >= '0' && c <= '9') v = v << 4 | (unsigned)(c - '0');
            else if (c >= 'a' && c <= 'f') v = v << 4 | (unsigned)(c - 'a' + 10);
            else return false;
        }
        out[i] = (uint8_t)v;
    }
    return true;
}

static bool seconds(const char *s, int64_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno != 0 || *s < '0' || *s > '9' || *end != '\0' || v <= 0) return false;
    *out = v;
    return true;
}

static bool ring_line(struct token_ring *r, const char *path, unsigned number, char *line, struct err *e) {
    char *save = NULL, *word[4];
    for (unsigned i = 0; i < 4; i++) {
        word[i] = strtok_r(i == 0 ? line : NULL, " \t\r", &save);
        if (word[i] == NULL) return err_at(e, path, number, "a key line is `id key created retired|-`");
    }
    if (strtok_r(NULL, " \t\r", &save) != NULL) return err_at(e, path, number, "more than four words in a key line");
    char *end;
    unsigned long id = strtoul(word[0], &end, 10);
    if (*end != '\0' || word[0][0] < '0' || word[0][0] > '9' || id > 255) return err_at(e, path, number, "key id must be 0 to 255");
    if (r->slot[id] >= 0) return err_at(e, path, number, "key id %lu stands twice", id);
    if (r->n == TOKEN_KEYS_MAX) return err_at(e, path, number, "more than %d keys; take out the oldest", TOKEN_KEYS_MAX);
    struct token_key *k = &r->key[r->n];
    uint8_t master[TOKEN_KEY_BYTES];
    if (strlen(word[1]) != 2 * sizeof master || !hex_bytes(word[1], master, sizeof master))
        return err_at(e, path, number, "the key must be 64 digits 0-9a-f");
    bool fine = derive(k, master);
    OPENSSL_cleanse(master, sizeof master);
    if (!fine) return err_at(e, path, number, "OpenSSL cannot derive keys (HKDF)");
    if (!seconds(word[2], &k->created)) return err_at(e, path, number, "created must be unix seconds");
    if (strcmp(word[3], "-") != 0 && !seconds(word[3], &k->retired)) return err_at(e, path, number, "retired must be - or unix seconds");
    k->id = (uint8_t)id;
    r->slot[id] = (int16_t)r->n;
    if (k->retired == 0 && (r->newest < 0 || k->created >= r->key[r->newest].created)) r->newest = (int)r->n;
    r->n++;
    return true;
}

/* The whole file into text (NUL-terminated), refusing what others may read. */
static bool ring_read(const char *path, char text[RING_TEXT], size_t *n, struct err *e) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return err_set(e, "%s: cannot open the key ring: %s", path, strerrordesc_np(errno));
    struct stat st;
    size_t got = 0;
    bool fine = false;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err_set(e, "%s: the key ring is not a regular file", path);
    } else if ((st.st_mode & 077) != 0) {
        err_set(e, "%s: others may read the tracking keys (mode %03o); run: chmod 600 %s", path, (unsigned)st.st_mode & 0777u, path);
    } else if (st.st_size >= RING_TEXT) {
        err_set(e, "%s: the key ring has %lld bytes, at most %d are allowed", path, (long long)st.st_size, RING_TEXT - 1);
    } else {
        ssize_t r;
        while ((r = read(fd, text + got, RING_TEXT - 1 - got)) > 0) got += (size_t)r;
        fine = r == 0 || err_set(e, "%s: cannot read: %s", path, strerrordesc_np(errno));
    }
    close(fd);
    text[got] = '\0';
    *n = got;
    return fine;
}

static size_t new_key_line(char *out, size_t cap, unsigned id) {
    uint8_t key[TOKEN_KEY_BYTES];
    if (RAND_bytes(key, sizeof key) != 1) return 0;
    int n = snprintf(out, cap, "%u ", id);
    for (size_t i = 0; i < sizeof key; i++) n += snprintf(out + n, cap - (size_t)n, "%02x", key[i]);
    n += snprintf(out + n, cap - (size_t)n, " %lld -\n", (long long)(clock_real_ms() / 1000));
    OPENSSL_cleanse(key, sizeof key);
    return (size_t)n;
}

static bool ring_create(const char *path, struct err *e) {
    char text[sizeof ring_head + 128];
    struct stat st;
    if (lstat(path, &st) == 0) return true;
    memcpy(text, ring_head, sizeof ring_head - 1);
    size_t n = new_key_line(text + sizeof ring_head - 1, sizeof text - sizeof ring_head, 1);
    bool fine = n > 0 ? newfile_create(path, text, sizeof ring_head - 1 + n, 0600, e) : err_set(e, "%s: no random bytes for a key", path);
    OPENSSL_cleanse(text, sizeof text);
    return fine;
}

static size_t ring_bytes(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (sizeof(struct token_ring) + page - 1) / page * page;
}

static struct token_ring *ring_alloc(struct err *e) {
    struct token_ring *r = mmap(NULL, ring_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED) return err_set(e, "key ring: out of memory"), NULL;
    madvise(r, ring_bytes(), MADV_DONTDUMP);
    r->newest = -1;
    for (unsigned i = 0; i < 256; i++) r->slot[i] = -1;
    return r;
}

static bool ring_parse(struct token_ring *r, const char *path, char *text, size_t n, struct err *e) {
    if (strlen(text) != n) return err_set(e, "%s: a NUL byte in the key ring: the file is damaged", path);
    unsigned number = 0;
    for (char *line = text, *next; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) *next++ = '\0';
        number++;
        char *p = line + strspn(line, " \t\r");
        if (*p == '\0' || *p == '#') continue;
        if (!ring_line(r, path, number, p, e)) return false;
    }
    return r->n > 0 || err_set(e, "%s: no key in the key ring", path);
}

enum token_ring_is token_ring_at(const char *state, char *path, size_t cap) {
    char spool[4200];
    snprintf(path, cap, "%.4000s/keys/tracker.keys", state);
    snprintf(spool, sizeof spool, "%.4000s/spool/spool.db", state);
    if (access(path, F_OK) == 0 || errno != ENOENT) return RING_THERE;
    return access(spool, F_OK) == 0 ? RING_GONE : RING_NOT_YET;
}

struct token_ring *token_ring_load(const char *path, bool create, struct err *e) {
    char text[RING_TEXT];
    size_t n = 0;
    if (create && !ring_create(path, e)) return NULL;
    struct token_ring *r = ring_alloc(e);
    if (r == NULL) return NULL;
    bool fine = ring_read(path, text, &n, e) && ring_parse(r, path, text, n, e);
    OPENSSL_cleanse(text, sizeof text);
    if (fine) {
        mprotect(r, ring_bytes(), PROT_READ);
        return r;
    }
    token_ring_free(r);
    return NULL;
}

void token_ring_free(struct token_ring *r) {
    if (r == NULL) return;
    if (mprotect(r, ring_bytes(), PROT_READ | PROT_WRITE) == 0) OPENSSL_cleanse(r, ring_bytes());
    munmap(r, ring_bytes());
}

/* Copy the lines of `text`, giving every key in use a retirement date. */
static bool retire_lines(char *text, struct err *e, const char *path, char *out, size_t *out_n) {
    char now[32];
    snprintf(now, sizeof now, "%lld", (long long)(clock_real_ms() / 1000));
    size_t o = 0;
    for (char *line = text, *next; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) *next++ = '\0';
        size_t n = strcspn(line, "\r");
        while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t')) n--;
        bool use = n > 2 && line[strspn(line, " \t")] != '#' && line[n - 1] == '-' && (line[n - 2] == ' ' || line[n - 2] == '\t');
        if (o + n + sizeof now + 2 > RING_TEXT) return err_set(e, "%s: the key ring is full; take out the oldest keys", path);
        memcpy(out + o, line, use ? n - 1 : n);
        o += use ? n - 1 : n;
        if (use) o += (size_t)snprintf(out + o, sizeof now, "%s", now);
        out[o++] = '\n';
    }
    *out_n = o;
    return true;
}

bool token_ring_rotate(const char *path, struct err *e) {
    char text[RING_TEXT], out[RING_TEXT + 128];
    size_t n = 0, o = 0;
    struct token_ring *r = token_ring_load(path, true, e); /* refuses a damaged ring before anything is rewritten */
    if (r == NULL) return false;
    int id = -1;
    for (int i = 1; i < 256 && id < 0; i++)
        if (r->slot[i] < 0) id = i;
    bool full = r->n == TOKEN_KEYS_MAX || id < 0;
    token_ring_free(r);
    if (full) return err_set(e, "%s: already %d keys; take out the oldest", path, TOKEN_KEYS_MAX);
    bool fine = ring_read(path, text, &n, e) && retire_lines(text, e, path, out, &o);
    size_t added = fine ? new_key_line(out + o, sizeof out - o, (unsigned)id) : 0;
    if (fine && added == 0) fine = err_set(e, "%s: no random bytes for a key", path);
    if (fine) fine = newfile_replace(path, out, o + added, 0600, e);
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(out, sizeof out);
    return fine;
}
