#include "base/addr.h"
#include "unit/tap.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *ip(const char *s) {
    static char out[ADDR_TEXT];
    struct addr a;
    if (!addr_parse_ip(s, strlen(s), &a, NULL)) return "refused";
    addr_format_ip(&a, out);
    return out;
}

static const char *hostport(const char *s, bool allow0) {
    static char out[ADDR_TEXT];
    struct addr a;
    if (!addr_parse_hostport(s, strlen(s), allow0, &a, NULL)) return "refused";
    addr_format(&a, out);
    return out;
}

static void check_ip(void) {
    static const char *const good[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::", "::"},
        {"::1", "::1"},
        {"0:0:0:0:0:0:0:1", "::1"},
        {"2001:DB8::A", "2001:db8::a"},
        {"2001:0db8:0000:0000:0001:0000:0000:0001", "2001:db8::1:0:0:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
        {"1::", "1::"},
        {"fe80::1", "fe80::1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::FFFF:c000:0201", "192.0.2.1"},
        {"::1.2.3.4", "::102:304"},
        {"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
        {"fe80::1%lo", "fe80::1%lo"},
        {"fe80::1%1", "fe80::1%lo"},
        {"fe80::1%2147483647", "fe80::1%2147483647"},
    };
    static const char *const bad[] = {
        "",
        " ",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.4 ",
        " 1.2.3.4",
        "192.168.001.001",
        "01.2.3.4",
        "1.2.3.",
        ".1.2.3",
        "1..2.3",
        "0x1.2.3.4",
        "+1.2.3.4",
        "1.2.3.-4",
        "1.2.3.4000",
        "a.b.c.d",
        "localhost",
        "[::1]",
        "1.2.3.4:80",
        ":",
        ":::",
        "1::2::3",
        "12345::",
        "::g",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "::1%",
        "::1%lo",
        "2001:db8::1%lo",
        "::ffff:1.2.3.4%lo",
        "fe80::1%nosuchinterface",
        "fe80::1%0",
        "fe80::1%99999999999",
        "fe80::1%",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ok(strcmp(ip(good[i][0]), good[i][1]) == 0, "%s is written %s", good[i][0], good[i][1]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) ok(strcmp(ip(bad[i]), "refused") == 0, "M7: \"%s\" is no address", bad[i]);
    struct addr a;
    ok(!addr_parse_ip("1.2.3.4\0", 8, &a, NULL) && !addr_parse_ip("::1\0", 4, &a, NULL), "a NUL behind an address is not overlooked");
}

static void check_hostport(void) {
    static const char *const good[][2] = {
        {"192.0.2.1", "192.0.2.1:0"},   {"192.0.2.1:8081", "192.0.2.1:8081"},       {"[::1]", "[::1]:0"},
        {"[::1]:65535", "[::1]:65535"}, {"[fe80::1%lo]:8082", "[fe80::1%lo]:8082"}, {"[::ffff:192.0.2.1]:1", "192.0.2.1:1"},
        {"0.0.0.0:80", "0.0.0.0:80"},
    };
    static const char *const bad[] = {
        "",
        "fe80::1",
        "::1",
        "fe80::1:8081",
        "[192.168.1.1]",
        "[192.168.1.1]:80",
        "[::1",
        "::1]",
        "[]",
        "[]:80",
        "[::1]80",
        "[::1]:",
        ":8080",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:70000",
        "1.2.3.4:65536",
        "1.2.3.4:99999999999999999999",
        "1.2.3.4: 80",
        "1.2.3.4 :80",
        "1.2.3.4:80a",
        "1.2.3.4:0x50",
        "1.2.3.4:-1",
        "1.2.3.4:080",
        "[::1]:0",
        "[::1] :80",
        "[::1]]:80",
        "[[::1]]",
        "host:80",
        "*:80",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ok(strcmp(hostport(good[i][0], false), good[i][1]) == 0, "M13 M14: %s is read as %s", good[i][0], good[i][1]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(strcmp(hostport(bad[i], false), "refused") == 0, "M12 M13 M14: \"%s\" is refused", bad[i]);
    ok(strcmp(hostport("127.0.0.1:0", true), "127.0.0.1:0") == 0, "port 0 where it is allowed");
    struct addr a;
    struct err e = {""};
    addr_parse_hostport("fe80::1", 7, false, &a, &e);
    ok(strstr(e.text, "brackets") != NULL, "M12: a bare IPv6 address is told to take brackets");
}

static void check_questions(void) {
    struct addr a = {0}, b = {0}, c = {0};
    ok(!addr_is_any(&a) && !addr_is_loopback(&a) && !addr_is_link_local(&a), "no address is none of them");
    addr_parse_ip("0.0.0.0", 7, &a, NULL);
    addr_parse_ip("::", 2, &b, NULL);
    ok(addr_is_any(&a) && addr_is_any(&b) && !addr_same_ip(&a, &b), "two wildcards, not the same");
    addr_parse_ip("127.9.9.9", 9, &a, NULL);
    addr_parse_ip("::1", 3, &b, NULL);
    addr_parse_ip("::2", 3, &c, NULL);
    ok(addr_is_loopback(&a) && addr_is_loopback(&b) && !addr_is_loopback(&c), "loopback");
    addr_parse_ip("fe80::1", 7, &a, NULL);
    addr_parse_ip("febf::1", 7, &b, NULL);
    addr_parse_ip("fec0::1", 7, &c, NULL);
    ok(addr_is_link_local(&a) && addr_is_link_local(&b) && !addr_is_link_local(&c), "link-local is fe80::/10");
    b = a;
    b.scope = 1;
    c = a;
    c.scope = 2;
    ok(addr_same_ip(&a, &b) && addr_same_ip(&a, &c) && !addr_same_ip(&b, &c), "a missing zone matches, two zones must be equal");
}

static void check_sockaddr(void) {
    struct sockaddr_storage sa;
    struct addr a, back;
    static const char *const text[] = {"127.0.0.1:80", "[::1]:443", "[fe80::1%lo]:7000"};
    for (size_t i = 0; i < 3; i++) {
        char out[ADDR_TEXT] = "";
        addr_parse_hostport(text[i], strlen(text[i]), false, &a, NULL);
        socklen_t n = addr_to_sockaddr(&a, &sa);
        addr_from_sockaddr((struct sockaddr *)&sa, &back);
        addr_format(&back, out);
        ok(n > 0 && strcmp(out, text[i]) == 0, "%s goes through a sockaddr", text[i]);
    }
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    inet_pton(AF_INET6, "::ffff:192.0.2.7", &mapped.sin6_addr);
    addr_from_sockaddr((struct sockaddr *)&mapped, &a);
    ok(a.family == 4 && a.port == 9 && a.ip[3] == 7, "L5 M1: a mapped peer is IPv4");
    struct sockaddr other = {.sa_family = AF_UNIX};
    addr_from_sockaddr(&other, &a);
    ok(a.family == 0 && addr_to_sockaddr(&a, &sa) == 0, "another family is none");
}

/* An interface may be called nearly anything, and its name stands behind link-local addresses everywhere. */
static void check_names(void) {
    struct ifreq rename = {.ifr_name = "lo"};
    struct addr a;
    char out[ADDR_TEXT];
    strcpy(rename.ifr_newname, "a\"b\\\x1b");
    int fd = unshare(CLONE_NEWNET) == 0 ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0 || ioctl(fd, SIOCSIFNAME, &rename) != 0) {
        ok(true, "# SKIP no right to a network namespace");
    } else {
        ok(addr_parse_ip("fe80::1%1", 9, &a, NULL) && addr_format_ip(&a, out) == 9 && strcmp(out, "fe80::1%1") == 0,
           "an interface whose name would break out of JSON is shown by its number: %s", out);
        strcpy(rename.ifr_name, rename.ifr_newname);
        strcpy(rename.ifr_newname, "br-lan.7@x");
        ok(ioctl(fd, SIOCSIFNAME, &rename) == 0 && addr_format_ip(&a, out) && strcmp(out, "fe80::1%br-lan.7@x") == 0,
           "others by their name: %s", out);
    }
    if (fd >= 0) close(fd);
}

int main(void) {
    check_ip();
    check_hostport();
    check_questions();
    check_sockaddr();
    check_names();
    return tap_end();
}
