/*
 * death.c - one worker of kvcache is killed, or stopped, at each store to the heap within one operation on the table.
 *
 * What is at stake: that the table needs no lock.  Whoever is left must go on at once, with every key as it was or as
 * it was to be, no block lost and none there twice; first without settling what the dead left, then after settling it.
 * The workers are processes of their own, and die by SIGKILL.
 *
 *      death kill  [SCRIPT] [--every]   the worker is killed at each step
 *      death stop  [SCRIPT] [--every]   it is stopped at each step, others work on the same bucket, it goes on
 *      death again [SCRIPT] [--stride N] its successor, too: killed at each step of settling and of the next operation
 *      death help  [SCRIPT] [--stride N] the next one at the bucket, too: killed at each step
 *      death stuck [SCRIPT] [--stride N] somebody who carries out what the dead has begun is stopped at
 *                                    each load and store
 *
 * --every: at each instruction, not only at those that change the heap.  --stride: only each N-th step of a stage.
 * --short: kill: in turn with and without settling first, not both; of the steps before the record is written, which
 * are the heap's own and tested there, each 4th; of eviction each 7th; FLUSHALL not at
 * all.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit.h"
#include "cache.h"
#include "steps.h"
#include "store.h"

enum { VICTIM, SURVIVOR, HELPER, N_WORKERS }; /* places */
enum { KEYS = 16, BUCKET = 5, WATCHDOG_SECONDS = 300, DEATHS_SHOWN = 5 };

#define MAX_BYTES UINT64_C(1400) /* so little that eviction does not take long to step through */

static char heap_name[64];
static shheap *heap;
static struct root *root;
static struct cache survivor;
static char names[KEYS][16]; /* keys of one bucket */
static struct audit at_rest; /* of the empty table */
static long n_faults, n_runs;
static char place_now[160];

__attribute__((format(printf, 1, 2))) static void
fault(const char *fmt, ...)
{
        va_list list;

        if (++n_faults > DEATHS_SHOWN)
                return;
        printf("%s: ", place_now);
        va_start(list, fmt);
        vprintf(fmt, list);
        va_end(list);
        putchar('\n');
}

/* ------------------------------------------------------------------ operations on keys */

static struct key
key(const struct cache *c, int i)
{
        return key_make(c, names[i], strlen(names[i]));
}

static void
set(struct cache *c, int i, const char *value)
{
        struct key k = key(c, i);

        if (cache_set(c, &k, value, strlen(value), 0, 0) != 1)
                fault("SET of key %d failed", i);
}

static void delete (struct cache *c, int i)
{
        struct key k = key(c, i);

        cache_delete(c, &k);
}

/* Its value, or NULL; valid until the next call. */
static const char *
value_of(struct cache *c, int i)
{
        static char value[256];
        struct key k = key(c, i);
        const struct item *item = cache_get(c, &k);

        if (item)
                snprintf(value, sizeof value, "%.*s", (int)item->value_bytes, item_value(item));
        cache_done(c);
        return item ? value : NULL;
}

static void
fill(int n)
{
        for (int i = 0; i < n; i++)
                set(&survivor, i, "first");
}

/* ------------------------------------------------------------------ scripts */

struct script {
        const char *name;
        int n_before; /* keys that are there */
        void (*run)(struct cache *c);
        int subject;           /* the key that it is about */
        const char *old, *new; /* its value before and after; NULL: not there */
        const char *twice;     /* when two have done it, if that is another one */
        bool may_lose;         /* others may be evicted */
};

static void
run_set_new(struct cache *c)
{
        set(c, 3, "second");
}

static void
run_replace(struct cache *c)
{
        set(c, 1, "second");
}

static void
run_extend(struct cache *c)
{
        set(c, BUCKET_SLOTS, "second");
}

static void
run_delete(struct cache *c)
{
        delete (c, 2);
}

static void
run_delete_extended(struct cache *c)
{
        delete (c, BUCKET_SLOTS);
}

static bool may_be_twice; /* two workers run the script, one after the other */

static void
run_add(struct cache *c)
{
        struct key k = key(c, 0);
        int64_t value;

        if (cache_add(c, &k, 7, &value) != 0 || (value != 7 && !(may_be_twice && value == 14)))
                fault("INCRBY failed");
}

static void
run_append(struct cache *c)
{
        struct key k = key(c, 1);
        uint64_t bytes;

        if (cache_append(c, &k, "+", 1, &bytes) != 0)
                fault("APPEND failed");
}

static void
run_expire(struct cache *c)
{
        struct key k = key(c, 0);

        if (cache_expire(c, &k, c->now_ms + 1000000) < 0) /* 0: others have deleted it */
                fault("EXPIRE failed");
}

/* The value is so large that all others have to go. */
static void
run_evict(struct cache *c)
{
        static char large[MAX_BYTES];
        struct key k = key(c, 5);

        memset(large, 'x', sizeof large);
        if (cache_set(c, &k, large, sizeof large - 300, 0, 0) != 1)
                fault("SET of a large value failed");
}

static void
run_flush(struct cache *c)
{
        cache_flush(c);
}

static const struct script scripts[] = {
        {"set-new", 3, run_set_new, 3, NULL, "second", NULL, false},
        {"set-replace", 3, run_replace, 1, "first", "second", NULL, false},
        {"set-extend", BUCKET_SLOTS, run_extend, BUCKET_SLOTS, NULL, "second", NULL, false},
        {"set-extend-again", BUCKET_SLOTS + EXTENSION_SLOTS, run_extend, BUCKET_SLOTS, "first", "second", NULL, false},
        {"delete", 3, run_delete, 2, "first", NULL, NULL, false},
        {"delete-extended", BUCKET_SLOTS + 1, run_delete_extended, BUCKET_SLOTS, "first", NULL, NULL, false},
        {"incr", 0, run_add, 0, NULL, "7", "14", false},
        {"append", 2, run_append, 1, "first", "first+", "first++", false},
        {"expire", 2, run_expire, 0, "first", "first", NULL, false},
        {"evict", 8, run_evict, 5, NULL, NULL, NULL, true},
        {"flush", BUCKET_SLOTS + 2, run_flush, 0, "first", NULL, NULL, true},
        {.name = NULL},
};

/* ------------------------------------------------------------------ judging */

static bool
equal(const char *a, const char *b)
{
        return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Before anything is settled, and after: each key has one of its values. */
static void
judge_values(const struct script *s, const char *when)
{
        for (int i = 0; i < KEYS; i++) {
                const char *value = value_of(&survivor, i), *before = i < s->n_before ? "first" : NULL;

                if (i == s->subject && !s->may_lose) {
                        if (!equal(value, s->old) && !equal(value, s->new) &&
                            !(may_be_twice && s->twice && equal(value, s->twice)))
                                fault("%s: key %d is '%s'", when, i, value ? value : "not there");
                } else if (!equal(value, before) && !(s->may_lose && (!value || i == s->subject))) {
                        fault("%s: key %d is '%s', and nobody was at it", when, i, value ? value : "not there");
                }
        }
}

static void
judge_table(const char *when)
{
        char text[1024] = "";
        FILE *out = fmemopen(text, sizeof text - 1, "w");
        struct audit check;

        audit_table(&survivor, out, &check);
        fclose(out);
        if (check.n_faults > 0)
                fault("%s: %s", when, text);
}

/* Nothing is left of anything. */
static void
judge_empty(void)
{
        struct audit check;
        FILE *out = fopen("/dev/null", "w");

        cache_flush(&survivor);
        memory_tick(&survivor);
        store_settle_places(heap, root);
        audit_table(&survivor, out, &check);
        fclose(out);
        if (check.n_blocks != at_rest.n_blocks || check.live_bytes != at_rest.live_bytes)
                fault("after FLUSHALL: %lu blocks of %lu bytes, and not %lu of %lu", check.n_blocks, check.live_bytes,
                      at_rest.n_blocks, at_rest.live_bytes);
}

/* The survivor goes on at once at the same bucket, and everything that it does holds. */
static void
go_on(const struct script *s)
{
        alarm(WATCHDOG_SECONDS);
        set(&survivor, s->subject, "third");
        if (!equal(value_of(&survivor, s->subject), "third"))
                fault("a SET of another worker is not seen");
        set(&survivor, KEYS - 1, "third");
        delete (&survivor, s->subject);
        if (value_of(&survivor, s->subject))
                fault("a DEL of another worker is not seen");
        if (!equal(value_of(&survivor, KEYS - 1), "third"))
                fault("a SET of another key is not seen");
        delete (&survivor, KEYS - 1);
        alarm(0);
}

/* Where the subject's item lies. */
static const void *
block_of(const struct script *s)
{
        struct key k = key(&survivor, s->subject);
        const void *p = cache_get(&survivor, &k);

        cache_done(&survivor);
        return p;
}

/* Settles the dead, frees all that may be freed, and sets the subject until its item lies where it lay at first, if
 * that memory is to be had: whoever still means to change the slot must not mistake the one for the other. */
static void
reuse(const struct script *s, const void *block)
{
        store_settle_places(heap, root);
        for (int i = 0; i < 16 && (i == 0 || block_of(s) != block); i++) {
                set(&survivor, s->subject, "again");
                memory_tick(&survivor);
        }
}

/* ------------------------------------------------------------------ points */

/*
 * A point in a worker's run: the step-th one since its record, or the bucket that it names, changed for the stage-th
 * time.  How many steps it takes to allocate and to free differs from run to run, as the heap does; how many there are
 * from one such change to the next does not.
 */
struct at {
        long stage, step;
        bool is_reached; /* something of this stage was */
        int n_misses;
};

enum { MISSES_MAX = 3 };

static bool is_short;

/* The next point to look at.  False: there are no more. */
static bool
at_next(struct at *at, bool was_reached, long stride)
{
        at->step += is_short && at->stage == 0 ? 4 * stride : stride;
        if (was_reached) {
                at->is_reached = true;
                at->n_misses = 0;
                return true;
        }
        if (++at->n_misses < MISSES_MAX)
                return true;
        if (!at->is_reached)
                return false;
        *at = (struct at){.stage = at->stage + 1};
        return true;
}

static struct at die_at, stop_at; /* stage -1: never */
static int stopped[2], resume[2];
static uint32_t place_of_mine;

/* What tells the stages apart. */
static uint64_t
state_now(void)
{
        const struct record *r = &root->place[place_of_mine].record;
        const struct bucket *bucket = (const struct bucket *)(uintptr_t)get(&r->bucket);

        return get(&r->phase) << 1 | (bucket && get(&bucket->word) >> 63);
}

static bool
is_at(const struct at *at, long stage, long step)
{
        return at->stage == stage && at->step == step;
}

static void
point(long n)
{
        static uint64_t state;
        static long stage, first;
        char byte;

        if (n == 1)
                state = state_now();
        if (state != state_now() || n == 1) {
                stage += n > 1;
                first = n;
                state = state_now();
        }
        if (is_at(&die_at, stage, n - first))
                kill(getpid(), SIGKILL);
        if (is_at(&stop_at, stage, n - first) && (write(stopped[1], "", 1) != 1 || read(resume[0], &byte, 1) != 1))
                _exit(98);
}

/* ------------------------------------------------------------------ victims */

static const struct at never = {.stage = -1};

static void
enter(struct cache *c, uint32_t place)
{
        if (store_enter(c, heap, root, place, 0) < 0)
                _exit(97);
}

/* In a process of its own.  `settles`: entering is stepped, too. */
static pid_t
start(uint32_t place, void (*run)(struct cache *c), bool settles, enum steps steps)
{
        pid_t pid = fork();
        struct cache c;

        if (pid != 0)
                return pid;
        alarm(WATCHDOG_SECONDS);
        steps_init(heap_name);
        if (!settles)
                enter(&c, place);
        place_of_mine = place;
        steps_begin(point, steps);
        if (settles)
                enter(&c, place);
        run(&c);
        steps_end();
        store_leave(&c);
        _exit(n_faults > 0);
}

/* Whether it was killed, as opposed to having come to its end. */
static bool
was_killed(pid_t pid)
{
        int status;

        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
                return true;
        if (status != 0)
                fault("a worker ended with %s %d", WIFSIGNALED(status) ? "signal" : "status",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return false;
}

/* ------------------------------------------------------------------ modes */

static void
look(const struct script *s, bool survivor_first)
{
        n_runs++;
        judge_values(s, "before settling");
        if (survivor_first)
                go_on(s);
        store_settle_places(heap, root);
        if (!survivor_first)
                judge_values(s, "after settling");
        judge_table("after settling");
        if (!survivor_first)
                go_on(s);
        judge_table("at the end");
        judge_empty();
}

/* A worker at `place` runs until this point.  Whether it came there. */
static bool
kill_at(const struct script *s, uint32_t place, bool settles, const struct at *at, enum steps steps)
{
        die_at = *at;
        stop_at = never;
        return was_killed(start(place, s->run, settles, steps));
}

static void
mode_kill(const struct script *s, enum steps steps, long stride)
{
        struct at at = {.stage = 0};
        bool is_killed;

        do {
                for (int order = 0; order < 2 - is_short && n_faults == 0; order++) {
                        snprintf(place_now, sizeof place_now, "kill %s, stage %ld, step %ld", s->name, at.stage,
                                 at.step);
                        fill(s->n_before);
                        is_killed = kill_at(s, VICTIM, false, &at, steps);
                        look(s, (at.step / stride + order) % 2 == 1);
                }
        } while (n_faults == 0 && at_next(&at, is_killed, stride));
}

static void
run_help(struct cache *c)
{
        table_help(c, &c->root->buckets[BUCKET]);
}

static const void *first_block; /* of the subject, before anybody is stopped */

/* A worker at `place` is stopped there, the survivor works, it goes on.  False: it came to its end before. */
static bool
stop_there(const struct script *s, uint32_t place, void (*run)(struct cache *c), const struct at *at, enum steps steps)
{
        struct timeval patience = {.tv_sec = WATCHDOG_SECONDS};
        const void *block = first_block;
        fd_set fds;
        char byte;
        ssize_t got;
        pid_t pid;

        die_at = never;
        stop_at = *at;
        if (pipe(stopped) < 0 || pipe(resume) < 0)
                exit(99);
        pid = start(place, run, false, steps);
        close(stopped[1]);
        close(resume[0]);
        FD_ZERO(&fds);
        FD_SET(stopped[0], &fds);
        if (select(stopped[0] + 1, &fds, NULL, NULL, &patience) != 1)
                fault("it neither stops nor ends");
        got = read(stopped[0], &byte, 1); /* 0: it has come to its end */
        if (got == 1) {
                judge_values(s, "while it is stopped");
                go_on(s);
                go_on(s);
                if (run == run_help)
                        reuse(s, block);
                n_runs++;
                if (write(resume[1], "", 1) != 1)
                        fault("it cannot go on");
        }
        close(stopped[0]);
        close(resume[1]);
        if (was_killed(pid))
                fault("killed");
        if (got == 1 && run == run_help && !equal(value_of(&survivor, s->subject), "again"))
                fault("after it went on: somebody has undone a SET");
        store_settle_places(heap, root);
        judge_table("after it went on");
        judge_empty();
        return got == 1;
}

static void
mode_stop(const struct script *s, enum steps steps, long stride)
{
        struct at at = {.stage = 0};
        bool is_stopped;

        do {
                snprintf(place_now, sizeof place_now, "stop %s, stage %ld, step %ld", s->name, at.stage, at.step);
                fill(s->n_before);
                is_stopped = stop_there(s, VICTIM, s->run, &at, steps);
        } while (n_faults == 0 && at_next(&at, is_stopped, stride));
}

/* Whether the bucket of the keys names an update that has not been carried out.  If it does not, what the first one
 * left makes no difference to the next at the bucket. */
static bool
is_update_left(void)
{
        return get(&root->buckets[BUCKET].word) & BUCKET_BUSY;
}

enum second { SECOND_SETTLES, SECOND_HELPS, SECOND_STUCK };

/* The first has died; the second at all its points.  False: there was no reason to look. */
static bool
second(const struct script *s, enum second what, const struct at *first, long stride)
{
        struct at at = {.stage = 0};
        bool is_reached;

        do {
                snprintf(place_now, sizeof place_now, "%s, stage %ld, step %ld; the second: stage %ld, step %ld",
                         s->name, first->stage, first->step, at.stage, at.step);
                fill(s->n_before);
                first_block = block_of(s);
                if (!kill_at(s, VICTIM, false, first, STEPS_STORES))
                        return false;
                if (what != SECOND_SETTLES && !is_update_left())
                        return true;
                if (what == SECOND_STUCK) {
                        is_reached = stop_there(s, HELPER, run_help, &at, STEPS_ACCESSES);
                        continue;
                }
                is_reached =
                        kill_at(s, what == SECOND_SETTLES ? VICTIM : HELPER, what == SECOND_SETTLES, &at, STEPS_STORES);
                look(s, at.step / stride % 2 == 1);
        } while (n_faults == 0 && at_next(&at, is_reached, stride));
        return true;
}

static void
mode_twice(const struct script *s, enum second what, long stride)
{
        struct at at = {.stage = 0};
        bool is_reached;

        may_be_twice = true;
        do {
                is_reached = second(s, what, &at, stride);
                store_settle_places(heap, root);
                judge_empty();
        } while (n_faults == 0 && at_next(&at, is_reached, what == SECOND_SETTLES ? stride : 1));
}

/* ------------------------------------------------------------------ */

static void
choose_names(void)
{
        int n = 0;

        for (unsigned i = 0; n < KEYS; i++) {
                struct key k;

                snprintf(names[n], sizeof names[n], "key-%u", i);
                k = key_make(&survivor, names[n], strlen(names[n]));
                n += (k.hash & (root->n_buckets - 1)) == BUCKET;
        }
}

static void
remove_heap(void)
{
        shheap_unlink(heap_name);
}

static void
on_alarm(int sig)
{
        (void)sig;
        if (write(1, "waited too long\n", 16) > 0)
                remove_heap();
        _exit(1);
}

static void
make_world(void)
{
        struct store_options o = {.name = heap_name, .max_bytes = MAX_BYTES, .n_buckets = 64};
        bool is_new;

        snprintf(heap_name, sizeof heap_name, "kvcache-death.%d", (int)getpid());
        if (store_create(&o, &heap, &root, &is_new) < 0)
                exit(99);
        put(&root->n_workers, N_WORKERS);
        if (store_enter(&survivor, heap, root, SURVIVOR, 0) < 0)
                exit(99);
        choose_names();
        audit_table(&survivor, stderr, &at_rest);
        signal(SIGALRM, on_alarm);
        signal(SIGPIPE, SIG_IGN);
}

static void
run_script(const struct script *s, const char *mode, enum steps steps, long stride)
{
        long before = n_runs;

        if (is_short && s->may_lose)
                stride *= 7;
        if (strcmp(mode, "kill") == 0)
                mode_kill(s, steps, stride);
        else if (strcmp(mode, "stop") == 0)
                mode_stop(s, steps, stride);
        else
                mode_twice(s,
                           strcmp(mode, "again") == 0  ? SECOND_SETTLES
                           : strcmp(mode, "help") == 0 ? SECOND_HELPS
                                                       : SECOND_STUCK,
                           stride);
        printf("%s %-17s %6ld runs\n", mode, s->name, n_runs - before);
        fflush(stdout);
}

int
main(int argc, char **argv)
{
        const char *mode = argc > 1 ? argv[1] : "", *only = NULL;
        enum steps steps = STEPS_STORES;
        long stride = 1;
        int n = 0;

        for (int i = 2; i < argc; i++)
                if (strcmp(argv[i], "--every") == 0)
                        steps = STEPS_INSTRUCTIONS;
                else if (strcmp(argv[i], "--short") == 0)
                        is_short = true;
                else if (strcmp(argv[i], "--stride") == 0 && i + 1 < argc)
                        stride = atol(argv[++i]);
                else
                        only = argv[i];
        if ((strcmp(mode, "kill") && strcmp(mode, "stop") && strcmp(mode, "again") && strcmp(mode, "help") &&
             strcmp(mode, "stuck")) ||
            stride < 1) {
                fputs("usage: death kill|stop|again|help|stuck [SCRIPT] [--every] [--short] [--stride N]\n", stderr);
                return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0); /* also when a fault of the heap aborts */
        make_world();
        for (const struct script *s = scripts; s->name; s++)
                if (only ? strcmp(only, s->name) == 0 : !(is_short && strcmp(s->name, "flush") == 0)) {
                        run_script(s, mode, steps, stride);
                        n++;
                }
        store_leave(&survivor);
        shheap_close(heap);
        remove_heap();
        printf("%ld runs, %ld faults\n", n_runs, n_faults);
        return n_faults > 0 || n == 0 || n_runs == 0;
}
