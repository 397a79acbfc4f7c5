/*
 * What is at stake: an option that is misread gives a heap of the wrong size, or one that others can open, and a typing
 * error that is ignored is found when it hurts.  So every key is tried with what it takes and what it does not, and
 * each source against the next weaker one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/geometry.h"
#include "os/numa.h"
#include "region/options.h"
#include "support/checks.h"
#include "support/suite.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static struct options o;

static void
no_environment(void)
{
        unsetenv("SHMALLOC_CONF");
        unsetenv("SHMALLOC_DIR");
        unsetenv("SHMALLOC_HEAP");
        memset(&o, 0, sizeof o);
}

static void
must_resolve(const struct options_given *given)
{
        ck_assert_msg(options_resolve(given, &o) == 0, "%s", error_message());
}

static void
must_take(const char *conf)
{
        const struct options_given given = {.conf = conf};

        must_resolve(&given);
}

static void
must_refuse(const struct options_given *given, int expected, const char *fragment)
{
        struct options before = o;
        int err = options_resolve(given, &o);

        ck_assert_msg(err == expected, "got %d instead of %d: %s", err, expected, error_message());
        ck_assert_msg(strstr(error_message(), fragment) != NULL, "\"%s\" lacks \"%s\"", error_message(), fragment);
        ck_assert_mem_eq(&o, &before, sizeof o); /* untouched */
}

static void
must_refuse_conf(const char *conf, const char *fragment)
{
        const struct options_given given = {.conf = conf};

        must_refuse(&given, -EINVAL, fragment);
}

/* ------------------------------------------------------------------ defaults */

/* The machine's, and one more for interleaved memory where there are several. */
static uint32_t
nodes_here(void)
{
        uint32_t n = bits_log2_floor(os_numa()->online) + 1;

        return n > 1 ? n + 1 : 1;
}

START_TEST(defaults_are_those_of_the_manual)
{
        must_resolve(NULL);
        ck_assert_uint_eq(o.max_clients, 4096);
        ck_assert_uint_ge(o.max_threads, 2048); /* see below */
        ck_assert_uint_eq(o.max_roots, 1024);
        ck_assert_uint_eq(o.n_nodes, nodes_here());
        ck_assert_uint_ge(o.arenas_per_node, 1);
        ck_assert_uint_le(o.arenas_per_node, 64);
        ck_assert_uint_eq(o.page_shift, 12);
        ck_assert_uint_eq(o.mode, 0600);
        ck_assert_int_eq(o.decay_ms, 10000);
        ck_assert_uint_eq(o.numa_policy, OPTIONS_NUMA_LOCAL);
        ck_assert(!o.check && !o.junk && !o.zero);
        ck_assert_uint_eq(o.base_addr, 0);
}
END_TEST

START_TEST(capacity_is_half_of_memory_in_whole_chunks)
{
        uint64_t half = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;

        must_resolve(NULL);
        ck_assert_uint_eq(o.capacity % GEO_CHUNK_BYTES, 0);
        ck_assert_uint_eq(o.capacity, half < 64 * GIB ? half - half % GEO_CHUNK_BYTES : 64 * GIB);
        ck_assert_uint_eq(o.max_capacity, o.capacity);
        must_take("capacity:0,max_capacity:0");
        ck_assert_uint_eq(o.max_capacity, o.capacity);
        must_take("max_capacity:8M"); /* less than the default capacity */
        ck_assert_uint_eq(o.capacity, 8 * MIB);
}
END_TEST

/* The file of a small heap is not gigabytes for threads that it could serve no block; what is given is taken. */
START_TEST(threads_are_what_the_capacity_deserves)
{
        const struct {
                const char *conf;
                uint32_t max_threads;
        } cases[] = {
                {"capacity:4M", 2048},
                {"capacity:64M", 2048},
                {"capacity:68M", 2176},
                {"capacity:256M", 8192},
                {"capacity:512M", 16384},
                {"capacity:1T", 16384},
                {"capacity:4M,max_capacity:256M", 8192}, /* it may grow */
                {"capacity:4M,max_threads:16384", 16384},
                {"capacity:1T,max_threads:2", 2},
        };
        const struct options_given given = {.conf = "capacity:4M", .max_threads = 1000};
        struct layout_params params;
        struct layout layout;
        const char *what;

        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                must_take(cases[i].conf);
                ck_assert_msg(o.max_threads == cases[i].max_threads, "%s gives %u", cases[i].conf, o.max_threads);
        }
        must_resolve(&given);
        ck_assert_uint_eq(o.max_threads, 1000);
        must_take("capacity:8M,arenas:2");
        params = options_params(&o);
        params.n_nodes = 1;
        params.has_spread = 0;
        ck_assert_int_eq(layout_compute(&params, &layout, &what), 0);
        ck_assert_uint_lt(layout.region_bytes, 500 * MIB);
}
END_TEST

START_TEST(a_layout_follows_from_the_options)
{
        struct layout_params params;
        struct layout layout;
        const char *what;

        must_take("capacity:8M,max_capacity:16M,max_clients:5,max_threads:6,arenas:7");
        params = options_params(&o);
        ck_assert_int_eq(layout_compute(&params, &layout, &what), 0);
        ck_assert_uint_eq(layout.n_chunks, 4);
        ck_assert_uint_eq(params.max_clients, 5);
        ck_assert_uint_eq(params.max_threads, 6);
        ck_assert_uint_eq(params.arenas_per_node, 7);
        ck_assert_uint_eq(params.max_roots, 1024);
        ck_assert_uint_eq(params.n_nodes, nodes_here());
        ck_assert_uint_eq(params.page_shift, 12);
}
END_TEST

/* ------------------------------------------------------------------ values */

START_TEST(bytes_take_suffixes_and_round_up_to_chunks)
{
        const struct {
                const char *conf;
                uint64_t capacity;
        } cases[] = {
                {"capacity:1", 4 * MIB},          {"capacity:4194304", 4 * MIB}, {"capacity:4194305", 8 * MIB},
                {"capacity:4097K", 8 * MIB},      {"capacity:12M", 12 * MIB},    {"capacity:3G", 3 * GIB},
                {"capacity:1T", 1024 * GIB},      {"capacity:12m", 12 * MIB},    {"capacity:2T", 2048 * GIB},
                {"capacity:2G,capacity:1G", GIB},
        };

        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                must_take(cases[i].conf);
                ck_assert_msg(o.capacity == cases[i].capacity, "%s gives %lu", cases[i].conf, o.capacity);
        }
}
END_TEST

START_TEST(every_key_takes_what_it_says)
{
        must_take("max_clients:65535,max_threads:65534,arenas:64,decay_ms:0,mode:0640,numa:bind,check:true");
        ck_assert_uint_eq(o.max_clients, 65535);
        ck_assert_uint_eq(o.max_threads, 65534);
        ck_assert_uint_eq(o.arenas_per_node, 64);
        ck_assert_int_eq(o.decay_ms, 0);
        ck_assert_uint_eq(o.mode, 0640);
        ck_assert_uint_eq(o.numa_policy, OPTIONS_NUMA_BIND);
        ck_assert(o.check && !o.junk && !o.zero);
        must_take("decay_ms:-1,junk:1,mode:666,numa:strict");
        ck_assert_int_eq(o.decay_ms, -1);
        ck_assert(o.junk && !o.check && !o.zero);
        ck_assert_uint_eq(o.mode, 0666);
        ck_assert_uint_eq(o.numa_policy, OPTIONS_NUMA_STRICT);
        must_take("zero:true,junk:true,junk:false,check:0,numa:interleave,decay_ms:250");
        ck_assert(o.zero && !o.junk && !o.check);
        ck_assert_uint_eq(o.numa_policy, OPTIONS_NUMA_INTERLEAVE);
        ck_assert_int_eq(o.decay_ms, 250);
        must_take("numa:bind,numa:local");
        ck_assert_uint_eq(o.numa_policy, OPTIONS_NUMA_LOCAL);
}
END_TEST

START_TEST(empty_entries_are_skipped)
{
        must_take("");
        must_take(",");
        must_take(",,max_clients:7,,");
        ck_assert_uint_eq(o.max_clients, 7);
}
END_TEST

START_TEST(a_bad_value_is_refused_with_what_is_valid)
{
        const struct {
                const char *conf, *fragment;
        } cases[] = {
                {"capacity:", "capacity:VALUE"},
                {"capacity", "capacity:VALUE"},
                {"capacity:12X", "K, M, G or T"},
                {"capacity:M", "K, M, G or T"},
                {"capacity:-1", "K, M, G or T"},
                {"capacity:+1", "K, M, G or T"},
                {"capacity: 1", "K, M, G or T"},
                {"capacity:1M ", "K, M, G or T"},
                {"capacity:0x100000", "K, M, G or T"},
                {"capacity:18446744073709551616", "K, M, G or T"},
                {"capacity:99999999999999999999", "K, M, G or T"},
                {"capacity:18446744073709551615K", "K, M, G or T"},
                {"capacity:16777216T", "K, M, G or T"},
                {"capacity:16777215T", "at most"},
                {"capacity:2049G", "at most"},
                {"max_capacity:3T", "at most"},
                {"max_capacity:x", "max_capacity:VALUE"},
                {"capacity:1G,max_capacity:512M", "less than the capacity"},
                {"max_clients:0", "1 to 65535"},
                {"max_clients:65536", "1 to 65535"},
                {"max_clients:4294967297", "1 to 65535"},
                {"max_threads:0", "2 to 65534"},
                {"max_threads:1", "2 to 65534"},
                {"max_threads:65535", "2 to 65534"},
                {"arenas:0", "1 to 64"},
                {"arenas:65", "1 to 64"},
                {"decay_ms:-2", "-1 for never"},
                {"decay_ms:1s", "-1 for never"},
                {"decay_ms:1000000000001", "-1 for never"},
                {"mode:0680", "octal"},
                {"mode:0700", "octal"},
                {"mode:0400", "octal"},
                {"mode:01600", "octal"},
                {"mode:-1", "octal"},
                {"numa:Local", "local, strict"},
                {"numa:", "local, strict"},
                {"check:yes", "true or false"},
                {"junk:TRUE", "true or false"},
                {"zero:2", "true or false"},
                {"check:true:x", "true or false"},
        };

        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
                must_refuse_conf(cases[i].conf, cases[i].fragment);
}
END_TEST

START_TEST(an_unknown_key_is_named)
{
        must_refuse_conf("capacty:1G", "\"capacty\"");
        must_refuse_conf("capacty:1G", "there are capacity, max_capacity");
        must_refuse_conf("capacty:1G", "disk, dump");
        must_refuse_conf("capacity:1G,Check:true", "\"Check\"");
        must_refuse_conf(":5", "\"\"");
        must_refuse_conf("check :true", "\"check \"");
        must_refuse_conf("max_capacity_:1G", "\"max_capacity_\"");
        must_refuse_conf("max:1", "attribute conf");
}
END_TEST

/* ------------------------------------------------------------------ sources */

START_TEST(attribute_beats_conf_beats_environment_beats_default)
{
        struct options_given given = {.conf = "max_clients:20,max_threads:20", .max_clients = 30};

        setenv("SHMALLOC_CONF", "max_clients:10,max_threads:10,arenas:10", 1);
        must_resolve(&given);
        ck_assert_uint_eq(o.max_clients, 30);
        ck_assert_uint_eq(o.max_threads, 20);
        ck_assert_uint_eq(o.arenas_per_node, 10);
        ck_assert_uint_eq(o.max_roots, 1024);
        must_resolve(NULL);
        ck_assert_uint_eq(o.max_clients, 10);
        setenv("SHMALLOC_CONF", "", 1);
        must_resolve(NULL);
        ck_assert_uint_eq(o.max_clients, 4096);
}
END_TEST

START_TEST(a_fault_in_the_environment_is_named_as_such)
{
        setenv("SHMALLOC_CONF", "oops:1", 1);
        must_refuse(NULL, -EINVAL, "SHMALLOC_CONF");
        must_refuse(NULL, -EINVAL, "\"oops\"");
}
END_TEST

START_TEST(every_attribute_field_counts)
{
        const struct options_given given = {
                .capacity = 5 * MIB,
                .max_capacity = 9 * MIB,
                .max_clients = 2,
                .max_threads = 3,
                .page_shift = 12,
                .mode = 0660,
                .numa_policy = OPTIONS_NUMA_INTERLEAVE,
                .numa_nodes = 5,
                .base_addr = UINT64_C(0x550040000000),
        };

        must_resolve(&given);
        ck_assert_uint_eq(o.capacity, 8 * MIB);
        ck_assert_uint_eq(o.max_capacity, 12 * MIB);
        ck_assert_uint_eq(o.max_clients, 2);
        ck_assert_uint_eq(o.max_threads, 3);
        ck_assert_uint_eq(o.mode, 0660);
        ck_assert_uint_eq(o.numa_policy, OPTIONS_NUMA_INTERLEAVE);
        ck_assert_uint_eq(o.numa_nodes, 5);
        ck_assert_uint_eq(o.base_addr, UINT64_C(0x550040000000));
}
END_TEST

START_TEST(bad_attribute_fields_are_refused)
{
        must_refuse(&(struct options_given){.mode = 0755}, -EINVAL, "0755");
        must_refuse(&(struct options_given){.mode = 0066}, -EINVAL, "mode");
        must_refuse(&(struct options_given){.page_shift = 21}, -ENOTSUP, "4 KiB");
        must_refuse(&(struct options_given){.page_shift = 30}, -ENOTSUP, "4 KiB");
        must_refuse(&(struct options_given){.page_shift = 13}, -EINVAL, "page_shift");
        must_refuse(&(struct options_given){.numa_policy = 4}, -EINVAL, "numa_policy");
        must_refuse(&(struct options_given){.capacity = UINT64_MAX}, -EINVAL, "at most");
        must_refuse(&(struct options_given){.capacity = 8 * MIB, .max_capacity = 4 * MIB}, -EINVAL, "less than");
        must_refuse(&(struct options_given){.max_threads = 65535}, -EINVAL, "max_threads");
        must_refuse(&(struct options_given){.max_clients = 65536}, -EINVAL, "max_clients");
}
END_TEST

START_TEST(empty_variables_are_unset)
{
        ck_assert_ptr_null(options_env(OPTIONS_ENV_DIR));
        setenv("SHMALLOC_DIR", "", 1);
        ck_assert_ptr_null(options_env(OPTIONS_ENV_DIR));
        setenv("SHMALLOC_DIR", "/x", 1);
        ck_assert_str_eq(options_env(OPTIONS_ENV_DIR), "/x");
        setenv("SHMALLOC_HEAP", "h", 1);
        ck_assert_str_eq(options_env(OPTIONS_ENV_HEAP), "h");
        setenv("SHMALLOC_SOCKET", "/s", 1);
        ck_assert_str_eq(options_env(OPTIONS_ENV_SOCKET), "/s");
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("options");
        TCase *tcase = tcase_create("options");

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, no_environment, NULL);
        tcase_add_test(tcase, defaults_are_those_of_the_manual);
        tcase_add_test(tcase, capacity_is_half_of_memory_in_whole_chunks);
        tcase_add_test(tcase, threads_are_what_the_capacity_deserves);
        tcase_add_test(tcase, a_layout_follows_from_the_options);
        tcase_add_test(tcase, bytes_take_suffixes_and_round_up_to_chunks);
        tcase_add_test(tcase, every_key_takes_what_it_says);
        tcase_add_test(tcase, empty_entries_are_skipped);
        tcase_add_test(tcase, a_bad_value_is_refused_with_what_is_valid);
        tcase_add_test(tcase, an_unknown_key_is_named);
        tcase_add_test(tcase, attribute_beats_conf_beats_environment_beats_default);
        tcase_add_test(tcase, a_fault_in_the_environment_is_named_as_such);
        tcase_add_test(tcase, every_attribute_field_counts);
        tcase_add_test(tcase, bad_attribute_fields_are_refused);
        tcase_add_test(tcase, empty_variables_are_unset);
        return suite_run(suite);
}
