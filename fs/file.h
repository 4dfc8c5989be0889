/* SPDX-License-Identifier: MIT */
/*
 * One open file: which lane serves it, and the descriptors it does so with.
 *
 * References: one from open to RELEASE, one for each request in flight in the
 * ring or with a worker.  The last one closes the descriptors.
 *
 * A passthrough open needs no descriptor of the daemon's to be read; one is
 * opened when a request (fsync, a lock, lseek...) first needs it.  Writable
 * opens have theirs from the start, so that write-back errors since then reach
 * fsync.
 */
#pragma once

#include "fs.h"
#include "lane.h"
#include "worker.h"

#include <fuse_lowlevel.h>

/* How the daemon reads so that the page cache does not keep it, best first. */
enum file_read {
	FILE_READ_DIRECT,     /* O_DIRECT */
	FILE_READ_DONTCACHE,  /* RWF_DONTCACHE, kernel 6.14 */
	FILE_READ_BUFFERED,   /* then POSIX_FADV_DONTNEED */
};

struct io_counts;
struct window_reader;
struct observed;
struct watch;

struct file {
	struct lanefs *fs;          /* fixed */
	uint64_t id;                /* fixed */
	struct inode *inode;        /* fixed, a reference */
	const struct lane_ops *ops; /* fixed after open */
	enum lane lane;             /* fixed after open; while it has a watch by watch->lock, as it may move */
	int flags;                  /* fixed, as the application opened */
	bool writable;              /* fixed */
	bool keeps_cache;           /* fixed after open, what is read buffered stays in SOURCE's page cache */
	bool direct_io;             /* fixed after open, FOPEN_DIRECT_IO: read(2) and write(2) come here */
	int refs;                   /* atomic */
	GMutex lock;                /* of the opening of fd, read_fd and page_fd, of fd_direct and lock_owners */
	int fd;                     /* atomic, -1 until needed, then fixed */
	int read_fd;                /* atomic, O_DIRECT, -1 until needed, then fixed */
	int page_fd;                /* atomic, without O_DIRECT where fd has it, -1 until needed, then fixed */
	bool append_only;           /* atomic, it has the append-only attribute, and is open for writing */
	bool app_direct;            /* atomic, opened with O_DIRECT and not told otherwise by fcntl(2) */
	bool fd_direct;             /* lock, fd has O_DIRECT now */
	int read_how;               /* atomic, enum file_read, only moves downwards */
	bool no_dontcache;          /* atomic, writes with RWF_DONTCACHE were refused */
	unsigned int align;         /* fixed once read_fd is, bytes, for offset and length */
	GArray *lock_owners;        /* of uint64_t, by lock, NULL: none; see locks.c */
	struct inode_mode *mode;    /* fixed after open, the inode's */
	struct io_counts *counts;   /* fixed after open, the inode's */
	pid_t pid;                  /* fixed after open, of the thread that opened it */
	uid_t uid;                  /* fixed after open, who opened it */
	int64_t opened;             /* fixed after open, us on the monotonic clock */
	uint64_t opened_served, opened_fetched; /* fixed after open, bytes the inode had, see top.c */
	bool shared;                /* fixed after open, the kernel serves it from the backing file's pages */
	bool own_pages;             /* fixed after open, without passthrough by choice: see open.c */
	bool holds_inode_fd;        /* fixed after open, uses the inode's descriptor until the last close */
	struct watch *watch;        /* fixed after open, NULL: its pages are nobody's concern */
	GList watch_link;           /* watch->lock */
	struct window_reader *reader; /* fixed after open, NULL: no read-ahead; see window.h */
	struct observed *observed;  /* fixed after open, NULL: not followed; see observe.h */
	uint64_t read_ahead;        /* fixed after open, bytes, the largest window */
	uint64_t stream_window;     /* fixed after open, bytes that may stay in memory */
	uint64_t room;              /* fixed after open, bytes of page cache its opener may have */
	uint64_t from, until;       /* fixed after open, bytes, see struct policy_decision */
	bool keep;                  /* fixed after open, nothing of it is dropped */
	uint64_t brings;            /* atomic, of the contents its first READ gets for the kernel, 0: none */
	bool flocked;               /* atomic, took a flock: see locks.c */
	bool closing;               /* atomic, was flushed: a RELEASE may be on its way */
	bool unflushed;             /* fixed after open, no FLUSH tells of a close(2) */
	struct work work;           /* of file_unref_later() */
};

/* fd: a descriptor open with flags, taken over, or -1.  Never NULL. */
struct file *file_new(struct lanefs *fs, struct inode *inode, int flags, int fd);

/*
 * A request has come with these flags: what fcntl(2) did to O_DIRECT since the open holds for fd, too.
 * Only of files that were opened with it.  The kernel's own writes of pages come without any flags.
 */
void file_follow_flags(struct file *file, int flags);

struct file *file_ref(struct file *file);
void file_unref(struct file *file);

/* The same on a thread that may not wait: the end of a deleted file may take as long as its disk does. */
void file_unref_later(struct file *file);

/* Gives it a number for the kernel.  0 or -ENFILE. */
int file_publish(struct file *file);

/* The file of a number the kernel holds. */
struct file *file_get(struct lanefs *fs, uint64_t id);

/* Its descriptor for everything but reads of the direct lane, or -errno. */
int file_fd(struct file *file);

/* The same for what the kernel writes of its pages, which is not aligned as O_DIRECT wants it. */
int file_page_fd(struct file *file);

/*
 * The descriptor to fsync by, or -errno: the one it has had the longest, as that tells of all
 * write-back errors since.
 */
int file_sync_fd(struct file *file);

/* What close(2) of the application's descriptor reports.  0 or -errno. */
int file_flush(struct file *file);

/* As lseek(2), SEEK_DATA and SEEK_HOLE too; the position found or -errno. */
off_t file_seek(struct file *file, off_t offset, int whence);

/*
 * The descriptor to read with and how, or -errno; *how is lowered for good when
 * the backing file refuses O_DIRECT.
 */
int file_read_fd(struct file *file, enum file_read *how);

/* The backing file refused to be read that way: the next best from now on. */
void file_lower_read(struct file *file, enum file_read refused);
