//! The host as the system shows it: memory, processors, disk, names.
//!
//! Reads `/proc` and so knows Linux only; what cannot be read is left at zero and named in `Errors`. The texts are
//! read by pure functions.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

/// What the host has now, under Consul's names.
#[must_use]
pub fn read() -> Value {
    let mut errors = Vec::new();
    let mut file = |path: &str| match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            errors.push(format!("{path}: {error}"));
            String::new()
        }
    };
    let memory = memory(&file("/proc/meminfo"));
    let processors = processors(&file("/proc/cpuinfo"));
    let uptime = uptime(&file("/proc/uptime"));
    let release = release(&file("/etc/os-release"));
    let hostname = file("/proc/sys/kernel/hostname").trim().to_owned();
    let kernel = file("/proc/sys/kernel/osrelease").trim().to_owned();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = |key: &str| release.get(key).cloned().unwrap_or_default();
    let disk = match nix::sys::statvfs::statvfs("/") {
        Ok(found) => disk(
            found.fragment_size(),
            [found.blocks(), found.blocks_free(), found.blocks_available(), found.files(), found.files_free()],
        ),
        Err(error) => {
            errors.push(format!("/: {error}"));
            Value::Null
        }
    };
    let errors = if errors.is_empty() { Value::Null } else { json!(errors) };
    json!({
        "Memory": memory, "CPU": processors, "Disk": disk,
        "Host": {
            "hostname": hostname, "os": std::env::consts::OS, "platform": text("ID"), "platformFamily": text("ID"),
            "platformVersion": text("VERSION_ID"), "kernelVersion": kernel, "kernelArch": std::env::consts::ARCH,
            "uptime": uptime, "bootTime": now.as_secs().saturating_sub(uptime), "procs": processes(),
            "virtualizationSystem": "", "virtualizationRole": "", "hostId": "",
        },
        "CollectionTime": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), "Errors": errors,
    })
}

/// `/proc/meminfo`, in bytes.
fn memory(text: &str) -> Value {
    let rows: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let number: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some((name, if rest.trim_end().ends_with("kB") { number * 1024 } else { number }))
        })
        .collect();
    let of = |name: &str| rows.get(name).copied().unwrap_or(0);
    let (total, available) = (of("MemTotal"), of("MemAvailable"));
    let used = total.saturating_sub(of("MemFree") + of("Buffers") + of("Cached"));
    let mut shown = json!({
        "total": total, "available": available, "used": used, "usedPercent": percent(used, total),
        // Kinds of memory that only BSD has.
        "wired": 0, "laundry": 0,
    });
    for (shown_as, row) in MEMORY {
        shown[shown_as] = of(row).into();
    }
    shown
}

/// What is shown of memory, and the row of `/proc/meminfo` that tells it. A row that is not there counts nothing.
const MEMORY: [(&str, &str); 29] = [
    ("free", "MemFree"),
    ("active", "Active"),
    ("inactive", "Inactive"),
    ("buffers", "Buffers"),
    ("cached", "Cached"),
    ("dirty", "Dirty"),
    ("writeBack", "Writeback"),
    ("writeBackTmp", "WritebackTmp"),
    ("shared", "Shmem"),
    ("slab", "Slab"),
    ("sreclaimable", "SReclaimable"),
    ("sunreclaim", "SUnreclaim"),
    ("mapped", "Mapped"),
    ("pageTables", "PageTables"),
    ("swapTotal", "SwapTotal"),
    ("swapFree", "SwapFree"),
    ("swapCached", "SwapCached"),
    ("commitLimit", "CommitLimit"),
    ("committedAS", "Committed_AS"),
    ("highTotal", "HighTotal"),
    ("highFree", "HighFree"),
    ("lowTotal", "LowTotal"),
    ("lowFree", "LowFree"),
    ("vmallocTotal", "VmallocTotal"),
    ("vmallocUsed", "VmallocUsed"),
    ("vmallocChunk", "VmallocChunk"),
    ("hugePagesTotal", "HugePages_Total"),
    ("hugePagesFree", "HugePages_Free"),
    ("hugePageSize", "Hugepagesize"),
];

/// `/proc/cpuinfo`, one processor each.
fn processors(text: &str) -> Vec<Value> {
    text.split("\n\n")
        .map(|block| {
            let pairs = block.lines().filter_map(|line| line.split_once(':'));
            pairs.map(|(name, value)| (name.trim(), value.trim())).collect::<BTreeMap<&str, &str>>()
        })
        .filter(|row| row.contains_key("processor"))
        .map(|row| {
            let of = |name: &str| row.get(name).copied().unwrap_or("");
            let number = |name: &str| of(name).parse::<u64>().unwrap_or(0);
            let flags: Vec<&str> = of("flags").split_whitespace().collect();
            json!({
                "cpu": number("processor"), "vendorId": of("vendor_id"), "family": of("cpu family"),
                "model": of("model"), "modelName": of("model name"), "stepping": number("stepping"),
                "physicalId": of("physical id"), "coreId": of("core id"), "cores": number("cpu cores").max(1),
                "mhz": of("cpu MHz").parse::<f64>().unwrap_or(0.0),
                "cacheSize": of("cache size").trim_end_matches(" KB").parse::<u64>().unwrap_or(0),
                "microcode": of("microcode"), "flags": flags,
            })
        })
        .collect()
}

fn uptime(text: &str) -> u64 {
    let seconds = text.split(['.', ' ']).next().unwrap_or("");
    seconds.trim().parse().unwrap_or(0)
}

/// `/etc/os-release` (freedesktop.org, os-release).
fn release(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// How many processes there are.
fn processes() -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let is_number = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    entries.flatten().filter(|entry| is_number(&entry.file_name())).count()
}

fn disk(unit: u64, [blocks, free, available, files, files_free]: [u64; 5]) -> Value {
    let (total, used) = (blocks * unit, blocks.saturating_sub(free) * unit);
    let files_used = files.saturating_sub(files_free);
    json!({
        "path": "/", "fstype": "", "total": total, "free": available * unit, "used": used,
        "usedPercent": percent(used, used + available * unit), "inodesTotal": files, "inodesUsed": files_used,
        "inodesFree": files_free, "inodesUsedPercent": percent(files_used, files),
    })
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_system_are_read() {
        let memory = memory("MemTotal: 100 kB\nMemFree: 20 kB\nBuffers: 10 kB\nCached: 20 kB\nMemAvailable: 60 kB\n");
        assert_eq!((&memory["total"], &memory["used"]), (&json!(102_400), &json!(51_200)));
        assert_eq!(memory["usedPercent"], json!(50.0));
        let processors = processors("processor\t: 0\nmodel name\t: X\nflags : a b\n\nprocessor : 1\ncpu MHz : 2.5\n\n");
        assert_eq!((processors.len(), &processors[0]["flags"]), (2, &json!(["a", "b"])));
        assert_eq!(processors[1]["mhz"], json!(2.5));
        assert_eq!(uptime("6768.12 100.0"), 6768);
        assert_eq!(release("ID=debian\nVERSION_ID=\"12\"\n")["VERSION_ID"], "12");
        assert_eq!(disk(512, [100, 50, 40, 10, 5])["used"], json!(25_600));
    }

    #[test]
    fn nonsense_is_not_taken_for_figures() {
        assert_eq!(memory("?")["usedPercent"], json!(0.0));
        assert!(processors("").is_empty());
        assert_eq!(uptime(""), 0);
    }

    #[test]
    fn this_host_shows_itself() {
        let host = read();
        assert!(host["Memory"]["total"].as_u64() > Some(0), "{host}");
        assert!(host["Disk"]["total"].as_u64() > Some(0), "{host}");
        assert!(host["Host"]["hostname"].as_str().is_some_and(|name| !name.is_empty()), "{host}");
    }
}
