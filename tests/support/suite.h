/*
 * suite.h - how a test program runs its suite.
 */
#ifndef SUPPORT_SUITE_H
#define SUPPORT_SUITE_H

#include <stdlib.h>

#include "support/checks.h"

/* A group of the suite's functions, each run between before() and after(). */
static inline TCase *
suite_case(Suite *suite, const char *name, void (*before)(void), void (*after)(void))
{
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, before, after);
        suite_add_tcase(suite, tcase);
        return tcase;
}

/* Runs the suite, and says what main() is to return.  CK_VERBOSITY and the like are obeyed. */
static inline int
suite_run(Suite *suite)
{
        SRunner *runner = srunner_create(suite);
        int n_failed;

        srunner_run_all(runner, CK_ENV);
        n_failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
