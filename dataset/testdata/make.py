"""Writes the NumPy files of the tests: run it in this folder with any NumPy 1.22 or newer."""

import numpy as np

grid = np.arange(24).reshape(4, 2, 3)

np.savez(
    "stored.npz",
    c=grid.astype(np.float32),
    fortran=np.asfortranarray(grid.astype(np.float32)),
    big=grid.astype(">i2"),
    half=(grid / 8).astype(np.float16),
    bool=grid % 2 == 1,
    label=np.array([3, 1, 2, 0], np.uint8),
    column=np.array([[3], [1], [2], [0]], np.int32),
    onehot=np.eye(4, dtype=np.int64),
    score=np.array([0.5, 1, 2, 3]),
    short=np.zeros((3, 2), np.float32),
    none=np.zeros((0, 2), np.float32),
    hollow=np.zeros((4, 0), np.float32),
    scalar=np.float32(1),
    text=np.array(["a", "bb", "ccc", "d"]),
    bytes=np.array([b"a", b"bb", b"ccc", b"d"]),
    object=np.array([1, "x", None, 2.0], dtype=object),
    complex=np.zeros(4, np.complex64),
    date=np.zeros(4, "M8[ns]"),
    record=np.zeros(4, [("a", "<f4"), ("b", "<i8")]),
)
np.savez_compressed("deflated.npz", image=(grid % 256).astype(np.uint8), label=np.array([3, 1, 2, 0]))
np.save("plain.npy", grid.astype(np.float64))
with open("version2.npy", "wb") as f:
    np.lib.format.write_array(f, grid.astype(np.int32), version=(2, 0))
with open("version3.npy", "wb") as f:
    np.lib.format.write_array(f, grid.astype(np.int32), version=(3, 0))
