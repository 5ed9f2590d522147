//! Ed25519 keys (RFC 8032) and their TUF identifiers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use martello_vocab::Digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::canonical::Value;

/// The identifier of a key: SHA-256 of the canonical form of its key object (TUF 1.0 section 4.2). Its text is 64
/// lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Digest);

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// An Ed25519 private key with its public half. `Debug` shows the public half's identifier alone.
pub struct SigningKey(Ed25519KeyPair);

/// Something that was to be a key is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not a key's identifier.
    #[error("a key id has 64 lower-case hexadecimal digits")]
    Id,
    /// The key object is not one of an Ed25519 key.
    #[error("reading a public key: {0}")]
    Public(&'static str),
    /// The private key is not one of Ed25519 in PKCS#8 (RFC 5958, RFC 8410).
    #[error("reading a private key: it is not an Ed25519 key in PKCS#8")]
    Private,
    /// The system gave no randomness.
    #[error("making a key: the system gave no randomness")]
    Randomness,
}

impl KeyId {
    /// The identifier of a key object, whatever its members.
    pub(crate) fn of(key_object: &Value) -> Self {
        Self(Digest::of(&key_object.to_canonical()))
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        format!("sha256:{text}").parse().map(Self).map_err(|_| KeyError::Id)
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0.hex()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.hex())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PublicKey {
    /// Takes the 32 bytes of RFC 8032.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of RFC 8032.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's identifier.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.to_object())
    }

    /// The TUF key object: `{"keytype":"ed25519","keyval":{"public":"…"},"scheme":"ed25519"}`.
    pub fn to_object(&self) -> Value {
        let keyval = BTreeMap::from([("public".to_owned(), Value::text(to_hex(&self.0)))]);
        Value::Object(BTreeMap::from([
            ("keytype".to_owned(), Value::text("ed25519")),
            ("keyval".to_owned(), Value::Object(keyval)),
            ("scheme".to_owned(), Value::text("ed25519")),
        ]))
    }

    /// Reads a TUF key object. Members beyond the three are kept out of account, as TUF asks.
    ///
    /// # Errors
    /// Where the key is not one of Ed25519.
    pub fn from_object(object: &Value) -> Result<Self, KeyError> {
        let text = |key| object.member(key).and_then(Value::as_text);
        if text("keytype") != Some("ed25519") || text("scheme") != Some("ed25519") {
            return Err(KeyError::Public("`keytype` and `scheme` must both be `ed25519`"));
        }
        let public = object.member("keyval").and_then(|keyval| keyval.member("public"));
        let bytes = public.and_then(Value::as_text).and_then(from_hex);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(KeyError::Public("`keyval.public` must have 64 lower-case hexadecimal digits"))
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", to_hex(&self.0))
    }
}

impl SigningKey {
    /// Makes a key out of the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| KeyError::Randomness)
    }

    /// Reads PKCS#8 (RFC 5958, version 1 or 2) in DER.
    ///
    /// # Errors
    /// [`KeyError::Private`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self).map_err(|_| KeyError::Private)
    }

    /// The private key in PKCS#8 version 1 (RFC 8410), DER. The bytes are wiped when dropped.
    ///
    /// # Errors
    /// [`KeyError::Private`] where the key cannot be read out of the provider.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // RFC 8410 section 7: the prefix of a version 1 structure, before the 32 bytes of the seed.
        const PREFIX: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let seed = self.0.seed().map_err(|_| KeyError::Private)?;
        let seed = seed.as_be_bytes().map_err(|_| KeyError::Private)?;
        let mut der = Zeroizing::new(Vec::with_capacity(PREFIX.len() + 32));
        der.extend_from_slice(&PREFIX);
        der.extend_from_slice(seed.as_ref());
        Ok(der)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0_u8; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The signature over `message`: 64 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, private part not shown)", self.public().id())
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

/// Reads lower-case hexadecimal digits; upper case is refused so that a value has one text.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            &[high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect()
}
