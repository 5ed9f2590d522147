//! Sending objects on while a bundle runs, and forwarding originals past it: the arguments. `martello_engine` does it.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use martello_engine::{Deliveries, Outgoing, Purpose};
use martello_ingest::dicom::{AeTitle, DicomAddress, DicomPeer, Encryption, SendingPatience};
use martello_ingest::{Queue, QueueError, QueueLimits, Retry, Sender, TlsClient, TlsError, TlsIdentity};
use martello_vocab::ByteCount;

use crate::output::{Advice, Output, counted};

/// The folder under the state folder in which objects wait to be delivered, one folder a destination.
const OUTGOING: &str = "outgoing";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where objects are sent.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SendArgs {
    /// Send each DICOM object that leaves the pipeline to this peer (C-STORE), and go on trying until it is there (may be
    /// given more than once). TITLE@tls://HOST:PORT for a peer under TLS. A run that is done waits until everything is there, or
    /// for 10 seconds nothing was taken; the next run goes on with the rest. A signal ends that wait, a second one also what
    /// is being sent.
    #[arg(long, value_name = "TITLE@HOST:PORT")]
    send_dicom: Vec<DicomAddress>,
    /// Forward each object as it came to this archive of the house, before and whatever else happens to it (may be given
    /// more than once). Originals name their patients.
    #[arg(long, value_name = "TITLE@HOST:PORT", requires = "dicom_listen", conflicts_with = "input")]
    bypass: Vec<DicomAddress>,
    /// Authorities (PEM) that certificates of peers must come from to which objects are sent under TLS.
    #[arg(long, value_name = "FILE")]
    send_ca: Option<PathBuf>,
    /// Days after which an object that could not be delivered is set aside. Without it, objects are tried for ever.
    #[arg(long, value_name = "DAYS")]
    send_expiry: Option<NonZero<u32>>,
    /// Try again what was set aside because a peer did not take it.
    #[arg(long)]
    resend: bool,
    /// Bytes of objects that may wait for one destination, in MiB.
    #[arg(long, value_name = "MIB", default_value = "16384")]
    queue_size: NonZero<u64>,
    /// Objects that may wait for one destination.
    #[arg(long, value_name = "N", default_value = "100000")]
    queue_objects: NonZero<u64>,
}

impl SendArgs {
    /// Whether originals are forwarded whatever happens.
    pub(crate) fn is_bypassed(&self) -> bool {
        !self.bypass.is_empty()
    }

    /// Whether what leaves the pipeline is sent on.
    pub(crate) fn sends_exports(&self) -> bool {
        !self.send_dicom.is_empty()
    }

    /// Opens a queue for each destination.
    pub(crate) fn open(
        &self,
        state: &Path,
        calling: &AeTitle,
        identity: Option<&TlsIdentity>,
        output: &Output,
    ) -> anyhow::Result<Outgoing> {
        let same =
            |a: &DicomAddress, b: &DicomAddress| (&a.title, &a.host, a.port) == (&b.title, &b.host, b.port);
        if let Some(both) = self.send_dicom.iter().find(|to| self.bypass.iter().any(|other| same(to, other)))
        {
            let happened = format!("{both} is to have originals and what is de-identified");
            let next = "name different peers with --bypass and --send-dicom".to_owned();
            return Err(Advice { happened, next }.into());
        }
        let root = state.join(OUTGOING);
        let tls = self.tls(identity)?;
        let limits = QueueLimits {
            objects: self.queue_objects.get(),
            bytes: ByteCount(self.queue_size.get().saturating_mul(1 << 20)),
            expiry: self.send_expiry.map(|days| DAY.saturating_mul(days.get())),
        };
        let mut outgoing = Outgoing::default();
        let mut folders = BTreeSet::new();
        let wanted = self.bypass.iter().map(|to| (Purpose::Bypass, to));
        for (purpose, address) in wanted.chain(self.send_dicom.iter().map(|to| (Purpose::Send, to))) {
            let folder = folder_name(purpose, address);
            if !folders.insert(folder.clone()) {
                continue;
            }
            let queue = open_queue(&root.join(folder), limits)?;
            if self.resend {
                let taken = queue.take_up_again().context("taking up what was set aside")?;
                let objects = counted(taken, "object");
                output.note(&format!("tried again for {address}: {objects} set aside earlier"));
            }
            let peer = DicomPeer {
                address: address.clone(),
                calling: calling.clone(),
                tls: tls.clone(),
                patience: SendingPatience::default(),
            };
            if purpose == Purpose::Bypass
                && address.encryption == Encryption::Plain
                && !is_local(&address.host)
            {
                tracing::warn!(to = %address, "originals go over the network unencrypted");
            }
            outgoing.add(purpose, Sender { queue, peer, retry: Retry::default() });
        }
        for folder in left_over(&root, &folders) {
            output.note(&format!("objects wait in `{}`, and nothing is sent there now", folder.display()));
        }
        Ok(outgoing)
    }

    fn tls(&self, identity: Option<&TlsIdentity>) -> anyhow::Result<Option<TlsClient>> {
        let wanted = self.bypass.iter().chain(&self.send_dicom).find(|to| to.encryption == Encryption::Tls);
        let Some(address) = wanted else { return Ok(None) };
        let Some(authorities) = &self.send_ca else {
            let happened = format!("sending to {address} without an authority for its certificate");
            let next = "name the file with the authority's certificate with --send-ca".to_owned();
            return Err(Advice { happened, next }.into());
        };
        TlsClient::load(authorities, identity).map(Some).map_err(unusable)
    }
}

/// What to do about files that TLS cannot be spoken with.
pub(crate) fn unusable(error: TlsError) -> anyhow::Error {
    let next = match &error {
        TlsError::Exposed { .. } => {
            "chmod 600 that file, and have the certificate revoked if somebody else could read it"
        }
        TlsError::Unreadable { .. } => "check the path and that the file can be read",
        TlsError::NoCertificate { .. } | TlsError::NoKey { .. } => "give PEM files, as openssl writes them",
        TlsError::Identity { .. } => "give the certificate that was made for this key",
        _ => "see what is in these files with `openssl x509 -text`",
    };
    let happened = "preparing TLS".to_owned();
    anyhow::Error::from(error).context(Advice { happened, next: next.to_owned() })
}

fn open_queue(folder: &Path, limits: QueueLimits) -> anyhow::Result<Arc<Queue>> {
    Queue::open(folder, limits).map_err(|error| {
        let next = match &error {
            QueueError::Busy { .. } => "end the other process, or give this one another --state",
            QueueError::Link { .. } => "take the link away, or give another --state",
            QueueError::Unusable { .. } => "see free space and permissions of the state folder",
        };
        let happened = "opening a queue of objects to be sent".to_owned();
        anyhow::Error::from(error).context(Advice { happened, next: next.to_owned() })
    })
}

/// A folder's name for a destination, in which every character is an ordinary one.
fn folder_name(purpose: Purpose, address: &DicomAddress) -> String {
    let mut name = format!("{}-", purpose.word());
    for byte in address.to_string().bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.@:".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Folders of destinations that are not named now and in which objects wait.
fn left_over(root: &Path, wanted: &BTreeSet<String>) -> Vec<PathBuf> {
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    let others = folders.filter(|folder| !wanted.contains(&*folder.file_name().to_string_lossy()));
    let holds_objects = |folder: &PathBuf| {
        let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.any(|file| file.path().extension().is_some_and(|extension| extension == "dcm"))
    };
    others.map(|folder| folder.path()).filter(holds_objects).collect()
}

/// What came of a destination, in a sentence.
pub(crate) fn sentence(deliveries: &Deliveries) -> String {
    let Deliveries { purpose, to, delivered, waiting, kept } = deliveries;
    let what = match purpose {
        Purpose::Send => "sent to",
        Purpose::Bypass => "forwarded to",
    };
    let mut text = format!("{} {what} {to}", counted(*delivered, "object"));
    if *waiting > 0 {
        text.push_str(&format!("; {waiting} to go, with which the next run goes on"));
    }
    if *kept > 0 {
        text.push_str(&format!("; {kept} not taken and kept (--resend tries again)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_destination_has_an_ordinary_name_of_its_own() {
        let name = |text: &str| folder_name(Purpose::Send, &text.parse().unwrap());
        assert_eq!(name("PACS@10.0.0.5:104"), "send-PACS@10.0.0.5:104");
        assert_eq!(name("A/.. B@tls://[::1]:104"), "send-A%2F..%20B@tls:%2F%2F%5B::1%5D:104");
        assert_ne!(name("A%20B@h:1"), name("A B@h:1"));
    }

    #[test]
    fn what_came_of_a_destination_is_counted_in_objects() {
        let with = |delivered, waiting, kept| {
            sentence(&Deliveries {
                purpose: Purpose::Send,
                to: "PACS@h:104".to_owned(),
                delivered,
                waiting,
                kept,
            })
        };
        assert_eq!(with(1, 0, 0), "1 object sent to PACS@h:104");
        assert_eq!(
            with(0, 2, 1),
            "0 objects sent to PACS@h:104; 2 to go, with which the next run goes on; 1 not taken and kept (--resend tries again)"
        );
    }
}
