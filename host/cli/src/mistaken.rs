//! A file that is of another kind than the one wanted in its place: what it is, what is wanted, and the command that leads from
//! the one to the other.
//!
//! Asked only after a file was refused, for the words of the error. Nothing is decided by it.

use std::io::Read;
use std::path::Path;

use crate::output::{Advice, program, shell_word};

/// How much of a file is looked at. Keys, trust roots and sources are smaller; of other files the beginning says enough.
const LOOKED_AT: u64 = 1 << 20;

/// What is wanted in a place of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The private part of a key.
    PrivateKey,
    /// A trust root.
    TrustRoot,
    /// A packed bundle.
    Bundle,
    /// The source of a bundle.
    Source,
    /// A WebAssembly component.
    Component,
}

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PrivateKey,
    PublicKey,
    Certificate,
    TrustRoot,
    Archive,
    Source,
    Component,
    CoreModule,
    Other,
}

impl Wanted {
    const fn words(self) -> &'static str {
        match self {
            Self::PrivateKey => "the private part of a key",
            Self::TrustRoot => "a trust root",
            Self::Bundle => "a packed bundle (`.tar`, or a folder)",
            Self::Source => "the source of a bundle (TOML or JSON)",
            Self::Component => "a WebAssembly component",
        }
    }

    const fn is_met_by(self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::PrivateKey, Kind::PrivateKey)
                | (Self::TrustRoot, Kind::TrustRoot)
                | (Self::Bundle, Kind::Archive)
                | (Self::Source, Kind::Source)
                | (Self::Component, Kind::Component)
        )
    }
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::PrivateKey => "the private part of a key",
            Self::PublicKey => "the public part of a key",
            Self::Certificate => "a certificate",
            Self::TrustRoot => "a trust root",
            Self::Archive => "an archive, as packed bundles are",
            Self::Source => "the source of a bundle, not packed",
            Self::Component => "a WebAssembly component",
            Self::CoreModule => "a WebAssembly core module",
            Self::Other => "none",
        }
    }

    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0, b'a', b's', b'm', _, _, 0, ..] => return Self::CoreModule,
            [0, b'a', b's', b'm', ..] => return Self::Component,
            _ => {}
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return Self::Archive;
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Other };
        if let Some((_, label)) = text.split_once("-----BEGIN ") {
            let label = label.split("-----").next().unwrap_or_default();
            return match label {
                "CERTIFICATE" => Self::Certificate,
                _ if label.ends_with("PRIVATE KEY") => Self::PrivateKey,
                _ if label.ends_with("PUBLIC KEY") => Self::PublicKey,
                _ => Self::Other,
            };
        }
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
            let has = |pointer: &str| value.pointer(pointer).is_some();
            return if has("/keyval/public") {
                Self::PublicKey
            } else if value.pointer("/signed/_type").is_some_and(|it| it == "root") {
                Self::TrustRoot
            } else if has("/pipeline") {
                Self::Source
            } else {
                Self::Other
            };
        }
        match toml::from_str::<toml::Table>(text) {
            Ok(table) if table.contains_key("pipeline") => Self::Source,
            _ => Self::Other,
        }
    }
}

/// What to say of the file at `path`, where it is of a kind that is known, and not the one wanted. A component is wanted in so
/// few places that there whatever is no component is named too.
pub(crate) fn advice(path: &Path, wanted: Wanted) -> Option<Advice> {
    let file = crate::read::open(path).ok()?;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(LOOKED_AT).read_to_end(&mut bytes).ok()?;
    let kind = Kind::of(&bytes);
    let is_said = kind != Kind::Other || wanted == Wanted::Component;
    if wanted.is_met_by(kind) || !is_said {
        return None;
    }
    let happened = match kind {
        Kind::Other => format!("`{}` is no WebAssembly component", path.display()),
        kind => format!("`{}` is {}, wanted is {}", path.display(), kind.words(), wanted.words()),
    };
    Some(Advice { happened, next: next(path, kind, wanted) })
}

fn next(path: &Path, kind: Kind, wanted: Wanted) -> String {
    let (martello, file) = (program(), shell_word(path));
    match (wanted, kind) {
        (Wanted::PrivateKey, Kind::PublicKey) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let private = path.with_file_name(name.replace(".pub.json", ".pem"));
            format!(
                "the private part, which `martello keys generate` wrote beside it: {}",
                shell_word(&private)
            )
        }
        (Wanted::PrivateKey, _) => format!("{martello} keys generate --out key.pem, which makes a key"),
        (Wanted::TrustRoot, Kind::PrivateKey | Kind::PublicKey) => format!(
            "{martello} keys trust --root-key ROOT.pem --release-key {file} --threshold 1 --out trust.json, which makes a trust root that names this key"
        ),
        (Wanted::TrustRoot, _) => format!(
            "the trust root of whoever signed the bundle; `{martello} keys trust` makes one for keys of your own"
        ),
        (Wanted::Bundle, Kind::Source) => format!(
            "{martello} bundle pack {file} --out bundle.tar, then {martello} bundle sign bundle.tar --key KEY.pem"
        ),
        (Wanted::Bundle, Kind::Component | Kind::CoreModule) => format!(
            "{martello} bundle pack bundle.toml --out bundle.tar, with a source that names the component (`{martello} new` writes one); `{martello} exec {file}` runs a program by itself"
        ),
        (Wanted::Bundle, _) => {
            "the bundle in that place; trust roots go behind `--trust`, keys behind `--key`".to_owned()
        }
        (Wanted::Source, Kind::Archive) => {
            format!("{martello} bundle sign {file} --key KEY.pem, if it is packed already")
        }
        (Wanted::Source, _) => {
            format!("the bundle's source; `{martello} new` and `{martello} bundle init` write one")
        }
        (Wanted::Component, Kind::Archive) => {
            format!("{martello} run {file} --trust trust.json --input DIR --output DIR, which runs bundles")
        }
        (Wanted::Component, Kind::CoreModule) => {
            "cargo build --target wasm32-wasip2, which makes a component".to_owned()
        }
        (Wanted::Component, _) => {
            "the file that `cargo build --target wasm32-wasip2` made, which ends in `.wasm`".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        let archive = [vec![0; 257], b"ustar\0".to_vec()].concat();
        for (bytes, kind) in [
            (&b"\0asm\x0d\0\x01\0"[..], Kind::Component),
            (b"\0asm\x01\0\0\0", Kind::CoreModule),
            (archive.as_slice(), Kind::Archive),
            (b"-----BEGIN PRIVATE KEY-----\nAA==\n", Kind::PrivateKey),
            (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n", Kind::PrivateKey),
            (b"-----BEGIN PUBLIC KEY-----\nAA==\n", Kind::PublicKey),
            (b"-----BEGIN CERTIFICATE-----\nAA==\n", Kind::Certificate),
            (br#"{"keytype":"ed25519","keyval":{"public":"00"},"scheme":"ed25519"}"#, Kind::PublicKey),
            (br#"{"signatures":[],"signed":{"_type":"root"}}"#, Kind::TrustRoot),
            (br#"{"signatures":[],"signed":{"_type":"bundle"}}"#, Kind::Other),
            (b"name = \"a\"\n[pipeline]\naccepts = []\n", Kind::Source),
            (br#"{"name":"a","pipeline":{}}"#, Kind::Source),
            (b"name = \"a\"\n", Kind::Other),
            (b"\x93NUMPY", Kind::Other),
            (b"", Kind::Other),
        ] {
            assert_eq!(Kind::of(bytes), kind, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_wanted_and_of_what_nobody_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let said = |bytes: &[u8], wanted| {
            std::fs::write(&path, bytes).unwrap();
            advice(&path, wanted).map(|advice| advice.happened)
        };
        let key = b"-----BEGIN PRIVATE KEY-----\nAA==\n";
        assert_eq!(said(key, Wanted::PrivateKey), None);
        assert_eq!(said(b"text", Wanted::TrustRoot), None);
        assert!(
            said(key, Wanted::TrustRoot)
                .unwrap()
                .ends_with("is the private part of a key, wanted is a trust root")
        );
        assert!(said(b"text", Wanted::Component).unwrap().ends_with("is no WebAssembly component"));
        assert!(advice(folder.path(), Wanted::Bundle).is_none(), "a folder may be a bundle");
    }
}
