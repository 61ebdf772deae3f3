//! `thalweg dev --brokers N`: several nodes as child processes on the loopback interface.
//!
//! Each is a `thalweg server` with a directory, a log file and ports of its own. The first begins
//! the cluster and the others join it, as on machines. This process owns them: they end with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, bail};
use client::{Client, ClientSettings};
use rustix::process::{Pid, Signal, kill_process};

use super::control::{self, Drill};
use super::relay::{Relay, Way};
use super::{DataDir, Options, PORT};
use crate::server::ENDS_WITH_PARENT;
use crate::signals;

/// Nodes that vote; more than three are brokers alone.
const CONTROLLERS: i32 = 3;
/// From the first port of a node to that of the next.
const PORTS: u16 = 100;
/// How long all nodes may take to serve.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long a node may take to stop.
const STOP_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What is shown of the log of a node that has ended.
const LOG_LINES: usize = 5;

/// What the cluster is told.
#[derive(Debug)]
pub(super) enum Event {
    Drill(Drill, Sender<anyhow::Result<String>>),
    Stop,
}

/// The ports of a node.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    controller: u16,
    broker: u16,
    /// What other nodes are told instead of the two before.
    controller_relay: u16,
    broker_relay: u16,
}

#[derive(Debug)]
struct Node {
    id: i32,
    ports: Ports,
    /// `None` while it is down.
    process: Option<Child>,
    is_paused: bool,
}

#[derive(Debug)]
struct Cluster {
    dir: PathBuf,
    nodes: Vec<Node>,
    relay: Relay,
}

/// Runs the nodes until a signal stops them.
pub(super) fn run(options: &Options, count: u16) -> anyhow::Result<()> {
    let begin = Instant::now();
    let data = DataDir::choose(options)?;
    let (events, happened) = channel();
    let temporary = data.is_temporary.then(|| data.path.clone());
    // What starts is stopped in order here, too.
    let is_serving = Arc::new(AtomicBool::new(true));
    let (_, stopped) = signals::catch(is_serving, move || {
        _ = temporary.as_ref().map(fs::remove_dir_all);
    })?;
    let stop = events.clone();
    thread::Builder::new().name("stop".to_owned()).spawn(move || {
        // Fails where the cluster has ended by itself.
        _ = stopped.recv().map(|_| stop.send(Event::Stop));
    })?;
    control::serve(&data.path, events)?;
    let mut cluster = Cluster::new(&data.path, options.port.unwrap_or(PORT), count)?;
    cluster.start_all()?;
    cluster.await_ready(&happened)?;
    println!("{}", cluster.greeting(&data, begin.elapsed().as_millis()));
    loop {
        match happened.recv_timeout(LOOK_EVERY) {
            // Who asked has gone: nobody wants the answer.
            Ok(Event::Drill(drill, reply)) => _ = reply.send(cluster.drill(drill)),
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => cluster.notice_ends(),
        }
    }
    println!("stopping; press Ctrl-C again to end at once");
    cluster.stop()
}

impl Ports {
    fn of(id: i32, first: u16) -> anyhow::Result<Self> {
        let steps = u16::try_from(id - 1).ok().and_then(|steps| steps.checked_mul(PORTS));
        let base = steps.and_then(|steps| first.checked_add(steps));
        let base = base.filter(|base| *base <= u16::MAX - 4);
        let base = base.context("the ports of the last node are beyond 65535: choose --port")?;
        Ok(Self {
            client: base,
            controller: base + 1,
            broker: base + 2,
            controller_relay: base + 3,
            broker_relay: base + 4,
        })
    }
}

impl Cluster {
    fn new(dir: &Path, first_port: u16, count: u16) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        let mut ways = Vec::new();
        for id in 1..=i32::from(count) {
            let ports = Ports::of(id, first_port)?;
            let Ports { controller, broker, controller_relay, broker_relay, .. } = ports;
            ways.push(Way { node: id, from: broker_relay, to: broker });
            ways.push(Way { node: id, from: controller_relay, to: controller });
            nodes.push(Node { id, ports, process: None, is_paused: false });
        }
        Ok(Self { dir: dir.to_owned(), nodes, relay: Relay::start(&ways)? })
    }

    fn start_all(&mut self) -> anyhow::Result<()> {
        (0..self.nodes.len()).try_for_each(|at| self.start(at))
    }

    fn start(&mut self, at: usize) -> anyhow::Result<()> {
        let (first, count) = (self.nodes[0].ports.client, self.nodes.len());
        let node = &mut self.nodes[at];
        let log = log_file(&self.dir, node.id);
        let log = File::options().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("cannot write logs to {}", self.dir.display()))?;
        let mut command = Command::new(env::current_exe()?);
        command.arg("server");
        for (key, value) in settings(node.id, node.ports, count, &self.dir)? {
            command.arg("--override").arg(format!("{key}={value}"));
        }
        if at > 0 {
            command.arg("--join").arg(format!("127.0.0.1:{first}"));
        }
        // What this shell says of another node is not meant for these.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("KAFKA_") || name == "CLUSTER_ID")
            {
                command.env_remove(name);
            }
        }
        command.env(ENDS_WITH_PARENT, "1").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        // Ctrl-C is for this process, which stops the others.
        let process = command.process_group(0).spawn().context("cannot start a node")?;
        self.relay.runs(node.id, process.id());
        node.process = Some(process);
        Ok(())
    }

    /// Waits until all brokers serve and those vote that should.
    fn await_ready(&mut self, happened: &std::sync::mpsc::Receiver<Event>) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = ClientSettings::new(&self.bootstrap());
        let settings = ClientSettings { call_timeout: LOOK_EVERY, ..settings };
        let admin = Client::new(settings).admin();
        let count = self.nodes.len();
        let give_up = Instant::now() + READY_MAX;
        loop {
            let ready = runtime.block_on(async {
                let brokers = admin.describe_cluster().await?.brokers.len();
                let voters = admin.describe_quorum().await?.voters.len();
                Ok::<_, client::ClientError>((brokers, voters))
            });
            let wanted = (count, count.min(CONTROLLERS as usize));
            if ready.is_ok_and(|(brokers, voters)| brokers == wanted.0 && voters >= wanted.1) {
                return Ok(());
            }
            for node in &mut self.nodes {
                if let Some(status) = node.process.as_mut().and_then(|one| one.try_wait().ok()?) {
                    let log = last_lines(&log_file(&self.dir, node.id));
                    bail!("node {} has ended with {status}:\n{log}", node.id);
                }
            }
            match happened.recv_timeout(LOOK_EVERY) {
                Ok(Event::Stop) => bail!("stopped before all nodes served"),
                Ok(Event::Drill(_, reply)) => {
                    _ = reply.send(Err(anyhow::anyhow!("the cluster is starting")));
                }
                Err(_) => {}
            }
            if Instant::now() >= give_up {
                bail!(
                    "not all nodes serve after {} s; see {}",
                    READY_MAX.as_secs(),
                    self.dir.display()
                );
            }
        }
    }

    fn bootstrap(&self) -> String {
        let addresses = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.ports.client));
        addresses.collect::<Vec<_>>().join(",")
    }

    fn greeting(&self, data: &DataDir, took: u128) -> String {
        let drill = if data.is_default {
            "thalweg dev".to_owned()
        } else {
            format!("thalweg dev --dir {}", data.path.display())
        };
        let kept = if data.is_temporary { "until they stop, in memory at" } else { "in" };
        format!(
            "thalweg {}: {} nodes are ready after {took} ms\n\
             Data and logs are kept {kept} {}\n\
             \n    export THALWEG_BOOTSTRAP={}\
             \n    thalweg topic create greetings --partitions 6\
             \n    thalweg cluster quorum\n\
             \nDrills, from another terminal:\n\
             \n    {drill} status\
             \n    {drill} kill|start|pause|resume|partition|heal NODE\n",
            env!("CARGO_PKG_VERSION"),
            self.nodes.len(),
            data.path.display(),
            self.bootstrap(),
        )
    }

    fn drill(&mut self, drill: Drill) -> anyhow::Result<String> {
        let (id, done) = match drill {
            Drill::Status => return Ok(self.status()),
            Drill::Kill { node } => (node, "is killed"),
            Drill::Start { node } => (node, "is starting"),
            Drill::Pause { node } => (node, "is paused"),
            Drill::Resume { node } => (node, "goes on"),
            Drill::Partition { node } => (node, "is cut off from the others"),
            Drill::Heal { node } => (node, "reaches the others again"),
        };
        let at = self.nodes.iter().position(|node| node.id == id);
        let at = at.with_context(|| format!("there is no node {id}"))?;
        match drill {
            Drill::Status => {}
            Drill::Kill { .. } => self.nodes[at].kill()?,
            Drill::Start { .. } if self.nodes[at].process.is_some() => bail!("node {id} runs"),
            Drill::Start { .. } => self.start(at)?,
            Drill::Pause { .. } => self.nodes[at].pause(true)?,
            Drill::Resume { .. } => self.nodes[at].pause(false)?,
            Drill::Partition { .. } => self.relay.set_cut(id, true),
            Drill::Heal { .. } => self.relay.set_cut(id, false),
        }
        Ok(format!("node {id} {done}\n"))
    }

    fn status(&self) -> String {
        let line = |node: &Node| {
            let state = match &node.process {
                None => "down",
                Some(_) if node.is_paused => "paused",
                Some(_) if self.relay.is_cut(node.id) => "cut off",
                Some(_) => "running",
            };
            let pid = node.process.as_ref().map_or("-".to_owned(), |one| one.id().to_string());
            format!("{:>4}  {state:<7}  127.0.0.1:{}  {pid:>7}\n", node.id, node.ports.client)
        };
        let lines = self.nodes.iter().map(line).collect::<String>();
        format!("NODE  STATE    ADDRESS              PID\n{lines}")
    }

    /// Says which nodes have ended by themselves.
    fn notice_ends(&mut self) {
        for node in &mut self.nodes {
            let ended = node.process.as_mut().and_then(|process| process.try_wait().ok()?);
            if let Some(status) = ended {
                let log = log_file(&self.dir, node.id);
                println!("node {} has ended with {status}; see {}", node.id, log.display());
                (node.process, node.is_paused) = (None, false);
            }
        }
    }

    /// Stops all nodes in order, those too that drills hold back.
    fn stop(mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            self.relay.set_cut(node.id, false);
            if node.process.is_some() {
                node.pause(false)?;
                node.signal(Signal::TERM)?;
            }
        }
        let give_up = Instant::now() + STOP_MAX;
        for node in &mut self.nodes {
            let Some(process) = &mut node.process else { continue };
            while process.try_wait()?.is_none() {
                if Instant::now() >= give_up {
                    bail!("node {} does not stop", node.id);
                }
                thread::sleep(LOOK_EVERY);
            }
            node.process = None;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    /// What is left runs because something failed.
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Fails where it has ended already.
            _ = node.kill();
        }
    }
}

impl Node {
    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().with_context(|| format!("node {} is down", self.id))?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has no id")?, signal)?;
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        if let Some(mut process) = self.process.take() {
            process.wait()?;
        }
        self.is_paused = false;
        Ok(())
    }

    fn pause(&mut self, is_paused: bool) -> anyhow::Result<()> {
        self.signal(if is_paused { Signal::STOP } else { Signal::CONT })?;
        self.is_paused = is_paused;
        Ok(())
    }
}

/// The settings of one node. What is not here it finds out as on a machine of its own.
fn settings(
    id: i32,
    ports: Ports,
    count: usize,
    dir: &Path,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let data = dir.join(format!("node-{id}"));
    let data = data.to_str().context("the directory's name is not UTF-8")?.to_owned();
    let at = |client: u16, broker: u16, controller: u16| {
        let controller = match id <= CONTROLLERS {
            true => format!(",CONTROLLER://127.0.0.1:{controller}"),
            false => String::new(),
        };
        format!("PLAINTEXT://127.0.0.1:{client},BROKER://127.0.0.1:{broker}{controller}")
    };
    let protocols = "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT";
    Ok(vec![
        ("node.id", id.to_string()),
        ("log.dirs", data),
        ("listeners", at(ports.client, ports.broker, ports.controller)),
        ("advertised.listeners", at(ports.client, ports.broker_relay, ports.controller_relay)),
        ("listener.security.protocol.map", protocols.to_owned()),
        ("inter.broker.listener.name", "BROKER".to_owned()),
        ("default.replication.factor", count.min(3).to_string()),
        ("min.insync.replicas", if count < 3 { "1" } else { "2" }.to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("offsets.topic.num.partitions", "3".to_owned()),
    ])
}

fn log_file(dir: &Path, id: i32) -> PathBuf {
    dir.join(format!("node-{id}.log"))
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use config::{BrokerLayers, NodeConfig, Sources, StaticConfig};

    use super::*;

    #[test]
    fn the_settings_make_valid_nodes() {
        for (id, controllers) in [(1, 1), (4, 0)] {
            let ports = Ports::of(id, 9092).unwrap();
            let overrides = settings(id, ports, 4, Path::new("/data")).unwrap();
            let overrides = overrides.into_iter().map(|(key, value)| (key.to_owned(), value));
            let mut sources = Sources { overrides: overrides.collect(), ..Sources::default() };
            if controllers == 0 {
                let learned = [
                    ("process.roles", "broker"),
                    ("controller.quorum.bootstrap.servers", "127.0.0.1:9095"),
                ];
                let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
                sources.learned = learned.map(owned).into();
            }
            let (fixed, warnings) = StaticConfig::new(&sources).unwrap();
            assert_eq!(warnings, []);
            let node = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
            assert_eq!(node.listeners.advertised_controller.len(), controllers);
            let told = node.listeners.advertised.iter().map(|one| one.port);
            assert_eq!(told.collect::<Vec<_>>(), [ports.client, ports.broker_relay]);
        }
    }

    #[test]
    fn ports_do_not_overlap_and_end_somewhere() {
        let last = Ports::of(2, 9092).unwrap();
        assert_eq!((last.client, last.broker_relay), (9192, 9196));
        assert!(Ports::of(9, 65_000).is_err());
    }
}
