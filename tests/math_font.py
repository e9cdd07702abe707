"""Makes the mathematics font of the report page, by hand: `python -m tests.math_font latinmodern-math.otf`; it needs fonttools and
brotli, which nothing else of symbptt does."""

import sys
from pathlib import Path

from symbptt.webpage.font import FAMILY, FILE, LETTERS


def write(source: str, path: Path) -> None:
    from fontTools import subset, ttLib

    font = ttLib.TTFont(source)
    options = subset.Options(flavor="woff2", layout_features=[], hinting=False, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14])
    maker = subset.Subsetter(options)
    maker.populate(text=LETTERS)
    maker.subset(font)
    names = font["name"]
    for id in (1, 3, 4, 6, 16):
        for record in [r for r in names.names if r.nameID == id]:
            names.setName(
                FAMILY.replace(" ", "" if id == 6 else " "), id, record.platformID, record.platEncID, record.langID
            )
    if "CFF " in font:
        cff = font["CFF "].cff
        cff.fontNames = [FAMILY.replace(" ", "")]
        cff.topDictIndex[0].FullName = cff.topDictIndex[0].FamilyName = FAMILY
    font.flavor = "woff2"
    font.save(path)


if __name__ == "__main__":
    write(sys.argv[1], Path(__file__).parent.parent / "symbptt" / "webpage" / FILE)
