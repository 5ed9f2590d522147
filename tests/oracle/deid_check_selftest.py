"""Proof that deid_check finds what it is for: a careful output passes, and each planted fault is reported.

Run by `deid_check.py --self-test`. The careful output is made here, by a de-identifier of thirty lines that is
good enough for the one original below and for nothing else.
"""

import argparse
import copy
import io
import json
import tempfile
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import deid_check

ORIGINAL = Path(__file__).resolve().parent.parent / "fixtures" / "dicom" / "made" / "ct_head.dcm"
OPTIONS = argparse.Namespace(dates=None, uids="mapped", pixels="kept", descriptors="removed")
SHIFTED = {"20190704": "20170101", "20190629": "20161227", "20190611": "20161209", "19310317": "19280914", "20190708": "20170105"}


def new_uid(old: str) -> str:
    return old if deid_check.STANDARD_UID.fullmatch(old) else f"2.25.{sum(ord(c) * 131**n for n, c in enumerate(old)) % 10**30 + 1}"


def scrub(dataset, rules) -> None:
    for tag in list(dataset.keys()):
        element = dataset[tag]
        action = rules.action(int(tag))
        values = [element.value] if isinstance(element.value, str) or not hasattr(element.value, "__iter__") else element.value
        tainted = element.VR in deid_check.TEXT and any("ZZMARK" in str(value) for value in values)
        if action in ("X", "X/Z", "X/D", "XZD") or element.VR == "UN" or action is None and tainted:
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                scrub(item, rules)
        elif element.VR == "UI" and element.value:
            element.value = new_uid(element.value) if isinstance(element.value, str) else [new_uid(one) for one in element.value]
        elif action and element.VR in ("DA", "DT") and element.value:
            element.value = SHIFTED[str(element.value)[:8]] + str(element.value)[8:]
        elif action in ("Z", "Z/D"):
            element.value = None if element.VR != "PN" else ""
        elif action == "D":
            element.value = "DUMMY"


def careful(rules):
    output = pydicom.dcmread(ORIGINAL, force=True)
    output.preamble = b"\0" * 128
    scrub(output, rules)
    output.PatientName, output.PatientID = "K4Q2", "K4Q2"
    output.PatientIdentityRemoved, output.DeidentificationMethod = "YES", "self-test"
    codes = []
    for value in ("113100", "113107"):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", "see PS3.16 CID 7050"
        codes.append(item)
    output.DeidentificationMethodCodeSequence = Sequence(codes)
    output.LongitudinalTemporalInformationModified = "MODIFIED"
    for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle",
                    "PrivateInformationCreatorUID", "PrivateInformation"):
        delattr(output.file_meta, keyword)
    output.file_meta.MediaStorageSOPInstanceUID = output.SOPInstanceUID
    return output


def nested(ds):
    return ds.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]


def in_private(ds, element, vr, value):
    ds.private_block(0x0077, "SOMEBODY", create=True).add_new(element, vr, value)


def under_un(ds):
    """Undecoded sequence item: PatientID inside UN, implicit little endian."""
    body = b"\x10\x00\x20\x00\x0a\x00\x00\x00ZZMARKPID1"
    ds.add_new(0x00082229, "UN", b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body)


def setter(keyword, value):
    return lambda ds: setattr(ds, keyword, value)


# (what is planted, how, the kind that must be reported, part of the path that must be named)
LEAKS = [
    ("name kept", setter("PatientName", "ZZMARKFAM1^X"), "identifier", "(0010,0010)"),
    ("number in a kept text", setter("ManufacturerModelName", "unit ZZMARKPID1"), "identifier", "(0008,1090)"),
    ("name in another case", setter("ManufacturerModelName", "unit zzmarkfam1"), "identifier", "(0008,1090)"),
    ("name in a kept nested item", lambda ds: setattr(nested(ds), "CodeMeaning", "of ZZMARKGIV1"), "identifier", "(0008,2218)[0](0008,2220)[0](0008,0104)"),
    ("nested identity untouched", lambda ds: setattr(nested(ds), "PatientName", "ZZMARKDEEPFAM^ZZMARKDEEPGIV"), "identifier", "(0010,0010)"),
    ("description kept", setter("SeriesDescription", "ZZMARKSERIESDESC"), "text", "(0008,103E)"),
    ("date kept", setter("StudyDate", "20190704"), "date", "(0008,0020)"),
    ("date in DT", setter("FrameAcquisitionDateTime", "20190704111111+0200"), "date", "(0018,9074)"),
    ("date spelled out", setter("ManufacturerModelName", "of 04.07.2019"), "date", "(0008,1090)"),
    ("date in American spelling", setter("ManufacturerModelName", "of 07/04/2019"), "date", "(0008,1090)"),
    ("UID kept", setter("StudyInstanceUID", "2.999.4711.1.1"), "uid", "(0020,000D)"),
    ("one of several UIDs kept", setter("FailedSOPInstanceUIDList", ["2.25.3", "2.999.4711.8.4"]), "uid", "(0008,0058)"),
    ("UID in a text", setter("ManufacturerModelName", "from 2.999.4711.1.1.1.1"), "uid", "(0008,1090)"),
    ("age over ninety", setter("PatientAge", "093Y"), "age", "(0010,1010)"),
    ("private text", lambda ds: in_private(ds, 1, "LO", "ZZMARKFAM1"), "identifier", "(0077,1001)"),
    ("private bytes", lambda ds: in_private(ds, 1, "OB", b"\1\2ZZMARKFAM1 \0"), "identifier", "(0077,1001)"),
    ("private UTF-16", lambda ds: in_private(ds, 1, "OB", "ZZMARKFAM1".encode("utf-16-le")), "identifier", "(0077,1001)"),
    ("sequence under UN", under_un, "identifier", "(0008,2229)[0](0010,0020)"),
    ("overlay kept", lambda ds: ds.add_new(0x60004000, "LT", "ZZMARKOVLCOMMENT"), "text", "(6000,4000)"),
    ("preamble kept", lambda ds: setattr(ds, "preamble", b"ZZMARKPREAMBLE".ljust(128, b"\0")), "preamble", "preamble"),
    ("sender kept", lambda ds: setattr(ds.file_meta, "SourceApplicationEntityTitle", "ZZMARKSRCAE"), "file meta", "(0002,0016)"),
    ("padding kept", lambda ds: ds.add_new(0xFFFCFFFC, "OB", b"\0\0ZZMARKPADDING \0"), "binary", "byte scan"),
    ("name inside the pixels' bytes", lambda ds: setattr(ds, "PixelData", ds.PixelData[:-10] + b"ZZMARKFAM1"), "identifier", "byte scan"),
]


def private_bytes(value):
    return lambda ds: in_private(ds, 7, "OB", value)


# Values beside what the checker leaves alone (standard UIDs, bare numbers as UIDs). They are planted in the original
# and in the output: (what, how in the original, how in the output, the kind to be reported or None)
BESIDE = [
    ("a standard UID in private bytes", private_bytes(b"1.2.840.10008.5.1.4.1.1.2\0"), setter("ManufacturerModelName", "a 1.2.840.10008.5.1.4.1.1.2"), None),
    ("a text behind a standard UID", private_bytes(b"1.2.840.10008.5.1.4.1.1.2 of Doe\0"), private_bytes(b"1.2.840.10008.5.1.4.1.1.2 of Doe\0"), "binary"),
    ("a UID that begins like a standard one", setter("StudyInstanceUID", "1.2.840.10008.5.x77"), setter("StudyInstanceUID", "1.2.840.10008.5.x77"), "uid"),
    ("a bare number as UID", setter("StudyInstanceUID", "1"), setter("ManufacturerModelName", "unit 1"), None),
    ("a bare number kept as UID", setter("StudyInstanceUID", "1"), setter("StudyInstanceUID", "1"), "uid"),
    ("a short UID kept", setter("StudyInstanceUID", "1.3"), setter("StudyInstanceUID", "1.3"), "uid"),
    ("a short UID in a text", setter("StudyInstanceUID", "1.3"), setter("ManufacturerModelName", "see 1.3."), "uid"),
    ("a longer UID around a short one", setter("StudyInstanceUID", "1.3"), setter("ManufacturerModelName", "1.3.6 and 2.1.3"), None),
]


def drop(keyword):
    return lambda ds: delattr(ds, keyword)


# (what is wrong, how, the field of the report that must speak of it)
FAULTS = [
    ("identity flag missing", drop("PatientIdentityRemoved"), "faults"),
    ("method missing", drop("DeidentificationMethod"), "faults"),
    ("method codes missing", drop("DeidentificationMethodCodeSequence"), "faults"),
    ("dates not declared", drop("LongitudinalTemporalInformationModified"), "faults"),
    ("dates declared kept", setter("LongitudinalTemporalInformationModified", "UNMODIFIED"), "faults"),
    ("dates moved apart", setter("SeriesDate", "20170102"), "faults"),
    ("file meta names another instance", lambda ds: setattr(ds.file_meta, "MediaStorageSOPInstanceUID", "2.25.5"), "faults"),
    ("UID with a leading zero", setter("FrameOfReferenceUID", "2.25.007"), "bad_uids"),
    ("UID too long", setter("FrameOfReferenceUID", "2.25." + "1" * 60), "bad_uids"),
    ("private creator left", lambda ds: ds.add_new(0x00770010, "LO", "SOMEBODY"), "left"),
    ("kept attribute lost", drop("KVP"), "over_scrubbed"),
    ("kept nested attribute lost", lambda ds: delattr(nested(ds), "CodeValue"), "over_scrubbed"),
    ("required attribute lost", drop("StudyDate"), "over_scrubbed"),
    ("kept text altered", setter("Manufacturer", "other"), "altered"),
    ("kept number altered", setter("KVP", "80"), "altered"),
]


def run(rules) -> int:
    failures, secret_values = [], sorted(json.loads((ORIGINAL.parent / "markers.json").read_text())[ORIGINAL.name]["texts"])
    with tempfile.TemporaryDirectory() as folder:

        def written(name, dataset):
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
            path = Path(folder, name)
            path.write_bytes(buffer.getvalue())
            return path

        def report(change=None, original=ORIGINAL):
            output = copy.deepcopy(careful(rules))
            if change:
                change(output)
            line = deid_check.check(original, written("output.dcm", output), rules, OPTIONS)[0]
            text = json.dumps(line)
            if "ZZMARK" in text or any(value in text for value in secret_values) or "2019" in text:
                failures.append("a report quotes a value")
            return line

        line = report()
        if not line["clean"] or line["over_scrubbed"] or line["altered"]:
            failures.append(f"the careful output is blamed: {json.dumps({k: v for k, v in line.items() if k != 'score'})}")
        for name, change, kind, place in LEAKS:
            line = report(change)
            if line["clean"] or not any(hit["kind"] == kind and place in hit["path"] for hit in line["survivors"]):
                failures.append(f"not found: {name}")
        for name, change, where in FAULTS:
            if not report(change)[where]:
                failures.append(f"not found: {name}")
        for name, before, after, kind in BESIDE:
            original = pydicom.dcmread(ORIGINAL, force=True)
            before(original)
            kinds = {hit["kind"] for hit in report(after, written("original.dcm", original))["survivors"]}
            if kinds != ({kind} if kind else set()):
                failures.append(f"{name}: reported as {sorted(kinds)}")
        line = report(lambda ds: setattr(ds, "PixelData", b"\1" + ds.PixelData[1:]))
        if line["pixels"] != "changed" or line["clean"]:
            failures.append("not found: pixels changed")
        if report(drop("PixelData"))["pixels"] != "lost":
            failures.append("not found: pixels lost")
    for failure in failures:
        print(f"self-test: {failure}")
    planted = len(LEAKS) + len(FAULTS) + len(BESIDE) + 2
    print(f"{planted + 1 - len(failures)} passed, {len(failures)} failed")
    return int(bool(failures))
