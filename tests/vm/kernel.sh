#!/bin/bash
# Fetches Debian's own kernel for the virtual machine and makes the initramfs that it boots with. The
# package is unpacked, not installed: the boot of this host is not touched. Does nothing when they are
# there, so a new kernel of Debian's comes with `make clean`.
#
# Usage: tests/vm/kernel.sh DIR    (leaves DIR/vmlinuz, DIR/initramfs and DIR/release)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1

# In the order in which they are loaded. The sock_diag ones are there because this host need not have
# modprobe, which the machine's kernel would call for them.
modules=(drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev
	drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci net/9p/9pnet
	net/9p/9pnet_virtio fs/netfs/netfs fs/fscache/fscache fs/9p/9p fs/overlayfs/overlay
	net/ipv4/inet_diag net/ipv4/tcp_diag net/unix/unix_diag drivers/net/veth)

is_newest() {
	local file

	for file in "$here/init" "$here/kernel.sh"; do
		[ "$dir/release" -nt "$file" ] || return 1
	done
}

unpack() {
	local lib=./lib/modules/$release/kernel files=("./boot/vmlinuz-$release") module

	for module in "${modules[@]}"; do
		files+=("$lib/$module.ko")
	done
	(cd "$work" && apt-get download -q -o APT::Sandbox::User=root "$package")
	dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work" "${files[@]}"
	cp "$work/boot/vmlinuz-$release" "$dir/vmlinuz"
}

make_initramfs() {
	local root=$work/root n=10 module

	mkdir -p "$root/modules" "$root/bin"
	for module in "${modules[@]}"; do
		cp "$work/lib/modules/$release/kernel/$module.ko" \
			"$root/modules/$n-${module##*/}.ko"
		n=$((n + 1))
	done
	cp /bin/busybox "$root/bin/busybox"
	cp "$here/init" "$root/init"
	(cd "$root" && find . | cpio --quiet -o -H newc) >"$dir/initramfs"
}

! is_newest || exit 0
package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
release=${package#linux-image-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f "$dir/release"
mkdir -p "$dir"
unpack
make_initramfs
echo "$release" >"$dir/release"
