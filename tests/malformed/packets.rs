//! Bad DNS packets: each is answered with FORMERR, NOTIMP or REFUSED, or dropped where an answer would be a mistake
//! (too short to hold an id, or itself an answer).

use std::time::Duration;

use callboard_tests::dns::{Dns, RecordType, question};

/// How many are sent: the table, and the random ones.
pub(crate) const COUNT: usize = 16 + RANDOM;

/// Good questions with bytes changed at random.
const RANDOM: usize = 150;

const FORMERR: u8 = 1;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

/// What is wrong with the answers, if anything.
pub(crate) fn verdicts(dns: Dns) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, packet, codes) in table() {
        match (dns.udp(&packet), codes.is_empty()) {
            (Ok(answer), false) => {
                let code = answer.get(3).map(|byte| byte & 0x0f);
                if answer.get(..2) != packet.get(..2) || code.is_none_or(|code| !codes.contains(&code)) {
                    wrong.push(format!("DNS, {what}: answered {answer:?}"));
                }
            }
            (Err(error), false) => wrong.push(format!("DNS, {what}: {error}")),
            (_, true) => {}
        }
    }
    // Whatever is made of them, the next good question is answered.
    let mut dice = fastrand::Rng::with_seed(7);
    for _ in 0..RANDOM {
        let mut packet = question("web.service.consul", RecordType::SRV, Some(1232));
        for _ in 0..dice.usize(1..6) {
            let at = dice.usize(2..packet.len());
            packet[at] = dice.u8(..);
        }
        packet.truncate(dice.usize(12..=packet.len()));
        let _ = dns.udp_within(&packet, Duration::from_millis(1));
    }
    if dns.services("web.service.consul") != [(80, 1)] {
        wrong.push("DNS: a good question is not answered any more".to_owned());
    }
    wrong
}

/// What it is, its bytes, and the codes it may be answered with; none where it is dropped.
fn table() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let good = question("web.service.consul", RecordType::SRV, None);
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    let end = good.len();
    let raw = |name: &[u8]| [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat();
    vec![
        ("opcode STATUS", with(2, 0x11), vec![NOTIMP]),
        ("opcode NOTIFY", with(2, 0x21), vec![NOTIMP]),
        ("opcode UPDATE", with(2, 0x29), vec![NOTIMP]),
        ("an opcode that is not given", with(2, 0x79), vec![NOTIMP, FORMERR]),
        ("no question", with(5, 0), vec![FORMERR]),
        ("two questions announced", with(5, 2), vec![FORMERR]),
        ("answers announced", with(7, 3), vec![FORMERR]),
        ("cut in the header", good[..14].to_vec(), vec![FORMERR]),
        ("cut in the name", good[..18].to_vec(), vec![FORMERR]),
        ("cut before the class", good[..end - 2].to_vec(), vec![FORMERR]),
        ("class CHAOS", with(end - 1, 3), vec![REFUSED]),
        ("a whole zone", with(end - 3, 252), vec![NOTIMP]),
        ("a label beyond the end", raw(&[63, b'a']), vec![FORMERR]),
        ("a pointer to itself", raw(&[0xc0, 12]), vec![FORMERR]),
        ("a label type that is not given", raw(&[0x80, 1, 0]), vec![FORMERR]),
        ("a name outside", question("www.example.org", RecordType::A, None), vec![REFUSED]),
    ]
}
