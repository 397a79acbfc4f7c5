/*
 * plugin.h - what the plugins do for their host, which knows nothing of the library.
 */
#ifndef PLUGIN_PLUGIN_H
#define PLUGIN_PLUGIN_H

#include <stdint.h>

/* All: NULL, or what went wrong.  `relocatable` is 0 or 1. */
struct plugin {
        const char *(*open)(const char *name, int relocatable);
        const char *(*allocate)(uint64_t *ret_ref);
        const char *(*free_block)(uint64_t ref);
        const char *(*close)(void);
        const char *(*remove)(const char *name);
};

/* The one symbol: "plugin". */

#endif
