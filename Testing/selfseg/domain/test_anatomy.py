"""Codes of structures: facts, or nothing; colours that can be told apart."""

from __future__ import annotations

import pytest

from selfseg.domain import anatomy
from selfseg.domain.anatomy import appearances_of, codes_of
from selfseg.domain.colours import OKABE_ITO, distinct_colours, smallest_difference
from selfseg.domain.labels import Label, LabelScheme

# Verhoeff's check digit, which ends every SNOMED CT identifier.
_PERMUTED = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    _PERMUTED.append([_PERMUTED[-1][i] for i in _PERMUTED[1]])


def _dihedral(first: int, second: int) -> int:
    """The product in the group of the pentagon's symmetries."""
    if first < 5:
        return (first + second) % 5 + (5 if second >= 5 else 0)
    return (first - second) % 5 + (5 if second < 5 else 0)


def _is_identifier(code: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = _dihedral(check, _PERMUTED[place % 8][int(digit)])
    return check == 0


def test_every_code_has_a_valid_check_digit() -> None:
    lists = (anatomy._SINGLE, anatomy._PAIRED, anatomy._ALTERED)
    codes = [code for known in lists for code, _ in known.values()]
    codes += [code for code, _ in anatomy._RIBS]
    codes += [code for level in anatomy._VERTEBRAE.values() for code in level]
    codes += [
        code.value
        for code in (
            anatomy.ANATOMICAL_STRUCTURE, anatomy.ALTERED_STRUCTURE, anatomy.TISSUE,
            anatomy.LEFT, anatomy.RIGHT,
        )
    ]  # fmt: skip
    assert len(codes) > 100
    assert [code for code in codes if not _is_identifier(code)] == []
    assert not _is_identifier("10200005")


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("liver", "10200004", None),
        ("Left Kidney", "64033007", "Left"),
        ("kidney_right", "64033007", "Right"),
        ("lung", "39607008", None),
        ("vertebrae_C7", "87391001", None),
        ("T12 vertebra", "23215003", None),
        ("rib_left_12", "43993008", "Left"),
        ("heart_atrium_left", "82471001", None),
        ("liver tumour", "108369006", None),
        ("lesion", "52988006", None),
    ],
)
def test_known_names(name: str, code: str, side: str | None) -> None:
    category, kind, modifier = codes_of(name)
    assert category is not None
    assert kind is not None
    assert kind.value == code
    assert (modifier.meaning if modifier else None) == side


@pytest.mark.parametrize(
    "name", ["", "anterior", "thing", "C8 vertebra", "rib 13", "t1", "whole tumor", "liver left",
             "left right kidney", "lesion_change", "core"],
)  # fmt: skip
def test_nothing_is_guessed(name: str) -> None:
    assert codes_of(name) == (None, None, None)


def test_what_a_label_says_itself_goes_first() -> None:
    scheme = LabelScheme(
        (
            Label("liver", (1,), (1, 2, 3), "SCT^10200004^Liver structure"),
            Label("liver 2", (2,), None, "SCT^78961009^Spleen"),
        )
    )
    first, second = appearances_of(scheme)
    assert first.colour == (1, 2, 3)
    assert first.category == anatomy.ANATOMICAL_STRUCTURE
    assert second.category == anatomy.TISSUE
    assert str(second.type) == "SCT^78961009^Spleen"


def test_colours_begin_with_okabe_and_ito_and_never_repeat() -> None:
    assert distinct_colours(3) == OKABE_ITO[:3]
    for count in (0, 1, 7, 8, 61, 300):
        assert len(set(distinct_colours(count))) == count
    assert distinct_colours(61)[:20] == distinct_colours(20)


def test_colours_differ_for_every_eye() -> None:
    # A difference of 2.3 in CIELAB is just seen (Mahy et al., 1994).
    assert smallest_difference(distinct_colours(20)) > 15
    assert smallest_difference(distinct_colours(120)) > 4.5


def test_colours_go_on_where_the_candidates_end() -> None:
    assert len(distinct_colours(1500)) == 1500
