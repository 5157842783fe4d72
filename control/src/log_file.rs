//! Writes the log of the program to standard error, and to a file that is begun anew when it is too large or too old.
//!
//! A file that is put aside has the seconds since 1970 in its name; the oldest beyond the number to be kept are
//! removed. `cli::agent` sets it up.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFile;

/// Where lines go.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    file: Option<Arc<Mutex<Rotated>>>,
}

struct Rotated {
    settings: LogFile,
    file: File,
    length: u64,
    begun: Instant,
}

impl Writer {
    /// Standard error, and a file besides.
    pub(crate) fn also_to(settings: &LogFile) -> io::Result<Writer> {
        if let Some(folder) = settings.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let (file, length) = open(&settings.path)?;
        let rotated = Rotated { settings: settings.clone(), file, length, begun: Instant::now() };
        Ok(Writer { file: Some(Arc::new(Mutex::new(rotated))) })
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::options().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

impl MakeWriter<'_> for Writer {
    type Writer = Writer;

    fn make_writer(&self) -> Writer {
        self.clone()
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.file {
            file.lock().write(bytes)?;
        }
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl Rotated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let large =
            self.settings.bytes_max.is_some_and(|max| self.length > 0 && self.length + bytes.len() as u64 > max);
        if large || self.begun.elapsed() >= self.settings.age_max {
            self.turn()?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts the file aside and begins a new one.
    fn turn(&mut self) -> io::Result<()> {
        let path = &self.settings.path;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        std::fs::rename(path, aside(path, now.as_nanos()))?;
        (self.file, self.length) = open(path)?;
        self.begun = Instant::now();
        if let Some(kept) = self.settings.kept {
            let old = put_aside(path)?;
            for path in &old[..old.len().saturating_sub(kept)] {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// The name of a file that is put aside: `name-TIME.ending`.
fn aside(path: &Path, time: u128) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{time}{ending}"))
}

/// Files that were put aside, the oldest first.
fn put_aside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let stem = format!("{}-", path.file_stem().unwrap_or_default().to_string_lossy());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(time) = name.strip_prefix(&stem).and_then(|time| time.parse::<u128>().ok()) {
            found.push((time, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_that_is_full_is_put_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/a.log");
        let age_max = Duration::from_secs(3600);
        let settings = LogFile { path: path.clone(), bytes_max: Some(10), age_max, kept: Some(2) };
        let writer = Writer::also_to(&settings).unwrap();
        let file = writer.file.unwrap();
        for number in 0..5 {
            file.lock().write(format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 4\n");
        let old: Vec<String> =
            put_aside(&path).unwrap().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(old, ["line 2\n", "line 3\n"]);
    }
}
