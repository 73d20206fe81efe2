#!/usr/bin/env python3
"""Trains a small convolutional net on the digits and exports it to ONNX, with its data as npz.

It stands for your own model: replace build() and the two archives, keep export(). Needs torch, onnx and, for the newer
exporter, onnxscript. Nothing is downloaded.

    scripts/export-pytorch.py --out recipes/pytorch
    optimize apply recipes/pytorch
"""
import argparse
import pathlib

import numpy as np
import torch
from torch import nn


def build() -> nn.Module:
    """The net: takes images of 28 by 28 with values from 0 to 1, gives ten scores."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()


def export(model: nn.Module, example: torch.Tensor, path: pathlib.Path, exporter: str) -> None:
    """Writes the model with named inputs and outputs and a batch of any size."""
    model.eval()  # dropout off, BatchNorm with what it learnt: both are constants for whoever runs the model
    names = {"input_names": ["image"], "output_names": ["logits"]}
    if exporter == "dynamo":
        torch.onnx.export(
            model, (example,), str(path), dynamo=True, external_data=False, opset_version=18, **names,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    else:
        torch.onnx.export(
            model, (example,), str(path), dynamo=False, opset_version=17, **names,
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )


def main() -> None:
    here = pathlib.Path(__file__).resolve().parent.parent / "recipes"
    p = argparse.ArgumentParser(description="Train a small net on digits and export it to ONNX.")
    p.add_argument("--out", type=pathlib.Path, default=here / "pytorch", help="folder for model.onnx, train.npz and test.npz")
    p.add_argument("--data", type=pathlib.Path, default=here / "digits", help="folder with mnist-train.npz and mnist-test.npz")
    p.add_argument("--exporter", choices=["dynamo", "legacy"], default="dynamo")
    p.add_argument("--epochs", type=int, default=6)
    args = p.parse_args()

    torch.manual_seed(0)
    data = {}
    for part in ("train", "test"):
        with np.load(args.data / f"mnist-{part}.npz") as z:
            # As the net takes them: float32, from 0 to 1, channels first. The recipe could do the scaling as well.
            data[part] = z["image"].astype(np.float32).reshape(-1, 1, 28, 28) / 255, z["label"].astype(np.int64)
    model = build()
    images, labels = (torch.from_numpy(a) for a in data["train"])
    train(model, images, labels, args.epochs)

    args.out.mkdir(parents=True, exist_ok=True)
    export(model, images[:2], args.out / "model.onnx", args.exporter)
    for part, (x, y) in data.items():
        np.savez_compressed(args.out / f"{part}.npz", image=x, label=y)

    with torch.no_grad():
        x, y = (torch.from_numpy(a) for a in data["test"])
        top1 = (model(x).argmax(1) == y).float().mean().item()
    print(f"top-1 {top1:.4f}")


if __name__ == "__main__":
    main()
