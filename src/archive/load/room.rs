//! The room for what is on its way between the thread that reads a container and those that parse.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::logs;

/// Logs up to this size are handed over whole, larger ones piece by piece.
pub(super) const PIECE: usize = 128 << 10;

/// How many pieces wait to be used again. Made anew for each of thousands of logs, between the little
/// that is kept of each, they would leave holes larger than all that is kept.
const SPARE: usize = 16;

/// A number of bytes that may be on their way at the same time.
pub(super) struct Room {
    bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: usize,
    spare: Vec<Vec<u8>>,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many bytes have room, or nothing else is on its way.
    pub(super) fn admit(&self, bytes: usize) -> Ticket<'_> {
        let mut state = self.lock();
        while state.taken > 0 && state.taken + bytes > self.bytes {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.taken += bytes;
        Ticket { room: self, bytes }
    }

    /// An empty piece for so many bytes, at most [`PIECE`].
    pub(super) fn piece(&self, bytes: usize) -> Piece<'_> {
        let size = bytes.clamp(512, PIECE);
        let ticket = self.admit(size);
        let reused = if size == PIECE { self.lock().spare.pop() } else { None };
        let bytes = reused.unwrap_or_else(|| vec![0; size]);
        Piece { ticket, bytes, filled: 0 }
    }
}

/// Room that is taken until this is dropped.
pub(super) struct Ticket<'r> {
    room: &'r Room,
    bytes: usize,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.room.lock().taken -= self.bytes;
        self.room.changed.notify_all();
    }
}

/// A piece of a log.
pub(super) struct Piece<'r> {
    ticket: Ticket<'r>,
    bytes: Vec<u8>,
    filled: usize,
}

impl Piece<'_> {
    /// Fills it as far as the content goes: how far, and the error that ended it.
    pub(super) fn fill(&mut self, content: &mut dyn Read) -> (usize, Option<io::Error>) {
        let (length, error) = logs::fill(content, &mut self.bytes);
        self.filled = length;
        (length, error)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.ticket.room.lock();
        if bytes.len() == PIECE && state.spare.len() < SPARE {
            state.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_has_no_room_waits_but_never_for_nothing() {
        let room = Room::new(PIECE);
        // Larger than all: it goes alone.
        drop(room.admit(10 * PIECE));
        let first = room.piece(usize::MAX);
        std::thread::scope(|scope| {
            let (sender, admitted) = channel();
            let room = &room;
            scope.spawn(move || {
                let mut piece = room.piece(3);
                let (length, error) = piece.fill(&mut &b"abc"[..]);
                assert!(error.is_none());
                sender.send((length, piece.bytes().to_vec())).expect("a receiver");
            });
            assert!(admitted.try_recv().is_err());
            drop(first);
            assert_eq!(admitted.recv(), Ok((3, b"abc".to_vec())));
        });
        assert_eq!(room.lock().taken, 0);
        // The large piece waits to be used again, the small one does not.
        assert_eq!(room.lock().spare.len(), 1);
    }
}
