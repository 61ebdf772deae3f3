//! Counters of one listener, for metrics. Connections add once per turn, not once per frame.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum Closed {
    /// The client closed it, or the network did.
    ByClient,
    /// The node asked for it.
    ByNode,
    /// Nothing happened for `connections.max.idle.ms`.
    Idle,
    /// A frame length below zero or above the limit.
    BadFrame,
    /// The first bytes were TLS or HTTP.
    WrongProtocol,
    /// A frame was begun and not finished in time.
    SlowSender,
    /// Answers were not read in time.
    SlowReader,
    /// The node stops.
    Shutdown,
}

impl Closed {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::ByClient,
        Self::ByNode,
        Self::Idle,
        Self::BadFrame,
        Self::WrongProtocol,
        Self::SlowSender,
        Self::SlowReader,
        Self::Shutdown,
    ];

    /// A label for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByClient => "by-client",
            Self::ByNode => "by-node",
            Self::Idle => "idle",
            Self::BadFrame => "bad-frame",
            Self::WrongProtocol => "wrong-protocol",
            Self::SlowSender => "slow-sender",
            Self::SlowReader => "slow-reader",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What one listener has seen since the start.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    opened: AtomicU64,
    refused: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    requests: AtomicU64,
}

impl ListenerCounters {
    /// Connections open now.
    pub fn connections(&self) -> u64 {
        let closed = Closed::ALL.iter().map(|&reason| self.closed(reason)).sum();
        self.opened().saturating_sub(closed)
    }

    /// Connections ever accepted and kept.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Connections closed at once because of a limit.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections that ended for this reason.
    pub fn closed(&self, reason: Closed) -> u64 {
        self.closed[reason as usize].load(Ordering::Relaxed)
    }

    /// Bytes received.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes sent.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Complete frames given to the node.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self, reason: Closed) {
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, traffic: &mut Traffic) {
        if traffic.bytes_in > 0 {
            self.bytes_in.fetch_add(traffic.bytes_in, Ordering::Relaxed);
        }
        if traffic.bytes_out > 0 {
            self.bytes_out.fetch_add(traffic.bytes_out, Ordering::Relaxed);
        }
        if traffic.requests > 0 {
            self.requests.fetch_add(traffic.requests, Ordering::Relaxed);
        }
        *traffic = Traffic::default();
    }
}

/// What one connection did in one turn.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub requests: u64,
}
