#include "super/edit.h"
#include "plan/wire.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MOST  60
#define KEY_MOST   253 /* a host name */
#define VALUE_MOST 1024

/* What may be changed while the server runs. Nothing here names a file, a key or a program outside the policies folder: a captured engine
 * that could change those would be out of its cage. That is why a Backend is an address here (names_file). Tunnels are a matter of TunnelEdits
 * too (planner_edit.c). The hub's form offers what the schema has but for `by_hand`: tests/lua/schema_spec.lua holds the two lists together. */
static const char *const listener_entries[] = {"Port",
                                               "Address",
                                               "Transport",
                                               "InitTLS",
                                               "Certificate",
                                               "ClientCertificate",
                                               "Services",
                                               "Script",
                                               "Backend",
                                               "SendProxy",
                                               "Restriction",
                                               "List",
                                               "Proxy",
                                               "ProxyFrom",
                                               "ProxyInside",
                                               "MaxConnections",
                                               "MaxPerAddress",
                                               "Reserve",
                                               "GiveWay",
                                               "Backlog",
                                               "WhenMissing",
                                               "PrefixIPv4",
                                               "PrefixIPv6",
                                               "NetIPv4",
                                               "NetIPv6",
                                               "RateConnections",
                                               "RateHandshakes",
                                               "RateRequests",
                                               "RateConnectionsPerNet",
                                               "RateHandshakesPerNet",
                                               "RateRequestsPerNet",
                                               "*"};
static const char *const keyed_entries[] = {"Backend-", "Label-"}; /* and a key: a host name, a word */

static bool keyed_entry(const char *entry) {
    for (size_t i = 0; i < sizeof keyed_entries / sizeof *keyed_entries; i++) {
        size_t n = strlen(keyed_entries[i]), key = 0;
        if (strncmp(entry, keyed_entries[i], n) != 0) continue;
        while (isalnum((unsigned char)entry[n + key]) || (entry[n + key] && strchr("_-.*", entry[n + key]))) key++;
        return key > 0 && key <= KEY_MOST && !entry[n + key] && strcmp(entry + n + key - 1, "*") != 0;
    }
    return false;
}

static bool listener_entry(const char *entry) {
    const char *dot = strchr(entry, '.');
    size_t n = dot ? (size_t)(dot - entry) : 0;
    if (n == 0 || n > NAME_MOST) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)entry[i]) && entry[i] != '_' && entry[i] != '-') return false;
    size_t row = strspn(dot + 1, "0123456789"); /* NAME.2.Port: one more socket of the listener */
    if (row > 0 && row <= 4 && dot[row + 1] == '.') dot += row + 1;
    for (size_t i = 0; i < sizeof listener_entries / sizeof *listener_entries; i++)
        if (strcmp(dot + 1, listener_entries[i]) == 0) return true;
    return keyed_entry(dot + 1);
}

/* Is it the path of a socket, as backends may be by hand? No address has a slash. */
static bool names_file(const char *entry, const char *value) {
    const char *dot = strchr(entry, '.');
    size_t row = dot ? strspn(dot + 1, "0123456789") : 0;
    if (row > 0 && dot[row + 1] == '.') dot += row + 1;
    return dot && strncmp(dot + 1, "Backend", 7) == 0 && strchr(value, '/');
}

static bool tracker_entry(const char *entry) {
    return strcmp(entry, "CommunicationsPort") == 0;
}

static const struct {
    const char *name;
    bool (*may)(const char *entry);
} files[EDIT_FILES] = {{"listeners.ini", listener_entry}, {"tracker.ini", tracker_entry}};

static bool value_good(const char *s) {
    size_t n = 0;
    for (; s[n]; n++)
        if ((unsigned char)s[n] < 0x20 || (unsigned char)s[n] > 0x7e) return false;
    return n <= VALUE_MOST;
}

static bool asked_twice(const struct edit *d, const char *place, size_t n) {
    for (unsigned i = 0; i < d->n; i++) {
        const char *other = d->arg[2 * i + 1];
        if (strncmp(other, place, n) == 0 && (other[n] == '=' || other[n] == '\0')) return true;
    }
    return false;
}

static bool add(struct edit *d, const char *file, const char *entry, const char *value, struct err *e) {
    unsigned f = 0;
    while (f < EDIT_FILES && strcmp(files[f].name, file) != 0) f++;
    bool all = strlen(entry) > 2 && strcmp(entry + strlen(entry) - 2, ".*") == 0;
    if (f == EDIT_FILES || !files[f].may(entry) || (all && value))
        return err_set(e, "%.40s: %.80s cannot be changed from the hub or the console: edit the file and reload", file, entry);
    if (value && !value_good(value))
        return err_set(e, "%s: %s: a value has at most %d printable ASCII characters", file, entry, VALUE_MOST);
    if (value && names_file(entry, value))
        return err_set(e, "%s: %s: a backend that is a unix socket is written by hand only: edit the file and reload", file, entry);
    if (d->n == EDIT_MOST) return err_set(e, "more than %u changes at once", EDIT_MOST);
    char *place = NULL;
    int n = asprintf(&place, "%s:%s", file, entry);
    if (n < 0) return err_set(e, "out of memory");
    bool twice = asked_twice(d, place, (size_t)n);
    free(place);
    if (twice) return err_set(e, "%s: %s is to be changed twice at once: say it once", file, entry);
    char *own = NULL;
    if (asprintf(&own, "%s:%s%s%s", file, entry, value ? "=" : "", value ? value : "") < 0) return err_set(e, "out of memory");
    d->arg[2 * d->n] = (char *)(uintptr_t)(value ? "--edit" : "--edit-remove");
    d->arg[2 * d->n++ + 1] = own;
    d->file[f].asked = true;
    return true;
}

/* "set FILE ENTRY VALUE" or "remove FILE ENTRY"; cut in place. */
static bool take_line(struct edit *d, char *line, struct err *e) {
    char *rest = line, *verb = strsep(&rest, " "), *file = strsep(&rest, " "), *entry = strsep(&rest, " ");
    bool sets = strcmp(verb, "set") == 0;
    if (!file || !entry || !*entry || (!sets && strcmp(verb, "remove") != 0) || (!sets && rest))
        return err_set(e, "the engine's request is not understood");
    return add(d, file, entry, sets ? rest ? rest : "" : NULL, e);
}

static bool take_lines(struct edit *d, const char *body, struct err *e) {
    char *copy = strdup(body), *rest = copy;
    bool good = copy || err_set(e, "out of memory");
    while (good && rest && *rest) {
        char *line = strsep(&rest, "\n");
        good = take_line(d, line, e);
    }
    free(copy);
    return good && (d->n > 0 || err_set(e, "nothing is to be changed"));
}

struct edit *edit_parse(const char *payload, struct err *e) {
    struct edit *d = calloc(1, sizeof *d);
    uint64_t dry = 0, force = 0;
    if (!d) {
        err_set(e, "out of memory");
        return NULL;
    }
    for (unsigned i = 0; i < EDIT_FILES; i++) d->file[i].name = files[i].name;
    if (!wire_text(payload, "who", d->who, sizeof d->who)) snprintf(d->who, sizeof d->who, "somebody");
    for (char *c = d->who; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    if (wire_number(payload, "dry", &dry)) d->dry = dry != 0;
    if (wire_number(payload, "force", &force)) d->force = force != 0;
    if (take_lines(d, wire_body(payload), e)) return d;
    edit_destroy(d);
    return NULL;
}
