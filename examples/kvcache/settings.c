/*
 * settings.c - see settings.h.
 */
#include "settings.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared.h"

struct settings settings = {.n_workers = 2,
                            .port = 6380,
                            .address = "127.0.0.1",
                            .max_bytes = UINT64_C(256) << 20,
                            .max_buffer_bytes = UINT64_C(1) << 30,
                            .max_clients = 10000};

static const char usage[] =
        "Usage: kvcache [OPTION...]\n"
        "A cache server that speaks the Redis protocol.  Its workers are processes that share one table in a shmalloc\n"
        "heap; each answers for every key, and each may be killed at any moment.\n"
        "\n"
        "  -p, --port=N          port to listen at, 0: any free one (default 6380)\n"
        "  -b, --bind=ADDRESS    IPv4 address to listen at (default 127.0.0.1; there is no password)\n"
        "  -w, --workers=N       processes that serve, 1 to 63 (default 2)\n"
        "  -m, --max-memory=SIZE bytes of keys and values, with what they cost beside; beyond it, what has not been "
        "read\n"
        "                        for longest goes (default 256M; suffixes K, M, G)\n"
        "  -n, --name=NAME       of the heap (default kvcache-PORT); one that a killed server left is taken over\n"
        "  -k, --keep            leave the heap, and all that is in it, for the next start\n"
        "      --buckets=N       of the table (default: one for each 512 bytes of --max-memory)\n"
        "      --max-clients=N   connections of each worker (default 10000)\n"
        "      --max-buffers=SIZE bytes that connections of a worker may hold in all; beyond it, those that want more\n"
        "                        are closed (default 1G)\n"
        "  -q, --quiet           say nothing but errors\n"
        "      --check           serve nobody: check a heap with its table, and count what is in it.  Exact while no\n"
        "                        client is at work.  Status 1 if something is wrong\n"
        "  -h, --help            this text\n"
        "  -V, --version         of the library that it was made for\n"
        "\n"
        "Status: 0 ended by SIGTERM or SIGINT, 1 failed, 2 bad arguments.\n"
        "Try:    kvcache &  redis-cli -p 6380 set greeting hello;  pkill -KILL -o -P $!;  redis-cli -p 6380 get "
        "greeting\n";

static _Noreturn void
refuse(const char *option, const char *value, const char *wanted)
{
        fprintf(stderr, "kvcache: --%s: '%s' is not %s; see kvcache --help\n", option, value, wanted);
        exit(2);
}

static uint64_t
parse_number(const char *option, const char *value, uint64_t min, uint64_t max)
{
        char *end;
        unsigned long long n;

        errno = 0;
        n = strtoull(value, &end, 10);
        if (errno != 0 || end == value || *end != '\0' || *value == '-' || n < min || n > max) {
                char wanted[80];

                snprintf(wanted, sizeof wanted, "a number from %llu to %llu", (unsigned long long)min,
                         (unsigned long long)max);
                refuse(option, value, wanted);
        }
        return n;
}

static uint64_t
parse_size(const char *option, const char *value, uint64_t min)
{
        static const char suffixes[] = "KMGkmg";
        char *end;
        unsigned long long n;
        const char *suffix;
        int shift = 0;

        errno = 0;
        n = strtoull(value, &end, 10);
        suffix = *end ? strchr(suffixes, *end) : NULL;
        if (suffix) {
                shift = 10 * (int)((suffix - suffixes) % 3 + 1);
                end++;
        }
        if (errno != 0 || end == value || *end != '\0' || *value == '-' || n > (UINT64_C(64) << 30) >> shift ||
            n << shift < min)
                refuse(option, value, "a size in bytes, at least 1M and at most 64G, like 256M");
        return n << shift;
}

static void
copy_text(char *to, size_t room, const char *option, const char *value)
{
        if (strlen(value) >= room || *value == '\0')
                refuse(option, value, "short enough");
        strcpy(to, value);
}

enum { OPTION_BUCKETS = 256, OPTION_MAX_CLIENTS, OPTION_MAX_BUFFERS, OPTION_CHECK };

static void
apply(int option, const char *value)
{
        struct settings *s = &settings;

        switch (option) {
        case 'p':
                s->port = (unsigned)parse_number("port", value, 0, 65535);
                break;
        case 'b':
                copy_text(s->address, sizeof s->address, "bind", value);
                break;
        case 'w':
                s->n_workers = (unsigned)parse_number("workers", value, 1, WORKERS_MAX);
                break;
        case 'm':
                s->max_bytes = parse_size("max-memory", value, 1 << 20);
                break;
        case 'n':
                copy_text(s->heap_name, sizeof s->heap_name, "name", value);
                break;
        case 'k':
                s->is_kept = true;
                break;
        case 'q':
                s->is_quiet = true;
                break;
        case OPTION_BUCKETS:
                s->n_buckets = parse_number("buckets", value, 1, UINT64_C(1) << 30);
                break;
        case OPTION_MAX_CLIENTS:
                s->max_clients = (unsigned)parse_number("max-clients", value, 1, 1000000);
                break;
        case OPTION_MAX_BUFFERS:
                s->max_buffer_bytes = parse_size("max-buffers", value, 1 << 20);
                break;
        case OPTION_CHECK:
                s->is_check = true;
                break;
        case 'V':
                printf("kvcache, with shmalloc %d.%d\n", SHMALLOC_VERSION_MAJOR, SHMALLOC_VERSION_MINOR);
                exit(fflush(stdout) == 0 ? 0 : 1);
        case 'h':
                fputs(usage, stdout);
                exit(fflush(stdout) == 0 ? 0 : 1);
        default:
                fputs("Try kvcache --help.\n", stderr);
                exit(2);
        }
}

void
settings_parse(int argc, char **argv)
{
        static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                                {"bind", required_argument, NULL, 'b'},
                                                {"workers", required_argument, NULL, 'w'},
                                                {"max-memory", required_argument, NULL, 'm'},
                                                {"name", required_argument, NULL, 'n'},
                                                {"keep", no_argument, NULL, 'k'},
                                                {"quiet", no_argument, NULL, 'q'},
                                                {"buckets", required_argument, NULL, OPTION_BUCKETS},
                                                {"max-clients", required_argument, NULL, OPTION_MAX_CLIENTS},
                                                {"max-buffers", required_argument, NULL, OPTION_MAX_BUFFERS},
                                                {"check", no_argument, NULL, OPTION_CHECK},
                                                {"help", no_argument, NULL, 'h'},
                                                {"version", no_argument, NULL, 'V'},
                                                {NULL, 0, NULL, 0}};
        int option;

        while ((option = getopt_long(argc, argv, "p:b:w:m:n:kqhV", options, NULL)) != -1)
                apply(option, optarg);
        if (optind < argc) {
                fprintf(stderr, "kvcache: '%s' is not an option; see kvcache --help\n", argv[optind]);
                exit(2);
        }
        if (settings.is_check && settings.heap_name[0] == '\0' && settings.port == 0)
                refuse("check", "port 0", "a heap: name it with --name");
}
