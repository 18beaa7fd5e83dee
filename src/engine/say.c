#include "engine/say.h"
#include "base/luadir.h"
#include "script/lib.h"
#include "script/vm.h"
#include <lua5.4/lua.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MEMORY (256u << 20)

bool say_time(const char *s, int64_t *ms) {
    static const char *const forms[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M",    "%Y-%m-%dT%H:%M:%SZ",
                                        "%Y-%m-%dT%H:%MZ",   "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M",
                                        "%Y-%m-%d",          "%H:%M:%S",          "%H:%M"};
    time_t now = time(NULL);
    struct tm today;
    localtime_r(&now, &today);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        if (forms[i][1] == 'H') tm = (struct tm){.tm_year = today.tm_year, .tm_mon = today.tm_mon, .tm_mday = today.tm_mday};
        const char *end = strptime(s, forms[i], &tm);
        if (!end || *end) continue;
        tm.tm_isdst = -1;
        time_t t = strchr(forms[i], 'Z') ? timegm(&tm) : mktime(&tm);
        *ms = (int64_t)t * 1000;
        return t > 0;
    }
    return false;
}

bool say_text(const char *p, size_t n, struct err *e) {
    return (fwrite(p, 1, n, stdout) == n && fflush(stdout) == 0) || err_set(e, "cannot write to standard output");
}

bool say_words(const char *module, const char *document, size_t n, struct err *e) {
    char luadir[512];
    struct vm_limits lim = {.memory = MEMORY, .steps = 0};
    if (!luadir_find(luadir, sizeof luadir, e)) return false;
    struct vm *v = vm_create(VM_TRUSTED, &lim, luadir, e);
    if (!v) return false;
    lua_State *L = vm_lua(v);
    vm_open_libs(v, VM_TRUSTED);
    bool good = vm_require(v, module, e);
    if (good) {
        lua_getfield(L, -1, "text");
        lua_pushlstring(L, document, n);
        good = vm_call(v, 1, 1, e);
    }
    size_t k = 0;
    const char *words = good ? lua_tolstring(L, -1, &k) : NULL;
    good = good && say_text(words ? words : "", k, e);
    vm_destroy(v);
    return good;
}
