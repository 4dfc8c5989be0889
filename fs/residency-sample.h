/* SPDX-License-Identifier: MIT */
/*
 * About how much of a backing file is in the page cache, at a price that does not depend
 * on how much that is: cachestat(2) walks every page, which takes most of a millisecond for
 * 100 MiB.  Any thread; no state.
 */
#pragma once

#include <stdint.h>

/*
 * The share (0..1) of some small ranges, spread evenly over the first size bytes, that is
 * resident; negative where the kernel cannot say.  fd: open for reading.
 */
double residency_sample(int fd, uint64_t size);
