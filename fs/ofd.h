/* SPDX-License-Identifier: MIT */
/* Open-file-description locks: whose one is, which fcntl(2) does not tell. */
#pragma once

#include <fcntl.h>
#include <stdbool.h>

/*
 * Whether the open file description of fd holds the very lock that F_OFD_GETLK has reported, by
 * proc_pid_fdinfo(5).  False also where /proc does not tell.  Any thread.
 */
bool ofd_holds(int fd, const struct flock *lock);
