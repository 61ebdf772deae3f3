//! `thalweg dev --brokers`: a cluster of child processes, drills on it, and the commands of its
//! owner.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use thalweg_system::process::{binary, wait_for};
use thalweg_system::sandbox::in_own_network;

/// For several nodes in as many processes, on a machine with other work.
const LIMIT: Duration = Duration::from_secs(60);
/// Of the first node; each test has a network of its own.
const FIRST_PORT: u16 = 30_100;

struct Dev {
    binary: PathBuf,
    dir: PathBuf,
    process: Child,
}

impl Dev {
    /// Starts so many nodes and waits until they serve.
    fn start(dir: &Path, nodes: u16) -> anyhow::Result<Self> {
        let binary = binary()?;
        let is_up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        ensure!(is_up.success(), "the loopback interface stays down: {is_up}");
        let mut process = Command::new(&binary)
            .args(["dev", "--brokers", &nodes.to_string(), "--port", &FIRST_PORT.to_string()])
            .arg("--dir")
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("the output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let ready = lines.by_ref().map_while(Result::ok).find(|line| line.contains("are ready"));
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let dev = Self { binary, dir: dir.to_owned(), process };
        ready.context("no node is ready")?;
        Ok(dev)
    }

    fn address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", FIRST_PORT + 100 * (node - 1))
    }

    /// What a command prints, and whether it succeeds.
    fn command(&self, line: &str, node: u16) -> anyhow::Result<(bool, String)> {
        let mut command = Command::new(&self.binary);
        command.args(line.split_whitespace()).env("THALWEG_BOOTSTRAP", self.address(node));
        let output = command.stdin(Stdio::null()).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// What a command prints that must succeed.
    fn run(&self, line: &str) -> anyhow::Result<String> {
        let (is_done, text) = self.command(line, 1)?;
        ensure!(is_done, "{line}: {text}");
        Ok(text)
    }

    fn drill(&self, drill: &str) -> anyhow::Result<String> {
        self.run(&format!("dev --dir {} {drill}", self.dir.display()))
    }

    /// Whether a line of `status` has all these words.
    fn shows(&self, words: [&str; 2]) -> anyhow::Result<bool> {
        let status = self.drill("status")?;
        let has = |line: &str| words.iter().all(|word| line.split("  ").any(|x| x.trim() == *word));
        Ok(status.lines().any(has))
    }

    /// The leader of the quorum as a node sees it.
    fn controller(&self, node: u16) -> anyhow::Result<Option<u16>> {
        let (_, text) = self.command("cluster info --output json", node)?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("\"controller\": "));
        Ok(line.and_then(|number| number.trim_end_matches(',').parse().ok()))
    }

    fn pids(&self) -> anyhow::Result<Vec<i32>> {
        let status = self.drill("status")?;
        let last = |line: &str| line.split_whitespace().last()?.parse().ok();
        Ok(status.lines().filter_map(last).collect())
    }

    /// Stops it as Ctrl-C does.
    fn stop(mut self) -> anyhow::Result<()> {
        let pid =
            Pid::from_raw(i32::try_from(self.process.id())?).context("a process has an id")?;
        kill_process(pid, Signal::INT)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Fails where it has ended. The nodes end with it.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[test]
fn nodes_of_one_terminal_are_killed_paused_cut_off_and_end_with_it() -> anyhow::Result<()> {
    in_own_network(
        "dev::nodes_of_one_terminal_are_killed_paused_cut_off_and_end_with_it",
        kill_pause_and_cut_off,
    )
}

fn kill_pause_and_cut_off() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dev = Dev::start(folder.path(), 3)?;
    ensure!(dev.run("cluster health")?.starts_with("healthy  brokers 3"));
    a_broker_that_cannot_be_emptied_stays_as_it_is(&dev)?;

    let leader = dev.controller(1)?.context("nobody leads")?;
    let other = if leader == 1 { 2 } else { 1 };
    dev.drill(&format!("partition {leader}"))?;
    ensure!(dev.shows([&leader.to_string(), "cut off"])?);
    wait_for("another controller", LIMIT, || {
        Ok(dev.controller(other)?.is_some_and(|now| now != leader))
    })?;
    dev.drill(&format!("heal {leader}"))?;
    wait_for("the former one follows", LIMIT, || {
        Ok(dev.controller(leader)?.is_some_and(|now| now != leader))
    })?;

    dev.drill("pause 2")?;
    ensure!(dev.shows(["2", "paused"])?);
    dev.drill("resume 2")?;
    dev.drill("kill 3")?;
    ensure!(dev.shows(["3", "down"])?);
    dev.drill("start 3")?;
    wait_for("all brokers", LIMIT, || {
        Ok(dev.command("cluster health", 3)?.1.contains("brokers 3"))
    })?;
    for node in [2, 3] {
        dev.drill(&format!("kill {node}"))?;
    }
    wait_for("a minority is not healthy", LIMIT, || {
        let (is_healthy, text) = dev.command("cluster health", 1)?;
        Ok(!is_healthy && text.contains("no majority of controllers answers: "))
    })?;
    let (is_healthy, text) = dev.command("cluster health --output json", 1)?;
    ensure!(!is_healthy && text.contains("\"no_majority\": \""), "{text}");
    for node in [2, 3] {
        dev.drill(&format!("start {node}"))?;
    }
    wait_for("the majority is back", LIMIT, || Ok(dev.command("cluster health", 1)?.0))?;
    let refused = dev.command(&format!("dev --dir {} kill 4", folder.path().display()), 1)?;
    ensure!(!refused.0 && refused.1.contains("no node 4"), "{}", refused.1);

    let pids = dev.pids()?;
    ensure!(pids.len() == 3, "{pids:?}");
    dev.stop()?;
    let lives = |pid: &i32| Pid::from_raw(*pid).is_some_and(|pid| test_kill_process(pid).is_ok());
    ensure!(!pids.iter().any(lives));
    Ok(())
}

fn a_broker_that_cannot_be_emptied_stays_as_it_is(dev: &Dev) -> anyhow::Result<()> {
    dev.run("topic create everywhere -p 1 -r 3")?;
    // Only then a broker is cordoned.
    dev.run("config set broker default thalweg.balance.enable=true")?;
    wait_for("the broker to know it", LIMIT, || {
        Ok(dev.run("config describe broker 3")?.contains("thalweg.balance.enable"))
    })?;
    let (is_drained, text) = dev.command("broker drain 3", 1)?;
    ensure!(!is_drained && text.contains("no other broker is left"), "{text}");
    ensure!(!text.contains("gets no new replicas"), "{text}");
    let settings = dev.run("config describe broker 3")?;
    ensure!(!settings.contains("cordoned.log.dirs"), "{settings}");
    dev.run("config delete broker default thalweg.balance.enable")?;
    dev.run("topic delete everywhere")?;
    Ok(())
}

#[test]
fn a_cluster_grows_and_shrinks_by_its_owners_commands() -> anyhow::Result<()> {
    in_own_network("dev::a_cluster_grows_and_shrinks_by_its_owners_commands", grow_and_shrink)
}

fn grow_and_shrink() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dev = Dev::start(folder.path(), 1)?;
    fs::write(folder.path().join("lines"), "a\n")?;
    dev.run("topic create t --partitions 4 --replicas 1")?;
    // As the first transaction of a single node has it made.
    dev.run("topic create __transaction_state -p 1 -r 1 -c min.insync.replicas=1")?;
    dev.run(&format!("produce t --file {}", folder.path().join("lines").display()))?;
    dev.run("consume t -g g --from-beginning --exit-at-end")?;
    dev.stop()?;

    let dev = Dev::start(folder.path(), 4)?;
    let (_, health) = dev.command("cluster health", 1)?;
    ensure!(health.contains("fewer brokers: __consumer_offsets"), "{health}");
    let plan = dev.run("cluster balance --dry-run")?;
    ensure!(plan.contains("__consumer_offsets:0") && plan.contains("to change"), "{plan}");
    let (_, health) = dev.command("cluster health", 1)?;
    ensure!(health.contains("fewer brokers"), "a dry run changes nothing: {health}");
    let done = dev.run("cluster balance --throttle 100000000")?;
    ensure!(done.contains("of all brokers is 100000000 from now on"), "{done}");
    ensure!(done.contains("are where they belong"), "{done}");
    let raised = "min.insync.replicas of __transaction_state is 2 from now on";
    ensure!(done.contains(raised), "{done}");
    let (_, health) = dev.command("cluster health", 1)?;
    ensure!(!health.contains("fewer brokers"), "{health}");
    let described = dev.run("topic describe __consumer_offsets --output json")?;
    ensure!(described.matches("\"partition\"").count() == 3, "{described}");

    dev.run("topic reassign t --to 2,4 --replicas 2")?;
    let described = dev.run("topic describe t")?;
    ensure!(
        described.matches("2,4").count() + described.matches("4,2").count() >= 4,
        "{described}"
    );
    ensure!(dev.run("topic reassign --status")?.contains("nothing moves"));

    let refused = dev.command("broker remove 4", 1)?;
    ensure!(!refused.0 && refused.1.contains("stop it first"), "{}", refused.1);
    let plan = dev.run("broker drain 4 --dry-run")?;
    ensure!(plan.contains("t:0") && plan.contains("to change"), "{plan}");
    let described = dev.run("topic describe t")?;
    ensure!(described.contains(",4") || described.contains("4,"), "{described}");
    dev.run("broker drain 4")?;
    dev.drill("kill 4")?;
    wait_for("its registration goes", LIMIT, || Ok(dev.command("broker remove 4", 1)?.0))?;
    let described = dev.run("topic describe t")?;
    ensure!(!described.contains(",4") && !described.contains("4,"), "{described}");

    let refused = dev.command("cluster voters remove 3", 1)?;
    ensure!(!refused.0 && refused.1.contains("would make itself a voter again"), "{}", refused.1);
    // A voter that is removed while it is down stays removed.
    dev.drill("kill 3")?;
    wait_for("its vote goes", LIMIT, || Ok(dev.command("cluster voters remove 3", 1)?.0))?;
    let quorum = dev.run("cluster quorum --output json")?;
    ensure!(quorum.matches("\"voter\"").count() == 1, "{quorum}");
    dev.stop()
}
