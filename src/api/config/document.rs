//! Renders the documentation page `docs/CONFIGURATION.md` from the table of keys.

use std::fmt::Write;

use super::keys::{Default, KEYS, Key, PROFILES};
use super::value::{Kind, bytes_text};

const INTRODUCTION: &str = "\
# Configuration

<!-- Written by `decurion config keys --markdown` from the table in src/api/config/keys.rs; a test fails when it is stale. -->

Every setting has one name, used everywhere:

| place | how `group.size` is written there |
|---|---|
| a TOML file, `decurion node --config FILE` or `dcn_config_load` | `[group]` and below it `size = 10` |
| the environment | `DECURION_GROUP_SIZE=10` |
| the command line | `--set group.size=10` |
| a setter | `config.set(\"group.size\", \"10\")`, `dcn_config_set(config, \"group.size\", \"10\")` |

When several places set the same key, the lower one in this table wins; what nobody sets has its default, and the
defaults of the detector come from `detector.profile`. The order of calls does not matter.

An unknown key (in a file, or an environment variable that begins with `DECURION_`) and a value out of range are
errors. They name the key, the value, the allowed range, and the nearest key that exists; for a file also line and
column. `decurion config check FILE` lists all of them, `decurion config show` prints what is in force and who said so.

Lists are arrays of strings in a file, and have commas between their entries everywhere else. Amounts of memory are
numbers of bytes, or a number followed by `KiB`, `MiB` or `GiB` (in a file: in quotes). No setting can be changed while
a member runs.

Settings marked **agreed** must be the same in all members of a cluster: a joiner that differs is refused, and the
reason at both ends names the key.

";

/// The whole page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = "";
    for key in KEYS {
        let of_key = key.name.split_once('.').map_or("", |(s, _)| s);
        if of_key != section || section.is_empty() && key.name == "security" {
            section = of_key;
            let title = if section.is_empty() { "Without a section" } else { section };
            let _ = write!(page, "## {title}\n\n| key | takes | default | what it does |\n|---|---|---|---|\n");
        }
        let _ = writeln!(page, "{}", row(key));
        if KEYS.iter().rfind(|k| k.name.split_once('.').map_or("", |(s, _)| s) == section).map(|k| k.name)
            == Some(key.name)
        {
            page.push('\n');
        }
    }
    page.push_str(&profiles());
    page
}

fn row(key: &Key) -> String {
    let agreed = if key.agreed { " **Agreed.**" } else { "" };
    let takes = match key.kind {
        Kind::Choice(choices) => choices.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", "),
        _ => key.kind.allowed(),
    };
    format!("| `{}` | {takes} | {} | {}{agreed} |", key.name, default(key), key.about)
}

fn default(key: &Key) -> String {
    match key.default {
        Default::Is("") => "empty".to_owned(),
        Default::Is(text) => match (key.kind, text.parse()) {
            (Kind::Bytes { .. }, Ok(bytes)) if bytes > 0 => format!("`{bytes}` ({})", bytes_text(bytes)),
            _ => format!("`{text}`"),
        },
        Default::Profile(values) => format!("`{}` (by profile)", values[0]),
        Default::Follows(what) => what.to_owned(),
    }
}

fn profiles() -> String {
    let mut text = "## Profiles of the detector\n\n| key |".to_owned();
    for profile in PROFILES {
        let _ = write!(text, " `{profile}` |");
    }
    text.push_str("\n|---|---|---|---|---|\n");
    for key in KEYS {
        if let Default::Profile(values) = key.default {
            let _ = writeln!(text, "| `{}` | {} |", key.name, values.join(" | "));
        }
    }
    text.push_str(
        "\n`lan` is for members in one building, `wan` for slow or lossy links; `weblogic` and `tribes` take the times of \
         the servers of those names.\n",
    );
    text
}
