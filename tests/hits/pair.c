/*
 * What is at stake: the hit paths are why anybody would use this instead of a private malloc.  This program executes N
 * pairs of shmalloc(64) and shfree, or N pairs of calls that do nothing, for count.sh to count under callgrind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shmalloc/shmalloc.h"

void *null_malloc(size_t size);
void null_free(void *p);

static int
open_heap(const char *name, shheap **ret_heap)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;

        attr.capacity = 64 << 20;
        return shheap_open(ret_heap, name, SHHEAP_CREATE | SHHEAP_EXCL, &attr);
}

int
main(int argc, char **argv)
{
        void *(*volatile allocate)(size_t) = null_malloc;
        void (*volatile release)(void *) = null_free;
        void *(*take)(size_t);
        void (*give)(void *);
        char name[64];
        shheap *h;
        long n;

        if (argc != 3) {
                fprintf(stderr, "usage: pair null|heap PAIRS\n");
                return 2;
        }
        snprintf(name, sizeof name, "hits-%ld", (long)getpid());
        if (open_heap(name, &h) < 0) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                return 1;
        }
        (void)shheap_unlink(name);
        shheap_set_default(h);
        if (strcmp(argv[1], "heap") == 0) {
                allocate = shmalloc;
                release = shfree;
        }
        n = strtol(argv[2], NULL, 10);
        take = allocate;
        give = release;
        for (long i = -100; i < n; i++) /* a hundred before those that are counted: attaching, filling */
                give(take(64));
        return shheap_close(h) < 0;
}
