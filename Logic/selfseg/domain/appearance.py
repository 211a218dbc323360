"""How a structure is shown: its colour, and what it is in a terminology."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ModelError
from .labels import Colour


@dataclass(frozen=True)
class Code:
    """One entry of a terminology: "SCT", "10200004", "Liver" (scheme names as in DICOM).

    Raises:
        ModelError: a part is empty or holds one of the signs that separate parts, ^ and ~.
    """

    scheme: str
    value: str
    meaning: str

    def __post_init__(self) -> None:
        parts = (self.scheme, self.value, self.meaning)
        if any(
            not part.strip() or not part.isprintable() or set(part) & set("^~") for part in parts
        ):
            raise _error(
                "this is no code of a terminology",
                "a scheme, a value and a meaning, without ^ and ~",
                repr(parts),
                "correct the structure's codes, or leave them out",
            )

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"

    @classmethod
    def from_text(cls, text: str) -> Code:
        """Reads "SCT^10200004^Liver", the form of `Label.code`.

        Raises:
            ModelError: the text has another form.
        """
        parts = text.split("^")
        if len(parts) != 3:
            raise _error(
                "this is no code of a terminology",
                "SCHEME^VALUE^MEANING, as SCT^10200004^Liver",
                repr(text),
                "correct the structure's code, or leave it out",
            )
        return cls(*parts)


@dataclass(frozen=True)
class Appearance:
    """How one structure is shown: RGB 0-255, and what it is in a terminology.

    `category`, `type` and `modifier` are those of DICOM segmentations and Slicer: "Anatomical
    Structure", "Kidney", "Left". None where nobody has said.

    Raises:
        ModelError: no colour, or a type without a category, or a modifier without a type.
    """

    name: str
    colour: Colour
    category: Code | None = None
    type: Code | None = None
    modifier: Code | None = None

    def __post_init__(self) -> None:
        if len(self.colour) != 3 or any(not 0 <= part <= 255 for part in self.colour):
            raise _error(
                f"{self.name!r} has no valid colour",
                "red, green and blue from 0 to 255",
                str(self.colour),
                "correct the structure's colour",
            )
        codes = (self.category, self.type, self.modifier)
        if any(codes[i] is None and codes[i + 1] is not None for i in range(2)):
            raise _error(
                f"the codes of {self.name!r} are not complete",
                "a category with every type, and a type with every modifier",
                ", ".join(map(str, codes)),
                "add the missing code, or leave the others out",
            )


def _error(what: str, expected: str, found: str, cure: str) -> ModelError:
    return ModelError(what, expected=expected, found=found, cure=cure)
