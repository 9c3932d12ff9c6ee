//! What was sent first counts first, whichever socket it came by.

use super::*;

#[test]
fn what_was_sent_before_the_allocation_was_deleted_still_leaves() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    for round in 0..50_u8 {
        let mut client = Client::udp(server.address, "alice");
        let relayed = client.allocate();
        client.bind_channel(0x4001, peer_addr);
        let end = [(AttributeType::LIFETIME, &[0; 4][..])];
        let end = client.message(Method::REFRESH, Class::Request, &end, None);
        // These arrive together often enough to be decided in one batch.
        client.write(&channel_data(0x4001, &[round]));
        client.write(&end);
        client.write(&channel_data(0x4001, b"too late"));
        success(&client.read());
        assert!(UdpSocket::bind(relayed).is_ok());
        // What came behind it may have been in time, as if the network had changed their order.
        let mut buffer = [0; 8];
        while peer.recv(&mut buffer).unwrap() != 1 {}
        assert_eq!(buffer[0], round);
    }
    server.stop();
}

#[test]
fn media_right_behind_the_request_that_it_needs_is_relayed() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    for round in 0..50_u8 {
        let mut client = Client::udp(server.address, "alice");
        client.allocate();
        let number = 0x4001_u16.to_be_bytes();
        let bind = [(AttributeType::CHANNEL_NUMBER, &[number[0], number[1], 0, 0][..])];
        let bind = client.message(Method::CHANNEL_BIND, Class::Request, &bind, Some(peer_addr));
        client.write(&bind);
        client.write(&channel_data(0x4001, &[round]));
        success(&client.read());
        let mut buffer = [0; 8];
        assert_eq!(peer.recv(&mut buffer).unwrap(), 1);
        assert_eq!(buffer[0], round);
    }
    server.stop();
}
