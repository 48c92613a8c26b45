//! A share of a processor for one process: a control group (version 1) of the controller `cpu`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::output::{Exit, Failure};

/// In each of these the process may run for its part of it.
const PERIOD_US: u64 = 100_000;
const PREFIX: &str = "decurion-bench-";

/// The group. Dropping it removes it; a process that still runs is free again.
#[derive(Debug)]
pub struct Share {
    path: PathBuf,
}

impl Share {
    /// Holds a process to this part of one processor.
    pub fn of(pid: u32, part: f64) -> Result<Share, Failure> {
        let held = root().ok_or(io::ErrorKind::NotFound.into()).and_then(|root| Share::below(&root, pid, part));
        held.map_err(|error| {
            let text = format!(
                "--leader-cpu: cannot hold a process to a share of a processor: {error}. It takes root, and the controller 'cpu' of control \
                 groups in their version 1, mounted for writing"
            );
            Failure::new(Exit::Environment, text)
        })
    }

    fn below(root: &Path, pid: u32, part: f64) -> io::Result<Share> {
        let path = root.join(format!("{PREFIX}{}-{pid}", std::process::id()));
        fs::create_dir(&path)?;
        let share = Share { path };
        let quota = (part * PERIOD_US as f64).round();
        for (file, value) in [("cpu.cfs_period_us", PERIOD_US as f64), ("cpu.cfs_quota_us", quota)] {
            fs::write(share.path.join(file), value.to_string())?;
        }
        fs::write(share.path.join("cgroup.procs"), pid.to_string())?;
        Ok(share)
    }

    /// For how long its threads wanted to run and might not, added up.
    pub fn throttled(&self) -> Duration {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap_or_default();
        let ns = text.lines().find_map(|line| line.strip_prefix("throttled_time ")?.parse().ok());
        Duration::from_nanos(ns.unwrap_or(0))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let root = self.path.parent().expect("it is below a root");
        let inside = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        inside.lines().for_each(|pid| drop(fs::write(root.join("cgroup.procs"), pid)));
        let _ = fs::remove_dir(&self.path);
    }
}

/// Where the controller is mounted for writing.
fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fits = |line: &str| {
        let [_, path, "cgroup", options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        let has = |word: &str| options.split(',').any(|option| option == word);
        (has("cpu") && has("rw")).then(|| PathBuf::from(path))
    };
    mounts.lines().find_map(fits)
}
