//! Programs with more privileges than their caller: which engines they exclude.

use super::finding::{Note, Problem, Untraceable};
use super::report::Report;
use crate::process::credentials::Gain;
use crate::process::selinux::StartDomain;

/// Reports that ld.so ignores LD_PRELOAD in a program that gains privileges.
pub(super) fn report_gains(program: &str, gains: &[Gain], report: &mut Report) {
    for &gain in gains {
        report.add(Problem::Privileged {
            program: program.into(),
            gain,
        });
    }
}

/// Reports whether ld.so ignores LD_PRELOAD in a program that SELinux starts in another domain.
pub(super) fn report_secure_domain(program: &str, start: &StartDomain, report: &mut Report) {
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

/// Reports whether a program can't be traced in the domain that SELinux starts it in.
pub(super) fn report_untraceable_domain(program: &str, start: &StartDomain, report: &mut Report) {
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
