/*
 * What is at stake: damage that shheap_check() misses is blocks that are lost or handed out twice, and nobody knows; if
 * it crashes on what it is asked to look at, it is of no use to whoever needs it most.
 *
 * So each single thing changed by hand in a heap with one of everything is found and named, the report and the time it
 * takes are bounded, and ten thousand times random words in all tables change nothing but the verdict.
 */
#include <string.h>
#include <sys/mman.h>

#include "audit/check.h"
#include "blocks/magazine.h"
#include "clients/slot.h"
#include "heap/root.h"
#include "support/checks.h"
#include "support/effort.h"
#include "support/random.h"
#include "support/rich_heap.h"
#include "support/suite.h"

#define GRANULE(g)    (r->granules[g])
#define MAGAZINE(idx) (r->magazines[idx])
#define TAG0          tag_make(0, 0)

static struct rich_heap rich;
static struct region *const r = &rich.fx.region;
static struct thread *t, *u; /* of node 0 and node 1 */

static void
setup(void)
{
        rich_heap_make(&rich);
        t = rich.t;
        u = rich.u;
}

static void
teardown(void)
{
        rich_heap_drop(&rich);
}

/* ------------------------------------------------------------------ one thing damaged */

static void
granule_change(uint64_t g, uint64_t word)
{
        ck_assert_uint_ne(GRANULE(g), word);
        GRANULE(g) = word;
}

static void
magazine_change(uint32_t idx, uint64_t word)
{
        ck_assert_uint_ne(r->magazine_words[idx], word);
        r->magazine_words[idx] = word;
}

static void
make_free_and_cached(void)
{
        uint64_t off = region_entry_off(r, MAGAZINE(rich.cached).slot[1]);

        rich_heap_flip_bit(&rich, rich.slab, rich_heap_block_idx(&rich, off));
        GRANULE(rich.slab) = granule_with_count(GRANULE(rich.slab), granule_count(GRANULE(rich.slab)) + 1);
}

static void
make_bit_behind_the_last(void)
{
        uint32_t n_blocks = size_class_slab_blocks(granule_class(GRANULE(rich.long_slab)));

        ck_assert_uint_ne(n_blocks % 64, 0);
        rich_heap_flip_bit(&rich, rich.long_slab, n_blocks);
}

static void
make_in_two_magazines(void)
{
        MAGAZINE(rich.spare).slot[0] = MAGAZINE(rich.cached).slot[2];
        MAGAZINE(rich.spare).n = 1;
}

static void
make_root_object_cached(void)
{
        uint64_t off = region_entry_off(r, MAGAZINE(rich.cached).slot[0]);

        r->roots[0].object = (r->roots[0].object & 7) | off / 16 << 27;
}

static void
make_two_roots(void)
{
        uint64_t block_off;

        ck_assert_int_eq(root_find_or_create(t, "b", 40, 0, NULL, NULL, NULL, &block_off), 0);
        r->roots[1].object = r->roots[0].object;
}

/* A slot that exists and that nobody uses: of thread 3. */
static struct thread_slot *
make_empty_slot(void)
{
        struct thread *third = heap_attach(&rich.fx, 0);
        struct thread_slot *slot = third->slot;

        ck_assert_uint_eq(third->no, 3);
        slot_release(third);
        return slot;
}

/* A head so close to the end of its chunk that its run would leave it. */
static void
make_run_that_leaves(enum granule_state state, uint32_t class_idx)
{
        uint64_t g = GEO_GRANULES_PER_CHUNK - 1, word = granule_word(state, 0, 0) | (GRANULE(g) & GRANULE_BACKING);

        ck_assert_int_eq(granule_state(GRANULE(g)), GRANULE_FREE);
        GRANULE(g) = granule_with_class(granule_with_count(word, size_class_table[class_idx].n_granules), class_idx);
}

#define BOTH 0
#define REST CHECK_QUIESCENT /* only when nobody is running: else it might be work in progress */

/* Damages are numbered as they stand here; the one that is wanted is done. */
struct damage {
        int wanted, n;
        unsigned when;
        const char *says; /* by which the check names it */
};

#define DAMAGE(d, when_found, text, ...)                                                                               \
        do {                                                                                                           \
                if ((d)->n++ == (d)->wanted) {                                                                         \
                        (d)->when = (when_found);                                                                      \
                        (d)->says = (text);                                                                            \
                        __VA_ARGS__;                                                                                   \
                }                                                                                                      \
        } while (0)

static void
damage_granules(struct damage *d)
{
        DAMAGE(d, BOTH, "free blocks by its word",
               rich_heap_flip_bit(&rich, rich.slab, rich_heap_block_idx(&rich, rich.live)));
        DAMAGE(d, BOTH, "is cached here and free in its slab", make_free_and_cached());
        DAMAGE(d, BOTH, "free bit", make_bit_behind_the_last());
        DAMAGE(d, BOTH, "free blocks by its word",
               granule_change(rich.slab,
                              granule_with_count(GRANULE(rich.slab), granule_count(GRANULE(rich.slab)) + 1)));
        DAMAGE(d, BOTH, "free blocks by its word",
               granule_change(rich.slab,
                              granule_with_count(GRANULE(rich.slab), granule_count(GRANULE(rich.slab)) - 1)));
        DAMAGE(d, BOTH, "its tag is 1, not 5", granule_change(rich.slab, granule_with_class(GRANULE(rich.slab), 4)));
        DAMAGE(d, BOTH, "a slab of class 63", granule_change(rich.slab, granule_with_class(GRANULE(rich.slab), 63)));
        DAMAGE(d, BOTH, "fields that a slab has not", granule_change(rich.slab, GRANULE(rich.slab) | GRANULE_DOOMED));
        DAMAGE(d, BOTH, "is owned by thread 3, whose slot does not exist",
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 3)));
        DAMAGE(d, BOTH, "is owned by thread 3, whose slot is empty", make_empty_slot();
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 3)));
        DAMAGE(d, REST, "is owned by thread 1 although nobody is running",
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 1)));
        DAMAGE(d, BOTH, "its 2 granules leave the chunk", make_run_that_leaves(GRANULE_SLAB, class_with_granules(2)));
        DAMAGE(d, BOTH, "its 32 granules leave the chunk", make_run_that_leaves(GRANULE_LARGE, SIZE_CLASS_N - 1));
        DAMAGE(d, BOTH, "its head would be 0 granules before it",
               granule_change(rich.free_granule, granule_word(GRANULE_CONT, 0, 0)));
        DAMAGE(d, BOTH, "is owned by thread 60000, whose slot does not exist",
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 60000)));
        DAMAGE(d, BOTH, "in a chunk of arena 0", granule_change(rich.slab, GRANULE(rich.slab) ^ WORD_PUT(1, 20)));
        DAMAGE(d, BOTH, "lies in a free granule",
               granule_change(rich.slab, granule_word(GRANULE_FREE, 0, 0) | (GRANULE(rich.slab) & GRANULE_BACKING)));
        DAMAGE(d, BOTH, "its bitmap of 4096 blocks has no pages", r->rest_maps[0] = 0);
        DAMAGE(d, BOTH, "lies in a slab without a bitmap", r->rest_maps[0] = 0);
        DAMAGE(d, BOTH, "it has no pages, and block 0 of its slab is allocated",
               granule_change(rich.slab, GRANULE(rich.slab) & ~GRANULE_BACKING));
        DAMAGE(d, BOTH, "may have no pages", granule_change(rich.slab, GRANULE(rich.slab) & ~GRANULE_MAY_HAVE));
        DAMAGE(d, BOTH, "17 sixteenths of it are backed",
               granule_change(rich.slab, granule_with_backed(GRANULE(rich.slab), 17)));
        DAMAGE(d, BOTH, "its tag is 2, not 1", r->tags[rich.slab]++);
        DAMAGE(d, BOTH, "its tag is 0, not", r->tags[rich.long_slab + 1] = 0);
        DAMAGE(d, BOTH, "and it says distance 2",
               granule_change(rich.long_slab + 1, granule_with_count(GRANULE(rich.long_slab + 1), 2)));
        DAMAGE(d, BOTH, "inside a run, with fields of its own",
               granule_change(rich.long_slab + 1, granule_with_owner(GRANULE(rich.long_slab + 1), 1)));
        DAMAGE(d, BOTH, "behind its head",
               granule_change(rich.long_slab + 1,
                              granule_word(GRANULE_FREE, 0, 0) | (GRANULE(rich.long_slab + 1) & GRANULE_BACKING)));
        DAMAGE(d, BOTH, "its head would be granule",
               granule_change(rich.large, granule_word(GRANULE_FREE, 0, 0) | (GRANULE(rich.large) & GRANULE_BACKING));
               r->tags[rich.large] = 0);
        DAMAGE(d, BOTH, "a large run of class",
               granule_change(rich.large,
                              granule_with_count(GRANULE(rich.large), granule_count(GRANULE(rich.large)) - 1)));
        DAMAGE(d, BOTH, "not 0", r->tags[rich.large + 1] = tag_make(0, SIZE_CLASS_N - 4));
        DAMAGE(d, BOTH, "its tag is 0, not", r->tags[rich.coloured] = 0);
        DAMAGE(d, BOTH, "doomed, and nobody is there",
               granule_change(rich.large, GRANULE(rich.large) | GRANULE_DOOMED));
        DAMAGE(d, BOTH, "its block starts at",
               granule_change(rich.coloured, granule_with_stamp(GRANULE(rich.coloured), 200)));
        DAMAGE(d, BOTH, "and its block needs",
               granule_change(rich.coloured, granule_with_backed(GRANULE(rich.coloured), 3)));
        DAMAGE(d, BOTH, "(free, arena 0): its tag is 1", r->tags[rich.free_granule] = tag_make(0, 0));
        DAMAGE(d, BOTH, "fields that a free granule has not",
               granule_change(rich.free_granule, granule_with_count(GRANULE(rich.free_granule), 1)));
        DAMAGE(d, BOTH, "fields that a free granule has not",
               granule_change(rich.free_granule, granule_with_owner(GRANULE(rich.free_granule), 1)));
        DAMAGE(d, BOTH, "state 0 in a chunk of an arena", granule_change(rich.free_granule, 0));
        DAMAGE(d, BOTH, "it belongs to nobody",
               granule_change(rich.free_granule, granule_with_state(GRANULE(rich.free_granule), GRANULE_NEW)));
        DAMAGE(d, BOTH, "state 9 in a chunk of an arena",
               granule_change(rich.free_granule, GRANULE(rich.free_granule) | 8));
        DAMAGE(d, BOTH, "in a chunk of no arena",
               granule_change(rich.free_chunk * GEO_GRANULES_PER_CHUNK, granule_word(GRANULE_FREE, 0, 0)));
        DAMAGE(d, BOTH, "its tag is 1 in a chunk of no arena", r->tags[rich.free_chunk * GEO_GRANULES_PER_CHUNK] = 1);
}

static void
damage_chunks(struct damage *d)
{
        DAMAGE(d, BOTH, "state 7", r->chunk_words[rich.free_chunk] |= 7);
        DAMAGE(d, BOTH, "is owned by thread 5, whose slot does not exist",
               r->chunk_words[rich.free_chunk] = chunk_with_owner(r->chunk_words[rich.free_chunk], 5));
        DAMAGE(d, BOTH, "no word of a chunk", r->chunk_words[rich.free_chunk] |= UINT64_C(1) << 62);
        DAMAGE(d, BOTH, "(free): fields that it has not",
               r->chunk_words[rich.free_chunk] = chunk_with_count(r->chunk_words[rich.free_chunk], 1));
        DAMAGE(d, BOTH, "and it belongs to nobody",
               r->chunk_words[rich.free_chunk] = chunk_with_state(r->chunk_words[rich.free_chunk], CHUNK_NEW));
        DAMAGE(d, BOTH, "given to arena 1, which is not ready", r->chunk_words[0] ^= WORD_PUT(1, 19));
        DAMAGE(d, BOTH, "chunk 0 of arena 0: owner 0, count 0, node 2",
               r->chunk_words[0] = chunk_with_node1(r->chunk_words[0], 2));
        DAMAGE(d, BOTH, "its head would be chunk",
               r->chunk_words[rich.huge] = chunk_with_count(r->chunk_words[rich.huge], 2));
        DAMAGE(d, BOTH, "a huge block of 8388608 chunks",
               r->chunk_words[rich.huge] = chunk_with_count(r->chunk_words[rich.huge], 1 << 23));
        DAMAGE(d, BOTH, "behind the head of a huge block of 3",
               r->chunk_words[rich.huge + 1] = chunk_with_count(r->chunk_words[rich.huge + 1], 2));
        DAMAGE(d, BOTH, "behind the head of a huge block of 3",
               r->chunk_words[rich.huge + 2] = chunk_word(CHUNK_FREE, 0, 0));
        DAMAGE(d, BOTH, "its head would be chunk", r->chunk_words[rich.huge] = chunk_word(CHUNK_FREE, 0, 0));
        DAMAGE(d, BOTH, "its head would be 0 chunks before it",
               r->chunk_words[rich.huge + 1] = chunk_with_count(r->chunk_words[rich.huge + 1], 0));
        DAMAGE(d, BOTH, "(inside a huge block): fields of its own",
               r->chunk_words[rich.huge + 1] = chunk_with_owner(r->chunk_words[rich.huge + 1], 1));
        DAMAGE(d, BOTH, "usable bytes", r->huge_bytes[rich.huge] = GEO_CHUNK_BYTES);
        DAMAGE(d, BOTH, "usable bytes", r->huge_bytes[rich.huge]++);
        DAMAGE(d, BOTH, "(huge): fields that it has not", r->chunk_words[rich.huge] |= CHUNK_DOOMED);
        DAMAGE(d, BOTH, "backed for 0 sixteenths, and its block needs 16",
               uint64_t g = (rich.huge + 1) * GEO_GRANULES_PER_CHUNK + 1;
               granule_change(g, granule_with_backed(GRANULE(g), 0)));
}

static void
damage_magazines(struct damage *d)
{
        DAMAGE(d, BOTH, "is also in magazine", MAGAZINE(rich.cached).slot[2] = MAGAZINE(rich.cached).slot[0]);
        DAMAGE(d, BOTH, "is also in magazine", make_in_two_magazines());
        DAMAGE(d, BOTH, "is not the start of a block of its slab", MAGAZINE(rich.cached).slot[1] += 8);
        DAMAGE(d, BOTH, "in a magazine for tag 1", MAGAZINE(rich.cached).slot[1] = MAGAZINE(rich.depot).slot[0]);
        DAMAGE(d, BOTH, "in a magazine for tag 1", MAGAZINE(rich.cached).slot[1] = MAGAZINE(rich.other).slot[0]);
        DAMAGE(d, BOTH, "lies beyond the chunks in use", MAGAZINE(rich.cached).slot[1] = 0);
        DAMAGE(d, BOTH, "lies in a free granule",
               MAGAZINE(rich.cached).slot[1] = region_entry(r, rich.free_granule << GEO_GRANULE_SHIFT));
        DAMAGE(d, BOTH, "is not the start of its large block", MAGAZINE(rich.cached_large).slot[0] ^= 64);
        DAMAGE(d, BOTH, "is also a root under construction by thread 1",
               t->gate->pending[0] = r->layout.chunks_off + region_entry_off(r, MAGAZINE(rich.depot).slot[0]));
        DAMAGE(d, BOTH, "entries, and it has room for", MAGAZINE(rich.cached).n = MAGAZINE(rich.cached).cap + 1);
        DAMAGE(d, BOTH, "entries, and it has room for", MAGAZINE(rich.cached).n = UINT64_MAX);
        DAMAGE(d, BOTH, "room for 1099511627776 blocks", MAGAZINE(rich.cached).cap = UINT64_C(1) << 40);
        DAMAGE(d, BOTH, "room for", MAGAZINE(rich.cached).cap--);
        DAMAGE(d, BOTH, "(pool): 1 entries", MAGAZINE(rich.pooled).n = 1);
        DAMAGE(d, BOTH, "(pool): fields that it has not",
               magazine_change(rich.pooled, magazine_word(MAGAZINE_POOL, 0, 0, 5)));
        DAMAGE(d, BOTH, "empty in the depot of arena 0", MAGAZINE(rich.depot).n = 0);
        DAMAGE(d, BOTH, "in the depot of arena 0, and owned by thread 1",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 1, 0, tag_make(0, 1))));
        DAMAGE(d, BOTH, "of arena 2, for blocks of node 0",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 0, 2, tag_make(0, 1))));
        DAMAGE(d, BOTH, "of arena 1, for blocks of node 0",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 0, 1, tag_make(0, 1))));
        DAMAGE(d, BOTH, "in a magazine for tag 1",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 0, 0, tag_make(0, 0))));
        DAMAGE(d, BOTH, "for tag 65535, which has none",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, t->no, 0, 0xffff)));
        DAMAGE(d, BOTH, "for tag 0, which has none",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, t->no, 0, 0)));
        DAMAGE(d, BOTH, "(pool): fields that it has not", r->magazine_words[rich.pooled] |= MAGAZINE_PURGING);
        DAMAGE(d, BOTH, "(pool): fields that it has not",
               magazine_change(rich.pooled, magazine_word(MAGAZINE_POOL, t->no, 0, 0) | MAGAZINE_BARE));
        DAMAGE(d, REST, "is owned by thread 1 although nobody is running",
               magazine_change(rich.pooled, magazine_word(MAGAZINE_PURGING, t->no, 0, 0) | MAGAZINE_BARE));
        DAMAGE(d, BOTH, "no word of a magazine", r->magazine_words[rich.cached] |= UINT64_C(1) << 60);
        DAMAGE(d, BOTH, "no word of a magazine", r->magazine_words[rich.cached] |= UINT64_C(1) << 46);
        DAMAGE(d, BOTH, "no word of a magazine", r->magazine_words[rich.depot] |= MAGAZINE_BARE);
        DAMAGE(d, REST, "no word of a magazine", r->magazine_words[rich.cached] |= MAGAZINE_BARE);
        DAMAGE(d, BOTH, "owned by thread 3, whose slot does not exist",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, 3, 0, TAG0)));
        DAMAGE(d, BOTH, "owned by thread 2, and none of its places names it",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, u->no, 0, TAG0)));
        DAMAGE(d, BOTH, "owned by thread 1, and none of its places names it", *magazine_spare(t, TAG0) = 0);
        DAMAGE(d, REST, "in 2 places of thread 1", r->magazine_words[rich.spare] = 0;
               *magazine_spare(t, TAG0) = rich.cached + 1);
}

static void
damage_slots(struct damage *d)
{
        DAMAGE(d, BOTH, "names magazine 2147483646, which does not exist",
               *magazine_spare(t, tag_make(0, 5)) = 0x7fffffff);
        DAMAGE(d, REST, "which is not its own", *magazine_current(t, tag_make(1, 0)) = rich.other + 1);
        DAMAGE(d, BOTH, "which is for tag 1", *magazine_current(t, tag_make(0, 5)) = rich.cached + 1);
        DAMAGE(d, REST, "in its hand although nobody is running", t->slot->hand = rich.pooled + 1);
        DAMAGE(d, REST, "intent 1 stands although nobody is running", t->slot->intent.kind = INTENT_FILL);
        DAMAGE(d, BOTH, "an intent of kind 77", t->slot->intent.kind = 77);
        DAMAGE(d, REST, "stands although nobody is running", t->slot->candidate = candidate_make(CANDIDATE_RUN, 3, 1));
        DAMAGE(d, BOTH, "a candidate of kind 15", t->slot->candidate = 15);
        DAMAGE(d, BOTH, "its slot has state 2", t->gate->state = 2);
        DAMAGE(d, BOTH, "owned by thread 1, whose slot is empty", t->gate->state = 0);
        DAMAGE(d, BOTH, "of client 70000, which does not exist", t->gate->client_idx = 70000);
        DAMAGE(d, BOTH, "bound to arena 900", r->bindings[t->no - 1] = BINDING_ARENA(900));
        DAMAGE(d, BOTH, "its binding 0 says empty", r->bindings[t->no - 1] = 0);
        DAMAGE(d, REST, "its slot is empty, and its binding 0x40000001 says in use", make_empty_slot();
               r->bindings[2] = BINDING_ARENA(0));
        DAMAGE(d, BOTH, "its slot is empty, and a place names magazine 8", make_empty_slot()->magazines[1] = 9);
        DAMAGE(d, BOTH, "bound, and its slot does not exist", r->bindings[7] = BINDING_USED);
        DAMAGE(d, BOTH, "client 0: state 3", r->clients[0].word |= 3);
        DAMAGE(d, BOTH, "pending for a root, is not the start of a block",
               t->gate->pending[1] = r->layout.chunks_off + 8);
        DAMAGE(d, BOTH, "pending for a root, lies in a free granule",
               t->gate->pending[1] = r->layout.chunks_off + (rich.free_granule << GEO_GRANULE_SHIFT));
        DAMAGE(d, BOTH, "is pending for one of thread 1, too", t->gate->pending[1] = t->gate->pending[0]);
        DAMAGE(d, REST, "a root is being made or removed", t->gate->pending[1] = 1);
}

static void
damage_roots(struct damage *d)
{
        DAMAGE(d, BOTH, "new, and it belongs to nobody", r->roots[0].word = ROOT_NEW);
        DAMAGE(d, BOTH, "free, and it has an object", r->roots[0].word = 0; r->header->roots_head = 0);
        DAMAGE(d, BOTH, "in the chain, and not linked by its word", r->roots[0].word = ROOT_FREE);
        DAMAGE(d, BOTH, "is pending in thread 1, too", t->gate->pending[1] = r->layout.chunks_off + rich.object);
        DAMAGE(d, BOTH, "no word of a record", r->roots[0].word |= WORD_PUT(2, 4));
        DAMAGE(d, BOTH, "linked without a name", memset(r->roots[0].name, 'x', sizeof r->roots[0].name));
        DAMAGE(d, BOTH, "linked by its word, and not in the chain", r->header->roots_head = 0);
        DAMAGE(d, BOTH, "the chain leads to record 3999", r->header->roots_head = 4000);
        DAMAGE(d, BOTH, "the chain comes back to record 0", r->roots[0].next = 1);
        DAMAGE(d, BOTH, "its object, block", r->roots[0].object += UINT64_C(1) << 32);
        DAMAGE(d, REST, "its object is being changed although nobody is running", r->roots[0].object ^= 3);
        DAMAGE(d, BOTH, ", is in magazine", make_root_object_cached());
        DAMAGE(d, REST, "is another root's, too", make_two_roots());
}

static void
damage_header(struct damage *d)
{
        DAMAGE(d, BOTH, "the magic number is gone", r->header->magic++);
        DAMAGE(d, BOTH, "not the layout of this library", r->header->version++);
        DAMAGE(d, BOTH, "not the layout of this library", r->header->hash++);
        DAMAGE(d, BOTH, "features that this library does not know", r->header->features_ro_compat = 1);
        DAMAGE(d, BOTH, "features that this library does not know", r->header->features_incompat = 1);
        DAMAGE(d, BOTH, "region_bytes is", r->header->region_bytes++);
        DAMAGE(d, BOTH, "the base address has changed", r->header->base_addr += 4096);
        DAMAGE(d, BOTH, "the parameters have changed", r->header->params.n_nodes = 1);
        DAMAGE(d, BOTH, "the parameters have changed", r->header->params.max_threads = 0);
        DAMAGE(d, BOTH, "chunks_hwm is 18446744073709551615", r->header->chunks_hwm = UINT64_MAX);
        DAMAGE(d, BOTH, "and the capacity 1", r->header->capacity_chunks = 1);
        DAMAGE(d, BOTH, "capacity_chunks is 1000", r->header->capacity_chunks = 1000);
        DAMAGE(d, BOTH, "threads_hwm is", r->header->threads_hwm = UINT32_MAX);
        DAMAGE(d, BOTH, "clients_hwm is", r->header->clients_hwm = UINT32_MAX);
        DAMAGE(d, BOTH, "roots_hwm is", r->header->roots_hwm = UINT32_MAX);
        DAMAGE(d, BOTH, "magazines_hwm is", r->header->magazines_hwm[0] = UINT32_MAX);
        DAMAGE(d, BOTH, "magazines_hwm is 1, and the table ends at 0", r->header->magazines_hwm[9] = 1);
        DAMAGE(d, BOTH, "are folded by thread 60000, whose slot does not exist",
               r->header->folding = folding_word(60000, 1, false, 0));
        DAMAGE(d, BOTH, "are folded by thread 3, whose slot is empty", make_empty_slot();
               r->header->folding = folding_word(3, 1, false, 0));
        DAMAGE(d, REST, "thread 1 folds counters although nobody is running",
               r->header->folding = folding_word(1, 2, false, 0));
        DAMAGE(d, BOTH, "folding is no word of that", r->header->folding = folding_word(1, 60000, false, 0));
        DAMAGE(d, BOTH, "folding is no word of that", r->header->folding = WORD_PUT(1, 32));
        DAMAGE(d, BOTH, "arena 1: its word is 7", r->arena_words[1] = 7);
        DAMAGE(d, BOTH, "which is not ready", r->arena_words[0] = 0);
}

/* Does damage `wanted`; how many there are. */
static int
damage(int wanted, struct damage *d)
{
        *d = (struct damage){.wanted = wanted};
        damage_granules(d);
        damage_chunks(d);
        damage_magazines(d);
        damage_slots(d);
        damage_roots(d);
        damage_header(d);
        return d->n;
}

START_TEST(damage_is_found_and_named)
{
        struct damage d;
        int n;

        damage(_i, &d);
        n = rich_heap_ask(&rich, CHECK_QUIESCENT, NULL);
        ck_assert_msg(n > 0, "damage %d: \"%s\" is not found", _i, d.says);
        ck_assert_msg(strstr(rich.report, d.says) != NULL, "damage %d is not named \"%s\", but:\n%s", _i, d.says,
                      rich.report);
        n = rich_heap_ask(&rich, 0, NULL);
        if (d.when == BOTH)
                ck_assert_msg(n > 0 && strstr(rich.report, d.says) != NULL,
                              "damage %d is not named \"%s\" while running, but:\n%s", _i, d.says, rich.report);
        else
                ck_assert_msg(n == 0, "damage %d is work in progress, and not:\n%s", _i, rich.report);
}
END_TEST

/* ------------------------------------------------------------------ bounds */

START_TEST(report_is_bounded)
{
        uint32_t n_lines = 0;
        int n;

        for (uint64_t g = 0; g < region_granules_hwm(r); g++)
                r->tags[g] = 999;
        n = rich_heap_ask(&rich, CHECK_QUIESCENT, NULL);
        ck_assert_int_gt(n, CHECK_LINES_MAX);
        for (const char *at = rich.report; (at = strstr(at, "fault: ")) != NULL; at++)
                n_lines++;
        ck_assert_uint_eq(n_lines, CHECK_LINES_MAX);
        ck_assert_ptr_nonnull(strstr(rich.report, "more faults"));
        ck_assert_ptr_nonnull(strstr(rich.report, "damaged: "));
}
END_TEST

/* The other place of a block is looked for, but not for ever. */
START_TEST(blocks_in_thousands_of_places_are_reported_in_time)
{
        enum { N_MAGAZINES = 64 };
        uint32_t cap = size_class_magazine_cap(0), first = region_magazines_hwm(r, 0);

        for (uint32_t idx = first; idx < first + N_MAGAZINES; idx++) {
                ck_assert_int_eq(region_raise_magazines(r, 0, idx), 0);
                r->magazine_words[idx] = magazine_word(MAGAZINE_DEPOT, 0, 0, TAG0);
                MAGAZINE(idx).n = MAGAZINE(idx).cap = cap;
                for (uint32_t i = 0; i < cap; i++)
                        MAGAZINE(idx).slot[i] = region_entry(r, rich.live);
        }
        ck_assert_int_eq(rich_heap_ask(&rich, CHECK_QUIESCENT, NULL), (int)(N_MAGAZINES * cap - 1));
        ck_assert_int_gt(rich_heap_ask(&rich, 0, NULL), 0);
}
END_TEST

/* A walk over everything the hints are for: without them memory is found by the clock hands only. */
START_TEST(lost_hints_are_no_faults_and_counted)
{
        struct check_totals totals;

        heap_scramble_hints(r, false);
        ck_assert_int_eq(rich_heap_ask(&rich, CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_ge(totals.unhinted_bytes, totals.free_run_bytes + totals.n_chunks_free * GEO_CHUNK_BYTES);
        heap_scramble_hints(r, true);
        ck_assert_int_eq(rich_heap_ask(&rich, CHECK_QUIESCENT, NULL), 0);
}
END_TEST

/* ------------------------------------------------------------------ hostile regions */

enum { FUZZ_ROUNDS = 1000, FUZZ_WORDS_MAX = 24 };

/* Tables and how much of them there is below the marks, since that is where the check looks. */
static struct {
        uint64_t off, bytes;
} tables[TABLE_N + 1];

static void
find_tables(void)
{
        for (int table = 0; table < TABLE_N; table++) {
                uint64_t n = r->layout.n[table], chunks = region_chunks_hwm(r);

                if (table == TABLE_CLIENTS)
                        n = region_clients_hwm(r);
                if (table == TABLE_THREADS)
                        n = region_threads_hwm(r) + 1;
                if (table == TABLE_ROOTS)
                        n = region_roots_hwm(r) + 1;
                if (table == TABLE_MAGAZINE_WORDS || table == TABLE_MAGAZINES)
                        n = region_magazines_hwm(r, 0) + 2;
                if (table == TABLE_GRANULES || table == TABLE_SLABS || table == TABLE_SLAB_RESTS || table == TABLE_TAGS)
                        n = chunks * GEO_GRANULES_PER_CHUNK;
                tables[table].off = r->layout.off[table];
                tables[table].bytes = n * r->layout.stride[table];
        }
        tables[TABLE_N].bytes = sizeof *r->header;
}

struct flipped {
        uint64_t *word, old;
};

static void
flip_some(uint64_t *seed, struct flipped flipped[FUZZ_WORDS_MAX], uint32_t n)
{
        for (uint32_t i = 0; i < n; i++) {
                uint32_t table = (uint32_t)(random_next(seed) % (TABLE_N + 1));
                uint64_t at = tables[table].off + random_next(seed) % tables[table].bytes / 8 * 8;
                uint64_t *word = (uint64_t *)(void *)(r->base + at);
                uint64_t kind = random_next(seed) % 4, value = random_next(seed);

                flipped[i] = (struct flipped){word, *word};
                if (kind == 0)
                        *word = value;
                else if (kind == 1)
                        *word ^= UINT64_C(1) << value % 64;
                else if (kind == 2)
                        *word += value % 16 - 8;
                else
                        *word = *(uint64_t *)(void *)(r->base + tables[table].off +
                                                      value % tables[table].bytes / 8 * 8);
        }
}

static int
count_visit(const struct check_block *block, void *arg)
{
        (void)block;
        ++*(uint64_t *)arg;
        return 0;
}

START_TEST(random_damage_changes_nothing_but_the_verdict)
{
        uint64_t seed = UINT64_C(0x9e3779b97f4a7c15), n_visited = 0, n_found = 0;
        struct flipped flipped[FUZZ_WORDS_MAX];
        unsigned n_rounds = effort(FUZZ_ROUNDS);

        find_tables();
        rich_heap_protect(&rich, PROT_READ | PROT_WRITE, PROT_NONE);
        for (unsigned round = 0; round < n_rounds; round++) {
                uint32_t n = 1 + (uint32_t)(random_next(&seed) % FUZZ_WORDS_MAX);

                flip_some(&seed, flipped, n);
                n_found += rich_heap_ask_unprotected(&rich, round % 8 == 0 ? 0 : CHECK_QUIESCENT, NULL) > 0;
                if (round % 4 == 0)
                        ck_assert_int_eq(check_walk(r, 15, count_visit, &n_visited), 0);
                if (round % 16 == 0)
                        check_block_is_allocated(r, random_next(&seed) % (r->layout.n_chunks << GEO_CHUNK_SHIFT));
                while (n-- > 0)
                        *flipped[n].word = flipped[n].old;
        }
        rich_heap_expect_good(&rich, CHECK_QUIESCENT);
        ck_assert_uint_gt(n_found, n_rounds / 4);
        ck_assert_uint_gt(n_visited, 0);
}
END_TEST

/* ------------------------------------------------------------------ suite */

int
main(void)
{
        Suite *suite = suite_create("check_damage");
        TCase *tcase = tcase_create("damaged");
        struct damage none;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 240);
        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, damage_is_found_and_named, 0, damage(-1, &none));
        tcase_add_test(tcase, report_is_bounded);
        tcase_add_test(tcase, blocks_in_thousands_of_places_are_reported_in_time);
        tcase_add_test(tcase, lost_hints_are_no_faults_and_counted);
        tcase_add_test(tcase, random_damage_changes_nothing_but_the_verdict);
        return suite_run(suite);
}
