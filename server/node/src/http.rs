//! Metrics and health over HTTP (`thalweg.metrics.listener`).
//!
//! `/healthz/live` answers as soon as the process runs, `/healthz/started` and `/healthz/ready`
//! once it serves clients, until it stops; before that, the former says how far the recovery is. The
//! latter says no while a disk hangs, too. Bound before recovery begins, so that an orchestrator
//! can tell a node that recovers from one that is dead.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use config::HostPort;

use crate::metrics::{self, ClusterFacts, DirFacts, ShardFacts};
use crate::recovery::Progress;
use crate::shard::measure_closed;
use crate::shared::Shared;
use crate::threads;

/// How far the node is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Phase {
    /// Logs are being opened.
    Starting,
    /// Clients are served.
    Serving,
    /// Nothing new is accepted.
    Stopping,
}

/// What the pages show; set as the node comes up.
#[derive(Default)]
pub struct Status {
    phase: AtomicU8,
    recovery: Progress,
    shared: OnceLock<Arc<Shared>>,
}

impl Status {
    /// Moves to another phase.
    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// How far the recovery is.
    pub fn recovery(&self) -> &Progress {
        &self.recovery
    }

    /// From now on clients are served, and there is something to measure.
    pub fn serves(&self, shared: Arc<Shared>) {
        // A node comes up once.
        _ = self.shared.set(shared);
        self.set(Phase::Serving);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) == phase as u8
    }
}

/// Serves the pages on a thread of their own; it ends with the process.
///
/// # Errors
/// If the address cannot be bound.
pub fn serve(at: &HostPort, status: Arc<Status>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((at.host.as_str(), at.port)).with_context(|| {
        format!("thalweg.metrics.listener: cannot listen on {}:{}", at.host, at.port)
    })?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz/live", get(|| async { (StatusCode::OK, "live\n") }))
        .route("/healthz/started", get(started))
        .route("/healthz/ready", get(ready))
        .with_state(status);
    let runtime = threads::runtime()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    thread::Builder::new().name("http".to_owned()).spawn(move || {
        runtime.block_on(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("metrics and health are gone: {error}");
            }
        });
    })?;
    Ok(address)
}

async fn started(State(status): State<Arc<Status>>) -> impl IntoResponse {
    if status.is(Phase::Starting) {
        let so_far = format!("recovering: {}\n", status.recovery);
        return (StatusCode::SERVICE_UNAVAILABLE, so_far);
    }
    (StatusCode::OK, "started\n".to_owned())
}

async fn ready(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let hung = status.shared.get().and_then(|shared| shared.dirs.hung());
    match hung {
        _ if !status.is(Phase::Serving) => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
        }
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(dir) => {
            let why = format!("log directory {} does not answer\n", dir.path().display());
            (StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

async fn show_metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if status.is(Phase::Starting) {
        let page = metrics::render_recovery(&status.recovery);
        return ([(header::CONTENT_TYPE, kind)], page).into_response();
    }
    let Some(shared) = status.shared.get().filter(|_| status.is(Phase::Serving)) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "not serving any more\n").into_response();
    };
    measure_closed(shared).await;
    let mut facts = ShardFacts::default();
    for shard in 0..shared.mailboxes.shards() {
        facts.merge(shared.mailboxes.call(shard, ShardFacts::of).await);
    }
    let image = shared.mailboxes.call(0, |shard| shard.image()).await;
    let in_flight = shared.net.in_flight_bytes();
    let dirs = DirFacts::of(&shared.dirs);
    let cleaner = (&shared.cleaner.facts(), &dirs[..]);
    let own = shared.broker_resource();
    let cluster = ClusterFacts {
        image: &image,
        here: shared.config.node_id,
        controls: shared.config.roles.controller.then(|| shared.to_controller.is_here()),
        layers: shared.layers(&image, &own),
        applied: shared.controller.applied(),
    };
    let page = metrics::render(&facts, &cluster, &shared.listener_counters, in_flight, cleaner);
    ([(header::CONTENT_TYPE, kind)], page).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// The answer to a question for a page, with its headers.
    fn get(at: SocketAddr, page: &str) -> String {
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        write!(stream, "GET {page} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_node_that_recovers_says_how_far_it_is() {
        let status = Arc::new(Status::default());
        let at = HostPort { host: "127.0.0.1".to_owned(), port: 0 };
        let at = serve(&at, Arc::clone(&status)).unwrap();
        let starting = get(at, "/healthz/started");
        assert!(starting.starts_with("HTTP/1.1 503 "), "{starting}");
        assert!(starting.contains("recovering: 0 of 0 logs, 0 segments"), "{starting}");
        assert!(get(at, "/healthz/live").starts_with("HTTP/1.1 200 "));
        status.set(Phase::Serving);
        assert!(get(at, "/healthz/started").starts_with("HTTP/1.1 200 "));
        assert!(get(at, "/healthz/ready").starts_with("HTTP/1.1 200 "));
        status.set(Phase::Stopping);
        assert!(get(at, "/healthz/ready").starts_with("HTTP/1.1 503 "));
    }
}
