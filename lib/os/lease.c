/*
 * lease.c - see lease.h.
 *
 * Who tries to open a file under lease makes the kernel send its holder a signal, SIGIO, which ends processes that do
 * not expect it.  Nobody is to be told: so there is no addressee, and for the moment between taking the lease, which
 * makes us the addressee, and saying so, the signal is one that is ignored unless a program asks for it.
 */
#include "os/lease.h"

#include <fcntl.h>
#include <signal.h>

#include "base/error.h"
#include "os/inject.h"
#include "os/syscall.h"

int
lease_take(int fd)
{
        int err = os_injected("lease");

        if (err == 0)
                err = sys_fcntl(fd, F_SETSIG, SIGURG);
        if (err == 0)
                err = sys_fcntl(fd, F_SETLEASE, F_WRLCK);
        if (err < 0)
                return error_refused("fcntl(F_SETLEASE)", err);
        sys_fcntl(fd, F_SETOWN, 0);
        return 0;
}
