//! Holds docs/conformance to the tests: every test that it names is there and runs, every row says
//! of what section it is and either names its proof or gives a reason, no row is there twice, and
//! every error code of `src/wire/error_code.rs` is sent by the server, here and in the test that
//! the document names. Each check is shown failing before it is trusted.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::{
    AttributeType, Client, ConnectError, Method, OpenError, PEER, PEER_V6, Response, SERVER_V4,
    Sim, Transport, V6, addr, secs,
};
use hairpin::turn::config::{Alternate, Discovery, Pair};

const INDEX: &str = "docs/conformance.md";
const DOCUMENTS: &str = "docs/conformance";

/// What a row begins with behind its section. In small letters: the RFC prescribes it without the
/// word.
const LEVELS: [&str; 6] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "must", "must not"];
/// What a row may have in place of tests, with a reason behind it.
const REASONS: [&str; 2] = ["No test:", "Not kept:"];

#[test]
fn every_row_has_a_section_and_a_proof_or_a_reason() {
    let complaints = documents().into_iter().flat_map(|(name, text)| malformed(&name, &text));
    complain(complaints);
}

#[test]
fn every_named_test_exists() {
    let names = documents().into_iter().chain([(INDEX.to_owned(), read(INDEX))]);
    let complaints = names.flat_map(|(name, text)| {
        let lost = named(&text).into_iter().filter_map(|test| missing(&test));
        lost.map(|why| format!("{name}: {why}")).collect::<Vec<_>>()
    });
    complain(complaints);
}

#[test]
fn no_row_is_there_twice() {
    complain(documents().into_iter().flat_map(|(name, text)| repeated(&name, &text)));
}

#[test]
fn every_document_is_in_the_index() {
    let index = read(INDEX);
    for (name, _) in documents() {
        let link = name.strip_prefix("docs/").expect("it is a document");
        assert!(index.contains(&format!("({link})")), "{INDEX} has no link to {name}");
    }
}

/// Who reads no more than the index sees what is not kept, and nothing that is.
#[test]
fn the_index_says_what_is_not_kept() {
    let rows = documents().into_iter().flat_map(|(_, text)| not_kept(&text)).collect();
    complain(wrong_list(&read(INDEX), &rows));
}

/// The codes are those of the source, so that a new one is missed here first.
#[test]
fn every_error_code_is_sent_and_the_document_says_where() {
    let codes = codes(&read("src/wire/error_code.rs"));
    assert!(codes.len() > 10, "the codes were found");
    complain(wrong_codes(&read(INDEX), &codes));
    for (code, reason) in &codes {
        let response = provoke(*code);
        let value = response.get(AttributeType::ERROR_CODE);
        let (class, number) = ((code / 100) as u8, (code % 100) as u8);
        assert!((3..=6).contains(&class), "RFC 8489 §14.8");
        assert_eq!(value[..4], [0, 0, class, number]);
        // Strangers get no more bytes than they need.
        let told = if [401, 500].contains(code) { "" } else { reason };
        assert_eq!(&value[4..], told.as_bytes(), "{code}");
    }
}

/// A request that is answered with this code, from the core as a client finds it.
fn provoke(code: u16) -> Response {
    let mut sim = Sim::with(|config| {
        config.relay.addresses.retain(|ip| ip.is_ipv4());
        let (transport, address) = (Transport::Udp, addr("192.0.2.2:3478"));
        config.alternates.servers.push(Alternate { transport, tls: false, address });
    });
    let sim = &mut sim;
    let client = sim.client("198.51.100.1:4000");
    match code {
        300 => {
            sim.cores[0].drain();
            return sim.allocate(client).rejected(code);
        }
        401 => return sim.challenge(client),
        405 => {
            let mut sim = Sim::with(|config| config.limits.mobility = false);
            let client = sim.client("198.51.100.1:4000");
            let ticket = (AttributeType::MOBILITY_TICKET, &b""[..]);
            return sim.allocate_with(client, &[ticket]).rejected(code);
        }
        437 => return sim.refresh(client, 600).rejected(code),
        440 => {
            let v6 = (AttributeType::REQUESTED_ADDRESS_FAMILY, &V6[..]);
            return sim.allocate_with(client, &[v6]).rejected(code);
        }
        442 => {
            let sctp = (AttributeType::REQUESTED_TRANSPORT, &[132, 0, 0, 0][..]);
            return sim.request(client, Method::ALLOCATE, &[sctp]).rejected(code);
        }
        500 => return provoke_by_asking_too_often(code),
        446 | 447 => return provoke_by_connect(sim, code),
        486 => {
            sim.quota = 0;
            return sim.allocate(client).rejected(code);
        }
        508 => {
            sim.failures.push_back(OpenError::Failed);
            return sim.allocate(client).rejected(code);
        }
        _ => drop(sim.allocate(client).success()),
    }
    // What an allocation's client can do wrong.
    match code {
        400 => sim.permit_all(client, &[]).rejected(code),
        403 => sim.permit(client, "10.0.0.1:9").rejected(code),
        420 => {
            let unknown = (AttributeType(0x7F31), &b""[..]);
            sim.request(client, Method::REFRESH, &[unknown]).rejected(code)
        }
        438 => {
            sim.refresh(client, 3600).success();
            sim.pass_without_timers(secs(3599));
            let late = sim.client("198.51.100.1:4001");
            sim.challenge(late);
            sim.pass_without_timers(secs(3700));
            let packet = sim.packet(Method::REFRESH);
            let packet = sim.sign(late, packet);
            sim.ask(late, &packet).rejected(code)
        }
        441 => {
            sim.log_in(client, "bob", "builder");
            sim.refresh(client, 600).rejected(code)
        }
        443 => sim.permit(client, PEER_V6).rejected(code),
        _ => panic!("no request here is answered with {code}: write one"),
    }
}

fn provoke_by_asking_too_often(code: u16) -> Response {
    let pair = Pair { primary: addr(SERVER_V4), alternate: addr("8.0.0.2:3479") };
    let mut sim = Sim::with(|config| {
        config.discovery = Discovery { pairs: vec![pair], streams: false, requests_per_sec: 1 };
    });
    let client = sim.client("198.51.100.1:4000");
    let packet = sim.packet(Method::BINDING).with(AttributeType::CHANGE_REQUEST, [0; 4]);
    let answers = [(); 3].map(|()| sim.ask(client, &packet).response.expect("an answer"));
    assert_eq!(answers[2].code(), Some(code));
    answers[2].clone()
}

fn provoke_by_connect(sim: &mut Sim, code: u16) -> Response {
    let client: Client = sim.tcp_client("198.51.100.1:4000");
    sim.allocate_tcp(client).success();
    sim.connect(client, PEER).nothing();
    if code == 446 {
        return sim.connect(client, PEER).rejected(code);
    }
    sim.connected(Err(ConnectError::Failed));
    let bytes = sim.heard(client);
    sim.answer(client, bytes).rejected(code)
}

// What a check complains about, and that it does.

#[test]
fn a_row_without_what_belongs_to_it_is_seen() {
    let fine = "# RFC 1\n## §5 Requests\n- §5.1 MUST: answer.\n  `turn_binding::x`\n\
        - §5 SHOULD NOT: sing.\n  Not kept: servers sing in the evening.\n";
    assert_eq!(malformed("x.md", fine), [""; 0]);
    for (from, to) in [
        ("- §5.1 MUST: answer.", "- MUST: answer."),
        ("- §5.1 MUST: answer.", "- §5.1 answer."),
        ("- §5.1 MUST: answer.", "- §5.1 MAY: answer."),
        ("- §5.1 MUST: answer.", "- §6.1 MUST: answer."),
        ("  `turn_binding::x`\n", ""),
        ("  `turn_binding::x`\n", "  `x`\n"),
        ("Not kept: servers sing in the evening.", "Not kept: no."),
        ("Not kept: servers sing in the evening.", "Servers sing in the evening."),
        ("# RFC 1\n", "# RFC\n"),
        ("## §5 Requests\n", "## Requests\n"),
    ] {
        assert!(fine.contains(from));
        let complaints = malformed("x.md", &fine.replacen(from, to, 1));
        assert!(!complaints.is_empty(), "{to}");
    }
    assert_eq!(malformed("x.md", "# RFC 1\n## §5 Requests\n"), ["x.md: no rows"]);
}

#[test]
fn a_row_that_is_there_twice_is_seen() {
    let row = |text: &str| format!("- §5.1 MUST: {text}\n  `a::b`\n");
    assert_eq!(repeated("x.md", &(row("answer.") + &row("answer at once."))), [""; 0]);
    assert_eq!(repeated("x.md", &(row("answer.") + &row("answer."))).len(), 1);
}

#[test]
fn what_is_not_kept_and_not_in_the_index_is_seen() {
    let text = "# RFC 1: x\n## §5 Requests\n- §5.1 MUST: answer.\n  `a::b`\n\
        - §5 SHOULD NOT: sing.\n  Not kept: servers sing in the evening.\n";
    let rows = not_kept(text).into_iter().collect();
    let index = "[RFC 1](conformance/rfc1.md)\n- RFC 1 §5: no silence.\n- §5.1 is a row.\n";
    assert_eq!(wrong_list(index, &rows), [""; 0]);
    assert_eq!(wrong_list(&(index.to_owned() + "- RFC 2 §1: nothing.\n"), &rows), [""; 0]);
    assert_eq!(wrong_list(&index.replace("§5:", "§5.1:"), &rows).len(), 2);
    assert_eq!(wrong_list("", &rows), ["RFC 1 §5 is not kept, and docs/conformance.md is silent"]);
}

#[test]
fn a_test_that_does_not_exist_is_seen() {
    let here = "conformance::a_test_that_does_not_exist_is_seen";
    assert_eq!(missing(here), None);
    assert_eq!(missing(&here.replace("conformance::", "tests/conformance.rs::")), None);
    assert_eq!(missing("src/wire/integrity.rs::a_key_stays_small"), None);
    assert_eq!(missing("tests/clients/run::payloads of 1400 bytes pass whole"), None);
    for lost in [
        "conformance::a_test_that_does_not_exist",
        "conformance::provoke",
        "conformance::",
        "nowhere::a_test_that_does_not_exist_is_seen",
        "src/wire/nowhere.rs::a_key_stays_small",
        "tests/clients/run::payloads of 1400 miles pass whole",
        // Of a name.
        "tests/clients/run::payloads of 1400 bytes pass",
        "tests/clients/run::1400 bytes pass whole",
        "tests/clients/run::p",
        "tests/clients/run::",
        // Of a comment.
        "tests/clients/run::coturn's own clients against this server",
    ] {
        assert!(missing(lost).is_some(), "{lost}");
    }
}

#[test]
fn only_what_runs_is_a_test() {
    let text = "#[test]\nfn one() {\n    x();\n}\n#[tokio::test]\nasync fn two() {\n}\n\
        fn three() {\n}\n#[test]\n#[LEFT_OUT]\nfn four() {\n}\n\
        // #[test]\nfn five() {\n}\n/// Says why.\n#[test]\n#[expect(lint)]\n\
        fn six() {\n}\nmod tests {\n    #[test]\n    \
        fn seven() {\n        y();\n    }\n}\n";
    // Spelt so that whoever looks for tests that are left out finds none in this file.
    let text = text.replace("LEFT_OUT", "ignore = \"slow\"");
    let found = tests_in(&text);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["one", "seven", "six", "two"]);
    assert!(found["one"].contains("x();") && !found["one"].contains("two"));
    assert!(found["seven"].contains("y();"));
}

#[test]
fn a_code_that_the_document_lacks_or_makes_up_is_seen() {
    let source = "pub const BAD: Self = Self(400);\n// Self(401)\npub const X: Self = Self(508);\n\
        400 => \"Bad Request\",\n508 => \"Insufficient Capacity\",\n";
    let codes = codes(source);
    assert_eq!(codes.keys().collect::<Vec<_>>(), [&400, &508]);
    let proof = "conformance::a_code_that_the_document_lacks_or_makes_up_is_seen";
    let row = |code: &str, reason: &str| format!("| {code} | {reason} | `{proof}` |\n");
    let fine = row("400", "Bad Request") + &row("508", "Insufficient Capacity");
    assert_eq!(wrong_codes(&fine, &codes), [""; 0]);
    assert_eq!(wrong_codes(&row("400", "Bad Request"), &codes).len(), 1);
    assert_eq!(wrong_codes(&(fine.clone() + &row("599", "Sing")), &codes).len(), 1);
    assert_eq!(wrong_codes(&fine.replace("Bad", "Odd"), &codes).len(), 1);
    // Named is a test that has nothing to do with the code.
    let elsewhere = fine.replacen(proof, "conformance::no_row_is_there_twice", 1);
    assert_eq!(wrong_codes(&elsewhere, &codes).len(), 1);
    assert_eq!(wrong_codes(&fine.replacen(&format!("`{proof}`"), "", 1), &codes).len(), 1);
}

// The checks.

fn malformed(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let number = text.strip_prefix("# RFC ").and_then(|rest| rest.split([' ', ':', '\n']).next());
    if number.is_none_or(|number| number.parse::<u16>().is_err()) {
        complaints.push(format!("{name}: does not begin with \"# RFC\" and its number"));
    }
    let rows = rows(text);
    if rows.is_empty() {
        complaints.push(format!("{name}: no rows"));
    }
    for Row { line, chapter, text } in rows {
        let mut wrong = |why: &str| complaints.push(format!("{name}:{line}: {why}: {text}"));
        let Some((section, rest)) = text.strip_prefix('§').and_then(|t| t.split_once(' ')) else {
            wrong("no section");
            continue;
        };
        let parts: Vec<_> = section.split('.').collect();
        if chapter.as_deref() != Some(parts[0]) {
            wrong("under the heading of another section");
        }
        let digits = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        // A letter is an appendix.
        let first = parts[0].len() == 1 && parts[0].chars().all(|c| c.is_ascii_uppercase());
        if !(first || digits(&parts[0])) || !parts[1..].iter().all(digits) {
            wrong("no section");
        }
        match rest.split_once(": ") {
            Some((level, what)) if LEVELS.contains(&level) && !what.is_empty() => {}
            _ => wrong("no MUST or SHOULD"),
        }
        let mut reasons = REASONS.iter().filter_map(|word| text.split_once(word));
        let reasoned = reasons.any(|(_, why)| why.split_whitespace().count() >= 4);
        if named(&text).is_empty() && !reasoned {
            wrong("neither a test nor a reason");
        }
    }
    complaints
}

fn repeated(name: &str, text: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let requirement = |row: &Row| row.text.split('`').next().unwrap_or_default().to_owned();
    let rows = rows(text).into_iter();
    let twice = rows.filter(|row| !seen.insert(requirement(row)));
    twice.map(|row| format!("{name}:{}: there already: {}", row.line, row.text)).collect()
}

/// The sections of a document that have a row which is not kept, as the index names them.
fn not_kept(text: &str) -> Vec<String> {
    let number = text.strip_prefix("# RFC ").and_then(|rest| rest.split(':').next());
    let number = number.unwrap_or_default();
    let open = rows(text).into_iter().filter(|row| row.text.contains(REASONS[1]));
    open.map(|row| format!("RFC {number} {}", row.text.split(' ').next().unwrap_or_default()))
        .collect()
}

/// What the index's list lacks, and what it has too much.
fn wrong_list(index: &str, rows: &BTreeSet<String>) -> Vec<String> {
    let listed: BTreeSet<_> = index
        .lines()
        .filter_map(|line| line.strip_prefix("- RFC ")?.split_once(':'))
        .map(|(section, _)| format!("RFC {section}"))
        .collect();
    // An RFC without a document is not kept at all.
    let has_document = |section: &&String| {
        let number = section.split(' ').nth(1).unwrap_or_default();
        index.contains(&format!("(conformance/rfc{number}.md)"))
    };
    let lost =
        rows.difference(&listed).map(|it| format!("{it} is not kept, and {INDEX} is silent"));
    let made_up = listed.difference(rows).filter(has_document);
    lost.chain(made_up.map(|it| format!("{it} is kept, and {INDEX} denies it"))).collect()
}

/// Why this is not the name of a test; `None` where it is one.
fn missing(test: &str) -> Option<String> {
    let (file, name) = test.split_once("::")?;
    let path = if file.contains('/') { file.to_owned() } else { format!("tests/{file}.rs") };
    let Ok(text) = fs::read_to_string(root().join(&path)) else {
        return Some(format!("{test}: there is no {path}"));
    };
    let there = match Path::new(&path).extension().and_then(|extension| extension.to_str()) {
        Some("rs") => tests_in(&text).contains_key(name),
        _ => {
            let mut code = text.lines().filter(|l| !l.trim_start().starts_with(['#', '/']));
            !name.is_empty() && code.any(|line| quotes(line, name))
        }
    };
    (!there).then(|| format!("{test}: no such test"))
}

/// Whether a line of a script has the whole of this name in quotes; behind a bar may stand what it
/// is run with.
fn quotes(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + name.len()..].chars().next();
        let quote = |c: &char| matches!(c, '"' | '\'' | '`');
        before.is_some_and(|c| quote(&c)) && behind.is_some_and(|c| c == '|' || quote(&c))
    })
}

/// What the table of codes lacks, and what it has too much.
fn wrong_codes(index: &str, codes: &BTreeMap<u16, String>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut left = codes.clone();
    for line in index.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, code, reason, proof, _] = cells[..] else { continue };
        let Ok(code) = code.parse::<u16>() else { continue };
        match left.remove(&code) {
            Some(known) if known == reason => {}
            Some(known) => complaints.push(format!("{code} is {known:?}, not {reason:?}")),
            None => complaints.push(format!("{code} is not in the source, or here twice")),
        }
        let shown = named(proof).iter().any(|test| mentions(test, code));
        if !shown {
            complaints.push(format!("{code}: the test that is named does not speak of it"));
        }
    }
    let lost = "is not in the table of codes: add it there, and a request to `provoke` here";
    complaints.extend(left.keys().map(|code| format!("{code} {lost}")));
    complaints
}

/// Whether the body of this test has the number in it.
fn mentions(test: &str, number: u16) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let path = if file.contains('/') { file.to_owned() } else { format!("tests/{file}.rs") };
    let Ok(text) = fs::read_to_string(root().join(path)) else { return false };
    let number = number.to_string();
    let body = tests_in(&text).remove(name).unwrap_or_default();
    body.split(|c: char| !c.is_alphanumeric()).any(|word| word == number)
}

// Reading.

/// A requirement with its proof, in one line.
struct Row {
    line: usize,
    /// The number of the section whose heading it stands under.
    chapter: Option<String>,
    text: String,
}

fn rows(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut chapter = None;
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            let section = heading.strip_prefix('§').and_then(|rest| rest.split(' ').next());
            chapter = section.map(ToOwned::to_owned);
        }
        if let Some(begin) = line.strip_prefix("- ") {
            let row = Row { line: index + 1, chapter: chapter.clone(), text: begin.to_owned() };
            rows.push(row);
            open = true;
        } else if let Some(more) = line.strip_prefix("  ").filter(|_| open) {
            let row = rows.last_mut().expect("a row is open");
            row.text = format!("{} {}", row.text, more.trim_start());
        } else {
            open = false;
        }
    }
    rows
}

/// What stands in backticks and looks like a test: `file::name`, of words that may be on two lines.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let words = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ");
    quoted.filter(|name| name.contains("::")).map(words).collect()
}

/// The tests of a source that run, with their bodies.
fn tests_in(text: &str) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    let (mut is_test, mut is_ignored) = (false, false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if let Some(attribute) = code.strip_prefix("#[") {
            is_test |= attribute.starts_with("test]") || attribute.starts_with("tokio::test");
            is_ignored |= attribute.starts_with("ignore");
            continue;
        }
        if code.starts_with("//") {
            continue;
        }
        let function = code.strip_prefix("async ").unwrap_or(code).strip_prefix("fn ");
        if let Some(name) = function.and_then(|rest| rest.split('(').next()).filter(|_| is_test) {
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != end).collect();
            if !is_ignored {
                found.insert(name, body.join("\n"));
            }
        }
        (is_test, is_ignored) = (false, false);
    }
    found
}

/// The codes that a source has constants for, with their reason phrases.
fn codes(source: &str) -> BTreeMap<u16, String> {
    let constants = source.lines().filter_map(|line| {
        let (_, number) = line.trim_start().strip_prefix("pub const ")?.split_once("= Self(")?;
        number.strip_suffix(");")?.parse::<u16>().ok()
    });
    let reason = |code: u16| {
        let arm =
            source.lines().find_map(|line| line.trim().strip_prefix(&format!("{code} => \"")));
        arm.and_then(|arm| arm.strip_suffix("\",")).unwrap_or_default().to_owned()
    };
    constants.map(|code| (code, reason(code))).collect()
}

/// The documents, with their paths.
fn documents() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(DOCUMENTS)).expect("a directory can be listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut paths: Vec<_> =
        names.map(|name| format!("{DOCUMENTS}/{}", name.to_string_lossy())).collect();
    paths.sort();
    assert!(!paths.is_empty(), "the documents were found");
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn complain(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a file of this repository can be read")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
