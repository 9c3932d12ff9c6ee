//! Mobility (RFC 8016): a client whose address has changed takes its allocation along.
//!
//! The client shows a ticket in a Refresh from its new 5-tuple. From then on both 5-tuples belong
//! to the allocation; what peers send goes the old way until the client sends data by the new one,
//! or its old connection ends (§3.2.2). Each success brings a new ticket. A used one is good for
//! nothing but the same request once more.
//!
//! A ticket names the core that has the allocation. Any other core passes the request on to that
//! one as it is, once the ticket has proven to be ours and the nonce that the client is where it
//! says: nothing is noted for it, and it crosses to nobody for less. What the client sends from the
//! new 5-tuple later is passed on in the same way, for the core that has moved it there says so to
//! all others before it answers.

use rand::RngExt as _;

use crate::turn::Server;
use crate::turn::action::{Action, Verdict};
use crate::turn::claim::Claim;
use crate::turn::moment::Now;
use crate::turn::opening::Opening;
use crate::turn::record::Ending;
use crate::turn::request::{Reject, Request, reject};
use crate::turn::stats::Drop;
use crate::turn::table::{Allocation, AllocationId};
use crate::turn::ticket::{Ticket, TicketState};
use crate::turn::tuple::{CoreId, FiveTuple, Path, Protocol, Transport};
use crate::wire::address::XorKey;
use crate::wire::{AttributeType, ErrorCode, Message, Method};

/// What an allocation waits for.
#[derive(Debug)]
pub(super) enum Pending {
    /// For the shell to open its sockets; until then it relays nothing.
    Sockets(Opening),
    /// For its client to send data from here, where it has moved to.
    Data(Path),
    /// For its client to come back: the connection that led to it has ended.
    Client,
}

/// What a mobile allocation remembers.
#[derive(Debug)]
pub(super) struct Mobility {
    number: u64,
    ticket: Ticket,
    used: Option<Used>,
}

/// The ticket before this one.
#[derive(Clone, Copy, Debug)]
struct Used {
    number: u64,
    /// Who has used it, with which transaction; `None` where nothing came of that.
    by: Option<(FiveTuple, XorKey)>,
}

impl Mobility {
    pub(super) const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Whether a client may move with this ticket.
    fn accepts(&self, number: u64) -> bool {
        let before = self.used.is_some_and(|used| used.number == number && used.by.is_none());
        number == self.number || before
    }

    /// Whether this is the request that was answered with the present ticket.
    fn has_answered(&self, number: u64, request: &Request<'_>) -> bool {
        let by = Some((request.path.tuple, *request.message.transaction()));
        self.used.is_some_and(|used| used.number == number && used.by == by)
    }
}

/// What a Refresh with a ticket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// The client has moved, and shows the ticket of this number.
    Move(u64),
    /// The answer to the same request was lost.
    Again,
}

impl Server {
    /// The core that this request is for, if that is another one: its client has moved here, or is
    /// about to.
    pub(super) fn core_of(&self, now: Now, path: &Path, message: &Message<'_>) -> Option<CoreId> {
        // What came by a session stays where that is.
        let can_cross = matches!(path.tuple.transport, Transport::Udp | Transport::Tcp);
        if !can_cross || self.table.find(&path.tuple).is_some() {
            return None;
        }
        self.table.core_of(&path.tuple).or_else(|| {
            let share = self.shown_ticket(message)?.share;
            let other = share != self.relay.share && share < self.relay.shares;
            let claim = Claim::read(message).ok().filter(|_| other)?;
            let genuine =
                self.nonces.accepts(now.unix_secs, &path.tuple, claim.nonce, Method::REFRESH);
            genuine.then_some(CoreId(share))
        })
    }

    /// What the ticket of a Refresh says, if it has one that is ours.
    fn shown_ticket(&self, message: &Message<'_>) -> Option<TicketState> {
        let is_refresh = message.method() == Method::REFRESH && self.limits.mobility;
        let ticket = message.find(AttributeType::MOBILITY_TICKET).filter(|_| is_refresh)?;
        self.tickets.open(ticket)
    }

    /// The allocation that a request is about: the one that its ticket names, else that of its
    /// 5-tuple. Whether it may be is for others to say.
    pub(super) fn concerned(&self, path: &Path, message: &Message<'_>) -> Option<AllocationId> {
        match self.shown_ticket(message) {
            Some(state) => Some(state.allocation).filter(|_| state.share == self.relay.share),
            None => self.table.find(&path.tuple),
        }
    }

    /// RFC 8016 §3.2.2: which allocation a ticket gives to the sender, and whether for the first
    /// time.
    pub(super) fn judge_ticket(
        &self,
        request: &Request<'_>,
        ticket: &[u8],
    ) -> Result<(AllocationId, Resume), Reject> {
        // Forbidden by the operator: 405.
        if !self.limits.mobility {
            return reject(ErrorCode::MOBILITY_FORBIDDEN);
        }
        // Not a ticket of ours: 400. No allocation that it could be for: 437.
        let state = self.tickets.open(ticket).ok_or(Reject(ErrorCode::BAD_REQUEST))?;
        let id = state.allocation;
        let found = self.table.get(id).filter(|_| state.share == self.relay.share);
        let Some((allocation, mobility)) = found.and_then(|a| Some((a, a.mobility.as_ref()?)))
        else {
            return reject(ErrorCode::ALLOCATION_MISMATCH);
        };
        // Somebody else's: 441.
        if !request.is_of_maker(allocation) {
            return reject(ErrorCode::WRONG_CREDENTIALS);
        }
        if mobility.has_answered(state.number, request) {
            return Ok((id, Resume::Again));
        }
        // Nobody relays for a tunnel's end (RFC 8656 §21.4): 403, as for an Allocate.
        if self.acl.is_tunnel(request.path.tuple.client.ip()) {
            return reject(ErrorCode::FORBIDDEN);
        }
        // From where the allocation is already, or with a ticket that was used: 400. A control
        // connection is a stream wherever it goes (RFC 6062 §5.1).
        let tuple = &request.path.tuple;
        let is_carried = allocation.protocol == Protocol::Udp || tuple.transport.is_stream();
        let at = self.table.find(tuple);
        if at == Some(id) || !mobility.accepts(state.number) || !is_carried {
            return reject(ErrorCode::BAD_REQUEST);
        }
        // Where there is another allocation: 437, as for a second one of the same 5-tuple.
        if at.is_some() {
            return reject(ErrorCode::ALLOCATION_MISMATCH);
        }
        Ok((id, Resume::Move(state.number)))
    }

    /// The client goes on from a new 5-tuple, as soon as it sends data from there.
    pub(super) fn begin_move(&mut self, id: AllocationId, shown: u64, request: &Request<'_>) {
        let path = request.path;
        let Some((number, ticket)) = self.new_ticket(id) else { return };
        let Some(allocation) = self.table.get_mut(id) else { return };
        let Some(mobility) = &mut allocation.mobility else { return };
        let by = Some((path.tuple, *request.message.transaction()));
        let used = Some(Used { number: shown, by });
        **mobility = Mobility { number, ticket, used };
        self.stats.moves += 1;
        let before = allocation.pending.take().map(|pending| *pending);
        allocation.pending = Some(Box::new(Pending::Data(path)));
        self.table.lead(path.tuple, id);
        self.tell_of(path.tuple, true);
        match before {
            // A move that nothing came of: the client is elsewhere again.
            Some(Pending::Data(unused)) => self.leave(unused.tuple),
            // There is no old way to wait on.
            Some(Pending::Client) => self.follow(id),
            Some(Pending::Sockets(_)) | None => {}
        }
    }

    /// The first ticket of an allocation.
    pub(super) fn make_mobile(&mut self, id: AllocationId) {
        let Some((number, ticket)) = self.new_ticket(id) else { return };
        if let Some(allocation) = self.table.get_mut(id) {
            allocation.mobility = Some(Box::new(Mobility { number, ticket, used: None }));
        }
    }

    fn new_ticket(&mut self, id: AllocationId) -> Option<(u64, Ticket)> {
        self.table.get(id)?;
        let number = self.rng.random();
        let state = TicketState { share: self.relay.share, allocation: id, number };
        Some((number, self.tickets.seal(state, &mut self.rng)))
    }

    /// Data has come to an allocation that waits for something; tells whether it is relayed. From
    /// the new 5-tuple it is what the move has waited for.
    pub(super) fn hear(&mut self, id: AllocationId, tuple: &FiveTuple) -> bool {
        match self.table.get(id).and_then(|allocation| allocation.pending.as_deref()) {
            Some(Pending::Data(new)) if new.tuple == *tuple => self.follow(id),
            Some(Pending::Data(_)) | None => {}
            Some(Pending::Sockets(_) | Pending::Client) => return false,
        }
        true
    }

    /// The new 5-tuple is the allocation's only one from now on.
    fn follow(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.get_mut(id) else { return };
        let Some(&Pending::Data(new)) = allocation.pending.as_deref() else { return };
        allocation.pending = None;
        let old = std::mem::replace(&mut allocation.path, new);
        let mut channels: Vec<_> = allocation.channels.iter().map(|(n, c)| (*n, *c)).collect();
        channels.sort_unstable_by_key(|(number, _)| *number);
        for (channel, bound) in channels {
            let (relay, peer) = (bound.relay, bound.peer);
            let unbound = Action::ChannelUnbound { path: old, relay, peer, channel };
            self.actions.push_back(unbound);
            self.actions.push_back(Action::ChannelBound { path: new, relay, peer, channel });
        }
        // A client that has lost its connection may have made the same once more.
        if old.tuple != new.tuple && self.table.find(&old.tuple) == Some(id) {
            self.leave(old.tuple);
        }
    }

    /// The client's connection has ended, and its allocation with it; but not one whose client can
    /// come back for it by another way.
    pub fn handle_client_gone(&mut self, now: Now, tuple: FiveTuple) {
        let Some(id) = self.table.find(&tuple) else { return };
        let Some(allocation) = self.table.get_mut(id) else { return };
        let Some(mobility) = &mut allocation.mobility else {
            return self.end_allocation(now, id, Ending::ClientGone);
        };
        match allocation.pending.as_deref() {
            // Before it sent anything by the new way. Perhaps no answer has reached it: the ticket
            // that has brought it there may be shown again.
            Some(Pending::Data(new)) if new.tuple == tuple => {
                mobility.used = mobility.used.map(|used| Used { by: None, ..used });
                allocation.pending = None;
                self.leave(tuple);
            }
            // §3.2.2: "or a message from the client to close the old connection".
            Some(Pending::Data(_)) => self.follow(id),
            _ => {
                allocation.pending = Some(Box::new(Pending::Client));
                self.stats.clients_lost += 1;
                self.leave(tuple);
            }
        }
    }

    /// An allocation ends: those that have heard where its client has moved to forget it.
    pub(super) fn leave_all(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else { return };
        if allocation.mobility.as_ref().is_none_or(|mobility| mobility.used.is_none()) {
            return;
        }
        let mut ways = vec![allocation.path.tuple];
        if let Some(Pending::Data(new)) = allocation.pending.as_deref() {
            ways.push(new.tuple);
        }
        for tuple in ways {
            if self.table.find(&tuple) == Some(id) {
                self.leave(tuple);
            }
        }
    }

    /// A 5-tuple is nobody's here any more.
    fn leave(&mut self, tuple: FiveTuple) {
        self.table.part(&tuple);
        self.tell_of(tuple, false);
    }

    /// Has the other cores know whose datagrams these are. A connection is where its core is.
    fn tell_of(&mut self, tuple: FiveTuple, here: bool) {
        if tuple.transport == Transport::Udp {
            self.actions.push_back(Action::ClientMoved { tuple, here });
        }
    }

    /// A client of another core has come to send from this 5-tuple, or does so no more.
    pub fn handle_client_elsewhere(&mut self, tuple: FiveTuple, core: CoreId, there: bool) {
        self.table.mark_client(tuple, core, there);
    }

    /// A packet on a 5-tuple that is no allocation's here: perhaps it is one of another core's.
    pub(super) fn not_here(&mut self, tuple: &FiveTuple) -> Verdict {
        match self.table.core_of(tuple) {
            Some(core) => Verdict::ToCore { core },
            None => self.dropped(Drop::NoAllocation),
        }
    }
}

impl Allocation {
    /// Its sockets, while they are being opened.
    pub(super) fn opening(&self) -> Option<&Opening> {
        match self.pending.as_deref() {
            Some(Pending::Sockets(opening)) => Some(opening),
            _ => None,
        }
    }

    /// The same, to go on with.
    pub(super) fn opening_mut(&mut self) -> Option<&mut Opening> {
        match self.pending.as_deref_mut() {
            Some(Pending::Sockets(opening)) => Some(opening),
            _ => None,
        }
    }

    /// The connection by which its client hears of peers that connect (RFC 6062 §5.3): the newest.
    /// A move is completed by data (RFC 8016 §3.2.2), which a control connection never carries, and
    /// the old one may be dead for long before anybody knows.
    pub(super) fn control_path(&self) -> Path {
        match self.pending.as_deref() {
            Some(Pending::Data(new)) => *new,
            _ => self.path,
        }
    }

    /// Whether there is a way to its client.
    #[inline]
    pub(super) fn is_away(&self) -> bool {
        self.pending.as_deref().is_some_and(|pending| matches!(pending, Pending::Client))
    }
}
