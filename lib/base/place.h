/*
 * place.h - where the hit paths lie in the library's code.
 *
 * A hit path begins in the middle of a line of the instruction cache.  Of the four places that an alignment of 16
 * allows it is the quickest: a pair of 16 B takes 2.7 ns there, 2.9 ns in the others (AMD EPYC, 2026-11-30, as
 * bench/run.sh --against shows).  Nothing that is written elsewhere in the library moves it.
 */
#ifndef BASE_PLACE_H
#define BASE_PLACE_H

/* Once in a file, before the functions that are defined with PLACED_name: they follow each other from there. */
#define PLACE(name) __asm__(".pushsection .text." name ", \"ax\"\n.p2align 6\n.skip 32\n.popsection")

#define PLACED_PAIR     __attribute__((section(".text.hit_pair")))
#define PLACED_COMPUTED __attribute__((section(".text.hit_computed")))

#endif
