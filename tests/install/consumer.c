/* A program of somebody else, in the words that C and C++ share: opens a heap, allocates, frees, closes, unlinks. */
#include <shmalloc/shmalloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
fail(const char *what, int error)
{
        fprintf(stderr, "consumer: %s: %s (%s)\n", what, strerror(-error), shheap_errormsg());
        return 1;
}

int
main(void)
{
        char name[32];
        shheap *heap = NULL;

        snprintf(name, sizeof(name), "consumer-%ld", (long)getpid());
        int error = shheap_open(&heap, name, SHHEAP_CREATE | SHHEAP_EXCL, NULL);
        if (error)
                return fail("shheap_open", error);

        char *text = (char *)shheap_malloc(heap, 100);
        if (text) {
                strcpy(text, "hello");
                shheap_free(heap, text);
        }

        int close_error = shheap_close(heap);
        int unlink_error = shheap_unlink(name);
        if (!text)
                return fail("shheap_malloc", 0);
        if (close_error)
                return fail("shheap_close", close_error);
        return unlink_error ? fail("shheap_unlink", unlink_error) : 0;
}
