"""Trains a network of bench/prune.sh on Fashion-MNIST, on the CPU, in minutes, and writes NAME.pt, NAME.onnx and once the
data: calibration.npz (1,024 images of the training set), train.npz and test.npz.

usage: train.py FOLDER resnet|mobile [EPOCHS]     FOLDER/fashion-mnist holds Debian's dataset-fashion-mnist
"""

import glob
import gzip
import os
import sys
import time

import numpy as np
import torch
from torch.nn import functional as F

from nets import NETS, export


def read(folder, name, offset):
    path = glob.glob(os.path.join(folder, "fashion-mnist", "**", name), recursive=True)[0]
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=offset)


def images(raw):
    return ((raw.reshape(-1, 1, 28, 28) / 255 - 0.286) / 0.353).astype(np.float32)


def data(folder):
    x, y = images(read(folder, "train-images-idx3-ubyte.gz", 16)), read(folder, "train-labels-idx1-ubyte.gz", 8).astype(np.int64)
    xt, yt = images(read(folder, "t10k-images-idx3-ubyte.gz", 16)), read(folder, "t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)
    if not os.path.exists(os.path.join(folder, "test.npz")):
        np.savez(os.path.join(folder, "calibration.npz"), input=x[:1024])
        # What guides a choice must be neither what trained nor what grades: the last of the training set, held out.
        np.savez(os.path.join(folder, "validation.npz"), input=x[-2000:], label=y[-2000:])
        np.savez(os.path.join(folder, "test.npz"), input=xt, label=yt)
    return torch.tensor(x[:-2000]), torch.tensor(y[:-2000]), torch.tensor(xt), torch.tensor(yt)


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    return float(np.mean([(net(x[i:i + 500]).argmax(1) == y[i:i + 500]).float().mean() for i in range(0, len(x), 500)]))


def main(folder, name, epochs=6):
    torch.manual_seed(0)
    x, y, xt, yt = data(folder)
    net = NETS[name]().to(memory_format=torch.channels_last)
    size, steps = 128, len(x) // 128 * epochs
    opt = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1 if name == "resnet" else 0.15, total_steps=steps, pct_start=0.15)
    start = time.time()
    for epoch in range(epochs):
        net.train()
        order, total = torch.randperm(len(x)), 0.0
        for i in range(0, len(x) - size + 1, size):
            at = order[i:i + size]
            b = x[at].to(memory_format=torch.channels_last)
            flip = torch.rand(size) < 0.5
            b[flip] = b[flip].flip(3)
            loss = F.cross_entropy(net(b), y[at], label_smoothing=0.05)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            rate.step()
            total += loss.item()
        print(f"{name} epoch {epoch + 1}/{epochs}: loss {total / (len(x) // size):.4f}, test {accuracy(net, xt, yt):.4f}, {time.time() - start:.0f} s", flush=True)
    torch.save(net.state_dict(), os.path.join(folder, f"{name}.pt"))
    export(net, os.path.join(folder, f"{name}.onnx"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
