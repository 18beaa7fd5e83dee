/* The spool's file: one connection of the spool thread. For the spool*.c files only. */
#ifndef PORTREEVE_SVC_SPOOL_DB_H
#define PORTREEVE_SVC_SPOOL_DB_H
#include "svc/spool_record.h"
#include <sqlite3.h>

#define SPOOL_SCHEMA  1
#define SPOOL_READERS 16u /* a reader more is refused: each holds back deletion */
#define READER_NAME   65

enum db_result {
    DB_OK,
    DB_TROUBLE, /* I/O error, locked too long, no descriptors: may pass */
    DB_FULL,    /* no space on the disk: may pass */
    DB_DAMAGED, /* the file is not a whole database any more */
    DB_REFUSED  /* newer schema, no permission: for people to settle */
};

struct spool_db {
    char path[4096], dir[3900], tracker[64];
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *rollback, *last, *insert, *trim;
    int64_t bytes;     /* pages in use as last measured, and what was added since */
    uint64_t last_pos; /* newest row that this connection wrote or saw */
    uint8_t pseudonym_key[PSEUDONYM_KEY];
};

/* spool_open.c. Open or create the file and everything in it. epoch 0: begin a new one and set it; else make sure this one is there and raise *last_seq
 * to what the file has of it. A damaged file is renamed and a fresh one made in its place. */
enum db_open {
    OPEN_FIRST,
    OPEN_AGAIN,  /* after a fault: the log is begun anew */
    OPEN_DAMAGED /* the same, and the whole file is looked over */
};
enum db_result spool_db_open(struct spool_db *d, const char *dir, const char *tracker, enum db_open how, uint64_t *epoch,
                             uint64_t *last_seq, struct err *e);
void spool_db_close(struct spool_db *d); /* legal when closed */

enum db_result spool_db_begin(struct spool_db *d, struct err *e);
enum db_result spool_db_insert(struct spool_db *d, uint64_t epoch, uint64_t first, uint32_t count, const void *p, size_t n, struct err *e);
/* Delete a bounded number of rows up to pos, never the newest one (the next pos is counted from it). *more: there are others. */
enum db_result spool_db_trim(struct spool_db *d, uint64_t pos, bool *more, struct err *e);
enum db_result spool_db_commit(struct spool_db *d, struct err *e); /* on a fault everything since begin is undone */
void spool_db_undo(struct spool_db *d);
enum db_result spool_db_last(struct spool_db *d, struct err *e); /* sets last_pos */
void spool_db_measure(struct spool_db *d);                       /* sets bytes */
uint64_t spool_db_backlog(struct spool_db *d, uint64_t acked);   /* events behind that position */

/* spool_ballast.c. The ballast: 4 MiB kept beside the file, given up when the disk is full, so that readers can still have events deleted. It can be made
 * again only where 1 MiB is free besides, so that a disk that hovers at full does not make the spool come and go. */
bool spool_ballast_make(struct spool_db *d); /* true: it is there */
void spool_ballast_drop(struct spool_db *d);

struct spool_cursor {
    char reader[READER_NAME];
    uint64_t pos;
    int64_t seen_ms;
};
enum db_result spool_db_cursors(struct spool_db *d, struct spool_cursor out[SPOOL_READERS], unsigned *n, struct err *e);
enum db_result spool_db_set_cursor(struct spool_db *d, const struct spool_cursor *c, struct err *e); /* inside begin … commit */

/* What the files of the spool's database share. doing: "open the spool", for the message. */
enum db_result db_fault(struct spool_db *d, const char *doing, struct err *e); /* of the last call, with SQLite's words in e */
enum db_result db_kind_of_errno(int sys);
enum db_result db_run(struct spool_db *d, const char *sql, const char *doing, struct err *e);
/* First column of the first row; `none` where there is no row. -1 with *r set on a fault. */
int64_t db_number(struct spool_db *d, const char *sql, int64_t none, enum db_result *r, struct err *e);
#endif
