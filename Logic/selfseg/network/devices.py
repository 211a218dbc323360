"""Where networks run, and in which arithmetic."""

from __future__ import annotations

import torch

from ..domain.errors import UsageError


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then MPS, then the processor.

    Raises:
        UsageError: this machine, or this installation of PyTorch, has no such device.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if not present.get(name.split(":")[0], False):
        raise UsageError(
            f"there is no device {name!r} here",
            expected="one of auto, " + ", ".join(kind for kind, there in present.items() if there),
            found=name,
            cure="choose --device cpu, or install PyTorch for your graphics card",
        )
    return torch.device(name)


def inference_dtype(device: torch.device, autocast: str = "auto") -> torch.dtype | None:
    """The half precision to predict in, or None for float32.

    "auto" is float16 on CUDA, bfloat16 on processors that multiply it in hardware (on others
    it is emulated and slow), float32 elsewhere.

    Args:
        device: where the network runs.
        autocast: "auto", "bfloat16", "float16" or "off".

    Raises:
        UsageError: another word.
    """
    wanted = {"bfloat16": torch.bfloat16, "float16": torch.float16, "off": None}
    if autocast in wanted:
        dtype = wanted[autocast]
        # A processor trained elsewhere in float16 has no fast kernels for it.
        return torch.bfloat16 if dtype is torch.float16 and device.type == "cpu" else dtype
    if autocast != "auto":
        raise UsageError(
            "unknown arithmetic",
            expected="auto, bfloat16, float16 or off",
            found=autocast,
            cure="correct `autocast` in the plan",
        )
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_bfloat16() else None


def cpu_has_bfloat16() -> bool:
    """True where the processor multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    # The probes are private; without them float32 is right, only slower.
    probes = (
        getattr(torch.cpu, name, None)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(bool(probe()) for probe in probes if probe is not None)
