/*
 * What is at stake: what lies beyond a mark is given back while others raise the mark over it.  What they have reserved
 * must not go with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "pages/chunk.h"
#include "pages/sweep.h"
#include "region/file.h"
#include "region/marks.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"

enum { N_CHUNKS = 80, PAGE = 4096 };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t;

/* Called before pages are removed; its result, if not 0, is the outcome. */
static int (*on_removal)(uint64_t off);
static unsigned n_removals;

int
madvise(void *addr, size_t bytes, int advice)
{
        int err = 0;

        if (advice == MADV_REMOVE) {
                n_removals++;
                err = on_removal ? on_removal((uint64_t)((char *)addr - r->base)) : 0;
        }
        if (err == 0)
                return (int)syscall(SYS_madvise, addr, bytes, advice);
        errno = err;
        return -1;
}

static void
setup(void)
{
        struct stat st;

        heap_make(&fx, (struct heap_params){.n_chunks = N_CHUNKS, .max_threads = 64, .has_file = true});
        ck_assert_int_eq(fstat(r->fd, &st), 0);
        r->dev = st.st_dev;
        r->ino = st.st_ino;
        t = heap_attach(&fx, 0);
        ck_assert_int_eq(chunk_give(t, 0), 0);
        on_removal = NULL;
}

static void
teardown(void)
{
        heap_drop(&fx);
}

/* ------------------------------------------------------------------ helpers */

static bool
has_page(uint64_t off)
{
        return lseek(r->fd, (off_t)off, SEEK_DATA) == (off_t)off;
}

/* All pages of the tables, and two of each chunk. */
static void
touch_all(void)
{
        for (uint64_t off = 0; off < r->layout.chunks_off; off += PAGE)
                (void)*(volatile char *)(r->base + off);
        for (uint64_t off = r->layout.chunks_off; off < r->layout.region_bytes; off += GEO_CHUNK_BYTES / 2)
                (void)*(volatile char *)(r->base + off);
}

/* Of the elements of a mark. */
static void
assert_pages_below(uint32_t mark)
{
        struct stretch s[STRETCHES_MAX];
        uint32_t n = marks_stretches(r, mark, 0, marks_value(r, mark), s) - (mark == SWEEP_CHUNKS); /* not their data */

        for (uint32_t i = 0; i < n; i++)
                for (uint64_t off = s[i].off & ~UINT64_C(4095); off < s[i].end; off += PAGE)
                        ck_assert_msg(has_page(off), "mark %u, table %u: no page at %#lx", mark, i, off);
}

static int
raise_once(uint32_t mark)
{
        uint32_t k = (uint32_t)marks_value(r, mark);

        return mark == SWEEP_CHUNKS    ? region_raise_chunks(r, k)
               : mark == SWEEP_THREADS ? region_raise_threads(r, k)
                                       : region_raise_magazines(r, 0, k);
}

/* ------------------------------------------------------------------ what comes back */

START_TEST(strays_beyond_the_marks_come_back)
{
        uint64_t magazines = region_magazines_hwm(r, 0);
        struct stretch s[STRETCHES_MAX];
        uint32_t n;

        touch_all();
        ck_assert_uint_gt(sweep_beyond_marks(t, r->fd, UINT64_MAX), (N_CHUNKS - 1) * 2 * PAGE);
        ck_assert(lseek(r->fd, (off_t)(r->layout.chunks_off + GEO_CHUNK_BYTES), SEEK_DATA) < 0);
        n = marks_stretches(r, SWEEP_CHUNKS, 2 + 64 + 8, N_CHUNKS, s);
        for (uint32_t i = 1; i < n; i++) /* the words of chunks stay */
                for (uint64_t off = (s[i].off + PAGE - 1) & ~UINT64_C(4095); off < s[i].end; off += PAGE)
                        ck_assert_msg(!has_page(off), "table %u: a page at %#lx", i, off);
        n = marks_stretches(r, SWEEP_MAGAZINES, 2 * magazines + 17 + 8, r->layout.magazines_per_node, s);
        for (uint32_t i = 0; i < n; i++)
                for (uint64_t off = (s[i].off + PAGE - 1) & ~UINT64_C(4095); off < s[i].end; off += PAGE)
                        ck_assert_msg(!has_page(off), "magazines %u: a page at %#lx", i, off);
        for (uint32_t mark = 0; mark < marks_n(r); mark++)
                assert_pages_below(mark);
        ck_assert_uint_eq(r->header->sweep, 0);
        n_removals = 0;
        ck_assert_uint_eq(sweep_beyond_marks(t, r->fd, UINT64_MAX), 0);
        ck_assert_uint_eq(n_removals, 0);
}
END_TEST

START_TEST(no_more_than_is_asked_for_comes_back)
{
        uint64_t bytes;

        touch_all();
        bytes = sweep_beyond_marks(t, r->fd, 256 << 10);
        ck_assert_uint_ge(bytes, 256 << 10);
        ck_assert_uint_le(bytes, 384 << 10);
}
END_TEST

/* ------------------------------------------------------------------ others in the midst of it */

static uint32_t raised_mark;
static uint64_t raised_to;

/* As far as it goes, when a piece of its tables is about to go. */
static int
raise_meanwhile(uint64_t off)
{
        (void)off;
        if (raised_to != 0 || sweep_owner(r->header->sweep) == 0 || sweep_mark(r->header->sweep) != raised_mark)
                return 0;
        while (raise_once(raised_mark) == 0)
                continue;
        raised_to = marks_value(r, raised_mark);
        ck_assert_uint_eq(raised_to, sweep_limit(r->header->sweep));
        return 0;
}

START_TEST(mark_that_rises_while_a_piece_goes_stays_below_it)
{
        static const uint32_t marks[] = {SWEEP_CHUNKS, SWEEP_THREADS, SWEEP_MAGAZINES};
        uint64_t before;

        raised_mark = marks[_i];
        raised_to = 0;
        before = marks_value(r, raised_mark);
        touch_all();
        on_removal = raise_meanwhile;
        sweep_beyond_marks(t, r->fd, UINT64_MAX);
        on_removal = NULL;
        ck_assert_uint_ge(raised_to, 2 * before + (raised_mark == SWEEP_CHUNKS ? 64 : 17));
        assert_pages_below(raised_mark);
        while (marks_value(r, raised_mark) < marks_limit(r, raised_mark))
                ck_assert_int_eq(raise_once(raised_mark), 0);
        assert_pages_below(raised_mark);
}
END_TEST

#ifdef __x86_64__

/* After each instruction of the sweeper: as soon as the word names a piece, the mark has risen as far as it goes, and
 * did so before the word was there. */
static void
have_risen(int signal, siginfo_t *info, void *context)
{
        uint64_t word = r->header->sweep;

        (void)signal;
        (void)info;
        if (raised_to != 0 || sweep_owner(word) == 0 || sweep_mark(word) != SWEEP_MAGAZINES)
                return;
        r->header->sweep = 0;
        while (raise_once(SWEEP_MAGAZINES) == 0 && marks_value(r, SWEEP_MAGAZINES) < r->layout.magazines_per_node)
                continue;
        r->header->sweep = word;
        raised_to = marks_value(r, SWEEP_MAGAZINES);
        ck_assert_uint_gt(raised_to, sweep_limit(word));
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
}

START_TEST(piece_that_the_mark_has_passed_stays)
{
        struct sigaction action = {.sa_sigaction = have_risen, .sa_flags = SA_SIGINFO};

        ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
        raised_to = 0;
        touch_all();
        __asm__ volatile("leaq -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
                                 : "cc", "memory");
        sweep_beyond_marks(t, r->fd, UINT64_MAX);
        ck_assert_uint_eq(raised_to, r->layout.magazines_per_node);
        ck_assert_uint_eq(r->header->sweep, 0);
        assert_pages_below(SWEEP_MAGAZINES);
}
END_TEST

#endif

/* The chunk that is about to go is raised over, and cannot be had; the next one can. */
static int
give_meanwhile(uint64_t off)
{
        uint64_t chunk = (off - r->layout.chunks_off) >> GEO_CHUNK_SHIFT;

        if (off < r->layout.chunks_off || raised_to != 0)
                return 0;
        raised_to = chunk;
        while (region_chunks_hwm(r) <= chunk + 1)
                ck_assert_int_eq(region_raise_chunks(r, region_chunks_hwm(r)), 0);
        ck_assert_uint_eq(chunk_owner(r->chunk_words[chunk]), t->no);
        ck_assert_int_eq(chunk_sweep(fx.threads + 1, chunk), -EBUSY);
        ck_assert_int_eq(chunk_sweep(fx.threads + 1, chunk + 1), -EBUSY); /* below the mark by now */
        return 0;
}

START_TEST(chunk_that_is_swept_is_raised_over_and_free_afterwards)
{
        heap_attach(&fx, 0);
        raised_to = 0;
        touch_all();
        on_removal = give_meanwhile;
        sweep_beyond_marks(t, r->fd, UINT64_MAX);
        ck_assert_uint_ne(raised_to, 0);
        ck_assert_uint_eq(chunk_state(r->chunk_words[raised_to]), CHUNK_FREE);
        ck_assert_uint_eq(chunk_owner(r->chunk_words[raised_to]), 0);
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert(chunk_find_free(r, raised_to, raised_to + 1) == (int64_t)raised_to);
}
END_TEST

START_TEST(second_sweeper_leaves_the_tables_to_the_first)
{
        touch_all();
        r->header->sweep = sweep_word(7, SWEEP_ROOTS, 40);
        ck_assert_uint_eq(sweep_beyond_marks(t, r->fd, UINT64_MAX), (N_CHUNKS - 1) * 2 * PAGE);
        ck_assert_uint_eq(r->header->sweep, sweep_word(7, SWEEP_ROOTS, 40));
}
END_TEST

/* ------------------------------------------------------------------ refused */

static int
refuse(uint64_t off)
{
        (void)off;
        return EPERM;
}

START_TEST(who_may_not_give_back_tries_once_and_leaves_nothing)
{
        touch_all();
        on_removal = refuse;
        n_removals = 0;
        ck_assert_uint_eq(sweep_beyond_marks(t, r->fd, UINT64_MAX), 0);
        ck_assert_uint_eq(n_removals, 2); /* a piece, and a chunk */
        ck_assert_uint_eq(r->header->sweep, 0);
        ck_assert_uint_eq(t->slot->candidate, 0);
        for (uint64_t chunk = 1; chunk < N_CHUNKS; chunk++)
                ck_assert_uint_eq(r->chunk_words[chunk], 0);
}
END_TEST

START_TEST(without_the_descriptor_nothing_is_swept)
{
        touch_all();
        ck_assert_int_eq(close(r->fd), 0);
        n_removals = 0;
        sweep_now(t);
        ck_assert_uint_eq(n_removals, 0);
        r->fd = -1; /* for teardown */
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("unit/sweep");
        TCase *tc = tcase_create("sweep");

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_set_timeout(tc, 120);
        tcase_add_test(tc, strays_beyond_the_marks_come_back);
        tcase_add_test(tc, no_more_than_is_asked_for_comes_back);
        tcase_add_loop_test(tc, mark_that_rises_while_a_piece_goes_stays_below_it, 0, 3);
#ifdef __x86_64__
        tcase_add_test(tc, piece_that_the_mark_has_passed_stays);
#endif
        tcase_add_test(tc, chunk_that_is_swept_is_raised_over_and_free_afterwards);
        tcase_add_test(tc, second_sweeper_leaves_the_tables_to_the_first);
        tcase_add_test(tc, who_may_not_give_back_tries_once_and_leaves_nothing);
        tcase_add_test(tc, without_the_descriptor_nothing_is_swept);
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
