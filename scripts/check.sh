#!/bin/bash
# Format, clang-tidy, cppcheck and shellcheck over the whole tree, as `make check` runs them. All of
# them run, then it fails if one did.
#
# BUILD: where dbps.skel.h was generated. CPPFLAGS: the compiler's, from the Makefile.
set -uo pipefail
cd "$(dirname "$0")/.."

mapfile -t all < <(git ls-files '*.c' '*.h')
mapfile -t sources < <(git ls-files 'userspace/*.c' 'tests/unit/*.c' 'tests/bpf/*.c')
mapfile -t shell < <(git ls-files 'scripts/*.sh' 'tests/*.sh' .ci/run)
eval "flags=($CPPFLAGS)"
failed=()

run() {
	local name=$1
	shift
	echo "  CHECK    $name"
	"$@" || failed+=("$name")
}

tidy() {
	printf '%s\0' "${sources[@]}" |
		xargs -0 -P "$(nproc)" -n 4 sh -c 'clang-tidy --quiet "$@" 2>/dev/null' \
			clang-tidy -- | awk -v FS=: '{ print }' && return "${PIPESTATUS[1]}"
}

run clang-format clang-format --dry-run -Werror "${all[@]}"
run shellcheck shellcheck "${shell[@]}"
run cppcheck cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
	--suppressions-list=scripts/cppcheck.txt --enable=warning,performance,portability \
	-j "$(nproc)" "${flags[@]}" "${sources[@]}"
run clang-tidy tidy

[ ${#failed[@]} -eq 0 ] && exit 0
echo "check: failed: ${failed[*]}" >&2
exit 1
