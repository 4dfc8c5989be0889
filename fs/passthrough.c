/* SPDX-License-Identifier: MIT */
#include "passthrough.h"
#include "creds.h"
#include "fs.h"
#include "mode.h"

#include <errno.h>
#include <sys/ioctl.h>

/* From linux/fuse.h of kernel 6.9; older headers lack them. */
#ifndef FUSE_DEV_IOC_BACKING_OPEN
struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define FUSE_DEV_IOC_BACKING_OPEN _IOW(229, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)
#endif

int passthrough_register(struct lanefs *fs, int fd)
{
	const struct creds_drop nobody = creds_drop_for_anybody(fs, fd);
	struct fuse_backing_map map = { .fd = fd };
	int id;

	creds_drop_enter(&nobody);
	id = ioctl(fuse_session_fd(fs->se), FUSE_DEV_IOC_BACKING_OPEN, &map);
	if (id <= 0)
		id = id ? -errno : -EIO;
	else
		atomic_add(fs->backing_ids, 1);
	creds_drop_leave(&nobody);
	return id;
}

/* Fails only when the connection, and every id with it, is gone. */
static void close_id(struct lanefs *fs, int backing_id)
{
	uint32_t id = (uint32_t)backing_id;

	ioctl(fuse_session_fd(fs->se), FUSE_DEV_IOC_BACKING_CLOSE, &id);
}

void passthrough_unregister(struct lanefs *fs, int backing_id)
{
	if (!atomic_read(fs->backing_ids_ended))
		close_id(fs, backing_id);
	atomic_sub(fs->backing_ids, 1);
}

void passthrough_end(struct lanefs *fs)
{
	g_autoptr(GPtrArray) known = NULL;

	atomic_write(fs->backing_ids_ended, true);
	if (!fs->se || !atomic_read(fs->backing_ids))
		return;
	known = inodes_known(&fs->inodes);
	for (guint i = 0; i < known->len; i++) {
		struct inode_mode *mode = inode_mode_peek(fs, known->pdata[i]);

		if (mode) {
			g_mutex_lock(&mode->lock);
			if (mode->backing_id)
				close_id(fs, mode->backing_id);
			g_mutex_unlock(&mode->lock);
		}
		inode_unref(&fs->inodes, known->pdata[i]);
	}
}
