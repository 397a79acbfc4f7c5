/*
 * world.c - the region, the actors, and everything that the library asks the system about.
 *
 * The test is linked to the library's objects, so its own madvise() and clock_gettime() are the ones that
 * they call: pages are taken from a table of this process, caches survive the forks that the test makes for itself, and
 * time stands still.  Forks are made with _Fork(), which runs none of the library's handlers.
 */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "clients//liveness.h"
#include "os/numa.h"
#include "os/robust.h"
#include "support/fills.h"

#define WORLD_BASE    UINT64_C(0x551000000000)
#define WORLD_FD      1000 /* no descriptor: what the region has for one */
#define WORLD_FD_DUP  1001
#define WORLD_PAGES   (UINT64_C(256) << 20 >> 12)
#define WORLD_PID_NS  UINT32_C(4026531836)
#define TID_OF(actor) (0x30000000u + (uint32_t)(actor))

struct actor *actors, *actor_now;
struct region *world_region;
uint64_t world_ms = 1000000;

static struct shheap handles[N_ACTORS];
static uint8_t *backed; /* by page of the region: 0 = hole, else 1 + the node that the file's policy named then, + 1 */
static bool marks = true;

static void
die(const char *what)
{
        fprintf(stderr, "crash: %s: %s (%s)\n", what, strerror(errno), error_message());
        exit(99);
}

/* ------------------------------------------------------------------ the system that the library sees */

enum { WORLD_CHUNKS = 64, STRAYS_MAX = 16 };

static struct {
        uint8_t policy[WORLD_CHUNKS]; /* of the file, by chunk: the node that its pages come from, + 1; 0 = any */
        uint64_t strays
                [STRAYS_MAX]; /* pages that somebody touched whom nobody had asked, in their order; 0 = no longer */
} sys;

static unsigned n_strays;

static uint32_t
policy_of(uint64_t region_off)
{
        uint64_t chunk = (region_off - world_region->layout.chunks_off) >> GEO_CHUNK_SHIFT;

        return region_off >= world_region->layout.chunks_off && chunk < WORLD_CHUNKS ? sys.policy[chunk] : 0;
}

static int
fake_bind(void *addr, uint64_t bytes, uint64_t nodes, bool interleave)
{
        uint64_t chunk = (uint64_t)((char *)addr - world_region->chunks) >> GEO_CHUNK_SHIFT;

        (void)interleave;
        if (chunk + (bytes >> GEO_CHUNK_SHIFT) > WORLD_CHUNKS)
                return -EFAULT;
        for (uint64_t i = 0; i < bytes >> GEO_CHUNK_SHIFT; i++)
                sys.policy[chunk + i] = (uint8_t)(1 + __builtin_ctzll(nodes));
        return 0;
}

const void *
world_system(size_t *ret_bytes)
{
        *ret_bytes = sizeof sys;
        return &sys;
}

/* Only in a world with such pages is there a descriptor to look for them. */
void
world_touch(uint64_t region_off)
{
        if (n_strays == STRAYS_MAX || (n_strays > 0 && sys.strays[n_strays - 1] >= region_off >> 12))
                die("pages are touched in their order, and not too many");
        if (backed[region_off >> 12] != 0)
                return;
        backed[region_off >> 12] = 1;
        sys.strays[n_strays++] = region_off >> 12;
}

bool
world_is_placed(uint64_t chunk, uint32_t node1)
{
        uint64_t first = (world_region->layout.chunks_off >> 12) + (chunk << (GEO_CHUNK_SHIFT - 12));

        if (!world_region->has_numa || node1 == 0)
                return true;
        for (uint64_t page = first; page < first + (GEO_CHUNK_BYTES >> 12); page++)
                if (backed[page] != 0 && backed[page] != 1 + node1)
                        return false;
        return sys.policy[chunk] == node1;
}

static uint32_t
fake_here(void)
{
        return 0;
}

static uint64_t
fake_allowed(void)
{
        return UINT64_MAX;
}

static uint64_t
fake_free_bytes(uint32_t node)
{
        (void)node;
        return UINT64_MAX;
}

static int64_t
fake_count_elsewhere(const void *addr, uint64_t bytes, uint32_t node)
{
        (void)addr, (void)bytes, (void)node;
        return 0;
}

static const struct os_numa_fake fake_numa = {
        .machine = {.online = 3, .with_cpus = 3, .with_memory = 3, .n_cpus_max = 1},
        .here = fake_here,
        .allowed = fake_allowed,
        .free_bytes = fake_free_bytes,
        .bind = fake_bind,
        .count_elsewhere = fake_count_elsewhere,
};

static long
system_call(long no, long a, long b, long c, long d, long e, long f)
{
        register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
        long result;

        __asm__ volatile("syscall"
                         : "=a"(result)
                         : "a"(no), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
        if (result >= 0 || result < -4095)
                return result;
        errno = (int)-result;
        return -1;
}

/* What the file tells: the pages that were touched.  Of others the notes in the region know. */
static long
seek(uint64_t off, int whence)
{
        uint64_t page = off >> 12;

        for (unsigned i = 0; i < n_strays; i++)
                if (whence == SEEK_DATA && sys.strays[i] != 0 && sys.strays[i] >= page)
                        return (long)(sys.strays[i] == page ? off : sys.strays[i] << 12);
                else if (whence == SEEK_HOLE && sys.strays[i] == page)
                        page++;
        if (whence == SEEK_HOLE)
                return (long)(page == off >> 12 ? off : page << 12);
        errno = ENXIO;
        return -1;
}

/* The library makes the calls by this one that are cancellation points (os/syscall.h). */
long
syscall(long no, ...)
{
        long a[6];
        va_list args;

        va_start(args, no);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(args, long);
        va_end(args);
        if (n_strays > 0 && no == SYS_fcntl && a[0] == WORLD_FD)
                return WORLD_FD_DUP;
        if (a[0] != WORLD_FD_DUP || (no != SYS_fstat && no != SYS_lseek && no != SYS_close))
                return system_call(no, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (no == SYS_fstat)
                memset((void *)a[1], 0, sizeof(struct stat)); /* as the region's dev and ino */
        return no == SYS_lseek ? seek((uint64_t)a[1], (int)a[2]) : 0;
}

/* Pages are given and taken in the table; what is taken is zeroed. */
int
madvise(void *addr, size_t bytes, int advice)
{
        uint64_t first = ((uint64_t)(uintptr_t)addr - WORLD_BASE) >> 12, n = bytes >> 12;

        if (advice == MADV_WIPEONFORK)
                return 0;
        if (advice != MADV_POPULATE_WRITE && advice != MADV_REMOVE)
                return (int)system_call(SYS_madvise, (long)addr, (long)bytes, advice, 0, 0, 0);
        if ((uint64_t)(uintptr_t)addr < WORLD_BASE || first + n > WORLD_PAGES) {
                errno = EFAULT;
                return -1;
        }
        for (uint64_t page = first; page < first + n; page++)
                if (advice == MADV_REMOVE)
                        backed[page] = 0;
                else if (backed[page] == 0)
                        backed[page] = (uint8_t)(1 + policy_of(page << 12));
        for (unsigned i = 0; i < n_strays; i++)
                if (sys.strays[i] - first < n)
                        sys.strays[i] = 0;
        return advice == MADV_REMOVE ? (int)system_call(SYS_madvise, (long)addr, (long)bytes, MADV_DONTNEED, 0, 0, 0)
                                     : 0;
}

int
clock_gettime(clockid_t id, struct timespec *ret_now)
{
        (void)id;
        ret_now->tv_sec = (time_t)(world_ms / 1000);
        ret_now->tv_nsec = (long)(world_ms % 1000) * 1000000;
        return 0;
}

/* Of signals and cancellation only whether they are held back matters here: who runs in between is decided in
 * left.c. */
int
pthread_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
        if (ret_old)
                sigemptyset(ret_old);
        if (!actor_now) /* the world is being made */
                return 0;
        if (ret_old && actor_now->is_shielded)
                sigaddset(ret_old, SIGUSR1);
        if (set)
                actor_now->is_shielded = (how == SIG_BLOCK && actor_now->is_shielded) || sigismember(set, SIGUSR1) == 1;
        return 0;
}

/* No note knows of a page that somebody touched, until it is reserved. */
enum backing
world_backing(uint64_t region_off)
{
        for (unsigned i = 0; i < n_strays; i++)
                if (sys.strays[i] == region_off >> 12)
                        return BACKING_UNKNOWN;
        return backed[region_off >> 12] != 0 ? BACKING_PAGE : BACKING_HOLE;
}

/* ------------------------------------------------------------------ life and death */

static int
fake_identify(struct liveness_self *ret_self)
{
        *ret_self = (struct liveness_self){
                .pid_ns = WORLD_PID_NS, .pid = TID_OF(actor_now->no), .tid = TID_OF(actor_now->no)};
        return 0;
}

static uint32_t
fake_pid_ns(void)
{
        return WORLD_PID_NS;
}

static bool
is_gone(uint32_t id)
{
        return id - TID_OF(0) < N_ACTORS && actors[id - TID_OF(0)].is_dead;
}

/* The word that the running actor would take a lock with. */
static uint64_t
own_word(void)
{
        return robust_word_of(TID_OF(actor_now->no), WORLD_PID_NS);
}

static bool
holder_is_gone(uint64_t word, uint32_t pid)
{
        return is_gone(robust_word_tid(word)) || is_gone(pid);
}

static enum lock_view
fake_lock_view(const struct robust_lock *lock, uint32_t pid, bool ask)
{
        uint64_t word = robust_word(lock);

        if (robust_word_is_free(word))
                return LOCK_FREE;
        if (!robust_word_is_held(word))
                return LOCK_DEAD;
        if (!ask)
                return LOCK_HELD;
        if (word == own_word())
                return LOCK_MINE;
        return holder_is_gone(word, pid) ? LOCK_DEAD : LOCK_HELD;
}

static void
fake_quiet_begin(struct robust_quiet *ret_quiet)
{
        ret_quiet->is_quiet = false;
}

static void
fake_quiet_end(struct robust_quiet *quiet)
{
        (void)quiet;
}

static int
fake_lock_try(struct robust_lock *lock, uint32_t pid, bool holder_is_dead)
{
        uint64_t word = robust_word(lock);
        bool is_free = robust_word_is_free(word);

        if (robust_word_is_held(word) && !holder_is_dead && !holder_is_gone(word, pid))
                return -EBUSY;
        if (!cas_acquire(&lock->word, &word, own_word()))
                return -EBUSY;
        return is_free ? 0 : 1;
}

static void
fake_lock_release(struct robust_lock *lock)
{
        if (robust_word(lock) == own_word())
                store_release(&lock->word, UINT64_C(0));
}

static const struct liveness_ops fake_liveness = {
        .identify = fake_identify,
        .pid_ns = fake_pid_ns,
        .lock_view = fake_lock_view,
        .quiet_begin = fake_quiet_begin,
        .quiet_end = fake_quiet_end,
        .lock_try = fake_lock_try,
        .lock_release = fake_lock_release,
        .process_is_gone = is_gone,
};

static void
mark(struct robust_lock *lock, uint32_t tid)
{
        if (lock->word == robust_word_of(tid, WORLD_PID_NS))
                lock->word = robust_word_of(ROBUST_OWNER_DIED, WORLD_PID_NS); /* as the kernel does: the id is gone */
}

/* In rounds, as the C library calls it for a thread's data. */
void
actor_ends(void)
{
        for (int round = 0; tcache_list && round < PTHREAD_DESTRUCTOR_ITERATIONS; round++)
                tcache_thread_ends(NULL);
        if (tcache_list)
                report_line("the end of a thread has left it a cache");
}

void
actor_kill(struct actor *a)
{
        a->is_dead = true;
        for (uint32_t idx = 0; marks && idx < region_threads_hwm(world_region); idx++) {
                mark(&region_gate(world_region, idx)->life, TID_OF(a->no));
                mark(&region_gate(world_region, idx)->reap, TID_OF(a->no));
        }
}

void
newcomer_comes(void)
{
        struct actor *old = actor_now, *f = &actors[ACTOR_F];

        actor_attach(f);
        a_free(f, a_malloc(f, 64));
        actor_switch(old);
}

void
world_marks_the_dead(bool does)
{
        marks = does;
}

/* ------------------------------------------------------------------ actors */

void
actor_switch(struct actor *a)
{
        if (actor_now) {
                actor_now->tcache_list = tcache_list;
                actor_now->tcache_default = tcache_default;
                actor_now->tcache_last = tcache_last;
                actor_now->tcache_known = tcache_known;
        }
        actor_now = a;
        tcache_list = a->tcache_list;
        tcache_default = a->tcache_default;
        tcache_last = a->tcache_last;
        tcache_known = a->tcache_known;
        world_region = &a->heap->region;
}

void
actor_attach(struct actor *a)
{
        int err;

        actor_switch(a);
        if (!tcache_get(a->heap, &err))
                die("an actor cannot attach");
        a->is_attached = true;
        fills_are_whole(thread_of(a));
}

/* ------------------------------------------------------------------ making it */

static void
actor_make(struct actor *a, int no, const struct layout *layout)
{
        a->no = no;
        a->os_pid = TID_OF(no);
        a->heap = &handles[no];
        a->heap->is_open = true;
        a->tcache_default = a->tcache_last = tcache_none();
        a->tcache_known = (struct tcache_known *)(uintptr_t)&tcache_known_none;
        a->heap->told_s = UINT64_MAX; /* bad frees of others are counted, and nothing is said */
        a->heap->region.fd = WORLD_FD;
        region_bind(&a->heap->region, (void *)WORLD_BASE, layout);
        region_set_policy(&a->heap->region, OPTIONS_NUMA_LOCAL, 0);
        a->heap->region.has_numa = os_numa_fake != NULL;
        a->heap->generation = tcache_generation() - 1;
        pthread_mutex_init(&a->heap->lock, NULL);
}

void
world_make(const struct script *script)
{
        struct layout_params params = {.max_capacity = (script->n_chunks ? script->n_chunks : 4) * GEO_CHUNK_BYTES,
                                       .max_clients = ACTOR_F, /* F needs the place of one who died */
                                       .max_threads = 2 * ACTOR_F + (script->flags & SCRIPT_SLOT ? 1 : 0),
                                       .n_nodes = script->n_nodes ? script->n_nodes : 1,
                                       .arenas_per_node = script->n_arenas ? script->n_arenas : 1,
                                       .max_roots = 4,
                                       .page_shift = 12};
        struct layout layout;
        const char *what;
        void *base;

        liveness = &fake_liveness;
        (void)os_numa(); /* read once per process: all are in one here, and who stops in there would hold up others */
        os_numa_fake = script->n_nodes > 1 ? &fake_numa : NULL;
        if (layout_compute(&params, &layout, &what) < 0)
                die(what);
        base = mmap((void *)WORLD_BASE, layout.region_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (base != (void *)WORLD_BASE)
                die("mmap of the region");
        backed = mmap(NULL, WORLD_PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        actors = mmap(NULL, N_ACTORS * sizeof *actors, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (backed == MAP_FAILED || actors == MAP_FAILED)
                die("mmap");
        for (int no = 0; no < N_ACTORS; no++)
                actor_make(&actors[no], no, &layout);
        actor_switch(&actors[ACTOR_C]);
        if (region_reserve_fixed(world_region) < 0)
                die("reserving the first tables");
        region_format(world_region, &params, "crash", WORLD_BASE);
        world_region->header->decay_ms = script->decay_ms ? script->decay_ms : INT64_MAX / 2; /* one stamp for ever */
        for (int no = 0; no < ACTOR_F; no++)
                if (no != ACTOR_A || !(script->flags & SCRIPT_UNATTACHED))
                        actor_attach(&actors[no]);
        actor_switch(&actors[ACTOR_A]);
}
