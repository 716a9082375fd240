/* Receives inputs: unmasks a client's frame and recognises an Input in it.
 *
 * The caller has checked the frame's header: final, binary, masked, and as long as the length in its second byte. Any
 * frame that holds another message, or another layout of an Input, is left to the Python code.
 */
#include "_kernel.h"

enum { MASK_AT = 2, HEADER_BYTES = 6, FRAME_BYTES_MAX = HEADER_BYTES + 125 }; /* schemas/framing.py */
enum { HEAD_BYTES = 44, PAYLOAD_AT = 56, PAYLOAD_BYTES_MAX = 64 };            /* codec.py: tick, seq, size, payload */

static uint32_t load_u32(const unsigned char *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

PyObject *kernel_read_input(PyObject *module, PyObject *args) {
    (void)module;
    const unsigned char *frame, *head;
    Py_ssize_t size, head_size;
    if (!PyArg_ParseTuple(args, "y#y#", &frame, &size, &head, &head_size)) return NULL;
    if (head_size != HEAD_BYTES) {
        PyErr_SetString(PyExc_ValueError, "the fixed part of an Input has 44 bytes");
        return NULL;
    }
    Py_ssize_t payload_size = size - HEADER_BYTES - PAYLOAD_AT;
    if (payload_size < 4 || payload_size > PAYLOAD_BYTES_MAX || payload_size % 4) Py_RETURN_NONE;
    unsigned char message[FRAME_BYTES_MAX];
    for (Py_ssize_t i = 0; i < size - HEADER_BYTES; i++) message[i] = frame[HEADER_BYTES + i] ^ frame[MASK_AT + (i & 3)];
    if (memcmp(message, head, HEAD_BYTES) || load_u32(message + HEAD_BYTES + 8) != (uint32_t)payload_size) Py_RETURN_NONE;
    unsigned long tick = load_u32(message + HEAD_BYTES), seq = load_u32(message + HEAD_BYTES + 4);
    return Py_BuildValue("(kky#)", seq, tick, message + PAYLOAD_AT, payload_size);
}
