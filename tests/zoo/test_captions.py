"""The caption embedding is the same to the bit everywhere, and order counts."""

from __future__ import annotations

import hashlib

import pytest
import torch
from zoo.captions import NUM_TOKENS, POOLED_WIDTH, WIDTH, Token, embed, tokenize


def _digest(caption: str) -> str:
    embedding = embed(caption)
    data = (
        embedding.context.numpy().astype("<f4").tobytes() + embedding.pooled.numpy().astype("<f4").tobytes()
    )
    return hashlib.sha256(data).hexdigest()[:16]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", "29e288be21c63951"),
        ("a large striped red circle at the top left, on plain sky with shadows", "f0b783067fa6d331"),
        ('the word "SUN" in bold yellow at the top', "75d65a69559861c4"),
    ],
)
def test_embeddings_are_fixed_to_the_bit(caption, expected):
    assert _digest(caption) == expected


@pytest.mark.parametrize("caption", ["", "red circle", "a, b, c. d; " * 30, "snow \u96ea \N{SNOWMAN}"])
def test_shapes_and_types_do_not_depend_on_the_caption(caption):
    embedding = embed(caption)
    assert embedding.context.shape == (1, NUM_TOKENS, WIDTH)
    assert embedding.pooled.shape == (1, POOLED_WIDTH)
    assert embedding.context.dtype == embedding.pooled.dtype == torch.float32
    assert torch.isfinite(embedding.context).all()


def test_order_counts():
    one, other = embed("red circle left of blue square"), embed("blue square left of red circle")
    assert not torch.equal(one.context, other.context)
    assert not torch.equal(one.pooled, other.pooled)


def test_a_repeated_word_differs_by_its_place():
    context = embed("red, red").context[0]
    assert not torch.equal(context[0], context[1])


def test_a_word_knows_its_clause():
    one, other = embed("a red ring").context[0, 0], embed("a red star").context[0, 0]
    assert torch.equal(one[:128], other[:128])
    assert not torch.equal(one[128:192], other[128:192])


def test_letters_of_a_word_differ_by_place():
    assert [token.text for token in tokenize('the word "EGG"')] == ["word", '"E"0', '"G"1', '"G"2']


def test_clauses_and_slots_are_counted_without_fillers():
    assert tokenize("a red ring at the top, on sky") == [
        Token("red", 0, 0),
        Token("ring", 0, 1),
        Token("top", 0, 2),
        Token("sky", 1, 0),
    ]


def test_a_quoted_filler_letter_is_kept():
    assert [token.text for token in tokenize('the letter "A"')] == ["letter", '"A"0']


def test_unknown_words_get_vectors_of_their_own():
    assert not torch.equal(embed("zyx").context[0, 0], embed("xyz").context[0, 0])


def test_the_empty_caption_is_all_padding():
    assert torch.equal(embed("").context[0, 5:], embed("a red ring at the top, sky, one").context[0, 5:])
    assert not embed("").pooled.any()


def test_entries_have_about_unit_variance():
    embedding = embed("a large striped red circle at the top left, on plain sky with shadows")
    assert 0.93 < embedding.context.std() < 1.07
    assert 0.7 < embedding.pooled.std() < 1.4
