/* SPDX-License-Identifier: MIT */
/*
 * Gives back what was kept for a reopening that did not come: the backing ids of
 * inodes without opens, and idle descriptors.  One thread, which serves no requests.
 */
#pragma once

struct lanefs;
struct inode;
struct reaper;

struct reaper *reaper_new(struct lanefs *fs);

/* Ends the thread.  What is added after that waits for reaper_free(). */
void reaper_stop(struct reaper *reaper);
void reaper_free(struct reaper *reaper);

/* inode has lost its last open; takes a reference.  Any thread, no lock held. */
void reaper_add(struct reaper *reaper, struct inode *inode);

/* The kernel has forgotten an inode that may be kept here: look now. */
void reaper_wake(struct reaper *reaper);
