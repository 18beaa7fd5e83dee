/* What the address lists of the living generation have decided, for console and hub: JSON. Runs on the console's thread; a list of n lines costs it
 * n / 8 bytes for a moment. */
#ifndef PORTREEVE_ENGINE_LISTS_SHOW_H
#define PORTREEVE_ENGINE_LISTS_SHOW_H
#include "base/buf.h"
#include "engine/engine.h"

#define LISTS_ROWS 1000u /* of each kind and list; how many there are besides is told */

/* name "": [{ name, file, lines, hits, used, unused, shadowed, spans, bytes }]. Else of that list, null where there is none: the same, and
 *   most     [{ file, line, hits }]             the lines that have decided most often, most first
 *   never    [{ file, line, to, lines }]        lines that could decide and never have; neighbours are one row
 *   shadows  [{ file, line, by_file, by_line }] lines that can never decide, because later ones speak of all their addresses
 * with most_more, never_more and shadows_more: rows left off. */
bool lists_show(struct engine *eng, const char *name, struct buf *out);
#endif
