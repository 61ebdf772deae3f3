//! The states that the metadata log makes: the committed one, and one for each append behind it.

use std::collections::VecDeque;

use anyhow::Context;
use metadata::{Image, Loader, MetadataRecord};
use types::Offset;

/// States by the end of the log that they stand for.
#[derive(Default)]
pub struct Images {
    committed: Loader,
    committed_end: Offset,
    pending: VecDeque<(Offset, Loader)>,
}

impl Images {
    /// The state that a snapshot holds, and nothing behind it.
    pub fn new(committed: Loader, committed_end: Offset) -> Self {
        Self { committed, committed_end, pending: VecDeque::new() }
    }

    pub fn committed(&self) -> (&Image, Offset) {
        (self.committed.image(), self.committed_end)
    }

    fn newest(&self) -> &Loader {
        self.pending.back().map_or(&self.committed, |(_, loader)| loader)
    }

    /// What a controller decides on.
    pub fn deciding(&self) -> &Image {
        self.newest().latest()
    }

    pub fn in_transaction(&self) -> bool {
        self.newest().in_transaction()
    }

    /// Whether the committed state lacks what an open transaction has written so far.
    pub fn in_committed_transaction(&self) -> bool {
        self.committed.in_transaction()
    }

    /// The end of the log that the newest state stands for.
    pub fn end(&self) -> Offset {
        self.pending.back().map_or(self.committed_end, |(end, _)| *end)
    }

    pub fn append(&mut self, records: &[MetadataRecord], end: Offset) -> anyhow::Result<()> {
        let mut next = self.newest().clone();
        for record in records {
            next.apply(record).with_context(|| format!("{} does not fit", record.name()))?;
        }
        self.pending.push_back((end, next));
        Ok(())
    }

    pub fn truncate(&mut self, end: Offset) {
        self.pending.retain(|(reaches, _)| *reaches <= end);
    }

    pub fn commit(&mut self, end: Offset) {
        while let Some((reaches, loader)) =
            self.pending.pop_front_if(|(reaches, _)| *reaches <= end)
        {
            (self.committed, self.committed_end) = (loader, reaches);
        }
    }
}
