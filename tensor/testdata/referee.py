"""What safetensors' own package, NumPy and ml_dtypes make of the same numbers.

python referee.py write FILE: a file of every element type, with conversions: "to/TYPE" is "reals" as that type, and
"from/TYPE" are all its bit patterns as float32 behind "all/TYPE". python referee.py check FILE COPY: that COPY holds the same.
"""
import sys

import ml_dtypes
import numpy as np
import safetensors
from safetensors import safe_open
from safetensors.numpy import save

names = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32, "I32": np.int32, "U64": np.uint64,
    "I64": np.int64, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}

def main():
    if sys.argv[1] == "check":
        return check()
    rng = np.random.default_rng(3)
    tensors = {}
    for name, dtype in names.items():
        size = np.dtype(dtype).itemsize
        raw = rng.integers(0, 2 if name == "BOOL" else 256, 24 * size, np.uint8)
        tensors[f"some/{name}"] = (name, (2, 3, 4), raw.tobytes())
        tensors[f"none/{name}"] = (name, (3, 0), b"")
        tensors[f"one/{name}"] = (name, (), raw[:size].tobytes())
    edges = np.array([0, 1, 0.5, 65504, 65519.996, 65520, 1e30, 3.4e38, 2.0**-24, 2.0**-25, 2.0**-26, 6.1e-5, 1e-45, np.inf, np.nan, 1.00048828125, 1.00390625, 448, 465, 57344], np.float32)
    reals = np.concatenate([edges, -edges, rng.integers(0, 1 << 32, 50000, np.uint32).view(np.float32), rng.normal(size=50000).astype(np.float32)])
    tensors["reals"] = ("F32", reals.shape, reals.tobytes())
    with np.errstate(over="ignore", invalid="ignore"):
        for name in ("F16", "BF16"):
            tensors[f"to/{name}"] = (name, reals.shape, reals.astype(names[name]).tobytes())
    for name in ("F16", "BF16", "F8_E4M3", "F8_E5M2"):
        n = 256 ** np.dtype(names[name]).itemsize
        bits = np.arange(n, dtype=np.uint8 if n == 256 else np.uint16)
        tensors[f"all/{name}"] = (name, (n,), bits.tobytes())
        tensors[f"from/{name}"] = ("F32", (n,), bits.view(names[name]).astype(np.float32).tobytes())
    tensors["größe \"q\" \\ 名"] = ("U8", (3,), b"abc")
    arrays = {k: np.frombuffer(b, names[d]).reshape(s) for k, (d, s, b) in tensors.items()}
    open(sys.argv[2], "wb").write(save(arrays, {"format": "np", "note": "line\nbreak ü"}))


def read(path):
    data = open(path, "rb").read()
    with safe_open(path, "np") as f:
        metadata = f.metadata()
    return metadata, {k: (v["dtype"], tuple(v["shape"]), bytes(v["data"])) for k, v in safetensors.deserialize(data)}


def check():
    a, b = read(sys.argv[2]), read(sys.argv[3])
    assert a[0] == b[0], (a[0], b[0])
    assert a[1].keys() == b[1].keys(), a[1].keys() ^ b[1].keys()
    for k in a[1]:
        assert a[1][k] == b[1][k], (k, a[1][k][:2], b[1][k][:2])


main()
