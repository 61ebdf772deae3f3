//! A short list of broker ids.
//!
//! A partition has six of them, most of them empty or of three brokers, and a cluster may have a
//! million partitions: up to three ids take no memory of their own, and a list is two words.

use std::fmt;
use std::ops::Deref;

use types::BrokerId;

/// As many as fit beside the tag in two words.
const INLINE: usize = 3;

/// Broker ids in order; used as a slice.
#[derive(Clone)]
pub struct BrokerIds(Repr);

#[derive(Clone)]
#[expect(clippy::box_collection, reason = "a vector itself would make every list three words")]
enum Repr {
    Few { len: u8, ids: [BrokerId; INLINE] },
    Many(Box<Vec<BrokerId>>),
}

impl Deref for BrokerIds {
    type Target = [BrokerId];
    fn deref(&self) -> &[BrokerId] {
        match &self.0 {
            Repr::Few { len, ids } => &ids[..usize::from(*len)],
            Repr::Many(ids) => ids,
        }
    }
}

impl FromIterator<BrokerId> for BrokerIds {
    fn from_iter<I: IntoIterator<Item = BrokerId>>(items: I) -> Self {
        let mut items = items.into_iter();
        let mut ids = [BrokerId(-1); INLINE];
        let mut len = 0;
        for place in &mut ids {
            let Some(id) = items.next() else { return Self(Repr::Few { len, ids }) };
            *place = id;
            len += 1;
        }
        match items.next() {
            None => Self(Repr::Few { len, ids }),
            Some(fourth) => {
                let mut many = Vec::with_capacity(INLINE + 1 + items.size_hint().0);
                many.extend(ids.into_iter().chain([fourth]).chain(items));
                many.shrink_to_fit();
                Self(Repr::Many(Box::new(many)))
            }
        }
    }
}

impl From<&[BrokerId]> for BrokerIds {
    fn from(ids: &[BrokerId]) -> Self {
        ids.iter().copied().collect()
    }
}

impl Default for BrokerIds {
    fn default() -> Self {
        Self::from(&[][..])
    }
}

impl<'a> IntoIterator for &'a BrokerIds {
    type Item = &'a BrokerId;
    type IntoIter = std::slice::Iter<'a, BrokerId>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for BrokerIds {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for BrokerIds {}

impl fmt::Debug for BrokerIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_holds_what_it_was_made_of() {
        for count in 0..12 {
            let ids: Vec<_> = (0..count).map(BrokerId).collect();
            assert_eq!(*BrokerIds::from(&ids[..]), ids[..]);
            let reversed: BrokerIds = ids.iter().rev().copied().collect();
            assert_eq!(reversed == BrokerIds::from(&ids[..]), count < 2);
        }
        assert!(BrokerIds::default().is_empty());
    }

    #[test]
    fn list_is_two_words() {
        assert_eq!(size_of::<BrokerIds>(), 16);
    }
}
