//! One run of the load tool, and the servers that it runs against.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::Path;

use serde_json::Value;

use crate::options::Options;
use crate::servers::{self, Relaying, Running, Seat};
use crate::table::Subject;

/// Whatever went wrong.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) subject: Subject,
    pub(crate) address: SocketAddrV4,
    /// Where it listens for TLS.
    pub(crate) secure: SocketAddrV4,
    pub(crate) process: Running,
}

impl Server {
    pub(crate) fn uri(&self, transport: &str) -> String {
        match transport {
            "tls" => format!("turns:{}", self.secure),
            _ => format!("turn:{}?transport={transport}", self.address),
        }
    }
}

/// What all sections are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    directory: &'a Path,
}

/// One run of the load tool.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) uri: String,
    pub(crate) line: String,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) process: &'a Running,
    /// Whether it may run on each CPU.
    pub(crate) everywhere: bool,
    /// Whether it runs on the server's CPU.
    pub(crate) beside_server: bool,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(options: &'a Options, directory: &'a Path) -> Self {
        Self { options, directory }
    }

    /// Those that can be compared here; without coturn it says so.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let mut list = vec![Subject::Hairpin];
        if self.options.coturn.exists() {
            list.push(Subject::Coturn);
        } else {
            let program = self.options.coturn.display();
            eprintln!("{program} is not there: no comparison with coturn");
        }
        list.extend(self.options.coturn_fast.as_ref().map(|_| Subject::CoturnFast));
        list
    }

    /// Starts one server; `name` tells it from others of its kind.
    pub(crate) fn start(&self, subject: Subject, name: &str, seat: &Seat) -> Result<Server> {
        let addresses = servers::free_addresses()?;
        let directory = self.directory.join(format!("{} {name}", subject.name()));
        let (options, directory) = (self.options, directory.as_path());
        let process = match (subject, &options.coturn_fast) {
            (Subject::Hairpin, _) => servers::hairpin(directory, addresses, seat)?,
            (Subject::CoturnFast, Some(program)) => {
                servers::coturn(program, directory, addresses, seat, Relaying::Together)?
            }
            _ => servers::coturn(&options.coturn, directory, addresses, seat, Relaying::Apart)?,
        };
        let [address, secure] = addresses;
        Ok(Server { subject, address, secure, process })
    }

    /// Starts one of each.
    pub(crate) fn start_all(&self, name: &str) -> Result<Vec<Server>> {
        let subjects = self.subjects().into_iter();
        subjects.map(|subject| self.start(subject, name, &Seat::beside(subject))).collect()
    }

    /// A run against a server, as long as the options say.
    pub(crate) fn load<'s>(&self, server: &'s Server, line: &str) -> Load<'s> {
        let line = format!("{line} --user u --password p");
        self.plain(server.uri("udp"), line, &server.process)
    }

    /// A run against whatever has this URI.
    pub(crate) fn plain<'s>(&self, uri: String, line: String, process: &'s Running) -> Load<'s> {
        let (seconds, warmup) = (self.options.seconds(), self.options.warmup());
        Load { uri, line, seconds, warmup, process, everywhere: false, beside_server: false }
    }
}

impl Load<'_> {
    pub(crate) fn seconds(mut self, seconds: f64) -> Self {
        self.seconds = seconds;
        self
    }

    fn cpu(&self) -> Option<&'static str> {
        let own = if self.beside_server { servers::SERVER_CPU } else { servers::LOAD_CPU };
        (!self.everywhere).then_some(own)
    }

    /// Runs it; `None`, with a word, where it failed.
    pub(crate) fn run(&self) -> Result<Option<Value>> {
        finish(self.start()?)
    }

    /// Starts it, to be waited for with [`finish`].
    pub(crate) fn start(&self) -> Result<std::process::Child> {
        let mut command = servers::load(self.cpu());
        command.arg(&self.uri).args(self.line.split_whitespace()).args(["--json", "--quiet"]);
        command.args(["--seconds", &self.seconds.to_string()]);
        command.args(["--warmup", &self.warmup.to_string()]);
        command.args(["--server-pid", &self.process.id().to_string()]);
        Ok(command.stdout(std::process::Stdio::piped()).spawn()?)
    }
}

/// What a run has come to; `None`, with a word, where it failed.
pub(crate) fn finish(child: std::process::Child) -> Result<Option<Value>> {
    let output = child.wait_with_output()?;
    let report = serde_json::from_slice::<Value>(&output.stdout).ok();
    if report.is_none() {
        eprintln!(" failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(report)
}

/// How far a section is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    done: usize,
    total: usize,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self { done: 0, total }
    }

    /// Tells what comes next.
    pub(crate) fn next(&mut self, what: &str) -> io::Result<()> {
        const BAR: usize = 24;
        self.done += 1;
        let filled = (self.done * BAR / self.total.max(1)).min(BAR);
        let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
        eprint!("\r\x1b[K{bar} {}/{} {what} …", self.done, self.total);
        io::stderr().flush()
    }
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
