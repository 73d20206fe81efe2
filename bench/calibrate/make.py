"""Writes the data of calibrate.sh: make.py TRAIN.npz DIR.

digits.npz: 1,024 training digits from 0 to 1. det.npz: 16 pages of 640x640 with lines of boxes like words, scaled as
PP-OCR's detector takes them.
"""

import sys

import numpy as np
from PIL import Image, ImageDraw

train, out = sys.argv[1:]
images = np.load(train)["image"]
images = np.resize(images, (1024,) + images.shape[1:])  # again from the first, where there are fewer
np.savez(out + "/digits.npz", x=images.astype(np.float32) / 255)

rng = np.random.default_rng(0)
pages = []
for _ in range(16):
    page = Image.new("RGB", (640, 640), tuple(int(v) for v in rng.integers(180, 256, 3)))
    draw = ImageDraw.Draw(page)
    y = int(rng.integers(5, 40))
    while y < 600:
        height, x = int(rng.integers(10, 40)), int(rng.integers(5, 100))
        while x < 600:
            width = int(rng.integers(20, 150))
            for k in range(x, x + width, max(height // 2, 4)):
                draw.text((k, y), chr(int(rng.integers(65, 123))), fill=(20, 20, 40), font_size=height)
            x += width + height
        y += height + int(rng.integers(8, 30))
    a = np.asarray(page, np.float32) / 255
    pages.append(((a - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1))
np.savez(out + "/det.npz", x=np.stack(pages).astype(np.float32))
