/* STATE/log/decisions.log: decisions as JSON, a line each, in files of bounded size and number. One thread. A disk that takes nothing costs
 * the lines, which are counted, and never anything else; the next line that fits says how many are missing. */
#ifndef PORTREEVE_ENGINE_DECISION_FILE_H
#define PORTREEVE_ENGINE_DECISION_FILE_H
#include "base/buf.h"
#include "gate/decision.h"
#include <stdatomic.h>

#define DECISION_RATE 5000u /* refusals written a second: a flood would turn all files over in moments, and what went before were lost */

struct decision_file {
    char path[600];
    int fd; /* -1 = not open */
    uint64_t most;
    unsigned keep;
    _Atomic uint64_t size, dropped;
    uint64_t untold; /* dropped and not said in the file yet */
    int64_t second;  /* of `written`, monotonic */
    uint32_t written;
    bool failing;
    int64_t retry_ms; /* monotonic: not tried before; a disk that is nearly full would else be tried, and spoken of, all the time */
    struct buf waiting;
};
void decision_file_init(struct decision_file *f, const char *dir);
void decision_file_settings(struct decision_file *f, uint64_t bytes, unsigned files); /* opens anew */
void decision_file_put(struct decision_file *f, const struct decision *d, uint64_t run, int64_t now_ms, bool unbounded);
void decision_file_missed(struct decision_file *f, uint64_t n); /* lines that never came to be */
void decision_file_flush(struct decision_file *f);
void decision_file_close(struct decision_file *f); /* the next flush opens it again */
void decision_file_finish(struct decision_file *f);
#endif
