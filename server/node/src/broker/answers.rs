//! Encoded answers that are kept while the state that they tell of lasts.
//!
//! Clients ask for the same metadata again and again, all of them together after every change of a
//! leader. What follows from the request and the image alone is worked out and encoded once per
//! shard and image; later only the correlation id is another one.
//!
//! Not here: which answers follow from these alone (`api`).

use std::cell::RefCell;
use std::sync::Arc;

use ::metadata::Image;
use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::Context;

/// Answers that are kept; also what a client that asks for ever new things can fill.
const ANSWERS_MAX: usize = 256;
/// Bytes of all answers that a shard keeps, and of requests that they answer.
const BYTES_MAX: usize = 4 << 20;
/// What stands before the part of an answer that is always the same.
const CORRELATION_BYTES: usize = 4;

/// The answers of one shard.
#[derive(Default)]
pub struct Answers {
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    /// What the answers tell of.
    image: Arc<Image>,
    answers: FxHashMap<Box<[u8]>, Vec<Bytes>>,
    bytes: usize,
}

impl Answers {
    /// The buffers of an answer that was kept, for the request that has `correlation_id`.
    pub fn find(&self, image: &Arc<Image>, key: &[u8], correlation_id: i32) -> Option<Vec<Bytes>> {
        let kept = self.kept.borrow();
        if !Arc::ptr_eq(&kept.image, image) {
            return None;
        }
        let answer = kept.answers.get(key)?;
        let (first, rest) = answer.split_first()?;
        let mut buffers = Vec::with_capacity(answer.len() + 1);
        buffers.push(Bytes::copy_from_slice(&correlation_id.to_be_bytes()));
        buffers.push(first.slice(CORRELATION_BYTES..));
        buffers.extend_from_slice(rest);
        Some(buffers)
    }

    /// Keeps an answer that was made from `image` and the request alone.
    pub fn keep(&self, image: &Arc<Image>, key: &[u8], answer: &[Bytes]) {
        let bytes = key.len() + answer.iter().map(Bytes::len).sum::<usize>();
        if bytes > BYTES_MAX {
            return;
        }
        let kept = &mut *self.kept.borrow_mut();
        let is_full = kept.answers.len() >= ANSWERS_MAX || kept.bytes + bytes > BYTES_MAX;
        if is_full || !Arc::ptr_eq(&kept.image, image) {
            *kept = Kept { image: Arc::clone(image), ..Kept::default() };
        }
        if kept.answers.insert(key.into(), answer.to_vec()).is_none() {
            kept.bytes += bytes;
        }
    }
}

/// All that an answer may depend on, beside the image and the settings of the start.
pub fn key(context: &Context, body: &[u8]) -> Vec<u8> {
    let listener = context.peer.listener.as_bytes();
    let length = u32::try_from(listener.len()).expect("names are short").to_be_bytes();
    let (api, version) = (context.api.to_wire().to_be_bytes(), context.version.to_be_bytes());
    [&api, &version, &length[..], listener, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Vec<Bytes> {
        vec![Bytes::from(vec![7; bytes]), Bytes::from_static(b"end")]
    }

    #[test]
    fn an_answer_is_found_with_another_correlation_id_until_the_image_changes() {
        let (answers, image) = (Answers::default(), Arc::new(Image::default()));
        answers.keep(&image, b"a", &answer(6));
        let found = answers.find(&image, b"a", 1).unwrap().concat();
        assert_eq!(found, b"\0\0\0\x01\x07\x07end");
        assert_eq!(answers.find(&image, b"b", 1), None);
        let next = Arc::new(Image::default());
        assert_eq!(answers.find(&next, b"a", 1), None);
        answers.keep(&next, b"b", &answer(6));
        assert_eq!(answers.find(&next, b"a", 1), None, "it told of the image before");
    }

    #[test]
    fn what_is_kept_stays_small() {
        let (answers, image) = (Answers::default(), Arc::new(Image::default()));
        for (count, bytes) in [(10 * ANSWERS_MAX, 10), (20, BYTES_MAX / 3), (2, BYTES_MAX + 1)] {
            for key in 0..count {
                answers.keep(&image, &key.to_be_bytes(), &answer(bytes));
                answers.keep(&image, &key.to_be_bytes(), &answer(bytes));
                let kept = answers.kept.borrow();
                let held = kept.answers.values().flatten().map(Bytes::len).sum::<usize>();
                assert!(held <= BYTES_MAX && kept.answers.len() <= ANSWERS_MAX);
            }
        }
        assert!(!answers.kept.borrow().answers.is_empty());
    }
}
