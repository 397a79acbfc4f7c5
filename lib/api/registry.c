/*
 * registry.c - see registry.h.
 *
 * Every free of a block that is not the default heap's asks which heap its address belongs to, while heaps come and go.
 * So the list of open heaps is read under RCU, which costs a reader no more than stores of its own, and changed under a
 * lock; closing waits for the readers.  All of it is private to the process.
 *
 * A closed heap stays mapped, and its handle stays what it was, as long as a thread of this process holds the `life` of
 * a slot in it: the C library has linked that mutex into the thread's list of robust mutexes, and would write through
 * it when the thread locks another one or ends.  Nobody waits for such threads; each open and close looks whether they
 * are gone.  Opening the same heap meanwhile takes it from there.
 *
 * In the child of fork() the handles are the same and none of the other threads is there: a client that is not this
 * process's is neither waited for nor given back.  The lock and liburcu are held across fork() by handlers that are
 * installed before those of most libraries, so that these may use heaps in theirs; a child handler that was installed
 * even before, or a child of _Fork(), which runs none, finds at its first call that the process is another one.
 *
 * What it gave up: a child of _Fork() waits for ever if it was made while another thread was inside heap_of_address(),
 * a few instructions, and it closes a heap; or while one was registering the process, and it uses that heap.
 */
#include "api/registry.h"

#include <urcu/urcu-bp.h>

#include "base/bits.h"
#include "os/process.h"
#include "os/shm.h"
#include "region/open.h"

static CDS_LIST_HEAD(heaps);  /* open: read under RCU, written under the lock */
static CDS_LIST_HEAD(closed); /* only under the lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t lock_pid; /* of the process that the lock belongs to; 0 = nobody has used it yet */

/* Of a thread that is inside fork(), with the lock held. */
static __thread bool is_forking __attribute__((tls_model("initial-exec")));
static __thread uint32_t generation_before_fork __attribute__((tls_model("initial-exec")));

/* ------------------------------------------------------------------ fork */

/* In a child, which has one thread: takes the lock from those that are not here. */
static void
take_over(void)
{
        struct shheap *h;

        store_relaxed(&lock_pid, process_id());
        pthread_mutex_init(&lock, NULL);
        if (!is_forking)
                return; /* _Fork() */
        is_forking = false;
        cds_list_for_each_entry(h, &heaps, node) pthread_mutex_init(&h->process.lock, NULL);
        if (tcache_generation() == generation_before_fork) /* else a call in somebody's handler has noticed */
                tcache_after_fork();
        urcu_bp_after_fork_child();
}

static void
before_fork(void)
{
        if (load_relaxed(&lock_pid) == 0)
                return;      /* there has never been a heap */
        urcu_bp_read_lock(); /* makes this thread known to liburcu, which cannot learn of it while it is held */
        urcu_bp_read_unlock();
        registry_lock();
        is_forking = true;
        generation_before_fork = tcache_generation();
        urcu_bp_before_fork();
}

static void
after_fork_parent(void)
{
        if (!is_forking)
                return;
        urcu_bp_after_fork_parent();
        is_forking = false;
        registry_unlock();
}

static void
after_fork_child(void)
{
        if (is_forking)
                take_over();
}

/* As early as a library may: the handlers for parent and child run in the order in which they were installed. */
__attribute__((constructor(101))) static void
install_fork_handlers(void)
{
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ------------------------------------------------------------------ the lock */

void
registry_lock(void)
{
        uint32_t pid = load_relaxed(&lock_pid); /* changes in new processes only, which have one thread */

        if (pid == 0)
                store_relaxed(&lock_pid, process_id());
        else if (pid != process_id())
                take_over();
        pthread_mutex_lock(&lock);
}

void
registry_unlock(void)
{
        pthread_mutex_unlock(&lock);
}

/* ------------------------------------------------------------------ the lists */

/* ThreadSanitizer takes liburcu's volatile accesses for races. */
__attribute__((no_sanitize("thread"))) struct shheap *
heap_of_address(const void *p)
{
        struct shheap *h, *found = NULL;

        urcu_bp_read_lock();
        cds_list_for_each_entry_rcu(h, &heaps, node)
        {
                const struct region *r = &h->process.region;

                if ((uintptr_t)p - (uintptr_t)r->chunks < r->layout.n_chunks << GEO_CHUNK_SHIFT) {
                        found = h;
                        break;
                }
        }
        urcu_bp_read_unlock();
        return found;
}

static struct shheap *
find_in(struct cds_list_head *list, uint64_t dev, uint64_t ino)
{
        struct shheap *h;

        cds_list_for_each_entry(h, list,
                                node) if (h->process.region.dev == dev && h->process.region.ino == ino) return h;
        return NULL;
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

struct shheap *
registry_new(void)
{
        void *h;

        return os_map_private(bits_align_up(sizeof(struct shheap), OS_PAGE_BYTES), false, &h) < 0 ? NULL : h;
}

void
registry_add(struct shheap *h)
{
        if (h->node.next)
                cds_list_del(&h->node); /* a closed one */
        store_relaxed(&h->process.is_closed, false);
        cds_list_add_rcu(&h->node, &heaps);
}

void
registry_remove(struct shheap *h)
{
        cds_list_del_rcu(&h->node);
        urcu_bp_synchronize_rcu();
        store_relaxed(&h->process.is_closed, true);
        cds_list_add(&h->node, &closed);
}

/* ------------------------------------------------------------------ letting go */

/* In the child of a fork the client is the parent's until the child registers one. */
static bool
client_is_ours(const struct shheap *h)
{
        const struct client_id *client = &h->process.client;
        const struct client_slot *slot;

        if (h->is_readonly || load_relaxed(&h->process.generation) != tcache_generation())
                return false;
        slot = region_client(&h->process.region, client->idx);
        return slot && load_relaxed(&slot->filled) == client->incarnation &&
               load_relaxed(&slot->pid) == process_id(); /* a child of _Fork() that has not noticed yet */
}

void
registry_destroy(struct shheap *h)
{
        if (client_is_ours(h)) {
                slot_unreserve(&h->process.reserve, &h->process.region);
                client_unregister(&h->process.region, &h->process.client);
        }
        region_close(&h->process.region);
        os_unmap(h, bits_align_up(sizeof *h, OS_PAGE_BYTES));
}

void
registry_sweep(void)
{
        struct shheap *h, *next;

        cds_list_for_each_entry_safe(h, next, &closed, node)
        {
                if (client_is_ours(h) && client_threads_remaining(&h->process.region, &h->process.client) > 0)
                        continue;
                cds_list_del(&h->node);
                registry_destroy(h);
        }
}
