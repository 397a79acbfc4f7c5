/*
 * What is at stake: OpenSHMEM's libraries have an shmalloc(), shrealloc() and shfree() of the same types, so that a
 * program with both compiles and links without a word, and one library frees what the other allocated.
 *
 * The stand-in for such a library (shmem.h, made by short_names.sh) counts its calls in shmem_n_calls.  WHOSE says
 * whose functions this source file has to be bound to: "ours" or "theirs".
 */
#if defined(OURS_FIRST)
#include <shmalloc/shmalloc.h>
#include <shmem.h>
#elif defined(THEIRS_FIRST)
#include <shmalloc/shmalloc.h>
#include <shmem.h>
#elif defined(OURS_HIDDEN)
#define SHMALLOC_NO_SHORT_NAMES
#include <shmalloc/shmalloc.h>
#include <shmem.h>
#else
#include <shmem.h>
#endif
#include <stdio.h>
#include <string.h>

#ifdef SHMALLOC_SHMALLOC_H
#include <unistd.h>

static shheap *
open_default(void)
{
        char name[32];
        shheap *h = NULL;

        snprintf(name, sizeof(name), "short-%ld", (long)getpid());
        if (shheap_open(&h, name, SHHEAP_CREATE | SHHEAP_EXCL, NULL) < 0 || shheap_unlink(name) < 0 ||
            shheap_set_default(h) < 0) {
                fprintf(stderr, "short_names: %s\n", shheap_errormsg());
                return NULL;
        }
        return h;
}
#endif

/* The three that both have, called, and by pointers.  Whether the blocks were of any use. */
static int
call_common(void)
{
        void *(*volatile allocate)(size_t) = shmalloc;
        void *(*volatile resize)(void *, size_t) = shrealloc;
        void (*volatile release)(void *) = shfree;
        char *p = (char *)shmalloc(100), *q = (char *)allocate(100);
        int is_good = p && q;

        p = (char *)shrealloc(p, 200);
        q = (char *)resize(q, 200);
        is_good = is_good && p && q && p != q;
        shfree(p);
        release(q);
        return is_good;
}

int
main(void)
{
        int is_good = 1, expected = strcmp(WHOSE, "theirs") == 0 ? 6 : 0;

#ifdef SHMALLOC_SHMALLOC_H
        shheap *h = open_default();

        if (!h)
                return 1;
#endif
        is_good = call_common();
#if defined(SHMALLOC_SHMALLOC_H) && !defined(SHMALLOC_NO_SHORT_NAMES)
        /* The other short names: the stand-in has them, too. */
        void *blocks[6] = {shcalloc(1, 10), shreallocarray(NULL, 1, 10), shaligned_alloc(64, 10), NULL,
                           shstrdup("x"),   shstrndup("xy", 1)};

        is_good = shposix_memalign(&blocks[3], 64, 10) == 0 && is_good;
        for (int i = 0; i < 6; i++) {
                is_good = is_good && blocks[i] && shmalloc_usable_size(blocks[i]) > 0 &&
                          shptr_of(shref_of(blocks[i])) == blocks[i];
                if (i == 0)
                        shfree_sized(blocks[i], 10);
                else
                        shfree(blocks[i]);
        }
#endif
#ifdef SHMALLOC_SHMALLOC_H
        is_good = shheap_close(h) == 0 && is_good;
#endif
        if (!is_good || shmem_n_calls != expected) {
                fprintf(stderr, "short_names: %s blocks, %d calls went to the other library, %d should\n",
                        is_good ? "good" : "bad", shmem_n_calls, expected);
                return 1;
        }
        return 0;
}
