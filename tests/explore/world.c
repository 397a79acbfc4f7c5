/*
 * world.c - see world.h.
 *
 * The judge uses the library's own check, the library's own reaper for those dead that nobody has settled, and what the
 * actors hold.
 */
#include "explore/world.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "audit/check.h"
#include "clients/liveness.h"
#include "clients/slot.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "pages/arena.h"
#include "support/ask.h"
#include "support/fills.h"

/* No handler runs here: shields of actors, which are one thread, must not undo each other. */
int
pthread_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
        (void)how;
        (void)set;
        if (ret_old)
                sigemptyset(ret_old);
        return 0;
}

enum { JUDGE = ACTORS_MAX, IDS_BEGIN = 1000 };

#define REGION_ADDR  ((void *)0x7d0000000000)
#define WORLD_PID_NS UINT32_C(4026531836)

struct region world_region;
struct client_id world_client;
struct script world_scripts[ACTORS_MAX];
uint64_t world_dests[2];
bool world_is_verbose;

static const struct scenario *scenario;
static uint32_t n_actors;
static struct thread judge_thread;
static int player = JUDGE; /* outside of the search */
static bool is_exploring;

static void
need(bool cond, const char *what)
{
        if (cond)
                return;
        fprintf(stderr, "explore: cannot make the heap of %s: %s\n", scenario->name, what);
        exit(2);
}

void
world_play(int k)
{
        player = k;
}

/* ------------------------------------------------------------------ life and death */

static uint32_t
self_id(void)
{
        int k = engine_running();

        return IDS_BEGIN + (uint32_t)(k >= 0 ? k : player);
}

static bool
is_dead(uint32_t id)
{
        uint32_t k = id - IDS_BEGIN;

        return is_exploring && k < ACTORS_MAX && engine_actor_state((int)k) == ACTOR_DEAD;
}

static int
explore_identify(struct liveness_self *ret_self)
{
        *ret_self = (struct liveness_self){.pid_ns = WORLD_PID_NS, .pid = self_id(), .tid = self_id()};
        return 0;
}

static uint32_t
explore_pid_ns(void)
{
        return WORLD_PID_NS;
}

static enum lock_view
explore_lock_view(const struct robust_lock *lock, uint32_t pid, bool ask)
{
        uint32_t id;

        (void)pid; /* each is a thread and a process */
        engine_access(lock, 8, ACCESS_LIVENESS, __builtin_return_address(0));
        id = (uint32_t)lock->word;
        if (id == 0)
                return LOCK_FREE;
        if (is_dead(id))
                return LOCK_DEAD;
        return ask && id == self_id() ? LOCK_MINE : LOCK_HELD;
}

static void
explore_quiet_begin(struct robust_quiet *ret_quiet)
{
        ret_quiet->is_quiet = false;
}

static void
explore_quiet_end(struct robust_quiet *quiet)
{
        (void)quiet;
}

static int
explore_lock_try(struct robust_lock *lock, uint32_t pid, bool holder_is_dead)
{
        uint32_t id;

        (void)pid;
        engine_access(lock, 8, ACCESS_LIVENESS | ACCESS_WRITE, __builtin_return_address(0));
        id = (uint32_t)lock->word;
        if (id != 0 && !is_dead(id) && !holder_is_dead)
                return -EBUSY;
        lock->word = self_id();
        return id != 0;
}

static void
explore_lock_release(struct robust_lock *lock)
{
        engine_access(lock, 8, ACCESS_WRITE, __builtin_return_address(0));
        lock->word = 0;
}

static bool
explore_process_is_gone(uint32_t pid)
{
        return is_dead(pid);
}

static const struct liveness_ops explore_liveness = {
        .identify = explore_identify,
        .pid_ns = explore_pid_ns,
        .lock_view = explore_lock_view,
        .quiet_begin = explore_quiet_begin,
        .quiet_end = explore_quiet_end,
        .lock_try = explore_lock_try,
        .lock_release = explore_lock_release,
        .process_is_gone = explore_process_is_gone,
};

/* ------------------------------------------------------------------ what the engine wants to know of the region */

/* Where in a slot; SIZE_MAX: not in a slot. */
static size_t
in_slot(uint64_t off)
{
        const struct layout *l = &world_region.layout;
        uint64_t at = off - l->off[TABLE_THREADS];

        return at < l->n[TABLE_THREADS] * l->stride[TABLE_THREADS] ? (size_t)(at % l->stride[TABLE_THREADS]) : SIZE_MAX;
}

/* Candidate, hand, intent, places and counters are read by the slot's thread, and by who settles it. */
static bool
is_private(uint64_t off)
{
        size_t at = in_slot(off);

        return at != SIZE_MAX;
}

static bool
is_statistic(uint64_t off)
{
        size_t at = in_slot(off);

        return at != SIZE_MAX && at >= offsetof(struct thread_slot, n_huge_malloc) &&
               at < offsetof(struct thread_slot, magazines);
}

struct member {
        const char *name;
        size_t at;
};

static const struct member slot_fields[] = {
        {"magazines", offsetof(struct thread_slot, magazines)},
        {"counters", offsetof(struct thread_slot, count)},
        {"intent", offsetof(struct thread_slot, intent)},
        {"hand", offsetof(struct thread_slot, hand)},
        {"candidate", 0},
};

static const struct member gate_fields[] = {
        {"pending", offsetof(struct slot_gate, pending)},
        {"state", offsetof(struct slot_gate, state)},
        {"reap links", offsetof(struct slot_gate, reap.prev)},
        {"bare", offsetof(struct slot_gate, is_bare)},
        {"dest", offsetof(struct slot_gate, dest)},
        {"reap", offsetof(struct slot_gate, reap)},
        {"life links", offsetof(struct slot_gate, life.prev)},
        {"client", offsetof(struct slot_gate, client_idx)},
        {"life", 0},
};

static const char *const table_names[TABLE_N] = {
        "arena word",  "binding",   "free chunks",  "pool hints",  "client",        "gate",        "totals",
        "thread slot", "root",      "arena",        "hint group",  "magazine word", "magazine",    "chunk word",
        "huge bytes",  "chunk map", "granule word", "slab bitmap", "rest map",      "slab bitmap", "tag",
};

void
world_describe(uint64_t off, char *text, size_t bytes)
{
        const struct layout *l = &world_region.layout;

        if (off >= l->chunks_off) {
                snprintf(text, bytes, "block memory + %llu", (unsigned long long)(off - l->chunks_off));
                return;
        }
        for (int table = 0; table < TABLE_N; table++) {
                uint64_t at = off - l->off[table], stride = l->stride[table];

                if (off < l->off[table] || at >= l->n[table] * stride)
                        continue;
                if (table == TABLE_THREADS || table == TABLE_GATES) {
                        const struct member *field = table == TABLE_GATES ? gate_fields : slot_fields;

                        while (field->at > at % stride)
                                field++;
                        snprintf(text, bytes, "%s of thread %llu: %s + %llu", table == TABLE_GATES ? "gate" : "slot",
                                 (unsigned long long)(at / stride + 1), field->name,
                                 (unsigned long long)(at % stride - field->at));
                        return;
                }
                snprintf(text, bytes, "%s %llu + %llu", table_names[table], (unsigned long long)(at / stride),
                         (unsigned long long)(at % stride));
                return;
        }
        snprintf(text, bytes, "header + %llu", (unsigned long long)off);
}

/* ------------------------------------------------------------------ making */

static void
region_make(void)
{
        struct layout_params params = {.max_capacity = (scenario->n_chunks ? scenario->n_chunks : 1) * GEO_CHUNK_BYTES,
                                       .max_clients = 2,
                                       .max_threads = scenario->max_threads ? scenario->max_threads : n_actors + 1,
                                       .n_nodes = 1,
                                       .arenas_per_node = scenario->arenas_per_node ? scenario->arenas_per_node : 1,
                                       .max_roots = 4,
                                       .page_shift = 12};
        struct layout layout;
        const char *what = "";

        need(layout_compute(&params, &layout, &what) == 0, what);
        need(mmap(REGION_ADDR, layout.region_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == REGION_ADDR,
             "mmap");
        world_region = (struct region){.fd = -1};
        region_bind(&world_region, REGION_ADDR, &layout);
        region_format(&world_region, &params, "explore", (uintptr_t)REGION_ADDR);
}

static void
attach(struct thread *t, uint32_t arena)
{
        need(slot_attach(t, &world_region, &world_client, NULL, NULL) == 0, "no thread slot");
        fills_are_whole(t);
        t->arena = arena;
        t->node = 0;
        t->seed = 0;
        world_region.bindings[t->no - 1] = BINDING_ARENA(arena);
}

/* An actor comes with a slot; a reaper only if it lends its thread. */
static void
actors_attach(void)
{
        uint32_t n_arenas = world_region.layout.n_arenas;

        for (uint32_t k = 0; k < n_actors; k++) {
                bool is_reaper = k >= 3 || !scenario->actors[k];

                world_scripts[k] = (struct script){.t = {.region = &world_region}};
                world_play((int)k);
                if (is_reaper ? scenario->is_reaper_lent : !scenario->is_unattached)
                        attach(&world_scripts[k].t, k % n_arenas);
        }
        world_play(JUDGE);
}

static void
reap(void *private)
{
        struct script *me = private;

        slot_reap_all(&world_region, reap_settle, scenario->is_reaper_lent ? &me->t : NULL);
}

static const char *judge(void);

static void
engine_params_make(struct engine_params *p)
{
        uint32_t n_reapers = 0;

        *p = (struct engine_params){.region = world_region.base,
                                    .region_bytes = world_region.layout.region_bytes,
                                    .n_actors = n_actors,
                                    .private_bytes = scenario->has_tcache ? sizeof(struct script)
                                                                          : offsetof(struct script, tcache),
                                    .outcome_bytes = SCRIPT_OUTCOME_BYTES,
                                    .n_preemptions = scenario->n_preemptions,
                                    .n_deaths = scenario->n_deaths,
                                    .seconds_max = 3600,
                                    .states_max = 12000000,
                                    .is_private = is_private,
                                    .is_statistic = is_statistic,
                                    .judge = judge};
        for (uint32_t k = 0; k < n_actors; k++) {
                bool is_reaper = k >= 3 || !scenario->actors[k];

                p->actors[k] = (struct actor_params){.name = (char)(is_reaper ? 'R' + n_reapers : 'A' + k),
                                                     .fn = is_reaper ? reap : (actor_fn *)scenario->actors[k],
                                                     .private = &world_scripts[k],
                                                     .is_mortal = true,
                                                     .is_reaper = is_reaper};
                n_reapers += is_reaper;
        }
}

void
world_begin(const struct scenario *s, struct engine_params *ret_params)
{
        uint32_t n_reapers = s->n_reapers ? s->n_reapers : 1;

        scenario = s;
        liveness = &explore_liveness;
        is_exploring = false;
        for (n_actors = 0; n_actors < 3 && s->actors[n_actors]; n_actors++)
                continue;
        if (!s->is_unreaped)
                n_actors += n_reapers;
        need(n_actors <= ACTORS_MAX, "too many actors");
        region_make();
        world_play(JUDGE);
        need(client_register(&world_region, &world_client) == 0, "no client slot");
        for (uint32_t arena = 0; arena < world_region.layout.n_arenas; arena++)
                need(arena_init(&world_region, arena) == 0, "no arena");
        memset(&judge_thread, 0, sizeof judge_thread);
        attach(&judge_thread, 0);
        actors_attach();
        if (s->setup)
                s->setup();
        world_play(JUDGE);
        engine_params_make(ret_params);
        is_exploring = true;
}

void
world_end(void)
{
        munmap(REGION_ADDR, world_region.layout.region_bytes);
}

struct script *
world_script(int k)
{
        return engine_private(k);
}

/* ------------------------------------------------------------------ the judge */

static const char *
judge_settled(void)
{
        for (uint32_t k = 0; k < n_actors; k++) {
                const struct script *s = world_script((int)k);

                if (s->complaint)
                        return s->complaint;
        }
        slot_reap_all(&world_region, reap_settle, scenario->is_reaper_lent ? &judge_thread : NULL);
        for (uint32_t idx = 0; idx < world_region.layout.n[TABLE_THREADS]; idx++) {
                const struct slot_gate *gate = region_gate(&world_region, idx);

                if (gate && gate->state != 0 && is_dead((uint32_t)gate->life.word))
                        return "a dead thread's slot was not settled";
        }
        return NULL;
}

static bool
is_held_twice(uint64_t block_off, uint32_t by, uint32_t at)
{
        for (uint32_t k = by; k < n_actors; k++)
                for (uint32_t i = k == by ? at + 1 : 0; i < world_script((int)k)->n_held; i++)
                        if (world_script((int)k)->held[i] == block_off)
                                return true;
        return false;
}

/* What is held is allocated, once; and nothing else but what was in flight when somebody died. */
static const char *
judge_held(const struct check_totals *totals)
{
        uint64_t n_live = totals->n_huge - totals->n_huge_cached, n_held = 0, n_maybe = 0;

        for (uint32_t c = 0; c < SIZE_CLASS_N; c++)
                n_live += totals->classes[c].n_live;
        for (uint32_t k = 0; k < n_actors; k++) {
                const struct script *s = world_script((int)k);

                for (uint32_t i = 0; i < s->n_held; i++) {
                        if (is_held_twice(s->held[i], k, i))
                                return "two callers hold one block";
                        if (!check_block_is_allocated(&world_region, s->held[i]))
                                return "a block that somebody holds is not allocated";
                }
                n_held += s->n_held;
                n_maybe += s->n_in_flight + s->n_allocating;
                if (engine_actor_state((int)k) == ACTOR_DONE && s->n_in_flight + s->n_allocating > 0)
                        return "a living actor's call has not ended";
        }
        n_held += totals->n_roots;
        for (uint32_t i = 0; i < scenario->n_dests; i++) {
                uint64_t off = *(uint64_t *)(void *)(world_region.base + world_dests[i]);

                if (off == 0)
                        continue;
                if (!check_block_is_allocated(&world_region, off - world_region.layout.chunks_off))
                        return "a destination names a block that is not allocated";
                n_held++;
        }
        if (n_live < n_held)
                return "fewer blocks are allocated than are held";
        return n_live > n_held + n_maybe ? "a block is lost: allocated, and nobody holds it" : NULL;
}

/* After any history all that is free can be had: by blocks of one granule's half. */
static const char *
judge_capacity(void)
{
        struct call rq = {.size = GEO_SMALL_MAX, .align = 1, .arena = 0};
        struct check_totals totals;
        uint64_t block_off;

        ask_classify(&rq);
        for (uint32_t k = 0; k < n_actors; k++)
                if (engine_actor_state((int)k) != ACTOR_DEAD && world_script((int)k)->t.no != 0)
                        reap_settle(&world_region, world_script((int)k)->t.no, NULL);
        judge_thread.fault.what = 0;
        while (ask_block(&judge_thread, &rq, &block_off) == 0)
                continue;
        if (check_region(&world_region, CHECK_QUIESCENT, NULL, &totals) != 0)
                return "the heap is damaged once all of it has been allocated";
        if (totals.classes[rq.class_idx].n_free > 0)
                return "a free block cannot be allocated";
        for (uint32_t c = 0; c < SIZE_CLASS_N; c++)
                if (totals.classes[c].n_cached > 0)
                        return "a block in a depot cannot be allocated";
        if (totals.n_huge_cached > 0)
                return "a huge block in a depot cannot be allocated";
        if (totals.free_run_bytes > 0)
                return "a free granule cannot be allocated";
        return totals.n_chunks_free > 0 ? "a free chunk cannot be allocated" : NULL;
}

static const char *
judge(void)
{
        struct check_totals totals;
        const char *fault = judge_settled();

        if (!fault && check_region(&world_region, CHECK_QUIESCENT, world_is_verbose ? stdout : NULL, &totals) != 0)
                fault = "check_region() finds faults";
        if (!fault)
                fault = judge_held(&totals);
        if (!fault && scenario->claim)
                fault = scenario->claim();
        if (!fault && scenario->tests_capacity)
                fault = judge_capacity();
        return fault;
}
