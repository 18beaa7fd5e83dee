/* What the files of one change of generation share. */
#ifndef PORTREEVE_SUPER_RELOAD_I_H
#define PORTREEVE_SUPER_RELOAD_I_H
#include "super/super.h"

void reload_answer(struct super *s, const struct waiter *w, bool ok, const char *text);
void reload_answer_edit(struct super *s, struct edit *d, bool ok, const char *words); /* destroys d */
/* The end of every reload that people hear of, good or bad. Takes the text. */
void reload_finish(struct super *s, bool ok, struct buf *text);
void reload_end(struct super *s, enum follow_end end); /* of all: the next may begin */
void reload_drop(struct super *s);                     /* the generation being offered, if any */
#endif
