use std::io::Cursor;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::fixtures::{bundle, layout, root};
use crate::{BundleError, VerifiedBundle, open};

fn archive(by: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_archive(&layout(by), &mut bytes).unwrap();
    bytes
}

fn open_bytes(bytes: Vec<u8>) -> Result<VerifiedBundle, BundleError> {
    let bundle = open(Arc::new(Archive::index(Cursor::new(bytes))?), &root(2))?;
    bundle.verify_blobs()?;
    Ok(bundle)
}

#[test]
fn the_same_input_gives_the_same_bytes_whoever_signs_first() {
    assert_eq!(archive(&[1, 2]), archive(&[2, 1]));
}

#[test]
fn an_archive_opens_like_the_layout_in_memory() {
    assert_eq!(open_bytes(archive(&[1, 2])).unwrap().digest(), bundle().digest());
}

/// An archive of one entry, made with the `tar` crate, with anything done to its header.
fn one_entry(change: impl FnOnce(&mut tar::Header)) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path("index.json").unwrap();
    header.set_size(2);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    change(&mut header);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, b"{}".as_slice()).unwrap();
    builder.into_inner().unwrap()
}

fn with_name(name: &str) -> Vec<u8> {
    one_entry(|header| {
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        field[..name.len()].copy_from_slice(name.as_bytes());
    })
}

fn indexed(bytes: Vec<u8>) -> Result<Archive<Cursor<Vec<u8>>>, SourceError> {
    Archive::index(Cursor::new(bytes))
}

#[test]
fn plain_files_with_the_names_of_a_layout_are_taken() {
    for name in ["index.json", "./index.json", "oci-layout"] {
        assert_eq!(indexed(with_name(name)).unwrap().files.len(), 1, "{name}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let digest = "a".repeat(64);
    for name in [
        "../index.json",
        "/index.json",
        "blobs/../index.json",
        "././index.json",
        "Index.json",
        "manifest.json",
        "blobs/sha256/short",
        &format!("blobs/sha256/{}", digest.to_uppercase()),
        &format!("blobs/sha256/../sha256/{digest}"),
        &format!("blobs/sha512/{digest}"),
        "index.json\\",
        "",
    ] {
        assert!(matches!(indexed(with_name(name)), Err(SourceError::Archive { .. })), "{name}");
    }
}

#[test]
fn links_devices_sparse_files_and_extended_headers_are_refused() {
    for kind in [*b"1", *b"2", *b"3", *b"4", *b"6", *b"7", *b"S", *b"L", *b"K", *b"x", *b"g", *b"V", *b"M"] {
        let bytes = one_entry(|header| header.set_entry_type(tar::EntryType::new(kind[0])));
        assert!(matches!(indexed(bytes), Err(SourceError::Archive { .. })), "{}", char::from(kind[0]));
    }
}

#[test]
fn a_name_that_stands_there_twice_is_refused() {
    let one = with_name("index.json");
    let twice = [&one[..1024], &one].concat();
    assert!(matches!(indexed(twice), Err(SourceError::Archive { reason: "a name stands there twice", .. })));
}

#[test]
fn lengths_that_lie_are_refused() {
    for size in [1024 * 1024, u64::from(u32::MAX), 0o77777777777, u64::MAX >> 1, u64::MAX] {
        let bytes = one_entry(|header| header.set_size(size));
        assert!(matches!(indexed(bytes), Err(SourceError::Archive { .. })), "{size}");
    }
}

#[test]
fn a_wrong_checksum_or_a_cut_archive_is_refused() {
    let whole = archive(&[1, 2]);
    let mut wrong = whole.clone();
    // The owner's number: nothing but the checksum tells.
    wrong[110] ^= 1;
    assert!(matches!(indexed(wrong), Err(SourceError::Archive { .. })));
    for length in [0, 1, 511, 512, whole.len() / 2] {
        assert!(open_bytes(whole[..length].to_vec()).is_err(), "{length}");
    }
    let marked = indexed(one_entry(|_| ())[..1024 + 511].to_vec());
    assert!(matches!(marked, Err(SourceError::Archive { reason: "it ends without an end marker", .. })));
}

#[test]
fn a_length_is_octal_digits_alone_and_a_name_stands_in_one_field() {
    let changed = |at: usize, bytes: &[u8]| {
        indexed(one_entry(|header| header.as_mut_bytes()[at..at + bytes.len()].copy_from_slice(bytes)))
    };
    assert!(changed(124, b"00000000002\0").is_ok());
    assert!(changed(124, b"+0000000002\0").is_err());
    assert!(changed(124, b"0000000000x\0").is_err());
    // The field in front of the name (`prefix` of ustar), which others would put before it.
    assert!(changed(345, b"etc").is_err());
}

#[test]
fn a_file_that_is_longer_than_its_reader_takes_is_not_read() {
    let archive = indexed(one_entry(|_| ())).unwrap();
    assert_eq!(archive.file(INDEX_FILE, ByteCount(2)).unwrap(), "{}");
    assert!(matches!(archive.file(INDEX_FILE, ByteCount(1)), Err(SourceError::TooLarge { .. })));
}

#[test]
fn a_folder_entry_of_the_layout_is_passed_over_and_others_are_refused() {
    let folder_of = |name: &str, size: u64| {
        let mut bytes = with_name(name);
        bytes[156] = b'5';
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&bytes[..512]);
        header.set_size(size);
        header.set_cksum();
        let mut whole = header.as_bytes().to_vec();
        whole.extend_from_slice(&[0; 1024]);
        indexed(whole)
    };
    let folder = |name: &str| folder_of(name, 0);
    assert!(folder_of("blobs/", 512).is_err(), "what would stand in it is nobody's");
    for name in ["blobs/", "./blobs/sha256/", "./"] {
        assert!(folder(name).is_ok(), "{name}");
    }
    assert!(folder("etc/").is_err());
}

#[test]
fn more_entries_than_any_bundle_has_are_refused() {
    let entry = &with_name("blobs/")[..512];
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(entry);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Directory);
    header.set_cksum();
    let mut bytes = header.as_bytes().repeat(MOST_ENTRIES + 1);
    bytes.extend_from_slice(&[0; 1024]);
    assert!(matches!(indexed(bytes), Err(SourceError::Archive { reason: "it has too many entries", .. })));
}

/// Bytes all over the archive, flipped: refused, or it still is the same bundle with the same bytes in it.
#[test]
fn no_byte_of_an_archive_changes_what_it_says() {
    let whole = archive(&[1, 2]);
    let digest = bundle().digest();
    // Seven shares no factor with the blocks of 512, so every field of a header is met in one entry or another.
    for position in (0..whole.len()).step_by(7) {
        let mut mutated = whole.clone();
        mutated[position] ^= 0x41;
        if let Ok(opened) = open_bytes(mutated) {
            assert_eq!(opened.digest(), digest, "{position}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_spliced_archive_is_refused_or_the_same(
        at in 0_usize..20_000, cut in 0_usize..2_000, with in proptest::collection::vec(any::<u8>(), 0..600)
    ) {
        let mut bytes = archive(&[1, 2]);
        let at = at.min(bytes.len());
        bytes.splice(at..(at + cut).min(bytes.len()), with);
        if let Ok(opened) = open_bytes(bytes) {
            prop_assert_eq!(opened.digest(), bundle().digest());
        }
    }
}
