//! `include/decurion.h` is what the source says, and compiles alone as C99 and as C++17.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In the order in which the header shows them.
const SOURCES: [&str; 13] = [
    "status",
    "guard",
    "logging",
    "config",
    "event",
    "engine",
    "turn",
    "send",
    "claim",
    "buffer",
    "view",
    "attribute",
    "session",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES.iter().chain(&["stats"]) {
        builder = builder.with_src(root().join("src/ffi").join(source).with_extension("rs"));
    }
    let mut header = Vec::new();
    builder.generate().expect("a header").write(&mut header);
    without_rust_sections(&String::from_utf8(header).expect("UTF-8"))
}

/// The source's "Safety" sections speak to Rust callers; C reads the same promises with the parameters.
fn without_rust_sections(header: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in header.lines() {
        let comment = line.trim_start().starts_with("//");
        inside = comment && (inside || line.trim() == "// # Safety");
        if inside {
            if lines.last().is_some_and(|last| last.trim() == "//") {
                lines.pop();
            }
            continue;
        }
        lines.push(line.trim_end());
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_committed_header_is_what_the_source_says() {
    let path = root().join("include/decurion.h");
    let fresh = generate();
    if std::env::var_os("DECURION_WRITE_HEADER").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("include/");
        fs::write(&path, &fresh).expect("include/decurion.h is writable");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if let Some((at, (old, new))) = committed.lines().zip(fresh.lines()).enumerate().find(|(_, (old, new))| old != new)
    {
        panic!("include/decurion.h is stale from line {} on: run `make header`\n-{old}\n+{new}", at + 1);
    }
    assert_eq!(committed.lines().count(), fresh.lines().count(), "include/decurion.h is stale: run `make header`");
}

#[test]
fn every_declaration_says_what_a_caller_must_know() {
    let header = fs::read_to_string(root().join("include/decurion.h")).expect("the header");
    let mut comment = String::new();
    let mut complaints = Vec::new();
    let mut functions = 0;
    for line in header.lines() {
        if let Some(text) = line.trim_start().strip_prefix("//") {
            comment.push_str(text);
            comment.push('\n');
            continue;
        }
        if let Some(name) = line
            .split('(')
            .next()
            .and_then(|l| l.rsplit([' ', '*']).next())
            .filter(|name| name.starts_with("dcn_") && line.contains('(') && !line.starts_with("typedef"))
        {
            functions += 1;
            for section in ["Threads:", "Blocking:", "Returns:"] {
                if !comment.contains(section) {
                    complaints.push(format!("{name}: no \"{section}\""));
                }
            }
            let takes_nothing = line.contains("(void)") || line.contains("(struct dcn_") && !line.contains(',');
            if !takes_nothing && !comment.contains("Parameters:") {
                complaints.push(format!("{name}: no \"Parameters:\""));
            }
            let tags = ["never blocks", "bounded", "blocks up to timeout"];
            let blocking = comment.split("Blocking:").nth(1).unwrap_or("").trim_start();
            if !tags.iter().any(|tag| blocking.starts_with(tag)) {
                complaints.push(format!("{name}: blocking is none of {tags:?}"));
            }
        }
        if line.starts_with("#define DCN_") && comment.trim().is_empty() {
            complaints.push(format!("{line}: no comment"));
        }
        comment.clear();
    }
    assert!(functions > 25, "only {functions} functions were found");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_header_alone_compiles_as_c99_and_as_cpp17() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    for (compiler, standard, file) in [
        ("cc", "-std=c99", "alone.c"),
        ("cc", "-std=c11", "alone.c"),
        ("c++", "-std=c++17", "alone.cc"),
        ("c++", "-std=c++20", "alone.cc"),
    ] {
        let source = folder.join(file);
        fs::write(
            &source,
            "#include \"decurion.h\"\nint main(void) { return (int)dcn_abi_version() - DCN_ABI_VERSION; }\n",
        )
        .expect("the target directory takes a file");
        let output = Command::new(compiler)
            .args([standard, "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only", "-I"])
            .arg(root().join("include"))
            .arg(&source)
            .output()
            .unwrap_or_else(|e| panic!("{compiler} does not run ({e}): install a C and a C++ compiler"));
        assert!(output.status.success(), "{compiler} {standard}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
