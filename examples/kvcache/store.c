/*
 * store.c - see store.h.
 *
 * Who has a place holds its robust mutex: the kernel tells when that process is dead.  Nobody waits for such a mutex.
 */
#include "store.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { BYTES_PER_BUCKET = 512, BUCKETS_MIN = 64 };

#define SLACK_BYTES (UINT64_C(1) << 30)

uint64_t
store_now_ms(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------ robust mutexes */

static int
mutex_init(pthread_mutex_t *mutex)
{
        pthread_mutexattr_t attr;
        int error;

        pthread_mutexattr_init(&attr);
        error = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        if (error == 0)
                error = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        if (error == 0)
                error = pthread_mutex_init(mutex, &attr);
        pthread_mutexattr_destroy(&attr);
        return -error;
}

/* 0, whether its last owner let go or died; -EBUSY. */
static int
mutex_take(pthread_mutex_t *mutex, unsigned patience_ms)
{
        struct timespec until;
        int error = pthread_mutex_trylock(mutex);

        if (error == EBUSY && patience_ms > 0) {
                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_sec += patience_ms / 1000;
                error = pthread_mutex_timedlock(mutex, &until);
        }
        if (error == ETIMEDOUT)
                error = EBUSY;
        return error == EOWNERDEAD ? -pthread_mutex_consistent(mutex) : -error;
}

/* ------------------------------------------------------------------ making it */

static int
root_init(void *object, size_t size, void *arg)
{
        struct root *root = object;
        int err = mutex_init(&root->supervisor);

        (void)size;
        (void)arg;
        for (uint32_t i = 0; err == 0 && i < PLACES; i++)
                err = mutex_init(&root->place[i].life);
        return err;
}

/* By the supervisor alone. */
static int
fill_root(shheap *heap, struct root *root, const struct store_options *o)
{
        uint64_t n = BUCKETS_MIN;

        while (n < (o->n_buckets != 0 ? o->n_buckets : o->max_bytes / BYTES_PER_BUCKET))
                n *= 2;
        root->n_buckets = n;
        root->max_bytes = o->max_bytes;
        if (root->buckets_ref == SHREF_NULL &&
            !shheap_malloc_to(heap, n * sizeof(struct bucket), SHA_LG_ALIGN(6), &root->buckets_ref))
                return -errno;
        root->buckets = shheap_ptr(heap, root->buckets_ref);
        memset((void *)root->buckets, 0, n * sizeof(struct bucket));
        if (getrandom(root->hash_key, sizeof root->hash_key, 0) != sizeof root->hash_key)
                return -EIO;
        root->started_ms = store_now_ms();
        atomic_thread_fence(memory_order_seq_cst);
        root->layout = ROOT_LAYOUT;
        return 0;
}

static int
fail(int err, const char *name, const char *what)
{
        fprintf(stderr, "kvcache: %s %s: %s\n", what, name, err == -EBUSY ? "a server is using it" : shheap_errormsg());
        return err;
}

/* A heap without a complete table: its maker was killed in the midst of it. */
static int
open_root(shheap *heap, const struct store_options *o, struct root **ret_root)
{
        void *object;
        int err = shheap_root(heap, ROOT_NAME, sizeof(struct root), 0, root_init, NULL, &object);
        struct root *root = object;

        if (err < 0)
                return fail(err, o->name, "cannot make the table in heap");
        if (mutex_take(&root->supervisor, 0) < 0)
                return fail(-EBUSY, o->name, "cannot use heap");
        *ret_root = root;
        if (root->layout == ROOT_LAYOUT)
                return 0;
        if (shheap_settled(heap, &root->buckets_ref) < 0) /* another supervisor may have died of it */
                return fail(-EBUSY, o->name, "cannot yet use heap");
        err = fill_root(heap, root, o);
        if (err < 0)
                return fail(err, o->name, "no room for the table in heap");
        return 1;
}

int
store_create(const struct store_options *o, shheap **ret_heap, struct root **ret_root, bool *ret_is_new)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        int err;

        attr.capacity = 3 * o->max_bytes + SLACK_BYTES;
        if (o->n_buckets > 0)
                attr.capacity += 2 * o->n_buckets * sizeof(struct bucket);
        attr.capacity = (attr.capacity + (4 << 20) - 1) >> 22 << 22;
        err = shheap_open(ret_heap, o->name, SHHEAP_CREATE, &attr);
        if (err < 0)
                return fail(err, o->name, "cannot open heap");
        err = open_root(*ret_heap, o, ret_root);
        *ret_is_new = err == 1;
        if (err < 0)
                shheap_close(*ret_heap);
        return err < 0 ? err : 0;
}

int
store_open(const char *name, shheap **ret_heap, struct root **ret_root)
{
        void *object;
        int err = shheap_open(ret_heap, name, 0, NULL);

        if (err < 0)
                return fail(err, name, "cannot open heap");
        err = shheap_root(*ret_heap, ROOT_NAME, sizeof(struct root), 0, NULL, NULL, &object);
        if (err == 0 && ((struct root *)object)->layout != ROOT_LAYOUT)
                err = -EPROTO;
        if (err < 0) {
                fail(err, name, "this is not a table of this version in heap");
                shheap_close(*ret_heap);
                return err;
        }
        *ret_root = object;
        return 0;
}

/* ------------------------------------------------------------------ places */

/* Its last process has left it in order. */
static bool
is_clean(const struct place *place)
{
        bool is_clean = get(&place->pid) == 0 && (get(&place->record.phase) & 3) == PHASE_IDLE &&
                        place->fresh_item == SHREF_NULL && place->fresh_extension == SHREF_NULL;

        for (int i = 0; is_clean && i < RETIRED_MAX; i++)
                is_clean = place->retired[i] == SHREF_NULL;
        return is_clean;
}

/* What the dead was allocating or freeing is done or undone: now the place's references are true.  The empty ones, too:
 * a reaper that stands still may be about to empty one that has the same block again. */
static bool
is_settled(shheap *heap, const struct place *place)
{
        bool is_settled =
                shheap_settled(heap, &place->fresh_item) == 0 && shheap_settled(heap, &place->fresh_extension) == 0;

        for (int i = 0; is_settled && i < RETIRED_MAX; i++)
                is_settled = shheap_settled(heap, &place->retired[i]) == 0;
        return is_settled;
}

static bool
await_settled(shheap *heap, const struct place *place, unsigned patience_ms)
{
        uint64_t until = store_now_ms() + patience_ms;

        while (!is_settled(heap, place)) {
                if (store_now_ms() >= until)
                        return false;
                sched_yield();
        }
        return true;
}

/* The place's mutex is held. */
static void
settle(struct cache *c, shheap *heap, struct root *root, uint32_t place_no)
{
        *c = (struct cache){
                .heap = heap, .root = root, .me = &root->place[place_no], .me_no = place_no, .now_ms = store_now_ms()};
        if (getrandom(&c->random, sizeof c->random, GRND_NONBLOCK) != sizeof c->random)
                c->random = c->now_ms;
        c->random |= 1;
        (void)shheap_reap(heap); /* what it had cached returns, too; the references of the place are true already */
        table_settle(c);
}

int
store_enter(struct cache *c, shheap *heap, struct root *root, uint32_t place_no, unsigned patience_ms)
{
        struct place *me = &root->place[place_no];

        if (mutex_take(&me->life, patience_ms) < 0)
                return -EBUSY;
        if (!await_settled(heap, me, patience_ms)) {
                pthread_mutex_unlock(&me->life);
                return -EBUSY;
        }
        settle(c, heap, root, place_no);
        put(&me->pid, (uint64_t)getpid());
        put(&me->n_clients, 0);
        put(&me->n_started, get(&me->n_started) + 1);
        return 0;
}

void
store_leave(struct cache *c)
{
        table_release(c);
        table_reclaim(c);
        (void)shheap_free_from(c->heap, &c->me->fresh_extension);
        put(&c->me->pid, 0);
        put(&c->me->n_clients, 0);
        pthread_mutex_unlock(&c->me->life);
}

void
store_settle_places(shheap *heap, struct root *root)
{
        struct cache c;

        for (uint32_t i = 0; i < PLACES; i++) {
                if (mutex_take(&root->place[i].life, 0) < 0)
                        continue; /* its process lives */
                if (is_clean(&root->place[i]) || !is_settled(heap, &root->place[i])) {
                        pthread_mutex_unlock(&root->place[i].life);
                        continue;
                }
                settle(&c, heap, root, i);
                store_leave(&c);
        }
}
