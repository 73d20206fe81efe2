"""Kernels for the operations that PyMIL does not compute, in numpy, from Apple's documentation of each in coremltools."""
import itertools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

KERNELS = {}


def kernel(*names):
    def put(f):
        for n in names:
            KERNELS[n] = f
        return f
    return put


def val(x):
    return None if x is None else x.val


def arg(op, name, default=None):
    x = getattr(op, name, None)
    return default if x is None or x.val is None else x.val


def wide(x):
    """At least single precision, to compute in."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def ints(x):
    return [int(i) for i in np.asarray(x).ravel()]


def channels(x, c):
    return np.asarray(c).reshape((1, -1) + (1,) * (x.ndim - 2))


# Convolution and pooling.


def paddings(op, size, kernel_size, strides, dilations):
    kind, n = op.pad_type.val, len(size)
    if kind == "custom":
        p = ints(op.pad.val)
        return [(p[2 * i], p[2 * i + 1]) for i in range(n)]
    if kind == "valid":
        return [(0, 0)] * n
    out = []
    for i in range(n):
        span = (kernel_size[i] - 1) * dilations[i] + 1
        total = max((-(-size[i] // strides[i]) - 1) * strides[i] + span - size[i], 0)
        small, large = total // 2, total - total // 2
        out.append((small, large) if kind == "same" else (large, small))
    return out


def windows(x, kernel_size, strides, dilations):
    """[n, c, out..., kernel...]"""
    n = len(kernel_size)
    span = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilations)]
    w = sliding_window_view(x, span, axis=tuple(range(2, 2 + n)))
    steps = [slice(None)] * 2 + [slice(None, None, s) for s in strides] + [slice(None, None, d) for d in dilations]
    return w[tuple(steps)]


@kernel("conv")
def conv(op):
    x, w, b = wide(op.x.val), wide(op.weight.val), val(op.bias)
    n = x.ndim - 2
    strides, dilations, groups = ints(op.strides.val), ints(op.dilations.val), int(op.groups.val)
    x = np.pad(x, [(0, 0), (0, 0)] + paddings(op, x.shape[2:], w.shape[2:], strides, dilations))
    win = windows(x, w.shape[2:], strides, dilations)
    cin, cout, outs = x.shape[1] // groups, w.shape[0] // groups, []
    space = win.shape[2:2 + n]
    for g in range(groups):
        a = np.moveaxis(win[:, g * cin:(g + 1) * cin], 1, 1 + n).reshape(x.shape[0] * int(np.prod(space)), -1)
        y = a @ w[g * cout:(g + 1) * cout].reshape(cout, -1).T
        outs.append(np.moveaxis(y.reshape((x.shape[0],) + space + (cout,)), -1, 1))
    y = np.concatenate(outs, 1)
    return y if b is None else y + channels(y, wide(np.asarray(b)))


@kernel("conv_transpose")
def conv_transpose(op):
    x, w, b = wide(op.x.val), wide(op.weight.val), val(op.bias)
    n = x.ndim - 2
    strides, dilations, groups = ints(op.strides.val), ints(op.dilations.val), int(op.groups.val)
    cin, cout, space = x.shape[1] // groups, w.shape[1], x.shape[2:]
    full = [(s - 1) * t + (k - 1) * d + 1 for s, t, k, d in zip(space, strides, w.shape[2:], dilations)]
    y = np.zeros([x.shape[0], cout * groups] + full, np.float64)
    for g in range(groups):
        rows, part = slice(g * cin, (g + 1) * cin), slice(g * cout, (g + 1) * cout)
        for at in itertools.product(*(range(k) for k in w.shape[2:])):
            t = np.tensordot(x[:, rows], w[(rows, slice(None)) + at], (1, 0))
            place = [slice(a * d, a * d + (s - 1) * st + 1, st) for a, d, s, st in zip(at, dilations, space, strides)]
            y[(slice(None), part, *place)] += np.moveaxis(t, -1, 1)
    pad, want = ([0] * 2 * n, op.out_shapes[0][2:])
    if op.pad_type.val == "custom" and op.pad is not None:
        pad = ints(op.pad.val)
    elif op.pad_type.val == "same":
        pad = [p for f, o in zip(full, want) for p in ((f - o) // 2, 0)]
    y = np.pad(y, [(0, 0), (0, 0)] + [(0, max(0, pad[2 * i] + want[i] - full[i])) for i in range(n)])
    y = y[(slice(None), slice(None)) + tuple(slice(pad[2 * i], pad[2 * i] + want[i]) for i in range(n))]
    return y if b is None else y + channels(y, wide(np.asarray(b)))


def pool(op, how):
    x = wide(op.x.val)
    size, n = ints(op.kernel_sizes.val), x.ndim - 2
    strides = ints(op.strides.val)
    pads = paddings(op, x.shape[2:], size, strides, [1] * n)
    want, more = op.out_shapes[0][2:], []
    for i in range(n):  # a ceiled size reads over the end
        more.append(max(0, (want[i] - 1) * strides[i] + size[i] - x.shape[2 + i] - sum(pads[i])))
    ends = [(a, b + m) for (a, b), m in zip(pads, more)]
    cut = (slice(None), slice(None)) + tuple(slice(0, w) for w in want)
    axes = tuple(range(-n, 0))

    def seen(t, fill):
        return windows(np.pad(t, [(0, 0), (0, 0)] + ends, constant_values=fill), size, strides, [1] * n)[cut]
    if how == "max":
        return seen(x, -np.inf).max(axes)
    if how == "l2":
        return np.sqrt(np.square(seen(x, 0)).sum(axes))
    count = np.prod(size)
    if op.exclude_padding_from_average.val:
        count = seen(np.ones_like(x[:1, :1]), 0).sum(axes)
    elif any(more):  # what ceil_mode adds is never counted
        one = np.pad(np.ones_like(x[:1, :1]), [(0, 0), (0, 0)] + pads, constant_values=1)
        one = np.pad(one, [(0, 0), (0, 0)] + [(0, m) for m in more])
        count = windows(one, size, strides, [1] * n)[cut].sum(axes)
    return seen(x, 0).sum(axes) / count


KERNELS["max_pool"] = lambda op: pool(op, "max")
KERNELS["avg_pool"] = lambda op: pool(op, "average")
KERNELS["l2_pool"] = lambda op: pool(op, "l2")


# Sums: of half precision PyMIL would add up in half. Here they are added up in single, and rounded once.


@kernel("softmax")
def softmax(op):
    x, axis = wide(op.x.val), int(op.axis.val)
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@kernel("matmul")
def matmul(op):
    x, y = wide(op.x.val), wide(op.y.val)
    x = np.swapaxes(x, -1, -2) if op.transpose_x.val else x
    y = np.swapaxes(y, -1, -2) if op.transpose_y.val else y
    return np.matmul(x, y)


@kernel("linear")
def linear(op):
    y = wide(op.x.val) @ wide(op.weight.val).T
    return y if op.bias is None or op.bias.val is None else y + wide(op.bias.val)


def reduction(f):
    def run(op):
        return f(wide(op.x.val), tuple(ints(op.axes.val)), bool(op.keep_dims.val))
    return run


def log_sum_exp(x, axes, keep):
    most = x.max(axes, keepdims=True)
    y = np.log(np.exp(x - most).sum(axes, keepdims=True)) + most
    return y if keep else y.squeeze(axes)


for name, sums in {
    "sum": lambda x, a, k: x.sum(a, keepdims=k), "mean": lambda x, a, k: x.mean(a, keepdims=k),
    "sum_square": lambda x, a, k: (x * x).sum(a, keepdims=k), "l1_norm": lambda x, a, k: np.abs(x).sum(a, keepdims=k),
    "l2_norm": lambda x, a, k: np.sqrt((x * x).sum(a, keepdims=k)), "log_sum": lambda x, a, k: np.log(x.sum(a, keepdims=k)),
    "log_sum_exp": log_sum_exp,
}.items():
    KERNELS["reduce_" + name] = reduction(sums)


# Normalization.


def scaled(op, y):
    gamma, beta = val(op.gamma), val(op.beta)
    if gamma is not None:
        y = y * channels(y, gamma)
    return y if beta is None else y + channels(y, beta)


@kernel("batch_norm")
def batch_norm(op):
    x = wide(op.x.val)
    mean, variance = wide(np.asarray(op.mean.val)), wide(np.asarray(op.variance.val))
    return scaled(op, (x - channels(x, mean)) / np.sqrt(channels(x, variance) + np.float32(op.epsilon.val)))


@kernel("instance_norm")
def instance_norm(op):
    x = op.x.val.astype(np.float64)
    axes = tuple(range(2, x.ndim))
    return scaled(op, (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + float(op.epsilon.val)))


@kernel("layer_norm")
def layer_norm(op):
    x = op.x.val.astype(np.float64)
    axes = tuple(ints(op.axes.val)) if op.axes is not None else tuple(range(x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + float(arg(op, "epsilon", 1e-5)))
    shape = [x.shape[i] if i in [a % x.ndim for a in axes] else 1 for i in range(x.ndim)]
    gamma, beta = val(op.gamma), val(op.beta)
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


@kernel("local_response_norm")
def local_response_norm(op):
    x, size = op.x.val.astype(np.float64), int(op.size.val)
    square = np.pad(np.square(x), [(0, 0), ((size - 1) // 2, size // 2)] + [(0, 0)] * (x.ndim - 2))
    total = sum(square[:, i:i + x.shape[1]] for i in range(size))
    return x / np.power(float(op.k.val) + float(op.alpha.val) / size * total, float(op.beta.val))


@kernel("silu")
def silu(op):
    x = op.x.val.astype(np.float64)
    return x / (1 + np.exp(-x))


# Sampling of images.


def grid(n_in, n_out, mode):
    i = np.arange(n_out, dtype=np.float64)
    if mode == "UNALIGN_CORNERS":
        at = (i + 0.5) * n_in / n_out - 0.5
    elif mode == "DEFAULT":
        at = i * ((n_in - n_in / n_out) / (n_out - 1) if n_out > 1 else 0)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, n_in - 1) / n_out
        at = 0.5 * delta + i * delta
    else:
        at = i * ((n_in - 1) / (n_out - 1) if n_out > 1 else 0)
        if mode == "ALIGN_CORNERS" and n_out == 1:
            at = np.array([(n_in - 1) / 2])
    return np.clip(at, 0, n_in - 1)


def line(x, at, axis):
    """Linear interpolation along an axis."""
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    part = (at - low).reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])
    return np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part


def bilinear(x, h, w, mode):
    x = x.astype(np.float64)
    return line(line(x, grid(x.shape[-2], h, mode), -2), grid(x.shape[-1], w, mode), -1)


@kernel("resize_bilinear")
def resize_bilinear(op):
    return bilinear(op.x.val, int(op.target_size_height.val), int(op.target_size_width.val), op.sampling_mode.val)


@kernel("upsample_bilinear")
def upsample_bilinear(op):
    half = arg(op, "half_pixel_centers")
    corners = bool(op.align_corners.val)
    if half is None:
        half = not corners
    mode = "STRICT_ALIGN_CORNERS" if corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    return bilinear(op.x.val, *[int(d) for d in op.out_shapes[0][-2:]], mode)


def nearest(x, h, w):
    i = np.minimum(np.arange(h) * x.shape[-2] // h, x.shape[-2] - 1)
    j = np.minimum(np.arange(w) * x.shape[-1] // w, x.shape[-1] - 1)
    return x[..., i, :][..., j]


@kernel("upsample_nearest_neighbor", "resize_nearest_neighbor")
def upsample_nearest(op):
    return nearest(op.x.val, *[int(d) for d in op.out_shapes[0][-2:]])


@kernel("resize")
def resize(op):
    x, n = op.x.val, int(op.resized_dims.val)
    out = [int(d) for d in op.out_shapes[0]]
    for axis in range(x.ndim - n, x.ndim):
        at = grid(x.shape[axis], out[axis], op.sampling_mode.val)
        if op.interpolation_mode.val == "NEAREST_NEIGHBOR":
            x = np.take(x, np.floor(at + 0.5 if op.sampling_mode.val != "DEFAULT" else at + 1e-9).astype(int), axis)
        else:
            x = line(x.astype(np.float64), at, axis)
    return x


def sample(image, ys, xs, outside):
    """Bilinear samples of [c, h, w] at two arrays of one shape; pixels outside are worth that."""
    h, w = image.shape[1:]
    y0, x0 = np.floor(ys).astype(int), np.floor(xs).astype(int)
    total = 0
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = y0 + dy, x0 + dx
            weight = (1 - np.abs(ys - y)) * (1 - np.abs(xs - x))
            inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
            pixel = np.where(inside, image[:, np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)], outside)
            total = total + weight * pixel
    return total


def crop_grid(low, high, n_out, mode):
    span = high - low
    if mode == "UNALIGN_CORNERS":
        # a box [low, high] of pixels' edges that is cut into n_out parts; samples lie at their middles
        return low + (np.arange(n_out) + 0.5) * span / n_out - 0.5
    if mode == "OFFSET_CORNERS":
        return low + (np.arange(n_out) + 0.5) * span / n_out
    if n_out == 1:
        return np.array([(low + high) / 2 if mode == "ALIGN_CORNERS" else low])
    if mode == "DEFAULT":
        size = span + 1
        return low + np.arange(n_out) * (size - size / n_out) / (n_out - 1)
    return low + np.arange(n_out) * span / (n_out - 1)


@kernel("crop_resize")
def crop_resize(op):
    x = op.x.val.astype(np.float64)
    h, w = int(op.target_height.val), int(op.target_width.val)
    pad = float(arg(op, "pad_value", 0))
    if getattr(op, "boxes", None) is not None:
        boxes, which = op.boxes.val.astype(np.float64), ints(op.box_indices.val)
    else:
        roi = op.roi.val.astype(np.float64)[:, 0, :, 0, 0]
        if roi.shape[1] != 5:
            raise NotImplementedError("crop_resize with boxes for every image")
        boxes, which = roi[:, 1:], [int(i) for i in roi[:, 0]]
    scale, mode, out = float(op.spatial_scale.val), op.box_coordinate_mode.val, []
    for box, b in zip(boxes, which):
        box = box.copy()
        if "WIDTH_FIRST" in mode:
            box = box[[1, 0, 3, 2]]
        if mode.startswith("CENTER"):
            box = np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])
        box *= scale
        if op.normalized_coordinates.val:
            box *= np.array([x.shape[2] - 1, x.shape[3] - 1] * 2)
        ys, xs = (crop_grid(box[i], box[i + 2], n, op.sampling_mode.val) for i, n in ((0, h), (1, w)))
        yy, xx = np.meshgrid(ys, xs, indexing="ij")
        out.append(sample(x[b], yy, xx, pad))
    out = np.stack(out)
    return out if len(op.out_shapes[0]) == 4 else out[:, None]


@kernel("resample")
def resample(op):
    x, at = op.x.val.astype(np.float64), op.coordinates.val.astype(np.float64)
    corners, mode, padding = bool(op.align_corners.val), op.coordinates_mode.val, op.padding_mode.val
    outs = []
    for image, place in zip(x, at):
        axes = []
        for part, n in ((place[..., 0], image.shape[2]), (place[..., 1], image.shape[1])):
            if mode == "normalized_minus_one_to_one":
                part = (part + 1) / 2
            if mode != "unnormalized":
                part = part * (n - 1) if corners else part * n - 0.5
            if padding == "border":
                part = np.clip(part, 0, n - 1)
            elif padding == "reflection":
                part = np.abs((part % (2 * (n - 1))) - (n - 1) * 0) if n > 1 else part * 0
                part = np.where(part > n - 1, 2 * (n - 1) - part, part)
            elif padding == "symmetric":
                part = (part + 0.5) % (2 * n)
                part = np.clip(np.where(part > n, 2 * n - part, part) - 0.5, 0, n - 1)
            axes.append(part)
        xs, ys = axes
        if op.sampling_mode.val == "nearest":
            xs, ys = np.rint(xs), np.rint(ys)
        outs.append(sample(image, ys, xs, float(op.padding_value.val) if padding == "constant" else 0))
    return np.stack(outs)


# Moves between depth and space.


@kernel("pixel_shuffle")
def pixel_shuffle(op):
    x, f = op.x.val, int(op.upscale_factor.val)
    n, c, h, w = x.shape
    return x.reshape(n, c // f // f, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // f // f, h * f, w * f)


@kernel("pixel_unshuffle")
def pixel_unshuffle(op):
    x, f = op.x.val, int(op.downscale_factor.val)
    n, c, h, w = x.shape
    return x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4).reshape(n, c * f * f, h // f, w // f)


@kernel("depth_to_space")
def depth_to_space(op):
    x, b = op.x.val, int(op.block_size.val)
    n, c, h, w = x.shape
    return x.reshape(n, b, b, c // b // b, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b // b, h * b, w * b)


@kernel("space_to_depth")
def space_to_depth(op):
    x, b = op.x.val, int(op.block_size.val)
    n, c, h, w = x.shape
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


# Indices.


def merge(old, new, mode):
    return {"update": lambda: new, "add": lambda: old + new, "sub": lambda: old - new, "mul": lambda: old * new,
            "div": lambda: old / new, "max": lambda: max(old, new), "min": lambda: min(old, new)}[mode]()


@kernel("gather_nd")
def gather_nd(op):
    x, indices, lead = op.x.val, op.indices.val.astype(int), int(arg(op, "batch_dims", 0))
    if lead == 0:
        return x[tuple(np.moveaxis(indices, -1, 0))]
    out = [x[at][tuple(np.moveaxis(indices[at], -1, 0))] for at in np.ndindex(*x.shape[:lead])]
    return np.stack(out).reshape(x.shape[:lead] + out[0].shape)


@kernel("scatter_nd")
def scatter_nd(op):
    out, indices, updates = op.data.val.copy(), op.indices.val.astype(int), op.updates.val
    for at in np.ndindex(*indices.shape[:-1]):
        place = tuple(indices[at])
        old = out[place]
        flat = [merge(a, b, op.mode.val) for a, b in zip(np.ravel(old), np.ravel(updates[at]))]
        out[place] = np.array(flat, out.dtype).reshape(np.shape(old))
    return out


@kernel("scatter_along_axis")
def scatter_along_axis(op):
    out, indices, axis = op.data.val.copy(), op.indices.val.astype(int), int(op.axis.val)
    for at in np.ndindex(*indices.shape):
        place = list(at)
        place[axis] = indices[at]
        out[tuple(place)] = merge(out[tuple(place)], op.updates.val[at], op.mode.val)
    return out


@kernel("scatter")
def scatter(op):
    out, axis = np.moveaxis(op.data.val.copy(), int(op.axis.val), 0), int(op.axis.val)
    updates = np.moveaxis(op.updates.val, axis, 0)
    for i, at in enumerate(ints(op.indices.val)):
        new = updates[i]
        flat = [merge(a, b, op.mode.val) for a, b in zip(np.ravel(out[at]), np.ravel(new))]
        out[at] = np.array(flat, out.dtype).reshape(out[at].shape)
    return np.moveaxis(out, 0, axis)


@kernel("reverse_sequence")
def reverse_sequence(op):
    out, seq, batch = op.x.val.copy(), int(op.seq_axis.val), int(op.batch_axis.val)
    rows = np.moveaxis(out, [batch, seq], [0, 1])
    for row, n in zip(rows, ints(op.lengths.val)):
        row[:n] = row[:n][::-1].copy()
    return out


@kernel("band_part")
def band_part(op):
    x, low, high = op.x.val, int(op.lower.val), int(op.upper.val)
    m, n = np.indices(x.shape[-2:])
    return np.where(((low < 0) | (m - n <= low)) & ((high < 0) | (n - m <= high)), x, np.zeros((), x.dtype))


@kernel("one_hot")
def one_hot(op):
    indices, depth, axis = op.indices.val, int(op.one_hot_vector_size.val), int(op.axis.val)
    axis = axis + np.ndim(indices) + 1 if axis < 0 else axis
    places = np.arange(depth).reshape([-1 if a == axis else 1 for a in range(np.ndim(indices) + 1)])
    return np.where(np.expand_dims(indices, axis) == places, op.on_value.val, op.off_value.val)


@kernel("cumsum")
def cumsum(op):
    x, axis = op.x.val, int(op.axis.val)
    x = np.flip(x, axis) if op.reverse.val else x
    y = np.cumsum(wide(x), axis)
    if op.exclusive.val:
        y = y - x
    return np.flip(y, axis) if op.reverse.val else y


@kernel("range_1d")
def range_1d(op):
    return np.arange(op.start.val, op.end.val, op.step.val)


@kernel("fill")
def fill(op):
    return np.full(ints(op.shape.val), op.value.val)


@kernel("tile")
def tile(op):
    return np.tile(op.x.val, ints(op.reps.val))


@kernel("topk")
def topk(op):
    x, axis, k = op.x.val, int(op.axis.val), int(op.k.val)
    key = x if op.ascending.val else -wide(x)
    order = np.take(np.argsort(key, axis=axis, kind="stable"), np.arange(k), axis)
    values = np.take_along_axis(x, order, axis)
    return (values, order) if arg(op, "return_indices", True) else values


# Recurrence.

ACTIVATIONS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "linear": lambda x: x,
    "sigmoid_hard": lambda x: np.clip(0.2 * x + 0.5, 0, 1), "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "scaled_tanh": lambda x: 1.7159 * np.tanh(2 / 3 * x),
}


def steps(x, reverse):
    order = range(x.shape[0])
    return reversed(order) if reverse else order


def sequence(states, reverse, whole):
    states = np.stack(states)
    if not whole:
        return states[-1:]
    return states[::-1] if reverse else states


def lstm_one(op, x, h, c, suffix, reverse):
    wi, wh = (getattr(op, n + suffix).val.astype(np.float64) for n in ("weight_ih", "weight_hh"))
    b, p, clip = arg(op, "bias" + suffix, 0), arg(op, "peephole" + suffix), arg(op, "clip")
    inner, cell, outer = (ACTIVATIONS[getattr(op, n).val] for n in ("recurrent_activation", "cell_activation", "activation"))
    size, out = wh.shape[1], []
    pi, pf, po = (0, 0, 0) if p is None else (p[:size], p[size:2 * size], p[2 * size:])
    for t in steps(x, reverse):
        i, f, o, z = np.split(x[t] @ wi.T + h @ wh.T + b, 4, axis=-1)
        i, f, z = inner(i + pi * c), inner(f + pf * c), cell(z)
        c = f * c + i * z
        if clip is not None:
            c = np.clip(c, -clip, clip)
        h = inner(o + po * c) * outer(c)
        out.append(h)
    return sequence(out, reverse, op.output_sequence.val), h, c


@kernel("lstm")
def lstm(op):
    x, h, c = (getattr(op, n).val.astype(np.float64) for n in ("x", "initial_h", "initial_c"))
    size, direction = op.weight_hh.val.shape[1], op.direction.val
    one = lstm_one(op, x, h[:, :size], c[:, :size], "", direction == "reverse")
    if direction != "bidirectional":
        return one
    two = lstm_one(op, x, h[:, size:], c[:, size:], "_back", True)
    return tuple(np.concatenate(pair, -1) for pair in zip(one, two))


@kernel("rnn")
def rnn(op):
    x, h = op.x.val.astype(np.float64), op.initial_h.val.astype(np.float64)
    wi, wh, b = op.weight_ih.val.astype(np.float64), op.weight_hh.val.astype(np.float64), arg(op, "bias", 0)
    reverse, out = op.direction.val == "reverse", []
    for t in steps(x, reverse):
        h = ACTIVATIONS[op.activation.val](x[t] @ wi.T + h @ wh.T + b)
        out.append(h)
    return sequence(out, reverse, op.output_sequence.val), h


@kernel("gru")
def gru(op):
    if arg(op, "input_bias") is not None or arg(op, "reset_after"):
        raise NotImplementedError("gru's reset_after: the documentation does not say what it computes")
    x, h = op.x.val.astype(np.float64), op.initial_h.val.astype(np.float64)
    wi, wh = op.weight_ih.val.astype(np.float64), op.weight_hh.val.astype(np.float64)
    b = np.asarray(arg(op, "bias", np.zeros(wi.shape[0])))
    inner, outer = ACTIVATIONS[op.recurrent_activation.val], ACTIVATIONS[op.activation.val]
    reverse, out = op.direction.val == "reverse", []
    br, bo, bz = np.split(b, 3)
    for t in steps(x, reverse):
        xr, xo, xz = np.split(x[t] @ wi.T, 3, axis=-1)
        hr, ho, hz = np.split(h @ wh.T, 3, axis=-1)
        r, z = inner(xr + hr + br), inner(xz + hz + bz)
        h = (1 - z) * outer(xo + r * ho + bo) + z * h
        out.append(h)
    return sequence(out, reverse, op.output_sequence.val), h


# Detection.


@kernel("non_maximum_suppression")
def non_maximum_suppression(op):
    boxes, scores = op.boxes.val.astype(np.float64), op.scores.val.astype(np.float64)
    last = getattr(op, "score_threshold", None) is None  # from iOS 17 on boxes lie along the last axis
    least = -np.inf if last else float(op.score_threshold.val)
    if last:
        boxes, scores = boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1)
    most, per_class = int(op.max_boxes.val), bool(op.per_class_suppression.val)
    n, k = boxes.shape[0], scores.shape[2]
    out = (np.zeros((n, most, 4)), np.zeros((n, most, k)), np.full((n, most), -1), np.zeros(n))
    for b in range(n):
        low, high = boxes[b, :, :2] - boxes[b, :, 2:] / 2, boxes[b, :, :2] + boxes[b, :, 2:] / 2
        area, best, label = np.prod(high - low, 1), scores[b].max(1), scores[b].argmax(1)
        kept = []
        for i in np.argsort(-best, kind="stable"):
            if best[i] < least or len(kept) == most:
                break
            for j in kept:
                if per_class and label[i] != label[j]:
                    continue
                side = np.maximum(0, np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]))
                both = side[0] * side[1]
                if both / (area[i] + area[j] - both) > float(op.iou_threshold.val):
                    break
            else:
                kept.append(i)
        m = len(kept)
        out[0][b, :m], out[1][b, :m], out[2][b, :m], out[3][b] = boxes[b, kept], scores[b, kept], kept, m
    return (out[0].transpose(0, 2, 1), out[1].transpose(0, 2, 1), out[2]) if last else out
