#include "engine/firewall.h"
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define NAMED 8 /* ranges of a list that a sentence spells out */

static void place(const struct firewall_rule *r, char out[ADDR_TEXT]) {
    plan_at_text(r->socket, r->port, out);
}

static bool because(const struct plan_because *b, struct buf *out) {
    char line[16] = "";
    if (b->line) snprintf(line, sizeof line, ":%" PRIu32, b->line);
    return buf_fmt(out, "%s%s%s%s", b->file[0] ? b->file : "built-in default", line, b->entry[0] ? " " : "", b->entry);
}

/* "10.0.0.0/8, 192.0.2.1" */
static bool sources(const struct firewall_list *l, uint32_t most, struct buf *out) {
    if (l->long_list) return buf_fmt(out, "more than %u ranges", FIREWALL_SOURCES);
    if (l->n == 0) return buf_str(out, "loopback addresses only");
    bool good = true;
    for (uint32_t i = 0; good && i < l->n && i < most; i++) good = buf_str(out, i ? ", " : "") && firewall_range(&l->range[i], out);
    return good && (l->n <= most || buf_fmt(out, " and %" PRIu32 " more", l->n - most));
}

/* ---- text ---- */

static bool rule_line(const struct firewall_rule *r, struct buf *out) {
    const struct plan_socket *s = r->socket;
    char at[ADDR_TEXT], services[128];
    place(r, at);
    plan_services_text(s->services, services, sizeof services);
    bool good = buf_fmt(out, "  %s %s%s  %s: %s; ", s->at.udp ? "udp" : "tcp", at,
                        addr_is_any(&s->at)
                            ? (s->at.family == 6 ? " (every IPv6 address of this machine)" : " (every IPv4 address of this machine)")
                            : "",
                        s->name, services) &&
                because(&s->because, out);
    if (good && r->who == WHO_LISTED) good = buf_fmt(out, "; from list %s: ", r->list->name) && sources(r->list, NAMED, out);
    else if (good && r->list) good = buf_fmt(out, "; Portreeve itself turns list %s away", r->list->name);
    if (good && s->waiting) good = buf_str(out, "; its address is not here yet");
    return good && buf_str(out, "\n");
}

static bool part(const struct firewall *f, enum firewall_who who, const char *head, struct buf *out) {
    bool good = true, said = false;
    for (uint32_t i = 0; good && i < f->n; i++) {
        if (f->rule[i].who != who) continue;
        if (!said) good = buf_fmt(out, "%s\n", head);
        said = true;
        good = good && rule_line(&f->rule[i], out);
    }
    return good;
}

static bool nobody(const struct firewall *f, struct buf *out) {
    bool good = true, said = false;
    for (uint32_t i = 0; good && i < f->n; i++) {
        char at[ADDR_TEXT];
        if (f->rule[i].who != WHO_NOBODY) continue;
        if (!said) good = buf_str(out, "Need no rule:\n");
        said = true;
        place(&f->rule[i], at);
        good = good && buf_fmt(out, "  %s  %s: %s\n", at, f->rule[i].socket->name, f->rule[i].why);
    }
    return good;
}

/* An address and port to show a NAT rule with: the first that outsiders must reach. */
static const struct firewall_rule *example(const struct firewall *f) {
    for (uint32_t i = 0; i < f->n; i++)
        if (f->rule[i].who < WHO_LISTED) return &f->rule[i];
    return NULL;
}

static bool notes(const struct firewall *f, struct buf *out) {
    const struct firewall_rule *r = example(f);
    char at[ADDR_TEXT];
    bool pages = false, good = true;
    for (uint32_t i = 0; i < f->n; i++) pages |= f->rule[i].who != WHO_NOBODY && (f->rule[i].socket->services & (SVC_UI | SVC_HUB));
    if (pages)
        good = buf_str(out, "Pages of hub and ui are answered only to list admin (") && sources(f->admin, NAMED, out) &&
               buf_str(out, "), whoever may reach their port.\n");
    if (good && r) {
        if (addr_is_any(&r->socket->at)) snprintf(at, sizeof at, "this machine's own address, port %u", (unsigned)r->port);
        else place(r, at);
        good = buf_fmt(out,
                       "Behind a NAT or a firewall that forwards: a rule must send PUBLIC-ADDRESS:%u to %s; without it the request is "
                       "refused. URLs (UrlForRecipients of lui.ini\n"
                       "and the hub's URL settings) then name the public address and port, tomcat.ini and listeners.ini the private one.\n",
                       (unsigned)r->port, at);
    }
    return good && buf_str(out, "Outbound connections are mostly open; what is listed here is inbound and must be opened. `--nft` prints "
                                "it for nftables.\n");
}

bool firewall_text(const struct firewall *f, struct buf *out) {
    return part(f, WHO_EVERYBODY,
                "Everybody outside must reach, or opens, clicks and unsubscribes are lost and tracking does not work at all:", out) &&
           part(f, WHO_USERS, "The users of hub and ui must reach:", out) &&
           part(f, WHO_WATCHERS, "Whoever watches this server must reach:", out) &&
           part(f, WHO_LISTED, "Only the addresses of a list may reach, nobody else needs to:", out) && nobody(f, out) && notes(f, out);
}

/* ---- nftables ---- */

static bool nft_sources(const struct firewall_list *l, uint8_t family, uint32_t *n, struct buf *out) {
    bool good = true;
    *n = 0;
    for (uint32_t i = 0; good && i < l->n; i++) {
        if (l->range[i].lo.family != family) continue;
        good = buf_str(out, *n ? ", " : "") && firewall_range(&l->range[i], out);
        ++*n;
    }
    return good;
}

static bool nft_rule(const struct firewall_rule *r, struct buf *out) {
    const struct plan_socket *s = r->socket;
    const char *ip = s->at.family == 6 ? "ip6" : "ip";
    char text[ADDR_TEXT], services[128], interface[IF_NAMESIZE] = "";
    struct addr bare = s->at;
    struct buf from = {0};
    uint32_t n = 0;
    bool good = true;
    bare.scope = 0;
    addr_format_ip(&bare, text);
    plan_services_text(s->services, services, sizeof services);
    if (s->zone[0]) snprintf(interface, sizeof interface, "%s", s->zone);
    else if (s->at.scope) (void)if_indextoname(s->at.scope, interface);
    if (r->who == WHO_LISTED && r->list->long_list)
        good = buf_fmt(out, "        # list %s is too long to repeat: Portreeve itself turns all others away\n", r->list->name);
    else if (r->who == WHO_LISTED) good = nft_sources(r->list, s->at.family, &n, &from);
    if (good && r->who == WHO_LISTED && !r->list->long_list && n == 0) { /* the list speaks of the other family only */
        buf_free(&from);
        return true;
    }
    good = good && buf_str(out, "        ");
    if (good && interface[0]) good = buf_fmt(out, "iifname \"%s\" ", interface);
    if (good && addr_is_any(&s->at)) good = buf_fmt(out, "meta nfproto %s ", s->at.family == 6 ? "ipv6" : "ipv4");
    else good = good && buf_fmt(out, "%s daddr %s ", ip, text);
    if (good && n) good = buf_fmt(out, "%s saddr { ", ip) && buf_add(out, from.p, from.n) && buf_str(out, " } ");
    buf_free(&from);
    return good && buf_fmt(out, "%s dport %u accept comment \"portreeve %s: %.40s\"\n", s->at.udp ? "udp" : "tcp", (unsigned)r->port,
                           s->name, services);
}

bool firewall_nft(const struct firewall *f, struct buf *out) {
    bool good = buf_str(
        out,
        "# Inbound rules of portreeve, made by `portreeve plan --firewall --nft`. Load with `nft -f`, as often as you like, and in your\n"
        "# input chain write: jump portreeve\n"
        "add table inet filter\n"
        "add chain inet filter portreeve\n"
        "flush chain inet filter portreeve\n"
        "table inet filter {\n    chain portreeve {\n");
    for (uint32_t i = 0; good && i < f->n; i++)
        if (f->rule[i].who != WHO_NOBODY) good = nft_rule(&f->rule[i], out);
    return good && buf_str(out, "    }\n}\n");
}

/* ---- JSON ---- */

static bool json_head(const struct firewall_rule *r, struct buf *out) {
    char ip[ADDR_TEXT];
    addr_format_ip(&r->socket->at, ip);
    return buf_member(out, "address", ip) &&
           buf_fmt(out, ",\"transport\":\"%s\",\"port\":%u", r->socket->at.udp ? "udp" : "tcp", (unsigned)r->port) &&
           buf_member(out, "listener", r->socket->name);
}

static bool json_sources(const struct firewall_rule *r, struct buf *out) {
    const struct firewall_list *l = r->who == WHO_LISTED ? r->list : NULL;
    bool good = buf_member(out, "list", l ? l->name : "") && buf_str(out, ",\"sources\":");
    if (good && (!l || l->long_list)) return buf_str(out, "null");
    good = good && buf_str(out, "[");
    for (uint32_t i = 0; good && i < l->n; i++)
        good = buf_str(out, i ? ",\"" : "\"") && firewall_range(&l->range[i], out) && buf_str(out, "\"");
    return good && buf_str(out, "]");
}

bool firewall_json(const struct firewall *f, struct buf *out) {
    static const char *const who[] = {"everybody", "users", "watchers", "listed"};
    bool good = buf_str(out, "{\"rules\":["), first = true;
    for (uint32_t i = 0; good && i < f->n; i++) {
        const struct firewall_rule *r = &f->rule[i];
        char services[128];
        if (r->who == WHO_NOBODY) continue;
        plan_services_text(r->socket->services, services, sizeof services);
        good = buf_str(out, first ? "\n {" : ",\n {") && json_head(r, out) && buf_fmt(out, ",\"who\":\"%s\"", who[r->who]) &&
               buf_member(out, "services", services) && json_sources(r, out) && buf_str(out, "}");
        first = false;
    }
    good = good && buf_str(out, "],\"none\":[");
    first = true;
    for (uint32_t i = 0; good && i < f->n; i++) {
        if (f->rule[i].who != WHO_NOBODY) continue;
        good = buf_str(out, first ? "\n {" : ",\n {") && json_head(&f->rule[i], out) && buf_member(out, "why", f->rule[i].why) &&
               buf_str(out, "}");
        first = false;
    }
    return good && buf_str(out, "]}\n");
}
