#include "base/wheel.h"
#include <stddef.h>

void wheel_init(struct wheel *w, int64_t now_ms) {
    w->tick = now_ms / WHEEL_TICK_MS;
    for (unsigned i = 0; i < WHEEL_SLOTS; i++) w->slot[i].prev = w->slot[i].next = &w->slot[i];
}

static void unlink_node(struct wheel_node *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = n->next = NULL;
}

static void link_node(struct wheel *w, struct wheel_node *n) {
    int64_t tick = n->due / WHEEL_TICK_MS + 1, far = w->tick + WHEEL_SLOTS - 1;
    if (tick <= w->tick) tick = w->tick + 1;
    if (tick > far) tick = far; /* beyond the horizon: looked at again then */
    n->slot_at = tick * WHEEL_TICK_MS;
    struct wheel_node *head = &w->slot[(uint64_t)tick % WHEEL_SLOTS];
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}

void wheel_set(struct wheel *w, struct wheel_node *n, int64_t due_ms) {
    n->due = due_ms;
    if (n->next) {
        if (n->slot_at <= due_ms + WHEEL_TICK_MS) return;
        unlink_node(n);
    }
    link_node(w, n);
}

void wheel_clear(struct wheel_node *n) {
    if (n->next) unlink_node(n);
}

static void run_slot(struct wheel *w, struct wheel_node *head, int64_t now_ms, void (*fire)(struct wheel_node *, void *), void *ctx) {
    struct wheel_node ripe = {.prev = &ripe, .next = &ripe};
    if (head->next == head) return;
    ripe.next = head->next, ripe.prev = head->prev; /* a list of its own, so that fire may set and clear freely */
    ripe.next->prev = &ripe, ripe.prev->next = &ripe;
    head->next = head->prev = head;
    while (ripe.next != &ripe) {
        struct wheel_node *n = ripe.next;
        unlink_node(n);
        if (n->due <= now_ms) fire(n, ctx);
        else link_node(w, n);
    }
}

void wheel_run(struct wheel *w, int64_t now_ms, void (*fire)(struct wheel_node *n, void *ctx), void *ctx) {
    int64_t to = now_ms / WHEEL_TICK_MS;
    if (to - w->tick > WHEEL_SLOTS) w->tick = to - WHEEL_SLOTS;
    while (w->tick < to) {
        w->tick++;
        run_slot(w, &w->slot[(uint64_t)w->tick % WHEEL_SLOTS], now_ms, fire, ctx);
    }
}
