//! One real node as a child process: start, wait until it serves, kill, measure, stop.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// What a node prints once it serves.
const READY: &str = " ready after ";
/// A node that does not serve after this long has failed to start.
const START_MAX: Duration = Duration::from_secs(30);
/// A node that does not end after this long ignores what it was told.
const END_MAX: Duration = Duration::from_secs(30);
/// How often a state that another process controls is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How to start a node: the binary, its folder, its port and its properties.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The `thalweg` binary.
    pub binary: PathBuf,
    /// Folder for data and the properties file.
    pub folder: PathBuf,
    /// Port of the PLAINTEXT listener on 127.0.0.1.
    pub port: u16,
    /// What `server.properties` says.
    pub properties: BTreeMap<String, String>,
    /// The broker whose cluster it is told to join.
    pub join: Option<SocketAddr>,
    /// Shell commands that run before the node, in a mount namespace that is the node's own. It
    /// has none without any.
    pub prelude: String,
}

/// A running node. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    child: Child,
    address: SocketAddr,
    output: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// The binary under test: `THALWEG_BIN`, or the one that this workspace builds now.
///
/// # Errors
/// If it cannot be built.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("THALWEG_BIN") {
        return Ok(path.into());
    }
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

/// Cargo runs tests without building the binaries of other packages.
fn build() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("cannot find the test's own path")?;
    let target = test.ancestors().nth(3).context("the test runs outside a target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "thalweg", "--target-dir"]).arg(target);
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
    if !status.success() {
        bail!("`cargo build --package thalweg` fails: {status}");
    }
    Ok(target.join("debug").join("thalweg"))
}

/// A port that was free a moment ago.
///
/// Other tests ask at the same time and the port is bound later, by another process. So it is not
/// taken from the range that the system gives to whoever connects.
///
/// # Errors
/// If the loopback interface has none.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 12_000;
    const PORTS: u16 = 18_000;
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    // Each test process begins elsewhere.
    let seed = u16::try_from(std::process::id() * 97 % u32::from(PORTS))?;
    let mut step = next.unwrap_or(seed);
    for _ in 0..PORTS {
        step = (step + 1) % PORTS;
        *next = Some(step);
        let port = FIRST + step;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on the loopback interface")
}

impl NodeSpec {
    /// A node on free ports with its data in `folder`.
    ///
    /// # Errors
    /// If the binary is missing or no port is free.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let (port, controller_port) = (free_port()?, free_port()?);
        let listeners =
            format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}");
        let properties = [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("listeners", &listeners),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.bootstrap.servers", &format!("127.0.0.1:{controller_port}")),
            ("log.dirs", &folder.join("data").display().to_string()),
            ("offsets.topic.num.partitions", "5"),
            ("offsets.topic.replication.factor", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
        ];
        Ok(Self {
            binary: binary()?,
            folder: folder.to_owned(),
            port,
            properties: properties.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            join: None,
            prelude: String::new(),
        })
    }

    /// A node on free ports that joins a cluster and has to find out everything else.
    ///
    /// # Errors
    /// As [`NodeSpec::new`].
    pub fn joining(folder: &Path, broker: SocketAddr) -> anyhow::Result<Self> {
        let mut spec = Self::new(folder)?;
        spec.properties.retain(|key, _| ["listeners", "log.dirs"].contains(&key.as_str()));
        spec.join = Some(broker);
        Ok(spec)
    }

    /// The same with one property set.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Where the data lies.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts the node and waits until it accepts connections.
    ///
    /// # Errors
    /// With the node's output if it ends or does not serve in time.
    pub fn start(&self) -> anyhow::Result<Node> {
        let mut node = self.spawn()?;
        node.wait_until_serving()?;
        Ok(node)
    }

    /// Starts the node and waits for nothing.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn spawn(&self) -> anyhow::Result<Node> {
        let file = self.write_properties()?;
        let mut child = self
            .command()
            .arg("server")
            .arg(&file)
            .args(self.join.map(|broker| format!("--join={broker}")))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let output = Arc::new(Mutex::new(String::new()));
        let readers =
            vec![collect(child.stdout.take(), &output), collect(child.stderr.take(), &output)];
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        Ok(Node { child, address, output, readers })
    }

    fn command(&self) -> Command {
        if self.prelude.is_empty() {
            return Command::new(&self.binary);
        }
        // Each of them takes the place of the one before, so that the process is the node.
        let mut command = Command::new("unshare");
        let script = format!("{}exec \"$0\" \"$@\"", self.prelude);
        command.args(["-m", "--propagation", "private", "sh", "-c", &script]).arg(&self.binary);
        command
    }

    fn write_properties(&self) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let lines = self.properties.iter().map(|(key, value)| format!("{key}={value}\n"));
        let file = self.folder.join("server.properties");
        fs::write(&file, lines.collect::<String>())?;
        Ok(file)
    }
}

impl Node {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that the node printed so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_bytes_peak(&self) -> anyhow::Result<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, field: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.split_whitespace().next());
        Ok(kib.with_context(|| format!("no {field} in {path}"))?.parse::<u64>()? * 1024)
    }

    /// How many files and sockets the process has open.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn open_files(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Ends the process as a crash does: SIGKILL, nothing is flushed.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(self) -> anyhow::Result<ExitStatus> {
        self.terminate()?;
        Ok(self.wait_end()?.0)
    }

    /// Sends SIGTERM and does not wait.
    ///
    /// # Errors
    /// If the process has ended already.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal("-TERM")
    }

    /// Stops the process where it is (SIGSTOP), for good: it sees nothing of what comes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(name).arg(self.child.id().to_string()).status()?;
        if !status.success() {
            bail!("cannot signal the node: it has ended\n{}", self.output());
        }
        Ok(())
    }

    /// Waits for the end of the process; returns how it ended and all that it printed.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait_end(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let give_up = Instant::now() + END_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                for reader in self.readers.drain(..) {
                    reader.join().expect("copying lines does not panic");
                }
                return Ok((status, self.output()));
            }
            if Instant::now() > give_up {
                bail!("the node does not end\n{}", self.output());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the node accepts connections and has said so: its output is complete up to there.
    ///
    /// # Errors
    /// With the node's output if it ends or does not serve in time.
    pub fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let give_up = Instant::now() + START_MAX;
        let is_ready =
            |node: &Self| TcpStream::connect(node.address).is_ok() && node.output().contains(READY);
        while !is_ready(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the node ended at its start with {status}\n{}", self.output());
            }
            if Instant::now() > give_up {
                bail!("the node does not serve\n{}", self.output());
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail when the process has already ended, which is what is wanted.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Copies a child's output aside so that a failing test can show it.
fn collect<R: Read + Send + 'static>(
    pipe: Option<R>,
    output: &Arc<Mutex<String>>,
) -> thread::JoinHandle<()> {
    let pipe = pipe.expect("the child was started with pipes");
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut all = output.lock().unwrap_or_else(PoisonError::into_inner);
            all.push_str(&line);
            all.push('\n');
        }
    })
}

/// Waits until something is so.
///
/// # Errors
/// If it is not so within `limit`; `what` says what was waited for.
pub fn wait_for(
    what: &str,
    limit: Duration,
    mut is_so: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let give_up = Instant::now() + limit;
    while !is_so()? {
        if Instant::now() > give_up {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
