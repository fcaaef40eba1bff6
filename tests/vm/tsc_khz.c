/*
 * Prints the frequency of this processor's time stamp counter in kHz. The virtual machine's is the
 * same, and its kernel cannot measure it well while it is emulated on a busy host: its clock would
 * run at any speed.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(void)
{
	const struct timespec pause = {.tv_nsec = 200000000};
	uint64_t ns = now_ns(), ticks = __rdtsc();

	nanosleep(&pause, NULL);
	ticks = __rdtsc() - ticks;
	ns = now_ns() - ns;
	printf("%llu\n", (unsigned long long)(ticks * 1000000 / ns));
	return 0;
}
