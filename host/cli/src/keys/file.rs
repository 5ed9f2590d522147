//! Key files: PKCS#8 in PEM (RFC 5958, RFC 7468) for private parts, TUF key objects in JSON for public ones.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use martello_trust::canonical::{Numbers, Value};
use martello_trust::{PublicKey, SigningKey};
use martello_vocab::ByteCount;
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use crate::mistaken::{self, Wanted};
use crate::output::Advice;

/// The largest key file.
const LARGEST: ByteCount = ByteCount(16 << 10);
/// The label of a PKCS#8 structure (RFC 7468 section 10).
const PRIVATE: &str = "PRIVATE KEY";
/// The label of an encrypted one (RFC 7468 section 11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// Iterations of PBKDF2-HMAC-SHA-256 (OWASP, Password Storage Cheat Sheet, 2023).
const ITERATIONS: u32 = 600_000;

/// Where the passphrase of an encrypted key comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Passphrase<'a> {
    /// From the person at the terminal.
    Ask,
    /// From the first line of a file.
    File(&'a Path),
}

/// Writes a private key with mode 0600. A file that exists is never overwritten: it may be the only copy of a key.
pub(crate) fn write_private(path: &Path, key: &SigningKey, passphrase: Option<&[u8]>) -> anyhow::Result<()> {
    let der = key.to_pkcs8().context("encoding the key")?;
    let document = SecretDocument::try_from(der.as_slice()).map_err(|_| anyhow!("encoding the key"))?;
    let pem = match passphrase {
        None => document.to_pem(PRIVATE, LineEnding::LF),
        Some(passphrase) => {
            // PBES2 with PBKDF2 and AES-256-CBC. Not scrypt: OpenSSL reads none that is worth its memory.
            let (mut salt, mut iv) = ([0_u8; 16], [0_u8; 16]);
            aws_lc_rs::rand::fill(&mut salt).map_err(|_| anyhow!("the system gave no randomness"))?;
            aws_lc_rs::rand::fill(&mut iv).map_err(|_| anyhow!("the system gave no randomness"))?;
            let encrypted = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv)
                .map_err(pkcs8::Error::from)
                .and_then(|parameters| {
                    PrivateKeyInfoRef::try_from(der.as_slice())?.encrypt_with_params(parameters, passphrase)
                })
                .map_err(|error| anyhow!("encrypting the key: {error}"))?;
            encrypted.to_pem(ENCRYPTED, LineEnding::LF)
        }
    };
    let pem = pem.map_err(|error| anyhow!("encoding the key: {error}"))?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| Advice {
            happened: format!("writing key `{}`", path.display()),
            next: "choose a file that does not exist yet: keys are never overwritten".to_owned(),
        })?;
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).context("writing a key")
}

/// Writes the public part beside the private one and returns where.
pub(crate) fn write_public(private: &Path, key: &PublicKey) -> anyhow::Result<PathBuf> {
    let path = private.with_extension("pub.json");
    replace(&path, &key.to_object().to_canonical())?;
    Ok(path)
}

/// Reads a private key.
pub(crate) fn read_private(path: &Path, passphrase: Passphrase<'_>) -> anyhow::Result<SigningKey> {
    let pem = Zeroizing::new(read(path)?);
    let key = private_of(path, &pem, passphrase);
    key.map_err(|error| match mistaken::advice(path, Wanted::PrivateKey) {
        Some(advice) => advice.into(),
        None => error,
    })
}

/// Reads a public key, out of its own file or out of a private one.
pub(crate) fn read_public(path: &Path, passphrase: Passphrase<'_>) -> anyhow::Result<PublicKey> {
    let content = Zeroizing::new(read(path)?);
    if content.starts_with(b"-----BEGIN") {
        return Ok(private_of(path, &content, passphrase)?.public());
    }
    let object = Value::parse(&content, Numbers::Integers).with_context(|| not_a_key(path))?;
    PublicKey::from_object(&object).with_context(|| not_a_key(path))
}

fn private_of(path: &Path, pem: &[u8], passphrase: Passphrase<'_>) -> anyhow::Result<SigningKey> {
    let text = std::str::from_utf8(pem).with_context(|| not_a_key(path))?;
    let (label, document) =
        SecretDocument::from_pem(text).map_err(|error| anyhow!(error)).with_context(|| not_a_key(path))?;
    match label {
        PRIVATE => SigningKey::from_pkcs8(document.as_bytes()).with_context(|| not_a_key(path)),
        ENCRYPTED => {
            let passphrase = match passphrase {
                Passphrase::File(file) => read_passphrase(file)?,
                Passphrase::Ask => ask(&format!("passphrase of {}: ", path.display()))?,
            };
            let wrong = || Advice {
                happened: format!("decrypting key `{}`", path.display()),
                next: "check the passphrase".to_owned(),
            };
            let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
                .map_err(|error| anyhow!(error))
                .with_context(|| not_a_key(path))?;
            let der = encrypted.decrypt(passphrase.as_bytes()).map_err(|_| wrong())?;
            SigningKey::from_pkcs8(der.as_bytes()).with_context(|| not_a_key(path))
        }
        _ => Err(not_a_key(path).into()),
    }
}

fn not_a_key(path: &Path) -> Advice {
    Advice {
        happened: format!("reading key `{}`", path.display()),
        next: "give a key that `martello keys generate` made: its private part in PEM, or `.pub.json` where the public one will do"
            .to_owned(),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    crate::read::read(path, LARGEST).with_context(|| not_a_key(path))
}

/// Writes a file so that it holds the old bytes or the new ones, whatever happens meanwhile.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// As [`replace`], for a writer of bytes.
pub(crate) fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let context = || format!("writing `{}`", path.display());
    let name = path.file_name().with_context(context)?;
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = folder.join(temporary);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        write(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // The error that counts is the one above; a leftover part file does no harm.
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(context)
}

/// The passphrase in the first line of a file.
pub(crate) fn read_passphrase(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let context = || format!("reading the passphrase in `{}`", path.display());
    let mut file = std::io::BufReader::new(File::open(path).with_context(context)?).take(LARGEST.0);
    let mut line = Zeroizing::new(String::new());
    file.read_line(&mut line).with_context(context)?;
    let passphrase = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if passphrase.is_empty() {
        bail!("{}: its first line is empty", context());
    }
    Ok(passphrase)
}

/// Asks for a new passphrase, twice.
pub(crate) fn ask_new_passphrase() -> anyhow::Result<Zeroizing<String>> {
    let first = ask("new passphrase: ")?;
    if first.is_empty() {
        bail!("the passphrase is empty");
    }
    if *ask("once more: ")? != *first {
        bail!("the two passphrases differ");
    }
    Ok(first)
}

/// Asks on the terminal without showing what is typed.
fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    let terminal = std::io::stdin();
    if !terminal.is_terminal() {
        return Err(Advice {
            happened: "a passphrase is needed, and there is no terminal to ask on".to_owned(),
            next: "give `--passphrase-file FILE`".to_owned(),
        }
        .into());
    }
    let before = tcgetattr(&terminal).context("asking for a passphrase")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    let mut line = Zeroizing::new(String::new());
    let mut stderr = std::io::stderr();
    stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush()).context("asking for a passphrase")?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent).context("asking for a passphrase")?;
    let read = terminal.lock().read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &before).context("showing typed text again")?;
    read.context("asking for a passphrase")?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
