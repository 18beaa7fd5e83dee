#include "svc/spool_record.h"
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct spool_reader {
    char path[4096];
    sqlite3 *db;
    sqlite3_stmt *rows, *epoch;
    dev_t dev;
    ino_t ino;
};

static int on_busy(void *ctx, int turn) {
    (void)ctx;
    if (turn >= 5000) return 0;
    struct timespec t = {.tv_nsec = 1000000};
    nanosleep(&t, NULL);
    return 1;
}

static bool fault(struct spool_reader *r, struct err *e) {
    return err_set(e, "%s: cannot read the spool: %s", r->path, sqlite3_errmsg(r->db));
}

static void disconnect(struct spool_reader *r) {
    sqlite3_finalize(r->rows);
    sqlite3_finalize(r->epoch);
    sqlite3_close(r->db);
    r->rows = r->epoch = NULL;
    r->db = NULL;
}

/* Opened for writing where permitted, since only then a log left by a killed engine can be read; query_only keeps it to reading. */
static bool connect_file(struct spool_reader *r, struct err *e) {
    struct stat st;
    if (stat(r->path, &st) != 0) return err_set(e, "%s: there is no spool yet", r->path);
    r->dev = st.st_dev;
    r->ino = st.st_ino;
    int rc = sqlite3_open_v2(r->path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (r->db == NULL) return err_set(e, "%s: out of memory", r->path);
    sqlite3_busy_handler(r->db, on_busy, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_exec(r->db, "PRAGMA query_only=1; PRAGMA mmap_size=0", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v3(r->db, "SELECT pos, epoch, first, count, bytes FROM batch WHERE pos > ?1 ORDER BY pos", -1,
                                SQLITE_PREPARE_PERSISTENT, &r->rows, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v3(r->db, "SELECT tracker FROM epoch WHERE epoch = ?1", -1, SQLITE_PREPARE_PERSISTENT, &r->epoch, NULL);
    if (rc == SQLITE_OK) return true;
    fault(r, e);
    disconnect(r);
    return false;
}

struct spool_reader *spool_reader_open(const char *dir, struct err *e) {
    struct spool_reader *r = calloc(1, sizeof *r);
    if (r == NULL) return err_set(e, "spool: out of memory"), NULL;
    if (snprintf(r->path, sizeof r->path, "%s/spool.db", dir) >= (int)sizeof r->path) err_set(e, "%.100s…: path too long", dir);
    else if (connect_file(r, e)) return r;
    free(r);
    return NULL;
}

void spool_reader_close(struct spool_reader *r) {
    if (r == NULL) return;
    disconnect(r);
    free(r);
}

/* A damaged spool was moved away and another stands in its place: follow. */
static bool follow_file(struct spool_reader *r, struct err *e) {
    struct stat st;
    if (r->db != NULL && (stat(r->path, &st) != 0 || (st.st_dev == r->dev && st.st_ino == r->ino))) return true;
    disconnect(r);
    return connect_file(r, e);
}

static bool tracker_of(struct spool_reader *r, uint64_t epoch, char out[64], struct err *e) {
    sqlite3_bind_int64(r->epoch, 1, (sqlite3_int64)epoch);
    int rc = sqlite3_step(r->epoch);
    const char *s = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(r->epoch, 0) : NULL;
    snprintf(out, 64, "%s", s == NULL ? "" : s);
    bool fine = s != NULL;
    if (!fine && rc == SQLITE_DONE) err_set(e, "%s: epoch %" PRIu64 " is not known in the spool: the file is damaged", r->path, epoch);
    if (!fine && rc != SQLITE_DONE) fault(r, e);
    sqlite3_reset(r->epoch);
    return fine;
}

static bool read_row(struct spool_reader *r, char tracker[64], uint64_t *epoch, struct buf *out, struct err *e) {
    uint64_t pos = (uint64_t)sqlite3_column_int64(r->rows, 0), its = (uint64_t)sqlite3_column_int64(r->rows, 1);
    uint64_t first = (uint64_t)sqlite3_column_int64(r->rows, 2);
    int64_t count = sqlite3_column_int64(r->rows, 3);
    const uint8_t *p = sqlite3_column_blob(r->rows, 4);
    size_t n = (size_t)sqlite3_column_bytes(r->rows, 4);
    struct err why = {""};
    if (its != *epoch || tracker[0] == '\0') {
        if (!tracker_of(r, its, tracker, e)) return false;
        *epoch = its;
    }
    if (p != NULL && count > 0 && count <= UINT32_MAX && batch_lines(p, n, tracker, its, first, (uint32_t)count, out, &why)) return true;
    return err_set(e, "%s: batch %" PRIu64 " (epoch %" PRIu64 ", seq %" PRIu64 " to %" PRIu64 ") is damaged: %s", r->path, pos, its, first,
                   first + (uint64_t)count - 1, why.text[0] != '\0' ? why.text : "no bytes");
}

bool spool_read(struct spool_reader *r, uint64_t after, size_t max_bytes, struct buf *out, uint64_t *last, struct err *e) {
    char tracker[64] = "";
    uint64_t epoch = 0;
    size_t from = out->n;
    *last = after;
    if (after > INT64_MAX) return err_set(e, "position %" PRIu64 " is no position", after);
    if (!follow_file(r, e)) return false;
    sqlite3_bind_int64(r->rows, 1, (sqlite3_int64)after);
    int rc;
    bool fine = true;
    while (fine && (rc = sqlite3_step(r->rows)) == SQLITE_ROW) {
        fine = read_row(r, tracker, &epoch, out, e);
        if (!fine) break;
        *last = (uint64_t)sqlite3_column_int64(r->rows, 0);
        if (out->n - from >= max_bytes) break;
    }
    if (fine && rc != SQLITE_ROW && rc != SQLITE_DONE) fine = fault(r, e);
    sqlite3_reset(r->rows);
    if (!fine && *last > after) return true; /* whole batches came before the fault: the next call meets it again and says so */
    return fine;
}
