/* allocated.c - checks a heap that nobody else uses, and prints the bytes that are allocated in it. */
#include <err.h>
#include <inttypes.h>
#include <shmalloc/shmalloc.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
        uint64_t bytes;
        size_t length = sizeof bytes;
        shheap *heap;

        if (argc != 2)
                errx(2, "allocated HEAP");
        if (shheap_open(&heap, argv[1], 0, NULL) < 0 || shheap_reap(heap) != 0 ||
            shheap_check(heap, SHHEAP_CHECK_QUIESCENT, stderr) != 0 ||
            shheap_ctl(heap, "stats.allocated", &bytes, &length, NULL, 0) < 0)
                errx(1, "%s", shheap_errormsg());
        printf("%" PRIu64 "\n", bytes);
        return 0;
}
