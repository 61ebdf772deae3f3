//! The network of the clusters really does what its drills say, and is gone afterwards.

use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use thalweg_system::cluster::network::{Network, Place};
use thalweg_system::process::wait_for;
use thalweg_system::sandbox::{in_own_network, mark};

const PORT: u16 = 7;
/// On such a network a packet takes far less.
const ARRIVES_WITHIN: Duration = Duration::from_millis(300);
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Sends back what it is sent, to where it says; says where it was from.
const ECHO: &str = "
import socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(('0.0.0.0', 7))
print('ready', flush=True)
while True:
    text, sender = own.recvfrom(100)
    word, _, rest = text.decode().partition(' ')
    if word == 'pass': # on to a node, which sends it back to the clients
        own.sendto(b'home ' + sender[0].encode() + b' %d' % sender[1], (rest, 7))
    elif word == 'home':
        address, port = rest.split(' ')
        own.sendto(b'arrived', (address, int(port)))
    else:
        own.sendto(b'arrived', sender)
";

struct Echo(Child);

impl Drop for Echo {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn echo(id: u8) -> anyhow::Result<Echo> {
    let mut command = Place::Node(id).command("python3");
    Ok(Echo(command.args(["-c", ECHO]).stdout(Stdio::null()).spawn()?))
}

/// Whether a word that is sent to node `first` comes back.
fn arrives(first: u8, words: &str) -> anyhow::Result<bool> {
    let socket = UdpSocket::bind((Place::Clients.address(), 0))?;
    socket.set_read_timeout(Some(ARRIVES_WITHIN))?;
    socket.send_to(words.as_bytes(), (Place::Node(first).address(), PORT))?;
    Ok(socket.recv(&mut [0; 100]).is_ok())
}

/// What is sent from one node to another, which then tells the clients.
fn passes(from: u8, to: u8) -> anyhow::Result<bool> {
    arrives(from, &format!("pass {}", Place::Node(to).address()))
}

#[test]
fn a_cut_lets_through_one_way_and_no_more() -> anyhow::Result<()> {
    in_own_network("network::a_cut_lets_through_one_way_and_no_more", || {
        let network = Network::new(3, false)?;
        let _echoes = [echo(1)?, echo(2)?, echo(3)?];
        for id in 1..=3 {
            wait_for("the echo", STARTS_WITHIN, || arrives(id, "here"))?;
        }
        ensure!(passes(1, 2)? && passes(2, 1)?, "all reach all at first");

        network.cut(Place::Node(1), Place::Node(2))?;
        ensure!(!passes(1, 2)?, "1 does not reach 2");
        ensure!(passes(2, 1)?, "2 reaches 1");
        ensure!(passes(1, 3)? && passes(3, 2)?, "others reach both");

        network.heal()?;
        ensure!(passes(1, 2)?, "1 reaches 2 again");

        network.part(&[Place::Node(1)], &[Place::Node(2), Place::Node(3)])?;
        ensure!(!passes(1, 2)? && !passes(3, 1)?, "nobody reaches the other side");
        ensure!(passes(2, 3)? && arrives(1, "here")?, "each side is whole");

        network.heal()?;
        network.isolate(Place::Node(3))?;
        ensure!(!arrives(3, "here")? && !passes(1, 3)?, "nobody reaches the isolated one");
        network.heal()?;
        ensure!(arrives(3, "here")?, "it is back");
        Ok(())
    })
}

#[test]
fn nothing_is_left_of_a_network_whose_test_panics() -> anyhow::Result<()> {
    let mark = mark();
    let test = "network::nothing_is_left_of_a_network_whose_test_panics";
    let outcome = std::panic::catch_unwind(|| {
        in_own_network(test, || {
            let _network = Network::new(2, false)?;
            let mut sleeper = Place::Node(1).command("sleep");
            // Neither waited for nor killed: as a test leaves its nodes that is killed itself.
            // Nor does it hold the pipe, whose end the test waits for.
            sleeper.arg(format!("1{mark}")).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            panic!("in the middle of a test");
        })
    });
    if !matches!(outcome, Ok(Err(_))) {
        // Inside: the panic goes on.
        std::panic::resume_unwind(Box::new("as planned"));
    }
    let links = Command::new("ip").args(["-o", "link"]).output()?;
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    ensure!(!links.contains("bridge") && !links.contains("port1"), "links are left: {links}");
    let sleeper = format!("sleep\x001{mark}\0");
    let is_sleeper = |name: &str| {
        fs::read_to_string(format!("/proc/{name}/cmdline")).is_ok_and(|line| line == sleeper)
    };
    let processes = fs::read_dir("/proc")?.flatten();
    let left = processes.filter(|entry| is_sleeper(&entry.file_name().to_string_lossy())).count();
    ensure!(left == 0, "{left} processes are left");
    Ok(())
}
