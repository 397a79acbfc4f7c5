/*
 * stale.c - see stale.h.
 *
 * A heap of another layout cannot be asked for its clients: nothing of it but the frozen line may be read.  But each
 * client has the file mapped, and a mapping keeps the file open though its descriptor be closed; so the kernel
 * knows.  A lease for writing (os/lease.h) is given to nobody else's file but to who alone has it open, and as long as
 * it is held nobody can come in: they are told to try again (name_open_file()).
 *
 * Those who try to replace one heap at the same time, and whoever looks at its file for a moment, are in each other's
 * way.  So each has the file open for a few system calls only, and gives way and tries again a bounded number of times
 * before it says that the heap is in use; and the new heap is filled before.
 *
 *   step                                                  a death after it leaves
 *   REPLACE.1 open the old file, read its frozen line     the old heap
 *          .2 take the lease: nobody else has it open     the old heap: the lease goes with its holder
 *          .3 a temporary name for the new file, locked   the same, and a file that the next maker of one sweeps away
 *          .4 exchange the two names                      the new heap, and the old one under the temporary name,
 *                                                         which the next maker of one sweeps away
 *          .5 see that it was the old file, still alone   the same
 *          .6 remove the temporary name                   the new heap
 *
 * .5 is for who was stopped in between: somebody may have removed the old file and made another one, or the kernel may
 * have taken the lease back and let somebody in.  Then the names are exchanged back, and all begins anew.  Without
 * the check the heap of a living client would have lost its name.  What this gave up: who opens the new heap between
 * .4 and such a return has one that has lost its name.
 *
 * Removing is the same without a new file: the name is moved to a temporary one, looked at, and removed or moved back.
 */
#include "region/stale.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "base/error.h"
#include "os/lease.h"
#include "os/owner.h"
#include "os/shm.h"
#include "region/header.h"
#include "region/name.h"

enum { STALE_TRIES = 1000 };

/* Nobody comes between: it is the file that it was, and of another layout.  The descriptor holds the lease. */
struct stale {
        int fd;
        struct header header;
};

static int
check_owner(const struct stale *s, const char *what, bool root_may)
{
        int is_self = owner_is_self(s->fd, &s->header.st);

        if (is_self > 0 || (root_may && geteuid() == 0))
                return 0;
        if (is_self < 0)
                return error_set_refused(
                        -EPROTO, "%s is of another layout, and whether it is this user's cannot be known", what);
        return error_set(-EPROTO, "%s is of another layout and belongs to uid %u: only that user may replace it", what,
                         s->header.st.st_uid);
}

/* -EAGAIN: somebody is in the way, perhaps just now. */
static int
try_lease(int fd, const char *what)
{
        int err = lease_take(fd);

        if (err == 0 || err == -EAGAIN)
                return err;
        return error_set_refused(-EPROTO, "%s is of another layout, and whether somebody has it open cannot be known",
                                 what);
}

static int
try_take(struct stale *s, int dirfd, const char *file, const char *what, bool root_may)
{
        int err = 0;

        s->fd = os_open_file(dirfd, file, false); /* REPLACE.1 */
        if (s->fd == -ENOENT || s->fd == -EAGAIN)
                return s->fd == -ENOENT ? -EEXIST : -EAGAIN;
        if (s->fd < 0)
                return error_set_refused(s->fd, "cannot open %s in %s", what, name_dir());
        if (header_read(s->fd, what, false, &s->header) != -EPROTO)
                err = -EEXIST;
        if (err == 0)
                err = check_owner(s, what, root_may);
        if (err == 0)
                err = try_lease(s->fd, what); /* REPLACE.2 */
        if (err < 0)
                os_close(s->fd);
        return err;
}

static int
take(struct stale *ret, int dirfd, const char *file, const char *what, bool root_may)
{
        int err = -EAGAIN;

        for (int i = 0; i < STALE_TRIES && err == -EAGAIN; i++) {
                err = try_take(ret, dirfd, file, what, root_may);
                if (err == -EAGAIN)
                        sched_yield(); /* to who looks at it */
        }
        if (err != -EAGAIN)
                return err;
        return error_set(-EPROTO, "%s is of another layout, and somebody has it open: end who uses it, or unlink it",
                         what);
}

/* What has been moved to a temporary name is what was to be moved, and nobody has come into it: 0.  -EEXIST: not so;
 * else what the system refuses. */
static int
check_same_and_alone(const struct stale *s, int dirfd, const char *temp)
{
        struct stat st;
        int err = os_stat_at(dirfd, temp, &st);

        if (err == 0 && (st.st_dev != s->header.st.st_dev || st.st_ino != s->header.st.st_ino))
                err = -EEXIST;
        if (err == 0)
                err = lease_take(s->fd);
        return err == -ENOENT || err == -EAGAIN ? -EEXIST : err;
}

static int
complain(int err, const char *verb, const char *what)
{
        return err == -EEXIST ? err : error_set_refused(err, "cannot %s %s in %s", verb, what, name_dir());
}

int
stale_probe(int dirfd, const char *file, const char *what)
{
        struct stale s;
        int err = take(&s, dirfd, file, what, false);

        if (err == 0)
                os_close(s.fd);
        return err;
}

int
stale_replace(struct os_newfile *new, const char *file, const char *what)
{
        struct stale s;
        int err = take(&s, new->dirfd, file, what, false);

        if (err < 0)
                return err;
        err = os_newfile_name(new); /* REPLACE.3 */
        if (err == 0)
                err = os_exchange(new->dirfd, new->temp, file); /* REPLACE.4 */
        if (err < 0) {
                complain(err, "replace", what);
        } else if ((err = check_same_and_alone(&s, new->dirfd, new->temp)) == 0) { /* REPLACE.5 */
                os_newfile_named(new);                                             /* REPLACE.6 */
        } else {
                complain(err, "replace", what);
                if (os_exchange(new->dirfd, new->temp, file) < 0)
                        os_move(new->dirfd, new->temp, file); /* unless there is another one by now */
        }
        os_close(s.fd);
        return err == -ENOENT ? -EEXIST : err;
}

int
stale_remove(int dirfd, const char *file, const char *what)
{
        char temp[OS_TEMP_BYTES];
        struct stale s;
        int err = take(&s, dirfd, file, what, true);

        if (err < 0)
                return err;
        os_temp_name(dirfd, temp);
        err = os_move(dirfd, file, temp);
        if (err < 0) {
                complain(err, "remove", what);
        } else if ((err = check_same_and_alone(&s, dirfd, temp)) == 0) {
                os_unlink(dirfd, temp);
        } else {
                complain(err, "remove", what);
                os_move(dirfd, temp, file); /* likewise */
        }
        os_close(s.fd);
        return err == -ENOENT ? -EEXIST : err;
}
