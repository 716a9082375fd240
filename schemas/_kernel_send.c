/* Sends frames to many sockets in one call; server/rooms/write_batch.py chooses the sockets.
 *
 * A socket is only sent to while its transport holds no unsent bytes, so that the order of bytes is kept. If
 * the operating system does not accept all bytes, because its buffer is full or the connection is broken, the
 * transport receives the rest: it waits, or meets the same error again.
 */
#include "_kernel.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: Python ignores SIGPIPE */
#endif

typedef struct {
    int descriptor;
    PyObject *frame; /* a reference: another thread may change the list while the lock is released */
    const char *data;
    size_t size, taken;
} Message;

static size_t send_one(const Message *message) {
    ssize_t taken;
    do
        taken = send(message->descriptor, message->data, message->size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (taken < 0 && errno == EINTR);
    return taken < 0 ? 0 : (size_t)taken;
}

/* Reads one item of the list: a tuple that begins with the descriptor and the frame. */
static int read_message(Message *message, PyObject *writes, Py_ssize_t place) {
    PyObject *item = PyList_GetItem(writes, place);
    if (!item || !PyTuple_Check(item) || PyTuple_Size(item) < 2) {
        PyErr_SetString(PyExc_TypeError, "expected tuples of a descriptor and bytes");
        return -1;
    }
    PyObject *descriptor = PyTuple_GetItem(item, 0), *frame = PyTuple_GetItem(item, 1);
    if (!PyLong_Check(descriptor)) { /* `__index__` could change the list, which holds the only reference to the frame */
        PyErr_SetString(PyExc_TypeError, "a descriptor must be an int");
        return -1;
    }
    long number = PyLong_AsLong(descriptor);
    if (number == -1 && PyErr_Occurred()) return -1;
    if (number < 0 || number > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a descriptor is out of range");
        return -1;
    }
    char *data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(frame, &data, &size) < 0) return -1;
    Py_INCREF(frame);
    *message = (Message){(int)number, frame, data, (size_t)size, 0};
    return 0;
}

/* Returns (place, taken) of each message that was not taken as a whole. */
static PyObject *list_incomplete(const Message *messages, Py_ssize_t count) {
    PyObject *incomplete = PyList_New(0);
    for (Py_ssize_t place = 0; incomplete && place < count; place++) {
        if (messages[place].taken == messages[place].size) continue;
        PyObject *item = Py_BuildValue("(nn)", place, (Py_ssize_t)messages[place].taken);
        if (!item || PyList_Append(incomplete, item) < 0) Py_CLEAR(incomplete);
        Py_XDECREF(item);
    }
    return incomplete;
}

PyObject *kernel_send(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *writes, *incomplete = NULL;
    if (!PyArg_ParseTuple(args, "O!", &PyList_Type, &writes)) return NULL;
    Py_ssize_t count = PyList_Size(writes), filled = 0;
    Message *messages = PyMem_Malloc(((size_t)count + 1) * sizeof *messages);
    if (!messages) return PyErr_NoMemory();
    while (filled < count && read_message(&messages[filled], writes, filled) == 0) filled++;
    if (filled == count) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t place = 0; place < count; place++) messages[place].taken = send_one(&messages[place]);
        Py_END_ALLOW_THREADS
        incomplete = list_incomplete(messages, count);
    }
    while (filled) Py_DECREF(messages[--filled].frame);
    PyMem_Free(messages);
    return incomplete;
}
