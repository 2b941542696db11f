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
    #include <unordered_map>

    struct Image { int32_t tgid; int64_t start, number; };
    inline bool operator==(const Image &a, const Image &b) { return a.tgid == b.tgid && a.start == b.start && a.number == b.number; }
    struct ImageHash {
        size_t operator()(const Image &i) const {
            uint64_t x = (uint64_t)i.start * 0x9E3779B97F4A7C15ull ^ ((uint64_t)(uint32_t)i.tgid << 20) ^ (uint64_t)i.number;
            x ^= x >> 31; x *= 0xBF58476D1CE4E5B9ull; return x ^ (x >> 29);
        }
    };
    struct Known { int32_t code; bool dead; };
    class Images {
        std::unordered_map<Image, Known, ImageHash> known;
        std::unordered_map<std::string, int32_t> codes;
        std::deque<Image> ended;
        size_t late;
    public:
        size_t limit, refused = 0;
        Images(size_t most, size_t kept) : late(kept), limit(most) { known.reserve(1024); }
        int32_t code(const uint8_t *s, size_t n) {
            std::string path((const char *)s, n);
            auto found = codes.find(path);
            if (found != codes.end()) return found->second;
            if (codes.size() >= limit) { refused++; return -1; }
            int32_t next = (int32_t)codes.size();
            codes.emplace(std::move(path), next);
            return next;
        }
        int32_t get(int32_t t, int64_t s, int64_t n) const { auto f = known.find(Image{t, s, n}); return f == known.end() ? -1 : f->second.code; }
        void put(int32_t t, int64_t s, int64_t n, int32_t code) {
            if (code < 0) return;
            if (size() >= limit) { refused++; return; }
            Known &one = known[Image{t, s, n}];
            if (!one.dead) one.code = code;
        }
        // The dead are kept for a while: a socket's last row, or a fork that was withheld, can come after an end.
        void drop(int32_t t, int64_t s, int64_t n) {
            auto found = known.find(Image{t, s, n});
            if (found == known.end() || found->second.dead) return;
            found->second.dead = true;
            ended.push_back(found->first);
            if (ended.size() > late) { known.erase(ended.front()); ended.pop_front(); }
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
        size_t size() nogil
        size_t paths() nogil


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
