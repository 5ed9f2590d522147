#!/usr/bin/env python3
"""Judges de-identified files against their originals, by code that shares nothing with the de-identifier.

    deid_check.py ORIGINAL_DIR DEID_DIR [options] < pairs.jsonl
    deid_check.py --self-test

Each line of the input is {"original": path, "deidentified": path or null}, relative to the two folders; null means
refused, which is counted and not judged. Without input, files of the same relative path are paired. One JSON line
leaves for each pair, then one {"summary": ...}. Exit status: 0 nothing found, 1 something found, 2 bad call.

No line ever holds a value: findings name the place in the output, the place in the original whose value was
recognised there, and the kind.

    --dates removed|shifted|kept   what was asked for (default: what (0028,0303) of the output says)
    --uids mapped|kept             default mapped
    --pixels kept|may-change       default kept
    --descriptors removed|cleaned  cleaned: an X or Z text may stay where no identifying word is left in it
    --keep TAGS                    comma-separated tags (8 hex digits) whose action an option has relaxed to K
    --table FILE, --dictionary FILE
"""

import argparse
import io
import json
import logging
import re
import struct
import sys
import warnings
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_sequence

TABLE_FOLDER = Path(__file__).resolve().parents[2] / "components" / "dicom-deid" / "table"
TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
NUMBERS_AS_TEXT = {"DS", "IS"}
BYTES = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
BULK = {0x7FE00008, 0x7FE00009, 0x7FE00010}
# UIDs that name a scheme, a class or a syntax, whoever registered them.
PUBLIC_UID = re.compile(r"SOPClassUID|TransferSyntaxUID|CodingSchemeUID|ContextUID|MappingResourceUID|ImplementationClassUID")
VALID_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
# The standard's own UIDs (PS3.6 Annex A) name classes and syntaxes, not people. Only as a whole value: what merely
# begins like one may go on with anything.
STANDARD_UID = re.compile(r"1\.2\.840\.10008(\.(0|[1-9]\d*))+")
SEARCHED_BYTES = 64 * 1024
# Dummies in common use: an original that holds one of them is not recognised by it.
DUMMY_DATES = {"19000101", "00010101"}
# Names, numbers and places: one word of such a value identifies, so each word is looked for.
IDENTIFYING = re.compile(
    r"(Patient|Physician|Operator|Person|Observer|Reader|Verifying|Responsible|Author|Content(Creator|Reviewer)).*Name|"
    r"NameOf|Names?ToUse|Address|Telephone|TelecomInformation|Institution(al)?(Name|Department|Residence)|StationName|"
    r"AccessionNumber|SerialNumber|PatientID|OtherPatientIDs|IssuerOf|AdmissionID|EpisodeID|StudyID|ProcedureID|StepID|"
    r"PlacerOrderNumber|FillerOrderNumber|Occupation|Location|Insurance|MilitaryRank|BranchOfService|BirthName|DeviceID|DetectorID"
)
COMMON_WORDS = set(
    "and the for von van der with not none null unknown anonymous anonymized patient name test phantom hospital clinic "
    "medical center centre university general department dept radiology institute street road avenue health care "
    "imaging doctor physician female male other head chest body abdomen brain spine knee heart mri mra ct1 mr1".split()
)


# ---- what the table and the dictionary say -------------------------------------------------------------------


class Rules:
    def __init__(self, table: Path, dictionary: Path, keep: set[int]):
        self.exact, self.patterns, self.keep = {}, [], keep
        header, *rows = table.read_text().splitlines()
        if not header.startswith("martello-deid-table 1 "):
            sys.exit(f"deid_check: {table} is not a table of version 1")
        for row in rows:
            mask, action = row[:8], row[9:].strip()
            if "x" in mask:
                self.patterns.append((re.compile(mask.replace("x", "[0-9A-F]")), action))
            else:
                self.exact[int(mask, 16)] = action
        self.known, self.known_patterns = set(), []
        for row in dictionary.read_text().splitlines()[1:]:
            if "x" in row[:8]:
                self.known_patterns.append(re.compile(row[:8].replace("x", "[0-9A-F]")))
            else:
                self.known.add(int(row[:8], 16))

    def action(self, tag: int) -> str | None:
        """The profile's action; None where the table is silent, which means keep for a standard attribute."""
        if tag in self.keep:
            return None
        if tag in self.exact:
            return self.exact[tag]
        if (tag >> 16) % 2:
            return "X"
        digits = f"{tag:08X}"
        for pattern, action in self.patterns:
            if pattern.fullmatch(digits):
                return action
        return None if self.standard(tag) else "X"

    def standard(self, tag: int) -> bool:
        if tag in self.known:
            return True
        digits = f"{tag:08X}"
        return (tag >> 16) % 2 == 0 and any(pattern.fullmatch(digits) for pattern in self.known_patterns)


# ---- every element of a file ---------------------------------------------------------------------------------


@dataclass
class Leaf:
    path: tuple  # tag, item index, tag, ... from the top
    tag: int
    vr: str
    keyword: str
    values: list  # of str; bytes where the VR is binary
    inside: bool  # an ancestor is a table attribute or private
    sequence: bool = False


def shown(path: tuple) -> str:
    return "".join(f"({step >> 16:04X},{step & 0xFFFF:04X})" if n % 2 == 0 else f"[{step}]" for n, step in enumerate(path))


def hidden_items(content: bytes, depth: int):
    """The items of a sequence that was written as UN: implicit little endian, as PS3.5 6.2.2 has it, or explicit."""
    if depth > 80 or len(content) < 8 or content[:4] != b"\xfe\xff\x00\xe0":
        return None
    for implicit in (True, False):
        try:
            stream = DicomBytesIO(content)
            stream.is_little_endian, stream.is_implicit_VR = True, implicit
            items = read_sequence(stream, implicit, True, len(content), ["utf-8"])
            # Reading is lazy: an element of impossible VR or length shows only when it is looked at.
            for item in items:
                for element in item:
                    _ = element.value
                    if not implicit and element.VR == "UN" and not element.tag.is_private:
                        raise ValueError
            return items
        except Exception:  # noqa: BLE001 - any failure means: not a sequence in this encoding
            continue
    return None


def leaves(dataset, rules: Rules, start=(), inside=False):
    """All elements, depth first, without recursion: a hostile file must not end the checker."""
    stack = [(dataset, start, inside)]
    while stack:
        current, path, within = stack.pop()
        for tag in sorted(current.keys()):
            here = (*path, int(tag))
            try:
                element = current[tag]
                value, vr, keyword = element.value, element.VR, element.keyword
            except Exception:  # noqa: BLE001 - an unreadable value is searched as the bytes it is
                raw = current.get_item(tag)
                value, vr, keyword = (raw.value or b""), "UN", ""
            items = value if vr == "SQ" else None
            if vr in ("UN", "OB") and isinstance(value, bytes) and int(tag) not in BULK:
                items = hidden_items(value, len(path) // 2)
            if vr == "UN" and items is None and isinstance(value, bytes) and dictionary_has_tag(tag):
                vr, value = as_known(tag, value)
            yield Leaf(here, int(tag), vr, keyword, as_values(value, vr) if items is None else [], within, items is not None)
            if items is not None:
                action = rules.action(int(tag))
                removed = within or (action is not None and action not in ("XZU", "D", "U"))
                for index, item in enumerate(items):
                    stack.append((item, (*here, index), removed))


def as_known(tag, value: bytes):
    """A standard text attribute that somebody wrote as UN is read as the text that it is."""
    vr = dictionary_VR(tag)
    if vr in TEXT | NUMBERS_AS_TEXT | {"AS", "DA", "DT", "TM", "UI"}:
        return vr, value.decode("utf-8", "replace").rstrip("\0 ").split("\\")
    return "UN", value


def as_values(value, vr) -> list:
    if value is None or value == "":
        return []
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, str) or not hasattr(value, "__iter__") or vr == "PN" and isinstance(value, pydicom.valuerep.PersonName):
        return [str(value)]
    return [str(one) for one in value if one is not None and str(one) != ""]


def read(path: Path):
    """(whole bytes with a deflated data set inflated, data set). Keeps UN as UN, never fails on a bad value."""
    raw = path.read_bytes()
    dataset = pydicom.dcmread(io.BytesIO(raw), force=True)
    if dataset.file_meta.get("TransferSyntaxUID") == "1.2.840.10008.1.2.1.99" and len(raw) > 144:
        start = 144 + struct.unpack_from("<L", raw, 140)[0]
        raw = raw[:start] + zlib.decompressobj(-15).decompress(raw[start:], 1 << 28)
    return raw, dataset


# ---- what must not survive -----------------------------------------------------------------------------------


@dataclass
class Secrets:
    """Values of the original that the profile takes away, each with the place that it came from."""

    words: dict = field(default_factory=dict)  # identifying words, casefolded
    phrases: dict = field(default_factory=dict)  # whole values, casefolded
    dates: dict = field(default_factory=dict)  # YYYYMMDD
    uids: dict = field(default_factory=dict)
    blobs: dict = field(default_factory=dict)  # bytes
    ages: dict = field(default_factory=dict)


def words(value: str) -> list[str]:
    return [word.casefold() for word in re.split(r"[^\w]+", value.replace("_", " ")) if len(word) >= 3]


def is_date(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return digits not in DUMMY_DATES


def collect(original: list[Leaf], dataset, raw: bytes, rules: Rules, options) -> Secrets:
    found, kept, vendor = Secrets(), set(), set()
    for leaf in original:
        if rules.action(leaf.tag) is None and not leaf.inside:
            kept |= {str(value).strip().casefold() for value in leaf.values if not isinstance(value, bytes)}
        if leaf.keyword in ("Manufacturer", "ManufacturerModelName"):
            vendor |= {word for value in leaf.values for word in words(str(value))}
    for leaf in original:
        action = rules.action(leaf.tag)
        place = shown(leaf.path)
        if leaf.vr == "AS":
            for value in leaf.values:
                found.ages.setdefault(value, place)
        if action is None and not leaf.inside or leaf.tag in BULK or leaf.tag in rules.keep:
            continue
        if leaf.tag in (0x00020002, 0x00020010, 0x00020012, 0x00020013):
            continue
        for value in leaf.values:
            if isinstance(value, bytes):
                collect_bytes(found, value, place)
            elif leaf.vr == "UI":
                value = value.strip("\0 ")
                if options.uids == "mapped" and value and not STANDARD_UID.fullmatch(value) and not PUBLIC_UID.search(leaf.keyword):
                    found.uids.setdefault(value, place)
            elif leaf.vr in ("DA", "DT"):
                if options.dates != "kept" and is_date(value[:8].replace(".", "")):
                    found.dates.setdefault(value[:8], place)
            elif leaf.vr in TEXT:
                collect_text(found, leaf, value, place, kept, vendor)
            elif leaf.vr in NUMBERS_AS_TEXT and len(value.strip()) >= 6 and IDENTIFYING.search(leaf.keyword):
                found.words.setdefault(value.strip().casefold(), place)
    found.uids.pop(str(dataset.file_meta.get("ImplementationClassUID")), None)  # names software, wherever it stands
    preamble = getattr(dataset, "preamble", None) or b""
    if any(preamble) and raw[128:132] == b"DICM":
        for run in re.findall(rb"[\x20-\x7e\x80-\xff]{6,}", preamble):
            found.blobs.setdefault(run.strip(), "preamble")
    return found


def collect_text(found: Secrets, leaf: Leaf, value: str, place: str, kept: set, vendor: set) -> None:
    whole = value.strip().casefold()
    if leaf.vr == "PN" or leaf.vr != "CS" and IDENTIFYING.search(leaf.keyword):
        for word in words(value):
            # A vendor's test device gives the vendor as institution: the kept Manufacturer is no leak of it.
            if word not in COMMON_WORDS and not (word in vendor and re.match("Institution|Station", leaf.keyword)):
                found.words.setdefault(word, place)
    elif leaf.tag >> 16 & 1 and 0x10 <= leaf.tag & 0xFFFF <= 0xFF:
        return  # a private creator names a vendor's block; that it stays at all is reported apart
    # A code's meaning or a defined term is not identifying merely because its sequence goes.
    elif len(whole) >= 6 and not any(whole in value for value in kept) and leaf.vr != "CS" and not (leaf.inside and leaf.keyword in (
            "CodeMeaning", "CodeValue", "CodingSchemeDesignator")):
        found.phrases.setdefault(whole, place)


def collect_bytes(found: Secrets, value: bytes, place: str) -> None:
    """Readable runs of a binary value; the whole of it where it has none and is no plain padding."""
    runs = re.findall(rb"[\x20-\x7e]{6,}", value[:SEARCHED_BYTES])
    for run in runs[:64]:
        if len(set(run)) > 3 and not STANDARD_UID.fullmatch(run.strip().decode()):
            found.blobs.setdefault(run.strip(), place)
    if not runs and len(value) >= 32 and len(set(value[:4096])) > 8:
        found.blobs.setdefault(value[:256].rstrip(b"\0"), place)


def spellings(day: str) -> list[str]:
    year, month, dom = day[:4], day[4:6], day[6:8]
    return [day, f"{year}-{month}-{dom}", f"{year}/{month}/{dom}", f"{dom}.{month}.{year}", f"{dom}/{month}/{year}", f"{month}/{dom}/{year}"]


# ---- search --------------------------------------------------------------------------------------------------


def survivors(secrets: Secrets, output: list[Leaf], dataset, raw: bytes) -> list[dict]:
    hits = {}

    def hit(kind, path, source):
        hits.setdefault((kind, path, source), {"kind": kind, "path": path, "source": source})

    date_of = {spelling: place for day, place in secrets.dates.items() for spelling in spellings(day)}
    for leaf in output:
        place = shown(leaf.path)
        for value in leaf.values:
            text = decoded(value) if isinstance(value, bytes) else value
            if isinstance(value, bytes) and (leaf.tag in BULK or len(value) > SEARCHED_BYTES):
                continue
            if leaf.vr == "UI":
                source = secrets.uids.get(text.strip("\0 "))
                if source:
                    hit("uid", place, source)
                continue
            if leaf.vr in ("DA", "DT"):
                for end in re.split("-", text):
                    if end[:8] in secrets.dates:
                        hit("date", place, secrets.dates[end[:8]])
                continue
            if leaf.vr == "AS" and re.fullmatch(r"\d{3}Y", text) and 90 < int(text[:3]):
                hit("age", place, secrets.ages.get(text, place))
                continue
            if leaf.vr in NUMBERS_AS_TEXT:
                if text.strip().casefold() in secrets.words:
                    hit("identifier", place, secrets.words[text.strip().casefold()])
                continue
            if leaf.vr not in TEXT and not isinstance(value, bytes):
                continue
            for word in words(text):
                if word in secrets.words:
                    hit("identifier", place, secrets.words[word])
            folded = text.casefold()
            for phrase, source in secrets.phrases.items():
                if phrase in folded:
                    hit("text", place, source)
            for spelling, source in date_of.items():
                if spelling in text and (isinstance(value, bytes) or leaf.vr in TEXT):
                    if not re.search(rf"\d{re.escape(spelling)}|{re.escape(spelling)}\d{{7}}", text):
                        hit("date", place, source)
            for uid, source in secrets.uids.items():
                if in_text(uid, text):
                    hit("uid", place, source)
    everywhere(secrets, raw, hit)
    envelope(dataset, raw, hit)
    return sorted(hits.values(), key=lambda one: (one["kind"], one["path"], one["source"]))


def in_text(uid: str, text: str) -> bool:
    """Whether a text names the UID, and not a longer one that holds it. Test files write bare numbers such as `1` for a
    UID; those are no UIDs (PS3.5 9.1 wants two components) and are compared with whole UI values alone."""
    if "." not in uid:
        return False
    place = text.find(uid)
    while place >= 0:
        before, after = text[max(0, place - 2) : place], text[place + len(uid) : place + len(uid) + 2]
        if not re.search(r"\d\.?$", before) and not re.match(r"\.?\d", after):
            return True
        place = text.find(uid, place + 1)
    return False


def decoded(value: bytes) -> str:
    """Text of any one-byte or UTF-8 encoding, and of UTF-16: whatever a vendor may have put in a binary value."""
    return value.decode("utf-8", "replace") + " " + value.decode("latin-1") + " " + value.decode("utf-16-le", "replace")


def everywhere(secrets: Secrets, raw: bytes, hit) -> None:
    """The whole file as bytes: padding, gaps, fragments, whatever no parser shows. Long values only, so that
    compressed pixels do not match by chance."""
    folded = raw.lower()
    for kind, values, least in (("identifier", secrets.words, 7), ("text", secrets.phrases, 8), ("uid", secrets.uids, 12)):
        for value, source in values.items():
            for encoding in ("utf-8", "latin-1", "utf-16-le"):
                try:
                    pattern = value.encode(encoding)
                except UnicodeEncodeError:
                    continue
                where = folded.find(pattern.lower()) if len(value) >= least else -1
                if where >= 0 and not longer_uid(kind, folded, where, len(pattern)):
                    hit(kind, "byte scan", source)
    for blob, source in secrets.blobs.items():
        if len(blob) >= 8 and blob in raw:
            hit("binary", "byte scan", source)


def longer_uid(kind: str, raw: bytes, where: int, length: int) -> bool:
    """A mapped or standard UID that merely begins like the original is another UID."""
    return kind == "uid" and raw[where + length : where + length + 1] in [bytes([c]) for c in b"0123456789."]


def envelope(dataset, raw: bytes, hit) -> None:
    if raw[128:132] == b"DICM" and any(raw[:128]):
        hit("preamble", "preamble", "preamble")
    for tag in (0x00020016, 0x00020017, 0x00020018, 0x00020100, 0x00020102):
        if tag in dataset.file_meta:
            hit("file meta", shown((tag,)), shown((tag,)))


# ---- what must be there --------------------------------------------------------------------------------------


def declarations(dataset, options) -> list[str]:
    faults = []
    if str(dataset.get("PatientIdentityRemoved", "")) != "YES":
        faults.append("(0012,0062) is not YES")
    if not dataset.get("DeidentificationMethod"):
        faults.append("(0012,0063) is absent or empty")
    codes = {(item.get("CodeValue"), item.get("CodingSchemeDesignator")) for item in dataset.get("DeidentificationMethodCodeSequence") or []}
    if ("113100", "DCM") not in codes:
        faults.append("(0012,0064) lacks 113100 DCM")
    state = str(dataset.get("LongitudinalTemporalInformationModified", ""))
    wanted = {"removed": "REMOVED", "shifted": "MODIFIED", "kept": "UNMODIFIED"}.get(options.dates)
    if state not in ("REMOVED", "MODIFIED", "UNMODIFIED") or wanted and state != wanted:
        faults.append("(0028,0303) is absent or does not fit the dates")
    if state == "MODIFIED" and ("113107", "DCM") not in codes:
        faults.append("(0012,0064) lacks 113107 DCM, as (0028,0303) asks")
    if state == "UNMODIFIED" and ("113106", "DCM") not in codes:
        faults.append("(0012,0064) lacks 113106 DCM, as (0028,0303) asks")
    instance = dataset.get("SOPInstanceUID")
    if instance and dataset.file_meta.get("MediaStorageSOPInstanceUID") != instance:
        faults.append("(0002,0003) differs from (0008,0018)")
    return faults


def bad_uids(output: list[Leaf]) -> list[str]:
    return [shown(leaf.path) for leaf in output if leaf.vr == "UI" and any(
        isinstance(value, str) and (len(value) > 64 or not VALID_UID.fullmatch(value)) for value in leaf.values)]


def compare_pixels(original, output) -> str:
    if not any(tag in original for tag in BULK):
        return "none"
    if not any(tag in output for tag in BULK):
        return "lost"
    same = all(tag in output and original[tag].value == output[tag].value for tag in BULK if tag in original)
    syntax = [ds.file_meta.get("TransferSyntaxUID") for ds in (original, output)]
    try:
        theirs = output.pixel_array
    except Exception:  # noqa: BLE001 - what cannot be decoded is compared as bytes
        try:
            _ = original.pixel_array
        except Exception:  # noqa: BLE001
            return "equal, undecodable before and after" if same else "changed, undecodable before and after"
        return "equal bytes, no longer decodes" if same else "no longer decodes"
    if same and syntax[0] in (syntax[1], None):
        return "equal"
    try:
        ours = original.pixel_array
    except Exception:  # noqa: BLE001
        return "changed, original undecodable"
    return "equal when decoded" if ours.shape == theirs.shape and (ours == theirs).all() else "changed"


# ---- the score: correct over required, by class, as in MIDI-B ------------------------------------------------


class Score:
    def __init__(self):
        self.correct, self.required = Counter(), Counter()

    def add(self, name: str, good) -> bool:
        self.required[name] += 1
        self.correct[name] += bool(good)
        return bool(good)

    def merge(self, other: "Score") -> None:
        self.correct += other.correct
        self.required += other.required

    def table(self) -> dict:
        return {name: [self.correct[name], total, round(self.correct[name] / total, 4)] for name, total in sorted(self.required.items())}


def shift_of(before: str, after: str) -> int | None:
    if not (is_date(before[:8]) and is_date(after[:8])):
        return None
    days = [date(int(value[:4]), int(value[4:6]), int(value[6:8])) for value in (before, after)]
    return (days[1] - days[0]).days


def judge(original: list[Leaf], output: list[Leaf], secrets: Secrets, found: list[dict], rules: Rules, options):
    """Element by element: (score, over-scrubbed paths, altered paths, left-over paths, {old UID: new}, day shifts)."""
    score = Score()
    there = {leaf.path: leaf for leaf in output}
    lost, altered, left, uid_map, shifts = [], [], [], {}, set()
    gone = [leaf.path for leaf in original if leaf.sequence and leaf.path not in there]
    # An emptied sequence keeps its tag; its content is judged by its own attribute, not element by element.
    gone += [leaf.path for leaf in original if leaf.sequence and leaf.path in there and not has_items(leaf.path, output)]
    missing_parents = set(gone)
    for leaf in original:
        if leaf.tag >> 16 == 2 or leaf.tag & 0xFFFF == 0:
            continue
        action, after = rules.action(leaf.tag), there.get(leaf.path)
        parent_gone = any(leaf.path[:n] in missing_parents for n in range(1, len(leaf.path), 2))
        tainted = holds_secret(leaf, secrets)
        if action is None:
            if leaf.inside or parent_gone or leaf.tag in BULK:
                continue
            present = after is not None and (bool(after.values) or not leaf.values or leaf.sequence)
            if not present and (tainted or leaf.sequence and leaf.vr == "UN" or plane_gone(leaf.tag, there)):
                continue  # removed for cause: a value that had to go, an encoding that hides, a plane without its bits
            if not score.add("tag retained", present):
                lost.append(shown(leaf.path))
            elif leaf.vr in TEXT and leaf.values and not tainted:
                if not score.add("text retained", after.values == leaf.values):
                    altered.append(shown(leaf.path))
            elif leaf.values and not tainted and leaf.vr not in ("UI", "DA", "DT", "AS") and after.values != leaf.values and leaf.vr == after.vr:
                altered.append(shown(leaf.path))
        elif parent_gone or leaf.inside:
            continue
        elif action == "X":
            stays = after is not None and options.descriptors == "cleaned" and leaf.vr in TEXT and not any(
                hit["path"] == shown(leaf.path) for hit in found)
            if not score.add("tag removed", after is None or stays):
                left.append(shown(leaf.path))
        elif action in ("D", "Z", "Z/D"):
            good = score.add("tag retained", after is not None and (action != "D" or bool(after.values) or not leaf.values or leaf.sequence))
            if not good:
                lost.append(shown(leaf.path))
        if after is None or not leaf.values:
            continue
        if leaf.vr == "UI" and action and options.uids == "mapped":
            for before, now in zip(leaf.values, after.values):
                if not STANDARD_UID.fullmatch(before):
                    score.add("UID changed", before != now and VALID_UID.fullmatch(now))
                    uid_map[before] = now
        if leaf.vr in ("DA", "DT") and action and options.dates != "kept":
            for before, now in zip(leaf.values, after.values):
                if is_date(before[:8]):
                    score.add("date shifted", before[:8] != now[:8])
                    days = shift_of(before, now)
                    if days is not None:
                        shifts.add(days)
    known = {leaf.path for leaf in original}
    left += [shown(leaf.path) for leaf in output if leaf.path not in known and rules.action(leaf.tag) == "X" and leaf.tag >> 16 != 2]
    for kind, values in (("identifier", secrets.words), ("text", secrets.phrases)):
        surviving = {hit["source"] for hit in found if hit["kind"] == kind}
        for source in values.values():
            score.add("text removed", source not in surviving)
    return score, lost, altered, left, uid_map, shifts


def plane_gone(tag: int, there: dict) -> bool:
    """The description of a curve or overlay goes with its data."""
    group = tag >> 16
    return group & 0xFF00 in (0x5000, 0x6000) and (group << 16 | 0x3000,) not in there


def has_items(path: tuple, output: list[Leaf]) -> bool:
    return any(leaf.path[: len(path)] == path and len(leaf.path) > len(path) for leaf in output)


def holds_secret(leaf: Leaf, secrets: Secrets) -> bool:
    for value in leaf.values:
        text = decoded(value[:SEARCHED_BYTES]) if isinstance(value, bytes) else str(value)
        if any(word in secrets.words for word in words(text)) or any(phrase in text.casefold() for phrase in secrets.phrases):
            return True
        if text in secrets.uids or any(spelling in text for day in secrets.dates for spelling in spellings(day)):
            return True
    return False


# ---- one pair, all pairs -------------------------------------------------------------------------------------


def check(before: Path, after: Path, rules: Rules, options):
    raw_before, original = read(before)
    raw_after, output = read(after)
    if options.dates is None and output.get("LongitudinalTemporalInformationModified") == "UNMODIFIED":
        options = argparse.Namespace(**vars(options) | {"dates": "kept"})
    source = [*leaves(original.file_meta, rules), *leaves(original, rules)]
    result = [*leaves(output.file_meta, rules), *leaves(output, rules)]
    secrets = collect(source, original, raw_before, rules, options)
    # Group 2 is in no table row that the profile lists, yet (0002,0003) repeats the SOP instance UID.
    instance = original.file_meta.get("MediaStorageSOPInstanceUID")
    if instance and options.uids == "mapped" and not STANDARD_UID.fullmatch(str(instance)):
        secrets.uids.setdefault(str(instance), "(0002,0003)")
    found = survivors(secrets, result, output, raw_after)
    score, lost, altered, left, uid_map, shifts = judge(source, result, secrets, found, rules, options)
    pixels = compare_pixels(original, output)
    pixels_good = pixels.startswith("equal") and "no longer" not in pixels or pixels == "none"
    if pixels != "none":
        score.add("pixel retained", pixels_good or options.pixels == "may-change" and pixels == "changed")
    faults = declarations(output, options)
    if output.get("LongitudinalTemporalInformationModified") == "MODIFIED" and len(shifts) > 1:
        faults.append("dates of one file moved by different spans")
    line = {
        "survivors": found, "left": left, "faults": faults, "bad_uids": bad_uids(result),
        "over_scrubbed": lost, "altered": altered, "pixels": pixels, "score": score.table(),
    }
    line["clean"] = not (found or left or faults or line["bad_uids"]) and score.correct["pixel retained"] == score.required["pixel retained"]
    return line, score, uid_map, (str(original.get("PatientID", "")), shifts, str(output.get("LongitudinalTemporalInformationModified", "")))


def run(pairs, originals: Path, outputs: Path, rules: Rules, options, write) -> int:
    total, mapped, shifted = Score(), defaultdict(set), defaultdict(set)
    counts = Counter()
    for pair in pairs:
        line = {"original": pair["original"], "deidentified": pair.get("deidentified")}
        counts["files"] += 1
        if not pair.get("deidentified"):
            counts["refused"] += 1
            write(line | {"refused": True})
            continue
        try:
            result, score, uid_map, (patient, shifts, state) = check(
                originals / pair["original"], outputs / pair["deidentified"], rules, options)
        except Exception as error:  # noqa: BLE001 - the class alone: a message may quote the file
            counts["unreadable"] += 1
            write(line | {"clean": False, "unreadable": type(error).__name__})
            continue
        total.merge(score)
        for old, new in uid_map.items():
            mapped[old].add(new)
        if state == "MODIFIED":
            shifted[patient] |= shifts
        counts["clean" if result["clean"] else "with findings"] += 1
        counts["survivors"] += len(result["survivors"])
        counts["over-scrubbed"] += len(result["over_scrubbed"])
        write(line | result)
    for news in mapped.values():
        total.add("UID consistent", len(news) == 1)
    targets = [new for news in mapped.values() for new in news]
    collisions = len(targets) - len(set(targets))
    split = sum(len(spans) > 1 for spans in shifted.values())
    correct, required = sum(total.correct.values()), sum(total.required.values())
    write({"summary": dict(counts) | {
        "uid_collisions": collisions, "patients_with_several_shifts": split,
        "score": total.table(), "correct": correct, "required": required,
        "percent": round(100 * correct / required, 3) if required else None,
    }})
    return int(bool(counts["with findings"] or counts["unreadable"] or collisions or split))


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("originals", type=Path, nargs="?")
    parser.add_argument("outputs", type=Path, nargs="?")
    parser.add_argument("--dates", choices=("removed", "shifted", "kept"))
    parser.add_argument("--uids", choices=("mapped", "kept"), default="mapped")
    parser.add_argument("--pixels", choices=("kept", "may-change"), default="kept")
    parser.add_argument("--descriptors", choices=("removed", "cleaned"), default="removed")
    parser.add_argument("--keep", default="")
    parser.add_argument("--table", type=Path, default=TABLE_FOLDER / "table.txt")
    parser.add_argument("--dictionary", type=Path, default=TABLE_FOLDER / "dictionary.txt")
    parser.add_argument("--self-test", action="store_true")
    return parser.parse_args(arguments)


def main() -> int:
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    config.settings.reading_validation_mode = config.IGNORE
    config.replace_un_with_known_vr = False
    options = parse()
    rules = Rules(options.table, options.dictionary, {int(tag, 16) for tag in options.keep.split(",") if tag})
    if options.self_test:
        import deid_check_selftest

        return deid_check_selftest.run(rules)
    if not options.originals or not options.outputs:
        print("deid_check: name the folder of originals and the folder of outputs", file=sys.stderr)
        return 2
    lines = [] if sys.stdin.isatty() else [line for line in sys.stdin if line.strip()]
    pairs = [json.loads(line) for line in lines] or [
        {"original": str(file.relative_to(options.outputs)), "deidentified": str(file.relative_to(options.outputs))}
        for file in sorted(options.outputs.rglob("*")) if file.is_file() and (options.originals / file.relative_to(options.outputs)).is_file()
    ]
    return run(pairs, options.originals, options.outputs, rules, options, lambda line: print(json.dumps(line), flush=True))


if __name__ == "__main__":
    sys.modules.setdefault("deid_check", sys.modules["__main__"])
    sys.exit(main())
