# cython: language_level=3, boundscheck=False, wraparound=False
# distutils: language = c++
"""Which binary a process image runs: filled by exec, inherited by fork, forgotten at exit. Bounded; no Python object per event."""

from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

cdef extern from *:
    """
    #include <cstdint>
    #include <deque>
    #include <string>
    #include <string_view>
    #include <unordered_map>
    #include <vector>

    struct Image { int32_t tgid; int64_t start, number; };
    // A place of the table: nothing (code -1), or an image; of one that ended the code bears the bit DEAD.
    struct Place { int64_t start, number; int32_t tgid, code; };
    enum : int32_t { NONE = -1, DEAD = 1 << 30 };

    // Linear probing in one piece of memory, at most three quarters full: a look takes one miss of the cache, where a node each takes three.
    class Table {
        std::vector<Place> places;
        size_t mask, used = 0;
        size_t home(int32_t t, int64_t s, int64_t n) const {
            uint64_t x = (uint64_t)s * 0x9E3779B97F4A7C15ull ^ ((uint64_t)(uint32_t)t << 20) ^ (uint64_t)n;
            x ^= x >> 31; x *= 0xBF58476D1CE4E5B9ull; return (x ^ (x >> 29)) & mask;
        }
        void grow() {
            std::vector<Place> before(2 * places.size(), Place{0, 0, 0, NONE});
            before.swap(places);
            mask = places.size() - 1;
            for (const Place &one : before)
                if (one.code != NONE) places[seek(one.tgid, one.start, one.number)] = one;
        }
    public:
        Table() : places(2048, Place{0, 0, 0, NONE}), mask(2047) {}
        size_t size() const { return used; }
        void prefetch(int32_t t, int64_t s, int64_t n) const { __builtin_prefetch(&places[home(t, s, n)]); }
        // Where it stands, or would.
        size_t seek(int32_t t, int64_t s, int64_t n) const {
            size_t at = home(t, s, n);
            while (places[at].code != NONE && !(places[at].start == s && places[at].number == n && places[at].tgid == t)) at = (at + 1) & mask;
            return at;
        }
        Place &operator[](size_t at) { return places[at]; }
        const Place &operator[](size_t at) const { return places[at]; }
        void add(size_t at, int32_t t, int64_t s, int64_t n, int32_t code) {
            if (4 * (used + 1) > 3 * places.size()) { grow(); at = seek(t, s, n); }
            places[at] = Place{s, n, t, code};
            used++;
        }
        // What stands behind moves up, so that every look still ends at the first place that is free.
        void erase(size_t at) {
            for (size_t next = (at + 1) & mask; places[next].code != NONE; next = (next + 1) & mask) {
                size_t wanted = home(places[next].tgid, places[next].start, places[next].number);
                if (((next - wanted) & mask) >= ((next - at) & mask)) { places[at] = places[next]; at = next; }
            }
            places[at].code = NONE;
            used--;
        }
    };

    class Images {
        Table known;
        std::deque<std::string> words;
        std::unordered_map<std::string_view, int32_t> codes;
        std::deque<Image> ended;
        size_t late;
    public:
        size_t limit, refused = 0;
        Images(size_t most, size_t kept) : late(kept), limit(most < DEAD ? most : DEAD - 1) {}
        int32_t code(const uint8_t *s, size_t n) {
            auto found = codes.find(std::string_view((const char *)s, n));
            if (found != codes.end()) return found->second;
            if (codes.size() >= limit) { refused++; return -1; }
            int32_t next = (int32_t)codes.size();
            words.emplace_back((const char *)s, n);
            codes.emplace(words.back(), next);
            return next;
        }
        void prefetch(int32_t t, int64_t s, int64_t n) const { known.prefetch(t, s, n); }
        int32_t get(int32_t t, int64_t s, int64_t n) const { int32_t found = known[known.seek(t, s, n)].code; return found == NONE ? -1 : found & ~DEAD; }
        void put(int32_t t, int64_t s, int64_t n, int32_t code) {
            if (code < 0) return;
            if (size() >= limit) { refused++; return; }
            size_t at = known.seek(t, s, n);
            if (known[at].code == NONE) known.add(at, t, s, n, code);
            else if (!(known[at].code & DEAD)) known[at].code = code;
        }
        // The dead are kept for a while: a socket's last row, or a fork that was withheld, can come after an end.
        void drop(int32_t t, int64_t s, int64_t n) {
            Place &found = known[known.seek(t, s, n)];
            if (found.code == NONE || found.code & DEAD) return;
            found.code |= DEAD;
            ended.push_back(Image{t, s, n});
            if (ended.size() > late) {
                const Image &first = ended.front();
                known.erase(known.seek(first.tgid, first.start, first.number));
                ended.pop_front();
            }
        }
        size_t size() const { return known.size() - ended.size(); }
        size_t paths() const { return codes.size(); }
    };
    """
    cdef cppclass Images:
        size_t refused
        Images(size_t most, size_t kept) except +
        int32_t code(const uint8_t *s, size_t n) nogil
        int32_t get(int32_t t, int64_t s, int64_t n) nogil
        void put(int32_t t, int64_t s, int64_t n, int32_t code) nogil
        void drop(int32_t t, int64_t s, int64_t n) nogil
        void prefetch(int32_t t, int64_t s, int64_t n) nogil
        size_t size() nogil
        size_t paths() nogil


# Rows before its own at which a row's images are brought into the cache.
cdef enum:
    AHEAD = 8


cdef class ImageTable:
    """Binary of each live process image, at most `limit` of them and as many paths; `refused` counts what found no room.

    The last `late` that ended are known for a while longer.
    """

    cdef Images *images
    cdef list words

    def __cinit__(self, size_t limit, size_t late=0):
        self.images = new Images(limit, late)
        self.words = []

    def __dealloc__(self):
        del self.images

    def __len__(self):
        return self.images.size()

    @property
    def refused(self):
        return self.images.refused

    @property
    def paths(self):
        """Every path met, in the order of its code."""
        return self.words

    def find(self, const int32_t[::1] tgid, const int64_t[::1] start, const int64_t[::1] number):
        """Path codes (int32, -1 unknown) of images by their ids, those that ended a while ago included."""
        cdef Py_ssize_t n = tgid.shape[0], i
        codes = np.empty(n, dtype=np.int32)
        cdef int32_t[::1] out = codes
        for i in range(n):
            out[i] = self.images.get(tgid[i], start[i], number[i])
        return codes

    def follow(self, const int64_t[::1] order, const uint8_t[::1] events, const int32_t[::1] tgid, const int64_t[::1] start, const int64_t[::1] number,
               const int32_t[::1] parent_tgid, const int64_t[::1] parent_start, const int64_t[::1] parent_number,
               const int32_t[::1] offsets, const uint8_t[::1] data):
        """Path codes (int32, -1 unknown) of each row; `order`: their places, as they happened.

        `events`: 0 fork, 1 exec, 2 exit, 3 seen, 4 folded. `offsets` and `data` hold the binary's path where exec, seen and folded
        rows have one.
        """
        cdef Py_ssize_t n = events.shape[0], i, k
        cdef int32_t code
        cdef size_t before
        codes = np.empty(n, dtype=np.int32)
        cdef int32_t[::1] out = codes
        for k in range(n):
            if k + AHEAD < n:
                i = order[k + AHEAD]
                self.images.prefetch(tgid[i], start[i], number[i])
                self.images.prefetch(parent_tgid[i], parent_start[i], parent_number[i])
            i = order[k]
            if events[i] == 1 or events[i] == 3 or events[i] == 4:
                code = -1
                if offsets[i + 1] > offsets[i]:
                    before = self.images.paths()
                    code = self.images.code(&data[offsets[i]], offsets[i + 1] - offsets[i])
                    if self.images.paths() != before:
                        self.words.append(bytes(data[offsets[i]:offsets[i + 1]]))
                if events[i] == 1:
                    self.images.drop(tgid[i], start[i], number[i] - 1)
                if events[i] != 4:  # of those that a folded row stands for, nothing more comes
                    self.images.put(tgid[i], start[i], number[i], code)
            elif events[i] == 0:
                code = self.images.get(parent_tgid[i], parent_start[i], parent_number[i])
                self.images.put(tgid[i], start[i], number[i], code)
            else:
                code = self.images.get(tgid[i], start[i], number[i])
                self.images.drop(tgid[i], start[i], number[i])
            out[i] = code
        return codes
