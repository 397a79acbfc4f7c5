#include "support/region_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

static char dir[64];

/* ------------------------------------------------------------------ the directory */

static void
dir_remove_files(const char *path)
{
        DIR *d = opendir(path);
        const struct dirent *entry;
        char file[512];

        while (d != NULL && (entry = readdir(d)) != NULL) {
                snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(file) != 0)
                        rmdir(file);
        }
        if (d != NULL)
                closedir(d);
}

static void
dir_create(void)
{
        snprintf(dir, sizeof dir, "/dev/shm/shmalloc-test-%d-XXXXXX", (int)getpid());
        if (mkdtemp(dir) == NULL || setenv("SHMALLOC_DIR", dir, 1) != 0)
                abort();
        unsetenv("SHMALLOC_CONF");
}

static void
dir_remove(void)
{
        dir_remove_files(dir);
        rmdir(dir);
}

static void
dir_empty(void)
{
        dir_remove_files(dir);
}

TCase *
region_dir_case(Suite *suite, const char *name)
{
        TCase *tcase = tcase_create(name);

        tcase_add_unchecked_fixture(tcase, dir_create, dir_remove);
        tcase_add_checked_fixture(tcase, dir_empty, NULL);
        suite_add_tcase(suite, tcase);
        return tcase;
}

const char *
region_dir_name(void)
{
        return dir;
}

const char *
region_dir_path(const char *name)
{
        static char path[256];

        snprintf(path, sizeof path, "%s/shmalloc.%s", dir, name);
        return path;
}

int
region_dir_count(void)
{
        DIR *d = opendir(dir);
        int n = 0;

        ck_assert_ptr_nonnull(d);
        while (readdir(d) != NULL)
                n++;
        closedir(d);
        return n - 2;
}

void
region_dir_plant(const char *name, const void *bytes, size_t n, off_t size)
{
        int fd = open(region_dir_path(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
        ck_assert_int_eq(ftruncate(fd, size), 0);
        close(fd);
}

/* ------------------------------------------------------------------ opening */

struct region_open_args
args_of(unsigned flags, uint64_t capacity)
{
        struct region_open_args args = {.flags = flags};
        struct options_given given = {.capacity = capacity};

        ck_assert_int_eq(options_resolve(&given, &args.options), 0);
        return args;
}

int
try_open(struct region *ret, const char *name, unsigned flags)
{
        struct region_open_args args = args_of(flags, UINT64_C(16) << 20);

        return region_open(ret, name, &args);
}

struct region
must_open(const char *name, unsigned flags)
{
        struct region r;

        ck_assert_msg(try_open(&r, name, flags) == 0, "opening %s: %s", name, error_message());
        return r;
}

void
must_refuse(const char *name, unsigned flags, int expected, const char *fragment)
{
        struct region r = {.fd = 4711};
        int err = try_open(&r, name, flags);

        ck_assert_msg(err == expected, "%s: got %d instead of %d (%s)", name, err, expected, error_message());
        ck_assert_msg(strstr(error_message(), fragment) != NULL, "\"%s\" lacks \"%s\"", error_message(), fragment);
        ck_assert_int_eq(r.fd, 4711); /* untouched */
}

void
must_create(const char *name)
{
        struct region r = must_open(name, REGION_CREATE | REGION_EXCL);

        region_close(&r);
}

int
status_of_child(int (*fn)(void *arg), void *arg)
{
        pid_t pid = fork();
        int status;

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                _exit(fn(arg));
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}
