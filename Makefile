# Portreeve. `make help` lists the targets. MODE=release|asan|tsan|cov chooses the build (each in its own folder below build/).
MODE ?= release
B := build/$(MODE)
CC ?= gcc
PREFIX ?= /usr
SYSCONFDIR ?= /etc
LOCALSTATEDIR ?= /var
LIBEXECDIR ?= $(PREFIX)/libexec/portreeve
DATADIR ?= $(PREFIX)/share/portreeve

WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes -Werror
HARD := -fstack-protector-strong -fstack-clash-protection -fcf-protection -ftrivial-auto-var-init=zero -fPIE
OPT_release := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
OPT_cov := -O0 -g --coverage
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE -Isrc $(WARN) $(HARD) $(OPT_$(MODE)) -DLIBEXECDIR='"$(LIBEXECDIR)"' -DDATADIR='"$(DATADIR)"' -MMD -MP $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now,-z,noexecstack $(OPT_$(MODE)) $(LDFLAGS)
ENGINE_LIBS := -llua5.4 -lev -lssl -lcrypto -lsqlite3 -lcurl -lcrypt -lseccomp -ledit -lpthread -lm

# The supervisor links floors 1 and 2, the sockets and the counters, and libc: nothing else can take it down.
SUPER_SRC := $(wildcard src/base/*.c src/plan/*.c src/super/*.c) src/net/sock.c src/gate/counters.c
ENGINE_SRC := $(filter-out src/super/%,$(wildcard src/*/*.c))
ENGINE_MAIN := src/engine/main.c
SUPER_OBJ := $(SUPER_SRC:%.c=$(B)/%.o)
ENGINE_OBJ := $(ENGINE_SRC:%.c=$(B)/%.o)
LIB_OBJ := $(filter-out $(B)/$(ENGINE_MAIN:.c=.o),$(ENGINE_OBJ))
UNIT_SRC := $(wildcard tests/unit/*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)

.PHONY: all
all: $(B)/portreeve $(B)/portreeve-engine

$(B)/portreeve: $(SUPER_OBJ)
	$(CC) -o $@ $^ $(LDFLAGS_ALL)
$(B)/portreeve-engine: $(B)/src/engine/main.o $(B)/libportreeve.a
	$(CC) -o $@ $^ $(LDFLAGS_ALL) $(ENGINE_LIBS)
$(B)/libportreeve.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<
$(B)/unit/%: tests/unit/%.c $(B)/libportreeve.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -o $@ $^ $(LDFLAGS_ALL) $(ENGINE_LIBS)
.PHONY: units
units: $(UNIT_BIN)
-include $(SUPER_OBJ:.o=.d) $(ENGINE_OBJ:.o=.d) $(UNIT_BIN:=.d)
