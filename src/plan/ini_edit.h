/* Changing entries in the text of an INI file while everything else stays as the operator wrote it: comments, order, line ends, the
 * layout of the line. Pure: text in, text out. Afterwards both texts are read and compared: an edit that would change anything but what it
 * was asked for is refused. */
#ifndef PORTREEVE_PLAN_INI_EDIT_H
#define PORTREEVE_PLAN_INI_EDIT_H
#include "base/buf.h"
#include "base/err.h"

struct ini_change {
    const char *
        entry; /* as written: letters, digits, _ - . * only; "NAME.*" (removal only) = every entry of the section NAME, rows (NAME.2.…) too */
    const char *value; /* printable ASCII; NULL = the entry goes, its continuation lines too */
};

/* Apply the changes one after the other; `out` gets the whole new text, `said` a line for people about each ("FILE:12: web.Port=8081 (was
 * 8080)"). An entry that stands more than once: the last one counts, so that one is changed (I6); removal takes all of them. Removing an
 * entry that is not there changes nothing; a section that is not there is a mistake. A new entry goes behind the last one of its row, else
 * of its section, else to the end. false with e, and out and said to be thrown away. */
bool ini_edit(const char *text, size_t n, const char *display, const struct ini_change *c, unsigned nc, struct buf *out, struct buf *said,
              struct err *e);
#endif
