/*
 * What is at stake: a program loads and unloads plugins without knowing what they use.  Its threads end long after the
 * plugin has gone, and whatever the library has asked the C library to call then must still be there; loaded again, the
 * plugin finds its heaps.  And two plugins may bring a library each.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin.h"

enum { N_LOADS = 10 };

static const char name[] = "plugin";
static char dir[] = "/dev/shm/shmalloc-plugin-XXXXXX";
static pid_t host;

static void
clean_up(void)
{
        char path[64];

        if (getpid() != host)
                return;
        snprintf(path, sizeof path, "%s/shmalloc.%s", dir, name);
        unlink(path);
        rmdir(dir);
}

#define MUST(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        fail(__LINE__, #claim, "is not so");                                                           \
        } while (0)

#define MUST_WORK(call)                                                                                                \
        do {                                                                                                           \
                const char *must_error = (call);                                                                       \
                if (must_error)                                                                                        \
                        fail(__LINE__, #call, must_error);                                                             \
        } while (0)

__attribute__((noreturn)) static void
fail(int line, const char *what, const char *why)
{
        fprintf(stderr, "host.c:%d: %s: %s\n", line, what, why);
        clean_up();
        _exit(1);
}

static void *
load(const char *file, const struct plugin **ret_plugin)
{
        void *loaded = dlopen(file, RTLD_NOW | RTLD_LOCAL);

        if (!loaded)
                fail(__LINE__, file, dlerror());
        *ret_plugin = dlsym(loaded, "plugin");
        MUST(*ret_plugin);
        return loaded;
}

static void
use(const struct plugin *plugin)
{
        uint64_t ref;

        MUST_WORK(plugin->open(name, 0));
        MUST_WORK(plugin->allocate(&ref));
        MUST_WORK(plugin->free_block(ref));
        MUST_WORK(plugin->close());
}

/* ------------------------------------------------------------------ unloading */

static const struct plugin *plugin_now;
static pthread_barrier_t turn;

static void
take_turns(void)
{
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
}

/* Of a pool: uses the plugin as it is loaded at that moment. */
static void *
user(void *arg)
{
        for (int i = 0; i < N_LOADS; i++) {
                use(plugin_now);
                take_turns(); /* unloaded, and loaded again */
        }
        return arg;
}

static void *
user_once(void *arg)
{
        use(plugin_now);
        return arg;
}

/* The fork handlers of what was unloaded are gone, or can still be called. */
static void
fork_now(void)
{
        pid_t pid = fork();
        int status;

        MUST(pid >= 0);
        if (pid == 0)
                _exit(0);
        MUST(waitpid(pid, &status, 0) == pid);
        MUST(status == 0);
}

static void
unload(const char *file)
{
        void *loaded = load(file, &plugin_now);
        pthread_t thread, other;
        uint64_t ref;

        MUST(pthread_barrier_init(&turn, NULL, 2) == 0);
        MUST(pthread_create(&thread, NULL, user, NULL) == 0);
        for (int i = 0; i < N_LOADS; i++) {
                pthread_barrier_wait(&turn); /* used, and closed */
                MUST(pthread_create(&other, NULL, user_once, NULL) == 0);
                MUST(pthread_join(other, NULL) == 0);
                MUST(dlclose(loaded) == 0);
                fork_now();
                loaded = load(file, &plugin_now);
                use(plugin_now);
                pthread_barrier_wait(&turn);
        }
        MUST(dlclose(loaded) == 0);
        MUST(pthread_join(thread, NULL) == 0); /* ends after its last plugin has gone */

        /* With a heap open. */
        loaded = load(file, &plugin_now);
        MUST_WORK(plugin_now->open(name, 0));
        MUST_WORK(plugin_now->allocate(&ref));
        MUST(dlclose(loaded) == 0);
        fork_now();
        loaded = load(file, &plugin_now);
        MUST_WORK(plugin_now->open(name, 0));
        MUST_WORK(plugin_now->free_block(ref));
        MUST_WORK(plugin_now->close());
        MUST_WORK(plugin_now->remove(name));
        MUST(dlclose(loaded) == 0);
}

/* ------------------------------------------------------------------ two copies */

static void
copies(const char *file, const char *other_file)
{
        const struct plugin *one, *other;
        const char *error;
        uint64_t ref;

        load(file, &one);
        load(other_file, &other);
        MUST_WORK(one->open(name, 0));
        error = other->open(name, 0);
        MUST(error && strstr(error, "another copy of this library"));
        MUST_WORK(other->open(name, 1));
        MUST_WORK(one->allocate(&ref));
        MUST_WORK(other->free_block(ref));
        MUST_WORK(other->allocate(&ref));
        MUST_WORK(one->free_block(ref));
        fork_now();
        MUST_WORK(other->close());
        MUST_WORK(one->close());
        use(other); /* one after the other they need no two addresses */
        use(one);
        MUST_WORK(one->remove(name));
}

int
main(int argc, char **argv)
{
        host = getpid();
        if (!mkdtemp(dir) || setenv("SHMALLOC_DIR", dir, 1) < 0)
                return 1;
        if (argc == 3 && strcmp(argv[1], "unload") == 0)
                unload(argv[2]);
        else if (argc == 4 && strcmp(argv[1], "copies") == 0)
                copies(argv[2], argv[3]);
        else
                fail(__LINE__, "usage", "host unload PLUGIN | copies PLUGIN PLUGIN");
        clean_up();
        return 0;
}
