/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <glib.h>

/* How often the same distance in a row is no accident. */
#define EVEN_ENOUGH 3
/* Further apart, nothing is gained by knowing. */
#define STRIDE_MAX ((uint64_t)64 << 20)
/* Requests of one reader that several threads carry arrive in disorder; so far behind is late. */
#define LATE ((uint64_t)2 << 20)

#define STEP_MIN ((size_t)64 << 10)
#define BLOCK 4096

static bool is_next(const struct stream *stream, uint64_t offset)
{
	return stream->size &&
	       (offset == stream->next || (stream->stride && offset == stream->last + stream->stride));
}

/* Whether a read is near enough to a sequential stream to be part of it. */
static enum stream_place place_near(const struct stream *stream, uint64_t offset, size_t size)
{
	if (!stream->proven || stream->stride)
		return STREAM_STRAY;
	if (offset > stream->next && offset < stream->frontier)
		return STREAM_AHEAD;
	if (offset < stream->next && offset + LATE >= stream->next && offset + size <= stream->next)
		return STREAM_BEHIND;
	return STREAM_STRAY;
}

static void stream_advance(struct stream *stream, uint64_t offset, size_t size)
{
	stream->run += size;
	stream->last = offset;
	stream->size = size;
	stream->next = offset + size;
}

/* The one that has been idle longest, among the unproven if there are any. */
static struct stream *streams_victim(struct streams *streams)
{
	struct stream *victim = &streams->stream[0];

	for (unsigned int i = 1; i < STREAMS; i++) {
		struct stream *stream = &streams->stream[i];

		if (stream->proven < victim->proven ||
		    (stream->proven == victim->proven && stream->used < victim->used))
			victim = stream;
	}
	return victim;
}

/* Counts how evenly the strays lie.  True when this one makes them a stream. */
static bool streams_note_stray(struct streams *streams, uint64_t offset, size_t size)
{
	uint64_t distance = offset > streams->stray ? offset - streams->stray : 0;
	bool even = streams->stray_size && distance && distance == streams->distance &&
		    distance <= STRIDE_MAX;

	streams->even = even ? streams->even + 1 : 1;
	streams->stray = offset;
	streams->stray_size = size;
	streams->distance = distance;
	return streams->even >= EVEN_ENOUGH;
}

static struct stream *streams_start(struct streams *streams, uint64_t offset, size_t size)
{
	bool strided = streams_note_stray(streams, offset, size);
	struct stream *stream = streams_victim(streams);

	streams->lost = streams->lost || stream->proven;
	*stream = (struct stream){ .frontier = offset + size, .dropped = offset };
	if (strided) {
		stream->stride = streams->distance;
		stream->run = (uint64_t)size * EVEN_ENOUGH;
		stream->frontier = offset + stream->stride;
		stream->proven = true;
	}
	stream_advance(stream, offset, size);
	return stream;
}

static struct stream *streams_find(struct streams *streams, uint64_t offset, size_t size,
				   enum stream_place *place)
{
	for (unsigned int i = 0; i < STREAMS; i++) {
		*place = STREAM_AT_NEXT;
		if (is_next(&streams->stream[i], offset))
			return &streams->stream[i];
	}
	for (unsigned int i = 0; i < STREAMS; i++) {
		*place = place_near(&streams->stream[i], offset, size);
		if (*place != STREAM_STRAY)
			return &streams->stream[i];
	}
	return NULL;
}

struct stream *streams_note(struct streams *streams, uint64_t offset, size_t size, int64_t now,
			    enum stream_place *place, bool *proved)
{
	struct stream *stream = streams_find(streams, offset, size, place);

	*proved = false;
	if (!stream) {
		stream = streams_start(streams, offset, size);
		*place = stream->proven ? STREAM_AT_NEXT : STREAM_STRAY;
		*proved = stream->proven;
	} else if (*place != STREAM_BEHIND) {
		if (offset == stream->next && stream->stride) {
			stream->stride = 0;
			stream->frontier = offset;
		}
		*proved = !stream->proven;
		stream->proven = true;
		stream_advance(stream, offset, size);
	}
	stream->used = now;
	stream->turn = ++streams->turns;
	return stream;
}

uint64_t streams_doubtful(const struct streams *streams)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < STREAMS; i++) {
		const struct stream *stream = &streams->stream[i];

		if (stream->proven && !stream->stride && stream->frontier > stream->next &&
		    streams->turns - stream->turn > STREAMS)
			bytes += stream->frontier - stream->next;
	}
	return bytes;
}

uint64_t stream_window(const struct stream *stream, uint64_t limit, bool careful)
{
	uint64_t window = careful ? stream->run / 16 : stream->run;

	if (!stream->proven)
		return 0;
	return MIN(window, limit) & ~(uint64_t)(BLOCK - 1);
}

size_t stream_step(const struct stream *stream, uint64_t window, size_t most)
{
	uint64_t wanted = MAX(window / 4, stream->size);
	size_t step = BLOCK;

	wanted = MAX(wanted, MIN(window, STEP_MIN));
	while (step < most && (uint64_t)step * 2 <= wanted)
		step *= 2;
	return step;
}

bool stream_wants(const struct stream *stream, uint64_t begin, uint64_t end, uint64_t reach,
		  bool all_read)
{
	if (!stream->size)
		return false;
	if (end > stream->next)
		return begin < stream->next + reach;
	/* Behind: only for what comes late. */
	return !all_read && stream->proven && end + LATE > stream->next;
}
