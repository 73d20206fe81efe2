"""Makes a folder of JPEGs of the size and weight of ImageNet's: python make.py FOLDER COUNT."""
import pathlib
import sys

import numpy as np
from PIL import Image

folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(1)
for i in range(count):
    w, h = ((500, 375), (375, 500), (500, 333), (640, 480))[i % 4]
    # Noise of all scales, as in photos, and a few hard edges.
    a = np.full((h, w, 3), 128.0)
    for scale in (2, 4, 8, 16, 32, 64, 128):
        small = rng.normal(scale=6 + scale / 5, size=(h // scale + 2, w // scale + 2, 3)).astype(np.float32)
        for c in range(3):
            a[..., c] += np.asarray(Image.fromarray(small[..., c]).resize((w, h), Image.BICUBIC))
    for _ in range(6):
        x, y = rng.integers(0, w - 60), rng.integers(0, h - 60)
        a[y : y + rng.integers(10, 60), x : x + rng.integers(10, 60)] += rng.normal(scale=50, size=3)
    to = folder / "abcd"[i % 4]
    to.mkdir(parents=True, exist_ok=True)
    Image.fromarray(a.clip(0, 255).astype(np.uint8)).save(to / f"{i:05}.jpg", quality=90)
