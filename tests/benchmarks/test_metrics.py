"""The metrics against cases that can be worked out by hand, against independent code, and on bad input."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest
import torch

pytest.importorskip("skimage", reason="scikit-image, which measures PSNR and SSIM, is not installed")

from metrics.accuracy import KINDS, find_attributes
from metrics.fidelity import latent_error, psnr, ssim
from metrics.frechet import Gaussian, fit_gaussian, frechet_difference, frechet_distance
from metrics.intervals import mean_interval
from metrics.labels import HEAD, HEADS, NOTHING, SITES, UNNAMED, label_scenes
from metrics.observation import Observation
from metrics.perceptual import perceptual_distance
from scipy.linalg import sqrtm
from scipy.stats import bootstrap
from zoo.scenes import caption, sample_scene

SCENES = [sample_scene(0, index, "held-out") for index in range(40)]


def pictures(value: float, side: int = 16) -> torch.Tensor:
    return torch.full((2, side, side, 3), value)


def samples(seed: int, number: int = 400, features: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, features))


def seen(*maps: torch.Tensor) -> Observation:
    return Observation(maps=maps, reading={}, summary=torch.zeros(len(maps[0]), 64))


# --- closeness -------------------------------------------------------------------------------------------------


def test_an_error_of_a_tenth_everywhere_is_20_db():
    assert psnr(pictures(0.5), pictures(0.6)).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)


def test_identical_pictures_have_infinite_psnr_and_an_ssim_of_one():
    picture = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    assert psnr(picture, picture.clone()).tolist() == [math.inf]
    assert ssim(picture, picture.clone()).tolist() == pytest.approx([1.0])


def test_what_a_saved_picture_would_cut_off_does_not_count():
    assert psnr(pictures(1.7), pictures(1.0)).tolist() == [math.inf, math.inf]


def test_ssim_of_flat_pictures_is_its_luminance_term():
    # Eq. 13 with no variance: (2 a b + C1) / (a^2 + b^2 + C1), C1 = 0.01^2.
    expected = (2 * 0.5 * 0.7 + 1e-4) / (0.5**2 + 0.7**2 + 1e-4)
    assert ssim(pictures(0.5), pictures(0.7)).tolist() == pytest.approx([expected] * 2, rel=1e-6)


def test_latents_twice_as_large_have_an_error_of_one():
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert latent_error(2.0 * latents, latents).tolist() == pytest.approx([1.0] * 3)


def test_orthogonal_features_are_two_apart_at_any_length():
    first, second = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    first[:, 0], second[:, 1] = 5.0, 0.1
    assert perceptual_distance(seen(first), seen(second)).tolist() == pytest.approx([2.0])
    assert perceptual_distance(seen(first), seen(first)).tolist() == [0.0]


def test_stages_weigh_alike_in_the_perceptual_distance():
    same, first, second = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    first[:, 0], second[:, 1] = 1.0, 1.0
    assert perceptual_distance(seen(same, first), seen(same, second)).tolist() == pytest.approx([1.0])


# --- captions --------------------------------------------------------------------------------------------------


def test_a_reading_equal_to_the_labels_finds_every_attribute():
    labels = label_scenes(SCENES)
    findings = find_attributes(labels, labels)
    assert findings.accuracy().tolist() == [1.0] * len(SCENES)
    assert set(findings.by_kind()) == set(KINDS)


def test_every_word_of_an_answer_stands_in_the_caption():
    labels = label_scenes(SCENES)
    for index, scene in enumerate(SCENES):
        for head in HEADS:
            answers = [head.words[answer] for answer in labels[head.name][index] if answer != UNNAMED]
            said = {*"+".join(answers).split("+")} - {NOTHING, "plain", "upright", ""}
            assert all(word in caption(scene) for word in said), (head.name, said)


def test_the_attributes_of_a_scene_are_counted_by_hand():
    # One round item, no lettering, a background of two colours:
    # place, shape, colour, texture, size; background, two colours, relief.
    scene = next(
        scene
        for scene in (sample_scene(3, index) for index in count())
        if len(scene.items) == 1
        and scene.items[0].shape == "circle"
        and scene.lettering is None
        and scene.background.kind != "plain"
    )
    labels = label_scenes([scene])
    assert sum(int(named.sum()) for named in find_attributes(labels, labels).named.values()) == 9


def test_an_item_that_is_not_seen_has_no_attributes():
    labels = label_scenes(SCENES)
    nothing = torch.full_like(labels["shape"], HEAD["shape"].words.index(NOTHING))
    findings = find_attributes({**labels, "shape": nothing}, labels)
    assert [findings.by_kind()[kind] for kind in ("place", "shape", "colour", "texture", "size", "tilt")] == [
        0
    ] * 6
    assert findings.by_kind()["text"] == findings.by_kind()["relief"] == 1.0


def test_one_wrong_backdrop_colour_of_two_leaves_the_other_found():
    words = HEAD["backdrop"].words
    named, read = (torch.tensor([[words.index(answer)]]) for answer in ("ivory+mint", "mint+sky"))
    labels = {**label_scenes(SCENES[:1]), "backdrop": named}
    assert find_attributes({**labels, "backdrop": read}, labels).by_kind()["backdrop"] == 0.5


def test_a_site_has_one_label_per_scene():
    labels = label_scenes(SCENES)
    assert {head.name: tuple(labels[head.name].shape) for head in HEADS} == {
        head.name: (len(SCENES), len(SITES[head.site])) for head in HEADS
    }


# --- Frechet distance ------------------------------------------------------------------------------------------


def test_gaussians_with_parallel_axes_have_a_distance_in_closed_form():
    first = Gaussian(np.array([0.0, 1.0]), np.diag([4.0, 9.0]))
    second = Gaussian(np.array([3.0, 1.0]), np.diag([1.0, 1.0]))
    # 3^2 + (2 - 1)^2 + (3 - 1)^2
    assert float(frechet_distance(first, second)) == pytest.approx(14.0)


def test_the_distance_agrees_with_a_matrix_root_of_the_product():
    first, second = fit_gaussian(samples(0)), fit_gaussian(samples(1) @ np.triu(np.ones((4, 4))) + 0.3)
    root = sqrtm(first.covariance @ second.covariance).real
    expected = np.square(first.mean - second.mean).sum() + np.trace(
        first.covariance + second.covariance - 2.0 * root
    )
    assert float(frechet_distance(first, second)) == pytest.approx(float(expected), rel=1e-9)


def test_a_set_is_at_no_distance_from_itself():
    gaussian = fit_gaussian(samples(0))
    assert float(frechet_distance(gaussian, gaussian)) == pytest.approx(0.0, abs=1e-12)


def test_two_identical_runs_differ_by_exactly_zero():
    result = frechet_difference(samples(1), samples(1), fit_gaussian(samples(2)))
    assert (result.value, result.low, result.high) == (0.0, 0.0, 0.0)


def test_a_run_that_moved_away_from_the_data_is_worse_beyond_its_interval():
    run = samples(1)
    moved = frechet_difference(run + 0.3, run, fit_gaussian(samples(2)))
    assert moved.is_above_zero
    assert moved.low < moved.value < moved.high


def test_the_interval_agrees_with_that_of_a_general_bootstrap():
    run, reference, data = samples(1) * 1.1, samples(1), fit_gaussian(samples(2))

    def statistic(indices: np.ndarray) -> float:
        chosen = indices.astype(int)
        far, near = (frechet_distance(data, fit_gaussian(values[chosen])) for values in (run, reference))
        return float(far - near)

    ours = frechet_difference(run, reference, data)
    general = bootstrap(
        (np.arange(len(run)),), statistic, vectorized=False, n_resamples=500, method="basic",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    width = general.high - general.low
    assert (ours.low, ours.high) == pytest.approx((general.low, general.high), abs=0.2 * width)


def test_the_interval_holds_the_true_difference_at_about_its_level():
    # Data N(0, 1) in each of 3 features; the run's deviation is 1.2: true distances 3 * 0.2^2 and 0.
    data = Gaussian(np.zeros(3), np.eye(3))
    results = [frechet_difference(1.2 * (run := samples(seed, 300, 3)), run, data) for seed in range(20)]
    assert sum(result.low <= 0.12 <= result.high for result in results) >= 17


# --- intervals -------------------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=2000)
    result = mean_interval(values)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert result.value == pytest.approx(values.mean())
    assert (result.low, result.high) == pytest.approx(
        (result.value - half, result.value + half), abs=0.15 * half
    )


def test_equal_values_have_an_interval_of_no_width():
    result = mean_interval(torch.full((5,), 0.25))
    assert (result.value, result.low, result.high) == (0.25, 0.25, 0.25)


def test_an_interval_is_the_same_at_every_call():
    values = np.random.default_rng(0).normal(size=50)
    assert mean_interval(values) == mean_interval(values)


# --- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_pictures_of_different_sizes_are_refused(measure):
    with pytest.raises(ValueError, match=r"shapes \(2, 16, 16, 3\) and \(2, 24, 24, 3\).*same size"):
        measure(pictures(0.5), pictures(0.5, side=24))


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_a_value_that_is_not_finite_is_refused(measure):
    broken = pictures(0.5)
    broken[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 1536 values that are not finite"):
        measure(broken, pictures(0.5))


def test_eight_bit_pictures_are_refused():
    with pytest.raises(ValueError, match="expected floats"):
        psnr(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.zeros(1, 16, 16, 3, dtype=torch.uint8))


def test_one_picture_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="stack decoded pictures"):
        psnr(torch.zeros(16, 16, 3), torch.zeros(16, 16, 3))


def test_pictures_smaller_than_the_window_of_ssim_are_refused():
    with pytest.raises(ValueError, match="8 by 8 pixels; expected 11 or more"):
        ssim(pictures(0.5, side=8), pictures(0.5, side=8))


def test_latents_against_nothing_are_refused():
    with pytest.raises(ValueError, match="zero everywhere"):
        latent_error(torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2))


def test_too_few_samples_for_a_frechet_distance_are_refused():
    with pytest.raises(
        ValueError, match=r"\(15, 4\); expected .* at least 4 samples per feature; draw more seeds"
    ):
        fit_gaussian(samples(0, 15))


def test_samples_that_are_not_finite_are_refused():
    broken = samples(0)
    broken[3, 1] = math.inf
    with pytest.raises(ValueError, match="1 values that are not finite"):
        fit_gaussian(broken)


def test_runs_over_different_numbers_of_seeds_are_refused():
    with pytest.raises(ValueError, match="same seeds in both"):
        frechet_difference(samples(0, 400), samples(0, 399), fit_gaussian(samples(1)))


@pytest.mark.parametrize("values", [[1.0], [1.0, math.inf], [[1.0, 2.0]]])
def test_an_interval_of_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError, match="expected two or more finite numbers"):
        mean_interval(np.array(values))


def test_captions_that_do_not_match_the_pictures_are_refused():
    with pytest.raises(ValueError, match="3 pictures and 2 captions"):
        find_attributes(label_scenes(SCENES[:3]), label_scenes(SCENES[:2]))
