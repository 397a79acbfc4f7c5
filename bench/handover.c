/*
 * handover - blocks are allocated by one worker and freed by another: in pairs, and from everybody to everybody.
 */
#include <sched.h>
#include <string.h>

#include "common/bench.h"

enum { RING = 1024, BATCH = 16, WORKERS_MAX = 8, SPINS_MAX = 256 };

/*
 * One writer, one reader.  They tell each other how far they are once per BATCH blocks, and look how far the other is
 * only when they cannot go on, so that little of what is measured is the ring.
 */
struct ring {
        uint64_t n_put __attribute__((aligned(128))); /* as told */
        uint64_t n_got __attribute__((aligned(128)));
        struct end {
                uint64_t n, other; /* so far; what the other end told when this one last looked */
        } writer __attribute__((aligned(128))), reader __attribute__((aligned(128)));
        void *block[RING] __attribute__((aligned(128)));
};

struct shared {
        const struct bench_case *c;
        size_t size_min, size_max;
        bool samples;
        double seconds, before, early, late; /* MiB resident: at first, after a quarter of the time, at the end */
        struct ring ring[WORKERS_MAX][WORKERS_MAX]; /* from, to */
};

static bool
put(struct ring *r, void *p)
{
        struct end *e = &r->writer;

        if (e->n - e->other == RING)
                e->other = __atomic_load_n(&r->n_got, __ATOMIC_ACQUIRE);
        if (e->n - e->other == RING)
                return false;
        r->block[e->n++ % RING] = p;
        if (e->n % BATCH == 0)
                __atomic_store_n(&r->n_put, e->n, __ATOMIC_RELEASE);
        return true;
}

static void *
get(struct ring *r)
{
        struct end *e = &r->reader;
        void *p;

        if (e->n == e->other)
                e->other = __atomic_load_n(&r->n_put, __ATOMIC_ACQUIRE);
        if (e->n == e->other)
                return NULL;
        p = r->block[e->n++ % RING];
        if (e->n % BATCH == 0)
                __atomic_store_n(&r->n_got, e->n, __ATOMIC_RELEASE);
        return p;
}

/* Nothing to do just now. */
static void
pause_a_little(uint32_t *spins)
{
        if (++*spins % SPINS_MAX == 0)
                sched_yield();
        else
                bench_pause();
}

static void *
new_block(const struct bench_allocator *a, const struct shared *s, struct bench_rng *random)
{
        uint32_t size = (uint32_t)s->size_min + bench_below(random, (uint32_t)(s->size_max - s->size_min) + 1);
        uint64_t *p = a->take(size);

        *p = size;
        return p;
}

/* A block is handed over to be read.  That of null is not: its writer would have to fetch it back each time, and who
 * waits for one cache line is no floor. */
static void
use(const struct bench_allocator *a, const void *p)
{
        if (!a->is_null)
                (void)*(const volatile uint64_t *)p;
}

static void
sample(const struct bench_allocator *a, struct bench_worker *w)
{
        struct shared *s = w->arg;
        double resident;

        if (!s->samples || w->idx != 0)
                return;
        resident = (double)bench_resident(a) / 1048576 - s->before;
        if (s->early == 0 && bench_now() > w->deadline - s->seconds * 3 / 4)
                s->early = resident;
        s->late = resident;
}

/* Even workers allocate, odd ones free what their neighbour did. */
static void
pair_worker(const struct bench_allocator *a, struct bench_worker *w)
{
        struct shared *s = w->arg;
        struct bench_rng random = {0x9e3779b97f4a7c15 * (uint64_t)(w->idx + 1)};
        struct ring *ring = &s->ring[w->idx & ~1][w->idx | 1];
        uint32_t spins = 0;

        for (uint64_t turn = 0; turn % 256 != 0 || bench_now() < w->deadline; turn++) {
                void *p;

                if (turn % 65536 == 0)
                        sample(a, w);
                if (w->idx % 2 == 0) {
                        p = new_block(a, s, &random);
                        while (!put(ring, p))
                                if (pause_a_little(&spins), bench_now() > w->deadline)
                                        return;
                } else if ((p = get(ring)) != NULL) {
                        use(a, p);
                        a->give(p);
                        w->n_ops++;
                } else {
                        pause_a_little(&spins);
                }
        }
}

/* Everybody allocates for everybody else, and frees what comes. */
static void
many_worker(const struct bench_allocator *a, struct bench_worker *w)
{
        struct shared *s = w->arg;
        struct bench_rng random = {0x9e3779b97f4a7c15 * (uint64_t)(w->idx + 1)};
        uint32_t spins = 0;
        void *p = NULL;

        for (uint64_t turn = 0; turn % 256 != 0 || bench_now() < w->deadline; turn++) {
                int other = (w->idx + 1 + (int)(turn % (uint64_t)(w->n - 1))) % w->n;
                void *q;
                bool did = false;

                if (!p)
                        p = new_block(a, s, &random);
                if (put(&s->ring[w->idx][other], p)) {
                        p = NULL;
                        did = true;
                }
                while ((q = get(&s->ring[other][w->idx])) != NULL) {
                        use(a, q);
                        a->give(q);
                        w->n_ops++;
                        did = true;
                }
                if (!did)
                        pause_a_little(&spins);
        }
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct shared *s = bench_map(sizeof *s);
        bool is_many = strncmp(c->name, "many", 4) == 0;

        if (a->workers_max != 0 && c->a > (uint64_t)a->workers_max)
                return BENCH_SKIPPED;
        s->size_min = c->b;
        s->size_max = c->c;
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        s->samples = strcmp(c->name, "blow-up") == 0;
        s->seconds = s->samples ? 1 : 0.25;
        s->before = (double)bench_resident(a) / 1048576;
        bench_report_crew(bench_crew(a, (int)c->a, is_many ? many_worker : pair_worker, s, s->seconds), (int)c->a);
        if (s->samples) {
                bench_value("early", "MiB", BENCH_PLAIN, s->early);
                bench_value("late", "MiB", BENCH_PLAIN, s->late);
        }
        return 0;
}

static const struct bench_case cases[] = {{"pair-64", 2, 64, 64},
                                          {"pair-mixed", 2, 16, 1024},
                                          {"two-pairs-mixed", 4, 16, 1024},
                                          {"many-2-mixed", 2, 16, 1024},
                                          {"many-4-mixed", 4, 16, 1024},
                                          {"blow-up", 2, 16, 1024},
                                          {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "handover",
                "What a block costs that one worker allocates and another frees: in pairs, and from all to all.",
                cases,
                BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 9,
                .run = run};

        return bench_main(argc, argv, &question);
}
