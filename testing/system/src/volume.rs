//! Small disks of their own for a node: ext4 in a file, mounted where only the node sees it.
//!
//! The node runs in a mount namespace of its own, and with its last process all mounts and loop
//! devices go, however the test ends. What a disk does to the node is done inside by [`Volume::act`].
//! Needs root, and says so where it is not.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::process::{Node, NodeSpec};

/// A file system in a file.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    /// Where the node finds it.
    pub path: PathBuf,
}

/// Whether this process may mount file systems in a namespace of its own.
fn can_mount() -> bool {
    let tried =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// A disk that does not answer. Nobody who waits for it can be killed, so it answers in the end.
#[derive(Debug)]
pub struct Hung<'a> {
    volume: &'a Volume,
    node: &'a Node,
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        // Fails where the node has ended, and its mounts with it.
        _ = self.volume.act(self.node, "fsfreeze -u .");
    }
}

impl Volume {
    /// A new file system of so many MiB, to be mounted at `folder/name`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(folder: &Path, name: &str, mebibytes: u64) -> anyhow::Result<Self> {
        ensure!(can_mount(), "this test mounts file systems, and must be root for it");
        let (image, path) = (folder.join(format!("{name}.img")), folder.join(name));
        File::create_new(&image)?.set_len(mebibytes << 20)?;
        std::fs::create_dir(&path)?;
        // Nothing is kept for root, who runs the tests.
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        Ok(Self { image, path })
    }

    /// The same with room for so many files and folders.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn with_inodes(folder: &Path, inodes: u32) -> anyhow::Result<Self> {
        let volume = Self::new(folder, "small", 64)?;
        let count = inodes.to_string();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-N", &count])
            .arg(&volume.image))?;
        Ok(volume)
    }

    /// Has a node mount the volume before it starts.
    #[must_use]
    pub fn mounted_by(&self, mut spec: NodeSpec) -> NodeSpec {
        let (image, path) = (self.image.display(), self.path.display());
        spec.prelude += &format!("mount -o loop,errors=remount-ro {image} {path} || exit 99\n");
        spec
    }

    /// Runs a shell command as the node sees the world, in the folder where the volume is mounted.
    ///
    /// # Errors
    /// If the command fails.
    pub fn act(&self, node: &Node, command: &str) -> anyhow::Result<()> {
        let pid = node.pid().to_string();
        let command = format!("cd {} && {command}", self.path.display());
        run(Command::new("nsenter").args(["-m", "-t", &pid, "sh", "-c", &command]))
    }

    /// Has every write wait, as a disk does that is there and does not answer, until what this gives
    /// is dropped.
    ///
    /// # Errors
    /// If the file system cannot be frozen.
    pub fn hang<'a>(&'a self, node: &'a Node) -> anyhow::Result<Hung<'a>> {
        self.act(node, "fsfreeze -f .")?;
        Ok(Hung { volume: self, node })
    }

    /// Takes all the room.
    ///
    /// # Errors
    /// If the file that takes it cannot be written.
    pub fn fill(&self, node: &Node) -> anyhow::Result<()> {
        // Large pieces first, then the rest.
        let write =
            |bytes| format!("dd if=/dev/zero of=ballast bs={bytes} oflag=append conv=notrunc");
        let (large, small) = (write("64k"), write("1k"));
        self.act(node, &format!("({large}; {small}; sync -f .) 2>/dev/null; test -s ballast"))
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// If it was not taken.
    pub fn empty(&self, node: &Node) -> anyhow::Result<()> {
        self.act(node, "rm ballast")
    }

    /// Has the file system find itself damaged: it turns read-only.
    ///
    /// # Errors
    /// If it is no ext4.
    pub fn turn_read_only(&self, node: &Node) -> anyhow::Result<()> {
        let device = "$(basename $(findmnt -n -o SOURCE -T .))";
        self.act(node, &format!("echo test > /sys/fs/ext4/{device}/trigger_fs_error"))
    }

    /// Has every call fail with EIO from now on, as when the disk is pulled.
    ///
    /// # Errors
    /// If it is no ext4.
    pub fn pull(&self, node: &Node) -> anyhow::Result<()> {
        // EXT4_IOC_SHUTDOWN, without flushing anything.
        self.act(
            node,
            r#"perl -e 'open(D, "<", ".") or die; $how = pack("L", 2); ioctl(D, 0x8004587d, $how) or die'"#,
        )
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
