//! Requests that are under way: one per node, with a time limit, and a pause after a failure.

use std::collections::BTreeMap;

use types::{BrokerId, Millis};

/// Names a request that was sent.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// What is under way to whom. `None` stands for the bootstrap servers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    last: RequestId,
    under_way: BTreeMap<Option<BrokerId>, (RequestId, Millis)>,
    resting: BTreeMap<Option<BrokerId>, Millis>,
}

impl Requests {
    /// Takes note of a request and names it.
    pub fn begin(&mut self, to: Option<BrokerId>, until: Millis) -> RequestId {
        self.last = RequestId(self.last.0 + 1);
        self.under_way.insert(to, (self.last, until));
        self.last
    }

    /// Whether the node may be asked something.
    pub fn is_free(&self, to: Option<BrokerId>, now: Millis) -> bool {
        self.under_way.get(&to).is_none_or(|(_, until)| *until <= now)
            && self.resting.get(&to).is_none_or(|until| *until <= now)
    }

    /// When the node may be asked again.
    pub fn free_at(&self, to: Option<BrokerId>) -> Millis {
        let under_way = self.under_way.get(&to).map(|(_, until)| *until);
        under_way.max(self.resting.get(&to).copied()).unwrap_or(Millis(i64::MIN))
    }

    /// Ends a request; whom it went to, unless nobody waits for it any more.
    pub fn end(&mut self, id: RequestId) -> Option<Option<BrokerId>> {
        let (to, _) = self.under_way.iter().find(|(_, (known, _))| *known == id)?;
        let to = *to;
        self.under_way.remove(&to);
        Some(to)
    }

    /// Leaves a node alone for a while.
    pub fn rest(&mut self, to: Option<BrokerId>, until: Millis) {
        self.resting.insert(to, until);
    }

    /// Forgets everything: what is still to come belongs to another role or epoch.
    pub fn clear(&mut self) {
        self.under_way.clear();
        self.resting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_one_thing_at_a_time() {
        let (mut requests, node) = (Requests::default(), Some(BrokerId(1)));
        let id = requests.begin(node, Millis(10));
        assert!(!requests.is_free(node, Millis(9)));
        assert!(requests.is_free(node, Millis(10)), "its time is over");
        assert_eq!(requests.end(id), Some(node));
        assert_eq!(requests.end(id), None);
        requests.rest(node, Millis(20));
        assert!(!requests.is_free(node, Millis(19)));
        assert_eq!(requests.free_at(node), Millis(20));
    }
}
