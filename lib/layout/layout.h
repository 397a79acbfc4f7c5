/*
 * layout.h - every byte that two processes agree on, but for the owner words (words.h).
 *
 * The region is a header, a handful of tables and the chunks.  Tables are sized when the region is created and are
 * sparse: nothing beyond a table's high-water mark is ever touched, because touching a hole of the file faults on a
 * full tmpfs.  The offsets follow from the parameters by layout_compute(), which every process runs itself: offsets
 * are never read from the region, and the header's own copy of the parameters is validated before it is used.
 *
 * Who may write a field stands beside it: const (since creation), owner (the thread or client that the slot is
 * held by), atomic (anybody, by the operation named), reaper (who holds the slot's `reap`).
 * Changing anything here bumps LAYOUT_VERSION, but for what a feature word can say (doc/compatibility.md); the first
 * line of the header never changes.
 */
#ifndef LAYOUT_LAYOUT_H
#define LAYOUT_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/geometry.h"
#include "base/size_class.h"
#include "layout/intents.h"
#include "layout/words.h"

#define LAYOUT_MAGIC   UINT64_C(0x636f6c6c616d6873) /* "shmalloc", little-endian */
#define LAYOUT_VERSION 9u

/* The first line of the header, and the bits of its feature words that this version knows. */
#define LAYOUT_FROZEN_BYTES       64u
#define LAYOUT_FEATURES_RO_COMPAT UINT64_C(0)
#define LAYOUT_FEATURES_INCOMPAT  UINT64_C(0)

#define LAYOUT_NAME_MAX      63u
#define LAYOUT_ROOT_NAME_MAX 63u

/* ------------------------------------------------------------------ parameters and header */

/* What the creator chose and everybody else computes the same offsets from. */
struct layout_params {
        uint64_t max_capacity;    /* const  bytes of chunks that address space is kept for; whole chunks */
        uint32_t max_clients;     /* const */
        uint32_t max_threads;     /* const */
        uint32_t n_nodes;         /* const  NUMA nodes, numbered as the system numbers them; and the spread one */
        uint32_t arenas_per_node; /* const */
        uint32_t max_roots;       /* const */
        uint32_t page_shift;      /* const  12, 21 or 30 */
        uint32_t has_spread;      /* const  1: the last node is not one of the system's: its pages are interleaved */
};

struct region_header {
        /* The frozen line: any version of the library, past or future, can read these 64 bytes of any other's heap. */
        uint64_t magic;              /* const */
        uint32_t version;            /* const  LAYOUT_VERSION */
        uint32_t hash;               /* const  layout_hash(): geometry, struct sizes */
        uint64_t region_bytes;       /* const  size of the file */
        uint64_t base_addr;          /* const  where every process maps it */
        uint64_t id;                 /* const  random, tells heaps of one name apart */
        uint64_t features_compat;    /* const  who does not know a bit ignores it */
        uint64_t features_ro_compat; /* const  who does not know a bit may only read */
        uint64_t features_incompat;  /* const  who does not know a bit keeps out */

        struct layout_params params;    /* const */
        char name[LAYOUT_NAME_MAX + 1]; /* const  as given at creation, NUL padded */
        uint64_t created_realtime_ns;   /* const */
        int64_t decay_ms;               /* atomic store  hint; -1 never, 0 at once */
        uint32_t numa_policy;           /* const  SHHEAP_NUMA_* */
        uint32_t creator_uid;           /* const  in its own user namespace */
        uint64_t creator_user_ns;       /* const  inode of that, 0 = unknown */
        uint64_t numa_nodes;            /* const  bit mask of allowed nodes; 0 = all */

        /* high-water marks: from k to k + 1 only, by CAS, after reserving k's metadata; each never shrinks */
        uint64_t capacity_chunks __attribute__((aligned(64))); /* atomic CAS  grows up to max_capacity */
        uint64_t sweep;   /* atomic CAS, reaper  words.h: who sweeps beyond which mark */
        uint64_t folding; /* atomic CAS, reaper  words.h: who folds which slot's counters, and where the totals are */
        uint64_t chunks_hwm __attribute__((aligned(64)));  /* atomic CAS  E1: chunk metadata below it is reserved */
        uint32_t threads_hwm __attribute__((aligned(64))); /* atomic CAS */
        uint32_t clients_hwm;                              /* atomic CAS */
        uint32_t roots_hwm;                                /* atomic CAS */
        uint32_t roots_head;                               /* atomic CAS  first linked root record + 1 */
        uint64_t n_released __attribute__((aligned(64)));  /* atomic add  runs and chunks given back, ever */

        uint32_t magazines_hwm[NODE_MAX] __attribute__((aligned(64))); /* atomic CAS  per node */
        uint64_t node_version[NODE_MAX] __attribute__((aligned(64)));  /* atomic CAS  bumped by every binder */
};

/* ------------------------------------------------------------------ clients and threads */

enum client_state { CLIENT_EMPTY = 0, CLIENT_LIVE = 1 };

/* One attached process.  All changes of hands are a CAS of `word`; its owner counts its threads' attaching there, too,
 * so that a thread that has looked whether it has any knows by its own CAS that none has come since.  What says who the
 * process is bears the incarnation of its claim in the upper half, so it is never taken for another's; the rest is for
 * people. */
struct client_slot {
        uint64_t word;        /* atomic CAS  state 0..1 | attached 2..31 | incarnation 32..63, bumped by each claim */
        uint64_t process;     /* atomic CAS  process id, in its own pid namespace | incarnation */
        uint64_t image;       /* atomic CAS  differs between a process and what it was before an exec | incarnation */
        uint64_t pid_ns;      /* atomic CAS  of the process: robust.h | incarnation: written last */
        uint64_t start_ticks; /* owner  field 22 of /proc/PID/stat; for people */
        uint32_t uid;         /* owner */
        uint32_t reserve_thread; /* owner  thread number of the slot kept for threads that find no other */
        char name[32];           /* owner  command name, NUL padded */
};

struct class_counters {
        uint64_t n_filled;  /* owner  blocks that came from slabs or runs into magazines, or straight to the user */
        uint64_t n_drained; /* owner  blocks that went back */
        uint64_t n_malloc;  /* owner  blocks handed out, counted where magazines change hands */
        uint64_t n_free;    /* owner  blocks taken back, counted likewise */
};

enum { ROOTS_PENDING_MAX = 4 };

/* How a slot is used: the dense array that attach and the least-load count scan. */
#define BINDING_RESERVE      (UINT32_C(1) << 31) /* kept for its client's use when no other slot is free */
#define BINDING_USED         (UINT32_C(1) << 30)
#define BINDING_ARENA(arena) (BINDING_USED | ((uint32_t)(arena) + 1)) /* 0 = empty slot */

/* Tells, through the kernel, that its holder died: os/robust.h.  The kernel and the C library know `next`, `prev`
 * before it, and the futex word at one distance from it; zeroes are a free lock.  What lies between is no lock's. */
struct robust_lock {
        uint64_t word; /* atomic CAS  futex word 0..31: thread id, mark, unsure | pid namespace of the holder 32..63 */
        uint64_t room[2];
        uint64_t prev; /* holder, its C library  address of what points here, in the holder's own memory */
        uint64_t next; /* holder, its C library  address of `next` of the lock that its thread took before this one */
};

/* What of a thread slot others look at, or need while its pages are away: two lines, and never anything else.  Some of
 * it lies in the room of the locks. */
struct slot_gate {
        union {
                struct robust_lock life; /* locked by the thread as long as it lives */
                struct {
                        uint64_t life_word;
                        uint32_t client_idx;         /* owner  slot of its process */
                        uint32_t client_incarnation; /* owner */
                        uint32_t os_tid;             /* owner  gettid(), for people to read */
                        uint32_t os_pid;             /* owner  its process: gone means that the thread is dead */
                };
        };
        union {
                struct robust_lock reap; /* locked by who attaches to, reaps or purges the slot */
                struct {
                        uint64_t reap_word;
                        uint64_t dest;          /* owner, reaper  E15: what an intent names as its dest, 0 = none */
                        uint32_t root_sequence; /* owner  counts moves of root objects through pending[]; never reset */
                        uint32_t is_bare;       /* who holds `reap`, reaper  1 = the slot may have no pages */
                };
        };
        uint64_t state;                      /* owner, reaper  1 = in use, 0 = empty */
        uint64_t pending[ROOTS_PENDING_MAX]; /* owner, reaper, atomic CAS  root objects under construction */
        uint64_t pad;
} __attribute__((aligned(64)));

/* What threads count: monotonic, never reset.  A slot's next owner counts on, totals are sums over all slots and what
 * those have counted whose pages went (clients/slot_pages.c). */
#define THREAD_COUNTERS                                                                                                \
        uint64_t n_attached; /* how often the slot has been taken */                                                   \
        uint64_t n_dropped;  /* owner, reaper  entries that were no free blocks of theirs */                           \
        uint64_t n_huge_malloc;                                                                                        \
        uint64_t n_huge_free;                                                                                          \
        uint64_t n_huge_drained; /* those that went back out of a magazine */                                          \
        uint64_t n_reaped;       /* slots this thread settled for others */                                            \
        uint64_t n_remote_free;  /* blocks that went home to another node */                                           \
        uint64_t n_fallback;     /* allocations served by another node */                                              \
        uint64_t purged_bytes;                                                                                         \
        uint64_t room[3]; /* nobody reads it */                                                                        \
        struct class_counters counters[SIZE_CLASS_N];

struct thread_counters {
        THREAD_COUNTERS
};

enum { THREAD_COUNTERS_N = sizeof(struct thread_counters) / sizeof(uint64_t) };

/* One attached thread's own.  While the slot is empty its pages may be away: they are reserved, and zeroed, before it
 * is used again. */
struct thread_slot {
        uint64_t candidate __attribute__((aligned(64))); /* owner, reaper  words.h */
        uint32_t hand;                                   /* owner, reaper  magazine index + 1 in between two places */
        uint32_t pending_record[ROOTS_PENDING_MAX];      /* owner  record, or where it is taken from: root_cell.h */

        struct intent intent __attribute__((aligned(64)));

        union { /* owner */
                struct thread_counters counted;
                struct {
                        THREAD_COUNTERS
                };
                uint64_t count[THREAD_COUNTERS_N];
        } __attribute__((aligned(64)));

        uint32_t magazines[]; /* owner, reaper  [0, n_tags) current, [n_tags, 2 n_tags) spare; index + 1, 0 = none */
};

/* ------------------------------------------------------------------ magazines */

#if SHM_TINY_GEOMETRY
enum { MAGAZINE_CAP_MAX = 6 };
#else
enum { MAGAZINE_CAP_MAX = 128 };
#endif

/* A fixed stack of blocks, as the addresses they have where the region is mapped at its own base.  128 + 2 words take
 * 17 lines: the odd stride keeps the heads of many magazines from falling into the same cache sets. */
struct magazine {
        uint64_t n;                      /* owner  blocks in slot[]; its store commits malloc and free */
        uint64_t cap;                    /* owner  set when it is taken from the pool */
        uint64_t slot[MAGAZINE_CAP_MAX]; /* owner  valid below n; above it only what an intent names */
} __attribute__((aligned(64)));

/* The magazines begin so many bytes behind the start of a page: where `n` was the first word of one, as in the first
 * magazine of all and in one of 64, pairs that hit it took two to three times as long in one process of nine
 * (doc/performance.md). */
#define LAYOUT_MAGAZINES_SHIFT sizeof(struct magazine)

/* ------------------------------------------------------------------ arenas and hints */

enum arena_state { ARENA_UNINIT = 0, ARENA_READY = 1 };

/*
 * Kinds of hints that an arena keeps per chunk: bit c of group word = "look into chunk c for this".
 * Slab kinds are the small class indices; run kinds are by the power of two that fits into the longest free run.
 */
enum {
        HINT_RUN_LEVELS = 7, /* runs of at least 1, 2, 4 .. 64 granules */
        HINT_RUN_ANY = SIZE_CLASS_N_SMALL,
        HINT_RUN_WARM = HINT_RUN_ANY + HINT_RUN_LEVELS,
        HINT_EMPTY = HINT_RUN_WARM + HINT_RUN_LEVELS, /* all granules free: the chunk could go back */
        HINT_DIRTY,                                   /* free granules that may have pages: something to purge */
        HINT_N_KINDS = 64
};

struct arena {
        uint64_t decay_next_ms; /* atomic store  hint: no purge before this */
        uint64_t decay_hand;    /* atomic store  hint: where the last purge stopped */
        uint64_t granule_hand;  /* atomic store  hint: clock hand over granule words */
        uint64_t magazine_hand; /* atomic store  hint: clock hand over magazine words */
        uint64_t n_remote_free; /* atomic add  blocks of it that threads of other nodes sent home */
        uint64_t n_fallback;    /* atomic add  allocations that wanted its memory and got another node's */
        uint64_t sweep_next_ms; /* atomic store  hint: no search for pages that nobody knows of before this */
        uint64_t pad;
        uint32_t depot[SIZE_CLASS_DEPOT_PLACES]; /* atomic CAS  hints: magazine index + 1; class by class */
        uint32_t depot_n[TAG_CLASSES];           /* atomic store  hint: places of the class that are in use, from its
                                                    first one on */
        uint32_t depot_low[TAG_CLASSES];         /* atomic store  hint: fewest seen since the last decay tick */
        uint64_t summary[]; /* atomic or/and  [HINT_N_KINDS][n_summary_words]: bit g = group g has a hint of the kind */
};

/* Hints of one arena about 64 neighbouring chunks, one word per kind. */
struct hint_group {
        uint64_t word[HINT_N_KINDS]; /* atomic or/and */
};

/* Which granules of a chunk are free: hints, confirmed by the CAS on the granule word. */
struct chunk_map {
        uint64_t free; /* atomic or/and */
        uint64_t warm; /* atomic or/and  subset of free that has pages already */
};

/* ------------------------------------------------------------------ roots */

enum root_state { ROOT_FREE = 0, ROOT_NEW = 1, ROOT_LINKED = 2 };

/* Published by linking it in front of header.roots_head; never unlinked, keeps its name for ever. */
struct root_record {
        uint64_t word;   /* atomic CAS  root_state 0..3 | owner 4..19 */
        uint64_t object; /* atomic CAS  sequence, publisher and block: root.c */
        uint32_t next;   /* const once linked  record index + 1 */
        uint32_t pad;
        char name[LAYOUT_ROOT_NAME_MAX + 1]; /* const once linked */
        uint64_t pad2;
};

/* ------------------------------------------------------------------ slabs */

/* Words of a slab's bitmap that every granule has, one line; the others are in a table of their own, which has pages
 * only where there has been a slab of so many blocks, of less than 128 bytes. */
enum { SLAB_WORDS = SIZE_CLASS_BLOCKS_MAX / 64 < 8 ? 1 : 8 };

/* Free bitmap of the slab that starts at a granule: 1 = free.  Touched only by the owner of the slab. */
struct slab_bitmap {
        uint64_t word[SLAB_WORDS];
};

/* Words SLAB_WORDS and up. */
struct slab_bitmap_rest {
        uint64_t word[SIZE_CLASS_BLOCKS_MAX / 64 > SLAB_WORDS ? SIZE_CLASS_BLOCKS_MAX / 64 - SLAB_WORDS : 1];
};

/* ------------------------------------------------------------------ tables */

enum layout_table {
        TABLE_ARENA_WORDS,    /* uint32_t  enum arena_state; reserved at creation */
        TABLE_BINDINGS,       /* uint32_t  per thread slot; reserved at creation */
        TABLE_FREE_CHUNKS,    /* uint64_t  hint bitmap: chunk may be free; reserved at creation */
        TABLE_POOL_HINTS,     /* uint64_t  hint bitmap: magazine may be in the pool; with the magazine */
        TABLE_CLIENTS,        /* struct client_slot; below clients_hwm */
        TABLE_GATES,          /* struct slot_gate; below threads_hwm */
        TABLE_TOTALS,         /* struct thread_counters, two; once header.folding says so */
        TABLE_THREADS,        /* struct thread_slot; below threads_hwm, but for those whose gate says that it is bare */
        TABLE_ROOTS,          /* struct root_record; below roots_hwm */
        TABLE_ARENAS,         /* struct arena; once its word says READY */
        TABLE_HINT_GROUPS,    /* struct hint_group  [arena][group]; once the arena's summary has a bit of the group */
        TABLE_MAGAZINE_WORDS, /* uint64_t  [node][index]; below magazines_hwm[node] */
        TABLE_MAGAZINES,      /* struct magazine, likewise */
        TABLE_CHUNK_WORDS,    /* uint64_t; from here on: below chunks_hwm */
        TABLE_HUGE_BYTES,     /* uint64_t  per chunk: usable bytes of the huge block that starts there */
        TABLE_CHUNK_MAPS,     /* struct chunk_map */
        TABLE_GRANULES,       /* uint64_t */
        TABLE_SLABS,          /* struct slab_bitmap per granule */
        TABLE_REST_MAPS,      /* uint64_t  per chunk: which granules' slab_bitmap_rest is reserved */
        TABLE_SLAB_RESTS,     /* struct slab_bitmap_rest per granule; once its bit in the map is set */
        TABLE_TAGS,           /* uint16_t per granule, at a constant distance before the chunks */
        TABLE_N
};

/* The tags end a guard before the chunks, at a distance that is the same in every heap: the hit path of shfree
 * reads tag[granule] at a constant displacement from the address of the first chunk. */
#if SHM_TINY_GEOMETRY
#define LAYOUT_GUARD_BYTES UINT64_C(0)
#define LAYOUT_TAGS_SPAN   UINT64_C(512)
#else
#define LAYOUT_GUARD_BYTES (UINT64_C(64) << 10)
#define LAYOUT_TAGS_SPAN   (UINT64_C(64) << 20) /* 2 TiB of chunks */
#endif
#define LAYOUT_TAGS_DISTANCE (LAYOUT_TAGS_SPAN + LAYOUT_GUARD_BYTES)
#define LAYOUT_CAPACITY_MAX  (LAYOUT_TAGS_SPAN / 2 * GEO_GRANULE_BYTES)

struct layout {
        uint64_t off[TABLE_N];       /* from the base of the region */
        uint64_t stride[TABLE_N];    /* bytes per element */
        uint64_t n[TABLE_N];         /* elements */
        uint64_t chunks_off;         /* first chunk */
        uint64_t region_bytes;       /* size of the file */
        uint64_t n_chunks;           /* max_capacity / chunk */
        uint32_t n_arenas;           /* n_nodes * arenas_per_node; arena a lies on node a / arenas_per_node */
        uint32_t spread_node;        /* the node whose pages are of all nodes by turns; NODE_NONE = there is none */
        uint32_t n_tags;             /* 1 + n_nodes * TAG_CLASSES */
        uint32_t n_groups;           /* hint groups per arena */
        uint32_t n_summary_words;    /* per hint kind */
        uint32_t magazines_per_node; /* magazine index = node * magazines_per_node + i */
};

/* 0, or -EINVAL when a parameter is out of bounds (*ret_what then says which, in words). */
int layout_compute(const struct layout_params *params, struct layout *ret_layout, const char **ret_what);

/* Differs whenever two builds would disagree about a byte: geometry, struct sizes. */
uint32_t layout_hash(void);

#endif
