//! Which engine is for a program.

use super::report::Report;
use crate::engine::{Choice, Engine, trace};

/// The least engine that works for a program, after what was found out about it; `None` if none does.
pub(super) fn choose(report: &Report) -> Option<Choice> {
    let Some(problem) = report.problems().next() else {
        return Some(Choice::new(
            Engine::Preload,
            "the dynamic linker takes the library into it",
        ));
    };
    if report.hopeless || report.placeless {
        return None;
    }
    let against = report
        .untraceable
        .first()
        .cloned()
        .or_else(trace::forbidden);
    Some(match against {
        None => Choice::new(Engine::Trace, problem),
        Some(against) => Choice::new(Engine::Wait, against),
    })
}
