//! How much memory this process may use, and the share of it for what is in flight.
//!
//! In a container the machine's memory says nothing: who takes more than the cgroup allows is killed.
//! Not here: counting what is in flight (`net`).

use std::fs;
use std::path::{Path, PathBuf};

use config::NodeConfig;

/// One part in so many of the memory is for requests in flight, and another one for answers. The
/// rest is for the newest batches, for what the kernel holds for sockets and for the page cache.
const SHARE: u64 = 8;
/// More than this helps nobody: so much in flight is minutes of waiting.
const IN_FLIGHT_BYTES_MAX: u64 = 512 << 20;

/// `queued.max.request.bytes`, or what goes by the memory where nobody has set it.
pub fn in_flight_bytes_max(config: &NodeConfig) -> usize {
    let bytes = config.limits.queued_bytes_max.unwrap_or_else(|| {
        let usable = usable_bytes(Path::new("/"));
        let bytes = share(usable);
        let memory = usable.map_or("unknown".to_owned(), |usable| format!("{} MiB", usable >> 20));
        tracing::info!(
            "requests in flight may take {} MiB, and answers as many: memory that this node may use \
             is {memory} (queued.max.request.bytes)",
            bytes >> 20
        );
        bytes
    });
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn share(usable: Option<u64>) -> u64 {
    usable.map_or(IN_FLIGHT_BYTES_MAX, |usable| (usable / SHARE).clamp(1, IN_FLIGHT_BYTES_MAX))
}

/// The least of the machine's memory and the limits of the cgroups that this process is in.
fn usable_bytes(root: &Path) -> Option<u64> {
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let cgroups = text(root.join("proc/self/cgroup"));
    // A cgroup without a limit says `max`, or a number that no machine has.
    let limits = cgroups.lines().flat_map(limit_files);
    let limits = limits.filter_map(|file| text(root.join(file)).trim().parse::<u64>().ok());
    limits.chain(machine_bytes(&text(root.join("proc/meminfo")))).min()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Where the limits stand that a line of `/proc/self/cgroup` means: those of the cgroup and of all
/// it lies in. A container may see its own cgroup as the topmost whatever the line calls it, and
/// others not at all, so that some of the files are not there.
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return vec![] };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|one| one == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return vec![],
    };
    let below = Path::new(path.trim_start_matches('/'));
    below.ancestors().map(|at| Path::new(mount).join(at).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:  4194304 kB\nMemFree:  7 kB\n");
    const GIB: u64 = 1 << 30;

    type Files<'a> = &'a [(&'a str, &'a str)];

    fn usable(files: Files<'_>) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        usable_bytes(root.path())
    }

    #[test]
    fn memory_is_the_least_of_the_machine_and_all_cgroups() {
        let v2 = |path| ("proc/self/cgroup", path);
        let v1 = ("proc/self/cgroup", "3:cpuset:/\n4:memory:/a/b\n0::/\n");
        let cases: [(&str, Files<'_>, Option<u64>); 9] = [
            ("nothing is known", &[], None),
            ("no cgroups", &[MACHINE], Some(4 * GIB)),
            (
                "version 2 in a container",
                &[MACHINE, v2("0::/\n"), ("sys/fs/cgroup/memory.max", "268435456\n")],
                Some(GIB / 4),
            ),
            (
                "version 2, a service",
                &[
                    MACHINE,
                    v2("0::/s/a.service\n"),
                    ("sys/fs/cgroup/s/a.service/memory.max", "9\n"),
                ],
                Some(9),
            ),
            (
                "version 2, the limit of a parent",
                &[
                    MACHINE,
                    v2("0::/s/a.service\n"),
                    ("sys/fs/cgroup/s/a.service/memory.max", "max\n"),
                    ("sys/fs/cgroup/s/memory.max", "8\n"),
                ],
                Some(8),
            ),
            (
                "version 2, larger than the machine",
                &[MACHINE, v2("0::/\n"), ("sys/fs/cgroup/memory.max", "1099511627776\n")],
                Some(4 * GIB),
            ),
            (
                "version 1",
                &[MACHINE, v1, ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "7\n")],
                Some(7),
            ),
            (
                "version 1 in a container, whose own cgroup is the topmost it sees",
                &[MACHINE, v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "6\n")],
                Some(6),
            ),
            (
                "version 1 without a limit",
                &[
                    MACHINE,
                    v1,
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ],
                Some(4 * GIB),
            ),
        ];
        for (name, files, expected) in cases {
            assert_eq!(usable(files), expected, "{name}");
        }
    }

    #[test]
    fn what_is_in_flight_may_take_a_share_up_to_a_bound() {
        assert_eq!(share(Some(GIB / 4)), 32 << 20);
        assert_eq!(share(Some(1024 * GIB)), IN_FLIGHT_BYTES_MAX);
        assert_eq!(share(None), IN_FLIGHT_BYTES_MAX);
    }
}
