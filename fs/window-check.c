/* SPDX-License-Identifier: MIT */
/* Whether a file is still the one that was read ahead. */
#include "window-set.h"
#include "attr.h"
#include "worker.h"

#include <sys/stat.h>

static void look(struct file *file)
{
	struct window_set *set = file->reader->set;
	int64_t now = g_get_monotonic_time();
	enum file_read how;
	struct stat attr;
	int fd = file_read_fd(file, &how);

	if (fd < 0 || fstat(fd, &attr))
		attr = (struct stat){ 0 };
	g_mutex_lock(&set->lock);
	window_set_check(set, &attr, now);
	set->looking = false;
	g_mutex_unlock(&set->lock);
}

struct look_work {
	struct work work;
	struct file *file; /* a reference */
};

static void look_run(struct work *work)
{
	struct file *file = ((struct look_work *)work)->file;
	struct lanefs *fs = file->fs;

	look(file);
	g_free(work);
	file_unref_later(file);
	later_end(fs);
}

/* By a worker.  False where there is none to be had. */
static bool look_later(struct file *file)
{
	struct look_work *later = g_new0(struct look_work, 1);

	later->work.run = look_run;
	later->file = file_ref(file);
	if (later_push(file->fs, &later->work))
		return true;
	g_free(later);
	file_unref_later(file);
	return false;
}

void window_check(struct file *file, int64_t now)
{
	bool local = file->inode->key.dev == file->fs->inodes.backing.local_dev;
	struct window_set *set = file->reader->set;
	bool due;

	g_mutex_lock(&set->lock);
	due = now - set->checked > WINDOW_CHECK_US && !set->looking;
	/* A worker's look counts once it is done: until then what is known is as old as it was. */
	if (due && local)
		set->checked = now;
	if (due)
		set->looking = !local;
	g_mutex_unlock(&set->lock);
	if (due && (local || !look_later(file)))
		look(file);
}

bool window_set_is_unknown(const struct window_set *set, int64_t now)
{
	return set->blocked || (set->looking && now - set->checked > 2 * WINDOW_CHECK_US);
}
