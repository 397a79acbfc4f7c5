/* client.c - opens a heap, allocates, and waits to be killed. */
#include <shmalloc/shmalloc.h>
#include <stdio.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
        shheap *heap;

        if (argc != 2 || shheap_open(&heap, argv[1], SHHEAP_CREATE, NULL) < 0)
                return fprintf(stderr, "client: %s\n", shheap_errormsg()), 1;
        if (!shheap_malloc(heap, 100000))
                return fprintf(stderr, "client: %s\n", shheap_errormsg()), 1;
        puts("ready");
        fflush(stdout);
        for (;;)
                pause();
}
