//! Log levels that can be seen and changed while the node runs (the BROKER_LOGGER resource).
//!
//! Logging is the process's, not a node's: whoever sets up the subscriber says with [`install`] how
//! another filter takes effect. Without that, levels are shown and cannot be changed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The logger that all others take their level from.
pub const ROOT: &str = "root";

/// The parts of the program that log under names of their own.
const TARGETS: [&str; 3] = ["thalweg_log", "thalweg_net", "thalweg_node"];

/// How much is logged; Kafka's names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// All levels, the quietest first.
    pub const ALL: [Self; 6] =
        [Self::Fatal, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level with this name.
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }

    /// The name in a filter, which has nothing above error.
    fn directive(self) -> &'static str {
        match self {
            Self::Fatal | Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Puts a filter in force, given as directives: `info,thalweg_net=debug`.
pub type Apply = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

static APPLY: OnceLock<Apply> = OnceLock::new();
static LEVELS: Mutex<Levels> = Mutex::new(Levels { root: Level::Info, own: BTreeMap::new() });

/// What is set.
struct Levels {
    root: Level,
    own: BTreeMap<String, Level>,
}

/// Says how a filter takes effect and what the level is now. The first call in a process counts.
pub fn install(root: Level, apply: Apply) {
    if APPLY.set(apply).is_ok() {
        lock().root = root;
    }
}

/// Every logger and its level.
pub fn levels() -> BTreeMap<String, Level> {
    let levels = lock();
    let level_of = |name: &str| levels.own.get(name).copied().unwrap_or(levels.root);
    let mut all: BTreeMap<_, _> =
        TARGETS.iter().map(|name| ((*name).to_owned(), level_of(name))).collect();
    all.insert(ROOT.to_owned(), levels.root);
    all
}

/// Changes levels; `None` takes the root's again.
///
/// # Errors
/// With the reason, if the process has no way to change them; nothing is changed then.
pub fn set(changes: Vec<(String, Option<Level>)>) -> Result<(), String> {
    let Some(apply) = APPLY.get() else {
        return Err("The log levels of this process cannot be changed while it runs.".to_owned());
    };
    let mut levels = lock();
    let mut after = Levels { root: levels.root, own: levels.own.clone() };
    for (name, level) in changes {
        match level {
            Some(level) if name == ROOT => after.root = level,
            Some(level) => _ = after.own.insert(name, level),
            None => _ = after.own.remove(&name),
        }
    }
    apply(&after.filter())?;
    *levels = after;
    Ok(())
}

impl Levels {
    fn filter(&self) -> String {
        let mut filter = self.root.directive().to_owned();
        for (name, level) in &self.own {
            filter.push_str(&format!(",{name}={}", level.directive()));
        }
        filter
    }
}

fn lock() -> MutexGuard<'static, Levels> {
    LEVELS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_names_what_differs_from_the_root() {
        let own = BTreeMap::from([("thalweg_net".to_owned(), Level::Trace)]);
        let levels = Levels { root: Level::Fatal, own };
        assert_eq!(levels.filter(), "error,thalweg_net=trace");
    }

    #[test]
    fn levels_are_read_by_kafkas_names_alone() {
        assert_eq!(Level::read("WARN"), Some(Level::Warn));
        assert_eq!(Level::read("warn"), None);
    }
}
