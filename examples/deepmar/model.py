"""DeepMAR in plain torch: a ResNet-50 and one linear layer over 35 attributes of a pedestrian.

The parameter names and shapes are those of the public PyTorch code, so that its checkpoints load with ``strict=True``.
The method is that of Li et al., "Multi-attribute learning for pedestrian attribute recognition in surveillance
scenarios" (ACPR 2015); the body that of He et al., "Deep residual learning for image recognition" (CVPR 2016), table 1.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["INPUT_SIZE", "DeepMAR"]

INPUT_SIZE = 224
STAGES = (3, 4, 6, 3)
EXPANSION = 4


class Bottleneck(nn.Module):
    """A residual block: 1x1, 3x3 and 1x1 convolution, the 3x3 one with the stride.

    Args:
        in_channels: Channels of the input.
        channels: Width inside; the output has four times as many.
        stride: Of the block.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, in_channels, H, W]`` to ``[B, 4 * channels, ceil(H / stride), ceil(W / stride)]``."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(out + shortcut)


class ResNet50(nn.Module):
    """The body: images ``[B, 3, H, W]`` to features ``[B, 2048, ceil(H / 32), ceil(W / 32)]``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        in_channels = channels = 64
        for stage, blocks in enumerate(STAGES, 1):
            layer = nn.Sequential()
            for index in range(blocks):
                layer.append(Bottleneck(in_channels, channels, stride=2 if stage > 1 and index == 0 else 1))
                in_channels = EXPANSION * channels
            self.add_module(f"layer{stage}", layer)
            channels *= 2

    def forward(self, image: Tensor) -> Tensor:
        """Map images to the features before the pooling."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(image))), 3, stride=2, padding=1)
        for layer in self.children():
            if isinstance(layer, nn.Sequential):
                x = layer(x)
        return x


class DeepMAR(nn.Module):
    """ResNet-50, the mean over the image, and a linear layer: 23.6 million parameters.

    Args:
        attributes: Width of the output: 35 of PETA, each a logit of its own.
    """

    def __init__(self, attributes: int = 35) -> None:
        super().__init__()
        self.base = ResNet50()
        self.classifier = nn.Linear(2048, attributes)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``[B, 3, 224, 224]``, normalized as ImageNet's, to logits ``[B, attributes]``."""
        x = self.base(image)
        x = functional.avg_pool2d(x, INPUT_SIZE // 32)
        x = functional.dropout(x.view(x.size(0), -1), training=self.training)
        logits: Tensor = self.classifier(x)
        return logits
