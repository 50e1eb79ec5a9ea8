//! Which engine is for a program.

use super::finding::Reach;
use super::report::Report;
use crate::engine::{Choice, Engine, bpf, trace};
use libreuse_rules::settings::{Linger, Settings};

/// Chooses the least intrusive engine that works for a program, after what was found out about it,
/// and says how certain that is.
pub(super) fn choose(report: &mut Report) {
    // A program that the library serves alone is seldom asked about.
    let matters = report.reach == Reach::InNoWay
        || report.problems().next().is_some()
        || report.starts_something();
    let untraceable = if matters { untraceable(report) } else { None };
    report.engine = engine(report, untraceable.as_deref());
    if report.engine_is(Engine::Wait) && bpf::start::is_likely() {
        let reason = "BPF programs serve what nobody can enter";
        report.alternative = Some(Choice::new(Engine::Bpf, reason));
    }
    let is_preload = report.engine_is(Engine::Preload);
    let starts_unseen = report.starts_something();
    report.follows = is_preload
        && starts_unseen
        && !report.starts_elsewhere()
        && untraceable.is_none()
        && !trace::would_stay();
    report.certain = !is_preload || (!starts_unseen && report.reach == Reach::Calls);
    report.works = matches!(
        &report.engine,
        Some(choice) if matches!(choice.name, Engine::Preload | Engine::Trace)
    );
    if !report.is_good() && !report.only_starts_elsewhere() {
        report.preload = None;
    }
}

/// Why the program can't be traced.
pub(crate) fn untraceable(report: &Report) -> Option<String> {
    report
        .untraceable()
        .next()
        .or_else(|| report.deals_with_others())
        .or_else(trace::forbidden)
}

fn engine(report: &Report, untraceable: Option<&str>) -> Option<Choice> {
    let problem = report.problems().next();
    if report.is_hopeless() {
        return None;
    }
    Some(match (problem, untraceable) {
        (None, None) if report.reach == Reach::InNoWay && !report.starts_unseen => Choice::new(
            Engine::Trace,
            "nothing in it can call libc's bind, where the library would be",
        ),
        (None, None) if report.reach == Reach::ByItself && !report.starts_unseen => Choice::new(
            Engine::Trace,
            "it has system calls of its own and calls no bind of libc's, where the library would \
             be",
        ),
        (None, _) => Choice::new(
            Engine::Preload,
            "the dynamic linker takes the library into it",
        ),
        (Some(problem), None) => Choice::new(Engine::Trace, problem),
        (Some(_), Some(untraceable)) => Choice::new(Engine::Wait, untraceable),
    })
}

/// Decides by which engine a program is started, with the reason: by the one that was asked for, or
/// else by the one that was chosen.
///
/// # Errors
///
/// Why no engine can be chosen.
pub(crate) fn decide(
    asked: Option<Engine>,
    report: &Report,
    settings: &Settings,
    shown: &str,
) -> Result<(Engine, String), Vec<String>> {
    match (asked, &report.engine) {
        (Some(Engine::Preload), _) if !report.is_good() && report.preload.is_none() => {
            Err(report.problems().collect())
        }
        (Some(Engine::Trace), _) if report.untraceable().next().is_some() => {
            Err(report.untraceable().collect())
        }
        (Some(engine), _) => Ok((engine, "it was asked for".into())),
        (None, None) => Err(report.problems().collect()),
        (None, Some(choice)) => match missing(choice, report, settings, shown) {
            None => Ok((choice.name, choice.reason.clone())),
            Some(missing) => {
                let mut against: Vec<String> = report.problems().collect();
                if choice.name == Engine::Wait {
                    against.push(choice.reason.clone());
                    against.extend(report.as_root(shown));
                }
                against.push(missing);
                Err(against)
            }
        },
    }
}

/// The setting that the chosen engine lacks.
fn missing(choice: &Choice, report: &Report, settings: &Settings, shown: &str) -> Option<String> {
    match choice.name {
        // No other engine serves it, and it may bind nothing.
        Engine::Trace if is_past_libc(report) => None,
        Engine::Trace => not_while_traced(settings),
        Engine::Wait if settings.ports.all() => Some(format!(
            "with --ports PORT `run` waits until {shown} can bind its port"
        )),
        _ => None,
    }
}

/// Whether a program is one that the dynamic linker takes the library into, in vain: it never calls
/// libc's `bind`.
pub(crate) fn is_past_libc(report: &Report) -> bool {
    matches!(report.reach, Reach::InNoWay | Reach::ByItself) && report.is_good()
}

/// The setting that a tracer can't apply.
pub(crate) fn not_while_traced(settings: &Settings) -> Option<String> {
    (settings.linger == Linger::Zero).then(|| {
        "linger zero is for the engine preload: it resets connections when they are closed, and by \
         then the tracer has detached. --linger graceful works"
            .into()
    })
}
