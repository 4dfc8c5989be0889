/* SPDX-License-Identifier: MIT */
#include "passthrough.h"
#include "caps.h"
#include "fs.h"

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
	struct fuse_backing_map map = { .fd = fd };
	int id;

	caps_drop_fsetid();
	id = ioctl(fuse_session_fd(fs->se), FUSE_DEV_IOC_BACKING_OPEN, &map);
	if (id <= 0)
		id = id ? -errno : -EIO;
	else
		atomic_add(fs->backing_ids, 1);
	caps_restore_fsetid();
	return id;
}

void passthrough_unregister(struct lanefs *fs, int backing_id)
{
	uint32_t id = (uint32_t)backing_id;

	/* Fails only when the connection, and every id with it, is gone. */
	if (!atomic_read(fs->stopping))
		ioctl(fuse_session_fd(fs->se), FUSE_DEV_IOC_BACKING_CLOSE, &id);
	atomic_sub(fs->backing_ids, 1);
}
