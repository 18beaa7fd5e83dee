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
OPT_release := -O2 -g -ffile-prefix-map=$(CURDIR)=. -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
OPT_cov := -O0 -g --coverage
OPT_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
ifeq ($(MODE),fuzz) # libFuzzer is clang's; the warnings and the hardening are gcc's business
CC := clang
WARN := -Wall
HARD := -fPIE
endif
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE -Isrc $(WARN) $(HARD) $(OPT_$(MODE)) -DLIBEXECDIR='"$(LIBEXECDIR)"' -DDATADIR='"$(DATADIR)"' -MMD -MP $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now,-z,noexecstack $(OPT_$(MODE)) $(LDFLAGS)
ENGINE_LIBS := -llua5.4 -lev -lssl -lcrypto -lsqlite3 -lcurl -lcrypt -lseccomp -ledit -lpthread -lm

# The supervisor links floors 1 and 2, the sockets, the counters and the flight recorder, and libc: nothing else can take it down.
SUPER_SRC := $(wildcard src/base/*.c src/plan/*.c src/super/*.c) $(addprefix src/net/,diag.c iftable.c ifwatch.c owner.c ports.c sock.c) src/gate/counters.c src/gate/hold.c src/gate/recorder.c src/gate/recorder_read.c
ENGINE_SRC := $(filter-out src/super/%,$(wildcard src/*/*.c))
ENGINE_MAIN := src/engine/main.c
SUPER_OBJ := $(SUPER_SRC:%.c=$(B)/%.o)
ENGINE_OBJ := $(ENGINE_SRC:%.c=$(B)/%.o)
LIB_OBJ := $(filter-out $(B)/$(ENGINE_MAIN:.c=.o),$(ENGINE_OBJ))
UNIT_SRC := $(wildcard tests/unit/*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
FUZZ_SRC := $(wildcard tests/fuzz/*.c)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/fuzz/%)

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
# The installation's folders are compiled into these: they are made anew when PREFIX and its like change.
$(B)/folders: always
	@mkdir -p $(@D)
	@echo '$(LIBEXECDIR) $(DATADIR)' | cmp -s - $@ || echo '$(LIBEXECDIR) $(DATADIR)' >$@
.PHONY: always
$(B)/src/super/main.o $(B)/src/base/luadir.o $(B)/src/engine/planner_read.o: $(B)/folders
$(B)/unit/%: tests/unit/%.c $(B)/libportreeve.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -o $@ $< $(B)/libportreeve.a $(LDFLAGS_ALL) $(ENGINE_LIBS)
$(B)/fuzz/%: tests/fuzz/%.c $(B)/libportreeve.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -Itests -o $@ $(filter %.c %.a,$^) $(LDFLAGS_ALL) $(ENGINE_LIBS)
.PHONY: units fuzzers
units: $(UNIT_BIN)
fuzzers: $(FUZZ_BIN)
-include $(SUPER_OBJ:.o=.d) $(ENGINE_OBJ:.o=.d) $(UNIT_BIN:=.d) $(FUZZ_BIN:=.d)

# --- what people type ---
# Packages first, then a make of its own: only then are compiler and headers there to look at.
.PHONY: run test unit e2e asan tsan fuzz lint fmt layers cov bench install clean help
BUILD = $(MAKE) --no-print-directory -s -j$$(nproc)
run:
	@.ci/need build
	@$(BUILD) all
	@exec $(B)/portreeve run --conf conf --policies policies --state var $(ARGS)

test:
	@.ci/need build test
	@$(BUILD) all units
	@MODE=$(MODE) tests/run $(ONLY)

unit:
	@.ci/need build test
	@$(BUILD) all units
	@MODE=$(MODE) tests/run unit/ lua/ policies

e2e:
	@.ci/need build test
	@$(BUILD) all
	@MODE=$(MODE) tests/run e2e/

# The units and the real processes once more, with the sanitizer looking on; with TSan only the units that have threads.
SANITIZED_asan := unit/ e2e/
SANITIZED_tsan := e2e/ $(addprefix unit/,bans consock console counters fdlink log probe rules rates recorder remotelog spool)
asan tsan:
	@.ci/need build test
	@$(BUILD) MODE=$@ all units
	@MODE=$@ tests/run $(SANITIZED_$@)

FUZZ_SECONDS ?= 60
fuzz:
	@.ci/need build fuzz
	@$(BUILD) MODE=fuzz fuzzers
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/lib/fuzz $(ONLY)

C_FILES = $(wildcard src/*/*.c src/*/*.h tests/unit/*.c tests/unit/*.h tests/fuzz/*.c)
lint: layers
	@.ci/need build lint
	luacheck -q lua policies tests/lua $(wildcard examples)
	cppcheck -q --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -Isrc \
	    --suppress=missingIncludeSystem --suppress=funcArgOrderDifferent --suppress=arrayIndexThenCheck src
	clang-format --dry-run -Werror $(C_FILES)
	clang-tidy --quiet $(wildcard src/*/*.c) -- -std=c11 -D_GNU_SOURCE -Isrc -DLIBEXECDIR='""' -DDATADIR='""'

fmt:
	@.ci/need fmt
	clang-format -i $(C_FILES)

layers:
	@tests/layers

cov:
	@.ci/need build test
	@find build/cov -name '*.gcda' -delete 2>/dev/null || :
	@$(BUILD) MODE=cov all units
	@MODE=cov tests/run; status=$$?; tests/lib/cov; exit $$status

bench:
	@.ci/need build
	@.ci/need --say bench
	@$(BUILD) all
	@tests/bench/bench.py $(ARGS)

# DESTDIR, PREFIX, SYSCONFDIR and LOCALSTATEDIR as usual. Files in SYSCONFDIR that are there already stay as they are.
BINDIR := $(PREFIX)/bin
CONFDIR := $(SYSCONFDIR)/portreeve
STATEDIR := $(LOCALSTATEDIR)/lib/portreeve
FILL := sed -e 's,@BINDIR@,$(BINDIR),g' -e 's,@CONFDIR@,$(CONFDIR),g' -e 's,@STATEDIR@,$(STATEDIR),g' -e 's,@DATADIR@,$(DATADIR),g'
install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(DATADIR) $(DESTDIR)$(CONFDIR) \
	    $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(SYSCONFDIR)/logrotate.d
	install -d -m 0700 $(DESTDIR)$(STATEDIR)
	install -m 0755 $(B)/portreeve $(DESTDIR)$(BINDIR)/portreeve
	install -m 0755 $(B)/portreeve-engine $(DESTDIR)$(LIBEXECDIR)/portreeve-engine
	install -m 0644 README.md ARCHITECTURE.md LICENSE $(DESTDIR)$(DATADIR)
	@umask 022; find lua examples -type f | while read -r f; do install -D -m 0644 "$$f" "$(DESTDIR)$(DATADIR)/$$f"; done
	@umask 022; cd conf && find . -path ./systemd -prune -o -type f -print | while read -r f; do \
	    [ -e "$(DESTDIR)$(CONFDIR)/$$f" ] || install -D -m 0644 "$$f" "$(DESTDIR)$(CONFDIR)/$$f"; done
	@umask 022; cd policies && find . -type f | while read -r f; do \
	    [ -e "$(DESTDIR)$(CONFDIR)/policies/$$f" ] || install -D -m 0644 "$$f" "$(DESTDIR)$(CONFDIR)/policies/$$f"; done
	$(FILL) conf/systemd/portreeve.service.in | install -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/portreeve.service
	$(FILL) conf/systemd/portreeve.sysusers | install -m 0644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/sysusers.d/portreeve.conf
	@[ -e "$(DESTDIR)$(SYSCONFDIR)/logrotate.d/portreeve" ] || \
	    $(FILL) conf/systemd/portreeve.logrotate | install -m 0644 /dev/stdin $(DESTDIR)$(SYSCONFDIR)/logrotate.d/portreeve
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then \
	    getent passwd portreeve >/dev/null || useradd --system --home-dir $(STATEDIR) --shell /usr/sbin/nologin portreeve; \
	    chown portreeve:portreeve $(STATEDIR); fi
	@if [ -n "$(DESTDIR)" ]; then echo 'laid out below $(DESTDIR)'; \
	    else echo 'installed. Start it with: systemctl daemon-reload && systemctl enable --now portreeve'; fi

clean:
	rm -rf build

help:
	@echo 'make              build build/$(MODE)/portreeve and portreeve-engine'
	@echo 'make run          install what is missing, build, start in the foreground (conf/, state in ./var); ARGS=… further options'
	@echo 'make test         build and run every test; ONLY="e2e/reload …" some of them'
	@echo 'make unit e2e     the C and Lua units; the tests with real processes'
	@echo 'make asan tsan    units and real processes under AddressSanitizer and UBSan, or ThreadSanitizer'
	@echo 'make fuzz         each fuzzer for FUZZ_SECONDS=$(FUZZ_SECONDS); ONLY=name one of them'
	@echo 'make lint layers  luacheck, cppcheck, clang-format, clang-tidy; the include rule of ARCHITECTURE.md'
	@echo 'make fmt          clang-format over the C'
	@echo 'make cov          every test with coverage, a table by file'
	@echo 'make bench        server CPU per request beside nginx (needs nginx, its Lua module and wrk)'
	@echo 'make install      DESTDIR= PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) LOCALSTATEDIR=$(LOCALSTATEDIR)'
	@echo 'make clean        remove build/'
	@echo 'MODE=release|asan|tsan|cov chooses the build, each in its own folder'
