//! What a follower is told besides records: how far they are committed (KIP-1166) and which of them
//! are given up.

use types::Offset;

/// The part of a log that consumers may read; `None` for an end that is not known or not said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Readable {
    /// Where the log begins.
    pub log_start: Option<Offset>,
    /// The end of what is committed.
    pub high_watermark: Option<Offset>,
}

impl Readable {
    /// Whether a follower that knows of `known`, and whose log ends at `log_end`, would learn
    /// something from this: it is then told without waiting for records.
    pub fn is_news_to(&self, known: &Self, log_end: Offset) -> bool {
        let is_later = |known: Option<Offset>, here: Option<Offset>| {
            known.zip(here).is_some_and(|(known, here)| known < here)
        };
        let could_know = self.high_watermark.map(|end| end.min(log_end));
        is_later(known.high_watermark, could_know) || is_later(known.log_start, self.log_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_learns_of_later_ends_as_far_as_its_log_goes() {
        let readable = |start, end| Readable {
            log_start: Offset::from_wire(start),
            high_watermark: Offset::from_wire(end),
        };
        let here = readable(3, 9);
        let cases = [
            ("knows all", readable(3, 9), false),
            ("does not say", readable(-1, -1), false),
            ("has records that are given up", readable(2, 9), true),
            ("takes committed records for uncommitted ones", readable(3, 7), true),
            ("cannot know more, as its log ends there", readable(3, 8), false),
            ("knows of more", readable(4, 10), false),
        ];
        for (name, known, is_news) in cases {
            assert_eq!(here.is_news_to(&known, Offset::new(8)), is_news, "{name}");
        }
    }
}
