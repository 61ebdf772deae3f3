//! How another terminal reaches a running `thalweg dev --brokers`: a socket in its directory, one
//! line each way.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, bail};

use super::cluster::Event;

const SOCKET: &str = "dev.sock";
/// Longest line that is taken.
const LINE_BYTES_MAX: u64 = 256;
/// Who connects says at once what it wants.
const LINE_WAIT: Duration = Duration::from_secs(5);

/// What can be done to a cluster that runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::Subcommand)]
pub(super) enum Drill {
    /// Lists the nodes and what was done to them
    Status,
    /// Ends a node at once, as a crash does (kill -9)
    Kill {
        /// Id of the node
        node: i32,
    },
    /// Starts a node that was killed
    Start {
        /// Id of the node
        node: i32,
    },
    /// Stops a node where it is, as a machine that hangs (SIGSTOP)
    Pause {
        /// Id of the node
        node: i32,
    },
    /// Lets a paused node go on
    Resume {
        /// Id of the node
        node: i32,
    },
    /// Cuts a node off from the other nodes, without a word to either side
    ///
    /// Clients reach it still. Connections stay open and carry nothing; new ones get no answer.
    Partition {
        /// Id of the node
        node: i32,
    },
    /// Ends the partition of a node; nothing that was sent meanwhile is lost
    Heal {
        /// Id of the node
        node: i32,
    },
}

impl Drill {
    fn line(self) -> String {
        match self {
            Self::Status => "status".to_owned(),
            Self::Kill { node } => format!("kill {node}"),
            Self::Start { node } => format!("start {node}"),
            Self::Pause { node } => format!("pause {node}"),
            Self::Resume { node } => format!("resume {node}"),
            Self::Partition { node } => format!("partition {node}"),
            Self::Heal { node } => format!("heal {node}"),
        }
    }

    fn read(line: &str) -> Option<Self> {
        if line == "status" {
            return Some(Self::Status);
        }
        let (name, node) = line.split_once(' ')?;
        let node = node.parse().ok()?;
        let drills = [
            Self::Kill { node },
            Self::Start { node },
            Self::Pause { node },
            Self::Resume { node },
            Self::Partition { node },
            Self::Heal { node },
        ];
        drills.into_iter().find(|one| one.line().split(' ').next() == Some(name))
    }
}

/// Has the cluster of a directory do something, and prints what came of it.
pub(super) fn ask(dir: &Path, drill: Drill) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(dir.join(SOCKET)).with_context(|| {
        format!(
            "no cluster runs in {}: thalweg dev --brokers 3 starts one, and --dir names its \
             directory",
            dir.display()
        )
    })?;
    writeln!(stream, "{}", drill.line())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.strip_prefix("done\n") {
        Some(text) => print!("{text}"),
        None => bail!("{}", answer.trim_end()),
    }
    Ok(())
}

/// Listens for drills; they go to `events`.
pub(super) fn serve(dir: &Path, events: Sender<Event>) -> anyhow::Result<()> {
    let path = dir.join(SOCKET);
    if UnixStream::connect(&path).is_ok() {
        bail!("a cluster runs in {} already", dir.display());
    }
    // One that a former run has left, if it was killed.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen on {}", path.display()))?;
    let accept = move || {
        for stream in listener.incoming() {
            let answered = stream.and_then(|stream| answer(stream, &events));
            if let Err(error) = answered {
                tracing::warn!("a drill has gone before its answer: {error}");
            }
        }
    };
    thread::Builder::new().name("control".to_owned()).spawn(accept)?;
    Ok(())
}

fn answer(stream: UnixStream, events: &Sender<Event>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LINE_WAIT))?;
    let mut line = String::new();
    BufReader::new((&stream).take(LINE_BYTES_MAX)).read_line(&mut line)?;
    let Some(drill) = Drill::read(line.trim_end()) else {
        return writeln!(&stream, "{line:?} is no drill");
    };
    let (reply, answer) = channel();
    // Fails where the cluster ends just now.
    let sent = events.send(Event::Drill(drill, reply)).map_err(|_| ErrorKind::BrokenPipe);
    match sent.and_then(|()| answer.recv().map_err(|_| ErrorKind::BrokenPipe))? {
        Ok(text) => write!(&stream, "done\n{text}"),
        Err(error) => writeln!(&stream, "{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_are_read_as_they_are_written() {
        let drills = [
            Drill::Status,
            Drill::Kill { node: 1 },
            Drill::Start { node: 2 },
            Drill::Pause { node: 3 },
            Drill::Resume { node: 4 },
            Drill::Partition { node: 5 },
            Drill::Heal { node: 6 },
        ];
        for drill in drills {
            assert_eq!(Drill::read(&drill.line()), Some(drill));
        }
        for line in ["", "kill", "kill x", "dance 1", "kill 1 2"] {
            assert_eq!(Drill::read(line), None, "{line}");
        }
    }
}
