/* SPDX-License-Identifier: MIT */
#include "policy/adapt-internal.h"

/* Of memory's room, what hot files may take together: the rest is for everything else. */
#define HEAT_SHARE 0.6

/* How often thresholds are compared, in shares of what memory holds, and what is remembered. */
#define EPOCH_SHARE 16
#define EPOCH_LEAST (UINT64_C(16) << 20)
#define EPOCH_KEEP 0.9

/*
 * The kernel's read-ahead from which on the lane stream is faster than windows: measured with 128 KiB to
 * 8 MiB of it, where it read at 0.56, 0.81 (512 KiB), 1.36 (2 MiB) and 1.99 times what direct did.
 */
#define FAR_AHEAD (UINT64_C(2) << 20)

/* Room is followed in steps: a little more or less would only shake the lists. */
#define ROOM_STEP 0.1

static void publish(struct adapt *adapt)
{
	struct threshold_view view;

	threshold_view(&adapt->threshold, &view);
	g_mutex_lock(&adapt->view_lock);
	adapt->view = view;
	g_mutex_unlock(&adapt->view_lock);
}

struct adapt *adapt_new(uint64_t memory, bool frozen)
{
	struct adapt *adapt = g_new0(struct adapt, 1);

	adapt->memory = adapt->room = memory;
	adapt->frozen = frozen;
	g_mutex_init(&adapt->lock);
	g_mutex_init(&adapt->replay_lock);
	g_mutex_init(&adapt->view_lock);
	adapt->learn = learn_new();
	adapt->heat = heat_new((uint64_t)((double)memory * HEAT_SHARE));
	adapt->ghost = ghost_new(memory);
	threshold_init(&adapt->threshold, memory);
	publish(adapt);
	return adapt;
}

void adapt_free(struct adapt *adapt)
{
	if (!adapt)
		return;
	ghost_free(adapt->ghost);
	heat_free(adapt->heat);
	learn_free(adapt->learn);
	g_mutex_clear(&adapt->view_lock);
	g_mutex_clear(&adapt->replay_lock);
	g_mutex_clear(&adapt->lock);
	g_free(adapt);
}

void adapt_freeze(struct adapt *adapt, bool frozen)
{
	__atomic_store_n(&adapt->frozen, frozen, __ATOMIC_RELAXED);
}

static bool is_frozen(const struct adapt *adapt)
{
	return __atomic_load_n(&adapt->frozen, __ATOMIC_RELAXED);
}

void adapt_view(struct adapt *adapt, struct threshold_view *out)
{
	g_mutex_lock(&adapt->view_lock);
	*out = adapt->view;
	g_mutex_unlock(&adapt->view_lock);
}

void adapt_look(struct adapt *adapt, const struct learn_key *key, uint64_t id, uint64_t size,
		uint64_t room, double gone, bool opening, struct policy_facts *facts)
{
	struct heat_open open = { .id = id, .size = size, .gone = gone };
	bool fits, learns;

	opening = opening && !is_frozen(adapt);
	g_mutex_lock(&adapt->lock);
	fits = (double)size <= (double)MIN(room, adapt->room) * HEAT_SHARE;
	open.strewn = fits && learn_is_strewn(adapt->learn, key);
	if (opening)
		heat_note(adapt->heat, &open);
	if (opening || is_frozen(adapt))
		heat_look(adapt->heat, id, size, &facts->heat);
	else
		heat_foresee(adapt->heat, &open, &facts->heat);
	if (facts->heat.hot && !fits) {
		facts->heat.hot = false;
		facts->heat.lack = HEAT_NO_ROOM;
		facts->heat.left = (uint64_t)((double)MIN(room, adapt->room) * HEAT_SHARE);
	}
	facts->heat.fits = facts->heat.fits && fits;
	/* What is in memory is read from there, whatever was to be tried. */
	learns = opening && !facts->heat.hot && !facts->no_trials &&
		 facts->resident <= POLICY_RESIDENT;
	adapt->far = facts->read_ahead >= FAR_AHEAD;
	learn_look(adapt->learn, key, facts->heat.fits, adapt->far, learns, &facts->known);
	g_mutex_unlock(&adapt->lock);
}

void adapt_close(struct adapt *adapt, const struct learn_key *key, uint64_t id, uint64_t bytes,
		 const struct learn_sample *sample)
{
	if (is_frozen(adapt))
		return;
	g_mutex_lock(&adapt->lock);
	heat_read(adapt->heat, id, bytes);
	if (sample)
		learn_note(adapt->learn, key, sample);
	g_mutex_unlock(&adapt->lock);
}

enum learn_shape adapt_note_early(struct adapt *adapt, const struct learn_key *key,
				  const struct learn_sample *sample)
{
	enum learn_shape noted;

	if (is_frozen(adapt))
		return SHAPE_UNKNOWN;
	g_mutex_lock(&adapt->lock);
	noted = learn_note_early(adapt->learn, key, sample);
	g_mutex_unlock(&adapt->lock);
	return noted;
}

void adapt_suppose(struct adapt *adapt, struct learn_key *key, bool any_user)
{
	g_mutex_lock(&adapt->lock);
	learn_suppose(adapt->learn, key, any_user);
	g_mutex_unlock(&adapt->lock);
}

bool adapt_find_hot(struct adapt *adapt, uint64_t id, uint64_t size, uint64_t room)
{
	bool found;

	if (is_frozen(adapt) || (double)size > (double)room * HEAT_SHARE)
		return false;
	g_mutex_lock(&adapt->lock);
	found = heat_find(adapt->heat, id, size);
	g_mutex_unlock(&adapt->lock);
	return found;
}

bool adapt_samples(const struct adapt *adapt, uint64_t id, uint64_t bytes)
{
	return !is_frozen(adapt) && ghost_samples(adapt->ghost, id, bytes);
}

/* What was read since the last time, fading left out.  With replay_lock held. */
static void count_costs(struct adapt *adapt)
{
	adapt->costs.spent += ghost_cost_of_policy(adapt->ghost) - adapt->spent_before;
	adapt->spent_before = ghost_cost_of_policy(adapt->ghost);
	adapt->costs.asked += ghost_asked(adapt->ghost) - adapt->asked_before;
	adapt->asked_before = ghost_asked(adapt->ghost);
	for (unsigned int i = 0; i < GHOST_CACHES; i++) {
		adapt->costs.caches[i] += ghost_cost(adapt->ghost, i) - adapt->before[i];
		adapt->before[i] = ghost_cost(adapt->ghost, i);
	}
}

static void end_epoch(struct adapt *adapt)
{
	count_costs(adapt);
	if (threshold_consult(&adapt->threshold, adapt->ghost))
		g_debug("threshold moves to %" G_GUINT64_FORMAT, adapt->threshold.base);
	ghost_fade(adapt->ghost, EPOCH_KEEP);
	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		adapt->before[i] = ghost_cost(adapt->ghost, i);
	adapt->asked_before = ghost_asked(adapt->ghost);
	adapt->spent_before = ghost_cost_of_policy(adapt->ghost);
	publish(adapt);
}

void adapt_replay(struct adapt *adapt, uint64_t id, uint64_t size, uint64_t bytes, bool cached)
{
	uint64_t step;

	if (is_frozen(adapt))
		return;
	g_mutex_lock(&adapt->replay_lock);
	ghost_note(adapt->ghost, id, size, bytes, cached);
	if (ghost_asked(adapt->ghost) >= adapt->epoch) {
		if (adapt->epoch)
			end_epoch(adapt);
		step = MAX(EPOCH_LEAST, adapt->memory / EPOCH_SHARE);
		adapt->epoch = ghost_asked(adapt->ghost) + step;
	}
	g_mutex_unlock(&adapt->replay_lock);
}

static void set_room(struct adapt *adapt, uint64_t room)
{
	double change = (double)room / (double)MAX(adapt->room, 1) - 1;

	if (change > -ROOM_STEP && change < ROOM_STEP)
		return;
	ghost_set_memory(adapt->ghost, room);
	g_mutex_lock(&adapt->lock);
	adapt->room = room;
	heat_set_room(adapt->heat, (uint64_t)((double)room * HEAT_SHARE));
	g_mutex_unlock(&adapt->lock);
}

void adapt_feel(struct adapt *adapt, const struct threshold_inputs *inputs, int64_t now)
{
	g_mutex_lock(&adapt->replay_lock);
	threshold_feel(&adapt->threshold, inputs, now);
	set_room(adapt, threshold_room(inputs));
	publish(adapt);
	g_mutex_unlock(&adapt->replay_lock);
}

void adapt_costs(struct adapt *adapt, struct adapt_costs *costs)
{
	g_mutex_lock(&adapt->replay_lock);
	count_costs(adapt);
	*costs = adapt->costs;
	g_mutex_unlock(&adapt->replay_lock);
}

uint64_t adapt_footprint(struct adapt *adapt)
{
	uint64_t bytes;

	g_mutex_lock(&adapt->replay_lock);
	bytes = sizeof(*adapt) + ghost_footprint(adapt->ghost);
	g_mutex_unlock(&adapt->replay_lock);
	g_mutex_lock(&adapt->lock);
	bytes += learn_footprint(adapt->learn) + heat_footprint(adapt->heat);
	g_mutex_unlock(&adapt->lock);
	return bytes;
}
