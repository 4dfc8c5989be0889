/* SPDX-License-Identifier: MIT */
/* Where the auto threshold comes from, in words.  Pure, any thread. */
#pragma once

#include <stdint.h>

/* "1/1024 of memory", and which bound held it back.  Constant. */
const char *threshold_auto_text(uint64_t memory);
