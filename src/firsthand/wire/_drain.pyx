# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Ring bytes to columns, without a Python object per event.

The ring's layout is the kernel's (kernel/bpf/ringbuf.c, Linux 6.18): each record is headed by __u32 length, whose bit 31
says "still being written" and bit 30 "discarded", and __u32 page offset; records are aligned to 8 bytes; the data pages are
mapped twice, so no record wraps.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

import numpy as np

cdef uint32_t BUSY = 1u << 31
cdef uint32_t DISCARD = 1u << 30
cdef uint32_t HEAD = 8
cdef uint32_t FIXED = 32


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* NUL-terminated strings in a block; the last one may lack its NUL. */
    static inline ptrdiff_t fh_count(const unsigned char *s, size_t n)
    {
        ptrdiff_t found = s[n - 1] != 0;
        for (size_t i = 0; i < n; i++) found += s[i] == 0;
        return found;
    }
    /* Most strings are short: 16 bytes at once where both sides have room for them, which a constant length makes two moves. */
    static inline void fh_short(uint8_t *to, const uint8_t *from, size_t n, const uint8_t *from_end)
    {
        if (n <= 16 && (size_t)(from_end - from) >= 16) memcpy(to, from, 16);
        else memcpy(to, from, n);
    }
    static inline int fh_ascii(const unsigned char *s, size_t n)
    {
        unsigned char high = 0;
        for (size_t i = 0; i < n; i++) high |= s[i];
        return high < 0x80;
    }
    static inline uint64_t fh_acquire64(const void *at) { return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE); }
    static inline uint32_t fh_acquire32(const void *at) { return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE); }
    static inline void fh_release64(void *at, uint64_t value) { __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELEASE); }

    /* Well-formed UTF-8 after table 3-7 of the Unicode Standard; plain ASCII eight bytes at a time. */
    static int fh_utf8(const unsigned char *s, size_t n)
    {
        size_t i = 0;
        while (i < n) {
            uint64_t word;
            while (i + 8 <= n) {
                memcpy(&word, s + i, 8);
                if (word & 0x8080808080808080ull) break;
                i += 8;
            }
            if (i >= n) break;
            unsigned char c = s[i];
            if (c < 0x80) { i++; continue; }
            size_t more = c >= 0xC2 && c <= 0xDF ? 1 : (c & 0xF0) == 0xE0 ? 2 : c >= 0xF0 && c <= 0xF4 ? 3 : 0;
            if (!more || i + more >= n) return 0;
            unsigned char low = 0x80, high = 0xBF;
            if (c == 0xE0) low = 0xA0;
            if (c == 0xED) high = 0x9F;
            if (c == 0xF0) low = 0x90;
            if (c == 0xF4) high = 0x8F;
            if (s[i + 1] < low || s[i + 1] > high) return 0;
            for (size_t k = 2; k <= more; k++)
                if ((s[i + k] & 0xC0) != 0x80) return 0;
            i += more + 1;
        }
        return 1;
    }
    """
    uint64_t fh_acquire64(const void *at) nogil
    uint32_t fh_acquire32(const void *at) nogil
    void fh_release64(void *at, uint64_t value) nogil
    int fh_utf8(const unsigned char *s, size_t n) nogil
    void fh_short(uint8_t *to, const uint8_t *start, size_t n, const uint8_t *end) nogil
    int fh_ascii(const unsigned char *s, size_t n) nogil
    Py_ssize_t fh_count(const unsigned char *s, size_t n) nogil
    size_t strnlen(const char *s, size_t n) nogil


def position(const uint8_t[::1] page):
    """The __u64 position at the start of a ring's producer or consumer page, read with acquire semantics."""
    return fh_acquire64(&page[0])


def release(uint8_t[::1] page, uint64_t to):
    """Move the consumer position: the kernel may overwrite everything before `to`."""
    fh_release64(&page[0], to)


def scan(const uint8_t[::1] data, uint64_t start, uint64_t end, uint64_t size, uint32_t most,
         const uint32_t[::1] sizes):
    """Records between two ring positions, in ring order.

    Stops at the first record still being written, or after `most` records. Returns (position reached, offsets (uint32, of
    each record in `data`), kinds (uint8), malformed records passed over). A record whose own length does not fit the ring's or
    is below its kind's fixed part (`sizes[kind]`, 256 of them), or whose kind is over 255, is malformed. So is one that reaches
    beyond `end`, which is passed over with all behind it: no position lies beyond the producer's.
    """
    cdef uint64_t at = start, after, mask = size - 1
    cdef uint32_t head, length, own, found = 0, malformed = 0
    cdef uint64_t base
    offsets = np.empty(most, dtype=np.uint32)
    kinds = np.empty(most, dtype=np.uint8)
    cdef uint32_t[::1] to_offset = offsets
    cdef uint8_t[::1] to_kind = kinds
    cdef uint16_t kind
    with nogil:
        while at < end and found < most:
            base = at & mask
            head = fh_acquire32(&data[base])
            if head & BUSY:
                break
            length = head & ~(BUSY | DISCARD)
            after = at + ((<uint64_t>length + HEAD + 7) & ~(<uint64_t>7))
            if after > end:
                malformed += 1
                at = end
                break
            if not head & DISCARD:
                own = 0
                if length >= FIXED:
                    memcpy(&own, &data[base + HEAD], 4)
                    memcpy(&kind, &data[base + HEAD + 4], 2)
                if own < FIXED or own > length or kind > 255 or own < sizes[kind]:
                    malformed += 1
                else:
                    to_offset[found] = <uint32_t>(base + HEAD)
                    to_kind[found] = <uint8_t>kind
                    found += 1
            at = after
    return at, offsets[:found], kinds[:found], malformed


# Records are visited in blocks that fit the first-level cache: every column of a block, then the next block. Column by column
# over a whole batch would miss the cache once for each value.
cdef enum:
    BLOCK = 64
    SLACK = 16  # fh_short writes up to this much behind a string


cdef extern from *:
    """
    /* One number of each record of a block: read SIZE bytes at its field (or 0 where the kind has none), store as OUT. */
    #define FH_COPY(IN, OUT)                                                                                     \
        do {                                                                                                     \
            OUT *to = (OUT *)out + first;                                                                        \
            for (ptrdiff_t i = 0; i < n; i++) {                                                                  \
                int32_t field = same >= 0 ? same : fields[kinds[i]];                                             \
                IN value = 0;                                                                                    \
                if (field >= 0) memcpy(&value, data + rows[i] + field, sizeof(IN));                              \
                to[i] = (OUT)value;                                                                              \
            }                                                                                                    \
        } while (0)
    static inline void fh_copy(const uint8_t *data, const uint32_t *rows, const uint8_t *kinds, ptrdiff_t n, ptrdiff_t first,
                               const int32_t *fields, int32_t same, int code, void *out)
    {
        switch (code) { /* bytes in, sign, bytes out */
        case 8 * 100 + 8: FH_COPY(uint64_t, int64_t); break;
        case 4 * 100 + 8: FH_COPY(uint32_t, int64_t); break;
        case 4 * 100 + 10 + 8: FH_COPY(int32_t, int64_t); break;
        case 4 * 100 + 10 + 4: FH_COPY(int32_t, int32_t); break;
        case 4 * 100 + 4: FH_COPY(uint32_t, int32_t); break;
        case 4 * 100 + 2: FH_COPY(uint32_t, int16_t); break;
        case 2 * 100 + 2: FH_COPY(uint16_t, int16_t); break;
        case 2 * 100 + 4: FH_COPY(uint16_t, int32_t); break;
        case 1 * 100 + 1: FH_COPY(uint8_t, uint8_t); break;
        case 1 * 100 + 2: FH_COPY(uint8_t, int16_t); break;
        case 1 * 100 + 8: FH_COPY(uint8_t, int64_t); break;
        }
    }
    """
    void fh_copy(const uint8_t *data, const uint32_t *rows, const uint8_t *kinds, Py_ssize_t n, Py_ssize_t first,
                 const int32_t *fields, int32_t same, int code, void *out) nogil

CODES = frozenset((808, 408, 418, 414, 404, 402, 202, 204, 101, 102, 108))


def numbers(const uint8_t[::1] data, const uint32_t[::1] rows, const uint8_t[::1] kinds, const int32_t[:, ::1] fields,
            const int32_t[::1] same, const int32_t[::1] codes, const uint64_t[::1] outs):
    """Numbers of each record, one column for each row of `fields`, widened into the arrays at the addresses `outs`.

    `fields[c, kind]` is where column c stands in a record of that kind, or -1; `same[c]` is that place where all kinds share it,
    else -1. `codes[c]` is 100 * bytes in the record + (10 if signed) + bytes of the column, one of CODES. The arrays must have
    as many elements as there are rows.
    """
    cdef Py_ssize_t n = rows.shape[0], columns = fields.shape[0], first, c, count
    if n == 0:
        return
    with nogil:
        first = 0
        while first < n:
            count = min(BLOCK, n - first)
            for c in range(columns):
                fh_copy(&data[0], &rows[first], &kinds[first], count, first, &fields[c, 0], same[c], codes[c], <void *>outs[c])
            first += BLOCK


cdef inline int _span(const uint8_t *record, int32_t field, const uint8_t **start, uint32_t *length) noexcept nogil:
    """Where a `struct text` points; 0 where it does not lie inside its record."""
    cdef uint16_t offset, size
    cdef uint32_t whole
    memcpy(&offset, record + field, 2)
    memcpy(&size, record + field + 2, 2)
    memcpy(&whole, record, 4)
    if <uint32_t>offset + size > whole:
        return 0
    start[0] = record + offset
    length[0] = size
    return 1


cdef inline int _piece(const uint8_t *record, int32_t field, int size, const uint8_t **start,
                       uint32_t *length) noexcept nogil:
    """The bytes of a text (size 0) or of a NUL-padded character array of `size`."""
    if size == 0:
        return _span(record, field, start, length)
    start[0] = record + field
    length[0] = <uint32_t>strnlen(<const char *>(record + field), size)
    return 1


def texts(const uint8_t[::1] data, const uint32_t[::1] rows, const uint8_t[::1] kinds, const int32_t[:, ::1] fields,
          const int32_t[::1] sizes):
    """Strings of each record, one column for each row of `fields`; `sizes[c]` is 0 for a `struct text`, else the length of the
    character array.

    Returns (offsets int32[c, n + 1], bytes uint8 of each column, absent bool[c, n]: the kind has no such field or it is empty,
    invalid bool[c, n]: not UTF-8, number of malformed ones, which are absent as well).
    """
    cdef Py_ssize_t n = rows.shape[0], columns = fields.shape[0], first, last, i, c
    cdef const uint8_t *start = NULL
    cdef uint32_t length = 0, malformed = 0
    cdef int32_t field
    offsets = np.zeros((columns, n + 1), dtype=np.int32)
    absent = np.zeros((columns, n), dtype=np.uint8)
    invalid = np.zeros((columns, n), dtype=np.uint8)
    cdef int32_t[:, ::1] to = offsets
    cdef uint8_t[:, ::1] none = absent
    cdef uint8_t[:, ::1] bad = invalid
    with nogil:
        first = 0
        while first < n:
            last = min(first + BLOCK, n)
            for c in range(columns):
                for i in range(first, last):
                    length = 0
                    field = fields[c, kinds[i]]
                    if field >= 0 and not _piece(&data[rows[i]], field, sizes[c], &start, &length):
                        malformed += 1
                        length = 0
                    none[c, i] = length == 0
                    to[c, i + 1] = to[c, i] + <int32_t>length
            first += BLOCK
    packed = [np.empty(total + SLACK, dtype=np.uint8) for total in offsets[:, n].tolist()]
    cdef const uint8_t *data_end = &data[0] + data.shape[0] if n else NULL
    cdef uint16_t offset = 0
    addresses = np.array([array.ctypes.data for array in packed], dtype=np.uint64)
    cdef uint64_t[::1] out = addresses
    with nogil:
        first = 0
        while first < n:
            last = min(first + BLOCK, n)
            for c in range(columns):
                for i in range(first, last):
                    if none[c, i]:
                        continue
                    length = to[c, i + 1] - to[c, i]
                    start = &data[rows[i]] + fields[c, kinds[i]]
                    if sizes[c] == 0:  # its length was found to fit above
                        memcpy(&offset, start, 2)
                        start = &data[rows[i]] + offset
                    fh_short(<uint8_t *>out[c] + to[c, i], start, length, data_end)
                    bad[c, i] = not fh_utf8(start, length)
            first += BLOCK
    packed = [array[:array.shape[0] - SLACK] for array in packed]
    return offsets, packed, absent.view(bool), invalid.view(bool), malformed


def lists(const uint8_t[::1] data, const uint32_t[::1] rows, const uint8_t[::1] kinds, const int32_t[::1] fields):
    """NUL-terminated strings of each record, as lists. The last one may lack its NUL where it was cut.

    Returns (list offsets int32, item offsets int32, bytes uint8, absent bool: the kind has no such field, invalid bool per
    item, malformed).
    """
    return _lists(data, rows, kinds, fields, False, ())


def environments(const uint8_t[::1] data, const uint32_t[::1] rows, const uint8_t[::1] kinds, const int32_t[::1] fields):
    """Names of NAME=value strings of each record; values are never copied. Returns as lists()."""
    return _lists(data, rows, kinds, fields, True, ())


def allowed_environments(const uint8_t[::1] data, const uint32_t[::1] rows, const uint8_t[::1] kinds,
                         const int32_t[::1] fields, allowed):
    """Whole NAME=value strings of the names in `allowed` (bytes). Returns as lists()."""
    return _lists(data, rows, kinds, fields, False, tuple(name + b"=" for name in allowed))


cdef bint _is_allowed(const uint8_t *start, uint32_t length, tuple allowed):
    for prefix in allowed:
        if length >= len(prefix) and (<const char *>start)[:len(prefix)] == prefix:
            return True
    return False


cdef _lists(const uint8_t[::1] data, const uint32_t[::1] rows, const uint8_t[::1] kinds, const int32_t[::1] fields, bint names,
            tuple allowed):
    cdef Py_ssize_t n = rows.shape[0], i, item = 0, items = 0
    cdef const uint8_t *base = &data[0] if n else NULL
    cdef const uint8_t *data_end = base + data.shape[0]
    cdef const uint8_t *at = NULL
    cdef const uint8_t *end
    cdef const uint8_t *stop
    cdef const uint8_t *equals
    cdef uint32_t length = 0, malformed = 0
    cdef int64_t total = 0, filled = 0, size
    cdef bint chosen = len(allowed) > 0, plain
    offsets = np.zeros(n + 1, dtype=np.int32)
    absent = np.zeros(n, dtype=np.uint8)
    cdef int32_t[::1] to = offsets
    cdef uint8_t[::1] none = absent
    with nogil:
        for i in range(n):
            length = 0
            if fields[kinds[i]] < 0:
                none[i] = 1
            elif not _span(base + rows[i], fields[kinds[i]], &at, &length):
                malformed += 1
                none[i] = 1
            total += length
            if length:
                items += fh_count(at, length)
    item_offsets = np.zeros(items + 1, dtype=np.int32)
    invalid = np.zeros(items, dtype=np.uint8)
    packed = np.empty(total + SLACK, dtype=np.uint8)
    cdef int32_t[::1] to_item = item_offsets
    cdef uint8_t[::1] bad = invalid
    cdef uint8_t[::1] out = packed
    for i in range(n):
        if not none[i]:
            _span(base + rows[i], fields[kinds[i]], &at, &length)
            end = at + length
            plain = fh_ascii(at, length)
            while at < end:
                stop = <const uint8_t *>memchr(at, 0, end - at)
                if stop == NULL:
                    stop = end
                size = stop - at
                if names:
                    equals = <const uint8_t *>memchr(at, 61, size)
                    if equals != NULL:
                        size = equals - at
                if not chosen or _is_allowed(at, <uint32_t>size, allowed):
                    if size:
                        fh_short(&out[filled], at, size, data_end)
                        bad[item] = not plain and not fh_utf8(at, size)
                    filled += size
                    item += 1
                    to_item[item] = <int32_t>filled
                at = stop + 1
        to[i + 1] = <int32_t>item
    return offsets, item_offsets[:item + 1], packed[:filled], absent.view(bool), invalid[:item].view(bool), malformed


cdef enum:
    SLOTS = 2048
    MOST_DISTINCT = 1024


def distinct(const int64_t[::1] values):
    """(codes int32, list of the distinct values in the order met), or None where there are more than 1,024 of them."""
    cdef Py_ssize_t n = values.shape[0], i, found = 0
    cdef int64_t keys[SLOTS]
    cdef int32_t numbers[SLOTS]
    cdef int64_t last = 0
    cdef int32_t code = -1
    cdef uint32_t slot
    codes = np.empty(n, dtype=np.int32)
    cdef int32_t[::1] to = codes
    cdef int64_t order[MOST_DISTINCT]
    memset(numbers, 0xff, sizeof(numbers))
    with nogil:
        for i in range(n):
            if code < 0 or values[i] != last:
                last = values[i]
                slot = <uint32_t>((<uint64_t>last * <uint64_t>0x9E3779B97F4A7C15) >> 53)
                while numbers[slot] >= 0 and keys[slot] != last:
                    slot = (slot + 1) & (SLOTS - 1)
                if numbers[slot] < 0:
                    if found == MOST_DISTINCT:
                        found = -1
                        break
                    keys[slot] = last
                    numbers[slot] = <int32_t>found
                    order[found] = last
                    found += 1
                code = numbers[slot]
            to[i] = code
    return None if found < 0 else (codes, [order[i] for i in range(found)])


def spread(const int32_t[::1] codes, const uint8_t[:, ::1] words, const int32_t[::1] lengths):
    """words[code, :lengths[code]] of each row: (offsets int32 of n + 1, bytes uint8). Codes must be rows of `words`."""
    cdef Py_ssize_t n = codes.shape[0], i
    cdef int32_t at = 0
    offsets = np.empty(n + 1, dtype=np.int32)
    cdef int32_t[::1] to = offsets
    with nogil:
        to[0] = 0
        for i in range(n):
            at += lengths[codes[i]]
            to[i + 1] = at
    data = np.empty(at, dtype=np.uint8)
    cdef uint8_t[::1] out = data
    if at:
        with nogil:
            for i in range(n):
                if to[i + 1] > to[i]:
                    memcpy(&out[to[i]], &words[codes[i], 0], to[i + 1] - to[i])
    return offsets, data


cdef enum:
    PROBES = 32  # places that are looked at for a row, since programs choose their arguments, and so where rows meet


cdef inline uint64_t _mixed(uint64_t hash, uint64_t word) noexcept nogil:
    hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return hash ^ (hash >> 29)


cdef uint64_t _row_hash(const uint8_t *at, Py_ssize_t size, const int32_t *items, Py_ssize_t count) noexcept nogil:
    """Of a row's bytes, and of where its items end in them."""
    cdef uint64_t hash = <uint64_t>size, word
    cdef Py_ssize_t i
    for i in range(count):
        hash = _mixed(hash, <uint64_t>(items[i + 1] - items[0]))
    i = 0
    while i + 8 <= size:
        memcpy(&word, at + i, 8)
        hash = _mixed(hash, word)
        i += 8
    word = 0
    if i < size:
        memcpy(&word, at + i, size - i)
    return _mixed(hash, word)


cdef bint _same_row(const uint8_t *data, const int32_t *mine, const int32_t *other, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(1, count + 1):
        if mine[i] - mine[0] != other[i] - other[0]:
            return False
    return memcmp(data + mine[0], data + other[0], mine[count] - mine[0]) == 0


def repeats(const int32_t[::1] offsets, const int32_t[::1] items, const uint8_t[::1] data):
    """For each row of a list of strings the number of the first one that is equal to it (int32): its own where there is none before, or
    where PROBES other rows stand in its way.

    Row i has the items offsets[i] to offsets[i + 1], item k the bytes items[k] to items[k + 1].
    """
    cdef Py_ssize_t n = offsets.shape[0] - 1, size = 64, i, count
    cdef uint64_t mask, slot
    cdef const uint8_t *at = &data[0] if data.shape[0] else NULL
    cdef const int32_t *mine
    cdef int32_t empty = -1, known, probes
    while size < 2 * n:
        size *= 2
    mask = size - 1
    first = np.empty(n, dtype=np.int32)
    table = np.full(size, -1, dtype=np.int32)
    cdef int32_t[::1] to = first
    cdef int32_t[::1] slots = table
    with nogil:
        for i in range(n):
            count = offsets[i + 1] - offsets[i]
            if count == 0:
                if empty < 0:
                    empty = <int32_t>i
                to[i] = empty
                continue
            mine = &items[offsets[i]]
            slot = _row_hash(at + mine[0], mine[count] - mine[0], mine, count) & mask
            known = <int32_t>i
            for probes in range(PROBES):
                known = slots[slot]
                if known < 0:
                    slots[slot] = known = <int32_t>i
                    break
                if offsets[known + 1] - offsets[known] == count and _same_row(at, mine, &items[offsets[known]], count):
                    break
                slot = (slot + 1) & mask
                known = <int32_t>i
            to[i] = known
    return first
