/*
 * scripts_life.c - threads, roots, purging, and what happens when memory runs out.
 */
#include "crash.h"

static void
run_reap(struct actor *a)
{
        (void)a;
        actor_reap();
}

const struct script scripts_life[] = {
        {.name = "reap", .run = run_reap, .hot_bytes = 4096, .flags = SCRIPT_EVERY},
        {.name = NULL},
};
