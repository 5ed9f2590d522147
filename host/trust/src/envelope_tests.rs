use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{Pins, RootDocument, Timestamp};

/// A small signed document: what it says, and one blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
    share: f64,
    blob: Digest,
    size: ByteCount,
}

impl SignedDocument for Note {
    const KIND: &'static str = "note";
    const ROLE: Role = Role::RELEASE;
    const LARGEST: ByteCount = ByteCount(16384);
    const NUMBERS: Numbers = Numbers::Fractions;

    fn read(statement: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(statement).map_err(|error| error.to_string())
    }
}

impl Pins for Note {
    fn pinned_size(&self, digest: &Digest) -> Option<ByteCount> {
        (self.blob == *digest).then_some(self.size)
    }
}

/// The same fields as another kind of document.
#[derive(Debug, Clone, PartialEq)]
struct Other(Note);

impl SignedDocument for Other {
    const KIND: &'static str = "other";
    const ROLE: Role = Role::RELEASE;
    const LARGEST: ByteCount = ByteCount(16384);
    const NUMBERS: Numbers = Numbers::Fractions;

    fn read(statement: &[u8]) -> Result<Self, String> {
        Note::read(statement).map(Self)
    }
}

/// Keys that are the same in each run, so that golden bytes stay. RFC 8032 section 7.1 has the first one's seed.
pub(crate) fn key(number: u8) -> SigningKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend_from_slice(&[number; 32]);
    SigningKey::from_pkcs8(&der).unwrap()
}

const EXPIRES: &str = "2027-01-01T00:00:00Z";

pub(crate) fn root(release: &[SigningKey], threshold: u32) -> TrustRoot {
    let publics: Vec<PublicKey> = release.iter().map(SigningKey::public).collect();
    let expires: Timestamp = EXPIRES.parse().unwrap();
    let document = RootDocument::new(1, expires).with_role(Role::ROOT, &[key(200).public()], 1).with_role(
        Role::RELEASE,
        &publics,
        threshold,
    );
    let mut envelope = document.into_envelope().unwrap();
    envelope.sign(&key(200));
    TrustRoot::open(&envelope.to_bytes(), None).unwrap()
}

fn note() -> Note {
    Note { text: "hello \"é\"".to_owned(), share: 0.1, blob: Digest::of(b"abc"), size: ByteCount(3) }
}

fn signed(by: &[SigningKey]) -> Vec<u8> {
    let mut envelope = Envelope::of::<Note>(&serde_json::to_vec(&note()).unwrap()).unwrap();
    by.iter().for_each(|key| envelope.sign(key));
    envelope.to_bytes()
}

#[test]
fn the_envelope_is_written_as_it_always_was() {
    let golden = concat!(
        r#"{"signatures":[{"keyid":"KEY","sig":"SIG"}],"signed":{"_type":"note","#,
        r#""blob":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","#,
        r#""share":0.1,"size":3,"text":"hello \"é\""}}"#
    );
    let bytes = String::from_utf8(signed(&[key(1)])).unwrap();
    let id = key(1).public().id().to_string();
    // Made by this crate once; Ed25519 signatures are deterministic, so every later version must write the same.
    assert_eq!(id, "7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12");
    let signature = "c7688266342bff8bcca0fcbab313b04967e6e16df8077025d29c44b03aa1d08f1a05922247d699e6d20543032097f0e247b5797f1fe4f3ed623db5ada849180f";
    assert_eq!(bytes, golden.replace("KEY", &id).replace("SIG", signature));
    assert!(verify::<Note>(bytes.as_bytes(), &root(&[key(1)], 1)).is_ok());
}

#[test]
fn distinct_keys_are_counted_against_the_threshold() {
    let keys = || [key(1), key(2), key(3)];
    for (threshold, signers, holds) in [
        (1, vec![], false),
        (1, vec![1], true),
        (1, vec![9], false),
        (2, vec![1], false),
        (2, vec![1, 1], false),
        (2, vec![1, 9], false),
        (2, vec![1, 3], true),
        (2, vec![1, 2, 3], true),
        (3, vec![1, 2], false),
        (3, vec![1, 2, 3], true),
    ] {
        let by: Vec<SigningKey> = signers.iter().map(|&number| key(number)).collect();
        let result = verify::<Note>(&signed(&by), &root(&keys(), threshold));
        match result {
            Ok(trusted) => {
                assert!(holds, "{threshold} {signers:?}");
                assert_eq!(*trusted, note());
                let mut ids: Vec<KeyId> = by.iter().map(|key| key.public().id()).collect();
                ids.sort_unstable();
                assert_eq!(trusted.verification().signers, ids);
            }
            Err(error) => {
                assert!(
                    !holds && matches!(error, TrustError::BelowThreshold { .. }),
                    "{threshold} {signers:?} {error}"
                );
            }
        }
    }
}

#[test]
fn one_id_twice_counts_once() {
    let one = String::from_utf8(signed(&[key(1)])).unwrap();
    let start = one.find('[').unwrap() + 1;
    let end = one.find(']').unwrap();
    let twice = format!("{},{}", &one[..end], &one[start..]);
    let error = verify::<Note>(twice.as_bytes(), &root(&[key(1), key(2)], 2)).unwrap_err();
    assert!(matches!(error, TrustError::BelowThreshold { found: 1, threshold: 2, .. }), "{error}");
}

/// A root that names the key under a second id, by a member that does not belong to the key itself.
fn root_with_two_ids(threshold: u32) -> (Result<TrustRoot, TrustError>, KeyId, KeyId) {
    let plain = key(1).public().to_object();
    let Value::Object(mut members) = plain.clone() else { panic!() };
    members.insert("x-note".to_owned(), Value::text("the same key"));
    let other = Value::Object(members);
    let (first, second) = (KeyId::of(&plain), KeyId::of(&other));
    let json = |value: &Value| serde_json::from_slice::<serde_json::Value>(&value.to_canonical()).unwrap();
    let third = key(2).public();
    let root_key = key(200).public();
    let document = serde_json::json!({
        "spec_version": "1.0.31", "version": 1, "expires": EXPIRES,
        "keys": {
            first.to_string(): json(&plain), second.to_string(): json(&other),
            third.id().to_string(): json(&third.to_object()), root_key.id().to_string(): json(&root_key.to_object()),
        },
        "roles": {
            "root": { "keyids": [root_key.id()], "threshold": 1 },
            "release": { "keyids": [first, second, third.id()], "threshold": threshold },
        },
    });
    let mut envelope = Envelope::of::<RootDocument>(&serde_json::to_vec(&document).unwrap()).unwrap();
    envelope.sign(&key(200));
    (TrustRoot::open(&envelope.to_bytes(), None), first, second)
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let (root, first, second) = root_with_two_ids(2);
    let root = root.unwrap();
    assert_ne!(first, second);
    let mut envelope = Envelope::read::<Note>(&signed(&[key(1)])).unwrap();
    let signature = envelope.signatures[&first].clone();
    envelope.signatures.insert(second, signature);
    let error = verify::<Note>(&envelope.to_bytes(), &root).unwrap_err();
    assert!(matches!(error, TrustError::BelowThreshold { found: 1, .. }), "{error}");
    // Under its second id alone the key counts, together with another.
    envelope.signatures.remove(&first);
    envelope.sign(&key(2));
    assert!(verify::<Note>(&envelope.to_bytes(), &root).is_ok());
}

#[test]
fn a_threshold_that_only_ids_could_meet_is_refused() {
    let (root, ..) = root_with_two_ids(3);
    assert!(matches!(root, Err(TrustError::Root(_))), "{root:?}");
}

#[test]
fn a_key_of_another_role_does_not_count() {
    // Key 200 is in the trust root, as one of the root role.
    let error = verify::<Note>(&signed(&[key(200)]), &root(&[key(1)], 1)).unwrap_err();
    assert!(matches!(error, TrustError::BelowThreshold { found: 0, .. }), "{error}");
}

#[test]
fn a_signature_under_another_keys_id_does_not_count() {
    let mut envelope = Envelope::read::<Note>(&signed(&[key(1)])).unwrap();
    let signature = envelope.signatures.remove(&key(1).public().id()).unwrap();
    envelope.signatures.insert(key(2).public().id(), signature);
    assert!(verify::<Note>(&envelope.to_bytes(), &root(&[key(1), key(2)], 1)).is_err());
}

#[test]
fn a_document_of_one_kind_is_never_read_as_another() {
    let error = verify::<Other>(&signed(&[key(1)]), &root(&[key(1)], 1)).unwrap_err();
    assert!(matches!(error, TrustError::WrongKind { expected: "other", .. }), "{error}");
}

#[test]
fn an_envelope_beyond_its_size_is_refused_before_parsing() {
    let mut bytes = signed(&[key(1)]);
    bytes.extend_from_slice(&[b' '; 16384]);
    let error = verify::<Note>(&bytes, &root(&[key(1)], 1)).unwrap_err();
    assert!(matches!(error, TrustError::TooLarge { .. }), "{error}");
}

#[test]
fn more_signatures_than_any_role_needs_are_refused() {
    let mut envelope = Envelope::read::<Note>(&signed(&[])).unwrap();
    for number in 0..=MOST_SIGNATURES {
        let id = KeyId::of(&Value::Integer(i64::try_from(number).unwrap()));
        envelope.signatures.insert(id, vec![0]);
    }
    assert!(matches!(Envelope::read::<Note>(&envelope.to_bytes()), Err(TrustError::Envelope(_))));
}

#[test]
fn a_document_that_its_own_reader_refuses_gets_no_envelope() {
    for text in ["[]", "{}", r#"{"text":"a"}"#] {
        assert!(Envelope::of::<Note>(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn only_pinned_blobs_with_their_own_bytes_are_admitted() {
    let trusted: Trusted<Note> = verify(&signed(&[key(1)]), &root(&[key(1)], 1)).unwrap();
    let blob = trusted.admit(&note().blob, Bytes::from_static(b"abc")).unwrap();
    assert_eq!(blob.bytes(), "abc".as_bytes());
    assert_eq!(blob.verification(), trusted.verification());
    let refused =
        |digest: Digest, bytes: &'static [u8]| trusted.admit(&digest, Bytes::from_static(bytes)).unwrap_err();
    assert!(matches!(refused(Digest::of(b"abd"), b"abd"), TrustError::NotPinned { .. }));
    assert!(matches!(refused(note().blob, b"abd"), TrustError::WrongDigest { .. }));
    assert!(matches!(refused(note().blob, b"abcd"), TrustError::WrongSize { .. }));
}

#[test]
fn a_further_signature_leaves_the_statement_as_it_is() {
    let (one, two) = (signed(&[key(1)]), signed(&[key(1), key(2)]));
    let root = root(&[key(1), key(2)], 1);
    let statement = |bytes: &[u8]| verify::<Note>(bytes, &root).unwrap().verification().statement;
    assert_eq!(statement(&one), statement(&two));
}

#[test]
fn every_byte_of_an_envelope_counts() {
    let bytes = signed(&[key(1)]);
    let root = root(&[key(1)], 1);
    for position in 0..bytes.len() {
        for flip in [0x01_u8, 0x20, 0x80, 0xff] {
            let mut mutated = bytes.clone();
            mutated[position] ^= flip;
            assert_refused_or_the_same(&mutated, &root);
        }
    }
}

fn assert_refused_or_the_same(mutated: &[u8], root: &TrustRoot) {
    if let Ok(trusted) = verify::<Note>(mutated, root) {
        assert_eq!(*trusted, note(), "{}", String::from_utf8_lossy(mutated));
    }
}

proptest! {
    #[test]
    fn a_spliced_envelope_is_refused_or_says_the_same(
        from in 0_usize..600, to in 0_usize..600, with in proptest::collection::vec(any::<u8>(), 0..8)
    ) {
        let mut bytes = signed(&[key(1)]);
        let (from, to) = (from.min(bytes.len()), to.min(bytes.len()));
        bytes.splice(from.min(to)..to.max(from), with);
        assert_refused_or_the_same(&bytes, &root(&[key(1)], 1));
    }

    #[test]
    fn a_spliced_root_is_refused_or_reads_back_the_same(
        from in 0_usize..1200, cut in 0_usize..8, with in proptest::collection::vec(any::<u8>(), 0..8)
    ) {
        let mut bytes = include_bytes!("../tests/golden/trust.json").to_vec();
        let from = from.min(bytes.len());
        bytes.splice(from..(from + cut).min(bytes.len()), with);
        crate::fuzz::fuzz_envelope(&bytes);
    }
}

#[test]
fn an_envelope_has_the_members_that_are_read_and_no_other() {
    let whole = String::from_utf8(signed(&[key(1)])).unwrap();
    assert!(Envelope::read::<Note>(whole.as_bytes()).is_ok());
    for (from, to) in
        [(r#"{"signatures""#, r#"{"extra":1,"signatures""#), (r#"{"keyid""#, r#"{"extra":1,"keyid""#)]
    {
        let more = whole.replace(from, to);
        let error = Envelope::read::<Note>(more.as_bytes()).unwrap_err();
        assert!(matches!(error, TrustError::Envelope(_)), "{error}");
    }
}

#[test]
fn a_signature_is_lower_case_hexadecimal_of_a_bounded_length() {
    let read = |signature: &str| {
        let id = key(1).public().id();
        let text = format!(
            r#"{{"signatures":[{{"keyid":"{id}","sig":"{signature}"}}],"signed":{{"_type":"note"}}}}"#
        );
        Envelope::read::<Note>(text.as_bytes())
    };
    assert!(read("").is_ok() && read("ab").is_ok() && read(&"ab".repeat(LONGEST_SIGNATURE)).is_ok());
    for signature in ["AB", "aB", "a", "abc", "0x", &"ab".repeat(LONGEST_SIGNATURE + 1)] {
        assert!(matches!(read(signature), Err(TrustError::Envelope(_))), "{} digits", signature.len());
    }
}

#[test]
fn a_key_object_of_another_type_or_scheme_is_no_key_of_ours() {
    let object = |keytype: &str, scheme: &str| {
        let Value::Object(mut members) = key(1).public().to_object() else { panic!() };
        members.insert("keytype".to_owned(), Value::text(keytype));
        members.insert("scheme".to_owned(), Value::text(scheme));
        PublicKey::from_object(&Value::Object(members))
    };
    assert_eq!(object("ed25519", "ed25519"), Ok(key(1).public()));
    for (keytype, scheme) in [("rsa", "ed25519"), ("ed25519", "ed25519ph"), ("ecdsa", "ecdsa-sha2-nistp256")]
    {
        assert!(object(keytype, scheme).is_err(), "{keytype} {scheme}");
    }
}
