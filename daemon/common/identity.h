/*
 * identity.h - who a process is by its own account, and which process that is here.
 *
 * A client says who it is by its number in its own pid namespace, which means nothing elsewhere, and by the inode
 * number of that namespace, which another one gets when it is gone.  Both together are one process's at a time.
 */
#ifndef COMMON_IDENTITY_H
#define COMMON_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As the process itself has them: os/process.h */
struct identity {
        uint32_t pid;
        uint32_t pid_ns;
};

/* Whose the pidfd is.  False: it has ended and been waited for, is of a namespace that this process cannot see into, or
 * the system does not tell (no /proc, no right). */
bool identity_of(int pidfd, struct identity *ret);

/* A process that is wanted, and what has been found: its number here and a pidfd; 0 and -1 = nothing. */
struct identity_search {
        struct identity who;
        uint32_t pid;
        int pidfd;
};

/* Looks for all of them in one pass over /proc.  What is not found may live all the same. */
void identity_find(struct identity_search *wanted, size_t n);

#endif
