"""NASNet-A-Large in plain torch.

The parameter names and shapes are those of the public PyTorch port, so that its checkpoint (1001 classes, the first one
the background) loads with ``strict=True``. The cells are those of Zoph et al., "Learning Transferable Architectures for
Scalable Image Recognition" (CVPR 2018), appendix A: a *normal* cell keeps the resolution, a *reduction* cell halves it.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["INPUT_SIZE", "NASNetALarge"]

INPUT_SIZE = 331
CELLS_PER_STAGE = 6


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Build the one kind of batch normalization that the network uses."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


def pointwise(in_channels: int, channels: int) -> nn.Sequential:
    """Build ReLU, 1x1 convolution, batch normalization: ``[B, in_channels, H, W]`` to ``[B, channels, H, W]``."""
    conv = nn.Conv2d(in_channels, channels, 1, bias=False)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=conv, bn=batch_norm(channels)))


def separable(in_channels: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    """Build a depthwise convolution and the 1x1 convolution that mixes its channels, both without bias."""
    depthwise = nn.Conv2d(in_channels, in_channels, kernel, stride, padding=kernel // 2, groups=in_channels, bias=False)
    return nn.Sequential(
        OrderedDict(depthwise_conv2d=depthwise, pointwise_conv2d=nn.Conv2d(in_channels, channels, 1, bias=False))
    )


def pad_begin(x: Tensor) -> Tensor:
    """Add one zero row on top and one zero column on the left: ``[B, C, H, W]`` to ``[B, C, H + 1, W + 1]``."""
    # With its value written out, the exported Pad has it as an input, as that of the public port has.
    return functional.pad(x, (1, 0, 1, 0), value=0.0)


def pad_end(x: Tensor) -> Tensor:
    """Add one zero row at the bottom and one zero column on the right: ``[B, C, H, W]`` to ``[B, C, H + 1, W + 1]``."""
    return functional.pad(x, (0, 1, 0, 1), value=0.0)


def crop_begin(x: Tensor) -> Tensor:
    """Drop the first row and the first column: ``[B, C, H, W]`` to ``[B, C, H - 1, W - 1]``."""
    return x[:, :, 1:, 1:]


class SeparableBranch(nn.Module):
    """Twice ReLU, separable convolution, batch normalization; the first convolution carries the stride.

    With ``shift``, the input gets a zero row and column at the begin, and the first output row and column are dropped.
    On an even size that moves a window of stride 2 by one pixel, to where TensorFlow's "SAME" padding puts it. At
    stride 1 it changes nothing, but the public port does it there too, and the exported graph shows it.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1, *, shift: bool = False) -> None:
        super().__init__()
        self.shift = shift
        self.separable_1 = separable(in_channels, channels, kernel, stride)
        self.bn_sep_1 = batch_norm(channels)
        self.separable_2 = separable(channels, channels, kernel, 1)
        self.bn_sep_2 = batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, in_channels, H, W]`` to ``[B, channels, ceil(H / stride), ceil(W / stride)]``."""
        x = functional.relu(x)
        x = crop_begin(self.separable_1(pad_begin(x))) if self.shift else self.separable_1(x)
        x = self.separable_2(functional.relu(self.bn_sep_1(x)))
        out: Tensor = self.bn_sep_2(x)
        return out


class ShiftedPool(nn.Module):
    """A strided pooling whose window is moved by one pixel, as in `SeparableBranch`."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C, H / 2, W / 2]``, for even sizes."""
        return crop_begin(self.pool(pad_begin(x)))


def average_pool(stride: int) -> nn.AvgPool2d:
    """Build the 3x3 average pooling of the cells, which leaves the padding out of the mean."""
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


def every_second(x: Tensor) -> Tensor:
    """Keep every second row and column: ``[B, C, H, W]`` to ``[B, C, ceil(H / 2), ceil(W / 2)]``."""
    return functional.avg_pool2d(x, 1, stride=2, count_include_pad=False)


class Fit(Enum):
    """How a cell brings its second input, the one from further back, to its own width and resolution."""

    NONE = "as it is"
    POINTWISE = "1x1 convolution"
    HALVE = "factorized reduction: two 1x1 convolutions on grids that lie one pixel apart"


class Cell(nn.Module):
    """What all cells share: two inputs are brought to ``channels``, then `combine` builds the blocks.

    Args:
        in_channels: Channels of the previous cell's output.
        prev_channels: Channels of the input from further back.
        channels: Width inside of the cell.
        fit: What happens to the input from further back.
    """

    def __init__(self, in_channels: int, prev_channels: int, channels: int, fit: Fit) -> None:
        super().__init__()
        self.fit = fit
        if fit is Fit.POINTWISE:
            self.conv_prev_1x1 = pointwise(prev_channels, channels)
        self.conv_1x1 = pointwise(in_channels, channels)
        if fit is Fit.HALVE:
            half = channels // 2
            self.path_1 = nn.Sequential(OrderedDict(conv=nn.Conv2d(prev_channels, half, 1, bias=False)))
            self.path_2 = nn.Sequential(OrderedDict(conv=nn.Conv2d(prev_channels, half, 1, bias=False)))
            self.final_path_bn = batch_norm(channels)

    def fit_prev(self, prev: Tensor) -> Tensor:
        """Map ``[B, prev_channels, H', W']`` to ``[B, channels, H, W]`` (unchanged with `Fit.NONE`)."""
        if self.fit is Fit.POINTWISE:
            prev = self.conv_prev_1x1(prev)
        elif self.fit is Fit.HALVE:
            prev = functional.relu(prev)
            path_1 = self.path_1(every_second(prev))
            path_2 = self.path_2(every_second(crop_begin(pad_end(prev))))
            prev = self.final_path_bn(torch.cat([path_1, path_2], 1))
        return prev

    def forward(self, x: Tensor, prev: Tensor) -> Tensor:
        """Map ``x`` ``[B, in_channels, H, W]`` and ``prev`` ``[B, prev_channels, H', W']`` to the cell's output."""
        p = self.fit_prev(prev)
        return self.combine(self.conv_1x1(x), p)

    def combine(self, h: Tensor, p: Tensor) -> Tensor:
        """Build the five blocks from ``h`` (of the previous cell) and ``p`` (from further back), and join them."""
        raise NotImplementedError


class NormalCell(Cell):
    """A cell that keeps the resolution: ``6 * channels`` out."""

    def __init__(self, in_channels: int, prev_channels: int, channels: int, fit: Fit) -> None:
        super().__init__(in_channels, prev_channels, channels, fit)
        self.comb_iter_0_left = SeparableBranch(channels, channels, 5)
        self.comb_iter_0_right = SeparableBranch(channels, channels, 3)
        self.comb_iter_1_left = SeparableBranch(channels, channels, 5)
        self.comb_iter_1_right = SeparableBranch(channels, channels, 3)
        self.comb_iter_2_left = average_pool(1)
        self.comb_iter_3_left = average_pool(1)
        self.comb_iter_3_right = average_pool(1)
        self.comb_iter_4_left = SeparableBranch(channels, channels, 3)

    def combine(self, h: Tensor, p: Tensor) -> Tensor:
        """Map two ``[B, channels, H, W]`` to ``[B, 6 * channels, H, W]``."""
        blocks = [
            p,
            self.comb_iter_0_left(h) + self.comb_iter_0_right(p),
            self.comb_iter_1_left(p) + self.comb_iter_1_right(p),
            self.comb_iter_2_left(h) + p,
            self.comb_iter_3_left(p) + self.comb_iter_3_right(p),
            self.comb_iter_4_left(h) + h,
        ]
        return torch.cat(blocks, 1)


class ReductionCell(Cell):
    """A cell that halves the resolution: ``4 * channels`` out. ``shift`` is for even sizes, see `SeparableBranch`."""

    def __init__(self, in_channels: int, prev_channels: int, channels: int, fit: Fit, *, shift: bool = False) -> None:
        super().__init__(in_channels, prev_channels, channels, fit)
        wide = prev_channels if fit is Fit.NONE else channels
        max_pool, mean_pool = nn.MaxPool2d(3, 2, padding=1), average_pool(2)
        self.comb_iter_0_left = SeparableBranch(channels, channels, 5, 2, shift=shift)
        self.comb_iter_0_right = SeparableBranch(wide, channels, 7, 2, shift=shift)
        self.comb_iter_1_left = ShiftedPool(max_pool) if shift else max_pool
        self.comb_iter_1_right = SeparableBranch(wide, channels, 7, 2, shift=shift)
        self.comb_iter_2_left = ShiftedPool(mean_pool) if shift else mean_pool
        self.comb_iter_2_right = SeparableBranch(wide, channels, 5, 2, shift=shift)
        self.comb_iter_3_left = average_pool(1)
        self.comb_iter_4_left = SeparableBranch(channels, channels, 3, shift=shift)

    def combine(self, h: Tensor, p: Tensor) -> Tensor:
        """Map ``h`` and ``p``, ``[B, C, H, W]`` each, to ``[B, 4 * channels, ceil(H / 2), ceil(W / 2)]``."""
        block_0 = self.comb_iter_0_left(h) + self.comb_iter_0_right(p)
        pooled = self.comb_iter_1_left(h)
        block_1 = pooled + self.comb_iter_1_right(p)
        block_2 = self.comb_iter_2_left(h) + self.comb_iter_2_right(p)
        block_3 = self.comb_iter_3_left(block_0) + block_1
        block_4 = self.comb_iter_4_left(block_0) + pooled
        return torch.cat([block_1, block_2, block_3, block_4], 1)


class StemCell(ReductionCell):
    """A reduction cell right after the first convolution."""

    def forward(self, x: Tensor, prev: Tensor) -> Tensor:
        """Do as `Cell.forward`, in the other order: only the order of the exported nodes depends on it."""
        h = self.conv_1x1(x)
        return self.combine(h, self.fit_prev(prev))


class NASNetALarge(nn.Module):
    """NASNet-A (6 @ 4032): 88.8 million parameters.

    Args:
        num_classes: Width of the output.
        stem_channels: Channels of the first convolution.
        penultimate_channels: Channels before the classifier; every width in the network follows from it.
    """

    def __init__(self, num_classes: int = 1001, *, stem_channels: int = 96, penultimate_channels: int = 4032) -> None:
        super().__init__()
        width = penultimate_channels // 24
        conv0 = nn.Conv2d(3, stem_channels, 3, stride=2, bias=False)
        self.conv0 = nn.Sequential(OrderedDict(conv=conv0, bn=batch_norm(stem_channels)))
        self.cell_stem_0 = StemCell(stem_channels, stem_channels, width // 4, Fit.NONE)
        self.cell_stem_1 = StemCell(width, stem_channels, width // 2, Fit.HALVE)
        channels, prev_channels = 2 * width, width
        for stage in range(3):
            if stage:
                width *= 2
                # Only the first of the two meets an even size: 42, then 21.
                cell: Cell = ReductionCell(channels, prev_channels, width, Fit.POINTWISE, shift=stage == 1)
                self.add_module(f"reduction_cell_{stage - 1}", cell)
                channels = 4 * width
            for index in range(CELLS_PER_STAGE):
                fit = Fit.POINTWISE if index else Fit.HALVE
                cell = NormalCell(channels, prev_channels, width, fit)
                self.add_module(f"cell_{stage * CELLS_PER_STAGE + index}", cell)
                channels, prev_channels = 6 * width, channels
        self.dropout = nn.Dropout()
        self.last_linear = nn.Linear(penultimate_channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``[B, 3, 331, 331]``, in [-1, 1], to logits ``[B, num_classes]``."""
        stem = self.conv0(image)
        prev = self.cell_stem_0(stem, stem)
        x = self.cell_stem_1(prev, stem)
        for cell in self.children():
            if isinstance(cell, NormalCell):
                x, prev = cell(x, prev), x
            elif isinstance(cell, ReductionCell) and not isinstance(cell, StemCell):
                # The next cell looks back past the reduction, to the input that the reduction itself looked back to.
                x = cell(x, prev)
        x = functional.avg_pool2d(functional.relu(x), 11, stride=1)
        logits: Tensor = self.last_linear(self.dropout(x.view(x.size(0), -1)))
        return logits
