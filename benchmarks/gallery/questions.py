"""The questions that the workflows answer: one function each, which builds the graph for a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import caches, drawing, notes
from .families import FAMILIES, FLUX, Family
from .graph import Graph
from .nodes import TRAINER

TWICE = 2.0
"""The speedup of the searched list."""


@dataclass(frozen=True)
class Question:
    """A question about a family: the end of the file's name, what is asked, of which method, and what builds the graph."""

    name: str
    asks: str
    method: str
    build: Callable[[Graph, Family], str]
    families: tuple[Family, ...] = FAMILIES


def _how_much_faster(graph: Graph, family: Family) -> str:
    _patched(graph, family, "FeatureCache", caches.step_list())
    return notes.DEFAULT


def _what_if_every_second_step_reuses(graph: Graph, family: Family) -> str:
    _patched(graph, family, "FeatureCache", caches.fora(interval=2))
    return notes.FORA


def _which_blocks_can_wait(graph: Graph, family: Family) -> str:
    name = f"{family.prefix}_block_caching_{family.steps}_steps.safetensors"
    widgets = caches.block_caching(0.5, name, notes.made_here(family))
    _patched(graph, family, "FeatureCache", widgets, ("block_caching", name))
    return notes.BLOCK_CACHING


def _which_steps_can_be_skipped(graph: Graph, family: Family) -> str:
    if family.own_coefficients:
        _patched(graph, family, "TeaCacheThreshold", caches.teacache(0.25))
        return notes.TEACACHE
    name = f"{family.prefix}_teacache_coefficients.safetensors"
    widgets = caches.teacache(0.1, name, notes.made_here(family))
    _patched(graph, family, "TeaCacheThreshold", widgets, ("teacache", name))
    return notes.TEACACHE_CALIBRATED


def _which_steps_are_worth_computing(graph: Graph, family: Family) -> str:
    name = f"{family.prefix}_step_list_{family.steps}_steps.safetensors"
    parts = family.begin(graph)
    graph.column(drawing.CACHES, 360)
    widgets = caches.step_list(TWICE, name, notes.made_here(family))
    model = graph.add("FeatureCache", widgets, model=parts.model)[0]
    drawing.one_picture(graph, family, parts, model)
    searched = caches.search(TWICE, family.settings, name)
    drawing.first_once(graph, family, parts, "CacheScheduleSearch", searched, vae=parts.vae)
    return notes.STEP_LIST


def _what_may_every_second_step_reuse(graph: Graph, family: Family) -> str:
    _routed(graph, family, "learning_to_cache")
    return notes.LEARNING_TO_CACHE


def _what_may_every_step_reuse(graph: Graph, family: Family) -> str:
    _routed(graph, family, "harmonica")
    return notes.HARMONICA


def _how_far_do_full_steps_go(graph: Graph, family: Family) -> str:
    widgets = caches.schedule("flux_dev_50_steps_13_full.safetensors", family.made_for)
    _patched(graph, family, "L2CRouterLoader", widgets)
    return notes.FULL_STEPS


def _can_a_cache_correct_itself(graph: Graph, family: Family) -> str:
    name = _prior(family)
    parts = family.begin(graph)
    graph.column(drawing.CACHES, 360)
    cached = graph.add("FeatureCache", caches.fora(3, caches.CORRECTED), model=parts.model)[0]
    corrected = graph.add(
        "ErrorOptimizer", caches.error_optimized(name, notes.made_here(family)), model=cached
    )[0]
    drawing.one_picture(graph, family, parts, corrected)
    drawing.calibration(graph, family, parts, "prior", name)
    return notes.ERROR_OPTIMIZED


def _what_does_correction_repair(graph: Graph, family: Family) -> str:
    name = _prior(family)
    parts = family.begin(graph)
    graph.column(drawing.CACHES, 360)
    shared = graph.add(
        "PrimitiveInt", {"value": 1, "control_after_generate": "fixed"}, title="Seed of all three"
    )[0]
    cached = graph.add("FeatureCache", caches.fora(caches.OVERDONE, caches.CORRECTED), model=parts.model)[0]
    corrected = graph.add(
        "ErrorOptimizer", caches.error_optimized(name, notes.made_here(family)), model=cached
    )[0]
    models = {"Uncached": parts.model, "Over-cached": cached, "Corrected": corrected}
    drawing.side_by_side(graph, family, parts, models, shared)
    drawing.calibration(graph, family, parts, "prior", name)
    return notes.SIDE_BY_SIDE


def _prior(family: Family) -> str:
    return f"{family.prefix}_prior_{family.steps}_steps.safetensors"


def _routed(graph: Graph, family: Family, method: str) -> None:
    """Build a graph with the Router Loader, and the training that makes its router."""
    name = f"{family.prefix}_{method}_{family.steps}_steps.safetensors"
    parts = family.begin(graph)
    graph.column(drawing.CACHES, 360)
    model = graph.add("L2CRouterLoader", caches.schedule(name, notes.trained(family)), model=parts.model)[0]
    drawing.one_picture(graph, family, parts, model)
    drawing.first_once(graph, family, parts, TRAINER, caches.train(method, family.settings, name))


def _patched(
    graph: Graph,
    family: Family,
    node: str,
    widgets: caches.Widgets,
    calibrated: tuple[str, str] | None = None,
) -> None:
    """Build a graph with one cache node and, where its method needs one, the calibration that makes its file."""
    parts = family.begin(graph)
    graph.column(drawing.CACHES, 360)
    model = graph.add(node, widgets, model=parts.model)[0]
    drawing.one_picture(graph, family, parts, model)
    if calibrated is not None:
        drawing.calibration(graph, family, parts, *calibrated)


QUESTIONS = (
    Question(
        "how_much_faster",
        "How much faster is {} with a feature cache, and is it better than fewer steps?",
        "Step List",
        _how_much_faster,
    ),
    Question(
        "what_if_every_second_step_reuses",
        "What if every second step of {} reuses all attention and MLP outputs?",
        "FORA",
        _what_if_every_second_step_reuses,
    ),
    Question(
        "which_blocks_can_wait",
        "Which blocks of {} can wait, and for how long?",
        "Block Caching",
        _which_blocks_can_wait,
    ),
    Question(
        "which_steps_can_be_skipped",
        "Which steps of {} can be skipped, picture by picture?",
        "TeaCache, SeaCache",
        _which_steps_can_be_skipped,
    ),
    Question(
        "which_steps_are_worth_computing",
        "Which steps of {} are worth computing, and which can be forecast?",
        "Step List, searched",
        _which_steps_are_worth_computing,
    ),
    Question(
        "what_may_every_second_step_reuse",
        "What may every second step of {} reuse, as a router learned it?",
        "Learning-to-Cache",
        _what_may_every_second_step_reuse,
    ),
    Question(
        "what_may_every_step_reuse",
        "What may every step of {} reuse, as a router learned it?",
        "HarmoniCa",
        _what_may_every_step_reuse,
    ),
    Question(
        "can_a_cache_correct_itself",
        "Can a cache on {} take away the error that it makes?",
        "Error-Optimized Cache, GOC",
        _can_a_cache_correct_itself,
    ),
    Question(
        "what_does_correction_repair",
        "What does correction repair when {} is cached too much?",
        "Error-Optimized Cache, side by side",
        _what_does_correction_repair,
        (FLUX,),
    ),
    Question(
        "how_far_do_13_full_steps_of_50_go",
        "How far do 13 full steps of 50 go on {}?",
        "a list of full steps",
        _how_far_do_full_steps_go,
        (FLUX.with_steps(50),),
    ),
)


@dataclass(frozen=True)
class Asked:
    """A question asked of one family."""

    question: Question
    family: Family

    @property
    def text(self) -> str:
        """The question with the model's name in it."""
        return self.question.asks.format(self.family.title)

    def workflow(self) -> dict[str, Any]:
        """Return the workflow that answers it."""
        graph = Graph()
        told = self.question.build(graph, self.family)
        drawing.note(graph, notes.write(self.text, told, self.family))
        return graph.as_workflow()


def asked() -> dict[str, Asked]:
    """Return what the workflows ask, by the names of their files."""
    return {
        f"{family.key}_{question.name}.json": Asked(question, family)
        for question in QUESTIONS
        for family in question.families
    }


def workflows() -> dict[str, dict[str, Any]]:
    """Return every workflow by the name of its file."""
    return {name: one.workflow() for name, one in asked().items()}
