/*
 * confine.h - children that are refused something, or shut themselves in.  What the machine does not let them try ends
 * them with CONFINE_SKIPPED.
 */
#ifndef SUPPORT_CONFINE_H
#define SUPPORT_CONFINE_H

#include <stdbool.h>

#include "support/child.h"

enum { CONFINE_SKIPPED = 77 };

/* In a child: this system call, and `and_number` unless that is 0, gives the error from now on. */
void confine_refuse(int number, int and_number, int error);

/* In a child: mlockall(), without a limit. */
void confine_lock_all(int flags);

/* Runs fn(arg) in a child.  Whether it ended well, or was skipped; *ret_skipped, unless that is NULL: the latter. */
bool confine_run(void (*fn)(struct child *self, void *arg), void *arg, bool *ret_skipped);

#endif
