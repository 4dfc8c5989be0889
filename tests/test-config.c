/* SPDX-License-Identifier: MIT */
#include "policy/config.h"
#include "policy/glob.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <string.h>

#define SIZE_ACCEPTED "a size such as 24M (K, M, G, T)"
#define THRESHOLD_ACCEPTED SIZE_ACCEPTED ", or auto"
#define LANE_ACCEPTED "auto, cached, direct or stream"
#define SECONDS_ACCEPTED "seconds from 0 to 86400, such as 1 or 0.5"
#define MOUNT_NAMES \
	"ro, rw, suid, nosuid, dev, nodev, exec, noexec, async, sync, dirsync, noatime, " \
	"nodiratime, symfollow, nosymfollow, allow_other, default_permissions, auto_unmount, " \
	"fsname=, context=, fscontext=, defcontext=, rootcontext="

/* A file of its own for each test, in a directory that goes away with it. */
struct fixture {
	char *directory;
	char *file;
	struct config *config;
};

static void setup(struct fixture *f, gconstpointer data)
{
	f->directory = g_dir_make_tmp("lanefs-config-XXXXXX", NULL);
	g_assert_nonnull(f->directory);
	f->file = g_build_filename(f->directory, "lanefs.conf", NULL);
	f->config = config_new();
}

static void teardown(struct fixture *f, gconstpointer data)
{
	unlink(f->file);
	g_assert_cmpint(rmdir(f->directory), ==, 0);
	config_free(f->config);
	g_free(f->file);
	g_free(f->directory);
}

static bool load(struct fixture *f, const char *text, GError **error)
{
	g_assert_true(g_file_set_contents(f->file, text, -1, NULL));
	return config_load(f->config, f->file, f->file, error);
}

static void load_good(struct fixture *f, const char *text)
{
	g_autoptr(GError) error = NULL;

	load(f, text, &error);
	g_assert_no_error(error);
}

/* The message without the name of the file; nothing may have changed. */
static void load_bad(struct fixture *f, const char *text, const char *message)
{
	g_autofree char *before = config_to_json(f->config, 0);
	g_autofree char *expected = g_strdup_printf("%s: %s", f->file, message);
	g_autofree char *after = NULL;
	g_autoptr(GError) error = NULL;

	g_assert_false(load(f, text, &error));
	g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD);
	g_assert_cmpstr(error->message, ==, expected);
	after = config_to_json(f->config, 0);
	g_assert_cmpstr(before, ==, after);
}

static void set_good(struct fixture *f, const char *option)
{
	g_autoptr(GError) error = NULL;

	config_set(f->config, option, &error);
	g_assert_no_error(error);
}

static void set_bad(struct fixture *f, const char *option, const char *message)
{
	g_autofree char *before = config_to_json(f->config, 0);
	g_autofree char *after = NULL;
	g_autoptr(GError) error = NULL;

	g_assert_false(config_set(f->config, option, &error));
	g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD);
	g_assert_cmpstr(error->message, ==, message);
	after = config_to_json(f->config, 0);
	g_assert_cmpstr(before, ==, after);
}

/* One member of {"key":{"value":...,"source":...,"group":...}}; NULL: no such key. */
static char *json_member(const struct config *config, const char *key, const char *member)
{
	g_autofree char *json = config_to_json(config, 0);
	g_autoptr(JsonParser) parser = json_parser_new();
	JsonObject *root;

	g_assert_true(json_parser_load_from_data(parser, json, -1, NULL));
	root = json_node_get_object(json_parser_get_root(parser));
	if (!json_object_has_member(root, key))
		return NULL;
	return g_strdup(json_object_get_string_member(json_object_get_object_member(root, key),
						      member));
}

static void check(const struct fixture *f, const char *key, const char *value, const char *source)
{
	g_autofree char *json_value = json_member(f->config, key, "value");
	g_autofree char *json_source = json_member(f->config, key, "source");

	g_assert_cmpstr(json_value, ==, value);
	g_assert_cmpstr(json_source, ==, source);
	g_assert_cmpstr(g_hash_table_lookup(f->config->sources, key), ==, source);
}

#define POLICY_KEYS \
	"threshold, lane, profile, learn, shadow, read-ahead, stream-window"
#define MOUNT_KEYS "pool, transport, passthrough, state, attr-timeout, acl, notify"

static const struct {
	const char *key;
	const char *group;
	const char *initial;
} keys[] = {
	{ "threshold", "policy", "auto" },    { "lane", "policy", "auto" },
	{ "profile", "policy", "none" },      { "learn", "policy", "on" },
	{ "shadow", "policy", "off" },        { "read-ahead", "policy", "16M" },
	{ "stream-window", "policy", "32M" }, { "pool", "mount", "64M" },
	{ "transport", "mount", "auto" },     { "passthrough", "mount", "auto" },
	{ "state", "mount", "auto" },         { "attr-timeout", "mount", "1" },
	{ "acl", "mount", "on" },             { "notify", "mount", "off" },
};

static void test_defaults(struct fixture *f, gconstpointer data)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(keys); i++) {
		g_autofree char *group = json_member(f->config, keys[i].key, "group");

		check(f, keys[i].key, keys[i].initial, "default");
		g_assert_cmpstr(group, ==, keys[i].group);
	}
	g_assert_cmpuint(g_hash_table_size(f->config->sources), ==, G_N_ELEMENTS(keys));

	g_assert_cmpuint(f->config->threshold, ==, THRESHOLD_AUTO);
	g_assert_cmpint(f->config->lane, ==, POLICY_AUTO);
	g_assert_cmpuint(f->config->read_ahead, ==, 16 << 20);
	g_assert_cmpuint(f->config->pool, ==, 64 << 20);
	g_assert_cmpuint(f->config->stream_window, ==, 32 << 20);
	g_assert_cmpint(f->config->transport, ==, TRANSPORT_AUTO);
	g_assert_true(f->config->passthrough);
	g_assert_cmpfloat(f->config->attr_timeout, ==, 1.0);
	g_assert_true(f->config->acl);
	g_assert_false(f->config->notify);
	g_assert_cmpuint(f->config->rules->len, ==, 0);
	g_assert_cmpuint(f->config->mount_options->len, ==, 0);
	g_assert_true(config_validate(f->config, 0, NULL));
	g_assert_true(config_validate(f->config, 64 << 20, NULL));
}

static const struct {
	const char *key;
	const char *group;
	const char *value;
	const char *canonical; /* NULL: value itself */
} good_values[] = {
	{ "threshold", "policy", "24M", NULL },
	{ "threshold", "policy", "1024k", "1M" },
	{ "threshold", "policy", "0", NULL },
	{ "threshold", "policy", "auto", NULL },
	{ "lane", "policy", "cached", NULL },
	{ "lane", "policy", "direct", NULL },
	{ "lane", "policy", "stream", NULL },
	{ "lane", "policy", "auto", NULL },
	{ "read-ahead", "policy", "0", NULL },
	{ "read-ahead", "policy", "8M", NULL },
	{ "stream-window", "policy", "1M", NULL },
	{ "stream-window", "policy", "2g", "2G" },
	{ "pool", "mount", "2M", NULL },
	{ "pool", "mount", "2048K", "2M" },
	{ "transport", "mount", "dev", NULL },
	{ "transport", "mount", "io_uring", NULL },
	{ "transport", "mount", "auto", NULL },
	{ "passthrough", "mount", "off", NULL },
	{ "passthrough", "mount", "auto", NULL },
	{ "profile", "policy", "vm-images", NULL },
	{ "learn", "policy", "off", NULL },
	{ "shadow", "policy", "on", NULL },
	{ "state", "mount", "off", NULL },
	{ "state", "mount", "/var/lib/x y", NULL },
	{ "attr-timeout", "mount", "0", NULL },
	{ "attr-timeout", "mount", "0.1", NULL },
	{ "attr-timeout", "mount", "2.50", "2.5" },
	{ "attr-timeout", "mount", "86399.999", NULL },
	{ "attr-timeout", "mount", "86400", NULL },
	{ "acl", "mount", "off", NULL },
	{ "notify", "mount", "on", NULL },
	{ "notify", "mount", "off", NULL },
};

static void test_good_values(struct fixture *f, gconstpointer data)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(good_values); i++) {
		const char *key = good_values[i].key;
		const char *value = good_values[i].value;
		const char *canonical = good_values[i].canonical ? good_values[i].canonical : value;
		g_autofree char *option = g_strdup_printf("%s=%s", key, value);
		g_autofree char *text =
			g_strdup_printf("[%s]\n %s = %s \n", good_values[i].group, key, value);

		set_good(f, option);
		check(f, key, canonical, "-o");
		load_good(f, text);
		check(f, key, canonical, f->file);
	}
}

static void test_values_reach_fields(struct fixture *f, gconstpointer data)
{
	static const char *const options[] = {
		"threshold=24M", "lane=stream", "read-ahead=1M", "stream-window=3M", "pool=5M",
		"profile=media", "learn=off", "shadow=on", "state=off",
		"transport=io_uring", "passthrough=off", "attr-timeout=0.25",
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(options); i++)
		set_good(f, options[i]);
	g_assert_cmpuint(f->config->threshold, ==, 24 << 20);
	g_assert_cmpint(f->config->lane, ==, POLICY_STREAM);
	g_assert_cmpuint(f->config->read_ahead, ==, 1 << 20);
	g_assert_cmpuint(f->config->stream_window, ==, 3 << 20);
	g_assert_cmpuint(f->config->pool, ==, 5 << 20);
	g_assert_cmpint(f->config->transport, ==, TRANSPORT_IO_URING);
	g_assert_false(f->config->passthrough);
	g_assert_cmpfloat(f->config->attr_timeout, ==, 0.25);
	set_good(f, "transport=dev");
	g_assert_cmpint(f->config->transport, ==, TRANSPORT_DEV);
}

static const struct {
	const char *key;
	const char *group;
	const char *value;
	const char *message; /* behind the quoted value */
} bad_values[] = {
	{ "threshold", "policy", "12Q", "accepted: " THRESHOLD_ACCEPTED },
	{ "threshold", "policy", "", "accepted: " THRESHOLD_ACCEPTED },
	{ "threshold", "policy", "24M # films", "accepted: " THRESHOLD_ACCEPTED },
	{ "threshold", "policy", "8388608T", "out of range: accepted: " THRESHOLD_ACCEPTED },
	{ "lane", "policy", "fast", "accepted: " LANE_ACCEPTED },
	{ "lane", "policy", "Cached", "accepted: " LANE_ACCEPTED },
	{ "read-ahead", "policy", "auto", "accepted: " SIZE_ACCEPTED },
	{ "read-ahead", "policy", "-1", "accepted: " SIZE_ACCEPTED },
	{ "stream-window", "policy", "1023K",
	  "out of range: accepted: " SIZE_ACCEPTED ", 1M or more" },
	{ "stream-window", "policy", "big", "accepted: " SIZE_ACCEPTED ", 1M or more" },
	{ "pool", "mount", "1M", "out of range: accepted: " SIZE_ACCEPTED ", 2M or more" },
	{ "pool", "mount", "1.5G", "accepted: " SIZE_ACCEPTED ", 2M or more" },
	{ "transport", "mount", "uring", "accepted: auto, dev or io_uring" },
	{ "passthrough", "mount", "on", "accepted: auto or off" },
	{ "attr-timeout", "mount", "86400.1", "out of range: accepted: " SECONDS_ACCEPTED },
	{ "profile", "policy", "films", "accepted: none, media, dataset, backup, vm-images or web" },
	{ "learn", "policy", "true", "accepted: on or off" },
	{ "shadow", "policy", "", "accepted: on or off" },
	{ "state", "mount", "state.db", "accepted: auto, off or a file name that begins with /" },
	{ "attr-timeout", "mount", "-1", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "1s", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "1e3", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "0x1", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "inf", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "nan", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "1.", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", ".5", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "1.2.3", "accepted: " SECONDS_ACCEPTED },
	{ "attr-timeout", "mount", "1,5", "accepted: " SECONDS_ACCEPTED },
};

static void test_bad_values(struct fixture *f, gconstpointer data)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(bad_values); i++) {
		const char *key = bad_values[i].key;
		const char *value = bad_values[i].value;
		g_autofree char *option = g_strdup_printf("%s=%s", key, value);
		g_autofree char *option_message = g_strdup_printf(
			"option %s: value \"%s\": %s", key, value, bad_values[i].message);
		g_autofree char *text =
			g_strdup_printf("[%s]\n%s=%s\n", bad_values[i].group, key, value);
		g_autofree char *file_message =
			g_strdup_printf("[%s] %s: value \"%s\": %s", bad_values[i].group, key,
					value, bad_values[i].message);

		set_bad(f, option, option_message);
		load_bad(f, text, file_message);
	}
}

static void test_bad_options(struct fixture *f, gconstpointer data)
{
	static const struct {
		const char *option;
		const char *message;
	} cases[] = {
		{ "foo", "option foo: unknown option; accepted: " POLICY_KEYS ", " MOUNT_KEYS ", "
			 "and the mount options " MOUNT_NAMES },
		{ "a\n\xff\"", "option a\\x0a\\xff\": unknown option; accepted: "
			       POLICY_KEYS ", " MOUNT_KEYS ", and the mount options " MOUNT_NAMES },
		{ "threshold", "option threshold: needs a value: threshold=SIZE|auto; accepted: "
			       THRESHOLD_ACCEPTED },
		{ "lane", "option lane: needs a value: lane=auto|cached|direct|stream; accepted: "
			  LANE_ACCEPTED },
		{ "ro=1", "option ro: value \"1\": takes no value: accepted: ro" },
		{ "allow_other=", "option allow_other: value \"\": takes no value: accepted: "
				  "allow_other" },
		{ "fsname", "option fsname: needs a value; accepted: "
			    "the name to show as the mount's source" },
		{ "fsname=", "option fsname: needs a value; accepted: "
			     "the name to show as the mount's source" },
		{ "context", "option context: needs a value; accepted: an SELinux context" },
		{ "subtype=x", "option subtype: not accepted: the subtype is always lanefs" },
		{ "max_read=4096", "option max_read: not accepted: "
				   "the size of a read is negotiated with the kernel" },
		{ "blksize=4096", "option blksize: not accepted: "
				  "SOURCE is a directory, not a block device" },
		{ "blkdev", "option blkdev: not accepted: "
			    "SOURCE is a directory, not a block device" },
		{ "remount", "option remount: not accepted: "
			     "unmount, then mount again with the new options; or, for ro and rw, "
			     "mount -i -o remount,nosuid,nodev with it" },
		{ "strictatime", "option strictatime: not accepted: access times are kept by the "
				 "filesystem of SOURCE: give this option to its mount" },
		{ "lazytime", "option lazytime: not accepted: access times are kept by the "
			      "filesystem of SOURCE: give this option to its mount" },
		{ "direct_io", "option direct_io: not accepted: use lane=direct" },
		{ "kernel_cache", "option kernel_cache: not accepted: use lane=cached" },
		{ "attr_timeout=1", "option attr_timeout: not accepted: use attr-timeout=" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++)
		set_bad(f, cases[i].option, cases[i].message);
}

static void check_mount_options(const struct fixture *f, const char *expected)
{
	g_autoptr(GString) given = g_string_new(NULL);

	for (unsigned int i = 0; i < f->config->mount_options->len; i++)
		g_string_append_printf(given, "%s%s", i ? " " : "",
				       (char *)g_ptr_array_index(f->config->mount_options, i));
	g_assert_cmpstr(given->str, ==, expected);
}

static void test_mount_options(struct fixture *f, gconstpointer data)
{
	static const char *const all[] = {
		"ro", "nosuid", "nodev", "noexec", "sync", "dirsync", "noatime", "nodiratime",
		"nosymfollow", "allow_other", "default_permissions", "auto_unmount",
		"fsname=my media,1", "context=a:b", "fscontext=c", "defcontext=d", "rootcontext=e",
		NULL,
	};
	g_autofree char *joined = g_strjoinv(" ", (char **)all);

	for (unsigned int i = 0; all[i]; i++)
		set_good(f, all[i]);
	check_mount_options(f, joined);
	check(f, "ro", "true", "-o");
	check(f, "fsname", "my media,1", "-o");
}

static void test_last_mount_option_counts(struct fixture *f, gconstpointer data)
{
	static const char *const pairs[][2] = {
		{ "ro", "rw" },       { "suid", "nosuid" }, { "dev", "nodev" },
		{ "exec", "noexec" }, { "async", "sync" },  { "symfollow", "nosymfollow" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(pairs); i++) {
		g_autofree char *gone = NULL;

		set_good(f, pairs[i][0]);
		set_good(f, pairs[i][0]);
		check_mount_options(f, pairs[i][0]);
		set_good(f, pairs[i][1]);
		check_mount_options(f, pairs[i][1]);
		gone = json_member(f->config, pairs[i][0], "value");
		g_assert_null(gone);
		set_good(f, pairs[i][0]);
		check_mount_options(f, pairs[i][0]);
		g_ptr_array_set_size(f->config->mount_options, 0);
	}
	set_good(f, "fsname=a");
	set_good(f, "rootcontext=e");
	set_good(f, "ro");
	set_good(f, "fsname=b");
	set_good(f, "rw");
	check_mount_options(f, "rootcontext=e fsname=b rw");
}

static void test_fstab_words(struct fixture *f, gconstpointer data)
{
	static const char *const words[] = {
		"", "defaults", "auto", "noauto", "user", "user=someone", "nouser", "users",
		"owner", "noowner", "group", "nogroup", "nofail", "_netdev", "comment=my films",
		"x-systemd.automount", "x-systemd.requires=/srv", "x-gvfs-show", "X-mount.mkdir",
		"relatime", "atime", "diratime", "nostrictatime", "nolazytime",
	};
	g_autofree char *before = config_to_json(f->config, 0);
	g_autofree char *after = NULL;

	for (unsigned int i = 0; i < G_N_ELEMENTS(words); i++)
		set_good(f, words[i]);
	after = config_to_json(f->config, 0);
	g_assert_cmpstr(before, ==, after);
	check_mount_options(f, "");
}

static void test_file_mount_options(struct fixture *f, gconstpointer data)
{
	load_good(f, "[mount]\nro=true\nfsname = my media\nnodev=true\nallow_other=false\n");
	check_mount_options(f, "ro fsname=my media nodev");
	check(f, "ro", "true", f->file);
	set_good(f, "rw");
	check_mount_options(f, "fsname=my media nodev rw");
	load_good(f, "[mount]\nnodev=false\n");
	check_mount_options(f, "fsname=my media rw");

	load_bad(f, "[mount]\nro=yes\n", "[mount] ro: value \"yes\": accepted: true or false");
	load_bad(f, "[mount]\nfsname=\n", "[mount] fsname: value \"\": accepted: "
					  "the name to show as the mount's source");
}

static void test_bad_files(struct fixture *f, gconstpointer data)
{
	static const struct {
		const char *text;
		const char *message;
	} cases[] = {
		{ "[polcy]\nlane=auto\n",
		  "[polcy]: unknown group; accepted: [mount], [policy], [rule NAME]" },
		{ "[rule]\nlane=auto\n",
		  "[rule]: unknown group; accepted: [mount], [policy], [rule NAME]" },
		{ "[policy]\ntreshold=1M\n", "[policy] treshold: unknown key; accepted: "
					     POLICY_KEYS },
		{ "[policy]\npool=8M\n", "[policy] pool: belongs in [mount]; accepted: "
					 POLICY_KEYS },
		{ "[policy]\nro=true\n", "[policy] ro: belongs in [mount]; accepted: "
					 POLICY_KEYS },
		{ "[mount]\nlane=auto\n",
		  "[mount] lane: belongs in [policy]; accepted: " MOUNT_KEYS ", "
		  "and the mount options " MOUNT_NAMES },
		{ "[mount]\nfoo=1\n",
		  "[mount] foo: unknown key; accepted: " MOUNT_KEYS ", "
		  "and the mount options " MOUNT_NAMES },
		{ "[mount]\nsubtype=x\n",
		  "[mount] subtype: not accepted: the subtype is always lanefs; accepted: "
		  MOUNT_KEYS ", and the mount options " MOUNT_NAMES },
		{ "[policy]\nlane=auto\n\n# again\n lane = direct\n",
		  "[policy] lane: there twice, on lines 2 and 5; accepted: once" },
		{ "[policy]\nthreshold\n", "line 2, \"threshold\": accepted: [GROUP], then lines of KEY=VALUE; # comment" },
		{ "threshold=3M\n", "line 1, \"threshold=3M\": accepted: [GROUP], then lines of KEY=VALUE; # comment" },
		{ "\n [policy\n", "line 2, \"[policy\": accepted: [GROUP], then lines of KEY=VALUE; # comment" },
		{ "\xef\xbb\xbf[policy]\n",
		  "line 1, \"\\xef\\xbb\\xbf[policy]\": accepted: [GROUP], then lines of KEY=VALUE; # comment" },
		{ "[policy]\nthreshold[de]=3M\n", "[policy] threshold[de]: unknown key; accepted: "
						  POLICY_KEYS },
		{ "[policy]\nlane=auto\n[mount]\n[policy]\nthreshold=1M\n",
		  "[policy]: there twice, on lines 1 and 4; accepted: once" },
		{ "[rule a]\nlane=auto\n[rule a]\nlane=direct\n",
		  "[rule a]: there twice, on lines 1 and 3; accepted: once" },
		{ "[rule ]\nlane=auto\n",
		  "[rule ]: a rule needs a name, without spaces around it; "
		  "accepted: [rule NAME]" },
		{ "[rule  a]\nlane=auto\n",
		  "[rule  a]: a rule needs a name, without spaces around it; "
		  "accepted: [rule NAME]" },
		{ "[policy]\na\xff\x1b=1\n", "[policy] a\\xff\\x1b: unknown key; accepted: "
					     POLICY_KEYS },
		{ "[rule a]\npath=x\n",
		  "[rule a]: gives neither lane nor threshold; accepted: at least one of them, "
		  "or read-ahead, stream-window or keep" },
		{ "[rule a]\n",
		  "[rule a]: gives neither lane nor threshold; accepted: at least one of them, "
		  "or read-ahead, stream-window or keep" },
		{ "[rule a]\nsize=1M\nlane=direct\n",
		  "[rule a] size: unknown field; accepted: path, program, cgroup, uid, kind, "
		  "min-size, max-size, min-age, max-age, access, lane, threshold, read-ahead, "
		  "stream-window, keep" },
		{ "[rule a]\nmin-size=2M\nmax-size=1M\nlane=direct\n",
		  "[rule a]: min-size 2M is above max-size 1M; accepted: min-size up to max-size" },
		{ "[policy]\nlane=direct\n[rule a]\nlane=fast\n",
		  "[rule a] lane: value \"fast\": accepted: " LANE_ACCEPTED },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++)
		load_bad(f, cases[i].text, cases[i].message);
}

static void test_bad_rule_values(struct fixture *f, gconstpointer data)
{
	static const char path[] = "accepted: a pattern for paths below SOURCE such as films/**";
	static const char program[] =
		"accepted: patterns for program names such as nginx or media-*, with commas between";
	const struct {
		const char *field;
		const char *value;
		const char *problem;
		const char *accepted;
	} cases[] = {
		{ "path", "", "empty: ", path },
		{ "path", "/srv", "begins with '/': ", path },
		{ "path", "films/", "ends with '/': ", path },
		{ "path", "a//b", "has two '/' in a row: ", path },
		{ "path", "./a", "has '.' or '..' in it: ", path },
		{ "path", "a/../b", "has '.' or '..' in it: ", path },
		{ "path", "a[b", "'[' without ']': ", path },
		{ "program", "", "empty: ", program },
		{ "program", "sixteen-letters-", "the kernel keeps 15 bytes of a program's name: "
						 "shorten it to those: ", program },
		{ "program", "[a", "'[' without ']': ", program },
		{ "min-size", "big", "", "accepted: " SIZE_ACCEPTED },
		{ "min-size", "8388608T", "out of range: ", "accepted: " SIZE_ACCEPTED },
		{ "max-size", "auto", "", "accepted: " SIZE_ACCEPTED },
		{ "access", "rw", "", "accepted: read, write or any" },
		{ "lane", "", "", "accepted: " LANE_ACCEPTED },
		{ "threshold", "1Q", "", "accepted: " THRESHOLD_ACCEPTED },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text =
			g_strdup_printf("[rule a]\n%s=%s\n", cases[i].field, cases[i].value);
		g_autofree char *message =
			g_strdup_printf("[rule a] %s: value \"%s\": %s%s", cases[i].field,
					cases[i].value, cases[i].problem, cases[i].accepted);

		load_bad(f, text, message);
	}
	load_bad(f, "[rule a]\npath=a\\\n",
		 "[rule a] path: value \"a\\\\\": '\\' with nothing behind it: accepted: "
		 "a pattern for paths below SOURCE such as films/**");
}

static void test_not_a_config_file(struct fixture *f, gconstpointer data)
{
	g_autofree char *large = g_strnfill((1 << 20) + 1, '#');

	load_bad(f, large, "larger than 1 MiB, so not a configuration file");
	large[1 << 20] = '\0';
	load_good(f, large);

	g_assert_true(g_file_set_contents(f->file, "[policy]\n\0", 10, NULL));
	g_assert_false(config_load(f->config, f->file, f->file, NULL));

	for (unsigned int i = 0; i < 2; i++) {
		static const char *const texts[] = { "lane=auto\n", "[policy]\nlane\n" };
		g_autofree char *prefix = g_strdup_printf("%s: ", f->file);
		g_autoptr(GError) error = NULL;

		g_assert_false(load(f, texts[i], &error));
		g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD);
		g_assert_true(g_str_has_prefix(error->message, prefix));
		g_assert_null(strchr(error->message, '\n'));
	}
}

static void test_unreadable(struct fixture *f, gconstpointer data)
{
	const struct {
		const char *file;
		int err;
	} cases[] = {
		{ f->file, ENOENT },
		{ f->directory, EISDIR },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *message =
			g_strdup_printf("%s: %s", cases[i].file, g_strerror(cases[i].err));
		g_autoptr(GError) error = NULL;

		g_assert_false(config_load(f->config, cases[i].file, cases[i].file, &error));
		g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_FILE);
		g_assert_cmpstr(error->message, ==, message);
	}
}

#define RULES \
	"# comment\r\n" \
	"[rule films]\n" \
	"path = films/**\n" \
	"program = media-*\n" \
	"min-size = 1048576\n" \
	"max-size = 4G\n" \
	"access = read\n" \
	"lane = stream\n" \
	"threshold = auto\n" \
	"\n" \
	"[rule a second one]\n" \
	"threshold=2M\n" \
	"[policy]\n" \
	"threshold=24M\n"

/* Just inside of what test_bad_files() and test_bad_rule_values() have outside. */
#define LIMITS \
	"[rule a]\n" \
	"# lane = cached\n" \
	"# lane = cached\n" \
	"program = fifteen-letters\n" \
	"min-size = 1M\n" \
	"max-size = 1M\n" \
	"lane = auto\n" \
	"[rule b]\n" \
	"program = sixteen-*letters\n" \
	"lane = direct\n"

static void test_rule_limits(struct fixture *f, gconstpointer data)
{
	const struct config_rule *rule;

	load_good(f, LIMITS);
	g_assert_cmpuint(f->config->rules->len, ==, 2);
	rule = g_ptr_array_index(f->config->rules, 0);
	g_assert_cmpuint(rule->min_size, ==, rule->max_size);
	g_assert_true(rule->has_lane);
	g_assert_cmpint(rule->lane, ==, POLICY_AUTO);
	rule = g_ptr_array_index(f->config->rules, 1);
	g_assert_cmpstr(rule->programs[0], ==, "sixteen-*letters");
}

static void check_films(const struct config_rule *rule, const char *file)
{
	g_assert_cmpstr(rule->name, ==, "films");
	g_assert_cmpstr(rule->source, ==, file);
	g_assert_cmpstr(rule->path, ==, "films/**");
	g_assert_cmpstr(rule->programs[0], ==, "media-*");
	g_assert_cmpuint(rule->min_size, ==, 1 << 20);
	g_assert_cmpuint(rule->max_size, ==, UINT64_C(4) << 30);
	g_assert_true(rule->on_read);
	g_assert_false(rule->on_write);
	g_assert_true(rule->has_lane);
	g_assert_cmpint(rule->lane, ==, POLICY_STREAM);
	g_assert_true(rule->has_threshold);
	g_assert_cmpuint(rule->threshold, ==, THRESHOLD_AUTO);
}

static void check_second(const struct config_rule *rule)
{
	g_assert_cmpstr(rule->name, ==, "a second one");
	g_assert_null(rule->path);
	g_assert_null(rule->programs);
	g_assert_cmpuint(rule->min_size, ==, 0);
	g_assert_cmpuint(rule->max_size, ==, UINT64_MAX);
	g_assert_true(rule->on_read);
	g_assert_true(rule->on_write);
	g_assert_false(rule->has_lane);
	g_assert_true(rule->has_threshold);
	g_assert_cmpuint(rule->threshold, ==, 2 << 20);
}

static void test_rules(struct fixture *f, gconstpointer data)
{
	load_good(f, RULES);
	g_assert_cmpuint(f->config->rules->len, ==, 2);
	check_films(g_ptr_array_index(f->config->rules, 0), f->file);
	check_second(g_ptr_array_index(f->config->rules, 1));
	check(f, "threshold", "24M", f->file);
}

static void test_precedence(struct fixture *f, gconstpointer data)
{
	g_autofree char *other = NULL;

	load_good(f, RULES "lane=direct\nread-ahead=4M\n");
	set_good(f, "threshold=7M");
	set_good(f, "threshold=8M");
	check(f, "threshold", "8M", "-o");
	check(f, "lane", "direct", f->file);
	check(f, "pool", "64M", "default");

	/* A second file: its rule takes the place of the one with that name. */
	other = g_build_filename(f->directory, "other.conf", NULL);
	unlink(f->file);
	g_free(f->file);
	f->file = g_steal_pointer(&other);
	load_good(f, "[rule new]\nlane=direct\n[rule films]\nlane=cached\n[policy]\nlane=stream\n");
	check(f, "lane", "stream", f->file);
	check(f, "threshold", "8M", "-o");
	g_assert_cmpuint(f->config->rules->len, ==, 3);
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const names[] = { "films", "a second one", "new" };
		static const enum policy_mode lanes[] = { POLICY_CACHED, POLICY_AUTO,
							  POLICY_DIRECT };
		const struct config_rule *rule = g_ptr_array_index(f->config->rules, i);

		g_assert_cmpstr(rule->name, ==, names[i]);
		g_assert_cmpint(rule->lane, ==, lanes[i]);
	}
}

static void append_member(JsonObject *object, const char *name, JsonNode *node, gpointer data)
{
	if (strcmp(name, "name") != 0 && strcmp(name, "source") != 0)
		g_string_append_printf(data, "%s=%s\n", name, json_node_get_string(node));
}

static void append_rule(JsonArray *array, guint i, JsonNode *node, gpointer data)
{
	JsonObject *rule = json_node_get_object(node);

	g_string_append_printf(data, "[rule %s]\n", json_object_get_string_member(rule, "name"));
	json_object_foreach_member(rule, append_member, data);
}

/* The file that a configuration's JSON describes. */
static char *file_from_json(const char *json)
{
	static const char *const groups[] = { "mount", "policy" };
	g_autoptr(JsonParser) parser = json_parser_new();
	g_autoptr(GString) text = g_string_new(NULL);
	g_autoptr(GList) members = NULL;
	JsonObject *root;

	g_assert_true(json_parser_load_from_data(parser, json, -1, NULL));
	root = json_node_get_object(json_parser_get_root(parser));
	members = json_object_get_members(root);
	for (unsigned int i = 0; i < G_N_ELEMENTS(groups); i++) {
		g_string_append_printf(text, "[%s]\n", groups[i]);
		for (GList *m = members; m; m = m->next) {
			JsonObject *value;

			if (strcmp(m->data, "rules") == 0)
				continue;
			value = json_object_get_object_member(root, m->data);
			if (strcmp(json_object_get_string_member(value, "group"), groups[i]) == 0)
				g_string_append_printf(text, "%s=%s\n", (char *)m->data,
						       json_object_get_string_member(value,
										     "value"));
		}
	}
	json_array_foreach_element(json_object_get_array_member(root, "rules"), append_rule, text);
	return g_string_free(g_steal_pointer(&text), FALSE);
}

static void test_json_round_trip(struct fixture *f, gconstpointer data)
{
	g_autofree char *text = NULL;
	g_autofree char *before = NULL;
	g_autofree char *after = NULL;

	load_good(f, RULES "stream-window=3M\nprofile=web\nlearn=off\nshadow=on\n"
			   "[mount]\nstate=/var/x\nro=true\nfsname=my \"media\"\nnodev=true\n"
			   "transport=dev\npassthrough=off\nattr-timeout=0.5\nacl=off\nnotify=on\n"
			   "pool=32M\n");
	load_good(f, "[policy]\nread-ahead=1M\nlane=cached\n");
	before = config_to_json(f->config, 0);
	text = file_from_json(before);

	config_free(f->config);
	f->config = config_new();
	load_good(f, text);
	after = config_to_json(f->config, 0);
	g_assert_cmpstr(before, ==, after);
}

/* File names are bytes; what is shown of them stays JSON. */
static void test_json_is_utf8(struct fixture *f, gconstpointer data)
{
	g_autofree char *json = NULL;
	g_autoptr(JsonParser) parser = json_parser_new();

	set_good(f, "fsname=\xff\"\\\n");
	load_good(f, "[rule a]\npath=\xff*\nlane=direct\n");
	json = config_to_json(f->config, 0);
	g_assert_true(g_utf8_validate(json, -1, NULL));
	g_assert_true(json_parser_load_from_data(parser, json, -1, NULL));
}

static void test_validate(struct fixture *f, gconstpointer data)
{
	g_autoptr(GError) error = NULL;

	set_good(f, "pool=16M");
	g_assert_true(config_validate(f->config, 0, &error));
	g_assert_no_error(error);
	g_assert_true(config_validate(f->config, 64 << 20, &error));
	g_assert_no_error(error);
	g_assert_false(config_validate(f->config, (64 << 20) - 1, &error));
	g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD);
	g_assert_cmpstr(error->message, ==,
			"pool 16M is more than a quarter of this machine's memory: "
			"accepted: up to 16 MiB");
	g_clear_error(&error);

	set_good(f, "read-ahead=16385K");
	g_assert_false(config_validate(f->config, 0, &error));
	g_assert_error(error, CONFIG_ERROR, CONFIG_ERROR_BAD);
	g_assert_cmpstr(error->message, ==,
			"pool 16M holds less than one window of read-ahead 16385K: "
			"set pool to 16385K or more, or read-ahead to 16M or less");
}

/* One line per key, with its default; what it prints as a form is an option. */
static void test_help(struct fixture *f, gconstpointer data)
{
	g_autofree char *help = config_help();
	g_auto(GStrv) lines = g_strsplit(help, "\n", -1);
	g_autoptr(GString) rest = g_string_new(NULL);

	g_assert_true(g_str_has_suffix(help, "\n"));
	g_assert_cmpuint(g_strv_length(lines), >, G_N_ELEMENTS(keys) + 1);
	for (unsigned int i = 0; i < G_N_ELEMENTS(keys); i++) {
		g_autofree char *form = g_strdup_printf("  %s=", keys[i].key);
		g_autofree char *initial = g_strdup_printf("(default: %s)", keys[i].initial);

		g_assert_true(g_str_has_prefix(lines[i], form));
		g_assert_true(g_str_has_suffix(lines[i], initial));
	}
	for (unsigned int i = G_N_ELEMENTS(keys); lines[i]; i++) {
		g_assert_cmpuint(strlen(lines[i]), <=, 78);
		g_string_append(rest, *lines[i] ? lines[i] + 1 : "");
	}
	g_assert_cmpstr(rest->str, ==, " and the mount options " MOUNT_NAMES);
}

static const struct {
	const char *pattern;
	const char *text;
	bool path;
	bool word;
} globs[] = {
	{ "a", "a", true, true },
	{ "a", "ab", false, false },
	{ "a", "", false, false },
	{ "", "", true, true },
	{ "*", "", true, true },
	{ "*", "abc", true, true },
	{ "*", "a/b", false, true },
	{ "*/*", "a/b", true, true },
	{ "*/*", "a/b/c", false, true },
	{ "?", "/", false, true },
	{ "[!a]", "/", false, true },
	{ "a?c", "abc", true, true },
	{ "a?c", "ac", false, false },
	{ "*.mkv", "a.mkv", true, true },
	{ "*.mkv", "x/a.mkv", false, true },
	{ "*.mkv", "a.mkv.part", false, false },
	{ "*a*b*c", "xaxbxcxc", true, true },
	{ "*a*b*c", "xaxbxcx", false, false },
	{ "**", "", true, true },
	{ "**", "a/b/c", true, true },
	{ "**/*.mkv", "a.mkv", true, false },
	{ "**/*.mkv", "x/a.mkv", true, true },
	{ "**/*.mkv", "x/y/z/a.mkv", true, true },
	{ "**/a", "ba", false, false },
	{ "**/a", "b/ba", false, false },
	{ "films/**", "films/a", true, true },
	{ "films/**", "films/a/b", true, true },
	{ "films/**", "films", false, false },
	{ "films/**", "other/films/a", false, false },
	{ "films/**/*.mkv", "films/a.mkv", true, false },
	{ "films/**/*.mkv", "films/x/y/a.mkv", true, true },
	{ "films/**/*.mkv", "filmsx/a.mkv", false, false },
	{ "films/**.mkv", "films/x/a.mkv", true, true },
	{ "a**b", "a/x/b", true, true },
	{ "a*x**bx", "axcbx", true, true },
	{ "a**/b", "axx/y/b", true, true },
	{ "a**/b", "ab", false, false },
	{ "a/**/b/**/c", "a/b/c", true, false },
	{ "a/**/b/**/c", "a/b/x/b/y/c", true, true },
	{ "a/**/b/**/c", "a/x/c", false, false },
	{ "*/**/x*y", "a/b/xay/xby", true, true },
	{ "*x/y*c", "ax/x/yc", false, true },
	{ "**x/y*c", "ax/x/yc", true, true },
	{ "[abc]x", "bx", true, true },
	{ "[a-c]x", "bx", true, true },
	{ "[a-c]x", "dx", false, false },
	{ "[!a-c]x", "dx", true, true },
	{ "[^a-c]x", "bx", false, false },
	{ "[]]", "]", true, true },
	{ "[!]]", "]", false, false },
	{ "[a-]", "-", true, true },
	{ "[\\]]", "]", true, true },
	{ "\\*", "*", true, true },
	{ "\\*", "a", false, false },
	{ "\\**", "*abc", true, true },
	{ "a\\?", "a?", true, true },
	{ "?", "\xc3\xa4", true, true },
	{ "??", "\xc3\xa4", false, false },
	{ "?", "\xff", true, true },
	{ "[\xc3\xa0-\xc3\xbf]", "\xc3\xa4", true, true },
	{ "\xff", "\xff", true, true },
	{ "\xff", "\xfe", false, false },
	{ "\xff", "\xc3\xbf", false, false },
};

static void test_glob(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(globs); i++) {
		const char *pattern = globs[i].pattern;
		const char *text = globs[i].text;

		if (glob_match(pattern, text, GLOB_PATH) != globs[i].path)
			g_error("as a path: \"%s\" against \"%s\"", pattern, text);
		if (glob_match(pattern, text, GLOB_WORD) != globs[i].word)
			g_error("as a word: \"%s\" against \"%s\"", pattern, text);
	}
}

/* What makes naive matchers take for ever: many stars against a long name that almost fits. */
static void test_glob_time(void)
{
	g_autofree char *text = g_strnfill(4000, 'a');
	gint64 start = g_get_monotonic_time();

	g_assert_false(glob_match("*a*a*a*a*a*a*a*a*a*a*a*b", text, GLOB_PATH));
	g_assert_false(glob_match("**a**a**a**a**a**a**a**b", text, GLOB_PATH));
	g_assert_false(glob_match("**/*a*a*a*a*a*b/**/*a*b", text, GLOB_PATH));
	g_assert_cmpint(g_get_monotonic_time() - start, <, 5 * G_USEC_PER_SEC);
}

#define ADD(path, function) \
	g_test_add("/config/" path, struct fixture, NULL, setup, function, teardown)

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	ADD("defaults", test_defaults);
	ADD("values/good", test_good_values);
	ADD("values/fields", test_values_reach_fields);
	ADD("values/bad", test_bad_values);
	ADD("option/bad", test_bad_options);
	ADD("option/mount", test_mount_options);
	ADD("option/mount-last", test_last_mount_option_counts);
	ADD("option/fstab", test_fstab_words);
	ADD("file/mount-options", test_file_mount_options);
	ADD("file/bad", test_bad_files);
	ADD("file/bad-rule-values", test_bad_rule_values);
	ADD("file/not-a-config-file", test_not_a_config_file);
	ADD("file/unreadable", test_unreadable);
	ADD("file/rules", test_rules);
	ADD("file/rule-limits", test_rule_limits);
	ADD("precedence", test_precedence);
	ADD("json/round-trip", test_json_round_trip);
	ADD("json/utf8", test_json_is_utf8);
	ADD("validate", test_validate);
	ADD("help", test_help);
	g_test_add_func("/glob/match", test_glob);
	g_test_add_func("/glob/time", test_glob_time);
	return g_test_run();
}
