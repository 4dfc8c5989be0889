/* SPDX-License-Identifier: MIT */
#include "attr.h"
#include "caller.h"
#include "creds.h"
#include "file.h"
#include "residency-watch.h"
#include "stale.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int attr_get(struct lanefs *fs, struct inode *inode, struct stat *attr)
{
	int fd = inode_fd_get(&fs->inodes, inode);
	int err;

	if (fd < 0)
		return fd;
	err = backing_stat(fd, "", attr);
	inode_fd_put(&fs->inodes, inode);
	return err;
}

int attr_statx(struct lanefs *fs, struct inode *inode, unsigned int mask, int flags,
	       struct statx *stx)
{
	int fd = inode_fd_get(&fs->inodes, inode);
	int err;

	if (fd < 0)
		return fd;
	/* The basic ones are what attr_timeout() goes by. */
	err = backing_statx(fd, "", mask | STATX_BASIC_STATS, flags & AT_STATX_SYNC_TYPE, stx);
	inode_fd_put(&fs->inodes, inode);
	return err;
}

int attr_statfs(struct lanefs *fs, struct inode *inode, struct statvfs *result)
{
	int fd = inode_fd_get(&fs->inodes, inode);
	int err;

	if (fd < 0)
		return fd;
	err = fstatvfs(fd, result) ? -errno : 0;
	inode_fd_put(&fs->inodes, inode);
	return err;
}

/*
 * The kernel itself forgets what a write through passthrough changes
 * (fuse_passthrough_end_write), but not that a mapping was written.  A tick of the clock, in seconds,
 * is what timestamps may be late by on any filesystem; databases, which ask for sizes all the time,
 * are several times faster for it.
 */
#define UNSEEN_TIMEOUT 0.004
/*
 * For so long after a change another one may leave the same timestamp: the clock's tick and the 10 ms
 * of exFAT, but for what kernels from 6.13 on do on some filesystems; and on those that have seconds
 * only (ext4 with small inodes), or every other (vfat), where it ends in zeros, that long.
 */
#define TICK_NS 20000000
#define TICK_SECONDS 2

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

uint64_t attr_version_of(const struct stat *attr)
{
	uint64_t hash = mix(1, (uint64_t)attr->st_size);

	hash = mix(hash, (uint64_t)attr->st_mtim.tv_sec);
	hash = mix(hash, (uint64_t)attr->st_mtim.tv_nsec);
	hash = mix(hash, (uint64_t)attr->st_ctim.tv_sec);
	hash = mix(hash, (uint64_t)attr->st_ctim.tv_nsec);
	return hash | 1;
}

static bool is_now(const struct timespec *now, const struct timespec *time)
{
	int64_t seconds = now->tv_sec - time->tv_sec;

	if (!time->tv_nsec)
		return llabs(seconds) <= TICK_SECONDS;
	return llabs(seconds) <= 1 &&
	       llabs(seconds * 1000000000 + now->tv_nsec - time->tv_nsec) < TICK_NS;
}

uint64_t attr_version_settled(const struct stat *attr)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (is_now(&now, &attr->st_ctim) || is_now(&now, &attr->st_mtim))
		return 0;
	return attr_version_of(attr);
}

static void note_told(struct inode *inode, const struct stat *attr)
{
	uint64_t before = atomic_read(inode->told), version = attr_version_of(attr);

	if (before == version)
		return;
	if (before)
		atomic_write(inode->told_since, inode_seconds());
	atomic_write(inode->told_size, (uint64_t)attr->st_size);
	__atomic_store_n(&inode->told, version, __ATOMIC_RELEASE);
}

bool attr_told_lately(struct lanefs *fs, const struct inode *inode)
{
	uint32_t since = atomic_read(inode->told_since);

	return since && inode_seconds() - since < fs->config->attr_timeout + 2;
}

bool attr_is_outrun(struct lanefs *fs, const struct inode *inode, const struct stat *attr)
{
	return __atomic_load_n(&inode->told, __ATOMIC_ACQUIRE) != attr_version_of(attr) ||
	       attr_told_lately(fs, inode);
}

bool attr_size_is_outrun(const struct inode *inode, const struct stat *attr)
{
	return __atomic_load_n(&inode->told, __ATOMIC_ACQUIRE) != attr_version_of(attr) &&
	       atomic_read(inode->told_size) != (uint64_t)attr->st_size;
}

void attr_size_known(struct inode *inode, off_t size)
{
	if ((uint64_t)size > atomic_read(inode->told_size))
		atomic_write(inode->told_size, (uint64_t)size);
}

double attr_timeout(struct lanefs *fs, struct inode *inode, const struct stat *attr)
{
	note_told(inode, attr);
	if (S_ISREG(attr->st_mode) && (attr->st_mode & (S_ISUID | S_ISGID)))
		return 0;
	if (inode_mode_has_unseen_writer(fs, inode))
		return MIN(fs->config->attr_timeout, UNSEEN_TIMEOUT);
	return fs->config->attr_timeout;
}

void attr_entry(struct lanefs *fs, struct inode *inode, const struct stat *attr,
		struct fuse_entry_param *entry)
{
	*entry = (struct fuse_entry_param){
		.ino = inode->id,
		.generation = inode == fs->inodes.root ? 0 : fs->generation,
		.attr = *attr,
		.attr_timeout = attr_timeout(fs, inode, attr),
		.entry_timeout = fs->config->attr_timeout,
	};
	/*
	 * OPEN does not say by which name: of a file with several, whether that is another's now is found out
	 * by looking it up.
	 */
	if (S_ISREG(attr->st_mode) && attr->st_nlink > 1)
		entry->entry_timeout = 0;
	entry->attr.st_ino = backing_ino(&fs->inodes.backing, attr->st_dev, attr->st_ino);
}

void attr_forget(struct lanefs *fs, struct inode *inode)
{
	/* A negative offset leaves the pages alone and so waits for nobody (fuse_reverse_inval_inode). */
	fuse_lowlevel_notify_inval_inode(fs->se, inode_nodeid(&fs->inodes, inode), -1, 0);
}

static int set_mode(int fd, mode_t mode)
{
	char path[BACKING_PROC_PATH_MAX];

	return chmod(backing_proc_path(fd, path), mode) ? -errno : 0;
}

static int set_owner(int fd, const struct stat *attr, int to_set)
{
	uid_t uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) ? -errno : 0;
}

/* As open(2) with O_TRUNC does, which moves the times of an empty file, too. */
static int truncate_to_nothing(struct lanefs *fs, int fd)
{
	int err, write_fd = backing_reopen(&fs->inodes.backing, fd, O_WRONLY);

	if (write_fd < 0)
		return write_fd;
	err = ftruncate(write_fd, 0) ? -errno : 0;
	close(write_fd);
	return err;
}

static int set_size(struct lanefs *fs, int fd, struct file *file, off_t size)
{
	char path[BACKING_PROC_PATH_MAX];

	if (file && file->writable) {
		fd = file_fd(file);
		if (fd < 0)
			return fd;
		return ftruncate(fd, size) ? -errno : 0;
	}
	if (!size)
		return truncate_to_nothing(fs, fd);
	return truncate(backing_proc_path(fd, path), size) ? -errno : 0;
}

static struct timespec time_to_set(const struct timespec *time, int to_set, int bit, int now_bit)
{
	if (to_set & now_bit)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (to_set & bit)
		return *time;
	return (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_times(int fd, const struct stat *attr, int to_set)
{
	const struct timespec times[2] = {
		time_to_set(&attr->st_atim, to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
		time_to_set(&attr->st_mtim, to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
	};

	return utimensat(fd, "", times, AT_EMPTY_PATH) ? -errno : 0;
}

#define SET_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SET_TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | \
		   FUSE_SET_ATTR_MTIME_NOW)
#define SET_ANY (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_SIZE | SET_OWNER | SET_TIMES)
#define SET_KILL (FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID | FUSE_SET_ATTR_KILL_PRIV)

static int set_all(struct lanefs *fs, int fd, struct file *file, const struct stat *attr,
		   int to_set)
{
	int err = 0;

	/* chown(2) with nothing to change: the set-ID bits go and ctime moves. */
	if (!(to_set & SET_ANY))
		return set_owner(fd, attr, 0);
	if (to_set & FUSE_SET_ATTR_MODE)
		err = set_mode(fd, attr->st_mode);
	if (!err && (to_set & SET_OWNER))
		err = set_owner(fd, attr, to_set);
	if (!err && (to_set & FUSE_SET_ATTR_SIZE))
		err = set_size(fs, fd, file, attr->st_size);
	if (!err && (to_set & SET_TIMES))
		err = set_times(fd, attr, to_set);
	return err;
}

/*
 * FUSE_HANDLE_KILLPRIV_V2: for a truncation the kernel says it of a caller without
 * CAP_FSETID, for a change of owner always (fs/fuse/dir.c, fuse_do_setattr).  Then
 * set-user-ID goes whatever the credentials, and set-group-ID without group execute
 * stays for a member of the group, who can only give the file to another group of his.
 */
static bool must_drop_setid(fuse_req_t req, int fd, int to_set)
{
	struct stat attr;

	if (to_set & SET_ANY && !(to_set & SET_KILL))
		return false;
	if (to_set & SET_ANY && !(to_set & SET_OWNER))
		return true;
	return fuse_req_ctx(req)->uid && !backing_stat(fd, "", &attr) &&
	       !creds_in_group(req, attr.st_gid);
}

/*
 * chown(2) with nothing to change, of a file with set-ID bits: the kernel asks nobody whether the caller may
 * clear them, as it leaves that to the filesystem (FUSE_HANDLE_KILLPRIV_V2), where elsewhere it takes the
 * owner (setattr_prepare() in fs/attr.c).  Who writes, which clears them without being the owner, sends the
 * same, with the file open; whether anybody has it so is looked at first, as that is cheap.
 */
static bool may_clear_setid(struct lanefs *fs, fuse_req_t req, struct inode *inode, int fd)
{
	const uid_t uid = fuse_req_ctx(req)->uid;
	struct stat attr;
	bool clears;

	if (!uid || S_ISDIR(inode->type) || backing_stat(fd, "", &attr) || uid == attr.st_uid)
		return true;
	clears = attr.st_mode & S_ISUID ||
		 (attr.st_mode & S_ISGID &&
		  (attr.st_mode & S_IXGRP || !creds_in_group(req, attr.st_gid)));
	return !clears || (inode_mode_is_writable(fs, inode) &&
			   caller_may_write(fuse_req_ctx(req)->pid,
				    backing_ino(&fs->inodes.backing, attr.st_dev, attr.st_ino)));
}

int attr_set(struct lanefs *fs, fuse_req_t req, struct inode *inode, struct file *file,
	     const struct stat *attr, int to_set, struct stat *result)
{
	struct creds_drop drop;
	int fd, err;

	fd = inode_fd_get(&fs->inodes, inode);
	if (fd < 0)
		return fd;
	if (!(to_set & SET_ANY) && !may_clear_setid(fs, req, inode, fd)) {
		inode_fd_put(&fs->inodes, inode);
		return -EPERM;
	}
	drop = creds_drop_for(fs, req, fd, must_drop_setid(req, fd, to_set));
	if (to_set & FUSE_SET_ATTR_SIZE)
		window_changed(fs, inode, attr->st_size, -1);
	creds_drop_enter(&drop);
	err = set_all(fs, fd, file, attr, to_set);
	creds_drop_leave(&drop);
	if (to_set & FUSE_SET_ATTR_SIZE)
		window_changed(fs, inode, attr->st_size, -1);
	if (!err && (to_set & FUSE_SET_ATTR_SIZE))
		residency_truncated(fs, inode, (uint64_t)attr->st_size);
	if (!err)
		err = backing_stat(fd, "", result);
	/* It may have been done, all or in part, and the kernel believes that nothing was. */
	if (err)
		attr_forget(fs, inode);
	/* Deleted or replaced behind the mount: the kernel looks the name up again and repeats, once (stale.h). */
	if (!err && !result->st_nlink && !inode_is_leaving(&fs->inodes, inode) &&
	    !inode_mode_is_open(fs, inode))
		err = stale_was_told(fs->stale, fuse_req_ctx(req)->pid, inode->id) ? 0 : -ESTALE;
	else if (!err)
		stale_settled(fs->stale, fuse_req_ctx(req)->pid, inode->id);
	inode_fd_put(&fs->inodes, inode);
	return err;
}
