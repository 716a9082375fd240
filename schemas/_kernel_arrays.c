/* Views of arrays, and the parts of the bit writer that are not worth inlining. */
#include "_kernel.h"

static int has_code(const char *format, const char *codes) {
    if (!format) format = "B";
    if (*format == '=' || *format == '@' || *format == '<') format++; /* numpy marks native order with none of them */
    return *format && !format[1] && strchr(codes, *format) != NULL;
}

int matrix_open(Matrix *matrix, PyObject *object, int dimensions, const char *codes, Py_ssize_t item_bytes,
                int is_writable) {
    int flags = PyBUF_STRIDES | PyBUF_FORMAT | (is_writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, &matrix->view, flags) < 0) return -1;
    const Py_buffer *view = &matrix->view;
    if (view->ndim != dimensions || (item_bytes && view->itemsize != item_bytes) || !has_code(view->format, codes)) {
        PyErr_Format(PyExc_TypeError, "expected an array of %d dimensions with items in a format of \"%s\", of %zd bytes",
                     dimensions, codes, item_bytes);
        PyBuffer_Release(&matrix->view);
        return -1;
    }
    matrix->data = view->buf;
    matrix->rows = dimensions == 2 ? view->shape[0] : 1;
    matrix->row_step = dimensions == 2 ? view->strides[0] : 0;
    matrix->columns = view->shape[dimensions - 1];
    matrix->column_step = view->strides[dimensions - 1];
    return 0;
}

int matrices_open(Matrix *matrices, PyObject *const *objects, int count) {
    for (int i = 0; i < count; i++)
        if (matrix_open(&matrices[i], objects[i], 2, "lq", 8, 0) < 0) return i;
    return count;
}

void matrices_close(Matrix *matrices, int count) {
    while (count) PyBuffer_Release(&matrices[--count].view);
}

int check_field_bits(const unsigned char *field_bits, Py_ssize_t fields) {
    for (Py_ssize_t field = 0; field < fields; field++)
        if (field_bits[field] > 63) {
            PyErr_SetString(PyExc_ValueError, "a field that wraps has at most 63 bits");
            return -1;
        }
    return 0;
}

void writer_reserve(Writer *writer, size_t bytes) {
    if (writer->has_failed || writer->size - writer->used >= bytes + 16) return;
    size_t size = writer->size * 2 + bytes + 80;
    unsigned char *data = PyMem_Realloc(writer->data, size);
    if (!data) {
        writer->has_failed = 1;
        return;
    }
    writer->data = data;
    writer->size = size;
}

void writer_varint(Writer *writer, uint64_t value) {
    writer_reserve(writer, 10);
    if (writer->has_failed) return;
    for (; value > 0x7F; value >>= 7) put(writer, (value & 0x7F) | 0x80, 8);
    put(writer, value, 8);
}

PyObject *writer_finish(Writer *writer) {
    PyObject *made = NULL;
    writer_reserve(writer, 1);
    if (writer->has_failed)
        PyErr_NoMemory();
    else {
        if (writer->count) put(writer, 0, 8 - writer->count);
        made = PyBytes_FromStringAndSize((const char *)writer->data, (Py_ssize_t)writer->used);
    }
    PyMem_Free(writer->data);
    return made;
}
