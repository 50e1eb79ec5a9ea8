//! Programs with more privileges than their caller: which engines they exclude.

use super::finding::{Note, Problem, Untraceable};
use super::report::Report;
use crate::process::credentials::Gain;
use crate::process::selinux::StartDomain;

/// Finds of a program that gets more privileges why ld.so takes no library into it.
pub(super) fn more_rights(program: &str, gains: &[Gain], report: &mut Report) {
    for &gain in gains {
        report.add(Problem::Privileged {
            program: program.into(),
            gain,
        });
    }
}

/// Finds of a program that SELinux starts in another domain whether that keeps ld.so from taking a
/// library into it.
pub(super) fn without_environment(program: &str, start: &StartDomain, report: &mut Report) {
    let program = program.to_owned();
    match start {
        StartDomain::SameDomain => {}
        StartDomain::OtherDomain(transition) if transition.keeps_environment() => {}
        StartDomain::OtherDomain(transition) => report.add(Problem::SecureDomain {
            program,
            domain: transition.to.clone(),
            rule: transition.rule(),
        }),
        StartDomain::Unknown => report.add(Note::UnknownDomain { program }),
    }
}

/// Finds whether it can't be traced there.
pub(super) fn in_another_domain(program: &str, start: &StartDomain, report: &mut Report) {
    let StartDomain::OtherDomain(transition) = start else {
        return;
    };
    let (program, domain) = (program.to_owned(), transition.to.clone());
    if transition.is_by_init {
        report.add(Untraceable::OtherDomainByInit { program, domain });
    } else if !transition.is_traceable() {
        report.add(Untraceable::ForbiddenDomain { program, domain });
    }
}
