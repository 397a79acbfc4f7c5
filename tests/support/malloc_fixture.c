#include "support/malloc_fixture.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/heap_dir.h"

shheap *h;

/* ------------------------------------------------------------------ the heap */

void
setup(void)
{
        heap_dir_empty();
        h = heap_dir_open("m", SHHEAP_CREATE, "arenas:2");
}

void
teardown(void)
{
        heap_assert_clean(h);
        shheap_close(h);
        heap_dir_empty();
}

void
reopen(unsigned flags, const char *conf)
{
        shheap_close(h);
        if (flags & SHHEAP_CREATE)
                NEED(shheap_unlink("m") == 0);
        h = heap_dir_open("m", flags, conf);
}

/* ------------------------------------------------------------------ pointers and contents */

size_t
usable(const void *p)
{
        return shheap_usable_size(h, p);
}

bool
is_aligned(const void *p, size_t align)
{
        return (uintptr_t)p % align == 0;
}

/* A byte that depends on where it is and in which block. */
static unsigned char
pattern(size_t at, unsigned seed)
{
        return (unsigned char)((at * 131 + (at >> 8) * 31 + seed * 17) ^ 0x5c);
}

/* Each byte of small blocks; of others the ends, and a byte in each 512. */
static size_t
pattern_step(size_t at, size_t bytes)
{
        return at < 300 || bytes - at < 300 ? 1 : bytes - at < 900 ? bytes - at - 299 : 512;
}

void
fill(void *p, size_t bytes, unsigned seed)
{
        for (size_t at = 0; at < bytes; at += pattern_step(at, bytes))
                ((unsigned char *)p)[at] = pattern(at, seed);
}

bool
holds(const void *p, size_t bytes, size_t filled, unsigned seed)
{
        for (size_t at = 0; at < bytes; at += pattern_step(at, filled))
                if (((const unsigned char *)p)[at] != pattern(at, seed))
                        return false;
        return true;
}

bool
is_all(const void *p, size_t from, size_t bytes, unsigned char value)
{
        const unsigned char *b = p;

        for (size_t at = from; at < bytes; at++)
                if (b[at] != value)
                        return false;
        return true;
}

/* ------------------------------------------------------------------ children */

void
in_child(void (*fn)(void))
{
        pid_t pid;
        int status;

        fflush(NULL);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                fn();
                _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
        shheap_reap(h);
}
