#include "plan/format.h"
#include "plan/bundle.h"
#include "plan/plan_code_i.h"
#include "plan/wire.h"
#include <stdlib.h>
#include <string.h>

#define HEAD       "portreeve-plan "
#define TEXT_OF(n) #n
#define DIGITS(n)  TEXT_OF(n)
const char format_head[] = HEAD DIGITS(FORMAT);

uint64_t format_mix(uint64_t hash, const void *p, size_t n) { /* FNV-1a */
    for (const unsigned char *s = p; n > 0; n--) hash = (hash ^ *s++) * 0x100000001b3u;
    return hash;
}

static uint64_t mix_text(uint64_t hash, const char *s) {
    return format_mix(hash, s, strlen(s) + 1);
}

static uint64_t mix_number(uint64_t hash, uint64_t v) {
    return format_mix(hash, &v, sizeof v);
}

static uint64_t mix_fields(uint64_t hash, const struct fields *f) {
    for (size_t i = 0; i < f->n; i++) {
        hash = mix_number(mix_text(hash, f->of[i].key), (uint64_t)f->of[i].kind);
        if (f->of[i].kind == TEXT || f->of[i].kind == ARRAY) hash = mix_number(hash, f->of[i].size);
        for (const char *const *c = f->of[i].choices; c && *c; c++) hash = mix_text(hash, *c);
    }
    return mix_text(hash, "");
}

uint64_t format_shape(uint64_t seed) {
    uint64_t hash = mix_number(0xcbf29ce484222325u, seed);
    const struct fields *const all[] = {&plan_fields, &plan_cert_fields, &plan_backend_fields, &plan_socket_fields};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) hash = mix_fields(hash, all[i]);
    for (const struct plan_setting_def *d = plan_setting_defs; d->field; d++) hash = mix_text(hash, d->field);
    for (uint32_t bit = 0; bit < 32; bit++) { /* a service is a bit of `services` */
        char name[128];
        plan_services_text(1u << bit, name, sizeof name);
        hash = mix_text(hash, name);
    }
    hash = mix_number(hash, sizeof(struct bundle_file));
    hash = mix_number(hash, sizeof(struct wire_socket) << 16 | sizeof(struct wire_kept));
    return mix_number(hash, (uint64_t)WIRE_TO_ENGINE_END << 16 | WIRE_TO_SUPERVISOR_END);
}

uint32_t format_number(void) {
    return (uint32_t)strtoul(format_head + sizeof HEAD - 1, NULL, 10);
}

bool format_differs(const char *text, size_t n, struct err *e) {
    unsigned theirs = 0;
    size_t at = sizeof HEAD - 1;
    if (n <= at || memcmp(text, HEAD, at) != 0) return err_set(e, "this is no plan of portreeve");
    for (; at < n && text[at] >= '0' && text[at] <= '9' && theirs < 100000; at++) theirs = theirs * 10 + (unsigned)(text[at] - '0');
    return err_set(e, "the plan is of format %u, and this program reads format %u", theirs, (unsigned)format_number());
}
