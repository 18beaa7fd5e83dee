#include "svc/hclient.h"
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX (16u << 20)
#define HEAD_MAX  (32u << 10)

struct hclient {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *fields;
    struct buf *body, *head;
    size_t max_reply;
    bool running, too_long;
    char where[256]; /* scheme://host:port for messages: the path may hold a secret */
    char why[CURL_ERROR_SIZE];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void curl_begin(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct hclient *hclient_create(void) {
    pthread_once(&curl_once, curl_begin);
    struct hclient *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->multi = curl_multi_init();
    c->easy = curl_easy_init();
    if (!c->multi || !c->easy) {
        hclient_destroy(c);
        return NULL;
    }
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 8L);
    return c;
}

void hclient_abort(struct hclient *c) {
    if (c->running) curl_multi_remove_handle(c->multi, c->easy);
    c->running = false;
    curl_slist_free_all(c->fields);
    c->fields = NULL;
    c->body = c->head = NULL;
}

void hclient_destroy(struct hclient *c) {
    if (!c) return;
    hclient_abort(c);
    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    free(c);
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx) {
    struct hclient *c = ctx;
    size_t bytes = size * n;
    if (bytes > c->max_reply - c->body->n || !buf_add(c->body, p, bytes)) {
        c->too_long = true;
        return 0;
    }
    return bytes;
}

static size_t on_head(char *p, size_t size, size_t n, void *ctx) {
    struct hclient *c = ctx;
    size_t bytes = size * n;
    if (!c->head) return bytes;
    if (bytes > 5 && memcmp(p, "HTTP/", 5) == 0) buf_clear(c->head); /* an interim answer (100) came before this one */
    if (c->head->n + bytes > HEAD_MAX || !buf_add(c->head, p, bytes)) {
        c->too_long = true;
        return 0;
    }
    return bytes;
}

static bool set_fields(struct hclient *c, const struct hclient_request *rq) {
    /* An empty Expect keeps libcurl from waiting a second for a 100 before larger bodies. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    for (const char *const *h = rq->header; list && h && *h; h++) {
        struct curl_slist *more = curl_slist_append(list, *h);
        if (!more) {
            curl_slist_free_all(list);
            return false;
        }
        list = more;
    }
    c->fields = list;
    return list != NULL;
}

static void set_where(struct hclient *c, const char *url) {
    const char *host = strstr(url, "://");
    size_t n = host ? (size_t)(host - url) + 3 : 0;
    n += strcspn(url + n, "/?#");
    const char *at = memchr(url, '@', n);
    if (at) {
        n -= (size_t)(at + 1 - url);
        url = at + 1;
    }
    if (n >= sizeof c->where) n = sizeof c->where - 1;
    memcpy(c->where, url, n);
    c->where[n] = '\0';
}

static bool set_method(CURL *h, const struct hclient_request *rq) {
    const char *method = rq->method ? rq->method : "GET";
    CURLcode rc = CURLE_OK;
    if (strcmp(method, "HEAD") == 0) rc = curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    else if (rq->body || strcmp(method, "POST") == 0) {
        rc = curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body_n);
        if (rc == CURLE_OK) rc = curl_easy_setopt(h, CURLOPT_POSTFIELDS, rq->body ? rq->body : "");
    }
    if (rc == CURLE_OK && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        rc = curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    return rc == CURLE_OK;
}

static bool set_options(struct hclient *c, const struct hclient_request *rq) {
    CURL *h = c->easy;
    unsigned connect_ms = rq->connect_ms ? rq->connect_ms : 5000, total_ms = rq->total_ms ? rq->total_ms : 30000;
    bool ok = true;
#define SET(option, value) ok = ok && curl_easy_setopt(h, option, value) == CURLE_OK
    SET(CURLOPT_URL, rq->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "portreeve");
    SET(CURLOPT_HTTPHEADER, c->fields);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)total_ms);
    SET(CURLOPT_ERRORBUFFER, c->why);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, c);
    SET(CURLOPT_HEADERFUNCTION, on_head);
    SET(CURLOPT_HEADERDATA, c);
#undef SET
    return ok && set_method(h, rq);
}

bool hclient_start(struct hclient *c, const struct hclient_request *rq, struct buf *body, struct err *e) {
    hclient_abort(c);
    curl_easy_reset(c->easy);
    c->body = body;
    c->head = rq->reply_head;
    c->max_reply = (rq->max_reply ? rq->max_reply : REPLY_MAX);
    c->too_long = false;
    c->why[0] = '\0';
    buf_clear(body);
    set_where(c, rq->url);
    if (!set_fields(c, rq) || !set_options(c, rq)) {
        hclient_abort(c);
        return err_set(e, "cannot prepare a call to %s: bad address or no memory", c->where);
    }
    CURLMcode rc = curl_multi_add_handle(c->multi, c->easy);
    if (rc != CURLM_OK) {
        hclient_abort(c);
        return err_set(e, "cannot call %s: %s", c->where, curl_multi_strerror(rc));
    }
    c->running = true;
    return true;
}

static int finish(struct hclient *c, CURLcode rc, int *status, struct err *e) {
    long code = 0, os_errno = 0;
    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &os_errno);
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &code);
    bool too_long = c->too_long;
    size_t most = c->max_reply;
    hclient_abort(c);
    if (too_long) {
        err_set(e, "the answer of %s is longer than %zu bytes", c->where, most);
        return -1;
    }
    if (rc != CURLE_OK) {
        char reason[128] = "";
        if (os_errno) snprintf(reason, sizeof reason, " (%s)", strerrordesc_np((int)os_errno));
        err_set(e, "no answer from %s: %s%s", c->where, c->why[0] ? c->why : curl_easy_strerror(rc), reason);
        return -1;
    }
    *status = (int)code;
    return 1;
}

int hclient_step(struct hclient *c, unsigned ms, int *status, struct err *e) {
    if (!c->running) {
        err_set(e, "no call is running");
        return -1;
    }
    int live = 0, left = 0;
    CURLMcode rc = curl_multi_perform(c->multi, &live);
    if (rc == CURLM_OK && live) {
        rc = curl_multi_poll(c->multi, NULL, 0, (int)ms, NULL);
        if (rc == CURLM_OK) rc = curl_multi_perform(c->multi, &live);
    }
    if (rc != CURLM_OK) {
        hclient_abort(c);
        err_set(e, "call to %s: %s", c->where, curl_multi_strerror(rc));
        return -1;
    }
    for (CURLMsg *m = curl_multi_info_read(c->multi, &left); m; m = curl_multi_info_read(c->multi, &left))
        if (m->msg == CURLMSG_DONE && m->easy_handle == c->easy) return finish(c, m->data.result, status, e);
    return 0;
}
