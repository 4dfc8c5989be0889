/* SPDX-License-Identifier: MIT */
/* What this machine offers a FUSE daemon, asked before anything is mounted. */
#pragma once

#include "policy/config.h"

#include <glib.h>
#include <stdbool.h>

/* /dev/fuse can be opened; the error says what is missing and the remedy. */
bool probe_device(GError **error);

/*
 * Whether to ask for FUSE-over-io_uring.  When not, *reason says why (new
 * string, "" when the answer is yes).  wanted io_uring where it cannot be had
 * is an error with the remedy, and false.
 */
bool probe_uring(enum config_transport wanted, bool *use, char **reason, GError **error);

/*
 * That as many threads can be had as a mount begins with, one for each core of them over io_uring;
 * the error says what limits them.
 */
bool probe_threads(bool io_uring, GError **error);
