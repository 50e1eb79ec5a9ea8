//! The engine `wait`, for what no other one serves: ends what it may of what earlier runs left behind, and waits until the
//! program's ports can be bound.

use crate::net::probe::{self, Outcome};
use crate::net::sock_diag::{self, Which};
use crate::output;
use crate::port::evict::{self, Choice};
use crate::port::port_list::spelled;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// How long it waits unless told otherwise: the kernel's `TIME_WAIT` is 60 s long, and an orphan in `FIN_WAIT2` becomes that
/// or is gone within another 60 s (`tcp_fin_timeout`).
pub(crate) const LONGEST: Duration = Duration::from_secs(125);

const PAUSE: Duration = Duration::from_millis(20);

/// How often it tries to end what there is: more may have come.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until these ports can be bound by a program that sets no option, or the time is up; says on stderr what it waits
/// for.
pub(crate) fn until_free(ports: &[u16], longest: Duration) {
    if busy(ports).is_empty() {
        return;
    }
    let begin = Instant::now();
    let mut told = false;
    let mut evicted = None::<Instant>;
    loop {
        if evicted.is_none_or(|then| then.elapsed() > AGAIN) {
            // What it may not end it has to wait for.
            let _ = evict::evict(ports, Choice::default(), false);
            evicted = Some(Instant::now());
        }
        let busy = busy(ports);
        let waited = begin.elapsed();
        if busy.is_empty() {
            if told {
                output::tell(&format!(
                    "reuseaddr: port {} is free after {} s",
                    spelled(ports),
                    waited.as_secs()
                ));
            }
            return;
        }
        if waited >= longest {
            output::warn(&format!(
                "port {} is still in use after {} s; the program is started all the same",
                spelled(&busy),
                waited.as_secs()
            ));
            return;
        }
        if !told {
            output::tell(&format!(
                "reuseaddr: waiting for port {}, for {} s at the most: {}",
                spelled(&busy),
                longest.as_secs(),
                obstacles(&busy)
            ));
            told = true;
        }
        thread::sleep(PAUSE.min(longest.saturating_sub(waited)));
    }
}

/// The ports that are in use. What may not be bound for another reason is the program's own business.
fn busy(ports: &[u16]) -> Vec<u16> {
    ports
        .iter()
        .copied()
        .filter(|&port| {
            probe::probe(port, None)
                .iter()
                .any(|probe| probe.plain == Outcome::Failed(Errno::ADDRINUSE))
        })
        .collect()
}

/// What is on the ports, in words.
fn obstacles(ports: &[u16]) -> String {
    let entries = sock_diag::dump(Which::These(ports)).unwrap_or_default();
    let mut numbers = BTreeMap::<&str, usize>::new();
    for entry in &entries {
        *numbers.entry(entry.state.name()).or_default() += 1;
    }
    let mut words: Vec<String> = numbers
        .into_iter()
        .map(|(state, number)| output::count(number, state, state))
        .collect();
    if let Some(left) = entries.iter().filter_map(|entry| entry.left_ms).max() {
        words.push(format!(
            "the last of it is gone in {} s",
            left.div_ceil(1000)
        ));
    }
    if words.is_empty() {
        "the kernel does not show what holds it".into()
    } else {
        words.join(", ")
    }
}
