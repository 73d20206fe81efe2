"""Writes what the models of quantize-search.sh are calibrated with and judged by, one pair of files a model:
NAME-calibration.npz and NAME-test.npz, axis 0 counting samples; `label` where there is a right answer.

usage: data.py FOLDER NAME...

Everything is made here from a fixed seed: lines and pages of text are drawn, files are those of this machine, sentences
those of Python's documentation. FOLDER has beforehand what the script fetched: fashion-mnist/ and speech/ (packages of
Debian), magika/ (the labels that the model knows) and minilm-tokenizer.json.
"""

import glob
import gzip
import json
import os
import random
import re
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

rng = None  # of the model whose data are made
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


def files(folder):
    """Files of many kinds, a few of each, with the label that magika's own table gives their extension. Files of extensions
    that it does not know are left out: nobody can say what they are."""
    base = json.load(open(f"{folder}/magika/content_types_kb.min.json"))
    space = json.load(open(f"{folder}/magika/config.min.json"))["target_labels_space"]
    of = {}
    for name, kind in base.items():
        for ext in kind.get("extensions") or []:
            of.setdefault(ext, set()).add(name)
    root = os.path.dirname(os.__file__)
    where = [root + "/**/*", "/usr/include/**/*", "/usr/bin/*", "/usr/share/**/*", "/usr/lib/x86_64-linux-gnu/*", "/usr/local/go/src/**/*"]
    paths = sorted({p for w in where for p in glob.glob(w, recursive=True)})
    random.shuffle(paths)
    kinds, out = {}, []
    for p in paths:
        kind = os.path.splitext(p)[1] or os.path.dirname(p)
        if kinds.get(kind, 0) < 24 and os.path.isfile(p) and not os.path.islink(p) and os.path.getsize(p) > 2100 and os.access(p, os.R_OK):
            names = of.get(os.path.splitext(p)[1][1:].lower(), set())
            if len(names) != 1 or next(iter(names)) not in space:
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
            out.append((p, space.index(next(iter(names)))))
        if len(out) == 864:
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


def fashion(folder):
    """Fashion-MNIST as Debian packs it: calibration from the training images, test from the others."""
    root = f"{folder}/fashion-mnist/usr/share/datasets/fashion-mnist"

    def read(name, offset):
        return np.frombuffer(gzip.open(f"{root}/{name}").read(), np.uint8, offset=offset)

    def images(name):
        return read(name, 16).reshape(-1, 1, 28, 28).astype(np.float32) / 255

    np.savez(f"{folder}/fashion-calibration.npz", input=images("train-images-idx3-ubyte.gz")[:64])
    np.savez(f"{folder}/fashion-test.npz", input=images("t10k-images-idx3-ubyte.gz"), label=read("t10k-labels-idx1-ubyte.gz", 8).astype(np.int64))


CONTEXT, HOP, RATE = 64, 512, 16000


NOISES = 0.01, 0.003, 0.03, 0.1  # of recordings that are as loud as 0.3


def speech(folder):
    """Recordings of people who read, with pauses between them, all in noise that is louder from one reading to the next. Of
    each frame: the sound, and whether the clean recording is loud there."""
    pieces, loud = [], []
    paths = sorted(p for kind in ("wav", "raw") for p in glob.glob(f"{folder}/speech/**/*.{kind}", recursive=True))
    for level in NOISES:
        for path in paths:
            raw = open(path, "rb").read()[44 if path.endswith(".wav") else 0 :]
            a = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / 32768
            if not 8000 < len(a) < 60 * RATE:
                continue
            a *= 0.3 / max(np.abs(a).max(), 1e-3)
            for part in (a, np.zeros(rng.integers(8000, 32000), np.float32)):
                n = len(part) // HOP * HOP
                rms = np.sqrt((part[:n].reshape(-1, HOP) ** 2).mean(1))
                noise = np.convolve(rng.normal(0, level, n), [0.5, 0.3, 0.2], "same")
                pieces.append((part[:n] + noise).astype(np.float32))
                loud.append(rms > 0.08 * np.sqrt((a**2).mean()))
    label = np.concatenate(loud)
    # A word's end and the breath in it are speech.
    return np.concatenate(pieces), np.convolve(label, np.ones(5), "same") > 0


def recorded(folder, name, model):
    """Frames with the states that the model has when they come, in closed loop; a part calibrates, the rest is the test."""
    import onnxruntime

    pcm, label = speech(folder)
    onnxruntime.set_default_logger_severity(3)
    s = onnxruntime.InferenceSession(model)
    state, context, samples = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32), []
    for at in range(0, 300 * HOP, HOP):
        x = np.concatenate([context, pcm[at : at + HOP]])
        samples.append({"input": x, "state": state, "sr": np.array(RATE, np.int64)})
        _, state = s.run(None, {"input": x[None], "state": state, "sr": np.array(RATE, np.int64)})
        context = x[-CONTEXT:]
    # Every fourth of the first ten seconds: what is said, and the noise between.
    picked = samples[::4][:64]
    np.savez(f"{folder}/{name}-calibration.npz", **{k: np.stack([p[k] for p in picked]) for k in picked[0]})
    np.savez(f"{folder}/{name}-test.npz", pcm=pcm[300 * HOP :], label=label[300:])


def tokens(folder, text):
    from tokenizers import Tokenizer

    t = Tokenizer.from_file(f"{folder}/minilm-tokenizer.json")
    t.no_padding()
    t.enable_truncation(64)
    t.enable_padding(length=64)
    out = []
    for s in text:
        e = t.encode(s)
        out.append({"input_ids": np.array(e.ids, np.int64), "attention_mask": np.array(e.attention_mask, np.int64)})
    return out


def make(folder, name):
    global rng
    random.seed(11)
    rng = np.random.default_rng(11)
    text = sentences()
    words = [s for s in (" ".join(t.split()[:3])[:18].strip() for t in text) if len(s) > 6]
    if name == "digits":
        digits(folder)
    elif name == "fashion":
        fashion(folder)
    elif name == "resnet18":
        samples = []
        for _ in range(128):
            page_ = page(448, text).resize((224, 224), Image.BILINEAR)
            tint = np.asarray([random.uniform(0.4, 1) for _ in range(3)])
            samples.append({"input": (normal(page_, 8) * tint[:, None, None]).astype(np.float32)})
        save(folder, name, samples, 64)
    elif name == "rec":
        save(folder, name, [{"x": line(t, 48, 320)} for t in words[:264]], 64, words[:264])
    elif name == "cls":
        turned = [i % 2 for i in range(264)]
        save(folder, name, [{"x": line(t, 48, 192, bool(f))} for t, f in zip(words[300:564], turned)], 64, turned)
    elif name == "det":
        save(folder, name, [{"x": normal(page(640, text), 5)} for _ in range(32)], 16)
    elif name == "orientation":
        quarters = [i % 4 for i in range(264)]
        samples = []
        for q in quarters:  # blurred and noisy, so that the model is not always sure
            small = page(448, text).rotate(90 * q).resize((224, 224), Image.BILINEAR)
            small = small.filter(ImageFilter.GaussianBlur(random.uniform(0, 2)))
            samples.append({"x": normal(small, random.uniform(8, 60))})
        save(folder, name, samples, 64)
    elif name == "magika":
        found = files(folder)
        save(folder, name, [{"bytes": ends(p)} for p, _ in found], 64, [label for _, label in found])
    elif name == "minilm":
        save(folder, name, tokens(folder, text[:264]), 64)
    else:
        recorded(folder, name, f"{folder}/{name}.onnx")


for name in sys.argv[2:]:
    make(sys.argv[1], name)
