//! Third-party authorization (RFC 7635): what a token is worth, and what it is not. In the order of
//! §4, §7 and §9.

mod common;

use common::{
    Answer, AttributeType, Class, Client, ErrorCode, IntegrityKey, Method, Packet, Sim, UDP, V6,
    secs,
};
use hairpin::turn::Transport;
use hairpin::turn::config::{SharedKey, ThirdParty};
use hairpin::wire::password_algorithm::userhash;
use hairpin::wire::{AccessToken, Integrity, MacKey, PasswordAlgorithm, TokenAlgorithm, TokenKey};

const SERVER_NAME: &str = "turn.example.org";
const MAC_KEY: [u8; 20] = *b"a key of 160 bits...";
const OTHER_MAC_KEY: [u8; 20] = *b"another of 160 bits.";

fn shared(kid: &str, algorithm: TokenAlgorithm, byte: u8) -> SharedKey {
    let key = TokenKey::new(algorithm, &vec![byte; algorithm.key_length()]).expect("its length");
    SharedKey { kid: kid.into(), key, expires_unix: None }
}

fn keys() -> Vec<SharedKey> {
    vec![
        shared("north", TokenAlgorithm::A256Gcm, 1),
        shared("union", TokenAlgorithm::A128Gcm, 2),
        shared("south", TokenAlgorithm::A256CbcHs512, 3),
    ]
}

fn with(change: impl Fn(&mut ThirdParty)) -> impl Fn(&mut hairpin::turn::Config) {
    move |config| {
        let server_name = SERVER_NAME.to_owned();
        let mut third_party = ThirdParty { server_name, keys: keys(), coturn_clients: false };
        change(&mut third_party);
        config.credentials.third_party = Some(third_party);
    }
}

fn server() -> Sim {
    Sim::with(with(|_| {}))
}

/// A token and how a request is made with it: every part can be wrong.
#[derive(Clone)]
struct Bearer {
    kid: &'static str,
    server_name: &'static str,
    mac_key: Vec<u8>,
    timestamp: u64,
    lifetime: u32,
    /// Sealed with the key of this kid.
    sealed_by: &'static str,
    signed_by: IntegrityKey,
}

impl Bearer {
    /// A token made now, for an hour.
    fn new(sim: &Sim, kid: &'static str) -> Self {
        Self {
            kid,
            server_name: SERVER_NAME,
            mac_key: MAC_KEY.into(),
            timestamp: sim.unix_secs(),
            lifetime: 3600,
            sealed_by: kid,
            signed_by: IntegrityKey::from_bytes(&MAC_KEY),
        }
    }

    fn with_key(self, mac_key: &[u8]) -> Self {
        let signed_by = IntegrityKey::from_bytes(mac_key);
        Self { mac_key: mac_key.into(), signed_by, ..self }
    }

    fn token(&self) -> Vec<u8> {
        let keys = keys();
        let sealing = keys.iter().find(|key| key.kid == self.sealed_by).expect("one of ours");
        let mac_key = MacKey::new(&self.mac_key).expect("160 bits at least");
        let token = AccessToken { mac_key, timestamp: self.timestamp, lifetime: self.lifetime };
        sealing.key.seal(self.server_name.as_bytes(), [9; 12], &token)
    }

    fn log_in(&self, sim: &mut Sim, client: Client) {
        sim.log_in_by_key(client, self.kid, self.signed_by.clone());
    }

    fn ask(&self, sim: &mut Sim, client: Client, method: Method, lifetime: Option<u32>) -> Answer {
        ask_with(sim, client, method, lifetime, self, &self.token())
    }

    fn allocate(&self, sim: &mut Sim, client: Client) -> Answer {
        self.ask(sim, client, Method::ALLOCATE, None)
    }

    fn refresh(&self, sim: &mut Sim, client: Client, lifetime: impl Into<Option<u32>>) -> Answer {
        self.ask(sim, client, Method::REFRESH, lifetime.into())
    }
}

fn ask_with(
    sim: &mut Sim,
    client: Client,
    method: Method,
    lifetime: Option<u32>,
    bearer: &Bearer,
    token: &[u8],
) -> Answer {
    bearer.log_in(sim, client);
    sim.request_with(client, method, |mut packet: Packet| {
        if method == Method::ALLOCATE {
            packet = packet.with(AttributeType::REQUESTED_TRANSPORT, UDP);
        }
        if let Some(lifetime) = lifetime {
            packet = packet.with(AttributeType::LIFETIME, lifetime.to_be_bytes());
        }
        packet.with(AttributeType::ACCESS_TOKEN, token)
    })
}

const ADDRESS: &str = "198.51.100.1:4000";
const PEER: &str = "9.0.0.9:9";

/// A client with an allocation that a token under `kid` has made.
fn allocated(sim: &mut Sim, kid: &'static str) -> (Client, Bearer) {
    let client = sim.client(ADDRESS);
    let bearer = Bearer::new(sim, kid);
    bearer.allocate(sim, client).success();
    (client, bearer)
}

/// Refused with a challenge that nobody's key has signed, and with nothing left behind.
#[track_caller]
fn unauthenticated(sim: &Sim, answer: Answer) {
    let response = answer.rejected(401);
    assert!(response.has(AttributeType::NONCE));
    assert!(!response.has(AttributeType::MESSAGE_INTEGRITY));
    assert_eq!(sim.stats().allocations, 0);
    assert!(sim.actions.is_empty());
}

// ---- §4: the challenge

#[test]
fn a_challenge_tells_that_tokens_are_taken_and_for_which_name() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let response = sim.challenge(client);
    assert_eq!(response.get(AttributeType::THIRD_PARTY_AUTHORIZATION), SERVER_NAME.as_bytes());
    assert!(response.has(AttributeType::NONCE));
    assert_eq!(response.get(AttributeType::SOFTWARE), b"hairpin", "strangers learn no version");
}

#[test]
fn where_no_tokens_are_taken_a_challenge_tells_nothing_of_them() {
    let mut sim = Sim::new();
    let client = sim.client(ADDRESS);
    let response = sim.challenge(client);
    assert!(!response.has(AttributeType::THIRD_PARTY_AUTHORIZATION));
    assert!(!response.has(AttributeType::SOFTWARE));
}

#[test]
fn a_stale_nonce_is_told_without_the_name() {
    let mut sim = server();
    let (client, _) = allocated(&mut sim, "north");
    let packet = sim.packet(Method::REFRESH);
    let key = IntegrityKey::from_bytes(&MAC_KEY);
    let packet = packet
        .with(AttributeType::USERNAME, "north")
        .with(AttributeType::REALM, "example.org")
        .with(AttributeType::NONCE, "not one of ours")
        .signed(&key);
    let response = sim.ask(client, &packet).rejected(438);
    assert!(!response.has(AttributeType::THIRD_PARTY_AUTHORIZATION));
}

// ---- §7: what the server does with a token

#[test]
fn a_token_of_each_algorithm_gets_an_allocation() {
    for kid in ["north", "union", "south"] {
        let mut sim = server();
        let client = sim.client(ADDRESS);
        let response = Bearer::new(&sim, kid).allocate(&mut sim, client).success();
        assert_eq!(response.lifetime(), 600, "{kid}");
    }
}

/// §7: "Any response generated by the server MUST include the MESSAGE-INTEGRITY attribute, computed
/// using the mac_key."
#[test]
fn success_and_error_are_signed_with_the_key_of_the_session() {
    let mut sim = server();
    let (client, bearer) = allocated(&mut sim, "north");
    // Another Allocate on the 5-tuple.
    bearer.allocate(&mut sim, client).rejected(437);
    bearer.refresh(&mut sim, client, 700).success();
}

#[test]
fn a_request_that_is_signed_by_sha256_is_answered_so() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let mac_key = [7; 32];
    let signed_by = IntegrityKey::new(Integrity::Sha256, &mac_key);
    let bearer = Bearer { mac_key: mac_key.into(), signed_by, ..Bearer::new(&sim, "north") };
    bearer.allocate(&mut sim, client).success();
    sim.permit(client, PEER).success();
}

/// Appendix B: both integrities come from one key of 256 bits.
#[test]
fn a_session_goes_on_in_the_other_integrity_with_the_same_key() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let mac_key = MacKey::new(&[7; 32]).expect("256 bits");
    let signed_by = mac_key.keyed(Integrity::Sha1);
    let bearer = Bearer { mac_key: vec![7; 32], signed_by, ..Bearer::new(&sim, "north") };
    bearer.allocate(&mut sim, client).success();
    sim.log_in_by_key(client, "north", mac_key.keyed(Integrity::Sha256));
    sim.permit(client, PEER).success();
    sim.log_in_by_key(client, "north", mac_key.keyed(Integrity::Sha1));
    sim.permit(client, PEER).success();
}

#[test]
fn a_token_under_no_key_or_another_ones_is_refused() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    for kid in ["nosuchkid", "", "alice", "union", "south"] {
        let bearer = Bearer { kid, ..Bearer::new(&sim, "north") };
        let answer = bearer.allocate(&mut sim, client);
        unauthenticated(&sim, answer);
    }
}

#[test]
fn a_token_for_another_server_is_refused() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    for server_name in ["other.example.org", "", "turn.example.or", "TURN.example.org"] {
        let bearer = Bearer { server_name, ..Bearer::new(&sim, "north") };
        let answer = bearer.allocate(&mut sim, client);
        unauthenticated(&sim, answer);
    }
}

#[test]
fn a_request_that_is_not_signed_with_the_tokens_key_is_refused() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let long_term = IntegrityKey::long_term(b"alice", b"example.org", b"wonderland");
    for key in [IntegrityKey::from_bytes(&OTHER_MAC_KEY), IntegrityKey::from_bytes(b""), long_term]
    {
        let bearer = Bearer { signed_by: key, ..Bearer::new(&sim, "north") };
        let answer = bearer.allocate(&mut sim, client);
        unauthenticated(&sim, answer);
    }
}

#[test]
fn garbage_and_every_beginning_of_a_token_are_refused_and_leave_nothing() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let bearer = Bearer::new(&sim, "north");
    let token = bearer.token();
    let mut tokens: Vec<Vec<u8>> = (0..token.len()).map(|end| token[..end].into()).collect();
    tokens.extend((0..token.len()).map(|at| {
        let mut changed = token.clone();
        changed[at] ^= 0x10;
        changed
    }));
    tokens.extend([
        b"token123".to_vec(),
        vec![0xFF; 64],
        vec![0; 900],
        [&token[..], &[0]].concat(),
    ]);
    for token in tokens {
        let answer = ask_with(&mut sim, client, Method::ALLOCATE, None, &bearer, &token);
        unauthenticated(&sim, answer);
    }
    bearer.allocate(&mut sim, client).success();
}

#[test]
fn without_integrity_or_what_it_is_made_from_a_token_is_nothing() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    sim.challenge(client);
    let token = Bearer::new(&sim, "north").token();
    let packet = sim
        .packet(Method::ALLOCATE)
        .with(AttributeType::REQUESTED_TRANSPORT, UDP)
        .with(AttributeType::ACCESS_TOKEN, &token);
    sim.ask(client, &packet).rejected(401);
    let nameless = packet.clone().signed(&IntegrityKey::from_bytes(&MAC_KEY));
    sim.ask(client, &nameless).rejected(400);
    assert_eq!(sim.stats().allocations, 0);
}

/// What stands behind the integrity is not covered by it (RFC 8489 §14.5).
#[test]
fn a_token_behind_the_integrity_does_not_exist() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    sim.challenge(client);
    let bearer = Bearer::new(&sim, "north");
    bearer.log_in(&mut sim, client);
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let packet = sim.sign(client, packet).with(AttributeType::ACCESS_TOKEN, bearer.token());
    let answer = sim.ask(client, &packet);
    unauthenticated(&sim, answer);
}

/// "lifetime + Delta > abs(RDnew - TS)", Delta being five seconds.
#[test]
fn a_token_is_good_from_its_timestamp_to_its_end_and_five_seconds_around() {
    let cases = [
        (0, true),
        (-700, true),
        (-704, true),
        (-705, false),
        (-7200, false),
        (700, true),
        (704, true),
        (705, false),
        (7200, false),
    ];
    for (offset, is_good) in cases {
        let mut sim = server();
        let client = sim.client(ADDRESS);
        let timestamp = sim.unix_secs().checked_add_signed(offset).expect("a time");
        let bearer = Bearer { timestamp, lifetime: 700, ..Bearer::new(&sim, "north") };
        let answer = bearer.allocate(&mut sim, client);
        if is_good {
            answer.success();
        } else {
            unauthenticated(&sim, answer);
        }
    }
}

#[test]
fn a_token_with_the_strangest_times_is_refused() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let now = sim.unix_secs();
    for (timestamp, lifetime) in [(0, 3600), ((1 << 48) - 1, u32::MAX), (now, 0)] {
        let bearer = Bearer { timestamp, lifetime, ..Bearer::new(&sim, "north") };
        let answer = bearer.allocate(&mut sim, client);
        unauthenticated(&sim, answer);
    }
}

#[test]
fn a_key_that_has_expired_opens_nothing() {
    let mut sim = Sim::with(with(|third_party| {
        third_party.keys[0].expires_unix = Some(common::sim::EPOCH + 100);
    }));
    let client = sim.client(ADDRESS);
    let bearer = Bearer::new(&sim, "north");
    bearer.allocate(&mut sim, client).success();
    sim.pass(secs(99));
    // The session outlives it, as its token does; new tokens under it are refused.
    sim.refresh(client, None).success();
    bearer.refresh(&mut sim, client, None).rejected(401);
    let other = sim.client("198.51.100.2:4000");
    bearer.allocate(&mut sim, other).rejected(401);
    Bearer::new(&sim, "union").allocate(&mut sim, other).success();
}

/// "it will respond with an error code of 420 (Unknown Attribute)": once the sender is known, as
/// for every attribute that is not understood (RFC 8489 §6.3).
#[test]
fn a_token_where_none_are_taken_is_an_unknown_attribute() {
    let mut sim = Sim::new();
    let client = sim.client(ADDRESS);
    let answer = sim.allocate_with(client, &[(AttributeType::ACCESS_TOKEN, b"token123")]);
    let response = answer.rejected(420);
    let unknown = response.get(AttributeType::UNKNOWN_ATTRIBUTES);
    assert_eq!(unknown, AttributeType::ACCESS_TOKEN.0.to_be_bytes());
    assert_eq!(sim.stats().allocations, 0);

    let answer = Bearer::new(&sim, "north").allocate(&mut sim, client);
    unauthenticated(&sim, answer);

    let packet = sim.packet(Method::BINDING).with(AttributeType::ACCESS_TOKEN, b"token123");
    let response = sim.ask(client, &packet).rejected(420);
    assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0, 0x1B]);
}

#[test]
fn an_unknown_attribute_beside_a_token_is_named_alone_where_tokens_are_taken() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let bearer = Bearer::new(&sim, "north");
    bearer.log_in(&mut sim, client);
    let answer = sim.request_with(client, Method::ALLOCATE, |packet| {
        packet
            .with(AttributeType(0x7F00), b"")
            .with(AttributeType::REQUESTED_TRANSPORT, UDP)
            .with(AttributeType::ACCESS_TOKEN, bearer.token())
    });
    let response = answer.rejected(420);
    assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0x7F, 0]);
}

#[test]
fn a_binding_request_is_answered_whatever_token_it_carries() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let packet = sim.packet(Method::BINDING).with(AttributeType::ACCESS_TOKEN, b"token123");
    let response = sim.ask(client, &packet).response.expect("an answer");
    assert_eq!(response.class, Class::Success);
}

// ---- beside users

#[test]
fn users_and_time_limited_users_log_in_beside_tokens() {
    let mut sim = server();
    let alice = sim.client("198.51.100.2:4000");
    sim.allocate(alice).success();
    let timed = sim.client("198.51.100.3:4000");
    sim.log_in_for(timed, 600, "carol");
    sim.allocate(timed).success();
    allocated(&mut sim, "north");
}

#[test]
fn a_users_password_does_not_help_a_bad_token() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let answer = sim.allocate_with(client, &[(AttributeType::ACCESS_TOKEN, b"token123")]);
    unauthenticated(&sim, answer);
}

#[test]
fn a_token_and_a_user_do_not_get_at_each_others_allocations() {
    let mut sim = server();
    let (client, _) = allocated(&mut sim, "north");
    sim.log_in(client, "alice", "wonderland");
    sim.refresh(client, 0).rejected(441);
    sim.permit(client, PEER).rejected(441);
    sim.allocate(client).rejected(437);

    let alices = sim.client("198.51.100.2:4000");
    sim.allocate(alices).success();
    let bearer = Bearer::new(&sim, "north");
    bearer.refresh(&mut sim, alices, 0).rejected(441);
    bearer.allocate(&mut sim, alices).rejected(437);
    assert_eq!(sim.stats().allocations, 2);
}

/// Configuration keeps the names apart; here it has not, and nothing comes of it but a quota.
#[test]
fn a_user_who_is_called_like_a_key_is_somebody_else() {
    let mut sim = Sim::with(|config| {
        with(|third_party| third_party.keys[0].kid = "alice".into())(config);
    });
    let client = sim.client(ADDRESS);
    let bearer = Bearer { kid: "alice", ..Bearer::new(&sim, "north") };
    bearer.allocate(&mut sim, client).success();
    sim.log_in(client, "alice", "wonderland");
    sim.refresh(client, 0).rejected(401);

    let alices = sim.client("198.51.100.2:4000");
    sim.allocate(alices).success();
    bearer.refresh(&mut sim, alices, 0).rejected(441);
    assert_eq!(sim.stats().allocations, 2);
}

#[test]
fn a_key_may_be_named_by_its_hash() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    sim.challenge(client);
    let bearer = Bearer::new(&sim, "north");
    let packet = sim
        .packet(Method::ALLOCATE)
        .with(AttributeType::REQUESTED_TRANSPORT, UDP)
        .with(AttributeType::ACCESS_TOKEN, bearer.token())
        .with(AttributeType::USERHASH, userhash(b"north", b"example.org"))
        .with(AttributeType::REALM, "example.org")
        .with(AttributeType::NONCE, sim.nonce(client))
        .signed(&bearer.signed_by);
    bearer.log_in(&mut sim, client);
    sim.ask(client, &packet).success();
}

/// RFC 8489 §9.2.5: a client that was offered password algorithms repeats them.
#[test]
fn password_algorithms_beside_a_token_are_checked_and_change_nothing() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    sim.challenge(client);
    let bearer = Bearer::new(&sim, "north");
    bearer.log_in(&mut sim, client);
    for (offer, code) in [(&PasswordAlgorithm::OFFER[..], None), (&[0, 1, 0, 0], Some(400))] {
        let packet = sim
            .packet(Method::ALLOCATE)
            .with(AttributeType::REQUESTED_TRANSPORT, UDP)
            .with(AttributeType::PASSWORD_ALGORITHMS, offer)
            .with(AttributeType::PASSWORD_ALGORITHM, [0, 2, 0, 0])
            .with(AttributeType::ACCESS_TOKEN, bearer.token());
        let packet = sim.sign(client, packet);
        let answer = sim.ask(client, &packet);
        match code {
            None => drop(answer.success()),
            Some(code) => drop(answer.rejected(code)),
        }
    }
}

// ---- §9: allocations

#[test]
fn one_token_is_good_for_several_allocations() {
    let mut sim = server();
    let bearer = Bearer::new(&sim, "north");
    for port in 4000..4003 {
        let client = sim.client(&format!("198.51.100.1:{port}"));
        bearer.allocate(&mut sim, client).success();
    }
    assert_eq!(sim.stats().allocations, 3);
}

/// "the lifetime provided … MUST be less than or equal to the lifetime of the token"
#[test]
fn no_allocation_is_given_longer_than_its_token() {
    for (lifetime, age, wanted, granted) in [
        (700, 0, Some(3600), 700),
        (700, 100, Some(3600), 605),
        (100, 0, None, 100),
        (3600, 0, None, 600),
        (3600, 0, Some(3600), 3600),
        (100_000, 0, Some(7200), 3600),
    ] {
        let mut sim = server();
        let client = sim.client(ADDRESS);
        let timestamp = sim.unix_secs() - age;
        let bearer = Bearer { timestamp, lifetime, ..Bearer::new(&sim, "north") };
        let response = bearer.ask(&mut sim, client, Method::ALLOCATE, wanted).success();
        assert_eq!(response.lifetime(), granted);
        sim.pass(secs(u64::from(granted)) - 1);
        assert_eq!(sim.stats().allocations, 1);
        sim.pass(1);
        assert_eq!(sim.stats().allocations, 0, "{granted} s are over");
    }
}

#[test]
fn later_requests_carry_no_token_and_are_signed_with_the_sessions_key() {
    let mut sim = server();
    let (client, _) = allocated(&mut sim, "north");
    sim.permit(client, PEER).success();
    sim.bind_channel(client, 0x4000, PEER).success();
    sim.refresh(client, 900).success();
    sim.send(client, PEER, b"hello").reaches(PEER);
    sim.refresh(client, 0).success();
    sim.refresh(client, None).rejected(401);
}

#[test]
fn a_session_answers_for_its_own_5_tuple_only() {
    let mut sim = server();
    allocated(&mut sim, "north");
    let other = sim.client("198.51.100.2:4000");
    sim.log_in_by_key(other, "north", IntegrityKey::from_bytes(&MAC_KEY));
    sim.allocate(other).rejected(401);
}

#[test]
fn without_a_new_token_an_allocation_ends_with_its_old_one() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let bearer = Bearer { lifetime: 900, ..Bearer::new(&sim, "north") };
    bearer.allocate(&mut sim, client).success();
    sim.pass(secs(500));
    assert_eq!(sim.refresh(client, 3600).success().lifetime(), 400);
    sim.pass(secs(399));
    assert_eq!(sim.refresh(client, None).success().lifetime(), 1);
    sim.pass(secs(1));
    sim.refresh(client, None).rejected(401);
    assert_eq!(sim.stats().allocations, 0);
}

/// "The client MUST use the new token to refresh existing allocations."
#[test]
fn a_refresh_with_a_new_token_renews_the_session_whichever_key_it_is_under() {
    let mut sim = server();
    let (client, old) = allocated(&mut sim, "north");
    sim.pass(secs(590));
    let new = Bearer::new(&sim, "union").with_key(&OTHER_MAC_KEY);
    assert_eq!(new.refresh(&mut sim, client, 3600).success().lifetime(), 3600);
    sim.permit(client, PEER).success();
    // The old key is nobody's now.
    old.log_in(&mut sim, client);
    sim.permit(client, PEER).rejected(401);
    sim.pass(secs(3599));
    new.log_in(&mut sim, client);
    assert_eq!(sim.refresh(client, 3600).success().lifetime(), 1);
}

#[test]
fn a_refresh_with_an_expired_token_changes_nothing() {
    let mut sim = server();
    let (client, bearer) = allocated(&mut sim, "north");
    let expired = Bearer { timestamp: sim.unix_secs() - 7200, ..bearer };
    expired.refresh(&mut sim, client, 3600).rejected(401);
    let response = sim.refresh(client, None).success();
    assert_eq!(response.lifetime(), 600);
}

#[test]
fn a_refresh_to_zero_with_a_token_ends_the_allocation() {
    let mut sim = server();
    let (client, bearer) = allocated(&mut sim, "north");
    assert_eq!(bearer.refresh(&mut sim, client, 0).success().lifetime(), 0);
    sim.nothing_left();
}

#[test]
fn an_allocate_that_is_sent_twice_is_answered_twice_and_made_once() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    sim.challenge(client);
    let bearer = Bearer::new(&sim, "north");
    bearer.log_in(&mut sim, client);
    let packet = sim
        .packet(Method::ALLOCATE)
        .with(AttributeType::REQUESTED_TRANSPORT, UDP)
        .with(AttributeType::ACCESS_TOKEN, bearer.token());
    let packet = sim.sign(client, packet);
    let first = sim.ask(client, &packet).success();
    let again = sim.ask(client, &packet).success();
    assert_eq!(first.bytes, again.bytes);
    assert_eq!(sim.stats().allocations, 1);
}

#[test]
fn the_quota_counts_for_the_bearer_of_a_token() {
    let mut sim = server();
    sim.quota = 2;
    let mut clients = (0..9).map(|n| format!("198.51.100.{n}:4000"));
    let mut next = |sim: &mut Sim| sim.client(&clients.next().expect("another"));
    let bearer = Bearer::new(&sim, "north");
    let [first, second, third] = [next(&mut sim), next(&mut sim), next(&mut sim)];
    bearer.allocate(&mut sim, first).success();
    bearer.allocate(&mut sim, second).success();
    bearer.allocate(&mut sim, third).rejected(486);
    // Another bearer has an account of its own, and so has one under another key.
    bearer.clone().with_key(&OTHER_MAC_KEY).allocate(&mut sim, third).success();
    let union = Bearer::new(&sim, "union");
    let fourth = next(&mut sim);
    union.allocate(&mut sim, fourth).success();
    // A new token changes nothing about whom the allocation counts for.
    union.refresh(&mut sim, first, None).success();
    union.refresh(&mut sim, first, 0).success();
    let fifth = next(&mut sim);
    bearer.allocate(&mut sim, fifth).success();
    let sixth = next(&mut sim);
    bearer.allocate(&mut sim, sixth).rejected(486);
    for client in [second, third, fourth, fifth] {
        union.refresh(&mut sim, client, 0).success();
    }
    sim.nothing_left();
}

#[test]
fn a_reserved_port_is_taken_with_a_new_token_and_not_by_a_user() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let north = Bearer::new(&sim, "north");
    north.log_in(&mut sim, client);
    let token = north.token();
    let reserving =
        [(AttributeType::EVEN_PORT, &[0x80][..]), (AttributeType::ACCESS_TOKEN, &token)];
    let response = sim.allocate_with(client, &reserving).success();
    let reservation = response.get(AttributeType::RESERVATION_TOKEN).to_vec();
    let taking = (AttributeType::RESERVATION_TOKEN, &reservation[..]);

    let alice = sim.client("198.51.100.1:4001");
    sim.allocate_with(alice, &[taking]).rejected(508);

    let second = sim.client("198.51.100.1:4002");
    let union = Bearer::new(&sim, "union").with_key(&OTHER_MAC_KEY);
    union.log_in(&mut sim, second);
    let token = union.token();
    let taken = sim.allocate_with(second, &[taking, (AttributeType::ACCESS_TOKEN, &token)]);
    assert_eq!(taken.success().relayed().port(), response.relayed().port() + 1);
}

// ---- coturn's clients

#[test]
fn keys_cut_to_128_bits_are_taken_where_the_operator_says_so() {
    let cut = |sim: &Sim| Bearer {
        signed_by: IntegrityKey::from_bytes(&MAC_KEY[..16]),
        ..Bearer::new(sim, "north")
    };
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let answer = cut(&sim).allocate(&mut sim, client);
    unauthenticated(&sim, answer);

    let mut sim = Sim::with(with(|third_party| third_party.coturn_clients = true));
    let client = sim.client(ADDRESS);
    cut(&sim).allocate(&mut sim, client).success();
    sim.permit(client, PEER).success();
    // Whoever uses all of it is served as well, but not in the session of one who does not.
    Bearer::new(&sim, "north").log_in(&mut sim, client);
    sim.permit(client, PEER).rejected(401);
    let whole = sim.client("198.51.100.2:4000");
    Bearer::new(&sim, "north").allocate(&mut sim, whole).success();
    sim.permit(whole, PEER).success();
    // Nothing shorter, nothing longer, nothing for HMAC-SHA-256.
    let sha256 = IntegrityKey::new(Integrity::Sha256, &MAC_KEY[..16]);
    for signed_by in
        [IntegrityKey::from_bytes(&MAC_KEY[..15]), IntegrityKey::from_bytes(&MAC_KEY[..19]), sha256]
    {
        let other = sim.client("198.51.100.3:4000");
        let bearer = Bearer { signed_by, ..Bearer::new(&sim, "north") };
        bearer.allocate(&mut sim, other).rejected(401);
    }
}

#[test]
fn a_token_is_one_user_whichever_part_of_its_key_signs() {
    let mut sim = Sim::with(with(|third_party| third_party.coturn_clients = true));
    sim.quota = 1;
    let first = sim.client(ADDRESS);
    Bearer::new(&sim, "north").allocate(&mut sim, first).success();
    let second = sim.client("198.51.100.2:4000");
    let signed_by = IntegrityKey::from_bytes(&MAC_KEY[..16]);
    let cut = Bearer { signed_by, ..Bearer::new(&sim, "north") };
    cut.allocate(&mut sim, second).rejected(486);
}

/// RFC 7635 §9: no longer than the token, and the new one is the token of both halves.
#[test]
fn a_shorter_token_for_one_half_is_the_others_end_as_well() {
    let mut sim = server();
    let client = sim.client(ADDRESS);
    let bearer = Bearer::new(&sim, "north");
    bearer.log_in(&mut sim, client);
    let token = bearer.token();
    sim.request_with(client, Method::ALLOCATE, |packet| {
        packet
            .with(AttributeType::REQUESTED_TRANSPORT, UDP)
            .with(AttributeType::ADDITIONAL_ADDRESS_FAMILY, V6)
            .with(AttributeType::ACCESS_TOKEN, &token)
    })
    .success();
    let short = Bearer { lifetime: 60, ..Bearer::new(&sim, "north") };
    short.log_in(&mut sim, client);
    let token = short.token();
    sim.request_with(client, Method::REFRESH, |packet| {
        packet
            .with(AttributeType::REQUESTED_ADDRESS_FAMILY, V6)
            .with(AttributeType::ACCESS_TOKEN, &token)
    })
    .success();
    sim.pass(secs(61));
    assert_eq!(sim.stats().allocations, 0);
}

// ---- RFC 6062: a connection of its own, maybe another core's

fn tcp_allocated(sim: &mut Sim) -> (Client, Bearer) {
    let client = sim.client_on(0, Transport::Tcp, ADDRESS);
    let bearer = Bearer::new(sim, "north");
    bearer.log_in(sim, client);
    let token = bearer.token();
    let token = (AttributeType::ACCESS_TOKEN, &token[..]);
    sim.allocate_tcp_with(client, &[token]).success();
    (client, bearer)
}

fn two_cores() -> Sim {
    Sim::cores(2, 1, with(|_| {}))
}

#[test]
fn a_connection_is_bound_by_the_sessions_key_whichever_core_it_comes_to() {
    for core in [0, 1] {
        let mut sim = two_cores();
        let (client, bearer) = tcp_allocated(&mut sim);
        let id = sim.connect_to(client, PEER);
        let data = sim.client_on(core, Transport::Tcp, "198.51.100.1:4001");
        bearer.log_in(&mut sim, data);
        sim.bind_connection(data, id).success();
    }
}

#[test]
fn a_connection_is_bound_by_a_token_as_well() {
    let mut sim = two_cores();
    let (client, bearer) = tcp_allocated(&mut sim);
    let id = sim.connect_to(client, PEER);
    let data = sim.client_on(1, Transport::Tcp, "198.51.100.1:4001");
    bearer.log_in(&mut sim, data);
    let answer = sim.request_with(data, Method::CONNECTION_BIND, |packet| {
        packet
            .with(AttributeType::CONNECTION_ID, id.0.to_be_bytes())
            .with(AttributeType::ACCESS_TOKEN, bearer.token())
    });
    answer.success();
}

#[test]
fn nobody_else_binds_the_connection_of_a_session_or_learns_that_it_is_there() {
    let mut sim = two_cores();
    let (client, bearer) = tcp_allocated(&mut sim);
    let id = sim.connect_to(client, PEER);
    let data = sim.client_on(1, Transport::Tcp, "198.51.100.1:4001");
    sim.challenge(data);
    sim.bind_connection(data, id).rejected(441); // alice
    sim.log_in_by_key(data, "north", IntegrityKey::from_bytes(&OTHER_MAC_KEY));
    let there = sim.bind_connection(data, id).rejected(401);
    assert!(there.has(AttributeType::THIRD_PARTY_AUTHORIZATION));
    let mut not_there = id;
    not_there.0 ^= 2;
    let not_there = sim.bind_connection(data, not_there).rejected(401);
    assert_eq!(there.kinds(), not_there.kinds());
    // The key of the session under another name.
    sim.log_in_by_key(data, "union", IntegrityKey::from_bytes(&MAC_KEY));
    sim.bind_connection(data, id).rejected(401);
    // Another's token: whoever has seen the id pass.
    let other = Bearer::new(&sim, "north").with_key(&OTHER_MAC_KEY);
    other.log_in(&mut sim, data);
    let answer = sim.request_with(data, Method::CONNECTION_BIND, |packet| {
        packet
            .with(AttributeType::CONNECTION_ID, id.0.to_be_bytes())
            .with(AttributeType::ACCESS_TOKEN, other.token())
    });
    answer.rejected(441);
    bearer.log_in(&mut sim, data);
    sim.bind_connection(data, id).success();
}

/// A Connect is answered with the key that it was signed with, whatever has come in between.
#[test]
fn a_late_answer_is_signed_as_its_request_was() {
    let mut sim = two_cores();
    let (client, bearer) = tcp_allocated(&mut sim);
    sim.connect(client, PEER).nothing();
    let next = Bearer::new(&sim, "north").with_key(&OTHER_MAC_KEY);
    next.refresh(&mut sim, client, 600).success();
    sim.connected(Ok(()));
    let answer = sim.heard(client);
    bearer.log_in(&mut sim, client);
    sim.answer(client, answer).success();
}

#[test]
fn the_connection_of_a_user_is_not_bound_by_a_token() {
    let mut sim = two_cores();
    let client = sim.client_on(0, Transport::Tcp, ADDRESS);
    sim.allocate_tcp(client).success();
    let id = sim.connect_to(client, PEER);
    let data = sim.client_on(1, Transport::Tcp, "198.51.100.1:4001");
    let bearer = Bearer::new(&sim, "north");
    bearer.log_in(&mut sim, data);
    sim.bind_connection(data, id).rejected(401);
    let answer = sim.request_with(data, Method::CONNECTION_BIND, |packet| {
        packet
            .with(AttributeType::CONNECTION_ID, id.0.to_be_bytes())
            .with(AttributeType::ACCESS_TOKEN, bearer.token())
    });
    answer.rejected(441);
}

#[test]
fn a_bind_without_a_good_nonce_or_a_connection_id_goes_to_no_other_core() {
    let mut sim = two_cores();
    let (_, bearer) = tcp_allocated(&mut sim);
    sim.actions.clear();
    let data = sim.client_on(1, Transport::Tcp, "198.51.100.1:4001");
    bearer.log_in(&mut sim, data);
    let packet = |sim: &mut Sim| {
        sim.packet(Method::CONNECTION_BIND).with(AttributeType::CONNECTION_ID, 1_u32.to_be_bytes())
    };
    let nonceless = packet(&mut sim);
    let nonceless = sim.sign(data, nonceless);
    sim.ask(data, &nonceless).rejected(438);
    let without_id = sim.packet(Method::CONNECTION_BIND);
    let without_id = sim.sign(data, without_id);
    sim.ask(data, &without_id).rejected(400);
    let long = packet(&mut sim).with(AttributeType(0xFF00), [0; 2048]);
    let long = sim.sign(data, long);
    sim.ask(data, &long).rejected(401);
    let unsigned = packet(&mut sim);
    sim.ask(data, &unsigned).rejected(401);
    assert!(sim.actions.is_empty());
    let datagrams = sim.client("198.51.100.2:4000");
    bearer.log_in(&mut sim, datagrams);
    sim.bind_connection(datagrams, hairpin::turn::ConnectionId(1)).rejected(400);
    assert_eq!(sim.cores[1].stats().errors(ErrorCode::STALE_NONCE), 1);
}

#[test]
fn a_bind_that_does_not_reach_the_other_core_is_told() {
    let mut sim = two_cores();
    let (client, bearer) = tcp_allocated(&mut sim);
    let id = sim.connect_to(client, PEER);
    sim.cut_off = true;
    let data = sim.client_on(1, Transport::Tcp, "198.51.100.1:4001");
    bearer.log_in(&mut sim, data);
    let response = sim.bind_connection(data, id).response.expect("an answer");
    assert_eq!(response.code(), Some(508));
}

#[test]
fn no_key_shows_in_debug() {
    let mut sim = server();
    allocated(&mut sim, "north");
    let shown = format!("{:#?}", sim.cores[0]).replace(|c: char| c.is_whitespace(), "");
    assert!(shown.contains("MacKey(160bits)"));
    for byte in [1, 2, 3] {
        assert!(!shown.contains(&format!("{byte},{byte},{byte},{byte}")), "a shared key");
    }
    assert!(!shown.contains(&MAC_KEY[..4].iter().map(|b| format!("{b},")).collect::<String>()));
}

/// RFC 8016 §3.2.2: a ticket may be seen on the way, and whoever sees it may have a good token of
/// their own.
#[test]
fn a_ticket_is_good_for_the_session_that_got_it_and_for_no_other() {
    for core in [0, 1] {
        let mut sim = Sim::cores(2, 1, with(|_| {}));
        let home = sim.client(ADDRESS);
        let bearer = Bearer::new(&sim, "north");
        bearer.log_in(&mut sim, home);
        let all = [
            (AttributeType::ACCESS_TOKEN, &bearer.token()[..]),
            (AttributeType::MOBILITY_TICKET, b""),
        ];
        let response = sim.allocate_with(home, &all).success();
        let ticket = response.get(AttributeType::MOBILITY_TICKET).to_vec();
        let both = |bearer: &Bearer, ticket: &[u8]| {
            let (token, ticket) = (bearer.token(), ticket.to_vec());
            move |packet: Packet| {
                packet
                    .with(AttributeType::ACCESS_TOKEN, &token)
                    .with(AttributeType::MOBILITY_TICKET, &ticket)
            }
        };
        let away = sim.client_on(core, Transport::Udp, "203.0.113.5:5000");
        for kid in ["north", "union"] {
            let thief = Bearer::new(&sim, kid).with_key(&OTHER_MAC_KEY);
            thief.log_in(&mut sim, away);
            sim.request_with(away, Method::REFRESH, both(&thief, &ticket)).rejected(441);
            sim.show(away, &ticket).rejected(401);
        }
        sim.log_in(away, "alice", "wonderland");
        sim.show(away, &ticket).rejected(441);
        assert_eq!(sim.stats().moves, 0);
        // By the session's key, and by its token once more.
        bearer.log_in(&mut sim, away);
        let ticket = sim.resume(home, away, &ticket);
        let far = sim.client_on(core, Transport::Tcp, "[2001:db8::77]:6000");
        bearer.log_in(&mut sim, far);
        sim.request_with(far, Method::REFRESH, both(&bearer, &ticket)).success();
        sim.refresh(far, 0).success();
        sim.nothing_left();
    }
}
