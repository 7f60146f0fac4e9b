"""Vision transformers by hand, from their weights alone: attention probabilities, and both explainers of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer


@dataclass
class Block:
    """Layers of a block: ``qkv`` and ``proj`` as pairs of weight and bias, with what is computed on the way."""

    ln_1: nn.LayerNorm
    qkv: tuple[Tensor, Tensor]
    proj: tuple[Tensor, Tensor]
    ln_2: nn.LayerNorm
    fc_1: nn.Linear
    fc_2: nn.Linear
    heads: int
    seen: dict[str, Tensor] = field(default_factory=dict)

    def forward(self, x: Tensor) -> Tensor:
        """One image's tokens, N×C."""
        seen = self.seen
        seen["x"], seen["normed"] = x, normed(x, self.ln_1)
        parts = (seen["normed"] @ self.qkv[0].T + self.qkv[1]).chunk(3, dim=1)
        width = x.shape[1] // self.heads
        seen["q"], seen["k"], seen["v"] = (
            torch.stack([part[:, h * width : (h + 1) * width] for h in range(self.heads)]) for part in parts
        )
        seen["scores"] = torch.einsum("hid,hjd->hij", seen["q"], seen["k"])
        powers = (seen["scores"] / math.sqrt(width)).exp()
        seen["A"] = powers / powers.sum(dim=2, keepdim=True)
        seen["mixed"] = torch.einsum("hij,hjd->hid", seen["A"], seen["v"])
        seen["joined"] = torch.cat(list(seen["mixed"]), dim=1)
        seen["attended"] = seen["joined"] @ self.proj[0].T + self.proj[1]
        seen["middle"] = x + seen["attended"]
        seen["normed_2"] = normed(seen["middle"], self.ln_2)
        hidden = seen["normed_2"] @ self.fc_1.weight.T + self.fc_1.bias
        seen["act"] = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        seen["mlp"] = seen["act"] @ self.fc_2.weight.T + self.fc_2.bias
        return seen["middle"] + seen["mlp"]

    def relevance(self, given: Tensor) -> Tensor:
        """Of the block's input, given that of its output; that of A is kept in ``seen["R"]``."""
        seen = self.seen
        straight, through = of_sum(seen["middle"], seen["mlp"], given)
        through = of_linear(seen["act"], self.fc_2.weight, through)
        straight = straight + of_linear(seen["normed_2"], self.fc_1.weight, through)
        straight, through = of_sum(seen["x"], seen["attended"], straight)
        through = of_linear(seen["joined"], self.proj[0], through)
        ratio = divided(torch.stack(through.chunk(self.heads, dim=1)), seen["mixed"])
        seen["R"] = seen["A"] * torch.einsum("hid,hjd->hij", ratio, seen["v"]) / 2
        of_v = seen["v"] * torch.einsum("hij,hid->hjd", seen["A"], ratio) / 2
        ratio = divided(seen["R"], seen["scores"])
        of_q = seen["q"] * torch.einsum("hij,hjd->hid", ratio, seen["k"]) / 2
        of_k = seen["k"] * torch.einsum("hij,hid->hjd", ratio, seen["q"]) / 2
        joined = torch.cat([torch.cat(list(part), dim=1) for part in (of_q, of_k, of_v)], dim=1)
        return straight + of_linear(seen["normed"], self.qkv[0], joined)


def normed(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias


def divided(relevance: Tensor, z: Tensor) -> Tensor:
    return relevance / (z + 1e-9 * torch.where(z >= 0, 1.0, -1.0))


def of_linear(x: Tensor, weight: Tensor, relevance: Tensor) -> Tensor:
    """Shares by positive products ``x_j w_ij``, without the bias, from all of them one by one."""
    products = (x[:, None, :] * weight).clamp(min=0)
    return (products * divided(relevance, products.sum(dim=2))[:, :, None]).sum(dim=1)


def of_sum(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of both summands, scaled so that they sum to the whole."""
    ratio = divided(relevance, a + b)
    of_a, of_b = a * ratio, b * ratio
    size = of_a.sum().abs() + of_b.sum().abs()
    whole = relevance.sum()
    scaled = (part * (part.sum().abs() / size * whole / part.sum()) for part in (of_a, of_b))
    return tuple(scaled)  # type: ignore[return-value]


@dataclass
class ByHand:
    """A transformer in parts.

    Attributes:
        tokens: of an image 1×C×H×W, N×C.
        blocks: of the encoder.
        norm: of what the heads read.
        heads: linear layers and the token that each reads, None for the mean of all; the logits are their mean.
        grid: height and width in tokens.
    """

    tokens: Callable[[Tensor], Tensor]
    blocks: list[Block]
    norm: nn.LayerNorm
    heads: list[tuple[nn.Linear, int | None]]
    grid: tuple[int, int]

    def logits(self, image: Tensor) -> Tensor:
        """K logits of one image; the blocks keep what they compute."""
        x = self.tokens(image)
        for block in self.blocks:
            x = block.forward(x)
        self.last = x
        self.parts = [(self.read(token) @ head.weight.T + head.bias)[0] for head, token in self.heads]
        return sum(self.parts) / len(self.parts)  # type: ignore[return-value]

    def read(self, token: int | None) -> Tensor:
        """What a head reads, 1×C."""
        return normed(self.last.mean(dim=0)[None] if token is None else self.last[token][None], self.norm)

    def rows(self) -> list[int]:
        """The tokens that are read."""
        return [token for _, token in self.heads if token is not None] or list(range(len(self.last)))

    def on_image(self, rollout: np.ndarray[Any, Any], image: Tensor) -> Tensor:
        """The mean of the rows that are read, upsampled and shared by channels, 1×C×H×W."""
        row = np.zeros(rollout.shape[1])
        for token in self.rows():
            row += rollout[token] / len(self.rows())
        coarse = torch.from_numpy(row[len(row) - math.prod(self.grid) :].reshape(self.grid))
        fine = F.interpolate(coarse[None, None], image.shape[2:], mode="bilinear")
        return fine.repeat(1, image.shape[1], 1, 1) / image.shape[1]

    def rolled_out(self, image: Tensor, fusion: str) -> Tensor:
        """Attention rollout of one image, as loops over tokens."""
        with torch.no_grad():
            self.logits(image)
        joint = np.eye(len(self.last))
        for block in self.blocks:
            fused = getattr(np, fusion)(block.seen["A"].numpy(), axis=0)
            count = len(fused)
            mixed = np.zeros((count, count))
            for i in range(count):
                for j in range(count):
                    mixed[i, j] = 0.5 * fused[i, j] + 0.5 * (i == j)
                mixed[i] /= mixed[i].sum()
            joint = np.array([[sum(mixed[i] * joint[:, j]) for j in range(count)] for i in range(count)])
        return self.on_image(joint, image)

    def attributed(self, image: Tensor, target: int) -> Tensor:
        """Transformer attribution of one image, from relevances and gradients of its own pass."""
        image = image.clone().requires_grad_()
        logits = self.logits(image)
        gradients = torch.autograd.grad(logits[target], [block.seen["A"] for block in self.blocks])
        with torch.no_grad():
            given = F.one_hot(torch.tensor(target), len(logits)).to(logits)
            of_parts = [given] if len(self.parts) == 1 else list(of_sum(*self.parts, given))
            relevance = torch.zeros_like(self.last)
            for (head, token), part in zip(self.heads, of_parts, strict=True):
                of_read = of_linear(self.read(token), head.weight, part[None])[0]
                if token is None:
                    relevance += self.last * divided(of_read, self.last.mean(dim=0)) / len(self.last)
                else:
                    relevance[token] += of_read
            for block in reversed(self.blocks):
                relevance = block.relevance(relevance)
            joint = np.eye(len(self.last))
            for block, gradient in zip(self.blocks, gradients, strict=True):
                part = (gradient * block.seen["R"]).clamp(min=0).mean(dim=0).numpy()
                joint = (np.eye(len(part)) + part) @ joint
        return self.on_image(joint, image.detach())


def of_torchvision(network: VisionTransformer) -> ByHand:
    """torchvision's, from ``in_proj_weight`` and so on."""

    def tokens(image: Tensor) -> Tensor:
        patches = network.conv_proj(image)[0].flatten(1).T
        return torch.cat([network.class_token[0], patches]) + network.encoder.pos_embedding[0]

    blocks = [
        Block(
            layer.ln_1,
            (layer.self_attention.in_proj_weight, layer.self_attention.in_proj_bias),
            (layer.self_attention.out_proj.weight, layer.self_attention.out_proj.bias),
            layer.ln_2,
            layer.mlp[0],
            layer.mlp[3],
            layer.self_attention.num_heads,
        )
        for layer in network.encoder.layers
    ]
    side = network.image_size // network.patch_size
    return ByHand(tokens, blocks, network.encoder.ln, [(network.heads.head, 0)], (side, side))  # type: ignore[list-item]


def of_timm(network: Any) -> ByHand:
    """timm's ViT and DeiT, with class, distillation or no token in front."""
    distilled, pooled = hasattr(network, "head_dist"), network.global_pool == "avg"

    def tokens(image: Tensor) -> Tensor:
        patches = network.patch_embed.proj(image)[0].flatten(1).T
        front = [] if network.cls_token is None else [network.cls_token[0]]
        front += [network.dist_token[0]] if distilled else []
        return torch.cat([*front, patches]) + network.pos_embed[0]  # type: ignore[no-any-return]

    blocks = [
        Block(
            layer.norm1,
            (layer.attn.qkv.weight, layer.attn.qkv.bias),
            (layer.attn.proj.weight, layer.attn.proj.bias),
            layer.norm2,
            layer.mlp.fc1,
            layer.mlp.fc2,
            layer.attn.num_heads,
        )
        for layer in network.blocks
    ]
    heads = [(network.head, None if pooled else 0), *([(network.head_dist, 1)] if distilled else [])]
    norm = network.fc_norm if pooled else network.norm
    return ByHand(tokens, blocks, norm, heads, network.patch_embed.grid_size)
