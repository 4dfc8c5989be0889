/* SPDX-License-Identifier: MIT */
#include "dir.h"
#include "attr.h"
#include "listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bytes of entries that are read at once: as many as are asked for, within these. */
#define BUFFER_LEAST (4 << 10)
#define BUFFER_MOST (32 << 10)

/* How long entries are looked up, in us, on a thread that others wait for. */
#define BRIEF_US 1000

struct dir {
	struct lanefs *fs;    /* fixed */
	struct inode *inode;  /* fixed, a reference */
	int fd;               /* fixed, O_RDONLY; its position: by lock */
	GMutex lock;
	off_t next;           /* where the first entry left in the buffer follows, by lock */
	size_t start, end;    /* of what is left in the buffer, by lock */
	uint64_t version;     /* fixed, as of the open, 0: not settled */
	enum listing_use use; /* fixed */
	bool asked;           /* by lock, the kernel has read it */
	bool begun;           /* by lock, it is read from the first entry on, though some may come twice */
	unsigned int with, without; /* by lock, entries since then, by whether attributes came along */
	char *buffer;         /* by lock, NULL while nothing is left to be read: very many may be open */
	size_t room;          /* by lock, bytes in it */
};

int dir_open(struct lanefs *fs, struct inode *inode, struct fuse_file_info *fi)
{
	const int noatime = fi->flags & O_NOATIME || fs->nodiratime ? O_NOATIME : 0;
	struct stat attr = { 0 };
	struct dir *dir;
	int fd = inode_open_to_keep(&fs->inodes, inode, O_RDONLY | O_DIRECTORY | noatime);

	/* It is for the owner and CAP_FOWNER; where it is refused the atime moves. */
	if (fd == -EPERM && noatime)
		fd = inode_open_to_keep(&fs->inodes, inode, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	dir = g_malloc(sizeof(*dir));
	g_mutex_init(&dir->lock);
	dir->fs = fs;
	dir->inode = inode_ref(&fs->inodes, inode);
	dir->fd = fd;
	dir->next = 0;
	dir->start = dir->end = dir->room = 0;
	dir->buffer = NULL;
	dir->asked = dir->begun = false;
	/* Before it is read: what changes from here on has another version, where the clock is the same. */
	if (backing_is_local(fd) && !backing_stat(fd, "", &attr))
		dir->version = attr_version_settled(&attr);
	else
		dir->version = 0;
	dir->use = listing_opened(fs->listings, inode->id, dir->version, attr.st_size);
	fi->cache_readdir = dir->use != LISTING_PASS;
	fi->keep_cache = dir->use == LISTING_GO_ON || dir->use == LISTING_KEEP;
	fi->fh = table_add(&fs->dirs, dir);
	if (fi->fh)
		return 0;
	dir_free(dir);
	return -ENFILE;
}

void dir_free(void *data)
{
	struct dir *dir = data;

	close(dir->fd);
	inode_unref(&dir->fs->inodes, dir->inode);
	g_mutex_clear(&dir->lock);
	g_free(dir->buffer);
	g_free(dir);
}

void dir_release(struct lanefs *fs, uint64_t id)
{
	struct dir *dir = table_get(&fs->dirs, id);

	if (dir->use == LISTING_KEEP && !dir->asked)
		listing_was_kept(fs->listings);
	table_remove(&fs->dirs, id);
	dir_free(dir);
}

int dir_fd(struct lanefs *fs, uint64_t id)
{
	return ((struct dir *)table_get(&fs->dirs, id))->fd;
}

/* Reads entries into the empty buffer, for a request of size bytes.  0 or -errno.  With dir->lock held. */
static int read_entries(struct dir *dir, size_t size)
{
	size_t room = CLAMP(size, BUFFER_LEAST, BUFFER_MOST);
	long got;
	int err;

	if (dir->room < room) {
		g_free(dir->buffer);
		dir->buffer = g_malloc(room);
		dir->room = room;
	}
	got = syscall(SYS_getdents64, dir->fd, dir->buffer, dir->room);
	err = got < 0 ? -errno : 0;
	dir->start = 0;
	dir->end = got > 0 ? (size_t)got : 0;
	if (!dir->end) {
		g_clear_pointer(&dir->buffer, g_free);
		dir->room = 0;
	}
	return err;
}

/* The next entry, NULL at the end.  0 or -errno.  With dir->lock held. */
static int peek_entry(struct dir *dir, size_t size, struct dirent64 **entry)
{
	int err = dir->start == dir->end ? read_entries(dir, size) : 0;

	*entry = NULL;
	if (err)
		return err;
	if (dir->start < dir->end)
		*entry = (struct dirent64 *)(dir->buffer + dir->start);
	return 0;
}

static void take_entry(struct dir *dir, const struct dirent64 *entry)
{
	dir->start += entry->d_reclen;
	dir->next = entry->d_off;
}

static int seek_to(struct dir *dir, off_t offset)
{
	/* From the beginning the directory is read anew: rewinddir must see what changed. */
	if (offset && offset == dir->next)
		return 0;
	dir->start = dir->end = 0;
	if (!offset) {
		dir->begun = true;
		dir->with = dir->without = 0;
	}
	dir->next = lseek(dir->fd, offset, SEEK_SET);
	return dir->next < 0 ? -errno : 0;
}

bool dir_is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static size_t add_plain(struct lanefs *fs, fuse_req_t req, const struct dir *dir, char *out,
			size_t room, const struct dirent64 *entry)
{
	const struct stat attr = {
		.st_ino = backing_ino(&fs->inodes.backing, dir->inode->key.dev, entry->d_ino),
		.st_mode = (mode_t)entry->d_type << 12,
	};

	return fuse_add_direntry(req, out, room, entry->d_name, &attr, entry->d_off);
}

/* Who only lists it does not wait for what is mounted there, natively. */
static bool may_hang(struct lanefs *fs, const struct dir *dir, const struct dirent64 *entry)
{
	return entry->d_type == DT_DIR &&
	       backing_is_mounted_on(&fs->inodes.backing, dir->fd, entry->d_name);
}

/*
 * An entry that cannot be looked up (it went meanwhile, or its disk is bad) is
 * listed all the same, without attributes: the kernel asks when it needs them.
 */
static size_t add_plus(struct lanefs *fs, fuse_req_t req, struct dir *dir, char *out, size_t room,
		       const struct dirent64 *entry)
{
	struct fuse_entry_param param = {
		.attr.st_ino = backing_ino(&fs->inodes.backing, dir->inode->key.dev, entry->d_ino),
		.attr.st_mode = (mode_t)entry->d_type << 12,
	};
	struct inode *inode = NULL;
	struct stat attr;
	size_t size;

	size = fuse_add_direntry_plus(req, NULL, 0, entry->d_name, &param, entry->d_off);
	if (size > room)
		return size;
	/* The root is not to be found below itself, see metadata_lookup(). */
	if (!dir_is_dot(entry->d_name) && !may_hang(fs, dir, entry) &&
	    !inodes_lookup(&fs->inodes, dir->inode, entry->d_name, &inode, &attr) &&
	    inode != fs->inodes.root)
		attr_entry(fs, inode, &attr, &param);
	return fuse_add_direntry_plus(req, out, room, entry->d_name, &param, entry->d_off);
}

/*
 * With dir->lock held.  The bytes filled, or -errno when not even one entry could be read.  until: when, in
 * us on the monotonic clock, what there is will do.
 */
static ssize_t fill(struct lanefs *fs, fuse_req_t req, struct dir *dir, char *out, size_t size,
		    off_t offset, bool plus, int64_t until)
{
	struct dirent64 *entry;
	size_t used = 0, added;
	int err = seek_to(dir, offset);

	while (!err && !(err = peek_entry(dir, size, &entry)) && entry) {
		added = plus ? add_plus(fs, req, dir, out + used, size - used, entry) :
			       add_plain(fs, req, dir, out + used, size - used, entry);
		if (added > size - used)
			break;
		used += added;
		take_entry(dir, entry);
		*(plus ? &dir->with : &dir->without) += 1;
		if (plus && g_get_monotonic_time() > until)
			break;
	}
	/* At the end, which the kernel meets once more. */
	if (!err && !used && dir->begun) {
		dir->begun = false;
		listing_read(fs->listings, dir->inode->id, dir->version, dir->use, dir->with, dir->without);
	}
	return err && !used ? err : (ssize_t)used;
}

ssize_t dir_read(struct lanefs *fs, fuse_req_t req, uint64_t id, char *out, size_t size,
		 off_t offset, bool plus, bool brief)
{
	struct dir *dir = table_get(&fs->dirs, id);
	int64_t until = brief ? g_get_monotonic_time() + BRIEF_US : G_MAXINT64;
	ssize_t used;

	g_mutex_lock(&dir->lock);
	dir->asked = true;
	used = fill(fs, req, dir, out, size, offset, plus, until);
	g_mutex_unlock(&dir->lock);
	return used;
}
