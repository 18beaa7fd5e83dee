/* Tables:
 *   batch(pos INTEGER PRIMARY KEY, epoch, first, count, total, bytes)   one row per commit and 256 KiB; total counts events since the file
 *                                                                       was made, so that the backlog is a difference of two rows
 *   cursor(reader PRIMARY KEY, pos, seen_ms) · epoch(epoch PRIMARY KEY, started_ms, tracker)
 * Positions grow for ever, also over a fresh file: its first one is made from the clock (ms × 1024), so that no reader's cursor can point
 * into the future of a younger file. The newest row is never deleted, since the next position is counted from it: without AUTOINCREMENT a commit
 * writes one page less. Several processes may write (a change of the engine's binary): each commit waits for the other's. */
#include "base/clock.h"
#include "base/log.h"
#include "base/newfile.h"
#include "svc/spool_db.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECK_WHOLE_BELOW \
    (64ll << 20) /* a larger file is looked over only when there is a reason: an engine must be back within a second */
#define BUSY_US    500
#define BUSY_TURNS 20000 /* × BUSY_US = 10 s */
#define TRIM_ROWS  "128"

/* SQLite's own handler sleeps up to 100 ms a time; the other process holds the lock for one fsync. */
static int on_busy(void *ctx, int turn) {
    (void)ctx;
    if (turn >= BUSY_TURNS) return 0;
    struct timespec t = {.tv_nsec = BUSY_US * 1000};
    nanosleep(&t, NULL);
    return 1;
}

static enum db_result pseudonym_key(struct spool_db *d, struct err *e) {
    char path[4096], text[2 * PSEUDONYM_KEY + 2];
    uint8_t key[PSEUDONYM_KEY];
    snprintf(path, sizeof path, "%s/pseudonym.key", d->dir);
    if (RAND_bytes(key, sizeof key) != 1) return err_set(e, "%s: no random bytes", path), DB_TROUBLE;
    for (unsigned i = 0; i < sizeof key; i++) snprintf(text + 2 * i, 3, "%02x", key[i]);
    text[2 * PSEUDONYM_KEY] = '\n';
    if (!newfile_create(path, text, 2 * PSEUDONYM_KEY + 1, 0600, e)) return DB_TROUBLE;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    size_t got = 0;
    for (unsigned i = 0; n >= 2 * PSEUDONYM_KEY && i < sizeof key; i++) {
        unsigned v;
        char two[3] = {text[2 * i], text[2 * i + 1], '\0'};
        if (strspn(two, "0123456789abcdef") != 2 || sscanf(two, "%x", &v) != 1) break;
        d->pseudonym_key[i] = (uint8_t)v;
        got++;
    }
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(key, sizeof key);
    if (got == PSEUDONYM_KEY) return DB_OK;
    err_set(e, "%s: the pseudonym key cannot be read (64 digits 0-9a-f); restore it, or delete it and pseudonyms begin anew", path);
    return DB_REFUSED;
}

static enum db_result make_files(struct spool_db *d, struct err *e) {
    if (mkdir(d->dir, 0700) != 0 && errno != EEXIST) {
        int sys = errno;
        err_set(e, "%s: cannot make the spool folder: %s", d->dir, strerrordesc_np(sys));
        return db_kind_of_errno(sys);
    }
    /* A file that is there is not opened: closing it would give up the POSIX locks of this process's readers. */
    struct stat st;
    bool there = lstat(d->path, &st) == 0;
    int fd = there ? -1 : open(d->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (there ? S_ISLNK(st.st_mode) || access(d->path, R_OK | W_OK) != 0 : fd < 0 && errno != EEXIST) {
        int sys = there && S_ISLNK(st.st_mode) ? ELOOP : errno;
        err_set(e, "%s: cannot open the spool: %s", d->path, strerrordesc_np(sys));
        return db_kind_of_errno(sys);
    }
    if (fd >= 0) close(fd);
    if (!newfile_sync_folder(d->path, e) || !newfile_sync_folder(d->dir, e)) return DB_TROUBLE;
    return pseudonym_key(d, e);
}

static enum db_result connect_file(struct spool_db *d, struct err *e) {
    int rc = sqlite3_open_v2(d->path, &d->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (d->db == NULL) return err_set(e, "%s: out of memory", d->path), DB_TROUBLE;
    sqlite3_extended_result_codes(d->db, 1);
    if (rc != SQLITE_OK) return db_fault(d, "open the spool", e);
    sqlite3_busy_handler(d->db, on_busy, NULL);
    sqlite3_db_config(d->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(d->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* Checkpoints stay with the writer: done beside it, a steady stream of commits would never let the log start over. */
    return db_run(d,
                  "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=16777216;"
                  "PRAGMA secure_delete=FAST; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0",
                  "set up the spool", e);
}

static enum db_result look_over(struct spool_db *d, struct err *e) {
    sqlite3_stmt *st = NULL;
    enum db_result r = DB_OK;
    int rc = sqlite3_prepare_v2(d->db, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    if (rc != SQLITE_ROW) {
        r = db_fault(d, "check the spool", e);
    } else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0) {
        err_set(e, "%s: the check of the file says: %s", d->path, (const char *)sqlite3_column_text(st, 0));
        r = DB_DAMAGED;
    }
    sqlite3_finalize(st);
    return r;
}

static enum db_result schema(struct spool_db *d, struct err *e) {
    enum db_result r = DB_OK;
    int64_t version = db_number(d, "PRAGMA user_version", 0, &r, e);
    if (r != DB_OK) return r;
    if (version > SPOOL_SCHEMA) {
        err_set(e, "%s: written by a newer Portreeve (schema %" PRId64 ", this one knows %d); run that version, or move the file away",
                d->path, version, SPOOL_SCHEMA);
        return DB_REFUSED;
    }
    if (version == SPOOL_SCHEMA) return DB_OK;
    return db_run(d,
                  "CREATE TABLE batch(pos INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,"
                  " total INTEGER NOT NULL, bytes BLOB NOT NULL);"
                  "CREATE TABLE cursor(reader TEXT PRIMARY KEY, pos INTEGER NOT NULL, seen_ms INTEGER NOT NULL) WITHOUT ROWID;"
                  "CREATE TABLE epoch(epoch INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, tracker TEXT NOT NULL);"
                  "PRAGMA application_id=1347584880; PRAGMA user_version=1",
                  "make the tables", e);
}

static enum db_result enter_epoch(struct spool_db *d, uint64_t *epoch, uint64_t *last_seq, struct err *e) {
    enum db_result r = DB_OK;
    sqlite3_stmt *st = NULL;
    int64_t now = clock_real_ms(), newest = db_number(d, "SELECT coalesce(max(epoch), 0) FROM epoch", 0, &r, e);
    if (r != DB_OK) return r;
    if (*epoch == 0) *epoch = (uint64_t)(newest >= now ? newest + 1 : now);
    if (sqlite3_prepare_v2(d->db, "INSERT OR IGNORE INTO epoch VALUES(?1, ?2, ?3)", -1, &st, NULL) != SQLITE_OK)
        return db_fault(d, "begin an epoch", e);
    sqlite3_bind_int64(st, 1, (sqlite3_int64)*epoch);
    sqlite3_bind_int64(st, 2, now);
    sqlite3_bind_text(st, 3, d->tracker, -1, SQLITE_STATIC);
    if (sqlite3_step(st) != SQLITE_DONE) r = db_fault(d, "begin an epoch", e);
    sqlite3_finalize(st);
    if (r != DB_OK) return r;
    char sql[160];
    snprintf(sql, sizeof sql,
             "SELECT coalesce(max(first + count - 1), 0) FROM (SELECT * FROM batch WHERE epoch = %" PRIu64 " ORDER BY pos DESC LIMIT 64)",
             *epoch);
    int64_t seq = db_number(d, sql, 0, &r, e);
    if (r == DB_OK && (uint64_t)seq > *last_seq)
        *last_seq = (uint64_t)seq; /* a commit that was reported as failed may be there after all */
    return r;
}

static enum db_result prepare(struct spool_db *d, struct err *e) {
    const struct {
        sqlite3_stmt **st;
        const char *sql;
    } all[] = {{&d->begin, "BEGIN IMMEDIATE"},
               {&d->commit, "COMMIT"},
               {&d->rollback, "ROLLBACK"},
               {&d->last, "SELECT pos, total FROM batch ORDER BY pos DESC LIMIT 1"},
               {&d->insert, "INSERT INTO batch VALUES(?1, ?2, ?3, ?4, ?5, ?6)"},
               {&d->trim, "DELETE FROM batch WHERE pos IN (SELECT pos FROM batch WHERE pos <= ?1 AND pos < (SELECT max(pos) FROM batch) "
                          "ORDER BY pos LIMIT " TRIM_ROWS ")"}};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (sqlite3_prepare_v3(d->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT, all[i].st, NULL) != SQLITE_OK)
            return db_fault(d, "prepare", e);
    return DB_OK;
}

static enum db_result open_once(struct spool_db *d, enum db_open how, uint64_t *epoch, uint64_t *last_seq, struct err *e) {
    struct stat st;
    enum db_result r = make_files(d, e);
    if (r == DB_OK) r = connect_file(d, e);
    bool check = how == OPEN_DAMAGED || (stat(d->path, &st) == 0 && st.st_size > 0 && st.st_size <= CHECK_WHOLE_BELOW);
    if (r == DB_OK && check) r = look_over(d, e);
    if (r == DB_OK) r = db_run(d, "BEGIN IMMEDIATE", "lock the spool", e);
    if (r == DB_OK) r = schema(d, e);
    if (r == DB_OK) r = enter_epoch(d, epoch, last_seq, e);
    if (r == DB_OK) r = db_run(d, "COMMIT", "begin an epoch", e);
    /* Nothing may rest on log pages whose fsync failed: Linux forgets that they are dirty, and a later fsync proves nothing. */
    if (r == DB_OK && how != OPEN_FIRST) r = db_run(d, "PRAGMA wal_checkpoint(TRUNCATE)", "start the log over", e);
    if (r == DB_OK) r = prepare(d, e);
    if (r == DB_OK) r = spool_db_last(d, e);
    if (r == DB_OK) spool_db_measure(d);
    return r;
}

static void stamp(char out[32]) {
    time_t now = (time_t)(clock_real_ms() / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(out, 32, "%Y%m%dT%H%M%SZ", &tm);
}

/* Move the file and its log away under one name. */
static bool quarantine(struct spool_db *d, const struct err *why, struct err *e) {
    static const char *const parts[] = {"", "-wal", "-shm"};
    char when[32], from[4200], to[4300], base[4200];
    struct stat st;
    stamp(when);
    snprintf(base, sizeof base, "%s.damaged-%s", d->path, when);
    for (unsigned n = 1; stat(base, &st) == 0 && n < 100; n++) snprintf(base, sizeof base, "%s.damaged-%s-%u", d->path, when, n);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(from, sizeof from, "%s%s", d->path, parts[i]);
        snprintf(to, sizeof to, "%s%s", base, parts[i]);
        if (rename(from, to) != 0 && errno != ENOENT)
            return err_set(e, "%s: damaged, and cannot be moved away: %s", from, strerrordesc_np(errno));
    }
    log_error("spool",
              "THE SPOOL IS DAMAGED: %s. It now is %s, and a fresh one takes its place. Events that were not yet fetched are in the "
              "damaged file only: "
              "keep it; sqlite3 %s .recover saves what can be read",
              why->text, base, base);
    return newfile_sync_folder(d->path, e);
}

enum db_result spool_db_open(struct spool_db *d, const char *dir, const char *tracker, enum db_open how, uint64_t *epoch,
                             uint64_t *last_seq, struct err *e) {
    snprintf(d->dir, sizeof d->dir, "%s", dir);
    snprintf(d->path, sizeof d->path, "%s/spool.db", d->dir);
    snprintf(d->tracker, sizeof d->tracker, "%s", tracker);
    uint64_t asked = *epoch;
    enum db_result r = open_once(d, how, epoch, last_seq, e);
    if (r == DB_DAMAGED && e != NULL) {
        struct err why = *e;
        spool_db_close(d);
        if (!quarantine(d, &why, e)) return DB_TROUBLE;
        *epoch = asked;
        r = open_once(d, OPEN_FIRST, epoch, last_seq, e);
    }
    if (r != DB_OK) {
        if (asked == 0) *epoch = 0;
        spool_db_close(d);
    }
    return r;
}
