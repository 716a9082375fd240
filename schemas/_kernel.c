/* The native kernel: the hot paths of the codec in C. The Python code beside it is the reference.
 *
 *     _kernel_encode.c    encode_section     TableCodec.encode
 *     _kernel_decode.c    decode_section     TableCodec.decode
 *     _kernel_quantise.c  quantise, widen    Quantiser.quantise
 *     _kernel_receive.c   read_input         decode_client, for one Input
 *                         push_input         Seat.push_input, for such an Input
 *     _kernel_send.c      send               transport.write, for many connections
 *     _kernel_send_state.c  send_state       StateWriter, for seats that receive the common frame
 *     _kernel_seats.c     SeatFields, SocketFields, the base classes of seats and connections
 *
 * Every function returns the bytes and numbers of its Python counterpart, and raises its errors: tests run on both, and
 * `make fuzz-kernel` compares them under the address and undefined-behaviour sanitizers. schemas/kernel.py loads it.
 */
#include "_kernel.h"

PyObject *MalformedMessage;

PyDoc_STRVAR(encode_section_doc,
"encode_section(tag, field_bits, base_ids, ids, base, base_before, now, now_before)\n--\n\n"
"Return the section from one snapshot of a table to another, without its texts; empty if nothing has changed.\n\n"
"Args:\n"
"    tag: (1 + the table's index) * 8, plus 4 if texts follow.\n"
"    field_bits: bytes, one a column: the bits of a field that wraps, else 0.\n"
"    base_ids, ids: (entities,) uint32, ascending; both None if both snapshots have the same entities.\n"
"    base, base_before: (fields, entities) int64: the client's values, and those one snapshot earlier.\n"
"    now, now_before: (fields, entities) int64: the new values, and those of entities that enter one tick earlier.");

PyDoc_STRVAR(decode_section_doc,
"decode_section(data, at, flags, field_bits, bounds, base_ids, base, base_before)\n--\n\n"
"Read one section, after its tag and without its texts.\n\n"
"Args:\n"
"    data, at: the packed part, and where in it the section begins.\n"
"    flags: 1 if entities left, 2 if entities entered, 4 if texts follow; values are then not checked for their ranges.\n"
"    field_bits: as in encode_section.\n"
"    bounds: (2, fields) int64: the least and the greatest value of each field.\n"
"    base_ids, base, base_before: the client's table, and its values one snapshot earlier.\n\n"
"Returns:\n"
"    Where the section ends; the ids, values and values before, as bytearrays. The ids and the values before are None\n"
"    if they are those of the base.\n\n"
"Raises:\n"
"    MalformedMessage: the bytes do not fit the base.");

PyDoc_STRVAR(quantise_doc,
"quantise(block, out, parameters, places)\n--\n\n"
"Quantise the scaled columns of a table; return False if a value is out of its range or not a number.\n\n"
"Args:\n"
"    block: (scaled fields, entities) float32.\n"
"    out: (fields, entities) int64, written.\n"
"    parameters: (scaled fields, 4) float64: low, scale, and the least and the greatest number of steps.\n"
"    places: (scaled fields, 2) int64: the row in `out`, and the mask of the values.");

PyDoc_STRVAR(widen_doc,
"widen(column, out, row, low, high)\n--\n\n"
"Copy a column of bools or integers to a row of `out`; return False if a value is out of its range.\n\n"
"Args:\n"
"    column: (entities,) bool, int32 or int64.\n"
"    out: (fields, entities) int64, written.\n"
"    row: the row in `out`.\n"
"    low, high: the least and the greatest value.");

PyDoc_STRVAR(read_input_doc,
"read_input(frame, head)\n--\n\n"
"Read the Input in a frame; return None if the frame holds anything else.\n\n"
"Args:\n"
"    frame: a whole WebSocket frame: final, binary, masked, with a payload of at most 125 bytes.\n"
"    head: the bytes with which every Input begins, before its numbers.\n\n"
"Returns:\n"
"    The number of the input, its tick, and its payload.");

PyDoc_STRVAR(push_input_doc,
"push_input(frame, head, seat, create)\n--\n\n"
"Queue the Input in a frame at a seat; return False, and change nothing, if that takes more than queueing.\n\n"
"Args:\n"
"    frame, head: as for `read_input`.\n"
"    seat: the seat of the player.\n"
"    create: the class of inputs: called with the number, the tick and the payload.");

PyDoc_STRVAR(send_doc,
"send(writes)\n--\n\n"
"Send each frame to its socket, without waiting; release the interpreter lock meanwhile.\n\n"
"Args:\n"
"    writes: tuples that begin with the descriptor of a socket, and the bytes for it.\n\n"
"Returns:\n"
"    The place and the number of sent bytes of each item that was not sent as a whole: the socket's buffer is full, or\n"
"    its connection is broken.");

PyDoc_STRVAR(send_state_doc,
"send_state(seats, tick, bytes_max, prepare, writes)\n--\n\n"
"Send the common frame of this tick to the seats that receive it, with their acknowledgements.\n\n"
"The others are returned unchanged: seats that are congested or slow, that have events, whose client has another view\n"
"or reads tables, and those whose frame is too large. A seat without a connection is left out. The interpreter lock is\n"
"released while bytes are sent.\n\n"
"Args:\n"
"    seats: any iterable of seats.\n"
"    tick: the number of this tick.\n"
"    bytes_max: the size of the largest frame.\n"
"    prepare: called with an interest set whose tick is another one; sets its before, after and data.\n"
"    writes: a list; receives tuples of a connection and its bytes, for all connections that may not be sent to\n"
"        directly, and for the rest of bytes that a socket did not accept. Also if an exception is raised.\n\n"
"Returns:\n"
"    The number of frames, their bytes, and the other seats.");

static PyMethodDef methods[] = {
    {"encode_section", kernel_encode_section, METH_VARARGS, encode_section_doc},
    {"decode_section", kernel_decode_section, METH_VARARGS, decode_section_doc},
    {"quantise", kernel_quantise, METH_VARARGS, quantise_doc},
    {"read_input", kernel_read_input, METH_VARARGS, read_input_doc},
    {"push_input", kernel_push_input, METH_VARARGS, push_input_doc},
    {"send", kernel_send, METH_VARARGS, send_doc},
    {"send_state", kernel_send_state, METH_VARARGS, send_state_doc},
    {"widen", kernel_widen, METH_VARARGS, widen_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernel", "The native kernel; see tickwire/schemas/kernel.py.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void) {
    PyObject *errors = PyImport_ImportModule("tickwire.schemas.errors");
    if (!errors) return NULL;
    MalformedMessage = PyObject_GetAttrString(errors, "MalformedMessage");
    Py_DECREF(errors);
    PyObject *module = MalformedMessage ? PyModule_Create(&definition) : NULL;
    if (module && kernel_add_types(module) < 0) Py_CLEAR(module);
    return module;
}
