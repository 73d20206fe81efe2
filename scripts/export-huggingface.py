#!/usr/bin/env python3
"""Exports a text classifier of Hugging Face to ONNX with transformers and torch alone, with its data as npz.

Without --model it builds a tiny BERT and teaches it a small task, so that nothing is downloaded: is there more of one
word than of another? With --model NAME (a folder or a name on the hub) it exports that model, and makes the archives from
a file of lines "label<TAB>text".

    scripts/export-huggingface.py --out recipes/huggingface
    scripts/export-huggingface.py --out my --model NAME --texts reviews.tsv
    optimize apply recipes/huggingface
"""
import argparse
import pathlib

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

LENGTH = 32


class Logits(nn.Module):
    """A model as ONNX wants it: tensors in, one tensor out, no dictionary and no cache."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export(model: nn.Module, path: pathlib.Path, exporter: str) -> None:
    example = torch.ones(2, LENGTH, dtype=torch.int64), torch.ones(2, LENGTH, dtype=torch.int64)
    names = {"input_names": ["input_ids", "attention_mask"], "output_names": ["logits"]}
    model.eval()
    if exporter == "dynamo":
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            model, example, str(path), dynamo=True, external_data=False, opset_version=18, **names,
            dynamic_shapes=({0: batch}, {0: batch}),
        )
    else:
        torch.onnx.export(
            model, example, str(path), dynamo=False, opset_version=17, **names,
            dynamic_axes={n: {0: "batch"} for n in ("input_ids", "attention_mask", "logits")},
        )


def tiny(samples: int, seed: int) -> dict[str, np.ndarray]:
    """Texts of random words, padded at the end; the label says whether word 5 is there more often than word 6."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 12, (samples, LENGTH))
    lengths = rng.integers(LENGTH // 2, LENGTH + 1, samples)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    ids = np.where(mask == 1, ids, 0)
    ids[:, 0] = 1  # the token whose state is classified
    label = ((ids == 5).sum(1) > (ids == 6).sum(1)).astype(np.int64)
    return {"input_ids": ids.astype(np.int64), "attention_mask": mask, "label": label}


def learn(steps: int) -> tuple[nn.Module, dict[str, dict[str, np.ndarray]]]:
    model = BertForSequenceClassification(BertConfig(
        vocab_size=16, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=LENGTH, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(steps):
        batch = {k: torch.from_numpy(v) for k, v in tiny(64, 1000 + step).items()}
        optimizer.zero_grad()
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["label"]).loss.backward()
        optimizer.step()
    return model, {"train": tiny(256, 1), "test": tiny(1000, 2)}


def existing(name: str, texts: pathlib.Path) -> tuple[nn.Module, dict[str, dict[str, np.ndarray]]]:
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name, attn_implementation="eager")
    rows = [line.split("\t", 1) for line in texts.read_text(encoding="utf-8").splitlines() if line]
    tokens = tokenizer([text for _, text in rows], padding="max_length", truncation=True, max_length=LENGTH, return_tensors="np")
    all_of = {k: tokens[k].astype(np.int64) for k in ("input_ids", "attention_mask")}
    all_of["label"] = np.array([int(label) for label, _ in rows], np.int64)
    cut = len(rows) // 5
    return model, {"train": {k: v[:cut] for k, v in all_of.items()}, "test": {k: v[cut:] for k, v in all_of.items()}}


def main() -> None:
    here = pathlib.Path(__file__).resolve().parent.parent / "recipes"
    p = argparse.ArgumentParser(description="Export a text classifier of Hugging Face to ONNX.")
    p.add_argument("--out", type=pathlib.Path, default=here / "huggingface", help="folder for model.onnx, train.npz and test.npz")
    p.add_argument("--exporter", choices=["dynamo", "legacy"], default="dynamo")
    p.add_argument("--model", help="a folder or a name on the hub; without it a tiny model is made")
    p.add_argument("--texts", type=pathlib.Path, help="lines of a label, a tab and a text, for --model")
    p.add_argument("--steps", type=int, default=400, help="how long the tiny model learns")
    args = p.parse_args()
    if args.model and not args.texts:
        p.error("--model needs --texts")

    torch.manual_seed(0)
    model, data = existing(args.model, args.texts) if args.model else learn(args.steps)
    wrapped = Logits(model)
    args.out.mkdir(parents=True, exist_ok=True)
    export(wrapped, args.out / "model.onnx", args.exporter)
    for part, arrays in data.items():
        np.savez_compressed(args.out / f"{part}.npz", **arrays)

    with torch.no_grad():
        test = {k: torch.from_numpy(v) for k, v in data["test"].items()}
        top1 = (wrapped(test["input_ids"], test["attention_mask"]).argmax(1) == test["label"]).float().mean().item()
    print(f"top-1 {top1:.4f}")


if __name__ == "__main__":
    main()
