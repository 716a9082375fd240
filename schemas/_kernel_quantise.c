/* Quantises the columns of a table: Quantiser.quantise of server/replication/quantiser.py.
 *
 * Both functions return False at the first value that is not in the range of its field; the caller then runs the
 * Python code, which counts such values and raises for NaN.
 */
#include "_kernel.h"
#include <math.h>

/* The columns of `parameters` (fields, 4) and of `places` (fields, 2). */
enum { LOW = 0, SCALE = 1, LEAST = 2, MOST = 3 };
enum { ROW = 0, MASK = 1 };

static double read_double(const Matrix *matrix, Py_ssize_t row, Py_ssize_t column) {
    double value;
    memcpy(&value, item_at(matrix, row, column), sizeof value);
    return value;
}

static int quantise_row(const Matrix *block, const Matrix *out, const Matrix *parameters, const Matrix *places,
                        Py_ssize_t field) {
    double low = read_double(parameters, field, LOW), scale = read_double(parameters, field, SCALE);
    double least = read_double(parameters, field, LEAST), most = read_double(parameters, field, MOST);
    int64_t row = read_int(places, field, ROW), mask = read_int(places, field, MASK);
    for (Py_ssize_t i = 0; i < block->columns; i++) {
        float value;
        memcpy(&value, item_at(block, field, i), sizeof value);
        double steps = rint(((double)value - low) * scale);
        if (!(steps >= least && steps <= most)) return 0; /* also for NaN */
        int64_t whole = (int64_t)steps & mask;
        memcpy(item_at(out, (Py_ssize_t)row, i), &whole, sizeof whole);
    }
    return 1;
}

/* Returns whether the arrays fit each other, so that every row is within `out`. */
static int can_quantise(const Matrix *block, const Matrix *out, const Matrix *parameters, const Matrix *places) {
    Py_ssize_t fields = block->rows;
    if (parameters->rows != fields || parameters->columns != 4 || places->rows != fields || places->columns != 2 ||
        out->columns != block->columns)
        return 0;
    for (Py_ssize_t field = 0; field < fields; field++) {
        int64_t row = read_int(places, field, ROW);
        double least = read_double(parameters, field, LEAST), most = read_double(parameters, field, MOST);
        /* Only such numbers of steps can be converted to an integer. */
        if (row < 0 || row >= out->rows || !(least >= -0x1p53 && most <= 0x1p53)) return 0;
    }
    return 1;
}

PyObject *kernel_quantise(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *objects[4];
    if (!PyArg_ParseTuple(args, "OOOO", &objects[0], &objects[1], &objects[2], &objects[3])) return NULL;
    static const char *const codes[4] = {"f", "lq", "d", "lq"};
    Matrix arrays[4];
    int opened = 0, is_within = 1;
    while (opened < 4 && matrix_open(&arrays[opened], objects[opened], 2, codes[opened], opened ? 8 : 4, opened == 1) == 0)
        opened++;
    if (opened == 4) {
        if (can_quantise(&arrays[0], &arrays[1], &arrays[2], &arrays[3]))
            for (Py_ssize_t field = 0; is_within && field < arrays[0].rows; field++)
                is_within = quantise_row(&arrays[0], &arrays[1], &arrays[2], &arrays[3], field);
        else
            PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
    }
    matrices_close(arrays, opened);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(is_within);
}

/* Copies one column of integers; the item's size decides how they are read. */
static int widen(const Matrix *column, const Matrix *out, Py_ssize_t row, int64_t low, int64_t high) {
    for (Py_ssize_t i = 0; i < column->columns; i++) {
        int64_t value;
        if (column->view.itemsize == 8)
            value = read_int(column, 0, i);
        else if (column->view.itemsize == 4) {
            int32_t narrow;
            memcpy(&narrow, item_at(column, 0, i), sizeof narrow);
            value = narrow;
        } else
            value = *item_at(column, 0, i) != 0;
        if (value < low || value > high) return 0;
        memcpy(item_at(out, row, i), &value, sizeof value);
    }
    return 1;
}

PyObject *kernel_widen(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *column_object, *out_object;
    Py_ssize_t row;
    long long low, high;
    if (!PyArg_ParseTuple(args, "OOnLL", &column_object, &out_object, &row, &low, &high)) return NULL;
    Matrix column, out;
    int is_within = 1;
    if (matrix_open(&column, column_object, 1, "lqi?", 0, 0) < 0) return NULL;
    if (matrix_open(&out, out_object, 2, "lq", 8, 1) == 0) {
        if (row < 0 || row >= out.rows || out.columns != column.columns)
            PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        else
            is_within = widen(&column, &out, row, low, high);
        PyBuffer_Release(&out.view);
    }
    PyBuffer_Release(&column.view);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(is_within);
}
