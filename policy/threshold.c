/* SPDX-License-Identifier: MIT */
/*
 * The auto threshold, from memory size alone.
 *
 * The threshold is the price of a wrong guess in either direction.  Too low,
 * and a file that will be read again is read from the disk again; too high, and
 * each file just below it, read once, pushes that much of the hot set out of
 * memory.  1/1024 of memory means that a thousand such files have to go past
 * before they have replaced everything, while what is re-read needlessly is a
 * few milliseconds of disk.  Whole MiB, so that the number people see is the
 * number that decides.
 *
 * The bounds: below 1 MiB a read is one request to the disk anyway and the
 * direct lane's set-up costs more than the page cache loses; above 64 MiB even
 * a machine with a terabyte would cache whole films, although memory for 64 MiB
 * at a time brings nothing that a read-ahead window of 16 MiB does not.
 */
#include "policy/policy.h"
#include "policy/threshold.h"

#define MIB (UINT64_C(1) << 20)
#define LEAST (1 * MIB)
#define MOST (64 * MIB)

static uint64_t share_of(uint64_t memory)
{
	uint64_t share = memory / 1024;

	return (share + MIB / 2) / MIB * MIB;
}

uint64_t threshold_auto(uint64_t memory)
{
	return CLAMP(share_of(memory), LEAST, MOST);
}

const char *threshold_auto_text(uint64_t memory)
{
	if (share_of(memory) < LEAST)
		return "1/1024 of memory, at least 1 MiB";
	if (share_of(memory) > MOST)
		return "1/1024 of memory, at most 64 MiB";
	return "1/1024 of memory";
}
