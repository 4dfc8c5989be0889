/* SPDX-License-Identifier: MIT */
/*
 * Finding objects of the backing directory: by file handle where the kernel
 * and the privilege allow (open_by_handle_at needs CAP_DAC_READ_SEARCH), else by
 * O_PATH descriptor and /proc/self/fd.  Never by path, never through a symlink.
 *
 * Any thread.  No lock is held while a system call runs, except by
 * backing_identify() the first time it meets a mount.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* The longest handle that is kept; filesystems with longer ones use descriptors. */
#define BACKING_HANDLE_MAX 40
#define BACKING_MOUNTS_MAX 1024

/*
 * The identity of an object: equal keys are of one object.
 *
 * btime tells a reused inode number from its predecessor.  Not on an overlay, where it changes when the
 * object is copied up while dev and ino stay.
 *
 * handle is for where these three are not enough: on filesystems other than SOURCE's, and on a SOURCE that is
 * not local.  One that passes several others through shows the same numbers for different files, and btrfs
 * gives the number of a deleted snapshot to the next one, which has the same files in it.  On an overlay
 * without file handles it is made of directory and name instead, for a file of a lower layer that has several
 * names: without an index (Documentation/filesystems/overlayfs.rst, "index=off") each of them becomes a file
 * of its own when one is written.
 */
struct backing_key {
	uint64_t dev;
	uint64_t ino;
	int64_t btime;   /* ns since the epoch, 0 where the filesystem has none, or an overlay's */
	uint64_t handle; /* hash of the handle, or of directory and name; 0: neither counts */
};

/*
 * Bits of handle.  NAME: it is made of directory and name; a key with 0 instead is of the same file, from when
 * it had no other name.  WEAK: the filesystem's handles last only while the object is in memory
 * (fs/fuse/inode.c), so that another handle may be of the same object.
 */
#define BACKING_KEY_NAME 1
#define BACKING_KEY_WEAK 2

/* Whether they are of one object, as far as that can be said without its handle or name. */
bool backing_is_same(const struct backing_key *a, const struct backing_key *b);

/* The handle of fd, or of name there, as in a key; kind: what to mark it as. */
uint64_t backing_hash_handle(int dir_fd, const char *name, uint64_t kind);

struct backing_handle {
	uint8_t bytes; /* 0: no handle, a descriptor is needed */
	uint16_t mount;
	int32_t type;
	uint8_t data[BACKING_HANDLE_MAX];
};

/* A mount that handles were made of.  Held open, and so busy, only while it has users. */
struct backing_mount {
	int id;             /* protected by lock */
	int fd;             /* fixed while there are users */
	unsigned int users; /* handles, protected by lock */
};

struct backing {
	int noatime_fd;     /* SOURCE on a private mount with noatime, or -1; fixed */
	int root_fd;        /* O_RDONLY, SOURCE; fixed */
	int proc_fd;        /* O_PATH, /proc/self/fd; fixed */
	uint64_t own_dev;   /* st_dev of the mount itself, 0: not known yet; fixed before requests */
	uint64_t local_dev; /* st_dev of SOURCE if its attributes are always up to date, else 0; fixed */
	bool weak;          /* handles of SOURCE's filesystem do not last; fixed */
	bool on_disk;       /* that is local, and no tmpfs; fixed */
	uint64_t source_dev; /* st_dev of SOURCE; fixed */
	GHashTable *below;  /* by lock, st_dev of other filesystems -> struct backing_below */
	bool has_below;     /* atomic, there are such */
	bool has_remote;    /* atomic, and one of them may hang, see backing_may_hang() */
	bool overlay;       /* SOURCE is on an overlay, whose files may have several st_dev; fixed */
	bool handles;       /* file handles work here; fixed after backing_init() */
	char *no_handles;   /* why they do not, NULL when they do; fixed, owned */
	/*
	 * A mount is met, for the first time or again: before attributes below are relied on.  With lock
	 * held.
	 */
	void (*met)(void *data, unsigned int index, int fd); /* fixed before requests, or NULL */
	void *met_data;     /* fixed before requests */
	GMutex lock;
	struct backing_mount mounts[BACKING_MOUNTS_MAX]; /* the first is SOURCE's */
};

/*
 * source_fd is borrowed for the call only.  noatime: no access time of the
 * backing files shall move, not by passthrough reads either; needs a private mount of SOURCE
 * (kernel 5.12, CAP_SYS_ADMIN), without which only the daemon's own reads keep
 * to it.  0 or -errno.
 */
int backing_init(struct backing *backing, int source_fd, bool noatime);
void backing_finish(struct backing *backing);

/* fd is of the filesystem dev, which may be another than SOURCE's: before backing_ino() is asked of it. */
void backing_meet(struct backing *backing, int fd, uint64_t dev);

/* Whether the filesystem of that st_dev, another than SOURCE's, depends on a server or a process.  Any thread. */
bool backing_may_hang(struct backing *backing, uint64_t dev);

/*
 * Whether another filesystem is mounted on name, a directory in dir_fd.  That one is not asked, as it may
 * hang (NFS).  False as long as none was met.
 */
bool backing_is_mounted_on(struct backing *backing, int dir_fd, const char *name);

/*
 * The number that an inode of the filesystem dev has on the mount, where everything has one st_dev:
 * that of SOURCE its own; that of others below, which may number theirs alike (btrfs gives a file and
 * its snapshots one number), another, the same from mount to mount where the filesystem has an id
 * (f_fsid).  Where SOURCE is an overlay, whose files have several st_dev themselves, all their own.
 */
uint64_t backing_ino(struct backing *backing, uint64_t dev, uint64_t ino);

/*
 * Attributes of name in dir_fd, or of dir_fd itself when name is "".  Does not
 * follow symlinks nor trigger automounts.  0 or -errno.
 */
int backing_stat(int dir_fd, const char *name, struct stat *attr);

/* Attributes of fd as this machine knows them: a network filesystem does not ask its server. */
int backing_stat_known(int fd, struct stat *attr);
int backing_stat_key(struct backing *backing, int dir_fd, const char *name, struct stat *attr,
		     struct backing_key *key);

/*
 * The same of an entry, which may be a mount point, and that of the mount itself when somebody
 * bound it below SOURCE: -ELOOP then, without a request to ourselves.
 */
int backing_stat_entry(struct backing *backing, int dir_fd, const char *name, struct stat *attr,
		       struct backing_key *key);

/* As above, keeping the whole statx; mask as for statx(2). */
int backing_statx(int dir_fd, const char *name, unsigned int mask, int flags, struct statx *stx);
void backing_stat_from_statx(const struct statx *stx, struct stat *attr);

/*
 * The handle of what the O_PATH descriptor fd refers to; bytes is 0 where there
 * is none.  attr: of it, after backing_meet().  A handle counts as a user of its mount until
 * backing_release_mount().
 */
void backing_identify(struct backing *backing, int fd, const struct stat *attr,
		      struct backing_handle *handle);

void backing_release_mount(struct backing *backing, unsigned int mount);

/* Opens by handle, flags as for open(2) (O_PATH too).  A descriptor or -errno. */
int backing_open_handle(const struct backing *backing, const struct backing_handle *handle, int flags);

/*
 * A file of SOURCE's own filesystem by its handle, on a mount with noatime, for reading: a new descriptor, or
 * -errno; -EOPNOTSUPP where there is no such mount, or no handle.
 */
int backing_open_noatime(const struct backing *backing, uint64_t dev, const struct backing_handle *handle);

/* Opens again what fd (O_PATH is enough) refers to.  A descriptor or -errno. */
int backing_reopen(const struct backing *backing, int fd, int flags);

/*
 * Whether fd's filesystem is one that asks nobody: neither for attributes nor, once a file is open,
 * who reads and writes it.  A statfs(2).
 */
bool backing_is_local(int fd);

/* "/proc/self/fd/N" for the *xattr, chmod and truncate calls that take no descriptor with O_PATH. */
#define BACKING_PROC_PATH_MAX 32
const char *backing_proc_path(int fd, char path[static BACKING_PROC_PATH_MAX]);
