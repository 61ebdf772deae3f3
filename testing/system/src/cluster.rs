//! Several nodes in one cluster, on a network that can fail: thalweg's, or Apache Kafka's by the same
//! code, so that what a test demands is known to be what a cluster of this kind can give.
//!
//! A [`Cluster`] lives inside `sandbox::in_own_network`. Its parts: [`network`] cuts, [`member`] kills
//! and pauses, [`flow`], [`user`] and [`foreign`] produce and read through all of it, [`history`] and
//! [`replicas`] judge.
//! Not here: one node by itself (`process`, `load`, `verdict`).

pub mod clock;
pub mod drill;
pub mod flow;
pub mod foreign;
pub mod history;
pub mod member;
pub mod network;
pub mod replicas;
pub mod user;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use protocol::messages::metadata::{MetadataResponse, MetadataResponsePartition};

use crate::client::Client;
use crate::cluster::member::{Kind, Layout, Member};
use crate::cluster::network::Network;
use crate::process::wait_for;
use crate::sandbox::{MOUNT_TOOLS, need};

/// A cluster that has no leader, or not all replicas in sync, after so long never will.
const CALM_MAX: Duration = Duration::from_secs(90);
/// A node that is paused or cut off answers nobody: one that is well does so in this time.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Nodes, each controller and broker, with ids from 1 on. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    pub network: Network,
    pub layout: Layout,
    members: BTreeMap<u8, Member>,
    /// What a drill wants compared in the end, too.
    also: Vec<drill::Kept>,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lead {
    pub leader: u8,
    pub epoch: i32,
}

impl Cluster {
    /// Starts the nodes with their data below `folder`, all but the spares, and waits until each
    /// knows all.
    ///
    /// # Errors
    /// With what the nodes printed, if they do not come to know each other in time.
    pub fn start(kind: &Kind, layout: Layout, folder: &Path) -> anyhow::Result<Self> {
        if layout.have_disks {
            need(&MOUNT_TOOLS)?;
        }
        let network = Network::new(layout.nodes, layout.have_cables)?;
        let ids = 1..=layout.nodes;
        let members = ids.map(|id| Ok((id, Member::new(kind, id, layout, folder)?)));
        let members = members.collect::<anyhow::Result<_>>()?;
        let mut cluster = Self { network, layout, members, also: Vec::new() };
        for id in 1..=layout.nodes - layout.spares {
            cluster.member(id).start()?;
        }
        cluster.wait_until_whole()?;
        Ok(cluster)
    }

    /// The node with this id.
    ///
    /// # Panics
    /// If there is none.
    pub fn member(&mut self, id: u8) -> &mut Member {
        self.members.get_mut(&id).expect("ids are 1 to the count of nodes")
    }

    /// Where the brokers listen, also those that are down, but no spares.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.layout.brokers().map(member::address).collect()
    }

    /// Waits until every broker that runs says that it knows every other.
    ///
    /// # Errors
    /// With what the nodes printed last, if they do not come to know each other in time.
    pub fn wait_until_whole(&mut self) -> anyhow::Result<()> {
        let running = self.members.iter().filter(|(_, one)| one.is_running() && one.is_broker());
        let addresses: Vec<_> = running.map(|(&id, _)| member::address(id)).collect();
        let waited = wait_for("every node knows every node", CALM_MAX, || {
            let ended = self.members.values_mut().find_map(Member::has_ended);
            ensure!(ended.is_none(), "{}", ended.unwrap_or_default());
            Ok(addresses.iter().all(|&address| {
                metadata(address, None).is_ok_and(|answer| answer.brokers.len() == addresses.len())
            }))
        });
        waited.with_context(|| self.last_words())
    }

    /// Creates a topic that is replicated to so many nodes, and waits until all of them have it.
    ///
    /// # Errors
    /// If the cluster refuses, or does not get there in time.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let mut client = Client::connect(self.addresses()[0])?;
        client.create_replicated_topic(name, partitions, replicas, configs)?;
        for partition in 0..partitions {
            self.wait_until_in_sync(name, partition, replicas as usize)?;
        }
        Ok(())
    }

    /// Who leads a partition, by the newest epoch that any node speaks of.
    ///
    /// # Errors
    /// If nobody knows a leader.
    pub fn lead(&self, topic: &str, partition: i32) -> anyhow::Result<Lead> {
        let leads = leads(&self.addresses(), topic, partition);
        leads.into_iter().max_by_key(|lead| lead.epoch).context("nobody knows a leader")
    }

    /// Waits until a partition has so many replicas in sync, of which every one says so.
    ///
    /// # Errors
    /// With what the nodes printed last, if it takes too long.
    pub fn wait_until_in_sync(
        &self,
        topic: &str,
        partition: i32,
        replicas: usize,
    ) -> anyhow::Result<()> {
        let addresses = self.addresses();
        let waited = wait_for("all replicas are in sync", CALM_MAX, || {
            Ok(addresses.iter().all(|&address| {
                ask_partition(address, topic, partition)
                    .is_some_and(|found| found.isr_nodes.len() == replicas && found.leader_id >= 0)
            }))
        });
        waited.with_context(|| self.last_words())
    }

    /// Waits until a broker is out of the ISR of a partition.
    ///
    /// # Errors
    /// With what the nodes printed last, if it takes too long.
    pub fn wait_until_out_of_sync(
        &self,
        topic: &str,
        partition: i32,
        id: u8,
    ) -> anyhow::Result<()> {
        let waited = wait_for("a replica is out of sync", CALM_MAX, || {
            let others = self.layout.brokers().filter(|&other| other != id);
            Ok(others.map(member::address).all(|address| {
                let found = ask_partition(address, topic, partition);
                found.is_some_and(|found| !found.isr_nodes.contains(&i32::from(id)))
            }))
        });
        waited.with_context(|| self.last_words())
    }

    /// Kills all nodes that run. What was acknowledged is in their files by then, if not on the
    /// device.
    ///
    /// # Errors
    /// If one cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        // A stop in order would wait for ever: the last ones cannot hand over without a majority.
        self.members.values_mut().filter(|one| one.is_running()).try_for_each(Member::kill)
    }

    /// Folders of one partition, by the node that has it.
    pub fn replicas(&self, topic: &str, partition: i32) -> Vec<(u8, std::path::PathBuf)> {
        let name = format!("{topic}-{partition}");
        let folders = self.members.iter().map(|(&id, member)| (id, member.data().join(&name)));
        folders.filter(|(_, folder)| folder.is_dir()).collect()
    }

    /// The end of what each node printed, for a message.
    fn last_words(&self) -> String {
        self.members.values().map(Member::last_words).collect()
    }
}

/// What each node that answers says of who leads a partition.
pub fn leads(addresses: &[SocketAddr], topic: &str, partition: i32) -> Vec<Lead> {
    let answers = addresses.iter().filter_map(|&address| ask_partition(address, topic, partition));
    let leads = answers.filter_map(|found| {
        Some(Lead { leader: u8::try_from(found.leader_id).ok()?, epoch: found.leader_epoch })
    });
    leads.collect()
}

fn ask_partition(
    address: SocketAddr,
    topic: &str,
    partition: i32,
) -> Option<MetadataResponsePartition> {
    let answer = metadata(address, Some(topic)).ok()?;
    let topic = answer.topics.into_iter().next()?;
    topic.partitions.into_iter().find(|found| found.partition_index == partition)
}

fn metadata(address: SocketAddr, topic: Option<&str>) -> anyhow::Result<MetadataResponse> {
    Client::connect_within(address, ANSWER_MAX)?.metadata(topic)
}
