//! The memory and CPU of a process, and which process listens on a port.
//!
//! Reads `/proc` and so knows Linux only; elsewhere every question is answered with a typed error that
//! ends up in the check's output. Decides nothing about limits. Called by the runner when a check limits
//! memory or CPU and the application does not report them itself.

use std::time::Instant;

/// Why the figures of a process are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// This system has no `/proc` that we can read.
    #[error("figures of a process are not supported here")]
    NotSupported,
    /// Nobody listens there, or we may not see who.
    #[error("no process that we may see listens on port {0}")]
    NobodyListens(u16),
    /// The check names neither a process nor a port.
    #[error("neither a process nor a port is known")]
    Unnamed,
    /// The process has ended, or its files cannot be read or understood.
    #[error("reading process {pid}: {reason}")]
    Read {
        /// Which process.
        pid: u32,
        /// Why.
        reason: String,
    },
}

/// One reading of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Resident memory, in bytes.
    pub memory: f64,
    /// CPU time used since it started, in seconds.
    pub cpu_seconds: f64,
    /// When it started, in clock ticks since boot: with the pid, names the process for ever.
    pub started: u64,
}

/// Resident memory now, and the CPU used since the reading before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// In bytes.
    pub memory: f64,
    /// In cores; none at the first reading, which has none before it.
    pub cpu: Option<f64>,
}

/// Follows the process of one check from reading to reading.
#[derive(Debug)]
pub struct Follower {
    pid: Option<u32>,
    port: Option<u16>,
    last: Option<(u32, Reading, Instant)>,
}

impl Follower {
    /// Follows the given process; without one, whichever listens on the port.
    #[must_use]
    pub fn new(pid: Option<u32>, port: Option<u16>) -> Follower {
        Follower { pid, port, last: None }
    }

    /// Reads the process at `now`. Reads files: not for the thread of an async runtime.
    ///
    /// # Errors
    /// When there is no such process or it cannot be read; the next reading looks for it anew.
    pub fn read(&mut self, now: Instant) -> Result<Usage, ProcessError> {
        let last = self.last.take();
        let (pid, reading) = match last {
            Some((pid, before, _)) => match read(pid) {
                Ok(reading) if reading.started == before.started => (pid, reading),
                _ => self.find()?,
            },
            None => self.find()?,
        };
        let cpu = last.and_then(|(last_pid, before, at)| {
            let seconds = now.saturating_duration_since(at).as_secs_f64();
            let same = last_pid == pid && before.started == reading.started;
            (same && seconds > 0.0).then(|| (reading.cpu_seconds - before.cpu_seconds).max(0.0) / seconds)
        });
        self.last = Some((pid, reading, now));
        Ok(Usage { memory: reading.memory, cpu })
    }

    fn find(&self) -> Result<(u32, Reading), ProcessError> {
        let pid = match (self.pid, self.port) {
            (Some(pid), _) => pid,
            (None, Some(port)) => listener(port)?,
            (None, None) => return Err(ProcessError::Unnamed),
        };
        Ok((pid, read(pid)?))
    }
}

#[cfg(target_os = "linux")]
pub use linux::{listener, read};

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{listener, read};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::fs;

    use super::{ProcessError, Reading};

    /// Reads a process.
    ///
    /// # Errors
    /// When it has ended, or its files cannot be read or understood.
    pub fn read(pid: u32) -> Result<Reading, ProcessError> {
        let wrong = |reason: String| ProcessError::Read { pid, reason };
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(|e| wrong(e.to_string()));
        let memory = resident(&file("status")?).ok_or_else(|| wrong("no resident memory".into()))?;
        let (ticks, started) = times(&file("stat")?).ok_or_else(|| wrong("no CPU times".into()))?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Reading { memory, cpu_seconds: ticks as f64 / per_second as f64, started })
    }

    /// Finds the process that listens on a TCP port; the lowest pid when several share it.
    ///
    /// # Errors
    /// When nobody listens, or it belongs to somebody whose files we may not read.
    pub fn listener(port: u16) -> Result<u32, ProcessError> {
        let sockets: HashSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .flat_map(|table| table.lines().filter_map(|row| listening(row, port)).collect::<Vec<u64>>())
            .collect();
        let nobody = ProcessError::NobodyListens(port);
        if sockets.is_empty() {
            return Err(nobody);
        }
        let processes = fs::read_dir("/proc").map_err(|_| ProcessError::NotSupported)?;
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|&pid| holds(pid, &sockets)).min().ok_or(nobody)
    }

    /// Whether one of the open files of a process is one of these sockets. Those of other users cannot
    /// be read; such a process holds none, as far as we can tell.
    fn holds(pid: u32, sockets: &HashSet<u64>) -> bool {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|link| {
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            inode.is_some_and(|inode: u64| sockets.contains(&inode))
        })
    }

    /// The inode of a row of `/proc/net/tcp{,6}` (proc_net_tcp in the kernel's documentation) that
    /// listens on the port: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`.
    pub(super) fn listening(row: &str, port: u16) -> Option<u64> {
        const LISTEN: &str = "0A";
        let mut fields = row.split_ascii_whitespace();
        let local = fields.nth(1)?.rsplit_once(':')?.1;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let here = u16::from_str_radix(local, 16).ok()? == port && state == LISTEN;
        if here { inode.parse().ok() } else { None }
    }

    /// `VmRSS` of `/proc/<pid>/status`, in bytes; zero for a kernel thread or a zombie, which have none.
    pub(super) fn resident(status: &str) -> Option<f64> {
        status.contains("State:").then_some(())?;
        let Some(row) = status.lines().find_map(|row| row.strip_prefix("VmRSS:")) else { return Some(0.0) };
        let kibibytes: f64 = row.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024.0)
    }

    /// User plus system time and the start, in ticks: fields 14, 15 and 22 of `/proc/<pid>/stat`
    /// (proc_pid_stat(5)). The command, field 2, may itself hold spaces and parentheses.
    pub(super) fn times(stat: &str) -> Option<(u64, u64)> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let user: u64 = fields.nth(11)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let started = fields.nth(6)?.parse().ok()?;
        Some((user.checked_add(system)?, started))
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::{ProcessError, Reading};

    /// Says that it cannot.
    ///
    /// # Errors
    /// Always.
    pub fn read(_pid: u32) -> Result<Reading, ProcessError> {
        Err(ProcessError::NotSupported)
    }

    /// Says that it cannot.
    ///
    /// # Errors
    /// Always.
    pub fn listener(_port: u16) -> Result<u32, ProcessError> {
        Err(ProcessError::NotSupported)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;
    use std::process;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::linux::{listening, resident, times};
    use super::*;

    #[test]
    fn rows_of_proc_are_understood() {
        let row =
            "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 34567 1 0";
        assert_eq!(listening(row, 8080), Some(34567));
        assert_eq!(listening(row, 8081), None);
        assert_eq!(listening(&row.replace(" 0A ", " 01 "), 8080), None, "a connection is not a listener");
        assert_eq!(listening("  sl  local_address rem_address   st tx_queue", 8080), None);
        assert_eq!(resident("Name:\tx\nState:\tR\nVmRSS:\t    1024 kB\n"), Some(1_048_576.0));
        assert_eq!(resident("Name:\tx\nState:\tZ\n"), Some(0.0));
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 4242 1 2 3";
        assert_eq!(times(stat), Some((300, 4242)));
    }

    #[test]
    fn this_process_is_found_by_its_port_and_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(super::listener(port).unwrap(), process::id());

        let mut follower = Follower::new(None, Some(port));
        let start = Instant::now();
        let first = follower.read(start).unwrap();
        assert!(first.memory > 100_000.0 && first.cpu.is_none());
        let second = follower.read(start + Duration::from_secs(1000)).unwrap();
        assert!(second.cpu.is_some_and(|cores| (0.0..1.0).contains(&cores)));

        drop(listener);
        assert!(matches!(super::listener(port), Err(ProcessError::NobodyListens(_))));
        assert!(matches!(Follower::new(None, None).read(start), Err(ProcessError::Unnamed)));
        assert!(matches!(Follower::new(Some(u32::MAX), None).read(start), Err(ProcessError::Read { .. })));
    }

    proptest! {
        #[test]
        fn odd_files_are_refused_without_panic(text in "[ ():a-z0-9A-F\n]{0,200}") {
            let _ = (listening(&text, 80), resident(&text), times(&text));
        }
    }
}
