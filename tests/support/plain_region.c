#include "support/plain_region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void
plain_region_make(struct region *r, uint32_t max_clients, uint32_t max_threads, uint32_t n_nodes,
                  uint32_t arenas_per_node)
{
        struct layout_params params = {.max_capacity = 2 * GEO_CHUNK_BYTES,
                                       .max_clients = max_clients,
                                       .max_threads = max_threads,
                                       .n_nodes = n_nodes,
                                       .arenas_per_node = arenas_per_node,
                                       .max_roots = 16,
                                       .page_shift = 12};
        struct layout layout;
        const char *what;
        void *base;

        if (layout_compute(&params, &layout, &what) < 0) {
                fprintf(stderr, "plain_region: %s\n", what);
                abort();
        }
        base = mmap(NULL, layout.region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                    0);
        if (base == MAP_FAILED) {
                perror("plain_region: mmap");
                abort();
        }
        memset(r, 0, sizeof *r);
        r->fd = -1;
        region_bind(r, base, &layout);
        region_format(r, &params, "plain", (uintptr_t)base);
}

void
plain_region_drop(struct region *r)
{
        munmap(r->base, r->layout.region_bytes);
}
