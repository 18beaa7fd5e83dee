/* Texts of a response that depend on nothing but a number, and what may stand in its fields. */
#include "proto/h1_int.h"
#include <time.h>

static const char *client_error(int status) {
    switch (status) {
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 423: return "Locked";
    case 424: return "Failed Dependency";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    default: return "Client Error";
    }
}

static const char *server_error(int status) {
    switch (status) {
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    case 511: return "Network Authentication Required";
    default: return "Server Error";
    }
}

const char *h1_reason(int status) {
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    default: break;
    }
    if (status < 200) return "Informational";
    if (status < 300) return "Success";
    if (status < 400) return "Redirection";
    return status < 500 ? client_error(status) : server_error(status);
}

static char *digits(char *d, int v, int count) {
    for (int i = count - 1; i >= 0; i--, v /= 10) d[i] = (char)('0' + v % 10);
    return d + count;
}

/* IMF-fixdate has four digits for the year. */
#define YEAR_0        INT64_C(-62167219200)
#define YEAR_9999_END INT64_C(253402300799)

void h1_date(int64_t unix_seconds, char out[30]) {
    static const char day[7][5] = {"Sun,", "Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,"};
    static const char month[12][5] = {"Jan ", "Feb ", "Mar ", "Apr ", "May ", "Jun ", "Jul ", "Aug ", "Sep ", "Oct ", "Nov ", "Dec "};
    int64_t t = unix_seconds < YEAR_0 ? YEAR_0 : unix_seconds > YEAR_9999_END ? YEAR_9999_END : unix_seconds;
    time_t now = (time_t)t;
    struct tm tm = {0};
    gmtime_r(&now, &tm);
    char *d = out;
    memcpy(d, day[tm.tm_wday], 4);
    d[4] = ' ';
    d = digits(d + 5, tm.tm_mday, 2);
    *d++ = ' ';
    memcpy(d, month[tm.tm_mon], 4);
    d = digits(d + 4, tm.tm_year + 1900, 4);
    *d++ = ' ';
    d = digits(d, tm.tm_hour, 2);
    *d++ = ':';
    d = digits(d, tm.tm_min, 2);
    *d++ = ':';
    d = digits(d, tm.tm_sec, 2);
    memcpy(d, " GMT", 5);
}

bool h1_field_ok(const char *name, size_t nn, const char *value, size_t vn) {
    if (nn == 0) return false;
    for (size_t i = 0; i < nn; i++)
        if (!H1_IS(name[i], H1_TOKEN)) return false;
    for (size_t i = 0; i < vn; i++)
        if (!H1_IS(value[i], H1_VALUE)) return false;
    return true;
}

bool h1_field_framing(const char *name, size_t n) {
    static const char *const ours[] = {"date", "connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "trailer"};
    if (n > 17) return false;
    struct slice s = {name, (uint32_t)n};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (slice_is_nocase(s, ours[i])) return true;
    return false;
}
