/* SPDX-License-Identifier: MIT */
#include "policy/kind.h"

#include <errno.h>
#include <string.h>

static const struct kind {
	const char *name;
	const char *extensions; /* each between two spaces */
} kinds[] = {
	{ "archive", " 7z bz2 deb gz lz4 rar rpm tar tbz tgz txz xz zip zst " },
	{ "audio", " aac aiff ape flac m4a m4b mka mp3 oga ogg opus wav wma " },
	{ "database", " db db3 ibd mdb myd myi sqlite sqlite3 " },
	{ "dataset", " arrow avro bin feather h5 hdf5 idx lmdb mat nc npy npz orc parquet pt pth "
		     "rec safetensors tfrecord tfrecords wds zarr " },
	{ "disk-image", " img iso qcow qcow2 raw vdi vhd vhdx vmdk " },
	{ "document", " csv doc docx epub htm html json md odp ods odt pdf ppt pptx rtf tex txt "
		      "xls xlsx xml " },
	{ "image", " avif bmp cr2 dng gif heic heif ico jpeg jpg nef png svg tif tiff webp " },
	{ "log", " journal log " },
	{ "video", " 3gp avi flv m2ts m4s m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv " },
};

int kind_parse(const char *text, unsigned int *out)
{
	g_auto(GStrv) words = g_strsplit(text, ",", -1);
	unsigned int set = 0;

	for (char **word = words; *word; word++) {
		unsigned int i = 0;

		g_strstrip(*word);
		while (i < G_N_ELEMENTS(kinds) && strcmp(kinds[i].name, *word) != 0)
			i++;
		if (i == G_N_ELEMENTS(kinds))
			return -EINVAL;
		set |= 1U << i;
	}
	if (!set)
		return -EINVAL;
	*out = set;
	return 0;
}

char *kind_format(unsigned int set)
{
	GString *text = g_string_new(NULL);

	for (unsigned int i = 0; i < G_N_ELEMENTS(kinds); i++)
		if (set & 1U << i)
			g_string_append_printf(text, "%s%s", text->len ? "," : "", kinds[i].name);
	return g_string_free(text, FALSE);
}

unsigned int kind_of_path(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');
	g_autofree char *lower = NULL;
	g_autofree char *word = NULL;
	unsigned int set = 0;

	if (!dot || strlen(dot) > 16 || strchr(dot, ' '))
		return 0;
	lower = g_ascii_strdown(dot + 1, -1);
	word = g_strdup_printf(" %s ", lower);
	for (unsigned int i = 0; *lower && i < G_N_ELEMENTS(kinds); i++)
		if (strstr(kinds[i].extensions, word))
			set |= 1U << i;
	return set;
}

void kind_names(GString *out)
{
	for (unsigned int i = 0; i < G_N_ELEMENTS(kinds); i++)
		g_string_append_printf(out, "%s%s", i ? ", " : "", kinds[i].name);
}
