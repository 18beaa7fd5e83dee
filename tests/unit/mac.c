#include "svc/mac.h"
#include "unit/tap.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>

static void hex(const uint8_t *p, char out[65]) {
    for (int i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", p[i]);
}

int main(void) {
    struct mac_key k;
    uint8_t sum[32], key20[20];
    char got[65];
    memset(key20, 0x0b, sizeof key20); /* RFC 4231 test cases 1 and 2 */
    mac_prepare(&k, key20, sizeof key20);
    mac_sign(&k, "Hi There", 8, NULL, 0, sum);
    hex(sum, got);
    ok(strcmp(got, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7") == 0, "RFC 4231 case 1: %s", got);
    mac_prepare(&k, (const uint8_t *)"Jefe", 4);
    mac_sign(&k, "what do ya want ", 16, "for nothing?", 12, sum);
    hex(sum, got);
    ok(strcmp(got, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843") == 0, "RFC 4231 case 2, in two parts: %s", got);
    int wrong = 0;
    for (unsigned n = 0; n < 300; n++) { /* every length around the block size, against OpenSSL's own HMAC */
        uint8_t text[300], want[32], key[32];
        unsigned len = 32;
        for (unsigned i = 0; i < n; i++) text[i] = (uint8_t)(i * 7 + n);
        for (unsigned i = 0; i < 32; i++) key[i] = (uint8_t)(i + n);
        mac_prepare(&k, key, 32);
        mac_sign(&k, text, n / 2, text + n / 2, n - n / 2, sum);
        HMAC(EVP_sha256(), key, 32, text, n, want, &len);
        wrong += memcmp(sum, want, 32) != 0;
    }
    ok(wrong == 0, "300 lengths agree with OpenSSL's HMAC (%d differ)", wrong);
    return tap_end();
}
