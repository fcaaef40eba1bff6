/*
 * The config file with any content: it is taken whole or refused with a sentence, and what was
 * refused has changed nothing.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "config/config.h"

static char path[32];

/* The file, of which nothing is left but the new bytes. */
static void write_file(const uint8_t *bytes, size_t n)
{
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("config", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	CHECK(fd >= 0 && !ftruncate(fd, 0));
	CHECK(pwrite(fd, bytes, n, 0) == (ssize_t)n);
}

static void same_text(const char *a, const char *b)
{
	CHECK(a == b || (a && b && !strcmp(a, b)));
}

static void same(const struct dbps_config *a, const struct dbps_config *b)
{
	for (size_t i = 0; i < dbps_n_config_keys; i++) {
		const char *at = (const char *)a + dbps_config_keys[i].offset;
		const char *bt = (const char *)b + dbps_config_keys[i].offset;

		switch (dbps_config_keys[i].type) {
		case DBPS_CONFIG_TEXT:
			same_text(*(char *const *)at, *(char *const *)bt);
			break;
		case DBPS_CONFIG_BOOL:
			CHECK(*(const bool *)at == *(const bool *)bt);
			break;
		default:
			CHECK(*(const unsigned int *)at == *(const unsigned int *)bt);
			break;
		}
	}
}

/* Numbers are within what the table says, texts are where one is needed. */
static void check_values(const struct dbps_config *config)
{
	for (size_t i = 0; i < dbps_n_config_keys; i++) {
		const struct dbps_config_key *key = &dbps_config_keys[i];
		const char *at = (const char *)config + key->offset;
		const char *text = key->type == DBPS_CONFIG_TEXT ? *(char *const *)at : NULL;
		unsigned int number = *(const unsigned int *)at;

		if (key->type == DBPS_CONFIG_NUMBER)
			CHECK(number >= key->min && number <= key->max);
		if (key->type == DBPS_CONFIG_TEXT)
			CHECK(text ? !key->max || strlen(text) <= key->max : !key->min);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dbps_config config, defaults;
	char *why = NULL;

	write_file(data, size);
	CHECK(!dbps_config_defaults(&config) && !dbps_config_defaults(&defaults));
	if (dbps_config_read(&config, path, &why)) {
		CHECK(why && *why);
		same(&config, &defaults);
	}
	check_values(&config);
	free(why);
	dbps_config_done(&config);
	dbps_config_done(&defaults);
	return 0;
}
