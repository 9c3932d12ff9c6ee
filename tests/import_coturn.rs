//! `hairpin import-coturn`: what it makes of coturn's configuration, what it says, and what it
//! never says.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use hairpin::control::config::Config;
use hairpin::control::import::options::{self, Fate, Takes};
use hairpin::control::import::{Host, Imported, Weight, translate};
use hairpin::turn::acl::Rule;
use proptest::prelude::*;

// The table of options.

#[test]
fn each_option_of_coturn_has_a_row_and_each_row_is_an_option_of_coturns() {
    let known: BTreeSet<&str> = LISTS.iter().flat_map(|list| list.lines()).collect();
    let rows: BTreeSet<&str> = options::all().map(|row| row.name).collect();
    assert!(known.len() > 140, "the lists are there");
    assert_eq!(known, rows);
}

#[test]
fn the_page_for_those_who_come_from_coturn_has_the_table_that_the_code_has() {
    let page = include_str!("../docs/coming-from-coturn.md");
    for row in options::all() {
        let line = match row.fate {
            Fate::Carried(keys) => format!("| `{}` | {keys} |", row.name),
            Fate::Needless(why) => format!("| `{}` | {why} |", row.name),
            Fate::Unsupported { why, cure } => format!("| `{}` | {why} | {cure} |", row.name),
        };
        assert!(page.lines().any(|written| written == line), "docs/coming-from-coturn.md: {line}");
    }
    let written = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(written, options::all().count(), "a line of the page is of no option");
}

#[test]
fn each_option_that_is_said_to_be_carried_changes_the_file() {
    let context = "realm=example.org\nuser=alice:north\nlistening-ip=192.0.2.1\n\
                   listening-ip=192.0.2.2\nrfc5780\ncert=c.pem\npkey=k.pem\noauth\n\
                   server-name=as.example.org\nalternate-server=198.51.100.1\n";
    let value = |name: &str| match name {
        "listening-ip" => "192.0.2.3",
        "listening-port" | "tls-listening-port" | "alt-listening-port" => "4000",
        "min-port" | "max-port" => "60000",
        "aux-server" => "192.0.2.1:5000",
        "relay-ip" => "192.0.2.1",
        "external-ip" => "203.0.113.1/192.0.2.1",
        "allowed-peer-ip" | "denied-peer-ip" => "198.51.100.0-198.51.100.255",
        "alternate-server" => "198.51.100.2:4000",
        "udp-alternate-server" | "tcp-alternate-server" | "tls-alternate-server" => {
            "198.51.100.3:4000"
        }
        "realm" => "north.gov",
        "server-name" => "other.example.org",
        "static-auth-secret" => "south",
        "stateless-nonce-secret" => "a long random string",
        "user" => "bob:south",
        "cert" | "pkey" => "other.pem",
        "user-quota" | "total-quota" | "max-bps" | "relay-threads" | "cpus" => "7",
        "stale-nonce" | "max-allocate-lifetime" | "max-allocate-timeout" => "700",
        "log-min-level" => "warning",
        _ => "",
    };
    for row in options::all() {
        if !matches!(row.fate, Fate::Carried(_)) {
            continue;
        }
        // What the context has already is taken out of it, rather than said twice.
        let here = ["rfc5780", "oauth"].contains(&row.name);
        let without = match here {
            true => context.replace(&format!("{}\n", row.name), ""),
            false => context.to_owned(),
        };
        let with = format!("{without}{}={}\n", row.name, value(row.name));
        if row.name == "dtls" && !cfg!(feature = "dtls") {
            let told = imported(&with).notes.into_iter().any(|note| note.about == "dtls");
            assert!(told, "a build without DTLS says so");
            continue;
        }
        assert_ne!(keys(&without), keys(&with), "{}", row.name);
    }
}

// The whole way, by the command.

#[test]
fn coturns_own_example_with_every_option_in_force_passes_check_config() {
    for example in [EXAMPLE_4_17, EXAMPLE_4_6] {
        let place = Place::with(example);
        let output = place.import(&["--output", "turnserver.toml"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let checked = place.run(&["check-config"]);
        assert_eq!(checked.code, 0, "{}", checked.stdout);
        assert!(checked.stdout.starts_with("turnserver.toml: fine\n"), "{}", checked.stdout);
        for words in ["Not carried over:", ": no-auth: ", "    cure: ", "Needed no longer:"] {
            assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
        }
    }
}

#[test]
fn a_plain_configuration_is_carried_over_whole() {
    let text = "listening-port=3478\ntls-listening-port=443\nlistening-ip=10.0.0.5\n\
                external-ip=203.0.113.10/10.0.0.5\nmin-port=50000\nmax-port=51000\n\
                realm=example.org\nuse-auth-secret\nstatic-auth-secret=north\n\
                static-auth-secret=south\ndenied-peer-ip=198.51.100.0-198.51.100.9\n\
                allowed-peer-ip=10.0.0.7\nuser-quota=12\ntotal-quota=1200\nstale-nonce=600\n\
                no-tlsv1\ncert=/etc/turn/c.pem\npkey=/etc/turn/k.pem\nfingerprint\n";
    let expected = "realm = \"example.org\"\n[listen]\nudp = [\"10.0.0.5:3478\"]\n\
        tcp = [\"10.0.0.5:3478\"]\ntls = [\"10.0.0.5:443\"]\n[relay]\n\
        addresses = [\"10.0.0.5\"]\nexternal = { \"10.0.0.5\" = \"203.0.113.10\" }\n\
        port_min = 50000\nport_max = 51000\n[tls]\ncertificate = \"/etc/turn/c.pem\"\n\
        key = \"/etc/turn/k.pem\"\n[auth]\nsecrets = [\"north\", \"south\"]\n[peers]\n\
        allow = [\"10.0.0.7/32\"]\ndeny = [\"198.51.100.0/29\", \"198.51.100.8/31\"]\n\
        [limits]\nallocations_per_user = 12\nallocations_total = 1200\nnonce_lifetime_secs = 600\n";
    let expected: toml::Table = expected.parse().expect("TOML");
    assert_eq!(keys(text), expected);
    assert_eq!(lost(text), [""; 0]);
}

#[test]
fn without_an_output_the_result_goes_to_stdout_and_all_else_to_stderr() {
    let output = Place::with("realm=example.org\nuser=alice:north\ncli\n").import(&[]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let table: toml::Table = output.stdout.parse().expect("TOML and nothing else");
    assert_eq!(table["auth"]["users"][0]["password"].as_str(), Some("north"));
    assert!(output.stderr.contains("turnserver.conf:3: cli: "), "{}", output.stderr);
}

#[test]
fn lines_that_are_no_options_are_told_with_their_numbers() {
    let text = "realm=example.org\n# a comment\n\nlistenig-port=3478\nno-such-thing\nmin-port=x\n";
    let output = Place::with(text).import(&[]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    for words in [
        "turnserver.conf:4: listenig-port: coturn has no such option",
        "cure: did you mean `listening-port`?",
        "turnserver.conf:5: coturn has no such option",
        "turnserver.conf:6: min-port: \"x\" is no port",
    ] {
        assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
    }
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_said_otherwise() {
    let place = Place::with("realm=example.org\n");
    let path = place.path("turnserver.toml");
    fs::write(&path, "mine").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    let output = place.import(&["--output", "turnserver.toml"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.contains("turnserver.toml: is there already"), "{}", output.stderr);
    assert!(output.stderr.contains("cure: "), "{}", output.stderr);
    assert_eq!(fs::read_to_string(&path).expect("there"), "mine");

    let output = place.import(&["--output", "turnserver.toml", "--force"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(fs::read_to_string(&path).expect("there").contains("realm = \"example.org\""));
    assert_eq!(
        mode(&path),
        0o600,
        "a file that all could read has become one that nobody else can"
    );
    let left: Vec<_> = fs::read_dir(place.0.path()).expect("a directory").collect();
    assert_eq!(left.len(), 2, "nothing is left behind: {left:?}");
}

#[test]
fn nobody_but_its_owner_may_read_what_is_written() {
    let place = Place::with("realm=example.org\nuser=alice:north\n");
    let output = place.import(&["--output", "new.toml"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(mode(&place.path("new.toml")), 0o600);
}

#[test]
fn neither_a_link_nor_the_source_is_written_over() {
    let place = Place::with("realm=example.org\n");
    symlink(place.path("elsewhere"), place.path("link.toml")).expect("a link");
    assert_eq!(place.import(&["--output", "link.toml"]).code, 1);
    assert!(!place.path("elsewhere").exists(), "a link is not followed");
    for arguments in [&["--output", "turnserver.conf"][..], &["-o", "turnserver.conf", "--force"]] {
        let output = place.import(arguments);
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("the file that is imported"), "{}", output.stderr);
    }
    let source = fs::read_to_string(place.path("turnserver.conf")).expect("there");
    assert_eq!(source, "realm=example.org\n");
}

#[test]
fn what_cannot_be_read_or_written_is_told_with_a_cure() {
    let place = Place::with("realm=example.org\n");
    for arguments in [
        &["import-coturn", "nowhere.conf"][..],
        &["import-coturn", "turnserver.conf", "--output", "no/such/directory.toml"],
        &["import-coturn", "."],
    ] {
        let output = place.run(arguments);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(output.stderr.contains("cure: "), "{}", output.stderr);
    }
    assert_eq!(place.run(&["import-coturn", "a", "--force"]).code, 2, "force needs an output");
}

#[test]
fn no_secret_is_ever_said() {
    let secret = "hunter2-hunter2";
    let mut text = String::new();
    for row in options::all().filter(|row| row.takes == Takes::Secret) {
        text.push_str(&format!("{}={secret}\n{} \"{secret}\n", row.name, row.name));
    }
    text.push_str(&format!("user=alice:0x{secret}\nuser=:{secret}\nuser={secret}\n"));
    text.push_str(&format!("static-auth-secert={secret}\n{secret}\nuser:{secret}\n"));
    text.push_str(&format!("user=bob:{secret} # old\nuser=bob:{secret}{secret}\n"));
    for head in ["", "use-auth-secret\n", "no-auth\n", "stun-only\n"] {
        let place = Place::with(&format!("{head}{text}"));
        let output = place.import(&["--output", "turnserver.toml"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        let said = output.stdout + &output.stderr;
        assert!(!said.contains("hunter2"), "{said}");
        let written = fs::read_to_string(place.path("turnserver.toml")).expect("there");
        let comments = written.lines().filter(|line| line.starts_with('#'));
        assert!(!comments.into_iter().any(|line| line.contains("hunter2")), "{written}");
    }
}

// What single options come to.

#[test]
fn the_last_of_several_counts_and_that_is_said() {
    let imported = imported("realm=a\nrealm=b\n");
    let table: toml::Table = imported.toml.parse().expect("TOML");
    assert_eq!(table["realm"].as_str(), Some("b"));
    let told = |note: &&_| told(note).contains("stands on line 1 as well; the last one counts");
    assert!(imported.notes.iter().any(|note| told(&note)), "{:?}", imported.notes);
}

#[test]
fn what_stands_for_two_keys_is_told_once() {
    let lost = lost("realm=a\nalternate-server=turn2.example.org\nlistening-ip=eth0\n");
    assert_eq!(lost.len(), 2, "{lost:?}");
}

#[test]
fn relays_are_where_clients_come_in_unless_relay_ip_says_where() {
    let addresses = |text: &str| {
        let keys = keys(text);
        keys.get("relay").and_then(|relay| relay.get("addresses")).map(ToString::to_string)
    };
    let (v4, lo) = ("listening-ip=192.0.2.1\n", "listening-ip=127.0.0.1\n");
    assert_eq!(addresses(&format!("{v4}{lo}")).as_deref(), Some("[\"192.0.2.1\"]"));
    assert_eq!(addresses(lo).as_deref(), Some("[\"127.0.0.1\"]"));
    assert_eq!(addresses(&format!("{v4}listening-ip=::\n")), None, "found out at the start");
    assert_eq!(addresses(&format!("{v4}relay-ip=192.0.2.9\n")).as_deref(), Some("[\"192.0.2.9\"]"));
}

#[test]
fn an_external_ip_without_its_inside_is_for_the_one_address_there_is() {
    let external = |text: &str, found: &[&str]| {
        let found = found.iter().map(|ip| ip.parse().expect("an address")).collect();
        let host = Host { found, ..host() };
        let imported = translate("t.conf", text.as_bytes(), &host);
        let table: toml::Table = imported.toml.parse().expect("TOML");
        table.get("relay").and_then(|relay| relay.get("external")).map(ToString::to_string)
    };
    let pair = |inside: &str, outside: &str| Some(format!("{{ \"{inside}\" = \"{outside}\" }}"));
    let text = "external-ip=203.0.113.10\n";
    assert_eq!(external(text, &["10.0.0.5", "127.0.0.1"]), pair("10.0.0.5", "203.0.113.10"));
    assert_eq!(external(text, &["10.0.0.5", "10.0.0.6"]), None, "which of the two?");
    assert_eq!(external(text, &["2001:db8::1"]), None, "none of the family");
    assert_eq!(external(text, &["203.0.113.10", "10.0.0.5"]), None, "the host's own: no NAT");
    let text = "relay-ip=10.0.0.5\nrelay-ip=10.0.0.6\nexternal-ip=203.0.113.10\n";
    assert_eq!(external(text, &[]), pair("10.0.0.5", "203.0.113.10"));
    assert_eq!(keys(text)["relay"]["addresses"].as_array().map(Vec::len), Some(1));
}

#[test]
fn users_are_left_out_where_coturn_leaves_them_out() {
    let text = "realm=a\nuser=alice:north\nstatic-auth-secret=south\n";
    assert!(keys(text)["auth"].get("users").is_none());
    assert!(lost(text).iter().any(|line| line.starts_with("user: 1 user is left out")));
}

#[test]
fn a_key_in_place_of_a_password_is_told_by_the_name_of_its_user() {
    let text = "realm=a\nuser=ninefingers:0xbc807ee29df3c9ffa736523fb2c4e8ee\n";
    assert!(!keys(text).contains_key("auth"));
    let lost = lost(text);
    assert!(lost.iter().any(|line| line.contains("\"ninefingers\" has a key")), "{lost:?}");
}

#[test]
fn a_wide_allow_opens_neither_loopback_nor_the_metadata_service() {
    let text = "allowed-peer-ip=0.0.0.0-255.255.255.255\nallowed-peer-ip=::-ffff:ffff:ffff:ffff:\
                ffff:ffff:ffff:ffff\n";
    for peer in ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "::1", "fe80::1"] {
        assert!(!judge(text, peer).0, "{peer}");
    }
    assert!(judge(text, "10.0.0.1").0, "this is what it says");
    let text = "allow-loopback-peers\n";
    assert!(judge(text, "127.0.0.1").0 && judge(text, "::1").0 && !judge(text, "10.0.0.1").0);
}

#[test]
fn a_cidr_is_taken_where_it_denies_and_asked_about_where_it_allows() {
    let text = "realm=a\ndenied-peer-ip=8.8.8.8/24\nallowed-peer-ip=10.0.0.0/8\n";
    assert_eq!(keys(text)["peers"].to_string(), "{ deny = [\"8.8.8.0/24\"] }");
    assert_eq!(lost(text), ["allowed-peer-ip: \"10.0.0.0/8\" is no range of addresses"]);
}

#[test]
fn a_server_for_stun_only_gives_nobody_credentials() {
    let keys = keys("stun-only\nuser=alice:north\nstatic-auth-secret=south\n");
    assert!(!keys.contains_key("auth"), "{keys}");
    assert_eq!(keys["signalling"]["demo"].as_bool(), Some(false));
}

#[test]
fn tls_without_a_certificate_that_can_be_used_is_off_and_told() {
    let place = Place::with("realm=example.org\ncert=nowhere.pem\npkey=nowhere-key.pem\n");
    let output = place.import(&["--output", "turnserver.toml"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("nowhere.pem cannot be read"), "{}", output.stderr);
    let written = fs::read_to_string(place.path("turnserver.toml")).expect("there");
    assert!(written.contains("\n# tls = [\"0.0.0.0:5349\", \"[::]:5349\"]\n"), "{written}");
    let certificate = place.path("nowhere.pem").canonicalize();
    assert!(certificate.is_err() && written.contains("/nowhere.pem\""), "an absolute path");
    assert_eq!(place.run(&["check-config"]).code, 0);
}

#[test]
fn one_port_for_tls_and_for_what_is_plain_is_for_tls() {
    let text = "realm=a\ncert=c.pem\npkey=k.pem\nlistening-port=443\ntls-listening-port=443\n\
                listening-ip=192.0.2.1\naux-server=192.0.2.2:443\naux-server=192.0.2.2:80\n";
    let listen = &keys(text)["listen"];
    assert_eq!(listen["tls"].to_string(), "[\"192.0.2.1:443\"]");
    assert_eq!(listen["tcp"].to_string(), "[\"192.0.2.2:80\"]");
    assert_eq!(listen["udp"].as_array().map(Vec::len), Some(3), "UDP has nothing to do with it");
    let changed = imported(text).notes.into_iter().filter(|note| note.weight == Weight::Changed);
    let about: Vec<_> = changed.map(|note| note.about).collect();
    assert_eq!(about, ["listening-port", "aux-server"]);
}

#[test]
fn tls_with_its_certificate_listens_where_coturn_has() {
    let place = Place::with("realm=example.org\ncert=c.pem\npkey=k.pem\nlistening-ip=127.0.0.1\n");
    let made = rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).expect("made");
    fs::write(place.path("c.pem"), made.cert.pem()).expect("written");
    fs::write(place.path("k.pem"), made.signing_key.serialize_pem()).expect("written");
    let output = place.import(&["--output", "turnserver.toml"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let checked = place.run(&["check-config"]);
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    assert!(checked.stdout.contains("tls     127.0.0.1:5349"), "{}", checked.stdout);
}

#[test]
fn limits_that_are_out_of_bounds_are_brought_within_and_told() {
    let text = "stale-nonce=0\nmax-allocate-lifetime=60\nrelay-threads=500\nmin-port=1\n";
    let keys = keys(text);
    assert_eq!(keys["limits"]["nonce_lifetime_secs"].as_integer(), Some(3600));
    assert_eq!(keys["limits"]["lifetime_max_secs"].as_integer(), Some(600));
    assert_eq!(keys["workers"].as_integer(), Some(128));
    assert_eq!(keys["relay"]["port_min"].as_integer(), Some(1024));
    let changed = |name| {
        let notes = imported(text).notes;
        notes.iter().any(|note| note.weight == Weight::Changed && note.about == name)
    };
    for name in ["stale-nonce", "max-allocate-lifetime", "relay-threads", "min-port"] {
        assert!(changed(name), "{name}");
    }
}

// For every file.

proptest! {
    #[test]
    fn names_passwords_and_secrets_arrive_as_they_were(
        name in "[a-z\u{e4}\u{9375}][a-zA-Z\u{e4}\u{9375} \"\\\\'#=;]{0,18}[a-z\u{9375}]",
        // A key begins with 0x; a quote or an equals sign at the beginning is not a part of it.
        password in "[!#-/1-<>-~][ -~\u{e4}\u{9375}]{0,40}[!-~]",
    ) {
        let text = format!("realm=a\nuser={name}:{password}\n");
        let config = parsed(&imported(&text));
        prop_assert_eq!(&config.credentials.users[0].name, &name);
        prop_assert_eq!(&config.credentials.users[0].password, &password);
        let text = format!("realm=a\nstatic-auth-secret={password}\n");
        prop_assert_eq!(&parsed(&imported(&text)).credentials.secrets, &[password]);
    }

    #[test]
    fn a_denied_range_denies_what_is_in_it_and_nothing_else(a in any::<u32>(), b in any::<u32>()) {
        let (first, last) = (a.min(b), a.max(b));
        let text = format!("denied-peer-ip={}-{}\n", Ipv4Addr::from(first), Ipv4Addr::from(last));
        let inside = [first, last, first / 2 + last / 2];
        for ip in inside.into_iter().filter(|ip| (first..=last).contains(ip)) {
            let (allowed, by_deny) = judge(&text, &Ipv4Addr::from(ip).to_string());
            prop_assert!(!allowed && (by_deny || is_reserved(ip)));
        }
        for ip in [first.checked_sub(1), last.checked_add(1)].into_iter().flatten() {
            prop_assert!(!judge(&text, &Ipv4Addr::from(ip).to_string()).1);
        }
    }

    /// `translate` gives what `Config::parse` accepts, whatever it is given.
    #[test]
    fn whatever_stands_in_turnserver_conf_the_result_is_a_good_configuration(
        lines in prop::collection::vec((any_name(), any_value()), 0..14),
        noise in "[ -~\t\u{e4}\u{1}\u{7f}]{0,30}",
    ) {
        let line = |(name, value): &(&str, String)| format!("{name}={value}\n");
        let text = lines.iter().map(line).collect::<String>() + &noise;
        let imported = imported(&text);
        if let Err(error) = parse(&imported) {
            prop_assert!(false, "{text}\n{}\n{error}", imported.toml);
        }
        let lines = text.lines().count() + 1;
        prop_assert!(imported.notes.iter().all(|note| note.line.is_none_or(|at| at <= lines)));
    }
}

/// Those that are carried over are written more often: they are what the result is made of.
fn any_name() -> impl Strategy<Value = &'static str> {
    let carried = options::all().filter(|row| matches!(row.fate, Fate::Carried(_)));
    let carried: Vec<_> = carried.map(|row| row.name).collect();
    let all: Vec<_> = options::all().map(|row| row.name).collect();
    prop_oneof![4 => prop::sample::select(carried), 1 => prop::sample::select(all)]
}

fn any_value() -> impl Strategy<Value = String> {
    let sensible = prop::sample::select(vec![
        "",
        "0",
        "1",
        "no",
        "yes",
        "3478",
        "5349",
        "8080",
        "70000",
        "-1",
        "::",
        "0.0.0.0",
        "::1",
        "127.0.0.1",
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.1:3478",
        "[2001:db8::1]:5349",
        "fe80::1",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "203.0.113.1/192.0.2.1",
        "224.0.0.1",
        "a:b",
        "a:c",
        "2026:b",
        "10.0.0.0-10.0.0.9",
        "::-2001::",
        "::fffe:0:0-::1:0:0:0",
        "\"x",
        "debug",
        ":",
        "[::ffff:192.0.2.1]:3478",
        "0.0.0.0:5349",
        "0.0.0.0-255.255.255.255",
        "example.org",
        "example.org # mine",
        "3600",
        "600",
        "86401",
    ]);
    prop_oneof![8 => sensible.prop_map(str::to_owned), 1 => "[ -~\u{e4}\u{7f}]{0,20}"]
}

// What these are made of.

fn host() -> Host {
    let directory = PathBuf::from("/etc");
    Host { found: Vec::new(), directory, dtls: cfg!(feature = "dtls"), certificate: None }
}

fn imported(text: &str) -> Imported {
    translate("t.conf", text.as_bytes(), &host())
}

fn keys(text: &str) -> toml::Table {
    imported(text).toml.parse().expect("TOML")
}

fn parse(imported: &Imported) -> Result<Config, hairpin::control::config::ConfigError> {
    Config::parse("t.toml", &imported.toml, &mut rand::rng())
}

fn parsed(imported: &Imported) -> Config {
    parse(imported).expect("the result is a good configuration")
}

fn told(note: &hairpin::control::import::Note) -> String {
    format!("{}: {}", note.about, note.text)
}

fn lost(text: &str) -> Vec<String> {
    let notes = imported(text).notes;
    notes.iter().filter(|note| note.weight == Weight::Lost).map(told).collect()
}

/// Whether a peer may be reached, and whether it is the operator's `deny` that says no.
fn judge(text: &str, peer: &str) -> (bool, bool) {
    let peer: IpAddr = peer.parse().expect("an address");
    let ruling = parsed(&imported(text)).acl(&[]).judge_ip(peer);
    (ruling.allowed, matches!(ruling.rule, Rule::Deny(_)))
}

/// Whether the built-in list or the server's own addresses say no to it.
fn is_reserved(ip: u32) -> bool {
    !judge("", &Ipv4Addr::from(ip).to_string()).0
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

const LISTS: [&str; 3] = [
    include_str!("coturn/options-4.6.txt"),
    include_str!("coturn/options-4.17.txt"),
    include_str!("coturn/options-other.txt"),
];
const EXAMPLE_4_6: &str = include_str!("coturn/example-4.6.conf");
const EXAMPLE_4_17: &str = include_str!("coturn/example-4.17.conf");

/// A directory with a turnserver.conf in it.
struct Place(tempfile::TempDir);

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn with(conf: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        fs::write(place.path("turnserver.conf"), conf).expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn import(&self, arguments: &[&str]) -> Ended {
        self.run(&[&["import-coturn", "turnserver.conf"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("HAIRPIN_CONFIG")
            .env_remove("HAIRPIN_LOG")
            .output()
            .expect("the binary runs");
        Ended {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}
