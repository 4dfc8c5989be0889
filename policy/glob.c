/* SPDX-License-Identifier: MIT */
/*
 * Matching with two places to go back to: the last '*' and the last "**".
 *
 * More are not needed.  What an earlier '*' could take instead is either taken
 * by a later "**" just as well, or ends at the same '/', which the later '*'
 * cannot cross either.
 */
#include "policy/glob.h"

#include <glib.h>

/* One character; a byte that is not UTF-8 is a character of its own. */
static gunichar next_char(const char **p)
{
	gunichar c = g_utf8_get_char_validated(*p, -1);

	if (c == (gunichar)-1 || c == (gunichar)-2) {
		c = 0x110000 + (unsigned char)**p;
		*p += 1;
	} else {
		*p = g_utf8_next_char(*p);
	}
	return c;
}

static gunichar next_literal(const char **p)
{
	if (**p == '\\' && (*p)[1])
		*p += 1;
	return next_char(p);
}

/* *p is behind '['; moves it behind ']'.  Sets *in to whether c is in the set. */
static bool parse_set(const char **p, gunichar c, bool *in)
{
	bool negated = **p == '!' || **p == '^';
	bool found = false;
	bool first = true;

	if (negated)
		*p += 1;
	while (**p && (**p != ']' || first)) {
		gunichar low = next_literal(p);
		gunichar high = low;

		if (**p == '-' && (*p)[1] && (*p)[1] != ']') {
			*p += 1;
			high = next_literal(p);
		}
		if (c >= low && c <= high)
			found = true;
		first = false;
	}
	if (**p != ']')
		return false;
	*p += 1;
	*in = found != negated;
	return true;
}

/* Matches one character against what is not a star; moves both on success. */
static bool match_one(const char **pattern, const char **text, enum glob_kind kind)
{
	const char *p = *pattern;
	const char *t = *text;
	gunichar c = next_char(&t);
	bool separator = kind == GLOB_PATH && c == '/';
	bool in = false;

	switch (*p) {
	case '\0':
		return false;
	case '?':
		p++;
		in = !separator;
		break;
	case '[':
		p++;
		if (!parse_set(&p, c, &in) || separator)
			return false;
		break;
	default:
		in = next_literal(&p) == c;
		break;
	}
	if (!in)
		return false;
	*pattern = p;
	*text = t;
	return true;
}

/* Where the matching goes on when it fails: this much of the pattern, that much of the text. */
struct retry {
	const char *pattern; /* NULL: nothing to go back to */
	const char *text;
	bool whole;          /* the star stands for whole components: only behind a '/' */
};

/* Lets the star take more; false when it cannot. */
static bool retry_longer(struct retry *retry, bool crosses)
{
	if (!retry->pattern)
		return false;
	do {
		if (!*retry->text || (*retry->text == '/' && !crosses))
			return false;
		next_char(&retry->text);
	} while (retry->whole && retry->text[-1] != '/');
	return true;
}

bool glob_match(const char *pattern, const char *text, enum glob_kind kind)
{
	struct retry star = { 0 };
	struct retry stars = { 0 };
	const char *p = pattern;
	const char *t = text;

	while (*p || *t) {
		if (kind == GLOB_PATH && p[0] == '*' && p[1] == '*') {
			bool component = p == pattern || p[-1] == '/';

			while (*p == '*')
				p++;
			stars.whole = component && *p == '/';
			if (stars.whole)
				p++;
			stars.pattern = p;
			stars.text = t;
			star.pattern = NULL;
			continue;
		}
		if (*p == '*') {
			p++;
			star.pattern = p;
			star.text = t;
			continue;
		}
		if (*t && match_one(&p, &t, kind))
			continue;
		if (retry_longer(&star, kind == GLOB_WORD)) {
			p = star.pattern;
			t = star.text;
		} else if (retry_longer(&stars, true)) {
			p = stars.pattern;
			t = stars.text;
			star.pattern = NULL;
		} else {
			return false;
		}
	}
	return true;
}

const char *glob_check(const char *pattern)
{
	bool in;

	for (const char *p = pattern; *p;) {
		if (*p == '[') {
			p++;
			if (!parse_set(&p, 0, &in))
				return "'[' without ']'";
		} else if (*p == '\\' && !p[1]) {
			return "'\\' with nothing behind it";
		} else {
			next_literal(&p);
		}
	}
	return NULL;
}
