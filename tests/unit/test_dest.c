/*
 * What is at stake: the data of others.  As soon as *dest holds the reference of a new block anybody may follow it, and
 * so may the heir of a process that was killed in shheap_malloc_to().  A block that was asked for zeroed, or that the
 * options fill, must be so by then, not some time later, whatever it is cut from.  Single blocks past the magazines:
 * tests/crash.
 */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/heap_dir.h"
#include "support/malloc_fixture.h"
#include "support/suite.h"

enum { PAGE = 4096 };

/* The word is alone in its page, so the store to it can be caught. */
static shref *dest;

static const unsigned char *expected_block; /* what *dest is going to hold, and what is in there when it is stored */
static size_t expected_bytes;
static int expected_byte;
static volatile sig_atomic_t n_stores, n_early; /* of references; of those before the block was filled */

static void
catch_store(int sig, siginfo_t *info, void *context)
{
        (void)sig, (void)context;
        if ((uintptr_t)info->si_addr / PAGE != (uintptr_t)dest / PAGE)
                _exit(99);
        n_stores++;
        for (size_t i = 0; i < expected_bytes; i++)
                if (expected_block[i] != expected_byte) {
                        n_early++;
                        break;
                }
        mprotect(dest, PAGE, PROT_READ | PROT_WRITE);
}

/* The block of which the next malloc_to of that size hands out the memory again, dirty: it lies on top of this thread's
 * magazine, or is a free run, or free chunks, that keep their pages. */
static void
leave_dirty(size_t size)
{
        heap_use(h, size);
        expected_block = shheap_malloc_to(h, size, 0, dest);
        NEED(expected_block);
        expected_bytes = usable(expected_block);
        NEED(shheap_free_from(h, dest) == 0);
        memset((void *)(uintptr_t)expected_block, 0x77, expected_bytes);
}

static void
malloc_to_fills_first(unsigned flags, int byte)
{
        struct sigaction action = {.sa_sigaction = catch_store, .sa_flags = SA_SIGINFO}, before;

        dest = shheap_aligned_alloc(h, PAGE, PAGE);
        NEED(dest);
        *dest = SHREF_NULL;
        expected_byte = byte;
        NEED(sigaction(SIGSEGV, &action, &before) == 0);
        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                leave_dirty(some_sizes[i]);
                n_stores = n_early = 0;
                NEED(mprotect(dest, PAGE, PROT_READ) == 0);
                NEED(shheap_malloc_to(h, some_sizes[i], flags, dest) == expected_block);
                NEED(n_stores == 1 && n_early == 0);
                NEED(is_all(expected_block, 0, expected_bytes, (unsigned char)byte));
                NEED(shheap_free_from(h, dest) == 0);
        }
        NEED(sigaction(SIGSEGV, &before, NULL) == 0);
        shheap_free(h, dest);
}

START_TEST(a_zeroed_block_is_zero_before_its_reference_is_stored)
{
        malloc_to_fills_first(SHA_ZERO, 0);
}
END_TEST

START_TEST(what_the_options_fill_is_filled_before_its_reference_is_stored)
{
        reopen(0, "zero:true");
        malloc_to_fills_first(0, 0);
        reopen(0, "junk:true");
        malloc_to_fills_first(0, 0xa5);
        malloc_to_fills_first(SHA_ZERO, 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("dest");
        TCase *tcase = tcase_create("dest");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_zeroed_block_is_zero_before_its_reference_is_stored);
        tcase_add_test(tcase, what_the_options_fill_is_filled_before_its_reference_is_stored);
        suite_add_tcase(suite, tcase);

        heap_dir_create("dest");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
