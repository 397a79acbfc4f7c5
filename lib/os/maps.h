/*
 * maps.h - what is mapped in this process, from /proc/self/maps: to choose an address, and to say what is in the way.
 */
#ifndef OS_MAPS_H
#define OS_MAPS_H

#include <stdint.h>

struct os_mapping {
        uint64_t start, end;
        uint64_t dev, ino; /* of the file, as in struct stat; ino 0: none */
        char what[256];    /* path or "[heap]"; "anonymous memory" if it has no name; cut off if longer */
};

/* By address, until fn returns non-zero, which is returned.  A picture of a moment: other threads map and unmap. */
int os_maps_each(int (*fn)(const struct os_mapping *mapping, void *arg), void *arg);

/* The same for whatever process: /proc/PID/maps, where addresses mean nothing here. */
int os_maps_each_of(const char *path, int (*fn)(const struct os_mapping *mapping, void *arg), void *arg);

/* The first mapping that overlaps [start, end): 1, 0 if there is none, or -errno. */
int os_maps_find(uint64_t start, uint64_t end, struct os_mapping *ret_mapping);

#endif
