/*
 * maps.c - see maps.h.
 *
 * A line that is too long for the reader loses its tail, which is the tail of a path.
 */
#include "os/maps.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/verify.h"
#include "os/inject.h"
#include "os/lines.h"

/* start-end perms offset dev inode   what */
static bool
parse(const char *line, struct os_mapping *ret_mapping)
{
        struct os_mapping m = {0};
        unsigned major_no, minor_no;
        int what_idx = 0;

        if (sscanf(line, "%lx-%lx %*s %*s %x:%x %lu %n", &m.start, &m.end, &major_no, &minor_no, &m.ino, &what_idx) !=
                    5 ||
            what_idx == 0)
                return false;
        m.dev = makedev(major_no, minor_no);
        snprintf(m.what, sizeof m.what, "%s", line[what_idx] != '\0' ? line + what_idx : "anonymous memory");
        ASSERT(m.start < m.end && what_idx > 0);
        *ret_mapping = m;
        return true;
}

int
os_maps_each(int (*fn)(const struct os_mapping *mapping, void *arg), void *arg)
{
        int err = os_injected("maps");

        return err < 0 ? err : os_maps_each_of("/proc/self/maps", fn, arg);
}

int
os_maps_each_of(const char *path, int (*fn)(const struct os_mapping *mapping, void *arg), void *arg)
{
        struct os_mapping mapping;
        struct lines lines;
        int result = 0, err = lines_open(&lines, path);
        const char *line;

        if (err < 0)
                return err;
        while (result == 0 && (line = lines_next(&lines)) != NULL)
                if (parse(line, &mapping))
                        result = fn(&mapping, arg);
        lines_close(&lines);
        return result;
}

struct find {
        uint64_t start, end;
        struct os_mapping found;
};

static int
find_fn(const struct os_mapping *mapping, void *arg)
{
        struct find *find = arg;

        ASSERT(mapping->start < mapping->end);
        if (mapping->start >= find->end || mapping->end <= find->start)
                return 0;
        find->found = *mapping;
        return 1;
}

int
os_maps_find(uint64_t start, uint64_t end, struct os_mapping *ret_mapping)
{
        struct find find = {.start = start, .end = end};
        int result = os_maps_each(find_fn, &find);

        ASSERT(start < end);
        if (result == 1)
                *ret_mapping = find.found;
        return result;
}
