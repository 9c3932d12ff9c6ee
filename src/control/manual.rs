//! What packages make of the command line's own description: pages for man(1), and completions
//! for shells. So neither can say anything else than `--help` does.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::cli::Cli;
use super::config::DEFAULT_FILE;

/// The commands that have pages of their own, `hairpin-NAME(1)`.
#[must_use]
pub fn commands() -> Vec<String> {
    shown().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// Writes the page of hairpin itself, or of one of its [`commands`].
///
/// # Errors
///
/// When it cannot be written, and `NotFound` for a command that there is not.
pub fn page(command: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    let mut whole = shown().disable_help_subcommand(true);
    // Only now each command has its full name, and what is global.
    whole.build();
    let Some(name) = command else {
        man(&whole).render(out)?;
        return further().to_writer(out);
    };
    man(whole.find_subcommand(name).ok_or(io::ErrorKind::NotFound)?).render(out)
}

/// Writes what a shell reads to complete our command line.
///
/// # Errors
///
/// When it cannot be written.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    // Into memory first: the generator panics where writing fails, as on a closed pipe.
    clap_complete::generate(shell, &mut shown(), "hairpin", &mut text);
    out.write_all(&text)
}

/// The description without what is hidden, which the generators would show.
fn shown() -> Command {
    let all = Cli::command();
    let mut shown = Command::new("hairpin").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = all.get_about() {
        shown = shown.about(about.clone());
    }
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set());
    shown.args(all.get_arguments()).subcommands(commands)
}

/// No date in it: the same sources make the same page.
fn man(command: &Command) -> Man {
    let source = concat!("hairpin ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).manual("hairpin").date("")
}

/// What the command line does not know of itself.
fn further() -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["FILES"]);
    for (file, what) in [
        (DEFAULT_FILE, "The configuration, where --config names no other and it is there."),
        ("/etc/hairpin/turnserver.toml", "The configuration of the packaged service."),
    ] {
        page.control("TP", []).text([bold(file)]).text([roman(what)]);
    }
    page.control("SH", ["SIGNALS"]);
    for (signal, what) in [
        (
            "SIGTERM, SIGINT",
            "Take no new allocations, let those that are there go on for drain_secs, end. A second \
             one ends it at once.",
        ),
        (
            "SIGHUP",
            "Read the configuration and the certificates again, while calls go on. The log names \
             what takes a restart; a file that is wrong changes nothing.",
        ),
    ] {
        page.control("TP", []).text([bold(signal)]).text([roman(what)]);
    }
    page.control("SH", ["EXIT STATUS"]);
    for (status, what) in
        [("0", "All is well."), ("1", "The answer is no, or it failed."), ("2", "Wrong usage.")]
    {
        page.control("TP", []).text([bold(status)]).text([roman(what)]);
    }
    page
}
