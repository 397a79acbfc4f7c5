/*
 * shmalloc.h - a malloc for memory that unrelated processes share
 *
 * A HEAP is a named region of memory that many processes open and allocate from.  A HANDLE (shheap *) is one
 * process's view of it and is never stored in the heap.  A BLOCK is ordinary memory inside the heap: it outlives the
 * process that allocated it, any process that has the heap open may read, write and free it, and it lasts until
 * somebody frees it or the heap itself goes.
 *
 *   Pointers.   Every process maps a heap at the same address, so plain pointers may be stored in blocks.  Where that
 *               address is taken, opening fails and the message names what is in the way.  A process that opens with
 *               SHHEAP_RELOCATABLE takes any address; what is shared with such processes holds shrefs (offsets).
 *               No pointers to functions, virtual tables, thread-local or private memory belong in a block.
 *   Death.      A process may be killed at any instruction, in any number of threads.  The heap stays consistent,
 *               nobody waits for the dead, and what their threads had cached returns: at the latest when somebody
 *               would otherwise run out of memory.  Blocks stay as they are, since others may hold pointers to them.
 *               A block whose address the dead process had stored nowhere is lost like any leak; shheap_malloc_to()
 *               and shheap_free_from() leave no such window, and shheap_root() finds everything again.
 *               Who is dead is known by a mark that the kernel leaves in the dead thread's lock: to everybody, in every
 *               pid namespace, of zombies, too, in a chroot and without /proc.  Where the kernel leaves none (it, or
 *               process_mrelease(), took the memory first; SIGKILL within a few instructions of attaching; an exec by
 *               another thread than the first) processes of the same pid namespace see that the process or thread is
 *               gone, and shmallocd does from a namespace outside.  Nobody who is stopped, or of whom nothing can be
 *               known, is ever taken for dead.  A process of which no thread is attached has no claim to its place
 *               among max_clients: it gets another one at its next call.
 *   Waiting.    No function waits for another process: neither for a dead one nor for one that is stopped or slow.
 *               Threads of one process wait for each other while a heap is opened or closed, and when all thread
 *               slots of a heap are taken.
 *   Trust.      Processes that have a heap open for writing trust each other, as threads do: any of them can
 *               overwrite any block and break the heap.  Use one heap per domain of trust.  Opening, shheap_check(),
 *               shheap_walk() and read-only processes trust nothing that they find.
 *   Memory.     Pages are reserved before they are handed out: a full /dev/shm, a small one, or the capacity reached
 *               gives NULL and ENOMEM, never a signal.  Two limits of the system remain: a memory cgroup that is full
 *               makes the kernel kill processes, and whoever may write to the file may also truncate it.  On a disk
 *               there is no such promise: a heap is not created or opened for writing there, unless disk:true asks
 *               for it.  A heap is not dumped into core files, unless dump:used asks for it.  Where memory is locked
 *               (mlockall(MCL_FUTURE)) its pages are locked as they come into use; who calls mlockall(MCL_CURRENT)
 *               later, or reads the whole mapping, makes all of heap.region_bytes real for everybody: what is not used
 *               comes back by shheap_purge(), and bit by bit while threads go on allocating.  While a process is
 *               stopped in the midst of giving such pages of the heap's tables back, a heap that needs more than twice
 *               of what was in use, and 256 MiB more, may be refused that (ENOMEM).
 *   Errors.     Functions that return int give 0 (or a count) or a negative errno value; functions that return a
 *               pointer give NULL and set errno.  shheap_errormsg() says in words what failed and what to do.  Where
 *               the system refused something (a seccomp filter, a quota, a limit) the text names the system call and
 *               the system's reason; the value is ENOMEM or ENOSPC where it was about memory for blocks, threads or
 *               processes, in shheap_open() and its kin else the system's own (EPERM, ENOSYS, EMFILE, EAGAIN ...).
 *               Through a handle that is not open, or NULL, every function fails with EBADF: -EBADF, NULL, or 0 for a
 *               size or a reference, with errno; a free is the fault SHHEAP_FAULT_NOT_A_CLIENT.  A handle is not given
 *               out again before 4096 heaps have been opened; how others are misused is not noticed.
 *   Descriptors.  The library keeps one for each heap, 1000 or higher where the limit allows, never 0, 1 or 2.  A
 *               program that closes it, or puts a file of its own there, loses nothing: blocks need none.
 *               shheap_dup_fd() and stats.mapped find the file again by its name, if it still has that.
 *   Misuse.     Double frees, stray pointers and wrong sizes end the process that is to blame only, after it has let go
 *               of what it held; see shheap_set_fault_handler(), which also says what is noticed when.
 *   Threads.    Everything may be called from any number of threads at once.  Thread exit needs no call; destructors
 *               of thread-local data may allocate and free.  PTHREAD_STACK_MIN bytes of stack are enough for every
 *               call.
 *   Signals.    A call may be left by any door: a signal handler may jump out of it or end the thread there, and a
 *               thread may be cancelled there asynchronously.  For everybody else that is a death in this call: the
 *               heap stays consistent, nobody waits, and at most the call's own block is lost.  The thread may go on
 *               using the heap, in another thread slot, 64 times, and then without a cache; the slots that it left,
 *               with what it had cached there, stay taken until it ends.  A handler that allocates or frees, and
 *               returns, does no harm to a call that is at work on the heap.  But a call may only take a block from
 *               the thread's cache, or put one there, as shmalloc() and shfree() do most of the time: a handler that
 *               allocates or frees in the midst of that may hand out blocks twice, also those of other processes.
 *               So no function is async-signal-safe.
 *   Cancelling. No function is a cancellation point: a thread that has been cancelled ends elsewhere.
 *   Callbacks.  Run with nothing held, and with the caller's signal mask and cancelability.  What those of
 *               shheap_root(), shheap_root_iterate() and shheap_walk() throw comes through; a fault handler may not
 *               throw.
 *   fork, exec. After fork() the child has the same heaps open under the same handles and is a client of its own from
 *               its first call on; blocks are shared with it like with anybody, its parent's caches stay the parent's.
 *               A child that is forked by a signal handler in the midst of one of these functions may use the heap, but
 *               not return from the handler: the interrupted call is its parent's.  One that is forked inside init()
 *               of shheap_root() may return: the call gives it -EINTR, and its parent the object.
 *               A child made by a raw clone(2) is refused with ENOTSUP until it calls exec.  exec closes everything.
 *               Any number of threads may fork at once, and signal handlers may; a thread's handlers run late when it
 *               opens, closes or forks meanwhile.
 *   Unloading.  dlclose() of a plugin does not unload the library that it uses, also if that is part of the plugin: it
 *               is called when threads end.  Loaded again the plugin finds its heaps as they were.  Two copies of the
 *               library in one process cannot have a heap open at once, but for one with SHHEAP_RELOCATABLE.
 *   Link.       pkg-config shmalloc, or find_package(shmalloc).  OpenSHMEM (Open MPI's shmem.h) declares shmalloc(),
 *               shrealloc() and shfree() too.  So the short names are names in the source only: the symbol of shNAME()
 *               is shheap_shNAME, and a source file that includes both headers, in any order, calls this library (or
 *               does not compile).  SHMALLOC_NO_SHORT_NAMES hides the short names from a source file, which then calls
 *               the others.  dlsym() finds the functions that are called shheap_... .
 *
 * Sizes are in bytes unless a name says otherwise.
 */
#ifndef SHMALLOC_SHMALLOC_H
#define SHMALLOC_SHMALLOC_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* For #if; as a constant, SHHEAP_VERSION_MAJOR, _MINOR and _PATCH. */
#define SHMALLOC_VERSION_MAJOR 0
#define SHMALLOC_VERSION_MINOR 1
#define SHMALLOC_VERSION_PATCH 0

#if defined(__GNUC__)
#define SHA_ATTR(...) __attribute__((__VA_ARGS__))
#else
#define SHA_ATTR(...)
#endif
#if !defined(__GNUC__) || defined(__clang__) || __GNUC__ < 11
#define SHA_BLOCK SHA_ATTR(malloc)
#elif defined(SHMALLOC_NO_SHORT_NAMES)
#define SHA_BLOCK SHA_ATTR(malloc, malloc(shheap_free, 2))
#else
/* Lets the compiler warn of blocks that are freed by the wrong function (-Wmismatched-dealloc, -fanalyzer). */
#define SHA_BLOCK SHA_ATTR(malloc, malloc(shheap_free, 2), malloc(shfree, 1))
#endif
#define SHA_NODISCARD SHA_ATTR(warn_unused_result)
#define SHA_API       SHA_ATTR(visibility("default"), nothrow)
#define SHA_API_CALLS SHA_ATTR(visibility("default")) /* what the caller's own function throws comes through */
/* The symbol of a short name: another library may have functions of the same names in the same program. */
#define SHA_SHORT(name) __asm__("shheap_" #name)
#if !defined(SHMALLOC_NO_SHORT_NAMES) && (defined(shmalloc) || defined(shrealloc) || defined(shfree))
#error "shmalloc, shrealloc or shfree is a macro here: #undef it, or define SHMALLOC_NO_SHORT_NAMES"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* One process's view of a heap.  Valid from shheap_open() to shheap_close(), also in children of fork(). */
typedef struct shheap shheap;

/* A place in a heap, the same in every process: store it where processes may map the heap at different addresses.
 * Compare with ==; reading and storing one is atomic.  0 is the null reference. */
typedef uint64_t shref;
enum shref_null { SHREF_NULL = 0 };
#define SHREF_NULL ((shref)SHREF_NULL)

/* Constants are enums, for other languages: doc/bindings.md.  A macro of the same name gives its type in C, and #ifdef
 * something to find. */
enum shheap_version {
        SHHEAP_VERSION_MAJOR = SHMALLOC_VERSION_MAJOR,
        SHHEAP_VERSION_MINOR = SHMALLOC_VERSION_MINOR,
        SHHEAP_VERSION_PATCH = SHMALLOC_VERSION_PATCH
};

/* ------------------------------------------------------------------ opening and closing */

enum shheap_open_flags {
        SHHEAP_CREATE = 1u << 0,      /* create the heap if there is none of this name */
        SHHEAP_EXCL = 1u << 1,        /* with CREATE: -EEXIST if there is one */
        SHHEAP_RDONLY = 1u << 2,      /* map it read-only: to look at blocks, walk, check and print, not to allocate */
        SHHEAP_RELOCATABLE = 1u << 3, /* any address will do: this process uses shrefs; else -EADDRINUSE */
        SHHEAP_REPLACE_STALE = 1u << 4, /* with CREATE: also if there is one of another layout that nobody has open */
        SHHEAP_POPULATE = 1u << 5       /* back all of the capacity with pages now, or fail with -ENOMEM or -ENOSPC */
};

/* "The thread's node" is the one that it runs on, or the nearest in numa_nodes with memory that its cpuset allows. */
enum shheap_numa_policy {
        SHHEAP_NUMA_LOCAL = 0,      /* memory of the thread's node, of others when that is full */
        SHHEAP_NUMA_INTERLEAVE = 1, /* spread over the nodes, page by page */
        SHHEAP_NUMA_BIND = 2,       /* as LOCAL: to be said together with numa_nodes */
        SHHEAP_NUMA_STRICT = 3      /* of the thread's node or not at all */
};

/* How a heap is to be created; for an existing one, only `conf`'s check, junk, zero and disk count.  0 or NULL stands
 * for the default.  Start from SHHEAP_ATTR_INIT: it sets `size`, by which a later library knows which fields you
 * knew. */
struct shheap_attr {
        size_t size;
        uint64_t capacity;     /* bytes for blocks, in steps of 4 MiB; 0 = half of the machine's memory, at most 64 GiB.
                                * It costs next to nothing: memory is taken as it is used */
        uint64_t max_capacity; /* bytes that shheap_ctl("heap.capacity") may grow it to; 0 = capacity */
        uint32_t max_clients;  /* processes at a time; 0 = 4096 */
        uint32_t max_threads;  /* thread slots: one per thread, of all processes, and one more per process; 0 = one per
                                * 32 KiB of max_capacity, 2048 at least and 16384 at most */
        uint32_t page_shift;   /* 0 or 12; others are -ENOTSUP in this release */
        mode_t mode;           /* of the file; 0 = 0600.  It is set exactly: the umask plays no part */
        uint64_t numa_nodes;   /* bit mask of the nodes that its memory is meant to come from; 0 = all */
        uint32_t numa_policy;  /* enum shheap_numa_policy */
        uint64_t base_addr;    /* where every process maps it; 0 = chosen by the library */
        const char *conf;      /* "key:value,..." as in SHMALLOC_CONF */
};
#define SHHEAP_ATTR_INIT                                                                                               \
        {                                                                                                              \
                sizeof(struct shheap_attr), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL                                            \
        }

/*
 * Opens heap `name`: 1 to 63 of [A-Za-z0-9._-], no leading dot; the file is /dev/shm/shmalloc.NAME, or lies in the
 * directory that SHMALLOC_DIR names.  The calling thread is attached at once, others at their first call.
 *
 * A heap of another layout, which a library of another version left, cannot be used, and blocks its name (-EPROTO).
 * SHHEAP_CREATE | SHHEAP_REPLACE_STALE puts a new heap in its place, in one step, if the old one is this user's and
 * nobody has it open or mapped, in no process: that the kernel says.  Else it stays, and -EPROTO says why.
 *
 * Opening a heap that this process has open already gives the same handle again; each open wants its own close.
 *
 * Options come from the fields of *attr, else from attr->conf, else from SHMALLOC_CONF, else they have their default.
 * The keys are capacity, max_capacity, max_clients, max_threads, arenas, decay_ms, mode, numa (local, strict,
 * interleave, bind) and numa_nodes (such as 0-3+6), for a heap that is created; and for this process, as long as it has
 * the heap open:
 *   check:true   every free is checked at once, and costs accordingly
 *   junk:true    blocks are filled with garbage when they are allocated, and when they are freed: but not by
 *                shheap_free_from(), since *dest names the block until it is free, nor by shheap_root_remove()
 *   zero:true    blocks are zeroed when they are allocated
 *   disk:true    the heap may lie on a disk, where blocks may end in SIGBUS when the file system is full
 *   dump:used    core files of this process have what is in use of the heap, if core(5)'s filter asks for shared file
 *                mappings (bit 3), as for a heap that has been unlinked it does by default.  What other processes have
 *                made is in there from the next attach of a thread on, or slow path of a call; heaps that are open
 *                read-only: as of their opening.  The dump makes free memory in between real, for everybody: it comes
 *                back like memory that somebody has locked.  dump:none, the default: none of it is dumped
 *
 *   -EINVAL      name, flags or options           -ENOENT     there is none, and no SHHEAP_CREATE
 *   -EEXIST      SHHEAP_EXCL, and there is one    -EACCES     the mode forbids it, or it is another user's, who may
 *                                                             have planted it: one's own file is always good
 *   -ENODEV      the file is no heap              -EPROTO     a heap of another layout, or with features unknown here
 *   -EBADMSG     a heap, but damaged              -EADDRINUSE its address is taken in this process, perhaps by another
 *                                                             copy of this library that has it open
 *   -EUSERS      max_clients or max_threads attached already, all of them alive
 *   -ENOMEM, -ENOSPC, -EFBIG  no memory or more than 4096 heaps open, no room in the file system, file size limit
 *   -ENOTSUP     huge pages; a file system that is not in memory, without disk:true; a process made by a raw clone(2)
 *   -EBUSY       this process has it open with SHHEAP_RDONLY, and now without, or the other way round
 *   -EAGAIN      it keeps appearing and disappearing, or its owner keeps a lease on its file
 */
SHA_API SHA_NODISCARD int shheap_open(shheap **ret_heap, const char *name, unsigned flags,
                                      const struct shheap_attr *attr);

/* The same for a descriptor of the heap, however it came here; it is duplicated and stays the caller's.  The flags
 * SHHEAP_CREATE, SHHEAP_EXCL and SHHEAP_REPLACE_STALE are -EINVAL.  A memfd must be sealed against shrinking, else
 * -EBADMSG. */
SHA_API SHA_NODISCARD int shheap_open_fd(shheap **ret_heap, int fd, unsigned flags);

/* A descriptor of the heap to pass on, close-on-exec, the caller's to close.  flags: 0 or SHHEAP_RDONLY, for a
 * descriptor through which nothing can be written.  -EACCES if the heap itself is open read-only and flags is 0.
 * -EBADF: the program has closed the library's own, and the heap is not found by its name. */
SHA_API int shheap_dup_fd(const shheap *h, unsigned flags);

/*
 * Takes back one open.  With the last one, the calling thread's caches return, and the handle and pointers to blocks
 * are not to be used any more.  Other threads of the process must not be inside a call on the heap then.  Those that
 * have used it let go when they end; until they have, the heap stays mapped and the process its client, and opening it
 * again gives the same handle.  So it does while this thread is in a function that one of its calls on the heap has
 * called back; and where such a function was left by a jump, until the thread ends, or for good after a walk or an
 * iteration.
 * -EBADF: not an open heap.
 */
SHA_API int shheap_close(shheap *h);

/* Removes the name.  The memory goes when the last process has closed the heap.  -ENOENT, -EACCES, -EINVAL. */
SHA_API int shheap_unlink(const char *name);

/* What failed last in this thread, in one line.  Never NULL; valid until this thread's next failure. */
SHA_API const char *shheap_errormsg(void);

/* The heap that the short names work on: the one that was set, else the one that SHMALLOC_HEAP names, which is opened
 * with SHHEAP_CREATE at the first use.  NULL and errno: ENODEV when neither is there, or why it cannot be opened. */
SHA_API shheap *shheap_default(void);

/* Makes h the default heap of this process; NULL: none, so that SHMALLOC_HEAP is looked at again.  -EACCES if h is open
 * read-only.  Set it before other threads use the short names.  Closing the default heap unsets it. */
SHA_API int shheap_set_default(shheap *h);

/* ------------------------------------------------------------------ allocating
 *
 * Blocks are aligned to 16 bytes at least.  Size 0 gives a block of its own, to be freed like any other, where not said
 * otherwise.  NULL comes with errno:
 *   ENOMEM   no memory of the kind asked for, after caches were emptied and the dead were reaped; or a size that can
 *            never be had
 *   EINVAL   a bad alignment or flag; a node or arena that the heap does not have
 *   ENODEV   the node that a flag asks for is offline, has no memory, or is not in this process's cpuset
 *   EBADF    the heap is closed            EACCES  the heap is open read-only
 *   ENOTSUP  a child of a raw clone(2)     EUSERS  no thread slot, not even the one that the process had kept for this
 */

/* clang-format off */
/* Flags of the functions whose names end in x, of shheap_root() and shheap_malloc_to(); combined by |. */
enum sha_flags {
        SHA_ZERO        = 0x040u, /* zeroed, all that is usable; rallocx and xallocx: what that has more than before */
        SHA_TCACHE_NONE = 0x100u, /* past the thread's caches */
        SHA_NOGROW      = 0x200u, /* no system call for memory, no new pages: rather ENOMEM */
        SHA_NODE_LOCAL  = 0xffu << 12, /* memory of the node that the thread runs on or none */
        SHA_NODE_SPREAD = 0xfeu << 12  /* of all nodes of the heap by turns, page by page */
};
#define SHA_ZERO        ((unsigned)SHA_ZERO)
#define SHA_TCACHE_NONE ((unsigned)SHA_TCACHE_NONE)
#define SHA_NOGROW      ((unsigned)SHA_NOGROW)
#define SHA_NODE_LOCAL  ((unsigned)SHA_NODE_LOCAL)
#define SHA_NODE_SPREAD ((unsigned)SHA_NODE_SPREAD)
/* Those with a number. */
#define SHA_LG_ALIGN(la) ((unsigned)(la) & 0x3fu)                             /* aligned to 2^la bytes, la <= 30 */
#define SHA_ALIGN(a)     ((unsigned)__builtin_ctzll((unsigned long long)(a))) /* aligned to a bytes, a power of two */
#define SHA_NODE(n)      ((((unsigned)(n) + 1u) & 0xffu) << 12)  /* memory of NUMA node n or none; n < 63 */
#define SHA_NODES(mask)  (0x800u | ((unsigned)(mask) & 0xfffffu) << 12) /* of these nodes, from 0 to 19, or none */
#define SHA_ARENA(n)     ((((unsigned)(n) + 1u) & 0xfffu) << 20) /* memory of arena n or none; n < 4095 */
/* The same as functions, for who has no macros. */
SHA_API unsigned shheap_flag_lg_align(unsigned la);
SHA_API unsigned shheap_flag_align(size_t align);
SHA_API unsigned shheap_flag_node(unsigned node);
SHA_API unsigned shheap_flag_nodes(uint64_t mask);
SHA_API unsigned shheap_flag_arena(unsigned arena);

/*
 * Free.  NULL is ignored, errno is kept.  Whichever process, and whichever thread, allocated the block.  What is not a
 * block of this heap, or has been freed already, is a fault: see shheap_set_fault_handler().  The sized forms must be
 * given what was asked for (C23), or anything from there up to what shheap_usable_size() says; the aligned one also the
 * alignment; after shheap_xallocx(), what that returned.  A size for which nobody would be given such a block, whatever
 * the alignment, is a fault, be it too large or too small.
 * A free of a valid block needs nothing that may be short: no thread slot of its own, no client's place, no page, no
 * memory of the process; it goes by a slot that another process or thread keeps and does not use just now.  If there is
 * none either (all of them are in use, or their users are stopped), the block is lost, and a line on standard error
 * says so.
 */
SHA_API void shheap_free(shheap *h, void *p);
#ifndef SHMALLOC_NO_SHORT_NAMES
SHA_API void shfree(void *p) SHA_SHORT(shfree); /* of any heap that this process has open */
#endif
SHA_API void shheap_free_sized(shheap *h, void *p, size_t size);
SHA_API void shheap_free_aligned_sized(shheap *h, void *p, size_t align, size_t size);

SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(2))
void *shheap_malloc(shheap *h, size_t size);

/* As shheap_malloc(shheap_of(p), size), in one step: for what lies in a heap and may not keep a handle.  EBADF: p lies
 * in no heap that this process has open. */
SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(2))
void *shheap_malloc_near(const void *p, size_t size);

/* n * size zeroed bytes; a product that overflows is ENOMEM. */
SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(2, 3))
void *shheap_calloc(shheap *h, size_t n, size_t size);

/* The block with its contents, in place or moved: all that was usable, as far as it still is.  p == NULL allocates.
 * Size 0 gives a block of its own and never just frees.  On failure p is as it was. */
SHA_API SHA_NODISCARD SHA_ATTR(alloc_size(3))
void *shheap_realloc(shheap *h, void *p, size_t size);
SHA_API SHA_NODISCARD SHA_ATTR(alloc_size(3, 4))
void *shheap_reallocarray(shheap *h, void *p, size_t n, size_t size);

/* `align`: a power of two up to 1 GiB, else EINVAL; `size` need not be a multiple of it. */
SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(3), alloc_align(2))
void *shheap_aligned_alloc(shheap *h, size_t align, size_t size);

/* As POSIX has it: 0, or a *positive* EINVAL (`align` no power of two, or no multiple of sizeof(void *)) or ENOMEM;
 * *ret_p is untouched on failure, and so is errno. */
SHA_API SHA_NODISCARD int shheap_posix_memalign(shheap *h, void **ret_p, size_t align, size_t size);

/* Copies of a string; of at most n bytes of it, with a NUL behind them. */
SHA_API SHA_NODISCARD SHA_BLOCK
char *shheap_strdup(shheap *h, const char *s);
SHA_API SHA_NODISCARD SHA_BLOCK
char *shheap_strndup(shheap *h, const char *s, size_t n);

/* With flags.  Size 0 is EINVAL. */
SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(2))
void *shheap_mallocx(shheap *h, size_t size, unsigned flags);
SHA_API SHA_NODISCARD SHA_ATTR(alloc_size(3))
void *shheap_rallocx(shheap *h, void *p, size_t size, unsigned flags);
/* clang-format on */

/* Resizes in place to at least `size`, if possible to size + extra.  The usable size afterwards: if that is less than
 * `size`, it could not be done and the block is as it was. */
SHA_API size_t shheap_xallocx(shheap *h, void *p, size_t size, size_t extra, unsigned flags);

/* The usable size that shheap_mallocx() with the same arguments would give, without allocating; 0: never possible. */
SHA_API size_t shheap_nallocx(const shheap *h, size_t size, unsigned flags);

/* The bytes of the block, all of which may be used; 0 for NULL, and where no block starts.  The pointer of a block that
 * has been freed is not to be asked about: while a cache holds the block, the answer is what it had, later 0, and what
 * is there instead if others have the memory by then. */
SHA_API size_t shheap_usable_size(const shheap *h, const void *p);

/* Backs memory with pages, so that about `bytes` more in blocks can be had on this node without asking the system: for
 * those who may not fault, or use SHA_NOGROW, later.  Memory that stays unused for decay_ms is given back, unless that
 * is -1.  -ENOMEM, -ENOSPC: not so much could be had; what could is kept. */
SHA_API int shheap_reserve(shheap *h, size_t bytes);

/* The NUMA node that the memory at p, anywhere in a block, belongs to; -EINVAL if no block can be there.  Where a full
 * node made the system take a page from elsewhere, that is not known here.  Of interleaved memory: of the page at p. */
SHA_API int shheap_node_of(const shheap *h, const void *p);

/* The heap, of those that this process has open, in whose memory for blocks p lies; NULL: in none.  Thread-safe; may be
 * called from a signal handler.  What another thread closes meanwhile may still be the answer. */
SHA_API shheap *shheap_of(const void *p);

/* ------------------------------------------------------------------ references, and hand-over in one step */

/* SHREF_NULL for NULL and for what lies outside of the heap's blocks. */
SHA_API shref shheap_ref(const shheap *h, const void *p);

/* NULL for SHREF_NULL and for what lies outside of the heap.  Whether a block is still there is not known. */
SHA_API void *shheap_ptr(const shheap *h, shref ref);

/*
 * Allocates a block and stores its reference in *dest in one step: whenever the process is killed, either *dest holds
 * the new block, or *dest is as it was and there is no block.  With SHA_ZERO the block is zeroed before *dest holds it:
 * others who read *dest, by an acquire, find nothing else in there.  For a process that was killed inside this call or
 * shheap_free_from() that holds once shheap_settled() says so of dest.  dest lies in a block of the same heap, is
 * 8-aligned, and is written by nobody else meanwhile.  NULL: errno is set and *dest is as it was; EINVAL also for a bad
 * dest.
 */
SHA_API SHA_NODISCARD void *shheap_malloc_to(shheap *h, size_t size, unsigned flags, shref *dest);

/* The reverse: frees the block that *dest holds and stores SHREF_NULL there in one step.  0, also if *dest was null;
 * -EINVAL for a bad dest; -EBUSY, and nothing was done: others hold the block's slab and there is no memory for a
 * magazine to put it in, or somebody died while resizing the block and cannot be reaped just now; and as for allocating
 * -EUSERS, -ENOMEM, -EACCES, -EBADF, -ENOTSUP, the first two only where shheap_free() would lose the block.  What *dest
 * holds being no block, or free, is a fault as in a free. */
SHA_API int shheap_free_from(shheap *h, shref *dest);

/*
 * For who takes over the dest of somebody who has died: before it reads *dest, or writes to it.
 *
 *   0         *dest holds a block that is allocated, or what it held before, or SHREF_NULL, and nobody will store to it
 *             any more: what the dead had begun has been undone or finished, by this call or another one
 *   -EBUSY    not yet, or it cannot be told: somebody who was handing over a block to or from *dest is not known to be
 *             dead (it may live, in another pid namespace, or have left the call by a jump), or another process is at
 *             settling it and stands still.  *dest may hold a block that is free: leave it alone, and ask again
 *   -EINVAL   a bad dest; -EACCES, -EBADF, -EUSERS, -ENOMEM, -ENOTSUP as for allocating
 *
 * Nothing else tells: shheap_reap() passes by what another process is at settling.
 */
SHA_API SHA_NODISCARD int shheap_settled(shheap *h, const shref *dest);

/* ------------------------------------------------------------------ named objects */

/*
 * Finds the object called `name` (1 to 63 bytes), or creates it: a zeroed block of `size` bytes is passed to init(),
 * which may be NULL, and then published in one step.  Nobody waits: init() may run in several processes at once, each
 * on a block of its own; one is published, the other blocks are freed, and all callers get the published one.  *ret_obj
 * is untouched on failure.  SHA_NOGROW is about the object's memory: a name that is new may take a page of its own, for
 * which a full file system gets back what the heap does not use (never with a decay_ms of -1).
 *
 *   -ENOENT   there is none, and size is 0: found only, never created
 *   -EEXIST   there is one of another size; size 0 accepts any
 *   -EINVAL   name, flags: SHA_NOGROW only   -ENOMEM, -ENOSPC  no memory; too many names (1024)
 *   -EUSERS   init() is given, and the thread has no slot
 *   -EINTR    init() has left a call on this heap by a jump, or this is a child that it has forked
 *   -ENOBUFS  four objects wait to be freed, since others hold their slabs and there is no memory for a magazine
 *   -EUCLEAN  the heap is damaged                             any negative value that init() returns
 *
 * init() may use the heap, also find and create other objects; each four inside each other take one more thread slot.
 * It may throw, or end its thread: its block is freed.  If it is left by a jump, or its process dies in there, that
 * happens when its thread has ended.  A heap that is open read-only has objects to be found, but not to be created
 * (-EACCES).
 */
SHA_API_CALLS SHA_NODISCARD int shheap_root(shheap *h, const char *name, size_t size, unsigned flags,
                                            int (*init)(void *obj, size_t size, void *arg), void *arg, void **ret_obj);

/*
 * The same for an object whose init() allocates.  Where init() has succeeded and the object is not published all the
 * same (another one was faster, or there is no room for the name), undo() is called with it, in the process that made
 * it and before it is freed, to free what init() has allocated.  It may use the heap as init() may.  It is not called
 * where init() failed or threw, which has to clean up behind itself as a constructor has.
 *
 * What init() allocates should hang on the object from the start: shheap_malloc_to() into a member.  Then undo(), an
 * init() that fails, and whoever removes the object find it there, and nothing else needs to be remembered.  A death in
 * init() or undo() frees the object and nothing that hung on it.  To lose nothing then, either, publish the object
 * empty and hang things on it afterwards.
 */
SHA_API_CALLS SHA_NODISCARD int shheap_root_undo(shheap *h, const char *name, size_t size, unsigned flags,
                                                 int (*init)(void *obj, size_t size, void *arg),
                                                 void (*undo)(void *obj, size_t size, void *arg), void *arg,
                                                 void **ret_obj);

/*
 * Finds the object called `name`, of any size, and never creates it: *ret_obj, and its size in *ret_size, unless that
 * is NULL.  Both are untouched on failure.  Reads only; a handle that is open read-only will do.
 * -ENOENT, -EINVAL, -EUCLEAN as above.
 */
SHA_API SHA_NODISCARD int shheap_root_find(shheap *h, const char *name, void **ret_obj, size_t *ret_size);

/*
 * Takes the name from its object, and gives the object to the caller, of several to exactly one: the others get
 * -ENOENT.  It is a block like any other from now on, to be freed by shheap_free().  *ret_size, unless ret_size is
 * NULL: the size it was created with.  Others may still hold pointers to it.  Who is killed in here leaves the object
 * to its name, or to be freed by a reaper, or takes it along like any block whose address is stored nowhere; an object
 * that must survive its taker is left to its name, and marked as taken by a word of its own.  Both are untouched on
 * failure.
 * -ENOENT, -EINVAL, -ENOBUFS, -EUCLEAN as below.
 */
SHA_API SHA_NODISCARD int shheap_root_take(shheap *h, const char *name, void **ret_obj, size_t *ret_size);

/*
 * Takes the name from its object, and frees the object: nobody may use it any more.
 *
 *   -ENOENT   there is none        -EINVAL  name        -ENOBUFS  as above
 *   -EUCLEAN  the heap is damaged; or somebody has freed the object by shheap_free() or the like, and it is still free:
 *             then it is not freed again, and the name is taken off.  An object that was freed so and has been
 *             allocated again since is not told from its name's own: it is freed under its new owner's hands.  With
 *             check:true such a free is a fault at once, SHHEAP_FAULT_NAMED_OBJECT.
 */
SHA_API int shheap_root_remove(shheap *h, const char *name);

/* Calls fn for each, until it returns non-zero, which is returned.  Those that come or go meanwhile may be missed. */
SHA_API_CALLS int shheap_root_iterate(shheap *h, int (*fn)(const char *name, void *obj, size_t size, void *arg),
                                      void *arg);

/* ------------------------------------------------------------------ death and misuse */

/*
 * Settles what dead threads and processes left, now.  How many threads it could NOT settle: those that are known to be
 * dead, and those that another process, which may stand still, is just at settling; so 0 says that none is left.  How
 * many have been settled so far is stats.reaped.
 *
 * Happens by itself when threads attach, now and then on slow paths, and before any allocation fails; so this is for
 * those who want the memory, or the statistics, earlier.  Who takes over a dest asks shheap_settled().
 */
SHA_API int shheap_reap(shheap *h);

enum shheap_fault_what {
        SHHEAP_FAULT_DOUBLE_FREE = 1,     /* the block is free already */
        SHHEAP_FAULT_INVALID_FREE = 2,    /* inside of this heap, its tables included, but no block starts there */
        SHHEAP_FAULT_FOREIGN_POINTER = 3, /* not in this heap, or in no heap at all */
        SHHEAP_FAULT_SIZE_MISMATCH = 4, /* size or alignment given to a sized free do not fit: too large or too small */
        SHHEAP_FAULT_NAMED_OBJECT = 5,  /* a free of the object of a name */
        SHHEAP_FAULT_METADATA = 7,      /* the heap's own tables contradict each other */
        SHHEAP_FAULT_NOT_A_CLIENT = 8   /* a free through a handle that is closed or read-only, or in a child of a raw
                                           clone(2) */
};

struct shheap_fault {
        size_t size;       /* of this structure */
        uint32_t what;     /* enum shheap_fault_what */
        const void *ptr;   /* the pointer in question, in this process */
        size_t block_size; /* usable bytes of the block there; 0 = unknown, or no block */
        size_t given_size; /* as given to a sized free, else 0 */
        const char *text;  /* the line: operation, pointer, size, class, and what the heap knows of it */
};

typedef void shheap_fault_fn(const struct shheap_fault *fault, void *arg);

/*
 * Called after the line has been written to standard error, in the thread that noticed, with nothing of the heap held:
 * it may use the heap, exit, or leave by siglongjmp(), but not throw.  If it returns, the process is aborted.  NULL:
 * abort at once.  A shheap_close() that is left so has not been done: close again.
 * One handler per process, for all heaps.
 *
 * What is noticed when:
 *   at once      pointers into no open heap, or another one; into a heap's tables, or its memory that is free; into
 *                huge blocks (above 2 MiB) but not at their start, and into large ones (above 32 KiB) beyond their
 *                first 64 KiB; sizes and alignments that do not fit; a second free of a huge block, by the thread that
 *                caches it or once nobody does; of what has been freed and is in no cache any more, a realloc, and a
 *                free by its size
 *   later        before they leave the thread's caches (these are full, idle, or emptied; shheap_purge(),
 *                shheap_close(), the end of the thread): a second free of a small or large block while the caches of
 *                this thread still have it, or after it has gone home, and other pointers that are not the start of a
 *                block.  Until then the same thread may be given the block again
 *   of others    what a thread is found to have freed so when it is dead, and what is met in a cache that came from
 *                another thread, is dropped, counted (shheap_ctl("stats.dropped")) and said: a line of each heap and
 *                second on standard error.  It is no fault of who met it: no handler, no abort.  While a thread ends,
 *                its own are said likewise.  If standard error is a pipe that nobody reads, or is full, or a heap's
 *                file, nothing is said: no signal, no wait
 *   never        a free of a block that has been allocated again since; a second free after the first has left the
 *                thread's caches and before the block is home, or by another thread: two may be given the block
 * With the option check:true all but those of the last two kinds are noticed at once, and so is a free of a named
 * object.  A fault leaves the heap intact.
 */
SHA_API void shheap_set_fault_handler(shheap_fault_fn *fn, void *arg);

/* ------------------------------------------------------------------ looking inside */

/*
 * Reads and changes settings by name.  *oldp gets the value before any change, newp is the new value; either may be
 * NULL.  Values are uint64_t, and *oldlenp and newlen 8, unless said otherwise; for text, *oldlenp is the room and
 * becomes the length with its NUL.  h may be NULL for "version" only.
 *
 *   version            text  of the library
 *   heap.name          text  as created
 *   heap.id            random, tells two heaps of the same name apart
 *   heap.base          address where this process maps the heap
 *   heap.is_linked     1: others find it by its name; 0: its file has been removed, or another one put in its place.
 *                      This process keeps it, and so does everybody who has it open; who comes later makes, or finds,
 *                      another heap, at another address.  -ENOENT, -EACCES: that cannot be seen from here (chroot)
 *   heap.region_bytes  length of the mapping and of the file
 *   heap.capacity      bytes; may be raised, up to heap.max_capacity, while everybody goes on
 *   heap.max_capacity  bytes
 *   heap.decay_ms      int64_t  unused memory is given back after so long: -1 never, 0 at once; may be changed
 *   heap.nodes         NUMA nodes of the heap: 0 up to one less
 *   heap.numa_policy   enum shheap_numa_policy
 *   heap.arenas        how many there are
 *   heap.clients       processes that have it open
 *   heap.threads       threads attached, without those that are known to be dead
 *   thread.arena       that the calling thread is bound to; attaches it
 *   thread.node        of that arena; heap.nodes if its memory is interleaved
 *   stats.allocated    bytes in blocks that are allocated, by a walk through the whole heap
 *   stats.cached       bytes in blocks that caches hold, likewise
 *   stats.mapped       bytes of memory that the heap occupies, tables included; -EBADF as for shheap_dup_fd()
 *   stats.purged       bytes given back to the system so far
 *   stats.reaped       dead threads settled by shheap_reap() and on slow paths so far
 *   stats.dropped      entries of caches found so far that were no block, or free already, and dropped
 *
 *   -ENOENT  no such name        -EINVAL  wrong length or value     -EPERM  may not be changed
 *   -ERANGE  too little room     -EACCES  the heap is open read-only
 */
SHA_API int shheap_ctl(shheap *h, const char *name, void *oldp, size_t *oldlenp, const void *newp, size_t newlen);

/* Prints what the heap is used for: per size class, arena, node, client.  opts: NULL, or letters: J for JSON, m for
 * totals only.  -EINVAL  opts   -ENOMEM  no memory to count in   -EIO  the stream has lost some of it. */
SHA_API int shheap_stats_print(shheap *h, FILE *out, const char *opts);

struct shheap_block {
        size_t size;    /* of this structure */
        shref ref;      /* of the block's first byte */
        size_t usable;  /* bytes */
        uint32_t arena; /* that it belongs to; UINT32_MAX for huge blocks */
        uint32_t node;  /* that its memory belongs to; UINT32_MAX if it is interleaved */
};

enum shheap_walk_what { SHHEAP_WALK_LIVE = 1, SHHEAP_WALK_FREE = 4 };

typedef int shheap_walk_fn(const struct shheap_block *block, void *arg); /* non-zero stops, and is returned */

/* Calls fn for each block of the kinds asked for, in the order of addresses; fn may not use the heap.  What a thread
 * caches is free.  Exact while nobody else uses the heap; else blocks that come or go meanwhile may be missed. */
SHA_API_CALLS int shheap_walk(shheap *h, unsigned what, shheap_walk_fn *fn, void *arg);

enum shheap_check_flags { SHHEAP_CHECK_QUIESCENT = 1 };

/*
 * Proves that every block is in exactly one place (allocated, cached, free) and that everything else adds up.  Writes a
 * line for each of the first 50 faults to `report`, unless that is NULL, and a last line that begins with "good:" or
 * "damaged:" and says how much is allocated and cached.  Reads only, never waits, and never crashes, whatever the heap
 * looks like.  While others use the heap, states in between are no faults; SHHEAP_CHECK_QUIESCENT promises that nobody
 * does, and makes it exact.  The number of faults, or -errno.
 */
SHA_API int shheap_check(shheap *h, unsigned flags, FILE *report);

/* Gives back to the system what no block lies in, now, of one NUMA node or of all (-1).  -EINVAL: no such node. */
SHA_API int shheap_purge(shheap *h, int node);

/* ------------------------------------------------------------------ the short names
 *
 * As the functions above, on the default heap; but shfree() and its kin, shrealloc() and shreallocarray(),
 * shmalloc_usable_size() and shref_of() take blocks of any heap that this process has open.  Without a default heap:
 * NULL and ENODEV.
 */
#ifndef SHMALLOC_NO_SHORT_NAMES
/* clang-format off */
SHA_API void shfree_sized(void *p, size_t size) SHA_SHORT(shfree_sized);

SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(1))
void *shmalloc(size_t size) SHA_SHORT(shmalloc);
SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(1, 2))
void *shcalloc(size_t n, size_t size) SHA_SHORT(shcalloc);
SHA_API SHA_NODISCARD SHA_ATTR(alloc_size(2))
void *shrealloc(void *p, size_t size) SHA_SHORT(shrealloc);
SHA_API SHA_NODISCARD SHA_ATTR(alloc_size(2, 3))
void *shreallocarray(void *p, size_t n, size_t size) SHA_SHORT(shreallocarray);
SHA_API SHA_NODISCARD SHA_BLOCK SHA_ATTR(alloc_size(2), alloc_align(1))
void *shaligned_alloc(size_t align, size_t size) SHA_SHORT(shaligned_alloc);
SHA_API SHA_NODISCARD int shposix_memalign(void **ret_p, size_t align, size_t size) SHA_SHORT(shposix_memalign);
SHA_API SHA_NODISCARD SHA_BLOCK
char *shstrdup(const char *s) SHA_SHORT(shstrdup);
SHA_API SHA_NODISCARD SHA_BLOCK
char *shstrndup(const char *s, size_t n) SHA_SHORT(shstrndup);
/* clang-format on */

SHA_API size_t shmalloc_usable_size(const void *p) SHA_SHORT(shmalloc_usable_size);

/* References tell no heap from another: shptr_of() is for references into the default heap. */
SHA_API shref shref_of(const void *p) SHA_SHORT(shref_of);
SHA_API void *shptr_of(shref ref) SHA_SHORT(shptr_of);
#endif

#ifdef __cplusplus
}
#endif
#endif
