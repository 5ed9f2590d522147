//! TLS of the doors and of what is sent on: TLS 1.2 and 1.3 with forward secrecy and authenticated encryption alone.
//!
//! That is what PS3.15 asks for in *BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile* (B.12) and in the older
//! *Non-Downgrading BCP 195* profile (B.10): nothing below TLS 1.2 is negotiated, no peer gets an unencrypted answer on a
//! port that is encrypted, and the other way round. Cipher suites with finite-field Diffie-Hellman, which a peer of B.10
//! may offer beside those with elliptic curves, are not there: rustls has none.
//!
//! Keys are read once, kept by the provider, and shown nowhere.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use zeroize::Zeroizing;

/// The newer one is preferred (PS3.15 B.12).
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
/// Bytes of a file of keys or certificates at most; all authorities of a system come to some 250 KB.
const LARGEST_FILE: u64 = 1 << 20;
/// Bits of a mode that let others than the owner at a file.
const OTHERS: u32 = 0o077;

/// Who this device is: a certificate with those that lead to its authority, and the key to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificates (PEM), this device's own first.
    pub certificate: PathBuf,
    /// The private key (PEM: PKCS#8, PKCS#1 or SEC1), readable by its owner alone.
    pub key: PathBuf,
}

/// How a door speaks TLS.
#[derive(Clone)]
pub struct TlsServer(pub(crate) Arc<ServerConfig>);

/// How a sender speaks TLS.
#[derive(Clone)]
pub struct TlsClient(pub(crate) Arc<ClientConfig>);

/// TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TlsError {
    #[error("reading `{path}`")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the private key `{path}` can be read or changed by others (mode {mode:o})")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("`{path}` holds no certificate in PEM")]
    NoCertificate { path: PathBuf },
    #[error("`{path}` holds no private key in PEM")]
    NoKey { path: PathBuf },
    #[error("a certificate in `{path}` cannot be used")]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("the certificate `{certificate}` and the key `{key}` cannot be used together")]
    Identity { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("preparing TLS")]
    Unusable(#[source] rustls::Error),
    #[error("preparing to verify peers with `{path}`")]
    Verifier { path: PathBuf, source: rustls::server::VerifierBuilderError },
}

impl TlsServer {
    /// A door that shows this identity. Where `clients` is given, only peers get in whose certificate comes from an
    /// authority in that file (mutual authentication).
    ///
    /// # Errors
    /// A file cannot be read or used, or others can read the key.
    pub fn load(identity: &TlsIdentity, clients: Option<&Path>) -> Result<Self, TlsError> {
        let (chain, key) = load_identity(identity)?;
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(VERSIONS)
            .map_err(TlsError::Unusable)?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                let in_file = |source| TlsError::Verifier { path: path.to_owned(), source };
                builder.with_client_cert_verifier(verifier.map_err(in_file)?)
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(|source| unusable(identity, source))?;
        Ok(Self(Arc::new(config)))
    }
}

impl TlsClient {
    /// A sender that takes only peers whose certificate names the host that was asked for and comes from an authority in
    /// the file `servers`, and shows `identity` to whoever asks.
    ///
    /// # Errors
    /// A file cannot be read or used, or others can read the key.
    pub fn load(servers: &Path, identity: Option<&TlsIdentity>) -> Result<Self, TlsError> {
        let provider = provider();
        let roots = Arc::new(authorities(servers)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let in_file = |source| TlsError::Verifier { path: servers.to_owned(), source };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(VERSIONS)
            .map_err(TlsError::Unusable)?
            .with_webpki_verifier(verifier.map_err(in_file)?);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = load_identity(identity)?;
                builder.with_client_auth_cert(chain, key).map_err(|source| unusable(identity, source))?
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsServer(..)")
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient(..)")
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn unusable(identity: &TlsIdentity, source: rustls::Error) -> TlsError {
    TlsError::Identity { certificate: identity.certificate.clone(), key: identity.key.clone(), source }
}

fn load_identity(
    identity: &TlsIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&identity.certificate)?;
    let path = &identity.key;
    let (key, mode) = read(path)?;
    if mode & OTHERS != 0 {
        return Err(TlsError::Exposed { path: path.clone(), mode });
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsError::NoKey { path: path.clone() })?;
    Ok((chain, key))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (pem, _mode) = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsError::NoCertificate { path: path.to_owned() })
}

/// A file whole, which is wiped when it is dropped, and who may read it.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > LARGEST_FILE {
        return Err(unreadable(io::Error::other("no regular file of at most 1 MiB")));
    }
    // Of the right size from the start: a buffer that grows would leave copies behind.
    let size = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    file.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, metadata.mode() & 0o777))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
pub(crate) mod tests;
