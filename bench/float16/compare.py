"""Does a model in half precision load, and how well does it agree with the original?

usage: compare.py pages FOLDER                   writes det.npz: pages for calibration, as PP-OCR's detector takes them
       compare.py NAME ORIGINAL NAME=MODEL ...   NAME is what the table shows of the original

Images are rendered pages of text, sounds are waves, tokens are made up. For a detector of text (one output, a map of
the input's size, from 0 to 1) the overlap (IoU) of what is found on pages is told beside the SQNR of the worst output.
Prints a line for each model; fails when `ours` does not load, or agrees worse than 25 dB (bfloat16: 10 dB) where the
IoU is not told, or finds text with an IoU under .95.
"""
import os
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw

WORDS = "the quick brown fox jumps over a lazy dog while seven wizards brew potions and measure every layer twice".split()
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def page(seed, width=640, height=640):
    """A page of words in several sizes on a light ground, scaled as ImageNet's: [3, height, width]."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(200, 256, 3)))
    draw, y = ImageDraw.Draw(image), 8
    while y < height - 12:
        size, x = int(rng.integers(14, 42)), int(rng.integers(8, 60))
        while x < width - 60:
            word = WORDS[int(rng.integers(len(WORDS)))]
            draw.text((x, y), word, fill=tuple(int(v) for v in rng.integers(0, 90, 3)), font_size=size)
            x += int(draw.textlength(word, font_size=size)) + int(rng.integers(8, 80))
        y += int(size * float(rng.uniform(1.3, 2.5)))
    return ((np.asarray(image) / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


def made_up(info, seed):
    images = len(info.shape) == 4
    # What the model leaves open: one image of 3x320x320 (a line of text is 48 high), one frame of sound, state of one
    # sample, 24 tokens.
    free = [1, 3, 48 if "_rec_" in sys.argv[1] else 320, 320] if images else [1] * 3 if len(info.shape) == 3 else [1, 24]
    if "float" in info.type and "input" in info.name and len(info.shape) == 2:
        free = [1, 576]
    shape = [d if isinstance(d, int) else n for d, n in zip(info.shape, free)]
    kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}[info.type]
    if images and shape[1] == 3:
        return np.stack([page(100 * seed + i, shape[3], shape[2]) for i in range(shape[0])]).astype(kind)
    if np.issubdtype(kind, np.floating):
        t = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
        wave = 0.5 * np.sin(t / 9 + seed) + 0.3 * np.cos(t / 70)
        return (wave * (0.1 if "state" in info.name or info.name in "hc" else 1)).astype(kind)
    if info.name == "sr":
        return np.array(16000, kind).reshape(shape)
    t = 1 + 37 * (np.arange(int(np.prod(shape))) + seed) % 43
    return (t > 9 if "mask" in info.name else 0 * t if "type" in info.name else t).reshape(shape).astype(kind)


def run(path, seeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    s = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [s.run(None, {i.name: made_up(i, seed) for i in s.get_inputs()}) for seed in seeds]


def main():
    if sys.argv[1] == "pages":
        np.savez(os.path.join(sys.argv[2], "det.npz"), x=np.stack([page(1000 + i) for i in range(8)]))
        return
    name, original = sys.argv[1:3]
    seeds = range(4)
    try:
        want = run(original, seeds)
    except Exception as e:
        print(f"{name:32} the original does not run on made-up data: {str(e)[:90]}")
        return
    bad = []
    for word in sys.argv[3:]:
        label, path = word.split("=", 1)
        line = f"{name:32} {label:9}"
        if not os.path.exists(path):
            print(line, "no file was written")
            bad += [label] if label != "peer" else []
            continue
        try:
            got = run(path, seeds)
        except Exception as e:
            print(line, "does not load or run:", str(e).replace("\n", " ")[:110])
            bad += [label] if label != "peer" else []
            continue
        worst = np.inf
        for k in range(len(want[0])):
            a, b = (np.concatenate([np.asarray(r[k], np.float64).ravel() for r in x]) for x in (want, got))
            noise = np.square(a - b).sum()
            worst = min(worst, 10 * np.log10(np.square(a).sum() / noise) if noise > 0 else 200 if noise == 0 else -np.inf)
        first = want[0][0]
        detector = len(want[0]) == 1 and first.ndim == 4 and first.shape[1] == 1 and 0 <= first.min() and first.max() <= 1
        iou = 1.0
        if detector:
            a, b = (np.concatenate([(r[0] > 0.3).ravel() for r in x]) for x in (want, got))
            iou = (a & b).sum() / max((a | b).sum(), 1)
        print(f"{line} SQNR {worst:6.1f} dB  {os.path.getsize(path) / os.path.getsize(original):.2f} of the size" + (f"  IoU {iou:.4f}" if detector else ""))
        if label != "peer" and (iou < 0.95 or not detector and worst < (10 if label == "bfloat16" else 25)):
            bad.append(label)
    if bad:
        sys.exit(f"{name}: not good enough: {', '.join(bad)}")


main()
