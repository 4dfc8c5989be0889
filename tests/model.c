/* SPDX-License-Identifier: MIT */
/* Makes the file and runs the processes; see model.h. */
#include "model.h"
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
	"usage: model [--seed N] [--operations N] [--processes N] [--size MIB] [--map]\n"
	"             [--late-writers] [--also FILE] FILE\n"
	"Makes FILE, of about so many MiB (4), and lets so many processes (4) do so many operations\n"
	"(50000) on it.  --map: mappings are used, too.  --late-writers: nobody opens it for writing in\n"
	"the first half.  --also: where some open it for reading.  Status 1: something else was read.\n";

#define PROCESSES_MAX 16
#define READS 8                     /* of each process in a round */

struct config config = { .operations = 50000, .processes = 4, .size = 4 };
struct process self = { .writer = -1 };
struct shared *shared;
unsigned char *before, *after;

_Noreturn void fail(const char *what)
{
	printf("seed %lu, process %u, round %lu: %s: %s\n", config.seed, self.number, self.round, what,
	       strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void *anonymous(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}

size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void meet(void)
{
	int error = pthread_barrier_wait(&shared->barrier);

	if (error && error != PTHREAD_BARRIER_SERIAL_THREAD)
		_exit(1);
}

static uint64_t count_rounds(void)
{
	uint64_t each = config.processes * READS + 1;

	return (config.operations + each - 1) / each;
}

static _Noreturn void work(unsigned int number)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	self.number = number;
	self.rounds = count_rounds();
	self.random = config.seed * PROCESSES_MAX + number;
	for (int i = 0; i < STREAMS; i++) {
		if (i >= STREAMS_SHARED)
			self.streams[i].fd = -1;
		stream_start(&self.streams[i]);
	}
	for (; self.round < self.rounds; self.round++) {
		bool changes = self.round % config.processes == number;

		if (changes)
			plan_change();
		meet();
		if (changes)
			make_change(&shared->change);
		for (int i = 0; i < READS; i++)
			read_on();
		meet();
	}
	_exit(0);
}

static void make_file(void)
{
	self.writer = open(config.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (self.writer < 0)
		fail(config.path);
	for (size_t i = 0; i < config.size; i++)
		before[i] = after[i] = (unsigned char)random_next(&shared->random);
	for (size_t at = 0; at < config.size; at += READ_MAX)
		write_all(after + at, READ_MAX, at);
	close(self.writer);
	self.writer = -1;
	shared->size = shared->before_size = config.size;
	for (int i = 0; i < STREAMS_SHARED; i++)
		stream_open(&self.streams[i]);
}

/* Whether all have ended well; the first that has not takes the others with it. */
static bool wait_for_all(const pid_t *pids)
{
	int status;

	for (unsigned int left = config.processes; left; left--) {
		pid_t pid = wait(&status);

		if (pid > 0 && !status)
			continue;
		if (WIFSIGNALED(status))
			printf("seed %lu: a process was ended by signal %d\n", config.seed,
			       WTERMSIG(status));
		for (unsigned int i = 0; i < config.processes; i++)
			if (pids[i] != pid)
				kill(pids[i], SIGKILL);
		return false;
	}
	return true;
}

static bool parse(int argc, char **argv)
{
	enum { SEED, OPERATIONS, PROCESSES, SIZE, MAP, LATE, ALSO };
	static const struct option known[] = {
		{ "seed", required_argument, NULL, SEED },
		{ "operations", required_argument, NULL, OPERATIONS },
		{ "processes", required_argument, NULL, PROCESSES },
		{ "size", required_argument, NULL, SIZE },
		{ "map", no_argument, NULL, MAP },
		{ "late-writers", no_argument, NULL, LATE },
		{ "also", required_argument, NULL, ALSO },
		{ 0 },
	};
	int found;

	while ((found = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (found) {
		case SEED: config.seed = number; break;
		case OPERATIONS: config.operations = number; break;
		case PROCESSES: config.processes = (unsigned int)number; break;
		case SIZE: config.size = number; break;
		case MAP: config.map = true; break;
		case LATE: config.late = true; break;
		case ALSO: config.also = optarg; break;
		default: return false;
		}
	}
	config.path = argv[optind];
	config.size <<= 20;
	config.limit = 2 * config.size;
	return argc - optind == 1 && config.size && config.processes &&
	       config.processes <= PROCESSES_MAX;
}

int main(int argc, char **argv)
{
	pthread_barrierattr_t attr;
	pid_t pids[PROCESSES_MAX];

	if (!parse(argc, argv)) {
		fputs(usage, stderr);
		return 2;
	}
	shared = anonymous(sizeof(*shared));
	before = anonymous(config.limit);
	after = anonymous(config.limit);
	self.buffer = malloc(READ_MAX);
	shared->random = self.random = config.seed;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attr, config.processes);
	make_file();
	for (unsigned int i = 0; i < config.processes; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			fail("fork");
		if (!pids[i])
			work(i);
	}
	if (!wait_for_all(pids))
		return 1;
	printf("%lu operations, all as they must be\n",
	       count_rounds() * (config.processes * READS + 1));
	return 0;
}
