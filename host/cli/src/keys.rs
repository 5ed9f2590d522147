//! `martello keys`: signing keys and trust roots.

pub(crate) mod file;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use martello_trust::{PublicKey, Role, RootDocument, SigningKey, Timestamp, TrustRoot};
use serde_json::json;

use crate::output::Advice;
use file::Passphrase;

/// Makes and shows keys, and says which of them are trusted.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an Ed25519 key. The private part is written (PKCS#8, mode 0600) and never shown.
    Generate {
        /// Where the private part goes; the public part goes beside it, as `.pub.json`.
        #[arg(long, value_name = "FILE", default_value = "martello-key.pem")]
        out: PathBuf,
        #[command(flatten)]
        passphrase: NewPassphrase,
    },
    /// Show the public part and the identifier of a key.
    Show {
        /// A private key (`.pem`) or a public one (`.pub.json`).
        key: PathBuf,
        #[command(flatten)]
        passphrase: KnownPassphrase,
    },
    /// Write a trust root: which keys may sign bundles, and how many of them must.
    Trust {
        /// A private key that signs the trust root itself. Repeat it for more; all must sign the next root.
        #[arg(long = "root-key", value_name = "FILE", required = true)]
        root_keys: Vec<PathBuf>,
        /// A key that may sign bundles, private or public. Repeat it for more.
        #[arg(long = "release-key", value_name = "FILE", required = true)]
        release_keys: Vec<PathBuf>,
        /// How many of the release keys must sign a bundle.
        #[arg(long, value_name = "COUNT")]
        threshold: u32,
        /// For how many days the root may be used for changes. What runs goes on running after that.
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        days: u32,
        /// The version, one more than that of the root it replaces.
        #[arg(long = "root-version", value_name = "NUMBER", default_value_t = 1)]
        version: u64,
        /// Where the trust root goes.
        #[arg(long, value_name = "FILE", default_value = "trust.json")]
        out: PathBuf,
        #[command(flatten)]
        passphrase: KnownPassphrase,
    },
}

/// The passphrase of a key that is being made.
#[derive(Debug, clap::Args)]
pub(crate) struct NewPassphrase {
    /// Encrypt the private part with a passphrase, asked for on the terminal.
    #[arg(long, conflicts_with = "passphrase_file")]
    passphrase: bool,
    /// Encrypt the private part with the passphrase in the first line of this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// The passphrase of keys that exist.
#[derive(Debug, clap::Args)]
pub(crate) struct KnownPassphrase {
    /// Read the passphrase of encrypted keys from the first line of this file instead of asking for it.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl KnownPassphrase {
    /// Asked for where a key is encrypted.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self { passphrase_file: None };

    /// Where the passphrase of an encrypted key comes from.
    pub(crate) fn source(&self) -> Passphrase<'_> {
        self.passphrase_file.as_deref().map_or(Passphrase::Ask, Passphrase::File)
    }
}

/// Runs `martello keys`.
///
/// # Errors
/// Where a file cannot be read or written, or a key is none.
pub(crate) fn run(cmd: KeysCommand, out: &crate::Output) -> anyhow::Result<ExitCode> {
    match cmd {
        KeysCommand::Generate { out: path, passphrase } => generate(&path, &passphrase, out),
        KeysCommand::Show { key, passphrase } => show(&key, &passphrase, out),
        KeysCommand::Trust { root_keys, release_keys, threshold, days, version, out: path, passphrase } => {
            let keys = TrustKeys { root_keys, release_keys, threshold };
            trust(&keys, version, days, &path, passphrase.source(), out)
        }
    }
}

fn generate(path: &Path, passphrase: &NewPassphrase, out: &crate::Output) -> anyhow::Result<ExitCode> {
    let passphrase = match (&passphrase.passphrase_file, passphrase.passphrase) {
        (Some(file), _) => Some(file::read_passphrase(file)?),
        (None, true) => Some(file::ask_new_passphrase()?),
        (None, false) => None,
    };
    let key = SigningKey::generate().context("making a key")?;
    file::write_private(path, &key, passphrase.as_ref().map(|it| it.as_bytes()))?;
    let public = file::write_public(path, &key.public())?;
    if passphrase.is_none() {
        out.note(
            "the private part is not encrypted: whoever reads the file can sign (`--passphrase` encrypts it)",
        );
    }
    let id = key.public().id();
    let text =
        || format!("key {id}\n  private part: {}\n  public part:  {}", path.display(), public.display());
    let value = json!({ "id": id, "private": path, "public": public, "encrypted": passphrase.is_some() });
    out.result(text, &value)?;
    Ok(ExitCode::SUCCESS)
}

fn show(path: &Path, passphrase: &KnownPassphrase, out: &crate::Output) -> anyhow::Result<ExitCode> {
    let key = file::read_public(path, passphrase.source())?;
    let object: serde_json::Value = serde_json::from_slice(&key.to_object().to_canonical())?;
    let text = || format!("key {}\n{}", key.id(), String::from_utf8_lossy(&key.to_object().to_canonical()));
    out.result(text, &json!({ "id": key.id(), "key": object }))?;
    Ok(ExitCode::SUCCESS)
}

struct TrustKeys {
    root_keys: Vec<PathBuf>,
    release_keys: Vec<PathBuf>,
    threshold: u32,
}

fn trust(
    keys: &TrustKeys,
    version: u64,
    days: u32,
    path: &Path,
    passphrase: Passphrase<'_>,
    out: &crate::Output,
) -> anyhow::Result<ExitCode> {
    let roots: Vec<SigningKey> = keys
        .root_keys
        .iter()
        .map(|key| file::read_private(key, passphrase))
        .collect::<anyhow::Result<_>>()?;
    let releases: Vec<PublicKey> = keys
        .release_keys
        .iter()
        .map(|key| file::read_public(key, passphrase))
        .collect::<anyhow::Result<_>>()?;
    let now = Timestamp::try_from(SystemTime::now()).context("reading the clock")?;
    let expires = now.plus_days(days);
    let root_publics: Vec<PublicKey> = roots.iter().map(SigningKey::public).collect();
    let root_threshold = u32::try_from(root_publics.len()).context("counting the root keys")?;
    let mut envelope = RootDocument::new(version, expires)
        .with_role(Role::ROOT, &root_publics, root_threshold)
        .with_role(Role::RELEASE, &releases, keys.threshold)
        .into_envelope()
        .context(Advice {
            happened: "making the trust root".to_owned(),
            next: "give each key once, and a threshold from 1 to the number of release keys".to_owned(),
        })?;
    for key in &roots {
        envelope.sign(key);
    }
    let bytes = envelope.to_bytes();
    let root = TrustRoot::open(&bytes, Some(now)).context("opening the trust root just made")?;
    file::replace(path, &bytes)?;
    let text = || {
        format!(
            "trust root {version}: {} of {} release keys must sign a bundle; expires {expires}\n  {}",
            keys.threshold,
            releases.len(),
            path.display()
        )
    };
    let value = json!({ "path": path, "version": version, "expires": expires, "roles": root.roles() });
    out.result(text, &value)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Format, Output};

    const QUIET: Output = Output { format: Format::Json, quiet: true };

    fn generated(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        let passphrase = NewPassphrase { passphrase: false, passphrase_file: None };
        generate(&path, &passphrase, &QUIET).unwrap();
        path
    }

    #[test]
    fn a_private_key_is_readable_by_its_owner_alone_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = generated(folder.path(), "a.pem");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = std::fs::read(&path).unwrap();
        let passphrase = NewPassphrase { passphrase: false, passphrase_file: None };
        assert!(generate(&path, &passphrase, &QUIET).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn private_and_public_part_name_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = generated(folder.path(), "a.pem");
        let private = file::read_private(&path, Passphrase::Ask).unwrap();
        let public = file::read_public(&folder.path().join("a.pub.json"), Passphrase::Ask).unwrap();
        assert_eq!(private.public(), public);
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
        std::fs::write(&right, "correct horse\nsecond line\n").unwrap();
        std::fs::write(&wrong, "battery staple\n").unwrap();
        let passphrase = NewPassphrase { passphrase: false, passphrase_file: Some(right.clone()) };
        generate(&path, &passphrase, &QUIET).unwrap();
        let pem = std::fs::read_to_string(&path).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
        assert!(file::read_private(&path, Passphrase::File(&right)).is_ok());
        assert!(file::read_private(&path, Passphrase::File(&wrong)).is_err());
    }

    #[test]
    fn a_trust_root_names_the_release_keys_and_refuses_a_threshold_beyond_them() {
        let folder = tempfile::tempdir().unwrap();
        let [root, one, two] = ["root.pem", "one.pem", "two.pem"].map(|name| generated(folder.path(), name));
        let path = folder.path().join("trust.json");
        let public = one.with_extension("pub.json");
        let with = |threshold| {
            let release_keys = vec![public.clone(), two.clone()];
            let keys = TrustKeys { root_keys: vec![root.clone()], release_keys, threshold };
            trust(&keys, 1, 30, &path, Passphrase::Ask, &QUIET)
        };
        for threshold in [0, 3] {
            assert!(with(threshold).is_err(), "{threshold}");
            assert!(!path.exists());
        }
        with(2).unwrap();
        let opened = TrustRoot::open(&std::fs::read(&path).unwrap(), None).unwrap();
        assert_eq!(opened.roles().get(&Role::RELEASE).unwrap().keyids.len(), 2);
    }
}
