/*
 * lease.h - whether anybody else has a file open or mapped: the kernel's own count, which knows no namespaces.
 */
#ifndef OS_LEASE_H
#define OS_LEASE_H

/*
 * 0: no other descriptor of the file is open, in no process, and none that is closed by now is still mapped; and as
 * long as `fd` is open, others who open it without waiting get -EAGAIN instead.  The kernel takes the lease back from
 * a holder who is stopped for too long (/proc/sys/fs/lease-break-time, 45 s) if others wait to open the file: asking
 * again tells.
 *
 * -EAGAIN: somebody has it open.  -EACCES: neither one's own file nor CAP_LEASE.  Others: it cannot be known here.
 */
int lease_take(int fd);

#endif
