/*
 * Missing: calls of kernel functions that this kernel has not. The programs look for each function
 * before they call it, so such a call is never made; kernels before 5.16 (a5d827275241) refuse a
 * program for holding it. libbpf lets whoever says how the programs of a section are loaded change
 * their instructions, after it has looked for the functions.
 */
#include "internal.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"

/* Of a function that was not found libbpf 1.1 leaves a call of number 0. */
static bool calls_missing(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_KFUNC_CALL &&
	       !insn->imm;
}

/* As libbpf's own of such sections; and what is not there returns 0. */
static int prepare(struct bpf_program *prog, struct bpf_prog_load_opts *opts, long cookie)
{
	static const struct bpf_insn zero = {.code = BPF_ALU64 | BPF_MOV | BPF_K,
					     .dst_reg = BPF_REG_0};
	size_t n = bpf_program__insn_cnt(prog);
	_cleanup_free_ struct bpf_insn *insns = calloc(n, sizeof(*insns));

	(void)opts;
	(void)cookie;
	if (!insns)
		return -ENOMEM;
	memcpy(insns, bpf_program__insns(prog), n * sizeof(*insns));
	for (size_t i = 0; i < n; i++)
		if (calls_missing(&insns[i]))
			insns[i] = zero;
	return bpf_program__set_insns(prog, insns, n);
}

/* What the program is at is its section's name behind the slash. Where there is no such thing,
 * loading the program fails, which tells more. */
static int setup(struct bpf_program *prog, long cookie)
{
	const char *at = strchr(bpf_program__section_name(prog), '/');

	(void)cookie;
	if (at)
		bpf_program__set_attach_target(prog, 0, at + 1);
	return 0;
}

int kernel_drop_missing(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_setup_fn = setup,
		    .prog_prepare_load_fn = prepare);
	static bool done;
	int r;

	if (done)
		return 0;
	r = libbpf_register_prog_handler("iter+", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, &opts);
	if (r >= 0)
		r = libbpf_register_prog_handler("fexit+", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT,
						 &opts);
	done = r >= 0;
	return r < 0 ? r : 0;
}

/* By another name it is not found, and weak: the name is in the object's own copy of its BTF, where
 * libbpf looks for it at load. */
void kernel_hide_function(struct bpf_object *object, const char *name)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);
	char *own = type ? (char *)(uintptr_t)btf__name_by_offset(btf, type->name_off) : NULL;

	if (own)
		own[0] = '_';
}
