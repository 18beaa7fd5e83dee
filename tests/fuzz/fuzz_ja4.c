/* A ClientHello as OpenSSL hands it over, before it has looked at it: whatever the bytes, what is read of them is text that fits. */
#include "net/tls_hello.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 5 && data[0] == 0x16) data += 5, size -= 5; /* seeds come in a record */
    uint8_t *copy = malloc(size ? size : 1);               /* so that a byte too far is seen */
    memcpy(copy, data, size);
    struct tls_hello h;
    bool whole = tls_hello_parse(copy, size, &h);
    if (!memchr(h.sni, '\0', sizeof h.sni) || !memchr(h.alpn, '\0', sizeof h.alpn) || (whole && strlen(h.ja4) != 36)) abort();
    free(copy);
    return 0;
}
