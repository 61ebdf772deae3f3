//! One node of a cluster as a process: what it is started with, and what is done to it.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

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

/// A node that may run or not. Dropping it kills the process.
#[derive(Debug)]
pub struct Member {
    kind: Kind,
    id: u8,
    folder: PathBuf,
    child: Option<Child>,
    /// A disk of its own, where the drill is about that.
    disk: Option<Disk>,
}

/// Where a node listens for clients.
pub fn address(id: u8) -> SocketAddr {
    SocketAddr::from((Place::Node(id).address(), CLIENT_PORT))
}

impl Member {
    /// Node `id` of `nodes`, with its data below `folder`, on a disk of its own or not; it does not
    /// run yet.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub fn new(
        kind: &Kind,
        id: u8,
        nodes: u8,
        folder: &Path,
        has_disk: bool,
    ) -> anyhow::Result<Self> {
        let folder = folder.join(format!("node{id}"));
        fs::create_dir_all(&folder)?;
        let disk = has_disk.then(|| Disk::of_size(&folder, DISK_BYTES)).transpose()?;
        let member = Self { kind: kind.clone(), id, folder, child: None, disk };
        fs::create_dir(member.data())?;
        fs::write(member.properties_file(), member.properties(nodes))?;
        member.format()?;
        Ok(member)
    }

    /// Where its data lies.
    pub fn data(&self) -> PathBuf {
        self.disk.as_ref().map_or(&*self.folder, Disk::path).join("data")
    }

    /// What both kinds read. Timeouts are the defaults.
    fn properties(&self, nodes: u8) -> String {
        let at = |id: u8, port: u16| format!("{}:{port}", Place::Node(id).address());
        let voters = (1..=nodes).map(|id| format!("{id}@{}", at(id, CONTROLLER_PORT)));
        let copies = nodes.min(3);
        format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             listeners=PLAINTEXT://{client},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{client}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\n\
             controller.quorum.voters={voters}\n\
             log.dirs={data}\n\
             min.insync.replicas={in_sync}\n\
             default.replication.factor={copies}\n\
             offsets.topic.replication.factor={copies}\n\
             offsets.topic.num.partitions=5\n\
             group.initial.rebalance.delay.ms=0\n",
            id = self.id,
            client = at(self.id, CLIENT_PORT),
            controller = at(self.id, CONTROLLER_PORT),
            voters = voters.collect::<Vec<_>>().join(","),
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
        command.arg(self.properties_file()).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        self.child = Some(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        Ok(())
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

    pub(crate) fn last_words(&self) -> String {
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
