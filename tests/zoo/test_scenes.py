"""Scenes and captions are fixed for ever; pictures are fixed up to the text renderer's build."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from zoo.captions import tokenize
from zoo.rendering import render
from zoo.scenes import caption, sample_scene, split_of
from zoo.shapes import outline
from zoo.vocabulary import SHAPES, TEXTURES

# Means of the red, green and blue channels over the four quadrants of some 64-pixel pictures.
GOLDEN_QUADRANTS = {
    0: [197, 77, 77, 73, 53, 51, 70, 55, 51, 64, 55, 51],
    8: [206, 203, 211, 206, 203, 211, 137, 189, 163, 150, 193, 174],
    17: [119, 92, 58, 116, 94, 83, 77, 51, 65, 76, 62, 91],
}


def _fingerprint(seed: int, split: str) -> str:
    lines = []
    for index in range(200):
        scene = sample_scene(seed, index, split)
        lines.append(f"{caption(scene)}|{scene}")
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()[:16]


@pytest.mark.parametrize(
    ("seed", "split", "expected"), [(0, "train", "61c9bd2359879e3b"), (1, "held-out", "8b95966c9c868e60")]
)
def test_scenes_never_change(seed, split, expected):
    assert _fingerprint(seed, split) == expected


@pytest.mark.parametrize("index", sorted(GOLDEN_QUADRANTS))
def test_pictures_stay_nearly_the_same(index):
    picture = render(sample_scene(0, index), 64).astype(np.float64)
    quadrants = picture.reshape(2, 32, 2, 32, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(quadrants.ravel(), GOLDEN_QUADRANTS[index], atol=2.5)


def test_a_scene_looks_the_same_at_every_size():
    scene = sample_scene(0, 3)
    large = render(scene, 512).astype(np.float64).reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))
    small = render(scene, 64).astype(np.float64)
    assert np.abs(large - small).mean() < 6.0


@pytest.mark.parametrize("size", [64, 100, 512])
def test_a_picture_has_the_asked_size(size):
    picture = render(sample_scene(0, 0), size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("size", [63, 513])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(ValueError, match=f"got size {size}; expected 64 to 512"):
        render(sample_scene(0, 0), size)


def _is_flat(scene):
    textures = {item.texture for item in scene.items}
    return scene.background.kind == "plain" and textures == {"plain"} and not scene.has_shadows


def test_edges_are_antialiased():
    scene = next(scene for scene in (sample_scene(0, i) for i in range(5000)) if _is_flat(scene))
    picture = render(scene, 128)
    # Without antialiasing a flat scene has only as many colours as it has surfaces.
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 12


def test_splits_share_no_caption():
    train = {caption(sample_scene(0, index, "train")) for index in range(300)}
    held_out = {caption(sample_scene(0, index, "held-out")) for index in range(100)}
    assert not train & held_out
    assert all(split_of(sample_scene(5, index, "held-out")) == "held-out" for index in range(20))


def test_scenes_differ_by_index_and_by_seed():
    scenes = [sample_scene(seed, index) for seed in range(3) for index in range(30)]
    assert len(set(scenes)) == len(scenes)


def test_a_negative_index_is_refused():
    with pytest.raises(ValueError, match="index -1"):
        sample_scene(0, -1)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match='split "test"'):
        sample_scene(0, 0, "test")


def test_all_shapes_textures_and_counts_occur():
    scenes = [sample_scene(2, index) for index in range(300)]
    items = [item for scene in scenes for item in scene.items]
    assert {item.shape for item in items} == set(SHAPES)
    assert {item.texture for item in items} == set(TEXTURES)
    assert {len(scene.items) for scene in scenes} == {1, 2, 3, 4}
    assert {len(scene.lettering.text) for scene in scenes if scene.lettering} == {1, 3, 4, 5}


def test_captions_name_what_the_attributes_say():
    for index in range(50):
        scene = sample_scene(3, index)
        words = caption(scene)
        assert all(
            item.colour in words and item.shape in words and item.position in words for item in scene.items
        )
        assert scene.lettering is None or f'"{scene.lettering.text}"' in words
        assert scene.background.kind.split()[-1] in words


def test_no_caption_is_cut_off():
    for index in range(2000):
        assert tokenize(caption(sample_scene(4, index)) + ", end")[-1].text == "end"


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fit_their_radius(shape):
    for part in outline(shape).placed((0.0, 0.0), 1.0, 30.0):
        assert 0.5 < np.abs(part).max() < 1.3


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match='got shape "blob"'):
        outline("blob")
