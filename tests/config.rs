//! turnserver.toml as it is written wrong: each mistake is told with its line, its cause and a
//! cure, several at once, and no secret is ever quoted.

use hairpin::control::config::{Config, ConfigError, known_keys};

#[test]
fn a_wrong_file_is_told_with_line_cause_and_cure() {
    for &(text, line, cause, cure) in WRONG {
        let error = parse(text).expect_err(text);
        let [problem] = error.problems.as_slice() else { panic!("{text}\n{error}") };
        assert_eq!(problem.line, Some(line), "{text}\n{error}");
        assert!(problem.cause.contains(cause), "{text}\n{error}\nlacks: {cause}");
        assert!(problem.cure.contains(cure), "{text}\n{error}\nlacks: {cure}");
        assert!(error.to_string().starts_with(&format!("t.toml:{line}: ")), "{error}");
    }
}

/// The file, and of the one problem: the line, words of the cause, words of the cure.
const WRONG: &[(&str, usize, &str, &str)] = &[
    // Keys.
    ("realms = \"x\"", 1, "unknown key `realms` at the top level", "did you mean `realm`?"),
    ("\n[relay]\nport_mni = 1", 3, "unknown key `port_mni` in [relay]", "`port_min`?"),
    ("[relay]\nudp = []", 2, "unknown key `udp` in [relay]", "belongs in [listen]"),
    ("[lisen]\nudp = []", 1, "unknown key `lisen`", "did you mean `listen`?"),
    ("[auth]\nstatic-auth-secret = \"x\"", 2, "unknown key", "[auth] secrets"),
    (
        "realm = \"x\"\n[[auth.users]]\nname = \"a\"\npasword = \"b\"\npassword = \"c\"",
        4,
        "unknown key `pasword` in [auth.users]",
        "`password`?",
    ),
    ("[log]\nlevel = \"info\"\nlevel = \"warn\"", 3, "duplicate key", "keep one of the two"),
    ("[log]\nlevel = info", 2, "this is not TOML", "quotes"),
    // Types.
    ("[relay]\nport_min = \"50000\"", 2, "number from 0 to 65535, found text", "port_min = 49152"),
    ("[relay]\n\nport_min = 70000", 3, "0 to 65535, found this number", "port_min = 49152"),
    ("[limits]\nallocations_total = -1", 2, "not negative", "allocations_total = 100000"),
    ("[listen]\nudp = \"0.0.0.0:3478\"", 2, "a list in [ ], found text", "udp = ["),
    ("[signalling]\ndemo = 1", 2, "expected true or false", "demo = true"),
    ("listen = 5", 1, "expected a section", "turnserver.toml"),
    ("realm = \"x\"\n[auth]\nusers = [{ name = \"a\" }]", 3, "missing field", "password = "),
    // The realm.
    ("[auth]\nsecrets = [\"x\"]", 2, "credentials need a realm", "realm = \"example.org\""),
    (
        "[log]\n[auth]\nusers = [{ name = \"a\", password = \"b\" }]",
        3,
        "credentials need a realm",
        "above every [section]",
    ),
    ("realm = \"\"", 1, "realm: is empty", "your domain"),
    ("realm = 'a\"b'", 1, "cannot quote", "letters, digits"),
    (
        "realm = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
        1,
        "128 characters",
        "shorter",
    ),
    // Third parties.
    (
        "[third_party]\nkeys = [{ kid = \"a\", key = \"MDEyMzQ1Njc4OWFiY2RlZg==\",\
         algorithm = \"A128GCM\" }]",
        2,
        "need a realm",
        "realm =",
    ),
    (
        "realm = \"x\"\n[third_party]\nkeys = [{ kid = \"a\", key = \"MDEy\" }]",
        3,
        "has 3 bytes, and A256GCM takes 32",
        "openssl rand -base64 32",
    ),
    (
        "realm = \"x\"\n[third_party]\nkeys = [{ kid = \"a\", key = \"not base64!\" }]",
        3,
        "\"a\" is not base64",
        "openssl rand -base64 32",
    ),
    (
        "realm = \"x\"\n[third_party]\nkeys = [\n\
         { kid = \"a\", key = \"\", algorithm = \"A1\" }]",
        4,
        "\"A1\" is no algorithm",
        "A256GCM, A128GCM, A256CBC-HS512",
    ),
    (
        "realm = \"x\"\n[third_party]\nkeys = [{ kid = \"a\", key = \"MDEyMzQ1Njc4OWFiY2RlZg==\",\
         algorithm = \"A128GCM\", expires = 2027-01-31 }]",
        3,
        "\"2027-01-31\" is no moment",
        "expires = 2027-01-31T00:00:00Z",
    ),
    (
        "realm = \"x\"\n[third_party]\nkeys = [{ kid = \"\", key = \"MDEy\" }]",
        3,
        "the name is empty",
        "name",
    ),
    (
        "realm = \"x\"\n[auth]\nusers = [{ name = \"a\", password = \"b\" }]\n[third_party]\n\
         keys = [{ kid = \"a\", key = \"MDEy\" }]",
        5,
        "name of one of [auth] users",
        "something else",
    ),
    (
        "realm = \"x\"\n[auth]\nsecrets = [\"b\"]\n[third_party]\n\
         keys = [{ kid = \"2026\", key = \"MDEy\" }]",
        5,
        "reads as a time-limited name",
        "letter",
    ),
    (
        "realm = \"x\"\n[third_party]\nserver_name = \"a\\nb\"\nkeys = []",
        3,
        "server_name: is no name",
        "authorisation servers",
    ),
    (
        "realm = \"x\"\n[third_party]\nkeys = [{ kid = \"a\", kay = \"\",\
         key = \"YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=\" }]",
        3,
        "unknown key `kay`",
        "`key`?",
    ),
    ("realm = \"x\"\n[third_party]\nkeys = [{ kid = \"a\" }]", 3, "missing field", "keys = ["),
    // Listeners.
    ("[listen]\nudp = [\"0.0.0.0\"]", 2, "has no port", "\"0.0.0.0:3478\""),
    ("[listen]\nudp = [\"::\"]", 2, "has no port", "\"[::]:3478\""),
    ("[listen]\nudp = [\":3478\"]", 2, "has no address", "\"0.0.0.0:3478\", \"[::]:3478\""),
    ("[listen]\nhttp = [\"localhost:80\"]", 2, "has no address", "\"127.0.0.1:80\""),
    ("[listen]\nudp = [\"2001:db8::1:99999\"]", 2, "no port from 0", "[2001:db8::1]:3478"),
    ("[listen]\nudp = [\"192.0.2.1:99999\"]", 2, "no port from 0 to 65535", "192.0.2.1:3478"),
    ("[listen]\nudp = [\"example.org:3478\"]", 2, "not an address", "names are not looked up"),
    ("[listen]\nudp = [\"224.0.0.1:3478\"]", 2, "of many hosts", "unicast"),
    ("[listen]\nudp = [\"[::ffff:192.0.2.1]:3478\"]", 2, "in IPv6 clothes", "write 192.0.2.1"),
    (
        "[listen]\nudp = [\n  \"0.0.0.0:3478\",\n  \"0.0.0.0:3478\",\n]",
        4,
        "stands here twice",
        "remove one",
    ),
    ("[listen]\nhttp = [\"127.0.0.1:3478\"]", 2, "taken by [listen] tcp", "127.0.0.1:8080"),
    ("[listen]\nudp = []\ntcp = []\nhttp = []", 2, "nothing to do", "udp = ["),
    ("[listen]\ntls = [\"127.0.0.1:3478\"]", 2, "taken by [listen] tcp", "127.0.0.1:5349"),
    (
        "[listen]\ntls = [\"127.0.0.1:443\"]\nhttp = [\"0.0.0.0:443\"]",
        3,
        "taken by [listen] tls",
        "0.0.0.0:8080",
    ),
    ("[tls]\nkey = \"\"", 2, "none is named", "key.pem"),
    ("[tls]\nmore = [{ certificate = \"a\" }]", 2, "missing field", "b-key.pem"),
    ("[tls]\nmore = [\"a.pem\"]", 2, "found text", "b-key.pem"),
    (
        "[tls]\nmore = [\n{ certificat = \"\", certificate = \"a\", key = \"b\" }]",
        3,
        "unknown key",
        "`certificate`?",
    ),
    #[cfg(not(feature = "dtls"))]
    ("[listen]\ndtls = [\"0.0.0.0:5349\"]", 2, "this build has no DTLS", "--features dtls"),
    #[cfg(feature = "dtls")]
    ("[listen]\ndtls = [\"127.0.0.1:3478\"]", 2, "taken by [listen] udp", "127.0.0.1:5349"),
    // NAT discovery.
    (
        "[nat_discovery]\nprimary = [\"192.0.2.1:3478\"]",
        2,
        "no counterpart in alternate",
        "in both lists",
    ),
    (
        "[nat_discovery]\nprimary = [\"192.0.2.1:3478\"]\n\
         alternate = [\"192.0.2.2:3479\", \"[2001:db8::2]:3479\"]",
        3,
        "[2001:db8::2]:3479 has no counterpart in primary",
        "in both lists",
    ),
    (
        "[nat_discovery]\nprimary = [\"192.0.2.1:3478\"]\nalternate = [\"192.0.2.1:3479\"]",
        3,
        "same IP address as 192.0.2.1:3478",
        "another address",
    ),
    (
        "[nat_discovery]\nprimary = [\"192.0.2.1:3478\"]\nalternate = [\"192.0.2.2:3478\"]",
        3,
        "same port as 192.0.2.1:3478",
        "\"192.0.2.2:3479\"",
    ),
    (
        "[nat_discovery]\nprimary = [\"0.0.0.0:3478\"]",
        2,
        "0.0.0.0:3478 is no address that a client",
        "one address of this host",
    ),
    (
        "[nat_discovery]\nprimary = [\"192.0.2.1:3478\", \"192.0.2.3:3478\"]\n\
         alternate = [\"192.0.2.2:3479\"]",
        2,
        "second of its family",
        "at most",
    ),
    (
        "[nat_discovery]\nrequests_per_sec_per_source = 0",
        2,
        "a limit of 0 would refuse everybody",
        "at least 1",
    ),
    // The four addresses are those of both IPs at both ports.
    (
        "[listen]\ntcp = []\ntls = [\"192.0.2.2:3478\"]\n[nat_discovery]\ntcp = true\n\
         primary = [\"192.0.2.1:3478\"]\nalternate = [\"192.0.2.2:3479\"]",
        7,
        "192.0.2.2:3478 is taken by [listen] tls",
        "other ports",
    ),
    (
        "[listen]\nhttp = [\"0.0.0.0:3479\"]\n[nat_discovery]\ntcp = true\n\
         primary = [\"192.0.2.1:3478\"]\nalternate = [\"192.0.2.2:3479\"]",
        6,
        "192.0.2.1:3479 is taken by [listen] http = [\"0.0.0.0:3479\"]",
        "give http one of its own",
    ),
    #[cfg(feature = "dtls")]
    (
        "[listen]\ndtls = [\"0.0.0.0:5349\"]\n[nat_discovery]\n\
         primary = [\"192.0.2.1:3478\"]\nalternate = [\"192.0.2.2:5349\"]",
        5,
        "192.0.2.1:5349 is taken by [listen] dtls",
        "other ports",
    ),
    // Alternates.
    ("[alternates]\nudp = [\"192.0.2.2\"]", 2, "has no port", "\"192.0.2.2:3478\""),
    ("[alternates]\nudp = [\"0.0.0.0:3478\"]", 2, "no address that a client", "192.0.2.2:3478"),
    ("[alternates]\ntcp = [\"192.0.2.2:0\"]", 2, "no address that a client", "192.0.2.2:3478"),
    (
        "[alternates]\nudp = [\"192.0.2.2:3478\",\n\"192.0.2.2:3478\"]",
        3,
        "stands here twice",
        "remove one",
    ),
    (
        "[listen]\ntcp = [\"192.0.2.1:3478\"]\n[alternates]\ntcp = [\"192.0.2.1:3478\"]",
        4,
        "this server itself",
        "another server",
    ),
    ("[alternates]\ndomain = \"192.0.2.2\"", 2, "not a DNS name", "in the certificate"),
    ("[alternates]\ndomain = \"-a.example.org\"", 2, "not a DNS name", "in the certificate"),
    ("[alternates]\nalways = true", 2, "nobody to send clients to", "always = false"),
    (
        "[listen]\nproxy_protocol = [\"10.0.0.1/8\"]",
        2,
        "proxy_protocol: 10.0.0.1/8 is one address and a whole range",
        "10.0.0.0/8",
    ),
    ("[listen]\nproxy_protocol = true", 2, "a list in [ ]", "proxy_protocol = [\"10.0.0.0/8\"]"),
    // Relaying.
    ("[relay]\naddresses = [\"0.0.0.0\"]", 2, "no address that a client", "addresses = []"),
    ("[relay]\naddresses = [\"239.1.1.1\"]", 2, "of many hosts", "unicast"),
    ("[relay]\naddresses = [\"fe80::1\"]", 2, "link-local", "global"),
    ("[relay]\naddresses = [\"192.0.2.1:5000\"]", 2, "has a port", "write \"192.0.2.1\""),
    (
        "[relay]\naddresses = [\n\"192.0.2.1\",\n\"nowhere\"]",
        4,
        "not an IP address",
        "names are not looked up",
    ),
    (
        "[relay]\nexternal = { \"10.0.0.5\" = \"2001:db8::1\" }",
        2,
        "different families",
        "IPv4 to IPv4",
    ),
    (
        "[relay.external]\n\"10.0.0.4\" = \"192.0.2.4\"\n\"10.0.0.5\" = \"0.0.0.0\"",
        3,
        "no address that a client",
        "the world",
    ),
    (
        "[relay]\naddresses = [\"10.0.0.4\"]\nexternal = { \"10.0.0.5\" = \"192.0.2.1\" }",
        3,
        "not in [relay] addresses",
        "add \"10.0.0.5\"",
    ),
    (
        "[relay]\nport_min = 50000\nport_max = 40000",
        2,
        "50000, is above the last, 40000",
        "port_min = 40000 and port_max = 50000",
    ),
    ("[relay]\nport_max = 40000", 2, "above the last", "or give both"),
    ("[relay]\nport_min = 0", 2, "port 0", "port_min = 49152"),
    ("[relay]\nport_min = 1023", 2, "port 1023 is a well-known service's", "1024 or above"),
    // Credentials.
    ("realm = \"x\"\n[auth]\nsecrets = [\"a\",\n\"\"]", 4, "secret is empty", "openssl rand"),
    ("realm = \"x\"\n[auth]\nsecrets = [\"a\", \"a\"]", 3, "stands here twice", "remove"),
    ("[auth]\nnonce_secret = \"\"", 2, "is empty", "leave the key out"),
    (
        "realm = \"x\"\n[[auth.users]]\nname = \"a\"\npassword = \"b\"\n\
         [[auth.users]]\nname = \"a\"\npassword = \"c\"",
        5,
        "user \"a\" stands here twice",
        "remove one",
    ),
    (
        "realm = \"x\"\n[auth]\nusers = [{ name = \"\", password = \"b\" }]",
        3,
        "name is empty",
        "alice",
    ),
    (
        "realm = \"x\"\n[auth]\nusers = [{ name = \"a\", password = \"\" }]",
        3,
        "password of \"a\" is empty",
        "openssl rand",
    ),
    (
        "realm = \"x\"\n[auth]\nsecrets = [\"s\"]\nusers = [{ name = \"12:a\", password = \"b\" }]",
        4,
        "reads as a time-limited name",
        "start the name with a letter",
    ),
    // Peers.
    ("[peers]\nallow = [\"10.0.0.0/33\"]", 2, "not a range", "from 0 to 32"),
    ("[peers]\ndeny = [\"10.0.0.0/255.0.0.0\"]", 2, "not a range", "length in bits"),
    ("[peers]\ndeny = [\"10.0.0.1-10.0.0.9\"]", 2, "not a range", "as CIDR"),
    ("[peers]\ndeny = [\n\"10.0.0.0/8\",\n\"everything\"]", 4, "not a range", "10.0.0.0/8"),
    ("[peers]\nallow = [\"10.1.2.3/8\"]", 2, "a whole range at once", "\"10.0.0.0/8\""),
    ("[peers]\ndeny = [\"::ffff:10.0.0.0/104\"]", 2, "IPv6 clothes", "\"10.0.0.0/8\""),
    // Limits.
    ("software = \"all\"", 1, "nobody to tell", "\"everybody\""),
    ("gso = \"maybe\"", 1, "no position of a switch", "\"auto\""),
    ("[limits]\nallocations_per_user = 0", 2, "would refuse everybody", "at least 1"),
    ("[limits]\nnonce_lifetime_secs = 7200", 2, "an hour at most", "= 3600"),
    ("[limits]\nlifetime_max_secs = 1000000", 2, "a day", "= 3600"),
    ("[limits]\nlifetime_max_secs = 599", 2, "every client may count on", "600 or more"),
    ("[limits]\nlifetime_max_secs = 0", 2, "would refuse everybody", "at least 1"),
    ("[signalling]\nrooms = 0", 2, "would refuse everybody", "at least 1"),
    ("[signalling]\nttl_secs = 5", 2, "a minute at least", "ttl_secs = 3600"),
    ("[signalling]\npeers_per_room = 5000", 2, "1000 at most", "several rooms"),
    ("[signalling]\nqueue_bytes = 65536", 2, "less than one frame", "queue_bytes = 65664"),
    ("[signalling]\ntrusted_proxies = [\"nginx\"]", 2, "not a range", "10.0.0.0/8"),
    ("[signalling]\nbytes_burst = 1000", 2, "less than one frame", "bytes_burst = 65536"),
    ("[signalling]\norigins = [\"https://a.org/\"]", 2, "not an origin", "no slash"),
    ("[signalling]\norigins = [\"*\"]", 2, "no origin", "name each page"),
    ("[signalling]\npublic_host = \"https://a.org\"", 2, "not a name", "bare name"),
    ("[log]\nlevel = \"inof\"", 2, "not a level", "level = \"info\""),
];

#[test]
fn several_problems_are_told_at_once_in_the_order_of_the_lines() {
    let text = "relam = \"x\"\n[listen]\nudp = [\"nowhere\"]\n[relay]\nport_min = \"a\"\n\
                [peers]\nallow = [\"10.0.0.0/99\", \"also wrong\"]\ndent = []\n";
    let error = parse(text).expect_err("all wrong");
    let lines: Vec<_> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(1), Some(3), Some(5), Some(7), Some(7), Some(8)], "{error}");
}

#[test]
fn several_places_that_are_not_toml_are_told_at_once() {
    let error = parse("realm = x\n[listen]\nudp = = 5\n").expect_err("not TOML");
    assert!(error.problems.len() >= 2, "{error}");
    assert_eq!(error.problems[0].line, Some(1));
}

#[test]
fn no_error_quotes_a_secret() {
    for text in [
        "[auth]\nsecrets = 271828182",
        "[auth]\nsecrets = [271828182]",
        "[auth]\nsecrets = \"271828182\"",
        "[auth]\nsecrets = [\"271828182\", \"271828182\"]",
        "[auth]\nnonce_secret = 271828182",
        "[auth]\nusers = [{ name = \"a\", password = 271828182 }]",
        "[auth]\nusers = [{ name = \"a\", pasword = \"271828182\" }]",
        "[auth]\nusers = [{ name = 5, password = \"271828182\" }]",
        "[auth]\nusers = \"a:271828182\"",
        "[auth]\nsecrets = [271828182",
        "[auth]\nsecrets = [\"271828182]",
        "[auth]\nsecrets = \"271828182\" \"271828182\"",
        "[auth]\nnonce_secret = 271828182x",
    ] {
        let error = parse(text).expect_err(text);
        assert!(!error.to_string().contains("271828182"), "{text}\n{error}");
        assert!(!format!("{error:?}").contains("271828182"), "{text}\n{error:?}");
    }
    let text = "realm = \"x\"\n[auth]\nsecrets = [\"271828182\"]\nnonce_secret = \"271828182\"\n\
                users = [{ name = \"a\", password = \"271828182\" }]";
    let config = parse(text).expect("fine");
    assert!(!format!("{config:?}").contains("271828182"), "{config:?}");
}

#[test]
fn a_key_of_a_wrong_type_is_told_on_its_line_whichever_it_is() {
    for (section, keys) in known_keys() {
        for key in keys.iter().filter(|_| !section.is_empty()) {
            let text = format!("[{section}]\n{key} = 1.5");
            let error = parse(&text).expect_err(&text);
            assert_eq!(error.problems.len(), 1, "{text}\n{error}");
            assert_eq!(error.problems[0].line, Some(2), "{text}\n{error}");
        }
    }
}

#[test]
fn users_may_hide_their_names_unless_the_operator_says_no() {
    let anonymity = |text: &str| {
        let text = format!("realm = \"x\"\n[auth]\nsecrets = [\"s\"]\n{text}");
        parse(&text).expect("fine").credentials.username_anonymity
    };
    assert!(anonymity(""));
    assert!(!anonymity("username_anonymity = false"));
}

#[test]
fn the_contract_of_names_is_kept() {
    let config = parse(
        r#"
realm = "example.org"
workers = 2
[listen]
udp = ["0.0.0.0:3478", "[::]:3478"]
tcp = []
tls = []
dtls = []
http = ["127.0.0.1:0"]
[relay]
addresses = ["10.0.0.5", "2001:db8::5"]
external = { "10.0.0.5" = "203.0.113.10" }
port_min = 50000
port_max = 50001
[tls]
certificate = "cert.pem"
key = "key.pem"
[auth]
secrets = ["north", "south"]
users = [{ name = "alice", password = "wonder" }]
[peers]
allow = ["10.0.0.0/8", "192.168.1.7"]
deny = ["2001:db8::/32"]
"#,
    )
    .expect("fine");
    assert_eq!((config.realm.as_str(), config.workers), ("example.org", 2));
    assert_eq!((config.listen.udp.len(), config.listen.tcp.len()), (2, 0));
    assert_eq!(config.listen.http[0].port(), 0);
    assert_eq!(config.peers.allow[1].to_string(), "192.168.1.7/32");
    assert!(!config.made_up);
    let found = ["10.0.0.5".parse().expect("an address")];
    let turn = config.turn(&found, 1, 2);
    assert_eq!((turn.relay.port_min, turn.relay.port_max), (50000, 50001));
    assert_eq!((turn.relay.share, turn.relay.shares), (1, 2));
    assert_eq!(turn.relay.found, found);
    assert_eq!(turn.credentials.secrets, ["north", "south"]);
    assert_eq!(turn.credentials.users[0].name, "alice");
    assert_eq!(turn.acl.listening_ports, [3478]);
}

#[test]
fn no_credentials_means_a_secret_made_up() {
    let config = parse("realm = \"example.org\"").expect("fine");
    assert!(config.made_up);
    assert_eq!(config.credentials.secrets[0].len(), 64);
}

#[test]
fn line_ends_and_a_byte_order_mark_are_no_matter() {
    let error = parse("\u{feff}realm = \"x\"\r\n[relay]\r\nport_mni = 1\r\n").expect_err("a typo");
    assert_eq!(error.problems[0].line, Some(3), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_a_cure() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("none.toml");
    let error = Config::load(&path, &mut rand::rng()).expect_err("no file");
    assert!(error.to_string().contains("none.toml: cannot be read"), "{error}");
    std::fs::write(&path, b"realm = \"x\"\n# \xff\n").expect("written");
    let error = Config::load(&path, &mut rand::rng()).expect_err("not UTF-8");
    assert_eq!(error.problems[0].line, Some(2));
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

proptest::proptest! {
    #[test]
    fn whatever_stands_in_the_file_is_read_or_told_with_a_line_of_it(
        at in 0..SHIPPED.len(),
        cut in 0..40_usize,
        put in r#"[a-z0-9"'\[\]{}=,.:/# \n-]{0,12}"#,
    ) {
        let kept = |end: usize| SHIPPED.is_char_boundary(end).then_some(end);
        let (from, to) = (kept(at).unwrap_or(0), (at + cut..SHIPPED.len()).find_map(kept));
        let text = format!("{}{put}{}", &SHIPPED[..from], &SHIPPED[to.unwrap_or(SHIPPED.len())..]);
        if let Err(error) = parse(&text) {
            let lines = text.lines().count() + 1;
            for problem in &error.problems {
                proptest::prop_assert!(problem.line.is_none_or(|line| line <= lines), "{error}");
                proptest::prop_assert!(!problem.cause.is_empty() && !problem.cure.is_empty());
            }
        }
    }
}

const SHIPPED: &str = include_str!("../turnserver.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("t.toml", text, &mut rand::rng())
}
