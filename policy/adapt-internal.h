/* SPDX-License-Identifier: MIT */
/* What adapt.c and adapt-text.c share. */
#pragma once

#include "policy/adapt.h"
#include "policy/heat.h"

struct adapt {
	uint64_t memory;             /* fixed */
	int frozen;                  /* atomic */

	GMutex lock;                 /* protects learn, heat, room and far */
	struct learn *learn;
	struct heat *heat;
	uint64_t room;               /* bytes of page cache */
	bool far;                    /* the kernel reads far ahead, where that was asked last */

	/* The replaying thread's, and under replay_lock what others may look at. */
	GMutex replay_lock;
	struct ghost *ghost;
	struct threshold threshold;
	uint64_t epoch;              /* ghost_asked() at the next look at the costs */
	struct adapt_costs costs;    /* up to now, as far as counted */
	/* the ghost cache's figures when they were counted */
	uint64_t asked_before, spent_before, before[GHOST_CACHES];

	GMutex view_lock;            /* protects view; held for a copy; changes under both */
	struct threshold_view view;
};
