//! The page with the tables: each stands between two marks, and is written in the place of the one before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const END: &str = "<!-- end -->";

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    /// Reads it.
    pub fn open(path: &Path) -> io::Result<Page> {
        let text = fs::read_to_string(path)
            .map_err(|error| io::Error::new(error.kind(), format!("--write {}: {error}", path.display())))?;
        Ok(Page { path: path.to_owned(), text })
    }

    /// Puts a block between the marks of that name.
    pub fn put(&mut self, name: &str, block: &str) -> io::Result<()> {
        let text = replace(&self.text, name, block);
        let wrong = || io::Error::other(format!("{}: there is no '{}' in it", self.path.display(), begin(name)));
        self.text = text.ok_or_else(wrong)?;
        Ok(())
    }

    /// Writes a picture into the directory beside it.
    pub fn picture(&self, name: &str, svg: &str) -> io::Result<()> {
        let dir = self.path.with_file_name("benchmarks");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(name).with_extension("svg"), svg)
    }

    /// Writes it.
    pub fn save(&self) -> io::Result<()> {
        fs::write(&self.path, &self.text)
    }
}

fn begin(name: &str) -> String {
    format!("<!-- peers {name} -->")
}

/// The page with another block between the marks of that name; `None` if they are not there.
fn replace(page: &str, name: &str, block: &str) -> Option<String> {
    let begin = begin(name);
    let from = page.find(&begin)? + begin.len();
    let to = from + page[from..].find(END)?;
    Some(format!("{}\n{block}{}", &page[..from], &page[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_the_rest_stays() {
        let page = "a\n<!-- peers x -->\nold\n<!-- end -->\nb\n<!-- peers y -->\nother\n<!-- end -->\n";
        let once = replace(page, "x", "new\n").expect("it has a place");
        assert_eq!(once, "a\n<!-- peers x -->\nnew\n<!-- end -->\nb\n<!-- peers y -->\nother\n<!-- end -->\n");
        assert_eq!(replace(&once, "x", "new\n"), Some(once.clone()), "again the same");
        assert_eq!(replace(page, "z", ""), None);
    }
}
