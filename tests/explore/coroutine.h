/*
 * coroutine.h - a stack of its own for each actor, at a fixed place, so that its bytes can be copied away and back.
 */
#ifndef EXPLORE_COROUTINE_H
#define EXPLORE_COROUTINE_H

/* Saves the caller's place in *from and goes on where `to` was saved. */
void coroutine_switch(void **from, void *to);

enum { COROUTINE_REGISTERS = 6 };

/* A place on a stack that ends at `top` where entry() begins when it is switched to; it must not return. */
static inline void *
coroutine_begin(void *top, void (*entry)(void))
{
        void **sp = top;

        *--sp = 0; /* keeps the stack aligned as after a call */
        *--sp = (void *)entry;
        for (int i = 0; i < COROUTINE_REGISTERS; i++)
                *--sp = 0;
        return sp;
}

#endif
