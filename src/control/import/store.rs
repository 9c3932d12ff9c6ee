//! The file that is written: it has secrets in it, so nobody but its owner may read it, at no
//! moment; and what is there already stays, unless the operator says otherwise.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes `text` to `path`; `source` is what it was made from, and is never replaced.
///
/// # Errors
///
/// A sentence for the operator, with the cure.
pub(super) fn store(path: &Path, source: &Path, force: bool, text: &str) -> Result<(), String> {
    let name = path.display();
    let is_source = matches!(
        (fs::canonicalize(path), fs::canonicalize(source)),
        (Ok(path), Ok(source)) if path == source
    );
    if is_source {
        return Err(format!(
            "{name}: this is the file that is imported\n    cure: write the result elsewhere"
        ));
    }
    let stored = if force { replace(path, text) } else { create(path, text) };
    stored.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists if !force => {
            format!("{name}: is there already\n    cure: name another file, or say --force")
        }
        _ => {
            let cure = "name a file in a directory that this user may write to";
            format!("{name}: cannot be written: {error}\n    cure: {cure}")
        }
    })
}

/// A new file. It fails where the name is taken, by a link as well.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fresh(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a configuration helps nobody, and would stand in the way the next time.
        let _ = fs::remove_file(path);
    }
    written
}

/// A new file in the place of an old one: whoever has that open keeps it, with its old mode.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let new: PathBuf = path.with_file_name(name);
    create(&new, text)?;
    fs::rename(&new, path).inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

fn fresh(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
