//! NumPy's `.npy` files: the header that says type and shape, and the elements behind it.
//!
//! Versions 1 to 3 of the format (`numpy.lib.format`), little-endian, row-major. The header is the text of a Python
//! dictionary with three keys; nothing else of Python is read.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use martello_bundle::manifest::ElementType;
use martello_engine::npy::{MAGIC, header};
use martello_inference::Tensor;

/// NumPy writes headers of a few hundred bytes at most.
const LONGEST_HEADER: usize = 64 << 10;

/// The largest file that is read.
const LARGEST_FILE: u64 = 2 << 30;

/// Reads a tensor.
pub(super) fn read(path: &Path) -> anyhow::Result<Tensor> {
    let file = crate::read::open(path).with_context(|| format!("opening {}", path.display()))?;
    ensure!(file.metadata()?.len() <= LARGEST_FILE, "{} has more than 2 GiB", path.display());
    parse(file.take(LARGEST_FILE)).with_context(|| format!("reading {}", path.display()))
}

/// Reads a tensor out of a file's bytes.
pub(super) fn parse(mut file: impl Read) -> anyhow::Result<Tensor> {
    let mut start = [0_u8; 8];
    file.read_exact(&mut start).context("it is too short for a .npy file")?;
    let [magic @ .., major, _minor] = start;
    ensure!(magic == *MAGIC, "it is no .npy file");
    let length = match major {
        1 => {
            let mut length = [0; 2];
            file.read_exact(&mut length)?;
            usize::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            usize::try_from(u32::from_le_bytes(length))?
        }
        other => bail!("version {other} of the .npy format is not read"),
    };
    ensure!(length <= LONGEST_HEADER, "its header has {length} bytes");
    let mut header = vec![0; length];
    file.read_exact(&mut header).context("its header is cut off")?;
    let header = std::str::from_utf8(&header).context("its header is not text")?;
    let element_type = element_type(quoted(header, "descr")?)?;
    match value(header, "fortran_order")?.split([',', '}']).next().map(str::trim) {
        Some("False") => {}
        Some("True") => bail!("it is in Fortran order; save numpy.ascontiguousarray(array)"),
        _ => bail!("its header does not say in which order it is"),
    }
    let shape = shape(value(header, "shape")?)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Tensor::new(element_type, shape, Bytes::from(bytes))?)
}

/// The text behind `'key':`.
fn value<'a>(header: &'a str, key: &str) -> anyhow::Result<&'a str> {
    let mark = format!("'{key}'");
    let (_, rest) = header.split_once(&mark).with_context(|| format!("its header has no {key}"))?;
    let rest =
        rest.trim_start().strip_prefix(':').with_context(|| format!("its header has no value of {key}"))?;
    Ok(rest.trim_start())
}

fn quoted<'a>(header: &'a str, key: &str) -> anyhow::Result<&'a str> {
    let rest = value(header, key)?;
    let inner = rest.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    let (inner, _) = inner.with_context(|| format!("its {key} is structured, which is not read"))?;
    Ok(inner)
}

fn shape(text: &str) -> anyhow::Result<Vec<u32>> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).context("its shape is none")?.0;
    let words = inner.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.parse().with_context(|| format!("its shape has a dimension `{word}`"))).collect()
}

fn element_type(descr: &str) -> anyhow::Result<ElementType> {
    Ok(match descr {
        "<f2" => ElementType::F16,
        "<f4" => ElementType::F32,
        "<f8" => ElementType::F64,
        "|u1" => ElementType::U8,
        "<i4" => ElementType::I32,
        "<i8" => ElementType::I64,
        // NumPy has no bf16: ml_dtypes saves it as two opaque bytes.
        "<V2" | "|V2" => ElementType::Bf16,
        big if big.starts_with('>') => {
            bail!("its elements are big-endian; save array.astype(dtype.newbyteorder('<'))")
        }
        other => bail!(
            "its elements are `{other}`, which wasi:nn cannot name; it has f2, f4, f8, bf16, u1, i4 and i8"
        ),
    })
}

/// Writes a tensor whose elements `copy` writes.
pub(super) fn write(
    path: &Path,
    element_type: ElementType,
    shape: &[u32],
    copy: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    file.write_all(&header(element_type, shape))
        .and_then(|()| copy(&mut file))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&[version, 0]);
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        file.extend_from_slice(if version == 1 { &length[..2] } else { &length });
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(data);
        file
    }

    #[test]
    fn what_is_written_reads_back_with_elements_at_a_multiple_of_64() {
        for shape in [&[][..], &[3], &[2, 3], &[1, 1, 4096, 4096]] {
            for element_type in [ElementType::F16, ElementType::F32, ElementType::I64, ElementType::Bf16] {
                let header = header(element_type, shape);
                assert_eq!(header.len() % 64, 0);
                if shape.len() < 4 {
                    let count: usize = shape.iter().map(|&it| it as usize).product();
                    let data = vec![7; count * element_type.size()];
                    let tensor = parse(&[header, data.clone()].concat()[..]).unwrap();
                    assert_eq!((tensor.element_type(), tensor.shape()), (element_type, shape));
                    assert_eq!(tensor.bytes(), &data);
                }
            }
        }
    }

    #[test]
    fn headers_as_numpy_writes_them_are_read() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }            \n";
        for version in [1, 2, 3] {
            assert_eq!(parse(&file(version, header, &[0; 8])[..]).unwrap().shape(), [2, 1]);
        }
        let scalar = "{'descr': '|u1', 'fortran_order': False, 'shape': (), }\n";
        assert_eq!(parse(&file(1, scalar, &[9])[..]).unwrap().shape(), [0_u32; 0]);
    }

    #[test]
    fn files_that_cannot_go_through_say_why() {
        let cases = [
            ("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", "wasi:nn cannot name"),
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "big-endian"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "Fortran"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "structured"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "dimension `-1`"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }", "dimension"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "12"),
            ("{'fortran_order': False}", "descr"),
        ];
        for (header, expected) in cases {
            let refused = format!("{:#}", parse(&file(1, header, &[0; 4])[..]).unwrap_err());
            assert!(refused.contains(expected), "{header}: {refused}");
        }
        for bytes in [&b""[..], b"no numpy", b"\x93NUMPY\x09\x00", &file(2, "", &[])[..9]] {
            assert!(parse(bytes).is_err());
        }
        let bomb = [&MAGIC[..], &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert!(parse(&bomb[..]).is_err());
    }

    #[test]
    fn a_file_with_any_byte_changed_or_cut_is_refused_or_reads_back_the_same() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n";
        let whole = file(1, header, &[1; 8]);
        let check = |bytes: &[u8]| {
            if let Ok(tensor) = parse(bytes) {
                let again =
                    [&super::header(tensor.element_type(), tensor.shape())[..], tensor.bytes()].concat();
                assert_eq!(parse(&again[..]).unwrap(), tensor);
            }
        };
        for at in 0..whole.len() {
            assert!(parse(&whole[..at]).is_err(), "{at}");
            for with in [0, b'0', b'9', b'(', b')', b'\'', b',', b'{', 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = with;
                check(&changed);
            }
        }
    }
}
