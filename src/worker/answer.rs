//! What the control plane asks of a worker.

use crate::turn::Username;
use crate::worker::Worker;
use crate::worker::mailbox::Request;
use crate::worker::quota::account;

impl Worker {
    pub(super) fn answer(&mut self, request: Request) {
        // Whoever asked may have stopped waiting.
        match request {
            Request::Snapshot(answer) => {
                let _ = answer.send(self.snapshot());
            }
            Request::Allocations { of, most, answer } => {
                // Of a time-limited name the part behind the expiry will do.
                let is_of = |user: &Username, of: &Username| user == of || account(user) == &*of.0;
                let is_wanted = |user: &Username| of.as_ref().is_none_or(|of| is_of(user, of));
                let wanted = self.core.records(self.now, is_wanted);
                let _ = answer.send(wanted.take(most).collect());
            }
            Request::Allocation { id, answer } => {
                let _ = answer.send(self.core.record_of(self.now, id));
            }
            Request::Reload { reload, answer } => {
                self.core.reload(*reload);
                self.act();
                let _ = answer.send(());
            }
            Request::End { id, answer } => {
                let was_there = self.core.revoke(self.now, id);
                self.act();
                let _ = answer.send(was_there);
            }
        }
    }
}
