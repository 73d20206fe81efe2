"""Writes images and what Pillow makes of them, sounds and what SciPy makes of them.

python golden.py [FOLDER]
"""
import io
import json
import pathlib
import sys

import numpy as np
from PIL import Image, ImageOps
from scipy import signal

out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
rng = np.random.default_rng(0)

FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def picture(w, h):
    """Smooth waves with hard edges and some noise: what photos have."""
    y, x = np.mgrid[0:h, 0:w].astype(float)
    a = np.stack([
        128 + 100 * np.sin(x / 7 + y / 13), 128 + 100 * np.cos(x / 17 - y / 5), 255 * (((x // 9) + (y // 6)) % 2),
    ], -1) + rng.normal(scale=6, size=(h, w, 3))
    a[h // 3 : h // 2, w // 4 : w // 2] = (250, 20, 40)
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))


images = {}


def keep(name, image, **options):
    image.save(out / name, **options)
    images[name] = options


keep("rgb.png", picture(61, 47))
keep("gray.png", picture(40, 50).convert("L"))
keep("palette.png", picture(30, 20).quantize(17))
keep("bits.png", picture(30, 20).convert("1"))
alpha = picture(25, 31).convert("RGBA")
alpha.putalpha(Image.fromarray(rng.integers(0, 256, (31, 25), dtype=np.uint8)))
keep("alpha.png", alpha)
keep("444.jpg", picture(45, 37), quality=92, subsampling=0)
keep("422.jpg", picture(45, 38), quality=92, subsampling=1)
keep("420.jpg", picture(46, 37), quality=85, subsampling=2)
keep("420odd.jpg", picture(65, 33), quality=85, subsampling=2)
keep("progressive.jpg", picture(48, 48), quality=80, progressive=True)
keep("gray.jpg", picture(33, 40).convert("L"), quality=85)
keep("lossy.webp", picture(47, 34), quality=85)
keep("lossy-even.webp", picture(48, 32), quality=60)
keep("lossless.webp", picture(31, 29), lossless=True)
for k in range(1, 9):
    exif = Image.Exif()
    exif[274] = k
    keep(f"exif{k}.jpg", picture(24, 16), quality=95, subsampling=0, exif=exif)

cases = []


def case(name, image, **args):
    """args are those of an input block; pixels are kept as a PNG of what is expected."""
    cases.append({"image": name, "args": args, "want": f"want{len(cases):02}.png"})
    image.save(out / cases[-1]["want"])


for name in images:
    image = Image.open(out / name)
    if name.startswith("exif"):
        case(name, ImageOps.exif_transpose(image).convert("RGB"), orient=True)
        continue
    case(name, image.convert("RGB"))
    case(name, image.convert("RGB").convert("L"), color="gray")
rgb = Image.open(out / "rgb.png")
for f, filter in FILTERS.items():
    for w, h in ((20, 15), (61, 20), (25, 47), (100, 90), (7, 120)):
        case("rgb.png", rgb.resize((w, h), filter), resample=f, resize=[h, w])
    case("gray.png", Image.open(out / "gray.png").convert("L").resize((23, 17), filter), resample=f, resize=[17, 23], color="gray")


def center(image, w, h):
    x, y = round((image.width - w) / 2), round((image.height - h) / 2)
    return image.crop((x, y, x + w, y + h))


# As torchvision's Resize(32) and CenterCrop(28), CenterCrop((20, 15)).
case("rgb.png", center(rgb.resize((int(32 * 61 / 47), 32), Image.BILINEAR), 28, 28), resize=[32], crop=[28])
tall = Image.open(out / "gray.png").convert("RGB")
case("gray.png", center(tall.resize((32, int(32 * 50 / 40)), Image.BICUBIC), 15, 20), resize=[32], crop=[20, 15], resample="bicubic")
case("rgb.png", center(rgb, 30, 21), crop=[21, 30])

sounds = []
for up, down in ((1, 2), (3, 1), (160, 441), (147, 160)):
    x = np.round(rng.normal(scale=0.2, size=300), 6)
    sounds.append({"up": up, "down": down, "in": x.tolist(), "out": signal.resample_poly(x, up, down).tolist()})

# Kinds of JPEG files, and parts of them: only the blocks that are needed are transformed.
for name, size, options in (
    ("restart.jpg", (67, 41), dict(quality=90, subsampling=2, restart_marker_blocks=3)),
    ("progressive-odd.jpg", (65, 51), dict(quality=95, subsampling=2, progressive=True)),
    ("progressive-422.jpg", (50, 35), dict(quality=60, subsampling=1, progressive=True, restart_marker_rows=1)),
    ("progressive-gray.jpg", (57, 39), dict(quality=75, progressive=True)),
    ("optimized.jpg", (90, 70), dict(quality=100, subsampling=2, optimize=True)),
    ("coarse.jpg", (75, 60), dict(quality=5, subsampling=2)),
    ("rgb.jpg", (40, 30), dict(quality=90, keep_rgb=True)),
    ("cmyk.jpg", (31, 21), dict(quality=90)),
    ("small.jpg", (1, 1), dict(quality=90, subsampling=2)),
    ("narrow.jpg", (3, 50), dict(quality=90, subsampling=2)),
):
    image = picture(*size)
    if "gray" in name:
        image = image.convert("L")
    if "cmyk" in name:
        image = image.convert("CMYK")
    keep(name, image, **options)
    image = Image.open(out / name)
    case(name, image.convert("RGB"))
    if image.width < 30:
        continue
    case(name, center(image.convert("RGB"), 19, 11), crop=[11, 19])
    case(name, center(image.convert("RGB").resize((29, 31), Image.BILINEAR), 9, 20), resize=[31, 29], crop=[20, 9])

(out / "golden.json").write_text(json.dumps({"images": cases, "sounds": sounds}, separators=(",", ":")) + "\n")
