//! One real node as a child process: start, wait until it serves, kill, measure, stop.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A node that does not serve after this long has failed to start.
const START_MAX: Duration = Duration::from_secs(30);
/// A node that does not end after this long ignores SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often a state that another process controls is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How to start a node: the binary, its data, its port and extra properties.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The `thalweg` binary.
    pub binary: PathBuf,
    /// Folder for data and the properties file.
    pub folder: PathBuf,
    /// Port of the PLAINTEXT listener on 127.0.0.1.
    pub port: u16,
    /// Port of the controller listener, which a combined node must name.
    pub controller_port: u16,
    /// Lines for `server.properties` beyond the listeners and the log folder.
    pub properties: Vec<(String, String)>,
}

/// A running node. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    child: Child,
    address: SocketAddr,
    output: Arc<Mutex<String>>,
}

/// The binary under test: `THALWEG_BIN`, or the one that this workspace built.
///
/// # Errors
/// If there is none.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("THALWEG_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe().context("cannot find the test's own path")?;
    let profile = test.ancestors().nth(2).context("the test runs outside a target folder")?;
    let binary = profile.join("thalweg");
    if !binary.exists() {
        bail!("{} is missing: run `cargo build -p thalweg` first", binary.display());
    }
    Ok(binary)
}

/// A port that was free a moment ago.
///
/// # Errors
/// If the loopback interface has none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl NodeSpec {
    /// A node on free ports with its data in `folder`.
    ///
    /// # Errors
    /// If the binary is missing or no port is free.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let properties = [
            ("offsets.topic.num.partitions", "5"),
            ("offsets.topic.replication.factor", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
        ];
        Ok(Self {
            binary: binary()?,
            folder: folder.to_owned(),
            port: free_port()?,
            controller_port: free_port()?,
            properties: properties.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        })
    }

    /// The same with one more property.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts the node and waits until it accepts connections.
    ///
    /// # Errors
    /// With the node's output if it ends or does not serve in time.
    pub fn start(&self) -> anyhow::Result<Node> {
        let file = self.write_properties()?;
        let mut child = Command::new(&self.binary)
            .arg("server")
            .arg(&file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take(), &output);
        collect(child.stderr.take(), &output);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut node = Node { child, address, output };
        node.wait_until_serving()?;
        Ok(node)
    }

    fn write_properties(&self) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let (port, controller_port) = (self.port, self.controller_port);
        let data = self.folder.join("data");
        let mut text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\n\
             log.dirs={}\n",
            data.display()
        );
        for (key, value) in &self.properties {
            text += &format!("{key}={value}\n");
        }
        let file = self.folder.join("server.properties");
        fs::write(&file, text)?;
        Ok(file)
    }
}

impl Node {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `host:port`, as clients take it.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
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
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()).context("no VmRSS line")?;
        Ok(kib.parse::<u64>()? * 1024)
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
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.terminate()?;
        let give_up = Instant::now() + STOP_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > give_up {
                bail!("the node ignores SIGTERM\n{}", self.output());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn terminate(&self) -> anyhow::Result<()> {
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        if !status.success() {
            bail!("cannot signal the node: it has ended\n{}", self.output());
        }
        Ok(())
    }

    fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let give_up = Instant::now() + START_MAX;
        while TcpStream::connect(self.address).is_err() {
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
fn collect<R: Read + Send + 'static>(pipe: Option<R>, output: &Arc<Mutex<String>>) {
    let pipe = pipe.expect("the child was started with pipes");
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut all = output.lock().unwrap_or_else(PoisonError::into_inner);
            all.push_str(&line);
            all.push('\n');
        }
    });
}
