//! Metrics and health over HTTP (`thalweg.metrics.listener`).
//!
//! `/healthz/live` answers as soon as the process runs, `/healthz/started` and `/healthz/ready`
//! once it serves clients, until it stops. Bound before recovery begins, so that an orchestrator
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

use crate::metrics::{self, DirFacts, ShardFacts};
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
    shared: OnceLock<Arc<Shared>>,
}

impl Status {
    /// Moves to another phase.
    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// From now on there is something to measure.
    pub fn show(&self, shared: Arc<Shared>) {
        // A node comes up once.
        _ = self.shared.set(shared);
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
    answer(!status.is(Phase::Starting), "started\n", "recovering\n")
}

async fn ready(State(status): State<Arc<Status>>) -> impl IntoResponse {
    answer(status.is(Phase::Serving), "ready\n", "not ready\n")
}

fn answer(good: bool, yes: &'static str, no: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
}

async fn show_metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let Some(shared) = status.shared.get().filter(|_| status.is(Phase::Serving)) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "not serving yet\n").into_response();
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
    let page = metrics::render(&facts, &image, &shared.listener_counters, in_flight, cleaner);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page).into_response()
}
