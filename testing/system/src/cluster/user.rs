//! A program of a user: one producer of this repository's own client with its defaults, and what that
//! client does when a leader is lost. The other producers of a drill (`flow`) wait for each answer as
//! long as clients without such care do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use client::{Client, ClientSettings, Producer, ProducerSettings};

use crate::load::record;
use crate::verdict::Acknowledged;

/// Between two records.
const PAUSE: Duration = Duration::from_millis(5);

/// The program.
#[derive(Debug)]
pub struct User {
    thread: JoinHandle<anyhow::Result<Sent>>,
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU32>,
}

/// What it was told.
#[derive(Debug, Default)]
pub struct Sent {
    pub acknowledged: Vec<Acknowledged>,
    /// The longest time from one acknowledgement to the next.
    pub longest_gap: Duration,
}

impl User {
    /// Sends record after record to partition 0 of a topic, as producer `index`.
    pub fn start(addresses: &[SocketAddr], topic: &str, index: u32) -> Self {
        let bootstrap = addresses.iter().map(ToString::to_string).collect();
        let settings = ClientSettings { bootstrap, ..ClientSettings::default() };
        let is_over = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU32::new(0));
        let (topic, told) = (topic.to_owned(), (Arc::clone(&is_over), Arc::clone(&acknowledged)));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let producer = Client::new(settings).producer(ProducerSettings::default());
                send_all(&producer, &topic, index, (&told.0, &told.1)).await
            })
        });
        Self { thread, is_over, acknowledged }
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Ends it, once its last record is acknowledged.
    ///
    /// # Errors
    /// If its client gave a record up.
    pub fn finish(self) -> anyhow::Result<Sent> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("the user's program does not panic")
    }
}

async fn send_all(
    producer: &Producer,
    topic: &str,
    index: u32,
    (is_over, acknowledged): (&AtomicBool, &AtomicU32),
) -> anyhow::Result<Sent> {
    let (mut sent, mut number, mut last) = (Sent::default(), 0, None::<Instant>);
    while !is_over.load(Ordering::SeqCst) {
        let delivery = match producer.enqueue(record(topic, index, 0, number)).await {
            Ok(delivery) => delivery,
            // Nobody has told of the topic: nothing was sent.
            Err(error) if error.is_retriable() => continue,
            Err(error) => return Err(error.into()),
        };
        let written = delivery.wait().await;
        let written = written.with_context(|| format!("record {number} of the client"))?;
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            sent.longest_gap = sent.longest_gap.max(now - last);
        }
        sent.acknowledged.push(Acknowledged {
            partition: 0,
            base_offset: written.offset,
            producer: index,
            first_number: number,
            records: 1,
        });
        number += 1;
        acknowledged.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(sent)
}
