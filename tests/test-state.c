/* SPDX-License-Identifier: MIT */
/* What may lie where the state file should be, and what may become of writing it. */
#include "fs/state.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
	char *directory, *path;
	struct state *state;
};

static void place_init(struct place *place)
{
	char *reason = NULL;

	place->directory = g_dir_make_tmp("lanefs-state-XXXXXX", NULL);
	g_assert_nonnull(place->directory);
	place->path = g_build_filename(place->directory, "f.state", NULL);
	place->state = state_open(place->path, "/mnt", &reason);
	g_assert_null(reason);
	g_assert_nonnull(place->state);
}

static char *in(const struct place *place, const char *name)
{
	return g_build_filename(place->directory, name, NULL);
}

static void place_finish(struct place *place)
{
	GDir *dir = g_dir_open(place->directory, 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = in(place, name);

		g_assert_cmpint(g_remove(path), ==, 0);
	}
	g_dir_close(dir);
	g_assert_cmpint(g_rmdir(place->directory), ==, 0);
	state_close(place->state);
	g_free(place->path);
	g_free(place->directory);
}

static void check_contents(const char *path, const char *expected)
{
	g_autofree char *text = NULL;

	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	g_assert_cmpstr(text, ==, expected);
}

/* Nothing but the file is left behind. */
static void check_alone(const struct place *place)
{
	g_autofree char *temporary = in(place, "f.state.new");

	g_assert_cmpint(g_access(temporary, F_OK), ==, -1);
}

static void test_kept(void)
{
	g_autofree char *text = NULL;
	struct place place;
	struct stat attr;

	place_init(&place);
	g_assert_null(state_load(place.state));
	state_save(place.state, "one\n");
	state_save(place.state, "two\n");
	text = state_load(place.state);
	g_assert_cmpstr(text, ==, "two\n");
	g_assert_cmpint(g_stat(place.path, &attr), ==, 0);
	g_assert_cmpint(attr.st_mode & 0777, ==, 0600);
	check_alone(&place);
	place_finish(&place);
}

/* A symlink is not followed, not to read and not to write. */
static void test_symlink(void)
{
	struct place place;
	g_autofree char *other = NULL;

	place_init(&place);
	other = in(&place, "other");
	g_assert_true(g_file_set_contents(other, "theirs", -1, NULL));
	g_assert_cmpint(symlink("other", place.path), ==, 0);
	g_assert_null(state_load(place.state));
	state_save(place.state, "ours");
	check_contents(other, "theirs");
	check_contents(place.path, "ours");
	g_assert_false(g_file_test(place.path, G_FILE_TEST_IS_SYMLINK));
	place_finish(&place);
}

/* A FIFO that nobody writes to keeps nobody waiting; it is set aside like any nonsense. */
static void test_fifo(void)
{
	g_autofree char *text = NULL;
	g_autofree char *aside = NULL;
	struct place place;
	struct stat attr;

	place_init(&place);
	g_assert_cmpint(mkfifo(place.path, 0600), ==, 0);
	text = state_load(place.state);
	g_assert_cmpstr(text, ==, "");
	g_test_expect_message("lanefs", G_LOG_LEVEL_WARNING, "*f.state: nonsense; set aside*");
	state_set_aside(place.state, "nonsense");
	g_test_assert_expected_messages();
	aside = in(&place, "f.state.damaged");
	g_assert_cmpint(g_lstat(aside, &attr), ==, 0);
	g_assert_true(S_ISFIFO(attr.st_mode));
	state_save(place.state, "ours");
	check_contents(place.path, "ours");
	place_finish(&place);
}

static void test_directory(void)
{
	struct place place;

	place_init(&place);
	g_assert_cmpint(g_mkdir(place.path, 0700), ==, 0);
	g_assert_null(state_load(place.state));
	/* A file does not take the place of a directory. */
	state_save(place.state, "ours");
	g_assert_true(g_file_test(place.path, G_FILE_TEST_IS_DIR));
	check_alone(&place);
	place_finish(&place);
}

/* However large it is, no more is read than a state can have. */
static void test_oversize(void)
{
	g_autofree char *text = NULL;
	g_autofree char *huge = g_strnfill(64 << 20, 'x');
	struct place place;

	place_init(&place);
	g_assert_true(g_file_set_contents(place.path, huge, -1, NULL));
	text = state_load(place.state);
	g_assert_cmpuint(strlen(text), >, 4 << 20);
	g_assert_cmpuint(strlen(text), <, 5 << 20);
	place_finish(&place);
}

/* A write that fails half way leaves what was there, and nothing else. */
static void test_no_space(void)
{
	g_autofree char *large = g_strnfill(1 << 20, 'x');
	struct rlimit limit, small;
	struct place place;

	place_init(&place);
	state_save(place.state, "before");
	signal(SIGXFSZ, SIG_IGN);
	g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	small = limit;
	small.rlim_cur = 64 << 10;
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &small), ==, 0);
	state_save(place.state, large);
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	check_contents(place.path, "before");
	check_alone(&place);
	state_save(place.state, "after");
	check_contents(place.path, "after");
	place_finish(&place);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/state/kept", test_kept);
	g_test_add_func("/state/symlink", test_symlink);
	g_test_add_func("/state/fifo", test_fifo);
	g_test_add_func("/state/directory", test_directory);
	g_test_add_func("/state/oversize", test_oversize);
	g_test_add_func("/state/no-space", test_no_space);
	return g_test_run();
}
