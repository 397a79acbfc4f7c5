/*
 * What is at stake: a slow path that a reader can follow.  This program makes one miss of malloc that fills a magazine,
 * one free that drains one, and one reap of a process that died, and prints each function that was entered and left on
 * the way, for outline.sh to count.  Its library is compiled with -finstrument-functions.
 *
 * Which call it is, the trace itself says: the first of many in which slab_fill(), or slab_drain(), was entered, and no
 * tick was due.  So nothing here depends on how large magazines are.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks/slab.h"
#include "heap/decay.h"
#include "heap/reap.h"
#include "shmalloc/shmalloc.h"

enum { EVENTS_MAX = 1 << 20, BLOCKS_MAX = 20000, SIZE = 112 };

#define UNTRACED __attribute__((no_instrument_function))

static struct event {
        uintptr_t function;
        bool is_exit;
} events[EVENTS_MAX];
static size_t n_events;
static bool is_tracing;

void __cyg_profile_func_enter(void *function, void *caller) UNTRACED;
void __cyg_profile_func_exit(void *function, void *caller) UNTRACED;

static UNTRACED void
note(void *function, bool is_exit)
{
        if (!is_tracing)
                return;
        if (n_events == EVENTS_MAX)
                abort();
        events[n_events++] = (struct event){(uintptr_t)function, is_exit};
}

void
__cyg_profile_func_enter(void *function, void *caller)
{
        (void)caller;
        note(function, false);
}

void
__cyg_profile_func_exit(void *function, void *caller)
{
        (void)caller;
        note(function, true);
}

static UNTRACED void
begin(void)
{
        n_events = 0;
        is_tracing = true;
}

static UNTRACED bool
has_entered(uintptr_t function)
{
        for (size_t i = 0; i < n_events; i++)
                if (events[i].function == function)
                        return true;
        return false;
}

/* The call that is looked for, by what it does and by what it does not. */
static UNTRACED bool
end(uintptr_t function)
{
        is_tracing = false;
        return has_entered(function) && !has_entered((uintptr_t)decay_tick);
}

static UNTRACED int
print(const char *what)
{
        printf("trace %s\n", what);
        for (size_t i = 0; i < n_events; i++)
                printf("%c %#jx\n", events[i].is_exit ? '<' : '>', (uintmax_t)events[i].function);
        return 0;
}

static UNTRACED int
fail(const char *what)
{
        fprintf(stderr, "no %s was seen\n", what);
        return 1;
}

static UNTRACED int
trace_miss(void **blocks)
{
        for (int i = 0; i < BLOCKS_MAX; i++) {
                begin();
                blocks[i] = shmalloc(SIZE);
                if (end((uintptr_t)slab_fill) &&
                    i > BLOCKS_MAX / 2) /* not the first: the arena has its chunk, the slab stands */
                        return print("miss");
                if (!blocks[i])
                        break;
        }
        return fail("miss with a fill");
}

static UNTRACED int
trace_free(void **blocks)
{
        for (int i = 0; i < BLOCKS_MAX && blocks[i]; i++) {
                begin();
                shfree(blocks[i]);
                if (end((uintptr_t)slab_drain))
                        return print("free");
        }
        return fail("free with a drain");
}

static UNTRACED int
trace_reap(shheap *h)
{
        pid_t pid = fork();
        int status, err;

        if (pid == 0)
                _exit(shmalloc(SIZE) ? 0 : 1); /* with a magazine, and without a word */
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
                return fail("child with a block");
        begin();
        err = shheap_reap(h);
        if (err != 0 || !end((uintptr_t)reap_settle))
                return fail("reap");
        return print("reap");
}

int UNTRACED
main(void)
{
        static void *blocks[BLOCKS_MAX];
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        char name[64];
        shheap *h;
        int err;

        snprintf(name, sizeof name, "outline-%ld", (long)getpid());
        if (shheap_open(&h, name, SHHEAP_CREATE | SHHEAP_EXCL, &attr) < 0) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                return 1;
        }
        (void)shheap_unlink(name);
        shheap_set_default(h);
        err = trace_miss(blocks);
        if (err == 0)
                err = trace_free(blocks);
        if (err == 0)
                err = trace_reap(h);
        return shheap_close(h) < 0 || err != 0;
}
