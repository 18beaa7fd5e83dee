/* Session ticket keys: made at random, replaced after 12 hours of use, gone after 24 (reliability.md "Posture"). A ticket made with the
 * older key still resumes and gets a new one. Keys of an old generation die with it: its clients shake hands once more. */
#include "base/clock.h"
#include "net/tls_ctx.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RENEW_MS (12ll * 3600 * 1000)
#define GONE_MS  (24ll * 3600 * 1000)

struct ticket_key {
    uint8_t name[16], aes[32], mac[32];
    int64_t born_ms;
    bool live;
};
struct tls_tickets {
    pthread_mutex_t lock;
    struct ticket_key now, before;
};

struct tls_tickets *tls_tickets_create(void) {
    struct tls_tickets *t = calloc(1, sizeof *t);
    if (t != NULL) pthread_mutex_init(&t->lock, NULL);
    return t;
}

void tls_tickets_free(struct tls_tickets *t) {
    if (t == NULL) return;
    pthread_mutex_destroy(&t->lock);
    OPENSSL_cleanse(t, sizeof *t);
    free(t);
}

static bool fresh(struct ticket_key *k, int64_t now) {
    k->live = RAND_bytes(k->name, sizeof k->name) == 1 && RAND_priv_bytes(k->aes, sizeof k->aes) == 1 &&
              RAND_priv_bytes(k->mac, sizeof k->mac) == 1;
    k->born_ms = now;
    return k->live;
}

static void age(struct tls_tickets *t, int64_t now) {
    if (t->now.live && now - t->now.born_ms >= RENEW_MS) {
        t->before = t->now;
        OPENSSL_cleanse(&t->now, sizeof t->now);
    }
    if (t->before.live && now - t->before.born_ms >= GONE_MS) OPENSSL_cleanse(&t->before, sizeof t->before);
}

/* A copy of the key to seal with, or of the one with that name. 0 = none, 1 = the newest, 2 = the one before, -1 = no random bytes. */
static int key_for(struct tls_tickets *t, const uint8_t *name, struct ticket_key *out) {
    int64_t now = clock_mono_ms();
    int which = 0;
    pthread_mutex_lock(&t->lock);
    age(t, now);
    if (name == NULL) {
        which = t->now.live || fresh(&t->now, now) ? 1 : -1;
    } else if (t->now.live && memcmp(name, t->now.name, sizeof t->now.name) == 0) {
        which = 1;
    } else if (t->before.live && memcmp(name, t->before.name, sizeof t->before.name) == 0) {
        which = 2;
    }
    if (which == 1) *out = t->now;
    if (which == 2) *out = t->before;
    pthread_mutex_unlock(&t->lock);
    return which;
}

static bool key_mac(EVP_MAC_CTX *mac, struct ticket_key *k) {
    char digest[] = "SHA256";
    OSSL_PARAM p[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof k->mac),
                      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, p) == 1;
}

/* OpenSSL's contract: seal 1 = done, -1 = fault; open 0 = unknown key, 1 = fine, 2 = fine, send a new ticket. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal) {
    struct tls_tickets *t = tls_tickets_of(ssl);
    struct ticket_key k;
    int which = t == NULL ? 0 : key_for(t, seal ? NULL : name, &k);
    if (which <= 0) return seal ? -1 : 0;
    bool fine;
    if (seal) {
        memcpy(name, k.name, sizeof k.name);
        fine = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
               EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1 && key_mac(mac, &k);
    } else {
        fine = key_mac(mac, &k) && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.aes, iv) == 1;
    }
    OPENSSL_cleanse(&k, sizeof k);
    return fine ? which : -1;
}

void tls_tickets_use(SSL_CTX *ctx) {
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}
