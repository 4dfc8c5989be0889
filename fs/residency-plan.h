/* SPDX-License-Identifier: MIT */
/*
 * What of a streamed file is to be dropped from the page cache, and what written out, given what
 * samples of it found.  Pure: no system call, no clock, no lock; one thread at a time.
 *
 * The kernel does not tell where readers are, but where pages appear: a stream reads ahead, so the
 * end of a run of pages that grew lately is at most one read-ahead in front of a reader, or one of its
 * reads where these are larger.  That much before it is left alone, for as many runs as there are
 * readers.  Of the rest what came first goes
 * first, until half of the window is left; what came since the last sample stays.
 *
 * Pages that were there before the stream began are kept.  Blocks that appear again soon after they
 * were dropped say that the file is worth keeping: it is hot.  Whoever maps such a block is left
 * alone with it for a while: a mapping that is used at random is not robbed all the time.
 */
#pragma once

#include "residency.h"

struct plan_block {
	uint64_t index;
	uint64_t ours;             /* bytes that were not there before */
	uint32_t pages, dirty, writeback; /* no pages: it is gone */
	uint32_t grew;             /* pages that it had more when it last grew */
	int64_t arrived, grown;    /* times of samples: when it was first there, when it last grew */
	int64_t written;           /* when it was last to be written out, 0: it was not */
	int64_t stuck;             /* when it could not be dropped, 0: not tried */
	int64_t back;              /* when it came back soon after it was dropped, 0: it did not */
	bool guarded;              /* a reader may be about to use it */
	bool chosen;               /* to be dropped */
	bool leaving;              /* a worker is about to drop it */
};

struct residency_plan {
	uint64_t block;            /* bytes, a power of two */
	uint64_t page;             /* bytes */
	GArray *blocks;            /* of struct plan_block, by index: what the last sample found */
	GArray *keep;              /* of struct residency_range, by place, NULL: nothing */
	GHashTable *gone;          /* block index -> pages fetched when it was dropped, NULL: nothing was */
	int64_t sampled;           /* time of the last sample */
	uint64_t ours;             /* bytes, of all blocks */
	uint64_t dirty;            /* bytes */
	uint64_t fetched;          /* bytes that appeared, ever */
	uint64_t dropped;          /* bytes, for the caller to count and to set to 0 */
	uint64_t recent, again;    /* of them lately, and of these dropped shortly before */
	bool large;                /* folios may be larger than blocks: some could not be dropped */
};

struct plan_limits {
	uint64_t window;           /* bytes that may stay */
	uint64_t ahead;            /* bytes a reader may have in front of it */
	unsigned int readers;
	uint64_t memory;           /* bytes that a hot file may fill */
	bool all;                  /* nobody uses the file any more */
};

/* block: bytes told apart; see residency_plan_block(). */
void residency_plan_init(struct residency_plan *plan, uint64_t block, uint64_t page);
void residency_plan_finish(struct residency_plan *plan);

/* A window of less is not worth the trouble. */
#define RESIDENCY_WINDOW_LEAST ((uint64_t)8 << 20)

/*
 * The block size for a file of size bytes of which the kernel reads that much ahead: most folios are
 * no larger than that.  Larger for very large files, so that sampling stays cheap.
 */
uint64_t residency_plan_block(uint64_t size, uint64_t read_ahead);

/* Folios are at most so large on most machines, bytes: what a range ends within cannot be dropped. */
#define RESIDENCY_FOLIO ((uint64_t)2 << 20)

/* Bytes that one reader keeps in memory: what is read ahead of it, in whole blocks, and the block it is at. */
uint64_t residency_plan_reader(uint64_t ahead, uint64_t block);

/* These ranges were there before the stream began; taken over. */
void residency_plan_keep(struct residency_plan *plan, GArray *ranges);

/* The file ends here: of what is behind nothing is known any more. */
void residency_plan_truncate(struct residency_plan *plan, uint64_t size);

/* What a sample of the whole file found, of struct residency_block; now: after the last one. */
void residency_plan_update(struct residency_plan *plan, const GArray *found,
			   const struct plan_limits *limits, int64_t now);

/* What is known to be there, of struct residency_block, into found, emptied first. */
void residency_plan_found(const struct residency_plan *plan, GArray *found);

/*
 * What should go now, as ranges in order: drop has no dirty pages nor such that are being written,
 * write is dirty.  Both of struct residency_range, emptied first.
 */
void residency_plan_choose(struct residency_plan *plan, const struct plan_limits *limits,
			   GArray *drop, GArray *write);

/* What was chosen to be written is not, for now. */
void residency_plan_unwritten(struct residency_plan *plan);

/*
 * Ranges that were chosen are about to be dropped by somebody else: samples until
 * residency_plan_dropped() may find them gone.  What of them may be taken out of mappings is appended
 * to pages: all but what was dropped lately and was wanted again.  Both of struct residency_range.
 */
void residency_plan_leave(struct residency_plan *plan, const GArray *ranges, GArray *pages);

/*
 * Of what a writer has filled and is not written out (bytes), how much is to be written at once while it
 * waits: a multiple of a MiB, 0 where it is slow enough.
 */
uint64_t residency_plan_excess(uint64_t unwritten, uint64_t window);

/*
 * Up to where the writer is to wait for the disk: so much is dirty or being written that it does
 * not keep up, and half a window of it lies behind.  0: it need not wait.
 */
uint64_t residency_plan_hold(const struct residency_plan *plan, const struct plan_limits *limits);

/*
 * A range of drop was dropped, and found is what is left in it: somebody maps it, or it is part of
 * a larger folio.  It is not tried again for a while, and then with what lies in the same folio.
 */
void residency_plan_dropped(struct residency_plan *plan, const struct residency_range *range,
			    const GArray *found, int64_t now);

/* Whether what was dropped lately was mostly wanted again; asks that much more of the file. */
bool residency_plan_is_hot(const struct residency_plan *plan, const struct plan_limits *limits,
			   unsigned int caution);
