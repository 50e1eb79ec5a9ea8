//! What a program that gets more rights than its caller has to do with the library.

use super::report::Report;
use crate::process::credentials::Gain;
use crate::process::selinux::Start;
use std::path::Path;

/// Says of a program that gets more rights why ld.so takes no library into it.
pub(super) fn more_rights(path: &Path, gains: &[Gain], report: &mut Report) {
    let shown = path.display();
    for gain in gains {
        report.problem(match gain {
            Gain::User(uid) => format!(
                "{shown} is setuid, and the dynamic linker ignores LD_PRELOAD in it. Start it as uid {uid}"
            ),
            Gain::Group(gid) => format!(
                "{shown} is setgid, and the dynamic linker ignores LD_PRELOAD in it. Start it as gid {gid}"
            ),
            Gain::Capabilities => format!(
                "{shown} has file capabilities, and the dynamic linker ignores LD_PRELOAD in it. Take them away \
                 (`setcap -r`) and give the capability otherwise: AmbientCapabilities= in a unit, `setpriv \
                 --ambient-caps`, or net.ipv4.ip_unprivileged_port_start for low ports"
            ),
        });
    }
}

/// Says of a program that SELinux starts in another domain whether that keeps ld.so from taking a library into it.
pub(super) fn without_environment(path: &Path, start: &Start, report: &mut Report) {
    let shown = path.display();
    match start {
        Start::SameDomain => {}
        Start::OtherDomain(transition) if transition.keeps_environment() => {}
        Start::OtherDomain(transition) => report.problem(format!(
            "SELinux starts {shown} in {}, where the dynamic linker ignores LD_PRELOAD unless a policy module says `{}`",
            transition.to,
            transition.rule()
        )),
        Start::Unknown => report.note(format!(
            "SELinux does not say in which domain it starts {shown}: in another one than its starter's the dynamic linker may \
             ignore LD_PRELOAD"
        )),
    }
}

/// Says why it can't be traced there, if it can't.
pub(super) fn in_another_domain(path: &Path, start: &Start, report: &mut Report) {
    let shown = path.display();
    let Start::OtherDomain(transition) = start else {
        return;
    };
    let to = &transition.to;
    if transition.is_by_init {
        report.untraceable.push(format!(
            "SELinux starts {shown} in {to}, which systemd would not start it in by way of `reuseaddr run`"
        ));
    } else if !transition.is_traceable() {
        report.untraceable.push(format!(
            "SELinux starts {shown} in {to}, and lets nobody trace it from here"
        ));
    }
}
