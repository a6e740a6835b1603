"""A fixed, unlearned embedding of captions: hashed word vectors, spelled letters, clause and position codes.

Flux gives text tokens no positions, so they are part of the vectors here. Every number is an integer sum of
hash bytes divided once at the end, which makes the embedding the same to the bit on every machine.

T tokens (40), W width (256).
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_TOKENS = 40
WIDTH = 256
POOLED_WIDTH = 256
_WORD, _CLAUSE, _PLACE = 128, 64, 64
_FILLERS = frozenset({"a", "an", "and", "at", "in", "is", "of", "on", "the", "with"})
_PATTERN = re.compile(r'"([^"]*)"|([^\W_]+)|([,.;])')
# Each vector entry sums four bytes: mean 4 * 127.5, variance 4 * (256**2 - 1) / 12.
_MEAN, _DEVIATION = 510, math.sqrt(4 * (256**2 - 1) / 12)
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Token:
    """A word, or one letter of quoted text; `clause` and `slot` count clauses and the tokens within one."""

    text: str
    clause: int
    slot: int


@dataclass(frozen=True)
class Embedding:
    """What the diffusion model is conditioned on."""

    context: Tensor
    """(1, T, W) float32."""
    pooled: Tensor
    """(1, W) float32."""


def tokenize(caption: str) -> list[Token]:
    """Split a caption: commas and full stops part clauses, quoted text is spelled, filler words are dropped.

    Args:
        caption: Any text. Case matters only within quotes.

    Returns:
        At most `NUM_TOKENS` tokens; what comes after them is dropped, as text encoders do.
    """
    tokens: list[Token] = []
    clause = slot = 0
    for quoted, word, stop in _PATTERN.findall(caption):
        if stop:
            clause, slot = clause + 1, 0
            continue
        for text in _spell(quoted) if quoted else [word.lower()]:
            if text not in _FILLERS and text:
                tokens.append(Token(text, clause, slot))
                slot += 1
    return tokens[:NUM_TOKENS]


def embed(caption: str) -> Embedding:
    """Embed one caption; the empty caption is the unconditional one.

    Args:
        caption: Any text; unknown words get vectors of their own.

    Returns:
        Context (1, T, W) and pooled (1, W), both float32 with entries of about unit variance.
    """
    tokens = tokenize(caption)
    rows = [_token_row(token, index, tokens) for index, token in enumerate(tokens)]
    rows += [_padding_row(index) for index in range(len(tokens), NUM_TOKENS)]
    context = torch.from_numpy(np.stack(rows)).unsqueeze(0)
    return Embedding(context=context, pooled=torch.from_numpy(_pool(tokens)).unsqueeze(0))


def _spell(text: str) -> list[str]:
    return [f'"{letter}"{place}' for place, letter in enumerate(text.replace(" ", ""))]


@cache
def _hashed(key: str, width: int) -> Integers:
    """A pseudo-random vector fixed by its key: (width,) integers of mean 0."""
    data = np.frombuffer(hashlib.shake_256(key.encode("utf-8")).digest(4 * width), np.uint8)
    vector: Integers = data.astype(np.int64).reshape(4, width).sum(axis=0) - _MEAN
    return vector


def _scaled(vector: Integers, num_terms: int) -> NDArray[np.float32]:
    return (vector / (_DEVIATION * math.sqrt(max(1, num_terms)))).astype(np.float32)


def _token_row(token: Token, index: int, tokens: list[Token]) -> NDArray[np.float32]:
    mates = [other.text for other in tokens if other.clause == token.clause]
    summary = _total([_hashed(f"clause/{text}", _CLAUSE) for text in mates], _CLAUSE)
    return np.concatenate(
        [
            _scaled(_hashed(f"word/{token.text}", _WORD), 1),
            _scaled(summary, len(mates)),
            _scaled(_place_code(index, token.clause, token.slot), 1),
        ]
    )


def _padding_row(index: int) -> NDArray[np.float32]:
    place = _hashed(f"padding/{index}", _CLAUSE + _PLACE)
    return np.concatenate([_scaled(_hashed("padding", _WORD), 1), _scaled(place, 1)])


def _place_code(index: int, clause: int, slot: int) -> Integers:
    half = _PLACE // 2
    return np.concatenate([_hashed(f"index/{index}", half), _hashed(f"clause/{clause}/{slot}", half)])


def _pool(tokens: list[Token]) -> NDArray[np.float32]:
    """Half a bag of words, half a sum where token i is turned by i places, so that order counts."""
    half = POOLED_WIDTH // 2
    bag = _total([_hashed(f"pooled/{token.text}", half) for token in tokens], half)
    ordered = [np.roll(_hashed(f"ordered/{token.text}", half), index) for index, token in enumerate(tokens)]
    return _scaled(np.concatenate([bag, _total(ordered, half)]), len(tokens))


def _total(vectors: list[Integers], width: int) -> Integers:
    total = np.zeros(width, np.int64)
    for vector in vectors:
        total += vector
    return total
