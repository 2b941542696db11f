import numpy as np
from numpy.typing import NDArray

class ImageTable:
    def __init__(self, limit: int, late: int = 0) -> None: ...
    def __len__(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def paths(self) -> list[bytes]: ...
    def find(
        self, tgid: NDArray[np.int32], start: NDArray[np.int64], number: NDArray[np.int64]
    ) -> NDArray[np.int32]: ...
    def follow(
        self,
        order: NDArray[np.intp],
        events: NDArray[np.uint8],
        tgid: NDArray[np.int32],
        start: NDArray[np.int64],
        number: NDArray[np.int64],
        parent_tgid: NDArray[np.int32],
        parent_start: NDArray[np.int64],
        parent_number: NDArray[np.int64],
        offsets: NDArray[np.int32],
        data: NDArray[np.uint8],
    ) -> NDArray[np.int32]: ...
