//! Which offset is the latest of each key, in bounded memory.
//!
//! A table of 24 bytes a key: 128 bits of hash and the offset. Two keys that have the same hash
//! would count as one, and the older record would be lost. The hash is keyed with random numbers,
//! other ones in every pass, so that nobody can send two such keys; by chance, a pass of a thousand
//! million records against the five million keys of a full default table meets a pair with
//! probability 2^-75: it is far likelier that a disk returns other bytes than were written and
//! their CRC agrees. Keys are never removed.

use std::hash::{BuildHasher, RandomState};

use types::Offset;

/// Both halves of the hash, and the offset plus one. Zeroes are a free slot, and a table of plain
/// zeroes takes memory from the system only where keys come to lie.
type Slot = [u64; 3];

/// The table is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

/// The latest offset of each key of a stretch of a log.
#[derive(Debug)]
pub(super) struct KeyMap {
    slots: Vec<Slot>,
    hashers: [RandomState; 2],
    len: usize,
    len_max: usize,
    mapped_until: Offset,
}

impl KeyMap {
    /// A map for at most `keys` keys in at most `bytes_max` bytes, filled to `load_factor` (0 to
    /// 1), of the log from `begin` on.
    pub fn new(keys: u64, bytes_max: usize, load_factor: f64, begin: Offset) -> Self {
        let load_factor = load_factor.clamp(0.01, 0.99);
        let slots_max = bytes_max / size_of::<Slot>();
        let wanted = ((keys as f64 / load_factor) as usize).saturating_add(2);
        let slots = wanted.min(slots_max).max(1);
        Self {
            slots: vec![[0; 3]; slots],
            hashers: [RandomState::new(), RandomState::new()],
            len: 0,
            // One slot is always free, so that a search ends.
            len_max: ((slots as f64 * load_factor) as usize).min(slots - 1),
            mapped_until: begin,
        }
    }

    /// Everything before this offset is in the map.
    pub fn mapped_until(&self) -> Offset {
        self.mapped_until
    }

    /// Notes that everything before `offset` is in the map.
    pub fn set_mapped_until(&mut self, offset: Offset) {
        self.mapped_until = self.mapped_until.max(offset);
    }

    /// How full the table is, from 0 to 1.
    pub fn utilization(&self) -> f64 {
        self.len as f64 / self.slots.len() as f64
    }

    /// How many keys fit.
    pub fn capacity(&self) -> usize {
        self.len_max
    }

    /// Notes a record; offsets must not fall.
    pub fn insert(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.hash(key);
        let at = self.position_of(hash);
        if self.slots[at][2] == 0 {
            if self.len >= self.len_max {
                return Err(Full);
            }
            self.len += 1;
        }
        self.slots[at] = [hash[0], hash[1], offset.get().unsigned_abs() + 1];
        Ok(())
    }

    /// The latest offset of a key.
    pub fn latest(&self, key: &[u8]) -> Option<Offset> {
        let behind = self.slots[self.position_of(self.hash(key))][2];
        Offset::from_wire(i64::try_from(behind).ok()? - 1)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }

    /// The slot of a hash, or the free one where it goes.
    fn position_of(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len() as u64;
        let mut at = (hash[0] % slots) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            at = (at + 1) % self.slots.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_offset_of_each_key_is_found() {
        let mut map = KeyMap::new(100, 1 << 20, 0.9, Offset::ZERO);
        for offset in 0..100_u32 {
            map.insert(&(offset % 7).to_be_bytes(), Offset::new(offset.into())).unwrap();
        }
        for key in 0..7_u32 {
            let latest = (0..100).rfind(|offset| offset % 7 == key).unwrap();
            assert_eq!(map.latest(&key.to_be_bytes()), Some(Offset::new(latest.into())));
        }
        assert_eq!(map.latest(b"other"), None);
    }

    #[test]
    fn memory_bounds_the_keys() {
        let mut map = KeyMap::new(u64::MAX, 24 * 100, 0.5, Offset::ZERO);
        assert_eq!((map.slots.len(), map.capacity()), (100, 50));
        for key in 0..50_u32 {
            map.insert(&key.to_be_bytes(), Offset::new(key.into())).unwrap();
        }
        assert_eq!(map.insert(b"one more", Offset::new(50)), Err(Full));
        assert_eq!(map.insert(&7_u32.to_be_bytes(), Offset::new(51)), Ok(()));
        assert_eq!(map.latest(&7_u32.to_be_bytes()), Some(Offset::new(51)));
    }

    #[test]
    fn few_keys_take_little_memory() {
        assert!(KeyMap::new(9, 128 << 20, 0.9, Offset::ZERO).slots.len() < 20);
        assert_eq!(KeyMap::new(9, 0, 0.9, Offset::ZERO).capacity(), 0);
    }
}
