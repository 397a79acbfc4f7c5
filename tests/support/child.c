#include "support/child.h"

#include <errno.h>
#include <shmalloc/shmalloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void
child_fail(const char *file, int line, const char *claim)
{
        fprintf(stderr, "%s:%d: in process %d: not true: %s (%s)\n", file, line, (int)getpid(), claim,
                shheap_errormsg());
        _exit(CHILD_MUST_FAILED);
}

static void
die(const char *what)
{
        perror(what);
        abort();
}

void
child_pipes(struct child *c, int pipes[4])
{
        c->pid = 0;
        signal(SIGPIPE, SIG_IGN); /* a dead listener is an answer */
        if (pipe(pipes) < 0 || pipe(pipes + 2) < 0)
                die("pipe");
}

void
child_is_parent(struct child *c, const int pipes[4], pid_t pid)
{
        if (pid < 0)
                die("fork");
        close(pipes[0]);
        close(pipes[3]);
        c->pid = pid;
        c->to = pipes[1];
        c->from = pipes[2];
}

void
child_is_child(struct child *c, const int pipes[4])
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pipes[1]);
        close(pipes[2]);
        c->to = pipes[3];
        c->from = pipes[0];
}

void
child_start(struct child *c, void (*fn)(struct child *self, void *arg), void *arg)
{
        int pipes[4];
        pid_t pid;

        child_pipes(c, pipes);
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                child_is_child(c, pipes);
                fn(c, arg);
                _exit(0);
        }
        child_is_parent(c, pipes, pid);
}

bool
child_tell(struct child *c)
{
        ssize_t n;

        do {
                n = write(c->to, "!", 1);
        } while (n < 0 && errno == EINTR);
        return n == 1;
}

bool
child_hear(struct child *c)
{
        char byte;
        ssize_t n;

        do {
                n = read(c->from, &byte, 1);
        } while (n < 0 && errno == EINTR);
        return n == 1;
}

int
child_end(struct child *c)
{
        int status;

        close(c->to);
        while (waitpid(c->pid, &status, 0) < 0)
                if (errno != EINTR)
                        die("waitpid");
        close(c->from);
        return status;
}

void
child_kill(struct child *c)
{
        kill(c->pid, SIGKILL);
        child_end(c);
}

int
child_says(void (*fn)(void), char *text, size_t text_bytes)
{
        size_t length = 0;
        int pipes[2], status;
        ssize_t n;
        pid_t pid;

        if (pipe(pipes) < 0)
                die("pipe");
        fflush(NULL);
        pid = fork();
        if (pid < 0)
                die("fork");
        if (pid == 0) {
                dup2(pipes[1], STDERR_FILENO);
                close(pipes[0]);
                close(pipes[1]);
                fn();
                _exit(0);
        }
        close(pipes[1]);
        while ((n = read(pipes[0], text + length, text_bytes - 1 - length)) > 0)
                length += (size_t)n;
        text[length] = '\0';
        close(pipes[0]);
        if (waitpid(pid, &status, 0) != pid)
                die("waitpid");
        return status;
}
