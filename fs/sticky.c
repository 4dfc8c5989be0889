/* SPDX-License-Identifier: MIT */
#include "sticky.h"
#include "backing.h"

#include <string.h>
#include <sys/stat.h>

bool sticky_is_unchecked(struct lanefs *fs, fuse_req_t req, struct inode *parent, int dir_fd, const char *name)
{
	const uid_t uid = fuse_req_ctx(req)->uid;
	struct inode *inode, *known_parent = NULL;
	g_autofree char *known = NULL;
	struct stat dir, attr;
	struct backing_key key;
	bool same = false;

	if (!uid || fstat(dir_fd, &dir) || !(dir.st_mode & S_ISVTX) || dir.st_uid == uid ||
	    backing_stat(dir_fd, name, &attr) || attr.st_uid == uid ||
	    backing_stat_entry(&fs->inodes.backing, dir_fd, name, &attr, &key))
		return false;
	inode = inodes_find(&fs->inodes, &key);
	if (!inode)
		return true;
	if (!inode_is_forgotten(&fs->inodes, inode) &&
	    inode_get_name(&fs->inodes, inode, &known_parent, &known))
		same = known_parent == parent && !strcmp(known, name);
	if (known_parent)
		inode_unref(&fs->inodes, known_parent);
	inode_unref(&fs->inodes, inode);
	return !same;
}
