"""The numbers of a checkpoint are those that PyTorch reads, whatever form it stored them in."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from selfseg.registry.nnunet_inert import read_structure
from selfseg.registry.nnunet_numbers import read_numbers

KINDS = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
         torch.int8, torch.bool)  # fmt: skip
TENSORS = {
    "plain": torch.randn(3, 4, 5),
    "transposed": torch.randn(3, 4, 5).transpose(0, 2),
    "part of another": torch.randn(10, 6)[2:7:2, 1:],
    "one number": torch.tensor(7.5),
    "empty": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.randn(4)),
    **{str(kind): (torch.randn(5, 3) * 20).to(kind) for kind in KINDS},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("numbers") / "checkpoint_final.pth"
    shared = {"shared": TENSORS["plain"], "shared part": TENSORS["plain"][1:]}
    torch.save({"network_weights": TENSORS | shared}, path)
    return path


def test_the_numbers_are_those_of_pytorch(checkpoint: Path) -> None:
    found = read_numbers(checkpoint, read_structure(checkpoint)["network_weights"])
    expected = torch.load(checkpoint, weights_only=True)["network_weights"]
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(
            array, expected[name].detach().to(torch.float32).numpy(), name
        )


def test_the_byte_order_is_the_files_own(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "big.pth"
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("/byteorder"):
                data = b"big"
            target.writestr(name, data)
    tensors = read_structure(checkpoint)["network_weights"]
    found = read_numbers(other, tensors)["plain"]
    expected = TENSORS["plain"].numpy().astype(">f4").view("<f4")
    np.testing.assert_array_equal(found.view("u4"), expected.view("u4"))


def test_damaged_numbers_are_noticed(checkpoint: Path, tmp_path: Path) -> None:
    tensor = read_structure(checkpoint)["network_weights"]["plain"]
    content = checkpoint.read_bytes()
    numbers = TENSORS["plain"].numpy().tobytes()
    place = content.index(numbers)
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(content[:place] + bytes(8) + content[place + 8 :])
    with pytest.raises(zipfile.BadZipFile):
        read_numbers(damaged, {"plain": tensor})
