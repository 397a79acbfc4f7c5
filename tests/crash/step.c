/*
 * step.c - running an actor one instruction, or one store, at a time.
 *
 * Stepping: the actor sets its own trap flag; after each of its instructions the handler runs, in the actor, and calls
 * the point, which makes forks in which something happens to it.  Tracing: the region is write-protected, so that
 * only stores to it trap; what is between two of them runs at full speed.  That finds all states that a death may
 * leave, and is for the reapers of reapers, of whom there are many.
 */
#include "step.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/bits.h"

#define TRAP_FLAG 0x100

struct stepping stepping;

/* ------------------------------------------------------------------ what of the region is compared */

enum { RANGES_MAX = 1024 };

static struct range {
        const char *start;
        size_t bytes;
        size_t shadow_off;
} ranges[RANGES_MAX];
static unsigned n_ranges;
static size_t shadow_bytes;
static char *shadow;

enum { SHADOW_MAX = 4 << 20 };

static void
range_add(const void *start, size_t bytes)
{
        if (n_ranges < RANGES_MAX && shadow_bytes + bytes <= SHADOW_MAX) {
                ranges[n_ranges++] = (struct range){start, bytes, shadow_bytes};
                shadow_bytes += bytes;
        } else {
                abort();
        }
}

static void
range_add_table(enum layout_table table, uint64_t n)
{
        const struct layout *l = &world_region->layout;

        range_add(world_region->base + l->off[table], n * l->stride[table]);
}

static void
range_add_bitmap(uint64_t granule)
{
        const struct region *r = world_region;

        range_add(&r->slabs[granule], sizeof r->slabs[granule]);
        if (r->rest_maps[granule / 64] >> granule % 64 & 1)
                range_add(&r->slab_rests[granule], sizeof r->slab_rests[granule]);
}

/* All metadata below the marks, but for statistics, which no state depends on. */
static void
ranges_make(void)
{
        const struct region *r = world_region;
        uint64_t chunks = region_chunks_hwm(r);
        const void *system_state;
        size_t system_bytes;

        n_ranges = 0;
        shadow_bytes = 0;
        range_add(r->header, offsetof(struct region_header, n_released));
        range_add(r->header->magazines_hwm, sizeof r->header->magazines_hwm);
        range_add(r->header->node_version, sizeof r->header->node_version);
        for (enum layout_table table = TABLE_ARENA_WORDS; table <= TABLE_POOL_HINTS; table++)
                range_add_table(table, r->layout.n[table]);
        range_add_table(TABLE_CLIENTS, region_clients_hwm(r));
        range_add_table(TABLE_ROOTS, region_roots_hwm(r));
        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++) {
                const struct thread_slot *slot = region_thread(r, idx);

                range_add(&r->gates[idx], sizeof r->gates[idx]);
                range_add(slot, offsetof(struct thread_slot, count));
                range_add(slot->magazines, 2 * r->layout.n_tags * sizeof slot->magazines[0]);
        }
        for (uint32_t a = 0; a < r->layout.n_arenas; a++)
                if (region_arena(r, a)) {
                        range_add(region_arena(r, a), r->layout.stride[TABLE_ARENAS]);
                        range_add_table(TABLE_HINT_GROUPS, 1);
                }
        range_add_table(TABLE_MAGAZINE_WORDS, region_magazines_hwm(r, 0));
        range_add_table(TABLE_MAGAZINES, region_magazines_hwm(r, 0));
        range_add_table(TABLE_CHUNK_WORDS, r->layout.n_chunks); /* a sweeper owns words beyond the mark */
        for (enum layout_table table = TABLE_CHUNK_WORDS + 1; table <= TABLE_GRANULES; table++)
                range_add_table(table, chunks * (r->layout.n[table] / r->layout.n_chunks));
        for (uint64_t g = 0; g < chunks * 64; g++) /* bitmaps of what is a slab, or may become one */
                if (granule_state(r->granules[g]) == GRANULE_SLAB || granule_state(r->granules[g]) == GRANULE_NEW ||
                    granule_owner(r->granules[g]) != 0)
                        range_add_bitmap(g);
        range_add_table(TABLE_REST_MAPS, chunks);
        range_add_table(TABLE_TAGS, chunks * 64);
        for (int no = 0; no < N_ACTORS; no++)
                if (actors[no].dest)
                        range_add(actors[no].dest, 8);
        system_state = world_system(&system_bytes);
        range_add(system_state, system_bytes);
}

bool
region_has_changed(void)
{
        for (unsigned i = 0; i < n_ranges; i++)
                if (memcmp(shadow + ranges[i].shadow_off, ranges[i].start, ranges[i].bytes) != 0)
                        return true;
        return false;
}

void
region_remember(void)
{
        ranges_make();
        for (unsigned i = 0; i < n_ranges; i++)
                memcpy(shadow + ranges[i].shadow_off, ranges[i].start, ranges[i].bytes);
}

/* Of what is in the shadow. */
static uint64_t
ranges_hash(void)
{
        uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) ^ shadow_bytes, word;

        for (size_t i = 0; i + 8 <= shadow_bytes; i += 8) {
                memcpy(&word, shadow + i, 8);
                hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
                hash ^= hash >> 32;
        }
        return hash;
}

/* ------------------------------------------------------------------ states seen before */

enum { SEEN_MAX = 1 << 20 };

static uint64_t *seen; /* shared by all forks */

bool
state_is_new(uint64_t salt)
{
        uint64_t hash = (ranges_hash() + salt) | 1;

        for (unsigned i = 0; i < 64; i++) {
                uint64_t *at = &seen[((hash >> 20 ^ hash) + i) & (SEEN_MAX - 1)];

                if (*at == hash)
                        return false;
                if (*at == 0) {
                        *at = hash;
                        return true;
                }
        }
        return true;
}

/* ------------------------------------------------------------------ stepping */

/* The metadata, and the words in blocks that operations store to. */
static void
protect(int protection)
{
        if (mprotect(world_region->base, world_region->layout.chunks_off, protection) < 0)
                exit(99);
        for (int no = 0; no < N_ACTORS; no++)
                if (actors[no].dest &&
                    mprotect((void *)((uintptr_t)actors[no].dest & ~UINT64_C(4095)), 4096, protection) < 0)
                        exit(99);
}

/* An access to the protected region: let it happen, then stop. */
static void
on_access(int sig, siginfo_t *info, void *context)
{
        ucontext_t *uc = context;
        uint64_t off = (uint64_t)((char *)info->si_addr - world_region->base);

        (void)sig;
        if (!stepping.is_traced || !stepping.point || off >= world_region->layout.region_bytes) {
                signal(SIGSEGV, SIG_DFL); /* comes again */
                return;
        }
        protect(PROT_READ | PROT_WRITE);
        stepping.next = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
        uc->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void
on_trap(int sig, siginfo_t *info, void *context)
{
        ucontext_t *uc = context;
        int saved_errno = errno;

        (void)sig;
        (void)info;
        if (!stepping.point) {
                uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
                return;
        }
        stepping.n++;
        stepping.at = stepping.next;
        stepping.next = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
        if (stepping.is_traced)
                uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        stepping.point(uc);
        if (stepping.is_traced && stepping.point)
                protect(stepping.protection);
        errno = saved_errno;
}

void
step_init(void)
{
        struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};

        sigaction(SIGTRAP, &sa, NULL);
        sa.sa_sigaction = on_access;
        sigaction(SIGSEGV, &sa, NULL);
        shadow = mmap(NULL, SHADOW_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        seen = mmap(NULL, SEEN_MAX * sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
        if (shadow == MAP_FAILED || seen == MAP_FAILED)
                exit(99);
}

void
steps_begin(point_fn *point)
{
        stepping.n = 0;
        stepping.next = 0;
        stepping.is_traced = false;
        region_remember();
        stepping.point = point;
        __asm__ volatile("sub $128,%%rsp; pushfq; orq $0x100,(%%rsp); popfq; add $128,%%rsp" ::: "cc", "memory");
}

void
steps_end(void)
{
        stepping.point = NULL;
        __asm__ volatile("sub $128,%%rsp; pushfq; andq $~0x100,(%%rsp); popfq; add $128,%%rsp" ::: "cc", "memory");
}

void
steps_leave(ucontext_t *uc)
{
        if (stepping.is_traced)
                protect(PROT_READ | PROT_WRITE);
        stepping.is_traced = false;
        stepping.point = NULL;
        if (uc)
                uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

void
trace_begin(point_fn *point, bool loads_too)
{
        stepping.n = 0;
        region_remember();
        stepping.is_traced = true;
        stepping.protection = loads_too ? PROT_NONE : PROT_READ;
        stepping.point = point;
        protect(stepping.protection);
}

void
trace_end(void)
{
        steps_leave(NULL);
}

/* ------------------------------------------------------------------ as far as a certain point */

static struct {
        long n_changes;
        bool (*is_there)(struct actor *a);
        struct actor *actor;
        sigjmp_buf back;
} until;

static void
until_point(ucontext_t *uc)
{
        bool is_there;

        if (!region_has_changed())
                return;
        region_remember();
        is_there = until.is_there ? until.is_there(until.actor) : until.n_changes-- == 0;
        if (!is_there)
                return;
        steps_leave(uc);
        until.actor->is_stopped = true;
        siglongjmp(until.back, 1);
}

/* Whoever is being stepped already, stays where it is meanwhile. */
static bool
go_until(struct actor *a, void (*fn)(struct actor *a))
{
        struct stepping outer = stepping;
        struct actor *outer_actor = actor_now;

        actor_switch(a);
        until.actor = a;
        if (sigsetjmp(until.back, 0) == 0) {
                trace_begin(until_point, false);
                fn(a);
                trace_end();
        }
        stepping = outer;
        actor_switch(outer_actor);
        return a->is_stopped;
}

bool
step_until(struct actor *a, void (*fn)(struct actor *a), long n_changes)
{
        until.n_changes = n_changes;
        until.is_there = NULL;
        return go_until(a, fn);
}

bool
step_until_true(struct actor *a, void (*fn)(struct actor *a), bool (*is_there)(struct actor *a))
{
        until.is_there = is_there;
        return go_until(a, fn);
}
