#include "engine/firewall.h"
#include "engine/states.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists ---- */

static bool all_loopback(const struct addr *lo, const struct addr *hi) {
    return addr_is_loopback(lo) && addr_is_loopback(hi);
}

static bool take_range(void *ctx, const struct addr *lo, const struct addr *hi) {
    struct firewall_list *l = ctx;
    if (all_loopback(lo, hi)) return true;
    if (l->n == FIREWALL_SOURCES) {
        l->long_list = true;
        l->n = 0;
        return false;
    }
    if ((l->n & (l->n - 1)) == 0) {
        struct range *more = reallocarray(l->range, l->n ? (size_t)l->n * 2 : 1, sizeof *more);
        if (!more) {
            l->long_list = true;
            l->n = 0;
            return false;
        }
        l->range = more;
    }
    l->range[l->n++] = (struct range){.lo = *lo, .hi = *hi};
    return true;
}

/* Lists of one name are one; there are never more lists than sockets and one, so the array does not move. */
static const struct firewall_list *list_of(struct firewall *f, const struct planner *p, const char *name) {
    for (uint32_t i = 0; i < f->nlists; i++)
        if (strcmp(f->list[i].name, name) == 0) return &f->list[i];
    struct firewall_list *l = &f->list[f->nlists++];
    snprintf(l->name, sizeof l->name, "%s", name);
    const struct pset *set = planner_set(p, name);
    if (set) pset_each(set, take_range, l);
    return l;
}

/* ---- rules ---- */

/* IPv4 ranges let nobody in over IPv6, nor the other way round. Of a long list nobody knows here. */
static bool has_family(const struct firewall_list *l, int family) {
    for (uint32_t i = 0; i < l->n; i++)
        if (l->range[i].lo.family == family) return true;
    return l->long_list;
}

static void judge(struct firewall *f, const struct planner *p, struct firewall_rule *r) {
    const struct plan_socket *s = r->socket;
    bool loopback = addr_is_loopback(&s->at);
    if (s->proxy) /* its callers are the devices: the restriction is for those behind them */
        r->list = list_of(f, p, s->proxy_from);
    else if (s->restriction != RESTRICT_NONE) r->list = list_of(f, p, s->list);
    if (s->proxy || s->restriction == RESTRICT_GRANT) r->who = WHO_LISTED;
    else if (s->services & SVC_TRACKER) r->who = WHO_EVERYBODY;
    else if (s->services & (SVC_UI | SVC_HUB)) r->who = WHO_USERS;
    else r->who = WHO_WATCHERS;
    if (loopback) r->why = "loopback: only programs of this machine can call it";
    else if (r->port == 0) r->why = "its port is not chosen yet: give it one";
    else if (r->who == WHO_LISTED && r->list->n == 0 && !r->list->long_list)
        r->why = "its list holds no address beyond loopback: only programs of this machine may call it";
    else if (r->who == WHO_LISTED && !has_family(r->list, s->at.family))
        r->why = s->at.family == 6 ? "its list holds no IPv6 address" : "its list holds no IPv4 address";
    if (r->why) r->who = WHO_NOBODY;
}

bool firewall_show(const struct planner *p, const struct running *r, enum firewall_form form, struct buf *out) {
    uint32_t n = p->plan.nsockets;
    struct firewall f = {.rule = calloc(n ? n : 1, sizeof *f.rule), .n = n, .list = calloc((size_t)n + 1, sizeof *f.list)};
    struct states bound = {0};
    bool good = f.rule && f.list && states_make(&p->plan, r, &bound);
    for (uint32_t i = 0; good && i < n; i++) {
        const struct plan_socket *s = &p->plan.socket[i];
        f.rule[i] = (struct firewall_rule){.socket = s, .port = bound.port[i] ? bound.port[i] : s->at.port};
        judge(&f, p, &f.rule[i]);
    }
    states_finish(&bound);
    if (good) f.admin = list_of(&f, p, "admin");
    good = good && (form == FIREWALL_NFT ? firewall_nft : form == FIREWALL_JSON ? firewall_json : firewall_text)(&f, out);
    for (uint32_t i = 0; i < f.nlists; i++) free(f.list[i].range);
    free(f.list);
    free(f.rule);
    return good;
}

/* ---- a range as people write it ---- */

/* Bits that lo and hi share, when lo ends in zeros and hi in ones behind them; -1 = no prefix. */
static int prefix_of(const struct range *r) {
    int bits = r->lo.family == 6 ? 128 : 32, same = 0;
    const uint8_t *a = r->lo.ip, *b = r->hi.ip;
    while (same < bits && ((a[same / 8] ^ b[same / 8]) >> (7 - same % 8) & 1) == 0) same++;
    for (int i = same; i < bits; i++) {
        int x = a[i / 8] >> (7 - i % 8) & 1, y = b[i / 8] >> (7 - i % 8) & 1;
        if (x != 0 || y != 1) return -1;
    }
    return same;
}

bool firewall_range(const struct range *r, struct buf *out) {
    char lo[ADDR_TEXT], hi[ADDR_TEXT];
    int bits = r->lo.family == 6 ? 128 : 32, prefix = prefix_of(r);
    addr_format_ip(&r->lo, lo);
    addr_format_ip(&r->hi, hi);
    if (prefix == bits) return buf_str(out, lo);
    return prefix >= 0 ? buf_fmt(out, "%s/%d", lo, prefix) : buf_fmt(out, "%s-%s", lo, hi);
}
