/*
 * ask.c - asking the daemon, which may be stopped, or not be one: nothing here waits for longer than a second.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "common/protocol.h"
#include "ctl/ctl.h"

enum { ASK_MAX_MS = 1000, ASK_BYTES_MAX = 64 << 20 };

/* All packets up to the end of the connection; NULL when it did not come. */
static char *
read_answer(int fd, size_t *ret_length)
{
        char *text = NULL, *more;
        size_t length = 0;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                ssize_t n;

                more = length < ASK_BYTES_MAX ? realloc(text, length + PROTOCOL_PACKET_MAX) : NULL;
                if (!more || poll(&p, 1, ASK_MAX_MS) != 1)
                        break;
                text = more;
                n = recv(fd, text + length, PROTOCOL_PACKET_MAX, 0);
                if (n == 0) {
                        *ret_length = length;
                        return text;
                }
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        break;
                length += n > 0 ? (size_t)n : 0;
        }
        free(text);
        return NULL;
}

json_t *
ask_daemon(const char *socket_path, const char **ret_why)
{
        struct announce_message question = {.magic = ANNOUNCE_MAGIC, .kind = ANNOUNCE_STATUS};
        int fd = announce_connect(socket_path);
        json_t *answer = NULL;
        size_t length = 0;
        char *text;

        if (fd < 0) {
                *ret_why = fd == -ENOENT || fd == -ECONNREFUSED ? "it does not run" : error_name(fd);
                return NULL;
        }
        if (send(fd, &question, sizeof question, MSG_NOSIGNAL) != (ssize_t)sizeof question) {
                *ret_why = error_name(errno);
                close(fd);
                return NULL;
        }
        text = read_answer(fd, &length);
        close(fd);
        if (text)
                answer = json_loadb(text, length, 0, NULL);
        free(text);
        if (!json_is_object(answer)) {
                json_decref(answer);
                *ret_why = "it does not answer";
                return NULL;
        }
        return answer;
}

json_t *
ask_find(const json_t *daemon, uint64_t dev, uint64_t ino)
{
        json_t *heaps = json_object_get(daemon, "heaps"), *heap;
        size_t i;

        json_array_foreach(heaps, i, heap)
        {
                if ((uint64_t)json_integer_value(json_object_get(heap, "dev")) == dev &&
                    (uint64_t)json_integer_value(json_object_get(heap, "ino")) == ino)
                        return heap;
        }
        return NULL;
}
