#include "svc/spool_db.h"
#include "base/clock.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static enum db_result kind_of(int rc) {
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return DB_DAMAGED;
    case SQLITE_FULL: return DB_FULL;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return DB_REFUSED;
    default: return DB_TROUBLE;
    }
}

enum db_result db_kind_of_errno(int sys) {
    if (sys == ENOSPC || sys == EDQUOT) return DB_FULL;
    return sys == EIO || sys == EMFILE || sys == ENFILE || sys == ENOMEM ? DB_TROUBLE : DB_REFUSED;
}

enum db_result db_fault(struct spool_db *d, const char *doing, struct err *e) {
    int rc = sqlite3_extended_errcode(d->db), sys = sqlite3_system_errno(d->db);
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB) sys = 0;
    err_set(e, "%s: cannot %s: %s%s%s (SQLite %d)", d->path, doing, sqlite3_errmsg(d->db), sys != 0 ? ": " : "",
            sys != 0 ? strerrordesc_np(sys) : "", rc);
    return sys == ENOSPC || sys == EDQUOT ? DB_FULL : kind_of(rc);
}

enum db_result db_run(struct spool_db *d, const char *sql, const char *doing, struct err *e) {
    return sqlite3_exec(d->db, sql, NULL, NULL, NULL) == SQLITE_OK ? DB_OK : db_fault(d, doing, e);
}

int64_t db_number(struct spool_db *d, const char *sql, int64_t none, enum db_result *r, struct err *e) {
    sqlite3_stmt *st = NULL;
    int64_t v = -1;
    int rc = sqlite3_prepare_v2(d->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) v = sqlite3_column_int64(st, 0);
    else if (rc == SQLITE_DONE) v = none;
    else *r = db_fault(d, "read", e);
    sqlite3_finalize(st);
    return v;
}
void spool_db_close(struct spool_db *d) {
    sqlite3_stmt **all[] = {&d->begin, &d->commit, &d->rollback, &d->last, &d->insert, &d->trim};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        sqlite3_finalize(*all[i]);
        *all[i] = NULL;
    }
    sqlite3_close(d->db);
    d->db = NULL;
}

/* --- writing --- */

static enum db_result step(struct spool_db *d, sqlite3_stmt *st, const char *doing, struct err *e) {
    int rc;
    do rc = sqlite3_step(st);
    while (rc == SQLITE_ROW);
    enum db_result r = rc == SQLITE_DONE ? DB_OK : db_fault(d, doing, e);
    sqlite3_reset(st);
    return r;
}

enum db_result spool_db_begin(struct spool_db *d, struct err *e) {
    return step(d, d->begin, "begin", e);
}

enum db_result spool_db_insert(struct spool_db *d, uint64_t epoch, uint64_t first, uint32_t count, const void *p, size_t n, struct err *e) {
    int64_t pos = clock_real_ms() * 1024, total = 0;
    int rc = sqlite3_step(d->last);
    if (rc == SQLITE_ROW) {
        pos = sqlite3_column_int64(d->last, 0) + 1;
        total = sqlite3_column_int64(d->last, 1);
    }
    enum db_result r = rc == SQLITE_ROW || rc == SQLITE_DONE ? DB_OK : db_fault(d, "read the last position", e);
    sqlite3_reset(d->last);
    if (r != DB_OK) return r;
    sqlite3_bind_int64(d->insert, 1, pos);
    sqlite3_bind_int64(d->insert, 2, (sqlite3_int64)epoch);
    sqlite3_bind_int64(d->insert, 3, (sqlite3_int64)first);
    sqlite3_bind_int64(d->insert, 4, count);
    sqlite3_bind_int64(d->insert, 5, total + count);
    sqlite3_bind_blob64(d->insert, 6, p, n, SQLITE_STATIC);
    r = step(d, d->insert, "store events", e);
    sqlite3_bind_null(d->insert, 6);
    if (r == DB_OK) {
        d->last_pos = (uint64_t)pos;
        d->bytes += (int64_t)n;
    }
    return r;
}

enum db_result spool_db_trim(struct spool_db *d, uint64_t pos, bool *more, struct err *e) {
    sqlite3_bind_int64(d->trim, 1, (sqlite3_int64)pos);
    enum db_result r = step(d, d->trim, "delete what was fetched", e);
    *more = r == DB_OK && sqlite3_changes(d->db) > 0;
    return r;
}

void spool_db_undo(struct spool_db *d) {
    if (d->db != NULL && sqlite3_get_autocommit(d->db) == 0) step(d, d->rollback, "undo", NULL);
}

enum db_result spool_db_commit(struct spool_db *d, struct err *e) {
    enum db_result r = step(d, d->commit, "commit", e);
    if (r != DB_OK) spool_db_undo(d);
    return r;
}

enum db_result spool_db_last(struct spool_db *d, struct err *e) {
    enum db_result r = DB_OK;
    int64_t pos = db_number(d, "SELECT coalesce(max(pos), 0) FROM batch", 0, &r, e);
    if (r == DB_OK) d->last_pos = (uint64_t)pos;
    return r;
}

void spool_db_measure(struct spool_db *d) {
    enum db_result r = DB_OK;
    int64_t size = db_number(d, "PRAGMA page_size", 0, &r, NULL), pages = db_number(d, "PRAGMA page_count", 0, &r, NULL);
    int64_t spare = db_number(d, "PRAGMA freelist_count", 0, &r, NULL);
    if (r == DB_OK) d->bytes = (pages - spare) * size;
}

uint64_t spool_db_backlog(struct spool_db *d, uint64_t acked) {
    char sql[200];
    enum db_result r = DB_OK;
    snprintf(sql, sizeof sql,
             "SELECT coalesce((SELECT total FROM batch ORDER BY pos DESC LIMIT 1) - (SELECT total - count FROM batch WHERE pos > %" PRIu64
             " ORDER BY pos LIMIT 1), 0)",
             acked);
    int64_t n = db_number(d, sql, 0, &r, NULL);
    return r == DB_OK && n > 0 ? (uint64_t)n : 0;
}

/* --- readers --- */

enum db_result spool_db_cursors(struct spool_db *d, struct spool_cursor out[SPOOL_READERS], unsigned *n, struct err *e) {
    sqlite3_stmt *st = NULL;
    *n = 0;
    int rc = sqlite3_prepare_v2(d->db, "SELECT reader, pos, seen_ms FROM cursor ORDER BY reader", -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW || *n == SPOOL_READERS) break;
        const char *name = (const char *)sqlite3_column_text(st, 0);
        snprintf(out[*n].reader, READER_NAME, "%s", name == NULL ? "" : name);
        out[*n].pos = (uint64_t)sqlite3_column_int64(st, 1);
        out[*n].seen_ms = sqlite3_column_int64(st, 2);
        ++*n;
    }
    enum db_result r = rc == SQLITE_DONE || rc == SQLITE_ROW ? DB_OK : db_fault(d, "read the cursors", e);
    sqlite3_finalize(st);
    return r;
}

enum db_result spool_db_set_cursor(struct spool_db *d, const struct spool_cursor *c, struct err *e) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(
        d->db, "INSERT INTO cursor VALUES(?1, ?2, ?3) ON CONFLICT(reader) DO UPDATE SET pos = excluded.pos, seen_ms = excluded.seen_ms", -1,
        &st, NULL);
    if (rc != SQLITE_OK) return db_fault(d, "store a cursor", e);
    sqlite3_bind_text(st, 1, c->reader, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)c->pos);
    sqlite3_bind_int64(st, 3, c->seen_ms);
    enum db_result r = step(d, st, "store a cursor", e);
    sqlite3_finalize(st);
    return r;
}
