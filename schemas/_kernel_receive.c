/* Receives inputs: unmasks a client's frame, recognises an Input in it, and queues it at the player's seat.
 *
 * The caller has checked the frame's header: final, binary, masked, and as long as the length in its second byte. Any
 * frame that holds another message, or another layout of an Input, is left to the Python code. So is any input that a
 * seat does not simply queue: Seat.push_input is the reference.
 */
#include "_kernel_seats.h"

enum { MASK_AT = 2, HEADER_BYTES = 6, FRAME_BYTES_MAX = HEADER_BYTES + 125 }; /* schemas/framing.py */
enum { HEAD_BYTES = 44, PAYLOAD_AT = 56, PAYLOAD_BYTES_MAX = 64 };            /* codec.py: tick, seq, size, payload */
enum { INBOX_MAX = 8 };                                                       /* server/rooms/seat.py */

static uint32_t load_u32(const unsigned char *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* An Input in a frame. */
typedef struct {
    unsigned long tick, seq;
    Py_ssize_t payload_size;
    unsigned char message[FRAME_BYTES_MAX]; /* unmasked */
} FramedInput;

/* Reads the Input in a frame; returns 0 if the frame holds anything else, and -1 with an exception set. */
static int read_frame(FramedInput *input, const unsigned char *frame, Py_ssize_t size, const unsigned char *head,
                      Py_ssize_t head_size) {
    if (head_size != HEAD_BYTES) {
        PyErr_SetString(PyExc_ValueError, "the fixed part of an Input has 44 bytes");
        return -1;
    }
    Py_ssize_t payload_size = size - HEADER_BYTES - PAYLOAD_AT;
    if (payload_size < 4 || payload_size > PAYLOAD_BYTES_MAX || payload_size % 4) return 0;
    unsigned char *message = input->message;
    for (Py_ssize_t i = 0; i < size - HEADER_BYTES; i++) message[i] = frame[HEADER_BYTES + i] ^ frame[MASK_AT + (i & 3)];
    if (memcmp(message, head, HEAD_BYTES) || load_u32(message + HEAD_BYTES + 8) != (uint32_t)payload_size) return 0;
    input->tick = load_u32(message + HEAD_BYTES);
    input->seq = load_u32(message + HEAD_BYTES + 4);
    input->payload_size = payload_size;
    return 1;
}

PyObject *kernel_read_input(PyObject *module, PyObject *args) {
    (void)module;
    const unsigned char *frame, *head;
    Py_ssize_t size, head_size;
    FramedInput input;
    if (!PyArg_ParseTuple(args, "y#y#", &frame, &size, &head, &head_size)) return NULL;
    int found = read_frame(&input, frame, size, head, head_size);
    if (found < 0) return NULL;
    if (!found) Py_RETURN_NONE;
    return Py_BuildValue("(kky#)", input.seq, input.tick, input.message + PAYLOAD_AT, input.payload_size);
}

/* Returns whether a seat queues an input without any further rule; -1 with an exception set. */
static int is_queued_only(SeatFields *seat, const FramedInput *input) {
    PyObject *newest = seat->newest_inputs, *inbox = seat->inbox;
    if (!seat->is_open || seat->may_restart || seat->may_misfit || input->seq <= seat->received_seq) return 0;
    if (input->payload_size != seat->input_size || !newest || !inbox || !PyList_Check(inbox)) return 0;
    if (newest == Py_None) return PyList_Size(inbox) < INBOX_MAX;
    if (!PyDict_Check(newest)) return 0;
    int has_one = PyDict_Contains(newest, (PyObject *)seat); /* the seat counts it as superseded */
    return has_one < 0 ? -1 : !has_one;
}

/* Queues an input if that is all that the seat does with it; returns 0 if not, -1 with an exception set. */
static int queue_input(SeatFields *seat, PyObject *create, const FramedInput *input) {
    int is_simple = is_queued_only(seat, input);
    if (is_simple <= 0) return is_simple;
    PyObject *queued =
        PyObject_CallFunction(create, "kky#", input->seq, input->tick, input->message + PAYLOAD_AT, input->payload_size);
    if (!queued) return -1;
    /* The call may have run any code, for example finalizers of the garbage collector: the seat may be another now. */
    int status = is_queued_only(seat, input);
    if (status > 0) {
        PyObject *newest = seat->newest_inputs;
        int has_failed = newest == Py_None ? PyList_Append(seat->inbox, queued)
                                           : PyDict_SetItem(newest, (PyObject *)seat, queued);
        if (has_failed)
            status = -1;
        else
            seat->received_seq = input->seq;
    }
    Py_DECREF(queued);
    return status;
}

PyObject *kernel_push_input(PyObject *module, PyObject *args) {
    (void)module;
    const unsigned char *frame, *head;
    Py_ssize_t size, head_size;
    PyObject *seat, *create;
    FramedInput input;
    if (!PyArg_ParseTuple(args, "y#y#OO", &frame, &size, &head, &head_size, &seat, &create)) return NULL;
    if (!PyObject_TypeCheck(seat, SeatFieldsType)) Py_RETURN_FALSE;
    int found = read_frame(&input, frame, size, head, head_size);
    int queued = found > 0 ? queue_input((SeatFields *)seat, create, &input) : found;
    return queued < 0 ? NULL : PyBool_FromLong(queued);
}
