/* One line an event, to standard error, human or JSON.
 *   human: 2026-11-21T21:50:03.123Z info engine: message text key=value key="two words"
 *   json:  {"time":"…","level":"info","area":"engine","message":"…","key":"value"}
 * Thread-safe. Never blocks: where the sink cannot take a whole line now, the line is dropped and counted, and the count is said
 * once the sink takes lines again. A full disk never stops service. Lines are bounded (LOG_LINE); control bytes are escaped.
 * Rate: at most LOG_RATE lines a second of one `area`+format (told apart by address: pass string literals), the rest counted
 * ("… and 1,234 more like it"). Areas "access" and "refusals" are not thinned. A process that calls log_setup late logs human lines to fd 2 until then. */
#ifndef PORTREEVE_BASE_LOG_H
#define PORTREEVE_BASE_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE 4096
#define LOG_RATE 20

enum log_level { LOG_LVL_DEBUG, LOG_LVL_INFO, LOG_LVL_NOTICE, LOG_LVL_WARN, LOG_LVL_ERROR };

void log_setup(int fd, bool json, enum log_level least); /* may be called again (reload) */
/* fmt makes the message. */
void log_say(enum log_level lvl, const char *area, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with key/value pairs behind the message: kv = {"key","value",…,NULL}; values are escaped. */
void log_kv(enum log_level lvl, const char *area, const char *const *kv, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool log_wants(enum log_level lvl); /* would such a line be written? For what is long in the making. */
uint64_t log_dropped(void);

#define log_debug(area, ...)  log_say(LOG_LVL_DEBUG, area, __VA_ARGS__)
#define log_info(area, ...)   log_say(LOG_LVL_INFO, area, __VA_ARGS__)
#define log_notice(area, ...) log_say(LOG_LVL_NOTICE, area, __VA_ARGS__)
#define log_warn(area, ...)   log_say(LOG_LVL_WARN, area, __VA_ARGS__)
#define log_error(area, ...)  log_say(LOG_LVL_ERROR, area, __VA_ARGS__)
#endif
