/*
 * What is at stake: the hit paths are why anybody would use this instead of a private malloc.  This program executes N
 * pairs of shmalloc(64) and shfree, or of another call of the family and what undoes it, or N pairs of calls that do
 * nothing, for count.sh to count under callgrind.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shmalloc/shmalloc.h"

void *null_malloc(size_t size);
void null_free(void *p);

static shheap *heap, *other; /* the first is the default one, the second is there where it is used */
static void *block;

/* ------------------------------------------------------------------ the family */

static void
calls_calloc(void)
{
        shfree(shcalloc(4, 16));
}

static void
calls_aligned(void)
{
        shfree(shaligned_alloc(256, 100));
}

static void
calls_memalign(void)
{
        void *p = NULL;

        if (shposix_memalign(&p, 64, 64) == 0)
                shfree(p);
}

static void
calls_realloc_in_place(void)
{
        block = shrealloc(block, 100);
        block = shrealloc(block, 110);
}

static void
calls_realloc_to_another_class(void)
{
        block = shrealloc(block, 100);
        block = shrealloc(block, 1000);
}

static void
calls_usable(void)
{
        if (shmalloc_usable_size(block) < 100)
                abort();
}

static void
calls_sized(void)
{
        shfree_sized(shmalloc(64), 64);
}

static void
calls_strdup(void)
{
        shfree(shstrdup("to be copied"));
}

static void
calls_mallocx(void)
{
        shheap_free(heap, shheap_mallocx(heap, 64, 0));
}

static void
calls_to_from(void)
{
        shref *word = block;

        if (shheap_malloc_to(heap, 64, 0, word))
                (void)shheap_free_from(heap, word);
}

static void
calls_huge(void)
{
        shfree(shmalloc((size_t)3 << 20));
}

static void
calls_heap_huge(void)
{
        shheap_free(heap, shheap_malloc(heap, (size_t)20 << 20));
}

static void
calls_handle(void)
{
        shheap_free(heap, shheap_malloc(heap, 64));
}

/* Two pairs, each of another heap than the one before, by whose handle it is known. */
static void
calls_turns(void)
{
        shheap_free(heap, shheap_malloc(heap, 64));
        shheap_free(other, shheap_malloc(other, 64));
}

static void
calls_another(void)
{
        shfree(shheap_malloc(other, 64));
}

/* As containers of C++ do it, whose allocator lies in a heap that is not the default one. */
static void
calls_near(void)
{
        shfree(shheap_malloc_near(block, 64));
}

static const struct family {
        const char *name;
        void (*calls)(void);
} family[] = {{"calloc", calls_calloc},
              {"aligned", calls_aligned},
              {"memalign", calls_memalign},
              {"realloc-in-place", calls_realloc_in_place},
              {"realloc-to-another-class", calls_realloc_to_another_class},
              {"usable", calls_usable},
              {"sized", calls_sized},
              {"strdup", calls_strdup},
              {"mallocx", calls_mallocx},
              {"to-from", calls_to_from},
              {"handle", calls_handle},
              {"turns", calls_turns},
              {"another", calls_another},
              {"near", calls_near},
              {"huge", calls_huge},
              {"huge-of-heap", calls_heap_huge}};
enum { N_FAMILY = sizeof family / sizeof family[0], WARM = 1000 };

static bool
uses_other(const struct family *of)
{
        return of && (of->calls == calls_turns || of->calls == calls_another || of->calls == calls_near);
}

static void
execute(const struct family *of, long n)
{
        void (*volatile which)(void) = of->calls;
        void (*calls)(void) = which;

        for (long i = -WARM; i < n; i++) /* so many before those that are counted: attaching, filling */
                calls();
}

static void
execute_pairs(void *(*volatile allocate)(size_t), void (*volatile release)(void *), long n)
{
        void *(*take)(size_t) = allocate;
        void (*give)(void *) = release;

        for (long i = -WARM; i < n; i++)
                give(take(64));
}

/* ------------------------------------------------------------------ main */

static int
open_heap(const char *what, shheap **ret_heap)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        char name[64];
        int err;

        snprintf(name, sizeof name, "hits-%s-%ld", what, (long)getpid());
        attr.capacity = 1 << 30;
        err = shheap_open(ret_heap, name, SHHEAP_CREATE | SHHEAP_EXCL, &attr);
        if (err == 0)
                (void)shheap_unlink(name);
        return err;
}

int
main(int argc, char **argv)
{
        const struct family *of = NULL;
        long n;

        if (argc != 3) {
                fprintf(stderr, "usage: pair null|heap|CALL PAIRS\n");
                return 2;
        }
        for (int i = 0; i < N_FAMILY; i++)
                of = strcmp(argv[1], family[i].name) == 0 ? &family[i] : of;
        if (open_heap("default", &heap) < 0 || (uses_other(of) && open_heap("other", &other) < 0)) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                return 1;
        }
        shheap_set_default(heap);
        n = strtol(argv[2], NULL, 10);
        block = of && of->calls == calls_near ? shheap_calloc(other, 1, 100) : shcalloc(1, 100);
        if (of)
                execute(of, n);
        else if (strcmp(argv[1], "heap") == 0)
                execute_pairs(shmalloc, shfree, n);
        else
                execute_pairs(null_malloc, null_free, n);
        return (other && shheap_close(other) < 0) || shheap_close(heap) < 0;
}
