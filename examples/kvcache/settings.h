/*
 * settings.h - what the server was told on its command line.
 */
#ifndef KVCACHE_SETTINGS_H
#define KVCACHE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

struct settings {
        unsigned n_workers;
        unsigned port; /* 0: a free one */
        char address[64];
        char heap_name[64];
        uint64_t max_bytes, n_buckets, max_buffer_bytes;
        unsigned max_clients; /* of each worker */
        bool is_kept;         /* the heap stays when the server ends */
        bool is_quiet;
        bool is_check; /* look at the heap, serve nobody */
};

extern struct settings settings;

/* Ends the process after --help, and with status 2 where something is wrong. */
void settings_parse(int argc, char **argv);

#endif
