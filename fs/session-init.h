/* SPDX-License-Identifier: MIT */
/*
 * INIT: what is agreed with the kernel.  Called once, on the thread that takes
 * the first request.
 */
#pragma once

#include <fuse_lowlevel.h>

void op_init(void *userdata, struct fuse_conn_info *conn);
