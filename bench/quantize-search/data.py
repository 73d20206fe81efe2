"""Writes what the models of quantize-search.sh are calibrated with and judged by, one pair of files a model:
NAME-calibration.npz and NAME-test.npz, axis 0 counting samples; `label` where there is a right answer.

usage: data.py FOLDER

Everything is made here from a fixed seed: lines and pages of text are drawn, files are those of the Python installation,
token numbers are drawn with the frequencies of a language (Zipf).
"""

import glob
import os
import random
import re
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

random.seed(11)
rng = np.random.default_rng(11)
FONTS = sorted(glob.glob("/usr/share/fonts/truetype/dejavu/*.ttf"))


def font(size):
    return ImageFont.truetype(random.choice(FONTS), size) if FONTS else ImageFont.load_default(size)


def sentences():
    """Sentences of the standard library's documentation."""
    found = set()
    for path in sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py"))):
        text = open(path, encoding="utf-8", errors="ignore").read()
        for doc in re.findall(r'"""(.*?)"""', text, re.S):
            for s in re.split(r"(?<=[.])\s+", " ".join(doc.split())):
                if 20 < len(s) < 160 and re.fullmatch(r"[A-Za-z0-9 ,.'()-]+", s):
                    found.add(s)
    out = sorted(found)
    random.shuffle(out)
    return out


def save(folder, name, samples, calibration, labels=None):
    """The first samples calibrate, the rest are the test."""
    for part, at in (("calibration", slice(0, calibration)), ("test", slice(calibration, None))):
        fields = {k: np.stack([s[k] for s in samples[at]]) for k in samples[0]}
        if labels is not None and part == "test":
            fields["label"] = np.array(labels[at])
        np.savez(os.path.join(folder, f"{name}-{part}.npz"), **fields)


def normal(image, noise):
    a = np.asarray(image, np.float32) + rng.normal(0, noise, (image.height, image.width, 3))
    return ((a / 255 - 0.5) / 0.5).transpose(2, 0, 1).astype(np.float32)


def line(text, height, width, turned=False):
    f = font(random.randint(26, 34))
    left, top, right, bottom = f.getbbox(text)
    bg, fg = random.randint(190, 255), random.randint(0, 70)
    im = Image.new("RGB", (int(right - left) + 10, int(bottom - top) + 10), (bg,) * 3)
    ImageDraw.Draw(im).text((5 - left, 5 - top), text, font=f, fill=(fg,) * 3)
    if turned:
        im = im.rotate(180)
    w = min(width, round(height * im.width / im.height))
    out = np.zeros((3, height, width), np.float32)
    out[:, :, :w] = normal(im.resize((w, height), Image.BILINEAR), 6)
    return out


def page(size, text):
    bg = random.randint(200, 255)
    im = Image.new("RGB", (size, size), (bg,) * 3)
    draw, y = ImageDraw.Draw(im), random.randint(5, 40)
    while y < size - 40:
        height = random.randint(14, 34)
        words = random.choice(text).split()[: random.randint(2, 7)]
        draw.text((random.randint(5, size // 4), y), " ".join(words), font=font(height), fill=(random.randint(0, 90),) * 3)
        y += height + random.randint(6, 40)
    return im


def files():
    """Files of many kinds, a few of each."""
    root = os.path.dirname(os.__file__)
    paths = sorted(glob.glob(root + "/**/*", recursive=True) + glob.glob("/usr/include/**/*", recursive=True) + glob.glob("/usr/bin/*") + glob.glob("/usr/share/**/*", recursive=True))
    random.shuffle(paths)
    kinds, out = {}, []
    for p in paths:
        kind = os.path.splitext(p)[1] or os.path.dirname(p)
        if kinds.get(kind, 0) < 12 and os.path.isfile(p) and not os.path.islink(p) and os.path.getsize(p) > 2100 and os.access(p, os.R_OK):
            kinds[kind] = kinds.get(kind, 0) + 1
            out.append(p)
        if len(out) == 364:
            break
    return out


def ends(path):
    b = open(path, "rb").read()
    head, tail = b[:4096].lstrip()[:1024], b[-4096:].rstrip()[-1024:]
    return np.array(list(head) + [256] * (1024 - len(head)) + [256] * (1024 - len(tail)) + list(tail), np.int32)


def digits(folder):
    """The digit recipe's images, scaled as there."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../recipes/digits")
    train, test = np.load(f"{here}/mnist-train.npz"), np.load(f"{here}/mnist-test.npz")
    np.savez(f"{folder}/digits-calibration.npz", input=train["image"][:64].astype(np.float32) / 255)
    np.savez(f"{folder}/digits-test.npz", input=test["image"].astype(np.float32) / 255, label=test["label"])


def main():
    folder = sys.argv[1]
    digits(folder)
    text = sentences()
    words = [s for s in (" ".join(t.split()[:3])[:18].strip() for t in text) if len(s) > 6]
    save(folder, "rec", [{"x": line(t, 48, 320)} for t in words[:264]], 64, words[:264])
    turned = [i % 2 for i in range(264)]
    save(folder, "cls", [{"x": line(t, 48, 192, bool(f))} for t, f in zip(words[300:564], turned)], 64, turned)
    save(folder, "det", [{"x": normal(page(640, text), 5)} for _ in range(32)], 16)
    quarters = [i % 4 for i in range(264)]
    save(folder, "orientation", [{"x": normal(page(448, text).rotate(90 * q).resize((224, 224), Image.BILINEAR), 8)} for q in quarters], 64)
    save(folder, "magika", [{"bytes": ends(p)} for p in files()], 64)
    ids = [np.concatenate([[101], np.minimum(1000 + rng.zipf(1.2, 62), 29000), [102]]).astype(np.int64) for _ in range(264)]
    save(folder, "minilm", [{"input_ids": i, "attention_mask": np.ones(64, np.int64)} for i in ids], 64)


main()
