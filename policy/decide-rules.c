/* SPDX-License-Identifier: MIT */
/* The rules in order; the table of them is last. */
#include "policy/decide.h"

#include "policy/learn.h"
#include "policy/rule.h"
#include "policy/text.h"
#include "policy/threshold.h"

#include <fcntl.h>
#include <string.h>

static enum lane mode_lane(enum policy_mode mode)
{
	switch (mode) {
	case POLICY_DIRECT:
		return LANE_DIRECT;
	case POLICY_STREAM:
		return LANE_STREAM;
	case POLICY_CACHED:
	case POLICY_AUTO:
		break;
	}
	return LANE_CACHED;
}

static const char *source_of(const struct config *config, const char *key)
{
	const char *source = g_hash_table_lookup(config->sources, key);

	return source ? source : "default";
}

/* Bytes of a directory's path: a whole line has to fit into an extended attribute. */
#define SAID_MOST 1000

static void say_directory(GString *text, const char *directory)
{
	g_autofree char *clipped = NULL;
	g_autofree char *quoted = NULL;

	if (!text)
		return;
	if (!directory) {
		say(text, "a directory");
	} else if (!*directory) {
		say(text, "the top directory");
	} else {
		if (strlen(directory) > SAID_MOST)
			clipped = g_strdup_printf("%.*s...", SAID_MOST, directory);
		quoted = text_quote(clipped ? clipped : directory);
		say(text, "directory %s", quoted);
	}
}

static bool forced(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	const struct config *config = inquiry->config;

	if (config->lane == POLICY_AUTO) {
		say(text, "no lane is forced for the mount");
		return false;
	}
	*lane = mode_lane(config->lane);
	say(text, "lane=%s for the whole mount (%s)", policy_mode_name(config->lane),
	    source_of(config, "lane"));
	return true;
}

static bool o_direct(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	if (!(inquiry->facts->open_flags & O_DIRECT)) {
		say(text, "opened without O_DIRECT");
		return false;
	}
	*lane = LANE_DIRECT;
	say(text, "opened with O_DIRECT, so no window");
	return true;
}

static bool file_policy(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	enum policy_mode mode = inquiry->facts->file_policy;

	if (mode == POLICY_AUTO) {
		say(text, "the file has no policy of its own");
		return false;
	}
	*lane = mode_lane(mode);
	say(text, "file policy %s", policy_mode_name(mode));
	return true;
}

static bool dir_policy(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	const struct policy_facts *facts = inquiry->facts;

	if (facts->dir_policy == POLICY_AUTO && !facts->dir_policy_at) {
		say(text, "no directory above has a policy");
		return false;
	}
	say(text, "policy %s on ", policy_mode_name(facts->dir_policy));
	say_directory(text, facts->dir_policy_at);
	if (facts->dir_policy == POLICY_AUTO)
		return false;
	*lane = mode_lane(facts->dir_policy);
	return true;
}

static bool config_rule(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	const struct config_rule *rule = inquiry->rule;

	if (!rule) {
		say(text, inquiry->config->rules->len ? "no rule matches" : "there are no rules");
		return false;
	}
	if (text)
		rule_describe(rule, text);
	if (rule->keep) {
		say(text, " keeps it");
		*lane = LANE_CACHED;
		return true;
	}
	if (!rule->has_lane) {
		say(text, rule->has_threshold ? " gives a threshold only" : " gives no lane");
		return false;
	}
	say(text, " gives %s", policy_mode_name(rule->lane));
	if (rule->lane == POLICY_AUTO)
		return false;
	*lane = mode_lane(rule->lane);
	return true;
}

uint64_t inquiry_threshold_said(const struct inquiry *inquiry)
{
	if (inquiry->rule && inquiry->rule->has_threshold)
		return inquiry->rule->threshold;
	if (inquiry->facts->has_dir_threshold)
		return inquiry->facts->dir_threshold;
	return inquiry->config->threshold;
}

/* Whose threshold it is, in parentheses. */
static void say_threshold_origin(const struct inquiry *inquiry, GString *text)
{
	bool automatic = inquiry_threshold_said(inquiry) == THRESHOLD_AUTO;

	say(text, " (");
	if (inquiry->rule && inquiry->rule->has_threshold) {
		g_autofree char *name = text_quote(inquiry->rule->name);

		say(text, "rule %s%s", name, automatic ? ", " : "");
	} else if (inquiry->facts->has_dir_threshold) {
		say_directory(text, inquiry->facts->dir_threshold_at);
		say(text, "%s", automatic ? ", " : "");
	} else if (!automatic) {
		say(text, "%s", source_of(inquiry->config, "threshold"));
	}
	if (automatic) {
		say(text, "auto: ");
		threshold_say(&inquiry->facts->automatic, inquiry->facts->memory, text);
	}
	say(text, ")");
}

/* "4.2 GiB >= threshold 24 MiB (...)", in bytes where rounding would make the two look equal. */
static void say_size(const struct inquiry *inquiry, GString *text)
{
	g_autofree char *size = NULL;
	g_autofree char *threshold = NULL;

	if (!text)
		return;
	size = size_format_human(inquiry->size);
	threshold = size_format_human(inquiry->threshold);
	if (inquiry->size != inquiry->threshold && strcmp(size, threshold) == 0) {
		g_free(size);
		g_free(threshold);
		size = g_strdup_printf("%" G_GUINT64_FORMAT " B", inquiry->size);
		threshold = g_strdup_printf("%" G_GUINT64_FORMAT " B", inquiry->threshold);
	}
	say(text, "%s %s threshold %s", size, inquiry->size < inquiry->threshold ? "<" : ">=",
	    threshold);
	say_threshold_origin(inquiry, text);
}

static bool small(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	if (inquiry->facts->open_flags & O_TRUNC)
		say(text, "truncated by this open, ");
	say_size(inquiry, text);
	*lane = LANE_CACHED;
	return inquiry->size < inquiry->threshold;
}

static bool resident(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	double share = inquiry->facts->resident;
	int percent;

	if (!inquiry->reads) {
		say(text, "opened for writing only, so what is in memory does not count");
		return false;
	}
	if (!(share >= 0)) {
		say(text, "not known how much is in memory");
		return false;
	}
	percent = (int)(MIN(share, 1.0) * 100 + 0.5);
	*lane = LANE_CACHED;
	if (share > POLICY_RESIDENT) {
		say(text, "%d%% resident in memory", MAX(percent, 51));
		return true;
	}
	say(text, "%d%% resident in memory, not more than half", percent);
	return false;
}

static void say_heat(const struct inquiry *inquiry, GString *text)
{
	const struct heat_view *heat = &inquiry->facts->heat;
	g_autofree char *distance = size_format_human(heat->distance);
	g_autofree char *room = size_format_human(heat->room);
	g_autofree char *left = size_format_human(heat->left);
	g_autofree char *size = size_format_human(inquiry->size);

	if (heat->opens == 1)
		say(text, "opened once of late");
	else
		say(text, "opened %u times of late", heat->opens);
	if (heat->hot)
		say(text, ", the last two %s of reading apart, room for %s", distance, room);
	else if (heat->lack == HEAT_NO_ROOM)
		say(text, ", needs %s, has %s", size, left);
	else if (heat->lack == HEAT_LATE)
		say(text, ", the last two %s of reading apart, which is too long", distance);
	else if (heat->lack == HEAT_NOT_KEPT)
		say(text, ", but memory did not keep it");
	else if (heat->lack == HEAT_LOOKS)
		say(text, ", but little of it was read");
	else if (heat->opens > 1)
		say(text, ", not often enough yet");
}

static bool hot(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	const struct heat_view *heat = &inquiry->facts->heat;

	*lane = LANE_CACHED;
	if (!inquiry->reads)
		say(text, "opened for writing only, so how often it is read does not count");
	else if (!heat->opens)
		say(text, "not known to be read often");
	else if (text)
		say_heat(inquiry, text);
	return inquiry->reads && heat->hot;
}

static bool learned(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	const struct policy_facts *facts = inquiry->facts;

	if (facts->known.shape == SHAPE_UNKNOWN) {
		say(text, "nothing is known of this program and such files");
		return false;
	}
	/* What is written leaves memory by the lane stream, unless it is wanted there. */
	if (inquiry->writable && (!inquiry->reads || facts->known.lane != LANE_CACHED)) {
		say(text, "opened for writing, so only what is read here and there counts");
		return false;
	}
	*lane = facts->known.lane;
	if (inquiry->writable)
		say(text, "opened for writing, ");
	say_size(inquiry, text);
	if (text) {
		g_string_append(text, "; ");
		learn_say(&facts->known, facts->program, text);
	}
	return true;
}

static bool large_write(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	if (!inquiry->writable) {
		say(text, "opened for reading only");
		return false;
	}
	*lane = LANE_STREAM;
	say(text, "opened for writing, ");
	say_size(inquiry, text);
	return true;
}

static bool large(const struct inquiry *inquiry, enum lane *lane, GString *text)
{
	*lane = LANE_DIRECT;
	say_size(inquiry, text);
	return true;
}

const struct decide_rule decide_rules[RULE_COUNT] = {
	[RULE_FORCED] = { "forced", forced },
	[RULE_O_DIRECT] = { "o_direct", o_direct },
	[RULE_FILE_POLICY] = { "file_policy", file_policy },
	[RULE_DIR_POLICY] = { "dir_policy", dir_policy },
	[RULE_CONFIG] = { "config", config_rule },
	[RULE_SMALL] = { "small", small },
	[RULE_RESIDENT] = { "resident", resident },
	[RULE_HOT] = { "hot", hot },
	[RULE_LEARNED] = { "learned", learned },
	[RULE_LARGE_WRITE] = { "large_write", large_write },
	[RULE_LARGE] = { "large", large },
};

const char *policy_rule_name(enum policy_rule rule)
{
	g_return_val_if_fail((unsigned int)rule < RULE_COUNT, "?");
	return decide_rules[rule].name;
}
