//! What files TLS is spoken with, and what is never shown of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

/// A folder with an authority and what it has issued.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for this name, and its key.
    pub(crate) fn issue(&self, name: &str) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |extension| self.folder.path().join(format!("{name}.{extension}"));
        let identity = TlsIdentity { certificate: path("pem"), key: path("key") };
        fs::write(&identity.certificate, certificate.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&identity.key, fs::Permissions::from_mode(0o600)).unwrap();
        identity
    }
}

#[test]
fn a_key_that_others_could_read_is_refused() {
    let authority = Authority::new();
    let identity = authority.issue("localhost");
    TlsServer::load(&identity, None).unwrap();
    for mode in [0o640, 0o604, 0o602, 0o660] {
        fs::set_permissions(&identity.key, fs::Permissions::from_mode(mode)).unwrap();
        let refused = TlsServer::load(&identity, None);
        assert!(
            matches!(refused, Err(TlsError::Exposed { mode: found, .. }) if found == mode),
            "{refused:?}"
        );
        let refused = TlsClient::load(&authority.file(), Some(&identity));
        assert!(matches!(refused, Err(TlsError::Exposed { .. })), "{refused:?}");
    }
}

#[test]
fn files_that_hold_something_else_are_told_apart() {
    let authority = Authority::new();
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let missing = authority.folder.path().join("missing");
    let load = |certificate: &Path, key: &Path, clients: Option<&Path>| {
        let identity = TlsIdentity { certificate: certificate.to_owned(), key: key.to_owned() };
        TlsServer::load(&identity, clients).unwrap_err()
    };
    assert!(matches!(load(&missing, &one.key, None), TlsError::Unreadable { path, .. } if path == missing));
    assert!(
        matches!(load(&one.certificate, &missing, None), TlsError::Unreadable { path, .. } if path == missing)
    );
    assert!(matches!(load(&one.key, &one.key, None), TlsError::NoCertificate { .. }));
    let public = authority.folder.path().join("public");
    fs::copy(&one.certificate, &public).unwrap();
    fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(load(&one.certificate, &public, None), TlsError::NoKey { .. }));
    assert!(matches!(load(&one.certificate, &other.key, None), TlsError::Identity { .. }));
    let clients = load(&one.certificate, &one.key, Some(&one.key));
    assert!(matches!(clients, TlsError::NoCertificate { .. }), "{clients:?}");
    let folder = load(authority.folder.path(), &one.key, None);
    assert!(matches!(folder, TlsError::Unreadable { .. }), "{folder:?}");
}

#[test]
fn neither_keys_nor_settings_are_shown() {
    let authority = Authority::new();
    let identity = authority.issue("localhost");
    let server = TlsServer::load(&identity, Some(&authority.file())).unwrap();
    let client = TlsClient::load(&authority.file(), Some(&identity)).unwrap();
    assert_eq!(format!("{server:?} {client:?}"), "TlsServer(..) TlsClient(..)");
    let wrong = TlsIdentity { key: authority.issue("other").key, ..identity };
    let error = TlsServer::load(&wrong, None).unwrap_err();
    let key = fs::read_to_string(&wrong.key).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!format!("{error} {error:?}").contains(line));
}
