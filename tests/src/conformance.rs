//! The pages of conformance, `control/docs/conformance/*.md`: tables that say what a run found, made of the rows that
//! tests tell and never by hand. A page is one or more sections; each belongs to one test, which tells all of its rows,
//! so that neither order nor parallelism of tests matters. A run that finds something else than a page says fails.
//!
//! `CALLBOARD_WRITE_TABLES=1` writes what is found instead of comparing it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::binaries::workspace;

/// What a section begins with.
const HEADING: &str = "### ";

/// Sections of one page may be written at once.
static WRITING: Mutex<()> = Mutex::new(());

/// A section that a test fills.
#[derive(Debug)]
pub struct Section {
    page: &'static str,
    title: String,
    about: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Section {
    /// A section without rows. Titles are unique within a page, which is sorted by them.
    #[must_use]
    pub fn new(page: &'static str, title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(ToString::to_string).collect();
        Self { page, title: title.to_owned(), about: String::new(), columns, rows: Vec::new() }
    }

    /// A text between the title and the table.
    #[must_use]
    pub fn about(mut self, text: &str) -> Self {
        text.clone_into(&mut self.about);
        self
    }

    /// Adds a row, a text for each column. Rows stay in the order in which they are told.
    ///
    /// # Panics
    /// When there are more or fewer cells than columns.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column: {cells:?}");
        self.rows.push(cells);
    }

    /// Compares the section with its page, or writes it there.
    ///
    /// # Panics
    /// When the page says something else, or cannot be written.
    pub fn hold(self) {
        let made = self.render();
        let path = path(self.page);
        if std::env::var_os("CALLBOARD_WRITE_TABLES").is_none() {
            let written = sections(&std::fs::read_to_string(&path).unwrap_or_default()).remove(&self.title);
            assert!(
                written.as_deref() == Some(&*made),
                "control/docs/conformance/{}.md is not what this run found under {:?}; CALLBOARD_WRITE_TABLES=1 writes it:\n{made}",
                self.page,
                self.title
            );
            return;
        }
        let _writing = WRITING.lock().expect("nobody panics while writing");
        let mut all = sections(&std::fs::read_to_string(&path).unwrap_or_default());
        all.insert(self.title, made);
        let text = all.into_values().collect::<Vec<_>>().join("\n");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
    }

    fn render(&self) -> String {
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" | "))
        };
        let mut page = format!("{HEADING}{}\n\n", self.title);
        if !self.about.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{}\n", self.about);
        }
        page.push_str(&line(&self.columns));
        page.push_str(&line(&vec!["---".to_owned(); self.columns.len()]));
        self.rows.iter().for_each(|row| page.push_str(&line(row)));
        page
    }
}

/// The rows of a page by section, as it is written.
///
/// # Panics
/// When there is no such page.
#[must_use]
pub fn written(page: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let path = path(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = |section: &str| section.lines().filter(|line| line.starts_with("| ")).skip(2).map(cells).collect();
    sections(&text).into_iter().map(|(title, section)| (title, rows(&section))).collect()
}

fn path(page: &str) -> PathBuf {
    workspace().join("control/docs/conformance").join(format!("{page}.md"))
}

/// The sections of a page by title, each as text that ends with its last row.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut title = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix(HEADING) {
            title = Some(heading.to_owned());
        }
        if let Some(title) = &title {
            let section = all.entry(title.clone()).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    // Between two sections is an empty line.
    all.values_mut().for_each(|section| section.truncate(section.trim_end().len() + 1));
    all
}

/// A text in a cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

/// The texts in the cells of a line.
fn cells(line: &str) -> Vec<String> {
    let inner = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")).unwrap_or_default();
    inner.split(" | ").map(|cell| cell.replace("\\|", "|").replace("&lt;", "<")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut section = Section::new("none", "One", &["Asked", "Answer"]).about("Two of them.");
        section.row(["GET /<x>", "a|b"]);
        section.row(["", "d\ne"]);
        let one = section.render();
        assert_eq!(
            one,
            "### One\n\nTwo of them.\n\n| Asked | Answer |\n| --- | --- |\n| GET /&lt;x> | a\\|b |\n|  | d e |\n"
        );
        let other = Section::new("none", "Other", &["Only"]).render();
        let read = sections(&[other.clone(), one.clone()].join("\n"));
        assert_eq!(read, BTreeMap::from([("One".to_owned(), one.clone()), ("Other".to_owned(), other)]));
        let rows: Vec<Vec<String>> = one.lines().filter(|line| line.starts_with("| ")).skip(2).map(cells).collect();
        assert_eq!(rows[0], ["GET /<x>", "a|b"]);
    }

    #[test]
    #[should_panic(expected = "a cell for each column")]
    fn a_row_is_whole() {
        Section::new("none", "One", &["Asked", "Answer"]).row(["GET"]);
    }
}
