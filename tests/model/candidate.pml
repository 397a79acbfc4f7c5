/*
 * candidate.pml - candidates whose compare-and-swap failed (lib/pages/run.c, slab.c, large.c, reap.c).
 *
 * A thread writes its candidate before it owns anything, so the candidate of a dead thread may name what others have
 * taken meanwhile, given back, and made something else of: a large block where there was a slab, a run that begins one
 * granule further.  Here threads make slabs and large blocks of the same few granules, acquire and empty each other's
 * slabs, and halt with such candidates; reapers must tell by the words alone what is theirs to settle.  The model and
 * what it judges are those of run.pml.
 *
 * may: 1 allocate, 2 free, 4 resize, 8 make or use a slab, 16 purge, 32 reap
 * sizes: HALTS=2 FIRST=0 MAY_1=9 OPS_1=1 MAY_2=10 OPS_2=2 MAY_3=32 OPS_3=1
 * sizes: HALTS=2 FIRST=1 MAY_1=20 OPS_1=1 MAY_2=6 OPS_2=1 MAY_3=32 OPS_3=1
 * large: HALTS=3 FIRST=0 MAY_1=11 OPS_1=1 MAY_2=10 OPS_2=2 MAY_3=32 OPS_3=1
 *
 * mutant: candidate_believed     SETTLE.2 frees what the candidate names
 * mutant: settled_without_head   SETTLE.2 frees what continues a head that is not the dead's
 */
#include "run_model.pml"
