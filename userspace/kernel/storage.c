/*
 * Storage: the map of the records that live in their sockets, and how large a kernel lets them be.
 * A map of any size is made; that no record of it can be had shows in the taps, where none is left
 * to tell. So one is tried, in a socket of dbpsd's own.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sys/socket.h>

#include "cleanup.h"

/*
 * Socket storage needs a type of just its value's size (kernel: map_check_btf), and the size is a
 * setting: so the type is made here, an array of bytes in a struct.
 */
int kernel_storage_create(const char *name, unsigned int value_size, int *ret_fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	struct btf *btf = btf__new_empty();
	int int_id, byte_id, array_id, r;

	if (!btf)
		return -errno;
	int_id = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	byte_id = btf__add_int(btf, "__u8", 1, 0);
	array_id = btf__add_array(btf, int_id, byte_id, value_size);
	opts.btf_key_type_id = (__u32)int_id;
	opts.btf_value_type_id = (__u32)btf__add_struct(btf, "dbps_record", value_size);
	r = btf__add_field(btf, "bytes", array_id, 0, 0);
	if (!r)
		r = btf__load_into_kernel(btf);
	if (!r) {
		opts.btf_fd = (__u32)btf__fd(btf);
		r = bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, name, sizeof(int), value_size, 0,
				   &opts);
	}
	btf__free(btf);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 0;
}

/*
 * -ENOMEM: no socket has room for it. Linux 7.2 takes the memory from kmalloc_nolock(), which gives
 * 8 KiB at most (kernel/bpf/bpf_local_storage.c, bpf_selem_alloc(); mm/slub.c,
 * KMALLOC_MAX_CACHE_SIZE); in all kernels a socket's own account ends at net.core.optmem_max.
 */
int kernel_storage_try(unsigned int text_bytes)
{
	libbpf_print_fn_t print;
	unsigned int size = dbps_record_size(text_bytes);
	_cleanup_close_ int map = -1, sock = -1;
	_cleanup_free_ void *record = calloc(1, size);
	int r;

	if (!record)
		return -errno;
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	print = libbpf_set_print(NULL); /* without rights it says what is said later */
	r = kernel_storage_create("dbps_try", size, &map);
	libbpf_set_print(print);
	if (r)
		return r;
	return bpf_map_update_elem(map, &sock, record, BPF_NOEXIST) ? -errno : 0;
}

unsigned int dbps_kernel_text_room(unsigned int wanted)
{
	unsigned int room = DBPS_TEXT_MIN, beyond = wanted;

	/* What keeps it from being tried keeps the programs from being loaded: it is told there. */
	if (kernel_storage_try(wanted) != -ENOMEM || kernel_storage_try(room))
		return wanted;
	while (beyond - room > 1) {
		unsigned int middle = room + (beyond - room) / 2;

		if (kernel_storage_try(middle))
			beyond = middle;
		else
			room = middle;
	}
	return room;
}
