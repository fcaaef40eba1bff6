#!/bin/bash
# Runs a command in several virtual machines side by side (tests/vm/run.sh), each with `--part I/N` behind
# its arguments: an emulated machine uses little more than one processor of the host. A line is shown when
# it is there, with the machine's number before it.
#
# Usage: BUILD=build tests/vm/parts.sh N COMMAND...
#
# The exit status is 0 when all of them were, else that of a machine that failed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
n=$1
shift

machines=()
# shellcheck disable=SC2317 # by the trap
finish() {
	for machine in "${machines[@]}"; do
		kill "$machine" 2>/dev/null || true
	done
	wait
}
trap finish EXIT
trap 'exit 143' TERM INT

status=0
for ((i = 1; i <= n; i++)); do
	"$here/run.sh" "$@" --part "$i/$n" > >(sed -u "s/^/$i: /") &
	machines+=($!)
done
for machine in "${machines[@]}"; do
	wait "$machine" || status=$?
done
machines=()
exit $status
