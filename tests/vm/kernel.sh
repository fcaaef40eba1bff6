#!/bin/bash
# Makes what the virtual machine boots: a kernel, and an initramfs with the modules that it needs. Without
# packages it is Debian's own kernel, which is fetched. Packages are unpacked, not installed: the boot of this
# host is not touched. Does nothing when all is there, so a new kernel of Debian's comes with `make clean`.
#
# Usage: tests/vm/kernel.sh DIR [PACKAGE.deb...]    (leaves DIR/vmlinuz, DIR/initramfs and DIR/release)
#
# The packages are those of one kernel: its image and, where they are apart, its modules.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
packages=("${@:2}")

# Those of sock_diag are there because this host need not have modprobe, which the machine's kernel would
# call for them.
modules=(virtio_pci 9pnet_virtio 9p overlay inet_diag tcp_diag unix_diag veth)

is_newest() {
	local file

	for file in "$here/init" "$here/kernel.sh" "${packages[@]}"; do
		[ "$dir/release" -nt "$file" ] || return 1
	done
	[ "$(cat "$dir/packages")" = "${packages[*]}" ]
}

fetch() {
	local package

	package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
	(cd "$work" && apt-get download -q -o APT::Sandbox::User=root "$package")
}

# Leaves the modules in $work/lib/modules/$release.
unpack() {
	local package

	for package in "$@"; do
		dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work" --keep-directory-symlink
	done
	[ -d "$work/lib/modules" ] || ln -s usr/lib "$work/lib"
	release=$(cd "$work/lib/modules" && echo *)
	depmod -b "$work" "$release"
	cp "$(find "$work" -type f -name 'vmlinuz*' | head -n 1)" "$dir/vmlinuz"
}

# The modules' files, each behind those that it needs; without what is built into this kernel.
files() {
	local module

	for module in "${modules[@]}"; do
		modprobe -d "$work" -S "$release" -D "$module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# The machine's busybox reads no compressed modules.
module_text() {
	case $1 in
	*.xz) xz -dc "$1" ;;
	*.zst) zstd -dc "$1" ;;
	*) cat "$1" ;;
	esac
}

make_initramfs() {
	local root=$work/root n=10 file name

	mkdir -p "$root/modules" "$root/bin"
	files >"$work/files"
	while read -r file; do
		name=${file##*/}
		module_text "$file" >"$root/modules/$n-${name%%.*}.ko"
		n=$((n + 1))
	done <"$work/files"
	cp /bin/busybox "$root/bin/busybox"
	cp "$here/init" "$root/init"
	(cd "$root" && find . | cpio --quiet -o -H newc) >"$dir/initramfs"
}

! is_newest || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f "$dir/release"
mkdir -p "$dir"
if [ "${#packages[@]}" -eq 0 ]; then
	fetch
	unpack "$work"/*.deb
else
	unpack "${packages[@]}"
fi
make_initramfs
echo "${packages[*]}" >"$dir/packages"
echo "$release" >"$dir/release"
