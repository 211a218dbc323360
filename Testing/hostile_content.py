"""Model bundles with one thing wrong inside, and what the refusal says."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

from hostile_zips import MARK, PLAN, WEIGHTS, Files, Hostile, Payload, with_manifest

SCRIPT = f"open({MARK!r}, 'w').close()\n".encode()


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _header(files: Files) -> tuple[dict[str, Any], bytes]:
    raw = files[WEIGHTS]
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _json(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Files], Files]:
    def make(files: Files) -> Files:
        content = json.loads(files[name])
        change(content)
        return {**files, name: json.dumps(content).encode()}

    return make


def _put(*path: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def _weights(change: Callable[[dict[str, Any], bytes], bytes]) -> Callable[[Files], Files]:
    return lambda files: {**files, WEIGHTS: change(*_header(files))}


def _first(header: dict[str, Any], **changes: object) -> dict[str, Any]:
    name = next(key for key in header if key != "__metadata__")
    return {**header, name: {**header[name], **changes}}


def _full(*path: str | int, value: object) -> Callable[[Files], Files]:
    return _json(PLAN, _put("configurations", "3d_fullres", *path, value=value))


def _without(files: Files, *names: str) -> Files:
    return {name: data for name, data in files.items() if name not in names}


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Files], Files]:
    return lambda files: _json("manifest.json", change)(with_manifest(files))


CONTENT: dict[str, Hostile] = {
    # The manifest does not fit.
    "no manifest": Hostile(
        "no model bundle", lambda f: _without(f, "manifest.json"), manifest=False
    ),
    "wrong hash": Hostile(
        "not the one its manifest lists",
        lambda f: {**f, PLAN: f[PLAN].replace(b"plain", b"plaim", 1)},
        manifest=False,
    ),
    "wrong hash of weights": Hostile(
        "not the one its manifest lists",
        lambda f: {**f, WEIGHTS: f[WEIGHTS][:-1] + b"?"},
        manifest=False,
    ),
    "missing file": Hostile("less than", lambda f: _without(f, PLAN), manifest=False),
    "extra file": Hostile(
        "does not list", lambda f: {**f, "LICENSE.txt": b"x"}, manifest=False
    ),
    "another size": Hostile(
        "another size", lambda f: {**f, PLAN: f[PLAN] + b" "}, manifest=False
    ),
    "bundle.json not listed": Hostile(
        "does not list",
        _manifest(lambda m: m.update(files=[x for x in m["files"] if x["path"] != "bundle.json"])),
        manifest=False,
    ),
    "listed twice": Hostile(
        "twice", _manifest(lambda m: m["files"].append(m["files"][0])), manifest=False
    ),
    "traversal in the manifest": Hostile(
        "does not list", _manifest(_put("files", 0, "path", value="../../x")), manifest=False
    ),
    "hash that is none": Hostile(
        "is none", _manifest(_put("files", 0, "sha256", value="0")), manifest=False
    ),
    "newer manifest": Hostile(
        "newer selfseg",
        _manifest(_put("schema", value="selfseg.bundle-manifest/2")),
        manifest=False,
    ),
    "manifest that is no JSON": Hostile(
        "damaged", lambda f: {**f, "manifest.json": b"\x80\x04"}, manifest=False
    ),
    "manifest too large": Hostile(
        "too large", lambda f: {**f, "manifest.json": b" " * (5 * 2**20)}, manifest=False
    ),
    # Files that have no place here.
    "pickled weights": Hostile(
        "no place", lambda f: {**f, "checkpoint_final.pth": pickle.dumps(Payload())}
    ),
    "pickle among the weights": Hostile(
        "no place",
        lambda f: {**f, "weights/plain/3d_fullres/fold_0.pth": pickle.dumps(Payload())},
    ),
    "pickle named as weights": Hostile(
        "damaged", lambda f: {**f, WEIGHTS: pickle.dumps(Payload())}
    ),
    "Python code": Hostile("no place", lambda f: {**f, "selfseg.py": SCRIPT}),
    "start-up code": Hostile("no place", lambda f: {**f, "sitecustomize.pth": SCRIPT}),
    "hidden file": Hostile("no place", lambda f: {**f, "plans/.evil": b""}),
    "licence too large": Hostile("too large", lambda f: {**f, "LICENSE.txt": b" " * (2**20 + 1)}),
    # JSON that is not what it should be.
    "another kind": Hostile(
        "another kind", _json("bundle.json", _put("schema", value="selfseg.plan/1"))
    ),
    "newer schema": Hostile(
        "newer selfseg", _json("bundle.json", _put("schema", value="selfseg.bundle/2"))
    ),
    "no schema": Hostile("another kind", _json("bundle.json", lambda c: c.pop("schema"))),
    "unknown entry": Hostile("nobody reads", _json("bundle.json", _put("evil", value=1))),
    "nested 100 000 deep": Hostile(
        "damaged", lambda f: {**f, "bundle.json": b"[" * 100_000 + b"]" * 100_000}
    ),
    "number that is none": Hostile(
        "damaged|should", _json(PLAN, _put("original_median_spacing", value=[float("nan")] * 3))
    ),
    "card that leads out": Hostile(
        "name is not valid", _json("bundle.json", _put("card", "name", value="../../evil"))
    ),
    "version that leads out": Hostile(
        "version is not valid", _json("bundle.json", _put("card", "version", value="1/../.."))
    ),
    "card that drives the terminal": Hostile(
        "cannot be shown", _json("bundle.json", _put("card", "summary", value="\x1b]0;evil\x07"))
    ),
    "plan that leads out": Hostile(
        "cannot be a file's name", _json("bundle.json", _put("plans", value=["../../evil"]))
    ),
    "plan that is not there": Hostile(
        "other plans", _json("bundle.json", _put("plans", value=["plain", "other"]))
    ),
    "temperature 0": Hostile(
        "temperature", _json("bundle.json", _put("calibration", "temperature", value=0))
    ),
    "postprocessing by a function": Hostile(
        "does not hold what it should",
        _json("bundle.json", _put("postprocessing", value=[{"kind": "os.system"}])),
    ),
    "member without a plan": Hostile(
        "plan that the model does not hold",
        _json("bundle.json", _put("members", 0, "plan", value="other")),
    ),
    "fold that leads out": Hostile(
        "folds", _json("bundle.json", _put("members", 0, "folds", value=["../0"]))
    ),
    "member without weights": Hostile(
        "weights are missing",
        _json("bundle.json", _put("members", 0, "folds", value=["0", "1", "7"])),
    ),
    "weights without a member": Hostile(
        "no member of the model uses",
        lambda f: {**f, "weights/plain/3d_fullres/fold_9.safetensors": f[WEIGHTS]},
    ),
    "label of 2^40": Hostile(
        "labels|structures",
        _json("bundle.json", _put("description", "labels", "foreground", 0, "values",
                                  value=[2**40])),
    ),
    "scores of another form": Hostile("no scores", _json("scores.json", _put("mean", value=[1]))),
    "quality that divides by zero": Hostile(
        "predictor of the quality",
        _json("quality.json", _put("structures", "liver", "dice", "deviations", value=[0.0])),
    ),
    "quality of a structure that is not there": Hostile(
        "structures the model does not have",
        _json("quality.json", _put("structures", value={
            "ghost": {"cases": 1, "reference_cases": 1, "all_cases": 1}
        })),
    ),
    # Plans that cannot be worked with.
    "plan that names a class": Hostile(
        "normalisation", _full("normalisation", value=["os.system"])
    ),
    "network that names a class": Hostile(
        "does not hold what it should", _full("network", "architecture", value="evil.Network")
    ),
    "planner that names a class": Hostile(
        "does not hold what it should", _json(PLAN, _put("planner", value="evil.Planner"))
    ),
    "10^9 features": Hostile(
        "features_per_stage", _full("network", "features_per_stage", value=[10**9, 6])
    ),
    "10^9 blocks": Hostile(
        "blocks_per_stage", _full("network", "blocks_per_stage", value=[10**9, 1])
    ),
    "kernel of 0": Hostile("kernel_sizes", _full("network", "kernel_sizes", 0, value=[0, 3, 3])),
    "patch of 10^12": Hostile("patch_size", _full("patch_size", value=[10_000] * 3)),
    "negative spacing": Hostile("spacing", _full("spacing", value=[1.0, -1.0, 1.0])),
    "axes that are none": Hostile(
        "transpose", _json(PLAN, _put("transpose_forward", value=[0, 0, 5]))
    ),
    "ending that leads out": Hostile(
        "file_ending|other channels",
        _json(PLAN, _put("description", "file_ending", value="/../../x.nii.gz")),
    ),
    "cascade of itself": Hostile(
        "leads back", _full("previous_stage", value="3d_fullres")
    ),
    # Weights that are not this network's.
    "header of 2^62 bytes": Hostile(
        "damaged", _weights(lambda h, d: safetensors(h, d, length=2**62))
    ),
    "header that is no JSON": Hostile("damaged", _weights(lambda h, d: safetensors(b"{" * 99, d))),
    "header nested deep": Hostile("damaged", _weights(lambda h, d: safetensors(b"[" * 9999, d))),
    "header with a weight twice": Hostile(
        "damaged",
        _weights(lambda h, d: safetensors(json.dumps(h).encode()[:-1] + b"," +
                                          json.dumps(h).encode()[1:], d)),
    ),
    "10^9 elements": Hostile(
        "do not fit", _weights(lambda h, d: safetensors(_first(h, shape=[10**9]), d))
    ),
    "10^9 elements in the plan too": Hostile(
        "do not fit|features_per_stage",
        lambda f: _full("network", "features_per_stage", value=[8000, 8000])(f),
    ),
    "offsets of 2^60": Hostile(
        "damaged", _weights(lambda h, d: safetensors(_first(h, data_offsets=[0, 2**60]), d))
    ),
    "offsets that overlap": Hostile(
        "damaged",
        _weights(lambda h, d: safetensors(
            {k: v if k == "__metadata__" else {**v, "data_offsets": [
                0, v["data_offsets"][1] - v["data_offsets"][0]]} for k, v in h.items()}, d)),
    ),
    "negative shape": Hostile(
        "damaged", _weights(lambda h, d: safetensors(_first(h, shape=[-4, -1, 3, 3, 3]), d))
    ),
    "wrong shape": Hostile(
        "do not fit", _weights(lambda h, d: safetensors(_first(h, shape=[3, 3, 3, 1, 4]), d))
    ),
    "weight missing": Hostile(
        "do not fit", _weights(lambda h, d: safetensors(dict(list(h.items())[:-1]), d))
    ),
    "weight too many": Hostile(
        "do not fit",
        _weights(lambda h, d: safetensors(
            {**h, "os.system": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, d)),
    ),
    "weights of 64 bits": Hostile(
        "no network has", _weights(lambda h, d: safetensors(_first(h, dtype="F64"), d))
    ),
    "weights of no type": Hostile(
        "no network has", _weights(lambda h, d: safetensors(_first(h, dtype=["F32"]), d))
    ),
    "NaN in the weights": Hostile(
        "not numbers", _weights(lambda h, d: safetensors(h, b"\xff" * 4 + d[4:]))
    ),
    "infinity in the weights": Hostile(
        "not numbers",
        _weights(lambda h, d: safetensors(h, d[:-4] + struct.pack("<f", float("inf")))),
    ),
    "weights cut short": Hostile("damaged", _weights(lambda h, d: safetensors(h, d[:-4]))),
    "weights with more behind": Hostile(
        "damaged", _weights(lambda h, d: safetensors(h, d + b"evil"))
    ),
    "weights far too large": Hostile(
        "larger than the plan", _weights(lambda h, d: safetensors(h, d + b"\0" * 2**20))
    ),
}  # fmt: skip
