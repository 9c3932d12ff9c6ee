//! What the control plane asks of a worker.

use crate::worker::Worker;
use crate::worker::mailbox::Request;

impl Worker {
    pub(super) fn answer(&mut self, request: Request) {
        // Whoever asked may have stopped waiting.
        match request {
            Request::Snapshot(answer) => {
                let _ = answer.send(self.snapshot());
            }
            Request::Allocations { of, most, answer } => {
                let all = self.core.records(self.now);
                let wanted = all.filter(|record| of.as_ref().is_none_or(|of| record.user == *of));
                let _ = answer.send(wanted.take(most).collect());
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
