"""Surfaces as files: STL, Wavefront OBJ with its materials, binary glTF."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.labels import Colour
from ..domain.mesh import Mesh
from .atomic_files import write_bytes_atomically, written_atomically

MM_TO_GLTF = (0.001, 0, 0, 0, 0, 0, -0.001, 0, 0, 0.001, 0, 0, 0, 0, 0, 1)
"""Column by column, as glTF wants it: LPS mm (z up) to metres with y up."""

_GENERATOR = "selfseg"


@dataclass(frozen=True)
class NamedMesh:
    """The surface of one structure, LPS mm."""

    name: str
    colour: Colour
    mesh: Mesh


def write_stl(path: Path, mesh: Mesh) -> None:
    """Writes binary STL; as Slicer does, the header says that the points are LPS.

    Raises:
        ProjectError: it cannot be written.
    """
    corners = mesh.points[mesh.triangles]  # (M, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    record = np.zeros(
        len(corners), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
    )
    record["normal"] = normals / np.where(lengths > 0, lengths, 1)
    record["corners"] = corners
    with written_atomically(path) as part, part.open("wb") as stream:
        stream.write(b"SPACE=LPS".ljust(80, b" "))
        stream.write(struct.pack("<I", len(corners)))
        stream.write(record.tobytes())


def write_obj(path: Path, meshes: Sequence[NamedMesh]) -> None:
    """Writes one OBJ file with an object per structure, and the colours in an .mtl beside it.

    Raises:
        ProjectError: it cannot be written.
    """
    materials, text = [], io.StringIO()
    text.write(f"# SPACE=LPS\nmtllib {path.stem}.mtl\n")
    first = 1
    for index, named in enumerate(meshes):
        red, green, blue = (f"{part / 255:.4f}" for part in named.colour)
        materials.append(f"newmtl material_{index}\nKd {red} {green} {blue}\nd 1\n")
        name = re.sub(r"\s+", "_", named.name.strip())
        text.write(f"o {name}\nusemtl material_{index}\n")
        np.savetxt(text, named.mesh.points, fmt="v %.6g %.6g %.6g")
        np.savetxt(text, named.mesh.triangles + first, fmt="f %d %d %d")
        first += len(named.mesh.points)
    write_bytes_atomically(path.with_suffix(".mtl"), "\n".join(materials).encode())
    write_bytes_atomically(path, text.getvalue().encode())


def write_glb(path: Path, meshes: Sequence[NamedMesh]) -> None:
    """Writes binary glTF 2.0: points in LPS mm below a node that turns them to metres, y up.

    Raises:
        ProjectError: it cannot be written.
    """
    blob = bytearray()
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def add(values: NDArray[Any], kind: str, target: int, **more: Any) -> int:
        views.append(
            {"buffer": 0, "byteOffset": len(blob), "byteLength": values.nbytes, "target": target}
        )
        accessors.append(
            {
                "bufferView": len(views) - 1,
                "componentType": 5126 if values.dtype.kind == "f" else 5125,
                "count": len(values),
                "type": kind,
                **more,
            }
        )
        blob.extend(values.tobytes())
        return len(accessors) - 1

    primitives = []
    for index, named in enumerate(meshes):
        points = named.mesh.points.astype("<f4")
        bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
        positions = add(points, "VEC3", 34962, **bounds)
        indices = add(named.mesh.triangles.astype("<u4").ravel(), "SCALAR", 34963)
        primitives.append(
            {"attributes": {"POSITION": positions}, "indices": indices, "material": index}
        )
    description = {
        "asset": {"version": "2.0", "generator": _GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [
            {
                "name": path.stem,
                "matrix": list(MM_TO_GLTF),
                "children": list(range(1, len(meshes) + 1)),
            },
            *({"name": named.name, "mesh": i} for i, named in enumerate(meshes)),
        ],
        "meshes": [
            {"name": named.name, "primitives": [primitive]}
            for named, primitive in zip(meshes, primitives, strict=True)
        ],
        "materials": [
            {"name": named.name, "pbrMetallicRoughness": _plain_material(named.colour)}
            for named in meshes
        ],
        "buffers": [{"byteLength": len(blob)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(description).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(blob)
    with written_atomically(path) as part, part.open("wb") as stream:
        stream.write(struct.pack("<4sII", b"glTF", 2, total))
        stream.write(struct.pack("<I4s", len(text), b"JSON") + text)
        stream.write(struct.pack("<I4s", len(blob), b"BIN\0"))
        stream.write(blob)


def _plain_material(colour: Colour) -> dict[str, Any]:
    # glTF's colours are linear, ours are sRGB; the power is close to sRGB's own curve.
    linear = [round((part / 255) ** 2.2, 4) for part in colour]
    return {"baseColorFactor": [*linear, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8}
