//! What happened in a run: the last events in words, and a number that two runs have in common only
//! if all of their events are the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::rc::Rc;

use types::Millis;

use crate::happening::Happening;

/// So many events are kept for a person to read.
const KEPT: usize = 60;
/// The usual constants of FNV-1a.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// Shared by the run and whoever asks afterwards, as after a panic.
#[derive(Clone, Debug)]
pub struct Trace(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    hash: u64,
    events: u64,
    last: VecDeque<(Millis, String)>,
    happened: BTreeMap<Happening, u64>,
}

impl Trace {
    pub fn new() -> Self {
        let (last, happened) = (VecDeque::new(), BTreeMap::new());
        Self(Rc::new(RefCell::new(State { hash: BASIS, events: 0, last, happened })))
    }

    /// Counts an event, without words.
    pub fn count(&self, at: Millis, numbers: [u64; 3]) {
        let mut state = self.0.borrow_mut();
        state.events += 1;
        let time = at.get().cast_unsigned();
        for number in numbers.into_iter().chain([time]) {
            state.hash = (state.hash ^ number).wrapping_mul(PRIME);
        }
    }

    /// Notes an event in words.
    pub fn note(&self, at: Millis, what: impl Display) {
        let text = what.to_string();
        let mut state = self.0.borrow_mut();
        for byte in text.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        if state.last.len() == KEPT {
            state.last.pop_front();
        }
        state.last.push_back((at, text));
    }

    /// Counts what goes wrong.
    pub fn happens(&self, what: Happening) {
        *self.0.borrow_mut().happened.entry(what).or_default() += 1;
    }

    /// How often what went wrong.
    pub fn happened(&self) -> BTreeMap<Happening, u64> {
        self.0.borrow().happened.clone()
    }

    /// What all events make.
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    pub fn events(&self) -> u64 {
        self.0.borrow().events
    }

    /// The last events, a line each.
    pub fn last(&self) -> Vec<String> {
        let state = self.0.borrow();
        state.last.iter().map(|(at, text)| format!("{:>7} ms  {text}", at.get())).collect()
    }
}
