#include "super/ports.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTENING 0x0a
#define COMMAND 64

bool ports_overlap(const struct addr *a, const struct addr *b) {
    return a->family == b->family && a->port == b->port && (addr_same_ip(a, b) || addr_is_any(a) || addr_is_any(b));
}

/* The kernel prints each 32-bit word of an address as the number it has in memory, so the bytes come out right by copying. */
static bool read_address(const char *hex, struct addr *out) {
    size_t words = strspn(hex, "0123456789ABCDEFabcdef") / 8;
    if (words != 1 && words != 4) return false;
    memset(out, 0, sizeof *out);
    out->family = words == 1 ? 4 : 6;
    for (size_t i = 0; i < words; i++) {
        char word[9] = "";
        memcpy(word, hex + 8 * i, 8);
        uint32_t v = (uint32_t)strtoul(word, NULL, 16);
        memcpy(out->ip + 4 * i, &v, 4);
    }
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (out->family == 6 && memcmp(out->ip, mapped, sizeof mapped) == 0) {
        memmove(out->ip, out->ip + 12, 4);
        memset(out->ip + 4, 0, 12);
        out->family = 4;
    }
    return true;
}

/* One row: false where it is no listening socket. */
static bool read_row(const char *row, struct addr *at, struct port_holder *h) {
    char address[40];
    unsigned port, state, uid;
    uintmax_t ino;
    if (sscanf(row, " %*u: %39[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %u %*u %" SCNuMAX, address, &port, &state, &uid, &ino) != 5) return false;
    if (state != LISTENING || !read_address(address, at)) return false;
    at->port = (uint16_t)port;
    *h = (struct port_holder){.inode = (ino_t)ino, .uid = uid};
    return true;
}

static bool conflicts(const struct addr *at, const struct addr *row, bool loose) {
    if (ports_overlap(at, row)) return true;
    return loose && at->port == row->port && at->family == 4 && row->family == 6 && addr_is_any(row);
}

static struct port_holder search(const char *table, const struct addr *at, bool loose, bool (*mine)(void *ctx, ino_t inode), void *ctx) {
    FILE *f = fopen(table, "re");
    struct port_holder found = {0};
    char row[512];
    if (!f) return found;
    bool begun = fgets(row, sizeof row, f) != NULL;
    while (begun && !found.inode && fgets(row, sizeof row, f)) {
        struct addr there;
        struct port_holder h;
        if (!read_row(row, &there, &h)) break; /* the kernel lists listening sockets first: a busy server's table is not read whole */
        if (conflicts(at, &there, loose) && !mine(ctx, h.inode)) found = h;
    }
    fclose(f);
    return found;
}

struct port_holder ports_foreign(const struct addr *at, bool loose, bool (*mine)(void *ctx, ino_t inode), void *ctx) {
    struct port_holder none = {0}, found = at->family == 4 ? search("/proc/net/tcp", at, loose, mine, ctx) : none;
    return found.inode ? found : search("/proc/net/tcp6", at, loose, mine, ctx);
}

static bool holds(int proc, const char *pid, const char *wanted) {
    char path[64], link[64];
    snprintf(path, sizeof path, "%.16s/fd", pid);
    int fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    if (!d) {
        if (fd >= 0) close(fd);
        return false;
    }
    for (struct dirent *f = readdir(d); f && !found; f = readdir(d)) {
        ssize_t n = readlinkat(fd, f->d_name, link, sizeof link - 1);
        if (n <= 0) continue;
        link[n] = 0;
        found = strcmp(link, wanted) == 0;
    }
    closedir(d);
    return found;
}

static void command_of(int proc, const char *pid, char out[COMMAND]) {
    char path[64];
    snprintf(path, sizeof path, "%.16s/cmdline", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, COMMAND - 1);
    if (fd >= 0) close(fd);
    if (n < 0) n = 0;
    while (n > 0 && out[n - 1] == 0) n--;
    out[n] = 0;
    for (ssize_t i = 0; i < n; i++) {
        if (!isprint((unsigned char)out[i])) out[i] = out[i] ? '?' : ' ';
    }
}

static void user_text(uid_t uid, char *out, size_t cap) {
    struct passwd *p = getpwuid(uid);
    if (p) snprintf(out, cap, "a program of user %.64s", p->pw_name);
    else snprintf(out, cap, "a program of uid %u", (unsigned)uid);
}

void ports_holder_text(const struct port_holder *h, char *out, size_t cap) {
    char wanted[48], command[COMMAND];
    out[0] = 0;
    if (h->inode == 0) return;
    snprintf(wanted, sizeof wanted, "socket:[%ju]", (uintmax_t)h->inode);
    DIR *d = opendir("/proc");
    for (struct dirent *p = d ? readdir(d) : NULL; p && !out[0]; p = readdir(d)) {
        if (!isdigit((unsigned char)p->d_name[0]) || !holds(dirfd(d), p->d_name, wanted)) continue;
        command_of(dirfd(d), p->d_name, command);
        snprintf(out, cap, "pid %.16s (%s)", p->d_name, command);
    }
    if (d) closedir(d);
    if (!out[0]) user_text(h->uid, out, cap);
}
