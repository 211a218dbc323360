"""ONNX models that are not what they should be: each is refused with a reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_examples import GRAPH, an_onnx_model, change_graph, change_sidecar, replace_graph
from selfseg.domain.errors import FileFormatError, ModelError, SelfsegError
from selfseg.io.onnx_files import is_onnx_model, read_onnx

onnx = pytest.importorskip("onnx")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return an_onnx_model(tmp_path / "model")


def read_all(folder: Path) -> None:
    stored = read_onnx(folder)
    for record in stored.graphs:
        stored.read_graph(record.plan, record.configuration, record.fold)


def test_what_was_written_is_read(model: Path) -> None:
    read_all(model)
    assert is_onnx_model(model)
    assert not is_onnx_model(model.parent)
    stored = read_onnx(model)
    assert stored.folds("plain", "3d_fullres") == ("0", "1")
    with pytest.raises(ModelError, match="no fold 7"):
        stored.read_graph("plain", "3d_fullres", "7")


def outside(location: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        def point(content: Any) -> None:
            tensor = content.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=location)

        change_graph(folder, point)

    return change


def graph(change: Callable[[Any], object], **options: bool) -> Callable[[Path], None]:
    return lambda folder: change_graph(folder, change, **options)


def sidecar(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: change_sidecar(folder, change)


def record(**changes: Any) -> Callable[[Path], None]:
    return sidecar(lambda content: content["graphs"][0].update(changes))


def add_node(operator: str, domain: str = "") -> Callable[[Any], object]:
    node = onnx.helper.make_node(operator, ["image"], ["more"], domain=domain)
    return lambda content: content.graph.node.append(node)


def node_with_weights(content: Any) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "inner")
    content.graph.node[0].attribute.append(onnx.helper.make_attribute("value", tensor))


def reshape_input(content: Any) -> None:
    content.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8


def fixed_batch(content: Any) -> None:
    content.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1


def not_numbers(content: Any) -> None:
    tensor = content.graph.initializer[0]
    size = len(tensor.raw_data) // 4
    tensor.raw_data = np.full(size, np.nan, "<f4").tobytes()


def cut_weights(content: Any) -> None:
    content.graph.initializer[0].raw_data = b"\0" * 8


def huge_weights(content: Any) -> None:
    content.graph.initializer[0].dims[0] = 10**9


def double_weights(content: Any) -> None:
    content.graph.initializer[0].data_type = onnx.TensorProto.DOUBLE


def doubled_input(content: Any) -> None:
    content.graph.input.append(content.graph.input[0])


def link(folder: Path) -> None:
    other = folder.parent / "elsewhere.onnx"
    os.replace(folder / GRAPH, other)
    try:
        (folder / GRAPH).symlink_to(other)
    except OSError:
        pytest.skip("this system lets nobody make links")


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights in a file above": (outside("../../../../../etc/passwd"), "lie in another file"),
    "weights in an absolute file": (outside("/etc/passwd"), "lie in another file"),
    "weights in a file beside": (outside("weights.bin"), "lie in another file"),
    "another graph": (graph(lambda c: c.graph.node.pop(), vouched_for=False), "sidecar lists"),
    "one byte changed": (
        lambda f: replace_graph(f, (f / GRAPH).read_bytes()[:-1] + b"\x07", vouched_for=False),
        "SHA-256",
    ),
    "an operator that runs a file": (graph(add_node("EPContext", "com.microsoft")), "EPContext"),
    "an operator of control": (graph(add_node("Loop")), "no U-Net needs"),
    "an operator under a false domain": (graph(add_node("Conv", "evil")), "no U-Net needs"),
    "weights in a node": (graph(node_with_weights), "inside"),
    "a function": (graph(lambda c: c.functions.add(name="f")), "functions"),
    "another opset": (graph(lambda c: c.opset_import.add(domain="x", version=1)), "opset"),
    "another input": (graph(reshape_input), "does not fit the plan"),
    "two inputs": (graph(doubled_input), "does not fit the plan"),
    "a fixed batch": (graph(fixed_batch), "does not fit the plan"),
    "NaN": (graph(not_numbers), "not numbers"),
    "cut weights": (graph(cut_weights), "another network"),
    "10^9 weights": (graph(huge_weights), "another network"),
    "weights of another type": (graph(double_weights), "another network"),
    "no graph at all": (lambda f: replace_graph(f, b"\xff" * 64), "damaged"),
    "a graph missing": (lambda f: (f / GRAPH).unlink(), "sidecar lists"),
    "a link": (link, "link"),
    "a file without a place": (lambda f: (f / "run.py").write_text("1"), "no place"),
    "a path upwards": (record(file="../other.onnx"), "somewhere else"),
    "an absolute path": (record(file="/etc/passwd"), "somewhere else"),
    "another graph's file": (record(file="graphs/plain/3d_fullres/fold_1.onnx"), "somewhere else"),
    "shapes that are not the plan's": (record(input_shape=[1, 8, 8, 8]), "shapes"),
    "a hash that is none": (record(sha256="x"), "sidecar lists"),
    "a size beyond the network": (record(bytes=2**40), "sidecar lists|larger"),
    "a fold nobody names": (record(fold="3"), "no member"),
    "the same fold twice": (
        sidecar(lambda c: c["graphs"].append(c["graphs"][0])), "no member"),
    "a fold without a graph": (sidecar(lambda c: c["graphs"].pop()), "missing|no place"),
    "a newer sidecar": (sidecar(lambda c: c.update(schema="selfseg.onnx/2")), "newer"),
    "an entry nobody knows": (sidecar(lambda c: c.update(run="rm")), "nobody reads"),
    "a plan nobody can use": (
        sidecar(lambda c: c["plans"]["plain"].update(transpose_forward=[0, 0, 0])), "transpose"),
    "no sidecar": (lambda f: (f / "onnx.json").unlink(), "no model for ONNX"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_model_is_refused(model: Path, name: str) -> None:
    spoil, reason = SPOILED[name]
    spoil(model)
    with pytest.raises((ModelError, FileFormatError), match=reason) as caught:
        read_all(model)
    assert isinstance(caught.value, SelfsegError)
    assert caught.value.cure


def test_a_graph_larger_than_its_network_is_not_read(model: Path) -> None:
    size = 2**25
    with (model / GRAPH).open("r+b") as stream:
        stream.truncate(size)
    change_sidecar(model, lambda content: content["graphs"][0].update(bytes=size))
    with pytest.raises(ModelError, match="larger than the plan's network"):
        read_onnx(model)
