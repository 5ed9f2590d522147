//! Where a DICOM peer is found: its title, host and port.

use std::fmt;
use std::str::FromStr;

use super::names::AeTitle;

/// A peer to send to, written `TITLE@HOST:PORT`, and `TITLE@tls://HOST:PORT` where it is spoken to under TLS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DicomAddress {
    /// The title that is called.
    pub title: AeTitle,
    /// A name or an address of a machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub encryption: Encryption,
}

/// Whether a peer is spoken to under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encryption {
    /// It is not: whoever is on the network between can read what is sent.
    Plain,
    /// It is, or nothing is sent.
    Tls,
}

/// A text is no address of a DICOM peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a peer is written TITLE@HOST:PORT, or TITLE@tls://HOST:PORT")]
pub struct DicomAddressError;

const TLS: &str = "tls://";

impl FromStr for DicomAddress {
    type Err = DicomAddressError;

    fn from_str(text: &str) -> Result<Self, DicomAddressError> {
        // A title may hold an @; a host may not.
        let (title, place) = text.rsplit_once('@').ok_or(DicomAddressError)?;
        let (encryption, place) = match place.strip_prefix(TLS) {
            Some(place) => (Encryption::Tls, place),
            None => (Encryption::Plain, place),
        };
        let (host, port) = place.rsplit_once(':').ok_or(DicomAddressError)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|host| host.contains(':')),
            None => Some(host).filter(|host| !host.contains(':')),
        };
        let is_host = |host: &&str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte))
        };
        Ok(Self {
            title: title.parse().map_err(|_| DicomAddressError)?,
            host: host.filter(is_host).ok_or(DicomAddressError)?.to_owned(),
            port: port.parse().ok().filter(|port| *port != 0).ok_or(DicomAddressError)?,
            encryption,
        })
    }
}

impl fmt::Display for DicomAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encryption = match self.encryption {
            Encryption::Plain => "",
            Encryption::Tls => TLS,
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}@{encryption}{open}{}{close}:{}", self.title, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["PACS@10.0.0.5:104", "MY PACS@tls://pacs.example:2762", "A@B@[::1]:11112"] {
            let address: DicomAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.encryption == Encryption::Tls, text.contains("tls"));
        }
        let bad =
            ["", "PACS", "PACS@host", "PACS@host:0", "PACS@host:x", "@host:104", "PACS@:104", "PACS@::1:104"];
        for text in
            bad.into_iter().chain(["PACS@a/b:104", "PACS@[host]:104", "A\\B@host:104", "PACS@http://host:1"])
        {
            assert_eq!(text.parse::<DicomAddress>(), Err(DicomAddressError), "{text}");
        }
    }
}
