/*
 * record.c - a library to be preloaded: writes down what the program asks of malloc (trace/trace.h).
 *
 * The calls go on to glibc's malloc by the names that it has for it besides (__libc_malloc ...), so nothing has to be
 * looked up, and there is no moment at which they have nowhere to go.  What is written goes to a window of the file
 * that is mapped here, and the numbers of blocks are kept in tables that are mapped, too: recording allocates nothing.
 *
 * The order of events of several threads.  A free is written before it is done, and whatever gives a block after it
 * is done; so whoever is given the memory that another thread has freed is written behind that free.  What a realloc
 * takes is taken out of the table before, and what it gives is put there after, under the same number.
 *
 * Processes.  Each program that is started writes a file of its own, RECORD_DIR/NAME-PID.trace; with RECORD_ONLY set,
 * only those of that name.  A child of fork() is not recorded, until it starts a program: its frees of what it
 * inherited would be of blocks that its own trace does not know, and its parent's already has them.  The state lies in
 * pages that the kernel clears in such a child: so it is off there from the first instruction on, and its lock is free.
 *
 * A program that ends by exit() has its file cut to its length; one that is killed, or calls _exit() or exec, leaves
 * zeros behind the last event.  Nothing is lost: the window is the file.
 *
 * What cannot be written down, because it is larger than 4 GiB, is passed on and left out, with its free.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trace/trace.h"

#define EXPORT __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

enum { WINDOW_EVENTS = 1 << 16, TABLE_FIRST = 1 << 16 };
static const size_t window_bytes = WINDOW_EVENTS * sizeof(struct trace_event);

struct entry {
        void *p; /* NULL: nothing here */
        uint32_t block;
};

/* All but `is_on` and `lock` is touched by who has the lock only. */
struct state {
        uint32_t is_on, lock;
        struct trace_event *window;
        size_t n, n_windows;  /* events in this window; windows so far */
        struct entry *table;  /* by the hash of the address, at most half full */
        size_t room, n_known; /* entries; of these in use */
        uint32_t *given_back; /* numbers that are free again */
        size_t n_given_back, given_back_room;
        uint32_t n_numbers;
        char path[4096 - 128];
};

static struct state *state; /* NULL until the program starts, and where nothing is recorded */

static void *
map(size_t bytes)
{
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return p == MAP_FAILED ? NULL : p;
}

/* From here on the program goes on without being recorded; what has been written stays. */
static void
give_up(const char *why)
{
        static const char head[] = "recording of malloc has ended early: ", end[] = "\n";

        __atomic_store_n(&state->is_on, 0, __ATOMIC_RELAXED);
        if (write(STDERR_FILENO, head, sizeof head - 1) < 0 || write(STDERR_FILENO, why, strlen(why)) < 0 ||
            write(STDERR_FILENO, end, 1) < 0)
                return; /* there is nobody to tell */
}

/* False where nothing is to be recorded (any more). */
static bool
enter(void)
{
        if (!state || !__atomic_load_n(&state->is_on, __ATOMIC_RELAXED))
                return false;
        while (__atomic_exchange_n(&state->lock, 1, __ATOMIC_ACQUIRE) != 0)
                sched_yield();
        if (state->is_on)
                return true;
        __atomic_store_n(&state->lock, 0, __ATOMIC_RELEASE);
        return false;
}

static void
leave(void)
{
        __atomic_store_n(&state->lock, 0, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------ the file */

/* The next part of the file.  Its pages are reserved: a full disk is an error here, and not a signal later. */
static bool
next_window(void)
{
        off_t at = (off_t)(state->n_windows * window_bytes);
        int fd = open(state->path, O_RDWR | O_CLOEXEC), error;
        void *p = MAP_FAILED;

        if (fd < 0) {
                give_up(strerror(errno));
                return false;
        }
        error = posix_fallocate(fd, at, (off_t)window_bytes);
        if (error == 0)
                p = mmap(NULL, window_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
        close(fd);
        if (p == MAP_FAILED) {
                give_up(strerror(error ? error : errno));
                return false;
        }
        if (state->window)
                munmap(state->window, window_bytes);
        state->window = p;
        state->n = 0;
        state->n_windows++;
        return true;
}

static void
put(enum trace_kind kind, uint32_t block, size_t size, size_t align)
{
        if (state->n == WINDOW_EVENTS && !next_window())
                return;
        state->window[state->n++] = (struct trace_event){(uint32_t)kind, block, (uint32_t)size, (uint32_t)align};
}

/* ------------------------------------------------------------------ which block has which number */

/* Where it would like to be; `room` is a power of two. */
static size_t
home_of(const void *p, size_t room)
{
        return (size_t)(((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15 >> 20) & (room - 1);
}

static size_t
place_of(const struct entry *table, size_t room, const void *p)
{
        size_t at = home_of(p, room);

        while (table[at].p && table[at].p != p)
                at = (at + 1) & (room - 1);
        return at;
}

static bool
grow_table(void)
{
        size_t room = state->room ? 2 * state->room : TABLE_FIRST;
        struct entry *table = map(room * sizeof *table);

        if (!table) {
                give_up("no memory");
                return false;
        }
        for (size_t i = 0; i < state->room; i++)
                if (state->table[i].p)
                        table[place_of(table, room, state->table[i].p)] = state->table[i];
        if (state->table)
                munmap(state->table, state->room * sizeof *table);
        state->table = table;
        state->room = room;
        return true;
}

static bool
remember(void *p, uint32_t block)
{
        if (2 * state->n_known >= state->room && !grow_table())
                return false;
        state->table[place_of(state->table, state->room, p)] = (struct entry){p, block};
        state->n_known++;
        return true;
}

/* Takes it out of the table.  False: nobody knows it. */
static bool
forget(const void *p, uint32_t *ret_block)
{
        size_t mask = state->room - 1, at = place_of(state->table, state->room, p), next = at;

        if (!state->table[at].p)
                return false;
        *ret_block = state->table[at].block;
        state->n_known--;
        for (;;) { /* who has been put further along for want of this place moves up */
                next = (next + 1) & mask;
                if (!state->table[next].p)
                        break;
                if (((next - home_of(state->table[next].p, state->room)) & mask) >= ((next - at) & mask)) {
                        state->table[at] = state->table[next];
                        at = next;
                }
        }
        state->table[at].p = NULL;
        return true;
}

static uint32_t
new_number(void)
{
        return state->n_given_back > 0 ? state->given_back[--state->n_given_back] : state->n_numbers++;
}

static void
give_back(uint32_t block)
{
        if (state->n_given_back == state->given_back_room) {
                size_t bytes = state->given_back_room * sizeof(uint32_t);
                void *p = bytes ? mremap(state->given_back, bytes, 2 * bytes, MREMAP_MAYMOVE) : map(1 << 16);

                if (!p || p == MAP_FAILED) {
                        give_up("no memory");
                        return;
                }
                state->given_back = p;
                state->given_back_room = bytes ? 2 * state->given_back_room : (1 << 16) / sizeof(uint32_t);
        }
        state->given_back[state->n_given_back++] = block;
}

/* ------------------------------------------------------------------ events */

static void
note_end(uint32_t block)
{
        put(TRACE_FREE, block, 0, 0);
        give_back(block);
}

static void
note_new(enum trace_kind kind, void *p, size_t size, size_t align)
{
        uint32_t block;

        if (!p || size > UINT32_MAX || align > UINT32_MAX || !enter())
                return;
        if (forget(p, &block)) /* it was freed where we did not see it */
                note_end(block);
        block = new_number();
        if (remember(p, block))
                put(kind, block, size, align);
        leave();
}

static void
note_free(void *p)
{
        uint32_t block;

        if (!p || !enter())
                return;
        if (forget(p, &block))
                note_end(block);
        leave();
}

/* True: it has a number, which is out of the table until the call is done. */
static bool
note_resize_begin(void *p, uint32_t *ret_block)
{
        bool is_known;

        if (!enter())
                return false;
        is_known = forget(p, ret_block);
        leave();
        return is_known;
}

static void
note_resize_end(void *p, uint32_t block, size_t size)
{
        if (!enter())
                return;
        if (size > UINT32_MAX) /* it cannot be followed any further */
                note_end(block);
        else if (remember(p, block))
                put(TRACE_REALLOC, block, size, 0);
        leave();
}

static void
note_resize_undo(void *p, uint32_t block)
{
        if (!enter())
                return;
        (void)remember(p, block);
        leave();
}

/* ------------------------------------------------------------------ what is preloaded */

EXPORT void *
malloc(size_t size)
{
        void *p = __libc_malloc(size);

        note_new(TRACE_MALLOC, p, size, 0);
        return p;
}

EXPORT void *
calloc(size_t n, size_t size)
{
        void *p = __libc_calloc(n, size);

        note_new(TRACE_CALLOC, p, n * size, 0);
        return p;
}

EXPORT void
free(void *p)
{
        note_free(p);
        __libc_free(p);
}

EXPORT void *
realloc(void *p, size_t size)
{
        uint32_t block;
        void *q;

        if (!p)
                return malloc(size);
        if (size == 0) { /* glibc's is a free */
                note_free(p);
                return __libc_realloc(p, 0);
        }
        if (!note_resize_begin(p, &block)) {
                q = __libc_realloc(p, size);
                note_new(TRACE_MALLOC, q, size, 0); /* of what was there before we were */
                return q;
        }
        q = __libc_realloc(p, size);
        if (q)
                note_resize_end(q, block, size);
        else
                note_resize_undo(p, block);
        return q;
}

EXPORT void *
memalign(size_t align, size_t size)
{
        void *p = __libc_memalign(align, size);

        note_new(TRACE_ALIGNED, p, size, align);
        return p;
}

EXPORT void *
aligned_alloc(size_t align, size_t size)
{
        return memalign(align, size);
}

EXPORT int
posix_memalign(void **ret_p, size_t align, size_t size)
{
        int before = errno;
        void *p;

        if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0)
                return EINVAL;
        p = memalign(align, size);
        if (!p) {
                errno = before;
                return ENOMEM;
        }
        *ret_p = p;
        return 0;
}

EXPORT void *
valloc(size_t size)
{
        return memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

EXPORT void *
pvalloc(size_t size)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);

        return memalign(page, (size + page - 1) / page * page);
}

/* ------------------------------------------------------------------ begin and end */

/* A name that is new: a process may start one program after the other. */
static bool
make_file(const char *dir)
{
        for (int i = 0; i < 1000; i++) {
                char number[16] = "";
                int fd;

                if (i > 0)
                        snprintf(number, sizeof number, ".%d", i);
                snprintf(state->path, sizeof state->path, "%.3800s/%.100s-%ld%s.trace", dir,
                         program_invocation_short_name, (long)getpid(), number);
                fd = open(state->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
                if (fd >= 0) {
                        close(fd);
                        return true;
                }
                if (errno != EEXIST)
                        break;
        }
        give_up(strerror(errno));
        return false;
}

__attribute__((constructor)) static void
begin(void)
{
        const char *dir = getenv("RECORD_DIR"), *only = getenv("RECORD_ONLY");
        struct state *s;

        if (!dir || dir[0] != '/' || (only && strcmp(only, program_invocation_short_name) != 0))
                return;
        s = map(sizeof *s);
        if (!s || madvise(s, sizeof *s, MADV_WIPEONFORK) < 0)
                return;
        state = s;
        s->is_on = make_file(dir) && grow_table() && next_window();
}

/* Who ends the program may have interrupted us by a signal: then the lock is never let go, and the zeros stay. */
__attribute__((destructor)) static void
end(void)
{
        size_t n_events;

        for (int i = 0; state && i < 1000 && __atomic_load_n(&state->lock, __ATOMIC_RELAXED) != 0; i++)
                sched_yield();
        if (!state || __atomic_load_n(&state->lock, __ATOMIC_RELAXED) != 0 || !enter())
                return;
        n_events = (state->n_windows - 1) * WINDOW_EVENTS + state->n;
        if (truncate(state->path, (off_t)(n_events * sizeof(struct trace_event))) < 0)
                give_up(strerror(errno));
        state->is_on = 0;
        leave();
}
