//! What the core takes from the heap: nothing for a packet, little for an allocation. Linking the
//! counter makes it this program's allocator; it counts for each thread by itself.

#[path = "common/calls.rs"]
mod calls;

use allocation_counter::{AllocationInfo, measure};
use hairpin::turn::Verdict;

use calls::{Calls, Visitor};

const PACKETS: usize = 1000;
const ALLOCATIONS: usize = 1000;
/// What an idle allocation may hold in the core.
const BYTES_PER_ALLOCATION: i64 = 4096;
/// What the tables may keep for the next one.
const KEPT_PER_ALLOCATION: i64 = 1024;

/// Counts while so many packets are handled, each with the verdict it should have.
fn heap(mut handle: impl FnMut(usize) -> Verdict, right: fn(&Verdict) -> bool) -> AllocationInfo {
    measure(|| {
        for packet in 0..PACKETS {
            let verdict = handle(packet);
            assert!(right(&verdict), "{verdict:?}");
        }
    })
}

fn to_peer(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::ToPeer { .. })
}

fn to_client_on_channel(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::ToClient { header, .. } if header.len() == 4)
}

fn to_client_in_data(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::ToClient { header, .. } if header.len() == 36)
}

fn reply(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Reply { .. })
}

/// Else the zeros below would say nothing.
#[test]
fn the_counter_sees_what_an_allocate_takes() {
    let mut calls = Calls::none();
    let visitor = calls.visitor(0);
    let heap = measure(|| _ = calls.allocate(&visitor));
    assert!(heap.count_total > 0 && heap.bytes_current > 0, "{heap:?}");
}

#[test]
fn channel_data_to_a_peer_takes_no_memory() {
    let mut calls = Calls::with_peers(100);
    let packet = calls::channel_data();
    let heap = heap(|i| calls.client_sends(i % 100, &packet), to_peer);
    assert_eq!(heap.count_total, 0, "{heap:?}");
}

#[test]
fn channel_data_to_a_client_takes_no_memory() {
    let mut calls = Calls::with_peers(100);
    let heap = heap(|i| calls.peer_sends(i % 100), to_client_on_channel);
    assert_eq!(heap.count_total, 0, "{heap:?}");
}

#[test]
fn a_send_indication_takes_no_memory() {
    let mut calls = Calls::with_peers(100);
    let packets = calls.send_indications();
    let heap = heap(|i| calls.client_sends(i % 100, &packets[i % 100]), to_peer);
    assert_eq!(heap.count_total, 0, "{heap:?}");
}

#[test]
fn a_data_indication_takes_no_memory() {
    let mut calls = Calls::with_peers(100);
    let heap = heap(|i| calls.peer_sends_beside(i % 100), to_client_in_data);
    assert_eq!(heap.count_total, 0, "{heap:?}");
}

#[test]
fn from_relay_to_relay_of_one_core_takes_no_memory() {
    let mut calls = Calls::with_each_other();
    let packet = calls::channel_data();
    let heap = heap(|i| calls.client_sends(i % 2, &packet), to_client_on_channel);
    assert_eq!(heap.count_total, 0, "{heap:?}");
}

#[test]
fn a_binding_request_takes_no_memory() {
    let mut calls = Calls::with_peers(1);
    let packet = calls::binding();
    let heap = heap(|_| calls.client_sends(0, &packet), reply);
    assert_eq!(heap.count_total, 0, "{heap:?}");
}

#[test]
fn a_padded_binding_request_takes_no_memory() {
    let mut calls = Calls::with_discovery();
    let packet = calls::padded_binding();
    let elsewhere =
        |verdict: &Verdict| matches!(verdict, Verdict::ReplyElsewhere { len, .. } if *len > 900);
    let heap = heap(|_| calls.client_sends(0, &packet), elsewhere);
    assert_eq!(heap.count_total, 0, "{heap:?}");
}

/// What strangers send is dropped or refused as cheaply: no memory for those who have no right.
#[test]
fn what_has_no_right_takes_no_memory() {
    let mut calls = Calls::with_peers(1);
    let nothing = |verdict: &Verdict| *verdict == Verdict::Nothing;
    let refused = calls::send_indication(calls::peer(7));
    let sent = heap(|_| calls.client_sends(0, &refused), nothing);
    calls.calls[0].peer = calls::peer(7);
    let relayed = heap(|_| calls.peer_sends(0), nothing);
    assert_eq!((sent.count_total, relayed.count_total), (0, 0));
}

fn visitors(calls: &mut Calls) -> Vec<Visitor> {
    (0..ALLOCATIONS).map(|index| calls.visitor(index)).collect()
}

fn allocate_all(calls: &mut Calls, visitors: &[Visitor]) -> AllocationInfo {
    measure(|| visitors.iter().for_each(|visitor| _ = calls.allocate(visitor)))
}

fn bind_all(calls: &mut Calls, visitors: &[Visitor]) -> AllocationInfo {
    measure(|| {
        for (index, visitor) in visitors.iter().enumerate() {
            calls.bind(visitor, calls::peer(index));
        }
    })
}

fn end_all(calls: &mut Calls, visitors: &[Visitor]) -> AllocationInfo {
    measure(|| visitors.iter().for_each(|visitor| calls.end(visitor)))
}

#[test]
fn an_idle_allocation_holds_at_most_4_kib() {
    let mut calls = Calls::none();
    let visitors = visitors(&mut calls);
    let bare = allocate_all(&mut calls, &visitors).bytes_current;
    let bound = bare + bind_all(&mut calls, &visitors).bytes_current;
    assert_eq!(calls.live(), ALLOCATIONS as u64);
    let [bare, bound] = [bare, bound].map(|bytes| bytes / ALLOCATIONS as i64);
    println!("{bare} bytes for each allocation, {bound} with a permission and a channel");
    assert!(0 < bare && bare < bound, "the counter counts: {bare}, {bound}");
    assert!(bound <= BYTES_PER_ALLOCATION, "{bound} bytes for each allocation");
}

/// Tables keep the room that they have grown to: that is for the most allocations there ever were
/// at once, not for all there ever were, and it is all that is kept.
#[test]
fn what_has_ended_gives_its_memory_back() {
    let mut rounds = Vec::new();
    let life = measure(|| {
        let mut calls = Calls::none();
        let visitors = visitors(&mut calls);
        let mut held = 0;
        for _ in 0..3 {
            held += allocate_all(&mut calls, &visitors).bytes_current;
            held += bind_all(&mut calls, &visitors).bytes_current;
            let full = held;
            held += end_all(&mut calls, &visitors).bytes_current;
            assert_eq!(calls.live(), 0);
            // Not on this heap's account.
            allocation_counter::opt_out(|| rounds.push((full, held)));
        }
    });
    let (full, kept) = rounds[0];
    println!("{full} bytes for {ALLOCATIONS} allocations, {kept} after their end");
    assert_eq!(rounds, [(full, kept); 3], "a second thousand needs what the first has left");
    assert!(kept < KEPT_PER_ALLOCATION * ALLOCATIONS as i64, "{kept} bytes kept of {full}");
    assert_eq!((life.count_current, life.bytes_current), (0, 0), "{life:?}");
}
