#!/bin/bash
# Runs a command in a virtual machine: Debian's own kernel (tests/vm/kernel.sh), this host's files, no
# network but loopback. What the command writes stays in the machine. No KVM is needed.
#
# Usage: BUILD=build tests/vm/run.sh COMMAND...
#
# With DBPS_TEST_CLOCK=instructions a second of the machine is 10^9 instructions of its processor, of which it has one: what
# takes how long is the same on any host, however busy.
#
# The exit status is the command's; 125 when the machine ended without one, or its kernel complained.
set -euo pipefail
build=$(realpath "${BUILD:-build}")

shared=$(mktemp -d "${TMPDIR:-/tmp}/dbps-vm-XXXXXX")
qemu=
# shellcheck disable=SC2317 # by the trap
finish() {
	[ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
	rm -rf "$shared"
}
trap finish EXIT
trap 'exit 143' TERM INT

# What the machine runs: the command, here, with the variables that mean something to the tests.
{
	printf 'cd %q || exit 126\n' "$PWD"
	printf 'export BUILD=%q PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/vm\n' \
		"$build"
	for name in "${!DBPS_TEST_@}"; do
		printf 'export %s=%q\n' "$name" "${!name}"
	done
	printf '%q ' "$@"
} >"$shared/command"

# shellcheck disable=SC2054 # commas are of QEMU's options
if [ "${DBPS_TEST_CLOCK:-}" = instructions ]; then
	processors=(-accel tcg,thread=single -icount shift=0,sleep=off -smp 1)
	clock=()
else
	processors=(-accel tcg,thread=multi -smp 2)
	clock=(tsc=reliable "tsc_early_khz=$("$build/tests/vm/tsc_khz")")
fi
kernel=(console=ttyS0 quiet loglevel=1 panic=-1 oops=panic mitigations=off nokaslr
	transparent_hugepage=never "${clock[@]}")
boot() {
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -serial stdio \
		-machine q35 "${processors[@]}" -cpu max -m 4096 \
		-kernel "$build/vm/vmlinuz" -initrd "$build/vm/initramfs" -append "${kernel[*]}" \
		-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=host,mount_tag=host \
		-fsdev "local,id=shared,path=$shared,security_model=none" \
		-device virtio-9p-pci,fsdev=shared,mount_tag=shared \
		</dev/null > >(sed -u 's/\r$//' | tee "$shared/console") &
	qemu=$!
	wait "$qemu" || true
	qemu=
}

# QEMU's emulated processors may execute code that another one is about to patch (jump labels: here, when the first
# probe of a process is set), and stop at the breakpoint that was there meanwhile. Seen with 7.2, told of 8.0 as well.
for _ in 1 2 3; do
	boot
	{ [ ! -e "$shared/status" ] && grep -q 'int3: 0000' "$shared/console"; } || break
	echo "vm: the emulator ran into code that was being patched" >&2
done

if grep -E 'BUG:|WARNING:|Oops|Call Trace|blocked for more' "$shared/dmesg" 2>/dev/null; then
	echo "vm: its kernel complained" >&2
	exit 125
fi
exit "$(cat "$shared/status" 2>/dev/null || echo 125)"
