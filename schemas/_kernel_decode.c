/* Decodes one section of a delta in one pass: TableCodec.decode of delta.py, without its texts.
 *
 * The bytes come from a peer. For all bytes the result is a table, or the MalformedMessage that the Python code
 * raises for them.
 */
#include "_kernel.h"

/* -- whole bytes -------------------------------------------------------------------------------------------- */

typedef struct {
    const unsigned char *data;
    size_t size, at;
} Bytes;

static int malformed(const char *reason) {
    PyErr_SetString(MalformedMessage, reason);
    return -1;
}

/* Reads a LEB128 number of at most 35 bits. */
static int read_varint(Bytes *bytes, int64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
        if (bytes->at == bytes->size) return malformed("the packed part ends too early");
        unsigned char byte = bytes->data[bytes->at++];
        *value |= (int64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return 0;
    }
    return malformed("a varint has more than 5 bytes");
}

/* A list of ascending numbers; `items` is never NULL after it was read. */
typedef struct {
    int64_t *items;
    Py_ssize_t count;
} List;

/* Reads a count, then as many ascending numbers below `limit`, each as the difference from the one before. */
static int read_ascending(Bytes *bytes, int64_t limit, List *list) {
    int64_t count, number = 0;
    int has_twice = 0;
    if (read_varint(bytes, &count) < 0) return -1;
    if ((size_t)count > bytes->size - bytes->at) return malformed("a list is longer than the message");
    list->items = PyMem_Malloc(((size_t)count + 1) * sizeof *list->items);
    if (!list->items) {
        PyErr_NoMemory();
        return -1;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t step;
        if (read_varint(bytes, &step) < 0) return -1;
        has_twice |= i > 0 && !step;
        list->items[i] = number = plus(number, step);
    }
    if (has_twice) return malformed("a list has the same number twice");
    if (count && number >= limit) {
        PyErr_Format(MalformedMessage, "a list has %lld, which must be below %lld", (long long)number, (long long)limit);
        return -1;
    }
    list->count = (Py_ssize_t)count;
    return 0;
}

/* -- the section -------------------------------------------------------------------------------------------- */

typedef struct {
    Matrix base, base_before; /* (fields, entities) */
    Matrix base_ids, bounds;  /* (entities,); (2, fields): the least and the greatest value of each field */
    const unsigned char *field_bits;
    Py_ssize_t fields;
    List left, entered;
    Py_ssize_t stayed_count, count;
    /* The entities that stayed: where they were, and where they are; NULL if these are all, at the same places. */
    Py_ssize_t *from, *to, *entered_to;
    unsigned char *scratch;                              /* one byte for each entity that stayed */
    PyObject *ids_bytes, *values_bytes, *before_bytes;   /* bytearrays */
    int64_t *values, *before;                            /* their contents: (fields, count) */
} Decoder;

/* Merges the entities that stayed and entered, ascending. Returns -1 with an exception if one is in both. */
static int merge_entities(Decoder *decoder) {
    Py_ssize_t base_count = decoder->base.columns, stayed = 0, entered = 0, left = 0, at = 0;
    uint32_t *ids = (uint32_t *)(void *)PyByteArray_AsString(decoder->ids_bytes);
    for (Py_ssize_t place = 0; place <= base_count; place++) {
        int is_end = place == base_count;
        if (!is_end && left < decoder->left.count && decoder->left.items[left] == place) {
            left++;
            continue;
        }
        int64_t id = is_end ? INT64_MAX : (int64_t)read_id(&decoder->base_ids, place);
        for (; entered < decoder->entered.count && decoder->entered.items[entered] < id; entered++) {
            decoder->entered_to[entered] = at;
            ids[at++] = (uint32_t)decoder->entered.items[entered];
        }
        if (is_end) break;
        if (entered < decoder->entered.count && decoder->entered.items[entered] == id)
            return malformed("an entity entered that the channel already has");
        decoder->from[stayed] = place;
        decoder->to[stayed++] = at;
        ids[at++] = (uint32_t)id;
    }
    return 0;
}

/* Reads the lists of entities that left and entered, and sets the places of all others. */
static int read_entities(Decoder *decoder, Bytes *bytes, int flags) {
    Py_ssize_t base_count = decoder->base.columns;
    decoder->stayed_count = decoder->count = base_count;
    if (!(flags & (HAS_LEFT | HAS_ENTERED))) return 0;
    if (flags & HAS_LEFT && read_ascending(bytes, base_count, &decoder->left) < 0) return -1;
    if (flags & HAS_ENTERED && read_ascending(bytes, (int64_t)1 << 32, &decoder->entered) < 0) return -1;
    if (decoder->entered.count && decoder->entered.items[0] == 0)
        return malformed("entity 0 entered: ids begin with 1");
    decoder->stayed_count = base_count - decoder->left.count;
    decoder->count = decoder->stayed_count + decoder->entered.count;
    if (decoder->count > ENTITIES_MAX) {
        PyErr_Format(MalformedMessage, "a channel may have at most %d entities of a table", (int)ENTITIES_MAX);
        return -1;
    }
    size_t stayed = (size_t)decoder->stayed_count;
    decoder->from = PyMem_Malloc((2 * stayed + (size_t)decoder->entered.count + 1) * sizeof *decoder->from);
    decoder->ids_bytes = PyByteArray_FromStringAndSize(NULL, 4 * decoder->count);
    if (!decoder->from) PyErr_NoMemory();
    if (!decoder->from || !decoder->ids_bytes) return -1;
    decoder->to = decoder->from + stayed;
    decoder->entered_to = decoder->to + stayed;
    return merge_entities(decoder);
}

/* -- columns ------------------------------------------------------------------------------------------------ */

static void read_entered(Decoder *decoder, BitStream *stream) {
    Py_ssize_t count = decoder->entered.count;
    for (int is_change = 0; is_change < 2; is_change++)
        for (Py_ssize_t field = 0; field < decoder->fields; field++) {
            int width = (int)take(stream, WIDTH_BITS);
            int64_t *values = decoder->values + field * decoder->count;
            int64_t *before = decoder->before + field * decoder->count;
            for (Py_ssize_t i = 0; i < count && !stream->has_ended; i++) {
                int64_t number = unzigzag(take(stream, width));
                Py_ssize_t to = decoder->entered_to[i];
                if (is_change)
                    before[to] = minus(values[to], number);
                else
                    values[to] = number;
            }
        }
}

/* Reads the unary parts of RICE: zeros, at most ESCAPE of them, and a one. */
static int read_quotients(BitStream *stream, unsigned char *quotients, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        uint64_t bits = peek(stream); /* behind the end there are zeros only, which are an error too */
        int zeros = bits ? __builtin_ctzll(bits) : ESCAPE + 1;
        if (zeros > ESCAPE) {
            PyErr_Format(MalformedMessage, "a unary code is above %d, or ends too early", (int)ESCAPE);
            return -1;
        }
        stream->at += (size_t)zeros + 1;
        quotients[i] = (unsigned char)zeros;
    }
    return 0;
}

/* Reads the next residual of a column; `scratch` is the unary part of RICE, or the bit of CHANGED. */
static inline int64_t read_residual(BitStream *stream, int predictor, int parameter, unsigned char scratch) {
    if (predictor == RICE) {
        if (scratch == ESCAPE) return unzigzag(take(stream, RAW_BITS));
        return unzigzag((uint64_t)scratch << parameter | take(stream, parameter));
    }
    return predictor == CHANGED && !scratch ? 0 : unzigzag(take(stream, parameter));
}

/* Reads one column of the entities that stayed. */
static int read_column(Decoder *decoder, BitStream *stream, Py_ssize_t field) {
    Py_ssize_t count = decoder->stayed_count;
    int has_changed = (int)take(stream, 1);
    int predictor = has_changed ? (int)take(stream, 2) : LAST, parameter = has_changed ? (int)take(stream, 6) : 0;
    if (stream->has_ended) return malformed("the packed part ends too early");
    if (predictor == RICE && read_quotients(stream, decoder->scratch, count) < 0) return -1;
    if (predictor == CHANGED)
        for (Py_ssize_t i = 0; i < count; i++) decoder->scratch[i] = (unsigned char)take(stream, 1);
    int is_line = predictor == LINEAR || predictor == RICE;
    uint64_t mask = wrap_mask(decoder->field_bits[field]);
    int64_t *values = decoder->values + field * decoder->count;
    int64_t *before = decoder->before ? decoder->before + field * decoder->count : NULL;
    for (Py_ssize_t i = 0; i < count && !stream->has_ended; i++) {
        Py_ssize_t from = decoder->from ? decoder->from[i] : i, to = decoder->to ? decoder->to[i] : i;
        int64_t last = read_int(&decoder->base, field, from), value = last;
        if (is_line) value = plus(last, minus(last, read_int(&decoder->base_before, field, from)));
        value = plus(value, read_residual(stream, predictor, parameter, decoder->scratch[i]));
        values[to] = (int64_t)((uint64_t)value & mask);
        if (before) before[to] = last;
    }
    return 0;
}

static int read_columns(Decoder *decoder, Bytes *bytes) {
    BitStream stream = {bytes->data + bytes->at, (bytes->size - bytes->at) * 8, 0, 0};
    if (decoder->entered.count) read_entered(decoder, &stream);
    if (decoder->stayed_count)
        for (Py_ssize_t field = 0; field < decoder->fields && !stream.has_ended; field++)
            if (read_column(decoder, &stream, field) < 0) return -1;
    if (stream.has_ended) return malformed("the packed part ends too early");
    bytes->at += (stream.at + 7) >> 3;
    return 0;
}

static int check_ranges(const Decoder *decoder) {
    int is_within = 1;
    for (Py_ssize_t field = 0; field < decoder->fields; field++) {
        int64_t low = read_int(&decoder->bounds, 0, field), high = read_int(&decoder->bounds, 1, field);
        const int64_t *values = decoder->values + field * decoder->count;
        for (Py_ssize_t i = 0; i < decoder->count; i++) is_within &= values[i] >= low && values[i] <= high;
    }
    return is_within ? 0 : malformed("a value is out of its field's range");
}

/* -- the function ------------------------------------------------------------------------------------------- */

static int decode(Decoder *decoder, Bytes *bytes, int flags) {
    if (read_entities(decoder, bytes, flags) < 0) return -1;
    Py_ssize_t size = decoder->fields * decoder->count * (Py_ssize_t)sizeof(int64_t);
    decoder->values_bytes = PyByteArray_FromStringAndSize(NULL, size);
    if (decoder->ids_bytes) decoder->before_bytes = PyByteArray_FromStringAndSize(NULL, size);
    decoder->scratch = PyMem_Malloc((size_t)decoder->stayed_count + 1);
    if (!decoder->scratch) PyErr_NoMemory();
    if (!decoder->scratch || !decoder->values_bytes || (decoder->ids_bytes && !decoder->before_bytes)) return -1;
    memset(decoder->scratch, 0, (size_t)decoder->stayed_count + 1);
    decoder->values = (int64_t *)(void *)PyByteArray_AsString(decoder->values_bytes);
    if (decoder->before_bytes) decoder->before = (int64_t *)(void *)PyByteArray_AsString(decoder->before_bytes);
    if (read_columns(decoder, bytes) < 0) return -1;
    return flags & HAS_TEXTS ? 0 : check_ranges(decoder);
}

static int fit_each_other(const Decoder *decoder) {
    const Matrix *base = &decoder->base, *before = &decoder->base_before, *bounds = &decoder->bounds;
    return base->rows == decoder->fields && before->rows == decoder->fields && before->columns == base->columns &&
           decoder->base_ids.columns == base->columns && bounds->rows == 2 && bounds->columns == decoder->fields;
}

/* Decodes behind opened views, and frees what decoding has allocated. */
static PyObject *decode_opened(Decoder *decoder, Bytes *bytes, Py_ssize_t at, int flags) {
    PyObject *made = NULL;
    if (at < 0 || (size_t)at > bytes->size || !fit_each_other(decoder)) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit each other");
        return NULL;
    }
    bytes->at = (size_t)at;
    if (check_field_bits(decoder->field_bits, decoder->fields) == 0 && decode(decoder, bytes, flags) == 0) {
        Py_ssize_t end = (Py_ssize_t)bytes->at;
        PyObject *ids = decoder->ids_bytes ? decoder->ids_bytes : Py_None;
        PyObject *before = decoder->before_bytes ? decoder->before_bytes : Py_None;
        made = Py_BuildValue("(nOOO)", end, ids, decoder->values_bytes, before);
    }
    PyMem_Free(decoder->left.items);
    PyMem_Free(decoder->entered.items);
    PyMem_Free(decoder->from);
    PyMem_Free(decoder->scratch);
    Py_XDECREF(decoder->ids_bytes);
    Py_XDECREF(decoder->values_bytes);
    Py_XDECREF(decoder->before_bytes);
    return made;
}

PyObject *kernel_decode_section(PyObject *module, PyObject *args) {
    (void)module;
    Decoder decoder = {0};
    const char *data;
    Py_ssize_t size, at;
    int flags;
    PyObject *ids, *objects[3];
    if (!PyArg_ParseTuple(args, "y#niy#OOOO", &data, &size, &at, &flags, &decoder.field_bits, &decoder.fields, &objects[0],
                          &ids, &objects[1], &objects[2]))
        return NULL;
    Bytes bytes = {(const unsigned char *)data, (size_t)size, 0};
    Matrix arrays[3];
    int opened = matrices_open(arrays, objects, 3);
    PyObject *made = NULL;
    if (opened == 3 && matrix_open(&decoder.base_ids, ids, 1, "IL", 4, 0) == 0) {
        decoder.bounds = arrays[0], decoder.base = arrays[1], decoder.base_before = arrays[2];
        made = decode_opened(&decoder, &bytes, at, flags);
        PyBuffer_Release(&decoder.base_ids.view);
    }
    matrices_close(arrays, opened);
    return made;
}
