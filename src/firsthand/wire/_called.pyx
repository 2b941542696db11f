# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Names of programs in a buffer of rows, as whole words with their folders before them: without a Python object per word.

What a regular expression of all names does at some 4 ns a byte takes a quarter of that here: a word is hashed from its end on, and looked up
where a name may begin.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr

cdef enum:
    ENDS = 1  # ends a word
    WORD = 2  # a letter, a digit or _


cdef inline uint64_t _step(uint64_t hash, uint8_t byte) noexcept nogil:
    """FNV-1a, a byte further."""
    return (hash ^ byte) * <uint64_t>0x100000001B3


cdef class Names:
    """A set of names: lower case, of a-z 0-9 _ . + -, with a letter or a digit first. `ends` are the bytes that end a word, newlines besides."""

    cdef list names
    cdef list words
    cdef bytes together
    cdef const uint8_t *text
    cdef int32_t *slots
    cdef uint32_t *starts
    cdef uint32_t mask
    cdef Py_ssize_t longest
    cdef Py_ssize_t count
    cdef uint8_t kinds[256]
    cdef uint8_t lower[256]

    def __cinit__(self, names, bytes ends):
        cdef Py_ssize_t place
        cdef uint32_t size = 64, slot, at = 0
        self.names = sorted(set(names))
        self.words = [*(name.removesuffix(b".exe") for name in self.names), *self.names]
        self.together = b"".join(self.names)
        self.text = self.together
        self.count = len(self.names)
        self.longest = max(map(len, self.names), default=0)
        while size < 4 * len(self.names):
            size *= 2
        self.mask = size - 1
        self.slots = <int32_t *>calloc(size, sizeof(int32_t))
        self.starts = <uint32_t *>calloc(len(self.names) + 1, sizeof(uint32_t))
        if self.slots == NULL or self.starts == NULL:
            raise MemoryError
        for place in range(256):
            self.lower[place] = bytes([place]).lower()[0]
            self.kinds[place] = (ENDS if place in ends or place == 10 else 0) | (
                WORD if chr(place) == "_" or (place < 128 and chr(place).isalnum()) else 0
            )
        for place, name in enumerate(self.names):
            slot = _hashed(name) & self.mask
            while self.slots[slot]:
                slot = (slot + 1) & self.mask
            self.slots[slot] = <int32_t>place + 1
            at += <uint32_t>len(name)
            self.starts[place + 1] = at

    def __dealloc__(self):
        free(self.slots)
        free(self.starts)

    def find(self, bytes buffer):
        """The rows in which each name stands, as lists of (begin, end) by name: a row's newline before it, and the one behind.

        A name is a word's end that begins behind what is no letter, digit or _; `.exe` may stand behind it, and case does not count. Of
        several in one word it is the first. It is told without its `.exe`.
        """
        cdef const uint8_t *data = <const uint8_t *>buffer
        cdef Py_ssize_t size = len(buffer), at = 0, begin = -1, end
        cdef const uint8_t *newline
        cdef int32_t found
        cdef dict rows = {}
        cdef list mine
        while at < size:
            end = at
            while end < size and not self.kinds[data[end]] & ENDS:
                end += 1
            if end > at:
                found = self._in_word(data, at, end)
                if found >= 0:
                    newline = <const uint8_t *>memchr(data + end, 10, size - end)
                    mine = rows.setdefault(self.words[found], [])
                    row = (max(begin, 0), newline - data if newline != NULL else size)
                    if not mine or mine[len(mine) - 1] != row:
                        mine.append(row)
            if end < size and data[end] == 10:
                begin = end
            at = end + 1
        return rows

    cdef int32_t _in_word(self, const uint8_t *data, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
        """The number in `words` of the first name that ends a word, -1 for none."""
        cdef Py_ssize_t plain = -1, cut = -1
        cdef int32_t found, other = -1
        found = self._ending(data, start, end, &plain)
        if end - start > 4 and self._is_exe(data + end - 4):
            other = self._ending(data, start, end - 4, &cut)
        return other + <int32_t>self.count if other >= 0 and (found < 0 or cut < plain) else found

    cdef bint _is_exe(self, const uint8_t *at) noexcept nogil:
        return at[0] == 46 and self.lower[at[1]] == 101 and self.lower[at[2]] == 120 and self.lower[at[3]] == 101

    cdef int32_t _ending(self, const uint8_t *data, Py_ssize_t start, Py_ssize_t end, Py_ssize_t *where) noexcept nogil:
        """The longest name with which data[start:end] ends, and where it begins."""
        cdef uint64_t hash = 0xCBF29CE484222325
        cdef Py_ssize_t at = end, least = end - self.longest
        cdef int32_t found = -1, one
        if least < start:
            least = start
        while at > least:
            at -= 1
            hash = _step(hash, self.lower[data[at]])
            if self.kinds[data[at]] & WORD and (at == start or not self.kinds[data[at - 1]] & WORD):
                one = self._named(hash, data + at, end - at)
                if one >= 0:
                    found, where[0] = one, at
        return found

    cdef int32_t _named(self, uint64_t hash, const uint8_t *at, Py_ssize_t length) noexcept nogil:
        cdef uint32_t slot = <uint32_t>hash & self.mask
        cdef const uint8_t *name
        cdef int32_t place
        cdef Py_ssize_t i
        while self.slots[slot]:
            place = self.slots[slot] - 1
            if <Py_ssize_t>(self.starts[place + 1] - self.starts[place]) == length:
                name = self.text + self.starts[place]
                i = 0
                while i < length and name[i] == self.lower[at[i]]:
                    i += 1
                if i == length:
                    return place
            slot = (slot + 1) & self.mask
        return -1


cdef uint64_t _hashed(bytes name):
    cdef uint64_t hash = 0xCBF29CE484222325
    for byte in reversed(name):
        hash = _step(hash, byte)
    return hash
