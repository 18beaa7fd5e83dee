/* Fuzz target: what came first on a TLS socket, as the ClientHello reader sees it. One byte of control (a cut), then the bytes. Whole, cut and
 * byte by byte must agree; what it asks for must be needed; every part must lie in the input, and a name must be fit for logs. */
#include "net/hello.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum hello_result read_first(const uint8_t *data, size_t n, struct hello *h, size_t *need) {
    uint8_t *copy = malloc(n ? n : 1); /* of exact size, for the sanitizer */
    const char *why = NULL;
    if (!copy) abort();
    memcpy(copy, data, n);
    *need = 0;
    enum hello_result r = hello_read(copy, n, h, need, &why);
    struct hello_part *part[] = {&h->ciphers, &h->extensions, &h->alpn, &h->versions, &h->algorithms};
    for (unsigned i = 0; r == HELLO_DONE && i < 5; i++)
        if (part[i]->n && (part[i]->p < copy || part[i]->p + part[i]->n > copy + n)) abort();
    if (r == HELLO_MORE && (*need <= n || *need > HELLO_MOST)) abort();
    if (r == HELLO_BAD && !*why) abort();
    free(copy);
    return r;
}

static void sane(const struct hello *h) {
    size_t n = strlen(h->sni);
    if (n && (n > 253 || h->sni[0] == '.' || h->sni[n - 1] == '.')) abort();
    for (size_t i = 0; i < n; i++)
        if (!(isalnum((unsigned char)h->sni[i]) || strchr("-_.", h->sni[i])) || isupper((unsigned char)h->sni[i])) abort();
    if (h->version >> 8 != 3 || h->ciphers.n < 2 || h->ciphers.n % 2) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hello whole, part;
    size_t need, sure = 0;
    if (size < 1 || size > 4096) return 0;
    data++;
    size--;
    enum hello_result r = read_first(data, size, &whole, &need), got = HELLO_MORE;
    if (r == HELLO_DONE) sane(&whole);
    size_t step = size > 512 ? data[-1] + 1u : 1;
    for (size_t n = 0; got == HELLO_MORE && n < size; n += step) {
        got = read_first(data, n, &part, &need);
        if (got == HELLO_DONE && n < sure) abort(); /* it had said that so much would be needed */
        if (got == HELLO_MORE && need > sure) sure = need;
        if (got == HELLO_DONE && (r != HELLO_DONE || strcmp(part.sni, whole.sni) != 0 || part.extensions.n != whole.extensions.n)) abort();
        if (got == HELLO_BAD && r != HELLO_BAD) abort();
    }
    return 0;
}
