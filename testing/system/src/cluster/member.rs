//! One node of a cluster as a process: what it is started with, and what is done to it.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cluster::clock::Clock;
use crate::cluster::network::Place;
use crate::power::{Cut, Disk};

const CLIENT_PORT: u16 = 9092;
const CONTROLLER_PORT: u16 = 9093;
/// The same in every run: no two of them meet.
const CLUSTER_ID: &str = "dGhhbHdlZy1jbHVzdGVyMQ";
/// Enough for a drill, and soon full.
const DISK_BYTES: u64 = 512 << 20;
/// A node that does not end after this long ignores what it was told.
const END_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Of a node's output, for a message.
const LAST_LINES: usize = 15;

/// What the nodes are.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The binary.
    Thalweg(PathBuf),
    /// The folder with the jars of Apache Kafka.
    Kafka(PathBuf),
}

/// Which nodes there are, with ids from 1 on, and what each does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    pub nodes: u8,
    /// The first ones are the voters of the quorum.
    pub voters: u8,
    /// So many of the first are no brokers.
    pub only_controllers: u8,
    /// So many of the last do not run at first.
    pub spares: u8,
    pub have_disks: bool,
    /// Whether their links can be made bad (`network::Quality`).
    pub have_cables: bool,
    /// Whether each has a wall clock of its own (`clock`).
    pub have_clocks: bool,
    /// `replica.lag.time.max.ms`, where it is not the default.
    pub lag_ms: Option<u32>,
}

/// A node that may run or not. Dropping it kills the process.
#[derive(Debug)]
pub struct Member {
    kind: Kind,
    id: u8,
    layout: Layout,
    folder: PathBuf,
    child: Option<Child>,
    /// A disk of its own, where the drill is about that.
    disk: Option<Disk>,
    /// The same for its wall clock.
    clock: Option<Clock>,
}

/// Where a node listens for clients.
pub fn address(id: u8) -> SocketAddr {
    SocketAddr::from((Place::Node(id).address(), CLIENT_PORT))
}

impl Layout {
    /// All nodes run, and each is controller and broker.
    pub fn combined(nodes: u8) -> Self {
        let (only_controllers, spares) = (0, 0);
        let (have_disks, have_cables, have_clocks) = (false, false, false);
        let (voters, lag_ms) = (nodes, None);
        Self {
            nodes,
            voters,
            only_controllers,
            spares,
            have_disks,
            have_cables,
            have_clocks,
            lag_ms,
        }
    }

    /// The ids of the brokers that run at first.
    pub fn brokers(self) -> impl Iterator<Item = u8> {
        self.only_controllers + 1..=self.nodes - self.spares
    }

    /// The ids of those that do not run at first.
    pub fn spares(self) -> impl Iterator<Item = u8> {
        self.nodes - self.spares + 1..=self.nodes
    }

    /// How many replicas a partition has.
    pub fn copies(self) -> u8 {
        u8::try_from(self.brokers().count()).map_or(3, |brokers| brokers.min(3))
    }
}

impl Member {
    /// Node `id`, with its data below `folder`; it does not run yet.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub fn new(kind: &Kind, id: u8, layout: Layout, folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join(format!("node{id}"));
        fs::create_dir_all(&folder)?;
        let disk = layout.have_disks.then(|| Disk::of_size(&folder, DISK_BYTES)).transpose()?;
        let clock = layout.have_clocks.then(|| Clock::new(&folder)).transpose()?;
        let member = Self { kind: kind.clone(), id, layout, folder, child: None, disk, clock };
        fs::create_dir(member.data())?;
        fs::write(member.properties_file(), member.properties())?;
        member.format()?;
        Ok(member)
    }

    /// Where its data lies.
    pub fn data(&self) -> PathBuf {
        self.disk.as_ref().map_or(&*self.folder, Disk::path).join("data")
    }

    /// What both kinds read. Timeouts are the defaults, but where the layout says otherwise.
    fn properties(&self) -> String {
        let Layout { voters, only_controllers, .. } = self.layout;
        let at = |id: u8, port: u16| format!("{}:{port}", Place::Node(id).address());
        let (client, controller) = (at(self.id, CLIENT_PORT), at(self.id, CONTROLLER_PORT));
        let as_broker = format!("PLAINTEXT://{client}");
        let as_controller = format!("CONTROLLER://{controller}");
        let advertised = format!("advertised.listeners={as_broker}\n");
        let (roles, listeners, advertised) = if self.id <= only_controllers {
            ("controller", as_controller, String::new())
        } else if self.id <= voters {
            ("broker,controller", format!("{as_broker},{as_controller}"), advertised)
        } else {
            ("broker", as_broker, advertised)
        };
        let voters = (1..=voters).map(|id| format!("{id}@{}", at(id, CONTROLLER_PORT)));
        let copies = self.layout.copies();
        format!(
            "process.roles={roles}\n\
             node.id={id}\n\
             listeners={listeners}\n\
             {advertised}\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\n\
             controller.quorum.voters={voters}\n\
             log.dirs={data}\n\
             min.insync.replicas={in_sync}\n\
             default.replication.factor={copies}\n\
             offsets.topic.replication.factor={copies}\n\
             offsets.topic.num.partitions=5\n\
             {often}{lag}\
             group.initial.rebalance.delay.ms=0\n",
            id = self.id,
            voters = voters.collect::<Vec<_>>().join(","),
            // Else nobody would look at the clock in time.
            often = if self.clock.is_some() {
                "log.initial.task.delay.ms=1000\nlog.retention.check.interval.ms=1000\n"
            } else {
                ""
            },
            lag = self
                .layout
                .lag_ms
                .map_or(String::new(), |ms| format!("replica.lag.time.max.ms={ms}\n")),
            data = self.data().display(),
            in_sync = copies.div_ceil(2),
        )
    }

    fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn output_file(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// Apache Kafka starts only in a folder that was formatted.
    fn format(&self) -> anyhow::Result<()> {
        let Kind::Kafka(jars) = &self.kind else { return Ok(()) };
        let mut command = java(Place::Clients, jars);
        command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
        let output = command.arg(self.properties_file()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot format node {}: {said}", self.id);
        Ok(())
    }

    /// Starts the process and waits for nothing.
    ///
    /// # Errors
    /// If it runs already, or cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "node {} runs already", self.id);
        let output = OpenOptions::new().create(true).append(true).open(self.output_file())?;
        let place = Place::Node(self.id);
        let mut command = match &self.kind {
            Kind::Thalweg(binary) => {
                let mut command = place.command(&binary.display().to_string());
                command.arg("server").env_remove("RUST_LOG").env("CLUSTER_ID", CLUSTER_ID);
                command
            }
            Kind::Kafka(jars) => {
                let mut command = java(place, jars);
                command.arg("kafka.Kafka");
                command
            }
        };
        if let Some(clock) = &self.clock {
            command.envs(clock.environment());
        }
        command.arg(self.properties_file()).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        self.child = Some(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        Ok(())
    }

    /// What it is started as from now on: another version.
    pub fn become_kind(&mut self, kind: &Kind) {
        self.kind = kind.clone();
    }

    /// Whether it was started and not ended here.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Whether clients may connect to it when it runs.
    pub fn is_broker(&self) -> bool {
        self.id > self.layout.only_controllers
    }

    /// The process, which is there unless it was ended.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("node {} does not run", self.id))?.id())
    }

    /// Ends the process as a crash does.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("node {} is down", self.id))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops the process where it stands (SIGSTOP). Its sockets stay open.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Asks the process to end (SIGTERM) and does not wait.
    ///
    /// # Errors
    /// If it does not run.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Waits for the end of a process that was asked to.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait_end(&mut self) -> anyhow::Result<()> {
        let give_up = Instant::now() + END_MAX;
        let child = self.child.as_mut().with_context(|| format!("node {} is down", self.id))?;
        while child.try_wait()?.is_none() {
            if Instant::now() > give_up {
                bail!("node {} does not end{}", self.id, self.last_words());
            }
            thread::sleep(LOOK_EVERY);
        }
        self.child = None;
        Ok(())
    }

    /// Its own disk.
    ///
    /// # Errors
    /// If it was not given one.
    pub fn disk(&self) -> anyhow::Result<&Disk> {
        self.disk.as_ref().with_context(|| format!("node {} has no disk of its own", self.id))
    }

    /// Its own wall clock.
    ///
    /// # Errors
    /// If it was not given one.
    pub fn clock(&self) -> anyhow::Result<&Clock> {
        self.clock.as_ref().with_context(|| format!("node {} has no clock of its own", self.id))
    }

    /// Takes the power from its disk and from itself. What is left is there at once: it may start.
    ///
    /// # Errors
    /// If it does not run, or has no disk of its own.
    pub fn cut_power(&mut self) -> anyhow::Result<()> {
        self.pause()?;
        self.disk()?.cut(Cut::Kernel)?;
        self.kill()?;
        self.disk()?.power_up()
    }

    /// Starts it if it has ended by itself, as Apache Kafka does when its only disk fails.
    ///
    /// # Errors
    /// As [`Member::start`].
    pub fn revive(&mut self) -> anyhow::Result<()> {
        if self.has_ended().is_none() {
            return Ok(());
        }
        self.child = None;
        self.start()
    }

    /// Takes everything off its disk, as when a new one is put in. It must be down.
    ///
    /// # Errors
    /// If it runs, or the files cannot be removed.
    pub fn replace_disk(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "node {} uses its disk", self.id);
        fs::remove_dir_all(self.data())?;
        fs::create_dir(self.data())?;
        self.format()
    }

    /// What it printed last, if it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(format!("node {} ended with {status}{}", self.id, self.last_words()))
    }

    /// The end of what it printed.
    pub fn last_words(&self) -> String {
        let output = fs::read_to_string(self.output_file()).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!("\nnode {}:\n  {}", self.id, last.join("\n  "))
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
        ensure!(status.success(), "node {} cannot be signalled: {status}", self.id);
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        if let Some(child) = &mut self.child {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

/// Small, as several of them run beside each other.
fn java(place: Place, jars: &Path) -> Command {
    let mut command = place.command("java");
    command.args(["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-Djava.awt.headless=true", "-cp"]);
    command.arg(jars.join("*"));
    command
}
