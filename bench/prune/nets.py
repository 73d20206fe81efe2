"""The networks of bench/prune.sh: a residual one that is 64 channels wide and more, and one of depthwise convolutions."""

import torch
from torch import nn
from torch.nn import functional as F


def unit(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.a, self.b = unit(inputs, outputs, 3, stride), unit(outputs, outputs, 3)
        self.skip = unit(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x):
        return F.relu(self.b(F.relu(self.a(x))) + self.skip(x))


class Inverted(nn.Module):
    """MobileNetV2's block: expand, a depthwise convolution, project."""

    def __init__(self, inputs, outputs, stride, expand=4):
        super().__init__()
        wide = inputs * expand
        self.body = nn.Sequential(
            unit(inputs, wide, 1), nn.ReLU6(), unit(wide, wide, 3, stride, wide), nn.ReLU6(), unit(wide, outputs, 1))
        self.same = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.same else self.body(x)


class Net(nn.Module):
    def __init__(self, stem, blocks, width):
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.Sequential(*blocks), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


def resnet():
    """9 convolutions of 64 and 128 channels on 28x28, halved at once: 54 million multiply-accumulates."""
    return Net(unit(1, 64, 3, 2), [Residual(64, 64, 1), Residual(64, 64, 1), Residual(64, 128, 2), Residual(128, 128, 1)], 128)


def mobile():
    return Net(unit(1, 32, 3, 2), [
        Inverted(32, 32, 1), Inverted(32, 64, 2), Inverted(64, 64, 1), Inverted(64, 96, 2), Inverted(96, 96, 1)], 96)


NETS = {"resnet": resnet, "mobile": mobile}


def export(net, path, batch=2):
    """Writes a net as ONNX with its batch normalizations as they are, and any number of samples."""
    net = net.eval().to("cpu", memory_format=torch.contiguous_format)
    torch.onnx.export(net, (torch.zeros(batch, 1, 28, 28),), path, input_names=["input"], output_names=["logits"],
                      opset_version=17, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})
