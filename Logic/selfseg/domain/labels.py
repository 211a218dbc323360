"""What the voxels of a label map mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import DatasetError

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Label:
    """One structure.

    `values` holds one label value for a plain label and several for a region, which is the
    union of them. `colour` is RGB 0-255; `code` a terminology code ("SCT^10200004^Liver").
    """

    name: str
    values: tuple[int, ...]
    colour: Colour | None = None
    code: str | None = None

    @property
    def key(self) -> str:
        """The name of this structure in score files: "3", or "(1, 2)" for a region."""
        return str(self.values[0]) if len(self.values) == 1 else str(self.values)


@dataclass(frozen=True)
class LabelScheme:
    """The structures of a data set, background (value 0) left out.

    Label values are unique and may have gaps: the network's head i+1 (labels) stands for
    `foreground[i]`, head 0 for background. With regions every head i is `foreground[i]`, the
    heads overlap, and `regions_class_order[i]` is the value that region i writes, later ones
    over earlier ones.

    Raises:
        DatasetError: no foreground, doubled names or values, a region without an order.
    """

    foreground: tuple[Label, ...]
    regions_class_order: tuple[int, ...] | None = None
    ignore: int | None = None

    def __post_init__(self) -> None:
        if not self.foreground:
            raise DatasetError(
                "there is nothing to segment",
                expected="at least one label besides background",
                found="none",
                cure='add your structures to "labels" in dataset.json',
            )
        names = [label.name for label in self.foreground]
        if len(set(names)) != len(names):
            raise DatasetError(
                "two labels have the same name",
                expected="unique names",
                found=", ".join(sorted({n for n in names if names.count(n) > 1})),
                cure='rename one of them in "labels" of dataset.json',
            )
        for label in self.foreground:
            if not label.values or any(v < 0 for v in label.values) or label.values == (0,):
                raise DatasetError(
                    f"the label {label.name!r} has no valid value",
                    expected="whole numbers above 0 (0 is background)",
                    found=str(label.values),
                    cure='correct "labels" in dataset.json',
                )
        if self.has_regions:
            self._check_regions()
        else:
            values = [label.values[0] for label in self.foreground]
            if len(set(values)) != len(values):
                raise DatasetError(
                    "two labels have the same value",
                    expected="unique values",
                    found=str(values),
                    cure='correct "labels" in dataset.json',
                )
        if self.ignore is not None and self.ignore in self.values:
            raise DatasetError(
                f"the ignore value {self.ignore} is also a structure's value",
                expected="a value of its own (the highest, by nnU-Net's convention)",
                found=str(self.values),
                cure='give "ignore" another value in dataset.json',
            )

    def _check_regions(self) -> None:
        order = self.regions_class_order
        if order is None or len(order) != len(self.foreground):
            raise DatasetError(
                "the labels contain regions, and nothing says in which order they are written",
                expected=f'"regions_class_order" with {len(self.foreground)} values, '
                "one per region in the order of the labels",
                found="no regions_class_order" if order is None else str(list(order)),
                cure='add "regions_class_order" to dataset.json, the outermost region first',
            )

    @property
    def has_regions(self) -> bool:
        """True where structures overlap and the network has sigmoid heads."""
        return self.regions_class_order is not None or any(
            len(label.values) > 1 for label in self.foreground
        )

    @property
    def values(self) -> tuple[int, ...]:
        """All label values that a label map may hold for a structure, sorted, 0 left out.

        Also the order of a cascade's extra channels.
        """
        return tuple(sorted({v for label in self.foreground for v in label.values} - {0}))

    @property
    def allowed_values(self) -> frozenset[int]:
        """All values a reference label map may hold, background and ignore included."""
        extra = () if self.ignore is None else (self.ignore,)
        return frozenset((0, *self.values, *extra))

    @property
    def head_count(self) -> int:
        """Output channels of the network: regions, or background and every label."""
        return len(self.foreground) if self.has_regions else len(self.foreground) + 1

    @classmethod
    def from_mapping(
        cls,
        labels: Mapping[str, int | Sequence[int]],
        regions_class_order: Sequence[int] | None = None,
    ) -> LabelScheme:
        """Builds the scheme from nnU-Net's `labels`, in the order they are declared.

        The names "background" and "ignore" are taken out by name, as the format defines them.

        Raises:
            DatasetError: see the class.
        """
        foreground: list[Label] = []
        ignore: int | None = None
        for name, value in labels.items():
            values = (value,) if isinstance(value, int) else tuple(value)
            if name == "ignore":
                ignore = values[0]
            elif name == "background" or values == (0,):
                continue
            else:
                foreground.append(Label(str(name), tuple(int(v) for v in values)))
        order = None if regions_class_order is None else tuple(regions_class_order)
        if order is not None and all(len(label.values) == 1 for label in foreground):
            # nnU-Net's format allows the key in a data set without regions and ignores it.
            order = None
        return cls(tuple(foreground), order, ignore)

    def to_mapping(self) -> dict[str, int | list[int]]:
        """The inverse of `from_mapping`: nnU-Net's `labels`."""
        mapping: dict[str, int | list[int]] = {"background": 0}
        for label in self.foreground:
            mapping[label.name] = label.values[0] if len(label.values) == 1 else list(label.values)
        if self.ignore is not None:
            mapping["ignore"] = self.ignore
        return mapping
