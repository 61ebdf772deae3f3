//! Load by clients that are not ours, beside a drill's own: what they were told is in the log.
//!
//! Both write the numbers from 0 on to one partition, idempotently, and print a line of JSON for
//! each that is acknowledged, as `kafka-verifiable-producer` does. Each number must be there once,
//! in order, and where it was acknowledged.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::process::wait_for;

/// Records a second: enough to have some under way at any time.
const RATE: u32 = 200;
/// What a client with its defaults gives up after, and more.
const END_MAX: Duration = Duration::from_secs(150);

/// The producer's own defaults, which the tool takes away.
const JAVA_SETTINGS: &str = "enable.idempotence=true\nretries=2147483647\n";
/// The producer of librdkafka, as `kafka-verifiable-producer` does it.
const LIBRDKAFKA: &str = r#"
import json, signal, sys, time
from confluent_kafka import Producer
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
producer = Producer({'bootstrap.servers': sys.argv[1], 'enable.idempotence': True, 'linger.ms': 5})
def told(error, message):
    line = {'name': 'producer_send_error' if error else 'producer_send_success', 'value': message.value().decode()}
    line.update({'message': str(error)} if error else {'offset': message.offset()})
    print(json.dumps(line), flush=True)
number = 0
while not over:
    producer.produce(sys.argv[2], str(number).encode(), partition=0, on_delivery=told)
    number += 1
    producer.poll(1 / float(sys.argv[3]))
    time.sleep(1 / float(sys.argv[3]))
producer.flush()
"#;

/// Whose client.
#[derive(Clone, Debug)]
pub enum Foreign {
    /// Apache Kafka's, from the folder with its jars.
    Java(PathBuf),
    /// librdkafka, by a Python that has `confluent_kafka`.
    Librdkafka(PathBuf),
}

impl FromStr for Foreign {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once('=') {
            Some(("java", path)) => Ok(Self::Java(path.into())),
            Some(("librdkafka", path)) => Ok(Self::Librdkafka(path.into())),
            _ => anyhow::bail!("java=FOLDER or librdkafka=PYTHON, not {text}"),
        }
    }
}

/// A foreign producer that runs. Dropping it kills it.
#[derive(Debug)]
pub struct ForeignFlow {
    child: Child,
    acknowledged: Arc<AtomicUsize>,
    reader: Option<JoinHandle<Said>>,
}

/// What a foreign producer was told.
#[derive(Debug, Default)]
pub struct Said {
    /// Numbers and offsets.
    pub acknowledged: Vec<(i64, i64)>,
    /// Lines that tell of something else that went wrong.
    pub errors: Vec<String>,
}

/// How a log is not what a foreign producer was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// At the offset of an acknowledged number is another, or nothing.
    NotThere { number: i64, offset: i64, found: Option<String> },
    /// The number that lies here is not one more than the one before.
    OutOfOrder { offset: i64, before: Option<i64>, found: String },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

impl ForeignFlow {
    /// Starts producing to partition 0 of a topic. What the client wants as a file goes to `folder`.
    ///
    /// # Errors
    /// If the client cannot be started.
    pub fn start(
        foreign: &Foreign,
        addresses: &[SocketAddr],
        topic: &str,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let at: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let (at, rate) = (at.join(","), RATE.to_string());
        let mut command = match foreign {
            Foreign::Java(jars) => {
                let mut command = Command::new("java");
                command.args(["-Xmx128m", "-XX:+UseSerialGC", "-cp"]).arg(jars.join("*"));
                command.args(["org.apache.kafka.tools.VerifiableProducer", "--topic", topic]);
                command.args(["--bootstrap-server", &at, "--throughput", &rate, "--acks", "-1"]);
                let settings = folder.join("verifiable-producer.properties");
                fs::write(&settings, JAVA_SETTINGS)?;
                command.arg("--command-config").arg(settings);
                command
            }
            Foreign::Librdkafka(python) => {
                let mut command = Command::new(python);
                command.args(["-c", LIBRDKAFKA, &at, topic, &rate]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let lines =
            BufReader::new(child.stdout.take().expect("it was started with a pipe")).lines();
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&acknowledged);
        let reader = thread::spawn(move || {
            let mut said = Said::default();
            for line in lines.map_while(Result::ok) {
                said.take(&line);
                count.store(said.acknowledged.len(), Ordering::SeqCst);
            }
            said
        });
        Ok(Self { child, acknowledged, reader: Some(reader) })
    }

    /// Waits until so many more records were acknowledged.
    ///
    /// # Errors
    /// If they are not in time.
    pub fn wait_for_more(&self, records: usize) -> anyhow::Result<()> {
        let enough = self.acknowledged.load(Ordering::SeqCst) + records;
        wait_for("the foreign producer gets on", END_MAX, || {
            Ok(self.acknowledged.load(Ordering::SeqCst) >= enough)
        })
    }

    /// Ends the producer, once all it has sent has its answer.
    ///
    /// # Errors
    /// If it does not end.
    pub fn finish(mut self) -> anyhow::Result<Said> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "it has ended");
        wait_for("the foreign producer ends", END_MAX, || Ok(self.child.try_wait()?.is_some()))?;
        let reader = self.reader.take().expect("it is joined only here");
        Ok(reader.join().expect("reading lines does not panic"))
    }
}

impl Drop for ForeignFlow {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Said {
    fn take(&mut self, line: &str) {
        if line.contains("producer_send_success") {
            let number = field(line, "value").and_then(|text| text.parse().ok());
            let offset = field(line, "offset").and_then(|text| text.parse().ok());
            match number.zip(offset) {
                Some(both) => self.acknowledged.push(both),
                None => self.errors.push(line.to_owned()),
            }
        } else if line.contains("error") {
            self.errors.push(line.to_owned());
        }
    }
}

/// A number in a line of JSON, quoted or not.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    rest.trim_start_matches([' ', '"']).split(['"', ',', '}']).next()
}

/// Judges a log, given as offsets and values.
pub fn judge(log: &[(i64, String)], acknowledged: &[(i64, i64)]) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    let mut before: Option<i64> = None;
    for (offset, found) in log {
        let number = found.parse().ok();
        if number != Some(before.map_or(0, |number| number + 1)) {
            mismatches.push(Mismatch::OutOfOrder { offset: *offset, before, found: found.clone() });
        }
        before = number.or(before);
    }
    for &(number, offset) in acknowledged {
        let at = log.binary_search_by_key(&offset, |(offset, _)| *offset).ok();
        let found = at.map(|at| log[at].1.clone());
        if found.as_deref() != Some(&number.to_string()) {
            mismatches.push(Mismatch::NotThere { number, offset, found });
        }
    }
    mismatches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_faults_of_a_foreign_log_are_found() {
        type Case = (&'static str, &'static [&'static str], &'static [(i64, i64)], Vec<Mismatch>);
        let text = |value: &str| value.to_owned();
        let cases: [Case; 4] = [
            ("all well, and more than was told", &["0", "1", "2"], &[(0, 0), (1, 1)], vec![]),
            (
                "twice",
                &["0", "1", "1"],
                &[(1, 1)],
                vec![Mismatch::OutOfOrder { offset: 2, before: Some(1), found: text("1") }],
            ),
            (
                "lost",
                &["0"],
                &[(0, 0), (1, 1)],
                vec![Mismatch::NotThere { number: 1, offset: 1, found: None }],
            ),
            (
                "skipped, and another in its place",
                &["0", "2"],
                &[(1, 1)],
                vec![
                    Mismatch::OutOfOrder { offset: 1, before: Some(0), found: text("2") },
                    Mismatch::NotThere { number: 1, offset: 1, found: Some(text("2")) },
                ],
            ),
        ];
        for (name, values, acknowledged, expected) in cases {
            let log: Vec<_> = (0..).zip(values.iter().map(|value| text(value))).collect();
            assert_eq!(judge(&log, acknowledged), expected, "{name}");
        }
    }

    #[test]
    fn both_kinds_of_lines_are_understood() {
        let mut said = Said::default();
        said.take(r#"{"timestamp":17,"name":"producer_send_success","key":null,"value":"4","partition":0,"offset":9,"topic":"t"}"#);
        said.take(r#"{"name": "producer_send_success", "value": "5", "offset": 10}"#);
        said.take(r#"{"name":"startup_complete","timestamp":17}"#);
        said.take(r#"{"name": "producer_send_error", "value": "6", "message": "no"}"#);
        assert_eq!(said.acknowledged, [(4, 9), (5, 10)]);
        assert_eq!(said.errors.len(), 1);
    }
}
