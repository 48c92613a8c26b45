//! The static library and the installation: what a host links is found by pkg-config and CMake, and hides its insides.

mod ffi_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ffi_support::{built, cc, declared, defined, root, run, scratch};

/// Runs the rules of `ffi.mk` on what was built with this test.
fn make(folder: &Path, target: &str) -> PathBuf {
    let prefix = folder.join("usr");
    let from = folder.join("built");
    link_libraries(&from);
    run(rules(&from).args(["-f", "ffi.mk", target]).arg(format!("PREFIX={}", prefix.display())));
    prefix
}

fn link_libraries(into: &Path) {
    fs::create_dir_all(into).expect("a folder");
    for library in ["libdecurion.so", "libdecurion.a"] {
        std::os::unix::fs::symlink(built(library), into.join(library)).expect("a link");
    }
}

fn rules(from: &Path) -> Command {
    let mut make = Command::new("make");
    make.current_dir(root()).arg("-s").arg(format!("BUILT={}", from.display()));
    // The test runner's own make must not hand down its jobs.
    make.env_remove("MAKEFLAGS");
    make
}

#[test]
fn an_installation_with_several_jobs_builds_first() {
    let folder = scratch("ffi-install-jobs");
    let (come, from) = (folder.join("come"), folder.join("built"));
    link_libraries(&come);
    let build = format!("include ffi.mk\nlib:\n\tmkdir {1} && cp -L {0}/* {1}/\n", come.display(), from.display());
    let makefile = folder.join("Makefile");
    fs::write(&makefile, build).expect("a makefile");
    let stage = folder.join("stage");
    run(rules(&from)
        .args(["-j4", "install", "PREFIX=/usr", "-f"])
        .arg(&makefile)
        .arg(format!("DESTDIR={}", stage.display())));
    assert!(stage.join("usr/lib/libdecurion.a").exists());
}

#[test]
fn the_loader_is_told_of_what_is_installed_and_not_of_what_is_staged() {
    use std::os::unix::fs::PermissionsExt;
    let folder = scratch("ffi-install-loader");
    let (from, told) = (folder.join("built"), folder.join("told"));
    link_libraries(&from);
    let ldconfig = folder.join("ldconfig");
    // It is not permitted to everybody, which is no failure.
    fs::write(&ldconfig, format!("#!/bin/sh\n: >{}\nexit 1\n", told.display())).expect("a script");
    fs::set_permissions(&ldconfig, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("a path"));
    let install = |destination: &Path| {
        run(rules(&from)
            .env("PATH", &path)
            .args(["-f", "ffi.mk", "install-files"])
            .arg(format!("PREFIX={}", folder.join("usr").display()))
            .arg(format!("DESTDIR={}", destination.display())));
    };
    install(&folder.join("stage"));
    assert!(!told.exists(), "a package that is being made is not installed yet");
    install(Path::new(""));
    assert!(told.exists());
}

#[test]
fn a_relative_prefix_is_absolute_in_what_hosts_read() {
    let folder = scratch("ffi-install-relative");
    let from = folder.join("built");
    link_libraries(&from);
    let prefix = folder.join("usr");
    let relative = prefix.strip_prefix(root());
    // Where cargo builds elsewhere, no relative path leads from the makefile to the folder of this test.
    let Ok(relative) = relative else { return };
    run(rules(&from).args(["-f", "ffi.mk", "install-files"]).arg(format!("PREFIX={}", relative.display())));
    let told = fs::read_to_string(prefix.join("lib/pkgconfig/decurion.pc")).expect("it is installed");
    assert!(told.starts_with(&format!("prefix={}\n", prefix.display())), "{told}");
    assert!(told.contains(&format!("libdir={}\n", prefix.join("lib").display())), "{told}");
}

#[test]
fn the_static_library_shows_only_the_interface_and_links_beside_another_rust_library() {
    let folder = scratch("ffi-static");
    let archive = make(&folder, "lib-names").parent().expect("a folder").join("built/static/libdecurion.a");
    assert_eq!(defined(&["-g", "--defined-only"], &archive), declared(), "visible of the archive, and declared");

    let source = folder.join("neighbour.rs");
    fs::write(
        &source,
        r#"
        use std::collections::HashMap;
        /// Uses the standard library's allocator, threads and unwinding.
        #[unsafe(no_mangle)]
        pub extern "C" fn neighbour(words: u64) -> u64 {
            let counted = std::thread::spawn(move || {
                let all: HashMap<u64, String> = (0..words).map(|i| (i, format!("word {i}"))).collect();
                let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1u64)));
                all.len() as u64 + *caught.unwrap_err().downcast::<u64>().unwrap()
            });
            counted.join().unwrap()
        }
        "#,
    )
    .expect("a source");
    let neighbour = folder.join("libneighbour.a");
    run(Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "staticlib", "-o"])
        .arg(&neighbour)
        .arg(&source));

    let main = folder.join("main.c");
    fs::write(
        &main,
        "#include \"test.h\"\n\
         uint64_t neighbour(uint64_t words);\n\
         int main(void) {\n\
             CHECK(neighbour(9) == 10);\n\
             dcn_engine_t engine = open_member(\"static\", NULL);\n\
             await_members(engine, 1);\n\
             OK(dcn_engine_close(engine));\n\
             CHECK(neighbour(1) == 2);\n\
             return 0;\n\
         }\n",
    )
    .expect("a source");
    // All of the neighbour, so that nothing of it is left out that might collide; and both orders.
    let whole = ["-Wl,--whole-archive".as_ref(), neighbour.as_os_str(), "-Wl,--no-whole-archive".as_ref()];
    for (binary, ours_first) in [("ours-first", true), ("ours-last", false)] {
        let binary = folder.join(binary);
        let mut link = cc();
        link.arg("-I").arg(root().join("tests/c")).arg(&main).arg("-o").arg(&binary);
        match ours_first {
            true => link.arg(&archive).args(whole),
            false => link.args(whole).arg(&archive),
        };
        run(link.args(["-lgcc_s", "-lpthread", "-lm", "-ldl"]));
        run(&mut Command::new(&binary));
    }
}

#[test]
fn what_is_installed_is_found_by_pkg_config_and_cmake() {
    let folder = scratch("ffi-install");
    let prefix = make(&folder, "install-files");
    let example = root().join("ffi-examples/c");
    let lib = prefix.join("lib");

    let flags = run(Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", lib.join("pkgconfig"))
        .args(["--cflags", "--libs", "decurion"]));
    let binary = folder.join("hello");
    run(Command::new("cc").arg("-o").arg(&binary).arg(example.join("hello.c")).args(flags.split_whitespace()));
    says_usage(Command::new(&binary).env("LD_LIBRARY_PATH", &lib));

    let build = folder.join("build");
    run(Command::new("cmake")
        .arg("-S")
        .arg(&example)
        .arg("-B")
        .arg(&build)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    run(Command::new("cmake").arg("--build").arg(&build));
    says_usage(&mut Command::new(build.join("hello")));
    says_usage(&mut Command::new(build.join("epoll_loop")));
    says_usage(&mut Command::new(build.join("session_server")));

    // The same with the static target: it runs without the shared library.
    let project = folder.join("static-project");
    fs::create_dir_all(&project).expect("a folder");
    for source in ["hello.c", "epoll_loop.c", "session_server.c"] {
        fs::copy(example.join(source), project.join(source)).expect("a copy");
    }
    let rules = fs::read_to_string(example.join("CMakeLists.txt")).expect("CMakeLists.txt");
    let rules = rules.replace("decurion::decurion", "decurion::static");
    fs::write(project.join("CMakeLists.txt"), rules).expect("CMakeLists.txt");
    let build = folder.join("static-build");
    run(Command::new("cmake")
        .arg("-S")
        .arg(&project)
        .arg("-B")
        .arg(&build)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    run(Command::new("cmake").arg("--build").arg(&build));
    says_usage(&mut Command::new(build.join("hello")));
    let needed = run(Command::new("readelf").arg("-d").arg(build.join("hello")));
    assert!(!needed.contains("libdecurion"), "{needed}");

    make_uninstall(&prefix);
    let left: Vec<PathBuf> = files(&prefix);
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn says_usage(command: &mut Command) {
    let output = ffi_support::finish(command);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

fn make_uninstall(prefix: &Path) {
    run(Command::new("make")
        .current_dir(root())
        .args(["-s", "-f", "ffi.mk", "uninstall"])
        .arg(format!("PREFIX={}", prefix.display()))
        .env_remove("MAKEFLAGS"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The interface's version is told in four places.
#[test]
fn versions_agree() {
    let header = fs::read_to_string(root().join("include/decurion.h")).expect("the header");
    let version: u32 = header
        .lines()
        .find_map(|line| line.strip_prefix("#define DCN_ABI_VERSION "))
        .and_then(|number| number.trim().parse().ok())
        .expect("DCN_ABI_VERSION");
    let (major, minor) = (version >> 16, version & 0xffff);
    let rules = fs::read_to_string(root().join("ffi.mk")).expect("ffi.mk");
    assert!(rules.contains(&format!("ABI_MAJOR   := {major}\nABI_MINOR   := {minor}\n")), "ffi.mk");
    let build = fs::read_to_string(root().join("build.rs")).expect("build.rs");
    assert!(build.contains(&format!("-soname,libdecurion.so.{major}\"")), "build.rs");
    let manifest: toml::Value = toml::from_str(&fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml"))
        .expect("Cargo.toml is TOML");
    let library = &manifest["package"]["metadata"]["capi"]["library"];
    assert_eq!(library["version"].as_str(), Some(format!("{major}.{minor}.0").as_str()), "Cargo.toml");
    assert_eq!(library["version_suffix_components"].as_integer(), Some(1), "Cargo.toml");
}
