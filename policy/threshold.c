/* SPDX-License-Identifier: MIT */
/*
 * Where it starts: from memory size alone.
 *
 * The threshold is the price of a wrong guess in either direction.  Too low,
 * and a file that will be read again is read from the disk again; too high, and
 * each file just below it, read once, pushes that much of the hot set out of
 * memory.  1/1024 of memory means that a thousand such files have to go past
 * before they have replaced everything, while what is re-read needlessly is a
 * few milliseconds of disk.  Whole MiB, so that the number people see is the
 * number that decides.
 *
 * The bounds: below 1 MiB a read is one request to the disk anyway and the
 * direct lane's set-up costs more than the page cache loses; above 64 MiB even
 * a machine with a terabyte would cache whole films, although memory for 64 MiB
 * at a time brings nothing that a read-ahead window of 16 MiB does not.
 *
 * The ghost cache is not held to these bounds: it has seen what is read again.
 */
#include "policy/threshold.h"

#include <math.h>

#define MIB (UINT64_C(1) << 20)
#define LEAST (1 * MIB)
#define MOST (64 * MIB)

/* Under full pressure only what is this small is still cached. */
#define PRESSED (UINT64_C(512) << 10)

/* Pressure begins when less than the first share of memory is left, and is full at the second. */
#define SHARE_ENOUGH 0.20
#define SHARE_NONE 0.03

/* The same for the share of time spent waiting for memory, percent. */
#define STALL_NONE 2.0
#define STALL_FULL 30.0

/* Pressure that has gone is forgotten by half in this time. */
#define RELIEF_US 2000000.0

/*
 * Another threshold has to cost no more than this share of the bytes to be worth a move, and so
 * often in a row.  Going up takes more: hot files above the threshold are found one by one, which
 * takes a while and is better in the end than to cache all that is below a higher one.  For the
 * same reason it goes back after a time, to see.
 */
#define WORTH_MOVING_DOWN 0.98
#define TURNS_TO_MOVE_DOWN 2
#define WORTH_MOVING_UP 0.80
#define TURNS_TO_MOVE_UP 20
#define TURNS_UP 200

/* Costs that are told apart by less are the same: the threshold moves no further for them. */
#define AS_GOOD 1.005

/* Nor is it worth one to save less than this share of all bytes. */
#define SAVING_LEAST 0.01

static uint64_t share_of(uint64_t memory)
{
	uint64_t share = memory / 1024;

	return (share + MIB / 2) / MIB * MIB;
}

uint64_t threshold_auto(uint64_t memory)
{
	return CLAMP(share_of(memory), LEAST, MOST);
}

const char *threshold_auto_text(uint64_t memory)
{
	if (share_of(memory) < LEAST)
		return "1/1024 of memory, at least 1 MiB";
	if (share_of(memory) > MOST)
		return "1/1024 of memory, at most 64 MiB";
	return "1/1024 of memory";
}

static double short_of(uint64_t available, uint64_t all)
{
	double share;

	if (!all || all == UINT64_MAX || available == UINT64_MAX)
		return 0;
	share = (double)available / (double)all;
	return CLAMP((SHARE_ENOUGH - share) / (SHARE_ENOUGH - SHARE_NONE), 0, 1);
}

double threshold_pressure(const struct threshold_inputs *inputs)
{
	double machine = short_of(inputs->available, inputs->memory);
	double group = short_of(inputs->group_available, inputs->group_limit);
	double stall = inputs->stall > STALL_NONE ?
		(inputs->stall - STALL_NONE) / (STALL_FULL - STALL_NONE) : 0;

	return MAX(MAX(machine, group), MIN(stall, 1));
}

uint64_t threshold_room(const struct threshold_inputs *inputs)
{
	uint64_t room = MIN(inputs->available, inputs->memory);

	return inputs->group_limit == UINT64_MAX || inputs->others_pages ?
		       room : MIN(room, inputs->group_available);
}

void threshold_init(struct threshold *threshold, uint64_t memory)
{
	*threshold = (struct threshold){
		.memory = memory,
		.base = threshold_auto(memory),
		.wish = GHOST_CACHES,
	};
}

void threshold_feel(struct threshold *threshold, const struct threshold_inputs *inputs, int64_t now)
{
	double pressure = threshold_pressure(inputs);
	double passed = (double)MAX(now - threshold->felt, 0);

	/* A hog that pauses must not make it swing. */
	if (pressure < threshold->pressure) {
		threshold->pressure *= exp2(-passed / RELIEF_US);
		threshold->pressure = threshold->pressure < 0.01 ? 0 : threshold->pressure;
	}
	threshold->pressure = MAX(threshold->pressure, pressure);
	threshold->felt = now;
}

static bool is_better(const struct ghost *ghost, unsigned int best, unsigned int now, uint64_t cost)
{
	double worth = best > now ? WORTH_MOVING_UP : WORTH_MOVING_DOWN;
	double best_cost = (double)ghost_cost(ghost, best);

	return best != now && best_cost <= worth * (double)cost &&
	       (double)cost - best_cost >= SAVING_LEAST * (double)ghost_asked(ghost);
}

/* Of those that are about as good as best the one that is the least from now. */
static unsigned int nearest_as_good(const struct ghost *ghost, unsigned int best, unsigned int now)
{
	double limit = (double)ghost_cost(ghost, best) * AS_GOOD;

	while (best != now) {
		unsigned int next = best < now ? best + 1 : best - 1;

		if ((double)ghost_cost(ghost, next) > limit)
			break;
		best = next;
	}
	return best;
}

static void move_to(struct threshold *threshold, unsigned int i)
{
	threshold->base = ghost_thresholds[i];
	threshold->replayed = true;
	threshold->wish = GHOST_CACHES;
	threshold->turns_up = 0;
}

bool threshold_consult(struct threshold *threshold, const struct ghost *ghost)
{
	unsigned int now = ghost_nearest(threshold->base);
	unsigned int start = ghost_nearest(threshold_auto(threshold->memory));
	unsigned int best = now;
	bool up;

	for (unsigned int i = 0; i < GHOST_CACHES; i++)
		if (ghost_cost(ghost, i) < ghost_cost(ghost, best))
			best = i;
	best = nearest_as_good(ghost, best, now);
	threshold->cost = ghost_cost_of_policy(ghost);
	threshold->cost_memory = ghost_cost(ghost, start);
	if (now > start && ++threshold->turns_up >= TURNS_UP) {
		move_to(threshold, start);
		return true;
	}
	if (!is_better(ghost, best, now, threshold->cost)) {
		threshold->wish = GHOST_CACHES;
		return false;
	}
	/* The best may change from one to the next; that it is up or down counts. */
	up = best > now;
	threshold->turns = threshold->wish != GHOST_CACHES && up == (threshold->wish > now) ?
		threshold->turns + 1 : 1;
	threshold->wish = best;
	if (threshold->turns < (up ? TURNS_TO_MOVE_UP : TURNS_TO_MOVE_DOWN))
		return false;
	move_to(threshold, best);
	return true;
}

void threshold_view(const struct threshold *threshold, struct threshold_view *out)
{
	*out = (struct threshold_view){
		.bytes = threshold->base,
		.base = threshold->base,
		.replayed = threshold->replayed,
		.cost = threshold->cost,
		.cost_memory = threshold->cost_memory,
	};
	threshold_press(out, threshold->pressure);
}

void threshold_press(struct threshold_view *view, double pressure)
{
	double base = (double)view->base, least = MIN(base, (double)PRESSED);

	if (pressure <= view->pressure)
		return;
	view->pressure = pressure;
	view->bytes = (uint64_t)(base * pow(least / base, pressure));
}

void threshold_say(const struct threshold_view *view, uint64_t memory, GString *text)
{
	if (!view->bytes) {
		g_string_append(text, threshold_auto_text(memory));
		return;
	}
	if (!view->replayed) {
		g_string_append(text, threshold_auto_text(memory));
	} else if (!view->cost && !view->cost_memory) {
		g_string_append(text, "replayed on an earlier mount");
	} else {
		unsigned int nearest = ghost_nearest(threshold_auto(memory));
		g_autofree char *cost = size_format_human(view->cost);
		g_autofree char *other = size_format_human(view->cost_memory);
		g_autofree char *start = size_format_human(ghost_thresholds[nearest]);

		g_string_append_printf(text, "recent opens replayed: reads %s, with %s %s", cost,
				       start, other);
	}
	g_string_append_printf(text, ", pressure %.2f", view->pressure);
}
