/*
 * The sources of examples/wordindex, timed: with processes and a shared heap, or, where <shmalloc/shmalloc.h> is the
 * one in private/, with threads and malloc.  Usage: wordindex-... HEAP WORKERS; prints the workers' seconds.
 */
#include <err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "index.h"
#include "worker.h"

static const char *heap_name;

static double
now(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#ifdef SHMALLOC_IS_PRIVATE
void *
private_root(size_t size)
{
        static void *root;

        if (!root)
                root = calloc(1, size);
        return root;
}

static void *
thread_main(void *arg)
{
        if (worker_run(heap_name, (unsigned)(uintptr_t)arg) != 0)
                exit(1);
        return NULL;
}

static void
run_workers(unsigned n)
{
        pthread_t thread[WORKERS_MAX];

        for (unsigned i = 0; i < n; i++)
                if (pthread_create(&thread[i], NULL, thread_main, (void *)(uintptr_t)i) != 0)
                        errx(1, "cannot start a thread");
        for (unsigned i = 0; i < n; i++)
                pthread_join(thread[i], NULL);
}
#else
static void
run_workers(unsigned n)
{
        int status;

        for (unsigned i = 0; i < n; i++) {
                pid_t pid = fork();

                if (pid < 0)
                        err(1, "cannot start a process");
                if (pid == 0)
                        _exit(worker_run(heap_name, i));
        }
        for (unsigned i = 0; i < n; i++)
                if (wait(&status) < 0 || status != 0)
                        errx(1, "a worker failed");
}
#endif

int
main(int argc, char **argv)
{
        struct documents documents;
        struct summary summary;
        struct index *index;
        double start, stop;
        shheap *heap;

        if (argc != 3)
                errx(2, "usage: %s HEAP WORKERS", argv[0]);
        heap_name = argv[1];
        documents_find(&documents, NULL, 0);
        if (shheap_open(&heap, heap_name, SHHEAP_CREATE | SHHEAP_EXCL, NULL) < 0)
                errx(1, "%s", shheap_errormsg());
        index = index_create(heap, &documents);
        start = now();
        run_workers((unsigned)strtoul(argv[2], NULL, 10));
        stop = now();
#ifndef SHMALLOC_IS_PRIVATE
        (void)shheap_unlink(heap_name);
#endif
        index_summarize(index, 1, &summary);
        printf("%.6f %lu %lx\n", stop - start, (unsigned long)summary.n_words, (unsigned long)summary.digest);
        return 0;
}
