// SPDX-License-Identifier: MIT
/*
 * bench-load: the programs that tools/bench measures, as one.  It makes the calls that a reader, a
 * server or a copy makes, with one thread for each, and prints what they took as a line of JSON.
 */
#include "bench-load.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const struct method {
	const char *name;
	load_method run;
	const char *help;
} methods[] = {
	{ "read", load_read, "read(2) from beginning to end" },
	{ "sendfile", load_sendfile, "sendfile(2) to a TCP connection on this machine" },
	{ "copy", load_copy, "read(2) and write(2), to such a connection or --to=FILE" },
	{ "mmap", load_mmap, "mmap(2), one byte of each page" },
	{ "random", load_random, "pread(2) at random aligned places, each timed" },
	{ "write", load_write, "write(2) a file of --length bytes" },
	{ "openclose", load_openclose, "open, read --block bytes, close, of one file after another" },
	{ "openstat", load_openstat, "the same with fstat after open, as most programs do" },
	{ "stat", load_stat, "stat(2), of one file after another" },
	{ "readdir", load_readdir, "list a directory" },
	{ "hog", load_hog, "take --length bytes of memory, until SIGTERM; FILE is anything" },
};

static pthread_barrier_t barrier;
static volatile sig_atomic_t stopping;

static void stop(int number)
{
	stopping = number;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec time = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
		;
}

bool worker_goes_on(struct worker *worker)
{
	const struct load *load = worker->load;

	if (load->rate > 0)
		sleep_until(worker->start + (uint64_t)(worker->bytes / load->rate * 1e9));
	if (stopping)
		return false;
	return load->seconds <= 0 || now_ns() < worker->start + (uint64_t)(load->seconds * 1e9);
}

void worker_sample(struct worker *worker, uint64_t since)
{
	if (worker->n_samples == worker->room) {
		worker->room = worker->room ? worker->room * 2 : 4096;
		worker->samples = realloc(worker->samples, worker->room * sizeof(float));
		if (!worker->samples)
			abort();
	}
	worker->samples[worker->n_samples++] = (now_ns() - since) / 1e3f;
}

void *worker_buffer(size_t size)
{
	void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buffer == MAP_FAILED)
		return NULL;
	memset(buffer, 0x5a, size);
	return buffer;
}

struct job {
	struct worker worker;
	load_method run;
	pthread_t thread;
	struct rusage usage;	/* of the worker's own thread */
	int error;
};

static void *job_run(void *data)
{
	struct job *job = data;

	pthread_barrier_wait(&barrier);
	job->worker.start = now_ns();
	job->error = job->run(&job->worker);
	job->worker.end = now_ns();
	getrusage(RUSAGE_THREAD, &job->usage);
	return NULL;
}

static int compare_floats(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void print_samples(struct job *jobs, unsigned n)
{
	double sum = 0;
	size_t total = 0;
	float *all;

	for (unsigned i = 0; i < n; i++)
		total += jobs[i].worker.n_samples;
	if (!total)
		return;
	all = malloc(total * sizeof(float));
	if (!all)
		abort();
	total = 0;
	for (unsigned i = 0; i < n; i++) {
		struct worker *worker = &jobs[i].worker;

		memcpy(all + total, worker->samples, worker->n_samples * sizeof(float));
		total += worker->n_samples;
	}
	qsort(all, total, sizeof(float), compare_floats);
	for (size_t i = 0; i < total; i++)
		sum += all[i];
	printf(", \"latency\": {\"mean\": %.3f", sum / total);
	for (unsigned percent = 1; percent <= 99; percent++) {
		if (percent % 5 == 0 || percent == 1 || percent == 99)
			printf(", \"p%u\": %.3f", percent, all[total * percent / 100]);
	}
	printf(", \"p99.9\": %.3f, \"max\": %.3f}", all[(size_t)(total * 0.999)], all[total - 1]);
	free(all);
}

static double seconds_of(const struct timeval *time)
{
	return time->tv_sec + time->tv_usec / 1e6;
}

static void print_result(struct job *jobs, unsigned n)
{
	uint64_t start = UINT64_MAX, end = 0, bytes = 0, calls = 0;
	double slowest = 0, mean = 0, cpu = 0;
	long switches = 0;

	for (unsigned i = 0; i < n; i++) {
		struct worker *worker = &jobs[i].worker;
		double rate = worker->bytes * 1e9 / (worker->end - worker->start + 1);

		start = worker->start < start ? worker->start : start;
		end = worker->end > end ? worker->end : end;
		bytes += worker->bytes;
		calls += worker->calls;
		slowest = !i || rate < slowest ? rate : slowest;
		mean += rate / n;
		cpu += seconds_of(&jobs[i].usage.ru_utime) + seconds_of(&jobs[i].usage.ru_stime);
		switches += jobs[i].usage.ru_nvcsw + jobs[i].usage.ru_nivcsw;
	}
	printf("{\"seconds\": %.6f, \"bytes\": %ju, \"calls\": %ju", (end - start) / 1e9,
	       (uintmax_t)bytes, (uintmax_t)calls);
	printf(", \"slowest\": %.0f, \"mean\": %.0f", slowest, mean);
	printf(", \"own_cpu\": %.6f, \"own_switches\": %ld", cpu, switches);
	print_samples(jobs, n);
	printf("}\n");
}

static int run(const struct load *load, const struct method *method)
{
	struct job *jobs = calloc(load->workers, sizeof(*jobs));
	int status = 0;

	if (!jobs || pthread_barrier_init(&barrier, NULL, load->workers))
		return 1;
	for (unsigned i = 0; i < load->workers; i++) {
		jobs[i].run = method->run;
		jobs[i].worker = (struct worker) {
			.load = load,
			.index = i,
			.file = load->files[i % load->n_files],
		};
		if (pthread_create(&jobs[i].thread, NULL, job_run, &jobs[i])) {
			fprintf(stderr, "bench-load: cannot start %u threads\n", load->workers);
			_exit(1);
		}
	}
	for (unsigned i = 0; i < load->workers; i++) {
		pthread_join(jobs[i].thread, NULL);
		if (jobs[i].error && !status) {
			fprintf(stderr, "bench-load: %s: %s: %s\n", method->name,
				jobs[i].worker.file, strerror(-jobs[i].error));
			status = 1;
		}
	}
	if (!status)
		print_result(jobs, load->workers);
	for (unsigned i = 0; i < load->workers; i++)
		free(jobs[i].worker.samples);
	free(jobs);
	pthread_barrier_destroy(&barrier);
	return status;
}

static void usage(FILE *out)
{
	fprintf(out, "usage: bench-load METHOD [OPTION...] FILE...\n"
		     "Worker i of --workers uses FILE number i, from the first again.\n\n");
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		fprintf(out, "  %-12s %s\n", methods[i].name, methods[i].help);
	fprintf(out, "\n"
		     "  --block=BYTES    of one call (131072)\n"
		     "  --workers=N      threads (1)\n"
		     "  --length=BYTES   of each worker (its file once)\n"
		     "  --count=N        calls of each worker\n"
		     "  --seconds=S      go on for so long, or until SIGTERM, again and again\n"
		     "  --rate=BYTES     per second and worker\n"
		     "  --spread         workers begin at different places of the file\n"
		     "  --direct         open with O_DIRECT\n"
		     "  --sync           fsync what was written\n"
		     "  --to=FILE        where copy writes, from the beginning again when FILE ends\n"
		     "  --seed=N         of the random places\n");
}

static const struct option options[] = {
	{ "block", required_argument, NULL, 'b' },
	{ "workers", required_argument, NULL, 'w' },
	{ "length", required_argument, NULL, 'l' },
	{ "count", required_argument, NULL, 'c' },
	{ "seconds", required_argument, NULL, 't' },
	{ "rate", required_argument, NULL, 'r' },
	{ "seed", required_argument, NULL, 's' },
	{ "to", required_argument, NULL, 'o' },
	{ "spread", no_argument, NULL, 'S' },
	{ "direct", no_argument, NULL, 'D' },
	{ "sync", no_argument, NULL, 'Y' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct load load = { .block = 128 << 10, .workers = 1, .seed = 1 };
	const struct method *method = NULL;
	int letter;

	while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (letter) {
		case 'b': load.block = strtoull(optarg, NULL, 10); break;
		case 'w': load.workers = strtoul(optarg, NULL, 10); break;
		case 'l': load.length = strtoll(optarg, NULL, 10); break;
		case 'c': load.count = strtoull(optarg, NULL, 10); break;
		case 't': load.seconds = strtod(optarg, NULL); break;
		case 'r': load.rate = strtod(optarg, NULL); break;
		case 's': load.seed = strtoull(optarg, NULL, 10); break;
		case 'o': load.to = optarg; break;
		case 'S': load.spread = true; break;
		case 'D': load.direct = true; break;
		case 'Y': load.sync = true; break;
		case 'h': usage(stdout); return 0;
		default: usage(stderr); return 2;
		}
	}
	for (size_t i = 0; optind < argc && i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (!strcmp(argv[optind], methods[i].name))
			method = &methods[i];
	}
	if (!method || argc - optind < 2 || !load.block || !load.workers) {
		usage(stderr);
		return 2;
	}
	signal(SIGTERM, stop);
	load.files = argv + optind + 1;
	load.n_files = argc - optind - 1;
	return run(&load, method);
}
