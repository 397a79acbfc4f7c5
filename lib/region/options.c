/*
 * options.c - see options.h.
 *
 * One table holds the keys, each with its parser and the words in which a bad value is answered, so a message can
 * always say what would have been right.  The weakest source is applied first and stronger ones overwrite it; only
 * the outcome is checked for sense as a whole.  A string that sets a key twice means the last one, and empty entries
 * are skipped, so that "$OLD,key:value" works with an empty OLD.
 */
#include "region/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/geometry.h"
#include "layout/layout.h"
#include "os/numa.h"

#define CAPACITY_DEFAULT_MAX (UINT64_C(64) << 30)
#define DECAY_MS_MAX         INT64_C(1000000000000) /* thirty years: sums with the time of day cannot overflow */
#define ARENAS_PER_NODE_MAX  UINT64_C(64)

/* What a thread may cache takes 154 KiB of the tables' address space, for each node: so a small heap is given fewer
 * slots, one for each half of a granule, but never so few that a thousand processes, which take two each, are
 * refused. */
enum { THREADS_DEFAULT_MIN = 2048, THREADS_DEFAULT_MAX = 16384 };

/* A piece of a conf string: not NUL-terminated. */
struct text {
        const char *p;
        size_t len;
};

/* ------------------------------------------------------------------ environment */

const char *
options_env(enum options_env var)
{
        static const char *const names[OPTIONS_ENV_N] = {"SHMALLOC_DIR", "SHMALLOC_HEAP", "SHMALLOC_CONF",
                                                         "SHMALLOC_SOCKET", "SHMALLOC_TOPOLOGY"};
        const char *value = secure_getenv(names[var]);

        return value != NULL && value[0] != '\0' ? value : NULL;
}

/* ------------------------------------------------------------------ values */

static bool
text_is(struct text text, const char *word)
{
        return strlen(word) == text.len && memcmp(text.p, word, text.len) == 0;
}

/* All digits of the base and at least one, no sign, no overflow. */
static bool
parse_number(struct text text, unsigned base, uint64_t *ret_value)
{
        uint64_t value = 0;

        for (size_t i = 0; i < text.len; i++) {
                unsigned digit = (unsigned)(unsigned char)text.p[i] - '0';

                if (digit >= base || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit, &value))
                        return false;
        }
        *ret_value = value;
        return text.len > 0;
}

static bool
parse_u32(struct text text, void *ret_value)
{
        uint64_t value;

        if (!parse_number(text, 10, &value) || value == 0 || value > UINT32_MAX)
                return false;
        *(uint32_t *)ret_value = (uint32_t)value;
        return true;
}

/* A number with K, M, G or T behind it, each 1024 times the last. */
static bool
parse_bytes(struct text text, void *ret_value)
{
        static const char suffixes[] = "KMGT";
        unsigned shift = 0;
        uint64_t value;

        for (unsigned i = 0; i < 4 && text.len > 0; i++)
                if ((text.p[text.len - 1] & ~0x20) == suffixes[i])
                        shift = 10 * (i + 1);
        if (shift > 0)
                text.len--;
        if (!parse_number(text, 10, &value) || value > UINT64_MAX >> shift)
                return false;
        *(uint64_t *)ret_value = value << shift;
        return true;
}

static bool
parse_bool(struct text text, void *ret_value)
{
        if (text_is(text, "true") || text_is(text, "1"))
                *(bool *)ret_value = true;
        else if (text_is(text, "false") || text_is(text, "0"))
                *(bool *)ret_value = false;
        else
                return false;
        return true;
}

/* ------------------------------------------------------------------ keys */

static bool
parse_arenas(struct text text, void *ret_value)
{
        return parse_u32(text, ret_value) && *(uint32_t *)ret_value <= ARENAS_PER_NODE_MAX;
}

static bool
parse_decay_ms(struct text text, void *ret_value)
{
        bool is_never = text_is(text, "-1");
        uint64_t ms = 0;

        if (!is_never && (!parse_number(text, 10, &ms) || ms > (uint64_t)DECAY_MS_MAX))
                return false;
        *(int64_t *)ret_value = is_never ? -1 : (int64_t)ms;
        return true;
}

/* Its owner must be able to open it again, and a heap is no program. */
static bool
mode_is_valid(uint64_t mode)
{
        return (mode & 0600) == 0600 && (mode & ~UINT64_C(0666)) == 0;
}

static bool
parse_mode(struct text text, void *ret_value)
{
        uint64_t mode;

        if (!parse_number(text, 8, &mode) || !mode_is_valid(mode))
                return false;
        *(uint32_t *)ret_value = (uint32_t)mode;
        return true;
}

static bool
parse_numa(struct text text, void *ret_value)
{
        static const char *const words[] = {
                [OPTIONS_NUMA_LOCAL] = "local",
                [OPTIONS_NUMA_INTERLEAVE] = "interleave",
                [OPTIONS_NUMA_BIND] = "bind",
                [OPTIONS_NUMA_STRICT] = "strict",
        };

        for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++)
                if (text_is(text, words[i])) {
                        *(uint32_t *)ret_value = i;
                        return true;
                }
        return false;
}

/* "0-3+6": nodes and ranges of nodes. */
static bool
parse_nodes(struct text text, void *ret_value)
{
        uint64_t nodes = 0;

        while (text.len > 0) {
                const char *plus = memchr(text.p, '+', text.len);
                struct text part = {text.p, plus ? (size_t)(plus - text.p) : text.len};
                const char *dash = memchr(part.p, '-', part.len);
                struct text from = {part.p, dash ? (size_t)(dash - part.p) : part.len};
                struct text to = dash ? (struct text){dash + 1, part.len - from.len - 1} : from;
                uint64_t first, last;

                if (!parse_number(from, 10, &first) || !parse_number(to, 10, &last) || first > last ||
                    last >= OS_NODES_MAX)
                        return false;
                nodes |= bits_mask((uint32_t)first, (uint32_t)(last - first + 1));
                text.p += part.len + (plus != NULL);
                text.len -= part.len + (plus != NULL);
        }
        *(uint64_t *)ret_value = nodes;
        return nodes != 0;
}

static bool
parse_dump(struct text text, void *ret_value)
{
        *(bool *)ret_value = text_is(text, "used");
        return text_is(text, "used") || text_is(text, "none");
}

/* Where the option is, which has the type that its parser stores. */
#define FIELD(type, name) (offsetof(struct options, name) + 0 * sizeof(&((struct options *)NULL)->name == (type *)NULL))

static const struct key {
        const char *name;
        bool (*parse)(struct text text, void *ret_value); /* false: not valid */
        size_t field;
        const char *valid;
} keys[] = {
        {"capacity", parse_bytes, FIELD(uint64_t, capacity), "bytes, with K, M, G or T if you like; 0 for the default"},
        {"max_capacity", parse_bytes, FIELD(uint64_t, max_capacity),
         "bytes, with K, M, G or T if you like; 0 for the capacity"},
        {"max_clients", parse_u32, FIELD(uint32_t, max_clients), "a number of processes, 1 to 65535"},
        {"max_threads", parse_u32, FIELD(uint32_t, max_threads), "a number of threads, 2 to 65534"},
        {"arenas", parse_arenas, FIELD(uint32_t, arenas_per_node), "a number of arenas per node, 1 to 64"},
        {"decay_ms", parse_decay_ms, FIELD(int64_t, decay_ms), "milliseconds; 0 for at once, -1 for never"},
        {"mode", parse_mode, FIELD(uint32_t, mode), "octal, 0600 and perhaps 0066 of it"},
        {"numa", parse_numa, FIELD(uint32_t, numa_policy), "local, strict, interleave or bind"},
        {"numa_nodes", parse_nodes, FIELD(uint64_t, numa_nodes), "numbers of nodes and ranges of them, such as 0-3+6"},
        {"check", parse_bool, FIELD(bool, check), "true or false"},
        {"junk", parse_bool, FIELD(bool, junk), "true or false"},
        {"zero", parse_bool, FIELD(bool, zero), "true or false"},
        {"disk", parse_bool, FIELD(bool, disk), "true or false"},
        {"dump", parse_dump, FIELD(bool, dump), "none or used"},
};

/* ------------------------------------------------------------------ strings */

static int
unknown_key(const char *source, struct text name)
{
        char known[256] = "";
        size_t n = 0;

        for (unsigned i = 0; i < sizeof keys / sizeof keys[0] && n < sizeof known; i++)
                n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i > 0 ? ", " : "", keys[i].name);
        return error_set(-EINVAL, "%s: no option is called \"%.*s\"; there are %s", source,
                         (int)(name.len < 80 ? name.len : 80), name.p, known);
}

static int
conf_entry(struct options *o, const char *source, struct text entry)
{
        const char *colon = memchr(entry.p, ':', entry.len);
        struct text name = {entry.p, colon != NULL ? (size_t)(colon - entry.p) : entry.len};
        struct text value = {name.p + name.len + 1, entry.len - name.len - (colon != NULL)};

        for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++) {
                if (!text_is(name, keys[i].name))
                        continue;
                if (colon != NULL && keys[i].parse(value, (char *)o + keys[i].field))
                        return 0;
                return error_set(-EINVAL, "%s: \"%.*s\" is not valid: %s:VALUE, where VALUE is %s", source,
                                 (int)(entry.len < 80 ? entry.len : 80), entry.p, keys[i].name, keys[i].valid);
        }
        return unknown_key(source, name);
}

static int
conf_apply(struct options *o, const char *source, const char *conf)
{
        while (conf != NULL && *conf != '\0') {
                struct text entry = {conf, strcspn(conf, ",")};
                int err = entry.len > 0 ? conf_entry(o, source, entry) : 0;

                if (err < 0)
                        return err;
                conf += entry.len + (conf[entry.len] == ',');
        }
        return 0;
}

/* ------------------------------------------------------------------ defaults, attributes, sense */

static uint64_t
default_capacity(bool opens)
{
        struct sysinfo info;
        uint64_t max = CAPACITY_DEFAULT_MAX < LAYOUT_CAPACITY_MAX ? CAPACITY_DEFAULT_MAX : LAYOUT_CAPACITY_MAX;
        uint64_t half;

        if (opens || sysinfo(&info) < 0)
                return max;
        half = bits_align_down((uint64_t)info.totalram * info.mem_unit / 2, GEO_CHUNK_BYTES);
        return half < max ? half : max;
}

/* Up to the highest node of the system, and the spread one, where there are several. */
static uint32_t
default_nodes(void)
{
        uint32_t n = bits_log2_floor(os_numa()->online) + 1;

        return n > 1 ? n + 1 : 1;
}

/* CPUs of the machine, not of this process: others will share the heap.  Of the node that has most of them. */
static uint32_t
default_arenas(void)
{
        uint32_t n = os_numa()->n_cpus_max, n_max = ARENA_MAX / default_nodes();

        if (n_max > ARENAS_PER_NODE_MAX)
                n_max = ARENAS_PER_NODE_MAX;
        return n < 1 ? 1 : n < n_max ? n : n_max;
}

static struct options
defaults(void)
{
        return (struct options){
                .max_clients = 4096,
                .max_roots = 1024,
                .n_nodes = default_nodes(),
                .has_spread = default_nodes() > 1,
                .arenas_per_node = default_arenas(),
                .page_shift = 12,
                .mode = 0600,
                .decay_ms = 10000,
        };
}

static int
given_apply(struct options *o, const struct options_given *given)
{
        if (given->mode != 0 && !mode_is_valid(given->mode))
                return error_set(-EINVAL, "mode %#o is not valid: 0600 and perhaps 0066 of it", given->mode);
        if (given->page_shift != 0 && given->page_shift != 12)
                return error_set(given->page_shift == 21 || given->page_shift == 30 ? -ENOTSUP : -EINVAL,
                                 "page_shift %u: this version backs heaps by pages of 4 KiB only, so give 0 or 12",
                                 given->page_shift);
        if (given->numa_policy > OPTIONS_NUMA_STRICT)
                return error_set(-EINVAL, "numa_policy %u is none of SHHEAP_NUMA_*", given->numa_policy);
        o->capacity = given->capacity != 0 ? given->capacity : o->capacity;
        o->max_capacity = given->max_capacity != 0 ? given->max_capacity : o->max_capacity;
        o->max_clients = given->max_clients != 0 ? given->max_clients : o->max_clients;
        o->max_threads = given->max_threads != 0 ? given->max_threads : o->max_threads;
        o->mode = given->mode != 0 ? given->mode : o->mode;
        o->numa_policy = given->numa_policy != 0 ? given->numa_policy : o->numa_policy;
        o->numa_nodes = given->numa_nodes != 0 ? given->numa_nodes : o->numa_nodes;
        o->base_addr = given->base_addr;
        return 0;
}

/* Whole chunks, rounded up; the defaults that depend on other options. */
static int
settle_capacity(struct options *o, bool opens)
{
        if (o->capacity > LAYOUT_CAPACITY_MAX || o->max_capacity > LAYOUT_CAPACITY_MAX)
                return error_set(-EINVAL, "capacity of %llu bytes: at most %llu are possible",
                                 (unsigned long long)(o->capacity > o->max_capacity ? o->capacity : o->max_capacity),
                                 (unsigned long long)LAYOUT_CAPACITY_MAX);
        if (o->capacity == 0) {
                o->capacity = default_capacity(opens);
                if (o->max_capacity != 0 && o->max_capacity < o->capacity)
                        o->capacity = o->max_capacity;
        }
        o->capacity = bits_align_up(o->capacity, GEO_CHUNK_BYTES);
        o->max_capacity = bits_align_up(o->max_capacity, GEO_CHUNK_BYTES);
        if (o->max_capacity == 0)
                o->max_capacity = o->capacity;
        if (o->max_capacity < o->capacity)
                return error_set(-EINVAL, "max_capacity of %llu bytes is less than the capacity of %llu",
                                 (unsigned long long)o->max_capacity, (unsigned long long)o->capacity);
        return 0;
}

/* Of what the heap may grow to, if it was not given. */
static void
settle_threads(struct options *o)
{
        uint64_t n = o->max_capacity >> (GEO_GRANULE_SHIFT - 1);

        if (o->max_threads == 0)
                o->max_threads = n < THREADS_DEFAULT_MIN   ? THREADS_DEFAULT_MIN
                                 : n < THREADS_DEFAULT_MAX ? (uint32_t)n
                                                           : THREADS_DEFAULT_MAX;
}

/* A set that the caller means has a node with memory in it; others of it may come later. */
static int
check_nodes(const struct options *o)
{
        if (o->numa_nodes == 0 || (o->numa_nodes & os_numa()->with_memory) != 0)
                return 0;
        return error_set(-EINVAL, "numa_nodes %#llx: this machine has memory on the nodes %#llx only",
                         (unsigned long long)o->numa_nodes, (unsigned long long)os_numa()->with_memory);
}

struct layout_params
options_params(const struct options *o)
{
        return (struct layout_params){
                .max_capacity = o->max_capacity,
                .max_clients = o->max_clients,
                .max_threads = o->max_threads,
                .n_nodes = o->n_nodes,
                .arenas_per_node = o->arenas_per_node,
                .max_roots = o->max_roots,
                .page_shift = o->page_shift,
                .has_spread = o->has_spread,
        };
}

static int
check_params(const struct options *o)
{
        struct layout_params params = options_params(o);
        struct layout layout;
        const char *what;

        if (layout_compute(&params, &layout, &what) < 0)
                return error_set(-EINVAL, "options of the heap: %s", what);
        return 0;
}

/* Builds for tests only: what runs under a machine that SHMALLOC_TOPOLOGY describes. */
static int
play_machine(void)
{
#if SHM_DEBUG
        const char *text = options_env(OPTIONS_ENV_TOPOLOGY);

        if (text && !os_numa_fake && !os_numa_play(text))
                return error_set(-EINVAL, "SHMALLOC_TOPOLOGY: \"%s\" is no list of nodes, such as 2,2,0:31", text);
#endif
        return 0;
}

int
options_resolve(const struct options_given *given, struct options *ret_options)
{
        static const struct options_given none;
        struct options o;
        int err = play_machine();

        if (err < 0)
                return err;
        o = defaults();
        if (given == NULL)
                given = &none;
        err = conf_apply(&o, "SHMALLOC_CONF", options_env(OPTIONS_ENV_CONF));
        if (err == 0)
                err = conf_apply(&o, "attribute conf", given->conf);
        if (err == 0)
                err = given_apply(&o, given);
        if (err == 0)
                err = settle_capacity(&o, given->opens);
        if (err == 0)
                settle_threads(&o);
        if (err == 0)
                err = check_nodes(&o);
        if (err == 0)
                err = check_params(&o);
        if (err == 0)
                *ret_options = o;
        return err;
}
