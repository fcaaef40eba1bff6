#!/bin/bash
# Installs the Debian packages that a task needs and that are missing; does nothing when none is.
#
# Usage: scripts/install-deps.sh build|demo|test|vm|fuzz|bench|check...
#
# Of MariaDB only the -core package is taken: it has the server's programs without a service, so that
# no server is started on this host and none that runs is touched. PostgreSQL is told to make no cluster.
set -euo pipefail

build=(clang llvm libbpf-dev libelf-dev zlib1g-dev bpftool gcc libc6-dev make pkg-config
	libmariadb-dev libsystemd-dev libinih-dev libjansson-dev libsqlite3-dev)
server=(mariadb-server-core mariadb-client-core procps)
tests=(mariadb-client libcmocka-dev python3 python3-pymysql libdbd-mariadb-perl libdbd-mysql-perl
	percona-toolkit nodejs openssl libssl-dev binutils iproute2 groff-base postgresql-15 postgresql-client-15 pgbouncer haproxy
	sphinxsearch liburing-dev runc krb5-kdc krb5-admin-server krb5-user)

packages_of() {
	case $1 in
	build) echo "${build[@]}" ;;
	demo) echo "${build[@]}" "${server[@]}" ;;
	test) echo "${build[@]}" "${server[@]}" "${tests[@]}" ;;
	vm) echo qemu-system-x86 busybox-static cpio kmod xz-utils zstd ;; # and a kernel: tests/vm/kernel.sh
	fuzz) echo "${build[@]}" libclang-rt-14-dev libcmocka-dev python3 ;;
	bench) echo "${build[@]}" "${server[@]}" "${tests[@]}" sysbench ;;
	check) echo "${build[@]}" libcmocka-dev clang-format clang-tidy cppcheck shellcheck groff-base ;;
	*)
		echo "install-deps: unknown task '$1'" >&2
		return 2
		;;
	esac
}

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if [ $# -eq 0 ]; then
	sed -n '2,4s/^# *//p' "$0" >&2
	exit 2
fi

missing=()
for task in "$@"; do
	packages=$(packages_of "$task")
	for package in $packages; do
		is_installed "$package" || missing+=("$package")
	done
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "install-deps: not a Debian system; what is needed: ${missing[*]}" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "install-deps: root is needed to install: ${missing[*]}" >&2
	exit 1
fi
# PostgreSQL's package would make a cluster and start it. The file that says so is its own to keep.
no_clusters() {
	local conf=/etc/postgresql-common/createcluster.conf

	[ -e "$conf" ] || {
		mkdir -p "${conf%/*}"
		echo 'create_main_cluster = false' >"$conf"
	}
}

echo "installing: ${missing[*]}"
case " ${missing[*]} " in *" postgresql-15 "*) no_clusters ;; esac
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "${missing[@]}"
