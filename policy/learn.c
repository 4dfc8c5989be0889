/* SPDX-License-Identifier: MIT */
/* Shapes, plausible lanes, trials. */
#include "policy/learn-internal.h"

#include <math.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* How much less an open counts than the one after it. */
#define FADE 0.7

/* Two opens more change its mind and a few measure the lanes, so this makes it follow within 20. */
#define LOOK_EVERY 12

/* Opens between two trials of a lane that is not known yet, and how many such trials at most. */
#define TRIAL_EVERY 2
#define TRIALS_MAX 4
#define SAMPLES_ENOUGH 2

/* A lane has to be this much faster (log2 of 1.05) to take over. */
#define FASTER 0.07

/* What is too short to measure. */
#define RATE_BYTES_LEAST (8 * MIB)
#define RATE_US_LEAST 2000
/* Much slows a read down, and little makes it fast: what is faster counts for more. */
#define RATE_WEIGHT_FASTER 0.5
#define RATE_WEIGHT_SLOWER 0.2
/* But not beyond this step (log2): part of a file may have been in memory. */
#define RATE_STEP_FASTER 0.5

/* Below this piece a request to the daemon costs more than any read-ahead gains. */
#define PIECE_FOR_DIRECT (16 << 10)

/* Of the last opens whose shape is known so many have to be random ones for the lane cached. */
#define STREWN_OF 3
#define STREWN_LEAST 2

/* Fewer reads than this that leave most of the file alone are only a look at it. */
#define READS_LEAST 4

bool learn_is_about(uint64_t bytes, uint64_t size)
{
	return bytes >= size / 2 && bytes <= size + size / 4;
}

enum learn_shape learn_shape_of(const struct learn_sample *sample)
{
	if (sample->mapped)
		return SHAPE_PAGED;
	if (sample->strewn)
		return SHAPE_RANDOM;
	if (!sample->seen && !learn_is_about(sample->bytes, sample->size))
		return SHAPE_UNKNOWN;
	if (!sample->reads || (sample->reads < READS_LEAST && sample->bytes < sample->size / 2))
		return SHAPE_UNKNOWN;
	if (!sample->seen)
		return sample->bytes / sample->reads < LEARN_SMALL_PIECE ? SHAPE_SMALL :
									     SHAPE_SEQUENTIAL;
	if (2 * sample->paged > sample->reads)
		return SHAPE_PAGED;
	if (sample->reads >= READS_LEAST && 2 * sample->sequential < sample->reads)
		return SHAPE_RANDOM;
	return 2 * sample->small > sample->reads ? SHAPE_SMALL : SHAPE_SEQUENTIAL;
}

/* The shape that the last opens speak for. */
static enum learn_shape entry_shape(const struct learn_entry *entry)
{
	double votes[SHAPE_COUNT] = { 0 }, weight = 1;
	enum learn_shape best = SHAPE_UNKNOWN;

	for (unsigned int i = 0; i < entry->count; i++, weight *= FADE)
		votes[entry->shapes[(entry->next + LEARN_HISTORY - 1 - i) % LEARN_HISTORY]] +=
			weight;
	/* What another class lent is older than all of that. */
	if (entry->lent_shape)
		votes[entry->lent_shape] += weight;
	for (enum learn_shape shape = SHAPE_UNKNOWN; shape < SHAPE_COUNT; shape++)
		if (votes[shape] > votes[best])
			best = shape;
	return best;
}

/* In the lane cached nothing is seen any more, so that one stray open is not to lead there. */
static bool is_strewn(const struct learn_entry *entry)
{
	unsigned int strewn = entry->lent_shape == SHAPE_RANDOM ? STREWN_LEAST : 0;

	for (unsigned int i = 0; i < MIN(entry->count, STREWN_OF); i++)
		strewn += entry->shapes[(entry->next + LEARN_HISTORY - 1 - i) % LEARN_HISTORY] ==
			  SHAPE_RANDOM;
	return strewn >= STREWN_LEAST;
}

/* The lanes that suit a shape, best guess first; how many. */
static unsigned int plausible(const struct learn_entry *entry, enum learn_shape shape, bool fits,
			      bool far, enum lane lanes[static 2])
{
	switch (shape) {
	case SHAPE_SEQUENTIAL:
		lanes[0] = far ? LANE_STREAM : LANE_DIRECT;
		lanes[1] = far ? LANE_DIRECT : LANE_STREAM;
		return 2;
	case SHAPE_SMALL:
		lanes[0] = LANE_STREAM;
		lanes[1] = LANE_DIRECT;
		return entry->piece >= PIECE_FOR_DIRECT ? 2 : 1;
	case SHAPE_PAGED:
		lanes[0] = LANE_STREAM;
		return 1;
	case SHAPE_RANDOM:
		/* What does not fit would only push out everything else. */
		lanes[0] = fits && is_strewn(entry) ? LANE_CACHED : LANE_DIRECT;
		return 1;
	case SHAPE_UNKNOWN:
	case SHAPE_COUNT:
		break;
	}
	return 0;
}

static bool is_measured(const struct learn_entry *entry, const enum lane lanes[static 2])
{
	return entry->rates[lanes[0]].samples >= SAMPLES_ENOUGH &&
	       entry->rates[lanes[1]].samples >= SAMPLES_ENOUGH;
}

/* Of two lanes the one that was faster first. */
static void order_lanes(const struct learn_entry *entry, enum lane lanes[static 2])
{
	enum lane first = lanes[0];

	if (!is_measured(entry, lanes) ||
	    entry->rates[lanes[1]].log2 < entry->rates[first].log2 + FASTER)
		return;
	lanes[0] = lanes[1];
	lanes[1] = first;
}

/* The lane to try instead of lanes[0] this time, or lanes[0]. */
static enum lane trial_lane(const struct learn_entry *entry, const enum lane lanes[static 2],
			    unsigned int count)
{
	enum lane other = count > 1 ? lanes[1] : LANE_DIRECT;

	if (count > 1 && entry->trials < TRIALS_MAX && entry->turn >= TRIAL_EVERY &&
	    entry->rates[other].samples < SAMPLES_ENOUGH && entry->rates[lanes[0]].samples)
		return other;
	if (entry->turn >= LOOK_EVERY || (entry->doubt && lanes[0] != LANE_DIRECT))
		return other;
	return lanes[0];
}

static struct learn_entry *entry_known(const struct learn *learn, const struct learn_key *key,
				      unsigned int size_class)
{
	struct learn_key other = *key;
	struct learn_entry *entry;

	other.size_class = (uint8_t)size_class;
	entry = g_hash_table_lookup(learn->entries, &other);
	return entry && entry->count ? entry : NULL;
}

/* That of key, else of the nearest size class of which something is known, NULL: none is. */
static struct learn_entry *entry_nearest(const struct learn *learn, const struct learn_key *key)
{
	struct learn_entry *entry = entry_known(learn, key, key->size_class);

	for (unsigned int away = 1; !entry && away < LEARN_CLASSES; away++) {
		if (key->size_class >= away)
			entry = entry_known(learn, key, key->size_class - away);
		if (!entry && key->size_class + away < LEARN_CLASSES)
			entry = entry_known(learn, key, key->size_class + away);
	}
	return entry;
}

static void entry_view(const struct learn_entry *entry, bool fits, bool far, struct learn_view *out)
{
	enum learn_shape shape = entry_shape(entry);
	enum lane lanes[2] = { LANE_DIRECT, LANE_DIRECT };
	unsigned int count = plausible(entry, shape, fits, far, lanes);

	*out = (struct learn_view){ .opens = entry->count, .shape = shape,
				    .piece = (uint64_t)entry->piece };
	for (unsigned int i = 0; i < entry->count; i++)
		out->alike += entry->shapes[i] == shape;
	out->far = shape == SHAPE_SEQUENTIAL && far;
	if (count > 1)
		order_lanes(entry, lanes);
	out->lane = out->other = lanes[0];
	out->no_room = shape == SHAPE_RANDOM && !fits && is_strewn(entry);
	if (!count)
		return;
	if (count > 1 && is_measured(entry, lanes)) {
		out->measured = true;
		out->other = lanes[1];
		out->rate = exp2(entry->rates[lanes[0]].log2);
		out->other_rate = exp2(entry->rates[lanes[1]].log2);
	}
}

/* An open takes its turn: is it a trial? */
static void entry_take_turn(struct learn_entry *entry, bool fits, bool far, struct learn_view *view)
{
	enum lane lanes[2] = { LANE_DIRECT, LANE_DIRECT };
	unsigned int count = plausible(entry, view->shape, fits, far, lanes);
	enum lane lane;

	if (!count)
		return;
	if (count > 1)
		order_lanes(entry, lanes);
	entry->turn++;
	lane = trial_lane(entry, lanes, count);
	if (lane == lanes[0])
		return;
	entry->turn = 0;
	entry->trials += count > 1;
	entry->doubt = false;
	view->trial = true;
	view->other = lanes[0];
	view->lane = lane;
}

/* How fast the lanes are does not depend on the size: it is believed until it is measured again. */
static void entry_lend(const struct learn_entry *from, enum learn_shape shape,
		       struct learn_entry *to)
{
	to->lent_shape = (uint8_t)shape;
	to->piece = from->piece;
	to->trials = from->trials;
	for (unsigned int lane = 0; lane < LANE_COUNT; lane++) {
		to->rates[lane] = from->rates[lane];
		to->rates[lane].samples = MIN(from->rates[lane].samples, SAMPLES_ENOUGH);
	}
}

void learn_look(struct learn *learn, const struct learn_key *key, bool fits, bool far, bool opening,
		struct learn_view *out)
{
	struct learn_entry *entry = entry_nearest(learn, key), *own;

	*out = (struct learn_view){ 0 };
	if (!entry)
		return;
	entry_view(entry, fits, far, out);
	out->size_class = entry->key.size_class;
	out->borrowed = out->size_class != key->size_class;
	if (!opening)
		return;
	/* First, so that it is not the one that makes room. */
	learn_use(learn, &entry->key);
	own = learn_use(learn, key);
	if (out->borrowed && own->lent_shape != out->shape)
		entry_lend(entry, out->shape, own);
	entry_take_turn(own, fits, far, out);
}

void learn_suppose(const struct learn *learn, struct learn_key *key, bool any_user)
{
	if (entry_nearest(learn, key))
		return;
	for (GList *link = learn->used.head; link; link = link->next) {
		const struct learn_entry *entry = link->data;

		if (!entry->count || strcmp(entry->key.program, key->program) ||
		    strcmp(entry->key.extension, key->extension) ||
		    (!any_user && entry->key.uid != key->uid))
			continue;
		key->uid = entry->key.uid;
		memcpy(key->group, entry->key.group, sizeof(key->group));
		return;
	}
}

bool learn_is_strewn(const struct learn *learn, const struct learn_key *key)
{
	const struct learn_entry *entry = entry_nearest(learn, key);

	return entry && entry_shape(entry) == SHAPE_RANDOM && is_strewn(entry);
}

/*
 * From outside, small and large pieces can be told apart, and where pages are.  Pages without reads
 * may be a mapping, and as well reads of io_uring, or of another process that was handed the
 * descriptor.
 */
static bool may_follow(enum learn_shape known, enum learn_shape shape)
{
	if (known == SHAPE_UNKNOWN || known == shape || (shape == SHAPE_RANDOM && known != SHAPE_PAGED))
		return true;
	return shape != SHAPE_PAGED && (known == SHAPE_SMALL || known == SHAPE_SEQUENTIAL);
}

static void note_piece(struct learn_entry *entry, const struct learn_sample *sample, bool fades)
{
	double piece = sample->reads ? (double)sample->bytes / (double)sample->reads : entry->piece;

	entry->piece = entry->piece > 0 && fades ? FADE * entry->piece + (1 - FADE) * piece : piece;
}

static void forget_last(struct learn_entry *entry)
{
	entry->next = (entry->next + LEARN_HISTORY - 1) % LEARN_HISTORY;
	entry->count--;
}

static void note_shape(struct learn_entry *entry, const struct learn_sample *sample)
{
	enum learn_shape known, shape = learn_shape_of(sample);

	if (shape == SHAPE_UNKNOWN)
		return;
	/* What was noted early is counted already, unless the entry had to make room since. */
	if (entry->count && shape == sample->noted) {
		note_piece(entry, sample, false);
		return;
	}
	/* It was taken for another one. */
	if (entry->count == 1 && sample->noted != SHAPE_UNKNOWN)
		forget_last(entry);
	known = entry_shape(entry);
	if (!sample->seen && !may_follow(known, shape))
		return;
	entry->doubt = sample->seen && known != SHAPE_UNKNOWN && shape != known;
	entry->shapes[entry->next] = (uint8_t)shape;
	entry->next = (entry->next + 1) % LEARN_HISTORY;
	entry->count = MIN(entry->count + 1, LEARN_HISTORY);
	note_piece(entry, sample, shape == known);
}

static void note_rate(struct learn_entry *entry, const struct learn_sample *sample)
{
	struct learn_rate *rate = &entry->rates[sample->lane];
	uint64_t bytes = sample->bytes;
	double weight, now;

	/* What was read of other files at the same time is no throughput of this one. */
	if (!sample->seen && !learn_is_about(bytes, sample->size))
		return;
	bytes = MIN(bytes, sample->size);
	if (bytes < RATE_BYTES_LEAST || sample->duration < RATE_US_LEAST)
		return;
	now = MAX(log2((double)bytes * G_USEC_PER_SEC / (double)sample->duration), 0);
	weight = now > rate->log2 ? RATE_WEIGHT_FASTER : RATE_WEIGHT_SLOWER;
	weight = MAX(weight, 1.0 / (rate->samples + 1));
	if (rate->samples)
		now = MIN(now, rate->log2 + RATE_STEP_FASTER / weight);
	rate->log2 += weight * (now - rate->log2);
	rate->samples++;
}

void learn_note(struct learn *learn, const struct learn_key *key, const struct learn_sample *sample)
{
	struct learn_entry *entry;
	enum learn_shape before;

	/* Nothing is known of it, and it is not to push out what is. */
	if (learn_shape_of(sample) == SHAPE_UNKNOWN && !g_hash_table_contains(learn->entries, key))
		return;
	entry = learn_use(learn, key);
	before = entry_shape(entry);
	note_shape(entry, sample);
	/* What another way of reading measured says nothing. */
	if (entry_shape(entry) != before) {
		memset(entry->rates, 0, sizeof(entry->rates));
		entry->trials = 0;
	}
	note_rate(entry, sample);
}

enum learn_shape learn_note_early(struct learn *learn, const struct learn_key *key,
				  const struct learn_sample *sample)
{
	enum learn_shape shape = learn_shape_of(sample);

	if (shape == SHAPE_UNKNOWN || entry_nearest(learn, key))
		return SHAPE_UNKNOWN;
	learn_note(learn, key, sample);
	return shape;
}

void learn_foreach(struct learn *learn, uint64_t room, bool far,
		   void (*visit)(const struct learn_key *key, const struct learn_view *view,
				 void *data),
		   void *data)
{
	for (GList *link = learn->used.head; link; link = link->next) {
		const struct learn_entry *entry = link->data;
		struct learn_view view;

		if (!entry->count)
			continue;
		entry_view(entry, learn_class_least(entry->key.size_class) <= room, far, &view);
		visit(&entry->key, &view, data);
	}
}
