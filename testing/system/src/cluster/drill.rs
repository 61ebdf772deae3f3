//! Drills: a cluster under load, one kind of failure, and the verdict on all that was said and kept.
//!
//! Every drill ends the same way: the failure is undone, all replicas come back into sync, the load is
//! settled, the log is read and judged, the nodes are killed and their files compared. The same code
//! drills Apache Kafka, which is how the drills themselves are known to be fair. What fails is below:
//! [`nodes`], [`links`], [`disks`], [`changes`], [`topics`], [`groups`].

mod changes;
mod disks;
mod flips;
mod groups;
mod links;
mod nodes;
mod topics;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::client::admin::describe_quorum;
use crate::client::{Client, LATEST};
use crate::cluster::drill::topics::values;
use crate::cluster::flow::{Flow, Notes, batch_epochs};
use crate::cluster::foreign::{self, Foreign, ForeignFlow};
use crate::cluster::member::{Kind, Layout, address};
use crate::cluster::network::Place;
use crate::cluster::{Cluster, history, replicas};
use crate::load::read_back;
use crate::verdict::judge_log;

const TOPIC: &str = "drill";
/// What foreign clients write to.
const BESIDE: &str = "beside";
const FOREIGN_RECORDS: usize = 100;
const PRODUCERS: u32 = 3;
/// Enough to be in the middle of things.
const SOME_RECORDS: i64 = 300;
/// The slowest failover known: a client waits for a paused leader, then a session runs out.
const PROGRESS_MAX: Duration = Duration::from_secs(60);
/// Longer than the session of a broker, so that the cluster gives it up; of a quick drill, long enough
/// for every client to meet what is wrong.
const PAUSE: Duration = Duration::from_secs(20);
const QUICK_PAUSE: Duration = Duration::from_secs(4);
/// `replica.lag.time.max.ms` of a quick drill that waits for its end; else it is Kafka's default.
const QUICK_LAG_MS: u32 = 6_000;
/// Of a drill that does something again and again, if nothing else is said.
const ROUNDS: u32 = 3;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drill {
    /// Nothing.
    Calm,
    /// The leader is killed and comes back.
    KillLeader,
    /// The leader is told to end, and comes back.
    StopLeader,
    /// The leader is paused until the cluster does without it, then wakes up.
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
    /// The same again and again.
    CutAgain,
    /// The disk of the leader is full for a while.
    FillLeader,
    /// A bit flips on every node, on each in another batch.
    FlipAll,
    /// The leader is killed, whoever it is by then, again and again.
    KillAgain,
    /// A follower is killed and comes back.
    KillFollower,
    /// A follower is told to end, and comes back.
    StopFollower,
    /// A follower is paused until it is out of the ISR, then wakes up.
    PauseFollower,
    /// A follower has little bandwidth for a while.
    SlowFollower,
    /// The leader and a follower lose power with their disks at once.
    CutTwo,
    /// The leader and the others of a minority do not reach the majority; clients reach all.
    PartMinority,
    /// The leader and a follower do not reach each other; all else arrives.
    Bridge,
    /// The link of the leader goes and comes back, second by second.
    Flap,
    /// All links delay, and lose a little.
    Lossy,
    /// The link of the leader loses most, delays and is narrow.
    Wretched,
    /// All nodes are stopped and started in turn, again and again.
    RollAgain,
    /// The nodes of another version become this one's, one by one, go back, and come again.
    Upgrade,
    /// The active one of three controllers that are no brokers is killed and comes back.
    LoseController,
    /// Brokers join, take their share, are drained and leave; at first there are three.
    Grow,
    /// The partition moves about, and nodes are killed meanwhile; best with four nodes or more.
    ReassignAndKill,
    /// A topic is deleted while it is written to, and made again by the same name.
    Recreate,
    /// All nodes are killed with many partitions on them.
    KillMany,
    /// All in-sync replicas of two partitions are gone: one may be led by another, one may not.
    Unclean,
    /// A static member commits offsets, and the node that coordinates its group is killed.
    KillCoordinator,
    /// The disk of the leader hangs for a while.
    HangLeader,
    /// The disk of the leader hangs a little, all the time.
    SlowDisk,
    /// The wall clocks of one node and of all jump ahead by a year, and back by a day.
    StepClocks,
}

/// The drill's partitions beside the one under load, whose replicas must be the same in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    topic: &'static str,
    copies: usize,
    end: i64,
}

impl Drill {
    /// How many nodes it is made for.
    pub fn nodes(self) -> u8 {
        match self {
            Self::PartMinority | Self::Grow | Self::ReassignAndKill => 5,
            Self::LoseController => 6,
            _ => 3,
        }
    }

    fn layout(self, nodes: u8) -> Layout {
        let layout = Layout::combined(nodes);
        match self {
            Self::CutLeader
            | Self::CutTwo
            | Self::CutAll
            | Self::CutAgain
            | Self::FillLeader
            | Self::HangLeader
            | Self::SlowDisk => Layout { have_disks: true, ..layout },
            Self::Lossy | Self::Wretched => Layout { have_cables: true, ..layout },
            Self::StepClocks => Layout { have_clocks: true, ..layout },
            Self::LoseController => Layout { voters: 3, only_controllers: 3, ..layout },
            Self::Grow => Layout { voters: 3, spares: nodes.saturating_sub(3), ..layout },
            Self::ReassignAndKill => Layout { voters: nodes.min(3), ..layout },
            _ => layout,
        }
    }

    /// What the drill's topic is created with.
    fn configs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // A broker whose clock is behind takes all records for ones of the future.
            Self::StepClocks => &[("message.timestamp.after.max.ms", "9223372036854775807")],
            _ => &[],
        }
    }
}

/// All drills, by the names that [`FromStr`] knows.
pub const DRILLS: [(&str, Drill); 38] = [
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
    ("cut-again", Drill::CutAgain),
    ("fill-leader", Drill::FillLeader),
    ("flip-all", Drill::FlipAll),
    ("kill-again", Drill::KillAgain),
    ("kill-follower", Drill::KillFollower),
    ("stop-follower", Drill::StopFollower),
    ("pause-follower", Drill::PauseFollower),
    ("slow-follower", Drill::SlowFollower),
    ("cut-two", Drill::CutTwo),
    ("part-minority", Drill::PartMinority),
    ("bridge", Drill::Bridge),
    ("flap", Drill::Flap),
    ("lossy", Drill::Lossy),
    ("wretched", Drill::Wretched),
    ("roll-again", Drill::RollAgain),
    ("upgrade", Drill::Upgrade),
    ("lose-controller", Drill::LoseController),
    ("grow", Drill::Grow),
    ("reassign-and-kill", Drill::ReassignAndKill),
    ("recreate", Drill::Recreate),
    ("kill-many", Drill::KillMany),
    ("unclean", Drill::Unclean),
    ("kill-coordinator", Drill::KillCoordinator),
    ("hang-leader", Drill::HangLeader),
    ("slow-disk", Drill::SlowDisk),
    ("step-clocks", Drill::StepClocks),
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
    /// The longest time in which no producer got an acknowledgement, of those that wait 5 s for an
    /// answer.
    pub longest_gap: Duration,
    /// The longest time in which thalweg's own client got none.
    pub longest_gap_of_user: Duration,
    /// Whether the first leader was the active controller, too.
    pub led_quorum: bool,
    /// Broken promises, in words. None is what is wanted.
    pub faults: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gap, users) = (self.longest_gap.as_millis(), self.longest_gap_of_user.as_millis());
        let (acknowledged, faults) = (self.acknowledged, self.faults.len());
        let too = if self.led_quorum { " (the leader was the active controller)" } else { "" };
        write!(
            out,
            "{acknowledged} acknowledged, longest gap {gap} ms, {users} ms with thalweg's \
             client{too}, {faults} faults"
        )
    }
}

/// What is drilled, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub nodes: u8,
    pub drill: Drill,
    pub seed: u64,
    /// For drills that do something again and again.
    pub rounds: u32,
    /// Waits less and takes fewer partitions, as a test of a build does.
    pub is_quick: bool,
    /// The other version of a rolling upgrade; the same one where there is none.
    pub previous: Option<PathBuf>,
    /// Who produces beside the drill's own clients.
    pub beside: Option<Foreign>,
}

impl Plan {
    /// As the environment says: `THALWEG_ROUNDS`, `THALWEG_PREVIOUS`, `THALWEG_BESIDE`.
    ///
    /// # Errors
    /// If that is no number, or no client.
    pub fn new(kind: Kind, nodes: u8, drill: Drill, seed: u64) -> anyhow::Result<Self> {
        let rounds = std::env::var("THALWEG_ROUNDS").ok().map(|text| text.parse()).transpose()?;
        let previous = std::env::var_os("THALWEG_PREVIOUS").map(PathBuf::from);
        let beside = std::env::var("THALWEG_BESIDE").ok().map(|text| text.parse()).transpose()?;
        let rounds = rounds.unwrap_or(ROUNDS);
        Ok(Self { kind, nodes, drill, seed, rounds, is_quick: false, previous, beside })
    }

    fn layout(&self) -> Layout {
        let layout = self.drill.layout(self.nodes);
        let waits_for_lag = self.is_quick && self.drill == Drill::Bridge;
        Layout { lag_ms: waits_for_lag.then_some(QUICK_LAG_MS), ..layout }
    }

    fn pause(&self) -> Duration {
        if self.is_quick { QUICK_PAUSE } else { PAUSE }
    }

    /// What the nodes are at first.
    fn first_kind(&self) -> Kind {
        match (&self.kind, &self.previous) {
            (Kind::Thalweg(_), Some(previous)) if self.drill == Drill::Upgrade => {
                Kind::Thalweg(previous.clone())
            }
            (kind, _) => kind.clone(),
        }
    }
}

/// Drills a cluster with its data below `folder`.
///
/// # Errors
/// If the cluster does not form, does not recover or refuses what it may not; broken promises are
/// no error but in the outcome.
pub fn run(plan: &Plan, folder: &Path) -> anyhow::Result<Outcome> {
    let layout = plan.layout();
    let mut cluster = Cluster::start(&plan.first_kind(), layout, folder)?;
    let copies = layout.copies();
    cluster.create_topic(TOPIC, 1, i16::from(copies), plan.drill.configs())?;
    let flow = Flow::start(cluster.addresses(), TOPIC, PRODUCERS, plan.seed)?;
    flow.wait_for_more(SOME_RECORDS, PROGRESS_MAX)?;
    let leader = cluster.lead(TOPIC, 0)?.leader;
    let led_quorum = describe_quorum(address(leader))?.leader_id == i32::from(leader);
    let beside = plan.beside.as_ref();
    let foreign = beside.map(|foreign| cluster.start_beside(foreign, folder)).transpose()?;
    let suffered = cluster.suffer(plan, &flow);
    suffered.with_context(|| format!("in the middle of {:?}", plan.drill))?;
    cluster.wait_until_whole()?;
    cluster.wait_until_in_sync(TOPIC, 0, usize::from(copies))?;
    flow.wait_for_more(SOME_RECORDS, PROGRESS_MAX)?;
    let acknowledged = flow.acknowledged();
    let notes = flow.finish()?;
    let (longest_gap, longest_gap_of_user) = (notes.longest_gap, notes.longest_gap_of_user);
    let strange = foreign.map_or(Ok(Vec::new()), |foreign| cluster.judge_beside(foreign))?;
    let mut faults = cluster.judge(notes, usize::from(copies))?;
    faults.extend(strange);
    Ok(Outcome { acknowledged, longest_gap, longest_gap_of_user, led_quorum, faults })
}

impl Cluster {
    /// Does what the drill says, and undoes it. Producers must get on where a majority is well.
    fn suffer(&mut self, plan: &Plan, flow: &Flow) -> anyhow::Result<()> {
        let leader = self.lead(TOPIC, 0)?.leader;
        let ids: Vec<u8> = self.network.nodes().collect();
        match plan.drill {
            Drill::Calm => Ok(()),
            Drill::KillLeader => self.kill_and_start(leader, flow),
            Drill::KillAgain => self.kill_again(plan.rounds, flow),
            Drill::StopLeader => self.stop_and_start(leader, flow),
            Drill::PauseLeader => self.pause_leader(leader, flow),
            Drill::KillFollower => self.kill_and_start(self.follower(leader)?, flow),
            Drill::StopFollower => self.stop_and_start(self.follower(leader)?, flow),
            Drill::PauseFollower => self.pause_follower(leader, flow),
            Drill::KillAll => {
                ids.iter().try_for_each(|&id| self.member(id).kill())?;
                ids.iter().try_for_each(|&id| self.member(id).start())
            }
            Drill::Roll => self.roll(),
            Drill::RollAgain => (0..plan.rounds).try_for_each(|_| self.roll()),
            Drill::Upgrade => self.upgrade(plan, flow),
            Drill::LoseController => self.lose_controller(flow),
            Drill::IsolateLeader => {
                self.network.isolate(Place::Node(leader))?;
                self.get_on(flow)?;
                self.network.heal()
            }
            Drill::DeafenOthers | Drill::DeafenLeader => {
                self.deafen(leader, plan.drill == Drill::DeafenOthers)?;
                self.get_on(flow)?;
                self.network.heal()
            }
            Drill::PartMinority => self.part_minority(leader, flow),
            Drill::Bridge => self.bridge(leader, flow),
            Drill::Flap => self.flap(leader, plan.rounds, flow),
            Drill::SlowFollower => self.slow_follower(leader, plan, flow),
            Drill::Lossy => self.lossy(plan, flow),
            Drill::Wretched => self.wretched(leader, plan),
            Drill::ReplaceDisk => self.replace_disk(leader),
            Drill::CutLeader => {
                self.member(leader).cut_power()?;
                self.get_on(flow)?;
                self.member(leader).start()
            }
            Drill::CutTwo => self.cut_power(&[leader, self.follower(leader)?]),
            Drill::CutAll => self.cut_power(&ids),
            Drill::CutAgain => self.cut_again(&ids, plan.rounds, flow),
            Drill::FillLeader => self.fill_leader(leader),
            Drill::FlipAll => self.flip_all(),
            Drill::HangLeader => self.hang(leader, disks::once(plan.is_quick), flow),
            Drill::SlowDisk => self.hang(leader, disks::all_the_time(plan.is_quick), flow),
            Drill::StepClocks => self.step_clocks(leader, plan, flow),
            Drill::Grow => self.grow(plan, flow),
            Drill::ReassignAndKill => self.reassign_and_kill(plan, flow),
            Drill::Recreate => self.recreate(plan.rounds),
            Drill::KillMany => self.kill_many(plan),
            Drill::Unclean => self.unclean(),
            Drill::KillCoordinator => self.kill_coordinator(plan.rounds, flow),
        }
    }

    fn start_beside(&self, foreign: &Foreign, folder: &Path) -> anyhow::Result<ForeignFlow> {
        self.create_topic(BESIDE, 1, i16::from(self.layout.copies()), &[])?;
        let flow = ForeignFlow::start(foreign, &self.addresses(), BESIDE, folder)?;
        flow.wait_for_more(FOREIGN_RECORDS)?;
        Ok(flow)
    }

    /// All that is wrong with what a foreign producer was told, once it gets on again.
    fn judge_beside(&mut self, flow: ForeignFlow) -> anyhow::Result<Vec<String>> {
        flow.wait_for_more(FOREIGN_RECORDS)?;
        let said = flow.finish()?;
        let copies = usize::from(self.layout.copies());
        self.wait_until_in_sync(BESIDE, 0, copies)?;
        let mut client = Client::connect(address(self.lead(BESIDE, 0)?.leader))?;
        let log = values(&mut client, BESIDE)?;
        println!("beside it {} of {} acknowledged", said.acknowledged.len(), log.len());
        let end = log.last().map_or(0, |(offset, _)| offset + 1);
        self.also.push(Kept { topic: BESIDE, copies, end });
        let mismatches = foreign::judge(&log, &said.acknowledged);
        Ok(mismatches.iter().map(ToString::to_string).chain(said.errors).collect())
    }

    /// A node that has a copy of the drill's partition and does not lead it.
    fn follower(&self, leader: u8) -> anyhow::Result<u8> {
        let found = self.members.keys().find(|&&id| {
            id != leader && self.replicas(TOPIC, 0).iter().any(|(node, _)| *node == id)
        });
        found.copied().context("this drill takes two nodes at least")
    }

    /// A single node cannot do without the one that fails.
    fn get_on(&self, flow: &Flow) -> anyhow::Result<()> {
        if self.layout.nodes == 1 {
            return Ok(());
        }
        flow.wait_for_more(SOME_RECORDS, PROGRESS_MAX)?;
        flow.wait_for_user(PROGRESS_MAX)
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
        let main = Kept { topic: TOPIC, copies, end };
        for kept in self.also.iter().chain([&main]) {
            faults.extend(self.differences(*kept)?);
        }
        Ok(faults)
    }

    /// How the replicas of a partition differ, in words. The nodes must be down.
    fn differences(&self, kept: Kept) -> anyhow::Result<Vec<String>> {
        let Kept { topic, copies, end } = kept;
        let folders = self.replicas(topic, 0);
        let mut faults = Vec::new();
        // A follower that never fetched has none, and would not be missed by the comparison.
        if folders.len() != copies {
            faults.push(format!("{} of {copies} replicas of {topic} have files", folders.len()));
        }
        let differences = replicas::compare(&folders, end)?;
        faults.extend(differences.iter().map(|difference| format!("{topic}: {difference}")));
        Ok(faults)
    }
}
