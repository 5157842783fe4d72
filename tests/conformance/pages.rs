//! The pages themselves: each is introduced, each section has a test that tells it, and the vectors are all there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use callboard_tests::binaries::workspace;
use callboard_tests::conformance::written;

/// How many test vectors the contract has.
const VECTORS: u8 = 50;

/// The pages by name, without the one that introduces them.
fn pages() -> BTreeSet<String> {
    let entries = std::fs::read_dir(workspace().join("control/docs/conformance")).expect("the pages are there");
    let names = entries.map(|entry| entry.expect("a folder can be read").file_name().to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.strip_suffix(".md")?.to_owned())).filter(|name| name != "README").collect()
}

#[test]
fn every_page_is_introduced() {
    let introduction = workspace().join("control/docs/conformance/README.md");
    let text = std::fs::read_to_string(introduction).expect("the pages are introduced");
    let missing: Vec<String> = pages().into_iter().filter(|page| !text.contains(&format!("]({page}.md)"))).collect();
    assert!(missing.is_empty(), "nobody introduces these: {missing:?}");
}

/// A section that no test tells any more would stay for ever: nothing compares it.
#[test]
fn every_section_has_a_test_that_tells_it() {
    let mut sources = Vec::new();
    collect(&workspace().join("tests"), &mut sources);
    let texts: Vec<String> =
        sources.iter().map(|path| std::fs::read_to_string(path).expect("a source can be read")).collect();
    let mut orphans = Vec::new();
    for page in pages() {
        let titles = written(&page).into_keys();
        // Of a package, the beginning is filled in.
        let told = |title: &str| {
            let ending = title.split_once(',').map_or(title, |(_, ending)| ending);
            texts.iter().any(|text| text.contains(&format!("\"{title}\"")) || text.contains(&format!("}},{ending}\"")))
        };
        orphans.extend(titles.filter(|title| !told(title)).map(|title| format!("{page}: {title}")));
    }
    assert!(orphans.is_empty(), "nobody tells these: {orphans:#?}");
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

#[test]
fn every_vector_of_the_contract_is_shown() {
    let numbers = written("vectors").into_values().flatten().map(|row| row[0].parse().expect("a number"));
    let numbers: BTreeSet<u8> = numbers.collect();
    assert_eq!(numbers, (1..=VECTORS).collect(), "these are shown, and these are the contract's");
}
