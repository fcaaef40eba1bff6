# dbps: ps and kill for database sessions, from the kernel. `make help` lists the targets.
#
# Objects are built out of tree, in build/. V=1 shows the commands, SAN=1 builds with the sanitizers.

V ?= 0
SAN ?= 0
BUILD ?= build

CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKG_CONFIG ?= pkg-config
VERSION := 0.1.0

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-8s %s\n' $(1) $(2))

PACKAGES := libbpf libelf zlib libmariadb libsystemd inih jansson
CPPFLAGS += -D_GNU_SOURCE -DDBPS_VERSION='"$(VERSION)"' -Iinclude -Iuserspace -I$(BUILD)
CPPFLAGS += $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
CFLAGS ?= -O2 -g
CFLAGS += -std=gnu17 -Wall -Wextra -Werror -pthread -fno-omit-frame-pointer
LDFLAGS += -pthread -Wl,--as-needed
LDLIBS += $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)
ifeq ($(SAN),1)
CFLAGS += -fsanitize=address,undefined
LDFLAGS += -fsanitize=address,undefined
endif

ARCH := $(shell uname -m)
BPF_ARCH := $(if $(filter aarch64,$(ARCH)),arm64,x86)
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -Wall -Wextra -Werror
BPF_CFLAGS += -Wno-unused-parameter -Iinclude -Ibpf -I$(BUILD)

MAINS := userspace/daemon/main.c userspace/cli/main.c
SOURCES := $(filter-out $(MAINS),$(wildcard userspace/*/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))

all: $(BUILD)/dbpsd $(BUILD)/dbps

$(BUILD)/vmlinux.h: /sys/kernel/btf/vmlinux
	$(call say,BTF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(BPFTOOL) btf dump file $< format c > $@

$(BUILD)/dbps.bpf.o: bpf/dbps.bpf.c $(wildcard bpf/*.h include/dbps/*.h) $(BUILD)/vmlinux.h
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@
	$(Q)llvm-strip -g $@

$(BUILD)/dbps.skel.h: $(BUILD)/dbps.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name dbps_bpf > $@

$(BUILD)/userspace/kernel/%.o: $(BUILD)/dbps.skel.h

$(BUILD)/%.o: %.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libdbps.a: $(OBJECTS)
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

test-unit: $(UNIT_TESTS)
	$(Q)set -e; for t in $^; do $$t; done

clean:
	$(Q)rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all test-unit clean
.SECONDARY:
