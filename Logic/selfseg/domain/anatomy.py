"""SNOMED CT codes of structures by their names, as far as they are certain.

The codes are those with which 3D Slicer's TotalSegmentator extension writes DICOM segmentations
(lassoan/SlicerTotalSegmentator, totalsegmentator_snomed_mapping.csv), with the names of DICOM
PS3.16; superior vena cava is DICOM's "SVC" (PS3.16 Annex L), tumour and lesion are of CID 7159.
A name that is not in the list has no code: none is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .appearance import Appearance, Code
from .colours import distinct_colours
from .labels import Label, LabelScheme

Codes = tuple[Code | None, Code | None, Code | None]
"""Category, type, modifier."""

ANATOMICAL_STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
ALTERED_STRUCTURE = Code("SCT", "49755003", "Morphologically Altered Structure")
TISSUE = Code("SCT", "85756007", "Tissue")
LEFT = Code("SCT", "7771000", "Left")
RIGHT = Code("SCT", "24028007", "Right")

# There is one in each body.
_SINGLE: Mapping[str, tuple[str, str]] = {
    "aorta": ("15825003", "Aorta"),
    "brain": ("12738006", "Brain"),
    "brachiocephalic trunk": ("12691009", "Brachiocephalic artery"),
    "colon": ("71854001", "Colon"),
    "coronary arteries": ("41801008", "Coronary artery"),
    "coronary artery": ("41801008", "Coronary artery"),
    "duodenum": ("38848004", "Duodenum"),
    "esophagus": ("32849002", "Esophagus"),
    "oesophagus": ("32849002", "Esophagus"),
    "face": ("89545001", "Face"),
    "gallbladder": ("28231008", "Gallbladder"),
    "gall bladder": ("28231008", "Gallbladder"),
    "heart": ("80891009", "Heart"),
    "heart atrium left": ("82471001", "Left atrium"),
    "heart atrium right": ("73829009", "Right atrium"),
    "left atrium": ("82471001", "Left atrium"),
    "right atrium": ("73829009", "Right atrium"),
    "heart myocardium": ("74281007", "Myocardium"),
    "myocardium": ("74281007", "Myocardium"),
    "heart ventricle left": ("87878005", "Left ventricle of heart"),
    "heart ventricle right": ("53085002", "Right ventricle of heart"),
    "left ventricle of heart": ("87878005", "Left ventricle of heart"),
    "right ventricle of heart": ("53085002", "Right ventricle of heart"),
    "inferior vena cava": ("64131007", "Inferior vena cava"),
    "liver": ("10200004", "Liver"),
    "lung middle lobe right": ("72481006", "Middle lobe of right lung"),
    "pancreas": ("15776009", "Pancreas"),
    "portal vein and splenic vein": ("110765007", "Portal vein and splenic vein"),
    "prostate": ("41216001", "Prostate"),
    "sacrum": ("54735007", "Sacrum"),
    "skull": ("89546000", "Skull"),
    "small bowel": ("30315005", "Small Intestine"),
    "small intestine": ("30315005", "Small Intestine"),
    "spinal cord": ("2748008", "Spinal cord"),
    "spleen": ("78961009", "Spleen"),
    "sternum": ("56873002", "Sternum"),
    "stomach": ("69695003", "Stomach"),
    "superior vena cava": ("48345005", "Superior vena cava"),
    "trachea": ("44567001", "Trachea"),
    "urinary bladder": ("89837001", "Urinary bladder"),
}

# There is one on each side; "left" or "right" in the name becomes the modifier.
_PAIRED: Mapping[str, tuple[str, str]] = {
    "adrenal gland": ("23451007", "Adrenal gland"),
    "brachiocephalic vein": ("8887007", "Brachiocephalic vein"),
    "clavicle": ("51299004", "Clavicle"),
    "clavicula": ("51299004", "Clavicle"),
    "common carotid artery": ("32062004", "Common carotid artery"),
    "common iliac artery": ("73634005", "Common iliac artery"),
    "common iliac vein": ("46027005", "Common iliac vein"),
    "femur": ("71341001", "Femur"),
    "fibula": ("87342007", "Fibula"),
    "gluteus maximus": ("181674001", "Gluteus maximus muscle"),
    "gluteus medius": ("78333006", "Gluteus medius muscle"),
    "gluteus minimus": ("75297007", "Gluteus minimus muscle"),
    "humerus": ("85050009", "Humerus"),
    "iliac artery": ("73634005", "Common iliac artery"),
    "iliac vena": ("46027005", "Common iliac vein"),
    "iliopsoas": ("68455001", "Iliopsoas muscle"),
    "kidney": ("64033007", "Kidney"),
    "lung": ("39607008", "Lung"),
    "lung lower lobe": ("90572001", "Lower lobe of lung"),
    "lung upper lobe": ("45653009", "Upper lobe of lung"),
    "patella": ("64234005", "Patella"),
    "pulmonary artery": ("81040000", "Pulmonary artery"),
    "pulmonary vein": ("122972007", "Pulmonary vein"),
    "radius": ("62413002", "Radius"),
    "scapula": ("79601000", "Scapula"),
    "subclavian artery": ("29700009", "Subclavian artery"),
    "tibia": ("12611008", "Tibia"),
    "ulna": ("23416004", "Ulna"),
}

_RIBS = (
    ("48535007", "First rib"),
    ("78247007", "Second rib"),
    ("25888004", "Third rib"),
    ("25523003", "Fourth rib"),
    ("15339008", "Fifth rib"),
    ("59558009", "Sixth rib"),
    ("24915002", "Seventh rib"),
    ("5953002", "Eighth rib"),
    ("22565002", "Ninth rib"),
    ("77644006", "Tenth rib"),
    ("58830002", "Eleventh rib"),
    ("43993008", "Twelfth rib"),
)

_VERTEBRAE = {
    "c": ("14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001"),
    "t": (
        "64864005", "53733008", "1626008", "73071006", "56401006", "45296009", "62487009",
        "11068009", "82687006", "7610001", "12989004", "23215003",
    ),
    "l": ("66794005", "14293000", "36470004", "11994002", "49668003"),
}  # fmt: skip

# Alone, or after the name of the organ they lie in.
_ALTERED: Mapping[str, tuple[str, str]] = {
    "tumour": ("108369006", "Neoplasm"),
    "tumor": ("108369006", "Neoplasm"),
    "neoplasm": ("108369006", "Neoplasm"),
    "lesion": ("52988006", "Lesion"),
    "cyst": ("367643001", "Cyst"),
}


def codes_of(name: str) -> Codes:
    """Category, type and modifier of a structure's name: "kidney_left", "Left kidney".

    Case does not matter, nor do blanks, underscores and hyphens. All None where the name is
    not in the list.
    """
    words = re.split(r"[\s_-]+", name.strip().lower())
    text = " ".join(words)
    if text in _SINGLE:
        return ANATOMICAL_STRUCTURE, Code("SCT", *_SINGLE[text]), None
    organ = " ".join(words[:-1])
    if words[-1] in _ALTERED and (not organ or codes_of(organ)[0] is not None):
        return ALTERED_STRUCTURE, Code("SCT", *_ALTERED[words[-1]]), None
    sides = [word for word in words if word in ("left", "right")]
    side = None if len(sides) != 1 else LEFT if sides == ["left"] else RIGHT
    rest = " ".join(word for word in words if word not in ("left", "right"))
    found = _PAIRED.get(rest) or _rib(rest)
    if found is not None and len(sides) < 2:
        return ANATOMICAL_STRUCTURE, Code("SCT", *found), side
    vertebra = _vertebra(text)
    if vertebra is not None:
        return ANATOMICAL_STRUCTURE, Code("SCT", *vertebra), None
    return None, None, None


def appearances_of(scheme: LabelScheme) -> tuple[Appearance, ...]:
    """How the structures of a scheme are shown, where nobody has said more.

    A label's own colour and code go before the palette and the list.

    Raises:
        ModelError: a label's code has another form than "SCT^10200004^Liver".
    """
    palette = distinct_colours(len(scheme.foreground))
    return tuple(
        Appearance(label.name, label.colour or colour, *_codes_of_label(label))
        for label, colour in zip(scheme.foreground, palette, strict=True)
    )


def _codes_of_label(label: Label) -> Codes:
    known = codes_of(label.name)
    if label.code is None:
        return known
    own = Code.from_text(label.code)
    if known[1] is not None and (known[1].scheme, known[1].value) == (own.scheme, own.value):
        return known
    return TISSUE, own, None


def _rib(text: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"rib (\d{1,2})", text)
    number = int(match[1]) if match else 0
    return _RIBS[number - 1] if 1 <= number <= len(_RIBS) else None


def _vertebra(text: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"(?:vertebrae? )?([ctl])(\d{1,2})(?: vertebra)?", text)
    if match is None or "vertebra" not in text:
        return None
    level, number = _VERTEBRAE[match[1]], int(match[2])
    if not 1 <= number <= len(level):
        return None
    return level[number - 1], f"{match[1].upper()}{number} vertebra"
