/*
 * explain.c - `shmallocctl explain`: what is at one address of a heap, for whoever holds a pointer and wonders.
 *
 * The words are read as they stand, each once, and tested before they are followed, as the check does: the heap may be
 * damaged, and others may be using it.  Then the answer is one of some moment: what is in a cache now may be somebody's
 * before the line is printed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "blocks/large.h"
#include "clients/owner.h"
#include "common/text.h"
#include "ctl/ctl.h"
#include "heap/root_cell.h"
#include "layout/words.h"
#include "region/file.h"

#define NOWHERE UINT64_MAX

/* What lies there, and if it is a block, where that is now. */
enum what {
        WHAT_TABLE,  /* a table of the heap's own */
        WHAT_UNUSED, /* beyond all chunks that were ever used */
        WHAT_FREE,   /* a free chunk or granule */
        WHAT_MOVING, /* being claimed, given back or purged */
        WHAT_REST,   /* of a slab or a run, in no block */
        WHAT_BROKEN, /* the words contradict each other */
        WHAT_BLOCK_FREE,
        WHAT_BLOCK_CACHED,
        WHAT_BLOCK_PENDING,
        WHAT_BLOCK_LIVE,
        WHAT_N
};

static const char *const what_names[WHAT_N] = {
        [WHAT_TABLE] = "table",
        [WHAT_UNUSED] = "unused",
        [WHAT_FREE] = "free",
        [WHAT_MOVING] = "moving",
        [WHAT_REST] = "rest",
        [WHAT_BROKEN] = "broken",
        [WHAT_BLOCK_FREE] = "block free in its slab",
        [WHAT_BLOCK_CACHED] = "block cached",
        [WHAT_BLOCK_PENDING] = "block of a root under construction",
        [WHAT_BLOCK_LIVE] = "block allocated",
};

/* A table without a name here does not compile. */
static const char *
table_name(enum layout_table table)
{
        switch (table) {
        case TABLE_ARENA_WORDS:
                return "arena words";
        case TABLE_BINDINGS:
                return "bindings of threads";
        case TABLE_FREE_CHUNKS:
                return "free chunks";
        case TABLE_POOL_HINTS:
                return "hints to magazines";
        case TABLE_CLIENTS:
                return "clients";
        case TABLE_GATES:
                return "gates of thread slots";
        case TABLE_TOTALS:
                return "totals of thread slots";
        case TABLE_THREADS:
                return "thread slots";
        case TABLE_ROOTS:
                return "roots";
        case TABLE_ARENAS:
                return "arenas";
        case TABLE_HINT_GROUPS:
                return "hints";
        case TABLE_MAGAZINE_WORDS:
                return "magazine words";
        case TABLE_MAGAZINES:
                return "magazines";
        case TABLE_CHUNK_WORDS:
                return "chunk words";
        case TABLE_HUGE_BYTES:
                return "huge sizes";
        case TABLE_CHUNK_MAPS:
                return "chunk maps";
        case TABLE_GRANULES:
                return "granule words";
        case TABLE_SLABS:
                return "bitmaps of slabs";
        case TABLE_REST_MAPS:
                return "maps of bitmaps";
        case TABLE_SLAB_RESTS:
                return "long bitmaps of slabs";
        case TABLE_TAGS:
                return "tags";
        case TABLE_N:
                break;
        }
        return "no table";
}

struct place {
        const struct region *r;
        struct client_views clients;
        uint64_t region_off; /* from the base: what a reference is */
        uint64_t off;        /* from the first chunk; NOWHERE: in a table */
        enum what what;
        const char *why; /* WHAT_BROKEN, WHAT_MOVING, WHAT_REST, WHAT_FREE: in words */

        enum layout_table table;
        uint64_t element; /* UINT64_MAX: before or between the tables */

        uint64_t chunk, granule;
        uint32_t arena, node;                 /* UINT32_MAX: of none */
        uint32_t owner;                       /* of the slab, the run or the chunk; THREAD_NONE */
        uint64_t head;                        /* granule, or chunk of a huge block; NOWHERE */
        uint32_t class_idx;                   /* SIZE_CLASS_NONE: huge, or none */
        uint32_t n_blocks, n_free;            /* of a slab */
        uint64_t block_off, bytes, block_idx; /* NOWHERE: there is no block */
        uint64_t magazine, entry, n_entries;  /* NOWHERE */
        uint64_t magazine_word;
        uint32_t pending_thread;             /* THREAD_NONE */
        char root[LAYOUT_ROOT_NAME_MAX + 1]; /* as it stands in the heap; empty: the object of none */
};

/* ------------------------------------------------------------------ where a block is now */

static bool
entry_names(const struct place *p, uint64_t entry)
{
        uint64_t off = region_entry_off(p->r, entry);

        return size_class_is_large(p->class_idx) ? off >> GEO_GRANULE_SHIFT == p->head : off == p->block_off;
}

static bool
find_in_magazine(struct place *p, uint64_t idx)
{
        uint64_t word = load_acquire(&p->r->magazine_words[idx]), n;
        struct magazine m;

        if ((magazine_state(word) != MAGAZINE_TCACHE && magazine_state(word) != MAGAZINE_DEPOT) ||
            magazine_is_bare(word))
                return false;
        file_look(p->r, p->r->fd, &p->r->magazines[idx], &m, sizeof m);
        n = m.n;
        for (uint64_t i = 0; i < n && i < MAGAZINE_CAP_MAX; i++)
                if (entry_names(p, m.slot[i])) {
                        p->magazine = idx;
                        p->magazine_word = word;
                        p->entry = i;
                        p->n_entries = n;
                        return true;
                }
        return false;
}

static bool
find_in_magazines(struct place *p)
{
        for (uint32_t node = 0; node < p->r->n_nodes; node++)
                for (uint32_t i = 0; i < region_magazines_hwm(p->r, node); i++)
                        if (find_in_magazine(p, (uint64_t)node * p->r->layout.magazines_per_node + i))
                                return true;
        return false;
}

/* A pending word that names the block, and is not about one that an object has already. */
static bool
find_pending(struct place *p)
{
        for (uint32_t idx = 0; idx < region_threads_hwm(p->r); idx++) {
                const struct slot_gate *gate = region_gate(p->r, idx);

                for (uint32_t k = 0; gate && k < ROOTS_PENDING_MAX; k++) {
                        uint64_t word = load_acquire(&gate->pending[k]);
                        enum cell_kind kind = cell_kind(word);

                        if ((kind == CELL_BLOCK && word == p->block_off + p->r->layout.chunks_off) ||
                            (kind == CELL_BUILDING && cell_block_off(word) == p->block_off)) {
                                p->pending_thread = idx + 1;
                                return true;
                        }
                }
        }
        return false;
}

static void
find_root(struct place *p)
{
        for (uint32_t i = 0; i < region_roots_hwm(p->r); i++) {
                uint64_t word = load_acquire(&p->r->roots[i].object);

                if (cell_kind(word) == CELL_OBJECT && cell_block_off(word) == p->block_off) {
                        memcpy(p->root, p->r->roots[i].name, LAYOUT_ROOT_NAME_MAX);
                        return;
                }
        }
}

static void
find_block_state(struct place *p, bool is_free)
{
        if (is_free)
                p->what = WHAT_BLOCK_FREE;
        else if (find_in_magazines(p))
                p->what = WHAT_BLOCK_CACHED;
        else if (find_pending(p))
                p->what = WHAT_BLOCK_PENDING;
        else
                p->what = WHAT_BLOCK_LIVE;
        if (p->what == WHAT_BLOCK_LIVE)
                find_root(p);
}

/* ------------------------------------------------------------------ what lies there */

static void
set(struct place *p, enum what what, const char *why)
{
        p->what = what;
        p->why = why;
}

static void
look_into_slab(struct place *p, uint64_t word)
{
        uint64_t off = p->off - (p->head << GEO_GRANULE_SHIFT);
        uint32_t class_idx = granule_class(word);

        if (!size_class_is_small(class_idx) || !region_has_bitmap(p->r, p->head, class_idx) ||
            off >= (uint64_t)size_class_slab_granules(class_idx) << GEO_GRANULE_SHIFT) {
                set(p, WHAT_BROKEN, "a slab of no class, without its bitmap, or that ends before");
                return;
        }
        p->class_idx = class_idx;
        p->n_blocks = size_class_slab_blocks(class_idx);
        p->n_free = granule_count(word);
        if (off / size_class_bytes(class_idx) >= p->n_blocks) {
                set(p, WHAT_REST, "behind the last block of its slab");
                return;
        }
        p->bytes = size_class_bytes(class_idx);
        p->block_idx = off / p->bytes;
        p->block_off = (p->head << GEO_GRANULE_SHIFT) + p->block_idx * p->bytes;
        find_block_state(
                p, load_relaxed(region_slab_word(p->r, p->head, (uint32_t)p->block_idx / 64)) >> p->block_idx % 64 & 1);
}

static void
look_into_run(struct place *p, uint64_t word)
{
        uint32_t class_idx = granule_class(word);
        uint64_t start = (p->head << GEO_GRANULE_SHIFT) + (uint64_t)granule_stamp(word) * LARGE_COLOUR_ALIGN;

        if (!size_class_is_large(class_idx) || p->granule - p->head >= granule_count(word)) {
                set(p, WHAT_BROKEN, "a large run of no class, or that ends before");
                return;
        }
        p->class_idx = class_idx;
        p->bytes = size_class_bytes(class_idx);
        p->block_off = start;
        p->block_idx = 0;
        if (p->off < start || p->off >= start + p->bytes) {
                set(p, WHAT_REST, p->off < start ? "before the block of its run" : "behind the block of its run");
                return;
        }
        find_block_state(p, false);
}

static void
look_into_granule(struct place *p)
{
        uint64_t word = load_acquire(&p->r->granules[p->granule]);

        p->head = p->granule;
        if (granule_state(word) == GRANULE_CONT) {
                if (granule_count(word) > p->granule % GEO_GRANULES_PER_CHUNK) {
                        set(p, WHAT_BROKEN, "inside of a run without a head");
                        return;
                }
                p->head = p->granule - granule_count(word);
                word = load_acquire(&p->r->granules[p->head]);
        }
        p->owner = granule_owner(word);
        p->arena = granule_arena(word);
        if (p->arena < p->r->layout.n_arenas)
                p->node = region_arena_node(p->r, p->arena);
        switch (granule_state(word)) {
        case GRANULE_SLAB:
                look_into_slab(p, word);
                return;
        case GRANULE_LARGE:
                look_into_run(p, word);
                return;
        case GRANULE_FREE:
                set(p, WHAT_FREE, word & GRANULE_MAY_HAVE ? "a free granule, which may have pages" : "a free granule");
                return;
        case GRANULE_NEW:
        case GRANULE_FREEING:
        case GRANULE_PURGING:
                set(p, WHAT_MOVING, "a granule that is being claimed, freed or purged");
                return;
        default:
                set(p, WHAT_BROKEN, "a granule of no known state in a chunk of an arena");
        }
}

static void
look_into_huge(struct place *p, uint64_t word)
{
        uint64_t most, bytes;

        p->head = p->chunk;
        if (chunk_state(word) == CHUNK_TAIL && chunk_count(word) <= p->chunk) {
                p->head = p->chunk - chunk_count(word);
                word = load_acquire(&p->r->chunk_words[p->head]);
        }
        p->owner = chunk_owner(word);
        if (chunk_state(word) != CHUNK_HUGE || p->chunk - p->head >= chunk_count(word)) {
                set(p, WHAT_BROKEN, "inside of a huge block without a head, or that ends before");
                return;
        }
        most = (uint64_t)chunk_count(word) << GEO_CHUNK_SHIFT;
        bytes = load_relaxed(&p->r->huge_bytes[p->head]);
        p->bytes = bytes < most ? bytes : most;
        p->block_off = p->head << GEO_CHUNK_SHIFT;
        p->block_idx = 0;
        if (p->off >= p->block_off + p->bytes)
                set(p, WHAT_REST, "behind the block in its last chunk");
        else
                find_block_state(p, false);
}

static void
look_into_chunk(struct place *p)
{
        uint64_t word;

        p->chunk = p->off >> GEO_CHUNK_SHIFT;
        p->granule = p->off >> GEO_GRANULE_SHIFT;
        if (p->chunk >= region_chunks_hwm(p->r)) {
                set(p, WHAT_UNUSED, "beyond the chunks that were ever used");
                return;
        }
        word = load_acquire(&p->r->chunk_words[p->chunk]);
        p->owner = chunk_owner(word);
        if (chunk_node1(word) != 0)
                p->node = chunk_node1(word) - 1;
        switch (chunk_state(word)) {
        case CHUNK_FREE:
                set(p, WHAT_FREE, "a free chunk");
                return;
        case CHUNK_ARENA:
                look_into_granule(p);
                return;
        case CHUNK_HUGE:
        case CHUNK_TAIL:
                look_into_huge(p, word);
                return;
        case CHUNK_NEW:
        case CHUNK_FREEING:
                set(p, WHAT_MOVING, "a chunk that is being claimed or freed");
                return;
        default:
                set(p, WHAT_BROKEN, "a chunk of no known state");
        }
}

static void
look_into_tables(struct place *p)
{
        const struct layout *layout = &p->r->layout;

        set(p, WHAT_TABLE, "the header, or between two tables");
        for (int t = 0; t < TABLE_N; t++) {
                uint64_t at = p->region_off - layout->off[t];

                if (p->region_off >= layout->off[t] && at < layout->n[t] * layout->stride[t]) {
                        p->table = (enum layout_table)t;
                        p->element = at / layout->stride[t];
                        p->why = table_name(p->table);
                        return;
                }
        }
}

/* ------------------------------------------------------------------ telling */

static uint64_t
pointer_to(const struct view *v, uint64_t off)
{
        return v->header.copy.base_addr + v->header.layout.chunks_off + off;
}

/* Whose slot it is; NULL: nobody's that is in the table of clients. */
static const struct client_view *
client_of(const struct place *p, uint32_t thread_no)
{
        const struct slot_gate *gate = thread_no == THREAD_NONE ? NULL : region_gate(p->r, thread_no - 1);

        for (uint32_t i = 0; gate && i < p->clients.n; i++)
                if (p->clients.all[i].idx == load_relaxed(&gate->client_idx) &&
                    p->clients.all[i].incarnation == load_relaxed(&gate->client_incarnation))
                        return &p->clients.all[i];
        return NULL;
}

static void
print_thread(const struct place *p, uint32_t thread_no)
{
        const struct client_view *c = client_of(p, thread_no);
        char state[CLIENT_TEXT_MAX];

        printf("thread %u", thread_no);
        if (c)
                printf(" of client %u.%u, process %u \"%s\", %s", c->idx, c->incarnation, c->pid, c->name,
                       client_state_text(state, c));
        else
                printf(", of no client that is known");
}

static void
print_run(const struct view *v, const struct place *p)
{
        (void)v;
        if (p->head == NOWHERE || (p->bytes == NOWHERE && p->n_blocks == 0))
                return;
        if (p->class_idx == SIZE_CLASS_NONE)
                printf("  huge block from chunk %" PRIu64 " on", p->head);
        else if (p->n_blocks == 0)
                printf("  large run from granule %" PRIu64 " on, of class %" PRIu64 " bytes", p->head,
                       size_class_bytes(p->class_idx));
        else
                printf("  slab from granule %" PRIu64 " on: %u block%s of %" PRIu64 " bytes, %u of them free in it",
                       p->head, p->n_blocks, text_s(p->n_blocks), size_class_bytes(p->class_idx), p->n_free);
        printf("\n");
}

static void
print_cache(const struct place *p)
{
        uint64_t word = p->magazine_word;

        printf("  cached in magazine %" PRIu64 ", entry %" PRIu64 " of %" PRIu64 ", ", p->magazine, p->entry,
               p->n_entries);
        if (magazine_state(word) == MAGAZINE_TCACHE) {
                printf("of ");
                print_thread(p, magazine_owner(word));
        } else if (magazine_state(word) == MAGAZINE_DEPOT) {
                printf("in the depot of arena %u", magazine_arena(word));
        } else {
                printf("in no known state");
        }
        printf("\n");
}

static void
print_state(const struct place *p)
{
        char root[ROOT_TEXT_MAX];

        switch (p->what) {
        case WHAT_BLOCK_FREE:
                printf("  free in its slab\n");
                return;
        case WHAT_BLOCK_CACHED:
                print_cache(p);
                return;
        case WHAT_BLOCK_PENDING:
                printf("  a root's object under construction, by ");
                print_thread(p, p->pending_thread);
                printf("\n");
                return;
        case WHAT_BLOCK_LIVE:
                text_escape(root, sizeof root, p->root, sizeof p->root, TEXT_PLAIN);
                printf(root[0] ? "  allocated: the object of root \"%s\"\n" : "  allocated\n", root);
                return;
        default:
                printf("  %s%s\n",
                       p->what == WHAT_BROKEN ? "damaged: "
                       : p->what == WHAT_REST ? "in no block: "
                                              : "",
                       p->why);
        }
}

static void
print_text(const struct view *v, const struct place *p)
{
        if (p->what == WHAT_TABLE) {
                printf("heap %s: %#" PRIx64 ", reference %#" PRIx64 ", is no block's: %s", v->name,
                       v->header.copy.base_addr + p->region_off, p->region_off, p->why);
                printf(p->element == NOWHERE ? "\n" : ", element %" PRIu64 "\n", p->element);
                return;
        }
        printf("heap %s: %#" PRIx64 ", reference %#" PRIx64 ", offset %#" PRIx64 "\n", v->name, pointer_to(v, p->off),
               p->region_off, p->off);
        printf("  chunk %" PRIu64 ", granule %" PRIu64, p->chunk, p->granule);
        if (p->arena != UINT32_MAX)
                printf(", arena %u", p->arena);
        if (p->node != UINT32_MAX)
                printf(", node %u", p->node);
        printf("\n");
        print_run(v, p);
        if (p->owner != THREAD_NONE) {
                printf("  owned just now by ");
                print_thread(p, p->owner);
                printf("\n");
        }
        if (p->block_off != NOWHERE)
                printf("  block %" PRIu64 " at %#" PRIx64 ", %" PRIu64 " bytes; the address is at byte %" PRId64 "\n",
                       p->block_idx, pointer_to(v, p->block_off), p->bytes, (int64_t)(p->off - p->block_off));
        print_state(p);
}

static json_t *
thread_json(const struct place *p, uint32_t thread_no)
{
        const struct client_view *c = client_of(p, thread_no);

        if (thread_no == THREAD_NONE)
                return json_null();
        if (!c)
                return json_pack("{si}", "thread", thread_no);
        return json_pack("{si si si sI ss ss}", "thread", thread_no, "client", c->idx, "incarnation", c->incarnation,
                         "pid", (json_int_t)c->pid, "name", c->name, "state", client_state_name(c->state));
}

/* Numbers that do not apply are null. */
static json_t *
number(uint64_t value)
{
        return value == NOWHERE ? json_null() : json_integer((json_int_t)value);
}

static json_t *
number32(uint32_t value)
{
        return number(value == UINT32_MAX ? NOWHERE : value);
}

static int
print_json(const struct view *v, const struct place *p)
{
        char root[ROOT_TEXT_MAX];
        bool is_table = p->what == WHAT_TABLE, has_block = p->block_off != NOWHERE, is_cached = p->magazine != NOWHERE;
        json_t *j = json_pack("{ss ss so so so}", "name", v->name, "what", what_names[p->what], "pointer",
                              number(v->header.copy.base_addr + p->region_off), "reference", number(p->region_off),
                              "offset", number(p->off));

        json_object_set_new(j, "detail", p->why ? json_string(p->why) : json_null());
        json_object_set_new(j, "element", number(p->element));
        json_object_set_new(j, "chunk", number(is_table ? NOWHERE : p->chunk));
        json_object_set_new(j, "granule", number(is_table ? NOWHERE : p->granule));
        json_object_set_new(j, "arena", number32(p->arena));
        json_object_set_new(j, "node", number32(p->node));
        json_object_set_new(j, "owner", thread_json(p, p->owner));
        json_object_set_new(j, "class_bytes",
                            number(p->class_idx < SIZE_CLASS_N ? size_class_bytes(p->class_idx) : NOWHERE));
        json_object_set_new(j, "slab",
                            p->n_blocks == 0 ? json_null()
                                             : json_pack("{so si si}", "granule", number(p->head), "blocks",
                                                         p->n_blocks, "free", p->n_free));
        json_object_set_new(j, "block",
                            !has_block ? json_null()
                                       : json_pack("{so so so so}", "pointer", number(pointer_to(v, p->block_off)),
                                                   "offset", number(p->block_off), "bytes", number(p->bytes), "index",
                                                   number(p->block_idx)));
        json_object_set_new(j, "magazine",
                            !is_cached ? json_null()
                                       : json_pack("{so so so so so}", "index", number(p->magazine), "entry",
                                                   number(p->entry), "entries", number(p->n_entries), "owner",
                                                   thread_json(p, magazine_owner(p->magazine_word)), "arena",
                                                   number(magazine_arena(p->magazine_word))));
        json_object_set_new(j, "pending", thread_json(p, p->pending_thread));
        text_escape(root, sizeof root, p->root, sizeof p->root, TEXT_UTF8);
        json_object_set_new(j, "root", root[0] ? json_string(root) : json_null());
        return ctl_print_json(j);
}

/* ------------------------------------------------------------------ the verb */

enum { KEY_REF = 'r' };

struct explain_args {
        struct ctl_args common;
        bool is_ref;
};

static error_t
explain_option(int key, char *arg, struct argp_state *state)
{
        struct explain_args *args = state->input;

        (void)arg;
        if (key != KEY_REF)
                return ARGP_ERR_UNKNOWN;
        args->is_ref = true;
        return 0;
}

/* Digits, or 0x and hexadecimal ones; nothing else. */
static bool
parse_address(const char *text, uint64_t *ret)
{
        bool is_hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
        const char *digits = is_hex ? text + 2 : text;
        char *end;

        if (!*digits || digits[strspn(digits, is_hex ? "0123456789abcdefABCDEF" : "0123456789")] != '\0')
                return false;
        errno = 0;
        *ret = strtoull(digits, &end, is_hex ? 16 : 10);
        return errno == 0;
}

/* An address where the heap is mapped at its own base; else an offset from the first block, as a check prints it. */
static int
resolve(const struct view *v, const char *text, uint64_t address, bool is_ref, uint64_t *ret_region_off)
{
        uint64_t base = v->header.copy.base_addr, bytes = v->header.layout.region_bytes,
                 chunks_off = v->header.layout.chunks_off;

        if (is_ref && address < bytes)
                *ret_region_off = address;
        else if (!is_ref && address >= base && address - base < bytes)
                *ret_region_off = address - base;
        else if (!is_ref && address < bytes - chunks_off)
                *ret_region_off = address + chunks_off;
        else
                return error_set(-EINVAL,
                                 is_ref ? "%s: references into heap \"%s\" are below %#" PRIx64
                                        : "%s: heap \"%s\" lies at %#" PRIx64 " to %#" PRIx64
                                          ", and offsets of blocks are below %#" PRIx64,
                                 text, v->name, is_ref ? bytes : base, base + bytes, bytes - chunks_off);
        return 0;
}

static int
explain(const struct view *v, uint64_t region_off, bool is_json)
{
        uint64_t chunks_off = v->header.layout.chunks_off;
        struct place p = {.r = &v->region,
                          .region_off = region_off,
                          .off = region_off < chunks_off ? NOWHERE : region_off - chunks_off,
                          .element = NOWHERE,
                          .arena = UINT32_MAX,
                          .node = UINT32_MAX,
                          .head = NOWHERE,
                          .class_idx = SIZE_CLASS_NONE,
                          .block_off = NOWHERE,
                          .bytes = NOWHERE,
                          .magazine = NOWHERE};
        int status = CTL_GOOD;

        clients_read(p.r, &p.clients);
        if (region_off < chunks_off)
                look_into_tables(&p);
        else
                look_into_chunk(&p);
        if (is_json)
                status = print_json(v, &p);
        else
                print_text(v, &p);
        clients_free(&p.clients);
        return status == CTL_GOOD && p.what == WHAT_BROKEN ? CTL_FAULTS : status;
}

int
verb_explain(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"ref", KEY_REF, NULL, 0, "ADDRESS is a reference (shref), from the base of the heap", 0}, {0}};
        struct explain_args args = {
                .common = {.wants = CTL_WANTS_NAME | CTL_WANTS_ADDRESS | CTL_WANTS_JSON | CTL_WANTS_FAULTS}};
        uint64_t address, region_off = 0;
        struct view v;
        int status;

        ctl_parse(
                argc, argv, &args.common, options, explain_option,
                "What is at an address: size class, slab, owner, and whether the block there is allocated, cached "
                "(where, "
                "and by whom) or free.\vADDRESS is a pointer of a process that has the heap at its own address, or an "
                "offset from the first block, as check prints them; decimal, or hexadecimal with 0x.  Exits with 1 if "
                "the tables contradict each other there.");
        if (!parse_address(args.common.address, &address)) {
                fprintf(stderr, "shmallocctl: \"%s\" is no address: digits, or 0x and hexadecimal ones\n",
                        args.common.address);
                return CTL_USAGE;
        }
        status = ctl_view(&v, args.common.name);
        if (status != CTL_GOOD)
                return status;
        if (resolve(&v, args.common.address, address, args.is_ref, &region_off) < 0)
                return ctl_view_done(&v, ctl_fail(-EINVAL));
        return ctl_view_done(&v, explain(&v, region_off, args.common.is_json));
}
