/*
 * load.c - reads a trace, and looks whether it can be replayed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trace/trace.h"

_Static_assert(sizeof(struct trace_event) == 16, "the format of the files");

struct bytes {
        char *p;
        size_t n, room;
};

static int
grow(struct bytes *b)
{
        size_t room = b->room ? 2 * b->room : (size_t)16 << 20;
        void *p = b->room ? mremap(b->p, b->room, room, MREMAP_MAYMOVE)
                          : mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return -1;
        b->p = p;
        b->room = room;
        return 0;
}

static int
read_all(int fd, struct bytes *b)
{
        for (;;) {
                ssize_t n;

                if (b->n == b->room && grow(b) < 0)
                        return -1;
                n = read(fd, b->p + b->n, b->room - b->n);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return (int)n;
                b->n += (size_t)n;
        }
}

/* What another program writes to a pipe; whoever is measured here is not preloaded there. */
static int
read_unpacked(const char *path, struct bytes *b)
{
        int fd[2], status, result;
        pid_t pid;

        if (pipe2(fd, O_CLOEXEC) < 0)
                return -1;
        pid = fork();
        if (pid < 0)
                return -1;
        if (pid == 0) {
                unsetenv("LD_PRELOAD");
                dup2(fd[1], STDOUT_FILENO);
                execlp("zstd", "zstd", "-dcq", "--", path, (char *)NULL);
                perror("zstd");
                _exit(127);
        }
        close(fd[1]);
        result = read_all(fd[0], b);
        close(fd[0]);
        if (waitpid(pid, &status, 0) != pid || status != 0) {
                errno = EIO;
                return -1;
        }
        return result;
}

static int
read_plain(const char *path, struct bytes *b)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC), result;

        if (fd < 0)
                return -1;
        result = read_all(fd, b);
        close(fd);
        return result;
}

static bool
ends_in(const char *s, const char *end)
{
        size_t n = strlen(s), m = strlen(end);

        return n >= m && strcmp(s + n - m, end) == 0;
}

/* Why an event cannot be: NULL if it can. */
static const char *
fault_of(const struct trace_event *e, uint8_t *is_live, size_t n_numbers)
{
        bool is_new = e->kind != TRACE_FREE && e->kind != TRACE_REALLOC;

        if (e->kind >= TRACE_KINDS)
                return "no such kind of call";
        if (e->block >= n_numbers)
                return "a block's number is larger than that of calls";
        if (is_new && is_live[e->block])
                return "a block's number is in use";
        if (!is_new && !is_live[e->block])
                return "the block is not there";
        if (e->kind == TRACE_ALIGNED && (e->align == 0 || (e->align & (e->align - 1)) != 0))
                return "an alignment that is no power of two";
        is_live[e->block] = e->kind != TRACE_FREE;
        return NULL;
}

static int
check(const char *path, struct trace *t)
{
        uint8_t *is_live = mmap(NULL, t->n + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        const char *fault = NULL;

        if (is_live == MAP_FAILED) {
                perror(path);
                return -1;
        }
        for (size_t i = 0; i < t->n && !fault; i++) {
                fault = fault_of(&t->event[i], is_live, t->n);
                if (fault)
                        fprintf(stderr, "%s: event %zu: %s\n", path, i, fault);
                if (t->event[i].block >= t->n_blocks)
                        t->n_blocks = t->event[i].block + 1;
                if (t->event[i].kind == TRACE_ALIGNED && t->event[i].align > t->align_max)
                        t->align_max = t->event[i].align;
        }
        for (size_t i = 0; i < t->n_blocks && !fault; i++)
                t->n_live_end += is_live[i];
        munmap(is_live, t->n + 1);
        return fault ? -1 : 0;
}

int
trace_load(const char *path, struct trace *ret_trace)
{
        static const struct trace_event none;
        struct bytes b = {0};
        struct trace t = {0};

        if ((ends_in(path, ".zst") ? read_unpacked : read_plain)(path, &b) < 0) {
                fprintf(stderr, "%s cannot be read: %s\n", path, strerror(errno));
                return -1;
        }
        t.event = (struct trace_event *)(void *)b.p;
        t.n = b.n / sizeof none;
        while (t.n > 0 && memcmp(&t.event[t.n - 1], &none, sizeof none) == 0)
                t.n--;
        if (t.n == 0 || b.n % sizeof none != 0) {
                fprintf(stderr, "%s is no trace: %zu bytes\n", path, b.n);
                return -1;
        }
        if (check(path, &t) < 0)
                return -1;
        *ret_trace = t;
        return 0;
}
