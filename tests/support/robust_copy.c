/*
 * robust_copy.c - see robust_copy.h.
 */
#define robust_check       robust_copy_check
#define robust_check_anew  robust_copy_check_anew
#define robust_quiet_begin robust_copy_quiet_begin
#define robust_quiet_end   robust_copy_quiet_end
#define robust_is_quiet    robust_copy_is_quiet
#define robust_take        robust_copy_take
#define robust_take_gone   robust_copy_take_gone
#define robust_unlock      robust_copy_unlock
#define robust_forget      robust_copy_forget
#define robust_thread_ends robust_copy_thread_ends

#include "os/robust.c"
