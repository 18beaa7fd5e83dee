/* A planner in reserve: started after a change, it has read and tried everything before it is called. */
#include "base/log.h"
#include "super/super.h"

bool reserve_call(struct super *s) {
    if (s->reserve.pid <= 0) return false;
    if (!planner_call(&s->reserve, &s->program)) {
        planner_kill(&s->reserve);
        return false;
    }
    s->reload.planner = s->reserve;
    planner_init(&s->reserve);
    s->reserve_for = 0; /* it was good for something: another may follow, whatever comes of this one */
    return true;
}

void reserve_keep(struct super *s) {
    struct err e;
    if (s->reserve.pid > 0 || s->reserve_for == s->gen->number || s->gen->plan.nsockets < RESERVE_FROM || s->live < 0) return;
    s->reserve_for = s->gen->number;
    if (!planner_reserve(&s->reserve, &(struct planner_from){&s->program, s->engine_path, &s->user}, &s->opt, &e))
        log_warn("reload", "%s: the next one takes longer", e.text);
}

void reserve_ended(struct super *s, int status) {
    struct planner_result p;
    planner_end(&s->reserve, status, &p);
    planner_result_finish(&p);
}
