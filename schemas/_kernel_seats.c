/* The base classes of seats and connections: their attributes are fields of a struct, next to each other in memory.
 *
 * Every input and every tick read them. A thousand players do not fit into the caches of a core, so most of the
 * time of a read is that of the memory, and two cache lines a player cost less than the twelve that Python objects take.
 */
#include "_kernel_seats.h"
#include <stddef.h>
#include <structmember.h>

PyTypeObject *SeatFieldsType, *SocketFieldsType;

static int traverse_seat(PyObject *object, visitproc visit, void *arg) {
    SeatFields *seat = (SeatFields *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(seat->connection);
    Py_VISIT(seat->interest);
    Py_VISIT(seat->view);
    Py_VISIT(seat->send_rate);
    Py_VISIT(seat->inbox);
    Py_VISIT(seat->newest_inputs);
    return 0;
}

static int clear_seat(PyObject *object) {
    SeatFields *seat = (SeatFields *)object;
    Py_CLEAR(seat->connection);
    Py_CLEAR(seat->interest);
    Py_CLEAR(seat->view);
    Py_CLEAR(seat->send_rate);
    Py_CLEAR(seat->inbox);
    Py_CLEAR(seat->newest_inputs);
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
    {"connection", T_OBJECT_EX, offsetof(SeatFields, connection), 0, NULL},
    {"interest", T_OBJECT_EX, offsetof(SeatFields, interest), 0, NULL},
    {"view", T_OBJECT_EX, offsetof(SeatFields, view), 0, NULL},
    {"send_rate", T_OBJECT_EX, offsetof(SeatFields, send_rate), 0, NULL},
    {"applied_seq", T_ULONGLONG, offsetof(SeatFields, applied_seq), 0, NULL},
    {"acknowledged_seq", T_ULONGLONG, offsetof(SeatFields, acknowledged_seq), 0, NULL},
    {"has_events", T_BOOL, offsetof(SeatFields, has_events), 0, NULL},
    {"reads_tables", T_BOOL, offsetof(SeatFields, reads_tables), 0, NULL},
    {"is_open", T_BOOL, offsetof(SeatFields, is_open), 0, NULL},
    {"_may_restart", T_BOOL, offsetof(SeatFields, may_restart), 0, NULL},
    {"_may_misfit", T_BOOL, offsetof(SeatFields, may_misfit), 0, NULL},
    {"_received_seq", T_ULONGLONG, offsetof(SeatFields, received_seq), 0, NULL},
    {"_input_size", T_PYSSIZET, offsetof(SeatFields, input_size), 0, NULL},
    {"inbox", T_OBJECT_EX, offsetof(SeatFields, inbox), 0, NULL},
    {"_newest_inputs", T_OBJECT_EX, offsetof(SeatFields, newest_inputs), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef socket_members[] = {
    {"descriptor", T_INT, offsetof(SocketFields, descriptor), 0, NULL},
    {"is_congested", T_BOOL, offsetof(SocketFields, is_congested), 0, NULL},
    {"may_hold_bytes", T_BOOL, offsetof(SocketFields, may_hold_bytes), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot seat_slots[] = {
    {Py_tp_traverse, traverse_seat}, {Py_tp_clear, clear_seat},     {Py_tp_dealloc, dealloc_seat},
    {Py_tp_members, seat_members},   {0, NULL},
};

static PyType_Slot socket_slots[] = {{Py_tp_dealloc, free_object}, {Py_tp_members, socket_members}, {0, NULL}};

static PyType_Spec seat_spec = {
    "tickwire.schemas._kernel.SeatFields", sizeof(SeatFields), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, seat_slots,
};

static PyType_Spec socket_spec = {
    "tickwire.schemas._kernel.SocketFields", sizeof(SocketFields), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
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
    if (add_type(module, &seat_spec, "SeatFields", &SeatFieldsType) < 0) return -1;
    return add_type(module, &socket_spec, "SocketFields", &SocketFieldsType);
}
