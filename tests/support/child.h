/*
 * child.h - child processes of a test: started, told to go on, listened to, and buried, without ever waiting for time
 * to pass.
 *
 * A child reports what goes wrong with MUST(), which ends it; the parent learns of that by its status.  Children die
 * with their parent.
 */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { CHILD_MUST_FAILED = 99 };

struct child {
        pid_t pid;
        int to;   /* the parent writes, the child reads */
        int from; /* the child writes, the parent reads */
};

/* In the child: the claim holds, or the child ends and says so. */
#define MUST(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        child_fail(__FILE__, __LINE__, #claim);                                                        \
        } while (0)
void child_fail(const char *file, int line, const char *claim) __attribute__((noreturn));

/* Runs fn(arg) in a child of fork(), which ends with status 0 afterwards. */
void child_start(struct child *c, void (*fn)(struct child *self, void *arg), void *arg);

/* Runs fn() in a child of fork(), which ends with status 0 afterwards.  Its wait status; what it wrote to standard
 * error is in `text`. */
int child_says(void (*fn)(void), char *text, size_t text_bytes);

/* The child's side of a child that was made in another way; between child_pipes() and child_is_parent(). */
void child_pipes(struct child *c, int pipes[4]);
void child_is_parent(struct child *c, const int pipes[4], pid_t pid);
void child_is_child(struct child *c, const int pipes[4]);

/* Either side.  False: the other side is gone. */
bool child_tell(struct child *c);
bool child_hear(struct child *c);

/* Waits for the end.  Its wait status. */
int child_end(struct child *c);

/* SIGKILL, and waits for the end. */
void child_kill(struct child *c);

#endif
