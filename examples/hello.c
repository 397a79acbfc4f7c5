/* hello.c - one process allocates, another reads and frees. */
#include <err.h>
#include <shmalloc/shmalloc.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(void)
{
        char name[32], **greeting;
        void *root;
        shheap *heap;

        snprintf(name, sizeof name, "hello.%d", getpid());
        if (shheap_open(&heap, name, SHHEAP_CREATE, NULL) < 0)
                errx(1, "%s", shheap_errormsg());
        shheap_unlink(name); /* the heap lasts until the last process closes it; nothing stays behind */
        if (shheap_root(heap, "greeting", sizeof *greeting, 0, NULL, NULL, &root) < 0)
                errx(1, "%s", shheap_errormsg());
        greeting = root;
        if (fork() == 0) {
                *greeting = shheap_strdup(heap, "hello from a process that is gone by now");
                _exit(*greeting == NULL);
        }
        wait(NULL);
        if (*greeting == NULL)
                errx(1, "the child has left no greeting");
        puts(*greeting);
        shheap_free(heap, *greeting);
        shheap_close(heap);
        return 0;
}
