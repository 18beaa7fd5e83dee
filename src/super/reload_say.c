/* What a change of generation says to the log and to who started the program. */
#include "base/log.h"
#include "super/super.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOGGED_LINES 16 /* of a result; fewer than LOG_RATE, so that no result is thinned by itself */

/* Each line of the result is a line of the log, so that file:line messages stay readable and greppable there. */
void reload_log(enum log_level lvl, const char *text) {
    char line[1500];
    for (unsigned said = 0; *text; said++) {
        size_t n = strcspn(text, "\n");
        if (said == LOGGED_LINES) {
            log_say(lvl, "reload", "the result has more lines: `portreeve status` shows them");
            return;
        }
        snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), text);
        if (said == 0) log_say(lvl, "reload", "%s", line);
        else log_say(lvl, "reload", "  %s", line);
        text += n + (text[n] == '\n');
    }
}

void reload_print_plan(const struct super *s) {
    uint16_t *ports = generation_ports(s->gen);
    struct buf text = {0};
    if (ports && plan_print(&s->gen->plan, &(struct plan_view){.port = ports}, &text)) {
        fwrite(text.p, 1, text.n, stdout);
        fflush(stdout);
    }
    free(ports);
    buf_free(&text);
}
