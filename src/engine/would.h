/* The answer to a question (gate/question.h): every rule that a caller would meet, what it would say, and what is left of the limits. The
 * rules are asked by the code that judges callers, on a Lua state made for this question; nothing is taken, counted or recorded. */
#ifndef PORTREEVE_ENGINE_WOULD_H
#define PORTREEVE_ENGINE_WOULD_H
#include "engine/generation.h"
#include "gate/question.h"

struct would_world { /* what is asked: borrowed */
    const struct plan *plan;
    const uint16_t *port; /* really bound, by socket; NULL = as planned */
    const uint16_t *id;   /* of the listener for live counts, by socket; NULL = there are none */
    const struct lists *lists;
    struct hooks *hooks; /* made for the question */
    struct engine *eng;  /* whose counts, rates and bans; NULL: nothing runs, and he is the first caller */
    struct ban_set *bans;
    uint64_t generation; /* 0 = not in force */
};
/* JSON object (lua/portreeve/would.lua makes words of it). false: e says what is wrong with the question, or that memory is out. */
bool would_answer(const struct would_world *w, const struct question *q, struct buf *out, struct err *e);
/* Of the generation in force. Any thread that may block. */
bool would_running(struct engine *eng, const struct question *q, struct buf *out, struct err *e);
#endif
