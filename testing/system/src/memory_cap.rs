//! A bound on the memory of a node, kept by the kernel: a cgroup with nothing else in it.
//!
//! Whoever takes more is killed. Needs root and the memory controller, of either version of cgroups,
//! and says so where they are not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::process::NodeSpec;

/// The kernel takes a moment to see that nobody is left in a cgroup.
const REMOVAL_TRIES: u32 = 100;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// The cgroup; it goes when this is dropped, which is to be after the node.
#[derive(Debug)]
pub struct MemoryCap {
    cgroup: PathBuf,
}

impl MemoryCap {
    /// A bound of so many bytes under a name that is free.
    ///
    /// # Errors
    /// If this process may not set one.
    pub fn new(name: &str, bytes: u64) -> anyhow::Result<Self> {
        let name = format!("thalweg-{}-{name}", std::process::id());
        let versions =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        let cap = versions.into_iter().find_map(|(mount, file)| {
            let cgroup = Path::new(mount).join(&name);
            fs::create_dir(&cgroup).ok()?;
            let this = Self { cgroup };
            let limit = this.cgroup.join(file);
            // The kernel has put it there, where it is a cgroup with that controller.
            (limit.exists() && fs::write(limit, bytes.to_string()).is_ok()).then_some(this)
        });
        cap.context(
            "this test bounds memory by a cgroup: it must be root, with a memory controller",
        )
    }

    /// Has a node live within the bound.
    #[must_use]
    pub fn around(&self, mut spec: NodeSpec) -> NodeSpec {
        let members = self.cgroup.join("cgroup.procs");
        spec.prelude += &format!("echo $$ > {} || exit 98\n", members.display());
        spec
    }
}

impl Drop for MemoryCap {
    fn drop(&mut self) {
        for _ in 0..REMOVAL_TRIES {
            if fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            thread::sleep(REMOVAL_PAUSE);
        }
    }
}
