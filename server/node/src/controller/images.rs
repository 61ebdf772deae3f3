//! The states of the cluster that the metadata log makes: the one that is committed, and one for
//! each append behind it.
//!
//! A leader decides on the newest of them, while everybody else sees the committed one. What is cut
//! from the log takes its states along.

use std::collections::VecDeque;

use ::metadata::{Image, Loader, MetadataRecord};
use anyhow::Context;
use types::Offset;

/// States by the end of the log that they stand for.
pub struct Images {
    committed: Loader,
    committed_end: Offset,
    /// Rising.
    pending: VecDeque<(Offset, Loader)>,
}

impl Images {
    /// The state that a snapshot holds, and nothing behind it.
    pub fn new(committed: Loader, committed_end: Offset) -> Self {
        Self { committed, committed_end, pending: VecDeque::new() }
    }

    /// What is committed.
    pub fn committed(&self) -> &Loader {
        &self.committed
    }

    /// The end of what is committed and applied.
    pub fn committed_end(&self) -> Offset {
        self.committed_end
    }

    /// The state at the end of the log.
    pub fn newest(&self) -> &Loader {
        self.pending.back().map_or(&self.committed, |(_, loader)| loader)
    }

    /// What a leader decides on, an open transaction's records included.
    pub fn deciding(&self) -> &Image {
        self.newest().latest()
    }

    /// The end of the log that the newest state stands for.
    pub fn end(&self) -> Offset {
        self.pending.back().map_or(self.committed_end, |(end, _)| *end)
    }

    /// Takes records that were appended, so that the log now ends at `end`.
    ///
    /// # Errors
    /// If one of them does not fit.
    pub fn append(&mut self, records: &[MetadataRecord], end: Offset) -> anyhow::Result<()> {
        let next = self.with(records)?;
        self.push(next, end);
        Ok(())
    }

    /// The newest state with these records behind it.
    ///
    /// # Errors
    /// If one of them does not fit.
    pub fn with(&self, records: &[MetadataRecord]) -> anyhow::Result<Loader> {
        let mut next = self.newest().clone();
        for record in records {
            next.apply(record).with_context(|| format!("{} does not fit", record.name()))?;
        }
        Ok(next)
    }

    /// Takes the state that the log makes now that it ends at `end`.
    pub fn push(&mut self, next: Loader, end: Offset) {
        self.pending.push_back((end, next));
    }

    /// Forgets what was cut from the log at `end`. What the log still has behind [`Images::end`]
    /// is to be appended again.
    pub fn truncate(&mut self, end: Offset) {
        self.pending.retain(|(reaches, _)| *reaches <= end);
    }

    /// Notes that everything before `end` is committed; whether that moved the committed state.
    pub fn commit(&mut self, end: Offset) -> bool {
        let before = self.committed_end;
        while let Some((reaches, loader)) =
            self.pending.pop_front_if(|(reaches, _)| *reaches <= end)
        {
            (self.committed, self.committed_end) = (loader, reaches);
        }
        self.committed_end != before
    }
}

#[cfg(test)]
mod tests {
    use protocol::internal::metadata::TopicRecord;
    use types::Uuid;

    use super::*;

    fn topic(number: u8) -> MetadataRecord {
        let (name, topic_id) = (format!("t{number}"), Uuid::from_bytes([number; 16]));
        TopicRecord { name, topic_id, ..Default::default() }.into()
    }

    #[test]
    fn only_what_is_committed_is_seen_and_what_is_cut_never_was() {
        let mut images = Images::new(Loader::default(), Offset::new(3));
        for number in 1..=3 {
            images.append(&[topic(number)], Offset::new(3 + i64::from(number))).unwrap();
        }
        let count = |image: &Image| image.topics().count();
        assert!(!images.commit(Offset::new(3)));
        assert!(images.commit(Offset::new(5)));
        assert_eq!((count(images.committed().image()), count(images.deciding())), (2, 3));
        images.truncate(Offset::new(5));
        assert_eq!((count(images.deciding()), images.end()), (2, Offset::new(5)));
    }
}
