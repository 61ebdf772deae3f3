//! Hostile bytes against a running node: what any stranger can send who reaches the port.
//!
//! [`attack`] runs every case of the table below against an address and tells for each what the
//! node did. A case fails when the node answers what it must refuse, is silent, or no longer
//! serves a good client afterwards: after every case that client appends one record and must be
//! told the very next offset, so that nothing of an attack can have entered its log unseen.
//!
//! Not here: starting the node, and its memory. The caller reads the peak of its resident memory
//! after [`attack`], and looks for [`CONTROL_MARK`] in its log lines.

mod batches;
mod fields;
mod frames;
mod quorum;
mod registry;
mod sessions;
mod target;
mod wire;

use std::fmt;
use std::net::SocketAddr;

pub use fields::CONTROL_MARK;
use target::Target;

/// One attack: its number in the list of anchors, a name, and what it does.
struct Case {
    anchor: &'static str,
    name: &'static str,
    /// Tells what the node did; an error is what it must not do.
    run: fn(&Target) -> anyhow::Result<String>,
}

const CASES: [Case; 22] = [
    Case { anchor: "A1", name: "impossible frame lengths", run: frames::lengths },
    Case { anchor: "A1", name: "many announced frames", run: frames::announcements },
    Case { anchor: "A2", name: "junk bodies for every API", run: fields::junk_bodies },
    Case { anchor: "A2", name: "junk headers", run: fields::junk_headers },
    Case { anchor: "A2", name: "tagged fields", run: fields::tagged_fields },
    Case { anchor: "A2", name: "random bodies", run: fields::random_bodies },
    Case { anchor: "A3", name: "decompression bombs", run: batches::bombs },
    Case { anchor: "A3", name: "broken compressed data", run: batches::broken_compression },
    Case { anchor: "A4", name: "half requests", run: frames::half_requests },
    Case { anchor: "A4", name: "answers never read", run: frames::unread_answers },
    Case { anchor: "A6", name: "TLS and HTTP", run: frames::other_protocols },
    Case { anchor: "A19", name: "topic names", run: fields::topic_names },
    Case { anchor: "A19", name: "group names", run: sessions::group_names },
    Case { anchor: "A20", name: "control characters", run: fields::control_characters },
    Case { anchor: "A26", name: "records for internal topics", run: batches::internal_topics },
    Case { anchor: "A27", name: "batch fields that lie", run: batches::lying_fields },
    Case { anchor: "A27", name: "truncated and joined batches", run: batches::wrong_sizes },
    Case { anchor: "A27", name: "old message formats", run: batches::old_formats },
    Case { anchor: "A28", name: "guessed fetch sessions", run: sessions::guessed_sessions },
    Case { anchor: "A28", name: "exhausted fetch sessions", run: sessions::many_sessions },
    Case { anchor: "A28", name: "guessed and exhausted members", run: sessions::members },
    Case { anchor: "A29", name: "catastrophic patterns", run: sessions::patterns },
];

/// What a listener of the controller has to withstand.
const CONTROLLER_CASES: [Case; 16] = [
    Case { anchor: "A1", name: "impossible frame lengths", run: frames::lengths },
    Case { anchor: "A2", name: "junk bodies for every API", run: fields::junk_bodies },
    Case { anchor: "A2", name: "junk headers", run: fields::junk_headers },
    Case { anchor: "A2", name: "tagged fields", run: fields::tagged_fields },
    Case { anchor: "A2", name: "random bodies", run: fields::random_bodies },
    Case { anchor: "A4", name: "half requests", run: frames::half_requests },
    Case { anchor: "A4", name: "answers never read", run: frames::unread_answers },
    Case { anchor: "A6", name: "TLS and HTTP", run: frames::other_protocols },
    Case { anchor: "A28", name: "senseless epochs", run: quorum::senseless_epochs },
    Case { anchor: "A28", name: "votes and leaders of strangers", run: quorum::strangers },
    Case { anchor: "A28", name: "senseless reads of the log", run: quorum::reads },
    Case { anchor: "A28", name: "reads that nobody waits for", run: quorum::abandoned_reads },
    Case { anchor: "A28", name: "readers without number", run: quorum::many_readers },
    Case { anchor: "A28", name: "voters of nonsense", run: registry::voters },
    Case { anchor: "A28", name: "registrations of any size", run: registry::registrations },
    Case { anchor: "A28", name: "envelopes", run: registry::envelopes },
];

/// What happened in one case.
#[derive(Debug)]
pub struct Outcome {
    /// The number of the attack in the list of anchors.
    pub anchor: &'static str,
    pub name: &'static str,
    /// What the node did, or what it should not have done.
    pub result: Result<String, String>,
}

/// All outcomes, in order.
#[derive(Debug)]
pub struct Report {
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// The cases that the node did not withstand.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.result.is_err())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Outcome { anchor, name, result } in &self.outcomes {
            match result {
                Ok(answer) => writeln!(out, "ok   {anchor:4} {name}: {answer}")?,
                Err(fault) => writeln!(out, "FAIL {anchor:4} {name}: {fault}")?,
            }
        }
        Ok(())
    }
}

/// Attacks the node at this address. Makes topics of its own whose names begin with `hostile`.
///
/// # Errors
/// When the node does not serve a good client even before the first case.
pub fn attack(address: SocketAddr) -> anyhow::Result<Report> {
    run(&CASES, &Target::prepare(address, address)?)
}

/// Attacks the controller that listens at `address`, while a good client connects to `clients`.
///
/// # Errors
/// As [`attack`].
pub fn attack_controller(address: SocketAddr, clients: SocketAddr) -> anyhow::Result<Report> {
    run(&CONTROLLER_CASES, &Target::prepare(address, clients)?)
}

fn run(cases: &[Case], target: &Target) -> anyhow::Result<Report> {
    let outcome = |(number, case): (usize, &Case)| {
        // The good client is served even after a failure: the next case starts from what it finds.
        // A new topic shows that the quorum has a leader that decides.
        let answer = (case.run)(target);
        let decided = target.decide(&format!("hostile-after-{number}"));
        let served = decided.and_then(|()| target.serve_good_client());
        let result = answer.and_then(|answer| served.map(|()| answer));
        Outcome {
            anchor: case.anchor,
            name: case.name,
            result: result.map_err(|error| format!("{error:#}")),
        }
    };
    Ok(Report { outcomes: cases.iter().enumerate().map(outcome).collect() })
}
