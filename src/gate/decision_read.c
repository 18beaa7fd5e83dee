#include "gate/decision_read.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Behind ,"KEY": — quotes within texts are escaped, so this stands nowhere else. */
static char *value_of(char *line, const char *key) {
    char mark[32];
    int n = snprintf(mark, sizeof mark, ",\"%s\":", key);
    char *p = strstr(line, mark);
    return p ? p + n : NULL;
}

struct cuts {
    char *at[12]; /* closing quotes; ended only when all keys have been looked for */
    unsigned n;
};

/* "" where there is none. Texts with escapes are not ours to undo: names, places and addresses have none. */
static const char *text_of(char *line, const char *key, struct cuts *cuts) {
    char *p = value_of(line, key);
    if (!p || *p != '"') return "";
    char *end = strpbrk(p + 1, "\"\\");
    if (!end || *end != '"') return "";
    cuts->at[cuts->n++] = end;
    return p + 1;
}

static int64_t number_of(char *line, const char *key, int64_t none) {
    char *p = value_of(line, key);
    return p && *p >= '0' && *p <= '9' ? strtoll(p, NULL, 10) : none;
}

static uint32_t count_of(char *line, const char *key) {
    int64_t n = number_of(line, key, 0);
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* "conf/lists/denied.list:7": the line's number, and the text ends before it. */
static uint32_t split(char *place) {
    char *colon = strrchr(place, ':');
    if (!colon || colon[1] < '0' || colon[1] > '9') return 0;
    *colon = 0;
    return (uint32_t)strtoul(colon + 1, NULL, 10);
}

static bool address(const char *s, struct addr *out) {
    struct err e;
    uint16_t port = out->port;
    if (!*s || !addr_parse_ip(s, strlen(s), out, &e)) return false;
    out->port = port;
    return true;
}

static bool find_words(const char *stage, const char *verdict, struct decision *out) {
    out->stage = stage_of(stage);
    out->verdict = verdict_of(verdict);
    return out->stage < STAGES && out->verdict < VERDICTS;
}

bool decision_read(char *line, struct decision *out) {
    struct cuts cuts = {0};
    char *from = value_of(line, "active_from_address");
    *out = (struct decision){.ms = number_of(line, "ms", 0),
                             .us = (uint16_t)number_of(line, "us", 0),
                             .remote.port = (uint16_t)number_of(line, "port", 0),
                             .local.port = (uint16_t)number_of(line, "local_port", 0),
                             .listener = text_of(line, "listener", &cuts),
                             .reason = text_of(line, "reason", &cuts),
                             .because = "",
                             .policy_file = text_of(line, "policy", &cuts),
                             .list_file = text_of(line, "list", &cuts),
                             .entry_file = text_of(line, "entry", &cuts),
                             .sni = text_of(line, "sni", &cuts),
                             .tags = "",
                             .active = count_of(line, "active"),
                             .from_address = from && *from == 'n' ? UINT32_MAX : count_of(line, "active_from_address"),
                             .rate_left = -1,
                             .status = (uint16_t)number_of(line, "status", 0)};
    const char *remote = text_of(line, "address", &cuts), *local = text_of(line, "local", &cuts);
    const char *stage = text_of(line, "stage", &cuts), *verdict = text_of(line, "verdict", &cuts);
    for (unsigned i = 0; i < cuts.n; i++) *cuts.at[i] = 0;
    out->policy_line = split((char *)(uintptr_t)out->policy_file);
    out->list_line = split((char *)(uintptr_t)out->list_file);
    out->entry_line = split((char *)(uintptr_t)out->entry_file);
    bool here = !*local || address(local, &out->local);
    return out->ms > 0 && here && address(remote, &out->remote) && *out->listener && find_words(stage, verdict, out);
}

/* ---- the shape of a line ---- */

enum kind { TEXT, NUMBER, NUMBER_OR_NULL };
static const struct {
    const char *key;
    enum kind kind;
    bool needed;
} fields[] = {{"\"ms\"", NUMBER, true},
              {"\"address\"", TEXT, true},
              {"\"listener\"", TEXT, true},
              {"\"stage\"", TEXT, true},
              {"\"verdict\"", TEXT, true},
              {"\"active\"", NUMBER, true},
              {"\"active_from_address\"", NUMBER_OR_NULL, true},
              {"\"generation\"", NUMBER, true},
              {"\"port\"", NUMBER, false},
              {"\"local\"", TEXT, false},
              {"\"local_port\"", NUMBER, false},
              {"\"reason\"", TEXT, false},
              {"\"because\"", TEXT, false},
              {"\"policy\"", TEXT, false},
              {"\"list\"", TEXT, false},
              {"\"entry\"", TEXT, false},
              {"\"maximum\"", NUMBER, false},
              {"\"per_address\"", NUMBER, false},
              {"\"reserve\"", NUMBER, false},
              {"\"rate_left\"", NUMBER, false},
              {"\"status\"", NUMBER, false},
              {"\"delay_ms\"", NUMBER, false},
              {"\"sni\"", TEXT, false},
              {"\"tags\"", TEXT, false}};
#define FIELDS (sizeof fields / sizeof *fields)

/* Behind the closing quote; NULL = there is none, or it holds what buf_json does not write. */
static const char *skip_text(const char *p) {
    if (*p++ != '"') return NULL;
    for (; *p != '"'; p++) {
        if ((unsigned char)*p < ' ') return NULL;
        if (*p != '\\') continue;
        p++;
        if (*p != 'u' && (!*p || !strchr("\"\\/bfnrt", *p))) return NULL;
        if (*p == 'u' && strspn(p + 1, "0123456789abcdefABCDEF") < 4) return NULL;
    }
    return p + 1;
}

static const char *skip_value(const char *p) {
    if (*p == '"') return skip_text(p);
    if (strncmp(p, "null", 4) == 0) return p + 4;
    size_t n = strspn(p, "0123456789");
    return n && n <= 15 ? p + n : NULL;
}

static bool is_kind(char first, enum kind k) {
    return first == '"' ? k == TEXT : first == 'n' ? k == NUMBER_OR_NULL : k != TEXT;
}

bool decision_line(const char *line) {
    uint32_t have = 0;
    const char *p = line;
    if (*p != '{') return false;
    do {
        const char *key = ++p;
        p = skip_text(p);
        if (!p || *p != ':') return false;
        p++;
        for (unsigned i = 0; i < FIELDS; i++) {
            if (strncmp(key, fields[i].key, strlen(fields[i].key)) != 0) continue;
            if (!is_kind(*p, fields[i].kind)) return false;
            have |= 1u << i;
        }
        p = skip_value(p);
    } while (p && *p == ',');
    for (unsigned i = 0; i < FIELDS; i++)
        if (fields[i].needed && !(have & 1u << i)) return false;
    return p && strcmp(p, "}") == 0;
}
