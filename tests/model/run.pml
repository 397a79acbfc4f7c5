/*
 * run.pml - runs of granules claimed, freed, resized and purged, and slabs made of them (lib/pages/run.c, large.c,
 * slab.c, decay.c).
 *
 * Threads claim runs of one or two of GRANULES granules, make large blocks or slabs of them, free and resize what
 * anybody has made, purge what is free, and reap.  Steps are RUN.n, LARGE.n, RUN_FREE.n, RESIZE.n, SLAB.n, PURGE.n and
 * SETTLE.2 of doc/recovery.md.  A free may meet a resize: it sets DOOMED.  Pages and hints are left out: hints only say
 * where to try, and here everybody tries everywhere.
 *
 * Whoever stores to a word asserts that it owns it.  At the end every granule is free, or in exactly one run, whose
 * head is nobody's and belongs to a user; none lies about what it is.
 *
 * may: 1 allocate, 2 free, 4 resize, 8 make or use a slab, 16 purge, 32 reap
 * sizes: HALTS=2 FIRST=1 MAY_1=2 OPS_1=1 MAY_2=1 OPS_2=1 MAY_3=33 OPS_3=1
 * sizes: HALTS=2 FIRST=1 MAY_1=4 OPS_1=1 MAY_2=2 OPS_2=1 MAY_3=33 OPS_3=1
 * sizes: HALTS=2 FIRST=1 MAY_1=2 OPS_1=1 MAY_2=16 OPS_2=1 MAY_3=33 OPS_3=1
 * sizes: HALTS=2 FIRST=0 MAY_1=8 OPS_1=1 MAY_2=10 OPS_2=1 MAY_3=34 OPS_3=1
 * large: HALTS=3 FIRST=1 MAY_1=6 OPS_1=1 MAY_2=19 OPS_2=1 MAY_3=35 OPS_3=1
 *
 * mutant: head_freed_first       RUN_FREE.4 before RUN_FREE.2
 * mutant: settled_without_head   SETTLE.2 frees what continues a head that is not the dead's
 * mutant: doomed_overlooked 2     RESIZE.10 does not see the mark of a free
 */
#include "run_model.pml"
