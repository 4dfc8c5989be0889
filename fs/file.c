/* SPDX-License-Identifier: MIT */
#include "file.h"
#include "bufpool.h"
#include "observe.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What of the application's flags a backing descriptor is opened with.  O_APPEND
 * comes with each write, since fcntl(2) changes it.
 */
#define FLAGS_KEPT (O_ACCMODE | O_SYNC | O_DSYNC | O_DIRECT | O_NOATIME | O_NOCTTY | O_LARGEFILE)

struct file *file_new(struct lanefs *fs, struct inode *inode, int flags, int fd)
{
	struct file *file = g_new0(struct file, 1);

	g_mutex_init(&file->lock);
	file->fs = fs;
	file->inode = inode_ref(&fs->inodes, inode);
	file->flags = flags;
	file->app_direct = flags & O_DIRECT;
	file->fd_direct = fd >= 0 && (fcntl(fd, F_GETFL) & O_DIRECT);
	file->writable = (flags & O_ACCMODE) != O_RDONLY;
	file->refs = 1;
	file->fd = fd;
	file->read_fd = -1;
	file->page_fd = -1;
	file->align = BUFPOOL_ALIGN;
	return file;
}

struct file *file_ref(struct file *file)
{
	atomic_add(file->refs, 1);
	return file;
}

static void file_free(struct file *file)
{
	observe_end(file);
	if (file->ops && file->ops->release)
		file->ops->release(file);
	if (file->read_fd >= 0)
		close(file->read_fd);
	if (file->page_fd >= 0)
		close(file->page_fd);
	if (file->fd >= 0)
		close(file->fd);
	if (file->ops) {
		atomic_sub(file->mode->lanes[file->lane].open, 1);
		atomic_sub(file->fs->lanes[file->lane].open, 1);
		inode_mode_close(file->fs, file->inode, file->direct_io, file->writable);
	}
	if (file->holds_inode_fd)
		inode_fd_put(&file->fs->inodes, file->inode);
	inode_unref(&file->fs->inodes, file->inode);
	g_clear_pointer(&file->lock_owners, g_array_unref);
	g_mutex_clear(&file->lock);
	g_free(file);
}

void file_unref(struct file *file)
{
	if (!__atomic_sub_fetch(&file->refs, 1, __ATOMIC_ACQ_REL))
		file_free(file);
}

static void file_free_work(struct work *work)
{
	file_free((struct file *)((char *)work - offsetof(struct file, work)));
}

void file_unref_later(struct file *file)
{
	struct worker *worker = file->fs->worker;

	if (__atomic_sub_fetch(&file->refs, 1, __ATOMIC_ACQ_REL))
		return;
	file->work.run = file_free_work;
	if (!worker_push(worker, &file->work))
		file_free(file);
}

int file_publish(struct file *file)
{
	file->id = table_add(&file->fs->files, file);
	return file->id ? 0 : -ENFILE;
}

struct file *file_get(struct lanefs *fs, uint64_t id)
{
	return table_get(&fs->files, id);
}

static int open_flags(const struct file *file)
{
	return (file->flags & FLAGS_KEPT) | (file->fs->noatime ? O_NOATIME : 0) |
	       (file->fs->sync ? O_DSYNC : 0);
}

/* Who has been let open the file is let read it, too: there is a reserve. */
static int open_now(struct file *file, int flags)
{
	return file->own_pages && file->holds_inode_fd ? inode_open(&file->fs->inodes, file->inode, flags) :
							 inode_open_to_keep(&file->fs->inodes, file->inode, flags);
}

/* O_NOATIME is for the owner and CAP_FOWNER; where it is refused the atime moves. */
static int open_noatime(struct file *file, int flags)
{
	int fd = open_now(file, flags);

	if (fd == -EPERM && (flags & O_NOATIME))
		fd = open_now(file, flags & ~O_NOATIME);
	/* It is not the caller who has too many. */
	return fd == -EMFILE ? -ENFILE : fd;
}

/* A file with the append-only attribute (chattr +a) is written only so. */
static int open_any(struct file *file, int flags)
{
	int fd = open_noatime(file, flags);

	if (fd == -EPERM && (file->flags & O_APPEND)) {
		fd = open_noatime(file, flags | O_APPEND);
		if (fd >= 0)
			atomic_write(file->append_only, true);
	}
	return fd;
}

int file_fd(struct file *file)
{
	int fd = __atomic_load_n(&file->fd, __ATOMIC_ACQUIRE);

	if (fd >= 0)
		return fd;
	g_mutex_lock(&file->lock);
	fd = file->fd;
	if (fd < 0) {
		fd = open_any(file, open_flags(file));
		file->fd_direct = file->flags & O_DIRECT;
		if (fd >= 0)
			__atomic_store_n(&file->fd, fd, __ATOMIC_RELEASE);
	}
	g_mutex_unlock(&file->lock);
	return fd;
}

int file_page_fd(struct file *file)
{
	int fd = __atomic_load_n(&file->page_fd, __ATOMIC_ACQUIRE);

	if (!(file->flags & O_DIRECT))
		return file_fd(file);
	if (fd >= 0)
		return fd;
	g_mutex_lock(&file->lock);
	fd = file->page_fd;
	if (fd < 0) {
		fd = open_any(file, open_flags(file) & ~O_DIRECT);
		if (fd >= 0)
			__atomic_store_n(&file->page_fd, fd, __ATOMIC_RELEASE);
	}
	g_mutex_unlock(&file->lock);
	return fd;
}

void file_follow_flags(struct file *file, int flags)
{
	bool direct = flags & O_DIRECT;
	int fd;

	if (!(file->flags & O_DIRECT))
		return;
	atomic_write(file->app_direct, direct);
	if (!file->writable)
		return;
	fd = file_fd(file);
	g_mutex_lock(&file->lock);
	if (fd >= 0 && file->fd_direct != direct) {
		int now = fcntl(fd, F_GETFL);

		/* Where the filesystem knows no O_DIRECT the open has failed before. */
		if (!fcntl(fd, F_SETFL, direct ? now | O_DIRECT : now & ~O_DIRECT))
			file->fd_direct = direct;
	}
	g_mutex_unlock(&file->lock);
}

int file_sync_fd(struct file *file)
{
	int fd = __atomic_load_n(&file->read_fd, __ATOMIC_ACQUIRE);

	return file->writable || fd < 0 ? file_fd(file) : fd;
}

int file_flush(struct file *file)
{
	int fd;

	if (!file->writable)
		return 0;
	/* Only a filesystem that writes back at close has anything to say: not to have asked is no error. */
	fd = dup(file_fd(file));
	return fd >= 0 && close(fd) ? -errno : 0;
}

off_t file_seek(struct file *file, off_t offset, int whence)
{
	int fd = file_fd(file);
	off_t found;

	if (fd < 0)
		return fd;
	found = lseek(fd, offset, whence);
	return found < 0 ? -errno : found;
}

/* The block size O_DIRECT wants here; the largest usual one where the kernel (before 6.1) does not say. */
static unsigned int dio_align(int fd)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!backing_statx(fd, "", STATX_DIOALIGN, 0, &stx) && (stx.stx_mask & STATX_DIOALIGN) &&
	    stx.stx_dio_offset_align && stx.stx_dio_mem_align <= BUFPOOL_ALIGN &&
	    stx.stx_dio_offset_align <= BUFPOOL_ALIGN)
		return stx.stx_dio_offset_align;
#else
	(void)fd;
#endif
	return BUFPOOL_ALIGN;
}

int file_read_fd(struct file *file, enum file_read *how)
{
	int fd;

	*how = atomic_read(file->read_how);
	if (*how != FILE_READ_DIRECT)
		return file_fd(file);
	fd = __atomic_load_n(&file->read_fd, __ATOMIC_ACQUIRE);
	if (fd >= 0)
		return fd;
	g_mutex_lock(&file->lock);
	fd = file->read_fd;
	if (fd < 0) {
		int noatime = open_flags(file) & O_NOATIME;

		fd = open_noatime(file, O_RDONLY | O_DIRECT | noatime);
		if (fd >= 0) {
			file->align = dio_align(fd);
			__atomic_store_n(&file->read_fd, fd, __ATOMIC_RELEASE);
		}
	}
	g_mutex_unlock(&file->lock);
	/* Without privilege, of who created it with a mode that forbids reading. */
	if ((fd == -EACCES || fd == -EPERM) && (file->flags & O_ACCMODE) == O_RDWR &&
	    atomic_read(file->fd) >= 0)
		fd = -EINVAL;
	if (fd != -EINVAL)
		return fd;
	file_lower_read(file, FILE_READ_DIRECT);
	return file_read_fd(file, how);
}

void file_lower_read(struct file *file, enum file_read refused)
{
	int expected = refused;

	__atomic_compare_exchange_n(&file->read_how, &expected, (int)refused + 1, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
