use std::ffi::OsString;
use std::fs;

use super::*;
use crate::core::MinorityPolicy;
use crate::types::millis;

fn refused(key: &str, value: &str) -> String {
    let error = Config::new().set(key, value).expect_err("refused");
    assert_eq!(error.code(), Code::Config);
    error.text().to_owned()
}

fn conflict(settings: &[(&str, &str)]) -> Error {
    let mut config = Config::new();
    for (key, value) in settings {
        config.set(key, value).expect("legal by itself");
    }
    config.resolve().expect_err("refused together")
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect()
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("decurion-config-{}-{name}.toml", std::process::id()));
    fs::write(&path, text).expect("the temporary directory takes a file");
    path
}

#[test]
fn an_unknown_key_names_the_nearest() {
    assert!(refused("group.sise", "10").contains("did you mean 'group.size'?"));
    assert!(refused("no.such.thing.at.all", "1").contains("config keys"));
}

#[test]
fn a_wrong_value_names_key_value_and_range() {
    let text = refused("group.size", "ten");
    assert!(text.contains("group.size") && text.contains("'ten'") && text.contains("0 to 10000"), "{text}");
    let text = refused("detector.profile", "lann");
    assert!(text.contains("did you mean 'lan'?") && text.contains("lan, wan, weblogic, tribes"), "{text}");
    assert!(refused("message.max_bytes", "65 MiB").contains("1 byte to 64 MiB"));
}

#[test]
fn the_stronger_place_wins_whatever_the_order_of_calls() {
    let path = file("order", "[group]\nsize = 3\n[detector]\nprofile = \"tribes\"\n");
    let mut config = Config::new();
    assert_eq!(config.get("detector.heartbeat_ms").expect("known"), "250");
    config.set("group.size", "5").expect("legal");
    config.load_variables(variables(&[("DECURION_GROUP_SIZE", "4"), ("HOME", "/")]).into_iter()).expect("legal");
    config.load(&path).expect("legal");
    assert_eq!(config.get("group.size").expect("known"), "5");
    assert_eq!(config.get("detector.heartbeat_ms").expect("known"), "500", "the profile comes from the file");
    let mut config = Config::new();
    config.load_variables(variables(&[("DECURION_GROUP_SIZE", "4")]).into_iter()).expect("legal");
    config.load(&path).expect("legal");
    assert_eq!(config.get("group.size").expect("known"), "4");
    let shown = config.settings();
    let origin = |key: &str| shown.iter().find(|s| s.key.name == key).expect("known").origin.to_string();
    assert_eq!(origin("group.size"), "environment DECURION_GROUP_SIZE");
    assert_eq!(origin("detector.silence_ms"), "profile tribes");
    assert!(origin("detector.profile").ends_with("order.toml:4:11"), "{}", origin("detector.profile"));
    fs::remove_file(path).expect("it was there");
}

#[test]
fn a_slip_in_the_environment_is_an_error() {
    let list = variables(&[("DECURION_GROUP_SISE", "4"), ("DECURION_WINDOW_SLOW_MS", "soon")]);
    let mut config = Config::new();
    let text = config.load_variables(list.into_iter()).expect_err("refused").text().to_owned();
    assert!(text.contains("DECURION_GROUP_SISE") && text.contains("'group.size'"), "{text}");
    assert!(text.contains("DECURION_WINDOW_SLOW_MS") && text.contains("1000 to 3600000 ms"), "{text}");
    assert_eq!(config.get("window.slow_ms").expect("known"), "10000", "nothing was changed");
}

#[test]
fn every_problem_of_a_file_has_its_place() {
    let text = "securty = \"none\"\n[group]\n  sise = 3\nsize = \"many\"\n[windows]\nbytes = 1\n[events]\nstable = 1\n";
    let path = file("problems", text);
    let problems = Config::inspect(&path).expect("readable");
    let place = |key: &str| {
        let found = problems.iter().find(|p| p.key == key).unwrap_or_else(|| panic!("{key} in {problems:?}"));
        let place = found.place.as_ref().expect("it stands in a file");
        (place.line, place.column, found.nearest)
    };
    assert_eq!(place("securty"), (1, 1, Some("security")));
    assert_eq!(place("group.sise"), (3, 3, Some("group.size")));
    assert_eq!(place("group.size"), (4, 8, None));
    assert_eq!(place("windows"), (5, 2, Some("window.bytes")));
    assert_eq!(place("events.stable"), (8, 10, None));
    assert_eq!(problems.len(), 5);
    let mut config = Config::new();
    assert_eq!(config.load(&path).expect_err("refused").text().lines().count(), 5);
    fs::remove_file(path).expect("it was there");
}

#[test]
fn what_is_not_toml_says_where() {
    let path = file("broken", "[group]\nsize = = 3\n");
    let problems = Config::inspect(&path).expect("readable");
    let place = problems[0].place.as_ref().expect("a place");
    assert_eq!((problems.len(), place.line), (1, 2), "{problems:?}");
    fs::remove_file(path).expect("it was there");
    let error = Config::new().load(Path::new("/no/such/file.toml")).expect_err("refused");
    assert_eq!(error.code(), Code::System);
    assert!(error.text().contains("/no/such/file.toml"));
}

#[test]
fn an_address_that_is_not_loopback_must_be_meant() {
    let error = conflict(&[("node.bind", "10.0.0.7:7100")]);
    assert!(error.text().contains("security = 'none'") && error.text().contains("127.0.0.1:7100"), "{error}");
    let error = conflict(&[("node.advertise", "192.0.2.1:0")]);
    assert!(error.text().starts_with("node.advertise = '192.0.2.1:7100'"), "{error}");
    let mut config = Config::new();
    config.set("node.bind", "10.0.0.7:7100").expect("legal");
    config.set("security", "none").expect("legal");
    assert_eq!(config.resolve().expect("meant").setup.advertise.to_string(), "10.0.0.7:7100");
}

/// Every other machine would reach itself there.
#[test]
fn a_loopback_address_with_seeds_elsewhere_is_refused_and_says_what_to_set() {
    for seeds in ["10.0.0.1:7100", "h:7100,a@[2001:db8::1]:7100"] {
        let error = conflict(&[("cluster.seeds", seeds)]);
        assert!(
            error.text().starts_with("node.bind = '127.0.0.1:7100'") && error.text().contains("set node.bind"),
            "{error}"
        );
        assert!(error.text().contains(&format!("cluster.seeds = '{seeds}'")), "{error}");
    }
    let said = [("security", "none"), ("node.bind", "10.0.0.7:7100"), ("cluster.seeds", "10.0.0.1:7100")];
    let error = conflict(&[&said[..], &[("node.advertise", "[::1]:7100")]].concat());
    assert!(error.text().starts_with("node.advertise = '[::1]:7100'"), "{error}");
    let here = ("cluster.seeds", "127.0.0.1:1,127.0.0.9:1,localhost:1,[::1]:1,[::ffff:127.0.0.1]:1,0.0.0.0:1,host:1");
    for legal in [&said[..], &[here]] {
        let mut config = Config::new();
        legal.iter().for_each(|(key, value)| config.set(key, value).expect("legal by itself"));
        assert!(config.resolve().is_ok(), "{legal:?}");
    }
}

/// Without it the system would choose a network, and nobody would have meant plain text there.
#[test]
fn a_group_of_another_family_needs_an_interface_that_was_meant() {
    let group = [("multicast.use", "messages"), ("multicast.group", "[ff02::1]:7101")];
    let error = conflict(&group);
    assert!(
        error.text().starts_with("multicast.group = '[ff02::1]:7101' with node.bind = '127.0.0.1:7100'"),
        "{error}"
    );
    assert!(error.text().contains("set multicast.interface to an IPv6 address"), "{error}");
    let error = conflict(&[&group[..], &[("multicast.interface", "2001:db8::7")]].concat());
    assert!(error.text().contains("security = 'none'"), "{error}");
    let mut config = Config::new();
    for (key, value) in [&group[..], &[("multicast.interface", "::1")]].concat() {
        config.set(key, value).expect("legal");
    }
    assert!(config.resolve().is_ok(), "it stays on this machine");
}

#[test]
fn what_is_not_built_is_refused_and_says_what_is_there() {
    for (key, value) in [("security", "key"), ("security", "tls"), ("cluster.minority", "stop")] {
        let error = conflict(&[(key, value)]);
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.text().contains(key) && error.text().contains("what is there"), "{error}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_named_together() {
    let both = |text: &str, a: &str, b: &str| assert!(text.contains(a) && text.contains(b), "{text}");
    let error = conflict(&[("detector.heartbeat_ms", "1000")]);
    both(error.text(), "detector.heartbeat_ms = '1000'", "detector.silence_ms = '1500' (profile lan)");
    let error = conflict(&[("detector.lease_ms", "1501")]);
    both(error.text(), "detector.lease_ms", "detector.silence_ms");
    let error = conflict(&[("window.bytes", "64KiB")]);
    both(error.text(), "window.reserved_bytes", "window.bytes");
    let error = conflict(&[("cluster.mode", "static"), ("cluster.seeds", "a@h:1,h:2")]);
    both(error.text(), "cluster.mode", "name@host:port");
    let error = conflict(&[("cluster.mode", "static"), ("cluster.seeds", "a@h:1"), ("node.name", "b")]);
    both(error.text(), "node.name = 'b'", "cluster.seeds");
    let error = conflict(&[("node.witness", "true"), ("node.name", "w"), ("cluster.voters", "a,b")]);
    both(error.text(), "node.name = 'w'", "list its name in cluster.voters");
    let error = conflict(&[("node.witness", "true")]);
    both(error.text(), "node.witness = 'true'", "give it one");
    let error = conflict(&[("cluster.seeds", "a@h:1,a@h:2")]);
    both(error.text(), "'a'", "twice");
    let error = conflict(&[("node.advertise", "0.0.0.0:1")]);
    both(error.text(), "node.advertise", "wildcard");
}

#[test]
fn voters_follow_from_named_seeds() {
    let voters = |settings: &[(&str, &str)]| {
        let mut config = Config::new();
        for (key, value) in settings {
            config.set(key, value).expect("legal");
        }
        let setup = config.resolve().expect("legal together").setup;
        setup.voters.iter().map(|v| v.as_str().to_owned()).collect::<Vec<_>>().join(",")
    };
    assert_eq!(voters(&[("cluster.seeds", "a@h:1,b@h:2")]), "");
    assert_eq!(voters(&[("cluster.seeds", "c@h:3,a@h:1,b@h:2,h:4")]), "a,b,c");
    assert_eq!(voters(&[("cluster.seeds", "c@h:3,a@h:1,b@h:2"), ("cluster.voters", "")]), "");
    assert_eq!(voters(&[("cluster.seeds", "a@h:1"), ("cluster.mode", "static"), ("node.name", "a")]), "a");
    assert_eq!(voters(&[("cluster.voters", "y,x,z")]), "x,y,z");
}

#[test]
fn what_must_agree_is_what_the_settings_led_to() {
    let mut config = Config::new();
    config.set("detector.profile", "weblogic").expect("legal");
    config.set("cluster.minority", "serve").expect("legal");
    let setup = config.resolve().expect("legal").setup;
    let agreed = |key: &str| setup.agreed_settings.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    assert_eq!(agreed("detector.heartbeat_ms"), Some("10000"));
    assert_eq!(agreed("detector.lease_ms"), Some("24000"));
    assert_eq!(agreed("security"), Some("none"));
    assert_eq!(agreed("cluster.minority"), Some("serve"));
    assert_eq!(agreed("node.name"), None);
    assert_eq!(agreed("detector.profile"), None, "a profile spelled out agrees with the profile");
    assert_eq!((setup.silence, setup.lease, setup.minority), (millis(30_000), millis(24_000), MinorityPolicy::Serve));
}

#[test]
fn the_defaults_are_the_shipped_bounds() {
    let resolved = Config::new().resolve().expect("the defaults are legal");
    let shipped = crate::core::Setup::new("decurion", "", crate::types::Incarnation::NONE, resolved.bind);
    let mut ours = resolved.setup;
    ours.agreed_settings.clear();
    ours.gather = shipped.gather;
    assert_eq!(format!("{ours:?}"), format!("{shipped:?}"));
}
