/* Encodes one section of a delta in one pass: TableCodec.encode of delta.py, and Residuals.to_codes of residuals.py. */
#include "_kernel.h"

/* The snapshots of one table, and the entities that they have in common. */
typedef struct {
    Matrix base, base_before, now, now_before;
    const unsigned char *field_bits;
    Py_ssize_t fields;
    /* Positions; `here` and `there` are NULL if both snapshots have the same entities. */
    Py_ssize_t *here, *there, *left, *entered;
    Py_ssize_t stayed_count, left_count, entered_count;
    uint64_t *codes; /* 2 * the larger number of entities */
} Section;

/* -- columns of entities that stayed ------------------------------------------------------------------------ */

/* The cost of a column with each predictor, in bits. */
typedef struct {
    int width, line_width, k;
    int64_t costs[4];
} Costs;

static Costs measure(const uint64_t *plain, const uint64_t *line, Py_ssize_t count) {
    uint64_t plain_or = 0, line_or = 0, mean = 0, zeros = 0;
    int64_t n = (int64_t)count, changed = 0, escaped = 0;
    Costs found = {0};
    for (Py_ssize_t i = 0; i < count; i++) {
        plain_or |= plain[i];
        line_or |= line[i];
        changed += plain[i] != 0;
        mean += line[i] < MEAN_CAP ? line[i] : MEAN_CAP;
    }
    found.width = bit_length(plain_or);
    found.line_width = bit_length(line_or);
    if (!found.width) return found;
    /* The exponent that frexp has for mean / n, less one: the highest power of two that is not above it. */
    while (mean >= (uint64_t)n << (found.k + 1)) found.k++;
    for (Py_ssize_t i = 0; i < count; i++) {
        uint64_t quotient = line[i] >> found.k;
        escaped += quotient >= ESCAPE;
        zeros += quotient < ESCAPE ? quotient : ESCAPE;
    }
    found.costs[LAST] = found.width * n;
    found.costs[LINEAR] = found.line_width * n;
    found.costs[CHANGED] = n + changed * found.width;
    found.costs[RICE] = (int64_t)zeros + n * (1 + found.k) + escaped * (RAW_BITS - found.k);
    return found;
}

static void write_rice(Writer *writer, const uint64_t *line, Py_ssize_t count, int k) {
    for (Py_ssize_t i = 0; i < count; i++) {
        uint64_t quotient = line[i] >> k;
        if (quotient > ESCAPE) quotient = ESCAPE;
        put(writer, (uint64_t)1 << quotient, (int)quotient + 1);
    }
    for (Py_ssize_t i = 0; i < count; i++) put(writer, line[i], line[i] >> k >= ESCAPE ? RAW_BITS : k);
}

/* Writes one column with the cheapest predictor, among equals the first; returns whether a value has changed. */
static int write_column(Writer *writer, const uint64_t *plain, const uint64_t *line, Py_ssize_t count) {
    Costs found = measure(plain, line, count);
    int least = LAST;
    for (int predictor = LINEAR; predictor <= RICE; predictor++)
        if (found.costs[predictor] < found.costs[least]) least = predictor;
    writer_reserve(writer, (size_t)found.costs[least] / 8 + 8);
    if (writer->has_failed) return 1;
    if (!found.width) {
        put(writer, 0, 1);
        return 0;
    }
    const int parameters[4] = {found.width, found.line_width, found.width, found.k};
    int parameter = parameters[least];
    put(writer, (uint64_t)(1 | least << 1 | parameter << 3), COLUMN_HEADER_BITS);
    if (least == RICE)
        write_rice(writer, line, count, parameter);
    else if (least == CHANGED) {
        for (Py_ssize_t i = 0; i < count; i++) put(writer, plain[i] != 0, 1);
        for (Py_ssize_t i = 0; i < count; i++)
            if (plain[i]) put(writer, plain[i], parameter);
    } else {
        const uint64_t *residuals = least == LAST ? plain : line;
        for (Py_ssize_t i = 0; i < count; i++) put(writer, residuals[i], parameter);
    }
    return 1;
}

/* Writes all columns of the entities that stayed; returns whether a value has changed. */
static int write_stayed(Writer *writer, const Section *section) {
    Py_ssize_t count = section->stayed_count;
    uint64_t *plain = section->codes, *line = plain + count;
    int has_changed = 0;
    for (Py_ssize_t field = 0; count && field < section->fields; field++) {
        int bits = section->field_bits[field];
        for (Py_ssize_t i = 0; i < count; i++) {
            Py_ssize_t here = section->here ? section->here[i] : i, there = section->there ? section->there[i] : i;
            int64_t last = read_int(&section->base, field, there);
            int64_t difference = minus(read_int(&section->now, field, here), last);
            int64_t step = minus(last, read_int(&section->base_before, field, there));
            plain[i] = zigzag(shorter(difference, bits));
            line[i] = zigzag(shorter(minus(difference, step), bits));
        }
        has_changed |= write_column(writer, plain, line, count);
    }
    return has_changed;
}

/* -- entities that left and entered ------------------------------------------------------------------------- */

/* Writes the values of the entities that entered, column by column; then how these have changed in one tick. */
static void write_entered(Writer *writer, const Section *section) {
    Py_ssize_t count = section->entered_count;
    for (int is_change = 0; is_change < 2; is_change++)
        for (Py_ssize_t field = 0; field < section->fields; field++) {
            uint64_t all = 0;
            for (Py_ssize_t i = 0; i < count; i++) {
                int64_t value = read_int(&section->now, field, section->entered[i]);
                if (is_change) {
                    int64_t before = read_int(&section->now_before, field, section->entered[i]);
                    value = shorter(minus(value, before), section->field_bits[field]);
                }
                section->codes[i] = zigzag(value);
                all |= section->codes[i];
            }
            int width = bit_length(all);
            writer_reserve(writer, ((size_t)width * (size_t)count + WIDTH_BITS) / 8 + 8);
            if (writer->has_failed) return;
            put(writer, (uint64_t)width, WIDTH_BITS);
            for (Py_ssize_t i = 0; i < count; i++) put(writer, section->codes[i], width);
        }
}

/* Finds the entities that stayed, left and entered. Both arrays of ids are ascending. */
static void compare_entities(Section *section, const Matrix *base_ids, const Matrix *ids) {
    Py_ssize_t then = 0, now = 0;
    while (then < base_ids->columns || now < ids->columns) {
        int is_in_base = then < base_ids->columns, is_in_now = now < ids->columns;
        if (is_in_base && is_in_now) {
            uint32_t old = read_id(base_ids, then), new = read_id(ids, now);
            is_in_base = old <= new;
            is_in_now = new <= old;
        }
        if (is_in_base && is_in_now) {
            section->there[section->stayed_count] = then;
            section->here[section->stayed_count++] = now;
        } else if (is_in_base)
            section->left[section->left_count++] = then;
        else
            section->entered[section->entered_count++] = now;
        then += is_in_base;
        now += is_in_now;
    }
}

/* Writes the number of `places`, then each, or the id at it, as the difference from the one before. */
static void write_ascending(Writer *writer, const Py_ssize_t *places, Py_ssize_t count, const Matrix *ids) {
    uint64_t last = 0;
    writer_varint(writer, (uint64_t)count);
    for (Py_ssize_t i = 0; i < count; i++) {
        uint64_t number = ids ? read_id(ids, places[i]) : (uint64_t)places[i];
        writer_varint(writer, number - last);
        last = number;
    }
}

/* -- a section ---------------------------------------------------------------------------------------------- */

static PyObject *encode(Section *section, unsigned long tag, const Matrix *ids) {
    Writer writer = {0};
    unsigned long flags = (section->left_count ? HAS_LEFT : 0) | (section->entered_count ? HAS_ENTERED : 0);
    writer_varint(&writer, tag | flags);
    if (section->left_count) write_ascending(&writer, section->left, section->left_count, NULL);
    if (section->entered_count) {
        write_ascending(&writer, section->entered, section->entered_count, ids);
        if (!writer.has_failed) write_entered(&writer, section);
    }
    int has_changed = writer.has_failed || write_stayed(&writer, section);
    if (has_changed || flags || tag & HAS_TEXTS) return writer_finish(&writer);
    PyMem_Free(writer.data);
    return PyBytes_FromStringAndSize(NULL, 0);
}

static int fit_each_other(const Section *section) {
    const Matrix *base = &section->base, *before = &section->base_before;
    const Matrix *now = &section->now, *now_before = &section->now_before;
    return base->rows == section->fields && before->rows == section->fields && now->rows == section->fields &&
           now_before->rows == section->fields && before->columns == base->columns &&
           now_before->columns == now->columns;
}

/* Compares the entities and encodes; `base_ids` and `ids` are NULL if both snapshots have the same. */
static PyObject *encode_snapshots(Section *section, unsigned long tag, const Matrix *base_ids, const Matrix *ids) {
    Py_ssize_t base_count = section->base.columns, count = section->now.columns;
    if (!fit_each_other(section) || (ids ? ids->columns != count || base_ids->columns != base_count : count != base_count)) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        return NULL;
    }
    if (check_field_bits(section->field_bits, section->fields) < 0) return NULL;
    size_t most = (size_t)(count > base_count ? count : base_count) + 1;
    Py_ssize_t *places = ids ? PyMem_Malloc(4 * most * sizeof *places) : NULL;
    section->codes = PyMem_Malloc(2 * most * sizeof *section->codes);
    PyObject *made = NULL;
    if (!section->codes || (ids && !places))
        PyErr_NoMemory();
    else {
        section->stayed_count = ids ? 0 : count;
        if (ids) {
            section->here = places, section->there = places + most;
            section->left = places + 2 * most, section->entered = places + 3 * most;
            compare_entities(section, base_ids, ids);
        }
        made = encode(section, tag, ids);
    }
    PyMem_Free(section->codes);
    PyMem_Free(places);
    return made;
}

PyObject *kernel_encode_section(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long tag;
    Section section = {0};
    PyObject *base_ids_object, *ids_object, *objects[4];
    if (!PyArg_ParseTuple(args, "ky#OOOOOO", &tag, &section.field_bits, &section.fields, &base_ids_object, &ids_object,
                          &objects[0], &objects[1], &objects[2], &objects[3]))
        return NULL;
    Matrix base_ids, ids, arrays[4];
    int has_ids = ids_object != Py_None, needed = has_ids ? 4 : 3; /* no entity has entered: `now_before` is unused */
    int opened = matrices_open(arrays, objects, needed), opened_ids = 0;
    PyObject *made = NULL;
    if (opened == needed && has_ids) {
        opened_ids = matrix_open(&base_ids, base_ids_object, 1, "IL", 4, 0) == 0;
        if (opened_ids) opened_ids += matrix_open(&ids, ids_object, 1, "IL", 4, 0) == 0;
    }
    if (opened == needed && opened_ids == 2 * has_ids) {
        section.base = arrays[0], section.base_before = arrays[1];
        section.now = arrays[2], section.now_before = arrays[needed - 1];
        made = encode_snapshots(&section, tag, has_ids ? &base_ids : NULL, has_ids ? &ids : NULL);
    }
    if (opened_ids > 1) PyBuffer_Release(&ids.view);
    if (opened_ids) PyBuffer_Release(&base_ids.view);
    matrices_close(arrays, opened);
    return made;
}
