//! The envelope of every signed document, and its verification.

use std::collections::BTreeMap;
use std::sync::Arc;

use martello_vocab::{ByteCount, Digest};

use crate::canonical::{Numbers, Value};
use crate::key::{from_hex, to_hex};
use crate::root::RoleSet;
use crate::{KeyId, PublicKey, Role, SigningKey, TrustError, TrustRoot, Trusted, Verification};

/// The most signatures that one envelope may carry.
const MOST_SIGNATURES: usize = 64;
/// The longest signature, in bytes. Ed25519's has 64; the room is for ML-DSA-65 (FIPS 204), which has 3,309.
const LONGEST_SIGNATURE: usize = 4096;
/// The member of a statement that says of which kind it is.
const KIND: &str = "_type";

/// A kind of document that is signed.
pub trait SignedDocument: Sized {
    /// What the statement's `_type` says. Keys that sign several kinds cannot be played off against each other.
    const KIND: &'static str;
    /// The role that must sign it.
    const ROLE: Role;
    /// The largest envelope of this kind; checked before anything is parsed.
    const LARGEST: ByteCount;
    /// The numbers that its statement may hold.
    const NUMBERS: Numbers = Numbers::Integers;

    /// Reads the statement: canonical JSON of an object, without its `_type`.
    ///
    /// # Errors
    /// In words, where the statement does not say what documents of this kind say.
    fn read(statement: &[u8]) -> Result<Self, String>;
}

/// Verifies a signed document against the keys that `root` names for its role.
///
/// # Errors
/// [`TrustError`] where the envelope is too large, malformed, of another kind, or signed by fewer distinct keys than
/// the role's threshold; and where the statement itself is refused.
pub fn verify<T: SignedDocument>(envelope: &[u8], root: &TrustRoot) -> Result<Trusted<T>, TrustError> {
    let envelope = Envelope::read::<T>(envelope)?;
    let keys = root.role(&T::ROLE)?;
    let (statement, signers) = envelope.check(&T::ROLE, &keys)?;
    let verification = Verification { role: T::ROLE, statement, signers, root_version: root.version() };
    Ok(Trusted::new(envelope.document()?, Arc::new(verification)))
}

/// A statement and the signatures over it. Nothing of it is to be believed before [`verify`].
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    statement: BTreeMap<String, Value>,
    /// By key, so that a key signs once. Two signatures of one key: the last stays.
    signatures: BTreeMap<KeyId, Vec<u8>>,
}

impl Envelope {
    /// Puts a document of kind `T`, given as JSON, into an envelope without signatures.
    ///
    /// # Errors
    /// Where the JSON is not an object, or is one that reading a `T` would refuse.
    pub fn of<T: SignedDocument>(statement: &[u8]) -> Result<Self, TrustError> {
        let Value::Object(mut statement) = Value::parse(statement, T::NUMBERS)? else {
            return Err(TrustError::Envelope("the statement is not an object"));
        };
        statement.insert(KIND.to_owned(), Value::text(T::KIND));
        let envelope = Self { statement, signatures: BTreeMap::new() };
        envelope.document::<T>()?;
        Ok(envelope)
    }

    /// Reads an envelope of kind `T` without believing it: to add a signature, or to show what it says.
    ///
    /// # Errors
    /// Where it is too large, malformed, or of another kind.
    pub fn read<T: SignedDocument>(bytes: &[u8]) -> Result<Self, TrustError> {
        let found = ByteCount(bytes.len() as u64);
        if found > T::LARGEST {
            return Err(TrustError::TooLarge { found, most: T::LARGEST });
        }
        let Value::Object(mut members) = Value::parse(bytes, T::NUMBERS)? else {
            return Err(TrustError::Envelope("it is not an object"));
        };
        let (Some(Value::Object(statement)), Some(Value::List(list)), true) =
            (members.remove("signed"), members.remove("signatures"), members.is_empty())
        else {
            return Err(TrustError::Envelope(
                "its members must be the object `signed` and the list `signatures`",
            ));
        };
        let kind = statement.get(KIND).and_then(Value::as_text).unwrap_or_default();
        if kind != T::KIND {
            return Err(TrustError::WrongKind { expected: T::KIND, found: kind.chars().take(64).collect() });
        }
        if list.len() > MOST_SIGNATURES {
            return Err(TrustError::Envelope("it carries more than 64 signatures"));
        }
        let signatures = list.into_iter().map(read_signature).collect::<Result<_, _>>()?;
        Ok(Self { statement, signatures })
    }

    /// Adds the signature of a key, or renews it.
    pub fn sign(&mut self, key: &SigningKey) {
        let signature = key.sign(&self.signed_bytes());
        self.signatures.insert(key.public().id(), signature);
    }

    /// The keys that claim to have signed.
    pub fn claimed_signers(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.keys()
    }

    /// SHA-256 of the canonical signed bytes: what the document is, however many have signed it.
    pub fn statement_digest(&self) -> Digest {
        Digest::of(&self.signed_bytes())
    }

    /// The envelope's bytes: canonical JSON, signatures in the order of their keys' identifiers.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signature = |(id, bytes): (&KeyId, &Vec<u8>)| {
            Value::Object(BTreeMap::from([
                ("keyid".to_owned(), Value::text(id.to_string())),
                ("sig".to_owned(), Value::text(to_hex(bytes))),
            ]))
        };
        let members = BTreeMap::from([
            ("signatures".to_owned(), Value::List(self.signatures.iter().map(signature).collect())),
            ("signed".to_owned(), Value::Object(self.statement.clone())),
        ]);
        Value::Object(members).to_canonical()
    }

    /// What the statement says, without belief: to show it, or to learn from a root which keys it names.
    ///
    /// # Errors
    /// [`TrustError::Statement`].
    pub fn document<T: SignedDocument>(&self) -> Result<T, TrustError> {
        let mut statement = self.statement.clone();
        statement.remove(KIND);
        T::read(&Value::Object(statement).to_canonical()).map_err(TrustError::Statement)
    }

    /// Counts the distinct keys of a role whose signature holds, and gives their ids and the statement's digest.
    ///
    /// INVARIANT: keys are counted, not ids: `one_key_under_two_ids_counts_once` keeps it.
    pub(crate) fn check(&self, role: &Role, keys: &RoleSet<'_>) -> Result<(Digest, Vec<KeyId>), TrustError> {
        let message = self.signed_bytes();
        let mut signers: BTreeMap<&PublicKey, KeyId> = BTreeMap::new();
        for (id, signature) in &self.signatures {
            let Some(key) = keys.key(id) else { continue };
            if !signers.contains_key(key) && key.holds(&message, signature) {
                signers.insert(key, *id);
            }
        }
        let found = u32::try_from(signers.len()).unwrap_or(u32::MAX);
        if found < keys.threshold() {
            return Err(TrustError::BelowThreshold {
                role: role.clone(),
                found,
                threshold: keys.threshold(),
            });
        }
        let mut signers: Vec<KeyId> = signers.into_values().collect();
        signers.sort_unstable();
        Ok((Digest::of(&message), signers))
    }

    fn signed_bytes(&self) -> Vec<u8> {
        Value::Object(self.statement.clone()).to_canonical()
    }
}

fn read_signature(value: Value) -> Result<(KeyId, Vec<u8>), TrustError> {
    let Value::Object(mut members) = value else {
        return Err(TrustError::Envelope("a signature is not an object"));
    };
    let (Some(Value::Text(id)), Some(Value::Text(signature)), true) =
        (members.remove("keyid"), members.remove("sig"), members.is_empty())
    else {
        return Err(TrustError::Envelope("a signature's members must be the texts `keyid` and `sig`"));
    };
    let id =
        id.parse().map_err(|_| TrustError::Envelope("a signature's `keyid` is not 64 hexadecimal digits"))?;
    match from_hex(&signature) {
        Some(bytes) if bytes.len() <= LONGEST_SIGNATURE => Ok((id, bytes)),
        _ => Err(TrustError::Envelope("a signature's `sig` is not lower-case hexadecimal, or is too long")),
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
pub(crate) mod tests;
