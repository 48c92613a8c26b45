//! Any text as a configuration: the file's reader, the setters, and what follows from all settings together.

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

use decurion::api::config::Origin;
use decurion::{Code, Config};

/// A file that lies in memory: the fuzzer writes a new one for each input.
struct Memory {
    file: File,
}

impl Memory {
    fn new(content: &[u8]) -> Memory {
        let name = CString::new("configuration").expect("no NUL in it");
        // SAFETY: the name is terminated; the descriptor is new and nobody else's.
        let mut file = unsafe {
            let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0, "no file in memory: {}", std::io::Error::last_os_error());
            File::from_raw_fd(fd)
        };
        file.write_all(content).and_then(|()| file.rewind()).expect("memory takes it");
        Memory { file }
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// The input as a TOML file, and line by line as keys and values of setters.
pub fn configuration(data: &[u8]) {
    let file = Memory::new(data);
    let mut config = Config::new();
    match (config.load(&file.path()), Config::inspect(&file.path())) {
        (Ok(()), problems) => assert!(problems.expect("it can be read").is_empty(), "what loads has no problem"),
        (Err(error), Err(again)) => assert_eq!((error.code(), again.code()), (Code::System, Code::System)),
        (Err(error), Ok(problems)) => {
            assert_eq!(error.text().lines().count() > 0, !problems.is_empty());
            assert!(
                config
                    .settings()
                    .iter()
                    .all(|setting| setting.origin == Origin::Default || matches!(setting.origin, Origin::Profile(_))),
                "what fails changes nothing"
            );
            let lines = data.split(|byte| *byte == b'\n').count();
            for place in problems.iter().filter_map(|problem| problem.place.as_ref()) {
                assert!((1..=lines).contains(&place.line) && place.column > 0, "{place} is outside of the file");
            }
        }
    }
    for line in String::from_utf8_lossy(data).lines() {
        if let Some((key, value)) = line.split_once('=') {
            let _ = config.set(key.trim(), value.trim());
        }
    }
    settled(&config);
}

/// What is in force can be set again, to the same effect; and it can be resolved, or the answer says what does not fit.
fn settled(config: &Config) {
    let mut again = Config::new();
    for setting in config.settings() {
        if matches!(setting.origin, Origin::File(_) | Origin::Set) {
            let set = again.set(setting.key.name, &setting.value);
            set.unwrap_or_else(|error| panic!("{} was legal once: {error}", setting.key.name));
            assert_eq!(again.get(setting.key.name).expect("a key"), setting.value, "{}", setting.key.name);
        }
    }
    match (config.resolve(), again.resolve()) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (Err(one), Err(other)) => {
            assert_eq!(one.code(), other.code());
            assert!(matches!(one.code(), Code::Config | Code::Unsupported | Code::System), "{one}");
        }
        (one, other) => panic!("resolved once and not again: {one:?} {other:?}"),
    }
}
