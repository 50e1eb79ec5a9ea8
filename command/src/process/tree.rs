//! The processes that share a socket, by descent: a server with forty workers is one program to a
//! person.

use crate::output;
use crate::process::holders::Holder;
use crate::process::info::{ProcessInfo, spelled_age};

/// A process that holds a socket, with those below it that hold the same.
struct Tree<'a> {
    eldest: &'a Holder,
    /// Its descendants.
    younger: Vec<&'a Holder>,
}

/// The holders by descent, the eldest of each family in the order of their numbers.
fn families(holders: &[Holder]) -> Vec<Tree<'_>> {
    let above = |holder: &Holder| -> Vec<i32> {
        holder
            .info
            .ancestors
            .iter()
            .map(|parent| parent.pid)
            .collect()
    };
    let mut families: Vec<Tree<'_>> = holders
        .iter()
        .filter(|holder| {
            let above = above(holder);
            !holders.iter().any(|other| above.contains(&other.pid))
        })
        .map(|eldest| Tree {
            eldest,
            younger: Vec::new(),
        })
        .collect();
    for holder in holders {
        let above = above(holder);
        if let Some(family) = families
            .iter_mut()
            .find(|family| above.contains(&family.eldest.pid))
        {
            family.younger.push(holder);
        }
    }
    families
}

/// More names than these say less.
const FEW: usize = 4;

/// Names them: `nginx (pid 70 and 4 children)`, `python3 (pids 7 and 9)`.
pub(crate) fn named(holders: &[Holder]) -> String {
    let families = families(holders);
    let mut words: Vec<String> = Vec::new();
    if families.iter().all(|family| family.younger.is_empty()) {
        // Nobody's children: by name.
        let mut names: Vec<&str> = holders.iter().map(|holder| &*holder.name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let pids: Vec<String> = holders
                .iter()
                .filter(|holder| &*holder.name == name)
                .map(|holder| holder.pid.to_string())
                .collect();
            words.push(match pids.as_slice() {
                [pid] => format!("{name} (pid {pid})"),
                [first, rest @ ..] if rest.len() >= FEW => {
                    format!("{name} (pid {first} and {} more)", rest.len())
                }
                pids => format!("{name} (pids {})", output::list(pids)),
            });
        }
    } else {
        for family in &families {
            let Holder { name, pid, .. } = family.eldest;
            words.push(match family.younger.as_slice() {
                [] => format!("{name} (pid {pid})"),
                [only] if only.name == *name => format!("{name} (pids {pid} and {})", only.pid),
                [only] => format!(
                    "{name} (pid {pid}) and its child {} (pid {})",
                    only.name, only.pid
                ),
                many => format!("{name} (pid {pid} and {} children)", many.len()),
            });
        }
    }
    if words.len() > FEW {
        let more = words.len() - FEW;
        words.truncate(FEW);
        words.push(format!("{more} more"));
    }
    output::list(&words)
}

/// The holders that descend from no other holder: when they have exited, the others have nobody to
/// serve.
pub(crate) fn eldest(holders: &[Holder]) -> Vec<&Holder> {
    families(holders)
        .into_iter()
        .map(|family| family.eldest)
        .collect()
}

/// The holders whose parent has exited: process 1 has adopted them, and the first holder has not
/// started them. The first process of a daemon has that parent too, but has children of its own
/// here.
pub(crate) fn orphans(holders: &[Holder]) -> Vec<&Holder> {
    if holders.len() < 2 {
        return Vec::new();
    }
    families(holders)
        .into_iter()
        .filter(|family| family.eldest.parent == 1 && family.younger.is_empty())
        .map(|family| family.eldest)
        .collect()
}

/// A few lines about the eldest of the holders: what was started, by whom, when and where.
pub(crate) fn described(holders: &[Holder]) -> String {
    let eldest = eldest(holders);
    let mut text = String::new();
    for holder in eldest.iter().take(FEW) {
        let who = &holder.info;
        if **who == ProcessInfo::default() {
            continue;
        }
        let mut facts = vec![format!("pid {}", holder.pid)];
        let user = who.user();
        if !user.is_empty() {
            facts.push(format!("user {user}"));
        }
        facts.extend(who.age_s.map(|age| format!("{} old", spelled_age(age))));
        facts.extend(who.unit.as_ref().map(|unit| format!("unit {unit}")));
        facts.extend(
            who.container
                .as_ref()
                .map(|container| format!("container {}", container.short())),
        );
        facts.extend(
            who.tracer
                .map(|tracer| format!("traced until it listens by reuseaddr ({tracer})")),
        );
        let command = who.command();
        let colon = if command.is_empty() { "" } else { ": " };
        text += &output::line("  ", &format!("{}{colon}{command}", facts.join(", ")));
        let state = who.state.words();
        if let Some(state) = state {
            text += &output::line("    ", state);
        }
        if let Some(directory) = &who.directory {
            text += &output::line("    in ", directory);
        }
        let chain = who.chain();
        if !chain.is_empty() {
            text += &output::line_from_the_end("    started by ", &chain);
        }
    }
    text
}
