//! Records of one partition on their way into an answer, in one piece or in several.
//!
//! A message holds its records as one piece. For those in several, bytes of the same length stand
//! there while it is encoded: a part of one blank that is never read, and so takes no memory. Once
//! the lengths are written, the pieces take their places, and no byte was copied.

use bytes::Bytes;

/// The most that a stand-in stands for: what one partition brings, unless one batch alone is
/// longer, and that is one piece.
const STAND_IN_BYTES_MAX: usize = 1 << 20;
/// Fewer bytes would be copied into the message, and so are made one piece.
const STAND_IN_BYTES_MIN: usize = 4 << 10;

static BLANK: [u8; STAND_IN_BYTES_MAX] = [0; STAND_IN_BYTES_MAX];

/// Whole batches, one behind the other.
#[derive(Debug, Default)]
pub struct Records {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl From<Bytes> for Records {
    fn from(records: Bytes) -> Self {
        Self::in_pieces(vec![records])
    }
}

impl Records {
    /// Records that lie in several places.
    pub fn in_pieces(pieces: Vec<Bytes>) -> Self {
        let bytes = pieces.iter().map(Bytes::len).sum();
        Self { pieces, bytes }
    }

    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// What stands for the records in a message. Where these are not the records themselves, their
    /// pieces go to the end of `kept`.
    pub fn stand_in(mut self, kept: &mut Vec<Vec<Bytes>>) -> Bytes {
        match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces.swap_remove(0),
            _ if !(STAND_IN_BYTES_MIN..=STAND_IN_BYTES_MAX).contains(&self.bytes) => {
                self.pieces.concat().into()
            }
            _ => {
                kept.push(self.pieces);
                Bytes::from_static(&BLANK[..self.bytes])
            }
        }
    }
}

/// The encoded message with the pieces, which are in the order of their stand-ins, in their places.
pub fn put_in(encoded: Vec<Bytes>, kept: Vec<Vec<Bytes>>) -> Vec<Bytes> {
    if kept.is_empty() {
        return encoded;
    }
    let mut segments = Vec::with_capacity(encoded.len() + kept.iter().map(Vec::len).sum::<usize>());
    let mut kept = kept.into_iter();
    for bytes in encoded {
        if bytes.as_ptr() == BLANK.as_ptr() {
            segments.extend(kept.next().expect("each stand-in was made for pieces"));
        } else {
            segments.push(bytes);
        }
    }
    assert!(kept.next().is_none(), "what stands for pieces is never copied");
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_take_the_places_of_what_stood_for_them() {
        let piece = |byte| Bytes::from(vec![byte; 3000]);
        let mut kept = Vec::new();
        let first = Records::in_pieces(vec![piece(1), piece(2)]);
        assert_eq!((first.len(), first.is_empty()), (6000, false));
        let first = first.stand_in(&mut kept);
        let second = Records::from(piece(3)).stand_in(&mut kept);
        let third = Records::in_pieces(vec![piece(4), piece(5)]).stand_in(&mut kept);
        assert_eq!((first.len(), third.len()), (6000, 6000));
        let few = Records::in_pieces(vec![piece(6).slice(..9), piece(7).slice(..9)]);
        assert_eq!(few.stand_in(&mut kept).len(), 18);
        let text = Bytes::from_static(b"text");
        let encoded = vec![text.clone(), first, second.clone(), text.clone(), third];
        let sent = put_in(encoded, kept);
        assert_eq!(sent, [text.clone(), piece(1), piece(2), second, text, piece(4), piece(5)]);
    }
}
