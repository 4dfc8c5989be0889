/* SPDX-License-Identifier: MIT */
#include "policy/config.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define NO_PASSTHROUGH "passthrough=off"
#define NO_DIRECT "no O_DIRECT on proc"
#define NO_MAP "before 6.6"

/* A large file, read: nothing but the last rule matches. */
static const struct policy_facts large_read = {
	.path = "films/a.mkv",
	.program = "nginx",
	.size = 100 * MIB,
	.open_flags = O_RDONLY,
	.memory = 24 * GIB,
	.resident = -1,
};

static struct config *new_config(const char *option)
{
	struct config *config = config_new();

	if (option)
		g_assert_true(config_set(config, option, NULL));
	return config;
}

static void add_rules(struct config *config, const char *text)
{
	g_autofree char *name = NULL;
	g_autoptr(GError) error = NULL;
	int fd = g_file_open_tmp("lanefs-rules-XXXXXX", &name, &error);

	g_assert_no_error(error);
	g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
	close(fd);
	config_load(config, name, name, &error);
	unlink(name);
	g_assert_no_error(error);
}

static JsonObject *explain(const struct config *config, const struct policy_facts *facts,
			   JsonParser *parser)
{
	g_autofree char *json = policy_explain(config, facts);

	g_assert_true(json_parser_load_from_data(parser, json, -1, NULL));
	return json_node_get_object(json_parser_get_root(parser));
}

/* What policy_explain() says has to be what policy_decide() does. */
static void check_explained(const struct config *config, const struct policy_facts *facts,
			    const struct policy_decision *decision, const char *reason)
{
	g_autoptr(JsonParser) parser = json_parser_new();
	JsonObject *root = explain(config, facts, parser);
	JsonArray *steps = json_object_get_array_member(root, "steps");

	g_assert_cmpstr(json_object_get_string_member(root, "lane"), ==,
			lane_name(decision->lane));
	g_assert_cmpstr(json_object_get_string_member(root, "wanted"), ==,
			lane_name(decision->wanted));
	g_assert_cmpstr(json_object_get_string_member(root, "rule"), ==,
			policy_rule_name(decision->rule));
	g_assert_cmpstr(json_object_get_string_member(root, "why"), ==, reason);
	g_assert_cmpuint(json_object_get_int_member(root, "threshold"), ==, decision->threshold);
	g_assert_cmpint(json_object_get_boolean_member(root, "window"), ==, decision->window);

	g_assert_cmpuint(json_array_get_length(steps), ==, RULE_COUNT);
	for (unsigned int i = 0; i < RULE_COUNT; i++) {
		JsonObject *step = json_array_get_object_element(steps, i);
		const char *text = json_object_get_string_member(step, "text");

		g_assert_cmpstr(json_object_get_string_member(step, "rule"), ==,
				policy_rule_name(i));
		if (i > decision->rule) {
			g_assert_true(json_object_get_null_member(step, "matched"));
			g_assert_cmpstr(text, ==, "not reached");
			continue;
		}
		g_assert_false(json_object_get_null_member(step, "matched"));
		g_assert_cmpint(json_object_get_boolean_member(step, "matched"), ==,
				i == decision->rule);
		g_assert_cmpuint(strlen(text), >, 0);
	}
}

static struct policy_decision decide(const struct config *config,
				     const struct policy_facts *facts, const char *reason)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct policy_decision silent;
	struct policy_decision out;

	policy_decide(config, facts, &out, text);
	if (reason)
		g_assert_cmpstr(text->str, ==, reason);
	g_assert_null(strchr(text->str, '\n'));
	check_explained(config, facts, &out, text->str);

	policy_decide(config, facts, &silent, NULL);
	g_assert_cmpint(silent.lane, ==, out.lane);
	g_assert_cmpint(silent.wanted, ==, out.wanted);
	g_assert_cmpint(silent.rule, ==, out.rule);
	g_assert_cmpint(silent.window, ==, out.window);
	g_assert_cmpuint(silent.threshold, ==, out.threshold);
	return out;
}

/* Makes one rule match, with a lane of its own where the rule takes one. */
static void arrange(enum policy_rule rule, struct config *config, struct policy_facts *facts)
{
	switch (rule) {
	case RULE_FORCED:
		g_assert_true(config_set(config, "lane=cached", NULL));
		break;
	case RULE_O_DIRECT:
		facts->open_flags |= O_DIRECT;
		break;
	case RULE_FILE_POLICY:
		facts->file_policy = POLICY_STREAM;
		break;
	case RULE_DIR_POLICY:
		facts->dir_policy = POLICY_CACHED;
		facts->dir_policy_at = "films";
		break;
	case RULE_CONFIG:
		add_rules(config, "[rule films]\npath=films/*\nlane=stream\n");
		break;
	case RULE_SMALL:
		facts->size = 12 * 1024;
		break;
	case RULE_RESIDENT:
		facts->resident = 0.93;
		break;
	case RULE_HOT:
		facts->heat = (struct heat_view){ .hot = true, .opens = 5,
						  .distance = 1200 * MIB, .room = 4 * GIB };
		break;
	case RULE_LARGE_WRITE:
		facts->open_flags |= O_RDWR;
		break;
	case RULE_LEARNED:
		facts->known = (struct learn_view){ .shape = SHAPE_SMALL, .opens = 31,
						    .alike = 30, .piece = 8192,
						    .lane = LANE_STREAM };
		break;
	case RULE_LARGE:
	case RULE_COUNT:
		break;
	}
}

static const struct {
	enum lane lane;
	const char *reason;
} alone[RULE_COUNT] = {
	[RULE_FORCED] = { LANE_CACHED, "cached: lane=cached for the whole mount (-o)" },
	[RULE_O_DIRECT] = { LANE_DIRECT, "direct: opened with O_DIRECT, so no window" },
	[RULE_FILE_POLICY] = { LANE_STREAM, "stream: file policy stream" },
	[RULE_DIR_POLICY] = { LANE_CACHED, "cached: policy cached on directory \"films\"" },
	[RULE_CONFIG] = { LANE_STREAM, "stream: rule \"films\" (path \"films/*\") gives stream" },
	[RULE_SMALL] = { LANE_CACHED,
			 "cached: 12 KiB < threshold 24 MiB (auto: 1/1024 of memory)" },
	[RULE_RESIDENT] = { LANE_CACHED, "cached: 93% resident in memory" },
	[RULE_HOT] = { LANE_CACHED, "cached: opened 5 times of late, the last two 1.2 GiB of "
				    "reading apart, room for 4 GiB" },
	[RULE_LARGE_WRITE] = { LANE_STREAM, "stream: opened for writing, 100 MiB >= threshold "
					    "24 MiB (auto: 1/1024 of memory)" },
	[RULE_LEARNED] = { LANE_STREAM,
			   "stream: 100 MiB >= threshold 24 MiB (auto: 1/1024 of memory); "
			   "nginx reads 8 KiB at a time in 30 of 31 opens" },
	[RULE_LARGE] = { LANE_DIRECT,
			 "direct: 100 MiB >= threshold 24 MiB (auto: 1/1024 of memory)" },
};

static void test_each_rule_alone(void)
{
	for (unsigned int rule = 0; rule < RULE_COUNT; rule++) {
		cleanup_config struct config *config = new_config(NULL);
		struct policy_facts facts = large_read;
		struct policy_decision out;

		arrange(rule, config, &facts);
		out = decide(config, &facts, alone[rule].reason);
		g_assert_cmpint(out.rule, ==, rule);
		g_assert_cmpint(out.lane, ==, alone[rule].lane);
		g_assert_cmpint(out.wanted, ==, alone[rule].lane);
		g_assert_cmpuint(out.threshold, ==, 24 * MIB);
	}
}

/*
 * Every set of rules that can match at once, so every pair too: the first of
 * them decides.  What was learned in arrange() does not count for writers.
 */
static void test_order(void)
{
	for (unsigned int set = 0; set < 1 << RULE_LARGE; set++) {
		cleanup_config struct config *config = new_config(NULL);
		struct policy_facts facts = large_read;
		unsigned int matching = set | 1 << RULE_LARGE;
		enum policy_rule first;
		struct policy_decision out;

		for (unsigned int rule = 0; rule < RULE_LARGE; rule++) {
			if (set & 1 << rule)
				arrange(rule, config, &facts);
		}
		if (set & 1 << RULE_LARGE_WRITE)
			matching &= ~(1U << RULE_LEARNED);
		first = __builtin_ctz(matching);

		out = decide(config, &facts, NULL);
		g_assert_cmpint(out.rule, ==, first);
		g_assert_cmpint(out.lane, ==, alone[first].lane);
		g_assert_cmpint(out.window, ==, first == RULE_LARGE);
	}
}

static const struct {
	enum policy_mode said;
	const char *no_passthrough;
	const char *no_direct;
	enum lane lane;
	const char *reason;
} degraded[] = {
	{ POLICY_CACHED, NULL, NULL, LANE_CACHED, "cached: file policy cached" },
	{ POLICY_CACHED, NULL, NO_DIRECT, LANE_CACHED, "cached: file policy cached" },
	{ POLICY_CACHED, NO_PASSTHROUGH, NULL, LANE_CACHED, "cached: file policy cached" },
	{ POLICY_CACHED, NO_PASSTHROUGH, NO_DIRECT, LANE_CACHED, "cached: file policy cached" },
	{ POLICY_DIRECT, NULL, NULL, LANE_DIRECT, "direct: file policy direct" },
	{ POLICY_DIRECT, NO_PASSTHROUGH, NULL, LANE_DIRECT, "direct: file policy direct" },
	{ POLICY_DIRECT, NULL, NO_DIRECT, LANE_STREAM,
	  "stream: file policy direct; direct is not possible: " NO_DIRECT },
	{ POLICY_DIRECT, NO_PASSTHROUGH, NO_DIRECT, LANE_CACHED,
	  "cached: file policy direct; direct is not possible: " NO_DIRECT
	  "; stream needs passthrough: " NO_PASSTHROUGH },
	{ POLICY_STREAM, NULL, NULL, LANE_STREAM, "stream: file policy stream" },
	{ POLICY_STREAM, NULL, NO_DIRECT, LANE_STREAM, "stream: file policy stream" },
	{ POLICY_STREAM, NO_PASSTHROUGH, NULL, LANE_DIRECT,
	  "direct: file policy stream; stream needs passthrough: " NO_PASSTHROUGH },
	{ POLICY_STREAM, NO_PASSTHROUGH, NO_DIRECT, LANE_CACHED,
	  "cached: file policy stream; stream needs passthrough: " NO_PASSTHROUGH
	  "; direct is not possible: " NO_DIRECT },
};

static void test_degradation(void)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR };
	cleanup_config struct config *config = new_config(NULL);

	for (unsigned int i = 0; i < G_N_ELEMENTS(degraded); i++) {
		for (unsigned int j = 0; j < G_N_ELEMENTS(flags); j++) {
			struct policy_facts facts = large_read;
			struct policy_decision out;

			facts.file_policy = degraded[i].said;
			facts.no_passthrough = degraded[i].no_passthrough;
			facts.no_direct = degraded[i].no_direct;
			facts.open_flags = flags[j];
			out = decide(config, &facts, degraded[i].reason);
			g_assert_cmpint(out.lane, ==, degraded[i].lane);
			g_assert_cmpstr(lane_name(out.wanted), ==,
					policy_mode_name(degraded[i].said));
			g_assert_cmpint(out.window, ==, out.lane == LANE_DIRECT);
		}
	}
}

/* What a program maps must not fail for what it did not ask for. */
static void test_direct_that_cannot_be_mapped(void)
{
	cleanup_config struct config *by_name = new_config("lane=direct");
	cleanup_config struct config *automatic = new_config(NULL);
	struct policy_facts facts = large_read;

	for (unsigned int rule = 0; rule < RULE_COUNT; rule++) {
		cleanup_config struct config *config = new_config(NULL);
		struct policy_decision out;

		facts = large_read;
		arrange(rule, config, &facts);
		facts.no_passthrough = NO_PASSTHROUGH;
		facts.no_direct_map = NO_MAP;
		out = decide(config, &facts, NULL);
		g_assert_cmpint(out.rule, ==, rule);
		g_assert_cmpint(out.wanted, ==, alone[rule].lane);
		g_assert_cmpint(out.lane, ==, LANE_CACHED);
	}
	decide(by_name, &facts, "direct: lane=direct for the whole mount (-o)");
	facts.file_policy = POLICY_DIRECT;
	decide(automatic, &facts, "direct: file policy direct");
	facts.file_policy = POLICY_AUTO;
	decide(automatic, &facts,
	       "cached: 100 MiB >= threshold 24 MiB (auto: 1/1024 of memory); direct is not possible: "
	       NO_MAP "; stream needs passthrough: " NO_PASSTHROUGH);
}

/* The other rules that ask for a lane meet the same degradation. */
static void test_degradation_of_each_rule(void)
{
	for (unsigned int rule = 0; rule < RULE_COUNT; rule++) {
		cleanup_config struct config *config = new_config(NULL);
		struct policy_facts facts = large_read;
		struct policy_decision out;

		arrange(rule, config, &facts);
		facts.no_passthrough = NO_PASSTHROUGH;
		out = decide(config, &facts, NULL);
		g_assert_cmpint(out.rule, ==, rule);
		g_assert_cmpint(out.wanted, ==, alone[rule].lane);
		g_assert_cmpint(out.lane, ==,
				out.wanted == LANE_STREAM ? LANE_DIRECT : out.wanted);

		facts.no_direct = NO_DIRECT;
		out = decide(config, &facts, NULL);
		g_assert_cmpint(out.rule, ==, rule);
		g_assert_cmpint(out.wanted, ==, alone[rule].lane);
		g_assert_cmpint(out.lane, ==, LANE_CACHED);
		g_assert_false(out.window);
	}
}

static void test_o_direct(void)
{
	static const struct {
		const char *no_passthrough;
		const char *no_direct;
		enum lane lane;
	} cases[] = {
		{ NULL, NULL, LANE_DIRECT },
		{ NULL, NO_DIRECT, LANE_DIRECT },
		{ NO_PASSTHROUGH, NULL, LANE_DIRECT },
		{ NO_PASSTHROUGH, NO_DIRECT, LANE_CACHED },
	};
	cleanup_config struct config *config = new_config(NULL);
	struct policy_facts facts = large_read;

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct policy_decision out;

		facts.open_flags = O_RDWR | O_DIRECT;
		facts.no_passthrough = cases[i].no_passthrough;
		facts.no_direct = cases[i].no_direct;
		out = decide(config, &facts, NULL);
		g_assert_cmpint(out.rule, ==, RULE_O_DIRECT);
		g_assert_cmpint(out.lane, ==, cases[i].lane);
		g_assert_false(out.window);
	}
}

static void test_forced(void)
{
	static const char *const options[] = { "lane=cached", "lane=direct", "lane=stream" };
	static const enum lane lanes[] = { LANE_CACHED, LANE_DIRECT, LANE_STREAM };

	for (unsigned int i = 0; i < G_N_ELEMENTS(options); i++) {
		cleanup_config struct config *config = new_config(options[i]);
		struct policy_facts facts = large_read;
		struct policy_decision out = decide(config, &facts, NULL);

		g_assert_cmpint(out.lane, ==, lanes[i]);
		g_assert_cmpint(out.window, ==, lanes[i] == LANE_DIRECT);

		facts.open_flags |= O_DIRECT;
		out = decide(config, &facts, NULL);
		g_assert_cmpint(out.rule, ==, RULE_FORCED);
		g_assert_cmpint(out.lane, ==, lanes[i]);
		g_assert_false(out.window);
	}
}

static void test_boundary(void)
{
	static const struct {
		const char *option;
		uint64_t size;
		enum lane lane;
		const char *reason;
	} cases[] = {
		{ "threshold=24M", 24 * MIB - 1, LANE_CACHED,
		  "cached: 25165823 B < threshold 25165824 B (-o)" },
		{ "threshold=24M", 24 * MIB, LANE_DIRECT,
		  "direct: 24 MiB >= threshold 24 MiB (-o)" },
		{ "threshold=24M", 24 * MIB + 1, LANE_DIRECT,
		  "direct: 25165825 B >= threshold 25165824 B (-o)" },
		{ "threshold=24M", 0, LANE_CACHED, "cached: 0 B < threshold 24 MiB (-o)" },
		{ "threshold=24M", INT64_MAX, LANE_DIRECT,
		  "direct: 8 EiB >= threshold 24 MiB (-o)" },
		{ "threshold=0", 0, LANE_DIRECT, "direct: 0 B >= threshold 0 B (-o)" },
		{ "threshold=1", 0, LANE_CACHED, "cached: 0 B < threshold 1 B (-o)" },
		{ "threshold=auto", 24 * MIB - 1, LANE_CACHED,
		  "cached: 25165823 B < threshold 25165824 B (auto: 1/1024 of memory)" },
		{ "threshold=auto", 4509715661, LANE_DIRECT,
		  "direct: 4.2 GiB >= threshold 24 MiB (auto: 1/1024 of memory)" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		cleanup_config struct config *config = new_config(cases[i].option);
		struct policy_facts facts = large_read;

		facts.size = cases[i].size;
		g_assert_cmpint(decide(config, &facts, cases[i].reason).lane, ==, cases[i].lane);
	}
}

static void test_truncated(void)
{
	static const int flags[] = { O_WRONLY, O_RDWR, O_RDONLY };
	cleanup_config struct config *config = new_config("threshold=24M");
	cleanup_config struct config *none = new_config("threshold=0");

	for (unsigned int i = 0; i < G_N_ELEMENTS(flags); i++) {
		struct policy_facts facts = large_read;
		struct policy_decision out;

		facts.open_flags = flags[i] | O_TRUNC;
		out = decide(config, &facts,
			     "cached: truncated by this open, 0 B < threshold 24 MiB (-o)");
		g_assert_cmpint(out.rule, ==, RULE_SMALL);

		/* It changes the file, so it is a writable open whatever the access mode. */
		out = decide(none, &facts, NULL);
		g_assert_cmpint(out.rule, ==, RULE_LARGE_WRITE);
	}
}

static void test_resident(void)
{
	static const struct {
		double resident;
		enum policy_rule rule;
		const char *text; /* of the resident step */
	} cases[] = {
		{ -1, RULE_LARGE, "not known how much is in memory" },
		{ NAN, RULE_LARGE, "not known how much is in memory" },
		{ 0, RULE_LARGE, "0% resident in memory, not more than half" },
		{ 0.5, RULE_LARGE, "50% resident in memory, not more than half" },
		{ 0.5001, RULE_RESIDENT, "51% resident in memory" },
		{ 0.75, RULE_RESIDENT, "75% resident in memory" },
		{ 1, RULE_RESIDENT, "100% resident in memory" },
		{ 1.5, RULE_RESIDENT, "100% resident in memory" },
	};
	cleanup_config struct config *config = new_config("threshold=24M");
	g_autoptr(JsonParser) parser = json_parser_new();
	struct policy_facts facts = large_read;

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		JsonArray *steps;
		JsonObject *step;

		facts.resident = cases[i].resident;
		g_assert_cmpint(decide(config, &facts, NULL).rule, ==, cases[i].rule);
		steps = json_object_get_array_member(explain(config, &facts, parser), "steps");
		step = json_array_get_object_element(steps, RULE_RESIDENT);
		g_assert_cmpstr(json_object_get_string_member(step, "text"), ==, cases[i].text);
	}
	facts.resident = 1;
	facts.open_flags = O_WRONLY;
	g_assert_cmpint(decide(config, &facts, NULL).rule, ==, RULE_LARGE_WRITE);
}

/* What counts for an open that may write, too, and for one that only does. */
static void test_writable(void)
{
	static const struct {
		int flags;
		enum policy_rule rule; /* arranged */
		enum lane known;
		enum policy_rule decides;
		const char *reason;
	} cases[] = {
		{ O_RDWR, RULE_RESIDENT, 0, RULE_RESIDENT, "cached: 93% resident in memory" },
		{ O_WRONLY, RULE_RESIDENT, 0, RULE_LARGE_WRITE, NULL },
		{ O_RDWR | O_TRUNC, RULE_RESIDENT, 0, RULE_LARGE_WRITE, NULL },
		{ O_RDWR, RULE_HOT, 0, RULE_HOT, NULL },
		{ O_WRONLY, RULE_HOT, 0, RULE_LARGE_WRITE, NULL },
		{ O_RDWR, RULE_LEARNED, LANE_CACHED, RULE_LEARNED,
		  "cached: opened for writing, 100 MiB >= threshold 0 B (-o); nginx reads 8 KiB "
		  "here and there in 30 of 31 opens" },
		{ O_RDWR, RULE_LEARNED, LANE_DIRECT, RULE_LARGE_WRITE, NULL },
		{ O_RDWR, RULE_LEARNED, LANE_STREAM, RULE_LARGE_WRITE,
		  "stream: opened for writing, 100 MiB >= threshold 0 B (-o)" },
		{ O_WRONLY, RULE_LEARNED, LANE_CACHED, RULE_LARGE_WRITE, NULL },
		{ O_RDWR | O_TRUNC, RULE_LEARNED, LANE_CACHED, RULE_LARGE_WRITE, NULL },
	};
	cleanup_config struct config *config = new_config("threshold=0");

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct policy_facts facts = large_read;

		facts.open_flags = cases[i].flags;
		arrange(cases[i].rule, config, &facts);
		facts.known.lane = cases[i].known;
		if (cases[i].known == LANE_CACHED)
			facts.known.shape = facts.known.opens ? SHAPE_RANDOM : SHAPE_UNKNOWN;
		g_assert_cmpint(decide(config, &facts, cases[i].reason).rule, ==,
				cases[i].decides);
	}
}

static void test_hot(void)
{
	static const struct {
		struct heat_view heat;
		const char *text; /* of the hot step */
	} cases[] = {
		{ { 0 }, "not known to be read often" },
		{ { .opens = 1, .lack = HEAT_EARLY }, "opened once of late" },
		{ { .opens = 2, .lack = HEAT_EARLY, .distance = 12 * MIB },
		  "opened 2 times of late, not often enough yet" },
		{ { .opens = 7, .lack = HEAT_LOOKS },
		  "opened 7 times of late, but little of it was read" },
		{ { .opens = 3, .lack = HEAT_LATE, .distance = 90 * GIB },
		  "opened 3 times of late, the last two 90 GiB of reading apart, which is too "
		  "long" },
		{ { .opens = 9, .lack = HEAT_NOT_KEPT },
		  "opened 9 times of late, but memory did not keep it" },
		{ { .opens = 9, .lack = HEAT_NO_ROOM, .left = 20 * MIB },
		  "opened 9 times of late, needs 100 MiB, has 20 MiB" },
	};
	cleanup_config struct config *config = new_config("threshold=24M");
	g_autoptr(JsonParser) parser = json_parser_new();
	struct policy_facts facts = large_read;

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		JsonArray *steps;
		JsonObject *step;

		facts.heat = cases[i].heat;
		g_assert_cmpint(decide(config, &facts, NULL).rule, ==, RULE_LARGE);
		steps = json_object_get_array_member(explain(config, &facts, parser), "steps");
		step = json_array_get_object_element(steps, RULE_HOT);
		g_assert_cmpstr(json_object_get_string_member(step, "text"), ==, cases[i].text);
	}
}

/* cached and stream are one kind of open: what is open decides between the two. */
static void test_in_place(void)
{
	static const struct {
		enum policy_mode said;
		bool streaming, hot, kept;
		const char *no_passthrough;
		enum lane lane;
		const char *reason;
	} cases[] = {
		{ POLICY_CACHED, true, false, false, NULL, LANE_STREAM,
		  "stream: file policy cached; it is open in stream" },
		{ POLICY_CACHED, true, false, false, NO_PASSTHROUGH, LANE_CACHED,
		  "cached: file policy cached" },
		{ POLICY_STREAM, false, true, false, NULL, LANE_CACHED,
		  "cached: file policy stream; hot: most of what was dropped was soon read again" },
		{ POLICY_DIRECT, true, true, false, NULL, LANE_DIRECT,
		  "direct: file policy direct" },
		{ POLICY_AUTO, true, false, true, NULL, LANE_CACHED, NULL },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		cleanup_config struct config *config = new_config(NULL);
		struct policy_facts facts = large_read;

		if (cases[i].kept)
			add_rules(config, "[rule kept]\nkeep=true\n");
		facts.file_policy = cases[i].said;
		facts.streaming = cases[i].streaming;
		facts.hot = cases[i].hot;
		facts.no_passthrough = cases[i].no_passthrough;
		g_assert_cmpint(decide(config, &facts, cases[i].reason).lane, ==, cases[i].lane);
	}
}

/* What the kernel reads ahead for all readers of a file has to fit. */
static void test_crowd(void)
{
	static const struct {
		unsigned int streams;
		uint64_t ahead;
		int flags;
		const char *no_direct;
		enum lane lane;
		const char *reason;
	} cases[] = {
		{ 0, 64 << 20, O_RDONLY, NULL, LANE_STREAM, "stream: file policy stream" },
		{ 2, 16 << 20, O_RDONLY, NULL, LANE_STREAM, "stream: file policy stream" },
		{ 3, 16 << 20, O_RDONLY, NULL, LANE_DIRECT,
		  "direct: file policy stream; open 3 times in stream, with up to 16 MiB of read-ahead each, "
		  "for which 32 MiB is too little" },
		{ 95, 512 << 10, O_RDONLY, NULL, LANE_STREAM, NULL },
		{ 96, 512 << 10, O_RDONLY, NULL, LANE_DIRECT, NULL },
		{ 96, 0, O_RDONLY, NULL, LANE_STREAM, NULL },
		{ 1, UINT64_MAX / 2 + 1, O_RDONLY, NULL, LANE_DIRECT, NULL },
		{ 96, 512 << 10, O_RDWR, NULL, LANE_STREAM, NULL },
		{ 96, 512 << 10, O_RDONLY, NO_DIRECT, LANE_STREAM, "stream: file policy stream" },
	};
	cleanup_config struct config *config = new_config("stream-window=32M");

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct policy_facts facts = large_read;

		facts.file_policy = POLICY_STREAM;
		facts.streaming = cases[i].streams;
		facts.streams = cases[i].streams;
		facts.stream_ahead = cases[i].ahead;
		facts.open_flags = cases[i].flags;
		facts.no_direct = cases[i].no_direct;
		g_assert_cmpint(decide(config, &facts, cases[i].reason).lane, ==, cases[i].lane);
		/* Who wants to be cached has no part in it. */
		facts.file_policy = POLICY_CACHED;
		g_assert_cmpint(decide(config, &facts, NULL).lane, ==,
				cases[i].streams ? LANE_STREAM : LANE_CACHED);
	}
}

/* "auto" stored on a directory ends the search above it and the other rules go on. */
static void test_dir_policy_auto(void)
{
	cleanup_config struct config *config = new_config("threshold=24M");
	g_autoptr(JsonParser) parser = json_parser_new();
	struct policy_facts facts = large_read;
	JsonArray *steps;
	JsonObject *step;

	facts.dir_policy_at = "films";
	g_assert_cmpint(decide(config, &facts, NULL).rule, ==, RULE_LARGE);
	steps = json_object_get_array_member(explain(config, &facts, parser), "steps");
	step = json_array_get_object_element(steps, RULE_DIR_POLICY);
	g_assert_cmpstr(json_object_get_string_member(step, "text"), ==,
			"policy auto on directory \"films\"");

	facts.dir_policy_at = NULL;
	steps = json_object_get_array_member(explain(config, &facts, parser), "steps");
	step = json_array_get_object_element(steps, RULE_DIR_POLICY);
	g_assert_cmpstr(json_object_get_string_member(step, "text"), ==,
			"no directory above has a policy");
}

static void test_directory_names(void)
{
	static const struct {
		const char *at;
		const char *reason;
	} cases[] = {
		{ NULL, "direct: policy direct on a directory" },
		{ "", "direct: policy direct on the top directory" },
		{ "films", "direct: policy direct on directory \"films\"" },
		{ "a b/\xc3\xa4", "direct: policy direct on directory \"a b/\xc3\xa4\"" },
		{ "a\nb", "direct: policy direct on directory \"a\\x0ab\"" },
		{ "a\x1b[2J", "direct: policy direct on directory \"a\\x1b[2J\"" },
		{ "\xff\xc3", "direct: policy direct on directory \"\\xff\\xc3\"" },
		{ "\xe2\x80\xa8", "direct: policy direct on directory \"\\xe2\\x80\\xa8\"" },
		{ "\"\\", "direct: policy direct on directory \"\\\"\\\\\"" },
	};
	cleanup_config struct config *config = new_config(NULL);
	struct policy_facts facts = large_read;

	facts.dir_policy = POLICY_DIRECT;
	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		facts.dir_policy_at = cases[i].at;
		decide(config, &facts, cases[i].reason);
	}
}

#define RULES \
	"[rule only-threshold]\npath=a/**\nthreshold=1M\n" \
	"[rule auto-threshold]\npath=b/**\nthreshold=auto\n" \
	"[rule both]\npath=c/**\nlane=stream\nthreshold=2M\n" \
	"[rule exempt]\npath=d/special/**\nlane=auto\n" \
	"[rule rest]\npath=d/**\nlane=cached\n"

static void test_threshold_precedence(void)
{
	static const struct {
		const char *path;
		bool has_dir_threshold;
		uint64_t dir_threshold;
		const char *at;
		uint64_t threshold;
		const char *reason;
	} cases[] = {
		{ "x", false, 0, NULL, 48 * MIB, "direct: 100 MiB >= threshold 48 MiB (-o)" },
		{ "x", true, 3 * MIB, "films", 3 * MIB,
		  "direct: 100 MiB >= threshold 3 MiB (directory \"films\")" },
		{ "x", true, 3 * MIB, "", 3 * MIB,
		  "direct: 100 MiB >= threshold 3 MiB (the top directory)" },
		{ "x", true, THRESHOLD_AUTO, "films", 24 * MIB,
		  "direct: 100 MiB >= threshold 24 MiB "
		  "(directory \"films\", auto: 1/1024 of memory)" },
		{ "a/x", false, 0, NULL, 1 * MIB,
		  "direct: 100 MiB >= threshold 1 MiB (rule \"only-threshold\")" },
		{ "a/x", true, 3 * MIB, "a", 1 * MIB,
		  "direct: 100 MiB >= threshold 1 MiB (rule \"only-threshold\")" },
		{ "b/x", true, 3 * MIB, "b", 24 * MIB,
		  "direct: 100 MiB >= threshold 24 MiB "
		  "(rule \"auto-threshold\", auto: 1/1024 of memory)" },
		{ "c/x", true, 3 * MIB, "c", 2 * MIB,
		  "stream: rule \"both\" (path \"c/**\") gives stream" },
		{ "d/special/x", true, 3 * MIB, "d", 3 * MIB,
		  "direct: 100 MiB >= threshold 3 MiB (directory \"d\")" },
		{ "d/x", true, 3 * MIB, "d", 3 * MIB,
		  "cached: rule \"rest\" (path \"d/**\") gives cached" },
	};
	cleanup_config struct config *config = new_config("threshold=48M");

	add_rules(config, RULES);
	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct policy_facts facts = large_read;

		facts.path = cases[i].path;
		facts.has_dir_threshold = cases[i].has_dir_threshold;
		facts.dir_threshold = cases[i].dir_threshold;
		facts.dir_threshold_at = cases[i].at;
		g_assert_cmpuint(decide(config, &facts, cases[i].reason).threshold, ==,
				 cases[i].threshold);
	}
}

/* Which rule of several takes an open; each gives a lane so that it shows. */
static void test_rule_conditions(void)
{
	static const struct {
		const char *rule;
		const char *path;
		const char *program;
		uint64_t size;
		int flags;
		bool matches;
	} cases[] = {
		{ "path=films/*", "films/a", "cp", 1, O_RDONLY, true },
		{ "path=films/*", "films/a/b", "cp", 1, O_RDONLY, false },
		{ "path=films/*", NULL, "cp", 1, O_RDONLY, false },
		{ "program=media-*", "a", "media-server", 1, O_RDONLY, true },
		{ "program=media-*", "a", "nginx", 1, O_RDONLY, false },
		{ "program=media-*", "a", NULL, 1, O_RDONLY, false },
		{ "min-size=1M", "a", "cp", MIB - 1, O_RDONLY, false },
		{ "min-size=1M", "a", "cp", MIB, O_RDONLY, true },
		{ "max-size=1M", "a", "cp", MIB, O_RDONLY, true },
		{ "max-size=1M", "a", "cp", MIB + 1, O_RDONLY, false },
		{ "min-size=1M", "a", "cp", MIB, O_WRONLY | O_TRUNC, false },
		{ "access=read", "a", "cp", 1, O_RDONLY, true },
		{ "access=read", "a", "cp", 1, O_WRONLY, false },
		{ "access=read", "a", "cp", 1, O_RDWR, false },
		{ "access=write", "a", "cp", 1, O_RDONLY, false },
		{ "access=write", "a", "cp", 1, O_WRONLY, true },
		{ "access=write", "a", "cp", 1, O_RDWR, true },
		{ "access=write", "a", "cp", 1, O_RDONLY | O_TRUNC, true },
		{ "access=any", "a", "cp", 1, O_RDONLY, true },
		{ "access=any", "a", "cp", 1, O_WRONLY, true },
		{ "path=films/*\nprogram=cp", "films/a", "cp", 1, O_RDONLY, true },
		{ "path=films/*\nprogram=cp", "films/a", "mv", 1, O_RDONLY, false },
		{ "path=films/*\nprogram=cp", "other/a", "cp", 1, O_RDONLY, false },
		{ "", NULL, NULL, 0, O_RDONLY, true },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text =
			g_strdup_printf("[rule x]\n%s\nlane=stream\n", cases[i].rule);
		cleanup_config struct config *config = new_config(NULL);
		struct policy_facts facts = large_read;

		facts.path = cases[i].path;
		facts.program = cases[i].program;
		facts.size = cases[i].size;
		facts.open_flags = cases[i].flags;
		add_rules(config, text);
		g_assert_cmpint(decide(config, &facts, NULL).rule == RULE_CONFIG, ==,
				cases[i].matches);
	}
}

static void test_words(void)
{
	static const char *const rules[RULE_COUNT] = {
		"forced", "o_direct", "file_policy", "dir_policy", "config",
		"small", "resident", "hot", "learned", "large_write", "large",
	};
	enum policy_mode mode = POLICY_DIRECT;

	for (unsigned int i = 0; i < RULE_COUNT; i++)
		g_assert_cmpstr(policy_rule_name(i), ==, rules[i]);
	g_assert_cmpstr(lane_name(LANE_CACHED), ==, "cached");
	g_assert_cmpstr(lane_name(LANE_DIRECT), ==, "direct");
	g_assert_cmpstr(lane_name(LANE_STREAM), ==, "stream");
	for (unsigned int i = POLICY_AUTO; i <= POLICY_STREAM; i++) {
		g_assert_cmpint(policy_mode_parse(policy_mode_name(i), -1, &mode), ==, 0);
		g_assert_cmpint(mode, ==, i);
	}
	mode = POLICY_DIRECT;
	g_assert_cmpint(policy_mode_parse("streamer", 6, &mode), ==, 0);
	g_assert_cmpint(mode, ==, POLICY_STREAM);
	g_assert_cmpint(policy_mode_parse("stream", 5, &mode), ==, -EINVAL);
	g_assert_cmpint(policy_mode_parse("stream", 7, &mode), ==, -EINVAL);
	g_assert_cmpint(policy_mode_parse("", -1, &mode), ==, -EINVAL);
	g_assert_cmpint(policy_mode_parse("Cached", -1, &mode), ==, -EINVAL);
	g_assert_cmpint(policy_mode_parse("cached\n", -1, &mode), ==, -EINVAL);
	g_assert_cmpint(mode, ==, POLICY_STREAM);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/policy/rules/alone", test_each_rule_alone);
	g_test_add_func("/policy/rules/order", test_order);
	g_test_add_func("/policy/rules/o-direct", test_o_direct);
	g_test_add_func("/policy/rules/forced", test_forced);
	g_test_add_func("/policy/rules/boundary", test_boundary);
	g_test_add_func("/policy/rules/truncated", test_truncated);
	g_test_add_func("/policy/rules/resident", test_resident);
	g_test_add_func("/policy/rules/writable", test_writable);
	g_test_add_func("/policy/rules/hot", test_hot);
	g_test_add_func("/policy/rules/in-place", test_in_place);
	g_test_add_func("/policy/rules/crowd", test_crowd);
	g_test_add_func("/policy/rules/dir-policy-auto", test_dir_policy_auto);
	g_test_add_func("/policy/rules/directory-names", test_directory_names);
	g_test_add_func("/policy/degradation/matrix", test_degradation);
	g_test_add_func("/policy/degradation/each-rule", test_degradation_of_each_rule);
	g_test_add_func("/policy/degradation/not-mapped", test_direct_that_cannot_be_mapped);
	g_test_add_func("/policy/threshold-precedence", test_threshold_precedence);
	g_test_add_func("/policy/rule-conditions", test_rule_conditions);
	g_test_add_func("/policy/words", test_words);
	return g_test_run();
}
