/*
 * container.h - children in pid namespaces of their own, and the ways in which a process may be hard to judge from
 * outside.
 */
#ifndef SUPPORT_CONTAINER_H
#define SUPPORT_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "support/child.h"

/* Whether this process may make pid namespaces; if not, it is said once. */
bool container_is_possible(void);

/* child_start(), but the child is process 1 of a new pid namespace, within the caller's. */
void container_start(struct child *c, void (*fn)(struct child *self, void *arg), void *arg);

/* The pid namespace of a process that the caller can see, as the library tells it from others. */
uint32_t container_pid_ns(pid_t pid);

/* In a child: from now on the kernel marks none of the locks that this thread holds, when it dies. */
void container_hide_locks(void);

/* In a child: an empty /proc, in a mount namespace of its own. */
void container_empty_proc(void);

/* In a child: pidfd_open() fails from now on, as in a kernel that has none. */
void container_forbid_pidfds(void);

#endif
