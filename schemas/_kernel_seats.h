/* The parts of seats and connections that the write of a tick reads, as structs. */
#ifndef TICKWIRE_KERNEL_SEATS_H
#define TICKWIRE_KERNEL_SEATS_H

#include "_kernel.h"

/* The base class of a seat; server/rooms/seat_send_state.py has the same in Python. */
typedef struct {
    PyObject_HEAD
    PyObject *connection, *interest, *view, *send_rate;
    unsigned long long applied_seq, acknowledged_seq;
    char has_events, reads_tables;
} SeatSendState;

/* The base class of a connection; server/edge/socket_state.py has the same in Python. */
typedef struct {
    PyObject_HEAD
    int descriptor;
    char is_congested, may_hold_bytes;
} SocketState;

extern PyTypeObject *SeatSendStateType, *SocketStateType;

#endif
