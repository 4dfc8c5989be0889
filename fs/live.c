/* SPDX-License-Identifier: MIT */
#define G_LOG_DOMAIN "lanefs"

#include "live.h"
#include "memory.h"
#include "residency-watch.h"

#include "policy/adapt.h"

void live_unref(struct live *live)
{
	if (!live || __atomic_sub_fetch(&live->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (live->owned)
		config_free(live->config);
	g_free(live);
}

struct live *live_get(struct lanefs *fs)
{
	struct live *live;

	g_mutex_lock(&fs->live_lock);
	live = fs->live;
	atomic_add(live->refs, 1);
	g_mutex_unlock(&fs->live_lock);
	return live;
}

bool live_learns(const struct lanefs *fs, const struct config *config)
{
	return config->learn && fs->memory_limit >= MEMORY_TINY;
}

bool live_forces_lane(struct lanefs *fs)
{
	bool forces;

	g_mutex_lock(&fs->live_lock);
	forces = fs->live->config->lane != POLICY_AUTO;
	g_mutex_unlock(&fs->live_lock);
	return forces;
}

void live_put(struct lanefs *fs, struct config *config, bool owned)
{
	struct live *old, *live = g_new0(struct live, 1);

	live->config = config;
	live->owned = owned;
	live->refs = 1;
	for (guint i = 0; i < config->rules->len; i++) {
		const struct config_rule *rule = g_ptr_array_index(config->rules, i);

		live->wants_path |= rule->path || rule->kinds;
		live->wants_program |= rule->programs != NULL;
		live->wants_cgroup |= rule->cgroup != NULL;
	}
	g_mutex_lock(&fs->live_lock);
	old = fs->live;
	fs->live = live;
	g_mutex_unlock(&fs->live_lock);
	live_unref(old);
}

static void say(struct lanefs *fs, const char *text)
{
	g_mutex_lock(&fs->live_lock);
	g_free(fs->live_said);
	fs->live_said = g_strdup(text);
	g_mutex_unlock(&fs->live_lock);
}

char *live_said(struct lanefs *fs)
{
	char *text;

	g_mutex_lock(&fs->live_lock);
	text = g_strdup(fs->live_said ? fs->live_said : "");
	g_mutex_unlock(&fs->live_lock);
	return text;
}

/* With reload_lock held. */
static bool reload(struct lanefs *fs)
{
	g_autoptr(GError) error = NULL;
	struct config *config = fs->reload ? fs->reload(fs->reload_data, &error) : NULL;

	if (config) {
		config_keep_mount(config, fs->config);
		/* Again: read-ahead has to fit the pool there is, not the one the files now name. */
		if (!config_validate(config, 0, &error))
			g_clear_pointer(&config, config_free);
	}
	if (!config) {
		say(fs, error ? error->message : "this mount has nothing to read again");
		g_message("reload refused, what was in force stays: %s",
			  error ? error->message : "nothing to read again");
		return false;
	}
	adapt_freeze(fs->adapt, !live_learns(fs, config));
	live_put(fs, config, true);
	residency_reconsider(fs, NULL);
	say(fs, "ok");
	g_message("%s: configuration read again", fs->mountpoint);
	return true;
}

bool live_reload(struct lanefs *fs)
{
	bool done;

	/* In turn: what was read first must not come into force last. */
	g_mutex_lock(&fs->reload_lock);
	done = reload(fs);
	g_mutex_unlock(&fs->reload_lock);
	return done;
}

static void *reload_run(void *data)
{
	struct lanefs *fs = data;

	g_mutex_lock(&fs->reload_lock);
	/* Before the files are read: who asks from here on may have changed them since. */
	__atomic_store_n(&fs->reload_asked, false, __ATOMIC_SEQ_CST);
	reload(fs);
	g_mutex_unlock(&fs->reload_lock);
	later_end(fs);
	return NULL;
}

void live_reload_later(struct lanefs *fs)
{
	GThread *thread;

	/* One that has not begun to read yet will do for this too. */
	if (__atomic_exchange_n(&fs->reload_asked, true, __ATOMIC_SEQ_CST))
		return;
	/* Counted, so that the mount is not freed under it. */
	if (!later_begin(fs))
		return;
	thread = g_thread_try_new("lanefs-reload", reload_run, fs, NULL);
	if (thread) {
		g_thread_unref(thread);
		return;
	}
	g_message("%s: no thread to read the configuration again", fs->mountpoint);
	__atomic_store_n(&fs->reload_asked, false, __ATOMIC_SEQ_CST);
	later_end(fs);
}
