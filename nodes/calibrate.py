"""The node `FeatureCacheCalibrate`: looks at a MODEL while it samples uncached, and saves what it finds as a file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..cache_core import (
    CALIBRATIONS,
    CacheError,
    Calibration,
    Findings,
    Recording,
    Sampling,
    Subject,
    fingerprint,
    unused_path,
    write_artefact,
)
from .artefact_files import save_folder
from .host import CacheBinding, adapter_of, attach
from .memory_text import megabytes
from .progress import show_on_sampler
from .runs import picture_size
from .saving import denoise_input, file_name_input, sampling_inputs, saved
from .uncached import (
    Conditioning,
    KSamplerSettings,
    fitting,
    noise_levels,
    progress,
    sample,
)
from .widgets import calibration_input, make_probe

EACH, TOGETHER = "one run each", "all in one run"


class FeatureCacheCalibrate(io.ComfyNode):
    """Measure what a calibrated method needs to know about a model, at the settings it will be used with."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's id, inputs and outputs."""
        return io.Schema(
            node_id="FeatureCacheCalibrate",
            display_name="Feature Cache Calibrate",
            category="FeatureCache",
            description="Samples a model, uncached, for every prompt and several seeds, looks at how its features change, and "
            "saves a file for the Feature Cache nodes in 'models/feature_cache'. Do it once per model, number of steps and "
            "sampler; it takes as long as making that many pictures.",
            search_aliases=[
                "calibration",
                "change profile",
                "block caching",
                "teacache coefficients",
                "prior",
            ],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model", tooltip="The model to look at, without a cache, with the LoRAs you will use."
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="The prompts. Several, joined with Conditioning (Combine), are sampled one after the other, unless "
                    "'prompts' says otherwise. More and more varied prompts make the file better; the papers use 32 to 70.",
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt of every run."),
                io.Latent.Input(
                    "latent_image", tooltip="Size and number of pictures per run; the size you will use."
                ),
                calibration_input(list(CALIBRATIONS)),
                *_sampling_inputs(),
                io.Int.Input(
                    "num_seeds",
                    default=2,
                    min=1,
                    max=1000,
                    tooltip="Runs per prompt, each with its own seed.",
                ),
                io.Combo.Input(
                    "prompts",
                    options=[EACH, TOGETHER],
                    default=EACH,
                    advanced=True,
                    tooltip="What several prompts in 'positive' mean. 'all in one run' is for areas, masks and timestep ranges.",
                ),
                file_name_input("method, model, steps and sampler"),
            ],
            outputs=[
                io.String.Output(display_name="artefact", tooltip="Name of the file that was saved."),
                io.Image.Output(display_name="plot", tooltip="What was found, as a picture."),
                io.String.Output(display_name="findings", tooltip="What was found, as text."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: dict[str, Any],
        what: dict[str, Any],
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        seed: int,
        num_seeds: int,
        prompts: str,
        file_name: str,
    ) -> io.NodeOutput:
        """Sample, save the file, and return its name with picture and text.

        Raises:
            CacheError: If the model is not supported or cached, or the runs do not suffice.
        """
        settings = KSamplerSettings(
            steps=steps, cfg=cfg, sampler=sampler_name, scheduler=scheduler, denoise=denoise
        )
        given = [[prompt] for prompt in positive] if prompts == EACH else [positive]
        work = _Work(make_probe(what), model, settings, given, negative, latent_image, seed, num_seeds)
        name = file_name.strip() or work.suggested_name
        unused_path(save_folder(), name)
        findings, facts = work.run()
        path = unused_path(save_folder(), name)
        write_artefact(findings.artefact, path)
        return saved(cls, path, findings.artefact, findings.charts, findings.text, (facts,))


@dataclass(frozen=True)
class _Work:
    """The runs of one calibration."""

    probe: Calibration
    model: Any
    settings: KSamplerSettings
    prompts: list[Conditioning]
    negative: Conditioning
    latent: dict[str, Any]
    seed: int
    num_seeds: int

    @property
    def suggested_name(self) -> str:
        """A file name that tells calibrations apart."""
        made = self.settings
        return f"{self.probe.name}_{adapter_of(self.model).name}_{made.steps}_{made.sampler}_{made.scheduler}"

    def run(self) -> tuple[Findings, str]:
        """Sample every prompt with every seed; return what was found, and how long it took and what it held.

        Raises:
            CacheError: If there is nothing to sample, the model is not supported or cached, or the runs do not suffice.
        """
        if not self.prompts:
            raise CacheError("'positive' holds no prompt. Connect a text encoder.")
        sigmas = noise_levels(self.model, self.settings)
        binding = CacheBinding(Recording(self.probe), 0.0, 1.0)
        recorded = attach(self.model, binding)
        started, peak, sampler = time.perf_counter(), 0, self.settings.sampler
        runs = [(prompt, self.seed + i) for prompt in self.prompts for i in range(self.num_seeds)]
        advance = progress(len(runs) * max(len(sigmas) - 1, 1))
        for number, (prompt, seed) in enumerate(runs):
            show_on_sampler(_status(number, len(runs), time.perf_counter() - started, peak))
            sample(recorded, self.settings, prompt, self.negative, self.latent, seed, advance)
            self.probe.close_run()
            report = binding.ledger.report
            assert report is not None
            peak, sampler = max(peak, report.peak_bytes), report.sampler
        facts = f"{len(runs)} runs in {time.perf_counter() - started:.1f} s, held up to {megabytes(peak)}"
        subject = self._subject(sigmas, sampler, len(runs))
        return self.probe.findings(subject), facts

    def _subject(self, sigmas: tuple[float, ...], sampler: str, num_runs: int) -> Subject:
        made = self.settings
        return Subject(
            architecture=fingerprint(adapter_of(self.model), self.probe.level),
            sampling=Sampling(
                num_steps=len(sigmas) - 1,
                sigmas=sigmas,
                sampler=sampler,
                scheduler=made.scheduler,
                cfg=made.cfg,
                size=picture_size(self.model, fitting(self.model, self.latent)),
            ),
            made={
                "num_prompts": len(self.prompts),
                "num_seeds": self.num_seeds,
                "first_seed": self.seed,
                "num_runs": num_runs,
                "denoise": made.denoise,
            },
        )


def _status(number: int, total: int, seconds: float, peak: int) -> str:
    if not number:
        return f"Feature Cache: calibrating, run 1 of {total}"
    left = seconds / number * (total - number)
    return f"Feature Cache: calibrating, run {number + 1} of {total}, about {left:.0f} s left, holds {megabytes(peak)}"


def _sampling_inputs() -> list[Any]:
    """Return the widgets of a KSampler."""
    return [
        *sampling_inputs(2, 1000, "The file is for this number of steps."),
        denoise_input(),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**63 - 1,
            tooltip="Seed of the first run of every prompt; then one more.",
        ),
    ]
