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
 * The looking is done on the thread of drop-behind.h, which serves no requests.
 */
#pragma once

#include <stdint.h>

struct file;
struct kernel_pages;
struct lanefs;
struct stat;

/* wake(data), on any thread: kernel_pages_look() is wanted at once. */
struct kernel_pages *kernel_pages_new(struct lanefs *fs, void (*wake)(void *data), void *data);
void kernel_pages_free(struct kernel_pages *pages); /* NULL is fine */

/*
 * The open of file is told to keep pages that are of attr, and may be served from them without a READ.
 * Before the answer.
 */
void kernel_pages_keep(struct kernel_pages *pages, struct file *file, const struct stat *attr);

/* A READ of file for the kernel's pages has come.  A request thread, before the answer. */
void kernel_pages_note(struct kernel_pages *pages, struct file *file);

/* Looks after all files.  us until it wants to look again; negative: not before it wakes. */
int64_t kernel_pages_look(struct kernel_pages *pages);
