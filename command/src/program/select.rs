//! Which engine is for a program.

use super::report::{Reach, Report};
use crate::engine::{Choice, Engine, bpf, trace};

/// Chooses the least intrusive engine that works for a program, after what was found out about it, and says how certain that
/// is.
pub(super) fn choose(report: &mut Report) {
    let untraceable = untraceable(report);
    report.engine = engine(report, untraceable.as_deref());
    if report.engine_is(Engine::Wait) && bpf::start::is_likely() {
        let reason = "programs in the kernel serve what nobody can enter";
        report.alternative = Some(Choice::new(Engine::Bpf, reason));
    }
    let is_preload = report.engine_is(Engine::Preload);
    let starts_unseen = report.starts_something();
    report.follows = is_preload
        && starts_unseen
        && !report.starts_elsewhere
        && untraceable.is_none()
        && !trace::would_stay();
    report.certain = !is_preload || (!starts_unseen && report.reach == Reach::Calls);
    report.works = matches!(
        &report.engine,
        Some(choice) if matches!(choice.name, Engine::Preload | Engine::Trace)
    );
    if !report.is_good() {
        report.preload = None;
    }
}

/// Why the program can't be traced.
pub(crate) fn untraceable(report: &Report) -> Option<String> {
    let known = report.untraceable.first().cloned();
    known
        .or_else(|| report.deals_with_others.clone())
        .or_else(trace::forbidden)
}

fn engine(report: &Report, untraceable: Option<&str>) -> Option<Choice> {
    let problem = report.problems().next();
    if problem.is_some() && (report.hopeless || report.placeless) {
        return None;
    }
    Some(match (problem, untraceable) {
        (None, None) if report.reach == Reach::InNoWay && !report.starts_unseen => Choice::new(
            Engine::Trace,
            "nothing in it can call libc's bind, where the library would be",
        ),
        (None, _) => Choice::new(
            Engine::Preload,
            "the dynamic linker takes the library into it",
        ),
        (Some(problem), None) => Choice::new(Engine::Trace, problem),
        (Some(_), Some(untraceable)) => Choice::new(Engine::Wait, untraceable),
    })
}
