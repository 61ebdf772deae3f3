//! What nodes of a `thalweg dev` cluster say to each other goes through here, so that a node can be
//! cut off without a privilege.
//!
//! Nodes advertise the relay's ports for controllers and brokers, and their own for clients. A
//! connection belongs to the node that it leads to and to the node whose process has opened it.
//! While one of the two is cut off, bytes wait on both sides: nothing is closed and nothing is
//! lost, as on a network without a way. What differs from one is that connections are taken up
//! meanwhile, without an answer, instead of not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are taken over at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A port of the relay, and where it leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) node: i32,
    pub(super) from: u16,
    pub(super) to: u16,
}

/// A handle to the relay's thread, which runs as long as the process.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    cut: watch::Sender<BTreeSet<i32>>,
    /// The process of each node that runs.
    processes: Arc<Mutex<BTreeMap<i32, u32>>>,
}

impl Relay {
    /// Listens on all ports.
    pub(super) fn start(ways: &[Way]) -> anyhow::Result<Self> {
        let relay = Self { cut: watch::Sender::default(), processes: Arc::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut bound = Vec::new();
        for way in ways {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, way.from));
            let listener = runtime
                .block_on(TcpListener::bind(at))
                .with_context(|| format!("cannot listen on {at}; --port chooses other ports"))?;
            bound.push((*way, listener));
        }
        let own = relay.clone();
        let serve = move || {
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for (way, listener) in bound {
                    tasks.spawn(own.clone().accept(way, listener));
                }
                while tasks.join_next().await.is_some() {}
            });
        };
        thread::Builder::new().name("relay".to_owned()).spawn(serve)?;
        Ok(relay)
    }

    /// Notes which process a node is.
    pub(super) fn runs(&self, node: i32, pid: u32) {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).insert(node, pid);
    }

    /// Cuts a node off, or ends that.
    pub(super) fn set_cut(&self, node: i32, is_cut: bool) {
        self.cut.send_modify(|cut| _ = if is_cut { cut.insert(node) } else { cut.remove(&node) });
    }

    pub(super) fn is_cut(&self, node: i32) -> bool {
        self.cut.borrow().contains(&node)
    }

    async fn accept(self, way: Way, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => _ = tokio::spawn(self.clone().carry(way, stream, peer)),
                // The other side has gone already, or descriptors are short for a moment.
                Err(error) => {
                    tracing::warn!("the relay cannot take up a connection: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Carries one connection to its end.
    async fn carry(self, way: Way, stream: TcpStream, peer: SocketAddr) {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let from = owner(&processes, peer.port(), way.from);
        let mut gate = Gate { ends: [from, Some(way.node)], cut: self.cut.subscribe() };
        gate.open().await;
        // Nobody listens where a node is down: both ends are closed, then.
        let Ok(target) = TcpStream::connect((Ipv4Addr::LOCALHOST, way.to)).await else { return };
        _ = (stream.set_nodelay(true), target.set_nodelay(true));
        let ((from, to), (back_from, back_to)) = (stream.into_split(), target.into_split());
        tokio::spawn(pump(from, back_to, gate.clone()));
        pump(back_from, to, gate).await;
    }
}

/// Whether bytes of a connection may pass.
#[derive(Clone)]
struct Gate {
    ends: [Option<i32>; 2],
    cut: watch::Receiver<BTreeSet<i32>>,
}

impl Gate {
    async fn open(&mut self) {
        let ends = self.ends;
        let is_open = |cut: &BTreeSet<i32>| {
            // What a node says to itself takes no network, and who is no node is not cut off.
            let is_between = ends[0].is_some() && ends[0] != ends[1];
            !is_between || ends.iter().flatten().all(|node| !cut.contains(node))
        };
        // Fails when the process ends.
        _ = self.cut.wait_for(is_open).await;
    }
}

/// Takes bytes over as long as both sides are there. The end of one side passes like its bytes.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: Gate) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await;
        gate.open().await;
        match read {
            Ok(count) if count > 0 && to.write_all(&chunk[..count]).await.is_ok() => {}
            // Dropping the halves closes them, if the other direction has ended, too.
            Ok(_) | Err(_) => {
                _ = to.shutdown().await;
                return;
            }
        }
    }
}

/// The node whose process has opened a connection from `port` to `relay_port`.
fn owner(processes: &BTreeMap<i32, u32>, port: u16, relay_port: u16) -> Option<i32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = table.lines().find_map(|line| inode_of(line, port, relay_port))?;
    let is_it = |pid: &u32| has_socket(*pid, inode).unwrap_or(false);
    processes.iter().find(|(_, pid)| is_it(pid)).map(|(node, _)| *node)
}

/// The socket in a line of `/proc/net/tcp`, if it has these two ports.
fn inode_of(line: &str, local: u16, remote: u16) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let is_port = |text: &str, port: u16| {
        text.rsplit_once(':').is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
    };
    let (own, other) = (fields.next()?, fields.next()?);
    // Behind state, queues, timer, retransmissions, user and timeout.
    let inode = fields.nth(6)?.parse().ok()?;
    (is_port(own, local) && is_port(other, remote)).then_some(inode)
}

fn has_socket(pid: u32, inode: u64) -> io::Result<bool> {
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that is closed meanwhile is not the one.
        if fs::read_link(entry?.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_connection_is_known_by_its_ports() {
        let line = "   3: 0100007F:A2F0 0100007F:2384 01 00000000:00000000 00:00000000 00000000  \
                    1000        0 4711 1 0000000000000000 20 4 30 10 -1";
        assert_eq!(inode_of(line, 0xA2F0, 0x2384), Some(4711));
        assert_eq!(inode_of(line, 0x2384, 0xA2F0), None);
        assert_eq!(inode_of("  sl  local_address rem_address   st", 1, 2), None);
    }

    #[test]
    fn who_has_opened_a_connection_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let own = stream.local_addr().unwrap().port();
        let processes = BTreeMap::from([(7, std::process::id())]);
        assert_eq!(owner(&processes, own, port), Some(7));
        assert_eq!(owner(&BTreeMap::new(), own, port), None);
    }

    #[test]
    fn bytes_wait_while_a_node_is_cut_off() {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            (listener.local_addr().unwrap().port(), listener)
        };
        let ((to, target), (from, _)) = (free(), free());
        let relay = Relay::start(&[Way { node: 2, from, to }]).unwrap();
        // This process is node 1.
        relay.runs(1, std::process::id());
        let mut near = std::net::TcpStream::connect(("127.0.0.1", from)).unwrap();
        let (mut far, _) = target.accept().unwrap();
        let mut byte = [0];
        near.write_all(b"a").unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");

        relay.set_cut(1, true);
        near.write_all(b"b").unwrap();
        far.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        assert!(far.read_exact(&mut byte).is_err(), "it has come through");
        relay.set_cut(1, false);
        far.set_read_timeout(None).unwrap();
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    }
}
