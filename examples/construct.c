/*
 * construct.c - several processes construct one object, which consists of several blocks, at the same time, and several
 * want to take it down.
 *
 * What the object needs hangs on it from the start, by shheap_malloc_to(): so whoever came too late, failed half-way,
 * or takes the object down, finds what there is to be freed in the object itself.
 */
#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmalloc/shmalloc.h>

enum { N_PROCESSES = 6, N_NUMBERS = 5000 };

struct table {
        shref squares, cubes;
};

static shheap *heap;

static void
unbuild(void *obj, size_t size, void *arg)
{
        struct table *table = obj;
        unsigned *n_undone = arg;

        (void)size;
        if (shheap_free_from(heap, &table->squares) < 0 || shheap_free_from(heap, &table->cubes) < 0)
                errx(1, "%s", shheap_errormsg());
        if (n_undone)
                ++*n_undone;
}

static int
build(void *obj, size_t size, void *arg)
{
        struct table *table = obj;
        uint64_t *squares = shheap_malloc_to(heap, N_NUMBERS * sizeof *squares, 0, &table->squares);
        uint64_t *cubes = shheap_malloc_to(heap, N_NUMBERS * sizeof *cubes, 0, &table->cubes);

        (void)arg;
        if (!squares || !cubes) {
                unbuild(obj, size, NULL); /* what there is; undo() is for objects that are complete */
                return -ENOMEM;
        }
        for (uint64_t i = 0; i < N_NUMBERS; i++) {
                squares[i] = i * i;
                cubes[i] = i * i * i;
        }
        return 0;
}

/* In a process of its own.  How many of its tables came too late. */
static int
construct(void)
{
        const struct table *table;
        const uint64_t *cubes;
        unsigned n_undone = 0;
        void *obj;

        if (shheap_root_undo(heap, "table", sizeof *table, 0, build, unbuild, &n_undone, &obj) < 0)
                errx(2, "%s", shheap_errormsg());
        table = obj;
        cubes = shheap_ptr(heap, table->cubes);
        if (cubes[100] != 1000000)
                errx(2, "the table is wrong");
        return (int)n_undone;
}

/* Likewise.  1: this was the one who got it. */
static int
take_down(void)
{
        void *obj;
        int error = shheap_root_take(heap, "table", &obj, NULL);

        if (error == -ENOENT)
                return 0;
        if (error < 0)
                errx(2, "%s", shheap_errormsg());
        unbuild(obj, sizeof(struct table), NULL);
        shheap_free(heap, obj);
        return 1;
}

/* The sum of what they say. */
static int
in_each_process(int (*fn)(void))
{
        int sum = 0;

        for (int i = 0; i < N_PROCESSES; i++)
                if (fork() == 0)
                        _exit(fn());
        for (int status; wait(&status) > 0;) {
                if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
                        errx(1, "a process has failed");
                sum += WEXITSTATUS(status);
        }
        return sum;
}

int
main(void)
{
        char name[32];
        uint64_t allocated;
        size_t length = sizeof allocated;

        snprintf(name, sizeof name, "construct.%d", getpid());
        if (shheap_open(&heap, name, SHHEAP_CREATE, NULL) < 0)
                errx(1, "%s", shheap_errormsg());
        shheap_unlink(name);
        printf("%d processes construct one table: %d of them came too late\n", N_PROCESSES, in_each_process(construct));
        if (in_each_process(take_down) != 1)
                errx(1, "not one process took it down");
        if (shheap_ctl(heap, "stats.allocated", &allocated, &length, NULL, 0) < 0 || allocated != 0)
                errx(1, "%ju bytes are left", (uintmax_t)allocated);
        puts("one process takes it down; nothing is left");
        shheap_close(heap);
        return 0;
}
