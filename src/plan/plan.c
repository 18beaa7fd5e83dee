#include "plan/plan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_DEF(field, entry, least, most, dflt, unit, what) {#field, entry, least, most, dflt, unit, what},
const struct plan_setting_def plan_setting_defs[] = {PLAN_SETTINGS(PLAN_DEF){NULL, NULL, 0, 0, 0, NULL, NULL}};
#undef PLAN_DEF

int64_t *plan_setting(struct plan_settings *s, const char *field) {
#define PLAN_FIND(name, ...) \
    if (strcmp(field, #name) == 0) return &s->name;
    PLAN_SETTINGS(PLAN_FIND)
#undef PLAN_FIND
    return NULL;
}

static const struct {
    uint32_t bit;
    const char *name;
} services[] = {
    {SVC_TRACKER, "tracker"},
    {SVC_UI, "ui"},
    {SVC_HUB, "hub"},
    {SVC_OPS, "ops"},
    {SVC_INTERNAL, "internal"},
    {SVC_TRANSFER, "transfer"},
    {SVC_SHUTDOWN, "shutdown"},
    {SVC_TUNNEL, "tunnel"},
    {SVC_TLS_TUNNEL, "tls-tunnel"},
    {SVC_REMOTE_LOG, "remote-log"},
    {SVC_SCRIPT, "script"},
};

const char *const plan_scheme_words[] = {"http", "https", NULL};
const char *const plan_restriction_words[] = {"none", "grant", "deny", NULL};
const char *const plan_client_words[] = {"off", "ask", "require", NULL};
const char *const plan_missing_words[] = {"refuse", "wait", "freebind", NULL};
const char *const plan_proxy_words[] = {"off", "v1", "v2", "any", NULL};
const char *const plan_proxy_out_words[] = {"off", "v1", "v2", NULL};

const char *plan_scheme_text(const struct plan_socket *s) {
    if (s->at.udp) return "udp";
    if (s->services & SVC_SHUTDOWN) return "command";
    if (s->services & SVC_TLS_TUNNEL && s->scheme == SCHEME_HTTP) return "tls-pass";
    if (s->services & ~(uint32_t)SVC_HTTP) return s->scheme == SCHEME_HTTPS ? "tls" : "tcp";
    return plan_scheme_words[s->scheme];
}

uint32_t plan_service_bit(const char *name) {
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        if (strcmp(services[i].name, name) == 0) return services[i].bit;
    return 0;
}

const char *plan_service_name(uint32_t bit) {
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        if (services[i].bit == bit) return services[i].name;
    return "?";
}

void plan_services_text(uint32_t set, char *out, size_t cap) {
    size_t n = 0;
    if (cap == 0) return;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        if (!(set & services[i].bit)) continue;
        size_t len = strlen(services[i].name), need = len + (n ? 1 : 0);
        if (n + need >= cap) return;
        if (n) out[n++] = ',';
        memcpy(out + n, services[i].name, len + 1);
        n += len;
    }
}

void plan_at_text(const struct plan_socket *s, uint16_t port, char out[ADDR_TEXT]) {
    struct addr at = s->at;
    char ip[ADDR_TEXT];
    if (port) at.port = port;
    if (s->zone[0]) {
        addr_format_ip(&at, ip);
        snprintf(out, ADDR_TEXT, "[%.45s%%%s]:%u", ip, s->zone, (unsigned)at.port);
    } else {
        addr_format(&at, out);
    }
}

void plan_state_text(const struct plan_socket *s, bool bound, char out[PLAN_STATE]) {
    char ip[ADDR_TEXT];
    addr_format_ip(&s->at, ip);
    if (s->waiting) snprintf(out, PLAN_STATE, "waiting for %s%s%s", ip, s->zone[0] ? "%" : "", s->zone);
    else if (bound && s->away) snprintf(out, PLAN_STATE, "bound, %s is away", ip);
    else snprintf(out, PLAN_STATE, "%s", bound ? "bound" : "planned");
}

bool plan_has_udp(const struct plan *p) {
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (p->socket[i].at.udp) return true;
    return false;
}

void plan_finish(struct plan *p) {
    if (p->cert) explicit_bzero(p->cert, p->ncerts * sizeof *p->cert);
    free(p->cert);
    free(p->backend);
    free(p->socket);
    texts_finish(&p->texts);
    memset(p, 0, sizeof *p);
}
