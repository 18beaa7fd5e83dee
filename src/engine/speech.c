#include "engine/speech.h"
#include <stddef.h>

static const struct {
    uint32_t services;
    const struct speech *speech;
} speeches[] = {
    {SVC_TUNNELS, &speech_tunnel},
    {SVC_REMOTE_LOG, &speech_log},
    {SVC_SCRIPT, &speech_script},
};

const struct speech *speech_of(const struct plan_socket *s) {
    for (unsigned i = 0; i < sizeof speeches / sizeof *speeches; i++)
        if (s->services & speeches[i].services) return speeches[i].speech;
    return &speech_http;
}
