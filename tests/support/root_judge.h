/*
 * root_judge.h - the judge for heaps in which nothing but roots has blocks.
 */
#ifndef SUPPORT_ROOT_JUDGE_H
#define SUPPORT_ROOT_JUDGE_H

#include "support/heap_fixture.h"

/* Nobody is at work, and no other block is allocated than the objects that the names lead to: as heap_verify(), and no
 * name twice, no record or object word in the midst of something, no block waiting in a slot.  How many objects. */
uint32_t root_judge(struct region *r);

#endif
