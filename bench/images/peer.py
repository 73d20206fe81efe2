"""What recipe.hcl does, with Pillow and NumPy: python peer.py FOLDER OUTPUT THREADS."""
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

folder, output, threads = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
files = sorted(folder.glob("*/*.jpg"))
mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
out = np.lib.format.open_memmap(output, "w+", np.float32, (len(files), 3, 224, 224))


def one(i):
    image = Image.open(files[i]).convert("RGB")
    w, h = image.size
    size = (256, int(256 * h / w)) if w <= h else (int(256 * w / h), 256)
    image = image.resize(size, Image.BILINEAR)
    x, y = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    pixels = np.asarray(image.crop((x, y, x + 224, y + 224))).transpose(2, 0, 1)
    out[i] = (pixels / np.float32(255) - mean) / std


if threads > 1:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(len(files))))
else:
    for i in range(len(files)):
        one(i)
out.flush()
