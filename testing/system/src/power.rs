//! A power cut without a switch: file systems on loop devices that lose what was not synced.
//!
//! Two file systems lie one in the other. The node's data is on the inner one, whose image is a
//! file on the outer one, as a disk with a cache of its own that nobody guards. [`Cut::Kernel`] is
//! the end of the kernel: the inner file system is shut down with its journal as it is, so that all
//! that was only in memory is gone. [`Cut::Device`] shuts down the outer one: gone is also what was
//! handed to the disk and not followed by a flush.
//!
//! The ioctl is done by Python, as it takes unsafe code here. What this cannot show: sectors torn in
//! the middle, and a disk that lies about its flushes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use types::Rng;

/// Sparse, so this much is not used.
const DISK_BYTES: u64 = 3 << 30;
/// What the outer file system needs beside the disk, at least.
const OUTER_MORE_BYTES: u64 = 64 << 20;
/// What takes the room on a full disk.
const BALLAST: &str = "ballast";
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUT_DOWN: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))
";

/// What is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// What the kernel had in memory.
    Kernel,
    /// That, and what the disk had not flushed.
    Device,
}

/// A disk that can lose power. Lives in mounts of its own, which `sandbox` makes.
#[derive(Debug)]
pub struct Disk {
    outer_image: PathBuf,
    outer: PathBuf,
    inner: PathBuf,
}

impl Disk {
    /// A new disk with its image below `folder`; its power is on.
    ///
    /// # Errors
    /// If it cannot be formatted or mounted.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        Self::of_size(folder, DISK_BYTES)
    }

    /// The same with room for so many bytes, less what the file system itself takes.
    ///
    /// # Errors
    /// As [`Disk::new`].
    pub fn of_size(folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        let disk = Self {
            outer_image: folder.join("outer.img"),
            outer: folder.join("outer"),
            inner: folder.join("disk"),
        };
        std::fs::create_dir_all(&disk.outer)?;
        std::fs::create_dir_all(&disk.inner)?;
        format(&disk.outer_image, bytes + bytes / 8 + OUTER_MORE_BYTES)?;
        mount(&disk.outer_image, &disk.outer)?;
        format(&disk.inner_image(), bytes)?;
        // The empty disk is there after any cut.
        File::open(disk.inner_image())?.sync_all()?;
        File::open(&disk.outer)?.sync_all()?;
        mount(&disk.inner_image(), &disk.inner)?;
        Ok(disk)
    }

    /// Where data goes.
    pub fn path(&self) -> &Path {
        &self.inner
    }

    /// Takes the power away: from now on nothing reaches the disk. Its writers must be stopped
    /// before, as the processor loses its power, too, and killed before [`Disk::power_up`].
    ///
    /// A sync that is under way at that moment may report success to a writer that lives on,
    /// although the journal has dropped what it was to commit: ext4 does so about once in a
    /// hundred times.
    ///
    /// # Errors
    /// If the file system cannot be shut down.
    pub fn cut(&self, what: Cut) -> anyhow::Result<()> {
        let victim = match what {
            Cut::Kernel => &self.inner,
            Cut::Device => &self.outer,
        };
        run(Command::new("python3").args(["-c", SHUT_DOWN]).arg(victim))
    }

    /// Whoever writes waits: so many times for so long, with rests in between. Returns when it is
    /// over. One shell does it all, so that nothing but its end leaves the disk as it is.
    ///
    /// # Errors
    /// If the file system cannot be frozen.
    pub fn hang(&self, times: u32, hang_ms: u32, rest_ms: u32) -> anyhow::Result<()> {
        let seconds = |ms: u32| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (hang, rest) = (seconds(hang_ms), seconds(rest_ms));
        let script = format!(
            "for turn in $(seq {times}); do
                fsfreeze -f \"$0\" && sleep {hang} && fsfreeze -u \"$0\" && sleep {rest} || exit 1
            done"
        );
        run(Command::new("sh").args(["-c", &script]).arg(&self.inner))
    }

    /// Takes all the room.
    ///
    /// # Errors
    /// If the disk fails in another way.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = File::create(self.inner.join(BALLAST))?;
        // Large pieces first, then the rest.
        for piece in [1 << 20, 4 << 10, 1] {
            let zeros = vec![0; piece];
            loop {
                match ballast.write_all(&zeros).and_then(|()| ballast.sync_data()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// If it was not taken.
    pub fn make_room(&self) -> io::Result<()> {
        std::fs::remove_file(self.inner.join(BALLAST))
    }

    /// Mounts what is left, as after a boot; journals are replayed.
    ///
    /// # Errors
    /// If somebody still uses the disk, or it cannot be mounted.
    pub fn power_up(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.inner))?;
        run(Command::new("umount").arg(&self.outer))?;
        mount(&self.outer_image, &self.outer)?;
        mount(&self.inner_image(), &self.inner)
    }

    /// Writes back one file of the data at random, as the kernel does with any file when it likes.
    ///
    /// # Errors
    /// If the disk fails. A file that is gone in the meantime is none.
    pub fn write_back(&self, rng: &mut Rng) -> io::Result<()> {
        let mut at = self.inner.clone();
        while at.is_dir() {
            let entries: Vec<_> = match at.read_dir() {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let Ok(count @ 1..) = u32::try_from(entries.len()) else { return Ok(()) };
            at.clone_from(&entries[rng.below(count) as usize]);
        }
        match File::open(&at) {
            Ok(file) => file.sync_data(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn inner_image(&self) -> PathBuf {
        self.outer.join("disk.img")
    }
}

impl Drop for Disk {
    /// So that the folder can be removed. Whatever is still mounted goes with the namespace.
    fn drop(&mut self) {
        _ = run(Command::new("umount").arg(&self.inner));
        _ = run(Command::new("umount").arg(&self.outer));
    }
}

fn format(image: &Path, bytes: u64) -> anyhow::Result<()> {
    File::create(image)?.set_len(bytes)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(image))
}

fn mount(image: &Path, at: &Path) -> anyhow::Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
