//! A connection, plain or under TLS, one step at a time: each step waits for the peer once, for at most as long as the
//! stream's time-out, so that whoever drives it can look at the clock in between.
//!
//! rustls' own `Stream` goes on reading until a record is whole; a peer that sends a byte now and then would hold it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustls::Connection;
use rustls::pki_types::ServerName;

use crate::tls::{TlsClient, TlsServer};

/// A connection.
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls { stream: TcpStream, session: Box<Connection> },
}

/// A step that brought nothing yet.
fn again() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

impl Transport {
    /// The side that was connected to.
    pub(crate) fn accepted(stream: TcpStream, tls: Option<&TlsServer>) -> io::Result<Self> {
        let Some(TlsServer(config)) = tls else { return Ok(Self::Plain(stream)) };
        let session = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        Ok(Self::Tls { stream, session: Box::new(session.into()) })
    }

    /// The side that connected to this name.
    pub(crate) fn connected(
        stream: TcpStream,
        tls: Option<(&TlsClient, ServerName<'static>)>,
    ) -> io::Result<Self> {
        let Some((TlsClient(config), name)) = tls else { return Ok(Self::Plain(stream)) };
        let session = rustls::ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Self::Tls { stream, session: Box::new(session.into()) })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) | Self::Tls { stream, .. } => stream,
        }
    }

    /// A step towards an agreement on keys. `true` when there is one, and at once where there are no keys.
    pub(crate) fn handshake(&mut self) -> io::Result<bool> {
        let Self::Tls { stream, session } = self else { return Ok(true) };
        if session.wants_write() {
            session.write_tls(stream)?;
        } else if session.is_handshaking() {
            receive(stream, session)?;
        }
        Ok(!session.is_handshaking() && !session.wants_write())
    }

    /// Reads some bytes; none where the peer has closed the connection. A peer that leaves without the farewell of TLS has
    /// closed it too: every PDU says how long it is, so that nothing can be cut off unseen.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (stream, session) = match self {
            Self::Plain(stream) => return stream.read(buffer),
            Self::Tls { stream, session } => (stream, session),
        };
        if let Some(count) = decrypted(session, buffer)? {
            return Ok(count);
        }
        if session.wants_write() {
            session.write_tls(stream)?;
        }
        receive(stream, session)?;
        decrypted(session, buffer)?.ok_or_else(again)
    }

    /// Takes some bytes to be sent. What is taken is on its way when [`flush`](Self::flush) says so.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (stream, session) = match self {
            Self::Plain(stream) => return stream.write(bytes),
            Self::Tls { stream, session } => (stream, session),
        };
        match session.writer().write(bytes)? {
            // As much as is kept waits already.
            0 => {
                session.write_tls(stream)?;
                Err(again())
            }
            count => Ok(count),
        }
    }

    /// A step towards everything having been sent. `true` when it is.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Self::Tls { stream, session } = self else { return Ok(true) };
        if session.wants_write() && session.write_tls(stream)? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(!session.wants_write())
    }

    /// Says that nothing follows.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Self::Tls { stream, session } = self {
            session.send_close_notify();
            // The peer that does not take these few bytes is closed all the same.
            let _ = session.write_tls(stream);
        }
        self.stream().shutdown(Shutdown::Write)
    }
}

/// What was received and decrypted, if anything; 0 at the end.
fn decrypted(session: &mut Connection, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match session.reader().read(buffer) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

/// Waits once for the peer, and takes in what came.
fn receive(stream: &mut TcpStream, session: &mut Connection) -> io::Result<()> {
    if session.read_tls(stream)? == 0 && session.is_handshaking() {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    match session.process_new_packets() {
        Ok(_) => Ok(()),
        Err(error) => {
            // The peer may learn why; if it does not, it sees the end.
            let _ = session.write_tls(stream);
            Err(io::Error::new(io::ErrorKind::InvalidData, error))
        }
    }
}
