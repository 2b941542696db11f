"""The ring's mapped pages: where the reader stands, what the kernel has written, and the records between.

Layout: kernel/bpf/ringbuf.c (Linux 6.18): page 0 holds the consumer position, page 1 the producer's, then the data, mapped
twice so that no record wraps. The consumer position moves only by `release`: a reader can look ahead and let go when its
batch is durable.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

_PAGE = mmap.PAGESIZE


class Ring:
    """One ring buffer map, mapped. `size` is its data bytes, a power of two; `data` is uint8[2 * size]."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._consumer = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._rest = mmap.mmap(fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self.consumer_page: NDArray[np.uint8] = np.frombuffer(self._consumer, dtype=np.uint8)
        whole: NDArray[np.uint8] = np.frombuffer(self._rest, dtype=np.uint8)
        self.producer_page, self.data = whole[:_PAGE], whole[_PAGE:]

    @property
    def consumed(self) -> int:
        """The consumer position: bytes since the ring was made."""
        return int(self.consumer_page[:8].view(np.uint64)[0])

    def close(self) -> None:
        """Unmap. Views of `data` must be gone."""
        del self.consumer_page, self.producer_page, self.data
        self._consumer.close()
        self._rest.close()
