"""What a scene file (.mrml) says: nodes, their references, files and parent transforms.

The XML comes from outside: a document type, which is where entities are defined, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from ..domain.errors import DatasetError
from ..domain.geometry import Affine
from .collection_file import lps_transform

sitk: Any = SimpleITK

LARGEST_SCENE = 64 * 2**20
"""Bytes: a node has about 1000."""

LONGEST_CHAIN = 100
"""Transforms above each other; a longer chain is a circle."""


@dataclass(frozen=True)
class SceneNode:
    """One node: `tag` is its kind ("Volume", "Segmentation", "LinearTransform")."""

    tag: str
    attributes: Mapping[str, str]

    @property
    def name(self) -> str:
        """As people see it."""
        return self.attributes.get("name", "")

    @property
    def references(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of other nodes by role."""
        roles: dict[str, tuple[str, ...]] = {}
        for entry in self.attributes.get("references", "").split(";"):
            role, mark, ids = entry.partition(":")
            if mark:
                roles[role.strip()] = tuple(ids.split())
        # Scenes of Slicer 4.10 and before.
        for role in ("storage", "transform", "display"):
            old = self.attributes.get(f"{role}NodeRef")
            if old and role not in roles:
                roles[role] = tuple(old.split())
        return roles

    def first(self, role: str) -> str:
        """The id in a role, "" without one."""
        return next(iter(self.references.get(role, ())), "")


class NonLinearTransform(DatasetError):
    """A parent transform that is no matrix."""


class Scene:
    """The nodes of a scene file by id.

    Args:
        path: the `.mrml`.

    Raises:
        DatasetError: it is no such file, or defines a document type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes: dict[str, SceneNode] = {}
        self._depth = 0
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        try:
            if path.stat().st_size > LARGEST_SCENE:
                raise _unreadable(path, f"more than {LARGEST_SCENE} bytes")
            parser.Parse(path.read_bytes(), True)
        except (OSError, expat.ExpatError, ValueError, LookupError) as error:
            raise _unreadable(path, str(error)) from error
        if not self.nodes:
            raise _unreadable(path, "no node")

    def of_kind(self, *tags: str) -> tuple[SceneNode, ...]:
        """The nodes of these kinds, in the order of the file."""
        return tuple(node for node in self.nodes.values() if node.tag in tags)

    def file_of(self, node: SceneNode) -> str:
        """What its storage node calls the file, relative to the scene; "" where there is none."""
        storage = self.nodes.get(node.first("storage"))
        name = "" if storage is None else unquote(storage.attributes.get("fileName", ""))
        return name.replace("\\", "/")

    def to_world(self, node: SceneNode) -> tuple[SceneNode, ...]:
        """The transforms above a node, the nearest first.

        Raises:
            DatasetError: they form a circle, or one is not there.
        """
        chain: list[SceneNode] = []
        above = node.first("transform")
        while above:
            transform = self.nodes.get(above)
            if transform is None or len(chain) > LONGEST_CHAIN:
                raise _unreadable(self.path, f"no end of the transforms above {node.name!r}")
            chain.append(transform)
            above = transform.first("transform")
        return tuple(chain)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        identifier = attributes.get("id")
        if self._depth == 2 and identifier:
            self.nodes[identifier] = SceneNode(tag, attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1

    def _refuse(self, *ignored: object) -> int:
        raise _unreadable(self.path, "a document type or entities")


def matrix_of(transform: SceneNode, file: Path | None) -> NDArray[np.float64]:
    """A transform as 4 x 4 in LPS, from its node or else from its file.

    Args:
        transform: the node.
        file: where its storage node says it lies.

    Raises:
        NonLinearTransform: it is no matrix.
        DatasetError: the numbers are none.
    """
    text = transform.attributes.get("matrixTransformToParent", "")
    if text:
        try:
            numbers = [float(part) for part in text.split()]
        except ValueError:
            numbers = []
        found = lps_transform(numbers)
        return np.eye(4) if found is None else np.array(found)
    matrix = None if file is None else _from_file(file)
    if matrix is None:
        raise NonLinearTransform(
            f"the transform {transform.name!r} is not linear",
            expected="linear transforms above image and segmentation",
            found=transform.tag,
            cure="harden it in Slicer (Transforms, or right click on the node), save the scene "
            "and collect again",
        )
    return matrix


def combined(matrices: list[NDArray[np.float64]]) -> Affine | None:
    """Transforms, the nearest first, as one; None for the identity."""
    matrix = np.eye(4)
    for above in matrices:
        matrix = above @ matrix
    if np.allclose(matrix, np.eye(4), rtol=0, atol=1e-9):
        return None
    return tuple(tuple(float(number) for number in row) for row in matrix)


def _from_file(path: Path) -> NDArray[np.float64] | None:
    """The matrix of a linear ITK transform, which leads from the parent; None if it is none."""
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError:
        return None
    if not transform.IsLinear() or transform.GetDimension() != 3:
        return None
    # Four points determine an affine map, whatever ITK calls it.
    base = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(unit)) - base
    matrix[:3, 3] = base
    if not math.isfinite(float(np.linalg.det(matrix))) or abs(np.linalg.det(matrix)) < 1e-12:
        return None
    inverse: NDArray[np.float64] = np.linalg.inv(matrix).astype(np.float64)
    return inverse


def _unreadable(path: Path, found: str) -> DatasetError:
    return DatasetError(
        "the scene cannot be read",
        expected="a scene as 3D Slicer saves it",
        found=found[:300],
        cure="save the scene again in Slicer",
        path=path,
    )
