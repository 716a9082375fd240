/* The base classes of seats and connections: their attributes are fields of a struct, next to each other in memory.
 *
 * The write of a tick reads them once a player. A thousand players do not fit into the caches of a core, so most of the
 * time of a read is that of the memory, and two cache lines a player cost less than the twelve that Python objects take.
 */
#include "_kernel_seats.h"
#include <stddef.h>
#include <structmember.h>

PyTypeObject *SeatSendStateType, *SocketStateType;

static int traverse_seat(PyObject *object, visitproc visit, void *arg) {
    SeatSendState *seat = (SeatSendState *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(seat->connection);
    Py_VISIT(seat->interest);
    Py_VISIT(seat->view);
    Py_VISIT(seat->send_rate);
    return 0;
}

static int clear_seat(PyObject *object) {
    SeatSendState *seat = (SeatSendState *)object;
    Py_CLEAR(seat->connection);
    Py_CLEAR(seat->interest);
    Py_CLEAR(seat->view);
    Py_CLEAR(seat->send_rate);
    return 0;
}

static void free_object(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static void dealloc_seat(PyObject *object) {
    PyObject_GC_UnTrack(object);
    clear_seat(object);
    free_object(object);
}

static PyMemberDef seat_members[] = {
    {"connection", T_OBJECT_EX, offsetof(SeatSendState, connection), 0, NULL},
    {"interest", T_OBJECT_EX, offsetof(SeatSendState, interest), 0, NULL},
    {"view", T_OBJECT_EX, offsetof(SeatSendState, view), 0, NULL},
    {"send_rate", T_OBJECT_EX, offsetof(SeatSendState, send_rate), 0, NULL},
    {"applied_seq", T_ULONGLONG, offsetof(SeatSendState, applied_seq), 0, NULL},
    {"acknowledged_seq", T_ULONGLONG, offsetof(SeatSendState, acknowledged_seq), 0, NULL},
    {"has_events", T_BOOL, offsetof(SeatSendState, has_events), 0, NULL},
    {"reads_tables", T_BOOL, offsetof(SeatSendState, reads_tables), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef socket_members[] = {
    {"descriptor", T_INT, offsetof(SocketState, descriptor), 0, NULL},
    {"is_congested", T_BOOL, offsetof(SocketState, is_congested), 0, NULL},
    {"may_hold_bytes", T_BOOL, offsetof(SocketState, may_hold_bytes), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot seat_slots[] = {
    {Py_tp_traverse, traverse_seat}, {Py_tp_clear, clear_seat},     {Py_tp_dealloc, dealloc_seat},
    {Py_tp_members, seat_members},   {0, NULL},
};

static PyType_Slot socket_slots[] = {{Py_tp_dealloc, free_object}, {Py_tp_members, socket_members}, {0, NULL}};

static PyType_Spec seat_spec = {
    "tickwire.schemas._kernel.SeatSendState", sizeof(SeatSendState), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, seat_slots,
};

static PyType_Spec socket_spec = {
    "tickwire.schemas._kernel.SocketState", sizeof(SocketState), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    socket_slots,
};

static int add_type(PyObject *module, PyType_Spec *spec, const char *name, PyTypeObject **type) {
    PyObject *created = PyType_FromSpec(spec);
    *type = (PyTypeObject *)created;
    if (!created) return -1;
    Py_INCREF(created); /* one reference for the kernel, and one for the module */
    if (PyModule_AddObject(module, name, created) == 0) return 0;
    Py_DECREF(created);
    return -1;
}

int kernel_add_types(PyObject *module) {
    if (add_type(module, &seat_spec, "SeatSendState", &SeatSendStateType) < 0) return -1;
    return add_type(module, &socket_spec, "SocketState", &SocketStateType);
}
