#include "explore/coroutine.h"

#if !defined(__x86_64__)
#error "coroutine_switch() is written for x86-64"
#endif

__asm__(".text\n"
        ".globl coroutine_switch\n"
        ".type coroutine_switch, @function\n"
        "coroutine_switch:\n"
        "        push %rbp\n"
        "        push %rbx\n"
        "        push %r12\n"
        "        push %r13\n"
        "        push %r14\n"
        "        push %r15\n"
        "        mov %rsp, (%rdi)\n"
        "        mov %rsi, %rsp\n"
        "        pop %r15\n"
        "        pop %r14\n"
        "        pop %r13\n"
        "        pop %r12\n"
        "        pop %rbx\n"
        "        pop %rbp\n"
        "        ret\n"
        ".size coroutine_switch, .-coroutine_switch\n");
