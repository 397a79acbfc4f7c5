/*
 * helper.h - the process that works in a heap for the daemon: a client like any other, with the rights of the heap's
 * owner and no others.
 */
#ifndef SHMALLOCD_HELPER_H
#define SHMALLOCD_HELPER_H

#include "shmallocd/config.h"

/* The whole life of a helper, from its start by the daemon with the socket pair as TALK_FD.  The exit status. */
int helper_main(const struct heap_config *heap);

#endif
