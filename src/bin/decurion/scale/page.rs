//! The page with the tables: each stands between two marks, and is written in the place of the one before.

use std::fs;
use std::path::Path;

use super::figure::Figure;
use crate::output::{Exit, Failure};

/// Puts a figure into the page, and its picture beside it.
pub fn write(page: &Path, figure: &Figure) -> Result<(), Failure> {
    let wrong =
        |path: &Path, why: String| Failure::new(Exit::Environment, format!("--write {}: {why}", path.display()));
    let text = fs::read_to_string(page).map_err(|error| wrong(page, error.to_string()))?;
    let Some(text) = replace(&text, figure.name, &figure.markdown(&machine())) else {
        let why = format!("there is no '{}' followed by '{END}' in it", begin(figure.name));
        return Err(Failure::new(Exit::Usage, format!("--write {}: {why}", page.display())));
    };
    fs::write(page, text).map_err(|error| wrong(page, error.to_string()))?;
    if let Some(plot) = &figure.plot {
        let dir = page.with_file_name("scale");
        let file = dir.join(figure.name).with_extension("svg");
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(&file, plot))
            .map_err(|error| wrong(&file, error.to_string()))?;
    }
    Ok(())
}

const END: &str = "<!-- end -->";

fn begin(name: &str) -> String {
    format!("<!-- scale {name} -->")
}

/// The page with another block between the marks of that name; `None` if they are not there.
fn replace(page: &str, name: &str, block: &str) -> Option<String> {
    let begin = begin(name);
    let from = page.find(&begin)? + begin.len();
    let to = from + page[from..].find(END)?;
    Some(format!("{}\n{block}{}", &page[..from], &page[to..]))
}

/// What it was measured on.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.trim()));
    format!("{processors} processors ({}), shared with other work", model.unwrap_or("model not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_the_rest_stays() {
        let page = "a\n<!-- scale x -->\nold\n<!-- end -->\nb\n<!-- scale y -->\nother\n<!-- end -->\n";
        let once = replace(page, "x", "new\n").expect("it has a place");
        assert_eq!(once, "a\n<!-- scale x -->\nnew\n<!-- end -->\nb\n<!-- scale y -->\nother\n<!-- end -->\n");
        assert_eq!(replace(&once, "x", "new\n"), Some(once.clone()), "again the same");
        assert_eq!(replace(page, "z", ""), None);
    }
}
