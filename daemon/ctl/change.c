/*
 * change.c - the verbs that change a heap: `reap` and `purge`, as a client like any other, and `rm`.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "common/text.h"
#include "ctl/ctl.h"
#include "region/name.h"
#include "region/open.h"
#include "region/stale.h"
#include <shmalloc/shmalloc.h>

enum { NOBODY = 65534 };

static uint64_t
figure(shheap *h, const char *name)
{
        uint64_t value = 0;
        size_t length = sizeof value;

        return shheap_ctl(h, name, &value, &length, NULL, 0) == 0 ? value : 0;
}

/*
 * A process that may write to a heap can make another one that allocates in it store anywhere in its own memory
 * (SECURITY.md), and can make the kernel follow forged links when a thread of that one dies.  So root does not work in
 * a heap as root, but becomes the owner of its file; or nobody at all, if the file is root's and others may write to
 * it.  The descriptor is opened before, and it is that very file that is mapped.
 */
static int
give_up_root(const struct stat *st)
{
        uid_t uid = st->st_uid != 0 || (st->st_mode & 0022) == 0 ? st->st_uid : NOBODY;

        if (geteuid() != 0 || uid == 0)
                return 0;
        if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(uid, uid, uid) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_set(-errno, "cannot become user %u, and root does not work in this heap: %s", uid,
                                 error_name(errno));
        return 0;
}

static int
open_client(shheap **ret, const char *name)
{
        char file[NAME_FILE_BYTES];
        struct stat st;
        int dirfd, fd, err = name_to_file(name, file);

        if (err < 0 || geteuid() != 0)
                return err < 0 ? err : shheap_open(ret, name, SHHEAP_RELOCATABLE, NULL);
        dirfd = name_open_dir();
        if (dirfd < 0)
                return dirfd;
        fd = name_open_file(dirfd, file, false);
        close(dirfd);
        if (fd < 0)
                return error_set(fd, "cannot open heap \"%s\" in %s: %s", name, name_dir(), error_name(fd));
        err = fstat(fd, &st) < 0 ? error_set(-errno, "heap \"%s\": %s", name, error_name(errno)) : give_up_root(&st);
        if (err == 0)
                err = shheap_open_fd(ret, fd, SHHEAP_RELOCATABLE);
        close(fd);
        return err;
}

/* With the message of err, if it is one: the status.  Who has come to tidy up is not left behind as a dead client. */
static int
close_client(shheap *h, int err)
{
        int status = err < 0 ? ctl_fail(err) : CTL_GOOD;

        err = shheap_close(h);
        return status == CTL_GOOD && err < 0 ? ctl_fail(err) : status;
}

int
verb_reap(int argc, char **argv)
{
        struct ctl_args args = {.wants = CTL_WANTS_NAME};
        uint64_t before, after;
        shheap *h;
        int n;

        ctl_parse(argc, argv, &args, NULL, NULL,
                  "Settles what dead threads and processes left in a heap, and gives their places back.\vClients do so "
                  "by themselves before they run "
                  "out of memory; a daemon does it at once.");
        n = open_client(&h, args.name);
        if (n < 0)
                return ctl_fail(n);
        before = figure(h, "stats.reaped");
        n = shheap_reap(h);
        if (n < 0)
                return close_client(h, n);
        after = figure(h, "stats.reaped");
        printf("heap %s: %" PRIu64 " dead thread%s settled, %" PRIu64 " ever\n", args.name, after - before,
               text_s(after - before), after);
        if (n > 0)
                printf("%d %s left, which another process is at settling\n", n, n == 1 ? "is" : "are");
        return close_client(h, 0);
}

/* ------------------------------------------------------------------ purge */

enum { KEY_NODE = 'n', KEY_FORCE = 'f', KEY_STALE = 512 };

struct change_args {
        struct ctl_args common;
        int node; /* -1 = all */
        bool is_forced, is_stale;
};

static error_t
change_option(int key, char *arg, struct argp_state *state)
{
        struct change_args *args = state->input;
        uint64_t value;

        switch (key) {
        case KEY_NODE:
                if (!text_parse_number(arg, 10, 0, NODE_MAX - 1, &value))
                        argp_error(state, "--node=%s: 0 to %u is possible", arg, NODE_MAX - 1);
                args->node = (int)value;
                return 0;
        case KEY_FORCE:
                args->is_forced = true;
                return 0;
        case KEY_STALE:
                args->is_stale = true;
                args->common.wants = CTL_WANTS_OPTIONAL; /* without a name: all */
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

int
verb_purge(int argc, char **argv)
{
        static const struct argp_option options[] = {{"node", KEY_NODE, "N", 0, "Memory of this NUMA node only", 0},
                                                     {0}};
        struct change_args args = {.common = {.wants = CTL_WANTS_NAME}, .node = -1};
        char before[TEXT_BYTES_MAX], after[TEXT_BYTES_MAX];
        shheap *h;
        int err;

        ctl_parse(argc, argv, &args.common, options, change_option,
                  "Gives back to the system what no block of a heap lies in, now.\v"
                  "The dead are settled before, as reap does it: what they had cached is given back, too.");
        err = open_client(&h, args.common.name);
        if (err < 0)
                return ctl_fail(err);
        text_bytes(before, figure(h, "stats.mapped"));
        err = shheap_reap(h);
        if (err >= 0)
                err = shheap_purge(h, args.node);
        if (err < 0)
                return close_client(h, err);
        printf("heap %s: occupied %s, now %s\n", args.common.name, before,
               text_bytes(after, figure(h, "stats.mapped")));
        return close_client(h, 0);
}

/* ------------------------------------------------------------------ rm */

/* CTL_GOOD: nobody uses it, and the dead do not count.  What cannot even be opened as a heap has no users. */
static int
check_unused(const char *name)
{
        const struct client_view *living = NULL;
        char state[CLIENT_TEXT_MAX];
        struct client_views clients;
        struct view v;
        uint32_t n = 0;
        int err = view_open(&v, name);

        if (err == -ENODEV || err == -EBADMSG || err == -EPROTO)
                return CTL_GOOD;
        if (err < 0)
                return ctl_fail(err);
        clients_read(&v.region, &clients);
        for (uint32_t i = 0; i < clients.n; i++)
                if (client_is_living(&clients.all[i])) {
                        n++;
                        living = &clients.all[i];
                }
        if (n > 0)
                fprintf(stderr,
                        "shmallocctl: heap \"%s\" has %u client%s, process %u%s (%s): end %s, or give --force, and it "
                        "is "
                        "%s until then\n",
                        name, n, text_s(n), living->pid_here ? living->pid_here : living->pid, n == 1 ? "" : " for one",
                        client_state_text(state, living), n == 1 ? "it" : "them", n == 1 ? "its own" : "theirs");
        clients_free(&clients);
        view_close(&v);
        return n == 0 ? CTL_GOOD : CTL_FAULTS;
}

/* 0; -EEXIST: it is no heap of another layout; or -errno and a message. */
static int
remove_stale(const char *name)
{
        char file[NAME_FILE_BYTES], what[LAYOUT_NAME_MAX + 16];
        int dirfd, err = name_to_file(name, file);

        if (err < 0)
                return err;
        snprintf(what, sizeof what, "heap \"%s\"", name);
        dirfd = name_open_dir();
        if (dirfd < 0)
                return dirfd;
        err = stale_remove(dirfd, file, what);
        close(dirfd);
        if (err == 0)
                printf("heap %s: of another layout, and nobody had it open: removed\n", name);
        return err;
}

/* What is no stale heap stays, and so does what is in use; only the latter is said, and is a fault. */
static int
remove_if_stale(const char *name, void *arg)
{
        int *status = arg, err = remove_stale(name);

        if (err < 0 && err != -EEXIST)
                *status = ctl_fail(err);
        return 0;
}

static int
rm_stale(const char *name)
{
        int status = CTL_GOOD, err = name ? remove_stale(name) : region_list(remove_if_stale, &status);

        if (err == -EEXIST) {
                struct view v;

                err = view_open(&v, name); /* or says why not */
                if (err < 0)
                        return ctl_fail(err);
                view_close(&v);
                fprintf(stderr, "shmallocctl: heap \"%s\" is of this layout: it stays\n", name);
                return CTL_FAULTS;
        }
        return err < 0 ? ctl_fail(err) : status;
}

int
verb_rm(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"force", KEY_FORCE, NULL, 0, "Also if it has clients: they keep it until they close it", 0},
                {"stale", KEY_STALE, NULL, 0,
                 "Only if it is of another layout and nobody has it open; without NAME: all such", 0},
                {0}};
        struct change_args args = {.common = {.wants = CTL_WANTS_NAME, .usage = "NAME\n--stale [NAME]"}};
        int err, status;

        ctl_parse(argc, argv, &args.common, options, change_option,
                  "Removes a heap's name.  Its memory goes when the last client has closed it.");
        if (args.is_stale)
                return rm_stale(args.common.name);
        status = args.is_forced ? CTL_GOOD : check_unused(args.common.name);
        if (status != CTL_GOOD)
                return status;
        err = shheap_unlink(args.common.name);
        return err < 0 ? ctl_fail(err) : CTL_GOOD;
}
