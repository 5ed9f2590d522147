//! The pseudonym key of a site, and the pseudonyms made with it.
//!
//! INVARIANT: the key never leaves this module: guests and reports see what was made with it. Kept by the tests
//! below and by the type having no accessor.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::{hmac, rand};
use martello_runtime::{PseudonymError, Pseudonyms};
use martello_vocab::Digest;

/// Bytes of the key: those of HMAC-SHA-256 (RFC 2104 recommends the length of the hash).
const KEY_BYTES: usize = 32;
/// The longest value for which a pseudonym is made. A DICOM UID has 64 characters, a patient's name some hundreds.
const LONGEST_VALUE: usize = 4096;
/// Dates move back by 1 to this many days, so that the year tells little.
const MOST_DAYS: u64 = 3650;

/// The pseudonym key of a site.
pub struct SiteKey {
    key: hmac::Key,
    id: String,
}

/// The key cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SiteKeyError {
    #[error("reading the pseudonym key `{path}`")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("making the pseudonym key `{path}`")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("the pseudonym key `{path}` is not {KEY_BYTES} bytes long")]
    WrongLength { path: PathBuf },
    #[error("the pseudonym key `{path}` is no key: every byte is the same, as a power cut may leave a file")]
    Uniform { path: PathBuf },
    #[error("the pseudonym key `{path}` can be read by others (mode {mode:o}); make it 0600")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("this machine gives no random bytes")]
    NoRandom,
}

impl SiteKey {
    /// Hexadecimal digits of an input's id.
    pub(crate) const INPUT_ID_DIGITS: usize = 20;

    /// Reads the key at `path`, or makes one there (mode 0600) where there is none.
    ///
    /// # Errors
    /// The file is of the wrong length, can be read by others, or the disk fails.
    pub fn open_or_make(path: &Path) -> Result<Self, SiteKeyError> {
        match Self::open(path) {
            Err(SiteKeyError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::make(path)
            }
            opened => opened,
        }
    }

    fn open(path: &Path) -> Result<Self, SiteKeyError> {
        let file =
            File::open(path).map_err(|source| SiteKeyError::Unreadable { path: path.to_owned(), source })?;
        Self::read(path, file)
    }

    fn read(path: &Path, file: File) -> Result<Self, SiteKeyError> {
        let unreadable = |source| SiteKeyError::Unreadable { path: path.to_owned(), source };
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SiteKeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() != KEY_BYTES {
            return Err(SiteKeyError::WrongLength { path: path.to_owned() });
        }
        // Anybody could compute the pseudonyms made with it.
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(SiteKeyError::Uniform { path: path.to_owned() });
        }
        Ok(Self::of(&bytes))
    }

    fn make(path: &Path) -> Result<Self, SiteKeyError> {
        let mut bytes = [0_u8; KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_unspecified| SiteKeyError::NoRandom)?;
        let write = || -> io::Result<()> {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let folder = parent.unwrap_or(Path::new("."));
            // Under a name that nobody can know before, for its owner alone.
            let mut file = tempfile::Builder::new().prefix(".pseudonym-key-").tempfile_in(folder)?;
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            // Unlike a rename, this fails where another process made the key at the same moment, or a link stands there.
            file.persist_noclobber(path).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        };
        match write() {
            Ok(()) => Ok(Self::of(&bytes)),
            // Not tried without end: what stands there may be a link to nowhere.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::open(path),
            Err(source) => Err(SiteKeyError::Unwritable { path: path.to_owned(), source }),
        }
    }

    fn of(bytes: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let id = hmac::sign(&key, b"martello key id");
        let id = id.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { key, id }
    }

    /// A stable id for an input, from its name and content, under which its outputs stand: 20 hexadecimal digits.
    /// Without the key nobody can tell which file it was.
    pub fn input_id(&self, name: &str, content: &Digest) -> String {
        let tag = self.tag("input", &[name.as_bytes(), &[0], content.as_bytes()]);
        tag.as_ref().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
    }

    /// As [`SiteKey::input_id`], for an input whose content could not be read: from its name, length and time of change.
    pub(crate) fn unread_id(&self, name: &str, (length, changed): (u64, i64)) -> String {
        let parts = [name.as_bytes(), &[0], &length.to_be_bytes(), &changed.to_be_bytes()];
        let tag = self.tag("unread input", &parts);
        tag.as_ref().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
    }

    /// A stable stand-in for a file name, so that a journal can know a file again without holding its name.
    pub fn name_id(&self, name: &str) -> String {
        let tag = self.tag("name", &[name.as_bytes()]);
        tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn tag(&self, purpose: &str, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(purpose.as_bytes());
        for part in parts {
            context.update(part);
        }
        context.sign()
    }

    fn bounded(value: &str) -> Result<&str, PseudonymError> {
        if value.len() > LONGEST_VALUE { Err(PseudonymError("the value is too long")) } else { Ok(value) }
    }
}

impl Pseudonyms for SiteKey {
    /// `2.25.` and the decimal form of a version 8 UUID (RFC 9562) whose other bits are those of
    /// HMAC-SHA-256(key, `uid` ‖ value). At most 44 characters, no leading zero.
    fn uid(&self, value: &str) -> Result<String, PseudonymError> {
        let tag = self.tag("uid", &[Self::bounded(value)?.as_bytes()]);
        let mut bytes = [0_u8; 16];
        bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        let number = u128::from_be_bytes(bytes);
        let version = (number & !(0xf << 76)) | (8 << 76);
        let variant = (version & !(0b11 << 62)) | (0b10 << 62);
        Ok(format!("2.25.{variant}"))
    }

    fn subject(&self, value: &str) -> Result<String, PseudonymError> {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let tag = self.tag("subject", &[Self::bounded(value)?.as_bytes()]);
        // 16 characters of 5 bits are the first 10 bytes.
        let bits = tag.as_ref().iter().take(10).fold(0_u128, |bits, &byte| (bits << 8) | u128::from(byte));
        Ok((0..16)
            .rev()
            .filter_map(|place| {
                let index = usize::try_from((bits >> (place * 5)) & 31).ok()?;
                ALPHABET.get(index).copied().map(char::from)
            })
            .collect())
    }

    fn shift_days(&self, subject: &str) -> Result<u32, PseudonymError> {
        let tag = self.tag("shift", &[Self::bounded(subject)?.as_bytes()]);
        let number = tag.as_ref().iter().take(8).fold(0_u64, |number, &byte| (number << 8) | u64::from(byte));
        u32::try_from(number % MOST_DAYS + 1).map_err(|_beyond| PseudonymError("the shift is out of range"))
    }

    fn key_id(&self) -> String {
        self.id.clone()
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SiteKey {
        SiteKey::of(&[7; KEY_BYTES])
    }

    #[test]
    fn a_uid_is_a_version_8_uuid_in_decimal_and_always_the_same() {
        let uid = key().uid("1.2.3").unwrap();
        assert_eq!(uid, key().uid("1.2.3").unwrap());
        assert_ne!(uid, key().uid("1.2.4").unwrap());
        let number: u128 = uid.strip_prefix("2.25.").unwrap().parse().unwrap();
        assert_eq!((number >> 76) & 0xf, 8);
        assert_eq!((number >> 62) & 0b11, 0b10);
        assert!(uid.len() <= 64);
    }

    #[test]
    fn a_subject_has_16_characters_of_base32_and_depends_on_the_key() {
        let subject = key().subject("ZZMARK").unwrap();
        assert_eq!(subject.len(), 16);
        assert!(subject.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{subject}");
        assert_ne!(subject, SiteKey::of(&[8; KEY_BYTES]).subject("ZZMARK").unwrap());
    }

    #[test]
    fn dates_of_a_subject_move_by_one_to_3650_days() {
        let shifts: Vec<u32> = (0..2000).map(|n| key().shift_days(&n.to_string()).unwrap()).collect();
        assert!(shifts.iter().all(|days| (1..=3650).contains(days)));
        assert!(shifts.iter().max() > Some(&3000) && shifts.iter().min() < Some(&600));
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_an_exposed_one_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pseudonym.key");
        let made = SiteKey::open_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SiteKey::open_or_make(&path).unwrap().key_id(), made.key_id());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SiteKey::open_or_make(&path), Err(SiteKeyError::Exposed { .. })));
    }

    #[test]
    fn no_key_is_made_behind_a_link_to_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, behind) = (folder.path().join("pseudonym.key"), folder.path().join("behind"));
        std::os::unix::fs::symlink(&behind, &path).unwrap();
        let refused = SiteKey::open_or_make(&path);
        assert!(matches!(refused, Err(SiteKeyError::Unreadable { .. })), "{refused:?}");
        assert!(!behind.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "half a key is left over");
    }

    #[test]
    fn a_key_of_one_byte_again_and_again_is_refused_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pseudonym.key");
        drop(SiteKey::open_or_make(&path).unwrap());
        std::fs::write(&path, [0; KEY_BYTES]).unwrap();
        assert!(matches!(SiteKey::open_or_make(&path), Err(SiteKeyError::Uniform { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), [0; KEY_BYTES]);
    }

    #[test]
    fn debug_output_and_key_id_do_not_show_the_key() {
        let bytes: [u8; KEY_BYTES] = std::array::from_fn(|place| u8::try_from(0xa0 + place).unwrap());
        let key = SiteKey::of(&bytes);
        let id = key.key_id();
        assert_eq!(format!("{key:?}"), format!("SiteKey({id})"));
        assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(&id), "{id} is a part of the key");
    }
}
