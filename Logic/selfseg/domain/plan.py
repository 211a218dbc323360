"""Everything that is decided before training, fully resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .configurations import CONFIGURATIONS
from .dataset import DatasetDescription
from .errors import PlanError
from .fingerprint import IntensityProperties
from .geometry import Vector3

Architecture = Literal["plain", "residual"]
PlannerName = Literal["plain", "resenc_m", "resenc_l", "resenc_xl"]
PLANNERS: tuple[PlannerName, ...] = ("plain", "resenc_m", "resenc_l", "resenc_xl")
DEFAULT_MEMORY_GB: Mapping[PlannerName, float] = {
    "plain": 8.0,
    "resenc_m": 8.0,
    "resenc_l": 24.0,
    "resenc_xl": 40.0,
}
"""Graphics memory (GB) each planner's reference is made for (RECIPE), and its default target."""
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Orientation = Literal["as_stored", "ras"]


@dataclass(frozen=True)
class NetworkPlan:
    """The shape of a U-Net; lists run from the highest resolution to the bottleneck.

    `blocks_per_stage`: convolutions (plain) or residual blocks (residual) per encoder stage.
    `convs_per_decoder_stage` has one entry less: from the bottleneck upwards.

    Raises:
        PlanError: lists of different length or dimension.
    """

    architecture: Architecture
    features_per_stage: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    blocks_per_stage: tuple[int, ...]
    convs_per_decoder_stage: tuple[int, ...]

    def __post_init__(self) -> None:
        n = len(self.features_per_stage)
        same = {len(self.kernel_sizes), len(self.strides), len(self.blocks_per_stage)} == {n}
        if n < 1 or not same or len(self.convs_per_decoder_stage) != n - 1:
            raise PlanError(
                "the network's lists do not belong together",
                expected="one feature count, kernel, stride and block count per stage, and "
                "one decoder entry less",
                found=f"{n} feature counts, {len(self.kernel_sizes)} kernels, "
                f"{len(self.strides)} strides, {len(self.blocks_per_stage)} block counts, "
                f"{len(self.convs_per_decoder_stage)} decoder entries",
                cure="plan again with `selfseg plan`",
            )

    @property
    def stage_count(self) -> int:
        """Number of resolutions, the bottleneck included."""
        return len(self.features_per_stage)

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.strides[0])


@dataclass(frozen=True)
class ConfigurationPlan:
    """One way to see the data (2d, 3d_fullres, ...) with its network.

    `spacing` (mm), `patch_size` and `median_shape` (voxels at that spacing) are in plan axis
    order and have two entries for 2d. `normalisation` and `normalise_in_mask` have one entry
    per channel. `previous_stage` names the configuration whose predictions are extra input.
    """

    name: str
    spacing: tuple[float, ...]
    patch_size: tuple[int, ...]
    median_shape: tuple[float, ...]
    batch_size: int
    normalisation: tuple[str, ...]
    normalise_in_mask: tuple[bool, ...]
    batch_dice: bool
    network: NetworkPlan
    previous_stage: str | None = None

    @property
    def is_2d(self) -> bool:
        """True where the network works on slices."""
        return len(self.patch_size) == 2


@dataclass(frozen=True)
class Schedule:
    """How long to train and with which optimiser constants (RECIPE's are the defaults).

    `seconds` caps the wall clock of one training, final validation included; the learning
    rate then follows the share of time used, and `epochs` is an upper bound.
    `foreground_cases` says which case a patch comes from that must hold foreground: any case
    that has some ("with_foreground"), or, for very rare structures, any case that has the
    structure drawn before ("by_structure").
    """

    epochs: int = 1000
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    learning_rate: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 3e-5
    gradient_clip: float = 12.0
    poly_exponent: float = 0.9
    foreground_share: float = 0.33
    seconds: float | None = None
    warmup_iterations: int = 0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    augmentation: Literal["full", "mild", "mirror"] = "full"
    foreground_cases: Literal["with_foreground", "by_structure"] = "with_foreground"


@dataclass(frozen=True)
class ComputeTarget:
    """What the plan is made for: graphics memory, a device, maybe a time budget (seconds).

    `seconds` is for one training.
    """

    memory_gb: float
    device: DeviceName = "auto"
    seconds: float | None = None


@dataclass(frozen=True)
class SpeedSample:
    """Measured cost of one training step of one network on this machine."""

    features: tuple[int, ...]
    dimensions: int
    patch_size: tuple[int, ...]
    batch_size: int
    seconds_per_step: float
    feature_map_elements: float
    multiply_adds: float
    memory_bytes: int


@dataclass(frozen=True)
class SpeedProfile:
    """How fast this machine trains: a few timed steps of networks of different size."""

    device: str
    threads: int
    autocast: str
    """"bfloat16", "float16" or "off": what was the fastest safe arithmetic."""
    samples: tuple[SpeedSample, ...]
    machine: str = ""


@dataclass(frozen=True)
class Decision:
    """One thing the planner decided, in words: what, the value, and why."""

    what: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All decisions. A pure function of fingerprint, description, target and SpeedProfile.

    `transpose_forward[i]` is the native axis (Z, Y, X) that becomes plan axis i;
    `original_median_spacing` and `original_median_shape` are in plan axis order.
    `recommended` lists the configurations worth training, simplest first.
    `orientation` "ras": before all else the image is turned so that its array axes (Z, Y, X) run
    as nearly as they can upwards, forwards and to the right, whatever way it is stored.

    Raises:
        PlanError: nothing to train, or a recommended configuration is missing.
    """

    name: str
    planner: PlannerName
    description: DatasetDescription
    original_median_spacing: Vector3
    original_median_shape: tuple[int, int, int]
    transpose_forward: tuple[int, int, int]
    transpose_backward: tuple[int, int, int]
    configurations: Mapping[str, ConfigurationPlan]
    foreground_intensities: tuple[IntensityProperties, ...]
    target: ComputeTarget
    schedule: Schedule = field(default_factory=Schedule)
    recommended: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    autocast: str = "auto"
    orientation: Orientation = "as_stored"

    def __post_init__(self) -> None:
        if not self.configurations:
            raise PlanError(
                "the plan holds no configuration",
                expected="at least one of " + ", ".join(known.name for known in CONFIGURATIONS),
                found="none",
                cure="plan again with `selfseg plan`",
            )
        missing = [name for name in self.recommended if name not in self.configurations]
        if missing:
            raise PlanError(
                "the plan recommends a configuration it does not hold",
                expected=", ".join(self.configurations),
                found=", ".join(missing),
                cure="plan again with `selfseg plan`",
            )

    def configuration(self, name: str) -> ConfigurationPlan:
        """The configuration of that name.

        Raises:
            PlanError: the plan has none of that name.
        """
        if name not in self.configurations:
            raise PlanError(
                f"the plan has no configuration {name!r}",
                expected="one of " + ", ".join(self.configurations),
                found=name,
                cure="choose one of these with -c; 3d_lowres and the cascade exist only where "
                "the images are much larger than the patch",
            )
        return self.configurations[name]

    def input_channels(self, name: str) -> int:
        """Channels the network of that configuration takes, cascade input included."""
        return len(self.description.channel_names) + len(self.previous_values(name))

    def previous_values(self, name: str) -> tuple[int, ...]:
        """The label values whose masks are extra input of a cascade, one channel each, in order.

        Values and not heads, with regions too: the first stage's label map is the input. None
        without a cascade.
        """
        cascaded = self.configuration(name).previous_stage is not None
        return self.description.labels.values if cascaded else ()

    def next_stages(self, name: str) -> tuple[str, ...]:
        """The configurations that take the predictions of that one as input."""
        return tuple(
            other for other, entry in self.configurations.items() if entry.previous_stage == name
        )

    def images_of(self, name: str) -> str:
        """The configuration whose preprocessed images that one reads.

        A cascade reads those of the first configuration that is preprocessed in the same way
        (3d_fullres), every other configuration its own.
        """
        chosen = self.configuration(name)
        if chosen.previous_stage is None:
            return name
        for other, entry in self.configurations.items():
            if entry.previous_stage is None and (
                (entry.spacing, entry.normalisation, entry.normalise_in_mask)
                == (chosen.spacing, chosen.normalisation, chosen.normalise_in_mask)
            ):
                return other
        return name
