//! Words the findings.

use super::finding::{Finding, Hopeless, Note, Problem, Reach, Untraceable};
use crate::output::list;
use crate::process::credentials::Gain;
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use std::fmt;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::Problem(problem) => of_problem(problem),
            Self::Hopeless(hopeless) => of_hopeless(hopeless),
            Self::Untraceable(untraceable) => of_untraceable(untraceable),
            Self::Note(note) => of_note(note),
        })
    }
}

/// A finding as JSON has it.
#[derive(Serialize)]
struct JsonFinding {
    /// `problem`: the library does not work. `note`: it works, and this should be known.
    level: &'static str,
    text: String,
}

/// Writes all but what keeps a tracer away, which is the reason for an engine where it matters.
pub(super) fn serialize<S: Serializer>(
    findings: &[Finding],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(None)?;
    for finding in findings {
        let level = match finding {
            Finding::Problem(_) | Finding::Hopeless(_) => "problem",
            Finding::Note(_) => "note",
            Finding::Untraceable(_) => continue,
        };
        let text = finding.to_string();
        sequence.serialize_element(&JsonFinding { level, text })?;
    }
    sequence.end()
}

fn of_problem(problem: &Problem) -> String {
    match problem {
        Problem::Go { program } => format!(
            "{program} is a Go program: Go calls the kernel without libc, so that nothing can be \
             interposed. Its net package sets SO_REUSEADDR on listeners by itself; if the port is \
             busy all the same, `reuseaddr status PORT` says why"
        ),
        Problem::Static { program } => format!(
            "{program} is statically linked: there is no dynamic linker that would load the library"
        ),
        Problem::NoLibrary => "the library is not installed".into(),
        Problem::NoLibraryOfItsKind {
            program,
            kind,
            there,
        } => format!(
            "{program} is {kind}, and the library is here for {there}. Install the one for that \
             machine as well (libreuse.so(8)), or name it with --library"
        ),
        Problem::OtherLinker { program, linker } => format!(
            "{program} needs the dynamic linker {}, which is neither glibc's nor musl's",
            linker.display()
        ),
        Problem::Privileged { program, gain } => of_gain(program, *gain),
        Problem::SecureDomain {
            program,
            domain,
            rule,
        } => format!(
            "SELinux starts {program} in {domain}, where the dynamic linker ignores LD_PRELOAD \
             unless a policy module says `{rule}`"
        ),
        Problem::NoPlace(why) => why.clone(),
        Problem::LeftOut { complaint } => format!(
            "the dynamic linker ignores the library{}{complaint}",
            if complaint.is_empty() { "" } else { ": " }
        ),
        Problem::LinkerFails { linker, error } => {
            format!("{} can't be run: {error}", linker.display())
        }
        Problem::ShebangDropsLibrary { script } => format!(
            "the first line of {} makes env drop LD_PRELOAD",
            script.display()
        ),
        Problem::ScriptDropsLibrary { script, line } => {
            format!("{} removes LD_PRELOAD, {line}", script.display())
        }
        Problem::WrapperDropsLibrary { wrapper } => {
            format!("an option of {wrapper} removes LD_PRELOAD from the environment")
        }
        Problem::NotInRoot { program, root } => format!(
            "{} becomes the root of {program}, and the library is not in there",
            root.display()
        ),
        Problem::NotChosen => "LIBREUSE_PROGRAMS leaves this program out".into(),
        Problem::StaticAndUntraced => {
            "it is statically linked, and no tracer is there: `reuseaddr run` traces such a \
             program until it listens, and its listeners say whether that was so"
                .into()
        }
        Problem::NotLoaded { given: None } => {
            "LD_PRELOAD was not set when it started. Start it with `reuseaddr run`".into()
        }
        Problem::NotLoaded { given: Some(value) } => format!(
            "LD_PRELOAD was {value} when it started, and the library was not loaded: `reuseaddr \
             check` on its program may say why"
        ),
        Problem::ListenerPastLibrary { local, port } => format!(
            "the listener on {local} bypassed the library: it was opened by system calls that the \
             program makes without libc, or by another process. Start it with `reuseaddr run \
             --engine trace`; until then `reuseaddr arm {port}` prepares the next start"
        ),
    }
}

fn of_gain(program: &str, gain: Gain) -> String {
    match gain {
        Gain::User(uid) => format!(
            "{program} is setuid, and the dynamic linker ignores LD_PRELOAD in it. Start it as uid \
             {uid}"
        ),
        Gain::Group(gid) => format!(
            "{program} is setgid, and the dynamic linker ignores LD_PRELOAD in it. Start it as gid \
             {gid}"
        ),
        Gain::Capabilities => format!(
            "{program} has file capabilities, and the dynamic linker ignores LD_PRELOAD in it. \
             Take them away (`setcap -r`) and give the capability otherwise: AmbientCapabilities= \
             in a unit, `setpriv --ambient-caps`, or net.ipv4.ip_unprivileged_port_start for low \
             ports"
        ),
    }
}

fn of_hopeless(hopeless: &Hopeless) -> String {
    match hopeless {
        Hopeless::NoProgram(why) => why.clone(),
        Hopeless::NoLinker { program, linker } => format!(
            "{program} asks for the dynamic linker {}, which is not there, so that it can't be \
             started: it was built for another system",
            linker.display()
        ),
        Hopeless::DropsLibrary { wrapper } if wrapper == "su" => {
            "su removes LD_PRELOAD from the environment. Write `run` behind it: `su USER -c \
             'reuseaddr run PROGRAM'`"
                .into()
        }
        Hopeless::DropsLibrary { wrapper } => format!(
            "{wrapper} removes LD_PRELOAD from the environment. Write it in front: `{wrapper} \
             reuseaddr run PROGRAM`"
        ),
        Hopeless::StartedElsewhere { wrapper } => format!(
            "{wrapper} has another process start the program, with another environment. Use \
             `reuseaddr run` there{}",
            if ["systemd-run", "systemctl", "service", "invoke-rc.d"].contains(&wrapper.as_str()) {
                ", or `reuseaddr systemd UNIT`"
            } else {
                ""
            }
        ),
    }
}

fn of_untraceable(untraceable: &Untraceable) -> String {
    match untraceable {
        Untraceable::UnknownMachine { program, kind } => {
            format!("{program} is {kind}, whose system calls the tracer does not know")
        }
        Untraceable::LosesPrivileges { program } => format!(
            "{program} has more privileges than its caller (setuid, setgid or \
             file capabilities), and the kernel drops those of a traced program"
        ),
        Untraceable::Exempt(why) => why.clone(),
        Untraceable::OtherDomainByInit { program, domain } => format!(
            "SELinux starts {program} in {domain}, but not when systemd \
             starts it through `reuseaddr run`"
        ),
        Untraceable::ForbiddenDomain { program, domain } => {
            format!("SELinux starts {program} in {domain}, and forbids tracing it from here")
        }
    }
}

fn of_note(note: &Note) -> String {
    match note {
        Note::NoShebang { script } => format!(
            "{} has no #! line: /bin/sh runs it, as shells do",
            script.display()
        ),
        Note::Script {
            script,
            interpreter,
        } => format!(
            "{} is a script, which {} runs",
            script.display(),
            interpreter.display()
        ),
        Note::Wraps { line } => format!(
            "it wraps another program, which inherits the library and was not looked at ({line}). \
             Check that one too{}",
            if line.contains("pyenv") {
                ": `reuseaddr check \"$(pyenv which NAME)\"`"
            } else {
                ""
            }
        ),
        Note::Starts { wrapper, program } => format!("{wrapper} starts {}", program.display()),
        Note::StartsUnknown { wrapper, program } => {
            format!("{wrapper} starts {program}, which was not found and so not looked at")
        }
        Note::MayStart { interpreter } => format!(
            "the script that {interpreter} runs may start other programs, which were not looked at"
        ),
        Note::StartsElsewhere { wrapper } => format!(
            "{wrapper} has a server that runs already start it, with that server's environment. \
             Put `reuseaddr run` in front of the program itself"
        ),
        Note::Unreadable(why) | Note::SocketsUnreadable(why) => why.clone(),
        Note::AddressSanitizer { program } => format!(
            "{program} is built with AddressSanitizer, whose runtime wants to come first: `run` \
             sets ASAN_OPTIONS=verify_asan_link_order=0, which LD_PRELOAD alone needs as well. \
             LeakSanitizer fails under --engine trace, unless ASAN_OPTIONS has detect_leaks=0"
        ),
        Note::SystemWide { entry } => format!(
            "/etc/ld.so.preload has {} loaded into every program, setuid ones as well",
            entry.display()
        ),
        Note::Carried { file } => format!(
            "the library is the one that this command carries, as {}",
            file.display()
        ),
        Note::UnknownDomain { program } => format!(
            "SELinux does not say in which domain it starts {program}: in another one than its \
             starter's the dynamic linker may ignore LD_PRELOAD"
        ),
        Note::Calls(names) => format!(
            "it and the libraries that it loads at start call {}",
            list(names)
        ),
        Note::NoBind(reach) => of_reach(reach),
        Note::MaySetOption => {
            "it may set SO_REUSEADDR by itself: `reuseaddr check --pid` shows it for a running \
             process"
                .into()
        }
        Note::NeverSetsOption => {
            "nothing that it loads at start calls setsockopt, so it sets no SO_REUSEADDR by \
             itself"
                .into()
        }
        Note::Mapped { file } => format!("{file} is mapped"),
        Note::Attached { group } => format!("programs are attached at {group}"),
        Note::NoVariables => {
            "no LIBREUSE_ variable was set when it started, so the defaults apply".into()
        }
        Note::Variable { name, value } => format!("{name}={value}"),
        Note::WrongVariable(complaint) => format!("{complaint}. The default applies"),
        Note::ListenersCarryOption => {
            "its listeners carry SO_REUSEADDR: it sets that itself, or a tracer did before it \
             detached. The next start can bind over what this one leaves behind"
                .into()
        }
    }
}

/// Says what may call `bind`, if nothing that the program loads at start does.
pub(crate) fn of_reach(reach: &Reach) -> String {
    match reach {
        Reach::Unknown | Reach::Calls => "who calls bind was not looked for".into(),
        Reach::ByLibrary(file) => format!(
            "of what it loads at start, only {file} calls bind, for purposes \
             of its own"
        ),
        Reach::ByLoading => {
            "neither it nor a library that it loads at start calls bind; what it loads or starts \
             later may"
                .into()
        }
        Reach::ByStarting => {
            "neither it nor a library that it loads at start calls bind; what it starts may".into()
        }
        Reach::ByItself => {
            "neither it nor a library that it loads at start calls libc's bind, and it makes \
             system calls itself: if it binds a port, that bypasses the library, or is done by \
             what it loads later"
                .into()
        }
        Reach::InNoWay => {
            "neither it nor a library that it loads at start can call libc's bind: if it binds a \
             port, it makes the system calls itself, which bypasses the library"
                .into()
        }
    }
}
