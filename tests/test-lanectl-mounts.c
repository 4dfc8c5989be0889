/* SPDX-License-Identifier: MIT */
/* The mount table as lanectl reads it, and text as its tables show it. */
#include "tools/lanectl-mounts.h"
#include "tools/lanectl-text.h"

#include <glib/gstdio.h>
#include <locale.h>

static void test_line(void)
{
	struct mount *mount = mount_parse("42 27 0:39 / /srv/media rw,nosuid,nodev,relatime "
					  "shared:1 master:2 - fuse.lanefs /disk/media "
					  "rw,user_id=0,group_id=0,default_permissions,allow_other");

	g_assert_nonnull(mount);
	g_assert_cmpint(mount->id, ==, 42);
	g_assert_cmpint(mount->parent, ==, 27);
	g_assert_cmpuint(mount->major, ==, 0);
	g_assert_cmpuint(mount->minor, ==, 39);
	g_assert_cmpstr(mount->root, ==, "/");
	g_assert_cmpstr(mount->point, ==, "/srv/media");
	g_assert_cmpstr(mount->options, ==, "rw,nosuid,nodev,relatime");
	g_assert_cmpstr(mount->type, ==, "fuse.lanefs");
	g_assert_cmpstr(mount->source, ==, "/disk/media");
	g_assert_cmpstr(mount->super_options, ==,
			"rw,user_id=0,group_id=0,default_permissions,allow_other");
	g_assert_true(mount_is_lanefs(mount));
	g_assert_true(mount_allows_others(mount));
	mount_free(mount);
}

static void test_private(void)
{
	struct mount *mount = mount_parse("42 27 0:39 / /m rw - fuse.lanefs /s "
					  "rw,user_id=1000,group_id=1000,allow_others,xallow_other");
	struct mount *bind = mount_parse("43 27 0:39 /d /n rw - fuse.lanefs /s rw");
	struct mount *other = mount_parse("44 27 8:39 / /o rw - fuse.lanefs /s rw,allow_other");

	g_assert_false(mount_allows_others(mount));
	g_assert_true(mount_allows_others(other));
	g_assert_true(mount_is_of_same(mount, bind));
	g_assert_false(mount_is_of_same(mount, other));
	mount_free(mount);
	mount_free(bind);
	mount_free(other);
}

/* The name under which lanefs mounts its root is no directory of the filesystem. */
static void test_root_name(void)
{
	static const char *const cases[][3] = {
		{ "fuse.lanefs", "/.lanefs-root", "/" },
		{ "fuse.lanefs", "/.lanefs-root/d", "/d" },
		{ "fuse.lanefs", "/.lanefs-rooted", "/.lanefs-rooted" },
		{ "fuse.lanefs", "/d/.lanefs-root", "/d/.lanefs-root" },
		{ "ext4", "/.lanefs-root", "/.lanefs-root" },
	};

	for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *line = g_strdup_printf("42 27 0:39 %s /m rw - %s /s rw", cases[i][1],
							cases[i][0]);
		struct mount *mount = mount_parse(line);

		g_assert_cmpstr(mount->root, ==, cases[i][2]);
		mount_free(mount);
	}
}

static void test_optional_fields(void)
{
	static const char *const lines[] = {
		"5 1 8:1 / /a rw - ext4 /dev/sda1 rw",
		"5 1 8:1 / /a rw shared:1 - ext4 /dev/sda1 rw",
		"5 1 8:1 / /a rw shared:1 master:2 propagate_from:3 unbindable - ext4 /dev/sda1 rw",
	};

	for (gsize i = 0; i < G_N_ELEMENTS(lines); i++) {
		struct mount *mount = mount_parse(lines[i]);

		g_assert_nonnull(mount);
		g_assert_cmpstr(mount->type, ==, "ext4");
		g_assert_cmpstr(mount->source, ==, "/dev/sda1");
		g_assert_false(mount_is_lanefs(mount));
		mount_free(mount);
	}
}

static void test_escapes(void)
{
	struct mount *mount = mount_parse("5 1 0:9 /a\\040b /m\\011t\\012n\\134040\\043\xff rw - "
					  "fuse.lanefs /s\\040p rw");

	g_assert_nonnull(mount);
	g_assert_cmpstr(mount->root, ==, "/a b");
	g_assert_cmpstr(mount->point, ==, "/m\tt\nn\\040#\xff");
	g_assert_cmpstr(mount->source, ==, "/s p");
	mount_free(mount);
}

/* A source without text leaves an empty field, not one field less. */
static void test_empty_source(void)
{
	struct mount *mount = mount_parse("5 1 0:9 / /m rw - fuse.lanefs  rw");

	g_assert_nonnull(mount);
	g_assert_cmpstr(mount->source, ==, "");
	g_assert_cmpstr(mount->super_options, ==, "rw");
	mount_free(mount);
}

static void test_broken_lines(void)
{
	static const char *const lines[] = {
		"",
		"42",
		"42 27 0:39 / /srv rw shared:1 fuse.lanefs /disk rw",
		"42 27 0:39 / /srv rw shared:1 master:2 - fuse.lanefs /disk",
		"x 27 0:39 / /srv rw - fuse.lanefs /disk rw",
		"42 27 039 / /srv rw - fuse.lanefs /disk rw",
	};

	for (gsize i = 0; i < G_N_ELEMENTS(lines); i++)
		g_assert_null(mount_parse(lines[i]));
}

static GPtrArray *load(const char *text)
{
	g_autofree char *file = NULL;
	g_autoptr(GError) error = NULL;
	GPtrArray *mounts;
	int fd = g_file_open_tmp("mountinfo-XXXXXX", &file, &error);

	g_assert_no_error(error);
	g_close(fd, NULL);
	g_assert_true(g_file_set_contents(file, text, -1, &error));
	mounts = mounts_load(file, &error);
	g_assert_no_error(error);
	g_unlink(file);
	return mounts;
}

/* lanefs over its own source, and a tmpfs over another lanefs: ids as the kernel gives them. */
static void test_stacked(void)
{
	g_autoptr(GPtrArray) mounts =
		load("27 27 8:1 / / rw - ext4 /dev/sda1 rw\n"
		     "40 27 8:2 / /srv/media rw - xfs /dev/sdb1 rw\n"
		     "41 40 0:50 / /srv/media rw - fuse.lanefs /srv/media rw\n"
		     "not a line of a mount table\n"
		     "42 27 0:51 / /b rw - fuse.lanefs /b rw\n"
		     "43 42 0:52 / /b rw - tmpfs none rw\n"
		     "44 41 0:53 / /srv/media/sub rw - tmpfs none rw\n");
	const struct mount *disk, *itself, *hidden;

	g_assert_cmpuint(mounts->len, ==, 6);
	g_assert_null(mounts_by_id(mounts, 99));
	disk = mounts_by_id(mounts, 40);
	itself = mounts_by_id(mounts, 41);
	hidden = mounts_by_id(mounts, 42);
	g_assert_cmpstr(disk->type, ==, "xfs");
	g_assert_true(mounts_cover_of(mounts, disk) == itself);
	g_assert_null(mounts_cover_of(mounts, itself));
	g_assert_true(mounts_cover_of(mounts, hidden) == mounts_by_id(mounts, 43));
	g_assert_null(mounts_cover_of(mounts, mounts_by_id(mounts, 27)));
}

static void test_no_table(void)
{
	g_autoptr(GError) error = NULL;

	g_assert_null(mounts_load("/nonexistent/mountinfo", &error));
	g_assert_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
}

static void test_escape(void)
{
	static const struct {
		const char *bytes, *shown;
	} cases[] = {
		{"plain name.mkv", "plain name.mkv"},
		{"日本語 é", "日本語 é"},
		{"a\nb\tc\rd", "a\\nb\\tc\\rd"},
		{"back\\slash", "back\\\\slash"},
		{"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"},
		{"bad\xff\xc3", "bad\\xff\\xc3"},
		{"c1\xc2\x9b" "0m", "c1\\xc2\\x9b" "0m"},
		{"rtl\xe2\x80\xae" "gpj", "rtl\\xe2\\x80\\xae" "gpj"},
		{"", ""},
	};

	for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *shown = text_escape(cases[i].bytes);

		g_assert_cmpstr(shown, ==, cases[i].shown);
	}
}

static void test_why(void)
{
	g_assert_cmpstr(text_why("direct: 2 GiB >= 24 MiB", "direct"), ==, "2 GiB >= 24 MiB");
	g_assert_cmpstr(text_why("direct: 2 GiB >= 24 MiB", "cached"), ==,
			"direct: 2 GiB >= 24 MiB");
	g_assert_cmpstr(text_why("directory", "direct"), ==, "directory");
	g_assert_cmpstr(text_why("small", NULL), ==, "small");
	g_assert_null(text_why(NULL, "direct"));
}

static void test_table(void)
{
	static const char *const titles[] = {"FILE", ">SIZE", "LANE", NULL};
	static const char *const rows[][3] = {
		{"a\nb", "1 B", "cached"},
		{"日本", "320 MiB", NULL},
		{"e\xcc\x81", "7 B", "x\ty"},
	};
	struct table *table = table_new(titles, false);
	g_autofree char *empty = table_format(table, "  ");
	g_autofree char *text = NULL;

	g_assert_cmpstr(empty, ==, "");
	for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
		table_add(table, rows[i]);
	g_assert_cmpuint(table_rows(table), ==, 3);
	text = table_format(table, "  ");
	g_assert_cmpstr(text, ==,
			"  FILE     SIZE  LANE\n"
			"  a\\nb      1 B  cached\n"
			"  日本  320 MiB  -\n"
			"  e\xcc\x81         7 B  x\\ty\n");
	table_free(table);
}

static void test_table_without_head(void)
{
	static const char *const titles[] = {"a long title", "x", NULL};
	static const char *const row[] = {"k", "v"};
	struct table *table = table_new(titles, true);
	g_autofree char *text = NULL;

	table_add(table, row);
	text = table_format(table, "");
	g_assert_cmpstr(text, ==, "k  v\n");
	table_free(table);
}

static void test_numbers(void)
{
	static const struct {
		gint64 count;
		const char *text;
	} counts[] = {
		{0, "0"},
		{ 999, "999"},
		{ 1000, "1,000"},
		{ 1234567, "1,234,567"},
		{ -1000, "-1,000"},
		{ -100, "-100"},
		{G_MAXINT64, "9,223,372,036,854,775,807"},
	};
	static const struct {
		double seconds;
		const char *text;
	} durations[] = {
		{ -1, "0 s"},		{ 59.9, "59 s"},	  { 60, "1 min 0 s"},
		{ 3599, "59 min 59 s"}, { 7380, "2 h 3 min"}, { 273600, "3 d 4 h"},
	};

	for (gsize i = 0; i < G_N_ELEMENTS(counts); i++) {
		g_autofree char *text = text_count(counts[i].count);

		g_assert_cmpstr(text, ==, counts[i].text);
	}
	for (gsize i = 0; i < G_N_ELEMENTS(durations); i++) {
		g_autofree char *text = text_duration(durations[i].seconds);

		g_assert_cmpstr(text, ==, durations[i].text);
	}
}

int main(int argc, char **argv)
{
	setlocale(LC_ALL, "");
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/mounts/line", test_line);
	g_test_add_func("/mounts/private", test_private);
	g_test_add_func("/mounts/root-name", test_root_name);
	g_test_add_func("/mounts/optional-fields", test_optional_fields);
	g_test_add_func("/mounts/escapes", test_escapes);
	g_test_add_func("/mounts/empty-source", test_empty_source);
	g_test_add_func("/mounts/broken-lines", test_broken_lines);
	g_test_add_func("/mounts/stacked", test_stacked);
	g_test_add_func("/mounts/no-table", test_no_table);
	g_test_add_func("/text/escape", test_escape);
	g_test_add_func("/text/why", test_why);
	g_test_add_func("/text/table", test_table);
	g_test_add_func("/text/table-without-head", test_table_without_head);
	g_test_add_func("/text/numbers", test_numbers);
	return g_test_run();
}
