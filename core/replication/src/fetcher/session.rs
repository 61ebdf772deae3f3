//! The asking side of an incremental fetch session (KIP-227).

use types::ErrorCode;

/// Which session the next request belongs to, and which of its requests it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    /// 0 for none.
    id: i32,
    /// 0 for a request that names everything, and asks for a new session.
    epoch: i32,
}

impl Session {
    /// Id and epoch of the next request.
    pub(super) fn next(self) -> (i32, i32) {
        (self.id, self.epoch)
    }

    /// Takes the id of an answer; whether the session remembers what it was told.
    pub(super) fn answered(&mut self, error: ErrorCode, id: i32) -> bool {
        match error {
            ErrorCode::None if self.epoch == 0 || id == self.id => {
                self.id = id;
                // Id 0: there is no room for a session.
                self.epoch = match (id, self.epoch) {
                    (0, _) => 0,
                    (_, i32::MAX) => 1,
                    (_, epoch) => epoch + 1,
                };
                id != 0
            }
            ErrorCode::FetchSessionIdNotFound => {
                *self = Self::default();
                false
            }
            _ => {
                self.failed();
                false
            }
        }
    }

    /// The next request closes the session, if there is one, and asks for another.
    pub(super) fn failed(&mut self) {
        self.epoch = 0;
    }
}
