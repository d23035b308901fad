//! What was found right once and need not be looked at again, up to a bound.

use parking_lot::Mutex;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;

/// A set of at most `max` things: when it is full all are forgotten, and are looked at once more.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    max: usize,
    known: Mutex<HashSet<T>>,
}

impl<T: Eq + Hash> Remembered<T> {
    /// Nothing yet.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            known: Mutex::default(),
        }
    }

    pub(super) fn contains<Q: Eq + Hash + ?Sized>(&self, thing: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.known.lock().contains(thing)
    }

    pub(super) fn insert(&self, thing: T) {
        let mut known = self.known.lock();
        if known.len() >= self.max {
            known.clear();
        }
        known.insert(thing);
    }

    pub(super) fn retain(&self, wanted: impl FnMut(&T) -> bool) {
        self.known.lock().retain(wanted);
    }

    pub(super) fn clear(&self) {
        self.known.lock().clear();
    }
}
