"""Outlines of the shapes as polygons in a unit frame: centre (0, 0), radius about 1, y pointing down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_ARC_POINTS = 72


@dataclass(frozen=True)
class Outline:
    """Boundary of a shape: `outer` (P, 2) filled, minus `hole` (Q, 2) where there is one."""

    outer: Points
    hole: Points | None = None

    def placed(self, centre: tuple[float, float], radius: float, angle: float) -> tuple[Points, ...]:
        """Scale, rotate by `angle` degrees and move the boundary.

        Args:
            centre: Where the shape's centre goes, in pixels.
            radius: Pixels per unit.
            angle: Clockwise rotation as seen on screen, in degrees.

        Returns:
            One (P, 2) polygon in pixels, or two when there is a hole.
        """
        turn = np.deg2rad(angle)
        matrix = radius * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        return tuple(part @ matrix + centre for part in (self.outer, self.hole) if part is not None)


@cache
def outline(shape: str) -> Outline:
    """The boundary of a named shape.

    Args:
        shape: One of `vocabulary.SHAPES`.

    Returns:
        Its outline in the unit frame.

    Raises:
        ValueError: If there is no such shape.
    """
    if shape not in _OUTLINES:
        raise ValueError(
            f'outline: got shape "{shape}"; expected one of {sorted(_OUTLINES)}; choose one of these'
        )
    return _OUTLINES[shape]


def _arc(start: float, stop: float, num_points: int, radius: float = 1.0) -> Points:
    angles = np.deg2rad(np.linspace(start, stop, num_points, endpoint=False))
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> Points:
    points = _arc(-90.0, 270.0, 10, radius=1.1)
    points[1::2] *= 0.45
    return points


def _cross() -> Points:
    near, far = 0.34, 0.98
    quarter = [(near, -far), (near, -near), (far, -near)]
    points = [(x, y) for x, y in quarter]
    for _ in range(3):
        quarter = [(-y, x) for x, y in quarter]
        points += quarter
    return np.array(points)


def _crescent() -> Points:
    """The unit circle less a disc of radius 0.85 shifted by 0.55 to the right."""
    shift, bite = 0.55, 0.85
    meet_x = (1.0 - bite**2 + shift**2) / (2.0 * shift)
    outer_angle = np.rad2deg(np.arccos(meet_x))
    inner_angle = np.rad2deg(np.arccos((meet_x - shift) / bite))
    outer = _arc(outer_angle, 360.0 - outer_angle, _ARC_POINTS)
    inner = _arc(360.0 - inner_angle, inner_angle, _ARC_POINTS, radius=bite) + np.array([shift, 0.0])
    moved: Points = np.concatenate([outer, inner]) + np.array([0.25, 0.0])
    return moved


def _heart() -> Points:
    turn = np.linspace(0.0, 2.0 * np.pi, _ARC_POINTS, endpoint=False)
    x = 16.0 * np.sin(turn) ** 3
    y = -(13.0 * np.cos(turn) - 5.0 * np.cos(2.0 * turn) - 2.0 * np.cos(3.0 * turn) - np.cos(4.0 * turn))
    return np.stack([x, y - 2.5], axis=1) / 16.0


_OUTLINES = {
    "circle": Outline(_arc(0.0, 360.0, _ARC_POINTS)),
    "square": Outline(_arc(45.0, 405.0, 4, radius=1.2)),
    "triangle": Outline(_arc(-90.0, 270.0, 3, radius=1.15) + np.array([0.0, 0.2])),
    "star": Outline(_star()),
    "ring": Outline(_arc(0.0, 360.0, _ARC_POINTS), _arc(0.0, 360.0, _ARC_POINTS, radius=0.52)),
    "cross": Outline(_cross()),
    "hexagon": Outline(_arc(0.0, 360.0, 6)),
    "crescent": Outline(_crescent()),
    "heart": Outline(_heart()),
    "diamond": Outline(_arc(0.0, 360.0, 4, radius=1.1) * np.array([0.75, 1.0])),
}
