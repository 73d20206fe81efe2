"""Torch-Pruning on a network of bench/prune.sh: global pruning by the magnitudes of groups, its way for trained networks,
until a share of the multiply-accumulates is left. Writes NAME-cut.onnx, and NAME-repaired.onnx after what it leaves to its
user and needs no training: statistics of batch normalization measured anew on the calibration images.

usage: peer.py FOLDER resnet|mobile SHARE OUT
"""

import os
import sys

import numpy as np
import torch
import torch_pruning as tp

from nets import NETS, export


def cut(folder, name, ratio):
    net = NETS[name]()
    net.load_state_dict(torch.load(os.path.join(folder, f"{name}.pt")))
    net.eval()
    example = torch.zeros(1, 1, 28, 28)
    pruner = tp.pruner.BasePruner(net, example, importance=tp.importance.GroupMagnitudeImportance(p=2), global_pruning=True,
                                  pruning_ratio=ratio, max_pruning_ratio=0.9, round_to=8, ignored_layers=[net.head])
    pruner.step()
    return net, tp.utils.count_ops_and_params(net, example)[0]


def main(folder, name, share, out):
    _, whole = cut(folder, name, 0.0)
    low, high = 0.0, 0.95
    for _ in range(14):  # the least that leaves the share of the work
        mid = (low + high) / 2
        if cut(folder, name, mid)[1] <= share * whole:
            high = mid
        else:
            low = mid
    net, left = cut(folder, name, high)
    print(f"torch-pruning: {name}, ratio {high:.3f}, {left / whole:.3f} of the multiply-accumulates left")
    export(net, out + "-cut.onnx")
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.reset_running_stats()
            m.momentum = None  # the plain mean over the batches
    net.train()
    x = torch.tensor(np.load(os.path.join(folder, "calibration.npz"))["input"][:512])
    with torch.no_grad():
        for i in range(0, len(x), 64):
            net(x[i:i + 64])
    export(net, out + "-repaired.onnx")


main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])
