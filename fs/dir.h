/* SPDX-License-Identifier: MIT */
/*
 * Open directories.  Entries are read from the backing directory by getdents64 and
 * its own positions are handed on as offsets, so that seekdir and a directory that
 * changes behave as there.
 *
 * Any thread; the kernel may send several READDIRs of one handle at once.
 */
#pragma once

#include "fs.h"

struct dir;

/*
 * OPENDIR: 0, or -errno.  fi: flags as for open(2), of which O_NOATIME counts; sets fh, the handle's id, and
 * what the kernel does with its own listing.
 */
int dir_open(struct lanefs *fs, struct inode *inode, struct fuse_file_info *fi);
void dir_release(struct lanefs *fs, uint64_t id);

/* A directory the kernel had open when the session ended. */
void dir_free(void *dir);

/*
 * READDIR and READDIRPLUS: the bytes filled of size, 0 at the end, or -errno.  brief: it may be a part when
 * looking entries up takes long.
 */
ssize_t dir_read(struct lanefs *fs, fuse_req_t req, uint64_t id, char *out, size_t size,
		 off_t offset, bool plus, bool brief);

/* "." or ".." */
bool dir_is_dot(const char *name);

/* Its descriptor, valid until RELEASEDIR. */
int dir_fd(struct lanefs *fs, uint64_t id);
