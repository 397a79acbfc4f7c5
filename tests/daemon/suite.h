/*
 * suite.h - the main() of a test of the daemon: one suite, one directory, emptied around each test.
 */
#ifndef DAEMON_SUITE_H
#define DAEMON_SUITE_H

#include <check.h>
#include <stdlib.h>

#include "daemon/rig.h"

static inline int
suite_run(const char *name, const char *folder, const TTest *const tests[], size_t n)
{
        Suite *s = suite_create(name);
        TCase *tc = tcase_create(folder);
        SRunner *runner;
        int n_failed;

        for (size_t i = 0; i < n; i++)
                tcase_add_test(tc, tests[i]);
        tcase_add_checked_fixture(tc, rig_empty, rig_empty);
        suite_add_tcase(s, tc);
        rig_create(folder);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_ENV);
        n_failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        rig_remove();
        return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define SUITE_RUN(name, folder, ...)                                                                                   \
        suite_run(name, folder, (const TTest *const[]){__VA_ARGS__},                                                   \
                  sizeof((const TTest *const[]){__VA_ARGS__}) / sizeof(const TTest *))

#endif
