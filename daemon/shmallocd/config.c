/*
 * config.c - see config.h.
 *
 * The file has lines: a section [NAME] for each heap, and key = value; # or ; begins a comment, by itself or behind
 * either.  What stands before the first section is the daemon's own.  Nothing is guessed: a line that is not understood
 * is an error, with its number.
 */
#include "shmallocd/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "common/text.h"
#include "region/header.h"
#include "region/options.h"
#include <shmalloc/shmalloc.h>

#define DECAY_MS_MAX     INT64_C(1000000000000)
#define CONFIG_BYTES_MAX 1048576

#define TEXT_OF(x)  TEXT_OF2(x)
#define TEXT_OF2(x) #x

static const char *const policies[] = {"local", "interleave", "bind", "strict"};

/* ------------------------------------------------------------------ values */

static bool
set_bytes(const char *value, uint64_t *ret)
{
        return text_parse_bytes(value, ret) && *ret <= LAYOUT_CAPACITY_MAX;
}

static bool
set_u32(const char *value, unsigned base, uint64_t min, uint64_t max, uint32_t *ret)
{
        uint64_t number;

        if (!text_parse_number(value, base, min, max, &number))
                return false;
        *ret = (uint32_t)number;
        return true;
}

static bool
set_capacity(struct heap_config *h, const char *value)
{
        return set_bytes(value, &h->capacity);
}

static bool
set_max_capacity(struct heap_config *h, const char *value)
{
        return set_bytes(value, &h->max_capacity);
}

static bool
set_mode(struct heap_config *h, const char *value)
{
        uint32_t mode;

        if (!set_u32(value, 8, 0, 0666, &mode) || (mode & 0600) != 0600 || (mode & ~0666u) != 0)
                return false;
        h->mode = mode;
        return true;
}

static bool
set_owner(struct heap_config *h, const char *value)
{
        const struct passwd *user;
        uint32_t uid;

        if (set_u32(value, 10, 0, UINT32_MAX - 1, &uid)) {
                h->uid = uid;
                user = getpwuid(uid);
        } else {
                user = getpwnam(value);
        }
        if (user) {
                h->uid = user->pw_uid;
                if (h->gid == (gid_t)-1)
                        h->gid = user->pw_gid;
        }
        return user || set_u32(value, 10, 0, UINT32_MAX - 1, &uid);
}

static bool
set_group(struct heap_config *h, const char *value)
{
        const struct group *group;
        uint32_t gid;

        if (set_u32(value, 10, 0, UINT32_MAX - 1, &gid)) {
                h->gid = gid;
                return true;
        }
        group = getgrnam(value);
        if (group)
                h->gid = group->gr_gid;
        return group != NULL;
}

static bool
set_max_clients(struct heap_config *h, const char *value)
{
        return set_u32(value, 10, 1, 65535, &h->max_clients);
}

static bool
set_max_threads(struct heap_config *h, const char *value)
{
        return set_u32(value, 10, THREADS_MIN, THREAD_NO_MAX, &h->max_threads);
}

static bool
set_arenas(struct heap_config *h, const char *value)
{
        return set_u32(value, 10, 1, 64, &h->arenas);
}

/* "all", or numbers and ranges: "0,2-3". */
static bool
set_nodes(struct heap_config *h, const char *value)
{
        uint64_t mask = 0;
        const char *at = value;

        if (strcmp(value, "all") == 0) {
                h->numa_nodes = 0;
                return true;
        }
        do {
                char *end;
                unsigned long first, last;

                if (!isdigit((unsigned char)*at))
                        return false;
                first = last = strtoul(at, &end, 10);
                if (*end == '-' && isdigit((unsigned char)end[1]))
                        last = strtoul(end + 1, &end, 10);
                if (first > last || last >= NODE_MAX || (*end != ',' && *end != '\0'))
                        return false;
                for (unsigned long node = first; node <= last; node++)
                        mask |= UINT64_C(1) << node;
                at = end;
        } while (*at++ == ',');
        h->numa_nodes = mask;
        return true;
}

static bool
set_policy(struct heap_config *h, const char *value)
{
        for (uint32_t i = 0; i < sizeof policies / sizeof policies[0]; i++)
                if (strcmp(value, policies[i]) == 0) {
                        h->numa_policy = i;
                        return true;
                }
        return false;
}

static bool
set_decay_ms(struct heap_config *h, const char *value)
{
        uint64_t ms;

        if (strcmp(value, "-1") == 0 || strcmp(value, "never") == 0) {
                h->decay_ms = -1;
                return true;
        }
        if (!text_parse_number(value, 10, 0, (uint64_t)DECAY_MS_MAX, &ms))
                return false;
        h->decay_ms = (int64_t)ms;
        return true;
}

static bool
set_yes_or_no(const char *value, bool *ret)
{
        if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
                return false;
        *ret = strcmp(value, "yes") == 0;
        return true;
}

static bool
set_replace_stale(struct heap_config *h, const char *value)
{
        return set_yes_or_no(value, &h->replaces_stale);
}

static bool
set_disk(struct heap_config *h, const char *value)
{
        return set_yes_or_no(value, &h->is_on_disk);
}

static bool
set_page_size(struct heap_config *h, const char *value)
{
        if (strcasecmp(value, "4K") != 0 && strcmp(value, "4096") != 0)
                return false;
        h->page_shift = 12;
        return true;
}

/* ------------------------------------------------------------------ keys */

const struct config_key config_keys[] = {
        {"capacity", "BYTES", "for blocks, with K, M, G or T; up to 2T; default: half of memory, at most 64G"},
        {"max_capacity", "BYTES", "that it may be grown to; capacity up to 2T; default: capacity"},
        {"mode", "OCTAL", "of its file: 0600 and perhaps 0066 of it; default 0600"},
        {"owner", "USER", "name or number; default: the user of the daemon"},
        {"group", "GROUP", "name or number; default: the owner's"},
        {"max_clients", "N", "processes at a time, 1 to 65535; default 4096"},
        {"max_threads", "N",
         "threads at a time and one more per process, 2 to 65534; default: one per 32 KiB of "
         "max_capacity, 2048 to 16384"},
        {"arenas", "N", "per NUMA node, 1 to 64; default: its CPUs"},
        {"nodes", "LIST", "NUMA nodes, 0 to 63, as in 0,2-3, or all; default all"},
        {"policy", "WORD", "local, interleave, bind or strict; default local"},
        {"decay_ms", "MS",
         "milliseconds until unused memory is given back, 0 to 1000000000000, or -1 or never; default 10000"},
        {"page_size", "SIZE", "4K; default 4K"},
        {"replace_stale", "yes|no", "a heap of another layout that nobody has open is replaced; default no"},
        {"disk", "yes|no", "its file may lie on a disk, where blocks may end in SIGBUS; default no"},
};
const size_t config_n_keys = sizeof config_keys / sizeof config_keys[0];

static bool (*const setters[])(struct heap_config *h, const char *value) = {
        set_capacity, set_max_capacity, set_mode,   set_owner,    set_group,     set_max_clients,   set_max_threads,
        set_arenas,   set_nodes,        set_policy, set_decay_ms, set_page_size, set_replace_stale, set_disk,
};

_Static_assert(sizeof setters / sizeof setters[0] == sizeof config_keys / sizeof config_keys[0], "one for each");

/* Appends "a, b, c". */
static void
list_keys(char *buf, size_t size)
{
        size_t n = strlen(buf);

        for (size_t i = 0; i < config_n_keys && n < size; i++)
                n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? ", " : "", config_keys[i].name);
}

bool
heap_config_set(struct heap_config *heap, const char *key, const char *value, char error[CONFIG_ERROR_MAX])
{
        for (size_t i = 0; i < config_n_keys; i++) {
                if (strcmp(key, config_keys[i].name) != 0)
                        continue;
                if (setters[i](heap, value))
                        return true;
                snprintf(error, CONFIG_ERROR_MAX, "\"%.80s\" is no %s: valid is %s: %s", value, key,
                         config_keys[i].value, config_keys[i].help);
                return false;
        }
        snprintf(error, CONFIG_ERROR_MAX, "a heap has no option \"%.40s\"; there are ", key);
        list_keys(error, CONFIG_ERROR_MAX);
        return false;
}

static void
print_nodes(uint64_t mask, char *buf, size_t size)
{
        size_t n = 0;

        buf[0] = '\0';
        for (unsigned node = 0; node < NODE_MAX && n < size; node++)
                if (mask >> node & 1)
                        n += (size_t)snprintf(buf + n, size - n, "%s%u", n ? "," : "", node);
}

bool
heap_config_get(const struct heap_config *h, size_t key_idx, char *buf, size_t size)
{
        const uint64_t numbers[] = {
                h->capacity, h->max_capacity, h->mode,        h->uid, h->gid,        h->max_clients,    h->max_threads,
                h->arenas,   h->numa_nodes,   h->numa_policy, 0,      h->page_shift, h->replaces_stale, h->is_on_disk};

        if (setters[key_idx] == set_mode)
                snprintf(buf, size, "%04o", h->mode);
        else if (setters[key_idx] == set_decay_ms)
                snprintf(buf, size, "%" PRId64, h->decay_ms);
        else if (setters[key_idx] == set_nodes)
                print_nodes(h->numa_nodes, buf, size);
        else if (setters[key_idx] == set_policy)
                snprintf(buf, size, "%s", policies[h->numa_policy]);
        else if (setters[key_idx] == set_page_size)
                snprintf(buf, size, "4K");
        else if (setters[key_idx] == set_replace_stale)
                snprintf(buf, size, "%s", h->replaces_stale ? "yes" : "no");
        else if (setters[key_idx] == set_disk)
                snprintf(buf, size, "%s", h->is_on_disk ? "yes" : "no");
        else
                snprintf(buf, size, "%" PRIu64, numbers[key_idx]);
        if (setters[key_idx] == set_decay_ms)
                return h->decay_ms != INT64_MIN;
        if (setters[key_idx] == set_group)
                return h->gid != (gid_t)-1;
        return numbers[key_idx] != 0 || setters[key_idx] == set_owner;
}

void
heap_config_conf(const struct heap_config *h, char *buf, size_t size)
{
        int n = 0;

        buf[0] = '\0';
        if (h->arenas)
                n = snprintf(buf, size, "arenas:%u", h->arenas);
        if (h->decay_ms != INT64_MIN)
                n += snprintf(buf + n, size - (size_t)n, "%sdecay_ms:%" PRId64, n ? "," : "", h->decay_ms);
        if (h->is_on_disk)
                snprintf(buf + n, size - (size_t)n, "%sdisk:true", n ? "," : "");
}

bool
heap_config_check(const struct heap_config *h, char error[CONFIG_ERROR_MAX])
{
        struct options_given given = {
                .capacity = h->capacity,
                .max_capacity = h->max_capacity,
                .max_clients = h->max_clients,
                .max_threads = h->max_threads,
                .page_shift = h->page_shift,
                .mode = h->mode,
                .numa_policy = h->numa_policy,
                .numa_nodes = h->numa_nodes,
        };
        struct options options;
        char conf[128];

        heap_config_conf(h, conf, sizeof conf);
        given.conf = conf;
        if (options_resolve(&given, &options) < 0) {
                snprintf(error, CONFIG_ERROR_MAX, "heap \"%s\": %s", h->name, error_message());
                return false;
        }
        if (geteuid() != 0 && (h->uid != geteuid() || (h->gid != (gid_t)-1 && h->gid != getegid()))) {
                snprintf(error, CONFIG_ERROR_MAX,
                         "heap \"%s\": owner %u and group %u: only a daemon of root keeps heaps for others than "
                         "itself, uid %u and gid %u",
                         h->name, h->uid, h->gid, geteuid(), getegid());
                return false;
        }
        return true;
}

/* ------------------------------------------------------------------ files */

void
config_init(struct config *config)
{
        *config = (struct config){.socket_mode = 0666};
}

void
config_fini(struct config *config)
{
        free(config->heaps);
        config_init(config);
}

void
heap_config_init(struct heap_config *heap, const char *name)
{
        *heap = (struct heap_config){
                .mode = 0600, .uid = geteuid(), .gid = (gid_t)-1, .decay_ms = INT64_MIN, .page_shift = 12};
        snprintf(heap->name, sizeof heap->name, "%s", name);
}

struct reader {
        struct config *config;
        const char *path;
        unsigned line;
        char *error;
};

static int __attribute__((format(printf, 2, 3))) complain(struct reader *reader, const char *fmt, ...)
{
        char text[CONFIG_ERROR_MAX];
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        snprintf(reader->error, CONFIG_ERROR_MAX, "%.120s:%u: %.380s", reader->path, reader->line, text);
        return -EINVAL;
}

static char *
trim(char *text)
{
        size_t n;

        while (isspace((unsigned char)*text))
                text++;
        n = strlen(text);
        while (n > 0 && isspace((unsigned char)text[n - 1]))
                text[--n] = '\0';
        return text;
}

/* A comment begins the line, or has white space before it. */
static void
cut_comment(char *text)
{
        for (char *at = text; *at; at++)
                if ((*at == '#' || *at == ';') && (at == text || isspace((unsigned char)at[-1]))) {
                        *at = '\0';
                        return;
                }
}

static int
read_section(struct reader *reader, char *text)
{
        struct config *config = reader->config;
        size_t length = strlen(text);
        struct heap_config *heaps;

        if (text[length - 1] != ']')
                return complain(reader, "\"%.80s\": a section is [NAME], NAME being a heap's", text);
        text[length - 1] = '\0';
        text = trim(text + 1);
        if (!name_is_valid(text))
                return complain(reader,
                                "\"%.80s\" is no name of a heap: valid are 1 to %u of A-Z a-z 0-9 . _ -, no "
                                "leading dot",
                                text, LAYOUT_NAME_MAX);
        for (size_t i = 0; i < config->n_heaps; i++)
                if (strcmp(config->heaps[i].name, text) == 0)
                        return complain(reader, "heap \"%s\" has a section already, in line %u", text,
                                        config->heaps[i].line);
        if (config->n_heaps == CONFIG_HEAPS_MAX)
                return complain(reader, "more than %d heaps", CONFIG_HEAPS_MAX);
        heaps = realloc(config->heaps, (config->n_heaps + 1) * sizeof *heaps);
        if (!heaps)
                return complain(reader, "no memory");
        config->heaps = heaps;
        heap_config_init(&heaps[config->n_heaps], text);
        heaps[config->n_heaps++].line = reader->line;
        return 0;
}

static int
read_global(struct reader *reader, const char *key, const char *value)
{
        struct config *config = reader->config;

        if (strcmp(key, "socket") == 0) {
                if (value[0] != '/' || strlen(value) >= sizeof config->socket)
                        return complain(reader,
                                        "\"%.80s\" is no socket: valid is an absolute path of at most %zu bytes", value,
                                        sizeof config->socket - 1);
                snprintf(config->socket, sizeof config->socket, "%s", value);
                return 0;
        }
        if (strcmp(key, "socket_mode") == 0) {
                if (!set_u32(value, 8, 0, 0777, &config->socket_mode))
                        return complain(reader, "\"%.80s\" is no socket_mode: valid is octal, 0 to 0777", value);
                return 0;
        }
        return complain(reader,
                        "there is no option \"%.40s\" before the first section; there are socket and socket_mode "
                        "(the options of a heap belong below its [NAME])",
                        key);
}

static int
read_line(struct reader *reader, char *text)
{
        struct config *config = reader->config;
        char error[CONFIG_ERROR_MAX], *equals, *key, *value;

        cut_comment(text);
        text = trim(text);
        if (text[0] == '\0')
                return 0;
        if (text[0] == '[')
                return read_section(reader, text);
        equals = strchr(text, '=');
        if (!equals)
                return complain(reader, "\"%.80s\": valid is key = value, [NAME], or a # and a comment", text);
        *equals = '\0';
        key = trim(text);
        value = trim(equals + 1);
        if (config->n_heaps == 0)
                return read_global(reader, key, value);
        if (!heap_config_set(&config->heaps[config->n_heaps - 1], key, value, error))
                return complain(reader, "%s", error);
        return 0;
}

/* Line by line; then each heap as a whole, by the line of its section. */
static int
read_lines(struct reader *reader, FILE *f)
{
        char *line = NULL, error[CONFIG_ERROR_MAX];
        size_t size = 0;
        ssize_t n, room = CONFIG_BYTES_MAX;
        int err = 0;

        while (err == 0 && (n = getline(&line, &size, f)) >= 0) {
                reader->line++;
                room -= n;
                err = room < 0                    ? complain(reader, "more than %d bytes by now", CONFIG_BYTES_MAX)
                      : strlen(line) == (size_t)n ? read_line(reader, line)
                                                  : complain(reader, "a NUL byte");
        }
        free(line);
        if (err == 0 && ferror(f))
                return complain(reader, "cannot be read: %s", strerror(errno));
        for (size_t i = 0; err == 0 && i < reader->config->n_heaps; i++) {
                reader->line = reader->config->heaps[i].line;
                if (!heap_config_check(&reader->config->heaps[i], error))
                        err = complain(reader, "%s", error);
        }
        return err;
}

/* ------------------------------------------------------------------ where it is */

/* Where an installed program's configuration lies, by the name of the program: below the prefix, of /usr in /etc.
 * False: it is not installed, but in the folder where it was built, say. */
static bool
path_below_prefix(const char *program, char *buf, size_t size)
{
        static const char end[] = "/" SHMALLOCD_SBINDIR "/";
        const char *file = strrchr(program, '/');
        size_t length = file ? (size_t)(file + 1 - program) : 0;

        if (length < sizeof end - 1 || memcmp(file + 1 - (sizeof end - 1), end, sizeof end - 1) != 0)
                return false;
        length -= sizeof end - 1;
        if (length == 4 && memcmp(program, "/usr", 4) == 0)
                length = 0;
        return snprintf(buf, size, "%.*s/" SHMALLOCD_SYSCONFDIR "/shmalloc/shmallocd.conf", (int)length, program) <
               (int)size;
}

void
config_default_path(char path[PATH_MAX])
{
        char program[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

        program[n > 0 ? n : 0] = '\0';
        if (SHMALLOCD_SYSCONFDIR[0] == '/')
                snprintf(path, PATH_MAX, SHMALLOCD_SYSCONFDIR "/shmalloc/shmallocd.conf");
        else if (!path_below_prefix(program, path, PATH_MAX))
                snprintf(path, PATH_MAX, CONFIG_FILE_DEFAULT);
}

/* ------------------------------------------------------------------ reading */

/* Of a FIFO, opening would wait for a writer, and reading for as long as it likes; a device may do anything. */
static int
open_regular(const char *path, char error[CONFIG_ERROR_MAX])
{
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        const char *why = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                why = strerror(errno);
        else if (!S_ISREG(st.st_mode))
                why = header_file_type(&st);
        else if (st.st_size > CONFIG_BYTES_MAX)
                why = "a file of more than " TEXT_OF(CONFIG_BYTES_MAX) " bytes";
        if (!why)
                return fd;
        if (fd < 0)
                snprintf(error, CONFIG_ERROR_MAX, "cannot open %.200s: %s", path, why);
        else
                snprintf(error, CONFIG_ERROR_MAX, "%.200s is no configuration: it is %s", path, why);
        if (fd >= 0)
                close(fd);
        return -EINVAL;
}

int
config_read(struct config *config, const char *path, char error[CONFIG_ERROR_MAX])
{
        struct reader reader = {.config = config, .path = path, .error = error};
        int err, fd = open_regular(path, error);
        FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;

        if (fd < 0)
                return fd;
        if (!f) {
                snprintf(error, CONFIG_ERROR_MAX, "no memory");
                close(fd);
                return -ENOMEM;
        }
        err = read_lines(&reader, f);
        fclose(f);
        return err;
}
