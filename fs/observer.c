/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "observer.h"
#include "live.h"
#include "memory.h"
#include "observe.h"
#include "state.h"
#include "trace.h"
#include "thread.h"

#include <string.h>

/* Pressure has to be felt within two seconds. */
#define ROUND_US (G_USEC_PER_SEC / 4)
/* Rounds without an open after which they are that much longer: idle mounts are to cost nothing. */
#define IDLE_ROUNDS 40
#define IDLE_FACTOR 4
#define SAVE_US (60 * G_USEC_PER_SEC)

void observer_replay(struct observer *observer, uint64_t id, uint64_t size, uint64_t bytes,
		     bool cached)
{
	g_mutex_lock(&observer->lock);
	if (observer->count < OBSERVER_QUEUE)
		observer->queue[observer->count++] =
			(struct observer_replay){ id, size, bytes, cached };
	g_mutex_unlock(&observer->lock);
}

static void feel(struct lanefs *fs)
{
	struct memory_group group;
	struct threshold_inputs inputs = {
		.memory = fs->memory,
		.available = memory_available(),
		.stall = memory_stall(),
		/* Of these each open is asked about, see look_at_group() in facts.c. */
		.others_pages = atomic_read(fs->passthrough),
	};

	memory_group_of(0, &group);
	inputs.group_limit = group.limit;
	inputs.group_available = group.available;
	adapt_feel(fs->adapt, &inputs, g_get_monotonic_time());
}

static void save(struct lanefs *fs)
{
	g_autofree char *text = NULL;

	/* A mount of which nothing is to be kept leaves no file. */
	if (!fs->state || (!fs->state_text && adapt_is_empty(fs->adapt)))
		return;
	text = adapt_save(fs->adapt);
	if (g_strcmp0(text, fs->state_text) == 0)
		return;
	if (!state_save(fs->state, text))
		return;
	g_free(fs->state_text);
	fs->state_text = g_steal_pointer(&text);
}

/* With the lock held: until the next round or the end. */
static void observer_sleep(struct observer *observer, int64_t until)
{
	while (!observer->stop &&
	       g_cond_wait_until(&observer->wake, &observer->lock, until))
		;
}

static void replay(struct lanefs *fs, const struct observer_replay *open)
{
	adapt_replay(fs->adapt, open->id, open->size, open->bytes, open->cached);
}

static void *observer_run(void *data)
{
	struct observer *observer = data;
	struct lanefs *fs = observer->fs;
	int64_t saved = g_get_monotonic_time();
	unsigned int count, idle = 0;

	g_mutex_lock(&observer->lock);
	while (!observer->stop) {
		count = observer->count;
		idle = count ? 0 : MIN(idle + 1, IDLE_ROUNDS);
		memcpy(observer->taken, observer->queue, count * sizeof(*observer->queue));
		observer->count = 0;
		g_mutex_unlock(&observer->lock);
		for (unsigned int i = 0; i < count; i++)
			replay(fs, &observer->taken[i]);
		feel(fs);
		trace_expire(fs->trace);
		if (g_get_monotonic_time() - saved >= SAVE_US) {
			save(fs);
			saved = g_get_monotonic_time();
		}
		g_mutex_lock(&observer->lock);
		observer_sleep(observer, g_get_monotonic_time() +
			       ROUND_US * (idle == IDLE_ROUNDS ? IDLE_FACTOR : 1));
	}
	g_mutex_unlock(&observer->lock);
	return NULL;
}

struct observer *observer_new(struct lanefs *fs)
{
	struct observer *observer = g_new0(struct observer, 1);

	observer->fs = fs;
	g_mutex_init(&observer->lock);
	g_cond_init(&observer->wake);
	feel(fs);
	observer->thread = thread_start("lanefs-observer", observer_run, observer);
	return observer;
}

void observer_stop(struct observer *observer)
{
	if (!observer || !observer->thread)
		return;
	g_mutex_lock(&observer->lock);
	observer->stop = true;
	g_cond_signal(&observer->wake);
	g_mutex_unlock(&observer->lock);
	g_thread_join(g_steal_pointer(&observer->thread));
	save(observer->fs);
}

void observer_free(struct observer *observer)
{
	if (!observer)
		return;
	observer_stop(observer);
	g_cond_clear(&observer->wake);
	g_mutex_clear(&observer->lock);
	g_free(observer);
}

char *observer_report(struct lanefs *fs)
{
	g_autofree char *adapt = adapt_report(fs->adapt);
	g_autoptr(GString) text = g_string_new(NULL);
	struct live *live = live_get(fs);

	g_string_append_printf(text, "{\"shadow\":%s,\"learn\":%s,\"lane\":\"%s\",",
			       live->config->shadow ? "true" : "false",
			       live_learns(fs, live->config) ? "true" : "false",
			       policy_mode_name(live->config->lane));
	if (live->config->threshold != THRESHOLD_AUTO)
		g_string_append_printf(text, "\"fixed_threshold\":%" G_GUINT64_FORMAT ",",
				       live->config->threshold);
	g_string_append(text, "\"opens\":{");
	live_unref(live);
	for (int lane = 0; lane < LANE_COUNT; lane++)
		g_string_append_printf(text, "%s\"%s\":{\"opens\":%" G_GUINT64_FORMAT
				       ",\"bytes\":%" G_GUINT64_FORMAT "}", lane ? "," : "",
				       lane_name((enum lane)lane),
				       atomic_read(fs->observer->would[lane].opens),
				       atomic_read(fs->observer->would[lane].bytes));
	g_string_append_printf(text, "},%s", adapt + 1);
	return g_string_free(g_steal_pointer(&text), FALSE);
}
