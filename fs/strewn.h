/* SPDX-License-Identifier: MIT */
/*
 * How a file was read where the kernel does the reading: what its pages in the page cache tell.  Any
 * thread; no state.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Whether there are pages in many places of the file with gaps between, as reads here and there leave
 * them and one from end to end does not.  False where that cannot be told, or only slowly.  fd: open
 * for reading.
 */
bool strewn_pages(int fd, uint64_t size);
