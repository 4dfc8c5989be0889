/* SPDX-License-Identifier: MIT */
/*
 * The automatic threshold: from memory size, moved by what the ghost cache says,
 * pulled down while memory is short.
 *
 * Pure; the caller serialises, reads the kernel's numbers and hands them in.
 */
#pragma once

#include "policy/ghost.h"
#include "policy/policy.h"

/* "1/1024 of memory", and which bound held it back.  Constant. */
const char *threshold_auto_text(uint64_t memory);

/* What is known of memory at a moment; bytes. */
struct threshold_inputs {
	uint64_t memory;          /* in the machine */
	uint64_t available;       /* free or easily freed (MemAvailable) */
	uint64_t group_limit;     /* of the memory control group, UINT64_MAX: none */
	uint64_t group_available; /* the same as available, within that limit */
	bool others_pages;        /* what is cached counts for the groups of those who read it */
	double stall;             /* percent of the last 10 s in which something waited for memory
				   * (PSI, some avg10), negative: the kernel does not say */
};

/* 0: there is enough memory, 1: there is none left. */
double threshold_pressure(const struct threshold_inputs *inputs);

/* Bytes that a page cache can have: the least of what the machine, and the group that pays for it, leave it. */
uint64_t threshold_room(const struct threshold_inputs *inputs);

struct threshold {
	uint64_t memory;    /* in the machine */
	bool replayed;      /* base is the ghost cache's choice, not memory's */
	uint64_t base;      /* bytes, without pressure */
	double pressure;    /* 0..1 */
	int64_t felt;       /* us, when it was last told about memory */
	unsigned int wish;  /* the cache that was best last time, GHOST_CACHES: none */
	unsigned int turns; /* how often in a row it was in that direction */
	unsigned int turns_up; /* since it went up */
	uint64_t cost, cost_memory; /* bytes from the disk: of the policy, of memory's choice */
};

void threshold_init(struct threshold *threshold, uint64_t memory);

/* Falls at once, comes back within seconds.  now: us on a clock that only goes forward. */
void threshold_feel(struct threshold *threshold, const struct threshold_inputs *inputs,
		    int64_t now);

/*
 * Looks at what the caches have cost.  Moves only when one of them was better than the policy as
 * it is (that caches hot files above the threshold too) by more than a few percent, and not only
 * once.  Whether it moved.
 */
bool threshold_consult(struct threshold *threshold, const struct ghost *ghost);

/* What it comes to, and why. */
void threshold_view(const struct threshold *threshold, struct threshold_view *out);

/* Puts it under at least that much pressure. */
void threshold_press(struct threshold_view *view, double pressure);

/* "1/1024 of memory, pressure 0.00", appended. */
void threshold_say(const struct threshold_view *view, uint64_t memory, GString *text);
