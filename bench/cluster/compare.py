"""Clusters held against coremltools' palettization: the same weights, bits and groups.

usage: compare.py ORIGINAL.onnx CLUSTERED.onnx BITS

Of each weight that was clustered the squared error of ours and of the peer's are taken against the original, and of
all together the bytes of indexes and tables. Where coremltools has no such number of bits scikit-learn's k-means, which it calls
itself, is in its place. Fails when the errors of ours add up to more, or when an engine does not run what we wrote. The peer's
version of coremltools refuses recent scikit-learns for other uses and says so; its k-means does not mind.
"""
import json
import os
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

warnings.filterwarnings("ignore")
sys.stderr = open(os.devnull, "w")
import onnxruntime  # noqa: E402
from coremltools.optimize.coreml._quantization_passes import palettize_weights  # noqa: E402

sys.stderr = sys.__stderr__


def constants(model):
    return {t.name: t for t in model.graph.initializer} | {
        n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"
    }


def ours(palette, stored):
    """The weight that indexes and table stand for."""
    packed, table = (numpy_helper.to_array(stored[palette[k]]) for k in ("indexes", "table"))
    groups, shape, axis = palette["groups"], palette["shape"], palette["axis"]
    bits = np.unpackbits(packed.reshape(groups, -1), axis=1, bitorder="little")
    count = int(np.prod(shape)) // groups
    bits = bits[:, : count * palette["stored"]].reshape(groups, count, palette["stored"])
    index = (bits * (1 << np.arange(palette["stored"]))).sum(2)
    w = np.take_along_axis(table.reshape(groups, -1), index, 1)
    if groups == 1:
        return w.reshape(shape), packed.nbytes + table.nbytes
    first = [shape[axis]] + shape[:axis] + shape[axis + 1 :]
    return np.moveaxis(w.reshape(first), 0, axis), packed.nbytes + table.nbytes


def theirs(w, bits, axis, group):
    if bits in (1, 2, 3, 4, 6, 8):
        blocks = [0] * w.ndim
        blocks[axis] = group
        p = palettize_weights.blockwise_compress(w, "KMEANS", bits, blocks, channel_axis=axis)
        lut = np.asarray(p.lut)  # [1, .., groups, .., 1, 2^bits, 1]
        groups = lut.size >> bits
        tables = lut.reshape(groups, -1)
        index = np.moveaxis(np.asarray(p.indices), axis, 0).reshape(groups, -1)
        back = np.take_along_axis(tables, index.astype(np.int64), 1)
        moved = np.moveaxis(w, axis, 0)
        return np.moveaxis(back.reshape(moved.shape), 0, axis), (w.size * bits + 7) // 8 + lut.nbytes
    from sklearn.cluster import KMeans

    moved, back, groups = np.moveaxis(w, axis, 0), [], max(w.shape[axis] // group, 1) if group else 1
    for part in moved.reshape(groups, -1, 1):
        k = KMeans(min(1 << bits, len(part)), init="k-means++", tol=1e-2, n_init=1, random_state=0).fit(part)
        back.append(k.cluster_centers_[k.labels_].astype(w.dtype))
    return np.moveaxis(np.stack(back).reshape(moved.shape), 0, axis), (w.size * bits + 7) // 8 + (groups << bits) * w.itemsize


def main():
    original, clustered, bits = onnx.load(sys.argv[1]), onnx.load(sys.argv[2]), int(sys.argv[3])
    before, stored = constants(original), constants(clustered)
    palettes = json.loads({p.key: p.value for p in clustered.metadata_props}["optimize.palettes"])
    errors, sizes, whole = np.zeros(2), np.zeros(2, int), 0
    for p in palettes:
        w = numpy_helper.to_array(before[p["weight"]])
        group = w.shape[p["axis"]] // p["groups"] if p["groups"] > 1 else 0
        for i, (back, size) in enumerate((ours(p, stored), theirs(w, bits, p["axis"], group))):
            errors[i] += np.square(back.astype(np.float64) - w).sum()
            sizes[i] += size
        whole += w.nbytes
    onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
    ratio = errors[0] / errors[1] if errors[1] else float(errors[0] > 0)
    print(f"{len(palettes):4} weights, {whole / 1e6:7.2f} MB: error {ratio:.4f} of the peer's, {sizes[0] / whole:.3f} of the bytes (peer {sizes[1] / whole:.3f}), "
          f"file {os.path.getsize(sys.argv[2]) / os.path.getsize(sys.argv[1]):.3f}")
    if ratio > 1.00005:
        sys.exit("our error is larger")


main()
