//! Which models went through where they were tried out, kept in the state folder under the device's key.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use martello_inference::{Inference, InferenceConfig, InferenceError, Verdicts};
use martello_runtime::DeviceKey;
use martello_store::place::{Access, Tree, settle};
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

/// The folder is entered through no link and nothing is read in it but regular files, so that whoever can write there can
/// neither have a start wait for a pipe nor have another file read.
struct KeptVerdicts {
    folder: Tree,
    key: DeviceKey,
}

impl KeptVerdicts {
    fn open(state: &Path) -> std::io::Result<Self> {
        let folder = Tree::make(state)?.folder("models", Access::Owner)?;
        Ok(Self { key: DeviceKey::open(&state.join("native.key"))?, folder })
    }

    fn message(name: &Digest, text: &str) -> Vec<u8> {
        [&name.as_bytes()[..], text.as_bytes()].concat()
    }

    fn read(&self, name: &Digest) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.folder.read(&name.hex())?.take(LONGEST.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, name: &Digest, text: &str) -> std::io::Result<()> {
        self.make_room()?;
        let mut file = self.folder.stage(&name.hex(), 0o600)?;
        file.write_all(&self.key.tag(PURPOSE, &Self::message(name, text)))?;
        file.write_all(text.as_bytes())?;
        settle(vec![file.written()])
    }

    /// Removes what was kept longest ago, and what a power cut left.
    fn make_room(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.folder.path())? {
            let entry = entry?;
            let kept = entry.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((kept, entry.file_name()));
        }
        files.sort();
        let surplus = (files.len().saturating_add(1)).saturating_sub(MOST);
        for (_, name) in files.into_iter().take(surplus) {
            if let Some(name) = name.to_str() {
                self.folder.remove(name)?;
            }
        }
        Ok(())
    }
}

impl Verdicts for KeptVerdicts {
    fn kept(&self, name: &Digest) -> Option<String> {
        let path = || self.folder.path().join(name.hex());
        let bytes = match self.read(name) {
            Ok(bytes) if bytes.len() as u64 <= LONGEST => bytes,
            Ok(_) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path().display(), %error, "what was kept of a model is of no use; it is tried out again");
                return None;
            }
        };
        let (tag, text) = bytes.split_at_checked(TAG_BYTES)?;
        let text = std::str::from_utf8(text).ok()?;
        if self.key.tag_holds(PURPOSE, &Self::message(name, text), tag) {
            return Some(text.to_owned());
        }
        tracing::warn!(path = %path().display(), "what was kept of a model was changed on disk; it is tried out again");
        None
    }

    fn keep(&self, name: &Digest, text: &str) {
        if let Err(error) = self.write(name, text) {
            tracing::warn!(%error, folder = %self.folder.path().display(), "that a model went through cannot be kept");
        }
    }
}

impl std::fmt::Debug for KeptVerdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptVerdicts").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    impl KeptVerdicts {
        fn path(&self, name: &Digest) -> PathBuf {
            self.folder.path().join(name.hex())
        }
    }

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
    fn a_pipe_is_not_waited_for_and_a_link_leads_nowhere() {
        let state = tempfile::tempdir().unwrap();
        let verdicts = KeptVerdicts::open(state.path()).unwrap();
        let (piped, linked) = (Digest::of(b"piped"), Digest::of(b"linked"));
        rustix::fs::mknodat(CWD, verdicts.path(&piped), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        verdicts.keep(&linked, "went through");
        let elsewhere = state.path().join("elsewhere");
        std::fs::rename(verdicts.path(&linked), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, verdicts.path(&linked)).unwrap();
        // A thread of its own: a read that waits for the pipe's writer never ends.
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let found = [verdicts.kept(&piped), verdicts.kept(&linked)];
            for name in [&piped, &linked] {
                verdicts.keep(name, "again");
            }
            sender.send((found, [verdicts.kept(&piped), verdicts.kept(&linked)])).unwrap();
        });
        let (found, kept) = receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(found, [None, None]);
        assert_eq!(kept.map(Option::unwrap), ["again", "again"]);
        assert!(std::fs::read(&elsewhere).unwrap().ends_with(b"went through"));
        std::fs::remove_dir_all(state.path().join("models")).unwrap();
        std::os::unix::fs::symlink("/tmp", state.path().join("models")).unwrap();
        assert!(KeptVerdicts::open(state.path()).is_err());
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
        assert_eq!(std::fs::read_dir(verdicts.folder.path()).unwrap().count(), MOST);
        assert!(verdicts.kept(&name(7)).is_none());
        assert!(verdicts.kept(&name(MOST)).is_some());
    }
}
