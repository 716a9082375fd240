/* The parts of seats and connections that every input and every tick read, as structs. */
#ifndef TICKWIRE_KERNEL_SEATS_H
#define TICKWIRE_KERNEL_SEATS_H

#include "_kernel.h"

/* The base class of a seat; server/rooms/seat_fields.py has the same in Python. */
typedef struct {
    PyObject_HEAD
    PyObject *connection, *interest, *view, *send_rate;
    unsigned long long applied_seq, acknowledged_seq;
    char has_events, reads_tables;
    /* for inputs */
    char is_open, may_restart, may_misfit;
    unsigned long long received_seq;
    Py_ssize_t input_size;
    PyObject *inbox, *newest_inputs;
} SeatFields;

/* The base class of a connection; server/edge/socket_fields.py has the same in Python. */
typedef struct {
    PyObject_HEAD
    int descriptor;
    char is_congested, may_hold_bytes;
} SocketFields;

extern PyTypeObject *SeatFieldsType, *SocketFieldsType;

#endif
