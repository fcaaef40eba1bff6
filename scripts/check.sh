#!/bin/bash
# Format, shellcheck, cppcheck and clang-tidy over the whole tree, as `make check` runs them. All of
# them run, then it fails if one did. What is not asked for, and why: .clang-format, .clang-tidy,
# scripts/cppcheck.txt.
#
# BUILD: where the skeletons of the BPF programs were generated.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

mapfile -t all < <(git ls-files '*.c' '*.h')
mapfile -t sources < <(git ls-files 'userspace/*.c' 'tests/*.c' ':!*.bpf.c')
mapfile -t shell < <(git ls-files '*.sh' .ci/run)
# shellcheck disable=SC2207 # paths of pkg-config have no blanks
flags=(-D_GNU_SOURCE '-DDBPS_VERSION="0"' -Iinclude -Iuserspace "-I$BUILD"
	$(pkg-config --cflags libbpf libmariadb libsystemd inih jansson sqlite3))
failed=()

run() {
	local name=$1
	shift
	echo "  CHECK    $name"
	"$@" || failed+=("$name")
}

# A file a run: with several, version 14 misses va_start() in all but the first.
# shellcheck disable=SC2317 # called by run
tidy() {
	printf '%s\0' "${sources[@]}" |
		xargs -0 -P "$(nproc)" -I '{}' clang-tidy --quiet '{}' -- -std=gnu17 "${flags[@]}" \
			2> >(grep -v 'warnings* generated\.$' >&2)
}

run clang-format clang-format --dry-run -Werror "${all[@]}"
run shellcheck shellcheck "${shell[@]}"
run cppcheck cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
	--suppressions-list=scripts/cppcheck.txt --enable=warning,performance,portability \
	'-DLIBBPF_OPTS(type,name,...)=struct type name={0}' -j "$(nproc)" "${flags[@]}" \
	"${sources[@]}"
run clang-tidy tidy

[ ${#failed[@]} -eq 0 ] && exit 0
echo "check: failed: ${failed[*]}" >&2
exit 1
