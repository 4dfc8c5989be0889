/* SPDX-License-Identifier: MIT */
/*
 * Runs rounds: processes are forked, perform their part of the round's operations at once, read all
 * that they have open once more, and end; then everything is looked at.  See soak.h.
 */
#include "soak.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
	"usage: soak [--seed N] [--rounds N] [--operations N] [--seconds N] [--repeat N]\n"
	"            [--kinds NAME,...] [--without FIRST-LAST,...] [--outside]\n"
	"            [--no-passthrough] [--print] MOUNT BACKING\n"
	"Rounds of so many operations (4000), their seeds counting up from N, until one fails (status\n"
	"1), there were so many rounds or the time is over.  --repeat: each so often.  --without:\n"
	"operations of these numbers are left out.  --print: only shows them.\n";

struct options {
	struct config config;
	unsigned int rounds, repeat;
	int64_t seconds;
	const char *without;
	bool print;
};

/* Another process hangs, or has died. */
#define MEET_NS (60 * NS_PER_SEC)

static void on_fault(int number)
{
	if (catching)
		siglongjmp(fault, number);
	_exit(99);
}

static void meet(int *arrived, unsigned int count)
{
	int64_t end = now() + MEET_NS;

	__atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(arrived, __ATOMIC_ACQUIRE) < (int)count) {
		if (now() > end)
			_exit(98);
		usleep(20);
	}
}

static _Noreturn void run_worker(const struct config *config, struct shared *shared,
				 const struct plan *plan, const bool *keep, unsigned int index)
{
	struct worker worker;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGBUS, on_fault);
	worker_init(&worker, config, shared, index);
	worker.outside = config->outside && index == plan->workers - 1;
	meet(&shared->ready, plan->workers);
	for (worker.op = 0; worker.op < plan->count && !*worker.journal->complaint; worker.op++)
		if (plan->ops[worker.op].worker == index && keep[worker.op])
			worker_do(&worker, &plan->ops[worker.op]);
	meet(&shared->finished, plan->workers);
	/* Whatever is seen late is there by then. */
	if (config->outside || !config->passthrough)
		usleep(1300000);
	worker.op = UINT32_MAX - 1;
	worker_read_all(&worker, false);
	worker_finish(&worker);
	_exit(0);
}

static bool kernel_is_before(unsigned int major, unsigned int minor)
{
	unsigned int is_major = 0, is_minor = 0;
	struct utsname name;

	return !uname(&name) && sscanf(name.release, "%u.%u", &is_major, &is_minor) == 2 &&
	       (is_major < major || (is_major == major && is_minor < minor));
}

static bool wait_for(pid_t *pids, unsigned int count)
{
	bool good = true;
	int status;

	for (unsigned int i = 0; i < count; i++) {
		if (waitpid(pids[i], &status, 0) == pids[i] && !status)
			continue;
		printf("  process %u ended with status %x\n", i, status);
		good = false;
	}
	return good;
}

/* Whether the round of config->seed is as it should be. */
static bool run_round(const struct options *options, struct shared *shared)
{
	const struct config *config = &options->config;
	struct plan plan = plan_make(config);
	bool *keep = malloc(plan.count + 1);
	pid_t pids[WORKERS_MAX];
	struct worker parent;
	bool good;

	memset(keep, true, plan.count + 1);
	for (const char *at = options->without; at && *at;) {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		for (; first <= last && first < plan.count; first++)
			keep[first] = false;
		at = *end == ',' ? end + 1 : NULL;
	}
	if (options->print) {
		plan_print(&plan, keep);
		exit(0);
	}
	for (int i = 0; i <= WORKERS_MAX; i++) {
		shared->journal[i].events = shared->journal[i].runs = 0;
		shared->journal[i].complaint[0] = '\0';
	}
	shared->ready = shared->finished = 0;
	worker_init(&parent, config, shared, WORKERS_MAX);
	parent.op = UINT32_MAX;
	worker_make_files(&parent);
	fflush(stdout);
	for (unsigned int i = 0; i < plan.workers; i++) {
		pids[i] = fork();
		if (!pids[i])
			run_worker(config, shared, &plan, keep, i);
	}
	good = wait_for(pids, plan.workers);
	parent.op = UINT32_MAX - 1;
	signal(SIGBUS, on_fault);
	worker_read_all(&parent, true);
	worker_finish(&parent);
	good = check(shared, &plan, config) && good;
	free(keep);
	free(plan.ops);
	return good;
}

static bool parse(int argc, char **argv, struct options *options)
{
	enum { SEED, ROUNDS, OPERATIONS, SECONDS, REPEAT, KINDS, WITHOUT, OUTSIDE, PAGES, PRINT };
	static const struct option known[] = {
		{ "seed", required_argument, NULL, SEED },
		{ "rounds", required_argument, NULL, ROUNDS },
		{ "operations", required_argument, NULL, OPERATIONS },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "repeat", required_argument, NULL, REPEAT },
		{ "kinds", required_argument, NULL, KINDS },
		{ "without", required_argument, NULL, WITHOUT },
		{ "outside", no_argument, NULL, OUTSIDE },
		{ "no-passthrough", no_argument, NULL, PAGES },
		{ "print", no_argument, NULL, PRINT },
		{ 0 },
	};
	struct config *config = &options->config;
	int found;

	while ((found = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (found) {
		case SEED: config->seed = number; break;
		case ROUNDS: options->rounds = (unsigned int)number; break;
		case OPERATIONS: config->operations = (unsigned int)number; break;
		case SECONDS: options->seconds = (int64_t)number; break;
		case REPEAT: options->repeat = (unsigned int)number; break;
		case KINDS: config->kinds = optarg; break;
		case WITHOUT: options->without = optarg; break;
		case OUTSIDE: config->outside = config->late_pages = true; break;
		case PAGES:
			config->passthrough = false;
			config->late_pages |= kernel_is_before(6, 9);
			break;
		case PRINT: options->print = true; break;
		default: return false;
		}
	}
	if (argc - optind != 2)
		return false;
	config->mount = argv[optind];
	config->backing = argv[optind + 1];
	return true;
}

int main(int argc, char **argv)
{
	struct options options = { .config = { .operations = 4000, .passthrough = true }, .repeat = 1 };
	uint64_t done = 0, rounds = 0;
	struct shared *shared;
	int64_t end;

	if (!parse(argc, argv, &options)) {
		fputs(usage, stderr);
		return 2;
	}
	if (!options.rounds)
		options.rounds = options.seconds ? UINT32_MAX : 1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shared == MAP_FAILED) {
		perror("soak");
		return 2;
	}
	end = now() + options.seconds * NS_PER_SEC;
	while (rounds < options.rounds && (!options.seconds || now() < end)) {
		for (unsigned int i = 0; i < options.repeat; i++) {
			if (i && options.seconds && now() >= end)
				break;
			if (!run_round(&options, shared)) {
				printf("FAILED: seed %lu (repetition %u), after %lu operations\n",
				       options.config.seed, i, done);
				return 1;
			}
			done += options.config.operations;
		}
		rounds++;
		options.config.seed++;
	}
	printf("%lu operations in %lu rounds, nothing that no order explains\n", done, rounds);
	return 0;
}
