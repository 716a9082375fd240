/* Writes the state of a tick to the seats of a room: server/rooms/state_writer.py is the reference.
 *
 * Nearly all seats receive the frame of their interest set, half of them with an acknowledgement. For these, this code
 * finds the frame and sends it to the socket. It changes nothing of a seat that needs anything else, and returns it.
 */
#include "_kernel_seats.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: Python ignores SIGPIPE */
#endif

enum { ACK_FRAME_BYTES = 10, FIN_BINARY = 0x82, ACK_BYTES = 8, INPUT_ACK = 5 }; /* schemas/state_messages.py */

/* The frame of an interest set in this tick, for the clients that received every frame. */
typedef struct {
    PyObject *interest, *before, *after, *data; /* references */
    char *bytes;
    Py_ssize_t size;
} Frame;

typedef struct {
    PyObject *connection, *data; /* references: other threads run while the lock is released */
    char *bytes;
    size_t size, taken;
    int descriptor, ack_bytes;
    unsigned char ack[ACK_FRAME_BYTES];
} Update;

typedef struct {
    PyObject *seats, *prepare, *writes; /* the arguments */
    unsigned long long tick;
    Py_ssize_t bytes_max;
    Frame frame;
    Update *updates; /* for sockets */
    Py_ssize_t count;
    PyObject *others;           /* the seats that need more than this code does */
    Py_ssize_t sent, sent_bytes; /* all updates, also those for transports */
} Fanout;

/* The attributes of an interest set, as strings that are created once. */
static PyObject *tick_name, *before_name, *after_name, *data_name;

static int create_names(void) {
    if (!tick_name) tick_name = PyUnicode_InternFromString("tick");
    if (!before_name) before_name = PyUnicode_InternFromString("before");
    if (!after_name) after_name = PyUnicode_InternFromString("after");
    if (!data_name) data_name = PyUnicode_InternFromString("data");
    return tick_name && before_name && after_name && data_name ? 0 : -1;
}

static void release_frame(Frame *frame) {
    Py_CLEAR(frame->interest);
    Py_CLEAR(frame->before);
    Py_CLEAR(frame->after);
    Py_CLEAR(frame->data);
}

static int is_prepared(PyObject *interest, unsigned long long tick) {
    PyObject *found = PyObject_GetAttr(interest, tick_name);
    if (!found) return -1;
    unsigned long long value = PyLong_AsUnsignedLongLong(found);
    Py_DECREF(found);
    if (value == (unsigned long long)-1 && PyErr_Occurred()) return -1;
    return value == tick;
}

/* Reads the frame of an interest set, unless it is that of the seat before. */
static int load_frame(Fanout *fanout, PyObject *interest) {
    Frame *frame = &fanout->frame;
    if (frame->interest == interest) return 0;
    release_frame(frame);
    int has_frame = is_prepared(interest, fanout->tick);
    if (has_frame < 0) return -1;
    if (!has_frame) {
        PyObject *done = PyObject_CallFunctionObjArgs(fanout->prepare, interest, NULL);
        if (!done) return -1;
        Py_DECREF(done);
    }
    frame->before = PyObject_GetAttr(interest, before_name);
    frame->after = frame->before ? PyObject_GetAttr(interest, after_name) : NULL;
    frame->data = frame->after ? PyObject_GetAttr(interest, data_name) : NULL;
    if (!frame->data || PyBytes_AsStringAndSize(frame->data, &frame->bytes, &frame->size) < 0) return -1;
    Py_INCREF(interest);
    frame->interest = interest;
    return 0;
}

/* Returns 1 if a connection is congested, 0 if not, -1 with an exception set. */
static int is_congested(PyObject *connection) {
    if (PyObject_TypeCheck(connection, SocketFieldsType)) return ((SocketFields *)connection)->is_congested;
    PyObject *found = PyObject_GetAttrString(connection, "is_congested");
    int value = found ? PyObject_IsTrue(found) : -1;
    Py_XDECREF(found);
    return value;
}

/* Returns 1 if a connection has a plain socket, and its transport holds no bytes; -1 with an exception set. */
static int can_send(PyObject *connection) {
    if (!PyObject_TypeCheck(connection, SocketFieldsType)) return 0;
    SocketFields *socket_state = (SocketFields *)connection;
    if (socket_state->descriptor < 0) return 0;
    if (!socket_state->may_hold_bytes) return 1;
    PyObject *found = PyObject_CallMethod(connection, "unsent_bytes", NULL);
    int holds = found ? PyObject_IsTrue(found) : -1;
    Py_XDECREF(found);
    if (holds == 0) socket_state->may_hold_bytes = 0;
    return holds < 0 ? -1 : !holds && socket_state->descriptor >= 0;
}

static int encode_ack(unsigned char *ack, unsigned long long tick, unsigned long long seq) {
    const unsigned char frame[ACK_FRAME_BYTES] = {
        FIN_BINARY,           ACK_BYTES,
        INPUT_ACK,            0,
        (unsigned char)seq,   (unsigned char)(seq >> 8),
        (unsigned char)tick,  (unsigned char)(tick >> 8),
        (unsigned char)(tick >> 16), (unsigned char)(tick >> 24),
    };
    memcpy(ack, frame, sizeof frame);
    return ACK_FRAME_BYTES;
}

/* Appends the bytes of an update that its socket was not sent to the writes for transports. */
static int append_write(PyObject *writes, const Update *update) {
    size_t of_ack = update->taken < (size_t)update->ack_bytes ? (size_t)update->ack_bytes - update->taken : 0;
    size_t skipped = of_ack ? 0 : update->taken - (size_t)update->ack_bytes;
    PyObject *rest = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(of_ack + update->size - skipped));
    if (!rest) return -1;
    char *to = PyBytes_AsString(rest);
    memcpy(to, update->ack + update->ack_bytes - of_ack, of_ack);
    memcpy(to + of_ack, update->bytes + skipped, update->size - skipped);
    PyObject *item = PyTuple_Pack(2, update->connection, rest);
    int status = item ? PyList_Append(writes, item) : -1;
    Py_XDECREF(item);
    Py_DECREF(rest);
    return status;
}

/* Adds the update of a connected seat to those for sockets or for transports; or the seat to the others. */
static int add_update(Fanout *fanout, SeatFields *seat, PyObject *connection, PyObject *interest) {
    int congested = is_congested(connection);
    if (congested) return congested < 0 ? -1 : PyList_Append(fanout->others, (PyObject *)seat);
    if (load_frame(fanout, interest) < 0) return -1;
    int is_direct = can_send(connection);
    if (is_direct < 0) return -1;
    /* From here on no code can run that changes the seat: `prepare` and `unsent_bytes` may have. */
    const Frame *frame = &fanout->frame;
    if (frame->before == Py_None || seat->view != frame->before || frame->size > fanout->bytes_max)
        return PyList_Append(fanout->others, (PyObject *)seat);
    PyObject *view = seat->view;
    Py_INCREF(frame->after);
    seat->view = frame->after;
    Py_DECREF(view);
    Update update = {.connection = connection, .data = frame->data, .bytes = frame->bytes, .size = (size_t)frame->size};
    if (seat->applied_seq != seat->acknowledged_seq) {
        update.ack_bytes = encode_ack(update.ack, fanout->tick, seat->applied_seq);
        seat->acknowledged_seq = seat->applied_seq;
    }
    if (!update.size && !update.ack_bytes) return 0;
    fanout->sent++;
    fanout->sent_bytes += frame->size + update.ack_bytes;
    if (!is_direct) return append_write(fanout->writes, &update);
    Py_INCREF(connection);
    Py_INCREF(update.data);
    fanout->updates[fanout->count++] = update;
    return 0;
}

static int add_seat(Fanout *fanout, PyObject *object) {
    if (!PyObject_TypeCheck(object, SeatFieldsType)) return PyList_Append(fanout->others, object);
    SeatFields *seat = (SeatFields *)object;
    PyObject *connection = seat->connection, *interest = seat->interest;
    if (connection == Py_None) return 0;
    if (!connection || !interest || seat->send_rate != Py_None || seat->has_events || seat->reads_tables)
        return PyList_Append(fanout->others, object);
    Py_INCREF(connection); /* a destructor or `prepare` may change the seat */
    Py_INCREF(interest);
    int status = add_update(fanout, seat, connection, interest);
    Py_DECREF(interest);
    Py_DECREF(connection);
    return status;
}

static size_t send_update(Update *update) {
    struct iovec parts[2] = {{update->ack, (size_t)update->ack_bytes}, {update->bytes, update->size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t taken;
    do {
        if (update->ack_bytes)
            taken = sendmsg(update->descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            taken = send(update->descriptor, update->bytes, update->size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (taken < 0 && errno == EINTR);
    return taken < 0 ? 0 : (size_t)taken;
}

/* Sends the updates; the bytes that a socket does not accept go to its transport, also after an error. */
static int send_updates(Fanout *fanout) {
    PyObject *type, *value, *traceback;
    int status = 0;
    PyErr_Fetch(&type, &value, &traceback);
    /* Read late: a connection that was closed meanwhile has -1, and its old number may be another socket by now. */
    for (Py_ssize_t place = 0; place < fanout->count; place++)
        fanout->updates[place].descriptor = ((SocketFields *)fanout->updates[place].connection)->descriptor;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t place = 0; place < fanout->count; place++)
        fanout->updates[place].taken = send_update(&fanout->updates[place]);
    Py_END_ALLOW_THREADS
    for (Py_ssize_t place = 0; place < fanout->count; place++) {
        Update *update = &fanout->updates[place];
        if (update->taken != update->size + (size_t)update->ack_bytes && append_write(fanout->writes, update) < 0)
            status = -1;
        Py_DECREF(update->connection);
        Py_DECREF(update->data);
    }
    if (type) PyErr_Restore(type, value, traceback);
    return status;
}

PyObject *kernel_send_state(PyObject *module, PyObject *args) {
    (void)module;
    Fanout fanout = {0};
    PyObject *seats, *found = NULL;
    if (!PyArg_ParseTuple(args, "OKnOO!", &seats, &fanout.tick, &fanout.bytes_max, &fanout.prepare, &PyList_Type,
                          &fanout.writes))
        return NULL;
    if (create_names() < 0) return NULL;
    fanout.seats = PySequence_List(seats); /* a copy: `prepare` and destructors may run any code */
    if (!fanout.seats) return NULL;
    Py_ssize_t count = PyList_Size(fanout.seats), place = 0;
    fanout.others = PyList_New(0);
    fanout.updates = PyMem_Malloc(((size_t)count + 1) * sizeof *fanout.updates);
    if (!fanout.updates) PyErr_NoMemory();
    if (fanout.others && fanout.updates) {
        while (place < count && add_seat(&fanout, PyList_GetItem(fanout.seats, place)) == 0) place++;
        if (send_updates(&fanout) == 0 && place == count)
            found = Py_BuildValue("(nnO)", fanout.sent, fanout.sent_bytes, fanout.others);
    }
    release_frame(&fanout.frame);
    PyMem_Free(fanout.updates);
    Py_XDECREF(fanout.others);
    Py_DECREF(fanout.seats);
    return found;
}
