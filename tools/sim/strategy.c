/* SPDX-License-Identifier: MIT */
/* A fixed threshold, and the policy of lanefs itself, over the same memory. */
#include "tools/sim/sim.h"

#include "policy/adapt.h"
#include "policy/config.h"

#include <fcntl.h>

/* How often the daemon looks at memory. */
#define FEEL_SECONDS 0.25

struct play {
	struct memory *memory;
	struct config *config;
	struct adapt *adapt;   /* NULL: fixed threshold */
	uint64_t threshold, bytes;
	double felt;
};

static enum lane decide_fixed(const struct play *play, const struct sim_open *open)
{
	return open->size < play->threshold ? LANE_CACHED : LANE_DIRECT;
}

/* What the daemon would see of this open. */
static void sample(const struct sim_open *open, enum lane lane, struct learn_sample *out)
{
	uint64_t piece = open->shape == SHAPE_SMALL || open->shape == SHAPE_RANDOM ? 16 << 10 :
		256 << 10;
	uint64_t reads = MAX(open->bytes / piece, 1);

	*out = (struct learn_sample){
		.lane = lane, .seen = lane == LANE_DIRECT, .reads = reads, .bytes = open->bytes,
		.small = piece < LEARN_SMALL_PIECE ? reads : 0,
		.paged = open->shape == SHAPE_PAGED ? reads : 0,
		.sequential = open->shape == SHAPE_RANDOM ? 0 : reads - 1,
		.size = open->size,
		.duration = (int64_t)(open->bytes / 1000) + 1,
	};
}

static void feel(struct play *play, double now)
{
	struct threshold_inputs inputs = {
		.memory = play->bytes, .available = play->bytes,
		.group_limit = UINT64_MAX, .group_available = UINT64_MAX, .stall = -1,
	};

	if (now < play->felt + FEEL_SECONDS)
		return;
	adapt_feel(play->adapt, &inputs, (int64_t)(now * G_USEC_PER_SEC));
	play->felt = now;
}

/* As fs/facts.c and fs/observe.c go about it. */
static enum lane decide_learned(struct play *play, const struct sim_open *open)
{
	struct policy_facts facts = {
		.path = open->path, .program = open->program, .uid = -1, .age = -1,
		.size = open->size, .open_flags = open->writes ? O_WRONLY : O_RDONLY,
		.memory = play->bytes, .resident = -1,
	};
	struct policy_decision decision;
	struct learn_sample done;
	struct learn_key key;

	feel(play, open->time);
	adapt_view(play->adapt, &facts.automatic);
	policy_decide(play->config, &facts, &decision, NULL);
	if (decision.rule == RULE_LARGE) {
		facts.resident = memory_share(play->memory, open->id, open->size);
		learn_key_init(&key, open->program, open->path, open->size);
		adapt_look(play->adapt, &key, open->id, open->size, UINT64_MAX,
			   1 - facts.resident, true, &facts);
		policy_decide(play->config, &facts, &decision, NULL);
		sample(open, decision.lane, &done);
		adapt_close(play->adapt, &key, open->id, open->bytes,
			    decision.rule == RULE_RESIDENT ? NULL : &done);
	}
	if (!open->writes && adapt_samples(play->adapt, open->id, open->bytes))
		adapt_replay(play->adapt, open->id, open->size, open->bytes,
			     decision.lane == LANE_CACHED);
	return decision.lane;
}

static void play_open(struct play *play, const struct sim_open *open, struct outcome *outcome)
{
	enum lane lane = play->adapt ? decide_learned(play, open) : decide_fixed(play, open);
	uint64_t disk = open->bytes;

	outcome->opens[lane]++;
	outcome->asked += open->bytes;
	/* What another lane left in memory is not found there in the lane direct. */
	if (lane == LANE_CACHED)
		disk = memory_read(play->memory, open->id, open->size, open->bytes);
	else if (lane == LANE_STREAM)
		disk = memory_pass(play->memory, open->id, open->size, open->bytes);
	if (!open->writes)
		outcome->disk += disk;
	if (open->size < SIM_SMALL && !open->writes) {
		outcome->small_opens++;
		outcome->small_hits += disk == 0;
	}
}

void strategy_play(const GArray *opens, uint64_t memory, uint64_t threshold,
		   struct outcome *outcome, uint64_t *disk_at)
{
	struct play play = {
		.memory = memory_new(memory), .bytes = memory, .threshold = threshold,
		.felt = -1,
	};

	*outcome = (struct outcome){ 0 };
	if (threshold == THRESHOLD_AUTO) {
		play.adapt = adapt_new(memory, false);
		play.config = config_new();
	}
	for (guint i = 0; i < opens->len; i++) {
		play_open(&play, &g_array_index(opens, struct sim_open, i), outcome);
		if (disk_at)
			disk_at[i] = outcome->disk;
	}
	if (play.adapt)
		outcome->footprint = adapt_footprint(play.adapt);
	adapt_free(play.adapt);
	config_free(play.config);
	memory_free(play.memory);
}
