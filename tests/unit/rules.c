/* Rules of admission: what C says is what the same list says in Lua (random policies, random callers); the borders of G24 to G27 under threads. */
#include "gate/rules.h"
#include "base/clock.h"
#include "script/hooks_i.h"
#include "unit/tap.h"
#include <lua5.4/lauxlib.h>
#include <pthread.h>
#include <stdlib.h>

static uint64_t seed = 0x9e3779b97f4a7c15ull;
static uint32_t dice(uint32_t n) { /* 0 … n - 1 */
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % n;
}

/* ---- lists ---- */

#define LISTS 6
static struct lists lists;
static struct pset *sets[LISTS];

static struct addr four(unsigned a, unsigned b) {
    return (struct addr){.family = 4, .ip = {192, 0, (uint8_t)a, (uint8_t)b}};
}

static const char *const list_name[LISTS] = {"denied", "clients", "cluster", "office", "foes", "empty"};

static void drop_lists(void) {
    lists_finish(&lists);
    for (unsigned i = 0; i < LISTS; i++) pset_destroy(sets[i]);
}

/* random: six lines each, the last list empty. Else only `clients` has somebody: 192.0.2.3. */
static void make_lists(bool random) {
    struct err e;
    drop_lists();
    for (unsigned i = 0; i < LISTS; i++) {
        struct pset_builder *b = pset_builder_create();
        char display[80];
        snprintf(display, sizeof display, "conf/lists/%s.list", list_name[i]);
        int source = pset_builder_source(b, display, NULL);
        for (unsigned line = 1; random && i + 1 < LISTS && line <= 6; line++) {
            struct addr lo = four(2, dice(16)), hi = four(2, lo.ip[3] + dice(4));
            pset_add(b, &lo, &hi, dice(4) != 0, (unsigned)source, line);
        }
        struct addr client = four(2, 3);
        if (!random && i == 1) pset_add(b, &client, &client, true, (unsigned)source, 1);
        sets[i] = pset_build(b);
        lists_add(&lists, list_name[i], sets[i], &e);
        pset_builder_destroy(b);
    }
}

/* ---- random policies, as people write them ---- */

static const char *list_word(void) {
    return list_name[dice(LISTS)];
}

static void add(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void add(char *out, size_t cap, const char *fmt, ...) {
    size_t n = strlen(out);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out + n, cap - n, fmt, ap);
    va_end(ap);
}

static const char *options(void) {
    static char o[200];
    o[0] = '\0';
    if (dice(3)) return "{}";
    add(o, sizeof o, "{");
    if (dice(2)) add(o, sizeof o, " except = \"%s\",", list_word());
    if (dice(3) == 0) add(o, sizeof o, " listed = \"%s\",", list_word());
    if (dice(4) == 0) add(o, sizeof o, " listener = { \"http\", \"b\" },");
    if (dice(4) == 0) add(o, sizeof o, " reset = true,");
    else if (dice(4) == 0) add(o, sizeof o, " answer = \"go away\", status = %u,", 400 + dice(100));
    add(o, sizeof o, " }");
    return o;
}

static void random_rule(char *out, size_t cap) {
    static const char *const services[] = {"tracker", "ui", "hub", "tracker,hub"};
    switch (dice(15)) {
    case 0: add(out, cap, "  rule.refuse_listed(\"%s\", %s),\n", list_word(), options()); break;
    case 1: add(out, cap, "  rule.only_listed(\"%s\", %s),\n", list_word(), options()); break;
    case 2: add(out, cap, "  rule.clients_only(\"%s\", %s),\n", list_word(), options()); break;
    case 3: add(out, cap, "  rule.allow(\"%s\", %s),\n", list_word(), options()); break;
    case 4: add(out, cap, "  rule.refuse(%s),\n", "{ listed = \"foes\", except = \"clients\" }"); break;
    case 5: add(out, cap, "  rule.restriction(%s),\n", options()); break;
    case 6: add(out, cap, dice(2) ? "  rule.per_address(nil, %s),\n" : "  rule.per_address(4, %s),\n", options()); break;
    case 7: add(out, cap, dice(2) ? "  rule.maximum(nil, %s),\n" : "  rule.maximum(11, %s),\n", options()); break;
    case 8:
        add(out, cap, dice(2) ? "  rule.reserve(\"%s\", nil, %s),\n" : "  rule.reserve(\"%s\", 3, %s),\n", list_word(), options());
        break;
    case 9: add(out, cap, "  rule.tag(\"t%u\", %s),\n", dice(12), options()); break;
    case 10: add(out, cap, "  rule.only(\"%s\", %s),\n", services[dice(4)], options()); break;
    case 11: add(out, cap, "  rule.delay(%u, %s),\n", 1 + dice(20000), options()); break;
    case 12: /* several verdicts, and holes among them */
        add(out, cap,
            "  rule.at(\"peer\", function(f) return f.active %% 2 == 0 and verdict.tag \"even\" or nil, verdict.tag \"b\", verdict.delay(%u), "
            "verdict.only \"tracker,hub\", f.active %% 3 == %u and verdict.refuse(\"policy\", \"fifth\") or nil end, %s),\n",
            dice(9), dice(5), options());
        break;
    case 13: /* mixed: Lua among them */
        add(out, cap,
            "  rule.at(\"peer\", function(f) if f.active_from_address > %u and f.listener == \"other\" then return verdict.reset(\"policy\", f.address) end end),\n",
            dice(7));
        break;
    default:
        add(out, cap,
            "  rule.at(\"peer\", function(f) if f.active %% 5 == %u then return verdict.tag \"five\", verdict.delay(7), nil end end, %s),\n",
            dice(5), options());
        break;
    }
}

static void random_policy(char *out, size_t cap) {
    snprintf(
        out, cap,
        "local admission = require \"portreeve.admission\"\nlocal rule, verdict = admission.rule, admission.verdict\nreturn admission.rules {\n");
    for (unsigned i = 0, n = dice(9); i < n; i++) random_rule(out, cap);
    add(out, cap, "}\n");
}

/* ---- what both say ---- */

static void random_caller(struct facts *f, struct plan_socket *s) {
    static const char *const list[] = {"office", "foes", "empty"};
    memset(s, 0, sizeof *s);
    s->name = dice(2) ? "http" : "other";
    s->restriction = (enum plan_restriction)dice(3);
    s->list = s->restriction != RESTRICT_NONE ? list[dice(3)] : "";
    s->max_connections = dice(3) ? 5 + dice(10) : 0;
    s->max_per_address = dice(3) ? 1 + dice(6) : 0;
    s->reserve = dice(8);
    s->services = SVC_TRACKER | SVC_UI | SVC_HUB;
    *f = (struct facts){.stage = STAGE_PEER, .remote = four(2, dice(24)), .fd = -1, .listener = s, .lists = &lists};
    f->counts = (struct ticket_counts){.active = 1 + dice(16), .from_address = dice(20) ? 1 + dice(7) : UINT32_MAX};
}

struct bench {
    struct vm *vm;
    struct hooks h; /* as a worker has it, without the parts that judging does not use */
    struct policy_health health;
};

static const char *const teller =
    "local admit, f = ... local v, more = admit(f)\n"
    "local only = {} for _, n in ipairs { 'tracker', 'ui', 'hub' } do if not more.only or more.only[n] then only[#only + 1] = n end end\n"
    "local said = v == 'allow' and v or table.concat({ v.how or 'refuse', v.refuse, v.because, v.status or 0, v.text or '', v.entry or '' }, '|')\n"
    "return said .. ' #' .. table.concat(more.tags, ',') .. ' #' .. more.delay .. ' #' .. table.concat(only, ',')";

/* The verdict as the teller writes Lua's. */
static void tell(const struct verdict *v, char *out, size_t cap) {
    char only[64];
    out[0] = '\0';
    if (v->kind == VERDICT_ALLOW) add(out, cap, "allow");
    else
        add(out, cap, "%s|%s|%s|%u|%s|%s", verdict_name(v->kind), refusal_name(v->refusal), v->because,
            v->kind == VERDICT_ANSWER ? v->status : 0, v->text, v->limit == LIMIT_NONE ? "" : plan_limit_name(v->limit));
    add(out, cap, " #");
    for (uint32_t i = 0; i < v->tags.n; i++) add(out, cap, "%s%s", i ? "," : "", v->tags.name[i]);
    plan_services_text(v->only & (SVC_TRACKER | SVC_UI | SVC_HUB), only, sizeof only);
    add(out, cap, " #%u #%s", v->delay_ms, only);
}

static bool open_bench(struct bench *b, struct err *e) {
    struct vm_limits lim = {.memory = 64u << 20, .steps = 2000000};
    memset(b, 0, sizeof *b);
    b->vm = b->h.vm = vm_create(VM_SANDBOX, &lim, "lua", e);
    if (!b->vm) return false;
    vm_open_libs(b->vm, VM_SANDBOX);
    lua_State *L = vm_lua(b->vm);
    b->h.facts = facts_push_box(L);
    b->h.req = request_push_box(L);
    b->h.lists = &lists;
    b->h.health = &b->health;
    return true;
}

/* Slots 3 and 4: functions of the rules; the policy itself, for Lua. */
static bool load(struct bench *b, const char *text, struct err *e) {
    lua_State *L = vm_lua(b->vm);
    lua_settop(L, SLOT_REQ);
    rules_finish(&b->h.rules);
    free(b->h.count);
    if (!vm_policy(b->vm, text, strlen(text), "policies/random.lua", e)) return false;
    lua_pushvalue(L, -1);
    if (!rules_read(b->vm, "policies/random.lua", &lists, &b->h.rules, e)) return false;
    lua_insert(L, SLOT_RULES);
    b->h.count = calloc(b->h.rules.n + 1, sizeof *b->h.count);
    return true;
}

static bool in_lua(struct bench *b, const struct facts *f, char *out, size_t cap, struct err *e) {
    lua_State *L = vm_lua(b->vm);
    b->h.facts->facts = f;
    b->h.facts->given = NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, b);
    lua_pushvalue(L, SLOT_SERVE);
    lua_pushvalue(L, SLOT_FACTS);
    bool fine = vm_call(b->vm, 2, 1, e);
    if (fine) snprintf(out, cap, "%s", lua_tostring(L, -1));
    lua_settop(L, SLOT_TOP);
    return fine;
}

static void agree(void) {
    struct bench b;
    struct err e = {""};
    static char policy[16384], c[2048], lua[2048];
    unsigned policies = 0, callers = 0, different = 0, refused = 0;
    if (!ok(open_bench(&b, &e), "a Lua state%s", e.text)) return;
    char text[2048];
    int n = snprintf(text, sizeof text, "return function(...) %s end", teller);
    if (!ok(vm_policy(b.vm, text, (size_t)n, "teller", &e), "the teller%s", e.text)) return;
    lua_rawsetp(vm_lua(b.vm), LUA_REGISTRYINDEX, &b);
    for (; policies < 2000 && different < 5; policies++) {
        if (policies % 50 == 0) make_lists(true);
        random_policy(policy, sizeof policy);
        if (!load(&b, policy, &e)) {
            ok(0, "%s\n%s", e.text, policy);
            return;
        }
        for (unsigned i = 0; i < 20; i++, callers++) {
            struct facts f;
            struct plan_socket s;
            struct verdict v;
            random_caller(&f, &s);
            bool fine = hooks_judge(&b.h, &f, &v, &e);
            tell(&v, c, sizeof c);
            refused += v.kind != VERDICT_ALLOW;
            if (!fine || !in_lua(&b, &f, lua, sizeof lua, &e)) snprintf(lua, sizeof lua, "%.1000s", e.text);
            if (strcmp(c, lua) == 0) continue;
            different++;
            printf("# C:   %s\n# Lua: %s\n# caller %u on %s, %u active, %u from there\n%s", c, lua, f.remote.ip[3], s.name, f.counts.active,
                   f.counts.from_address, policy);
        }
    }
    ok(different == 0, "C and Lua say the same of %u callers under %u policies (%u refused)", callers, policies, refused);
    ok(refused > callers / 10 && refused < callers - callers / 10, "and they say both yes and no");
    rules_finish(&b.h.rules);
    free(b.h.count);
    vm_destroy(b.vm);
}

/* ---- G24 to G27 under threads ---- */

#define THREADS 8
#define ROUNDS  3000
struct crowd {
    struct counters *counters;
    struct counters_live *live;
    struct rules rules;
    struct plan_socket socket;
    _Atomic int inside, inside_strangers, most, most_strangers, per[4], over_per, wrong;
    _Atomic uint64_t let_in, refused[REFUSALS];
    pthread_barrier_t start;
};
struct member {
    struct crowd *c;
    unsigned n;
    uint64_t seed;
};

static void raise_most(_Atomic int *most, int now) {
    int old = atomic_load(most);
    while (now > old && !atomic_compare_exchange_weak(most, &old, now)) continue;
}

/* As conn_admit.c does it. */
static bool let_in(struct crowd *c, struct ticket *t, unsigned who, struct verdict *v) {
    struct facts f = {.stage = STAGE_PEER, .remote = four(2, who), .fd = -1, .listener = &c->socket, .lists = &lists};
    struct rule_bounds b = {UINT32_MAX, UINT32_MAX};
    ticket_look(t, c->counters, c->live, 0, &f.remote, 32, &f.counts);
    verdict_clear(v, STAGE_PEER);
    rules_judge(&c->rules, &f, 0, true, v, NULL);
    if (v->kind != VERDICT_ALLOW) return false;
    rules_bounds(&c->rules, &f, v, &b);
    if (ticket_take_within(t, c->live, b.active, b.from_address, &f.counts)) return true;
    rules_over(&c->rules, &f, v, NULL);
    return false;
}

/* Callers 0 to 3; number 3 is a client. Who is inside is noted after the place is taken and before it is given back, so the notes are never
 * more than the places. */
static void come_and_go(struct member *m) {
    struct crowd *c = m->c;
    struct ticket t = {0};
    struct verdict v;
    m->seed = m->seed * 6364136223846793005ull + 1442695040888963407ull;
    unsigned who = (unsigned)(m->seed >> 40) % 4;
    if (let_in(c, &t, who, &v)) {
        raise_most(&c->most, atomic_fetch_add(&c->inside, 1) + 1);
        if (who != 3) raise_most(&c->most_strangers, atomic_fetch_add(&c->inside_strangers, 1) + 1);
        if (atomic_fetch_add(&c->per[who], 1) + 1 > (int)c->socket.max_per_address) atomic_fetch_add(&c->over_per, 1);
        atomic_fetch_add(&c->let_in, 1);
        if (m->seed & 1u << 20) sched_yield();
        atomic_fetch_sub(&c->per[who], 1);
        if (who != 3) atomic_fetch_sub(&c->inside_strangers, 1);
        atomic_fetch_sub(&c->inside, 1);
    } else atomic_fetch_add(&c->refused[v.refusal], 1);
    ticket_give(&t, c->live);
    ticket_give(&t, c->live); /* twice does nothing */
}

/* As many callers as there are threads, each another address, for exactly as many places: all come in, however the others' refusals fall in
 * between. Half of the threads are callers that must be refused all the time (MaxPerAddress is used up by address 99). */
static void *never_too_few(void *arg) {
    struct member *m = arg;
    bool hopeless = m->n % 2;
    pthread_barrier_wait(&m->c->start);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct ticket t = {0};
        struct verdict v;
        bool in = let_in(m->c, &t, hopeless ? 99 : 10 + m->n, &v);
        if (in == hopeless) atomic_fetch_add(&m->c->wrong, 1);
        ticket_give(&t, m->c->live);
    }
    return NULL;
}

static void *hammer(void *arg) {
    struct member *m = arg;
    pthread_barrier_wait(&m->c->start);
    for (unsigned i = 0; i < ROUNDS; i++) come_and_go(m);
    return NULL;
}

static void run_crowd(struct crowd *c, void *(*what)(void *)) {
    pthread_t t[THREADS];
    struct member m[THREADS];
    pthread_barrier_init(&c->start, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        m[i] = (struct member){c, i, i * 77u + 1};
        pthread_create(&t[i], NULL, what, &m[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    pthread_barrier_destroy(&c->start);
}

/* One after the other: exactly as many come in as there are places. MaxConnections 6, Reserve 2, MaxPerAddress 3: (6 - active) <= 2 refuses
 * strangers, so four of them come in, then clients up to the maximum. */
static void exactly(struct crowd *c) {
    struct ticket t[16] = {0};
    unsigned strangers = 0, clients = 0;
    struct verdict v;
    for (unsigned i = 0; i < 16; i++) {
        bool in = let_in(c, &t[i], i < 8 ? 100 + i : 3, &v);
        if (in && i < 8) strangers++;
        else if (in) clients++;
    }
    ok(strangers == 4, "G26: %u strangers come in of 8, then the reserve is kept", strangers);
    ok(clients == 2 && v.refusal == REFUSE_MAXIMUM, "G27: %u clients come in on the reserve, then even clients are refused", clients);
    for (unsigned i = 0; i < 16; i++) ticket_give(&t[i], c->live);
    unsigned three = 0;
    for (unsigned i = 0; i < 5; i++) three += let_in(c, &t[i], 50, &v);
    ok(three == 3 && v.refusal == REFUSE_PER_ADDRESS, "G24: %u of one address", three);
    ticket_give(&t[1], c->live);
    ok(let_in(c, &t[1], 50, &v) && !let_in(c, &t[5], 50, &v), "one is given back: exactly one more comes in");
    for (unsigned i = 0; i < 16; i++) ticket_give(&t[i], c->live);
    ok(atomic_load(&c->live->listener[0]) == 0, "all places are given back");
}

static void borders(void) {
    struct err e = {""};
    struct crowd *c = calloc(1, sizeof *c);
    make_lists(false);
    int fd = counters_create(&c->counters, &e);
    c->live = &c->counters->live[0];
    c->socket.name = "http";
    c->socket.max_connections = 6;
    c->socket.reserve = 2;
    c->socket.max_per_address = 3;
    if (!ok(fd >= 0 && rules_builtin(&c->rules, &lists, &e), "the built-in rules%s", e.text)) return;
    exactly(c);
    run_crowd(c, hammer);
    ok(atomic_load(&c->over_per) == 0, "G24: with %u threads nobody had more than MaxPerAddress", THREADS);
    ok(atomic_load(&c->most) <= 6, "G27: never more than the maximum (%d at most)", atomic_load(&c->most));
    ok(atomic_load(&c->most_strangers) <= 4, "G26: strangers never on the reserve (%d at most)", atomic_load(&c->most_strangers));
    ok(atomic_load(&c->let_in) > 1000, "%llu came in", (unsigned long long)c->let_in);
    ok(atomic_load(&c->live->listener[0]) == 0, "every ticket was given back exactly once");
    exactly(c);
    struct ticket held[3] = {0};
    struct verdict v;
    c->socket.max_connections = 3 + THREADS / 2;
    c->socket.reserve = 0;
    for (unsigned i = 0; i < 3; i++) let_in(c, &held[i], 99, &v);
    run_crowd(c, never_too_few);
    ok(atomic_load(&c->wrong) == 0, "with the last places fought for by those who cannot come in, nobody is refused for want of room (%d)",
       atomic_load(&c->wrong));
    for (unsigned i = 0; i < 3; i++) ticket_give(&held[i], c->live);
    rules_finish(&c->rules);
    free(c);
    drop_lists();
}

int main(void) {
    agree();
    borders();
    return tap_end();
}
