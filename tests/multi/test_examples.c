/*
 * What is at stake: the examples are what users copy.  They must end well, give the same result whoever is killed
 * meanwhile, and leave neither a heap nor a process behind, however they end.  The programs themselves are run, with a
 * folder of their own for heaps.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/suite.h"

enum { N_FILES = 40, WORDS_PER_FILE = 2500, N_VOCABULARY = 3000, OUTPUT_MAX = 1 << 16, ARGS_MAX = 12 };

static char programs[PATH_MAX]; /* where the examples lie */
static char heaps[64], texts[64];
static uint32_t n_distinct; /* words in the texts */

/* ------------------------------------------------------------------ texts */

/* Letters only, different for different numbers, and some of them much more frequent than others. */
static void
write_words(FILE *out, uint32_t *seed, bool *is_used)
{
        for (int i = 0; i < WORDS_PER_FILE; i++) {
                uint32_t a, b, n;
                *seed = *seed * 1664525 + 1013904223;
                a = *seed >> 8;
                *seed = *seed * 1664525 + 1013904223;
                b = *seed >> 8;
                n = (uint32_t)((uint64_t)(a % N_VOCABULARY) * (b % N_VOCABULARY) / N_VOCABULARY);
                n_distinct += !is_used[n];
                is_used[n] = true;
                fprintf(out, "%s", i % 12 == 11 ? "\n" : " ");
                do
                        fprintf(out, "%c%c", "bcdfghjklm"[n % 10], "aeiouAEIOU"[n / 10 % 5 + (i % 7 == 0 ? 5 : 0)]);
                while ((n /= 50) > 0);
        }
}

/* Two letters for each digit of base 50, so no two numbers share a word; 0 is "ba". */
static void
make_texts(void)
{
        bool is_used[N_VOCABULARY] = {false};
        uint32_t seed = 1;
        char path[128];

        n_distinct = 0;
        for (int i = 0; i < N_FILES; i++) {
                FILE *out;
                snprintf(path, sizeof path, "%s/%02d.txt", texts, i);
                out = fopen(path, "w");
                ck_assert_ptr_nonnull(out);
                write_words(out, &seed, is_used);
                ck_assert_int_eq(fclose(out), 0);
        }
}

static int
n_entries(const char *folder)
{
        DIR *dir = opendir(folder);
        struct dirent *e;
        int n = 0;

        ck_assert_ptr_nonnull(dir);
        while ((e = readdir(dir)) != NULL)
                n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
        closedir(dir);
        return n;
}

static void
remove_folder(const char *folder)
{
        char path[PATH_MAX];
        struct dirent *e;
        DIR *dir = opendir(folder);

        while (dir && (e = readdir(dir)) != NULL) {
                snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
                unlink(path);
        }
        if (dir)
                closedir(dir);
        rmdir(folder);
}

static void
setup(void)
{
        strcpy(heaps, "/dev/shm/test-examples.XXXXXX");
        strcpy(texts, "/tmp/test-examples.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(heaps));
        ck_assert_ptr_nonnull(mkdtemp(texts));
        ck_assert_int_eq(setenv("SHMALLOC_DIR", heaps, 1), 0);
        make_texts();
}

static void
teardown(void)
{
        remove_folder(heaps);
        remove_folder(texts);
}

/* ------------------------------------------------------------------ programs */

struct child {
        pid_t pid; /* and process group */
        int out;
        char text[OUTPUT_MAX];
};

/* Starts an example; the arguments end with NULL. */
static void
start(struct child *c, const char *name, va_list list)
{
        char *args[ARGS_MAX] = {(char *)name}, path[PATH_MAX + 64];
        int pipes[2];

        for (int i = 1; i < ARGS_MAX && (args[i] = va_arg(list, char *)) != NULL; i++)
                ;
        snprintf(path, sizeof path, "%s/%s", programs, name);
        ck_assert_int_eq(pipe(pipes), 0);
        c->pid = fork();
        ck_assert_int_ge(c->pid, 0);
        if (c->pid == 0) {
                setpgid(0, 0);
                dup2(pipes[1], STDOUT_FILENO);
                close(pipes[0]);
                close(pipes[1]);
                execv(path, args);
                _exit(127);
        }
        setpgid(c->pid, c->pid);
        close(pipes[1]);
        c->out = pipes[0];
}

/* Its exit status; 128 + n for a signal.  Afterwards nothing of its process group is left. */
static int
finish(struct child *c)
{
        size_t n = 0;
        ssize_t got;
        int status;

        while ((got = read(c->out, c->text + n, sizeof c->text - 1 - n)) > 0)
                n += (size_t)got;
        c->text[n] = '\0';
        close(c->out);
        ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int
run(struct child *c, const char *name, ...)
{
        va_list list;

        va_start(list, name);
        start(c, name, list);
        va_end(list);
        return finish(c);
}

/* Starts it, and comes back once it has made its heap. */
static void
start_until_heap(struct child *c, const char *name, ...)
{
        struct pollfd pfd = {.fd = inotify_init1(IN_CLOEXEC), .events = POLLIN};
        va_list list;

        ck_assert_int_ge(inotify_add_watch(pfd.fd, heaps, IN_CREATE | IN_MOVED_TO), 0);
        va_start(list, name);
        start(c, name, list);
        va_end(list);
        ck_assert_int_eq(poll(&pfd, 1, -1), 1);
        close(pfd.fd);
}

/* ------------------------------------------------------------------ claims */

START_TEST(hello_says_hello)
{
        struct child c;

        ck_assert_int_eq(run(&c, "hello", NULL), 0);
        ck_assert_ptr_nonnull(strstr(c.text, "hello from"));
        ck_assert_int_eq(n_entries(heaps), 0);
}
END_TEST

START_TEST(consumers_free_what_producers_allocated)
{
        struct child c;

        ck_assert_int_eq(run(&c, "producer_consumer", "3", "2", "3000", NULL), 0);
        ck_assert_ptr_nonnull(strstr(c.text, "9000 messages"));
        ck_assert_ptr_nonnull(strstr(c.text, "\n0 blocks are left of them, 0 faults"));
        ck_assert_int_eq(n_entries(heaps), 0);
}
END_TEST

START_TEST(every_word_is_counted)
{
        struct child c;
        char expected[100];

        ck_assert_int_eq(run(&c, "wordindex", "-q", "-n", "0", texts, NULL), 0);
        snprintf(expected, sizeof expected, "%d words, %u distinct, in %d files; ", N_FILES * WORDS_PER_FILE,
                 n_distinct, N_FILES);
        c.text[strlen(expected)] = '\0';
        ck_assert_str_eq(c.text, expected);
}
END_TEST

START_TEST(the_number_of_workers_does_not_show_in_the_index)
{
        struct child one, many;

        ck_assert_int_eq(run(&one, "wordindex", "-q", "-n", "50", "-w", "1", texts, NULL), 0);
        ck_assert_int_eq(run(&many, "wordindex", "-q", "-n", "50", "-w", "7", texts, NULL), 0);
        ck_assert_str_eq(one.text, many.text);
        ck_assert_int_eq(n_entries(heaps), 0);
}
END_TEST

/* The program itself compares, file by file, and counts what is left in the heap. */
START_TEST(killed_workers_do_not_show_in_the_index)
{
        static const char *const seeds[] = {"1", "2", "3"};
        struct child quiet, killed;
        unsigned n_killed;

        ck_assert_int_eq(run(&quiet, "wordindex", "-q", "-w", "4", texts, NULL), 0);
        ck_assert_int_eq(run(&killed, "wordindex", "-w", "4", "--kill", "--seed", seeds[_i], texts, NULL), 0);
        ck_assert_int_eq(strncmp(quiet.text, killed.text, strlen(quiet.text)), 0);
        ck_assert_ptr_nonnull(strstr(killed.text, "the same as without kills"));
        ck_assert_ptr_nonnull(strstr(killed.text, "0 bytes in 0 blocks are left, as before"));
        ck_assert_ptr_nonnull(strstr(killed.text, "clean"));
        ck_assert_int_eq(sscanf(strstr(killed.text, "\nkills"), "\nkills %u", &n_killed), 1);
        ck_assert_uint_gt(n_killed, 0);
        ck_assert_int_eq(n_entries(heaps), 0);
}
END_TEST

START_TEST(interrupted_program_leaves_no_heap_and_no_process)
{
        static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
        struct child c;

        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        if (_i < 3)
                start_until_heap(&c, "wordindex", "-w", "3", "--kill", texts, texts, texts, NULL);
        else
                start_until_heap(&c, "producer_consumer", "2", "2", "100000000", NULL);
        kill(c.pid, signals[_i % 3]);
        ck_assert_int_eq(finish(&c), 128 + signals[_i % 3]);
        ck_assert_int_eq(n_entries(heaps), 0);
        while (waitpid(-c.pid, NULL, 0) > 0 || errno == EINTR)
                ;
        ck_assert_int_eq(kill(-c.pid, 0), -1);
}
END_TEST

/* The heap's file stays, as nobody is left to remove it; but its workers do not go on for nobody. */
START_TEST(workers_go_when_their_parent_is_killed)
{
        struct child c;

        ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
        start_until_heap(&c, "producer_consumer", "2", "2", "100000000", NULL);
        kill(c.pid, SIGKILL);
        ck_assert_int_eq(finish(&c), 128 + SIGKILL);
        while (waitpid(-c.pid, NULL, 0) > 0 || errno == EINTR)
                ;
        ck_assert_int_eq(kill(-c.pid, 0), -1);
}
END_TEST

START_TEST(kept_heap_stays_and_is_named)
{
        struct child c;

        ck_assert_int_eq(run(&c, "wordindex", "--keep", texts, NULL), 0);
        ck_assert_ptr_nonnull(strstr(c.text, "\nkept       heap wordindex."));
        ck_assert_int_eq(n_entries(heaps), 1);
}
END_TEST

START_TEST(bad_arguments_end_with_status_2)
{
        static const char *const args[][2] = {
                {"-w", "0"},
                {"-w", "65"},
                {"-w", "4x"},
                {"-n", "-1"},
                {"--seed", "z"},
                {"--wrong", "-q"},
                {"/no/such/file", "-q"},
                {"/dev/null", "-q"},
                {heaps, "-q"},
        };
        struct child c;

        ck_assert_int_eq(run(&c, "wordindex", args[_i][0], args[_i][1], NULL), 2);
        ck_assert_str_eq(c.text, "");
        ck_assert_int_eq(n_entries(heaps), 0);
}
END_TEST

START_TEST(full_output_device_is_an_error)
{
        struct child c;
        char path[PATH_MAX + 200];

        snprintf(path, sizeof path, "exec '%s/wordindex' '%s' >/dev/full", programs, texts);
        ck_assert_int_eq(WEXITSTATUS(system(path)), 1);
        ck_assert_int_eq(n_entries(heaps), 0);
        ck_assert_int_eq(run(&c, "wordindex", "--help", NULL), 0);
        ck_assert_ptr_nonnull(strstr(c.text, "Usage: wordindex"));
}
END_TEST

/* This program is .../tests/multi/examples; they are in .../examples. */
static bool
find_programs(void)
{
        ssize_t n = readlink("/proc/self/exe", programs, sizeof programs - 1);
        char path[PATH_MAX + 64];

        for (int i = 0; i < 3 && n > 0; i++)
                while (n > 0 && programs[--n] != '/')
                        ;
        if (n <= 0 || n + sizeof "/examples" > sizeof programs)
                return false;
        strcpy(programs + n, "/examples");
        snprintf(path, sizeof path, "%s/wordindex", programs);
        return access(path, X_OK) == 0;
}

int
main(void)
{
        Suite *suite = suite_create("examples");
        TCase *tc = tcase_create("examples");

        if (!find_programs()) {
                puts("the examples have not been built");
                return 0;
        }
        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, hello_says_hello);
        tcase_add_test(tc, consumers_free_what_producers_allocated);
        tcase_add_test(tc, every_word_is_counted);
        tcase_add_test(tc, the_number_of_workers_does_not_show_in_the_index);
        tcase_add_loop_test(tc, killed_workers_do_not_show_in_the_index, 0, 3);
        tcase_add_loop_test(tc, interrupted_program_leaves_no_heap_and_no_process, 0, 6);
        tcase_add_test(tc, workers_go_when_their_parent_is_killed);
        tcase_add_test(tc, kept_heap_stays_and_is_named);
        tcase_add_loop_test(tc, bad_arguments_end_with_status_2, 0, 9);
        tcase_add_test(tc, full_output_device_is_an_error);
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
