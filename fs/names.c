/* SPDX-License-Identifier: MIT */
#include "names.h"
#include "attr.h"
#include "creds.h"
#include "residency-watch.h"
#include "sticky.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* What open(2) is given on creation; the lane decides about O_DIRECT. */
#define CREATE_FLAGS (O_ACCMODE | O_SYNC | O_DSYNC | O_EXCL | O_TRUNC | O_LARGEFILE)

/* Whether an object was made but not found after, for want of memory, descriptors or a disk that reads. */
static bool is_without_means(int err)
{
	return err == -ENOMEM || err == -EMFILE || err == -ENFILE || err == -EIO;
}

static int make(int dir_fd, const char *name, mode_t mode, dev_t rdev, const char *target)
{
	int result;

	if (S_ISDIR(mode))
		result = mkdirat(dir_fd, name, mode & ~S_IFMT);
	else if (S_ISLNK(mode))
		result = symlinkat(target, dir_fd, name);
	else
		result = mknodat(dir_fd, name, mode, rdev);
	return result ? -errno : 0;
}

/*
 * Set-ID bits a new file of the caller's may have, where the daemon may do what the caller may not:
 * those of the directory's group are for its members (mode_strip_sgid() in fs/inode.c; before Linux 6.0
 * only the backing filesystem asked, of the daemon), and what belongs to the daemon's user gets none.
 */
static mode_t allowed_mode(struct lanefs *fs, fuse_req_t req, int dir_fd, mode_t mode)
{
	const mode_t of_group = S_ISGID | S_IXGRP;
	const uid_t uid = fuse_req_ctx(req)->uid;
	struct stat dir;

	if (S_ISDIR(mode))
		return mode;
	if (!fs->root_daemon && uid != geteuid())
		return mode & ~(mode_t)(S_ISUID | S_ISGID);
	if ((mode & of_group) == of_group && uid && !backing_stat(dir_fd, "", &dir) &&
	    dir.st_mode & S_ISGID && !creds_in_group(req, dir.st_gid))
		mode &= ~(mode_t)S_ISGID;
	return mode;
}

/* Takes back what was made just now as fd, if the name is still its. */
static void unmake(int dir_fd, const char *name, int fd)
{
	struct stat made, now;

	if (!fstat(fd, &made) && !fstatat(dir_fd, name, &now, AT_SYMLINK_NOFOLLOW) &&
	    made.st_dev == now.st_dev && made.st_ino == now.st_ino)
		unlinkat(dir_fd, name, 0);
}

/* As the kernel does it (posix_acl_create()): where the directory has a default ACL, that counts alone. */
static mode_t masked_mode(struct lanefs *fs, fuse_req_t req, int dir_fd, mode_t mode)
{
	char path[BACKING_PROC_PATH_MAX];

	if (S_ISLNK(mode))
		return mode;
	/* A default ACL takes its place, where there are ACLs. */
	if (fs->config->acl &&
	    (creds_have_umask() ||
	     getxattr(backing_proc_path(dir_fd, path), "system.posix_acl_default", NULL, 0) >= 0))
		return mode;
	return mode & ~(fuse_req_ctx(req)->umask & 0777);
}

/* Takes back what has that name now, which may be somebody else's: only if nothing is lost with it. */
static void unmake_empty(int dir_fd, const char *name, mode_t mode)
{
	struct stat attr;

	if (S_ISDIR(mode))
		unlinkat(dir_fd, name, AT_REMOVEDIR);
	else if (!fstatat(dir_fd, name, &attr, AT_SYMLINK_NOFOLLOW) && attr.st_nlink == 1 &&
		 (attr.st_mode & S_IFMT) == (mode & S_IFMT) && (S_ISLNK(mode) || !attr.st_size))
		unlinkat(dir_fd, name, 0);
}

int names_make(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name,
	       mode_t mode, dev_t rdev, const char *target, struct inode **out, struct stat *attr)
{
	int dir_fd = inode_fd_get(&fs->inodes, parent);
	int err;

	if (dir_fd < 0)
		return dir_fd;
	mode = masked_mode(fs, req, dir_fd, allowed_mode(fs, req, dir_fd, mode));
	creds_enter(fs, req);
	err = make(dir_fd, name, mode, rdev, target);
	creds_leave(fs, req);
	if (!err) {
		err = inodes_created(&fs->inodes, parent, name, out, attr);
		/* What fails has made nothing. */
		if (is_without_means(err))
			unmake_empty(dir_fd, name, mode);
	}
	inode_fd_put(&fs->inodes, parent);
	return err;
}

/* linkat of a descriptor needs CAP_DAC_READ_SEARCH; the link in /proc does without. */
static int link_fd(int fd, int dir_fd, const char *name)
{
	char path[BACKING_PROC_PATH_MAX];

	if (!linkat(fd, "", dir_fd, name, AT_EMPTY_PATH))
		return 0;
	if (errno != ENOENT && errno != EPERM)
		return -errno;
	return linkat(AT_FDCWD, backing_proc_path(fd, path), dir_fd, name, AT_SYMLINK_FOLLOW) ?
		-errno : 0;
}

struct expiry {
	struct work work;
	struct lanefs *fs;
	fuse_ino_t dir;
	char *name;
};

/*
 * Expired, a name that is still right stays as it is; invalidated, as before Linux 6.2, a directory
 * that somebody works in would seem to be deleted.
 */
void names_expire(struct lanefs *fs, fuse_ino_t dir, const char *name)
{
	size_t length = strlen(name);

	if (fuse_lowlevel_notify_expire_entry(fs->se, dir, name, length) == -ENOSYS)
		fuse_lowlevel_notify_inval_entry(fs->se, dir, name, length);
}

static void expire_run(struct work *work)
{
	struct expiry *expiry = (struct expiry *)work;

	names_expire(expiry->fs, expiry->dir, expiry->name);
	later_end(expiry->fs);
	g_free(expiry->name);
	g_free(expiry);
}

/*
 * The kernel looks the name up again when it is used next.  By a worker: the kernel takes the directory's
 * lock, which whoever is being answered may hold.  By one: rsync --link-dest links thousands of names of
 * directories that others hold; where one is held for long, the others of the mount expire later.
 */
static void expire_name(struct lanefs *fs, const struct inode *dir, const char *name)
{
	struct expiry *expiry;

	if (!later_begin(fs))
		return;
	expiry = g_new(struct expiry, 1);
	*expiry = (struct expiry){ { expire_run }, fs, inode_nodeid(&fs->inodes, dir), g_strdup(name) };
	if (worker_line_push(fs->expiries, &expiry->work))
		return;
	later_end(fs);
	g_free(expiry->name);
	g_free(expiry);
}

/*
 * linked is what the new name of inode, whose descriptor is fd, was found to be: another inode where
 * names count on their own, or an overlay has copied the file up.  What is replaced from outside in
 * between is -ESTALE.
 */
static int check_linked(struct lanefs *fs, struct inode *inode, int fd, struct inode *linked)
{
	struct backing_key key;
	struct stat attr;
	int err = backing_stat_key(&fs->inodes.backing, fd, "", &attr, &key);

	if (!err && !backing_is_same(&linked->key, &key) &&
	    !backing_is_same(&linked->key, &inode->key))
		err = -ESTALE;
	if (err)
		inodes_forget(&fs->inodes, linked->id, 1);
	else
		attr_forget(fs, inode);
	return err;
}

int names_link(struct lanefs *fs, struct inode *inode, struct inode *parent, const char *name,
	       struct inode **out, struct stat *attr)
{
	g_autofree char *old_name = NULL;
	struct inode *old_parent = NULL;
	int dir_fd, fd, err;

	fd = inode_fd_get(&fs->inodes, inode);
	if (fd < 0)
		return fd;
	dir_fd = inode_fd_get(&fs->inodes, parent);
	if (dir_fd < 0) {
		inode_fd_put(&fs->inodes, inode);
		return dir_fd;
	}
	err = link_fd(fd, dir_fd, name);
	if (err)
		goto out;
	/* From now on OPEN may mean either name. */
	if (inode_get_name(&fs->inodes, inode, &old_parent, &old_name))
		expire_name(fs, old_parent, old_name);
	inode_unref(&fs->inodes, old_parent);
	err = inodes_lookup(&fs->inodes, parent, name, out, attr);
	if (is_without_means(err))
		unmake(dir_fd, name, fd);
	if (!err && *out != inode)
		err = check_linked(fs, inode, fd, *out);
out:
	inode_fd_put(&fs->inodes, parent);
	inode_fd_put(&fs->inodes, inode);
	return err;
}

/*
 * The inode of an entry that is about to go, with a reference and its descriptor held, so that
 * open files still find it after; NULL when the kernel does not know it.
 */
static struct inode *hold_victim(struct lanefs *fs, int dir_fd, const char *name, bool *last)
{
	struct backing_key key;
	struct inode *inode;
	struct stat attr;

	if (backing_stat_entry(&fs->inodes.backing, dir_fd, name, &attr, &key))
		return NULL;
	inode = inodes_find(&fs->inodes, &key);
	if (inode && inode_fd_get(&fs->inodes, inode) < 0) {
		inode_unref(&fs->inodes, inode);
		return NULL;
	}
	*last = S_ISDIR(attr.st_mode) || attr.st_nlink <= 1;
	if (inode)
		inode_move_begin(&fs->inodes, inode);
	return inode;
}

/* gone: the entry name of parent was removed or replaced. */
static void release_victim(struct lanefs *fs, struct inode *inode, struct inode *parent,
			   const char *name, bool gone, bool last)
{
	if (!inode)
		return;
	if (gone)
		inode_lost_name(&fs->inodes, inode, parent->id, name);
	if (gone && last) {
		inode_set_dead(&fs->inodes, inode);
		inode_mode_unlinked(fs, inode);
		residency_unlinked(fs, inode);
	}
	inode_move_end(&fs->inodes, inode);
	inode_fd_put(&fs->inodes, inode);
	inode_unref(&fs->inodes, inode);
}

int names_unlink(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name, int flags)
{
	int dir_fd = inode_fd_get(&fs->inodes, parent);
	struct inode *victim;
	bool last = false;
	int err;

	if (dir_fd < 0)
		return dir_fd;
	if (sticky_is_unchecked(fs, req, parent, dir_fd, name)) {
		inode_fd_put(&fs->inodes, parent);
		return -ESTALE;
	}
	victim = hold_victim(fs, dir_fd, name, &last);
	err = unlinkat(dir_fd, name, flags) ? -errno : 0;
	release_victim(fs, victim, parent, name, !err, last);
	inode_fd_put(&fs->inodes, parent);
	return err;
}

/*
 * The inode of an entry that is about to get another name, with a reference, or NULL.  held: its
 * descriptor, too, since by neither name it is found in between.
 */
static struct inode *hold_moved(struct lanefs *fs, int dir_fd, const char *name, bool *held)
{
	struct backing_key key;
	struct inode *inode;
	struct stat attr;

	if (backing_stat_entry(&fs->inodes.backing, dir_fd, name, &attr, &key))
		return NULL;
	inode = inodes_find(&fs->inodes, &key);
	*held = inode && !inode->handle_bytes && inode_fd_get(&fs->inodes, inode) >= 0;
	if (inode)
		inode_move_begin(&fs->inodes, inode);
	return inode;
}

static void release_moved(struct lanefs *fs, struct inode *inode, bool held)
{
	if (!inode)
		return;
	inode_move_end(&fs->inodes, inode);
	if (held)
		inode_fd_put(&fs->inodes, inode);
	inode_unref(&fs->inodes, inode);
}

/* A whiteout is a character device made by the caller. */
static int rename_as(struct lanefs *fs, fuse_req_t req, int old_fd, const char *old_name,
		     int new_fd, const char *new_name, unsigned int flags)
{
	int err;

	if (flags & RENAME_WHITEOUT)
		creds_enter(fs, req);
	err = renameat2(old_fd, old_name, new_fd, new_name, flags) ? -errno : 0;
	if (flags & RENAME_WHITEOUT)
		creds_leave(fs, req);
	return err;
}

/* Another policy may hold for it where it is now, and so for what is open. */
static void has_moved(struct lanefs *fs, struct inode *inode, struct inode *old_parent, const char *old_name,
		      struct inode *new_parent, const char *new_name)
{
	inode_moved_name(&fs->inodes, inode, old_parent->id, old_name, new_parent->id, new_name);
	if (S_ISREG(inode->type) || S_ISDIR(inode->type))
		residency_reconsider(fs, S_ISREG(inode->type) ? inode : NULL);
}

static int rename_between(struct lanefs *fs, fuse_req_t req, struct inode *old_parent, int old_fd,
			  const char *old_name, struct inode *new_parent, int new_fd,
			  const char *new_name, unsigned int flags)
{
	bool last = false, held = false, exchanged_held = false;
	struct inode *moved = hold_moved(fs, old_fd, old_name, &held);
	struct inode *victim = NULL, *exchanged = NULL;
	int err;

	if (flags & RENAME_EXCHANGE)
		exchanged = hold_moved(fs, new_fd, new_name, &exchanged_held);
	else
		victim = hold_victim(fs, new_fd, new_name, &last);
	err = rename_as(fs, req, old_fd, old_name, new_fd, new_name, flags);
	/* Renaming one hard link onto another of the same file does nothing at all. */
	if (!err && moved && moved != victim) {
		has_moved(fs, moved, old_parent, old_name, new_parent, new_name);
		if (exchanged)
			has_moved(fs, exchanged, new_parent, new_name, old_parent, old_name);
	}
	release_victim(fs, victim, new_parent, new_name, !err && victim != moved, last);
	release_moved(fs, moved, held);
	release_moved(fs, exchanged, exchanged_held);
	return err;
}

int names_rename(struct lanefs *fs, fuse_req_t req, struct inode *old_parent, const char *old_name,
		 struct inode *new_parent, const char *new_name, unsigned int flags)
{
	int old_fd, new_fd, err;

	old_fd = inode_fd_get(&fs->inodes, old_parent);
	if (old_fd < 0)
		return old_fd;
	new_fd = inode_fd_get(&fs->inodes, new_parent);
	if (new_fd < 0) {
		inode_fd_put(&fs->inodes, old_parent);
		return new_fd;
	}
	/* What is replaced, and not exchanged, the kernel has asked about just now (LOOKUP_RENAME_TARGET). */
	if (sticky_is_unchecked(fs, req, old_parent, old_fd, old_name) ||
	    ((flags & RENAME_EXCHANGE) && sticky_is_unchecked(fs, req, new_parent, new_fd, new_name)))
		err = -ESTALE;
	else
		err = rename_between(fs, req, old_parent, old_fd, old_name, new_parent, new_fd, new_name,
				     flags);
	inode_fd_put(&fs->inodes, new_parent);
	inode_fd_put(&fs->inodes, old_parent);
	return err;
}

int names_sync(struct lanefs *fs, struct inode *dir)
{
	int fd, err;

	if (!fs->dirsync)
		return 0;
	fd = inode_open(&fs->inodes, dir, O_RDONLY | O_DIRECTORY);
	/* The daemon may not read every directory that its user may write to. */
	err = (fd < 0 ? syncfs(fs->inodes.backing.root_fd) : fsync(fd)) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return err;
}

int names_readlink(struct lanefs *fs, struct inode *inode, char *target)
{
	int fd = inode_fd_get(&fs->inodes, inode);
	ssize_t length;

	if (fd < 0)
		return fd;
	length = readlinkat(fd, "", target, PATH_MAX);
	inode_fd_put(&fs->inodes, inode);
	if (length < 0)
		return -errno;
	target[length] = '\0';
	return 0;
}

/* In a full process the idle descriptors make room for one that is asked for. */
static int create_once(struct lanefs *fs, fuse_req_t req, int dir_fd, const char *name, int flags,
		       mode_t mode)
{
	int fd;

	mode = masked_mode(fs, req, dir_fd, allowed_mode(fs, req, dir_fd, mode));
	creds_enter(fs, req);
	fd = name ? openat(dir_fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode) :
		    openat(dir_fd, ".", flags | O_TMPFILE | O_CLOEXEC, mode);
	if (fd < 0)
		fd = -errno;
	creds_leave(fs, req);
	/*
	 * Made behind the mount: the kernel looks again, and whether the caller may open it; of what
	 * CREATE has opened it asks nothing (do_open(), FMODE_CREATED).
	 */
	return fd == -EEXIST && !(flags & O_EXCL) ? -ESTALE : fd;
}

int names_create(struct lanefs *fs, fuse_req_t req, struct inode *parent, const char *name,
		 int flags, mode_t mode, struct inode **out, struct stat *attr)
{
	int dir_fd, fd, err;

	dir_fd = inode_fd_get(&fs->inodes, parent);
	if (dir_fd < 0)
		return dir_fd;
	/* Before there is anything that was not to be. */
	err = inodes_ask_for_fd(&fs->inodes, dir_fd);
	if (err) {
		inode_fd_put(&fs->inodes, parent);
		return err;
	}
	/* O_EXCL means something else for an unnamed file, and that is the application's too. */
	flags = (flags & CREATE_FLAGS) | (fs->sync ? O_DSYNC : 0);
	fd = create_once(fs, req, dir_fd, name, flags, mode);
	if (fd == -EMFILE || fd == -ENFILE) {
		inodes_shed(&fs->inodes);
		fd = create_once(fs, req, dir_fd, name, flags, mode);
	}
	err = fd < 0 ? fd : inodes_adopt(&fs->inodes, name ? parent : NULL, name, fd, out, attr);
	if (err && fd >= 0) {
		if (name)
			unmake(dir_fd, name, fd);
		close(fd);
	}
	inode_fd_put(&fs->inodes, parent);
	if (err)
		return err;
	if (!name)
		inode_set_nameless(&fs->inodes, *out);
	return fd;
}

void names_unmake(struct lanefs *fs, struct inode *parent, const char *name, int fd)
{
	int dir_fd = inode_fd_get(&fs->inodes, parent);

	if (dir_fd < 0)
		return;
	unmake(dir_fd, name, fd);
	inode_fd_put(&fs->inodes, parent);
}
