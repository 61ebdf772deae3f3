//! A cable that can be made bad: it loses frames, delays them and takes so many a second.
//!
//! The kernel has this as `netem`, which many are built without. So the link of a node is a pair of
//! tap devices, and Python carries the frames from one to the other; the fastest it can is far above
//! what a drill sends. Not here: cuts (`network`), which need no such cable.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, ensure};

/// Carries frames between two tap devices. A line of three numbers on its input says how from then
/// on: the part that is lost, the seconds each takes, the bits a second or 0 for all.
const CARRY: &str = "
import fcntl, heapq, os, random, select, struct, sys, time
def tap(name):
    fd = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack('16sH22x', name.encode(), 0x1002)) # TUNSETIFF: TAP, NO_PI
    return fd
random.seed(sys.argv[1])
ends = [tap(sys.argv[1]), tap(sys.argv[2])]
print('ready', flush=True)
loss, delay, rate = 0.0, 0.0, 0.0
free, under_way, count = [0.0, 0.0], [], 0
while True:
    now = time.monotonic()
    wait = max(0, under_way[0][0] - now) if under_way else None
    ready = select.select(ends + [0], [], [], wait)[0]
    now = time.monotonic()
    if 0 in ready:
        line = os.read(0, 200).decode().split()
        if not line:
            break
        loss, delay, rate = map(float, line[-3:])
    for way in (0, 1):
        if ends[way] not in ready:
            continue
        frame = os.read(ends[way], 70000)
        begin = max(now, free[way])
        if random.random() < loss or begin - now > 1: # as a router with a second of room does
            continue
        free[way] = begin + (len(frame) * 8 / rate if rate else 0)
        count += 1
        heapq.heappush(under_way, (free[way] + delay, count, ends[1 - way], frame))
    while under_way and under_way[0][0] <= now:
        _, _, end, frame = heapq.heappop(under_way)
        try:
            os.write(end, frame)
        except OSError:
            pass # the device is down
";

/// What a cable does to frames, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    pub loss_percent: u32,
    pub delay_ms: u32,
    /// As fast as can be where it is 0.
    pub kilobits: u32,
}

/// Between `port` and `far` devices of one node. Ends with the sandbox, or when it is dropped.
#[derive(Debug)]
pub(super) struct Cable {
    carrier: Child,
    orders: ChildStdin,
}

impl Cable {
    /// A good cable between the devices `portID` and `farID`, which it makes.
    pub fn new(id: u8) -> anyhow::Result<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", CARRY, &format!("port{id}"), &format!("far{id}")]);
        let mut carrier = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run python3")?;
        let orders = carrier.stdin.take().expect("it was started with pipes");
        let said = carrier.stdout.take().expect("it was started with pipes");
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line == "ready\n", "no tap devices can be made: is there /dev/net/tun?");
        Ok(Self { carrier, orders })
    }

    pub fn set(&mut self, quality: Quality) -> anyhow::Result<()> {
        let Quality { loss_percent, delay_ms, kilobits } = quality;
        let loss = f64::from(loss_percent) / 100.0;
        let delay = f64::from(delay_ms) / 1000.0;
        // In one piece, or the other end could see the first number alone.
        let order = format!("{loss} {delay} {}\n", u64::from(kilobits) * 1000);
        self.orders.write_all(order.as_bytes())?;
        Ok(())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        _ = self.carrier.kill();
        _ = self.carrier.wait();
    }
}
