//! The device's key for native code, and the MAC made with it.
//!
//! The MAC is GMAC (NIST SP 800-38D, section 3: GCM without plaintext) under AES-256. It runs at memory speed, where
//! HMAC-SHA-256 takes ten times as long, and loading a component is mostly this. GMAC must never see a nonce twice under
//! one key, so each MAC has a key of its own: HMAC-SHA-256 of the entry's name and a fresh random salt under the
//! device's key. The nonce is then constant, and the salt stands before the tag in the MAC's file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use rustix::fs::{Mode, OFlags};

const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Bytes of a MAC: salt and tag.
pub(super) const MAC_BYTES: usize = SALT_BYTES + TAG_BYTES;

/// The key with which a device recognises what it made itself. It is made on the device and never leaves it.
pub struct DeviceKey(hmac::Key);

/// A MAC of native code under a name.
pub(super) struct Mac([u8; MAC_BYTES]);

impl DeviceKey {
    /// Reads the key, or makes it where there is none.
    ///
    /// # Errors
    /// It cannot be read or made, or others can read it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut bytes = [0_u8; KEY_BYTES];
        // Where a pipe stands in its place, nobody waits for its other end.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(io::Error::from) {
            Ok(file) if !file.metadata()?.is_file() => {
                let text = format!("key {} is no regular file; remove it to have one made", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            Ok(mut file) => {
                if file.metadata()?.permissions().mode() & 0o077 != 0 {
                    let text = format!(
                        "key {} can be read by others; remove it to have a new one made",
                        path.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
                }
                let read = file.read_exact(&mut bytes);
                let is_torn = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
                if is_torn || bytes == [0; KEY_BYTES] {
                    // As a power cut may leave it. Whatever was kept under another key is compiled again.
                    tracing::warn!(path = %path.display(), "the key of native code is not whole and is made anew");
                    std::fs::remove_file(path)?;
                    return Self::open(path);
                }
                read?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
                // Processes that share a state folder may come here at once: the first one's key is everybody's.
                let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
                let _ = std::fs::remove_file(&temporary);
                let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
                let linked = std::fs::hard_link(&temporary, path);
                std::fs::remove_file(&temporary)?;
                match linked {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Self::open(path),
                    linked => linked?,
                }
                super::sync_folder_of(path)?;
            }
            Err(error) => return Err(error),
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A MAC of native code under the name it has in the cache, so that one entry cannot stand in for another.
    pub(super) fn mac(&self, name: &str, native: &[u8]) -> io::Result<Mac> {
        let mut salt = [0_u8; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| io::Error::other("no randomness"))?;
        self.salted(name, native, salt)
    }

    /// Whether `expected` is a MAC of the native code under that name. The comparison takes the same time either way.
    pub(super) fn holds(&self, name: &str, native: &[u8], expected: &[u8]) -> io::Result<bool> {
        let Some(salt) = expected.first_chunk::<SALT_BYTES>() else { return Ok(false) };
        let found = self.salted(name, native, *salt)?;
        Ok(aws_lc_rs::constant_time::verify_slices_are_equal(found.as_bytes(), expected).is_ok())
    }

    /// A tag of a short text for this purpose (HMAC-SHA-256), so that one made for another does not hold.
    pub fn tag(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        let tag = self.tagged(purpose, text).sign();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Whether this is the tag of the text for this purpose. The comparison takes the same time either way.
    pub fn tag_holds(&self, purpose: &str, text: &[u8], tag: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.tag(purpose, text), tag).is_ok()
    }

    fn tagged(&self, purpose: &str, text: &[u8]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"martello tag\0");
        context.update(purpose.as_bytes());
        context.update(b"\0");
        context.update(text);
        context
    }

    fn salted(&self, name: &str, native: &[u8], salt: [u8; SALT_BYTES]) -> io::Result<Mac> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"martello native code 2\0");
        context.update(&salt);
        context.update(name.as_bytes());
        let failed = |_| io::Error::other("the cryptographic library failed");
        let key = UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).map_err(failed)?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = LessSafeKey::new(key)
            .seal_in_place_separate_tag(nonce, Aad::from(native), &mut [])
            .map_err(failed)?;
        let mut mac = [0; MAC_BYTES];
        let (first, second) = mac.split_at_mut(SALT_BYTES);
        first.copy_from_slice(&salt);
        second.copy_from_slice(tag.as_ref());
        Ok(Mac(mac))
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey")
    }
}

impl Mac {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DeviceKey {
        DeviceKey(hmac::Key::new(hmac::HMAC_SHA256, &[7; KEY_BYTES]))
    }

    #[test]
    fn a_mac_holds_for_its_name_its_bytes_and_its_key_alone() {
        let native = vec![3_u8; 100_000];
        let mac = key().mac("entry", &native).unwrap();
        assert!(key().holds("entry", &native, mac.as_bytes()).unwrap());
        assert!(!key().holds("other", &native, mac.as_bytes()).unwrap());
        assert!(!key().holds("entry", &native[1..], mac.as_bytes()).unwrap());
        let other = DeviceKey(hmac::Key::new(hmac::HMAC_SHA256, &[8; KEY_BYTES]));
        assert!(!other.holds("entry", &native, mac.as_bytes()).unwrap());
        for position in 0..MAC_BYTES {
            let mut bad = mac.0;
            bad[position] ^= 1;
            assert!(!key().holds("entry", &native, &bad).unwrap(), "{position}");
        }
        for length in 0..MAC_BYTES {
            assert!(!key().holds("entry", &native, &mac.as_bytes()[..length]).unwrap(), "{length}");
        }
    }

    #[test]
    fn a_key_that_is_not_whole_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("native.key");
        let first = DeviceKey::open(&path).unwrap().mac("entry", b"code").unwrap();
        for torn in [&[][..], &[7; KEY_BYTES - 1], &[0; KEY_BYTES]] {
            std::fs::write(&path, torn).unwrap();
            let made = DeviceKey::open(&path).unwrap();
            assert!(!made.holds("entry", b"code", first.as_bytes()).unwrap());
            let mac = made.mac("entry", b"code").unwrap();
            assert!(DeviceKey::open(&path).unwrap().holds("entry", b"code", mac.as_bytes()).unwrap());
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn two_macs_of_the_same_code_have_different_keys() {
        let (first, second) = (key().mac("entry", b"code").unwrap(), key().mac("entry", b"code").unwrap());
        assert_ne!(first.0[..SALT_BYTES], second.0[..SALT_BYTES]);
        assert_ne!(first.0[SALT_BYTES..], second.0[SALT_BYTES..]);
    }
}
