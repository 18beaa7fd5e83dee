/* portreeve.sys for trusted code (hub and ui on app threads): what plain Lua lacks.
 * random hash_password verify_password sha256 equal now_ms mono_ms boot_id log sleep library · create_file remove_file file_id can_open make_dir
 * Passwords: yescrypt by crypt_rn(3), setting "$y$jCT$" (cost 8: 64 MiB, about 0.14 s of one 2020s core). */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/newfile.h"
#include "plan/library.h"
#include "script/lib.h"
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <lua5.4/lauxlib.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RANDOM_MAX     1024
#define SLEEP_MAX_MS   60000
#define FILE_MAX       65536
#define PASSWORD_COST  8
#define HASHES_AT_ONCE 2
#define HASH_WAIT_S    10

static int refuse(lua_State *L, const char *what, const char *why) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, why);
    return 2;
}

static bool random_fill(void *p, size_t n) {
    for (size_t got = 0; got < n;) {
        ssize_t r = getrandom((char *)p + got, n - got, 0);
        if (r > 0) got += (size_t)r;
        else if (r < 0 && errno != EINTR) return false;
    }
    return true;
}

static int sys_random(lua_State *L) { /* random(n) -> n bytes */
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 1 && n <= RANDOM_MAX, 1, "1 to 1024 bytes");
    unsigned char bytes[RANDOM_MAX];
    if (!random_fill(bytes, (size_t)n)) return luaL_error(L, "the kernel gave no random bytes: %s", strerror(errno));
    lua_pushlstring(L, (const char *)bytes, (size_t)n);
    explicit_bzero(bytes, sizeof bytes);
    return 1;
}

/* At most two hashes at a time in the whole process: each takes 64 MiB and a core, and a flood of logins must not take the machine. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t change;
    unsigned running;
} hashing = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static bool hashing_enter(void) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += HASH_WAIT_S;
    int rc = 0;
    pthread_mutex_lock(&hashing.lock);
    while (hashing.running >= HASHES_AT_ONCE && rc == 0)
        rc = pthread_cond_clockwait(&hashing.change, &hashing.lock, CLOCK_MONOTONIC, &until);
    bool in = hashing.running < HASHES_AT_ONCE;
    if (in) hashing.running++;
    pthread_mutex_unlock(&hashing.lock);
    return in;
}

static void hashing_leave(void) {
    pthread_mutex_lock(&hashing.lock);
    hashing.running--;
    pthread_cond_signal(&hashing.change);
    pthread_mutex_unlock(&hashing.lock);
}

/* Hash `text` with `setting` (a setting or a whole hash) into out. NULL = done, else why not. */
static const char *hash_with(const char *text, const char *setting, char out[CRYPT_OUTPUT_SIZE]) {
    struct crypt_data *d = calloc(1, sizeof *d);
    if (!d) return "no memory";
    if (!hashing_enter()) {
        free(d);
        return "busy: too many passwords are being checked at once";
    }
    const char *hash = crypt_rn(text, setting, d, (int)sizeof *d);
    const char *why = hash && hash[0] != '*' ? NULL : "crypt refused the setting or found no memory";
    if (!why) snprintf(out, CRYPT_OUTPUT_SIZE, "%s", hash);
    hashing_leave();
    explicit_bzero(d, sizeof *d);
    free(d);
    return why;
}

/* crypt reads up to a NUL and at most CRYPT_MAX_PASSPHRASE_SIZE bytes: anything else must not be cut silently. */
static const char *check_password(lua_State *L, int index, bool *usable) {
    size_t n = 0;
    const char *text = luaL_checklstring(L, index, &n);
    *usable = strlen(text) == n && n < CRYPT_MAX_PASSPHRASE_SIZE;
    return text;
}

static int sys_hash_password(lua_State *L) { /* hash_password(text) -> "$y$…" | nil, why */
    bool usable;
    const char *text = check_password(L, 1, &usable);
    char salt[16], setting[CRYPT_GENSALT_OUTPUT_SIZE], hash[CRYPT_OUTPUT_SIZE];
    if (!usable) return refuse(L, "password", "longer than 511 bytes, or holds a NUL byte");
    if (!random_fill(salt, sizeof salt) || !crypt_gensalt_rn("$y$", PASSWORD_COST, salt, sizeof salt, setting, sizeof setting))
        return refuse(L, "password", "yescrypt is not available in this libcrypt");
    const char *why = hash_with(text, setting, hash);
    if (why) return refuse(L, "password", why);
    lua_pushstring(L, hash);
    return 1;
}

/* hash nil: nobody of that name; the same work is done, and the answer is false. */
static int sys_verify_password(lua_State *L) { /* verify_password(text, hash|nil) -> boolean | nil, why */
    bool usable;
    const char *text = check_password(L, 1, &usable);
    const char *known = luaL_optstring(L, 2, NULL);
    char setting[CRYPT_GENSALT_OUTPUT_SIZE], hash[CRYPT_OUTPUT_SIZE];
    if (!crypt_gensalt_rn("$y$", PASSWORD_COST, "no such account.", 16, setting, sizeof setting))
        return refuse(L, "password", "yescrypt is not available in this libcrypt");
    const char *why = hash_with(usable ? text : "", known ? known : setting, hash);
    if (why) return refuse(L, "password", why);
    size_t n = known ? strlen(known) : 0;
    lua_pushboolean(L, usable && known && strlen(hash) == n && CRYPTO_memcmp(hash, known, n) == 0);
    explicit_bzero(hash, sizeof hash);
    return 1;
}

static int sys_sha256(lua_State *L) { /* sha256(bytes) -> 32 bytes */
    size_t n = 0;
    const char *p = luaL_checklstring(L, 1, &n);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(p, n, out, &len, EVP_sha256(), NULL)) return luaL_error(L, "sha256 failed");
    lua_pushlstring(L, (const char *)out, len);
    return 1;
}

static int sys_equal(lua_State *L) { /* equal(a, b) -> boolean, in time that does not depend on where they differ */
    size_t an = 0, bn = 0;
    const char *a = luaL_checklstring(L, 1, &an), *b = luaL_checklstring(L, 2, &bn);
    lua_pushboolean(L, an == bn && CRYPTO_memcmp(a, b, an) == 0);
    return 1;
}

static int sys_now_ms(lua_State *L) { /* now_ms() -> unix ms */
    lua_pushinteger(L, clock_real_ms());
    return 1;
}

static int sys_mono_ms(lua_State *L) { /* mono_ms() -> ms since some point of this boot */
    lua_pushinteger(L, clock_mono_ms());
    return 1;
}

static int
sys_library(lua_State *L) { /* library("portreeve/web/static/mark.svg") -> bytes | nil, why: a file of the Lua library that runs */
    const char *name = luaL_checkstring(L, 1);
    size_t n;
    const char *text = library_text(name, &n);
    if (text) {
        lua_pushlstring(L, text, n);
        return 1;
    }
    if (library_held()) return refuse(L, name, "there is no such file in the library");
    char path[1024];
    struct buf read = {0};
    struct err e;
    snprintf(path, sizeof path, "%s/%s", vm_luadir(vm_of(L)), name);
    bool good = file_read(path, LIBRARY_FILE, &read, &e);
    if (good) lua_pushlstring(L, read.n ? read.p : "", read.n);
    buf_free(&read);
    return good ? 1 : refuse(L, name, e.text);
}

static int sys_boot_id(lua_State *L) { /* boot_id() -> text that differs for every boot: what mono_ms is relative to */
    char id[64] = "unknown";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, id, sizeof id - 1);
        if (n > 0) {
            id[n] = '\0';
            id[strcspn(id, "\n")] = '\0';
        }
        close(fd);
    }
    lua_pushstring(L, id);
    return 1;
}

static int sys_log(lua_State *L) { /* log(level, area, message) */
    static const char *const names[] = {"debug", "info", "notice", "warn", "error", NULL};
    static const enum log_level levels[] = {LOG_LVL_DEBUG, LOG_LVL_INFO, LOG_LVL_NOTICE, LOG_LVL_WARN, LOG_LVL_ERROR};
    int i = luaL_checkoption(L, 1, NULL, names);
    const char *area = luaL_checkstring(L, 2);
    log_say(levels[i], area, "%s", luaL_checkstring(L, 3));
    return 0;
}

static int sys_sleep(lua_State *L) { /* sleep(ms): at most a minute */
    lua_Integer ms = luaL_checkinteger(L, 1);
    luaL_argcheck(L, ms >= 0 && ms <= SLEEP_MAX_MS, 1, "0 to 60000 ms");
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
    return 0;
}

/* Whole or not at all, 0600. An existing file is left alone: two threads that try agree on the winner's text by reading it back. */
static int sys_create_file(lua_State *L) { /* create_file(path, text) -> true | nil, why */
    size_t n = 0;
    const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &n);
    luaL_argcheck(L, n <= FILE_MAX, 2, "at most 64 KiB");
    struct err e = {0};
    if (!newfile_create(path, text, n, 0600, &e)) {
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int
sys_remove_file(lua_State *L) { /* remove_file(path) -> true: this call removed it | nil, why: somebody else did, or it cannot be */
    const char *path = luaL_checkstring(L, 1);
    if (unlink(path) < 0) return refuse(L, path, strerror(errno));
    newfile_sync_folder(path, NULL);
    lua_pushboolean(L, 1);
    return 1;
}

static int sys_file_id(lua_State *L) { /* file_id(path) -> "device:inode" | nil, why: tells whether a path still names the same file */
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if (stat(path, &st) < 0) return refuse(L, path, strerror(errno));
    lua_pushfstring(L, "%I:%I", (lua_Integer)st.st_dev, (lua_Integer)st.st_ino);
    return 1;
}

/* can_open(path) -> true | nil, why: could a file be opened for reading and writing, or be made there? Nothing is opened: closing any
 * descriptor of a file gives up every POSIX lock that this process has on it, and SQLite's are such. */
static int sys_can_open(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    const char *slash = strrchr(path, '/');
    struct stat st;
    bool there = stat(path, &st) == 0, dangling = !there && lstat(path, &st) == 0;
    if (there && !S_ISREG(st.st_mode)) return refuse(L, path, "not a regular file");
    if (!there && !dangling) {
        lua_pushlstring(L, slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1);
        if (access(lua_tostring(L, -1), W_OK | X_OK) == 0) return lua_pushboolean(L, 1), 1;
    } else if (!dangling && access(path, R_OK | W_OK) == 0) return lua_pushboolean(L, 1), 1;
    return refuse(L, path, strerror(dangling ? ENOENT : errno));
}

static int sys_make_dir(lua_State *L) { /* make_dir(path) -> true | nil, why: 0700; an existing folder is fine, parents must exist */
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if (mkdir(path, 0700) < 0 && (errno != EEXIST || stat(path, &st) < 0 || !S_ISDIR(st.st_mode))) return refuse(L, path, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

int lib_sys(lua_State *L) {
    static const luaL_Reg functions[] = {{"random", sys_random},
                                         {"hash_password", sys_hash_password},
                                         {"verify_password", sys_verify_password},
                                         {"sha256", sys_sha256},
                                         {"equal", sys_equal},
                                         {"now_ms", sys_now_ms},
                                         {"mono_ms", sys_mono_ms},
                                         {"boot_id", sys_boot_id},
                                         {"log", sys_log},
                                         {"sleep", sys_sleep},
                                         {"library", sys_library},
                                         {"create_file", sys_create_file},
                                         {"remove_file", sys_remove_file},
                                         {"file_id", sys_file_id},
                                         {"can_open", sys_can_open},
                                         {"make_dir", sys_make_dir},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
