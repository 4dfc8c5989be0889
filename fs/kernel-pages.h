/* SPDX-License-Identifier: MIT */
/*
 * The third cache: pages that the kernel keeps of the FUSE inode itself, and when they must go.
 *
 * Without passthrough that is the page cache; with it, only what sendfile(2) and splice(2) read of
 * opens with FOPEN_DIRECT_IO.  The kernel keeps those pages right for what passes through it as a
 * request, and drops them at every open that is not told to keep them.  It knows nothing of changes of
 * the backing file from outside, nor, with passthrough, of stores into mappings.  So for as long as
 * a file is open that has such pages, its version is looked at twice a second; and where there may be
 * a mapping that is written, they go within milliseconds.
 *
 * WRITEs of an open with FOPEN_DIRECT_IO go around them.  The kernel drops the pages before it sends such a
 * WRITE, but a READ for pages that is served meanwhile may bring the old data back: so they are dropped once
 * more before the WRITE is answered.
 *
 * WRITEs of the pages themselves could be lost to such a drop: the kernel unlocks the pages before it sends
 * them, and if they are dropped then (another open, new times of the file), a READ that is served before the
 * WRITE brings the old data back, to stay (fs/fuse/file.c, fuse_fill_write_pages()).  So without passthrough
 * files are written with FOPEN_DIRECT_IO, where the kernel can map such opens properly (Linux 6.9).  Not with
 * parallel writes: a mapping waits for those while it holds a lock that they may need.
 *
 * The looking is done on the thread of drop-behind.h, which serves no requests.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct file;
struct fuse_file_info;
struct inode;
struct kernel_pages;
struct lanefs;
struct stat;

/* fs->drop_behind is there. */
struct kernel_pages *kernel_pages_new(struct lanefs *fs);
void kernel_pages_free(struct kernel_pages *pages); /* NULL is fine */

/* Whether sendfile(2) of what is opened so goes by the kernel's pages of the FUSE inode. */
bool kernel_pages_send(int flags, const struct fuse_file_info *fi);

/*
 * file is being opened, as of attr: if so it is watched, since the kernel ends at the size it knows and asks
 * nobody.
 */
void kernel_pages_opened(struct kernel_pages *pages, struct file *file, const struct fuse_file_info *fi,
			 const struct stat *attr);

/*
 * The open of file is told to keep pages that are of attr, and may be served from them without a READ.
 * Before the answer.
 */
void kernel_pages_keep(struct kernel_pages *pages, struct file *file, const struct stat *attr);

/* A READ of file for the kernel's pages has come.  A request thread, before the answer. */
void kernel_pages_note(struct kernel_pages *pages, struct file *file);

/* Whether writes of file go around pages that the kernel may have.  After the write. */
bool kernel_pages_are_passed(struct file *file);

/*
 * Drops those of length bytes from begin on, 0: of all from there.  Waits for READs that are under way, and for WRITEs
 * of what a mapping has stored: never on a thread that serves requests.
 */
void kernel_pages_drop(struct lanefs *fs, struct inode *inode, off_t begin, off_t length);

/*
 * Has the kernel know that the file is of that size, if it is and the kernel's is smaller: it asks only when
 * somebody asks for attributes, which sendfile(2) does not.  Whether it does.  Waits as kernel_pages_drop().
 */
bool kernel_pages_tell_size(struct lanefs *fs, struct inode *inode, off_t size);

/*
 * As inode is opened, with attr: whether the kernel may believe in another size than that, which it is to be told
 * then.  Any thread; inode has been opened.
 */
bool kernel_pages_may_lack_size(struct lanefs *fs, struct inode *inode, const struct stat *attr);

/* Looks after all files.  us until it wants to look again; negative: not before it wakes. */
int64_t kernel_pages_look(struct kernel_pages *pages);
