/* SPDX-License-Identifier: MIT */
#include "lanectl-mounts.h"

#include <stdio.h>
#include <string.h>

void mount_free(struct mount *mount)
{
	if (!mount)
		return;
	g_free(mount->root);
	g_free(mount->point);
	g_free(mount->options);
	g_free(mount->type);
	g_free(mount->source);
	g_free(mount->super_options);
	g_free(mount);
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* The kernel writes space, tab, newline, backslash and '#' as \ooo (mangle_path()). */
static char *unmangle(const char *field)
{
	GString *out = g_string_sized_new(strlen(field));

	while (*field) {
		if (field[0] == '\\' && field[1] >= '0' && field[1] <= '3' && is_octal(field[2]) &&
		    is_octal(field[3])) {
			g_string_append_c(out, (char)((field[1] - '0') << 6 |
						      (field[2] - '0') << 3 |
						      (field[3] - '0')));
			field += 4;
		} else {
			g_string_append_c(out, *field++);
		}
	}
	return g_string_free(out, FALSE);
}

bool mount_is_lanefs(const struct mount *mount)
{
	return !strcmp(mount->type, MOUNT_TYPE_LANEFS);
}

/* lanefs mounts its root under this name, where it can. */
#define ROOT_NAME "/.lanefs-root"

static void strip_root_name(char *root)
{
	size_t length = strlen(ROOT_NAME);

	if (strncmp(root, ROOT_NAME, length))
		return;
	if (root[length] == '/')
		memmove(root, root + length, strlen(root + length) + 1);
	else if (!root[length])
		root[1] = '\0';
}

/*
 * 36 35 98:0 /root /point rw,noatime shared:1 master:2 - type source rw,errors=continue
 * with any number of optional fields before the "-" (proc(5)).
 */
struct mount *mount_parse(const char *line)
{
	g_auto(GStrv) field = g_strsplit(line, " ", -1);
	guint count = g_strv_length(field);
	struct mount *mount;
	int id, parent;
	unsigned int major, minor;
	guint dash = 6;

	if (count < 10)
		return NULL;
	while (dash < count && strcmp(field[dash], "-"))
		dash++;
	if (dash + 3 >= count)
		return NULL;
	if (sscanf(field[0], "%d", &id) != 1 || sscanf(field[1], "%d", &parent) != 1 ||
	    sscanf(field[2], "%u:%u", &major, &minor) != 2)
		return NULL;

	mount = g_new0(struct mount, 1);
	mount->id = id;
	mount->parent = parent;
	mount->major = major;
	mount->minor = minor;
	mount->root = unmangle(field[3]);
	mount->point = unmangle(field[4]);
	mount->options = unmangle(field[5]);
	mount->type = unmangle(field[dash + 1]);
	mount->source = unmangle(field[dash + 2]);
	mount->super_options = unmangle(field[dash + 3]);
	if (mount_is_lanefs(mount))
		strip_root_name(mount->root);
	return mount;
}

GPtrArray *mounts_load(const char *mountinfo, GError **error)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	GPtrArray *mounts;

	if (!g_file_get_contents(mountinfo, &text, NULL, error))
		return NULL;
	mounts = g_ptr_array_new_with_free_func((GDestroyNotify)mount_free);
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		struct mount *mount = mount_parse(*line);

		if (mount)
			g_ptr_array_add(mounts, mount);
	}
	return mounts;
}

const struct mount *mounts_by_id(const GPtrArray *mounts, int id)
{
	for (guint i = 0; i < mounts->len; i++) {
		const struct mount *mount = g_ptr_array_index(mounts, i);

		if (mount->id == id)
			return mount;
	}
	return NULL;
}

const struct mount *mounts_cover_of(const GPtrArray *mounts, const struct mount *mount)
{
	for (guint i = 0; i < mounts->len; i++) {
		const struct mount *other = g_ptr_array_index(mounts, i);

		/* The root of a mount namespace can be its own parent. */
		if (other != mount && other->parent == mount->id &&
		    !strcmp(other->point, mount->point))
			return other;
	}
	return NULL;
}

bool mount_allows_others(const struct mount *mount)
{
	g_auto(GStrv) options = g_strsplit(mount->super_options, ",", -1);

	return g_strv_contains((const char *const *)options, "allow_other");
}

bool mount_is_of_same(const struct mount *mount, const struct mount *other)
{
	return mount->major == other->major && mount->minor == other->minor;
}
