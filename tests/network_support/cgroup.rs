//! A control group (version 1) of one controller for one process: a cap on its memory, or a share of a processor.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "decurion-test-";

/// Removed when dropped; its processes must have ended by then.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// `None`: this machine has no such controller that we may write to, which is said, and not accepted where `CI=true`.
    pub fn new(controller: &str, name: &str) -> Option<Cgroup> {
        let made = root(controller).ok_or(io::ErrorKind::NotFound.into()).and_then(|root| {
            remove_leftovers(&root);
            let path = root.join(format!("{PREFIX}{}-{name}", std::process::id()));
            fs::create_dir(&path).map(|()| Cgroup { path })
        });
        made.map_err(|error| {
            let text = format!("no control group (version 1) of {controller} can be made here: {error}");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
            eprintln!("NOT TESTED: {text}");
        })
        .ok()
    }

    pub fn set(&self, file: &str, value: u64) -> io::Result<()> {
        fs::write(self.path.join(file), value.to_string())
    }

    /// The value of a file, or of a line of it that begins with this word.
    pub fn number(&self, file: &str, word: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).expect("the group is there");
        let found = text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no number '{word}' in {file}: {text}"))
    }

    /// Takes a process in, with all its threads.
    pub fn take(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("the process runs");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that is still in it (the test has failed) goes back to the root of the controller.
        let root = self.path.parent().expect("it is below a root");
        let inside = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        inside.lines().for_each(|pid| drop(fs::write(root.join("cgroup.procs"), pid)));
        let _ = fs::remove_dir(&self.path);
    }
}

/// Where the controller is mounted for writing.
fn root(controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fits = |line: &str| {
        let [_, path, "cgroup", options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        let has = |word: &str| options.split(',').any(|option| option == word);
        (has(controller) && has("rw")).then(|| PathBuf::from(path))
    };
    mounts.lines().find_map(fits)
}

/// Groups of test processes that are gone.
fn remove_leftovers(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
