//! What a start waits for that finds no leader of the metadata quorum: said after a while, and
//! again when it is something else.
//!
//! Not here: who is asked what (`raft`), and that a broker is not registered (`membership`).

use std::collections::BTreeMap;

use config::QuorumConfig;
use types::Millis;

/// How long a start is quiet, and how long after each word: an election takes less.
const QUIET: Millis = Millis(5_000);
/// How long a fault counts that does not come again: whoever is asked is asked every few seconds.
const FRESH: Millis = Millis(15_000);

/// Who gave no answer, and what was said of it.
pub struct Waiting {
    /// The setting that names who is asked.
    setting: &'static str,
    speak_at: Millis,
    /// By address: why it did not answer last, and when.
    faults: BTreeMap<String, (String, Millis)>,
    told: String,
}

impl Waiting {
    /// A start at `now`.
    pub fn new(quorum: &QuorumConfig, now: Millis) -> Self {
        let setting = match quorum.voters.is_empty() {
            true => "controller.quorum.bootstrap.servers",
            false => "controller.quorum.voters",
        };
        let (faults, told) = (BTreeMap::new(), String::new());
        Self { setting, speak_at: now + QUIET, faults, told }
    }

    /// An address gave no answer that is of use.
    pub fn note(&mut self, address: String, why: String, now: Millis) {
        self.faults.insert(address, (why, now));
    }

    /// What to say of a start that has no leader yet, if it is time for that and something new.
    pub fn word(&mut self, now: Millis) -> Option<String> {
        if now < self.speak_at {
            return None;
        }
        self.faults.retain(|_, (_, at)| now - *at < FRESH);
        let faults: Vec<_> = self.faults.values().map(|(why, _)| why.as_str()).collect();
        let why = if faults.is_empty() { "nobody leads it".to_owned() } else { faults.join("; ") };
        if why == self.told {
            return None;
        }
        self.speak_at = now + QUIET;
        let word = format!(
            "the start waits for the metadata quorum, whose controllers {} names: {why}",
            self.setting
        );
        self.told = why;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use config::{BrokerLayers, NodeConfig, Sources, StaticConfig};

    use super::*;

    fn waiting(key: &str, value: &str) -> Waiting {
        let overrides = vec![
            (key.to_owned(), value.to_owned()),
            ("process.roles".to_owned(), "broker".to_owned()),
            ("node.id".to_owned(), "9".to_owned()),
            ("controller.listener.names".to_owned(), "CONTROLLER".to_owned()),
        ];
        let (fixed, _) = StaticConfig::new(&Sources { overrides, ..Sources::default() }).unwrap();
        let config = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
        Waiting::new(&config.quorum, Millis(0))
    }

    #[test]
    fn a_start_that_waits_names_the_setting_and_who_does_not_answer() {
        let cases =
            [("controller.quorum.bootstrap.servers", "a:1"), ("controller.quorum.voters", "1@a:1")];
        for (key, value) in cases {
            let mut waiting = waiting(key, value);
            waiting.note("a:1".to_owned(), "cannot connect to a:1".to_owned(), QUIET);
            let word = waiting.word(QUIET).unwrap();
            assert!(word.contains(key) && word.contains("cannot connect to a:1"), "{word}");
        }
    }

    #[test]
    fn the_same_reason_is_said_once_and_another_one_again() {
        let mut waiting = waiting("controller.quorum.bootstrap.servers", "a:1");
        assert_eq!(waiting.word(Millis(0)), None, "an election takes a while");
        let mut now = QUIET;
        assert!(waiting.word(now).unwrap().ends_with("nobody leads it"));
        for (why, is_said) in [("gone", true), ("gone", false), ("other", true)] {
            now = now + QUIET;
            waiting.note("a:1".to_owned(), why.to_owned(), now);
            assert_eq!(waiting.word(now).is_some(), is_said, "{why}");
        }
        now = now + FRESH;
        assert!(waiting.word(now).unwrap().ends_with("nobody leads it"));
    }
}
