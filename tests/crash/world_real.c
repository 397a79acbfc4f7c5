/*
 * world_real.c - the world of real.c: a heap in a memfd, and every actor a process of its own.
 *
 * The books of the actors lie in memory that all processes share, so that who is left knows what the dead one had.
 */
#include "crash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "region/open.h"
#include "support/clock_call.h"
#include "support/fills.h"

struct actor *actors, *actor_now;
struct region *world_region;
uint64_t world_ms;

static struct shheap *handles;

static void
die(const char *what)
{
        fprintf(stderr, "crash: %s: %s (%s)\n", what, strerror(errno), error_message());
        exit(99);
}

/* The system does not tell: pages that were reserved and never touched look like holes. */
enum backing
world_backing(uint64_t region_off)
{
        (void)region_off;
        return BACKING_UNKNOWN;
}

void
world_touch(uint64_t region_off)
{
        (void)*(volatile char *)(world_region->base + region_off);
}

const void *
world_system(size_t *ret_bytes)
{
        *ret_bytes = 0;
        return NULL;
}

bool
world_is_placed(uint64_t chunk, uint32_t node1)
{
        (void)chunk;
        (void)node1;
        return true;
}

void
actor_switch(struct actor *a)
{
        actor_now = a;
        world_region = &a->heap->region;
}

void
actor_attach(struct actor *a)
{
        int err;

        actor_switch(a);
        a->os_pid = (uint32_t)getpid();
        if (!tcache_get(a->heap, &err))
                die("a process cannot attach");
        a->is_attached = true;
        fills_are_whole(thread_of(a));
}

void
actor_kill(struct actor *a)
{
        a->is_dead = true;
}

void
newcomer_comes(void)
{
        pid_t pid;
        int status;

        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                actors[ACTOR_F].heap->generation = tcache_generation() - 1;
                actor_attach(&actors[ACTOR_F]);
                a_free(&actors[ACTOR_F], a_malloc(&actors[ACTOR_F], 64));
                _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
                report_line("a new process cannot take the place of the dead");
        actors[ACTOR_F].is_dead = true;
        actor_reap();
}

void
world_make(const struct script *script)
{
        struct region_open_args args = {.flags = 0};
        char conf[32];
        struct options_given given = {.capacity = (script->n_chunks ? script->n_chunks : 4) * GEO_CHUNK_BYTES,
                                      .max_clients =
                                              2, /* the victim and the survivor: a newcomer needs the place of one */
                                      .max_threads = 4,
                                      .conf = conf};
        struct region region;

        snprintf(conf, sizeof conf, "arenas:%u", script->n_arenas ? script->n_arenas : 1);
        if (options_resolve(&given, &args.options) < 0 || region_create_anonymous(&region, "crash", &args) < 0)
                die("no region");
        region.header->decay_ms = script->decay_ms ? script->decay_ms : INT64_MAX / 2;
        actors = mmap(NULL, N_ACTORS * sizeof *actors, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        handles = mmap(NULL, N_ACTORS * sizeof *handles, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (actors == MAP_FAILED || handles == MAP_FAILED)
                die("mmap");
        for (int no = 0; no < N_ACTORS; no++) {
                struct shheap *heap = &handles[no];

                actors[no].no = no;
                actors[no].os_pid = UINT32_MAX;
                actors[no].heap = &handles[no];
                handles[no].is_open = true;
                heap->region = region;
                heap->generation = tcache_generation() - 1;
                pthread_mutex_init(&heap->lock, NULL);
        }
        actor_switch(&actors[ACTOR_C]);
}
