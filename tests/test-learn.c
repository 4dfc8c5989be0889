/* SPDX-License-Identifier: MIT */
#include "policy/learn.h"

#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* A program, as the daemon sees it: what one open of it looks like in a lane. */
struct program {
	uint64_t piece;
	bool paged, random, mapped;
	bool uring;              /* where the kernel reads, pages come without any read(2) */
	uint64_t others;         /* there, so many bytes for each of the file's, in small pieces */
	double rate[LANE_COUNT]; /* bytes a second */
};

static const struct program sequential = {
	.piece = 256 * KIB, .rate = { 2e9, 2e9, 1.5e9 },
};
static const struct program sequential_for_stream = {
	.piece = 256 * KIB, .rate = { 2e9, 1.5e9, 2e9 },
};
static const struct program small_pieces = {
	.piece = 8 * KIB, .rate = { 2e9, 0.3e9, 2e9 },
};
static const struct program pieces_of_32k = {
	.piece = 32 * KIB, .rate = { 2e9, 1e9, 1.9e9 },
};
static const struct program pieces_of_32k_for_direct = {
	.piece = 32 * KIB, .rate = { 2e9, 2e9, 1e9 },
};
static const struct program sends = {
	.piece = 128 * KIB, .paged = true, .rate = { 2e9, 1e9, 2e9 },
};
static const struct program maps = {
	.mapped = true, .rate = { 2e9, 1e9, 2e9 },
};
static const struct program uring = {
	.piece = 256 * KIB, .uring = true, .rate = { 2e9, 2e9, 1.5e9 },
};
static const struct program server = {
	.piece = 256 * KIB, .others = 8, .rate = { 2e9, 2e9, 1.5e9 },
};
static const struct program random_reads = {
	.piece = 16 * KIB, .random = true, .rate = { 1e9, 0.1e9, 0.5e9 },
};

static struct learn_sample sample_of(const struct program *program, enum lane lane, uint64_t size)
{
	struct learn_sample sample = {
		.lane = lane,
		.size = size,
		.bytes = size,
		.duration = (int64_t)((double)size / program->rate[lane] * 1e6),
		.seen = lane == LANE_DIRECT,
	};

	if (program->mapped) {
		sample.mapped = lane == LANE_DIRECT;
		sample.bytes = 0;
		return sample;
	}
	sample.reads = size / program->piece;
	if (!sample.seen && program->uring) {
		sample.mapped = true;
		sample.bytes = sample.reads = 0;
	}
	if (!sample.seen && program->others) {
		sample.bytes += program->others * size;
		sample.reads += program->others * size / KIB;
	}
	if (!sample.seen)
		return sample;
	sample.small = program->piece < LEARN_SMALL_PIECE ? sample.reads : 0;
	sample.paged = program->paged ? sample.reads : 0;
	sample.sequential = program->random ? sample.reads / 100 : sample.reads - 1;
	return sample;
}

/* One open of a large file by that program: looks, opens, closes.  The lane it got. */
static enum lane open_once(struct learn *learn, const struct program *program, uint64_t size,
			   struct learn_view *view)
{
	struct learn_sample sample;
	struct learn_key key;
	enum lane lane;

	learn_key_init(&key, "program", "dir/file.iso", size);
	learn_look(learn, &key, true, false, true, view);
	lane = view->shape == SHAPE_UNKNOWN ? LANE_DIRECT : view->lane;
	sample = sample_of(program, lane, size);
	learn_note(learn, &key, &sample);
	return lane;
}

static enum lane settled(struct learn *learn, uint64_t size)
{
	struct learn_view view;
	struct learn_key key;

	learn_key_init(&key, "program", "dir/file.iso", size);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_false(view.trial);
	return view.lane;
}

static const struct {
	const char *name;
	const struct program *program;
	enum lane lane;
	enum learn_shape shape;
} programs[] = {
	{ "sequential", &sequential, LANE_DIRECT, SHAPE_SEQUENTIAL },
	{ "sequential, faster in stream", &sequential_for_stream, LANE_STREAM, SHAPE_SEQUENTIAL },
	{ "small pieces", &small_pieces, LANE_STREAM, SHAPE_SMALL },
	{ "32 KiB", &pieces_of_32k, LANE_STREAM, SHAPE_SMALL },
	{ "32 KiB, faster in direct", &pieces_of_32k_for_direct, LANE_DIRECT, SHAPE_SMALL },
	{ "sendfile", &sends, LANE_STREAM, SHAPE_PAGED },
	{ "mmap", &maps, LANE_STREAM, SHAPE_PAGED },
	{ "random", &random_reads, LANE_CACHED, SHAPE_RANDOM },
	{ "io_uring", &uring, LANE_DIRECT, SHAPE_SEQUENTIAL },
	{ "many files at once", &server, LANE_DIRECT, SHAPE_SEQUENTIAL },
};

/* Within ten opens every program is in its lane, the tenth open itself included, and stays. */
static void test_converges(void)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(programs); i++) {
		struct learn *learn = learn_new();
		unsigned int strays = 0;
		struct learn_view view;
		enum lane lane = LANE_COUNT;

		for (unsigned int n = 0; n < 10; n++)
			lane = open_once(learn, programs[i].program, GIB, &view);
		g_assert_cmpint(lane, ==, programs[i].lane);
		g_assert_cmpint(view.shape, ==, programs[i].shape);
		for (unsigned int n = 0; n < 200; n++)
			strays += open_once(learn, programs[i].program, GIB, &view) !=
				  programs[i].lane;
		/* One in twelve looks whether it is still so. */
		g_assert_cmpuint(strays, <=, 200 / 12 + 1);
		g_assert_cmpint(settled(learn, GIB), ==, programs[i].lane);
		learn_free(learn);
	}
}

/* From every program to every other, within twenty opens. */
static void test_follows(void)
{
	for (unsigned int from = 0; from < G_N_ELEMENTS(programs); from++) {
		for (unsigned int to = 0; to < G_N_ELEMENTS(programs); to++) {
			for (unsigned int before = 10; before < 60; before++) {
				struct learn *learn = learn_new();
				struct learn_view view;

				for (unsigned int n = 0; n < before; n++)
					open_once(learn, programs[from].program, GIB, &view);
				for (unsigned int n = 0; n < 20; n++)
					open_once(learn, programs[to].program, GIB, &view);
				if (programs[from].shape != programs[to].shape)
					g_assert_cmpint(settled(learn, GIB), ==,
							programs[to].lane);
				learn_free(learn);
			}
		}
	}
}

static void test_shapes(void)
{
	static const struct {
		struct learn_sample sample;
		enum learn_shape shape;
	} cases[] = {
		{ { .seen = true, .size = GIB }, SHAPE_UNKNOWN },
		{ { .seen = false, .size = GIB }, SHAPE_UNKNOWN },
		/* file(1) looks at the beginning. */
		{ { .seen = true, .reads = 1, .bytes = 1 * MIB, .size = GIB }, SHAPE_UNKNOWN },
		{ { .seen = true, .reads = 3, .bytes = GIB / 2 - 1, .size = GIB }, SHAPE_UNKNOWN },
		{ { .seen = true, .reads = 3, .bytes = GIB / 2, .size = GIB }, SHAPE_SEQUENTIAL },
		{ { .seen = true, .reads = 4, .bytes = 1 * MIB, .sequential = 2, .size = GIB },
		  SHAPE_SEQUENTIAL },
		{ { .seen = true, .reads = 4, .bytes = 1 * MIB, .sequential = 1, .size = GIB },
		  SHAPE_RANDOM },
		{ { .seen = true, .reads = 100, .bytes = GIB, .sequential = 99, .small = 50,
		    .size = GIB }, SHAPE_SEQUENTIAL },
		{ { .seen = true, .reads = 100, .bytes = GIB, .sequential = 99, .small = 51,
		    .size = GIB }, SHAPE_SMALL },
		{ { .seen = true, .reads = 100, .bytes = GIB, .sequential = 99, .paged = 51,
		    .size = GIB }, SHAPE_PAGED },
		{ { .seen = true, .reads = 100, .bytes = GIB, .sequential = 10, .paged = 51,
		    .size = GIB }, SHAPE_PAGED },
		{ { .mapped = true, .size = GIB }, SHAPE_PAGED },
		{ { .seen = false, .reads = 1000, .bytes = 64000 * KIB, .size = 64000 * KIB },
		  SHAPE_SEQUENTIAL },
		{ { .seen = false, .reads = 1000, .bytes = 63999 * KIB, .size = 64000 * KIB },
		  SHAPE_SMALL },
		{ { .seen = false, .reads = 20, .bytes = 80 * KIB, .size = GIB, .strewn = true },
		  SHAPE_RANDOM },
		/* Who reads much less or more than the file reads something else. */
		{ { .seen = false, .reads = 9000, .bytes = GIB / 2, .size = GIB }, SHAPE_SMALL },
		{ { .seen = false, .reads = 9000, .bytes = GIB / 2 - 1, .size = GIB },
		  SHAPE_UNKNOWN },
		{ { .seen = false, .reads = 90000, .bytes = GIB / 4 * 5, .size = GIB },
		  SHAPE_SMALL },
		{ { .seen = false, .reads = 90000, .bytes = GIB / 4 * 5 + 1, .size = GIB },
		  SHAPE_UNKNOWN },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++)
		g_assert_cmpint(learn_shape_of(&cases[i].sample), ==, cases[i].shape);
}

/* Opens that say nothing change nothing. */
static void test_looks_are_ignored(void)
{
	struct learn *learn = learn_new();
	struct learn_sample nothing = { .seen = true, .size = GIB, .lane = LANE_DIRECT };
	struct learn_view view;
	struct learn_key key;

	for (unsigned int n = 0; n < 10; n++)
		open_once(learn, &random_reads, GIB, &view);
	learn_key_init(&key, "program", "dir/file.iso", GIB);
	for (unsigned int n = 0; n < 100; n++)
		learn_note(learn, &key, &nothing);
	g_assert_cmpint(settled(learn, GIB), ==, LANE_CACHED);
	learn_look(learn, &key, true, false, false, &view);
	/* In the lane cached nobody sees how it reads: the first two opens are what is known. */
	g_assert_cmpuint(view.opens, ==, 2);
	g_assert_cmpuint(view.alike, ==, 2);
	learn_free(learn);
}

/* What is read here and there is kept where there is room for it, and only there. */
static void test_random_and_room(void)
{
	struct learn *learn = learn_new();
	struct learn_view view;
	struct learn_key key;

	learn_key_init(&key, "program", "dir/file.iso", 6 * GIB);
	g_assert_false(learn_is_strewn(learn, &key));
	for (unsigned int n = 0; n < 10; n++)
		open_once(learn, &random_reads, 6 * GIB, &view);
	g_assert_true(learn_is_strewn(learn, &key));
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.lane, ==, LANE_CACHED);
	g_assert_false(view.no_room);
	learn_look(learn, &key, false, false, false, &view);
	g_assert_cmpint(view.lane, ==, LANE_DIRECT);
	g_assert_true(view.no_room);
	learn_free(learn);
}

/* What is known of one size holds for the others, the nearest first, until they are known themselves. */
static void test_other_sizes(void)
{
	struct learn *learn = learn_new();
	struct learn_view view;
	struct learn_key key;

	for (unsigned int n = 0; n < 10; n++)
		open_once(learn, &small_pieces, 64 * MIB, &view);
	g_assert_false(view.borrowed);
	learn_key_init(&key, "program", "dir/file.iso", 100 * GIB);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_true(view.borrowed);
	g_assert_cmpuint(view.size_class, ==, 1);
	g_assert_cmpint(view.shape, ==, SHAPE_SMALL);
	/* Another extension or program is another matter. */
	learn_key_init(&key, "program", "dir/file.mkv", GIB);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_UNKNOWN);
	/* The first open of the other size is in its lane. */
	g_assert_cmpint(open_once(learn, &small_pieces, GIB, &view), ==, LANE_STREAM);
	open_once(learn, &small_pieces, GIB, &view);
	g_assert_false(view.borrowed);
	learn_key_init(&key, "program", "dir/file.iso", 256 * MIB);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpuint(view.size_class, ==, 1);
	learn_free(learn);
}

/* Every program whose first class was another's is in its own lane after ten opens, and stays. */
static void test_other_sizes_follow(void)
{
	for (unsigned int from = 0; from < G_N_ELEMENTS(programs); from++) {
		for (unsigned int to = 0; to < G_N_ELEMENTS(programs); to++) {
			struct learn *learn = learn_new();
			struct learn_view view;

			for (unsigned int n = 0; n < 10; n++)
				open_once(learn, programs[from].program, 256 * MIB, &view);
			for (unsigned int n = 0; n < 20; n++)
				open_once(learn, programs[to].program, 2 * GIB, &view);
			if (programs[from].shape != programs[to].shape)
				g_assert_cmpint(settled(learn, 2 * GIB), ==, programs[to].lane);
			g_assert_cmpint(settled(learn, 256 * MIB), ==, programs[from].lane);
			learn_free(learn);
		}
	}
}

/* With the table full, what lends is not what makes room. */
static void test_lending_when_full(void)
{
	struct learn_sample sample = sample_of(&small_pieces, LANE_DIRECT, GIB);
	struct learn *learn = learn_new();
	struct learn_view view;
	struct learn_key key;
	char name[16];

	for (unsigned int n = 0; n < LEARN_ENTRIES_MAX; n++) {
		g_snprintf(name, sizeof(name), "p%u", n);
		learn_key_init(&key, name, NULL, GIB);
		learn_note(learn, &key, &sample);
	}
	learn_key_init(&key, "p0", NULL, 0);
	learn_look(learn, &key, true, false, true, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_SMALL);
	g_assert_cmpuint(learn_count(learn), ==, LEARN_ENTRIES_MAX);
	learn_look(learn, &key, true, false, true, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_SMALL);
	learn_free(learn);
}

/* A database, which is never seen: it opens to read and write. */
static void test_strewn_from_outside(void)
{
	struct learn_sample sample = { .lane = LANE_STREAM, .reads = 500, .bytes = 500 * 4 * KIB,
				       .size = GIB, .strewn = true };
	struct learn *learn = learn_new();
	struct learn_view view;
	struct learn_key key;

	learn_key_init(&key, "sqlite3", "a.db", GIB);
	learn_note(learn, &key, &sample);
	learn_note(learn, &key, &sample);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.lane, ==, LANE_CACHED);
	g_assert_cmpuint(view.piece, ==, 4 * KIB);
	/* One that is known to map goes on mapping. */
	learn_key_init(&key, "mapper", "a.db", GIB);
	for (unsigned int n = 0; n < 5; n++) {
		struct learn_sample maps_it = { .lane = LANE_DIRECT, .mapped = true, .size = GIB };

		learn_note(learn, &key, n ? &sample : &maps_it);
	}
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.lane, ==, LANE_STREAM);
	learn_free(learn);
}

/* One open does not lead a program to where nothing is seen of it any more. */
static void test_one_stray_open(void)
{
	struct learn *learn = learn_new();
	struct learn_view view;
	unsigned int cached = 0;

	for (unsigned int n = 0; n < 100; n++)
		cached += open_once(learn, n ? &sequential : &random_reads, GIB, &view) ==
			  LANE_CACHED;
	g_assert_cmpuint(cached, ==, 0);
	learn_free(learn);
}

static void test_questions_take_no_turn(void)
{
	struct learn *one = learn_new(), *two = learn_new();

	for (unsigned int n = 0; n < 100; n++) {
		struct learn_view view, other;

		for (unsigned int i = 0; i < n % 7; i++)
			settled(two, GIB);
		open_once(one, &sequential, GIB, &view);
		open_once(two, &sequential, GIB, &other);
		g_assert_cmpint(view.lane, ==, other.lane);
		g_assert_cmpint(view.trial, ==, other.trial);
	}
	learn_free(one);
	learn_free(two);
}

/* When a measured lane is tried anew, the two are told apart. */
static void test_measured_trial(void)
{
	struct learn *learn = learn_new();
	struct learn_view view;
	unsigned int trials = 0;

	for (unsigned int n = 0; n < 60; n++) {
		open_once(learn, &sequential, GIB, &view);
		if (!view.trial || !view.measured)
			continue;
		g_assert_cmpint(view.lane, ==, LANE_STREAM);
		g_assert_cmpint(view.other, ==, LANE_DIRECT);
		g_assert_cmpfloat(view.rate, >, view.other_rate);
		trials++;
	}
	g_assert_cmpuint(trials, >=, 3);
	learn_free(learn);
}

/* Where the kernel reads far ahead the second open of a sequential reader is in stream; what is measured wins. */
static void test_reads_far_ahead(void)
{
	const struct {
		const struct program *program;
		enum lane lane;
	} cases[] = { { &sequential_for_stream, LANE_STREAM }, { &sequential, LANE_DIRECT } };

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct learn *learn = learn_new();
		struct learn_sample sample;
		struct learn_view view;
		struct learn_key key;
		unsigned int trials = 0;

		learn_key_init(&key, "program", "dir/file.iso", GIB);
		for (unsigned int n = 0; n < 10; n++) {
			enum lane lane;

			learn_look(learn, &key, true, true, true, &view);
			lane = view.shape == SHAPE_UNKNOWN ? LANE_DIRECT : view.lane;
			if (n == 1) {
				g_autoptr(GString) text = g_string_new(NULL);

				g_assert_cmpint(lane, ==, LANE_STREAM);
				learn_say(&view, "program", text);
				g_assert_nonnull(strstr(text->str, ", and the kernel reads far ahead"));
			}
			trials += view.trial;
			sample = sample_of(cases[i].program, lane, GIB);
			learn_note(learn, &key, &sample);
		}
		g_assert_cmpuint(trials, >, 0);
		learn_look(learn, &key, true, true, false, &view);
		g_assert_cmpint(view.lane, ==, cases[i].lane);
		g_assert_true(view.measured);
		learn_free(learn);
	}
}

/* A file that was held open for a year: what was learned can be restored all the same. */
static void test_slowest(void)
{
	const struct learn_sample sample = {
		.lane = LANE_DIRECT, .seen = true, .size = 20 * MIB, .bytes = 20 * MIB, .reads = 160,
		.sequential = 159, .duration = (int64_t)365 * 86400 * G_USEC_PER_SEC,
	};
	g_autoptr(GString) text = g_string_new(NULL);
	struct learn *learn = learn_new(), *again = learn_new();
	g_auto(GStrv) lines = NULL;
	struct learn_key key;

	learn_key_init(&key, "server", "a.iso", sample.size);
	learn_note(learn, &key, &sample);
	learn_save(learn, text);
	g_assert_cmpuint(text->len, >, 0);
	lines = g_strsplit(text->str, "\n", -1);
	for (char **line = lines; *line && **line; line++)
		g_assert_true(learn_restore(again, *line));
	learn_free(learn);
	learn_free(again);
}

/* A name alone is not a program: who it belongs to, and where it runs, count. */
static void test_owners(void)
{
	struct learn_sample sample = sample_of(&random_reads, LANE_DIRECT, GIB);
	struct learn *learn = learn_new();
	struct learn_key theirs, ours, other;
	struct learn_view view;

	learn_key_init(&theirs, "nginx", "a.iso", GIB);
	theirs.uid = 1000;
	learn_note(learn, &theirs, &sample);
	learn_note(learn, &theirs, &sample);
	learn_key_init(&ours, "nginx", "a.iso", GIB);
	learn_group_name(ours.group, "/system.slice/nginx.service");
	learn_look(learn, &ours, true, false, true, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_UNKNOWN);
	/* A question may be about any, the own one first. */
	other = ours;
	learn_suppose(learn, &other, false);
	g_assert_cmpmem(&other, sizeof(other), &ours, sizeof(ours));
	learn_suppose(learn, &other, true);
	g_assert_cmpmem(&other, sizeof(other), &theirs, sizeof(theirs));
	learn_note(learn, &ours, &sample);
	other = ours;
	learn_suppose(learn, &other, true);
	g_assert_cmpmem(&other, sizeof(other), &ours, sizeof(ours));
	learn_free(learn);
}

/* A million programs: memory stays bounded, the ones used last are known. */
static void test_bounded(void)
{
	struct learn_sample sample = sample_of(&small_pieces, LANE_DIRECT, GIB);
	struct learn *learn = learn_new();
	struct learn_view view;
	struct learn_key key;
	char name[16];

	for (unsigned int n = 0; n < 1000000; n++) {
		g_snprintf(name, sizeof(name), "p%u", n);
		learn_key_init(&key, name, NULL, GIB);
		learn_note(learn, &key, &sample);
		if (n % 1000)
			continue;
		learn_key_init(&key, "steady", NULL, GIB);
		learn_note(learn, &key, &sample);
	}
	g_assert_cmpuint(learn_count(learn), ==, LEARN_ENTRIES_MAX);
	g_assert_cmpuint(learn_footprint(learn), <, 2 * MIB);
	learn_key_init(&key, "steady", NULL, GIB);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_SMALL);
	learn_key_init(&key, "p10", NULL, GIB);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_UNKNOWN);
	learn_free(learn);
}

/* A few users' many programs do not make it forgotten what others' do. */
static void flood(unsigned int users)
{
	struct learn *learn = learn_new();
	struct learn_sample small = sample_of(&pieces_of_32k, LANE_STREAM, GIB);
	struct learn_view view;
	struct learn_key key;
	char name[16];

	learn_key_init(&key, "steady", NULL, GIB);
	for (int i = 0; i < 5; i++)
		learn_note(learn, &key, &small);
	for (unsigned int n = 0; n < 3 * LEARN_ENTRIES_MAX; n++) {
		g_snprintf(name, sizeof(name), "f%u", n);
		learn_key_init(&key, name, NULL, GIB);
		key.uid = 1000 + n % users;
		learn_note(learn, &key, &small);
	}
	g_assert_cmpuint(learn_count(learn), ==, LEARN_ENTRIES_MAX);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_SMALL);
	learn_key_init(&key, "steady", NULL, GIB);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpint(view.shape, ==, SHAPE_SMALL);
	learn_free(learn);
}

static void test_flood(void)
{
	flood(1);
	flood(2);
	flood(7);
}

/* An open that has read eight times and goes on; the lane of the next. */
static enum lane open_early(struct learn *learn, const struct program *program,
			    enum learn_shape *noted)
{
	struct learn_sample sample = sample_of(program, LANE_DIRECT, GIB);
	struct learn_view view;
	struct learn_key key;

	learn_key_init(&key, "program", "dir/file.iso", GIB);
	sample.reads = MIN(sample.reads, 8);
	sample.small = MIN(sample.small, 8);
	sample.paged = MIN(sample.paged, 8);
	sample.sequential = program->random ? 0 : MIN(sample.sequential, 7);
	sample.bytes = sample.reads * program->piece;
	sample.duration = 0;
	sample.mapped = false; /* that is looked at when it is closed */
	*noted = learn_note_early(learn, &key, &sample);
	learn_look(learn, &key, true, false, true, &view);
	return view.shape == SHAPE_UNKNOWN ? LANE_DIRECT : view.lane;
}

static void test_early(void)
{
	static const struct {
		const struct program *program;
		enum lane lane;
		enum learn_shape shape;
	} cases[] = {
		{ &sequential, LANE_DIRECT, SHAPE_SEQUENTIAL },
		{ &small_pieces, LANE_STREAM, SHAPE_SMALL },
		{ &sends, LANE_STREAM, SHAPE_PAGED },
		{ &random_reads, LANE_DIRECT, SHAPE_RANDOM }, /* it takes two to be cached */
		{ &maps, LANE_DIRECT, SHAPE_UNKNOWN },
	};

	for (unsigned int i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct learn *learn = learn_new();
		enum learn_shape noted, again;
		struct learn_sample sample;
		struct learn_view view;
		struct learn_key key;

		g_assert_cmpint(open_early(learn, cases[i].program, &noted), ==, cases[i].lane);
		g_assert_cmpint(noted, ==, cases[i].shape);
		/* Only the first says something that early. */
		open_early(learn, &small_pieces, &again);
		if (noted != SHAPE_UNKNOWN)
			g_assert_cmpint(again, ==, SHAPE_UNKNOWN);
		/* Closed, it is one open and not two. */
		learn_key_init(&key, "program", "dir/file.iso", GIB);
		sample = sample_of(cases[i].program, LANE_DIRECT, GIB);
		sample.noted = noted;
		learn_note(learn, &key, &sample);
		learn_look(learn, &key, true, false, false, &view);
		if (noted != SHAPE_UNKNOWN)
			g_assert_cmpuint(view.opens, ==, 1);
		learn_free(learn);
	}
}

/* What was noted early and is another thing in the end. */
static void test_early_and_wrong(void)
{
	struct learn_sample sample = sample_of(&sequential, LANE_DIRECT, GIB);
	struct learn *learn = learn_new();
	enum learn_shape noted;
	struct learn_view view;
	struct learn_key key;

	g_assert_cmpint(open_early(learn, &small_pieces, &noted), ==, LANE_STREAM);
	sample.noted = noted;
	learn_key_init(&key, "program", "dir/file.iso", GIB);
	learn_note(learn, &key, &sample);
	g_assert_cmpint(settled(learn, GIB), ==, LANE_DIRECT);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpuint(view.opens, ==, 1);
	learn_free(learn);
	/* What it was noted in has made room since. */
	learn = learn_new();
	sample.noted = SHAPE_SEQUENTIAL;
	learn_note(learn, &key, &sample);
	learn_look(learn, &key, true, false, false, &view);
	g_assert_cmpuint(view.opens, ==, 1);
	learn_free(learn);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/learn/converges", test_converges);
	g_test_add_func("/learn/follows", test_follows);
	g_test_add_func("/learn/shapes", test_shapes);
	g_test_add_func("/learn/looks-are-ignored", test_looks_are_ignored);
	g_test_add_func("/learn/random-and-room", test_random_and_room);
	g_test_add_func("/learn/questions-take-no-turn", test_questions_take_no_turn);
	g_test_add_func("/learn/other-sizes", test_other_sizes);
	g_test_add_func("/learn/other-sizes-follow", test_other_sizes_follow);
	g_test_add_func("/learn/lending-when-full", test_lending_when_full);
	g_test_add_func("/learn/strewn-from-outside", test_strewn_from_outside);
	g_test_add_func("/learn/measured-trial", test_measured_trial);
	g_test_add_func("/learn/slowest", test_slowest);
	g_test_add_func("/learn/reads-far-ahead", test_reads_far_ahead);
	g_test_add_func("/learn/owners", test_owners);
	g_test_add_func("/learn/one-stray-open", test_one_stray_open);
	g_test_add_func("/learn/bounded", test_bounded);
	g_test_add_func("/learn/flood", test_flood);
	g_test_add_func("/learn/early", test_early);
	g_test_add_func("/learn/early-and-wrong", test_early_and_wrong);
	return g_test_run();
}
