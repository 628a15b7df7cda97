"""LV-ViT-S in plain torch: a vision transformer of 16 blocks.

The parameter names and shapes are those of the public PyTorch code, so that its checkpoint loads with ``strict=True``.
The network is that of Jiang et al., "All Tokens Matter: Token Labeling for Training Better Vision Transformers"
(NeurIPS 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["INPUT_SIZE", "LVViTS"]

INPUT_SIZE = 224
PATCH_SIZE = 16
# What a block adds is divided by this: the residual path is kept twice as strong.
SKIP_LAMBDA = 2.0
# The classes of the patches count half of the class token's.
AUX_WEIGHT = 0.5


class PatchEmbed(nn.Module):
    """Four convolutions that make patches of 16 x 16 pixels: ``[B, 3, H, W]`` to ``[B, width, H / 16, W / 16]``."""

    def __init__(self, width: int, channels: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.proj = nn.Conv2d(channels, width, PATCH_SIZE // 2, stride=PATCH_SIZE // 2)

    def forward(self, image: Tensor) -> Tensor:
        """Map images to a grid of patches."""
        x = self.relu(self.bn1(self.conv1(image)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        patches: Tensor = self.proj(x)
        return patches


class Attention(nn.Module):
    """Self-attention of several heads: ``[B, tokens, width]`` to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.scale = self.head_width**-0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Let each token take from the others what its softmax over all of them weighs."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = self.attn_drop(((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1))
        x = (weights @ v).transpose(1, 2).reshape(batch, tokens, self.heads * self.head_width)
        out: Tensor = self.proj_drop(self.proj(x))
        return out


class MLP(nn.Module):
    """Two linear layers with a GELU between them: ``[B, tokens, width]`` to the same."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)
        self.drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map each token by itself."""
        out: Tensor = self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
        return out


class Block(nn.Module):
    """Attention and MLP, each behind a layer normalization and beside a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, tokens, width]`` to the same."""
        x = x + self.attn(self.norm1(x)) / SKIP_LAMBDA
        return x + self.mlp(self.norm2(x)) / SKIP_LAMBDA


class LVViTS(nn.Module):
    """LV-ViT-S: 26.2 million parameters.

    Args:
        num_classes: Width of the output.
        depth: Count of blocks.
        width: Of a token.
        heads: Of each attention.
        hidden: Width inside each MLP.
    """

    def __init__(
        self, num_classes: int = 1000, *, depth: int = 16, width: int = 384, heads: int = 6, hidden: int = 1152
    ) -> None:
        super().__init__()
        patches = (INPUT_SIZE // PATCH_SIZE) ** 2
        self.patch_embed = PatchEmbed(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + 1, width))
        self.pos_drop = nn.Dropout(0.0)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.aux_head = nn.Linear(width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``[B, 3, 224, 224]``, normalized as ImageNet's, to logits ``[B, num_classes]``."""
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.pos_drop(x + self.pos_embed)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        logits: Tensor = self.head(x[:, 0])
        return logits + AUX_WEIGHT * self.aux_head(x[:, 1:]).max(1)[0]
