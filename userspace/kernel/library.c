/*
 * The TLS library of a server: found through the process's mappings, probed at its read and write
 * functions by their place in the file. The probes end with the daemon.
 *
 * 1. Of a server with threads they are in this process alone, whoever else has the library mapped.
 * 2. A PostgreSQL forks a process for each connection, which inherits no probe. Its program has
 * functions of its own over the library, exported for its extensions: those are probed in all
 * processes of that file, which no other program has mapped, and each server's probes know its own
 * children (library_is_others()).
 * 3. A probe costs least on a push of a register (prologue.h), and OpenSSL's functions seldom begin
 * with one. But those of a direction all pass on to one function, ssl_read_internal() or
 * ssl_write_internal() (ssl/ssl_lib.c), which does, takes their arguments and returns as the _ex
 * ones do. It has no symbol that is exported: it is what SSL_read_ex() calls first, with the
 * arguments that it was given, and SSL_read() calls too; if the code does not say so, the functions
 * themselves are probed.
 */
#include "internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "kernel/prologue.h"

/* How often plaintext records without a socket are looked for. */
#define SWEEP_NS (60ull * 1000000000)

#define N_FUNCTIONS 5

struct function {
	const char *name;
	enum kernel_prog at_end;
	enum dbps_library_form form;
};

/* Where the table has them; both are there, or nothing is probed. */
enum { AT_READ = 0, AT_WRITE = 2 };

static const struct function openssl[N_FUNCTIONS] = {
	[AT_READ] = {"SSL_read", PROG_READ, DBPS_LIBRARY_PLAIN},
	{"SSL_read_ex", PROG_READ, DBPS_LIBRARY_EX},
	[AT_WRITE] = {"SSL_write", PROG_WROTE, DBPS_LIBRARY_PLAIN},
	{"SSL_write_ex", PROG_WROTE, DBPS_LIBRARY_EX},
	{"SSL_write_ex2", PROG_WROTE, DBPS_LIBRARY_EX2},
};
static const struct function postgres[N_FUNCTIONS] = {
	[AT_READ] = {"be_tls_read", PROG_READ, DBPS_LIBRARY_PLAIN},
	{"be_gssapi_read", PROG_READ, DBPS_LIBRARY_PLAIN},
	[AT_WRITE] = {"be_tls_write", PROG_WROTE, DBPS_LIBRARY_PLAIN},
	{"be_gssapi_write", PROG_WROTE, DBPS_LIBRARY_PLAIN},
};

struct dbps_library {
	size_t n;
	int fd[2 * N_FUNCTIONS]; /* links, which hold what they hang on */
};

static void *close_probes(void *data)
{
	struct dbps_library *library = data;

	for (size_t i = 0; i < library->n; i++)
		close(library->fd[i]);
	free(library);
	return NULL;
}

/*
 * The kernel waits, for each probe, until no processor can be in it any more
 * (uprobe_unregister_sync()), which takes long on a busy host: so a thread of its own does it.
 */
void dbps_kernel_library_close(struct dbps_library *library)
{
	pthread_t thread;

	if (!library)
		return;
	if (library->n == 0 || pthread_create(&thread, NULL, close_probes, library))
		close_probes(library);
	else
		pthread_detach(thread);
}

static void cleanup_library(struct dbps_library **library)
{
	dbps_kernel_library_close(*library);
}

/* ---------------------------------------------------------------- its functions ------------- */

static void cleanup_elf(Elf **elf)
{
	elf_end(*elf);
}

/* Where in the file an address of the program is. 0: nowhere. */
static uint64_t file_offset(Elf *elf, uint64_t address)
{
	GElf_Phdr header;
	size_t n;

	if (elf_getphdrnum(elf, &n))
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_LOAD)
			continue;
		if (address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz)
			return address - header.p_vaddr + header.p_offset;
	}
	return 0;
}

/* What a file has to do with the functions. */
struct symbols {
	uint64_t offset[N_FUNCTIONS]; /* defined there; 0: not */
	uint64_t size[N_FUNCTIONS];   /* bytes of code; 0: unknown */
	bool imported[N_FUNCTIONS];
	bool x86_64;
};

static void read_symbols(Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
			 const struct function *functions, struct symbols *ret)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;

	for (int i = 0; data && gelf_getsym(data, i, &symbol); i++) {
		const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);

		if (!name || GELF_ST_TYPE(symbol.st_info) != STT_FUNC)
			continue;
		for (size_t k = 0; k < N_FUNCTIONS; k++) {
			if (!functions[k].name || strcmp(name, functions[k].name) != 0)
				continue;
			if (symbol.st_shndx == SHN_UNDEF) {
				ret->imported[k] = true;
				continue;
			}
			ret->offset[k] = file_offset(elf, symbol.st_value);
			ret->size[k] = symbol.st_size;
		}
	}
}

static void find_symbols(const char *path, const struct function *functions, struct symbols *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_(cleanup_elf) Elf *elf = NULL;
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	GElf_Ehdr file;

	memset(ret, 0, sizeof(*ret));
	if (fd < 0 || elf_version(EV_CURRENT) == EV_NONE)
		return;
	elf = elf_begin(fd, ELF_C_READ, NULL);
	ret->x86_64 = elf && gelf_getehdr(elf, &file) && file.e_machine == EM_X86_64;
	while (elf && (section = elf_nextscn(elf, section))) {
		if (gelf_getshdr(section, &header) &&
		    (header.sh_type == SHT_DYNSYM || header.sh_type == SHT_SYMTAB))
			read_symbols(elf, section, &header, functions, ret);
	}
}

/* A program says which of the functions it calls: the others need no probe. */
static void drop_unused(pid_t pid, struct symbols *library)
{
	struct symbols program;
	char path[64];
	bool any = false;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	find_symbols(path, openssl, &program);
	for (size_t i = 0; i < N_FUNCTIONS; i++)
		any |= program.imported[i];
	for (size_t i = 0; any && i < N_FUNCTIONS; i++) {
		if (!program.imported[i])
			library->offset[i] = 0;
	}
}

/*
 * The process's library, as a path that this process can open: through map_files, so that it is
 * the file that is mapped, whatever its name stands for by now and in whichever mount namespace.
 */
static int find_library(pid_t pid, char path[PATH_MAX], char *ret_text)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	char range[64], access[8];
	size_t size = 0;

	snprintf(path, PATH_MAX, "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		const char *name = strrchr(line, '/');

		if (!name || strncmp(name, "/libssl.so", 10) != 0 ||
		    sscanf(line, "%63s %7s", range, access) != 2 || !strchr(access, 'x'))
			continue;
		snprintf(path, PATH_MAX, "/proc/%d/map_files/%s", pid, range);
		snprintf(ret_text, 256, "%.*s", (int)strcspn(name + 1, " \n"), name + 1);
		return 0;
	}
	snprintf(path, PATH_MAX, "/proc/%d/exe", pid);
	snprintf(ret_text, 256, "linked into the program");
	return 0;
}

/* ---------------------------------------------------------------- places ------------------- */

/* What is probed, at its begin and at its end. */
struct point {
	uint64_t offset;
	enum kernel_prog at_end;
	enum dbps_library_form form;
};

/* Where probes go: in a file, and of which processes. */
struct place {
	char path[PATH_MAX];
	pid_t pid;    /* -1: of all that have the file mapped */
	__u64 cookie; /* of all probes */
	size_t n;
	struct point points[N_FUNCTIONS];
};

/* Up to `size` bytes of code. None where it is not of the machine whose code is known. */
static void read_code(int fd, const struct symbols *symbols, uint64_t offset, uint64_t size,
		      struct dbps_code *ret)
{
	size_t most = size < sizeof(ret->bytes) ? size : sizeof(ret->bytes);
	ssize_t n = symbols->x86_64 ? pread(fd, ret->bytes, most, (off_t)offset) : 0;

	ret->offset = offset;
	ret->n = n > 0 ? (size_t)n : 0;
}

/* Where the function at an offset is probed, its begin. Returns whether it costs but one trap. */
static bool at_begin(int fd, const struct symbols *symbols, uint64_t offset, uint64_t *ret_offset)
{
	struct dbps_code code;

	read_code(fd, symbols, offset, 16, &code);
	if (dbps_code_emulated(&code, ret_offset))
		return true;
	*ret_offset = offset;
	return false;
}

/* The function that those of a direction pass on to, by one that returns as it does. */
static bool passes_on(int fd, const struct symbols *symbols, size_t to, size_t plain,
		      uint64_t *ret_offset)
{
	struct dbps_code code;
	uint64_t offset;

	read_code(fd, symbols, symbols->offset[to], symbols->size[to], &code);
	if (!dbps_code_passes_on(&code, &offset))
		return false;
	read_code(fd, symbols, symbols->offset[plain], symbols->size[plain], &code);
	return dbps_code_calls(&code, offset) && at_begin(fd, symbols, offset, ret_offset);
}

/* Returns whether it was found. */
static bool add_internal(int fd, const struct function *functions, const struct symbols *symbols,
			 size_t plain, struct place *place)
{
	for (size_t i = plain + 1; i < N_FUNCTIONS; i++) {
		struct point *point = &place->points[place->n];

		if (functions[i].at_end != functions[plain].at_end ||
		    functions[i].form == DBPS_LIBRARY_PLAIN || !symbols->offset[i] ||
		    !passes_on(fd, symbols, i, plain, &point->offset))
			continue;
		point->at_end = functions[i].at_end;
		point->form = functions[i].form;
		place->n++;
		return true;
	}
	return false;
}

/* Returns whether each costs but one trap. */
static bool add_functions(int fd, const struct function *functions, const struct symbols *symbols,
			  struct place *place)
{
	bool emulated = true;

	place->n = 0;
	for (size_t i = 0; i < N_FUNCTIONS; i++) {
		struct point *point = &place->points[place->n];

		if (!symbols->offset[i])
			continue;
		emulated &= at_begin(fd, symbols, symbols->offset[i], &point->offset);
		point->at_end = functions[i].at_end;
		point->form = functions[i].form;
		place->n++;
	}
	return emulated;
}

/* Says in words where the probes are. */
static int find_points(const struct function *functions, struct symbols *symbols, pid_t pid,
		       struct place *place, char *text)
{
	_cleanup_close_ int fd = open(place->path, O_RDONLY | O_CLOEXEC);
	size_t len = strlen(text);

	if (fd < 0)
		return -errno;
	if (functions == openssl && add_internal(fd, functions, symbols, AT_READ, place) &&
	    add_internal(fd, functions, symbols, AT_WRITE, place) &&
	    place->points[0].offset != place->points[1].offset) {
		snprintf(text + len, 256 - len, ", behind SSL_read()");
		return 0;
	}
	if (functions == openssl)
		drop_unused(pid, symbols);
	if (!add_functions(fd, functions, symbols, place))
		snprintf(text + len, 256 - len, ", at %s() itself: by single steps",
			 functions[AT_READ].name);
	return 0;
}

/* Returns 0; -ENOENT when there is nothing to probe, and ret_text says so; other negative errno. */
static int find_place(pid_t pid, bool forks, struct place *place, char *ret_text)
{
	const struct function *functions = forks ? postgres : openssl;
	struct symbols symbols;
	int r = 0;

	place->n = 0;
	place->pid = forks ? -1 : pid;
	place->cookie = forks ? (__u64)pid << DBPS_LIBRARY_SERVER_SHIFT : 0;
	if (forks) {
		snprintf(place->path, sizeof(place->path), "/proc/%d/exe", pid);
		snprintf(ret_text, 256, "be_tls_read() of its program");
	} else {
		r = find_library(pid, place->path, ret_text);
	}
	if (r)
		return r;
	find_symbols(place->path, functions, &symbols);
	if (symbols.offset[AT_READ] && symbols.offset[AT_WRITE])
		return find_points(functions, &symbols, pid, place, ret_text);
	snprintf(ret_text, 256, "%s",
		 forks ? "its program does not export be_tls_read()"
		       : "no OpenSSL is mapped, or linked in with its symbols");
	return -ENOENT;
}

/* ---------------------------------------------------------------- probes -------------------- */

/* The number by which perf_event_open(2) knows uprobes. */
static int probe_type(void)
{
	_cleanup_fclose_ FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int type;

	if (!f)
		return -errno;
	return fscanf(f, "%d", &type) == 1 ? type : -EIO;
}

/* Links a program to a place in a file. Returns the link's descriptor. */
static int probe(int prog_fd, int type, const struct place *place, uint64_t offset, bool at_end,
		 uint64_t cookie)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .perf_event.bpf_cookie = cookie);
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = (uint32_t)type,
		.config = at_end, /* PMU format "retprobe": config:0 */
		.config1 = (uint64_t)(uintptr_t)place->path,
		.config2 = offset,
	};
	/* Of all processes: the event is counted on one processor, the program runs on each. */
	_cleanup_close_ int fd = (int)syscall(SYS_perf_event_open, &attr, place->pid,
					      place->pid < 0 ? 0 : -1, -1, PERF_FLAG_FD_CLOEXEC);
	int link_fd;

	if (fd < 0)
		return -errno;
	link_fd = bpf_link_create(prog_fd, fd, BPF_PERF_EVENT, &opts);
	return link_fd < 0 ? -errno : link_fd;
}

static int probe_all(struct dbps_kernel *kernel, const struct place *place,
		     struct dbps_library *library)
{
	int type = probe_type();

	if (type < 0)
		return type;
	for (size_t i = 0; i < place->n; i++) {
		const struct point *point = &place->points[i];

		/* The end first: one without a begin does nothing. */
		for (int at_end = 1; at_end >= 0; at_end--) {
			int prog_fd = kernel->prog_fd[at_end ? point->at_end : PROG_ENTER];
			int fd = probe(prog_fd, type, place, point->offset, at_end,
				       place->cookie | point->form);

			if (fd < 0)
				return fd;
			library->fd[library->n++] = fd;
		}
	}
	return 0;
}

int dbps_kernel_library_open(struct dbps_kernel *kernel, pid_t pid, bool forks,
			     struct dbps_library **ret_library, char *ret_text)
{
	_cleanup_(cleanup_library) struct dbps_library *library = calloc(1, sizeof(*library));
	struct place place;
	int r;

	if (!library)
		return -ENOMEM;
	r = find_place(pid, forks, &place, ret_text);
	if (r == -ENOENT)
		return r;
	if (!r)
		r = probe_all(kernel, &place, library);
	if (r) {
		snprintf(ret_text, 256, "its library cannot be probed: %s", strerror(-r));
		return r;
	}
	*ret_library = TAKE_PTR(library);
	return 0;
}

/* ---------------------------------------------------------------- records ------------------- */

static struct dbps_record *new_record(const struct dbps_kernel *kernel)
{
	return malloc(dbps_record_size(kernel->text_bytes));
}

/* As the kernel side does when framing is lost (session_unframe()). No probe runs yet. */
static void reframe(struct dbps_session *s)
{
	s->flags &= ~DBPS_FRAMED_IN;
	s->flags |= DBPS_RESYNCED;
	memset(&s->in, 0, sizeof(s->in));
	memset(&s->out, 0, sizeof(s->out));
	if (s->gen & 1) /* a probe died under the lock */
		s->gen++;
	if (s->phase >= DBPS_PHASE_IDLE)
		s->phase = DBPS_PHASE_UNKNOWN;
}

/* All keys of the map; first all, as an entry that is written moves. Owned by the caller. */
static __u64 *all_cookies(int fd, size_t *ret_n)
{
	__u64 *cookies = NULL, *more, cookie;
	size_t n = 0;

	while (!bpf_map_get_next_key(fd, n ? &cookies[n - 1] : NULL, &cookie)) {
		more = realloc(cookies, (n + 1) * sizeof(*cookies));
		if (!more)
			break;
		cookies = more;
		cookies[n++] = cookie;
	}
	*ret_n = n;
	return cookies;
}

void kernel_plain_reframe(struct dbps_kernel *kernel)
{
	_cleanup_free_ struct dbps_record *record = new_record(kernel);
	_cleanup_free_ __u64 *cookies = NULL;
	int fd = kernel->map_fd[MAP_PLAIN];
	size_t n;

	cookies = all_cookies(fd, &n);
	for (size_t i = 0; record && i < n; i++) {
		if (bpf_map_lookup_elem(fd, &cookies[i], record))
			continue;
		reframe(&record->s);
		bpf_map_update_elem(fd, &cookies[i], record, BPF_EXIST);
	}
}

/* ---------------------------------------------------------------- sweep --------------------- */

static int compare_cookies(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Cookies of the encrypted sessions among rows, sorted. Owned by the caller. */
static __u64 *encrypted(const struct kernel_reading *rows, size_t *ret_n)
{
	__u64 *cookies =
		malloc((rows->len / sizeof(struct dbps_snapshot_row) + 1) * sizeof(*cookies));

	*ret_n = 0;
	for (size_t at = 0; cookies && at < rows->len;) {
		const struct dbps_snapshot_row *row = (const void *)(rows->rows + at);

		if (row->session.flags & DBPS_TLS)
			cookies[(*ret_n)++] = row->session.cookie;
		at += row->size;
	}
	if (cookies)
		qsort(cookies, *ret_n, sizeof(*cookies), compare_cookies);
	return cookies;
}

/* Whether a record began before the snapshot; one that began since may well have a socket. */
static bool is_older(int fd, __u64 cookie, __u64 begin_ns, struct dbps_record *record)
{
	return !bpf_map_lookup_elem(fd, &cookie, record) && record->s.connected_ns < begin_ns;
}

void kernel_plain_sweep(struct dbps_kernel *kernel, const struct kernel_reading *rows,
			__u64 begin_ns)
{
	int fd = kernel->map_fd[MAP_PLAIN];
	_cleanup_free_ struct dbps_record *record = NULL;
	_cleanup_free_ __u64 *cookies = NULL;
	__u64 cookie, next;
	size_t n;
	int more;

	if (begin_ns - kernel->swept_ns < SWEEP_NS || bpf_map_get_next_key(fd, NULL, &cookie))
		return;
	kernel->swept_ns = begin_ns;
	cookies = encrypted(rows, &n);
	record = new_record(kernel);
	if (!cookies || !record)
		return;
	do {
		more = !bpf_map_get_next_key(fd, &cookie, &next);
		if (!bsearch(&cookie, cookies, n, sizeof(cookie), compare_cookies) &&
		    is_older(fd, cookie, begin_ns, record))
			bpf_map_delete_elem(fd, &cookie);
		cookie = next;
	} while (more);
}
