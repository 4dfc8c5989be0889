/* SPDX-License-Identifier: MIT */
/* How much memory there is, for the process as for the machine. */
#pragma once

#include <stdint.h>

/* Bytes in the machine. */
uint64_t memory_total(void);

/*
 * Bytes this process may use: what the machine has, or less where a memory
 * control group (version 1 or 2) of it or above it says so.  Reads /proc and /sys.
 */
uint64_t memory_limit(void);
