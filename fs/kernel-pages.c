/* SPDX-License-Identifier: MIT */
#include "kernel-pages.h"
#include "attr.h"
#include "drop-behind.h"
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* What an outside change may take to be seen is twice this. */
#define LOOK_US (G_USEC_PER_SEC / 2)

/* Where there are no pages, and nothing has changed for so many looks, every so many will do: such may be many. */
#define REST_LOOKS 120
#define REST_EACH 8

struct kernel_pages {
	struct lanefs *fs;          /* fixed */
	GMutex lock;                /* before mode->lock */
	GQueue watched;             /* lock, of struct inode with a reference */
	GQueue paged;               /* lock, the same: of those with an unseen writer, which have pages */
	bool due;                   /* lock, the thread knows that it is to look */
	int64_t looked;             /* us, when all were looked at; the looking thread only */
	unsigned int looks;         /* so often; the same */
};

struct kernel_pages *kernel_pages_new(struct lanefs *fs)
{
	struct kernel_pages *pages = g_new0(struct kernel_pages, 1);

	pages->fs = fs;
	g_mutex_init(&pages->lock);
	return pages;
}

void kernel_pages_free(struct kernel_pages *pages)
{
	struct inode *inode;

	if (!pages)
		return;
	while ((inode = g_queue_pop_head(&pages->watched)) ||
	       (inode = g_queue_pop_head(&pages->paged)))
		inode_unref(&pages->fs->inodes, inode);
	g_mutex_clear(&pages->lock);
	g_free(pages);
}

static void watch(struct kernel_pages *pages, struct file *file, const struct stat *attr)
{
	struct inode_mode *mode = file->mode;
	bool wake = false;

	g_mutex_lock(&pages->lock);
	if (!atomic_read(mode->watched)) {
		mode->pages_version = attr_version_settled(attr);
		mode->size_due = attr_is_outrun(pages->fs, file->inode, attr);
		mode->unchanged = 0;
		atomic_write(mode->watched, true);
		g_queue_push_tail(&pages->watched, inode_ref(&pages->fs->inodes, file->inode));
		wake = !pages->due;
		pages->due = true;
	}
	g_mutex_unlock(&pages->lock);
	if (wake)
		drop_behind_look(pages->fs->drop_behind);
}

bool kernel_pages_send(int flags, const struct fuse_file_info *fi)
{
	/* What is opened with O_DIRECT is sent by requests (filemap_splice_read() is not for it). */
	return (flags & O_ACCMODE) != O_WRONLY && !(flags & O_DIRECT) && (fi->direct_io || !fi->backing_id);
}

void kernel_pages_opened(struct kernel_pages *pages, struct file *file, const struct fuse_file_info *fi,
			 const struct stat *attr)
{
	if (kernel_pages_send(file->flags, fi) && !atomic_read(file->mode->watched))
		watch(pages, file, attr);
}

void kernel_pages_keep(struct kernel_pages *pages, struct file *file, const struct stat *attr)
{
	atomic_write(file->mode->has_pages, true);
	if (!atomic_read(file->mode->watched))
		watch(pages, file, attr);
}

void kernel_pages_note(struct kernel_pages *pages, struct file *file)
{
	struct inode_mode *mode = file->mode;
	struct stat attr = { 0 };

	/* Before it reads: who writes meanwhile sees this, or this reads what was written. */
	if (!atomic_read(mode->has_pages))
		atomic_write(mode->has_pages, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (atomic_read(mode->paged) && atomic_read(mode->watched))
		return;
	if (!atomic_read(mode->watched)) {
		attr_get(pages->fs, file->inode, &attr);
		watch(pages, file, &attr);
	}
	if (__atomic_exchange_n(&mode->paged, true, __ATOMIC_RELAXED) ||
	    !inode_mode_has_unseen_writer(pages->fs, file->inode))
		return;
	g_mutex_lock(&pages->lock);
	g_queue_push_tail(&pages->paged, inode_ref(&pages->fs->inodes, file->inode));
	g_mutex_unlock(&pages->lock);
	drop_behind_look(pages->fs->drop_behind);
}

bool kernel_pages_are_passed(struct file *file)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return file->direct_io && atomic_read(file->mode->has_pages);
}

void kernel_pages_drop(struct lanefs *fs, struct inode *inode, off_t begin, off_t length)
{
	/* It takes no attributes that it had asked for before (fs/fuse/inode.c, fuse_change_attributes_i). */
	atomic_write(inode_mode_peek(fs, inode)->size_unsure, true);
	fuse_lowlevel_notify_inval_inode(fs->se, inode->id, begin, length);
}

static void drop(struct lanefs *fs, struct inode *inode)
{
	kernel_pages_drop(fs, inode, 0, 0);
}

/*
 * It learns a larger one from data that lies there, which must not go over what a mapping has stored
 * in the kernel's page.
 */
bool kernel_pages_tell_size(struct lanefs *fs, struct inode *inode, off_t size)
{
	struct fuse_bufvec data = FUSE_BUFVEC_INIT(1);
	struct stat attr;
	bool told;
	char byte;
	int fd;

	if (!size)
		return true;
	/* Nobody's lease is to be waited for here. */
	fd = inode_open(&fs->inodes, inode, O_RDONLY | O_NOATIME | O_NONBLOCK);
	if (fd == -EPERM)
		fd = inode_open(&fs->inodes, inode, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return false;
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	data.buf[0].mem = &byte;
	/* Reading may have taken long. */
	told = pread(fd, &byte, 1, size - 1) == 1 && !fstat(fd, &attr) && attr.st_size == size &&
	       !inode_mode_may_hold_stores(fs, inode) &&
	       !fuse_lowlevel_notify_store(fs->se, inode->id, size - 1, &data, 0);
	close(fd);
	if (!told)
		return false;
	attr_size_known(inode, size);
	/* The page has nothing but the byte, and of this size the kernel is sure. */
	fuse_lowlevel_notify_inval_inode(fs->se, inode->id, size - 1, 1);
	return true;
}

bool kernel_pages_may_lack_size(struct lanefs *fs, struct inode *inode, const struct stat *attr)
{
	bool unsure = __atomic_exchange_n(&inode_mode_peek(fs, inode)->size_unsure, false, __ATOMIC_RELAXED);

	return (unsure && attr_told_lately(fs, inode)) || attr_size_is_outrun(inode, attr);
}

static void look_at_version(struct lanefs *fs, struct inode *inode, struct inode_mode *mode)
{
	struct stat attr;
	uint64_t version;

	if (attr_get(fs, inode, &attr))
		return;
	version = attr_version_settled(&attr);
	mode->unchanged++;
	if (!version || version != mode->pages_version) {
		mode->unchanged = 0;
		mode->pages_version = version;
		mode->size_due = true;
		/* First: the last page ends in zeros. */
		drop(fs, inode);
	}
	if (mode->size_due && !inode_mode_may_hold_stores(fs, inode))
		mode->size_due = !kernel_pages_tell_size(fs, inode, attr.st_size);
}

/* Whoever writes in passthrough has the kernel know sizes of his own, but not what grows outside meanwhile. */
static bool look_at_size(struct lanefs *fs, struct inode *inode)
{
	struct stat attr;

	return !attr_get(fs, inode, &attr) && attr_size_is_outrun(inode, &attr) &&
	       kernel_pages_tell_size(fs, inode, attr.st_size);
}

/* Those with an unseen writer, which are not to stay until it is time for the others. */
static void look_at_paged(struct kernel_pages *pages)
{
	struct lanefs *fs = pages->fs;
	struct inode *inode;
	GQueue paged;

	g_mutex_lock(&pages->lock);
	paged = pages->paged;
	g_queue_init(&pages->paged);
	g_mutex_unlock(&pages->lock);
	while ((inode = g_queue_pop_head(&paged))) {
		if (__atomic_exchange_n(&inode_mode_peek(fs, inode)->paged, false, __ATOMIC_RELAXED))
			drop(fs, inode);
		inode_unref(&fs->inodes, inode);
	}
}

static bool is_watched_on(struct kernel_pages *pages, struct inode *inode, struct inode_mode *mode)
{
	bool open = inode_mode_is_open(pages->fs, inode);

	if (open)
		return true;
	g_mutex_lock(&pages->lock);
	__atomic_store_n(&mode->watched, false, __ATOMIC_SEQ_CST);
	/* Who opened it since may have found it watched. */
	open = inode_mode_is_open(pages->fs, inode);
	if (open)
		atomic_write(mode->watched, true);
	g_mutex_unlock(&pages->lock);
	return open;
}

/* Whether the file is to be watched on. */
static bool look_at(struct kernel_pages *pages, struct inode *inode)
{
	struct lanefs *fs = pages->fs;
	struct inode_mode *mode = inode_mode_peek(fs, inode);

	if (!is_watched_on(pages, inode, mode))
		return false;
	if (!atomic_read(mode->has_pages) && mode->unchanged > REST_LOOKS &&
	    (pages->looks + inode->id) % REST_EACH)
		return true;
	if (!inode_mode_has_unseen_writer(fs, inode)) {
		look_at_version(fs, inode, mode);
	} else {
		mode->unchanged = look_at_size(fs, inode) ? 0 : mode->unchanged + 1;
		if (__atomic_exchange_n(&mode->paged, false, __ATOMIC_RELAXED))
			drop(fs, inode);
	}
	return true;
}

static void look_at_all(struct kernel_pages *pages)
{
	GQueue watched, later = G_QUEUE_INIT;
	struct inode *inode;

	g_mutex_lock(&pages->lock);
	watched = pages->watched;
	g_queue_init(&pages->watched);
	g_mutex_unlock(&pages->lock);
	while ((inode = g_queue_pop_head(&watched))) {
		if (look_at(pages, inode))
			g_queue_push_tail(&later, inode);
		else
			inode_unref(&pages->fs->inodes, inode);
	}
	g_mutex_lock(&pages->lock);
	while ((inode = g_queue_pop_tail(&later)))
		g_queue_push_head(&pages->watched, inode);
	g_mutex_unlock(&pages->lock);
}

int64_t kernel_pages_look(struct kernel_pages *pages)
{
	int64_t now = g_get_monotonic_time();
	bool due;

	look_at_paged(pages);
	if (now - pages->looked >= LOOK_US) {
		pages->looked = now;
		pages->looks++;
		look_at_all(pages);
	}
	g_mutex_lock(&pages->lock);
	due = pages->due = !g_queue_is_empty(&pages->watched);
	g_mutex_unlock(&pages->lock);
	return due ? MAX(pages->looked + LOOK_US - g_get_monotonic_time(), 1000) : -1;
}
