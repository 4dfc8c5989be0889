/* SPDX-License-Identifier: MIT */
#include "window-set.h"
#include "attr.h"

/* Over-read is paid from what was read: when it is more than a sixteenth, windows open slowly. */
#define WASTE_SHARE 16
/* How far behind a read chunks are looked at, bytes: it may have been the last to want them. */
#define PASSED ((uint64_t)4 << 20)
/* A look at a chunk asks each reader of the file: for each of them so many us lie between two looks. */
#define LOOK_EACH_US 10
/* ... for each so many chunks of the file's. */
#define LOOK_CHUNKS 32
/* What is told of over-read is of the last so many bytes, about. */
#define ASKED_MOST ((uint64_t)256 << 20)
/* Records of a fixed stride to read ahead at most. */
#define RECORDS_MAX 64

static uint64_t round_up(uint64_t value)
{
	return (value + BUFPOOL_ALIGN - 1) & ~(uint64_t)(BUFPOOL_ALIGN - 1);
}

/* Where chunks of the file end at the latest: offsets go no further. */
static uint64_t chunks_limit(const struct window_set *set)
{
	return MIN(round_up(set->size), INT64_MAX & ~(uint64_t)(BUFPOOL_ALIGN - 1));
}

static uint64_t round_down(uint64_t value)
{
	return value & ~(uint64_t)(BUFPOOL_ALIGN - 1);
}

struct window_set *window_set_new(struct windows *windows, bool blocked)
{
	struct window_set *set = g_new0(struct window_set, 1);

	g_mutex_init(&set->lock);
	set->windows = windows;
	set->blocked = blocked;
	set->link.data = set;
	return set;
}

void window_set_free(struct window_set *set)
{
	if (!set)
		return;
	g_mutex_lock(&set->windows->lock);
	if (set->linked)
		g_queue_unlink(&set->windows->sets, &set->link);
	g_mutex_unlock(&set->windows->lock);
	window_set_drop(set, 0, UINT64_MAX);
	chunks_finish(&set->chunks);
	g_mutex_clear(&set->lock);
	g_free(set);
}

static void window_set_take(struct window_set *set, unsigned int i)
{
	struct chunk *chunk = chunks_take(&set->chunks, i);
	size_t wasted = chunk->ready ? chunk->valid - MIN(chunk->used, chunk->valid) : chunk->length;
	struct window_counts *counts[] = { &set->counts, &set->windows->fs->window };

	set->wasted += wasted;
	for (size_t k = 0; k < G_N_ELEMENTS(counts); k++) {
		atomic_add(counts[k]->over_read, wasted);
		if (!chunk->used)
			atomic_add(counts[k]->chunks_unused, 1);
	}
	chunk_unref(set->windows->pool, chunk);
}

void window_set_drop(struct window_set *set, uint64_t begin, uint64_t end)
{
	unsigned int i = chunks_find(&set->chunks, begin);

	while (i < set->chunks.count && set->chunks.items[i]->offset < end)
		window_set_take(set, i);
}

void window_set_check(struct window_set *set, const struct stat *attr, int64_t now)
{
	uint64_t version = attr_version_settled(attr);

	if (!version || version != set->version)
		window_set_drop(set, 0, UINT64_MAX);
	set->version = version;
	set->size = (uint64_t)attr->st_size;
	set->checked = now;
}

void window_set_asked(struct window_set *set, size_t bytes)
{
	set->asked += bytes;
	if (set->asked <= ASKED_MOST)
		return;
	set->asked /= 2;
	set->wasted /= 2;
}

uint64_t window_set_passed(struct window_set *set, uint64_t begin, uint64_t end, int64_t now)
{
	for (GList *link = set->readers.head; link; link = link->next) {
		struct window_reader *reader = link->data;

		for (int i = 0; i < STREAMS; i++) {
			const struct stream *stream = &reader->streams.stream[i];

			if (stream->proven && now - stream->used <= WINDOW_STALLED_US &&
			    stream->next >= begin)
				end = MIN(end, stream->next);
		}
	}
	return end;
}

uint64_t window_set_limit(struct window_reader *reader, const struct stream *stream)
{
	struct window_set *set = reader->set;
	struct windows *windows = set->windows;
	int active = atomic_read(windows->active);
	/* A quarter is for what was read and is about to be freed. */
	uint64_t limit = MIN(reader->most, windows->pool_size / 4 * 3 / (uint64_t)MAX(active, 1));

	return stream_window(stream, limit, (set->wasted + set->doubtful) * WASTE_SHARE > set->asked);
}

/* How far ahead of the stream is wanted, bytes; false: nobody reads it any more. */
static bool reads_on(struct window_reader *reader, const struct stream *stream, int64_t now, bool pressure,
		     uint64_t *reach)
{
	if (!stream->size || now - stream->used > (pressure || !stream->proven ? WINDOW_STALLED_US :
										  WINDOW_IDLE_US))
		return false;
	*reach = stream->proven ? window_set_limit(reader, stream) : stream->run;
	/* What is ahead of a stream was asked for while its limit was larger. */
	if (!pressure && stream->proven && stream->frontier > stream->next)
		*reach = MAX(*reach, stream->frontier - stream->next);
	return true;
}

static bool stream_wants_chunk(const struct stream *stream, const struct chunk *chunk, uint64_t reach)
{
	return stream_wants(stream, chunk->offset, chunk_end(chunk), reach,
			    chunk->ready && chunk->used >= chunk->valid);
}

static bool is_wanted(struct window_set *set, const struct chunk *chunk, int64_t now)
{
	for (GList *link = set->readers.head; link; link = link->next) {
		struct window_reader *reader = link->data;

		for (int i = 0; i < STREAMS; i++) {
			const struct stream *stream = &reader->streams.stream[i];
			uint64_t reach;

			if (reads_on(reader, stream, now, false, &reach) &&
			    stream_wants_chunk(stream, chunk, reach))
				return true;
		}
	}
	return false;
}

/* The chunks that the stream wants: of each reader a few, where all of them for all readers are very many. */
static void mark_wanted(struct window_set *set, const struct stream *stream, uint64_t reach)
{
	unsigned int i = chunks_find(&set->chunks, stream->next > PASSED ? stream->next - PASSED : 0);

	for (; i < set->chunks.count && set->chunks.items[i]->offset < stream->next + reach; i++)
		set->chunks.items[i]->wanted = set->chunks.items[i]->wanted ||
					       stream_wants_chunk(stream, set->chunks.items[i], reach);
}

void window_set_sweep(struct window_set *set, int64_t now, bool pressure)
{
	/* A closed file's window waits for the reopening, and for what is read then. */
	if (!pressure && set->closed && now - set->closed < WINDOW_TAIL_US)
		return;
	if (!set->chunks.count)
		return;
	for (unsigned int i = 0; i < set->chunks.count; i++)
		set->chunks.items[i]->wanted = !set->chunks.items[i]->ready;
	for (GList *link = set->readers.head; link; link = link->next) {
		struct window_reader *reader = link->data;
		uint64_t reach;

		for (int i = 0; i < STREAMS; i++)
			if (reads_on(reader, &reader->streams.stream[i], now, pressure, &reach))
				mark_wanted(set, &reader->streams.stream[i], reach);
	}
	for (unsigned int i = set->chunks.count; i-- > 0;)
		if (!set->chunks.items[i]->wanted)
			window_set_take(set, i);
}

void window_set_pass(struct window_set *set, uint64_t offset, int64_t now)
{
	unsigned int i = chunks_find(&set->chunks, offset);
	int64_t rest = ((int64_t)MAX(set->readers.length, 1) - 1) * LOOK_EACH_US *
		       (1 + set->chunks.count / LOOK_CHUNKS);

	while (i-- > 0 && chunk_end(set->chunks.items[i]) + PASSED > offset) {
		struct chunk *chunk = set->chunks.items[i];

		if (!chunk->ready || now - chunk->looked < rest)
			continue;
		if (is_wanted(set, chunk, now))
			chunk->looked = now;
		else
			window_set_take(set, i);
	}
}

uint64_t window_set_extend(struct window_set *set, uint64_t begin, uint64_t must, uint64_t end,
			   size_t step, struct chunk **made)
{
	unsigned int i;

	begin = round_down(begin);
	end = MIN(round_up(end), chunks_limit(set));
	i = chunks_find(&set->chunks, begin);
	while (begin < end) {
		struct chunk *chunk, *after = i < set->chunks.count ? set->chunks.items[i] : NULL;
		uint64_t stop = (begin / step + 1) * step;

		if (after && after->offset <= begin) {
			begin = chunk_end(after);
			i++;
			continue;
		}
		if (after)
			stop = MIN(stop, after->offset);
		if (stop > end && begin >= must && end < chunks_limit(set))
			break;
		stop = MIN(stop, MAX(end, round_up(must)));
		stop = MIN(stop, chunks_limit(set));
		chunk = chunk_new(set->windows->pool, begin, stop - begin);
		if (!chunk) {
			atomic_write(set->windows->pressed, true);
			break;
		}
		chunk->set = set;
		chunks_insert(&set->chunks, i++, chunk);
		chunk_ref(chunk);
		*made = chunk;
		made = &chunk->next;
		begin = stop;
	}
	return begin;
}

static struct chunk **last_of(struct chunk **made)
{
	while (*made)
		made = &(*made)->next;
	return made;
}

static void advance_strided(struct window_set *set, struct stream *stream, uint64_t window,
			    struct chunk **made)
{
	uint64_t records = MIN(window / MAX(stream->size, BUFPOOL_ALIGN), RECORDS_MAX);
	uint64_t end = stream->last + stream->stride * records;

	stream->frontier = MAX(stream->frontier, stream->last + stream->stride);
	while (stream->frontier <= end && stream->frontier < set->size) {
		uint64_t must = stream->frontier + stream->size;

		made = last_of(made);
		if (window_set_extend(set, stream->frontier, must, must, BUFPOOL_SLAB, made) < must &&
		    must < set->size)
			break;
		stream->frontier += stream->stride;
	}
}

void window_set_advance(struct window_reader *reader, struct stream *stream, uint64_t offset,
			size_t size, bool missing, struct chunk **made)
{
	struct window_set *set = reader->set;
	uint64_t window, end = offset + size;
	size_t step;

	set->doubtful = streams_doubtful(&reader->streams);
	window = window_set_limit(reader, stream);
	step = stream_step(stream, window, BUFPOOL_SLAB);
	/* With a share so small there is more to gain from a read of its own. */
	if (window < size)
		return;
	if (stream->stride) {
		if (missing)
			window_set_extend(set, offset, end, end, BUFPOOL_SLAB, made);
		advance_strided(set, stream, window, last_of(made));
		return;
	}
	/* What was read ahead may have been dropped: then it starts anew. */
	stream->frontier = missing ? offset : MAX(stream->frontier, end);
	if (stream->frontier < end + window)
		stream->frontier = window_set_extend(set, stream->frontier, end, end + window, step,
						     last_of(made));
}

unsigned int window_set_active(struct window_set *set, int64_t now)
{
	unsigned int active = 0;

	if (set->blocked)
		return 0;
	for (GList *link = set->readers.head; link; link = link->next) {
		struct window_reader *reader = link->data;

		for (int i = 0; i < STREAMS; i++)
			active += reader->streams.stream[i].proven &&
				  now - reader->streams.stream[i].used < WINDOW_STALLED_US;
	}
	return active;
}
