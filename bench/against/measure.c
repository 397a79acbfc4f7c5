/*
 * measure.c - time and instructions of stretches of work.
 *
 * Time is what passes.  Of many stretches the lower quartile says what the work takes: others can only have made it
 * slower.  A stretch that takes less than its clock can tell is made longer by its row.  The CPU time of the thread
 * would leave out what else runs, but it is a system call of 1.4 us, in guests it is wrong by half a tick, and after
 * each the branches are learned again: of hits, which take 3 ns, it made 12 (2026-11-30).
 *
 * Instructions: callgrind runs the program with --collect-atstart=no, and collects between the two calls only.  Whether
 * it collects is a thread's own affair, so a thread that a row starts may be measured as well.
 */
#include <stdlib.h>
#include <time.h>

#include "against/against.h"
#include "common/callgrind.h"

enum { STRETCHES_MAX = 1 << 16 };

static struct {
        double at; /* measure_begin() */
        double ns[STRETCHES_MAX];
        size_t n;
        uint64_t n_ops;
        bool is_counting;
} m;

static double
now(clockid_t clock)
{
        struct timespec ts;

        clock_gettime(clock, &ts);
        return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

void
measure_begin(void)
{
        if (m.is_counting)
                CALLGRIND_TOGGLE_COLLECT;
        else
                m.at = now(CLOCK_MONOTONIC);
}

void
measure_end(uint64_t n)
{
        if (m.is_counting)
                CALLGRIND_TOGGLE_COLLECT;
        else if (m.n < STRETCHES_MAX)
                m.ns[m.n++] = (now(CLOCK_MONOTONIC) - m.at) / (double)n;
        m.n_ops += n;
}

static int
by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

double
measure_time(void (*work)(void), double seconds)
{
        double end;

        for (int i = 0; i < 3; i++) /* warms up */
                work();
        m.n = 0;
        end = now(CLOCK_MONOTONIC) + seconds * 1e9;
        do
                work();
        while (m.n < STRETCHES_MAX && (m.n < 5 || now(CLOCK_MONOTONIC) < end));
        qsort(m.ns, m.n, sizeof m.ns[0], by_value);
        return m.ns[m.n / 4];
}

uint64_t
measure_count(void (*work)(void), int n_warm, int n_counted)
{
        for (int i = 0; i < n_warm; i++)
                work();
        m.is_counting = true;
        m.n_ops = 0;
        for (int i = 0; i < n_counted; i++)
                work();
        m.is_counting = false;
        return m.n_ops;
}

bool
measure_can_count(void)
{
        return CAN_COUNT;
}
