/* SPDX-License-Identifier: MIT */
/* Which lane an open gets: what the rules ask for, and what can be had of it. */
#include "policy/decide.h"

#include "policy/rule.h"

#include <fcntl.h>

void inquiry_init(struct inquiry *inquiry, const struct config *config,
		  const struct policy_facts *facts)
{
	*inquiry = (struct inquiry){
		.config = config,
		.facts = facts,
		.size = facts->open_flags & O_TRUNC ? 0 : facts->size,
		.writable = (facts->open_flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY,
		.reads = (facts->open_flags & O_ACCMODE) != O_WRONLY &&
			 !(facts->open_flags & O_TRUNC),
	};
	for (unsigned int i = 0; i < config->rules->len && !inquiry->rule; i++) {
		const struct config_rule *rule = g_ptr_array_index(config->rules, i);

		if (rule_matches(rule, facts, inquiry->size, inquiry->writable))
			inquiry->rule = rule;
	}
	inquiry->threshold = inquiry_threshold_said(inquiry);
	if (inquiry->threshold == THRESHOLD_AUTO)
		inquiry->threshold = facts->automatic.bytes ? facts->automatic.bytes :
			threshold_auto(facts->memory);
}

/* Why the open cannot be direct, NULL when it can. */
static const char *why_no_direct(const struct inquiry *inquiry, enum policy_rule rule,
				 enum lane wanted)
{
	bool said = rule == RULE_FORCED || rule == RULE_FILE_POLICY || rule == RULE_DIR_POLICY ||
		    rule == RULE_CONFIG;

	/* The kernel carries O_DIRECT to the backing file: nothing of our own is needed. */
	if (rule == RULE_O_DIRECT && !inquiry->facts->no_passthrough)
		return NULL;
	if (inquiry->facts->no_direct)
		return inquiry->facts->no_direct;
	/* Any program may map a file: one that cannot be is for who asked for the lane by name. */
	return said && wanted == LANE_DIRECT ? NULL : inquiry->facts->no_direct_map;
}

/*
 * What the kernel reads ahead for all that are open in stream is to stay within the window and this;
 * as it cannot be told to read less for one file, further readers get windows of the daemon's.
 */
#define CROWD_SLACK (UINT64_C(16) << 20)

static bool is_crowded(const struct inquiry *inquiry, enum policy_rule rule, enum lane lane,
		       const char *no_direct, uint64_t window)
{
	const struct policy_facts *facts = inquiry->facts;

	if (lane != LANE_STREAM || inquiry->writable || no_direct || !facts->streams)
		return false;
	/* Small pieces are so slow there that it is no way out. */
	if (rule == RULE_LEARNED && facts->known.shape == SHAPE_SMALL)
		return false;
	return facts->stream_ahead > (window + CROWD_SLACK) / (facts->streams + 1);
}

static void say_crowded(const struct inquiry *inquiry, uint64_t window, GString *text)
{
	g_autofree char *each = size_format_human(inquiry->facts->stream_ahead);
	g_autofree char *all = size_format_human(window);

	say(text, "; open %u times in stream, with up to %s of read-ahead each, for which %s is too little",
	    inquiry->facts->streams, each, all);
}

static void say_degraded(const struct inquiry *inquiry, enum lane wanted, enum lane lane,
			 const char *no_direct, GString *text)
{
	if (lane == wanted)
		return;
	if (wanted == LANE_DIRECT)
		say(text, "; direct is not possible: %s", no_direct);
	if (wanted == LANE_STREAM || lane == LANE_CACHED)
		say(text, "; stream needs passthrough: %s", inquiry->facts->no_passthrough);
	if (wanted == LANE_STREAM && lane == LANE_CACHED)
		say(text, "; direct is not possible: %s", no_direct);
}

static bool is_kept(const struct inquiry *inquiry, enum policy_rule rule)
{
	return rule == RULE_CONFIG && inquiry->rule && inquiry->rule->keep;
}

static uint64_t stream_window(const struct inquiry *inquiry)
{
	const struct config_rule *rule = inquiry->rule;

	return rule && rule->has_stream_window ? rule->stream_window :
		inquiry->config->stream_window;
}

static void bound(const struct inquiry *inquiry, uint64_t at, struct policy_decision *out)
{
	if (at <= inquiry->size)
		out->from = MAX(out->from, at);
	else
		out->until = MIN(out->until, at);
}

/* Whatever else the rules before the one that matched ask for: deciding once too often costs little. */
static void bound_sizes(const struct inquiry *inquiry, struct policy_decision *out)
{
	out->from = 0;
	out->until = UINT64_MAX;
	bound(inquiry, inquiry->threshold, out);
	for (unsigned int i = 0; i < inquiry->config->rules->len; i++) {
		const struct config_rule *rule = g_ptr_array_index(inquiry->config->rules, i);

		bound(inquiry, rule->min_size, out);
		if (rule->max_size < UINT64_MAX)
			bound(inquiry, rule->max_size + 1, out);
		if (rule == inquiry->rule)
			break;
	}
}

static void apply_rule(const struct inquiry *inquiry, struct policy_decision *out)
{
	const struct config_rule *rule = inquiry->rule;

	out->read_ahead = rule && rule->has_read_ahead ? rule->read_ahead :
		inquiry->config->read_ahead;
	out->stream_window = stream_window(inquiry);
	out->keep = is_kept(inquiry, out->rule);
}

/*
 * cached and stream are one kind of open, and all of a file are in the same of the two.  What is
 * to be said of it when it is not *lane, else NULL.
 */
static const char *in_place(const struct inquiry *inquiry, enum policy_rule rule, enum lane *lane)
{
	const struct policy_facts *facts = inquiry->facts;

	if (facts->no_passthrough || rule == RULE_FORCED)
		return NULL;
	if (*lane == LANE_STREAM && facts->hot) {
		*lane = LANE_CACHED;
		return "hot: most of what was dropped was soon read again";
	}
	if (*lane == LANE_CACHED && facts->streaming && !is_kept(inquiry, rule)) {
		*lane = LANE_STREAM;
		return "it is open in stream";
	}
	return NULL;
}

/*
 * rule matched and asks for wanted: what the open gets.  text, when not NULL,
 * is the rule's finding; what could not be had, and why, is added to it.
 */
static void conclude(const struct inquiry *inquiry, enum policy_rule rule, enum lane wanted,
		     struct policy_decision *out, GString *text)
{
	const char *no_passthrough = inquiry->facts->no_passthrough;
	const char *no_direct = why_no_direct(inquiry, rule, wanted);
	enum lane lane = wanted;
	bool crowded;
	const char *note;

	/* stream and direct stand in for each other, cached for both. */
	if ((wanted == LANE_STREAM && no_passthrough) || (wanted == LANE_DIRECT && no_direct)) {
		lane = wanted == LANE_STREAM ? LANE_DIRECT : LANE_STREAM;
		if (lane == LANE_DIRECT ? no_direct : no_passthrough)
			lane = LANE_CACHED;
	}
	note = in_place(inquiry, rule, &lane);
	/* Who is to be cached, but for others that stream, is one of these. */
	crowded = wanted != LANE_CACHED &&
		  is_crowded(inquiry, rule, lane, no_direct, stream_window(inquiry));
	if (crowded)
		lane = LANE_DIRECT;
	*out = (struct policy_decision){
		.lane = lane,
		.wanted = wanted,
		.would = lane,
		.rule = rule,
		.threshold = inquiry->threshold,
		.window = lane == LANE_DIRECT && !(inquiry->facts->open_flags & O_DIRECT),
	};
	bound_sizes(inquiry, out);
	apply_rule(inquiry, out);
	if (crowded)
		say_crowded(inquiry, out->stream_window, text);
	if (note)
		say(text, "; %s", note);
	else if (!crowded)
		say_degraded(inquiry, wanted, lane, no_direct, text);
	/* Who opened with O_DIRECT asked for what that does. */
	if (!inquiry->config->shadow || rule == RULE_O_DIRECT || lane == LANE_CACHED)
		return;
	out->lane = LANE_CACHED;
	out->window = false;
	if (text) {
		g_autofree char *would = g_strdup_printf("shadow=on, would be %s: ",
							 lane_name(lane));

		g_string_prepend(text, would);
	}
}

void policy_decide(const struct config *config, const struct policy_facts *facts,
		   struct policy_decision *out, GString *reason)
{
	g_autoptr(GString) text = reason ? g_string_new(NULL) : NULL;
	enum policy_rule rule = RULE_FORCED;
	enum lane wanted = LANE_CACHED;
	struct inquiry inquiry;

	inquiry_init(&inquiry, config, facts);
	while (!decide_rules[rule].matches(&inquiry, &wanted, text)) {
		rule++;
		if (text)
			g_string_truncate(text, 0);
	}
	conclude(&inquiry, rule, wanted, out, text);
	if (reason)
		g_string_append_printf(reason, "%s: %s", lane_name(out->lane), text->str);
}
