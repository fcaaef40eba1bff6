/*
 * Where at a function's begin a probe costs least: as little of x86-64 is known here as the
 * begins of functions need, and what is not known is no such begin.
 */
#include "kernel/prologue.h"

#include <endian.h>
#include <string.h>

/* Bytes of an instruction at a place, if it is there; 0: it is not. */
static size_t instruction(const struct dbps_code *code, size_t at, const uint8_t *bytes, size_t n)
{
	return at <= code->n && code->n - at >= n && !memcmp(code->bytes + at, bytes, n) ? n : 0;
}

static size_t endbr64(const struct dbps_code *code, size_t at)
{
	return instruction(code, at, (const uint8_t[]){0xf3, 0x0f, 0x1e, 0xfa}, 4);
}

/* push of a register: 50 to 57, of the upper eight with a prefix. */
static size_t push(const struct dbps_code *code, size_t at)
{
	size_t prefix = instruction(code, at, (const uint8_t[]){0x41}, 1);

	at += prefix;
	return at < code->n && (code->bytes[at] & 0xf8) == 0x50 ? prefix + 1 : 0;
}

/* mov %rsp,%rbp */
static size_t frame(const struct dbps_code *code, size_t at)
{
	return instruction(code, at, (const uint8_t[]){0x48, 0x89, 0xe5}, 3);
}

/* sub $n,%rsp, of one byte. */
static size_t room(const struct dbps_code *code, size_t at)
{
	return instruction(code, at, (const uint8_t[]){0x48, 0x83, 0xec}, 3) ? 4 : 0;
}

static bool call(const struct dbps_code *code, size_t at, uint64_t *ret_offset)
{
	uint32_t distance;

	if (at > code->n || code->n - at < 5 || code->bytes[at] != 0xe8)
		return false;
	memcpy(&distance, code->bytes + at + 1, sizeof(distance));
	*ret_offset = code->offset + at + 5 + (uint64_t)(int32_t)le32toh(distance);
	return true;
}

bool dbps_code_emulated(const struct dbps_code *code, uint64_t *ret_offset)
{
	size_t at = endbr64(code, 0);

	if (!push(code, at))
		return false;
	*ret_offset = code->offset + at;
	return true;
}

bool dbps_code_passes_on(const struct dbps_code *code, uint64_t *ret_offset)
{
	size_t at = endbr64(code, 0), n;

	while ((n = push(code, at)) || (n = frame(code, at)) || (n = room(code, at)))
		at += n;
	return call(code, at, ret_offset);
}

bool dbps_code_calls(const struct dbps_code *code, uint64_t offset)
{
	uint64_t target;

	for (size_t at = 0; at < code->n; at++)
		if (call(code, at, &target) && target == offset)
			return true;
	return false;
}
