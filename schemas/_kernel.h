/* Shared definitions of the native kernel: views of arrays, arithmetic on residuals, and bit streams.
 *
 * The kernel is built against the limited API: one binary for CPython 3.11 and newer. Arrays arrive through the buffer
 * protocol, so numpy's headers are not needed. A view is used only between PyObject_GetBuffer and PyBuffer_Release,
 * and every size and position that a peer sends is checked before it is used.
 */
#ifndef TICKWIRE_KERNEL_H
#define TICKWIRE_KERNEL_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Constants of the wire format; the Python modules that declare them are the reference. */
enum { LAST = 0, LINEAR = 1, CHANGED = 2, RICE = 3 };                            /* residuals.py */
enum { ESCAPE = 24, RAW_BITS = 60, COLUMN_HEADER_BITS = 9, MEAN_CAP = 255 };     /* residuals.py */
enum { HAS_LEFT = 1, HAS_ENTERED = 2, HAS_TEXTS = 4, WIDTH_BITS = 6, ENTITIES_MAX = 1 << 16 }; /* delta.py */

/* tickwire.schemas.errors.MalformedMessage: bytes that no valid peer sends. Set when the module is loaded. */
extern PyObject *MalformedMessage;

PyObject *kernel_encode_section(PyObject *module, PyObject *args);
PyObject *kernel_decode_section(PyObject *module, PyObject *args);
PyObject *kernel_push_input(PyObject *module, PyObject *args);
PyObject *kernel_quantise(PyObject *module, PyObject *args);
PyObject *kernel_read_input(PyObject *module, PyObject *args);
PyObject *kernel_send(PyObject *module, PyObject *args);
PyObject *kernel_send_state(PyObject *module, PyObject *args);
PyObject *kernel_widen(PyObject *module, PyObject *args);

/* Creates the types of _kernel_seats.h, and adds them to the module; returns -1 with an exception set on failure. */
int kernel_add_types(PyObject *module);

/* -- arrays ------------------------------------------------------------------------------------------------ */

/* A view of an array (rows, columns) of any strides. An array of one dimension is one row. */
typedef struct {
    Py_buffer view;
    char *data;
    Py_ssize_t rows, columns, row_step, column_step;
} Matrix;

/* Opens a view of an array of `dimensions` dimensions whose items have one of the format codes, and `item_bytes` bytes
 * unless that is 0. Returns -1 with an exception set if the object is another. */
int matrix_open(Matrix *matrix, PyObject *object, int dimensions, const char *codes, Py_ssize_t item_bytes,
                int is_writable);

/* Opens views of several arrays of int64 with two dimensions; returns how many were opened. */
int matrices_open(Matrix *matrices, PyObject *const *objects, int count);
void matrices_close(Matrix *matrices, int count);

static inline char *item_at(const Matrix *matrix, Py_ssize_t row, Py_ssize_t column) {
    return matrix->data + row * matrix->row_step + column * matrix->column_step;
}

/* memcpy, because numpy allows arrays that are not aligned. */
static inline int64_t read_int(const Matrix *matrix, Py_ssize_t row, Py_ssize_t column) {
    int64_t value;
    memcpy(&value, item_at(matrix, row, column), sizeof value);
    return value;
}

static inline uint32_t read_id(const Matrix *ids, Py_ssize_t place) {
    uint32_t value;
    memcpy(&value, item_at(ids, 0, place), sizeof value);
    return value;
}

/* -- arithmetic -------------------------------------------------------------------------------------------- */

/* Wraps modulo 2^64, as numpy does; in C the overflow of a signed number is undefined. */
static inline int64_t plus(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static inline int64_t minus(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }

static inline uint64_t zigzag(int64_t value) { return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63); }

/* The shift copies the sign, as numpy's does: the longest codes of RICE reach the highest bit. */
static inline int64_t unzigzag(uint64_t code) { return ((int64_t)code >> 1) ^ -(int64_t)(code & 1); }

static inline int bit_length(uint64_t value) { return value ? 64 - __builtin_clzll(value) : 0; }

/* The mask of a field that wraps at 2^bits; all ones if `bits` is 0: the field does not wrap. */
static inline uint64_t wrap_mask(int bits) { return bits ? ((uint64_t)1 << bits) - 1 : ~(uint64_t)0; }

/* The difference in the shorter direction, for a field that wraps at 2^bits. */
static inline int64_t shorter(int64_t difference, int bits) {
    if (!bits) return difference;
    uint64_t half = (uint64_t)1 << bits >> 1;
    return (int64_t)((((uint64_t)difference + half) & wrap_mask(bits)) - half);
}

/* Checks the widths of wrapping fields, one byte a field; sets an exception and returns -1 if one is too wide. */
int check_field_bits(const unsigned char *field_bits, Py_ssize_t fields);

/* Eight bytes, the lowest first, whatever the order of this machine. */
static inline uint64_t load_bytes(const unsigned char *from) {
    uint64_t value;
    memcpy(&value, from, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static inline void store_bytes(unsigned char *to, uint64_t value) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(to, &value, sizeof value);
}

/* -- bit streams, lowest bit first --------------------------------------------------------------------------- */

typedef struct {
    unsigned char *data;
    size_t used, size; /* bytes */
    uint64_t bits;     /* not written yet, lowest first */
    int count;         /* the number of these bits, below 8 between calls */
    int has_failed;    /* no memory */
} Writer;

/* Makes room for `bytes` bytes and the 16 that `put` may touch behind them. */
void writer_reserve(Writer *writer, size_t bytes);

/* Returns the bytes, padded with zeros to a whole byte, and frees the writer. */
PyObject *writer_finish(Writer *writer);

/* Appends a LEB128 number. The writer must be at a whole byte. */
void writer_varint(Writer *writer, uint64_t value);

/* Appends the lowest `width` bits, 0 to 64, of a value. The bytes must be reserved. */
static inline void put(Writer *writer, uint64_t value, int width) {
    if (width > 32) {
        put(writer, value & 0xFFFFFFFFu, 32);
        value >>= 32;
        width -= 32;
    }
    uint64_t bits = writer->bits | (value & (((uint64_t)1 << width) - 1)) << writer->count;
    int count = writer->count + width;
    store_bytes(writer->data + writer->used, bits);
    writer->used += (size_t)count >> 3;
    writer->bits = bits >> (count & ~7);
    writer->count = count & 7;
}

typedef struct {
    const unsigned char *data;
    size_t size, at; /* bits */
    int has_ended;   /* more bits were read than there are */
} BitStream;

/* Returns the next bits, at least 57 of them, without reading them; zeros behind the end. */
static inline uint64_t peek(const BitStream *stream) {
    size_t first = stream->at >> 3, bytes = stream->size >> 3;
    uint64_t value = 0;
    if (bytes - first >= 8)
        value = load_bytes(stream->data + first);
    else
        for (size_t byte = first; byte < bytes; byte++) value |= (uint64_t)stream->data[byte] << 8 * (byte - first);
    return value >> (stream->at & 7);
}

/* Returns the next `width` bits, 0 to 63; 0, and `has_ended`, if there are fewer. */
static inline uint64_t take(BitStream *stream, int width) {
    if (stream->size - stream->at < (size_t)width) {
        stream->has_ended = 1;
        stream->at = stream->size;
        return 0;
    }
    uint64_t value = peek(stream);
    int offset = (int)(stream->at & 7);
    if (offset + width > 64) value |= (uint64_t)stream->data[(stream->at >> 3) + 8] << (64 - offset);
    stream->at += (size_t)width;
    return value & (((uint64_t)1 << width) - 1);
}

#endif
