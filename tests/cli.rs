//! The commands as a shell sees them: what they print, where, and how they end.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

#[test]
fn check_config_says_what_would_listen() {
    let place = Place::with("realm = \"example.org\"\n[auth]\nsecrets = [\"0123456789abcdef\"]\n");
    let output = place.run(&["check-config"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.starts_with("turnserver.toml: fine\n"), "{output:?}");
    for words in ["udp     0.0.0.0:3478, [::]:3478", "http    127.0.0.1:8080", "secrets: 1"] {
        assert!(output.stdout.contains(words), "{words}: {output:?}");
    }
    assert!(!output.stdout.contains("0123456789abcdef"), "{output:?}");
}

#[test]
fn the_pages_for_man_have_every_option_of_every_command() {
    let place = Place::empty();
    let page = place.run(&["man"]);
    assert_eq!(page.code, 0, "{page:?}");
    // As man shows it: a hyphen is escaped, so that it stays one.
    let page = page.stdout.replace('\\', "");
    for words in [".TH hairpin 1", "--config", "--log-level", "SIGTERM, SIGINT", "EXIT STATUS"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    for command in ["serve", "check-config", "credentials", "check-peer", "load", "probe"] {
        assert!(page.contains(&format!("hairpin-{command}(1)")), "{page}");
        let page = place.run(&["man", command]).stdout.replace('\\', "");
        let help = place.run(&[command, "--help"]).stdout;
        let options: Vec<_> =
            help.split_whitespace().filter(|word| word.starts_with("--")).collect();
        assert!(options.contains(&"--config"), "{help}");
        for option in options {
            let option = option.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            assert!(page.contains(option), "{option} of {command}: {page}");
        }
    }
    let output = place.run(&["man", "nothing"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("there are pages of: serve, "), "{output:?}");
}

#[test]
fn completions_know_the_commands_but_not_those_for_packages() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = Place::empty().run(&["completions", shell]);
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stdout.contains("check-peer"), "{shell}: {output:?}");
        for hidden in ["a page for man", "what a shell reads"] {
            assert!(!output.stdout.contains(hidden), "{shell}: {output:?}");
        }
    }
    assert_eq!(Place::empty().run(&["completions", "nonesuch"]).code, 2);
}

#[test]
fn check_config_says_all_that_is_wrong() {
    let place = Place::with("[listen]\nupd = []\nhttp = [\"8080\"]\n");
    let output = place.run(&["check-config"]);
    assert_eq!(output.code, 1, "{output:?}");
    for words in [
        "turnserver.toml:2: unknown key `upd` in [listen]",
        "cure: did you mean `udp`?",
        "turnserver.toml:3: [listen] http: \"8080\" has no address",
        "cure: write \"0.0.0.0:8080\", \"[::]:8080\"",
    ] {
        assert!(output.stdout.contains(words), "{words}: {output:?}");
    }
}

#[test]
fn check_config_looks_into_the_files_that_a_listener_needs() {
    let tls = "[tls]\ncertificate = \"nowhere.pem\"\n";
    let output = Place::with(tls).run(&["check-config"]);
    assert_eq!(output.code, 0, "no listener needs it: {output:?}");
    let place = Place::with(&format!("[listen]\ntls = [\"127.0.0.1:5349\"]\n{tls}"));
    for command in ["check-config", "serve"] {
        let output = place.run(&[command]);
        assert_eq!(output.code, 1, "{output:?}");
        let said = output.stdout + &output.stderr;
        let words = "turnserver.toml:4: [tls] certificate: nowhere.pem cannot be read";
        assert!(said.contains(words), "{said}");
        assert!(said.contains("or to do without write tls = [] and dtls = []"), "{said}");
    }
}

#[test]
fn check_config_without_a_file_means_the_built_in_defaults() {
    let output = Place::empty().run(&["check-config"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("no turnserver.toml here"), "{output:?}");
    assert!(output.stdout.contains("made up at each start"), "{output:?}");
}

#[test]
fn check_config_doubts_what_is_allowed_but_hardly_meant() {
    let text = "realm = \"x\"\n[auth]\nsecrets = [\"weak\"]\n[peers]\nallow = [\"0.0.0.0/0\"]\n\
                [relay]\naddresses = [\"192.0.2.77\"]\n";
    let output = Place::with(text).run(&["check-config"]);
    assert_eq!(output.code, 0, "{output:?}");
    for words in ["metadata", "shorter than 16", "no interface of this host has 192.0.2.77"] {
        assert!(output.stdout.contains(words), "{words}: {output:?}");
    }
}

/// The file does not write these addresses, and clients that are sent there come back.
#[test]
fn check_config_doubts_other_servers_that_are_this_one() {
    let text = "[listen]\ntcp = [\"127.0.0.2:3478\"]\n\
                [relay.external]\n\"127.0.0.1\" = \"192.0.2.1\"\n\"127.0.0.2\" = \"192.0.2.2\"\n\
                [alternates]\n\
                udp = [\"127.0.0.1:3478\", \"192.0.2.1:3478\", \"[::1]:3478\", \"[::1]:3479\"]\n\
                tcp = [\"127.0.0.1:3478\", \"192.0.2.2:3478\", \"192.0.2.1:3478\"]\n";
    let output = Place::with(text).run(&["check-config"]);
    assert_eq!(output.code, 0, "{output:?}");
    let doubted = |line: &str| {
        let doubt =
            line.trim().strip_prefix("doubt: [alternates] ")?.split_once(" is this server")?;
        Some(doubt.0.to_owned())
    };
    let doubted: Vec<_> = output.stdout.lines().filter_map(doubted).collect();
    // By udp, at every address; and by tcp, at the one.
    let expected = ["127.0.0.1:3478", "192.0.2.1:3478", "[::1]:3478", "192.0.2.2:3478"];
    assert_eq!(doubted, expected, "{output:?}");
}

#[test]
fn check_config_doubts_nat_discovery_behind_load_balancers() {
    let discovery = "[nat_discovery]\nprimary = [\"127.0.0.1:3478\"]\n\
                     alternate = [\"127.0.0.2:3479\"]\n";
    for (balancers, doubted) in [("\"10.0.0.0/8\"", true), ("", false)] {
        let text = format!("{discovery}[listen]\nproxy_protocol = [{balancers}]\n");
        let output = Place::with(&text).run(&["check-config"]);
        assert_eq!(output.code, 0, "{output:?}");
        assert_eq!(output.stdout.contains("do not go by a load balancer"), doubted, "{output:?}");
    }
}

#[test]
fn check_config_doubts_turns_without_a_name() {
    let place = Place::empty();
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()]);
    let certificate = certificate.and_then(|it| it.self_signed(&key)).expect("a certificate");
    place.put("cert.pem", &certificate.pem());
    place.put("key.pem", &key.serialize_pem());
    let text = "realm = \"x\"\n[auth]\nsecrets = [\"0123456789abcdef\"]\n\
                [listen]\ntls = [\"127.0.0.1:5349\"]\n[signalling]\n";
    for (line, doubted) in [("", true), ("public_host = \"a.example\"\n", false)] {
        place.put("turnserver.toml", &format!("{text}{line}"));
        let output = place.run(&["check-config"]);
        assert_eq!(output.code, 0, "{output:?}");
        assert_eq!(
            output.stdout.contains("[signalling] public_host is not set"),
            doubted,
            "{output:?}"
        );
    }
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let output = Place::empty().run(&["check-config", "--config", "nowhere.toml"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.contains("nowhere.toml: cannot be read"), "{output:?}");
}

#[test]
fn serving_stops_at_a_wrong_file() {
    let place = Place::with("[relay]\nport_min = 9\nport_max = 8\n");
    for arguments in [&["serve"][..], &[]] {
        let output = place.run(arguments);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.stderr.contains("turnserver.toml:2: [relay] port_min"), "{output:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn credentials_are_signed_with_the_first_secret() {
    let place = Place::with(
        "realm = \"x\"\n[auth]\nsecrets = [\"north\", \"south\"]\n[listen]\ntcp = []\n",
    );
    let output = place.run(&["credentials", "--user", "alice", "--ttl", "600"]);
    assert_eq!(output.code, 0, "{output:?}");
    let field = |name: &str| {
        let mut lines = output.stdout.lines();
        lines.find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned()
    };
    let (username, password) = (field("username:"), field("password:"));
    assert!(username.ends_with(":alice"), "{output:?}");
    assert_eq!(password, mac("north", &username));

    let output = place.run(&["credentials", "--user", "alice", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let username = json["username"].as_str().expect("a username");
    assert_eq!(json["password"], mac("north", username));
    assert_eq!(json["ttl"], 3600);
    assert_eq!(json["iceServers"][1]["credential"], json["password"]);
    assert!(json["iceServers"][0]["urls"][0].as_str().is_some_and(|url| url.starts_with("stun:")));
    assert_eq!(json["uris"].as_array().map(Vec::len), Some(1), "tcp is off");
}

#[test]
fn credentials_need_a_secret_that_lasts() {
    for place in [
        Place::empty(),
        Place::with("realm = \"x\"\n[auth]\nusers = [{ name = \"a\", password = \"b\" }]\n"),
    ] {
        let output = place.run(&["credentials", "--user", "alice"]);
        assert_eq!(output.code, 1, "{output:?}");
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains("no secret is configured"), "{output:?}");
        assert!(output.stderr.contains("cure: write secrets = "), "{output:?}");
    }
}

#[test]
fn check_peer_says_by_which_rule() {
    let place = Place::with("[peers]\nallow = [\"10.1.0.0/16\"]\ndeny = [\"8.8.8.0/24\"]\n");
    for (peer, code, words) in [
        ("1.1.1.1", 0, "in no list"),
        ("[2606:4700::1111]:443", 0, "in no list"),
        ("10.1.2.3:80", 0, "[peers] allow: 10.1.0.0/16"),
        ("10.2.0.1", 1, "10.0.0.0/8"),
        ("8.8.8.8", 1, "[peers] deny: 8.8.8.0/24"),
        ("169.254.169.254:80", 1, "metadata"),
        ("127.0.0.1:3478", 1, "listens on that port"),
    ] {
        let output = place.run(&["check-peer", peer]);
        assert_eq!(output.code, code, "{peer}: {output:?}");
        let verdict = if code == 0 { "allowed: " } else { "denied: " };
        assert!(output.stdout.starts_with(verdict), "{peer}: {output:?}");
        assert!(output.stdout.contains(words), "{peer}: {output:?}");
    }
}

#[test]
fn check_peer_excepts_the_ports_that_the_server_listens_on() {
    let place = Place::with("[peers]\nallow = [\"127.0.0.1/32\"]\n");
    let output = place.run(&["check-peer", "127.0.0.1"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("except for ports"), "{output:?}");
    assert_eq!(place.run(&["check-peer", "127.0.0.1:8080"]).code, 1);
    assert_eq!(place.run(&["check-peer", "127.0.0.1:9"]).code, 0);
}

#[test]
fn no_encoding_of_a_denied_address_is_allowed() {
    let place = Place::empty();
    for [a, b, c, d] in [[127, 0, 0, 1], [10, 0, 0, 5], [169, 254, 169, 254]] {
        let hex = format!("{a:02x}{b:02x}:{c:02x}{d:02x}");
        for peer in [
            format!("{a}.{b}.{c}.{d}"),
            format!("::{a}.{b}.{c}.{d}"),
            format!("::{hex}"),
            format!("::ffff:{a}.{b}.{c}.{d}"),
            format!("[::ffff:{hex}]:443"),
            format!("::ffff:0:{hex}"),
            format!("64:ff9b::{hex}"),
            format!("64:ff9b:1::{hex}"),
            format!("2002:{hex}::1"),
            format!("2001:0:{hex}::1"),
            format!("2606:4700::5efe:{hex}"),
            format!("0{a}.{b}.{c}.{d}"),
            format!("0x{a:02x}{b:02x}{c:02x}{d:02x}"),
            u32::from_be_bytes([a, b, c, d]).to_string(),
            format!("{a}.{}", u32::from_be_bytes([0, b, c, d])),
        ] {
            let output = place.run(&["check-peer", &peer]);
            assert_ne!(output.code, 0, "{peer}: {output:?}");
        }
    }
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let place = Place::empty();
    for (arguments, words) in [
        (&["check-peer"][..], "ADDRESS[:PORT]"),
        (&["check-peer", "example.org"], "peers are addresses"),
        (&["credentials"], "--user"),
        (&["credentials", "--user", ""], "name somebody"),
        (&["credentials", "--user", "a", "--ttl", "0"], "--ttl"),
        (&["fly"], "fly"),
        (&["--log-level", "inof"], "not a level"),
    ] {
        let output = place.run(arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(words), "{arguments:?}: {output:?}");
    }
    assert_eq!(place.run(&["--help"]).code, 0);
    assert_eq!(place.run(&["--version"]).stdout.trim(), "hairpin 0.1.0");
}

/// A directory to run in, with or without a turnserver.toml.
struct Place(tempfile::TempDir);

impl Place {
    fn empty() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn with(config: &str) -> Self {
        let place = Self::empty();
        place.put("turnserver.toml", config);
        place
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("written");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(arguments)
            .current_dir(self.path())
            .env_remove("HAIRPIN_CONFIG")
            .env_remove("HAIRPIN_LOG")
            .output()
            .expect("the binary runs");
        Ended::from(output)
    }
}

#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

fn mac(secret: &str, username: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(username.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}
