//! Which models went through where they were tried out, kept in the state folder under the device's key.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use martello_inference::{Inference, InferenceConfig, InferenceError, Verdicts};
use martello_runtime::DeviceKey;
use martello_vocab::Digest;

use crate::activation::DeviceConfig;

/// What the key is used for here.
const PURPOSE: &str = "martello model verdict 1";

/// Bytes of the tag before the text.
const TAG_BYTES: usize = 32;

/// The longest text, with its tag.
const LONGEST: u64 = 4 << 10;

/// Verdicts that are kept. One takes the place of the oldest beyond it.
const MOST: usize = 256;

/// The backends of this device. Where the state folder takes no verdicts, models are tried out at each start.
///
/// # Errors
/// As [`Inference::new`].
pub fn inference(config: &DeviceConfig) -> Result<Inference, InferenceError> {
    let mut inference: InferenceConfig = config.inference.clone();
    if inference.verdicts.is_none() {
        match KeptVerdicts::open(&config.state) {
            Ok(kept) => inference.verdicts = Some(Arc::new(kept)),
            Err(error) => {
                tracing::warn!(%error, state = %config.state.display(), "models are tried out at each start: verdicts cannot be kept");
            }
        }
    }
    Inference::new(&inference)
}

struct KeptVerdicts {
    folder: PathBuf,
    key: DeviceKey,
}

impl KeptVerdicts {
    fn open(state: &Path) -> std::io::Result<Self> {
        let folder = state.join("models");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { key: DeviceKey::open(&state.join("native.key"))?, folder })
    }

    fn path(&self, name: &Digest) -> PathBuf {
        self.folder.join(name.hex())
    }

    fn message(name: &Digest, text: &str) -> Vec<u8> {
        [&name.as_bytes()[..], text.as_bytes()].concat()
    }

    fn write(&self, name: &Digest, text: &str) -> std::io::Result<()> {
        self.make_room()?;
        let path = self.path(name);
        let temporary = self.folder.join(format!("{}.tmp-{}", name.hex(), std::process::id()));
        let _ = std::fs::remove_file(&temporary);
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&self.key.tag(PURPOSE, &Self::message(name, text)))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    }

    /// Removes what was kept longest ago, and what a power cut left.
    fn make_room(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let kept = entry.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((kept, entry.path()));
        }
        files.sort();
        let surplus = (files.len().saturating_add(1)).saturating_sub(MOST);
        for (_, path) in files.into_iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

impl Verdicts for KeptVerdicts {
    fn kept(&self, name: &Digest) -> Option<String> {
        let path = self.path(name);
        if std::fs::metadata(&path).ok()?.len() > LONGEST {
            return None;
        }
        let bytes = std::fs::read(&path).ok()?;
        let (tag, text) = bytes.split_at_checked(TAG_BYTES)?;
        let text = std::str::from_utf8(text).ok()?;
        if self.key.tag_holds(PURPOSE, &Self::message(name, text), tag) {
            return Some(text.to_owned());
        }
        tracing::warn!(path = %path.display(), "what was kept of a model was changed on disk; it is tried out again");
        None
    }

    fn keep(&self, name: &Digest, text: &str) {
        if let Err(error) = self.write(name, text) {
            tracing::warn!(%error, folder = %self.folder.display(), "that a model went through cannot be kept");
        }
    }
}

impl std::fmt::Debug for KeptVerdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptVerdicts").field("folder", &self.folder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_its_name_and_its_device_alone() {
        let state = tempfile::tempdir().unwrap();
        let verdicts = KeptVerdicts::open(state.path()).unwrap();
        let (name, other) = (Digest::of(b"name"), Digest::of(b"other"));
        assert_eq!(verdicts.kept(&name), None);
        verdicts.keep(&name, "went through");
        assert_eq!(verdicts.kept(&name).as_deref(), Some("went through"));
        assert_eq!(KeptVerdicts::open(state.path()).unwrap().kept(&name).as_deref(), Some("went through"));
        std::fs::copy(verdicts.path(&name), verdicts.path(&other)).unwrap();
        assert_eq!(verdicts.kept(&other), None);
        let whole = std::fs::read(verdicts.path(&name)).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(verdicts.path(&name), &changed).unwrap();
            assert_eq!(verdicts.kept(&name), None, "{at}");
            std::fs::write(verdicts.path(&name), &whole[..at]).unwrap();
            assert_eq!(verdicts.kept(&name), None, "{at}");
        }
        std::fs::write(verdicts.path(&name), &whole).unwrap();
        assert!(verdicts.kept(&name).is_some());
        let elsewhere = tempfile::tempdir().unwrap();
        let stranger = KeptVerdicts::open(elsewhere.path()).unwrap();
        std::fs::write(stranger.path(&name), &whole).unwrap();
        assert_eq!(stranger.kept(&name), None);
    }

    #[test]
    fn the_oldest_verdicts_make_room() {
        let state = tempfile::tempdir().unwrap();
        let verdicts = KeptVerdicts::open(state.path()).unwrap();
        let name = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..MOST {
            verdicts.keep(&name(number), "");
        }
        let oldest = std::fs::File::options().write(true).open(verdicts.path(&name(7))).unwrap();
        oldest.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        verdicts.keep(&name(MOST), "");
        assert_eq!(std::fs::read_dir(&verdicts.folder).unwrap().count(), MOST);
        assert!(verdicts.kept(&name(7)).is_none());
        assert!(verdicts.kept(&name(MOST)).is_some());
    }
}
