/* SPDX-License-Identifier: MIT */
/*
 * Workloads made up of a few parameters each.  All are sized by the memory they are for, so
 * that they mean the same with more of it.
 */
#include "tools/sim/sim.h"

#include <math.h>
#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

/* One of count, the first most often: Zipf with exponent 1, by inversion. */
static unsigned int zipf(GRand *random, unsigned int count)
{
	double place = pow((double)count + 1, g_rand_double(random)) - 1;

	return MIN((unsigned int)place, count - 1);
}

/* Sizes around middle: a bell on a scale of factors, the same for a file each time. */
static uint64_t size_of(uint64_t number, uint64_t middle, double spread)
{
	uint64_t hash = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
	double sum = 0;

	for (unsigned int i = 0; i < 4; i++)
		sum += (double)(hash >> (i * 16) & 0xffff) / 65536 - 0.5;
	return (uint64_t)((double)middle * exp2(sum * spread)) + 1;
}

struct scene {
	GArray *opens;
	double time;
};

static void add(struct scene *scene, const char *program, const char *directory, uint64_t number,
		const char *extension, uint64_t size, uint64_t bytes, enum learn_shape shape)
{
	char path[64];
	struct sim_open open = {
		.time = scene->time += 0.01, .program = program, .size = size,
		.bytes = MIN(bytes, size), .shape = shape,
	};

	g_snprintf(path, sizeof(path), "%s/%" G_GUINT64_FORMAT ".%s", directory, number, extension);
	open.path = g_intern_string(path);
	open.id = g_str_hash(path) ^ (number + 1) * UINT64_C(0xff51afd7ed558ccd);
	g_array_append_val(scene->opens, open);
}

/* Pages and pictures, most of which fit, and downloads, of which each is rare. */
static void web(struct scene *scene, GRand *random, uint64_t scale)
{
	unsigned int pages = (unsigned int)(scale / (100 * KIB));

	if (g_rand_int_range(random, 0, 100)) {
		uint64_t page = zipf(random, pages);

		add(scene, "nginx", "htdocs", page, "jpg", size_of(page, 100 * KIB, 4),
		    UINT64_MAX, SHAPE_PAGED);
	} else {
		uint64_t file = zipf(random, 20000);

		add(scene, "nginx", "downloads", file, "zip", size_of(file, scale / 100, 3),
		    UINT64_MAX, SHAPE_PAGED);
	}
}

static void generate_web(GArray *opens, GRand *random, uint64_t scale, unsigned int length)
{
	struct scene scene = { .opens = opens };

	while (opens->len < length)
		web(&scene, random, scale);
}

/* Films, each a good part of memory and watched by few, with their posters. */
static void media(struct scene *scene, GRand *random, uint64_t scale)
{
	if (g_rand_int_range(random, 0, 20)) {
		uint64_t film = zipf(random, 4000);

		add(scene, "mediad", "posters", film, "jpg",
		    size_of(film, MAX(scale / 8000, 1000), 2), UINT64_MAX, SHAPE_SMALL);
	} else {
		uint64_t film = zipf(random, 1500);
		uint64_t size = size_of(film, scale / 20, 3);
		/* Many stop after the beginning. */
		double part = g_rand_double(random);

		add(scene, "mediad", "films", film, "mkv", size,
		    (uint64_t)((double)size * part) + 1, SHAPE_SMALL);
	}
}

static void generate_media(GArray *opens, GRand *random, uint64_t scale, unsigned int length)
{
	struct scene scene = { .opens = opens };

	while (opens->len < length)
		media(&scene, random, scale);
}

/* The same shards in another order every epoch, more of them than memory holds. */
static void generate_training(GArray *opens, GRand *random, uint64_t scale, unsigned int length)
{
	struct scene scene = { .opens = opens };
	unsigned int shards = 150;
	g_autofree unsigned int *order = g_new(unsigned int, shards);

	for (unsigned int i = 0; i < shards; i++)
		order[i] = i;
	while (opens->len < length / 10) {
		for (unsigned int i = shards - 1; i; i--) {
			unsigned int j = (unsigned int)g_rand_int_range(random, 0, (gint32)i + 1);
			unsigned int kept = order[i];

			order[i] = order[j];
			order[j] = kept;
		}
		for (unsigned int i = 0; i < shards && opens->len < length / 10; i++)
			add(&scene, "python3", "shards", order[i], "tar",
			    size_of(order[i], scale / 100, 1), UINT64_MAX, SHAPE_SEQUENTIAL);
	}
}

/* A hot set of small files that fills memory, and a backup that reads everything once at times. */
static void generate_backup(GArray *opens, GRand *random, uint64_t scale, unsigned int length)
{
	struct scene scene = { .opens = opens };
	unsigned int hot = (unsigned int)(scale * 7 / 10 / (300 * KIB));
	uint64_t next = 0;

	while (opens->len < length) {
		bool at_night = opens->len / (length / 8) % 2;
		uint64_t file = (uint64_t)g_rand_int_range(random, 0, (gint32)hot);

		add(&scene, "postgres", "hot", file, "dat", size_of(file, 300 * KIB, 1), UINT64_MAX,
		    SHAPE_RANDOM);
		if (!at_night || opens->len % 4)
			continue;
		add(&scene, "restic", "home", next, "bin", size_of(next, 3 * MIB, 6), UINT64_MAX,
		    SHAPE_SEQUENTIAL);
		next++;
	}
}

/* Objects of all sizes: those of some MiB are as likely to come back as small ones. */
static void generate_cdn(GArray *opens, GRand *random, uint64_t scale, unsigned int length)
{
	struct scene scene = { .opens = opens };
	unsigned int objects = (unsigned int)(scale / (400 * KIB));

	while (opens->len < length) {
		if (g_rand_int_range(random, 0, 10)) {
			uint64_t object = zipf(random, objects);

			add(&scene, "varnishd", "objects", object, "bin",
			    size_of(object, 512 * KIB, 8), UINT64_MAX, SHAPE_PAGED);
		} else {
			/* Seen once: live segments. */
			uint64_t segment = opens->len;

			add(&scene, "varnishd", "segments", segment, "ts",
			    size_of(segment, 6 * MIB, 2), UINT64_MAX, SHAPE_PAGED);
		}
	}
}

/* A web server that becomes a media library half way. */
static void generate_shift(GArray *opens, GRand *random, uint64_t scale, unsigned int length)
{
	struct scene scene = { .opens = opens };

	while (opens->len < length / 2)
		web(&scene, random, scale);
	while (opens->len < length)
		media(&scene, random, scale);
}

const struct workload workloads[] = {
	{ "web", "Zipf over pages and pictures, rare downloads", generate_web },
	{ "media", "films and their posters", generate_media },
	{ "training", "epochs over shards that do not fit", generate_training },
	{ "backup", "a hot set with a backup scan over it at night", generate_backup },
	{ "cdn", "objects of all sizes, live segments between", generate_cdn },
	{ "shift", "a web server that becomes a media library half way", generate_shift },
};

const unsigned int workloads_count = G_N_ELEMENTS(workloads);

const struct workload *workload_find(const char *name)
{
	for (unsigned int i = 0; i < workloads_count; i++)
		if (strcmp(workloads[i].name, name) == 0)
			return &workloads[i];
	return NULL;
}
