/*
 * Where at a function's begin a probe costs least. Machine code of x86-64; offsets are of bytes in
 * the file that holds it.
 *
 * A probe is a trap. What the instruction under it does, the kernel then does itself (it emulates a
 * push of a register since Linux 4.16, arch/x86/kernel/uprobes.c) or lets the processor do
 * elsewhere, in a single step: a second trap, which on a virtual machine leaves it for the host and
 * costs ten times the first.
 */
#ifndef DBPS_KERNEL_PROLOGUE_H
#define DBPS_KERNEL_PROLOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A function's code, or the begin of it. */
struct dbps_code {
	uint64_t offset; /* of bytes[0] */
	size_t n;
	uint8_t bytes[512];
};

/**
 * @brief Whether its first instruction is one that the kernel emulates, the mark for indirect calls
 * (endbr64) apart.
 * @param ret_offset Of that instruction: arguments and return address are in place there.
 */
bool dbps_code_emulated(const struct dbps_code *code, uint64_t *ret_offset);

/**
 * @brief Whether the first that it does is to call a function with the arguments that it was given.
 * @param ret_offset Of that function.
 */
bool dbps_code_passes_on(const struct dbps_code *code, uint64_t *ret_offset);

/** @brief Whether there is a call of the function at an offset in it. */
bool dbps_code_calls(const struct dbps_code *code, uint64_t offset);

#endif
