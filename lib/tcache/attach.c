/*
 * attach.c - a thread's tcaches: made at its first call, given up at its end, wiped by fork.
 *
 * A thread attaches lazily and once per heap.  Its tcache lies in a mapping of its own with MADV_WIPEONFORK, so that
 * the child of a fork, however it was made, finds zeroes: the dummy, which sends it to the slow path, where it becomes
 * a client of its own.  At thread exit the magazines go home and the slot is emptied; `life` stays locked until the
 * kernel marks it (clients/slot.c).  The mapping outlives the first destructor round, so that a later destructor that
 * allocates gets its old slot back, and goes in the next.
 *
 * A thread has several tcaches of a heap where calls were left by another door (tcache.h), or where a handler allocated
 * while its thread was in a call.  Attaching, letting go and borrowing happen behind a shield, because they change what
 * only one call at a time may change: the thread's list of tcaches, the C library's list of the mutexes that it holds,
 * locks of the process.
 *
 * A thread that uses several heaps finds the tcache of each by one look into a table of its own, so that hits are hits
 * there, too.  The table is the thread's, so what leaves it empties it; a fork wipes it; and what it says is looked
 * at, where the tcache itself says by whose handle hits may find it.
 *
 * What it gave up: a thread that exits in its last destructor round while attached is left to be reaped as dead.  A
 * slot that a jump has left stays taken, with what it caches, until its thread ends, since nothing can tell a jump from
 * a handler that has not returned yet.  So that one thread does not take the slots of all, it has a bounded number of
 * them; beyond that it borrows, and a borrowed slot is never left.
 */
#include "tcache/tcache.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "blocks/fault.h"
#include "clients/announce.h"
#include "heap/reap.h"
#include "heap/root.h"
#include "os/process.h"
#include "os/robust.h"
#include "os/shield.h"
#include "os/shm.h"
#include "pages/arena.h"
#include "pages/placement.h"
#include "region/dump.h"

enum {
        TCACHES_MAX = 64,        /* of one thread in one heap */
        LEND_TRIES_MAX = 1 << 14 /* for a slot that others keep, while all are in use */
};

const struct tcache tcache_dummy __attribute__((aligned(64)));
const struct tcache_known tcache_known_none;

__thread struct tcache_known *tcache_known = (struct tcache_known *)(uintptr_t)&tcache_known_none;
__thread struct tcache *tcache_default = (struct tcache *)(uintptr_t)&tcache_dummy;
__thread struct tcache *tcache_last = (struct tcache *)(uintptr_t)&tcache_dummy;
__thread struct tcache *tcache_list;

static struct shheap *default_heap; /* process-private; written by tcache_set_default */
static uint32_t generation;         /* bumped in each child of fork() */

enum { EVICTIONS_MAX = 64 }; /* of others for one place, or of this process in a row, while it attaches */

static uint64_t key1; /* of data of threads, by which their ends are known, plus 1; 0: none yet */

/* ------------------------------------------------------------------ thread exit */

static void
unmap(struct tcache *t)
{
        os_unmap((void *)bits_align_down((uintptr_t)t, OS_PAGE_BYTES), t->mapped_bytes);
}

/* From now on no hit finds it. */
static void
hide(struct tcache *t)
{
        t->hit_heap = TCACHE_HIDDEN;
        if (tcache_last == t)
                tcache_last = tcache_none();
        if (tcache_default == t)
                tcache_default = tcache_none();
}

/* The heap's list of tcaches.  Behind a shield; in the child of a fork its rest may be zeroed. */
static void
link_to_heap(struct tcache *t)
{
        struct shheap *heap = t->heap;

        process_lock(&heap->lock);
        t->next_of_heap = heap->tcaches;
        heap->tcaches = t;
        pthread_mutex_unlock(&heap->lock);
}

static void
unlink_from_heap(const struct tcache *t)
{
        struct shheap *heap = t->heap;
        struct tcache **at = &heap->tcaches;

        process_lock(&heap->lock);
        while (*at && *at != t)
                at = &(*at)->next_of_heap;
        if (*at)
                *at = t->next_of_heap;
        pthread_mutex_unlock(&heap->lock);
}

static int64_t
distance(const struct tcache *t)
{
        return (intptr_t)t - (intptr_t)&tcache_dummy;
}

/* The thread has no tcaches, or none that are its own. */
static void
forget_all(void)
{
        tcache_list = NULL;
        tcache_last = tcache_default = tcache_none();
        tcache_known = (struct tcache_known *)(uintptr_t)&tcache_known_none;
}

/* Behind a shield: the first of the list from now on. */
static void
link_to_thread(struct tcache *t)
{
        if (!tcache_list)
                tcache_known = t->known;
        t->next = tcache_list;
        tcache_list = t;
}

/* Behind a shield; `at` names it.  Where its room goes with it, what is known begins anew in another's. */
static void
unlink_from_thread(struct tcache **at)
{
        const struct tcache *t = *at;

        *at = t->next;
        if (!tcache_list || !tcache_list->known) { /* wiped by a fork */
                tcache_known = (struct tcache_known *)(uintptr_t)&tcache_known_none;
                return;
        }
        if (tcache_known == t->known)
                tcache_known = tcache_list->known;
        memset(tcache_known, 0, sizeof *tcache_known);
}

/* Called at the thread's end, from now on.  E19.acq: what the C library knows of the key. */
static void
watch_thread(void)
{
        pthread_setspecific((pthread_key_t)(load_acquire(&key1) - 1), &key1);
}

/* First round: give everything back.  Next round: forget, unless a destructor in between attached again.  What was left
 * by another door is forgotten at once: its slot stands. */
void
tcache_thread_ends(void *arg)
{
        struct tcache **at = &tcache_list;
        struct shield shield;
        bool again = false;

        (void)arg;
        shield_raise(&shield);
        while (*at && (*at)->mapped_bytes != 0) { /* 0: wiped by a fork */
                struct tcache *t = *at;

                if (t->is_attached && !tcache_is_left(t)) {
                        tcache_detach(t, load_relaxed(&t->heap->is_closed));
                        again = true;
                        at = &t->next;
                } else {
                        hide(t);
                        if (t->is_attached)
                                unlink_from_heap(t);
                        unlink_from_thread(at);
                        unmap(t);
                }
        }
        if (again)
                watch_thread();
        else
                robust_thread_ends();
        shield_lower(&shield);
}

/* The first thread that can; where the process has no key left, the next attach tries again. */
static int
ensure_key(void)
{
        uint64_t none = 0;
        pthread_key_t key;
        int err;

        if (load_relaxed(&key1) != 0) /* what is behind it, watch_thread() looks at */
                return 0;
        err = pthread_key_create(&key, tcache_thread_ends);
        if (err != 0)
                return error_set(-ENOMEM, "attach: pthread_key_create: %s: the process has %d keys for data of threads",
                                 error_name(err), PTHREAD_KEYS_MAX);
        if (!cas_release(&key1, &none, (uint64_t)key + 1)) /* E19.rel: the key */
                pthread_key_delete(key);
        return 0;
}

/* ------------------------------------------------------------------ fork */

/* False: nothing can tell us of forks, so nobody may attach. */
static bool
notice_fork(void)
{
        if (process_remember() < 0)
                return false;
        if (load_relaxed(process_mark()) == 0) /* a fork that ran no handler: one thread, ours */
                tcache_after_fork();
        return true;
}

/* ------------------------------------------------------------------ attach */

/* The hit path of free looks up whatever tag it finds, and in a damaged region that may be anything: so there is room
 * for all that 16 bits can say, which reads as 0, "slow", and costs address space only. */
static size_t
tcache_bytes(void)
{
        return bits_align_up(sizeof(struct tcache) + sizeof(int64_t) * (UINT16_MAX + 1), OS_PAGE_BYTES) + OS_PAGE_BYTES;
}

/* Bytes behind the start of a page where the thread's next tcache begins: so that those of several heaps do not share
 * cache sets, and what is used of one where there is one node does not take another page. */
#define USED_BYTES (sizeof(struct tcache) + sizeof(int64_t) * (TAG_CLASSES + 1))
_Static_assert(USED_BYTES + 64 <= OS_PAGE_BYTES, "there is more than one place in a page");

static size_t
colour(void)
{
        size_t n_others = 0;

        for (const struct tcache *t = tcache_list; t; t = t->next)
                n_others++;
        return n_others % ((OS_PAGE_BYTES - USED_BYTES) / 64 + 1) * 64;
}

static struct tcache *
tcache_map(void)
{
        size_t bytes = tcache_bytes();
        struct tcache *t;
        void *p;

        /* A child would go on with our slot if it were not wiped. */
        if (os_map_private(bytes + sizeof *t->known, true, &p) < 0)
                return NULL;
        t = (struct tcache *)(void *)((char *)p + colour());
        t->mapped_bytes = bytes + sizeof *t->known;
        t->known = (struct tcache_known *)(void *)((char *)p + bytes);
        return t;
}

static bool
is_lack_of_room(int err)
{
        return err == -EUSERS || err == -ENOMEM; /* the table has no more places, or the file system no page for them */
}

/* A place in the table, also one that the dead or those who hold nothing leave for it.  *ret_lack: where there was no
 * other, why. */
static int
register_client(struct region *r, struct client_id *ret_client, int *ret_lack)
{
        int err = client_register(r, ret_client);

        if (is_lack_of_room(err)) {
                *ret_lack = err;
                (void)slot_reap_all(r, reap_settle, NULL); /* or others have, meanwhile */
                err = client_register(r, ret_client);
        }
        /* Others may be faster. */
        for (int i = 0; is_lack_of_room(err) && i < EVICTIONS_MAX && client_evict_any(r); i++)
                err = client_register(r, ret_client);
        return err;
}

/* Under the heap's lock. */
static int
become_client(struct shheap *heap, struct client_id *ret_client, int *ret_lack)
{
        int err;

        /* Once: a thread that jumped out of here may have its lock, in the kernel's list of what it holds. */
        if (heap->reserve_of != generation) {
                slot_reserve_init(&heap->reserve);
                heap->reserve_of = generation;
        }
        err = register_client(&heap->region, ret_client, ret_lack);
        if (err < 0)
                return err;
        err = slot_reserve(&heap->reserve, &heap->region, ret_client, reap_settle, NULL);
        if (err < 0) {
                client_unregister(&heap->region, ret_client);
                return err;
        }
        store_relaxed_from(&heap->client, ret_client); /* a sibling's slot_attach() confirms what it finds there */
        store_release(&heap->generation, generation);
        return 0;
}

static bool
is_client(const struct shheap *heap, struct client_id *ret_client)
{
        if (load_acquire(&heap->generation) != generation)
                return false;
        load_relaxed_to(&heap->client, ret_client);
        return client_is_registered(&heap->region, ret_client);
}

/* This process's place in the heap; anew in the child of a fork, and when it has been evicted.  *ret_lack as above. */
static int
ensure_client(struct shheap *heap, struct client_id *ret_client, int *ret_lack)
{
        bool is_new;
        int err = 0;

        if (is_client(heap, ret_client))
                return 0;
        process_lock(&heap->lock); /* threads of this process only */
        is_new = !is_client(heap, ret_client);
        if (is_new)
                err = become_client(heap, ret_client, ret_lack);
        pthread_mutex_unlock(&heap->lock);
        if (is_new && err == 0)
                client_announce(&heap->region, ret_client);
        return err;
}

/* Each place was another's before this process's thread had a slot of it. */
static int
lost_to_others(const struct region *r, int lack)
{
        switch (lack) {
        case -EUSERS:
                return error_set(
                        -EUSERS,
                        "cannot attach a thread: all %u clients of this heap are in use, and others are faster: "
                        "create the heap with more max_clients",
                        (uint32_t)r->layout.n[TABLE_CLIENTS]);
        case -ENOMEM:
                return error_set_refused(-EUSERS, "cannot attach a thread: no memory for another client slot of this "
                                                  "heap, and others are faster to take those that there are");
        default: /* it was others that looked for places */
                return error_set(-EUSERS,
                                 "cannot attach a thread: others that find no slot in this heap have taken this "
                                 "process's place, %d times in a row",
                                 EVICTIONS_MAX);
        }
}

/* A place and a slot of it, by slot_attach() or slot_borrow().  Each failed round is an eviction: somebody else came
 * in. */
static int
ensure_slot(struct shheap *heap, struct thread *t, bool borrows)
{
        struct client_id client;
        int err = -ESTALE, lack = 0;

        for (int i = 0; err == -ESTALE && i < EVICTIONS_MAX; i++) {
                err = ensure_client(heap, &client, &lack);
                if (err == 0)
                        err = borrows ? slot_borrow(&heap->reserve, t, &heap->region, &client, reap_settle, NULL)
                                      : slot_attach(t, &heap->region, &client, reap_settle, NULL);
        }
        return err == -ESTALE ? lost_to_others(&heap->region, lack) : err;
}

/* Where the region is not at its own base its entries are no addresses: there every call goes slow. */
uint64_t
tcache_limit(const struct tcache *t)
{
        const struct region *r = t->thread.region;

        if (load_relaxed(&t->heap->is_closed) || t->heap->is_checked || t->heap->is_junked || r->is_relocated)
                return 0;
        return region_chunks_hwm(r) << GEO_CHUNK_SHIFT;
}

static void
allow_hits(struct tcache *t)
{
        if (!t->heap->is_junked && !t->heap->is_zeroed && !t->thread.region->is_relocated)
                memcpy(t->by_size, size_class_by_size, sizeof size_class_by_size);
        t->limit = tcache_limit(t);
}

static void
forbid_hits(struct tcache *t)
{
        t->limit = 0;
        memset(t->by_size, 0, sizeof t->by_size);
}

static void
publish_all(struct tcache *t)
{
        struct region *r = t->thread.region;

        for (uint32_t tag = 1; tag < r->layout.n_tags; tag++)
                tcache_publish(t, tag);
        t->chunks = r->chunks;
        t->slabs = r->slabs;
        allow_hits(t);
}

/* Slot, arena, hit paths.  *t is zeroed, or what detach left. */
static int
attach(struct tcache *t, struct shheap *heap)
{
        int err = ensure_slot(heap, &t->thread, false);

        if (err < 0)
                return err;
        t->thread.seed = t->thread.no * 7;
        err = arena_bind(&t->thread, placement_node_here(&heap->region));
        if (err < 0) {
                slot_release(&t->thread);
                return err;
        }
        root_tidy(&t->thread); /* what the slot's last owner left under construction */
        t->heap = heap;
        t->is_attached = true;
        tcache_settle_node(t);
        publish_all(t);
        t->hit_heap = heap;
        link_to_heap(t);
        dump_follow(&heap->region);
        return 0;
}

struct tcache *
tcache_find(const struct shheap *heap)
{
        struct tcache *known = tcache_known_of(heap);

        if (LIKELY(known->heap == heap && tcache_is_usable(known)))
                return known;
        for (struct tcache *t = tcache_list; t; t = t->next) {
                if (t->mapped_bytes == 0) { /* wiped by a fork: the list ends here, the mappings are lost to us */
                        forget_all();
                        return NULL;
                }
                if (t->heap == heap && tcache_is_usable(t)) {
                        tcache_known->by_heap[((uintptr_t)heap >> TCACHE_HANDLE_SHIFT) % TCACHE_KNOWN_N] = distance(t);
                        return t;
                }
        }
        return NULL;
}

void
tcache_remember(struct tcache *t, const void *p)
{
        if ((uintptr_t)p - (uintptr_t)t->chunks < t->limit) /* so it is in the list, and there is room */
                tcache_known->by_address[(uintptr_t)p / HEADER_BASE_ALIGN % TCACHE_KNOWN_N] = distance(t);
}

/* One that a destructor of this thread has detached already. */
static struct tcache *
find_detached(const struct shheap *heap)
{
        struct tcache *t = tcache_list;

        while (t && (t->heap != heap || t->is_attached))
                t = t->next;
        return t;
}

/* This thread has left so many calls on the heap by another door that it gets no other slot. */
static bool
has_left_too_many(const struct shheap *heap)
{
        uint32_t n = 0;

        for (const struct tcache *t = tcache_list; t; t = t->next)
                n += t->heap == heap && t->is_attached;
        return n >= TCACHES_MAX;
}

/* Behind a shield.  The same as tcache_get(), where none was found. */
static struct tcache *
attach_anew(struct shheap *heap, int *ret_err)
{
        struct tcache *t = find_detached(heap);
        bool is_new = !t;

        if (has_left_too_many(heap)) {
                *ret_err = error_set(-EUSERS,
                                     "cannot attach a thread: it has left %d calls by jumps, and gets no other slot",
                                     TCACHES_MAX);
                return NULL;
        }
        *ret_err = ensure_key();
        if (*ret_err < 0)
                return NULL;
        if (is_new)
                t = tcache_map();
        if (!t || !notice_fork()) {
                if (t && is_new)
                        unmap(t);
                *ret_err = error_set_refused(-ENOMEM, "attach: no memory for the thread's cache");
                return NULL;
        }
        *ret_err = attach(t, heap);
        if (*ret_err < 0) {
                if (is_new)
                        unmap(t);
                return NULL;
        }
        if (is_new)
                link_to_thread(t);
        watch_thread();
        return t;
}

/* Whether there is one, or can be none: else it is attached anew. */
static bool
find_or_refuse(struct shheap *heap, struct tcache **ret_tcache, int *ret_err)
{
        struct tcache *t = tcache_find(heap);

        *ret_err = 0;
        *ret_tcache = t;
        if (load_relaxed(&heap->is_closed)) {
                tcache_forget(heap);
                *ret_err = error_set(-EBADF, "the heap has been closed by this process");
                *ret_tcache = NULL;
                return true;
        }
        return t != NULL;
}

struct tcache *
tcache_get(struct shheap *heap, int *ret_err)
{
        struct tcache *t;
        struct shield shield;

        if (find_or_refuse(heap, &t, ret_err))
                return t;
        shield_raise(&shield);
        (void)robust_check_anew(); /* whoever takes a slot's locks says what is wrong */
        t = attach_anew(heap, ret_err);
        shield_lower(&shield);
        return t;
}

struct tcache *
tcache_get_shielded(struct shheap *heap, int *ret_err)
{
        struct tcache *t;

        return find_or_refuse(heap, &t, ret_err) ? t : attach_anew(heap, ret_err);
}

/* ------------------------------------------------------------------ letting go */

/* A thread that ends has nobody to report a fault to. */
static void
tell(struct tcache *t)
{
        if (UNLIKELY(t->thread.fault.what != FAULT_NONE) && t->heap->tell)
                t->heap->tell(t->heap, &t->thread.fault);
        t->thread.fault.what = FAULT_NONE;
}

void
tcache_detach(struct tcache *t, bool unlock)
{
        struct shield shield;

        shield_raise(&shield);
        hide(t);
        if (!tcache_is_left(t)) {
                call_begin(&t->thread, 0, 1, SIZE_CLASS_NONE);
                root_settle_pending(t->thread.region, t->thread.slot, t->thread.no,
                                    &t->thread); /* left inside init() */
                tcache_flush(t);
                tell(t); /* as long as the slot keeps the heap mapped */
                unlink_from_heap(t);
                forbid_hits(t); /* no closer writes there any more */
                t->is_attached = false;
                t->n_called = 0; /* at the end of the thread: jumps have left them */
                if (unlock)
                        slot_release(&t->thread);
                else
                        slot_detach(&t->thread);
        }
        shield_lower(&shield);
}

void
tcache_forget(struct shheap *heap)
{
        struct tcache **at = &tcache_list;
        struct shield shield;

        shield_raise(&shield);
        while (*at && (*at)->mapped_bytes != 0) {
                struct tcache *t = *at;

                if (t->heap == heap && t->n_called == 0 && t->is_attached)
                        tcache_detach(t, true);
                else if (t->heap == heap && t->n_called == 0 && t->thread.no != 0)
                        slot_release(&t->thread);
                if (t->heap == heap && !t->is_attached) {
                        unlink_from_thread(at);
                        unmap(t);
                } else {
                        at = &t->next; /* another heap's, or left as it is: until the thread ends, or its call does */
                }
        }
        shield_lower(&shield);
}

/* Other threads' tcaches are written here.  None of them is inside a call, and whoever tells them that the heap is
 * closed, or open again, orders this before what they do.  What a fork has wiped ends the list (_Fork() has no handlers
 * that empty it). */
void
tcache_close_all(struct shheap *heap)
{
        struct shield shield;

        shield_raise(&shield);
        process_lock(&heap->lock);
        for (struct tcache *t = heap->tcaches; t && t->mapped_bytes != 0; t = t->next_of_heap)
                forbid_hits(t);
        pthread_mutex_unlock(&heap->lock);
        shield_lower(&shield);
}

void
tcache_open_all(struct shheap *heap)
{
        struct shield shield;

        shield_raise(&shield);
        process_lock(&heap->lock);
        for (struct tcache *t = heap->tcaches; t && t->mapped_bytes != 0; t = t->next_of_heap)
                allow_hits(t);
        pthread_mutex_unlock(&heap->lock);
        shield_lower(&shield);
}

int
thread_borrow(struct shheap *heap, struct thread *ret_thread)
{
        struct shield shield;
        int err;

        memset(ret_thread, 0, sizeof *ret_thread);
        shield_raise(&shield);
        err = notice_fork() ? ensure_slot(heap, ret_thread, true) : -ENOMEM;
        if (err == 0) {
                err = arena_bind(ret_thread, placement_node_here(&heap->region));
                if (err < 0)
                        slot_return(&heap->reserve, ret_thread);
        }
        if (err < 0)
                shield_lower(&shield);
        else
                heap->shield = shield;
        return err;
}

/* Where no client's place is needed, nor a mapping, nor news of forks: it is given back before this thread can fork. */
int
thread_lend(struct shheap *heap, struct thread *ret_thread, struct shield *ret_shield)
{
        struct region *r = &heap->region;
        int err, tries = 0;

        memset(ret_thread, 0, sizeof *ret_thread);
        shield_raise(ret_shield);
        fetch_add_relaxed(&heap->n_lent, 1u);
        while ((err = slot_lend(ret_thread, r, reap_settle, NULL)) == -EBUSY && ++tries < LEND_TRIES_MAX)
                sched_yield(); /* whoever has one gives it back after one free */
        if (err == -EBUSY)
                err = error_set(-EUSERS, "all thread slots of this heap are taken, and those that are kept for who has "
                                         "none are in use, by others who may be stopped");
        if (err < 0) {
                fetch_add_relaxed(&heap->n_lent, -1u);
                shield_lower(ret_shield);
        }
        for (uint32_t arena = r->layout.n_arenas; err == 0 && arena-- > 0;)
                if (region_arena(r, arena)) { /* the lowest; it need not be near */
                        ret_thread->arena = arena;
                        ret_thread->node = region_arena_node(r, arena);
                }
        return err;
}

void
thread_give_back(struct shheap *heap, struct thread *t, const struct shield *shield)
{
        slot_give_back(t);
        fetch_add_relaxed(&heap->n_lent, -1u);
        shield_lower(shield);
}

void
thread_return(struct shheap *heap, struct thread *t)
{
        struct shield shield = heap->shield; /* the next borrower's, once the slot is given back */

        slot_return(&heap->reserve, t);
        shield_lower(&shield);
}

/* ------------------------------------------------------------------ the default heap, fork */

/* By a CAS, also where nothing changes: see tcache_unset_default(). */
void
tcache_set_default(struct shheap *heap)
{
        struct shheap *was = load_relaxed(&default_heap); /* a failed try reloads: somebody else chose */
        struct tcache *t;

        while (!cas_acq_rel(&default_heap, &was, heap)) /* E20.rel: that it is open; E20.acq: that it is closed */
                continue;
        t = heap ? tcache_find(heap) : NULL;
        tcache_default = t ? t : tcache_none();
}

/*
 * Whoever makes a heap the default looks afterwards whether it is open, and whoever closes one looks whether it is the
 * default after it has said that it is not open.  Both change the word, so one of them comes second and sees what the
 * other did before (E20).
 */
void
tcache_unset_default(const struct shheap *heap)
{
        struct shheap *was = load_relaxed(&default_heap); /* as above */

        while (!cas_acq_rel(&default_heap, &was, was == heap ? NULL : was)) /* E20.rel, E20.acq */
                continue;
        if (was == heap)
                tcache_default = tcache_none();
}

struct shheap *
tcache_default_heap(void)
{
        return load_acquire(&default_heap);
}

uint32_t
tcache_generation(void)
{
        return generation;
}

void
tcache_after_fork(void)
{
        uint32_t *mark = process_mark();

        generation++;
        if (mark)
                store_relaxed(mark, 1u); /* nobody else is left who could */
        forget_all();                    /* the wiped mappings of the parent's threads stay mapped: a page each */
}
