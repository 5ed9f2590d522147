#!/usr/bin/env python3
"""Copies the public fixtures out of the installed pydicom and writes their ATTRIBUTION.md.

    python copy_fixtures.py          # into tests/fixtures/dicom
    python copy_fixtures.py --check  # fail if a committed file differs from the package's

Left out on purpose: examples_rgb_color.dcm, whose pixels show an institution's name, a date and numbers.
"""

import argparse
import hashlib
import importlib.metadata
import sys
from pathlib import Path

import pydicom

VERSION = "3.0.2"
TARGET = Path(__file__).resolve().parent.parent / "fixtures" / "dicom"
DATA = Path(pydicom.__file__).parent / "data"

# (name here, path in pydicom/data, what it stands for), by purpose.
FIXTURES = {
    "Images that a person may look at": [
        ("CT_small.dcm", "test_files/CT_small.dcm", "CT, ORIGINAL\\PRIMARY, 128x128, signed 16 bit, many private blocks, trailing padding"),
        ("J2K_pixelrep_mismatch.dcm", "test_files/J2K_pixelrep_mismatch.dcm", "CT head, ORIGINAL\\PRIMARY, 512x512, JPEG 2000 lossless, codestream unsigned while the header says signed"),
        ("examples_overlay.dcm", "test_files/examples_overlay.dcm", "MR abdomen, DERIVED, 300x484, overlay plane 6000, icon sequence, vendor CSA private blocks"),
        ("MR_small.dcm", "test_files/MR_small.dcm", "MR, 64x64, explicit little endian: the reference for the MR_small variants"),
        ("examples_palette.dcm", "test_files/examples_palette.dcm", "US, PALETTE COLOR, 350x800, vendor's demonstration text burned in"),
        ("examples_ybr_color.dcm", "test_files/examples_ybr_color.dcm", "US, YBR_FULL_422, 30 frames, JPEG baseline, lettering burned in"),
    ],
    "Series of small CT, MR and CR (16x16)": [
        ("CT_17106.dcm", "test_files/dicomdirtests/77654033/CT2/17106", "CT, ORIGINAL\\PRIMARY, first of a series"),
        ("CT_17136.dcm", "test_files/dicomdirtests/77654033/CT2/17136", "CT, second of that series: UIDs and dates must stay consistent"),
        ("CT_2062.dcm", "test_files/dicomdirtests/98892001/CT5N/2062", "CT, ORIGINAL\\PRIMARY, another patient"),
        ("CT_6293.dcm", "test_files/dicomdirtests/98892001/CT2N/6293", "CT, LOCALIZER, that patient's other series"),
        ("MR_4919.dcm", "test_files/dicomdirtests/98892003/MR1/4919", "MR, ORIGINAL\\PRIMARY"),
        ("MR_4950.dcm", "test_files/dicomdirtests/98892003/MR2/4950", "MR, ORIGINAL\\PRIMARY, same study, first of a series"),
        ("MR_4981.dcm", "test_files/dicomdirtests/98892003/MR2/4981", "MR, ORIGINAL\\PRIMARY, second of that series"),
        ("MR_15820.dcm", "test_files/dicomdirtests/98892003/MR1/15820", "MR, ORIGINAL\\PRIMARY, another study of the patient"),
        ("MR_4467.dcm", "test_files/dicomdirtests/98892003/MR700/4467", "MR, DERIVED\\SECONDARY\\PROJECTION IMAGE"),
        ("CR_6154.dcm", "test_files/dicomdirtests/77654033/CR1/6154", "CR, MONOCHROME1, 12 of 16 bits"),
    ],
    "Transfer syntaxes": [
        ("MR_small_implicit.dcm", "test_files/MR_small_implicit.dcm", "implicit little endian"),
        ("MR_small_bigendian.dcm", "test_files/MR_small_bigendian.dcm", "explicit big endian"),
        ("MR_small_expb.dcm", "test_files/MR_small_expb.dcm", "explicit big endian by another writer"),
        ("MR_small_padded.dcm", "test_files/MR_small_padded.dcm", "data set trailing padding"),
        ("image_dfl.dcm", "test_files/image_dfl.dcm", "deflated explicit little endian, 512x512"),
        ("MR_small_RLE.dcm", "test_files/MR_small_RLE.dcm", "RLE, 16 bit"),
        ("SC_rgb_rle.dcm", "test_files/SC_rgb_rle.dcm", "RLE, RGB, 8 bit"),
        ("SC_rgb_rle_2frame.dcm", "test_files/SC_rgb_rle_2frame.dcm", "RLE, RGB, 8 bit, 2 frames"),
        ("SC_rgb_rle_16bit_2frame.dcm", "test_files/SC_rgb_rle_16bit_2frame.dcm", "RLE, RGB, 16 bit, 2 frames"),
        ("SC_rgb_rle_32bit.dcm", "test_files/SC_rgb_rle_32bit.dcm", "RLE, RGB, 32 bits allocated"),
        ("SC_rgb_jpeg_dcmtk.dcm", "test_files/SC_rgb_jpeg_dcmtk.dcm", "JPEG baseline, YBR_FULL"),
        ("SC_rgb_small_odd_jpeg.dcm", "test_files/SC_rgb_small_odd_jpeg.dcm", "JPEG baseline, 3x3: padding to 8x8 blocks"),
        ("SC_jpeg_no_color_transform_2.dcm", "test_files/SC_jpeg_no_color_transform_2.dcm", "JPEG baseline in RGB, APP14 says no transform"),
        ("JPGExtended.dcm", "test_files/JPGExtended.dcm", "JPEG extended, 12 bit"),
        ("JPEG-lossy.dcm", "test_files/JPEG-lossy.dcm", "JPEG extended, 12 bit, faulty scan header"),
        ("SC_rgb_jpeg_gdcm.dcm", "test_files/SC_rgb_jpeg_gdcm.dcm", "JPEG lossless, selection value 1, RGB"),
        ("MR_small_jpeg_ls_lossless.dcm", "test_files/MR_small_jpeg_ls_lossless.dcm", "JPEG-LS lossless, 16 bit"),
        ("JPEGLSNearLossless_08.dcm", "test_files/JPEGLSNearLossless_08.dcm", "JPEG-LS near-lossless, 8 bit"),
        ("JPEGLSNearLossless_16.dcm", "test_files/JPEGLSNearLossless_16.dcm", "JPEG-LS near-lossless, 16 bit"),
        ("SC_rgb_jls_lossy_line.dcm", "test_files/SC_rgb_jls_lossy_line.dcm", "JPEG-LS near-lossless, RGB, interleaved by line"),
        ("SC_rgb_jls_lossy_sample.dcm", "test_files/SC_rgb_jls_lossy_sample.dcm", "JPEG-LS near-lossless, RGB, interleaved by sample"),
        ("MR_small_jp2klossless.dcm", "test_files/MR_small_jp2klossless.dcm", "JPEG 2000 lossless, 16 bit"),
        ("JPEG2000.dcm", "test_files/JPEG2000.dcm", "JPEG 2000 lossy"),
        ("693_J2KI.dcm", "test_files/693_J2KI.dcm", "JPEG 2000 lossy, CT, bits stored against codestream depth"),
        ("GDCMJ2K_TextGBR.dcm", "test_files/GDCMJ2K_TextGBR.dcm", "JPEG 2000 lossless, YBR_RCT, JP2 box ahead of the codestream"),
    ],
    "Colour, bit depth, frames": [
        ("ExplVR_BigEnd.dcm", "test_files/ExplVR_BigEnd.dcm", "US, RGB, explicit big endian"),
        ("SC_ybr_full_422_uncompressed.dcm", "test_files/SC_ybr_full_422_uncompressed.dcm", "YBR_FULL_422, uncompressed"),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", "test_files/SC_rgb_dcmtk_+eb+cy+n1.dcm", "YBR_FULL, JPEG 4:4:4"),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", "test_files/SC_rgb_dcmtk_+eb+cy+s4.dcm", "YBR_FULL, JPEG sampled 4:4:4 by option"),
        ("SC_rgb_dcmtk_+eb+cr.dcm", "test_files/SC_rgb_dcmtk_+eb+cr.dcm", "RGB, JPEG without colour transform"),
        ("SC_rgb_small_odd.dcm", "test_files/SC_rgb_small_odd.dcm", "RGB, 3x3: odd length, padded"),
        ("SC_rgb_small_odd_big_endian.dcm", "test_files/SC_rgb_small_odd_big_endian.dcm", "RGB, 3x3, big endian OW"),
        ("liver_1frame.dcm", "test_files/liver_1frame.dcm", "SEG, 1 bit, nested functional groups"),
        ("liver_expb_1frame.dcm", "test_files/liver_expb_1frame.dcm", "SEG, 1 bit, big endian"),
        ("rtdose.dcm", "test_files/rtdose.dcm", "RTDOSE, 32 bit, 15 frames, implicit"),
        ("rtdose_expb.dcm", "test_files/rtdose_expb.dcm", "RTDOSE, 32 bit, 15 frames, big endian"),
        ("rtdose_rle.dcm", "test_files/rtdose_rle.dcm", "RTDOSE, 32 bit, 15 frames, RLE"),
    ],
    "Objects without pixels": [
        ("test-SR.dcm", "test_files/test-SR.dcm", "SR, content tree of many levels"),
        ("reportsi.dcm", "test_files/reportsi.dcm", "SR, referenced SOPs"),
        ("rtplan.dcm", "test_files/rtplan.dcm", "RTPLAN, deep sequences, implicit"),
        ("rtstruct.dcm", "test_files/rtstruct.dcm", "RTSTRUCT, no transfer syntax in the file meta"),
        ("waveform_ecg.dcm", "test_files/waveform_ecg.dcm", "12-lead ECG waveform"),
        ("DICOMDIR", "test_files/dicomdirtests/DICOMDIR", "media directory: never an image to export"),
    ],
    "Nested, private, UN": [
        ("UN_sequence.dcm", "test_files/UN_sequence.dcm", "one private sequence with VR UN; makes readers allocate by declared length"),
        ("priv_SQ.dcm", "test_files/priv_SQ.dcm", "private sequence of undefined length, implicit"),
        ("nested_priv_SQ.dcm", "test_files/nested_priv_SQ.dcm", "private sequence inside a private sequence, implicit"),
    ],
    "Character sets": [
        ("chrX1.dcm", "charset_files/chrX1.dcm", "UTF-8, name in ideographs"),
        ("chrX2.dcm", "charset_files/chrX2.dcm", "GB18030"),
        ("chrH31.dcm", "charset_files/chrH31.dcm", "ISO 2022, Japanese, code extensions"),
        ("chrKoreanMulti.dcm", "charset_files/chrKoreanMulti.dcm", "ISO 2022, Korean, multi-valued; CR, MONOCHROME1, 12 bit"),
        ("chrFrenMulti.dcm", "charset_files/chrFrenMulti.dcm", "Latin-1, multi-valued names"),
        ("chrRuss.dcm", "charset_files/chrRuss.dcm", "Cyrillic"),
        ("chrSQEncoding.dcm", "charset_files/chrSQEncoding.dcm", "an item with its own character set"),
        ("empty_charset_LEI.dcm", "test_files/empty_charset_LEI.dcm", "empty character set"),
    ],
    "Broken, or not quite DICOM": [
        ("no_meta.dcm", "test_files/no_meta.dcm", "CT_small without preamble and file meta, a stray byte ahead: to be refused"),
        ("no_meta_group_length.dcm", "test_files/no_meta_group_length.dcm", "file meta without group length"),
        ("meta_missing_tsyntax.dcm", "test_files/meta_missing_tsyntax.dcm", "file meta without transfer syntax"),
        ("ExplVR_LitEndNoMeta.dcm", "test_files/ExplVR_LitEndNoMeta.dcm", "bare data set, explicit little endian"),
        ("ExplVR_BigEndNoMeta.dcm", "test_files/ExplVR_BigEndNoMeta.dcm", "bare data set, explicit big endian"),
        ("MR_truncated.dcm", "test_files/MR_truncated.dcm", "pixel data cut short"),
        ("rtplan_truncated.dcm", "test_files/rtplan_truncated.dcm", "cut inside a sequence"),
        ("badVR.dcm", "test_files/badVR.dcm", "unparsable number in IS"),
        ("SC_rgb_jpeg.dcm", "test_files/SC_rgb_jpeg.dcm", "implicit data set under an explicit transfer syntax"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "test_files/JPEG2000-embedded-sequence-delimiter.dcm", "delimiter bytes inside a fragment, codestream broken"),
        ("not_dicom.json", "test_files/test_PN.json", "no DICOM file at all"),
        ("not_dicom.gz", "test_files/zipMR.gz", "a DICOM file inside gzip: not to be unpacked"),
    ],
}

PREAMBLE = """# Where these files come from

Written by `tests/oracle/copy_fixtures.py`; the files in `made/` are our own, by `tests/oracle/make_fixtures.py`.

The files below come unchanged from the Python package `pydicom` {version}, folder `pydicom/data`, where they serve as
test files under the package's MIT licence. Its README names their first sources: NEMA's public sample sets (WG04),
DCMTK, GDCM, dcmqi, pcir.org, the charset samples of D. Clunie, and files contributed by pydicom's users, with names
replaced by their authors. They are test material, none is a patient of ours. Some were renamed here, see the second column.
"""

LICENCES = """
## Licence of pydicom

> Copyright (c) 2008-2020 Darcy Mason and pydicom contributors
>
> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
> documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
> rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
> persons to whom the Software is furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
> Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
> WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
> COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
> OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

## Licence of the files from GDCM

Of those above: `GDCMJ2K_TextGBR.dcm`, `examples_overlay.dcm`.

> Program: GDCM (Grassroots DICOM). A DICOM library
>
> Copyright (c) 2006-2016 Mathieu Malaterre
> Copyright (c) 1993-2005 CREATIS
> (CREATIS = Centre de Recherche et d'Applications en Traitement de l'Image)
> All rights reserved.
>
> Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
> following conditions are met:
>
> * Redistributions of source code must retain the above copyright notice, this list of conditions and the following
>   disclaimer.
> * Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
>   disclaimer in the documentation and/or other materials provided with the distribution.
> * Neither name of Mathieu Malaterre, or CREATIS, nor the names of any contributors (CNRS, INSERM, UCB, Universite Lyon
>   I), may be used to endorse or promote products derived from this software without specific prior written permission.
>
> THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS ``AS IS'' AND ANY EXPRESS OR IMPLIED WARRANTIES,
> INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
> DISCLAIMED. IN NO EVENT SHALL THE AUTHORS OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
> EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS
> OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT,
> STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN
> IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true")
    check = arguments.parse_args().check
    found = importlib.metadata.version("pydicom")
    if found != VERSION:
        sys.exit(f"copy_fixtures: pydicom is {found}, the fixtures are pinned to {VERSION}")
    page, total, different = [PREAMBLE.format(version=VERSION)], 0, []
    for purpose, files in FIXTURES.items():
        page.append(f"\n## {purpose}\n\n| file | in `pydicom/data` | bytes | stands for | SHA-256 |\n|---|---|---|---|---|")
        for name, source, meaning in files:
            content = (DATA / source).read_bytes()
            total += len(content)
            if not check:
                (TARGET / name).write_bytes(content)
            elif (TARGET / name).read_bytes() != content:
                different.append(name)
            digest = hashlib.sha256(content).hexdigest()
            page.append(f"| `{name}` | `{source}` | {len(content)} | {meaning} | `{digest}` |")
    text = "\n".join(page) + "\n" + LICENCES
    if not check:
        (TARGET / "ATTRIBUTION.md").write_text(text)
    elif (TARGET / "ATTRIBUTION.md").read_text() != text:
        different.append("ATTRIBUTION.md")
    print(f"copy_fixtures: {sum(map(len, FIXTURES.values()))} files, {total} bytes")
    if different:
        sys.exit(f"copy_fixtures: differ: {', '.join(different)}")


if __name__ == "__main__":
    main()
