/*
 * patient.c - a client for the tests of daemon and tool to look at.
 *
 *   patient NAME [busy|hold|full|point FILE]
 *
 * Opens heap NAME, creating it if need be, allocates blocks of all kinds and says "ready" on standard output.  Then
 * `hold` (the default) waits for standard input to end, frees and closes; `busy` allocates and frees until then; `full`
 * holds as much as it can; `point` holds, and has written to FILE what is at which address: lines WHAT ADDRESS BYTES.
 */
#include <poll.h>
#include <shmalloc/shmalloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_BLOCKS = 4096 };

static void *blocks[N_BLOCKS];

static int
fail(const char *what)
{
        fprintf(stderr, "patient: %s: %s\n", what, shheap_errormsg());
        return 1;
}

/* Sizes of every kind, most of them small. */
static size_t
size_of(unsigned i)
{
        if (i % 1024 == 1023)
                return 5u << 20;
        if (i % 256 == 255)
                return 300u << 10;
        return (size_t)16 << (i % 11);
}

static bool
is_over(int timeout_ms)
{
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        char byte;

        return poll(&p, 1, timeout_ms) == 1 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void
work(shheap *h, unsigned *seed)
{
        for (int i = 0; i < 2000; i++) {
                unsigned at = (*seed = *seed * 1664525 + 1013904223) >> 20;

                shheap_free(h, blocks[at]);
                blocks[at] = shheap_malloc(h, size_of(at));
        }
}

enum { ODD_BYTES = 3072, N_ODD = 10, N_ODD_FREED = 2 }; /* of a class of which size_of() makes none */

static int
init(void *obj, size_t size, void *arg)
{
        (void)arg;
        memset(obj, 0, size);
        return 0;
}

/* Blocks of all kinds, told of. */
static int
point(shheap *h, const char *path)
{
        FILE *out = fopen(path, "we");
        void *odd[N_ODD], *root;

        if (!out)
                return fail("cannot write");
        for (int i = 0; i < N_ODD; i++)
                if (!(odd[i] = shheap_malloc(h, ODD_BYTES)))
                        return fail("cannot allocate");
        for (int i = 0; i < N_ODD; i++) {
                if (i < N_ODD_FREED)
                        shheap_free(h, odd[i]);
                fprintf(out, "%s %p %d\n", i < N_ODD_FREED ? "cached" : "live", odd[i], ODD_BYTES);
        }
        for (unsigned i = 0; i < N_BLOCKS; i++)
                if (blocks[i])
                        fprintf(out, "live %p %zu\n", blocks[i], shheap_usable_size(h, blocks[i]));
        if (shheap_root(h, "the-root", 40000, 0, init, NULL, &root) < 0)
                return fail("no root");
        fprintf(out, "root %p 40000\n", root);
        return fclose(out) != 0;
}

int
main(int argc, char **argv)
{
        const char *mode = argc > 2 ? argv[2] : "hold";
        unsigned seed = (unsigned)getpid(), n = strcmp(mode, "full") == 0 ? N_BLOCKS : N_BLOCKS / 2;
        shheap *h;

        if (argc < 2 || shheap_open(&h, argv[1], SHHEAP_CREATE, NULL) < 0)
                return fail("cannot open");
        for (unsigned i = 0; i < n; i++)
                if (!(blocks[i] = shheap_malloc(h, size_of(i))))
                        return fail("cannot allocate");
        for (unsigned i = 0; i < n; i += 3) { /* holes, and something to cache */
                shheap_free(h, blocks[i]);
                blocks[i] = NULL;
        }
        if (strcmp(mode, "point") == 0 && (argc != 4 || point(h, argv[3]) != 0))
                return 1;
        puts("ready");
        fflush(stdout);
        while (!is_over(strcmp(mode, "busy") == 0 ? 0 : -1))
                if (strcmp(mode, "point") != 0)
                        work(h, &seed);
        for (unsigned i = 0; i < N_BLOCKS; i++)
                shheap_free(h, blocks[i]);
        return shheap_close(h) < 0 ? fail("cannot close") : 0;
}
