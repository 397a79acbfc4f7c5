/*
 * robust_copy.c - see robust_copy.h.
 */
#define robust_check       robust_copy_check
#define robust_take        robust_copy_take
#define robust_take_gone   robust_copy_take_gone
#define robust_unlock      robust_copy_unlock
#define robust_forget      robust_copy_forget
#define robust_thread_ends robust_copy_thread_ends

#include "os/robust.c"
