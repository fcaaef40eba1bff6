# dbps: ps and kill for database sessions, from the kernel. `make help` lists the targets.
#
# Objects are built out of tree, in build/. V=1 shows the commands, SAN=1 builds with the sanitizers,
# FUZZ=1 for the fuzzers.

V ?= 0
SAN ?= 0
FUZZ ?= 0
# The sanitizers' objects must not meet the others.
BUILD ?= $(if $(filter 1,$(SAN)),build-san,build)

prefix ?= /usr/local
bindir ?= $(prefix)/bin
sbindir ?= $(prefix)/sbin
includedir ?= $(prefix)/include
libdir ?= $(prefix)/lib
mandir ?= $(prefix)/share/man
unitdir ?= $(prefix)/lib/systemd/system
sysconfdir ?= /etc
DESTDIR ?=

CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKG_CONFIG ?= pkg-config
VERSION := 0.1.0

MAKEFLAGS += --no-print-directory
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-8s %s\n' $(1) $(2))

PACKAGES := libbpf libelf zlib libmariadb libsystemd inih jansson sqlite3
CPPFLAGS += -D_GNU_SOURCE -DDBPS_VERSION='"$(VERSION)"' -Iinclude -Iuserspace -I$(BUILD)
CPPFLAGS += $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
CFLAGS ?= -O2 -g
CFLAGS += -std=gnu17 -Wall -Wextra -Werror -pthread -fno-omit-frame-pointer
LDFLAGS += -pthread -Wl,--as-needed
LDLIBS += $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)
ifeq ($(SAN),1)
# The checks for NULL that the sanitizers add make gcc believe that it can be NULL.
CFLAGS += -fsanitize=address,undefined -Wno-format-overflow
LDFLAGS += -fsanitize=address,undefined
endif
ifeq ($(FUZZ),1)
# What nobody set is a pattern, the same in every run.
CFLAGS += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS += -ftrivial-auto-var-init=pattern
LDFLAGS += -fsanitize=fuzzer,address,undefined
endif

ARCH := $(shell uname -m)
BPF_ARCH := $(if $(filter aarch64,$(ARCH)),arm64,x86)
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -Wall -Wextra -Werror
BPF_CFLAGS += -Wno-unused-parameter -Iinclude -Ibpf -I$(BUILD)

MAINS := userspace/daemon/main.c userspace/cli/main.c
SOURCES := $(filter-out $(MAINS),$(wildcard userspace/*/*.c))
ifeq ($(FUZZ),1)
# Without what holds the BPF programs.
SOURCES := $(filter-out userspace/kernel/load.c userspace/cli/%,$(SOURCES))
endif
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
BPF_TESTS := $(patsubst tests/bpf/%.c,$(BUILD)/tests/bpf/%,$(wildcard tests/bpf/test_*.c))
BENCHES := $(addprefix $(BUILD)/tests/bench/,empty snapshot kill_latency poll uncancelled/dbpsd)
SERVERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/integration/*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 120
MANUALS := $(wildcard docs/*.[1-8])

all: $(BUILD)/dbpsd $(BUILD)/dbps $(BUILD)/libdbpscancel.a ## build the programs and the library (V=1: show commands, SAN=1: sanitizers)
	@:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BUILD)/vmlinux.h: /sys/kernel/btf/vmlinux
	$(call say,BTF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(BPFTOOL) btf dump file $< format c > $@

$(BUILD)/%.bpf.o: $(BUILD)/vmlinux.h
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MT $@ -MF $(@:.o=.d) -c $(BPF_SOURCE) -o $@
	$(Q)llvm-strip -g $@

$(BUILD)/dbps.bpf.o: BPF_SOURCE = bpf/dbps.bpf.c
$(BUILD)/dbps.bpf.o: bpf/dbps.bpf.c

$(BUILD)/tests/bench/empty.bpf.o: BPF_SOURCE = tests/bench/empty.bpf.c
$(BUILD)/tests/bench/empty.bpf.o: tests/bench/empty.bpf.c

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(notdir $*)_bpf > $@

$(BUILD)/userspace/kernel/load.o: $(BUILD)/dbps.skel.h

$(BUILD)/%.o: %.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libdbps.a: $(OBJECTS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/libdbpscancel.a: $(BUILD)/userspace/cancel/cancel.o
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/dbpsd: $(BUILD)/userspace/daemon/main.o $(BUILD)/libdbps.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/dbps: $(BUILD)/userspace/cli/main.o $(BUILD)/libdbps.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libdbps.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -lcmocka -o $@

$(BUILD)/tests/bpf/%: $(BUILD)/tests/bpf/%.o $(BUILD)/libdbps.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -lcmocka -o $@

# As a server's own build would have it: the public header and its library alone.
$(BUILD)/tests/integration/%: tests/integration/%.c $(BUILD)/libdbpscancel.a include/dbps/cancel.h
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -Iinclude $(CFLAGS) $(LDFLAGS) $< $(BUILD)/libdbpscancel.a $(SERVER_LIBS) -o $@

# The library in the program, with its symbols.
$(BUILD)/tests/integration/tls_server: SERVER_LIBS = -l:libssl.a -l:libcrypto.a

$(BUILD)/tests/integration/uring_server: SERVER_LIBS = -luring

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libdbps.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -lcmocka -o $@

$(BUILD)/tests/vm/%: tests/vm/%.c
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE $(CFLAGS) $(LDFLAGS) $< -o $@

# Its bytes come from the input, not from a socket.
$(BUILD)/tests/fuzz/fuzz_wire: LDFLAGS += -Wl,--wrap=poll -Wl,--wrap=recv

$(BUILD)/tests/bench/empty.o: $(BUILD)/tests/bench/empty.skel.h

# What the look at the cancel map costs is measured against a dbpsd whose taps do not have it.
UNCANCELLED := $(BUILD)/tests/bench/uncancelled

$(UNCANCELLED)/dbps.bpf.c: $(wildcard bpf/*)
	$(Q)mkdir -p $(@D)
	$(Q)cp bpf/* $(@D)
	$(Q)sed -i 's/if (s->armed)/if (false)/' $(@D)/cancel.bpf.h
	$(Q)! cmp -s bpf/cancel.bpf.h $(@D)/cancel.bpf.h

$(UNCANCELLED)/dbps.bpf.o: BPF_SOURCE = $(UNCANCELLED)/dbps.bpf.c
$(UNCANCELLED)/dbps.bpf.o: $(UNCANCELLED)/dbps.bpf.c

$(UNCANCELLED)/load.o: CPPFLAGS := -I$(UNCANCELLED) $(CPPFLAGS)
$(UNCANCELLED)/load.o: userspace/kernel/load.c $(UNCANCELLED)/dbps.skel.h
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(UNCANCELLED)/dbpsd: $(BUILD)/userspace/daemon/main.o $(UNCANCELLED)/load.o $(BUILD)/libdbps.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libdbps.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

deps: ## install what the build and the tests need (Debian, as root)
	$(Q)scripts/install-deps.sh build test

# The compiler's flags come from pkg-config when make starts: a make that installed packages has to
# start another one to build with them.
demo: ## show it: a throwaway MariaDB, its processlist, two kills (installs what is missing)
	$(Q)scripts/install-deps.sh demo
	$(Q)$(MAKE) all
	$(Q)BUILD=$(BUILD) scripts/demo.sh

test: ## run all tests (installs what is missing)
	$(Q)scripts/install-deps.sh test
	$(Q)$(MAKE) all $(UNIT_TESTS) $(BPF_TESTS)
	$(Q)$(MAKE) test-unit
	$(Q)$(MAKE) test-sanitized
	$(Q)$(MAKE) test-bpf
	$(Q)$(MAKE) test-manuals
	$(Q)$(MAKE) test-integration

test-unit: $(UNIT_TESTS) ## run the unit tests (no root needed)
	$(Q)set -e; for t in $^; do $$t; done

test-sanitized: ## run the unit tests with the sanitizers
	$(Q)$(MAKE) SAN=1 BUILD=$(BUILD)-san test-unit

test-bpf: $(BPF_TESTS) ## run the tests that load BPF programs (root)
	$(Q)set -e; for t in $^; do $$t; done

test-integration: all $(SERVERS) ## run the tests on real servers (root)
	$(Q)BUILD=$(BUILD) /usr/bin/python3 tests/integration/run.py --again 4

# The tests of the list and of KILL that are worth the time on an emulated processor in each run.
VM_TESTS ?= kill. cancel. drain. link. sessions. paired_list. wait. tls.hidden_ tls.older \
	client.process client.cgroup client.gone client.other client.remote client.server client.pooler \
	victims.over_tcp exact.kill_query exact.cancel timing. reads.the_pools pgbouncer.kill trouble.every \
	postgres.list postgres.kill postgres.states postgres.extended postgres.pgbench_simple postgres.older \
	postgres.cancel \
	protocol.results_end protocol.errors protocol.call protocol.p protocol.a_ protocol.the_ protocol.change \
	protocol.reset protocol.direct protocol.long protocol.bulk protocol.cursors protocol.local protocol.small \
	protocol.transactions protocol.session \
	where.a_ where.kill where.dbps where.errors where.limits where.many_at where.order where.what where.who where.selects
VM_MACHINES ?= 2

test-vm: all $(SERVERS) $(BUILD)/tests/vm/tsc_khz ## run tests on Debian 12's kernel in QEMU; VM_TESTS=all, or "postgres. tls."; VM_PACKAGES="A.deb B.deb": on that kernel (root, x86_64)
	$(Q)scripts/install-deps.sh test vm
	$(Q)tests/vm/kernel.sh $(BUILD)/vm $(VM_PACKAGES)
	$(Q)BUILD=$(BUILD) DBPS_TEST_SLOWNESS=10 tests/vm/parts.sh $(VM_MACHINES) \
		/usr/bin/python3 tests/integration/run.py --again 4 $(filter-out all,$(VM_TESTS))

bench-vm: all $(BUILD)/tests/vm/tsc_khz ## count the processor's instructions of loading the programs on Debian 12's kernel; VM_PACKAGES as above
	$(Q)scripts/install-deps.sh test vm
	$(Q)tests/vm/kernel.sh $(BUILD)/vm $(VM_PACKAGES)
	$(Q)BUILD=$(BUILD) DBPS_TEST_CLOCK=instructions tests/vm/run.sh /usr/bin/python3 tests/bench/run.py start

test-manuals: ## check the manual pages
	$(Q)for page in $(MANUALS); do groff -man -Tutf8 -ww -z "$$page"; done 2>&1 | \
		{ ! grep . ; }

fuzz: ## fuzz both steps for FUZZ_SECONDS=120 each, the console, texts and the config for a quarter of it
	$(Q)scripts/install-deps.sh fuzz
	$(Q)$(MAKE) FUZZ=1 BUILD=$(BUILD)-fuzz CC=$(CLANG) fuzzers
	$(Q)BUILD=$(BUILD)-fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.py $(FUZZ_TARGETS)

fuzz-keep: ## keep what fuzzing has found new ways with, in tests/fuzz/corpus
	$(Q)$(MAKE) FUZZ=1 BUILD=$(BUILD)-fuzz CC=$(CLANG) fuzzers
	$(Q)BUILD=$(BUILD)-fuzz tests/fuzz/run.py --keep $(FUZZ_TARGETS)

fuzzers: $(FUZZERS)
	@:

bench: ## measure: cost a statement, throughput, dbps ps, 5,000 sessions, at rest, kills (root)
	$(Q)scripts/install-deps.sh bench
	$(Q)$(MAKE) all $(BENCHES)
	$(Q)BUILD=$(BUILD) /usr/bin/python3 tests/bench/run.py $(BENCH)

format: ## format all C files as .clang-format says
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

check: ## check format, clang-tidy, cppcheck, shellcheck, the manual pages
	$(Q)scripts/install-deps.sh check
	$(Q)$(MAKE) $(BUILD)/dbps.skel.h $(BUILD)/tests/bench/empty.skel.h
	$(Q)BUILD=$(BUILD) scripts/check.sh
	$(Q)$(MAKE) test-manuals

install: all ## install under DESTDIR and prefix; a config that is there is kept
	$(Q)install -D -m 755 $(BUILD)/dbps $(DESTDIR)$(bindir)/dbps
	$(Q)install -D -m 755 $(BUILD)/dbpsd $(DESTDIR)$(sbindir)/dbpsd
	$(Q)install -D -m 644 include/dbps/cancel.h $(DESTDIR)$(includedir)/dbps/cancel.h
	$(Q)install -D -m 644 $(BUILD)/libdbpscancel.a $(DESTDIR)$(libdir)/libdbpscancel.a
	$(Q)install -d $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(unitdir)
	$(Q)sed -e 's|@version@|$(VERSION)|' -e 's|@includedir@|$(includedir)|' \
		-e 's|@libdir@|$(libdir)|' packaging/dbpscancel.pc.in \
		> $(DESTDIR)$(libdir)/pkgconfig/dbpscancel.pc
	$(Q)sed 's|@sbindir@|$(sbindir)|' packaging/dbpsd.service.in \
		> $(DESTDIR)$(unitdir)/dbpsd.service
	$(Q)install -d $(DESTDIR)$(sysconfdir)/dbps
	$(Q)[ -e $(DESTDIR)$(sysconfdir)/dbps/dbps.conf ] || \
		install -m 644 packaging/dbps.conf $(DESTDIR)$(sysconfdir)/dbps/dbps.conf
	$(Q)for page in $(MANUALS); do \
		install -D -m 644 $$page $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/}; done

uninstall: ## remove what install put there, but not the config
	$(Q)rm -f $(DESTDIR)$(bindir)/dbps $(DESTDIR)$(sbindir)/dbpsd \
		$(DESTDIR)$(unitdir)/dbpsd.service $(DESTDIR)$(includedir)/dbps/cancel.h \
		$(DESTDIR)$(libdir)/libdbpscancel.a $(DESTDIR)$(libdir)/pkgconfig/dbpscancel.pc
	$(Q)for page in $(MANUALS); do \
		rm -f $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/}; done

clean: ## remove what was built
	$(Q)rm -rf $(BUILD) $(BUILD)-san $(BUILD)-fuzz

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all help deps demo test test-unit test-sanitized test-bpf test-integration test-manuals test-vm \
	fuzz fuzz-keep fuzzers bench bench-vm format check install uninstall clean
.SECONDARY:
