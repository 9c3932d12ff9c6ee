//! Reads the sources and holds them to what `src/lib.rs` promises: floors that import only from
//! below, cores without clock, socket, lock or randomness, `unsafe` in one place. Each check is a
//! function from text to complaints, and is shown failing before it is trusted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate with their floors. A module may import from floors below its own, and
/// from itself.
const FLOORS: &[(&str, u8)] = &[
    ("wire", 0),
    ("turn", 1),
    ("signalling", 1),
    ("client", 2),
    ("net", 2),
    ("worker", 3),
    ("load", 3),
    ("probe", 3),
    ("control", 4),
    ("server", 5),
    ("main", 6),
    ("lib", 6),
];

/// Names that have no place in a deterministic core.
const NOT_IN_A_CORE: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "std::thread",
    "thread::spawn",
    "Mutex",
    "RwLock",
    "Condvar",
    "Arc",
    "async",
    "await",
    "tokio",
    "rand::rng",
    "rand::random",
    "rand::fill",
    "make_rng",
    "getrandom",
    "OsRng",
    "SysRng",
    "ThreadRng",
    "hash::RandomState",
    "hash_map::RandomState",
    "RandomState::new",
    "std::fs",
    "std::env",
    "std::process",
];

const COLUMNS: usize = 100;
const LINES: usize = 600;

#[test]
fn imports_go_down() {
    complain(sources().iter().flat_map(climbing));
}

#[test]
fn cores_are_deterministic() {
    let sources = sources();
    let cores = sources.iter().filter(|file| floor(file.top()).is_some_and(|floor| floor < 2));
    let cores = cores.filter(|file| !is_test_file(file, &sources));
    complain(cores.flat_map(not_deterministic));
}

#[test]
fn unsafe_is_in_one_place_and_says_why() {
    complain(sources().iter().flat_map(unsafe_code));
}

#[test]
fn every_file_is_part_of_the_crate() {
    complain(orphans(&sources()));
}

#[test]
fn lines_and_files_have_an_end() {
    complain(everything().iter().flat_map(wide_lines));
    let sources = sources();
    complain(sources.iter().filter(|file| !is_test_file(file, &sources)).filter_map(long_file));
}

#[test]
fn nothing_is_left_to_do_without_a_reason() {
    complain(everything().iter().flat_map(unfinished));
}

#[test]
fn the_shipped_configuration_shows_every_key() {
    let shipped = read(Path::new("turnserver.toml")).text;
    complain(keys_missing(&shipped, &hairpin::control::config::known_keys()));
}

// What a check complains about, and that it does.

#[test]
fn an_import_that_climbs_is_seen_however_it_is_written() {
    for text in [
        "use crate::server::run;",
        "use crate::{wire::Header, net::udp};",
        "use crate::{\n    wire,\n    worker::{self, Shard},\n};",
        "fn f() { crate::control::log::start() }",
        "use super::super::net;",
        "use crate::signalling::Rooms;",
        "pub(in crate::server) fn f() {}",
        "mod inner { use super::super::super::net::udp; }",
    ] {
        assert_eq!(climbing(&File::new("src/turn/acl.rs", text)).len(), 1, "{text}");
    }
    for text in [
        "use crate::wire::Header;",
        "use crate::turn::acl;",
        "use super::net; // turn::net",
        "mod inner { use super::super::net; }",
        "// use crate::server::run;",
        "const A: &str = \"crate::server\"; const B: &str = r#\"crate::\"server\"#;",
        "pub(crate) fn f<'a>(a: &'a str) -> char { '\"' }",
    ] {
        assert_eq!(climbing(&File::new("src/turn/acl.rs", text)), [""; 0], "{text}");
    }
    assert_eq!(climbing(&File::new("src/turn/mod.rs", "use super::net::udp;")).len(), 1);
    assert_eq!(climbing(&File::new("src/main.rs", "use hairpin::server;")), [""; 0]);
    assert_eq!(climbing(&File::new("src/server.rs", "use hairpin::main;")).len(), 1);
}

#[test]
fn a_core_that_asks_the_system_is_seen() {
    for text in [
        "use std::time::Instant; fn f() { Instant::now(); }",
        "use std::sync::{Arc, mpsc};",
        "use std::{fs, fmt};",
        "fn f() { ahash::RandomState::new(); }",
        "use std::{net::{IpAddr, UdpSocket}};",
        "async fn f() {}",
        "fn f() { rand::rng(); }",
        "fn f() { g().await }",
        "#[cfg(test)]\nmod tests {}\nuse std::thread;",
    ] {
        let complaints = not_deterministic(&File::new("src/turn/acl.rs", text));
        assert_eq!(complaints.len(), 1, "{text}: {complaints:?}");
    }
    for text in [
        "use std::net::{IpAddr, SocketAddr};",
        "fn f() { ahash::RandomState::with_seeds(1, 2, 3, 4); }",
        "//! No Mutex, no Arc.\n/* async /* nested */ await */",
        "fn f(archive: Archive, rng: &mut impl Rng) { rng.fill(archive) }",
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn f() { if true { } }\n}",
        "#[cfg(test)]\nuse std::fs;",
    ] {
        let complaints = not_deterministic(&File::new("src/turn/acl.rs", text));
        assert_eq!(complaints, [""; 0], "{text}");
    }
}

#[test]
fn unsafe_out_of_place_or_without_a_word_is_seen() {
    let bare = "fn f() {\n    unsafe { g() }\n}";
    let reasoned = "fn f() {\n    // SAFETY: g has no conditions.\n    unsafe { g() }\n}";
    assert_eq!(unsafe_code(&File::new("src/net/udp.rs", reasoned)).len(), 1);
    assert_eq!(unsafe_code(&File::new("src/net/sys.rs", bare)).len(), 1);
    assert_eq!(unsafe_code(&File::new("src/net/sys.rs", reasoned)), [""; 0]);
    assert_eq!(unsafe_code(&File::new("src/net/udp.rs", "// unsafe\n\"unsafe\"")), [""; 0]);
}

#[test]
fn a_file_that_nobody_names_is_seen() {
    let files = |lib: &str| {
        [
            File::new("src/lib.rs", lib),
            File::new("src/net/mod.rs", "mod udp;"),
            File::new("src/net/udp.rs", "mod sys;"),
            File::new("src/net/udp/sys.rs", ""),
        ]
    };
    assert_eq!(orphans(&files("pub mod net;")), [""; 0]);
    assert_eq!(orphans(&files("// pub mod net;")), ["src/net/mod.rs: no `mod net` in src/lib.rs"]);
    let lost = [File::new("src/lib.rs", ""), File::new("src/a/b.rs", "")];
    assert_eq!(orphans(&lost).len(), 1);
}

#[test]
fn what_is_too_long_or_unfinished_is_seen() {
    let file = |text: &str| File::new("src/x.rs", text);
    assert_eq!(wide_lines(&file(&"§".repeat(100))), [""; 0]);
    assert_eq!(wide_lines(&file(&"§".repeat(101))).len(), 1);
    assert_eq!(long_file(&file(&"\n".repeat(600))), None);
    assert!(long_file(&file(&"\n".repeat(601))).is_some());
    for text in ["// TODO", "/* FIXME: soon */", "fn f() { todo!() }", "unimplemented!(\"x\")"] {
        assert_eq!(unfinished(&file(text)).len(), 1, "{text}");
    }
    let fine = "// TODO: IPv6 as well, once the kernel tells\nlet s = \"TODO\"; fn todo() {}";
    assert_eq!(unfinished(&file(fine)), [""; 0]);
}

#[test]
fn a_key_that_is_not_shown_or_not_known_is_seen() {
    let known = [("", &["realm", "log"][..]), ("log", &["level", "colour"][..])];
    let shipped = "realm = \"x\"\n[log]\nlevel = \"info\" # colour = 1\n# colour = 2\n";
    assert_eq!(keys_missing(shipped, &known), [""; 0]);
    assert_eq!(keys_missing("[log]\nlevel = 1\n# colour = 2\n", &known).len(), 1);
    assert_eq!(keys_missing("realm = 1\nlevel = 1\n[log]\n# colour = 2", &known).len(), 2);
}

// The checks.

fn climbing(file: &File) -> Vec<String> {
    let home = file.top();
    let Some(own) = floor(home) else {
        return vec![format!("{}: {home} has no floor", file.name)];
    };
    let mut complaints = Vec::new();
    for path in paths(&file.code) {
        let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
        let reached = match names.as_slice() {
            ["crate" | "hairpin", name, ..] => *name,
            ["super", ..] => {
                let up = names.iter().take_while(|name| **name == "super").count();
                match names.get(up) {
                    Some(name) if up == file.depth() + path.inline => *name,
                    _ => continue,
                }
            }
            _ => continue,
        };
        let fine = match floor(reached) {
            Some(floor) => floor < own || reached == home,
            None => false,
        };
        if !fine {
            complaints.push(format!("{}:{}: {home} reaches for {reached}", file.name, path.line));
        }
    }
    complaints.dedup();
    complaints
}

fn not_deterministic(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in paths(&without_tests(&file.code)) {
        let whole = format!("::{}::", path.names.join("::"));
        if let Some(name) = NOT_IN_A_CORE.iter().find(|n| whole.contains(&format!("::{n}::"))) {
            complaints.push(format!("{}:{}: {name} in a core", file.name, path.line));
        }
    }
    complaints
}

fn unsafe_code(file: &File) -> Vec<String> {
    let allowed = file.name == "src/net/sys.rs" || file.name.starts_with("src/net/sys/");
    let lines: Vec<&str> = file.text.lines().collect();
    let mut complaints = Vec::new();
    for path in paths(&file.code).iter().filter(|path| path.names == ["unsafe"]) {
        let above = &lines[path.line.saturating_sub(9)..path.line];
        let reasoned = above.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety"));
        if !allowed {
            complaints.push(format!("{}:{}: unsafe outside net/sys.rs", file.name, path.line));
        } else if !reasoned {
            complaints.push(format!("{}:{}: unsafe without // SAFETY:", file.name, path.line));
        }
    }
    complaints
}

/// Files that no `mod` leads to.
fn orphans(files: &[File]) -> Vec<String> {
    let by_name: BTreeMap<&str, &File> = files.iter().map(|f| (f.name.as_str(), f)).collect();
    let roots = ["src/lib.rs", "src/main.rs"];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| !roots.contains(&file.name.as_str())) {
        let module = file.modules.last().expect("only the roots have none");
        let parents = parents(file);
        let named = |parent: &String| {
            by_name.get(parent.as_str()).is_some_and(|f| declares(&f.code, module))
        };
        if !parents.iter().any(named) {
            complaints.push(format!("{}: no `mod {module}` in {}", file.name, parents[0]));
        }
    }
    complaints
}

fn wide_lines(file: &File) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS);
    wide.map(|(index, _)| format!("{}:{}: over {COLUMNS} columns", file.name, index + 1)).collect()
}

fn long_file(file: &File) -> Option<String> {
    (file.text.lines().count() > LINES).then(|| format!("{}: over {LINES} lines", file.name))
}

/// A TODO may stand where it says why, in a few words at least.
fn unfinished(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, comment) in file.comments.lines().enumerate() {
        let found = ["TODO", "FIXME", "XXX"].iter().find_map(|word| comment.split_once(word));
        if found.is_some_and(|(_, reason)| reason.split_whitespace().count() < 4) {
            complaints.push(format!("{}:{}: a TODO without a reason", file.name, index + 1));
        }
    }
    for name in ["todo!", "unimplemented!"] {
        if file.code.contains(name) {
            complaints.push(format!("{}: {name}", file.name));
        }
    }
    complaints
}

/// Keys that turnserver.toml lacks, and keys in it that nobody knows; commented ones count.
fn keys_missing(shipped: &str, known: &[(&str, &[&str])]) -> Vec<String> {
    let mut section = "";
    let mut shown = Vec::new();
    for line in shipped.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.split(']').next().unwrap_or_default();
            shown.push(("", section));
        }
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some((key, _)) = line.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            shown.push((section, key));
        }
    }
    let known: Vec<(&str, &str)> = known
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| (*section, *key)))
        .collect();
    let missing = known.iter().filter(|key| !shown.contains(key)).map(|key| (key, "is missing"));
    let unknown = shown.iter().filter(|key| !known.contains(key)).map(|key| (key, "is not known"));
    let complaints = missing.chain(unknown);
    complaints.map(|((s, key), why)| format!("turnserver.toml: [{s}] {key} {why}")).collect()
}

// Reading.

/// A source file, with its code and its comments told apart: each has blanks for what is not it,
/// so that lines stay where they are.
struct File {
    name: String,
    text: String,
    code: String,
    comments: String,
    /// The path of its module: `src/turn/acl.rs` is `[turn, acl]`.
    modules: Vec<String>,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let path = Path::new(name.strip_prefix("src/").unwrap_or(name)).with_extension("");
        let mut modules: Vec<String> =
            path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if modules.last().is_some_and(|last| last == "mod") {
            modules.pop();
        }
        Self { name: name.to_owned(), text: text.to_owned(), code, comments, modules }
    }

    /// The module of the crate's root that it belongs to.
    fn top(&self) -> &str {
        &self.modules[0]
    }

    /// How many `super` lead to the root.
    fn depth(&self) -> usize {
        self.modules.len()
    }
}

fn parents(file: &File) -> Vec<String> {
    match &file.modules[..file.modules.len() - 1] {
        [] => vec!["src/lib.rs".to_owned(), "src/main.rs".to_owned()],
        parent => {
            let parent = parent.join("/");
            vec![format!("src/{parent}.rs"), format!("src/{parent}/mod.rs")]
        }
    }
}

fn declares(code: &str, module: &str) -> bool {
    code.contains(&format!("mod {module};"))
}

/// Whether a file is there for tests only: its parent names it under `#[cfg(test)]`.
fn is_test_file(file: &File, files: &[File]) -> bool {
    let Some(module) = file.modules.last() else { return false };
    let parents = parents(file);
    let mut parents = files.iter().filter(|file| parents.contains(&file.name));
    parents.any(|parent| {
        declares(&parent.code, module) && !declares(&without_tests(&parent.code), module)
    })
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn complain(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn sources() -> Vec<File> {
    let sources = files_below("src");
    assert!(sources.len() > 20, "the sources were found");
    sources
}

fn everything() -> Vec<File> {
    ["src", "tests", "benches"].into_iter().flat_map(files_below).collect()
}

fn files_below(directory: &str) -> Vec<File> {
    let mut paths = vec![PathBuf::from(directory)];
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        let whole = root().join(&path);
        if whole.is_dir() && path.file_name().is_some_and(|name| name != "node_modules") {
            let entries = fs::read_dir(&whole).expect("a directory can be listed");
            paths.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(read(&path));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn read(path: &Path) -> File {
    let text = fs::read_to_string(root().join(path)).expect("a source can be read");
    File::new(&path.to_string_lossy(), &text)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Tells code from comments; text in quotes is neither.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let mut code: Vec<char> = chars.iter().map(|c| if *c == '\n' { '\n' } else { ' ' }).collect();
    let mut comments = code.clone();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        let after_word = i > 0 && is_word(at(i - 1));
        i = match (at(i), at(i + 1)) {
            ('/', '/') => skip(&chars, i, |i| at(i) == '\n'),
            ('/', '*') => end_of_block(&chars, i),
            ('"', _) => end_of_quote(&chars, i, '"'),
            ('r', '"' | '#') if !after_word || at(i - 1) == 'b' => end_of_raw(&chars, i),
            ('\'', '\\') => end_of_quote(&chars, i, '\''),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            (c, _) => {
                code[i] = c;
                i + 1
            }
        };
        if at(start) == '/' && matches!(at(start + 1), '/' | '*') {
            let end = i.min(chars.len());
            comments[start..end].copy_from_slice(&chars[start..end]);
        }
    }
    (code.into_iter().collect(), comments.into_iter().collect())
}

fn skip(chars: &[char], from: usize, stop: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| stop(*i)).unwrap_or(chars.len())
}

fn end_of_block(chars: &[char], from: usize) -> usize {
    let (mut depth, mut i) = (0, from);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn end_of_quote(chars: &[char], from: usize, quote: char) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Of `r"…"` and `r#"…"#`; an `r#word` is one step.
fn end_of_raw(chars: &[char], from: usize) -> usize {
    let open = skip(chars, from + 1, |i| chars[i] != '#');
    if chars.get(open) != Some(&'"') {
        return from + 1;
    }
    let hashes = open - from - 1;
    let closes =
        |i: usize| chars[i] == '"' && (1..=hashes).all(|after| chars.get(i + after) == Some(&'#'));
    skip(chars, open + 1, closes) + hashes + 1
}

/// Code without its items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut rest = code;
    let mut kept = String::new();
    while let Some(start) = rest.find(ATTRIBUTE) {
        kept.push_str(&rest[..start]);
        let item = &rest[start + ATTRIBUTE.len()..];
        let mut depth = 0;
        let end = item.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0 && matches!(c, ';' | '}')
        });
        let end = end.map_or(item.len(), |(index, _)| index + 1);
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept + rest
}

/// A path in the code, `a::{b, c}` being two, with how many inline modules are around it.
struct Name {
    names: Vec<String>,
    line: usize,
    inline: usize,
}

fn paths(code: &str) -> Vec<Name> {
    let chars: Vec<char> = code.chars().collect();
    let mut found: Vec<Name> = Vec::new();
    // What each open brace is: a group of a `use` with its prefix, an inline module, or another.
    let mut braces: Vec<(Vec<String>, bool)> = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        if !is_word(chars[i]) {
            match chars[i] {
                '\n' => line += 1,
                '{' => {
                    let module = found.len() > 1 && found[found.len() - 2].names == ["mod"];
                    braces.push((Vec::new(), module && is_after_word(&chars, i)));
                }
                '}' => drop(braces.pop()),
                _ => {}
            }
            i += 1;
            continue;
        }
        let mut names = braces.last().map_or_else(Vec::new, |(prefix, _)| prefix.clone());
        let inline = braces.iter().filter(|(_, module)| *module).count();
        loop {
            let end = skip(&chars, i, |i| !is_word(chars[i]));
            names.push(chars[i..end].iter().collect());
            i = end;
            let next = chars.get(i + 2).filter(|_| chars[i..].starts_with(&[':', ':']));
            match next {
                Some('{') => {
                    braces.push((names, false));
                    i += 3;
                }
                Some(c) if is_word(*c) => {
                    i += 2;
                    continue;
                }
                _ => found.push(Name { names, line, inline }),
            }
            break;
        }
    }
    found
}

fn is_after_word(chars: &[char], brace: usize) -> bool {
    chars[..brace].iter().rev().find(|c| !c.is_whitespace()).is_some_and(|c| is_word(*c))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
