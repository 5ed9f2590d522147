//! The trust root: which keys may sign in which role, itself signed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use martello_vocab::{ByteCount, Digest};
use serde::{Deserialize, Serialize};

use crate::canonical::{Numbers, Value};
use crate::{Envelope, KeyId, PublicKey, SignedDocument, Timestamp, TrustError};

/// The version of the TUF specification that our metadata follows.
const SPEC_VERSION: &str = "1.0.31";
/// The most keys that a root may name.
const MOST_KEYS: usize = 256;
/// The most roles that a root may name.
const MOST_ROLES: usize = 64;

/// A role: what a set of keys may sign. Roles that nobody asks for do no harm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(Cow<'static, str>);

impl Role {
    /// Signs trust roots.
    pub const ROOT: Self = Self::of("root");
    /// Signs bundle manifests.
    pub const RELEASE: Self = Self::of("release");

    /// The role of this name.
    pub const fn of(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The keys of a role and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// The keys, by identifier.
    pub keyids: Vec<KeyId>,
    /// How many distinct keys must sign. At least 1.
    pub threshold: u32,
}

/// A trust root as it is written (TUF 1.0 section 4.3), before anybody believes it.
#[derive(Debug, Clone, PartialEq)]
pub struct RootDocument {
    /// Counts up by one with each root.
    pub version: u64,
    /// From when on it must not be used for changes.
    pub expires: Timestamp,
    keys: BTreeMap<KeyId, Value>,
    roles: BTreeMap<Role, RoleKeys>,
}

/// The members of a root document that we read; TUF asks to leave others alone.
#[derive(Serialize, Deserialize)]
struct RootFields {
    spec_version: String,
    version: u64,
    expires: Timestamp,
    #[serde(default)]
    consistent_snapshot: bool,
    keys: BTreeMap<KeyId, serde_json::Value>,
    roles: BTreeMap<Role, RoleKeys>,
}

impl RootDocument {
    /// A root without keys.
    pub const fn new(version: u64, expires: Timestamp) -> Self {
        Self { version, expires, keys: BTreeMap::new(), roles: BTreeMap::new() }
    }

    /// Gives a role its keys and threshold, in place of those it had.
    #[must_use]
    pub fn with_role(mut self, role: Role, keys: &[PublicKey], threshold: u32) -> Self {
        let mut keyids: Vec<KeyId> = keys.iter().map(PublicKey::id).collect();
        keyids.sort_unstable();
        keyids.dedup();
        self.keys.extend(keys.iter().map(|key| (key.id(), key.to_object())));
        self.roles.insert(role, RoleKeys { keyids, threshold });
        self
    }

    /// The roles with their keys.
    pub const fn roles(&self) -> &BTreeMap<Role, RoleKeys> {
        &self.roles
    }

    /// An envelope around this root, without signatures.
    ///
    /// # Errors
    /// Where the root would be refused when opened: a threshold of 0, or one beyond the role's keys.
    pub fn into_envelope(self) -> Result<Envelope, TrustError> {
        let root = TrustRoot::of(&self, Digest::of(&[]))?;
        root.role(&Role::ROOT)?;
        let to_json = |value: &Value| {
            serde_json::from_slice(&value.to_canonical()).map_err(|error| TrustError::Root(error.to_string()))
        };
        let keys = self.keys.iter().map(|(id, key)| Ok((*id, to_json(key)?)));
        let fields = RootFields {
            spec_version: SPEC_VERSION.to_owned(),
            version: self.version,
            expires: self.expires,
            consistent_snapshot: false,
            keys: keys.collect::<Result<_, TrustError>>()?,
            roles: self.roles,
        };
        let json = serde_json::to_vec(&fields).map_err(|error| TrustError::Root(error.to_string()))?;
        Envelope::of::<Self>(&json)
    }
}

impl SignedDocument for RootDocument {
    const KIND: &'static str = "root";
    const ROLE: Role = Role::ROOT;
    const LARGEST: ByteCount = ByteCount(512 << 10);

    fn read(statement: &[u8]) -> Result<Self, String> {
        let fields: RootFields = serde_json::from_slice(statement).map_err(|error| error.to_string())?;
        if !fields.spec_version.starts_with("1.") {
            return Err("`spec_version` is not 1.x".to_owned());
        }
        // The key objects once more as generic values: their identifiers are hashes of every member.
        let value = Value::parse(statement, Numbers::Integers).map_err(|error| error.to_string())?;
        let Some(Value::Object(objects)) = value.member("keys") else {
            return Err("`keys` is not an object".to_owned());
        };
        let keys = fields.keys.into_keys().filter_map(|id| Some((id, objects.get(&id.to_string())?.clone())));
        Ok(Self {
            version: fields.version,
            expires: fields.expires,
            keys: keys.collect(),
            roles: fields.roles,
        })
    }
}

/// A trust root that holds together: its signatures meet its own threshold, and every role can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRoot {
    version: u64,
    expires: Timestamp,
    keys: BTreeMap<KeyId, PublicKey>,
    roles: BTreeMap<Role, RoleKeys>,
    statement: Digest,
}

impl TrustRoot {
    /// Opens a trust root out of its envelope. That these bytes are the right ones is the caller's knowledge: they
    /// were installed with the device, or followed from one that was ([`TrustRoot::follow`]).
    ///
    /// With `now`, a root that has expired is refused; without, its age is not asked, so that a device keeps running
    /// what it runs.
    ///
    /// # Errors
    /// [`TrustError`] where it is malformed, not signed by its own root role, expired, or cannot be met.
    pub fn open(envelope: &[u8], now: Option<Timestamp>) -> Result<Self, TrustError> {
        let envelope = Envelope::read::<RootDocument>(envelope)?;
        let root = Self::of(&envelope.document()?, envelope.statement_digest())?;
        envelope.check(&Role::ROOT, &root.role(&Role::ROOT)?)?;
        match now {
            Some(now) if now >= root.expires => Err(TrustError::Expired { expires: root.expires }),
            _ => Ok(root),
        }
    }

    /// Goes on to the next root (TUF 1.0 section 5.3): signed by the root role of this one and by its own, with a
    /// version one higher.
    ///
    /// # Errors
    /// As [`TrustRoot::open`], and [`TrustError::RootVersion`].
    pub fn follow(&self, envelope: &[u8], now: Option<Timestamp>) -> Result<Self, TrustError> {
        let next = Self::open(envelope, now)?;
        Envelope::read::<RootDocument>(envelope)?.check(&Role::ROOT, &self.role(&Role::ROOT)?)?;
        match self.version.checked_add(1) {
            Some(expected) if next.version == expected => Ok(next),
            expected => {
                let expected = expected.unwrap_or(u64::MAX);
                Err(TrustError::RootVersion { expected, found: next.version })
            }
        }
    }

    /// The version.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// From when on it must not be used for changes.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// SHA-256 of the canonical signed bytes.
    pub const fn statement(&self) -> &Digest {
        &self.statement
    }

    /// The roles with their keys.
    pub const fn roles(&self) -> &BTreeMap<Role, RoleKeys> {
        &self.roles
    }

    /// The keys of a role.
    pub(crate) fn role(&self, role: &Role) -> Result<RoleSet<'_>, TrustError> {
        let keys = self.roles.get(role).ok_or_else(|| TrustError::UnknownRole(role.clone()))?;
        Ok(RoleSet { root: self, keys })
    }

    fn of(document: &RootDocument, statement: Digest) -> Result<Self, TrustError> {
        let refuse = |text: String| Err(TrustError::Root(text));
        if document.version == 0 {
            return refuse("its version is 0".to_owned());
        }
        if document.keys.len() > MOST_KEYS || document.roles.len() > MOST_ROLES {
            return refuse(format!("it names more than {MOST_KEYS} keys or {MOST_ROLES} roles"));
        }
        let mut keys = BTreeMap::new();
        for (id, object) in &document.keys {
            if KeyId::of(object) != *id {
                return Err(TrustError::KeyIdMismatch(*id));
            }
            // A key of a kind that we do not know cannot sign for us; others may know it.
            if let Ok(key) = PublicKey::from_object(object) {
                keys.insert(*id, key);
            }
        }
        for (role, RoleKeys { keyids, threshold }) in &document.roles {
            let mut distinct: Vec<&PublicKey> = keyids.iter().filter_map(|id| keys.get(id)).collect();
            distinct.sort_unstable();
            distinct.dedup();
            if *threshold == 0 || distinct.len() < *threshold as usize {
                return refuse(format!(
                    "role `{role}` asks for {threshold} signatures and has {} usable keys",
                    distinct.len()
                ));
            }
        }
        let (version, expires) = (document.version, document.expires);
        Ok(Self { version, expires, keys, roles: document.roles.clone(), statement })
    }
}

/// The keys that count for one role.
pub(crate) struct RoleSet<'a> {
    root: &'a TrustRoot,
    keys: &'a RoleKeys,
}

impl<'a> RoleSet<'a> {
    pub(crate) fn key(&self, id: &KeyId) -> Option<&'a PublicKey> {
        if self.keys.keyids.contains(id) { self.root.keys.get(id) } else { None }
    }

    pub(crate) const fn threshold(&self) -> u32 {
        self.keys.threshold
    }
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
