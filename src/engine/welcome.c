#include "engine/welcome.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool behind_device(const struct plan_socket *s) {
    return s->external_tls || s->proxy != PROXY_OFF;
}

/* "http://localhost:8080" of the first listener that carries the service and that a program of this machine can call; loopback can reach each of
 * them. Where there are only such behind a device, what its callers call. */
static bool base_url(const struct generation *g, uint32_t service, char *out, size_t cap) {
    for (uint32_t k = 0; k < 2 * g->plan.nsockets; k++) {
        uint32_t i = k % g->plan.nsockets;
        const struct plan_socket *s = &g->plan.socket[i];
        if (!(s->services & service) || s->waiting || (k < g->plan.nsockets && behind_device(s))) continue;
        char host[ADDR_TEXT];
        struct addr a = s->at;
        if (addr_is_any(&a)) snprintf(host, sizeof host, "localhost");
        else addr_format_ip(&a, host);
        snprintf(out, cap, strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
                 s->scheme == SCHEME_HTTPS || s->external_tls ? "https" : "http", host, g->listener[i].port);
        return true;
    }
    return false;
}

static bool sample_link(const struct token_ring *ring, char out[TOKEN_MAX]) {
    struct token_ctx *c = token_ctx_create(ring);
    struct token t = {.kind = TOKEN_OPEN, .level = LEVEL_PERSONAL, .campaign = 1, .recipient = 1};
    t.minute = (uint32_t)((time(NULL) - 1577836800) / 60); /* minutes since 2020-01-01 */
    struct err e;
    bool fine = c && token_seal(c, &t, NULL, 0, out, &e) > 0;
    token_ctx_free(c);
    return fine;
}

static bool setup_token(const struct engine *eng, char *out, size_t cap) {
    char path[512];
    snprintf(path, sizeof path, "%s/keys/setup.token", eng->state_dir);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool fine = fgets(out, (int)cap, f) != NULL;
    fclose(f);
    if (fine) out[strcspn(out, "\n")] = '\0';
    return fine && out[0];
}

/* How the command is typed from where the server was started: by its path, unless it is installed. */
static void command_path(char *out, size_t cap) {
    char exe[400], here[400];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash) *slash = '\0';
    const char *dir = exe;
    if (getcwd(here, sizeof here) && strncmp(exe, here, strlen(here)) == 0 && exe[strlen(here)] == '/') dir = exe + strlen(here) + 1;
    if (!slash || strcmp(exe, LIBEXECDIR) == 0) snprintf(out, cap, "portreeve");
    else snprintf(out, cap, "%s/portreeve", dir);
}

/* " --state DIR" where the commands would not look by themselves. */
static void state_option(const char *dir, char *out, size_t cap) {
    static const char *const found[] = {"var", "./var", "/var/lib/portreeve"};
    *out = '\0';
    for (unsigned i = 0; i < sizeof found / sizeof *found; i++)
        if (strcmp(dir, found[i]) == 0) return;
    snprintf(out, cap, " --state %s", dir);
}

void welcome(struct engine *eng, const struct generation *g) {
    char url[256], word[TOKEN_MAX > 128 ? TOKEN_MAX : 128], program[512], state[PATH_MAX + 16];
    command_path(program, sizeof program);
    state_option(eng->state_dir, state, sizeof state);
    if (eng->spool && base_url(g, SVC_TRACKER, url, sizeof url) && sample_link(g->ring, word))
        printf("\nTry it:  curl -%ssi %s/trk/o/%s.gif | head\n         %s events%s\n", url[4] == 's' ? "k" : "", url, word, program, state);
    if (base_url(g, SVC_HUB, url, sizeof url) && setup_token(eng, word, sizeof word))
        printf("Set up:  %s/hub/setup?token=%s   (once, within 24 hours)\n", url, word);
    printf("Inside:  %s console%s\n\n", program, state);
    fflush(stdout);
}
