/*
 * by_symbol.c - the library as another language binds it: no header is included; functions are declared by hand and
 * constants are numbers, as a binding that was written once has them.  All that lib/shmalloc.map lists is bound here.
 */
#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void any(void);
struct file;

/* What is called here. */
int shheap_open(void **ret_heap, const char *name, unsigned flags, const void *attr);
int shheap_close(void *heap);
int shheap_unlink(const char *name);
const char *shheap_errormsg(void);
int shheap_set_default(void *heap);
void *shheap_malloc(void *heap, size_t size);
void *shheap_malloc_near(const void *p, size_t size);
void *shheap_mallocx(void *heap, size_t size, unsigned flags);
size_t shheap_usable_size(const void *heap, const void *p);
void shheap_free(void *heap, void *p);
void *shheap_malloc_to(void *heap, size_t size, unsigned flags, uint64_t *dest);
int shheap_free_from(void *heap, uint64_t *dest);
void *shheap_ptr(const void *heap, uint64_t ref);
int shheap_root(void *heap, const char *name, size_t size, unsigned flags, any *init, void *arg, void **ret_obj);
int shheap_root_find(void *heap, const char *name, void **ret_obj, size_t *ret_size);
int shheap_root_remove(void *heap, const char *name);
unsigned shheap_flag_lg_align(unsigned la);
unsigned shheap_flag_align(size_t align);
unsigned shheap_flag_node(unsigned node);
unsigned shheap_flag_nodes(uint64_t mask);
unsigned shheap_flag_arena(unsigned arena);
int shheap_ctl(void *heap, const char *name, void *oldp, size_t *oldlenp, const void *newp, size_t newlen);
int shheap_check(void *heap, unsigned flags, struct file *report);
void *shheap_shmalloc(size_t size);
void shheap_shfree(void *p);

/* What is only there. */
any shheap_open_fd, shheap_dup_fd, shheap_default, shheap_calloc, shheap_realloc, shheap_reallocarray,
        shheap_aligned_alloc, shheap_posix_memalign, shheap_strdup, shheap_strndup, shheap_rallocx, shheap_xallocx,
        shheap_nallocx, shheap_reserve, shheap_node_of, shheap_of, shheap_free_sized, shheap_free_aligned_sized,
        shheap_ref, shheap_settled, shheap_root_undo, shheap_root_take, shheap_root_iterate, shheap_reap,
        shheap_set_fault_handler, shheap_stats_print, shheap_walk, shheap_purge, shheap_shcalloc, shheap_shrealloc,
        shheap_shreallocarray, shheap_shaligned_alloc, shheap_shposix_memalign, shheap_shstrdup, shheap_shstrndup,
        shheap_shfree_sized, shheap_shmalloc_usable_size, shheap_shref_of, shheap_shptr_of;

#define BOUND(name)                                                                                                    \
        {                                                                                                              \
#name, (any *)(name)                                                                                   \
        }
static const struct bound {
        const char *name;
        any *function;
} all[] = {BOUND(shheap_open),
           BOUND(shheap_close),
           BOUND(shheap_unlink),
           BOUND(shheap_errormsg),
           BOUND(shheap_set_default),
           BOUND(shheap_malloc),
           BOUND(shheap_malloc_near),
           BOUND(shheap_mallocx),
           BOUND(shheap_usable_size),
           BOUND(shheap_free),
           BOUND(shheap_malloc_to),
           BOUND(shheap_free_from),
           BOUND(shheap_ptr),
           BOUND(shheap_root),
           BOUND(shheap_root_find),
           BOUND(shheap_root_remove),
           BOUND(shheap_flag_lg_align),
           BOUND(shheap_flag_align),
           BOUND(shheap_flag_node),
           BOUND(shheap_flag_nodes),
           BOUND(shheap_flag_arena),
           BOUND(shheap_ctl),
           BOUND(shheap_check),
           BOUND(shheap_shmalloc),
           BOUND(shheap_shfree),
           BOUND(shheap_open_fd),
           BOUND(shheap_dup_fd),
           BOUND(shheap_default),
           BOUND(shheap_calloc),
           BOUND(shheap_realloc),
           BOUND(shheap_reallocarray),
           BOUND(shheap_aligned_alloc),
           BOUND(shheap_posix_memalign),
           BOUND(shheap_strdup),
           BOUND(shheap_strndup),
           BOUND(shheap_rallocx),
           BOUND(shheap_xallocx),
           BOUND(shheap_nallocx),
           BOUND(shheap_reserve),
           BOUND(shheap_node_of),
           BOUND(shheap_of),
           BOUND(shheap_free_sized),
           BOUND(shheap_free_aligned_sized),
           BOUND(shheap_ref),
           BOUND(shheap_settled),
           BOUND(shheap_root_undo),
           BOUND(shheap_root_take),
           BOUND(shheap_root_iterate),
           BOUND(shheap_reap),
           BOUND(shheap_set_fault_handler),
           BOUND(shheap_stats_print),
           BOUND(shheap_walk),
           BOUND(shheap_purge),
           BOUND(shheap_shcalloc),
           BOUND(shheap_shrealloc),
           BOUND(shheap_shreallocarray),
           BOUND(shheap_shaligned_alloc),
           BOUND(shheap_shposix_memalign),
           BOUND(shheap_shstrdup),
           BOUND(shheap_shstrndup),
           BOUND(shheap_shfree_sized),
           BOUND(shheap_shmalloc_usable_size),
           BOUND(shheap_shref_of),
           BOUND(shheap_shptr_of)};
enum { N_ALL = sizeof all / sizeof all[0] };

#define NEED(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        errx(1, "line %d: not true: %s (%s)", __LINE__, #claim, shheap_errormsg());                    \
        } while (0)

static void
all_is_bound(const char *map)
{
        char line[128], name[100];
        int n = 0;
        FILE *file = fopen(map, "re");

        if (!file)
                err(2, "%s", map);
        while (fgets(line, sizeof line, file)) {
                int i = 0;

                if (sscanf(line, " %99[a-z_]", name) != 1 || strncmp(name, "shheap_", strlen("shheap_")) != 0)
                        continue;
                while (i < N_ALL && strcmp(all[i].name, name) != 0)
                        i++;
                if (i == N_ALL)
                        errx(1, "%s is exported and not bound here", name);
                NEED(all[i].function);
                n++;
        }
        fclose(file);
        NEED(n == N_ALL);
}

/* Of bindings that were compiled before: these numbers do not change. */
static void
flags_are_numbers(void)
{
        NEED(shheap_flag_lg_align(12) == 12 && shheap_flag_align(4096) == 12);
        NEED(shheap_flag_node(0) == 0x1000 && shheap_flag_node(62) == 0x3f000);
        NEED(shheap_flag_nodes(5) == 0x5800 && shheap_flag_arena(0) == 0x100000);
}

static void
blocks_are_had(void *heap)
{
        void *p = shheap_mallocx(heap, 100, 0x40 | shheap_flag_align(256)); /* SHA_ZERO */
        void *q = shheap_malloc_near(p, 100), *r;

        NEED(p && (uintptr_t)p % 256 == 0 && *(char *)p == 0 && q);
        shheap_free(heap, p);
        shheap_free(heap, q);
        NEED((q = shheap_mallocx(heap, 100, 0xff000))); /* SHA_NODE_LOCAL */
        NEED((r = shheap_mallocx(heap, 100, 0xfe000))); /* SHA_NODE_SPREAD */
        NEED((p = shheap_mallocx(heap, 100, 0x300)));   /* SHA_TCACHE_NONE, SHA_NOGROW */
        NEED(!shheap_mallocx(heap, 100, shheap_flag_align(0)) && errno == EINVAL);
        shheap_free(heap, p);
        shheap_free(heap, q);
        shheap_free(heap, r);
        NEED(shheap_set_default(heap) == 0 && (p = shheap_shmalloc(100)));
        shheap_shfree(p);
}

static void
objects_are_found(void *heap)
{
        void *obj, *again;
        size_t size = 0;
        uint64_t *word;

        NEED(shheap_root(heap, "it", 64, 0, NULL, NULL, &obj) == 0);
        NEED(shheap_root_find(heap, "it", &again, &size) == 0 && again == obj && size == 64);
        word = obj;
        NEED(shheap_malloc_to(heap, 100, 0x40, word) == shheap_ptr(heap, *word));
        NEED(*word != 0 && shheap_usable_size(heap, shheap_ptr(heap, *word)) >= 100);
        NEED(shheap_free_from(heap, word) == 0 && *word == 0);
        NEED(shheap_root_remove(heap, "it") == 0);
}

int
main(int argc, char **argv)
{
        char name[64];
        uint64_t bytes = 1;
        size_t length = sizeof bytes;
        void *heap;

        if (argc != 2)
                errx(2, "by_symbol MAP");
        all_is_bound(argv[1]);
        flags_are_numbers();
        snprintf(name, sizeof name, "by-symbol-%ld", (long)getpid());
        NEED(shheap_open(&heap, name, 1 | 2, NULL) == 0); /* SHHEAP_CREATE, SHHEAP_EXCL */
        NEED(shheap_unlink(name) == 0);
        blocks_are_had(heap);
        objects_are_found(heap);
        NEED(shheap_ctl(heap, "stats.allocated", &bytes, &length, NULL, 0) == 0 && bytes == 0);
        NEED(shheap_check(heap, 1, NULL) == 0); /* SHHEAP_CHECK_QUIESCENT */
        return shheap_close(heap) < 0;
}
