/* SPDX-License-Identifier: MIT */
/* What libfuse is told of the mount: the options of its session. */
#pragma once

#include "mount.h"
#include "policy/config.h"

#include <fuse_lowlevel.h>
#include <stdbool.h>

/* For fuse_session_new(); to be freed with fuse_opt_free_args(). */
struct fuse_args session_args(const struct config *config, const struct mount *mount,
			      bool io_uring);
