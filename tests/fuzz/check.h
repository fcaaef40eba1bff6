/*
 * What a fuzzer asserts: a failed check says where it stands and aborts, which libFuzzer takes for
 * a crash and keeps the input.
 */
#ifndef FUZZ_CHECK_H
#define FUZZ_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is a fuzzer's own and not what it tests: its ways are no finds, and its comparisons no
 * hints. */
#define SEPARATE __attribute__((noinline))
#define UNTRACED __attribute__((no_sanitize("coverage")))
#define UNTRACED_BEGIN                                                                             \
	_Pragma("clang attribute push(SEPARATE, apply_to = function)")                             \
		_Pragma("clang attribute push(UNTRACED, apply_to = function)")
#define UNTRACED_END _Pragma("clang attribute pop") _Pragma("clang attribute pop")

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

UNTRACED_BEGIN
static inline bool lies_in(const void *p, size_t n, const void *buffer, size_t size)
{
	return (uintptr_t)p >= (uintptr_t)buffer && (uintptr_t)p + n <= (uintptr_t)buffer + size;
}

/* A copy that ends where its memory ends, so that the sanitizer sees a read behind it. free() it.
 */
static inline void *exact_copy(const void *bytes, size_t n)
{
	void *copy = malloc(n ? n : 1);

	CHECK(copy);
	if (n)
		memcpy(copy, bytes, n);
	return copy;
}
UNTRACED_END

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
