use super::*;
use crate::SigningKey;
use crate::envelope::tests::key;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn document(version: u64, root_keys: &[u8], threshold: u32) -> RootDocument {
    let publics: Vec<PublicKey> = root_keys.iter().map(|&number| key(number).public()).collect();
    RootDocument::new(version, time("2027-01-01T00:00:00Z"))
        .with_role(Role::ROOT, &publics, threshold)
        .with_role(Role::RELEASE, &[key(50).public()], 1)
}

fn signed(document: RootDocument, by: &[u8]) -> Vec<u8> {
    let mut envelope = document.into_envelope().unwrap();
    by.iter().for_each(|&number| envelope.sign(&key(number)));
    envelope.to_bytes()
}

#[test]
fn a_root_is_written_as_it_always_was() {
    let bytes = String::from_utf8(signed(document(1, &[1, 2], 2), &[1, 2])).unwrap();
    assert_eq!(bytes, include_str!("../tests/golden/trust.json").trim_end());
}

#[test]
fn an_expired_root_is_refused_only_where_the_time_is_asked() {
    let bytes = signed(document(1, &[1], 1), &[1]);
    assert!(TrustRoot::open(&bytes, None).is_ok());
    assert!(TrustRoot::open(&bytes, Some(time("2026-12-31T23:59:59Z"))).is_ok());
    let error = TrustRoot::open(&bytes, Some(time("2027-01-01T00:00:00Z"))).unwrap_err();
    assert!(matches!(error, TrustError::Expired { .. }), "{error}");
}

#[test]
fn a_root_that_did_not_sign_itself_to_its_threshold_is_refused() {
    for by in [[].as_slice(), &[1], &[3], &[1, 3]] {
        let error = TrustRoot::open(&signed(document(1, &[1, 2], 2), by), None).unwrap_err();
        assert!(matches!(error, TrustError::BelowThreshold { .. }), "{by:?} {error}");
    }
}

#[test]
fn a_threshold_that_cannot_be_met_is_refused() {
    assert!(document(1, &[1], 0).into_envelope().is_err());
    assert!(document(1, &[1], 2).into_envelope().is_err());
    // The same key twice is one key.
    assert!(document(1, &[1, 1], 2).into_envelope().is_err());
    assert!(document(0, &[1], 1).into_envelope().is_err());
    let keyless = RootDocument::new(1, time("2027-01-01T00:00:00Z"));
    assert!(matches!(keyless.into_envelope(), Err(TrustError::UnknownRole(_))));
}

#[test]
fn a_key_object_under_another_id_is_refused() {
    let bytes = String::from_utf8(signed(document(1, &[1], 1), &[1])).unwrap();
    let swapped = bytes.replace(&key(50).public().id().to_string(), &key(51).public().id().to_string());
    let error = TrustRoot::open(swapped.as_bytes(), None).unwrap_err();
    assert!(matches!(error, TrustError::KeyIdMismatch(_)), "{error}");
}

/// Rotation: the next root is signed by the keys of this one and by its own.
#[test]
fn keys_rotate_only_with_the_old_ones_consent() {
    let first = TrustRoot::open(&signed(document(1, &[1, 2], 2), &[1, 2]), None).unwrap();
    let next = |version, by: &[u8]| first.follow(&signed(document(version, &[3, 4], 2), by), None);
    assert_eq!(next(2, &[1, 2, 3, 4]).unwrap().version(), 2);
    for by in [[3, 4].as_slice(), &[1, 3, 4], &[1, 2], &[1, 2, 3]] {
        assert!(matches!(next(2, by), Err(TrustError::BelowThreshold { .. })), "{by:?}");
    }
    for version in [1, 3, u64::from(u32::MAX)] {
        assert!(matches!(next(version, &[1, 2, 3, 4]), Err(TrustError::RootVersion { .. })), "{version}");
    }
}

#[test]
fn keys_of_a_kind_that_we_do_not_know_do_not_count_and_do_no_harm() {
    let foreign =
        serde_json::json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": "x"}});
    let bytes = serde_json::to_vec(&foreign).unwrap();
    let id = KeyId::of(&Value::parse(&bytes, Numbers::Integers).unwrap());
    let signer = key(1).public();
    let object: serde_json::Value = serde_json::from_slice(&signer.to_object().to_canonical()).unwrap();
    let with = |threshold: u32| {
        let document = serde_json::json!({
            "spec_version": "1.0.31", "version": 1, "expires": "2027-01-01T00:00:00Z", "x-later": [1],
            "keys": { signer.id().to_string(): object, id.to_string(): foreign },
            "roles": { "root": { "keyids": [signer.id(), id], "threshold": threshold, "x": 1 } },
        });
        let mut envelope = Envelope::of::<RootDocument>(&serde_json::to_vec(&document).unwrap()).unwrap();
        envelope.sign(&key(1));
        TrustRoot::open(&envelope.to_bytes(), None)
    };
    assert!(with(1).is_ok());
    assert!(matches!(with(2), Err(TrustError::Root(_))));
}

/// The id that python-tuf and go-tuf compute too: SHA-256 of the canonical key object. RFC 8032 section 7.1, test 1.
#[test]
fn a_key_id_is_the_hash_of_the_canonical_key_object() {
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let text = format!(r#"{{"keytype":"ed25519","keyval":{{"public":"{public}"}},"scheme":"ed25519"}}"#);
    let key = PublicKey::from_object(&Value::parse(text.as_bytes(), Numbers::Integers).unwrap()).unwrap();
    assert_eq!(format!("sha256:{}", key.id()), Digest::of(text.as_bytes()).to_string());
}

#[test]
fn nothing_private_is_shown_of_a_key() {
    let shown = format!("{:?} {:#?}", key(7), key(7));
    assert!(shown.contains("private part not shown"));
    assert!(!shown.contains("07070707"), "{shown}");
}

#[test]
fn a_private_key_reads_back_and_rubbish_is_none() {
    let der = key(7).to_pkcs8().unwrap();
    assert_eq!(SigningKey::from_pkcs8(&der).unwrap().public(), key(7).public());
    assert!(SigningKey::from_pkcs8(&der[..der.len() - 1]).is_err());
    assert!(SigningKey::from_pkcs8(&[]).is_err());
}

#[test]
fn a_root_that_names_more_keys_or_roles_than_are_looked_at_is_refused() {
    let with_keys = |count: usize| {
        let publics: Vec<PublicKey> = (0..count)
            .map(|number| {
                let mut bytes = [7; 32];
                bytes[..8].copy_from_slice(&number.to_le_bytes());
                PublicKey::from_bytes(bytes)
            })
            .collect();
        document(1, &[1], 1).with_role(Role::RELEASE, &publics, 1).into_envelope()
    };
    // One is the root's own, and one that of the role before it was given others.
    assert!(with_keys(MOST_KEYS - 2).is_ok());
    assert!(matches!(with_keys(MOST_KEYS - 1), Err(TrustError::Root(_))));
    let with_roles = |count: usize| {
        let role =
            |number: usize| serde_json::from_value(serde_json::json!(format!("role-{number}"))).unwrap();
        let add = |root: RootDocument, number| root.with_role(role(number), &[key(1).public()], 1);
        (2..count).fold(document(1, &[1], 1), add).into_envelope()
    };
    assert!(with_roles(MOST_ROLES).is_ok());
    assert!(matches!(with_roles(MOST_ROLES + 1), Err(TrustError::Root(_))));
}

#[test]
fn a_root_of_another_major_version_of_the_specification_is_refused() {
    let bytes = String::from_utf8(signed(document(1, &[1], 1), &[1])).unwrap();
    for (version, is_read) in [("1.1", true), ("2.0.0", false), ("10.0.0", false), ("", false)] {
        let other = bytes.replace("\"1.0.31\"", &format!("\"{version}\""));
        let envelope = Envelope::read::<RootDocument>(other.as_bytes()).unwrap();
        assert_eq!(envelope.document::<RootDocument>().is_ok(), is_read, "{version}");
    }
}
