#include "helper.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, PAGES_AT_ONCE = 512 };

void
must_failed(const char *file, int line, const char *cond, const char *format, ...)
{
        va_list args;

        fflush(stdout);
        fprintf(stderr, "%s:%d: %s does not hold: ", file, line, cond);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
        exit(1);
}

void
run_on(uint32_t node)
{
        MUST(numa_run_on_node((int)node) == 0, "node %u: %s", node, strerror(errno));
}

/* ------------------------------------------------------------------ helpers */

struct job {
        job_fn *fn;
        struct order order;
};

static void __attribute__((noreturn)) helper_loop(int in, int out)
{
        struct job job;

        while (read(in, &job, sizeof job) == (ssize_t)sizeof job && job.fn) {
                struct pages result = job.fn(&job.order);

                if (write(out, &result, sizeof result) != (ssize_t)sizeof result)
                        break;
        }
        exit(0);
}

struct helper
helper_start(uint32_t node)
{
        struct helper h = {.node = node};
        int to[2], from[2];

        MUST(pipe(to) == 0 && pipe(from) == 0, "%s", strerror(errno));
        fflush(NULL);
        h.pid = fork();
        MUST(h.pid >= 0, "%s", strerror(errno));
        if (h.pid == 0) {
                close(to[1]);
                close(from[0]);
                run_on(node);
                helper_loop(to[0], from[1]);
        }
        close(to[0]);
        close(from[1]);
        h.to = to[1];
        h.from = from[0];
        return h;
}

void
helper_tell(struct helper *h, job_fn *fn, const struct order *order)
{
        struct job job = {fn, order ? *order : (struct order){0, 0, 0}};

        MUST(write(h->to, &job, sizeof job) == (ssize_t)sizeof job, "helper on node %u: %s", h->node, strerror(errno));
}

struct pages
helper_hear(struct helper *h)
{
        struct pages result;

        MUST(read(h->from, &result, sizeof result) == (ssize_t)sizeof result, "the helper on node %u ended", h->node);
        return result;
}

struct pages
helper_do(struct helper *h, job_fn *fn, const struct order *order)
{
        helper_tell(h, fn, order);
        return helper_hear(h);
}

static int
helper_end(struct helper *h)
{
        int status = 0;

        close(h->to);
        close(h->from);
        MUST(waitpid(h->pid, &status, 0) == h->pid, "%s", strerror(errno));
        return status;
}

void
helper_stop(struct helper *h)
{
        int status;

        helper_tell(h, NULL, NULL); /* later helpers have its pipe too: closing it is not enough */
        status = helper_end(h);
        MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0, "helper on node %u: status %#x", h->node, status);
}

void
helper_kill(struct helper *h)
{
        kill(h->pid, SIGKILL);
        helper_end(h);
}

/* ------------------------------------------------------------------ pages */

static void
pages_look(struct pages *pages, const char *at, size_t n, int node)
{
        void *where[PAGES_AT_ONCE];
        int status[PAGES_AT_ONCE];

        for (size_t i = 0; i < n; i++) {
                where[i] = (void *)(uintptr_t)(at + i * PAGE_BYTES);
                (void)*(volatile const char *)where[i];
        }
        MUST(move_pages(0, n, where, NULL, status, 0) == 0, "move_pages: %s", strerror(errno));
        for (size_t i = 0; i < n; i++) {
                MUST(status[i] >= 0, "page %p: %s", where[i], strerror(-status[i]));
                pages->n++;
                pages->n_right += status[i] == node;
        }
}

void
pages_add(struct pages *pages, const void *p, size_t bytes, int node)
{
        const char *at = (const char *)((uintptr_t)p & ~(uintptr_t)(PAGE_BYTES - 1));
        size_t left = ((const char *)p + bytes - at + PAGE_BYTES - 1) / PAGE_BYTES;

        while (left > 0) {
                size_t n = left < PAGES_AT_ONCE ? left : PAGES_AT_ONCE;

                pages_look(pages, at, n, node);
                at += n * PAGE_BYTES;
                left -= n;
        }
}

uint64_t
node_free_bytes(uint32_t node)
{
        long long free_bytes = 0;

        MUST(numa_node_size64((int)node, &free_bytes) >= 0, "node %u", node);
        return (uint64_t)free_bytes;
}

/* Anonymous memory, bound: the kernel kills somebody if there is none, so it is taken in small pieces. */
void
fill_node(uint32_t node, uint64_t leave_bytes)
{
        unsigned long mask[2] = {1ul << node, 0};
        size_t piece = 1 << 20;

        while (node_free_bytes(node) > leave_bytes + piece) {
                void *p = mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                MUST(p != MAP_FAILED && mbind(p, piece, MPOL_BIND, mask, 65, 0) == 0, "%s", strerror(errno));
                memset(p, 1, piece);
        }
}
