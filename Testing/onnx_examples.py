"""Small models as ONNX graphs, and ways to spoil them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_examples import a_bundle, made_weights
from selfseg.domain.bundle import ModelBundle
from selfseg.registry.onnx_export import export_onnx

GRAPH = "graphs/plain/3d_fullres/fold_0.onnx"


def an_onnx_model(folder: Path, bundle: ModelBundle | None = None, **options: Any) -> Path:
    """A folder of graphs with made weights."""
    bundle = bundle or a_bundle()
    return export_onnx(folder, bundle, made_weights(bundle), **options)


def change_sidecar(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrites `onnx.json`, as somebody could who makes a model to harm."""
    path = folder / "onnx.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def change_graph(
    folder: Path, change: Callable[[Any], object], *, vouched_for: bool = True
) -> None:
    """Rewrites a graph, and size and hash in the sidecar with it."""
    import onnx

    path = folder / GRAPH
    model = onnx.load_model_from_string(path.read_bytes())
    change(model)
    replace_graph(folder, model.SerializeToString(), vouched_for=vouched_for)


def replace_graph(folder: Path, data: bytes, *, vouched_for: bool = True) -> None:
    """Puts other bytes in a graph's place."""
    (folder / GRAPH).write_bytes(data)
    if not vouched_for:
        return

    def vouch(content: dict[str, Any]) -> None:
        record = next(entry for entry in content["graphs"] if entry["file"] == GRAPH)
        record["bytes"], record["sha256"] = len(data), hashlib.sha256(data).hexdigest()

    change_sidecar(folder, vouch)
