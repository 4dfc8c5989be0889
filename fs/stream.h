/* SPDX-License-Identifier: MIT */
/*
 * Which reads of an open file belong together, and how far ahead of them to read.
 *
 * Pure: no lock, no clock, no memory of its own; the caller serialises.
 *
 * A read that goes on where an earlier one ended makes the two a stream; so do reads at a fixed
 * distance from each other.  Several streams are followed at a time, since one descriptor may be
 * read at several places in turn.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAMS 8

struct stream {
	uint64_t next;       /* where the next read is expected */
	uint64_t last;       /* where the last one began */
	size_t size;         /* bytes of the last one, 0: this stream is not in use */
	uint64_t stride;     /* bytes between beginnings, 0: each begins where the last ended */
	uint64_t run;        /* bytes read in this pattern */
	uint64_t dropped;    /* page caches hold nothing before; the caller's */
	uint64_t frontier;   /* asked of the device up to here; the caller's */
	bool proven;         /* more than one read fits the pattern */
	int64_t used;        /* us, when it was last read */
	uint64_t turn;       /* which read of all of them that was */
};

struct streams {
	struct stream stream[STREAMS];
	uint64_t turns;      /* reads so far */
	bool lost;           /* one that was proven has had to make room; the caller clears it */
	/* The reads that belong to no stream. */
	uint64_t stray;      /* where the last one began */
	size_t stray_size;
	uint64_t distance;   /* from the one before it */
	unsigned int even;   /* how often in a row it was that distance */
};

enum stream_place {
	STREAM_STRAY,   /* belongs to nothing known: not worth reading ahead for */
	STREAM_AT_NEXT, /* as expected */
	STREAM_AHEAD,   /* skips a part of what was read ahead */
	STREAM_BEHIND,  /* came late, or goes back a little */
};

/*
 * Takes note of a read.  The stream it belongs to or starts; *proved is set when
 * that has just become more than one read.
 */
struct stream *streams_note(struct streams *streams, uint64_t offset, size_t size, int64_t now,
			    enum stream_place *place, bool *proved);

/*
 * Bytes read ahead of streams that may have ended: each of the others could have been read since.
 */
uint64_t streams_doubtful(const struct streams *streams);

/*
 * How many bytes may be read ahead of the stream.  limit: its share of the pool.  careful: much of
 * what was read ahead of this file went unused.  Never more than what was read so far, so that a
 * reader that stops has cost at most twice its bytes; a sixteenth of it when careful.
 */
uint64_t stream_window(const struct stream *stream, uint64_t limit, bool careful);

/* The size to read ahead in, a power of two: a few of them make a window. */
size_t stream_step(const struct stream *stream, uint64_t window, size_t most);

/*
 * Whether somebody who reads the stream is to be expected at the range soon.  reach: how far ahead
 * counts as soon.  all_read: every byte of it was read once.
 */
bool stream_wants(const struct stream *stream, uint64_t begin, uint64_t end, uint64_t reach,
		  bool all_read);
