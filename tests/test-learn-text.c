/* SPDX-License-Identifier: MIT */
/* Keys from names, and what is known as sentences. */
#include "policy/learn.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static void test_keys(void)
{
	static const struct {
		const char *path;
		uint64_t size;
		const char *extension;
		unsigned int size_class;
	} cases[] = {
		{ "a/b.MKV", 1, "mkv", 0 },
		{ "a.b/c", 16 * MIB - 1, "", 0 },
		{ "a.b/c", 16 * MIB, "", 1 },
		{ ".hidden", 128 * MIB, "", 2 },
		{ "a/.hidden", GIB, "", 3 },
		{ "x.tar.gz", 8 * GIB - 1, "gz", 3 },
		{ "x.", 8 * GIB, "", 4 },
		{ "shard.00017", GIB, "", 3 },
		{ "backup.20261101", GIB, "", 3 },
		{ "x.mp3", GIB, "mp3", 3 },
		{ "x.abcdefghij", INT64_MAX, "abcdefghij", 4 },
		{ "x.abcdefghijk", 0, "", 0 },
		{ NULL, 0, "", 0 },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct learn_key key;

		learn_key_init(&key, "a-program-with-a-long-name", cases[i].path, cases[i].size);
		g_assert_cmpstr(key.program, ==, "a-program-with-");
		g_assert_cmpstr(key.extension, ==, cases[i].extension);
		g_assert_cmpuint(key.size_class, ==, cases[i].size_class);
	}
}

static void test_groups(void)
{
	static const struct {
		const char *path, *name;
	} cases[] = {
		{ NULL, "" },
		{ "/", "" },
		{ "/system.slice/nginx.service", "nginx.service" },
		{ "/user.slice/user-1000.slice/session-7.scope", "" },
		{ "/docker/0123456789abcdef0123456789abcdef", "*" },
		{ "/system.slice/docker-0123456789abcdef0123456789abcdef.scope", "docker-*.scope" },
		{ "/system.slice/run-r0f3b4a5c6d7e8f90123456789abcdef0.service", "run-*.service" },
		{ "/system.slice/run-u1234.service", "run-*.service" },
		{ "/system.slice/worker@12.service", "worker@12.service" },
		{ "/system.slice/a-feedfacecafebabe.service", "a-feedfacecafebabe.serv" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		char group[LEARN_GROUP];

		learn_group_name(group, cases[i].path);
		g_assert_cmpstr(group, ==, cases[i].name);
	}
}

static void test_sentences(void)
{
	static const struct {
		struct learn_view view;
		const char *program;
		const char *text;
	} cases[] = {
		{ { .shape = SHAPE_SEQUENTIAL, .piece = 256 * KIB, .opens = 31, .alike = 31 },
		  "rsync", "rsync reads 256 KiB sequentially in 31 of 31 opens" },
		{ { .shape = SHAPE_SMALL, .piece = 8 * KIB, .opens = 4, .alike = 3 }, "dd",
		  "dd reads 8 KiB at a time in 3 of 4 opens" },
		{ { .shape = SHAPE_PAGED, .opens = 1, .alike = 1 }, "nginx",
		  "nginx sends or maps pages in 1 of 1 opens" },
		{ { .shape = SHAPE_RANDOM, .piece = 4 * KIB, .opens = 9, .alike = 9,
		    .trial = true }, "a\nb",
		  "a\\x0ab reads 4 KiB here and there in 9 of 9 opens; tried this time" },
		{ { .shape = SHAPE_RANDOM, .piece = 4 * KIB, .opens = 2, .alike = 2,
		    .no_room = true }, "train",
		  "train reads 4 KiB here and there in 2 of 2 opens, and memory has no room for "
		  "it" },
		{ { .shape = SHAPE_PAGED, .opens = 3, .alike = 3, .borrowed = true,
		    .size_class = 1 }, "httpd",
		  "httpd sends or maps pages in 3 of 3 opens of files of 16 MiB to 128 MiB" },
		{ { .shape = SHAPE_SEQUENTIAL, .piece = MIB, .opens = 5, .alike = 5,
		    .measured = true, .rate = 2048.0 * MIB, .other_rate = 1024.0 * MIB,
		    .lane = LANE_STREAM, .other = LANE_DIRECT, .trial = true }, "cp",
		  "cp reads 1 MiB sequentially in 5 of 5 opens, 2 GiB/s in direct, "
		  "1 GiB/s in stream; tried this time" },
		{ { .shape = SHAPE_UNKNOWN }, NULL, "it is not known with such files" },
		{ { .shape = SHAPE_SEQUENTIAL, .piece = MIB, .opens = 5, .alike = 5,
		    .measured = true, .rate = 2048.0 * MIB, .other_rate = 1024.0 * MIB,
		    .lane = LANE_DIRECT, .other = LANE_STREAM }, "cp",
		  "cp reads 1 MiB sequentially in 5 of 5 opens, 2 GiB/s in direct, "
		  "1 GiB/s in stream" },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GString) text = g_string_new(NULL);

		learn_say(&cases[i].view, cases[i].program, text);
		g_assert_cmpstr(text->str, ==, cases[i].text);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/learn-text/keys", test_keys);
	g_test_add_func("/learn-text/groups", test_groups);
	g_test_add_func("/learn-text/sentences", test_sentences);
	return g_test_run();
}
