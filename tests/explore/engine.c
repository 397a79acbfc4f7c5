/*
 * engine.c - see engine.h.
 *
 * A node of the search is a state in which the next step has not been chosen yet: the running actor stands before an
 * access.  To come back to a node, the writes since then are undone from a log, and an actor's stack is copied back
 * when it is to run.  A hash of the region is kept up to date write by write, that of a stack is taken when its actor
 * stops.
 */
#include "explore/engine.h"
#include "base/verify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "explore/coroutine.h"
#include "explore/hash.h"
#include "explore/known.h"
#include "explore/need.h"
#include "explore/trace.h"
#include "explore/undo.h"

enum {
        STACK_BYTES = 32 << 10,
        SCRUB_BYTES = 1 << 10, /* below a stack's end: else what lies there tells states apart that are one */
        STEPS_MAX = 1 << 16,   /* of one actor between two choices: more never end */
        DEPTH_MAX = 1 << 16,
        OPTIONS_MAX = 2 * ACTORS_MAX
};

#define STACKS_ADDR ((char *)0x7e0000000000)

int __real_clock_gettime(clockid_t clock, struct timespec *now);

/* ------------------------------------------------------------------ actors */

struct actor {
        void *sp;
        char *top; /* of the stack; the private data lies just below it */
        enum actor_state state;
        uint64_t n_accesses; /* executed */
        bool has_begun;
        uint64_t loaded;  /* which snapshot its stack is; 0: none */
        uint64_t stop_at; /* replay: accesses after which to stop */
};

struct snapshot {
        uint64_t id;
        uint64_t hash, outcome_hash;
        uint64_t n_accesses;
        bool has_begun;
        void *sp;
        size_t bytes;
        char stack[];
};

enum option_kind { OPTION_RUN, OPTION_DIE };

struct option {
        uint8_t kind, actor;
};

struct node {
        size_t log;       /* writes until here */
        size_t snapshots; /* top of the arena when the node was made */
        size_t snapshot[ACTORS_MAX];
        uint64_t hash, key;
        double n_schedules;
        int n_preemptions, n_deaths; /* left */
        int8_t current;              /* -1: it has ended or died */
        uint8_t n_options, next;
        uint8_t state[ACTORS_MAX];
        struct option option[OPTIONS_MAX];
        struct option taken;    /* by which the node was reached */
        uint64_t before, after; /* accesses of its actor, if that ran */
        unsigned pending;       /* access that the current actor stands before */
};

static struct {
        struct engine_params params;
        char *region;
        struct actor actors[ACTORS_MAX];
        int running; /* -1: none */
        void *main_sp;

        bool is_logged;

        char *arena;
        size_t arena_used, arena_room;
        uint64_t last_id;

        struct node *path;
        int depth;

        uint8_t *readers, *writers; /* by word of the region: which actors ever do */
        bool has_grown;             /* one of these, in this search */

        bool is_replayed, may_preempt, may_die, may_late;
        bool has_written; /* since the last choice */
        bool is_endless;
        unsigned pending_access;
        uint64_t n_steps;
        FILE *trace;
        struct engine_result *result;
} e = {.running = -1};

int
engine_running(void)
{
        return e.running;
}

enum actor_state
engine_actor_state(int actor)
{
        return e.actors[actor].state;
}

static char *
private_of(int actor)
{
        return e.actors[actor].top - ((e.params.private_bytes + 63) & ~(size_t)63);
}

void *
engine_private(int actor)
{
        return private_of(actor);
}

/* ------------------------------------------------------------------ stacks */

static struct snapshot *
snapshot_at(size_t at)
{
        return (struct snapshot *)(void *)(e.arena + at);
}

/* What the actor that has just stopped is. */
static size_t
snapshot_take(int k)
{
        struct actor *a = &e.actors[k];
        bool is_over = a->state != ACTOR_READY;
        void *sp = is_over ? private_of(k) : a->sp;
        size_t bytes = (size_t)(a->top - (char *)sp), at = e.arena_used, room;
        struct snapshot *s;

        room = (sizeof *s + bytes + 63) & ~(size_t)63;
        if (at + room > e.arena_room) {
                fprintf(stderr, "explore: too many stacks\n");
                exit(2);
        }
        s = snapshot_at(at);
        e.arena_used += room;
        *s = (struct snapshot){
                .id = ++e.last_id, .n_accesses = a->n_accesses, .has_begun = a->has_begun, .sp = a->sp, .bytes = bytes};
        memcpy(s->stack, sp, bytes);
        s->outcome_hash = hash_bytes(private_of(k), e.params.outcome_bytes);
        s->hash = is_over ? s->outcome_hash : hash_bytes(sp, bytes);
        a->loaded = s->id;
        return at;
}

static void
snapshot_load(int k, size_t at)
{
        const struct snapshot *s = snapshot_at(at);
        struct actor *a = &e.actors[k];

        if (a->loaded == s->id)
                return;
        memcpy(a->top - s->bytes, s->stack, s->bytes);
        a->sp = s->sp;
        a->n_accesses = s->n_accesses;
        a->has_begun = s->has_begun;
        a->loaded = s->id;
}

static void
actor_main(void)
{
        int k = e.running;

        e.params.actors[k].fn(private_of(k));
        undo_settle();
        e.actors[k].state = ACTOR_DONE;
        e.running = -1;
        coroutine_switch(&e.actors[k].sp, e.main_sp);
        __builtin_trap();
}

/* The actor waits before an access until it is chosen again. */
static __attribute__((noinline)) void
actor_stop(void)
{
        int k = e.running;

        e.running = -1;
        coroutine_switch(&e.actors[k].sp, e.main_sp);
}

static void
actor_run(int k)
{
        struct actor *a = &e.actors[k];

        a->loaded = 0;
        a->has_begun = true;
        e.running = k;
        e.n_steps = 0;
        e.has_written = a->n_accesses == 0; /* it may die before its first step */
        memset((char *)a->sp - SCRUB_BYTES, 0, SCRUB_BYTES);
        coroutine_switch(&e.main_sp, a->sp);
        undo_settle();
}

/*
 * Whether another actor ever reads what is written here, or writes what is read.  Where none does it makes no
 * difference whether another goes on before or after the access.  Learnt as the search goes on, which is begun anew
 * with what has been learnt until there is nothing more to learn.
 */
static bool
is_shared(uint64_t off, size_t bytes, unsigned access)
{
        uint8_t self = (uint8_t)(1u << e.running), others = (uint8_t)~self, seen = 0;
        uint8_t *mine = access & ACCESS_WRITE ? e.writers : e.readers;

        for (uint64_t i = off / 8; i <= (off + bytes - 1) / 8; i++) {
                seen |= (access & ACCESS_WRITE ? e.readers[i] | e.writers[i] : e.writers[i]) & others;
                if (!(mine[i] & self)) {
                        mine[i] |= self;
                        e.has_grown = true;
                }
        }
        return seen != 0;
}

/* Whether the scheduler has something to choose before this access. */
static bool
is_choice(uint64_t off, size_t bytes, unsigned access)
{
        const struct actor *a = &e.actors[e.running];
        bool is_other = !e.is_replayed && is_shared(off, bytes, access) && !e.params.is_private(off);

        if (e.n_steps > STEPS_MAX) {
                e.is_endless = true;
                return true;
        }
        if (e.is_replayed)
                return a->n_accesses == a->stop_at;
        if (e.may_die && e.has_written)
                return true;
        if ((access & ACCESS_LIVENESS) && e.may_late)
                return true;
        return e.may_preempt && is_other;
}

void
engine_access(const volatile void *p, size_t bytes, unsigned access, const void *pc)
{
        uint64_t off = (uint64_t)((const volatile char *)p - (const volatile char *)e.region);

        if (off >= e.params.region_bytes || !e.is_logged || verify_depth != 0)
                return;
        undo_settle();
        if (e.running >= 0) {
                e.n_steps++;
                e.pending_access = access;
                if (is_choice(off, bytes, access))
                        actor_stop();
                e.actors[e.running].n_accesses++;
                e.result->n_accesses++;
                if (e.trace)
                        trace_note(e.params.actors[e.running].name, e.actors[e.running].n_accesses, off, bytes,
                                   access & ACCESS_WRITE, pc);
        }
        if (access & ACCESS_WRITE) {
                undo_note(off, bytes);
                e.has_written = true;
        }
}

/* ------------------------------------------------------------------ nodes */

static bool
is_unbounded(const struct node *n)
{
        return n->n_preemptions >= ENGINE_UNBOUNDED;
}

static uint64_t
node_key(const struct node *n)
{
        uint64_t key = n->hash;

        for (uint32_t k = 0; k < e.params.n_actors; k++) {
                const struct snapshot *s = snapshot_at(n->snapshot[k]);

                key = hash_mix(key + n->state[k] * HASH_STEP) ^ (n->state[k] == ACTOR_DEAD ? s->outcome_hash : s->hash);
        }
        key = hash_mix(key ^ (uint64_t)n->n_deaths << 32 ^ (uint64_t)n->n_preemptions);
        if (!is_unbounded(n))
                key = hash_mix(key ^ (uint64_t)(uint8_t)n->current);
        return key | 1;
}

static void
option_add(struct node *n, enum option_kind kind, uint32_t actor)
{
        n->option[n->n_options++] = (struct option){.kind = (uint8_t)kind, .actor = (uint8_t)actor};
}

/* One that has not begun need not be asked: it dies before its first access as well. */
static bool
may_die(const struct node *n, uint32_t k)
{
        return n->n_deaths > 0 && e.params.actors[k].is_mortal && snapshot_at(n->snapshot[k])->has_begun;
}

/* What may come next.  `just_ran`: the actor whose slice led here. */
static void
options_make(struct node *n, int just_ran)
{
        bool asks = n->current >= 0 && (n->pending & ACCESS_LIVENESS);

        n->n_options = n->next = 0;
        if (n->current >= 0)
                option_add(n, OPTION_RUN, (uint32_t)n->current);
        for (uint32_t k = 0; k < e.params.n_actors; k++) {
                bool is_current = (int)k == n->current;

                if (n->state[k] == ACTOR_READY && !is_current && (n->current < 0 || n->n_preemptions > 0))
                        option_add(n, OPTION_RUN, k);
                if (!may_die(n, k) || (n->state[k] != ACTOR_READY && n->state[k] != ACTOR_DONE))
                        continue;
                /* Who has written nothing since its last chance dies as it would have then. */
                if ((is_current || (n->state[k] == ACTOR_DONE && (int)k == just_ran)) ? e.has_written : asks)
                        option_add(n, OPTION_DIE, k);
        }
}

/* Nobody goes on, unless somebody dies yet. */
static bool
is_end(const struct node *n)
{
        for (int i = 0; i < n->n_options; i++)
                if (n->option[i].kind == OPTION_RUN)
                        return false;
        return true;
}

static void
push(const struct node *n)
{
        if (e.depth + 1 >= DEPTH_MAX) {
                fprintf(stderr, "explore: schedules are too long\n");
                exit(2);
        }
        e.path[e.depth++] = *n;
}

/* ------------------------------------------------------------------ the way to a state, in words */

/* "A12 B! R" - A makes 12 accesses, B dies, R runs to its end or until it is in turn again. */
static void
schedule_tell(char *text, size_t bytes)
{
        size_t used = 0;

        text[0] = '\0';
        for (int i = 1; i < e.depth && used + 32 < bytes; i++) {
                const struct node *n = &e.path[i];
                int last = i;

                if (n->taken.kind == OPTION_DIE) {
                        used += (size_t)snprintf(text + used, bytes - used, "%c! ",
                                                 e.params.actors[n->taken.actor].name);
                        continue;
                }
                while (last + 1 < e.depth && e.path[last + 1].taken.kind == OPTION_RUN &&
                       e.path[last + 1].taken.actor == n->taken.actor)
                        last++;
                used += (size_t)snprintf(text + used, bytes - used, "%c%llu ", e.params.actors[n->taken.actor].name,
                                         (unsigned long long)(e.path[last].after - n->before));
                i = last;
        }
}

void
engine_tell_schedule(char *text, size_t bytes)
{
        size_t used;

        schedule_tell(text, bytes);
        used = strlen(text);
        if (e.running >= 0 && used + 8 < bytes)
                snprintf(text + used, bytes - used, "%c", e.params.actors[e.running].name);
}

/* ------------------------------------------------------------------ search */

static double
seconds_now(void)
{
        struct timespec now;

        __real_clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* others may be at work here */
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void
load_all(const struct node *n)
{
        for (uint32_t k = 0; k < e.params.n_actors; k++) {
                snapshot_load((int)k, n->snapshot[k]);
                e.actors[k].state = (enum actor_state)n->state[k];
        }
}

/* Back to a node of the path. */
static void
restore(const struct node *n)
{
        undo_to(n->log, n->hash);
        for (uint32_t k = 0; k < e.params.n_actors; k++)
                e.actors[k].state = (enum actor_state)n->state[k];
}

static bool
another_may_go_on(const struct node *n, int k)
{
        for (uint32_t i = 0; i < e.params.n_actors; i++)
                if ((int)i != k && n->state[i] == ACTOR_READY)
                        return true;
        return false;
}

static bool
another_may_die(const struct node *n, int k)
{
        for (uint32_t i = 0; i < e.params.n_actors; i++)
                if ((int)i != k && (n->state[i] == ACTOR_READY || n->state[i] == ACTOR_DONE) && may_die(n, i))
                        return true;
        return false;
}

static void
apply_run(struct node *n, int k)
{
        if (n->current >= 0 && n->current != k && !is_unbounded(n))
                n->n_preemptions--;
        n->current = (int8_t)k;
        snapshot_load(k, n->snapshot[k]);
        e.may_preempt = n->n_preemptions > 0 && another_may_go_on(n, k);
        e.may_die = n->n_deaths > 0 && e.params.actors[k].is_mortal;
        e.may_late = another_may_die(n, k);
        actor_run(k);
        n->state[k] = (uint8_t)e.actors[k].state;
        if (e.actors[k].state != ACTOR_READY)
                n->current = -1;
        n->snapshot[k] = snapshot_take(k);
        n->after = e.actors[k].n_accesses;
        n->pending = e.pending_access;
}

static void
apply_die(struct node *n, int k)
{
        n->n_deaths--;
        n->state[k] = ACTOR_DEAD;
        if (n->current == k)
                n->current = -1;
        for (uint32_t i = 0; i < e.params.n_actors; i++)
                if (n->state[i] == ACTOR_WAITING) {
                        n->state[i] = ACTOR_READY;
                        break;
                }
        e.has_written = false;
}

static void
found_fault(const char *fault)
{
        e.result->fault = fault;
        schedule_tell(e.result->schedule, sizeof e.result->schedule);
}

static void
judge(const struct node *n)
{
        const char *fault;

        load_all(n);
        e.result->n_ends++;
        fault = e.params.judge();
        undo_settle();
        if (fault)
                found_fault(fault);
        undo_to(n->log, n->hash);
}

/* A state that the search has come to: known, an end, or to be searched. */
static void
arrive(struct node *n, struct node *parent, int just_ran)
{
        struct known *known;

        n->log = undo_length();
        n->hash = undo_hash();
        n->n_schedules = 0;
        n->key = node_key(n);
        known = known_find(n->key);
        if (known && known->n_schedules != KNOWN_ON_PATH) {
                parent->n_schedules += known->n_schedules;
                e.arena_used = n->snapshots;
                return;
        }
        if (!known)
                known_add(n->key);
        else
                e.is_endless = true; /* it came back to where it was: it waits for somebody */
        options_make(n, just_ran);
        push(n);
        if (e.is_endless)
                found_fault("an actor waits for another, or never ends");
        else if (is_end(n)) {
                e.path[e.depth - 1].n_schedules = 1;
                judge(n);
        }
}

static void
leave(struct node *n)
{
        known_find(n->key)->n_schedules = n->n_schedules;
        e.arena_used = n->snapshots;
        e.depth--;
        if (e.depth > 0)
                e.path[e.depth - 1].n_schedules += n->n_schedules;
        else
                e.result->n_schedules = n->n_schedules;
}

static void
step(void)
{
        struct node *n = &e.path[e.depth - 1], child = *n;
        int k;

        if (n->next == n->n_options) {
                leave(n);
                return;
        }
        child.taken = n->option[n->next++];
        k = child.taken.actor;
        restore(n);
        child.snapshots = e.arena_used;
        child.before = snapshot_at(n->snapshot[k])->n_accesses;
        if (child.taken.kind == OPTION_DIE)
                apply_die(&child, k);
        else
                apply_run(&child, k);
        arrive(&child, n, child.taken.kind == OPTION_RUN ? k : -1);
}

static void
actors_make(void)
{
        static char *stacks;

        if (!stacks)
                stacks = need(mmap(STACKS_ADDR, ACTORS_MAX * STACK_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
        memset(stacks, 0, ACTORS_MAX * STACK_BYTES);
        for (uint32_t k = 0; k < e.params.n_actors; k++) {
                const struct actor_params *p = &e.params.actors[k];
                struct actor *a = &e.actors[k];

                *a = (struct actor){.top = stacks + (k + 1) * STACK_BYTES,
                                    .state = p->is_reaper ? ACTOR_WAITING : ACTOR_READY,
                                    .stop_at = UINT64_MAX};
                memcpy(private_of((int)k), p->private, e.params.private_bytes);
                a->sp = coroutine_begin(private_of((int)k), actor_main);
        }
}

static void
begin(const struct engine_params *params, struct engine_result *result)
{
        static struct engine_result nowhere;

        e.params = *params;
        e.region = params->region;
        e.result = result ? result : &nowhere;
        e.arena_used = 0;
        e.depth = 0;
        e.running = -1;
        e.is_endless = false;
        e.is_replayed = false;
        if (!e.arena) {
                e.arena_room = (size_t)1 << 30;
                e.arena = need(mmap(NULL, e.arena_room, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
                e.path = need(mmap(NULL, DEPTH_MAX * sizeof *e.path, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        }
        known_begin();
        actors_make();
        undo_begin(e.region, e.params.region_bytes, e.params.is_statistic);
        e.is_logged = true;
}

static void
root_make(struct node *root)
{
        *root = (struct node){.n_preemptions = e.params.n_preemptions, .n_deaths = e.params.n_deaths, .current = -1};
        for (uint32_t k = 0; k < e.params.n_actors; k++) {
                root->state[k] = (uint8_t)e.actors[k].state;
                e.actors[k].state = ACTOR_READY; /* so that the whole stack is kept */
                root->snapshot[k] = snapshot_take((int)k);
                e.actors[k].state = (enum actor_state)root->state[k];
        }
        root->hash = undo_hash();
        root->snapshots = e.arena_used;
        e.has_written = false;
        root->key = node_key(root);
        known_add(root->key);
        options_make(root, -1);
}

/* One search from the beginning. */
static void
search(const struct engine_params *params, struct engine_result *result, double start)
{
        struct node root;

        *result = (struct engine_result){.is_complete = true};
        begin(params, result);
        e.has_grown = false;
        root_make(&root);
        push(&root);
        for (uint64_t turn = 1; e.depth > 0 && !result->fault; turn++) {
                step();
                if (known_count() > params->states_max ||
                    (turn % 1024 == 0 && seconds_now() - start > params->seconds_max)) {
                        result->is_complete = false;
                        break;
                }
        }
        undo_to(0, root.hash);
        if (undo_hash_anew() != root.hash && !result->fault)
                result->fault = "the explorer missed a write";
        result->n_states = known_count();
        result->is_complete &= result->fault == NULL;
        e.is_logged = false;
}

/* Narrow bounds first: they tell most of what is shared, in a fraction of the time. */
static void
search_until_learnt(const struct engine_params *params, struct engine_result *result, double start)
{
        struct engine_params narrow = *params;

        narrow.n_preemptions = params->n_preemptions < 1 ? params->n_preemptions : 1;
        narrow.n_deaths = params->n_deaths < 1 ? params->n_deaths : 1;
        do {
                search(&narrow, result, start);
        } while (result->is_complete && e.has_grown);
        if (!result->is_complete)
                return;
        do {
                search(params, result, start);
        } while (result->is_complete && e.has_grown);
}

void
engine_explore(const struct engine_params *params, struct engine_result *ret_result)
{
        char *base = need(malloc(params->region_bytes));
        double start = seconds_now();

        memcpy(base, params->region, params->region_bytes);
        e.readers = need(calloc(params->region_bytes / 8 + 1, 1));
        e.writers = need(calloc(params->region_bytes / 8 + 1, 1));
        search_until_learnt(params, ret_result, start);
        if (memcmp(base, e.region, params->region_bytes) != 0 && !ret_result->fault)
                ret_result->fault = "the explorer missed a write";
        ret_result->seconds = seconds_now() - start;
        free(e.readers);
        free(e.writers);
        e.readers = e.writers = NULL;
        free(base);
}

/* ------------------------------------------------------------------ replay */

static int
actor_named(char name)
{
        for (uint32_t k = 0; k < e.params.n_actors; k++)
                if (e.params.actors[k].name == name)
                        return (int)k;
        return -1;
}

const char *
engine_replay(const struct engine_params *params, const char *schedule, FILE *out)
{
        const char *at = schedule, *fault = NULL;
        struct node n;

        begin(params, NULL);
        root_make(&n);
        e.is_replayed = true;
        e.trace = out;
        trace_begin();
        while (*at != '\0') {
                int k = actor_named(*at);
                char *end;

                if (k < 0) {
                        at++;
                        continue;
                }
                if (at[1] == '!') {
                        apply_die(&n, k);
                        trace_death(*at);
                        at += 2;
                        continue;
                }
                if (n.state[k] != ACTOR_READY)
                        break;
                snapshot_load(k, n.snapshot[k]);
                e.actors[k].stop_at = strtoull(at + 1, &end, 10) + e.actors[k].n_accesses;
                if (end == at + 1)
                        e.actors[k].stop_at = UINT64_MAX;
                at = end;
                e.actors[k].state = ACTOR_READY;
                actor_run(k);
                n.state[k] = (uint8_t)e.actors[k].state;
                n.snapshot[k] = snapshot_take(k);
                if (e.is_endless)
                        break;
        }
        trace_print(out);
        e.trace = NULL;
        load_all(&n);
        fault = e.is_endless ? "an actor waits for another, or never ends" : params->judge();
        undo_to(0, 0);
        e.is_replayed = false;
        e.is_logged = false;
        return fault;
}
