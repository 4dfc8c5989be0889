/* SPDX-License-Identifier: MIT */
#include "policy/config.h"
#include "policy/kind.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct policy_facts large_read = {
	.path = "films/a.mkv", .program = "nginx", .cgroup = "/system.slice/nginx.service",
	.uid = 33, .age = 3600, .size = 100 * MIB, .open_flags = O_RDONLY,
	.memory = 24 * GIB, .resident = -1,
};

static bool load(struct config *config, const char *text, GError **error)
{
	g_autofree char *name = NULL;
	int fd = g_file_open_tmp("lanefs-rules-XXXXXX", &name, NULL);
	bool good;

	g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
	close(fd);
	good = config_load(config, name, name, error);
	unlink(name);
	return good;
}

static struct policy_decision decide(const struct config *config, const struct policy_facts *facts,
				     const char *reason)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct policy_decision out;

	policy_decide(config, facts, &out, text);
	if (reason)
		g_assert_cmpstr(text->str, ==, reason);
	return out;
}

static void test_conditions(void)
{
	static const struct {
		const char *rule;
		bool matches;
	} cases[] = {
		{ "program=apache2,nginx", true },
		{ "program= apache2 , ngi* ", true },
		{ "program=apache2,httpd", false },
		{ "cgroup=system.slice/nginx.service", true },
		{ "cgroup=/system.slice/nginx.service", true },
		{ "cgroup=system.slice/**", true },
		{ "cgroup=system.slice", false },
		{ "cgroup=*", false },
		{ "cgroup=**", true },
		{ "uid=33", true },
		{ "uid=32", false },
		{ "uid=33-33", true },
		{ "uid=0-32", false },
		{ "uid=0-4294967294", true },
		{ "kind=video", true },
		{ "kind=audio, video", true },
		{ "kind=audio,image", false },
		{ "min-age=1h", true },
		{ "min-age=60m", true },
		{ "min-age=3601s", false },
		{ "max-age=1h", true },
		{ "max-age=59m", false },
		{ "max-age=1d", true },
		{ "min-age=1w", false },
		{ "min-age=0s", true },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text =
			g_strdup_printf("[rule x]\n%s\nlane=stream\n", cases[i].rule);
		cleanup_config struct config *config = config_new();

		g_assert_true(load(config, text, NULL));
		g_assert_cmpint(decide(config, &large_read, NULL).rule == RULE_CONFIG, ==,
				cases[i].matches);
	}
}

/* What is not known matches no condition on it. */
static void test_unknown(void)
{
	static const char *const conditions[] = {
		"path=**", "program=*", "cgroup=**", "uid=0-4294967294", "kind=video",
		"min-age=1s", "max-age=1000w",
	};
	struct policy_facts facts = { .uid = -1, .age = -1, .size = GIB, .resident = -1 };

	for (unsigned int i = 0; i < G_N_ELEMENTS(conditions); i++) {
		g_autofree char *text =
			g_strdup_printf("[rule x]\n%s\nlane=stream\n", conditions[i]);
		cleanup_config struct config *config = config_new();

		g_assert_true(load(config, text, NULL));
		g_assert_cmpint(decide(config, &facts, NULL).rule, !=, RULE_CONFIG);
		g_assert_cmpint(decide(config, &large_read, NULL).rule, ==, RULE_CONFIG);
	}
}

static void test_results(void)
{
	cleanup_config struct config *config = config_new();
	struct policy_facts facts = large_read;
	struct policy_decision out;

	out = decide(config, &facts, NULL);
	g_assert_cmpuint(out.read_ahead, ==, 16 * MIB);
	g_assert_cmpuint(out.stream_window, ==, 32 * MIB);
	g_assert_false(out.keep);
	g_assert_true(load(config, "[rule windows]\npath=films/**\nread-ahead=0\n"
				   "stream-window=4M\n[rule kept]\nprogram=cp\nkeep=true\n", NULL));
	out = decide(config, &facts,
		     "direct: 100 MiB >= threshold 24 MiB (auto: 1/1024 of memory)");
	g_assert_cmpuint(out.read_ahead, ==, 0);
	g_assert_cmpuint(out.stream_window, ==, 4 * MIB);
	facts.path = "x";
	out = decide(config, &facts, NULL);
	g_assert_cmpuint(out.read_ahead, ==, 16 * MIB);
	facts.program = "cp";
	out = decide(config, &facts, "cached: rule \"kept\" (program \"cp\") keeps it");
	g_assert_cmpint(out.lane, ==, LANE_CACHED);
	g_assert_true(out.keep);
	/* A stored policy comes first, and what is not cached is not kept. */
	facts.file_policy = POLICY_DIRECT;
	g_assert_false(decide(config, &facts, NULL).keep);
}

static void test_refused(void)
{
	static const struct {
		const char *rule;
		const char *message;
	} cases[] = {
		{ "uid=me", "uid: value \"me\": accepted: a user id such as 1000, or a range such as "
			    "1000-1999" },
		{ "uid=2-1", "uid: value \"2-1\": accepted" },
		{ "uid=4294967295", "uid: value \"4294967295\": accepted" },
		{ "uid=1-", "uid: value \"1-\": accepted" },
		{ "kind=film", "kind: value \"film\": accepted: some of archive, audio, database, "
			       "dataset, disk-image, document, image, log, video" },
		{ "kind=", "kind: value \"\": accepted" },
		{ "kind=video,", "kind: value \"video,\": accepted" },
		{ "min-age=5", "min-age: value \"5\": accepted: a number and one of s, m, h, d, w "
			       "such as 2h" },
		{ "min-age=h", "min-age: value \"h\": accepted" },
		{ "min-age=5hours", "min-age: value \"5hours\": accepted" },
		{ "max-age=99999999999d", "max-age: value \"99999999999d\": accepted" },
		{ "min-age=2h\nmax-age=90m", "min-age 2h is above max-age 90m; accepted: min-age up "
					     "to max-age" },
		{ "cgroup=a//b", "cgroup: value \"a//b\": has two '/' in a row" },
		{ "cgroup=/", "cgroup: value \"/\": empty" },
		{ "program=cp,", "program: value \"cp,\": empty" },
		{ "program=", "program: value \"\": empty" },
		{ "read-ahead=lots", "read-ahead: value \"lots\": accepted: a size" },
		{ "stream-window=1023K", "stream-window: value \"1023K\": out of range" },
		{ "keep=yes", "keep: value \"yes\": accepted: true or false" },
		{ "keep=true", "keep=true and lane=stream: nothing is kept in that lane; accepted: "
			       "lane=cached" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text =
			g_strdup_printf("[rule x]\n%s\nlane=stream\n", cases[i].rule);
		cleanup_config struct config *config = config_new();
		g_autoptr(GError) error = NULL;

		g_assert_false(load(config, text, &error));
		g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD);
		if (!strstr(error->message, cases[i].message))
			g_error("%s: %s", cases[i].rule, error->message);
		g_assert_cmpuint(config->rules->len, ==, 0);
	}
}

/* What a rule was given is what it says of itself. */
static void test_shown(void)
{
	cleanup_config struct config *config = config_new();
	g_autofree char *json = NULL;

	g_assert_true(load(config, "[rule x]\nprogram=a,b\ncgroup=/user.slice/**\nuid=5-9\n"
				   "kind=video,archive\nmin-age=120m\nmax-age=14d\n"
				   "read-ahead=1M\nstream-window=2M\nkeep=true\n", NULL));
	json = config_to_json(config, 0);
	for (const char *const *text = (const char *const[]){
		     "\"program\":\"a,b\"", "\"cgroup\":\"user.slice/**\"", "\"uid\":\"5-9\"",
		     "\"kind\":\"archive,video\"", "\"min-age\":\"2h\"", "\"max-age\":\"2w\"",
		     "\"read-ahead\":\"1M\"", "\"stream-window\":\"2M\"", "\"keep\":\"true\"",
		     NULL }; *text; text++)
		if (!strstr(json, *text))
			g_error("%s is not in %s", *text, json);
}

static void test_kinds(void)
{
	static const struct {
		const char *path;
		const char *kinds;
	} cases[] = {
		{ "a.MKV", "video" }, { "d/b.tar.gz", "archive" }, { "c.json", "document" },
		{ "x", "" }, { "x.mkv/y", "" }, { "x.", "" }, { "mkv", "" }, { ".mp4", "video" },
		{ "a. mp4 ", "" }, { "x.qcow2", "disk-image" }, { "m.log", "log" },
		{ "a.abcdefghijklmnopqrstuvwxyz", "" }, { "w.safetensors", "dataset" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = kind_format(kind_of_path(cases[i].path));

		g_assert_cmpstr(text, ==, cases[i].kinds);
	}
}

static void test_shadow(void)
{
	cleanup_config struct config *config = config_new();
	struct policy_facts facts = large_read;
	struct policy_decision out;

	g_assert_true(config_set(config, "shadow=on", NULL));
	out = decide(config, &facts, "cached: shadow=on, would be direct: "
				     "100 MiB >= threshold 24 MiB (auto: 1/1024 of memory)");
	g_assert_cmpint(out.lane, ==, LANE_CACHED);
	g_assert_cmpint(out.would, ==, LANE_DIRECT);
	g_assert_cmpint(out.wanted, ==, LANE_DIRECT);
	g_assert_false(out.window);
	facts.size = 10;
	out = decide(config, &facts, "cached: 10 B < threshold 24 MiB (auto: 1/1024 of memory)");
	g_assert_cmpint(out.would, ==, LANE_CACHED);
	facts.open_flags = O_RDONLY | O_DIRECT;
	g_assert_cmpint(decide(config, &facts, NULL).lane, ==, LANE_DIRECT);
}

static const char *const profiles[] = { "media", "dataset", "backup", "vm-images", "web" };

static void test_profiles_are_good(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(profiles); i++) {
		g_autofree char *option = g_strdup_printf("profile=%s", profiles[i]);
		g_autofree char *source = g_strdup_printf("profile %s", profiles[i]);
		cleanup_config struct config *config = config_new();
		g_autoptr(GError) error = NULL;

		g_assert_true(config_set(config, option, &error));
		g_assert_true(config_apply_profile(config, &error));
		g_assert_no_error(error);
		g_assert_true(config_validate(config, 0, &error));
		g_assert_cmpuint(config->rules->len, >, 0);
		for (unsigned int n = 0; n < config->rules->len; n++) {
			const struct config_rule *rule = g_ptr_array_index(config->rules, n);

			g_assert_cmpstr(rule->source, ==, source);
			g_assert_true(g_str_has_prefix(rule->name, profiles[i]));
		}
	}
}

/* What the user says comes before what a profile says. */
static void test_profile_is_beneath(void)
{
	cleanup_config struct config *config = config_new();
	const struct config_rule *first;

	g_assert_true(load(config, "[policy]\nprofile=web\n[rule mine]\nlane=direct\n", NULL));
	g_assert_true(config_set(config, "read-ahead=2M", NULL));
	g_assert_true(config_apply_profile(config, NULL));
	g_assert_cmpuint(config->threshold, ==, 4 * MIB);
	g_assert_cmpstr(g_hash_table_lookup(config->sources, "threshold"), ==, "profile web");
	g_assert_cmpuint(config->read_ahead, ==, 2 * MIB);
	first = g_ptr_array_index(config->rules, 0);
	g_assert_cmpstr(first->name, ==, "mine");
	g_assert_true(config_set(config, "profile=none", NULL));
	g_assert_true(config_apply_profile(config, NULL));
}

static const struct {
	const char *profile, *path, *program;
	uint64_t size;
	int flags;
	enum lane lane;
} examples[] = {
	{ "media", "a.mkv", "mpv", 4 * GIB, O_RDONLY, LANE_DIRECT },
	{ "media", "a.mkv", "ffmpeg", 1 * MIB, O_WRONLY, LANE_STREAM },
	{ "media", "poster.png", "server", 30 * MIB, O_RDONLY, LANE_CACHED },
	{ "dataset", "train.idx", "python3", 100 * MIB, O_RDONLY, LANE_CACHED },
	{ "dataset", "train/0001.tar", "python3", 50 * MIB, O_RDONLY, LANE_CACHED },
	{ "dataset", "train/0001.tar", "python3", 64 * MIB, O_RDONLY, LANE_DIRECT },
	{ "dataset", "model.pt", "python3", 200 * MIB, O_WRONLY, LANE_STREAM },
	{ "backup", "home/x", "rsync", 2 * MIB, O_RDONLY, LANE_DIRECT },
	{ "backup", "home/x", "emacs", 2 * MIB, O_RDONLY, LANE_CACHED },
	{ "backup", "b/home.tar", "tar", 2 * MIB, O_WRONLY, LANE_STREAM },
	{ "vm-images", "vm.qcow2", "qemu-system-x86", 40 * GIB, O_RDWR, LANE_CACHED },
	{ "vm-images", "vm.qcow2", "cp", 40 * GIB, O_RDONLY, LANE_STREAM },
	{ "web", "index.html", "nginx", 30 * KIB, O_RDONLY, LANE_CACHED },
	{ "web", "film.mp4", "nginx", 5 * MIB, O_RDONLY, LANE_DIRECT },
	{ "web", "access.log", "nginx", 5 * MIB, O_WRONLY | O_APPEND, LANE_STREAM },
};

static void test_profiles_decide(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(examples); i++) {
		g_autofree char *option = g_strdup_printf("profile=%s", examples[i].profile);
		cleanup_config struct config *config = config_new();
		struct policy_facts facts = large_read;

		g_assert_true(config_set(config, option, NULL));
		g_assert_true(config_apply_profile(config, NULL));
		facts.path = examples[i].path;
		facts.program = examples[i].program;
		facts.size = examples[i].size;
		facts.open_flags = examples[i].flags;
		g_assert_cmpint(decide(config, &facts, NULL).lane, ==, examples[i].lane);
	}
}

/* A reload keeps what only a new mount can change. */
static void test_keep_mount(void)
{
	cleanup_config struct config *mounted = config_new(), *next = config_new();

	g_assert_true(config_set(mounted, "pool=8M", NULL));
	g_assert_true(config_set(mounted, "ro", NULL));
	g_assert_true(config_set(mounted, "state=/x", NULL));
	g_assert_true(load(next, "[mount]\npool=32M\nnodev=true\n[policy]\nthreshold=3M\n", NULL));
	config_keep_mount(next, mounted);
	g_assert_cmpuint(next->pool, ==, 8 * MIB);
	g_assert_cmpuint(next->threshold, ==, 3 * MIB);
	g_assert_cmpstr(next->state, ==, "/x");
	g_assert_cmpuint(next->mount_options->len, ==, 1);
	g_assert_cmpstr(g_ptr_array_index(next->mount_options, 0), ==, "ro");
	g_assert_cmpstr(g_hash_table_lookup(next->sources, "pool"), ==, "-o");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/rule/conditions", test_conditions);
	g_test_add_func("/rule/unknown", test_unknown);
	g_test_add_func("/rule/results", test_results);
	g_test_add_func("/rule/refused", test_refused);
	g_test_add_func("/rule/shown", test_shown);
	g_test_add_func("/rule/kinds", test_kinds);
	g_test_add_func("/rule/shadow", test_shadow);
	g_test_add_func("/profile/good", test_profiles_are_good);
	g_test_add_func("/profile/beneath", test_profile_is_beneath);
	g_test_add_func("/profile/decide", test_profiles_decide);
	g_test_add_func("/config/keep-mount", test_keep_mount);
	return g_test_run();
}
