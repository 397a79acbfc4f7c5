/*
 * config.h - what heaps the daemon is to keep, from a file or from the command line.
 */
#ifndef SHMALLOCD_CONFIG_H
#define SHMALLOCD_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "region/name.h"

#define CONFIG_FILE_DEFAULT "/etc/shmalloc/shmallocd.conf"

/* The file that is read where none is named: below the prefix that the program is installed in, which may be another
 * than it was built for; where it is not installed, CONFIG_FILE_DEFAULT. */
void config_default_path(char path[PATH_MAX]);

enum { CONFIG_HEAPS_MAX = 256, CONFIG_ERROR_MAX = 512 };

/* A heap as it is to be. */
struct heap_config {
        char name[LAYOUT_NAME_MAX + 1];
        uint64_t capacity;     /* bytes; 0 = the library's default */
        uint64_t max_capacity; /* bytes; 0 = capacity */
        uint32_t mode;
        uid_t uid;
        gid_t gid;
        uint32_t max_clients; /* 0 = the library's default, as those below */
        uint32_t max_threads;
        uint32_t arenas;
        uint64_t numa_nodes; /* bit mask; 0 = all */
        uint32_t numa_policy;
        int64_t decay_ms; /* -1 = never; INT64_MIN = the default */
        uint32_t page_shift;
        bool replaces_stale; /* a heap of another layout, if nobody has it open */
        bool is_on_disk;     /* it may be */
        unsigned line;       /* that its section begins in; 0: the command line */
};

struct config {
        char socket[108]; /* empty: as the command line or the default says */
        uint32_t socket_mode;
        struct heap_config *heaps;
        size_t n_heaps;
};

void config_init(struct config *config);
void config_fini(struct config *config);

/* All defaults. */
void heap_config_init(struct heap_config *heap, const char *name);

/*
 * Reads a file.  0, or -errno, and then error says where, what, and what is valid instead: "FILE:LINE: ...".
 */
int config_read(struct config *config, const char *path, char error[CONFIG_ERROR_MAX]);

/* One option of a heap.  False: `error` says what is valid. */
bool heap_config_set(struct heap_config *heap, const char *key, const char *value, char error[CONFIG_ERROR_MAX]);

/* Whether the options go together, by the library's own judgement, and whether this process may do what they want. */
bool heap_config_check(const struct heap_config *heap, char error[CONFIG_ERROR_MAX]);

/* The options of a heap: for help, and to be passed on. */
struct config_key {
        const char *name;
        const char *value; /* "BYTES" */
        const char *help;  /* one line, with unit, bounds and default */
};
extern const struct config_key config_keys[];
extern const size_t config_n_keys;

/* The value of an option, as heap_config_set() takes it; false: it has its default. */
bool heap_config_get(const struct heap_config *heap, size_t key_idx, char *buf, size_t size);

/* "key:value,..." for what the library takes as text. */
void heap_config_conf(const struct heap_config *heap, char *buf, size_t size);

#endif
