/* SPDX-License-Identifier: MIT */
/*
 * The ready-made profiles: configuration as a user could have written it, put beneath
 * what the user did write.
 */
#include "policy/config-keys.h"

#include <string.h>

static const char media[] =
	"[policy]\n"
	"threshold=16M\n"
	"read-ahead=16M\n"
	"[rule media: pictures and lists stay]\n"
	"kind=image,document\n"
	"max-size=64M\n"
	"access=read\n"
	"lane=cached\n"
	"[rule media: recordings and downloads]\n"
	"kind=video,audio,archive\n"
	"access=write\n"
	"lane=stream\n";

static const char dataset[] =
	"[policy]\n"
	"read-ahead=16M\n"
	"[rule dataset: indexes stay]\n"
	"path=**/*.idx\n"
	"max-size=256M\n"
	"access=read\n"
	"keep=true\n"
	"[rule dataset: lists stay]\n"
	"kind=document\n"
	"max-size=256M\n"
	"access=read\n"
	"keep=true\n"
	"[rule dataset: checkpoints]\n"
	"kind=dataset\n"
	"access=write\n"
	"min-size=16M\n"
	"lane=stream\n"
	"[rule dataset: shards]\n"
	"kind=dataset,archive\n"
	"access=read\n"
	"threshold=64M\n";

#define BACKUP_PROGRAMS \
	"program=rsync,tar,bsdtar,cpio,borg,restic,kopia,duplicity,rclone,bacula-fd,bareos-fd," \
	"tsm,dsmc,dump,xfsdump,updatedb,clamscan,clamd\n"

static const char backup[] =
	"[rule backup: archives are written once]\n"
	"kind=archive,disk-image\n"
	"access=write\n"
	"min-size=1M\n"
	"lane=stream\n"
	"[rule backup: programs that read everything once]\n"
	BACKUP_PROGRAMS
	"access=read\n"
	"threshold=1M\n";

static const char vm_images[] =
	"[rule vm-images: copies]\n"
	"kind=disk-image\n"
	"program=cp,rsync,qemu-img,dd,tar,virt-*\n"
	"lane=stream\n"
	"[rule vm-images: running machines]\n"
	"kind=disk-image\n"
	"program=qemu*,kvm,cloud-hypervis*,firecracker,VBox*,vmware-vmx,bhyve\n"
	"lane=cached\n";

static const char web[] =
	"[policy]\n"
	"threshold=4M\n"
	"[rule web: pages stay]\n"
	"kind=document\n"
	"max-size=1M\n"
	"access=read\n"
	"keep=true\n"
	"[rule web: logs]\n"
	"kind=log\n"
	"access=write\n"
	"min-size=4M\n"
	"lane=stream\n";

static const char *const texts[PROFILE_COUNT] = {
	[PROFILE_MEDIA] = media,
	[PROFILE_DATASET] = dataset,
	[PROFILE_BACKUP] = backup,
	[PROFILE_VM_IMAGES] = vm_images,
	[PROFILE_WEB] = web,
};

/* What the profile says and nothing else did. */
static void take_keys(struct config *config, const struct config *profile, const char *source)
{
	for (unsigned int i = 0; i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		g_autofree char *value = config_key_format(key, profile);

		if (strcmp(g_hash_table_lookup(profile->sources, key->name), source) != 0 ||
		    strcmp(g_hash_table_lookup(config->sources, key->name), "default") != 0)
			continue;
		config_key_parse(key, config, value);
		config_note_source(config, key->name, source);
	}
}

bool config_apply_profile(struct config *config, GError **error)
{
	cleanup_config struct config *profile = config_new();
	g_autofree char *name = config_key_format(config_key_find("profile"), config);
	g_autofree char *source = g_strdup_printf("profile %s", name);

	if (config->profile == PROFILE_NONE)
		return true;
	if (!config_load_text(profile, source, texts[config->profile], error))
		return false;
	take_keys(config, profile, source);
	g_ptr_array_extend_and_steal(config->rules, g_steal_pointer(&profile->rules));
	profile->rules = g_ptr_array_new();
	return true;
}
