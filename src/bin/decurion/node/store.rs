//! Stores what a member receives: one file for each sender, or stdout.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use decurion::api::Messages;

use crate::output::{Exit, Failure, Output};

/// Where received payload goes.
#[derive(Debug)]
pub enum Store {
    /// A directory; payload is appended to the file with the sender's name.
    Directory {
        /// Which one.
        path: PathBuf,
        /// What is open.
        files: BTreeMap<String, File>,
    },
    /// The bytes themselves; with `--json` their text is in the lines instead.
    Stdout {
        /// Whether stdout belongs to the JSON lines.
        json: bool,
    },
}

impl Store {
    /// `-` is stdout. A directory is made if it is not there.
    pub fn open(to: &Path, output: &Output) -> Result<Store, Failure> {
        if to.as_os_str() == "-" {
            return Ok(Store::Stdout { json: output.is_json() });
        }
        std::fs::create_dir_all(to).map_err(|error| cannot(to, &error))?;
        Ok(Store::Directory { path: to.to_owned(), files: BTreeMap::new() })
    }

    /// Whether payload is shown and not stored.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Store::Stdout { .. })
    }

    /// Appends a run. What was written before a failure stays, without a hole.
    pub fn write(&mut self, run: &Messages) -> Result<(), Failure> {
        match self {
            Store::Stdout { json: true } => Ok(()),
            Store::Stdout { json: false } => {
                let mut stdout = std::io::stdout().lock();
                append(run, &mut stdout).map_err(|error| cannot(Path::new("stdout"), &error))
            }
            Store::Directory { path, files } => {
                let name = file_name(run.sender.name.as_str());
                let path = path.join(&name);
                let file = match files.get_mut(&name) {
                    Some(file) => file,
                    None => {
                        let file = OpenOptions::new().create(true).append(true).open(&path);
                        files.entry(name).or_insert(file.map_err(|error| cannot(&path, &error))?)
                    }
                };
                append(run, file).map_err(|error| cannot(&path, &error))
            }
        }
    }

    /// Waits until the files are on the disk: some full disks say so only now.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let Store::Directory { path, files } = self else { return Ok(()) };
        for (name, file) in files {
            match file.sync_all() {
                // A pipe or a device has nothing to wait for.
                Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => {
                    return Err(cannot(&path.join(name), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn append(run: &Messages, to: &mut impl Write) -> std::io::Result<()> {
    let mut to = BufWriter::with_capacity(64 * 1024, to);
    run.iter().try_for_each(|message| to.write_all(message.payload))?;
    to.flush()
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    let advice = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ": free some space there or choose another directory with --receive"
        }
        _ => "",
    };
    Failure::new(Exit::Environment, format!("cannot store in {}: {error}{advice}", path.display()))
}

/// A member's name as the name of a file: what could lead elsewhere is written as `%` and its number.
fn file_name(name: &str) -> String {
    let mut safe = String::new();
    for (at, c) in name.chars().enumerate() {
        if c == '/' || c == '%' || c == '\0' || (c == '.' && at == 0) {
            safe.push_str(&format!("%{:02X}", c as u32));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_stay_in_the_directory_and_apart() {
        assert_eq!(file_name("alpha:7100"), "alpha:7100");
        assert_eq!(file_name("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(file_name(".."), "%2E.");
        assert_ne!(file_name("a%2Fb"), file_name("a/b"));
    }
}
