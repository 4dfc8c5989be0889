/* SPDX-License-Identifier: MIT */
#include "mode-table.h"

enum condition { ANY, NO, YES };

enum outcome { AS_WISHED, WITHOUT, WITH };

/* FOPEN_DIRECT_IO of an open, by what else is open; the first row that fits decides. */
static const struct row {
	enum io_mode kind;
	enum condition plain_writers, direct; /* are there such opens */
	enum condition wished, writable;      /* of the new one */
	enum outcome direct_io;
} table[] = {
	/* Pages, and those who go around them, are kept in step: see kernel-pages.h. */
	{ IO_MODE_FUSE, ANY, ANY, ANY, ANY, AS_WISHED },
	/* Pages that sendfile would leave now could not be dropped in time. */
	{ IO_MODE_PASSTHROUGH, YES, ANY, YES, ANY, WITHOUT },
	/* There may be such pages: who writes does it where it is seen. */
	{ IO_MODE_PASSTHROUGH, NO, YES, NO, YES, WITH },
	{ IO_MODE_PASSTHROUGH, ANY, ANY, ANY, ANY, AS_WISHED },
};

static bool fits(enum condition condition, bool fact)
{
	return condition == ANY || (condition == YES) == fact;
}

static bool lookup(const struct mode_opens *opens, bool wished, bool writable)
{
	const struct row *row = table;

	while (row->kind != opens->kind || !fits(row->plain_writers, opens->plain_writers) ||
	       !fits(row->direct, opens->direct) || !fits(row->wished, wished) ||
	       !fits(row->writable, writable))
		row++;
	return row->direct_io == AS_WISHED ? wished : row->direct_io == WITH;
}

enum io_mode mode_table_begin(struct mode_opens *opens, bool passthrough)
{
	if (!opens->count++)
		opens->kind = passthrough ? IO_MODE_PASSTHROUGH : IO_MODE_FUSE;
	return opens->kind;
}

bool mode_table_settle(struct mode_opens *opens, bool wished, bool writable)
{
	bool direct_io = lookup(opens, wished, writable);

	if (opens->kind == IO_MODE_PASSTHROUGH) {
		opens->direct += direct_io;
		opens->plain_writers += writable && !direct_io;
		opens->writers += writable;
	}
	return direct_io;
}

void mode_table_end(struct mode_opens *opens, bool direct_io, bool writable)
{
	if (opens->kind == IO_MODE_PASSTHROUGH) {
		opens->direct -= direct_io;
		opens->plain_writers -= writable && !direct_io;
		opens->writers -= writable;
		/* A mapping holds the backing file alone: its end is not heard of. */
		if (writable && !opens->writers)
			opens->maybe_mapped = true;
	}
	if (!--opens->count)
		opens->kind = IO_MODE_NONE;
}

bool mode_table_is_unseen(const struct mode_opens *opens)
{
	return opens->writers || opens->maybe_mapped;
}

bool mode_table_denies_direct(const struct mode_opens *opens)
{
	return opens->kind == IO_MODE_PASSTHROUGH && !lookup(opens, true, false);
}
