/*
 * stats_api.c - shheap_stats_print().  It reads only, and needs no place in the heap.
 */
#include <errno.h>

#include "api/heap.h"
#include "audit/stats.h"
#include "base/error.h"

static int
flags_of(const char *opts, unsigned *ret_flags)
{
        unsigned flags = 0;

        for (const char *at = opts ? opts : ""; *at; at++) {
                if (*at == 'J')
                        flags |= STATS_JSON;
                else if (*at == 'O')
                        flags |= STATS_OPENMETRICS;
                else if (*at == 'm')
                        flags |= STATS_MERGED;
                else
                        return error_set(-EINVAL, "shheap_stats_print: '%c': J, O and m are the letters", *at);
        }
        if ((flags & STATS_JSON) && (flags & STATS_OPENMETRICS))
                return error_set(-EINVAL, "shheap_stats_print: JSON (J) and OpenMetrics (O) exclude each other");
        *ret_flags = flags;
        return 0;
}

int
shheap_stats_print(shheap *h, FILE *out, const char *opts)
{
        unsigned flags = 0;
        int err = handle_is_open(h, "shheap_stats_print") ? flags_of(opts, &flags) : -EBADF;

        if (err < 0)
                return err;
        error_forget_refused();
        err = stats_print(&h->region, out, flags);
        if (err < 0 && err != -EIO)
                error_set_refused(err, "shheap_stats_print: %s", error_name(err));
        return err;
}
