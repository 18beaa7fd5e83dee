#include "script/lib.h"

void vm_open_libs(struct vm *v, enum vm_kind kind) {
    static const struct {
        const char *name;
        lua_CFunction open;
        bool trusted_only;
    } libs[] = {
        {"portreeve.ini_c", lib_ini, false},   {"portreeve.addr", lib_addr, false},       {"portreeve.list", lib_list, false},
        {"portreeve.token", lib_token, false}, {"portreeve.request", lib_request, false}, {"portreeve.response", lib_response, false},
        {"portreeve.net", lib_net, true},      {"portreeve.sys", lib_sys, true},          {"portreeve.http", lib_http, true},
        {"portreeve.spool", lib_spool, true},  {"portreeve.engine", lib_engine, true},
    };
    for (size_t i = 0; i < sizeof libs / sizeof *libs; i++)
        if (kind == VM_TRUSTED || !libs[i].trusted_only) vm_preload(v, libs[i].name, libs[i].open);
}

void *lib_udata(lua_State *L, int index, const void *key) {
    void *p = lua_touserdata(L, index);
    if (!p || !lua_getmetatable(L, index)) return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, key);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? p : NULL;
}
