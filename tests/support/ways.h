/*
 * ways.h - ways to die besides a plain SIGKILL, and a pid namespace to do it in.
 *
 * What is not to be had on a machine (no rights, no memory controller) is said once, and left out.
 */
#ifndef SUPPORT_WAYS_H
#define SUPPORT_WAYS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------ killing one's own child */

/* SIGKILL, and the kernel takes its memory before it has ended: then nothing marks the locks that it held.  False: the
 * kernel did not come to that, it ended by the signal alone. */
bool ways_kill_and_release(pid_t pid);

/* A memory cgroup below our own, in which everybody is killed who wants one page more.  NULL, or why not. */
const char *ways_oom_prepare(void);
void ways_oom_remove(void);

/* Moves the child in there, and waits for its end for a while.  False: it wants no memory, and has to be killed. */
bool ways_kill_by_oom(pid_t pid);

/* ------------------------------------------------------------------ a pid namespace */

/* One that lives as long as this process, or until ways_ns_remove().  NULL, or why not. */
const char *ways_ns_make(void);
void ways_ns_remove(void);

/* fork() into it: the caller's child has another number there. */
pid_t ways_ns_fork(void);

/* The number of a child in its own namespace, and that namespace as the library tells it from others. */
uint32_t ways_ns_pid(pid_t pid);
uint64_t ways_ns_id(pid_t pid);

#endif
