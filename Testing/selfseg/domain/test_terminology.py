"""Codes of structures as Slicer writes them, and names as people do."""

from __future__ import annotations

import pytest

from selfseg.domain.terminology import folded, parse_terms

KIDNEY, LEFT = "SCT^64033007", "SCT^7771000"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("SCT^10200004^Liver", ("SCT^10200004", "", "", "")),
        ("context~SCT^1^A~SCT^10200004^Liver~^^~other~^^~^^", ("SCT^10200004", "", "", "")),
        (f"~SCT^1^A~{KIDNEY}^Kidney~{LEFT}^Left~~^^~^^", (KIDNEY, LEFT, "", "")),
        (f"c~SCT^1^A~SCT^4^Mass~^^~r~{KIDNEY}^Kidney~^^", ("SCT^4", "", KIDNEY, "")),
        (f"SCT^1^A~{KIDNEY}^Kidney~{LEFT}^Left", (KIDNEY, LEFT, "", "")),
        ("c~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~r~^^~^^", None),
        ("c~^^~^^~^^~r~^^~^^", None),
        ("liver", None),
        ("", None),
    ],
)  # fmt: skip
def test_terminology_as_slicer_writes_it(text: str, key: tuple[str, ...] | None) -> None:
    terms = parse_terms(text)
    assert (None if terms is None else terms.key) == key
    if terms is not None and key is not None:
        assert parse_terms(terms.text) == terms


def test_names_are_folded() -> None:
    assert folded("Left kidney") == folded("left_Kidney ") == folded("LEFT-KIDNEY")
    assert folded("rib 1") != folded("rib 11")
