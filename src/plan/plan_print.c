/* The plan for people (a table) and for scripts (JSON). Secrets never pass through here: certificates are named, not shown. */
#include "plan/plan.h"
#include "plan/proof.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { COL_ADDRESS, COL_STATE, COL_SCHEME, COL_SERVICES, COL_CERT, COL_LISTENER, COL_ROW, COL_WHY, COLS };
#define CELL (PLAN_PATH * 2 + PLAN_SHOWN + PLAN_NAME + 32)
static const char *const heads[COLS] = {"ADDRESS", "STATE", "SCHEME", "SERVICES", "CERTIFICATE", "LISTENER", "ROW", "BECAUSE"};

static uint16_t port_of(const struct plan *p, const struct plan_view *v, uint32_t i) {
    return v && v->port && v->port[i] ? v->port[i] : p->socket[i].at.port;
}

static void state_of(const struct plan *p, const struct plan_view *v, uint32_t i, char out[PLAN_SHOWN]) {
    if (v && v->state && v->state[i][0]) snprintf(out, PLAN_SHOWN, "%s", v->state[i]);
    else plan_state_text(&p->socket[i], v && v->port, out);
}

static void why(const struct plan_because *b, char *out, size_t cap) {
    const char *file = b->file[0] ? b->file : "built-in default";
    char line[16] = "";
    if (b->line) snprintf(line, sizeof line, ":%" PRIu32, b->line);
    snprintf(out, cap, "%s%s%s%s%s%s%s", file, line, b->entry[0] ? " " : "", b->entry, b->policy[0] ? " (" : "", b->policy,
             b->policy[0] ? ")" : "");
}

static void services_cell(const struct plan *p, const struct plan_socket *s, char out[CELL]) {
    plan_services_text(s->services, out, CELL);
    if (!s->backends[0]) return;
    size_t n = strlen(out);
    n += (size_t)snprintf(out + n, CELL - n, " to ");
    plan_backends_text(p, s->backends, out + n, CELL - n);
}

static void cell(const struct plan *p, const struct plan_view *v, uint32_t i, int col, char out[CELL]) {
    const struct plan_socket *s = &p->socket[i];
    out[0] = '\0';
    switch (col) {
    case COL_ADDRESS: plan_at_text(s, port_of(p, v, i), out); break;
    case COL_STATE: state_of(p, v, i, out); break;
    case COL_SCHEME:
        snprintf(out, CELL, "%s%s%s%s%s", plan_scheme_text(s), s->external_tls ? " (TLS in front)" : "", s->proxy ? " (PROXY " : "",
                 s->proxy ? plan_proxy_words[s->proxy] : "", s->proxy ? ")" : "");
        break;
    case COL_SERVICES: services_cell(p, s, out); break;
    case COL_CERT: snprintf(out, CELL, "%s", s->certificate[0] ? s->certificate : "-"); break;
    case COL_LISTENER: snprintf(out, CELL, "%s", s->name); break;
    case COL_ROW: snprintf(out, CELL, "%s", s->because.row[0] ? s->because.row : "-"); break;
    default: why(&s->because, out, CELL); break;
    }
}

/* The column of states is only worth its room where one of them is not the usual. */
static bool any_special(const struct plan *p) {
    for (uint32_t i = 0; i < p->nsockets; i++)
        if (p->socket[i].waiting || p->socket[i].away) return true;
    return false;
}

bool plan_print(const struct plan *p, const struct plan_view *v, struct buf *out) {
    size_t width[COLS];
    char text[CELL];
    bool states = any_special(p) || (v && v->state);
    for (int c = 0; c < COLS; c++) {
        width[c] = strlen(heads[c]);
        for (uint32_t i = 0; i < p->nsockets; i++) {
            cell(p, v, i, c, text);
            if (strlen(text) > width[c]) width[c] = strlen(text);
        }
    }
    for (uint32_t i = 0; i <= p->nsockets; i++)
        for (int c = 0; c < COLS; c++) {
            if (c == COL_STATE && !states) continue;
            if (i == 0) snprintf(text, sizeof text, "%s", heads[c]);
            else cell(p, v, i - 1, c, text);
            bool good = c == COLS - 1 ? buf_fmt(out, "%s\n", text) : buf_fmt(out, "%-*s  ", (int)width[c], text);
            if (!good) return false;
        }
    return true;
}

static bool json_services(struct buf *out, uint32_t services) {
    bool good = buf_str(out, ",\"services\":["), first = true;
    for (uint32_t bit = 1; bit && good; bit <<= 1) {
        if (!(services & bit)) continue;
        good = buf_fmt(out, "%s\"%s\"", first ? "" : ",", plan_service_name(bit));
        first = false;
    }
    return good && buf_str(out, "]");
}

static bool json_rates(struct buf *out, const struct plan_socket *s) {
    bool good = buf_str(out, ",\"rates\":{"), first = true;
    for (unsigned i = 0; good && i < PLAN_RATES; i++) {
        if (!s->rate[i].n) continue;
        good = buf_fmt(out, "%s\"%s\":{\"number\":%" PRIu32 ",\"ms\":%" PRIu32 "}", first ? "" : ",",
                       plan_limit_name((enum plan_limit)(LIMIT_RATES + i)), s->rate[i].n, s->rate[i].ms);
        first = false;
    }
    return good &&
           buf_fmt(out, "},\"prefix\":{\"ipv4\":%u,\"ipv6\":%u,\"net_ipv4\":%u,\"net_ipv6\":%u},\"give_way\":%s", plan_bits(s, 4, false),
                   plan_bits(s, 6, false), plan_bits(s, 4, true), plan_bits(s, 6, true), s->give_way ? "true" : "false");
}

static bool json_limits(struct buf *out, const struct plan_socket *s) {
    static const char *const names[] = {"None", "Grant", "Deny"};
    return buf_fmt(out, ",\"restriction\":\"%s\"", names[s->restriction]) && buf_member(out, "list", s->list) &&
           buf_fmt(out, ",\"max_connections\":%" PRIu32 ",\"max_per_address\":%" PRIu32 ",\"reserve\":%" PRIu32 ",\"backlog\":%" PRIu32,
                   s->max_connections, s->max_per_address, s->reserve, s->backlog) &&
           json_rates(out, s);
}

/* "backend": where those go who ask for no name that is known; "backends": by name. */
static bool json_backends(struct buf *out, const struct plan *p, const struct plan_socket *s) {
    const struct plan_backend *d = s->backends[0] ? plan_backend_for(p, s->backends, "") : NULL;
    bool good = buf_member(out, "backend", d ? d->to : "") && buf_str(out, ",\"backends\":{");
    for (uint32_t i = 0; good && s->backends[0] && i < p->nbackends; i++) {
        const struct plan_backend *b = &p->backend[i];
        if (!b->sni[0] || strcmp(b->set, s->backends) != 0) continue;
        good = buf_member(out, b->sni, b->to);
    }
    return good && buf_fmt(out, "},\"proxy_out\":\"%s\"", plan_proxy_out_words[s->proxy_out]);
}

bool plan_json_because(const struct plan_because *b, struct buf *out) {
    return buf_str(out, ",\"because\":{") && buf_member(out, "file", b->file) && buf_fmt(out, ",\"line\":%" PRIu32, b->line) &&
           buf_member(out, "entry", b->entry) && buf_member(out, "row", b->row) && buf_member(out, "policy", b->policy) &&
           buf_str(out, "}");
}

bool plan_json_socket(const struct plan *p, const struct plan_view *v, uint32_t i, struct buf *out) {
    const struct plan_socket *s = &p->socket[i];
    const struct proof *proof = v ? v->proof : NULL;
    char ip[ADDR_TEXT + PLAN_ZONE], state[PLAN_SHOWN];
    addr_format_ip(&s->at, ip);
    if (s->zone[0]) snprintf(ip + strlen(ip), PLAN_ZONE + 1, "%%%s", s->zone);
    state_of(p, v, i, state);
    return buf_str(out, "{") && buf_member(out, "name", s->name) && buf_member(out, "address", ip) &&
           buf_fmt(out, ",\"when_missing\":\"%s\",\"waiting\":%s", plan_missing_words[s->when_missing], s->waiting ? "true" : "false") &&
           buf_member(out, "state", state) &&
           buf_fmt(out, ",\"port\":%u,\"transport\":\"%s\",\"scheme\":\"%s\",\"external_tls\":%s,", (unsigned)port_of(p, v, i),
                   s->at.udp ? "udp" : "tcp", plan_scheme_text(s), s->external_tls ? "true" : "false") &&
           buf_fmt(out, "\"proxy\":\"%s\",\"proxy_inside\":%s", plan_proxy_words[s->proxy], s->proxy_inside ? "true" : "false") &&
           buf_member(out, "proxy_from", s->proxy_from) && buf_member(out, "certificate", s->certificate) &&
           buf_fmt(out, ",\"client_certificate\":\"%s\"", plan_client_words[s->client]) && json_services(out, s->services) &&
           buf_member(out, "script", s->script) && json_limits(out, s) && json_backends(out, p, s) &&
           (!proof || (buf_str(out, ",") && proof_json(&proof[i], out))) && plan_json_because(&s->because, out) && buf_str(out, "}");
}

bool plan_json(const struct plan *p, const struct plan_view *v, struct buf *out) {
    if (!buf_str(out, "[")) return false;
    for (uint32_t i = 0; i < p->nsockets; i++)
        if ((i && !buf_str(out, ",\n ")) || !plan_json_socket(p, v, i, out)) return false;
    return buf_str(out, "]\n");
}
