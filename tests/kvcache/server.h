/*
 * server.h - a kvcache server for a test, on a port and a heap of its own.
 */
#ifndef KVCACHE_SERVER_H
#define KVCACHE_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct server {
        pid_t pid; /* of the supervisor */
        int port;
        char heap[64];
        const char *program;
};

/* What `kvcache --check` counts. */
struct server_counts {
        unsigned long n_items, n_blocks, n_bytes, n_faults;
};

/* Ends the process, and the server, if anything fails; also when the test fails later. */
void server_start(struct server *s, const char *program, unsigned n_workers, const char *max_memory);

/* By SIGTERM; it has to end with status 0 and to leave no heap. */
void server_stop(struct server *s);

/* False, with a message, where the check finds a fault or cannot be made. */
bool server_check(const struct server *s, struct server_counts *ret_counts);

/* SIGKILL for one of its workers.  False: there was none. */
bool server_kill_worker(const struct server *s, uint64_t random);

/* Ends the test: message, server gone, status 1. */
__attribute__((format(printf, 1, 2))) _Noreturn void test_fail(const char *fmt, ...);

#endif
