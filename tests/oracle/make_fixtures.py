#!/usr/bin/env python3
"""Makes tests/fixtures/dicom/made: phantoms with a plentiful fake identity, rendering cases, hostile files.

    python make_fixtures.py [--out FOLDER]

Needs requirements.txt and, for the two HTJ2K files, `ojph_compress` (Debian: openjph-tools). Every identifying
text starts with ZZMARK, every UID with 2.999 (ITU-T X.660's arc for examples), every date is one of DATES, and
markers.json lists what each file holds, so a test can search an output for survivors. No value is a person's.

The bytes are reproducible with the pinned packages; the committed files are what the tests read.
"""

import argparse
import copy
import io
import json
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom import uid as uids

from phantom import SIZE, ct_abdomen, ct_chest, ct_head, grain, mr_head

OUT = Path(__file__).resolve().parent.parent / "fixtures" / "dicom" / "made"
ROOT = "2.999.4711"
# Birth, study, admission, last menstruation, verification, calibration: the only dates in the made files.
DATES = {
    "birth": "19310317",
    "study": "20190704",
    "admission": "20190629",
    "menses": "20190611",
    "verified": "20190708",
    "calibrated": "20180213",
}
SPELLED = "2019-07-04"
CT, MR, US = uids.CTImageStorage, uids.MRImageStorage, uids.UltrasoundImageStorage
# The known sequence that is written under VR UN; left to itself pydicom would turn it back into SQ.
PRIMARY_ANATOMY = 0x00082228
config.replace_un_with_known_vr = False


# ---- data sets -----------------------------------------------------------------------------------------------


class Markers:
    """The identifying values that a file was given."""

    def __init__(self):
        self.texts, self.dates, self.uids = set(), set(), set()

    def text(self, value):
        assert value.startswith("ZZMARK")
        self.texts.add(value)
        return value

    def date(self, name):
        self.dates.add(DATES[name])
        return DATES[name]

    def uid(self, *arcs):
        value = ".".join([ROOT, *map(str, arcs)])
        self.uids.add(value)
        return value


def image(storage, modality, number, markers, patient=1, study=1, series=1, image_type=("ORIGINAL", "PRIMARY", "AXIAL")):
    """A data set that its IOD accepts, with a modest identity."""
    meta = FileMetaDataset()
    meta.ImplementationClassUID = ROOT + ".9"
    meta.ImplementationVersionName = "MARTELLO_MADE"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = list(image_type)
    ds.SOPClassUID = storage
    ds.SOPInstanceUID = markers.uid(patient, study, series, number)
    ds.StudyInstanceUID = markers.uid(patient, study)
    ds.SeriesInstanceUID = markers.uid(patient, study, series)
    ds.FrameOfReferenceUID = markers.uid(patient, study, 0)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(ds, keyword, markers.date("study"))
    for keyword, time in (("StudyTime", "101112"), ("SeriesTime", "101213"), ("AcquisitionTime", "101314"), ("ContentTime", "101415")):
        setattr(ds, keyword, time)
    ds.AccessionNumber = markers.text(f"ZZMARKACC{patient}{study}")
    ds.Modality = modality
    ds.Manufacturer = "Martello Phantom Works"
    ds.ManufacturerModelName = "Ellipse 256"
    ds.ReferringPhysicianName = markers.text("ZZMARKREFFAM^ZZMARKREFGIV^^Dr")
    ds.PatientName = markers.text(f"ZZMARKFAM{patient}^ZZMARKGIV{patient}^ZZMARKMID")
    ds.PatientID = markers.text(f"ZZMARKPID{patient}")
    ds.PatientBirthDate = markers.date("birth")
    ds.PatientSex = "O"
    ds.StudyID = markers.text(f"ZZMARKST{study}")
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = series, 1, number
    ds.PositionReferenceIndicator = None
    ds.PatientPosition = "HFS"
    ds.BurnedInAnnotation = "NO"
    if modality == "CT":
        ds.KVP, ds.PatientOrientation = "120", ["L", "P"]
        ds.BodyPartExamined = "HEAD"
    if modality == "MR":
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "NONE", ""
        ds.MRAcquisitionType, ds.EchoTime, ds.EchoTrainLength, ds.RepetitionTime = "2D", "12", "1", "550"
        ds.PatientOrientation, ds.BodyPartExamined = ["L", "P"], "BRAIN"
        ds.ImageType = [*image_type[:2], "OTHER"]
    if modality in ("CR", "US", "OT"):
        ds.PatientOrientation, ds.Laterality = None, None
    if modality == "CR":
        ds.BodyPartExamined, ds.ViewPosition = "CHEST", "PA"
    if modality in ("CT", "MR"):
        ds.PixelSpacing, ds.SliceThickness = [0.9, 0.9], "5"
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-115.2, -115.2, 5.0 * number]
        ds.SliceLocation = str(5.0 * number)
    return ds


def pixels(ds, array, stored, signed=False, photometric="MONOCHROME2"):
    bits = 8 if array.dtype.itemsize == 1 else 16
    ds.SamplesPerPixel = 3 if photometric == "RGB" else 1
    ds.PhotometricInterpretation = photometric
    if photometric == "RGB":
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = array.shape[-3:-1] if photometric == "RGB" else array.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, stored, stored - 1, int(signed)
    content = array.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"


def window(ds, centre, width, function=None):
    ds.WindowCenter, ds.WindowWidth = centre, width
    if function:
        ds.VOILUTFunction = function


def hounsfield(ds, hu, intercept=-1024):
    pixels(ds, np.clip(np.rint(hu - intercept), 0, 4095).astype("<u2"), 12)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = str(intercept), "1", "HU"


def private_block(ds, group, markers, tail):
    block = ds.private_block(group, "MARTELLO PHANTOM", create=True)
    block.add_new(0x01, "LO", markers.text(f"ZZMARKPRIV{tail}"))
    block.add_new(0x02, "DA", markers.date("calibrated"))
    block.add_new(0x03, "UI", markers.uid(7, group, 3))
    unknown = markers.text(f"ZZMARKUNPRIV{tail}").encode()
    block.add_new(0x04, "UN", unknown + b"\0" * (len(unknown) % 2))
    inner = Dataset()
    inner.PatientName = markers.text(f"ZZMARKSQPRIV{tail}^ZZMARKIN")
    block.add_new(0x05, "SQ", Sequence([inner]))
    block.add_new(0x10, "OB", b"\1\2\3\4" + markers.text(f"ZZMARKOBPRIV{tail}").encode() + b"\0\0")
    block.add_new(0x20, "DS", ["1.5", "2.5"])


def un_sequence(ds, tag, items):
    """A sequence under VR UN of undefined length, its items implicit little endian (PS3.5, 6.2.2 note 2)."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    for item in items:
        body = DicomBytesIO()
        body.is_little_endian, body.is_implicit_VR = True, True
        write_dataset(body, item)
        content = body.getvalue()
        buffer.write(struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content)
    ds[tag] = DataElement(tag, "UN", buffer.getvalue())


def overlay(ds, markers, rows, columns):
    mask = Image.new("1", (columns, rows))
    ImageDraw.Draw(mask).text((8, 8), "ZZMARKOVL", fill=1)
    bits = np.packbits(np.asarray(mask, dtype=np.uint8), axis=None, bitorder="little").tobytes()
    group = 0x6000
    for element, vr, value in (
        (0x0010, "US", rows), (0x0011, "US", columns), (0x0022, "LO", markers.text("ZZMARKOVLDESC")),
        (0x0040, "CS", "G"), (0x0050, "SS", [1, 1]), (0x0100, "US", 1), (0x0102, "US", 0),
        (0x1500, "LO", markers.text("ZZMARKOVLLABEL")), (0x3000, "OW", bits), (0x4000, "LT", markers.text("ZZMARKOVLCOMMENT")),
    ):
        ds.add_new((group, element), vr, value)


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def plentiful_identity(ds, m):
    """Everything that a careless exporter leaves: each place is one that some de-identifier overlooks."""
    ds.OtherPatientIDs = m.text("ZZMARKOTHERID")
    other = Dataset()
    other.PatientID, other.TypeOfPatientID, other.IssuerOfPatientID = m.text("ZZMARKOTHERPID"), "TEXT", m.text("ZZMARKISSUER")
    ds.OtherPatientIDsSequence = Sequence([other])
    ds.OtherPatientNames = [m.text("ZZMARKALIAS^ZZMARKALIASGIV"), m.text("ZZMARKMAIDEN^ZZMARKALIASGIV")]
    ds.PatientBirthTime, ds.PatientAge, ds.PatientSize, ds.PatientWeight = "031700", "093Y", "1.71", "66.6"
    ds.PatientAddress = m.text("ZZMARKSTREET 17, ZZMARKTOWN")
    ds.PatientTelephoneNumbers = m.text("ZZMARK5550100")
    ds.PatientMotherBirthName = m.text("ZZMARKMOTHER^ZZMARKMOTHERGIV")
    ds.MilitaryRank, ds.EthnicGroup, ds.Occupation = m.text("ZZMARKRANK"), m.text("ZZMARKETHNIC"), m.text("ZZMARKOCC")
    ds.PatientComments = m.text(f"ZZMARKLT lives with ZZMARKNEIGHBOUR since {SPELLED}")
    ds.AdditionalPatientHistory = m.text("ZZMARKHISTORY\r\nline two, Dr ZZMARKGP")
    ds.LastMenstrualDate, ds.PregnancyStatus = m.date("menses"), 4
    ds.InstitutionName, ds.InstitutionAddress = m.text("ZZMARKHOSPITAL"), m.text("ZZMARKHOSPSTREET 1\r\nZZMARKHOSPTOWN")
    ds.InstitutionalDepartmentName, ds.StationName = m.text("ZZMARKDEPT"), m.text("ZZMARKSTATION")
    ds.OperatorsName = [m.text("ZZMARKOP1^A"), m.text("ZZMARKOP2^B")]
    ds.PerformingPhysicianName, ds.NameOfPhysiciansReadingStudy = m.text("ZZMARKPERF^P"), m.text("ZZMARKREAD^R")
    ds.PhysiciansOfRecord = m.text("ZZMARKREC^Q")
    ds.StudyDescription = m.text("ZZMARKSTUDYDESC CT head")
    ds.SeriesDescription = m.text("ZZMARKSERIESDESC")
    ds.ProtocolName, ds.ImageComments = m.text("ZZMARKPROTOCOL"), m.text("ZZMARKIMGCOMMENT")
    ds.DeviceSerialNumber, ds.DetectorID, ds.DeviceUID = m.text("ZZMARKSERIAL"), m.text("ZZMARKDET"), m.uid(8, 1)
    ds.DateOfLastCalibration, ds.TimeOfLastCalibration = m.date("calibrated"), "080000"
    ds.AdmissionID, ds.AdmittingDate = m.text("ZZMARKADM"), m.date("admission")
    ds.AdmittingDiagnosesDescription = m.text("ZZMARKDIAG")
    ds.RequestingPhysician, ds.RequestingService = m.text("ZZMARKREQ^S"), m.text("ZZMARKREQSERV")
    ds.CurrentPatientLocation, ds.PatientInstitutionResidence = m.text("ZZMARKWARD 3"), m.text("ZZMARKHOME")
    ds.AcquisitionDateTime = m.date("study") + "101314.250000+0200"
    ds.InstanceCreationDate, ds.InstanceCreationTime, ds.InstanceCreatorUID = m.date("study"), "101500", m.uid(8, 2)
    ds.TimezoneOffsetFromUTC = "+0200"
    ds.IssuerOfPatientID, ds.ServiceEpisodeID = m.text("ZZMARKISS"), m.text("ZZMARKEPISODE")
    ds.ReasonForStudy, ds.StudyComments = m.text("ZZMARKREASON"), m.text("ZZMARKSTUDYCOMMENT")
    ds.InterpretationText = m.text("ZZMARKINTERPRETATION by ZZMARKREAD")
    ds.DecompositionDescription = m.text("ZZMARKUT " + "long free text " * 12 + "ZZMARKUTEND")
    ds.UniqueDeviceIdentifier, ds.DerivationDescription = m.text("ZZMARKUDI"), m.text("ZZMARKST")
    ds.FailedSOPInstanceUIDList = [m.uid(8, 3), m.uid(8, 4), m.uid(8, 5)]

    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = m.text("ZZMARKRPID"), m.text("ZZMARKSPSID")
    request.RequestedProcedureDescription = m.text("ZZMARKRPDESC")
    request.ReferencedStudySequence = Sequence([reference(uids.CTImageStorage, m.uid(1, 9))])
    ds.RequestAttributesSequence = Sequence([request])

    source = reference(uids.CTImageStorage, m.uid(1, 9, 1, 1))
    source.PurposeOfReferenceCodeSequence = Sequence([code("121322", "DCM", "Source image for image processing operation")])
    ds.SourceImageSequence = Sequence([source])

    # Sequences that the table keeps, with identity inside: a walk over the top level sees none of it.
    anatomy = code("12738006", "SCT", "Brain")
    modifier = code("24028007", "SCT", "Right")
    modifier.PatientName, modifier.StudyDate = m.text("ZZMARKDEEPFAM^ZZMARKDEEPGIV"), m.date("verified")
    private_block(modifier, 0x0029, m, "DEEP")
    anatomy.AnatomicRegionModifierSequence = Sequence([modifier])
    ds.AnatomicRegionSequence = Sequence([anatomy])

    # The same again under VR UN: a known sequence, and one inside a private block.
    hidden = code("12738006", "SCT", "Brain")
    hidden.PatientID, hidden.PatientBirthDate = m.text("ZZMARKUNPID"), m.date("birth")
    hidden.ReferencedSOPInstanceUID = m.uid(8, 6)
    deeper = Dataset()
    deeper.PatientName = m.text("ZZMARKUNFAM^ZZMARKUNGIV")
    hidden.ReferencedPatientSequence = Sequence([deeper])
    un_sequence(ds, PRIMARY_ANATOMY, [hidden])

    ds.ContrastBolusAgent = m.text("ZZMARKAGENT")

    private_block(ds, 0x0019, m, "A")
    private_block(ds, 0x0051, m, "B")
    ds.add_new(0x00091001, "LO", m.text("ZZMARKNOCREATOR"))
    ds.add_new(0x50000010, "US", 1)
    ds.add_new(0x50002500, "LO", m.text("ZZMARKCURVELABEL"))
    ds.add_new(0xFFFCFFFC, "OB", b"\0" * 6 + m.text("ZZMARKPADDING").encode() + b"\0" * 9)


def reference(sop_class, sop_instance):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def leaky_envelope(ds, m):
    """Identity ahead of the data set: preamble and file meta."""
    ds.preamble = m.text("ZZMARKPREAMBLE exported for ZZMARKFAM1").encode().ljust(128, b"\0")
    ds.file_meta.SourceApplicationEntityTitle = m.text("ZZMARKSRCAE")
    ds.file_meta.SendingApplicationEntityTitle = m.text("ZZMARKSNDAE")
    ds.file_meta.ReceivingApplicationEntityTitle = m.text("ZZMARKRCVAE")
    ds.file_meta.PrivateInformationCreatorUID = m.uid(8, 7)
    ds.file_meta.PrivateInformation = m.text("ZZMARKMETAPRIV").encode() + b"\0\0"


# ---- encoding ------------------------------------------------------------------------------------------------


def encoded(ds, syntax, codestream=None):
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    if codestream is not None:
        ds.PixelData = encapsulate([codestream])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    elif uids.UID(syntax).is_compressed and syntax != uids.DeflatedExplicitVRLittleEndian:
        instance = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
        ds.compress(syntax, generate_instance_uid=False)
        assert ds.SOPInstanceUID == instance
    buffer = io.BytesIO()
    if syntax == uids.ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=False, enforce_file_format=True)
    else:
        ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def high_throughput(array, *options):
    """HTJ2K codestream of a grey image by OpenJPH."""
    with tempfile.TemporaryDirectory() as folder:
        grey, stream = Path(folder, "in.pgm"), Path(folder, "out.j2c")
        grey.write_bytes(b"P5\n%d %d\n4095\n" % array.shape[::-1] + array.astype(">u2").tobytes())
        subprocess.run(["ojph_compress", "-i", grey, "-o", stream, *options], check=True, capture_output=True)
        return stream.read_bytes()


# ---- the files -----------------------------------------------------------------------------------------------


def phantoms():
    m = Markers()
    ds = image(CT, "CT", 1, m)
    hounsfield(ds, ct_head())
    window(ds, ["40", "600"], ["80", "2800"])
    ds.WindowCenterWidthExplanation = ["BRAIN", "BONE"]
    plentiful_identity(ds, m)
    overlay(ds, m, SIZE, SIZE)
    leaky_envelope(ds, m)
    yield "ct_head.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m

    m = Markers()
    ds = image(CT, "CT", 2, m)
    hounsfield(ds, ct_head(shift=0.05, seed=11))
    window(ds, "40", "80")
    yield "ct_head_next_slice.dcm", encoded(ds, uids.JPEG2000Lossless), m

    m = Markers()
    ds = image(CT, "CT", 1, m, patient=2)
    ds.BodyPartExamined = "CHEST"
    hounsfield(ds, ct_chest())
    window(ds, ["-500", "40"], ["1500", "400"])
    yield "ct_chest.dcm", encoded(ds, uids.JPEG2000Lossless), m

    m = Markers()
    ds = image(CT, "CT", 1, m, patient=3)
    ds.BodyPartExamined = "ABDOMEN"
    hu = np.rint(ct_abdomen()).astype("<i2")
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    hu[np.hypot(axis[:, None], axis[None, :]) > SIZE / 2] = -2000
    pixels(ds, hu, 16, signed=True)
    ds.add_new(0x00280120, "SS", -2000)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "HU"
    window(ds, "60", "400")
    yield "ct_abdomen_padding.dcm", encoded(ds, uids.RLELossless), m

    for number, (weighting, syntax) in enumerate(
        (("T1", uids.ImplicitVRLittleEndian), ("T2", uids.DeflatedExplicitVRLittleEndian), ("FLAIR", uids.JPEG2000Lossless)), 1
    ):
        m = Markers()
        ds = image(MR, "MR", 1, m, patient=4, series=number)
        pixels(ds, np.rint(mr_head(weighting, 20 + number)).astype("<u2"), 12)
        window(ds, "900", "1800")
        if weighting == "T1":
            # Implicit: every value's VR, and so its fate, comes from the dictionary alone.
            plentiful_identity(ds, m)
            leaky_envelope(ds, m)
        yield f"mr_head_{weighting.lower()}.dcm", encoded(ds, syntax), m

    chest = np.clip(np.rint(ct_chest() + 1024), 0, 4095).astype("<u2")
    for name, syntax, options, lossy in (
        ("ct_chest_htj2k.dcm", uids.HTJ2KLossless, ("-reversible", "true"), False),
        ("ct_chest_htj2k_lossy.dcm", uids.HTJ2K, ("-qstep", "0.002"), True),
    ):
        m = Markers()
        ds = image(CT, "CT", 2 + lossy, m, patient=2)
        ds.BodyPartExamined = "CHEST"
        hounsfield(ds, chest - 1024.0)
        window(ds, "-500", "1500")
        if lossy:
            ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
            ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "10"
            ds.LossyImageCompressionMethod = "ISO_15444_15"
        yield name, encoded(ds, syntax, high_throughput(chest, *options)), m


def small(m, number, array, stored, signed=False, modality="CT", photometric="MONOCHROME2"):
    storage = {"CT": CT, "MR": MR, "CR": uids.ComputedRadiographyImageStorage, "US": US, "OT": uids.SecondaryCaptureImageStorage}
    ds = image(storage[modality], modality, number, m, patient=5)
    pixels(ds, array, stored, signed, photometric)
    return ds


def lut_item(first, entries, bits, vr="US", signed=False):
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.LUTExplanation = "made"
    if vr == "OW":
        item.add_new(0x00283006, "OW", np.asarray(entries, "<u2").tobytes())
    else:
        item.add_new(0x00283006, "US", [int(v) for v in entries])
    return item


def rendering():
    """One rule of PS3.3 C.11 each, on a ramp that reaches both ends."""
    ramp = np.linspace(0, 4095, 64 * 64).round().astype("<u2").reshape(64, 64)
    signed = np.linspace(-1024, 3071, 64 * 64).round().astype("<i2").reshape(64, 64)
    curve = (np.linspace(0, 1, 4096) ** 0.45 * 65535).round()

    def case(name, array, stored, number, change, **how):
        m = Markers()
        ds = small(m, number, array, stored, **how)
        change(ds)
        return name, encoded(ds, uids.ExplicitVRLittleEndian), m

    def rescale(ds):
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"

    def modality_lut(ds):
        item = lut_item(0, curve[::8], 16)
        item.ModalityLUTType = "US"
        ds.ModalityLUTSequence = Sequence([item])
        window(ds, "30000", "50000")

    def modality_lut_signed_first(ds):
        item = lut_item(-512, (np.arange(1024) * 4).tolist(), 12, signed=True)
        item.ModalityLUTType = "US"
        ds.ModalityLUTSequence = Sequence([item])

    def voi_lut(ds):
        ds.VOILUTSequence = Sequence([lut_item(0, curve, 16, "OW"), lut_item(1000, np.linspace(0, 255, 256).round(), 8, "OW")])

    def sigmoid(ds):
        rescale(ds)
        window(ds, "500", "900", "SIGMOID")

    def exact(ds):
        rescale(ds)
        window(ds, "500.5", "901", "LINEAR_EXACT")

    def linear(ds):
        rescale(ds)
        window(ds, "40", "400", "LINEAR")

    def narrow(ds):
        rescale(ds)
        window(ds, "40", "1")

    def fractional(ds):
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1000.25", "0.6103515625", "US"
        window(ds, "100", "1000")

    def padding_range(ds):
        ds.add_new(0x00280120, "SS", -1024)
        ds.add_new(0x00280121, "SS", -900)
        ds.RescaleIntercept, ds.RescaleSlope = "0", "1"

    def inverse(ds):
        ds.PresentationLUTShape = "INVERSE"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
        window(ds, "2000", "3000")

    yield case("modality_lut.dcm", ramp, 12, 1, modality_lut, modality="CR")
    yield case("modality_lut_signed_first.dcm", (signed // 4).astype("<i2"), 16, 2, modality_lut_signed_first, signed=True, modality="CR")
    yield case("voi_lut.dcm", ramp, 12, 3, voi_lut, modality="CR")
    yield case("window_sigmoid.dcm", ramp, 12, 4, sigmoid)
    yield case("window_linear_exact.dcm", ramp, 12, 5, exact)
    yield case("window_linear.dcm", ramp, 12, 6, linear)
    yield case("window_width_one.dcm", ramp, 12, 7, narrow)
    yield case("rescale_fractional.dcm", ramp, 12, 8, fractional, modality="MR")
    yield case("padding_range_signed.dcm", signed, 16, 9, padding_range, signed=True)
    yield case("monochrome1_window.dcm", ramp, 12, 10, inverse, modality="CR", photometric="MONOCHROME1")

    # 12 signed bits of 16 with rubbish above the sign: a reader must mask, then extend the sign.
    m = Markers()
    stored = np.linspace(-2048, 2047, 64 * 64).round().astype(np.int64).reshape(64, 64)
    rubbish = (np.arange(64)[:, None] % 16).astype(np.uint16) << 12
    ds = small(m, 11, ((stored & 0x0FFF).astype(np.uint16) | rubbish).astype("<u2"), 12, signed=True)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "HU"
    yield "signed_12_of_16.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m


def drawn(rows, columns, lines, size=12):
    face = ImageFont.load_default(size)
    canvas = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        pen.text((6, 4 + number * (size + 4)), line, fill=255, font=face)
    return np.asarray(canvas)


def pixel_risk():
    m = Markers()
    rows, columns = 240, 320
    grey = (grain(256, 31, 22, 30)[:rows, :] + 60).clip(0, 255)
    grey = np.pad(grey, ((0, 0), (32, 32)))
    y, x = np.mgrid[0:rows, 0:columns]
    fan = (np.hypot(x - 160, y - 20) < 200) & (np.abs(x - 160) < (y - 20) * 0.75) & (y > 40)
    frame = np.where(fan, grey // 8 * 8, 0).astype("u1")
    frame = np.maximum(frame, drawn(rows, columns, ["ZZMARKFAM5 ZZMARKGIV5", "ZZMARKPID5  2019-07-04"]))
    ds = small(m, 20, np.repeat(frame[:, :, None], 3, axis=2), 8, modality="US", photometric="RGB")
    ds.BurnedInAnnotation = "YES"
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 20, 40
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 300, 225
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.05
    ds.SequenceOfUltrasoundRegions = Sequence([region])
    ds.LossyImageCompression = "00"
    yield "us_burned_in_regions.dcm", encoded(ds, uids.RLELossless), m

    m = Markers()
    page = drawn(96, 192, ["ZZMARKFAM5^ZZMARKGIV5", "ZZMARKPID5", "born 1931-03-17"])
    ds = small(m, 21, page, 8, modality="OT")
    ds.ImageType, ds.ConversionType, ds.BurnedInAnnotation = ["DERIVED", "SECONDARY"], "WSD", "YES"
    yield "sc_burned_in.dcm", encoded(ds, uids.RLELossless), m

    # Writing in a bit plane above BitsStored: invisible in the image, readable in the bytes.
    m = Markers()
    ramp = np.linspace(0, 4095, 64 * 128).round().astype(np.uint16).reshape(64, 128)
    plane = (drawn(64, 128, ["ZZMARKFAM5"]) > 127).astype(np.uint16) << 15
    ds = small(m, 22, (ramp | plane).astype("<u2"), 12)
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    for element, vr, value in ((0x10, "US", 64), (0x11, "US", 128), (0x40, "CS", "G"), (0x50, "SS", [1, 1]), (0x100, "US", 16), (0x102, "US", 15)):
        ds.add_new((0x6000, element), vr, value)
    yield "overlay_in_high_bits.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m


def objects():
    m = Markers()
    ds = image(uids.EnhancedMRImageStorage, "MR", 30, m, patient=6)
    frames = np.stack([np.rint(mr_head("T2", 40 + n)[::4, ::4] * (0.7 + 0.1 * n)).astype("<u2") for n in range(4)])
    pixels(ds, frames, 12)
    ds.NumberOfFrames = 4
    shared = Dataset()
    spacing = Dataset()
    spacing.PixelSpacing, spacing.SliceThickness = [3.6, 3.6], "5"
    shared.PixelMeasuresSequence = Sequence([spacing])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for n in range(4):
        content, position, group = Dataset(), Dataset(), Dataset()
        content.FrameAcquisitionDateTime = f"{m.date('study')}10131{n}.000000+0200"
        content.FrameReferenceDateTime = f"{m.date('study')}10131{n}.500000+0200"
        content.FrameComments = m.text(f"ZZMARKFRAME{n}")
        content.DimensionIndexValues = [1, n + 1]
        position.ImagePositionPatient = [-115.2, -115.2, 5.0 * n]
        group.FrameContentSequence, group.PlanePositionSequence = Sequence([content]), Sequence([position])
        group.DerivationImageSequence = Sequence([derivation(m, n)])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dimension = Dataset()
    dimension.DimensionOrganizationUID = m.uid(8, 20)
    ds.DimensionOrganizationSequence = Sequence([dimension])
    yield "mr_enhanced_frames.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m

    m = Markers()
    ds = image(uids.ComprehensiveSRStorage, "SR", 31, m, patient=6)
    for keyword in ("ImageType", "FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "BurnedInAnnotation"):
        delattr(ds, keyword)
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = Sequence([code("126000", "DCM", "Imaging Measurement Report")])
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    observer = Dataset()
    observer.VerifyingObserverName, observer.VerifyingOrganization = m.text("ZZMARKVERIFIER^V"), m.text("ZZMARKVERORG")
    observer.VerificationDateTime = m.date("verified") + "090000+0200"
    ds.VerifyingObserverSequence = Sequence([observer])
    ds.ContentSequence = Sequence(report_items(m))
    yield "sr_identity.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m

    m = Markers()
    ds = image(uids.EncapsulatedPDFStorage, "DOC", 32, m, patient=6)
    ds.DocumentTitle, ds.MIMETypeOfEncapsulatedDocument = m.text("ZZMARKDOCTITLE"), "application/pdf"
    page = b"%PDF-1.4\n% " + m.text("ZZMARKPDFTEXT").encode() + b"\n%%EOF\n"
    ds.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    yield "encapsulated_pdf.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m

    m = Markers()
    ds = small(m, 33, np.linspace(0, 4095, 32 * 32).round().astype("<u2").reshape(32, 32), 12)
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    plentiful_identity(ds, m)
    del ds[PRIMARY_ANATOMY]  # a sequence under UN stays little endian, which big endian writers get wrong
    yield "ct_identity_big_endian.dcm", encoded(ds, uids.ExplicitVRBigEndian), m

    # The table keeps these attributes, and nothing but a search for what was removed finds the identity in them.
    m = Markers()
    ds = small(m, 35, np.linspace(0, 4095, 32 * 32).round().astype("<u2").reshape(32, 32), 12)
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    ds.FilterType = "NONE ZZMARKFAM5"
    ds.SoftwareVersions = ["1.0", "for ZZMARKPID5"]
    ds.ConvolutionKernel = ["STD", "ZZMARKGIV5"]
    ds.FilterMaterial = "1931-03-17"
    ds.ICCProfile = b"\0\1\2\3 for ZZMARKFAM5, 17.03.1931 \0"
    yield "ct_residual_in_kept.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m

    m = Markers()
    ds = small(m, 34, np.linspace(0, 4095, 32 * 32).round().astype("<u2").reshape(32, 32), 12, modality="MR")
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "ZZMARKYAMA^ZZMARKTARO=山田^太郎=やまだ^たろう"
    m.texts |= {"ZZMARKYAMA^ZZMARKTARO", "山田^太郎", "やまだ^たろう"}
    ds.PatientComments = m.text("ZZMARK太郎の記録")
    yield "mr_name_iso2022.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m


def derivation(m, n):
    item = Dataset()
    source = reference(uids.MRImageStorage, m.uid(6, 9, 1, n))
    source.PurposeOfReferenceCodeSequence = Sequence([code("121322", "DCM", "Source image for image processing operation")])
    item.SourceImageSequence = Sequence([source])
    item.DerivationCodeSequence = Sequence([code("113041", "DCM", "Derived by application of Denoising")])
    item.DerivationDescription = m.text(f"ZZMARKDERIV{n}")
    return item


def report_items(m):
    def item(relation, kind, concept, **values):
        entry = Dataset()
        entry.RelationshipType, entry.ValueType = relation, kind
        entry.ConceptNameCodeSequence = Sequence([concept])
        for keyword, value in values.items():
            setattr(entry, keyword, value)
        return entry

    measured = Dataset()
    measured.NumericValue = "42.5"
    measured.MeasurementUnitsCodeSequence = Sequence([code("mm", "UCUM", "millimeter")])
    group = item("CONTAINS", "CONTAINER", code("125007", "DCM", "Measurement Group"), ContinuityOfContent="SEPARATE")
    group.ContentSequence = Sequence([
        item("CONTAINS", "NUM", code("410668003", "SCT", "Length"), MeasuredValueSequence=Sequence([measured])),
        item("CONTAINS", "CODE", code("363698007", "SCT", "Finding Site"), ConceptCodeSequence=Sequence([code("12738006", "SCT", "Brain")])),
        item("CONTAINS", "TEXT", code("121106", "DCM", "Comment"), TextValue=m.text("ZZMARKSRTEXT seen with Dr ZZMARKSRDOC")),
        item("CONTAINS", "UIDREF", code("112039", "DCM", "Tracking Identifier"), UID=m.uid(8, 30)),
    ])
    image_item = item("CONTAINS", "IMAGE", code("121080", "DCM", "Best illustration of finding"))
    image_item.ReferencedSOPSequence = Sequence([reference(MR, m.uid(4, 1, 1, 1))])
    return [
        item("HAS OBS CONTEXT", "PNAME", code("121008", "DCM", "Person Observer Name"), PersonName=m.text("ZZMARKSROBS^O")),
        item("HAS OBS CONTEXT", "DATE", code("121031", "DCM", "Subject Birth Date"), Date=m.date("birth")),
        item("HAS OBS CONTEXT", "DATETIME", code("121040", "DCM", "Mode of Presence"), DateTime=m.date("study") + "101112+0200"),
        group,
        image_item,
    ]


def hostile():
    """Files that must end in a refusal, quickly and in little memory."""
    m = Markers()
    inner = Dataset()
    inner.PatientName = m.text("ZZMARKBOTTOM^ZZMARKB")
    for _ in range(69):
        outer = Dataset()
        outer.AnatomicRegionModifierSequence = Sequence([inner])
        inner = outer
    ds = image(uids.RawDataStorage, "OT", 40, m, patient=7)
    ds.AnatomicRegionSequence = Sequence([inner])
    yield "nested_70_deep.dcm", encoded(ds, uids.ExplicitVRLittleEndian), m

    none = Markers()
    plain = image(CT, "CT", 41, none, patient=7)
    whole = encoded(copy.deepcopy(plain), uids.ExplicitVRLittleEndian)
    yield "length_beyond_end.dcm", whole + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFF0) + b"\0" * 8, none

    # A million items in one sequence, each of no length, would be 8 MB: 4096 show the same path.
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 4096
    yield "many_empty_items.dcm", whole + struct.pack("<HH2sHL", 0x0040, 0x0555, b"SQ", 0, len(items)) + items, none

    deflated = encoded(copy.deepcopy(plain), uids.DeflatedExplicitVRLittleEndian)
    start = 128 + 4 + 12 + struct.unpack_from("<L", deflated, 140)[0]
    body = zlib.decompress(deflated[start:], -15)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(body + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 32 << 20))
    stream += packer.compress(b"\0" * (32 << 20)) + packer.flush()
    yield "deflate_ratio_1000.dcm", deflated[:start] + stream + b"\0" * (len(stream) % 2), none

    wide = copy.deepcopy(plain)
    pixels(wide, np.zeros((2, 2), "<u2"), 12)
    wide.Rows = wide.Columns = 65535
    wide.NumberOfFrames = "2147483647"
    yield "claims_16_exabytes.dcm", encoded(wide, uids.ExplicitVRLittleEndian), none


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=OUT)
    out = arguments.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    listing, total = {}, 0
    for makers in (phantoms, rendering, pixel_risk, objects, hostile):
        for name, content, markers in makers():
            (out / name).write_bytes(content)
            total += len(content)
            listing[name] = {
                "texts": sorted(markers.texts), "dates": sorted(markers.dates), "uids": sorted(markers.uids),
            }
    (out / "markers.json").write_text(json.dumps(listing, indent=1, ensure_ascii=False) + "\n")
    print(f"make_fixtures: {len(listing)} files, {total} bytes")


if __name__ == "__main__":
    main()
