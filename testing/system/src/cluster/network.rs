//! A network of network namespaces on one bridge, and what can go wrong with it.
//!
//! Each node lives in a namespace of its own with one link to the bridge; the test and its clients
//! live beside the bridge. What one place sends to another is made to vanish by a neighbour entry
//! that names a card nobody has: no error comes back, as with a cut cable, and the other direction
//! goes on. Needs `sandbox::in_own_network`: names and addresses are the same in every run.

mod cable;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, bail};

use self::cable::Cable;
pub use self::cable::Quality;

/// Nobody has it, so the bridge hands such frames to all and all drop them.
const NOBODY: &str = "02:00:00:00:de:ad";
/// Where the clients are; nodes count from 1.
const CLIENTS: u8 = 254;

/// An end of a connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// The node with this id, from 1 on.
    Node(u8),
    /// The test's own process.
    Clients,
}

/// The bridge and so many nodes. It goes with the sandbox.
#[derive(Debug)]
pub struct Network {
    nodes: u8,
    cables: BTreeMap<u8, Cable>,
}

impl Place {
    /// Its address, the same in each run.
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Node(id) => Ipv4Addr::new(10, 77, 0, id),
            Self::Clients => Ipv4Addr::new(10, 77, 0, CLIENTS),
        }
    }

    /// A command that runs there.
    pub fn command(self, program: &str) -> Command {
        match self {
            // The process becomes the program, so its id is the program's.
            Self::Node(id) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/n{id}")).arg(program);
                command
            }
            Self::Clients => Command::new(program),
        }
    }

    fn device(self) -> &'static str {
        match self {
            Self::Node(_) => "lan",
            Self::Clients => "bridge",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(out, "node {id}"),
            Self::Clients => write!(out, "the clients"),
        }
    }
}

impl Network {
    /// Links so many nodes to each other and to the test, by cables that can be made bad or by
    /// the kernel's own, which cost nothing.
    ///
    /// # Errors
    /// Outside a sandbox, or if the kernel refuses.
    pub fn new(nodes: u8, have_cables: bool) -> anyhow::Result<Self> {
        // `ip` keeps its namespaces as mounts in one folder, which is shared by all but for this.
        let script = "set -e
            mkdir -p /run/netns && mount -t tmpfs none /run/netns
            ip link set lo up
            ip link add bridge type bridge && ip link set bridge up";
        run(Command::new("sh").args(["-c", script]))?;
        ip(Place::Clients, &format!("addr add {}/24 dev bridge", Place::Clients.address()))?;
        let mut cables = BTreeMap::new();
        for id in 1..=nodes {
            let place = Place::Node(id);
            ip(Place::Clients, &format!("netns add n{id}"))?;
            if have_cables {
                cables.insert(id, Cable::new(id)?);
                ip(Place::Clients, &format!("link set far{id} netns n{id} name lan"))?;
            } else {
                let pair = format!("link add port{id} type veth peer name lan netns n{id}");
                ip(Place::Clients, &pair)?;
            }
            ip(Place::Clients, &format!("link set port{id} master bridge up"))?;
            ip(place, &format!("addr add {}/24 dev lan", place.address()))?;
            ip(place, "link set lan up")?;
            ip(place, "link set lo up")?;
        }
        Ok(Self { nodes, cables })
    }

    /// The ids of all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.nodes
    }

    /// All ends: the nodes and the clients.
    pub fn places(&self) -> Vec<Place> {
        self.nodes().map(Place::Node).chain([Place::Clients]).collect()
    }

    /// What `from` sends to `to` vanishes from now on; the way back stays.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn cut(&self, from: Place, to: Place) -> anyhow::Result<()> {
        let (device, to) = (from.device(), to.address());
        ip(from, &format!("neigh replace {to} lladdr {NOBODY} dev {device} nud permanent"))
    }

    /// Nothing passes between one side and the other.
    ///
    /// # Errors
    /// As [`Network::cut`].
    pub fn part(&self, left: &[Place], right: &[Place]) -> anyhow::Result<()> {
        for &one in left {
            for &other in right {
                self.cut(one, other)?;
                self.cut(other, one)?;
            }
        }
        Ok(())
    }

    /// Nothing passes between a place and any other.
    ///
    /// # Errors
    /// As [`Network::cut`].
    pub fn isolate(&self, place: Place) -> anyhow::Result<()> {
        let others: Vec<_> = self.places().into_iter().filter(|&other| other != place).collect();
        self.part(&[place], &others)
    }

    /// Undoes every cut.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn heal(&self) -> anyhow::Result<()> {
        for place in self.places() {
            ip(place, &format!("neigh flush dev {} nud permanent", place.device()))?;
        }
        Ok(())
    }

    /// A node sends and gets at most so many kilobits a second from now on; what is more waits up
    /// to a second.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn limit(&self, id: u8, kilobits: u32) -> anyhow::Result<()> {
        let shape = format!("root tbf rate {kilobits}kbit burst 16kb latency 1s");
        both_ends(id).iter_mut().try_for_each(|(tc, device)| {
            run(tc.args(["qdisc", "replace", "dev", device]).args(shape.split(' ')))
        })
    }

    /// Ends what [`Network::limit`] began.
    ///
    /// # Errors
    /// If there is no limit.
    pub fn unlimit(&self, id: u8) -> anyhow::Result<()> {
        both_ends(id)
            .iter_mut()
            .try_for_each(|(tc, device)| run(tc.args(["qdisc", "del", "dev", device, "root"])))
    }

    /// The cable of a node is from now on like this, in both directions.
    ///
    /// # Errors
    /// If the network was made without cables.
    pub fn degrade(&mut self, id: u8, quality: Quality) -> anyhow::Result<()> {
        let cable = self.cables.get_mut(&id).context("this network has no cables")?;
        cable.set(quality)
    }
}

/// `tc` where what the node sends passes, and where what it gets does, with the device there.
fn both_ends(id: u8) -> [(Command, String); 2] {
    [
        (Place::Node(id).command("tc"), "lan".to_owned()),
        (Place::Clients.command("tc"), format!("port{id}")),
    ]
}

fn ip(place: Place, arguments: &str) -> anyhow::Result<()> {
    run(place.command("ip").args(arguments.split(' ')))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
