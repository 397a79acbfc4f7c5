/*
 * server.c - see server.h.
 */
#include "server.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN_MAX = 64 };

static struct server *running;

static void
cleanup(void)
{
        char path[128];

        if (!running)
                return;
        kill(running->pid, SIGKILL); /* its workers end by themselves */
        waitpid(running->pid, NULL, 0);
        snprintf(path, sizeof path, "/dev/shm/shmalloc.%s", running->heap);
        unlink(path);
}

void
test_fail(const char *fmt, ...)
{
        va_list list;

        va_start(list, fmt);
        vprintf(fmt, list);
        va_end(list);
        putchar('\n');
        fflush(stdout);
        cleanup();
        _exit(1);
}

void
server_start(struct server *s, const char *program, unsigned n_workers, const char *max_memory)
{
        char workers[16], line[256];
        int ends[2];
        FILE *out;

        *s = (struct server){.program = program};
        snprintf(workers, sizeof workers, "%u", n_workers);
        if (pipe(ends) < 0)
                test_fail("no pipe");
        s->pid = fork();
        if (s->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                dup2(ends[1], STDOUT_FILENO);
                close(ends[0]);
                close(ends[1]);
                execl(program, "kvcache", "--port", "0", "--workers", workers, "--max-memory", max_memory,
                      (char *)NULL);
                _exit(127);
        }
        close(ends[1]);
        running = s;
        out = fdopen(ends[0], "r");
        if (!out || !fgets(line, sizeof line, out) || !strstr(line, "127.0.0.1:") ||
            sscanf(strstr(line, "127.0.0.1:"), "127.0.0.1:%d from heap %63s", &s->port, s->heap) != 2)
                test_fail("the server does not start");
        /* What it says later is nobody's business, and must not make it wait. */
        if (fork() == 0) {
                while (fgets(line, sizeof line, out))
                        ;
                _exit(0);
        }
        fclose(out);
}

void
server_stop(struct server *s)
{
        char path[128];
        int status;

        kill(s->pid, SIGTERM);
        if (waitpid(s->pid, &status, 0) != s->pid || status != 0)
                test_fail("the server ended with status %#x", status);
        running = NULL;
        snprintf(path, sizeof path, "/dev/shm/shmalloc.%s", s->heap);
        if (access(path, F_OK) == 0)
                test_fail("heap %s is still there", s->heap);
}

bool
server_check(const struct server *s, struct server_counts *ret_counts)
{
        char command[512], line[512];
        bool is_counted = false;
        FILE *out;

        snprintf(command, sizeof command, "'%s' --check --name '%s'", s->program, s->heap);
        out = popen(command, "r");
        while (out && fgets(line, sizeof line, out)) {
                is_counted |=
                        sscanf(line,
                               "%lu items, %*u extensions, %*u retired, %*u in mailboxes; %lu blocks of %lu bytes; %lu",
                               &ret_counts->n_items, &ret_counts->n_blocks, &ret_counts->n_bytes,
                               &ret_counts->n_faults) == 4;
                if (!is_counted && strncmp(line, "good:", 5) != 0)
                        fputs(line, stdout);
        }
        return out && pclose(out) == 0 && is_counted && ret_counts->n_faults == 0;
}

bool
server_kill_worker(const struct server *s, uint64_t random)
{
        char path[64];
        int pids[CHILDREN_MAX], n = 0;
        FILE *children;

        snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)s->pid, (int)s->pid);
        children = fopen(path, "r");
        while (children && n < CHILDREN_MAX && fscanf(children, "%d", &pids[n]) == 1)
                n++;
        if (children)
                fclose(children);
        return n > 0 && kill(pids[random % (unsigned)n], SIGKILL) == 0;
}
