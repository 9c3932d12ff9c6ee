//! What a run needs before it begins: ports, allocations, channels, lanes.
//!
//! ```text
//! up       client ──► relay ──► peer      flows are told apart by their stamps, not by the peer
//! down     client ◄── relay ◄── peer
//! across   client ──► relay ──► relay ──► client      two allocations that know each other
//! round    client ◄─► relay ◄─► peer      the peer sends everything back
//! echo     client ◄─► server              no allocation
//! ```

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::client::Scheme;
use crate::client::message::{Session, send_indication};
use crate::load::client::{Allocation, Clients};
use crate::load::flow::Traffic;
use crate::load::is_interrupted;
use crate::load::lane::{Direction, Lane, Mark};
use crate::load::options::{Framing, Mode, Options};
use crate::load::port::{Port, Ports};
use crate::load::unwrap::Shape;
use crate::turn::Transport;
use crate::wire::ChannelNumber;
use crate::wire::channel_data::{CHANNEL_DATA_HEADER, channel_data_header};
use crate::wire::message::MAGIC_COOKIE;

/// The channel that each allocation binds to whom it sends to; the next one is for another.
const CHANNEL: u16 = ChannelNumber::MIN;

/// The address that peers are at: what was asked for, else the one that leads to the server.
pub(super) fn peer_address(options: &Options, server: SocketAddr) -> io::Result<SocketAddr> {
    if let Some(peer) = options.peer {
        return Ok(peer);
    }
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(SocketAddr::new(socket.local_addr()?.ip(), 0))
}

/// Opens what the mode's packets travel by. What was allocated before an error is in
/// `allocations` all the same.
pub(super) fn lay_out(
    traffic: &mut Traffic<'_>,
    clients: &Clients,
    allocations: &mut Vec<Allocation>,
) -> io::Result<()> {
    let options = traffic.options;
    match options.mode() {
        Mode::Binding => {
            for _ in 0..options.flows {
                let port = add(traffic, clients.open()?, Shape::Framed)?;
                add_lane(traffic, Direction::Echo, port, clients.server, binding());
            }
        }
        Mode::Hairpin if options.ring => lay_ring(traffic, clients, allocations)?,
        Mode::Hairpin => {
            for _ in 0..options.flows {
                let here = open_allocation(traffic, clients, allocations)?;
                let there = open_allocation(traffic, clients, allocations)?;
                let relayed = [here, there].map(|at| allocations[at].relayed);
                admit(traffic, clients, &mut allocations[here], relayed[1])?;
                admit(traffic, clients, &mut allocations[there], relayed[0])?;
                let packet = wrapped(options, clients.transport, relayed[1]);
                let port = allocations[here].port;
                add_lane(traffic, Direction::Across, port, clients.server, packet);
            }
        }
        Mode::Up | Mode::Down | Mode::Both | Mode::Echo => {
            let is_mirror = options.mode() == Mode::Echo;
            let shape = if is_mirror { Shape::Mirror } else { Shape::Bare };
            let mut peers = Vec::new();
            for _ in 0..options.peers.min(options.flows) {
                let peer = clients.endpoint(clients.peer)?;
                let address = peer.local_addr();
                peers.push((add(traffic, Port::Udp(peer), shape)?, address));
            }
            for (_, (peer, address)) in (0..options.flows).zip(peers.into_iter().cycle()) {
                lay_flow(traffic, clients, allocations, peer, address)?;
            }
        }
        Mode::Allocate | Mode::Refresh => {}
    }
    traffic.ports.set_nonblocking(true)
}

/// One flow between a client and the peer.
fn lay_flow(
    traffic: &mut Traffic<'_>,
    clients: &Clients,
    allocations: &mut Vec<Allocation>,
    peer: usize,
    peer_address: SocketAddr,
) -> io::Result<()> {
    let options = traffic.options;
    let size = options.size as usize;
    let bare = || (vec![0; size], Mark::Payload { at: 0, size });
    if options.uri.scheme == Scheme::Udp {
        let port = add(traffic, clients.open()?, Shape::Bare)?;
        add_lane(traffic, Direction::Up, port, clients.server, bare());
        return Ok(());
    }
    let at = open_allocation(traffic, clients, allocations)?;
    admit(traffic, clients, &mut allocations[at], peer_address)?;
    let (port, relayed) = (allocations[at].port, allocations[at].relayed);
    if options.mode() != Mode::Down {
        let packet = wrapped(options, clients.transport, peer_address);
        let is_round = options.mode() == Mode::Echo;
        let direction = if is_round { Direction::Round } else { Direction::Up };
        add_lane(traffic, direction, port, clients.server, packet);
    }
    if matches!(options.mode(), Mode::Down | Mode::Both) {
        add_lane(traffic, Direction::Down, peer, relayed, bare());
    }
    Ok(())
}

/// Flows from each client to the next, and from the last to the first.
fn lay_ring(
    traffic: &mut Traffic<'_>,
    clients: &Clients,
    allocations: &mut Vec<Allocation>,
) -> io::Result<()> {
    let options = traffic.options;
    for _ in 0..options.flows {
        open_allocation(traffic, clients, allocations)?;
    }
    let count = allocations.len();
    for here in 0..count {
        let port = allocations[here].port;
        let (next, before) = ((here + 1) % count, (here + count - 1) % count);
        let [next, before] = [next, before].map(|at| allocations[at].relayed);
        admit(traffic, clients, &mut allocations[here], next)?;
        if before != next {
            let channel = (options.framing == Framing::Channel).then_some(CHANNEL + 1);
            clients.admit(&mut traffic.ports, &mut allocations[here], channel, before)?;
        }
        let packet = wrapped(options, clients.transport, next);
        add_lane(traffic, Direction::Across, port, clients.server, packet);
    }
    Ok(())
}

/// Opens a port for each flow, with an allocation where one is to be refreshed.
pub(super) fn lay_slots(
    ports: &mut Ports,
    clients: &Clients,
    options: &Options,
    allocations: &mut Vec<Allocation>,
) -> io::Result<()> {
    for _ in 0..options.flows {
        stop_if_interrupted()?;
        let port = ports.add(clients.open()?)?;
        allocations.push(match options.mode() {
            Mode::Refresh => allocate(ports, clients, port)?,
            _ => {
                let session = Session::new(clients.login.clone());
                Allocation { port, session, relayed: clients.peer }
            }
        });
    }
    ports.set_nonblocking(true)
}

fn add(traffic: &mut Traffic<'_>, port: Port, shape: Shape) -> io::Result<usize> {
    stop_if_interrupted()?;
    traffic.shapes.push(shape);
    traffic.ports.add(port)
}

fn add_lane(
    traffic: &mut Traffic<'_>,
    direction: Direction,
    source: usize,
    to: SocketAddr,
    packet: (Vec<u8>, Mark),
) {
    traffic.lanes.push(Lane::new(traffic.lanes.len(), direction, source, to, packet));
}

fn open_allocation(
    traffic: &mut Traffic<'_>,
    clients: &Clients,
    allocations: &mut Vec<Allocation>,
) -> io::Result<usize> {
    let port = add(traffic, clients.open()?, Shape::Framed)?;
    allocations.push(allocate(&mut traffic.ports, clients, port)?);
    Ok(allocations.len() - 1)
}

/// Makes an allocation by a port, or by one that takes its place: some servers know a 5-tuple for a
/// while after its allocation has ended, and the system may give us its port again.
fn allocate(ports: &mut Ports, clients: &Clients, port: usize) -> io::Result<Allocation> {
    for _ in 0..PORTS_TRIED {
        match clients.allocate(ports, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                ports.replace(port, clients.open()?)?;
            }
            result => return result,
        }
    }
    clients.allocate(ports, port)
}

/// How many ports are tried for one allocation before the last.
const PORTS_TRIED: usize = 4;

fn admit(
    traffic: &mut Traffic<'_>,
    clients: &Clients,
    allocation: &mut Allocation,
    peer: SocketAddr,
) -> io::Result<()> {
    let channel = (traffic.options.framing == Framing::Channel).then_some(CHANNEL);
    clients.admit(&mut traffic.ports, allocation, channel, peer)
}

/// A packet as a client sends it.
fn wrapped(options: &Options, transport: Transport, peer: SocketAddr) -> (Vec<u8>, Mark) {
    let size = options.size as usize;
    let payload = vec![0; size];
    match options.framing {
        Framing::Channel => {
            let number = ChannelNumber::new(CHANNEL).expect("it is the lowest");
            let length = u16::try_from(size).expect("options bound the payload");
            let mut packet = channel_data_header(number, length).to_vec();
            packet.extend(payload);
            if transport.is_stream() {
                packet.resize(packet.len().next_multiple_of(4), 0);
            }
            (packet, Mark::Payload { at: CHANNEL_DATA_HEADER, size })
        }
        Framing::Indication => {
            let packet = send_indication(peer, payload);
            let at = packet.len() - size.next_multiple_of(4);
            (packet, Mark::Payload { at, size })
        }
    }
}

/// A Binding request; its transaction id is its stamp.
fn binding() -> (Vec<u8>, Mark) {
    let mut packet = vec![0, 1, 0, 0];
    packet.extend(MAGIC_COOKIE);
    packet.extend([0; 12]);
    (packet, Mark::Transaction)
}

fn stop_if_interrupted() -> io::Result<()> {
    if is_interrupted() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
}
