/* SPDX-License-Identifier: MIT */
/*
 * What libfuse takes is the table in its lib/mount.c; what is not in it would
 * only fail there, later and without saying why.
 */
#include "policy/mount-options.h"

#include <string.h>

static const struct mount_option options[] = {
	{ "ro", "rw", NULL },
	{ "rw", "ro", NULL },
	{ "suid", "nosuid", NULL },
	{ "nosuid", "suid", NULL },
	{ "dev", "nodev", NULL },
	{ "nodev", "dev", NULL },
	{ "exec", "noexec", NULL },
	{ "noexec", "exec", NULL },
	{ "async", "sync", NULL },
	{ "sync", "async", NULL },
	{ "dirsync", NULL, NULL },
	{ "noatime", NULL, NULL },
	{ "nodiratime", NULL, NULL },
	{ "symfollow", "nosymfollow", NULL },
	{ "nosymfollow", "symfollow", NULL },
	{ "allow_other", NULL, NULL },
	{ "default_permissions", NULL, NULL },
	{ "auto_unmount", NULL, NULL },
	{ "fsname", NULL, "the name to show as the mount's source" },
	{ "context", NULL, "an SELinux context" },
	{ "fscontext", NULL, "an SELinux context" },
	{ "defcontext", NULL, "an SELinux context" },
	{ "rootcontext", NULL, "an SELinux context" },
};

/* Those of the last line say what is the case anyway. */
static const char *const dropped[] = {
	"defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner",
	"group", "nogroup", "nofail", "_netdev", "comment",
	"atime", "relatime", "diratime", "nostrictatime", "nolazytime",
};

#define ATIME_REFUSAL \
	"access times are kept by the filesystem of SOURCE: give this option to its mount"

static const struct {
	const char *name;
	const char *refusal;
} refused[] = {
	{ "strictatime", ATIME_REFUSAL },
	{ "norelatime", ATIME_REFUSAL },
	{ "lazytime", ATIME_REFUSAL },
	{ "subtype", "the subtype is always lanefs" },
	{ "max_read", "the size of a read is negotiated with the kernel" },
	{ "blkdev", "SOURCE is a directory, not a block device" },
	{ "blksize", "SOURCE is a directory, not a block device" },
	{ "remount", "unmount, then mount again with the new options; or, for ro and rw, "
		     "mount -i -o remount,nosuid,nodev with it" },
	{ "direct_io", "use lane=direct" },
	{ "kernel_cache", "use lane=cached" },
	{ "auto_cache", "use lane=cached" },
	{ "attr_timeout", "use attr-timeout=" },
	{ "entry_timeout", "use attr-timeout=" },
};

const struct mount_option *mount_option_find(const char *name)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(options); i++) {
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	}
	return NULL;
}

bool mount_option_is_dropped(const char *name)
{
	if (g_str_has_prefix(name, "x-") || g_str_has_prefix(name, "X-"))
		return true;
	for (unsigned int i = 0; i < G_N_ELEMENTS(dropped); i++) {
		if (strcmp(dropped[i], name) == 0)
			return true;
	}
	return false;
}

const char *mount_option_refusal(const char *name)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(refused); i++) {
		if (strcmp(refused[i].name, name) == 0)
			return refused[i].refusal;
	}
	return NULL;
}

void mount_option_remove(GPtrArray *list, const char *name)
{
	size_t len = strlen(name);

	for (unsigned int i = list->len; i-- > 0;) {
		const char *given = g_ptr_array_index(list, i);

		if (strncmp(given, name, len) == 0 && (given[len] == '\0' || given[len] == '='))
			g_ptr_array_remove_index(list, i);
	}
}

void mount_option_add(GPtrArray *list, const struct mount_option *option, const char *value)
{
	mount_option_remove(list, option->name);
	if (option->reverses)
		mount_option_remove(list, option->reverses);
	g_ptr_array_add(list, value ? g_strdup_printf("%s=%s", option->name, value) :
				      g_strdup(option->name));
}

void mount_option_names(GString *out)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(options); i++)
		g_string_append_printf(out, "%s%s%s", i ? ", " : "", options[i].name,
				       options[i].values ? "=" : "");
}
