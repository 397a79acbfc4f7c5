/* guestbook.c - each process adds its line to one list, and prints what all have written. */
#include <shmalloc/shmalloc.h>
#include <stdio.h>
#include <string.h>

struct line {
        struct line *next; /* a plain pointer: the heap has the same address in every process */
        char text[];
};

int
main(int argc, char **argv)
{
        const char *text = argc > 1 ? argv[1] : "hello";
        struct line **first, *line;
        shheap *h;
        void *root;

        if (shheap_open(&h, "guestbook", SHHEAP_CREATE, NULL) < 0 ||
            shheap_root(h, "lines", sizeof *first, 0, NULL, NULL, &root) < 0 || /* zeroed, if it is new */
            !(line = shheap_malloc(h, sizeof *line + strlen(text) + 1)))
                return fprintf(stderr, "%s\n", shheap_errormsg()), 1;
        strcpy(line->text, text);
        first = root;
        line->next = *first;
        while (!__atomic_compare_exchange_n(first, &line->next, line, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
                ; /* somebody else was faster */
        for (line = __atomic_load_n(first, __ATOMIC_ACQUIRE); line; line = line->next)
                puts(line->text);
        return shheap_close(h) < 0;
}
