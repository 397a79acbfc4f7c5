/*
 * protocol.h - what is said on the daemon's socket: the side of the daemon and of shmallocctl.
 *
 * The socket is AF_UNIX, SOCK_SEQPACKET: a message is a packet.  Every message from a client is a struct
 * announce_message (lib/os/announce.h); ANNOUNCE_REGISTER is not answered, ANNOUNCE_STATUS with one or more packets of
 * JSON, the last of which is followed by the end of the connection.
 */
#ifndef COMMON_PROTOCOL_H
#define COMMON_PROTOCOL_H

#include "os/announce.h"

#define PROTOCOL_SOCKET ANNOUNCE_SOCKET_DEFAULT

enum { PROTOCOL_PACKET_MAX = 64 << 10 };

#endif
