//! The device's key for native code, and the MAC made with it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::hmac;

const KEY_BYTES: usize = 32;

/// Bytes read at once for the MAC: the file passes through, so that it is not charged to the process.
const STEP_BYTES: usize = 256 << 10;

/// The key. It is made on the device and never leaves it.
pub(super) struct DeviceKey(hmac::Key);

/// A MAC of a file under a name.
pub(super) struct Mac(hmac::Tag);

impl DeviceKey {
    /// Reads the key, or makes it where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut bytes = [0_u8; KEY_BYTES];
        match File::open(path) {
            Ok(mut file) => {
                if file.metadata()?.permissions().mode() & 0o077 != 0 {
                    let text = format!(
                        "key {} can be read by others; remove it to have a new one made",
                        path.display()
                    );
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
                }
                file.read_exact(&mut bytes)?;
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

    /// The MAC of a file under the name it has in the cache, so that one entry cannot stand in for another.
    pub(super) fn mac(&self, name: &str, file: &File) -> io::Result<Mac> {
        let mut context = self.start(name);
        let mut buffer = vec![0_u8; STEP_BYTES];
        let mut offset = 0_u64;
        loop {
            let count = file.read_at(&mut buffer, offset)?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return Ok(Mac(context.sign()));
            };
            context.update(bytes);
            offset = offset.saturating_add(count as u64);
        }
    }

    /// Whether `expected` is the MAC of the file under that name. The comparison takes the same time either way.
    pub(super) fn holds(&self, name: &str, file: &File, expected: &[u8]) -> io::Result<bool> {
        let found = self.mac(name, file)?;
        Ok(aws_lc_rs::constant_time::verify_slices_are_equal(found.as_bytes(), expected).is_ok())
    }

    fn start(&self, name: &str) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"martello native code 1\0");
        context.update(name.as_bytes());
        context.update(b"\0");
        context
    }
}

impl Mac {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}
