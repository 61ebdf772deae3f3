//! Drills: a cluster under load, one kind of failure, and the verdict on all that was said and kept.
//!
//! Every drill ends the same way: the failure is undone, all replicas come back into sync, the load is
//! settled, the log is read and judged, the nodes are killed and their files compared. The same code
//! drills Apache Kafka, which is how the drills themselves are known to be fair.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::client::{Client, LATEST};
use crate::cluster::flow::{Flow, Notes, batch_epochs};
use crate::cluster::member::{Kind, address};
use crate::cluster::network::Place;
use crate::cluster::{Cluster, history, replicas};
use crate::load::read_back;
use crate::verdict::judge_log;

const TOPIC: &str = "drill";
const PRODUCERS: u32 = 3;
/// Enough to be in the middle of things.
const SOME_RECORDS: i64 = 300;
/// The slowest failover known: a client waits for a paused leader, then a session runs out.
const PROGRESS_MAX: Duration = Duration::from_secs(60);
/// Longer than the session of a broker, so that the cluster gives it up.
const PAUSE: Duration = Duration::from_secs(20);

/// Long enough for every producer to meet it.
const FULL_FOR: Duration = Duration::from_secs(5);

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drill {
    /// Nothing.
    Calm,
    /// The leader is killed and comes back.
    KillLeader,
    /// The leader is told to end, and comes back.
    StopLeader,
    /// The leader is paused for longer than its session, then wakes up.
    PauseLeader,
    /// Neither nodes nor clients reach the leader, nor it them; later they do.
    IsolateLeader,
    /// What the leader sends to the other nodes vanishes; all else arrives.
    DeafenOthers,
    /// What the other nodes send to the leader vanishes; all else arrives.
    DeafenLeader,
    /// All nodes are killed at once and come back.
    KillAll,
    /// A follower is killed and comes back with an empty disk.
    ReplaceDisk,
    /// Node after node is stopped and started.
    Roll,
    /// The leader and its disk lose power.
    CutLeader,
    /// All nodes and their disks lose power at once.
    CutAll,
    /// The disk of the leader is full for a while.
    FillLeader,
}

impl Drill {
    fn takes_disks(self) -> bool {
        matches!(self, Self::CutLeader | Self::CutAll | Self::FillLeader)
    }
}

/// All drills, by the names that [`FromStr`] knows.
pub const DRILLS: [(&str, Drill); 13] = [
    ("calm", Drill::Calm),
    ("kill-leader", Drill::KillLeader),
    ("stop-leader", Drill::StopLeader),
    ("pause-leader", Drill::PauseLeader),
    ("isolate-leader", Drill::IsolateLeader),
    ("deafen-others", Drill::DeafenOthers),
    ("deafen-leader", Drill::DeafenLeader),
    ("kill-all", Drill::KillAll),
    ("replace-disk", Drill::ReplaceDisk),
    ("roll", Drill::Roll),
    ("cut-leader", Drill::CutLeader),
    ("cut-all", Drill::CutAll),
    ("fill-leader", Drill::FillLeader),
];

impl FromStr for Drill {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let found = DRILLS.iter().find(|(known, _)| *known == name);
        let Some((_, drill)) = found else { bail!("no drill is called {name}") };
        Ok(*drill)
    }
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    pub acknowledged: i64,
    /// The longest time in which no producer got an acknowledgement.
    pub longest_gap: Duration,
    /// Broken promises, in words. None is what is wanted.
    pub faults: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, longest_gap, faults } = self;
        let gap_ms = longest_gap.as_millis();
        write!(out, "{acknowledged} acknowledged, longest gap {gap_ms} ms, {} faults", faults.len())
    }
}

/// Drills a cluster of so many nodes with its data below `folder`.
///
/// # Errors
/// If the cluster does not form, does not recover or refuses what it may not; broken promises are
/// no error but in the outcome.
pub fn run(
    kind: &Kind,
    nodes: u8,
    drill: Drill,
    folder: &Path,
    seed: u64,
) -> anyhow::Result<Outcome> {
    let mut cluster = Cluster::start(kind, nodes, folder, drill.takes_disks())?;
    let copies = nodes.min(3);
    cluster.create_topic(TOPIC, 1, i16::from(copies), &[])?;
    let flow = Flow::start(cluster.addresses(), TOPIC, PRODUCERS, seed)?;
    flow.wait_for_more(SOME_RECORDS, PROGRESS_MAX)?;
    cluster.suffer(drill, &flow).with_context(|| format!("in the middle of {drill:?}"))?;
    cluster.wait_until_whole()?;
    cluster.wait_until_in_sync(TOPIC, 0, usize::from(copies))?;
    flow.wait_for_more(SOME_RECORDS, PROGRESS_MAX)?;
    let acknowledged = flow.acknowledged();
    let notes = flow.finish()?;
    let longest_gap = notes.longest_gap;
    let faults = cluster.judge(notes, usize::from(copies))?;
    Ok(Outcome { acknowledged, longest_gap, faults })
}

impl Cluster {
    /// Does what the drill says, and undoes it. Producers must get on where a majority is well.
    fn suffer(&mut self, drill: Drill, flow: &Flow) -> anyhow::Result<()> {
        let leader = self.lead(TOPIC, 0)?.leader;
        let ids: Vec<u8> = self.network.nodes().collect();
        match drill {
            Drill::Calm => Ok(()),
            Drill::KillLeader => {
                self.member(leader).kill()?;
                self.get_on(flow)?;
                self.member(leader).start()
            }
            Drill::StopLeader => {
                self.restart(leader)?;
                self.get_on(flow)
            }
            Drill::PauseLeader => {
                self.member(leader).pause()?;
                thread::sleep(PAUSE);
                self.get_on(flow)?;
                self.member(leader).resume()
            }
            Drill::IsolateLeader => {
                self.network.isolate(Place::Node(leader))?;
                self.get_on(flow)?;
                self.network.heal()
            }
            Drill::DeafenOthers | Drill::DeafenLeader => {
                self.deafen(leader, drill == Drill::DeafenOthers)?;
                self.get_on(flow)?;
                self.network.heal()
            }
            Drill::KillAll => {
                ids.iter().try_for_each(|&id| self.member(id).kill())?;
                ids.iter().try_for_each(|&id| self.member(id).start())
            }
            Drill::ReplaceDisk => {
                let follower = ids.into_iter().find(|&id| id != leader);
                let follower = follower.context("this drill takes two nodes at least")?;
                self.member(follower).kill()?;
                self.member(follower).replace_disk()?;
                self.member(follower).start()
            }
            Drill::CutLeader => {
                self.member(leader).cut_power()?;
                self.get_on(flow)?;
                self.member(leader).start()
            }
            Drill::CutAll => {
                // First all processors, so that no node lives on with what another has lost.
                ids.iter().try_for_each(|&id| self.member(id).pause())?;
                ids.iter().try_for_each(|&id| self.member(id).cut_power())?;
                ids.iter().try_for_each(|&id| self.member(id).start())
            }
            Drill::FillLeader => {
                self.member(leader).disk()?.fill()?;
                thread::sleep(FULL_FOR);
                self.member(leader).disk()?.make_room()?;
                self.member(leader).revive()
            }
            Drill::Roll => ids.into_iter().try_for_each(|id| {
                self.restart(id)?;
                self.wait_until_whole()?;
                let copies = self.replicas(TOPIC, 0).len();
                self.wait_until_in_sync(TOPIC, 0, copies)
            }),
        }
    }

    /// What the leader sends to the other nodes vanishes, or what they send to it.
    fn deafen(&self, leader: u8, is_out: bool) -> anyhow::Result<()> {
        self.network.nodes().filter(|&id| id != leader).try_for_each(|other| {
            let (leader, other) = (Place::Node(leader), Place::Node(other));
            let (from, to) = if is_out { (leader, other) } else { (other, leader) };
            self.network.cut(from, to)
        })
    }

    fn restart(&mut self, id: u8) -> anyhow::Result<()> {
        self.member(id).terminate()?;
        self.member(id).wait_end()?;
        self.member(id).start()
    }

    /// A single node cannot do without the one that fails.
    fn get_on(&self, flow: &Flow) -> anyhow::Result<()> {
        if self.network.nodes().count() == 1 {
            return Ok(());
        }
        flow.wait_for_more(SOME_RECORDS, PROGRESS_MAX)
    }

    /// All that is wrong with what was said and what is kept. Kills the nodes.
    fn judge(&mut self, mut notes: Notes, copies: usize) -> anyhow::Result<Vec<String>> {
        let lead = self.lead(TOPIC, 0)?;
        let mut client = Client::connect(address(lead.leader))?;
        let now = read_back(&mut client, TOPIC, 0)?;
        let end = client.list_offset(TOPIC, 0, LATEST)?;
        notes.seen.extend(batch_epochs(&mut client, TOPIC)?);
        let mut faults: Vec<String> = Vec::new();
        let log = judge_log(&now, &notes.read, &notes.acknowledged);
        faults.extend(log.iter().map(ToString::to_string));
        faults.extend(history::judge(&notes.seen).iter().map(ToString::to_string));
        self.kill()?;
        let folders = self.replicas(TOPIC, 0);
        // A follower that never fetched has none, and would not be missed by the comparison.
        if folders.len() != copies {
            faults.push(format!("{} of {copies} replicas have files", folders.len()));
        }
        let differences = replicas::compare(&folders, end)?;
        faults.extend(differences.iter().map(ToString::to_string));
        Ok(faults)
    }
}
