#include "net/owner.h"
#include "net/sock.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define GROUP_DEPTH 8
#define GROUPS_MOST 20000 /* control groups that are looked at */

/* ---- a process ---- */

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

/* The lowest pid: of a program that has divided itself that is mostly the one that began. */
static pid_t holder_of(ino_t inode) {
    char wanted[48];
    long lowest = 0;
    snprintf(wanted, sizeof wanted, "socket:[%ju]", (uintmax_t)inode);
    DIR *d = opendir("/proc");
    for (struct dirent *p = d ? readdir(d) : NULL; p; p = readdir(d)) {
        long pid = isdigit((unsigned char)p->d_name[0]) ? strtol(p->d_name, NULL, 10) : 0;
        if (pid > 0 && (lowest == 0 || pid < lowest) && holds(dirfd(d), p->d_name, wanted)) lowest = pid;
    }
    if (d) closedir(d);
    return (pid_t)lowest;
}

static size_t read_small(const char *path, char *out, size_t cap) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, cap - 1);
    if (fd >= 0) close(fd);
    if (n < 0) n = 0;
    out[n] = 0;
    return (size_t)n;
}

static void printable(char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isprint((unsigned char)s[i])) s[i] = s[i] ? '?' : ' ';
    }
}

static void command_of(pid_t pid, char *out, size_t cap) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/cmdline", (long)pid);
    size_t n = read_small(path, out, cap);
    while (n > 0 && out[n - 1] == 0) n--;
    if (n == 0) {
        snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
        n = read_small(path, out, cap);
        if (n > 0 && out[n - 1] == '\n') n--;
    }
    out[n] = 0;
    printable(out, n);
}

static uid_t uid_of(pid_t pid, uid_t otherwise) {
    char path[64], text[2048];
    unsigned uid;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    const char *line = read_small(path, text, sizeof text) ? strstr(text, "\nUid:") : NULL;
    return line && sscanf(line, "\nUid: %*u %u", &uid) == 1 ? (uid_t)uid : otherwise;
}

/* ---- its unit: the last part of the control group's path that systemd named so ---- */

static void unit_of_path(const char *path, char *out, size_t cap) {
    static const char *const kinds[] = {".service", ".socket", ".scope"};
    for (const char *part = path; part && *part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t n = strcspn(part, "/\n");
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            size_t m = strlen(kinds[k]);
            if (n <= m || memcmp(part + n - m, kinds[k], m) != 0) continue;
            snprintf(out, cap, "%.*s", (int)n, part);
            printable(out, strlen(out));
        }
        if (part[n] != '/') return;
    }
}

static void unit_of(pid_t pid, char *out, size_t cap) {
    char path[64], text[4096], *save = NULL;
    snprintf(path, sizeof path, "/proc/%ld/cgroup", (long)pid);
    if (!read_small(path, text, sizeof text)) return;
    for (char *line = strtok_r(text, "\n", &save); line && !out[0]; line = strtok_r(NULL, "\n", &save)) {
        char *at = strncmp(line, "0::", 3) == 0 ? line + 3 : strstr(line, ":name=systemd:");
        if (at) unit_of_path(strchr(at, '/'), out, cap);
    }
}

/* A control group's number is the inode of its folder: a walk finds it with no right to look into the program. */
static bool find_group(int parent, const char *name, uint64_t group, int depth, unsigned *left, char *unit, size_t cap) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    if (!d) {
        if (fd >= 0) close(fd);
        return false;
    }
    for (struct dirent *e = readdir(d); e && !found && *left > 0; e = readdir(d)) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.') continue;
        --*left;
        found = e->d_ino == group || (depth > 0 && find_group(fd, e->d_name, group, depth - 1, left, unit, cap));
        if (found && !unit[0]) unit_of_path(e->d_name, unit, cap); /* the innermost that is a unit */
    }
    closedir(d);
    return found;
}

static void unit_of_group(uint64_t group, char *out, size_t cap) {
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    unsigned left = GROUPS_MOST;
    if (group <= 1) return; /* the root */
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        struct statfs fs; /* the numbers of other hierarchies mean other groups */
        if (statfs(roots[i], &fs) != 0 || fs.f_type != CGROUP2_SUPER_MAGIC) continue;
        if (find_group(AT_FDCWD, roots[i], group, GROUP_DEPTH, &left, out, cap)) return;
    }
}

/* ---- */

void owner_find(const struct port_use *u, struct owner *out) {
    *out = (struct owner){.pid = u->inode ? holder_of(u->inode) : 0};
    uid_t uid = u->uid;
    if (out->pid > 0) {
        command_of(out->pid, out->command, sizeof out->command);
        uid = uid_of(out->pid, uid);
        unit_of(out->pid, out->unit, sizeof out->unit);
    } else {
        unit_of_group(u->cgroup, out->unit, sizeof out->unit);
    }
    struct passwd *p = getpwuid(uid);
    if (p) snprintf(out->user, sizeof out->user, "%.60s", p->pw_name);
    else snprintf(out->user, sizeof out->user, "%u", (unsigned)uid);
}

void owner_text(const struct port_use *u, char *out, size_t cap) {
    struct owner o;
    owner_find(u, &o);
    const char *in = o.unit[0] ? ", unit " : "";
    if (o.pid > 0) snprintf(out, cap, "pid %ld (%s), user %s%s%s", (long)o.pid, o.command, o.user, in, o.unit);
    else if (u->inode) snprintf(out, cap, "a program of user %s (socket:[%ju])%s%s", o.user, (uintmax_t)u->inode, in, o.unit);
    else snprintf(out, cap, "a program of user %s%s%s", o.user, in, o.unit);
}

static void say_connection(const struct port_use *u, const char *who, const char *here, char *out, size_t cap) {
    char there[ADDR_TEXT];
    addr_format(&u->peer, there);
    snprintf(out, cap,
             "%s, which uses %s for a connection with %s: choose a port that the kernel does not give out by itself "
             "(net.ipv4.ip_local_port_range), or reserve it (net.ipv4.ip_local_reserved_ports)",
             who, here, there);
}

void owner_explain(const struct addr *at, const struct port_use *u, char *out, size_t cap) {
    char who[OWNER_TEXT], here[ADDR_TEXT], ours[ADDR_TEXT];
    owner_text(u, who, sizeof who);
    addr_format(&u->at, here);
    addr_format_ip(at, ours);
    const char *verb = u->listening ? "listens on" : "has bound";
    if (u->peer.family) {
        say_connection(u, who, here, out, cap);
    } else if (addr_is_any(&u->at) && !addr_is_any(at)) {
        snprintf(out, cap,
                 "%s, which %s %s, that is on all %s addresses of this machine, %s among them: let it name its own addresses only, "
                 "end it, or choose another port",
                 who, verb, here,
                 u->dual             ? "IPv6 and IPv4"
                 : u->at.family == 6 ? "IPv6"
                                     : "IPv4",
                 ours);
    } else if (u->dual && at->family == 4) {
        snprintf(out, cap,
                 "%s, which %s %s for IPv6 and IPv4 together: make it leave IPv4 alone (IPV6_V6ONLY, \"ipv6only\"), end it, "
                 "or choose another port",
                 who, verb, here);
    } else if (addr_is_any(at) && !addr_is_any(&u->at)) {
        snprintf(out, cap,
                 "%s, which %s %s, and all addresses are asked for here: name the addresses that are to be ours (BindAddress), "
                 "end that program, or choose another port",
                 who, verb, here);
    } else {
        snprintf(out, cap, "%s, which %s %s: end that program, or choose another port or address", who, verb, here);
    }
}

bool owner_refuse(const struct addr *at, const struct port_use *u, struct err *e) {
    char text[ADDR_TEXT], why[OWNER_TEXT + 256];
    if (!u) return sock_errno_text(EADDRINUSE, at, e);
    addr_format(at, text);
    owner_explain(at, u, why, sizeof why);
    return err_set(e, "cannot bind %s: port taken by %s", text, why);
}
