//! A bundle for one try: a bare local component, signed with a key that nobody keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use martello_trust::{KeyError, Role, RootDocument, SigningKey, Timestamp, TrustError, TrustRoot};
use martello_vocab::{ByteCount, Digest, Limits, Name};

use crate::manifest::{Component, EvidenceWords, Manifest, Model, Pipeline, Stage};
use crate::{BundleError, ComponentError, Draft, DraftError, Interfaces, SCHEMA, VerifiedBundle, open};

/// A model to go with an ephemeral component.
#[derive(Debug, Clone)]
pub struct EphemeralModel {
    /// What the manifest says of it. Its `digest` and `size` are filled in.
    pub model: Model,
    /// The model file.
    pub bytes: Bytes,
}

/// A bare component could not be wrapped.
#[derive(Debug, thiserror::Error)]
pub enum EphemeralError {
    /// It is no component.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// It does not make a valid bundle.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The bundle just made does not verify.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// Wraps a bare component file in a bundle with one stage of the same name, signs it with a key made for this call
/// and dropped at its end, and verifies it. So `Trusted` is made by verification here too; what is *not* checked is
/// who made the component, which is the caller's say-so. For `martello exec`, `serve` and `infer`, and for tests.
///
/// # Errors
/// [`EphemeralError`].
pub fn ephemeral(
    name: Name,
    component: Bytes,
    limits: Limits,
    models: Vec<EphemeralModel>,
) -> Result<VerifiedBundle, EphemeralError> {
    let imports = Interfaces::of(&component)?.imports;
    let mut blobs = BTreeMap::new();
    let mut add = |bytes: Bytes| {
        let (digest, size) = (Digest::of(&bytes), ByteCount(bytes.len() as u64));
        blobs.insert(digest, bytes);
        (digest, size)
    };
    let (digest, size) = add(component);
    let models: Vec<Model> = models
        .into_iter()
        .map(|EphemeralModel { mut model, bytes }| {
            (model.digest, model.size) = add(bytes);
            model
        })
        .collect();
    let stage = Stage {
        name: name.clone(),
        component: name.clone(),
        from: "input".to_owned(),
        ports: Vec::new(),
        grants: Vec::new(),
        models: models.iter().map(|model| model.name.clone()).collect(),
        assets: Vec::new(),
        settings: BTreeMap::new(),
    };
    let component = Component {
        name: name.clone(),
        digest,
        size,
        imports,
        limits,
        codes: Vec::new(),
        findings: Vec::new(),
        evidence: EvidenceWords::default(),
    };
    let manifest = Manifest {
        schema: SCHEMA,
        name,
        version: "0.0.0-ephemeral".to_owned(),
        security_version: 0,
        created: "1970-01-01T00:00:00Z".to_owned(),
        components: vec![component],
        models,
        assets: Vec::new(),
        pipeline: Pipeline {
            accepts: vec!["application/octet-stream".to_owned()],
            stages: vec![stage],
            exports: Vec::new(),
        },
        capabilities: Vec::new(),
        min_rollback_to: None,
        compat: None,
        health: None,
        sbom: None,
        provenance: None,
    };
    let valid = manifest.validate().map_err(DraftError::from)?;
    ephemeral_of(Draft::new(valid, blobs)?)
}

/// Signs a draft with a key made for this call and dropped at its end, and verifies it.
///
/// # Errors
/// [`EphemeralError`].
pub fn ephemeral_of(draft: Draft) -> Result<VerifiedBundle, EphemeralError> {
    let key = SigningKey::generate()?;
    let mut packed = draft.pack()?;
    packed.sign(&key);
    let source = packed.layout()?;
    let root = throw_away_root(&key).map_err(BundleError::from)?;
    Ok(open(Arc::new(source), &root)?)
}

fn throw_away_root(key: &SigningKey) -> Result<TrustRoot, TrustError> {
    let never = Timestamp::LAST;
    let keys = [key.public()];
    let document =
        RootDocument::new(1, never).with_role(Role::ROOT, &keys, 1).with_role(Role::RELEASE, &keys, 1);
    let mut envelope = document.into_envelope()?;
    envelope.sign(key);
    TrustRoot::open(&envelope.to_bytes(), None)
}
