//! Asks DNS what was asked at the end of the recording, and compares: response code, flags, and the records of every
//! section, in any order. What a run decides for itself (the serial of a zone, versions) is made alike.

use std::collections::BTreeSet;

use callboard_tests::dns::{Dns, Message, question};
use hickory_proto::rr::{Record, RecordType};

use crate::table::Row;

const RECORDING: &str = include_str!("data/dns.txt");

/// Differences that are meant: the question, and the part of the contract that asks for it.
const MEANT: &[(&str, &str)] = &[
    ("web.service.consul TXT", "23.6: the name exists, the type has no data: an empty answer with SOA"),
    ("n1.node.consul AAAA", "23.6: the name exists, the type has no data: an empty answer with SOA"),
    ("zz.addr.consul", "23.6: a name under the domain that cannot be read is NXDOMAIN with SOA"),
    ("9.9.9.9.in-addr.arpa PTR", "23.4: an address that nobody has is NXDOMAIN"),
];

/// One question with its recorded answer.
struct Recorded {
    asked: String,
    code: String,
    sections: [BTreeSet<String>; 3],
}

/// Asks everything, and returns a row each and what nobody explains.
pub(crate) fn ask_all(dns: Dns) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut surprises) = (Vec::new(), Vec::new());
    for recorded in RECORDING.split("### dig ").filter(|text| !text.trim().is_empty()).map(read) {
        let ours = ask(dns, &recorded.asked);
        let mut explained = BTreeSet::new();
        let same = |sections: &[BTreeSet<String>; 3]| (&ours.code, sections) == (&recorded.code, &recorded.sections);
        let without_version = ours.sections.clone().map(|records| {
            records.into_iter().filter(|record| !record.contains("\"consul-version=")).collect::<BTreeSet<String>>()
        });
        if same(&ours.sections) {
        } else if same(&without_version) {
            explained.insert("1: the node's Meta carries consul-version");
        } else {
            match MEANT.iter().find(|(asked, _)| *asked == recorded.asked) {
                Some((_, contract)) => {
                    explained.insert(*contract);
                }
                None => surprises.push(format!(
                    "{}\n  recorded {} {:?}\n  ours {} {:?}",
                    recorded.asked, recorded.code, recorded.sections, ours.code, ours.sections
                )),
            }
        }
        rows.push(Row { endpoint: format!("dig {}", recorded.asked), behaviour: recorded.code, explained });
    }
    (rows, surprises)
}

fn read(text: &str) -> Recorded {
    let (asked, rest) = text.split_once('\n').expect("a question is a line");
    let status = rest.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).expect("a status");
    let section = |name: &str| {
        let lines = rest.split(&format!(";; {name} SECTION:\n")).nth(1).unwrap_or_default();
        let lines = lines.lines().take_while(|line| !line.is_empty() && !line.starts_with(";;"));
        lines.map(|line| alike(&line.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
    };
    Recorded {
        asked: asked.trim().to_owned(),
        code: status.to_uppercase(),
        sections: ["ANSWER", "AUTHORITY", "ADDITIONAL"].map(section),
    }
}

/// Asks as dig was told to.
fn ask(dns: Dns, asked: &str) -> Recorded {
    let (mut room, mut tcp, mut name, mut kind) = (Some(1232), false, "", RecordType::A);
    for word in asked.split_whitespace() {
        match word {
            "+tcp" => tcp = true,
            "+noedns" => room = None,
            word if word.starts_with("+bufsize=") => room = word["+bufsize=".len()..].parse().ok(),
            word => match word.parse() {
                Ok(wanted) if !name.is_empty() => kind = wanted,
                _ => name = word,
            },
        }
    }
    let bytes = question(name, kind, room);
    let answer = if tcp { dns.tcp(&bytes) } else { dns.udp(&bytes) };
    let answer = answer.unwrap_or_else(|error| panic!("{asked}: {error}"));
    let answer = Message::from_vec(&answer).unwrap_or_else(|error| panic!("{asked}: {error}"));
    let section = |records: &[Record]| records.iter().map(|record| alike(&shown(record))).collect();
    Recorded {
        asked: asked.to_owned(),
        code: format!("{:?}", answer.metadata.response_code).to_uppercase(),
        sections: [section(&answer.answers), section(&answer.authorities), section(&answer.additionals)],
    }
}

/// A record as dig writes it.
fn shown(record: &Record) -> String {
    let data = match record.record_type() {
        RecordType::TXT => format!("\"{}\"", record.data),
        _ => record.data.to_string(),
    };
    format!("{} {} {} {} {data}", record.name, record.ttl, record.dns_class, record.record_type())
}

/// Without what a run decides for itself.
fn alike(record: &str) -> String {
    let words: Vec<&str> = record.split(' ').collect();
    match words.get(3) {
        Some(&"SOA") if words.len() > 6 => [&words[..6], &["serial"], &words[7..]].concat().join(" "),
        _ => record.to_owned(),
    }
}
