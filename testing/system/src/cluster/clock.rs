//! Wall clocks that can be set while a node runs, each node's by itself.
//!
//! Between the node and the kernel stands a small library that adds some seconds to what the kernel
//! says of the time of day; clocks that only count on stay as they are. It is compiled where it is
//! used, by the compiler that links everything here. Time namespaces cannot do this: they have other
//! monotonic clocks, and the same time of day.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Names the file with the seconds to add, as eight bytes.
const FILE: &str = "DRILL_CLOCK";
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile const long *ahead;
__attribute__((constructor)) static void begin(void) {
  const char *file = getenv("DRILL_CLOCK");
  int fd = file ? open(file, O_RDONLY) : -1;
  void *found = fd < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
  if (found != MAP_FAILED) ahead = found;
  if (fd >= 0) close(fd);
}
int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = syscall(SYS_clock_gettime, id, at);
  if (!failed && ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *ahead;
  return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  int failed = syscall(SYS_gettimeofday, at, zone);
  if (!failed && at && ahead) at->tv_sec += *ahead;
  return failed;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"#;

/// The wall clock of one node.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, with its files below `folder`.
    ///
    /// # Errors
    /// If there is no C compiler.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, LIBRARY)?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O", "-o"]).arg(&library).arg(&source);
        let output = command.output().context("cannot run cc, the C compiler")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let clock = Self { library, file: folder.join("clock") };
        clock.step(0)?;
        Ok(clock)
    }

    /// From now on it is so many seconds ahead, or behind.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn step(&self, seconds: i64) -> anyhow::Result<()> {
        use std::os::unix::fs::FileExt;
        // Not replaced: the node looks at this very file.
        let file =
            fs::OpenOptions::new().create(true).write(true).truncate(false).open(&self.file)?;
        file.write_all_at(&seconds.to_ne_bytes(), 0)?;
        Ok(())
    }

    /// What a process is started with that is to go by this clock.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), (FILE, &self.file)]
    }
}
