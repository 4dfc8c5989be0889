/* SPDX-License-Identifier: MIT */
/*
 * How much of a backing file is in the page cache: cachestat(2), kernel 6.5.
 */
#pragma once

#include <stdint.h>

/*
 * The share (0..1) of the first size bytes of the file that is resident;
 * negative where the kernel cannot say.  fd: open for reading.
 */
double residency_share(int fd, uint64_t size);
