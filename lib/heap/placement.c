/*
 * placement.c - see placement.h.
 *
 * A heap of one node needs no binding: the system has nowhere else to go.
 */
#include "heap/placement.h"

#include <sched.h>

#include "region/owner.h"

int
placement_bind_chunk(struct thread *t, uint64_t chunk, uint32_t node)
{
        uint64_t *word = &t->region->chunk_words[chunk];

        owner_store(word, chunk_with_node1(owner_load(word), node + 1));
        return 0;
}

uint32_t
placement_node_here(const struct region *r)
{
        unsigned cpu, node;
        uint32_t n_nodes = r->layout.n_arenas / r->arenas_per_node;

        if (n_nodes == 1 || getcpu(&cpu, &node) < 0 || node >= n_nodes)
                return 0;
        return node;
}
