//! Binding a listener: names, both address families, buffers, and clear errors.
//!
//! `SO_REUSEADDR` lets a restarted node take its port while old connections linger; it does not
//! let two listening processes share one, so a port in use is always reported.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::counters::ListenerCounters;

/// Least backlog of a listener. Kafka's default of 50 overflows when some hundred clients come back
/// at once, and whoever is dropped tries again a whole second later.
const BACKLOG_MIN: u32 = 1024;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// The listener's name (`PLAINTEXT`, `INTERNAL`).
    pub name: String,
    /// A host name, an IPv4 or IPv6 address (with or without brackets); empty: every interface.
    pub host: String,
    /// 0: any free port.
    pub port: u16,
    /// `socket.listen.backlog.size`; a smaller one than 1024 is raised to it.
    pub backlog: u32,
    /// `socket.send.buffer.bytes`; `None` (-1 in the configuration): as the system decides.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`, likewise.
    pub receive_buffer_bytes: Option<usize>,
    /// Peers of this listener must log in before the larger frame limit applies to them.
    pub needs_authentication: bool,
}

impl ListenerOptions {
    /// Kafka's defaults for a plaintext listener.
    pub fn plaintext(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
            backlog: 50,
            send_buffer_bytes: Some(100 << 10),
            receive_buffer_bytes: Some(100 << 10),
            needs_authentication: false,
        }
    }
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listener {name}: cannot resolve host {host:?}: {error}")]
    Resolve { name: String, host: String, error: io::Error },
    #[error("listener {name}: {address} is in use by another process")]
    InUse { name: String, address: SocketAddr },
    #[error("listener {name}: {address} is not an address of this machine")]
    NotLocal { name: String, address: SocketAddr },
    #[error("listener {name}: may not bind {address}: ports below 1024 need a privilege")]
    NotAllowed { name: String, address: SocketAddr },
    #[error("listener {name}: cannot listen on {address}: {error}")]
    Other { name: String, address: SocketAddr, error: io::Error },
}

/// A bound socket that listens; connections queue in the kernel until [`crate::Net::accept`].
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: std::net::TcpListener,
    pub(crate) name: Arc<str>,
    pub(crate) needs_authentication: bool,
    pub(crate) counters: Arc<ListenerCounters>,
    address: SocketAddr,
}

impl Listener {
    /// Binds and listens. A host name is tried address by address.
    ///
    /// # Errors
    /// The last address's [`BindError`].
    pub fn bind(options: &ListenerOptions) -> Result<Self, BindError> {
        let mut result = None;
        for address in resolve(options)? {
            match listen(options, address) {
                Ok(socket) => return Self::new(options, address, socket),
                Err(error) => result = Some(bind_error(options, address, error)),
            }
        }
        Err(result.unwrap_or_else(|| BindError::Resolve {
            name: options.name.clone(),
            host: options.host.clone(),
            error: io::Error::other("the name has no address"),
        }))
    }

    fn new(
        options: &ListenerOptions,
        asked: SocketAddr,
        socket: std::net::TcpListener,
    ) -> Result<Self, BindError> {
        let address = socket.local_addr().map_err(|error| bind_error(options, asked, error))?;
        Ok(Self {
            socket,
            name: options.name.as_str().into(),
            needs_authentication: options.needs_authentication,
            counters: Arc::default(),
            address,
        })
    }

    /// The address bound, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The listener's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The counters, which live on when the listener is gone.
    pub fn counters(&self) -> Arc<ListenerCounters> {
        self.counters.clone()
    }
}

fn resolve(options: &ListenerOptions) -> Result<Vec<SocketAddr>, BindError> {
    let host = options.host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        // Every interface: the dual-stack socket, or IPv4 where the machine has no IPv6.
        return Ok(vec![
            SocketAddr::from(([0; 8], options.port)),
            SocketAddr::from(([0; 4], options.port)),
        ]);
    }
    let addresses = (host, options.port).to_socket_addrs().map_err(|error| BindError::Resolve {
        name: options.name.clone(),
        host: host.to_owned(),
        error,
    })?;
    Ok(addresses.collect())
}

fn listen(options: &ListenerOptions, address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` serves IPv4 too, as Kafka's does.
        socket.set_only_v6(false)?;
    }
    // Accepted sockets inherit both; the receive buffer must be set before the handshake anyway.
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    let backlog = options.backlog.max(BACKLOG_MIN);
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_error(options: &ListenerOptions, address: SocketAddr, error: io::Error) -> BindError {
    let name = options.name.clone();
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { name, address },
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { name, address },
        io::ErrorKind::PermissionDenied => BindError::NotAllowed { name, address },
        _ => BindError::Other { name, address, error },
    }
}

/// Options of one accepted socket: answers leave at once, dead peers are noticed.
pub(crate) fn tune(stream: &std::net::TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_keepalive(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_binds() {
        for host in ["127.0.0.1", "localhost", "0.0.0.0", "", "[::1]", "::1", "[::]"] {
            let listener = Listener::bind(&ListenerOptions::plaintext("A", host, 0)).unwrap();
            assert_ne!(listener.local_addr().port(), 0, "{host}");
        }
    }

    #[test]
    fn hundreds_of_clients_may_come_before_the_first_is_accepted() {
        let listener = Listener::bind(&ListenerOptions::plaintext("A", "127.0.0.1", 0)).unwrap();
        let address = listener.local_addr();
        let second = std::time::Duration::from_secs(1);
        let connect = |_| std::net::TcpStream::connect_timeout(&address, second);
        let clients: Result<Vec<_>, _> = (0..200).map(connect).collect();
        assert_eq!(clients.unwrap().len(), 200, "one that is dropped tries again after a second");
    }

    #[test]
    fn a_port_in_use_is_reported_with_its_address() {
        let first = Listener::bind(&ListenerOptions::plaintext("A", "127.0.0.1", 0)).unwrap();
        let port = first.local_addr().port();
        let error = Listener::bind(&ListenerOptions::plaintext("B", "127.0.0.1", port));
        let expected = format!("listener B: 127.0.0.1:{port} is in use by another process");
        assert_eq!(error.unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_foreign_address_and_an_unknown_name_are_told_apart() {
        let bind = |host| Listener::bind(&ListenerOptions::plaintext("A", host, 0)).unwrap_err();
        assert!(matches!(bind("192.0.2.1"), BindError::NotLocal { .. }));
        assert!(matches!(bind("no.such.host.invalid"), BindError::Resolve { .. }));
    }
}
