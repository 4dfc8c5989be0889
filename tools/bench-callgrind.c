// SPDX-License-Identifier: MIT
/*
 * Preloaded into lanefs under valgrind.  Valgrind runs one thread at a time and does not let go
 * while one of them waits in io_uring_enter(2), which is what a thread that waits for completions
 * does: nothing would ever be submitted.  In poll(2) it lets the others run.
 */
#include <dlfcn.h>
#include <liburing.h>
#include <poll.h>

typedef int (*get_cqe)(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned int submit,
		       unsigned int nr, sigset_t *mask);

/* What io_uring_wait_cqe() becomes. */
int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned int submit,
		       unsigned int nr, sigset_t *mask)
{
	struct pollfd fd = { .fd = ring->ring_fd, .events = POLLIN };
	static get_cqe real;

	if (!real)
		real = (get_cqe)dlsym(RTLD_NEXT, "__io_uring_get_cqe");
	if (submit)
		io_uring_submit(ring);
	while (nr && !io_uring_cq_ready(ring))
		poll(&fd, 1, -1);
	return real(ring, cqe, 0, nr, mask);
}
