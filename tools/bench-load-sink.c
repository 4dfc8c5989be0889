// SPDX-License-Identifier: MIT
#include "bench-load-sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static void *sink_drain(void *data)
{
	struct sink *sink = data;

	/* MSG_TRUNC on TCP takes the bytes off the queue and copies nothing. */
	while (recv(sink->other, NULL, 16 << 20, MSG_TRUNC) > 0)
		;
	return NULL;
}

static int connect_pair(struct sink *sink)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0;

	if (listener < 0)
		return -errno;
	sink->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sink->fd < 0 || bind(listener, (struct sockaddr *)&address, length) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(sink->fd, (struct sockaddr *)&address, length))
		err = -errno;
	if (!err) {
		sink->other = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (sink->other < 0)
			err = -errno;
	}
	if (err && sink->fd >= 0)
		close(sink->fd);
	close(listener);
	return err;
}

int sink_open(struct sink *sink)
{
	int err = connect_pair(sink);

	if (err)
		return err;
	err = -pthread_create(&sink->thread, NULL, sink_drain, sink);
	if (err) {
		close(sink->fd);
		close(sink->other);
	}
	return err;
}

void sink_close(struct sink *sink)
{
	shutdown(sink->fd, SHUT_WR);
	pthread_join(sink->thread, NULL);
	close(sink->fd);
	close(sink->other);
}
