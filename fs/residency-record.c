/* SPDX-License-Identifier: MIT */
/* The descriptor that a watched file is looked at with, and what was in memory before it streamed. */
#include "residency-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Where the kernel does not say how far it reads ahead. */
#define READ_AHEAD ((uint64_t)4 << 20)
/* More than this is no different. */
#define READ_AHEAD_MOST ((uint64_t)1 << 30)
/* An administrator may change it. */
#define ASK_AGAIN_US ((int64_t)G_USEC_PER_SEC)

/* So many ranges are looked at at once, and so often. */
#define EXPIRE_MOST 64
#define EXPIRE_US ((int64_t)G_USEC_PER_SEC)

/* From here on mincore(2) keeps others waiting for some ms, see residency_find_mapped(). */
#define SLOW_SIZE ((off_t)128 << 20)

void record_finish(struct watch *watch)
{
	residency_plan_finish(&watch->plan);
	if (watch->fd < 0)
		return;
	close(watch->fd);
	atomic_sub(watch->residency->fds, 1);
}

int record_open(struct watch *watch)
{
	if (watch->fd < 0) {
		int fd = inode_open(&watch->residency->fs->inodes, watch->inode,
				    O_RDONLY | O_NOATIME | O_NONBLOCK);

		if (fd == -EPERM)
			fd = inode_open(&watch->residency->fs->inodes, watch->inode,
					O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			return fd;
		watch->fd = fd;
		atomic_add(watch->residency->fds, 1);
	}
	return watch->fd;
}

/* Of an open file it is kept, where there are few; what the last close left may take long to go. */
void record_close(struct watch *watch, bool closed)
{
	if (watch->fd < 0 || __atomic_load_n(&watch->writing, __ATOMIC_ACQUIRE))
		return;
	if (!closed && atomic_read(watch->residency->fds) <= watch->residency->fds_max)
		return;
	close(watch->fd);
	watch->fd = -1;
	atomic_sub(watch->residency->fds, 1);
}

/* Whether the page cache is where the filesystem has its data. */
static bool is_memory(int fd)
{
	struct statfs stats;

	return !fstatfs(fd, &stats) &&
	       (stats.f_type == TMPFS_MAGIC || stats.f_type == RAMFS_MAGIC);
}

/* What is in the page cache of fd's file now, as ranges: where that is not known, all of it.  NULL: not soon. */
static GArray *find_kept(const struct watch *watch, int fd, uint64_t size, bool soon)
{
	GArray *keep = g_array_new(FALSE, FALSE, sizeof(struct residency_range));
	struct residency_range all = { 0, (size + watch->plan.page - 1) & ~(watch->plan.page - 1) };
	int err;

	if (watch->memory)
		return keep;
	err = watch->cheap ?
		      residency_find(fd, size, MAX(watch->plan.block, RESIDENCY_FOLIO), soon, keep) :
		      residency_find_mapped(fd, size, keep);
	if (!err)
		return keep;
	if (err == -EBUSY) {
		g_array_unref(keep);
		return NULL;
	}
	g_array_set_size(keep, 0);
	if (size)
		g_array_append_val(keep, all);
	return keep;
}

/* That of a device, and when it was asked for. */
struct read_ahead {
	uint64_t bytes;
	int64_t when; /* us */
};

/* As in /sys. */
static char *uuid_text(const uint8_t id[16])
{
	GString *text = g_string_new(NULL);

	for (int i = 0; i < 16; i++)
		g_string_append_printf(text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
				       id[i]);
	return g_string_free(text, FALSE);
}

static bool read_kib(const char *path, uint64_t *bytes)
{
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return false;
	*bytes = MIN(g_ascii_strtoull(text, NULL, 10), READ_AHEAD_MOST >> 10) << 10;
	return true;
}

static uint64_t ask_read_ahead(int fd, dev_t dev)
{
	struct btrfs_ioctl_fs_info_args btrfs = { 0 };
	g_autofree char *path = g_strdup_printf("/sys/class/bdi/%u:%u/read_ahead_kb", major(dev),
						minor(dev));
	/* That of a partition is its disk's. */
	g_autofree char *disk = g_strdup_printf("/sys/dev/block/%u:%u/../queue/read_ahead_kb",
						major(dev), minor(dev));
	uint64_t bytes;

	if (read_kib(path, &bytes) || read_kib(disk, &bytes))
		return bytes;
	/* Its device numbers are of its own making. */
	if (!ioctl(fd, BTRFS_IOC_FS_INFO, &btrfs)) {
		g_autofree char *id = uuid_text(btrfs.fsid);
		g_autofree char *own = g_strdup_printf("/sys/fs/btrfs/%s/bdi/read_ahead_kb", id);

		if (read_kib(own, &bytes))
			return bytes;
	}
	return READ_AHEAD;
}

uint64_t record_read_ahead(struct residency *residency, dev_t dev)
{
	int64_t key = (int64_t)dev;
	struct read_ahead *known;
	uint64_t bytes;

	g_mutex_lock(&residency->lock);
	known = g_hash_table_lookup(residency->read_ahead, &key);
	bytes = known ? known->bytes : 0;
	g_mutex_unlock(&residency->lock);
	return bytes;
}

static void keep_read_ahead(struct residency *residency, dev_t dev, const struct read_ahead *found)
{
	int64_t key = (int64_t)dev;

	g_mutex_lock(&residency->lock);
	g_hash_table_replace(residency->read_ahead, g_memdup2(&key, sizeof(key)),
			     g_memdup2(found, sizeof(*found)));
	g_mutex_unlock(&residency->lock);
}

/* Asks for it unless that was done a moment ago. */
static uint64_t learn_read_ahead(const struct watch *watch, int fd, dev_t dev)
{
	struct residency *residency = watch->residency;
	struct read_ahead found = { .when = g_get_monotonic_time() }, *known;
	int64_t key = (int64_t)dev;
	bool recent;

	g_mutex_lock(&residency->lock);
	known = g_hash_table_lookup(residency->read_ahead, &key);
	recent = known && found.when - known->when < ASK_AGAIN_US;
	if (recent)
		found = *known;
	g_mutex_unlock(&residency->lock);
	if (recent)
		return found.bytes;
	found.bytes = watch->memory ? 0 : MAX(ask_read_ahead(fd, dev), 1);
	keep_read_ahead(residency, dev, &found);
	return found.bytes;
}

void record_ask_source(struct residency *residency)
{
	struct inodes *inodes = &residency->fs->inodes;
	int fd = inode_open(inodes, inodes->root, O_RDONLY | O_DIRECTORY);
	/* Who opens the first file asks again. */
	struct read_ahead found = { .when = g_get_monotonic_time() - ASK_AGAIN_US };
	struct stat attr;

	if (fd < 0)
		return;
	if (!fstat(fd, &attr)) {
		found.bytes = is_memory(fd) ? 0 : MAX(ask_read_ahead(fd, attr.st_dev), 1);
		keep_read_ahead(residency, attr.st_dev, &found);
	}
	close(fd);
}

static void record_init(struct watch *watch, int fd, const struct stat *attr)
{
	uint64_t ahead = learn_read_ahead(watch, fd, attr->st_dev);

	residency_plan_init(&watch->plan, residency_plan_block((uint64_t)attr->st_size, ahead),
			    (uint64_t)sysconf(_SC_PAGESIZE));
	/* The kernel asks for the next read-ahead as soon as the one before is begun to be read. */
	watch->ahead = MAX(2 * ahead, 1);
}

void record_expire(struct watch *watch, int64_t now)
{
	GArray *keep = watch->plan.keep;
	guint most = keep && watch->cheap ? MIN(keep->len, EXPIRE_MOST) : 0;

	if (!most || now - watch->expired < EXPIRE_US)
		return;
	watch->expired = now;
	for (guint i = 0; i < most; i++) {
		guint at = watch->expire_next % keep->len;
		const struct residency_range *range = &g_array_index(keep, struct residency_range, at);
		struct residency_counts counts;

		if (residency_count(watch->fd, range->begin, range->end, &counts))
			return;
		if (counts.pages)
			watch->expire_next++;
		else
			g_array_remove_index(keep, at);
	}
}

void record_take(struct watch *watch, bool soon)
{
	struct stat attr;
	GArray *kept;
	int fd;

	if (atomic_read(watch->recorded))
		return;
	fd = record_open(watch);
	if (fd < 0 || fstat(fd, &attr))
		return;
	watch->cheap = residency_is_cheap_for(fd);
	atomic_write(watch->slow, !watch->cheap && attr.st_size > SLOW_SIZE);
	if (soon && watch->slow) {
		record_close(watch, false);
		return;
	}
	watch_take_cut(watch);
	residency_plan_finish(&watch->plan);
	watch->memory = is_memory(fd);
	record_init(watch, fd, &attr);
	kept = find_kept(watch, fd, (uint64_t)attr.st_size, soon);
	if (!kept) {
		atomic_write(watch->slow, true);
		record_close(watch, false);
		return;
	}
	residency_plan_keep(&watch->plan, kept);
	watch->size = (uint64_t)attr.st_size;
	watch->pages = watch->hot_fetched = watch->over_fetched = 0;
	watch->changed = g_get_monotonic_time();
	watch->record++;
	__atomic_store_n(&watch->recorded, true, __ATOMIC_RELEASE);
	record_close(watch, false);
}
