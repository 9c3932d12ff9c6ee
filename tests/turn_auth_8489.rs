//! What RFC 8489 has beyond RFC 5389 (§9.2): password algorithms, MESSAGE-INTEGRITY-SHA256,
//! USERHASH, and that nobody on the way can talk two ends out of them. In the order of §9.2.4.

mod common;

use std::slice::from_ref;

use common::sim::{SECRET, time_limited_password};
use common::{
    Action, AttributeType, Class, Client, ErrorCode, IntegrityKey, Method, Packet, Response, Sim,
    UDP, secs,
};
use hairpin::turn::config::{Config, User};
use hairpin::wire::password_algorithm::userhash;
use hairpin::wire::{Integrity, PasswordAlgorithm};

const REALM: &[u8] = b"example.org";
const BOTH: &[u8] = &PasswordAlgorithm::OFFER;
const MD5: [u8; 4] = [0, 1, 0, 0];
const SHA256: [u8; 4] = [0, 2, 0, 0];

/// How a client logs in: every part of it can be wrong.
#[derive(Clone, Debug)]
struct Login {
    user: Vec<(AttributeType, Vec<u8>)>,
    /// PASSWORD-ALGORITHMS and PASSWORD-ALGORITHM.
    algorithms: Option<Vec<u8>>,
    algorithm: Option<Vec<u8>>,
    nonce: Vec<u8>,
    keys: Vec<IntegrityKey>,
}

fn key(user: &str, password: &str, algorithm: PasswordAlgorithm, as_: Integrity) -> IntegrityKey {
    algorithm.key(user.as_bytes(), REALM, password.as_bytes()).keyed(as_)
}

fn hash_of(user: &str) -> Vec<u8> {
    userhash(user.as_bytes(), REALM).to_vec()
}

impl Login {
    /// As RFC 8489 wants it, after a challenge.
    fn new(sim: &Sim, client: Client, user: &str, password: &str) -> Self {
        Self {
            user: vec![(AttributeType::USERNAME, user.into())],
            algorithms: Some(BOTH.into()),
            algorithm: Some(SHA256.into()),
            nonce: sim.nonce(client).into(),
            keys: vec![key(user, password, PasswordAlgorithm::Sha256, Integrity::Sha256)],
        }
    }

    fn hashed(mut self, user: &str) -> Self {
        self.user = vec![(AttributeType::USERHASH, hash_of(user))];
        self
    }

    /// Signed with these instead, one behind the other.
    fn keys(mut self, keys: &[IntegrityKey]) -> Self {
        self.keys = keys.into();
        self
    }

    /// With other algorithms.
    fn choosing(mut self, algorithms: Option<&[u8]>, algorithm: Option<&[u8]>) -> Self {
        self.algorithms = algorithms.map(Into::into);
        self.algorithm = algorithm.map(Into::into);
        self
    }

    fn sign(&self, packet: Packet) -> Packet {
        let user = self.user.iter();
        let mut packet = user.fold(packet, |packet, (kind, value)| packet.with(*kind, value));
        packet = packet.with(AttributeType::REALM, REALM).with(AttributeType::NONCE, &self.nonce);
        if let Some(algorithms) = &self.algorithms {
            packet = packet.with(AttributeType::PASSWORD_ALGORITHMS, algorithms);
        }
        if let Some(algorithm) = &self.algorithm {
            packet = packet.with(AttributeType::PASSWORD_ALGORITHM, algorithm);
        }
        self.keys.iter().fold(packet, Packet::signed)
    }
}

fn client(sim: &mut Sim) -> Client {
    let client = sim.client("198.51.100.1:4000");
    sim.challenge(client);
    client
}

/// A client that has been challenged, and alice's way in.
fn alice(sim: &mut Sim) -> (Client, Login) {
    let client = client(sim);
    let login = Login::new(sim, client, "alice", "wonderland");
    (client, login)
}

fn ask(sim: &mut Sim, client: Client, method: Method, login: &Login) -> Response {
    let mut packet = sim.packet(method);
    if method == Method::ALLOCATE {
        packet = packet.with(AttributeType::REQUESTED_TRANSPORT, UDP);
    }
    sim.ask(client, &login.sign(packet)).response.expect("an answer")
}

fn allocate(sim: &mut Sim, client: Client, login: &Login) -> Response {
    ask(sim, client, Method::ALLOCATE, login)
}

#[track_caller]
fn rejected(response: &Response, code: u16) {
    assert_eq!(response.code(), Some(code), "{response:?}");
}

/// The answer carries this key's integrity, and no other.
#[track_caller]
fn signed(response: &Response, key: &IntegrityKey) {
    assert_eq!(response.authentic(key), Some(true), "{response:?}");
    let other = match key.integrity() {
        Integrity::Sha1 => AttributeType::MESSAGE_INTEGRITY_SHA256,
        Integrity::Sha256 => AttributeType::MESSAGE_INTEGRITY,
    };
    assert!(!response.has(other));
}

#[track_caller]
fn succeeded(response: &Response, key: &IntegrityKey) {
    assert_eq!(response.class, Class::Success, "refused with {:?}", response.code());
    signed(response, key);
}

/// The first 13 characters of the nonce, which tell the features.
fn cookie(response: &Response) -> String {
    let nonce = response.get(AttributeType::NONCE);
    String::from_utf8(nonce[..nonce.len().min(13)].to_vec()).expect("ASCII")
}

// No integrity: 401.

#[test]
fn a_challenge_offers_algorithms_and_says_so_in_its_nonce() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let challenge = sim.challenge(client);
    assert_eq!(challenge.get(AttributeType::PASSWORD_ALGORITHMS), BOTH);
    assert_eq!(cookie(&challenge), "obMatJos2wAAA", "bits 0 and 1");
}

#[test]
fn a_request_too_short_to_be_real_is_offered_nothing() {
    let mut sim = Sim::new();
    let client = sim.client("198.51.100.1:4000");
    let packet = sim.packet(Method::ALLOCATE);
    let challenge = sim.ask(client, &packet).rejected(401);
    assert_eq!(
        challenge.kinds(),
        [AttributeType::ERROR_CODE, AttributeType::REALM, AttributeType::NONCE]
    );
    assert!(!cookie(&challenge).starts_with("obMatJos2"));
    // Its nonce is as good as any other.
    sim.allocate(client).success();
}

/// Username anonymity is for those who can be found by a hash, and where that is wanted.
#[test]
fn username_anonymity_is_offered_where_there_is_somebody_to_be_found() {
    let told = |change: fn(&mut Config)| {
        let mut sim = Sim::with(change);
        let client = sim.client("198.51.100.1:4000");
        cookie(&sim.challenge(client))
    };
    assert_eq!(told(|config| config.credentials.secrets.clear()), "obMatJos2wAAA");
    assert_eq!(told(|config| config.credentials.users.clear()), "obMatJos2gAAA");
    assert_eq!(told(|config| config.credentials.username_anonymity = false), "obMatJos2gAAA");
}

// Integrity without what it is made from: 400.

#[test]
fn integrity_of_sha256_without_name_realm_or_nonce_is_a_bad_request() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let credentials = [
        (AttributeType::USERNAME, b"alice".to_vec()),
        (AttributeType::REALM, REALM.to_vec()),
        (AttributeType::NONCE, login.nonce.clone()),
    ];
    for missing in 0..3 {
        let mut packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
        for (at, (kind, value)) in credentials.iter().enumerate() {
            if at != missing {
                packet = packet.with(*kind, value);
            }
        }
        let response = sim.ask(client, &packet.signed(&login.keys[0])).rejected(400);
        assert_eq!(response.kinds(), [AttributeType::ERROR_CODE]);
    }
}

// The password algorithms: 400 where they are not those that were offered.

#[test]
fn algorithms_that_are_not_those_offered_are_a_bad_request() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let swapped = [MD5, SHA256].concat();
    let longer = [BOTH, &[0, 0x77, 0, 0]].concat();
    for (algorithms, algorithm) in [
        (None, Some(&SHA256[..])),
        (None, Some(&MD5[..])),
        (Some(BOTH), None),
        (Some(&MD5), Some(&MD5)),
        (Some(&SHA256), Some(&SHA256)),
        (Some(&swapped), Some(&SHA256)),
        (Some(&longer), Some(&SHA256)),
        (Some(b""), Some(&SHA256)),
        (Some(BOTH), Some(&[0, 0x77, 0, 0])),
        (Some(BOTH), Some(&[0, 2])),
        (Some(BOTH), Some(&[0, 2, 0, 4, 1, 2, 3, 4])),
    ] {
        for of in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
            let key = key("alice", "wonderland", of, Integrity::Sha256);
            let login = login.clone().choosing(algorithms, algorithm).keys(&[key]);
            let response = allocate(&mut sim, client, &login);
            rejected(&response, 400);
            assert_eq!(response.kinds(), [AttributeType::ERROR_CODE]);
        }
    }
    sim.nothing_left();
}

/// RFC 8489 §9.2.4 in its order: algorithms, user, integrity, nonce.
#[test]
fn what_is_wrong_is_told_in_the_order_of_the_rfc() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let guess = key("alice", "guess", PasswordAlgorithm::Sha256, Integrity::Sha256);
    // All wrong; then one after the other is right.
    let mut wrong = login.clone().hashed("nobody").choosing(None, Some(&SHA256)).keys(&[guess]);
    wrong.nonce.truncate(13);
    rejected(&allocate(&mut sim, client, &wrong), 400);
    wrong.algorithms = login.algorithms.clone();
    rejected(&allocate(&mut sim, client, &wrong), 401);
    wrong.user = login.user.clone();
    rejected(&allocate(&mut sim, client, &wrong), 401);
    wrong.keys = login.keys.clone();
    rejected(&allocate(&mut sim, client, &wrong), 438);
    wrong.nonce = login.nonce.clone();
    succeeded(&allocate(&mut sim, client, &wrong), &login.keys[0]);
}

// Who they are and what they sign with: 401.

#[test]
fn an_unknown_name_an_unknown_hash_and_a_wrong_password_get_the_same_answer() {
    for secrets in [true, false] {
        let mut answers = Vec::new();
        for user in ["alice", "nobody", "1790009999:x"] {
            for hashed in [false, true] {
                let mut sim = Sim::with(|config| {
                    if !secrets {
                        config.credentials.secrets.clear();
                    }
                });
                let (client, _) = alice(&mut sim);
                let mut login = Login::new(&sim, client, user, "guess");
                if hashed {
                    login = login.hashed(user);
                }
                let response = allocate(&mut sim, client, &login);
                rejected(&response, 401);
                assert_eq!(response.get(AttributeType::PASSWORD_ALGORITHMS), BOTH);
                answers.push(response.bytes);
            }
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:02x?}");
    }
}

/// RFC 8489 §9.2.4: a 401 has neither USERNAME nor USERHASH nor integrity, whoever has come.
#[test]
fn a_refusal_names_nobody() {
    let mut sim = Sim::new();
    let (client, _) = alice(&mut sim);
    for user in ["alice", "nobody"] {
        let named = Login::new(&sim, client, user, "guess");
        let hashed = named.clone().hashed(user);
        for login in [named, hashed] {
            let response = allocate(&mut sim, client, &login);
            rejected(&response, 401);
            assert_eq!(
                response.kinds(),
                [
                    AttributeType::ERROR_CODE,
                    AttributeType::REALM,
                    AttributeType::NONCE,
                    AttributeType::PASSWORD_ALGORITHMS,
                ]
            );
        }
    }
}

/// Unknown users are checked against a key that is nobody's; whoever knew it would be nobody still.
#[test]
fn nobodys_key_lets_nobody_in() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let nonce_key = common::sim::config().credentials.nonce_key;
    let key = PasswordAlgorithm::Sha256.key(b"", REALM, &nonce_key).keyed(Integrity::Sha256);
    for user in ["", "nobody"] {
        let named = vec![(AttributeType::USERNAME, user.into())];
        let hashed = vec![(AttributeType::USERHASH, hash_of(user))];
        for user in [named, hashed] {
            let login = Login { user, ..login.clone() }.keys(from_ref(&key));
            rejected(&allocate(&mut sim, client, &login), 401);
        }
    }
}

/// Either key goes with either attribute, and the answer carries what the client can check.
#[test]
fn answers_carry_the_integrity_that_the_rfc_wants() {
    use Integrity::{Sha1, Sha256};
    for (chosen, of) in [
        (None, PasswordAlgorithm::Md5),
        (Some(MD5), PasswordAlgorithm::Md5),
        (Some(SHA256), PasswordAlgorithm::Sha256),
    ] {
        for signs in [&[Sha1][..], &[Sha256], &[Sha1, Sha256]] {
            let mut sim = Sim::new();
            let (client, login) = alice(&mut sim);
            let key = |as_| key("alice", "wonderland", of, as_);
            let keys: Vec<_> = signs.iter().map(|kind| key(*kind)).collect();
            let chosen = chosen.as_ref().map(|chosen| &chosen[..]);
            let login = login.choosing(chosen.map(|_| BOTH), chosen).keys(&keys);
            // Neither algorithm attribute: MESSAGE-INTEGRITY, whatever the request carries.
            let answer = if chosen.is_some() && signs.contains(&Sha256) { Sha256 } else { Sha1 };
            succeeded(&allocate(&mut sim, client, &login), &key(answer));
            succeeded(&ask(&mut sim, client, Method::REFRESH, &login), &key(answer));
            // An error after authentication as well.
            let again = allocate(&mut sim, client, &login);
            rejected(&again, 437);
            signed(&again, &key(answer));
        }
    }
}

/// "If the MESSAGE-INTEGRITY-SHA256 attribute is present", it is the one that counts.
#[test]
fn of_two_integrities_that_of_sha256_counts() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let login = login.choosing(None, None);
    let sha1 = |word| key("alice", word, PasswordAlgorithm::Md5, Integrity::Sha1);
    let sha256 = |word| key("alice", word, PasswordAlgorithm::Md5, Integrity::Sha256);
    let wrong = login.clone().keys(&[sha1("wonderland"), sha256("guess")]);
    rejected(&allocate(&mut sim, client, &wrong), 401);
    let right = login.keys(&[sha1("guess"), sha256("wonderland")]);
    succeeded(&allocate(&mut sim, client, &right), &sha1("wonderland"));
}

#[test]
fn a_key_of_the_other_algorithm_is_wrong() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    for (chosen, of) in [(SHA256, PasswordAlgorithm::Md5), (MD5, PasswordAlgorithm::Sha256)] {
        let key = key("alice", "wonderland", of, Integrity::Sha256);
        let login = login.clone().choosing(Some(BOTH), Some(&chosen)).keys(&[key]);
        rejected(&allocate(&mut sim, client, &login), 401);
    }
}

#[test]
fn any_bit_changed_in_a_signed_request_spoils_it() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let login = login.hashed("alice");
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let whole = login.sign(packet).encode();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        sim.deliver(client, &bytes);
        assert_eq!(sim.stats().allocations, 0, "bit {bit}");
    }
    sim.ask_bytes(client, &whole);
    assert_eq!(sim.stats().allocations, 1);
}

/// RFC 8489 §14.6: truncation is for usages that allow it, and TURN is none.
#[test]
fn a_truncated_integrity_is_wrong() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    for length in [0, 4, 16, 28, 31, 33, 36] {
        let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
        let packet = login.clone().keys(&[]).sign(packet);
        let mut value = login.keys[0].sign(&packet.encode()).as_ref().to_vec();
        value.resize(length, 0);
        let packet = packet.with(AttributeType::MESSAGE_INTEGRITY_SHA256, value);
        sim.ask(client, &packet).rejected(401);
    }
}

// The nonce: 438.

#[test]
fn a_stale_nonce_comes_with_the_algorithms_and_a_nonce_that_is_good() {
    let mut sim = Sim::new();
    let (client, mut login) = alice(&mut sim);
    succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
    sim.pass(secs(500));
    sim.refresh(client, 3600).success();
    sim.pass(secs(3500));
    let stale = ask(&mut sim, client, Method::REFRESH, &login);
    rejected(&stale, 438);
    assert_eq!(stale.get(AttributeType::PASSWORD_ALGORITHMS), BOTH);
    assert!(!stale.has(AttributeType::USERNAME) && !stale.has(AttributeType::USERHASH));
    login.nonce = stale.get(AttributeType::NONCE).to_vec();
    succeeded(&ask(&mut sim, client, Method::REFRESH, &login), &login.keys[0]);
}

// Bid-down protection (§9.2.1).

/// An attacker on the way takes from the 401 what is better than MD5; the client, who cannot
/// know, logs in as of old; the server does.
#[test]
fn a_client_that_was_talked_out_of_the_algorithms_is_not_let_in() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let old = IntegrityKey::long_term(b"alice", REALM, b"wonderland");
    let old = login.choosing(None, None).keys(&[old]);
    let genuine = old.nonce.clone();
    let mut forged = vec![
        // Without the cookie, with no bit, and with one of two.
        genuine[13..].to_vec(),
        [b"obMatJos2AAAA", &genuine[13..]].concat(),
        [b"obMatJos2QAAA", &genuine[13..]].concat(),
        [b"obMatJos2gAAA", &genuine[13..]].concat(),
    ];
    // And with any other bit.
    for at in 9..13 {
        for letter in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_" {
            let mut changed = genuine.clone();
            changed[at] = *letter;
            forged.push(changed);
        }
    }
    for nonce in forged.into_iter().filter(|nonce| *nonce != genuine) {
        let response = allocate(&mut sim, client, &Login { nonce, ..old.clone() });
        rejected(&response, 438);
        assert_eq!(cookie(&response), "obMatJos2gAAA", "who said their name need not hide it");
        assert_eq!(response.get(AttributeType::PASSWORD_ALGORITHMS), BOTH);
    }
    assert_eq!(sim.stats().allocations, 0);
}

/// An attacker changes the list and leaves the nonce as it is.
#[test]
fn a_client_that_was_offered_less_than_we_offer_is_not_let_in() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let key = key("alice", "wonderland", PasswordAlgorithm::Md5, Integrity::Sha256);
    let less = login.choosing(Some(&MD5), Some(&MD5)).keys(&[key]);
    rejected(&allocate(&mut sim, client, &less), 400);
    // Without the bit as well: the nonce is not ours then.
    for cookie in ["", "obMatJos2AAAA"] {
        let nonce = [cookie.as_bytes(), &less.nonce[13..]].concat();
        rejected(&allocate(&mut sim, client, &Login { nonce, ..less.clone() }), 438);
    }
    assert_eq!(sim.stats().allocations, 0);
}

/// A client of RFC 5389 sees attributes that it need not know, and goes on as it always has.
#[test]
fn a_client_that_knows_nothing_of_algorithms_is_served_as_before() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let response = sim.allocate(client).success();
    assert!(!response.has(AttributeType::PASSWORD_ALGORITHMS));
    assert!(!response.has(AttributeType::MESSAGE_INTEGRITY_SHA256));
    sim.permit(client, common::PEER).success();
    sim.refresh(client, 0).success();
}

// USERHASH (§14.4).

#[test]
fn a_user_may_come_by_the_hash_of_their_name() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let login = login.hashed("alice");
    let response = allocate(&mut sim, client, &login);
    succeeded(&response, &login.keys[0]);
    assert!(!response.has(AttributeType::USERNAME) && !response.has(AttributeType::USERHASH));
    succeeded(&ask(&mut sim, client, Method::REFRESH, &login), &login.keys[0]);
    // The shell counts what alice holds, by whichever way she came.
    let charged = sim.actions.iter().find_map(|action| match action {
        Action::OpenRelay { charge, .. } => charge.clone(),
        _ => None,
    });
    assert_eq!(&*charged.expect("the first relay is charged").0, b"alice");
    // By name or by hash, she is the same.
    let named = Login::new(&sim, client, "alice", "wonderland");
    succeeded(&ask(&mut sim, client, Method::REFRESH, &named), &login.keys[0]);
    // And bob is somebody else.
    let bob = Login::new(&sim, client, "bob", "builder").hashed("bob");
    let response = ask(&mut sim, client, Method::REFRESH, &bob);
    rejected(&response, 441);
    signed(&response, &bob.keys[0]);
}

#[test]
fn a_hash_goes_with_the_old_key_and_integrity_too() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let old = IntegrityKey::long_term(b"alice", REALM, b"wonderland");
    let login = login.hashed("alice").choosing(None, None).keys(from_ref(&old));
    succeeded(&allocate(&mut sim, client, &login), &old);
}

#[test]
fn what_is_no_hash_is_nobodys() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let whole = hash_of("alice");
    for value in [&b""[..], &whole[..31], &[&whole[..], b"\0"].concat(), b"alice", &[0; 32]] {
        let user = vec![(AttributeType::USERHASH, value.to_vec())];
        rejected(&allocate(&mut sim, client, &Login { user, ..login.clone() }), 401);
    }
}

#[test]
fn of_name_and_hash_the_name_counts() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let mut both = login.clone();
    both.user.push((AttributeType::USERHASH, hash_of("bob")));
    succeeded(&allocate(&mut sim, client, &both), &login.keys[0]);
}

#[test]
fn no_hash_is_known_where_anonymity_is_not_wanted() {
    let mut sim = Sim::with(|config| config.credentials.username_anonymity = false);
    let (client, login) = alice(&mut sim);
    rejected(&allocate(&mut sim, client, &login.clone().hashed("alice")), 401);
    succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
}

/// RFC 8489 §9.2.5 has a client hide its name where the nonce says so. That of time-limited
/// credentials cannot be found by its hash, so the second nonce says otherwise.
#[test]
fn a_time_limited_name_that_was_hidden_is_asked_for() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let user = format!("{}:x", sim.unix_secs() + 600);
    let mut login = Login::new(&sim, client, &user, &time_limited_password(SECRET, &user));
    let response = allocate(&mut sim, client, &login.clone().hashed(&user));
    rejected(&response, 401);
    assert_eq!(cookie(&response), "obMatJos2gAAA");
    assert_ne!(response.get(AttributeType::NONCE), login.nonce, "so that the client tries again");
    login.nonce = response.get(AttributeType::NONCE).to_vec();
    succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
}

#[test]
fn a_user_who_hides_may_go_on_hiding_when_the_nonce_ends() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let nonce = login.nonce[..12].to_vec();
    let hashed = Login { nonce, ..login.hashed("alice") };
    let response = allocate(&mut sim, client, &hashed);
    rejected(&response, 438);
    assert_eq!(cookie(&response), "obMatJos2wAAA");
}

#[test]
fn where_there_are_users_only_every_nonce_tells_of_anonymity() {
    let mut sim = Sim::with(|config| config.credentials.secrets.clear());
    let (client, login) = alice(&mut sim);
    for login in [login.clone().hashed("nobody"), Login { nonce: vec![1], ..login }] {
        assert_eq!(cookie(&allocate(&mut sim, client, &login)), "obMatJos2wAAA");
    }
}

// Time-limited credentials, and allocations that answer for them.

#[test]
fn time_limited_credentials_go_with_every_algorithm() {
    for (of, chosen) in [(PasswordAlgorithm::Md5, MD5), (PasswordAlgorithm::Sha256, SHA256)] {
        // With each of the secrets.
        for secret in ["an older secret", SECRET] {
            let mut sim = Sim::new();
            let client = client(&mut sim);
            let user = format!("{}:x", sim.unix_secs() + 60);
            let password = time_limited_password(secret, &user);
            let key = key(&user, &password, of, Integrity::Sha256);
            let login = Login::new(&sim, client, &user, &password)
                .choosing(Some(BOTH), Some(&chosen))
                .keys(&[key]);
            succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
        }
    }
}

/// A call outlives the credentials it began with, for the way of signing that it began with.
#[test]
fn an_allocation_answers_for_its_user_after_the_credentials_have_ended() {
    let mut sim = Sim::new();
    let client = client(&mut sim);
    let user = format!("{}:x", sim.unix_secs() + 60);
    let password = time_limited_password(SECRET, &user);
    let login = Login::new(&sim, client, &user, &password);
    succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
    sim.pass(secs(120));
    succeeded(&ask(&mut sim, client, Method::REFRESH, &login), &login.keys[0]);
    let old = IntegrityKey::long_term(user.as_bytes(), REALM, password.as_bytes());
    let old = login.clone().choosing(None, None).keys(&[old]);
    rejected(&ask(&mut sim, client, Method::REFRESH, &old), 401);
    let guess = key(&user, "guess", PasswordAlgorithm::Sha256, Integrity::Sha256);
    rejected(&ask(&mut sim, client, Method::REFRESH, &login.keys(&[guess])), 401);
}

/// While the credentials are good, how a request is signed may change from one to the next.
#[test]
fn one_allocation_takes_either_way_of_signing() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
    let old = IntegrityKey::long_term(b"alice", REALM, b"wonderland");
    let old = login.clone().choosing(None, None).keys(&[old]);
    for login in [&old, &login, &old] {
        succeeded(&ask(&mut sim, client, Method::REFRESH, login), &login.keys[0]);
    }
}

/// A retransmitted Allocate gets the same success, under the same integrity.
#[test]
fn a_repeated_allocate_is_answered_with_the_same_integrity() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let packet = login.sign(packet);
    let first = sim.ask(client, &packet).response.expect("an answer");
    let second = sim.ask(client, &packet).response.expect("an answer");
    succeeded(&first, &login.keys[0]);
    assert_eq!(first.bytes, second.bytes);
}

#[test]
fn unknown_attributes_are_told_under_sha256() {
    let mut sim = Sim::new();
    let (client, login) = alice(&mut sim);
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType(0x7F31), b"");
    let response = sim.ask(client, &login.sign(packet)).response.expect("an answer");
    rejected(&response, 420);
    assert_eq!(response.get(AttributeType::UNKNOWN_ATTRIBUTES), [0x7F, 0x31]);
    signed(&response, &login.keys[0]);
    assert_eq!(sim.errors(ErrorCode::UNKNOWN_ATTRIBUTE), 1);
}

/// The error of a socket that could not be opened leaves by an action, signed all the same.
#[test]
fn an_allocate_that_fails_later_is_answered_under_sha256() {
    let mut sim = Sim::new();
    sim.quota = 0;
    let (client, login) = alice(&mut sim);
    let response = allocate(&mut sim, client, &login);
    rejected(&response, 486);
    signed(&response, &login.keys[0]);
}

/// RFC 8489 §6.1: below 548 bytes where the path's MTU is not known. The longest there is: two
/// relayed addresses, or a realm as long as realms may be; the larger integrity, and FINGERPRINT.
#[test]
fn answers_fit_a_datagram_of_576_bytes() {
    const MOST: usize = 547;
    let mut sim = Sim::new();
    let client = sim.client("[2001:db8::77]:4000");
    sim.challenge(client);
    let login = Login::new(&sim, client, "alice", "wonderland");
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let packet = packet.with(AttributeType::ADDITIONAL_ADDRESS_FAMILY, common::V6);
    let packet = login.sign(packet).fingerprint();
    let success = sim.ask(client, &packet).response.expect("an answer");
    succeeded(&success, &login.keys[0]);
    assert!(success.bytes.len() <= MOST, "{} bytes", success.bytes.len());

    // Types that are not known are named, which may take more; but then the request took more.
    for count in (0..300).step_by(7) {
        let packet = (0..count).fold(sim.packet(Method::REFRESH), |packet, n| {
            packet.with(AttributeType(0x4000 + n), b"")
        });
        let packet = login.sign(packet).fingerprint();
        let length = packet.encode().len();
        let response = sim.ask(client, &packet).response.expect("an answer");
        assert_eq!(response.code(), (count > 0).then_some(420));
        let bytes = response.bytes.len();
        assert!(bytes <= MOST.max(length), "{bytes} bytes for {length}");
    }

    let mut sim = Sim::with(|config| config.realm = "x".repeat(127));
    let client = sim.client("[2001:db8::77]:4000");
    let packet = sim.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
    let challenge = sim.ask(client, &packet.fingerprint()).rejected(401);
    assert!(challenge.bytes.len() <= MOST, "{} bytes", challenge.bytes.len());
}

// Names and passwords beyond ASCII (RFC 8265, RFC 4013).

fn with_users(users: &[(&str, &str)]) -> Sim {
    Sim::with(|config| {
        let user = |(name, password): &(&str, &str)| User {
            name: (*name).to_owned(),
            password: (*password).to_owned(),
        };
        config.credentials.users = users.iter().map(user).collect();
    })
}

#[test]
fn names_and_passwords_are_the_same_in_every_spelling() {
    let typed = "The\u{AD}M\u{AA}tr\u{2168}";
    for (name, password) in [
        ("\u{2168}e\u{301}", typed),
        ("\u{2168}e\u{301}", "TheMatrIX"),
        ("\u{2168}\u{E9}", typed),
        ("\u{2168}\u{E9}", "TheMatrIX"),
        ("IX\u{E9}", typed),
        ("IX\u{E9}", "TheMatrIX"),
    ] {
        for hashed in [false, true] {
            let mut sim = with_users(&[("\u{2168}e\u{301}", typed), ("bob", "builder")]);
            let client = client(&mut sim);
            let mut login = Login::new(&sim, client, name, password);
            if hashed {
                login = login.hashed(name);
            }
            succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
            let guess = key(name, "guess", PasswordAlgorithm::Sha256, Integrity::Sha256);
            let other = sim.client("198.51.100.2:4000");
            sim.challenge(other);
            let nonce = sim.nonce(other).to_vec();
            let wrong = Login { nonce, ..login.keys(&[guess]) };
            rejected(&allocate(&mut sim, other, &wrong), 401);
        }
    }
}

/// A name as it is configured is never taken for another's spelling.
#[test]
fn a_spelling_never_goes_before_a_name() {
    for users in [[("\u{2168}", "one"), ("IX", "two")], [("IX", "two"), ("\u{2168}", "one")]] {
        for (name, password) in [("\u{2168}", "one"), ("IX", "two")] {
            let mut sim = with_users(&users);
            let client = client(&mut sim);
            let wrong = if password == "one" { "two" } else { "one" };
            let login = Login::new(&sim, client, name, wrong);
            rejected(&allocate(&mut sim, client, &login), 401);
            let login = Login::new(&sim, client, name, password).hashed(name);
            succeeded(&allocate(&mut sim, client, &login), &login.keys[0]);
        }
    }
}
