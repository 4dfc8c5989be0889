/* SPDX-License-Identifier: MIT */
#include "metadata.h"
#include "attr.h"
#include "dir.h"
#include "file.h"
#include "kernel-pages.h"
#include "listing.h"
#include "locks.h"
#include "mount-root.h"
#include "names.h"
#include "observe.h"
#include "open.h"
#include "stale.h"
#include "xattr.h"

#include <errno.h>
#include <linux/limits.h>
#include <string.h>

#define LOOKUP_TRIES 10

static struct lanefs *fs_of(const struct call *call)
{
	return call->deferred.fs;
}

/* NULL, to be answered with ESTALE, for an id that names nothing. */
static struct inode *inode_of(struct call *call, fuse_ino_t ino)
{
	struct inode *inode = inodes_peek(&fs_of(call)->inodes, ino);

	if (!inode)
		call->deferred.result = -ESTALE;
	return inode;
}

static void answer_entry(struct deferred *deferred)
{
	struct call *call = (struct call *)deferred;

	call->lost = fuse_reply_entry(deferred->req, &call->entry);
}

/* The kernel was given no lookup. */
static void undo_entry(struct call *call)
{
	inodes_forget(&fs_of(call)->inodes, call->entry.ino, 1);
}

static void entry_result(struct call *call, int err, struct inode *inode)
{
	call->deferred.result = err;
	if (err)
		return;
	attr_entry(fs_of(call), inode, &call->attr, &call->entry);
	call->deferred.answer = answer_entry;
	call->undo = undo_entry;
}

/* What cannot be brought to the disk is an error, as natively; the change is made all the same. */
static void sync_names(struct call *call, struct inode *parent)
{
	int err = call->deferred.result ? 0 : names_sync(fs_of(call), parent);

	if (!err)
		return;
	if (call->undo)
		call->undo(call);
	call->undo = NULL;
	call->deferred.result = err;
}

static void answer_attr(struct deferred *deferred)
{
	struct call *call = (struct call *)deferred;

	fuse_reply_attr(deferred->req, &call->attr, call->timeout);
}

static void attr_result(struct call *call, int err, struct inode *inode)
{
	struct stat *attr = &call->attr;

	call->deferred.result = err;
	if (err)
		return;
	attr->st_ino = backing_ino(&fs_of(call)->inodes.backing, attr->st_dev, attr->st_ino);
	call->timeout = attr_timeout(fs_of(call), inode, attr);
	call->deferred.answer = answer_attr;
}

/* See mount-root.h. */
static bool is_root_again(const struct call *call)
{
	pid_t mounter = atomic_read(fs_of(call)->root_mounter);

	return mounter && call->ino == FUSE_ROOT_ID &&
	       fuse_req_ctx(call->deferred.req)->pid == mounter &&
	       !strcmp(call->name, MOUNT_ROOT_NAME);
}

/*
 * What is looked up after an ESTALE will be opened even if the name is replaced again (stale.h), and so needs a
 * descriptor now.  When it is gone before it has one, the name is looked up again.  err: of the look-up so far.
 */
static int find_to_open(struct lanefs *fs, struct inode *parent, const char *name, pid_t pid, int err,
			struct inode **inode, struct stat *attr)
{
	for (int tries = 0; !err && S_ISREG((*inode)->type) && tries < LOOKUP_TRIES; tries++) {
		if (inode_fd_get(&fs->inodes, *inode) >= 0) {
			inode_fd_put(&fs->inodes, *inode);
			break;
		}
		inodes_forget(&fs->inodes, (*inode)->id, 1);
		err = inodes_lookup(&fs->inodes, parent, name, inode, attr);
	}
	/* It may be looked up once more: the kernel first asks about what it knows. */
	if (!err)
		stale_finds(fs->stale, pid, (*inode)->id);
	return err;
}

void metadata_lookup(struct call *call)
{
	struct lanefs *fs = fs_of(call);
	/* By file handle, also of what the kernel has forgotten. */
	struct inode *inode, *parent = inodes_get(&fs->inodes, call->ino);
	pid_t pid = fuse_req_ctx(call->deferred.req)->pid;
	const char *name;
	bool again;
	int err;

	if (!parent) {
		call->deferred.result = -ESTALE;
		return;
	}
	again = is_root_again(call);
	name = again ? "." : call->name;
	err = inodes_lookup(&fs->inodes, parent, name, &inode, &call->attr);
	if (stale_looks_up(fs->stale, pid, name))
		err = find_to_open(fs, parent, name, pid, err, &inode, &call->attr);
	listing_looked_up(fs->listings, parent->id);
	inode_unref(&fs->inodes, parent);
	entry_result(call, err, inode);
	if (err || inode != fs->inodes.root || !dir_is_dot(name))
		return;
	/* As any other entry, where SOURCE is mounted below itself, the kernel refuses FUSE_ROOT_ID with EIO. */
	if (again)
		lanefs_root_found(fs);
	call->entry.ino = inode_nodeid(&fs->inodes, inode);
}

void metadata_getattr(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (!inode)
		return;
	open_asked(inode);
	attr_result(call, attr_get(fs_of(call), inode, &call->attr), inode);
}

static void answer_statx(struct deferred *deferred)
{
	struct call *call = (struct call *)deferred;

	fuse_reply_statx(deferred->req, 0, &call->statx, call->timeout);
}

void metadata_statx(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);
	struct statx *stx = &call->statx;
	struct stat attr;

	if (!inode)
		return;
	call->deferred.result = attr_statx(fs_of(call), inode, call->mask, call->flags, stx);
	if (call->deferred.result)
		return;
	backing_stat_from_statx(stx, &attr);
	stx->stx_ino = backing_ino(&fs_of(call)->inodes.backing, attr.st_dev, stx->stx_ino);
	call->timeout = attr_timeout(fs_of(call), inode, &attr);
	call->deferred.answer = answer_statx;
}

static void note_stale(struct call *call, struct inode *inode)
{
	struct lanefs *fs = fs_of(call);
	g_autofree char *name = NULL;
	struct inode *parent;

	if (inode && inode_get_name(&fs->inodes, inode, &parent, &name))
		inode_unref(&fs->inodes, parent);
	stale_told(fs->stale, fuse_req_ctx(call->deferred.req)->pid, call->ino, name);
}

void metadata_setattr(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);
	struct file *file = call->has_file ? file_get(fs_of(call), call->file.fh) : NULL;
	const struct stat asked = call->attr;

	int err;

	if (!inode)
		return;
	err = attr_set(fs_of(call), call->deferred.req, inode, file, &asked, call->flags, &call->attr);
	attr_result(call, err, inode);
	if (err == -ESTALE && !file)
		note_stale(call, inode);
}

static void answer_readlink(struct deferred *deferred)
{
	fuse_reply_readlink(deferred->req, ((struct call *)deferred)->value);
}

void metadata_readlink(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (!inode)
		return;
	call->value = g_malloc(PATH_MAX + 1);
	call->deferred.result = names_readlink(fs_of(call), inode, call->value);
	call->deferred.answer = answer_readlink;
}

void metadata_make(struct call *call)
{
	struct inode *inode = NULL, *parent = inode_of(call, call->ino);
	int err;

	if (!parent)
		return;
	err = names_make(fs_of(call), call->deferred.req, parent, call->name, call->mode,
			 call->rdev, call->other_name, &inode, &call->attr);
	entry_result(call, err, inode);
	sync_names(call, parent);
}

void metadata_link(struct call *call)
{
	struct inode *inode = inode_of(call, call->other_ino);
	struct inode *parent = inode ? inode_of(call, call->ino) : NULL;
	struct inode *linked = NULL;
	int err;

	if (!parent)
		return;
	err = names_link(fs_of(call), inode, parent, call->name, &linked, &call->attr);
	entry_result(call, err, linked);
	sync_names(call, parent);
}

void metadata_unlink(struct call *call)
{
	struct inode *parent = inode_of(call, call->ino);

	if (!parent)
		return;
	call->deferred.result = names_unlink(fs_of(call), call->deferred.req, parent, call->name, call->flags);
	sync_names(call, parent);
}

void metadata_rename(struct call *call)
{
	struct inode *old_parent = inode_of(call, call->ino);
	struct inode *new_parent = old_parent ? inode_of(call, call->other_ino) : NULL;

	if (!new_parent)
		return;
	call->deferred.result = names_rename(fs_of(call), call->deferred.req, old_parent,
					     call->name, new_parent, call->other_name,
					     (unsigned int)call->flags);
	sync_names(call, old_parent);
	if (new_parent != old_parent)
		sync_names(call, new_parent);
}

static void answer_open(struct deferred *deferred)
{
	struct call *call = (struct call *)deferred;

	call->lost = fuse_reply_open(deferred->req, &call->file);
}

static void undo_open(struct call *call)
{
	open_undo(call->opened);
}

static void tell_size(struct call *call)
{
	kernel_pages_tell_size(fs_of(call), call->opened->inode, call->attr.st_size);
}

static void open_known(struct call *call, struct inode *inode)
{
	call->deferred.result = open_inode(fs_of(call), call->deferred.req, inode, &call->file,
					   &call->opened, &call->attr);
	call->deferred.answer = answer_open;
	call->undo = undo_open;
	if (!call->deferred.result && kernel_pages_send(call->file.flags, &call->file) &&
	    kernel_pages_may_lack_size(fs_of(call), inode, &call->attr))
		call->then = tell_size;
}

void metadata_open(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (inode)
		open_known(call, inode);
	if (call->deferred.result == -ESTALE)
		note_stale(call, inode);
}

static void answer_create(struct deferred *deferred)
{
	struct call *call = (struct call *)deferred;

	call->lost = fuse_reply_create(deferred->req, &call->entry, &call->file);
}

static void undo_create(struct call *call)
{
	undo_open(call);
	undo_entry(call);
}

void metadata_create(struct call *call)
{
	struct inode *parent = inode_of(call, call->ino);

	if (!parent)
		return;
	call->deferred.result = open_create(fs_of(call), call->deferred.req, parent, call->name,
					    call->mode, &call->file, &call->entry, &call->opened);
	call->deferred.answer = answer_create;
	call->undo = undo_create;
	sync_names(call, parent);
}

void metadata_flush(struct call *call)
{
	struct file *file = file_get(fs_of(call), call->file.fh);

	observe_flush(file);
	locks_drop_owner(file, call->file.lock_owner);
	locks_closing(file);
	call->deferred.result = file_flush(file);
}

void metadata_release(struct call *call)
{
	struct file *file = file_get(fs_of(call), call->file.fh);

	locks_closed(file);
	observe_release(file);
	open_undo(file);
}

static void undo_opendir(struct call *call)
{
	dir_release(fs_of(call), call->file.fh);
}

void metadata_opendir(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (!inode)
		return;
	call->deferred.result = dir_open(fs_of(call), inode, &call->file);
	call->deferred.answer = answer_open;
	call->undo = undo_opendir;
}

static void answer_value(struct deferred *deferred)
{
	struct call *call = (struct call *)deferred;

	fuse_reply_buf(deferred->req, call->value, (size_t)deferred->result);
}

void metadata_readdir(struct call *call)
{
	call->value = g_try_malloc(call->size);
	if (call->value)
		call->deferred.result = dir_read(fs_of(call), call->deferred.req, call->file.fh,
						 call->value, call->size, call->offset,
						 call->plus, call->brief);
	else
		call->deferred.result = -ENOMEM;
	call->deferred.answer = answer_value;
}

static void answer_statfs(struct deferred *deferred)
{
	const struct statvfs *result = (struct statvfs *)((struct call *)deferred)->value;

	fuse_reply_statfs(deferred->req, result);
}

void metadata_statfs(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);
	struct statvfs *result;

	if (!inode)
		return;
	result = g_new(struct statvfs, 1);
	call->value = (char *)result;
	call->deferred.result = attr_statfs(fs_of(call), inode, result);
	call->deferred.answer = answer_statfs;
}

void metadata_setxattr(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (inode)
		call->deferred.result = xattr_set(fs_of(call), call->deferred.req, inode,
						  call->name, call->data, call->size, call->flags);
}

/* The protocol's answer to GETXATTR and LISTXATTR: the size alone to who gives none. */
static void answer_xattr(struct deferred *deferred)
{
	const struct call *call = (struct call *)deferred;

	if (!call->size)
		fuse_reply_xattr(deferred->req, (size_t)deferred->result);
	else if ((size_t)deferred->result > call->size)
		fuse_reply_err(deferred->req, ERANGE);
	else
		answer_value(deferred);
}

void metadata_getxattr(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (!inode)
		return;
	call->deferred.result = xattr_get(fs_of(call), call->deferred.req, inode, call->name,
					  call->size, &call->value);
	call->deferred.answer = answer_xattr;
}

void metadata_listxattr(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (!inode)
		return;
	call->deferred.result = xattr_list(fs_of(call), call->deferred.req, inode, &call->value);
	call->deferred.answer = answer_xattr;
}

void metadata_removexattr(struct call *call)
{
	struct inode *inode = inode_of(call, call->ino);

	if (inode)
		call->deferred.result = xattr_remove(fs_of(call), call->deferred.req, inode,
						     call->name);
}
