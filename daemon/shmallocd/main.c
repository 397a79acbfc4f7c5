/*
 * main.c - shmallocd: sets heaps up, settles the dead at once, gives unused memory back.
 *
 * One thread, one event loop, nothing that waits.  What the daemon knows it can find out again: killed and started
 * anew, it adopts its heaps, finds their clients in their tables, and settles who died meanwhile.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/error.h"
#include "common/output.h"
#include "common/protocol.h"
#include "common/text.h"
#include "os/descriptor.h"
#include "region/options.h"
#include "shmallocd/daemon.h"
#include "shmallocd/helper.h"
#include "shmallocd/log.h"

enum {
        LOOK_US = 2000000,  /* between two looks at the helpers */
        STOP_US = 5000000,  /* for the helpers to end */
        FDS_RESERVED = 128, /* of the limit, for everything but clients */
        FDS_WANTED = 1 << 20
};

uint64_t
daemon_now_us(const struct daemon *d)
{
        uint64_t us = 0;

        sd_event_now(d->event, CLOCK_MONOTONIC, &us);
        return us;
}

/* ------------------------------------------------------------------ start and end */

/* Ready once each heap has been tried: with none of them there would be nothing to do. */
static void
become_ready(struct daemon *d)
{
        uint32_t n = 0, n_kept = 0;

        for (const struct kept *k = d->heaps; k; k = k->next, n++) {
                if (!k->has_answered)
                        return;
                n_kept += k->was_ever_kept;
        }
        if (n > 0 && n_kept == 0) {
                log_line(LOG_ERR, NULL,
                         n == 1 ? "the heap cannot be kept: giving up" : "none of %u heaps can be kept: giving up", n);
                d->exit_status = 1;
                sd_event_exit(d->event, 0);
                return;
        }
        d->is_ready = true;
        log_line(LOG_NOTICE, NULL, "ready: %u of %u heaps, socket %s, up to %u client%s watched", n_kept, n, d->socket,
                 d->watches_max, text_s(d->watches_max));
        sd_notifyf(0, "READY=1\nSTATUS=%u of %u heaps kept", n_kept, n);
}

void
daemon_heap_answered(struct daemon *d)
{
        if (d->has_begun && !d->is_ready && !d->is_stopping)
                become_ready(d);
        if (d->is_stopping && !d->heaps)
                sd_event_exit(d->event, 0);
}

static int
on_stop_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
        struct daemon *d = arg;

        (void)source, (void)usec;
        for (const struct kept *k = d->heaps; k; k = k->next) {
                log_line(LOG_WARNING, k->config.name, "helper %d does not end: it is killed", k->helper_pid);
                if (k->helper_pid != 0)
                        kill(k->helper_pid, SIGKILL);
        }
        return sd_event_exit(d->event, 0);
}

static int
on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
        struct talk unlink_it = {.kind = TALK_UNLINK};
        struct daemon *d = arg;

        (void)source;
        if (d->is_stopping)
                return 0;
        d->is_stopping = true;
        log_line(LOG_NOTICE, NULL, "signal %s: stopping, the heaps %s", sigabbrev_np((int)info->ssi_signo),
                 d->unlinks ? "are removed" : "stay as they are");
        sd_notify(0, "STOPPING=1");
        server_close(d);
        sd_event_add_time_relative(d->event, NULL, CLOCK_MONOTONIC, STOP_US, 0, on_stop_timeout, d);
        for (struct kept *k = d->heaps, *next; k; k = next) {
                next = k->next;
                if (d->unlinks)
                        kept_say(k, &unlink_it);
                kept_leave(k);
        }
        daemon_heap_answered(d);
        return 0;
}

/* ------------------------------------------------------------------ reading the configuration again */

static const struct heap_config *
find_config(const struct config *config, const char *name)
{
        for (size_t i = 0; i < config->n_heaps; i++)
                if (strcmp(config->heaps[i].name, name) == 0)
                        return &config->heaps[i];
        return NULL;
}

static void
apply(struct daemon *d, const struct config *config)
{
        for (struct kept *k = d->heaps, *next; k; k = next) {
                const struct heap_config *heap = find_config(config, k->config.name);

                next = k->next;
                if (heap && k->state != HEAP_LEAVING) {
                        kept_change(k, heap);
                } else if (!heap) {
                        log_line(LOG_NOTICE, k->config.name, "not in the configuration any more: it is left as it is");
                        kept_leave(k);
                }
        }
        for (size_t i = 0; i < config->n_heaps; i++)
                if (!kept_find_name(d, config->heaps[i].name))
                        kept_add(d, &config->heaps[i]);
}

static int
on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
        char error[CONFIG_ERROR_MAX];
        struct daemon *d = arg;
        struct config config;

        (void)source, (void)info;
        if (!d->config_path) {
                log_line(LOG_NOTICE, NULL,
                         "signal HUP: the heap was given on the command line, there is no file to read");
                return 0;
        }
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)daemon_now_us(d));
        config_init(&config);
        if (config_read(&config, d->config_path, error) < 0) {
                log_line(LOG_ERR, NULL, "%s", error);
                log_line(LOG_ERR, NULL, "signal HUP: everything stays as it was");
        } else {
                log_line(LOG_NOTICE, NULL, "signal HUP: %s read again, %zu heap%s", d->config_path, config.n_heaps,
                         text_s(config.n_heaps));
                apply(d, &config);
        }
        config_fini(&config);
        sd_notify(0, "READY=1");
        return 0;
}

static int
on_clock(sd_event_source *source, uint64_t usec, void *arg)
{
        struct daemon *d = arg;

        for (struct kept *k = d->heaps; k; k = k->next)
                kept_look_after(k);
        watch_seek(d);
        log_flush(false);
        sd_event_source_set_time(source, usec + LOOK_US);
        return sd_event_source_set_enabled(source, SD_EVENT_ON);
}

/* ------------------------------------------------------------------ arguments */

enum {
        KEY_CONFIG = 'c',
        KEY_SOCKET = 's',
        KEY_HEAP = 'H',
        KEY_UNLINK = 'u',
        KEY_CHECK = 512,
        KEY_HELPER,
        KEY_QUIET = 'q',
        KEY_VERBOSE = 'v',
        KEY_FIRST_OPTION = 1024
};

/* argp finds it by name, and could not if it were hidden. */
__attribute__((visibility("default"))) const char *argp_program_version = "shmallocd " SHMALLOC_VERSION;

struct args {
        const char *config_path, *socket;
        struct heap_config heap;
        bool has_heap, has_options, is_helper, is_check, unlinks;
};

static error_t
parse_option(int key, char *arg, struct argp_state *state)
{
        struct args *args = state->input;
        char error[CONFIG_ERROR_MAX];
        size_t idx = (size_t)(key - KEY_FIRST_OPTION);

        if (key < KEY_FIRST_OPTION || idx >= config_n_keys)
                return ARGP_ERR_UNKNOWN;
        args->has_options = true;
        if (!heap_config_set(&args->heap, config_keys[idx].name, arg, error))
                argp_error(state, "--%s: %s", config_keys[idx].name, error);
        return 0;
}

static void
parse_end(struct argp_state *state, struct args *args)
{
        if (args->has_options && !args->has_heap)
                argp_error(state, "the options of a heap want its name: --heap=NAME");
        if (args->has_heap && args->config_path)
                argp_error(state, "--heap and --config exclude each other");
        if (args->is_helper && !args->has_heap)
                argp_error(state, "--helper is the daemon's own affair");
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
        struct args *args = state->input;

        switch (key) {
        case KEY_CONFIG:
                args->config_path = arg;
                return 0;
        case KEY_SOCKET:
                if (arg[0] != '/' || strlen(arg) >= sizeof((struct daemon *)0)->socket)
                        argp_error(state, "--socket=%s: valid is an absolute path of at most 107 bytes", arg);
                args->socket = arg;
                return 0;
        case KEY_HEAP:
                if (!name_is_valid(arg))
                        argp_error(state, "--heap=%s: valid are 1 to 63 of A-Z a-z 0-9 . _ -, no leading dot", arg);
                snprintf(args->heap.name, sizeof args->heap.name, "%s", arg);
                args->has_heap = true;
                return 0;
        case KEY_UNLINK:
                args->unlinks = true;
                return 0;
        case KEY_CHECK:
                args->is_check = true;
                return 0;
        case KEY_HELPER:
                args->is_helper = true;
                return 0;
        case KEY_QUIET:
                log_set_max(LOG_WARNING);
                return 0;
        case KEY_VERBOSE:
                log_set_max(LOG_DEBUG);
                return 0;
        case ARGP_KEY_END:
                parse_end(state, args);
                return 0;
        default:
                return parse_option(key, arg, state);
        }
}

static char *
filter_help(int key, const char *text, void *input)
{
        (void)input;
        if (key == ARGP_KEY_HELP_EXTRA)
                return strdup("Exit status: 0 ended by a signal, or the configuration is valid, 1 it cannot work, "
                              "2 usage or configuration.");
        return (char *)(uintptr_t)text;
}

/* The options of a heap are the keys of the configuration. */
static void
parse_arguments(int argc, char **argv, struct args *args)
{
        char default_config[PATH_MAX + 16] = "Default: ";
        const struct argp_option own[] = {
                {"config", KEY_CONFIG, "FILE", 0, default_config, 1},
                {"socket", KEY_SOCKET, "PATH", 0,
                 "Default: as the configuration says, else SHMALLOC_SOCKET, else " PROTOCOL_SOCKET, 1},
                {"unlink", KEY_UNLINK, NULL, 0, "Remove the heaps at the end, which else stay as they are", 1},
                {"check-config", KEY_CHECK, NULL, 0, "Only say whether the configuration is valid", 1},
                {"quiet", KEY_QUIET, NULL, 0, "Log warnings and errors only", 1},
                {"verbose", KEY_VERBOSE, NULL, 0, "Log each client, too", 1},
                {"helper", KEY_HELPER, NULL, OPTION_HIDDEN, NULL, 1},
                {NULL, 0, NULL, 0, "A single heap, instead of a configuration file:", 2},
                {"heap", KEY_HEAP, "NAME", 0, "Keep this heap", 2},
        };
        enum { N_OWN = sizeof own / sizeof own[0] };
        struct argp_option *options = calloc(N_OWN + config_n_keys + 1, sizeof *options);
        struct argp argp = {.parser = parse,
                            .help_filter = filter_help,
                            .doc = "Sets up heaps, settles what dead clients leave at once, gives unused memory back.\v"
                                   "SIGHUP reads the configuration again; SIGTERM ends the daemon and leaves the heaps "
                                   "as they are.  Clients need no daemon: it may be killed at any time."};

        if (!options)
                exit(1);
        config_default_path(default_config + strlen(default_config));
        memcpy(options, own, sizeof own);
        for (size_t i = 0; i < config_n_keys; i++)
                options[N_OWN + i] = (struct argp_option){.name = config_keys[i].name,
                                                          .key = KEY_FIRST_OPTION + (int)i,
                                                          .arg = config_keys[i].value,
                                                          .doc = config_keys[i].help,
                                                          .group = 2};
        argp.options = options;
        argp_err_exit_status = 2;
        argp_parse(&argp, argc, argv, ARGP_NO_ARGS, NULL, args);
        free(options);
}

/* ------------------------------------------------------------------ all of it */

static bool
read_config(struct daemon *d, const struct args *args)
{
        static char path[PATH_MAX]; /* it is read again */
        char error[CONFIG_ERROR_MAX];

        config_init(&d->config);
        if (args->has_heap) {
                d->config.heaps = malloc(sizeof *d->config.heaps);
                if (!d->config.heaps || !heap_config_check(&args->heap, error)) {
                        fprintf(stderr, "shmallocd: %s\n", d->config.heaps ? error : "no memory");
                        return false;
                }
                d->config.heaps[d->config.n_heaps++] = args->heap;
                return true;
        }
        config_default_path(path);
        d->config_path = args->config_path ? args->config_path : path;
        if (config_read(&d->config, d->config_path, error) == 0)
                return true;
        fprintf(stderr, "shmallocd: %s\n", error);
        return false;
}

/* What the command line and the configuration say has been looked at; what the environment says counts only where they
 * say nothing. */
static bool
choose_socket(struct daemon *d, const struct args *args)
{
        const char *socket = args->socket;

        if (!socket && d->config.socket[0])
                socket = d->config.socket;
        if (!socket)
                socket = options_env(OPTIONS_ENV_SOCKET);
        if (socket && (socket[0] != '/' || strlen(socket) >= sizeof d->socket)) {
                fprintf(stderr,
                        "shmallocd: SHMALLOC_SOCKET: \"%s\" is no socket: valid is an absolute path of at most %zu "
                        "bytes\n",
                        socket, sizeof d->socket - 1);
                return false;
        }
        snprintf(d->socket, sizeof d->socket, "%s", socket ? socket : PROTOCOL_SOCKET);
        return true;
}

/* A descriptor for each client: as many as there may be. */
static void
raise_limits(struct daemon *d)
{
        struct rlimit limit = {0};

        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max < FDS_WANTED ? limit.rlim_max : FDS_WANTED;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                getrlimit(RLIMIT_NOFILE, &limit);
        d->watches_max = limit.rlim_cur > 2 * FDS_RESERVED + 2 * d->config.n_heaps
                                 ? (uint32_t)(limit.rlim_cur - FDS_RESERVED - 2 * d->config.n_heaps)
                                 : (uint32_t)limit.rlim_cur / 2;
}

static int
prepare(struct daemon *d)
{
        sigset_t set;
        int err;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGTTOU, SIG_IGN); /* its helpers', too: a terminal must stop nobody who logs to it (stty tostop) */
        raise_limits(d);
        err = sd_event_default(&d->event);
        if (err >= 0)
                err = sd_event_add_signal(d->event, NULL, SIGTERM, on_stop, d);
        if (err >= 0)
                err = sd_event_add_signal(d->event, NULL, SIGINT, on_stop, d);
        if (err >= 0)
                err = sd_event_add_signal(d->event, NULL, SIGHUP, on_reload, d);
        if (err >= 0)
                err = sd_event_add_time_relative(d->event, &d->clock_source, CLOCK_MONOTONIC, LOOK_US, 100000, on_clock,
                                                 d);
        if (err < 0)
                log_line(LOG_ERR, NULL, "no event loop: %s", error_name(err));
        else
                sd_event_set_watchdog(d->event, true);
        return err < 0 ? err : 0;
}

static int
run(struct daemon *d)
{
        int err = prepare(d);

        if (err < 0)
                return 1;
        d->started_us = daemon_now_us(d);
        if (server_open(d) < 0)
                return 1;
        for (size_t i = 0; i < d->config.n_heaps; i++)
                kept_add(d, &d->config.heaps[i]);
        d->has_begun = true;
        daemon_heap_answered(d);
        err = sd_event_loop(d->event);
        if (err < 0)
                log_line(LOG_ERR, NULL, "the event loop ended: %s", error_name(err));
        server_close(d);
        log_flush(true);
        return err < 0 ? 1 : d->exit_status;
}

int
main(int argc, char **argv)
{
        static struct daemon d = {.listen_fd = -1, .spare_fd = -1};
        struct args args = {.is_helper = false};
        struct descriptor_plugs plugs;
        int status;

        output_guard("shmallocd", 1);
        descriptor_plug(&plugs); /* for good: what we log goes into no heap and no socket, if 0 to 2 are closed */
        heap_config_init(&args.heap, "");
        parse_arguments(argc, argv, &args);
        if (args.is_helper)
                return helper_main(&args.heap);
        if (!read_config(&d, &args))
                return 2;
        if (args.is_check) {
                printf(d.config.n_heaps == 1 ? "%zu heap, valid\n" : "%zu heaps, all valid\n", d.config.n_heaps);
                return 0;
        }
        d.unlinks = args.unlinks;
        status = choose_socket(&d, &args) ? run(&d) : 2;
        config_fini(&d.config);
        return status;
}
