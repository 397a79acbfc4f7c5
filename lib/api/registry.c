/*
 * registry.c - see registry.h.
 *
 * Every free of a block that is not the default heap's asks which heap its address belongs to, while heaps come and go.
 * It reads an array of the open heaps' handles, without a lock and without a mark of its own: a signal handler may jump
 * out of it, and a cancelled thread may end in it.  That is safe because a handle is one for ever.  Handles lie in a
 * range of their own that is never unmapped; one whose heap is gone is zeroed, so that it has no chunks and is not
 * open, which is how every function tells a stale one; and it is given out again when all others have been.
 *
 * All else is behind a lock, and the lock behind a shield (os/shield.h), so that neither a handler nor a cancellation
 * finds the thread that has it.  Should it be left all the same (by a jump out of the handler of a fault), the thread
 * finds it still its own, and others get it when that thread ends.
 *
 * A closed heap stays mapped, and its handle stays what it was, as long as a thread of this process holds the `life` of
 * a slot in it: the C library has linked that mutex into the thread's list of robust mutexes, and would write through
 * it when the thread locks another one or ends.  Nobody waits for such threads; each open and close looks whether they
 * are gone.  Opening the same heap meanwhile takes it from there.  It stays, too, while a call that calls back is under
 * way: the last close may come out of that.
 *
 * In the child of fork() the handles are the same and none of the other threads is there: a client that is not this
 * process's is neither waited for nor given back.  The lock is held across fork(), and the shield with it, by handlers
 * that are installed before those of most libraries, so that these may use heaps in theirs; a child handler that was
 * installed even before, or a child of _Fork(), which runs none, finds at its first call that the process is another
 * one.
 *
 * What it gave up: a free that stands still between two loads of handle_of_address() while its process opens as many
 * heaps as there are handles may take its block for another heap's.  A child of _Fork() waits for ever if it was made
 * while another thread was registering the process, attaching or letting go, and it uses that heap.
 */
#include "api/registry.h"

#include <errno.h>

#include "base/bits.h"
#include "base/error.h"
#include "os/process.h"
#include "os/robust.h"
#include "os/shield.h"
#include "os/shm.h"
#include "os/syscall.h"
#include "region/open.h"

#define HANDLE_BYTES 4096

_Static_assert(sizeof(struct shheap) <= HANDLE_BYTES && OS_PAGE_BYTES == HANDLE_BYTES, "a handle is one page");

static CDS_LIST_HEAD(heaps);  /* open */
static CDS_LIST_HEAD(closed); /* all of this only under the lock, but where it says otherwise */
static pthread_mutex_t lock;
static uint32_t lock_pid; /* of the process that the lock belongs to; 0 = nobody has used it yet */

/* The first one, for the many who have one heap, and the others. */
static char first_handle[HANDLE_BYTES] __attribute__((aligned(HANDLE_BYTES)));
static char *handles;          /* REGISTRY_HANDLES of them, but for the first; NULL = not needed yet */
static uint32_t n_handles = 1; /* that may be read and written */
static uint32_t n_given;       /* how many times one was given out */

static struct shheap *places[REGISTRY_HANDLES]; /* of open heaps, NULL between them; read without the lock */
static uint32_t n_places;                       /* that were ever in use, likewise */

__thread uint32_t handle_n_holds;

/* Of a thread that is inside fork(), with the lock held. */
static __thread bool is_forking __attribute__((tls_model("initial-exec")));
static uint32_t generation_before_fork;
static struct shield fork_shield;

/* ------------------------------------------------------------------ the lock */

static void
take_over_heaps(struct cds_list_head *list)
{
        struct shheap *h;

        cds_list_for_each_entry(h, list, node)
        {
                process_lock_init(&h->lock);
                h->tcaches = NULL;
                h->n_lent = 0;
                if (handle_n_holds == 0) /* else which of them are this thread's is not known: it stays mapped */
                        h->n_called = 0;
        }
}

/* In a child, which has one thread: takes the lock from those that are not here. */
static void
take_over(void)
{
        store_relaxed(&lock_pid, process_id());
        if (is_forking)
                (void)pthread_mutex_unlock(&lock); /* fails, but tells race detectors */
        process_lock_init(&lock);
        if (!is_forking)
                return; /* _Fork() */
        is_forking = false;
        take_over_heaps(&heaps);
        take_over_heaps(&closed);
        if (tcache_generation() == generation_before_fork) /* else a call in somebody's handler has noticed */
                tcache_after_fork();
}

void
registry_lock_shielded(void)
{
        uint32_t pid = load_relaxed(&lock_pid); /* changes in new processes only, which have one thread */

        if (pid == 0)
                store_relaxed(&lock_pid, process_id());
        else if (pid != process_id())
                take_over();
        process_lock(&lock);
}

void
registry_lock(struct shield *ret_shield)
{
        shield_raise(ret_shield);
        registry_lock_shielded();
}

void
registry_unlock(const struct shield *shield)
{
        pthread_mutex_unlock(&lock);
        shield_lower(shield);
}

/* ------------------------------------------------------------------ fork */

static void
before_fork(void)
{
        struct shield shield;

        registry_lock(&shield);
        fork_shield = shield;
        is_forking = true;
        generation_before_fork = tcache_generation();
}

static void
after_fork_parent(void)
{
        struct shield shield = fork_shield; /* the next one to fork stores its own */

        is_forking = false;
        registry_unlock(&shield);
}

static void
after_fork_child(void)
{
        if (is_forking) /* else a call in somebody's handler has taken over */
                take_over();
        shield_lower(&fork_shield);
}

/* As early as a library may: the handlers for parent and child run in the order in which they were installed. */
__attribute__((constructor(101))) static void
install_fork_handlers(void)
{
        process_lock_init(&lock);
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ------------------------------------------------------------------ handles */

static struct shheap *
handle_at(uint32_t idx)
{
        return (struct shheap *)(void *)(idx == 0 ? first_handle : handles + idx * HANDLE_BYTES);
}

struct shheap *
registry_new(void)
{
        for (uint32_t tries = 0; tries < REGISTRY_HANDLES; tries++) {
                uint32_t idx = n_given++ % REGISTRY_HANDLES;
                struct shheap *h;
                void *reserved;

                if (idx > 0 && !handles) {
                        if (os_hold_private((uint64_t)REGISTRY_HANDLES * HANDLE_BYTES, &reserved) < 0) {
                                n_given--;
                                return NULL;
                        }
                        handles = reserved;
                }
                h = handle_at(idx);
                if (idx == n_handles) {
                        if (os_unprotect(h, HANDLE_BYTES) < 0) {
                                n_given--;
                                return NULL;
                        }
                        n_handles++;
                }
                if (!h->is_taken) {
                        h->is_taken = true;
                        return h;
                }
        }
        return NULL;
}

bool
handle_refuse(const struct shheap *h, const char *operation)
{
        if (h && load_relaxed(&h->is_closed)) /* and mapped: perhaps for this thread's sake */
                tcache_forget((struct shheap *)(uintptr_t)h);
        errno = -error_set(-EBADF, "%s: not an open heap", operation);
        return false;
}

/* ------------------------------------------------------------------ the open heaps */

static bool
has_address(const struct shheap *h, const void *p)
{
        const struct region *r = &h->region;

        return (uintptr_t)p - (uintptr_t)load_relaxed(&r->chunks) < load_relaxed(&r->layout.n_chunks)
                                                                            << GEO_CHUNK_SHIFT;
}

static bool
has_table(const struct shheap *h, const void *p)
{
        const struct region *r = &h->region;

        return (uintptr_t)p - (uintptr_t)load_relaxed(&r->base) < load_relaxed(&r->layout.chunks_off);
}

static struct shheap *
find_place(bool (*has)(const struct shheap *h, const void *p), const void *p)
{
        uint32_t n = load_relaxed(&n_places); /* who was handed a block saw its heap opened, or is misusing one */

        for (uint32_t i = 0; i < n; i++) {
                struct shheap *h = load_acquire(&places[i]); /* E14.acq: where the chunks are */

                if (h && has(h, p))
                        return h;
        }
        return NULL;
}

bool
registry_lists(const struct shheap *handle)
{
        uint32_t n = load_relaxed(&n_places); /* who has the handle of an open heap saw it opened */

        for (uint32_t i = 0; handle && i < n; i++)
                if (load_acquire(&places[i]) == handle) /* E14.acq: what it says */
                        return true;
        return false;
}

struct shheap *
handle_of_address(const void *p)
{
        return find_place(has_address, p);
}

struct shheap *
handle_of_table(const void *p)
{
        return find_place(has_table, p);
}

bool
handle_is_file(int fd)
{
        uint32_t n = load_relaxed(&n_places);
        struct stat st;

        if (sys_fstat(fd, &st) < 0)
                return false;
        for (uint32_t i = 0; i < n; i++) {
                const struct shheap *h = load_acquire(&places[i]); /* E14.acq: which file it is */

                if (h && load_relaxed(&h->region.dev) == st.st_dev && load_relaxed(&h->region.ino) == st.st_ino)
                        return true;
        }
        return false;
}

static struct shheap *
find_in(struct cds_list_head *list, uint64_t dev, uint64_t ino)
{
        struct shheap *h;

        cds_list_for_each_entry(h, list, node) if (h->region.dev == dev && h->region.ino == ino) return h;
        return NULL;
}

bool
registry_is_empty(void)
{
        return cds_list_empty(&heaps) && cds_list_empty(&closed);
}

struct shheap *
registry_find(uint64_t dev, uint64_t ino)
{
        struct shheap *h = find_in(&heaps, dev, ino);

        return h ? h : find_in(&closed, dev, ino);
}

bool
registry_has(const struct shheap *handle)
{
        const struct shheap *h;

        cds_list_for_each_entry(h, &heaps, node) if (h == handle) return true;
        return false;
}

/* The first place that has this; there is one, since there are as many places as handles. */
static uint32_t
place_of(const struct shheap *h)
{
        uint32_t i = 0;

        while (i + 1 < REGISTRY_HANDLES && load_relaxed(&places[i]) != h)
                i++;
        return i;
}

void
registry_add(struct shheap *h)
{
        uint32_t place = place_of(NULL);

        if (h->node.next)
                cds_list_del(&h->node); /* a closed one */
        cds_list_add(&h->node, &heaps);
        store_relaxed(&h->is_closed, false);
        store_relaxed(&h->is_open, true);
        store_release(&places[place], h); /* E14.rel: where the chunks are */
        if (place >= n_places)
                store_relaxed(&n_places, place + 1);
}

void
registry_remove(struct shheap *h)
{
        store_relaxed(&places[place_of(h)], NULL);
        store_relaxed(&h->is_open, false);
        store_relaxed(&h->is_closed, true);
        cds_list_del(&h->node);
        cds_list_add(&h->node, &closed);
}

/* ------------------------------------------------------------------ letting go */

/* In the child of a fork the client is the parent's until the child registers one. */
static bool
client_is_ours(const struct shheap *h)
{
        if (h->is_readonly || load_relaxed(&h->generation) != tcache_generation())
                return false;
        return client_is_of(&h->region, &h->client, process_id(), 0); /* a child of _Fork() may not have noticed yet */
}

void
registry_destroy(struct shheap *h)
{
        if (client_is_ours(h)) {
                slot_unreserve(&h->reserve, &h->region, &h->client);
                client_unregister(&h->region, &h->client);
        }
        robust_forget(h->region.base, h->region.layout.region_bytes);
        region_close(&h->region);
        os_wipe_private(h, HANDLE_BYTES);
}

/* Whether a thread of this process may have locks of the heap in its list.  The heap's own tables may be damaged, so
 * what this process knows itself counts, too. */
static bool
is_held(struct shheap *h)
{
        const struct tcache *t;
        bool has_tcaches;

        process_lock(&h->lock);
        t = h->tcaches;
        has_tcaches = t && t->mapped_bytes != 0; /* else they are the parent's, wiped by a fork */
        pthread_mutex_unlock(&h->lock);
        return has_tcaches || load_relaxed(&h->n_lent) != 0 || load_relaxed(&h->n_called) != 0 ||
               (client_is_ours(h) && client_threads_remaining(&h->region, &h->client) > 0);
}

void
registry_sweep(void)
{
        struct shheap *h, *next;

        cds_list_for_each_entry_safe(h, next, &closed, node)
        {
                if (is_held(h))
                        continue;
                cds_list_del(&h->node);
                registry_destroy(h);
        }
}
